/* proxy.h - a request that goes to the upstream, as the HTTP library sees it: its headers without
 * those of the connection, its body piece by piece, and the answer the same way back. */
#ifndef SERVER_PROXY_H
#define SERVER_PROXY_H

#include "server/head.h"
#include "server/links.h"
#include "server/problem.h"
#include "server/upstream.h"
#include "server/uri.h"

struct proxy {
    struct MHD_Connection *connection;
    struct link *link;
    struct upstream_call *call;
    int64_t body_timeout_ms; /* for the client to send a piece, */
    int64_t reply_timeout_ms; /* or to take one */
    bool head;
    uint64_t sent; /* bytes of the answer */
};

struct proxy_request {
    struct upstream *upstream;
    struct arena *arena;
    const char *method;
    struct slice target; /* as it came; its query goes on as it is */
    const struct uri *uri;
    const struct head *head;
    struct slice address; /* of the client */
    bool get;             /* GET or HEAD: no body goes along */
};

/* Begins the call of proxy, whose other fields are set. False with *problem. */
bool proxy_begin(struct proxy *proxy, const struct proxy_request *request,
                 struct problem *problem);

/* A piece of body: *n is what is left of it; the request may be suspended then. */
void proxy_give(struct proxy *proxy, const char *bytes, size_t *n);

/* The body is whole. True: the request is suspended until there is an answer. */
bool proxy_wait(struct proxy *proxy);

/* Queues the answer; *out_http is its status. False with *problem, whose http is 0 where memory is
 * exhausted. */
bool proxy_answer(struct proxy *proxy, const struct head *head, const char *cors_origin,
                  unsigned *out_http, struct problem *problem);

#endif
