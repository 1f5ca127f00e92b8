/* engine_look.c - the engine as the app sees it: documents, states, statistics, timers. */
#include "core/engine_impl.h"

enum bq_state lane_state(const struct engine *engine, const struct lane *lane)
{
    if (lane->in_flight) {
        return BQ_SYNCING;
    }
    if (lane_pending(lane)) {
        if (lane->told_retrying) {
            return BQ_FAILED_RETRYABLE;
        }
        bool can_go = engine_may_sync(engine) && lane->fails == 0 && engine->fails == 0;
        bool rests = lane->frozen.n == 0 && lane->due_at_ms > engine->now_ms;
        return can_go && rests ? BQ_PREPARING : BQ_QUEUED;
    }
    if (lane->refused) {
        return BQ_FAILED_PERMANENT;
    }
    return lane->completed ? BQ_COMPLETED : BQ_IDLE;
}

void engine_tell_states(struct engine *engine)
{
    for (uint32_t i = 0; i < engine->n_lanes; i++) {
        struct lane *lane = engine->lanes[i];
        enum bq_state state = lane_state(engine, lane);
        if (state == lane->shown) {
            continue;
        }
        struct engine_action *action = engine_act(engine, ENGINE_NOTIFY);
        if (action != NULL) {
            action->notify.type = BQ_EVENT_STATE;
            action->notify.key = lane->key;
            action->notify.state = state;
        }
        lane->shown = state;
    }
}

uint32_t engine_n_lanes(const struct engine *engine)
{
    return engine->n_lanes;
}

static void view(const struct engine *engine, const struct lane *lane, struct engine_view *out)
{
    *out = (struct engine_view){lane->key,          lane->mine,
                                lane->version,      lane_state(engine, lane),
                                lane_pending(lane), lane->modified_ms};
}

void engine_lane_at(const struct engine *engine, uint32_t i, struct engine_view *out)
{
    view(engine, engine->lanes[i], out);
}

bool engine_lane_find(const struct engine *engine, struct slice key, struct engine_view *out)
{
    const struct lane *lane = engine_lane(engine, key);
    if (lane == NULL) {
        return false;
    }
    view(engine, lane, out);
    return true;
}

uint32_t engine_n_dead(const struct engine *engine)
{
    return engine->n_dead;
}

void engine_dead_at(const struct engine *engine, uint32_t i, struct engine_dead_row *out)
{
    const struct dead_item *item = &engine->dead[i];
    *out = (struct engine_dead_row){item->dead_id, item->key,  item->status,
                                    item->message, item->edit, item->at_ms};
}

const struct engine_meta *engine_meta(const struct engine *engine)
{
    return &engine->meta;
}

void engine_stats(const struct engine *engine, struct bq_stats *out)
{
    size_t size = out->size;
    *out = (struct bq_stats){0};
    out->size = size;
    for (uint32_t i = 0; i < engine->n_lanes; i++) {
        const struct lane *lane = engine->lanes[i];
        out->documents += lane->mine.ptr != NULL ? 1 : 0;
        out->pending += lane_pending(lane) ? 1 : 0;
        out->frozen += lane->frozen.n;
        out->by_state[lane_state(engine, lane)]++;
        out->retrying += lane_pending(lane) && lane->fails > 0 ? 1 : 0;
    }
    out->dead_letters = engine->n_dead;
    out->cursor = engine->meta.cursor;
    out->last_exchange_ms = engine->meta.last_exchange_ms;
    out->sent = engine->n_sent;
    out->exchanges = engine->n_exchanges;
    out->online = engine->reached;
    out->paused = engine->paused;
    out->last_status = engine->last_status;
    out->next_try_ms = -1;
}

bool engine_quiet(const struct engine *engine)
{
    for (uint32_t i = 0; i < engine->n_lanes; i++) {
        if (lane_pending(engine->lanes[i])) {
            return false;
        }
    }
    return engine->in_flight == REQUEST_NONE;
}

void engine_progress(const struct engine *engine, struct engine_progress *out)
{
    uint64_t settled = engine->written;
    for (uint32_t i = 0; i < engine->n_lanes; i++) {
        const struct lane *lane = engine->lanes[i];
        uint64_t first = lane->first_frozen != 0 ? lane->first_frozen : lane->first_waiting;
        if (first != 0 && first <= settled) {
            settled = first - 1;
        }
    }
    for (uint32_t i = engine->carried_at; i < engine->n_carried; i++) {
        if (engine->carried[i].item.ptr != NULL && engine->carried[i].first <= settled) {
            settled = engine->carried[i].first - 1;
        }
    }
    *out = (struct engine_progress){engine->written,  settled,        engine->begun,
                                    engine->answered, engine->failed, engine->last_status};
}
