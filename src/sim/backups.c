/* backups.c - the store as a whole: it comes back as an older copy, a copy takes over that lags, an
 * abandoned one returns. Each time under a new epoch, with both nodes started anew. */
#include "sim/world.h"

#include "store/memory.h"

#include <stdio.h>

bool store_set_policy(struct sim_world *w, const char *pattern, const char *policy)
{
    struct arena arena;
    struct op op = {.kind = OP_POLICY_SET, .user = w->users[0], .arena = &arena};
    struct op *ops[] = {&op};
    struct op_context context = w->nodes[0].context;
    arena_init(&arena);
    context.store = w->store;
    context.now_us = w->now_ms * 1000;
    op.in.policy_set.pattern = slice_of(pattern);
    int status = json_parse(&arena, slice_of(policy), 20, &op.in.policy_set.policy, NULL);
    if (status == BQ_OK) {
        status = apply_batch(&context, ops, 1);
    }
    status = status == BQ_OK ? op.status : status;
    arena_release(&arena);
    return sim_fine(w, status, "policy_set");
}

bool store_begin(struct sim_world *w)
{
    static const char *const policies[KEY_N] = {
#define X(name, key, policy) policy,
        KEY_MAP(X)
#undef X
    };
    int status = store_memory_open("e0", rng_next(&w->engines), 2, 32, &w->store);
    w->store_life = 1;
    bool fine = sim_fine(w, status, "store_memory_open");
    for (unsigned k = 0; k < KEY_N && fine; k++) {
        fine = policies[k] == NULL || store_set_policy(w, sim_keys[k], policies[k]);
    }
    return fine;
}

static void drop_backup(struct sim_backup *backup)
{
    if (backup->store != NULL) {
        backup->store->close(backup->store);
        backup->store = NULL;
    }
}

void store_release(struct sim_world *w)
{
    for (unsigned i = 0; i < RESTORES; i++) {
        drop_backup(&w->backups[i]);
    }
    drop_backup(&w->silent);
    if (w->store != NULL) {
        w->store->close(w->store);
    }
}

static struct sim_backup *free_backup(struct sim_world *w, unsigned *out_number)
{
    for (unsigned i = 0; i < RESTORES; i++) {
        if (w->backups[i].store == NULL) {
            *out_number = i;
            return &w->backups[i];
        }
    }
    return NULL;
}

/* A copy now, which comes back later. */
static void plan(struct sim_world *w, int64_t after_ms)
{
    unsigned number;
    struct sim_backup *backup = free_backup(w, &number);
    if (backup == NULL || !sim_fine(w, store_memory_clone(w->store, &backup->store), "a backup")) {
        return;
    }
    backup->facts = w->ledger.now;
    struct sim_event *event = queue_add(w, EVENT_RESTORE, after_ms);
    event->number = number;
}

void store_plan_restore(struct sim_world *w)
{
    plan(w, 3000 + below(&w->chaos, 40000));
}

void store_plan_failover(struct sim_world *w)
{
    plan(w, 50 + below(&w->chaos, 3000));
}

/* The store that is replaced may come back itself. */
static void abandon(struct sim_world *w)
{
    unsigned number;
    struct sim_backup *backup = free_backup(w, &number);
    if (backup == NULL || !sim_strikes(w, &w->chaos, SIM_BRANCH)) {
        w->store->close(w->store);
        return;
    }
    backup->store = w->store;
    backup->facts = w->ledger.now;
    struct sim_event *event = queue_add(w, EVENT_RESTORE, 1000 + below(&w->chaos, 30000));
    event->number = number;
}

void store_restore(struct sim_world *w, unsigned number)
{
    char epoch[24];
    struct sim_backup *backup = &w->backups[number];
    if (w->quiet || backup->store == NULL) {
        return;
    }
    for (unsigned n = 0; n < NODES; n++) {
        node_crash(w, n, 20 + below(&w->chaos, 2000));
    }
    abandon(w);
    w->store = backup->store;
    backup->store = NULL;
    w->store_life++;
    w->n_restores++;
    if (w->config.lie != SIM_LIE_BACK) {
        w->ledger.now = backup->facts;
        (void)snprintf(epoch, sizeof epoch, "e%u", w->n_restores);
        w->nomem |= w->store->epoch_set(w->store, slice_of(epoch)) != BQ_OK;
    }
    sim_log(w, "the store comes back", number, w->n_restores, SLICE(""));
}

/* ---- A restore that nobody tells of ---------------------------------------------------------- */

void store_plan_silent(struct sim_world *w)
{
    if (sim_fine(w, store_memory_clone(w->store, &w->silent.store), "a backup")) {
        w->silent.facts = w->ledger.now;
        w->silent_life = w->store_life;
    }
}

/* What shows then is what devices know (docs/protocol.md 8.2). A copied file knows what it may not
 * say under its name, so there must be none. */
bool store_restore_silently(struct sim_world *w)
{
    bool fits = w->silent.store != NULL && w->silent_life == w->store_life;
    for (unsigned d = 0; d < w->n_devices; d++) {
        fits = fits && !w->devices[d].copied && !w->devices[d].guest && w->devices[d].up;
    }
    if (!fits) {
        return false;
    }
    for (unsigned n = 0; n < NODES; n++) {
        node_crash(w, n, 20);
    }
    w->store->close(w->store);
    w->store = w->silent.store;
    w->silent.store = NULL;
    w->ledger.now = w->silent.facts;
    w->store_life++;
    w->n_restores++;
    w->was_silent = true;
    sim_count(w, SIM_SILENT);
    sim_log(w, "an older store comes back silently", w->n_restores, 0, SLICE(""));
    return true;
}
