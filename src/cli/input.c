/* input.c - reading arguments, files and lines. */
#include "cli/input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/status.h"
#include "cli/output.h"

#define READ_BYTES 65536u

/* Deep enough for any document in its envelope: whether it nests too deep is said by who takes
 * it. */
#define INPUT_DEPTH 200u

static int status_of_errno(int error)
{
    switch (error) {
    case ENOENT:
    case ENOTDIR:
        return BQ_NOT_FOUND;
    case ENOSPC:
    case EDQUOT:
        return BQ_DISK_FULL;
    case EROFS:
    case EACCES:
    case EPERM:
        return BQ_READ_ONLY;
    default:
        return BQ_IO;
    }
}

static int read_all(int fd, struct buf *out)
{
    for (;;) {
        if (!buf_reserve(out, READ_BYTES)) {
            return BQ_NOMEM;
        }
        ssize_t n = read(fd, out->ptr + out->len, READ_BYTES);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return status_of_errno(errno);
        }
        out->len += (size_t)n;
        out->ptr[out->len] = '\0';
        if (out->len > INPUT_MAX_BYTES) {
            return BQ_TOO_LARGE;
        }
        if (n == 0) {
            return BQ_OK;
        }
    }
}

int input_file(bool json, const char *path, struct buf *out)
{
    bool is_stdin = strcmp(path, "-") == 0;
    int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        int status = status_of_errno(errno);
        output_fail(json, status, "%s cannot be read (%s); check the path", path, strerror(errno));
        return status;
    }
    int status = read_all(fd, out);
    int error = errno;
    if (!is_stdin) {
        close(fd);
    }
    const char *name = is_stdin ? "standard input" : path;
    if (status == BQ_TOO_LARGE) {
        output_fail(json, status, "%s is over %u MiB; that is no document", name,
                    INPUT_MAX_BYTES >> 20);
    } else if (status != BQ_OK) {
        output_fail(json, status, "%s cannot be read (%s)", name,
                    status == BQ_NOMEM ? status_text(BQ_NOMEM) : strerror(error));
    }
    return status;
}

int input_argument(bool json, const char *argument, struct buf *out)
{
    if (strcmp(argument, "-") == 0) {
        return input_file(json, "-", out);
    }
    if (argument[0] == '@') {
        return input_file(json, argument + 1, out);
    }
    buf_add_text(out, argument);
    if (out->failed) {
        output_fail(json, BQ_NOMEM, "%s", status_text(BQ_NOMEM));
        return BQ_NOMEM;
    }
    return BQ_OK;
}

int input_json(bool json, struct arena *arena, const char *what, struct slice text,
               struct json_value *out)
{
    struct json_error error;
    int status = json_parse(arena, text, INPUT_DEPTH, out, &error);
    if (status == BQ_NOMEM) {
        output_fail(json, status, "%s", status_text(status));
    } else if (status != BQ_OK) {
        output_fail(json, status, "%s is refused at line %u, column %u: %s", what, error.line,
                    error.column, error.what);
    }
    return status;
}

int input_json_argument(bool json, struct arena *arena, const char *what, const char *argument,
                        struct json_value *out)
{
    struct buf text = BUF_INIT;
    int status = input_argument(json, argument, &text);
    if (status == BQ_OK) {
        struct slice copy = arena_copy(arena, buf_slice(&text));
        if (copy.ptr == NULL) {
            status = BQ_NOMEM;
            output_fail(json, status, "%s", status_text(status));
        } else {
            status = input_json(json, arena, what, copy, out);
        }
    }
    buf_release(&text);
    return status;
}

/* All of text, then on disk. False with errno set. */
static bool write_all(int fd, struct slice text)
{
    size_t at = 0;
    while (at < text.len) {
        ssize_t n = write(fd, text.ptr + at, text.len - at);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        at += (size_t)n;
    }
    return fsync(fd) == 0;
}

int input_replace_file(bool json, const char *path, struct slice text)
{
    struct buf temporary = BUF_INIT;
    buf_add_format(&temporary, "%s.new", path);
    if (temporary.failed) {
        output_fail(json, BQ_NOMEM, "%s", status_text(BQ_NOMEM));
        return BQ_NOMEM;
    }
    int fd = open(temporary.ptr, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool ok = fd >= 0 && fchmod(fd, 0600) == 0 && write_all(fd, text);
    int error = errno;
    if (fd >= 0) {
        ok = close(fd) == 0 && ok;
    }
    if (ok && rename(temporary.ptr, path) != 0) {
        error = errno;
        ok = false;
    }
    int status = BQ_OK;
    if (!ok) {
        unlink(temporary.ptr);
        status = status_of_errno(error);
        output_fail(json, status, "%s cannot be written (%s)", path, strerror(error));
    }
    buf_release(&temporary);
    return status;
}

const char *input_ca_file(void)
{
    const char *path = getenv("SSL_CERT_FILE");
    return path == NULL || path[0] == '\0' ? NULL : path;
}

bool input_next_line(struct input_lines *lines, struct slice *line)
{
    FILE *stream = lines->stream;
    buf_clear(&lines->hold);
    for (;;) {
        int c = getc_unlocked(stream);
        if (c == EOF && lines->hold.len == 0) {
            return false;
        }
        if (c == EOF || c == '\n' || lines->hold.failed) {
            *line = buf_slice(&lines->hold);
            return true;
        }
        buf_add_char(&lines->hold, (char)c);
    }
}
