/* isolation.c - the suite isolation on this server: its own table of routes, asked over HTTP and
 * WebSocket (tests/lib/isolation.h holds the driver, docs/reliability.md says what is shown).
 *
 * BQ_ENTRY adds a line to the list of entries: the suite must then say that it has no test.
 * BQ_EARLY looks for the first thing that is wrong alone. BQ_LONG=1 lets more sockets come and go.
 * Each request comes from an address of its own, so that what is limited by address is no limit
 * here. The last line is that of the suite. */
#include "http_client.h"
#include "isolation.h"
#include "planted.h"
#include "serve.h"
#include "token.h"

#include "base/status.h"
#include "server/routes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define HOUR_S 3600
#define ROUNDS 150u /* of sockets that come and go */
#define LONG_ROUNDS 5000u
#define QUICK_ROUNDS 40u
#define HEADER "{\"alg\":\"HS256\",\"typ\":\"JWT\"}"

struct http_target {
    struct serve serve;
    unsigned n_calls;
    int64_t exp_s; /* of all good tokens, so that they are the same each time */
};

static void call(void *cls, const struct iso_request *request, struct iso_answer *out)
{
    struct http_target *http = cls;
    struct http_answer answer = {0};
    char source[32];
    unsigned n = http->n_calls++;
    snprintf(source, sizeof source, "127.%u.%u.%u", 1 + n / 62500 % 250, n / 250 % 250,
             1 + n % 250);
    const struct http_request asked = {http->serve.port, request->method, request->path,
                                       request->token,   request->fields, request->body};
    int fd = http_connect_from(source, http->serve.port);
    if (fd < 0) {
        fprintf(stderr, "isolation: no connection from %s\n", source);
        abort();
    }
    if (request->behind != NULL) {
        const struct http_request own = {
            http->serve.port, "GET", "/rest/v1/user_sync_data_v2", request->behind, NULL, NULL};
        http_call_on(fd, &own, &answer);
        http_release(&answer);
    }
    http_call_on(fd, &asked, &answer);
    close(fd);
    out->status = answer.status;
    if (answer.header != NULL) {
        buf_add_text(&out->bytes, answer.header);
        out->body_at = out->bytes.len;
        buf_add(&out->bytes, answer.body, answer.body_len);
    }
    http_release(&answer);
}

static char *sign(const char *secret, const char *header, const char *role, const char *user,
                  const char *aud, int64_t exp_s)
{
    char claims[512];
    struct token_key *key = token_key_new("HS256", secret);
    int n = snprintf(claims, sizeof claims, "{\"role\":\"%s\",\"exp\":%" PRId64, role, exp_s);
    if (user != NULL) {
        n += snprintf(claims + n, sizeof claims - (size_t)n, ",\"sub\":\"%s\",\"aud\":\"%s\"", user,
                      aud);
    }
    snprintf(claims + n, sizeof claims - (size_t)n, "}");
    char *token = token_sign(key, header, claims);
    token_key_free(key);
    return token;
}

static char *unsigned_token(const char *user, int64_t exp_s)
{
    char *token = sign(TOKEN_SECRET, "{\"alg\":\"none\"}", "authenticated", user, "authenticated",
                       exp_s);
    strrchr(token, '.')[1] = '\0';
    return token;
}

static char *make_token(void *cls, enum iso_role role, const char *user)
{
    const struct http_target *http = cls;
    int64_t exp_s = http->exp_s;
    switch (role) {
    case ISO_OWNER:
    case ISO_OTHER:
    case ISO_SWAPPED:
        return sign(TOKEN_SECRET, HEADER, "authenticated", user, "authenticated", exp_s);
    case ISO_NONE:
    case ISO_ROLES:
        break;
    case ISO_ANON:
        return sign(TOKEN_SECRET, HEADER, "anon", NULL, NULL, exp_s);
    case ISO_EXPIRED:
        return sign(TOKEN_SECRET, HEADER, "authenticated", user, "authenticated",
                    exp_s - 2 * HOUR_S);
    case ISO_AUDIENCE:
        return sign(TOKEN_SECRET, HEADER, "authenticated", user, "somebody else", exp_s);
    case ISO_FORGED:
        return sign(TOKEN_OTHER_SECRET, HEADER, "authenticated", user, "authenticated", exp_s);
    case ISO_UNSIGNED:
        return unsigned_token(user, exp_s);
    case ISO_SERVICE:
        return sign(TOKEN_SECRET, HEADER, "service_role", NULL, NULL, exp_s);
    }
    return NULL;
}

static void start(struct http_target *http)
{
    struct server_config *config = &http->serve.config;
    serve_init(&http->serve);
    http->exp_s = (int64_t)time(NULL) + HOUR_S;
    config->accounts = "on";
    config->jwt_audience = "authenticated";
    config->socket_refusal_ms = 1;
    config->join_refusal_ms = 1;
    config->socket_token_ms = 10 * HOUR_S;
    config->socket_idle_ms = HOUR_S * INT64_C(1000);
    if (serve_start(&http->serve) != BQ_OK) {
        fprintf(stderr, "isolation: the server does not start: %s\n", http->serve.error);
        abort();
    }
}

int main(void)
{
    static struct http_target http;
    struct buf entries = BUF_INIT;
    struct iso iso;
    const char *extra = getenv("BQ_ENTRY");
    bool is_long = getenv("BQ_LONG") != NULL && getenv("BQ_LONG")[0] != '\0';
    uint64_t seed = (uint64_t)time(NULL);
    planted_begin();
    start(&http);
    routes_print(&entries);
    if (extra != NULL) {
        buf_add_text(&entries, extra);
        buf_add_char(&entries, '\n');
    }
    const struct iso_target target = {&http, entries.ptr, true, http.serve.port, call, make_token};
    printf("seed %" PRIu64 "\n", seed);
    iso_init(&iso, &target);
    iso.quick = getenv("BQ_EARLY") != NULL;
    iso_listen(&iso);
    if (!iso_is_over(&iso)) {
        iso_churn(&iso, iso.quick ? QUICK_ROUNDS : is_long ? LONG_ROUNDS : ROUNDS, seed);
    }
    if (!iso_is_over(&iso)) {
        iso_walk(&iso);
        iso_finish(&iso);
    }
    printf("%" PRIu64 " answers and messages looked through, %" PRIu64 " controls that fail\n",
           iso.n_requests, iso.n_blind);
    printf("isolation: %u entries x %d roles x %u forgeries: reads %" PRIu64 ", writes %" PRIu64
           ", canaries %" PRIu64 "; entries without a test %u\n",
           iso.n_entries, ISO_ROLES, iso.n_forgeries, iso.n_reads, iso.n_writes, iso.n_canaries,
           iso.n_untested);
    bool failed = iso_failed(&iso);
    iso_release(&iso);
    serve_release(&http.serve);
    buf_release(&entries);
    return failed ? 1 : 0;
}
