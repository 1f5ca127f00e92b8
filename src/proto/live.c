/* live.c - see live.h. */
#include "proto/live.h"

#include "bqsync.h"

#include "base/limits.h"
#include "json/json.h"

#define TOPIC "realtime:bqsync_"
#define TABLE "user_sync_feed"
#define FRAME_DEPTH 32u

/* ---- What is said ---------------------------------------------------------------------------- */

static void add_ref(struct buf *out, uint64_t ref)
{
    buf_add_char(out, '"');
    buf_add_int(out, (int64_t)ref);
    buf_add_text(out, "\",");
}

/* ["join_ref","ref","topic","event", */
static bool begin(struct buf *out, size_t payload_bytes, const char *user, uint64_t join_ref,
                  uint64_t ref)
{
    if (!buf_reserve(out, payload_bytes + 400)) {
        return false;
    }
    buf_add_char(out, '[');
    add_ref(out, join_ref);
    add_ref(out, ref);
    buf_add_text(out, "\"" TOPIC);
    buf_add_text(out, user);
    buf_add_text(out, "\",");
    return true;
}

static void add_token(struct buf *out, const char *token)
{
    buf_add_text(out, "\"access_token\":");
    json_print_string(out, slice_of(token));
}

void proto_live_join(struct buf *out, const char *user, const char *token, uint64_t ref)
{
    if (!begin(out, 400 + 6 * strlen(token), user, ref, ref)) {
        return;
    }
    buf_add_text(out, "\"phx_join\",{\"config\":{"
                      "\"broadcast\":{\"ack\":false,\"self\":false},"
                      "\"presence\":{\"key\":\"\",\"enabled\":false},"
                      "\"postgres_changes\":[{\"event\":\"*\",\"schema\":\"public\","
                      "\"table\":\"" TABLE "\",\"filter\":\"user_id=eq.");
    buf_add_text(out, user);
    buf_add_text(out, "\"}],\"private\":false},");
    add_token(out, token);
    buf_add_text(out, "}]");
}

void proto_live_token(struct buf *out, const char *user, const char *token, uint64_t join_ref,
                      uint64_t ref)
{
    if (!begin(out, 6 * strlen(token), user, join_ref, ref)) {
        return;
    }
    buf_add_text(out, "\"access_token\",{");
    add_token(out, token);
    buf_add_text(out, "}]");
}

void proto_live_heartbeat(struct buf *out, uint64_t ref)
{
    buf_add_text(out, "[null,");
    add_ref(out, ref);
    buf_add_text(out, "\"phoenix\",\"heartbeat\",{}]");
}

/* ---- What is heard --------------------------------------------------------------------------- */

static bool text_is(const struct json_value *value, const char *text)
{
    return json_is(value, JSON_STRING) && slice_is(json_text(value), text);
}

static uint64_t read_digits(struct slice text)
{
    uint64_t number = 0;
    if (text.len == 0 || text.len > 15) {
        return 0;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9') {
            return 0;
        }
        number = number * 10 + (uint64_t)(text.ptr[i] - '0');
    }
    return number;
}

/* 0 for what is no reference. */
static uint64_t read_ref(const struct json_value *value)
{
    return json_is(value, JSON_STRING) ? read_digits(json_text(value)) : 0;
}

static bool contains(struct slice text, const char *word)
{
    size_t len = strlen(word);
    for (size_t i = 0; i + len <= text.len; i++) {
        size_t n = 0;
        while (n < len && (text.ptr[i + n] | 0x20) == word[n]) {
            n++;
        }
        if (n == len) {
            return true;
        }
    }
    return false;
}

/* The texts are the protocol: "Token has expired 5 seconds ago", "MalformedJWT: ...",
 * "JwtSignatureError: ...", ":signature_error". */
static bool is_about_token(const struct json_value *text)
{
    return json_is(text, JSON_STRING) &&
           (contains(json_text(text), "token") || contains(json_text(text), "jwt") ||
            contains(json_text(text), "signature"));
}

static void read_reply(const struct json_value *ref, const struct json_value *payload,
                       uint64_t join_ref, bool heartbeat, struct proto_live_frame *out)
{
    bool good = text_is(json_get(payload, "status"), "ok");
    out->ref = read_ref(ref);
    if (heartbeat) {
        out->type = PROTO_LIVE_HEARTBEAT;
    } else if (out->ref == join_ref) {
        out->type = good ? PROTO_LIVE_JOINED : PROTO_LIVE_REFUSED;
        out->about_token =
            !good && is_about_token(json_get(json_get(payload, "response"), "reason"));
    }
}

static void read_system(const struct json_value *payload, struct proto_live_frame *out)
{
    const struct json_value *status = json_get(payload, "status");
    bool changes = text_is(json_get(payload, "extension"), "postgres_changes");
    if (text_is(status, "ok") && changes) {
        out->type = PROTO_LIVE_SUBSCRIBED;
    } else if (text_is(status, "error")) {
        out->type = PROTO_LIVE_FAILED;
        out->about_token = !changes && is_about_token(json_get(payload, "message"));
    }
}

/* Where the row does not say its seq (it was deleted, or is too long to be told) the exchange
 * finds out. */
static void read_change(const struct json_value *payload, const char *user,
                        struct proto_live_frame *out)
{
    const struct json_value *data = json_get(payload, "data");
    if (!text_is(json_get(data, "table"), TABLE)) {
        return;
    }
    const struct json_value *record = json_get(data, "record");
    const struct json_value *seq = json_get(record, "seq");
    const struct json_value *owner = json_get(record, "user_id");
    if (!json_is_absent(owner) && !text_is(owner, user)) {
        return;
    }
    out->type = PROTO_LIVE_MOVED;
    if (json_is(seq, JSON_STRING)) {
        out->seq = (int64_t)read_digits(json_text(seq));
    } else if (seq != NULL && json_to_int(seq, &out->seq)) {
        out->seq = out->seq < 0 || out->seq > LIMIT_SEQ ? 0 : out->seq;
    } else {
        out->seq = 0;
    }
}

static void read_frame(const struct json_value *frame, const char *user, uint64_t join_ref,
                       struct proto_live_frame *out)
{
    const struct json_value *part = frame->items;
    const struct json_value *payload = &part[4];
    if (!json_is(&part[2], JSON_STRING) || !json_is(&part[3], JSON_STRING) ||
        !json_is(payload, JSON_OBJECT)) {
        return;
    }
    struct slice topic = json_text(&part[2]);
    size_t n = sizeof TOPIC - 1;
    bool ours = topic.len > n && memcmp(topic.ptr, TOPIC, n) == 0 &&
                slice_is((struct slice){topic.ptr + n, topic.len - n}, user);
    bool heartbeat = slice_is(topic, "phoenix");
    /* What an earlier join of this connection still gets is not ours. */
    if (json_is(&part[0], JSON_STRING) && read_ref(&part[0]) != join_ref) {
        return;
    }
    if (text_is(&part[3], "phx_reply") && (ours || heartbeat)) {
        read_reply(&part[1], payload, join_ref, heartbeat, out);
    } else if (!ours) {
        return;
    } else if (text_is(&part[3], "postgres_changes")) {
        read_change(payload, user, out);
    } else if (text_is(&part[3], "system")) {
        read_system(payload, out);
    } else if (text_is(&part[3], "phx_close") || text_is(&part[3], "phx_error")) {
        out->type = PROTO_LIVE_ENDED;
    }
}

int proto_live_read(struct arena *arena, struct slice text, const char *user, uint64_t join_ref,
                    struct proto_live_frame *out)
{
    struct json_value frame;
    *out = (struct proto_live_frame){.type = PROTO_LIVE_OTHER};
    int status = json_parse(arena, text, FRAME_DEPTH, &frame, NULL);
    if (status == BQ_NOMEM) {
        return status;
    }
    if (status == BQ_OK && frame.type == JSON_ARRAY && frame.count == 5) {
        read_frame(&frame, user, join_ref, out);
    }
    return BQ_OK;
}
