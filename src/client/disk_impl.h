/* disk_impl.h - what the files of disk.h share; nobody else includes it. */
#ifndef CLIENT_DISK_IMPL_H
#define CLIENT_DISK_IMPL_H

#include "client/disk.h"

#include <sqlite3.h>

/* One row each: name and SQL of a statement that is prepared once and kept. */
#define DISK_STATEMENTS(X)                                                                         \
    X(BEGIN, "BEGIN IMMEDIATE")                                                                    \
    X(COMMIT, "COMMIT")                                                                            \
    X(ROLLBACK, "ROLLBACK")                                                                        \
    X(GET_APP, "SELECT value FROM app WHERE name = ?1")                                            \
    X(PUT_APP, "INSERT OR REPLACE INTO app (name, value) VALUES (?1, ?2)")                         \
    X(PUT_META, "INSERT OR REPLACE INTO meta (user, device_id, replaces, epoch, cursor, "          \
                "policies_version, policies, reported, next_dead, last_exchange_ms, "              \
                "device_info) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)")              \
    X(PUT_SYNCED, "INSERT INTO synced (user, key, version, deleted, epoch, document) "             \
                  "VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (user, key) DO UPDATE SET "         \
                  "version = ?3, deleted = ?4, epoch = ?5, document = ?6")                         \
    X(PUT_MINE, "INSERT INTO mine (user, key, document, modified_ms) VALUES (?1, ?2, ?3, ?4) "     \
                "ON CONFLICT (user, key) DO UPDATE SET document = ?3, modified_ms = ?4")           \
    X(PUT_LANE, "INSERT INTO lane (user, key, seed, last_op, acked_op, priority, refused, guest) " \
                "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (user, key) DO UPDATE SET "   \
                "seed = ?3, last_op = ?4, acked_op = ?5, priority = ?6, refused = ?7, guest = ?8") \
    X(DROP_SYNCED, "DELETE FROM synced WHERE user = ?1 AND key = ?2")                              \
    X(DROP_MINE, "DELETE FROM mine WHERE user = ?1 AND key = ?2")                                  \
    X(DROP_LANE, "DELETE FROM lane WHERE user = ?1 AND key = ?2")                                  \
    X(PUT_FROZEN, "INSERT OR REPLACE INTO frozen (user, key, op, id, edit, at_ms) "                \
                  "VALUES (?1, ?2, ?3, ?4, ?5, ?6)")                                               \
    X(DROP_FROZEN, "DELETE FROM frozen WHERE user = ?1 AND key = ?2 AND op = ?3")                  \
    X(PUT_LOG, "INSERT OR REPLACE INTO log (user, key, op, id, edit, at_ms) "                      \
               "VALUES (?1, ?2, ?3, ?4, ?5, ?6)")                                                  \
    X(DROP_LOG, "DELETE FROM log WHERE user = ?1 AND key = ?2 AND op = ?3")                        \
    X(PUT_DEAD, "INSERT OR REPLACE INTO dead (user, dead_id, key, status, message, edit, at_ms) "  \
                "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")                                             \
    X(DROP_DEAD, "DELETE FROM dead WHERE user = ?1 AND dead_id = ?2")                              \
    X(PUT_CARRIED, "INSERT OR REPLACE INTO carried (user, key, number, id, device, item, "         \
                   "version) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")                                 \
    X(DROP_APP, "DELETE FROM app WHERE name = ?1")

enum disk_statement {
#define DISK_STATEMENT_ENUM(name, sql) DISK_##name,
    DISK_STATEMENTS(DISK_STATEMENT_ENUM)
#undef DISK_STATEMENT_ENUM
        DISK_N_STATEMENTS
};

struct disk {
    sqlite3 *db; /* NULL: a recovery failed */
    sqlite3_stmt *statements[DISK_N_STATEMENTS];
    char *path; /* its folder resolved, its last part as given */
    char *vfs;  /* NULL: SQLite's own */
    int lock_fd;
    char error[BQ_ERROR_TEXT];
};

/* The BQ_ code for what SQLite answered; the sentence goes to disk->error. what: "cannot save". */
int disk_fail(struct disk *disk, int rc, const char *what);

/* disk_open.c: the same for a failure that is not SQLite's. */
int disk_say(struct disk *disk, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* A kept statement, reset and ready to bind; NULL with *out_rc set. */
sqlite3_stmt *disk_statement(struct disk *disk, enum disk_statement which, int *out_rc);

/* Runs a statement that gives no rows, and resets it. SQLITE_DONE is SQLITE_OK here. */
int disk_run(sqlite3_stmt *statement);

/* SQL text without rows. An SQLite code. */
int disk_exec(struct disk *disk, const char *sql);

/* The number that a query (a pragma) answers. An SQLite code; SQLITE_CORRUPT without a row. */
int disk_query_int(struct disk *disk, const char *sql, int64_t *out);

/* disk_schema.c: checks whose file this is, makes or brings forward its tables. A BQ_ code. */
int disk_prepare_schema(struct disk *disk);

/* Binds borrowed text; a NULL ptr is SQL NULL. */
int disk_bind(sqlite3_stmt *statement, int place, struct slice text);

#endif
