/* rt_channel.c - messages of clients to their channels, and how channels end
 * (docs/protocol.md, "Realtime").
 *
 * What cannot be read is dropped and the connection stays: so the older system did. */
#include "server/rt.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/plant.h"
#include "base/status.h"
#include "server/clock.h"

#include <stdio.h>

struct rt_channel *rt_channel_find(struct rt_socket *socket, struct slice topic)
{
    struct rt_channel *channel = socket->channels;
    while (channel != NULL && !slice_equal(rt_topic(channel), topic)) {
        channel = channel->next;
    }
    return channel;
}

bool rt_may_hear(const struct rt_channel *channel, const struct uuid *user, int64_t now_s)
{
    bool own = memcmp(channel->user.text, user->text, UUID_TEXT) == 0 || PLANTED(SLOT_KEEPS_USER);
    return channel->role == ROLE_AUTHENTICATED && channel->bound && channel->exp_s > now_s && own;
}

/* ---- What is sent ---------------------------------------------------------------------------- */

static void send_text(struct realtime *rt, struct rt_socket *socket, const struct phx_head *head,
                      const char *payload)
{
    buf_clear(&rt->frame);
    phx_begin(&rt->frame, head);
    buf_add_text(&rt->frame, payload);
    phx_end(&rt->frame, head);
    rt_send_frame(rt, socket);
}

void rt_reply_ok(struct realtime *rt, struct rt_socket *socket, const struct phx_message *message)
{
    const struct phx_head head = {socket->vsn, message->join_ref, message->ref, message->topic,
                                  "phx_reply"};
    send_text(rt, socket, &head, "{\"status\":\"ok\",\"response\":{}}");
}

void rt_reply_unmatched(struct realtime *rt, struct rt_socket *socket,
                        const struct phx_message *message)
{
    const struct phx_head head = {socket->vsn, SLICE_NONE, message->ref, message->topic,
                                  "phx_reply"};
    send_text(rt, socket, &head,
              "{\"status\":\"error\",\"response\":{\"reason\":\"unmatched topic\"}}");
}

void rt_channel_end(struct realtime *rt, struct rt_channel *channel, const char *event)
{
    const struct phx_head head = {channel->socket->vsn, rt_join_ref(channel), rt_join_ref(channel),
                                  rt_topic(channel), event};
    send_text(rt, channel->socket, &head, "{}");
    rt_channel_free(rt, channel);
}

void rt_system(struct realtime *rt, struct rt_channel *channel, const char *extension,
               const char *status, struct slice text)
{
    const struct phx_head head = {channel->socket->vsn, rt_join_ref(channel), SLICE_NONE,
                                  rt_topic(channel), "system"};
    struct slice topic = rt_topic(channel);
    size_t prefix = sizeof "realtime:" - 1;
    struct buf *out = &rt->frame;
    buf_clear(out);
    phx_begin(out, &head);
    buf_add_text(out, "{\"message\":");
    json_print_string(out, text);
    buf_add_format(out, ",\"status\":\"%s\",\"extension\":\"%s\",\"channel\":", status, extension);
    json_print_string(out, (struct slice){topic.ptr + prefix, topic.len - prefix});
    buf_add_char(out, '}');
    phx_end(out, &head);
    rt_send_frame(rt, channel->socket);
}

/* ---- Channels -------------------------------------------------------------------------------- */

int rt_channel_new(struct realtime *rt, struct rt_socket *socket,
                   const struct phx_message *message, struct rt_channel **out)
{
    size_t n_bytes = sizeof(struct rt_channel) + message->topic.len + message->join_ref.len;
    struct rt_channel *channel = mem_zalloc(1, n_bytes);
    if (channel == NULL) {
        return BQ_NOMEM;
    }
    channel->socket = socket;
    channel->kept = n_bytes;
    channel->topic_len = (uint16_t)message->topic.len;
    channel->ref_len = (uint16_t)message->join_ref.len;
    channel->has_ref = message->join_ref.ptr != NULL;
    memcpy(channel->text, message->topic.ptr, message->topic.len);
    if (channel->has_ref) {
        memcpy(channel->text + channel->topic_len, message->join_ref.ptr, channel->ref_len);
    }
    channel->next = socket->channels;
    socket->channels = channel;
    socket->n_channels++;
    atomic_fetch_add_explicit(&rt->counters.channels, 1, memory_order_relaxed);
    *out = channel;
    return BQ_OK;
}

static void unlink_channel(struct rt_channel *channel)
{
    struct rt_channel **at = &channel->socket->channels;
    while (*at != channel) {
        at = &(*at)->next;
    }
    *at = channel->next;
}

void rt_channel_free(struct realtime *rt, struct rt_channel *channel)
{
    struct rt_socket *socket = channel->socket;
    unlink_channel(channel);
    (void)rt_take_claims(rt, channel, &(struct jwt_identity){.role = ROLE_ANON});
    rt_bytes_drop(channel->presence);
    for (unsigned i = 0; i < channel->n_bindings; i++) {
        mem_free(channel->bindings[i].filter);
    }
    mem_free(channel->bindings);
    mem_free(channel->presence_key);
    socket->n_channels--;
    socket->n_relayed -= channel->relayed;
    socket->kept -= channel->kept;
    atomic_fetch_sub_explicit(&rt->counters.channels, 1, memory_order_relaxed);
    mem_free(channel);
}

/* ---- Tokens ---------------------------------------------------------------------------------- */

static void fail_token(struct realtime *rt, struct rt_channel *channel, const char *reason)
{
    rt_system(rt, channel, "system", "error", slice_of(reason));
    rt_channel_end(rt, channel, "phx_close");
}

/* A new token for a channel. It may be the same user's alone (docs/security.md, W2): with another
 * one's the channel ends, and the client joins again with the token that it has. */
static void on_token(struct realtime *rt, struct rt_channel *channel,
                     const struct phx_message *message)
{
    const struct json_value *token = json_get(&message->payload, "access_token");
    struct rt_claims claims;
    if (!json_is(token, JSON_STRING)) {
        return;
    }
    struct slice text = json_text(token);
    uint64_t hash = rt_token_hash(rt, text);
    if (hash == channel->token_hash && channel->token_hash != 0) {
        return;
    }
    if (rt_claims_of(rt, channel->socket, text, &claims) != BQ_OK) {
        fail_token(rt, channel, claims.reason);
        return;
    }
    if (rt_hold(rt, channel->socket, message, &claims.identity)) {
        return;
    }
    int status = rt_take_claims(rt, channel, &claims.identity);
    if (status != BQ_OK) {
        rt_channel_end(rt, channel, "phx_error");
        return;
    }
    channel->token_hash = hash;
    if (channel->n_bindings > 0) {
        rt_system(rt, channel, "postgres_changes", "ok", SLICE("Subscribed to PostgreSQL"));
    }
}

void rt_expire(struct realtime *rt, struct rt_socket *socket, int64_t now_s)
{
    struct rt_channel *next;
    for (struct rt_channel *channel = socket->channels; channel != NULL; channel = next) {
        next = channel->next;
        if (channel->exp_s <= now_s) {
            char reason[80];
            snprintf(reason, sizeof reason, "Token has expired %lld seconds ago",
                     (long long)(now_s - channel->exp_s));
            fail_token(rt, channel, reason);
        }
    }
}

/* ---- Messages -------------------------------------------------------------------------------- */

static void on_leave(struct realtime *rt, struct rt_socket *socket, struct rt_channel *channel,
                     const struct phx_message *message)
{
    rt_reply_ok(rt, socket, message);
    bool stale = channel != NULL && message->join_ref.ptr != NULL &&
                 !slice_equal(message->join_ref, rt_join_ref(channel));
    if (channel != NULL && !stale) {
        bool relayed = channel->relayed;
        rt_channel_end(rt, channel, "phx_close");
        if (relayed) {
            rt_relay_send(rt, socket, false, message->whole);
        }
    }
}

/* A topic that is joined once more. */
static void end_earlier(struct realtime *rt, struct rt_channel *channel,
                        const struct phx_message *message)
{
    if (channel->relayed && rt_relay_wants(rt, channel->socket, message)) {
        rt_channel_free(rt, channel); /* the upstream sees to it */
        return;
    }
    if (channel->relayed) {
        rt_relay_leave(channel);
    }
    rt_channel_end(rt, channel, "phx_close");
}

static void on_joined(struct realtime *rt, struct rt_channel *channel,
                      const struct phx_message *message)
{
    if (channel->relayed) {
        rt_relay_send(rt, channel->socket, false, message->whole);
    } else if (slice_is(message->event, "access_token")) {
        on_token(rt, channel, message);
    } else if (slice_is(message->event, "broadcast")) {
        rt_broadcast_text(rt, channel, message);
    } else if (slice_is(message->event, "presence")) {
        rt_presence(rt, channel, message);
    }
}

static void dispatch(struct realtime *rt, struct rt_socket *socket,
                     const struct phx_message *message)
{
    if (slice_is(message->topic, "phoenix")) {
        if (slice_is(message->event, "heartbeat")) {
            rt_reply_ok(rt, socket, message);
        }
        return;
    }
    struct rt_channel *channel = rt_channel_find(socket, message->topic);
    if (slice_is(message->event, "phx_leave")) {
        rt_hold_forget(rt, socket, message->topic);
        on_leave(rt, socket, channel, message);
    } else if (slice_is(message->event, "phx_join")) {
        rt_hold_forget(rt, socket, message->topic);
        if (channel != NULL) {
            end_earlier(rt, channel, message);
        }
        rt_join(rt, socket, message);
    } else if (channel == NULL) {
        rt_reply_unmatched(rt, socket, message);
    } else {
        on_joined(rt, channel, message);
    }
}

void rt_message(struct realtime *rt, struct rt_socket *socket, struct slice text)
{
    struct phx_message message;
    atomic_fetch_add_explicit(&rt->counters.messages, 1, memory_order_relaxed);
    arena_reset(&rt->arena);
    if (phx_read(&rt->arena, socket->vsn, text, &message) == BQ_OK &&
        message.topic.len <= RT_TOPIC_BYTES && message.ref.len <= RT_REF_BYTES &&
        message.join_ref.len <= RT_REF_BYTES) {
        dispatch(rt, socket, &message);
    }
}
