/* rt_deliver.c - committed changes to those who may hear them.
 *
 * A record is rendered once, whoever hears it; each channel gets its own topic and ids around it.
 * Claims and filters are looked at here, for every event, never at the join alone
 * (docs/security.md, W2, W3).
 *
 * What of a deletion is heard: nothing at user_sync_data_v2, whose tombstones nobody sees; the row
 * of v1 without the key; and the feed. */
#include "server/rt.h"

#include "base/mem.h"
#include "base/status.h"
#include "base/timestamp.h"
#include "server/clock.h"
#include "server/filter.h"

#define SHORT_BYTES 64u /* columns that a too large event still carries */

struct delivery {
    struct realtime *rt;
    const struct rt_mail *mail;
    int64_t now_s;
    uint8_t wanted; /* tables that somebody listens to */
    size_t work;    /* of filters, up to RT_MAIL_WORK */
    /* The event under way. */
    const struct table *table;
    enum rt_event_type type;
    struct table_row row;
    struct rt_bytes *data; /* NULL: not rendered yet */
    bool failed;
};

/* ---- Rendering ------------------------------------------------------------------------------- */

static void print_columns(struct buf *out, const struct table *table)
{
    for (unsigned i = 0; i < table->n_columns; i++) {
        buf_add_format(out, "%s{\"name\":\"%s\",\"type\":\"%s\"}", i == 0 ? "" : ",",
                       table->columns[i].name, table_type_name(table->columns[i].type));
    }
}

/* UTC, milliseconds, Z. */
static void print_commit_time(struct buf *out, int64_t time_us)
{
    char text[TIMESTAMP_TEXT];
    size_t n = timestamp_print_ms(time_us, text);
    const char *zone = memchr(text, '+', n);
    buf_add(out, text, zone == NULL ? n : (size_t)(zone - text));
    buf_add_char(out, 'Z');
}

/* A record that is too large: its short columns. */
static void print_short(struct buf *out, const struct table *table, const struct table_row *row)
{
    const char *before = "";
    buf_add_char(out, '{');
    for (unsigned i = 0; i < table->n_columns; i++) {
        if (row->values[i].text.len <= SHORT_BYTES) {
            buf_add_format(out, "%s\"%s\":", before, table->columns[i].name);
            table_value_print(out, table->columns[i].type, &row->values[i]);
            before = ",";
        }
    }
    buf_add_char(out, '}');
}

static bool is_large(const struct delivery *delivery)
{
    size_t n = 0;
    for (unsigned i = 0; i < delivery->table->n_columns; i++) {
        n += delivery->row.values[i].text.len;
    }
    return n > RT_EVENT_BYTES;
}

static void render(struct delivery *delivery)
{
    const struct table *table = delivery->table;
    bool large = is_large(delivery);
    struct buf out = BUF_INIT;
    buf_add_format(&out, "{\"schema\":\"public\",\"table\":\"%s\",\"commit_timestamp\":\"",
                   table->name);
    print_commit_time(&out, delivery->mail->at_us);
    buf_add_format(&out, "\",\"type\":\"%s\",\"columns\":[",
                   delivery->type == RT_INSERT ? "INSERT" : "UPDATE");
    print_columns(&out, table);
    buf_add_text(&out, "],\"record\":");
    if (large) {
        print_short(&out, table, &delivery->row);
    } else {
        table_row_print(&out, table, &delivery->row);
    }
    if (delivery->type == RT_UPDATE) {
        buf_add_text(&out, ",\"old_record\":");
        table_key_print(&out, table, &delivery->row);
    }
    buf_add_text(&out,
                 large ? ",\"errors\":[\"Error 413: Payload Too Large\"]}" : ",\"errors\":null}");
    delivery->data = out.failed ? NULL : rt_bytes_new(buf_slice(&out));
    delivery->failed = delivery->data == NULL;
    buf_release(&out);
}

/* ---- Who hears it ---------------------------------------------------------------------------- */

static bool binding_hears(struct delivery *delivery, const struct rt_binding *binding)
{
    struct arena *arena = &delivery->rt->arena;
    struct slice text = {binding->filter, binding->filter_len};
    struct buf why = BUF_INIT;
    if ((binding->events & 1u << delivery->type) == 0 ||
        (binding->tables & 1u << delivery->table->id) == 0) {
        return false;
    }
    if (text.ptr == NULL) {
        return true;
    }
    arena_reset(arena);
    struct filter *filter = arena_zalloc(arena, 1, sizeof *filter);
    bool hears = filter != NULL && filter_parse(arena, text, filter, &why) == BQ_OK;
    delivery->work += hears ? filter_work(filter) : 0;
    hears = hears && filter_passes(arena, delivery->table, filter, &delivery->row);
    buf_release(&why);
    return hears;
}

/* Appends {"ids":[1,2],"data": ; false where no binding hears it. */
static bool print_ids(struct delivery *delivery, const struct rt_channel *channel, struct buf *out)
{
    bool any = false;
    for (unsigned i = 0; i < channel->n_bindings; i++) {
        if (binding_hears(delivery, &channel->bindings[i])) {
            buf_add_text(out, any ? "," : "{\"ids\":[");
            buf_add_int(out, i + 1);
            any = true;
        }
    }
    buf_add_text(out, "],\"data\":");
    return any;
}

static void hear(void *cls, void *listener, struct hub_handle handle)
{
    struct delivery *delivery = cls;
    struct rt_channel *channel = listener;
    struct realtime *rt = delivery->rt;
    struct buf tail = BUF_INIT;
    const struct phx_head head = {channel->socket->vsn, SLICE_NONE, SLICE_NONE, rt_topic(channel),
                                  "postgres_changes"};
    (void)handle;
    if (channel->socket->doomed ||
        !rt_may_hear(channel, &delivery->mail->user, delivery->now_s)) {
        return;
    }
    if (delivery->failed) { /* it comes again and reads */
        rt_doom(rt, channel->socket);
        return;
    }
    if (delivery->work > RT_MAIL_WORK) { /* nobody waits for the filters of one user */
        atomic_fetch_add_explicit(&rt->counters.abused, 1, memory_order_relaxed);
        rt_doom(rt, channel->socket);
        return;
    }
    buf_clear(&rt->frame);
    phx_begin(&rt->frame, &head);
    if (!print_ids(delivery, channel, &rt->frame)) {
        return;
    }
    if (delivery->data == NULL) {
        render(delivery);
    }
    buf_add_char(&tail, '}');
    phx_end(&tail, &head);
    if (delivery->failed || rt->frame.failed || tail.failed) {
        rt_doom(rt, channel->socket);
    } else {
        rt_send(rt, channel->socket, WS_TEXT, buf_slice(&rt->frame), delivery->data,
                buf_slice(&tail));
        atomic_fetch_add_explicit(&rt->counters.events, 1, memory_order_relaxed);
    }
    buf_release(&tail);
}

static void deliver(struct delivery *delivery, enum table_id table, enum rt_event_type type,
                    const struct table_row *row)
{
    if ((delivery->wanted & 1u << table) == 0) {
        return;
    }
    delivery->table = table_get(table);
    delivery->type = type;
    delivery->row = *row;
    delivery->data = NULL;
    hub_publish(delivery->rt->hub, &delivery->mail->user, hear, delivery);
    rt_bytes_drop(delivery->data);
}

/* ---- v1 -------------------------------------------------------------------------------------- */

struct v1_read {
    const struct uuid *user;
    struct arena *arena;
    struct table_row row;
    bool exists;
};

/* Of more than an event carries, only times and user are read. */
static int read_v1(void *cls, struct store *store)
{
    struct v1_read *read = cls;
    struct store_user user;
    struct store_docs docs = {.n = 0};
    int status = store->user_get(store, read->user, &user);
    if (status == BQ_OK && user.n_bytes > (int64_t)RT_EVENT_BYTES) {
        read->exists = true;
        read->row = (struct table_row){{{.text = uuid_slice(read->user)},
                                        {.text = {NULL, RT_EVENT_BYTES + 1}},
                                        {.number = user.clock_us},
                                        {.number = user.clock_us}}};
        return BQ_OK;
    }
    if (status == BQ_OK) {
        status = store->docs(store, read->arena, read->user, 0, UINT32_MAX, SIZE_MAX, true, &docs);
    }
    return status == BQ_OK ? table_row_v1(read->arena, read->user, &docs, &read->row, &read->exists)
                           : status;
}

/* The row cannot be read: who listens to it comes again, and reads it. */
static void drop_v1(void *cls, void *listener, struct hub_handle handle)
{
    const struct rt_channel *channel = listener;
    (void)handle;
    for (unsigned i = 0; i < channel->n_bindings; i++) {
        if ((channel->bindings[i].tables & 1u << TABLE_V1) != 0) {
            rt_doom(cls, channel->socket);
        }
    }
}

static void deliver_v1(struct delivery *delivery)
{
    struct arena arena;
    const struct rt_mail *mail = delivery->mail;
    struct v1_read read = {.user = &mail->user, .arena = &arena};
    bool first = mail->n_changes > 0 && mail->changes[0].row.seq == 1;
    if (!mail->documents || (delivery->wanted & 1u << TABLE_V1) == 0) {
        return;
    }
    arena_init(&arena);
    if (storage_look(delivery->rt->config.storage, read_v1, &read) != BQ_OK) {
        hub_publish(delivery->rt->hub, &mail->user, drop_v1, delivery->rt);
    } else if (read.exists) {
        deliver(delivery, TABLE_V1, first ? RT_INSERT : RT_UPDATE, &read.row);
    }
    arena_release(&arena);
}

/* ---- A mail ---------------------------------------------------------------------------------- */

static void look(void *cls, void *listener, struct hub_handle handle)
{
    struct delivery *delivery = cls;
    const struct rt_channel *channel = listener;
    (void)handle;
    for (unsigned i = 0; i < channel->n_bindings; i++) {
        delivery->wanted |= channel->bindings[i].tables;
    }
}

static void drop(void *cls, void *listener, struct hub_handle handle)
{
    const struct rt_channel *channel = listener;
    (void)handle;
    rt_doom(cls, channel->socket);
}

static void deliver_documents(struct delivery *delivery, int64_t after)
{
    const struct rt_mail *mail = delivery->mail;
    for (uint32_t i = 0; i < mail->n_changes; i++) {
        const struct rt_change *change = &mail->changes[i];
        if (change->row.seq > after) {
            struct table_row row = table_row_document(&mail->user, &change->row);
            deliver(delivery, TABLE_DOCUMENTS, change->inserted ? RT_INSERT : RT_UPDATE, &row);
        }
    }
}

static void deliver_changes(struct realtime *rt, const struct rt_mail *mail)
{
    struct delivery delivery = {.rt = rt, .mail = mail, .now_s = clock_wall_us() / 1000000};
    int64_t after;
    bool takes = rt_heard_takes(rt, mail, &after);
    hub_publish(rt->hub, &mail->user, look, &delivery);
    if (delivery.wanted == 0) {
        return;
    }
    if (takes) {
        deliver_documents(&delivery, after);
    }
    if (mail->has_device) {
        struct table_row row = table_row_device(&mail->user, &mail->device);
        deliver(&delivery, TABLE_METADATA, mail->device_inserted ? RT_INSERT : RT_UPDATE, &row);
    }
    if (takes) {
        deliver_v1(&delivery);
    }
    if (takes && mail->moved) {
        struct table_row row = table_row_feed(&mail->user, mail->seq);
        deliver(&delivery, TABLE_FEED, mail->seq == 1 ? RT_INSERT : RT_UPDATE, &row);
    }
}

void rt_deliver(struct realtime *rt, const struct rt_mail *mail)
{
    switch (mail->kind) {
    case RT_MAIL_SOCKET:
        break;
    case RT_MAIL_CHANGES:
        deliver_changes(rt, mail);
        break;
    case RT_MAIL_LOST:
        hub_publish(rt->hub, &mail->user, drop, rt);
        break;
    case RT_MAIL_STANDS:
        rt_heard_start(rt, mail);
        break;
    }
}
