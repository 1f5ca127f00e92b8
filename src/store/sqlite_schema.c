/* sqlite_schema.c - settings of a connection, and the way from an empty file to our tables.
 *
 * The header of the file carries application_id "BQSS" and, as user_version, the number of steps of
 * sql/sqlite that were run on it. Steps go forward only, one transaction each; a file with more
 * steps than this program knows is refused untouched.
 *
 * A file of up to CHECK_BYTES is checked whole at each open (PRAGMA quick_check, some 0.2 s at
 * most). A larger one is not: SQLite survives a kill and a power loss by itself, and a check
 * of gigabytes would keep a restarted server away for minutes. Damage there shows as BQ_CORRUPT
 * when it is met. */
#include "store/sqlite_impl.h"

#include "base/status.h"
#include "store/sqlite_schema_steps.h"

#define APPLICATION 0x42515353 /* "BQSS" */
#define N_STEPS ((int64_t)(sizeof sqlite_schema_steps / sizeof sqlite_schema_steps[0]))
#define CHECK_BYTES (INT64_C(64) << 20)
#define READ_BYTES 16384

#define WRITER_CACHE "PRAGMA cache_size = -32768"
#define READER_CACHE "PRAGMA cache_size = -4096"

/* The first column of the first row of a PRAGMA; BQ_NOT_FOUND where it gives none. */
static int pragma_text(struct sqlite *sqlite, const char *sql, char *out, size_t size)
{
    sqlite3_stmt *stmt;
    int rc = sqlite3_prepare_v2(sqlite->db, sql, -1, &stmt, NULL);
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
    }
    if (rc == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(stmt, 0);
        sqlite3_snprintf((int)size, out, "%s", text == NULL ? "" : text);
    }
    sqlite3_finalize(stmt);
    return rc == SQLITE_DONE ? BQ_NOT_FOUND : sqlite_status(sqlite, rc);
}

static int pragma_int(struct sqlite *sqlite, const char *sql, int64_t *out)
{
    sqlite3_stmt *stmt;
    int rc = sqlite3_prepare_v2(sqlite->db, sql, -1, &stmt, NULL);
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
    }
    if (rc == SQLITE_ROW) {
        *out = sqlite3_column_int64(stmt, 0);
    }
    sqlite3_finalize(stmt);
    return rc == SQLITE_DONE ? BQ_NOT_FOUND : sqlite_status(sqlite, rc);
}

/* A sentence for what SQLite answered, where none was said yet. */
static int explain(struct sqlite *sqlite, int status, struct buf *error)
{
    if (status == BQ_OK || error->len > 0) {
        return status;
    }
    if (status == BQ_CORRUPT) {
        buf_add_format(error, "%s is damaged or no database (%s); restore it from a backup",
                       sqlite->path, sqlite3_errmsg(sqlite->db));
    } else {
        buf_add_format(error, "%s cannot be opened (%s): %s", sqlite->path,
                       sqlite3_errmsg(sqlite->db), status_text(status));
    }
    return status;
}

/* WAL with the sync level asked for: set, and read back, because a PRAGMA that does not take effect
 * is silent. */
static int configure_writer(struct sqlite *sqlite, const char *synchronous, struct buf *error)
{
    static const char *const levels[] = {"OFF", "NORMAL", "FULL", "EXTRA"};
    char sql[64];
    char mode[16] = "";
    int64_t level = -1;
    sqlite3_snprintf(sizeof sql, sql, "PRAGMA synchronous = %s", synchronous);
    int status = pragma_text(sqlite, "PRAGMA journal_mode = WAL", mode, sizeof mode);
    if (status == BQ_OK) {
        status = sqlite_exec(sqlite, sql);
    }
    if (status == BQ_OK) {
        status = pragma_int(sqlite, "PRAGMA synchronous", &level);
    }
    if (status == BQ_OK && (sqlite3_stricmp(mode, "wal") != 0 || level < 0 || level > 3 ||
                            sqlite3_stricmp(levels[level], synchronous) != 0)) {
        buf_add_format(error, "%s: this SQLite does not take journal_mode WAL with synchronous %s",
                       sqlite->path, synchronous);
        status = BQ_IO;
    }
    return status == BQ_NOT_FOUND ? BQ_IO : status;
}

/* secure_delete FAST: what is removed is overwritten where that costs no page more. */
int sqlite_schema_configure(struct sqlite *sqlite, const char *synchronous, struct buf *error)
{
    static const char *const common[] = {"PRAGMA trusted_schema = OFF", "PRAGMA mmap_size = 0",
                                         "PRAGMA temp_store = MEMORY",
                                         "PRAGMA secure_delete = FAST"};
    sqlite3_db_config(sqlite->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    int status = sqlite_exec(sqlite, sqlite->is_writer ? WRITER_CACHE : READER_CACHE);
    for (size_t i = 0; status == BQ_OK && i < sizeof common / sizeof common[0]; i++) {
        status = sqlite_exec(sqlite, common[i]);
    }
    if (status == BQ_OK && sqlite->is_writer) {
        status = configure_writer(sqlite, synchronous, error);
    } else if (status == BQ_OK) {
        status = sqlite_exec(sqlite, "PRAGMA query_only = ON");
    }
    return explain(sqlite, status, error);
}

/* Random bits for the epoch and the key of the fingerprints, as hex; made once. */
static int make_identity(struct sqlite *sqlite, void (*random)(void *bytes, size_t n))
{
    static const char *const sql[] = {
        "INSERT INTO user_sync_store (name, value) VALUES ('epoch', '%s')",
        "INSERT INTO user_sync_store (name, value) VALUES ('hash_key', '%s')"};
    int status = BQ_OK;
    for (int i = 0; status == BQ_OK && i < 2; i++) {
        unsigned char bytes[SQLITE_EPOCH_TEXT / 2];
        char hex[SQLITE_EPOCH_TEXT + 1];
        char text[160];
        if (random == NULL) {
            sqlite3_randomness(sizeof bytes, bytes);
        } else {
            random(bytes, sizeof bytes);
        }
        for (size_t k = 0; k < sizeof bytes; k++) {
            sqlite3_snprintf(3, hex + 2 * k, "%02x", bytes[k]);
        }
        sqlite3_snprintf(sizeof text, text, sql[i], hex);
        status = sqlite_exec(sqlite, text);
    }
    return status;
}

/* One step and its number, in one transaction; the first one makes the identity as well. */
static int run_step(struct sqlite *sqlite, int64_t step, void (*random)(void *bytes, size_t n))
{
    char number[96];
    sqlite3_snprintf(sizeof number, number,
                     "PRAGMA application_id = %d; PRAGMA user_version = %lld", APPLICATION,
                     (long long)step + 1);
    int status = sqlite_exec(sqlite, "BEGIN IMMEDIATE");
    if (status != BQ_OK) {
        return status;
    }
    status = sqlite_exec(sqlite, sqlite_schema_steps[step]);
    if (status == BQ_OK && step == 0) {
        status = make_identity(sqlite, random);
    }
    if (status == BQ_OK) {
        status = sqlite_exec(sqlite, number);
    }
    if (status == BQ_OK) {
        status = sqlite_exec(sqlite, "COMMIT");
    }
    if (status != BQ_OK && !sqlite3_get_autocommit(sqlite->db)) {
        sqlite3_exec(sqlite->db, "ROLLBACK", NULL, NULL, NULL);
    }
    return status;
}

static int check_header(struct sqlite *sqlite, bool takes_older, struct buf *error)
{
    bool writer = sqlite->is_writer;
    int64_t application = 0;
    int64_t version = 0;
    int64_t tables = 0;
    int status = pragma_int(sqlite, "PRAGMA application_id", &application);
    if (status == BQ_OK) {
        status = pragma_int(sqlite, "PRAGMA user_version", &version);
    }
    if (status == BQ_OK) {
        status = pragma_int(sqlite, "SELECT count(*) FROM sqlite_master", &tables);
    }
    if (status != BQ_OK) {
        return status;
    }
    bool empty = application == 0 && version == 0 && tables == 0;
    if (application != APPLICATION && !(empty && writer)) {
        buf_add_format(error, "%s is no store of bqsync; name another file", sqlite->path);
        return BQ_CORRUPT;
    }
    if (version > N_STEPS || (version < N_STEPS && !takes_older)) {
        buf_add_format(error, "%s has schema %d and this bqsync knows %d; %s", sqlite->path,
                       (int)version, (int)N_STEPS,
                       version > N_STEPS ? "update bqsync" : "start the server to update it");
        return version > N_STEPS ? BQ_NEWER : BQ_READ_ONLY;
    }
    return BQ_OK;
}

int sqlite_schema_check(struct sqlite *sqlite, bool takes_older, struct buf *error)
{
    return explain(sqlite, check_header(sqlite, takes_older, error), error);
}

/* Whether the disk gives every byte of the file: quick_check calls a page damaged that it could not
 * read, and a sentence about backups must not come of a failing disk. */
static bool is_readable(struct sqlite *sqlite)
{
    char bytes[READ_BYTES];
    sqlite3_file *file = NULL;
    int64_t size = sqlite_file_bytes(sqlite->path);
    int rc = sqlite3_file_control(sqlite->db, "main", SQLITE_FCNTL_FILE_POINTER, &file);
    for (int64_t at = 0; rc == SQLITE_OK && at < size; at += READ_BYTES) {
        rc = file->pMethods->xRead(file, bytes, READ_BYTES, at);
        rc = rc == SQLITE_IOERR_SHORT_READ ? SQLITE_OK : rc;
    }
    return rc == SQLITE_OK;
}

static int check_pages(struct sqlite *sqlite, struct buf *error)
{
    char verdict[200] = "ok";
    int status = BQ_OK;
    if (sqlite_file_bytes(sqlite->path) > CHECK_BYTES) {
        return BQ_OK;
    }
    /* Twice, so that one failed read does not condemn a file. */
    for (int i = 0; i < 2; i++) {
        status = pragma_text(sqlite, "PRAGMA quick_check(1)", verdict, sizeof verdict);
        if (status != BQ_OK || sqlite3_stricmp(verdict, "ok") == 0) {
            return status;
        }
        status = is_readable(sqlite) ? BQ_CORRUPT : BQ_IO;
    }
    for (char *c = verdict; *c != '\0'; c++) {
        *c = *c == '\n' ? ' ' : *c; /* a sentence is one line */
    }
    buf_add_format(error, "%s cannot be read whole (%s): %s", sqlite->path, verdict,
                   status_text(status));
    return status;
}

static bool read_hex(struct slice text, uint64_t *out)
{
    uint64_t value = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                                                : 16;
        if (digit == 16) {
            return false;
        }
        value = value << 4 | digit;
    }
    *out = value;
    return true;
}

static int load_identity(struct sqlite *sqlite, struct buf *error)
{
    struct arena arena;
    struct slice epoch = SLICE_NONE;
    struct slice key = SLICE_NONE;
    arena_init(&arena);
    int status = sqlite_meta_get(sqlite, SLICE("epoch"), &arena, &epoch);
    if (status == BQ_OK) {
        status = sqlite_meta_get(sqlite, SLICE("hash_key"), &arena, &key);
    }
    if (status == BQ_OK && (epoch.len == 0 || epoch.len > SQLITE_EPOCH_TEXT || key.len != 32 ||
                            !read_hex((struct slice){key.ptr, 16}, &sqlite->hash_key[0]) ||
                            !read_hex((struct slice){key.ptr + 16, 16}, &sqlite->hash_key[1]))) {
        status = BQ_CORRUPT;
    }
    if (status == BQ_OK) {
        memcpy(sqlite->epoch, epoch.ptr, epoch.len);
        sqlite->epoch[epoch.len] = '\0';
    }
    arena_release(&arena);
    if (status == BQ_NOT_FOUND || status == BQ_CORRUPT) {
        buf_add_format(error,
                       "%s: epoch and hash_key are missing in user_sync_store; restore the"
                       " file from a backup",
                       sqlite->path);
        status = BQ_CORRUPT;
    }
    return status;
}

int sqlite_schema_load(struct sqlite *sqlite, void (*random)(void *bytes, size_t n),
                       struct buf *error)
{
    int64_t version = N_STEPS;
    int status = BQ_OK;
    if (sqlite->is_writer) {
        status = check_pages(sqlite, error);
    }
    if (status == BQ_OK && sqlite->is_writer) {
        status = pragma_int(sqlite, "PRAGMA user_version", &version);
    }
    for (; status == BQ_OK && version < N_STEPS; version++) {
        status = run_step(sqlite, version, random);
    }
    if (status == BQ_OK) {
        status = load_identity(sqlite, error);
    }
    return explain(sqlite, status, error);
}
