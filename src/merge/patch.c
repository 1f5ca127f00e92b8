/* patch.c - RFC 7396, section 2: an object changes what it names, null removes, all else
 * replaces. */
#include "merge/merge.h"

#include "base/status.h"

static struct json_value patched(struct arena *arena, const struct json_value *target,
                                 const struct json_value *patch);

/* target's members in their places, then the new ones. What is no object has no members. */
static struct json_value patched_object(struct arena *arena, const struct json_value *old_value,
                                        const struct json_value *patch)
{
    static const struct json_value no_members = {.type = JSON_OBJECT};
    const struct json_value *target = json_is(old_value, JSON_OBJECT) ? old_value : &no_members;
    uint32_t count = target->count;
    struct json_member *members =
        arena_alloc(arena, ((size_t)count + patch->count) * sizeof *members);
    if (members == NULL) {
        return json_absent();
    }
    if (count > 0) {
        memcpy(members, target->members, count * sizeof *members);
    }
    struct json_finder in_target;
    json_finder_init(&in_target, target);
    uint32_t n = count;
    for (uint32_t i = 0; i < patch->count; i++) {
        const struct json_member *change = &patch->members[i];
        const struct json_member *old =
            json_finder_find(&in_target, arena, json_text(&change->key));
        if (old != NULL) {
            members[old - target->members].value = patched(arena, &old->value, &change->value);
        } else if (change->value.type != JSON_NULL) {
            members[n++] = (struct json_member){change->key, patched(arena, NULL, &change->value)};
        }
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (members[i].value.type != JSON_ABSENT) {
            members[kept++] = members[i];
        }
    }
    return json_object(members, kept);
}

/* The value of a member after its patch; absent where null removes it. */
static struct json_value patched(struct arena *arena, const struct json_value *target,
                                 const struct json_value *patch)
{
    if (patch->type == JSON_OBJECT) {
        return patched_object(arena, target, patch);
    }
    return patch->type == JSON_NULL ? json_absent() : *patch;
}

int merge_patch(struct arena *arena, const struct json_value *target,
                const struct json_value *patch, struct json_value *out)
{
    struct json_value result =
        patch->type == JSON_OBJECT ? patched_object(arena, target, patch) : *patch;
    if (arena_failed(arena)) {
        return BQ_NOMEM;
    }
    *out = result;
    return BQ_OK;
}
