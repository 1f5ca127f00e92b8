/* server.c - starts from the bottom (keys, store, committer, HTTP) and stops from the top. */
#include "server/server.h"

#include "base/mem.h"
#include "base/status.h"
#include "server/accounts.h"
#include "server/admin.h"
#include "server/clock.h"
#include "server/file.h"
#include "server/functions.h"
#include "server/http.h"
#include "server/jwks_url.h"
#include "server/jwt_sign.h"
#include "server/listen.h"
#include "server/neighbours.h"
#include "server/relay.h"
#include "store/open.h"
#include "store/postgres.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#define FILES_RESERVE 64u /* descriptors for the store, logs and what else a process needs */
#define READERS 8u
#define FUNCTION_CONNECTIONS 8u

struct server {
    const struct server_config *config;
    const struct log *log;
    struct server_hooks hooks;
    struct http_context context;
    struct buf secret_key;
    struct accounts *accounts;
    struct jwks_url *jwks_url; /* NULL: none */
    struct neighbours *neighbours; /* NULL: the store is ours alone */
    struct http *http;
    struct admin *admin;
    unsigned port;
};

static void random_bytes(void *bytes, size_t n)
{
    unsigned char *to = bytes;
    while (n > 0) {
        ssize_t got = getrandom(to, n, 0);
        if (got > 0) {
            to += got;
            n -= (size_t)got;
        }
    }
}

static void store_problem(void *cls, const char *sentence)
{
    const struct server *server = cls;
    struct log_line line;
    log_begin(&line, server->log, LOG_LEVEL_WARN, clock_wall_us(), "store_problem");
    log_add_text(&line, "message", slice_of(sentence));
    log_end(&line);
}

static int open_store(void *cls, struct store **out, char *error, size_t error_size)
{
    struct server *server = cls;
    const struct store_open_config store = {
        .size = sizeof store,
        .where = server->config->store,
        .n_history = (unsigned)server->config->history,
        .create = true,
        .random = random_bytes,
        .problem = store_problem,
        .cls = server,
    };
    return store_open(&store, out, error, error_size);
}

static int open_storage(struct server *server, char *error, size_t error_size)
{
    struct storage_config config = {
        .size = sizeof config,
        .open = server->hooks.open_store,
        .cls = server->hooks.cls,
        .n_readers = READERS,
        .n_writers = (unsigned)server->config->writers,
        .limits = config_limits(server->config),
        .log = server->log,
    };
    if (config.open == NULL) {
        config.open = open_store;
        config.cls = server;
    }
    return storage_open(&config, &server->context.storage, error, error_size);
}

/* A secret file into the set of keys. */
static int load_secret(struct jwt_keys *keys, const char *path, char *error, size_t error_size)
{
    struct buf secret = BUF_INIT;
    if (path == NULL) {
        return BQ_OK;
    }
    int status = jwt_secret_load(path, &secret, error, error_size);
    if (status == BQ_OK) {
        status = jwt_keys_add_secret(keys, buf_slice(&secret), error, error_size);
    }
    OPENSSL_cleanse(secret.ptr, secret.size);
    buf_release(&secret);
    return status;
}

static int load_jwks(struct jwt_keys *keys, const char *path, char *error, size_t error_size)
{
    char why[256];
    struct buf text = BUF_INIT;
    if (path == NULL) {
        return BQ_OK;
    }
    int status = file_read(path, CONFIG_FILE_BYTES, &text, error, error_size);
    if (status == BQ_OK) {
        status = jwt_keys_add_jwks(keys, buf_slice(&text), why, sizeof why);
        if (status != BQ_OK) {
            snprintf(error, error_size, "%s: %s", path, why);
        }
    }
    buf_release(&text);
    return status;
}

/* Our own accounts, where they are on: their key verifies tokens as well. */
static int load_accounts(struct server *server, struct jwt_config *jwt, char *error,
                         size_t error_size)
{
    const struct server_config *config = server->config;
    struct buf secret = BUF_INIT;
    int status = BQ_OK;
    if (config->jwt_secret_file != NULL) {
        status = jwt_secret_load(config->jwt_secret_file, &secret, error, error_size);
    }
    if (status == BQ_OK) {
        status = accounts_open(config, secret.ptr == NULL ? SLICE_NONE : buf_slice(&secret),
                               jwt->keys, &server->accounts, error, error_size);
    }
    if (secret.ptr != NULL) {
        OPENSSL_cleanse(secret.ptr, secret.size);
    }
    buf_release(&secret);
    jwt->has_own_key = server->accounts != NULL;
    server->context.auth = accounts_auth(server->accounts);
    return status;
}

static void unknown_kid(void *cls)
{
    const struct server *server = cls;
    jwks_url_want(server->jwks_url);
}

/* The keys that are published elsewhere, before anything is answered. */
static int open_jwks_url(struct server *server, char *error, size_t error_size)
{
    const struct server_config *config = server->config;
    const struct jwks_url_config url = {
        .size = sizeof url,
        .url = config->jwks_url,
        .ca_file = config->jwks_ca_file,
        .jwt = server->context.gateway.jwt,
        .log = server->log,
        .clock_us = server->hooks.jwks_clock_us,
        .cls = server->hooks.cls,
    };
    return config->jwks_url == NULL ? BQ_OK
                                    : jwks_url_open(&url, &server->jwks_url, error, error_size);
}

static int load_tokens(struct server *server, char *error, size_t error_size)
{
    const struct server_config *config = server->config;
    struct jwt_config jwt = {
        .size = sizeof jwt,
        .issuer = config->jwt_issuer,
        .audience = config->jwt_audience,
        .map_sub = config->jwt_map_sub,
        .has_url = config->jwks_url != NULL,
        .unknown_kid = config->jwks_url != NULL ? unknown_kid : NULL,
        .cls = server,
    };
    int status = jwt_keys_new(&jwt.keys);
    if (status != BQ_OK) {
        return status;
    }
    random_bytes(jwt.cache_key, sizeof jwt.cache_key);
    status = load_secret(jwt.keys, config->jwt_secret_file, error, error_size);
    if (status == BQ_OK) {
        status = load_secret(jwt.keys, config->jwt_previous_secret_file, error, error_size);
    }
    if (status == BQ_OK) {
        status = load_jwks(jwt.keys, config->jwks_file, error, error_size);
    }
    if (status == BQ_OK) {
        status = load_accounts(server, &jwt, error, error_size);
    }
    if (status == BQ_OK) {
        status = jwt_new(&jwt, &server->context.gateway.jwt, error, error_size);
    }
    if (status != BQ_OK) {
        jwt_keys_free(jwt.keys);
        return status;
    }
    return open_jwks_url(server, error, error_size);
}

/* The opaque keys of the API gateway. */
static int load_gateway(struct server *server, char *error, size_t error_size)
{
    struct gateway *gateway = &server->context.gateway;
    const struct server_config *config = server->config;
    if (config->publishable_key != NULL) {
        gateway->publishable_key = slice_of(config->publishable_key);
    }
    if (config->secret_key_file != NULL) {
        struct buf *key = &server->secret_key;
        int status = jwt_secret_load(config->secret_key_file, key, error, error_size);
        if (status != BQ_OK) {
            return status;
        }
        gateway->secret_key = buf_slice(key);
    }
    return BQ_OK;
}

/* Room for the connections that we promise. */
static int raise_files(const struct server_config *config, char *error, size_t error_size)
{
    struct rlimit limit;
    int64_t calls = config->upstream == NULL ? 0 : config->upstream_calls +
                    config->upstream_sockets * RELAY_FILES;
    rlim_t want = (rlim_t)(config->connections + config->sockets + calls) + FILES_RESERVE;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= want) {
        return BQ_OK;
    }
    limit.rlim_cur = limit.rlim_max < want ? limit.rlim_max : want;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < want) {
        snprintf(error, error_size, "--connections %lld, --sockets %lld%s need %llu open files, "
                 "the limit is %llu; raise it with ulimit -n, or lower these",
                 (long long)config->connections, (long long)config->sockets,
                 config->upstream == NULL ? "" : ", --upstream-calls and --upstream-sockets",
                 (unsigned long long)want, (unsigned long long)limit.rlim_cur);
        return BQ_INVALID;
    }
    return BQ_OK;
}

static int make_rate(struct server *server)
{
    uint64_t key[2];
    if (server->config->user_rate == 0) {
        return BQ_OK;
    }
    random_bytes(key, sizeof key);
    return rate_new(server->config->user_rate, key, &server->context.rate);
}

static int start_realtime(struct server *server)
{
    struct realtime_config config = {
        .size = sizeof config,
        .config = server->config,
        .gateway = &server->context.gateway,
        .storage = server->context.storage,
        .log = server->log,
    };
    random_bytes(config.hub_key, sizeof config.hub_key);
    if (server->neighbours != NULL) {
        config.look = neighbours_look;
        config.look_cls = server->neighbours;
    }
    int status = realtime_start(&config, &server->context.realtime);
    if (status == BQ_OK && server->neighbours != NULL) {
        status = neighbours_start(server->neighbours, server->context.realtime);
    }
    return status;
}

static int make_neighbours(struct server *server)
{
    struct neighbours_config config = {
        .size = sizeof config,
        .url = server->config->store,
        .storage = server->context.storage,
        .log = server->log,
    };
    if (server->hooks.open_store != NULL || !store_postgres_is_url(config.url)) {
        return BQ_OK;
    }
    random_bytes(&config.node, sizeof config.node);
    return neighbours_new(&config, &server->neighbours);
}

static void published(void *cls, const struct op *op)
{
    struct server *server = cls;
    metrics_op(&server->context.metrics, op);
    realtime_published(server->context.realtime, op);
    if (server->neighbours != NULL) {
        neighbours_published(server->neighbours, op);
    }
}

static void on_committed(void *cls, size_t n_ops, int64_t time_us)
{
    struct server *server = cls;
    metrics_commit(&server->context.metrics, n_ops, time_us);
}

static int start_committer(struct server *server)
{
    const struct committer_config config = {
        .size = sizeof config,
        .storage = server->context.storage,
        .queue = (size_t)server->config->queue,
        .batch = (size_t)server->config->batch,
        .log = server->log,
        .published = published,
        .published_cls = server,
        .committed = on_committed,
    };
    return committer_start(&config, &server->context.committer);
}

static int write_port(const struct server *server, char *error, size_t error_size)
{
    char text[16];
    if (server->config->port_file == NULL) {
        return BQ_OK;
    }
    int n = snprintf(text, sizeof text, "%u\n", server->port);
    return file_write(server->config->port_file, (struct slice){text, (size_t)n}, error,
                      error_size);
}

/* What is answered by others, or as if by others. */
static int start_upstream(struct server *server, char *error, size_t error_size)
{
    const struct server_config *config = server->config;
    server->context.elsewhere = (struct elsewhere){
        .stub_tables = config->stub_table,
        .upstream = config->upstream != NULL,
        .accounts = server->accounts != NULL,
    };
    if (config->upstream == NULL) {
        return BQ_OK;
    }
    const struct upstream_config upstream = {
        .size = sizeof upstream,
        .url = config->upstream,
        .ca_file = config->upstream_ca_file,
        .timeout_ms = config->upstream_timeout_ms,
        .calls = (unsigned)config->upstream_calls,
    };
    return upstream_start(&upstream, &server->context.upstream, error, error_size);
}

static int start_http(struct server *server, char *error, size_t error_size)
{
    int fd;
    int status = listen_open(server->config->listen, &fd, &server->port, error, error_size);
    if (status != BQ_OK) {
        return status;
    }
    status = http_start(&server->context, fd, &server->http, error, error_size);
    if (status != BQ_OK) {
        close(fd);
        return status;
    }
    return write_port(server, error, error_size);
}

static int start_admin(struct server *server, char *error, size_t error_size)
{
    const struct admin_config config = {
        .size = sizeof config,
        .config = server->config,
        .log = server->log,
        .metrics = &server->context.metrics,
        .committer = server->context.committer,
        .realtime = server->context.realtime,
        .storage = server->context.storage,
    };
    return admin_start(&config, &server->admin, error, error_size);
}

static void log_plain(const struct server *server, const char *event)
{
    struct log_line line;
    log_begin(&line, server->log, LOG_LEVEL_INFO, clock_wall_us(), event);
    log_add_text(&line, "listen", slice_of(server->config->listen));
    log_add_int(&line, "port", server->port);
    struct buf place = BUF_INIT;
    store_place_print(&place, server->config->store);
    log_add_text(&line, "store", buf_slice(&place));
    buf_release(&place);
    /* SQLite before 3.51.3 can lose commits when two connections write and checkpoint at once. */
    bool many = server->context.storage != NULL && storage_writers(server->context.storage) > 1;
    log_add_text(&line, "writers",
                 many ? SLICE("users are split between several connections")
                      : SLICE("one connection writes and checkpoints"));
    log_end(&line);
}

static void release(struct server *server)
{
    admin_stop(server->admin);
    http_stop(server->http);
    upstream_free(server->context.upstream);
    committer_free(server->context.committer);
    neighbours_stop(server->neighbours);
    realtime_free(server->context.realtime);
    neighbours_free(server->neighbours);
    storage_close(server->context.storage);
    functions_close(server->context.functions);
    rate_free(server->context.rate);
    accounts_close(server->accounts);
    jwks_url_free(server->jwks_url);
    jwt_free(server->context.gateway.jwt);
    if (server->secret_key.ptr != NULL) {
        OPENSSL_cleanse(server->secret_key.ptr, server->secret_key.size);
    }
    buf_release(&server->secret_key);
    mem_free(server);
}

int server_start(const struct server_config *config, const struct log *log,
                 const struct server_hooks *hooks, struct server **out, char *error,
                 size_t error_size)
{
    struct server *server = mem_zalloc(1, sizeof *server);
    if (server == NULL) {
        snprintf(error, error_size, "%s", status_text(BQ_NOMEM));
        return BQ_NOMEM;
    }
    server->config = config;
    server->log = log;
    server->context.config = config;
    server->context.log = log;
    if (hooks != NULL) {
        server->hooks = *hooks;
    }
    snprintf(error, error_size, "%s", status_text(BQ_NOMEM)); /* where nobody says more */
    int status = store_place_check(config->store, error, error_size);
    if (status == BQ_OK) {
        status = load_tokens(server, error, error_size);
    }
    if (status == BQ_OK) {
        status = load_gateway(server, error, error_size);
    }
    if (status == BQ_OK) {
        status = raise_files(config, error, error_size);
    }
    if (status == BQ_OK) {
        status = make_rate(server);
    }
    if (status == BQ_OK) {
        status = accounts_start(server->accounts, server->context.gateway.jwt);
    }
    if (status == BQ_OK) {
        status = open_storage(server, error, error_size);
    }
    if (status == BQ_OK && config->functions != NULL) {
        status = functions_open(config->functions, FUNCTION_CONNECTIONS, &server->context.functions,
                                error, error_size);
    }
    if (status == BQ_OK && server->jwks_url != NULL) {
        status = jwks_url_start(server->jwks_url);
    }
    if (status == BQ_OK) {
        status = make_neighbours(server);
    }
    if (status == BQ_OK) {
        status = start_realtime(server);
    }
    if (status == BQ_OK) {
        status = start_committer(server);
    }
    if (status == BQ_OK) {
        status = start_upstream(server, error, error_size);
    }
    if (status == BQ_OK) {
        status = start_admin(server, error, error_size);
    }
    if (status == BQ_OK) {
        status = start_http(server, error, error_size);
    }
    if (status != BQ_OK) {
        release(server);
        return status;
    }
    log_plain(server, "started");
    *out = server;
    return BQ_OK;
}

unsigned server_port(const struct server *server)
{
    return server->port;
}

struct realtime_stats server_realtime(struct server *server)
{
    return realtime_stats(server->context.realtime);
}

struct committer_stats server_stats(struct server *server)
{
    return committer_stats(server->context.committer);
}

bool server_stop(struct server *server)
{
    realtime_hurry(server->context.realtime);
    bool all = http_drain(server->http, server->config->drain_timeout_ms);
    /* Answers everything that waits, so that no request is suspended when the threads end. */
    accounts_stop(server->accounts);
    upstream_stop(server->context.upstream);
    committer_stop(server->context.committer);
    log_plain(server, all ? "stopped" : "stopped_with_requests_cut_off");
    release(server);
    return all;
}
