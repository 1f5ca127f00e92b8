/* functions.h - calls that are functions in a database (sql/postgres): a front as PostgREST is one,
 * for tests of a project that has no server of ours. `bqsync serve --functions-in-database URL`.
 *
 * The token was verified; each call is a transaction of its own in which the role and
 * request.jwt.claims are set, so that the database itself decides who may do what. The login of the
 * URL (authenticator) has no rights but to become those roles.
 *
 * A call holds its HTTP thread until the database answered. */
#ifndef SERVER_FUNCTIONS_H
#define SERVER_FUNCTIONS_H

#include "server/reply.h"
#include "server/rpc_args.h"

struct functions;

/* Opens n connections. BQ_OK, BQ_NOMEM, or BQ_IO with a sentence. */
int functions_open(const char *url, unsigned n, struct functions **out, char *error,
                   size_t error_size);
void functions_close(struct functions *functions);

/* Any thread. The answer of a call, or false with *problem. */
bool functions_call(struct functions *functions, const struct rpc_input *input,
                    const struct jwt_identity *identity, bool singular, struct reply *reply,
                    struct problem *problem);

#endif
