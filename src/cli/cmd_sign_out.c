/* cmd_sign_out.c - bqsync sign-out: sends first, parks or discards what the user has here. */
#include <stdio.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"

static int tell(struct client *client, const char *word, const struct bq_counts *counts)
{
    struct buf line = BUF_INIT;
    if (client->json) {
        output_begin(&line);
        output_text(&line, "signed_out", slice_of(word));
        output_int(&line, "documents", counts->documents);
        output_int(&line, "unsent", counts->unsent);
        output_int(&line, "dead_letters", counts->dead);
        output_close(&line);
    } else {
        buf_add_format(&line, "signed out (%s): %u documents, %u with unsent edits, %u refused",
                       word, counts->documents, counts->unsent, counts->dead);
    }
    int result = output_line(client->json, &line);
    buf_release(&line);
    return result;
}

int cmd_sign_out(int argc, char **argv)
{
    struct client client = CLIENT_INIT;
    bool drain = false;
    bool park = false;
    bool discard = false;
    int64_t wait_ms = 30000;
    int n;
    const struct option_spec options[] = {
        OPTION_FLAG("drain", &drain, "send everything first; fails when that takes too long"),
        OPTION_FLAG("park", &park, "keep documents and queue until this user signs in again"),
        OPTION_FLAG("discard", &discard, "remove the user's documents and queue from this device"),
        OPTION_DURATION("wait", "TIME", &wait_ms, "with --drain: at most so long (30s)"),
        CLIENT_OPTIONS(&client),
    };
    const struct command_line line = {
        "sign-out", "",
        "Signs the user out. One of --drain, --park and --discard says what becomes of the\n"
        "documents and of edits that the server does not have yet. Removes the stored token.\n",
        options, OPTION_COUNT(options), 0, 0};
    int done = options_parse(&line, argc, argv, &n);
    if (done != OPTIONS_GO) {
        return done;
    }
    if (drain + park + discard != 1) {
        fputs("bqsync: sign-out: say one of --drain, --park and --discard\n", stderr);
        return CLI_USAGE;
    }
    struct bq_counts counts = {.size = sizeof counts};
    int result = client_open(&client, drain ? CLIENT_ONLINE : CLIENT_LOCAL);
    if (result == CLI_OK) {
        int status = bq_sign_out(client.bq, drain ? BQ_DRAIN : park ? BQ_PARK : BQ_DISCARD,
                                 wait_ms > 3600000 ? 3600000u : (unsigned)wait_ms, &counts);
        result = status == BQ_OK ? client_forget_token(&client)
                                 : client_fail(&client, status, "still signed in");
    }
    if (result == CLI_OK) {
        result = tell(&client, drain ? "drain" : park ? "park" : "discard", &counts);
    }
    client_close(&client);
    return result;
}
