/* target.c - rows into a store, as OP_SEED. */
#include "cli/target.h"

#include <stdio.h>
#include <time.h>

#include "base/status.h"
#include "cli/output.h"
#include "store/memory.h"

static bool is_server(const char *to)
{
    return strncmp(to, "http://", 7) == 0 || strncmp(to, "https://", 8) == 0;
}

/* The commit of a dry run. */
static int forget(struct store *store)
{
    store->rollback(store);
    return BQ_OK;
}

static struct store *store_of(const struct target *target)
{
    return target->memory != NULL ? target->memory : target->operator.opened;
}

static int open_store(struct target *target)
{
    FILE *there = strncmp(target->to, "sqlite:", 7) == 0 ? fopen(target->to + 7, "re") : stdin;
    if (there == NULL && target->dry_run) {
        int status = store_memory_open("0", 1, 2, LIMITS_DEFAULT.history, &target->memory);
        return status == BQ_OK ? CLI_OK : output_fail(target->json, status, "%s",
                                                      status_text(status));
    }
    if (there != NULL && there != stdin) {
        fclose(there);
    }
    target->operator.create = !target->dry_run;
    return operator_open(&target->operator, true);
}

int target_open(struct target *target)
{
    arena_init(&target->policies_arena);
    target->operator= (struct operator){.store = target->to, .json = target->json};
    if (is_server(target->to)) {
        return target_open_server(target);
    }
    int result = open_store(target);
    if (result != CLI_OK) {
        return result;
    }
    struct store *store = store_of(target);
    if (target->dry_run) {
        store->commit = forget;
    }
    int status = op_load_policies(store, &target->policies_arena, &target->policies,
                                  &target->policies_version);
    return status == BQ_OK ? CLI_OK
                           : output_fail(target->json, status,
                                         "the policies of --to cannot be read: %s",
                                         status_text(status));
}

void target_close(struct target *target)
{
    if (target->memory != NULL) {
        target->memory->close(target->memory);
        target->memory = NULL;
    }
    operator_close(&target->operator);
    if (target->remote.curl != NULL) {
        remote_close(&target->remote);
    }
    arena_release(&target->policies_arena);
    buf_release(&target->secret);
    buf_release(&target->token);
    buf_release(&target->body);
    buf_release(&target->answer);
}

/* ---- Taking ---------------------------------------------------------------------------------- */

static void make_op(struct op *op, struct arena *arena, const struct source_row *row)
{
    *op = (struct op){.kind = OP_SEED, .user = row->user, .arena = arena};
    op->in.seed = (struct seed_call){.device_id = source_device(row->kind),
                                     .rows = row->docs,
                                     .n_rows = row->n_docs,
                                     .clock_us = row->clock_us,
                                     .v1_devices = &row->v1_device,
                                     .n_v1_devices = row->has_v1_device ? 1 : 0,
                                     .devices = &row->device,
                                     .n_devices = row->has_device ? 1 : 0};
}

static void take_result(const struct op *op, int status, struct target_result *out)
{
    *out = (struct target_result){.status = status == BQ_OK ? op->status : status};
    out->docs = op->out.seed.results;
    snprintf(out->message, sizeof out->message, "%s",
             status != BQ_OK ? status_text(status) : op->message);
}

/* Whether a failure of a batch may be the doing of one of its rows. */
static bool may_be_one_row(int status)
{
    return status == BQ_CORRUPT || status == BQ_INVALID || status == BQ_MALFORMED;
}

int target_take(struct target *target, struct arena *arena, const struct source_row *rows,
                uint32_t n, struct target_result *results)
{
    if (is_server(target->to)) {
        return target_take_server(target, arena, rows, n, results);
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct op_context context = {.store = store_of(target),
                                 .policies = target->policies,
                                 .policies_version = target->policies_version,
                                 .limits = LIMITS_DEFAULT,
                                 .now_us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000};
    struct op *ops = arena_zalloc(arena, n, sizeof *ops);
    struct op **all = arena_alloc(arena, n * sizeof *all);
    if (ops == NULL || all == NULL) {
        return output_fail(target->json, BQ_NOMEM, "%s", status_text(BQ_NOMEM));
    }
    for (uint32_t i = 0; i < n; i++) {
        make_op(&ops[i], arena, &rows[i]);
        all[i] = &ops[i];
    }
    int status = apply_batch(&context, all, n);
    bool singly = may_be_one_row(status);
    for (uint32_t i = 0; i < n && (status == BQ_OK || singly); i++) {
        int one = BQ_OK;
        if (singly) {
            make_op(&ops[i], arena, &rows[i]);
            one = apply_batch(&context, &all[i], 1);
            status = may_be_one_row(one) ? status : one;
            singly = one == BQ_OK || may_be_one_row(one);
        }
        take_result(&ops[i], one, &results[i]);
    }
    return status == BQ_OK || singly
               ? CLI_OK
               : output_fail(target->json, status,
                             "the store of --to: %s; what was committed stays, and running it "
                             "again goes on",
                             status_text(status));
}
