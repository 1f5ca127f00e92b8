/* cmd_sync.c - bqsync sync: one round with the server. */
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/sync.h"

static int tell(struct client *client)
{
    struct bq_stats stats = {.size = sizeof stats};
    int status = bq_stats(client->bq, &stats);
    if (status != BQ_OK) {
        return client_fail(client, status, "the device's file cannot be read");
    }
    struct buf line = BUF_INIT;
    if (client->json) {
        output_begin(&line);
        output_int(&line, "documents", stats.documents);
        output_int(&line, "sent", (int64_t)stats.sent);
        output_int(&line, "pending", stats.pending);
        output_int(&line, "dead_letters", stats.dead_letters);
        output_int(&line, "cursor", stats.cursor);
        output_close(&line);
    } else {
        buf_add_format(&line, "in sync: %u documents, %llu edits sent, %u pending, %u dead letters",
                       stats.documents, (unsigned long long)stats.sent, stats.pending,
                       stats.dead_letters);
    }
    int result = output_line(client->json, &line);
    buf_release(&line);
    return result;
}

int cmd_sync(int argc, char **argv)
{
    struct client client = CLIENT_INIT;
    int64_t wait_ms = 30000;
    int n;
    const struct option_spec options[] = {
        CLIENT_OPTIONS(&client),
        OPTION_DURATION("wait", "TIME", &wait_ms, "give up after so long (30s); nothing is lost"),
    };
    const struct command_line line = {
        "sync", "",
        "Fetches what is new, sends everything that waits, and ends when the server has\n"
        "acknowledged it. When that fails the edits stay queued.\n",
        options, OPTION_COUNT(options), 0, 0};
    int done = options_parse(&line, argc, argv, &n);
    if (done != OPTIONS_GO) {
        return done;
    }
    int result = client_open(&client, CLIENT_ONLINE);
    if (result == CLI_OK) {
        result = sync_wait(&client, wait_ms);
    }
    if (result == CLI_OK) {
        result = tell(&client);
    }
    client_close(&client);
    return result;
}
