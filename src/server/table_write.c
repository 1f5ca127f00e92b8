/* table_write.c - POST, PATCH and DELETE of user_sync_data: one row, the user's own.
 *
 * What it means for the documents is said in docs/protocol.md 12: key by key, echoes and absent
 * keys are nothing, DELETE deletes all. created_at and updated_at are read and ignored: they are
 * computed. */
#include "server/table_call.h"

#include "base/plant.h"
#include "base/status.h"
#include "json/json.h"
#include "server/query_text.h"
#include "server/table_match.h"

#include <stdio.h>

enum v1_column { V1_USER, V1_DATA, V1_CREATED, V1_UPDATED };

struct writing {
    const struct table_input *input;
    struct table_call *call;
    struct op *op;
    struct problem *problem;
};

static bool refuse(struct writing *writing, unsigned http, const char *code, const char *message)
{
    *writing->problem = problem_of(http, code, message);
    return false;
}

static bool refuse_body(struct writing *writing)
{
    return refuse(writing, 400, "PGRST102", "Empty or invalid json");
}

/* ---- Columns --------------------------------------------------------------------------------- */

static bool refuse_column(struct writing *writing, struct slice name)
{
    int shown = name.len > 200 ? 200 : (int)name.len;
    return refuse(writing, 400, "PGRST204",
                  problem_format(writing->input->arena,
                                 "Could not find the '%.*s' column of '%s' "
                                 "in the schema cache",
                                 shown, name.ptr, writing->call->table->name));
}

static bool check_columns(struct writing *writing)
{
    const struct table_query *query = &writing->call->query;
    for (unsigned i = 0; i < query->n_columns; i++) {
        if (table_column(writing->call->table, query->columns[i]) < 0) {
            return refuse_column(writing, query->columns[i]);
        }
    }
    return true;
}

/* The constraint that a conflict is looked for by: the key is the only one. */
static bool check_conflict(struct writing *writing)
{
    const struct table_query *query = &writing->call->query;
    bool matters = writing->call->prefer.resolution != RESOLUTION_NONE;
    for (unsigned i = 0; i < query->n_conflict; i++) {
        if (table_column(writing->call->table, query->conflict[i]) < 0) {
            return refuse(
                writing, 400, "42703",
                problem_format(writing->input->arena, "column \"%.*s\" does not exist",
                               query->conflict[i].len > 200 ? 200 : (int)query->conflict[i].len,
                               query->conflict[i].ptr));
        }
    }
    if (matters && query->has_conflict &&
        (query->n_conflict != 1 || !slice_is(query->conflict[0], "user_id"))) {
        return refuse(writing, 400, "42P10",
                      "there is no unique or exclusion constraint matching the ON CONFLICT "
                      "specification");
    }
    return true;
}

static bool is_named(const struct table_query *query, struct slice column)
{
    bool found = !query->has_columns;
    for (unsigned i = 0; i < query->n_columns && !found; i++) {
        found = slice_equal(query->columns[i], column);
    }
    return found;
}

/* ---- One row --------------------------------------------------------------------------------- */

static bool read_times(struct writing *writing, const struct json_value *value)
{
    struct table_value time;
    if (json_is_absent(value) || value->type == JSON_NULL) {
        return true;
    }
    struct slice text = value->type == JSON_STRING ? json_text(value) : SLICE("");
    int status = table_value_read(writing->input->arena, TABLE_TIMESTAMPTZ, text, &time);
    return status == BQ_OK || query_refuse_value(writing->input->arena, TABLE_TIMESTAMPTZ, status,
                                                 text, writing->problem);
}

struct row {
    struct json_value values[4]; /* by v1_column */
};

/* An object's members into their columns. With columns= only those count. */
static bool read_row(struct writing *writing, const struct json_value *object, struct row *out)
{
    const struct table_query *query = &writing->call->query;
    *out = (struct row){{{.type = JSON_ABSENT}}};
    if (object->type != JSON_OBJECT) {
        return refuse_body(writing);
    }
    for (uint32_t i = 0; i < object->count; i++) {
        struct slice name = json_text(&object->members[i].key);
        int column = table_column(writing->call->table, name);
        if (!is_named(query, name)) {
            continue;
        }
        if (column < 0) {
            return refuse_column(writing, name);
        }
        out->values[column] = object->members[i].value;
    }
    return read_times(writing, &out->values[V1_CREATED]) &&
           read_times(writing, &out->values[V1_UPDATED]);
}

/* The user of a row. *out_named is false where there is none. */
static bool read_user(struct writing *writing, const struct json_value *value, struct uuid *out,
                      bool *out_named)
{
    *out_named = !json_is_absent(value) && value->type != JSON_NULL;
    if (!*out_named) {
        return true;
    }
    struct slice text =
        value->type == JSON_STRING || value->type == JSON_NUMBER ? json_text(value) : SLICE("");
    return uuid_parse(text, out) || query_refuse_value(writing->input->arena, TABLE_UUID,
                                                       BQ_INVALID, text, writing->problem);
}

/* RLS: a row may be of the token's user alone. service_role has to name one. */
static bool check_user(struct writing *writing, const struct uuid *user, bool named)
{
    const struct jwt_identity *identity = writing->input->identity;
    if (identity->role != ROLE_SERVICE) {
        return (named && slice_equal(uuid_slice(user), uuid_slice(&identity->user))) ||
               PLANTED(USER_FROM_ROW) ||
               table_refuse_write(identity, TABLE_NOT_OWN, writing->problem);
    }
    return named || refuse(writing, 400, "23502",
                           "null value in column \"user_id\" of relation \"user_sync_data\" "
                           "violates not-null constraint");
}

static bool check_data(struct writing *writing, const struct json_value *data)
{
    return json_is_absent(data) || data->type == JSON_NULL || data->type == JSON_OBJECT ||
           refuse(writing, 400, "23514",
                  "new row for relation \"user_sync_data\" violates check constraint "
                  "\"user_sync_data_data_is_object\"");
}

/* ---- Bodies ---------------------------------------------------------------------------------- */

static bool parse(struct writing *writing, struct json_value *out)
{
    const struct table_input *input = writing->input;
    int status = json_parse(input->arena, input->body, input->depth, out, NULL);
    if (status == BQ_NOMEM) {
        *writing->problem = problem_of_status(input->arena, status, "");
        return false;
    }
    return status == BQ_OK || refuse_body(writing);
}

/* Without columns= all objects of an array have the same members. */
static bool same_keys(const struct json_value *first, const struct json_value *object)
{
    bool same =
        object->type == JSON_OBJECT && first->type == JSON_OBJECT && object->count == first->count;
    for (uint32_t i = 0; same && i < object->count; i++) {
        same = json_get_slice(first, json_text(&object->members[i].key)) != NULL;
    }
    return same;
}

/* The one row of an insert: an array may hold several only where the first one of a user counts. */
static bool read_insert(struct writing *writing, const struct json_value *rows, uint32_t n)
{
    struct table_call *call = writing->call;
    enum prefer_resolution resolution = call->prefer.resolution;
    for (uint32_t i = 0; i < n; i++) {
        struct row row;
        struct uuid user;
        bool named;
        if (!call->query.has_columns && !same_keys(&rows[0], &rows[i])) {
            return refuse(writing, 400, "PGRST102",
                          rows[i].type == JSON_OBJECT ? "All object keys must match"
                                                      : "Empty or invalid json");
        }
        if (!read_row(writing, &rows[i], &row) ||
            !read_user(writing, &row.values[V1_USER], &user, &named) ||
            !check_user(writing, &user, named) || !check_data(writing, &row.values[V1_DATA])) {
            return false;
        }
        if (i == 0) {
            call->user = user;
            writing->op->in.v1_write.data = row.values[V1_DATA];
            continue;
        }
        if (!slice_equal(uuid_slice(&user), uuid_slice(&call->user))) {
            return refuse(writing, 400, "0A000",
                          "rows of several users are written one request each");
        }
        if (resolution == RESOLUTION_MERGE) {
            return refuse(writing, 500, "21000",
                          "ON CONFLICT DO UPDATE command cannot affect row a second time");
        }
        if (resolution == RESOLUTION_NONE) {
            return refuse(writing, 409, "23505",
                          "duplicate key value violates unique constraint \"user_sync_data_pkey\"");
        }
    }
    return true;
}

static bool prepare_insert(struct writing *writing)
{
    struct table_call *call = writing->call;
    static const enum op_v1_verb verbs[] = {[RESOLUTION_NONE] = OP_V1_INSERT,
                                            [RESOLUTION_MERGE] = OP_V1_MERGE,
                                            [RESOLUTION_IGNORE] = OP_V1_IGNORE};
    struct json_value body;
    if (!check_columns(writing) || !check_conflict(writing) || !parse(writing, &body)) {
        return false;
    }
    bool array = body.type == JSON_ARRAY;
    uint32_t n = array ? body.count : 1;
    call->nothing = n == 0;
    if (!read_insert(writing, array ? body.items : &body, n)) {
        return false;
    }
    writing->op->user = call->user;
    writing->op->in.v1_write.verb = verbs[call->prefer.resolution];
    return true;
}

/* The op's row under the filters of the request: runs with the op, on the committer's thread, which
 * has the request to itself meanwhile. */
static int is_meant(const void *cls, const struct op *op, const struct op_user_rows *row, bool *out)
{
    const struct table_call *call = cls;
    struct table_match match;
    struct table_row shown;
    *out = false;
    int status = table_v1_row(op->arena, row, &shown, out);
    if (status != BQ_OK || !*out) {
        return status;
    }
    table_match_init(&match, call->table);
    table_match_begin(&match, &shown);
    *out = table_match_passes(&match, call->query.filters);
    status = table_match_status(&match);
    table_match_release(&match);
    return status == BQ_TIMEOUT ? BQ_OK : status; /* too much work for one row: it is not meant */
}

static bool prepare_update(struct writing *writing)
{
    struct json_value body;
    struct row row;
    struct uuid user;
    bool named;
    writing->op->in.v1_write.verb = OP_V1_UPDATE;
    if (!check_columns(writing) || !parse(writing, &body) || !read_row(writing, &body, &row) ||
        !read_user(writing, &row.values[V1_USER], &user, &named) ||
        !check_data(writing, &row.values[V1_DATA])) {
        return false;
    }
    writing->call->nothing = writing->call->nothing || body.count == 0;
    writing->op->in.v1_write.data = row.values[V1_DATA];
    if (writing->call->nothing || !named) {
        return true;
    }
    return slice_equal(uuid_slice(&user), uuid_slice(&writing->op->user)) ||
           table_refuse_write(writing->input->identity, TABLE_NOT_OWN, writing->problem);
}

bool table_write_prepare(const struct table_input *input, struct table_call *call, struct op *op,
                         struct problem *problem)
{
    struct writing writing = {input, call, op, problem};
    struct uuid user = op->user;
    op->kind = OP_V1_WRITE;
    memset(&op->in, 0, sizeof op->in);
    op->in.v1_write.data = json_absent();
    op->in.v1_write.wants_row = call->prefer.returns == RETURN_ROWS || call->singular;
    if (call->verb == TABLE_VERB_INSERT) {
        return prepare_insert(&writing);
    }
    op->user = user;
    op->in.v1_write.matches = is_meant;
    op->in.v1_write.cls = call;
    op->in.v1_write.verb = OP_V1_DELETE;
    return call->verb == TABLE_VERB_DELETE || prepare_update(&writing);
}

/* ---- Answers --------------------------------------------------------------------------------- */

static bool refuse_duplicate(const struct table_call *call, struct problem *problem)
{
    *problem = problem_detailed(
        409, "23505", "duplicate key value violates unique constraint \"user_sync_data_pkey\"",
        problem_format(call->arena, "Key (user_id)=(%s) already exists.", call->user.text));
    return false;
}

static void tell_location(const struct table_call *call, struct reply *reply)
{
    if (call->prefer.returns == RETURN_HEADERS) {
        reply->location =
            problem_format(call->arena, "/%s?user_id=eq.%s", call->table->name, call->user.text);
    }
}

/* The rows written, or none; the filters of the request chose them already. */
static bool answer_rows(const struct table_call *call, const struct op *op, uint64_t n,
                        struct reply *reply, struct problem *problem)
{
    struct table_call page = *call;
    struct table_shown shown;
    const struct table_rows rows = {n == 0 ? NULL : &op->out.v1_write.row, n == 0 ? 0 : 1};
    page.query.filters = NULL;
    page.query.n_order = 0;
    page.query.limit = -1;
    page.query.offset = 0;
    if (!table_rows_print(&page, &rows, &reply->body, &shown, problem)) {
        return false;
    }
    reply->content_type = call->singular ? REPLY_OBJECT : REPLY_JSON;
    return true;
}

bool table_write_answer(const struct table_call *call, const struct op *op, struct reply *reply,
                        struct problem *problem)
{
    bool insert = call->verb == TABLE_VERB_INSERT;
    bool applied = !call->nothing && op->out.v1_write.applied;
    bool existed = !call->nothing && op->out.v1_write.existed;
    bool rows = call->prefer.returns == RETURN_ROWS;
    if (!call->nothing && op->out.v1_write.refused != BQ_OK) {
        *problem = problem_of_status(call->arena, op->out.v1_write.refused, op->message);
        return false;
    }
    if (insert && !call->nothing && !applied && call->prefer.resolution == RESOLUTION_NONE) {
        return refuse_duplicate(call, problem);
    }
    if (call->singular && !rows && !applied) {
        *problem = table_not_single(call->arena, 0);
        return false;
    }
    if (rows && !answer_rows(call, op, applied ? 1 : 0, reply, problem)) {
        return false;
    }
    struct prefer told = call->prefer;
    told.resolution = insert ? told.resolution : RESOLUTION_NONE;
    prefer_print(&told, reply->preference_applied);
    bool renewed = call->prefer.resolution != RESOLUTION_NONE && existed;
    reply->http = insert ? (renewed ? 200 : 201) : rows ? 200 : 204;
    bool counted = call->prefer.count != COUNT_NONE;
    uint64_t n = applied ? 1 : 0;
    /* Only an update tells which rows it was. */
    table_range_print(reply, 0, call->verb == TABLE_VERB_UPDATE ? n : 0, counted, n);
    if (insert && applied) {
        tell_location(call, reply);
    }
    return true;
}
