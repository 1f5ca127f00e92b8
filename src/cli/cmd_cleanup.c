/* cmd_cleanup.c - bqsync cleanup: the end of v1's tables, and of the old functions that trust the
 * user id that they are given (docs/migration.md).
 *
 * The tables are locked against writing, verified once more, written into files that are on disk,
 * and only then dropped, in one transaction. */
#include <errno.h>
#include <fcntl.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/status.h"
#include "base/timestamp.h"
#include "cli/commands.h"
#include "cli/input.h"
#include "cli/old_functions.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/source.h"
#include "store/postgres.h"

#define REPORT_DEPTH 20u
#define DAY_MS INT64_C(86400000)

struct cleanup {
    bool v1;
    const char *from;
    const char *to;
    const char *export;
    const char *report;
    int64_t older_ms;
    bool revoke;
    bool yes;
    bool json;
    PGconn *connection;
};

static int fail(const struct cleanup *cleanup, int status, const char *why)
{
    return output_fail(cleanup->json, status, "the database of --from: %s", why);
}

static int sql(const struct cleanup *cleanup, const char *text)
{
    PGresult *result = PQexec(cleanup->connection, text);
    bool good = PQresultStatus(result) == PGRES_COMMAND_OK;
    PQclear(result);
    return good ? CLI_OK : fail(cleanup, BQ_INVALID, PQerrorMessage(cleanup->connection));
}

/* ---- The old functions ----------------------------------------------------------------------- */

static int close_functions(struct cleanup *cleanup)
{
    struct buf revokes = BUF_INIT;
    int n = 0;
    int status = old_functions(cleanup->connection, &revokes, &n);
    int result = status == BQ_OK ? CLI_OK
                                 : fail(cleanup, status, PQerrorMessage(cleanup->connection));
    if (result == CLI_OK && n > 0) {
        fprintf(cleanup->json ? stderr : stdout, "%s", revokes.ptr);
        if (cleanup->revoke) {
            result = sql(cleanup, revokes.ptr);
        }
    }
    if (result == CLI_OK && n > 0 && !cleanup->revoke) {
        result = output_fail(cleanup->json, BQ_INVALID,
                             "%d old functions are open to everybody; --revoke runs what is "
                             "printed here",
                             n);
    }
    buf_release(&revokes);
    return result;
}

/* ---- Green for long enough ------------------------------------------------------------------- */

static int read_report(struct cleanup *cleanup, struct arena *arena, int64_t *out_since_us)
{
    struct buf text = BUF_INIT;
    struct buf from = BUF_INIT;
    struct buf to = BUF_INIT;
    struct json_value report = json_absent();
    int status = input_file(cleanup->json, cleanup->report, &text);
    if (status == BQ_OK) {
        struct slice copy = arena_copy(arena, buf_slice(&text));
        status = copy.ptr == NULL ? BQ_NOMEM
                                  : input_json(cleanup->json, arena, cleanup->report, copy,
                                               &report);
    }
    int result = output_exit(status);
    const struct json_value *since = json_get(&report, "green_since");
    const struct json_value *its_from = json_get(&report, "from");
    const struct json_value *its_to = json_get(&report, "to");
    if (result == CLI_OK && !(json_is(json_get(&report, "green"), JSON_TRUE) &&
                              json_is(since, JSON_STRING) &&
                              timestamp_parse(json_text(since), out_since_us))) {
        result = output_fail(cleanup->json, BQ_INVALID,
                             "the last verify is not green (%s); run bqsync verify",
                             cleanup->report);
    }
    if (result == CLI_OK &&
        !(json_is(its_from, JSON_STRING) && json_is(its_to, JSON_STRING) &&
          slice_is(json_text(its_from), source_place(&from, cleanup->from)) &&
          slice_is(json_text(its_to), source_place(&to, cleanup->to)))) {
        result = output_fail(cleanup->json, BQ_INVALID,
                             "%s is of another source or store; run bqsync verify with these",
                             cleanup->report);
    }
    buf_release(&text);
    buf_release(&from);
    buf_release(&to);
    return result;
}

static int check_age(struct cleanup *cleanup)
{
    struct arena arena;
    struct timespec now;
    int64_t since_us = 0;
    arena_init(&arena);
    int result = read_report(cleanup, &arena, &since_us);
    arena_release(&arena);
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t age_ms = (int64_t)now.tv_sec * 1000 - since_us / 1000;
    if (result == CLI_OK && age_ms < cleanup->older_ms) {
        return output_fail(cleanup->json, BQ_INVALID,
                           "verify is green for %lld days alone, wanted are %lld (--older-than); "
                           "nothing was dropped",
                           (long long)(age_ms / DAY_MS), (long long)(cleanup->older_ms / DAY_MS));
    }
    return result;
}

static int verify_now(const struct cleanup *cleanup)
{
    char *args[] = {"verify",
                    "--from",
                    (char *)(uintptr_t)cleanup->from,
                    "--to",
                    (char *)(uintptr_t)cleanup->to,
                    "--report",
                    (char *)(uintptr_t)cleanup->report,
                    "--json",
                    NULL};
    return cmd_verify(cleanup->json ? 8 : 7, args);
}

static int confirm(const struct cleanup *cleanup)
{
    char answer[8] = "";
    if (cleanup->yes) {
        return CLI_OK;
    }
    fputs("drop user_sync_data and user_devices of the old backend? yes or no: ", stderr);
    if (fgets(answer, sizeof answer, stdin) == NULL || strcmp(answer, "yes\n") != 0) {
        return output_fail(cleanup->json, BQ_INVALID, "nothing was dropped (--yes answers yes)");
    }
    return CLI_OK;
}

/* ---- Writing down and dropping --------------------------------------------------------------- */

static int copy_rows(const struct cleanup *cleanup, FILE *stream)
{
    char *row = NULL;
    int len;
    bool good = true;
    while ((len = PQgetCopyData(cleanup->connection, &row, 0)) > 0) {
        good = fwrite(row, 1, (size_t)len, stream) == (size_t)len && good;
        PQfreemem(row);
    }
    PGresult *result = PQgetResult(cleanup->connection);
    good = good && len == -1 && PQresultStatus(result) == PGRES_COMMAND_OK;
    PQclear(result);
    while ((result = PQgetResult(cleanup->connection)) != NULL) {
        PQclear(result);
    }
    return good ? CLI_OK : fail(cleanup, BQ_IO, "the export failed; nothing was dropped");
}

/* Its name has to be on disk as well, before the table goes. */
static bool sync_folder_of(const char *path)
{
    struct buf folder = BUF_INIT;
    const char *slash = strrchr(path, '/');
    buf_add(&folder, path, slash == NULL ? 0 : (size_t)(slash - path) + 1);
    buf_add_char(&folder, '.');
    int fd = folder.failed ? -1 : open(folder.ptr, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool good = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0) {
        close(fd);
    }
    buf_release(&folder);
    return good;
}

static int write_table(const struct cleanup *cleanup, const char *table, const char *path)
{
    char text[96];
    FILE *stream = fopen(path, "wxe");
    if (stream == NULL) {
        return output_fail(cleanup->json, BQ_INVALID, "%s cannot be made (%s); name a new file",
                           path, strerror(errno));
    }
    (void)fchmod(fileno(stream), 0600);
    snprintf(text, sizeof text, "COPY public.%s TO STDOUT (FORMAT csv, HEADER)", table);
    PGresult *result = PQexec(cleanup->connection, text);
    bool begun = PQresultStatus(result) == PGRES_COPY_OUT;
    PQclear(result);
    int done = begun ? copy_rows(cleanup, stream)
                     : fail(cleanup, BQ_INVALID, PQerrorMessage(cleanup->connection));
    bool good = fflush(stream) == 0 && fsync(fileno(stream)) == 0;
    good = fclose(stream) == 0 && good && sync_folder_of(path);
    return done != CLI_OK || good
               ? done
               : output_fail(cleanup->json, BQ_IO, "%s cannot be written; nothing was dropped",
                             path);
}

static bool has_table(const struct cleanup *cleanup, const char *table)
{
    char text[96];
    snprintf(text, sizeof text, "SELECT 1 WHERE to_regclass('public.%s') IS NOT NULL", table);
    PGresult *result = PQexec(cleanup->connection, text);
    bool there = PQntuples(result) > 0;
    PQclear(result);
    return there;
}

static int drop_tables(const struct cleanup *cleanup)
{
    static const char *const tables[2] = {"user_sync_data", "user_devices"};
    struct buf path = BUF_INIT;
    char text[96];
    int result = sql(cleanup, "BEGIN");
    for (int i = 0; i < 2 && result == CLI_OK; i++) {
        if (has_table(cleanup, tables[i])) {
            /* Old apps may read, and write no more. */
            snprintf(text, sizeof text, "LOCK TABLE public.%s IN SHARE MODE", tables[i]);
            result = sql(cleanup, text);
        }
    }
    result = result == CLI_OK ? verify_now(cleanup) : result;
    for (int i = 0; i < 2 && result == CLI_OK; i++) {
        buf_clear(&path);
        buf_add_format(&path, "%s%s.csv", cleanup->export, i == 0 ? "" : ".devices");
        if (has_table(cleanup, tables[i])) {
            result = write_table(cleanup, tables[i], path.ptr);
        }
        if (result == CLI_OK) {
            snprintf(text, sizeof text, "DROP TABLE IF EXISTS public.%s", tables[i]);
            result = sql(cleanup, text);
        }
    }
    buf_release(&path);
    if (result == CLI_OK) {
        return sql(cleanup, "COMMIT");
    }
    PGresult *undone = PQexec(cleanup->connection, "ROLLBACK");
    PQclear(undone);
    return result;
}

static int run(struct cleanup *cleanup)
{
    cleanup->connection = PQconnectdb(cleanup->from);
    if (PQstatus(cleanup->connection) != CONNECTION_OK) {
        return fail(cleanup, BQ_NETWORK, PQerrorMessage(cleanup->connection));
    }
    if (has_table(cleanup, "user_sync_feed")) {
        return fail(cleanup, BQ_INVALID,
                    "it holds a store of bqsync, which keeps v1's tables for old apps: they stay");
    }
    int result = sql(cleanup, "SET client_min_messages TO warning; SET row_security TO off");
    result = result == CLI_OK ? close_functions(cleanup) : result;
    result = result == CLI_OK ? check_age(cleanup) : result;
    result = result == CLI_OK ? confirm(cleanup) : result;
    result = result == CLI_OK ? drop_tables(cleanup) : result;
    if (result == CLI_OK && !cleanup->json) {
        printf("dropped; what was in the tables is in %s.csv and %s.devices.csv\n",
               cleanup->export, cleanup->export);
    }
    return result;
}

int cmd_cleanup(int argc, char **argv)
{
    struct cleanup cleanup = {.report = "bqsync-verify.json", .older_ms = 30 * DAY_MS};
    int n;
    const struct option_spec options[] = {
        OPTION_FLAG("v1", &cleanup.v1, "what is cleaned up: v1's tables"),
        OPTION_TEXT("from", "URL", &cleanup.from, "postgres://..., the old backend"),
        OPTION_TEXT("to", "STORE", &cleanup.to, "the store that has everything now"),
        OPTION_TEXT("export", "NAME", &cleanup.export,
                    "the tables go into the new files NAME.csv and NAME.devices.csv first"),
        OPTION_DURATION("older-than", "TIME", &cleanup.older_ms,
                        "how long verify has to be green (default 30d)"),
        OPTION_TEXT("report", "FILE", &cleanup.report,
                    "verify's report (default bqsync-verify.json)"),
        OPTION_FLAG("revoke", &cleanup.revoke, "runs the REVOKEs that close the old functions"),
        OPTION_FLAG("yes", &cleanup.yes, "does not ask"),
        OPTION_FLAG("json", &cleanup.json, "results as one JSON value a line"),
    };
    const struct command_line line = {
        "cleanup", "",
        "Drops v1's tables of the old backend, once verify is green for 30 days and green again\n"
        "now, and after they were written into files. The old functions, which trust the user id\n"
        "that they are given, have to be closed before: the REVOKEs are printed.\n",
        options, OPTION_COUNT(options), 0, 0};
    int done = options_parse(&line, argc, argv, &n);
    if (done != OPTIONS_GO) {
        return done;
    }
    if (!cleanup.v1 || cleanup.from == NULL || cleanup.to == NULL || cleanup.export == NULL ||
        !store_postgres_is_url(cleanup.from)) {
        fputs("bqsync: cleanup: --v1, --from postgres://..., --to and --export are needed\n",
              stderr);
        return CLI_USAGE;
    }
    int result = run(&cleanup);
    PQfinish(cleanup.connection);
    return result;
}
