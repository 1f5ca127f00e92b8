/* transport_curl.c - the transport over libcurl.
 *
 * One easy handle in one multi handle: the connection stays open between requests. Redirects are
 * not followed (a token must not travel), Expect: is not sent, an answer has a maximum; what all
 * connections have in common is curl_setup's. The realtime socket is polled beside the request.
 * Nothing here reads a clock but to wait. */
#include "client/transport.h"

#include "base/buf.h"
#include "base/mem.h"
#include "bqsync.h"
#include "net/curl_setup.h"
#include "net/web_socket.h"
#include "proto/live.h"

#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#define LOW_SPEED_S 20L

struct curl_transport {
    struct transport base;
    CURLM *multi;
    CURL *easy;
    struct web_socket *socket; /* NULL: there is no url */
    struct curl_slist *headers;
    char *url;
    char *api_key;
    bool flies;
    bool too_long;
    bool no_memory;
    uint64_t serial;
    struct buf body;
    atomic_bool woken;
    char error[CURL_ERROR_SIZE];
    char sentence[CURL_ERROR_SIZE + 64];
};

static struct curl_transport *curl_of(struct transport *transport)
{
    return (struct curl_transport *)(void *)transport;
}

/* ---- URLs ------------------------------------------------------------------------------------ */

bool transport_url_valid(const char *url)
{
    const char *host = strncmp(url, "https://", 8) == 0  ? url + 8
                       : strncmp(url, "http://", 7) == 0 ? url + 7
                                                         : NULL;
    if (host == NULL || host[0] == '\0' || host[0] == '/' || host[0] == ':') {
        return false;
    }
    for (const char *c = url; *c != '\0'; c++) {
        if ((unsigned char)*c <= ' ' || *c == 0x7f || strchr("@?#\\\"<>{}|^`", *c) != NULL) {
            return false;
        }
    }
    return true;
}

/* ---- Making and freeing ---------------------------------------------------------------------- */

static size_t take_body(char *bytes, size_t size, size_t n, void *context)
{
    struct curl_transport *curl = context;
    size_t len = size * n;
    if (len > TRANSPORT_ANSWER_BYTES - curl->body.len) {
        curl->too_long = true;
        return 0;
    }
    buf_add(&curl->body, bytes, len);
    if (curl->body.failed) {
        curl->no_memory = true;
        return 0;
    }
    return len;
}

/* An option that is not there is a weaker connection, so every one of them counts. */
static bool set_options(struct curl_transport *curl, const struct transport_config *config)
{
    CURL *easy = curl->easy;
    int bad = 0;
    bad |= (int)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_WRITEDATA, (void *)curl);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_POST, 1L);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)config->timeout_ms);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, LOW_SPEED_S);
    const struct curl_setup setup = {config->ca_file, config->proxy, (long)config->timeout_ms};
    return bad == 0 && curl_setup_easy(easy, &setup, curl->error);
}

static void cancel(struct transport *transport)
{
    struct curl_transport *curl = curl_of(transport);
    struct curl_quiet quiet;
    if (curl->flies) {
        curl_quiet_begin(&quiet);
        (void)curl_multi_remove_handle(curl->multi, curl->easy);
        curl_quiet_end(&quiet);
        curl->flies = false;
    }
}

/* The list holds the token. */
static void drop_headers(struct curl_transport *curl)
{
    for (struct curl_slist *item = curl->headers; item != NULL; item = item->next) {
        explicit_bzero(item->data, strlen(item->data));
    }
    curl_slist_free_all(curl->headers);
    curl->headers = NULL;
}

static void free_curl(struct transport *transport)
{
    struct curl_transport *curl = curl_of(transport);
    struct curl_quiet quiet;
    cancel(transport);
    web_socket_free(curl->socket);
    curl_quiet_begin(&quiet);
    curl_easy_cleanup(curl->easy);
    (void)curl_multi_cleanup(curl->multi);
    curl_quiet_end(&quiet);
    drop_headers(curl);
    buf_release(&curl->body);
    mem_free(curl->url);
    mem_free(curl->api_key);
    mem_free(curl);
}

/* ---- A request ------------------------------------------------------------------------------- */

static bool add_header(struct curl_transport *curl, const char *name, const char *value)
{
    struct buf line = BUF_INIT;
    buf_add_text(&line, name);
    buf_add_text(&line, ":");
    if (value[0] != '\0') {
        buf_add_text(&line, " ");
        buf_add_text(&line, value);
    }
    struct curl_slist *longer = line.failed ? NULL : curl_slist_append(curl->headers, line.ptr);
    if (line.ptr != NULL) {
        explicit_bzero(line.ptr, line.len);
    }
    buf_release(&line);
    if (longer != NULL) {
        curl->headers = longer;
    }
    return longer != NULL;
}

static bool add_headers(struct curl_transport *curl, const char *token)
{
    struct buf bearer = BUF_INIT;
    buf_add_text(&bearer, "Bearer ");
    buf_add_text(&bearer, token);
    drop_headers(curl);
    bool good = !bearer.failed && add_header(curl, "Authorization", bearer.ptr) &&
                add_header(curl, "apikey", curl->api_key != NULL ? curl->api_key : token) &&
                add_header(curl, "Content-Type", "application/json") &&
                add_header(curl, "Accept", "application/json") &&
                add_header(curl, "X-Client-Info", "bqsync/0.1.0") && add_header(curl, "Expect", "");
    if (bearer.ptr != NULL) {
        explicit_bzero(bearer.ptr, bearer.len);
    }
    buf_release(&bearer);
    return good;
}

static bool set_request(struct curl_transport *curl, const struct transport_request *request)
{
    struct buf url = BUF_INIT;
    int bad = 0;
    buf_add_text(&url, curl->url);
    buf_add_text(&url, "/rest/v1/rpc/");
    buf_add_text(&url, request->function);
    if (url.failed || !add_headers(curl, request->token)) {
        buf_release(&url);
        return false;
    }
    bad |= (int)curl_easy_setopt(curl->easy, CURLOPT_URL, url.ptr);
    bad |= (int)curl_easy_setopt(curl->easy, CURLOPT_HTTPHEADER, curl->headers);
    bad |= (int)curl_easy_setopt(curl->easy, CURLOPT_POSTFIELDSIZE_LARGE,
                                 (curl_off_t)request->body.len);
    bad |= (int)curl_easy_setopt(curl->easy, CURLOPT_COPYPOSTFIELDS, request->body.ptr);
    buf_release(&url);
    return bad == 0;
}

static int start(struct transport *transport, const struct transport_request *request)
{
    struct curl_transport *curl = curl_of(transport);
    buf_clear(&curl->body);
    curl->too_long = false;
    curl->no_memory = false;
    curl->error[0] = '\0';
    curl->serial = request->serial;
    if (!set_request(curl, request) || curl_multi_add_handle(curl->multi, curl->easy) != CURLM_OK) {
        return BQ_NOMEM;
    }
    curl->flies = true;
    return BQ_OK;
}

/* ---- Its answer ------------------------------------------------------------------------------ */

static void failed(struct curl_transport *curl, CURLcode code, struct transport_answer *out)
{
    const char *why = curl->no_memory          ? "memory is exhausted"
                      : curl->error[0] != '\0' ? curl->error
                                               : curl_easy_strerror(code);
    (void)snprintf(curl->sentence, sizeof curl->sentence, "the server did not answer: %s", why);
    out->status = code == CURLE_OPERATION_TIMEDOUT ? BQ_TIMEOUT : BQ_NETWORK;
    out->error = curl->sentence;
}

static void answered(struct curl_transport *curl, CURLcode code, struct transport_answer *out)
{
    long http_status = 0;
    curl_off_t retry_after_s = 0;
    *out = (struct transport_answer){.serial = curl->serial, .retry_after_ms = -1};
    if (code != CURLE_OK && !curl->too_long) {
        failed(curl, code, out);
        return;
    }
    (void)curl_easy_getinfo(curl->easy, CURLINFO_RESPONSE_CODE, &http_status);
    (void)curl_easy_getinfo(curl->easy, CURLINFO_RETRY_AFTER, &retry_after_s);
    out->status = BQ_OK;
    out->http_status = (int)http_status;
    if (retry_after_s > 0) {
        out->retry_after_ms = retry_after_s < 86400 ? (int64_t)retry_after_s * 1000 : 86400000;
    }
    out->body = curl->too_long ? SLICE("") : buf_slice(&curl->body);
}

static bool take_answer(struct curl_transport *curl, struct transport_answer *out)
{
    int n_left;
    CURLMsg *message;
    while ((message = curl_multi_info_read(curl->multi, &n_left)) != NULL) {
        if (message->msg == CURLMSG_DONE && curl->flies) {
            CURLcode code = message->data.result;
            answered(curl, code, out);
            cancel(&curl->base);
            return true;
        }
    }
    return false;
}

/* ---- Waiting --------------------------------------------------------------------------------- */

static int64_t monotonic_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Sleeps until something can go on, at most until until_ms. */
static void sleep_on(struct curl_transport *curl, int64_t until_ms)
{
    struct curl_waitfd fds[WEB_SOCKET_FDS];
    int64_t left_ms = until_ms - monotonic_ms();
    left_ms = left_ms < 0 ? 0 : left_ms < 60000 ? left_ms : 60000;
    unsigned n = curl->socket == NULL ? 0 : web_socket_watch(curl->socket, fds, &left_ms);
    (void)curl_multi_poll(curl->multi, fds, n, (int)left_ms, NULL);
}

/* News of the socket. */
static bool take_news(struct curl_transport *curl, struct transport_answer *out)
{
    struct web_socket_news news;
    while (web_socket_work(curl->socket, &news)) {
        *out = (struct transport_answer){.retry_after_ms = -1};
        switch (news.kind) {
        case WEB_SOCKET_OPEN:
            out->news = TRANSPORT_LIVE_OPEN;
            return true;
        case WEB_SOCKET_TEXT:
            out->news = TRANSPORT_LIVE_TEXT;
            out->body = news.body;
            return true;
        case WEB_SOCKET_BINARY:
            break; /* none is for us */
        case WEB_SOCKET_LOST:
            out->news = TRANSPORT_LIVE_LOST;
            out->status = BQ_NETWORK;
            out->loss = news.loss;
            out->retry_after_ms = news.retry_after_ms;
            out->error = news.error;
            return true;
        }
    }
    return false;
}

static bool wait_on(struct curl_transport *curl, int64_t wait_ms, struct transport_answer *out)
{
    int64_t until_ms = monotonic_ms() + wait_ms;
    for (;;) {
        int running;
        if (curl->flies) {
            (void)curl_multi_perform(curl->multi, &running);
            if (take_answer(curl, out)) {
                return true;
            }
        }
        if (curl->socket != NULL && take_news(curl, out)) {
            return true;
        }
        if (atomic_exchange(&curl->woken, false) || monotonic_ms() >= until_ms) {
            return false;
        }
        sleep_on(curl, until_ms);
    }
}

static bool wait_quietly(struct transport *transport, int64_t wait_ms, struct transport_answer *out)
{
    struct curl_quiet quiet;
    curl_quiet_begin(&quiet);
    bool found = wait_on(curl_of(transport), wait_ms, out);
    curl_quiet_end(&quiet);
    return found;
}

/* ---- The socket ------------------------------------------------------------------------------ */

static int live_open(struct transport *transport, const char *token)
{
    struct curl_transport *curl = curl_of(transport);
    const struct upgrade_request request = {.path = UPGRADE_REALTIME_PATH,
                                            .vsn = "2.0.0",
                                            .api_key = curl->api_key,
                                            .token = token};
    return web_socket_open(curl->socket, &request);
}

static int live_send(struct transport *transport, struct slice text)
{
    return web_socket_send(curl_of(transport)->socket, false, text);
}

static void live_close(struct transport *transport)
{
    web_socket_close(curl_of(transport)->socket);
}

static bool make_socket(struct curl_transport *curl, const struct transport_config *config)
{
    if (config->url == NULL) {
        return true;
    }
    curl->base.live_open = live_open;
    curl->base.live_send = live_send;
    curl->base.live_close = live_close;
    const struct web_socket_config socket = {.url = config->url,
                                             .ca_file = config->ca_file,
                                             .proxy = config->proxy,
                                             .timeout_ms = config->timeout_ms,
                                             .frame_bytes = PROTO_LIVE_FRAME_BYTES};
    return web_socket_new(&socket, &curl->socket) == BQ_OK;
}

static void wake(struct transport *transport)
{
    struct curl_transport *curl = curl_of(transport);
    atomic_store(&curl->woken, true);
    (void)curl_multi_wakeup(curl->multi);
}

int transport_curl_new(const struct transport_config *config, struct transport **out)
{
    curl_setup_once();
    struct curl_transport *curl = mem_zalloc(1, sizeof *curl);
    if (curl == NULL) {
        return BQ_NOMEM;
    }
    curl->base = (struct transport){
        .free = free_curl, .start = start, .cancel = cancel, .wait = wait_quietly, .wake = wake};
    atomic_init(&curl->woken, false);
    buf_init(&curl->body);
    curl->multi = curl_multi_init();
    curl->easy = curl_easy_init();
    size_t len = config->url == NULL ? 0 : strlen(config->url);
    while (len > 0 && config->url[len - 1] == '/') {
        len--;
    }
    curl->url = mem_dup(config->url, len);
    bool good = curl->multi != NULL && curl->easy != NULL && curl->url != NULL;
    if (good && config->api_key != NULL) {
        curl->api_key = mem_dup(config->api_key, strlen(config->api_key));
        good = curl->api_key != NULL;
    }
    if (!good || !set_options(curl, config) || !make_socket(curl, config)) {
        free_curl(&curl->base);
        return BQ_NOMEM;
    }
    *out = &curl->base;
    return BQ_OK;
}
