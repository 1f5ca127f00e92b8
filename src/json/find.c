/* find.c - look-ups in an object, and the small builders. */
#include "json/json.h"

#include "json/sort.h"

/* Members looked at, per member of the object, before an index is built. */
#define FINDER_ROUNDS 4u

const struct json_value *json_get_slice(const struct json_value *object, struct slice key)
{
    if (!json_is(object, JSON_OBJECT)) {
        return NULL;
    }
    for (uint32_t i = 0; i < object->count; i++) {
        if (slice_equal(json_text(&object->members[i].key), key)) {
            return &object->members[i].value;
        }
    }
    return NULL;
}

const struct json_value *json_get(const struct json_value *object, const char *key)
{
    return json_get_slice(object, slice_of(key));
}

void json_finder_init(struct json_finder *finder, const struct json_value *object)
{
    bool usable = json_is(object, JSON_OBJECT) && object->count > 0;
    *finder = (struct json_finder){.object = usable ? object : NULL};
}

/* Goes once round the object, beginning where the next key is expected. */
static const struct json_member *scan(struct json_finder *finder, struct slice key)
{
    const struct json_value *object = finder->object;
    uint32_t at = finder->next;
    for (uint32_t i = 0; i < object->count; i++) {
        if (at == object->count) {
            at = 0;
        }
        finder->steps++;
        const struct json_member *member = &object->members[at++];
        if (slice_equal(json_text(&member->key), key)) {
            finder->next = at;
            return member;
        }
    }
    return NULL;
}

const struct json_member *json_finder_find(struct json_finder *finder, struct arena *arena,
                                           struct slice key)
{
    if (finder->object == NULL) {
        return NULL;
    }
    if (finder->sorted == NULL) {
        if (finder->steps < (uint64_t)FINDER_ROUNDS * finder->object->count) {
            return scan(finder, key);
        }
        finder->sorted = sort_members(arena, finder->object);
        if (finder->sorted == NULL) {
            return NULL;
        }
    }
    return sort_find_member(finder->sorted, finder->object->count, key);
}

struct json_value json_absent(void)
{
    return (struct json_value){.type = JSON_ABSENT};
}

struct json_value json_null(void)
{
    return (struct json_value){.type = JSON_NULL};
}

struct json_value json_bool(bool value)
{
    return (struct json_value){.type = value ? JSON_TRUE : JSON_FALSE};
}

struct json_value json_int(struct arena *arena, int64_t value)
{
    char text[24];
    char *at = text + sizeof text;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do {
        *--at = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (value < 0) {
        *--at = '-';
    }
    struct slice copy = arena_copy(arena, (struct slice){at, (size_t)(text + sizeof text - at)});
    if (copy.ptr == NULL) {
        return json_absent();
    }
    return (struct json_value){.ptr = copy.ptr, .len = (uint32_t)copy.len, .type = JSON_NUMBER};
}

struct json_value json_object(const struct json_member *members, uint32_t count)
{
    return (struct json_value){.count = count, .members = members, .type = JSON_OBJECT};
}

struct json_value json_array(const struct json_value *items, uint32_t count)
{
    return (struct json_value){.count = count, .items = items, .type = JSON_ARRAY};
}

bool json_to_int(const struct json_value *value, int64_t *out)
{
    if (!json_is(value, JSON_NUMBER)) {
        return false;
    }
    bool negative = value->ptr[0] == '-';
    uint64_t limit = (uint64_t)INT64_MAX + (negative ? 1 : 0);
    uint64_t sum = 0;
    for (uint32_t i = negative ? 1 : 0; i < value->len; i++) {
        unsigned digit = (unsigned)value->ptr[i] - '0';
        if (digit > 9 || sum > (limit - digit) / 10) {
            return false;
        }
        sum = sum * 10 + digit;
    }
    *out = negative ? -(int64_t)(sum / 2) - (int64_t)(sum - sum / 2) : (int64_t)sum;
    return true;
}
