/* disk_schema.c - the format of the client's file.
 *
 * The header carries application_id DISK_APPLICATION ("BQSC") and user_version, the number of the
 * newest migration below. Table app holds `min_reader`, the oldest version of this format that can
 * still read the file: an app that was rolled back opens a newer file as long as its own number is
 * not below it, and answers BQ_NEWER otherwise. Migrations are numbered and forward only.
 *
 *     app     name -> value: min_reader; user, who is signed in ('' nobody)
 *     meta    one row per user: struct engine_meta
 *     lane    one row per user and key: ops, priority, seed
 *     synced  the server's document of that key, mine the app's: tables of their own, so that a put
 *             writes one document and not three. A row may lack where nothing was ever in it.
 *     frozen  edits whose fate is unknown; log: acknowledged ones; dead: refused ones
 *     carried what an older app had queued (format 2); app also holds `handed_over:<user>`: what
 *             was unsent is that older app's again */
#include "client/disk_impl.h"

#define DISK_APPLICATION INT64_C(0x42515343)
#define DISK_VERSION 2

static const char migration_1[] =
    "CREATE TABLE app (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE TABLE meta ("
    " user TEXT PRIMARY KEY,"
    " device_id TEXT NOT NULL,"
    " replaces TEXT NOT NULL DEFAULT '',"
    " epoch TEXT,"
    " cursor INTEGER NOT NULL DEFAULT 0,"
    " policies_version INTEGER NOT NULL DEFAULT 0,"
    " policies TEXT,"
    " reported INTEGER NOT NULL DEFAULT 0,"
    " next_dead INTEGER NOT NULL DEFAULT 1,"
    " last_exchange_ms INTEGER NOT NULL DEFAULT 0,"
    " device_info TEXT"
    ") STRICT;"
    "CREATE TABLE lane ("
    " user TEXT NOT NULL,"
    " key TEXT NOT NULL,"
    " seed TEXT,"
    " last_op INTEGER NOT NULL DEFAULT 0,"
    " acked_op INTEGER NOT NULL DEFAULT 0,"
    " priority INTEGER NOT NULL DEFAULT 1,"
    " refused INTEGER NOT NULL DEFAULT 0,"
    " guest INTEGER NOT NULL DEFAULT 0,"
    " PRIMARY KEY (user, key)"
    ") STRICT;"
    "CREATE TABLE synced ("
    " user TEXT NOT NULL,"
    " key TEXT NOT NULL,"
    " version INTEGER NOT NULL DEFAULT 0,"
    " deleted INTEGER NOT NULL DEFAULT 0,"
    " epoch INTEGER NOT NULL DEFAULT 0,"
    " document TEXT,"
    " PRIMARY KEY (user, key)"
    ") STRICT;"
    "CREATE TABLE mine ("
    " user TEXT NOT NULL,"
    " key TEXT NOT NULL,"
    " document TEXT,"
    " modified_ms INTEGER NOT NULL DEFAULT 0,"
    " PRIMARY KEY (user, key)"
    ") STRICT;"
    "CREATE TABLE frozen ("
    " user TEXT NOT NULL,"
    " key TEXT NOT NULL,"
    " op INTEGER NOT NULL,"
    " id TEXT NOT NULL,"
    " edit TEXT NOT NULL,"
    " at_ms INTEGER NOT NULL,"
    " PRIMARY KEY (user, key, op)"
    ") STRICT;"
    "CREATE TABLE log ("
    " user TEXT NOT NULL,"
    " key TEXT NOT NULL,"
    " op INTEGER NOT NULL,"
    " id TEXT NOT NULL,"
    " edit TEXT NOT NULL,"
    " at_ms INTEGER NOT NULL,"
    " PRIMARY KEY (user, key, op)"
    ") STRICT;"
    "CREATE TABLE dead ("
    " user TEXT NOT NULL,"
    " dead_id INTEGER NOT NULL,"
    " key TEXT NOT NULL,"
    " status INTEGER NOT NULL,"
    " message TEXT NOT NULL,"
    " edit TEXT NOT NULL,"
    " at_ms INTEGER NOT NULL,"
    " PRIMARY KEY (user, dead_id)"
    ") STRICT;"
    "INSERT INTO app (name, value) VALUES ('min_reader', '1'), ('user', '');"
    "PRAGMA application_id = 1112625987;"
    "PRAGMA user_version = 1;";

/* A program of format 1 may still open the file, as long as nothing of an older app waits in it:
 * it would not know that this goes first. disk_carries() raises min_reader with an import. */
static const char migration_2[] = "CREATE TABLE carried ("
                                  " user TEXT NOT NULL,"
                                  " number INTEGER NOT NULL,"
                                  " key TEXT NOT NULL,"
                                  " id TEXT NOT NULL,"
                                  " device TEXT,"
                                  " item TEXT,"
                                  " version INTEGER NOT NULL DEFAULT 0,"
                                  " PRIMARY KEY (user, number)"
                                  ") STRICT;"
                                  "PRAGMA user_version = 2;";

static const char *const migrations[DISK_VERSION] = {migration_1, migration_2};

/* Each migration sets user_version itself, in its own transaction. */
static int migrate(struct disk *disk, int64_t from)
{
    for (int64_t i = from; i < DISK_VERSION; i++) {
        int rc = disk_exec(disk, "BEGIN IMMEDIATE");
        if (rc == SQLITE_OK) {
            rc = disk_exec(disk, migrations[i]);
        }
        if (rc == SQLITE_OK) {
            rc = disk_exec(disk, "COMMIT");
        }
        if (rc != SQLITE_OK) {
            int status = disk_fail(disk, rc, "cannot make its tables");
            disk_rollback(disk);
            return status;
        }
    }
    return BQ_OK;
}

int disk_prepare_schema(struct disk *disk)
{
    int64_t application, version, n_tables;
    int64_t min_reader = 0;
    int rc = disk_query_int(disk, "PRAGMA application_id", &application);
    if (rc == SQLITE_OK) {
        rc = disk_query_int(disk, "PRAGMA user_version", &version);
    }
    if (rc == SQLITE_OK) {
        rc = disk_query_int(disk, "SELECT count(*) FROM sqlite_master", &n_tables);
    }
    if (rc != SQLITE_OK) {
        return disk_fail(disk, rc, "cannot be read");
    }
    if (application != DISK_APPLICATION && (application != 0 || version != 0 || n_tables != 0)) {
        return disk_say(disk, BQ_CORRUPT, "%s belongs to another program; choose another path",
                        disk->path);
    }
    if (application == DISK_APPLICATION && version < 1) {
        return disk_say(disk, BQ_CORRUPT, "%s has no version; restore it from a backup",
                        disk->path);
    }
    if (version > DISK_VERSION) {
        rc = disk_query_int(disk, "SELECT value FROM app WHERE name = 'min_reader'", &min_reader);
        if (rc != SQLITE_OK) {
            return disk_fail(disk, rc, "cannot be read");
        }
        if (min_reader > DISK_VERSION) {
            return disk_say(disk, BQ_NEWER,
                            "%s has format %lld, this program reads up to %d: update the app",
                            disk->path, (long long)version, DISK_VERSION);
        }
    }
    return migrate(disk, version);
}
