/* check_end.c - the checkers of the end, when all is quiet: every device equals the store, and what
 * can be counted is exact. */
#include "sim/world.h"

#include <inttypes.h>

/* ---- The end --------------------------------------------------------------------------------- */

static void same_document(struct sim_world *w, unsigned d, const struct store_doc *doc)
{
    struct engine_view view = {.version = 0}; /* where the device has none */
    enum sim_key key = check_key(doc->key);
    struct json_value here = json_absent(), there = json_absent();
    bool found = engine_lane_find(w->devices[d].engine, doc->key, &view);
    if (w->was_silent && key != KEY_SET && key != KEY_COUNTS) {
        return; /* of a loss that nobody told of, only what is written again shows */
    }
    arena_reset(&w->scratch);
    if (found && view.mine.ptr != NULL &&
        !sim_fine(w, json_parse(&w->scratch, view.mine, 80, &here, NULL), "reading a document")) {
        return;
    }
    if (!doc->deleted &&
        !sim_fine(w, json_parse(&w->scratch, doc->data, 80, &there, NULL), "reading the store")) {
        return;
    }
    if (!json_equal(&w->scratch, &here, &there)) {
        sim_break(w, SIM_DIVERGED,
                  "device %u: %.*s of version %" PRId64 " is %.*s, the store's %" PRId64 " is %.*s",
                  d, SLICE_FMT(doc->key), view.version,
                  (int)(view.mine.len > 60 ? 60 : view.mine.len), view.mine.ptr, doc->version,
                  (int)(doc->data.len > 60 ? 60 : doc->data.len), doc->data.ptr);
    }
}

static void check_equal(struct sim_world *w, unsigned d, const struct store_docs *docs)
{
    const struct engine *engine = w->devices[d].engine;
    for (uint32_t i = 0; i < docs->n; i++) {
        same_document(w, d, &docs->items[i]);
    }
    for (uint32_t i = 0; i < engine_n_lanes(engine); i++) {
        struct engine_view view;
        bool found = false;
        engine_lane_at(engine, i, &view);
        for (uint32_t k = 0; k < docs->n; k++) {
            found |= slice_equal(docs->items[k].key, view.key);
        }
        if (!found && !w->was_silent && view.mine.ptr != NULL) {
            sim_break(w, SIM_DIVERGED, "device %u has %.*s, the store has not", d,
                      SLICE_FMT(view.key));
        }
    }
}

static void check_exact(struct sim_world *w, unsigned user, enum sim_key key,
                        const struct facts *facts)
{
    const struct sim_ledger *ledger = &w->ledger;
    for (unsigned t = 0; key == KEY_SET && t < ledger->n_tokens; t++) {
        const struct sim_token *token = &ledger->tokens[t];
        bool due = token->user == user && token->written && token->in_set &&
                   !w->devices[token->device].copied;
        if (due && !facts_has(facts->tokens, t)) {
            sim_break(w, SIM_LOST, "token %u of device %u is nowhere", t, token->device);
        }
    }
    for (unsigned d = 0; key == KEY_COUNTS && d < w->n_devices; d++) {
        const struct sim_device *device = &w->devices[d];
        if (device->user == user && check_is_intact(w, device->counter) &&
            facts->counts[device->counter] != ledger->written[device->counter]) {
            sim_break(w, SIM_LOST, "device %u wrote %" PRId64 ", the store ends with %" PRId64, d,
                      ledger->written[device->counter], facts->counts[device->counter]);
        }
    }
}

/* Counters that several raise, of lib devices and of apps of V2. */
static void check_shared(struct sim_world *w, unsigned user, int64_t all, int64_t played)
{
    const struct sim_ledger *ledger = &w->ledger;
    if (check_any_copied(w, user)) {
        return;
    }
    if (all != ledger->written_all[user]) {
        sim_break(w, all > ledger->written_all[user] ? SIM_DOUBLED : SIM_LOST,
                  "user %u wrote %" PRId64 " in all, the store ends with %" PRId64, user,
                  ledger->written_all[user], all);
    }
    /* Beyond 32 versions the server does not know what an app of V2 started from. */
    bool known = ledger->now.docs[user][KEY_STATS].version <= 32;
    if (w->n_restores == 0 && known && played != ledger->played[user]) {
        sim_break(w, played > ledger->played[user] ? SIM_DOUBLED : SIM_LOST,
                  "user %u played %" PRId64 ", the store ends with %" PRId64, user,
                  ledger->played[user], played);
    }
}

static void check_user_end(struct sim_world *w, unsigned user)
{
    struct store *store = w->store;
    struct store_docs docs = {0};
    struct arena arena;
    arena_init(&arena);
    int status = store->begin(store);
    if (status == BQ_OK) {
        status = store->docs(store, &arena, &w->users[user], 0, 1000, 1u << 24, true, &docs);
        store->rollback(store);
    }
    (void)sim_fine(w, status, "reading the store");
    struct facts sets = {0}, counts = {0}, stats = {0};
    for (uint32_t i = 0; i < docs.n; i++) {
        enum sim_key key = check_key(docs.items[i].key);
        if ((key == KEY_SET || key == KEY_COUNTS) && !docs.items[i].deleted) {
            (void)facts_read(w, key, user, docs.items[i].data, key == KEY_SET ? &sets : &counts);
        }
        if (key == KEY_STATS && !docs.items[i].deleted) {
            (void)facts_read(w, key, user, docs.items[i].data, &stats);
        }
    }
    check_set(w, user, &sets);
    check_counts(w, user, &counts);
    check_exact(w, user, KEY_SET, &sets);
    check_exact(w, user, KEY_COUNTS, &counts);
    check_shared(w, user, counts.n, stats.n);
    for (unsigned d = 0; d < w->n_devices; d++) {
        if (w->devices[d].user == user) {
            check_equal(w, d, &docs);
        }
    }
    arena_release(&arena);
}

void check_end(struct sim_world *w)
{
    for (unsigned u = 0; u < w->n_users; u++) {
        check_user_end(w, u);
    }
}
