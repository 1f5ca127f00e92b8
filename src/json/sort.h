/* sort.h - a stable merge sort and a binary search, for the few places that need an order of texts.
 *
 * n log n in the worst case: what a peer sends cannot make it slow, which a quick sort or a hash
 * table without a secret cannot say. An item carries a rank, the beginning of its text as a number,
 * so that most comparisons look at nothing else; without it big inputs wait for memory. */
#ifndef JSON_SORT_H
#define JSON_SORT_H

#include "json/json.h"

struct sort_item {
    uint64_t rank;
    const void *item;
};

/* Below, equal or above zero as a comes before, with or after b. */
typedef int sort_order(const void *a, const void *b);

/* A number that never contradicts slice_order(): smaller for a text that comes before. */
uint64_t sort_rank(struct slice text);

/* Sorts by rank, and by `order` where ranks are equal; the arena gives room for n more. False when
 * memory is exhausted. */
bool sort_items(struct arena *arena, struct sort_item *items, size_t n, sort_order *order);

/* The same of plain pointers, without ranks. */
bool sort_pointers(struct arena *arena, const void **items, size_t n, sort_order *order);

/* The item for which order(item, key) is 0, or NULL; rank is the key's. */
const void *sort_find(const struct sort_item *items, size_t n, uint64_t rank, const void *key,
                      sort_order *order);

/* The members of an object by slice_order() of their keys; NULL when memory is exhausted. */
struct sort_item *sort_members(struct arena *arena, const struct json_value *object);

/* The member of that name among sorted ones, or NULL. */
const struct json_member *sort_find_member(const struct sort_item *sorted, size_t n,
                                           struct slice key);

#endif
