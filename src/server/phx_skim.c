/* phx_skim.c - phx_skim() of phx.h: the envelope of a message whose payload only passes through.
 *
 * The payload's end is found by its brackets and quotes. A text that a strict reader would read in
 * another way is refused: a doubled name, anything behind the end. */
#include "server/phx.h"

#include "base/status.h"

struct skim {
    struct slice text;
    size_t at;
};

static char peek(struct skim *skim)
{
    while (skim->at < skim->text.len && strchr(" \t\r\n", skim->text.ptr[skim->at]) != NULL &&
           skim->text.ptr[skim->at] != '\0') {
        skim->at++;
    }
    return skim->at < skim->text.len ? skim->text.ptr[skim->at] : '\0';
}

static bool take(struct skim *skim, char c)
{
    bool there = peek(skim) == c;
    skim->at += there;
    return there;
}

/* Behind the quote that ends a text; false: there is none. */
static bool skip_string(struct skim *skim)
{
    for (skim->at++; skim->at < skim->text.len; skim->at++) {
        char c = skim->text.ptr[skim->at];
        if (c == '"') {
            skim->at++;
            return true;
        }
        skim->at += c == '\\';
    }
    return false;
}

static bool skip_container(struct skim *skim)
{
    size_t depth = 0;
    while (skim->at < skim->text.len) {
        char c = skim->text.ptr[skim->at];
        if (c == '"') {
            if (!skip_string(skim)) {
                return false;
            }
            continue;
        }
        depth += c == '[' || c == '{';
        depth -= c == ']' || c == '}';
        skim->at++;
        if (depth == 0) {
            return true;
        }
    }
    return false;
}

static bool skip_value(struct skim *skim, struct slice *out)
{
    char c = peek(skim);
    size_t from = skim->at;
    bool good = true;
    if (c == '"') {
        good = skip_string(skim);
    } else if (c == '[' || c == '{') {
        good = skip_container(skim);
    } else {
        while (skim->at < skim->text.len &&
               strchr(",]} \t\r\n", skim->text.ptr[skim->at]) == NULL) {
            skim->at++;
        }
    }
    *out = (struct slice){skim->text.ptr + from, skim->at - from};
    return good && out->len > 0;
}

/* The i-th part in the order of phx_envelope, or 5: another member. */
static int name_part(struct arena *arena, struct slice key, unsigned *out)
{
    static const char *const names[] = {"join_ref", "ref", "topic", "event", "payload"};
    struct json_value name;
    int status = json_parse(arena, key, 1, &name, NULL);
    if (status != BQ_OK || name.type != JSON_STRING) {
        return status == BQ_NOMEM ? BQ_NOMEM : BQ_INVALID;
    }
    for (*out = 0; *out < 5 && !slice_is(json_text(&name), names[*out]); (*out)++) {
    }
    return BQ_OK;
}

static int find_parts(struct arena *arena, enum phx_vsn vsn, struct slice text,
                      struct slice parts[5])
{
    bool is_list = vsn == PHX_V2;
    struct skim skim = {text, 0};
    struct slice key, value;
    unsigned part = 0;
    unsigned n = 0;
    if (!take(&skim, is_list ? '[' : '{')) {
        return BQ_INVALID;
    }
    do {
        part = n;
        if (!is_list) {
            if (peek(&skim) != '"' || !skip_value(&skim, &key) || !take(&skim, ':')) {
                return BQ_INVALID;
            }
            int status = name_part(arena, key, &part);
            if (status != BQ_OK) {
                return status;
            }
        }
        if (!skip_value(&skim, &value) || (is_list && part > 4) ||
            (part < 5 && parts[part].ptr != NULL)) {
            return BQ_INVALID;
        }
        if (part < 5) {
            parts[part] = value;
        }
        n++;
    } while (take(&skim, ','));
    bool ends = take(&skim, is_list ? ']' : '}') && peek(&skim) == '\0' && skim.at == text.len;
    return ends && (!is_list || n == 5) ? BQ_OK : BQ_INVALID;
}

/* A text, or null (SLICE_NONE) where it may be. */
static int read_text(struct arena *arena, struct slice part, bool may_be_null, struct slice *out)
{
    struct json_value value;
    *out = SLICE_NONE;
    if (part.ptr == NULL) {
        return may_be_null ? BQ_OK : BQ_INVALID;
    }
    int status = json_parse(arena, part, 1, &value, NULL);
    if (status != BQ_OK) {
        return status == BQ_NOMEM ? BQ_NOMEM : BQ_INVALID;
    }
    if (value.type == JSON_STRING) {
        *out = json_text(&value);
        return BQ_OK;
    }
    return value.type == JSON_NULL && may_be_null ? BQ_OK : BQ_INVALID;
}

int phx_skim(struct arena *arena, enum phx_vsn vsn, struct slice text, struct phx_envelope *out)
{
    struct slice parts[5] = {SLICE_NONE, SLICE_NONE, SLICE_NONE, SLICE_NONE, SLICE_NONE};
    struct slice *const texts[4] = {&out->join_ref, &out->ref, &out->topic, &out->event};
    int status = find_parts(arena, vsn, text, parts);
    for (unsigned i = 0; i < 4 && status == BQ_OK; i++) {
        status = read_text(arena, parts[i], i < 2, texts[i]);
    }
    out->payload = parts[4];
    return status == BQ_OK && out->payload.ptr == NULL ? BQ_INVALID : status;
}

int phx_skim_binary(struct slice bytes, struct slice *out_topic)
{
    const unsigned char *head = (const unsigned char *)bytes.ptr;
    if (bytes.len < PHX_BROADCAST_HEADER || head[0] != PHX_BROADCAST_KIND ||
        head[1] > bytes.len - PHX_BROADCAST_HEADER) {
        return BQ_INVALID;
    }
    *out_topic = (struct slice){bytes.ptr + PHX_BROADCAST_HEADER, head[1]};
    return BQ_OK;
}
