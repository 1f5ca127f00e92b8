/* check.c - the checkers: what must hold after each event, and when all is quiet.
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
    return (a.ptr == NULL) == (b.ptr == NULL) && slice_equal(a, b);
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
    if (pending->key == KEY_COUNTS) {
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

static void check_facts(struct sim_world *w, const char *where, unsigned i, enum sim_key key,
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

/* ---- The store ------------------------------------------------------------------------------- */

static void check_set(struct sim_world *w, unsigned user, const struct facts *facts)
{
    const struct branch_facts *now = &w->ledger.now;
    for (unsigned t = 0; t < w->ledger.n_tokens; t++) {
        if (w->ledger.tokens[t].user == user && facts_has(now->acked, t) &&
            !facts_has(facts->tokens, t)) {
            sim_break(w, SIM_LOST, "token %u was acknowledged and is not in the store", t);
        }
    }
}

/* No file of a counter was copied. */
static bool is_intact(const struct sim_world *w, unsigned counter)
{
    bool intact = true;
    for (unsigned d = 0; d < w->n_devices; d++) {
        intact = intact && (w->devices[d].counter != counter || !w->devices[d].copied);
    }
    return intact;
}

/* Too much is promised never to be there, but where a file was copied and the store lost the whole
 * document as well: then a counter in a map comes back as its copy knew it (docs/merge.md 5.2). */
static void check_counts(struct sim_world *w, unsigned user, const struct facts *facts)
{
    for (unsigned c = 0; c < SLOTS; c++) {
        if (!w->devices[c].used || w->devices[c].user != user) {
            continue;
        }
        bool bounded = w->n_restores == 0 || is_intact(w, c);
        if (bounded && facts->counts[c] > w->ledger.written[c]) {
            sim_break(w, SIM_DOUBLED, "device %u wrote %" PRId64 ", the store holds %" PRId64, c,
                      w->ledger.written[c], facts->counts[c]);
        }
        if (facts->counts[c] < w->ledger.now.acked_counts[c]) {
            sim_break(w, SIM_LOST,
                      "device %u was acknowledged %" PRId64 ", the store holds %" PRId64, c,
                      w->ledger.now.acked_counts[c], facts->counts[c]);
        }
    }
}

static bool any_copied(const struct sim_world *w, unsigned user)
{
    bool copied = false;
    for (unsigned d = 0; d < w->n_devices; d++) {
        copied |= w->devices[d].user == user && w->devices[d].copied;
    }
    return copied;
}

/* Upper bounds, where nothing but edits could have raised a count. */
static void check_bounds(struct sim_world *w, unsigned user, enum sim_key key,
                         const struct facts *facts)
{
    if (w->n_restores > 0 || any_copied(w, user)) {
        return;
    }
    if (key == KEY_GAME && facts->round < 64 && facts->n > w->ledger.game[user][facts->round]) {
        sim_break(w, SIM_DOUBLED,
                  "game of user %u: %" PRId64 " counted in round %" PRId64 ", written %" PRId64,
                  user, facts->n, facts->round, w->ledger.game[user][facts->round]);
    }
    if (key == KEY_STATS && facts->n > w->ledger.played[user]) {
        sim_break(w, SIM_DOUBLED, "game_stats of user %u: %" PRId64 " counted, played %" PRId64,
                  user, facts->n, w->ledger.played[user]);
    }
    for (unsigned t = 0; key == KEY_BIG && t < w->ledger.n_tokens; t++) {
        if (w->ledger.tokens[t].dead && facts_has(facts->tokens, t)) {
            sim_break(w, SIM_INVENTED, "token %u was refused and is in the store", t);
        }
    }
}

static enum sim_key key_of(struct slice text)
{
    unsigned k = 0;
    while (k < KEY_N && !slice_is(text, sim_keys[k])) {
        k++;
    }
    return (enum sim_key)k;
}

static void check_doc(struct sim_world *w, unsigned user, const struct store_doc *doc)
{
    struct facts facts;
    enum sim_key key = key_of(doc->key);
    if (key == KEY_N) {
        sim_break(w, SIM_INVENTED, "the store holds %.*s", SLICE_FMT(doc->key));
        return;
    }
    int64_t *version = &w->ledger.now.docs[user][key].version;
    if (doc->version < *version || (doc->version == *version && doc->version > 0)) {
        sim_break(w, SIM_WENT_BACK, "the store's %s goes from version %" PRId64 " to %" PRId64,
                  sim_keys[key], *version, doc->version);
    }
    *version = doc->version;
    w->ledger.now.docs[user][key].deleted = doc->deleted;
    if (doc->deleted) {
        return;
    }
    if (facts_read(w, key, user, doc->data, &facts) != BQ_OK) {
        return;
    }
    check_facts(w, "store, user", user, key, &facts);
    if (key == KEY_SET) {
        check_set(w, user, &facts);
    } else if (key == KEY_COUNTS) {
        check_counts(w, user, &facts);
    }
    check_bounds(w, user, key, &facts);
}

/* What changed since the last look. */
static void check_user(struct sim_world *w, unsigned user, struct arena *arena)
{
    struct store *store = w->store;
    struct store_user row;
    struct store_docs docs;
    int64_t *seq = &w->ledger.now.seq[user];
    int status = store->begin(store);
    if (!sim_fine(w, status, "begin")) {
        return;
    }
    status = store->user_get(store, &w->users[user], &row);
    if (status == BQ_OK) {
        status = store->docs(store, arena, &w->users[user], *seq, 1000, 1u << 24, true, &docs);
    }
    store->rollback(store);
    if (!sim_fine(w, status, "reading the store")) {
        return;
    }
    if (row.seq < *seq) {
        sim_break(w, SIM_WENT_BACK, "user %u's feed goes from %" PRId64 " to %" PRId64, user, *seq,
                  row.seq);
    }
    if (row.generation > 0) {
        sim_break(w, SIM_FALSE_ALARM, "user %u's epoch rose, and nothing was lost", user);
    }
    *seq = row.seq;
    for (uint32_t i = 0; i < docs.n; i++) {
        check_doc(w, user, &docs.items[i]);
    }
}

/* A tombstone lives again only by an edit that knew it, or that began anew (docs/merge.md 9.3). */
static void check_revived(struct sim_world *w, unsigned user, const struct op *op)
{
    const struct proto_answer *answer = &op->out.answer;
    for (uint32_t i = 0; i < answer->n_results; i++) {
        const struct proto_result *result = &answer->results[i];
        const struct json_value *base = json_get(&op->in.exchange.edits[i], "base");
        enum sim_key key = key_of(result->key);
        int64_t number = 0;
        bool changes = result->status == PROTO_APPLIED || result->status == PROTO_MERGED;
        if (key == KEY_N || !changes || base == NULL || !json_to_int(base, &number)) {
            continue;
        }
        int64_t version = w->ledger.now.docs[user][key].version;
        bool deletes = json_is(json_get(&op->in.exchange.edits[i], "delete"), JSON_TRUE);
        if (w->ledger.now.docs[user][key].deleted && version > 0 && !result->deleted &&
            number > 0 && number < version) {
            sim_break(w, SIM_INVENTED,
                      "an edit of version %" PRId64 " revives %s, deleted in version %" PRId64,
                      number, sim_keys[key], version);
        }
        if (deletes && result->deleted && number != version) {
            sim_break(w, SIM_LOST, "a delete of version %" PRId64 " removes %s of version %" PRId64,
                      number, sim_keys[key], version);
        }
    }
}

static unsigned user_of(const struct sim_world *w, const struct uuid *user)
{
    unsigned u = 0;
    while (u < w->n_users && !slice_equal(uuid_slice(user), uuid_slice(&w->users[u]))) {
        u++;
    }
    return u;
}

void check_commit(struct sim_world *w, struct op *const *ops, size_t n)
{
    bool touched[SIM_USERS] = {false};
    for (size_t i = 0; i < n; i++) {
        unsigned user = user_of(w, &ops[i]->user);
        bool alone = user < w->n_users && !touched[user];
        if (user == w->n_users || ops[i]->status != BQ_OK) {
            continue;
        }
        /* Only where this batch did nothing else to the user: the ledger tells what was before. */
        if (alone && ops[i]->kind == OP_EXCHANGE && !ops[i]->out.answer.epoch_changed) {
            check_revived(w, user, ops[i]);
        }
        touched[user] = true;
    }
    for (unsigned u = 0; u < w->n_users; u++) {
        if (touched[u]) {
            check_user(w, u, ops[0]->arena);
        }
    }
}

/* Who hears of a change finds it. */
void check_publish(struct sim_world *w, unsigned user, int64_t seq)
{
    if (seq > w->ledger.now.seq[user]) {
        sim_break(w, SIM_INVENTED,
                  "the hub tells of change %" PRId64 " of user %u; %" PRId64 " is committed", seq,
                  user, w->ledger.now.seq[user]);
    }
}

/* A canary of another user in what leaves for one. */
void check_answer(struct sim_world *w, unsigned end, struct slice body)
{
    unsigned user = end < SLOTS ? w->devices[end].user : w->old[end - SLOTS].user;
    for (size_t i = 0; i + 4 < body.len; i++) {
        if (body.ptr[i] == '"' && body.ptr[i + 1] == 'u' && body.ptr[i + 3] == '-' &&
            body.ptr[i + 2] >= '0' && body.ptr[i + 2] <= '9' &&
            (unsigned)(body.ptr[i + 2] - '0') != user) {
            sim_break(w, SIM_LEAKED, "an answer to user %u holds a token of user %c", user,
                      body.ptr[i + 2]);
            return;
        }
    }
}

/* ---- The end --------------------------------------------------------------------------------- */

static void same_document(struct sim_world *w, unsigned d, const struct store_doc *doc)
{
    struct engine_view view;
    struct json_value here = json_absent(), there = json_absent();
    bool found = engine_lane_find(w->devices[d].engine, doc->key, &view);
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
        if (!found && view.mine.ptr != NULL) {
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
        if (device->user == user && is_intact(w, device->counter) &&
            facts->counts[device->counter] != ledger->written[device->counter]) {
            sim_break(w, SIM_LOST, "device %u wrote %" PRId64 ", the store ends with %" PRId64, d,
                      ledger->written[device->counter], facts->counts[device->counter]);
        }
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
    struct facts sets = {0}, counts = {0};
    for (uint32_t i = 0; i < docs.n; i++) {
        enum sim_key key = key_of(docs.items[i].key);
        if ((key == KEY_SET || key == KEY_COUNTS) && !docs.items[i].deleted) {
            (void)facts_read(w, key, user, docs.items[i].data, key == KEY_SET ? &sets : &counts);
        }
    }
    check_set(w, user, &sets);
    check_counts(w, user, &counts);
    check_exact(w, user, KEY_SET, &sets);
    check_exact(w, user, KEY_COUNTS, &counts);
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
