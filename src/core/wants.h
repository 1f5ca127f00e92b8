/* wants.h - what a batch is going to ask the store for, so that it can be read in one trip. */
#ifndef CORE_WANTS_H
#define CORE_WANTS_H

#include "core/op.h"

/* Hands the wants of the ops to the store, in the open transaction. Does nothing where the store
 * has no use for them. */
int wants_prefetch(struct store *store, struct op *const *ops, size_t n);

#endif
