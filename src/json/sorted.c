/* sorted.c - see sorted.h. */
#include "json/sorted.h"

#include "base/status.h"
#include "json/sort.h"

static int sorted_array(struct arena *arena, const struct json_value *array,
                        struct json_value *out)
{
    struct json_value *items = arena_alloc(arena, (array->count + 1) * sizeof *items);
    int status = items == NULL ? BQ_NOMEM : BQ_OK;
    for (uint32_t i = 0; i < array->count && status == BQ_OK; i++) {
        status = json_sorted(arena, &array->items[i], &items[i]);
    }
    if (status == BQ_OK) {
        *out = json_array(items, array->count);
    }
    return status;
}

static int sorted_object(struct arena *arena, const struct json_value *object,
                         struct json_value *out)
{
    struct sort_item *order = sort_members(arena, object);
    struct json_member *members = arena_alloc(arena, (object->count + 1) * sizeof *members);
    int status = order == NULL || members == NULL ? BQ_NOMEM : BQ_OK;
    for (uint32_t i = 0; i < object->count && status == BQ_OK; i++) {
        const struct json_member *member = order[i].item;
        members[i].key = member->key;
        status = json_sorted(arena, &member->value, &members[i].value);
    }
    if (status == BQ_OK) {
        *out = json_object(members, object->count);
    }
    return status;
}

int json_sorted(struct arena *arena, const struct json_value *value, struct json_value *out)
{
    if (value->type == JSON_ARRAY) {
        return sorted_array(arena, value, out);
    }
    if (value->type == JSON_OBJECT) {
        return sorted_object(arena, value, out);
    }
    *out = *value;
    return BQ_OK;
}
