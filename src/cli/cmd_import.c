/* cmd_import.c - bqsync import: a store of what `bqsync export` wrote (docs/export-format.md). Rows
 * of an older system come in with `bqsync migrate`. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/status.h"
#include "cli/commands.h"
#include "cli/dump.h"
#include "cli/operator.h"
#include "cli/options.h"
#include "cli/output.h"

static int tell(bool json, const char *store, const char *epoch, const struct dump_counts *counts)
{
    struct buf line = BUF_INIT;
    if (json) {
        output_begin(&line);
        output_text(&line, "store", slice_of(store));
        output_text(&line, "epoch", slice_of(epoch));
        output_int(&line, "users", counts->n_users);
        output_int(&line, "documents", counts->n_documents);
        output_int(&line, "accounts", counts->n_accounts);
        output_close(&line);
    } else {
        buf_add_format(&line, "%s: %lld users, %lld documents, %lld accounts, under epoch %s",
                       store, (long long)counts->n_users, (long long)counts->n_documents,
                       (long long)counts->n_accounts, epoch);
    }
    int result = output_line(json, &line);
    buf_release(&line);
    return result;
}

static int read_store(struct operator *operator, const char *path, FILE *stream)
{
    char epoch[OPERATOR_EPOCH_TEXT + 1];
    struct progress progress;
    struct dump_reader reader = {.stream = stream, .progress = &progress};
    int result = operator_make_epoch(operator->json, epoch);
    operator->create = true;
    if (result == CLI_OK) {
        result = operator_open(operator, true);
    }
    if (result != CLI_OK) {
        return result;
    }
    reader.store = operator->opened;
    progress_begin(&progress, "import", 0);
    int status = dump_read(&reader, epoch);
    progress_end(&progress);
    if (status == BQ_OK) {
        return tell(operator->json, operator_place(operator), epoch, &reader.counts);
    }
    const char *why = reader.error[0] == '\0' ? status_text(status) : reader.error;
    if (reader.line == 0) {
        return output_fail(operator->json, status, "%s: %s", operator_place(operator), why);
    }
    return output_fail(operator->json, status,
                       "%s:%lld: %s; the store is not whole: import into it again, or remove it",
                       path, (long long)reader.line, why);
}

int cmd_import(int argc, char **argv)
{
    struct operator operator= {.store = NULL};
    int n;
    const struct option_spec options[] = {
        OPTION_TEXT("store", "STORE", &operator.store,
                    STORE_PLACES "; a file is made where it is not there"),
        OPTION_FLAG("json", &operator.json, "results as one JSON value a line"),
    };
    const struct command_line line = {
        "import", "FILE|-",
        "Makes a store of what `bqsync export` wrote, under a new epoch: clients see it and bring\n"
        "what they know. The store has to be empty; an import that was stopped is gone on with by\n"
        "running it again. Rows of an older system come in with `bqsync migrate`.\n",
        options, OPTION_COUNT(options), 1, 1};
    int done = options_parse(&line, argc, argv, &n);
    if (done != OPTIONS_GO) {
        return done;
    }
    if (operator.store == NULL) {
        fputs("bqsync: import: --store is needed\n", stderr);
        return CLI_USAGE;
    }
    bool is_stdin = strcmp(argv[0], "-") == 0;
    FILE *stream = is_stdin ? stdin : fopen(argv[0], "re");
    if (stream == NULL) {
        return output_fail(operator.json, BQ_NOT_FOUND, "%s cannot be read (%s); check the path",
                           argv[0], strerror(errno));
    }
    int result = read_store(&operator, argv[0], stream);
    operator_close(&operator);
    if (!is_stdin) {
        fclose(stream);
    }
    return result;
}
