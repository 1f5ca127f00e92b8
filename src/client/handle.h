/* handle.h - struct bq: one lock around the engine, the file and the events; what the calls share.
 *
 * A call is: handle_enter(); handle_step() and looks at the engine; handle_leave(). The network is
 * outside the lock: a step leaves its request in `outbox`, the runner carries it (runner.h).
 *
 * Invariants, under the lock:
 *   - `engine` is what the file holds, or NULL where it could not be loaded: then every call tries
 *     again, and nothing of the old engine is used.
 *   - `run` names the engine: an answer to a request of an earlier one is dropped.
 *   - the token is in memory alone, and wiped before it is freed. */
#ifndef CLIENT_HANDLE_H
#define CLIENT_HANDLE_H

#include "base/log.h"
#include "client/disk.h"
#include "client/events.h"
#include "client/transport.h"
#include "core/live.h"

#include <pthread.h>

/* What the runner is to do at the transport. */
struct outbox {
    bool cancel;      /* give up what is under way, first */
    bool waiting;     /* a request to start */
    uint64_t request; /* the engine's number */
    const char *function;
    char *body; /* owned; NULL: there was no memory for it, the request fails */
    size_t len;
};

/* What is at the transport now. */
struct flight {
    bool active;
    uint64_t serial;
    uint64_t run;
    uint64_t request;
    const char *function;
    int64_t started_ms; /* of CLOCK_MONOTONIC */
};

/* Realtime (client/live.h). */
struct live_link {
    bool started; /* false: the transport has no socket, or none is wanted */
    struct live live;
    struct live_out out;
    uint64_t token_number; /* rises with each token that the handle is given */
    bool kicked;           /* the app gave a reason to try at once */
    bool reached;          /* an exchange came through after the network was away */
    bool doubt;            /* realtime refused the token: the next exchange judges it */
    uint64_t n_wakes;
};

struct bq {
    pthread_mutex_t mutex;
    pthread_cond_t changed; /* events, progress, the end of a turn */
    /* From bq_config; never changed. */
    unsigned flags;
    struct engine_config engine_config;
    bool has_url;
    bq_token_fn token_fn;
    void *token_context;
    bq_wakeup_fn wakeup_fn;
    void *wakeup_context;
    int64_t (*now_ms)(void);
    uint64_t (*seed)(void); /* NULL: the system's random bytes */
    struct log log;
    /* Under the lock. */
    struct disk *disk;
    struct engine *engine;
    uint64_t run;
    struct engine_actions actions;
    char user[DISK_USER_TEXT]; /* "" the guest */
    char *token;               /* NULL: none */
    char *device_info;         /* NULL: none */
    int online;
    bool paused;
    bool greeted;        /* the engine knows token, network, pause and device info */
    int token_status;    /* BQ_OK, or why the server does not take it */
    bool token_wanted;   /* token_fn is to be called */
    unsigned token_asks; /* in a row without a good exchange */
    int64_t token_at_ms; /* of CLOCK_MONOTONIC: not before */
    struct events events;
    bool tell_app; /* wakeup_fn is due */
    bool stirred;  /* waiters have something to look at */
    bool closing;
    unsigned n_waiters;
    uint64_t sent_before; /* by earlier engines of this handle */
    uint64_t exchanges_before;
    char error[BQ_ERROR_TEXT];
    char reason[BQ_ERROR_TEXT]; /* why the last request failed; "" where it did not */
    struct outbox outbox;
    /* Of whoever has the turn (runner.h). */
    bool turning;
    struct transport *transport;
    struct flight flight;
    struct live_link link;
    int64_t asleep_until_ms; /* while waiting at the transport; INT64_MIN otherwise */
    int64_t looked_at_ms;    /* the wall clock at the last turn */
    int64_t hold_until_ms;   /* of CLOCK_MONOTONIC: the disk failed, no own steps before */
    unsigned hold_fails;
    bool has_thread;
    pthread_t thread;
};

/* Test hooks; NULL members are the real thing. The transport is taken over. */
struct handle_hooks {
    struct transport *transport;
    const char *vfs;
    int64_t (*now_ms)(void);
    uint64_t (*seed)(void); /* of an engine; another one at each call */
};

/* bq_open() with hooks. */
int handle_open(const struct bq_config *config, const struct handle_hooks *hooks, struct bq **out);

/* Takes the lock; leaving wakes waiters and calls wakeup_fn where something happened. */
void handle_enter(struct bq *bq);
void handle_leave(struct bq *bq);

/* Remembers the sentence for bq_last_error() and answers status. */
int handle_fail(struct bq *bq, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Loads the engine where there is none. BQ_OK or why it cannot be. */
int handle_ready(struct bq *bq);

/* One event: the engine's step, its save, its effects. On any failure the engine and the file are
 * as before the call, or the engine is gone and loaded again from the file. */
int handle_step(struct bq *bq, const struct engine_event *event);

/* A step inside a transaction of the caller, on an engine of the caller's: the disk actions are
 * applied, requests are dropped, events go to *events. */
int handle_step_inside(struct bq *bq, struct engine *engine, const char *user,
                       const struct engine_event *event, struct events *events);

/* After a transaction on rows, not on the handle's engine, that came to nothing. */
void handle_undo(struct bq *bq, int status);

/* Tells the engine what it forgot by being loaded. */
int handle_greet(struct bq *bq);

/* A new engine of a user, with its rows. */
int handle_load(struct bq *bq, const char *user, struct engine **out);

/* Makes `engine` (of `user`) the handle's; the old one is freed and its request given up. */
void handle_adopt(struct bq *bq, struct engine *engine, const char *user);

/* After a failure of the disk: rolls back, and has the file recovered where that is called for. The
 * engine is dropped and loaded again. */
void handle_reload(struct bq *bq, int status);

/* Gives up the request that waits or is under way: its edits go again. */
void handle_give_up(struct bq *bq);

/* Puts a copy of the token in place of the old one. BQ_OK, BQ_NOMEM. */
int handle_keep_token(struct bq *bq, const char *token);
void handle_drop_token(struct bq *bq);

/* Puts an event before the app. */
void handle_tell(struct bq *bq, const struct engine_notify *notify);

/* The app is told that a token is needed, by event and, where there is one, by token_fn. */
void handle_want_token(struct bq *bq);

/* CLOCK_MONOTONIC in ms, and the wait until a moment of it; true when that has passed. */
int64_t handle_monotonic_ms(void);
bool handle_wait(struct bq *bq, int64_t until_ms);

/* Whether a struct of the caller says a size that holds at least `least` bytes. */
static inline bool handle_sized(size_t size, size_t least)
{
    return size >= least && size < 65536;
}

#endif
