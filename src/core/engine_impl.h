/* engine_impl.h - what the files of the engine share; nobody else includes it.
 *
 *     engine.c         life, loading, the step itself
 *     engine_lane.c    a lane: tip, freezing, rebasing what waits
 *     engine_write.c   what the app writes; dead letters
 *     engine_send.c    what is due, and the request that carries it
 *     engine_answer.c  what an answer or its failure means
 *     engine_relist.c  a new epoch, a complete listing, a rewound file
 *     engine_carry.c   what an older app had queued
 *     engine_export.c  and the way back to it
 *     engine_look.c    views, states, statistics, timers
 *
 * Ownership: a text of a lane or an edit is a block of text_new(). One that is replaced goes to the
 * engine's trash, which the next step empties, so that actions may borrow it until then. A lane's
 * row is saved once, at the end of the step, from what it is then: `parts` collects what changed.
 * */
#ifndef CORE_ENGINE_IMPL_H
#define CORE_ENGINE_IMPL_H

#include "core/engine.h"

#include "merge/merge.h"

#define NEVER_MS INT64_MAX

/* A frozen or logged edit. */
struct edit_item {
    struct lane *lane;
    int64_t op;
    char id[PROTO_ID_BYTES + 1];
    struct slice text; /* owned */
    int64_t at_ms;
};

struct edit_list {
    struct edit_item *items;
    uint32_t n;
    uint32_t size;
};

struct lane {
    char key_text[LIMIT_KEY_BYTES + 1];
    struct slice key;
    /* On disk. */
    int64_t version;
    bool deleted;
    int64_t epoch;
    struct slice synced; /* owned texts; NULL ptr: absent */
    struct slice mine;
    struct slice seed;
    int64_t last_op;
    int64_t acked_op;
    int64_t modified_ms;
    int priority;
    bool refused;
    bool guest;
    struct edit_list frozen; /* by op */
    /* In memory alone. */
    unsigned parts; /* of the row, to be saved at the end of the step */
    bool dirty;     /* mine may differ from tip, or a seed waits */
    int64_t dirty_since_ms;
    int64_t due_at_ms;   /* end of the debounce */
    uint32_t fails;      /* failures in a row that reached a server */
    int64_t next_try_ms; /* this lane's own backoff */
    bool alone;          /* suspected of failing whole requests: sent by itself */
    bool in_flight;
    bool completed; /* acknowledged by the newest exchange */
    bool told_retrying;
    enum bq_state shown;    /* the state that the app was last told */
    uint64_t first_waiting; /* number of the first write in `mine` that is not frozen; 0 none */
    uint64_t first_frozen;  /* of the first in `frozen`; 0 none */
    bool named;             /* by the complete listing under way */
    uint32_t n_carried;     /* of its carried items that wait */
};

struct dead_item {
    int64_t dead_id;
    struct slice key; /* owned */
    int status;
    struct slice message; /* owned */
    struct slice edit;    /* owned */
    int64_t at_ms;
};

struct carried_item {
    int64_t number;
    struct lane *lane;
    struct slice id; /* owned */
    struct slice device;
    struct slice item;
    int64_t version;
    uint64_t first; /* number of the write that it counts as */
};

enum request_kind {
    REQUEST_NONE,
    REQUEST_EXCHANGE,
    REQUEST_POLICIES,
    REQUEST_REPORT,
    REQUEST_CARRIED
};

/* A complete listing under way: after a new epoch, or because the cursor is older than what the
 * server purged. Kept in memory until its last page, then adopted in one step; a crash in between
 * starts it anew, since the old epoch and cursor are still on disk. */
struct relist {
    bool active;
    bool new_epoch;
    struct slice epoch; /* owned; of the new epoch */
    int64_t cursor;     /* where the next page begins */
    struct arena arena; /* holds the rows */
    struct proto_change *rows;
    uint32_t n_rows;
    uint32_t size;
};

struct text_block;

struct engine {
    struct engine_config config;
    struct rng rng;
    struct engine_meta meta;
    bool meta_changed;
    struct lane **lanes; /* by slice_order(key) */
    uint32_t n_lanes;
    uint32_t lanes_size;
    size_t mine_bytes;
    struct edit_list log; /* acknowledged edits, oldest first */
    size_t log_bytes;
    struct dead_item *dead;
    uint32_t n_dead;
    uint32_t dead_size;
    struct carried_item *carried; /* by number */
    uint32_t n_carried;
    uint32_t carried_size;
    uint32_t carried_at;    /* those before it are done */
    uint32_t carried_fails; /* of the first that waits, in a row, that a server answered */
    struct arena policy_arena;
    const struct merge_policies *policies;
    struct text_block *trash;
    bool poisoned;
    char error[192];
    /* Sync. */
    int online;  /* the app's hint */
    int reached; /* 1, 0, -1: what the last try showed */
    bool has_token;
    bool paused;
    bool pull_wanted;
    bool live;        /* realtime tells of changes, so polling is only a safety net */
    int64_t woken_to; /* of the feed, heard while an exchange is under way; 0 nothing */
    bool flushing; /* debounces do not hold until all is settled */
    bool policies_wanted;
    int64_t policies_named;    /* the version that the newest answer named */
    uint32_t policies_fails;   /* requests for them in a row that failed at a server */
    int64_t policies_given_up; /* a version that could not be had: edits go on without it */
    bool token_renewed;        /* while the request under way carries the old one */
    bool alone_turn;           /* the next request is a suspected lane's */
    bool rewind_wanted;
    int64_t poll_at_ms;
    int64_t gate_at_ms; /* the backoff of all */
    uint32_t fails;     /* requests in a row that failed */
    int64_t report_at_ms;
    uint32_t report_fails;
    enum request_kind in_flight;
    uint64_t request;
    int64_t deadline_ms;
    uint64_t begun;
    uint64_t answered;
    uint64_t failed;
    uint64_t written;
    uint64_t n_sent;
    uint64_t n_exchanges;
    uint64_t report_changes;   /* rises with each thing that a report would tell */
    uint64_t reported_changes; /* that the report under way tells */
    int last_status;
    struct relist relist;
    /* Of the step under way. */
    int64_t now_ms;
    struct engine_actions *out;
};

/* ---- engine.c: texts and actions ---- */

/* A heap copy; SLICE_NONE when memory is exhausted (an empty text is never that). */
struct slice text_new(struct slice text);

/* To the trash; *text is SLICE_NONE afterwards. */
void text_drop(struct engine *engine, struct slice *text);

/* Replaces *text by a copy of value (NULL ptr: by nothing). BQ_OK, BQ_NOMEM (unchanged). */
int text_set(struct engine *engine, struct slice *text, struct slice value);

/* A new action at the end, zeroed; NULL when memory is exhausted (the arena remembers). */
struct engine_action *engine_act(struct engine *engine, enum engine_action_type type);

void engine_notify(struct engine *engine, enum bq_event_type type, struct slice key, int status,
                   const char *text);

/* Remembers the sentence and answers status. */
int engine_fail(struct engine *engine, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The lane of a key, or NULL; and one that is made where it is absent (NULL: memory). */
struct lane *engine_lane(const struct engine *engine, struct slice key);
struct lane *engine_lane_make(struct engine *engine, struct slice key);

/* Reads meta.policies (or the shipped ones) into engine->policies. */
int engine_read_policies(struct engine *engine);

/* The server has to be told of this device and its dead letters once more. */
void engine_want_report(struct engine *engine);

/* The next pull that nobody asks for. */
void engine_plan_poll(struct engine *engine);

/* The feed moved to seq; 0: nobody knows where to. */
void engine_wake(struct engine *engine, int64_t seq);

/* A fresh device id in meta. */
void engine_new_device(struct engine *engine);

/* ---- engine_lane.c ---- */

int edit_list_add(struct edit_list *list, const struct edit_item *item);
void edit_list_remove(struct edit_list *list, uint32_t i);

/* A stored text as a value; absent for SLICE_NONE. It was checked when it came in: an error is
 * BQ_NOMEM or BQ_CORRUPT. */
int lane_read_text(struct arena *arena, struct slice text, struct json_value *out);

/* synced with the frozen edits applied, and the waiting seed on top. Its version counts the edits
 * that were applied, so that it is never 0 where there is a document. */
int lane_tip(struct engine *engine, const struct lane *lane, struct merge_document *out);

const struct merge_policy *lane_policy(const struct engine *engine, const struct lane *lane);

/* Replaces what the app sees. */
int lane_set_mine(struct engine *engine, struct lane *lane, const struct json_value *value);

/* Freezes the seed or what waits. *out_frozen is false when nothing did. */
int lane_freeze(struct engine *engine, struct lane *lane, bool *out_frozen);

/* Between begin and end the caller changes synced, frozen and seed; end brings `mine` along: what
 * waited is applied to the new tip. `before`, if not NULL, is applied below what waited. */
struct lane_rebase {
    struct merge_document old_tip;
    struct json_value mine;
    struct merge_edit delta;
    bool changed;
};

int lane_rebase_begin(struct engine *engine, struct lane *lane, struct lane_rebase *out);
int lane_rebase_end(struct engine *engine, struct lane *lane, struct lane_rebase *rebase,
                    const struct merge_edit *before);

/* Sets synced. value absent: no document. */
int lane_set_synced(struct engine *engine, struct lane *lane, const struct json_value *value,
                    int64_t version, bool deleted);

/* frozen[i] was acknowledged: to the log. Refused: to the dead letters. Without fate: dropped. */
int lane_acknowledge(struct engine *engine, struct lane *lane, uint32_t i);
int lane_refuse(struct engine *engine, struct lane *lane, uint32_t i, int status,
                struct slice message);
void lane_drop_frozen(struct engine *engine, struct lane *lane, uint32_t i);

/* What waited, printed as a bare edit, becomes a dead letter. */
int lane_bury(struct engine *engine, struct lane *lane, const struct merge_edit *edit, int status);

bool lane_pending(const struct lane *lane);

/* ---- engine_write.c ---- */

int engine_write(struct engine *engine, const struct engine_event *event);

/* A seed waits to be sent, beside one that waits already; where the server is known to have a
 * document, nothing happens. */
int lane_keep_seed(struct engine *engine, struct lane *lane, const struct json_value *seed);

/* The same whatever the server is known to have. */
int lane_add_seed(struct engine *engine, struct lane *lane, const struct json_value *seed);
int engine_dead_add(struct engine *engine, struct lane *lane, int status, struct slice message,
                    struct slice edit);
int engine_dead_retry(struct engine *engine, int64_t dead_id);
int engine_dead_discard(struct engine *engine, int64_t dead_id);
void engine_trim_log(struct engine *engine);
void engine_log_remove(struct engine *engine, uint32_t i);

/* The text and the row go; the place in the list is the caller's to fill. */
void engine_log_forget(struct engine *engine, struct edit_item *item);

/* The server's policies are known now: guests' documents that waited for them become seeds without
 * sums; the sums are what `mine` has over them, and are added. */
int engine_take_guests(struct engine *engine);

/* ---- engine_send.c ---- */

/* Starts the request that is due, if any. */
int engine_send(struct engine *engine);
bool engine_may_sync(const struct engine *engine);
bool lane_may_freeze(const struct engine *engine, const struct lane *lane);

/* ---- engine_answer.c ---- */

int engine_answer(struct engine *engine, const struct engine_event *event);
int engine_no_answer(struct engine *engine, int status);

/* Adopts a row of the feed. */
int engine_adopt_row(struct engine *engine, const struct proto_change *row);

/* The request under way failed: it, or another, goes again after a pause. */
void engine_request_failed(struct engine *engine, int status, int64_t retry_after_ms,
                           bool suspects);
void engine_clear_flight(struct engine *engine);

/* ---- engine_carry.c ---- */

int engine_carry(struct engine *engine, const struct engine_event *event);

/* That a document of this id came in, which the older app had from this version. */
int engine_carry_mark(struct engine *engine, struct lane *lane, const struct engine_event *event);

/* Whether anything of the lane came from an older app. */
bool engine_carried_any(const struct engine *engine, const struct lane *lane);

/* The version that the older app would expect of a document of which nothing was heard since. */
int64_t engine_carried_version(const struct engine *engine, const struct lane *lane);

/* The first item that waits, or NULL; and its call. */
struct carried_item *engine_carried_first(struct engine *engine);
int engine_carried_body(struct engine *engine, const struct carried_item *item,
                        const char **out_function, struct buf *out);

/* An answer of 2xx, and one of 4xx, to the call of the first item. */
int engine_carried_answer(struct engine *engine, const struct engine_event *event);
int engine_carried_refused(struct engine *engine, int status, const struct engine_event *event,
                           struct slice why);
void engine_carried_release(struct engine *engine);

/* ---- engine_relist.c ---- */

int relist_page(struct engine *engine, const struct proto_answer *answer);
void relist_release(struct engine *engine);
int engine_rewind(struct engine *engine);
int engine_wipe(struct engine *engine);

/* ---- engine_look.c ---- */

enum bq_state lane_state(const struct engine *engine, const struct lane *lane);

/* Tells the app of the states that changed. */
void engine_tell_states(struct engine *engine);

#endif
