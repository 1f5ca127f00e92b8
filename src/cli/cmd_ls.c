/* cmd_ls.c - bqsync ls: the documents with version, state and size. */
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/print.h"

int cmd_ls(int argc, char **argv)
{
    struct client client = CLIENT_INIT;
    struct bq_documents documents = {.size = sizeof documents};
    struct buf row = BUF_INIT;
    int n;
    const struct option_spec options[] = {CLIENT_OPTIONS(&client)};
    const struct command_line line = {
        "ls", "",
        "Lists the documents: key, the server's version below it, state, whether edits wait,\n"
        "size in bytes, time of the last change.\n",
        options, OPTION_COUNT(options), 0, 0};
    int done = options_parse(&line, argc, argv, &n);
    if (done != OPTIONS_GO) {
        return done;
    }
    int result = client_open(&client, CLIENT_LOCAL);
    if (result == CLI_OK) {
        int status = bq_list(client.bq, &documents);
        result = status == BQ_OK ? CLI_OK
                                 : client_fail(&client, status, "the documents cannot be listed");
    }
    for (size_t i = 0; i < documents.n && result == CLI_OK; i++) {
        if (client.json) {
            print_document(&row, &documents.items[i], false);
        } else {
            print_document_row(&row, &documents.items[i]);
        }
        result = output_line(client.json, &row);
    }
    bq_documents_release(&documents);
    buf_release(&row);
    client_close(&client);
    return result;
}
