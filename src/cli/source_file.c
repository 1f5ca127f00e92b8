/* source_file.c - rows in a file: JSON objects one a line, or CSV with a header, as `\copy ... csv
 * header` and Supabase's table editor write them. The first byte that is no white space tells.
 *
 * A byte order mark, CRLF and blank lines are passed over. A line that is no row, the last one cut
 * off among them, is a row that is wrong. */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "base/status.h"
#include "cli/csv.h"
#include "cli/input.h"
#include "cli/output.h"
#include "cli/source.h"

#define ROW_DEPTH 10000u
#define MOST_COLUMNS 64u

struct file_source {
    struct source source;
    struct input_lines lines;
    struct buf record; /* of CSV, where it has several lines */
    struct arena header_arena;
    struct csv_record header; /* n 0: JSON */
    int64_t number;
    bool began;
};

static struct file_source *file_of(struct source *source)
{
    return (struct file_source *)source;
}

static bool is_blank(struct slice line)
{
    for (size_t i = 0; i < line.len; i++) {
        if (line.ptr[i] != ' ' && line.ptr[i] != '\t') {
            return false;
        }
    }
    return true;
}

/* The next line that holds anything, without CR and, at the very beginning, a byte order mark. */
static bool next_line(struct file_source *file, struct slice *out)
{
    while (input_next_line(&file->lines, out)) {
        file->number++;
        file->source.done += (int64_t)out->len + 1;
        if (file->number == 1 && out->len >= 3 && memcmp(out->ptr, "\xef\xbb\xbf", 3) == 0) {
            out->ptr += 3;
            out->len -= 3;
        }
        if (out->len > 0 && out->ptr[out->len - 1] == '\r') {
            out->len--;
        }
        if (!is_blank(*out)) {
            return true;
        }
    }
    return false;
}

static void wrong(struct source_row *row, const char *what)
{
    snprintf(row->wrong, sizeof row->wrong, "%s", what);
}

/* ---- JSON lines ------------------------------------------------------------------------------ */

static int json_row(struct arena *arena, struct source_row *row)
{
    struct json_value object;
    struct json_error error;
    int status = json_parse(arena, row->text, ROW_DEPTH, &object, &error);
    if (status == BQ_NOMEM) {
        return status;
    }
    if (status != BQ_OK) {
        snprintf(row->wrong, sizeof row->wrong, "%s, at column %u", error.what, error.column);
        return BQ_OK;
    }
    if (object.type != JSON_OBJECT || object.count > MOST_COLUMNS) {
        wrong(row, "the line is no JSON object with the columns of a row");
        return BQ_OK;
    }
    struct source_field fields[MOST_COLUMNS];
    uint32_t n = 0;
    for (uint32_t i = 0; i < object.count; i++) {
        const struct json_value *value = &object.members[i].value;
        fields[n++] = (struct source_field){json_text(&object.members[i].key), SLICE_NONE,
                                            value->type == JSON_NULL ? NULL : value};
    }
    return source_read_row(arena, fields, n, row);
}

/* ---- CSV ------------------------------------------------------------------------------------- */

static int csv_row(struct file_source *file, struct arena *arena, struct source_row *row)
{
    struct csv_record record;
    int status = csv_split(arena, row->text, &record);
    if (status == BQ_NOMEM) {
        return status;
    }
    if (status != BQ_OK || record.n != file->header.n) {
        wrong(row, status != BQ_OK ? "a quote is not closed, or closed inside a field"
                                   : "it has not as many columns as the header");
        return BQ_OK;
    }
    struct source_field fields[MOST_COLUMNS];
    for (uint32_t i = 0; i < record.n; i++) {
        fields[i] = (struct source_field){file->header.fields[i], record.fields[i], NULL};
    }
    return source_read_row(arena, fields, record.n, row);
}

/* Lines belong together as long as a quote is open. */
static int whole_record(struct file_source *file, struct slice line, struct slice *out)
{
    buf_clear(&file->record);
    buf_add_slice(&file->record, line);
    while (!csv_is_whole(buf_slice(&file->record)) && file->record.len < INPUT_MAX_BYTES &&
           input_next_line(&file->lines, &line)) {
        file->number++;
        file->source.done += (int64_t)line.len + 1;
        buf_add_char(&file->record, '\n');
        buf_add_slice(&file->record, line);
    }
    if (file->record.len > 0 && file->record.ptr[file->record.len - 1] == '\r') {
        file->record.len--;
    }
    *out = buf_slice(&file->record);
    return file->record.failed ? BQ_NOMEM : BQ_OK;
}

static int take_header(struct file_source *file, struct slice line)
{
    struct slice copy = arena_copy(&file->header_arena, line);
    int status = copy.ptr == NULL ? BQ_NOMEM : csv_split(&file->header_arena, copy, &file->header);
    if (status == BQ_MALFORMED || (status == BQ_OK && (file->header.n > MOST_COLUMNS ||
                                                       file->header.n < 2))) {
        snprintf(file->source.error, sizeof file->source.error,
                 "the first line is neither a JSON object nor the header of a CSV file; "
                 "`\\copy TABLE to FILE csv header` writes one");
        status = BQ_INVALID;
    }
    return status;
}

/* ---- The source ------------------------------------------------------------------------------ */

static int next(struct source *source, struct arena *arena, struct source_row *out)
{
    struct file_source *file = file_of(source);
    struct slice line;
    int status = BQ_OK;
    *out = (struct source_row){.clock_us = -1};
    if (!next_line(file, &line)) {
        return BQ_NOT_FOUND;
    }
    if (!file->began && line.ptr[0] != '{') {
        status = take_header(file, line);
        if (status == BQ_OK && !next_line(file, &line)) {
            status = BQ_NOT_FOUND;
        }
    }
    file->began = true;
    if (status != BQ_OK) {
        return status;
    }
    out->number = file->number;
    if (file->header.n > 0) {
        status = whole_record(file, line, &line);
    }
    out->text = status == BQ_OK ? arena_copy(arena, line) : SLICE_NONE;
    if (out->text.ptr == NULL || file->lines.hold.failed) {
        return BQ_NOMEM;
    }
    return file->header.n > 0 ? csv_row(file, arena, out) : json_row(arena, out);
}

static void close_file(struct source *source)
{
    struct file_source *file = file_of(source);
    if (file->lines.stream != stdin) {
        fclose(file->lines.stream);
    }
    buf_release(&file->lines.hold);
    buf_release(&file->record);
    arena_release(&file->header_arena);
    mem_free(file);
}

int source_open_file(const char *path, bool json, struct source **out)
{
    struct stat info;
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *stream = is_stdin ? stdin : fopen(path, "re");
    if (stream == NULL || fstat(fileno(stream), &info) != 0 || S_ISDIR(info.st_mode)) {
        int error = stream == NULL ? errno : EISDIR;
        if (stream != NULL && !is_stdin) {
            fclose(stream);
        }
        return output_fail(json, BQ_NOT_FOUND,
                           "%s cannot be read (%s); --from takes a file of JSON lines or CSV, "
                           "postgres://..., or sqlite:PATH of a store",
                           path, strerror(error));
    }
    struct file_source *file = mem_zalloc(1, sizeof *file);
    if (file == NULL) {
        if (!is_stdin) {
            fclose(stream);
        }
        return output_fail(json, BQ_NOMEM, "%s", status_text(BQ_NOMEM));
    }
    file->source = (struct source){.next = next, .close = close_file};
    file->source.total = S_ISREG(info.st_mode) ? (int64_t)info.st_size : 0;
    file->lines.stream = stream;
    arena_init(&file->header_arena);
    *out = &file->source;
    return CLI_OK;
}
