/* pointer.c - JSON Pointers (RFC 6901) into documents, and merge patches (RFC 7396): what the
 * client library's bq_patch() and bq_increment() and the tool's `inc` stand on. */
#include "merge/merge.h"

#include "base/limits.h"
#include "base/status.h"

/* Whether each ~ is followed by 0 or 1, and the whole begins with / where it is not empty. */
static bool is_pointer(struct slice pointer)
{
    if (pointer.len > 0 && pointer.ptr[0] != '/') {
        return false;
    }
    for (size_t i = 0; i < pointer.len; i++) {
        bool followed =
            i + 1 < pointer.len && (pointer.ptr[i + 1] == '0' || pointer.ptr[i + 1] == '1');
        if (pointer.ptr[i] == '~' && !followed) {
            return false;
        }
    }
    return true;
}

/* Cuts the first part ("/name") off; the part is without its slash, still escaped. */
static struct slice take_part(struct slice *pointer)
{
    size_t len = 1;
    while (len < pointer->len && pointer->ptr[len] != '/') {
        len++;
    }
    struct slice part = {pointer->ptr + 1, len - 1};
    *pointer = (struct slice){pointer->ptr + len, pointer->len - len};
    return part;
}

/* Whether a key is what an escaped part says. */
static bool part_is(struct slice part, struct slice key)
{
    size_t at = 0;
    for (size_t i = 0; i < key.len; i++, at++) {
        if (at >= part.len) {
            return false;
        }
        char c = part.ptr[at];
        if (c == '~') {
            c = part.ptr[++at] == '0' ? '~' : '/';
        }
        if (c != key.ptr[i]) {
            return false;
        }
    }
    return at == part.len;
}

static const struct json_member *find_part(const struct json_value *object, struct slice part)
{
    for (uint32_t i = 0; i < object->count; i++) {
        if (part_is(part, json_text(&object->members[i].key))) {
            return &object->members[i];
        }
    }
    return NULL;
}

/* RFC 6901, section 4: an index is 0, or digits without a zero in front. */
static const struct json_value *find_index(const struct json_value *array, struct slice part)
{
    if (part.len == 0 || part.len > 9 || (part.len > 1 && part.ptr[0] == '0')) {
        return NULL;
    }
    uint32_t index = 0;
    for (size_t i = 0; i < part.len; i++) {
        if (part.ptr[i] < '0' || part.ptr[i] > '9') {
            return NULL;
        }
        index = index * 10 + (uint32_t)(part.ptr[i] - '0');
    }
    return index < array->count ? &array->items[index] : NULL;
}

struct json_value merge_pointer_get(const struct json_value *document, struct slice pointer)
{
    const struct json_value *at = document;
    if (!is_pointer(pointer)) {
        return json_absent();
    }
    while (pointer.len > 0 && at != NULL) {
        struct slice part = take_part(&pointer);
        if (json_is(at, JSON_ARRAY)) {
            at = find_index(at, part);
        } else if (json_is(at, JSON_OBJECT)) {
            const struct json_member *member = find_part(at, part);
            at = member == NULL ? NULL : &member->value;
        } else {
            at = NULL;
        }
    }
    return at == NULL ? json_absent() : *at;
}

/* A part as a key: without its escapes, in the arena where it had some. */
static struct json_value part_key(struct arena *arena, struct slice part)
{
    if (memchr(part.ptr, '~', part.len) == NULL) {
        return json_string(part);
    }
    char *text = arena_alloc(arena, part.len);
    if (text == NULL) {
        return json_absent();
    }
    size_t len = 0;
    for (size_t at = 0; at < part.len; at++) {
        char c = part.ptr[at];
        if (c == '~') {
            c = part.ptr[++at] == '0' ? '~' : '/';
        }
        text[len++] = c;
    }
    return json_string((struct slice){text, len});
}

/* A copy of an object (or of {} where there is nothing) with one member set, or without it. */
static struct json_value with_member(struct arena *arena, const struct json_value *object,
                                     const struct json_member *old, struct slice part,
                                     const struct json_value *value)
{
    if (old == NULL && value->type == JSON_ABSENT) {
        return *object;
    }
    struct json_member *members = arena_alloc(arena, ((size_t)object->count + 1) * sizeof *members);
    if (members == NULL) {
        return json_absent();
    }
    if (object->count > 0) {
        memcpy(members, object->members, object->count * sizeof *members);
    }
    if (old == NULL) {
        members[object->count] = (struct json_member){part_key(arena, part), *value};
        return json_object(members, object->count + 1);
    }
    uint32_t index = (uint32_t)(old - object->members);
    if (value->type != JSON_ABSENT) {
        members[index].value = *value;
        return json_object(members, object->count);
    }
    memmove(members + index, members + index + 1, (object->count - index - 1) * sizeof *members);
    return json_object(members, object->count - 1);
}

/* Where nothing is; as an object it has no members. */
static const struct json_value nothing = {.type = JSON_ABSENT};

static const struct json_value *or_nothing(const struct json_value *value)
{
    return value == NULL ? &nothing : value;
}

static int set_at(struct arena *arena, const struct json_value *at, struct slice pointer,
                  unsigned parts, const struct json_value *value, struct json_value *out)
{
    if (pointer.len == 0) {
        *out = *value;
        return BQ_OK;
    }
    if (parts == 0 || (at->type != JSON_ABSENT && at->type != JSON_OBJECT)) {
        return BQ_INVALID;
    }
    if (at->type == JSON_ABSENT && value->type == JSON_ABSENT) {
        *out = json_absent();
        return BQ_OK;
    }
    struct slice part = take_part(&pointer);
    const struct json_member *old = find_part(at, part);
    const struct json_value *below = old == NULL ? &nothing : &old->value;
    struct json_value inner;
    int status = set_at(arena, below, pointer, parts - 1, value, &inner);
    if (status == BQ_OK) {
        *out = with_member(arena, at, old, part, &inner);
    }
    return status;
}

int merge_pointer_set(struct arena *arena, const struct json_value *document, struct slice pointer,
                      const struct json_value *value, struct json_value *out)
{
    struct json_value result;
    if (!is_pointer(pointer)) {
        return BQ_INVALID;
    }
    int status = set_at(arena, or_nothing(document), pointer, LIMIT_POINTER_PARTS,
                        or_nothing(value), &result);
    if (status == BQ_OK && arena_failed(arena)) {
        status = BQ_NOMEM;
    }
    if (status == BQ_OK) {
        *out = result;
    }
    return status;
}
