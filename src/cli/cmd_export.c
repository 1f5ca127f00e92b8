/* cmd_export.c - bqsync export: a device's unsent edits, as V2's app keeps them (export_v2.h). */
#include <stdio.h>

#include "cli/commands.h"
#include "cli/export_v2.h"
#include "cli/options.h"
#include "cli/output.h"

int cmd_export(int argc, char **argv)
{
    struct export_v2 of_device = {.client = CLIENT_INIT};
    int n;
    const struct option_spec options[] = {
        EXPORT_V2_OPTIONS(&of_device),
        OPTION_FLAG("json", &of_device.client.json, "results as one JSON value a line"),
    };
    const struct command_line line = {
        "export", "",
        "With --v2-queue: what a device holds and has not sent, as the entries of V2's\n"
        "SharedPreferences, for the way back to that app. With --hand-over the device sends\n"
        "nothing any more, and its next import-v2 begins anew with what that app has then.\n",
        options, OPTION_COUNT(options), 0, 0};
    int done = options_parse(&line, argc, argv, &n);
    if (done != OPTIONS_GO) {
        return done;
    }
    if (!of_device.wanted) {
        fputs("bqsync: export: --v2-queue is needed\n", stderr);
        return CLI_USAGE;
    }
    return export_v2_run(&of_device);
}
