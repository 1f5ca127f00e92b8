/* engine.h - the client's engine: every decision of libbqsync, as one pure step function.
 *
 *     status = engine_step(engine, now_ms, &event, &actions);
 *
 * Effects are data. The caller performs the actions in their order: all SAVE actions of one step in
 * one durable transaction first, and only when that is on disk the SEND and EVENT actions. So a
 * frozen edit is on disk before its first byte leaves, and an edit of the app before its call
 * returns.
 *
 * One engine serves one user (or the guest) of one file. Time is the caller's clock in ms since
 * 1970; only differences matter, and a jump backwards does no harm beyond a longer pause.
 * Randomness comes from the generator given at the start.
 *
 * Failure: when a step answers an error of the app's argument (BQ_INVALID, BQ_BAD_KEY, BQ_JSON_...,
 * BQ_TOO_..., BQ_NOT_FOUND, BQ_DELETED), nothing changed and there are no actions. On BQ_NOMEM, or
 * when the caller could not save, the engine is poisoned: release it, and load a new one from
 * disk, which always holds a whole step.
 *
 * The state of a key, its *lane* (docs/architecture.md, "The client"):
 *     synced  the server's document and version, as last heard
 *     frozen  edits whose fate is unknown, by op; normally at most one
 *     tip     synced with the frozen edits applied (derived)
 *     seed    a document waiting to be sent as a seed, or none
 *     mine    what the app sees. What waits is diff(tip with seed, mine). */
#ifndef CORE_ENGINE_H
#define CORE_ENGINE_H

#include "bqsync.h"

#include "base/arena.h"
#include "base/buf.h"
#include "base/limits.h"
#include "base/rng.h"
#include "proto/exchange.h"
#include "proto/rpc.h"

#define ENGINE_DEVICE_TEXT 40u

struct engine;

struct engine_config {
    size_t size; /* sizeof(struct engine_config) */
    struct limits limits;
    uint32_t debounce_ms;
    uint32_t poll_ms;
    uint32_t live_poll_ms; /* the same while realtime tells of changes; 0: as poll_ms */
    uint32_t timeout_ms; /* of one request: the engine gives it up by itself a little later */
    bool syncs;          /* there is a server and this is not the guest */
    uint64_t seed;       /* of jitter and ids: from the system's random bytes */
    char user[37];       /* uuid text, or "": for the calls of older apps alone */
};

/* ---- What is on disk ---- */

/* One per user. */
struct engine_meta {
    char device_id[ENGINE_DEVICE_TEXT];
    char replaces[ENGINE_DEVICE_TEXT]; /* the id before a rewind, until it was reported; or "" */
    struct slice epoch;                /* NULL ptr: none heard yet */
    int64_t cursor;
    int64_t policies_version;
    struct slice policies; /* JSON {pattern: policy}; NULL ptr: the shipped ones */
    bool reported;         /* the server knows this device and its dead letters */
    int64_t next_dead;     /* id for the next dead letter, from 1 */
    int64_t last_exchange_ms;
    struct slice device_info; /* JSON, as reported or to be reported; NULL ptr: none */
};

struct engine_lane_row {
    struct slice key;
    int64_t version;     /* of synced; 0: the server has none */
    bool deleted;        /* synced is a tombstone */
    int64_t epoch;       /* of that tombstone */
    struct slice synced; /* NULL ptr: absent */
    struct slice mine;   /* NULL ptr: absent */
    struct slice seed;   /* NULL ptr: none waits */
    int64_t last_op;     /* highest op used */
    int64_t acked_op;    /* last op that the server is known to hold */
    int64_t modified_ms;
    int priority; /* 0 low, 1 normal, 2 high, 3 critical */
    bool refused; /* the last edit became a dead letter */
    bool guest; /* the seed is a guest's document as it was: its sums are to be added */
};

/* A frozen edit, or one in the log of acknowledged edits. */
struct engine_edit_row {
    struct slice key;
    int64_t op;
    struct slice id;
    struct slice edit; /* wire JSON as it is sent, whole envelope */
    int64_t at_ms;     /* frozen: when it was frozen; log: when it was acknowledged */
};

struct engine_dead_row {
    int64_t dead_id;
    struct slice key;
    int status;
    struct slice message;
    struct slice edit;
    int64_t at_ms;
};

/* An edit that an older app had queued and that goes out as that app would have sent it, before
 * anything else (docs/phone.md). Its row stays when its fate is known, without
 * the item, so that a second import knows it. */
struct engine_carried_row {
    int64_t number; /* the order in which they go, from 1 */
    struct slice key;
    struct slice id;     /* the older app's, or ours for what had none */
    struct slice device; /* V2's device id; NULL ptr: an item of v1's queue */
    struct slice item;   /* V2: as its queue has it; v1: {"value", "timestamp"}; NULL ptr: done */
    int64_t version;     /* of the server's document, as the older app knew it */
};

/* ---- Events: what happened ---- */

enum engine_event_type {
    ENGINE_TICK,      /* time passed: do what is due */
    ENGINE_PUT,       /* write: key, text = JSON document */
    ENGINE_PATCH,     /* write: key, text = merge patch */
    ENGINE_INCREMENT, /* write: key, path, text = decimal amount */
    ENGINE_REMOVE,    /* write: key */
    ENGINE_SEED,      /* write: key, text = JSON document */
    ENGINE_GUEST,     /* write: key, text: a guest's document comes in (seed, but sums add) */
    ENGINE_LEGACY,    /* write: key, path = id, text, version: of an older app, by id once */
    ENGINE_CARRY,     /* key, path = id, device, text, version: engine_carried_row, by id once */
    ENGINE_TOKEN,     /* a token was given: auth is worth a try again */
    ENGINE_NO_TOKEN,  /* there is none (any more) */
    ENGINE_ONLINE,    /* online: 1, 0, -1 */
    ENGINE_PAUSE,
    ENGINE_RESUME,
    ENGINE_FLUSH,        /* send all now, whatever the debounce and the backoff */
    ENGINE_PULL,         /* exchange now */
    ENGINE_WAKE,         /* realtime says that the feed moved to `seq` (0: unknown) */
    ENGINE_LIVE,         /* online: 1 realtime is up from now on, 0 it is not */
    ENGINE_ANSWER,       /* request, http_status, retry_after_ms, text = body */
    ENGINE_FAILED,       /* request, status: BQ_NETWORK or BQ_TIMEOUT: no answer */
    ENGINE_DEAD_RETRY,   /* dead_id, 0 all */
    ENGINE_DEAD_DISCARD, /* dead_id, 0 all */
    ENGINE_DEVICE_INFO   /* text = JSON object */
};

struct engine_event {
    enum engine_event_type type;
    struct slice key;
    struct slice path;
    struct slice text;
    unsigned flags; /* enum bq_flags */
    int online;
    uint64_t request;
    int http_status;
    int64_t retry_after_ms; /* -1: the answer named none */
    int status;
    int64_t seq;
    int64_t dead_id;
    struct slice device;
    int64_t version;
};

/* ---- Actions: what is to be done ---- */

enum engine_action_type {
    /* Disk: in one transaction per step, durable before anything below. */
    ENGINE_SAVE_META,   /* meta */
    ENGINE_SAVE_LANE,   /* lane: insert or replace; parts tells which columns changed */
    ENGINE_DROP_LANE,   /* lane.key */
    ENGINE_ADD_FROZEN,  /* edit: insert or replace by (key, op) */
    ENGINE_DROP_FROZEN, /* edit.key, edit.op */
    ENGINE_ADD_LOG,     /* edit */
    ENGINE_DROP_LOG,    /* edit.key, edit.op */
    ENGINE_ADD_DEAD,    /* dead */
    ENGINE_DROP_DEAD,   /* dead.dead_id */
    ENGINE_PUT_CARRIED, /* carried: insert or replace by number */
    ENGINE_WIPE,        /* everything of this user */
    /* World. */
    ENGINE_SEND,   /* request, function, body: POST it; answer with ENGINE_ANSWER or _FAILED */
    ENGINE_CANCEL, /* request: its answer is not waited for any more */
    ENGINE_NOTIFY  /* notify: for the app */
};

enum engine_lane_parts {
    ENGINE_LANE_SYNCED = 1, /* version, deleted, epoch, synced */
    ENGINE_LANE_MINE = 2,   /* mine, modified_ms */
    ENGINE_LANE_REST = 4    /* everything else */
};

struct engine_notify {
    enum bq_event_type type;
    struct slice key;
    enum bq_state state;
    int status;
    struct slice text;
};

struct engine_action {
    enum engine_action_type type;
    unsigned parts;
    union {
        const struct engine_meta *meta;
        struct engine_lane_row lane;
        struct engine_edit_row edit;
        struct engine_dead_row dead;
        struct engine_carried_row carried;
        struct engine_notify notify;
        struct {
            uint64_t request;
            /* "sync_exchange", "sync_policies", "sync_report"; of an older app also
             * "atomic_sync_upsert", "atomic_sync_data" */
            const char *function;
            struct slice body;
        } send;
    };
};

/* Actions borrow from the engine and from `arena`: use them before the next step. */
struct engine_actions {
    struct arena arena;
    struct engine_action *items;
    uint32_t n;
    uint32_t size;
};

void engine_actions_init(struct engine_actions *actions);
void engine_actions_release(struct engine_actions *actions);

/* ---- Life ---- */

/* An engine with nothing in it. BQ_OK, BQ_NOMEM. */
int engine_new(const struct engine_config *config, struct engine **out);
void engine_free(struct engine *engine);

/* Loading, before the first step, in this order; everything is copied. A device id "" in meta: a
 * new one is made at the first step. Without engine_load_meta() the user is new to this file.
 * BQ_OK, BQ_NOMEM, BQ_CORRUPT (a row that the engine would not have written). */
int engine_load_meta(struct engine *engine, const struct engine_meta *meta);
int engine_load_lane(struct engine *engine, const struct engine_lane_row *row);
int engine_load_frozen(struct engine *engine, const struct engine_edit_row *row);
int engine_load_log(struct engine *engine, const struct engine_edit_row *row);
int engine_load_dead(struct engine *engine, const struct engine_dead_row *row);
int engine_load_carried(struct engine *engine, const struct engine_carried_row *row);

/* One event; actions are replaced. See "Failure" above. */
int engine_step(struct engine *engine, int64_t now_ms, const struct engine_event *event,
                struct engine_actions *actions);

/* A sentence about the last step that answered an error. */
const char *engine_error(const struct engine *engine);

/* When the next ENGINE_TICK is due, in the clock of now_ms; INT64_MAX: not before an event. */
int64_t engine_next_at_ms(const struct engine *engine);

/* ---- Looking ---- */

struct engine_view {
    struct slice key;
    struct slice mine; /* NULL ptr: absent (removed) */
    int64_t version;
    enum bq_state state;
    bool pending;
    int64_t modified_ms;
};

uint32_t engine_n_lanes(const struct engine *engine);

/* By key: shorter first, then by bytes. Borrows until the next step. */
void engine_lane_at(const struct engine *engine, uint32_t i, struct engine_view *out);

/* false: no such lane. */
bool engine_lane_find(const struct engine *engine, struct slice key, struct engine_view *out);

uint32_t engine_n_dead(const struct engine *engine);
void engine_dead_at(const struct engine *engine, uint32_t i, struct engine_dead_row *out);

const struct engine_meta *engine_meta(const struct engine *engine);

/* Whether an older app's item or document of this id was taken in before. */
bool engine_carried_known(const struct engine *engine, struct slice id);

/* What to do with the edits on their way, of which nobody knows whether they arrived. */
enum engine_doubt {
    ENGINE_DOUBT_REFUSE, /* BQ_BUSY where there are any */
    ENGINE_DOUBT_SENT,   /* as if they had: their sums are left out, never counted twice */
    ENGINE_DOUBT_UNSENT  /* as if they had not: all of it, sums too */
};

struct engine_export {
    uint32_t n_documents;
    uint32_t n_items;   /* in the queue */
    uint32_t n_left;    /* removals and documents that are no objects: V2 has no place for them */
};

/* Everything as V2's app keeps it, a JSON object of texts: sync_data_v2_<key>, sync_queue_v2,
 * sync_state_v2<user>, sync_device_id where it is known. Changes nothing; `scratch` is emptied.
 * BQ_OK, BQ_BUSY, BQ_NOMEM. */
int engine_export_v2(struct engine *engine, int64_t now_ms, enum engine_doubt doubt,
                     struct engine_actions *scratch, struct buf *out,
                     struct engine_export *out_counts);

/* Fills in all of *out but its size, signed_in and next_try_ms. */
void engine_stats(const struct engine *engine, struct bq_stats *out);

/* Nothing waits, nothing is frozen, nothing is under way; dead letters do not count. */
bool engine_quiet(const struct engine *engine);

/* For bq_flush() and bq_pull(): a count that rises with each write, the highest write of which
 * everything is acknowledged or refused, and counts of exchanges begun, answered and failed. */
struct engine_progress {
    uint64_t written;
    uint64_t settled;
    uint64_t begun;
    uint64_t answered; /* the `begun` number of the newest exchange that was answered */
    uint64_t failed;   /* the `begun` number of the newest exchange that failed */
    int last_status;
};

void engine_progress(const struct engine *engine, struct engine_progress *out);

#endif
