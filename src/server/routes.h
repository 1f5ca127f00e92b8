/* routes.h - what can be asked of the server, one by one: `bqsync serve --routes`, and the tests
 * that try each of them with the wrong token (docs/security.md). */
#ifndef SERVER_ROUTES_H
#define SERVER_ROUTES_H

#include "base/buf.h"

/* Appends a line for each method of each path: "METHOD PATH ROLE". The role is the least that gets
 * anything there: open (no key is asked for), anon, authenticated, service_role, or nobody. */
void routes_print(struct buf *out);

#endif
