/* route.h - which part of the server a request is for, and what its header must say for that. */
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
    ROUTE_TABLE,     /* /rest/v1/<table>: none is shown yet */
    ROUTE_UNKNOWN
};

struct route {
    enum route_kind kind;
    struct slice name; /* of the function or table */
    bool get;          /* GET or HEAD */
};

struct route route_of(const char *method, const struct uri *uri);

/* Whether the API gateway stands before it. */
bool route_needs_key(const struct route *route);

/* Methods, profiles, content type and Accept, in PostgREST's order. *out_singular: one object
 * instead of rows is wanted. False with *problem. */
bool route_check(struct arena *arena, const struct route *route, const char *method,
                 const struct head *head, bool *out_singular, struct problem *problem);

#endif
