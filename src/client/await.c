/* await.c - see await.h. Waiting goes by the counts of engine_progress(); an engine that was loaded
 * anew meanwhile counts from the start, so the wait begins again with it. */
#include "client/await.h"

#include "base/status.h"

/* What stands in the way of any exchange, now and until the app does something. */
static int find_obstacle(struct bq *bq)
{
    if (bq->closing) {
        return BQ_CLOSED;
    }
    if (bq->user[0] == '\0') {
        return handle_fail(bq, BQ_SIGNED_OUT, "%s", status_text(BQ_SIGNED_OUT));
    }
    if (!bq->has_url) {
        return handle_fail(bq, BQ_NETWORK, "no url was given at bq_open, so nothing is sent");
    }
    int status = bq->token == NULL ? BQ_AUTH : bq->token_status;
    /* An app that can be asked for a token may give a better one. */
    if (status == BQ_OK || (status != BQ_USER_ERASED && bq->token_fn != NULL)) {
        return BQ_OK;
    }
    return handle_fail(bq, status, "%s", status_text(status));
}

/* One wait: a turn of our own with BQ_MANUAL, otherwise for the runner. True when time is up. */
static bool wait_a_little(struct bq *bq, int64_t until_ms)
{
    if ((bq->flags & BQ_MANUAL) == 0) {
        return handle_wait(bq, until_ms);
    }
    (void)runner_turn(bq, until_ms);
    return handle_monotonic_ms() >= until_ms;
}

static int begin(struct bq *bq, enum engine_event_type type, struct engine_progress *before)
{
    struct engine_event event = {.type = type};
    int status = handle_greet(bq);
    if (status == BQ_OK) {
        engine_progress(bq->engine, before);
        status = handle_step(bq, &event);
    }
    return status;
}

static int late(struct bq *bq)
{
    int status = bq->token == NULL ? BQ_AUTH : bq->token_status;
    if (status != BQ_OK) {
        return handle_fail(bq, status, "%s", status_text(status));
    }
    return handle_fail(bq, BQ_TIMEOUT, "%s", status_text(BQ_TIMEOUT));
}

int await_flush(struct bq *bq, int64_t until_ms)
{
    struct engine_progress before, now;
    int status = find_obstacle(bq);
    if (status == BQ_OK) {
        status = begin(bq, ENGINE_FLUSH, &before);
    }
    uint64_t run = bq->run;
    while (status == BQ_OK) {
        if (bq->run != run || bq->engine == NULL) {
            status = begin(bq, ENGINE_FLUSH, &before);
            run = bq->run;
            continue;
        }
        engine_progress(bq->engine, &now);
        if (now.settled >= before.written) {
            return BQ_OK;
        }
        bool up = wait_a_little(bq, until_ms);
        status = find_obstacle(bq);
        if (status == BQ_OK && up) {
            return late(bq);
        }
    }
    return status;
}

/* What a pull that failed says. */
static int pull_failure(int last_status)
{
    switch (last_status) {
    case BQ_TIMEOUT:
    case BQ_OK:
        return BQ_NETWORK;
    case BQ_PROTOCOL:
        return BQ_SERVER;
    default:
        return last_status;
    }
}

int await_pull(struct bq *bq, int64_t until_ms)
{
    struct engine_progress before, now;
    int status = find_obstacle(bq);
    if (status == BQ_OK) {
        status = begin(bq, ENGINE_PULL, &before);
    }
    uint64_t run = bq->run;
    while (status == BQ_OK) {
        if (bq->run != run || bq->engine == NULL) {
            status = begin(bq, ENGINE_PULL, &before);
            run = bq->run;
            continue;
        }
        engine_progress(bq->engine, &now);
        if (now.answered > before.begun) {
            return BQ_OK;
        }
        if (now.failed > before.begun && bq->token_status == BQ_OK) {
            status = pull_failure(now.last_status);
            return handle_fail(bq, status, "%s",
                               bq->reason[0] != '\0' ? bq->reason : status_text(status));
        }
        bool up = wait_a_little(bq, until_ms);
        status = find_obstacle(bq);
        if (status == BQ_OK && up) {
            return late(bq);
        }
    }
    return status;
}
