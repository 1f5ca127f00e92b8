/* table_query.c - the parameters but for the filters, which table_filter.c reads. */
#include "server/table_query.h"

#include "server/query_text.h"

#include "base/status.h"

#define LARGEST INT64_C(1000000000000)

struct reader {
    struct arena *arena;
    const struct table *table;
    struct table_query *query;
    struct problem *problem;
    struct query_filter **tail; /* where the next filter goes */
    unsigned n_terms;
};

static struct query_text text_of(const struct reader *reader, const char *what, struct slice text)
{
    return (struct query_text){.arena = reader->arena,
                               .table = reader->table,
                               .what = what,
                               .text = text,
                               .n_terms = reader->n_terms,
                               .problem = reader->problem};
}

static bool refuse_memory(struct reader *reader)
{
    *reader->problem = problem_of_status(reader->arena, BQ_NOMEM, "");
    return false;
}

enum table_type query_place_type(const struct table *table, const struct query_place *place)
{
    return place->as_text ? TABLE_TEXT : table->columns[place->column].type;
}

/* ---- select ---------------------------------------------------------------------------------- */

struct type_word {
    const char *word;
    enum table_type type;
};

/* What a value may be cast to; a number with a fraction, a date or a boolean are not made here. */
static const struct type_word type_words[] = {
    {"text", TABLE_TEXT},
    {"varchar", TABLE_TEXT},
    {"character varying", TABLE_TEXT},
    {"uuid", TABLE_UUID},
    {"json", TABLE_JSONB},
    {"jsonb", TABLE_JSONB},
    {"int4", TABLE_INT4},
    {"int", TABLE_INT4},
    {"integer", TABLE_INT4},
    {"int8", TABLE_INT8},
    {"bigint", TABLE_INT8},
    {"timestamptz", TABLE_TIMESTAMPTZ},
    {"timestamp with time zone", TABLE_TIMESTAMPTZ},
};

static bool read_cast(struct query_text *text, struct query_selected *out)
{
    struct slice word;
    if (!query_name(text, &word)) {
        return false;
    }
    for (size_t i = 0; i < sizeof type_words / sizeof type_words[0]; i++) {
        if (slice_is(word, type_words[i].word)) {
            out->casts = true;
            out->type = type_words[i].type;
            return true;
        }
    }
    return query_refuse_name(text, "42704", "type \"$\" does not exist", word);
}

/* A name before a single colon is how the column is to be called. */
static bool read_alias(struct query_text *text, struct slice *out)
{
    query_skip_blanks(text);
    size_t start = text->at;
    *out = SLICE_NONE;
    if (!query_name(text, out)) {
        return false;
    }
    if (query_peek(text) == ':' && !query_take_word(text, "::")) {
        text->at++;
        return true;
    }
    text->at = start;
    *out = SLICE_NONE;
    return true;
}

/* The last name of a path, as PostgREST calls it where no alias is given. */
static struct slice name_of(const struct query_text *text, const struct query_place *place)
{
    for (unsigned i = place->n_steps; i > 0; i--) {
        if (!place->steps[i - 1].is_index) {
            return place->steps[i - 1].key;
        }
    }
    return slice_of(text->table->columns[place->column].name);
}

/* Another table in parentheses behind a name, or a sum over rows. */
static bool refuse_embedded(struct query_text *text, struct slice name)
{
    struct slice word = name.len > 100 ? SLICE("?") : name;
    *text->problem = problem_detailed(
        400, "PGRST200",
        problem_format(text->arena,
                       "Could not find a relationship between '%s' and '%.*s' in the "
                       "schema cache",
                       text->table->name, SLICE_FMT(word)),
        problem_format(text->arena,
                       "Searched for a foreign key relationship between '%s' and "
                       "'%.*s' in the schema 'public', but no matches were found.",
                       text->table->name, SLICE_FMT(word)));
    return false;
}

static bool refuse_aggregate(struct query_text *text)
{
    *text->problem = problem_of(400, "PGRST123", "Use of aggregate functions is not allowed");
    return false;
}

static bool is_embedded(const struct query_text *text, struct slice *out_name)
{
    struct query_text ahead = *text;
    struct problem none;
    ahead.problem = &none;
    return query_name(&ahead, out_name) && (query_peek(&ahead) == '(' || query_peek(&ahead) == '!');
}

static bool read_selected(struct query_text *text, struct query_selected *out)
{
    struct slice alias;
    struct slice other;
    *out = (struct query_selected){.casts = false};
    if (!read_alias(text, &alias)) {
        return false;
    }
    if (is_embedded(text, &other)) {
        return slice_is(other, "count") ? refuse_aggregate(text) : refuse_embedded(text, other);
    }
    if (!query_place(text, &out->place)) {
        return false;
    }
    out->name = alias.ptr != NULL ? alias : name_of(text, &out->place);
    out->type = query_place_type(text->table, &out->place);
    if (query_peek(text) == '.') {
        return refuse_aggregate(text);
    }
    return !query_take_word(text, "::") || read_cast(text, out);
}

static void select_all(const struct table *table, struct query_selected *out, unsigned *inout_n)
{
    for (unsigned i = 0; i < table->n_columns; i++) {
        out[(*inout_n)++] = (struct query_selected){.place = {.column = i},
                                                    .name = slice_of(table->columns[i].name),
                                                    .type = table->columns[i].type};
    }
}

static bool read_select(struct reader *reader, struct slice value)
{
    struct query_text text = text_of(reader, "select parameter", value);
    struct query_selected *items =
        arena_zalloc(reader->arena, QUERY_SELECTED_MAX + TABLE_COLUMNS, sizeof *items);
    unsigned n = 0;
    if (items == NULL) {
        return refuse_memory(reader);
    }
    reader->query->all = slice_is(value, "*");
    while (!query_at_end(&text)) {
        if (n >= QUERY_SELECTED_MAX) {
            return query_refuse(&text, "fewer columns");
        }
        if (query_take(&text, '*')) {
            select_all(reader->table, items, &n);
        } else if (!read_selected(&text, &items[n])) {
            return false;
        } else {
            n++;
        }
        if (!query_at_end(&text) && (!query_take(&text, ',') || query_at_end(&text))) {
            return query_refuse(&text, query_at_end(&text) ? "field name (* or [a..z0..9_$])"
                                                           : "\",\" or end of input");
        }
    }
    reader->query->selected = items;
    reader->query->n_selected = n;
    return true;
}

/* ---- order, limit, lists of names ------------------------------------------------------------ */

static bool read_order_term(struct query_text *text, struct query_order *out)
{
    *out = (struct query_order){.falls = false};
    if (!query_place(text, &out->place)) {
        return false;
    }
    out->falls = query_take_word(text, ".desc");
    bool rises = !out->falls && query_take_word(text, ".asc");
    out->nulls_first = out->falls;
    if (query_take_word(text, ".nullsfirst")) {
        out->nulls_first = true;
    } else if (query_take_word(text, ".nullslast")) {
        out->nulls_first = false;
    }
    (void)rises;
    query_skip_blanks(text);
    return query_at_end(text) || query_peek(text) == ',' ||
           query_refuse(text, "\",\", \"asc\", \"desc\", \"nullsfirst\" or \"nullslast\"");
}

static bool read_order(struct reader *reader, struct slice value)
{
    struct query_text text = text_of(reader, "order", value);
    struct query_order *items = arena_zalloc(reader->arena, QUERY_ORDER_MAX, sizeof *items);
    unsigned n = 0;
    if (items == NULL) {
        return refuse_memory(reader);
    }
    while (!query_at_end(&text)) {
        if (n == QUERY_ORDER_MAX) {
            return query_refuse(&text, "fewer columns");
        }
        if (!read_order_term(&text, &items[n++])) {
            return false;
        }
        if (query_take(&text, ',') && query_at_end(&text)) {
            return query_refuse(&text, "field name (* or [a..z0..9_$])");
        }
    }
    reader->query->order = items;
    reader->query->n_order = n;
    return true;
}

/* What is no number is passed over, as PostgREST does. */
static bool read_count(struct reader *reader, struct slice value, int64_t *out)
{
    int64_t number = 0;
    bool minus = value.len > 0 && value.ptr[0] == '-';
    size_t i = minus;
    for (; i < value.len && value.ptr[i] >= '0' && value.ptr[i] <= '9'; i++) {
        number = number * 10 + (value.ptr[i] - '0');
        number = number > LARGEST ? LARGEST : number;
    }
    if (i < value.len || i == (size_t)minus) {
        return true;
    }
    if (minus && number > 0) {
        *reader->problem = problem_detailed(416, "PGRST103", "Requested range not satisfiable",
                                            "Limit should be greater than or equal to zero.");
        return false;
    }
    *out = number;
    return true;
}

static bool read_names(struct reader *reader, const char *what, struct slice value,
                       const struct slice **out, unsigned *out_n)
{
    struct query_text text = text_of(reader, what, value);
    struct slice *names = arena_zalloc(reader->arena, QUERY_SELECTED_MAX, sizeof *names);
    unsigned n = 0;
    if (names == NULL) {
        return refuse_memory(reader);
    }
    while (!query_at_end(&text)) {
        if (n == QUERY_SELECTED_MAX) {
            return query_refuse(&text, "fewer columns");
        }
        if (!query_name(&text, &names[n++])) {
            return false;
        }
        if (!query_at_end(&text) && (!query_take(&text, ',') || query_at_end(&text))) {
            return query_refuse(&text, "field name (* or [a..z0..9_$])");
        }
    }
    *out = names;
    *out_n = n;
    return true;
}

/* ---- All of it ------------------------------------------------------------------------------- */

static bool append(struct reader *reader, struct query_filter *filter)
{
    *reader->tail = filter;
    reader->tail = &filter->next;
    return true;
}

static bool read_tree(struct reader *reader, const struct uri_pair *pair, enum query_op op,
                      bool negated)
{
    struct query_text text = text_of(reader, "logic tree", pair->value);
    struct query_filter *filter;
    if (!query_tree(&text, op, negated, &filter)) {
        return false;
    }
    reader->n_terms = text.n_terms;
    return query_at_end(&text) ? append(reader, filter) : query_refuse(&text, "end of input");
}

/* A dot in a name is a column of another table. */
static bool names_other_table(struct reader *reader, struct slice name)
{
    const char *dot = name.len > 0 && name.ptr[0] == '"' ? NULL : memchr(name.ptr, '.', name.len);
    if (dot == NULL) {
        return false;
    }
    int n = (int)(dot - name.ptr) > 100 ? 100 : (int)(dot - name.ptr);
    *reader->problem = problem_of(400, "PGRST108",
                                  problem_format(reader->arena,
                                                 "'%.*s' is not an embedded resource "
                                                 "in this request",
                                                 n, name.ptr));
    reader->problem->hint = problem_format(reader->arena,
                                           "Verify that '%.*s' is included in the "
                                           "'select' query parameter.",
                                           n, name.ptr);
    return true;
}

static bool read_filter(struct reader *reader, const struct uri_pair *pair)
{
    struct query_text text = text_of(reader, "filter", pair->value);
    struct query_filter *filter;
    if (names_other_table(reader, pair->name)) {
        return false;
    }
    if (!query_filter(&text, pair->name, &filter)) {
        return false;
    }
    reader->n_terms = text.n_terms;
    return append(reader, filter);
}

static bool read_pair(struct reader *reader, const struct uri_pair *pair)
{
    struct table_query *query = reader->query;
    struct slice name = pair->name;
    if (slice_is(name, "select")) {
        return read_select(reader, pair->value);
    }
    if (slice_is(name, "order")) {
        return read_order(reader, pair->value);
    }
    if (slice_is(name, "limit")) {
        return read_count(reader, pair->value, &query->limit);
    }
    if (slice_is(name, "offset")) {
        return read_count(reader, pair->value, &query->offset);
    }
    if (slice_is(name, "columns")) {
        query->has_columns = true;
        return read_names(reader, "columns parameter", pair->value, &query->columns,
                          &query->n_columns);
    }
    if (slice_is(name, "on_conflict")) {
        query->has_conflict = true;
        return read_names(reader, "on_conflict parameter", pair->value, &query->conflict,
                          &query->n_conflict);
    }
    if (slice_is(name, "and") || slice_is(name, "not.and")) {
        return read_tree(reader, pair, QUERY_AND, name.ptr[0] == 'n');
    }
    if (slice_is(name, "or") || slice_is(name, "not.or")) {
        return read_tree(reader, pair, QUERY_OR, name.ptr[0] == 'n');
    }
    return slice_is(name, "apikey") || read_filter(reader, pair);
}

bool table_query_read(struct arena *arena, const struct table *table, const struct uri *uri,
                      struct table_query *out, struct problem *problem)
{
    struct reader reader = {arena, table, out, problem, NULL, 0};
    struct query_filter *filters = NULL;
    *out = (struct table_query){.all = true, .limit = -1};
    reader.tail = &filters;
    for (unsigned i = 0; i < uri->n_query; i++) {
        if (!read_pair(&reader, &uri->query[i])) {
            return false;
        }
    }
    out->filters = filters;
    return true;
}

/* ---- What the filters promise ---------------------------------------------------------------- */

static const struct query_filter *find_equal(const struct table *table,
                                             const struct table_query *query, const char *column)
{
    int at = table_column(table, slice_of(column));
    for (const struct query_filter *filter = query->filters; filter != NULL;
         filter = filter->next) {
        bool equal = (filter->op == QUERY_EQ && filter->n_values == 1) || filter->op == QUERY_IN;
        if (equal && !filter->negated && (int)filter->place.column == at &&
            filter->place.n_steps == 0) {
            return filter;
        }
    }
    return NULL;
}

bool table_query_users(const struct table *table, const struct table_query *query,
                       const struct table_value **out, unsigned *out_n)
{
    const struct query_filter *filter = find_equal(table, query, "user_id");
    if (filter != NULL) {
        *out = filter->values;
        *out_n = filter->n_values;
    }
    return filter != NULL;
}

struct slice table_query_equal(const struct table *table, const struct table_query *query,
                               const char *column)
{
    const struct query_filter *filter = find_equal(table, query, column);
    return filter == NULL || filter->n_values != 1 ? SLICE_NONE : filter->values[0].text;
}
