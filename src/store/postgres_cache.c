/* postgres_cache.c - what a transaction knows: a table of entries by kind and name.
 *
 * A name is the user's id and what follows it: a key, a key and a device, an id; parts are
 * separated by NUL, which no key and no device holds. Hashed under the store's key, because keys
 * are made by peers. */
#include "store/postgres_impl.h"

#include "base/hash.h"

#include <stdio.h>

void pg_cache_clear(struct postgres *pg)
{
    if (pg->arena.newest != NULL) {
        memset(pg->buckets, 0, sizeof pg->buckets);
    }
    pg->dirty = NULL;
    arena_reset(&pg->arena);
}

static struct slice name_of(struct postgres *pg, const struct uuid *user, struct slice first,
                            struct slice second)
{
    size_t len = UUID_TEXT + 1 + first.len + 1 + second.len;
    char *name = arena_alloc(&pg->arena, len);
    if (name == NULL) {
        return SLICE_NONE;
    }
    memcpy(name, user->text, UUID_TEXT + 1);
    memcpy(name + UUID_TEXT + 1, first.ptr, first.len);
    name[UUID_TEXT + 1 + first.len] = '\0';
    memcpy(name + UUID_TEXT + 1 + first.len + 1, second.ptr, second.len);
    return (struct slice){name, len};
}

static struct pg_entry **bucket_of(struct postgres *pg, struct slice name)
{
    struct hash128 hash = hash_text(name, pg->hash_key[0], pg->hash_key[1]);
    return &pg->buckets[hash.low % PG_BUCKETS];
}

static struct pg_entry *find(struct pg_entry *bucket, enum pg_kind kind, struct slice name)
{
    while (bucket != NULL && (bucket->kind != kind || !slice_equal(bucket->name, name))) {
        bucket = bucket->bucket;
    }
    return bucket;
}

/* The entry of that name; *out_made tells whether it is a new one, all zeros but name and kind. */
static struct pg_entry *entry_of(struct postgres *pg, enum pg_kind kind, size_t size,
                                 struct slice name, bool *out_made)
{
    *out_made = false;
    if (name.ptr == NULL) {
        return NULL;
    }
    struct pg_entry **bucket = bucket_of(pg, name);
    struct pg_entry *entry = find(*bucket, kind, name);
    if (entry != NULL) {
        return entry;
    }
    entry = arena_zalloc(&pg->arena, 1, size);
    if (entry == NULL) {
        return NULL;
    }
    entry->kind = kind;
    entry->name = name;
    entry->bucket = *bucket;
    *bucket = entry;
    *out_made = true;
    return entry;
}

struct pg_user *pg_user_entry(struct postgres *pg, const struct uuid *id)
{
    bool made;
    struct slice name = name_of(pg, id, SLICE(""), SLICE(""));
    struct pg_user *user =
        (struct pg_user *)entry_of(pg, PG_KIND_USER, sizeof *user, name, &made);
    if (made) {
        user->id = *id;
        user->feed_after = -1;
        user->n_memories = -1;
    }
    return user;
}

struct pg_user *pg_user_find(struct postgres *pg, const struct uuid *id)
{
    struct slice name = name_of(pg, id, SLICE(""), SLICE(""));
    return name.ptr == NULL
               ? NULL
               : (struct pg_user *)find(*bucket_of(pg, name), PG_KIND_USER, name);
}

static void join_user(struct pg_entry *entry, struct pg_user *user, struct pg_entry **list)
{
    entry->user = user;
    entry->of_user = *list;
    *list = entry;
}

struct pg_doc *pg_doc_entry(struct postgres *pg, const struct uuid *user, struct slice key)
{
    bool made;
    struct pg_user *owner = pg_user_entry(pg, user);
    if (owner == NULL) {
        return NULL;
    }
    struct slice name = name_of(pg, user, key, SLICE(""));
    struct pg_doc *doc = (struct pg_doc *)entry_of(pg, PG_KIND_DOC, sizeof *doc, name, &made);
    if (made) {
        join_user(&doc->entry, owner, &owner->docs);
        doc->row.key = (struct slice){name.ptr + UUID_TEXT + 1, key.len};
        doc->n_devices = -1;
    }
    return doc;
}

struct pg_upserts *pg_upserts_entry(struct postgres *pg, const struct uuid *user, struct slice key,
                                    struct slice device_id)
{
    bool made;
    struct pg_doc *doc = pg_doc_entry(pg, user, key);
    if (doc == NULL) {
        return NULL;
    }
    struct slice name = name_of(pg, user, key, device_id);
    struct pg_upserts *upserts =
        (struct pg_upserts *)entry_of(pg, PG_KIND_UPSERTS, sizeof *upserts, name, &made);
    if (made) {
        join_user(&upserts->entry, doc->entry.user, &doc->entry.user->upserts);
        upserts->doc = doc;
        upserts->device_id =
            (struct slice){name.ptr + UUID_TEXT + 1 + key.len + 1, device_id.len};
    }
    return upserts;
}

struct pg_history *pg_history_entry(struct postgres *pg, const struct uuid *user, int64_t id)
{
    bool made;
    char text[24];
    struct pg_user *owner = pg_user_entry(pg, user);
    if (owner == NULL) {
        return NULL;
    }
    int n = snprintf(text, sizeof text, "%lld", (long long)id);
    struct slice name = name_of(pg, user, (struct slice){text, (size_t)n}, SLICE(""));
    struct pg_history *history =
        (struct pg_history *)entry_of(pg, PG_KIND_HISTORY, sizeof *history, name, &made);
    if (made) {
        join_user(&history->entry, owner, &owner->histories);
        history->row.id = id;
    }
    return history;
}

void pg_make_dirty(struct postgres *pg, struct pg_entry *entry)
{
    if (!entry->is_dirty) {
        entry->is_dirty = true;
        entry->dirty = pg->dirty;
        pg->dirty = entry;
    }
}

void pg_forget(struct pg_user *user)
{
    for (struct pg_entry *entry = user->docs; entry != NULL; entry = entry->of_user) {
        entry->loaded = false;
        ((struct pg_doc *)entry)->n_devices = -1;
    }
    for (struct pg_entry *entry = user->upserts; entry != NULL; entry = entry->of_user) {
        entry->loaded = false;
    }
    for (struct pg_entry *entry = user->histories; entry != NULL; entry = entry->of_user) {
        entry->loaded = false;
    }
    user->feed_after = -1;
    user->n_memories = -1;
}
