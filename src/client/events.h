/* events.h - what waits for bq_next_event(): at most EVENTS_MAX, the newest ones.
 *
 * Where one had to go, or memory for one could not be had, `lost` says so: the next event out is
 * BQ_EVENT_LOST then. Adding never fails. Threads: the caller holds its lock. */
#ifndef CLIENT_EVENTS_H
#define CLIENT_EVENTS_H

#include "core/engine.h"

#define EVENTS_MAX 1000u

struct events_item;

struct events {
    struct events_item *oldest;
    struct events_item *newest;
    uint32_t n;
    bool lost;
};

#define EVENTS_INIT ((struct events){NULL, NULL, 0, false})

void events_release(struct events *events);

void events_add(struct events *events, const struct engine_notify *notify);

/* All of `from` behind what is there; `from` is empty afterwards. */
void events_append(struct events *events, struct events *from);

static inline bool events_empty(const struct events *events)
{
    return events->n == 0 && !events->lost;
}

/* The oldest one, into out (its size untouched). False where nothing waits. */
bool events_take(struct events *events, struct bq_event *out);

#endif
