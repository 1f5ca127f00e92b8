/* sim.c - the life of a run: what the seed decides, the chaos, the quiet, the end. */
#include "sim/sim.h"
#include "sim/world.h"

#include <stdio.h>

static const char *const verdict_words[] = {
#define X(name, word) word,
    SIM_VERDICT_MAP(X)
#undef X
};

const char *sim_verdict_word(enum sim_verdict verdict)
{
    return verdict_words[verdict];
}

/* ---- What the seed decides ------------------------------------------------------------------- */

/* How often a fault strikes where it may, per mille: rare, or often. Most is per message or step;
 * what is per write is drawn far less often in a run, and so has larger numbers. */
static unsigned draw_rate(struct rng *rng, enum sim_fault fault)
{
    static const unsigned scales[SIM_FAULT_N] = {[SIM_DROP] = 150,
                                                 [SIM_DUPLICATE] = 120,
                                                 [SIM_DELAY] = 60,
                                                 [SIM_REORDER] = 1,
                                                 [SIM_CUT] = 80,
                                                 [SIM_OFFLINE] = 120,
                                                 [SIM_ONE_WAY] = 100,
                                                 [SIM_ONE_NODE] = 100,
                                                 [SIM_HALF_OPEN] = 100,
                                                 [SIM_LOST_NOTE] = 500,
                                                 [SIM_BUSY] = 60,
                                                 [SIM_UNAVAILABLE] = 60,
                                                 [SIM_EXPIRE] = 80,
                                                 [SIM_CRASH] = 100,
                                                 [SIM_UNSAVED] = 30,
                                                 [SIM_UNSENT] = 40,
                                                 [SIM_RESTORE] = 120,
                                                 [SIM_CLONE] = 50,
                                                 [SIM_CLOCK] = 100,
                                                 [SIM_GUEST] = 500,
                                                 [SIM_NODE_CRASH] = 30,
                                                 [SIM_NODE_INSIDE] = 30,
                                                 [SIM_NODE_AFTER] = 30,
                                                 [SIM_COMMIT_FAIL] = 60,
                                                 [SIM_COMMIT_UNKNOWN] = 60,
                                                 [SIM_STORE_RESTORE] = 60,
                                                 [SIM_FAILOVER] = 60,
                                                 [SIM_BRANCH] = 700,
                                                 [SIM_SILENT] = 300,
                                                 [SIM_SERVER_CLOCK] = 80,
                                                 [SIM_POLICY] = 60,
                                                 [SIM_REFUSAL] = 1,
                                                 [SIM_DELETE] = 600,
                                                 [SIM_RECREATE] = 900,
                                                 [SIM_SEED] = 500,
                                                 [SIM_RESET] = 350,
                                                 [SIM_V2] = 1,
                                                 [SIM_V1] = 1};
    unsigned scale = scales[fault];
    switch (below(rng, 4)) {
    case 0:
        return 1 + scale / 4;
    case 1:
        return 1 + scale;
    default:
        return 0; /* half of the seeds do without */
    }
}

/* The draws do not depend on what is masked, so that a smaller configuration keeps the rest. */
static void draw(struct sim_world *w)
{
    static const unsigned paces_ms[] = {300, 1200, 1200, 4000};
    struct rng rng;
    struct sim_config *config = &w->config;
    struct sim_result *result = w->result;
    rng_init(&rng, config->seed);
    unsigned devices = 2 + below(&rng, 1 + below(&rng, SIM_DEVICES - 1));
    unsigned users = 1 + below(&rng, 1 + below(&rng, SIM_USERS));
    unsigned edits = 8 + below(&rng, 48);
    result->devices = config->devices != 0 ? config->devices : devices;
    result->users = config->users != 0 ? config->users : users;
    result->edits = config->edits != 0 ? config->edits : edits;
    w->n_users = result->users < result->devices ? result->users : result->devices;
    w->pace_ms = paces_ms[below(&rng, 4)];
    w->batch = 1u << below(&rng, 5);
    for (unsigned f = 0; f < SIM_FAULT_N; f++) {
        unsigned rate = draw_rate(&rng, (enum sim_fault)f);
        w->rates[f] = (config->faults & sim_fault_bit((enum sim_fault)f)) != 0 ? rate : 0;
    }
    /* What a v1 app shows the server again may come from an abandoned store: not promised. */
    if (w->rates[SIM_V1] > 0) {
        w->rates[SIM_STORE_RESTORE] = 0;
        w->rates[SIM_FAILOVER] = 0;
        w->rates[SIM_SILENT] = 0;
    }
    w->document_bytes = 4096 + 12 * result->edits;
    struct rng *streams[] = {&w->work, &w->chaos, &w->net, &w->engines};
    for (unsigned i = 0; i < 4; i++) {
        rng_init(streams[i], rng_next(&rng));
    }
    if (w->rates[SIM_SILENT] > below(&w->chaos, 1000)) {
        w->silent_at = 1 + below(&w->chaos, result->edits);
    }
}

/* ---- Setting up ------------------------------------------------------------------------------ */

static void begin_devices(struct sim_world *w)
{
    w->n_devices = w->result->devices;
    for (unsigned d = 0; d < w->n_devices && !sim_broken(w); d++) {
        struct sim_device *device = &w->devices[d];
        *device = (struct sim_device){.used = true,
                                      .user = d % w->n_users,
                                      .counter = d,
                                      .hint_online = true,
                                      .token_until_ms = GOOD_FOR_EVER};
        if (w->rates[SIM_GUEST] > below(&w->chaos, 1000)) {
            device->guest = true;
            struct sim_event *event = queue_add(w, EVENT_SIGN_IN, below(&w->chaos, 20000));
            event->end = d;
        }
        (void)device_start(w, d);
    }
}

static void begin_old(struct sim_world *w)
{
    for (unsigned kind = 0; kind < 2; kind++) {
        unsigned n = w->rates[kind == 0 ? SIM_V2 : SIM_V1] > 0 ? 1 + below(&w->work, 2) : 0;
        for (unsigned i = 0; i < n; i++) {
            struct sim_event *event = queue_add(w, EVENT_OLD, below(&w->work, 3000));
            event->end = w->n_old;
            w->old[w->n_old++] = (struct old_app){.used = true,
                                                  .v1 = kind == 1,
                                                  .user = below(&w->work, w->n_users),
                                                  .token_until_ms = GOOD_FOR_EVER};
        }
    }
}

static bool begin(struct sim_world *w)
{
    w->now_ms = START_MS;
    w->pending.token = NOWHERE;
    engine_actions_init(&w->actions);
    arena_init(&w->scratch);
    buf_init(&w->text);
    for (unsigned u = 0; u < SIM_USERS; u++) {
        char text[UUID_TEXT + 1];
        (void)snprintf(text, sizeof text, "%08x-0000-4000-8000-%012x", u + 1, u + 1);
        (void)uuid_parse(slice_of(text), &w->users[u]);
    }
    for (unsigned n = 0; n < NODES; n++) {
        arena_init(&w->nodes[n].policies_arena);
    }
    if (!store_begin(w)) {
        return false;
    }
    for (unsigned n = 0; n < NODES; n++) {
        (void)node_start(w, n);
    }
    begin_devices(w);
    begin_old(w);
    (void)queue_add(w, EVENT_ACTION, 1);
    return !sim_broken(w);
}

static void end(struct sim_world *w)
{
    for (unsigned d = 0; d < SLOTS; d++) {
        device_release(&w->devices[d]);
    }
    for (unsigned n = 0; n < NODES; n++) {
        if (w->nodes[n].up) {
            node_stop(w, n);
        }
        arena_release(&w->nodes[n].policies_arena);
    }
    for (unsigned u = 0; u < SIM_USERS; u++) {
        sim_disown(&w->lie_bodies[u]);
    }
    node_release_jobs(w);
    store_release(w);
    queue_release(&w->queue);
    engine_actions_release(&w->actions);
    arena_release(&w->scratch);
    buf_release(&w->text);
}

/* ---- One event ------------------------------------------------------------------------------- */

static void act(struct sim_world *w)
{
    if (w->quiet) {
        return;
    }
    w->n_edits++;
    app_act(w);
    chaos_act(w);
    (void)queue_add(w, EVENT_ACTION, below(&w->work, 2 * w->pace_ms));
}

static bool node_is(const struct sim_world *w, const struct sim_event *event)
{
    return w->nodes[event->node].up && w->nodes[event->node].life == event->life;
}

static void to_end(struct sim_world *w, struct sim_event *event)
{
    if (event->end >= SLOTS) {
        if (event->type == EVENT_ANSWER && net_arrives(w, event)) {
            old_answer(w, event);
        }
        return;
    }
    if (event->type == EVENT_NO_ANSWER) {
        device_no_answer(w, event);
    } else if (net_arrives(w, event)) {
        device_answer(w, event);
    }
}

static void handle(struct sim_world *w, struct sim_event *event)
{
    switch (event->type) {
    case EVENT_ACTION:
        act(w);
        break;
    case EVENT_REQUEST:
        if (net_arrives(w, event)) {
            node_request(w, event);
        }
        break;
    case EVENT_ANSWER:
    case EVENT_NO_ANSWER:
        to_end(w, event);
        break;
    case EVENT_COMMIT:
        if (node_is(w, event)) {
            node_commit(w, event->node);
        }
        break;
    case EVENT_NODE_UP:
        (void)(w->nodes[event->node].up || node_start(w, event->node));
        break;
    case EVENT_STORE_OPEN:
        w->nodes[event->node].usable |= node_is(w, event);
        break;
    case EVENT_DEVICE_UP:
        if (!w->devices[event->end].up && w->devices[event->end].life == event->life) {
            (void)device_start(w, event->end);
            if (w->quiet && w->devices[event->end].guest) {
                device_sign_in(w, event->end);
            }
        }
        break;
    case EVENT_SIGN_IN:
        device_sign_in(w, event->end);
        break;
    case EVENT_TOKEN:
        device_token(w, event);
        break;
    case EVENT_HEAL:
        chaos_heal(w, event->end, event->number);
        break;
    case EVENT_JOIN:
        node_join(w, event);
        break;
    case EVENT_WAKE:
        device_wake(w, event);
        break;
    case EVENT_BEAT:
        device_beat(w, event);
        break;
    case EVENT_NOTE:
        if (event->store_life == w->store_life) {
            node_publish(w, event->node, event->user, event->seq);
        }
        break;
    case EVENT_RESTORE:
        store_restore(w, event->number);
        break;
    case EVENT_OLD:
        old_turn(w, event->end);
        break;
    }
}

/* The next thing: the first event, or a device's timer where that comes before it. */
static bool step(struct sim_world *w, int64_t until_ms)
{
    int64_t at_ms = queue_next_ms(&w->queue);
    unsigned timer = NOWHERE;
    for (unsigned d = 0; d < w->n_devices; d++) {
        int64_t next_ms = device_next_ms(&w->devices[d]);
        if (next_ms < at_ms) {
            at_ms = next_ms;
            timer = d;
        }
    }
    if (at_ms > until_ms) {
        return false;
    }
    w->now_ms = at_ms > w->now_ms ? at_ms : w->now_ms;
    if (timer != NOWHERE) {
        device_timer(w, timer);
        return true;
    }
    struct sim_event event;
    if (!queue_take(&w->queue, &event)) {
        return false;
    }
    handle(w, &event);
    sim_disown(&event.body);
    return true;
}

/* ---- Chaos, then quiet ----------------------------------------------------------------------- */

#define EVENTS_MOST 1000000u

/* Requests that may yet change the store: an old app's, and late ones from before the quiet. */
static bool request_is_late(const struct sim_world *w)
{
    for (uint32_t i = 0; i < w->queue.n; i++) {
        const struct sim_event *event = &w->queue.items[i];
        if (event->type == EVENT_REQUEST &&
            (event->end >= SLOTS || event->serial < w->quiet_serial)) {
            return true;
        }
    }
    return w->nodes[0].n_waiting + w->nodes[1].n_waiting > 0;
}

/* Everything that was written is settled, and nobody of the old ones has more to say. */
static bool is_settled(const struct sim_world *w)
{
    for (unsigned d = 0; d < w->n_devices; d++) {
        struct engine_progress progress;
        if (!w->devices[d].up || w->devices[d].guest) {
            return false;
        }
        engine_progress(w->devices[d].engine, &progress);
        if (progress.settled < progress.written) {
            return false;
        }
    }
    bool settled = w->nodes[0].up && w->nodes[1].up && !request_is_late(w);
    for (unsigned i = 0; i < w->n_old; i++) {
        settled = settled && old_done(&w->old[i]);
    }
    return settled;
}

/* And every device has pulled since. */
static bool is_drained(struct sim_world *w)
{
    bool drained = is_settled(w);
    for (unsigned d = 0; d < w->n_devices; d++) {
        struct sim_device *device = &w->devices[d];
        struct engine_progress progress;
        if (!drained) {
            device->calm_begun = UINT64_MAX;
            continue;
        }
        engine_progress(device->engine, &progress);
        if (device->calm_begun == UINT64_MAX) {
            device->calm_begun = progress.begun;
        }
    }
    for (unsigned d = 0; d < w->n_devices && drained; d++) {
        struct engine_progress progress;
        engine_progress(w->devices[d].engine, &progress);
        drained = progress.answered > w->devices[d].calm_begun &&
                  engine_quiet(w->devices[d].engine) && !w->devices[d].flying;
    }
    return drained;
}

static void drain(struct sim_world *w)
{
    int64_t begun_ms = w->now_ms;
    chaos_end(w);
    for (unsigned d = 0; d < w->n_devices; d++) {
        w->devices[d].calm_begun = UINT64_MAX;
    }
    w->links[w->lie_end].offline = w->config.lie == SIM_LIE_DEAF;
    while (!sim_broken(w) && !is_drained(w)) {
        if (!step(w, begun_ms + DRAIN_MS) || w->result->n_events > EVENTS_MOST) {
            sim_break(w, SIM_STUCK, "after %d s without faults something still waits",
                      (int)(DRAIN_MS / 1000));
        }
    }
    w->result->drained_ms = w->now_ms - begun_ms;
}

int sim_run(const struct sim_config *config, struct sim_result *out)
{
    struct sim_world *w = mem_zalloc(1, sizeof *w);
    if (w == NULL) {
        return BQ_NOMEM;
    }
    *out = (struct sim_result){0};
    w->config = *config;
    w->result = out;
    draw(w);
    if (begin(w)) {
        while (w->n_edits < out->edits && !sim_broken(w) && step(w, INT64_MAX)) {
            if (out->n_events > EVENTS_MOST) {
                sim_break(w, SIM_STUCK, "events without end");
            }
        }
    }
    if (!sim_broken(w)) {
        drain(w);
    }
    if (!sim_broken(w)) {
        check_end(w);
    }
    out->hash = w->hash;
    int status = w->nomem ? BQ_NOMEM : BQ_OK;
    end(w);
    mem_free(w);
    return status;
}
