/* sqlite_impl.h - what the files of the SQLite store share: the handle, its statements, queries.
 *
 * A statement is prepared at its first use and kept for the life of the handle. A query binds its
 * parameters in order, steps, and is ended; bound slices are borrowed until then:
 *
 *     struct sqlite_query query;
 *     sqlite_query_begin(&query, sqlite, SQL_USER_GET);
 *     sqlite_bind_text(&query, uuid_slice(id));
 *     int status = sqlite_query_step(&query);      BQ_OK: a row; BQ_NOT_FOUND: no more
 *     ...
 *     sqlite_query_end(&query);
 *
 * A failure sticks to the query, so binds need no check. */
#ifndef STORE_SQLITE_IMPL_H
#define STORE_SQLITE_IMPL_H

#include "store/sqlite.h"

#include "base/buf.h"
#include "base/timestamp.h"

#include <sqlite3.h>

#define DOC_COLUMNS                                                                                \
    "data_key, version, device_id, modified_at, created_at, seq, deleted, epoch, history, "        \
    "receipts, data"

#define ACCOUNT_COLUMNS                                                                            \
    "id, email, password, metadata, disabled, created_at, updated_at, last_sign_in_at"

#define SQLITE_STATEMENTS(X)                                                                       \
    X(BEGIN_WRITE, "BEGIN IMMEDIATE")                                                              \
    X(BEGIN_READ, "BEGIN")                                                                         \
    X(COMMIT, "COMMIT")                                                                            \
    X(ROLLBACK, "ROLLBACK")                                                                        \
    X(META_GET, "SELECT value FROM user_sync_store WHERE name = ?1")                               \
    X(META_PUT, "INSERT INTO user_sync_store (name, value) VALUES (?1, ?2)"                        \
                " ON CONFLICT (name) DO UPDATE SET value = ?2")                                    \
    X(USER_GET, "SELECT seq, generation, clock_us, erased, n_keys, n_bytes, n_tombstones,"         \
                " purged_seq FROM user_sync_feed WHERE user_id = ?1")                              \
    X(USER_PUT, "INSERT INTO user_sync_feed (user_id, seq, generation, clock_us, erased, n_keys,"  \
                " n_bytes, n_tombstones, purged_seq) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"  \
                " ON CONFLICT (user_id) DO UPDATE SET seq = ?2, generation = ?3, clock_us = ?4,"   \
                " erased = ?5, n_keys = ?6, n_bytes = ?7, n_tombstones = ?8, purged_seq = ?9")     \
    X(USERS, "SELECT user_id, seq, generation, clock_us, erased, n_keys, n_bytes, n_tombstones,"   \
             " purged_seq FROM user_sync_feed WHERE user_id > ?1 ORDER BY user_id LIMIT ?2")       \
    X(META_REMOVE, "DELETE FROM user_sync_store WHERE name = ?1")                                  \
    X(DOC_GET, "SELECT " DOC_COLUMNS                                                               \
               " FROM user_sync_data_v2 WHERE user_id = ?1 AND data_key = ?2")                     \
    X(DOC_PUT, "INSERT INTO user_sync_data_v2 (user_id, " DOC_COLUMNS ")"                          \
               " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)"                       \
               " ON CONFLICT (user_id, data_key) DO UPDATE SET version = ?3, device_id = ?4,"      \
               " modified_at = ?5, created_at = ?6, seq = ?7, deleted = ?8, epoch = ?9,"           \
               " history = ?10, receipts = ?11, data = ?12")                                       \
    X(DOC_KEYS, "SELECT data_key FROM user_sync_data_v2"                                           \
                " WHERE user_id = ?1 AND seq > ?2 AND (deleted = 0 OR ?3) ORDER BY seq LIMIT ?4")  \
    X(DOC_REMOVE, "DELETE FROM user_sync_data_v2 WHERE user_id = ?1 AND data_key = ?2")            \
    X(TOMBSTONE, "SELECT data_key, history, seq FROM user_sync_data_v2"                            \
                 " WHERE user_id = ?1 AND deleted = 1 ORDER BY seq LIMIT 1")                       \
    X(HISTORY_HEADS, "SELECT history FROM user_sync_data_v2"                                       \
                     " WHERE user_id = ?1 AND history <> 0")                                       \
    X(HISTORY_LAST, "SELECT max(id) FROM user_sync_history")                                       \
    X(HISTORY_ADD, "INSERT INTO user_sync_history (id, user_id, data_key, version, older, entry)"  \
                   " VALUES (?1, ?2, ?3, ?4, ?5, ?6)")                                             \
    X(HISTORY_GET, "SELECT user_id, older, version, entry FROM user_sync_history WHERE id = ?1")   \
    X(HISTORY_REMOVE, "DELETE FROM user_sync_history WHERE id = ?1 RETURNING older")               \
    X(HISTORY_EXAMINE, "SELECT h.id, h.version <= coalesce(d.version, h.version + ?3) - ?3"        \
                       " FROM user_sync_history AS h LEFT JOIN user_sync_data_v2 AS d"             \
                       " ON d.user_id = h.user_id AND d.data_key = h.data_key"                     \
                       " WHERE h.id > ?1 AND h.id <= ?4 ORDER BY h.id LIMIT ?2")                   \
    X(UPSERTS_GET, "SELECT packed FROM user_sync_upserts"                                          \
                   " WHERE user_id = ?1 AND data_key = ?2 AND device_id = ?3")                     \
    X(UPSERTS, "SELECT data_key, device_id, packed, updated_at FROM user_sync_upserts"             \
               " WHERE user_id = ?1 ORDER BY data_key, device_id")                                 \
    X(UPSERTS_PUT, "INSERT INTO user_sync_upserts (user_id, data_key, device_id, updated_at,"      \
                   " packed) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (user_id, data_key,"          \
                   " device_id) DO UPDATE SET updated_at = ?4, packed = ?5")                       \
    X(UPSERTS_FORGET, "UPDATE user_sync_upserts SET packed = x''"                                  \
                      " WHERE user_id = ?1 AND data_key = ?2")                                     \
    X(UPSERTS_REMOVE, "DELETE FROM user_sync_upserts WHERE user_id = ?1 AND data_key = ?2")        \
    X(UPSERTS_TRIM, "DELETE FROM user_sync_upserts WHERE user_id = ?1 AND data_key = ?2 AND"       \
                    " device_id IN (SELECT device_id FROM user_sync_upserts WHERE user_id = ?1"    \
                    " AND data_key = ?2 ORDER BY updated_at DESC, device_id LIMIT -1 OFFSET ?3)")  \
    X(UPSERTS_EMPTY, "UPDATE user_sync_upserts SET packed = x'' WHERE user_id = ?1 AND"            \
                     " (data_key, device_id) IN (SELECT data_key, device_id"                       \
                     " FROM user_sync_upserts WHERE user_id = ?1 AND length(packed) > 0"           \
                     " ORDER BY updated_at DESC, data_key, device_id LIMIT -1 OFFSET ?2)")         \
    X(DEVICES, "SELECT device_id, last_sync_at, last_sync_version, device_info, created_at"        \
               " FROM user_sync_metadata WHERE user_id = ?1"                                       \
               " ORDER BY last_sync_at DESC, device_id")                                           \
    X(DEVICE_PUT, "INSERT INTO user_sync_metadata (user_id, device_id, last_sync_at,"              \
                  " last_sync_version, device_info, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)"   \
                  " ON CONFLICT (user_id, device_id) DO UPDATE SET last_sync_at = ?3,"             \
                  " last_sync_version = ?4, device_info = ?5")                                     \
    X(DEVICE_TRIM, "DELETE FROM user_sync_metadata WHERE user_id = ?1 AND device_id IN"            \
                   " (SELECT device_id FROM user_sync_metadata WHERE user_id = ?1"                 \
                   " ORDER BY last_sync_at DESC, device_id LIMIT -1 OFFSET ?2)")                   \
    X(V1_DEVICE_TRIM, "DELETE FROM user_devices WHERE user_id = ?1 AND device_id IN"               \
                      " (SELECT device_id FROM user_devices WHERE user_id = ?1"                    \
                      " ORDER BY last_sync DESC, device_id LIMIT -1 OFFSET ?2)")                   \
    X(V1_DEVICE_PUT, "INSERT INTO user_devices (user_id, device_id, device_name, device_type,"     \
                     " last_sync, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)"                     \
                     " ON CONFLICT (user_id, device_id) DO UPDATE SET device_name = ?3,"           \
                     " device_type = ?4, last_sync = ?5")                                          \
    X(V1_DEVICES, "SELECT device_id, device_name, device_type, last_sync, created_at"              \
                  " FROM user_devices WHERE user_id = ?1 ORDER BY last_sync DESC, device_id")      \
    X(V1_DEVICE_REMOVE, "DELETE FROM user_devices WHERE user_id = ?1 AND device_id = ?2")          \
    X(DEAD_CLEAR, "DELETE FROM user_sync_queue"                                                    \
                  " WHERE user_id = ?1 AND device_id = ?2 AND status = 'failed'")                  \
    X(DEAD_ADD, "INSERT OR REPLACE INTO user_sync_queue (id, user_id, device_id, data_key, data,"  \
                " version, status, error_message, created_at, updated_at)"                         \
                " VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'failed', ?7, ?8, ?8)")                          \
    X(DEAD_LETTERS, "SELECT id, device_id, data_key, data, version, error_message, created_at"     \
                    " FROM user_sync_queue WHERE user_id = ?1 AND status = 'failed'"               \
                    " ORDER BY created_at DESC, device_id, id")                                    \
    X(DEAD_TRIM, "DELETE FROM user_sync_queue WHERE user_id = ?1 AND (device_id, id) IN"           \
                 " (SELECT device_id, id FROM (SELECT device_id, id,"                              \
                 " row_number() OVER newest AS n,"                                                 \
                 " sum(length(CAST(data AS BLOB))) OVER newest AS bytes FROM user_sync_queue"      \
                 " WHERE user_id = ?1 AND status = 'failed'"                                       \
                 " WINDOW newest AS (ORDER BY created_at DESC, device_id, id))"                    \
                 " WHERE n > ?2 OR bytes > ?3)")                                                   \
    X(POLICIES, "SELECT pattern, policy FROM user_sync_policy ORDER BY pattern")                   \
    X(POLICY_PUT, "INSERT INTO user_sync_policy (pattern, policy) VALUES (?1, ?2)"                 \
                  " ON CONFLICT (pattern) DO UPDATE SET policy = ?2")                              \
    X(POLICY_REMOVE, "DELETE FROM user_sync_policy WHERE pattern = ?1")                            \
    X(CLEAR_DOCS, "DELETE FROM user_sync_data_v2 WHERE user_id = ?1")                              \
    X(CLEAR_UPSERTS, "DELETE FROM user_sync_upserts WHERE user_id = ?1")                           \
    X(CLEAR_DEVICES, "DELETE FROM user_sync_metadata WHERE user_id = ?1")                          \
    X(CLEAR_V1_DEVICES, "DELETE FROM user_devices WHERE user_id = ?1")                             \
    X(CLEAR_DEAD, "DELETE FROM user_sync_queue WHERE user_id = ?1")                                \
    X(ACCOUNT_GET, "SELECT " ACCOUNT_COLUMNS " FROM auth_users WHERE id = ?1")                     \
    X(ACCOUNT_FIND, "SELECT " ACCOUNT_COLUMNS " FROM auth_users WHERE email = ?1")                 \
    X(ACCOUNT_PUT, "INSERT OR REPLACE INTO auth_users (" ACCOUNT_COLUMNS ")"                       \
                   " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")                                     \
    X(ACCOUNT_REMOVE, "DELETE FROM auth_users WHERE id = ?1")                                      \
    X(ACCOUNTS, "SELECT " ACCOUNT_COLUMNS                                                          \
                " FROM auth_users WHERE id > ?1 ORDER BY id LIMIT ?2")                             \
    X(ACCOUNTS_UNUSED, "SELECT " ACCOUNT_COLUMNS " FROM auth_users"                                \
                       " WHERE email IS NULL AND last_sign_in_at < ?1 LIMIT ?2")                   \
    X(SESSION_GET, "SELECT user_id, counter, created_at, refreshed_at FROM auth_sessions"          \
                   " WHERE id = ?1")                                                               \
    X(SESSIONS, "SELECT id, user_id, counter, created_at, refreshed_at FROM auth_sessions"         \
                " WHERE user_id = ?1 ORDER BY id")                                                 \
    X(SESSION_PUT, "INSERT INTO auth_sessions (id, user_id, counter, created_at, refreshed_at)"    \
                   " VALUES (?1, ?2, ?3, ?4, ?5)"                                                  \
                   " ON CONFLICT (id) DO UPDATE SET counter = ?3, refreshed_at = ?5")              \
    X(SESSION_REMOVE, "DELETE FROM auth_sessions WHERE id = ?1")                                   \
    X(SESSIONS_REMOVE, "DELETE FROM auth_sessions WHERE user_id = ?1 AND id <> ?2")                \
    X(SESSIONS_TRIM, "DELETE FROM auth_sessions WHERE user_id = ?1 AND id IN (SELECT id"           \
                     " FROM auth_sessions WHERE user_id = ?1"                                      \
                     " ORDER BY refreshed_at DESC LIMIT -1 OFFSET ?2)")

enum sqlite_statement {
#define SQLITE_STATEMENT_ENUM(name, text) SQL_##name,
    SQLITE_STATEMENTS(SQLITE_STATEMENT_ENUM)
#undef SQLITE_STATEMENT_ENUM
    SQL_STATEMENTS
};

#define SQLITE_EPOCH_TEXT 32u
#define SQLITE_QUERY_TIMES 3

struct sqlite {
    struct store store;
    sqlite3 *db;
    sqlite3_stmt *statements[SQL_STATEMENTS];
    char *path;
    char *vfs; /* NULL: SQLite's own */
    bool is_writer;
    bool is_open;  /* in a transaction */
    int lock_fd;   /* -1 for a reader */
    int poison;    /* what begin() answers until the file is opened anew; BQ_OK while sound */
    int wal_pages;       /* as of the last commit */
    int checkpoint_at;   /* pages in the WAL that bring the next checkpoint */
    char epoch[SQLITE_EPOCH_TEXT + 1];
    uint64_t hash_key[2];

    /* sqlite_history.c */
    unsigned n_history;
    int64_t next_history;
    int64_t frontier;    /* entries up to here were examined in this round */
    int64_t round_end;   /* the round goes up to here */
    uint32_t n_added;    /* entries since begin() */
    uint32_t n_unwritten; /* commits since the frontier was written down */
};

struct sqlite_query {
    struct sqlite *sqlite;
    sqlite3_stmt *stmt;
    int n_bound;
    int rc; /* SQLite's code of the first failure */
    int n_times;
    char times[SQLITE_QUERY_TIMES][TIMESTAMP_TEXT]; /* the texts of bound times */
};

static inline struct sqlite *sqlite_of(struct store *store)
{
    return (struct sqlite *)store;
}

/* sqlite_query.c */

/* SQLite's code as a status; a code after which the file must be opened anew poisons the handle. */
int sqlite_status(struct sqlite *sqlite, int rc);

void sqlite_query_begin(struct sqlite_query *query, struct sqlite *sqlite,
                        enum sqlite_statement statement);
void sqlite_query_end(struct sqlite_query *query);

void sqlite_bind_int(struct sqlite_query *query, int64_t value);
void sqlite_bind_text(struct sqlite_query *query, struct slice text); /* SLICE_NONE: NULL */
void sqlite_bind_blob(struct sqlite_query *query, struct slice bytes);
void sqlite_bind_time(struct sqlite_query *query, int64_t time_us);

/* BQ_OK with a row, BQ_NOT_FOUND where there is none, or a failure. */
int sqlite_query_step(struct sqlite_query *query);

/* Steps to the end and ends the query. */
int sqlite_query_run(struct sqlite_query *query);

/* Columns of the row that is there. A NULL is SLICE_NONE; a failed copy poisons the arena; a text
 * that is no time makes the query fail with BQ_CORRUPT at its end. */
int64_t sqlite_column_int(struct sqlite_query *query, int column);
struct slice sqlite_column_slice(struct sqlite_query *query, struct arena *arena, int column);
int64_t sqlite_column_time(struct sqlite_query *query, int column);

/* The end of a verb that read rows into an arena: ends the query; BQ_NOMEM where the arena is
 * poisoned, else what the query came to (no more rows is BQ_OK). */
int sqlite_query_finish(struct sqlite_query *query, const struct arena *arena);

/* Runs SQL of ours without parameters. */
int sqlite_exec(struct sqlite *sqlite, const char *sql);

/* A row of user_sync_store; BQ_NOT_FOUND where there is none. */
int sqlite_meta_get(struct sqlite *sqlite, struct slice name, struct arena *arena,
                    struct slice *out);
int sqlite_meta_get_int(struct sqlite *sqlite, struct slice name, int64_t *out);
int sqlite_meta_put(struct sqlite *sqlite, struct slice name, struct slice value);
int sqlite_meta_put_int(struct sqlite *sqlite, struct slice name, int64_t value);

/* sqlite_file.c: what is done before and beside SQLite. On failure error holds a sentence. */

/* Whether path is, or may become, a file of ours. */
int sqlite_file_check(const struct store_sqlite_config *config, struct buf *error);
int sqlite_file_lock(const char *path, int *out_fd, struct buf *error);
/* Makes the file where it is absent. */
int sqlite_file_make(const char *path, struct buf *error);
int64_t sqlite_file_bytes(const char *path);

/* sqlite_schema.c */

/* Whether the file is ours (a writer's may be empty) and of our version, or an older one where the
 * caller takes that; touches nothing. */
int sqlite_schema_check(struct sqlite *sqlite, bool takes_older, struct buf *error);

/* Settings of a connection, read back where durability hangs on them. */
int sqlite_schema_configure(struct sqlite *sqlite, const char *synchronous, struct buf *error);

/* A writer checks the pages and brings an empty or older file up to date; then epoch and hash key
 * are read. */
int sqlite_schema_load(struct sqlite *sqlite, void (*random)(void *bytes, size_t n),
                       struct buf *error);

/* Verbs. */

int sqlite_user_get(struct store *store, const struct uuid *id, struct store_user *out);
int sqlite_user_put(struct store *store, const struct store_user *user);
int sqlite_doc_get(struct store *store, struct arena *arena, const struct uuid *user,
                   struct slice key, struct store_doc *out);
int sqlite_doc_put(struct store *store, const struct uuid *user, const struct store_doc *doc);
int sqlite_docs(struct store *store, struct arena *arena, const struct uuid *user, int64_t after,
                uint32_t max_rows, size_t max_bytes, bool with_deleted, struct store_docs *out);
int sqlite_tombstone_drop(struct store *store, const struct uuid *user, int64_t *out_seq);

int sqlite_history_add(struct store *store, const struct uuid *user, struct slice key,
                       const struct store_history *entry, int64_t *out_id);
int sqlite_history_get(struct store *store, struct arena *arena, const struct uuid *user,
                       int64_t id, struct store_history *out);

int sqlite_upserts_get(struct store *store, struct arena *arena, const struct uuid *user,
                       struct slice key, struct slice device_id, struct slice *out);
int sqlite_upserts_put(struct store *store, const struct uuid *user, struct slice key,
                       struct slice device_id, struct slice packed, int64_t now_us);
int sqlite_upserts_forget(struct store *store, const struct uuid *user, struct slice key);
int sqlite_upserts_trim(struct store *store, const struct uuid *user, struct slice key,
                        bool *out_evicted);
int sqlite_devices(struct store *store, struct arena *arena, const struct uuid *user,
                   struct store_devices *out);
int sqlite_device_put(struct store *store, const struct uuid *user,
                      const struct store_device *device);
int sqlite_v1_device_put(struct store *store, const struct uuid *user,
                         const struct store_v1_device *device);
int sqlite_v1_device_remove(struct store *store, const struct uuid *user, struct slice device_id,
                            bool *out_found);
int sqlite_dead_replace(struct store *store, const struct uuid *user, struct slice device_id,
                        const struct store_dead *items, uint32_t n);
int sqlite_dead_letters(struct store *store, struct arena *arena, const struct uuid *user,
                        struct store_dead_letters *out);
int sqlite_policies(struct store *store, struct arena *arena, struct store_policies *out);
int sqlite_policy_put(struct store *store, struct slice pattern, struct slice policy);
int sqlite_user_clear(struct store *store, const struct uuid *user);
int sqlite_account_get(struct store *store, struct arena *arena, const struct uuid *id,
                       struct store_account *out);
int sqlite_account_find(struct store *store, struct arena *arena, struct slice email,
                        struct store_account *out);
int sqlite_account_put(struct store *store, const struct store_account *account);
int sqlite_account_remove(struct store *store, const struct uuid *id);
int sqlite_accounts(struct store *store, struct arena *arena, const struct uuid *after,
                    uint32_t max, struct store_accounts *out);
int sqlite_accounts_unused(struct store *store, struct arena *arena, int64_t before_us,
                           uint32_t max, struct store_accounts *out);
int sqlite_session_get(struct store *store, const struct uuid *id, struct store_session *out);
int sqlite_session_put(struct store *store, const struct store_session *session);
int sqlite_session_remove(struct store *store, const struct uuid *id);
int sqlite_sessions_remove(struct store *store, const struct uuid *user, const struct uuid *but);

int sqlite_users(struct store *store, struct arena *arena, const struct uuid *after, uint32_t max,
                 struct store_users *out);
int sqlite_upserts(struct store *store, struct arena *arena, const struct uuid *user,
                   struct store_upserts *out);
int sqlite_v1_devices(struct store *store, struct arena *arena, const struct uuid *user,
                      struct store_v1_devices *out);
int sqlite_sessions(struct store *store, struct arena *arena, const struct uuid *user,
                    struct store_sessions *out);
int sqlite_note_get(struct store *store, struct arena *arena, struct slice name,
                    struct slice *out);
int sqlite_note_put(struct store *store, struct slice name, struct slice value);
int sqlite_identity_set(struct store *store, const uint64_t hash_key[2], int64_t policies_version);

/* sqlite_accounts.c, for the others: a column that has to be a uuid. */
struct uuid sqlite_column_uuid(struct sqlite_query *query, int column);

/* Room for one more item in an array that lives in an arena; NULL when the arena is poisoned. */
void *sqlite_grow(struct arena *arena, void *items, size_t item_size, uint32_t n, uint32_t *size);

/* sqlite_history.c, for the others */

/* Where the log stands; called once after open. */
int sqlite_history_load(struct sqlite *sqlite);

/* Removes an entry and all older ones of its chain. */
int sqlite_history_remove_chain(struct sqlite *sqlite, int64_t id);

/* The share of pruning that a transaction owes; called before its COMMIT. */
int sqlite_history_prune(struct sqlite *sqlite);

#endif
