/* walk.h - what the parts of apply share: the state of one merge, and a place in it. */
#ifndef MERGE_WALK_H
#define MERGE_WALK_H

#include "merge/merge.h"
#include "merge/place.h"
#include "merge/whole.h"

/* In the walk an absent value is NULL, so that "the result is theirs" is a comparison of
 * pointers. */
struct walk {
    struct arena *arena;
    enum merge_mode mode;
    bool exact;   /* trying section 4.1: each `was` has to equal theirs */
    bool differs; /* in an exact walk: one did not */
    int status;   /* BQ_OK or BQ_OUT_OF_RANGE */
    struct merge_trace *trace;
};

/* One path of an edit with its three values. */
struct walk_at {
    struct place place;
    struct whole_range whole;
    const struct json_value *was;
    const struct json_value *now;
    const struct json_value *theirs;
};

/* Merges at and below a path; the result, NULL for absent. Results are inputs or in the arena.
 * When memory runs out the arena is poisoned and the result means nothing. */
const struct json_value *walk_value(struct walk *walk, const struct walk_at *at);

/* Section 5.6: what the policy says of a leaf. */
const struct json_value *leaf_merge(struct walk *walk, const struct walk_at *at);

/* Section 6.8: the union of arrays. */
const struct json_value *leaf_union(struct arena *arena, const struct json_value *was,
                                    const struct json_value *now, const struct json_value *theirs);

/* Notes a decision where somebody asked for an explanation. */
void walk_explain(struct walk *walk, const struct walk_at *at, const char *rule,
                  const struct json_value *result);

#endif
