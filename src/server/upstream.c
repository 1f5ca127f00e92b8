/* upstream.c - see upstream.h. The thread alone touches libcurl's handles once a call began; what
 * a request and the thread share stands under the call's lock. The calls that the thread is to look
 * at stand in the mailbox, each once. */
#include "server/upstream.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/status.h"
#include "net/curl_setup.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <strings.h>

#define POLL_MS 10000
#define LOW_SPEED_BYTES 1L /* in timeout_ms, or the transfer is over */

struct pipe {
    size_t at; /* of the first byte */
    size_t len;
    char bytes[UPSTREAM_BUFFER_BYTES];
};

struct upstream_call {
    struct upstream *upstream;
    struct upstream_call *next; /* of all */
    struct upstream_call **where;
    struct upstream_call *next_mail;
    bool mailed; /* in the mailbox; under the upstream's lock, as is ended */
    bool ended;
    /* The thread's. */
    CURL *easy;
    struct curl_slist *fields;
    bool added;
    char error[CURL_ERROR_SIZE];
    pthread_mutex_t lock; /* of all below */
    struct pipe up;
    struct pipe down;
    uint64_t up_left; /* bytes of the body that the request still has to give */
    bool up_paused;   /* libcurl waits for bytes, */
    bool down_paused; /* or for room */
    struct buf headers;
    struct buf connection; /* the list of fields that are not to be passed on */
    unsigned http;
    bool has_head;
    bool has_length;
    uint64_t length;
    bool done;
    int status; /* once it is done */
    bool waiting;
    enum upstream_wait what;
    struct upstream_waiter waiter;
};

struct upstream {
    char *base; /* without a slash at its end */
    char *ca_file;
    int64_t timeout_ms;
    unsigned max;
    CURLM *multi;
    pthread_t thread;
    pthread_mutex_t lock; /* of all below */
    struct upstream_call *all;
    struct upstream_call *mail;
    unsigned n_calls;
    bool stopping;
    bool stopped; /* the thread is gone */
};

/* ---- Pipes ----------------------------------------------------------------------------------- */

static size_t pipe_put(struct pipe *pipe, const char *bytes, size_t n)
{
    size_t room = sizeof pipe->bytes - pipe->len;
    size_t end = (pipe->at + pipe->len) % sizeof pipe->bytes;
    n = n < room ? n : room;
    size_t first = n < sizeof pipe->bytes - end ? n : sizeof pipe->bytes - end;
    memcpy(pipe->bytes + end, bytes, first);
    memcpy(pipe->bytes, bytes + first, n - first);
    pipe->len += n;
    return n;
}

static size_t pipe_get(struct pipe *pipe, char *bytes, size_t n)
{
    n = n < pipe->len ? n : pipe->len;
    size_t first = n < sizeof pipe->bytes - pipe->at ? n : sizeof pipe->bytes - pipe->at;
    memcpy(bytes, pipe->bytes + pipe->at, first);
    memcpy(bytes + first, pipe->bytes, n - first);
    pipe->at = (pipe->at + n) % sizeof pipe->bytes;
    pipe->len -= n;
    return n;
}

/* ---- Waiting --------------------------------------------------------------------------------- */

/* The call's lock is held. */
static bool is_there(const struct upstream_call *call, enum upstream_wait what)
{
    switch (what) {
    case UPSTREAM_ROOM:
        return call->done || call->up.len < sizeof call->up.bytes;
    case UPSTREAM_HEAD:
        return call->done || call->has_head;
    case UPSTREAM_BYTES:
        break;
    }
    return call->done || call->down.len > 0;
}

/* The call's lock is held. */
static void wake_waiter(struct upstream_call *call)
{
    if (call->waiting && is_there(call, call->what)) {
        call->waiting = false;
        call->waiter.resume(call->waiter.cls);
    }
}

bool upstream_wait(struct upstream_call *call, enum upstream_wait what,
                   const struct upstream_waiter *waiter)
{
    pthread_mutex_lock(&call->lock);
    bool wait = !is_there(call, what);
    if (wait) {
        call->waiting = true;
        call->what = what;
        call->waiter = *waiter;
        waiter->suspend(waiter->cls);
    }
    pthread_mutex_unlock(&call->lock);
    return wait;
}

/* The upstream's lock is held. */
static void post(struct upstream_call *call)
{
    struct upstream *upstream = call->upstream;
    if (!upstream->stopped && !call->mailed) {
        call->mailed = true;
        call->next_mail = upstream->mail;
        upstream->mail = call;
    }
}

/* Tells the thread to look at the call. */
static void tell(struct upstream_call *call)
{
    struct upstream *upstream = call->upstream;
    pthread_mutex_lock(&upstream->lock);
    post(call);
    pthread_mutex_unlock(&upstream->lock);
    curl_multi_wakeup(upstream->multi);
}

/* ---- What libcurl calls ---------------------------------------------------------------------- */

static size_t on_read(char *to, size_t size, size_t n, void *cls)
{
    struct upstream_call *call = cls;
    pthread_mutex_lock(&call->lock);
    size_t got = pipe_get(&call->up, to, size * n);
    call->up_paused = got == 0 && call->up_left > 0;
    bool paused = call->up_paused;
    wake_waiter(call);
    pthread_mutex_unlock(&call->lock);
    return paused ? CURL_READFUNC_PAUSE : got;
}

static size_t on_write(char *bytes, size_t size, size_t n, void *cls)
{
    struct upstream_call *call = cls;
    pthread_mutex_lock(&call->lock);
    bool fits = size * n <= sizeof call->down.bytes - call->down.len;
    call->down_paused = !fits;
    if (fits) {
        pipe_put(&call->down, bytes, size * n);
    }
    wake_waiter(call);
    pthread_mutex_unlock(&call->lock);
    return fits ? size * n : CURL_WRITEFUNC_PAUSE;
}

static bool name_is(struct slice name, const char *word)
{
    return name.len == strlen(word) && strncasecmp(name.ptr, word, name.len) == 0;
}

/* What concerns the connection to the upstream alone, or is said anew by us. */
static bool is_passed(struct slice name)
{
    static const char *const ours[] = {
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization",
        "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "content-length",
        "date", "alt-svc", "strict-transport-security", "access-control-allow-origin",
        "access-control-allow-credentials", "access-control-allow-methods",
        "access-control-allow-headers", "access-control-max-age"};
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++) {
        if (name_is(name, ours[i])) {
            return false;
        }
    }
    return name.len > 0;
}

static struct slice trim(struct slice text)
{
    while (text.len > 0 && strchr(" \t\r\n", text.ptr[text.len - 1]) != NULL) {
        text.len--;
    }
    while (text.len > 0 && (text.ptr[0] == ' ' || text.ptr[0] == '\t')) {
        text.ptr++;
        text.len--;
    }
    return text;
}

/* One field, the call's lock held. False: too much of it. */
static bool keep_field(struct upstream_call *call, struct slice line)
{
    const char *colon = memchr(line.ptr, ':', line.len);
    if (colon == NULL) {
        return true;
    }
    struct slice name = {line.ptr, (size_t)(colon - line.ptr)};
    struct slice value = trim((struct slice){colon + 1, line.len - name.len - 1});
    if (name_is(name, "content-length")) {
        call->length = 0;
        call->has_length = value.len > 0 && value.len < 19;
        for (size_t i = 0; i < value.len && call->has_length; i++) {
            call->has_length = value.ptr[i] >= '0' && value.ptr[i] <= '9';
            call->length = call->length * 10 + (uint64_t)(value.ptr[i] - '0');
        }
    }
    if (name_is(name, "connection")) {
        buf_add_slice(&call->connection, value);
        buf_add_char(&call->connection, ',');
    }
    if (is_passed(name) && value.len > 0) {
        buf_add_slice(&call->headers, name);
        buf_add_text(&call->headers, ": ");
        buf_add_slice(&call->headers, value);
        buf_add_char(&call->headers, '\n');
    }
    return !call->headers.failed && !call->connection.failed &&
           call->headers.len + call->connection.len <= UPSTREAM_HEAD_BYTES;
}

/* A line of a header; several headers may come (100 Continue), the last one counts. */
static size_t on_header(char *bytes, size_t size, size_t n, void *cls)
{
    struct upstream_call *call = cls;
    struct slice line = {bytes, size * n};
    bool good = true;
    long http = 0;
    pthread_mutex_lock(&call->lock);
    if (call->has_head) {
        good = true; /* trailers */
    } else if (line.len >= 5 && memcmp(line.ptr, "HTTP/", 5) == 0) {
        buf_clear(&call->headers);
        buf_clear(&call->connection);
        call->has_length = false;
    } else if (trim(line).len > 0) {
        good = keep_field(call, line);
    } else {
        curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &http);
        call->http = (unsigned)http;
        call->has_head = http >= 200;
        wake_waiter(call);
    }
    pthread_mutex_unlock(&call->lock);
    return good ? line.len : 0;
}

/* ---- The thread ------------------------------------------------------------------------------ */

static void finish(struct upstream_call *call, int status)
{
    pthread_mutex_lock(&call->lock);
    if (!call->done) {
        call->done = true;
        call->status = status;
    }
    wake_waiter(call);
    pthread_mutex_unlock(&call->lock);
}

static void free_call(struct upstream_call *call)
{
    curl_easy_cleanup(call->easy);
    curl_slist_free_all(call->fields);
    buf_release(&call->headers);
    buf_release(&call->connection);
    pthread_mutex_destroy(&call->lock);
    mem_free(call);
}

/* The upstream's lock is held. */
static void unlist(struct upstream_call *call)
{
    *call->where = call->next;
    if (call->next != NULL) {
        call->next->where = call->where;
    }
    call->upstream->n_calls--;
}

static void remove_handle(struct upstream_call *call)
{
    if (call->added) {
        curl_multi_remove_handle(call->upstream->multi, call->easy);
        call->added = false;
    }
}

/* What the request changed: it began, gave bytes, made room, or ended. */
static void look_at(struct upstream_call *call, bool ended)
{
    if (ended) {
        remove_handle(call);
        pthread_mutex_lock(&call->upstream->lock);
        unlist(call);
        pthread_mutex_unlock(&call->upstream->lock);
        free_call(call);
        return;
    }
    pthread_mutex_lock(&call->lock);
    bool done = call->done;
    bool up = call->up_paused && (call->up.len > 0 || call->up_left == 0);
    bool down = call->down_paused && call->down.len < sizeof call->down.bytes / 2;
    bool any = call->up_paused || call->down_paused;
    int mask = (call->up_paused && !up ? CURLPAUSE_SEND : 0) |
               (call->down_paused && !down ? CURLPAUSE_RECV : 0);
    call->up_paused = call->up_paused && !up;
    call->down_paused = call->down_paused && !down;
    pthread_mutex_unlock(&call->lock);
    if (done) {
        return;
    }
    if (!call->added) {
        call->added = curl_multi_add_handle(call->upstream->multi, call->easy) == CURLM_OK;
        if (!call->added) {
            finish(call, BQ_NOMEM);
        }
    } else if (any && (up || down)) {
        curl_easy_pause(call->easy, mask);
    }
}

/* False: it is to end. */
static bool read_mail(struct upstream *upstream)
{
    pthread_mutex_lock(&upstream->lock);
    while (upstream->mail != NULL) {
        struct upstream_call *call = upstream->mail;
        upstream->mail = call->next_mail;
        call->mailed = false;
        bool ended = call->ended;
        pthread_mutex_unlock(&upstream->lock);
        look_at(call, ended);
        pthread_mutex_lock(&upstream->lock);
    }
    bool goes_on = !upstream->stopping;
    pthread_mutex_unlock(&upstream->lock);
    return goes_on;
}

static int status_of(CURLcode code)
{
    switch ((int)code) {
    case CURLE_OK:
        return BQ_OK;
    case CURLE_OPERATION_TIMEDOUT:
        return BQ_TIMEOUT;
    case CURLE_WRITE_ERROR: /* on_header() had enough */
        return BQ_TOO_LARGE;
    case CURLE_OUT_OF_MEMORY:
        return BQ_NOMEM;
    default:
        return BQ_NETWORK;
    }
}

static void read_results(struct upstream *upstream)
{
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(upstream->multi, &left)) != NULL) {
        struct upstream_call *call = NULL;
        if (message->msg != CURLMSG_DONE ||
            curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&call) != CURLE_OK) {
            continue;
        }
        int status = status_of(message->data.result);
        remove_handle(call);
        finish(call, status);
    }
}

/* At the end: nobody is left to wait for. */
static void finish_all(struct upstream *upstream)
{
    pthread_mutex_lock(&upstream->lock);
    for (struct upstream_call *call = upstream->all; call != NULL; call = call->next) {
        remove_handle(call);
        finish(call, BQ_CLOSED);
    }
    upstream->stopped = true;
    struct upstream_call *mail = upstream->mail;
    upstream->mail = NULL;
    while (mail != NULL) {
        struct upstream_call *call = mail;
        mail = call->next_mail;
        call->mailed = false;
        if (call->ended) {
            unlist(call);
            free_call(call);
        }
    }
    pthread_mutex_unlock(&upstream->lock);
}

static void *run(void *cls)
{
    struct upstream *upstream = cls;
    sigset_t pipes;
    sigemptyset(&pipes);
    sigaddset(&pipes, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipes, NULL);
    while (read_mail(upstream)) {
        int running;
        curl_multi_perform(upstream->multi, &running);
        read_results(upstream);
        curl_multi_poll(upstream->multi, NULL, 0, POLL_MS, NULL);
    }
    finish_all(upstream);
    return NULL;
}

/* ---- Start and end --------------------------------------------------------------------------- */

/* Scheme and host, and nothing that would make it a part of a longer path. */
static bool url_is_good(const char *url)
{
    size_t skip = strncmp(url, "https://", 8) == 0 ? 8 : strncmp(url, "http://", 7) == 0 ? 7 : 0;
    size_t host = strcspn(url + skip, "/");
    const char *rest = url + skip + host;
    return skip > 0 && host > 0 && strcspn(url, "@?# \t\"\\") == strlen(url) &&
           (rest[0] == '\0' || strcmp(rest, "/") == 0);
}

static void release(struct upstream *upstream)
{
    if (upstream->multi != NULL) {
        curl_multi_cleanup(upstream->multi);
    }
    pthread_mutex_destroy(&upstream->lock);
    mem_free(upstream->base);
    mem_free(upstream->ca_file);
    mem_free(upstream);
}

int upstream_start(const struct upstream_config *config, struct upstream **out, char *error,
                   size_t error_size)
{
    if (!url_is_good(config->url)) {
        snprintf(error, error_size, "--upstream is https://HOST or http://HOST, with a port where "
                 "it has one and without a path");
        return BQ_INVALID;
    }
    struct upstream *upstream = mem_zalloc(1, sizeof *upstream);
    if (upstream == NULL) {
        return BQ_NOMEM;
    }
    size_t len = strlen(config->url);
    len -= config->url[len - 1] == '/';
    curl_setup_once();
    pthread_mutex_init(&upstream->lock, NULL);
    upstream->base = mem_dup(config->url, len);
    upstream->ca_file =
        config->ca_file == NULL ? NULL : mem_dup(config->ca_file, strlen(config->ca_file));
    upstream->timeout_ms = config->timeout_ms;
    upstream->max = config->calls;
    upstream->multi = curl_multi_init();
    if (upstream->base == NULL || (config->ca_file != NULL && upstream->ca_file == NULL) ||
        upstream->multi == NULL || pthread_create(&upstream->thread, NULL, run, upstream) != 0) {
        release(upstream);
        return BQ_NOMEM;
    }
    *out = upstream;
    return BQ_OK;
}

void upstream_stop(struct upstream *upstream)
{
    if (upstream == NULL) {
        return;
    }
    pthread_mutex_lock(&upstream->lock);
    bool first = !upstream->stopping;
    upstream->stopping = true;
    pthread_mutex_unlock(&upstream->lock);
    if (first) {
        curl_multi_wakeup(upstream->multi);
        pthread_join(upstream->thread, NULL);
    }
}

void upstream_free(struct upstream *upstream)
{
    if (upstream != NULL) {
        upstream_stop(upstream);
        release(upstream);
    }
}

/* ---- A call ---------------------------------------------------------------------------------- */

static bool add_field(struct upstream_call *call, struct slice name, struct slice value)
{
    struct buf line = BUF_INIT;
    buf_add_slice(&line, name);
    buf_add_text(&line, value.len == 0 ? ":" : ": "); /* "name:" takes libcurl's own away */
    buf_add_slice(&line, value);
    struct curl_slist *longer = line.failed ? NULL : curl_slist_append(call->fields, line.ptr);
    buf_release(&line);
    if (longer != NULL) {
        call->fields = longer;
    }
    return longer != NULL;
}

/* The request's, and where it has none of libcurl's favourites, none of those either. */
static bool add_fields(struct upstream_call *call, const struct upstream_request *request)
{
    static const char *const habits[] = {"Accept", "Content-Type", "User-Agent", "Expect"};
    bool there[sizeof habits / sizeof habits[0]] = {false};
    struct slice name;
    struct slice value;
    for (unsigned i = 0; request->header(request->cls, i, &name, &value); i++) {
        for (size_t k = 0; k < sizeof habits / sizeof habits[0]; k++) {
            there[k] = there[k] || name_is(name, habits[k]);
        }
        if (value.len > 0 && !add_field(call, name, value)) {
            return false;
        }
    }
    for (size_t k = 0; k < sizeof habits / sizeof habits[0]; k++) {
        if (!there[k] && !add_field(call, slice_of(habits[k]), SLICE(""))) {
            return false;
        }
    }
    return true;
}

static bool set_body(struct upstream_call *call, const struct upstream_request *request)
{
    CURL *easy = call->easy;
    int bad = 0;
    if (request->has_body) {
        bad |= (int)curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
        bad |= (int)curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE,
                                     (curl_off_t)request->body_bytes);
        bad |= (int)curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read);
        bad |= (int)curl_easy_setopt(easy, CURLOPT_READDATA, call);
    } else if (request->head) {
        bad |= (int)curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    } else if (strcmp(request->method, "GET") != 0) {
        bad |= (int)curl_easy_setopt(easy, CURLOPT_POSTFIELDS, "");
        bad |= (int)curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, 0L);
    }
    if (!request->head) {
        bad |= (int)curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
    }
    return bad == 0;
}

static bool set_easy(struct upstream_call *call, const struct upstream_request *request)
{
    const struct upstream *upstream = call->upstream;
    const struct curl_setup setup = {upstream->ca_file, NULL, (long)upstream->timeout_ms};
    struct buf url = BUF_INIT;
    CURL *easy = call->easy;
    long low_speed_s = (long)((upstream->timeout_ms + 999) / 1000);
    int bad = !curl_setup_easy(easy, &setup, call->error);
    buf_add_text(&url, upstream->base);
    buf_add_text(&url, request->target);
    bad |= url.failed;
    if (bad == 0) {
        bad |= (int)curl_easy_setopt(easy, CURLOPT_URL, url.ptr);
        bad |= (int)curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
        bad |= (int)curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
        bad |= (int)curl_easy_setopt(easy, CURLOPT_HTTPHEADER, call->fields);
        bad |= (int)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_write);
        bad |= (int)curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
        bad |= (int)curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
        bad |= (int)curl_easy_setopt(easy, CURLOPT_HEADERDATA, call);
        bad |= (int)curl_easy_setopt(easy, CURLOPT_PRIVATE, call);
        /* Silence for this long ends a transfer; pauses of the client do not count. */
        bad |= (int)curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, LOW_SPEED_BYTES);
        bad |= (int)curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, low_speed_s);
        bad |= !set_body(call, request);
    }
    buf_release(&url);
    return bad == 0;
}

/* A place among those at a time. */
static int list(struct upstream_call *call)
{
    struct upstream *upstream = call->upstream;
    int status = BQ_OK;
    pthread_mutex_lock(&upstream->lock);
    if (upstream->stopping) {
        status = BQ_CLOSED;
    } else if (upstream->n_calls >= upstream->max) {
        status = BQ_BUSY;
    } else {
        upstream->n_calls++;
        call->next = upstream->all;
        call->where = &upstream->all;
        if (call->next != NULL) {
            call->next->where = &call->next;
        }
        upstream->all = call;
    }
    pthread_mutex_unlock(&upstream->lock);
    return status;
}

int upstream_begin(struct upstream *upstream, const struct upstream_request *request,
                   struct upstream_call **out)
{
    struct upstream_call *call = mem_zalloc(1, sizeof *call);
    if (call == NULL) {
        return BQ_NOMEM;
    }
    call->upstream = upstream;
    call->up_left = request->has_body ? request->body_bytes : 0;
    pthread_mutex_init(&call->lock, NULL);
    call->easy = curl_easy_init();
    int status = call->easy != NULL && add_fields(call, request) && set_easy(call, request)
                     ? list(call) : BQ_NOMEM;
    if (status != BQ_OK) {
        free_call(call);
        return status;
    }
    *out = call;
    tell(call);
    return BQ_OK;
}

void upstream_end(struct upstream_call *call)
{
    if (call == NULL) {
        return;
    }
    struct upstream *upstream = call->upstream;
    pthread_mutex_lock(&upstream->lock);
    call->ended = true;
    bool stopped = upstream->stopped;
    if (stopped) {
        unlist(call);
    } else {
        post(call);
    }
    pthread_mutex_unlock(&upstream->lock);
    if (stopped) {
        free_call(call);
    } else {
        curl_multi_wakeup(upstream->multi); /* the call may be gone */
    }
}

size_t upstream_give(struct upstream_call *call, const char *bytes, size_t n)
{
    pthread_mutex_lock(&call->lock);
    size_t taken = call->done ? n : pipe_put(&call->up, bytes, n);
    call->up_left -= taken < call->up_left ? taken : call->up_left;
    bool look = call->up_paused;
    pthread_mutex_unlock(&call->lock);
    if (look) {
        tell(call);
    }
    return taken;
}

int upstream_head(struct upstream_call *call, struct upstream_answer *out)
{
    pthread_mutex_lock(&call->lock);
    int status = call->has_head ? BQ_OK : !call->done ? BQ_BUSY
                 : call->status == BQ_OK ? BQ_NETWORK : call->status;
    if (call->has_head) {
        *out = (struct upstream_answer){call->http, call->has_length, call->length,
                                        buf_slice(&call->headers), buf_slice(&call->connection)};
    }
    pthread_mutex_unlock(&call->lock);
    return status;
}

long upstream_take(struct upstream_call *call, char *bytes, size_t n)
{
    pthread_mutex_lock(&call->lock);
    long got = (long)pipe_get(&call->down, bytes, n);
    if (got == 0 && call->done) {
        got = call->status == BQ_OK ? UPSTREAM_END : UPSTREAM_BROKEN;
    }
    bool look = call->down_paused && call->down.len < sizeof call->down.bytes / 2;
    pthread_mutex_unlock(&call->lock);
    if (look) {
        tell(call);
    }
    return got;
}
