/* source_postgres.c - a live database with the tables of v1, or of V2 as shipped: each is read by
 * one COPY, so rows stream, in one snapshot, while old apps go on writing.
 *
 * V2's tables come before v1's: what is newer is there first, and v1's rows are merged into it. */
#include <libpq-fe.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/status.h"
#include "cli/csv.h"
#include "cli/output.h"
#include "cli/source.h"

#define MOST_COLUMNS 64u

static const char *const tables[] = {"user_sync_data_v2", "user_sync_metadata", "user_sync_data",
                                     "user_devices"};
#define N_TABLES (sizeof tables / sizeof tables[0])

struct postgres_source {
    struct source source;
    PGconn *connection;
    size_t table; /* that is read, or comes next */
    bool v1_alone;
    bool copying;
    struct arena header_arena;
    struct csv_record header;
};

static struct postgres_source *postgres_of(struct source *source)
{
    return (struct postgres_source *)source;
}

/* PostgreSQL's sentence, on one line. */
static int failed(struct postgres_source *from)
{
    char *error = from->source.error;
    snprintf(error, sizeof from->source.error, "%s", PQerrorMessage(from->connection));
    size_t len = strlen(error);
    while (len > 0 && error[len - 1] == '\n') {
        error[--len] = '\0';
    }
    for (size_t i = 0; i < len; i++) {
        error[i] = error[i] == '\n' ? ' ' : error[i];
    }
    return PQstatus(from->connection) == CONNECTION_OK ? BQ_INVALID : BQ_NETWORK;
}

static int execute(struct postgres_source *from, const char *sql, ExecStatusType wanted)
{
    PGresult *result = PQexec(from->connection, sql);
    int status = PQresultStatus(result) == wanted ? BQ_OK : failed(from);
    PQclear(result);
    return status;
}

/* The first value of a query; *out is -1 where it is NULL. */
static int ask(struct postgres_source *from, const char *sql, int64_t *out)
{
    PGresult *result = PQexec(from->connection, sql);
    int status = PQresultStatus(result) == PGRES_TUPLES_OK ? BQ_OK : failed(from);
    if (status == BQ_OK) {
        long long number = -1;
        bool is_null = PQntuples(result) == 0 || PQgetisnull(result, 0, 0);
        *out = !is_null && sscanf(PQgetvalue(result, 0, 0), "%lld", &number) == 1 ? number : -1;
    }
    PQclear(result);
    return status;
}

/* The next table that is there begins. BQ_NOT_FOUND: there is none. */
static int next_table(struct postgres_source *from)
{
    char sql[160];
    for (; from->table < N_TABLES; from->table++) {
        int64_t there = -1;
        if (from->v1_alone && from->table < 2) {
            continue;
        }
        snprintf(sql, sizeof sql, "SELECT to_regclass('public.%s')::oid::bigint",
                 tables[from->table]);
        int status = ask(from, sql, &there);
        if (status != BQ_OK) {
            return status;
        }
        if (there > 0) {
            snprintf(sql, sizeof sql,
                     "COPY (SELECT * FROM public.%s) TO STDOUT (FORMAT csv, HEADER)",
                     tables[from->table]);
            arena_reset(&from->header_arena);
            from->header.n = 0;
            from->copying = true;
            return execute(from, sql, PGRES_COPY_OUT);
        }
    }
    return BQ_NOT_FOUND;
}

/* The end of a COPY: PostgreSQL says whether that was all. */
static int end_table(struct postgres_source *from)
{
    int status = BQ_OK;
    PGresult *result;
    while ((result = PQgetResult(from->connection)) != NULL) {
        if (PQresultStatus(result) != PGRES_COMMAND_OK) {
            status = failed(from);
        }
        PQclear(result);
    }
    from->copying = false;
    from->table++;
    return status;
}

static int read_record(struct postgres_source *from, struct arena *arena, struct source_row *out)
{
    struct csv_record record;
    struct source_field fields[MOST_COLUMNS];
    int status = csv_split(arena, out->text, &record);
    if (status == BQ_OK && record.n != from->header.n) {
        status = BQ_MALFORMED;
    }
    if (status != BQ_OK) {
        snprintf(from->source.error, sizeof from->source.error,
                 "%s: what COPY writes is no CSV", tables[from->table]);
        return status;
    }
    for (uint32_t i = 0; i < record.n; i++) {
        fields[i] = (struct source_field){from->header.fields[i], record.fields[i], NULL};
    }
    return source_read_row(arena, fields, record.n, out);
}

static int next(struct source *source, struct arena *arena, struct source_row *out)
{
    struct postgres_source *from = postgres_of(source);
    *out = (struct source_row){.clock_us = -1};
    for (;;) {
        int status = from->copying ? BQ_OK : next_table(from);
        char *row = NULL;
        if (status != BQ_OK) {
            return status;
        }
        int len = PQgetCopyData(from->connection, &row, 0);
        if (len == -2) {
            return failed(from);
        }
        if (len == -1) {
            status = end_table(from);
            if (status != BQ_OK) {
                return status;
            }
            continue;
        }
        bool is_header = from->header.n == 0;
        while (len > 0 && row[len - 1] == '\n') {
            len--;
        }
        struct slice copy = arena_copy(is_header ? &from->header_arena : arena,
                                       (struct slice){row, (size_t)len});
        PQfreemem(row);
        if (copy.ptr == NULL) {
            return BQ_NOMEM;
        }
        if (is_header) {
            status = csv_split(&from->header_arena, copy, &from->header);
            if (status == BQ_OK && from->header.n > MOST_COLUMNS) {
                status = BQ_TOO_LARGE;
            }
            if (status != BQ_OK) {
                return status;
            }
            continue;
        }
        out->text = copy;
        out->number = ++source->done;
        return read_record(from, arena, out);
    }
}

static void close_postgres(struct source *source)
{
    struct postgres_source *from = postgres_of(source);
    PQfinish(from->connection);
    arena_release(&from->header_arena);
    mem_free(from);
}

/* How many rows there are, about: for the bar. */
static int estimate(struct postgres_source *from)
{
    return ask(from,
               "SELECT coalesce(sum(greatest(c.reltuples, 0)), 0)::bigint FROM pg_class c"
               " WHERE c.oid IN (to_regclass('public.user_sync_data_v2'),"
               " to_regclass('public.user_sync_metadata'), to_regclass('public.user_sync_data'),"
               " to_regclass('public.user_devices'))",
               &from->source.total);
}

int source_open_postgres(const char *url, bool in_place, bool json, struct source **out)
{
    struct postgres_source *from = mem_zalloc(1, sizeof *from);
    int64_t ours = -1;
    if (from == NULL) {
        return output_fail(json, BQ_NOMEM, "%s", status_text(BQ_NOMEM));
    }
    from->source = (struct source){.next = next, .close = close_postgres};
    from->v1_alone = in_place;
    arena_init(&from->header_arena);
    from->connection = PQconnectdb(url);
    int status = PQstatus(from->connection) == CONNECTION_OK ? BQ_OK : failed(from);
    if (status == BQ_OK) {
        status = execute(from, "SET TimeZone TO 'UTC'", PGRES_COMMAND_OK);
    }
    if (status == BQ_OK) {
        status = execute(from, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
                         PGRES_COMMAND_OK);
    }
    if (status == BQ_OK) {
        status = ask(from, "SELECT to_regclass('public.user_sync_feed')::oid::bigint", &ours);
    }
    /* Of another owner's tables row level security would show some rows, or none, without a word.
     * In a store of ours it is forced, and lets its owner see all. */
    if (status == BQ_OK && !in_place) {
        status = execute(from, "SET row_security TO off", PGRES_COMMAND_OK);
    }
    if (status == BQ_OK) {
        status = estimate(from);
    }
    if (status != BQ_OK) {
        int result = output_fail(json, status, "the database of --from: %s", from->source.error);
        close_postgres(&from->source);
        return result;
    }
    if (ours > 0 && !in_place) {
        close_postgres(&from->source);
        return source_open_store(url, json, out);
    }
    *out = &from->source;
    return CLI_OK;
}
