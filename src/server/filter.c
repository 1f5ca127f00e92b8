/* filter.c - see filter.h. */
#include "server/filter.h"

#include "base/status.h"
#include "json/json.h"
#include "server/like.h"

#include <regex.h>

#define PATTERN_MAX_BYTES 256u
#define REGEX_MAX_BYTES 64u
#define REGEX_MAX_DOUBLINGS 1u
#define MATCH_TEXT_BYTES 4096u /* longer texts match no pattern */
#define REGEX_WORK (64u << 10) /* of filter_work(): it is compiled for each row */
#define LIKE_WORK (1u << 10)
#define LIKE_STEPS 100000u

/* ---- Parsing --------------------------------------------------------------------------------- */

static const char *const words[] = {"eq",   "neq",   "lt", "lte",   "gt",     "gte",       "in",
                                    "like", "ilike", "is", "match", "imatch", "isdistinct"};

/* The sentence of the older system: the pieces that it could not make sense of. */
static int refuse(struct buf *why, struct slice first, struct slice second)
{
    buf_add_text(why, "Error parsing `filter` params: [");
    json_print_string(why, first);
    if (second.ptr != NULL) {
        buf_add_text(why, ", ");
        json_print_string(why, second);
    }
    buf_add_char(why, ']');
    return BQ_INVALID;
}

/* Up to the next comma that stands in neither parentheses nor quotes. */
static struct slice next_term(struct slice *rest)
{
    bool quoted = false;
    unsigned depth = 0;
    size_t i = 0;
    for (; i < rest->len; i++) {
        char c = rest->ptr[i];
        if (c == '\\' && quoted && i + 1 < rest->len) {
            i++;
        } else if (c == '"') {
            quoted = !quoted;
        } else if (!quoted && c == '(') {
            depth++;
        } else if (!quoted && c == ')' && depth > 0) {
            depth--;
        } else if (!quoted && depth == 0 && c == ',') {
            break;
        }
    }
    struct slice term = {rest->ptr, i};
    i += i < rest->len;
    *rest = (struct slice){rest->ptr + i, rest->len - i};
    return term;
}

/* At the first `mark`; false where there is none. */
static bool split(struct slice text, char mark, struct slice *out_left, struct slice *out_right)
{
    const char *at = text.len == 0 ? NULL : memchr(text.ptr, mark, text.len);
    if (at == NULL) {
        return false;
    }
    *out_left = (struct slice){text.ptr, (size_t)(at - text.ptr)};
    *out_right = (struct slice){at + 1, text.len - out_left->len - 1};
    return true;
}

/* Without its quotes, where it stands in such. */
static struct slice unquote(struct arena *arena, struct slice text)
{
    if (text.len < 2 || text.ptr[0] != '"' || text.ptr[text.len - 1] != '"') {
        return text;
    }
    char *plain = arena_alloc(arena, text.len);
    size_t n = 0;
    for (size_t i = 1; plain != NULL && i + 1 < text.len; i++) {
        i += text.ptr[i] == '\\' && i + 2 < text.len;
        plain[n++] = text.ptr[i];
    }
    return plain == NULL ? SLICE_NONE : (struct slice){plain, n};
}

static int read_list(struct arena *arena, struct filter_term *term)
{
    struct slice rest = {term->text.ptr + 1, term->text.len - 2};
    term->values = arena_alloc(arena, FILTER_MAX_IN * sizeof *term->values);
    while (term->values != NULL && rest.len > 0) {
        if (term->n_values == FILTER_MAX_IN) {
            return BQ_INVALID;
        }
        term->values[term->n_values++] = unquote(arena, next_term(&rest));
    }
    return arena_failed(arena) ? BQ_NOMEM : BQ_OK;
}

static int read_values(struct arena *arena, struct filter_term *term)
{
    if (term->op == FILTER_IN) {
        bool listed = term->text.len >= 2 && term->text.ptr[0] == '(' &&
                      term->text.ptr[term->text.len - 1] == ')';
        return listed ? read_list(arena, term) : BQ_INVALID;
    }
    term->values = arena_alloc(arena, sizeof *term->values);
    if (term->values == NULL) {
        return BQ_NOMEM;
    }
    term->values[0] = unquote(arena, term->text);
    term->n_values = 1;
    return arena_failed(arena) ? BQ_NOMEM : BQ_OK;
}

static bool find_op(struct filter_term *term)
{
    for (unsigned i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (slice_is(term->word, words[i])) {
            term->op = (enum filter_op)i;
            return true;
        }
    }
    return false;
}

static int read_term(struct arena *arena, struct slice text, struct filter_term *out,
                     struct buf *why)
{
    struct slice rest;
    *out = (struct filter_term){.column = SLICE_NONE};
    if (!split(text, '=', &out->column, &rest)) {
        return refuse(why, text, SLICE_NONE);
    }
    if (rest.len > 4 && memcmp(rest.ptr, "not.", 4) == 0) {
        out->negated = true;
        rest = (struct slice){rest.ptr + 4, rest.len - 4};
    }
    if (!split(rest, '.', &out->word, &out->text)) {
        return refuse(why, rest, SLICE_NONE);
    }
    int status = find_op(out) ? read_values(arena, out) : BQ_INVALID;
    return status == BQ_INVALID ? refuse(why, out->word, out->text) : status;
}

int filter_parse(struct arena *arena, struct slice text, struct filter *out, struct buf *why)
{
    struct slice rest = text;
    out->n_terms = 0;
    while (rest.len > 0) {
        if (out->n_terms == FILTER_MAX_TERMS) {
            return refuse(why, text, SLICE_NONE);
        }
        int status = read_term(arena, next_term(&rest), &out->terms[out->n_terms], why);
        if (status != BQ_OK) {
            return status;
        }
        out->n_terms++;
    }
    return BQ_OK;
}

/* ---- Checking -------------------------------------------------------------------------------- */

static bool is_pattern(enum filter_op op)
{
    return op == FILTER_LIKE || op == FILTER_ILIKE || op == FILTER_MATCH || op == FILTER_IMATCH;
}

static bool is_known(struct slice word)
{
    return slice_is(word, "null") || slice_is(word, "not_null") || slice_is(word, "true") ||
           slice_is(word, "false") || slice_is(word, "unknown");
}

/* A NUL-terminated copy. */
static const char *pattern_of(struct arena *arena, struct slice text)
{
    struct slice copy = arena_copy(arena, text);
    return copy.ptr;
}

/* The C library repeats the tree of what stands before a "+". Behind a group or another repetition
 * each one doubles it: a line of plus signs would take all memory. */
static bool is_bounded(struct slice text)
{
    unsigned n_doublings = 0;
    for (size_t i = 0; i < text.len; i++) {
        bool counts = text.ptr[i] == '{';
        bool refers = text.ptr[i] == '\\' && i + 1 < text.len && text.ptr[i + 1] >= '0' &&
                      text.ptr[i + 1] <= '9';
        if (counts || refers || text.ptr[i] == '\0') {
            return false;
        }
        n_doublings += i > 0 && text.ptr[i] == '+' && strchr(")+*?", text.ptr[i - 1]) != NULL;
    }
    return text.len <= REGEX_MAX_BYTES && n_doublings <= REGEX_MAX_DOUBLINGS;
}

static bool compile(struct arena *arena, const struct filter_term *term, regex_t *out)
{
    const char *pattern = is_bounded(term->values[0]) ? pattern_of(arena, term->values[0]) : NULL;
    int flags = REG_EXTENDED | REG_NOSUB | (term->op == FILTER_IMATCH ? REG_ICASE : 0);
    return pattern != NULL && regcomp(out, pattern, flags) == 0;
}

static int check_value(struct arena *arena, enum table_type type, const struct filter_term *term,
                       struct slice text)
{
    struct table_value value;
    regex_t regex;
    if (term->op == FILTER_IS) {
        return is_known(text) ? BQ_OK : BQ_INVALID;
    }
    if (term->op == FILTER_MATCH || term->op == FILTER_IMATCH) {
        if (!compile(arena, term, &regex)) {
            return arena_failed(arena) ? BQ_NOMEM : BQ_INVALID;
        }
        regfree(&regex);
        return BQ_OK;
    }
    if (is_pattern(term->op)) {
        return text.len <= PATTERN_MAX_BYTES ? BQ_OK : BQ_INVALID;
    }
    int status = table_value_read(arena, type, text, &value);
    return status == BQ_OUT_OF_RANGE ? BQ_INVALID : status;
}

int filter_check(struct arena *arena, const struct table *table, const struct filter *filter,
                 struct buf *why)
{
    for (unsigned i = 0; i < filter->n_terms; i++) {
        const struct filter_term *term = &filter->terms[i];
        int column = table_column(table, term->column);
        bool document = column >= 0 && table->columns[column].type == TABLE_JSONB;
        if (column < 0 || (document && term->op != FILTER_IS)) {
            buf_add_text(why, "invalid column for filter ");
            buf_add_slice(why, term->column);
            return BQ_INVALID;
        }
        enum table_type type = table->columns[column].type;
        for (unsigned k = 0; k < term->n_values; k++) {
            int status = check_value(arena, type, term, term->values[k]);
            if (status != BQ_OK) {
                buf_add_format(why, "invalid input syntax for type %s: \"", table_type_name(type));
                buf_add_slice(why, term->values[k]);
                buf_add_char(why, '"');
                return status;
            }
        }
    }
    return BQ_OK;
}

size_t filter_work(const struct filter *filter)
{
    size_t work = 0;
    for (unsigned i = 0; i < filter->n_terms; i++) {
        const struct filter_term *term = &filter->terms[i];
        bool regex = term->op == FILTER_MATCH || term->op == FILTER_IMATCH;
        work += term->column.len + term->text.len;
        work += regex ? REGEX_WORK : is_pattern(term->op) ? LIKE_WORK : 0;
    }
    return work;
}

/* ---- Matching -------------------------------------------------------------------------------- */

static bool matches(struct arena *arena, const struct filter_term *term, struct slice text)
{
    regex_t regex;
    if (text.len > MATCH_TEXT_BYTES) {
        return false;
    }
    if (term->op == FILTER_LIKE || term->op == FILTER_ILIKE) {
        const struct like like = {term->values[0], term->op == FILTER_ILIKE, false};
        uint64_t work = LIKE_STEPS;
        return like_matches(&like, text, &work);
    }
    const char *plain = pattern_of(arena, text);
    if (plain == NULL || !compile(arena, term, &regex)) {
        return false;
    }
    bool found = regexec(&regex, plain, 0, NULL, 0) == 0;
    regfree(&regex);
    return found;
}

static bool compares(enum filter_op op, int order)
{
    switch (op) {
    case FILTER_EQ:
    case FILTER_IN:
        return order == 0;
    case FILTER_NEQ:
    case FILTER_ISDISTINCT:
        return order != 0;
    case FILTER_LT:
        return order < 0;
    case FILTER_LTE:
        return order <= 0;
    case FILTER_GT:
        return order > 0;
    case FILTER_GTE:
        return order >= 0;
    case FILTER_LIKE:
    case FILTER_ILIKE:
    case FILTER_IS:
    case FILTER_MATCH:
    case FILTER_IMATCH:
        break;
    }
    return false;
}

/* No column of ours is a boolean: true, false and unknown hold for none. */
static bool is_word(struct slice word, bool null)
{
    return (null && (slice_is(word, "null") || slice_is(word, "unknown"))) ||
           (!null && slice_is(word, "not_null"));
}

static bool term_passes(struct arena *arena, enum table_type type, const struct filter_term *term,
                        const struct table_value *value)
{
    if (term->op == FILTER_IS) {
        return is_word(term->values[0], value->null) != term->negated;
    }
    if (value->null) {
        return term->op == FILTER_ISDISTINCT && !term->negated;
    }
    if (is_pattern(term->op)) {
        return matches(arena, term, table_value_text(arena, type, value)) != term->negated;
    }
    bool found = false;
    for (unsigned i = 0; i < term->n_values && !found; i++) {
        struct table_value wanted;
        found = table_value_read(arena, type, term->values[i], &wanted) == BQ_OK &&
                compares(term->op, table_value_order(arena, type, value, &wanted));
    }
    return found != term->negated;
}

bool filter_passes(struct arena *arena, const struct table *table, const struct filter *filter,
                   const struct table_row *row)
{
    for (unsigned i = 0; i < filter->n_terms; i++) {
        const struct filter_term *term = &filter->terms[i];
        int column = table_column(table, term->column);
        if (column < 0 ||
            !term_passes(arena, table->columns[column].type, term, &row->values[column])) {
            return false;
        }
    }
    return !arena_failed(arena);
}
