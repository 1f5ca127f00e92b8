/* sqlite.c - handles of the SQLite store: opening, transactions, checkpoints, closing.
 *
 * Durability. WAL with synchronous=FULL: a COMMIT that answered is synced. Checkpoints are ours,
 * after a commit that leaves CHECKPOINT_PAGES or more in the WAL, because SQLite's own throws away
 * what came of them: where the sync of the database file fails there, a later one that "succeeds"
 * would reset the WAL although pages were lost. So any failed sync poisons the handle: nothing is
 * written any more, the WAL stays as it is, and the next open begins with writing all of it
 * anew into the database file and syncing that.
 *
 * A reader may keep the WAL from being reset. From RESTART_PAGES on the writer waits for readers,
 * for RESTART_BUSY_MS and once per CHECKPOINT_PAGES of growth: the WAL stays bounded where readers
 * are short, and a long one costs disk, not time. */
#include "store/sqlite.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/plant.h"
#include "base/status.h"
#include "store/sqlite_impl.h"

#include <stdio.h>
#include <unistd.h>

/* 16 MB. Measured: with 1,000 a fifth fewer writes a second, with 16,000 a tenth more. */
#define CHECKPOINT_PAGES 4000
#define RESTART_PAGES (2 * CHECKPOINT_PAGES)
#define BUSY_MS 2000
#define RESTART_BUSY_MS 100

static int open_reader(struct store *store, struct store **out);

/* Transactions. */

static int run(struct sqlite *sqlite, enum sqlite_statement statement)
{
    struct sqlite_query query;
    sqlite_query_begin(&query, sqlite, statement);
    return sqlite_query_run(&query);
}

static int begin(struct store *store)
{
    struct sqlite *sqlite = sqlite_of(store);
    ASSERT(!sqlite->is_open);
    if (sqlite->poison != BQ_OK) {
        return sqlite->poison;
    }
    int status = run(sqlite, sqlite->is_writer ? SQL_BEGIN_WRITE : SQL_BEGIN_READ);
    sqlite->is_open = status == BQ_OK;
    sqlite->n_added = 0;
    return status;
}

/* Called by SQLite after each commit that wrote. */
static int note_pages(void *context, sqlite3 *db, const char *name, int n_pages)
{
    struct sqlite *sqlite = context;
    (void)db;
    (void)name;
    if (n_pages < sqlite->wal_pages) {
        sqlite->checkpoint_at = CHECKPOINT_PAGES; /* the WAL began anew */
    }
    sqlite->wal_pages = n_pages;
    return SQLITE_OK;
}

/* Moves what is in the WAL into the database file. What is committed stays so whatever comes of it:
 * a failed write leaves the WAL for the next time, a failed sync poisons the handle. */
static int checkpoint(struct sqlite *sqlite, int mode)
{
    return sqlite_status(sqlite, sqlite3_wal_checkpoint_v2(sqlite->db, NULL, mode, NULL, NULL));
}

static void checkpoint_after_commit(struct sqlite *sqlite)
{
    sqlite->checkpoint_at = sqlite->wal_pages + CHECKPOINT_PAGES;
    if (sqlite->wal_pages < RESTART_PAGES) {
        (void)checkpoint(sqlite, SQLITE_CHECKPOINT_PASSIVE);
        return;
    }
    sqlite3_busy_timeout(sqlite->db, RESTART_BUSY_MS);
    (void)checkpoint(sqlite, SQLITE_CHECKPOINT_RESTART);
    sqlite3_busy_timeout(sqlite->db, BUSY_MS);
}

static void rollback(struct store *store)
{
    struct sqlite *sqlite = sqlite_of(store);
    if (!sqlite->is_open) {
        return;
    }
    sqlite->is_open = false;
    /* SQLite rolls back by itself after some failures. */
    if (!sqlite3_get_autocommit(sqlite->db)) {
        (void)run(sqlite, SQL_ROLLBACK);
    }
    if (!sqlite3_get_autocommit(sqlite->db) && sqlite->poison == BQ_OK) {
        sqlite->poison = BQ_IO;
    }
}

static int commit(struct store *store)
{
    struct sqlite *sqlite = sqlite_of(store);
    ASSERT(sqlite->is_open);
    int status = sqlite->poison;
    if (status == BQ_OK && sqlite->is_writer) {
        status = sqlite_history_prune(sqlite);
    }
    if (status == BQ_OK) {
        status = run(sqlite, SQL_COMMIT);
    }
    if (status != BQ_OK) {
        rollback(store);
        bool planted = PLANTED(ACKED_AFTER_FAILED_SYNC) && sqlite->poison == BQ_IO;
        return planted ? BQ_OK : status;
    }
    sqlite->is_open = false;
    if (sqlite->wal_pages >= sqlite->checkpoint_at) {
        checkpoint_after_commit(sqlite);
    }
    return BQ_OK;
}

static struct slice epoch(struct store *store)
{
    return slice_of(sqlite_of(store)->epoch);
}

static void hash_key(struct store *store, uint64_t out[2])
{
    memcpy(out, sqlite_of(store)->hash_key, 2 * sizeof out[0]);
}

/* A transaction of its own: as long as it is not known to be kept, the old epoch is the one. */
static int epoch_set(struct store *store, struct slice text)
{
    struct sqlite *sqlite = sqlite_of(store);
    ASSERT(text.len >= 1 && text.len <= SQLITE_EPOCH_TEXT);
    int status = begin(store);
    if (status != BQ_OK) {
        return status;
    }
    status = sqlite_meta_put(sqlite, SLICE("epoch"), text);
    if (status != BQ_OK) {
        rollback(store);
        return status;
    }
    status = commit(store);
    if (status == BQ_OK) {
        memcpy(sqlite->epoch, text.ptr, text.len);
        sqlite->epoch[text.len] = '\0';
    }
    return status;
}

/* Closing. */

static void close_store(struct store *store)
{
    struct sqlite *sqlite = sqlite_of(store);
    if (sqlite->db != NULL) {
        rollback(store);
        for (int i = 0; i < SQL_STATEMENTS; i++) {
            sqlite3_finalize(sqlite->statements[i]);
        }
        /* A sound writer leaves one file behind: with an empty WAL SQLite may remove it. */
        if (sqlite->is_writer && sqlite->poison == BQ_OK &&
            checkpoint(sqlite, SQLITE_CHECKPOINT_TRUNCATE) == BQ_OK) {
            sqlite3_db_config(sqlite->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
        }
        sqlite3_close_v2(sqlite->db);
    }
    if (sqlite->lock_fd >= 0) {
        close(sqlite->lock_fd);
    }
    mem_free(sqlite->path);
    mem_free(sqlite->vfs);
    mem_free(sqlite);
}

static const struct store verbs = {close_store,
                                   open_reader,
                                   begin,
                                   commit,
                                   rollback,
                                   epoch,
                                   hash_key,
                                   epoch_set,
                                   sqlite_user_get,
                                   sqlite_user_put,
                                   sqlite_doc_get,
                                   sqlite_doc_put,
                                   sqlite_docs,
                                   sqlite_tombstone_drop,
                                   sqlite_history_add,
                                   sqlite_history_get,
                                   sqlite_upserts_get,
                                   sqlite_upserts_put,
                                   sqlite_upserts_forget,
                                   sqlite_upserts_trim,
                                   sqlite_devices,
                                   sqlite_device_put,
                                   sqlite_v1_device_put,
                                   sqlite_v1_device_remove,
                                   sqlite_dead_replace,
                                   sqlite_dead_letters,
                                   sqlite_policies,
                                   sqlite_policy_put,
                                   sqlite_user_clear,
                                   sqlite_account_get,
                                   sqlite_account_find,
                                   sqlite_account_put,
                                   sqlite_account_remove,
                                   sqlite_accounts,
                                   sqlite_accounts_unused,
                                   sqlite_session_get,
                                   sqlite_session_put,
                                   sqlite_session_remove,
                                   sqlite_sessions_remove,
                                   sqlite_users,
                                   sqlite_upserts,
                                   sqlite_v1_devices,
                                   sqlite_sessions,
                                   sqlite_note_get,
                                   sqlite_note_put,
                                   sqlite_identity_set,
                                   NULL,
                                   NULL,
                                   NULL,
                                   0};

/* Opening. */

static struct sqlite *new_handle(const struct store_sqlite_config *config, bool is_writer)
{
    struct sqlite *sqlite = mem_zalloc(1, sizeof *sqlite);
    if (sqlite == NULL) {
        return NULL;
    }
    sqlite->store = verbs;
    sqlite->lock_fd = -1;
    sqlite->checkpoint_at = CHECKPOINT_PAGES;
    sqlite->is_writer = is_writer;
    sqlite->n_history = config->n_history;
    sqlite->path = mem_dup(config->path, strlen(config->path));
    sqlite->vfs = config->vfs == NULL ? NULL : mem_dup(config->vfs, strlen(config->vfs));
    if (sqlite->path == NULL || (config->vfs != NULL && sqlite->vfs == NULL)) {
        close_store(&sqlite->store);
        return NULL;
    }
    return sqlite;
}

static int open_connection(struct sqlite *sqlite, struct buf *error)
{
    int flags =
        SQLITE_OPEN_NOMUTEX | (sqlite->is_writer ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY);
    int rc = sqlite3_open_v2(sqlite->path, &sqlite->db, flags, sqlite->vfs);
    if (rc != SQLITE_OK) {
        const char *why = sqlite->db == NULL ? sqlite3_errstr(rc) : sqlite3_errmsg(sqlite->db);
        buf_add_format(error, "%s cannot be opened: %s; check it and its folder", sqlite->path,
                       why);
        return sqlite_status(sqlite, rc);
    }
    /* SQLite opens a file to read alone where the system had no descriptor for more at that moment.
     * That we may write it, sqlite_file_check() has seen. */
    if (sqlite->is_writer && sqlite3_db_readonly(sqlite->db, "main") == 1) {
        buf_add_format(error, "%s cannot be opened to write at the moment; try again",
                       sqlite->path);
        return BQ_IO;
    }
    sqlite3_extended_result_codes(sqlite->db, 1);
    sqlite3_busy_timeout(sqlite->db, BUSY_MS);
    /* Only the writer checkpoints, and it does so itself, where it sees what comes of it. */
    sqlite3_db_config(sqlite->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_wal_autocheckpoint(sqlite->db, 0);
    return BQ_OK;
}

/* The first read rolls back what a power loss left half written. Where that was the making of the
 * file, SQLite has by then taken the size of pages and the vacuum mode from the torn header; so a
 * file that is empty now is opened once more. */
static int open_settled(struct sqlite *sqlite, struct buf *error)
{
    sqlite3_stmt *stmt = NULL;
    bool is_empty = false;
    int status = open_connection(sqlite, error);
    if (status != BQ_OK || !sqlite->is_writer) {
        return status;
    }
    if (sqlite3_prepare_v2(sqlite->db, "PRAGMA page_count", -1, &stmt, NULL) == SQLITE_OK) {
        is_empty = sqlite3_step(stmt) == SQLITE_ROW && sqlite3_column_int64(stmt, 0) == 0;
    }
    sqlite3_finalize(stmt);
    if (is_empty) {
        sqlite3_close_v2(sqlite->db);
        sqlite->db = NULL;
        status = open_connection(sqlite, error);
    }
    return status;
}

/* Writes the WAL that a killed or poisoned process left anew into the database file. */
static int settle(struct sqlite *sqlite, struct buf *error)
{
    int status = checkpoint(sqlite, SQLITE_CHECKPOINT_TRUNCATE);
    if (status == BQ_BUSY) {
        status = BQ_OK; /* an operator's tool reads; the WAL is whole, and waits */
    } else if (status != BQ_OK) {
        buf_add_format(error, "%s: what a crash left in its -wal cannot be written (%s): %s",
                       sqlite->path, sqlite3_errmsg(sqlite->db), status_text(status));
    }
    return status;
}

static int set_up(struct sqlite *sqlite, const struct store_sqlite_config *config,
                  struct buf *error)
{
    const char *synchronous = config->synchronous == NULL ? "FULL" : config->synchronous;
    int status = open_settled(sqlite, error);
    if (status == BQ_OK) {
        status = sqlite_schema_check(sqlite, sqlite->is_writer, error);
    }
    if (status == BQ_OK) {
        status = sqlite_schema_configure(sqlite, synchronous, error);
    }
    if (status == BQ_OK && sqlite->is_writer) {
        status = settle(sqlite, error);
    }
    if (status == BQ_OK) {
        status = sqlite_schema_load(sqlite, config->random, error);
    }
    if (status == BQ_OK && sqlite->is_writer) {
        sqlite3_wal_hook(sqlite->db, note_pages, sqlite);
        status = sqlite_history_load(sqlite);
    }
    return status;
}

static int open_handle(const struct store_sqlite_config *config, struct store **out,
                       struct buf *error)
{
    struct sqlite *sqlite = new_handle(config, !config->read_only);
    if (sqlite == NULL) {
        return BQ_NOMEM;
    }
    int status = sqlite_file_check(config, error);
    if (status == BQ_OK && sqlite->is_writer) {
        status = sqlite_file_lock(config->path, &sqlite->lock_fd, error);
    }
    if (status == BQ_OK && sqlite->is_writer && config->create) {
        status = sqlite_file_make(config->path, error);
    }
    if (status == BQ_OK) {
        status = set_up(sqlite, config, error);
    }
    if (status != BQ_OK) {
        sqlite->poison = status; /* a file that was refused is not touched on the way out */
        close_store(&sqlite->store);
        return status;
    }
    *out = &sqlite->store;
    return BQ_OK;
}

static int open_reader(struct store *store, struct store **out)
{
    const struct sqlite *sqlite = sqlite_of(store);
    struct store_sqlite_config config = {.size = sizeof config,
                                         .path = sqlite->path,
                                         .n_history = sqlite->n_history,
                                         .read_only = true,
                                         .vfs = sqlite->vfs};
    struct buf error = BUF_INIT;
    int status = open_handle(&config, out, &error);
    buf_release(&error);
    return status;
}

int store_sqlite_open(const struct store_sqlite_config *config, struct store **out, char *error,
                      size_t error_size)
{
    struct buf sentence = BUF_INIT;
    ASSERT(config->size == sizeof *config && config->path != NULL);
    int status = open_handle(config, out, &sentence);
    if (status != BQ_OK && error != NULL && error_size > 0) {
        if (sentence.len == 0) {
            buf_add_format(&sentence, "%s cannot be opened: %s", config->path, status_text(status));
        }
        snprintf(error, error_size, "%s", sentence.len > 0 ? sentence.ptr : status_text(status));
    }
    buf_release(&sentence);
    return status;
}
