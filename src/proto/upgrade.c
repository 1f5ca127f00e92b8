/* upgrade.c - see upgrade.h. */
#include "proto/upgrade.h"

#include "base/sha1.h"

/* RFC 6455 section 1.3. */
#define MAGIC "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

#define RETRY_AFTER_LONGEST_S 86400

/* ---- base64 with padding (RFC 4648 section 4) ------------------------------------------------ */

static void base64_print(const uint8_t *bytes, size_t n, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t at = 0;
    for (size_t i = 0; i < n; i += 3) {
        size_t left = n - i;
        uint32_t group = (uint32_t)bytes[i] << 16 | (left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) |
                         (left > 2 ? bytes[i + 2] : 0u);
        out[at++] = digits[group >> 18];
        out[at++] = digits[(group >> 12) & 63];
        out[at++] = left > 1 ? digits[(group >> 6) & 63] : '=';
        out[at++] = left > 2 ? digits[group & 63] : '=';
    }
    out[at] = '\0';
}

void upgrade_key(const uint8_t nonce[UPGRADE_NONCE_BYTES], char out[UPGRADE_KEY_TEXT])
{
    base64_print(nonce, UPGRADE_NONCE_BYTES, out);
}

/* ---- The request ----------------------------------------------------------------------------- */

static bool is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

static void add_encoded(struct buf *out, const char *text)
{
    static const char hex[] = "0123456789ABCDEF";
    for (const char *c = text; *c != '\0'; c++) {
        if (is_plain(*c)) {
            buf_add_char(out, *c);
        } else {
            buf_add_char(out, '%');
            buf_add_char(out, hex[(unsigned char)*c >> 4]);
            buf_add_char(out, hex[(unsigned char)*c & 15]);
        }
    }
}

static void add_header(struct buf *out, const char *name, const char *value)
{
    buf_add_text(out, name);
    buf_add_text(out, ": ");
    buf_add_text(out, value);
    buf_add_text(out, "\r\n");
}

/* Host and path of a checked URL. */
static void split_url(struct slice url, struct slice *host, struct slice *path)
{
    size_t start = url.len > 8 && memcmp(url.ptr, "https://", 8) == 0 ? 8 : 7;
    const char *slash = memchr(url.ptr + start, '/', url.len - start);
    size_t end = slash == NULL ? url.len : (size_t)(slash - url.ptr);
    *host = (struct slice){url.ptr + start, end - start};
    *path = (struct slice){url.ptr + end, url.len - end};
    while (path->len > 0 && path->ptr[path->len - 1] == '/') {
        path->len--;
    }
}

void upgrade_print(struct buf *out, const struct upgrade_request *request)
{
    struct slice host, path;
    const char *key = request->api_key != NULL ? request->api_key : request->token;
    split_url(request->url, &host, &path);
    if (!buf_reserve(out, 1024 + request->url.len + (key == NULL ? 0 : 5 * strlen(key)))) {
        return;
    }
    buf_add_text(out, "GET ");
    buf_add_slice(out, path);
    buf_add_text(out, request->path);
    buf_add_text(out, "?vsn=");
    buf_add_text(out, request->vsn);
    if (request->api_key != NULL) {
        buf_add_text(out, "&apikey=");
        add_encoded(out, request->api_key);
    }
    buf_add_text(out, " HTTP/1.1\r\nHost: ");
    buf_add_slice(out, host);
    buf_add_text(out, "\r\n");
    add_header(out, "Upgrade", "websocket");
    add_header(out, "Connection", "Upgrade");
    add_header(out, "Sec-WebSocket-Version", "13");
    add_header(out, "Sec-WebSocket-Key", request->key);
    add_header(out, "User-Agent", "bqsync/0.1.0");
    add_header(out, "X-Client-Info", "bqsync/0.1.0");
    /* A key is looked for in one of the two. A token never stands in the address: logs keep it. */
    if (key != NULL) {
        add_header(out, "apikey", key);
        add_header(out, "X-Api-Key", key);
    }
    if (request->via != NULL) {
        add_header(out, "Via", request->via);
        add_header(out, "X-Forwarded-For", request->address);
    }
    buf_add_text(out, "\r\n");
}

/* ---- The answer ------------------------------------------------------------------------------ */

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool same_word(struct slice text, const char *word)
{
    if (text.len != strlen(word)) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (lower(text.ptr[i]) != lower(word[i])) {
            return false;
        }
    }
    return true;
}

static struct slice trim(struct slice text)
{
    while (text.len > 0 && (text.ptr[0] == ' ' || text.ptr[0] == '\t')) {
        text.ptr++;
        text.len--;
    }
    while (text.len > 0 && strchr(" \t\r", text.ptr[text.len - 1]) != NULL) {
        text.len--;
    }
    return text;
}

/* The next line without its end; false behind the last. */
static bool next_line(struct slice *rest, struct slice *line)
{
    const char *end = rest->len == 0 ? NULL : memchr(rest->ptr, '\n', rest->len);
    if (end == NULL) {
        return false;
    }
    *line = (struct slice){rest->ptr, (size_t)(end - rest->ptr)};
    rest->ptr = end + 1;
    rest->len -= line->len + 1;
    *line = trim(*line);
    return true;
}

/* A field's value, or none; one that is there twice is there, and empty. */
static struct slice find_field(struct slice head, const char *name)
{
    struct slice line;
    struct slice found = SLICE_NONE;
    (void)next_line(&head, &line);
    while (next_line(&head, &line)) {
        const char *colon = line.len == 0 ? NULL : memchr(line.ptr, ':', line.len);
        size_t len = colon == NULL ? 0 : (size_t)(colon - line.ptr);
        if (colon == NULL || !same_word((struct slice){line.ptr, len}, name)) {
            continue;
        }
        if (found.ptr != NULL) {
            return SLICE("");
        }
        found = trim((struct slice){colon + 1, line.len - len - 1});
    }
    return found;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* "HTTP/1.1 101 ...": only 1.1 knows upgrades. */
static int read_status(struct slice head)
{
    const char *p = head.ptr;
    bool http = head.len >= 13 && memcmp(p, "HTTP/1.", 7) == 0 && is_digit(p[7]) && p[8] == ' ' &&
                is_digit(p[9]) && is_digit(p[10]) && is_digit(p[11]) && !is_digit(p[12]);
    return http ? (p[9] - '0') * 100 + (p[10] - '0') * 10 + (p[11] - '0') : 0;
}

static int64_t read_retry_after(struct slice head)
{
    struct slice text = find_field(head, "Retry-After");
    int64_t seconds = 0;
    if (text.len == 0) {
        return -1;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (!is_digit(text.ptr[i])) {
            return -1; /* a date: the client's own pauses do */
        }
        seconds = seconds * 10 + (text.ptr[i] - '0');
        seconds = seconds < RETRY_AFTER_LONGEST_S ? seconds : RETRY_AFTER_LONGEST_S;
    }
    return seconds * 1000;
}

void upgrade_accept(const char *key, char out[UPGRADE_ACCEPT_TEXT])
{
    char text[UPGRADE_KEY_TEXT - 1 + sizeof MAGIC];
    uint8_t digest[SHA1_BYTES];
    memcpy(text, key, UPGRADE_KEY_TEXT - 1);
    memcpy(text + UPGRADE_KEY_TEXT - 1, MAGIC, sizeof MAGIC);
    sha1((struct slice){text, sizeof text - 1}, digest);
    base64_print(digest, SHA1_BYTES, out);
}

static bool accepts(struct slice head, const char *key)
{
    char wanted[UPGRADE_ACCEPT_TEXT];
    upgrade_accept(key, wanted);
    return slice_is(find_field(head, "Sec-WebSocket-Accept"), wanted);
}

/* One word of a comma-separated list. */
static bool lists(struct slice list, const char *word)
{
    while (list.len > 0) {
        const char *comma = memchr(list.ptr, ',', list.len);
        size_t len = comma == NULL ? list.len : (size_t)(comma - list.ptr);
        if (same_word(trim((struct slice){list.ptr, len}), word)) {
            return true;
        }
        len += comma == NULL ? 0 : 1;
        list.ptr += len;
        list.len -= len;
    }
    return false;
}

void upgrade_read(struct slice head, const char *key, struct upgrade_answer *out)
{
    *out = (struct upgrade_answer){.http_status = read_status(head),
                                   .retry_after_ms = read_retry_after(head)};
    out->opened = out->http_status == 101 && head.ptr[7] == '1' &&
                  same_word(find_field(head, "Upgrade"), "websocket") &&
                  lists(find_field(head, "Connection"), "upgrade") && accepts(head, key) &&
                  find_field(head, "Sec-WebSocket-Extensions").ptr == NULL &&
                  find_field(head, "Sec-WebSocket-Protocol").ptr == NULL;
}
