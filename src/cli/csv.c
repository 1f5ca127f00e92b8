/* csv.c - see csv.h. */
#include "cli/csv.h"

#include "base/status.h"

bool csv_is_whole(struct slice text)
{
    bool open = false;
    for (size_t i = 0; i < text.len; i++) {
        open ^= text.ptr[i] == '"';
    }
    return !open;
}

static uint32_t count_fields(struct slice text)
{
    uint32_t n = 1;
    bool open = false;
    for (size_t i = 0; i < text.len; i++) {
        open ^= text.ptr[i] == '"';
        n += !open && text.ptr[i] == ',';
    }
    return n;
}

/* A field that begins with a quote; *inout_at goes behind the closing one. */
static int quoted(struct arena *arena, struct slice text, size_t *inout_at, struct slice *out)
{
    char *copy = arena_alloc(arena, text.len - *inout_at);
    size_t n = 0;
    size_t i = *inout_at + 1;
    if (copy == NULL) {
        return BQ_NOMEM;
    }
    for (; i < text.len; i++) {
        if (text.ptr[i] == '"' && !(i + 1 < text.len && text.ptr[i + 1] == '"')) {
            *out = (struct slice){copy, n};
            *inout_at = i + 1;
            return BQ_OK;
        }
        i += text.ptr[i] == '"';
        copy[n++] = text.ptr[i];
    }
    return BQ_MALFORMED;
}

static void plain(struct slice text, size_t *inout_at, struct slice *out)
{
    size_t from = *inout_at;
    size_t i = from;
    while (i < text.len && text.ptr[i] != ',') {
        i++;
    }
    *out = i == from ? SLICE_NONE : (struct slice){text.ptr + from, i - from};
    *inout_at = i;
}

int csv_split(struct arena *arena, struct slice text, struct csv_record *out)
{
    uint32_t n = count_fields(text);
    struct slice *fields = arena_zalloc(arena, n, sizeof *fields);
    size_t at = 0;
    if (fields == NULL) {
        return BQ_NOMEM;
    }
    for (uint32_t i = 0; i < n; i++) {
        int status = BQ_OK;
        if (at < text.len && text.ptr[at] == '"') {
            status = quoted(arena, text, &at, &fields[i]);
        } else {
            plain(text, &at, &fields[i]);
        }
        if (status != BQ_OK) {
            return status;
        }
        if (i + 1 < n ? at >= text.len || text.ptr[at] != ',' : at != text.len) {
            return BQ_MALFORMED;
        }
        at++;
    }
    *out = (struct csv_record){fields, n};
    return BQ_OK;
}
