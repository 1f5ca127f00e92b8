/* cmd_inc.c - bqsync inc: adds a decimal amount to a number in a document. */
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/write.h"

int cmd_inc(int argc, char **argv)
{
    struct write write = WRITE_INIT;
    int n;
    const struct option_spec options[] = {WRITE_OPTIONS(&write)};
    const struct command_line line = {
        "inc", "KEY FIELD AMOUNT",
        "Adds AMOUNT (1, -2.5; at most 9 decimals) to the number at FIELD, a member's name or a\n"
        "JSON Pointer (/a/b). Absent counts 0. Where the policy of the field is sum, the amounts\n"
        "of all devices add up.\n",
        options, OPTION_COUNT(options), 3, 3};
    int done = options_parse(&line, argc, argv, &n);
    if (done != OPTIONS_GO) {
        return done;
    }
    unsigned flags;
    int result = write_open(&write, &flags);
    if (result != CLI_OK) {
        return write_leave(&write, result);
    }
    int status = bq_increment(write.client.bq, argv[0], argv[1], argv[2], flags);
    return write_done(&write, status, argv[0]);
}
