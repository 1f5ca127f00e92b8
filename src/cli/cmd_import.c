/* cmd_import.c - bqsync import: rows of v1's user_sync_data, a JSON object a line, into a server.
 *
 *     {"user_id": "<uuid>", "data": {"<key>": {"value": ..., "timestamp": "..."}, ...}}
 *
 * Each row goes through atomic_sync_data as that user, which takes it as a seed: what is there
 * already wins as the policies say, so a second run changes nothing. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/uuid.h"
#include "bqsync.h"
#include "cli/commands.h"
#include "cli/remote.h"
#include "cli/input.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "server/jwt_sign.h"

#define LINE_DEPTH 100u
#define TOKEN_SECONDS 300

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
    int64_t n_refused;
};

static int refuse(struct import *import, int64_t line, const char *what)
{
    import->n_refused++;
    return output_fail(import->json, BQ_INVALID, "%s:%lld: %s", import->path, (long long)line,
                       what);
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
    buf_clear(&import->body);
    output_begin(&import->body);
    output_text(&import->body, "target_user_id", uuid_slice(&user));
    output_value(&import->body, "new_data", data);
    output_close(&import->body);
    int result = remote_call(&import->remote, "atomic_sync_data", buf_slice(&import->token),
                           buf_slice(&import->body), &import->answer);
    if (result == CLI_OK && !slice_is(buf_slice(&import->answer), "true")) {
        result = refuse(import, number, "the server did not take the row");
    } else if (result == CLI_OK) {
        import->n_users++;
        import->n_documents += data->count;
    } else if (result == CLI_PROBLEM) {
        import->n_refused++;
    }
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
        output_int(&line, "refused", import->n_refused);
        output_close(&line);
    } else {
        buf_add_format(&line, "%lld users with %lld documents taken in, %lld rows refused",
                       (long long)import->n_users, (long long)import->n_documents,
                       (long long)import->n_refused);
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
        "into a server through atomic_sync_data. What is there already wins as the policies say:\n"
        "a second run changes nothing.\n",
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
