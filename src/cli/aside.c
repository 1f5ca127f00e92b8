/* aside.c - see aside.h. */
#include "cli/aside.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/status.h"
#include "base/utf8.h"
#include "cli/output.h"

static int fail(const struct aside *aside)
{
    return output_fail(aside->json, BQ_IO,
                       "%s cannot be written (%s); name another file with --set-aside",
                       aside->path, strerror(errno));
}

static int open_file(struct aside *aside)
{
    int fd = open(aside->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    aside->stream = fd < 0 || fchmod(fd, 0600) != 0 ? NULL : fdopen(fd, "w");
    if (aside->stream == NULL && fd >= 0) {
        close(fd);
    }
    return aside->stream == NULL ? fail(aside) : CLI_OK;
}

/* What is no UTF-8 shows as question marks: a line of this file can always be read. */
static void add_text(struct buf *line, const char *name, struct slice text)
{
    struct buf clean = BUF_INIT;
    for (size_t i = 0; i < text.len;) {
        struct slice rest = {text.ptr + i, text.len - i};
        size_t n = utf8_length(rest);
        if (n == 0) {
            buf_add_char(&clean, '?');
            i++;
        } else {
            buf_add(&clean, rest.ptr, n);
            i += n;
        }
    }
    output_text(line, name, buf_slice(&clean));
    line->failed |= clean.failed;
    buf_release(&clean);
}

int aside_put(struct aside *aside, const struct source_row *row, struct slice key, int code,
              const char *reason)
{
    struct buf line = BUF_INIT;
    int result = aside->stream == NULL ? open_file(aside) : CLI_OK;
    aside->n_rows += key.ptr == NULL ? 1 : 0;
    aside->n_documents += key.ptr == NULL ? 0 : 1;
    if (result != CLI_OK) {
        return result;
    }
    output_begin(&line);
    output_int(&line, "row", row->number);
    output_text(&line, "table", slice_of(source_table(row->kind)));
    if (row->has_user) {
        output_text(&line, "user_id", uuid_slice(&row->user));
    }
    if (key.ptr != NULL) {
        output_text(&line, "key", key);
    }
    output_text(&line, "code", slice_of(status_code(code)));
    output_text(&line, "reason", slice_of(reason));
    if (row->text.ptr != NULL) {
        add_text(&line, "text", row->text);
    }
    output_close(&line);
    buf_add_char(&line, '\n');
    if (line.failed) {
        result = output_fail(aside->json, BQ_NOMEM, "%s", status_text(BQ_NOMEM));
    } else if (fwrite(line.ptr, 1, line.len, aside->stream) != line.len) {
        result = fail(aside);
    }
    buf_release(&line);
    return result;
}

int aside_close(struct aside *aside)
{
    int result = CLI_OK;
    if (aside->stream == NULL) {
        return CLI_OK;
    }
    bool good = fflush(aside->stream) == 0 && fsync(fileno(aside->stream)) == 0;
    if (!good) {
        result = fail(aside);
    }
    if (fclose(aside->stream) != 0 && good) {
        result = fail(aside);
    }
    aside->stream = NULL;
    return result;
}
