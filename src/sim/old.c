/* old.c - apps of the older systems, as they were shipped.
 *
 * V2 queues whole documents, each with the version that the app believed in when it was written,
 * sends one after the other, again and again until it is answered, and takes what the answer says.
 * v1 reads all rows, changes one key, and sends all of them back. */
#include "sim/world.h"

#define TURN_MS 1500
#define WAIT_MS 8000
#define PLAYS 20u

bool old_done(const struct old_app *app)
{
    return !app->used || (!app->waits && app->n_queue == 0 && app->n_writes == 0);
}

static void play(struct sim_world *w, unsigned i)
{
    struct old_app *app = &w->old[i];
    if (w->quiet || app->n_queue == 32) {
        return;
    }
    sim_count(w, app->v1 ? SIM_V1 : SIM_V2);
    if (app->v1) {
        app->n_writes = 1;
        return;
    }
    app->count++;
    w->ledger.played[app->user]++;
    app->queue[app->n_queue].expected = app->version;
    app->queue[app->n_queue].count = app->count;
    app->queue[app->n_queue].at = ++app->at;
    app->n_queue++;
    sim_log(w, "V2 plays", i, (uint64_t)app->count, SLICE(""));
}

static void send(struct sim_world *w, unsigned i, enum call call)
{
    struct old_app *app = &w->old[i];
    struct sim_event request = {.end = SLOTS + i,
                                .request = ++app->request,
                                .call = call,
                                .body = buf_slice(&w->text),
                                .token_until_ms = app->token_until_ms,
                                .user = app->user,
                                .retry_after_ms = -1};
    app->call = call;
    app->waits = true;
    app->waits_until_ms = w->now_ms + WAIT_MS;
    sim_log(w, "an old app sends", request.end, request.request, request.body);
    net_request(w, &request);
}

static void send_item(struct sim_world *w, unsigned i)
{
    const struct old_app *app = &w->old[i];
    buf_clear(&w->text);
    buf_add_format(&w->text,
                   "{\"p_data_key\":\"game_stats\",\"p_data\":{\"score\":1,\"incorrectAnswers\":%d,"
                   "\"at%u\":%d},"
                   "\"p_expected_version\":%d,\"p_device_id\":\"old-%u\"}",
                   (int)app->queue[0].count, i, (int)app->queue[0].at, (int)app->queue[0].expected,
                   i);
    send(w, i, CALL_UPSERT);
}

void old_turn(struct sim_world *w, unsigned i)
{
    struct old_app *app = &w->old[i];
    struct sim_event *event = queue_add(w, EVENT_OLD, TURN_MS / 2 + below(&w->work, TURN_MS));
    event->end = i;
    if (below(&w->work, 3) == 0) {
        play(w, i);
    }
    if (app->waits && w->now_ms < app->waits_until_ms) {
        return;
    }
    app->waits = false;
    if (app->n_queue > 0 && (w->quiet || below(&w->work, 2) == 0)) {
        send_item(w, i);
    } else if (app->n_writes > 0) {
        buf_clear(&w->text);
        buf_add_text(&w->text, "{}");
        send(w, i, CALL_ROWS);
    }
}

/* ---- V2: the answer is the truth ------------------------------------------------------------- */

static void take_upserted(struct sim_world *w, unsigned i, const struct json_value *answer)
{
    struct old_app *app = &w->old[i];
    const struct json_value *data = json_get(answer, "data");
    const struct json_value *version = json_get(answer, "version");
    const struct json_value *count = data == NULL ? NULL : json_get(data, "incorrectAnswers");
    if (!json_is(json_get(answer, "success"), JSON_TRUE) || version == NULL || count == NULL ||
        !json_to_int(version, &app->version) || !json_to_int(count, &app->count)) {
        sim_break(w, SIM_FALSE_ALARM, "an upsert of old app %u fails", i);
        return;
    }
    memmove(&app->queue[0], &app->queue[1], (app->n_queue - 1) * sizeof app->queue[0]);
    app->n_queue--;
}

/* ---- v1: the rows, one key changed, all of it back ------------------------------------------- */

static void print_entry(struct buf *out, struct slice key, const struct json_value *row)
{
    const struct json_value *at = json_get(row, "modified_at");
    json_print_string(out, key);
    buf_add_text(out, ":{\"value\":");
    json_print(out, json_get(row, "data"));
    buf_add_text(out, ",\"timestamp\":");
    json_print(out, at);
    buf_add_text(out, "}");
}

static void send_rows(struct sim_world *w, unsigned i, const struct json_value *rows)
{
    bool first = true;
    buf_clear(&w->text);
    buf_add_text(&w->text, "{");
    for (uint32_t r = 0; r < rows->count; r++) {
        struct slice key = json_text(json_get(&rows->items[r], "data_key"));
        if (slice_is(key, "profile")) {
            continue;
        }
        buf_add_text(&w->text, first ? "" : ",");
        print_entry(&w->text, key, &rows->items[r]);
        first = false;
    }
    buf_add_text(&w->text, first ? "" : ",");
    /* Local time without a zone, as v1 writes it. */
    buf_add_format(&w->text,
                   "\"profile\":{\"value\":{\"v1\":%u},\"timestamp\":\"2026-01-02T03:04:05.678\"}}",
                   below(&w->work, 1000));
    send(w, i, CALL_V1);
}

void old_answer(struct sim_world *w, const struct sim_event *event)
{
    unsigned i = event->end - SLOTS;
    struct old_app *app = &w->old[i];
    struct json_value answer;
    if (!app->waits || event->request != app->request) {
        return;
    }
    app->waits = false;
    sim_log(w, "an old app hears", event->end, (uint64_t)event->http_status, event->body);
    arena_reset(&w->scratch);
    if (event->http_status == 401) {
        app->token_until_ms = GOOD_FOR_EVER;
    }
    if (event->http_status != 200 ||
        json_parse(&w->scratch, event->body, 80, &answer, NULL) != BQ_OK) {
        return; /* as without an answer: the same again */
    }
    if (event->call == CALL_UPSERT && app->n_queue > 0) {
        take_upserted(w, i, &answer);
    } else if (event->call == CALL_ROWS && answer.type == JSON_ARRAY) {
        send_rows(w, i, &answer);
    } else if (event->call == CALL_V1) {
        app->n_writes = 0;
    }
}
