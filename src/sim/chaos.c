/* chaos.c - the faults that are not a message's: links, crashes, files, clocks, tokens, the store,
 * the operator. Each begins here with its rate, and ends by itself or with the chaos. */
#include "sim/world.h"

#define DAY_MS (INT64_C(86400) * 1000)

/* Clocks stray this far, so that no 30 days lie between what a file kept and what it sees. */
#define SKEW_MS (10 * DAY_MS)

/* ---- Links ----------------------------------------------------------------------------------- */

static void hold_link(struct sim_world *w, unsigned end, unsigned for_ms)
{
    struct sim_event *event = queue_add(w, EVENT_HEAL, for_ms);
    event->end = end;
    event->number = ++w->links[end].heal;
}

static void tell_online(struct sim_world *w, unsigned d, bool online)
{
    struct sim_device *device = &w->devices[d];
    struct engine_event event = {.type = ENGINE_ONLINE, .online = online ? 1 : 0};
    if (device->hint_online != online) {
        device->hint_online = online;
        sim_log(w, online ? "knows it is online" : "knows it is offline", d, 0, SLICE(""));
        if (device->up) {
            (void)device_step(w, d, &event);
        }
    }
}

void chaos_heal(struct sim_world *w, unsigned end, unsigned number)
{
    struct link *link = &w->links[end];
    if (link->heal != number) {
        return;
    }
    link->offline = false;
    memset(link->deaf, 0, sizeof link->deaf);
    memset(link->away, 0, sizeof link->away);
    sim_log(w, "is connected again", end, number, SLICE(""));
    if (end < SLOTS && w->devices[end].used) {
        tell_online(w, end, true);
    }
}

/* A fault of the links of one end. Old apps have the first kind alone. */
static void break_link(struct sim_world *w, unsigned end)
{
    struct link *link = &w->links[end];
    unsigned n = below(&w->chaos, NODES);
    if (sim_strikes(w, &w->chaos, SIM_OFFLINE)) {
        sim_log(w, "is offline", end, 0, SLICE(""));
        link->offline = true;
        hold_link(w, end, 1000 + below(&w->chaos, 60000));
        if (end < SLOTS && below(&w->chaos, 2) == 0) {
            tell_online(w, end, false);
        }
    }
    if (sim_strikes(w, &w->chaos, SIM_ONE_WAY)) {
        sim_log(w, "hears no answers", end, n, SLICE(""));
        link->deaf[n] = true;
        link->deaf[1 - n] = below(&w->chaos, 2) == 0;
        hold_link(w, end, 1000 + below(&w->chaos, 40000));
    }
    if (sim_strikes(w, &w->chaos, SIM_ONE_NODE)) {
        sim_log(w, "reaches one node", end, 1 - n, SLICE(""));
        link->away[n] = true;
        link->away[1 - n] = false;
        hold_link(w, end, 1000 + below(&w->chaos, 60000));
    }
    if (end < SLOTS && sim_strikes(w, &w->chaos, SIM_HALF_OPEN)) {
        sim_log(w, "has a half-open link", end, 0, SLICE(""));
        w->devices[end].wake.dead = true;
    }
}

/* ---- Devices --------------------------------------------------------------------------------- */

static void restore_file(struct sim_world *w, unsigned d)
{
    struct sim_device *device = &w->devices[d];
    if (device->guest) {
        return;
    }
    if (!device->has_backup) {
        device->has_backup =
            sim_fine(w, sim_disk_copy(&device->backup, &device->disk), "sim_disk_copy");
        return;
    }
    sim_count(w, SIM_RESTORE);
    device->copied = true;
    device_crash(w, d, "ends, and its file is an older one");
    (void)sim_fine(w, sim_disk_copy(&device->disk, &device->backup), "sim_disk_copy");
}

static void clone_file(struct sim_world *w, unsigned d)
{
    struct sim_device *device = &w->devices[d];
    unsigned c = w->n_devices;
    if (c == SLOTS || device->guest) {
        return;
    }
    struct sim_device *clone = &w->devices[c];
    sim_count(w, SIM_CLONE);
    device->copied = true;
    *clone = (struct sim_device){.used = true,
                                 .user = device->user,
                                 .counter = device->counter,
                                 .copied = true,
                                 .hint_online = true,
                                 .token_until_ms = GOOD_FOR_EVER,
                                 .life = 1000};
    if (sim_fine(w, sim_disk_copy(&clone->disk, &device->disk), "sim_disk_copy")) {
        w->n_devices++;
        sim_log(w, "is a clone of", c, d, SLICE(""));
        (void)device_start(w, c);
    }
}

static int64_t jump(struct sim_world *w, int64_t skew_ms)
{
    static const unsigned sizes_ms[] = {2000, 60000, 3600000, 864000000};
    int64_t by_ms = below(&w->chaos, sizes_ms[below(&w->chaos, 4)]);
    int64_t now_ms = below(&w->chaos, 2) == 0 ? skew_ms + by_ms : skew_ms - by_ms;
    return now_ms > SKEW_MS ? SKEW_MS : now_ms < -SKEW_MS ? -SKEW_MS : now_ms;
}

static void move_clock(struct sim_world *w, unsigned d)
{
    struct sim_device *device = &w->devices[d];
    int64_t skew_ms = jump(w, device->skew_ms);
    if (skew_ms < device->skew_ms) {
        /* The runner looks at its clock at least once a minute. */
        device->look_at_ms = w->now_ms + 1 + below(&w->chaos, 60000);
    }
    device->failed = true; /* a request may seem to take for ever */
    device->skew_ms = skew_ms;
    sim_log(w, "has another time", d, (uint64_t)skew_ms, SLICE(""));
}

static void trouble_device(struct sim_world *w, unsigned d)
{
    struct sim_device *device = &w->devices[d];
    if (device->up && sim_strikes(w, &w->chaos, SIM_CRASH)) {
        check_restart(w, d, device->engine);
        device_crash(w, d, "ends");
    }
    if (!w->quiet && w->rates[SIM_RESTORE] > below(&w->chaos, 1000)) {
        restore_file(w, d);
    }
    if (!w->quiet && w->rates[SIM_CLONE] > below(&w->chaos, 1000)) {
        clone_file(w, d);
    }
    if (sim_strikes(w, &w->chaos, SIM_CLOCK)) {
        move_clock(w, d);
    }
    if (w->rates[SIM_EXPIRE] > below(&w->chaos, 1000)) {
        device->token_until_ms = w->now_ms + below(&w->chaos, 5000);
    }
}

/* ---- The server ------------------------------------------------------------------------------ */

static void change_policy(struct sim_world *w)
{
    static const char *const policies[] = {"\"incoming\"",
                                           "\"keep\"",
                                           "{\"fields\":{\"f0\":\"max\",\"f1\":\"min\"}}",
                                           "{\"each\":\"max\"}",
                                           "{\"each\":\"whole\"}",
                                           "\"whole\""};
    const char *policy = policies[below(&w->chaos, 6)];
    sim_log(w, "policy of prefs", 0, 0, slice_of(policy));
    if (!store_set_policy(w, "prefs", policy)) {
        return;
    }
    for (unsigned n = 0; n < NODES; n++) {
        if (w->nodes[n].up) {
            node_stop(w, n);
            (void)node_start(w, n);
        }
    }
}

static void trouble_server(struct sim_world *w)
{
    unsigned n = below(&w->chaos, NODES);
    if (sim_strikes(w, &w->chaos, SIM_STORE_RESTORE)) {
        store_plan_restore(w);
    }
    if (sim_strikes(w, &w->chaos, SIM_FAILOVER)) {
        store_plan_failover(w);
    }
    if (sim_strikes(w, &w->chaos, SIM_SERVER_CLOCK)) {
        w->nodes[n].skew_ms = jump(w, w->nodes[n].skew_ms);
    }
    if (sim_strikes(w, &w->chaos, SIM_POLICY)) {
        change_policy(w);
    }
}

void chaos_act(struct sim_world *w)
{
    unsigned d = below(&w->chaos, w->n_devices);
    trouble_device(w, d);
    break_link(w, below(&w->chaos, w->n_devices));
    if (w->n_old > 0) {
        break_link(w, SLOTS + below(&w->chaos, w->n_old));
    }
    trouble_server(w);
    if (w->n_edits == w->silent_at) {
        store_plan_silent(w);
    }
}

/* ---- The end of it --------------------------------------------------------------------------- */

void chaos_end(struct sim_world *w)
{
    w->quiet = true;
    w->quiet_serial = w->queue.serial;
    sim_log(w, "the faults end", w->n_edits, 0, SLICE(""));
    for (unsigned end = 0; end < ENDS; end++) {
        if (w->links[end].heal > 0) {
            chaos_heal(w, end, w->links[end].heal);
        }
    }
    for (unsigned n = 0; n < NODES; n++) {
        w->nodes[n].skew_ms = 0;
    }
    for (unsigned d = 0; d < w->n_devices; d++) {
        w->devices[d].token_until_ms = GOOD_FOR_EVER;
        if (w->devices[d].guest && w->devices[d].up) {
            device_sign_in(w, d);
        }
    }
    for (unsigned i = 0; i < w->n_old; i++) {
        w->old[i].token_until_ms = GOOD_FOR_EVER;
    }
    if (store_restore_silently(w)) {
        app_write_all(w);
    }
}
