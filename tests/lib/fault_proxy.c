/* fault_proxy.c - one thread, one poll() over all connections; what the test says comes in under
 * the lock and, where the thread has to act on it, with a byte through a pipe. */
#include "fault_proxy.h"

#include "base/buf.h"
#include "http_client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS 256u
#define CHUNK 65536u

/* fd[direction] is where that direction's bytes come from: the client for requests. */
struct connection {
    int fd[2];
    bool ended[2];  /* no more comes from there */
    bool closed[2]; /* the receiver of that direction was told the end */
    bool held[2];
    struct buf waiting[2]; /* of a direction that is held */
    bool hole;
    bool gone;
    size_t drip[2]; /* 0: as it comes */
};

struct fault_proxy {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t let_go_done;
    int listen_fd;
    int wake[2];
    unsigned port;
    unsigned server_port;
    /* Under the lock. */
    struct fault_proxy_plan plan;
    bool struck;
    bool stopping;
    bool letting_go;
    unsigned n_let_go;
    uint64_t bytes[2];
    uint64_t counts[FAULT_PROXY_ACTIONS];
    uint64_t n_replays;
    struct buf recording;
    /* The thread's own. */
    struct connection connections[CONNECTIONS];
    unsigned n;
    char chunk[CHUNK];
};

static const char *const words[FAULT_PROXY_ACTIONS] = {"pass", "rst",   "fin",  "half-close",
                                                       "hole", "delay", "drip", "kill"};

static void must(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "fault_proxy: %s (%s)\n", what, strerror(errno));
        abort();
    }
}

const char *fault_proxy_word(enum fault_proxy_action action)
{
    return words[action];
}

/* ---- Ends ------------------------------------------------------------------------------------ */

static void end_connection(struct connection *connection, bool reset)
{
    const struct linger now = {.l_onoff = 1, .l_linger = 0};
    for (int i = 0; i < 2; i++) {
        if (connection->fd[i] >= 0) {
            if (reset) {
                (void)setsockopt(connection->fd[i], SOL_SOCKET, SO_LINGER, &now, sizeof now);
            }
            (void)close(connection->fd[i]);
        }
        connection->fd[i] = -1;
        buf_release(&connection->waiting[i]);
    }
    connection->gone = true;
}

/* Tells the receiver of a direction that nothing more comes. */
static void tell_end(struct connection *connection, int direction)
{
    if (!connection->closed[direction]) {
        connection->closed[direction] = true;
        (void)shutdown(connection->fd[1 - direction], SHUT_WR);
    }
}

/* ---- Bytes ----------------------------------------------------------------------------------- */

/* A receiver that is gone is no failure here: its own end of the connection tells. */
static void pass_on(struct connection *connection, int direction, const char *bytes, size_t len)
{
    size_t step = connection->drip[direction] == 0 ? len : connection->drip[direction];
    if (connection->closed[direction] || connection->hole) {
        return;
    }
    if (connection->held[direction]) {
        buf_add(&connection->waiting[direction], bytes, len);
        must(!connection->waiting[direction].failed, "no memory");
        return;
    }
    while (len > 0) {
        size_t n = len < step ? len : step;
        if (!http_write(connection->fd[1 - direction], bytes, n)) {
            return;
        }
        bytes += n;
        len -= n;
    }
}

/* What the plan does to this connection; false where the connection is over. */
static bool strike(struct connection *connection, int direction,
                   const struct fault_proxy_plan *plan)
{
    switch (plan->action) {
    case FAULT_PROXY_HOOK:
        plan->hook(plan->cls);
        end_connection(connection, true);
        return false;
    case FAULT_PROXY_RST:
    case FAULT_PROXY_FIN:
        end_connection(connection, plan->action == FAULT_PROXY_RST);
        return false;
    case FAULT_PROXY_HALF:
        tell_end(connection, direction);
        return true;
    case FAULT_PROXY_HOLE:
        connection->hole = true;
        return true;
    case FAULT_PROXY_DELAY:
        connection->held[direction] = true;
        return true;
    case FAULT_PROXY_DRIP:
        connection->drip[direction] = plan->n;
        return true;
    case FAULT_PROXY_PASS:
    case FAULT_PROXY_ACTIONS:
        break;
    }
    return true;
}

/* Counts bytes that came; answers how many of them pass before the plan strikes, and the plan. */
static bool count(struct fault_proxy *proxy, int direction, const char *bytes, size_t len,
                  size_t *out_before, struct fault_proxy_plan *out_plan)
{
    (void)pthread_mutex_lock(&proxy->lock);
    const struct fault_proxy_plan *plan = &proxy->plan;
    uint64_t before = proxy->bytes[direction];
    bool strikes = plan->action != FAULT_PROXY_PASS && (int)plan->direction == direction &&
                   before + len >= plan->at;
    proxy->bytes[direction] += len;
    if (direction == FAULT_PROXY_REQUEST) {
        buf_add(&proxy->recording, bytes, len);
        must(!proxy->recording.failed, "no memory");
    }
    *out_before = strikes ? (size_t)(plan->at - before) : len;
    *out_plan = *plan;
    if (strikes) {
        proxy->counts[plan->action]++;
        proxy->struck = true;
        proxy->plan.action = FAULT_PROXY_PASS;
    }
    (void)pthread_mutex_unlock(&proxy->lock);
    return strikes;
}

static void carry(struct fault_proxy *proxy, struct connection *connection, int direction)
{
    struct fault_proxy_plan plan;
    size_t before;
    ssize_t n = recv(connection->fd[direction], proxy->chunk, CHUNK, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n <= 0) {
        connection->ended[direction] = true;
        if (connection->hole || (n < 0 && !connection->held[0] && !connection->held[1])) {
            end_connection(connection, n < 0);
        } else if (!connection->held[direction]) {
            tell_end(connection, direction);
        }
        return;
    }
    bool strikes = count(proxy, direction, proxy->chunk, (size_t)n, &before, &plan);
    pass_on(connection, direction, proxy->chunk, before);
    if (strikes && strike(connection, direction, &plan)) {
        pass_on(connection, direction, proxy->chunk + before, (size_t)n - before);
    }
}

/* ---- The thread ------------------------------------------------------------------------------ */

static void accept_one(struct fault_proxy *proxy)
{
    const int on = 1;
    int fd = accept4(proxy->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) {
        return;
    }
    int server = http_connect(proxy->server_port);
    must(proxy->n < CONNECTIONS, "too many connections");
    struct connection *connection = &proxy->connections[proxy->n];
    *connection = (struct connection){.fd = {fd, server}};
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (server < 0) {
        end_connection(connection, true); /* as if it had been refused */
        return;
    }
    proxy->n++;
}

static void let_go(struct fault_proxy *proxy)
{
    unsigned n_held = 0;
    for (unsigned i = 0; i < proxy->n; i++) {
        struct connection *connection = &proxy->connections[i];
        for (int d = 0; d < 2 && !connection->gone; d++) {
            if (!connection->held[d]) {
                continue;
            }
            struct buf waiting = connection->waiting[d];
            connection->waiting[d] = BUF_INIT;
            connection->held[d] = false;
            pass_on(connection, d, waiting.ptr, waiting.len);
            buf_release(&waiting);
            if (connection->ended[d]) {
                tell_end(connection, d);
            }
            n_held++;
        }
    }
    (void)pthread_mutex_lock(&proxy->lock);
    proxy->n_let_go = n_held;
    proxy->letting_go = false;
    (void)pthread_cond_broadcast(&proxy->let_go_done);
    (void)pthread_mutex_unlock(&proxy->lock);
}

/* False when the proxy is to end. */
static bool hear(struct fault_proxy *proxy)
{
    char byte;
    must(read(proxy->wake[0], &byte, 1) == 1, "wake");
    (void)pthread_mutex_lock(&proxy->lock);
    bool stopping = proxy->stopping;
    bool letting_go = proxy->letting_go;
    (void)pthread_mutex_unlock(&proxy->lock);
    if (letting_go) {
        let_go(proxy);
    }
    return !stopping;
}

static void drop_ended(struct fault_proxy *proxy)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < proxy->n; i++) {
        struct connection *connection = &proxy->connections[i];
        bool holds = connection->held[0] || connection->held[1];
        if (!connection->gone && !holds && connection->ended[0] && connection->ended[1]) {
            end_connection(connection, false);
        }
        if (!connection->gone) {
            proxy->connections[kept++] = *connection;
        }
    }
    proxy->n = kept;
}

static void *run(void *cls)
{
    static _Thread_local struct pollfd fds[2 + 2 * CONNECTIONS];
    struct fault_proxy *proxy = cls;
    bool goes_on = true;
    while (goes_on) {
        unsigned n = proxy->n;
        fds[0] = (struct pollfd){proxy->wake[0], POLLIN, 0};
        fds[1] = (struct pollfd){proxy->listen_fd, POLLIN, 0};
        for (unsigned i = 0; i < 2 * n; i++) {
            const struct connection *connection = &proxy->connections[i / 2];
            int fd = connection->ended[i % 2] ? -1 : connection->fd[i % 2];
            fds[2 + i] = (struct pollfd){fd, POLLIN, 0};
        }
        if (poll(fds, 2 + 2 * n, -1) < 0) {
            must(errno == EINTR, "poll");
            continue;
        }
        for (unsigned i = 0; i < 2 * n; i++) {
            if (fds[2 + i].revents != 0 && !proxy->connections[i / 2].gone) {
                carry(proxy, &proxy->connections[i / 2], (int)(i % 2));
            }
        }
        drop_ended(proxy);
        if (fds[1].revents != 0) {
            accept_one(proxy);
        }
        goes_on = fds[0].revents == 0 || hear(proxy);
    }
    return NULL;
}

/* ---- Calls ----------------------------------------------------------------------------------- */

struct fault_proxy *fault_proxy_new(unsigned server_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof address;
    struct fault_proxy *proxy = calloc(1, sizeof *proxy);
    must(proxy != NULL, "no memory");
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    proxy->server_port = server_port;
    proxy->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    must(proxy->listen_fd >= 0 &&
             bind(proxy->listen_fd, (struct sockaddr *)&address, sizeof address) == 0 &&
             listen(proxy->listen_fd, 64) == 0 &&
             getsockname(proxy->listen_fd, (struct sockaddr *)&address, &len) == 0,
         "cannot listen");
    proxy->port = ntohs(address.sin_port);
    must(pipe2(proxy->wake, O_CLOEXEC) == 0, "pipe");
    (void)pthread_mutex_init(&proxy->lock, NULL);
    (void)pthread_cond_init(&proxy->let_go_done, NULL);
    must(pthread_create(&proxy->thread, NULL, run, proxy) == 0, "no thread");
    return proxy;
}

static void wake(struct fault_proxy *proxy)
{
    must(write(proxy->wake[1], "x", 1) == 1, "wake");
}

void fault_proxy_free(struct fault_proxy *proxy)
{
    (void)pthread_mutex_lock(&proxy->lock);
    proxy->stopping = true;
    (void)pthread_mutex_unlock(&proxy->lock);
    wake(proxy);
    (void)pthread_join(proxy->thread, NULL);
    for (unsigned i = 0; i < proxy->n; i++) {
        end_connection(&proxy->connections[i], false);
    }
    (void)close(proxy->listen_fd);
    (void)close(proxy->wake[0]);
    (void)close(proxy->wake[1]);
    (void)pthread_mutex_destroy(&proxy->lock);
    (void)pthread_cond_destroy(&proxy->let_go_done);
    buf_release(&proxy->recording);
    free(proxy);
}

unsigned fault_proxy_port(const struct fault_proxy *proxy)
{
    return proxy->port;
}

void fault_proxy_arm(struct fault_proxy *proxy, const struct fault_proxy_plan *plan)
{
    (void)pthread_mutex_lock(&proxy->lock);
    proxy->plan = *plan;
    proxy->struck = false;
    proxy->bytes[0] = 0;
    proxy->bytes[1] = 0;
    buf_clear(&proxy->recording);
    (void)pthread_mutex_unlock(&proxy->lock);
}

bool fault_proxy_struck(struct fault_proxy *proxy)
{
    (void)pthread_mutex_lock(&proxy->lock);
    bool struck = proxy->struck;
    (void)pthread_mutex_unlock(&proxy->lock);
    return struck;
}

static uint64_t look(struct fault_proxy *proxy, const uint64_t *at)
{
    (void)pthread_mutex_lock(&proxy->lock);
    uint64_t n = *at;
    (void)pthread_mutex_unlock(&proxy->lock);
    return n;
}

uint64_t fault_proxy_bytes(struct fault_proxy *proxy, enum fault_proxy_direction direction)
{
    return look(proxy, &proxy->bytes[direction]);
}

uint64_t fault_proxy_count(struct fault_proxy *proxy, enum fault_proxy_action action)
{
    return look(proxy, &proxy->counts[action]);
}

uint64_t fault_proxy_replays(struct fault_proxy *proxy)
{
    return look(proxy, &proxy->n_replays);
}

unsigned fault_proxy_let_go(struct fault_proxy *proxy)
{
    (void)pthread_mutex_lock(&proxy->lock);
    proxy->letting_go = true;
    wake(proxy);
    while (proxy->letting_go) {
        (void)pthread_cond_wait(&proxy->let_go_done, &proxy->lock);
    }
    unsigned n = proxy->n_let_go;
    (void)pthread_mutex_unlock(&proxy->lock);
    return n;
}

int fault_proxy_replay(struct fault_proxy *proxy)
{
    struct http_answer answer;
    struct buf again = BUF_INIT;
    int status = 0;
    (void)pthread_mutex_lock(&proxy->lock);
    buf_add(&again, proxy->recording.ptr, proxy->recording.len);
    proxy->n_replays++;
    (void)pthread_mutex_unlock(&proxy->lock);
    int fd = http_connect(proxy->server_port);
    if (fd >= 0 && again.len > 0 && http_write(fd, again.ptr, again.len)) {
        http_read(fd, false, &answer);
        status = answer.status;
        http_release(&answer);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    buf_release(&again);
    return status;
}
