/* cmd_export.c - bqsync export: a whole store as JSON lines (docs/export-format.md); or a device's
 * unsent edits, as V2's app keeps them (export_v2.h). */
#include <stdio.h>

#include "base/status.h"
#include "cli/commands.h"
#include "cli/dump.h"
#include "cli/dump_file.h"
#include "cli/export_v2.h"
#include "cli/operator.h"
#include "cli/options.h"
#include "cli/output.h"

static int tell(bool json, const char *path, const struct dump_counts *counts)
{
    struct buf line = BUF_INIT;
    if (json) {
        output_begin(&line);
        output_text(&line, "file", slice_of(path));
        output_int(&line, "users", counts->n_users);
        output_int(&line, "documents", counts->n_documents);
        output_int(&line, "accounts", counts->n_accounts);
        output_close(&line);
    } else {
        buf_add_format(&line, "%s: %lld users, %lld documents, %lld accounts; it holds what a "
                              "backup holds, passwords' hashes among it: keep it as one",
                       path, (long long)counts->n_users, (long long)counts->n_documents,
                       (long long)counts->n_accounts);
    }
    int result = output_line(json, &line);
    buf_release(&line);
    return result;
}

static int export_store(struct operator *operator, const char *path)
{
    struct dump_counts counts;
    int result = operator_open(operator, false);
    if (result == CLI_OK) {
        result = dump_file(operator->json, operator->opened, NULL, path, &counts);
    }
    operator_close(operator);
    bool to_stdout = path[0] == '-' && path[1] == '\0';
    return result == CLI_OK && !to_stdout ? tell(operator->json, path, &counts) : result;
}

int cmd_export(int argc, char **argv)
{
    struct operator operator= {.store = NULL};
    struct export_v2 of_device = {.client = CLIENT_INIT};
    int n;
    const struct option_spec options[] = {
        OPTION_TEXT("store", "STORE", &operator.store, "the store: " STORE_PLACES),
        EXPORT_V2_OPTIONS(&of_device),
        OPTION_FLAG("json", &operator.json, "results as one JSON value a line"),
    };
    const struct command_line line = {
        "export", "[FILE|-]",
        "Writes everything that a store holds (documents, versions, receipts, devices, dead\n"
        "letters, policies, accounts) into a new file of JSON lines, as it is at one moment, also\n"
        "while its server runs. `bqsync import` makes a store of it, in SQLite or PostgreSQL.\n"
        "With --v2-queue: what a device holds and has not sent, as the entries of V2's\n"
        "SharedPreferences, for the way back to that app. With --hand-over the device sends\n"
        "nothing any more, and its next import-v2 begins anew with what that app has then.\n",
        options, OPTION_COUNT(options), 0, 1};
    int done = options_parse(&line, argc, argv, &n);
    if (done != OPTIONS_GO) {
        return done;
    }
    of_device.client.json = operator.json;
    if (of_device.wanted == (n == 1 || operator.store != NULL) ||
        (n == 1) != (operator.store != NULL)) {
        fputs("bqsync: export: either --store and FILE, or --v2-queue is needed\n", stderr);
        return CLI_USAGE;
    }
    return of_device.wanted ? export_v2_run(&of_device) : export_store(&operator, argv[0]);
}
