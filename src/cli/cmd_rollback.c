/* cmd_rollback.c - bqsync rollback: the present documents in an older system's form, so that the
 * old app, run against its old backend, has everything (docs/migration.md, "Roll back").
 *
 * v1: a row per user, {"<key>": {"value": .., "timestamp": ".."}}; V2: a row per document with its
 * columns. Devices go beside them. Into files (JSON lines or CSV, by the name's end) or into a live
 * PostgreSQL, where rows that are there are replaced. */
#include <libpq-fe.h>
#include <stdio.h>

#include "base/status.h"
#include "base/timestamp.h"
#include "cli/commands.h"
#include "cli/operator.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "store/postgres.h"

#define PAGE_USERS 256u
#define MOST_COLUMNS 7
#define COMMIT_ROWS 5000
#define V1_COLUMNS 4 /* of a row of user_sync_data; deleted keys come behind, as a JSON array */
#define KEEPS_KEYS                                                                                 \
    "CASE jsonb_typeof(t.data) WHEN 'object' THEN t.data ELSE '{}' END"                            \
    " - ARRAY(SELECT jsonb_array_elements_text($%d::jsonb))"

struct column {
    const char *name;
    const char *type;
    bool is_json; /* printed as it is in JSON lines */
};

static const struct table {
    const char *name;
    const char *suffix; /* of its file's name, before the end */
    struct column columns[MOST_COLUMNS];
    const char *key;
} tables[2][2] = {
    {{"user_sync_data",
      "",
      {{"user_id", "uuid", false},
       {"data", "jsonb", true},
       {"created_at", "timestamptz", false},
       {"updated_at", "timestamptz", false}},
      "user_id"},
     {"user_devices",
      ".devices",
      {{"device_id", "text", false},
       {"user_id", "uuid", false},
       {"device_name", "text", false},
       {"device_type", "text", false},
       {"last_sync", "timestamptz", false},
       {"created_at", "timestamptz", false}},
      "device_id"}},
    {{"user_sync_data_v2",
      "",
      {{"user_id", "uuid", false},
       {"data_key", "text", false},
       {"data", "jsonb", true},
       {"version", "integer", false},
       {"device_id", "text", false},
       {"modified_at", "timestamptz", false},
       {"created_at", "timestamptz", false}},
      "user_id, data_key"},
     {"user_sync_metadata",
      ".devices",
      {{"user_id", "uuid", false},
       {"device_id", "text", false},
       {"last_sync_at", "timestamptz", false},
       {"last_sync_version", "integer", false},
       {"device_info", "jsonb", true},
       {"created_at", "timestamptz", false}},
      "user_id, device_id"}}};

struct rollback {
    const char *to;
    const char *dest;
    struct operator operator;
    const struct table *tables; /* documents, devices */
    bool v2;
    bool csv;
    FILE *files[2];
    PGconn *connection;
    int64_t n_rows[2];
    int64_t n_documents;
    int64_t n_uncommitted;
    struct progress progress;
    struct arena arena;
    struct buf line;
    struct buf deleted; /* keys of the present v1 row, as a JSON array */
};

static int fail(const struct rollback *rollback, int status, const char *why)
{
    return output_fail(rollback->operator.json, status, "%s: %s",
                       rollback->connection != NULL ? "the database of --target" : rollback->dest,
                       why);
}

/* ---- Rows into files ------------------------------------------------------------------------- */

static void print_csv(struct buf *out, struct slice value)
{
    if (value.ptr == NULL) {
        return;
    }
    buf_add_char(out, '"');
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] == '"') {
            buf_add_char(out, '"');
        }
        buf_add_char(out, value.ptr[i]);
    }
    buf_add_char(out, '"');
}

static void print_json(struct buf *out, const struct column *column, struct slice value)
{
    bool is_number = strcmp(column->type, "integer") == 0;
    if (value.ptr == NULL) {
        buf_add_text(out, "null");
    } else if (column->is_json || is_number) {
        buf_add_slice(out, value);
    } else {
        json_print_string(out, value);
    }
}

static int put_line(struct rollback *rollback, int table, const struct slice *values)
{
    const struct column *columns = rollback->tables[table].columns;
    struct buf *line = &rollback->line;
    buf_clear(line);
    for (int i = 0; i < MOST_COLUMNS && columns[i].name != NULL; i++) {
        if (rollback->csv) {
            buf_add_text(line, i == 0 ? "" : ",");
            print_csv(line, values[i]);
        } else {
            buf_add_format(line, "%s\"%s\": ", i == 0 ? "{" : ", ", columns[i].name);
            print_json(line, &columns[i], values[i]);
        }
    }
    buf_add_text(line, rollback->csv ? "\n" : "}\n");
    if (line->failed) {
        return fail(rollback, BQ_NOMEM, status_text(BQ_NOMEM));
    }
    return fwrite(line->ptr, 1, line->len, rollback->files[table]) == line->len
               ? CLI_OK
               : fail(rollback, BQ_IO, "it cannot be written");
}

/* ---- Rows into PostgreSQL -------------------------------------------------------------------- */

static int sql(struct rollback *rollback, const char *text)
{
    PGresult *result = PQexec(rollback->connection, text);
    bool good = PQresultStatus(result) == PGRES_COMMAND_OK;
    PQclear(result);
    return good ? CLI_OK : fail(rollback, BQ_INVALID, PQerrorMessage(rollback->connection));
}

/* Replaces the row of the key; a device of v1 that another user has there stays that one's, and a
 * v1 row keeps the keys that it alone holds (migrate set them aside), but those deleted here. */
static void print_upsert(const struct table *table, struct buf *out)
{
    buf_add_format(out, "INSERT INTO public.%s AS t (", table->name);
    for (int i = 0; i < MOST_COLUMNS && table->columns[i].name != NULL; i++) {
        buf_add_format(out, "%s%s", i == 0 ? "" : ", ", table->columns[i].name);
    }
    buf_add_text(out, ") VALUES (");
    for (int i = 0; i < MOST_COLUMNS && table->columns[i].name != NULL; i++) {
        buf_add_format(out, "%s$%d::%s", i == 0 ? "" : ", ", i + 1, table->columns[i].type);
    }
    buf_add_format(out, ") ON CONFLICT (%s) DO UPDATE SET ", table->key);
    bool first = true;
    for (int i = 0; i < MOST_COLUMNS && table->columns[i].name != NULL; i++) {
        const char *name = table->columns[i].name;
        if (strstr(table->key, name) == NULL) {
            buf_add_format(out, "%s%s = ", first ? "" : ", ", name);
            if (table == &tables[0][0] && table->columns[i].is_json) {
                buf_add_format(out, KEEPS_KEYS " || ", V1_COLUMNS + 1);
            }
            buf_add_format(out, "EXCLUDED.%s", name);
            first = false;
        }
    }
    if (strcmp(table->key, "device_id") == 0) {
        buf_add_text(out, " WHERE t.user_id = EXCLUDED.user_id");
    }
}

static int put_row(struct rollback *rollback, int table, const struct slice *values)
{
    const char *names[2] = {"documents", "devices"};
    const char *texts[MOST_COLUMNS + 1];
    int n = 0;
    for (; n < MOST_COLUMNS && rollback->tables[table].columns[n].name != NULL; n++) {
        struct slice copy = values[n].ptr == NULL ? SLICE_NONE
                                                  : arena_copy(&rollback->arena, values[n]);
        texts[n] = copy.ptr;
    }
    if (&rollback->tables[table] == &tables[0][0]) {
        texts[n++] = rollback->deleted.ptr;
    }
    PGresult *result = PQexecPrepared(rollback->connection, names[table], n, texts, NULL, NULL, 0);
    bool good = PQresultStatus(result) == PGRES_COMMAND_OK;
    PQclear(result);
    if (!good) {
        return fail(rollback, BQ_INVALID, PQerrorMessage(rollback->connection));
    }
    if (++rollback->n_uncommitted < COMMIT_ROWS) {
        return CLI_OK;
    }
    rollback->n_uncommitted = 0;
    return sql(rollback, "COMMIT; BEGIN");
}

static int prepare(struct rollback *rollback, int table, const char *name)
{
    struct buf text = BUF_INIT;
    buf_add_format(&text, "CREATE TABLE IF NOT EXISTS public.%s (", rollback->tables[table].name);
    for (int i = 0; i < MOST_COLUMNS && rollback->tables[table].columns[i].name != NULL; i++) {
        buf_add_format(&text, "%s %s, ", rollback->tables[table].columns[i].name,
                       rollback->tables[table].columns[i].type);
    }
    buf_add_format(&text, "PRIMARY KEY (%s))", rollback->tables[table].key);
    int result = sql(rollback, text.ptr);
    buf_clear(&text);
    if (result == CLI_OK) {
        print_upsert(&rollback->tables[table], &text);
        PGresult *prepared = PQprepare(rollback->connection, name, text.ptr, 0, NULL);
        if (PQresultStatus(prepared) != PGRES_COMMAND_OK) {
            result = fail(rollback, BQ_INVALID, PQerrorMessage(rollback->connection));
        }
        PQclear(prepared);
    }
    buf_release(&text);
    return result;
}

/* ---- Where they go --------------------------------------------------------------------------- */

static int open_file(struct rollback *rollback, int table)
{
    struct buf path = BUF_INIT;
    size_t len = strlen(rollback->dest);
    size_t end = len - (rollback->csv ? 4 : 6);
    buf_add(&path, rollback->dest, end);
    buf_add_text(&path, rollback->tables[table].suffix);
    buf_add_text(&path, rollback->dest + end);
    rollback->files[table] = path.failed ? NULL : fopen(path.ptr, "wxe");
    int result = rollback->files[table] != NULL
                     ? CLI_OK
                     : output_fail(rollback->operator.json, BQ_INVALID,
                                   "%s cannot be made; name a new file", path.ptr);
    buf_release(&path);
    const struct column *columns = rollback->tables[table].columns;
    for (int i = 0; result == CLI_OK && rollback->csv && i < MOST_COLUMNS &&
                    columns[i].name != NULL; i++) {
        fprintf(rollback->files[table], "%s%s", i == 0 ? "" : ",", columns[i].name);
    }
    if (result == CLI_OK && rollback->csv) {
        fputs("\n", rollback->files[table]);
    }
    return result;
}

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text);
    return len > strlen(end) && strcmp(text + len - strlen(end), end) == 0;
}

static int open_target(struct rollback *rollback)
{
    if (!store_postgres_is_url(rollback->dest)) {
        rollback->csv = ends_with(rollback->dest, ".csv");
        if (!rollback->csv && !ends_with(rollback->dest, ".jsonl")) {
            fputs("bqsync: rollback: --target takes a new file NAME.jsonl or NAME.csv, or "
                  "postgres://...\n", stderr);
            return CLI_USAGE;
        }
        int result = open_file(rollback, 0);
        return result == CLI_OK ? open_file(rollback, 1) : result;
    }
    rollback->connection = PQconnectdb(rollback->dest);
    if (PQstatus(rollback->connection) != CONNECTION_OK) {
        return fail(rollback, BQ_NETWORK, PQerrorMessage(rollback->connection));
    }
    PGresult *ours = PQexec(rollback->connection,
                            "SELECT 1 WHERE to_regclass('public.user_sync_feed') IS NOT NULL");
    bool is_ours = PQntuples(ours) > 0;
    PQclear(ours);
    if (is_ours) {
        return fail(rollback, BQ_INVALID,
                    "it holds a store of bqsync, where old apps work as they are: run them there, "
                    "or name the old backend's own database");
    }
    int result = sql(rollback, "SET client_min_messages TO warning; BEGIN");
    result = result == CLI_OK ? prepare(rollback, 0, "documents") : result;
    return result == CLI_OK ? prepare(rollback, 1, "devices") : result;
}

static int close_target(struct rollback *rollback, int result)
{
    for (int i = 0; i < 2; i++) {
        if (rollback->files[i] != NULL && fclose(rollback->files[i]) != 0 && result == CLI_OK) {
            result = fail(rollback, BQ_IO, "it cannot be written");
        }
    }
    if (rollback->connection != NULL) {
        if (result == CLI_OK) {
            result = sql(rollback, "COMMIT");
        }
        PQfinish(rollback->connection);
    }
    return result;
}

static int put(struct rollback *rollback, int table, const struct slice *values)
{
    rollback->n_rows[table]++;
    return rollback->connection != NULL ? put_row(rollback, table, values)
                                        : put_line(rollback, table, values);
}

/* ---- Rows ------------------------------------------------------------------------------------ */

static struct slice time_text(struct rollback *rollback, int64_t time_us)
{
    char text[TIMESTAMP_TEXT];
    size_t len = timestamp_print(time_us, text);
    return arena_copy(&rollback->arena, (struct slice){text, len});
}

static struct slice int_text(struct rollback *rollback, int64_t number)
{
    char text[24];
    int len = snprintf(text, sizeof text, "%lld", (long long)number);
    return arena_copy(&rollback->arena, (struct slice){text, (size_t)len});
}

static int put_v1(struct rollback *rollback, const struct store_user *user,
                  const struct store_docs *docs)
{
    struct buf data = BUF_INIT;
    char time[TIMESTAMP_TEXT];
    int64_t created_us = user->clock_us;
    buf_clear(&rollback->deleted);
    buf_add_char(&rollback->deleted, '[');
    buf_add_char(&data, '{');
    for (uint32_t i = 0; i < docs->n; i++) {
        const struct store_doc *doc = &docs->items[i];
        if (doc->version == 0) {
            continue; /* a refusal's receipt alone: it never was here */
        }
        if (doc->deleted) {
            buf_add_text(&rollback->deleted, rollback->deleted.len == 1 ? "" : ",");
            json_print_string(&rollback->deleted, doc->key);
            continue;
        }
        rollback->n_documents++;
        created_us = doc->created_us < created_us ? doc->created_us : created_us;
        buf_add_text(&data, data.len == 1 ? "" : ",");
        json_print_string(&data, doc->key);
        buf_add_text(&data, ":{\"value\":");
        buf_add_slice(&data, doc->data);
        buf_add_text(&data, ",\"timestamp\":\"");
        buf_add(&data, time, timestamp_print_ms(doc->modified_us, time));
        buf_add_text(&data, "\"}");
    }
    buf_add_char(&data, '}');
    buf_add_char(&rollback->deleted, ']');
    struct slice values[] = {uuid_slice(&user->id), buf_slice(&data),
                             time_text(rollback, created_us), time_text(rollback, user->clock_us)};
    bool failed = data.failed || rollback->deleted.failed;
    int result = failed ? fail(rollback, BQ_NOMEM, status_text(BQ_NOMEM))
                        : put(rollback, 0, values);
    buf_release(&data);
    return result;
}

static int put_v2(struct rollback *rollback, const struct store_user *user,
                  const struct store_docs *docs)
{
    int result = CLI_OK;
    for (uint32_t i = 0; i < docs->n && result == CLI_OK; i++) {
        const struct store_doc *doc = &docs->items[i];
        if (doc->deleted) {
            continue;
        }
        rollback->n_documents++;
        struct slice values[] = {uuid_slice(&user->id),
                                 doc->key,
                                 doc->data,
                                 int_text(rollback, doc->version),
                                 doc->device_id,
                                 time_text(rollback, doc->modified_us),
                                 time_text(rollback, doc->created_us)};
        result = put(rollback, 0, values);
    }
    return result;
}

static int put_v1_devices(struct rollback *rollback, const struct store_user *user)
{
    struct store *store = rollback->operator.opened;
    struct store_v1_devices all;
    int status = store->v1_devices(store, &rollback->arena, &user->id, &all);
    int result = status == BQ_OK ? CLI_OK : fail(rollback, status, status_text(status));
    for (uint32_t i = 0; result == CLI_OK && i < all.n; i++) {
        const struct store_v1_device *one = &all.items[i];
        struct slice values[] = {one->device_id, uuid_slice(&user->id), one->name, one->type,
                                 time_text(rollback, one->last_sync_us),
                                 time_text(rollback, one->created_us)};
        result = put(rollback, 1, values);
    }
    return result;
}

static int put_v2_devices(struct rollback *rollback, const struct store_user *user)
{
    struct store *store = rollback->operator.opened;
    struct store_devices all;
    int status = store->devices(store, &rollback->arena, &user->id, &all);
    int result = status == BQ_OK ? CLI_OK : fail(rollback, status, status_text(status));
    for (uint32_t i = 0; result == CLI_OK && i < all.n; i++) {
        const struct store_device *one = &all.items[i];
        struct slice values[] = {uuid_slice(&user->id),
                                 one->device_id,
                                 time_text(rollback, one->last_sync_us),
                                 int_text(rollback, one->last_sync_version),
                                 one->info,
                                 time_text(rollback, one->created_us)};
        result = put(rollback, 1, values);
    }
    return result;
}

static int put_user(struct rollback *rollback, const struct store_user *user)
{
    struct store *store = rollback->operator.opened;
    struct store_docs docs;
    if (user->erased) {
        return CLI_OK;
    }
    arena_reset(&rollback->arena);
    int status = store->docs(store, &rollback->arena, &user->id, 0, UINT32_MAX, SIZE_MAX, true,
                             &docs);
    if (status != BQ_OK) {
        return fail(rollback, status, status_text(status));
    }
    int result = rollback->v2 ? put_v2(rollback, user, &docs) : put_v1(rollback, user, &docs);
    if (result != CLI_OK) {
        return result;
    }
    return rollback->v2 ? put_v2_devices(rollback, user) : put_v1_devices(rollback, user);
}

static int put_all(struct rollback *rollback)
{
    struct store *store = rollback->operator.opened;
    struct store_users page = {.n = PAGE_USERS};
    struct arena arena;
    struct uuid last;
    int result = CLI_OK;
    int64_t n = 0;
    arena_init(&arena);
    for (bool first = true; result == CLI_OK && page.n == PAGE_USERS; first = false) {
        arena_reset(&arena);
        int status = store->users(store, &arena, first ? NULL : &last, PAGE_USERS, &page);
        result = status == BQ_OK ? CLI_OK : fail(rollback, status, status_text(status));
        for (uint32_t i = 0; result == CLI_OK && i < page.n; i++) {
            last = page.items[i].id;
            result = put_user(rollback, &page.items[i]);
            progress_set_rows(&rollback->progress, 0, (uint64_t)++n);
        }
    }
    arena_release(&arena);
    return result;
}

static int tell(struct rollback *rollback)
{
    struct buf *line = &rollback->line;
    buf_clear(line);
    if (rollback->operator.json) {
        output_begin(line);
        output_int(line, "rows", rollback->n_rows[0]);
        output_int(line, "documents", rollback->n_documents);
        output_int(line, "devices", rollback->n_rows[1]);
        output_close(line);
    } else {
        buf_add_format(line, "%lld rows of %s with %lld documents, %lld rows of %s",
                       (long long)rollback->n_rows[0], rollback->tables[0].name,
                       (long long)rollback->n_documents, (long long)rollback->n_rows[1],
                       rollback->tables[1].name);
    }
    return output_line(rollback->operator.json, line);
}

static int run(struct rollback *rollback)
{
    int result = operator_open(&rollback->operator, false);
    if (result == CLI_OK) {
        struct store *store = rollback->operator.opened;
        int status = store->begin(store);
        result = status == BQ_OK ? open_target(rollback)
                                 : fail(rollback, status, status_text(status));
        if (result == CLI_OK) {
            progress_begin(&rollback->progress, "rollback", 0);
            result = put_all(rollback);
            progress_end(&rollback->progress);
        }
        store->rollback(store);
        result = close_target(rollback, result);
    }
    operator_close(&rollback->operator);
    return result == CLI_OK ? tell(rollback) : result;
}

int cmd_rollback(int argc, char **argv)
{
    struct rollback rollback = {.to = NULL};
    int n;
    const struct option_spec options[] = {
        OPTION_TEXT("store", "STORE", &rollback.operator.store, "sqlite:PATH or postgres://..."),
        OPTION_TEXT("to", "WORD", &rollback.to, "v1 or v2: whose form the rows take"),
        OPTION_TEXT("target", "DEST", &rollback.dest,
                    "a new file NAME.jsonl or NAME.csv, or postgres://..."),
        OPTION_FLAG("json", &rollback.operator.json, "results as one JSON value a line"),
    };
    const struct command_line line = {
        "rollback", "",
        "Writes the present documents back in an older system's form, so that the old app, run\n"
        "against its old backend, has everything. Devices go into NAME.devices.jsonl (or .csv).\n"
        "In PostgreSQL rows that are there are replaced, and no others are touched.\n",
        options, OPTION_COUNT(options), 0, 0};
    int done = options_parse(&line, argc, argv, &n);
    if (done != OPTIONS_GO) {
        return done;
    }
    bool v1 = rollback.to != NULL && strcmp(rollback.to, "v1") == 0;
    rollback.v2 = rollback.to != NULL && strcmp(rollback.to, "v2") == 0;
    if (rollback.operator.store == NULL || rollback.dest == NULL || !(v1 || rollback.v2)) {
        fputs("bqsync: rollback: --store, --to v1 or v2, and --target are needed\n", stderr);
        return CLI_USAGE;
    }
    rollback.tables = tables[rollback.v2 ? 1 : 0];
    arena_init(&rollback.arena);
    int result = run(&rollback);
    arena_release(&rollback.arena);
    buf_release(&rollback.line);
    buf_release(&rollback.deleted);
    return result;
}
