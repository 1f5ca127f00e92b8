/* leaf.c - the leaf policies (docs/merge.md, section 6). Rules 1 to 5 came before: here was, now
 * and theirs differ from each other, sums excepted. */
#include "merge/walk.h"

#include "base/plant.h"
#include "base/status.h"
#include "json/decimal.h"

static bool is_bool(const struct json_value *value)
{
    return json_is(value, JSON_TRUE) || json_is(value, JSON_FALSE);
}

/* Section 7: a seed does not know what it was made from, so what is there stays. */
static const struct json_value *theirs_if_present(const struct walk_at *at)
{
    return at->theirs != NULL ? at->theirs : at->now;
}

/* Section 6.1; also of each and fields where something is no object. */
static const struct json_value *incoming(struct walk *walk, const struct walk_at *at)
{
    if (PLANTED(TIE_BREAK_REVERSED)) {
        return theirs_if_present(at);
    }
    return walk->mode == MERGE_SEED ? theirs_if_present(at) : at->now;
}

/* Section 6.2. */
static const struct json_value *whole(struct walk *walk, const struct walk_at *at)
{
    return walk->mode == MERGE_EDIT ? at->now : theirs_if_present(at);
}

/* Section 6.3. */
static const struct json_value *keep(struct walk *walk, const struct walk_at *at)
{
    return walk->mode == MERGE_EDIT ? at->theirs : theirs_if_present(at);
}

/* Sections 6.4 and 6.5; sign is 1 for the larger, -1 for the smaller. */
static const struct json_value *extreme(const struct walk_at *at, int sign)
{
    if (at->now == NULL || at->theirs == NULL) {
        return at->now == NULL ? at->theirs : at->now;
    }
    bool number_now = at->now->type == JSON_NUMBER;
    bool number_theirs = at->theirs->type == JSON_NUMBER;
    if (number_now && number_theirs) {
        return decimal_compare(at->now, at->theirs) * sign > 0 ? at->now : at->theirs;
    }
    return number_theirs ? at->theirs : at->now;
}

static bool counts(const struct json_value *value)
{
    return value == NULL || value->type == JSON_NUMBER;
}

/* Section 6.6. */
static const struct json_value *sum(struct walk *walk, const struct walk_at *at)
{
    if (walk->mode != MERGE_EDIT) {
        return extreme(at, 1);
    }
    if (at->now == NULL) {
        return at->theirs;
    }
    if (!counts(at->was) || !counts(at->now) || !counts(at->theirs) || PLANTED(SUM_AS_ABSOLUTE)) {
        return at->now;
    }
    struct json_value *result = arena_alloc(walk->arena, sizeof *result);
    if (result == NULL) {
        return NULL;
    }
    int status = decimal_sum(walk->arena, at->theirs, at->now, at->was, result);
    if (status != BQ_OK) {
        walk->status = status;
    }
    return status == BQ_OK ? result : at->theirs;
}

/* Section 6.7. */
static const struct json_value *either(const struct walk_at *at, enum json_type winner)
{
    if (at->now == NULL || at->theirs == NULL) {
        return at->now == NULL ? at->theirs : at->now;
    }
    bool stays = is_bool(at->now) && is_bool(at->theirs) && at->theirs->type == winner;
    return stays ? at->theirs : at->now;
}

/* Section 6.8. */
static const struct json_value *merge_union(struct walk *walk, const struct walk_at *at)
{
    if (at->now == NULL || at->theirs == NULL) {
        return at->now == NULL ? at->theirs : at->now;
    }
    if (at->now->type != JSON_ARRAY || at->theirs->type != JSON_ARRAY) {
        return at->now;
    }
    return leaf_union(walk->arena, at->was, at->now, at->theirs);
}

static const struct json_value *largest(struct walk *walk, const struct walk_at *at)
{
    (void)walk;
    return extreme(at, 1);
}

static const struct json_value *smallest(struct walk *walk, const struct walk_at *at)
{
    (void)walk;
    return extreme(at, -1);
}

static const struct json_value *any(struct walk *walk, const struct walk_at *at)
{
    (void)walk;
    return either(at, JSON_TRUE);
}

static const struct json_value *all(struct walk *walk, const struct walk_at *at)
{
    (void)walk;
    return either(at, JSON_FALSE);
}

const struct json_value *leaf_merge(struct walk *walk, const struct walk_at *at)
{
    static const struct json_value *(*const leaves[])(struct walk *, const struct walk_at *) = {
        [MERGE_INCOMING] = incoming, [MERGE_WHOLE] = whole,     [MERGE_KEEP] = keep,
        [MERGE_MAX] = largest,       [MERGE_MIN] = smallest,    [MERGE_SUM] = sum,
        [MERGE_UNION] = merge_union, [MERGE_ANY] = any,         [MERGE_ALL] = all,
        [MERGE_EACH] = incoming,     [MERGE_FIELDS] = incoming,
    };
    return leaves[at->place.policy->kind](walk, at);
}
