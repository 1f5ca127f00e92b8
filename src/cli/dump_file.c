/* dump_file.c - see dump_file.h. */
#include "cli/dump_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/status.h"
#include "cli/output.h"

static int write_stream(bool json, struct store *store, const struct uuid *only,
                        const char *path, FILE *stream, struct dump_counts *counts)
{
    struct progress progress;
    progress_begin(&progress, "export", 0);
    errno = 0;
    int status = dump_write(store, only, stream, &progress, counts);
    int error = errno;
    progress_end(&progress);
    if (status == BQ_NOT_FOUND) {
        return output_fail(json, status, "there is no user %s", only->text);
    }
    if (status != BQ_OK) {
        return output_fail(json, status, "%s cannot be written: %s", path,
                           status == BQ_IO && error != 0 ? strerror(error) : status_text(status));
    }
    return CLI_OK;
}

static int new_file(bool json, const char *path, const char *temporary, FILE **out)
{
    struct stat info;
    if (lstat(path, &info) == 0) {
        return output_fail(json, BQ_INVALID, "%s is there already; name a new file", path);
    }
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    *out = fd < 0 ? NULL : fdopen(fd, "w");
    return *out != NULL ? CLI_OK
                        : output_fail(json, BQ_READ_ONLY, "%s cannot be written (%s)", temporary,
                                      strerror(errno));
}

int dump_file(bool json, struct store *store, const struct uuid *only, const char *path,
              struct dump_counts *counts)
{
    struct buf temporary = BUF_INIT;
    FILE *stream = NULL;
    if (strcmp(path, "-") == 0) {
        return write_stream(json, store, only, "standard output", stdout, counts);
    }
    buf_add_format(&temporary, "%s.part", path);
    int result = temporary.failed
                     ? output_fail(json, BQ_NOMEM, "%s", status_text(BQ_NOMEM))
                     : new_file(json, path, temporary.ptr, &stream);
    if (result == CLI_OK) {
        result = write_stream(json, store, only, path, stream, counts);
        bool good = fsync(fileno(stream)) == 0;
        good = fclose(stream) == 0 && good;
        if (result == CLI_OK && (!good || rename(temporary.ptr, path) != 0)) {
            result = output_fail(json, BQ_IO, "%s cannot be written (%s)", path, strerror(errno));
        }
        if (result != CLI_OK) {
            unlink(temporary.ptr);
        }
    }
    buf_release(&temporary);
    return result;
}
