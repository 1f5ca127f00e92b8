/* live.h - when the client holds a realtime socket, what it says on it, and when it tries again: a
 * pure step, like the engine's.
 *
 *     live_step(&live, now_ms, &event, &out);
 *
 * Phases: OFF (not wanted), RESTING (until the next try), CONNECTING, JOINING, SUBSCRIBING, UP.
 * Only in UP do events tell of changes; what happened before is pulled: `up` asks for that.
 *
 * Pauses between tries are those of backoff.h, with two differences, because a server that restarts
 * drops all its sockets at the same moment. The first try after a socket that was up is spread over
 * LIVE_SPREAD_MS: so those who come back do it evenly, where a second would be a storm and each
 * doubling a wave. And no pause is longer than LIVE_LONGEST_FAILURES make it (64 s).
 *
 * A server that cannot be reached is tried for ever; the app, a new token or an exchange that came
 * through end the pause. Where the server answers but
 * no socket comes of it LIVE_REFUSALS times in a row (a proxy that knows no WebSockets, a server
 * without realtime) a try is made every LIVE_BLOCKED_MS or so, and polling does its work.
 *
 * The token is not kept: each event brings the present one. */
#ifndef CORE_LIVE_H
#define CORE_LIVE_H

#include "base/buf.h"
#include "base/rng.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

#define LIVE_HEARTBEAT_MS 25000 /* the server cuts a connection that was silent for 60 s */
#define LIVE_ANSWER_MS 15000    /* a heartbeat or a join that is not answered by then is lost */
#define LIVE_CONNECT_MS 25000   /* from nothing to an open socket */
#define LIVE_SUBSCRIBE_MS 40000 /* a busy server may need several tries of its own */
#define LIVE_STABLE_MS 60000    /* up for so long: the next pause is a first one again */
#define LIVE_SPREAD_MS 5000     /* after the loss of a socket that was up */
#define LIVE_LONGEST_FAILURES 7u
#define LIVE_REFUSALS 3u
#define LIVE_BLOCKED_MS (INT64_C(30) * 60 * 1000)
#define LIVE_TOKEN_MS 30000 /* a token that is refused here alone */

enum live_phase {
    LIVE_OFF,
    LIVE_RESTING,
    LIVE_CONNECTING,
    LIVE_JOINING,
    LIVE_SUBSCRIBING,
    LIVE_UP
};

enum live_event_type {
    LIVE_TICK,
    LIVE_KICK,    /* the app says that a try is worth it: online, resumed, a new token */
    LIVE_REACHED, /* an exchange came through again after the network was away */
    LIVE_OPENED,  /* the socket is open */
    LIVE_LOST,    /* it is not, or not any more: loss, retry_after_ms */
    LIVE_TEXT     /* a frame came: text */
};

enum live_loss {
    LIVE_UNREACHABLE, /* no connection to the server or its proxy */
    LIVE_BUSY,        /* it asks to come later */
    LIVE_REFUSED,     /* it answered, and opened no socket */
    LIVE_DROPPED      /* the connection broke */
};

struct live_event {
    enum live_event_type type;
    /* With every event: whether a socket is wanted, for whom, and the present token with a number
     * that changes with it. */
    bool wanted;
    const char *user;
    const char *token;
    uint64_t token_number;
    enum live_loss loss;
    int64_t retry_after_ms; /* -1: none */
    struct slice text;
};

/* What is to be done, in this order. */
struct live_out {
    bool close; /* the socket, if there is one */
    bool open;
    struct buf frame; /* to be sent, where it is not empty; holds a token: wipe it */
    bool up;          /* changes are told from now on: pull, and poll rarely */
    bool down;        /* not any more: why */
    const char *why;  /* NULL: it is not wanted any more */
    bool pull;        /* something may have been missed, or an exchange has to judge the token */
    bool doubt; /* the server does not take the token: where an exchange does, ask all the same */
    bool moved; /* the feed moved to seq; 0: nobody knows where to */
    int64_t seq;
};

struct live {
    struct rng rng;
    enum live_phase phase;
    char user[37];
    uint64_t token_number; /* of the token that the server was told last */
    int64_t now_ms;
    int64_t at_ms; /* RESTING: the next try; later phases: given up by then */
    int64_t tried_ms;
    int64_t up_ms;
    int64_t beat_ms;   /* the next heartbeat, or when its answer is late */
    uint64_t beat_ref; /* not answered yet; 0: none */
    uint64_t join_ref;
    uint64_t last_ref;
    uint32_t failures;     /* in a row */
    uint32_t refusals;     /* in a row */
    bool doubted;          /* `doubt` was said since it was up last */
    int64_t not_before_ms; /* what the server asked for */
};

/* seed: from the system's random bytes. */
void live_init(struct live *live, uint64_t seed);

void live_out_init(struct live_out *out);

/* BQ_OK, or BQ_NOMEM: then the socket is to be closed as `out` says, and it is tried again. */
int live_step(struct live *live, int64_t now_ms, const struct live_event *event,
              struct live_out *out);

/* When the next LIVE_TICK is due; INT64_MAX: not before an event. */
int64_t live_next_at_ms(const struct live *live);

#endif
