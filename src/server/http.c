/* http.c - see http.h. */
#include "server/http.h"

#include "base/mem.h"
#include "base/status.h"
#include "server/acceptor.h"
#include "server/clock.h"
#include "server/links.h"
#include "server/request.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define CONNECTION_BYTES (48u << 10) /* the library's memory for one: header, line, reply header */
#define SWEEP_SHORTEST_MS 10
#define SWEEP_LONGEST_MS 1000
#define THREADS_DEFAULT_MAX 8

struct http {
    struct http_context *context;
    struct MHD_Daemon *daemon;
    struct acceptor *acceptor; /* NULL: nobody is let in any more */
};

static struct link *link_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info == NULL ? NULL : info->socket_context;
}

static void on_connection(void *cls, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct http_context *context = cls;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        links_remove(context->links, *socket_context);
        return;
    }
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (info != NULL) {
        *socket_context = links_add(context->links, info->connect_fd,
                                    clock_us() + context->config->header_timeout_ms * 1000);
    }
}

static void *on_target(void *cls, const char *target, struct MHD_Connection *connection)
{
    return request_new(cls, connection, link_of(connection), target);
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **request)
{
    (void)cls;
    (void)connection;
    (void)url;
    return *request == NULL ? MHD_NO
                            : request_step(*request, method, version, upload, upload_size);
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **request,
                         enum MHD_RequestTerminationCode code)
{
    struct http_context *context = cls;
    if (*request != NULL) {
        request_free(*request, code == MHD_REQUEST_TERMINATED_COMPLETED_OK);
        *request = NULL;
    }
    link_set(link_of(connection), clock_us() + context->config->idle_timeout_ms * 1000, false);
}

/* We decode ourselves, once (uri.h). */
static size_t keep_escapes(void *cls, struct MHD_Connection *connection, char *text)
{
    (void)cls;
    (void)connection;
    return strlen(text);
}

static void on_library_log(void *cls, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));

static void on_library_log(void *cls, const char *format, va_list args)
{
    struct http_context *context = cls;
    char text[256];
    struct log_line line;
    if (vsnprintf(text, sizeof text, format, args) > 0) {
        log_begin(&line, context->log, LOG_LEVEL_DEBUG, clock_wall_us(), "http_library");
        log_add_text(&line, "message", slice_of(text));
        log_end(&line);
    }
}

static unsigned n_threads(const struct server_config *config)
{
    long n = config->threads > 0 ? (long)config->threads : sysconf(_SC_NPROCESSORS_ONLN);
    if (config->threads == 0 && n > THREADS_DEFAULT_MAX) {
        n = THREADS_DEFAULT_MAX;
    }
    return n < 1 ? 1 : (unsigned)n;
}

static struct MHD_Daemon *start_daemon(struct http_context *context)
{
    const struct server_config *config = context->config;
    unsigned threads = n_threads(config);
    struct MHD_OptionItem more[] = {
        {MHD_OPTION_THREAD_POOL_SIZE, (intptr_t)threads, NULL},
        {MHD_OPTION_END, 0, NULL},
    };
    if (threads == 1) {
        more[0].option = MHD_OPTION_END;
    }
#if MHD_VERSION >= 0x00097701
    const int strict = 1;
#endif
    return MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME |
            MHD_ALLOW_UPGRADE | MHD_USE_TURBO | MHD_USE_ERROR_LOG,
        0, NULL, NULL, on_request, context,
        MHD_OPTION_EXTERNAL_LOGGER, on_library_log, context,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)config->connections,
        MHD_OPTION_PER_IP_CONNECTION_LIMIT, (unsigned)config->address_connections,
        MHD_OPTION_STRICT_FOR_CLIENT, 1,
#if MHD_VERSION >= 0x00097701
        MHD_OPTION_CLIENT_DISCIPLINE_LVL, strict,
#endif
        MHD_OPTION_URI_LOG_CALLBACK, on_target, context,
        MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, context,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, context,
        MHD_OPTION_ARRAY, more, MHD_OPTION_END);
}

/* A fourth of the shortest time-out. */
static int64_t sweep_period_ms(const struct server_config *config)
{
    int64_t shortest = config->header_timeout_ms;
    const int64_t others[] = {config->body_timeout_ms, config->reply_timeout_ms,
                              config->idle_timeout_ms};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        shortest = others[i] < shortest ? others[i] : shortest;
    }
    shortest /= 4;
    return shortest < SWEEP_SHORTEST_MS  ? SWEEP_SHORTEST_MS
           : shortest > SWEEP_LONGEST_MS ? SWEEP_LONGEST_MS
                                         : shortest;
}

int http_start(struct http_context *context, int listen_fd, struct http **out, char *error,
               size_t error_size)
{
    struct http *http = mem_zalloc(1, sizeof *http);
    if (http == NULL) {
        return BQ_NOMEM;
    }
    http->context = context;
    context->measure = head_can_measure();
    int status = links_start(sweep_period_ms(context->config), &context->links);
    if (status != BQ_OK) {
        goto free_http;
    }
    http->daemon = start_daemon(context);
    if (http->daemon == NULL) {
        snprintf(error, error_size, "the HTTP threads cannot be started: %s", strerror(errno));
        status = BQ_IO;
        goto stop_links;
    }
    status = acceptor_start(http->daemon, listen_fd, (unsigned)context->config->connections,
                            &http->acceptor);
    if (status != BQ_OK) {
        goto stop_daemon;
    }
    *out = http;
    return BQ_OK;
stop_daemon:
    MHD_stop_daemon(http->daemon);
stop_links:
    links_stop(context->links);
    context->links = NULL;
free_http:
    mem_free(http);
    return status;
}

bool http_drain(struct http *http, int64_t timeout_ms)
{
    int64_t until_us = clock_us() + timeout_ms * 1000;
    atomic_store(&http->context->draining, true);
    acceptor_stop(http->acceptor);
    http->acceptor = NULL;
    if (!links_drain(http->context->links, until_us)) {
        links_close_all(http->context->links);
        return false;
    }
    return true;
}

void http_stop(struct http *http)
{
    if (http == NULL) {
        return;
    }
    acceptor_stop(http->acceptor);
    MHD_stop_daemon(http->daemon);
    links_stop(http->context->links);
    http->context->links = NULL;
    mem_free(http);
}
