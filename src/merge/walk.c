/* walk.c - the walk over the paths of an edit (docs/merge.md, section 5).
 *
 * One function serves both ways to apply: the exact one (section 4.1), which stops being of use at
 * the first `was` that theirs does not have, and the merge by rules 1 to 6. */
#include "merge/walk.h"

/* A copy of theirs' members, made at the first change. */
struct builder {
    const struct json_value *theirs; /* an object, or NULL: read as {} */
    struct json_member *members;
    uint32_t count;
    uint32_t room; /* for members that theirs does not have */
    bool removes;
};

static bool equal(struct walk *walk, const struct json_value *a, const struct json_value *b)
{
    if (a == NULL || b == NULL) {
        return a == b;
    }
    return json_equal(walk->arena, a, b);
}

static bool is_object(const struct json_value *value)
{
    return json_is(value, JSON_OBJECT);
}

static bool begin_copy(struct walk *walk, struct builder *builder)
{
    uint32_t count = builder->theirs == NULL ? 0 : builder->theirs->count;
    builder->members =
        arena_alloc(walk->arena, ((size_t)count + builder->room) * sizeof *builder->members);
    if (builder->members == NULL) {
        return false;
    }
    if (count > 0) {
        memcpy(builder->members, builder->theirs->members, count * sizeof *builder->members);
    }
    builder->count = count;
    return true;
}

/* Puts the result of one member into the object; theirs' members keep their places. */
static void put_member(struct walk *walk, struct builder *builder, const struct json_value *key,
                       const struct json_member *theirs, const struct json_value *result)
{
    if (result == (theirs == NULL ? NULL : &theirs->value)) {
        return;
    }
    if (builder->members == NULL && !begin_copy(walk, builder)) {
        return;
    }
    struct json_value value = result == NULL ? json_absent() : *result;
    if (theirs != NULL) {
        builder->members[theirs - builder->theirs->members].value = value;
        builder->removes = builder->removes || result == NULL;
    } else {
        builder->members[builder->count++] = (struct json_member){*key, value};
    }
}

static void close_gaps(struct builder *builder)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < builder->count; i++) {
        if (builder->members[i].value.type != JSON_ABSENT) {
            builder->members[kept++] = builder->members[i];
        }
    }
    builder->count = kept;
}

/* The object that was built; theirs itself where nothing changed. */
static const struct json_value *finish(struct walk *walk, struct builder *builder)
{
    if (builder->removes) {
        close_gaps(builder);
    }
    if (builder->members == NULL && builder->theirs != NULL) {
        return builder->theirs;
    }
    struct json_value *object = arena_alloc(walk->arena, sizeof *object);
    if (object != NULL) {
        *object = json_object(builder->members, builder->count);
    }
    return object;
}

/* Merges one member that the edit names. */
static void walk_member(struct walk *walk, const struct walk_at *up, struct builder *builder,
                        const struct json_member *was, const struct json_member *now,
                        const struct json_member *theirs)
{
    const struct json_value *key = now != NULL ? &now->key : &was->key;
    struct walk_at at = {
        .place = place_child(&up->place, json_text(key)),
        .whole = whole_child(&up->whole, json_text(key)),
        .was = was == NULL ? NULL : &was->value,
        .now = now == NULL ? NULL : &now->value,
        .theirs = theirs == NULL ? NULL : &theirs->value,
    };
    put_member(walk, builder, key, theirs, walk_value(walk, &at));
}

/* Section 5.3: per member of now and was, with the member's policy. */
static const struct json_value *walk_members(struct walk *walk, const struct walk_at *at)
{
    struct builder builder = {.theirs = is_object(at->theirs) ? at->theirs : NULL,
                              .room = at->now == NULL ? 0 : at->now->count};
    struct json_finder in_was;
    struct json_finder in_now;
    struct json_finder in_theirs;
    json_finder_init(&in_was, at->was);
    json_finder_init(&in_now, at->now);
    json_finder_init(&in_theirs, at->theirs);
    for (uint32_t i = 0; at->now != NULL && i < at->now->count; i++) {
        const struct json_member *now = &at->now->members[i];
        struct slice key = json_text(&now->key);
        walk_member(walk, at, &builder, json_finder_find(&in_was, walk->arena, key), now,
                    json_finder_find(&in_theirs, walk->arena, key));
    }
    for (uint32_t i = 0; at->was != NULL && i < at->was->count; i++) {
        const struct json_member *was = &at->was->members[i];
        struct slice key = json_text(&was->key);
        if (json_finder_find(&in_now, walk->arena, key) == NULL) {
            walk_member(walk, at, &builder, was, NULL,
                        json_finder_find(&in_theirs, walk->arena, key));
        }
    }
    const struct json_value *result = finish(walk, &builder);
    bool emptied = at->now == NULL && result != NULL && result->count == 0;
    return emptied ? NULL : result;
}

/* Section 5.3: an object that is replaced as one. */
static bool is_whole(const struct walk_at *at)
{
    return at->place.policy->kind == MERGE_WHOLE && whole_lists(&at->whole);
}

/* Section 4.1: each `was` equals theirs, so the result is what the client has. */
static const struct json_value *walk_exact(struct walk *walk, const struct walk_at *at)
{
    bool both = is_object(at->was) && is_object(at->now) && !is_whole(at);
    if (both && is_object(at->theirs) && !walk->differs) {
        return walk_members(walk, at);
    }
    if (both || walk->differs || !equal(walk, at->was, at->theirs)) {
        walk->differs = true;
        return at->theirs;
    }
    const struct json_value *result = equal(walk, at->was, at->now) ? at->theirs : at->now;
    walk_explain(walk, at, "applied", result);
    return result;
}

/* Section 5.2: in a map, whoever changed a member keeps it from whoever removed it. */
static bool update_beats_removal(struct walk *walk, const struct walk_at *at)
{
    if (!at->place.in_each || at->was == NULL || (at->now == NULL) == (at->theirs == NULL)) {
        return false;
    }
    return !equal(walk, at->now == NULL ? at->theirs : at->now, at->was);
}

/* Rules 4 to 6. */
static const struct json_value *walk_leaf(struct walk *walk, const struct walk_at *at)
{
    if (equal(walk, at->theirs, at->was)) {
        walk_explain(walk, at, "4", at->now);
        return at->now;
    }
    bool is_sum = at->place.policy->kind == MERGE_SUM;
    if (!is_sum && equal(walk, at->theirs, at->now)) {
        walk_explain(walk, at, "5", at->theirs);
        return at->theirs;
    }
    const struct json_value *result = leaf_merge(walk, at);
    if (is_sum && equal(walk, at->theirs, result)) {
        result = at->theirs; /* no rule 5 saw to it that what is equal stays as it is written */
    }
    walk_explain(walk, at, "6", result);
    return result;
}

/* Rules 1 to 6 in their order. Rule 1 of three objects is left to their members: it comes to the
 * same, and a tree is not compared again at each of its levels. */
static const struct json_value *walk_rules(struct walk *walk, const struct walk_at *at)
{
    bool both = is_object(at->was) && is_object(at->now);
    bool half = (is_object(at->was) && at->now == NULL) || (at->was == NULL && is_object(at->now));
    bool is_leaf = is_whole(at) || !(both || half);
    bool three = both && !is_leaf && is_object(at->theirs);
    if (!three && equal(walk, at->was, at->now)) {
        walk_explain(walk, at, "1", at->theirs);
        return at->theirs;
    }
    if (update_beats_removal(walk, at)) {
        const struct json_value *result = at->now == NULL ? at->theirs : at->now;
        walk_explain(walk, at, "2", result);
        return result;
    }
    enum merge_kind kind = at->place.policy->kind;
    bool maps = kind == MERGE_EACH || kind == MERGE_FIELDS;
    if (!is_leaf && (is_object(at->theirs) || (both && maps))) {
        return walk_members(walk, at);
    }
    if (!is_leaf && both) {
        walk_explain(walk, at, "3", at->theirs);
        return at->theirs;
    }
    return walk_leaf(walk, at);
}

const struct json_value *walk_value(struct walk *walk, const struct walk_at *at)
{
    return walk->exact ? walk_exact(walk, at) : walk_rules(walk, at);
}
