/* cmd_backup.c - bqsync backup: a copy of a store's file while its server runs and writes. */
#include <stdio.h>

#include "base/status.h"
#include "cli/commands.h"
#include "cli/operator.h"
#include "cli/options.h"
#include "cli/output.h"
#include "store/sqlite_backup.h"

static int tell(bool json, const char *dest, const struct store_backup *backup)
{
    struct buf line = BUF_INIT;
    if (json) {
        output_begin(&line);
        output_text(&line, "file", slice_of(dest));
        output_int(&line, "bytes", backup->n_bytes);
        output_int(&line, "schema", backup->schema);
        output_text(&line, "epoch", slice_of(backup->epoch));
        output_int(&line, "users", backup->n_users);
        output_int(&line, "documents", backup->n_documents);
        output_close(&line);
    } else {
        buf_add_format(&line,
                       "%s: %lld users, %lld documents, %lld bytes; read back and compared", dest,
                       (long long)backup->n_users, (long long)backup->n_documents,
                       (long long)backup->n_bytes);
    }
    int result = output_line(json, &line);
    buf_release(&line);
    return result;
}

int cmd_backup(int argc, char **argv)
{
    const char *store = NULL;
    bool json = false;
    int n;
    const struct option_spec options[] = {
        OPTION_TEXT("store", "STORE", &store, "sqlite:PATH, the store's file"),
        OPTION_FLAG("json", &json, "results as one JSON value a line"),
    };
    const struct command_line line = {
        "backup", "DEST",
        "Copies the store into the new file DEST, as it is at one moment, while its server runs\n"
        "and writes. The copy is read back: every page, and the rows of every table. It appears\n"
        "under its name when it is whole and on the disk, or not at all. A store in PostgreSQL\n"
        "is backed up by PostgreSQL's own tools (pg_dump, pg_basebackup).\n",
        options, OPTION_COUNT(options), 1, 1};
    int done = options_parse(&line, argc, argv, &n);
    if (done != OPTIONS_GO) {
        return done;
    }
    if (store == NULL) {
        fputs("bqsync: backup: --store is needed\n", stderr);
        return CLI_USAGE;
    }
    const char *path = operator_sqlite_path(store);
    if (path == NULL) {
        return CLI_USAGE;
    }
    struct store_backup backup;
    char error[1024] = "";
    int status = store_sqlite_backup(path, argv[0], &backup, error, sizeof error);
    return status == BQ_OK ? tell(json, argv[0], &backup)
                           : output_fail(json, status, "%s", error);
}
