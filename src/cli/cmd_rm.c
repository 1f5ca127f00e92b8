/* cmd_rm.c - bqsync rm: removes a document on all devices. */
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/write.h"

int cmd_rm(int argc, char **argv)
{
    struct write write = WRITE_INIT;
    int n;
    const struct option_spec options[] = {WRITE_OPTIONS(&write)};
    const struct command_line line = {
        "rm", "KEY",
        "Removes the document on all devices, unless another device changes it meanwhile: an\n"
        "update beats a removal.\n",
        options, OPTION_COUNT(options), 1, 1};
    int done = options_parse(&line, argc, argv, &n);
    if (done != OPTIONS_GO) {
        return done;
    }
    unsigned flags;
    int result = write_open(&write, &flags);
    if (result != CLI_OK) {
        return write_leave(&write, result);
    }
    return write_done(&write, bq_remove(write.client.bq, argv[0], flags), argv[0]);
}
