/* output.c - printing results and failures. */
#include "cli/output.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/status.h"
#include "base/timestamp.h"

int output_exit(int status)
{
    switch (status) {
    case BQ_OK:
        return CLI_OK;
    case BQ_NOT_FOUND:
    case BQ_SIGNED_OUT:
        return CLI_NOT_FOUND;
    case BQ_TIMEOUT:
    case BQ_NETWORK:
    case BQ_SERVER:
    case BQ_BUSY:
    case BQ_PROTOCOL:
        return CLI_NETWORK;
    case BQ_AUTH:
    case BQ_FORBIDDEN:
    case BQ_USER_ERASED:
        return CLI_AUTH;
    case BQ_IO:
    case BQ_DISK_FULL:
    case BQ_READ_ONLY:
    case BQ_CORRUPT:
    case BQ_LOCKED:
    case BQ_NEWER:
        return CLI_FILE;
    default:
        return CLI_PROBLEM;
    }
}

int output_fail(bool json, int status, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fprintf(stderr, "bqsync: %s\n", text);
    if (json) {
        struct buf line = BUF_INIT;
        buf_add_text(&line, "{\"error\":");
        output_begin(&line);
        output_text(&line, "code", slice_of(status_code(status)));
        output_text(&line, "message", slice_of(text));
        output_close(&line);
        buf_add_text(&line, "}\n");
        fwrite(buf_slice(&line).ptr, 1, line.len, stdout);
        buf_release(&line);
    }
    return output_exit(status);
}

int output_line(bool json, struct buf *line)
{
    buf_add_char(line, '\n');
    if (line->failed) {
        buf_clear(line);
        return output_fail(json, BQ_NOMEM, "%s", status_text(BQ_NOMEM));
    }
    size_t written = fwrite(line->ptr, 1, line->len, stdout);
    bool whole = written == line->len;
    buf_clear(line);
    return whole ? CLI_OK : CLI_FILE;
}

int output_end(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) {
        return CLI_OK;
    }
    fprintf(stderr, "bqsync: standard output took not everything (%s); the work itself is done\n",
            strerror(errno));
    return CLI_FILE;
}

void output_begin(struct buf *out)
{
    buf_add_char(out, '{');
}

static void add_name(struct buf *out, const char *name)
{
    if (out->len > 0 && out->ptr[out->len - 1] != '{') {
        buf_add_char(out, ',');
    }
    json_print_string(out, slice_of(name));
    buf_add_char(out, ':');
}

void output_text(struct buf *out, const char *name, struct slice value)
{
    add_name(out, name);
    json_print_string(out, value);
}

void output_int(struct buf *out, const char *name, int64_t value)
{
    add_name(out, name);
    buf_add_int(out, value);
}

void output_bool(struct buf *out, const char *name, bool value)
{
    add_name(out, name);
    buf_add_text(out, value ? "true" : "false");
}

void output_raw(struct buf *out, const char *name, struct slice json)
{
    add_name(out, name);
    buf_add_slice(out, json);
}

void output_value(struct buf *out, const char *name, const struct json_value *value)
{
    add_name(out, name);
    if (json_is_absent(value)) {
        buf_add_text(out, "null");
    } else {
        json_print(out, value);
    }
}

void output_close(struct buf *out)
{
    buf_add_char(out, '}');
}

void output_time(struct buf *out, int64_t time_ms)
{
    char text[TIMESTAMP_TEXT];
    if (time_ms == 0) {
        buf_add_text(out, "never");
        return;
    }
    timestamp_print(time_ms / 1000 * 1000000, text);
    text[10] = ' ';
    buf_add(out, text, 19);
}
