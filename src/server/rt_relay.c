/* rt_relay.c - topics that are not ours: to the upstream, whole, and what it says of them back
 * (docs/protocol.md, "The rest of the URL").
 *
 * Up goes what the client itself said to such a topic, byte for byte, and nothing else. Down comes
 * what names a topic that the client joined there: whatever the upstream says of ours is dropped.
 * Where it is lost, the topics end in such a way that all clients join again, with pauses. */
#include "server/rt.h"

#include "base/status.h"
#include "server/clock.h"
#include "server/elsewhere.h"

#define TURN_NEWS 256u /* before the sockets have their turn */

#define UNREACHABLE "UnableToConnectToProject: The upstream cannot be reached"
#define TOO_MANY "ConnectionRateLimitReached: Too many connections to the upstream"

/* ---- What goes there ------------------------------------------------------------------------- */

static struct slice text_of(const struct json_value *object, const char *name)
{
    const struct json_value *value = json_get(object, name);
    return json_is(value, JSON_STRING) ? json_text(value) : SLICE_NONE;
}

bool rt_relay_wants(const struct realtime *rt, const struct rt_socket *socket,
                    const struct phx_message *message)
{
    const struct json_value *config = json_get(&message->payload, "config");
    const struct json_value *wanted = json_get(config, "postgres_changes");
    unsigned n = 0;
    if (rt->relay == NULL || socket->caller == NULL || !json_is(wanted, JSON_ARRAY)) {
        return false;
    }
    for (uint32_t i = 0; i < wanted->count; i++) {
        const struct json_value *binding = &wanted->items[i];
        if (binding->type == JSON_OBJECT) {
            if (!elsewhere_has_rows(text_of(binding, "schema"), text_of(binding, "table"))) {
                return false;
            }
            n++;
        }
    }
    return n > 0;
}

/* ---- The link -------------------------------------------------------------------------------- */

static int open_link(struct realtime *rt, struct rt_socket *socket)
{
    const char *address = socket->caller + strlen(socket->caller) + 1;
    const struct relay_request request = {
        .vsn = socket->vsn,
        .api_key = socket->caller[0] == '\0' ? NULL : socket->caller,
        .address = address,
        .owner = socket,
    };
    return relay_open(rt->relay, &request, &socket->link);
}

void rt_relay_settle(struct rt_socket *socket)
{
    if (socket->link != NULL && socket->n_relayed == 0) {
        relay_close(socket->link);
        socket->link = NULL;
        socket->link_open = false;
    }
}

/* Ends a channel so that its client joins again. Before the answer to a join that takes both: the
 * error alone leaves supabase_flutter waiting, phx_error alone leaves older supabase-js (2.86) with
 * a join that it takes for another's, and leaves. */
static void fail(struct realtime *rt, struct rt_channel *channel, const char *reason)
{
    const struct phx_head head = {channel->socket->vsn, rt_join_ref(channel), rt_join_ref(channel),
                                  rt_topic(channel), "phx_reply"};
    if (!channel->joined) {
        buf_clear(&rt->frame);
        phx_begin(&rt->frame, &head);
        buf_add_format(&rt->frame,
                       "{\"status\":\"error\",\"response\":{\"reason\":\"%s\"}}", reason);
        phx_end(&rt->frame, &head);
        rt_send_frame(rt, channel->socket);
    }
    rt_channel_end(rt, channel, "phx_error");
}

static void lose(struct realtime *rt, struct rt_socket *socket)
{
    struct rt_channel *next;
    for (struct rt_channel *channel = socket->channels; channel != NULL; channel = next) {
        next = channel->next;
        if (channel->relayed) {
            fail(rt, channel, UNREACHABLE);
        }
    }
    rt_relay_settle(socket);
}

static void log_lost(struct realtime *rt, const char *why)
{
    struct log_line line;
    int64_t now_us = clock_us();
    atomic_fetch_add_explicit(&rt->counters.relays_lost, 1, memory_order_relaxed);
    if (now_us - rt->relay_logged_us < RT_LOG_MS * 1000 && rt->relay_logged_us != 0) {
        return; /* all of them are lost at once where the upstream ends */
    }
    rt->relay_logged_us = now_us;
    log_begin(&line, rt->config.log, LOG_LEVEL_WARN, clock_wall_us(), "upstream_socket_lost");
    log_add_text(&line, "why", slice_of(why));
    log_end(&line);
}

/* ---- Up -------------------------------------------------------------------------------------- */

void rt_relay_send(struct realtime *rt, struct rt_socket *socket, bool binary, struct slice bytes)
{
    if (socket->link != NULL && !relay_send(socket->link, binary, bytes)) {
        log_lost(rt, "the upstream does not read");
        lose(rt, socket);
    }
}

const char *rt_relay_join(struct realtime *rt, struct rt_socket *socket,
                          const struct phx_message *message)
{
    struct rt_channel *channel;
    if (rt_channel_new(rt, socket, message, &channel) != BQ_OK) {
        return "UnknownErrorOnChannel: memory is exhausted";
    }
    channel->relayed = true;
    channel->exp_s = INT64_MAX; /* its end is the upstream's to tell */
    socket->n_relayed++;
    if (socket->kept + channel->kept > RT_KEPT_BYTES) {
        channel->kept = 0; /* never counted */
        rt_channel_free(rt, channel);
        return "ChannelRateLimitReached: Too many channels";
    }
    socket->kept += channel->kept;
    int status = socket->link == NULL ? open_link(rt, socket) : BQ_OK;
    if (status != BQ_OK) {
        fail(rt, channel, status == BQ_BUSY ? TOO_MANY : UNREACHABLE);
        atomic_fetch_add_explicit(&rt->counters.joins_refused, 1, memory_order_relaxed);
        return NULL;
    }
    atomic_fetch_add_explicit(&rt->counters.joins, 1, memory_order_relaxed);
    rt_relay_send(rt, socket, false, message->whole);
    return NULL;
}

void rt_relay_leave(const struct rt_channel *channel)
{
    struct rt_socket *socket = channel->socket;
    const struct phx_head head = {socket->vsn, rt_join_ref(channel), SLICE("leave"),
                                  rt_topic(channel), "phx_leave"};
    struct buf text = BUF_INIT;
    phx_begin(&text, &head);
    buf_add_text(&text, "{}");
    phx_end(&text, &head);
    if (!text.failed) {
        (void)relay_send(socket->link, false, buf_slice(&text));
    }
    buf_release(&text);
}

/* ---- Down ------------------------------------------------------------------------------------ */

static bool is_end(const struct phx_envelope *message)
{
    return slice_is(message->event, "phx_close") || slice_is(message->event, "phx_error");
}

/* Clients number a join alike as a message and as a join. */
static bool answers_join(const struct rt_channel *channel, const struct phx_envelope *message)
{
    return slice_is(message->event, "phx_reply") &&
           slice_equal(message->ref, rt_join_ref(channel));
}

static bool is_refusal(struct realtime *rt, const struct phx_envelope *message)
{
    struct json_value payload;
    return json_parse(&rt->arena, message->payload, 64, &payload, NULL) == BQ_OK &&
           slice_is(text_of(&payload, "status"), "error");
}

/* The end of an earlier join of the same topic, which the client has long left. */
static bool is_stale(const struct rt_channel *channel, const struct phx_envelope *message)
{
    struct slice ref = message->join_ref.ptr == NULL ? message->ref : message->join_ref;
    return is_end(message) && ref.ptr != NULL && !slice_equal(ref, rt_join_ref(channel));
}

/* The topic, where it is the upstream's to speak of. */
static struct rt_channel *find(struct rt_socket *socket, struct slice topic)
{
    struct rt_channel *channel = rt_channel_find(socket, topic);
    return channel != NULL && channel->relayed ? channel : NULL;
}

static void take_text(struct realtime *rt, struct rt_socket *socket, struct slice text)
{
    struct phx_envelope message;
    arena_reset(&rt->arena);
    if (phx_skim(&rt->arena, socket->vsn, text, &message) != BQ_OK) {
        return;
    }
    struct rt_channel *channel = find(socket, message.topic);
    if (channel == NULL || is_stale(channel, &message)) {
        return;
    }
    rt_send(rt, socket, WS_TEXT, text, NULL, SLICE(""));
    bool answered = answers_join(channel, &message);
    channel->joined = channel->joined || answered;
    if (is_end(&message) || (answered && is_refusal(rt, &message))) {
        rt_channel_free(rt, channel);
    }
}

static void take_binary(struct realtime *rt, struct rt_socket *socket, struct slice bytes)
{
    struct slice topic;
    if (socket->vsn == PHX_V2 && phx_skim_binary(bytes, &topic) == BQ_OK &&
        find(socket, topic) != NULL) {
        rt_send(rt, socket, WS_BINARY, bytes, NULL, SLICE(""));
    }
}

bool rt_relay_turn(struct realtime *rt)
{
    struct relay_news news;
    unsigned n = 0;
    while (n < TURN_NEWS && relay_next(rt->relay, &news)) {
        struct rt_socket *socket = news.owner;
        switch (news.kind) {
        case RELAY_OPEN:
            socket->link_open = true;
            break;
        case RELAY_TEXT:
            take_text(rt, socket, news.frame);
            break;
        case RELAY_BINARY:
            take_binary(rt, socket, news.frame);
            break;
        case RELAY_LOST:
            log_lost(rt, news.why);
            lose(rt, socket);
            break;
        }
        rt_relay_settle(socket);
        n++;
    }
    return n == TURN_NEWS;
}
