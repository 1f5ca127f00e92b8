/* hub.h - who hears of whose changes: the listeners of each user.
 *
 * Pure: a table in memory. A listener is whatever the caller hangs on a user (a socket of the
 * server, a link of the simulation). Handles carry a generation: one that was left and whose slot
 * serves somebody else now names nobody (docs/security.md, W3).
 *
 * The hub keeps no events. Who publishes does it after the commit, and says the user's new `seq`;
 * what a listener misses it reads from its cursor.
 *
 * Threads: one at a time; the owner locks. */
#ifndef CORE_HUB_H
#define CORE_HUB_H

#include "base/uuid.h"

#include <stddef.h>
#include <stdint.h>

struct hub;

struct hub_handle {
    uint32_t slot;
    uint32_t generation; /* 0: nobody */
};

/* key: of the hash table, from the system's random bytes. BQ_OK, BQ_NOMEM. */
int hub_new(const uint64_t key[2], struct hub **out);
void hub_free(struct hub *hub);

/* listener is borrowed until hub_leave(). BQ_OK, BQ_NOMEM. */
int hub_join(struct hub *hub, const struct uuid *user, void *listener, struct hub_handle *out);

/* A handle that names nobody any more does nothing. */
void hub_leave(struct hub *hub, struct hub_handle handle);

/* The listener, or NULL where the handle names nobody any more. */
void *hub_listener(const struct hub *hub, struct hub_handle handle);

/* Calls hear() for each listener of the user; the one that hears may leave, others may not, and
 * nobody may join. Returns how many heard. */
size_t hub_publish(struct hub *hub, const struct uuid *user,
                   void (*hear)(void *cls, void *listener, struct hub_handle handle), void *cls);

/* Listeners of all users. */
size_t hub_size(const struct hub *hub);

#endif
