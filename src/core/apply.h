/* apply.h - the runners of the kinds of ops; private to the server's half of src/core.
 *
 * Each reads op->in, writes op->out and op->status, and answers BQ_OK also where it refused:
 * anything else is a failure of the store (or of memory) and fails the batch. */
#ifndef CORE_APPLY_H
#define CORE_APPLY_H

#include "core/doc.h"

int run_exchange(struct op_context *context, struct op *op);
int run_upsert(struct op_context *context, struct op *op);
int run_v1_sync(struct op_context *context, struct op *op);
int run_v1_device(struct op_context *context, struct op *op);
int run_user_data(struct op_context *context, struct op *op);
int run_user_status(struct op_context *context, struct op *op);
int run_metadata(struct op_context *context, struct op *op);
int run_report(struct op_context *context, struct op *op);
int run_delete_all(struct op_context *context, struct op *op);
int run_policies(struct op_context *context, struct op *op);
int run_policy_set(struct op_context *context, struct op *op);
int run_user_erase(struct op_context *context, struct op *op);
int run_account(struct op_context *context, struct op *op);
int run_table(struct op_context *context, struct op *op);
int run_v1_write(struct op_context *context, struct op *op);
int run_seed(struct op_context *context, struct op *op);

/* All documents of a user, tombstones among them: what the v1 row is made of. */
int op_v1_row(struct op_context *context, struct op *op, struct op_user_rows *out);

/* Refuses the op: its status and sentence. Answers BQ_OK. */
int op_refuse(struct op *op, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
