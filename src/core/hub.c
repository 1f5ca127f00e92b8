/* hub.c - see hub.h.
 *
 * Slots in one array; those in use hang in the chain of their user's bucket, the free ones in a
 * chain of their own. */
#include "core/hub.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/plant.h"
#include "base/status.h"

#include <string.h>

#define NOBODY UINT32_MAX
#define FIRST_SIZE 16u

struct slot {
    struct uuid user;
    void *listener; /* NULL: free */
    uint32_t generation;
    uint32_t next; /* of the bucket, or of the free ones */
};

struct hub {
    uint64_t key[2];
    struct slot *slots;
    uint32_t *buckets; /* as many as slots, a power of two */
    uint32_t size;
    uint32_t n;
    uint32_t free;
};

static uint32_t bucket_of(const struct hub *hub, const struct uuid *user)
{
    struct hash128 hash = hash_text(uuid_slice(user), hub->key[0], hub->key[1]);
    return (uint32_t)hash.low & (hub->size - 1);
}

int hub_new(const uint64_t key[2], struct hub **out)
{
    struct hub *hub = mem_zalloc(1, sizeof *hub);
    if (hub == NULL) {
        return BQ_NOMEM;
    }
    memcpy(hub->key, key, sizeof hub->key);
    hub->free = NOBODY;
    *out = hub;
    return BQ_OK;
}

void hub_free(struct hub *hub)
{
    if (hub != NULL) {
        mem_free(hub->slots);
        mem_free(hub->buckets);
        mem_free(hub);
    }
}

static void hang(struct hub *hub, uint32_t i)
{
    uint32_t bucket = bucket_of(hub, &hub->slots[i].user);
    hub->slots[i].next = hub->buckets[bucket];
    hub->buckets[bucket] = i;
}

/* All slots are in use: twice as many. */
static int grow(struct hub *hub)
{
    uint32_t size = hub->size == 0 ? FIRST_SIZE : hub->size * 2;
    if (hub->size > UINT32_MAX / 4) {
        return BQ_NOMEM;
    }
    uint32_t *buckets = mem_alloc(size * sizeof *buckets);
    struct slot *slots = mem_realloc(hub->slots, size * sizeof *slots);
    if (slots != NULL) {
        hub->slots = slots;
    }
    if (slots == NULL || buckets == NULL) {
        mem_free(buckets);
        return BQ_NOMEM;
    }
    memset(buckets, 0xff, size * sizeof *buckets);
    mem_free(hub->buckets);
    hub->buckets = buckets;
    uint32_t old = hub->size;
    hub->size = size;
    for (uint32_t i = 0; i < old; i++) {
        hang(hub, i);
    }
    for (uint32_t i = size; i-- > old;) {
        slots[i] = (struct slot){.generation = 1, .next = hub->free};
        hub->free = i;
    }
    return BQ_OK;
}

int hub_join(struct hub *hub, const struct uuid *user, void *listener, struct hub_handle *out)
{
    if (hub->free == NOBODY && grow(hub) != BQ_OK) {
        return BQ_NOMEM;
    }
    uint32_t i = hub->free;
    struct slot *slot = &hub->slots[i];
    hub->free = slot->next;
    if (!PLANTED(SLOT_KEEPS_USER) || slot->user.text[0] == '\0') {
        slot->user = *user;
    }
    slot->listener = listener;
    hang(hub, i);
    hub->n++;
    *out = (struct hub_handle){i, slot->generation};
    return BQ_OK;
}

void *hub_listener(const struct hub *hub, struct hub_handle handle)
{
    if (handle.slot >= hub->size || hub->slots[handle.slot].generation != handle.generation) {
        return NULL;
    }
    return hub->slots[handle.slot].listener;
}

void hub_leave(struct hub *hub, struct hub_handle handle)
{
    if (hub_listener(hub, handle) == NULL) {
        return;
    }
    struct slot *slot = &hub->slots[handle.slot];
    uint32_t *link = &hub->buckets[bucket_of(hub, &slot->user)];
    while (*link != handle.slot) {
        link = &hub->slots[*link].next;
    }
    *link = slot->next;
    slot->listener = NULL;
    slot->generation += slot->generation == UINT32_MAX ? 2 : 1;
    slot->next = hub->free;
    hub->free = handle.slot;
    hub->n--;
}

size_t hub_publish(struct hub *hub, const struct uuid *user,
                   void (*hear)(void *cls, void *listener, struct hub_handle handle), void *cls)
{
    size_t heard = 0;
    uint32_t next = hub->size == 0 ? NOBODY : hub->buckets[bucket_of(hub, user)];
    while (next != NOBODY) {
        uint32_t i = next;
        struct slot *slot = &hub->slots[i];
        next = slot->next;
        if (memcmp(slot->user.text, user->text, UUID_TEXT) == 0 || PLANTED(HUB_TELLS_OTHERS)) {
            heard++;
            hear(cls, slot->listener, (struct hub_handle){i, slot->generation});
        }
    }
    return heard;
}

size_t hub_size(const struct hub *hub)
{
    return hub->n;
}
