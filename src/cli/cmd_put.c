/* cmd_put.c - bqsync put: replaces a whole document, or offers a seed. */
#include "cli/commands.h"
#include "cli/input.h"
#include "cli/output.h"
#include "cli/write.h"

int cmd_put(int argc, char **argv)
{
    struct write write = WRITE_INIT;
    bool seed = false;
    int n;
    const struct option_spec options[] = {
        WRITE_OPTIONS(&write),
        OPTION_FLAG("seed", &seed, "not made from what is there: that wins, as the policy says"),
    };
    const struct command_line line = {
        "put", "KEY JSON|@FILE|-",
        "Replaces the whole document: what the new one lacks is removed. JSON is the text itself,\n"
        "a file's (@FILE) or that of standard input (-). It is on disk when the command ends.\n",
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
        int status = seed ? bq_seed(write.client.bq, argv[0], json.ptr, json.len)
                          : bq_put(write.client.bq, argv[0], json.ptr, json.len, flags);
        result = write_done(&write, status, argv[0]);
    } else {
        result = write_leave(&write, result);
    }
    buf_release(&text);
    return result;
}
