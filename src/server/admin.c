/* admin.c - see admin.h. One thread of libmicrohttpd, few connections, no bodies. */
#include "server/admin.h"

#include "base/mem.h"
#include "base/status.h"
#include "server/clock.h"
#include "server/file.h"
#include "server/jwt_sign.h"
#include "server/listen.h"
#include "server/storage.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <unistd.h>

#define CONNECTIONS 16u
#define TIMEOUT_S 10u
#define CONNECTION_BYTES (16u << 10)
#define TYPE "text/plain; version=0.0.4; charset=utf-8"

struct admin {
    struct admin_config config;
    struct buf token;
    char listen[300]; /* HOST:PORT */
    struct MHD_Daemon *daemon;
    int64_t started_us;
};

/* ---- Who may ask ----------------------------------------------------------------------------- */

/* The host of "host:port" or "[address]:port". */
static struct slice host_of(struct slice text)
{
    const char *end = text.len > 0 && text.ptr[0] == '[' ? memchr(text.ptr, ']', text.len)
                                                         : memrchr(text.ptr, ':', text.len);
    if (end == NULL) {
        return text;
    }
    return text.ptr[0] == '[' ? (struct slice){text.ptr + 1, (size_t)(end - text.ptr) - 1}
                              : (struct slice){text.ptr, (size_t)(end - text.ptr)};
}

/* A number cannot be rebound by anybody's name server; a name must be the one that we listen on. */
static bool host_is_ours(const struct admin *admin, const char *text)
{
    char host[256];
    unsigned char address[16];
    if (text == NULL) {
        return false;
    }
    struct slice name = host_of(slice_of(text));
    if (name.len == 0 || name.len >= sizeof host) {
        return false;
    }
    memcpy(host, name.ptr, name.len);
    host[name.len] = '\0';
    return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1 ||
           slice_is(name, "localhost") || slice_equal(name, host_of(slice_of(admin->listen)));
}

static bool token_is_right(const struct admin *admin, const char *authorization)
{
    static const char scheme[] = "Bearer ";
    size_t n = sizeof scheme - 1;
    if (authorization == NULL || strncmp(authorization, scheme, n) != 0) {
        return false;
    }
    struct slice token = slice_of(authorization + n);
    return token.len == admin->token.len &&
           CRYPTO_memcmp(token.ptr, admin->token.ptr, token.len) == 0;
}

static const char *field(struct MHD_Connection *connection, const char *name)
{
    return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
}

static unsigned judge(const struct admin *admin, struct MHD_Connection *connection,
                      const char *url, const char *method, const char **out_why)
{
    if (!host_is_ours(admin, field(connection, "Host"))) {
        *out_why = "this Host is not ours\n";
        return 421;
    }
    if (field(connection, "Origin") != NULL) {
        *out_why = "web pages have nothing to ask here\n";
        return 403;
    }
    if (!token_is_right(admin, field(connection, "Authorization"))) {
        *out_why = "the token of --admin-token-file is wanted: Authorization: Bearer TOKEN\n";
        return 401;
    }
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
        *out_why = "only GET and HEAD\n";
        return 405;
    }
    *out_why = "there is /metrics\n";
    return strcmp(url, "/metrics") == 0 ? 200 : 404;
}

/* ---- Answers --------------------------------------------------------------------------------- */

static int64_t memory_bytes(void)
{
    char error[160];
    struct buf text = BUF_INIT;
    long long pages = -1;
    if (file_read("/proc/self/statm", 4096, &text, error, sizeof error) == BQ_OK) {
        (void)sscanf(text.ptr, "%*s %lld", &pages);
    }
    buf_release(&text);
    return pages < 0 ? -1 : (int64_t)pages * sysconf(_SC_PAGESIZE);
}

static void print_metrics(struct admin *admin, struct buf *out)
{
    const struct metrics_now now = {
        .committer = committer_stats(admin->config.committer),
        .realtime = realtime_stats(admin->config.realtime),
        .usable = storage_usable(admin->config.storage),
        .memory_bytes = memory_bytes(),
        .started_us = admin->started_us,
    };
    metrics_print(out, admin->config.metrics, &now);
}

static enum MHD_Result send_text(struct MHD_Connection *connection, unsigned http,
                                 struct buf *text)
{
    struct MHD_Response *response =
        text->failed ? NULL
                     : MHD_create_response_from_buffer(text->len, text->ptr,
                                                       MHD_RESPMEM_MUST_COPY);
    buf_release(text);
    if (response == NULL) {
        return MHD_NO;
    }
    (void)MHD_add_response_header(response, "Content-Type", TYPE);
    (void)MHD_add_response_header(response, "Cache-Control", "no-store");
    (void)MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (http == 401) {
        (void)MHD_add_response_header(response, "WWW-Authenticate", "Bearer");
    }
    enum MHD_Result result = MHD_queue_response(connection, http, response);
    MHD_destroy_response(response);
    return result;
}

static void log_refused(const struct admin *admin, unsigned http)
{
    struct log_line line;
    log_begin(&line, admin->config.log, LOG_LEVEL_WARN, clock_wall_us(), "admin_refused");
    log_add_int(&line, "status", http);
    log_end(&line);
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **state)
{
    static int seen;
    struct admin *admin = cls;
    struct buf text = BUF_INIT;
    const char *why;
    (void)version;
    (void)upload;
    unsigned http = judge(admin, connection, url, method, &why);
    bool is_let_in = http != 401 && http != 403 && http != 421;
    /* The first call has the header alone. Who is let in may send a body: it is thrown away. */
    if (is_let_in && (*state == NULL || *upload_size > 0)) {
        *state = &seen;
        *upload_size = 0;
        return MHD_YES;
    }
    *upload_size = 0;
    if (http == 200) {
        print_metrics(admin, &text);
    } else {
        log_refused(admin, http);
        buf_add_text(&text, why);
    }
    return send_text(connection, http, &text);
}

/* ---- Starting -------------------------------------------------------------------------------- */

/* A port alone is one of 127.0.0.1. */
static int read_listen(struct admin *admin, char *error, size_t error_size)
{
    const char *text = admin->config.config->admin_listen;
    bool port_alone = strchr(text, ':') == NULL;
    int n = snprintf(admin->listen, sizeof admin->listen, "%s%s", port_alone ? "127.0.0.1:" : "",
                     text);
    if (n >= (int)sizeof admin->listen) {
        snprintf(error, error_size, "--admin-listen is too long");
        return BQ_INVALID;
    }
    return BQ_OK;
}

static int open_daemon(struct admin *admin, char *error, size_t error_size)
{
    const struct server_config *config = admin->config.config;
    char port_text[16];
    unsigned port;
    int fd;
    int status = listen_open(admin->listen, &fd, &port, error, error_size);
    if (status != BQ_OK) {
        return status;
    }
    admin->daemon = MHD_start_daemon(
        MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_EPOLL, 0, NULL, NULL, on_request, admin,
        MHD_OPTION_LISTEN_SOCKET, (MHD_socket)fd, MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS,
        MHD_OPTION_CONNECTION_TIMEOUT, TIMEOUT_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_BYTES, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
    if (admin->daemon == NULL) {
        close(fd);
        snprintf(error, error_size, "the thread of --admin-listen cannot be started");
        return BQ_IO;
    }
    if (config->admin_port_file == NULL) {
        return BQ_OK;
    }
    int n = snprintf(port_text, sizeof port_text, "%u\n", port);
    return file_write(config->admin_port_file, (struct slice){port_text, (size_t)n}, error,
                      error_size);
}

int admin_start(const struct admin_config *config, struct admin **out, char *error,
                size_t error_size)
{
    *out = NULL;
    if (config->config->admin_listen == NULL) {
        return BQ_OK;
    }
    if (config->config->admin_token_file == NULL) {
        snprintf(error, error_size, "--admin-listen wants --admin-token-file: nobody is let in "
                 "without a token");
        return BQ_INVALID;
    }
    struct admin *admin = mem_zalloc(1, sizeof *admin);
    if (admin == NULL) {
        return BQ_NOMEM;
    }
    admin->config = *config;
    admin->started_us = clock_wall_us();
    int status = jwt_secret_load(config->config->admin_token_file, &admin->token, error,
                                 error_size);
    if (status == BQ_OK) {
        status = read_listen(admin, error, error_size);
    }
    if (status == BQ_OK) {
        status = open_daemon(admin, error, error_size);
    }
    if (status != BQ_OK) {
        admin_stop(admin);
        return status;
    }
    *out = admin;
    return BQ_OK;
}

void admin_stop(struct admin *admin)
{
    if (admin == NULL) {
        return;
    }
    if (admin->daemon != NULL) {
        MHD_stop_daemon(admin->daemon);
    }
    if (admin->token.ptr != NULL) {
        OPENSSL_cleanse(admin->token.ptr, admin->token.size);
    }
    buf_release(&admin->token);
    mem_free(admin);
}
