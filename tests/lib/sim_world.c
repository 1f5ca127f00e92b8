/* sim_world.c - see sim_world.h. */
#include "sim_world.h"

#include "store/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define START_MS INT64_C(1700000000000)
#define DRAIN_MS (INT64_C(900) * 1000)

static void fail(const struct sim_world *w, const char *what)
{
    fprintf(stderr, "sim: seed %" PRIu64 ": %s\n", w->seed, what);
    abort();
}

static void must(const struct sim_world *w, bool condition, const char *what)
{
    if (!condition) {
        fail(w, what);
    }
}

static bool chance(struct sim_world *w, unsigned percent)
{
    return rng_below(&w->rng, 100) < percent;
}

static struct slice own(const struct sim_world *w, struct slice text)
{
    char *copy = malloc(text.len + 1);
    must(w, copy != NULL, "no memory");
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    return (struct slice){copy, text.len};
}

/* ---- Messages ---- */

static void post(struct sim_world *w, struct sim_message message)
{
    if (w->n_messages == SIM_MESSAGES || (!w->quiet && chance(w, w->faults.drop_percent))) {
        w->n_drops++;
        return;
    }
    unsigned copies = !w->quiet && chance(w, w->faults.duplicate_percent) ? 2 : 1;
    w->n_duplicates += copies - 1;
    for (unsigned i = 0; i < copies && w->n_messages < SIM_MESSAGES; i++) {
        struct sim_message copy = message;
        copy.body = own(w, message.body);
        w->messages[w->n_messages++] = copy;
    }
}

static struct sim_message take(struct sim_world *w, unsigned i)
{
    struct sim_message message = w->messages[i];
    w->messages[i] = w->messages[--w->n_messages];
    return message;
}

/* ---- Devices ---- */

static void perform(struct sim_world *w, unsigned d)
{
    struct sim_device *device = &w->devices[d];
    sim_disk_save(&device->disk, &w->actions);
    for (uint32_t i = 0; i < w->actions.n; i++) {
        const struct engine_action *action = &w->actions.items[i];
        if (action->type == ENGINE_NOTIFY) {
            w->n_conflicts += action->notify.type == BQ_EVENT_CONFLICT;
            w->n_rewound += action->notify.type == BQ_EVENT_REWOUND;
            w->n_dead += action->notify.type == BQ_EVENT_DEAD_LETTER;
        }
        if (action->type != ENGINE_SEND) {
            continue;
        }
        struct sim_message message = {.device = d,
                                      .life = device->life,
                                      .request = action->send.request,
                                      .body = action->send.body};
        snprintf(message.function, sizeof message.function, "%s", action->send.function);
        if (w->trace) {
            printf("  d%u sends %s %.*s\n", d, message.function, SLICE_FMT(message.body));
        }
        post(w, message);
    }
}

static void step(struct sim_world *w, unsigned d, const struct engine_event *event)
{
    struct sim_device *device = &w->devices[d];
    int status = engine_step(device->engine, w->now_ms, event, &w->actions);
    if (status != BQ_OK && status != BQ_NOT_FOUND) {
        fprintf(stderr, "sim: step answers %d: %s\n", status, engine_error(device->engine));
        fail(w, "a step failed");
    }
    perform(w, d);
}

static void start(struct sim_world *w, unsigned d)
{
    struct sim_device *device = &w->devices[d];
    struct engine_config config = {.size = sizeof config,
                                   .limits = LIMITS_DEFAULT,
                                   .debounce_ms = 2000,
                                   .poll_ms = 30000,
                                   .timeout_ms = 10000,
                                   .syncs = true,
                                   .seed = rng_next(&w->rng)};
    engine_free(device->engine);
    device->life++;
    device->engine = sim_disk_load(&device->disk, &config);
    struct engine_event token = {.type = ENGINE_TOKEN};
    struct engine_event online = {.type = ENGINE_ONLINE, .online = device->online ? 1 : 0};
    step(w, d, &online);
    step(w, d, &token);
}

static void write_something(struct sim_world *w, unsigned d)
{
    char text[160];
    struct engine_event event = {.key = SLICE("game_stats")};
    unsigned what = (unsigned)rng_below(&w->rng, 10);
    unsigned n = (unsigned)rng_below(&w->rng, 5);
    if (what < 4) {
        event.type = ENGINE_INCREMENT;
        event.path = SLICE("incorrectAnswers");
        event.text = SLICE("1");
        w->increments++;
    } else if (what < 6) {
        event.type = ENGINE_PATCH;
        event.key = SLICE("lesson_progress");
        snprintf(text, sizeof text,
                 "{\"bestStarsByLesson\":{\"lesson_%u\":%u},\"unlockedCount\":%u}", n,
                 (unsigned)rng_below(&w->rng, 4), n);
        event.text = slice_of(text);
    } else if (what < 8) {
        event.type = ENGINE_PATCH;
        event.key = SLICE("settings");
        snprintf(text, sizeof text, "{\"f%u\":%u,\"aiThemes\":{\"t%u\":%s}}", n,
                 (unsigned)rng_below(&w->rng, 100), n, chance(w, 30) ? "null" : "{\"name\":\"x\"}");
        event.text = slice_of(text);
    } else if (what < 9) {
        event.type = ENGINE_PUT;
        event.key = SLICE("notes");
        snprintf(text, sizeof text, "{\"text\":\"%u\"}", (unsigned)rng_below(&w->rng, 1000));
        event.text = slice_of(text);
    } else if (chance(w, 50)) {
        event.type = ENGINE_REMOVE;
        event.key = SLICE("notes");
    } else {
        event.type = ENGINE_SEED;
        event.key = SLICE("settings");
        event.text = SLICE("{\"mute\":false,\"f0\":-1}");
    }
    if (w->trace) {
        printf("  d%u writes %.*s %.*s\n", d, SLICE_FMT(event.key), SLICE_FMT(event.text));
    }
    step(w, d, &event);
}

/* ---- The server ---- */

static void run_op(struct sim_world *w, const char *function, const struct json_value *params,
                   struct arena *arena, struct buf *out)
{
    struct proto_problem problem;
    struct op op = {.user = w->user, .arena = arena};
    struct op *ops[] = {&op};
    bool exchange = strcmp(function, "sync_exchange") == 0;
    bool report = strcmp(function, "sync_report") == 0;
    op.kind = exchange ? OP_EXCHANGE : report ? OP_REPORT : OP_POLICIES;
    int status = BQ_OK;
    if (exchange) {
        status = proto_exchange_read(arena, params, &op.in.exchange, &problem);
    } else if (report) {
        status = proto_report_read(arena, params, &op.in.report, &problem);
    }
    must(w, status == BQ_OK, "the server cannot read a request");
    w->server.now_us = w->now_ms * 1000;
    must(w, apply_batch(&w->server, ops, 1) == BQ_OK && op.status == BQ_OK, "apply_batch failed");
    if (exchange) {
        proto_answer_print(out, &op.out.answer);
    } else if (!report) {
        json_print(out, &op.out.policies);
    }
}

static void serve(struct sim_world *w, const struct sim_message *request)
{
    struct arena arena;
    struct json_value params;
    struct buf out = BUF_INIT;
    arena_init(&arena);
    must(w, json_parse(&arena, request->body, 80, &params, NULL) == BQ_OK, "a request is no JSON");
    run_op(w, request->function, &params, &arena, &out);
    struct sim_message answer = *request;
    answer.is_answer = true;
    answer.http_status = out.len == 0 ? 204 : 200;
    answer.body = buf_slice(&out);
    if (w->trace) {
        printf("  server answers d%u %.*s\n", request->device, SLICE_FMT(answer.body));
    }
    post(w, answer);
    buf_release(&out);
    arena_release(&arena);
}

static void deliver(struct sim_world *w, unsigned i)
{
    struct sim_message message = take(w, i);
    struct sim_device *device = &w->devices[message.device];
    if (!message.is_answer) {
        serve(w, &message);
    } else if (device->life == message.life) {
        struct engine_event event = {.type = ENGINE_ANSWER,
                                     .request = message.request,
                                     .http_status = message.http_status,
                                     .retry_after_ms = -1,
                                     .text = message.body};
        step(w, message.device, &event);
    }
    free((void *)(uintptr_t)message.body.ptr);
}

static void restore_store(struct sim_world *w)
{
    char epoch[16];
    struct store *copy;
    if (w->backup == NULL || chance(w, 40)) {
        if (w->backup != NULL) {
            w->backup->close(w->backup);
        }
        must(w, store_memory_clone(w->store, &w->backup) == BQ_OK, "no memory");
        return;
    }
    must(w, store_memory_clone(w->backup, &copy) == BQ_OK, "no memory");
    w->store->close(w->store);
    w->store = copy;
    w->server.store = copy;
    w->n_store_restores++;
    snprintf(epoch, sizeof epoch, "e%u", w->n_store_restores);
    must(w, store_memory_set_epoch(copy, epoch) == BQ_OK, "no memory");
}

static void restore_client(struct sim_world *w, unsigned d)
{
    struct sim_device *device = &w->devices[d];
    if (!device->has_backup || chance(w, 50)) {
        sim_disk_copy(&device->backup, &device->disk);
        device->has_backup = true;
        return;
    }
    sim_disk_copy(&device->disk, &device->backup);
    w->n_client_restores++;
    start(w, d);
}

/* ---- A history ---- */

static void event(struct sim_world *w)
{
    unsigned d = (unsigned)rng_below(&w->rng, w->faults.n_devices);
    struct sim_device *device = &w->devices[d];
    struct engine_event tick = {.type = ENGINE_TICK};
    unsigned what = (unsigned)rng_below(&w->rng, 100);
    w->now_ms += (int64_t)rng_below(&w->rng, 1500);
    if (w->n_messages > 0 && what < 45) {
        deliver(w, (unsigned)rng_below(&w->rng, w->n_messages));
    } else if (what < 65) {
        write_something(w, d);
    } else if (what < 70 && chance(w, w->faults.offline_percent)) {
        device->online = !device->online;
        struct engine_event online = {.type = ENGINE_ONLINE, .online = device->online ? 1 : 0};
        step(w, d, &online);
    } else if (what < 75 && chance(w, w->faults.crash_percent)) {
        w->n_crashes++;
        start(w, d);
    } else if (what < 78 && chance(w, w->faults.client_restore_percent)) {
        restore_client(w, d);
    } else if (what < 80 && chance(w, w->faults.store_restore_percent)) {
        restore_store(w);
    } else {
        step(w, d, &tick);
    }
}

static bool nobody_waits(const struct sim_world *w)
{
    for (unsigned d = 0; d < w->faults.n_devices; d++) {
        struct engine_progress progress;
        engine_progress(w->devices[d].engine, &progress);
        if (progress.settled < progress.written) {
            return false;
        }
    }
    return true;
}

/* Everything was sent by calm_ms, and every device has pulled since. */
static bool is_drained(const struct sim_world *w, int64_t calm_ms)
{
    bool drained = w->n_messages == 0;
    for (unsigned d = 0; d < w->faults.n_devices; d++) {
        drained = drained && engine_quiet(w->devices[d].engine) &&
                  engine_meta(w->devices[d].engine)->last_exchange_ms > calm_ms;
    }
    return drained;
}

/* Faults off: every message arrives, every timer fires. */
static void drain(struct sim_world *w)
{
    int64_t end_ms = w->now_ms + DRAIN_MS;
    int64_t calm_ms = INT64_MAX;
    w->quiet = true;
    for (unsigned d = 0; d < w->faults.n_devices; d++) {
        struct engine_event online = {.type = ENGINE_ONLINE, .online = 1};
        w->devices[d].online = true;
        step(w, d, &online);
    }
    while (w->now_ms < end_ms && !is_drained(w, calm_ms)) {
        if (!nobody_waits(w)) {
            calm_ms = INT64_MAX;
        } else if (calm_ms == INT64_MAX) {
            calm_ms = w->now_ms;
        }
        if (w->n_messages > 0) {
            deliver(w, 0);
            continue;
        }
        unsigned next = 0;
        for (unsigned d = 1; d < w->faults.n_devices; d++) {
            if (engine_next_at_ms(w->devices[d].engine) <
                engine_next_at_ms(w->devices[next].engine)) {
                next = d;
            }
        }
        int64_t at_ms = engine_next_at_ms(w->devices[next].engine);
        must(w, at_ms != INT64_MAX, "a device has nothing more to do");
        w->now_ms = at_ms > w->now_ms ? at_ms : w->now_ms;
        struct engine_event tick = {.type = ENGINE_TICK};
        step(w, next, &tick);
    }
}

static int64_t counter_of(struct sim_world *w, const struct engine *engine)
{
    struct engine_view view;
    struct arena arena;
    struct json_value value;
    int64_t n = 0;
    if (!engine_lane_find(engine, SLICE("game_stats"), &view) || view.mine.ptr == NULL) {
        return 0;
    }
    arena_init(&arena);
    must(w, json_parse(&arena, view.mine, 64, &value, NULL) == BQ_OK, "game_stats is no JSON");
    const struct json_value *member = json_get(&value, "incorrectAnswers");
    must(w, member != NULL && json_to_int(member, &n), "the counter is gone");
    arena_release(&arena);
    return n;
}

static void same_documents(struct sim_world *w, unsigned d)
{
    const struct engine *a = w->devices[0].engine;
    const struct engine *b = w->devices[d].engine;
    struct arena arena;
    arena_init(&arena);
    for (uint32_t i = 0; i < engine_n_lanes(a); i++) {
        struct engine_view left, right;
        struct json_value l = json_absent(), r = json_absent();
        engine_lane_at(a, i, &left);
        if (engine_lane_find(b, left.key, &right) && right.mine.ptr != NULL) {
            must(w, json_parse(&arena, right.mine, 64, &r, NULL) == BQ_OK, "no JSON");
        }
        if (left.mine.ptr != NULL) {
            must(w, json_parse(&arena, left.mine, 64, &l, NULL) == BQ_OK, "no JSON");
        }
        if (!json_equal(&arena, &l, &r)) {
            fprintf(stderr, "%.*s: d0 v%" PRId64 " %.*s, d%u v%" PRId64 " %.*s\n",
                    SLICE_FMT(left.key), left.version, SLICE_FMT(left.mine), d, right.version,
                    SLICE_FMT(right.mine));
            fail(w, "two devices differ");
        }
    }
    arena_release(&arena);
}

static void check(struct sim_world *w)
{
    for (unsigned d = 0; d < w->faults.n_devices; d++) {
        must(w, engine_quiet(w->devices[d].engine), "a queue did not drain");
        same_documents(w, d);
        int64_t n = counter_of(w, w->devices[d].engine);
        /* A restored client file may have lost edits, and never sends its sums twice. */
        bool exact = w->n_client_restores == 0;
        if (n > w->increments || (exact && n != w->increments)) {
            fprintf(stderr, "counter %" PRId64 ", increments %" PRId64 "\n", n, w->increments);
            fail(w, "the counter is wrong");
        }
    }
}

void sim_run(uint64_t seed, const struct sim_faults *faults, struct sim_world *out_counts,
             bool trace)
{
    struct sim_world *w = calloc(1, sizeof *w);
    if (w == NULL) {
        abort();
    }
    w->seed = seed;
    w->faults = *faults;
    w->trace = trace;
    w->now_ms = START_MS;
    w->increments = faults->lies ? 1 : 0;
    rng_init(&w->rng, seed);
    engine_actions_init(&w->actions);
    arena_init(&w->policy_arena);
    (void)uuid_parse(SLICE("11111111-2222-3333-4444-555555555555"), &w->user);
    must(w, store_memory_open("e0", 1, 2, 32, &w->store) == BQ_OK, "no store");
    w->server.store = w->store;
    w->server.limits = LIMITS_DEFAULT;
    must(w,
         op_load_policies(w->store, &w->policy_arena, &w->server.policies,
                          &w->server.policies_version) == BQ_OK,
         "no policies");
    for (unsigned d = 0; d < faults->n_devices; d++) {
        sim_disk_init(&w->devices[d].disk);
        sim_disk_init(&w->devices[d].backup);
        w->devices[d].online = true;
        start(w, d);
    }
    for (unsigned i = 0; i < faults->n_events; i++) {
        if (trace) {
            printf("event %u\n", i);
        }
        event(w);
    }
    drain(w);
    check(w);
    for (unsigned d = 0; d < faults->n_devices; d++) {
        engine_free(w->devices[d].engine);
        sim_disk_release(&w->devices[d].disk);
        sim_disk_release(&w->devices[d].backup);
    }
    for (unsigned i = 0; i < w->n_messages; i++) {
        free((void *)(uintptr_t)w->messages[i].body.ptr);
    }
    if (w->backup != NULL) {
        w->backup->close(w->backup);
    }
    w->store->close(w->store);
    engine_actions_release(&w->actions);
    arena_release(&w->policy_arena);
    out_counts->n_crashes += w->n_crashes;
    out_counts->n_drops += w->n_drops;
    out_counts->n_duplicates += w->n_duplicates;
    out_counts->n_conflicts += w->n_conflicts;
    out_counts->n_rewound += w->n_rewound;
    out_counts->n_dead += w->n_dead;
    out_counts->n_store_restores += w->n_store_restores;
    out_counts->n_client_restores += w->n_client_restores;
    free(w);
}
