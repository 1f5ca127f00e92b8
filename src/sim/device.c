/* device.c - a device: the engine over its file, and what the library's runner does around them.
 *
 * A step is: decide, save, then act. An app may end before the save (its write never was), or
 * between the save and the sending. */
#include "sim/world.h"

#define TIMEOUT_MS 10000
#define LOOK_MS 60000
#define BEAT_MS 30000

static struct engine_config config_of(struct sim_world *w, const struct sim_device *device)
{
    return (struct engine_config){.size = sizeof(struct engine_config),
                                  .limits = LIMITS_DEFAULT,
                                  .debounce_ms = 2000,
                                  .poll_ms = 30000,
                                  .timeout_ms = TIMEOUT_MS,
                                  .syncs = !device->guest,
                                  .seed = rng_next(&w->engines)};
}

/* ---- Life ------------------------------------------------------------------------------------ */

static void forget_seen(struct sim_device *device)
{
    memset(device->seen, 0, sizeof device->seen);
    device->cursor = 0;
    device->epoch[0] = '\0';
    device->device_id[0] = '\0';
}

bool device_start(struct sim_world *w, unsigned d)
{
    struct sim_device *device = &w->devices[d];
    struct engine_config config = config_of(w, device);
    struct engine_event online = {.type = ENGINE_ONLINE, .online = device->hint_online ? 1 : 0};
    struct engine_event token = {.type = ENGINE_TOKEN};
    if (!sim_fine(w, sim_disk_load(&device->disk, &config, &device->engine), "sim_disk_load")) {
        return false;
    }
    device->up = true;
    device->life++;
    device->flying = false;
    device->look_at_ms = INT64_MAX;
    device->wake.node = NOWHERE;
    forget_seen(device);
    sim_log(w, "starts", d, device->life, SLICE(""));
    check_restart(w, d, device->engine);
    (void)device_step(w, d, &online);
    if (device->up && !device->guest) {
        (void)device_step(w, d, &token);
    }
    if (device->up && !device->guest) {
        device_join(w, d);
    }
    return !sim_broken(w);
}

void device_crash(struct sim_world *w, unsigned d, const char *why)
{
    struct sim_device *device = &w->devices[d];
    if (!device->up) {
        return;
    }
    sim_log(w, why, d, device->life, SLICE(""));
    engine_free(device->engine);
    device->engine = NULL;
    device->up = false;
    device->flying = false;
    device->life++;
    struct sim_event *event = queue_add(w, EVENT_DEVICE_UP, below(&w->chaos, 8000));
    event->end = d;
    event->life = device->life;
}

void device_release(struct sim_device *device)
{
    engine_free(device->engine);
    sim_disk_release(&device->disk);
    sim_disk_release(&device->backup);
}

/* ---- A step ---------------------------------------------------------------------------------- */

static bool touches_disk(const struct engine_actions *actions)
{
    return actions->n > 0 && actions->items[0].type <= ENGINE_WIPE;
}

static const struct engine_action *find_send(const struct engine_actions *actions)
{
    for (uint32_t i = 0; i < actions->n; i++) {
        if (actions->items[i].type == ENGINE_SEND) {
            return &actions->items[i];
        }
    }
    return NULL;
}

static enum call call_of(const char *function)
{
    enum call call = CALL_EXCHANGE;
    while (call < CALL_N && !slice_is(slice_of(function), sim_calls[call])) {
        call++;
    }
    return call;
}

static void perform_sends(struct sim_world *w, unsigned d)
{
    struct sim_device *device = &w->devices[d];
    for (uint32_t i = 0; i < w->actions.n; i++) {
        const struct engine_action *action = &w->actions.items[i];
        if (action->type == ENGINE_CANCEL) {
            device->flying = false;
        }
        if (action->type != ENGINE_SEND) {
            continue;
        }
        struct sim_event request = {.end = d,
                                    .life = device->life,
                                    .request = action->send.request,
                                    .call = call_of(action->send.function),
                                    .body = action->send.body,
                                    .token_until_ms = device->token_until_ms,
                                    .user = device->user,
                                    .retry_after_ms = -1};
        device->flying = true;
        device->flight = action->send.request;
        device->flight_until_ms = w->now_ms + TIMEOUT_MS;
        sim_log(w, "sends", d, action->send.request, action->send.body);
        net_request(w, &request);
    }
}

/* The app hears that it needs a token, and gives one a little later. */
static void answer_notices(struct sim_world *w, unsigned d)
{
    struct sim_device *device = &w->devices[d];
    for (uint32_t i = 0; i < w->actions.n; i++) {
        const struct engine_action *action = &w->actions.items[i];
        if (action->type == ENGINE_NOTIFY && action->notify.type == BQ_EVENT_TOKEN_NEEDED &&
            !device->token_asked) {
            device->token_asked = true;
            struct sim_event *event = queue_add(w, EVENT_TOKEN, 50 + below(&w->chaos, 3000));
            event->end = d;
        }
        w->result->n_merged +=
            action->type == ENGINE_NOTIFY && action->notify.type == BQ_EVENT_CONFLICT;
    }
}

/* BQ_OK, or why the app's write was not taken; BQ_CLOSED: the app ended before it was saved. */
int device_step(struct sim_world *w, unsigned d, const struct engine_event *event)
{
    struct sim_device *device = &w->devices[d];
    int64_t now_ms = w->now_ms + device->skew_ms;
    int status = engine_step(device->engine, now_ms, event, &w->actions);
    if (status == BQ_NOMEM || status == BQ_CORRUPT) {
        (void)sim_fine(w, status, "engine_step");
        return status;
    }
    if (status != BQ_OK) {
        NOTE(w, "device %u: %s: %s", d, status_code(status), engine_error(device->engine));
        return status;
    }
    if (touches_disk(&w->actions) && sim_strikes(w, &w->chaos, SIM_UNSAVED)) {
        device_crash(w, d, "ends before a step is saved");
        return BQ_CLOSED;
    }
    if (!sim_fine(w, sim_disk_save(&device->disk, &w->actions), "saving a step")) {
        return BQ_CORRUPT;
    }
    ledger_enter(w, d);
    check_actions(w, d);
    check_device(w, d);
    answer_notices(w, d);
    if (find_send(&w->actions) != NULL && sim_strikes(w, &w->chaos, SIM_UNSENT)) {
        check_restart(w, d, device->engine);
        device_crash(w, d, "ends before it sends");
        return BQ_OK;
    }
    perform_sends(w, d);
    return BQ_OK;
}

/* ---- Timers ---------------------------------------------------------------------------------- */

int64_t device_next_ms(const struct sim_device *device)
{
    if (!device->used || !device->up) {
        return INT64_MAX;
    }
    int64_t next_ms = engine_next_at_ms(device->engine);
    if (next_ms != INT64_MAX) {
        next_ms -= device->skew_ms;
    }
    if (device->look_at_ms < next_ms) {
        next_ms = device->look_at_ms;
    }
    if (device->flying && device->flight_until_ms < next_ms) {
        next_ms = device->flight_until_ms;
    }
    return next_ms;
}

void device_timer(struct sim_world *w, unsigned d)
{
    struct sim_device *device = &w->devices[d];
    struct engine_event event = {.type = ENGINE_TICK};
    if (device->look_at_ms <= w->now_ms) {
        device->look_at_ms = INT64_MAX;
    }
    if (device->flying && device->flight_until_ms <= w->now_ms) {
        device->flying = false;
        device->failed = true;
        event.type = ENGINE_FAILED;
        event.request = device->flight;
        event.status = BQ_TIMEOUT;
    }
    sim_log(w, event.type == ENGINE_TICK ? "wakes" : "times out", d, device->flight, SLICE(""));
    (void)device_step(w, d, &event);
}

/* ---- What comes in --------------------------------------------------------------------------- */

void device_answer(struct sim_world *w, struct sim_event *from)
{
    struct sim_device *device = &w->devices[from->end];
    if (!device->up || device->life != from->life) {
        return;
    }
    struct engine_event event = {.type = ENGINE_ANSWER,
                                 .request = from->request,
                                 .http_status = from->http_status,
                                 .retry_after_ms = from->retry_after_ms,
                                 .text = from->body};
    if (device->flight == from->request) {
        device->flying = false;
    }
    device->failed |= from->http_status > 299;
    device->n_failed += from->http_status > 299 || from->http_status < 200;
    sim_log(w, "hears", from->end, (uint64_t)from->http_status, from->body);
    device->ack_life = from->store_life;
    (void)device_step(w, from->end, &event);
    device->ack_life = 0;
}

void device_no_answer(struct sim_world *w, const struct sim_event *from)
{
    struct sim_device *device = &w->devices[from->end];
    struct engine_event event = {
        .type = ENGINE_FAILED, .request = from->request, .status = BQ_NETWORK};
    if (!device->up || device->life != from->life || !device->flying ||
        device->flight != from->request) {
        return;
    }
    device->flying = false;
    device->failed = true;
    sim_log(w, "hears nothing", from->end, from->request, SLICE(""));
    (void)device_step(w, from->end, &event);
}

void device_token(struct sim_world *w, const struct sim_event *from)
{
    struct sim_device *device = &w->devices[from->end];
    struct engine_event event = {.type = ENGINE_TOKEN};
    device->token_asked = false;
    device->token_until_ms = GOOD_FOR_EVER;
    if (device->up && !device->guest) {
        sim_log(w, "has a token", from->end, device->life, SLICE(""));
        (void)device_step(w, from->end, &event);
    }
}

/* As the library: all of the guest's documents go into the user's engine in one transaction, and
 * the guest is empty then. */
void device_sign_in(struct sim_world *w, unsigned d)
{
    struct sim_device *device = &w->devices[d];
    struct engine *guest = device->engine;
    struct sim_disk disk;
    struct engine *engine = NULL;
    if (!device->up || !device->guest) {
        return;
    }
    sim_disk_init(&disk);
    device->guest = false;
    struct engine_config config = config_of(w, device);
    int status = engine_new(&config, &engine);
    for (uint32_t i = 0; i < engine_n_lanes(guest) && status == BQ_OK; i++) {
        struct engine_view view;
        engine_lane_at(guest, i, &view);
        struct engine_event event = {.type = ENGINE_GUEST, .key = view.key, .text = view.mine};
        if (view.mine.ptr == NULL) {
            continue;
        }
        status = engine_step(engine, w->now_ms + device->skew_ms, &event, &w->actions);
        if (status == BQ_OK) {
            status = sim_disk_save(&disk, &w->actions);
        }
    }
    engine_free(engine);
    if (!sim_fine(w, status, "signing in")) {
        sim_disk_release(&disk);
        return;
    }
    sim_count(w, SIM_GUEST);
    sim_log(w, "signs in", d, device->user, SLICE(""));
    engine_free(guest);
    device->engine = NULL;
    sim_disk_release(&device->disk);
    sim_disk_release(&device->backup);
    device->has_backup = false;
    device->disk = disk;
    (void)device_start(w, d);
}

/* ---- The realtime link ----------------------------------------------------------------------- */

/* Joins at some node; pulls, since nobody knows what was missed. */
void device_join(struct sim_world *w, unsigned d)
{
    struct sim_device *device = &w->devices[d];
    const struct link *link = &w->links[d];
    unsigned n = below(&w->net, NODES);
    struct engine_event wake = {.type = ENGINE_WAKE};
    struct sim_event *beat = queue_add(w, EVENT_BEAT, BEAT_MS);
    beat->end = d;
    beat->life = device->life;
    device->wake.serial++;
    device->wake.node = NOWHERE;
    if (!link->offline && !link->away[n] && !link->deaf[n] && w->nodes[n].up) {
        device->wake.node = n;
        device->wake.dead = false;
        struct sim_event *event = queue_add(w, EVENT_JOIN, 20);
        event->end = d;
        event->node = n;
        event->life = device->life;
        (void)device_step(w, d, &wake);
    }
}

void device_beat(struct sim_world *w, const struct sim_event *from)
{
    struct sim_device *device = &w->devices[from->end];
    if (!device->up || device->life != from->life) {
        return;
    }
    unsigned n = device->wake.node;
    const struct link *link = &w->links[from->end];
    bool lives = n != NOWHERE && !device->wake.dead && w->nodes[n].up && !link->offline &&
                 hub_listener(w->nodes[n].hub, w->nodes[n].joined[from->end]) == device;
    if (!lives) {
        device_join(w, from->end);
        return;
    }
    struct sim_event *beat = queue_add(w, EVENT_BEAT, BEAT_MS);
    beat->end = from->end;
    beat->life = device->life;
}

void device_wake(struct sim_world *w, const struct sim_event *from)
{
    struct sim_device *device = &w->devices[from->end];
    struct engine_event event = {.type = ENGINE_WAKE, .seq = from->seq};
    if (!device->up || device->guest || device->life != from->life || device->wake.dead) {
        return;
    }
    sim_log(w, "is woken", from->end, (uint64_t)from->seq, SLICE(""));
    (void)device_step(w, from->end, &event);
}
