/* random_json.h - small random documents, changes of them, and policies, from a given generator.
 *
 * Names and scalars come from short lists, so that documents made apart meet often; all texts are
 * literals, the containers lie in the arena. */
#ifndef RANDOM_JSON_H
#define RANDOM_JSON_H

#include "base/rng.h"
#include "merge/merge.h"

/* A value of at most `depth` containers. */
struct json_value random_json(struct rng *rng, struct arena *arena, unsigned depth);

/* An object (also at depth 0, then empty). */
struct json_value random_object(struct rng *rng, struct arena *arena, unsigned depth);

/* A value like another: some members changed, added, removed, moved. Shares what stays. */
struct json_value random_change(struct rng *rng, struct arena *arena,
                                const struct json_value *value);

/* A policy of at most `depth` levels; with an epoch field "e" in one of three map policies. */
const struct merge_policy *random_policy(struct rng *rng, struct arena *arena, unsigned depth);

#endif
