/* acceptor.c - see acceptor.h. */
#include "server/acceptor.h"

#include "base/mem.h"
#include "base/status.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define FULL_PAUSE_MS 10
#define ERROR_PAUSE_MS 50
#define AT_ONCE 64 /* connections between two looks at stop_fd */

struct acceptor {
    struct MHD_Daemon *daemon;
    int listen_fd;
    int stop_fd; /* readable: stop */
    unsigned limit;
    pthread_t thread;
};

/* Until somebody comes; with a pause above 0, for as long whoever comes. False: stop. */
static bool rest(const struct acceptor *acceptor, int pause_ms)
{
    struct pollfd fds[] = {
        {.fd = acceptor->stop_fd, .events = POLLIN},
        {.fd = acceptor->listen_fd, .events = POLLIN},
    };
    while (poll(fds, pause_ms > 0 ? 1 : 2, pause_ms > 0 ? pause_ms : -1) < 0 && errno == EINTR) {
    }
    return fds[0].revents == 0;
}

static bool is_full(const struct acceptor *acceptor)
{
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(acceptor->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
    return info != NULL && info->num_connections >= acceptor->limit;
}

/* One connection; how long to rest, 0: until the next comes, -1: not at all. */
static int take(const struct acceptor *acceptor)
{
    union {
        struct sockaddr any;
        struct sockaddr_in6 v6;
    } address;
    socklen_t len = sizeof address;
    if (is_full(acceptor)) {
        return FULL_PAUSE_MS;
    }
    int fd = accept4(acceptor->listen_fd, &address.any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        /* Whether it is taken or not, the socket is the library's. */
        (void)MHD_add_connection(acceptor->daemon, fd, &address.any, len);
        return -1;
    }
    switch (errno) {
    case EAGAIN:
        return 0;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        return ERROR_PAUSE_MS;
    default:
        return -1; /* what befell that one connection (accept(2)) */
    }
}

static void *run(void *cls)
{
    const struct acceptor *acceptor = cls;
    int pause_ms = 0;
    while (rest(acceptor, pause_ms)) {
        unsigned n = 0;
        do {
            pause_ms = take(acceptor);
            n++;
        } while (pause_ms < 0 && n < AT_ONCE);
    }
    return NULL;
}

int acceptor_start(struct MHD_Daemon *daemon, int listen_fd, unsigned limit, struct acceptor **out)
{
    struct acceptor *acceptor = mem_zalloc(1, sizeof *acceptor);
    if (acceptor == NULL) {
        return BQ_NOMEM;
    }
    acceptor->daemon = daemon;
    acceptor->listen_fd = listen_fd;
    acceptor->limit = limit;
    acceptor->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (acceptor->stop_fd < 0) {
        goto fail;
    }
    if (pthread_create(&acceptor->thread, NULL, run, acceptor) != 0) {
        close(acceptor->stop_fd);
        goto fail;
    }
    *out = acceptor;
    return BQ_OK;
fail:
    mem_free(acceptor);
    return BQ_IO;
}

void acceptor_stop(struct acceptor *acceptor)
{
    if (acceptor == NULL) {
        return;
    }
    eventfd_write(acceptor->stop_fd, 1);
    pthread_join(acceptor->thread, NULL);
    close(acceptor->stop_fd);
    close(acceptor->listen_fd);
    mem_free(acceptor);
}
