/* export_v2.c - see export_v2.h. */
#include "cli/export_v2.h"

#include <stdio.h>
#include <string.h>

#include "cli/output.h"

/* The flags of bq_export_v2(); false after a sentence. */
static bool read_flags(const struct export_v2 *export_, unsigned *out)
{
    const char *assume = export_->assume;
    *out = export_->hand_over ? BQ_V2_HAND_OVER : 0;
    if (assume != NULL && strcmp(assume, "sent") != 0 && strcmp(assume, "unsent") != 0) {
        fprintf(stderr, "bqsync: export: --assume is sent or unsent, not %s\n", assume);
        return false;
    }
    if (assume != NULL) {
        *out |= strcmp(assume, "sent") == 0 ? BQ_V2_ASSUME_SENT : BQ_V2_ASSUME_UNSENT;
    }
    if (export_->take_back && *out != 0) {
        fputs("bqsync: export: --take-back stands alone\n", stderr);
        return false;
    }
    *out = export_->take_back ? BQ_V2_TAKE_BACK : *out;
    return true;
}

static int run(struct export_v2 *export_, unsigned flags)
{
    struct client *client = &export_->client;
    struct bq_export_counts counts = {.size = sizeof counts};
    struct buf line = BUF_INIT;
    char *json = NULL;
    int status = bq_export_v2(client->bq, flags, &json, &counts);
    if (status != BQ_OK) {
        return client_fail(client, status, "nothing was exported");
    }
    if (json == NULL) {
        return CLI_OK;
    }
    if (counts.left > 0) {
        fprintf(stderr, "bqsync: export: %u removals or documents that are no objects stay here: "
                        "V2 cannot hold them\n", counts.left);
    }
    buf_add_text(&line, json);
    bq_free(json);
    int result = output_line(client->json, &line);
    buf_release(&line);
    return result;
}

int export_v2_run(struct export_v2 *export_)
{
    unsigned flags;
    if (!read_flags(export_, &flags)) {
        return CLI_USAGE;
    }
    int result = client_open(&export_->client, CLIENT_LOCAL);
    if (result == CLI_OK) {
        result = run(export_, flags);
    }
    client_close(&export_->client);
    return result;
}
