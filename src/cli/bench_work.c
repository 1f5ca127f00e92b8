/* bench_work.c - the requests of a bench. */
#include "cli/bench_work.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/uuid.h"
#include "bqsync.h"
#include "json/json.h"
#include "server/jwt_sign.h"

#define EPOCH_BYTES 64u
#define TTL_SECONDS 86400

struct bench_state {
    int64_t version;
    int64_t cursor;
    int64_t op;       /* the last one that was answered */
    int64_t count;    /* incorrectAnswers as this device knows it */
    char epoch[EPOCH_BYTES];
    char id[17];      /* of the edit under way */
    bool pending;     /* no answer to it yet: the same edit goes once more */
};

bool bench_mode_parse(const char *word, enum bench_mode *out)
{
    static const char *const words[] = {"upsert", "exchange", "conflict", "echo"};
    for (unsigned i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(word, words[i]) == 0) {
            *out = (enum bench_mode)i;
            return true;
        }
    }
    return false;
}

static size_t n_states(const struct bench_work *work)
{
    return work->mode == BENCH_CONFLICT ? (size_t)work->connections * work->users : work->users;
}

int bench_work_init(struct bench_work *work, struct slice secret, int64_t now_s, uint64_t seed)
{
    rng_init(&work->rng, seed);
    rng_hex(&work->rng, 8, work->run);
    arena_init(&work->arena);
    buf_init(&work->body);
    work->tokens = mem_zalloc(work->users, sizeof *work->tokens);
    work->states = mem_zalloc(n_states(work), sizeof *work->states);
    work->turn = mem_zalloc(work->connections, sizeof *work->turn);
    if (work->tokens == NULL || work->states == NULL || work->turn == NULL) {
        return BQ_NOMEM;
    }
    for (unsigned i = 0; i < work->users; i++) {
        struct uuid user;
        snprintf(user.text, sizeof user.text, "00000000-0000-4000-8000-%012x", i);
        struct jwt_grant grant = {ROLE_AUTHENTICATED, &user, now_s, TTL_SECONDS};
        int status = jwt_sign(secret, &grant, &work->tokens[i]);
        if (status != BQ_OK) {
            return status;
        }
    }
    return BQ_OK;
}

void bench_work_release(struct bench_work *work)
{
    for (unsigned i = 0; work->tokens != NULL && i < work->users; i++) {
        buf_release(&work->tokens[i]);
    }
    mem_free(work->tokens);
    mem_free(work->states);
    mem_free(work->turn);
    arena_release(&work->arena);
    buf_release(&work->body);
}

/* The user that this connection's turn is about. */
static unsigned user_of(const struct bench_work *work, unsigned connection)
{
    unsigned turn = work->turn[connection];
    if (work->mode == BENCH_CONFLICT) {
        return (turn + connection) % work->users;
    }
    /* The users of a connection: connection, connection + C, connection + 2C ... */
    unsigned own = (work->users - connection % work->users - 1) / work->connections + 1;
    return (connection + turn % own * work->connections) % work->users;
}

static struct bench_state *state_of(struct bench_work *work, unsigned connection)
{
    unsigned user = user_of(work, connection);
    bool apart = work->mode == BENCH_CONFLICT;
    return &work->states[apart ? (size_t)connection * work->users + user : user];
}

static void add_stats(struct buf *out, int64_t count)
{
    buf_add_text(out, "{\"score\":");
    buf_add_int(out, count * 10);
    buf_add_text(out, ",\"currentStreak\":");
    buf_add_int(out, count % 17);
    buf_add_text(out, ",\"longestStreak\":42,\"incorrectAnswers\":");
    buf_add_int(out, count);
    buf_add_text(out, ",\"lastPlayed\":\"2026-03-05T14:11:38Z\"");
    buf_add_text(out, ",\"favouriteLesson\":\"lesson_017\"}");
}

static void add_upsert(struct bench_work *work, unsigned connection, struct buf *out)
{
    struct bench_state *state = state_of(work, connection);
    unsigned user = user_of(work, connection);
    buf_add_format(out, "{\"p_user_id\":\"00000000-0000-4000-8000-%012x\"", user);
    buf_add_text(out, ",\"p_data_key\":\"game_stats\",\"p_data\":");
    add_stats(out, ++state->count);
    buf_add_text(out, ",\"p_expected_version\":");
    buf_add_int(out, state->version);
    buf_add_format(out, ",\"p_device_id\":\"bench-%s-%u\"}", work->run, connection);
}

static void add_exchange(struct bench_work *work, unsigned connection, struct buf *out)
{
    struct bench_state *state = state_of(work, connection);
    if (!state->pending) {
        rng_hex(&work->rng, 8, state->id);
        state->pending = true;
    }
    buf_add_format(out, "{\"p_device_id\":\"bench-%s-%u\",\"p_epoch\":", work->run, connection);
    if (state->epoch[0] == '\0') {
        buf_add_text(out, "null");
    } else {
        buf_add_format(out, "\"%s\"", state->epoch);
    }
    buf_add_format(out, ",\"p_edits\":[{\"op\":%lld,\"prev\":%lld,\"id\":\"%s\"",
                   (long long)state->op + 1, (long long)state->op, state->id);
    buf_add_format(out, ",\"key\":\"game_stats\",\"base\":%lld", (long long)state->version);
    if (state->count > 0) {
        buf_add_format(out, ",\"was\":{\"incorrectAnswers\":%lld}", (long long)state->count);
    }
    buf_add_format(out, ",\"now\":{\"incorrectAnswers\":%lld}}]", (long long)state->count + 1);
    buf_add_format(out, ",\"p_cursor\":%lld}", (long long)state->cursor);
}

void bench_work_next(void *cls, unsigned connection, struct buf *out)
{
    struct bench_work *work = cls;
    struct buf *body = &work->body;
    bool upsert = work->mode == BENCH_UPSERT || work->mode == BENCH_ECHO;
    buf_clear(body);
    if (upsert) {
        add_upsert(work, connection, body);
    } else {
        add_exchange(work, connection, body);
    }
    buf_add_text(out, "POST /rest/v1/rpc/");
    buf_add_text(out, upsert ? "atomic_sync_upsert" : "sync_exchange");
    buf_add_text(out, " HTTP/1.1\r\nHost: ");
    buf_add_text(out, work->host);
    buf_add_text(out, "\r\nContent-Type: application/json\r\nAuthorization: Bearer ");
    buf_add_slice(out, buf_slice(&work->tokens[user_of(work, connection)]));
    buf_add_text(out, "\r\nContent-Length: ");
    buf_add_int(out, (int64_t)body->len);
    buf_add_text(out, "\r\n\r\n");
    buf_add_slice(out, buf_slice(body));
}

static bool int_of(const struct json_value *object, const char *name, int64_t *out)
{
    const struct json_value *value = json_get(object, name);
    return json_is(value, JSON_NUMBER) && json_to_int(value, out);
}

static bool upsert_answer(struct bench_state *state, const struct json_value *answer)
{
    return json_is(json_get(answer, "success"), JSON_TRUE) &&
           int_of(answer, "version", &state->version);
}

/* What the device knows after an answer: the count of the document that came back, or its own. */
static bool exchange_answer(struct bench_state *state, const struct json_value *answer)
{
    const struct json_value *epoch = json_get(answer, "epoch");
    const struct json_value *status = json_get(answer, "status");
    if (!json_is(epoch, JSON_STRING) || epoch->len >= EPOCH_BYTES ||
        !int_of(answer, "cursor", &state->cursor)) {
        return false;
    }
    memcpy(state->epoch, epoch->ptr, epoch->len);
    state->epoch[epoch->len] = '\0';
    if (json_is(status, JSON_STRING) && slice_is(json_text(status), "epoch")) {
        return true;
    }
    const struct json_value *results = json_get(answer, "results");
    if (!json_is(results, JSON_ARRAY) || results->count != 1) {
        return false;
    }
    const struct json_value *result = &results->items[0];
    const struct json_value *word = json_get(result, "status");
    int64_t count;
    bool merged = int_of(json_get(result, "data"), "incorrectAnswers", &count);
    state->count = merged ? count : state->count + 1;
    state->op++;
    state->pending = false;
    return json_is(word, JSON_STRING) && !slice_is(json_text(word), "refused") &&
           int_of(result, "version", &state->version);
}

bool bench_work_answer(void *cls, unsigned connection, int code, struct slice body)
{
    struct bench_work *work = cls;
    struct bench_state *state = state_of(work, connection);
    struct json_value answer;
    bool ok = code / 100 == 2;
    arena_reset(&work->arena);
    if (ok && work->mode != BENCH_ECHO) {
        ok = json_parse(&work->arena, body, 64, &answer, NULL) == BQ_OK &&
             (work->mode == BENCH_UPSERT ? upsert_answer(state, &answer)
                                         : exchange_answer(state, &answer));
    }
    if (!state->pending) {
        work->turn[connection]++;
    }
    return ok;
}
