/* union.c - arrays as sets in an order (docs/merge.md 6.8).
 *
 * Elements are compared by their canonical text, sorted: 10 times the elements take about 10 times
 * the time, whatever a peer puts into them. */
#include "merge/walk.h"

#include "json/canonical.h"
#include "json/sort.h"

struct element {
    const struct json_value *value;
    struct slice text; /* canonical */
    bool dropped;
};

/* The elements of an array, and the same sorted by text. */
struct set {
    struct element *elements;
    struct sort_item *sorted;
    uint32_t count;
};

static int order_elements(const void *a, const void *b)
{
    const struct element *left = a;
    const struct element *right = b;
    return slice_order(left->text, right->text);
}

/* Gives each element its canonical text; all texts lie in one block. */
static bool set_texts(struct arena *arena, struct set *set)
{
    struct buf buf = BUF_INIT;
    for (uint32_t i = 0; i < set->count; i++) {
        size_t start = buf.len;
        json_canonical(&buf, arena, set->elements[i].value);
        set->elements[i].text.len = buf.len - start;
    }
    struct slice all = buf.failed ? SLICE_NONE : arena_copy(arena, buf_slice(&buf));
    arena->failed = arena->failed || all.ptr == NULL;
    buf_release(&buf);
    if (arena_failed(arena)) {
        return false;
    }
    for (uint32_t i = 0; i < set->count; i++) {
        set->elements[i].text.ptr = all.ptr;
        all.ptr += set->elements[i].text.len;
    }
    return true;
}

/* The set of an array; empty for anything else. */
static bool set_init(struct arena *arena, const struct json_value *array, struct set *set)
{
    set->count = json_is(array, JSON_ARRAY) ? array->count : 0;
    set->elements = arena_zalloc(arena, set->count, sizeof *set->elements);
    set->sorted = arena_alloc(arena, set->count * sizeof *set->sorted);
    if (arena_failed(arena)) {
        return false;
    }
    for (uint32_t i = 0; i < set->count; i++) {
        set->elements[i].value = &array->items[i];
    }
    if (!set_texts(arena, set)) {
        return false;
    }
    for (uint32_t i = 0; i < set->count; i++) {
        const struct element *element = &set->elements[i];
        set->sorted[i] = (struct sort_item){sort_rank(element->text), element};
    }
    return sort_items(arena, set->sorted, set->count, order_elements);
}

static bool set_has(const struct set *set, const struct element *element)
{
    uint64_t rank = sort_rank(element->text);
    return sort_find(set->sorted, set->count, rank, element, order_elements) != NULL;
}

/* Marks what stands twice; the sort is stable, so the first of equals stays. */
static bool drop_doubles(struct arena *arena, struct element *candidates, size_t n)
{
    struct sort_item *sorted = arena_alloc(arena, n * sizeof *sorted);
    if (sorted == NULL) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        sorted[i] = (struct sort_item){sort_rank(candidates[i].text), &candidates[i]};
    }
    if (!sort_items(arena, sorted, n, order_elements)) {
        return false;
    }
    for (size_t i = 1; i < n; i++) {
        struct element *element = (struct element *)sorted[i].item;
        element->dropped = order_elements(sorted[i - 1].item, element) == 0;
    }
    return true;
}

/* The array of the candidates that are left; theirs itself where that is all of it. */
static const struct json_value *build(struct arena *arena, struct element *candidates, size_t n,
                                      const struct json_value *theirs)
{
    struct json_value *array = arena_alloc(arena, sizeof *array);
    struct json_value *items = arena_alloc(arena, n * sizeof *items);
    if (array == NULL || items == NULL) {
        return NULL;
    }
    uint32_t count = 0;
    bool same = true;
    for (size_t i = 0; i < n; i++) {
        if (!candidates[i].dropped) {
            same = same && count < theirs->count && candidates[i].value == &theirs->items[count];
            items[count++] = *candidates[i].value;
        }
    }
    *array = json_array(items, count);
    return same && count == theirs->count ? theirs : array;
}

const struct json_value *leaf_union(struct arena *arena, const struct json_value *was,
                                    const struct json_value *now, const struct json_value *theirs)
{
    struct set before;
    struct set after;
    struct set there;
    if (!set_init(arena, was, &before) || !set_init(arena, now, &after) ||
        !set_init(arena, theirs, &there)) {
        return NULL;
    }
    size_t most = (size_t)there.count + after.count;
    struct element *candidates = arena_alloc(arena, most * sizeof *candidates);
    if (candidates == NULL) {
        return NULL;
    }
    size_t n = 0;
    for (uint32_t i = 0; i < there.count; i++) {
        struct element *element = &there.elements[i];
        if (!set_has(&before, element) || set_has(&after, element)) {
            candidates[n++] = *element;
        }
    }
    for (uint32_t i = 0; i < after.count; i++) {
        struct element *element = &after.elements[i];
        if (!set_has(&before, element)) {
            candidates[n++] = *element;
        }
    }
    if (!drop_doubles(arena, candidates, n)) {
        return NULL;
    }
    return build(arena, candidates, n, theirs);
}
