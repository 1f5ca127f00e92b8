/* live.c - see live.h. */
#include "core/live.h"

#include "bqsync.h"

#include "base/plant.h"
#include "core/backoff.h"
#include "proto/live.h"

/* A try is never sooner than this after the one before, whoever kicks. */
#define FLOOR_MS 1000

/* From the next one on the pauses of backoff.h are longer than LIVE_SPREAD_MS. */
#define SPREAD_FAILURES 3u

#define RETRY_AFTER_LONGEST_MS (INT64_C(3600) * 1000)

void live_init(struct live *live, uint64_t seed)
{
    *live = (struct live){.phase = LIVE_OFF, .tried_ms = INT64_MIN / 2};
    rng_init(&live->rng, seed);
}

void live_out_init(struct live_out *out)
{
    *out = (struct live_out){.frame = BUF_INIT};
}

static void out_clear(struct live_out *out)
{
    struct buf frame = out->frame;
    *out = (struct live_out){.frame = frame};
    buf_clear(&out->frame);
}

static uint64_t next_ref(struct live *live)
{
    return ++live->last_ref;
}

/* ---- Losing ---------------------------------------------------------------------------------- */

/* Between a half of it and the whole. */
static int64_t about(struct live *live, int64_t pause_ms)
{
    return pause_ms / 2 + (int64_t)rng_below(&live->rng, (uint64_t)(pause_ms / 2) + 1);
}

static void leave(struct live *live, struct live_out *out, const char *why)
{
    if (live->phase == LIVE_UP) {
        out->down = true;
        out->why = why;
        live->failures = live->now_ms - live->up_ms >= LIVE_STABLE_MS ? 0 : live->failures;
    }
    out->close = live->phase > LIVE_RESTING;
    live->beat_ref = 0;
}

/* Between an eighth of it and the whole, as backoff.h. */
static int64_t spread(struct live *live)
{
    int64_t least_ms = LIVE_SPREAD_MS / 8;
    if (PLANTED(PAUSES_IN_STEP)) {
        return LIVE_SPREAD_MS;
    }
    return least_ms + (int64_t)rng_below(&live->rng, LIVE_SPREAD_MS - (uint64_t)least_ms + 1);
}

/* The next try after a loss, at least least_ms from now. */
static void rest(struct live *live, int64_t least_ms)
{
    bool was_up = live->phase == LIVE_UP;
    live->failures++;
    uint32_t failures =
        live->failures < LIVE_LONGEST_FAILURES ? live->failures : LIVE_LONGEST_FAILURES;
    int64_t pause_ms =
        was_up && failures <= SPREAD_FAILURES ? spread(live) : backoff_ms(&live->rng, failures);
    if (live->refusals >= LIVE_REFUSALS) {
        pause_ms = about(live, LIVE_BLOCKED_MS);
    }
    live->phase = LIVE_RESTING;
    live->at_ms = live->now_ms + (pause_ms > least_ms ? pause_ms : least_ms);
}

static void lose(struct live *live, enum live_loss loss, const char *why, struct live_out *out)
{
    bool was_up = live->phase == LIVE_UP;
    leave(live, out, why);
    /* What broke before it was up came to a server and got nowhere. */
    if (!was_up && loss != LIVE_UNREACHABLE && loss != LIVE_BUSY) {
        live->refusals++;
    }
    rest(live, 0);
}

/* An exchange finds out: where the token is refused there too, the app is asked for another as
 * always. Exchanges have some leeway with an expired token and realtime has none, so it is asked
 * where the token is taken there too; but once, for a server may be at odds with itself. */
static void lose_token(struct live *live, struct live_out *out)
{
    leave(live, out, "the server does not take the token for realtime");
    out->pull = true;
    out->doubt = !live->doubted;
    live->doubted = true;
    rest(live, about(live, LIVE_TOKEN_MS));
}

static void lose_socket(struct live *live, const struct live_event *event, struct live_out *out)
{
    int64_t pause_ms = event->retry_after_ms;
    if (live->phase <= LIVE_RESTING) {
        return;
    }
    lose(live, event->loss, "the connection was lost", out);
    if (pause_ms > 0) {
        pause_ms = pause_ms < RETRY_AFTER_LONGEST_MS ? pause_ms : RETRY_AFTER_LONGEST_MS;
        live->not_before_ms = live->now_ms + pause_ms;
        /* Not all who were told so come back at once. */
        pause_ms += (int64_t)rng_below(&live->rng, (uint64_t)pause_ms / 4 + 1);
        live->at_ms = live->at_ms > live->now_ms + pause_ms ? live->at_ms : live->now_ms + pause_ms;
    }
}

/* ---- Talking --------------------------------------------------------------------------------- */

static void join(struct live *live, const struct live_event *event, struct live_out *out)
{
    if (live->phase != LIVE_CONNECTING) {
        return;
    }
    live->phase = LIVE_JOINING;
    live->at_ms = live->now_ms + LIVE_ANSWER_MS;
    live->join_ref = next_ref(live);
    live->token_number = event->token_number;
    proto_live_join(&out->frame, live->user, event->token, live->join_ref);
}

static void tell_token(struct live *live, const struct live_event *event, struct live_out *out)
{
    if (live->phase < LIVE_SUBSCRIBING || live->token_number == event->token_number) {
        return;
    }
    live->token_number = event->token_number;
    proto_live_token(&out->frame, live->user, event->token, live->join_ref, next_ref(live));
}

static void begin_beats(struct live *live)
{
    live->beat_ref = 0;
    live->beat_ms = live->now_ms + LIVE_HEARTBEAT_MS;
}

static void subscribed(struct live *live, struct live_out *out)
{
    if (live->phase == LIVE_UP) {
        out->pull = true; /* the server began anew: what was between is not told */
        return;
    }
    live->phase = LIVE_UP;
    live->up_ms = live->now_ms;
    live->refusals = 0;
    live->doubted = false;
    out->up = true;
}

static void hear(struct live *live, const struct live_event *event,
                 const struct proto_live_frame *frame, struct live_out *out)
{
    switch (frame->type) {
    case PROTO_LIVE_OTHER:
        break;
    case PROTO_LIVE_JOINED:
        if (live->phase == LIVE_JOINING) {
            live->phase = LIVE_SUBSCRIBING;
            live->at_ms = live->now_ms + LIVE_SUBSCRIBE_MS;
            begin_beats(live);
            tell_token(live, event, out);
        }
        break;
    case PROTO_LIVE_HEARTBEAT:
        if (frame->ref == live->beat_ref) {
            begin_beats(live);
        }
        break;
    case PROTO_LIVE_SUBSCRIBED:
        if (live->phase >= LIVE_SUBSCRIBING) {
            subscribed(live, out);
        }
        break;
    case PROTO_LIVE_REFUSED:
    case PROTO_LIVE_FAILED:
        if (frame->about_token) {
            lose_token(live, out);
        } else {
            lose(live, LIVE_REFUSED, "the server cannot tell of changes", out);
        }
        break;
    case PROTO_LIVE_ENDED:
        lose(live, LIVE_DROPPED, "the server ended the channel", out);
        break;
    case PROTO_LIVE_MOVED:
        out->moved = live->phase >= LIVE_SUBSCRIBING;
        out->seq = frame->seq;
        break;
    }
}

static int take_text(struct live *live, const struct live_event *event, struct live_out *out)
{
    struct arena arena;
    struct proto_live_frame frame;
    if (live->phase < LIVE_JOINING) {
        return BQ_OK;
    }
    arena_init(&arena);
    int status = proto_live_read(&arena, event->text, live->user, live->join_ref, &frame);
    arena_release(&arena);
    if (status == BQ_OK) {
        hear(live, event, &frame, out);
    }
    return status;
}

/* ---- Time ------------------------------------------------------------------------------------ */

static void connect_now(struct live *live, struct live_out *out)
{
    live->phase = LIVE_CONNECTING;
    live->tried_ms = live->now_ms;
    live->at_ms = live->now_ms + LIVE_CONNECT_MS;
    live->last_ref = 0;
    out->open = true;
}

static void beat(struct live *live, struct live_out *out)
{
    if (live->beat_ref != 0) {
        lose(live, LIVE_DROPPED, "the server does not answer", out);
        return;
    }
    live->beat_ref = next_ref(live);
    live->beat_ms = live->now_ms + LIVE_ANSWER_MS;
    proto_live_heartbeat(&out->frame, live->beat_ref);
}

static void pass_time(struct live *live, struct live_out *out)
{
    bool due = live->at_ms <= live->now_ms;
    if (live->phase == LIVE_RESTING && due) {
        connect_now(live, out);
    } else if (live->phase > LIVE_RESTING && live->phase < LIVE_UP && due) {
        lose(live, LIVE_REFUSED, NULL, out);
    } else if (live->phase >= LIVE_SUBSCRIBING && live->beat_ms <= live->now_ms) {
        beat(live, out);
    }
}

/* Now, or when the server allows it. */
static int64_t at_once(const struct live *live)
{
    return live->now_ms > live->not_before_ms ? live->now_ms : live->not_before_ms;
}

/* As soon as the floor and the server allow. */
static int64_t soonest(const struct live *live)
{
    int64_t floor_ms = live->tried_ms + FLOOR_MS;
    return floor_ms > at_once(live) ? floor_ms : at_once(live);
}

static void kick(struct live *live)
{
    if (live->phase != LIVE_RESTING) {
        return;
    }
    int64_t at_ms = soonest(live);
    live->at_ms = at_ms < live->at_ms ? at_ms : live->at_ms;
    live->failures = 0;
}

static void shift(int64_t *at_ms, int64_t by_ms)
{
    *at_ms -= by_ms;
}

/* A clock that was set back takes the plans with it. */
static void follow_clock(struct live *live, int64_t now_ms)
{
    int64_t back_ms = live->now_ms - now_ms;
    live->now_ms = now_ms;
    if (back_ms > 0) {
        shift(&live->at_ms, back_ms);
        shift(&live->beat_ms, back_ms);
        shift(&live->up_ms, back_ms);
        shift(&live->tried_ms, live->tried_ms > INT64_MIN / 2 ? back_ms : 0);
        shift(&live->not_before_ms, back_ms);
    }
}

/* ---- The step -------------------------------------------------------------------------------- */

/* Starts anew for another user, who does not pay for the one before, and ends where a socket is not
 * wanted. */
static void follow_wish(struct live *live, const struct live_event *event, struct live_out *out)
{
    bool same = live->phase == LIVE_OFF || strcmp(live->user, event->user) == 0;
    if (live->phase != LIVE_OFF && (!event->wanted || !same)) {
        leave(live, out, NULL);
        live->phase = LIVE_OFF;
    }
    if (live->phase == LIVE_OFF && event->wanted) {
        bool again = strcmp(live->user, event->user) == 0;
        size_t len = strnlen(event->user, sizeof live->user - 1);
        memcpy(live->user, event->user, len);
        live->user[len] = '\0';
        live->phase = LIVE_RESTING;
        live->failures = 0;
        live->at_ms = again ? soonest(live) : at_once(live);
    }
}

static int handle(struct live *live, const struct live_event *event, struct live_out *out)
{
    switch (event->type) {
    case LIVE_TICK:
        break;
    case LIVE_KICK:
        kick(live);
        break;
    case LIVE_REACHED:
        /* A server that opens no socket does not open one because it answers requests again. */
        if (live->refusals < LIVE_REFUSALS) {
            kick(live);
        }
        break;
    case LIVE_OPENED:
        join(live, event, out);
        break;
    case LIVE_LOST:
        lose_socket(live, event, out);
        break;
    case LIVE_TEXT:
        return take_text(live, event, out);
    }
    return BQ_OK;
}

int live_step(struct live *live, int64_t now_ms, const struct live_event *event,
              struct live_out *out)
{
    out_clear(out);
    follow_clock(live, now_ms);
    follow_wish(live, event, out);
    int status = live->phase == LIVE_OFF ? BQ_OK : handle(live, event, out);
    if (out->frame.len == 0 && !out->close && live->phase != LIVE_OFF) {
        tell_token(live, event, out);
    }
    if (out->frame.len == 0 && !out->close) {
        pass_time(live, out);
    }
    if (status != BQ_OK || out->frame.failed) {
        lose(live, LIVE_BUSY, "memory is exhausted", out);
        buf_clear(&out->frame);
        return BQ_NOMEM;
    }
    return BQ_OK;
}

int64_t live_next_at_ms(const struct live *live)
{
    switch (live->phase) {
    case LIVE_OFF:
        return INT64_MAX;
    case LIVE_RESTING:
    case LIVE_CONNECTING:
    case LIVE_JOINING:
        return live->at_ms;
    case LIVE_SUBSCRIBING:
        return live->at_ms < live->beat_ms ? live->at_ms : live->beat_ms;
    case LIVE_UP:
        break;
    }
    return live->beat_ms;
}
