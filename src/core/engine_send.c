/* engine_send.c - what is due, and the request that carries it.
 *
 * One request is under way at a time. The first exchange with an unknown epoch only pulls, so that
 * edits are made on what the server has and with the server's policies. */
#include "core/engine_impl.h"

#include "base/mem.h"
#include "base/plant.h"

/* Edits of one request in bytes; one larger edit still goes, by itself. */
#define REQUEST_EDIT_BYTES (1u << 20)

/* A request is given up this much after its transport should have done so. */
#define LATE_MS 5000

/* Dead letters in a report. */
#define REPORT_BYTES (900u << 10)

bool engine_may_sync(const struct engine *engine)
{
    return engine->config.syncs && engine->has_token && engine->online != 0 && !engine->paused;
}

bool lane_may_freeze(const struct engine *engine, const struct lane *lane)
{
    return lane->dirty && lane->frozen.n == 0 && !engine->policies_wanted &&
           engine->meta.epoch.ptr != NULL && !engine->relist.active;
}

/* Whether a lane alone is reason enough for an exchange. */
static bool lane_is_due(const struct engine *engine, const struct lane *lane)
{
    if (lane->next_try_ms > engine->now_ms) {
        return false;
    }
    if (lane->frozen.n > 0) {
        return true;
    }
    return lane->dirty && (engine->flushing || lane->due_at_ms <= engine->now_ms);
}

static bool exchange_is_due(const struct engine *engine)
{
    if (engine->pull_wanted || engine->relist.active || engine->poll_at_ms <= engine->now_ms) {
        return true;
    }
    for (uint32_t i = 0; i < engine->n_lanes; i++) {
        if (lane_is_due(engine, engine->lanes[i])) {
            return true;
        }
    }
    return false;
}

static int start_request(struct engine *engine, enum request_kind kind, const char *function,
                         struct buf *body)
{
    struct slice text =
        body->failed ? SLICE_NONE : arena_copy(&engine->out->arena, buf_slice(body));
    buf_release(body);
    struct engine_action *action = engine_act(engine, ENGINE_SEND);
    if (text.ptr == NULL || action == NULL) {
        return BQ_NOMEM;
    }
    engine->request++;
    engine->in_flight = kind;
    engine->token_renewed = false;
    engine->deadline_ms = engine->now_ms + engine->config.timeout_ms + LATE_MS;
    action->send.request = engine->request;
    action->send.function = function;
    action->send.body = text;
    return BQ_OK;
}

/* ---- sync_exchange ---- */

struct load {
    struct slice *edits;
    uint32_t n;
    size_t bytes;
};

/* The first frozen edit of a lane, if it fits. One at a time: a receipt knows the last edit alone,
 * so of two that went together and whose answer was lost, the first could not be told from an edit
 * of a restored file. */
static bool load_lane(struct load *load, struct lane *lane)
{
    struct slice text = lane->frozen.items[0].text;
    bool fits = load->n < LIMIT_EDITS && load->bytes + text.len <= REQUEST_EDIT_BYTES;
    if (!fits && load->n > 0) {
        return false;
    }
    load->edits[load->n++] = text;
    load->bytes += text.len;
    lane->in_flight = true;
    return true;
}

/* Freezes what may be frozen of one lane and loads it. Lanes that only rest in their debounce come
 * along: the trip is made anyway. */
static int load_one(struct engine *engine, struct load *load, struct lane *lane, bool *out_loaded)
{
    bool frozen;
    *out_loaded = false;
    if (lane->next_try_ms > engine->now_ms) {
        return BQ_OK;
    }
    if (PLANTED(EDIT_CHANGED_IN_FLIGHT) && lane->frozen.n == 1 && lane->dirty) {
        lane_drop_frozen(engine, lane, 0); /* to be made anew, with what came meanwhile */
        lane->last_op--;
    }
    if (lane_may_freeze(engine, lane)) {
        int status = lane_freeze(engine, lane, &frozen);
        if (status != BQ_OK) {
            return status;
        }
    }
    *out_loaded = lane->frozen.n > 0 && load_lane(load, lane);
    if (*out_loaded && PLANTED(DEQUEUED_BEFORE_ACK)) {
        lane_drop_frozen(engine, lane, 0);
    }
    return BQ_OK;
}

/* The lane that waits longest for its turn among those that must go by themselves. */
static struct lane *next_alone(const struct engine *engine)
{
    struct lane *best = NULL;
    for (uint32_t i = 0; i < engine->n_lanes; i++) {
        struct lane *lane = engine->lanes[i];
        if (lane->alone && lane_pending(lane) && lane->next_try_ms <= engine->now_ms &&
            (best == NULL || lane->next_try_ms < best->next_try_ms)) {
            best = lane;
        }
    }
    return best;
}

/* Edits by falling priority. A lane that is suspected of failing whole requests goes alone, every
 * second time, so that neither it nor the others wait for ever. */
static int load_edits(struct engine *engine, struct load *load)
{
    bool loaded = false;
    struct lane *alone = next_alone(engine);
    engine->alone_turn = alone != NULL && !engine->alone_turn;
    if (engine->alone_turn) {
        int status = load_one(engine, load, alone, &loaded);
        if (status != BQ_OK || loaded) {
            return status;
        }
    }
    for (int priority = 3; priority >= 0; priority--) {
        for (uint32_t i = 0; i < engine->n_lanes; i++) {
            struct lane *lane = engine->lanes[i];
            if (lane->priority != priority || lane->alone) {
                continue;
            }
            int status = load_one(engine, load, lane, &loaded);
            if (status != BQ_OK) {
                return status;
            }
        }
    }
    return alone != NULL && load->n == 0 ? load_one(engine, load, alone, &loaded) : BQ_OK;
}

static int send_exchange(struct engine *engine)
{
    struct engine_meta *meta = &engine->meta;
    struct load load = {0};
    load.edits = arena_alloc(&engine->out->arena, LIMIT_EDITS * sizeof *load.edits);
    if (load.edits == NULL) {
        return BQ_NOMEM;
    }
    bool pulls_only = meta->epoch.ptr == NULL || engine->relist.active;
    int status = pulls_only ? BQ_OK : load_edits(engine, &load);
    if (status != BQ_OK) {
        return status;
    }
    struct proto_exchange request = {
        .device_id = slice_of(meta->device_id),
        .epoch = engine->relist.new_epoch ? engine->relist.epoch : meta->epoch,
        .cursor = engine->relist.active ? engine->relist.cursor : meta->cursor,
        .limit = LIMIT_CHANGES,
        .policies = meta->policies_version,
        .proto = 1,
    };
    struct buf body = BUF_INIT;
    proto_exchange_print(&body, &request, load.edits, load.n);
    /* A page of a longer pull belongs to the exchange that began it. */
    if (!engine->relist.active) {
        engine->begun++;
    }
    engine->pull_wanted = false;
    engine->woken_to = 0; /* this one begins after the wake, and so brings what it told of */
    return start_request(engine, REQUEST_EXCHANGE, "sync_exchange", &body);
}

/* ---- The other calls ---- */

static int send_policies(struct engine *engine)
{
    struct buf body = BUF_INIT;
    buf_add_text(&body, "{}");
    return start_request(engine, REQUEST_POLICIES, "sync_policies", &body);
}

/* The newest dead letters that fit. */
static int fill_report(struct engine *engine, struct proto_report *report)
{
    struct arena *arena = &engine->out->arena;
    size_t bytes = 0;
    report->failed = arena_zalloc(arena, LIMIT_DEAD_LETTERS, sizeof *report->failed);
    if (report->failed == NULL) {
        return BQ_NOMEM;
    }
    for (uint32_t i = engine->n_dead; i > 0 && report->n_failed < LIMIT_DEAD_LETTERS; i--) {
        const struct dead_item *item = &engine->dead[i - 1];
        struct proto_dead *dead = &report->failed[report->n_failed];
        struct json_value wire;
        struct proto_edit edit;
        struct proto_problem problem;
        size_t size = item->edit.len + item->message.len + item->key.len + 200;
        if (bytes + size > REPORT_BYTES) {
            continue; /* too large to be shown to an operator beside the others */
        }
        bytes += size;
        int status = lane_read_text(arena, item->edit, &wire);
        if (status == BQ_OK) {
            status = proto_edit_read(arena, &wire, &edit, &problem);
        }
        if (status != BQ_OK) {
            return status;
        }
        *dead = (struct proto_dead){item->key,     edit.op, edit.id,    item->status,
                                    item->message, wire,    item->at_ms};
        report->n_failed++;
    }
    return BQ_OK;
}

static int send_report(struct engine *engine)
{
    struct proto_report report = {.device_id = slice_of(engine->meta.device_id),
                                  .info = json_absent(),
                                  .replaces = slice_of(engine->meta.replaces)};
    if (report.replaces.len == 0) {
        report.replaces = SLICE_NONE;
    }
    int status = lane_read_text(&engine->out->arena, engine->meta.device_info, &report.info);
    if (status == BQ_OK) {
        status = fill_report(engine, &report);
    }
    if (status != BQ_OK) {
        return status;
    }
    struct buf body = BUF_INIT;
    proto_report_print(&body, &report);
    engine->reported_changes = engine->report_changes;
    return start_request(engine, REQUEST_REPORT, "sync_report", &body);
}

static bool report_is_due(const struct engine *engine)
{
    return !engine->meta.reported && engine->meta.epoch.ptr != NULL &&
           engine->report_at_ms <= engine->now_ms;
}

/* What an older app had queued goes first: what this one knows better was made after it. */
static int send_carried(struct engine *engine, const struct carried_item *item)
{
    struct buf body = BUF_INIT;
    const char *function;
    int status = engine_carried_body(engine, item, &function, &body);
    if (status != BQ_OK) {
        buf_release(&body);
        return status;
    }
    item->lane->in_flight = true;
    /* An exchange that somebody waits for comes behind it, and fails where it fails. */
    engine->begun++;
    return start_request(engine, REQUEST_CARRIED, function, &body);
}

int engine_send(struct engine *engine)
{
    if (!engine_may_sync(engine) || engine->in_flight != REQUEST_NONE ||
        engine->gate_at_ms > engine->now_ms) {
        return BQ_OK;
    }
    struct carried_item *carried = engine_carried_first(engine);
    if (carried != NULL) {
        return send_carried(engine, carried);
    }
    if (engine->policies_wanted) {
        return send_policies(engine);
    }
    if (exchange_is_due(engine)) {
        return send_exchange(engine);
    }
    return report_is_due(engine) ? send_report(engine) : BQ_OK;
}

int64_t engine_next_at_ms(const struct engine *engine)
{
    int64_t next = engine->poll_at_ms;
    if (!engine_may_sync(engine)) {
        return NEVER_MS;
    }
    if (engine->in_flight != REQUEST_NONE) {
        return engine->deadline_ms;
    }
    if (engine->pull_wanted || engine->policies_wanted || engine->relist.active ||
        engine->carried_at < engine->n_carried) {
        return engine->gate_at_ms;
    }
    if (!engine->meta.reported && engine->meta.epoch.ptr != NULL && engine->report_at_ms < next) {
        next = engine->report_at_ms;
    }
    for (uint32_t i = 0; i < engine->n_lanes; i++) {
        const struct lane *lane = engine->lanes[i];
        if (!lane_pending(lane)) {
            continue;
        }
        int64_t at = lane->frozen.n > 0 || engine->flushing ? 0 : lane->due_at_ms;
        at = at < lane->next_try_ms ? lane->next_try_ms : at;
        next = at < next ? at : next;
    }
    return next < engine->gate_at_ms ? engine->gate_at_ms : next;
}
