/* rpc_table.h - the functions at /rest/v1/rpc/<name>: the one list of routes that reach documents.
 *
 * The old names, parameters and defaults are V2's and v1's to the letter; the sync_ ones are ours
 * (docs/protocol.md, "Calls"). A function is found by its name and the set of parameters given, as
 * PostgREST does: all without a default, nothing unknown. */
#ifndef SERVER_RPC_TABLE_H
#define SERVER_RPC_TABLE_H

#include "core/op.h"
#include "server/jwt.h"
#include "server/problem.h"

#define RPC_PARAMS_MAX 8u

enum rpc_type { RPC_UUID, RPC_TEXT, RPC_INT4, RPC_INT8, RPC_JSONB };
enum rpc_result { RPC_SCALAR, RPC_ROWS, RPC_VOID };

struct rpc_param {
    const char *name;
    enum rpc_type type;
    bool optional;
};

struct rpc_function {
    const char *name;
    const char *verb;  /* what it does to rows, where it writes: "INSERT", "DELETE" */
    const char *user;  /* the parameter that names a user, or NULL */
    enum op_kind kind;
    enum rpc_result result;
    enum role role;    /* the least that may call it: ROLE_AUTHENTICATED or ROLE_SERVICE */
    unsigned n_params;
    struct rpc_param params[RPC_PARAMS_MAX];
};

/* The function of this name, or NULL. */
const struct rpc_function *rpc_find(struct slice name);

/* The index of a parameter, or -1. */
int rpc_param_index(const struct rpc_function *function, struct slice name);

/* The i-th function, or NULL behind the last: for tests that walk all routes. */
const struct rpc_function *rpc_at(unsigned i);

/* PGRST202: no function of this name takes exactly these parameters. get tells a GET from a
 * POST. */
struct problem rpc_not_found(struct arena *arena, struct slice name, const struct slice *given,
                             unsigned n_given, bool get);

#endif
