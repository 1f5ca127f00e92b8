/* sort.c - bottom-up merge sort that notices what is sorted already. */
#include "json/sort.h"

/* Merges from[low, middle) and from[middle, high), each sorted, to the same places of `to`. */
static void merge_runs(const void **from, const void **to, size_t low, size_t middle, size_t high,
                       sort_order *order)
{
    size_t left = low;
    size_t right = middle;
    for (size_t i = low; i < high; i++) {
        bool take_left = right == high || (left < middle && order(from[left], from[right]) <= 0);
        to[i] = take_left ? from[left++] : from[right++];
    }
}

static bool is_sorted(const void **items, size_t n, sort_order *order)
{
    for (size_t i = 1; i < n; i++) {
        if (order(items[i - 1], items[i]) > 0) {
            return false;
        }
    }
    return true;
}

bool sort_pointers(struct arena *arena, const void **items, size_t n, sort_order *order)
{
    if (is_sorted(items, n, order)) {
        return true;
    }
    const void **from = items;
    const void **to = arena_alloc(arena, n * sizeof *to);
    if (to == NULL) {
        return false;
    }
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t low = 0; low < n; low += 2 * width) {
            size_t middle = n - low < width ? n : low + width;
            size_t high = n - low < 2 * width ? n : low + 2 * width;
            merge_runs(from, to, low, middle, high, order);
        }
        const void **swap = from;
        from = to;
        to = swap;
    }
    if (from != items) {
        memcpy(items, from, n * sizeof *items);
    }
    return true;
}

static int order_members(const void *a, const void *b)
{
    const struct json_member *left = a;
    const struct json_member *right = b;
    return slice_order(json_text(&left->key), json_text(&right->key));
}

const struct json_member **sort_members(struct arena *arena, const struct json_value *object)
{
    const void **sorted = arena_alloc(arena, object->count * sizeof *sorted);
    if (sorted == NULL) {
        return NULL;
    }
    for (uint32_t i = 0; i < object->count; i++) {
        sorted[i] = &object->members[i];
    }
    if (!sort_pointers(arena, sorted, object->count, order_members)) {
        return NULL;
    }
    return (const struct json_member **)sorted;
}
