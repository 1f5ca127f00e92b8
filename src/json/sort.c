/* sort.c - bottom-up merge sort that notices what is sorted already. */
#include "json/sort.h"

#define RANK_BYTES 6u
#define RANK_LEN_MOST 0xffffu

/* The length, up to what 16 bits hold, then the first six bytes. */
uint64_t sort_rank(struct slice text)
{
    uint64_t rank = text.len < RANK_LEN_MOST ? text.len : RANK_LEN_MOST;
    for (size_t i = 0; i < RANK_BYTES; i++) {
        rank = rank << 8 | (i < text.len ? (unsigned char)text.ptr[i] : 0);
    }
    return rank;
}

static inline bool comes_after(const struct sort_item *a, const struct sort_item *b,
                               sort_order *order)
{
    return a->rank > b->rank || (a->rank == b->rank && order(a->item, b->item) > 0);
}

/* Merges from[low, middle) and from[middle, high), each sorted, to the same places of `to`. */
static void merge_runs(const struct sort_item *from, struct sort_item *to, size_t low,
                       size_t middle, size_t high, sort_order *order)
{
    size_t left = low;
    size_t right = middle;
    for (size_t i = low; i < high; i++) {
        bool take_right =
            left == middle || (right < high && comes_after(&from[left], &from[right], order));
        to[i] = take_right ? from[right++] : from[left++];
    }
}

static bool is_sorted(const struct sort_item *items, size_t n, sort_order *order)
{
    for (size_t i = 1; i < n; i++) {
        if (comes_after(&items[i - 1], &items[i], order)) {
            return false;
        }
    }
    return true;
}

bool sort_items(struct arena *arena, struct sort_item *items, size_t n, sort_order *order)
{
    if (is_sorted(items, n, order)) {
        return true;
    }
    struct sort_item *from = items;
    struct sort_item *to = arena_alloc(arena, n * sizeof *to);
    if (to == NULL) {
        return false;
    }
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t low = 0; low < n; low += 2 * width) {
            size_t middle = n - low < width ? n : low + width;
            size_t high = n - low < 2 * width ? n : low + 2 * width;
            merge_runs(from, to, low, middle, high, order);
        }
        struct sort_item *swap = from;
        from = to;
        to = swap;
    }
    if (from != items) {
        memcpy(items, from, n * sizeof *items);
    }
    return true;
}

bool sort_pointers(struct arena *arena, const void **items, size_t n, sort_order *order)
{
    struct sort_item *sorted = arena_alloc(arena, n * sizeof *sorted);
    if (sorted == NULL) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        sorted[i] = (struct sort_item){0, items[i]};
    }
    if (!sort_items(arena, sorted, n, order)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        items[i] = sorted[i].item;
    }
    return true;
}

const void *sort_find(const struct sort_item *items, size_t n, uint64_t rank, const void *key,
                      sort_order *order)
{
    size_t low = 0;
    size_t high = n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct sort_item *item = &items[middle];
        int way = item->rank == rank ? order(item->item, key) : item->rank < rank ? -1 : 1;
        if (way == 0) {
            return item->item;
        }
        if (way < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

static int order_members(const void *a, const void *b)
{
    const struct json_member *left = a;
    const struct json_member *right = b;
    return slice_order(json_text(&left->key), json_text(&right->key));
}

struct sort_item *sort_members(struct arena *arena, const struct json_value *object)
{
    struct sort_item *sorted = arena_alloc(arena, object->count * sizeof *sorted);
    if (sorted == NULL) {
        return NULL;
    }
    for (uint32_t i = 0; i < object->count; i++) {
        const struct json_member *member = &object->members[i];
        sorted[i] = (struct sort_item){sort_rank(json_text(&member->key)), member};
    }
    return sort_items(arena, sorted, object->count, order_members) ? sorted : NULL;
}

const struct json_member *sort_find_member(const struct sort_item *sorted, size_t n,
                                           struct slice key)
{
    struct json_member wanted = {.key = {.ptr = key.ptr, .len = (uint32_t)key.len}};
    return sort_find(sorted, n, sort_rank(key), &wanted, order_members);
}
