/* whole.c - JSON Pointers in an order in which "/" comes before every other byte. */
#include "merge/whole.h"

#include "json/sort.h"
#include "merge/place.h"

/* A key ends before it goes on, and a path comes before what is below it. */
static int rank(char c)
{
    return c == '/' ? 0 : (unsigned char)c;
}

static int order_pointers(const void *a, const void *b)
{
    const struct slice *left = a;
    const struct slice *right = b;
    size_t n = left->len < right->len ? left->len : right->len;
    for (size_t i = 0; i < n; i++) {
        if (left->ptr[i] != right->ptr[i]) {
            return rank(left->ptr[i]) - rank(right->ptr[i]);
        }
    }
    return (left->len > right->len) - (left->len < right->len);
}

bool whole_begin(struct arena *arena, const struct slice *pointers, uint32_t count,
                 struct whole_range *out)
{
    *out = (struct whole_range){NULL, 0, 0};
    if (count == 0) {
        return true;
    }
    struct sort_item *sorted = arena_alloc(arena, count * sizeof *sorted);
    if (sorted == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        sorted[i] = (struct sort_item){0, &pointers[i]};
    }
    out->pointers = sorted;
    out->count = count;
    return sort_items(arena, sorted, count, order_pointers);
}

/* The order of the byte at `at`, still inside the same part, and a wanted one. */
static int order_byte(struct slice pointer, size_t at, char want)
{
    if (at >= pointer.len || pointer.ptr[at] == '/') {
        return -1;
    }
    return rank(pointer.ptr[at]) - rank(want);
}

/* The order of a pointer's part at `offset` and "/key" as a pointer writes it. */
static int order_part(struct slice pointer, size_t offset, struct slice key)
{
    size_t at = offset;
    if (at >= pointer.len) {
        return -1;
    }
    if (pointer.ptr[at++] != '/') {
        return 1;
    }
    for (size_t i = 0; i < key.len; i++) {
        char c = key.ptr[i];
        bool escaped = c == '~' || c == '/';
        int order = order_byte(pointer, at++, escaped ? '~' : c);
        if (order == 0 && escaped) {
            order = order_byte(pointer, at++, c == '~' ? '0' : '1');
        }
        if (order != 0) {
            return order;
        }
    }
    return at == pointer.len || pointer.ptr[at] == '/' ? 0 : 1;
}

/* The first pointer of the range whose part is not below (or, with `behind`, is above) the key. */
static uint32_t bound(const struct whole_range *range, struct slice key, int behind)
{
    uint32_t low = 0;
    uint32_t high = range->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct slice *pointer = range->pointers[middle].item;
        if (order_part(*pointer, range->offset, key) < behind) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct whole_range whole_child(const struct whole_range *range, struct slice key)
{
    if (range->count == 0) {
        return *range;
    }
    uint32_t first = bound(range, key, 0);
    uint32_t last = bound(range, key, 1);
    return (struct whole_range){range->pointers + first, last - first,
                                range->offset + place_part_size(key)};
}

bool whole_lists(const struct whole_range *range)
{
    const struct slice *first = range->count > 0 ? range->pointers[0].item : NULL;
    return first != NULL && first->len == range->offset;
}
