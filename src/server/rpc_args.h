/* rpc_args.h - the arguments of a call: from a body or a query to typed values, as PostgreSQL would
 * convert them (a number for a text, "3" for an integer; 1.5 is 22P02, too large is 22003). */
#ifndef SERVER_RPC_ARGS_H
#define SERVER_RPC_ARGS_H

#include "server/rpc_table.h"
#include "server/uri.h"

/* The value of each parameter, by its place in the table. JSON_ABSENT: not given, or SQL NULL. uuid
 * and text are JSON_STRING, integers JSON_NUMBER, jsonb any value. */
struct rpc_args {
    struct json_value values[RPC_PARAMS_MAX];
};

struct rpc_input {
    struct arena *arena;
    struct slice name;
    bool get;             /* GET or HEAD: arguments are in the query */
    const struct uri *uri;
    struct slice body;    /* lives as long as the arena */
    unsigned depth;       /* of JSON in the body */
};

/* Finds the function for the name and the names of the arguments given; their values stay as they
 * came. False with *problem. */
bool rpc_match(const struct rpc_input *input, const struct rpc_function **out_function,
               struct rpc_args *out, struct problem *problem);

/* Converts the values in place. False with *problem. */
bool rpc_convert(const struct rpc_input *input, const struct rpc_function *function,
                 struct rpc_args *args, struct problem *problem);

/* The text of a uuid or text argument, SLICE_NONE where it is absent. */
struct slice rpc_text(const struct json_value *value);

/* The integer of an int4 or int8 argument, `absent` where it is absent. */
int64_t rpc_int(const struct json_value *value, int64_t absent);

#endif
