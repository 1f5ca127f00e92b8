/* api_sync.c - flushing, pulling, and what the app knows of the network and of its own life. */
#include "client/await.h"

#include "base/status.h"

int bq_flush(struct bq *bq, unsigned timeout_ms)
{
    if (bq == NULL) {
        return BQ_INVALID;
    }
    handle_enter(bq);
    int status = await_flush(bq, handle_monotonic_ms() + timeout_ms);
    handle_leave(bq);
    return status;
}

int bq_pull(struct bq *bq, unsigned timeout_ms)
{
    if (bq == NULL) {
        return BQ_INVALID;
    }
    handle_enter(bq);
    int status = await_pull(bq, handle_monotonic_ms() + timeout_ms);
    handle_leave(bq);
    return status;
}

/* The handle remembers it for an engine that is loaded anew, so a step that fails is made up
 * for. */
static int tell(struct bq *bq, const struct engine_event *event)
{
    int status = bq->greeted ? handle_step(bq, event) : handle_greet(bq);
    /* No network from now on: what is under way does not count. */
    if (status == BQ_OK && (bq->paused || bq->online == 0)) {
        handle_give_up(bq);
    }
    bq->transport->wake(bq->transport);
    return status;
}

int bq_set_online(struct bq *bq, int online)
{
    struct engine_event event = {.type = ENGINE_ONLINE, .online = online};
    if (bq == NULL || online < -1 || online > 1) {
        return BQ_INVALID;
    }
    handle_enter(bq);
    bq->link.kicked |= online == 1 && bq->online != 1;
    bq->online = online;
    int status = tell(bq, &event);
    handle_leave(bq);
    return status;
}

int bq_pause(struct bq *bq)
{
    struct engine_event event = {.type = ENGINE_PAUSE};
    if (bq == NULL) {
        return BQ_INVALID;
    }
    handle_enter(bq);
    bq->paused = true;
    int status = tell(bq, &event);
    handle_leave(bq);
    return status;
}

int bq_resume(struct bq *bq)
{
    struct engine_event event = {.type = ENGINE_RESUME};
    if (bq == NULL) {
        return BQ_INVALID;
    }
    handle_enter(bq);
    bq->paused = false;
    bq->link.kicked = true;
    int status = tell(bq, &event);
    handle_leave(bq);
    return status;
}
