/* cmd_import.c - bqsync import: rows of v1's user_sync_data, a JSON object a line, into a server.
 *
 *     {"user_id": "<uuid>", "data": {"<key>": {"value": ..., "timestamp": "..."}, ...}}
 *
 * Each key goes through sync_exchange as a seed of the device migrate:v1: what is there already
 * wins as the policies say. The number of the edit is v1's timestamp and its id the document's
 * fingerprint, so a second run is answered by the receipts of the first, and a key that v1 changed
 * meanwhile is merged in. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/hash.h"
#include "base/timestamp.h"
#include "base/uuid.h"
#include "bqsync.h"
#include "cli/commands.h"
#include "cli/remote.h"
#include "cli/input.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "proto/exchange.h"
#include "server/jwt_sign.h"

#define LINE_DEPTH 100u
#define TOKEN_SECONDS 300
#define IMPORT_DEVICE "migrate:v1"

struct import {
    const char *url;
    const char *secret_file;
    const char *path;
    bool json;
    struct remote remote;
    struct buf secret;
    struct buf token;
    struct buf body;
    struct buf answer;
    struct arena arena;
    int64_t n_users;
    int64_t n_documents;
    int64_t n_again; /* documents that an earlier run took in */
    int64_t n_refused;
};

static int refuse(struct import *import, int64_t line, const char *what)
{
    import->n_refused++;
    return output_fail(import->json, BQ_INVALID, "%s:%lld: %s", import->path, (long long)line,
                       what);
}

/* v1's {"value": .., "timestamp": ".."}, or a bare value; its timestamp in ms, else 1. */
static struct json_value unwrap(const struct json_value *entry, int64_t *out_ms)
{
    const struct json_value *value = json_get(entry, "value");
    const struct json_value *timestamp = json_get(entry, "timestamp");
    int64_t time_us;
    *out_ms = 1;
    if (!json_is(entry, JSON_OBJECT) || value == NULL || timestamp == NULL) {
        return *entry;
    }
    if (json_is(timestamp, JSON_STRING) && timestamp_parse(json_text(timestamp), &time_us) &&
        time_us >= 1000) {
        *out_ms = time_us / 1000;
    }
    return *value;
}

/* One key as the text of a seed. */
static struct slice make_seed(struct import *import, const struct json_member *member)
{
    struct buf text = BUF_INIT;
    struct buf out = BUF_INIT;
    struct proto_edit edit = {.key = json_text(&member->key)};
    char id[33];
    edit.edit = (struct merge_edit){.mode = MERGE_SEED, .base = -1, .was = json_absent()};
    edit.edit.now = unwrap(&member->value, &edit.op);
    json_print(&text, &edit.edit.now);
    struct hash128 hash = hash_text(buf_slice(&text), 0, 0);
    snprintf(id, sizeof id, "%016llx", (unsigned long long)(hash.low ^ hash.high));
    edit.id = slice_of(id);
    proto_edit_print(&out, &edit);
    bool failed = text.failed || out.failed;
    struct slice copy = failed ? SLICE_NONE : arena_copy(&import->arena, buf_slice(&out));
    buf_release(&text);
    buf_release(&out);
    return copy;
}

/* What became of the keys of a row. */
static int read_results(struct import *import, int64_t number)
{
    struct json_value value;
    struct proto_answer answer;
    int status = json_parse(&import->arena, buf_slice(&import->answer), LINE_DEPTH, &value, NULL);
    if (status == BQ_OK) {
        status = proto_answer_read(&import->arena, &value, &answer, NULL);
    }
    if (status != BQ_OK) {
        return refuse(import, number, "the answer is not one of this protocol");
    }
    int result = CLI_OK;
    for (uint32_t i = 0; i < answer.n_results; i++) {
        const struct proto_result *one = &answer.results[i];
        if (one->status == PROTO_REFUSED || one->code != BQ_OK) {
            result = refuse(import, number, bq_strerror(one->code));
        } else if (one->status == PROTO_REWOUND || one->status == PROTO_FORGOTTEN) {
            result = refuse(import, number,
                            "an earlier run took in another document under this timestamp");
        } else {
            import->n_documents += one->status != PROTO_DUPLICATE ? 1 : 0;
            import->n_again += one->status == PROTO_DUPLICATE ? 1 : 0;
        }
    }
    return result;
}

/* Keys from `first` on, as many as one exchange takes; *out_next is the first of the rest. */
static int send_keys(struct import *import, int64_t number, const struct json_value *data,
                     uint32_t first, uint32_t *out_next)
{
    struct slice edits[LIMIT_EDITS];
    struct proto_exchange request = {
        .device_id = SLICE(IMPORT_DEVICE), .limit = 1, .proto = 1};
    uint32_t n = 0;
    for (; n < LIMIT_EDITS && first + n < data->count; n++) {
        edits[n] = make_seed(import, &data->members[first + n]);
    }
    *out_next = first + n;
    buf_clear(&import->body);
    proto_exchange_print(&import->body, &request, edits, n);
    if (arena_failed(&import->arena) || import->body.failed) {
        return output_fail(import->json, BQ_NOMEM, "%s", bq_strerror(BQ_NOMEM));
    }
    int result = remote_call(&import->remote, "sync_exchange", buf_slice(&import->token),
                             buf_slice(&import->body), &import->answer);
    return result == CLI_OK ? read_results(import, number) : result;
}

/* One line of the file. Answers CLI_OK also when the row was refused and counted. */
static int take_row(struct import *import, int64_t number, struct slice text)
{
    struct json_value row;
    struct json_error error;
    struct uuid user;
    arena_reset(&import->arena);
    if (json_parse(&import->arena, text, LINE_DEPTH, &row, &error) != BQ_OK) {
        refuse(import, number, error.what);
        return CLI_OK;
    }
    const struct json_value *id = json_get(&row, "user_id");
    const struct json_value *data = json_get(&row, "data");
    if (!json_is(id, JSON_STRING) || !uuid_parse(json_text(id), &user) ||
        !json_is(data, JSON_OBJECT)) {
        refuse(import, number, "a row has a uuid in user_id and an object in data");
        return CLI_OK;
    }
    struct jwt_grant grant = {ROLE_AUTHENTICATED, &user, time(NULL), TOKEN_SECONDS};
    buf_clear(&import->token);
    if (jwt_sign(buf_slice(&import->secret), &grant, &import->token) != BQ_OK) {
        return output_fail(import->json, BQ_NOMEM, "%s", bq_strerror(BQ_NOMEM));
    }
    int result = CLI_OK;
    int64_t refused_before = import->n_refused;
    for (uint32_t next = 0; next < data->count && (result == CLI_OK || result == CLI_PROBLEM);) {
        result = send_keys(import, number, data, next, &next);
        import->n_refused += result == CLI_PROBLEM && import->n_refused == refused_before ? 1 : 0;
    }
    import->n_users += result == CLI_OK ? 1 : 0;
    return result == CLI_PROBLEM ? CLI_OK : result;
}

static int take_file(struct import *import, FILE *stream)
{
    struct stat info;
    struct progress progress;
    struct input_lines lines = {.stream = stream};
    struct slice text;
    int result = CLI_OK;
    int64_t number = 0;
    bool known = fstat(fileno(stream), &info) == 0 && S_ISREG(info.st_mode);
    uint64_t bytes = 0;
    progress_begin(&progress, "import", known ? (uint64_t)info.st_size : 0);
    while (result == CLI_OK && input_next_line(&lines, &text)) {
        bytes += text.len + 1;
        number++;
        if (text.len > 0) {
            result = take_row(import, number, text);
        }
        progress_set(&progress, known ? bytes : 0);
    }
    progress_end(&progress);
    buf_release(&lines.hold);
    return result;
}

static int tell(struct import *import)
{
    struct buf line = BUF_INIT;
    if (import->json) {
        output_begin(&line);
        output_int(&line, "users", import->n_users);
        output_int(&line, "documents", import->n_documents);
        output_int(&line, "again", import->n_again);
        output_int(&line, "refused", import->n_refused);
        output_close(&line);
    } else {
        buf_add_format(&line,
                       "%lld users: %lld documents taken in, %lld were there from an earlier run, "
                       "%lld refused",
                       (long long)import->n_users, (long long)import->n_documents,
                       (long long)import->n_again, (long long)import->n_refused);
    }
    int result = output_line(import->json, &line);
    buf_release(&line);
    return result == CLI_OK && import->n_refused > 0 ? CLI_PROBLEM : result;
}

static int run(struct import *import)
{
    char error[BQ_ERROR_TEXT] = "";
    bool is_stdin = strcmp(import->path, "-") == 0;
    int status = jwt_secret_load(import->secret_file, &import->secret, error, sizeof error);
    if (status != BQ_OK) {
        return output_fail(import->json, status, "%s", error);
    }
    FILE *stream = is_stdin ? stdin : fopen(import->path, "re");
    if (stream == NULL) {
        return output_fail(import->json, BQ_NOT_FOUND, "%s cannot be read (%s); check the path",
                           import->path, strerror(errno));
    }
    int result = remote_open(&import->remote, import->url, import->json);
    if (result == CLI_OK) {
        result = take_file(import, stream);
        remote_close(&import->remote);
    }
    if (!is_stdin) {
        fclose(stream);
    }
    return result == CLI_OK ? tell(import) : result;
}

int cmd_import(int argc, char **argv)
{
    struct import import = {.url = NULL};
    int n;
    const struct option_spec options[] = {
        OPTION_TEXT("url", "URL", &import.url, "the server"),
        OPTION_TEXT("jwt-secret-file", "FILE", &import.secret_file,
                    "the server's secret: each row goes in with a token for its user"),
        OPTION_FLAG("json", &import.json, "results as one JSON value a line"),
    };
    const struct command_line line = {
        "import", "FILE|-",
        "Takes rows of v1's table user_sync_data, JSON objects one a line with user_id and data,\n"
        "into a server, as seeds: what is there already wins as the policies say. A second run\n"
        "is answered by the receipts of the first and changes nothing.\n",
        options, OPTION_COUNT(options), 1, 1};
    int done = options_parse(&line, argc, argv, &n);
    if (done != OPTIONS_GO) {
        return done;
    }
    if (import.url == NULL || import.secret_file == NULL) {
        fputs("bqsync: import: --url and --jwt-secret-file are needed\n", stderr);
        return CLI_USAGE;
    }
    import.path = argv[0];
    arena_init(&import.arena);
    int result = run(&import);
    arena_release(&import.arena);
    buf_release(&import.secret);
    buf_release(&import.token);
    buf_release(&import.body);
    buf_release(&import.answer);
    return result;
}
