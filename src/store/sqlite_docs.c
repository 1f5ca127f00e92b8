/* sqlite_docs.c - the user row, documents and their change feed.
 *
 * The feed of a user has no index: a user has at most some thousand rows, they stand together, and
 * an index would cost each write one more page. The feed sorts keys, then reads the documents.
 * Tombstones alone have one, by seq. */
#include "store/sqlite_impl.h"

#include "base/assert.h"
#include "base/status.h"

int sqlite_user_get(struct store *store, const struct uuid *id, struct store_user *out)
{
    struct sqlite_query query;
    ASSERT(sqlite_of(store)->is_open);
    sqlite_query_begin(&query, sqlite_of(store), SQL_USER_GET);
    sqlite_bind_text(&query, uuid_slice(id));
    int status = sqlite_query_step(&query);
    if (status == BQ_OK) {
        *out = (struct store_user){.id = *id,
                                   .exists = true,
                                   .seq = sqlite_column_int(&query, 0),
                                   .generation = sqlite_column_int(&query, 1),
                                   .clock_us = sqlite_column_int(&query, 2),
                                   .erased = sqlite_column_int(&query, 3) != 0,
                                   .n_keys = sqlite_column_int(&query, 4),
                                   .n_bytes = sqlite_column_int(&query, 5),
                                   .n_tombstones = sqlite_column_int(&query, 6),
                                   .purged_seq = sqlite_column_int(&query, 7)};
    } else if (status == BQ_NOT_FOUND) {
        *out = (struct store_user){.id = *id};
        status = BQ_OK;
    }
    sqlite_query_end(&query);
    return status;
}

int sqlite_user_put(struct store *store, const struct store_user *user)
{
    struct sqlite_query query;
    ASSERT(sqlite_of(store)->is_open && sqlite_of(store)->is_writer);
    sqlite_query_begin(&query, sqlite_of(store), SQL_USER_PUT);
    sqlite_bind_text(&query, uuid_slice(&user->id));
    sqlite_bind_int(&query, user->seq);
    sqlite_bind_int(&query, user->generation);
    sqlite_bind_int(&query, user->clock_us);
    sqlite_bind_int(&query, user->erased);
    sqlite_bind_int(&query, user->n_keys);
    sqlite_bind_int(&query, user->n_bytes);
    sqlite_bind_int(&query, user->n_tombstones);
    sqlite_bind_int(&query, user->purged_seq);
    return sqlite_query_run(&query);
}

/* The row of a SQL_DOC_GET that stands on it. */
static void read_doc(struct sqlite_query *query, struct arena *arena, struct store_doc *out)
{
    out->key = sqlite_column_slice(query, arena, 0);
    out->version = sqlite_column_int(query, 1);
    out->device_id = sqlite_column_slice(query, arena, 2);
    out->modified_us = sqlite_column_time(query, 3);
    out->created_us = sqlite_column_time(query, 4);
    out->seq = sqlite_column_int(query, 5);
    out->deleted = sqlite_column_int(query, 6) != 0;
    out->epoch = sqlite_column_int(query, 7);
    out->history = sqlite_column_int(query, 8);
    out->receipts = sqlite_column_slice(query, arena, 9);
    out->data = sqlite_column_slice(query, arena, 10);
    out->counted = (int64_t)out->data.len;
}

/* A document of at most max_bytes of data: BQ_TOO_LARGE, and nothing copied, where it has more. */
static int get_doc(struct sqlite *sqlite, struct arena *arena, const struct uuid *user,
                   struct slice key, size_t max_bytes, struct store_doc *out)
{
    struct sqlite_query query;
    struct store_doc doc = {0};
    sqlite_query_begin(&query, sqlite, SQL_DOC_GET);
    sqlite_bind_text(&query, uuid_slice(user));
    sqlite_bind_text(&query, key);
    int status = sqlite_query_step(&query);
    if (status == BQ_OK && (size_t)sqlite3_column_bytes(query.stmt, 10) > max_bytes) {
        sqlite_query_end(&query);
        return BQ_TOO_LARGE;
    }
    if (status == BQ_OK) {
        read_doc(&query, arena, &doc);
    } else if (status == BQ_NOT_FOUND) {
        doc.key = arena_copy(arena, key);
    }
    status = sqlite_query_finish(&query, arena);
    if (status == BQ_OK) {
        *out = doc;
    }
    return status;
}

int sqlite_doc_get(struct store *store, struct arena *arena, const struct uuid *user,
                   struct slice key, struct store_doc *out)
{
    ASSERT(sqlite_of(store)->is_open);
    return get_doc(sqlite_of(store), arena, user, key, SIZE_MAX, out);
}

int sqlite_doc_put(struct store *store, const struct uuid *user, const struct store_doc *doc)
{
    struct sqlite_query query;
    ASSERT(sqlite_of(store)->is_open && sqlite_of(store)->is_writer);
    sqlite_query_begin(&query, sqlite_of(store), SQL_DOC_PUT);
    sqlite_bind_text(&query, uuid_slice(user));
    sqlite_bind_text(&query, doc->key);
    sqlite_bind_int(&query, doc->version);
    sqlite_bind_text(&query, doc->device_id);
    sqlite_bind_time(&query, doc->modified_us);
    sqlite_bind_time(&query, doc->created_us);
    sqlite_bind_int(&query, doc->seq);
    sqlite_bind_int(&query, doc->deleted);
    sqlite_bind_int(&query, doc->epoch);
    sqlite_bind_int(&query, doc->history);
    sqlite_bind_blob(&query, doc->receipts);
    sqlite_bind_text(&query, doc->data);
    return sqlite_query_run(&query);
}

struct found_key {
    struct found_key *next;
    struct slice key;
};

/* The keys of the rows after `after`, by seq, at most `most`. */
static int find_keys(struct sqlite_query *query, struct arena *arena, struct found_key **out,
                     uint32_t *out_n)
{
    struct found_key **end = out;
    uint32_t n = 0;
    while (sqlite_query_step(query) == BQ_OK) {
        struct found_key *found = arena_alloc(arena, sizeof *found);
        if (found == NULL) {
            break;
        }
        found->key = sqlite_column_slice(query, arena, 0);
        *end = found;
        end = &found->next;
        n++;
    }
    *end = NULL;
    *out_n = n;
    return sqlite_query_finish(query, arena);
}

int sqlite_docs(struct store *store, struct arena *arena, const struct uuid *user, int64_t after,
                uint32_t max_rows, size_t max_bytes, bool with_deleted, struct store_docs *out)
{
    struct sqlite_query query;
    struct sqlite *sqlite = sqlite_of(store);
    struct found_key *found;
    uint32_t n_found;
    ASSERT(sqlite->is_open);
    sqlite_query_begin(&query, sqlite, SQL_DOC_KEYS);
    sqlite_bind_text(&query, uuid_slice(user));
    sqlite_bind_int(&query, after);
    sqlite_bind_int(&query, with_deleted);
    sqlite_bind_int(&query, (int64_t)max_rows + 1);
    int status = find_keys(&query, arena, &found, &n_found);
    if (status != BQ_OK) {
        return status;
    }
    uint32_t n = 0;
    uint32_t most = n_found < max_rows ? n_found : max_rows;
    size_t left = max_bytes;
    struct store_doc *items = arena_zalloc(arena, most, sizeof *items);
    if (items == NULL) {
        return BQ_NOMEM;
    }
    while (n < most && found != NULL) {
        status = get_doc(sqlite, arena, user, found->key, n == 0 ? SIZE_MAX : left, &items[n]);
        if (status != BQ_OK) {
            break;
        }
        size_t len = items[n].data.len;
        left = len < left ? left - len : 0;
        found = found->next;
        n++;
    }
    if (status == BQ_OK || status == BQ_TOO_LARGE) {
        *out = (struct store_docs){items, n, n < n_found};
        status = BQ_OK;
    }
    return status;
}

/* The key is in the row that is removed, so it is copied first. */
static int remove_doc(struct sqlite *sqlite, const struct uuid *user, struct slice key)
{
    static const enum sqlite_statement removes[] = {SQL_DOC_REMOVE, SQL_UPSERTS_REMOVE};
    int status = BQ_OK;
    for (size_t i = 0; status == BQ_OK && i < sizeof removes / sizeof removes[0]; i++) {
        struct sqlite_query query;
        sqlite_query_begin(&query, sqlite, removes[i]);
        sqlite_bind_text(&query, uuid_slice(user));
        sqlite_bind_text(&query, key);
        status = sqlite_query_run(&query);
    }
    return status;
}

int sqlite_tombstone_drop(struct store *store, const struct uuid *user, int64_t *out_seq)
{
    struct sqlite_query query;
    struct sqlite *sqlite = sqlite_of(store);
    ASSERT(sqlite->is_open && sqlite->is_writer);
    sqlite_query_begin(&query, sqlite, SQL_TOMBSTONE);
    sqlite_bind_text(&query, uuid_slice(user));
    int status = sqlite_query_step(&query);
    if (status != BQ_OK) {
        sqlite_query_end(&query);
        if (status == BQ_NOT_FOUND) {
            *out_seq = 0;
            status = BQ_OK;
        }
        return status;
    }
    struct arena arena;
    arena_init(&arena);
    struct slice key = sqlite_column_slice(&query, &arena, 0);
    int64_t history = sqlite_column_int(&query, 1);
    int64_t seq = sqlite_column_int(&query, 2);
    status = sqlite_query_finish(&query, &arena);
    if (status == BQ_OK) {
        status = remove_doc(sqlite, user, key);
    }
    if (status == BQ_OK) {
        status = sqlite_history_remove_chain(sqlite, history);
    }
    if (status == BQ_OK) {
        *out_seq = seq;
    }
    arena_release(&arena);
    return status;
}
