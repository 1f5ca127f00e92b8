/* postgres_flush.c - from the cache into the database: what is dirty, as arrays, in one trip.
 *
 * History is pruned here: whenever a document's version passes a multiple of n_history its chain is
 * walked from its head, and what n_history newer changes made superfluous goes. So a document has
 * less than twice as many entries as it needs. */
#include "store/postgres_impl.h"

#include "base/status.h"

enum {
    USERS,
    DOCS,
    RECEIPTS,
    HISTORY,
    PRUNE,
    UPSERTS,
    UNMAKE,
    COMMIT,
    N_QUERIES
};

static const enum pg_statement statements[N_QUERIES] = {
    [USERS] = PG_USERS_PUT,     [DOCS] = PG_DOCS_PUT,        [RECEIPTS] = PG_RECEIPTS_PUT,
    [HISTORY] = PG_HISTORY_ADD, [PRUNE] = PG_HISTORY_PRUNE,  [UPSERTS] = PG_UPSERTS_PUT,
    [UNMAKE] = PG_USERS_UNMAKE, [COMMIT] = PG_COMMIT,
};

/* A column: the entries of one statement, and what is taken of each. */
typedef void column(struct pg_query *query, const struct pg_entry *entry);

struct rows {
    struct pg_entry **items;
    size_t n;
};

static void add_column(struct pg_query *query, const struct rows *rows, enum pg_type type,
                       column *add)
{
    pg_array(query, type);
    for (size_t i = 0; i < rows->n; i++) {
        add(query, rows->items[i]);
    }
    pg_array_end(query);
}

static const struct pg_doc *doc_of(const struct pg_entry *entry)
{
    return (const struct pg_doc *)entry;
}

static const struct pg_user *user_of(const struct pg_entry *entry)
{
    return (const struct pg_user *)entry;
}

static const struct pg_history *history_of(const struct pg_entry *entry)
{
    return (const struct pg_history *)entry;
}

static const struct pg_upserts *upserts_of(const struct pg_entry *entry)
{
    return (const struct pg_upserts *)entry;
}

static void owner_id(struct pg_query *query, const struct pg_entry *entry)
{
    pg_item_uuid(query, entry->kind == PG_KIND_USER ? &user_of(entry)->id : &entry->user->id);
}

#define COLUMN(name, of, item, value)                                                              \
    static void name(struct pg_query *query, const struct pg_entry *entry)                         \
    {                                                                                              \
        item(query, of(entry)->value);                                                             \
    }

COLUMN(user_seq, user_of, pg_item_int, row.seq)
COLUMN(user_generation, user_of, pg_item_int, row.generation)
COLUMN(user_clock, user_of, pg_item_int, row.clock_us)
COLUMN(user_erased, user_of, pg_item_bool, row.erased)
COLUMN(user_keys, user_of, pg_item_int, row.n_keys)
COLUMN(user_bytes, user_of, pg_item_int, row.n_bytes)
COLUMN(user_tombstones, user_of, pg_item_int, row.n_tombstones)
COLUMN(user_purged, user_of, pg_item_int, row.purged_seq)
COLUMN(user_history, user_of, pg_item_int, history_id)
COLUMN(doc_key, doc_of, pg_item_text, row.key)
COLUMN(doc_version, doc_of, pg_item_int, row.version)
COLUMN(doc_device, doc_of, pg_item_text, row.device_id)
COLUMN(doc_modified, doc_of, pg_item_time, row.modified_us)
COLUMN(doc_created, doc_of, pg_item_time, row.created_us)
COLUMN(doc_seq, doc_of, pg_item_int, row.seq)
COLUMN(doc_deleted, doc_of, pg_item_bool, row.deleted)
COLUMN(doc_epoch, doc_of, pg_item_int, row.epoch)
COLUMN(doc_history, doc_of, pg_item_int, row.history)
COLUMN(doc_data, doc_of, pg_item_json, row.data)
COLUMN(doc_bytes, doc_of, pg_item_int, row.counted)
COLUMN(doc_receipts, doc_of, pg_item_text, row.receipts)
COLUMN(history_id, history_of, pg_item_int, row.id)
COLUMN(history_key, history_of, pg_item_text, key)
COLUMN(history_version, history_of, pg_item_int, row.version)
COLUMN(history_older, history_of, pg_item_int, row.older)
COLUMN(history_entry, history_of, pg_item_json, row.entry)
COLUMN(upserts_key, upserts_of, pg_item_text, doc->row.key)
COLUMN(upserts_device, upserts_of, pg_item_text, device_id)
COLUMN(upserts_at, upserts_of, pg_item_time, at_us)
COLUMN(upserts_packed, upserts_of, pg_item_json, packed)

static void doc_keep(struct pg_query *query, const struct pg_entry *entry)
{
    pg_item_int(query, doc_of(entry)->row.version - (int64_t)query->pg->config.n_history);
}

static void add_users(struct pg_query *query, const struct rows *rows)
{
    add_column(query, rows, PG_UUID, owner_id);
    add_column(query, rows, PG_INT8, user_seq);
    add_column(query, rows, PG_INT8, user_generation);
    add_column(query, rows, PG_INT8, user_clock);
    add_column(query, rows, PG_BOOL, user_erased);
    add_column(query, rows, PG_INT8, user_keys);
    add_column(query, rows, PG_INT8, user_bytes);
    add_column(query, rows, PG_INT8, user_tombstones);
    add_column(query, rows, PG_INT8, user_purged);
    add_column(query, rows, PG_INT8, user_history);
}

static void add_docs(struct pg_query *query, const struct rows *rows)
{
    add_column(query, rows, PG_UUID, owner_id);
    add_column(query, rows, PG_TEXT, doc_key);
    add_column(query, rows, PG_INT8, doc_version);
    add_column(query, rows, PG_TEXT, doc_device);
    add_column(query, rows, PG_TIME, doc_modified);
    add_column(query, rows, PG_TIME, doc_created);
    add_column(query, rows, PG_INT8, doc_seq);
    add_column(query, rows, PG_BOOL, doc_deleted);
    add_column(query, rows, PG_INT8, doc_epoch);
    add_column(query, rows, PG_INT8, doc_history);
    add_column(query, rows, PG_JSONB, doc_data);
    add_column(query, rows, PG_INT8, doc_bytes);
}

static void add_receipts(struct pg_query *query, const struct rows *rows)
{
    add_column(query, rows, PG_UUID, owner_id);
    add_column(query, rows, PG_TEXT, doc_key);
    add_column(query, rows, PG_BYTEA, doc_receipts);
}

static void add_history(struct pg_query *query, const struct rows *rows)
{
    add_column(query, rows, PG_UUID, owner_id);
    add_column(query, rows, PG_INT8, history_id);
    add_column(query, rows, PG_TEXT, history_key);
    add_column(query, rows, PG_INT8, history_version);
    add_column(query, rows, PG_INT8, history_older);
    add_column(query, rows, PG_JSONB, history_entry);
}

static void add_prune(struct pg_query *query, const struct rows *rows)
{
    add_column(query, rows, PG_UUID, owner_id);
    add_column(query, rows, PG_INT8, doc_history);
    add_column(query, rows, PG_INT8, doc_keep);
}

static void add_upserts(struct pg_query *query, const struct rows *rows)
{
    add_column(query, rows, PG_UUID, owner_id);
    add_column(query, rows, PG_TEXT, upserts_key);
    add_column(query, rows, PG_TEXT, upserts_device);
    add_column(query, rows, PG_TIME, upserts_at);
    add_column(query, rows, PG_JSONB, upserts_packed);
}

static void add_unmade(struct pg_query *query, const struct rows *rows)
{
    add_column(query, rows, PG_UUID, owner_id);
}

static void (*const fills[N_QUERIES])(struct pg_query *, const struct rows *) = {
    [USERS] = add_users,   [DOCS] = add_docs,       [RECEIPTS] = add_receipts,
    [HISTORY] = add_history, [PRUNE] = add_prune,   [UPSERTS] = add_upserts,
    [UNMAKE] = add_unmade,
};

/* ---- Which entry goes where ------------------------------------------------------------------ */

static void put(struct rows *rows, struct pg_entry *entry)
{
    rows->items[rows->n++] = entry;
}

static void sort_doc(struct postgres *pg, struct pg_doc *doc, struct rows rows[N_QUERIES])
{
    int64_t every = (int64_t)pg->config.n_history;
    if (doc->row_dirty) {
        put(&rows[DOCS], &doc->entry);
    }
    if (doc->receipts_dirty) {
        put(&rows[RECEIPTS], &doc->entry);
    }
    if (doc->row_dirty && doc->row.history != 0 && every > 0 &&
        doc->row.version / every != doc->written_version / every) {
        put(&rows[PRUNE], &doc->entry);
    }
}

static void sort_user(struct pg_user *user, bool at_commit, struct rows rows[N_QUERIES])
{
    if (!user->made) {
        put(&rows[USERS], &user->entry);
    } else if (at_commit) {
        put(&rows[UNMAKE], &user->entry);
    }
}

static void sort_entries(struct postgres *pg, bool at_commit, struct rows rows[N_QUERIES])
{
    for (struct pg_entry *entry = pg->dirty; entry != NULL; entry = entry->dirty) {
        switch (entry->kind) {
        case PG_KIND_USER:
            sort_user((struct pg_user *)entry, at_commit, rows);
            break;
        case PG_KIND_DOC:
            sort_doc(pg, (struct pg_doc *)entry, rows);
            break;
        case PG_KIND_UPSERTS:
            put(&rows[UPSERTS], entry);
            break;
        case PG_KIND_HISTORY:
            put(&rows[HISTORY], entry);
            break;
        }
    }
}

/* What was written is clean; a user's row that was made and not put into stays to be unmade. */
static void clean(struct postgres *pg)
{
    struct pg_entry *entry = pg->dirty;
    pg->dirty = NULL;
    while (entry != NULL) {
        struct pg_entry *next = entry->dirty;
        entry->is_dirty = false;
        if (entry->kind == PG_KIND_USER && ((struct pg_user *)entry)->made) {
            pg_make_dirty(pg, entry);
        } else if (entry->kind == PG_KIND_DOC) {
            struct pg_doc *doc = (struct pg_doc *)entry;
            doc->had_receipts = doc->had_receipts || doc->receipts_dirty;
            doc->row_dirty = false;
            doc->receipts_dirty = false;
            doc->written_version = doc->row.version;
            doc->written_history = doc->row.history;
        }
        entry = next;
    }
}

/* The COMMIT of a transaction in which a statement failed before, which the caller passed over. */
static bool was_rolled_back(const struct pg_query *commit)
{
    return commit->result != NULL && strcmp(PQcmdStatus(commit->result), "COMMIT") != 0;
}

static int write_all(struct postgres *pg, bool at_commit)
{
    struct rows rows[N_QUERIES] = {{0}};
    struct pg_query queries[N_QUERIES] = {{0}};
    size_t n = 0;
    for (const struct pg_entry *entry = pg->dirty; entry != NULL; entry = entry->dirty) {
        n++;
    }
    for (int i = 0; i < COMMIT; i++) {
        rows[i].items = arena_zalloc(&pg->arena, n, sizeof(struct pg_entry *));
    }
    if (arena_failed(&pg->arena)) {
        return BQ_NOMEM;
    }
    sort_entries(pg, at_commit, rows);
    /* What did not get into the pipe must not be missing in front of a COMMIT. */
    for (int i = 0; i < N_QUERIES && pg->send_failed == BQ_OK; i++) {
        bool wanted = i == COMMIT ? at_commit && pg->has_begun : rows[i].n > 0;
        if (wanted) {
            pg_begin(&queries[i], pg, statements[i]);
            if (fills[i] != NULL) {
                fills[i](&queries[i], &rows[i]);
            }
            pg_send(&queries[i]);
        }
    }
    int status = pg->n_pipe > 0 || pg->send_failed != BQ_OK ? pg_pipe(pg) : BQ_OK;
    if (status == BQ_OK && was_rolled_back(&queries[COMMIT])) {
        status = BQ_INVALID;
    }
    for (int i = 0; i < N_QUERIES; i++) {
        pg_end(&queries[i]);
    }
    if (status == BQ_OK) {
        clean(pg);
    }
    return status;
}

int pg_flush(struct postgres *pg)
{
    return pg->dirty == NULL ? BQ_OK : write_all(pg, false);
}

int pg_flush_and_commit(struct postgres *pg)
{
    return write_all(pg, true);
}
