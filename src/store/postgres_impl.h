/* postgres_impl.h - what the files of the PostgreSQL store share: the handle, queries, the cache.
 *
 * A connection is in pipeline mode from its opening on. A query is begun, gets its arguments in
 * order (binary), is sent, and has its rows once the pipe has run; several may be sent before:
 *
 *     struct pg_query query;
 *     pg_begin(&query, pg, PG_USERS_LOCK);
 *     pg_add_uuids(&query, ids, n);
 *     int status = pg_run(&query);              sends it and runs the pipe
 *     ... pg_rows(&query), pg_int(&query, row, column) ...
 *     pg_end(&query);
 *
 * Statements are prepared at their first use. The transaction's BEGIN goes with its first query. */
#ifndef STORE_POSTGRES_IMPL_H
#define STORE_POSTGRES_IMPL_H

#include "store/postgres.h"
#include "store/postgres_sql.h"

#include <libpq-fe.h>

#define PG_ARGUMENTS 12
#define PG_PIPE 32u      /* results that may be awaited at once */
#define PG_EPOCH_TEXT 48u
#define PG_FEED_ROWS 8   /* of a feed that are read ahead; who is behind by more asks again */
#define PG_BUCKETS 4096u
#define PG_RUNS 5u          /* that a batch is run again where PostgreSQL refused it for another */

enum pg_statement {
#define PG_STATEMENT_ENUM(name, text) PG_##name,
    PG_STATEMENTS(PG_STATEMENT_ENUM)
#undef PG_STATEMENT_ENUM
    PG_N_STATEMENTS
};

struct pg_query;

/* The cache: what this transaction knows of the database, and what it will write. Entries live in
 * the handle's arena until the next begin(). */

enum pg_kind { PG_KIND_USER, PG_KIND_DOC, PG_KIND_UPSERTS, PG_KIND_HISTORY };

struct pg_entry {
    enum pg_kind kind;
    struct pg_entry *bucket; /* the next one in its bucket */
    struct pg_entry *dirty;  /* the next one that is to be written */
    struct pg_entry *of_user; /* documents, upserts and history: the user's next one of its kind */
    struct pg_user *user;
    struct slice name; /* what it is found by: see postgres_cache.c */
    bool loaded;       /* the rest is what the database holds, or will */
    bool is_dirty;
};

struct pg_user {
    struct pg_entry entry;
    struct uuid id;
    struct store_user row;
    int64_t history_id;
    bool made;        /* its row was made to be locked, and nothing was put into it */
    int64_t feed_after; /* all documents behind this seq are in the cache; -1: not known */
    int n_feed;         /* rows of it that came */
    int64_t n_memories; /* upserts that are not empty, at least; -1: not known */
    struct pg_entry *docs;
    struct pg_entry *upserts;
    struct pg_entry *histories;
};

struct pg_doc {
    struct pg_entry entry;
    struct store_doc row;
    bool row_dirty;
    bool receipts_dirty;
    bool had_receipts;
    int64_t written_version; /* as the database has it: what history was pruned for */
    int64_t written_history;
    int64_t n_devices; /* upserts of this key, at least; -1: not known */
};

struct pg_upserts {
    struct pg_entry entry;
    struct pg_doc *doc;
    struct slice device_id;
    struct slice packed; /* SLICE_NONE: there is no row */
    int64_t at_us;
};

struct pg_history {
    struct pg_entry entry;
    struct slice key;
    struct store_history row;
};

struct postgres {
    struct store store;
    PGconn *conn;
    struct store_postgres_config config; /* its url is a copy */
    bool is_writer;
    bool is_open;   /* in a transaction, for the caller */
    bool has_begun; /* and for PostgreSQL */
    bool warned;    /* a notice said that a standby was not waited for */
    int poison;     /* what begin() answers until the store is opened anew */
    char epoch[PG_EPOCH_TEXT + 1];
    char timeline[16]; /* "" where it cannot be read */
    uint64_t hash_key[2];
    int64_t policies_version; /* as read ahead in this transaction; -1: not */
    bool prepared[PG_N_STATEMENTS];
    /* In the order of results; without a query: of what is sent before one. */
    struct {
        struct pg_query *query;
        enum pg_statement prepares; /* PG_N_STATEMENTS: none, it is the BEGIN */
    } pipe[PG_PIPE];
    unsigned n_pipe;
    int send_failed; /* why something did not get into the pipe */

    struct arena arena;
    struct pg_entry *buckets[PG_BUCKETS];
    struct pg_entry *dirty;
};

struct pg_query {
    struct postgres *pg;
    enum pg_statement statement;
    int n;
    size_t at[PG_ARGUMENTS]; /* where an argument begins in bytes */
    int len[PG_ARGUMENTS];   /* -1: NULL */
    struct buf bytes;
    size_t array_at; /* the array under way */
    PGresult *result;
    int status;
};

static inline struct postgres *postgres_of(struct store *store)
{
    return (struct postgres *)store;
}

/* postgres_link.c: a connection. */

/* A connection with what the URL leaves open; PQstatus() tells. */
PGconn *pg_connect_to(const char *url);

/* Connects; on failure error holds a sentence. */
int pg_connect(struct postgres *pg, struct buf *error);
int pg_session(struct postgres *pg, struct buf *error); /* its settings, anew */
int pg_enter_pipeline(struct postgres *pg);

/* Runs SQL of ours, possibly several statements, outside of pipeline mode. *out may be NULL, else
 * is the caller's to clear. */
int pg_exec(struct postgres *pg, const char *sql, PGresult **out, struct buf *error);

/* Sends a query; its rows are there after pg_pipe(). */
void pg_send(struct pg_query *query);

/* Sends what is in the pipe and takes all results: the first failure. */
int pg_pipe(struct postgres *pg);

/* pg_send() and pg_pipe(). */
int pg_run(struct pg_query *query);

/* As pg_run(), with what is dirty in the cache written before. */
int pg_run_after_flush(struct pg_query *query);

/* postgres_query.c: arguments and columns. */

void pg_begin(struct pg_query *query, struct postgres *pg, enum pg_statement statement);
void pg_end(struct pg_query *query);

void pg_add_int(struct pg_query *query, int64_t value);
void pg_add_bool(struct pg_query *query, bool value);
void pg_add_text(struct pg_query *query, struct slice text); /* SLICE_NONE: NULL */
void pg_add_json(struct pg_query *query, struct slice text); /* no bytes: NULL */
void pg_add_uuid(struct pg_query *query, const struct uuid *id);
void pg_add_time(struct pg_query *query, int64_t time_us);

/* An array: begin with what it is of, its items, end. */
enum pg_type { PG_BOOL = 16, PG_BYTEA = 17, PG_INT8 = 20, PG_TEXT = 25, PG_TIME = 1184,
               PG_UUID = 2950, PG_JSONB = 3802 };
void pg_array(struct pg_query *query, enum pg_type type);
void pg_item_int(struct pg_query *query, int64_t value);
void pg_item_bool(struct pg_query *query, bool value);
void pg_item_text(struct pg_query *query, struct slice text); /* SLICE_NONE: NULL */
void pg_item_json(struct pg_query *query, struct slice text); /* no bytes: NULL */
void pg_item_uuid(struct pg_query *query, const struct uuid *id);
void pg_item_time(struct pg_query *query, int64_t time_us);
void pg_array_end(struct pg_query *query);

int pg_rows(const struct pg_query *query);
int64_t pg_changed(const struct pg_query *query); /* rows that it wrote */
bool pg_is_null(const struct pg_query *query, int row, int column);
int64_t pg_int(const struct pg_query *query, int row, int column); /* any integer, or a boolean */
int64_t pg_time(const struct pg_query *query, int row, int column);
struct slice pg_text(const struct pg_query *query, struct arena *arena, int row, int column);
/* jsonb in the compact form. */
struct slice pg_json(const struct pg_query *query, struct arena *arena, int row, int column);
struct uuid pg_uuid(const struct pg_query *query, int row, int column);

/* postgres_json.c: jsonb's text as our compact writer prints; SLICE_NONE when the arena is
 * poisoned. */
struct slice pg_json_compact(struct arena *arena, struct slice text);

/* postgres_cache.c */

void pg_cache_clear(struct postgres *pg);
/* The entry, made where there is none; NULL when the arena is poisoned. */
struct pg_user *pg_user_entry(struct postgres *pg, const struct uuid *id);
struct pg_doc *pg_doc_entry(struct postgres *pg, const struct uuid *user, struct slice key);
struct pg_upserts *pg_upserts_entry(struct postgres *pg, const struct uuid *user, struct slice key,
                                    struct slice device_id);
struct pg_history *pg_history_entry(struct postgres *pg, const struct uuid *user, int64_t id);
/* The entry where there is one, else NULL. */
struct pg_user *pg_user_find(struct postgres *pg, const struct uuid *id);
void pg_make_dirty(struct postgres *pg, struct pg_entry *entry);
/* What is cached of a user's documents, upserts and history is to be read again. Written before. */
void pg_forget(struct pg_user *user);

/* postgres_load.c */

/* Reads users (a writer locks them), documents or upserts into their entries, whatever of them is
 * not loaded. */
int pg_load_user(struct postgres *pg, struct pg_user *user);
int pg_load_doc(struct postgres *pg, struct pg_doc *doc);
int pg_load_upserts(struct postgres *pg, struct pg_upserts *upserts);
int pg_prefetch(struct store *store, const struct store_want *wants, size_t n);
/* A row of USERS_LOCK and its like; the columns of PG_DOC_COLUMNS from `first` on. */
struct store_user pg_user_row(const struct pg_query *query, int row);
void pg_read_doc(const struct pg_query *query, struct arena *arena, int row, int first,
                 struct store_doc *out);

/* postgres_flush.c */

/* Writes what is dirty. */
int pg_flush(struct postgres *pg);
/* The same and the COMMIT, in one trip. */
int pg_flush_and_commit(struct postgres *pg);

/* postgres_schema.c: outside of pipeline mode. */

int pg_schema_open(struct postgres *pg, struct buf *error);
/* The epoch of the store and the timeline as one text. */
void pg_set_epoch(struct postgres *pg, struct slice epoch);
int pg_schema_due(struct postgres *pg, struct buf *out, struct buf *error);

/* Verbs. */

int pg_user_get(struct store *store, const struct uuid *id, struct store_user *out);
int pg_user_put(struct store *store, const struct store_user *user);
int pg_doc_get(struct store *store, struct arena *arena, const struct uuid *user,
               struct slice key, struct store_doc *out);
int pg_doc_put(struct store *store, const struct uuid *user, const struct store_doc *doc);
int pg_docs(struct store *store, struct arena *arena, const struct uuid *user, int64_t after,
            uint32_t max_rows, size_t max_bytes, bool with_deleted, struct store_docs *out);
int pg_tombstone_drop(struct store *store, const struct uuid *user, int64_t *out_seq);
int pg_history_add(struct store *store, const struct uuid *user, struct slice key,
                   const struct store_history *entry, int64_t *out_id);
int pg_history_get(struct store *store, struct arena *arena, const struct uuid *user, int64_t id,
                   struct store_history *out);
int pg_upserts_get(struct store *store, struct arena *arena, const struct uuid *user,
                   struct slice key, struct slice device_id, struct slice *out);
int pg_upserts_put(struct store *store, const struct uuid *user, struct slice key,
                   struct slice device_id, struct slice packed, int64_t now_us);
int pg_upserts_forget(struct store *store, const struct uuid *user, struct slice key);
int pg_upserts_trim(struct store *store, const struct uuid *user, struct slice key,
                    bool *out_evicted);
int pg_devices(struct store *store, struct arena *arena, const struct uuid *user,
               struct store_devices *out);
int pg_device_put(struct store *store, const struct uuid *user, const struct store_device *device);
int pg_v1_device_put(struct store *store, const struct uuid *user,
                     const struct store_v1_device *device);
int pg_v1_device_remove(struct store *store, const struct uuid *user, struct slice device_id,
                        bool *out_found);
int pg_dead_replace(struct store *store, const struct uuid *user, struct slice device_id,
                    const struct store_dead *items, uint32_t n);
int pg_dead_letters(struct store *store, struct arena *arena, const struct uuid *user,
                    struct store_dead_letters *out);
int pg_policies(struct store *store, struct arena *arena, struct store_policies *out);
int pg_policy_put(struct store *store, struct slice pattern, struct slice policy);
int pg_user_clear(struct store *store, const struct uuid *user);
int pg_account_get(struct store *store, struct arena *arena, const struct uuid *id,
                   struct store_account *out);
int pg_account_find(struct store *store, struct arena *arena, struct slice email,
                    struct store_account *out);
int pg_account_put(struct store *store, const struct store_account *account);
int pg_account_remove(struct store *store, const struct uuid *id);
int pg_accounts(struct store *store, struct arena *arena, const struct uuid *after, uint32_t max,
                struct store_accounts *out);
int pg_accounts_unused(struct store *store, struct arena *arena, int64_t before_us, uint32_t max,
                       struct store_accounts *out);
int pg_session_get(struct store *store, const struct uuid *id, struct store_session *out);
int pg_session_put(struct store *store, const struct store_session *session);
int pg_session_remove(struct store *store, const struct uuid *id);
int pg_sessions_remove(struct store *store, const struct uuid *user, const struct uuid *but);
int pg_users(struct store *store, struct arena *arena, const struct uuid *after, uint32_t max,
             struct store_users *out);
int pg_upserts(struct store *store, struct arena *arena, const struct uuid *user,
               struct store_upserts *out);
int pg_v1_devices(struct store *store, struct arena *arena, const struct uuid *user,
                  struct store_v1_devices *out);
int pg_sessions(struct store *store, struct arena *arena, const struct uuid *user,
                struct store_sessions *out);
int pg_note_get(struct store *store, struct arena *arena, struct slice name, struct slice *out);
int pg_note_put(struct store *store, struct slice name, struct slice value);
int pg_epoch_set(struct store *store, struct slice epoch);
int pg_identity_set(struct store *store, const uint64_t hash_key[2], int64_t policies_version);

#endif
