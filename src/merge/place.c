/* place.c - paths as JSON Pointers: "/" before each key, in a key ~ is ~0 and / is ~1. */
#include "merge/place.h"

struct place place_root(const struct merge_policy *policy)
{
    return (struct place){.policy = policy};
}

struct place place_child(const struct place *up, struct slice key)
{
    return (struct place){.up = up,
                          .key = key,
                          .policy = merge_policy_member(up->policy, key),
                          .in_each = up->policy->kind == MERGE_EACH};
}

size_t place_part_size(struct slice key)
{
    size_t size = 1 + key.len;
    for (size_t i = 0; i < key.len; i++) {
        size += key.ptr[i] == '~' || key.ptr[i] == '/' ? 1 : 0;
    }
    return size;
}

static size_t text_size(const struct place *place)
{
    size_t size = 0;
    for (; place->up != NULL; place = place->up) {
        size += place_part_size(place->key);
    }
    return size;
}

struct slice place_text(struct arena *arena, const struct place *place)
{
    size_t size = text_size(place);
    char *text = arena_alloc(arena, size);
    if (text == NULL) {
        return SLICE_NONE;
    }
    char *at = text + size;
    for (; place->up != NULL; place = place->up) {
        for (size_t i = place->key.len; i > 0; i--) {
            char c = place->key.ptr[i - 1];
            if (c == '~' || c == '/') {
                *--at = c == '~' ? '0' : '1';
                c = '~';
            }
            *--at = c;
        }
        *--at = '/';
    }
    return (struct slice){text, size};
}
