/* engine_answer.c - what an answer means, and what its absence does.
 *
 * An answer belongs to the request that asked: one that comes late, after its request was given up,
 * is dropped, and the edit goes again under its number. */
#include "core/engine_impl.h"

#include "base/plant.h"
#include "base/status.h"
#include "core/backoff.h"

/* Rows hold a document each, in an envelope; an operator may allow deeper ones than this library.
 * */
#define ANSWER_DEPTH 1100u

/* What a server may ask for with Retry-After. */
#define RETRY_AFTER_LONGEST_MS (INT64_C(3600) * 1000)

/* ---- Failures ---- */

/* After five failures that reached a server it goes on at the longest pause. */
static int64_t server_pause(struct engine *engine, uint32_t fails)
{
    return backoff_ms(&engine->rng, fails < BACKOFF_FAILURES ? fails : UINT32_MAX);
}

/* Lanes of a request that failed as a whole: unknown which of them is to blame. */
static void blame_lanes(struct engine *engine, int status, bool suspects)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < engine->n_lanes; i++) {
        n += engine->lanes[i]->in_flight ? 1 : 0;
    }
    for (uint32_t i = 0; i < engine->n_lanes; i++) {
        struct lane *lane = engine->lanes[i];
        /* A request that carried no edit held up all that wait. */
        if (!lane->in_flight && !(n == 0 && lane_pending(lane))) {
            continue;
        }
        lane->fails++;
        if (suspects && lane->in_flight) {
            lane->alone = true;
            if (n == 1) {
                lane->next_try_ms = engine->now_ms + server_pause(engine, lane->fails);
            }
        }
        if (lane->fails >= BACKOFF_FAILURES && !lane->told_retrying) {
            lane->told_retrying = true;
            engine_notify(engine, BQ_EVENT_RETRYING, lane->key, status, status_text(status));
        }
    }
}

void engine_clear_flight(struct engine *engine)
{
    for (uint32_t i = 0; i < engine->n_lanes; i++) {
        engine->lanes[i]->in_flight = false;
    }
    engine->in_flight = REQUEST_NONE;
}

static void set_reached(struct engine *engine, int reached, int status)
{
    if (engine->reached != reached) {
        engine->reached = reached;
        engine_notify(engine, reached == 1 ? BQ_EVENT_ONLINE : BQ_EVENT_OFFLINE, SLICE_NONE, status,
                      NULL);
    }
}

/* The next try of anything: by backoff, or when the server said so, whichever is later. A lane that
 * went alone waits by itself and does not hold the others. */
static void hold(struct engine *engine, int64_t retry_after_ms, bool reached, bool was_alone)
{
    engine->fails++;
    uint32_t fails = was_alone ? 1 : engine->fails;
    int64_t pause = reached ? server_pause(engine, fails) : backoff_ms(&engine->rng, fails);
    if (retry_after_ms > pause) {
        pause = retry_after_ms < RETRY_AFTER_LONGEST_MS ? retry_after_ms : RETRY_AFTER_LONGEST_MS;
    }
    engine->gate_at_ms = engine->now_ms + pause;
}

static bool one_lane_flies(const struct engine *engine)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < engine->n_lanes; i++) {
        n += engine->lanes[i]->in_flight ? 1 : 0;
    }
    return n == 1;
}

/* Policies that this server does not have, or that cannot be read, stop nothing: edits go on under
 * those that are known, and a newer version is asked for again. But a server that is busy or fails
 * just now is asked again: what waits, rebased under other policies, could undo what others
 * wrote. */
static void policies_failed(struct engine *engine, int status)
{
    engine->policies_fails++;
    bool hopeless =
        status == BQ_PROTOCOL || (status != BQ_BUSY && engine->policies_fails >= BACKOFF_FAILURES);
    if (hopeless) {
        engine->policies_fails = 0;
        engine->policies_wanted = false;
        engine->policies_given_up = engine->policies_named;
    }
}

void engine_request_failed(struct engine *engine, int status, int64_t retry_after_ms,
                           bool suspects)
{
    enum request_kind kind = engine->in_flight;
    bool reached = status != BQ_NETWORK && status != BQ_TIMEOUT;
    bool alone = suspects && kind == REQUEST_EXCHANGE && one_lane_flies(engine);
    engine->last_status = status;
    /* Being offline costs no retry. */
    if ((reached || PLANTED(OFFLINE_BURNS_RETRY)) && kind == REQUEST_EXCHANGE) {
        blame_lanes(engine, status, suspects);
    }
    set_reached(engine, reached ? 1 : 0, status);
    engine_clear_flight(engine);
    if (kind == REQUEST_REPORT) {
        engine->report_fails++;
        engine->report_at_ms = engine->now_ms + backoff_ms(&engine->rng, engine->report_fails);
        if (reached) {
            return; /* a report holds nothing else up */
        }
    }
    if (kind == REQUEST_POLICIES && reached) {
        policies_failed(engine, status);
    }
    engine->pull_wanted |= kind == REQUEST_EXCHANGE || kind == REQUEST_CARRIED;
    engine->failed = engine->begun;
    hold(engine, retry_after_ms, reached, alone);
}

int engine_no_answer(struct engine *engine, int status)
{
    if (engine->in_flight != REQUEST_NONE) {
        engine_request_failed(engine, status, -1, false);
    }
    return BQ_OK;
}

static void token_refused(struct engine *engine, int status)
{
    set_reached(engine, 1, status);
    if (PLANTED(AUTH_BURNS_RETRY)) {
        blame_lanes(engine, status, true);
    }
    engine_clear_flight(engine);
    engine->pull_wanted = true;
    if (engine->token_renewed) {
        return; /* it was the old token that was refused */
    }
    engine->last_status = status;
    engine->failed = engine->begun;
    engine->has_token = false;
    engine_notify(engine, BQ_EVENT_TOKEN_NEEDED, SLICE_NONE, status, status_text(status));
}

/* The "code" of an error object, if the body is one. */
static struct slice error_code(struct engine *engine, struct slice body)
{
    struct json_value value;
    if (json_parse(&engine->out->arena, body, ANSWER_DEPTH, &value, NULL) != BQ_OK) {
        return SLICE_NONE;
    }
    const struct json_value *code = json_get(&value, "code");
    return json_is(code, JSON_STRING) ? json_text(code) : SLICE_NONE;
}

/* A single edit that is over what the way to the server carries: it can never arrive. */
static int too_large(struct engine *engine)
{
    for (uint32_t i = 0; i < engine->n_lanes; i++) {
        struct lane *lane = engine->lanes[i];
        struct lane_rebase rebase;
        if (!lane->in_flight || lane->frozen.n == 0) {
            continue;
        }
        int status = lane_rebase_begin(engine, lane, &rebase);
        if (status == BQ_OK) {
            status = lane_refuse(engine, lane, 0, BQ_TOO_LARGE,
                                 SLICE("the server or a proxy refuses a body of this size"));
        }
        if (status == BQ_OK) {
            status = lane_rebase_end(engine, lane, &rebase, NULL);
        }
        if (status != BQ_OK) {
            return status;
        }
    }
    return BQ_OK;
}

static int http_failed(struct engine *engine, const struct engine_event *event)
{
    int http = event->http_status;
    bool exchange = engine->in_flight == REQUEST_EXCHANGE;
    if (http == 401) {
        token_refused(engine, BQ_AUTH);
        return BQ_OK;
    }
    if (http == 403) {
        if (slice_is(error_code(engine, event->text), status_code(BQ_USER_ERASED))) {
            return engine_wipe(engine);
        }
        token_refused(engine, BQ_FORBIDDEN);
        return BQ_OK;
    }
    if (http == 413 && exchange && one_lane_flies(engine)) {
        int status = too_large(engine);
        if (status != BQ_OK) {
            return status;
        }
        engine_clear_flight(engine);
        engine->pull_wanted = true;
        return BQ_OK;
    }
    if (http == 429 || http == 503) {
        engine_request_failed(engine, BQ_BUSY, event->retry_after_ms, false);
        return BQ_OK;
    }
    bool server = http >= 500;
    if (!server && engine->in_flight == REQUEST_CARRIED) {
        return engine_carried_refused(engine, http == 413 ? BQ_TOO_LARGE : BQ_PROTOCOL, event,
                                      SLICE("the server refuses the call of the older app"));
    }
    engine_request_failed(engine, server ? BQ_SERVER : BQ_PROTOCOL, event->retry_after_ms,
                          exchange);
    return BQ_OK;
}

/* ---- Results of edits ---- */

static uint32_t frozen_place(const struct lane *lane, int64_t op)
{
    uint32_t i = 0;
    while (i < lane->frozen.n && lane->frozen.items[i].op != op) {
        i++;
    }
    return i;
}

/* `applied`: the server has exactly what this device had, so nothing was sent back. True only while
 * synced is still what the edit was made on; otherwise the edit goes again, and comes back as a
 * duplicate with the document. */
static int adopt_applied(struct engine *engine, struct lane *lane, uint32_t i, int64_t version,
                         bool *out_adopted)
{
    struct arena *arena = &engine->out->arena;
    struct merge_document below = {json_absent(), lane->version, lane->deleted, lane->epoch};
    struct json_value wire;
    struct proto_edit edit = {0};
    struct proto_problem problem;
    struct merge_result result;
    *out_adopted = false;
    int status = lane_read_text(arena, lane->frozen.items[i].text, &wire);
    if (status == BQ_OK) {
        status = proto_edit_read(arena, &wire, &edit, &problem);
    }
    if (status == BQ_OK && !lane->deleted) {
        status = lane_read_text(arena, lane->synced, &below.value);
    }
    if (status != BQ_OK || i != 0 || edit.edit.base != lane->version) {
        return status;
    }
    status = merge_apply(arena, &below, &edit.edit, lane_policy(engine, lane), NULL, &result);
    if (status != BQ_OK) {
        return status == BQ_NOMEM ? status : BQ_OK;
    }
    *out_adopted = true;
    if (PLANTED(BASE_NOT_MOVED)) {
        return BQ_OK;
    }
    return lane_set_synced(engine, lane, &result.document.value, version, result.document.deleted);
}

/* Adopts the document that a result carries. Within an epoch versions never go back, but where a
 * tombstone was purged a new document begins at 1. */
static int adopt_data(struct engine *engine, struct lane *lane, const struct proto_result *result)
{
    bool again = lane->deleted && !result->deleted && result->version > 0;
    if (PLANTED(REFUSAL_WITHOUT_DOCUMENT) && result->status == PROTO_REFUSED) {
        return BQ_OK;
    }
    if (!result->has_data || (result->version < lane->version && !again)) {
        return BQ_OK;
    }
    return lane_set_synced(engine, lane, &result->data, result->version, result->deleted);
}

/* The edit of frozen[i] as it was frozen. */
static int frozen_edit(struct engine *engine, const struct lane *lane, uint32_t i,
                       struct merge_edit *out)
{
    struct json_value wire;
    struct proto_edit edit;
    struct proto_problem problem;
    int status = lane_read_text(&engine->out->arena, lane->frozen.items[i].text, &wire);
    if (status == BQ_OK) {
        status = proto_edit_read(&engine->out->arena, &wire, &edit, &problem);
    }
    if (status == BQ_OK) {
        *out = edit.edit;
    }
    return status;
}

/* The server has no receipt any more and cannot know whether it counted the edit: it goes on as a
 * new edit without its sums. *out_before is what is left of it. */
static int forget(struct engine *engine, struct lane *lane, uint32_t i,
                  struct merge_edit *out_before, bool *out_empty)
{
    struct merge_edit edit;
    int status = frozen_edit(engine, lane, i, &edit);
    if (status == BQ_OK) {
        status = merge_without_sums(&engine->out->arena, &edit, lane_policy(engine, lane),
                                    out_before, out_empty);
    }
    if (status == BQ_OK) {
        lane_drop_frozen(engine, lane, i);
        lane->acked_op = 0;
        lane->parts |= ENGINE_LANE_REST;
    }
    return status;
}

/* An update of a document that is gone: the server has its receipt, the app gets it back as a dead
 * letter, because nothing is dropped silently. */
static int keep_gone(struct engine *engine, struct lane *lane, uint32_t i,
                     const struct proto_result *result, bool *out_gone)
{
    struct merge_edit edit;
    *out_gone = false;
    if (result->status != PROTO_KEPT || !result->deleted) {
        return BQ_OK;
    }
    int status = frozen_edit(engine, lane, i, &edit);
    if (status == BQ_OK && !edit.deletes) {
        *out_gone = true;
        status = engine_dead_add(engine, lane, BQ_DELETED, slice_of(status_text(BQ_DELETED)),
                                 lane->frozen.items[i].text);
    }
    return status;
}

static int settle(struct engine *engine, struct lane *lane, uint32_t i,
                  const struct proto_result *result, struct merge_edit *before, bool *out_before)
{
    bool adopted = true;
    bool empty = true;
    bool gone = false;
    int status = BQ_OK;
    switch (result->status) {
    case PROTO_APPLIED:
        status = adopt_applied(engine, lane, i, result->version, &adopted);
        if (status != BQ_OK || !adopted) {
            return status;
        }
        return lane_acknowledge(engine, lane, i);
    case PROTO_MERGED:
    case PROTO_KEPT:
        status = keep_gone(engine, lane, i, result, &gone);
        if (status == BQ_OK) {
            status = adopt_data(engine, lane, result);
        }
        if (status == BQ_OK) {
            status = lane_acknowledge(engine, lane, i);
            lane->refused = gone;
        }
        return status;
    case PROTO_DUPLICATE:
    case PROTO_REFUSED:
        status = adopt_data(engine, lane, result);
        if (status != BQ_OK) {
            return status;
        }
        if (result->code == BQ_OK) {
            return lane_acknowledge(engine, lane, i);
        }
        if (status_retry(result->code) != RETRY_NEVER) {
            lane->fails++;
            lane->next_try_ms = engine->now_ms + server_pause(engine, lane->fails);
            return BQ_OK;
        }
        return lane_refuse(engine, lane, i, result->code,
                           result->message.ptr != NULL ? result->message
                                                       : slice_of(status_text(result->code)));
    case PROTO_FORGOTTEN:
        status = adopt_data(engine, lane, result);
        if (status == BQ_OK) {
            status = forget(engine, lane, i, before, &empty);
        }
        *out_before = status == BQ_OK && !empty;
        return status;
    case PROTO_REWOUND:
        engine->rewind_wanted = true;
        return BQ_OK;
    }
    return BQ_OK;
}

static int one_result(struct engine *engine, const struct proto_result *result)
{
    struct lane *lane = engine_lane(engine, result->key);
    struct lane_rebase rebase;
    struct merge_edit before;
    bool has_before = false;
    if (lane == NULL) {
        return BQ_OK;
    }
    uint32_t i = frozen_place(lane, result->op);
    if (i == lane->frozen.n || engine->rewind_wanted) {
        return BQ_OK;
    }
    int status = lane_rebase_begin(engine, lane, &rebase);
    if (status == BQ_OK) {
        status = settle(engine, lane, i, result, &before, &has_before);
    }
    if (status != BQ_OK || engine->rewind_wanted) {
        return status;
    }
    if (result->status != PROTO_FORGOTTEN && result->op > lane->acked_op &&
        frozen_place(lane, result->op) == lane->frozen.n) {
        lane->acked_op = result->op;
        lane->parts |= ENGINE_LANE_REST;
    }
    if (result->status == PROTO_MERGED) {
        engine_notify(engine, BQ_EVENT_CONFLICT, lane->key, BQ_OK, NULL);
    }
    return lane_rebase_end(engine, lane, &rebase, has_before ? &before : NULL);
}

/* ---- Rows of the feed ---- */

/* The server's receipt on this key does not fit what this file did: the file is a restored copy. */
static bool shows_rewind(const struct engine *engine, const struct lane *lane,
                         const struct proto_change *row)
{
    if (row->op == 0 || lane == NULL) {
        return row->op > 0;
    }
    if (row->op > lane->last_op) {
        return true;
    }
    for (uint32_t i = 0; i < lane->frozen.n; i++) {
        const struct edit_item *item = &lane->frozen.items[i];
        if (item->op == row->op) {
            return !slice_is(row->id, item->id);
        }
    }
    for (uint32_t i = 0; i < engine->log.n; i++) {
        const struct edit_item *item = &engine->log.items[i];
        if (item->lane == lane && item->op == row->op) {
            return !slice_is(row->id, item->id);
        }
    }
    return false;
}

/* Edits up to the receipt's are settled: their answer was lost. */
static int settle_by_receipt(struct engine *engine, struct lane *lane,
                             const struct proto_change *row)
{
    while (lane->frozen.n > 0 && lane->frozen.items[0].op <= row->op) {
        bool is_last = lane->frozen.items[0].op == row->op;
        int status =
            is_last && row->refused != BQ_OK
                ? lane_refuse(engine, lane, 0, row->refused, slice_of(status_text(row->refused)))
                : lane_acknowledge(engine, lane, 0);
        if (status != BQ_OK) {
            return status;
        }
    }
    if (row->op > lane->acked_op) {
        lane->acked_op = row->op;
        lane->parts |= ENGINE_LANE_REST;
    }
    return BQ_OK;
}

int engine_adopt_row(struct engine *engine, const struct proto_change *row)
{
    struct lane_rebase rebase;
    struct lane *lane = engine_lane(engine, row->key);
    if (shows_rewind(engine, lane, row)) {
        engine->rewind_wanted = true;
        return BQ_OK;
    }
    bool again = lane != NULL && lane->deleted && !row->deleted && row->version > 0;
    if (row->version <= (lane == NULL ? 0 : lane->version) && !again) {
        return BQ_OK; /* an own echo, or older than what is here, or no document */
    }
    lane = engine_lane_make(engine, row->key);
    if (lane == NULL) {
        return BQ_NOMEM;
    }
    int status = lane_rebase_begin(engine, lane, &rebase);
    if (status == BQ_OK) {
        status = settle_by_receipt(engine, lane, row);
    }
    if (status == BQ_OK) {
        status = lane_set_synced(engine, lane, &row->data, row->version, row->deleted);
    }
    return status == BQ_OK ? lane_rebase_end(engine, lane, &rebase, NULL) : status;
}

/* ---- Answers ---- */

static void exchange_done(struct engine *engine, bool more)
{
    engine->pull_wanted |= more;
    if (more || engine->relist.active) {
        return;
    }
    engine->answered = engine->begun;
    engine->n_exchanges++;
    engine_plan_poll(engine);
    engine->pull_wanted |= engine->woken_to > engine->meta.cursor;
    engine->woken_to = 0;
    engine->meta.last_exchange_ms = engine->now_ms;
    engine->meta_changed = true;
    struct engine_progress progress;
    engine_progress(engine, &progress);
    if (progress.settled == progress.written) {
        engine->flushing = false;
    }
    engine_trim_log(engine);
}

static int set_cursor(struct engine *engine, const struct proto_answer *answer)
{
    if (engine->meta.epoch.ptr == NULL) {
        int status = text_set(engine, &engine->meta.epoch, answer->epoch);
        if (status != BQ_OK) {
            return status;
        }
    }
    if (answer->cursor > engine->meta.cursor) {
        engine->meta.cursor = answer->cursor;
    }
    engine->meta_changed = true;
    return BQ_OK;
}

static int exchange_answer(struct engine *engine, const struct proto_answer *answer)
{
    int status = BQ_OK;
    engine->policies_named = answer->policies;
    if (answer->policies != engine->meta.policies_version &&
        answer->policies != engine->policies_given_up) {
        /* What waits must not be rebased under policies that are not the server's. The answer is
         * dropped as if it had been lost: its edits go again, and are duplicates then. */
        engine->policies_wanted = true;
        engine->pull_wanted = true;
        return BQ_OK;
    }
    status = engine_take_guests(engine);
    for (uint32_t i = 0; i < engine->n_lanes; i++) {
        engine->lanes[i]->completed = false;
    }
    for (uint32_t i = 0; i < answer->n_results && status == BQ_OK; i++) {
        status = one_result(engine, &answer->results[i]);
    }
    if (status != BQ_OK || engine->rewind_wanted) {
        return status;
    }
    if (answer->epoch_changed || answer->complete) {
        status = relist_page(engine, answer);
    } else {
        for (uint32_t i = 0; i < answer->n_changes && status == BQ_OK; i++) {
            status = engine_adopt_row(engine, &answer->changes[i]);
        }
        if (status == BQ_OK) {
            status = set_cursor(engine, answer);
        }
    }
    if (status == BQ_OK) {
        exchange_done(engine, answer->more);
    }
    return status;
}

/* {"version": n, "policies": {...}} */
static int policies_answer(struct engine *engine, const struct json_value *value)
{
    const struct json_value *version = json_get(value, "version");
    const struct json_value *policies = json_get(value, "policies");
    int64_t number;
    if (!json_is(policies, JSON_OBJECT) || version == NULL || !json_to_int(version, &number)) {
        return BQ_PROTOCOL;
    }
    const struct merge_policies *parsed;
    int status = merge_policies_read(&engine->out->arena, policies, &parsed, NULL);
    if (status != BQ_OK) {
        return status == BQ_NOMEM ? status : BQ_PROTOCOL;
    }
    struct buf buf = BUF_INIT;
    json_print(&buf, policies);
    status = buf.failed ? BQ_NOMEM : text_set(engine, &engine->meta.policies, buf_slice(&buf));
    buf_release(&buf);
    /* They were read above, so only memory can fail here, and that poisons the engine. */
    if (status == BQ_OK && engine_read_policies(engine) != BQ_OK) {
        status = BQ_NOMEM;
    }
    engine->meta.policies_version = number;
    engine->meta_changed = true;
    engine->policies_wanted = false;
    engine->policies_fails = 0;
    return status;
}

static int good_answer(struct engine *engine, const struct engine_event *event)
{
    struct arena *arena = &engine->out->arena;
    struct json_value value;
    struct proto_answer answer = {0};
    struct proto_problem problem;
    if (engine->in_flight == REQUEST_REPORT) {
        engine->report_fails = 0;
        engine->meta.reported = engine->report_changes == engine->reported_changes;
        engine->meta.replaces[0] = '\0';
        engine->meta_changed = true;
        engine_clear_flight(engine);
        return BQ_OK;
    }
    if (engine->in_flight == REQUEST_CARRIED) {
        return engine_carried_answer(engine, event);
    }
    int status = json_parse(arena, event->text, ANSWER_DEPTH, &value, NULL);
    if (status != BQ_OK && status != BQ_NOMEM && engine->in_flight == REQUEST_POLICIES) {
        /* Cut off on its way, or a proxy's page: it says nothing about the policies. */
        engine_request_failed(engine, BQ_SERVER, event->retry_after_ms, false);
        return BQ_OK;
    }
    if (status == BQ_OK) {
        status = engine->in_flight == REQUEST_EXCHANGE
                     ? proto_answer_read(arena, &value, &answer, &problem)
                     : policies_answer(engine, &value);
    }
    if (status == BQ_NOMEM) {
        return status;
    }
    if (status != BQ_OK) {
        engine_request_failed(engine, BQ_PROTOCOL, event->retry_after_ms,
                       engine->in_flight == REQUEST_EXCHANGE);
        return BQ_OK;
    }
    bool exchange = engine->in_flight == REQUEST_EXCHANGE;
    engine_clear_flight(engine);
    engine->fails = 0;
    engine->last_status = BQ_OK;
    /* A server may ask for a pause in a good answer too. */
    int64_t pause = event->retry_after_ms;
    pause = pause < RETRY_AFTER_LONGEST_MS ? pause : RETRY_AFTER_LONGEST_MS;
    engine->gate_at_ms = pause > 0 ? engine->now_ms + pause : 0;
    return exchange ? exchange_answer(engine, &answer) : BQ_OK;
}

int engine_answer(struct engine *engine, const struct engine_event *event)
{
    if (event->request != engine->request || engine->in_flight == REQUEST_NONE) {
        return BQ_OK;
    }
    if (event->http_status < 200 || event->http_status > 299) {
        return http_failed(engine, event);
    }
    set_reached(engine, 1, BQ_OK);
    return good_answer(engine, event);
}
