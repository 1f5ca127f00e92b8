/* operator.c - a store or a server behind the same two questions. */
#include "cli/operator.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/status.h"
#include "cli/input.h"
#include "cli/output.h"
#include "server/auth.h"
#include "store/open.h"

bool operator_is_nowhere(const struct operator *operator)
{
    return operator->store == NULL && operator->url == NULL;
}

const char *operator_sqlite_path(const char *store)
{
    static const char scheme[] = "sqlite:";
    if (strncmp(store, scheme, sizeof scheme - 1) != 0 || store[sizeof scheme - 1] == '\0') {
        struct buf place = BUF_INIT;
        store_place_print(&place, store);
        fprintf(stderr, "bqsync: --store takes sqlite:PATH here, not %.*s\n",
                SLICE_FMT(buf_slice(&place)));
        buf_release(&place);
        return NULL;
    }
    return store + sizeof scheme - 1;
}

const char *operator_place(const struct operator *operator)
{
    return operator->place.failed || operator->place.ptr == NULL ? "" : operator->place.ptr;
}

static int open_store(struct operator *operator, bool writing)
{
    char error[BQ_ERROR_TEXT] = "";
    if (!store_place_is_known(operator->store)) {
        fprintf(stderr, "bqsync: --store takes " STORE_PLACES ", not %s\n",
                operator_place(operator));
        return CLI_USAGE;
    }
    struct store_open_config config = {.size = sizeof config,
                                       .where = operator->store,
                                       .n_history = LIMITS_DEFAULT.history,
                                       .create = operator->create,
                                       .read_only = !writing};
    int status = store_open(&config, &operator->opened, error, sizeof error);
    if (status != BQ_OK) {
        operator->opened = NULL;
        return output_fail(operator->json, status, "%s",
                           error[0] == '\0' ? status_text(status) : error);
    }
    return CLI_OK;
}

int operator_read_token(struct operator *operator)
{
    if (operator->token_file != NULL) {
        int status = input_file(operator->json, operator->token_file, &operator->bearer);
        if (status != BQ_OK) {
            return output_exit(status);
        }
        while (operator->bearer.len > 0 &&
               strchr(" \r\n\t", operator->bearer.ptr[operator->bearer.len - 1]) != NULL) {
            operator->bearer.ptr[--operator->bearer.len] = '\0';
        }
    } else if (operator->token != NULL) {
        buf_add_text(&operator->bearer, operator->token);
    }
    return CLI_OK;
}

int operator_open(struct operator *operator, bool writing)
{
    operator->opened = NULL;
    buf_init(&operator->bearer);
    buf_init(&operator->place);
    if (operator->store != NULL) {
        store_place_print(&operator->place, operator->store);
        return open_store(operator, writing);
    }
    int result = operator_read_token(operator);
    if (result != CLI_OK) {
        return result;
    }
    if (operator->bearer.len == 0) {
        return output_fail(operator->json, BQ_AUTH,
                           "--url wants a token: --token $(bqsync token --role service_role "
                           "--jwt-secret-file FILE)");
    }
    return remote_open(&operator->remote, operator->url, operator->json);
}

void operator_close(struct operator *operator)
{
    if (operator->opened != NULL) {
        operator->opened->close(operator->opened);
        operator->opened = NULL;
    }
    if (operator->remote.curl != NULL) {
        remote_close(&operator->remote);
    }
    buf_release(&operator->bearer);
    buf_release(&operator->place);
}

int operator_make_epoch(bool json, char out[OPERATOR_EPOCH_TEXT + 1])
{
    unsigned char bytes[OPERATOR_EPOCH_TEXT / 2];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes) {
        return output_fail(json, BQ_IO, "the system gives no random bytes (%s)", strerror(errno));
    }
    for (size_t i = 0; i < sizeof bytes; i++) {
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
    }
    return CLI_OK;
}

static struct op_context context_of(struct operator *operator)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (struct op_context){.store = operator->opened,
                               .limits = LIMITS_DEFAULT,
                               .now_us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000};
}

/* Runs one op on the file: reading in a read transaction, writing in one of its own. */
static int run_op(struct operator *operator, struct op *op)
{
    struct op_context context = context_of(operator);
    struct op *ops[1] = {op};
    int status = op_only_reads(op) ? apply_read(&context, op) : apply_batch(&context, ops, 1);
    if (status == BQ_OK) {
        status = op->status;
    }
    if (status != BQ_OK) {
        return output_fail(operator->json, status, "%s: %s", operator_place(operator),
                           op->message[0] == '\0' ? status_text(status) : op->message);
    }
    return CLI_OK;
}

int operator_policies(struct operator *operator, struct arena *arena, struct json_value *out)
{
    if (operator->opened != NULL) {
        struct op op = {.kind = OP_POLICIES, .arena = arena};
        int result = run_op(operator, &op);
        *out = op.out.policies;
        return result;
    }
    struct buf answer = BUF_INIT;
    int result = remote_call(&operator->remote, "sync_policies", buf_slice(&operator->bearer),
                           SLICE("{}"), &answer);
    if (result == CLI_OK) {
        struct slice text = arena_copy(arena, buf_slice(&answer));
        result = output_exit(input_json(operator->json, arena, "the server's answer", text, out));
    }
    buf_release(&answer);
    return result;
}

int operator_set_policy(struct operator *operator, struct arena *arena, const char *pattern,
                        const struct json_value *policy)
{
    if (operator->opened != NULL) {
        struct op op = {.kind = OP_POLICY_SET, .arena = arena};
        op.in.policy_set.pattern = slice_of(pattern);
        op.in.policy_set.policy = *policy;
        return run_op(operator, &op);
    }
    struct buf body = BUF_INIT;
    struct buf answer = BUF_INIT;
    output_begin(&body);
    output_text(&body, "p_pattern", slice_of(pattern));
    output_value(&body, "p_policy", policy);
    output_close(&body);
    int result = remote_call(&operator->remote, "sync_policy_set", buf_slice(&operator->bearer),
                           buf_slice(&body), &answer);
    buf_release(&answer);
    buf_release(&body);
    return result;
}

/* ---- Accounts -------------------------------------------------------------------------------- */

/* What the server's threads do for a call, one after the other; the answer stands in *reply. */
static int run_account(struct operator *operator, const struct auth_request *in,
                       struct reply *reply)
{
    struct op_context context = context_of(operator);
    struct auth_call call = {.owner = operator};
    struct op op = {.kind = OP_ACCOUNT};
    struct op *ops[1] = {&op};
    enum auth_step step = auth_begin(&call, in, &op);
    while (step != AUTH_ANSWER) {
        int status = BQ_OK;
        if (step == AUTH_HASH) {
            password_run(&call.password);
        } else {
            status = step == AUTH_READ ? apply_read(&context, &op) : apply_batch(&context, ops, 1);
        }
        step = auth_next(&call, status);
    }
    auth_answer(&call, reply);
    if (call.error.http == 0) {
        return CLI_OK;
    }
    int status = call.error.http == 404   ? BQ_NOT_FOUND
                 : call.error.http == 503 ? BQ_IO
                                          : BQ_INVALID;
    return output_fail(operator->json, status, "%s: %s", operator_place(operator),
                       call.error.message);
}

static int ask_store(struct operator *operator, struct arena *arena,
                     const struct remote_request *request, struct buf *answer)
{
    static const char prefix[] = "/auth/v1/";
    const struct auth auth = {.allows_sign_up = true};
    const struct head head = {.api_version = SLICE("2024-01-01")};
    struct reply reply = {.body = BUF_INIT};
    struct timespec now;
    struct uri uri;
    int status = uri_read(arena, slice_of(request->path), &uri);
    if (status != BQ_OK) {
        return output_fail(operator->json, status, "%s", status_text(status));
    }
    clock_gettime(CLOCK_REALTIME, &now);
    const struct auth_request in = {
        .auth = &auth,
        .arena = arena,
        .method = request->method,
        .path = {uri.path.ptr + sizeof prefix - 1, uri.path.len - (sizeof prefix - 1)},
        .uri = &uri,
        .head = &head,
        .body = request->body,
        .key_role = ROLE_SERVICE,
        .now_us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000,
    };
    int result = run_account(operator, &in, &reply);
    buf_add_slice(answer, buf_slice(&reply.body));
    buf_release(&reply.body);
    return result;
}

int operator_accounts(struct operator *operator, struct arena *arena,
                      const struct remote_request *request, struct json_value *out)
{
    struct buf answer = BUF_INIT;
    int result = operator->opened != NULL
                     ? ask_store(operator, arena, request, &answer)
                     : remote_request(&operator->remote, request, buf_slice(&operator->bearer),
                                      &answer);
    if (result == CLI_OK) {
        struct slice text = arena_copy(arena, buf_slice(&answer));
        result = output_exit(input_json(operator->json, arena, "the server's answer", text, out));
    }
    buf_release(&answer);
    return result;
}

int operator_erase(struct operator *operator, struct arena *arena, const struct uuid *user)
{
    struct buf body = BUF_INIT;
    struct buf answer = BUF_INIT;
    if (operator->opened != NULL) {
        struct op op = {.kind = OP_USER_ERASE, .arena = arena, .user = *user};
        return run_op(operator, &op);
    }
    output_begin(&body);
    output_text(&body, "p_user_id", uuid_slice(user));
    output_close(&body);
    int result = remote_call(&operator->remote, "sync_user_erase", buf_slice(&operator->bearer),
                             buf_slice(&body), &answer);
    buf_release(&answer);
    buf_release(&body);
    return result;
}
