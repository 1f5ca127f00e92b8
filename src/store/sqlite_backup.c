/* sqlite_backup.c - see sqlite_backup.h.
 *
 * Steps of a copy: NAME.partial is made by us alone (0600), SQLite's backup fills it from one read
 * transaction, it leaves WAL mode so that it is one file, it is compared with its source and
 * checked page by page, and only then it gets its name.
 *
 * Steps of a restore, after the copy: the old file's WAL goes into it where it is sound enough for
 * that; links keep file and WAL under the other name; the WAL is removed, because it must not meet
 * the new file; the copy is renamed over the old file. Each step is synced before the next. */
#include "store/sqlite_backup.h"

#include "base/mem.h"
#include "base/status.h"
#include "store/sqlite_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define STEP_PAGES 1024
#define BUSY_MS 5000

/* One end of a copy. */
struct side {
    struct sqlite sqlite; /* path, db and what a status says; none of its verbs */
    struct buf tally;     /* "table rows\n" of every table, and the epoch */
};

static int say(struct buf *error, int status, const char *path, const char *what)
{
    if (error->len == 0) {
        buf_add_format(error, "%s %s", path, what);
    }
    return status;
}

static int say_errno(struct buf *error, const char *path, const char *what)
{
    int problem = errno;
    char why[128];
    buf_add_format(error, "%s %s: %s", path, what, strerror_r(problem, why, sizeof why));
    return problem == ENOSPC || problem == EDQUOT ? BQ_DISK_FULL
           : problem == ENOENT                    ? BQ_NOT_FOUND
           : problem == EACCES || problem == EROFS || problem == EPERM ? BQ_READ_ONLY
                                                                       : BQ_IO;
}

/* What SQLite answered, as a status and a sentence. */
static int judge(struct side *side, int rc, const char *what, struct buf *error)
{
    int status = sqlite_status(&side->sqlite, rc);
    if (status != BQ_OK && error->len == 0) {
        buf_add_format(error, "%s %s: %s", side->sqlite.path, what,
                       status == BQ_DISK_FULL ? "the disk is full; free space and try again"
                                              : sqlite3_errmsg(side->sqlite.db));
    }
    return status;
}

static void close_side(struct side *side)
{
    sqlite3_close_v2(side->sqlite.db);
    side->sqlite.db = NULL;
    buf_release(&side->tally);
}

static int open_side(struct side *side, const char *path, int flags, struct buf *error)
{
    *side = (struct side){.sqlite = {.path = (char *)(uintptr_t)path, .lock_fd = -1}};
    buf_init(&side->tally);
    int rc = sqlite3_open_v2(path, &side->sqlite.db, flags | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc == SQLITE_OK) {
        sqlite3_extended_result_codes(side->sqlite.db, 1);
        sqlite3_busy_timeout(side->sqlite.db, BUSY_MS);
        /* A server's file: it alone checkpoints. */
        sqlite3_db_config(side->sqlite.db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        sqlite3_wal_autocheckpoint(side->sqlite.db, 0);
    }
    return judge(side, rc, "cannot be opened", error);
}

/* ---- What is in a file ----------------------------------------------------------------------- */

static int read_text(struct side *side, const char *sql, struct buf *out, struct buf *error)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(side->sqlite.db, sql, -1, &stmt, NULL);
    while (rc == SQLITE_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(stmt, 0);
        buf_add_text(out, text == NULL ? "" : text);
        buf_add_char(out, '\n');
        rc = SQLITE_OK;
    }
    sqlite3_finalize(stmt);
    return judge(side, rc, "cannot be read", error);
}

static int read_int(struct side *side, const char *sql, int64_t *out, struct buf *error)
{
    struct buf text = BUF_INIT;
    int status = read_text(side, sql, &text, error);
    if (status == BQ_OK) {
        *out = text.len == 0 ? 0 : strtoll(text.ptr, NULL, 10);
    }
    buf_release(&text);
    return status;
}

/* The rows of each table, whatever the schema; the epoch behind them. */
static int tally(struct side *side, struct buf *error)
{
    struct buf names = BUF_INIT;
    buf_clear(&side->tally);
    int status = read_text(side,
                           "SELECT name FROM sqlite_master WHERE type = 'table'"
                           " AND name NOT LIKE 'sqlite_%' ORDER BY name",
                           &names, error);
    for (size_t at = 0; status == BQ_OK && at < names.len;) {
        char sql[256];
        const char *end = memchr(names.ptr + at, '\n', names.len - at);
        size_t n = (size_t)(end - names.ptr) - at;
        sqlite3_snprintf(sizeof sql, sql, "SELECT '%.*q ' || count(*) FROM \"%.*w\"", (int)n,
                         names.ptr + at, (int)n, names.ptr + at);
        status = read_text(side, sql, &side->tally, error);
        at += n + 1;
    }
    buf_release(&names);
    if (status == BQ_OK) {
        status = read_text(side, "SELECT value FROM user_sync_store WHERE name = 'epoch'",
                           &side->tally, error);
    }
    return status == BQ_OK && side->tally.failed ? BQ_NOMEM : status;
}

static int read_facts(struct side *side, struct store_backup *out, struct buf *error)
{
    struct buf epoch = BUF_INIT;
    int status = read_int(side, "PRAGMA user_version", &out->schema, error);
    if (status == BQ_OK) {
        status = read_int(side, "SELECT count(*) FROM user_sync_feed", &out->n_users, error);
    }
    if (status == BQ_OK) {
        status = read_int(side, "SELECT count(*) FROM user_sync_data_v2 WHERE deleted = 0",
                          &out->n_documents, error);
    }
    if (status == BQ_OK) {
        status = read_text(side, "SELECT value FROM user_sync_store WHERE name = 'epoch'", &epoch,
                           error);
    }
    if (status == BQ_OK) {
        snprintf(out->epoch, sizeof out->epoch, "%.*s",
                 epoch.len == 0 ? 0 : (int)(epoch.len - 1), epoch.len == 0 ? "" : epoch.ptr);
        out->n_bytes = sqlite_file_bytes(side->sqlite.path);
    }
    buf_release(&epoch);
    return status;
}

/* All pages, all indexes, all constraints. */
static int check(struct side *side, struct buf *error)
{
    struct buf verdict = BUF_INIT;
    int status = read_text(side, "PRAGMA integrity_check(1)", &verdict, error);
    if (status == BQ_OK && !slice_is(buf_slice(&verdict), "ok\n")) {
        status = say(error, BQ_CORRUPT, side->sqlite.path,
                     "is damaged (integrity_check); take another backup");
    }
    buf_release(&verdict);
    return status;
}

/* ---- The copy -------------------------------------------------------------------------------- */

/* The folder's own entry of a name: new names are safe once this is synced. */
static int sync_folder(const char *path, struct buf *error)
{
    char folder[STORE_BACKUP_PATH];
    const char *slash = strrchr(path, '/');
    int n = slash == NULL ? 1 : slash == path ? 1 : (int)(slash - path);
    snprintf(folder, sizeof folder, "%.*s", n, slash == NULL ? "." : path);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0) {
        int status = say_errno(error, folder, "cannot be synced");
        if (fd >= 0) {
            close(fd);
        }
        return status;
    }
    close(fd);
    return BQ_OK;
}

static int run_backup(struct side *from, struct side *to, struct buf *error)
{
    sqlite3_backup *backup = sqlite3_backup_init(to->sqlite.db, "main", from->sqlite.db, "main");
    if (backup == NULL) {
        return judge(to, sqlite3_extended_errcode(to->sqlite.db), "cannot be written", error);
    }
    int rc;
    do {
        rc = sqlite3_backup_step(backup, STEP_PAGES);
    } while (rc == SQLITE_OK);
    int end = sqlite3_backup_finish(backup);
    rc = rc == SQLITE_DONE ? end : rc;
    return judge(to, rc, "cannot be written", error);
}

/* Everything of `from`, at one moment, into the empty file `to`, checked. */
static int copy_pages(struct side *from, struct side *to, struct buf *error)
{
    int status = judge(from, sqlite3_exec(from->sqlite.db, "BEGIN", NULL, NULL, NULL),
                       "cannot be read", error);
    if (status == BQ_OK) {
        status = tally(from, error);
    }
    if (status == BQ_OK) {
        status = run_backup(from, to, error);
    }
    sqlite3_exec(from->sqlite.db, "ROLLBACK", NULL, NULL, NULL);
    if (status == BQ_OK) {
        status = judge(to, sqlite3_exec(to->sqlite.db, "PRAGMA journal_mode = DELETE", NULL, NULL,
                                        NULL), "cannot be written", error);
    }
    if (status == BQ_OK) {
        status = tally(to, error);
    }
    if (status == BQ_OK && !slice_equal(buf_slice(&from->tally), buf_slice(&to->tally))) {
        status = say(error, BQ_IO, to->sqlite.path, "does not hold what its source holds");
    }
    return status == BQ_OK ? check(to, error) : status;
}

static int put_epoch(struct side *side, struct slice epoch, struct buf *error)
{
    int status = sqlite_meta_put(&side->sqlite, SLICE("epoch"), epoch);
    sqlite3_finalize(side->sqlite.statements[SQL_META_PUT]);
    side->sqlite.statements[SQL_META_PUT] = NULL;
    return status == BQ_OK ? BQ_OK : say(error, status, side->sqlite.path, "cannot be written");
}

static int open_source(struct side *from, const char *path, struct buf *error)
{
    const struct store_sqlite_config config = {.size = sizeof config, .path = path,
                                               .read_only = true};
    *from = (struct side){.sqlite = {.lock_fd = -1}};
    buf_init(&from->tally);
    int status = sqlite_file_check(&config, error);
    if (status == BQ_OK) {
        status = open_side(from, path, SQLITE_OPEN_READONLY, error);
    }
    return status == BQ_OK ? sqlite_schema_check(&from->sqlite, true, error) : status;
}

/* Makes `partial`, which may be left of a copy that was killed, and fills it. epoch SLICE_NONE: the
 * source's. */
static int copy_file(const char *path, const char *partial, struct slice epoch,
                     struct store_backup *out, struct buf *error)
{
    struct side from, to;
    int status = open_source(&from, path, error);
    if (status != BQ_OK) {
        close_side(&from);
        return status;
    }
    if (unlink(partial) != 0 && errno != ENOENT) {
        status = say_errno(error, partial, "cannot be replaced");
    } else {
        status = sqlite_file_make(partial, error);
    }
    if (status != BQ_OK) {
        close_side(&from);
        return status;
    }
    status = open_side(&to, partial, SQLITE_OPEN_READWRITE, error);
    if (status == BQ_OK) {
        status = copy_pages(&from, &to, error);
    }
    if (status == BQ_OK && epoch.ptr != NULL) {
        status = put_epoch(&to, epoch, error);
    }
    if (status == BQ_OK) {
        status = read_facts(&to, out, error);
    }
    close_side(&to);
    close_side(&from);
    if (status != BQ_OK) {
        (void)unlink(partial);
    }
    return status;
}

static int join(char out[STORE_BACKUP_PATH], const char *path, const char *end, struct buf *error)
{
    int n = snprintf(out, STORE_BACKUP_PATH, "%s%s", path, end);
    return n < STORE_BACKUP_PATH ? BQ_OK : say(error, BQ_INVALID, path, "is too long a path");
}

/* ---- Backup ---------------------------------------------------------------------------------- */

static int refuse_existing(const char *dest, struct buf *error)
{
    return say(error, BQ_INVALID, dest, "exists already; name another file or remove it");
}

/* A link cannot replace anything. Where the disk knows no links, a rename has to do. */
static int take_name(const char *partial, const char *dest, struct buf *error)
{
    struct stat info;
    int rc = link(partial, dest);
    if (rc == 0) {
        (void)unlink(partial);
    } else if (errno == EPERM || errno == EOPNOTSUPP || errno == ENOSYS) {
        if (lstat(dest, &info) == 0) {
            errno = EEXIST;
        } else {
            rc = rename(partial, dest);
        }
    }
    if (rc != 0) {
        return errno == EEXIST ? refuse_existing(dest, error)
                               : say_errno(error, dest, "cannot be made");
    }
    return sync_folder(dest, error);
}

static int backup(const char *path, const char *dest, struct store_backup *out, struct buf *error)
{
    struct stat info;
    char partial[STORE_BACKUP_PATH];
    if (lstat(dest, &info) == 0) {
        return refuse_existing(dest, error);
    }
    int status = join(partial, dest, ".partial", error);
    if (status == BQ_OK) {
        status = copy_file(path, partial, SLICE_NONE, out, error);
    }
    if (status == BQ_OK) {
        status = take_name(partial, dest, error);
        if (status != BQ_OK) {
            (void)unlink(partial);
        }
    }
    return status;
}

static int end(int status, struct buf *sentence, char *error, size_t error_size)
{
    if (status != BQ_OK) {
        snprintf(error, error_size, "%s",
                 sentence->len > 0 && !sentence->failed ? sentence->ptr : status_text(status));
    }
    buf_release(sentence);
    return status;
}

int store_sqlite_backup(const char *path, const char *dest, struct store_backup *out, char *error,
                        size_t error_size)
{
    struct buf sentence = BUF_INIT;
    *out = (struct store_backup){0};
    return end(backup(path, dest, out, &sentence), &sentence, error, error_size);
}

/* ---- Restore --------------------------------------------------------------------------------- */

/* What is committed goes from the WAL into the old file, where that file is sound: then the file
 * alone is the old store. A damaged one is put aside with its WAL as it is. */
static void settle(const char *path)
{
    struct side side;
    struct buf unheard = BUF_INIT;
    if (open_side(&side, path, SQLITE_OPEN_READWRITE, &unheard) == BQ_OK) {
        int rc = sqlite3_wal_checkpoint_v2(side.sqlite.db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL,
                                           NULL);
        /* With nothing in it the WAL may go. */
        sqlite3_db_config(side.sqlite.db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, rc != SQLITE_OK, NULL);
    }
    close_side(&side);
    buf_release(&unheard);
}

/* A second name for path + end, where that is there. */
static int keep(const char *path, const char *aside, const char *end_, struct buf *error)
{
    char from[STORE_BACKUP_PATH], to[STORE_BACKUP_PATH];
    int status = join(from, path, end_, error);
    if (status == BQ_OK) {
        status = join(to, aside, end_, error);
    }
    if (status == BQ_OK && link(from, to) != 0 && !(errno == ENOENT && end_[0] != '\0')) {
        status = say_errno(error, to, "cannot be made to keep the old store");
    }
    return status;
}

static int drop(const char *path, const char *end_, struct buf *error)
{
    char name[STORE_BACKUP_PATH];
    int status = join(name, path, end_, error);
    if (status == BQ_OK && unlink(name) != 0 && errno != ENOENT) {
        status = say_errno(error, name, "cannot be removed");
    }
    return status;
}

static int put_aside(const char *path, const char *aside, struct buf *error)
{
    settle(path);
    int status = keep(path, aside, "", error);
    if (status == BQ_OK) {
        status = keep(path, aside, "-wal", error);
    }
    if (status == BQ_OK) {
        status = sync_folder(path, error);
    }
    if (status == BQ_OK) {
        status = drop(path, "-wal", error);
    }
    if (status == BQ_OK) {
        status = drop(path, "-shm", error);
    }
    return status == BQ_OK ? sync_folder(path, error) : status;
}

static bool is_same_file(const char *a, const char *b)
{
    struct stat of_a, of_b;
    return stat(a, &of_a) == 0 && stat(b, &of_b) == 0 && of_a.st_dev == of_b.st_dev &&
           of_a.st_ino == of_b.st_ino;
}

static int replace(const char *partial, const char *path, const char *word,
                   struct store_backup *out, struct buf *error)
{
    struct stat info;
    int status = BQ_OK;
    if (lstat(path, &info) == 0) {
        char end_[64];
        snprintf(end_, sizeof end_, ".before-%s", word);
        status = join(out->aside, path, end_, error);
        if (status == BQ_OK) {
            status = put_aside(path, out->aside, error);
        }
    }
    if (status == BQ_OK && rename(partial, path) != 0) {
        status = say_errno(error, path, "cannot be replaced");
    }
    return status == BQ_OK ? sync_folder(path, error) : status;
}

static int restore(const char *from, const char *path, struct slice epoch, const char *word,
                   struct store_backup *out, struct buf *error)
{
    char partial[STORE_BACKUP_PATH];
    int lock_fd = -1;
    const struct store_sqlite_config config = {.size = sizeof config, .path = path, .create = true};
    if (is_same_file(from, path)) {
        return say(error, BQ_INVALID, from, "is the store itself; name a backup of it");
    }
    int status = sqlite_file_check(&config, error);
    if (status == BQ_OK) {
        status = sqlite_file_lock(path, &lock_fd, error);
    }
    if (status == BQ_OK) {
        status = join(partial, path, ".restoring", error);
    }
    if (status == BQ_OK) {
        status = copy_file(from, partial, epoch, out, error);
    }
    if (status == BQ_OK) {
        status = replace(partial, path, word, out, error);
        if (status != BQ_OK) {
            (void)unlink(partial);
        }
    }
    if (lock_fd >= 0) {
        close(lock_fd);
    }
    return status;
}

int store_sqlite_restore(const char *from, const char *path, struct slice epoch, const char *word,
                         struct store_backup *out, char *error, size_t error_size)
{
    struct buf sentence = BUF_INIT;
    *out = (struct store_backup){0};
    return end(restore(from, path, epoch, word, out, &sentence), &sentence, error, error_size);
}
