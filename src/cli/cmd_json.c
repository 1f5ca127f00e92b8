/* cmd_json.c - bqsync json: the strict reader as a tool: who refuses a file, where and why. */
#include <stdio.h>

#include "base/limits.h"
#include "base/status.h"
#include "cli/commands.h"
#include "cli/input.h"
#include "cli/options.h"
#include "cli/output.h"

struct check {
    bool same;
    bool json;
    bool print;
    int64_t depth;
};

static int refuse(const struct check *check, const char *name, const struct json_error *error)
{
    if (!check->json) {
        fprintf(stderr, "bqsync: %s:%u:%u: %s\n", name, error->line, error->column, error->what);
        return output_exit(error->status);
    }
    struct buf out = BUF_INIT;
    output_begin(&out);
    output_text(&out, "file", slice_of(name));
    output_bool(&out, "ok", false);
    output_text(&out, "code", slice_of(status_code(error->status)));
    output_int(&out, "line", error->line);
    output_int(&out, "column", error->column);
    output_text(&out, "message", slice_of(error->what));
    output_close(&out);
    output_line(true, &out);
    buf_release(&out);
    return output_exit(error->status);
}

static int accept(const struct check *check, const char *name, const struct json_value *value)
{
    struct buf out = BUF_INIT;
    if (check->print) {
        json_print(&out, value);
    } else if (check->json) {
        output_begin(&out);
        output_text(&out, "file", slice_of(name));
        output_bool(&out, "ok", true);
        output_int(&out, "bytes", (int64_t)json_size(value));
        output_int(&out, "depth", json_depth(value));
        output_close(&out);
    } else {
        buf_add_text(&out, name);
        buf_add_format(&out, ": ok, %zu bytes in compact form, depth %u", json_size(value),
                       json_depth(value));
    }
    int result = output_line(check->json, &out);
    buf_release(&out);
    return result;
}

/* Reads the file's value into the arena; a failure is told. */
static int read_value(const struct check *check, struct arena *arena, const char *path,
                      struct json_value *out)
{
    struct buf text = BUF_INIT;
    struct json_error error;
    int status = input_file(check->json, path, &text);
    if (status == BQ_OK) {
        struct slice copy = arena_copy(arena, buf_slice(&text));
        status = copy.ptr == NULL
                     ? BQ_NOMEM
                     : json_parse(arena, copy, (unsigned)check->depth, out, &error);
        if (copy.ptr == NULL || status == BQ_NOMEM) {
            output_fail(check->json, BQ_NOMEM, "%s", status_text(BQ_NOMEM));
        } else if (status != BQ_OK) {
            refuse(check, path, &error);
        }
    }
    buf_release(&text);
    return status;
}

static int check_file(const struct check *check, const char *path)
{
    struct arena arena;
    struct json_value value;
    arena_init(&arena);
    int status = read_value(check, &arena, path, &value);
    int result = status == BQ_OK ? accept(check, path, &value) : output_exit(status);
    arena_release(&arena);
    return result;
}

/* Whether all files hold the same value, however it is written. */
static int compare(const struct check *check, char **paths, int n)
{
    struct arena arena;
    struct json_value first = json_absent();
    int result = CLI_OK;
    arena_init(&arena);
    for (int i = 0; i < n && result == CLI_OK; i++) {
        struct json_value value;
        result = output_exit(read_value(check, &arena, paths[i], &value));
        if (i == 0) {
            first = value;
        } else if (result == CLI_OK && !json_equal(&arena, &first, &value)) {
            result = output_fail(check->json, BQ_INVALID, "%s and %s are not the same value",
                                 paths[0], paths[i]);
        }
    }
    arena_release(&arena);
    return result;
}

int cmd_json(int argc, char **argv)
{
    struct check check = {.depth = (int64_t)LIMITS_DEFAULT.depth};
    int n;
    const struct option_spec options[] = {
        OPTION_FLAG("print", &check.print, "write it in the compact form instead of a verdict"),
        OPTION_FLAG("same", &check.same, "whether all files hold the same value"),
        OPTION_NUMBER("depth", "N", &check.depth, "how deep it may nest (64)"),
        OPTION_FLAG("json", &check.json, "the verdict as one JSON object a line"),
    };
    const struct command_line line = {
        "json", "FILE...",
        "Checks each file (- is standard input) as the server would: RFC 8259 and UTF-8,\n"
        "strictly; duplicate keys, \\u0000, lone surrogates, numbers over 40 digits are refused.\n",
        options, OPTION_COUNT(options), 1, 1 << 20};
    int done = options_parse(&line, argc, argv, &n);
    if (done != OPTIONS_GO) {
        return done;
    }
    if (check.depth < 1 || check.depth > 10000) {
        fputs("bqsync: json: --depth takes 1 to 10000\n", stderr);
        return CLI_USAGE;
    }
    if (check.same) {
        return compare(&check, argv, n);
    }
    int result = CLI_OK;
    for (int i = 0; i < n; i++) {
        int one = check_file(&check, argv[i]);
        result = one == CLI_OK ? result : one;
    }
    return result;
}
