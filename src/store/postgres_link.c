/* postgres_link.c - a connection: opening, the pipe, and what PostgreSQL's errors mean.
 *
 * Everything is sent without blocking and awaited with a deadline, behind the server's own
 * statement_timeout: a server that is gone without a word is noticed. A deadline that passes, a
 * lost connection and an error that says nothing of the statement poison the handle. */
#include "store/postgres_impl.h"

#include "base/assert.h"
#include "base/status.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <time.h>

#define STATEMENT_MS 15000
#define LOCK_MS 10000
#define TEXT_OF(number) #number
#define TEXT(number) TEXT_OF(number)
#define ANSWER_MS (STATEMENT_MS + 10000) /* for a whole pipe, its COMMIT included */

/* What a session of ours is like. Plans: every statement looks rows up by key, so a plan that was
 * made while the tables were small must not be one that reads them whole. A commit that was
 * acknowledged is on disk, and on the synchronous standbys where there are some. */
static const char session[] =
    "SET search_path = public;"
    "SET statement_timeout = " TEXT(STATEMENT_MS) ";"
    "SET lock_timeout = " TEXT(LOCK_MS) ";"
    "SET idle_in_transaction_session_timeout = 60000;"
    "SET enable_seqscan = off;"
    "SET enable_hashjoin = off;"
    "SET enable_mergejoin = off;"
    "SET plan_cache_mode = force_generic_plan;"
    "SET jit = off;"
    "SELECT set_config('synchronous_commit', 'on', false)"
    " WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')";

/* ---- Errors ---------------------------------------------------------------------------------- */

/* A SQLSTATE as a status; *out_lost: the connection is worth nothing any more. */
static int status_of_state(const char *state, bool *out_lost)
{
    static const struct {
        const char *begins;
        int status;
    } known[] = {
        {"40", BQ_BUSY},         /* serialization failure, deadlock */
        {"55P03", BQ_BUSY},      /* lock_timeout */
        {"57014", BQ_BUSY},      /* statement_timeout, or cancelled by an operator */
        {"23505", BQ_BUSY},      /* somebody else made the row meanwhile */
        {"53100", BQ_DISK_FULL}, {"53200", BQ_NOMEM},  {"53300", BQ_BUSY},
        {"42501", BQ_READ_ONLY}, {"54", BQ_TOO_LARGE}, {"22", BQ_INVALID},
    };
    *out_lost = false;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strncmp(state, known[i].begins, strlen(known[i].begins)) == 0) {
            return known[i].status;
        }
    }
    *out_lost = true;
    return BQ_IO;
}

static void tell(struct postgres *pg, const char *state, const char *what, const char *statement)
{
    if (pg->config.problem != NULL) {
        char sentence[300];
        snprintf(sentence, sizeof sentence, "PostgreSQL %s in %s: %.200s", state, statement, what);
        for (char *c = sentence; *c != '\0'; c++) {
            *c = *c == '\n' ? ' ' : *c;
        }
        pg->config.problem(pg->config.cls, sentence);
    }
}

static int lost(struct postgres *pg, const char *statement)
{
    if (pg->poison == BQ_OK) {
        tell(pg, "connection", PQerrorMessage(pg->conn), statement);
    }
    pg->poison = BQ_IO;
    return BQ_IO;
}

static const char *name_of(const struct pg_query *query)
{
    static const char *const names[] = {
#define PG_STATEMENT_NAME(name, text) #name,
        PG_STATEMENTS(PG_STATEMENT_NAME)
#undef PG_STATEMENT_NAME
    };
    return names[query->statement];
}

static int status_of_result(struct pg_query *query)
{
    struct postgres *pg = query->pg;
    const char *state;
    bool is_lost;
    switch (PQresultStatus(query->result)) {
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
        return BQ_OK;
    case PGRES_PIPELINE_ABORTED:
        return BQ_EMPTY; /* an earlier one failed */
    default:
        state = PQresultErrorField(query->result, PG_DIAG_SQLSTATE);
        break;
    }
    if (state == NULL) {
        return lost(pg, name_of(query));
    }
    int status = status_of_state(state, &is_lost);
    const char *what = PQresultErrorField(query->result, PG_DIAG_MESSAGE_PRIMARY);
    tell(pg, state, what == NULL ? "" : what, name_of(query));
    if (is_lost) {
        pg->poison = BQ_IO;
    }
    return status;
}

/* ---- Waiting --------------------------------------------------------------------------------- */

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Until something can be read (or written, where that is wanted); false at the deadline. */
static bool wait_for(struct postgres *pg, short events, int64_t deadline_ms)
{
    struct pollfd socket = {.fd = PQsocket(pg->conn), .events = events};
    for (;;) {
        int64_t left = deadline_ms - now_ms();
        if (left <= 0 || socket.fd < 0) {
            return false;
        }
        int n = poll(&socket, 1, (int)left);
        if (n > 0) {
            return true;
        }
        if (n < 0 && errno != EINTR) {
            return false;
        }
    }
}

static bool flush_out(struct postgres *pg, int64_t deadline_ms)
{
    int left;
    while ((left = PQflush(pg->conn)) > 0) {
        if (!wait_for(pg, POLLIN | POLLOUT, deadline_ms) || PQconsumeInput(pg->conn) == 0) {
            return false;
        }
    }
    return left == 0;
}

/* The next result, or NULL where a statement's results end; false where there is none to come. */
static bool next_result(struct postgres *pg, int64_t deadline_ms, PGresult **out)
{
    while (PQisBusy(pg->conn)) {
        if (!wait_for(pg, POLLIN, deadline_ms) || PQconsumeInput(pg->conn) == 0) {
            return false;
        }
    }
    *out = PQgetResult(pg->conn);
    return true;
}

/* ---- The pipe -------------------------------------------------------------------------------- */

static const char *text_of(enum pg_statement statement)
{
    static const char *const texts[] = {
#define PG_STATEMENT_TEXT(name, text) text,
        PG_STATEMENTS(PG_STATEMENT_TEXT)
#undef PG_STATEMENT_TEXT
    };
    return texts[statement];
}

static bool send_now(struct pg_query *query)
{
    const char *values[PG_ARGUMENTS];
    int formats[PG_ARGUMENTS];
    char name[12];
    for (int i = 0; i < query->n; i++) {
        values[i] = query->len[i] < 0 ? NULL : query->bytes.ptr + query->at[i];
        formats[i] = 1;
    }
    snprintf(name, sizeof name, "s%d", (int)query->statement);
    PGconn *conn = query->pg->conn;
    return PQsendQueryPrepared(conn, name, query->n, values, query->len, formats, 1) != 0;
}

static void enqueue(struct postgres *pg, struct pg_query *query, enum pg_statement prepares)
{
    ASSERT(pg->n_pipe < PG_PIPE);
    pg->pipe[pg->n_pipe].query = query;
    pg->pipe[pg->n_pipe].prepares = prepares;
    pg->n_pipe++;
}

static bool prepare(struct postgres *pg, enum pg_statement statement)
{
    char name[12];
    if (pg->prepared[statement]) {
        return true;
    }
    snprintf(name, sizeof name, "s%d", (int)statement);
    if (PQsendPrepare(pg->conn, name, text_of(statement), 0, NULL) == 0) {
        return false;
    }
    enqueue(pg, NULL, statement);
    return true;
}

/* BEGIN and its like: sent as text, its result is nobody's. */
static bool begin_transaction(struct postgres *pg)
{
    if (pg->has_begun || !pg->is_open) {
        return true;
    }
    const char *text = text_of(pg->is_writer ? PG_BEGIN_WRITE : PG_BEGIN_READ);
    pg->has_begun = true;
    enqueue(pg, NULL, PG_N_STATEMENTS);
    return PQsendQueryParams(pg->conn, text, 0, NULL, NULL, NULL, NULL, 1) != 0;
}

void pg_send(struct pg_query *query)
{
    struct postgres *pg = query->pg;
    if (query->bytes.failed) {
        pg->send_failed = BQ_NOMEM;
        return;
    }
    if (pg->poison != BQ_OK || !begin_transaction(pg) || !prepare(pg, query->statement) ||
        !send_now(query)) {
        pg->send_failed = lost(pg, name_of(query));
        return;
    }
    query->status = BQ_EMPTY;
    enqueue(pg, query, PG_N_STATEMENTS);
}

/* Takes the results of what stands at `i` in the pipe. A preparation stays also where what comes
 * behind it fails. */
static int take(struct postgres *pg, unsigned i, int64_t deadline_ms)
{
    enum pg_statement prepares = pg->pipe[i].prepares;
    struct pg_query other = {.pg = pg, .statement = PG_BEGIN_WRITE};
    struct pg_query *to = pg->pipe[i].query == NULL ? &other : pg->pipe[i].query;
    PGresult *result;
    int status = BQ_OK;
    if (prepares != PG_N_STATEMENTS) {
        other.statement = prepares;
    }
    while (next_result(pg, deadline_ms, &result) && result != NULL) {
        PQclear(to->result);
        to->result = result;
        status = to->status = status_of_result(to);
        if (PQstatus(pg->conn) == CONNECTION_BAD) {
            break;
        }
    }
    bool none = to->result == NULL;
    if (!none && status == BQ_OK && prepares != PG_N_STATEMENTS) {
        pg->prepared[prepares] = true;
    }
    PQclear(other.result);
    return none ? lost(pg, name_of(to)) : status;
}

int pg_pipe(struct postgres *pg)
{
    int64_t deadline_ms = now_ms() + ANSWER_MS;
    int first = pg->send_failed;
    PGresult *result = NULL;
    unsigned n = pg->n_pipe;
    pg->send_failed = BQ_OK;
    if (pg->poison == BQ_OK && (PQpipelineSync(pg->conn) == 0 || !flush_out(pg, deadline_ms))) {
        (void)lost(pg, "a pipe");
    }
    for (unsigned i = 0; i < n && pg->poison == BQ_OK; i++) {
        int status = take(pg, i, deadline_ms);
        first = first == BQ_OK && status != BQ_EMPTY ? status : first;
    }
    pg->n_pipe = 0;
    if (pg->poison == BQ_OK &&
        (!next_result(pg, deadline_ms, &result) || PQresultStatus(result) != PGRES_PIPELINE_SYNC)) {
        (void)lost(pg, "a pipe");
    }
    PQclear(result);
    return pg->poison != BQ_OK ? pg->poison : first;
}

int pg_run(struct pg_query *query)
{
    pg_send(query);
    return pg_pipe(query->pg);
}

int pg_run_after_flush(struct pg_query *query)
{
    int status = pg_flush(query->pg);
    return status == BQ_OK ? pg_run(query) : status;
}

/* ---- Opening --------------------------------------------------------------------------------- */

/* A commit that a cancelled wait for a standby ends is a success with a warning: unknown, for
 * us. */
static void notice(void *cls, const PGresult *result)
{
    struct postgres *pg = cls;
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (severity != NULL && state != NULL && strcmp(severity, "WARNING") == 0 &&
        strcmp(state, "01000") == 0) {
        pg->warned = true;
    }
}

static int refused(struct postgres *pg, const char *why, struct buf *error)
{
    buf_add_text(error, "the database ");
    store_postgres_print_url(error, pg->config.url);
    buf_add_text(error, " cannot be used: ");
    for (; *why != '\0'; why++) {
        buf_add_char(error, *why == '\n' ? ' ' : *why);
    }
    while (error->len > 0 && error->ptr[error->len - 1] == ' ') {
        error->ptr[--error->len] = '\0';
    }
    return BQ_NETWORK;
}

int pg_exec(struct postgres *pg, const char *sql, PGresult **out, struct buf *error)
{
    bool is_lost;
    PGresult *result = PQexec(pg->conn, sql);
    ExecStatusType how = PQresultStatus(result);
    if (how == PGRES_COMMAND_OK || how == PGRES_TUPLES_OK) {
        if (out != NULL) {
            *out = result;
        } else {
            PQclear(result);
        }
        return BQ_OK;
    }
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *what = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    (void)refused(pg, what == NULL ? PQerrorMessage(pg->conn) : what, error);
    int status = state == NULL ? BQ_NETWORK : status_of_state(state, &is_lost);
    if (state != NULL && strcmp(state, "42501") == 0) {
        buf_add_text(error, "; the role of --store needs to own the tables, or rights on them");
        status = BQ_FORBIDDEN;
    }
    PQclear(result);
    return status;
}

/* Parameters that the URL may set otherwise stand before it. */
PGconn *pg_connect_to(const char *url)
{
    static const char *const names[] = {
        "connect_timeout", "keepalives_idle", "keepalives_interval", "keepalives_count",
        "tcp_user_timeout", "target_session_attrs", "fallback_application_name", "dbname",
        "client_encoding", NULL};
    const char *values[] = {"5",   "10",   "5", "3", "20000", "read-write", "bqsync",
                            url,   "UTF8", NULL};
    return PQconnectdbParams(names, values, 1);
}

int pg_connect(struct postgres *pg, struct buf *error)
{
    pg->conn = pg_connect_to(pg->config.url);
    if (pg->conn == NULL) {
        return BQ_NOMEM;
    }
    if (PQstatus(pg->conn) != CONNECTION_OK) {
        int status = refused(pg, PQerrorMessage(pg->conn), error);
        return PQconnectionNeedsPassword(pg->conn) || PQconnectionUsedPassword(pg->conn) ? BQ_AUTH
                                                                                         : status;
    }
    if (PQserverVersion(pg->conn) < 150000) {
        (void)refused(pg, "it is older than PostgreSQL 15; update it", error);
        return BQ_UNSUPPORTED;
    }
    PQsetNoticeReceiver(pg->conn, notice, pg);
    return pg_session(pg, error);
}

int pg_session(struct postgres *pg, struct buf *error)
{
    char text[40];
    int status = pg_exec(pg, session, NULL, error);
    if (status == BQ_OK && pg->config.lock_ms > 0) {
        snprintf(text, sizeof text, "SET lock_timeout = %u", pg->config.lock_ms);
        status = pg_exec(pg, text, NULL, error);
    }
    return status;
}

int pg_enter_pipeline(struct postgres *pg)
{
    bool ok = PQsetnonblocking(pg->conn, 1) == 0 && PQenterPipelineMode(pg->conn) == 1;
    return ok ? BQ_OK : BQ_NOMEM;
}
