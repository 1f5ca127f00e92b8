/* table_filter.c - filters: [not.]op.value behind a column, and trees of them. */
#include "server/query_text.h"

#include "base/status.h"

struct op_word {
    const char *word;
    enum query_op op;
    bool lists; /* (any) and (all) may stand behind it */
};

static const struct op_word op_words[] = {
    {"eq", QUERY_EQ, true},
    {"neq", QUERY_NEQ, false},
    {"gt", QUERY_GT, true},
    {"gte", QUERY_GTE, true},
    {"lt", QUERY_LT, true},
    {"lte", QUERY_LTE, true},
    {"like", QUERY_LIKE, true},
    {"ilike", QUERY_ILIKE, true},
    {"in", QUERY_IN, false},
    {"is", QUERY_IS, false},
    {"isdistinct", QUERY_ISDISTINCT, false},
};

static const char *const others[] = {"match", "imatch", "fts", "plfts", "phfts", "wfts", "cs",
                                     "cd",    "ov",     "sl",  "sr",    "nxr",   "nxl",  "adj"};

#define EXPECTED_OP "\"not\" or operator (eq, gt, ...)"

/* How a filter's value ends: with the parameter, or with the element of a tree. */
static bool ends_element(const struct query_text *text)
{
    return query_at_end(text) || query_peek(text) == ',' || query_peek(text) == ')';
}

static bool add_value(struct query_text *text, struct slice value, enum table_type type,
                      struct table_value *out)
{
    int status = table_value_read(text->arena, type, value, out);
    return status == BQ_OK || query_refuse_value(text->arena, type, status, value, text->problem);
}

/* One element of a list: quoted, or up to the comma or the end of it. */
static bool read_element(struct query_text *text, char end, struct slice *out)
{
    if (query_peek(text) == '"') {
        return query_quoted(text, out);
    }
    size_t start = text->at;
    while (!query_at_end(text) && query_peek(text) != ',' && query_peek(text) != end) {
        text->at++;
    }
    *out = (struct slice){text->text.ptr + start, text->at - start};
    return true;
}

/* (a,"b,c",d) or {a,b}. */
static bool read_list(struct query_text *text, char begin, char end, enum table_type type,
                      struct query_filter *filter)
{
    struct table_value *values = arena_alloc(text->arena, QUERY_VALUES_MAX * sizeof *values);
    if (values == NULL) {
        *text->problem = problem_of_status(text->arena, BQ_NOMEM, "");
        return false;
    }
    if (!query_take(text, begin)) {
        return query_refuse(text, begin == '(' ? "\"(\"" : "\"{\"");
    }
    query_skip_blanks(text);
    filter->values = values;
    if (query_take(text, end)) {
        return true;
    }
    do {
        struct slice element;
        if (filter->n_values == QUERY_VALUES_MAX) {
            return query_refuse(text, "fewer values");
        }
        if (!read_element(text, end, &element) ||
            !add_value(text, element, type, &values[filter->n_values])) {
            return false;
        }
        filter->n_values++;
    } while (query_take(text, ','));
    return query_take(text, end) || query_refuse(text, end == ')' ? "\")\"" : "\"}\"");
}

/* null, not_null and what only booleans know. */
static bool read_is(struct query_text *text, bool in_tree, struct query_filter *filter)
{
    static const char *const words[] = {"null", "not_null", "true", "false", "unknown"};
    size_t start = text->at;
    while (in_tree ? !ends_element(text) : !query_at_end(text)) {
        text->at++;
    }
    struct slice word = {text->text.ptr + start, text->at - start};
    while (in_tree && word.len > 0 && word.ptr[word.len - 1] == ' ') {
        word.len--;
    }
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (head_token_is(word, words[i])) {
            filter->is_null = i == 0;
            if (i < 2) {
                return true;
            }
            *text->problem = problem_of(
                400, "42804",
                problem_format(text->arena, "argument of IS %s must be type boolean, not type %s",
                               i == 2   ? "TRUE"
                               : i == 3 ? "FALSE"
                                        : "UNKNOWN",
                               table_type_name(query_place_type(text->table, &filter->place))));
            return false;
        }
    }
    text->at = start;
    return query_refuse(text, "null, not_null, true, false or unknown");
}

/* What a single value is: in a tree quoted, or up to the next comma or parenthesis. */
static bool read_single(struct query_text *text, bool in_tree, enum table_type type,
                        struct query_filter *filter)
{
    struct table_value *value = arena_alloc(text->arena, sizeof *value);
    struct slice word = {text->text.ptr + text->at, text->text.len - text->at};
    if (value == NULL) {
        *text->problem = problem_of_status(text->arena, BQ_NOMEM, "");
        return false;
    }
    if (!in_tree) {
        text->at = text->text.len;
    } else if (!read_element(text, ')', &word)) {
        return false;
    }
    filter->values = value;
    filter->n_values = 1;
    return add_value(text, word, type, value);
}

static bool is_pattern(enum query_op op)
{
    return op == QUERY_LIKE || op == QUERY_ILIKE;
}

/* Patterns are for texts alone. */
static bool check_pattern(struct query_text *text, const struct query_filter *filter)
{
    enum table_type type = query_place_type(text->table, &filter->place);
    if (!is_pattern(filter->op) || type == TABLE_TEXT) {
        return true;
    }
    *text->problem =
        problem_of(404, "42883",
                   problem_format(text->arena, "operator does not exist: %s %s unknown",
                                  table_type_name(type), filter->op == QUERY_LIKE ? "~~" : "~~*"));
    text->problem->hint =
        "No operator matches the given name and argument types. You might need to "
        "add explicit type casts.";
    return false;
}

static bool read_word(struct query_text *text, struct slice *out)
{
    size_t start = text->at;
    while (query_peek(text) >= 'a' && query_peek(text) <= 'z') {
        text->at++;
    }
    *out = (struct slice){text->text.ptr + start, text->at - start};
    return true;
}

static bool refuse_op(struct query_text *text, struct slice word, size_t start)
{
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (slice_is(word, others[i])) {
            return query_refuse_name(text, "0A000", "the operator $ is not offered here", word);
        }
    }
    text->at = start;
    return query_refuse(text, EXPECTED_OP);
}

/* op, and (any) or (all) behind it; *out_lists tells whether a list in braces follows. */
static bool read_op(struct query_text *text, struct query_filter *filter, bool *out_lists)
{
    size_t start = text->at;
    struct slice word;
    (void)read_word(text, &word);
    for (size_t i = 0; i < sizeof op_words / sizeof op_words[0]; i++) {
        if (slice_is(word, op_words[i].word)) {
            filter->op = op_words[i].op;
            bool any = op_words[i].lists && query_take_word(text, "(any)");
            filter->every = op_words[i].lists && !any && query_take_word(text, "(all)");
            *out_lists = any || filter->every;
            return query_take(text, '.') || query_refuse(text, "\".\"");
        }
    }
    return refuse_op(text, word, start);
}

/* Behind the column: [not.]op.value. */
static bool read_condition(struct query_text *text, bool in_tree, struct query_filter *filter)
{
    enum table_type type = query_place_type(text->table, &filter->place);
    bool lists = false;
    filter->negated = query_take_word(text, "not.");
    if (!read_op(text, filter, &lists) || !check_pattern(text, filter)) {
        return false;
    }
    if (filter->op == QUERY_IS) {
        return read_is(text, in_tree, filter);
    }
    if (filter->op == QUERY_IN) {
        return read_list(text, '(', ')', type, filter);
    }
    return lists ? read_list(text, '{', '}', type, filter)
                 : read_single(text, in_tree, type, filter);
}

static struct query_filter *new_filter(struct query_text *text)
{
    struct query_filter *filter = NULL;
    if (text->n_terms++ >= QUERY_TERMS_MAX) {
        *text->problem = problem_of(400, "54001", "the request has too many filters");
        return NULL;
    }
    filter = arena_zalloc(text->arena, 1, sizeof *filter);
    if (filter == NULL) {
        *text->problem = problem_of_status(text->arena, BQ_NOMEM, "");
    }
    return filter;
}

bool query_filter(struct query_text *text, struct slice column, struct query_filter **out)
{
    struct query_filter *filter = new_filter(text);
    struct query_text name = *text;
    struct query_text ahead = *text;
    struct query_filter unused = {.negated = query_take_word(&ahead, "not.")};
    bool lists;
    /* What is no filter at all is told before what is no column. */
    if (filter == NULL || !read_op(&ahead, &unused, &lists)) {
        return false;
    }
    name.text = column;
    name.at = 0;
    name.what = "filter";
    if (!query_place(&name, &filter->place)) {
        return false;
    }
    if (!query_at_end(&name)) {
        return query_refuse(&name, "end of input");
    }
    *out = filter;
    if (!read_condition(text, false, filter)) {
        return false;
    }
    query_skip_blanks(text);
    return query_at_end(text) || query_refuse(text, "end of input");
}

/* "and(" or "or(": a tree, at whose parenthesis it stops. */
static bool begins_tree(struct query_text *text, const char *word)
{
    size_t start = text->at;
    if (query_take_word(text, word)) {
        query_skip_blanks(text);
        if (query_peek(text) == '(') {
            return true;
        }
    }
    text->at = start;
    return false;
}

static bool read_branch(struct query_text *text, struct query_filter **out)
{
    query_skip_blanks(text);
    size_t start = text->at;
    bool negated = query_take_word(text, "not.");
    if (begins_tree(text, "and")) {
        return query_tree(text, QUERY_AND, negated, out);
    }
    if (begins_tree(text, "or")) {
        return query_tree(text, QUERY_OR, negated, out);
    }
    text->at = start;
    struct query_filter *filter = new_filter(text);
    if (filter == NULL || !query_place(text, &filter->place)) {
        return false;
    }
    *out = filter;
    return (query_take(text, '.') || query_refuse(text, "\".\"")) &&
           read_condition(text, true, filter);
}

bool query_tree(struct query_text *text, enum query_op op, bool negated, struct query_filter **out)
{
    struct query_filter *tree = new_filter(text);
    if (tree == NULL) {
        return false;
    }
    struct query_filter **tail = &tree->first;
    if (++text->depth > QUERY_DEPTH_MAX) {
        return query_refuse(text, "fewer parentheses");
    }
    query_skip_blanks(text);
    if (!query_take(text, '(')) {
        return query_refuse(text, "\"(\"");
    }
    do {
        if (!read_branch(text, tail)) {
            return false;
        }
        tail = &(*tail)->next;
        query_skip_blanks(text);
    } while (query_take(text, ','));
    text->depth--;
    tree->op = op;
    tree->negated = negated;
    *out = tree;
    if (!query_take(text, ')')) {
        return query_refuse(text, "\",\" or \")\"");
    }
    query_skip_blanks(text);
    return true;
}
