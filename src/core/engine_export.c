/* engine_export.c - the way back: what this device holds, as V2's app keeps it.
 *
 * V2's queue knows whole documents and the version that each expects. The rules that the server
 * has for them (docs/protocol.md 11.4) say what a document has to be so that each edit counts
 * once: the document that the server takes for its base, with what waits here applied to it. That
 * base is the last document queued for the same version, where an older app's items still wait, and
 * otherwise the document of the version that is expected. */
#include "core/engine_impl.h"

#include "base/sha1.h"
#include "base/timestamp.h"

#include <stdio.h>

#define UUID_TEXT_BYTES 37u

struct export {
    struct engine *engine;
    struct buf *out;
    struct buf queue; /* the items, between commas */
    struct buf state; /* the members of dataKeys */
    enum engine_doubt doubt;
    struct engine_export counts;
    struct slice device;
    char time[TIMESTAMP_TEXT];
};

static void add_text(struct buf *out, const char *name, struct slice text)
{
    buf_add_text(out, name);
    json_print_string(out, text);
}

static const char *priority_word(int priority)
{
    static const char *const words[] = {"low", "normal", "high", "critical"};
    return words[priority];
}

/* The same for the same edit: a second export names it alike. */
static void make_id(const struct export *x, struct slice key, struct slice data,
                    char out[UUID_TEXT_BYTES])
{
    struct buf text = BUF_INIT;
    uint8_t hash[SHA1_BYTES] = {0};
    buf_add_text(&text, x->engine->config.user);
    buf_add_char(&text, ' ');
    buf_add_slice(&text, key);
    buf_add_char(&text, ' ');
    buf_add_slice(&text, data);
    sha1(buf_slice(&text), hash);
    buf_release(&text);
    (void)snprintf(out, UUID_TEXT_BYTES,
                   "%02x%02x%02x%02x-%02x%02x-5%x%02x-a%x%02x-%02x%02x%02x%02x%02x%02x", hash[0],
                   hash[1], hash[2], hash[3], hash[4], hash[5], hash[6] & 15u, hash[7],
                   hash[8] & 15u, hash[9], hash[10], hash[11], hash[12], hash[13], hash[14],
                   hash[15]);
}

static void add_item(struct export *x, const struct lane *lane, struct slice id, struct slice data,
                     int64_t expected, struct slice created)
{
    struct buf *out = &x->queue;
    buf_add_text(out, out->len > 0 ? "," : "");
    add_text(out, "{\"id\":", id);
    add_text(out, ",\"key\":", lane->key);
    buf_add_text(out, ",\"data\":");
    buf_add_slice(out, data);
    buf_add_text(out, ",\"expectedVersion\":");
    buf_add_int(out, expected);
    add_text(out, ",\"createdAt\":", created);
    /* Five failures, and that app would never send it again: it begins anew. */
    buf_add_text(out, ",\"retryCount\":0,\"lastAttemptAt\":null,\"lastError\":null");
    add_text(out, ",\"priority\":", slice_of(priority_word(lane->priority)));
    buf_add_char(out, '}');
    x->counts.n_items++;
}

/* Applies an edit to *document whatever its version; one that cannot be applied changes nothing,
 * as at the server. */
static int put_on(struct export *x, const struct lane *lane, struct merge_document *document,
                  struct merge_edit edit)
{
    struct merge_result result;
    if (json_is_absent(&document->value) && json_is(&edit.was, JSON_OBJECT)) {
        *document = (struct merge_document){json_object(NULL, 0), 1, false, 0};
    }
    edit.base = -1;
    int status = merge_apply(&x->engine->out->arena, document, &edit,
                             lane_policy(x->engine, lane), NULL, &result);
    if (status == BQ_OK) {
        int64_t version = document->version + 1;
        *document = result.document;
        document->version = version;
    }
    return status == BQ_OUT_OF_RANGE ? BQ_OK : status;
}

/* ---- What the older app had queued, and what waits on top of it ---- */

/* The items of a lane that still wait, as they were. *out_last is the last document that V2's
 * server would take for the base of the next one; false where there is none. */
static int carried_items(struct export *x, const struct lane *lane, struct merge_document *out_last,
                         int64_t *out_expected, bool *out_found)
{
    struct engine *engine = x->engine;
    *out_found = false;
    for (uint32_t i = 0; i < engine->n_carried; i++) {
        const struct carried_item *item = &engine->carried[i];
        struct json_value value;
        struct buf data = BUF_INIT;
        if (item->lane != lane || item->item.ptr == NULL || item->device.ptr == NULL) {
            continue;
        }
        int status = lane_read_text(&engine->out->arena, item->item, &value);
        const struct json_value *document = status == BQ_OK ? json_get(&value, "data") : NULL;
        const struct json_value *created = status == BQ_OK ? json_get(&value, "createdAt") : NULL;
        if (status != BQ_OK || document == NULL) {
            return status == BQ_OK ? BQ_CORRUPT : status;
        }
        *out_expected = item->version;
        json_print(&data, document);
        add_item(x, lane, item->id, buf_slice(&data), *out_expected,
                 json_is(created, JSON_STRING) ? json_text(created) : slice_of(x->time));
        buf_release(&data);
        *out_last = (struct merge_document){*document, 1, false, 0};
        *out_found = true;
    }
    return BQ_OK;
}

/* An edit on its way: as it is, or without its sums. */
static int put_frozen(struct export *x, const struct lane *lane, const struct edit_item *item,
                      struct merge_document *document)
{
    struct arena *arena = &x->engine->out->arena;
    struct json_value wire;
    struct proto_edit edit = {.op = 0};
    struct proto_problem problem;
    bool nothing = false;
    int status = lane_read_text(arena, item->text, &wire);
    if (status == BQ_OK) {
        status = proto_edit_read(arena, &wire, &edit, &problem);
    }
    if (status == BQ_OK && x->doubt == ENGINE_DOUBT_SENT) {
        struct merge_edit rest;
        status = merge_without_sums(arena, &edit.edit, lane_policy(x->engine, lane), &rest,
                                    &nothing);
        edit.edit = rest;
    }
    return status == BQ_OK && !nothing ? put_on(x, lane, document, edit.edit) : status;
}

/* synced with the edits on their way and the seed. */
static int below_waiting(struct export *x, const struct lane *lane, struct merge_document *out)
{
    struct arena *arena = &x->engine->out->arena;
    *out = (struct merge_document){json_absent(), lane->version, false, 0};
    int status = lane->deleted ? BQ_OK : lane_read_text(arena, lane->synced, &out->value);
    for (uint32_t i = 0; i < lane->frozen.n && status == BQ_OK; i++) {
        status = put_frozen(x, lane, &lane->frozen.items[i], out);
    }
    if (status == BQ_OK && lane->seed.ptr != NULL) {
        struct merge_edit seed = {.mode = MERGE_SEED, .was = json_absent()};
        status = lane_read_text(arena, lane->seed, &seed.now);
        if (status == BQ_OK) {
            status = put_on(x, lane, out, seed);
        }
    }
    return status;
}

static int waiting_item(struct export *x, struct lane *lane, const struct merge_document *last,
                        int64_t expected, bool is_carried)
{
    struct arena *arena = &x->engine->out->arena;
    struct merge_document tip, document;
    struct merge_edit delta;
    struct json_value mine;
    bool changed = false;
    int status = lane_tip(x->engine, lane, &tip);
    if (status == BQ_OK) {
        status = lane_read_text(arena, lane->mine, &mine);
    }
    if (status == BQ_OK) {
        status = merge_diff(arena, &tip.value, &mine, lane_policy(x->engine, lane), &delta,
                            &changed);
    }
    /* A seed that an import made is what the older app has anyway. */
    bool waits = lane->frozen.n > 0 ||
                 (lane->seed.ptr != NULL && !engine_carried_any(x->engine, lane));
    if (status != BQ_OK || (!changed && (is_carried || !waits))) {
        return status;
    }
    document = *last;
    status = is_carried ? BQ_OK : below_waiting(x, lane, &document);
    if (status == BQ_OK && changed && !delta.deletes) {
        status = put_on(x, lane, &document, delta);
    }
    if (status != BQ_OK) {
        return status;
    }
    if (document.value.type != JSON_OBJECT || json_is_absent(&mine)) {
        x->counts.n_left++;
        return BQ_OK;
    }
    struct buf data = BUF_INIT;
    char id[UUID_TEXT_BYTES];
    json_print(&data, &document.value);
    make_id(x, lane->key, buf_slice(&data), id);
    add_item(x, lane, slice_of(id), buf_slice(&data), expected, slice_of(x->time));
    status = data.failed ? BQ_NOMEM : BQ_OK;
    buf_release(&data);
    return status;
}

/* ---- One document ---- */

static void add_document(struct export *x, const struct lane *lane, int64_t expected)
{
    struct buf name = BUF_INIT;
    if (lane->mine.ptr != NULL) {
        buf_add_text(&name, "sync_data_v2_");
        buf_add_slice(&name, lane->key);
        add_text(x->out, x->counts.n_documents > 0 ? "," : "", buf_slice(&name));
        add_text(x->out, ":", lane->mine);
        x->counts.n_documents++;
    }
    buf_release(&name);
    add_text(&x->state, x->state.len > 0 ? "," : "", lane->key);
    add_text(&x->state, ":{\"key\":", lane->key);
    add_text(&x->state, ",\"state\":", slice_of(lane_pending(lane) ? "queued" : "completed"));
    buf_add_text(&x->state, ",\"version\":");
    buf_add_int(&x->state, expected);
    buf_add_text(&x->state, ",\"lastSyncAt\":null,\"lastModifiedAt\":null,\"errorMessage\":null,"
                            "\"retryCount\":0}");
}

static int export_lane(struct export *x, struct lane *lane)
{
    struct merge_document last = {json_absent(), 0, false, 0};
    int64_t expected = 0;
    bool is_carried;
    int status = carried_items(x, lane, &last, &expected, &is_carried);
    if (status != BQ_OK) {
        return status;
    }
    if (!is_carried) {
        expected = lane->deleted        ? 0
                   : lane->version == 0 ? engine_carried_version(x->engine, lane)
                                        : lane->version;
    }
    status = waiting_item(x, lane, &last, expected, is_carried);
    if (status == BQ_OK) {
        add_document(x, lane, expected);
    }
    return status;
}

/* The texts of whole members, as SharedPreferences holds them. */
static void close_up(struct export *x)
{
    struct buf *out = x->out;
    struct buf text = BUF_INIT;
    buf_add_char(&text, '[');
    buf_add_slice(&text, buf_slice(&x->queue));
    buf_add_char(&text, ']');
    add_text(out, x->counts.n_documents > 0 ? ",\"sync_queue_v2\":" : "\"sync_queue_v2\":",
             buf_slice(&text));
    buf_clear(&text);
    buf_add_text(&text, "{\"dataKeys\":{");
    buf_add_slice(&text, buf_slice(&x->state));
    add_text(&text, "},\"timestamp\":", slice_of(x->time));
    buf_add_char(&text, '}');
    buf_add_text(out, ",\"sync_state_v2");
    buf_add_text(out, x->engine->config.user);
    add_text(out, "\":", buf_slice(&text));
    if (x->device.ptr != NULL) {
        add_text(out, ",\"sync_device_id\":", x->device);
    }
    buf_add_char(out, '}');
    out->failed |= text.failed;
    buf_release(&text);
}

static bool in_doubt(const struct engine *engine)
{
    for (uint32_t i = 0; i < engine->n_lanes; i++) {
        if (engine->lanes[i]->frozen.n > 0) {
            return true;
        }
    }
    return false;
}

int engine_export_v2(struct engine *engine, int64_t now_ms, enum engine_doubt doubt,
                     struct engine_actions *scratch, struct buf *out,
                     struct engine_export *out_counts)
{
    struct export x = {.engine = engine, .out = out, .doubt = doubt};
    int status = BQ_OK;
    engine->error[0] = '\0';
    if (doubt == ENGINE_DOUBT_REFUSE && in_doubt(engine)) {
        return engine_fail(engine, BQ_BUSY, "edits are on their way and nobody knows whether they "
                                            "arrived: sync once, or say what to take them for");
    }
    arena_reset(&scratch->arena);
    scratch->items = NULL;
    scratch->n = 0;
    scratch->size = 0;
    engine->out = scratch;
    (void)timestamp_print(now_ms * 1000, x.time);
    for (uint32_t i = 0; i < engine->n_carried; i++) {
        x.device = engine->carried[i].device.ptr != NULL ? engine->carried[i].device : x.device;
    }
    buf_add_char(out, '{');
    for (uint32_t i = 0; i < engine->n_lanes && status == BQ_OK; i++) {
        status = export_lane(&x, engine->lanes[i]);
    }
    close_up(&x);
    if (status == BQ_OK && (out->failed || x.queue.failed || x.state.failed)) {
        status = BQ_NOMEM;
    }
    buf_release(&x.queue);
    buf_release(&x.state);
    *out_counts = x.counts;
    return status;
}
