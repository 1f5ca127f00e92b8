/* jwks_url.c - see jwks_url.h. One thread at a time touches libcurl's handles: the one that starts
 * the server, then ours. Others set a flag and wake it. */
#include "server/jwks_url.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/status.h"
#include "net/curl_setup.h"
#include "server/clock.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>

#define POLL_MS 10000 /* while a set arrives; libcurl's own time-outs are sooner */
#define SENTENCE_BYTES 512u

struct jwks_url {
    struct jwks_url_config config;
    CURLM *multi;
    bool has_thread;
    pthread_t thread;
    _Atomic bool stopping;
    _Atomic bool wanted;
    /* Of the thread that reads. */
    int64_t read_at_us;
    bool failed;       /* the last time */
    struct buf text;   /* that is arriving */
    struct buf before; /* that the present keys come from */
};

/* ---- The address ----------------------------------------------------------------------------- */

/* "localhost", [::1] or an address of 127.0.0.0/8, then a port or nothing. */
static bool is_this_machine(const char *host, size_t len)
{
    char text[64];
    struct in_addr address;
    size_t name_len = len > 0 && host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":/");
    name_len = name_len < len ? name_len : len;
    if (name_len >= sizeof text || (name_len < len && host[name_len] != ':')) {
        return false;
    }
    memcpy(text, host, name_len);
    text[name_len] = '\0';
    return strcmp(text, "localhost") == 0 || strcmp(text, "[::1]") == 0 ||
           (inet_pton(AF_INET, text, &address) == 1 && (ntohl(address.s_addr) >> 24) == 127);
}

static bool is_plain(const char *url)
{
    return strncmp(url, "http://", 7) == 0;
}

const char *jwks_url_problem(const char *url)
{
    size_t skip = strncmp(url, "https://", 8) == 0 ? 8 : is_plain(url) ? 7 : 0;
    size_t host = strcspn(url + skip, "/?");
    if (skip == 0 || host == 0 || strcspn(url, "@# \t\r\n\"\\") != strlen(url)) {
        return "--jwks-url is https://HOST/PATH, such as "
               "https://PROJECT.supabase.co/auth/v1/.well-known/jwks.json";
    }
    if (is_plain(url) && !is_this_machine(url + skip, host)) {
        return "--jwks-url is https://HOST/PATH; who is on the way could change keys that come by "
               "http://, so that is for 127.0.0.1, [::1] and localhost alone";
    }
    return NULL;
}

/* ---- Reading --------------------------------------------------------------------------------- */

static size_t on_write(char *bytes, size_t size, size_t n, void *cls)
{
    struct jwks_url *jwks = cls;
    if (size * n > JWKS_URL_BYTES - jwks->text.len) {
        return 0;
    }
    buf_add_slice(&jwks->text, (struct slice){bytes, size * n});
    return jwks->text.failed ? 0 : size * n;
}

static bool set_easy(struct jwks_url *jwks, CURL *easy, char *curl_error)
{
    const struct jwks_url_config *config = &jwks->config;
    long timeout_ms = (long)config->timeout_ms;
    /* What is for this machine does not leave it by a proxy. */
    const struct curl_setup setup = {config->ca_file, is_plain(config->url) ? "" : NULL,
                                     timeout_ms};
    int bad = !curl_setup_easy(easy, &setup, curl_error);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_URL, config->url);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, timeout_ms);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_write);
    bad |= (int)curl_easy_setopt(easy, CURLOPT_WRITEDATA, jwks);
    return bad == 0;
}

/* Until it is done, or we are to end: CURLE_ABORTED_BY_CALLBACK. */
static CURLcode transfer(struct jwks_url *jwks, CURL *easy)
{
    CURLcode code = CURLE_ABORTED_BY_CALLBACK;
    bool done = curl_multi_add_handle(jwks->multi, easy) != CURLM_OK;
    while (!done && !atomic_load(&jwks->stopping)) {
        int n;
        CURLMsg *message;
        curl_multi_perform(jwks->multi, &n);
        while ((message = curl_multi_info_read(jwks->multi, &n)) != NULL) {
            if (message->msg == CURLMSG_DONE) {
                code = message->data.result;
                done = true;
            }
        }
        if (!done) {
            curl_multi_poll(jwks->multi, NULL, 0, POLL_MS, NULL);
        }
    }
    curl_multi_remove_handle(jwks->multi, easy);
    return code;
}

/* The set into jwks->text. */
static int fetch(struct jwks_url *jwks, char *error, size_t error_size)
{
    char curl_error[CURL_ERROR_SIZE] = "";
    long http = 0;
    CURL *easy = curl_easy_init();
    buf_clear(&jwks->text);
    if (easy == NULL || !set_easy(jwks, easy, curl_error)) {
        curl_easy_cleanup(easy);
        return BQ_NOMEM;
    }
    CURLcode code = transfer(jwks, easy);
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &http);
    curl_easy_cleanup(easy);
    switch ((int)code) {
    case CURLE_OK:
        break;
    case CURLE_WRITE_ERROR:
        snprintf(error, error_size, "more than %u bytes came", JWKS_URL_BYTES);
        return jwks->text.failed ? BQ_NOMEM : BQ_TOO_LARGE;
    case CURLE_OPERATION_TIMEDOUT:
        snprintf(error, error_size, "no whole answer came in %lld ms",
                 (long long)jwks->config.timeout_ms);
        return BQ_TIMEOUT;
    default:
        snprintf(error, error_size, "%s",
                 curl_error[0] != '\0' ? curl_error : curl_easy_strerror(code));
        return BQ_NETWORK;
    }
    if (http != 200) {
        snprintf(error, error_size, "the answer has the status %ld%s", http,
                 http >= 300 && http < 400 ? "; redirects are not followed" : "");
        return BQ_NETWORK;
    }
    return BQ_OK;
}

static void log_keys(const struct jwks_url *jwks, const struct jwt_published *published)
{
    struct log_line line;
    log_begin(&line, jwks->config.log, LOG_LEVEL_INFO, clock_wall_us(), "jwks_taken");
    log_add_int(&line, "keys", published->n_keys);
    log_add_int(&line, "passed_over", published->n_passed_over);
    log_end(&line);
}

static void log_failure(const struct jwks_url *jwks, const char *sentence)
{
    struct log_line line;
    log_begin(&line, jwks->config.log, LOG_LEVEL_WARN, clock_wall_us(), "jwks_failed");
    log_add_text(&line, "message", slice_of(sentence));
    log_add_text(&line, "keys", SLICE("those of before stay"));
    log_end(&line);
}

/* Fetches, and hands the keys over where the text is another one than before. */
static int read_keys(struct jwks_url *jwks, char *error, size_t error_size)
{
    struct jwt_published published;
    snprintf(error, error_size, "%s", status_text(BQ_NOMEM)); /* where nobody says more */
    int status = fetch(jwks, error, error_size);
    if (status != BQ_OK || (jwks->before.ptr != NULL &&
                            slice_equal(buf_slice(&jwks->text), buf_slice(&jwks->before)))) {
        return status;
    }
    status = jwt_set_published(jwks->config.jwt, buf_slice(&jwks->text), &published, error,
                               error_size);
    if (status == BQ_OK) {
        struct buf old = jwks->before;
        jwks->before = jwks->text;
        jwks->text = old;
        log_keys(jwks, &published);
    }
    return status;
}

/* ---- The thread ------------------------------------------------------------------------------ */

static int64_t present_us(const struct jwks_url *jwks)
{
    const struct jwks_url_config *config = &jwks->config;
    return config->clock_us == NULL ? clock_us() : config->clock_us(config->cls);
}

static int64_t due_us(const struct jwks_url *jwks)
{
    bool soon = jwks->failed || atomic_load(&jwks->wanted);
    return jwks->read_at_us + (soon ? JWKS_URL_PAUSE_US : JWKS_URL_EVERY_US);
}

int64_t jwks_url_step(struct jwks_url *jwks, int64_t now_us)
{
    char error[SENTENCE_BYTES];
    if (now_us >= due_us(jwks)) {
        atomic_store(&jwks->wanted, false); /* before: while we read a newer one may be wanted */
        jwks->failed = read_keys(jwks, error, sizeof error) != BQ_OK;
        jwks->read_at_us = now_us;
        if (jwks->failed && !atomic_load(&jwks->stopping)) {
            log_failure(jwks, error);
        }
    }
    return due_us(jwks);
}

static void *run(void *cls)
{
    struct jwks_url *jwks = cls;
    sigset_t pipes;
    sigemptyset(&pipes);
    sigaddset(&pipes, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipes, NULL);
    while (true) {
        int64_t left_ms = (jwks_url_step(jwks, present_us(jwks)) - present_us(jwks)) / 1000 + 1;
        /* Behind the step, in which a wake-up may have been used up already. */
        if (atomic_load(&jwks->stopping)) {
            return NULL;
        }
        curl_multi_poll(jwks->multi, NULL, 0, left_ms < 1 ? 1 : (int)left_ms, NULL);
    }
}

void jwks_url_want(struct jwks_url *jwks)
{
    if (!atomic_exchange(&jwks->wanted, true)) {
        curl_multi_wakeup(jwks->multi);
    }
}

/* ---- Start and end --------------------------------------------------------------------------- */

int jwks_url_open(const struct jwks_url_config *config, struct jwks_url **out, char *error,
                  size_t error_size)
{
    char why[SENTENCE_BYTES];
    const char *problem = jwks_url_problem(config->url);
    if (problem != NULL) {
        snprintf(error, error_size, "%s", problem);
        return BQ_INVALID;
    }
    struct jwks_url *jwks = mem_zalloc(1, sizeof *jwks);
    if (jwks == NULL) {
        return BQ_NOMEM;
    }
    jwks->config = *config;
    if (config->timeout_ms == 0) {
        jwks->config.timeout_ms = JWKS_URL_TIMEOUT_MS;
    }
    curl_setup_once();
    jwks->multi = curl_multi_init();
    if (jwks->multi == NULL) {
        jwks_url_free(jwks);
        return BQ_NOMEM;
    }
    struct curl_quiet quiet;
    curl_quiet_begin(&quiet);
    int status = read_keys(jwks, why, sizeof why);
    curl_quiet_end(&quiet);
    if (status != BQ_OK) {
        snprintf(error, error_size, "the keys of --jwks-url cannot be read: %s. The server does "
                 "not start without them", why);
        jwks_url_free(jwks);
        return status;
    }
    jwks->read_at_us = present_us(jwks);
    *out = jwks;
    return BQ_OK;
}

int jwks_url_start(struct jwks_url *jwks)
{
    jwks->has_thread = pthread_create(&jwks->thread, NULL, run, jwks) == 0;
    return jwks->has_thread ? BQ_OK : BQ_NOMEM;
}

void jwks_url_free(struct jwks_url *jwks)
{
    if (jwks == NULL) {
        return;
    }
    if (jwks->has_thread) {
        atomic_store(&jwks->stopping, true);
        curl_multi_wakeup(jwks->multi);
        pthread_join(jwks->thread, NULL);
    }
    if (jwks->multi != NULL) {
        curl_multi_cleanup(jwks->multi);
    }
    buf_release(&jwks->text);
    buf_release(&jwks->before);
    mem_free(jwks);
}
