/* sqlite_whole.c - for those who move a whole store: its users, what is kept of each, and what the
 * store keeps of itself. */
#include "store/sqlite_impl.h"

#include "base/assert.h"
#include "base/status.h"
#include "store/note.h"

#define POLICIES_VERSION SLICE("policies_version")

/* ---- Rows ------------------------------------------------------------------------------------ */

static struct store_user user_row(struct sqlite_query *query)
{
    return (struct store_user){.id = sqlite_column_uuid(query, 0),
                               .exists = true,
                               .seq = sqlite_column_int(query, 1),
                               .generation = sqlite_column_int(query, 2),
                               .clock_us = sqlite_column_int(query, 3),
                               .erased = sqlite_column_int(query, 4) != 0,
                               .n_keys = sqlite_column_int(query, 5),
                               .n_bytes = sqlite_column_int(query, 6),
                               .n_tombstones = sqlite_column_int(query, 7),
                               .purged_seq = sqlite_column_int(query, 8)};
}

int sqlite_users(struct store *store, struct arena *arena, const struct uuid *after, uint32_t max,
                 struct store_users *out)
{
    struct sqlite_query query;
    struct store_user *items = arena_zalloc(arena, max, sizeof *items);
    uint32_t n = 0;
    ASSERT(sqlite_of(store)->is_open);
    sqlite_query_begin(&query, sqlite_of(store), SQL_USERS);
    sqlite_bind_text(&query, after == NULL ? SLICE("") : uuid_slice(after));
    sqlite_bind_int(&query, max);
    while (items != NULL && n < max && sqlite_query_step(&query) == BQ_OK) {
        items[n++] = user_row(&query);
    }
    int status = sqlite_query_finish(&query, arena);
    if (status == BQ_OK) {
        *out = (struct store_users){items, n};
    }
    return status;
}

/* The next row of a list of one user's; NULL at its end, or where memory ran out. */
static void *next_row(struct sqlite_query *query, struct arena *arena, void *items,
                      size_t item_size, uint32_t n, uint32_t *size)
{
    return sqlite_query_step(query) == BQ_OK ? sqlite_grow(arena, items, item_size, n, size) : NULL;
}

static void begin_list(struct sqlite_query *query, struct store *store,
                       enum sqlite_statement statement, const struct uuid *user)
{
    ASSERT(sqlite_of(store)->is_open);
    sqlite_query_begin(query, sqlite_of(store), statement);
    sqlite_bind_text(query, uuid_slice(user));
}

int sqlite_upserts(struct store *store, struct arena *arena, const struct uuid *user,
                   struct store_upserts *out)
{
    struct sqlite_query query;
    struct store_upsert *items = NULL;
    struct store_upsert *grown;
    uint32_t n = 0;
    uint32_t size = 0;
    begin_list(&query, store, SQL_UPSERTS, user);
    while ((grown = next_row(&query, arena, items, sizeof *items, n, &size)) != NULL) {
        items = grown;
        items[n++] = (struct store_upsert){sqlite_column_slice(&query, arena, 0),
                                           sqlite_column_slice(&query, arena, 1),
                                           sqlite_column_slice(&query, arena, 2),
                                           sqlite_column_time(&query, 3)};
    }
    int status = sqlite_query_finish(&query, arena);
    if (status == BQ_OK) {
        *out = (struct store_upserts){items, n};
    }
    return status;
}

int sqlite_v1_devices(struct store *store, struct arena *arena, const struct uuid *user,
                      struct store_v1_devices *out)
{
    struct sqlite_query query;
    struct store_v1_device *items = NULL;
    struct store_v1_device *grown;
    uint32_t n = 0;
    uint32_t size = 0;
    begin_list(&query, store, SQL_V1_DEVICES, user);
    while ((grown = next_row(&query, arena, items, sizeof *items, n, &size)) != NULL) {
        items = grown;
        items[n++] = (struct store_v1_device){sqlite_column_slice(&query, arena, 0),
                                              sqlite_column_slice(&query, arena, 1),
                                              sqlite_column_slice(&query, arena, 2),
                                              sqlite_column_time(&query, 3),
                                              sqlite_column_time(&query, 4)};
    }
    int status = sqlite_query_finish(&query, arena);
    if (status == BQ_OK) {
        *out = (struct store_v1_devices){items, n};
    }
    return status;
}

int sqlite_sessions(struct store *store, struct arena *arena, const struct uuid *user,
                    struct store_sessions *out)
{
    struct sqlite_query query;
    struct store_session *items = NULL;
    struct store_session *grown;
    uint32_t n = 0;
    uint32_t size = 0;
    begin_list(&query, store, SQL_SESSIONS, user);
    while ((grown = next_row(&query, arena, items, sizeof *items, n, &size)) != NULL) {
        items = grown;
        items[n++] = (struct store_session){
            sqlite_column_uuid(&query, 0), sqlite_column_uuid(&query, 1),
            sqlite_column_int(&query, 2), sqlite_column_time(&query, 3),
            sqlite_column_time(&query, 4)};
    }
    int status = sqlite_query_finish(&query, arena);
    if (status == BQ_OK) {
        *out = (struct store_sessions){items, n};
    }
    return status;
}

/* ---- The store itself ------------------------------------------------------------------------ */

int sqlite_note_get(struct store *store, struct arena *arena, struct slice name, struct slice *out)
{
    char full[NOTE_FULL_BYTES];
    ASSERT(sqlite_of(store)->is_open);
    int status = sqlite_meta_get(sqlite_of(store), note_name(full, name), arena, out);
    if (status == BQ_NOT_FOUND) {
        *out = SLICE_NONE;
        status = BQ_OK;
    }
    return status;
}

static int put_meta(struct sqlite *sqlite, struct slice name, struct slice value)
{
    struct sqlite_query query;
    sqlite_query_begin(&query, sqlite, value.ptr == NULL ? SQL_META_REMOVE : SQL_META_PUT);
    sqlite_bind_text(&query, name);
    if (value.ptr != NULL) {
        sqlite_bind_text(&query, value);
    }
    return sqlite_query_run(&query);
}

int sqlite_note_put(struct store *store, struct slice name, struct slice value)
{
    char full[NOTE_FULL_BYTES];
    ASSERT(sqlite_of(store)->is_open && sqlite_of(store)->is_writer);
    return put_meta(sqlite_of(store), note_name(full, name), value);
}

int sqlite_identity_set(struct store *store, const uint64_t hash_key[2], int64_t policies_version)
{
    struct sqlite *sqlite = sqlite_of(store);
    char hex[33];
    sqlite3_snprintf(sizeof hex, hex, "%016llx%016llx", (unsigned long long)hash_key[0],
                     (unsigned long long)hash_key[1]);
    int status = store->begin(store);
    if (status != BQ_OK) {
        return status;
    }
    status = put_meta(sqlite, SLICE("hash_key"), slice_of(hex));
    if (status == BQ_OK) {
        status = sqlite_meta_put_int(sqlite, POLICIES_VERSION, policies_version);
    }
    if (status != BQ_OK) {
        store->rollback(store);
        return status;
    }
    status = store->commit(store);
    if (status == BQ_OK) {
        memcpy(sqlite->hash_key, hash_key, sizeof sqlite->hash_key);
    }
    return status;
}
