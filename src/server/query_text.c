/* query_text.c - see query_text.h. */
#include "server/query_text.h"

#include "base/status.h"
#include "base/utf8.h"

#define SHOWN_BYTES 200u

char query_peek(const struct query_text *text)
{
    return text->at < text->text.len ? text->text.ptr[text->at] : '\0';
}

bool query_at_end(const struct query_text *text)
{
    return text->at >= text->text.len;
}

bool query_take(struct query_text *text, char c)
{
    bool there = text->at < text->text.len && text->text.ptr[text->at] == c;
    text->at += there;
    return there;
}

bool query_take_word(struct query_text *text, const char *word)
{
    size_t n = strlen(word);
    bool there = text->text.len - text->at >= n && memcmp(text->text.ptr + text->at, word, n) == 0;
    text->at += there ? n : 0;
    return there;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

void query_skip_blanks(struct query_text *text)
{
    while (!query_at_end(text) && is_blank(query_peek(text))) {
        text->at++;
    }
}

/* Cut where it is long, at the beginning of a character. */
static struct slice shown(struct slice text)
{
    if (text.len > SHOWN_BYTES) {
        text.len = SHOWN_BYTES;
        while (text.len > 0 && ((unsigned char)text.ptr[text.len] & 0xc0) == 0x80) {
            text.len--;
        }
    }
    return utf8_is_plain(text) ? text : SLICE("?");
}

bool query_refuse(struct query_text *text, const char *expected)
{
    struct slice all = shown(text->text);
    struct slice rest = {text->text.ptr + text->at, text->text.len - text->at};
    size_t n = rest.len == 0 ? 0 : utf8_length(rest);
    const char *message = problem_format(text->arena,
                                         "\"failed to parse %s (%.*s)\" (line 1, "
                                         "column %zu)",
                                         text->what, SLICE_FMT(all), text->at + 1);
    const char *details =
        n == 0 ? problem_format(text->arena, "unexpected end of input expecting %s", expected)
               : problem_format(text->arena, "unexpected \"%.*s\" expecting %s", (int)n, rest.ptr,
                                expected);
    *text->problem = problem_detailed(400, "PGRST100", message, details);
    return false;
}

bool query_refuse_name(struct query_text *text, const char *code, const char *format,
                       struct slice name)
{
    struct slice word = shown(name);
    const char *mark = strchr(format, '$');
    *text->problem = problem_of(400, code,
                                problem_format(text->arena, "%.*s%.*s%s", (int)(mark - format),
                                               format, SLICE_FMT(word), mark + 1));
    return false;
}

bool query_refuse_value(struct arena *arena, enum table_type type, int status, struct slice value,
                        struct problem *problem)
{
    static const char *const words[] = {"uuid",    "text",   "json",
                                        "integer", "bigint", "timestamp with time zone"};
    struct slice text = shown(value);
    if (status == BQ_NOMEM) {
        *problem = problem_of_status(arena, status, "");
    } else if (status == BQ_OUT_OF_RANGE) {
        *problem = problem_of(400, "22003",
                              problem_format(arena, "value \"%.*s\" is out of range for type %s",
                                             SLICE_FMT(text), words[type]));
    } else if (type == TABLE_JSONB) {
        *problem = problem_of(400, "22P02", "invalid input syntax for type json");
    } else {
        *problem = problem_of(400, type == TABLE_TIMESTAMPTZ ? "22007" : "22P02",
                              problem_format(arena, "invalid input syntax for type %s: \"%.*s\"",
                                             words[type], SLICE_FMT(text)));
    }
    return false;
}

bool query_quoted(struct query_text *text, struct slice *out)
{
    char *bytes = arena_alloc(text->arena, text->text.len - text->at);
    size_t n = 0;
    if (bytes == NULL) {
        *text->problem = problem_of_status(text->arena, BQ_NOMEM, "");
        return false;
    }
    text->at++;
    while (!query_at_end(text) && query_peek(text) != '"') {
        text->at += query_peek(text) == '\\' && text->at + 1 < text->text.len;
        bytes[n++] = text->text.ptr[text->at++];
    }
    *out = (struct slice){bytes, n};
    return query_take(text, '"') || query_refuse(text, "\"\\\"\"");
}

static bool is_of_name(const struct query_text *text)
{
    unsigned char c = (unsigned char)query_peek(text);
    bool arrow = c == '-' && text->at + 1 < text->text.len && text->text.ptr[text->at + 1] == '>';
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '$' || c == ' ' || (c == '-' && !arrow) || c >= 0x80;
}

bool query_name(struct query_text *text, struct slice *out)
{
    if (query_peek(text) == '"') {
        return query_quoted(text, out);
    }
    size_t start = text->at;
    while (!query_at_end(text) && is_of_name(text)) {
        text->at++;
    }
    *out = (struct slice){text->text.ptr + start, text->at - start};
    while (out->len > 0 && is_blank(out->ptr[out->len - 1])) {
        out->len--;
    }
    return out->len > 0 || query_refuse(text, "field name (* or [a..z0..9_$])");
}

/* Digits alone, perhaps behind a minus, are a place in an array. */
static bool is_number(struct slice text, int64_t *out)
{
    bool minus = text.len > 0 && text.ptr[0] == '-';
    int64_t number = 0;
    size_t i = minus;
    for (; i < text.len && text.ptr[i] >= '0' && text.ptr[i] <= '9' && i < 12; i++) {
        number = number * 10 + (text.ptr[i] - '0');
    }
    *out = minus ? -number : number;
    return i == text.len && i > (size_t)minus;
}

static bool read_arrow(struct query_text *text, struct query_place *place, struct query_step *steps)
{
    struct query_step *step = &steps[place->n_steps];
    bool quoted;
    if (place->n_steps == QUERY_STEPS_MAX || place->as_text) {
        return query_refuse(text, "fewer arrows");
    }
    place->as_text = query_take(text, '>');
    quoted = query_peek(text) == '"';
    *step = (struct query_step){.is_index = false};
    if (!query_name(text, &step->key)) {
        return false;
    }
    step->is_index = !quoted && is_number(step->key, &step->index);
    place->n_steps++;
    return true;
}

/* Behind the column: its arrows. */
static bool read_path(struct query_text *text, struct query_place *out)
{
    struct query_step *steps = arena_zalloc(text->arena, QUERY_STEPS_MAX, sizeof *steps);
    if (steps == NULL) {
        *text->problem = problem_of_status(text->arena, BQ_NOMEM, "");
        return false;
    }
    out->steps = steps;
    while (query_take_word(text, "->")) {
        if (!read_arrow(text, out, steps)) {
            return false;
        }
    }
    enum table_type type = text->table->columns[out->column].type;
    if (type != TABLE_JSONB) {
        *text->problem = problem_of(404, "42883",
                                    problem_format(text->arena,
                                                   "operator does not exist: %s -> "
                                                   "unknown",
                                                   table_type_name(type)));
        text->problem->hint = "No operator matches the given name and argument types. You might "
                              "need to add explicit type casts.";
        return false;
    }
    return true;
}

bool query_place(struct query_text *text, struct query_place *out)
{
    struct slice name;
    query_skip_blanks(text);
    if (!query_name(text, &name)) {
        return false;
    }
    int column = table_column(text->table, name);
    if (column < 0) {
        struct slice word = shown(name);
        *text->problem = problem_of(400, "42703",
                                    problem_format(text->arena, "column %s.%.*s does not exist",
                                                   text->table->name, SLICE_FMT(word)));
        return false;
    }
    *out = (struct query_place){.column = (unsigned)column};
    bool good = query_peek(text) != '-' || read_path(text, out);
    query_skip_blanks(text);
    return good;
}
