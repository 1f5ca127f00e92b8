/* live.c - see live.h. */
#include "client/live.h"

#include "base/mem.h"
#include "base/status.h"

static bool is_wanted(const struct bq *bq)
{
    return (bq->flags & BQ_NO_LIVE) == 0 && bq->transport->live_open != NULL && bq->has_url &&
           bq->user[0] != '\0' && bq->token != NULL && bq->token_status == BQ_OK && !bq->paused &&
           bq->online != 0 && !bq->closing;
}

bool live_link_is_up(const struct bq *bq)
{
    return bq->link.live.phase == LIVE_UP && strcmp(bq->link.live.user, bq->user) == 0;
}

/* ---- What is to be done ---------------------------------------------------------------------- */

/* A step that fails loads the engine anew, which pulls first thing and is told by handle_greet()
 * whether realtime is up. */
static void tell_engine(struct bq *bq, enum engine_event_type type, int online, int64_t seq)
{
    struct engine_event event = {.type = type, .online = online, .seq = seq};
    if (bq->engine != NULL && bq->greeted) {
        (void)handle_step(bq, &event);
    }
}

static void tell_app(struct bq *bq, enum bq_event_type type, int status, const char *text)
{
    struct engine_notify notify = {.type = type, .status = status, .text = slice_of(text)};
    handle_tell(bq, &notify);
}

static void tell(struct bq *bq, const struct live_out *out)
{
    if (out->down) {
        int status = out->why == NULL ? BQ_OK : BQ_NETWORK;
        tell_engine(bq, ENGINE_LIVE, 0, 0);
        tell_app(bq, BQ_EVENT_NOT_LIVE, status, out->why);
    }
    if (out->up) {
        tell_engine(bq, ENGINE_LIVE, 1, 0);
        tell_app(bq, BQ_EVENT_LIVE, BQ_OK, NULL);
    }
    bq->link.doubt |= out->doubt;
    if (out->pull) {
        tell_engine(bq, ENGINE_WAKE, 0, 0);
    }
    if (out->moved) {
        bq->link.n_wakes++;
        tell_engine(bq, ENGINE_WAKE, 0, out->seq);
    }
}

/* False: the socket could not do it. */
static bool act(struct bq *bq, struct live_out *out)
{
    bool good = true;
    if (out->close) {
        bq->transport->live_close(bq->transport);
    }
    if (out->open) {
        good = bq->transport->live_open(bq->transport, bq->token) == BQ_OK;
    }
    if (out->frame.len > 0) {
        good = bq->transport->live_send(bq->transport, buf_slice(&out->frame)) == BQ_OK;
    }
    if (out->frame.ptr != NULL) {
        explicit_bzero(out->frame.ptr, out->frame.size); /* it may hold a token */
    }
    return good;
}

static void step(struct bq *bq, struct live_event event)
{
    struct live_link *link = &bq->link;
    event.wanted = is_wanted(bq);
    event.user = bq->user;
    event.token = bq->token;
    event.token_number = link->token_number;
    (void)live_step(&link->live, bq->now_ms(), &event, &link->out);
    bool good = act(bq, &link->out);
    tell(bq, &link->out);
    if (!good && event.type != LIVE_LOST) {
        step(bq, (struct live_event){.type = LIVE_LOST, .loss = LIVE_BUSY, .retry_after_ms = -1});
    }
}

/* ---- The turn -------------------------------------------------------------------------------- */

void live_link_turn(struct bq *bq)
{
    struct live_link *link = &bq->link;
    if (!link->started) {
        return;
    }
    if (link->kicked || link->reached) {
        step(bq, (struct live_event){.type = link->kicked ? LIVE_KICK : LIVE_REACHED});
    }
    link->kicked = false;
    link->reached = false;
    step(bq, (struct live_event){.type = LIVE_TICK});
}

void live_link_take(struct bq *bq, const struct transport_answer *news)
{
    struct live_event event = {.retry_after_ms = -1};
    switch (news->news) {
    case TRANSPORT_ANSWER:
        return;
    case TRANSPORT_LIVE_OPEN:
        event.type = LIVE_OPENED;
        break;
    case TRANSPORT_LIVE_TEXT:
        event.type = LIVE_TEXT;
        event.text = news->body;
        break;
    case TRANSPORT_LIVE_LOST:
        event.type = LIVE_LOST;
        event.loss = news->loss;
        event.retry_after_ms = news->retry_after_ms;
        break;
    }
    step(bq, event);
}

int64_t live_link_next_ms(const struct bq *bq)
{
    bool changed = bq->link.kicked || bq->link.reached;
    return !bq->link.started ? INT64_MAX : changed ? INT64_MIN : live_next_at_ms(&bq->link.live);
}
