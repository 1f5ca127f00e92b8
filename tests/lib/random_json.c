/* random_json.c - see random_json.h. */
#include "random_json.h"

#include "base/assert.h"

#define MEMBERS_MOST 4u

static const char *const names[] = {"a", "b", "c", "d", "e", "a/b", "~", "\xc3\xa9"};

#define N_NAMES (sizeof names / sizeof names[0])

static const char *const numbers[] = {"0",
                                      "1",
                                      "2",
                                      "3",
                                      "-1",
                                      "0.5",
                                      "1.0",
                                      "-0",
                                      "1e1",
                                      "10",
                                      "0.0000000005",
                                      "2.50",
                                      "999999999999999999",
                                      "9007199254740993",
                                      "1e300"};

static const char *const strings[] = {"", "a", "b", "\xe2\x82\xac", "line\n"};

static uint64_t below(struct rng *rng, uint64_t n)
{
    return rng_below(rng, n);
}

static struct json_value number(struct rng *rng)
{
    struct slice text = slice_of(numbers[below(rng, sizeof numbers / sizeof numbers[0])]);
    return (struct json_value){.ptr = text.ptr, .len = (uint32_t)text.len, .type = JSON_NUMBER};
}

static struct json_value scalar(struct rng *rng)
{
    switch (below(rng, 8)) {
    case 0:
        return json_null();
    case 1:
        return json_bool(below(rng, 2) == 0);
    case 2:
        return json_string(slice_of(strings[below(rng, sizeof strings / sizeof strings[0])]));
    default:
        return number(rng);
    }
}

static struct json_value random_array(struct rng *rng, struct arena *arena, unsigned depth)
{
    uint32_t count = (uint32_t)below(rng, MEMBERS_MOST);
    struct json_value *items = arena_alloc(arena, count * sizeof *items);
    ASSERT(items != NULL);
    for (uint32_t i = 0; i < count; i++) {
        items[i] = random_json(rng, arena, depth - 1);
    }
    return json_array(items, count);
}

struct json_value random_object(struct rng *rng, struct arena *arena, unsigned depth)
{
    uint32_t most = depth == 0 ? 1 : MEMBERS_MOST + 1;
    uint32_t count = (uint32_t)below(rng, most);
    struct json_member *members = arena_alloc(arena, count * sizeof *members);
    ASSERT(members != NULL);
    uint64_t first = below(rng, N_NAMES);
    uint64_t step = 1 + 2 * below(rng, N_NAMES / 2); /* odd: no name twice */
    for (uint32_t i = 0; i < count; i++) {
        members[i] =
            json_member(names[(first + i * step) % N_NAMES], random_json(rng, arena, depth - 1));
    }
    return json_object(members, count);
}

struct json_value random_json(struct rng *rng, struct arena *arena, unsigned depth)
{
    uint64_t kind = below(rng, 10);
    if (depth == 0 || kind < 5) {
        return scalar(rng);
    }
    return kind < 7 ? random_array(rng, arena, depth) : random_object(rng, arena, depth);
}

static struct json_value change_array(struct rng *rng, struct arena *arena,
                                      const struct json_value *array)
{
    struct json_value *items = arena_alloc(arena, (array->count + 1) * sizeof *items);
    ASSERT(items != NULL);
    uint32_t count = 0;
    for (uint32_t i = 0; i < array->count; i++) {
        if (below(rng, 5) != 0) {
            items[count++] = array->items[i];
        }
    }
    if (below(rng, 2) == 0) {
        items[count++] = random_json(rng, arena, 1);
    }
    return json_array(items, count);
}

static struct json_value change_object(struct rng *rng, struct arena *arena,
                                       const struct json_value *object)
{
    struct json_member *members = arena_alloc(arena, (object->count + 1) * sizeof *members);
    ASSERT(members != NULL);
    uint32_t count = 0;
    uint32_t shift = object->count > 0 ? (uint32_t)below(rng, object->count) : 0;
    for (uint32_t i = 0; i < object->count; i++) {
        const struct json_member *member = &object->members[(i + shift) % object->count];
        uint64_t fate = below(rng, 8);
        if (fate == 0) {
            continue;
        }
        members[count] = *member;
        if (fate <= 2) {
            members[count].value = random_change(rng, arena, &member->value);
        }
        count++;
    }
    const char *name = names[below(rng, N_NAMES)];
    if (below(rng, 3) == 0 && json_get(object, name) == NULL) {
        members[count++] = json_member(name, random_json(rng, arena, 2));
    }
    return json_object(members, count);
}

struct json_value random_change(struct rng *rng, struct arena *arena,
                                const struct json_value *value)
{
    if (value->type == JSON_OBJECT && below(rng, 8) != 0) {
        return change_object(rng, arena, value);
    }
    if (value->type == JSON_ARRAY && below(rng, 8) != 0) {
        return change_array(rng, arena, value);
    }
    return random_json(rng, arena, 2);
}

static struct json_value policy_json(struct rng *rng, struct arena *arena, unsigned depth,
                                     bool is_top)
{
    uint64_t kind = below(rng, 12);
    if (depth == 0 || kind < 4) {
        return json_string(slice_of(merge_kind_word((enum merge_kind)below(rng, MERGE_EACH))));
    }
    struct json_member *members = arena_alloc(arena, 3 * sizeof *members);
    struct json_member *fields = arena_alloc(arena, 4 * sizeof *fields);
    ASSERT(members != NULL && fields != NULL);
    uint32_t count = 0;
    if (kind < 7) {
        members[count++] = json_member("each", policy_json(rng, arena, depth - 1, false));
    } else {
        uint32_t n_fields = (uint32_t)below(rng, 5);
        for (uint32_t i = 0; i < n_fields; i++) {
            fields[i] = json_member(names[i], policy_json(rng, arena, depth - 1, false));
        }
        members[count++] = json_member("fields", json_object(fields, n_fields));
        if (below(rng, 2) == 0) {
            members[count++] = json_member("rest", policy_json(rng, arena, depth - 1, false));
        }
    }
    if (is_top && below(rng, 3) == 0) {
        members[count++] = json_member("epoch", json_string(SLICE("e")));
    }
    return json_object(members, count);
}

const struct merge_policy *random_policy(struct rng *rng, struct arena *arena, unsigned depth)
{
    struct json_value *value = arena_alloc(arena, sizeof *value);
    const struct merge_policy *policy = NULL;
    ASSERT(value != NULL);
    *value = policy_json(rng, arena, depth, true);
    int status = merge_policy_read(arena, value, &policy, NULL);
    ASSERT(status == 0);
    return policy;
}
