/* apply.c - apply_batch: many ops, one transaction, one sync. */
#include "core/apply.h"

#include "base/plant.h"
#include "base/status.h"
#include "core/wants.h"

#include <stdarg.h>
#include <stdio.h>

int op_refuse(struct op *op, int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    op->status = status;
    (void)vsnprintf(op->message, sizeof op->message, format, args);
    va_end(args);
    return BQ_OK;
}

bool op_only_reads(const struct op *op)
{
    switch (op->kind) {
    case OP_EXCHANGE:
        return op->in.exchange.n_edits == 0;
    case OP_ACCOUNT:
        return account_only_reads(op->in.account.verb);
    case OP_POLICIES:
    case OP_MIGRATE:
    case OP_USER_DATA:
    case OP_USER_STATUS:
    case OP_TABLE:
        return true;
    case OP_REPORT:
    case OP_UPSERT:
    case OP_METADATA:
    case OP_DELETE_ALL:
    case OP_V1_SYNC:
    case OP_V1_ADD_DEVICE:
    case OP_V1_REMOVE_DEVICE:
    case OP_V1_WRITE:
    case OP_SEED:
    case OP_POLICY_SET:
    case OP_USER_ERASE:
        break;
    }
    return false;
}

static int run(struct op_context *context, struct op *op)
{
    switch (op->kind) {
    case OP_EXCHANGE:
        return run_exchange(context, op);
    case OP_REPORT:
        return run_report(context, op);
    case OP_POLICIES:
        return run_policies(context, op);
    case OP_UPSERT:
        return run_upsert(context, op);
    case OP_USER_DATA:
        return run_user_data(context, op);
    case OP_USER_STATUS:
        return run_user_status(context, op);
    case OP_METADATA:
        return run_metadata(context, op);
    case OP_DELETE_ALL:
        return run_delete_all(context, op);
    case OP_V1_SYNC:
        return run_v1_sync(context, op);
    case OP_V1_ADD_DEVICE:
    case OP_V1_REMOVE_DEVICE:
        return run_v1_device(context, op);
    case OP_MIGRATE:
        return BQ_OK;
    case OP_POLICY_SET:
        return run_policy_set(context, op);
    case OP_USER_ERASE:
        return run_user_erase(context, op);
    case OP_ACCOUNT:
        return run_account(context, op);
    case OP_TABLE:
        return run_table(context, op);
    case OP_V1_WRITE:
        return run_v1_write(context, op);
    case OP_SEED:
        return run_seed(context, op);
    }
    return BQ_INVALID;
}

static int run_fresh(struct op_context *context, struct op *op, bool may_write)
{
    op->status = BQ_OK;
    op->message[0] = '\0';
    op->wrote = false;
    op->changes = NULL;
    op->last_change = NULL;
    op->device = NULL;
    op->may_write = may_write;
    int status = run(context, op);
    if (status == BQ_OK && arena_failed(op->arena)) {
        status = BQ_NOMEM;
    }
    if (op->status != BQ_OK && op->message[0] == '\0') {
        (void)op_refuse(op, op->status, "%s", status_text(op->status));
    }
    return status;
}

/* Reads ahead. BQ_NEWER where the policies of the context are not the store's any more. */
static int prepare(const struct op_context *context, struct op *const *ops, size_t n)
{
    struct store *store = context->store;
    int64_t version;
    int status = wants_prefetch(store, ops, n);
    bool changed = status == BQ_OK && context->policies != NULL && store->policies_now != NULL &&
                   store->policies_now(store, &version) && version != context->policies_version;
    return changed ? BQ_NEWER : status;
}

int apply_batch(struct op_context *context, struct op *const *ops, size_t n)
{
    struct store *store = context->store;
    int status = store->begin(store);
    if (status != BQ_OK) {
        return status;
    }
    status = prepare(context, ops, n);
    for (size_t i = 0; i < n && status == BQ_OK; i++) {
        status = run_fresh(context, ops[i], true);
        if (PLANTED(BATCH_IN_TWO) && status == BQ_OK && i == 0) {
            status = store->commit(store);
            status = status == BQ_OK ? store->begin(store) : status;
        }
    }
    if (status != BQ_OK) {
        store->rollback(store);
        return status;
    }
    return store->commit(store);
}

int apply_read(struct op_context *context, struct op *op)
{
    struct store *store = context->store;
    int status = store->begin(store);
    if (status == BQ_OK) {
        status = prepare(context, &op, 1);
        status = status == BQ_OK ? run_fresh(context, op, false) : status;
        store->rollback(store);
    }
    return status;
}
