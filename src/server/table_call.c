/* table_call.c - admission, whose rows, and the op of a read. */
#include "server/table_call.h"

#include "base/plant.h"
#include "base/status.h"

#include <stdio.h>

static enum table_verb verb_of(const char *method)
{
    return strcmp(method, "POST") == 0     ? TABLE_VERB_INSERT
           : strcmp(method, "PATCH") == 0  ? TABLE_VERB_UPDATE
           : strcmp(method, "DELETE") == 0 ? TABLE_VERB_DELETE
                                           : TABLE_VERB_READ;
}

/* 42501 is 401 for anon (a client then asks for a session) and 403 for everybody else. */
bool table_refuse_write(const struct jwt_identity *identity, const char *message,
                        struct problem *problem)
{
    bool anon = identity->role == ROLE_ANON;
    *problem = problem_of(anon ? 401 : 403, "42501", message);
    problem->challenge = anon ? CHALLENGE_BEARER : CHALLENGE_NONE;
    return false;
}

bool table_admit(struct arena *arena, struct slice name, const char *method,
                 const struct jwt_identity *identity, struct problem *problem)
{
    const struct table *table = table_find(name);
    enum table_verb verb = verb_of(method);
    if (table == NULL) {
        int shown = name.len > 200 ? 200 : (int)name.len;
        *problem = problem_of(404, "PGRST205",
                              problem_format(arena,
                                             "Could not find the table 'public.%.*s' in the "
                                             "schema cache",
                                             shown, name.ptr));
        return false;
    }
    if (verb != TABLE_VERB_READ && table->id != TABLE_V1) {
        return table_refuse_write(
            identity, problem_format(arena, "permission denied for table %s", table->name),
            problem);
    }
    return verb != TABLE_VERB_INSERT || identity->role != ROLE_ANON ||
           table_refuse_write(identity, TABLE_NOT_OWN, problem);
}

/* ---- Whose rows ------------------------------------------------------------------------------ */

static bool refuse_all_users(struct problem *problem)
{
    *problem =
        problem_of(400, "user_needed", "service_role has to name the users whose rows it means");
    problem->hint = "Add a filter: user_id=eq.<uuid>, or user_id=in.(<uuid>,<uuid>).";
    return false;
}

static bool name_users(struct table_call *call, struct op *op, struct problem *problem)
{
    const struct table_value *values;
    unsigned n;
    if (!table_query_users(call->table, &call->query, &values, &n)) {
        return refuse_all_users(problem);
    }
    bool one = call->verb != TABLE_VERB_READ;
    if (n > (one ? 1 : LIMIT_TABLE_USERS)) {
        *problem = problem_of(
            400, "user_needed",
            one ? "one user alone can be named here"
                : problem_format(call->arena, "at most %u users can be named", LIMIT_TABLE_USERS));
        return false;
    }
    struct uuid *users = arena_zalloc(call->arena, n + 1, sizeof *users);
    unsigned n_users = 0;
    for (unsigned i = 0; users != NULL && i < n; i++) {
        bool known = false;
        (void)uuid_parse(values[i].text, &users[n_users]);
        for (unsigned k = 0; k < n_users && !known; k++) {
            known = slice_equal(uuid_slice(&users[k]), uuid_slice(&users[n_users]));
        }
        n_users += !known;
    }
    if (users == NULL) {
        *problem = problem_of_status(call->arena, BQ_NOMEM, "");
        return false;
    }
    call->users = users;
    call->nothing = n_users == 0;
    op->in.table.users = users;
    op->in.table.n_users = n_users;
    op->user = users[0];
    return true;
}

/* Fills in whose rows the op is about; call->nothing where nobody's. */
static bool find_users(const struct table_input *input, struct table_call *call, struct op *op,
                       struct problem *problem)
{
    switch (input->identity->role) {
    case ROLE_ANON:
        call->nothing = true;
        return true;
    case ROLE_AUTHENTICATED:
        if (PLANTED(USER_FROM_FILTER) && name_users(call, op, problem)) {
            return true;
        }
        op->user = input->identity->user;
        call->user = input->identity->user;
        return true;
    case ROLE_SERVICE:
        break;
    }
    return name_users(call, op, problem);
}

/* ---- Reading --------------------------------------------------------------------------------- */

static bool prepare_read(const struct table_input *input, struct table_call *call, struct op *op,
                         struct problem *problem)
{
    static const enum op_rows rows[] = {[TABLE_DOCUMENTS] = OP_ROWS_DOCUMENTS,
                                        [TABLE_METADATA] = OP_ROWS_DEVICES,
                                        [TABLE_FEED] = OP_ROWS_FEED,
                                        [TABLE_V1] = OP_ROWS_DOCUMENTS,
                                        [TABLE_QUEUE] = OP_ROWS_DEAD};
    op->kind = OP_TABLE;
    op->in.table.rows = rows[call->table->id];
    op->in.table.tombstones = call->table->id == TABLE_V1;
    if (call->table->id == TABLE_DOCUMENTS) {
        op->in.table.key = table_query_equal(call->table, &call->query, "data_key");
    }
    return find_users(input, call, op, problem);
}

/* "0-9" or "10-": the page that a Range asks for, on top of limit and offset. */
static bool apply_range(struct slice range, struct table_query *query, struct problem *problem)
{
    int64_t ends[2] = {0, -1};
    size_t i = 0;
    for (unsigned k = 0; k < 2; k++) {
        size_t start = i;
        int64_t number = 0;
        for (; i < range.len && range.ptr[i] >= '0' && range.ptr[i] <= '9' && i - start < 12; i++) {
            number = number * 10 + (range.ptr[i] - '0');
        }
        ends[k] = i > start ? number : ends[k];
        bool good = k == 0 ? i > start && i < range.len && range.ptr[i++] == '-' : i == range.len;
        if (!good) {
            return true; /* bytes=0-1 and its like are for others */
        }
    }
    if (ends[1] >= 0 && ends[1] < ends[0]) {
        *problem = problem_detailed(416, "PGRST103", "Requested range not satisfiable",
                                    "The lower boundary must be lower than or equal to the upper "
                                    "boundary in the Range header.");
        return false;
    }
    int64_t lower = query->offset > ends[0] ? query->offset : ends[0];
    int64_t upper = query->limit < 0 ? INT64_MAX : query->offset + query->limit - 1;
    upper = ends[1] >= 0 && ends[1] < upper ? ends[1] : upper;
    query->offset = lower;
    query->limit = upper == INT64_MAX ? -1 : upper < lower ? 0 : upper - lower + 1;
    return true;
}

/* "/<table>?<query>", as it was asked; a key in the query is not told again. */
static const char *location_of(const struct table_input *input)
{
    const char *mark = memchr(input->target.ptr, '?', input->target.len);
    struct slice query = SLICE("");
    if (uri_find(input->uri, "apikey").ptr != NULL) {
        return NULL;
    }
    if (mark != NULL) {
        query = (struct slice){mark, (size_t)(input->target.ptr + input->target.len - mark)};
    }
    size_t n = strlen(table_find(input->name)->name);
    char *text = arena_alloc(input->arena, n + query.len + 2);
    if (text == NULL) {
        return NULL;
    }
    text[0] = '/';
    memcpy(text + 1, table_find(input->name)->name, n);
    memcpy(text + 1 + n, query.ptr, query.len);
    text[1 + n + query.len] = '\0';
    for (size_t i = 0; i < query.len; i++) {
        unsigned char c = (unsigned char)query.ptr[i];
        if (c <= 0x20 || c >= 0x7f) {
            return NULL; /* no header can hold it */
        }
    }
    return text;
}

bool table_prepare(const struct table_input *input, struct table_call *call, struct op *op,
                   struct problem *problem)
{
    memset(op, 0, sizeof *op);
    op->arena = input->arena;
    *call = (struct table_call){.arena = input->arena,
                                .table = table_find(input->name),
                                .verb = verb_of(input->method),
                                .singular = input->singular};
    if (!prefer_read(input->arena, input->head->prefer, input->head->n_prefer, &call->prefer,
                     problem) ||
        !table_query_read(input->arena, call->table, input->uri, &call->query, problem)) {
        return false;
    }
    if (call->verb != TABLE_VERB_READ) {
        op->user_bytes = input->identity->is_anonymous ? LIMIT_ANONYMOUS_BYTES : 0;
        return (call->verb == TABLE_VERB_INSERT || find_users(input, call, op, problem)) &&
               table_write_prepare(input, call, op, problem);
    }
    call->content_location = location_of(input);
    return apply_range(input->head->range, &call->query, problem) &&
           prepare_read(input, call, op, problem);
}

/* ---- Answers --------------------------------------------------------------------------------- */

void table_range_print(struct reply *reply, int64_t lower, uint64_t n, bool counted, uint64_t total)
{
    char rows[48] = "*";
    if (n > 0) {
        snprintf(rows, sizeof rows, "%llu-%llu", (unsigned long long)lower,
                 (unsigned long long)lower + n - 1);
    }
    if (counted) {
        snprintf(reply->content_range, sizeof reply->content_range, "%s/%llu", rows,
                 (unsigned long long)total);
    } else {
        snprintf(reply->content_range, sizeof reply->content_range, "%s/*", rows);
    }
}

struct problem table_not_single(struct arena *arena, uint64_t n)
{
    return problem_detailed(
        406, "PGRST116", "Cannot coerce the result to a single JSON object",
        problem_format(arena, "The result contains %llu rows", (unsigned long long)n));
}

static void refuse_offset(const struct table_call *call, uint64_t total, struct reply *reply)
{
    struct problem problem =
        problem_detailed(416, "PGRST103", "Requested range not satisfiable",
                         problem_format(call->arena,
                                        "An offset of %lld was requested, but there are only %llu "
                                        "rows.",
                                        (long long)call->query.offset, (unsigned long long)total));
    char range[sizeof reply->content_range];
    memcpy(range, reply->content_range, sizeof range);
    reply_problem(reply, &problem);
    memcpy(reply->content_range, range, sizeof range);
}

static bool answer_read(const struct table_call *call, const struct op *op, struct reply *reply,
                        struct problem *problem)
{
    struct table_rows rows = {NULL, 0};
    struct table_shown shown;
    struct prefer told = {.count = call->prefer.count,
                          .strict = call->prefer.strict,
                          .lenient = call->prefer.lenient};
    if (!call->nothing) {
        rows = (struct table_rows){op->out.table.users, op->out.table.n_users};
    }
    if (!table_rows_print(call, &rows, &reply->body, &shown, problem)) {
        return false;
    }
    bool counted = call->prefer.count != COUNT_NONE;
    reply->http = counted && shown.n_shown < shown.n_total ? 206 : 200;
    reply->content_type = call->singular ? REPLY_OBJECT : REPLY_JSON;
    reply->content_location = call->content_location;
    prefer_print(&told, reply->preference_applied);
    table_range_print(reply, call->query.offset, shown.n_shown, counted, shown.n_total);
    if (counted && (uint64_t)call->query.offset > shown.n_total) {
        refuse_offset(call, shown.n_total, reply);
    }
    return true;
}

bool table_answer(const struct table_call *call, const struct op *op, struct reply *reply,
                  struct problem *problem)
{
    if (!call->nothing && op->status != BQ_OK) {
        *problem = problem_of_status(call->arena, op->status, op->message);
        return false;
    }
    return call->verb == TABLE_VERB_READ ? answer_read(call, op, reply, problem)
                                         : table_write_answer(call, op, reply, problem);
}
