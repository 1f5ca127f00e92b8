/* functions.c - see functions.h. */
#include "server/functions.h"

#include "base/mem.h"
#include "base/status.h"
#include "json/json.h"
#include "proto/read.h"

#include <libpq-fe.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define SESSION                                                                                    \
    "SET client_encoding = 'UTF8'; SET timezone = 'UTC'; SET statement_timeout = 15000;"           \
    "SET lock_timeout = 10000; SET client_min_messages = error"
#define SET_CALLER                                                                                 \
    "SELECT set_config('role', $1, true), set_config('request.jwt.claims', $2, true)"
#define RETRY_AFTER_S 1u
#define ERROR_DEPTH 8u

struct functions {
    pthread_mutex_t mutex;
    pthread_cond_t freed;
    unsigned n;
    unsigned n_free;
    PGconn **idle; /* those that nobody uses: the first n_free */
};

/* ---- Connections ----------------------------------------------------------------------------- */

static bool begin_session(PGconn *conn)
{
    PGresult *result = PQexec(conn, SESSION);
    bool good = PQresultStatus(result) == PGRES_COMMAND_OK;
    PQclear(result);
    return good;
}

int functions_open(const char *url, unsigned n, struct functions **out, char *error,
                   size_t error_size)
{
    struct functions *functions = mem_zalloc(1, sizeof *functions);
    if (functions == NULL || (functions->idle = mem_zalloc(n, sizeof(PGconn *))) == NULL) {
        mem_free(functions);
        return BQ_NOMEM;
    }
    pthread_mutex_init(&functions->mutex, NULL);
    pthread_cond_init(&functions->freed, NULL);
    for (; functions->n < n; functions->n++) {
        PGconn *conn = PQconnectdb(url);
        functions->idle[functions->n] = conn;
        functions->n_free++;
        if (PQstatus(conn) != CONNECTION_OK || !begin_session(conn)) {
            snprintf(error, error_size, "the database of the functions: %s", PQerrorMessage(conn));
            functions->n++;
            functions_close(functions);
            return BQ_IO;
        }
    }
    *out = functions;
    return BQ_OK;
}

void functions_close(struct functions *functions)
{
    if (functions == NULL) {
        return;
    }
    for (unsigned i = 0; i < functions->n; i++) {
        PQfinish(functions->idle[i]);
    }
    pthread_cond_destroy(&functions->freed);
    pthread_mutex_destroy(&functions->mutex);
    mem_free(functions->idle);
    mem_free(functions);
}

static PGconn *take(struct functions *functions)
{
    pthread_mutex_lock(&functions->mutex);
    while (functions->n_free == 0) {
        pthread_cond_wait(&functions->freed, &functions->mutex);
    }
    PGconn *conn = functions->idle[--functions->n_free];
    pthread_mutex_unlock(&functions->mutex);
    return conn;
}

static void give(struct functions *functions, PGconn *conn)
{
    if (PQstatus(conn) != CONNECTION_OK) {
        PQreset(conn);
        begin_session(conn);
    }
    pthread_mutex_lock(&functions->mutex);
    functions->idle[functions->n_free++] = conn;
    pthread_cond_signal(&functions->freed);
    pthread_mutex_unlock(&functions->mutex);
}

/* ---- Errors ---------------------------------------------------------------------------------- */

static const char *field(const PGresult *result, int code, struct arena *arena)
{
    const char *text = PQresultErrorField(result, code);
    return text == NULL ? NULL : arena_copy(arena, slice_of(text)).ptr;
}

static const char *text_member(const struct json_value *object, const char *name,
                               struct arena *arena)
{
    const struct json_value *value = json_get(object, name);
    return json_is(value, JSON_STRING) ? arena_copy(arena, json_text(value)).ptr : NULL;
}

/* SQLSTATE PGRST: the message is the body, the detail has the status. */
static bool raised(const PGresult *result, struct arena *arena, struct problem *problem)
{
    struct json_value body, detail;
    const char *message = field(result, PG_DIAG_MESSAGE_PRIMARY, arena);
    const char *details = field(result, PG_DIAG_MESSAGE_DETAIL, arena);
    int64_t http;
    if (message == NULL || details == NULL ||
        json_parse(arena, slice_of(message), ERROR_DEPTH, &body, NULL) != BQ_OK ||
        json_parse(arena, slice_of(details), ERROR_DEPTH, &detail, NULL) != BQ_OK ||
        json_get(&detail, "status") == NULL ||
        !json_to_int(json_get(&detail, "status"), &http) || http < 400 || http > 599) {
        return false;
    }
    const char *code = text_member(&body, "code", arena);
    const char *sentence = text_member(&body, "message", arena);
    *problem = problem_detailed((unsigned)http, code == NULL ? "" : code,
                                sentence == NULL ? "" : sentence,
                                text_member(&body, "details", arena));
    return true;
}

/* As PostgREST maps a SQLSTATE. */
static unsigned http_of(const char *state, bool anon)
{
    static const struct {
        const char *begins;
        unsigned http;
    } known[] = {{"25006", 405}, {"23503", 409}, {"23505", 409}, {"42883", 404}, {"42P01", 404},
                 {"53400", 500}, {"P0001", 400}, {"08", 503},    {"22", 400},    {"23", 400},
                 {"28", 403},    {"40", 503},    {"42", 400},    {"53", 503},    {"55", 503},
                 {"57", 503}};
    if (strcmp(state, "42501") == 0) {
        return anon ? 401 : 403;
    }
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strncmp(state, known[i].begins, strlen(known[i].begins)) == 0) {
            return known[i].http;
        }
    }
    return 500;
}

static void tell_error(const PGresult *result, struct arena *arena, bool anon,
                       struct problem *problem)
{
    const char *state = field(result, PG_DIAG_SQLSTATE, arena);
    if (state != NULL && strcmp(state, "PGRST") == 0 && raised(result, arena, problem)) {
        return;
    }
    if (state == NULL) { /* nothing of the database: the connection was lost */
        *problem = problem_of(503, "PGRST001", "Database client error. Retrying the connection.");
    } else {
        const char *message = field(result, PG_DIAG_MESSAGE_PRIMARY, arena);
        *problem = problem_detailed(http_of(state, anon), state, message == NULL ? "" : message,
                                    field(result, PG_DIAG_MESSAGE_DETAIL, arena));
        problem->hint = field(result, PG_DIAG_MESSAGE_HINT, arena);
    }
    problem->retry_after_s = problem->http == 503 ? RETRY_AFTER_S : 0;
    problem->challenge = problem->http == 401 ? CHALLENGE_BEARER : CHALLENGE_NONE;
}

/* ---- A call ---------------------------------------------------------------------------------- */

/* The claims that the functions look at. */
static const char *claims_of(const struct jwt_identity *identity, struct arena *arena)
{
    if (!identity->has_user) {
        return problem_format(arena, "{\"role\":\"%s\"}", role_word(identity->role));
    }
    return problem_format(arena, "{\"role\":\"%s\",\"sub\":\"%.*s\",\"is_anonymous\":%s}",
                          role_word(identity->role), (int)UUID_TEXT, identity->user.text,
                          identity->is_anonymous ? "true" : "false");
}

/* What json_to_record hands to a type's input function. */
static const char *value_text(const struct rpc_input *input, enum rpc_type type,
                              const struct json_value *value)
{
    struct buf text = BUF_INIT;
    if (value->type == JSON_NULL) {
        return NULL;
    }
    if (value->type == JSON_STRING && (type != RPC_JSONB || input->get)) {
        buf_add_slice(&text, json_text(value));
    } else {
        json_print(&text, value);
    }
    const char *copy = text.failed ? NULL : arena_copy(input->arena, buf_slice(&text)).ptr;
    buf_release(&text);
    return copy;
}

/* SELECT public.name(p_a => $1::text, ...), of the arguments that were given; the database
 * converts them. */
static unsigned print_call(const struct rpc_input *input, const struct rpc_function *function,
                           const struct rpc_args *args, struct buf *sql, const char **values)
{
    static const char *const types[] = {[RPC_UUID] = "uuid", [RPC_TEXT] = "text",
                                        [RPC_INT4] = "int", [RPC_INT8] = "bigint",
                                        [RPC_JSONB] = "jsonb"};
    static const char *const heads[] = {
        [RPC_SCALAR] = "SELECT to_jsonb(public.",
        [RPC_ROWS] = "SELECT coalesce(json_agg(t), '[]'), count(*) FROM public.",
        [RPC_VOID] = "SELECT public."};
    static const char *const tails[] = {[RPC_SCALAR] = "))", [RPC_ROWS] = ") t", [RPC_VOID] = ")"};
    unsigned n = 0;
    buf_add_text(sql, heads[function->result]);
    buf_add_text(sql, function->name);
    buf_add_char(sql, '(');
    for (unsigned i = 0; i < function->n_params; i++) {
        const struct rpc_param *param = &function->params[i];
        if (args->values[i].type == JSON_ABSENT) {
            continue;
        }
        values[n] = value_text(input, param->type, &args->values[i]);
        n++;
        buf_add_format(sql, "%s%s => $%u::%s", n == 1 ? "" : ", ", param->name, n,
                       types[param->type]);
    }
    buf_add_text(sql, tails[function->result]);
    return n;
}

/* Runs one statement of a transaction; what it answered stays in *out. */
static bool run(PGconn *conn, const char *sql, unsigned n, const char *const *values,
                PGresult **out)
{
    PQclear(*out);
    *out = PQexecParams(conn, sql, (int)n, NULL, values, NULL, NULL, 0);
    ExecStatusType status = PQresultStatus(*out);
    return status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK;
}

static bool answer(const struct rpc_function *function, const PGresult *result, bool singular,
                   struct arena *arena, struct reply *reply, struct problem *problem)
{
    bool is_null = PQntuples(result) == 0 || PQgetisnull(result, 0, 0);
    struct slice text = is_null ? SLICE("null") : slice_of(PQgetvalue(result, 0, 0));
    reply->http = function->result == RPC_VOID ? 204 : 200;
    reply->content_type =
        function->result == RPC_VOID ? NULL : singular ? REPLY_OBJECT : REPLY_JSON;
    bool rows = function->result == RPC_ROWS;
    reply_range(reply, rows ? strtoull(PQgetvalue(result, 0, 1), NULL, 10) : 1);
    if (function->result == RPC_VOID) {
        return true;
    }
    if (rows && singular) {
        if (strcmp(PQgetvalue(result, 0, 1), "1") != 0) {
            *problem = problem_detailed(406, "PGRST116",
                                        "Cannot coerce the result to a single JSON object",
                                        problem_format(arena, "The result contains %s rows",
                                                       PQgetvalue(result, 0, 1)));
            return false;
        }
        text = (struct slice){text.ptr + 1, text.len - 2}; /* without the brackets */
    }
    buf_add_slice(&reply->body, text);
    return true;
}

bool functions_call(struct functions *functions, const struct rpc_input *input,
                    const struct jwt_identity *identity, bool singular, struct reply *reply,
                    struct problem *problem)
{
    const struct rpc_function *function;
    const char *values[RPC_PARAMS_MAX];
    struct rpc_args args;
    struct buf sql = BUF_INIT;
    if (!rpc_match(input, &function, &args, problem)) {
        return false;
    }
    unsigned n = print_call(input, function, &args, &sql, values);
    const char *caller[] = {role_word(identity->role), claims_of(identity, input->arena)};
    if (sql.failed || arena_failed(input->arena)) {
        buf_release(&sql);
        *problem = problem_of_status(input->arena, BQ_NOMEM, "");
        return false;
    }
    PGconn *conn = take(functions);
    PGresult *result = NULL;
    PGresult *end = NULL;
    const char *begin = input->get ? "BEGIN READ ONLY" : "BEGIN";
    bool good = run(conn, begin, 0, NULL, &result) && run(conn, SET_CALLER, 2, caller, &result) &&
                run(conn, sql.ptr, n, values, &result);
    /* A COMMIT that fails has its own error to tell; what was read counts only after it. */
    if (!good) {
        tell_error(result, input->arena, identity->role == ROLE_ANON, problem);
        run(conn, "ROLLBACK", 0, NULL, &end);
    } else if (!run(conn, "COMMIT", 0, NULL, &end)) {
        tell_error(end, input->arena, identity->role == ROLE_ANON, problem);
        good = false;
    } else {
        good = answer(function, result, singular, input->arena, reply, problem);
    }
    PQclear(end);
    PQclear(result);
    give(functions, conn);
    buf_release(&sql);
    return good;
}
