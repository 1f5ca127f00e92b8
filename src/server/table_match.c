/* table_match.c - see table_match.h. */
#include "server/table_match.h"

#include "base/status.h"
#include "server/like.h"

#define STORED_DEPTH 10000u /* documents over the limit of depth can still be read */

enum truth { TRUTH_NO, TRUTH_UNKNOWN, TRUTH_YES };

void table_match_init(struct table_match *match, const struct table *table)
{
    *match = (struct table_match){.table = table, .work = MATCH_WORK};
    arena_init(&match->scratch);
}

void table_match_release(struct table_match *match)
{
    arena_release(&match->scratch);
}

void table_match_begin(struct table_match *match, const struct table_row *row)
{
    match->failed = match->failed || arena_failed(&match->scratch); /* it stays to be told */
    arena_reset(&match->scratch);
    match->row = row;
    match->parsed = false;
}

int table_match_status(const struct table_match *match)
{
    bool failed = match->failed || arena_failed(&match->scratch);
    return failed ? BQ_NOMEM : match->work == 0 ? BQ_TIMEOUT : BQ_OK;
}

static void charge(struct table_match *match, size_t bytes)
{
    match->work = match->work > bytes + 1 ? match->work - bytes - 1 : 0;
}

/* ---- Places ---------------------------------------------------------------------------------- */

static const struct json_value *document(struct table_match *match, unsigned column)
{
    struct slice text = match->row->values[column].text;
    if (!match->parsed || match->parsed_column != column) {
        charge(match, text.len);
        match->value = json_absent();
        match->parsed = true;
        match->parsed_column = column;
        if (match->work > 0) {
            int status = json_parse(&match->scratch, text, STORED_DEPTH, &match->value, NULL);
            match->failed = match->failed || status == BQ_NOMEM;
        }
    }
    return &match->value;
}

static const struct json_value *element(const struct json_value *array, int64_t index)
{
    int64_t at = index < 0 ? index + array->count : index;
    return at < 0 || at >= array->count ? NULL : &array->items[at];
}

static const struct json_value *step(const struct json_value *value, const struct query_step *by)
{
    if (value->type == JSON_ARRAY) {
        return by->is_index ? element(value, by->index) : NULL;
    }
    return value->type == JSON_OBJECT ? json_get_slice(value, by->key) : NULL;
}

/* The compact form, in scratch memory. */
static struct table_value json_of(struct table_match *match, const struct json_value *value)
{
    struct buf text = BUF_INIT;
    json_print(&text, value);
    struct slice copy = text.failed ? SLICE_NONE : arena_copy(&match->scratch, buf_slice(&text));
    match->failed = match->failed || copy.ptr == NULL;
    buf_release(&text);
    return (struct table_value){.null = copy.ptr == NULL, .text = copy};
}

/* As PostgreSQL's ->> gives it: a string's text, nothing for null, JSON for the rest. */
static struct table_value text_of(struct table_match *match, const struct json_value *value)
{
    if (value->type == JSON_NULL) {
        return (struct table_value){.null = true};
    }
    if (value->type == JSON_STRING) {
        return (struct table_value){.text = json_text(value)};
    }
    return json_of(match, value);
}

struct table_value table_match_value(struct table_match *match, const struct query_place *place)
{
    const struct table_value *whole = &match->row->values[place->column];
    if (place->n_steps == 0 || whole->null) {
        return *whole;
    }
    const struct json_value *value = document(match, place->column);
    for (unsigned i = 0; i < place->n_steps && value != NULL; i++) {
        value = step(value, &place->steps[i]);
    }
    if (value == NULL || json_is_absent(value)) {
        return (struct table_value){.null = true};
    }
    charge(match, value->len);
    return place->as_text ? text_of(match, value) : json_of(match, value);
}

/* ---- Filters --------------------------------------------------------------------------------- */

static bool order_holds(enum query_op op, int order)
{
    switch (op) {
    case QUERY_EQ:
    case QUERY_IN:
        return order == 0;
    case QUERY_NEQ:
    case QUERY_ISDISTINCT:
        return order != 0;
    case QUERY_GT:
        return order > 0;
    case QUERY_GTE:
        return order >= 0;
    case QUERY_LT:
        return order < 0;
    case QUERY_LTE:
        return order <= 0;
    case QUERY_LIKE:
    case QUERY_ILIKE:
    case QUERY_IS:
    case QUERY_AND:
    case QUERY_OR:
        break;
    }
    return false;
}

static bool holds(struct table_match *match, const struct query_filter *filter,
                  const struct table_value *value, const struct table_value *wanted)
{
    enum table_type type = query_place_type(match->table, &filter->place);
    if (filter->op == QUERY_LIKE || filter->op == QUERY_ILIKE) {
        const struct like like = {wanted->text, filter->op == QUERY_ILIKE, true};
        return like_matches(&like, value->text, &match->work);
    }
    charge(match, type == TABLE_JSONB ? value->text.len + wanted->text.len : wanted->text.len);
    return match->work > 0 &&
           order_holds(filter->op, table_value_order(&match->scratch, type, value, wanted));
}

static enum truth test(struct table_match *match, const struct query_filter *filter)
{
    struct table_value value = table_match_value(match, &filter->place);
    if (filter->op == QUERY_IS) {
        return value.null == filter->is_null ? TRUTH_YES : TRUTH_NO;
    }
    if (value.null) {
        return filter->op == QUERY_ISDISTINCT                    ? TRUTH_YES
               : filter->op == QUERY_IN && filter->n_values == 0 ? TRUTH_NO
                                                                 : TRUTH_UNKNOWN;
    }
    for (unsigned i = 0; i < filter->n_values && match->work > 0; i++) {
        if (holds(match, filter, &value, &filter->values[i]) != filter->every) {
            return filter->every ? TRUTH_NO : TRUTH_YES;
        }
    }
    return filter->every ? TRUTH_YES : TRUTH_NO;
}

static enum truth judge(struct table_match *match, const struct query_filter *filter);

/* The least of all for and, the most for or. */
static enum truth judge_tree(struct table_match *match, const struct query_filter *first, bool all)
{
    enum truth truth = all ? TRUTH_YES : TRUTH_NO;
    for (const struct query_filter *filter = first; filter != NULL; filter = filter->next) {
        enum truth one = judge(match, filter);
        if (all ? one < truth : one > truth) {
            truth = one;
        }
    }
    return truth;
}

static enum truth judge(struct table_match *match, const struct query_filter *filter)
{
    enum truth truth = filter->op == QUERY_AND  ? judge_tree(match, filter->first, true)
                       : filter->op == QUERY_OR ? judge_tree(match, filter->first, false)
                                                : test(match, filter);
    return filter->negated ? (enum truth)(TRUTH_YES - truth) : truth;
}

bool table_match_passes(struct table_match *match, const struct query_filter *filters)
{
    return judge_tree(match, filters, true) == TRUTH_YES && table_match_status(match) == BQ_OK;
}
