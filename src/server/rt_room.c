/* rt_room.c - broadcasts and presence: between the channels of one user and one topic, never across
 * users. A channel without a user is answered and alone. */
#include "server/rt.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/plant.h"
#include "base/status.h"
#include "base/utf8.h"
#include "server/clock.h"

#include <stdio.h>

/* ---- Broadcasts ------------------------------------------------------------------------------ */

struct broadcast {
    struct realtime *rt;
    const struct rt_channel *from;
    int64_t now_s;
    struct rt_bytes *text;   /* the payload as JSON; NULL: none, for it is binary */
    struct rt_bytes *binary; /* the whole frame of kind 4; NULL: it came as text */
    const char *event;       /* of the message around the text */
};

/* A message whose payload is shared. */
static void send_shared(struct realtime *rt, struct rt_channel *channel, const char *event,
                        struct rt_bytes *payload)
{
    const struct phx_head head = {channel->socket->vsn, SLICE_NONE, SLICE_NONE, rt_topic(channel),
                                  event};
    struct buf tail = BUF_INIT;
    buf_clear(&rt->frame);
    phx_begin(&rt->frame, &head);
    phx_end(&tail, &head);
    if (rt->frame.failed || tail.failed) {
        rt_doom(rt, channel->socket);
    } else {
        rt_send(rt, channel->socket, WS_TEXT, buf_slice(&rt->frame), payload, buf_slice(&tail));
    }
    buf_release(&tail);
}

static void hear(void *cls, void *listener, struct hub_handle handle)
{
    struct broadcast *broadcast = cls;
    struct rt_channel *channel = listener;
    (void)handle;
    if (!rt_may_hear(channel, &broadcast->from->user, broadcast->now_s) ||
        !slice_equal(rt_topic(channel), rt_topic(broadcast->from)) ||
        (channel == broadcast->from && !channel->self)) {
        return;
    }
    if (broadcast->binary != NULL && channel->socket->vsn == PHX_V2) {
        rt_send(broadcast->rt, channel->socket, WS_BINARY, SLICE(""), broadcast->binary, SLICE(""));
    } else if (broadcast->text != NULL) {
        send_shared(broadcast->rt, channel, broadcast->event, broadcast->text);
    }
}

/* Whether the channel may speak: it has a user, and his token is not over. */
static bool may_speak(const struct rt_channel *channel, int64_t now_s)
{
    return channel->bound && rt_may_hear(channel, &channel->user, now_s);
}

/* For a planted bug: whoever has joined the topic hears it. */
static void tell_all(struct broadcast *broadcast)
{
    const struct realtime *rt = broadcast->rt;
    for (size_t i = 0; i < rt->n_sockets; i++) {
        struct rt_channel *channel = rt_channel_find(rt->sockets[i], rt_topic(broadcast->from));
        if (channel != NULL && channel != broadcast->from && broadcast->text != NULL) {
            send_shared(broadcast->rt, channel, broadcast->event, broadcast->text);
        }
    }
}

static void publish(struct broadcast *broadcast)
{
    broadcast->now_s = clock_wall_us() / 1000000;
    if (PLANTED(ROOM_OF_ALL)) {
        tell_all(broadcast);
    } else if (may_speak(broadcast->from, broadcast->now_s)) {
        hub_publish(broadcast->rt->hub, &broadcast->from->user, hear, broadcast);
    }
    rt_bytes_drop(broadcast->text);
    rt_bytes_drop(broadcast->binary);
}

void rt_broadcast_text(struct realtime *rt, struct rt_channel *channel,
                       const struct phx_message *message)
{
    struct broadcast broadcast = {.rt = rt, .from = channel, .event = "broadcast"};
    struct buf payload = BUF_INIT;
    if (message->payload.type != JSON_OBJECT) {
        return; /* clients cannot take anything else */
    }
    json_print(&payload, &message->payload);
    broadcast.text = payload.failed ? NULL : rt_bytes_new(buf_slice(&payload));
    buf_release(&payload);
    publish(&broadcast);
    if (channel->ack) {
        rt_reply_ok(rt, channel->socket, message);
    }
}

/* {"type":"broadcast","event":..,"payload":..} for clients of vsn 1.0.0; NULL: not JSON. */
static struct rt_bytes *as_text(struct realtime *rt, const struct phx_broadcast *in)
{
    struct json_value value;
    struct rt_bytes *bytes = NULL;
    struct buf text = BUF_INIT;
    if (!in->json || json_parse(&rt->arena, in->payload, 64, &value, NULL) != BQ_OK) {
        return NULL;
    }
    buf_add_text(&text, "{\"type\":\"broadcast\",\"event\":");
    json_print_string(&text, in->event);
    buf_add_text(&text, ",\"payload\":");
    json_print(&text, &value);
    buf_add_char(&text, '}');
    if (!text.failed) {
        bytes = rt_bytes_new(buf_slice(&text));
    }
    buf_release(&text);
    return bytes;
}

static struct rt_bytes *as_binary(const struct phx_broadcast *in)
{
    struct buf frame = BUF_INIT;
    struct rt_bytes *bytes =
        phx_print_broadcast(&frame, in) ? rt_bytes_new(buf_slice(&frame)) : NULL;
    buf_release(&frame);
    return bytes;
}

void rt_broadcast_binary(struct realtime *rt, struct rt_socket *socket, struct slice bytes)
{
    struct phx_broadcast in;
    struct broadcast broadcast = {.rt = rt, .event = "broadcast"};
    atomic_fetch_add_explicit(&rt->counters.messages, 1, memory_order_relaxed);
    if (socket->vsn != PHX_V2 || phx_read_broadcast(bytes, &in) != BQ_OK ||
        !utf8_is_plain(in.event)) {
        return;
    }
    arena_reset(&rt->arena);
    const struct phx_message message = {
        .join_ref = in.join_ref.len == 0 ? SLICE_NONE : in.join_ref,
        .ref = in.ref.len == 0 ? SLICE_NONE : in.ref,
        .topic = in.topic,
    };
    struct rt_channel *channel = rt_channel_find(socket, in.topic);
    if (channel == NULL) {
        return; /* what names no channel may not even be a text that could be sent back */
    }
    if (channel->relayed) {
        rt_relay_send(rt, socket, true, bytes);
        return;
    }
    broadcast.from = channel;
    broadcast.text = as_text(rt, &in);
    broadcast.binary = in.json && broadcast.text == NULL ? NULL : as_binary(&in);
    publish(&broadcast);
    if (channel->ack && utf8_is_plain(message.ref) && utf8_is_plain(message.join_ref)) {
        rt_reply_ok(rt, socket, &message);
    }
}

/* ---- Presence -------------------------------------------------------------------------------- */

static struct slice key_of(const struct rt_channel *channel)
{
    return slice_of(channel->presence_key);
}

/* {"phx_ref":"..",<what was tracked>} */
static void print_meta(struct buf *out, uint64_t ref, const struct rt_bytes *tracked)
{
    buf_add_format(out, "{\"phx_ref\":\"F%llx\"", (unsigned long long)ref);
    if (tracked->len > 0) {
        buf_add_char(out, ',');
        buf_add(out, tracked->ptr, tracked->len);
    }
    buf_add_char(out, '}');
}

/* "<name>":{"<key>":{"metas":[..]}} or "<name>":{} */
static void print_side(struct buf *out, const char *name, struct slice key, uint64_t ref,
                       const struct rt_bytes *tracked)
{
    buf_add_format(out, "\"%s\":{", name);
    if (tracked != NULL) {
        json_print_string(out, key);
        buf_add_text(out, ":{\"metas\":[");
        print_meta(out, ref, tracked);
        buf_add_text(out, "]}");
    }
    buf_add_char(out, '}');
}

struct diff {
    struct realtime *rt;
    const struct rt_channel *of;
    int64_t now_s;
    struct rt_bytes *payload;
};

static void hear_diff(void *cls, void *listener, struct hub_handle handle)
{
    struct diff *diff = cls;
    struct rt_channel *channel = listener;
    (void)handle;
    if (channel->watches && rt_may_hear(channel, &diff->of->user, diff->now_s) &&
        slice_equal(rt_topic(channel), rt_topic(diff->of))) {
        send_shared(diff->rt, channel, "presence_diff", diff->payload);
    }
}

static size_t kept_of(const struct rt_bytes *tracked)
{
    return tracked == NULL ? 0 : tracked->len;
}

static void count_kept(struct rt_channel *channel, size_t before, size_t after)
{
    channel->kept = channel->kept - before + after;
    channel->socket->kept = channel->socket->kept - before + after;
}

/* What a channel tracked goes, and something else (NULL: nothing) comes in its place. */
static void replace(struct realtime *rt, struct rt_channel *channel, struct rt_bytes *tracked)
{
    struct buf payload = BUF_INIT;
    uint64_t ref = tracked == NULL ? 0 : ++rt->last_presence;
    struct diff diff = {.rt = rt, .of = channel, .now_s = clock_wall_us() / 1000000};
    buf_add_char(&payload, '{');
    print_side(&payload, "joins", key_of(channel), ref, tracked);
    buf_add_char(&payload, ',');
    print_side(&payload, "leaves", key_of(channel), channel->presence_ref, channel->presence);
    buf_add_char(&payload, '}');
    count_kept(channel, kept_of(channel->presence), kept_of(tracked));
    rt_bytes_drop(channel->presence);
    channel->presence = tracked;
    channel->presence_ref = ref;
    diff.payload = payload.failed ? NULL : rt_bytes_new(buf_slice(&payload));
    buf_release(&payload);
    if (diff.payload != NULL) {
        hub_publish(rt->hub, &channel->user, hear_diff, &diff);
        rt_bytes_drop(diff.payload);
    }
}

void rt_presence_end(struct realtime *rt, struct rt_channel *channel)
{
    if (channel->presence != NULL) {
        replace(rt, channel, NULL);
    }
}

/* The members of what is tracked, without braces and without a phx_ref of their own. */
static struct rt_bytes *members_of(const struct json_value *object)
{
    struct buf text = BUF_INIT;
    struct rt_bytes *bytes = NULL;
    for (uint32_t i = 0; json_is(object, JSON_OBJECT) && i < object->count; i++) {
        const struct json_member *member = &object->members[i];
        if (!slice_is(json_text(&member->key), "phx_ref")) {
            buf_add_text(&text, text.len == 0 ? "" : ",");
            json_print(&text, &member->key);
            buf_add_char(&text, ':');
            json_print(&text, &member->value);
        }
    }
    if (!text.failed && text.len <= RT_PRESENCE_BYTES) {
        bytes = rt_bytes_new(buf_slice(&text));
    }
    buf_release(&text);
    return bytes;
}

/* Who named no key gets one of his own. */
static bool has_key(struct realtime *rt, struct rt_channel *channel)
{
    char text[33];
    if (channel->presence_key == NULL) {
        uint64_t number = ++rt->last_presence;
        struct hash128 hash = hash_text((struct slice){(const char *)&number, sizeof number},
                                        rt->config.hub_key[0], rt->config.hub_key[1]);
        int n = snprintf(text, sizeof text, "%016llx%016llx", (unsigned long long)hash.high,
                         (unsigned long long)hash.low);
        channel->presence_key = mem_dup(text, (size_t)n);
    }
    return channel->presence_key != NULL;
}

static void track(struct realtime *rt, struct rt_channel *channel, const struct json_value *object)
{
    struct rt_socket *socket = channel->socket;
    struct rt_bytes *tracked = has_key(rt, channel) ? members_of(object) : NULL;
    if (tracked == NULL ||
        socket->kept - kept_of(channel->presence) + tracked->len > RT_KEPT_BYTES) {
        rt_bytes_drop(tracked);
        return;
    }
    bool begins = !channel->watches;
    channel->watches = true;
    replace(rt, channel, tracked);
    if (begins) { /* it was not told at its join who is there */
        rt_presence_state(rt, channel);
    }
}

void rt_presence(struct realtime *rt, struct rt_channel *channel, const struct phx_message *message)
{
    const struct json_value *verb = json_get(&message->payload, "event");
    if (!json_is(verb, JSON_STRING)) {
        return;
    }
    if (slice_is(json_text(verb), "track") && may_speak(channel, clock_wall_us() / 1000000)) {
        track(rt, channel, json_get(&message->payload, "payload"));
    } else if (slice_is(json_text(verb), "untrack")) {
        rt_presence_end(rt, channel);
    }
    rt_reply_ok(rt, channel->socket, message);
}

/* Everybody who is there, by key. */
struct state {
    const struct rt_channel *of;
    int64_t now_s;
    const struct rt_channel *there[RT_USER_CHANNELS];
    unsigned n;
};

static void collect(void *cls, void *listener, struct hub_handle handle)
{
    struct state *state = cls;
    const struct rt_channel *channel = listener;
    (void)handle;
    if (channel->presence != NULL && state->n < RT_USER_CHANNELS &&
        rt_may_hear(channel, &state->of->user, state->now_s) &&
        slice_equal(rt_topic(channel), rt_topic(state->of))) {
        state->there[state->n++] = channel;
    }
}

static bool is_first_of_key(const struct state *state, unsigned at)
{
    for (unsigned i = 0; i < at; i++) {
        if (slice_equal(key_of(state->there[i]), key_of(state->there[at]))) {
            return false;
        }
    }
    return true;
}

static void print_state(struct buf *out, const struct state *state)
{
    const char *before = "{";
    for (unsigned i = 0; i < state->n; i++) {
        const char *between = ":{\"metas\":[";
        if (!is_first_of_key(state, i)) {
            continue;
        }
        buf_add_text(out, before);
        json_print_string(out, key_of(state->there[i]));
        for (unsigned k = i; k < state->n; k++) {
            if (slice_equal(key_of(state->there[k]), key_of(state->there[i]))) {
                buf_add_text(out, between);
                print_meta(out, state->there[k]->presence_ref, state->there[k]->presence);
                between = ",";
            }
        }
        buf_add_text(out, "]}");
        before = ",";
    }
    buf_add_text(out, state->n == 0 ? "{}" : "}");
}

void rt_presence_state(struct realtime *rt, struct rt_channel *channel)
{
    struct state state = {.of = channel, .now_s = clock_wall_us() / 1000000};
    const struct phx_head head = {channel->socket->vsn, rt_join_ref(channel), SLICE_NONE,
                                  rt_topic(channel), "presence_state"};
    if (may_speak(channel, state.now_s)) {
        hub_publish(rt->hub, &channel->user, collect, &state);
    }
    buf_clear(&rt->frame);
    phx_begin(&rt->frame, &head);
    print_state(&rt->frame, &state);
    phx_end(&rt->frame, &head);
    rt_send_frame(rt, channel->socket);
}
