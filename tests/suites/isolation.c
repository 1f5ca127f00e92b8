/* isolation.c - the suite isolation on this server: its own table of routes, asked over HTTP and
 * WebSocket (tests/lib/isolation.h holds the driver, docs/reliability.md says what is shown). With
 * the argument "functions": on a project without a server of ours, a front over the functions of
 * sql/postgres; what can be asked is what pg_catalog lets clients execute, and what is A's is every
 * row of his.
 *
 * BQ_HOLE is SQL that is run behind the installation. BQ_ENTRY adds a line to the list of entries:
 * the suite must then say that it has no test. BQ_EARLY looks for the first thing that is wrong
 * alone. BQ_LONG=1 lets more sockets come and go. Each request comes from an address of its own, so
 * that what is limited by address is no limit here. The last line is that of the suite. */
#include "http_client.h"
#include "isolation.h"
#include "pg_cluster.h"
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

/* What asks for one's own documents without a name. */
#define OWN_PATH "/rest/v1/rpc/sync_exchange"
#define OWN_BODY                                                                                   \
    "{\"p_device_id\":\"behind\",\"p_epoch\":null,\"p_cursor\":0,\"p_edits\":[]}"

/* A line for each function that a client may execute, by its methods. One name of two functions is
 * a line that nobody knows. sync_cleanup is left out: service_role alone may execute it, which
 * tests/sql/security.sql shows, and the front does not know it. */
static const char list_functions[] =
    "SELECT string_agg(format(E'%s /rest/v1/rpc/%s%s\\n', method, name,"
    " CASE WHEN n > 1 THEN '(' || types || ')' END), '' ORDER BY name, method)"
    " FROM (SELECT m.method, p.proname AS name, oidvectortypes(p.proargtypes) AS types,"
    " count(*) OVER (PARTITION BY m.method, p.proname) AS n"
    " FROM pg_catalog.pg_proc p, (VALUES ('GET'), ('HEAD'), ('POST')) m (method)"
    " WHERE p.pronamespace = 'public'::regnamespace AND p.prorettype <> 'trigger'::regtype"
    " AND (m.method = 'POST' OR p.provolatile <> 'v') AND p.proname <> 'sync_cleanup'"
    " AND EXISTS (SELECT FROM unnest(ARRAY['anon', 'authenticated', 'service_role']) r"
    " WHERE has_function_privilege(r, p.oid, 'EXECUTE'))) f";

/* Every row of a user, and what is nobody's alone. */
static const char list_rows[] =
    "SELECT string_agg(query_to_xml(format('SELECT * FROM public.%%I t WHERE user_id = %%L"
    " ORDER BY t::text', c.relname, '%s'), true, false, c.relname)::text, '' ORDER BY c.relname)"
    " || (SELECT coalesce(json_agg(p ORDER BY p.pattern), '[]') FROM public.user_sync_policy p)"
    " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid"
    " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')"
    " AND NOT c.relispartition AND a.attname = 'user_id'";

struct http_target {
    struct serve serve;
    struct pg_cluster cluster; /* behind a front */
    char database[PG_CLUSTER_URL]; /* of it, as a superuser; "": this is our server */
    char login[PG_CLUSTER_URL];
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
            http->serve.port, "POST", OWN_PATH, request->behind, NULL, OWN_BODY};
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

static void must(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "isolation: %s\n", what);
        abort();
    }
}

/* A database with the functions in it, and with the hole where one is asked for. */
static void install(struct http_target *http)
{
    const char *hole = getenv("BQ_HOLE");
    pg_cluster_start(&http->cluster, "fsync=off");
    pg_cluster_do(&http->cluster, "PGHOST=$D PGUSER=postgres; export PGHOST PGUSER; "
                                  "postgres_install hosted");
    pg_cluster_url(&http->cluster, "hosted", http->database);
    pg_cluster_url(&http->cluster, "hosted?user=authenticator", http->login);
    must(hole == NULL || pg_cluster_sql(http->database, hole), "the hole cannot be made");
}

static void snapshot(void *cls, const char *user, struct buf *out)
{
    const struct http_target *http = cls;
    char sql[sizeof list_rows + ISO_ID_SIZE];
    snprintf(sql, sizeof sql, list_rows, user);
    must(pg_cluster_read(http->database, sql, out) && out->len > 0, "no rows can be read");
}

static void start(struct http_target *http)
{
    struct server_config *config = &http->serve.config;
    bool hosted = http->database[0] != '\0';
    serve_init(&http->serve);
    http->exp_s = (int64_t)time(NULL) + HOUR_S;
    if (hosted) {
        config->functions = http->login;
    } else {
        config->accounts = "on";
    }
    config->jwt_audience = "authenticated";
    config->socket_refusal_ms = 1;
    config->join_refusal_ms = 1;
    config->socket_token_ms = 10 * HOUR_S;
    config->socket_idle_ms = HOUR_S * INT64_C(1000);
    must(serve_start(&http->serve) == BQ_OK, http->serve.error);
}

static void list_entries(const struct http_target *http, struct buf *out)
{
    const char *extra = getenv("BQ_ENTRY");
    if (http->database[0] == '\0') {
        routes_print(out);
    } else {
        must(pg_cluster_read(http->database, list_functions, out) && out->len > 0,
             "no functions can be listed");
    }
    if (extra != NULL) {
        buf_add_text(out, extra);
        buf_add_char(out, '\n');
    }
}

/* Sockets, which a front does not have, and all entries. */
static void look(struct iso *iso, uint64_t seed)
{
    bool is_long = getenv("BQ_LONG") != NULL && getenv("BQ_LONG")[0] != '\0';
    if (iso->target->port != 0) {
        iso_listen(iso);
    }
    if (iso->target->port != 0 && !iso_is_over(iso)) {
        iso_churn(iso, iso->quick ? QUICK_ROUNDS : is_long ? LONG_ROUNDS : ROUNDS, seed);
    }
    if (!iso_is_over(iso)) {
        iso_walk(iso);
        iso_finish(iso);
    }
}

int main(int argc, char **argv)
{
    static struct http_target http;
    struct buf entries = BUF_INIT;
    struct iso iso;
    bool hosted = argc > 1 && strcmp(argv[1], "functions") == 0;
    uint64_t seed = (uint64_t)time(NULL);
    planted_begin();
    if (hosted) {
        install(&http);
    }
    start(&http);
    list_entries(&http, &entries);
    const struct iso_target target = {
        &http, entries.ptr, !hosted, hosted ? 0 : http.serve.port,
        call,  make_token,  hosted ? snapshot : NULL};
    printf("seed %" PRIu64 "\n", seed);
    iso_init(&iso, &target);
    iso.quick = getenv("BQ_EARLY") != NULL;
    look(&iso, seed);
    printf("%" PRIu64 " answers and messages looked through, %" PRIu64 " controls that fail\n",
           iso.n_requests, iso.n_blind);
    printf("%s: %u entries x %d roles x %u forgeries: reads %" PRIu64 ", writes %" PRIu64
           ", canaries %" PRIu64 "; entries without a test %u\n",
           hosted ? "functions" : "isolation", iso.n_entries, ISO_ROLES, iso.n_forgeries,
           iso.n_reads, iso.n_writes, iso.n_canaries, iso.n_untested);
    bool failed = iso_failed(&iso);
    iso_release(&iso);
    serve_release(&http.serve);
    if (hosted) {
        pg_cluster_stop(&http.cluster);
    }
    buf_release(&entries);
    return failed ? 1 : 0;
}
