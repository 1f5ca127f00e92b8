/* head.c - one pass over the fields. */
#include "server/head.h"

#define MHD_KNOWN_FROM 9073u  /* 0.9.73 */
#define MHD_KNOWN_UNTIL 9077u /* 0.9.77 refuses bare line feeds itself */

struct field {
    const char *name; /* lower case */
    size_t offset;
};

#define FIELD(member) offsetof(struct head, member)

/* None of these may stand there twice: two parsers could each take another one. */
static const struct field fields[] = {
    {"host", FIELD(host)},
    {"content-length", FIELD(content_length)},
    {"transfer-encoding", FIELD(transfer_encoding)},
    {"authorization", FIELD(authorization)},
    {"apikey", FIELD(apikey)},
    {"content-type", FIELD(content_type)},
    {"content-encoding", FIELD(content_encoding)},
    {"accept", FIELD(accept)},
    {"accept-profile", FIELD(accept_profile)},
    {"content-profile", FIELD(content_profile)},
    {"origin", FIELD(origin)},
    {"access-control-request-method", FIELD(request_method)},
    {"access-control-request-headers", FIELD(request_headers)},
    {"expect", FIELD(expect)},
    {"range", FIELD(range)},
    {"user-agent", FIELD(user_agent)},
    {"x-api-key", FIELD(x_api_key)},
    {"sec-websocket-key", FIELD(websocket_key)},
    {"sec-websocket-version", FIELD(websocket_version)},
    {"x-supabase-api-version", FIELD(api_version)},
};

struct scan {
    struct head *head;
    bool measure;
    const char *end;  /* where the field before ended */
    const char *why;  /* NULL: nothing found yet */
    size_t n_bytes;
    unsigned n_fields;
};

static char lower_of(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

bool head_token_is(struct slice value, const char *lower)
{
    size_t i = 0;
    while (i < value.len && lower[i] != '\0' && lower_of(value.ptr[i]) == lower[i]) {
        i++;
    }
    return i == value.len && lower[i] == '\0';
}

bool head_can_measure(void)
{
    const char *text = MHD_get_version();
    unsigned version = 0;
    for (unsigned number = 0; ; text++) {
        if (*text >= '0' && *text <= '9' && number < 1000) {
            number = number * 10 + (unsigned)(*text - '0');
            continue;
        }
        version = version * 1000 + number;
        number = 0;
        if (*text != '.' || version > 1000000) {
            break;
        }
    }
    return version >= MHD_KNOWN_FROM && version < MHD_KNOWN_UNTIL;
}

/* A token of RFC 9110 section 5.6.2. */
static bool is_token(struct slice name)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < name.len; i++) {
        char c = lower_of(name.ptr[i]);
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) &&
            memchr(others, c, sizeof others - 1) == NULL) {
            return false;
        }
    }
    return name.len > 0;
}

static bool has_control(struct slice value)
{
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.ptr[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f) {
            return true;
        }
    }
    return false;
}

/* Whether exactly CR LF stood between end and next. */
static bool ends_line(const char *end, const char *next)
{
    return next - end == 2 && end[0] == '\0' && end[1] == '\0';
}

static struct slice trim(struct slice value)
{
    while (value.len > 0 && (value.ptr[value.len - 1] == ' ' || value.ptr[value.len - 1] == '\t')) {
        value.len--;
    }
    return value;
}

static const char *keep(struct head *head, struct slice name, struct slice value)
{
    if (head_token_is(name, "prefer")) {
        if (head->n_prefer < HEAD_PREFER_MAX) {
            head->prefer[head->n_prefer++] = trim(value);
        }
        return NULL;
    }
    if (head_token_is(name, "via")) {
        head->via_us = head->via_us || (value.len > 0 && memmem(value.ptr, value.len, HEAD_US,
                                                                sizeof HEAD_US - 1) != NULL);
        return NULL;
    }
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        if (head_token_is(name, fields[i].name)) {
            struct slice *to = (struct slice *)(void *)((char *)head + fields[i].offset);
            if (to->ptr != NULL) {
                return "a header field stands there twice";
            }
            *to = trim(value);
            return NULL;
        }
    }
    return NULL;
}

/* Whether a comma list has the word. */
static bool lists(struct slice list, const char *lower)
{
    while (list.len > 0) {
        const char *comma = memchr(list.ptr, ',', list.len);
        size_t len = comma == NULL ? list.len : (size_t)(comma - list.ptr);
        struct slice word = trim((struct slice){list.ptr, len});
        while (word.len > 0 && (word.ptr[0] == ' ' || word.ptr[0] == '\t')) {
            word = (struct slice){word.ptr + 1, word.len - 1};
        }
        if (head_token_is(word, lower)) {
            return true;
        }
        len += comma != NULL;
        list = (struct slice){list.ptr + len, list.len - len};
    }
    return false;
}

/* Lists, which may stand there in several fields. */
static void note_upgrade(struct head *head, struct slice name, struct slice value)
{
    if (head_token_is(name, "connection")) {
        head->asks_upgrade = head->asks_upgrade || lists(value, "upgrade");
    } else if (head_token_is(name, "upgrade")) {
        head->to_websocket = head->to_websocket || lists(value, "websocket");
    }
}

static enum MHD_Result on_field(void *cls, enum MHD_ValueKind kind, const char *key, size_t key_len,
                                const char *value, size_t value_len)
{
    struct scan *scan = cls;
    struct slice name = {key, key_len};
    struct slice text = {value == NULL ? "" : value, value == NULL ? 0 : value_len};
    (void)kind;
    scan->n_bytes += name.len + text.len + 4;
    scan->n_fields++;
    if (scan->measure && !ends_line(scan->end, key)) {
        scan->why = "a header line does not end with CR LF, is folded, or holds a NUL";
    } else if (!is_token(name)) {
        scan->why = "the name of a header field is no token";
    } else if (has_control(text)) {
        scan->why = "a header field holds a control character";
    } else {
        scan->why = keep(scan->head, name, text);
        note_upgrade(scan->head, name, text);
    }
    scan->end = text.ptr + text.len;
    return scan->why == NULL ? MHD_YES : MHD_NO;
}

/* One space on each side of the target, CR LF behind the version: else somebody else may see
 * another request line. */
static bool line_is_plain(const struct head_line *line)
{
    size_t method_len = strlen(line->method);
    return is_token((struct slice){line->method, method_len}) &&
           line->target == line->method + method_len + 1 &&
           line->version == line->target + line->target_len + 1;
}

/* The library counts the bytes of the header: an empty line that was a bare LF is one byte
 * short. */
static bool ends_header(struct MHD_Connection *connection, const struct head_line *line,
                        const char *end)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    return info != NULL && line->method + info->header_size == end + 4;
}

static const char *check_length(struct head *head)
{
    uint64_t length = 0;
    for (size_t i = 0; i < head->content_length.len; i++) {
        char c = head->content_length.ptr[i];
        if (c < '0' || c > '9' || length > UINT64_MAX / 16) {
            return "Content-Length is no number";
        }
        length = length * 10 + (uint64_t)(c - '0');
    }
    if (head->content_length.ptr != NULL && head->content_length.len == 0) {
        return "Content-Length is no number";
    }
    head->body_bytes = length;
    return NULL;
}

enum head_verdict head_read(struct MHD_Connection *connection, const struct head_line *line,
                            bool measure, struct head *out, const char **out_why)
{
    struct scan scan = {out, measure, line->version + strlen(line->version), NULL, 0, 0};
    *out = (struct head){.host = SLICE_NONE};
    if (strcmp(line->version, "HTTP/1.1") != 0 && strcmp(line->version, "HTTP/1.0") != 0) {
        return HEAD_VERSION;
    }
    if (measure && !line_is_plain(line)) {
        *out_why = "the request line is not METHOD SP target SP version CR LF";
        return HEAD_AMBIGUOUS;
    }
    MHD_get_connection_values_n(connection, MHD_HEADER_KIND, on_field, &scan);
    if (scan.why == NULL && measure && !ends_header(connection, line, scan.end)) {
        scan.why = "the header does not end with CR LF CR LF";
    }
    if (scan.why == NULL) {
        scan.why = check_length(out);
    }
    if (scan.why == NULL && out->transfer_encoding.ptr != NULL && out->content_length.ptr != NULL) {
        scan.why = "Content-Length and Transfer-Encoding stand side by side";
    }
    if (scan.why == NULL && out->transfer_encoding.ptr != NULL &&
        (!head_token_is(out->transfer_encoding, "chunked") ||
         strcmp(line->version, "HTTP/1.1") != 0)) {
        scan.why = "this Transfer-Encoding is not understood";
    }
    if (scan.why != NULL) {
        *out_why = scan.why;
        return HEAD_AMBIGUOUS;
    }
    if (scan.n_bytes > HEAD_MAX_BYTES || scan.n_fields > HEAD_MAX_FIELDS) {
        return HEAD_TOO_LONG;
    }
    return out->transfer_encoding.ptr != NULL ? HEAD_CHUNKED : HEAD_GOOD;
}
