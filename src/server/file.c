/* file.c - see file.h. */
#include "server/file.h"

#include "base/status.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_file(const char *path, int flags)
{
    int fd;
    do {
        fd = open(path, flags | O_CLOEXEC | O_NOCTTY, 0644);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

/* Reads until the end or one byte over the limit; 0 or an errno. */
static int read_all(int fd, size_t max_bytes, struct buf *out)
{
    size_t start = out->len;
    while (out->len - start <= max_bytes && buf_reserve(out, 4096)) {
        ssize_t n = read(fd, out->ptr + out->len, 4096);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? errno : 0;
        }
        out->len += (size_t)n;
        out->ptr[out->len] = '\0';
    }
    return 0;
}

int file_read(const char *path, size_t max_bytes, struct buf *out, char *error, size_t error_size)
{
    struct stat info = {0};
    char why[128];
    size_t start = out->len;
    int fd = open_file(path, O_RDONLY);
    int problem = fd < 0 || fstat(fd, &info) != 0 ? errno : 0;
    if (problem == 0) {
        problem = S_ISDIR(info.st_mode) ? EISDIR : read_all(fd, max_bytes, out);
    }
    if (fd >= 0) {
        close(fd);
    }
    if (problem != 0) {
        snprintf(error, error_size, "%s cannot be read: %s", path,
                 strerror_r(problem, why, sizeof why));
        return BQ_INVALID;
    }
    if (out->failed) {
        return BQ_NOMEM;
    }
    if (out->len - start > max_bytes) {
        snprintf(error, error_size, "%s has more than %zu bytes", path, max_bytes);
        return BQ_INVALID;
    }
    return BQ_OK;
}

/* 0 or an errno. */
static int write_all(int fd, struct slice text)
{
    while (text.len > 0) {
        ssize_t n = write(fd, text.ptr, text.len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? errno : EIO;
        }
        text.ptr += n;
        text.len -= (size_t)n;
    }
    return 0;
}

int file_write(const char *path, struct slice text, char *error, size_t error_size)
{
    char beside[PATH_MAX];
    char why[128];
    int n = snprintf(beside, sizeof beside, "%s.new", path);
    bool fits = n > 0 && (size_t)n < sizeof beside;
    int fd = fits ? open_file(beside, O_WRONLY | O_CREAT | O_TRUNC) : -1;
    int problem = !fits ? ENAMETOOLONG : fd < 0 ? errno : write_all(fd, text);
    if (fd >= 0 && close(fd) != 0 && problem == 0) {
        problem = errno;
    }
    if (problem == 0 && rename(beside, path) != 0) {
        problem = errno;
    }
    if (problem != 0) {
        snprintf(error, error_size, "%s cannot be written: %s", path,
                 strerror_r(problem, why, sizeof why));
        return BQ_IO;
    }
    return BQ_OK;
}
