/* app.c - what apps write: unique tokens, counts, resets, deletes, defaults, too much.
 *
 * Each write goes into the ledger when it is durable, not before: an app that ended before its call
 * returned was promised nothing. */
#include "sim/world.h"

#include <stdio.h>

const char *const sim_keys[KEY_N] = {
#define X(name, key, policy) key,
    KEY_MAP(X)
#undef X
};

/* A token nobody had yet; NOWHERE when they are used up. Its text tells its user, so that it is a
 * canary as well. */
static unsigned new_token(struct sim_world *w, unsigned d)
{
    struct sim_ledger *ledger = &w->ledger;
    if (ledger->n_tokens == TOKENS) {
        return NOWHERE;
    }
    ledger->tokens[ledger->n_tokens] =
        (struct sim_token){.user = (uint8_t)w->devices[d].user, .device = (uint8_t)d};
    return ledger->n_tokens++;
}

static struct slice mine_of(const struct sim_world *w, unsigned d, enum sim_key key)
{
    struct engine_view view;
    bool found = engine_lane_find(w->devices[d].engine, slice_of(sim_keys[key]), &view);
    return found ? view.mine : SLICE_NONE;
}

static int write(struct sim_world *w, unsigned d, struct engine_event *event, enum sim_key key)
{
    event->key = slice_of(sim_keys[key]);
    if (event->type != ENGINE_INCREMENT && event->type != ENGINE_REMOVE) {
        event->text = buf_slice(&w->text);
    }
    if (below(&w->work, 10) == 0) {
        event->flags = BQ_IMMEDIATE;
    }
    w->pending.key = key;
    w->pending.is_one = true;
    sim_log(w, "writes", d, key, event->type == ENGINE_REMOVE ? SLICE("(removes)") : event->text);
    int status = device_step(w, d, event);
    if (status != BQ_OK && status != BQ_CLOSED && !sim_broken(w)) {
        sim_break(w, SIM_FALSE_ALARM, "device %u cannot write %s: %s", d, sim_keys[key],
                  status_code(status));
    }
    w->pending = (struct pending_write){.token = NOWHERE};
    return status;
}

static void write_set(struct sim_world *w, unsigned d)
{
    struct engine_event event = {.type = ENGINE_PATCH};
    struct slice mine = mine_of(w, d, KEY_SET);
    unsigned token = new_token(w, d);
    struct json_value value = json_absent();
    if (token == NOWHERE) {
        return;
    }
    arena_reset(&w->scratch);
    if (mine.ptr != NULL &&
        !sim_fine(w, json_parse(&w->scratch, mine, 64, &value, NULL), "reading the set")) {
        return;
    }
    const struct json_value *tokens = json_get(&value, "tokens");
    buf_clear(&w->text);
    buf_add_text(&w->text, "{\"tokens\":[");
    for (uint32_t i = 0; json_is(tokens, JSON_ARRAY) && i < tokens->count; i++) {
        json_print(&w->text, &tokens->items[i]);
        buf_add_text(&w->text, ",");
    }
    buf_add_format(&w->text, "\"u%u-%u\"]}", w->devices[d].user, token);
    w->pending.token = token;
    (void)write(w, d, &event, KEY_SET);
}

static void write_counts(struct sim_world *w, unsigned d)
{
    char path[24], amount[8];
    struct engine_event event = {.type = ENGINE_INCREMENT};
    w->pending.amount = 1 + below(&w->work, 3);
    w->pending.for_all = below(&w->work, 3) == 0;
    (void)snprintf(path, sizeof path, "/by/d%u", w->devices[d].counter);
    if (w->pending.for_all) {
        (void)snprintf(path, sizeof path, "all");
    }
    (void)snprintf(amount, sizeof amount, "%u", (unsigned)w->pending.amount);
    event.path = slice_of(path);
    event.text = slice_of(amount);
    (void)write(w, d, &event, KEY_COUNTS);
}

static void write_game(struct sim_world *w, unsigned d)
{
    struct engine_event event = {.type = ENGINE_INCREMENT};
    struct facts facts = {0};
    struct slice mine = mine_of(w, d, KEY_GAME);
    if (mine.ptr != NULL && facts_read(w, KEY_GAME, w->devices[d].user, mine, &facts) != BQ_OK) {
        return;
    }
    if (facts.round < 60 && sim_strikes(w, &w->work, SIM_RESET)) {
        event.type = ENGINE_PUT;
        buf_clear(&w->text);
        buf_add_format(&w->text, "{\"round\":%d,\"n\":0}", (int)facts.round + 1);
    } else {
        event.path = SLICE("n");
        event.text = SLICE("1");
        w->pending.amount = 1;
    }
    w->pending.round = facts.round;
    (void)write(w, d, &event, KEY_GAME);
}

/* Two members fit into what the server takes, three do not. */
static void write_big(struct sim_world *w, unsigned d)
{
    struct engine_event event = {.type = ENGINE_PATCH};
    unsigned member = below(&w->work, 6);
    buf_clear(&w->text);
    if (below(&w->work, 4) == 0) {
        buf_add_format(&w->text, "{\"b%u\":null}", member);
    } else {
        w->pending.token = new_token(w, d);
        if (w->pending.token == NOWHERE) {
            return;
        }
        buf_add_format(&w->text, "{\"b%u\":[\"u%u-%u\",\"", member, w->devices[d].user,
                       w->pending.token);
        for (unsigned i = 0; i < w->document_bytes * 2 / 5; i++) {
            buf_add_char(&w->text, 'x');
        }
        buf_add_text(&w->text, "\"]}");
    }
    (void)write(w, d, &event, KEY_BIG);
}

static void write_notes(struct sim_world *w, unsigned d)
{
    struct engine_event event = {.type = ENGINE_PATCH};
    struct engine_view view;
    bool found = engine_lane_find(w->devices[d].engine, SLICE("notes"), &view);
    unsigned token = new_token(w, d);
    if (token == NOWHERE) {
        return;
    }
    buf_clear(&w->text);
    buf_add_format(&w->text, "{\"n%u\":\"u%u-%u\"}", below(&w->work, 4), w->devices[d].user, token);
    w->pending.token = token;
    if (found && view.mine.ptr == NULL) {
        if (!sim_strikes(w, &w->work, SIM_RECREATE)) {
            return;
        }
        event.type = ENGINE_PUT;
    } else if (found && sim_strikes(w, &w->work, SIM_DELETE)) {
        event.type = ENGINE_REMOVE;
        w->pending.token = NOWHERE;
    }
    (void)write(w, d, &event, KEY_NOTES);
}

static void write_prefs(struct sim_world *w, unsigned d)
{
    struct engine_event event = {.type = ENGINE_PATCH};
    buf_clear(&w->text);
    buf_add_format(&w->text, "{\"f%u\":%u}", below(&w->work, 4), below(&w->work, 100));
    (void)write(w, d, &event, KEY_PREFS);
}

/* The defaults are 0 to 3, what users choose is more. */
static void write_defaults(struct sim_world *w, unsigned d)
{
    struct engine_event event = {.type = ENGINE_PATCH};
    buf_clear(&w->text);
    if (sim_strikes(w, &w->work, SIM_SEED)) {
        event.type = ENGINE_SEED;
        buf_add_text(&w->text, "{\"f0\":0,\"f1\":1,\"f2\":2,\"f3\":3}");
    } else {
        buf_add_format(&w->text, "{\"f%u\":%u}", below(&w->work, DEFAULTS),
                       10 + below(&w->work, 90));
    }
    (void)write(w, d, &event, KEY_DEFAULTS);
}

static void write_stats(struct sim_world *w, unsigned d)
{
    struct engine_event event = {
        .type = ENGINE_INCREMENT, .path = SLICE("incorrectAnswers"), .text = SLICE("1")};
    w->pending.amount = 1;
    (void)write(w, d, &event, KEY_STATS);
}

static void write_profile(struct sim_world *w, unsigned d)
{
    struct engine_event event = {.type = ENGINE_PATCH};
    buf_clear(&w->text);
    buf_add_format(&w->text, "{\"p%u\":%u}", below(&w->work, 3), below(&w->work, 100));
    (void)write(w, d, &event, KEY_PROFILE);
}

static void answer_dead_letters(struct sim_world *w, unsigned d)
{
    struct engine_event event = {.type = ENGINE_DEAD_DISCARD};
    if (engine_n_dead(w->devices[d].engine) == 0) {
        return;
    }
    event.type = below(&w->work, 2) == 0 ? ENGINE_DEAD_RETRY : ENGINE_DEAD_DISCARD;
    for (unsigned t = 0; event.type == ENGINE_DEAD_RETRY && t < w->ledger.n_tokens; t++) {
        w->ledger.tokens[t].dead &= w->ledger.tokens[t].device != d;
    }
    sim_log(w, event.type == ENGINE_DEAD_RETRY ? "retries" : "discards", d, 0, SLICE(""));
    (void)device_step(w, d, &event);
}

void app_act(struct sim_world *w)
{
    static void (*const others[])(struct sim_world *, unsigned) = {
        write_game,     write_notes,    write_notes,        write_notes,
        write_prefs,    write_stats,    write_profile,      write_profile,
        write_defaults, write_defaults, answer_dead_letters};
    unsigned d = below(&w->work, w->n_devices);
    unsigned what = below(&w->work, 100);
    w->pending = (struct pending_write){.token = NOWHERE};
    if (!w->devices[d].up) {
        return;
    }
    if (what < 26) {
        write_set(w, d);
    } else if (what < 52) {
        write_counts(w, d);
    } else if (what < 68 && w->rates[SIM_REFUSAL] > 0) {
        write_big(w, d);
    } else if (what < 78 && w->rates[SIM_DELETE] > 0) {
        write_notes(w, d);
    } else {
        others[below(&w->work, sizeof others / sizeof others[0])](w, d);
    }
}

/* Each device writes what each can be held to once more. */
void app_write_all(struct sim_world *w)
{
    for (unsigned d = 0; d < w->n_devices && !sim_broken(w); d++) {
        w->pending = (struct pending_write){.token = NOWHERE};
        write_set(w, d);
        write_counts(w, d);
    }
}
