/* load.c - the event loop of a bench. */
#include "cli/load.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "bqsync.h"

#define READ_BYTES 16384u
#define ANSWER_MAX_BYTES (8u << 20)
#define EVENTS 256
#define TICK_MS 100

struct connection {
    int fd;
    unsigned index;
    struct buf out;
    size_t sent;
    struct buf in;
    int64_t asked_us;
    bool writing; /* epoll waits for room to write */
};

struct load {
    const struct load_config *config;
    struct load_result *result;
    struct connection *connections;
    struct addrinfo *address;
    int epoll;
    unsigned n_alive;
};

static int64_t clock_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Exact below 64 us, then 32 steps per power of two. */
static unsigned bucket_of(uint64_t us)
{
    if (us < 64) {
        return (unsigned)us;
    }
    unsigned shift = (unsigned)(63 - __builtin_clzll(us)) - 5;
    return shift * 32 + (unsigned)(us >> shift);
}

static uint64_t bucket_top(unsigned bucket)
{
    if (bucket < 64) {
        return bucket;
    }
    unsigned shift = bucket / 32 - 1;
    return ((uint64_t)(bucket - shift * 32 + 1) << shift) - 1;
}

uint64_t load_percentile(const struct load_result *result, double share)
{
    uint64_t total = 0;
    for (unsigned i = 0; i < LOAD_BUCKETS; i++) {
        total += result->buckets[i];
    }
    uint64_t wanted = (uint64_t)((double)total * share);
    uint64_t below = 0;
    for (unsigned i = 0; i < LOAD_BUCKETS; i++) {
        below += result->buckets[i];
        if (below > wanted || (below == total && total > 0)) {
            uint64_t top = bucket_top(i);
            return top < result->max_us ? top : result->max_us;
        }
    }
    return 0;
}

static bool watch(struct load *load, struct connection *connection, int verb)
{
    struct epoll_event event = {.events = EPOLLIN | (connection->writing ? EPOLLOUT : 0u),
                                .data.ptr = connection};
    return epoll_ctl(load->epoll, verb, connection->fd, &event) == 0;
}

static bool connect_one(struct load *load, struct connection *connection)
{
    const struct addrinfo *address = load->address;
    int one = 1;
    connection->fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection->fd < 0) {
        return false;
    }
    if (connect(connection->fd, address->ai_addr, address->ai_addrlen) != 0 ||
        setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0 ||
        fcntl(connection->fd, F_SETFL, O_NONBLOCK) != 0 ||
        !watch(load, connection, EPOLL_CTL_ADD)) {
        close(connection->fd);
        connection->fd = -1;
        return false;
    }
    load->n_alive++;
    return true;
}

/* The connection is gone; a new one takes its place, or it stays away. */
static void reconnect(struct load *load, struct connection *connection)
{
    close(connection->fd);
    load->n_alive--;
    load->result->errors++;
    connection->writing = false;
    buf_clear(&connection->in);
    buf_clear(&connection->out);
    connection->sent = 0;
    connection->fd = -1;
}

/* False: the connection broke. */
static bool send_more(struct load *load, struct connection *connection)
{
    while (connection->sent < connection->out.len) {
        ssize_t n = send(connection->fd, connection->out.ptr + connection->sent,
                         connection->out.len - connection->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            bool was = connection->writing;
            connection->writing = true;
            return was || watch(load, connection, EPOLL_CTL_MOD);
        }
        if (n <= 0) {
            return false;
        }
        connection->sent += (size_t)n;
    }
    if (connection->writing) {
        connection->writing = false;
        return watch(load, connection, EPOLL_CTL_MOD);
    }
    return true;
}

static bool ask(struct load *load, struct connection *connection)
{
    buf_clear(&connection->out);
    connection->sent = 0;
    load->config->next(load->config->cls, connection->index, &connection->out);
    connection->asked_us = clock_us();
    return !connection->out.failed && send_more(load, connection);
}

/* The value of Content-Length in a head; -1 where there is none. */
static long long content_length(const char *head, const char *end)
{
    static const char name[] = "content-length:";
    for (const char *line = head; line < end;) {
        if (strncasecmp(line, name, sizeof name - 1) == 0) {
            return strtoll(line + sizeof name - 1, NULL, 10);
        }
        const char *next = memchr(line, '\n', (size_t)(end - line));
        if (next == NULL) {
            break;
        }
        line = next + 1;
    }
    return -1;
}

static void count(struct load *load, struct connection *connection, int code, struct slice body)
{
    uint64_t us = (uint64_t)(clock_us() - connection->asked_us);
    if (!load->config->answer(load->config->cls, connection->index, code, body)) {
        load->result->errors++;
        return;
    }
    load->result->answered++;
    load->result->buckets[bucket_of(us)]++;
    if (us > load->result->max_us) {
        load->result->max_us = us;
    }
}

/* Takes a whole answer out of `in` where there is one. False: this is not HTTP. */
static bool take_answer(struct load *load, struct connection *connection, bool *out_taken)
{
    struct buf *in = &connection->in;
    *out_taken = false;
    char *end = in->len == 0 ? NULL : memmem(in->ptr, in->len, "\r\n\r\n", 4);
    if (end == NULL) {
        return in->len < READ_BYTES;
    }
    long long length = content_length(in->ptr, end);
    if (strncmp(in->ptr, "HTTP/1.1 ", 9) != 0 || length < 0 || length > ANSWER_MAX_BYTES) {
        return false;
    }
    size_t head = (size_t)(end - in->ptr) + 4;
    if (in->len - head < (size_t)length) {
        return true;
    }
    struct slice body = {in->ptr + head, (size_t)length};
    count(load, connection, (int)strtol(in->ptr + 9, NULL, 10), body);
    buf_clear(in);
    *out_taken = true;
    return true;
}

/* False: the connection broke. */
static bool receive(struct load *load, struct connection *connection)
{
    for (;;) {
        if (!buf_reserve(&connection->in, READ_BYTES)) {
            return false;
        }
        ssize_t n = recv(connection->fd, connection->in.ptr + connection->in.len, READ_BYTES, 0);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            return true;
        }
        if (n <= 0) {
            return false;
        }
        connection->in.len += (size_t)n;
        connection->in.ptr[connection->in.len] = '\0';
        bool taken;
        if (!take_answer(load, connection, &taken)) {
            return false;
        }
        if (taken) {
            return ask(load, connection);
        }
    }
}

static int start(struct load *load, char *error, size_t error_size)
{
    const struct load_config *config = load->config;
    for (unsigned i = 0; i < config->connections; i++) {
        struct connection *connection = &load->connections[i];
        connection->index = i;
        connection->fd = -1;
        if (!connect_one(load, connection)) {
            snprintf(error, error_size, "%s:%s cannot be reached (%s); does it serve there?",
                     config->host, config->port, strerror(errno));
            return BQ_NETWORK;
        }
    }
    return BQ_OK;
}

static void loop(struct load *load)
{
    const struct load_config *config = load->config;
    struct epoll_event events[EVENTS];
    int64_t start_us = clock_us();
    for (unsigned i = 0; i < config->connections; i++) {
        if (!ask(load, &load->connections[i])) {
            reconnect(load, &load->connections[i]);
        }
    }
    for (;;) {
        load->result->elapsed_us = clock_us() - start_us;
        int64_t passed_ms = load->result->elapsed_us / 1000;
        if (passed_ms >= config->duration_ms || config->tick(config->cls, passed_ms)) {
            return;
        }
        int n = epoll_wait(load->epoll, events, EVENTS, TICK_MS);
        for (int i = 0; i < n; i++) {
            struct connection *connection = events[i].data.ptr;
            bool ok = connection->fd >= 0;
            if (ok && (events[i].events & EPOLLOUT) != 0) {
                ok = send_more(load, connection);
            }
            if (ok && (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
                ok = receive(load, connection);
            }
            if (!ok && connection->fd >= 0) {
                reconnect(load, connection);
            }
        }
        for (unsigned i = 0; i < config->connections && load->n_alive < config->connections; i++) {
            struct connection *connection = &load->connections[i];
            if (connection->fd < 0 && connect_one(load, connection) && !ask(load, connection)) {
                reconnect(load, connection);
            }
        }
    }
}

static void release(struct load *load)
{
    for (unsigned i = 0; i < load->config->connections; i++) {
        struct connection *connection = &load->connections[i];
        if (connection->fd >= 0) {
            close(connection->fd);
        }
        buf_release(&connection->in);
        buf_release(&connection->out);
    }
    mem_free(load->connections);
}

int load_run(const struct load_config *config, struct load_result *out, char *error,
             size_t error_size)
{
    struct load load = {.config = config, .result = out};
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    int failed = getaddrinfo(config->host, config->port, &hints, &load.address);
    if (failed != 0) {
        snprintf(error, error_size, "%s:%s is no address (%s)", config->host, config->port,
                 gai_strerror(failed));
        return BQ_NETWORK;
    }
    int status = BQ_NOMEM;
    load.connections = mem_zalloc(config->connections, sizeof *load.connections);
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    memset(out, 0, sizeof *out);
    if (load.connections != NULL && load.epoll >= 0) {
        status = start(&load, error, error_size);
        if (status == BQ_OK) {
            loop(&load);
        }
        release(&load);
    }
    if (load.epoll >= 0) {
        close(load.epoll);
    }
    freeaddrinfo(load.address);
    return status;
}
