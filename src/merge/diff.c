/* diff.c - the edit from one document to another (docs/merge.md, section 3). */
#include "merge/merge.h"

#include "base/status.h"
#include "merge/place.h"

#define WHOLE_FIRST 8u

struct differ {
    struct arena *arena;
    bool raises; /* the edit raises the epoch: everything is shipped, section 3.5 */
    struct slice *whole;
    uint32_t n_whole;
    uint32_t size_whole;
};

/* The two sides of an edit at one path; absent where one has nothing. */
struct sides {
    struct json_value was;
    struct json_value now;
};

static bool is_object(const struct json_value *value)
{
    return json_is(value, JSON_OBJECT);
}

static bool equal(struct differ *differ, const struct json_value *a, const struct json_value *b)
{
    if (json_is_absent(a) || json_is_absent(b)) {
        return json_is_absent(a) && json_is_absent(b);
    }
    return json_equal(differ->arena, a, b);
}

static struct json_value value_or_absent(const struct json_value *value)
{
    return value == NULL ? json_absent() : *value;
}

static const struct json_value *member_value(const struct json_member *member)
{
    return member == NULL ? NULL : &member->value;
}

/* Puts a path on the edit's list. */
static void list_whole(struct differ *differ, const struct place *place)
{
    if (differ->n_whole == differ->size_whole) {
        uint32_t size = differ->size_whole == 0 ? WHOLE_FIRST : differ->size_whole * 2;
        struct slice *grown = arena_alloc(differ->arena, size * sizeof *grown);
        if (grown == NULL) {
            return;
        }
        if (differ->n_whole > 0) {
            memcpy(grown, differ->whole, differ->n_whole * sizeof *grown);
        }
        differ->whole = grown;
        differ->size_whole = size;
    }
    differ->whole[differ->n_whole++] = place_text(differ->arena, place);
}

static void collect_whole(struct differ *differ, const struct place *place,
                          const struct json_value *base, const struct json_value *mine);

/* A side that is no object has no members. */
static const struct json_value *members_of(const struct json_value *side)
{
    static const struct json_value no_members = {.type = JSON_OBJECT};
    return is_object(side) ? side : &no_members;
}

static void collect_members(struct differ *differ, const struct place *place,
                            const struct json_value *base, const struct json_value *mine)
{
    struct json_finder in_base;
    struct json_finder in_mine;
    json_finder_init(&in_base, base);
    json_finder_init(&in_mine, mine);
    for (uint32_t i = 0; i < mine->count; i++) {
        const struct json_member *member = &mine->members[i];
        struct slice key = json_text(&member->key);
        const struct json_value *old = member_value(json_finder_find(&in_base, differ->arena, key));
        if (differ->raises || !equal(differ, old, &member->value)) {
            struct place inner = place_child(place, key);
            collect_whole(differ, &inner, old, &member->value);
        }
    }
    for (uint32_t i = 0; i < base->count; i++) {
        const struct json_member *member = &base->members[i];
        struct slice key = json_text(&member->key);
        if (json_finder_find(&in_mine, differ->arena, key) == NULL) {
            struct place inner = place_child(place, key);
            collect_whole(differ, &inner, &member->value, NULL);
        }
    }
}

/* Section 3.4: the changed paths at and below one that is shipped in full. */
static void collect_whole(struct differ *differ, const struct place *place,
                          const struct json_value *base, const struct json_value *mine)
{
    if (!place->policy->has_whole || (!is_object(base) && !is_object(mine))) {
        return;
    }
    if (place->policy->kind == MERGE_WHOLE) {
        list_whole(differ, place);
        return;
    }
    collect_members(differ, place, members_of(base), members_of(mine));
}

/* Section 3.3: what is shipped in full, and not walked into. */
static bool is_leaf(const struct differ *differ, const struct place *place,
                    const struct json_value *base, const struct json_value *mine)
{
    return !is_object(base) || !is_object(mine) || place->policy->kind == MERGE_WHOLE ||
           place->in_each || differ->raises;
}

/* Both sides in full. */
static struct sides ship(struct differ *differ, const struct place *place,
                         const struct json_value *base, const struct json_value *mine)
{
    collect_whole(differ, place, base, mine);
    return (struct sides){value_or_absent(base), value_or_absent(mine)};
}

static bool diff_objects(struct differ *differ, const struct place *place,
                         const struct json_value *base, const struct json_value *mine,
                         struct sides *out);

/* Whether anything changed at or below a path; *out is written only then. */
static bool diff_value(struct differ *differ, const struct place *place,
                       const struct json_value *base, const struct json_value *mine,
                       struct sides *out)
{
    if (!is_leaf(differ, place, base, mine)) {
        return diff_objects(differ, place, base, mine, out);
    }
    if (equal(differ, base, mine)) {
        return false;
    }
    *out = ship(differ, place, base, mine);
    return true;
}

/* The two sparse objects under construction, with room for all of base and all of mine. */
struct pair {
    struct json_member *was;
    struct json_member *now;
    uint32_t n_was;
    uint32_t n_now;
    size_t room_was;
    size_t room_now;
};

/* Adds what changed at a key. */
static void add_sides(struct differ *differ, struct pair *pair, const struct json_value *key,
                      const struct sides *sides)
{
    if (pair->was == NULL) {
        pair->was = arena_alloc(differ->arena, pair->room_was * sizeof *pair->was);
        pair->now = arena_alloc(differ->arena, pair->room_now * sizeof *pair->now);
    }
    if (arena_failed(differ->arena)) {
        return;
    }
    if (sides->was.type != JSON_ABSENT) {
        pair->was[pair->n_was++] = (struct json_member){*key, sides->was};
    }
    if (sides->now.type != JSON_ABSENT) {
        pair->now[pair->n_now++] = (struct json_member){*key, sides->now};
    }
}

/* Section 3.2: members of both sides. */
static bool diff_objects(struct differ *differ, const struct place *place,
                         const struct json_value *base, const struct json_value *mine,
                         struct sides *out)
{
    struct pair pair = {.room_was = base->count, .room_now = mine->count};
    struct sides sides;
    struct json_finder in_base;
    struct json_finder in_mine;
    json_finder_init(&in_base, base);
    json_finder_init(&in_mine, mine);
    for (uint32_t i = 0; i < mine->count; i++) {
        const struct json_member *member = &mine->members[i];
        struct place inner = place_child(place, json_text(&member->key));
        const struct json_value *old =
            member_value(json_finder_find(&in_base, differ->arena, inner.key));
        if (diff_value(differ, &inner, old, &member->value, &sides)) {
            add_sides(differ, &pair, &member->key, &sides);
        }
    }
    for (uint32_t i = 0; i < base->count; i++) {
        const struct json_member *member = &base->members[i];
        struct place inner = place_child(place, json_text(&member->key));
        if (json_finder_find(&in_mine, differ->arena, inner.key) == NULL) {
            sides = ship(differ, &inner, &member->value, NULL);
            add_sides(differ, &pair, &member->key, &sides);
        }
    }
    *out = (struct sides){json_object(pair.was, pair.n_was), json_object(pair.now, pair.n_now)};
    return pair.n_was + pair.n_now > 0;
}

/* Section 3.6. */
static void diff_to_nothing(const struct json_value *base, const struct merge_policy *policy,
                            struct merge_edit *out)
{
    out->deletes = true;
    out->epoch = merge_epoch(base, policy);
}

int merge_diff(struct arena *arena, const struct json_value *base, const struct json_value *mine,
               const struct merge_policy *policy, struct merge_edit *out, bool *out_changed)
{
    struct merge_edit edit = {.mode = MERGE_EDIT, .has_epoch = policy->epoch_field.ptr != NULL};
    struct place root = place_root(policy);
    struct differ differ = {
        .arena = arena,
        .raises = merge_epoch(mine, policy) > merge_epoch(base, policy),
    };
    struct sides sides = {json_absent(), json_absent()};
    bool changed = diff_value(&differ, &root, json_is_absent(base) ? NULL : base,
                              json_is_absent(mine) ? NULL : mine, &sides);
    if (arena_failed(arena)) {
        return BQ_NOMEM;
    }
    if (changed && json_is_absent(mine)) {
        diff_to_nothing(base, policy, &edit);
    } else if (changed) {
        edit.was = sides.was;
        edit.now = sides.now;
        edit.epoch = merge_epoch(mine, policy);
        edit.whole = differ.whole;
        edit.n_whole = differ.n_whole;
    }
    *out = edit;
    *out_changed = changed;
    return BQ_OK;
}
