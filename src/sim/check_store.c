/* check_store.c - the checkers of commits: what the store holds after each, against the ledger and
 * against what it held before; and what leaves a node. */
#include "sim/world.h"

#include <inttypes.h>

/* ---- The store ------------------------------------------------------------------------------- */

void check_set(struct sim_world *w, unsigned user, const struct facts *facts)
{
    const struct branch_facts *now = &w->ledger.now;
    for (unsigned t = 0; t < w->ledger.n_tokens; t++) {
        if (w->ledger.tokens[t].user == user && facts_has(now->acked, t) &&
            !facts_has(facts->tokens, t)) {
            sim_break(w, SIM_LOST, "token %u was acknowledged and is not in the store", t);
        }
    }
}

/* Too much is promised never to be there, but where a file was copied and the store lost the whole
 * document as well: then a counter in a map comes back as its copy knew it (docs/merge.md 5.2). */
void check_counts(struct sim_world *w, unsigned user, const struct facts *facts)
{
    for (unsigned c = 0; c < SLOTS; c++) {
        if (!w->devices[c].used || w->devices[c].user != user) {
            continue;
        }
        bool bounded = w->n_restores == 0 || check_is_intact(w, c);
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

/* Upper bounds, where nothing but edits could have raised a count. */
static void check_bounds(struct sim_world *w, unsigned user, enum sim_key key,
                         const struct facts *facts)
{
    if (w->n_restores > 0 || check_any_copied(w, user)) {
        return;
    }
    if (key == KEY_GAME && facts->round < 64 && facts->n > w->ledger.game[user][facts->round]) {
        sim_break(w, SIM_DOUBLED,
                  "game of user %u: %" PRId64 " counted in round %" PRId64 ", written %" PRId64,
                  user, facts->n, facts->round, w->ledger.game[user][facts->round]);
    }
    if (key == KEY_COUNTS && facts->n > w->ledger.written_all[user]) {
        sim_break(w, SIM_DOUBLED, "user %u wrote %" PRId64 " in all, the store holds %" PRId64,
                  user, w->ledger.written_all[user], facts->n);
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

/* What an app of V2 wrote last is not undone by an older document of the same app. But a store that
 * was restored remembers less of what it was sent, and a row that v1 shows again after 32 versions
 * is taken for new (docs/protocol.md 12.1). */
static void check_old_apps(struct sim_world *w, unsigned user, const struct facts *facts)
{
    for (unsigned i = 0; i < w->n_old; i++) {
        int64_t *at = &w->ledger.now.at[i];
        if (w->old[i].user != user || w->old[i].v1) {
            continue;
        }
        bool due = w->n_restores == 0 &&
                   (w->rates[SIM_V1] == 0 || w->ledger.now.docs[user][KEY_STATS].version <= 32);
        if (facts->at[i] < *at && due) {
            sim_break(w, SIM_WENT_BACK,
                      "document %" PRId64 " of old app %u comes back over document %" PRId64,
                      facts->at[i], i, *at);
        }
        *at = facts->at[i];
    }
}

/* A default fills a gap, and not a place where somebody chose, where its device knew nothing of the
 * document: then it comes as a seed (docs/merge.md 7). On a known one it is an ordinary edit. */
static void check_defaults(struct sim_world *w, unsigned user, const struct facts *facts)
{
    for (unsigned i = 0; i < DEFAULTS; i++) {
        bool *chosen = &w->ledger.now.chosen[user][i];
        if (*chosen && w->blind[user] && facts->values[i] == (int64_t)i) {
            sim_break(w, SIM_LOST, "a default took the place of what user %u chose for f%u", user,
                      i);
        }
        *chosen = facts->values[i] > (int64_t)i;
    }
}

static void check_doc(struct sim_world *w, unsigned user, const struct store_doc *doc)
{
    struct facts facts;
    enum sim_key key = check_key(doc->key);
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
    } else if (key == KEY_STATS) {
        check_old_apps(w, user, &facts);
    } else if (key == KEY_DEFAULTS) {
        check_defaults(w, user, &facts);
    }
    check_bounds(w, user, key, &facts);
}

/* What changed since the last look. */
static void check_user(struct sim_world *w, unsigned user, struct arena *arena)
{
    struct store *store = w->store;
    struct store_user row;
    struct store_docs docs = {.n = 0};
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
    if (row.generation > 0 && !w->was_silent) {
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
        enum sim_key key = check_key(result->key);
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

/* Under `incoming` the last to arrive wins (docs/merge.md 6.1). */
static void check_incoming(struct sim_world *w, const struct op *op)
{
    const struct proto_answer *answer = &op->out.answer;
    struct store *store = w->store;
    for (uint32_t i = 0; i < answer->n_results; i++) {
        const struct proto_result *result = &answer->results[i];
        const struct json_value *now = json_get(&op->in.exchange.edits[i], "now");
        struct store_doc doc = {0};
        struct json_value value;
        bool changes = result->status == PROTO_APPLIED || result->status == PROTO_MERGED;
        if (!changes || check_key(result->key) != KEY_PROFILE || !json_is(now, JSON_OBJECT) ||
            json_is(json_get(&op->in.exchange.edits[i], "seed"), JSON_TRUE) ||
            !sim_fine(w, store->begin(store), "begin")) {
            continue;
        }
        arena_reset(&w->scratch);
        int status = store->doc_get(store, &w->scratch, &op->user, result->key, &doc);
        store->rollback(store);
        if (status == BQ_OK && (doc.version == 0 || doc.deleted)) {
            continue; /* lost as a whole: it comes back as a seed (docs/protocol.md 8.4) */
        }
        if (!sim_fine(w, status, "doc_get") ||
            !sim_fine(w, json_parse(&w->scratch, doc.data, 80, &value, NULL), "profile")) {
            return;
        }
        for (uint32_t m = 0; m < now->count; m++) {
            const struct json_value *here = json_get_slice(&value, json_text(&now->members[m].key));
            if (here == NULL || !json_equal(&w->scratch, here, &now->members[m].value)) {
                sim_break(w, SIM_LOST, "%.*s of profile is not what arrived last",
                          SLICE_FMT(json_text(&now->members[m].key)));
            }
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

/* All that it writes into `defaults` was made on no document. */
static bool is_blind(const struct op *op)
{
    bool blind = false;
    for (uint32_t i = 0; op->kind == OP_EXCHANGE && i < op->out.answer.n_results; i++) {
        const struct json_value *base = json_get(&op->in.exchange.edits[i], "base");
        int64_t number = -1;
        blind |= check_key(op->out.answer.results[i].key) == KEY_DEFAULTS && base != NULL &&
                 json_to_int(base, &number) && number == 0;
    }
    return blind;
}

void check_commit(struct sim_world *w, struct op *const *ops, size_t n)
{
    bool touched[SIM_USERS] = {false};
    unsigned n_ops[SIM_USERS] = {0};
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
        n_ops[user]++;
        w->blind[user] = n_ops[user] == 1 && is_blind(ops[i]);
        touched[user] = true;
    }
    for (size_t i = 0; i < n; i++) {
        unsigned user = user_of(w, &ops[i]->user);
        if (user < w->n_users && n_ops[user] == 1 && ops[i]->kind == OP_EXCHANGE) {
            check_incoming(w, ops[i]);
        }
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
