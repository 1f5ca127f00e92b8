/* proxy.c - see proxy.h. */
#include "server/proxy.h"

#include "base/status.h"
#include "server/clock.h"
#include "server/elsewhere.h"
#include "server/reply.h"

#include <strings.h>
#include <sys/socket.h>

#define BLOCK_BYTES (16u << 10) /* of an answer, handed to the library at a time */
#define RESUME_US INT64_C(5000000)

struct field {
    struct slice name;
    struct slice value;
};

struct fields {
    struct field items[HEAD_MAX_FIELDS + 2];
    unsigned n;
    unsigned n_theirs; /* the client's; ours stand behind them */
    struct slice connection[4]; /* values of Connection */
    unsigned n_connection;
};

/* ---- What goes out --------------------------------------------------------------------------- */

static bool has_prefix(struct slice name, const char *lower)
{
    size_t n = strlen(lower);
    return name.len >= n && head_token_is((struct slice){name.ptr, n}, lower);
}

/* What concerns the connection to us alone, what libcurl says itself, and what could make the
 * upstream see another request than we did. */
static bool stays_here(struct slice name)
{
    static const char *const here[] = {
        "host", "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade",
        "content-length", "expect", "via", "forwarded", "x-original-url", "x-rewrite-url",
        "x-original-uri", "x-http-method", "x-http-method-override", "x-method-override",
        "x-real-ip", "x-client-ip"};
    for (size_t i = 0; i < sizeof here / sizeof here[0]; i++) {
        if (head_token_is(name, here[i])) {
            return true;
        }
    }
    return has_prefix(name, "proxy-") || has_prefix(name, "x-forwarded-");
}

/* Whether a comma list names it. */
static bool lists(struct slice list, struct slice name)
{
    while (list.len > 0) {
        const char *comma = memchr(list.ptr, ',', list.len);
        size_t len = comma == NULL ? list.len : (size_t)(comma - list.ptr);
        struct slice word = {list.ptr, len};
        while (word.len > 0 && (word.ptr[0] == ' ' || word.ptr[0] == '\t')) {
            word = (struct slice){word.ptr + 1, word.len - 1};
        }
        while (word.len > 0 && strchr(" \t", word.ptr[word.len - 1]) != NULL) {
            word.len--;
        }
        if (word.len == name.len && strncasecmp(word.ptr, name.ptr, name.len) == 0) {
            return true;
        }
        len += comma != NULL;
        list = (struct slice){list.ptr + len, list.len - len};
    }
    return false;
}

static enum MHD_Result on_field(void *cls, enum MHD_ValueKind kind, const char *key, size_t key_len,
                                const char *value, size_t value_len)
{
    struct fields *fields = cls;
    struct slice name = {key, key_len};
    struct slice text = {value == NULL ? "" : value, value == NULL ? 0 : value_len};
    (void)kind;
    if (head_token_is(name, "connection") && fields->n_connection < 4) {
        fields->connection[fields->n_connection++] = text;
    }
    if (!stays_here(name) && fields->n < HEAD_MAX_FIELDS) {
        fields->items[fields->n++] = (struct field){name, text};
    }
    return MHD_YES;
}

static bool next_field(void *cls, unsigned i, struct slice *name, struct slice *value)
{
    const struct fields *fields = cls;
    if (i >= fields->n) {
        return false;
    }
    *name = fields->items[i].name;
    *value = fields->items[i].value;
    for (unsigned k = 0; k < fields->n_connection && i < fields->n_theirs; k++) {
        if (lists(fields->connection[k], *name)) {
            *value = SLICE(""); /* it says of itself that it goes no further */
        }
    }
    return true;
}

static struct slice print_target(const struct proxy_request *request)
{
    struct buf out = BUF_INIT;
    const char *query = memchr(request->target.ptr, '?', request->target.len);
    elsewhere_print_path(&out, request->uri->path);
    if (query != NULL) {
        buf_add(&out, query, request->target.len - (size_t)(query - request->target.ptr));
    }
    buf_add_char(&out, '\0');
    struct slice copy = out.failed ? SLICE_NONE : arena_copy(request->arena, buf_slice(&out));
    buf_release(&out);
    return copy;
}

static bool refuse(struct problem *problem, int status)
{
    bool busy = status == BQ_BUSY || status == BQ_CLOSED || status == BQ_NOMEM;
    *problem = problem_of(busy                   ? 503
                          : status == BQ_TIMEOUT ? 504
                                                 : 502,
                          "upstream",
                          busy                        ? "too many requests wait for the upstream"
                          : status == BQ_TIMEOUT      ? "the upstream does not answer in time"
                          : status == BQ_TOO_LARGE    ? "the upstream sends too long a header"
                                                      : "the upstream cannot be reached");
    problem->retry_after_s = busy ? 1 : 0;
    return false;
}

bool proxy_begin(struct proxy *proxy, const struct proxy_request *request, struct problem *problem)
{
    struct fields *fields = arena_zalloc(request->arena, 1, sizeof *fields);
    struct slice target = print_target(request);
    if (fields == NULL || target.ptr == NULL) {
        return refuse(problem, BQ_NOMEM);
    }
    if (request->head->via_us) {
        *problem = problem_of(508, "upstream", "the upstream leads back to this server");
        return false;
    }
    MHD_get_connection_values_n(proxy->connection, MHD_HEADER_KIND, on_field, fields);
    fields->n_theirs = fields->n;
    fields->items[fields->n++] = (struct field){SLICE("X-Forwarded-For"), request->address};
    fields->items[fields->n++] = (struct field){SLICE("Via"), SLICE(HEAD_VIA)};
    const struct upstream_request out = {
        .method = request->method,
        .target = target.ptr,
        .head = strcmp(request->method, "HEAD") == 0,
        .has_body = !request->get && request->head->body_bytes > 0,
        .body_bytes = request->head->body_bytes,
        .header = next_field,
        .cls = fields,
    };
    proxy->head = out.head;
    int status = upstream_begin(request->upstream, &out, &proxy->call);
    return status == BQ_OK || refuse(problem, status);
}

/* ---- Waiting --------------------------------------------------------------------------------- */

static void suspend(void *cls)
{
    struct proxy *proxy = cls;
    link_set(proxy->link, LINK_NEVER, true);
    MHD_suspend_connection(proxy->connection);
}

/* The upstream's thread, or a stopping one. */
static void resume(void *cls)
{
    struct proxy *proxy = cls;
    /* The library goes on at once and the deadline moves; where it did not see that the client went
     * away meanwhile (libmicrohttpd before 0.9.77 may miss it), the socket is shut down. */
    link_set(proxy->link, clock_us() + RESUME_US, true);
    MHD_resume_connection(proxy->connection);
}

static bool wait_for(struct proxy *proxy, enum upstream_wait what)
{
    const struct upstream_waiter waiter = {suspend, resume, proxy};
    return upstream_wait(proxy->call, what, &waiter);
}

void proxy_give(struct proxy *proxy, const char *bytes, size_t *n)
{
    link_set(proxy->link, clock_us() + proxy->body_timeout_ms * 1000, true);
    do {
        size_t taken = upstream_give(proxy->call, bytes, *n);
        bytes += taken;
        *n -= taken;
    } while (*n > 0 && !wait_for(proxy, UPSTREAM_ROOM));
}

bool proxy_wait(struct proxy *proxy)
{
    return wait_for(proxy, UPSTREAM_HEAD);
}

/* ---- What comes back ------------------------------------------------------------------------- */

/* The answer broke off, and so must ours. MHD_CONTENT_READER_END_WITH_ERROR after a resume leaves
 * the connection open (libmicrohttpd 0.9.75 with epoll): the socket is shut down, and the byte that
 * the library then fails to send makes it clean up. */
static ssize_t break_off(struct proxy *proxy, char *bytes)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(proxy->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (info == NULL || shutdown(info->connect_fd, SHUT_RDWR) != 0) {
        return MHD_CONTENT_READER_END_WITH_ERROR;
    }
    bytes[0] = '\0';
    return 1;
}

static ssize_t on_block(void *cls, uint64_t at, char *bytes, size_t n)
{
    struct proxy *proxy = cls;
    (void)at;
    for (;;) {
        long got = upstream_take(proxy->call, bytes, n);
        if (got == UPSTREAM_END) {
            return MHD_CONTENT_READER_END_OF_STREAM;
        }
        if (got == UPSTREAM_BROKEN) {
            return break_off(proxy, bytes);
        }
        if (got > 0) {
            proxy->sent += (uint64_t)got;
            link_set(proxy->link, clock_us() + proxy->reply_timeout_ms * 1000, true);
            return got;
        }
        if (wait_for(proxy, UPSTREAM_BYTES)) {
            return 0;
        }
    }
}

/* "name: value\n" each. */
static bool add_fields(struct MHD_Response *response, const struct upstream_answer *answer)
{
    struct slice rest = answer->headers;
    struct buf name = BUF_INIT;
    struct buf value = BUF_INIT;
    bool good = true;
    while (good && rest.len > 0) {
        const char *end = memchr(rest.ptr, '\n', rest.len);
        const char *colon = memchr(rest.ptr, ':', rest.len);
        buf_clear(&name);
        buf_clear(&value);
        buf_add(&name, rest.ptr, (size_t)(colon - rest.ptr));
        buf_add(&value, colon + 2, (size_t)(end - colon - 2));
        rest = (struct slice){end + 1, rest.len - (size_t)(end + 1 - rest.ptr)};
        good = !name.failed && !value.failed;
        if (good && !lists(answer->connection, buf_slice(&name))) {
            /* One that the library does not take (a control in it) is left out. */
            (void)MHD_add_response_header(response, name.ptr, value.ptr);
        }
    }
    buf_release(&name);
    buf_release(&value);
    return good;
}

bool proxy_answer(struct proxy *proxy, const struct head *head, const char *cors_origin,
                  unsigned *out_http, struct problem *problem)
{
    struct upstream_answer answer;
    int status = upstream_head(proxy->call, &answer);
    *problem = PROBLEM_NONE;
    if (status != BQ_OK) {
        return refuse(problem, status);
    }
    uint64_t length = answer.has_length                                   ? answer.length
                      : proxy->head || answer.http == 204 || answer.http == 304 ? 0
                                                                                : MHD_SIZE_UNKNOWN;
    struct MHD_Response *response =
        MHD_create_response_from_callback(length, BLOCK_BYTES, on_block, proxy, NULL);
    *out_http = answer.http;
    bool good = response != NULL && add_fields(response, &answer) &&
                reply_add_cors(response, head, cors_origin) &&
                MHD_queue_response(proxy->connection, answer.http, response) == MHD_YES;
    if (response != NULL) {
        MHD_destroy_response(response);
    }
    return good;
}
