/* check.c - the checkers of devices: what they read, what they are told, and the ledger of what
 * they wrote. check_store.c looks at each commit, check_end.c when all is quiet.
 *
 * What can be decided: a token is in the set or not, and a device's counter is written by that
 * device alone. A device whose file was copied (restored, cloned) may lose what it had not sent and
 * never knows which sums were counted: of it only bounds are promised (docs/protocol.md 5.3). What
 * a store held goes with its copies: after a restore an acknowledged edit is back when its device
 * has sent it again, at the latest in the quiet. */
#include "sim/world.h"

#include <inttypes.h>

static bool same_text(struct slice a, struct slice b)
{
    if (a.ptr == NULL || b.ptr == NULL) {
        return a.ptr == b.ptr;
    }
    return slice_equal(a, b);
}

/* No file of a counter was copied. */
bool check_is_intact(const struct sim_world *w, unsigned counter)
{
    bool intact = true;
    for (unsigned d = 0; d < w->n_devices; d++) {
        intact = intact && (w->devices[d].counter != counter || !w->devices[d].copied);
    }
    return intact;
}

bool check_any_copied(const struct sim_world *w, unsigned user)
{
    bool copied = false;
    for (unsigned d = 0; d < w->n_devices; d++) {
        copied |= w->devices[d].user == user && w->devices[d].copied;
    }
    return copied;
}

enum sim_key check_key(struct slice text)
{
    unsigned k = 0;
    while (k < KEY_N && !slice_is(text, sim_keys[k])) {
        k++;
    }
    return (enum sim_key)k;
}

/* ---- The ledger ------------------------------------------------------------------------------ */

void ledger_enter(struct sim_world *w, unsigned d)
{
    struct sim_ledger *ledger = &w->ledger;
    struct pending_write *pending = &w->pending;
    const struct sim_device *device = &w->devices[d];
    if (!pending->is_one) {
        return;
    }
    pending->is_one = false;
    if (pending->token != NOWHERE) {
        ledger->tokens[pending->token].written = true;
        ledger->tokens[pending->token].in_set = pending->key == KEY_SET;
    }
    if (pending->key == KEY_COUNTS && pending->for_all) {
        ledger->written_all[device->user] += pending->amount;
    } else if (pending->key == KEY_COUNTS) {
        ledger->written[device->counter] += pending->amount;
        ledger->written_files[d] += pending->amount;
    } else if (pending->key == KEY_GAME) {
        ledger->game[device->user][pending->round] += pending->amount;
    } else if (pending->key == KEY_STATS) {
        ledger->played[device->user] += pending->amount;
    }
}

static int side_facts(struct sim_world *w, unsigned d, enum sim_key key,
                      const struct json_value *side, struct facts *out)
{
    struct buf text = BUF_INIT;
    int status = BQ_OK;
    *out = (struct facts){.twice = NOWHERE, .unknown = NOWHERE};
    if (json_is(side, JSON_OBJECT)) {
        json_print(&text, side);
        status = facts_read(w, key, w->devices[d].user, buf_slice(&text), out);
    }
    buf_release(&text);
    return status;
}

/* What an acknowledged edit added is in the store that spoke. Of a count it is all up to there:
 * edits of a key arrive in their order. */
static void enter_acknowledged(struct sim_world *w, unsigned d, const struct engine_edit_row *row)
{
    struct branch_facts *now = &w->ledger.now;
    const struct sim_device *device = &w->devices[d];
    bool counts = slice_is(row->key, sim_keys[KEY_COUNTS]);
    enum sim_key key = counts ? KEY_COUNTS : KEY_SET;
    struct facts before, after;
    struct arena arena;
    struct json_value edit;
    if (device->ack_life != w->store_life || (!counts && !slice_is(row->key, sim_keys[KEY_SET]))) {
        return;
    }
    arena_init(&arena);
    if (sim_fine(w, json_parse(&arena, row->edit, 90, &edit, NULL), "reading an edit") &&
        side_facts(w, d, key, json_get(&edit, "was"), &before) == BQ_OK &&
        side_facts(w, d, key, json_get(&edit, "now"), &after) == BQ_OK) {
        for (unsigned t = 0; t < w->ledger.n_tokens; t++) {
            if (facts_has(after.tokens, t) && !facts_has(before.tokens, t)) {
                facts_put(now->acked, t);
            }
        }
        if (!device->copied && after.counts[d] > now->acked_counts[d]) {
            now->acked_counts[d] = after.counts[d];
        }
    }
    arena_release(&arena);
}

/* ---- What a device is told ------------------------------------------------------------------- */

static void mark_dead(struct sim_world *w, unsigned d, const struct engine_dead_row *row)
{
    struct json_value edit;
    if (row->status == BQ_DELETED || !slice_is(row->key, sim_keys[KEY_BIG])) {
        return;
    }
    arena_reset(&w->scratch);
    if (!sim_fine(w, json_parse(&w->scratch, row->edit, 90, &edit, NULL), "a dead letter")) {
        return;
    }
    const struct json_value *after = json_get(&edit, "now");
    for (uint32_t i = 0; json_is(after, JSON_OBJECT) && i < after->count; i++) {
        const struct json_value *member = &after->members[i].value;
        unsigned token = NOWHERE;
        if (member->type == JSON_ARRAY && member->count > 0) {
            token = facts_token(w, json_text(&member->items[0]));
        }
        if (token != NOWHERE && !w->devices[d].copied) {
            w->ledger.tokens[token].dead = true;
        }
    }
}

static bool refusal_has_cause(const struct engine_notify *notify)
{
    return notify->status == BQ_DELETED
               ? slice_is(notify->key, sim_keys[KEY_NOTES])
               : notify->status == BQ_TOO_LARGE && slice_is(notify->key, sim_keys[KEY_BIG]);
}

/* What tells of trouble; everything else an app may be told at any time. */
static bool has_cause(const struct sim_device *device, const struct engine_notify *notify)
{
    const struct {
        enum bq_event_type type;
        bool cause;
    } causes[] = {{BQ_EVENT_DEAD_LETTER, refusal_has_cause(notify)},
                  {BQ_EVENT_TOKEN_NEEDED, device->refused_401},
                  {BQ_EVENT_OFFLINE, device->failed},
                  {BQ_EVENT_RETRYING, device->n_failed >= 5},
                  {BQ_EVENT_REWOUND, device->copied},
                  {BQ_EVENT_WIPED, false},
                  {BQ_EVENT_LOST, false}};
    for (size_t i = 0; i < sizeof causes / sizeof causes[0]; i++) {
        if (causes[i].type == notify->type) {
            return causes[i].cause;
        }
    }
    return true;
}

static void check_notice(struct sim_world *w, unsigned d, const struct engine_notify *notify)
{
    struct sim_device *device = &w->devices[d];
    NOTE(w, "device %u is told: event %d of %.*s, %s", d, (int)notify->type, SLICE_FMT(notify->key),
         status_code(notify->status));
    if (!has_cause(device, notify)) {
        sim_break(w, SIM_FALSE_ALARM, "device %u is told without cause: event %d, %.*s, %s", d,
                  (int)notify->type, SLICE_FMT(notify->key), status_code(notify->status));
    }
    if (notify->type == BQ_EVENT_TOKEN_NEEDED) {
        device->refused_401 = false;
    } else if (notify->type == BQ_EVENT_ONLINE) {
        device->failed = false;
    } else if (notify->type == BQ_EVENT_DEAD_LETTER && notify->status == BQ_TOO_LARGE) {
        sim_count(w, SIM_REFUSAL);
    }
}

void check_actions(struct sim_world *w, unsigned d)
{
    for (uint32_t i = 0; i < w->actions.n; i++) {
        const struct engine_action *action = &w->actions.items[i];
        if (action->type == ENGINE_ADD_LOG) {
            enter_acknowledged(w, d, &action->edit);
        } else if (action->type == ENGINE_ADD_DEAD) {
            mark_dead(w, d, &action->dead);
        } else if (action->type == ENGINE_NOTIFY) {
            check_notice(w, d, &action->notify);
        }
    }
}

/* ---- A device's documents -------------------------------------------------------------------- */

void check_facts(struct sim_world *w, const char *where, unsigned i, enum sim_key key,
                 const struct facts *facts)
{
    if (facts->foreign) {
        sim_break(w, SIM_LEAKED, "%s %u: %s holds token %u of another user", where, i,
                  sim_keys[key], facts->unknown);
    } else if (facts->unknown != NOWHERE) {
        sim_break(w, SIM_INVENTED, "%s %u: %s holds what nobody wrote (token %u)", where, i,
                  sim_keys[key], facts->unknown);
    } else if (facts->twice != NOWHERE) {
        sim_break(w, SIM_DOUBLED, "%s %u: %s holds token %u twice", where, i, sim_keys[key],
                  facts->twice);
    }
}

/* A device reads what it wrote: its tokens and its count. What was acknowledged and is not read is
 * lost, as far as its user can see. */
static void check_own(struct sim_world *w, unsigned d, enum sim_key key, const struct facts *facts)
{
    const struct sim_ledger *ledger = &w->ledger;
    if (w->devices[d].copied) {
        return;
    }
    if (key == KEY_COUNTS && facts->counts[d] != ledger->written_files[d]) {
        bool acked = facts->counts[d] < ledger->now.acked_counts[d];
        sim_break(w, acked ? SIM_LOST : SIM_WENT_BACK,
                  "device %u wrote %" PRId64 " and reads %" PRId64, d, ledger->written_files[d],
                  facts->counts[d]);
    }
    for (unsigned t = 0; key == KEY_SET && t < ledger->n_tokens; t++) {
        const struct sim_token *token = &ledger->tokens[t];
        if (token->device == d && token->written && token->in_set && !facts_has(facts->tokens, t)) {
            bool acked = facts_has(ledger->now.acked, t);
            sim_break(w, acked ? SIM_LOST : SIM_WENT_BACK,
                      "device %u wrote token %u and does not read it", d, t);
        }
    }
}

static void check_lane(struct sim_world *w, unsigned d, enum sim_key key, bool same_epoch)
{
    struct sim_device *device = &w->devices[d];
    struct seen_lane *seen = &device->seen[key];
    struct engine_view view;
    struct facts facts;
    if (!engine_lane_find(device->engine, slice_of(sim_keys[key]), &view)) {
        return;
    }
    if (same_epoch && view.version < seen->version) {
        sim_break(w, SIM_WENT_BACK, "device %u: %s goes from version %" PRId64 " to %" PRId64, d,
                  sim_keys[key], seen->version, view.version);
    }
    bool same = view.mine.ptr == seen->mine && view.mine.len == seen->mine_len &&
                view.modified_ms == seen->modified_ms;
    *seen = (struct seen_lane){view.version, view.mine.ptr, view.mine.len, view.modified_ms};
    if (same || facts_read(w, key, device->user, view.mine, &facts) != BQ_OK) {
        return;
    }
    check_facts(w, "device", d, key, &facts);
    if (view.mine.ptr != NULL) {
        check_own(w, d, key, &facts);
    }
}

void check_device(struct sim_world *w, unsigned d)
{
    struct sim_device *device = &w->devices[d];
    const struct engine_meta *meta = engine_meta(device->engine);
    struct slice epoch = meta->epoch.ptr == NULL ? SLICE("") : meta->epoch;
    bool same_epoch = slice_is(epoch, device->epoch);
    bool same_device = slice_is(slice_of(meta->device_id), device->device_id);
    if (same_epoch && same_device && meta->cursor < device->cursor) {
        sim_break(w, SIM_WENT_BACK, "device %u: the cursor goes from %" PRId64 " to %" PRId64, d,
                  device->cursor, meta->cursor);
    }
    device->cursor = meta->cursor;
    if (!same_device) {
        memcpy(device->device_id, meta->device_id, sizeof device->device_id);
    }
    if (!same_epoch && epoch.len < sizeof device->epoch) {
        memcpy(device->epoch, epoch.ptr, epoch.len);
        device->epoch[epoch.len] = '\0';
    }
    for (unsigned k = 0; k < KEY_N; k++) {
        check_lane(w, d, (enum sim_key)k, same_epoch);
    }
}

/* What the app saw is what it sees after a start. */
void check_restart(struct sim_world *w, unsigned d, const struct engine *engine)
{
    for (uint32_t i = 0; i < engine_n_lanes(engine); i++) {
        struct engine_view view;
        engine_lane_at(engine, i, &view);
        if (!same_text(view.mine, sim_disk_mine(&w->devices[d].disk, view.key))) {
            sim_break(w, SIM_LOST, "device %u: %.*s is not on disk as the app sees it", d,
                      SLICE_FMT(view.key));
        }
    }
}
