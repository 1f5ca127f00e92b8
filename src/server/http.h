/* http.h - libmicrohttpd around the requests of request.h: threads, limits, connections, drain.
 *
 * Plain HTTP/1.1; TLS is a proxy's. Several threads, each with its own epoll. A request whose write
 * waits for the commit is suspended and holds no thread. */
#ifndef SERVER_HTTP_H
#define SERVER_HTTP_H

#include "base/log.h"
#include "server/auth.h"
#include "server/committer.h"
#include "server/config.h"
#include "server/elsewhere.h"
#include "server/gateway.h"
#include "server/metrics.h"
#include "server/rate.h"
#include "server/realtime.h"
#include "server/upstream.h"

#include <stdatomic.h>

struct functions;

/* What requests need of their server; read-only but for the atomics. */
struct http_context {
    const struct server_config *config;
    const struct log *log;
    struct gateway gateway;
    struct auth *auth; /* our own accounts; NULL: tokens come from elsewhere */
    struct storage *storage;
    struct functions *functions; /* calls go there; NULL: to storage and committer */
    struct committer *committer;
    struct realtime *realtime;
    struct elsewhere elsewhere;
    struct upstream *upstream; /* NULL: none */
    struct metrics metrics;
    struct links *links;
    struct rate *rate; /* NULL: no limit */
    bool measure; /* head.h: this library's layout is known */
    _Atomic bool draining;
    _Atomic uint64_t n_requests; /* answered */
};

struct http;

/* Takes listen_fd and serves it. context is borrowed. BQ_OK, BQ_NOMEM, or BQ_IO with a sentence. */
int http_start(struct http_context *context, int listen_fd, struct http **out, char *error,
               size_t error_size);

/* No new connections; idle ones end, requests in flight are answered. True when all are gone within
 * the time; those left are cut off then. */
bool http_drain(struct http *http, int64_t timeout_ms);

/* After http_drain() and committer_stop(). */
void http_stop(struct http *http);

#endif
