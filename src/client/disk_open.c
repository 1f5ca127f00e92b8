/* disk_open.c - opening, locking, recovering and closing the client's file.
 *
 * The order of disk_open(): resolve the folder (the last part is never followed), take PATH.lock,
 * open the file once by ourselves to see that it is a plain file of mode 0600, and only then let
 * SQLite open it; SQLite gives its -wal the same mode. The lock file stays behind: removing it
 * would let two processes hold locks on two files of one name. */
#include "client/disk_impl.h"

#include "base/mem.h"
#include "base/status.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUSY_MS 1000
#define SYNCHRONOUS_FULL 2

int disk_say(struct disk *disk, int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(disk->error, sizeof disk->error, format, args);
    va_end(args);
    return status;
}

static int status_of_errno(int error)
{
    switch (error) {
    case ENOMEM:
        return BQ_NOMEM;
    case ENOSPC:
    case EDQUOT:
        return BQ_DISK_FULL;
    case EACCES:
    case EPERM:
    case EROFS:
        return BQ_READ_ONLY;
    case ELOOP:
    case ENOENT:
    case ENOTDIR:
    case EISDIR:
    case ENAMETOOLONG:
        return BQ_INVALID;
    default:
        return BQ_IO;
    }
}

static int fail_errno(struct disk *disk, const char *path, const char *what)
{
    int error = errno;
    return disk_say(disk, status_of_errno(error), "%s %s: %s", path, what, strerror(error));
}

static char *join(const char *a, const char *b)
{
    size_t size = strlen(a) + strlen(b) + 1;
    char *text = mem_alloc(size);
    if (text != NULL) {
        (void)snprintf(text, size, "%s%s", a, b);
    }
    return text;
}

/* The folder without symbolic links, and the file's own name as it was given. */
static int resolve(struct disk *disk, const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash == NULL ? path : slash + 1;
    char folder[4096];
    char real[PATH_MAX];
    size_t n = slash == NULL ? 0 : (size_t)(slash - path) + 1;
    if (name[0] == '\0' || n >= sizeof folder - 1) {
        return disk_say(disk, BQ_INVALID, "the path names no file");
    }
    memcpy(folder, path, n);
    memcpy(folder + n, ".", 2);
    if (realpath(folder, real) == NULL) {
        return fail_errno(disk, path, "has no folder that can be used");
    }
    char *with_slash = join(real, real[1] == '\0' ? "" : "/");
    disk->path = with_slash == NULL ? NULL : join(with_slash, name);
    mem_free(with_slash);
    return disk->path == NULL ? disk_say(disk, BQ_NOMEM, "%s", status_text(BQ_NOMEM)) : BQ_OK;
}

/* Opens a file that has to be plain and ours alone. A missing one is made where `flags` say so. */
static int open_private(struct disk *disk, const char *path, int flags, int *out_fd)
{
    struct stat facts;
    int fd;
    do {
        fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        return fail_errno(disk, path, errno == ELOOP ? "is a symbolic link" : "cannot be opened");
    }
    int status = BQ_OK;
    if (fstat(fd, &facts) != 0) {
        status = fail_errno(disk, path, "cannot be looked at");
    } else if (!S_ISREG(facts.st_mode)) {
        status = disk_say(disk, BQ_INVALID, "%s is not a plain file", path);
    } else if ((facts.st_mode & 077) != 0 && fchmod(fd, facts.st_mode & 0700) != 0) {
        status = fail_errno(disk, path, "can be read by others, and that cannot be changed");
    }
    if (status != BQ_OK) {
        (void)close(fd);
        return status;
    }
    *out_fd = fd;
    return BQ_OK;
}

static int take_lock(struct disk *disk)
{
    char *path = join(disk->path, ".lock");
    if (path == NULL) {
        return disk_say(disk, BQ_NOMEM, "%s", status_text(BQ_NOMEM));
    }
    int status = open_private(disk, path, O_RDWR | O_CREAT, &disk->lock_fd);
    if (status == BQ_OK && flock(disk->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        status = errno == EWOULDBLOCK
                     ? disk_say(disk, BQ_LOCKED, "%s is used by another process; stop it first",
                                disk->path)
                     : fail_errno(disk, path, "cannot be locked");
    }
    mem_free(path);
    return status;
}

/* What SQLite left beside the file gets its mode too; nothing there is fine. */
static int make_neighbour_private(struct disk *disk, const char *suffix)
{
    int fd = -1;
    char *path = join(disk->path, suffix);
    if (path == NULL) {
        return disk_say(disk, BQ_NOMEM, "%s", status_text(BQ_NOMEM));
    }
    int status = BQ_OK;
    if (access(path, F_OK) == 0) {
        status = open_private(disk, path, O_RDWR, &fd);
        if (status == BQ_OK) {
            (void)close(fd);
        }
    }
    mem_free(path);
    return status;
}

/* Before SQLite has it open: closing a descriptor later would drop SQLite's own locks. */
static int make_private(struct disk *disk)
{
    int fd = -1;
    int status = open_private(disk, disk->path, O_RDWR | O_CREAT, &fd);
    if (status != BQ_OK) {
        return status;
    }
    (void)close(fd);
    status = make_neighbour_private(disk, "-wal");
    return status == BQ_OK ? make_neighbour_private(disk, "-shm") : status;
}

/* ---- The connection -------------------------------------------------------------------------- */

/* SQLite opens a file to read alone where the system had no descriptor for more at that moment.
 * That we may write it, open_private() has seen. */
static int refuse_read_only(struct disk *disk)
{
    return disk_say(disk, BQ_IO, "%s cannot be opened to write at the moment; try again",
                    disk->path);
}

/* The same of its WAL, which has no flag to ask for. */
static int check_writable(struct disk *disk)
{
    int rc = disk_exec(disk, "BEGIN IMMEDIATE; COMMIT");
    if ((rc & 0xff) == SQLITE_READONLY) {
        return refuse_read_only(disk);
    }
    return rc == SQLITE_OK ? BQ_OK : disk_fail(disk, rc, "cannot be written");
}

static int set_up(struct disk *disk)
{
    int64_t synchronous = 0;
    int64_t is_wal = 0;
    int status = disk_prepare_schema(disk);
    if (status != BQ_OK) {
        return status;
    }
    int rc = disk_exec(disk, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
                         "PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON");
    if (rc == SQLITE_OK) {
        rc = disk_query_int(disk, "PRAGMA synchronous", &synchronous);
    }
    if (rc == SQLITE_OK) {
        rc = disk_query_int(disk, "SELECT journal_mode = 'wal' FROM pragma_journal_mode", &is_wal);
    }
    if (rc != SQLITE_OK) {
        return disk_fail(disk, rc, "cannot be made durable");
    }
    if (synchronous != SYNCHRONOUS_FULL || is_wal != 1) {
        return disk_say(disk, BQ_IO, "%s: this SQLite does not keep WAL with synchronous=FULL",
                        disk->path);
    }
    return check_writable(disk);
}

static void disconnect(struct disk *disk)
{
    for (int i = 0; i < DISK_N_STATEMENTS; i++) {
        (void)sqlite3_finalize(disk->statements[i]);
        disk->statements[i] = NULL;
    }
    (void)sqlite3_close(disk->db);
    disk->db = NULL;
}

static int open_database(struct disk *disk)
{
    int rc = sqlite3_open_v2(disk->path, &disk->db,
                             SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW |
                                 SQLITE_OPEN_EXRESCODE,
                             disk->vfs);
    if (rc != SQLITE_OK) {
        return rc;
    }
    (void)sqlite3_busy_timeout(disk->db, BUSY_MS);
    return disk_exec(disk, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA trusted_schema = OFF;"
                           "PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY;"
                           "PRAGMA secure_delete = FAST");
}

/* The first read rolls back what a power loss left half written. Where that was the making of the
 * file, SQLite has by then taken the size of pages and the vacuum mode from the torn header; so a
 * file that is empty now is opened once more. */
static int open_settled(struct disk *disk)
{
    int64_t n_pages = -1;
    int rc = open_database(disk);
    if (rc == SQLITE_OK && disk_query_int(disk, "PRAGMA page_count", &n_pages) == SQLITE_OK &&
        n_pages == 0) {
        (void)sqlite3_close(disk->db);
        disk->db = NULL;
        rc = open_database(disk);
    }
    return rc;
}

static int connect_file(struct disk *disk)
{
    int status = make_private(disk);
    if (status != BQ_OK) {
        return status;
    }
    int rc = open_settled(disk);
    if (rc != SQLITE_OK) {
        status = disk_fail(disk, rc, "cannot be opened");
    } else {
        bool read_only = sqlite3_db_readonly(disk->db, "main") == 1;
        status = read_only ? refuse_read_only(disk) : set_up(disk);
    }
    if (status != BQ_OK) {
        disconnect(disk);
    }
    return status;
}

int disk_open(const char *path, const char *vfs, struct disk **out, char error[BQ_ERROR_TEXT])
{
    struct disk *disk = mem_zalloc(1, sizeof *disk);
    if (disk == NULL) {
        (void)snprintf(error, BQ_ERROR_TEXT, "%s", status_text(BQ_NOMEM));
        return BQ_NOMEM;
    }
    disk->lock_fd = -1;
    int status = resolve(disk, path);
    if (status == BQ_OK && vfs != NULL) {
        disk->vfs = mem_dup(vfs, strlen(vfs));
        status = disk->vfs == NULL ? disk_say(disk, BQ_NOMEM, "%s", status_text(BQ_NOMEM)) : BQ_OK;
    }
    if (status == BQ_OK) {
        status = take_lock(disk);
    }
    if (status == BQ_OK) {
        status = connect_file(disk);
    }
    if (status != BQ_OK) {
        memcpy(error, disk->error, BQ_ERROR_TEXT);
        disk_close(disk);
        return status;
    }
    *out = disk;
    return BQ_OK;
}

void disk_close(struct disk *disk)
{
    if (disk == NULL) {
        return;
    }
    disconnect(disk);
    if (disk->lock_fd >= 0) {
        (void)close(disk->lock_fd);
    }
    mem_free(disk->path);
    mem_free(disk->vfs);
    mem_free(disk);
}

int disk_recover(struct disk *disk)
{
    disconnect(disk);
    int status = connect_file(disk);
    if (status != BQ_OK) {
        return status;
    }
    int rc = disk_exec(disk, "PRAGMA wal_checkpoint(TRUNCATE)");
    if (rc != SQLITE_OK) {
        status = disk_fail(disk, rc, "cannot be written");
        disconnect(disk);
    }
    return status;
}

const char *disk_error(const struct disk *disk)
{
    return disk->error;
}
