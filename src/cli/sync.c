/* sync.c - pull and flush with a progress bar. */
#include "cli/sync.h"

#include <stdio.h>
#include <time.h>

#include "cli/output.h"
#include "cli/progress.h"

#define SLICE_MS 100

static int64_t clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static unsigned left_ms(int64_t until_ms)
{
    int64_t left = until_ms - clock_ms();
    return left <= 0 ? 0 : left > 3600000 ? 3600000u : (unsigned)left;
}

/* Flushes in slices, so that the bar moves. */
static int flush(struct client *client, int64_t until_ms, unsigned pending)
{
    struct progress progress;
    progress_begin(&progress, "sending", pending);
    int status;
    for (;;) {
        unsigned left = left_ms(until_ms);
        status = bq_flush(client->bq, left < SLICE_MS ? left : SLICE_MS);
        struct bq_stats stats = {.size = sizeof stats};
        if (bq_stats(client->bq, &stats) == BQ_OK && stats.pending <= pending) {
            progress_set(&progress, pending - stats.pending);
        }
        if (status != BQ_TIMEOUT || left == 0) {
            break;
        }
    }
    progress_end(&progress);
    return status;
}

static int fail(struct client *client, int status, const struct bq_stats *stats)
{
    struct buf what = BUF_INIT;
    if (status == BQ_TIMEOUT && stats->last_status != BQ_OK) {
        status = stats->last_status;
    }
    buf_add_format(&what, "not synced with %.*s, %u of %u documents wait here safely",
                   SLICE_FMT(buf_slice(&client->url)), stats->pending, stats->documents);
    int result = client_fail(client, status, what.failed ? "not synced" : what.ptr);
    buf_release(&what);
    return result;
}

int sync_wait(struct client *client, int64_t wait_ms)
{
    int64_t until_ms = clock_ms() + wait_ms;
    struct bq_stats before = {.size = sizeof before};
    struct bq_stats after = {.size = sizeof after};
    int status = bq_stats(client->bq, &before);
    if (status == BQ_OK) {
        status = bq_pull(client->bq, left_ms(until_ms));
    }
    if (status == BQ_OK) {
        status = flush(client, until_ms, before.pending);
    }
    if (bq_stats(client->bq, &after) != BQ_OK) {
        return client_fail(client, BQ_IO, "the device's file cannot be read");
    }
    if (status != BQ_OK) {
        return fail(client, status, &after);
    }
    if (after.dead_letters > before.dead_letters) {
        return output_fail(client->json, BQ_INVALID,
                           "the server refused %u edits; `bqsync queue list --dir %s` shows why",
                           after.dead_letters - before.dead_letters, client_dir(client));
    }
    return CLI_OK;
}
