/* arena.h - memory that is given back all at once.
 *
 * One arena serves one request or one step, and belongs to one thread. Blocks never move and are
 * aligned to 16 bytes. When the heap is exhausted the arena is *poisoned*: this and every later
 * arena_alloc() answers NULL until arena_reset(), so code of many small allocations may check
 * arena_failed() once, at its end, before it uses what it built.
 *
 * Invariant: chunks are chained newest first; `used` counts in the newest. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>

struct arena_chunk;

struct arena {
    struct arena_chunk *newest;
    size_t used;
    bool failed;
};

/* An empty arena; takes nothing from the heap yet. */
void arena_init(struct arena *arena);

/* Gives back all memory; the arena is as after arena_init(). */
void arena_release(struct arena *arena);

/* Forgets all blocks but keeps the largest chunk for what comes; heals a poisoned arena. */
void arena_reset(struct arena *arena);

/* size bytes, not cleared; NULL when the arena is or becomes poisoned. size 0 gives a valid ptr. */
void *arena_alloc(struct arena *arena, size_t size);

/* count x size bytes, cleared. */
void *arena_zalloc(struct arena *arena, size_t count, size_t size);

/* A copy of the bytes of text, NUL behind them; SLICE_NONE when poisoned. */
struct slice arena_copy(struct arena *arena, struct slice text);

/* Whether an allocation failed since the last reset. */
static inline bool arena_failed(const struct arena *arena)
{
    return arena->failed;
}

#endif
