/* postgres_schema.c - from whatever is in the database to our tables, and what the store knows of
 * itself.
 *
 * The steps are the files of sql/postgres, run in their order, a transaction each; a step notes its
 * number in user_sync_schema itself, so it is the same whether a server runs it or an operator
 * pastes it. Servers that start at once take turns by an advisory lock. Steps go forward only; a
 * database with more of them than this program knows is left alone.
 *
 * The first step makes the tables and never changes; the others may be run again, and are, all of
 * them, where their functions are of an older revision than ours. The last one notes it. */
#include "store/postgres_impl.h"

#include "base/assert.h"
#include "base/status.h"
#include "store/postgres_schema_steps.h"

#include <stdio.h>
#include <stdlib.h>

#define N_STEPS ((int64_t)(sizeof postgres_schema_steps / sizeof postgres_schema_steps[0]))

#define LOCK "SELECT pg_advisory_lock(1651667321)" /* "bqsy" */
#define UNLOCK "SELECT pg_advisory_unlock(1651667321)"
#define HAS_SCHEMA "SELECT to_regclass('public.user_sync_schema') IS NOT NULL"
#define VERSION "SELECT coalesce(max(version), 0) FROM public.user_sync_schema"
#define REVISION "SELECT value FROM public.user_sync_store WHERE name = 'revision'"
#define NOTES_REVISION "VALUES ('revision', '" /* in the last step */
#define IDENTITY                                                                                   \
    "SELECT (SELECT value FROM public.user_sync_store WHERE name = 'epoch'),"                      \
    " (SELECT value FROM public.user_sync_store WHERE name = 'hash_key')"
/* The timeline is new after a promotion. A role may lack the right to ask. */
#define TIMELINE                                                                                   \
    "SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int"

/* The first column of the first row; BQ_EMPTY where it is NULL or there is none. */
static int ask(struct postgres *pg, const char *sql, char *out, size_t size, struct buf *error)
{
    PGresult *result = NULL;
    int status = pg_exec(pg, sql, &result, error);
    if (status == BQ_OK && (PQntuples(result) == 0 || PQgetisnull(result, 0, 0))) {
        status = BQ_EMPTY;
    }
    if (status == BQ_OK) {
        snprintf(out, size, "%s", PQgetvalue(result, 0, 0));
    }
    PQclear(result);
    return status;
}

struct schema {
    int64_t version;  /* the last step that was run; 0: none */
    int64_t revision; /* of the functions; 0: of before they had one */
};

static int read_schema(struct postgres *pg, struct schema *out, struct buf *error)
{
    char text[24] = "";
    int status = ask(pg, HAS_SCHEMA, text, sizeof text, error);
    *out = (struct schema){0, 0};
    if (status != BQ_OK || text[0] != 't') {
        return status;
    }
    status = ask(pg, VERSION, text, sizeof text, error);
    out->version = strtoll(text, NULL, 10);
    if (status == BQ_OK) {
        status = ask(pg, REVISION, text, sizeof text, error);
        out->revision = status == BQ_OK ? strtoll(text, NULL, 10) : 0;
    }
    return status == BQ_EMPTY ? BQ_OK : status;
}

static int64_t our_revision(void)
{
    const char *notes = strstr(postgres_schema_steps[N_STEPS - 1], NOTES_REVISION);
    ASSERT(notes != NULL);
    return strtoll(notes + strlen(NOTES_REVISION), NULL, 10);
}

/* The first step that is to be run; N_STEPS: none. */
static int64_t first_step(const struct schema *schema)
{
    bool again = schema->version > 1 && schema->revision < our_revision();
    return again ? 1 : schema->version;
}

/* "0001_tables.sql" of a step's first line. */
static struct slice name_of(int64_t step)
{
    const char *text = postgres_schema_steps[step];
    const char *from = strncmp(text, "-- ", 3) == 0 ? text + 3 : text;
    const char *to = strstr(from, " - ");
    return to == NULL ? SLICE("a step") : (struct slice){from, (size_t)(to - from)};
}

static int run_step(struct postgres *pg, int64_t step, struct buf *error)
{
    int status = pg_exec(pg, postgres_schema_steps[step], NULL, error);
    if (status != BQ_OK) {
        buf_add_format(error, " (in %.*s; nothing of it was kept)", SLICE_FMT(name_of(step)));
    }
    return status;
}

static int run_steps(struct postgres *pg, struct buf *error)
{
    struct schema schema = {0, 0};
    /* A step over many rows takes as long as it takes. */
    int status = pg_exec(pg, "SET statement_timeout = 0; SET lock_timeout = 0", NULL, error);
    if (status == BQ_OK) {
        status = pg_exec(pg, LOCK, NULL, error);
    }
    if (status == BQ_OK) {
        status = read_schema(pg, &schema, error);
    }
    for (int64_t step = first_step(&schema); status == BQ_OK && step < N_STEPS; step++) {
        status = run_step(pg, step, error);
    }
    if (status == BQ_OK) {
        status = pg_exec(pg, UNLOCK, NULL, error);
    }
    return status == BQ_OK ? pg_session(pg, error) : status;
}

static int check_schema(struct postgres *pg, const struct schema *schema, struct buf *error)
{
    bool is_newer = schema->version > N_STEPS;
    bool may_run = pg->is_writer && pg->config.create;
    if (is_newer || (first_step(schema) < N_STEPS && !may_run)) {
        store_postgres_print_url(error, pg->config.url);
        buf_add_format(error, ": the schema is %d.%d and this bqsync knows %d.%d; %s",
                       (int)schema->version, (int)schema->revision, (int)N_STEPS,
                       (int)our_revision(),
                       is_newer ? "update bqsync" : "start the server once, which updates it");
        return is_newer ? BQ_NEWER : BQ_READ_ONLY;
    }
    return BQ_OK;
}

static bool read_hex(const char *text, uint64_t *out)
{
    char digits[17];
    char *end;
    memcpy(digits, text, 16);
    digits[16] = '\0';
    *out = strtoull(digits, &end, 16);
    return *end == '\0';
}

void pg_set_epoch(struct postgres *pg, struct slice epoch)
{
    snprintf(pg->epoch, sizeof pg->epoch, "%.*s%s%s", SLICE_FMT(epoch),
             pg->timeline[0] == '\0' ? "" : "-", pg->timeline);
}

static int load_identity(struct postgres *pg, struct buf *error)
{
    PGresult *result = NULL;
    struct buf ignored = BUF_INIT;
    int status = pg_exec(pg, IDENTITY, &result, error);
    if (status != BQ_OK) {
        return status;
    }
    const char *epoch = PQgetvalue(result, 0, 0);
    const char *key = PQgetvalue(result, 0, 1);
    if (strlen(epoch) == 0 || strlen(epoch) > 32 || strlen(key) != 32 ||
        !read_hex(key, &pg->hash_key[0]) || !read_hex(key + 16, &pg->hash_key[1])) {
        store_postgres_print_url(error, pg->config.url);
        buf_add_text(error, ": epoch and hash_key are missing in user_sync_store; restore the"
                            " table from a backup");
        status = BQ_CORRUPT;
    } else {
        if (ask(pg, TIMELINE, pg->timeline, sizeof pg->timeline, &ignored) != BQ_OK) {
            pg->timeline[0] = '\0';
        }
        pg_set_epoch(pg, slice_of(epoch));
    }
    buf_release(&ignored);
    PQclear(result);
    return status;
}

int pg_schema_open(struct postgres *pg, struct buf *error)
{
    struct schema schema;
    int status = read_schema(pg, &schema, error);
    if (status == BQ_OK) {
        status = check_schema(pg, &schema, error);
    }
    if (status == BQ_OK && first_step(&schema) < N_STEPS) {
        status = run_steps(pg, error);
    }
    return status == BQ_OK ? load_identity(pg, error) : status;
}

int pg_schema_due(struct postgres *pg, struct buf *out, struct buf *error)
{
    struct schema schema;
    int status = read_schema(pg, &schema, error);
    if (status == BQ_OK && schema.version > N_STEPS) {
        status = check_schema(pg, &schema, error);
    }
    for (int64_t step = first_step(&schema); status == BQ_OK && step < N_STEPS; step++) {
        buf_add_slice(out, name_of(step));
        buf_add_char(out, '\n');
    }
    return status;
}
