/* transport_curl.c - the transport over libcurl.
 *
 * One easy handle in one multi handle: the connection stays open between requests. TLS is verified
 * and at least 1.2, redirects are not followed (a token must not travel), Expect: is not sent, an
 * answer has a maximum. Nothing here reads a clock but to wait. */
#include "client/transport.h"

#include "base/buf.h"
#include "base/mem.h"
#include "bqsync.h"

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#define CONNECT_TIMEOUT_MS 10000L
#define LOW_SPEED_S 20L
#define KEEP_ALIVE_S 60L

struct curl_transport {
    struct transport base;
    CURLM *multi;
    CURL *easy;
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

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void init_curl(void)
{
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

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
    long timeout_ms = (long)config->timeout_ms;
    long connect_ms = timeout_ms < CONNECT_TIMEOUT_MS ? timeout_ms : CONNECT_TIMEOUT_MS;
    int bad = 0;
    bad |= (int)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, curl->error);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_WRITEDATA, (void *)curl);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_USERAGENT, "bqsync/0.1.0");
    bad |= (int)curl_easy_setopt(easy, CURLOPT_POST, 1L);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
#if LIBCURL_VERSION_NUM >= 0x075500
    bad |= (int)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
    bad |= (int)curl_easy_setopt(easy, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
    bad |= (int)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, timeout_ms);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, connect_ms);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, LOW_SPEED_S);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, KEEP_ALIVE_S);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
#if LIBCURL_VERSION_NUM >= 0x075700
    /* Closing must not wait for a name server. */
    bad |= (int)curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
#endif
    if (config->ca_file != NULL) {
        bad |= (int)curl_easy_setopt(easy, CURLOPT_CAINFO, config->ca_file);
        bad |= (int)curl_easy_setopt(easy, CURLOPT_CAPATH, (char *)NULL);
    }
    if (config->proxy != NULL) {
        bad |= (int)curl_easy_setopt(easy, CURLOPT_PROXY, config->proxy);
    }
    return bad == 0;
}

static void cancel(struct transport *transport)
{
    struct curl_transport *curl = curl_of(transport);
    if (curl->flies) {
        (void)curl_multi_remove_handle(curl->multi, curl->easy);
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
    cancel(transport);
    curl_easy_cleanup(curl->easy);
    (void)curl_multi_cleanup(curl->multi);
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
        int64_t left_ms = until_ms - monotonic_ms();
        if (atomic_exchange(&curl->woken, false) || left_ms <= 0) {
            return false;
        }
        (void)curl_multi_poll(curl->multi, NULL, 0, left_ms < 60000 ? (int)left_ms : 60000, NULL);
    }
}

/* A peer that closes while TLS writes raises SIGPIPE; it must not end the app. Only one that came
 * in here is taken away. */
static bool wait_quietly(struct transport *transport, int64_t wait_ms, struct transport_answer *out)
{
    sigset_t pipes, before, pending;
    struct timespec none = {0, 0};
    (void)sigemptyset(&pipes);
    (void)sigaddset(&pipes, SIGPIPE);
    (void)sigpending(&pending);
    bool was_pending = sigismember(&pending, SIGPIPE) == 1;
    (void)pthread_sigmask(SIG_BLOCK, &pipes, &before);
    bool found = wait_on(curl_of(transport), wait_ms, out);
    if (!was_pending) {
        while (sigtimedwait(&pipes, NULL, &none) < 0 && errno == EINTR) {
        }
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return found;
}

static void wake(struct transport *transport)
{
    struct curl_transport *curl = curl_of(transport);
    atomic_store(&curl->woken, true);
    (void)curl_multi_wakeup(curl->multi);
}

int transport_curl_new(const struct transport_config *config, struct transport **out)
{
    (void)pthread_once(&curl_once, init_curl);
    struct curl_transport *curl = mem_zalloc(1, sizeof *curl);
    if (curl == NULL) {
        return BQ_NOMEM;
    }
    curl->base = (struct transport){free_curl, start, cancel, wait_quietly, wake};
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
    if (!good || !set_options(curl, config)) {
        free_curl(&curl->base);
        return BQ_NOMEM;
    }
    *out = &curl->base;
    return BQ_OK;
}
