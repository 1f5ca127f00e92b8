/* whole.h - the paths that an edit lists in `whole`, narrowed while the merge walks down.
 *
 * The pointers are sorted so that those below one path stand together; a step down is two binary
 * searches that look at the new key alone. Nothing here is quadratic in what a peer sends. */
#ifndef MERGE_WHOLE_H
#define MERGE_WHOLE_H

#include "base/arena.h"
#include "base/slice.h"

#include <stdint.h>

struct sort_item;

/* The pointers at and below a path; its own, if listed, comes first. */
struct whole_range {
    const struct sort_item *pointers; /* of struct slice */
    uint32_t count;
    size_t offset; /* length of the path as a pointer */
};

/* The range of the root. False when memory is exhausted. */
bool whole_begin(struct arena *arena, const struct slice *pointers, uint32_t count,
                 struct whole_range *out);

/* The range of a member. */
struct whole_range whole_child(const struct whole_range *range, struct slice key);

/* Whether the path itself is listed. */
bool whole_lists(const struct whole_range *range);

#endif
