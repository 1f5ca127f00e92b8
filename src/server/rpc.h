/* rpc.h - a call from its request to its answer: who may, on whose behalf, what it does, what it
 * says.
 *
 * Identity comes from the token alone (docs/security.md, S1): a user id in the
 * arguments is compared, never believed; service_role alone may name another user. */
#ifndef SERVER_RPC_H
#define SERVER_RPC_H

#include "server/reply.h"
#include "server/rpc_args.h"

/* Before the body is there: whether this role may call a function of this name at all, so that a
 * body of somebody who may not is never kept nor read. False with *problem. */
bool rpc_admit(struct arena *arena, struct slice name, bool get,
               const struct jwt_identity *identity, struct problem *problem);

/* For who was admitted. Checks and converts the arguments and fills in op (whose arena is the
 * input's). The op is ready for the committer, or, where op_only_reads(), for a reader. False
 * with *problem. */
bool rpc_prepare(const struct rpc_input *input, const struct jwt_identity *identity,
                 const struct rpc_function **out_function, struct op *op, struct problem *problem);

/* 405: what a GET of a function that writes is answered. */
struct problem rpc_get_writes(struct arena *arena, const struct rpc_function *function);

/* The answer of an op that ran: body, status and headers. singular: the client wants one object
 * where the function gives rows. False with *problem. */
bool rpc_answer(const struct rpc_function *function, const struct op *op, bool singular,
                struct reply *reply, struct problem *problem);

#endif
