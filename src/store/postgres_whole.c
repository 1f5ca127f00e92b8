/* postgres_whole.c - for those who move a whole store: its users, what is kept of each, and what
 * the store keeps of itself. */
#include "store/postgres_impl.h"

#include "base/assert.h"
#include "base/status.h"
#include "store/note.h"

#include <stdio.h>


/* Runs a query of which everything is bound; *out is room for its rows. */
static int rows_of(struct pg_query *query, struct arena *arena, size_t item_size, void **out,
                   uint32_t *out_n)
{
    int status = pg_run_after_flush(query);
    *out_n = status == BQ_OK ? (uint32_t)pg_rows(query) : 0;
    *out = arena_zalloc(arena, *out_n, item_size);
    return status == BQ_OK && *out == NULL ? BQ_NOMEM : status;
}

static int finish(struct pg_query *query, const struct arena *arena, int status)
{
    pg_end(query);
    return status == BQ_OK && arena_failed(arena) ? BQ_NOMEM : status;
}

/* How many rows were made to lock users and hold nothing yet: they are nobody's users. */
static uint32_t count_made(const struct postgres *pg)
{
    uint32_t n = 0;
    for (const struct pg_entry *entry = pg->dirty; entry != NULL; entry = entry->dirty) {
        n += entry->kind == PG_KIND_USER && ((const struct pg_user *)entry)->made ? 1 : 0;
    }
    return n;
}

int pg_users(struct store *store, struct arena *arena, const struct uuid *after, uint32_t max,
             struct store_users *out)
{
    struct postgres *pg = postgres_of(store);
    struct pg_query query;
    void *room;
    uint32_t n_rows;
    uint32_t n = 0;
    ASSERT(pg->is_open);
    pg_begin(&query, pg, PG_USERS);
    pg_add_uuid(&query, after);
    pg_add_int(&query, (int64_t)max + count_made(pg));
    int status = rows_of(&query, arena, sizeof(struct store_user), &room, &n_rows);
    struct store_user *items = room;
    for (uint32_t i = 0; status == BQ_OK && i < n_rows && n < max; i++) {
        struct store_user row = pg_user_row(&query, (int)i);
        const struct pg_user *cached = pg_user_find(pg, &row.id);
        if (cached == NULL || !cached->made) {
            items[n++] = row;
        }
    }
    status = finish(&query, arena, status);
    if (status == BQ_OK) {
        *out = (struct store_users){items, n};
    }
    return status;
}

int pg_upserts(struct store *store, struct arena *arena, const struct uuid *user,
               struct store_upserts *out)
{
    struct pg_query query;
    void *room;
    uint32_t n;
    ASSERT(postgres_of(store)->is_open);
    pg_begin(&query, postgres_of(store), PG_UPSERTS);
    pg_add_uuid(&query, user);
    int status = rows_of(&query, arena, sizeof(struct store_upsert), &room, &n);
    struct store_upsert *items = room;
    for (uint32_t i = 0; status == BQ_OK && i < n; i++) {
        int row = (int)i;
        items[i] = (struct store_upsert){
            pg_text(&query, arena, row, 0), pg_text(&query, arena, row, 1),
            pg_is_null(&query, row, 2) ? SLICE("") : pg_json(&query, arena, row, 2),
            pg_time(&query, row, 3)};
    }
    status = finish(&query, arena, status);
    if (status == BQ_OK) {
        *out = (struct store_upserts){items, n};
    }
    return status;
}

int pg_v1_devices(struct store *store, struct arena *arena, const struct uuid *user,
                  struct store_v1_devices *out)
{
    struct pg_query query;
    void *room;
    uint32_t n;
    ASSERT(postgres_of(store)->is_open);
    pg_begin(&query, postgres_of(store), PG_V1_DEVICES);
    pg_add_uuid(&query, user);
    int status = rows_of(&query, arena, sizeof(struct store_v1_device), &room, &n);
    struct store_v1_device *items = room;
    for (uint32_t i = 0; status == BQ_OK && i < n; i++) {
        int row = (int)i;
        items[i] = (struct store_v1_device){
            pg_text(&query, arena, row, 0), pg_text(&query, arena, row, 1),
            pg_text(&query, arena, row, 2), pg_time(&query, row, 3), pg_time(&query, row, 4)};
    }
    status = finish(&query, arena, status);
    if (status == BQ_OK) {
        *out = (struct store_v1_devices){items, n};
    }
    return status;
}

int pg_sessions(struct store *store, struct arena *arena, const struct uuid *user,
                struct store_sessions *out)
{
    struct pg_query query;
    void *room;
    uint32_t n;
    ASSERT(postgres_of(store)->is_open);
    pg_begin(&query, postgres_of(store), PG_SESSIONS);
    pg_add_uuid(&query, user);
    int status = rows_of(&query, arena, sizeof(struct store_session), &room, &n);
    struct store_session *items = room;
    for (uint32_t i = 0; status == BQ_OK && i < n; i++) {
        int row = (int)i;
        items[i] = (struct store_session){pg_uuid(&query, row, 0), pg_uuid(&query, row, 1),
                                          pg_int(&query, row, 2), pg_time(&query, row, 3),
                                          pg_time(&query, row, 4)};
    }
    status = finish(&query, arena, status);
    if (status == BQ_OK) {
        *out = (struct store_sessions){items, n};
    }
    return status;
}

/* ---- The store itself ------------------------------------------------------------------------ */

int pg_note_get(struct store *store, struct arena *arena, struct slice name, struct slice *out)
{
    struct pg_query query;
    char full[NOTE_FULL_BYTES];
    ASSERT(postgres_of(store)->is_open);
    pg_begin(&query, postgres_of(store), PG_META_GET);
    pg_add_text(&query, note_name(full, name));
    int status = pg_run_after_flush(&query);
    struct slice value = SLICE_NONE;
    if (status == BQ_OK && pg_rows(&query) > 0) {
        value = pg_text(&query, arena, 0, 0);
    }
    status = finish(&query, arena, status);
    if (status == BQ_OK) {
        *out = value;
    }
    return status;
}

static int put_meta(struct postgres *pg, struct slice name, struct slice value)
{
    struct pg_query query;
    pg_begin(&query, pg, value.ptr == NULL ? PG_META_REMOVE : PG_META_PUT);
    pg_add_text(&query, name);
    if (value.ptr != NULL) {
        pg_add_text(&query, value);
    }
    int status = pg_run_after_flush(&query);
    pg_end(&query);
    return status;
}

int pg_note_put(struct store *store, struct slice name, struct slice value)
{
    char full[NOTE_FULL_BYTES];
    ASSERT(postgres_of(store)->is_open && postgres_of(store)->is_writer);
    return put_meta(postgres_of(store), note_name(full, name), value);
}

int pg_epoch_set(struct store *store, struct slice epoch)
{
    struct postgres *pg = postgres_of(store);
    ASSERT(epoch.len >= 1 && epoch.len <= 32);
    int status = store->begin(store);
    if (status != BQ_OK) {
        return status;
    }
    status = put_meta(pg, SLICE("epoch"), epoch);
    if (status != BQ_OK) {
        store->rollback(store);
        return status;
    }
    status = store->commit(store);
    if (status == BQ_OK) {
        pg_set_epoch(pg, epoch);
    }
    return status;
}

int pg_identity_set(struct store *store, const uint64_t hash_key[2], int64_t policies_version)
{
    struct postgres *pg = postgres_of(store);
    char hex[33];
    char number[24];
    snprintf(hex, sizeof hex, "%016llx%016llx", (unsigned long long)hash_key[0],
             (unsigned long long)hash_key[1]);
    snprintf(number, sizeof number, "%lld", (long long)policies_version);
    int status = store->begin(store);
    if (status != BQ_OK) {
        return status;
    }
    status = put_meta(pg, SLICE("hash_key"), slice_of(hex));
    if (status == BQ_OK) {
        status = put_meta(pg, SLICE("policies_version"), slice_of(number));
    }
    if (status != BQ_OK) {
        store->rollback(store);
        return status;
    }
    status = store->commit(store);
    if (status == BQ_OK) {
        pg_cache_clear(pg); /* which is hashed under the key */
        memcpy(pg->hash_key, hash_key, sizeof pg->hash_key);
    }
    return status;
}
