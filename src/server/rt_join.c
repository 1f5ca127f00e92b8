/* rt_join.c - phx_join: who, what, and the answer.
 *
 * The bindings are registered before the answer leaves, so nothing that is committed after it goes
 * by (where other servers write too: rt_heard.c). A join is not refused for what it subscribes to:
 * a wrong subscription is told by a `system` message behind the answer. What is refused is refused
 * late, so that clients which join again at once do not storm; nobody waits for that but they. */
#include "server/rt.h"

#include "base/mem.h"
#include "base/plant.h"
#include "base/status.h"
#include "server/clock.h"
#include "server/filter.h"

#include <stdio.h>

#define PREFIX "realtime:"
#define SUBSCRIBED "Subscribed to PostgreSQL"

/* ---- Refusals -------------------------------------------------------------------------------- */

static char *put(char *to, struct slice text)
{
    if (text.ptr != NULL) {
        memcpy(to, text.ptr, text.len);
    }
    return to + text.len;
}

static void refuse(struct realtime *rt, struct rt_socket *socket, const struct phx_message *message,
                   const char *reason)
{
    struct slice parts[4] = {message->join_ref, message->ref, message->topic, slice_of(reason)};
    size_t n_bytes = 0;
    for (unsigned i = 0; i < 4; i++) {
        n_bytes += parts[i].len;
    }
    atomic_fetch_add_explicit(&rt->counters.joins_refused, 1, memory_order_relaxed);
    struct rt_refusal *refusal =
        socket->n_refusals >= RT_REFUSALS ? NULL : mem_alloc(sizeof *refusal + n_bytes);
    if (refusal == NULL) {
        rt_close(rt, socket, WS_CLOSE_POLICY);
        return;
    }
    *refusal = (struct rt_refusal){
        .due_us = clock_us() + rt->config.config->join_refusal_ms * 1000,
        .socket = socket,
        .socket_id = socket->id,
        .has_join_ref = message->join_ref.ptr != NULL,
        .has_ref = message->ref.ptr != NULL,
    };
    char *at = refusal->text;
    for (unsigned i = 0; i < 4; i++) {
        refusal->lens[i] = (uint32_t)parts[i].len;
        at = put(at, parts[i]);
    }
    socket->n_refusals++;
    *rt->refusals_last = refusal;
    rt->refusals_last = &refusal->next;
}

static void send_refusal(struct realtime *rt, const struct rt_refusal *refusal)
{
    struct slice parts[4];
    const char *at = refusal->text;
    for (unsigned i = 0; i < 4; i++) {
        parts[i] = (struct slice){at, refusal->lens[i]};
        at += refusal->lens[i];
    }
    const struct phx_head head = {refusal->socket->vsn,
                                  refusal->has_join_ref ? parts[0] : SLICE_NONE,
                                  refusal->has_ref ? parts[1] : SLICE_NONE, parts[2], "phx_reply"};
    buf_clear(&rt->frame);
    phx_begin(&rt->frame, &head);
    buf_add_text(&rt->frame, "{\"status\":\"error\",\"response\":{\"reason\":");
    json_print_string(&rt->frame, parts[3]);
    buf_add_text(&rt->frame, "}}");
    phx_end(&rt->frame, &head);
    rt_send_frame(rt, refusal->socket);
}

/* The socket may be gone meanwhile, and its memory another one's. */
static bool is_there(const struct realtime *rt, const struct rt_refusal *refusal)
{
    for (size_t i = 0; i < rt->n_sockets; i++) {
        if (rt->sockets[i] == refusal->socket) {
            return refusal->socket->id == refusal->socket_id;
        }
    }
    return false;
}

void rt_refuse_due(struct realtime *rt, int64_t now_us)
{
    while (rt->refusals != NULL && rt->refusals->due_us <= now_us) {
        struct rt_refusal *refusal = rt->refusals;
        rt->refusals = refusal->next;
        if (rt->refusals == NULL) {
            rt->refusals_last = &rt->refusals;
        }
        if (is_there(rt, refusal)) {
            refusal->socket->n_refusals--;
            send_refusal(rt, refusal);
        }
        mem_free(refusal);
    }
}

void rt_refusals_free(struct realtime *rt)
{
    while (rt->refusals != NULL) {
        struct rt_refusal *refusal = rt->refusals;
        rt->refusals = refusal->next;
        mem_free(refusal);
    }
    rt->refusals_last = &rt->refusals;
}

/* ---- Bindings -------------------------------------------------------------------------------- */

struct join {
    struct realtime *rt;
    struct rt_channel *channel;
    const struct json_value *wanted; /* config.postgres_changes, or NULL */
    size_t work;                     /* of the filters so far */
    struct buf why;                  /* the first thing that is wrong with them */
};

static struct slice text_of(const struct json_value *object, const char *name)
{
    const struct json_value *value = json_get(object, name);
    return json_is(value, JSON_STRING) ? json_text(value) : SLICE_NONE;
}

static uint8_t events_of(struct slice event)
{
    static const uint8_t insert = 1u << RT_INSERT;
    static const uint8_t update = 1u << RT_UPDATE;
    if (event.ptr == NULL || slice_is(event, "*")) {
        return insert | update;
    }
    /* DELETE: no row is ever deleted for those who listen. */
    return slice_is(event, "INSERT") ? insert : slice_is(event, "UPDATE") ? update : 0;
}

static uint8_t tables_of(struct slice schema, struct slice name)
{
    static const uint8_t published =
        1u << TABLE_DOCUMENTS | 1u << TABLE_METADATA | 1u << TABLE_FEED | 1u << TABLE_V1;
    if (schema.ptr != NULL && !slice_is(schema, "public") && !slice_is(schema, "*")) {
        return 0;
    }
    if (name.ptr == NULL || slice_is(name, "*")) {
        return published;
    }
    const struct table *table = table_find(name);
    unsigned bits = table == NULL ? 0 : published & (1u << table->id);
    return (uint8_t)bits;
}

static void add_or(struct buf *out, struct slice text, const char *otherwise)
{
    buf_add_slice(out, text.ptr == NULL ? slice_of(otherwise) : text);
}

/* [event: *, schema: public, table: nope, filters: [{"a", "eq", "b"}], select: nil] */
static void say_parameters(struct buf *out, const struct json_value *binding,
                           const struct filter *filter)
{
    buf_add_text(out, "[event: ");
    add_or(out, text_of(binding, "event"), "*");
    buf_add_text(out, ", schema: ");
    add_or(out, text_of(binding, "schema"), "public");
    buf_add_text(out, ", table: ");
    add_or(out, text_of(binding, "table"), "*");
    buf_add_text(out, ", filters: [");
    for (unsigned i = 0; i < filter->n_terms; i++) {
        const struct filter_term *term = &filter->terms[i];
        buf_add_text(out, i == 0 ? "{" : ", {");
        json_print_string(out, term->column);
        buf_add_text(out, ", ");
        json_print_string(out, term->word);
        buf_add_text(out, ", ");
        json_print_string(out, term->text);
        buf_add_char(out, '}');
    }
    buf_add_text(out, "], select: nil]");
}

/* Whether all tables of the binding know the filter's columns and values. */
static int check_filter(struct arena *arena, const struct json_value *binding, uint8_t tables,
                        const struct filter *filter, struct buf *why)
{
    struct buf exception = BUF_INIT;
    int status = BQ_OK;
    for (unsigned id = 0; id < TABLES && status == BQ_OK; id++) {
        if ((tables & 1u << id) != 0) {
            status = filter_check(arena, table_get((enum table_id)id), filter, &exception);
        }
    }
    if (status == BQ_INVALID) {
        buf_add_text(why, "Unable to subscribe to changes with given parameters. An exception "
                          "happened so please check your connect parameters: ");
        say_parameters(why, binding, filter);
        buf_add_text(why, ". Exception: ERROR P0001 (raise_exception) ");
        buf_add_slice(why, buf_slice(&exception));
    }
    buf_release(&exception);
    return status;
}

/* BQ_OK; BQ_NOMEM; BQ_INVALID with a sentence. */
static int read_binding(struct join *join, const struct json_value *wanted, struct rt_binding *out)
{
    struct arena *arena = &join->rt->arena;
    struct filter *filter = arena_zalloc(arena, 1, sizeof *filter);
    struct slice schema = text_of(wanted, "schema");
    struct slice table = text_of(wanted, "table");
    struct slice text = text_of(wanted, "filter");
    if (filter == NULL) {
        return BQ_NOMEM;
    }
    if (schema.ptr == NULL && table.ptr == NULL) {
        buf_add_text(&join->why, "No subscription params provided. Please provide at least a "
                                 "`schema` or `table` to subscribe to: %{}");
        return BQ_INVALID;
    }
    if (text.len > FILTER_MAX_BYTES) {
        buf_add_text(&join->why, "Error parsing `filter` params: [\"too long\"]");
        return BQ_INVALID;
    }
    int status = filter_parse(arena, text.ptr == NULL ? SLICE("") : text, filter, &join->why);
    if (status != BQ_OK) {
        return status;
    }
    join->work += filter_work(filter);
    if (join->work > RT_CHANNEL_WORK) {
        buf_add_text(&join->why, "Unable to subscribe to changes: the filters of the channel have "
                                 "too many patterns");
        return BQ_INVALID;
    }
    out->events = events_of(text_of(wanted, "event"));
    out->tables = tables_of(schema, table);
    if (out->tables == 0) {
        buf_add_text(&join->why, "Unable to subscribe to changes with given parameters. Please "
                                 "check Realtime is enabled for the given connect parameters: ");
        say_parameters(&join->why, wanted, filter);
        return BQ_INVALID;
    }
    status = check_filter(arena, wanted, out->tables, filter, &join->why);
    if (status == BQ_OK && text.len > 0) {
        out->filter = mem_dup(text.ptr, text.len);
        out->filter_len = (uint16_t)text.len;
        join->channel->kept += text.len;
        status = out->filter == NULL ? BQ_NOMEM : BQ_OK;
    }
    return status;
}

static uint32_t count_bindings(const struct json_value *wanted)
{
    uint32_t n = 0;
    for (uint32_t i = 0; wanted != NULL && i < wanted->count; i++) {
        n += wanted->items[i].type == JSON_OBJECT;
    }
    return n;
}

/* All of them, or none and a sentence. */
static int register_bindings(struct join *join)
{
    struct rt_channel *channel = join->channel;
    uint32_t n = count_bindings(join->wanted);
    if (n > RT_BINDINGS) {
        buf_add_format(&join->why,
                       "Unable to subscribe to changes: a channel has at most %u "
                       "bindings",
                       RT_BINDINGS);
        return BQ_OK;
    }
    channel->bindings = n == 0 ? NULL : mem_zalloc(n, sizeof *channel->bindings);
    if (n > 0 && channel->bindings == NULL) {
        return BQ_NOMEM;
    }
    int status = BQ_OK;
    for (uint32_t i = 0; n > 0 && i < join->wanted->count && status == BQ_OK; i++) {
        if (join->wanted->items[i].type == JSON_OBJECT) {
            struct rt_binding *binding = &channel->bindings[channel->n_bindings++];
            status = read_binding(join, &join->wanted->items[i], binding);
        }
    }
    channel->kept += n * sizeof *channel->bindings;
    if (status == BQ_INVALID) {
        for (unsigned i = 0; i < channel->n_bindings; i++) {
            channel->bindings[i].tables = 0;
        }
        status = BQ_OK;
    }
    return status;
}

/* The bindings as they came, in their order, each with its id: clients compare. */
static void print_bindings(struct buf *out, const struct json_value *wanted)
{
    unsigned id = 0;
    for (uint32_t i = 0; wanted != NULL && i < wanted->count; i++) {
        const struct json_value *binding = &wanted->items[i];
        if (binding->type != JSON_OBJECT) {
            continue;
        }
        buf_add_text(out, id == 0 ? "{" : ",{");
        for (uint32_t k = 0; k < binding->count; k++) {
            if (!slice_is(json_text(&binding->members[k].key), "id")) {
                json_print(out, &binding->members[k].key);
                buf_add_char(out, ':');
                json_print(out, &binding->members[k].value);
                buf_add_char(out, ',');
            }
        }
        buf_add_format(out, "\"id\":%u}", ++id);
    }
}

/* ---- The channel ----------------------------------------------------------------------------- */

/* Booleans may come as texts. */
static bool flag_of(const struct json_value *object, const char *name)
{
    const struct json_value *value = json_get(object, name);
    return json_is(value, JSON_TRUE) ||
           (json_is(value, JSON_STRING) && slice_is(json_text(value), "true"));
}

static int configure(struct rt_channel *channel, const struct json_value *config)
{
    const struct json_value *broadcast = json_get(config, "broadcast");
    const struct json_value *presence = json_get(config, "presence");
    struct slice key = SLICE_NONE;
    if (json_is(broadcast, JSON_OBJECT)) {
        channel->self = flag_of(broadcast, "self");
        channel->ack = flag_of(broadcast, "ack");
    }
    if (json_is(presence, JSON_OBJECT)) {
        channel->watches = flag_of(presence, "enabled");
        key = text_of(presence, "key");
    }
    if (key.len > 0 && key.len <= RT_TOPIC_BYTES) {
        channel->presence_key = mem_dup(key.ptr, key.len);
        channel->kept += key.len;
        return channel->presence_key == NULL ? BQ_NOMEM : BQ_OK;
    }
    return BQ_OK;
}

static void answer(struct join *join, const struct phx_message *message)
{
    struct realtime *rt = join->rt;
    struct rt_channel *channel = join->channel;
    const struct phx_head head = {channel->socket->vsn, message->join_ref, message->ref,
                                  message->topic, "phx_reply"};
    buf_clear(&rt->frame);
    phx_begin(&rt->frame, &head);
    buf_add_text(&rt->frame, "{\"status\":\"ok\",\"response\":{\"postgres_changes\":[");
    print_bindings(&rt->frame, join->wanted);
    buf_add_text(&rt->frame, "]}}");
    phx_end(&rt->frame, &head);
    rt_send_frame(rt, channel->socket);
}

static void follow_up(struct join *join, const struct json_value *config)
{
    struct realtime *rt = join->rt;
    struct rt_channel *channel = join->channel;
    const struct json_value *broadcast = json_get(config, "broadcast");
    if (channel->watches) {
        rt_presence_state(rt, channel);
    }
    if (json_is(broadcast, JSON_OBJECT) && flag_of(broadcast, "replication_ready")) {
        rt_system(rt, channel, "system", "ok", SLICE("Replication connection established"));
    }
    if (join->why.len > 0) {
        rt_system(rt, channel, "postgres_changes", "error", buf_slice(&join->why));
    } else if (channel->n_bindings > 0) {
        rt_system(rt, channel, "postgres_changes", "ok", SLICE(SUBSCRIBED));
    }
}

/* Fills in the channel. NULL, or why it may not be. */
static const char *fill(struct join *join, const struct json_value *config,
                        const struct jwt_identity *identity)
{
    struct rt_channel *channel = join->channel;
    struct rt_socket *socket = channel->socket;
    int status = configure(channel, config);
    if (status == BQ_OK) {
        status = register_bindings(join);
    }
    if (status == BQ_OK && socket->kept + channel->kept > RT_KEPT_BYTES) {
        channel->kept = 0; /* never counted */
        return "ChannelRateLimitReached: Too many channels";
    }
    socket->kept += channel->kept;
    if (status == BQ_OK) {
        status = rt_take_claims(join->rt, channel, identity);
    }
    return status == BQ_OK     ? NULL
           : status == BQ_BUSY ? "ConnectionRateLimitReached: Too many connected users"
                               : "UnknownErrorOnChannel: memory is exhausted";
}

/* The token of a join: access_token, or by its old name. */
static struct slice token_of(const struct json_value *payload)
{
    struct slice token = text_of(payload, "access_token");
    return token.ptr == NULL ? text_of(payload, "user_token") : token;
}

/* For a planted bug: the user whose id ends the topic. */
static void name_by_topic(struct slice topic, struct jwt_identity *identity)
{
    struct slice end = {topic.ptr + topic.len - UUID_TEXT, UUID_TEXT};
    if (topic.len > UUID_TEXT && identity->has_user) {
        (void)uuid_parse(end, &identity->user);
    }
}

static void admit(struct join *join, struct rt_socket *socket, const struct phx_message *message,
                  const struct jwt_identity *identity)
{
    struct realtime *rt = join->rt;
    const struct json_value *config = json_get(&message->payload, "config");
    static const struct json_value nothing = {.type = JSON_OBJECT};
    config = json_is(config, JSON_OBJECT) ? config : &nothing;
    join->wanted = json_get(config, "postgres_changes");
    join->wanted = json_is(join->wanted, JSON_ARRAY) ? join->wanted : NULL;
    if (flag_of(config, "private") && identity->role == ROLE_ANON) {
        refuse(rt, socket, message,
               problem_format(&rt->arena,
                              "Unauthorized: You do not have permissions to read from "
                              "this Channel topic: %.*s",
                              (int)(message->topic.len - 9), message->topic.ptr + 9));
        return;
    }
    if (rt_channel_new(rt, socket, message, &join->channel) != BQ_OK) {
        refuse(rt, socket, message, "UnknownErrorOnChannel: memory is exhausted");
        return;
    }
    const char *problem = fill(join, config, identity);
    if (problem != NULL) {
        rt_channel_free(rt, join->channel);
        refuse(rt, socket, message, problem);
        return;
    }
    join->channel->token_hash = rt_token_hash(rt, token_of(&message->payload));
    atomic_fetch_add_explicit(&rt->counters.joins, 1, memory_order_relaxed);
    answer(join, message);
    follow_up(join, config);
}

void rt_join(struct realtime *rt, struct rt_socket *socket, const struct phx_message *message)
{
    const size_t n_prefix = sizeof PREFIX - 1;
    struct rt_claims claims;
    bool named =
        message->topic.len >= n_prefix && memcmp(message->topic.ptr, PREFIX, n_prefix) == 0;
    if (!named) {
        rt_reply_unmatched(rt, socket, message);
    } else if (message->topic.len == n_prefix) {
        refuse(rt, socket, message, "TopicNameRequired: You must provide a topic name");
    } else if (socket->n_channels >= RT_CHANNELS) {
        refuse(rt, socket, message, "ChannelRateLimitReached: Too many channels");
    } else if (rt_relay_wants(rt, socket, message)) {
        const char *problem = rt_relay_join(rt, socket, message);
        if (problem != NULL) {
            refuse(rt, socket, message, problem);
        }
    } else if (rt_claims_of(rt, socket, token_of(&message->payload), &claims) != BQ_OK) {
        refuse(rt, socket, message,
               problem_format(&rt->arena, "%s: %s", claims.class, claims.reason));
    } else {
        struct join join = {.rt = rt, .why = BUF_INIT};
        if (PLANTED(USER_FROM_TOPIC)) {
            name_by_topic(message->topic, &claims.identity);
        }
        if (!rt_hold(rt, socket, message, &claims.identity)) {
            admit(&join, socket, message, &claims.identity);
        }
        buf_release(&join.why);
    }
}
