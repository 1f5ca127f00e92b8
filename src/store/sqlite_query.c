/* sqlite_query.c - statements, parameters, columns, and what SQLite's codes mean to us. */
#include "store/sqlite_impl.h"

#include "base/assert.h"
#include "base/plant.h"
#include "base/status.h"

#include <errno.h>

static const char *const statement_texts[SQL_STATEMENTS] = {
#define SQLITE_STATEMENT_TEXT(name, text) text,
    SQLITE_STATEMENTS(SQLITE_STATEMENT_TEXT)
#undef SQLITE_STATEMENT_TEXT
};

/* A full disk shows as an I/O error where SQLite met it outside of a plain write. */
static int io_status(struct sqlite *sqlite, int rc)
{
    if (rc == SQLITE_IOERR_NOMEM) {
        return BQ_NOMEM;
    }
    int system = sqlite->db == NULL ? 0 : sqlite3_system_errno(sqlite->db);
    return system == ENOSPC || system == EDQUOT ? BQ_DISK_FULL : BQ_IO;
}

static int plain_status(struct sqlite *sqlite, int rc)
{
    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return BQ_OK;
    case SQLITE_NOMEM:
        return BQ_NOMEM;
    case SQLITE_FULL:
        return BQ_DISK_FULL;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return BQ_READ_ONLY;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return BQ_BUSY;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_ERROR: /* our own SQL does not fit the file: somebody changed its tables */
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_SCHEMA:
        return BQ_CORRUPT;
    case SQLITE_IOERR:
        return io_status(sqlite, rc);
    default:
        return BQ_IO;
    }
}

/* After a failed sync the kernel may call pages clean that never reached the disk: nothing that a
 * later sync says is proof. The way out is to close, open and write them anew. */
static bool sync_failed(int rc)
{
    return rc == SQLITE_IOERR_FSYNC || rc == SQLITE_IOERR_DIR_FSYNC || rc == SQLITE_IOERR_TRUNCATE;
}

/* A statement that the file refuses for its own sake (a constraint, a column that is gone) says
 * nothing about the rest of it; a damaged page does. */
static bool is_damage(int rc)
{
    return (rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB;
}

int sqlite_status(struct sqlite *sqlite, int rc)
{
    if (sync_failed(rc)) {
        sqlite->poison = BQ_IO;
    } else if (is_damage(rc)) {
        sqlite->poison = BQ_CORRUPT;
    }
    return plain_status(sqlite, rc);
}

/* For a planted bug; sees all users' rows. */
#define DEAD_LETTERS_OF_ALL                                                                        \
    "SELECT id, device_id, data_key, data, version, error_message, created_at"                     \
    " FROM user_sync_queue WHERE ?1 IS NOT NULL AND status = 'failed'"

void sqlite_query_begin(struct sqlite_query *query, struct sqlite *sqlite,
                        enum sqlite_statement statement)
{
    query->sqlite = sqlite;
    query->n_bound = 0;
    query->n_times = 0;
    query->rc = SQLITE_OK;
    sqlite3_stmt **stmt = &sqlite->statements[statement];
    const char *text = PLANTED(SELECT_WITHOUT_USER) && statement == SQL_DEAD_LETTERS
                           ? DEAD_LETTERS_OF_ALL
                           : statement_texts[statement];
    if (*stmt == NULL) {
        query->rc =
            sqlite3_prepare_v3(sqlite->db, text, -1, SQLITE_PREPARE_PERSISTENT, stmt, NULL);
    }
    query->stmt = *stmt;
}

void sqlite_query_end(struct sqlite_query *query)
{
    if (query->stmt != NULL) {
        sqlite3_reset(query->stmt);
        sqlite3_clear_bindings(query->stmt);
    }
}

static void bound(struct sqlite_query *query, int rc)
{
    if (query->rc == SQLITE_OK) {
        query->rc = rc;
    }
}

void sqlite_bind_int(struct sqlite_query *query, int64_t value)
{
    query->n_bound++;
    if (query->stmt != NULL) {
        bound(query, sqlite3_bind_int64(query->stmt, query->n_bound, value));
    }
}

void sqlite_bind_text(struct sqlite_query *query, struct slice text)
{
    query->n_bound++;
    if (query->stmt != NULL && text.ptr != NULL) {
        bound(query, sqlite3_bind_text64(query->stmt, query->n_bound, text.ptr, text.len,
                                         SQLITE_STATIC, SQLITE_UTF8));
    }
}

void sqlite_bind_blob(struct sqlite_query *query, struct slice bytes)
{
    query->n_bound++;
    if (query->stmt != NULL && bytes.ptr != NULL) {
        bound(query, sqlite3_bind_blob64(query->stmt, query->n_bound, bytes.ptr, bytes.len,
                                         SQLITE_STATIC));
    }
}

void sqlite_bind_time(struct sqlite_query *query, int64_t time_us)
{
    ASSERT(query->n_times < SQLITE_QUERY_TIMES);
    char *text = query->times[query->n_times++];
    size_t len = timestamp_print(time_us, text);
    sqlite_bind_text(query, (struct slice){text, len});
}

int sqlite_query_step(struct sqlite_query *query)
{
    if (query->rc != SQLITE_OK && query->rc != SQLITE_ROW) {
        return query->rc == SQLITE_DONE ? BQ_NOT_FOUND : sqlite_status(query->sqlite, query->rc);
    }
    query->rc = sqlite3_step(query->stmt);
    if (query->rc == SQLITE_DONE) {
        return BQ_NOT_FOUND;
    }
    return sqlite_status(query->sqlite, query->rc);
}

int sqlite_query_run(struct sqlite_query *query)
{
    int status = sqlite_query_step(query);
    while (status == BQ_OK) {
        status = sqlite_query_step(query);
    }
    sqlite_query_end(query);
    return status == BQ_NOT_FOUND ? BQ_OK : status;
}

int64_t sqlite_column_int(struct sqlite_query *query, int column)
{
    return sqlite3_column_int64(query->stmt, column);
}

/* The bytes where SQLite has them; gone with the next step. */
static struct slice borrowed_column(struct sqlite_query *query, int column)
{
    const char *bytes = sqlite3_column_blob(query->stmt, column);
    size_t len = (size_t)sqlite3_column_bytes(query->stmt, column);
    if (bytes == NULL && sqlite3_errcode(query->sqlite->db) == SQLITE_NOMEM) {
        query->rc = SQLITE_NOMEM;
    }
    return (struct slice){bytes == NULL ? "" : bytes, len};
}

struct slice sqlite_column_slice(struct sqlite_query *query, struct arena *arena, int column)
{
    if (sqlite3_column_type(query->stmt, column) == SQLITE_NULL) {
        return SLICE_NONE;
    }
    return arena_copy(arena, borrowed_column(query, column));
}

int64_t sqlite_column_time(struct sqlite_query *query, int column)
{
    int64_t time_us = 0;
    if (!timestamp_parse(borrowed_column(query, column), &time_us)) {
        query->rc = SQLITE_MISMATCH;
    }
    return time_us;
}

int sqlite_query_finish(struct sqlite_query *query, const struct arena *arena)
{
    int rc = query->rc;
    sqlite_query_end(query);
    return arena_failed(arena) ? BQ_NOMEM : sqlite_status(query->sqlite, rc);
}

int sqlite_exec(struct sqlite *sqlite, const char *sql)
{
    return sqlite_status(sqlite, sqlite3_exec(sqlite->db, sql, NULL, NULL, NULL));
}

int sqlite_meta_get(struct sqlite *sqlite, struct slice name, struct arena *arena,
                    struct slice *out)
{
    struct sqlite_query query;
    sqlite_query_begin(&query, sqlite, SQL_META_GET);
    sqlite_bind_text(&query, name);
    int status = sqlite_query_step(&query);
    if (status == BQ_OK) {
        struct slice value = sqlite_column_slice(&query, arena, 0);
        status = sqlite_query_finish(&query, arena);
        if (status == BQ_OK) {
            *out = value;
        }
        return status;
    }
    sqlite_query_end(&query);
    return status;
}

int sqlite_meta_get_int(struct sqlite *sqlite, struct slice name, int64_t *out)
{
    struct sqlite_query query;
    sqlite_query_begin(&query, sqlite, SQL_META_GET);
    sqlite_bind_text(&query, name);
    int status = sqlite_query_step(&query);
    if (status == BQ_OK) {
        *out = sqlite_column_int(&query, 0);
    }
    sqlite_query_end(&query);
    return status;
}

int sqlite_meta_put(struct sqlite *sqlite, struct slice name, struct slice value)
{
    struct sqlite_query query;
    sqlite_query_begin(&query, sqlite, SQL_META_PUT);
    sqlite_bind_text(&query, name);
    sqlite_bind_text(&query, value);
    return sqlite_query_run(&query);
}

int sqlite_meta_put_int(struct sqlite *sqlite, struct slice name, int64_t value)
{
    char text[24];
    sqlite3_snprintf(sizeof text, text, "%lld", (long long)value);
    return sqlite_meta_put(sqlite, name, slice_of(text));
}
