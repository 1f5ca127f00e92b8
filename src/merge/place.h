/* place.h - where in a document a walk stands: a chain of frames on the C stack, root last.
 *
 * A path becomes text only where somebody wants to read it, so walking costs nothing per byte of a
 * long key. */
#ifndef MERGE_PLACE_H
#define MERGE_PLACE_H

#include "merge/policy.h"

struct place {
    const struct place *up; /* NULL at the root */
    struct slice key;
    const struct merge_policy *policy;
    bool in_each; /* a member of an `each` map */
};

struct place place_root(const struct merge_policy *policy);
struct place place_child(const struct place *up, struct slice key);

/* The JSON Pointer (RFC 6901) of a place; SLICE_NONE when memory is exhausted. */
struct slice place_text(struct arena *arena, const struct place *place);

/* The bytes that a key adds to a pointer. */
size_t place_part_size(struct slice key);

#endif
