/* sums.c - an edit without its counters, and its counters alone (docs/merge.md, section 11).
 *
 * A client that was restored from a backup does not know which of its counts the server has; a
 * guest that signs in merges as a seed, but its counts are added. */
#include "merge/merge.h"

#include "base/status.h"
#include "merge/place.h"

struct filter {
    struct arena *arena;
    bool wants_sums; /* keep the counters, or everything else */
    bool dropped;    /* something was left out */
};

struct sides {
    struct json_value was;
    struct json_value now;
};

struct pair {
    struct json_member *was;
    struct json_member *now;
    uint32_t n_was;
    uint32_t n_now;
};

static bool is_object(const struct json_value *value)
{
    return json_is(value, JSON_OBJECT);
}

static bool is_empty(const struct json_value *value)
{
    return value->type == JSON_ABSENT || (value->type == JSON_OBJECT && value->count == 0);
}

static struct json_value value_of(const struct json_member *member)
{
    return member == NULL ? json_absent() : member->value;
}

static bool filter_value(struct filter *filter, const struct place *place, struct sides *sides);

/* Keeps what is left of a member. */
static void filter_member(struct filter *filter, const struct place *up, struct pair *pair,
                          const struct json_member *was, const struct json_member *now)
{
    const struct json_value *key = now != NULL ? &now->key : &was->key;
    struct place place = place_child(up, json_text(key));
    struct sides sides = {value_of(was), value_of(now)};
    if (!filter_value(filter, &place, &sides)) {
        return;
    }
    if (sides.was.type != JSON_ABSENT) {
        pair->was[pair->n_was++] = (struct json_member){*key, sides.was};
    }
    if (sides.now.type != JSON_ABSENT) {
        pair->now[pair->n_now++] = (struct json_member){*key, sides.now};
    }
}

static void filter_members(struct filter *filter, const struct place *place, struct pair *pair,
                           const struct sides *sides)
{
    struct json_finder in_was;
    struct json_finder in_now;
    json_finder_init(&in_was, &sides->was);
    json_finder_init(&in_now, &sides->now);
    for (uint32_t i = 0; is_object(&sides->now) && i < sides->now.count; i++) {
        const struct json_member *now = &sides->now.members[i];
        filter_member(filter, place, pair,
                      json_finder_find(&in_was, filter->arena, json_text(&now->key)), now);
    }
    for (uint32_t i = 0; is_object(&sides->was) && i < sides->was.count; i++) {
        const struct json_member *was = &sides->was.members[i];
        if (json_finder_find(&in_now, filter->arena, json_text(&was->key)) == NULL) {
            filter_member(filter, place, pair, was, NULL);
        }
    }
}

/* The objects on either side with what is left of their members. */
static bool filter_objects(struct filter *filter, const struct place *place, struct sides *sides)
{
    size_t room_was = is_object(&sides->was) ? sides->was.count : 0;
    size_t room_now = is_object(&sides->now) ? sides->now.count : 0;
    struct pair pair = {.was = arena_alloc(filter->arena, room_was * sizeof *pair.was),
                        .now = arena_alloc(filter->arena, room_now * sizeof *pair.now)};
    if (arena_failed(filter->arena)) {
        return false;
    }
    bool outer = filter->dropped;
    filter->dropped = false;
    filter_members(filter, place, &pair, sides);
    bool dropped = filter->dropped;
    filter->dropped = outer || dropped;
    if (is_object(&sides->was)) {
        sides->was = json_object(pair.was, pair.n_was);
    }
    if (is_object(&sides->now)) {
        sides->now = json_object(pair.now, pair.n_now);
    }
    bool nothing = is_empty(&sides->was) && is_empty(&sides->now);
    bool left = !nothing || (!dropped && !filter->wants_sums);
    return left && !json_equal(filter->arena, &sides->was, &sides->now);
}

/* Whether something is left of a path; *sides is it. */
static bool filter_value(struct filter *filter, const struct place *place, struct sides *sides)
{
    bool both = is_object(&sides->was) && is_object(&sides->now);
    bool is_sum = place->policy->kind == MERGE_SUM && !both;
    bool any = is_object(&sides->was) || is_object(&sides->now);
    if (place->policy->has_sum && !is_sum && any) {
        return filter_objects(filter, place, sides);
    }
    bool stays = is_sum == filter->wants_sums;
    filter->dropped = filter->dropped || !stays;
    return stays;
}

static int filter_edit(struct arena *arena, const struct merge_edit *edit,
                       const struct merge_policy *policy, bool wants_sums, struct merge_edit *out,
                       bool *out_empty)
{
    struct filter filter = {.arena = arena, .wants_sums = wants_sums};
    struct place root = place_root(policy);
    struct sides sides = {edit->was, edit->now};
    struct merge_edit result = *edit;
    bool left = edit->deletes ? !wants_sums : filter_value(&filter, &root, &sides);
    if (arena_failed(arena)) {
        return BQ_NOMEM;
    }
    if (!edit->deletes) {
        result.was = left ? sides.was : json_absent();
        result.now = left ? sides.now : json_absent();
    }
    *out = result;
    *out_empty = !left;
    return BQ_OK;
}

int merge_without_sums(struct arena *arena, const struct merge_edit *edit,
                       const struct merge_policy *policy, struct merge_edit *out, bool *out_empty)
{
    return filter_edit(arena, edit, policy, false, out, out_empty);
}

/* Section 11.2: an edit that raises the epoch counts from nothing; without its epoch field that has
 * to be written out. */
int merge_only_sums(struct arena *arena, const struct merge_edit *edit,
                    const struct merge_policy *policy, struct merge_edit *out, bool *out_empty)
{
    struct merge_edit counted = *edit;
    counted.whole = NULL;
    counted.n_whole = 0;
    if (edit->has_epoch && merge_epoch(&edit->now, policy) > merge_epoch(&edit->was, policy)) {
        counted.was = json_object(NULL, 0);
    }
    return filter_edit(arena, &counted, policy, true, out, out_empty);
}
