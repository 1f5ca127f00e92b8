/* route.h - which part of the server a request is for, and what its header must say for that.
 *
 * The routes are data: one table (route.c) that requests are looked up in, that `bqsync serve
 * --routes` prints (routes.h), and that tests walk, so that a route without a test is found. */
#ifndef SERVER_ROUTE_H
#define SERVER_ROUTE_H

#include "server/head.h"
#include "server/problem.h"
#include "server/uri.h"

enum route_kind {
    ROUTE_PREFLIGHT, /* any OPTIONS: never asks for a key */
    ROUTE_ALIVE,     /* /healthz */
    ROUTE_READY,     /* /readyz */
    ROUTE_RPC,       /* /rest/v1/rpc/<function> */
    ROUTE_TABLE,     /* /rest/v1/<table> */
    ROUTE_AUTH,      /* /auth/v1/... (auth.h) */
    ROUTE_REALTIME,  /* /realtime/v1/websocket (handshake.h) */
    ROUTE_STUB,      /* a table that is known to be empty here (elsewhere.h) */
    ROUTE_PROXY,     /* for the upstream */
    ROUTE_UNKNOWN
};

/* Who stands before a route. */
enum route_gate {
    GATE_OPEN,  /* nobody: no key is asked for */
    GATE_KEY,   /* the API gateway: an apikey where keys are configured, and a token's claims */
    GATE_APIKEY /* the apikey alone; the route looks at the token itself */
};

struct route_entry {
    enum route_kind kind;
    const char *path;    /* whole, or with "{name}" for its last segment */
    const char *methods; /* with blanks between */
    enum route_gate gate;
};

/* The i-th entry, or NULL behind the last. */
const struct route_entry *route_at(unsigned i);

struct route {
    enum route_kind kind;
    const struct route_entry *entry; /* NULL: preflights, and what is unknown */
    struct slice name;               /* of the function or table */
    bool get;                        /* GET or HEAD */
};

struct route route_of(const char *method, const struct uri *uri);

/* Whether the API gateway stands before it. */
bool route_needs_key(const struct route *route);

/* Methods, profiles, content type and Accept, in PostgREST's order. *out_singular: one object
 * instead of rows is wanted. False with *problem. */
bool route_check(struct arena *arena, const struct route *route, const char *method,
                 const struct head *head, bool *out_singular, struct problem *problem);

#endif
