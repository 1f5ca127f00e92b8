/* cmd_status.c - bqsync status: who, where, what waits, since when. */
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"

static void print_json(struct client *client, const struct bq_stats *stats, const char *user,
                       const char *device, struct buf *out)
{
    struct buf time = BUF_INIT;
    output_time(&time, stats->last_exchange_ms);
    output_begin(out);
    output_text(out, "dir", slice_of(client_dir(client)));
    output_text(out, "url", buf_slice(&client->url));
    output_text(out, "user", slice_of(user));
    output_text(out, "device", slice_of(device));
    output_bool(out, "token", client->token.len > 0);
    output_int(out, "documents", stats->documents);
    output_int(out, "pending", stats->pending);
    output_int(out, "frozen", stats->frozen);
    output_int(out, "dead_letters", stats->dead_letters);
    output_int(out, "cursor", stats->cursor);
    output_bool(out, "live", stats->live == 1);
    output_text(out, "last_exchange", buf_slice(&time));
    output_close(out);
    buf_release(&time);
}

static void print_text(struct client *client, const struct bq_stats *stats, const char *user,
                       const char *device, struct buf *out)
{
    buf_add_text(out, "folder         ");
    buf_add_text(out, client_dir(client));
    buf_add_text(out, "\nserver         ");
    buf_add_text(out, client->url.len == 0 ? "none" : client->url.ptr);
    buf_add_format(out, "\nuser           %s\ndevice         %s\ntoken          %s\n",
                   user[0] == '\0' ? "nobody (guest)" : user, device,
                   client->token.len > 0 ? "stored" : "none");
    buf_add_format(out,
                   "documents      %u\npending        %u\nfrozen         %u\n"
                   "dead letters   %u\nlast exchange  ",
                   stats->documents, stats->pending, stats->frozen, stats->dead_letters);
    output_time(out, stats->last_exchange_ms);
    buf_add_text(out, stats->live == 1 ? "\nlive           yes"
                                       : "\nlive           no; `bqsync watch` listens");
}

int cmd_status(int argc, char **argv)
{
    struct client client = CLIENT_INIT;
    int n;
    const struct option_spec options[] = {CLIENT_OPTIONS(&client)};
    const struct command_line line = {
        "status",
        "",
        "Tells the signed-in user, this device's id, how many documents hold edits that wait,\n"
        "how many edits were refused, and when the last exchange was complete.\n",
        options,
        OPTION_COUNT(options),
        0,
        0};
    int done = options_parse(&line, argc, argv, &n);
    if (done != OPTIONS_GO) {
        return done;
    }
    struct buf out = BUF_INIT;
    struct bq_stats stats = {.size = sizeof stats};
    int result = client_open(&client, CLIENT_LOCAL);
    if (result == CLI_OK) {
        int status = bq_stats(client.bq, &stats);
        result = status == BQ_OK ? CLI_OK : client_fail(&client, status, "the file cannot be read");
    }
    if (result == CLI_OK) {
        char user[37];
        char device[40];
        bq_user(client.bq, user);
        bq_device_id(client.bq, device);
        if (client.json) {
            print_json(&client, &stats, user, device, &out);
        } else {
            print_text(&client, &stats, user, device, &out);
        }
        result = output_line(client.json, &out);
    }
    buf_release(&out);
    client_close(&client);
    return result;
}
