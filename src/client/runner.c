/* runner.c - see runner.h. */
#include "client/runner.h"

#include "base/mem.h"
#include "base/status.h"
#include "client/client_log.h"
#include "client/live.h"
#include "core/backoff.h"

#include <signal.h>
#include <stdio.h>

/* A wait is never longer: the wall clock may jump, and a lost wake-up would be for ever. */
#define LONGEST_WAIT_MS 60000

/* The longest pause after failures of the disk. */
#define LONGEST_HOLD_MS 30000

/* With BQ_MANUAL, how often to look at a request under way, and at a socket. */
#define POLL_MS 20
#define POLL_LIVE_MS 100

/* ---- What is due ----------------------------------------------------------------------------- */

/* The pause after n things in a row went wrong; no jitter, this is one device's own disk or
 * token. */
static int64_t pause_ms(unsigned n, int64_t longest_ms)
{
    int64_t pause = BACKOFF_FIRST_MS;
    for (unsigned i = 1; i < n && pause < longest_ms; i++) {
        pause *= 2;
    }
    return pause < longest_ms ? pause : longest_ms;
}

/* An app that answers with a token that is refused again is asked less and less often. */
static void ask_for_token(struct bq *bq)
{
    if (!bq->token_wanted || handle_monotonic_ms() < bq->token_at_ms) {
        return;
    }
    bq->token_wanted = false;
    bq->token_asks++;
    bq->token_at_ms = handle_monotonic_ms() + pause_ms(bq->token_asks, BACKOFF_LONGEST_MS);
    handle_leave(bq);
    bq->token_fn(bq->token_context, bq);
    handle_enter(bq);
}

/* Own steps that fail at the disk are tried again, with pauses; the app's calls are not held up,
 * and the first of them that is saved ends the pause. */
static int hold(struct bq *bq, int status)
{
    if (status != BQ_OK) {
        bq->hold_fails++;
        bq->hold_until_ms = handle_monotonic_ms() + pause_ms(bq->hold_fails, LONGEST_HOLD_MS);
    }
    return status;
}

static int own_step(struct bq *bq, const struct engine_event *event)
{
    return hold(bq, handle_step(bq, event));
}

static int do_due(struct bq *bq)
{
    struct engine_event tick = {.type = ENGINE_TICK};
    if (handle_monotonic_ms() < bq->hold_until_ms) {
        return BQ_OK;
    }
    int status = handle_greet(bq);
    if (status != BQ_OK) {
        return hold(bq, status);
    }
    int64_t now_ms = bq->now_ms();
    /* A clock that was set back: the engine takes its plans along, else they would wait so long. */
    bool went_back = now_ms < bq->looked_at_ms;
    bq->looked_at_ms = now_ms;
    return went_back || engine_next_at_ms(bq->engine) <= now_ms ? own_step(bq, &tick) : BQ_OK;
}

static int fail_request(struct bq *bq)
{
    struct engine_event event = {
        .type = ENGINE_FAILED, .request = bq->outbox.request, .status = BQ_NETWORK};
    bq->outbox.waiting = false;
    mem_free(bq->outbox.body);
    bq->outbox.body = NULL;
    (void)handle_fail(bq, BQ_NOMEM, "%s", status_text(BQ_NOMEM));
    return own_step(bq, &event);
}

/* From the outbox to the transport. */
static int hand_over(struct bq *bq)
{
    struct outbox *box = &bq->outbox;
    if (box->cancel) {
        bq->transport->cancel(bq->transport);
        bq->flight.active = false;
        box->cancel = false;
    }
    if (!box->waiting) {
        return BQ_OK;
    }
    /* The engine starts one at a time; whatever is still there was given up. */
    if (bq->flight.active) {
        bq->transport->cancel(bq->transport);
        bq->flight.active = false;
    }
    if (box->body == NULL || bq->token == NULL) {
        return fail_request(bq);
    }
    struct transport_request request = {
        bq->flight.serial + 1, box->function, {box->body, box->len}, bq->token};
    if (bq->transport->start(bq->transport, &request) != BQ_OK) {
        return fail_request(bq);
    }
    bq->flight = (struct flight){true,          request.serial, bq->run, box->request,
                                 box->function, handle_monotonic_ms()};
    box->waiting = false;
    mem_free(box->body);
    box->body = NULL;
    return BQ_OK;
}

/* ---- What came ------------------------------------------------------------------------------- */

static int take_answer(struct bq *bq, const struct transport_answer *answer)
{
    bool known = bq->flight.active && bq->flight.serial == answer->serial;
    struct engine_event event = {.type = ENGINE_ANSWER,
                                 .request = bq->flight.request,
                                 .http_status = answer->http_status,
                                 .retry_after_ms = answer->retry_after_ms,
                                 .text = answer->body};
    if (!known) {
        return BQ_OK;
    }
    bq->flight.active = false;
    client_log_request(bq, &bq->flight, answer->status, answer->http_status);
    if (bq->flight.run != bq->run || bq->engine == NULL) {
        return BQ_OK;
    }
    bq->reason[0] = '\0';
    if (answer->status != BQ_OK) {
        event.type = ENGINE_FAILED;
        event.status = answer->status;
        (void)snprintf(bq->reason, sizeof bq->reason, "%s",
                       answer->error != NULL ? answer->error : status_text(answer->status));
    } else if (answer->http_status < 200 || answer->http_status > 299) {
        (void)snprintf(bq->reason, sizeof bq->reason, "the server answered with status %d",
                       answer->http_status);
    } else {
        bq->token_asks = 0;
        bq->token_at_ms = 0;
        if (bq->link.doubt) {
            bq->link.doubt = false;
            handle_want_token(bq);
        }
    }
    if (bq->reason[0] != '\0') {
        (void)handle_fail(bq, BQ_SERVER, "%s", bq->reason);
    }
    return own_step(bq, &event);
}

/* ---- The turn -------------------------------------------------------------------------------- */

/* Ms until the engine, the token or the disk is due; LONGEST_WAIT_MS at most. */
static int64_t due_in_ms(struct bq *bq)
{
    int64_t now_ms = handle_monotonic_ms();
    int64_t wait_ms = LONGEST_WAIT_MS;
    if (bq->token_wanted) {
        wait_ms = bq->token_at_ms - now_ms;
    }
    int64_t engine_ms = LONGEST_WAIT_MS;
    if (bq->engine == NULL || !bq->greeted) {
        engine_ms = 0;
    } else if (engine_next_at_ms(bq->engine) < INT64_MAX) {
        engine_ms = engine_next_at_ms(bq->engine) - bq->now_ms();
    }
    if (engine_ms < bq->hold_until_ms - now_ms) {
        engine_ms = bq->hold_until_ms - now_ms;
    }
    wait_ms = engine_ms < wait_ms ? engine_ms : wait_ms;
    int64_t live_at_ms = live_link_next_ms(bq);
    if (live_at_ms < bq->now_ms() + wait_ms) {
        wait_ms = live_at_ms > bq->now_ms() ? live_at_ms - bq->now_ms() : 0;
    }
    return wait_ms < 0 ? 0 : wait_ms < LONGEST_WAIT_MS ? wait_ms : LONGEST_WAIT_MS;
}

/* Waits at the transport without the lock. */
static int go_to_network(struct bq *bq, int64_t until_ms)
{
    struct transport_answer answer;
    int64_t wait_ms = due_in_ms(bq);
    int64_t left_ms = until_ms - handle_monotonic_ms();
    wait_ms = wait_ms < left_ms ? wait_ms : left_ms;
    if (wait_ms < 0 || bq->closing) {
        wait_ms = 0;
    }
    bq->asleep_until_ms = bq->now_ms() + wait_ms;
    handle_leave(bq);
    bool found = bq->transport->wait(bq->transport, wait_ms, &answer);
    handle_enter(bq);
    bq->asleep_until_ms = INT64_MIN;
    if (found && answer.news != TRANSPORT_ANSWER) {
        live_link_take(bq, &answer);
        return BQ_OK;
    }
    return found ? take_answer(bq, &answer) : BQ_OK;
}

static int turn(struct bq *bq, int64_t until_ms)
{
    ask_for_token(bq);
    int status = do_due(bq);
    live_link_turn(bq);
    int handed = hand_over(bq);
    int came = go_to_network(bq, until_ms);
    /* What an answer asks for leaves at once. */
    int after = hand_over(bq);
    status = status != BQ_OK ? status : handed != BQ_OK ? handed : came;
    return status != BQ_OK ? status : after;
}

int runner_turn(struct bq *bq, int64_t until_ms)
{
    while (bq->turning) {
        if (handle_wait(bq, until_ms)) {
            return BQ_OK;
        }
    }
    bq->turning = true;
    int status = bq->closing ? BQ_CLOSED : turn(bq, until_ms);
    bq->turning = false;
    bq->stirred = true;
    return status;
}

int64_t runner_next_ms(struct bq *bq)
{
    if (bq->outbox.waiting || bq->outbox.cancel || bq->engine == NULL) {
        return 0;
    }
    int64_t wait_ms = due_in_ms(bq);
    if (bq->flight.active && wait_ms > POLL_MS) {
        return POLL_MS;
    }
    if (bq->link.live.phase > LIVE_RESTING && wait_ms > POLL_LIVE_MS) {
        return POLL_LIVE_MS;
    }
    bool nothing = engine_next_at_ms(bq->engine) == INT64_MAX && !bq->token_wanted && bq->greeted &&
                   live_link_next_ms(bq) == INT64_MAX;
    return nothing ? -1 : wait_ms;
}

/* ---- The thread ------------------------------------------------------------------------------ */

static void *run(void *context)
{
    struct bq *bq = context;
    handle_enter(bq);
    while (!bq->closing) {
        (void)runner_turn(bq, handle_monotonic_ms() + LONGEST_WAIT_MS);
    }
    handle_leave(bq);
    return NULL;
}

int runner_start(struct bq *bq)
{
    sigset_t all, before;
    /* The app's signal handlers run on the app's threads. */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&bq->thread, NULL, run, bq);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed != 0) {
        return handle_fail(bq, BQ_NOMEM, "a thread cannot be started; free some memory");
    }
    bq->has_thread = true;
    return BQ_OK;
}

void runner_stop(struct bq *bq)
{
    handle_enter(bq);
    bq->closing = true;
    bq->stirred = true;
    bq->transport->wake(bq->transport);
    handle_leave(bq);
    if (bq->has_thread) {
        (void)pthread_join(bq->thread, NULL);
    }
    handle_enter(bq);
    while (bq->n_waiters > 0 || bq->turning) {
        (void)pthread_cond_broadcast(&bq->changed);
        (void)pthread_cond_wait(&bq->changed, &bq->mutex);
    }
    handle_leave(bq);
}
