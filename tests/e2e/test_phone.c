/* test_phone.c - an app goes from V2 to libbqsync and back in the middle of an offline spell.
 *
 * The V2 app is played after its own code: SharedPreferences with the documents, the queue, the
 * device id and the state; whole documents go out by atomic_sync_upsert, requests or answers may
 * be lost on the way. Another device counts meanwhile. At the end the server's sum is the number
 * of answers that were ever given, on all devices: nothing lost, nothing doubled. */
#include "bqsync.h"

#include "base/rng.h"
#include "json/json.h"
#include "old_app.h"
#include "serve.h"
#include "token.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define USER "aaaaaaaa-0000-4000-8000-000000000001"
#define V2_DEVICE "7d8f4a52-0000-4000-8000-0000000000d1"
#define KEY "game_stats"
#define PATIENCE_MS 30000
#define QUEUE 64

struct v2_item {
    char id[64];
    int64_t sum;
    int64_t expected;
};

/* A V2 app with one document, {"incorrectAnswers": sum}. */
struct v2_app {
    struct old_app wire;
    int64_t sum;
    int64_t version;
    struct v2_item items[QUEUE];
    unsigned n_items;
    unsigned next_id;
    bool has_document;
};

struct world {
    struct serve serve;
    char url[64];
    char *token;
    struct v2_app v2;
    struct bq *phone;  /* NULL: the V2 app runs */
    struct bq *tablet;
    int64_t answers; /* that were ever given */
    unsigned n_lost_answers;
    unsigned n_upgrades;
    unsigned n_rollbacks;
};

/* ---- The V2 app ------------------------------------------------------------------------------ */

static void v2_answer(struct v2_app *app)
{
    struct v2_item *item = &app->items[app->n_items++];
    assert_true(app->n_items <= QUEUE);
    app->sum++;
    app->has_document = true;
    (void)snprintf(item->id, sizeof item->id, "item-%u", app->next_id++);
    item->sum = app->sum;
    item->expected = app->version;
}

static void v2_document(int64_t sum, char out[64])
{
    (void)snprintf(out, 64, "{\"incorrectAnswers\":%lld}", (long long)sum);
}

/* Sends the first item; the request, or its answer, may be lost. */
static void v2_send(struct v2_app *app, bool arrives, bool answered)
{
    char data[64];
    struct old_answer answer;
    if (app->n_items == 0 || !arrives) {
        return;
    }
    v2_document(app->items[0].sum, data);
    old_app_upsert(&app->wire, KEY, data, app->items[0].expected, &answer);
    assert_int_equal(answer.http_status, 200);
    if (answered) {
        int64_t version = 0;
        assert_true(json_to_int(json_get(&answer.body, "version"), &version));
        app->n_items--;
        memmove(app->items, app->items + 1, app->n_items * sizeof app->items[0]);
        app->version = version;
        if (app->n_items == 0) {
            /* The app's listeners take the merged document over. */
            assert_true(json_to_int(json_get(json_get(&answer.body, "data"), "incorrectAnswers"),
                                    &app->sum));
        }
    }
    old_app_release(&answer);
}

/* SharedPreferences as one JSON object; free() it. */
static char *v2_preferences(const struct v2_app *app)
{
    struct buf out = BUF_INIT;
    struct buf queue = BUF_INIT;
    char data[64];
    buf_add_char(&queue, '[');
    for (unsigned i = 0; i < app->n_items; i++) {
        v2_document(app->items[i].sum, data);
        buf_add_format(&queue,
                       "%s{\"id\":\"%s\",\"key\":\"" KEY "\",\"data\":%s,\"expectedVersion\":%lld,"
                       "\"createdAt\":\"2026-03-05T14:11:38.123456\",\"retryCount\":%u,"
                       "\"lastAttemptAt\":null,\"lastError\":null,\"priority\":\"normal\"}",
                       i > 0 ? "," : "", app->items[i].id, data,
                       (long long)app->items[i].expected, i % 7);
    }
    buf_add_char(&queue, ']');
    buf_add_text(&out, "{\"flutter.sync_device_id\":\"" V2_DEVICE "\",\"flutter.other\":true,"
                       "\"flutter.sync_queue_v2\":");
    json_print_string(&out, buf_slice(&queue));
    if (app->has_document) {
        v2_document(app->sum, data);
        buf_add_text(&out, ",\"flutter.sync_data_v2_" KEY "\":");
        json_print_string(&out, slice_of(data));
    }
    buf_clear(&queue);
    buf_add_format(&queue, "{\"dataKeys\":{\"" KEY "\":{\"key\":\"" KEY "\",\"version\":%lld}}}",
                   (long long)app->version);
    buf_add_text(&out, ",\"flutter.sync_state_v2" USER "\":");
    json_print_string(&out, buf_slice(&queue));
    buf_add_char(&out, '}');
    buf_release(&queue);
    return buf_take(&out, &(size_t){0});
}

static struct json_value text_member(struct arena *arena, const struct json_value *object,
                                     const char *name)
{
    struct json_value value = json_absent();
    const struct json_value *text = json_get(object, name);
    if (text != NULL) {
        assert_true(json_is(text, JSON_STRING)); /* a text, as SharedPreferences holds it */
        assert_int_equal(json_parse(arena, json_text(text), 50, &value, NULL), BQ_OK);
    }
    return value;
}

/* The V2 app starts with preferences that the library wrote. */
static void v2_start(struct v2_app *app, const char *preferences)
{
    struct arena arena;
    struct json_value prefs;
    arena_init(&arena);
    assert_int_equal(json_parse(&arena, slice_of(preferences), 50, &prefs, NULL), BQ_OK);
    struct json_value document = text_member(&arena, &prefs, "sync_data_v2_" KEY);
    struct json_value queue = text_member(&arena, &prefs, "sync_queue_v2");
    struct json_value state = text_member(&arena, &prefs, "sync_state_v2" USER);
    assert_true(queue.type == JSON_ARRAY && queue.count <= QUEUE);
    app->has_document = json_is(&document, JSON_OBJECT);
    if (app->has_document) {
        assert_true(json_to_int(json_get(&document, "incorrectAnswers"), &app->sum));
        const struct json_value *of_key = json_get(json_get(&state, "dataKeys"), KEY);
        assert_true(json_to_int(json_get(of_key, "version"), &app->version));
    }
    const struct json_value *device = json_get(&prefs, "sync_device_id");
    assert_true(device == NULL || slice_is(json_text(device), V2_DEVICE));
    app->n_items = queue.count;
    for (uint32_t i = 0; i < queue.count; i++) {
        const struct json_value *from = &queue.items[i];
        struct v2_item *to = &app->items[i];
        int64_t retries = -1;
        (void)snprintf(to->id, sizeof to->id, "%.*s", SLICE_FMT(json_text(json_get(from, "id"))));
        assert_true(json_to_int(json_get(json_get(from, "data"), "incorrectAnswers"), &to->sum));
        assert_true(json_to_int(json_get(from, "expectedVersion"), &to->expected));
        assert_true(json_to_int(json_get(from, "retryCount"), &retries) && retries == 0);
        assert_true(slice_is(json_text(json_get(from, "key")), KEY));
    }
    arena_release(&arena);
}

/* ---- The new app ----------------------------------------------------------------------------- */

static struct bq *open_app(struct world *w, const char *name, int online)
{
    struct bq *bq;
    char path[300];
    struct bq_config config = BQ_CONFIG_INIT;
    config.path = scratch_path(&w->serve.scratch, name, path, sizeof path);
    config.url = w->url;
    config.debounce_ms = 1;
    config.flags = BQ_NO_LIVE;
    assert_int_equal(bq_open(&config, &bq), BQ_OK);
    assert_int_equal(bq_set_online(bq, online), BQ_OK);
    assert_int_equal(bq_sign_in(bq, w->token, BQ_GUEST_MERGE, NULL), BQ_OK);
    return bq;
}

static void add_one(struct bq *bq)
{
    assert_int_equal(bq_increment(bq, KEY, "incorrectAnswers", "1", 0), BQ_OK);
}

static int64_t shown(struct bq *bq)
{
    struct bq_game_stats stats = {.size = sizeof stats};
    assert_int_equal(bq_game_stats_read(bq, &stats), BQ_OK);
    return stats.incorrect_answers;
}

/* Twice: the second time changes nothing. */
static void import(struct world *w)
{
    char *preferences = v2_preferences(&w->v2);
    struct bq_import_counts counts = {.size = sizeof counts};
    struct bq_import_counts again = {.size = sizeof again};
    assert_int_equal(bq_import_v2(w->phone, preferences, SIZE_MAX, &counts), BQ_OK);
    int64_t sum = shown(w->phone);
    assert_int_equal(bq_import_v2(w->phone, preferences, SIZE_MAX, &again), BQ_OK);
    assert_int_equal(again.documents + again.edits + again.skipped, 0);
    assert_int_equal(again.again, w->v2.n_items + (w->v2.has_document ? 1 : 0));
    assert_int_equal(shown(w->phone), sum);
    free(preferences);
}

static void upgrade(struct world *w, int online)
{
    w->phone = open_app(w, "phone.bqsync", online);
    import(w);
    if (w->v2.has_document) {
        assert_true(shown(w->phone) >= w->v2.sum);
    }
    w->n_upgrades++;
}

static void roll_back(struct world *w)
{
    char *preferences;
    struct bq_export_counts counts = {.size = sizeof counts};
    int64_t before = shown(w->phone);
    assert_int_equal(bq_export_v2(w->phone, BQ_V2_HAND_OVER, &preferences, &counts), BQ_OK);
    v2_start(&w->v2, preferences);
    assert_int_equal(counts.edits, w->v2.n_items);
    assert_int_equal(counts.left, 0);
    if (counts.documents > 0) {
        assert_int_equal(w->v2.sum, before);
    }
    bq_free(preferences);
    bq_close(w->phone);
    w->phone = NULL;
    w->n_rollbacks++;
}

static int64_t on_server(struct world *w)
{
    struct old_answer answer;
    int64_t sum = 0;
    old_app_call(&w->v2.wire, "get_user_sync_data", "{\"p_user_id\":\"" USER "\"}", &answer);
    assert_int_equal(answer.http_status, 200);
    for (uint32_t i = 0; i < answer.body.count; i++) {
        if (slice_is(json_text(json_get(&answer.body.items[i], "data_key")), KEY)) {
            const struct json_value *data = json_get(&answer.body.items[i], "data");
            assert_true(json_to_int(json_get(data, "incorrectAnswers"), &sum));
        }
    }
    old_app_release(&answer);
    return sum;
}

static void start(struct world *w)
{
    *w = (struct world){.answers = 0};
    serve_init(&w->serve);
    w->serve.config.user_rate = 0;
    assert_int_equal(serve_start(&w->serve), BQ_OK);
    (void)snprintf(w->url, sizeof w->url, "http://127.0.0.1:%u", w->serve.port);
    w->token = token_user(USER);
    w->v2.wire = (struct old_app){w->serve.port, w->token, USER, V2_DEVICE};
    w->tablet = open_app(w, "tablet.bqsync", 1);
}

static void stop(struct world *w)
{
    if (w->phone != NULL) {
        bq_close(w->phone);
    }
    bq_close(w->tablet);
    free(w->token);
    serve_release(&w->serve);
}

static void v2_answers(struct world *w, int n)
{
    for (int i = 0; i < n; i++) {
        v2_answer(&w->v2);
        w->answers++;
    }
}

static void tablet_answers(struct world *w, int n)
{
    for (int i = 0; i < n; i++) {
        add_one(w->tablet);
        w->answers++;
    }
    assert_int_equal(bq_flush(w->tablet, PATIENCE_MS), BQ_OK);
}

static void phone_answers(struct world *w, int n)
{
    for (int i = 0; i < n; i++) {
        add_one(w->phone);
        w->answers++;
    }
}

/* Everything goes out and comes in. */
static void go_online(struct world *w)
{
    if (w->phone == NULL) {
        while (w->v2.n_items > 0) {
            v2_send(&w->v2, true, true);
        }
        return;
    }
    assert_int_equal(bq_set_online(w->phone, 1), BQ_OK);
    assert_int_equal(bq_flush(w->phone, PATIENCE_MS), BQ_OK);
    assert_int_equal(bq_pull(w->phone, PATIENCE_MS), BQ_OK);
}

static void expect_exact(struct world *w)
{
    assert_int_equal(on_server(w), w->answers);
    assert_int_equal(bq_pull(w->tablet, PATIENCE_MS), BQ_OK);
    assert_int_equal(shown(w->tablet), w->answers);
    if (w->phone != NULL) {
        struct bq_stats stats = {.size = sizeof stats};
        assert_int_equal(shown(w->phone), w->answers);
        assert_int_equal(bq_stats(w->phone, &stats), BQ_OK);
        assert_int_equal(stats.pending + stats.frozen + stats.dead_letters, 0);
    }
}

/* Three answers that the server has, five of the tablet, then offline: three more, the first of
 * which arrived although its answer was lost. */
static void begin_spell(struct world *w)
{
    start(w);
    v2_answers(w, 3);
    go_online(w);
    tablet_answers(w, 5);
    v2_answers(w, 3);
    v2_send(&w->v2, true, false);
    w->n_lost_answers++;
    assert_int_equal(on_server(w), 9);
}

/* ---- Cases ----------------------------------------------------------------------------------- */

static void an_upgrade_in_an_offline_spell_counts_each_answer_once(void **state)
{
    static struct world w;
    (void)state;
    begin_spell(&w);
    upgrade(&w, 0);
    assert_int_equal(shown(w.phone), 6); /* what the older app showed */
    phone_answers(&w, 2);
    assert_int_equal(shown(w.phone), 8);
    go_online(&w);
    expect_exact(&w);
    import(&w); /* at the next start, the preferences are still there */
    go_online(&w);
    expect_exact(&w);
    stop(&w);
}

static void upgraded_and_rolled_back_in_an_offline_spell_counts_each_answer_once(void **state)
{
    static struct world w;
    (void)state;
    begin_spell(&w);
    upgrade(&w, 0);
    phone_answers(&w, 2);
    roll_back(&w);
    assert_int_equal(w.v2.n_items, 4); /* its own three, and ours as one */
    v2_answers(&w, 1);
    go_online(&w);
    expect_exact(&w);
    stop(&w);
}

static void upgraded_again_what_was_handed_over_comes_from_there_alone(void **state)
{
    static struct world w;
    (void)state;
    begin_spell(&w);
    upgrade(&w, 0);
    phone_answers(&w, 2);
    roll_back(&w);
    v2_answers(&w, 1);
    v2_send(&w.v2, true, true);
    v2_send(&w.v2, true, false);
    upgrade(&w, 0);
    phone_answers(&w, 4);
    go_online(&w);
    expect_exact(&w);
    stop(&w);
}

static void a_hand_over_sends_nothing_until_it_is_taken_back(void **state)
{
    static struct world w;
    char *preferences;
    (void)state;
    begin_spell(&w);
    upgrade(&w, 0);
    phone_answers(&w, 2);
    assert_int_equal(bq_export_v2(w.phone, BQ_V2_HAND_OVER, &preferences, NULL), BQ_OK);
    bq_free(preferences);
    assert_int_equal(bq_set_online(w.phone, 1), BQ_OK);
    assert_int_not_equal(bq_flush(w.phone, 100), BQ_OK);
    assert_int_equal(on_server(&w), 9);
    assert_int_equal(bq_export_v2(w.phone, BQ_V2_TAKE_BACK, &preferences, NULL), BQ_OK);
    assert_null(preferences);
    go_online(&w);
    expect_exact(&w);
    stop(&w);
}

/* v1 kept one document per key; it goes out as a write of v1's row. */
static void v1s_queue_comes_in_too(void **state)
{
    static struct world w;
    struct bq_import_counts counts = {.size = sizeof counts};
    static const char prefs[] =
        "{\"sync_service_queue\":\"{\\\"game_stats\\\":{\\\"incorrectAnswers\\\":4},"
        "\\\"settings\\\":{\\\"mute\\\":true}}\"}";
    struct bq_document document = {.size = sizeof document};
    (void)state;
    start(&w);
    assert_int_equal(bq_put(w.tablet, "settings", "{\"mute\":false,\"gameSpeed\":\"fast\"}",
                            SIZE_MAX, 0), BQ_OK);
    tablet_answers(&w, 2);
    w.phone = open_app(&w, "phone.bqsync", 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(bq_import_v2(w.phone, prefs, SIZE_MAX, &counts), BQ_OK);
        assert_int_equal(counts.edits, i == 0 ? 2 : 0);
    }
    assert_int_equal(shown(w.phone), 4);
    go_online(&w);
    assert_int_equal(on_server(&w), 4); /* nobody knows what v1 counted from: the larger */
    assert_int_equal(bq_pull(w.tablet, PATIENCE_MS), BQ_OK);
    assert_int_equal(bq_get(w.tablet, "settings", &document), BQ_OK);
    assert_non_null(strstr(document.json, "\"mute\":true"));
    assert_non_null(strstr(document.json, "\"gameSpeed\":\"fast\""));
    bq_document_release(&document);
    stop(&w);
}

static void what_is_no_queue_is_refused_and_changes_nothing(void **state)
{
    static const struct {
        const char *text;
        int status;
    } cases[] = {
        {"", BQ_JSON_SYNTAX},
        {"[]", BQ_INVALID},
        {"{\"sync_queue_v2\":\"{}\"}", BQ_INVALID},
        {"{\"sync_queue_v2\":\"nonsense\"}", BQ_INVALID},
        {"{\"sync_service_queue\":[]}", BQ_INVALID},
        {"{\"sync_data_v2_settings\":{\"a\":1},\"sync_queue_v2\":[{\"id\":\"1\",\"key\":\"a\","
         "\"data\":{}}]}", BQ_INVALID}, /* whose device? */
        {"{\"sync_state_v2bbbbbbbb-0000-4000-8000-000000000002\":\"{}\"}", BQ_FORBIDDEN},
    };
    static struct world w;
    struct bq_documents documents = {.size = sizeof documents};
    struct bq_import_counts counts = {.size = sizeof counts};
    (void)state;
    start(&w);
    w.phone = open_app(&w, "phone.bqsync", 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(bq_import_v2(w.phone, cases[i].text, SIZE_MAX, &counts), cases[i].status);
        assert_int_equal(bq_list(w.phone, &documents), BQ_OK);
        assert_int_equal(documents.n, 0);
        bq_documents_release(&documents);
    }
    /* One bad item, one bad document: the rest comes in. */
    assert_int_equal(
        bq_import_v2(w.phone,
                     "{\"sync_device_id\":\"d\",\"sync_queue_v2\":[{\"id\":\"1\",\"key\":\"_x\","
                     "\"data\":{}},{\"id\":\"2\",\"key\":\"a\",\"data\":5},3,{\"id\":\"3\","
                     "\"key\":\"good\",\"data\":{\"n\":1}}],\"sync_data_v2_b\":\"broken\"}",
                     SIZE_MAX, &counts),
        BQ_OK);
    assert_int_equal(counts.edits, 1);
    assert_int_equal(counts.skipped, 4);
    char why[BQ_ERROR_TEXT];
    bq_last_error(w.phone, why, sizeof why);
    assert_non_null(strstr(why, "4 skipped"));
    assert_int_equal(bq_sign_out(w.phone, BQ_DISCARD, 0, NULL), BQ_OK);
    assert_int_equal(bq_import_v2(w.phone, "{}", SIZE_MAX, NULL), BQ_SIGNED_OUT);
    stop(&w);
}

static void an_item_that_the_server_refuses_is_a_dead_letter_and_stops_nothing(void **state)
{
    static struct world w;
    struct bq_import_counts counts = {.size = sizeof counts};
    struct bq_dead_letters letters = {.size = sizeof letters};
    struct buf prefs = BUF_INIT;
    (void)state;
    start(&w);
    buf_add_text(&prefs, "{\"sync_device_id\":\"" V2_DEVICE "\",\"sync_queue_v2\":[{\"id\":\"1\","
                         "\"key\":\"big\",\"expectedVersion\":0,\"data\":{\"text\":\"");
    for (int i = 0; i < 270000; i++) {
        buf_add_char(&prefs, 'x');
    }
    buf_add_text(&prefs, "\"}},{\"id\":\"2\",\"key\":\"" KEY "\",\"expectedVersion\":0,"
                         "\"data\":{\"incorrectAnswers\":7}}]}");
    w.phone = open_app(&w, "phone.bqsync", 0);
    assert_int_equal(bq_import_v2(w.phone, prefs.ptr, prefs.len, &counts), BQ_OK);
    assert_int_equal(counts.edits, 2);
    w.answers = 7;
    go_online(&w);
    assert_int_equal(on_server(&w), 7);
    assert_int_equal(bq_dead_letters(w.phone, &letters), BQ_OK);
    assert_int_equal(letters.n, 1);
    assert_string_equal(letters.items[0].key, "big");
    assert_non_null(strstr(letters.items[0].message, "size limit"));
    assert_non_null(strstr(letters.items[0].edit, "xxxx"));
    bq_dead_letters_release(&letters);
    assert_int_equal(bq_dead_discard(w.phone, 0), BQ_OK);
    assert_int_equal(bq_flush(w.phone, PATIENCE_MS), BQ_OK);
    expect_exact(&w);
    buf_release(&prefs);
    stop(&w);
}

/* ---- At random ------------------------------------------------------------------------------- */

static void act(struct world *w, struct rng *rng)
{
    switch (rng_below(rng, 8)) {
    case 0:
    case 1:
    case 2:
        if (w->phone == NULL) {
            v2_answers(w, 1);
        } else {
            phone_answers(w, 1);
        }
        break;
    case 3:
        tablet_answers(w, 1 + (int)rng_below(rng, 3));
        break;
    case 4:
        if (w->phone == NULL && w->v2.n_items > 0) {
            /* Before the spell's end the app hears nothing: it would overwrite its counts. */
            v2_send(&w->v2, rng_below(rng, 3) != 0, false);
            w->n_lost_answers++;
        }
        break;
    case 5:
    case 6:
        if (w->phone == NULL) {
            upgrade(w, 0);
        } else {
            roll_back(w);
        }
        break;
    default:
        go_online(w);
        if (w->phone != NULL) {
            assert_int_equal(bq_set_online(w->phone, 0), BQ_OK);
        }
    }
}

static void any_order_of_upgrades_and_rollbacks_counts_each_answer_once(void **state)
{
    const char *given = getenv("BQ_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    unsigned rounds = getenv("BQ_LONG") != NULL ? 300 : 12;
    unsigned n_upgrades = 0, n_rollbacks = 0, n_lost = 0;
    struct rng rng;
    (void)state;
    printf("phone: seed %llu (BQ_SEED)\n", (unsigned long long)seed);
    for (unsigned i = 0; i < rounds; i++) {
        static struct world w;
        rng_init(&rng, seed + i);
        start(&w);
        for (int k = 0; k < 20; k++) {
            act(&w, &rng);
        }
        go_online(&w);
        if (on_server(&w) != w.answers) {
            printf("phone: failed at BQ_SEED=%llu\n", (unsigned long long)(seed + i));
        }
        expect_exact(&w);
        n_upgrades += w.n_upgrades;
        n_rollbacks += w.n_rollbacks;
        n_lost += w.n_lost_answers;
        stop(&w);
    }
    printf("phone: %u histories, %u upgrades, %u rollbacks, %u answers lost on the way: lost 0, "
           "doubled 0\n", rounds, n_upgrades, n_rollbacks, n_lost);
    assert_true(n_upgrades >= rounds && n_rollbacks >= rounds / 2 && n_lost >= rounds / 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_upgrade_in_an_offline_spell_counts_each_answer_once),
        cmocka_unit_test(upgraded_and_rolled_back_in_an_offline_spell_counts_each_answer_once),
        cmocka_unit_test(upgraded_again_what_was_handed_over_comes_from_there_alone),
        cmocka_unit_test(a_hand_over_sends_nothing_until_it_is_taken_back),
        cmocka_unit_test(v1s_queue_comes_in_too),
        cmocka_unit_test(what_is_no_queue_is_refused_and_changes_nothing),
        cmocka_unit_test(an_item_that_the_server_refuses_is_a_dead_letter_and_stops_nothing),
        cmocka_unit_test(any_order_of_upgrades_and_rollbacks_counts_each_answer_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
