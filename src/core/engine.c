/* engine.c - the engine's life: making, loading, and the step that runs everything else.
 *
 * A step does, in this order: empty the trash, handle the event, start what is due, emit the rows
 * that changed, tell the app of states that changed. */
#include "core/engine.h"
#include "core/engine_impl.h"

#include "base/mem.h"
#include "base/plant.h"
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>

struct text_block {
    struct text_block *next;
    char bytes[];
};

struct slice text_new(struct slice text)
{
    struct text_block *block = mem_alloc(sizeof *block + text.len + 1);
    if (block == NULL) {
        return SLICE_NONE;
    }
    block->next = NULL;
    if (text.len > 0) {
        memcpy(block->bytes, text.ptr, text.len);
    }
    block->bytes[text.len] = '\0';
    return (struct slice){block->bytes, text.len};
}

static struct text_block *block_of(struct slice text)
{
    return (struct text_block *)(void *)((uintptr_t)text.ptr - offsetof(struct text_block, bytes));
}

void text_drop(struct engine *engine, struct slice *text)
{
    if (text->ptr != NULL) {
        struct text_block *block = block_of(*text);
        block->next = engine->trash;
        engine->trash = block;
    }
    *text = SLICE_NONE;
}

int text_set(struct engine *engine, struct slice *text, struct slice value)
{
    struct slice copy = SLICE_NONE;
    if (PLANTED(EDIT_SHARES_MEMORY) && value.len > 0 && value.len <= text->len) {
        /* Values that were read from the old text change under whoever holds them. */
        memmove((char *)(uintptr_t)text->ptr, value.ptr, value.len);
        text->len = value.len;
        return BQ_OK;
    }
    if (value.ptr != NULL) {
        copy = text_new(value);
        if (copy.ptr == NULL) {
            return BQ_NOMEM;
        }
    }
    text_drop(engine, text);
    *text = copy;
    return BQ_OK;
}

static void empty_trash(struct engine *engine)
{
    while (engine->trash != NULL) {
        struct text_block *next = engine->trash->next;
        mem_free(engine->trash);
        engine->trash = next;
    }
}

/* ---- Actions ---- */

void engine_actions_init(struct engine_actions *actions)
{
    *actions = (struct engine_actions){0};
    arena_init(&actions->arena);
}

void engine_actions_release(struct engine_actions *actions)
{
    arena_release(&actions->arena);
    engine_actions_init(actions);
}

struct engine_action *engine_act(struct engine *engine, enum engine_action_type type)
{
    struct engine_actions *out = engine->out;
    if (out->n == out->size) {
        uint32_t size = out->size == 0 ? 16 : out->size * 2;
        struct engine_action *items = arena_zalloc(&out->arena, size, sizeof *items);
        if (items == NULL) {
            return NULL;
        }
        if (out->n > 0) {
            memcpy(items, out->items, out->n * sizeof *items);
        }
        out->items = items;
        out->size = size;
    }
    struct engine_action *action = &out->items[out->n++];
    action->type = type;
    return action;
}

void engine_notify(struct engine *engine, enum bq_event_type type, struct slice key, int status,
                   const char *text)
{
    struct engine_action *action = engine_act(engine, ENGINE_NOTIFY);
    if (action != NULL) {
        action->notify.type = type;
        action->notify.key = key;
        action->notify.status = status;
        action->notify.text = slice_of(text);
    }
}

int engine_fail(struct engine *engine, int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(engine->error, sizeof engine->error, format, args);
    va_end(args);
    return status;
}

const char *engine_error(const struct engine *engine)
{
    return engine->error;
}

/* ---- Life ---- */

int engine_new(const struct engine_config *config, struct engine **out)
{
    struct engine *engine = mem_zalloc(1, sizeof *engine);
    if (engine == NULL) {
        return BQ_NOMEM;
    }
    engine->config = *config;
    rng_init(&engine->rng, config->seed);
    engine->meta.next_dead = 1;
    engine->online = -1;
    engine->reached = -1;
    engine->written = 1;
    engine->pull_wanted = true;
    arena_init(&engine->policy_arena);
    arena_init(&engine->relist.arena);
    int status = engine_read_policies(engine);
    if (status != BQ_OK) {
        engine_free(engine);
        return status;
    }
    *out = engine;
    return BQ_OK;
}

static void free_edits(struct engine *engine, struct edit_list *list)
{
    for (uint32_t i = 0; i < list->n; i++) {
        text_drop(engine, &list->items[i].text);
    }
    mem_free(list->items);
    *list = (struct edit_list){0};
}

static void free_lane(struct engine *engine, struct lane *lane)
{
    text_drop(engine, &lane->synced);
    text_drop(engine, &lane->mine);
    text_drop(engine, &lane->seed);
    free_edits(engine, &lane->frozen);
    mem_free(lane);
}

void engine_free(struct engine *engine)
{
    if (engine == NULL) {
        return;
    }
    for (uint32_t i = 0; i < engine->n_lanes; i++) {
        free_lane(engine, engine->lanes[i]);
    }
    mem_free(engine->lanes);
    free_edits(engine, &engine->log);
    for (uint32_t i = 0; i < engine->n_dead; i++) {
        text_drop(engine, &engine->dead[i].key);
        text_drop(engine, &engine->dead[i].message);
        text_drop(engine, &engine->dead[i].edit);
    }
    mem_free(engine->dead);
    engine_carried_release(engine);
    mem_free(engine->carried);
    text_drop(engine, &engine->meta.epoch);
    text_drop(engine, &engine->meta.policies);
    text_drop(engine, &engine->meta.device_info);
    relist_release(engine);
    empty_trash(engine);
    arena_release(&engine->policy_arena);
    arena_release(&engine->relist.arena);
    mem_free(engine);
}

/* Where the key is, or belongs. */
static uint32_t lane_place(const struct engine *engine, struct slice key, bool *out_found)
{
    uint32_t low = 0;
    uint32_t high = engine->n_lanes;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = slice_order(engine->lanes[middle]->key, key);
        if (order == 0) {
            *out_found = true;
            return middle;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *out_found = false;
    return low;
}

struct lane *engine_lane(const struct engine *engine, struct slice key)
{
    bool found;
    uint32_t at = lane_place(engine, key, &found);
    return found ? engine->lanes[at] : NULL;
}

struct lane *engine_lane_make(struct engine *engine, struct slice key)
{
    bool found;
    uint32_t at = lane_place(engine, key, &found);
    if (found) {
        return engine->lanes[at];
    }
    if (engine->n_lanes == engine->lanes_size) {
        uint32_t size = engine->lanes_size == 0 ? 16 : engine->lanes_size * 2;
        struct lane **lanes = mem_realloc(engine->lanes, size * sizeof *lanes);
        if (lanes == NULL) {
            return NULL;
        }
        engine->lanes = lanes;
        engine->lanes_size = size;
    }
    struct lane *lane = mem_zalloc(1, sizeof *lane);
    if (lane == NULL) {
        return NULL;
    }
    memcpy(lane->key_text, key.ptr, key.len);
    lane->key = (struct slice){lane->key_text, key.len};
    lane->priority = 1;
    memmove(&engine->lanes[at + 1], &engine->lanes[at],
            (engine->n_lanes - at) * sizeof *engine->lanes);
    engine->lanes[at] = lane;
    engine->n_lanes++;
    return lane;
}

int engine_read_policies(struct engine *engine)
{
    struct slice text = engine->meta.policies;
    if (text.ptr == NULL) {
        text = slice_of(merge_policies_shipped);
    }
    struct arena arena;
    struct json_value value;
    const struct merge_policies *policies;
    arena_init(&arena);
    struct slice copy = arena_copy(&arena, text);
    if (copy.ptr == NULL) {
        return BQ_NOMEM;
    }
    int status = json_parse(&arena, copy, LIMIT_POLICY_JSON_DEPTH, &value, NULL);
    if (status == BQ_OK) {
        status = merge_policies_read(&arena, &value, &policies, NULL);
    }
    if (status != BQ_OK) {
        arena_release(&arena);
        return status;
    }
    arena_release(&engine->policy_arena);
    engine->policy_arena = arena;
    engine->policies = policies;
    return BQ_OK;
}

void engine_want_report(struct engine *engine)
{
    engine->meta.reported = false;
    engine->meta_changed = true;
    engine->report_changes++;
    engine->report_at_ms = engine->now_ms;
}

void engine_new_device(struct engine *engine)
{
    memcpy(engine->meta.device_id, "bq-", 3);
    rng_hex(&engine->rng, 16, engine->meta.device_id + 3);
    engine_want_report(engine);
}

/* ---- Loading ---- */

int engine_load_meta(struct engine *engine, const struct engine_meta *meta)
{
    struct slice epoch = SLICE_NONE;
    struct slice policies = SLICE_NONE;
    struct slice info = SLICE_NONE;
    if (text_set(engine, &epoch, meta->epoch) != BQ_OK ||
        text_set(engine, &policies, meta->policies) != BQ_OK ||
        text_set(engine, &info, meta->device_info) != BQ_OK) {
        text_drop(engine, &epoch);
        text_drop(engine, &policies);
        return BQ_NOMEM;
    }
    text_drop(engine, &engine->meta.epoch);
    text_drop(engine, &engine->meta.policies);
    text_drop(engine, &engine->meta.device_info);
    engine->meta = *meta;
    engine->meta.epoch = epoch;
    engine->meta.policies = policies;
    engine->meta.device_info = info;
    if (meta->next_dead < 1) {
        engine->meta.next_dead = 1;
    }
    int status = engine_read_policies(engine);
    if (status != BQ_OK && status != BQ_NOMEM) {
        /* Policies are the server's and come again: they never keep the app from its documents. */
        text_drop(engine, &engine->meta.policies);
        engine->meta.policies_version = 0;
        status = engine_read_policies(engine);
    }
    return status;
}

int engine_load_lane(struct engine *engine, const struct engine_lane_row *row)
{
    if (!proto_key_valid(row->key)) {
        return engine_fail(engine, BQ_CORRUPT, "a stored key is not a key");
    }
    struct lane *lane = engine_lane_make(engine, row->key);
    if (lane == NULL || text_set(engine, &lane->synced, row->synced) != BQ_OK ||
        text_set(engine, &lane->mine, row->mine) != BQ_OK ||
        text_set(engine, &lane->seed, row->seed) != BQ_OK) {
        return BQ_NOMEM;
    }
    lane->version = row->version;
    lane->deleted = row->deleted;
    lane->epoch = row->epoch;
    lane->last_op = row->last_op;
    lane->acked_op = row->acked_op;
    lane->modified_ms = row->modified_ms;
    lane->priority = row->priority;
    lane->refused = row->refused;
    lane->guest = row->guest;
    engine->mine_bytes += lane->mine.len;
    /* Equal texts are surely clean; whether others differ by value shows at freezing. */
    struct slice base = lane->deleted ? SLICE_NONE : lane->synced;
    bool same = (base.ptr == NULL) == (lane->mine.ptr == NULL) && slice_equal(base, lane->mine);
    lane->dirty = lane->seed.ptr != NULL || !same;
    lane->first_waiting = lane->dirty ? engine->written : 0;
    lane->shown = lane_state(engine, lane);
    return BQ_OK;
}

static int load_edit(struct engine *engine, struct edit_list *list, struct lane *lane,
                     const struct engine_edit_row *row)
{
    if (lane == NULL || row->id.len != PROTO_ID_BYTES) {
        return engine_fail(engine, BQ_CORRUPT, "a stored edit belongs to no document");
    }
    struct edit_item item = {lane, row->op, {0}, text_new(row->edit), row->at_ms};
    memcpy(item.id, row->id.ptr, PROTO_ID_BYTES);
    if (item.text.ptr == NULL) {
        return BQ_NOMEM;
    }
    if (edit_list_add(list, &item) != BQ_OK) {
        text_drop(engine, &item.text);
        return BQ_NOMEM;
    }
    return BQ_OK;
}

int engine_load_frozen(struct engine *engine, const struct engine_edit_row *row)
{
    struct lane *lane = engine_lane(engine, row->key);
    int status = load_edit(engine, lane == NULL ? NULL : &lane->frozen, lane, row);
    if (status == BQ_OK && lane != NULL) {
        lane->first_frozen = engine->written;
        lane->dirty = true;
        lane->first_waiting = engine->written;
        lane->shown = lane_state(engine, lane);
    }
    return status;
}

int engine_load_log(struct engine *engine, const struct engine_edit_row *row)
{
    int status = load_edit(engine, &engine->log, engine_lane(engine, row->key), row);
    if (status == BQ_OK) {
        engine->log_bytes += row->edit.len;
    }
    return status;
}

int engine_load_dead(struct engine *engine, const struct engine_dead_row *row)
{
    if (engine->n_dead == engine->dead_size) {
        uint32_t size = engine->dead_size == 0 ? 8 : engine->dead_size * 2;
        struct dead_item *dead = mem_realloc(engine->dead, size * sizeof *dead);
        if (dead == NULL) {
            return BQ_NOMEM;
        }
        engine->dead = dead;
        engine->dead_size = size;
    }
    struct dead_item item = {row->dead_id, SLICE_NONE, row->status,
                             SLICE_NONE,   SLICE_NONE, row->at_ms};
    if (text_set(engine, &item.key, row->key) != BQ_OK ||
        text_set(engine, &item.message, row->message) != BQ_OK ||
        text_set(engine, &item.edit, row->edit) != BQ_OK) {
        text_drop(engine, &item.key);
        text_drop(engine, &item.message);
        text_drop(engine, &item.edit);
        return BQ_NOMEM;
    }
    engine->dead[engine->n_dead++] = item;
    return BQ_OK;
}

/* ---- The step ---- */

/* What the connection, the app's life and its token mean for the next try. */
static void kick(struct engine *engine)
{
    engine->gate_at_ms = engine->now_ms;
    engine->report_at_ms = engine->now_ms;
    engine->pull_wanted = true;
    for (uint32_t i = 0; i < engine->n_lanes; i++) {
        engine->lanes[i]->next_try_ms = 0;
    }
}

void engine_plan_poll(struct engine *engine)
{
    uint32_t poll_ms = engine->config.poll_ms;
    if (engine->live && engine->config.live_poll_ms > poll_ms) {
        poll_ms = engine->config.live_poll_ms;
    }
    engine->poll_at_ms =
        engine->now_ms + poll_ms - (int64_t)rng_below(&engine->rng, poll_ms / 8 + 1);
}

/* What is at the cursor or before it is here already: an own echo, or late. While an exchange is
 * under way its answer may bring the change (it does for an own edit, whose event often overtakes
 * its answer), so that decides. */
void engine_wake(struct engine *engine, int64_t seq)
{
    int64_t to = seq == 0 ? INT64_MAX : seq;
    if (to <= engine->meta.cursor) {
        return;
    }
    if (engine->in_flight == REQUEST_EXCHANGE) {
        engine->woken_to = to > engine->woken_to ? to : engine->woken_to;
    } else {
        engine->pull_wanted = true;
    }
}

/* Realtime replays nothing: what happened before it was up is pulled. */
static void set_live(struct engine *engine, bool live)
{
    int64_t planned_ms = engine->poll_at_ms;
    engine->live = live;
    if (live) {
        if (engine->reached == 0) {
            kick(engine);
        }
        engine_wake(engine, 0);
        return;
    }
    engine_plan_poll(engine);
    if (planned_ms < engine->poll_at_ms) {
        engine->poll_at_ms = planned_ms;
    }
}

static int set_device_info(struct engine *engine, struct slice text)
{
    /* An app says the same at each of its starts; only news are reported. */
    if (engine->meta.device_info.ptr != NULL && slice_equal(engine->meta.device_info, text)) {
        return BQ_OK;
    }
    int status = text_set(engine, &engine->meta.device_info, text);
    if (status == BQ_OK) {
        engine_want_report(engine);
    }
    return status;
}

static int handle_world(struct engine *engine, const struct engine_event *event)
{
    switch (event->type) {
    case ENGINE_TOKEN:
        engine->has_token = true;
        engine->token_renewed = engine->in_flight != REQUEST_NONE;
        kick(engine);
        return BQ_OK;
    case ENGINE_NO_TOKEN:
        engine->has_token = false;
        return BQ_OK;
    case ENGINE_ONLINE:
        if (event->online == 1 && engine->online != 1) {
            kick(engine);
        }
        engine->online = event->online;
        return BQ_OK;
    case ENGINE_PAUSE:
        engine->paused = true;
        return BQ_OK;
    case ENGINE_RESUME:
        engine->paused = false;
        kick(engine);
        return BQ_OK;
    case ENGINE_FLUSH:
        engine->flushing = true;
        kick(engine);
        return BQ_OK;
    case ENGINE_PULL:
        kick(engine);
        return BQ_OK;
    case ENGINE_WAKE:
        if (PLANTED(STALE_WAKE_APPLIED) && event->seq > 0) {
            engine->meta.cursor = event->seq;
            engine->meta_changed = true;
        }
        engine_wake(engine, event->seq);
        return BQ_OK;
    case ENGINE_LIVE:
        set_live(engine, event->online == 1);
        return BQ_OK;
    case ENGINE_ANSWER:
        return engine_answer(engine, event);
    case ENGINE_FAILED:
        return event->request == engine->request ? engine_no_answer(engine, event->status) : BQ_OK;
    case ENGINE_DEVICE_INFO:
        return set_device_info(engine, event->text);
    case ENGINE_TICK:
    case ENGINE_PUT:
    case ENGINE_PATCH:
    case ENGINE_INCREMENT:
    case ENGINE_REMOVE:
    case ENGINE_SEED:
    case ENGINE_GUEST:
    case ENGINE_LEGACY:
    case ENGINE_CARRY:
    case ENGINE_DEAD_RETRY:
    case ENGINE_DEAD_DISCARD:
        break;
    }
    return BQ_OK;
}

static int handle(struct engine *engine, const struct engine_event *event)
{
    switch (event->type) {
    case ENGINE_PUT:
    case ENGINE_PATCH:
    case ENGINE_INCREMENT:
    case ENGINE_REMOVE:
    case ENGINE_SEED:
    case ENGINE_GUEST:
    case ENGINE_LEGACY:
        return engine_write(engine, event);
    case ENGINE_CARRY:
        return engine_carry(engine, event);
    case ENGINE_DEAD_RETRY:
        return engine_dead_retry(engine, event->dead_id);
    case ENGINE_DEAD_DISCARD:
        return engine_dead_discard(engine, event->dead_id);
    case ENGINE_TICK:
    case ENGINE_TOKEN:
    case ENGINE_NO_TOKEN:
    case ENGINE_ONLINE:
    case ENGINE_PAUSE:
    case ENGINE_RESUME:
    case ENGINE_FLUSH:
    case ENGINE_PULL:
    case ENGINE_WAKE:
    case ENGINE_LIVE:
    case ENGINE_ANSWER:
    case ENGINE_FAILED:
    case ENGINE_DEVICE_INFO:
        break;
    }
    return handle_world(engine, event);
}

/* A request that its transport forgot: given up, its edits are unknown and sent again. */
static int give_up_late(struct engine *engine)
{
    if (engine->in_flight == REQUEST_NONE || engine->now_ms < engine->deadline_ms) {
        return BQ_OK;
    }
    struct engine_action *action = engine_act(engine, ENGINE_CANCEL);
    if (action != NULL) {
        action->send.request = engine->request;
    }
    return engine_no_answer(engine, BQ_TIMEOUT);
}

static void save_rows(struct engine *engine)
{
    if (engine->meta_changed) {
        struct engine_action *action = engine_act(engine, ENGINE_SAVE_META);
        if (action != NULL) {
            action->meta = &engine->meta;
        }
        engine->meta_changed = false;
    }
    for (uint32_t i = 0; i < engine->n_lanes; i++) {
        struct lane *lane = engine->lanes[i];
        if (lane->parts == 0) {
            continue;
        }
        struct engine_action *action = engine_act(engine, ENGINE_SAVE_LANE);
        if (action != NULL) {
            action->parts = lane->parts;
            action->lane = (struct engine_lane_row){
                lane->key,      lane->version, lane->deleted, lane->epoch,    lane->synced,
                lane->mine,     lane->seed,    lane->last_op, lane->acked_op, lane->modified_ms,
                lane->priority, lane->refused, lane->guest};
        }
        lane->parts = 0;
    }
}

/* Stable: disk before world, whatever the order in which a step found them. */
static void disk_first(struct engine_actions *out)
{
    struct engine_action *sorted = arena_alloc(&out->arena, (out->n + 1) * sizeof *sorted);
    if (sorted == NULL) {
        return;
    }
    uint32_t n = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < out->n; i++) {
            bool is_disk = out->items[i].type <= ENGINE_WIPE;
            if (is_disk == (pass == 0)) {
                sorted[n++] = out->items[i];
            }
        }
    }
    out->items = sorted;
    out->size = n;
}

static void shift(int64_t *at_ms, int64_t by_ms)
{
    *at_ms = *at_ms > by_ms ? *at_ms - by_ms : 0;
}

/* A clock that was set back takes the plans with it: pauses keep their length. */
static void follow_clock(struct engine *engine, int64_t now_ms)
{
    int64_t back_ms = engine->now_ms - now_ms;
    engine->now_ms = now_ms;
    if (back_ms <= 0) {
        return;
    }
    shift(&engine->poll_at_ms, back_ms);
    shift(&engine->gate_at_ms, back_ms);
    shift(&engine->report_at_ms, back_ms);
    shift(&engine->deadline_ms, back_ms);
    for (uint32_t i = 0; i < engine->n_lanes; i++) {
        shift(&engine->lanes[i]->due_at_ms, back_ms);
        shift(&engine->lanes[i]->next_try_ms, back_ms);
        shift(&engine->lanes[i]->dirty_since_ms, back_ms);
    }
}

int engine_step(struct engine *engine, int64_t now_ms, const struct engine_event *event,
                struct engine_actions *actions)
{
    arena_reset(&actions->arena);
    actions->items = NULL;
    actions->n = 0;
    actions->size = 0;
    if (engine->poisoned) {
        return engine_fail(engine, BQ_NOMEM, "%s", status_text(BQ_NOMEM));
    }
    empty_trash(engine);
    engine->error[0] = '\0';
    follow_clock(engine, now_ms);
    engine->out = actions;
    if (engine->meta.device_id[0] == '\0') {
        engine_new_device(engine);
    }
    /* Only on a tick, which comes at the deadline: a refused write has no actions of its own. */
    int status = event->type == ENGINE_TICK ? give_up_late(engine) : BQ_OK;
    if (status == BQ_OK) {
        status = handle(engine, event);
    }
    if (status == BQ_OK && engine->rewind_wanted) {
        status = engine_rewind(engine);
    }
    if (status == BQ_OK) {
        status = engine_send(engine);
    }
    if (status == BQ_OK) {
        save_rows(engine);
        engine_tell_states(engine);
        disk_first(actions);
    } else {
        actions->n = 0; /* a refused argument: nothing changed */
    }
    if (arena_failed(&actions->arena) || status == BQ_NOMEM || status == BQ_CORRUPT) {
        engine->poisoned = true;
        actions->n = 0;
        return status == BQ_OK ? BQ_NOMEM : status;
    }
    return status;
}
