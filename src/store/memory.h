/* memory.h - a store in memory: for the simulator and for tests of what stands on a store. */
#ifndef STORE_MEMORY_H
#define STORE_MEMORY_H

#include "store/store.h"

/* An empty store. epoch is 1 to 32 characters, copied. BQ_OK or BQ_NOMEM. */
int store_memory_open(const char *epoch, uint64_t key0, uint64_t key1, unsigned n_history,
                      struct store **out);

/* A deep copy of the committed state, under its epoch: a backup. */
int store_memory_clone(struct store *store, struct store **out);

/* The next commit() of a writer answers status, and keeps the batch or rolls it back: a commit
 * whose outcome nobody knows. */
void store_memory_fail_commit(struct store *store, int status, bool kept);

#endif
