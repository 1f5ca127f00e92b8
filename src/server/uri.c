/* uri.c - see uri.h. */
#include "server/uri.h"

#include "base/status.h"
#include "base/utf8.h"

static int hex_of(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Percent-decoding; plus is a space in a query. */
static int decode(struct arena *arena, struct slice text, bool query, struct slice *out)
{
    char *bytes = arena_alloc(arena, text.len + 1);
    size_t len = 0;
    if (bytes == NULL) {
        return BQ_NOMEM;
    }
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '%') {
            int high = i + 2 < text.len ? hex_of(text.ptr[i + 1]) : -1;
            int low = high >= 0 ? hex_of(text.ptr[i + 2]) : -1;
            if (low < 0) {
                return BQ_INVALID;
            }
            c = (char)(high * 16 + low);
            i += 2;
            if (!query && (c == '/' || c == '\\')) {
                return BQ_INVALID;
            }
        } else if (query && c == '+') {
            c = ' ';
        }
        bytes[len++] = c;
    }
    bytes[len] = '\0';
    *out = (struct slice){bytes, len};
    return BQ_OK;
}

static struct slice cut_at(struct slice *rest, char c)
{
    const char *at = rest->len == 0 ? NULL : memchr(rest->ptr, c, rest->len);
    struct slice head = *rest;
    if (at == NULL) {
        *rest = (struct slice){rest->ptr + rest->len, 0};
        return head;
    }
    head.len = (size_t)(at - rest->ptr);
    *rest = (struct slice){at + 1, rest->len - head.len - 1};
    return head;
}

/* "." and ".." mean something else to whoever stands before us. */
static bool has_dot_segment(struct slice path)
{
    while (path.len > 0) {
        struct slice segment = cut_at(&path, '/');
        if (slice_is(segment, ".") || slice_is(segment, "..")) {
            return true;
        }
    }
    return false;
}

static int read_query(struct arena *arena, struct slice text, struct uri *uri)
{
    uri->query = arena_zalloc(arena, URI_QUERY_MAX, sizeof *uri->query);
    if (uri->query == NULL) {
        return BQ_NOMEM;
    }
    while (text.len > 0) {
        struct slice value = cut_at(&text, '&');
        struct slice name = cut_at(&value, '=');
        if (name.len == 0 && value.len == 0) {
            continue;
        }
        if (uri->n_query == URI_QUERY_MAX) {
            return BQ_TOO_LARGE;
        }
        struct uri_pair *pair = &uri->query[uri->n_query++];
        int status = decode(arena, name, true, &pair->name);
        if (status == BQ_OK) {
            status = decode(arena, value, true, &pair->value);
        }
        if (status != BQ_OK) {
            return status;
        }
        if (!utf8_is_plain(pair->name)) {
            return BQ_INVALID;
        }
    }
    return BQ_OK;
}

int uri_read(struct arena *arena, struct slice target, struct uri *out)
{
    struct uri uri = {.n_query = 0};
    if (target.len > URI_MAX_BYTES) {
        return BQ_TOO_LARGE;
    }
    struct slice query = target;
    struct slice path = cut_at(&query, '?');
    if (path.len == 0 || path.ptr[0] != '/' || memchr(target.ptr, '#', target.len) != NULL) {
        return BQ_INVALID;
    }
    int status = decode(arena, path, false, &uri.path);
    if (status == BQ_OK && (!utf8_is_plain(uri.path) || has_dot_segment(uri.path))) {
        status = BQ_INVALID;
    }
    if (status == BQ_OK && query.len > 0) {
        status = read_query(arena, query, &uri);
    }
    if (status == BQ_OK) {
        *out = uri;
    }
    return status;
}

struct slice uri_find(const struct uri *uri, const char *name)
{
    struct slice found = SLICE_NONE;
    for (unsigned i = 0; i < uri->n_query; i++) {
        if (slice_is(uri->query[i].name, name)) {
            found = uri->query[i].value;
        }
    }
    return found;
}
