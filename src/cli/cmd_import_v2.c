/* cmd_import_v2.c - bqsync import-v2: an older app's SharedPreferences into a device. */
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/input.h"
#include "cli/options.h"
#include "cli/output.h"

static int tell(struct client *client, const struct bq_import_counts *counts)
{
    struct buf line = BUF_INIT;
    char why[BQ_ERROR_TEXT] = "";
    if (counts->skipped > 0) {
        bq_last_error(client->bq, why, sizeof why);
    }
    if (client->json) {
        output_begin(&line);
        output_int(&line, "documents", counts->documents);
        output_int(&line, "edits", counts->edits);
        output_int(&line, "again", counts->again);
        output_int(&line, "skipped", counts->skipped);
        if (why[0] != '\0') {
            output_text(&line, "why", slice_of(why));
        }
        output_close(&line);
    } else {
        buf_add_format(&line, "%u documents and %u unsent edits taken in, %u were there",
                       counts->documents, counts->edits, counts->again);
        buf_add_text(&line, why[0] != '\0' ? "; " : "");
        buf_add_text(&line, why);
    }
    int result = output_line(client->json, &line);
    buf_release(&line);
    return result;
}

static int take(struct client *client, struct slice text)
{
    struct bq_import_counts counts = {.size = sizeof counts};
    int status = bq_import_v2(client->bq, text.ptr, text.len, &counts);
    return status == BQ_OK ? tell(client, &counts)
                           : client_fail(client, status, "nothing was taken in");
}

int cmd_import_v2(int argc, char **argv)
{
    struct client client = CLIENT_INIT;
    int n;
    const struct option_spec options[] = {CLIENT_OPTIONS(&client)};
    const struct command_line line = {
        "import-v2", "FILE|-",
        "Takes what V2's app (or v1's) kept in SharedPreferences into the device, as one JSON\n"
        "object: local documents as seeds, the unsent queue as edits that go out first, each\n"
        "counted once. A second time changes nothing.\n",
        options, OPTION_COUNT(options), 1, 1};
    int done = options_parse(&line, argc, argv, &n);
    if (done != OPTIONS_GO) {
        return done;
    }
    struct buf text = BUF_INIT;
    int status = input_file(client.json, argv[0], &text);
    int result = status == BQ_OK ? client_open(&client, CLIENT_LOCAL) : output_exit(status);
    if (result == CLI_OK) {
        result = take(&client, buf_slice(&text));
    }
    client_close(&client);
    buf_release(&text);
    return result;
}
