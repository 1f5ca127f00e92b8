/* sqlite_history.c - the log of reverse edits, and how it is kept short.
 *
 * The log is a table by row id that only grows at its end; entries of a document are chained by
 * `older`. An index on documents would cost each write a page, so nothing finds the entry that a
 * new one makes superfluous. Instead a frontier goes round the log: a transaction that adds n
 * entries examines the next EXAMINE_RATIO * n behind the frontier and removes those whose document
 * has n_history newer changes. A round ends where the log ended when it began, so with a ratio of 2
 * a log of S entries grows by S / 2 while it is passed: at most as many superfluous entries wait as
 * there are live ones. (With a ratio of 1 it would never shrink.)
 *
 * Invariant: what exists of a document is one unbroken chain from its row down, because an entry is
 * removed together with all older ones. So whoever removes a document finds all of its entries
 * without a scan. Ids are never given twice in the life of a handle, and after it only where no row
 * names them any more. */
#include "store/sqlite_impl.h"

#include "base/assert.h"
#include "base/status.h"

#define EXAMINE_RATIO 2u
#define EXAMINE_AT_ONCE 256u
#define FRONTIER_COMMITS 64u /* the frontier is written down every so many commits */
#define FRONTIER SLICE("history_frontier")

int sqlite_history_load(struct sqlite *sqlite)
{
    struct sqlite_query query;
    int64_t last = 0;
    sqlite_query_begin(&query, sqlite, SQL_HISTORY_LAST);
    int status = sqlite_query_step(&query);
    if (status == BQ_OK) {
        last = sqlite_column_int(&query, 0);
    }
    sqlite_query_end(&query);
    if (status == BQ_OK) {
        status = sqlite_meta_get_int(sqlite, FRONTIER, &sqlite->frontier);
    }
    sqlite->next_history = last + 1;
    sqlite->round_end = last;
    return status == BQ_NOT_FOUND ? BQ_OK : status;
}

int sqlite_history_add(struct store *store, const struct uuid *user, struct slice key,
                       const struct store_history *entry, int64_t *out_id)
{
    struct sqlite_query query;
    struct sqlite *sqlite = sqlite_of(store);
    ASSERT(sqlite->is_open && sqlite->is_writer);
    if (sqlite->n_history == 0) {
        sqlite->n_added++; /* what an earlier setting kept is pruned all the same */
        *out_id = 0;
        return BQ_OK;
    }
    int64_t id = sqlite->next_history;
    sqlite_query_begin(&query, sqlite, SQL_HISTORY_ADD);
    sqlite_bind_int(&query, id);
    sqlite_bind_text(&query, uuid_slice(user));
    sqlite_bind_text(&query, key);
    sqlite_bind_int(&query, entry->version);
    sqlite_bind_int(&query, entry->older);
    sqlite_bind_blob(&query, entry->entry);
    int status = sqlite_query_run(&query);
    if (status == BQ_OK) {
        sqlite->next_history++;
        sqlite->n_added++;
        *out_id = id;
    }
    return status;
}

int sqlite_history_get(struct store *store, struct arena *arena, const struct uuid *user,
                       int64_t id, struct store_history *out)
{
    struct sqlite_query query;
    struct store_history entry = {.id = id};
    struct slice owner = SLICE_NONE;
    ASSERT(sqlite_of(store)->is_open);
    sqlite_query_begin(&query, sqlite_of(store), SQL_HISTORY_GET);
    sqlite_bind_int(&query, id);
    int status = sqlite_query_step(&query);
    if (status == BQ_OK) {
        owner = sqlite_column_slice(&query, arena, 0);
        entry.older = sqlite_column_int(&query, 1);
        entry.version = sqlite_column_int(&query, 2);
        entry.entry = sqlite_column_slice(&query, arena, 3);
        status = sqlite_query_finish(&query, arena);
    } else {
        sqlite_query_end(&query);
    }
    if (status == BQ_OK && !slice_equal(owner, uuid_slice(user))) {
        return BQ_NOT_FOUND;
    }
    if (status == BQ_OK) {
        *out = entry;
    }
    return status;
}

int sqlite_history_remove_chain(struct sqlite *sqlite, int64_t id)
{
    int status = BQ_OK;
    while (status == BQ_OK && id != 0) {
        struct sqlite_query query;
        sqlite_query_begin(&query, sqlite, SQL_HISTORY_REMOVE);
        sqlite_bind_int(&query, id);
        status = sqlite_query_step(&query);
        id = status == BQ_OK ? sqlite_column_int(&query, 0) : 0;
        if (status == BQ_OK) {
            status = sqlite_query_run(&query);
        } else {
            sqlite_query_end(&query);
        }
    }
    return status == BQ_NOT_FOUND ? BQ_OK : status;
}

/* Examines up to `most` entries behind the frontier; ids of superfluous ones go into `superfluous`.
 * The frontier then stands on the last one, or on 0 where the round is over. */
static int examine(struct sqlite *sqlite, uint32_t most, int64_t *superfluous, uint32_t *out_n)
{
    struct sqlite_query query;
    uint32_t n = 0;
    uint32_t n_seen = 0;
    int64_t frontier = sqlite->frontier;
    int status;
    sqlite_query_begin(&query, sqlite, SQL_HISTORY_EXAMINE);
    sqlite_bind_int(&query, frontier);
    sqlite_bind_int(&query, most);
    sqlite_bind_int(&query, sqlite->n_history);
    sqlite_bind_int(&query, sqlite->round_end);
    while ((status = sqlite_query_step(&query)) == BQ_OK && n_seen < most) {
        frontier = sqlite_column_int(&query, 0);
        n_seen++;
        if (sqlite_column_int(&query, 1) != 0) {
            superfluous[n++] = frontier;
        }
    }
    sqlite_query_end(&query);
    if (status != BQ_OK && status != BQ_NOT_FOUND) {
        return status;
    }
    sqlite->frontier = frontier;
    if (n_seen < most) {
        sqlite->frontier = 0;
        sqlite->round_end = sqlite->next_history - 1;
    }
    *out_n = n;
    return BQ_OK;
}

int sqlite_history_prune(struct sqlite *sqlite)
{
    int64_t superfluous[EXAMINE_AT_ONCE];
    uint32_t n = 0;
    int status = BQ_OK;
    uint32_t left = EXAMINE_RATIO * sqlite->n_added;
    while (status == BQ_OK && left > 0) {
        uint32_t most = left < EXAMINE_AT_ONCE ? left : EXAMINE_AT_ONCE;
        status = examine(sqlite, most, superfluous, &n);
        for (uint32_t i = 0; status == BQ_OK && i < n; i++) {
            status = sqlite_history_remove_chain(sqlite, superfluous[i]);
        }
        left = sqlite->frontier == 0 ? 0 : left - most;
    }
    if (status == BQ_OK && sqlite->n_added > 0 && ++sqlite->n_unwritten >= FRONTIER_COMMITS) {
        sqlite->n_unwritten = 0;
        status = sqlite_meta_put_int(sqlite, FRONTIER, sqlite->frontier);
    }
    return status;
}
