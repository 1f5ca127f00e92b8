/* sqlite_file.c - the file itself, before SQLite sees it: its kind, its mode, its lock.
 *
 * Only stat and exclusive creation touch the database file here: a descriptor of our own on it
 * would, when it is closed, drop the POSIX locks that SQLite holds for this process. -wal and -shm
 * take the mode of the database file (SQLite does that), so 0600 is said once. */
#include "store/sqlite_impl.h"

#include "base/status.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define OWNER_ONLY 0600

static int status_of_errno(int problem)
{
    switch (problem) {
    case ENOENT:
    case ENOTDIR:
        return BQ_NOT_FOUND;
    case EACCES:
    case EPERM:
    case EROFS:
        return BQ_READ_ONLY;
    case ENOSPC:
    case EDQUOT:
        return BQ_DISK_FULL;
    case ENOMEM:
        return BQ_NOMEM;
    default:
        return BQ_IO;
    }
}

/* "what path: why; advice". */
static int refuse(struct buf *error, const char *path, const char *what, int problem)
{
    char why[128];
    int status = status_of_errno(problem);
    bool is_missing = status == BQ_NOT_FOUND;
    const char *advice = is_missing && strcmp(what, "opened") == 0 ? "; check the path"
                         : is_missing             ? "; make its folder first"
                         : status == BQ_READ_ONLY ? "; check who owns it and its folder"
                         : status == BQ_DISK_FULL ? "; free space and try again"
                                                  : "";
    buf_add_format(error, "%s cannot be %s: %s%s", path, what, strerror_r(problem, why, sizeof why),
                   advice);
    return status;
}

/* Makes and opens a file that only we may read. */
static int open_own(const char *path, int flags)
{
    int fd;
    do {
        fd = open(path, flags | O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, OWNER_ONLY);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

int sqlite_file_lock(const char *path, int *out_fd, struct buf *error)
{
    struct buf lock = BUF_INIT;
    buf_add_format(&lock, "%s.lock", path);
    if (lock.failed) {
        buf_release(&lock);
        return BQ_NOMEM;
    }
    int status = BQ_OK;
    int fd = open_own(lock.ptr, 0);
    if (fd < 0) {
        status = refuse(error, lock.ptr, "made", errno);
    } else if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK) {
            buf_add_format(error, "%s is used by another server; stop that one first", path);
            status = BQ_LOCKED;
        } else {
            status = refuse(error, lock.ptr, "locked", errno);
        }
        close(fd);
    } else {
        *out_fd = fd;
    }
    buf_release(&lock);
    return status;
}

int sqlite_file_make(const char *path, struct buf *error)
{
    int fd = open_own(path, O_EXCL);
    if (fd < 0 && errno != EEXIST) {
        return refuse(error, path, "made", errno);
    }
    if (fd >= 0) {
        close(fd);
    }
    return BQ_OK;
}

int sqlite_file_check(const struct store_sqlite_config *config, struct buf *error)
{
    struct stat info;
    const char *path = config->path;
    if (lstat(path, &info) != 0) {
        bool may_make = errno == ENOENT && config->create && !config->read_only;
        return may_make ? BQ_OK : refuse(error, path, "opened", errno);
    }
    if (S_ISLNK(info.st_mode)) {
        buf_add_format(error, "%s is a symbolic link; name the file itself", path);
        return BQ_IO;
    }
    if (!S_ISREG(info.st_mode)) {
        buf_add_format(error, "%s is not a file; name a database file", path);
        return BQ_IO;
    }
    if (config->read_only) {
        return BQ_OK;
    }
    /* Mode bits count also for root, who may write everything: somebody meant them. */
    if ((info.st_mode & (S_IWUSR | S_IWGRP | S_IWOTH)) == 0 || access(path, W_OK) != 0) {
        buf_add_format(error, "%s is read-only; make it writable for this user", path);
        return BQ_READ_ONLY;
    }
    return BQ_OK;
}

int64_t sqlite_file_bytes(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 ? (int64_t)info.st_size : 0;
}
