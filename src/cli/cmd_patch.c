/* cmd_patch.c - bqsync patch: changes only the members that it names. */
#include "cli/commands.h"
#include "cli/input.h"
#include "cli/output.h"
#include "cli/write.h"

int cmd_patch(int argc, char **argv)
{
    struct write write = WRITE_INIT;
    int n;
    const struct option_spec options[] = {WRITE_OPTIONS(&write)};
    const struct command_line line = {
        "patch", "KEY JSON|@FILE|-",
        "Applies a merge patch (RFC 7396): members that it names are changed, null removes one,\n"
        "the others stay. An absent document counts as {}.\n",
        options, OPTION_COUNT(options), 2, 2};
    int done = options_parse(&line, argc, argv, &n);
    if (done != OPTIONS_GO) {
        return done;
    }
    struct buf text = BUF_INIT;
    unsigned flags;
    int result = output_exit(input_argument(write.client.json, argv[1], &text));
    if (result == CLI_OK) {
        result = write_open(&write, &flags);
    }
    if (result == CLI_OK) {
        struct slice json = buf_slice(&text);
        int status = bq_patch(write.client.bq, argv[0], json.ptr, json.len, flags);
        result = write_done(&write, status, argv[0]);
    } else {
        result = write_leave(&write, result);
    }
    buf_release(&text);
    return result;
}
