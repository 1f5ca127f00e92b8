/* sort.h - a stable merge sort of pointers, for the few places that need an order.
 *
 * n log n in the worst case: what a peer sends cannot make it slow, which a quick sort cannot
 * say. */
#ifndef JSON_SORT_H
#define JSON_SORT_H

#include "json/json.h"

/* Below, equal or above zero as a comes before, with or after b. */
typedef int sort_order(const void *a, const void *b);

/* Sorts n pointers in place; the arena gives room for n more. False when memory is exhausted. */
bool sort_pointers(struct arena *arena, const void **items, size_t n, sort_order *order);

/* The members of an object by slice_order() of their keys; NULL when memory is exhausted. */
const struct json_member **sort_members(struct arena *arena, const struct json_value *object);

#endif
