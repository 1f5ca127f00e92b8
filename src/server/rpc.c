/* rpc.c - permission, user, op; then the way back. */
#include "server/rpc.h"

#include "base/assert.h"
#include "base/plant.h"
#include "base/status.h"

#include <stdio.h>

/* 42501 is 401 for anon (a client then asks for a session) and 403 for everybody else. */
static bool refuse_permission(struct arena *arena, const struct jwt_identity *identity,
                              const struct rpc_function *function, const char *details,
                              struct problem *problem)
{
    bool anon = identity->role == ROLE_ANON;
    *problem = problem_detailed(
        anon ? 401 : 403, "42501",
        problem_format(arena, "permission denied for function %s", function->name), details);
    problem->challenge = anon ? CHALLENGE_BEARER : CHALLENGE_NONE;
    return false;
}

bool rpc_admit(struct arena *arena, struct slice name, bool get,
               const struct jwt_identity *identity, struct problem *problem)
{
    const struct rpc_function *function = rpc_find(name);
    if (function != NULL) {
        return identity->role >= function->role ||
               refuse_permission(arena, identity, function, NULL, problem);
    }
    if (identity->role == ROLE_ANON) {
        *problem = rpc_not_found(arena, name, &name, 0, get);
        return false;
    }
    return true; /* rpc_prepare() says what parameters were looked for */
}

/* Whose documents the call is about. */
static bool find_user(const struct rpc_input *input, const struct jwt_identity *identity,
                      const struct rpc_function *function, const struct rpc_args *args,
                      struct uuid *out, struct problem *problem)
{
    if (function->user == NULL) {
        *out = identity->user;
        return true;
    }
    int at = rpc_param_index(function, slice_of(function->user));
    struct slice named = rpc_text(&args->values[at]);
    if (identity->role == ROLE_SERVICE || (PLANTED(USER_FROM_BODY) && named.ptr != NULL)) {
        if (!uuid_parse(named, out)) {
            *problem = problem_of(400, "22004",
                                  problem_format(input->arena, "%s must name a user",
                                                 function->user));
            return false;
        }
        return true;
    }
    *out = identity->user;
    if (named.ptr == NULL && function->params[at].optional) {
        return true;
    }
    return (named.ptr != NULL && slice_equal(named, uuid_slice(&identity->user))) ||
           refuse_permission(input->arena, identity, function, "the token is another user's",
                             problem);
}

/* The converted arguments as an object, for those who read their parameters by name. */
static struct json_value object_of(struct arena *arena, const struct rpc_function *function,
                                   const struct rpc_args *args)
{
    struct json_member *members = arena_zalloc(arena, RPC_PARAMS_MAX, sizeof *members);
    uint32_t n = 0;
    for (unsigned i = 0; members != NULL && i < function->n_params; i++) {
        if (!json_is_absent(&args->values[i])) {
            members[n++] = json_member(function->params[i].name, args->values[i]);
        }
    }
    return json_object(members, n);
}

static int build_exchange(const struct rpc_function *function, const struct rpc_args *args,
                          struct op *op, struct proto_problem *why)
{
    struct json_value *object = arena_alloc(op->arena, sizeof *object);
    if (object == NULL) {
        return BQ_NOMEM;
    }
    *object = object_of(op->arena, function, args);
    return proto_exchange_read(op->arena, object, &op->in.exchange, why);
}

static int build_report(const struct rpc_function *function, const struct rpc_args *args,
                        struct op *op, struct proto_problem *why)
{
    struct json_value *object = arena_alloc(op->arena, sizeof *object);
    if (object == NULL) {
        return BQ_NOMEM;
    }
    *object = object_of(op->arena, function, args);
    return proto_report_read(op->arena, object, &op->in.report, why);
}

static int build_upsert(const struct rpc_args *args, struct op *op)
{
    const struct json_value *expected = &args->values[3];
    op->in.upsert = (struct proto_upsert){
        .data_key = rpc_text(&args->values[1]),
        .data = args->values[2],
        .has_expected = !json_is_absent(expected),
        .expected = rpc_int(expected, 0),
        .device_id = rpc_text(&args->values[4]),
    };
    return BQ_OK;
}

static int build_metadata(const struct rpc_args *args, struct op *op)
{
    op->in.metadata = (struct proto_metadata){
        .device_id = rpc_text(&args->values[1]),
        .version = rpc_int(&args->values[2], 0),
        .info = args->values[3],
    };
    return BQ_OK;
}

static int build_policy(const struct rpc_args *args, struct op *op, struct proto_problem *why)
{
    op->in.policy_set.pattern = rpc_text(&args->values[0]);
    op->in.policy_set.policy = args->values[1];
    if (op->in.policy_set.pattern.ptr == NULL) {
        why->status = BQ_INVALID;
        snprintf(why->text, sizeof why->text, "p_pattern is a key, or a prefix and *");
        return BQ_INVALID;
    }
    return BQ_OK;
}

/* Fills in the op. BQ_OK, or a status with a sentence in *why. */
static int build(const struct rpc_function *function, const struct rpc_args *args, struct op *op,
                 struct proto_problem *why)
{
    const struct json_value *values = args->values;
    switch (function->kind) {
    case OP_EXCHANGE:
        return build_exchange(function, args, op, why);
    case OP_REPORT:
        return build_report(function, args, op, why);
    case OP_UPSERT:
        return build_upsert(args, op);
    case OP_METADATA:
        return build_metadata(args, op);
    case OP_V1_SYNC:
        op->in.v1_sync.data = values[1];
        return BQ_OK;
    case OP_V1_ADD_DEVICE:
        op->in.v1_device.device_id = rpc_text(&values[1]);
        op->in.v1_device.name = rpc_text(&values[2]);
        op->in.v1_device.type = rpc_text(&values[3]);
        return BQ_OK;
    case OP_V1_REMOVE_DEVICE:
        op->in.v1_device.device_id = rpc_text(&values[1]);
        return BQ_OK;
    case OP_POLICY_SET:
        return build_policy(args, op, why);
    case OP_POLICIES:
    case OP_USER_DATA:
    case OP_USER_STATUS:
    case OP_DELETE_ALL:
    case OP_USER_ERASE:
    case OP_MIGRATE:
    case OP_ACCOUNT: /* no function: src/server/auth.c */
    case OP_TABLE:   /* nor these: src/server/table_call.c */
    case OP_V1_WRITE:
    case OP_SEED:
        break;
    }
    return BQ_OK;
}

struct problem rpc_get_writes(struct arena *arena, const struct rpc_function *function)
{
    return problem_of(405, "25006",
                      problem_format(arena, "cannot execute %s in a read-only transaction",
                                     function->verb));
}

bool rpc_prepare(const struct rpc_input *input, const struct jwt_identity *identity,
                 const struct rpc_function **out_function, struct op *op, struct problem *problem)
{
    const struct rpc_function *function;
    struct rpc_args args;
    struct proto_problem why = {0};
    if (!rpc_match(input, &function, &args, problem)) {
        return false;
    }
    memset(op, 0, sizeof *op);
    op->kind = function->kind;
    op->arena = input->arena;
    if (!rpc_convert(input, function, &args, problem) ||
        !find_user(input, identity, function, &args, &op->user, problem)) {
        return false;
    }
    int status = build(function, &args, op, &why);
    if (status != BQ_OK) {
        *problem = problem_of_status(input->arena, status, why.text);
        return false;
    }
    op->user_bytes = identity->is_anonymous ? LIMIT_ANONYMOUS_BYTES : 0;
    if (input->get && !op_only_reads(op)) {
        *problem = rpc_get_writes(input->arena, function);
        return false;
    }
    *out_function = function;
    return true;
}

/* Rows as an array, or the one row as an object. */
static bool answer_rows(const struct op *op, bool singular, struct reply *reply,
                        struct problem *problem)
{
    bool data = op->kind == OP_USER_DATA;
    uint32_t n = data ? op->out.rows.n : op->out.devices.n;
    if (singular && n != 1) {
        *problem = problem_detailed(406, "PGRST116",
                                    "Cannot coerce the result to a single JSON object",
                                    problem_format(op->arena, "The result contains %u rows", n));
        return false;
    }
    if (data) {
        proto_rows_print(&reply->body, op->out.rows.items, n);
    } else {
        proto_devices_print(&reply->body, op->out.devices.items, n);
    }
    if (singular && !reply->body.failed) {
        reply->body.len -= 2; /* the brackets of an array of one */
        memmove(reply->body.ptr, reply->body.ptr + 1, reply->body.len);
        reply->body.ptr[reply->body.len] = '\0';
    }
    reply_range(reply, n);
    return true;
}

static void answer_scalar(const struct op *op, struct reply *reply)
{
    switch (op->kind) {
    case OP_EXCHANGE:
        proto_answer_print(&reply->body, &op->out.answer);
        return;
    case OP_POLICIES:
        json_print(&reply->body, &op->out.policies);
        return;
    case OP_UPSERT:
        proto_upserted_print(&reply->body, &op->out.upserted);
        return;
    case OP_V1_SYNC:
    case OP_V1_ADD_DEVICE:
    case OP_V1_REMOVE_DEVICE:
        buf_add_text(&reply->body, op->out.done ? "true" : "false");
        return;
    case OP_REPORT:
    case OP_USER_DATA:
    case OP_USER_STATUS:
    case OP_METADATA:
    case OP_DELETE_ALL:
    case OP_POLICY_SET:
    case OP_USER_ERASE:
    case OP_MIGRATE:
    case OP_ACCOUNT:
    case OP_TABLE:
    case OP_V1_WRITE:
    case OP_SEED:
        break;
    }
    ASSERT(false); /* no scalar in the table of functions */
}

/* V2 reports what went wrong with an upsert inside a 200; an erased user is an identity error. */
static bool fails_inside(const struct op *op)
{
    return op->kind == OP_UPSERT && op->status != BQ_USER_ERASED && op->status != BQ_FORBIDDEN &&
           status_retry(op->status) == RETRY_NEVER;
}

static void print_failure(const struct op *op, struct buf *out)
{
    struct proto_upserted failure = {.success = false};
    failure.error = slice_of(op->message[0] != '\0' ? op->message : status_text(op->status));
    proto_upserted_print(out, &failure);
}

bool rpc_answer(const struct rpc_function *function, const struct op *op, bool singular,
                struct reply *reply, struct problem *problem)
{
    bool failed = op->status != BQ_OK;
    if (failed && !fails_inside(op)) {
        *problem = problem_of_status(op->arena, op->status, op->message);
        return false;
    }
    reply->http = function->result == RPC_VOID ? 204 : 200;
    reply->content_type = function->result == RPC_VOID ? NULL : singular ? REPLY_OBJECT
                                                                         : REPLY_JSON;
    if (function->result == RPC_ROWS) {
        return answer_rows(op, singular, reply, problem);
    }
    reply_range(reply, 1);
    if (failed) {
        print_failure(op, &reply->body);
    } else if (function->result == RPC_SCALAR) {
        answer_scalar(op, reply);
    }
    return true;
}
