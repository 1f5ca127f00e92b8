/* http_stub.c - see http_stub.h. Aborts where a test's own machinery fails. */
#include "http_stub.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define STUB_MAX 64

struct answer {
    bool silent;
    char *bytes;
    size_t len;
};

struct http_stub {
    pthread_mutex_t mutex;
    pthread_t thread;
    int listener;
    int stop[2]; /* a pipe: closed to end the thread */
    char url[64];
    struct answer answers[STUB_MAX];
    unsigned n_answers;
    char *requests[STUB_MAX];
    unsigned n_requests;
    unsigned n_connections;
};

static void must(bool good, const char *what)
{
    if (!good) {
        perror(what);
        abort();
    }
}

/* False when the stub is being ended. */
static bool readable(struct http_stub *stub, int fd)
{
    struct pollfd fds[2] = {{fd, POLLIN, 0}, {stub->stop[0], POLLIN, 0}};
    while (poll(fds, 2, -1) < 0 && errno == EINTR) {
    }
    return fds[1].revents == 0;
}

/* The bytes of a request that is complete, or 0. */
static size_t request_size(const char *text)
{
    const char *end = strstr(text, "\r\n\r\n");
    if (end == NULL) {
        return 0;
    }
    size_t size = (size_t)(end - text) + 4;
    const char *length = strcasestr(text, "\r\ncontent-length:");
    if (length != NULL && length < end) {
        size += strtoul(length + 17, NULL, 10);
    }
    return strlen(text) >= size ? size : 0;
}

/* One request into stub->requests; false where the peer went away or the stub ends. */
static bool take_request(struct http_stub *stub, int fd)
{
    size_t size = 1u << 20;
    size_t len = 0;
    char *text = calloc(1, size);
    must(text != NULL, "calloc");
    while (request_size(text) == 0) {
        ssize_t n = readable(stub, fd) && len < size - 1 ? read(fd, text + len, size - 1 - len) : 0;
        if (n <= 0) {
            free(text);
            return false;
        }
        len += (size_t)n;
    }
    pthread_mutex_lock(&stub->mutex);
    must(stub->n_requests < STUB_MAX, "too many requests");
    stub->requests[stub->n_requests++] = text;
    pthread_mutex_unlock(&stub->mutex);
    return true;
}

static struct answer next_answer(struct http_stub *stub)
{
    pthread_mutex_lock(&stub->mutex);
    unsigned n = stub->n_requests - 1;
    struct answer answer = n < stub->n_answers ? stub->answers[n] : (struct answer){false, NULL, 0};
    pthread_mutex_unlock(&stub->mutex);
    return answer;
}

static bool write_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
        if (n <= 0) {
            return false;
        }
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

static void serve_connection(struct http_stub *stub, int fd)
{
    while (take_request(stub, fd)) {
        struct answer answer = next_answer(stub);
        if (answer.silent) {
            char byte;
            /* Until the peer gives up. */
            if (!readable(stub, fd) || read(fd, &byte, 1) <= 0) {
                break;
            }
        } else if (answer.len == 0 || !write_all(fd, answer.bytes, answer.len)) {
            break;
        }
    }
    (void)close(fd);
}

static void *run(void *context)
{
    struct http_stub *stub = context;
    while (readable(stub, stub->listener)) {
        int fd = accept(stub->listener, NULL, NULL);
        if (fd >= 0) {
            pthread_mutex_lock(&stub->mutex);
            stub->n_connections++;
            pthread_mutex_unlock(&stub->mutex);
            serve_connection(stub, fd);
        }
    }
    return NULL;
}

struct http_stub *http_stub_new(void)
{
    struct http_stub *stub = calloc(1, sizeof *stub);
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    must(stub != NULL, "calloc");
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    stub->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(stub->listener >= 0, "socket");
    must(bind(stub->listener, (struct sockaddr *)&address, sizeof address) == 0, "bind");
    must(listen(stub->listener, 8) == 0, "listen");
    must(getsockname(stub->listener, (struct sockaddr *)&address, &size) == 0, "getsockname");
    must(pipe(stub->stop) == 0, "pipe");
    (void)snprintf(stub->url, sizeof stub->url, "http://127.0.0.1:%u", ntohs(address.sin_port));
    must(pthread_mutex_init(&stub->mutex, NULL) == 0, "mutex");
    must(pthread_create(&stub->thread, NULL, run, stub) == 0, "thread");
    return stub;
}

void http_stub_free(struct http_stub *stub)
{
    (void)close(stub->stop[1]);
    (void)pthread_join(stub->thread, NULL);
    (void)close(stub->stop[0]);
    (void)close(stub->listener);
    for (unsigned i = 0; i < stub->n_answers; i++) {
        free(stub->answers[i].bytes);
    }
    for (unsigned i = 0; i < stub->n_requests; i++) {
        free(stub->requests[i]);
    }
    (void)pthread_mutex_destroy(&stub->mutex);
    free(stub);
}

const char *http_stub_url(const struct http_stub *stub)
{
    return stub->url;
}

void http_stub_answer(struct http_stub *stub, const char *bytes, size_t len)
{
    struct answer answer = {bytes == NULL, NULL, 0};
    if (bytes != NULL) {
        answer.len = len == SIZE_MAX ? strlen(bytes) : len;
        answer.bytes = malloc(answer.len + 1);
        must(answer.bytes != NULL, "malloc");
        memcpy(answer.bytes, bytes, answer.len);
    }
    pthread_mutex_lock(&stub->mutex);
    must(stub->n_answers < STUB_MAX, "too many answers");
    stub->answers[stub->n_answers++] = answer;
    pthread_mutex_unlock(&stub->mutex);
}

void http_stub_answer_json(struct http_stub *stub, int status, const char *body)
{
    size_t size = strlen(body) + 200;
    char *text = malloc(size);
    must(text != NULL, "malloc");
    (void)snprintf(text, size,
                   "HTTP/1.1 %d Status\r\nContent-Type: application/json\r\n"
                   "Content-Length: %zu\r\n\r\n%s",
                   status, strlen(body), body);
    http_stub_answer(stub, text, SIZE_MAX);
    free(text);
}

const char *http_stub_request(struct http_stub *stub, unsigned n)
{
    pthread_mutex_lock(&stub->mutex);
    const char *text = n < stub->n_requests ? stub->requests[n] : "";
    pthread_mutex_unlock(&stub->mutex);
    return text;
}

unsigned http_stub_n_requests(struct http_stub *stub)
{
    pthread_mutex_lock(&stub->mutex);
    unsigned n = stub->n_requests;
    pthread_mutex_unlock(&stub->mutex);
    return n;
}

unsigned http_stub_n_connections(struct http_stub *stub)
{
    pthread_mutex_lock(&stub->mutex);
    unsigned n = stub->n_connections;
    pthread_mutex_unlock(&stub->mutex);
    return n;
}
