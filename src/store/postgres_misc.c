/* postgres_misc.c - the small tables: old clients, devices, dead letters, policies; a user's end.
 *
 * What is remembered of old clients is cached, the rest goes straight to PostgreSQL. */
#include "store/postgres_impl.h"

#include "base/assert.h"
#include "base/status.h"

/* A statement whose only argument is the user. */
static int run_for_user(struct postgres *pg, enum pg_statement statement, const struct uuid *user)
{
    struct pg_query query;
    pg_begin(&query, pg, statement);
    pg_add_uuid(&query, user);
    int status = pg_run_after_flush(&query);
    pg_end(&query);
    return status;
}

/* With a second one, a number. */
static int run_with_number(struct postgres *pg, enum pg_statement statement,
                           const struct uuid *user, int64_t number)
{
    struct pg_query query;
    pg_begin(&query, pg, statement);
    pg_add_uuid(&query, user);
    pg_add_int(&query, number);
    int status = pg_run_after_flush(&query);
    pg_end(&query);
    return status;
}

/* ---- Old clients ----------------------------------------------------------------------------- */

static int upserts_of(struct store *store, const struct uuid *user, struct slice key,
                      struct slice device_id, struct pg_upserts **out)
{
    struct postgres *pg = postgres_of(store);
    ASSERT(pg->is_open);
    struct pg_upserts *upserts = pg_upserts_entry(pg, user, key, device_id);
    int status = upserts == NULL ? BQ_NOMEM : BQ_OK;
    if (status == BQ_OK && !upserts->entry.loaded) {
        status = pg_flush(pg); /* what is counted has to be there */
    }
    if (status == BQ_OK) {
        status = pg_load_upserts(pg, upserts);
    }
    if (status == BQ_OK) {
        *out = upserts;
    }
    return status;
}

int pg_upserts_get(struct store *store, struct arena *arena, const struct uuid *user,
                   struct slice key, struct slice device_id, struct slice *out)
{
    struct pg_upserts *upserts;
    int status = upserts_of(store, user, key, device_id, &upserts);
    if (status == BQ_OK) {
        *out = upserts->packed.ptr == NULL ? SLICE_NONE : arena_copy(arena, upserts->packed);
        status = arena_failed(arena) ? BQ_NOMEM : BQ_OK;
    }
    return status;
}

int pg_upserts_put(struct store *store, const struct uuid *user, struct slice key,
                   struct slice device_id, struct slice packed, int64_t now_us)
{
    struct postgres *pg = postgres_of(store);
    struct pg_upserts *upserts;
    ASSERT(pg->is_writer);
    int status = upserts_of(store, user, key, device_id, &upserts);
    if (status != BQ_OK) {
        return status;
    }
    struct slice kept = packed.len == 0 ? SLICE("") : arena_copy(&pg->arena, packed);
    if (kept.ptr == NULL) {
        return BQ_NOMEM;
    }
    struct pg_user *owner = upserts->entry.user;
    if (upserts->packed.ptr == NULL && upserts->doc->n_devices >= 0) {
        upserts->doc->n_devices++;
    }
    if (upserts->packed.len == 0 && owner->n_memories >= 0) {
        owner->n_memories++;
    }
    upserts->packed = kept;
    upserts->at_us = now_us;
    pg_make_dirty(pg, &upserts->entry);
    return BQ_OK;
}

int pg_upserts_forget(struct store *store, const struct uuid *user, struct slice key)
{
    struct postgres *pg = postgres_of(store);
    struct pg_query query;
    ASSERT(pg->is_open && pg->is_writer);
    struct pg_user *owner = pg_user_entry(pg, user);
    if (owner == NULL) {
        return BQ_NOMEM;
    }
    pg_begin(&query, pg, PG_UPSERTS_FORGET);
    pg_add_uuid(&query, user);
    pg_add_text(&query, key);
    int status = pg_run_after_flush(&query);
    pg_end(&query);
    for (struct pg_entry *entry = owner->upserts; entry != NULL; entry = entry->of_user) {
        entry->loaded = false;
    }
    owner->n_memories = -1;
    return status;
}

int pg_upserts_trim(struct store *store, const struct uuid *user, struct slice key,
                    bool *out_evicted)
{
    struct postgres *pg = postgres_of(store);
    struct pg_query query;
    ASSERT(pg->is_open && pg->is_writer);
    struct pg_doc *doc = pg_doc_entry(pg, user, key);
    if (doc == NULL) {
        return BQ_NOMEM;
    }
    struct pg_user *owner = doc->entry.user;
    if (doc->n_devices >= 0 && doc->n_devices <= (int64_t)LIMIT_UPSERT_DEVICES &&
        owner->n_memories >= 0 && owner->n_memories <= (int64_t)LIMIT_UPSERT_MEMORIES) {
        *out_evicted = false;
        return BQ_OK;
    }
    pg_begin(&query, pg, PG_UPSERTS_TRIM);
    pg_add_uuid(&query, user);
    pg_add_text(&query, key);
    pg_add_int(&query, LIMIT_UPSERT_DEVICES);
    int status = pg_run_after_flush(&query);
    bool evicted = pg_changed(&query) > 0;
    pg_end(&query);
    if (status == BQ_OK) {
        status = run_with_number(pg, PG_UPSERTS_EMPTY, user, LIMIT_UPSERT_MEMORIES);
    }
    for (struct pg_entry *entry = owner->upserts; entry != NULL; entry = entry->of_user) {
        entry->loaded = false;
    }
    doc->n_devices = -1;
    owner->n_memories = -1;
    if (status == BQ_OK) {
        *out_evicted = evicted;
    }
    return status;
}

/* ---- Devices --------------------------------------------------------------------------------- */

int pg_devices(struct store *store, struct arena *arena, const struct uuid *user,
               struct store_devices *out)
{
    struct postgres *pg = postgres_of(store);
    struct pg_query query;
    ASSERT(pg->is_open);
    pg_begin(&query, pg, PG_DEVICES);
    pg_add_uuid(&query, user);
    int status = pg_run_after_flush(&query);
    int n = status == BQ_OK ? pg_rows(&query) : 0;
    struct store_device *items = arena_zalloc(arena, (size_t)n, sizeof *items);
    for (int i = 0; items != NULL && i < n; i++) {
        items[i] = (struct store_device){pg_text(&query, arena, i, 0), pg_time(&query, i, 1),
                                         pg_int(&query, i, 2), pg_json(&query, arena, i, 3),
                                         pg_time(&query, i, 4)};
    }
    pg_end(&query);
    if (status == BQ_OK && arena_failed(arena)) {
        status = BQ_NOMEM;
    }
    if (status == BQ_OK) {
        *out = (struct store_devices){items, (uint32_t)n};
    }
    return status;
}

int pg_device_put(struct store *store, const struct uuid *user, const struct store_device *device)
{
    struct postgres *pg = postgres_of(store);
    struct pg_query query;
    ASSERT(pg->is_open && pg->is_writer);
    pg_begin(&query, pg, PG_DEVICE_PUT);
    pg_add_uuid(&query, user);
    pg_add_text(&query, device->device_id);
    pg_add_time(&query, device->last_sync_us);
    pg_add_int(&query, device->last_sync_version);
    pg_add_json(&query, device->info);
    pg_add_time(&query, device->created_us);
    int status = pg_run_after_flush(&query);
    pg_end(&query);
    return status == BQ_OK ? run_with_number(pg, PG_DEVICE_TRIM, user, LIMIT_DEVICES) : status;
}

int pg_v1_device_put(struct store *store, const struct uuid *user,
                     const struct store_v1_device *device)
{
    struct postgres *pg = postgres_of(store);
    struct pg_query query;
    ASSERT(pg->is_open && pg->is_writer);
    pg_begin(&query, pg, PG_V1_DEVICE_PUT);
    pg_add_uuid(&query, user);
    pg_add_text(&query, device->device_id);
    pg_add_text(&query, device->name);
    pg_add_text(&query, device->type);
    pg_add_time(&query, device->last_sync_us);
    pg_add_time(&query, device->created_us);
    int status = pg_run_after_flush(&query);
    pg_end(&query);
    return status == BQ_OK ? run_with_number(pg, PG_V1_DEVICE_TRIM, user, LIMIT_DEVICES) : status;
}

int pg_v1_device_remove(struct store *store, const struct uuid *user, struct slice device_id,
                        bool *out_found)
{
    struct postgres *pg = postgres_of(store);
    struct pg_query query;
    ASSERT(pg->is_open && pg->is_writer);
    pg_begin(&query, pg, PG_V1_DEVICE_REMOVE);
    pg_add_uuid(&query, user);
    pg_add_text(&query, device_id);
    int status = pg_run_after_flush(&query);
    if (status == BQ_OK) {
        *out_found = pg_changed(&query) > 0;
    }
    pg_end(&query);
    return status;
}

/* ---- Dead letters ---------------------------------------------------------------------------- */

static void add_dead(struct pg_query *query, const struct store_dead *items, uint32_t n)
{
    pg_array(query, PG_TEXT);
    for (uint32_t i = 0; i < n; i++) {
        pg_item_text(query, items[i].id);
    }
    pg_array_end(query);
    pg_array(query, PG_TEXT);
    for (uint32_t i = 0; i < n; i++) {
        pg_item_text(query, items[i].key);
    }
    pg_array_end(query);
    pg_array(query, PG_JSONB);
    for (uint32_t i = 0; i < n; i++) {
        pg_item_json(query, items[i].data);
    }
    pg_array_end(query);
    pg_array(query, PG_INT8);
    for (uint32_t i = 0; i < n; i++) {
        pg_item_int(query, items[i].version);
    }
    pg_array_end(query);
    pg_array(query, PG_TEXT);
    for (uint32_t i = 0; i < n; i++) {
        pg_item_text(query, items[i].error);
    }
    pg_array_end(query);
    pg_array(query, PG_TIME);
    for (uint32_t i = 0; i < n; i++) {
        pg_item_time(query, items[i].at_us);
    }
    pg_array_end(query);
}

/* A letter that is named twice is one; the last one stays, as if they came one by one. */
static uint32_t without_doubles(struct arena *arena, const struct store_dead *items, uint32_t n,
                                struct store_dead **out)
{
    uint32_t n_kept = 0;
    struct store_dead *kept = arena_zalloc(arena, n, sizeof *kept);
    for (uint32_t i = 0; kept != NULL && i < n; i++) {
        bool again = false;
        for (uint32_t k = i + 1; k < n && !again; k++) {
            again = slice_equal(items[i].id, items[k].id);
        }
        if (!again) {
            kept[n_kept++] = items[i];
        }
    }
    *out = kept;
    return n_kept;
}

int pg_dead_replace(struct store *store, const struct uuid *user, struct slice device_id,
                    const struct store_dead *items, uint32_t n)
{
    struct postgres *pg = postgres_of(store);
    struct pg_query query;
    struct store_dead *kept;
    ASSERT(pg->is_open && pg->is_writer);
    pg_begin(&query, pg, PG_DEAD_CLEAR);
    pg_add_uuid(&query, user);
    pg_add_text(&query, device_id);
    int status = pg_run_after_flush(&query);
    pg_end(&query);
    if (status != BQ_OK || n == 0) {
        return status;
    }
    n = without_doubles(&pg->arena, items, n, &kept);
    if (kept == NULL) {
        return BQ_NOMEM;
    }
    pg_begin(&query, pg, PG_DEAD_ADD);
    pg_add_uuid(&query, user);
    pg_add_text(&query, device_id);
    add_dead(&query, kept, n);
    status = pg_run(&query);
    pg_end(&query);
    if (status == BQ_OK) {
        pg_begin(&query, pg, PG_DEAD_TRIM);
        pg_add_uuid(&query, user);
        pg_add_int(&query, LIMIT_DEAD_LETTERS);
        pg_add_int(&query, LIMIT_DEAD_BYTES);
        status = pg_run(&query);
        pg_end(&query);
    }
    return status;
}

int pg_dead_letters(struct store *store, struct arena *arena, const struct uuid *user,
                    struct store_dead_letters *out)
{
    struct postgres *pg = postgres_of(store);
    struct pg_query query;
    ASSERT(pg->is_open);
    pg_begin(&query, pg, PG_DEAD_LETTERS);
    pg_add_uuid(&query, user);
    int status = pg_run_after_flush(&query);
    int n = status == BQ_OK ? pg_rows(&query) : 0;
    struct store_dead *items = arena_zalloc(arena, (size_t)n, sizeof *items);
    for (int i = 0; items != NULL && i < n; i++) {
        items[i] = (struct store_dead){pg_text(&query, arena, i, 0), pg_text(&query, arena, i, 1),
                                       pg_text(&query, arena, i, 2), pg_json(&query, arena, i, 3),
                                       pg_int(&query, i, 4),         pg_text(&query, arena, i, 5),
                                       pg_time(&query, i, 6)};
    }
    pg_end(&query);
    if (status == BQ_OK && arena_failed(arena)) {
        status = BQ_NOMEM;
    }
    if (status == BQ_OK) {
        *out = (struct store_dead_letters){items, (uint32_t)n};
    }
    return status;
}

/* ---- Policies -------------------------------------------------------------------------------- */

int pg_policies(struct store *store, struct arena *arena, struct store_policies *out)
{
    struct postgres *pg = postgres_of(store);
    struct pg_query query;
    struct pg_query version;
    ASSERT(pg->is_open);
    pg_begin(&query, pg, PG_POLICIES);
    pg_begin(&version, pg, PG_POLICIES_VERSION);
    pg_send(&version); /* first: what is read is of this version, or newer */
    pg_send(&query);
    int status = pg_pipe(pg);
    if (status == BQ_OK && pg_rows(&version) == 0) {
        status = BQ_CORRUPT;
    }
    int n = status == BQ_OK ? pg_rows(&query) : 0;
    struct store_policy *items = arena_zalloc(arena, (size_t)n, sizeof *items);
    for (int i = 0; items != NULL && i < n; i++) {
        items[i] =
            (struct store_policy){pg_text(&query, arena, i, 0), pg_json(&query, arena, i, 1)};
    }
    if (status == BQ_OK && arena_failed(arena)) {
        status = BQ_NOMEM;
    }
    if (status == BQ_OK) {
        *out = (struct store_policies){items, (uint32_t)n, pg_int(&version, 0, 0)};
    }
    pg_end(&query);
    pg_end(&version);
    return status;
}

int pg_policy_put(struct store *store, struct slice pattern, struct slice policy)
{
    struct postgres *pg = postgres_of(store);
    struct pg_query query;
    struct pg_query raise;
    ASSERT(pg->is_open && pg->is_writer);
    pg_begin(&raise, pg, PG_POLICIES_RAISE);
    pg_send(&raise); /* locks: of two operators one waits */
    pg_begin(&query, pg, policy.len == 0 ? PG_POLICY_REMOVE : PG_POLICY_PUT);
    pg_add_text(&query, pattern);
    if (policy.len > 0) {
        pg_add_json(&query, policy);
    }
    pg_send(&query);
    int status = pg_pipe(pg);
    if (status == BQ_OK && pg_changed(&raise) != 1) {
        status = BQ_CORRUPT;
    }
    pg_end(&query);
    pg_end(&raise);
    return status;
}

/* ---- A user's end ---------------------------------------------------------------------------- */

int pg_user_clear(struct store *store, const struct uuid *user)
{
    static const enum pg_statement clears[] = {
        PG_CLEAR_DOCS,    PG_CLEAR_RECEIPTS, PG_CLEAR_HISTORY,    PG_CLEAR_UPSERTS,
        PG_CLEAR_DEVICES, PG_CLEAR_V1,       PG_CLEAR_V1_DEVICES, PG_CLEAR_DEAD};
    struct postgres *pg = postgres_of(store);
    ASSERT(pg->is_open && pg->is_writer);
    struct pg_user *owner = pg_user_entry(pg, user);
    int status = owner == NULL ? BQ_NOMEM : pg_load_user(pg, owner);
    for (size_t i = 0; status == BQ_OK && i < sizeof clears / sizeof clears[0]; i++) {
        status = run_for_user(pg, clears[i], user);
    }
    if (status == BQ_OK) {
        pg_forget(owner);
    }
    return status;
}
