/* queue.c - what happens when: a binary heap by time, and by order of making where times are
 * equal. */
#include "sim/world.h"

static bool before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_ms < b->at_ms || (a->at_ms == b->at_ms && a->serial < b->serial);
}

static void swap(struct sim_queue *queue, uint32_t i, uint32_t k)
{
    struct sim_event event = queue->items[i];
    queue->items[i] = queue->items[k];
    queue->items[k] = event;
}

static bool reserve(struct sim_queue *queue)
{
    if (queue->n < queue->size) {
        return true;
    }
    uint32_t size = queue->size == 0 ? 64 : queue->size * 2;
    struct sim_event *items = mem_realloc(queue->items, size * sizeof *items);
    if (items == NULL) {
        return false;
    }
    queue->items = items;
    queue->size = size;
    return true;
}

/* The place is found at once, since the key is known; the caller fills in the rest. */
struct sim_event *queue_add(struct sim_world *w, enum event_type type, int64_t after_ms)
{
    struct sim_queue *queue = &w->queue;
    if (!reserve(queue)) {
        w->nomem = true;
        queue->nobody = (struct sim_event){.type = type};
        return &queue->nobody;
    }
    struct sim_event event = {.at_ms = w->now_ms + after_ms,
                              .serial = ++queue->serial,
                              .type = type,
                              .end = NOWHERE,
                              .node = NOWHERE,
                              .body = SLICE_NONE,
                              .retry_after_ms = -1};
    uint32_t i = queue->n++;
    while (i > 0 && before(&event, &queue->items[(i - 1) / 2])) {
        queue->items[i] = queue->items[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    queue->items[i] = event;
    return &queue->items[i];
}

bool queue_take(struct sim_queue *queue, struct sim_event *out)
{
    if (queue->n == 0) {
        return false;
    }
    *out = queue->items[0];
    queue->items[0] = queue->items[--queue->n];
    uint32_t i = 0;
    for (;;) {
        uint32_t least = i;
        for (uint32_t k = 2 * i + 1; k <= 2 * i + 2 && k < queue->n; k++) {
            least = before(&queue->items[k], &queue->items[least]) ? k : least;
        }
        if (least == i) {
            return true;
        }
        swap(queue, i, least);
        i = least;
    }
}

int64_t queue_next_ms(const struct sim_queue *queue)
{
    return queue->n == 0 ? INT64_MAX : queue->items[0].at_ms;
}

void queue_release(struct sim_queue *queue)
{
    for (uint32_t i = 0; i < queue->n; i++) {
        sim_disown(&queue->items[i].body);
    }
    mem_free(queue->items);
    *queue = (struct sim_queue){0};
}

struct slice sim_own(struct sim_world *w, struct slice text)
{
    char *copy = mem_dup(text.ptr == NULL ? "" : text.ptr, text.len);
    w->nomem |= copy == NULL;
    return (struct slice){copy, copy == NULL ? 0 : text.len};
}

void sim_disown(struct slice *text)
{
    mem_free((void *)(uintptr_t)text->ptr);
    *text = SLICE_NONE;
}
