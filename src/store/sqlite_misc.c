/* sqlite_misc.c - the small tables: old clients, devices, dead letters, policies; a user's end. */
#include "store/sqlite_impl.h"

#include "base/assert.h"
#include "base/status.h"

#define POLICIES_VERSION SLICE("policies_version")
#define FIRST_ITEMS 16u

/* Old clients. */

int sqlite_upserts_get(struct store *store, struct arena *arena, const struct uuid *user,
                       struct slice key, struct slice device_id, struct slice *out)
{
    struct sqlite_query query;
    struct slice packed = SLICE_NONE;
    ASSERT(sqlite_of(store)->is_open);
    sqlite_query_begin(&query, sqlite_of(store), SQL_UPSERTS_GET);
    sqlite_bind_text(&query, uuid_slice(user));
    sqlite_bind_text(&query, key);
    sqlite_bind_text(&query, device_id);
    if (sqlite_query_step(&query) == BQ_OK) {
        packed = sqlite_column_slice(&query, arena, 0);
    }
    int status = sqlite_query_finish(&query, arena);
    if (status == BQ_OK) {
        *out = packed;
    }
    return status;
}

int sqlite_upserts_put(struct store *store, const struct uuid *user, struct slice key,
                       struct slice device_id, struct slice packed, int64_t now_us)
{
    struct sqlite_query query;
    ASSERT(sqlite_of(store)->is_open && sqlite_of(store)->is_writer);
    sqlite_query_begin(&query, sqlite_of(store), SQL_UPSERTS_PUT);
    sqlite_bind_text(&query, uuid_slice(user));
    sqlite_bind_text(&query, key);
    sqlite_bind_text(&query, device_id);
    sqlite_bind_time(&query, now_us);
    sqlite_bind_blob(&query, packed);
    return sqlite_query_run(&query);
}

int sqlite_upserts_forget(struct store *store, const struct uuid *user, struct slice key)
{
    struct sqlite_query query;
    ASSERT(sqlite_of(store)->is_open && sqlite_of(store)->is_writer);
    sqlite_query_begin(&query, sqlite_of(store), SQL_UPSERTS_FORGET);
    sqlite_bind_text(&query, uuid_slice(user));
    sqlite_bind_text(&query, key);
    return sqlite_query_run(&query);
}

int sqlite_upserts_trim(struct store *store, const struct uuid *user, struct slice key,
                        bool *out_evicted)
{
    struct sqlite_query query;
    struct sqlite *sqlite = sqlite_of(store);
    ASSERT(sqlite->is_open && sqlite->is_writer);
    sqlite_query_begin(&query, sqlite, SQL_UPSERTS_TRIM);
    sqlite_bind_text(&query, uuid_slice(user));
    sqlite_bind_text(&query, key);
    sqlite_bind_int(&query, LIMIT_UPSERT_DEVICES);
    int status = sqlite_query_run(&query);
    bool evicted = sqlite3_changes(sqlite->db) > 0;
    if (status == BQ_OK) {
        sqlite_query_begin(&query, sqlite, SQL_UPSERTS_EMPTY);
        sqlite_bind_text(&query, uuid_slice(user));
        sqlite_bind_int(&query, LIMIT_UPSERT_MEMORIES);
        status = sqlite_query_run(&query);
    }
    if (status == BQ_OK) {
        *out_evicted = evicted;
    }
    return status;
}

void *sqlite_grow(struct arena *arena, void *items, size_t item_size, uint32_t n, uint32_t *size)
{
    if (n < *size) {
        return items;
    }
    uint32_t wanted = *size == 0 ? FIRST_ITEMS : *size * 2;
    void *grown = arena_zalloc(arena, wanted, item_size);
    if (grown != NULL && n > 0) {
        memcpy(grown, items, n * item_size);
    }
    *size = wanted;
    return grown;
}

/* Devices. */

int sqlite_devices(struct store *store, struct arena *arena, const struct uuid *user,
                   struct store_devices *out)
{
    struct sqlite_query query;
    struct store_device *items = NULL;
    uint32_t n = 0;
    uint32_t size = 0;
    ASSERT(sqlite_of(store)->is_open);
    sqlite_query_begin(&query, sqlite_of(store), SQL_DEVICES);
    sqlite_bind_text(&query, uuid_slice(user));
    while (sqlite_query_step(&query) == BQ_OK) {
        items = sqlite_grow(arena, items, sizeof *items, n, &size);
        if (items == NULL) {
            break;
        }
        items[n].device_id = sqlite_column_slice(&query, arena, 0);
        items[n].last_sync_us = sqlite_column_time(&query, 1);
        items[n].last_sync_version = sqlite_column_int(&query, 2);
        items[n].info = sqlite_column_slice(&query, arena, 3);
        items[n].created_us = sqlite_column_time(&query, 4);
        n++;
    }
    int status = sqlite_query_finish(&query, arena);
    if (status == BQ_OK) {
        *out = (struct store_devices){items, n};
    }
    return status;
}

static int trim_devices(struct sqlite *sqlite, enum sqlite_statement statement,
                        const struct uuid *user)
{
    struct sqlite_query query;
    sqlite_query_begin(&query, sqlite, statement);
    sqlite_bind_text(&query, uuid_slice(user));
    sqlite_bind_int(&query, LIMIT_DEVICES);
    return sqlite_query_run(&query);
}

int sqlite_device_put(struct store *store, const struct uuid *user,
                      const struct store_device *device)
{
    struct sqlite_query query;
    ASSERT(sqlite_of(store)->is_open && sqlite_of(store)->is_writer);
    sqlite_query_begin(&query, sqlite_of(store), SQL_DEVICE_PUT);
    sqlite_bind_text(&query, uuid_slice(user));
    sqlite_bind_text(&query, device->device_id);
    sqlite_bind_time(&query, device->last_sync_us);
    sqlite_bind_int(&query, device->last_sync_version);
    sqlite_bind_text(&query, device->info);
    sqlite_bind_time(&query, device->created_us);
    int status = sqlite_query_run(&query);
    return status == BQ_OK ? trim_devices(sqlite_of(store), SQL_DEVICE_TRIM, user) : status;
}

int sqlite_v1_device_put(struct store *store, const struct uuid *user,
                         const struct store_v1_device *device)
{
    struct sqlite_query query;
    ASSERT(sqlite_of(store)->is_open && sqlite_of(store)->is_writer);
    sqlite_query_begin(&query, sqlite_of(store), SQL_V1_DEVICE_PUT);
    sqlite_bind_text(&query, uuid_slice(user));
    sqlite_bind_text(&query, device->device_id);
    sqlite_bind_text(&query, device->name);
    sqlite_bind_text(&query, device->type);
    sqlite_bind_time(&query, device->last_sync_us);
    sqlite_bind_time(&query, device->created_us);
    int status = sqlite_query_run(&query);
    return status == BQ_OK ? trim_devices(sqlite_of(store), SQL_V1_DEVICE_TRIM, user) : status;
}

int sqlite_v1_device_remove(struct store *store, const struct uuid *user, struct slice device_id,
                            bool *out_found)
{
    struct sqlite_query query;
    struct sqlite *sqlite = sqlite_of(store);
    ASSERT(sqlite->is_open && sqlite->is_writer);
    sqlite_query_begin(&query, sqlite, SQL_V1_DEVICE_REMOVE);
    sqlite_bind_text(&query, uuid_slice(user));
    sqlite_bind_text(&query, device_id);
    int status = sqlite_query_run(&query);
    if (status == BQ_OK) {
        *out_found = sqlite3_changes(sqlite->db) > 0;
    }
    return status;
}

/* Dead letters. */

static int dead_add(struct sqlite *sqlite, const struct uuid *user, struct slice device_id,
                    const struct store_dead *item)
{
    struct sqlite_query query;
    sqlite_query_begin(&query, sqlite, SQL_DEAD_ADD);
    sqlite_bind_text(&query, item->id);
    sqlite_bind_text(&query, uuid_slice(user));
    sqlite_bind_text(&query, device_id);
    sqlite_bind_text(&query, item->key);
    sqlite_bind_text(&query, item->data);
    sqlite_bind_int(&query, item->version);
    sqlite_bind_text(&query, item->error);
    sqlite_bind_time(&query, item->at_us);
    return sqlite_query_run(&query);
}

/* Devices come and go, and each may report: the user's share is bounded over all of them. */
static int dead_trim(struct sqlite *sqlite, const struct uuid *user)
{
    struct sqlite_query query;
    sqlite_query_begin(&query, sqlite, SQL_DEAD_TRIM);
    sqlite_bind_text(&query, uuid_slice(user));
    sqlite_bind_int(&query, LIMIT_DEAD_LETTERS);
    sqlite_bind_int(&query, LIMIT_DEAD_BYTES);
    return sqlite_query_run(&query);
}

int sqlite_dead_replace(struct store *store, const struct uuid *user, struct slice device_id,
                        const struct store_dead *items, uint32_t n)
{
    struct sqlite_query query;
    struct sqlite *sqlite = sqlite_of(store);
    ASSERT(sqlite->is_open && sqlite->is_writer);
    sqlite_query_begin(&query, sqlite, SQL_DEAD_CLEAR);
    sqlite_bind_text(&query, uuid_slice(user));
    sqlite_bind_text(&query, device_id);
    int status = sqlite_query_run(&query);
    for (uint32_t i = 0; status == BQ_OK && i < n; i++) {
        status = dead_add(sqlite, user, device_id, &items[i]);
    }
    return status == BQ_OK && n > 0 ? dead_trim(sqlite, user) : status;
}

int sqlite_dead_letters(struct store *store, struct arena *arena, const struct uuid *user,
                        struct store_dead_letters *out)
{
    struct sqlite_query query;
    struct store_dead *items = NULL;
    uint32_t n = 0;
    uint32_t size = 0;
    ASSERT(sqlite_of(store)->is_open);
    sqlite_query_begin(&query, sqlite_of(store), SQL_DEAD_LETTERS);
    sqlite_bind_text(&query, uuid_slice(user));
    while (sqlite_query_step(&query) == BQ_OK) {
        items = sqlite_grow(arena, items, sizeof *items, n, &size);
        if (items == NULL) {
            break;
        }
        items[n].id = sqlite_column_slice(&query, arena, 0);
        items[n].device_id = sqlite_column_slice(&query, arena, 1);
        items[n].key = sqlite_column_slice(&query, arena, 2);
        items[n].data = sqlite_column_slice(&query, arena, 3);
        items[n].version = sqlite_column_int(&query, 4);
        items[n].error = sqlite_column_slice(&query, arena, 5);
        items[n].at_us = sqlite_column_time(&query, 6);
        n++;
    }
    int status = sqlite_query_finish(&query, arena);
    if (status == BQ_OK) {
        *out = (struct store_dead_letters){items, n};
    }
    return status;
}

/* Policies. */

int sqlite_policies(struct store *store, struct arena *arena, struct store_policies *out)
{
    struct sqlite_query query;
    struct store_policy *items = NULL;
    uint32_t n = 0;
    uint32_t size = 0;
    int64_t version = 0;
    ASSERT(sqlite_of(store)->is_open);
    sqlite_query_begin(&query, sqlite_of(store), SQL_POLICIES);
    while (sqlite_query_step(&query) == BQ_OK) {
        items = sqlite_grow(arena, items, sizeof *items, n, &size);
        if (items == NULL) {
            break;
        }
        items[n].pattern = sqlite_column_slice(&query, arena, 0);
        items[n].policy = sqlite_column_slice(&query, arena, 1);
        n++;
    }
    int status = sqlite_query_finish(&query, arena);
    if (status == BQ_OK) {
        status = sqlite_meta_get_int(sqlite_of(store), POLICIES_VERSION, &version);
    }
    if (status == BQ_OK) {
        *out = (struct store_policies){items, n, version};
    }
    return status == BQ_NOT_FOUND ? BQ_CORRUPT : status;
}

int sqlite_policy_put(struct store *store, struct slice pattern, struct slice policy)
{
    struct sqlite_query query;
    struct sqlite *sqlite = sqlite_of(store);
    int64_t version;
    ASSERT(sqlite->is_open && sqlite->is_writer);
    sqlite_query_begin(&query, sqlite, policy.len == 0 ? SQL_POLICY_REMOVE : SQL_POLICY_PUT);
    sqlite_bind_text(&query, pattern);
    if (policy.len > 0) {
        sqlite_bind_text(&query, policy);
    }
    int status = sqlite_query_run(&query);
    if (status == BQ_OK) {
        status = sqlite_meta_get_int(sqlite, POLICIES_VERSION, &version);
    }
    if (status == BQ_OK) {
        status = sqlite_meta_put_int(sqlite, POLICIES_VERSION, version + 1);
    }
    return status == BQ_NOT_FOUND ? BQ_CORRUPT : status;
}

/* A user's end. */

static int clear_history(struct sqlite *sqlite, const struct uuid *user)
{
    struct sqlite_query query;
    int status;
    sqlite_query_begin(&query, sqlite, SQL_HISTORY_HEADS);
    sqlite_bind_text(&query, uuid_slice(user));
    while ((status = sqlite_query_step(&query)) == BQ_OK) {
        status = sqlite_history_remove_chain(sqlite, sqlite_column_int(&query, 0));
        if (status != BQ_OK) {
            break;
        }
    }
    sqlite_query_end(&query);
    return status == BQ_NOT_FOUND ? BQ_OK : status;
}

int sqlite_user_clear(struct store *store, const struct uuid *user)
{
    static const enum sqlite_statement clears[] = {
        SQL_CLEAR_DOCS, SQL_CLEAR_UPSERTS, SQL_CLEAR_DEVICES, SQL_CLEAR_V1_DEVICES, SQL_CLEAR_DEAD};
    struct sqlite *sqlite = sqlite_of(store);
    ASSERT(sqlite->is_open && sqlite->is_writer);
    int status = clear_history(sqlite, user);
    for (size_t i = 0; status == BQ_OK && i < sizeof clears / sizeof clears[0]; i++) {
        struct sqlite_query query;
        sqlite_query_begin(&query, sqlite, clears[i]);
        sqlite_bind_text(&query, uuid_slice(user));
        status = sqlite_query_run(&query);
    }
    return status;
}
