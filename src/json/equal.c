/* equal.c - equality by JSON value, and the canonical text that stands for it where many values
 * are compared with many. */
#include "json/canonical.h"
#include "json/decimal.h"
#include "json/sort.h"

/* Whether the comparison is decided by the memory alone. */
static bool same_memory(const struct json_value *a, const struct json_value *b)
{
    if (a->count != b->count) {
        return false;
    }
    bool same_text = a->len > 0 && a->len == b->len && memcmp(a->ptr, b->ptr, a->len) == 0;
    return a->count == 0 || a->items == b->items || same_text;
}

static bool equal_arrays(struct arena *arena, const struct json_value *a,
                         const struct json_value *b)
{
    for (uint32_t i = 0; i < a->count; i++) {
        if (!json_equal(arena, &a->items[i], &b->items[i])) {
            return false;
        }
    }
    return true;
}

/* Both have as many members, none twice: so b needs no look from its side. */
static bool equal_objects(struct arena *arena, const struct json_value *a,
                          const struct json_value *b)
{
    struct json_finder finder;
    json_finder_init(&finder, b);
    for (uint32_t i = 0; i < a->count; i++) {
        const struct json_member *member = &a->members[i];
        const struct json_member *other = json_finder_find(&finder, arena, json_text(&member->key));
        if (other == NULL || !json_equal(arena, &member->value, &other->value)) {
            return false;
        }
    }
    return true;
}

bool json_equal(struct arena *arena, const struct json_value *a, const struct json_value *b)
{
    if (a->type != b->type) {
        return false;
    }
    switch ((enum json_type)a->type) {
    case JSON_ABSENT:
    case JSON_NULL:
    case JSON_FALSE:
    case JSON_TRUE:
        return true;
    case JSON_NUMBER:
        return decimal_compare(a, b) == 0;
    case JSON_STRING:
        return slice_equal(json_text(a), json_text(b));
    case JSON_ARRAY:
        return same_memory(a, b) || (a->count == b->count && equal_arrays(arena, a, b));
    case JSON_OBJECT:
        break;
    }
    return same_memory(a, b) || (a->count == b->count && equal_objects(arena, a, b));
}

static void put_object(struct buf *out, struct arena *arena, const struct json_value *object)
{
    const struct sort_item *sorted = sort_members(arena, object);
    if (sorted == NULL) {
        return;
    }
    buf_add_char(out, '{');
    for (uint32_t i = 0; i < object->count; i++) {
        const struct json_member *member = sorted[i].item;
        json_print(out, &member->key);
        buf_add_char(out, ':');
        json_canonical(out, arena, &member->value);
        buf_add_char(out, ',');
    }
    buf_add_char(out, '}');
}

void json_canonical(struct buf *out, struct arena *arena, const struct json_value *value)
{
    char number[DECIMAL_CANONICAL_BYTES];
    switch ((enum json_type)value->type) {
    case JSON_ABSENT:
    case JSON_NULL:
    case JSON_FALSE:
    case JSON_TRUE:
    case JSON_STRING:
        json_print(out, value);
        return;
    case JSON_NUMBER:
        buf_add(out, number, decimal_canonical(value, number));
        return;
    case JSON_ARRAY:
        buf_add_char(out, '[');
        for (uint32_t i = 0; i < value->count; i++) {
            json_canonical(out, arena, &value->items[i]);
            buf_add_char(out, ',');
        }
        buf_add_char(out, ']');
        return;
    case JSON_OBJECT:
        break;
    }
    put_object(out, arena, value);
}
