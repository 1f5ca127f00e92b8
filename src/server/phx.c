/* phx.c - see phx.h. */
#include "server/phx.h"

#include "base/status.h"

#define MESSAGE_DEPTH 64u
#define KIND_PUSH 3u      /* a broadcast of a client */
#define PUSH_HEADER 7u

/* A ref: text or null (or missing). */
static bool read_ref(const struct json_value *value, struct slice *out)
{
    *out = SLICE_NONE;
    if (json_is_absent(value) || json_is(value, JSON_NULL)) {
        return true;
    }
    *out = json_text(value);
    return value->type == JSON_STRING;
}

static bool read_members(const struct json_value *const parts[5], struct phx_message *out)
{
    if (!read_ref(parts[0], &out->join_ref) || !read_ref(parts[1], &out->ref) ||
        !json_is(parts[2], JSON_STRING) || !json_is(parts[3], JSON_STRING) ||
        json_is_absent(parts[4])) {
        return false;
    }
    out->topic = json_text(parts[2]);
    out->event = json_text(parts[3]);
    out->payload = *parts[4];
    return true;
}

int phx_read(struct arena *arena, enum phx_vsn vsn, struct slice text, struct phx_message *out)
{
    static const char *const names[] = {"join_ref", "ref", "topic", "event", "payload"};
    const struct json_value *parts[5];
    struct json_value *value = arena_alloc(arena, sizeof *value);
    if (value == NULL) {
        return BQ_NOMEM;
    }
    int status = json_parse(arena, text, MESSAGE_DEPTH, value, NULL);
    if (status != BQ_OK) {
        return status == BQ_NOMEM ? BQ_NOMEM : BQ_INVALID;
    }
    bool is_list = value->type == JSON_ARRAY && value->count == 5;
    if (vsn == PHX_V2 ? !is_list : value->type != JSON_OBJECT) {
        return BQ_INVALID;
    }
    for (unsigned i = 0; i < 5; i++) {
        parts[i] = vsn == PHX_V2 ? &value->items[i] : json_get(value, names[i]);
    }
    out->whole = text;
    return read_members(parts, out) ? BQ_OK : BQ_INVALID;
}

int phx_read_broadcast(struct slice bytes, struct phx_broadcast *out)
{
    struct slice *texts[] = {&out->join_ref, &out->ref, &out->topic, &out->event, &out->meta};
    const unsigned char *head = (const unsigned char *)bytes.ptr;
    if (bytes.len < PUSH_HEADER || head[0] != KIND_PUSH || head[6] > 1) {
        return BQ_INVALID;
    }
    size_t at = PUSH_HEADER;
    for (unsigned i = 0; i < 5; i++) {
        size_t len = head[1 + i];
        if (len > bytes.len - at) {
            return BQ_INVALID;
        }
        *texts[i] = (struct slice){bytes.ptr + at, len};
        at += len;
    }
    out->json = head[6] == 1;
    out->payload = (struct slice){bytes.ptr + at, bytes.len - at};
    return BQ_OK;
}

bool phx_print_broadcast(struct buf *out, const struct phx_broadcast *broadcast)
{
    const struct slice texts[] = {broadcast->topic, broadcast->event, broadcast->meta};
    buf_add_char(out, (char)PHX_BROADCAST_KIND);
    for (unsigned i = 0; i < 3; i++) {
        if (texts[i].len > UINT8_MAX) {
            return false;
        }
        buf_add_char(out, (char)(unsigned char)texts[i].len);
    }
    buf_add_char(out, broadcast->json ? 1 : 0);
    for (unsigned i = 0; i < 3; i++) {
        buf_add_slice(out, texts[i]);
    }
    buf_add_slice(out, broadcast->payload);
    return !out->failed;
}

static void print_ref(struct buf *out, struct slice ref)
{
    if (ref.ptr == NULL) {
        buf_add_text(out, "null");
    } else {
        json_print_string(out, ref);
    }
}

void phx_begin(struct buf *out, const struct phx_head *head)
{
    if (head->vsn == PHX_V2) {
        buf_add_char(out, '[');
        print_ref(out, head->join_ref);
        buf_add_char(out, ',');
        print_ref(out, head->ref);
        buf_add_char(out, ',');
        json_print_string(out, head->topic);
        buf_add_char(out, ',');
    } else {
        buf_add_text(out, "{\"topic\":");
        json_print_string(out, head->topic);
        buf_add_text(out, ",\"event\":");
    }
    json_print_string(out, slice_of(head->event));
    buf_add_text(out, head->vsn == PHX_V2 ? "," : ",\"payload\":");
}

void phx_end(struct buf *out, const struct phx_head *head)
{
    if (head->vsn == PHX_V2) {
        buf_add_char(out, ']');
        return;
    }
    buf_add_text(out, ",\"ref\":");
    print_ref(out, head->ref);
    buf_add_char(out, '}');
}
