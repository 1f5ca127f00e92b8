/* commit.h - what a committer decides: which ops share a transaction, what becomes of a batch that
 * failed, and when the world may hear of it.
 *
 * One rule above all: no answer and no word to the hub before the commit answered BQ_OK. Where a
 * batch fails and one op may be at fault its ops run one by one, so that a poisoned one does not
 * take the others with it.
 *
 * Pure: the transaction, the answers and the hub are the caller's. The server's committer thread
 * and the simulator run the same decisions. */
#ifndef CORE_COMMIT_H
#define CORE_COMMIT_H

#include "core/op.h"

struct commit_world {
    size_t size; /* sizeof(struct commit_world) */
    void *cls;
    /* One transaction, as apply_batch(). */
    int (*write)(void *cls, struct op *const *ops, size_t n);
    /* Whether the store takes another transaction now. */
    bool (*usable)(void *cls);
    /* The batch failed; so many of its ops run alone now. Before any answer. NULL: nobody asks. */
    void (*failed)(void *cls, int status, size_t n_singles);
    /* The feed of this user moved to seq, and that is committed. NULL: there is no hub. */
    void (*publish)(void *cls, const struct uuid *user, int64_t seq);
    /* The answer of op number i may leave. BQ_OK: committed, and the op's own status tells the
     * rest; else nothing of it is known to be kept. The op may be gone when this returns. */
    void (*answer)(void *cls, size_t i, int status);
};

/* How many of the ops that wait share the next transaction. */
size_t commit_take(size_t n_waiting, size_t most);

/* Runs a batch to its end: write, publish, answer. statuses is scratch for n. */
void commit_run(const struct commit_world *world, struct op *const *ops, int *statuses, size_t n);

#endif
