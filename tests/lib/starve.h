/* starve.h - runs a call with memory that ends at every place where it can end.
 *
 * An arena asks the heap only when its chunk is full, so failing the n-th allocation alone
 * reaches few places: the chunk is filled beforehand, a little more each time, until its end has
 * been everywhere. */
#ifndef STARVE_H
#define STARVE_H

#include "base/arena.h"
#include "base/mem.h"
#include "base/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define STARVE_CHUNK 4096u
#define STARVE_STEP 16u

/* What is tried: answers a status; on BQ_NOMEM nothing may have been written to its results. */
typedef int starve_call(struct arena *arena, void *state);

static inline int starve_once(starve_call *call, void *state, size_t fill, uint64_t nth)
{
    struct arena arena;
    arena_init(&arena);
    assert_non_null(arena_alloc(&arena, fill));
    mem_fail_at(nth, 1);
    int status = call(&arena, state);
    mem_fail_at(0, 0);
    arena_release(&arena);
    assert_true(status == BQ_OK || status == BQ_NOMEM);
    return status;
}

/* Starves the call everywhere; it has to succeed at last and to have failed at least once. */
static inline void starve(starve_call *call, void *state)
{
    unsigned n_failed = 0;
    for (uint64_t nth = 1; nth <= 4; nth++) {
        for (size_t fill = 0; fill <= STARVE_CHUNK; fill += STARVE_STEP) {
            n_failed += starve_once(call, state, fill, nth) == BQ_NOMEM ? 1 : 0;
        }
    }
    assert_true(n_failed > 0);
    assert_int_equal(starve_once(call, state, 0, 0), BQ_OK);
}

#endif
