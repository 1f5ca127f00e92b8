/* load.h - C connections, each with one request under way, for a while: the closed loop of a bench.
 *
 * HTTP/1.1 with keep-alive over plain sockets and epoll in the calling thread, because at 50,000
 * requests a second a general HTTP client would measure itself. Answers need a Content-Length. What
 * is asked and what an answer means is the caller's. */
#ifndef CLI_LOAD_H
#define CLI_LOAD_H

#include <stdbool.h>

#include "base/buf.h"

/* Latencies in microseconds: 32 buckets per power of two, so within 3 %. */
#define LOAD_BUCKETS 2048u

struct load_config {
    size_t size; /* sizeof(struct load_config) */
    const char *host;
    const char *port;
    unsigned connections;
    int64_t duration_ms;
    /* Appends the next whole request of this connection. */
    void (*next)(void *cls, unsigned connection, struct buf *out);
    /* Takes its answer; false counts an error. */
    bool (*answer)(void *cls, unsigned connection, int code, struct slice body);
    /* Asked a few times a second with the milliseconds that passed; true ends the run early. */
    bool (*tick)(void *cls, int64_t passed_ms);
    void *cls;
};

struct load_result {
    uint64_t answered; /* requests whose answer the caller liked */
    uint64_t errors;   /* disliked answers, broken connections */
    int64_t elapsed_us;
    uint64_t max_us;
    uint64_t buckets[LOAD_BUCKETS];
};

/* BQ_OK; BQ_NETWORK or BQ_NOMEM with a sentence in error. *out is large: not on the stack. */
int load_run(const struct load_config *config, struct load_result *out, char *error,
             size_t error_size);

/* The latency that `share` (0.99) of the answers stay below. */
uint64_t load_percentile(const struct load_result *result, double share);

#endif
