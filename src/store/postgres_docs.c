/* postgres_docs.c - users, documents, their feed and their history.
 *
 * All of them go through the cache. What only PostgreSQL can answer (the oldest tombstone, a feed
 * that was not read ahead) is asked for after what is dirty was written. */
#include "store/postgres_impl.h"

#include "base/assert.h"
#include "base/status.h"

#include <stdlib.h>

/* A copy in the arena of the cache. */
static struct slice keep(struct postgres *pg, struct slice text)
{
    return text.ptr == NULL ? SLICE_NONE : arena_copy(&pg->arena, text);
}

static struct slice give(struct arena *arena, struct slice text)
{
    return text.ptr == NULL ? SLICE_NONE : arena_copy(arena, text);
}

/* ---- Users ----------------------------------------------------------------------------------- */

static int user_of(struct store *store, const struct uuid *id, struct pg_user **out)
{
    struct postgres *pg = postgres_of(store);
    ASSERT(pg->is_open);
    struct pg_user *user = pg_user_entry(pg, id);
    int status = user == NULL ? BQ_NOMEM : pg_load_user(pg, user);
    if (status == BQ_OK) {
        *out = user;
    }
    return status;
}

int pg_user_get(struct store *store, const struct uuid *id, struct store_user *out)
{
    struct pg_user *user;
    int status = user_of(store, id, &user);
    if (status == BQ_OK) {
        *out = user->row;
    }
    return status;
}

int pg_user_put(struct store *store, const struct store_user *row)
{
    struct pg_user *user;
    ASSERT(postgres_of(store)->is_writer);
    int status = user_of(store, &row->id, &user);
    if (status == BQ_OK) {
        user->row = *row;
        user->row.exists = true;
        user->made = false;
        pg_make_dirty(postgres_of(store), &user->entry);
    }
    return status;
}

/* ---- Documents ------------------------------------------------------------------------------- */

static int doc_of(struct store *store, const struct uuid *user, struct slice key,
                  struct pg_doc **out)
{
    struct postgres *pg = postgres_of(store);
    ASSERT(pg->is_open);
    struct pg_doc *doc = pg_doc_entry(pg, user, key);
    int status = doc == NULL ? BQ_NOMEM : BQ_OK;
    if (status == BQ_OK && pg->is_writer) {
        status = pg_load_user(pg, doc->entry.user);
    }
    if (status == BQ_OK) {
        status = pg_load_doc(pg, doc);
    }
    if (status == BQ_OK) {
        *out = doc;
    }
    return status;
}

static int give_doc(struct arena *arena, const struct store_doc *row, struct store_doc *out)
{
    *out = *row;
    out->key = give(arena, row->key);
    out->data = give(arena, row->data);
    out->device_id = give(arena, row->device_id);
    out->receipts = give(arena, row->receipts);
    return arena_failed(arena) ? BQ_NOMEM : BQ_OK;
}

int pg_doc_get(struct store *store, struct arena *arena, const struct uuid *user,
               struct slice key, struct store_doc *out)
{
    struct pg_doc *doc;
    int status = doc_of(store, user, key, &doc);
    return status == BQ_OK ? give_doc(arena, &doc->row, out) : status;
}

/* Whether a put changes the receipts alone. */
static bool is_same_row(const struct store_doc *a, const struct store_doc *b)
{
    return a->version == b->version && a->seq == b->seq && a->deleted == b->deleted &&
           a->epoch == b->epoch && a->modified_us == b->modified_us &&
           a->created_us == b->created_us && a->history == b->history &&
           slice_equal(a->device_id, b->device_id) &&
           (a->device_id.ptr == NULL) == (b->device_id.ptr == NULL) &&
           slice_equal(a->data, b->data);
}

int pg_doc_put(struct store *store, const struct uuid *user, const struct store_doc *row)
{
    struct postgres *pg = postgres_of(store);
    struct pg_doc *doc;
    ASSERT(pg->is_writer);
    int status = doc_of(store, user, row->key, &doc);
    if (status != BQ_OK) {
        return status;
    }
    bool receipts = !slice_equal(row->receipts, doc->row.receipts);
    bool rest = !is_same_row(row, &doc->row);
    struct slice key = doc->row.key;
    struct store_doc kept = *row;
    kept.key = key;
    kept.data = rest ? keep(pg, row->data) : doc->row.data;
    kept.counted = rest ? (int64_t)row->data.len : doc->row.counted;
    kept.device_id = keep(pg, row->device_id);
    kept.receipts = row->receipts.len == 0 ? SLICE("") : keep(pg, row->receipts);
    if (arena_failed(&pg->arena)) {
        return BQ_NOMEM;
    }
    doc->row = kept;
    doc->row_dirty = doc->row_dirty || rest;
    doc->receipts_dirty =
        doc->receipts_dirty || (receipts && (kept.receipts.len > 0 || doc->had_receipts));
    if (doc->row_dirty || doc->receipts_dirty) {
        pg_make_dirty(pg, &doc->entry);
    }
    return BQ_OK;
}

/* ---- The feed -------------------------------------------------------------------------------- */

static int by_seq(const void *a, const void *b)
{
    const struct pg_doc *const *left = a;
    const struct pg_doc *const *right = b;
    return ((*left)->row.seq > (*right)->row.seq) - ((*left)->row.seq < (*right)->row.seq);
}

/* The documents behind `after`, by seq, out of a cache that has them all. */
static int cached_docs(struct postgres *pg, const struct pg_user *user, int64_t after,
                       bool with_deleted, struct pg_doc ***out, uint32_t *out_n)
{
    uint32_t n = 0;
    for (const struct pg_entry *entry = user->docs; entry != NULL; entry = entry->of_user) {
        n++;
    }
    struct pg_doc **found = arena_zalloc(&pg->arena, n, sizeof(struct pg_doc *));
    if (found == NULL) {
        return BQ_NOMEM;
    }
    n = 0;
    for (struct pg_entry *entry = user->docs; entry != NULL; entry = entry->of_user) {
        struct pg_doc *doc = (struct pg_doc *)entry;
        if (entry->loaded && doc->row.seq > after && (with_deleted || !doc->row.deleted)) {
            found[n++] = doc;
        }
    }
    if (n > 1) {
        qsort(found, n, sizeof(struct pg_doc *), by_seq);
    }
    *out = found;
    *out_n = n;
    return BQ_OK;
}

/* The same where PostgreSQL has to tell which there are: keys first, then up to max_bytes of
 * documents at once. */
static int asked_docs(struct postgres *pg, const struct uuid *user, int64_t after,
                      uint32_t max_rows, size_t max_bytes, bool with_deleted, struct pg_doc ***out,
                      uint32_t *out_n)
{
    struct pg_query query;
    pg_begin(&query, pg, PG_DOC_KEYS);
    pg_add_uuid(&query, user);
    pg_add_int(&query, after);
    pg_add_bool(&query, with_deleted);
    pg_add_int(&query, (int64_t)max_rows + 1);
    int status = pg_run_after_flush(&query);
    uint32_t n = status == BQ_OK ? (uint32_t)pg_rows(&query) : 0;
    struct pg_doc **found = arena_zalloc(&pg->arena, n, sizeof(struct pg_doc *));
    struct store_want *wants = arena_zalloc(&pg->arena, n, sizeof *wants);
    uint32_t n_wants = 0;
    size_t bytes = 0;
    if (found == NULL || wants == NULL) {
        status = BQ_NOMEM;
    }
    for (uint32_t i = 0; status == BQ_OK && i < n; i++) {
        struct slice key = pg_text(&query, &pg->arena, (int)i, 0);
        found[i] = key.ptr == NULL ? NULL : pg_doc_entry(pg, user, key);
        status = found[i] == NULL ? BQ_NOMEM : BQ_OK;
        /* Its size there is about its size here; what is cut off too late is not handed out. */
        if (status == BQ_OK && i < max_rows && (i == 0 || bytes / 2 <= max_bytes)) {
            bytes += (size_t)pg_int(&query, (int)i, 1);
            wants[n_wants++] = (struct store_want){STORE_WANT_DOC, user, key, SLICE_NONE, 0};
        }
    }
    pg_end(&query);
    if (status == BQ_OK) {
        status = pg_prefetch(&pg->store, wants, n_wants);
    }
    *out = found;
    *out_n = n;
    return status;
}

int pg_docs(struct store *store, struct arena *arena, const struct uuid *user, int64_t after,
            uint32_t max_rows, size_t max_bytes, bool with_deleted, struct store_docs *out)
{
    struct postgres *pg = postgres_of(store);
    struct pg_doc **found = NULL;
    uint32_t n_found = 0;
    uint32_t n = 0;
    size_t left = max_bytes;
    ASSERT(pg->is_open);
    struct pg_user *owner = pg_user_entry(pg, user);
    if (owner == NULL) {
        return BQ_NOMEM;
    }
    bool is_cached = owner->feed_after >= 0 && after >= owner->feed_after;
    int status = is_cached ? cached_docs(pg, owner, after, with_deleted, &found, &n_found)
                           : asked_docs(pg, user, after, max_rows, max_bytes, with_deleted, &found,
                                        &n_found);
    uint32_t most = n_found < max_rows ? n_found : max_rows;
    struct store_doc *items = arena_zalloc(arena, most, sizeof *items);
    if (status == BQ_OK && items == NULL) {
        status = BQ_NOMEM;
    }
    while (status == BQ_OK && n < most && found[n]->entry.loaded) {
        size_t len = found[n]->row.data.len;
        if (n > 0 && len > left) {
            break;
        }
        status = give_doc(arena, &found[n]->row, &items[n]);
        left = len < left ? left - len : 0;
        n++;
    }
    if (status == BQ_OK) {
        *out = (struct store_docs){items, n, n < n_found};
    }
    return status;
}

/* ---- Tombstones ------------------------------------------------------------------------------ */

static int remove_doc(struct postgres *pg, const struct uuid *user, struct slice key)
{
    static const enum pg_statement removes[] = {PG_DOC_REMOVE, PG_RECEIPTS_REMOVE,
                                                PG_HISTORY_REMOVE, PG_UPSERTS_REMOVE};
    int status = BQ_OK;
    for (size_t i = 0; status == BQ_OK && i < sizeof removes / sizeof removes[0]; i++) {
        struct pg_query query;
        pg_begin(&query, pg, removes[i]);
        pg_add_uuid(&query, user);
        pg_add_text(&query, key);
        status = pg_run(&query);
        pg_end(&query);
    }
    return status;
}

int pg_tombstone_drop(struct store *store, const struct uuid *user, int64_t *out_seq)
{
    struct postgres *pg = postgres_of(store);
    struct pg_query query;
    struct pg_user *owner;
    ASSERT(pg->is_writer);
    int status = user_of(store, user, &owner);
    if (status != BQ_OK) {
        return status;
    }
    pg_begin(&query, pg, PG_TOMBSTONE);
    pg_add_uuid(&query, user);
    status = pg_run_after_flush(&query);
    int64_t seq = status == BQ_OK && pg_rows(&query) > 0 ? pg_int(&query, 0, 1) : 0;
    if (seq != 0) {
        struct slice key = pg_text(&query, &pg->arena, 0, 0);
        status = key.ptr == NULL ? BQ_NOMEM : remove_doc(pg, user, key);
        pg_forget(owner);
    }
    pg_end(&query);
    if (status == BQ_OK) {
        *out_seq = seq;
    }
    return status;
}

/* ---- History --------------------------------------------------------------------------------- */

int pg_history_add(struct store *store, const struct uuid *user, struct slice key,
                   const struct store_history *entry, int64_t *out_id)
{
    struct postgres *pg = postgres_of(store);
    struct pg_user *owner;
    ASSERT(pg->is_open && pg->is_writer);
    if (pg->config.n_history == 0) {
        *out_id = 0;
        return BQ_OK;
    }
    int status = user_of(store, user, &owner);
    if (status != BQ_OK) {
        return status;
    }
    struct pg_history *history = pg_history_entry(pg, user, owner->history_id + 1);
    if (history == NULL) {
        return BQ_NOMEM;
    }
    history->key = keep(pg, key);
    history->row.older = entry->older;
    history->row.version = entry->version;
    history->row.entry = keep(pg, entry->entry);
    if (arena_failed(&pg->arena)) {
        return BQ_NOMEM;
    }
    history->entry.loaded = true;
    owner->history_id++;
    owner->made = false;
    pg_make_dirty(pg, &owner->entry);
    pg_make_dirty(pg, &history->entry);
    *out_id = history->row.id;
    return BQ_OK;
}

static int ask_history(struct postgres *pg, const struct uuid *user, struct pg_history *history)
{
    struct pg_query query;
    pg_begin(&query, pg, PG_HISTORY_GET);
    pg_add_uuid(&query, user);
    pg_add_int(&query, history->row.id);
    int status = pg_run_after_flush(&query);
    if (status == BQ_OK && pg_rows(&query) == 0) {
        status = BQ_NOT_FOUND;
    }
    if (status == BQ_OK) {
        history->row.older = pg_int(&query, 0, 1);
        history->row.version = pg_int(&query, 0, 2);
        history->row.entry = pg_json(&query, &pg->arena, 0, 3);
        history->entry.loaded = !arena_failed(&pg->arena);
        status = history->entry.loaded ? BQ_OK : BQ_NOMEM;
    }
    pg_end(&query);
    return status;
}

int pg_history_get(struct store *store, struct arena *arena, const struct uuid *user, int64_t id,
                   struct store_history *out)
{
    struct postgres *pg = postgres_of(store);
    ASSERT(pg->is_open);
    struct pg_history *history = pg_history_entry(pg, user, id);
    int status = history == NULL ? BQ_NOMEM : BQ_OK;
    if (status == BQ_OK && !history->entry.loaded) {
        status = ask_history(pg, user, history);
    }
    if (status == BQ_OK) {
        *out = history->row;
        out->entry = give(arena, history->row.entry);
        status = arena_failed(arena) ? BQ_NOMEM : BQ_OK;
    }
    return status;
}
