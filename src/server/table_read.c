/* table_read.c - rows that pass, in their order, a page of them, printed into the answer.
 *
 * Rows are built from what the store gave when they are looked at, and again where they are sorted
 * first: a row is a dozen borrowed values. Without an order no row is kept. */
#include "server/table_call.h"

#include "base/status.h"
#include "json/sort.h"
#include "server/query_text.h"
#include "server/table_match.h"

/* A row that passed: where it comes from, and what it is sorted by. */
struct found {
    const struct table_call *call;
    uint32_t user;
    uint32_t item;
    struct table_value *keys;
};

struct reading {
    const struct table_call *call;
    const struct table_rows *rows;
    struct table_match match;
    struct table_row *v1; /* of each user; TABLE_V1 alone */
    bool *v1_exists;
    struct found *found; /* where they are to be sorted */
    size_t n_found;
    size_t size_found;
    uint64_t n_passed;
    uint64_t n_printed;
    struct buf *out;
    struct problem *problem;
};

static bool refuse_status(struct reading *reading, int status)
{
    *reading->problem =
        status == BQ_TIMEOUT
            ? problem_of(500, "57014", "canceling statement due to statement timeout")
            : problem_of_status(reading->call->arena, status, "");
    return false;
}

/* ---- Rows ------------------------------------------------------------------------------------ */

int table_v1_row(struct arena *arena, const struct op_user_rows *of, struct table_row *out,
                 bool *out_exists)
{
    *out_exists = false;
    if (of->user.erased) {
        return BQ_OK;
    }
    int status = table_row_v1(arena, &of->user.id, &of->docs, out, out_exists);
    if (status == BQ_OK && !*out_exists && of->user.exists) {
        *out_exists = true;
        out->values[1] = (struct table_value){.text = SLICE("{}")};
        out->values[2] = (struct table_value){.number = of->user.clock_us};
        out->values[3] = (struct table_value){.number = of->user.clock_us};
    }
    return status;
}

static bool build_v1(struct reading *reading)
{
    uint32_t n = reading->rows->n_users;
    struct arena *arena = reading->call->arena;
    reading->v1 = arena_zalloc(arena, n, sizeof *reading->v1);
    reading->v1_exists = arena_zalloc(arena, n, sizeof *reading->v1_exists);
    int status = reading->v1 == NULL || reading->v1_exists == NULL ? BQ_NOMEM : BQ_OK;
    for (uint32_t i = 0; i < n && status == BQ_OK; i++) {
        status =
            table_v1_row(arena, &reading->rows->users[i], &reading->v1[i], &reading->v1_exists[i]);
    }
    return status == BQ_OK || refuse_status(reading, status);
}

static uint32_t count_of(const struct reading *reading, uint32_t user)
{
    const struct op_user_rows *rows = &reading->rows->users[user];
    switch (reading->call->table->id) {
    case TABLE_DOCUMENTS:
        return rows->docs.n;
    case TABLE_METADATA:
        return rows->devices.n;
    case TABLE_QUEUE:
        return rows->dead.n;
    case TABLE_FEED:
        return rows->user.exists && !rows->user.erased ? 1 : 0;
    case TABLE_V1:
        return reading->v1_exists[user] ? 1 : 0;
    }
    return 0;
}

static struct table_row row_of(const struct reading *reading, uint32_t user, uint32_t item)
{
    const struct op_user_rows *rows = &reading->rows->users[user];
    const struct uuid *id = &rows->user.id;
    switch (reading->call->table->id) {
    case TABLE_DOCUMENTS:
        return table_row_document(id, &rows->docs.items[item]);
    case TABLE_METADATA:
        return table_row_device(id, &rows->devices.items[item]);
    case TABLE_QUEUE:
        return table_row_dead(id, &rows->dead.items[item]);
    case TABLE_FEED:
        return table_row_feed(id, rows->user.seq);
    case TABLE_V1:
        break;
    }
    return reading->v1[user];
}

/* ---- Printing -------------------------------------------------------------------------------- */

/* The value as the type that it is cast to. */
static bool cast(struct reading *reading, const struct query_selected *selected,
                 struct table_value *value)
{
    enum table_type from = query_place_type(reading->call->table, &selected->place);
    struct arena *scratch = &reading->match.scratch;
    if (!selected->casts || from == selected->type || value->null) {
        return true;
    }
    struct slice text = table_value_text(scratch, from, value);
    int status =
        text.ptr == NULL ? BQ_NOMEM : table_value_read(scratch, selected->type, text, value);
    return status == BQ_OK ||
           query_refuse_value(reading->call->arena, selected->type, status, text, reading->problem);
}

static bool print_selected(struct reading *reading)
{
    const struct table_query *query = &reading->call->query;
    char before = '{';
    for (unsigned i = 0; i < query->n_selected; i++) {
        const struct query_selected *selected = &query->selected[i];
        struct table_value value = table_match_value(&reading->match, &selected->place);
        if (!cast(reading, selected, &value)) {
            return false;
        }
        buf_add_char(reading->out, before);
        json_print_string(reading->out, selected->name);
        buf_add_char(reading->out, ':');
        table_value_print(reading->out, selected->type, &value);
        before = ',';
    }
    buf_add_text(reading->out, before == '{' ? "{}" : "}");
    return true;
}

/* The row that the match is at. */
static bool print_row(struct reading *reading, const struct table_row *row)
{
    if (reading->n_printed > 0) {
        buf_add_char(reading->out, ',');
    }
    reading->n_printed++;
    if (reading->call->query.all) {
        table_row_print(reading->out, reading->call->table, row);
        return true;
    }
    return print_selected(reading);
}

static bool is_on_page(const struct table_query *query, uint64_t place)
{
    return place >= (uint64_t)query->offset &&
           (query->limit < 0 || place - (uint64_t)query->offset < (uint64_t)query->limit);
}

/* ---- Order ----------------------------------------------------------------------------------- */

static int order_values(enum table_type type, const struct query_order *by,
                        const struct table_value *a, const struct table_value *b)
{
    if (a->null || b->null) {
        return a->null == b->null ? 0 : a->null == by->nulls_first ? -1 : 1;
    }
    /* Documents stand by their bytes: some order, the same at each request. */
    type = type == TABLE_JSONB ? TABLE_TEXT : type;
    int order = table_value_order(NULL, type, a, b);
    return by->falls ? -order : order;
}

static int order_found(const void *a, const void *b)
{
    const struct found *left = a;
    const struct found *right = b;
    const struct table_call *call = left->call;
    int order = 0;
    for (unsigned i = 0; i < call->query.n_order && order == 0; i++) {
        const struct query_order *by = &call->query.order[i];
        order = order_values(query_place_type(call->table, &by->place), by, &left->keys[i],
                             &right->keys[i]);
    }
    return order;
}

/* What a path found lives in scratch memory only. */
static bool keep_keys(struct reading *reading, struct found *found)
{
    const struct table_query *query = &reading->call->query;
    struct arena *arena = reading->call->arena;
    found->keys = arena_zalloc(arena, query->n_order, sizeof *found->keys);
    for (unsigned i = 0; found->keys != NULL && i < query->n_order; i++) {
        const struct query_place *place = &query->order[i].place;
        found->keys[i] = table_match_value(&reading->match, place);
        if (place->n_steps > 0 && !found->keys[i].null) {
            found->keys[i].text = arena_copy(arena, found->keys[i].text);
        }
    }
    return !arena_failed(arena) || refuse_status(reading, BQ_NOMEM);
}

static bool keep(struct reading *reading, uint32_t user, uint32_t item)
{
    if (reading->n_found == reading->size_found) {
        size_t size = reading->size_found == 0 ? 64 : 2 * reading->size_found;
        struct found *more = arena_alloc(reading->call->arena, size * sizeof *more);
        if (more == NULL) {
            return refuse_status(reading, BQ_NOMEM);
        }
        if (reading->n_found > 0) {
            memcpy(more, reading->found, reading->n_found * sizeof *more);
        }
        reading->found = more;
        reading->size_found = size;
    }
    struct found *found = &reading->found[reading->n_found++];
    *found = (struct found){reading->call, user, item, NULL};
    return keep_keys(reading, found);
}

static bool print_sorted(struct reading *reading)
{
    const struct table_call *call = reading->call;
    const void **sorted = arena_alloc(call->arena, reading->n_found * sizeof *sorted);
    for (size_t i = 0; sorted != NULL && i < reading->n_found; i++) {
        sorted[i] = &reading->found[i];
    }
    if (sorted == NULL || !sort_pointers(call->arena, sorted, reading->n_found, order_found)) {
        return refuse_status(reading, BQ_NOMEM);
    }
    for (size_t i = 0; i < reading->n_found; i++) {
        const struct found *found = sorted[i];
        if (is_on_page(&call->query, i)) {
            struct table_row row = row_of(reading, found->user, found->item);
            table_match_begin(&reading->match, &row);
            if (!print_row(reading, &row)) {
                return false;
            }
        }
    }
    return true;
}

/* ---- All of it ------------------------------------------------------------------------------- */

static bool look_at(struct reading *reading, uint32_t user, uint32_t item)
{
    const struct table_query *query = &reading->call->query;
    struct table_row row = row_of(reading, user, item);
    table_match_begin(&reading->match, &row);
    bool passes = table_match_passes(&reading->match, query->filters);
    int status = table_match_status(&reading->match);
    if (status != BQ_OK) {
        return refuse_status(reading, status);
    }
    if (!passes) {
        return true;
    }
    uint64_t place = reading->n_passed++;
    if (query->n_order > 0) {
        return keep(reading, user, item);
    }
    return !is_on_page(query, place) || print_row(reading, &row);
}

static bool look_at_all(struct reading *reading)
{
    bool good = true;
    for (uint32_t user = 0; user < reading->rows->n_users && good; user++) {
        uint32_t n = count_of(reading, user);
        for (uint32_t item = 0; item < n && good; item++) {
            good = look_at(reading, user, item);
        }
    }
    return good && (reading->n_found == 0 || print_sorted(reading));
}

/* The brackets of an array of one. */
static void unwrap(struct buf *out, size_t start)
{
    out->len -= 2;
    memmove(out->ptr + start, out->ptr + start + 1, out->len - start);
    out->ptr[out->len] = '\0';
}

bool table_rows_print(const struct table_call *call, const struct table_rows *rows, struct buf *out,
                      struct table_shown *out_shown, struct problem *problem)
{
    struct reading reading = {.call = call, .rows = rows, .out = out, .problem = problem};
    size_t start = out->len;
    table_match_init(&reading.match, call->table);
    buf_add_char(out, '[');
    bool good = (call->table->id != TABLE_V1 || build_v1(&reading)) && look_at_all(&reading);
    int status = table_match_status(&reading.match);
    if (good && status != BQ_OK) {
        good = refuse_status(&reading, status);
    }
    table_match_release(&reading.match);
    buf_add_char(out, ']');
    *out_shown = (struct table_shown){reading.n_passed, reading.n_printed};
    if (good && call->singular && reading.n_printed != 1) {
        *problem = table_not_single(call->arena, reading.n_printed);
        good = false;
    }
    if (good && call->singular && !out->failed) {
        unwrap(out, start);
    }
    return good;
}
