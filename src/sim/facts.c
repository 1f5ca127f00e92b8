/* facts.c - what a document says, as far as it can be held against the ledger: its tokens, its
 * counters. */
#include "sim/world.h"

/* "u<user>-<number>"; NOWHERE for anything else. */
unsigned facts_token(const struct sim_world *w, struct slice text)
{
    unsigned number = 0;
    if (text.len < 4 || text.ptr[0] != 'u' || text.ptr[2] != '-') {
        return NOWHERE;
    }
    for (size_t i = 3; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9' || number > TOKENS) {
            return NOWHERE;
        }
        number = number * 10 + (unsigned)(text.ptr[i] - '0');
    }
    bool known = number < w->ledger.n_tokens &&
                 (unsigned)(text.ptr[1] - '0') == w->ledger.tokens[number].user;
    return known ? number : NOWHERE;
}

static void take_token(const struct sim_world *w, unsigned user, const struct json_value *value,
                       struct facts *out)
{
    if (value->type != JSON_STRING || value->len == 0 || value->ptr[0] != 'u') {
        return;
    }
    unsigned token = facts_token(w, json_text(value));
    if (token == NOWHERE || !w->ledger.tokens[token].written) {
        out->unknown = token == NOWHERE ? TOKENS : token;
        return;
    }
    if (w->ledger.tokens[token].user != user) {
        out->foreign = true;
        out->unknown = token;
    }
    if (facts_has(out->tokens, token)) {
        out->twice = token;
    }
    facts_put(out->tokens, token);
}

static void take_tokens(const struct sim_world *w, unsigned user, const struct json_value *array,
                        struct facts *out)
{
    for (uint32_t i = 0; json_is(array, JSON_ARRAY) && i < array->count; i++) {
        take_token(w, user, &array->items[i], out);
    }
}

static void take_counts(const struct json_value *by, struct facts *out)
{
    for (uint32_t i = 0; json_is(by, JSON_OBJECT) && i < by->count; i++) {
        struct slice name = json_text(&by->members[i].key);
        unsigned counter = 0;
        for (size_t c = 1; c < name.len; c++) {
            counter = counter * 10 + (unsigned)(name.ptr[c] - '0');
        }
        if (name.len < 2 || name.len > 3 || name.ptr[0] != 'd' || counter >= SLOTS ||
            !json_to_int(&by->members[i].value, &out->counts[counter])) {
            out->unknown = TOKENS;
            continue;
        }
        out->counted[counter] = true;
    }
}

static int64_t number(const struct json_value *value, const char *name, int64_t otherwise)
{
    const struct json_value *member = json_get(value, name);
    int64_t n = 0;
    return member != NULL && json_to_int(member, &n) ? n : otherwise;
}

static void take_stats(const struct json_value *value, struct facts *out)
{
    static const char *const names[OLD_APPS] = {"at0", "at1", "at2", "at3"};
    out->n = number(value, "incorrectAnswers", 0);
    for (unsigned i = 0; i < OLD_APPS; i++) {
        out->at[i] = number(value, names[i], 0);
    }
}

static void take_defaults(const struct json_value *value, struct facts *out)
{
    static const char *const names[DEFAULTS] = {"f0", "f1", "f2", "f3"};
    for (unsigned i = 0; i < DEFAULTS; i++) {
        out->values[i] = number(value, names[i], -1);
    }
}

int facts_read(struct sim_world *w, enum sim_key key, unsigned user, struct slice text,
               struct facts *out)
{
    struct json_value value;
    *out = (struct facts){.twice = NOWHERE, .unknown = NOWHERE};
    if (text.ptr == NULL) {
        return BQ_OK;
    }
    arena_reset(&w->scratch);
    if (!sim_fine(w, json_parse(&w->scratch, text, 80, &value, NULL), "reading a document")) {
        return BQ_CORRUPT;
    }
    switch (key) {
    case KEY_SET:
        take_tokens(w, user, json_get(&value, "tokens"), out);
        break;
    case KEY_COUNTS:
        take_counts(json_get(&value, "by"), out);
        out->n = number(&value, "all", 0);
        break;
    case KEY_GAME:
        out->n = number(&value, "n", 0);
        out->round = number(&value, "round", 0);
        break;
    case KEY_BIG:
        for (uint32_t i = 0; value.type == JSON_OBJECT && i < value.count; i++) {
            take_tokens(w, user, &value.members[i].value, out);
        }
        break;
    case KEY_NOTES:
        for (uint32_t i = 0; value.type == JSON_OBJECT && i < value.count; i++) {
            take_token(w, user, &value.members[i].value, out);
        }
        out->twice = NOWHERE;
        break;
    case KEY_STATS:
        take_stats(&value, out);
        break;
    case KEY_DEFAULTS:
        take_defaults(&value, out);
        break;
    case KEY_PREFS:
    case KEY_PROFILE:
    case KEY_N:
        break;
    }
    return BQ_OK;
}
