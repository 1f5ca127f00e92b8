/* elsewhere.h - what is not ours under the one URL that an app has: a table that is known to be
 * empty here (--stub-table), a request for the upstream (--upstream), or nothing (404).
 *
 * A decision over the decoded path and query, made once (docs/security.md, H8): what names a table
 * or function of ours is ours in every spelling, also where it would be embedded in another
 * table's rows; paths that somebody behind us might read in another way are refused. */
#ifndef SERVER_ELSEWHERE_H
#define SERVER_ELSEWHERE_H

#include "base/buf.h"
#include "server/problem.h"
#include "server/route.h"
#include "server/uri.h"

struct elsewhere {
    const char *stub_tables; /* names with commas between; NULL: none */
    bool upstream;           /* there is one */
    bool accounts;           /* /auth/v1 is ours */
};

/* Makes *route ROUTE_STUB or ROUTE_PROXY where it is that. False with *problem: refused. */
bool elsewhere_route(const struct elsewhere *elsewhere, const struct uri *uri, struct route *route,
                     struct problem *problem);

/* Whether the rows that a subscription of realtime names are the upstream's alone: an absent table
 * names all of its schema. The upstream takes both for patterns of LIKE: one that fits ours as well
 * is not its own. */
bool elsewhere_has_rows(struct slice schema, struct slice table);

/* Appends the path in its one spelling: percent-encoded where RFC 3986 wants it. */
void elsewhere_print_path(struct buf *out, struct slice path);

#endif
