/* null_server.c - an echo on the same HTTP library with the same settings as `bqsync serve`: what a
 * server could do at most that parses nothing, checks nothing and stores nothing (docs/bench.md).
 *
 * Usage: null_server [PORT [THREADS]]   PORT 0 takes a free one, which is printed; ends on
 * SIGTERM. */
#include <microhttpd.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BODY_MAX (4u << 20)
#define CONNECTION_BYTES (48u << 10)

struct echo {
    size_t len;
    size_t size;
    char *bytes;
};

static enum MHD_Result reply(struct MHD_Connection *connection, struct echo *echo)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(echo->len, echo->bytes, MHD_RESPMEM_MUST_FREE);
    echo->bytes = NULL;
    if (response == NULL) {
        return MHD_NO;
    }
    MHD_add_response_header(response, "Content-Type", "application/json; charset=utf-8");
    MHD_add_response_header(response, "Content-Range", "0-0/*");
    enum MHD_Result result = MHD_queue_response(connection, MHD_HTTP_OK, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **context)
{
    struct echo *echo = *context;
    (void)cls;
    (void)url;
    (void)method;
    (void)version;
    if (echo == NULL) {
        *context = echo = calloc(1, sizeof *echo);
        return echo == NULL ? MHD_NO : MHD_YES;
    }
    if (*upload_size == 0) {
        return reply(connection, echo);
    }
    if (echo->len + *upload_size > BODY_MAX) {
        return MHD_NO;
    }
    if (echo->len + *upload_size > echo->size) {
        size_t size = (echo->len + *upload_size) * 2;
        char *bytes = realloc(echo->bytes, size);
        if (bytes == NULL) {
            return MHD_NO;
        }
        echo->bytes = bytes;
        echo->size = size;
    }
    memcpy(echo->bytes + echo->len, upload, *upload_size);
    echo->len += *upload_size;
    *upload_size = 0;
    return MHD_YES;
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode code)
{
    struct echo *echo = *context;
    (void)cls;
    (void)connection;
    (void)code;
    if (echo != NULL) {
        free(echo->bytes);
        free(echo);
    }
}

int main(int argc, char **argv)
{
    unsigned long port = argc > 1 ? strtoul(argv[1], NULL, 10) : 8788;
    unsigned long threads = argc > 2 ? strtoul(argv[2], NULL, 10) : 2;
    sigset_t signals;
    int number;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    struct MHD_OptionItem pool[] = {{MHD_OPTION_THREAD_POOL_SIZE, (intptr_t)threads, NULL},
                                    {MHD_OPTION_END, 0, NULL}};
    if (threads < 2) {
        pool[0].option = MHD_OPTION_END;
    }
    struct MHD_Daemon *daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_TURBO,
        (unsigned short)port, NULL, NULL, on_request, NULL, MHD_OPTION_NOTIFY_COMPLETED,
        on_completed, NULL, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES,
        MHD_OPTION_CONNECTION_LIMIT, 4096u, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_ARRAY, pool,
        MHD_OPTION_END);
    const union MHD_DaemonInfo *info =
        daemon == NULL ? NULL : MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT);
    if (info == NULL) {
        fprintf(stderr, "null_server: cannot listen on port %lu\n", port);
        return 1;
    }
    printf("%u\n", (unsigned)info->port);
    fflush(stdout);
    while (sigwait(&signals, &number) != 0) {
    }
    MHD_stop_daemon(daemon);
    return 0;
}
