/* test_rows.c - the thirteen promises that the older system did not keep (docs/architecture.md,
 * "Where it comes from"), each shown twice where an old app can have it at all: with libbqsync (two
 * handles are two devices), and with an unmodified old app, against a real server on a real
 * file. */
#include "client/handle.h"

#include "flaky_transport.h"
#include "http_client.h"
#include "merge/merge.h"
#include "old_app.h"
#include "server_process.h"
#include "token.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define USER "aaaaaaaa-0000-4000-8000-000000000001"
#define OTHER "bbbbbbbb-0000-4000-8000-000000000002"

/* Only a failing test waits that long. */
#define PATIENCE_MS 20000

struct fixture {
    struct server_process server;
    char *token;
    char *other_token;
    char *anon_token;
    struct bq *phone;
    struct bq *tablet;
    struct flaky flaky; /* of the phone */
    struct old_app app_a;
    struct old_app app_b;
};

static struct bq *open_device(struct fixture *f, const char *name, struct flaky *flaky)
{
    char path[256];
    struct bq *bq;
    char error[BQ_ERROR_TEXT] = "";
    struct handle_hooks hooks = {.transport = NULL};
    struct bq_config config = BQ_CONFIG_INIT;
    config.path = scratch_path(&f->server.scratch, name, path, sizeof path);
    config.url = f->server.url;
    config.debounce_ms = 60000;
    config.poll_ms = 60000;
    config.flags = BQ_NO_LIVE; /* the stories are of devices that have not heard of each other */
    config.error_text = error;
    if (flaky != NULL) {
        struct transport_config transport = {.url = f->server.url, .timeout_ms = 20000};
        struct transport *real;
        assert_int_equal(transport_curl_new(&transport, &real), BQ_OK);
        hooks.transport = flaky_transport_new(real, flaky);
    }
    if (handle_open(&config, &hooks, &bq) != BQ_OK) {
        fail_msg("%s", error);
    }
    return bq;
}

static void sign_in(struct bq *bq, const char *token)
{
    assert_int_equal(bq_sign_in(bq, token, BQ_GUEST_MERGE, NULL), BQ_OK);
    assert_int_equal(bq_pull(bq, PATIENCE_MS), BQ_OK);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    server_process_init(&f->server);
    f->token = token_user(USER);
    f->other_token = token_user(OTHER);
    f->anon_token = token_make("anon", NULL, 4000000000);
    f->app_a = (struct old_app){f->server.port, f->token, USER, "device_a"};
    f->app_b = (struct old_app){f->server.port, f->token, USER, "device_b"};
    f->phone = open_device(f, "phone.bqsync", &f->flaky);
    f->tablet = open_device(f, "tablet.bqsync", NULL);
    sign_in(f->phone, f->token);
    sign_in(f->tablet, f->token);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    bq_close(f->phone);
    bq_close(f->tablet);
    server_process_release(&f->server);
    free(f->token);
    free(f->other_token);
    free(f->anon_token);
    free(f);
    return 0;
}

/* ---- Steps of the stories -------------------------------------------------------------------- */

static void put(struct bq *bq, const char *key, const char *json)
{
    assert_int_equal(bq_put(bq, key, json, SIZE_MAX, 0), BQ_OK);
}

static void patch(struct bq *bq, const char *key, const char *json)
{
    assert_int_equal(bq_patch(bq, key, json, SIZE_MAX, 0), BQ_OK);
}

static void flush(struct bq *bq)
{
    int status = bq_flush(bq, PATIENCE_MS);
    if (status != BQ_OK) {
        char text[BQ_ERROR_TEXT];
        bq_last_error(bq, text, sizeof text);
        fail_msg("flush: %s: %s", bq_status_code(status), text);
    }
}

static void pull(struct bq *bq)
{
    assert_int_equal(bq_pull(bq, PATIENCE_MS), BQ_OK);
}

/* What one device wrote is on both. */
static void share(struct fixture *f, struct bq *from)
{
    flush(from);
    pull(from == f->phone ? f->tablet : f->phone);
}

/* Both send what they did apart, and hear of each other. */
static void meet(struct fixture *f)
{
    flush(f->phone);
    flush(f->tablet);
    pull(f->phone);
    pull(f->tablet);
}

static bool document_is(struct bq *bq, const char *key, const char *json, char *got, size_t size)
{
    struct arena arena;
    struct json_value have, want;
    struct bq_document document = {.size = sizeof document};
    int status = bq_get(bq, key, &document);
    (void)snprintf(got, size, "%s", status == BQ_OK ? document.json : bq_status_code(status));
    if (status != BQ_OK) {
        return false;
    }
    arena_init(&arena);
    assert_int_equal(json_parse(&arena, slice_of(document.json), 80, &have, NULL), BQ_OK);
    assert_int_equal(json_parse(&arena, slice_of(json), 80, &want, NULL), BQ_OK);
    bool equal = json_equal(&arena, &have, &want);
    arena_release(&arena);
    bq_document_release(&document);
    return equal;
}

static void expect(struct bq *bq, const char *key, const char *json)
{
    char got[2000];
    if (!document_is(bq, key, json, got, sizeof got)) {
        fail_msg("%s is %s, wanted %s", key, got, json);
    }
}

/* On both devices and on the server. */
static void expect_all(struct fixture *f, const char *key, const char *json)
{
    expect(f->phone, key, json);
    expect(f->tablet, key, json);
    old_app_expect(&f->app_a, key, json);
}

/* ---- Row 1: stars for a lesson that the server has not seen are dropped on conflict ---------- */

static void row_01_stars_of_unknown_lessons_are_kept(void **state)
{
    struct fixture *f = *state;
    put(f->phone, "lesson_progress", "{\"unlockedCount\":1,\"bestStarsByLesson\":{\"l1\":1}}");
    share(f, f->phone);
    assert_int_equal(bq_lesson_progress_set_stars(f->phone, "l2", 3), BQ_OK);
    assert_int_equal(bq_lesson_progress_set_stars(f->tablet, "l3", 2), BQ_OK);
    assert_int_equal(bq_lesson_progress_set_stars(f->tablet, "l1", 2), BQ_OK);
    assert_int_equal(bq_lesson_progress_unlock(f->tablet, 3), BQ_OK);
    meet(f);
    expect_all(f, "lesson_progress",
               "{\"unlockedCount\":3,\"bestStarsByLesson\":{\"l1\":2,\"l2\":3,\"l3\":2}}");
}

static void row_01_old_app_stars_of_unknown_lessons_are_kept(void **state)
{
    struct fixture *f = *state;
    old_app_put(&f->app_a, "lesson_progress",
                "{\"unlockedCount\":1,\"bestStarsByLesson\":{\"l1\":1}}", 0, "inserted");
    old_app_put(&f->app_b, "lesson_progress",
                "{\"unlockedCount\":2,\"bestStarsByLesson\":{\"l1\":1,\"l2\":3}}", 1, "updated");
    old_app_put(&f->app_a, "lesson_progress",
                "{\"unlockedCount\":1,\"bestStarsByLesson\":{\"l1\":2,\"l3\":2}}", 1, "merged");
    old_app_expect(&f->app_a, "lesson_progress",
                   "{\"unlockedCount\":2,\"bestStarsByLesson\":{\"l1\":2,\"l2\":3,\"l3\":2}}");
}

/* ---- Row 2: a retry after a lost ack is merged with itself ----------------------------------- */

static void row_02_a_retry_after_a_lost_ack_applies_once(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(bq_increment(f->phone, "game_stats", "incorrectAnswers", "5", 0), BQ_OK);
    atomic_store(&f->flaky.lose_answers, 2);
    flush(f->phone);
    assert_int_equal(atomic_load(&f->flaky.n_lost), 2);
    pull(f->tablet);
    expect_all(f, "game_stats", "{\"incorrectAnswers\":5}");
}

static void row_02_old_app_a_retry_after_a_lost_ack_applies_once(void **state)
{
    struct fixture *f = *state;
    const char *stats = "{\"score\":10,\"incorrectAnswers\":5}";
    old_app_put(&f->app_a, "game_stats", stats, 0, "inserted");
    assert_int_equal(old_app_put(&f->app_a, "game_stats", stats, 0, "inserted"), 1);
    assert_int_equal(old_app_put(&f->app_a, "game_stats", stats, 0, "inserted"), 1);
    old_app_expect(&f->app_a, "game_stats", stats);
    /* The same after a conflict. */
    old_app_put(&f->app_b, "game_stats", "{\"score\":20,\"incorrectAnswers\":6}", 1, "updated");
    const char *more = "{\"score\":15,\"incorrectAnswers\":8}";
    assert_int_equal(old_app_put(&f->app_a, "game_stats", more, 1, "merged"), 3);
    assert_int_equal(old_app_put(&f->app_a, "game_stats", more, 1, "merged"), 3);
    old_app_expect(&f->app_a, "game_stats", "{\"score\":20,\"incorrectAnswers\":9}");
}

/* ---- Row 3: each app start adds the server's count to the local one again -------------------- */

static void row_03_starting_the_app_counts_nothing_again(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(bq_increment(f->phone, "game_stats", "incorrectAnswers", "5", 0), BQ_OK);
    share(f, f->phone);
    for (int i = 0; i < 3; i++) {
        bq_close(f->tablet);
        f->tablet = open_device(f, "tablet.bqsync", NULL);
        assert_int_equal(bq_set_token(f->tablet, f->token), BQ_OK);
        /* What the old app kept locally comes in at each start. */
        assert_int_equal(bq_seed(f->tablet, "game_stats", "{\"incorrectAnswers\":5}", SIZE_MAX),
                         BQ_OK);
        flush(f->tablet);
        pull(f->tablet);
    }
    pull(f->phone);
    expect_all(f, "game_stats", "{\"incorrectAnswers\":5}");
}

/* ---- Row 4: three edits made offline are summed three times ---------------------------------- */

static void row_04_edits_made_offline_count_once(void **state)
{
    struct fixture *f = *state;
    put(f->phone, "game_stats", "{\"incorrectAnswers\":10}");
    share(f, f->phone);
    assert_int_equal(bq_set_online(f->phone, 0), BQ_OK);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(
            bq_increment(f->phone, "game_stats", "incorrectAnswers", "1", BQ_IMMEDIATE), BQ_OK);
    }
    assert_int_equal(bq_increment(f->tablet, "game_stats", "incorrectAnswers", "2", 0), BQ_OK);
    flush(f->tablet);
    assert_int_equal(bq_set_online(f->phone, 1), BQ_OK);
    meet(f);
    expect_all(f, "game_stats", "{\"incorrectAnswers\":15}");
}

static void row_04_old_app_edits_made_offline_count_once(void **state)
{
    struct fixture *f = *state;
    old_app_put(&f->app_a, "game_stats", "{\"incorrectAnswers\":10}", 0, "inserted");
    old_app_put(&f->app_b, "game_stats", "{\"incorrectAnswers\":12}", 1, "updated");
    old_app_put(&f->app_a, "game_stats", "{\"incorrectAnswers\":11}", 1, "merged");
    old_app_put(&f->app_a, "game_stats", "{\"incorrectAnswers\":12}", 1, "merged");
    old_app_put(&f->app_a, "game_stats", "{\"incorrectAnswers\":13}", 1, "merged");
    old_app_expect(&f->app_a, "game_stats", "{\"incorrectAnswers\":15}");
}

/* ---- Row 5: unknown fields vanish on conflict; a fraction fails the write for ever ----------- */

static void row_05_unknown_fields_stay_and_fractions_are_exact(void **state)
{
    struct fixture *f = *state;
    put(f->phone, "game_stats", "{\"score\":1,\"incorrectAnswers\":11.5,\"lives\":{\"max\":3}}");
    share(f, f->phone);
    assert_int_equal(bq_increment(f->phone, "game_stats", "incorrectAnswers", "0.1", 0), BQ_OK);
    assert_int_equal(bq_increment(f->tablet, "game_stats", "incorrectAnswers", "0.2", 0), BQ_OK);
    patch(f->tablet, "game_stats", "{\"averageSeconds\":2.75}");
    meet(f);
    expect_all(f, "game_stats",
               "{\"score\":1,\"incorrectAnswers\":11.8,\"lives\":{\"max\":3},"
               "\"averageSeconds\":2.75}");
}

static void row_05_old_app_unknown_fields_stay_and_fractions_are_exact(void **state)
{
    struct fixture *f = *state;
    old_app_put(&f->app_a, "game_stats", "{\"score\":1,\"incorrectAnswers\":11.5,\"lives\":3}", 0,
                "inserted");
    old_app_put(&f->app_b, "game_stats", "{\"score\":2,\"incorrectAnswers\":11.6,\"lives\":3}", 1,
                "updated");
    /* An app that does not know `lives` sends what it knows. */
    old_app_put(&f->app_a, "game_stats", "{\"score\":1,\"incorrectAnswers\":11.75}", 1, "merged");
    old_app_expect(&f->app_a, "game_stats", "{\"score\":2,\"incorrectAnswers\":11.85,\"lives\":3}");
}

/* ---- Row 6: two devices that write a key first at the same time: one gets an error ----------- */

static void row_06_two_first_writes_are_both_merged(void **state)
{
    struct fixture *f = *state;
    put(f->phone, "settings", "{\"mute\":true,\"unlockedThemes\":[\"oled\"]}");
    put(f->tablet, "settings", "{\"gameSpeed\":\"fast\",\"unlockedThemes\":[\"grey\"]}");
    meet(f);
    expect_all(f, "settings",
               "{\"mute\":true,\"gameSpeed\":\"fast\",\"unlockedThemes\":[\"oled\",\"grey\"]}");
}

struct writer {
    pthread_t thread;
    struct old_app app;
    const char *key;
    const char *data;
    struct old_answer answer;
};

static void *write_first(void *context)
{
    struct writer *writer = context;
    old_app_upsert(&writer->app, writer->key, writer->data, 0, &writer->answer);
    return NULL;
}

static void row_06_old_app_two_first_writes_are_both_merged(void **state)
{
    struct fixture *f = *state;
    for (int round = 0; round < 20; round++) {
        char key[16];
        (void)snprintf(key, sizeof key, "lesson_%d", round);
        struct writer writers[2] = {
            {.app = f->app_a, .key = key, .data = "{\"a\":1}"},
            {.app = f->app_b, .key = key, .data = "{\"b\":2}"},
        };
        for (int i = 0; i < 2; i++) {
            assert_int_equal(pthread_create(&writers[i].thread, NULL, write_first, &writers[i]), 0);
        }
        for (int i = 0; i < 2; i++) {
            assert_int_equal(pthread_join(writers[i].thread, NULL), 0);
            assert_int_equal(writers[i].answer.http_status, 200);
            assert_true(json_is(json_get(&writers[i].answer.body, "success"), JSON_TRUE));
            old_app_release(&writers[i].answer);
        }
        old_app_expect(&f->app_a, key, "{\"a\":1,\"b\":2}");
    }
}

/* ---- Row 7: functions trust p_user_id -------------------------------------------------------- */

static void row_07_nobody_reads_or_writes_another_user(void **state)
{
    struct fixture *f = *state;
    struct bq_documents documents = {.size = sizeof documents};
    put(f->phone, "notes", "{\"canary\":\"yellow bird\"}");
    share(f, f->phone);
    struct bq *stranger = open_device(f, "stranger.bqsync", NULL);
    sign_in(stranger, f->other_token);
    assert_int_equal(bq_list(stranger, &documents), BQ_OK);
    assert_int_equal(documents.n, 0);
    bq_documents_release(&documents);
    put(stranger, "notes", "{\"mine\":1}");
    flush(stranger);
    bq_close(stranger);
    /* A token that only says that it is the user's: the server refuses it, the edit is kept. */
    struct token_key *key = token_key_new("HS256", TOKEN_OTHER_SECRET);
    char *forged =
        token_sign(key, "{\"alg\":\"HS256\",\"typ\":\"JWT\"}",
                   "{\"role\":\"authenticated\",\"exp\":4000000000,\"sub\":\"" USER "\"}");
    struct bq *forger = open_device(f, "forger.bqsync", NULL);
    assert_int_equal(bq_sign_in(forger, forged, BQ_GUEST_MERGE, NULL), BQ_OK);
    put(forger, "notes", "{\"canary\":\"gone\"}");
    assert_int_equal(bq_flush(forger, PATIENCE_MS), BQ_AUTH);
    assert_int_equal(bq_pull(forger, PATIENCE_MS), BQ_AUTH);
    bq_close(forger);
    pull(f->phone);
    expect_all(f, "notes", "{\"canary\":\"yellow bird\"}");
    token_key_free(key);
    free(forged);
}

static void row_07_old_app_nobody_reads_or_writes_another_user(void **state)
{
    struct fixture *f = *state;
    const char *functions[] = {"get_user_sync_data", "get_user_sync_status",
                               "delete_user_sync_data"};
    struct {
        const char *token;
        int status;
    } strangers[] = {{f->other_token, 403}, {f->anon_token, 401}, {NULL, 401}};
    struct old_answer answer;
    old_app_put(&f->app_a, "notes", "{\"canary\":\"yellow bird\"}", 0, "inserted");
    for (size_t i = 0; i < 3; i++) {
        struct old_app stranger = f->app_b;
        stranger.token = strangers[i].token;
        old_app_upsert(&stranger, "notes", "{\"canary\":\"gone\"}", 1, &answer);
        assert_int_equal(answer.http_status, strangers[i].status);
        old_app_release(&answer);
        for (size_t k = 0; k < 3; k++) {
            old_app_call(&stranger, functions[k], "{\"p_user_id\":\"" USER "\"}", &answer);
            assert_int_equal(answer.http_status, strangers[i].status);
            assert_int_equal(answer.body.type, JSON_OBJECT);
            old_app_release(&answer);
        }
    }
    old_app_expect(&f->app_a, "notes", "{\"canary\":\"yellow bird\"}");
}

/* ---- Row 8: the second update_sync_metadata of a device fails -------------------------------- */

/* The info that the server shows of a device; false where it shows none. */
static bool info_is(struct fixture *f, const char *device, const char *info)
{
    struct old_answer answer;
    bool found = false;
    struct json_value want;
    old_app_call(&f->app_a, "get_user_sync_status", "{\"p_user_id\":\"" USER "\"}", &answer);
    assert_int_equal(answer.http_status, 200);
    assert_int_equal(json_parse(&answer.arena, slice_of(info), 16, &want, NULL), BQ_OK);
    for (uint32_t i = 0; i < answer.body.count; i++) {
        const struct json_value *id = json_get(&answer.body.items[i], "device_id");
        const struct json_value *got = json_get(&answer.body.items[i], "device_info");
        found |= json_is(id, JSON_STRING) && slice_is(json_text(id), device) && got != NULL &&
                 json_equal(&answer.arena, got, &want);
    }
    old_app_release(&answer);
    return found;
}

static void row_08_device_info_can_be_set_again(void **state)
{
    struct fixture *f = *state;
    char device[40], info[64];
    bq_device_id(f->phone, device);
    for (int i = 1; i <= 3; i++) {
        (void)snprintf(info, sizeof info, "{\"name\":\"phone %d\"}", i);
        assert_int_equal(bq_set_device_info(f->phone, info), BQ_OK);
        pull(f->phone);
        /* The report follows the exchange by itself. */
        for (int k = 0; k < 2000 && !info_is(f, device, info); k++) {
            server_process_breathe(5);
        }
        assert_true(info_is(f, device, info));
    }
}

static void row_08_old_app_the_second_metadata_works(void **state)
{
    struct fixture *f = *state;
    struct old_answer answer;
    for (int i = 1; i <= 3; i++) {
        char body[300], info[64];
        (void)snprintf(info, sizeof info, "{\"name\":\"phone %d\"}", i);
        (void)snprintf(body, sizeof body,
                       "{\"p_user_id\":\"%s\",\"p_device_id\":\"device_a\",\"p_version\":%d,"
                       "\"p_device_info\":%s}",
                       USER, i, info);
        old_app_call(&f->app_a, "update_sync_metadata", body, &answer);
        assert_int_equal(answer.http_status, 204);
        old_app_release(&answer);
        assert_true(info_is(f, "device_a", info));
    }
}

/* ---- Row 9: running the migration again overwrites newer data with old data ------------------ */

static void row_09_old_local_data_does_not_overwrite_newer(void **state)
{
    struct fixture *f = *state;
    const char *v1 = "{\"themeMode\":\"light\",\"mute\":false,\"unlockedThemes\":[\"oled\"]}";
    assert_int_equal(bq_seed(f->phone, "settings", v1, SIZE_MAX), BQ_OK);
    share(f, f->phone);
    patch(f->tablet, "settings", "{\"themeMode\":\"dark\",\"mute\":true}");
    share(f, f->tablet);
    const char *newer = "{\"themeMode\":\"dark\",\"mute\":true,\"unlockedThemes\":[\"oled\"]}";
    for (int i = 0; i < 2; i++) {
        assert_int_equal(bq_seed(f->phone, "settings", v1, SIZE_MAX), BQ_OK);
        meet(f);
        expect_all(f, "settings", newer);
    }
    /* A device that never synced migrates too, and later. */
    bq_close(f->tablet);
    f->tablet = open_device(f, "late.bqsync", NULL);
    assert_int_equal(bq_seed(f->tablet, "settings", v1, SIZE_MAX), BQ_OK);
    sign_in(f->tablet, f->token);
    meet(f);
    expect_all(f, "settings", newer);
}

static void migrate_v1(struct fixture *f)
{
    char path[256], secret[256];
    FILE *file = fopen(scratch_path(&f->server.scratch, "v1.jsonl", path, sizeof path), "w");
    assert_non_null(file);
    fputs("{\"user_id\":\"" USER "\",\"data\":{\"settings\":{\"value\":{\"themeMode\":\"light\","
          "\"mute\":false},\"timestamp\":\"2025-07-04T23:11:19.000Z\"},\"game_stats\":{\"value\":"
          "{\"score\":50,\"incorrectAnswers\":4},\"timestamp\":\"2025-07-04T23:11:19.000Z\"}}}\n",
          file);
    assert_int_equal(fclose(file), 0);
    server_process_secret(&f->server, secret, sizeof secret);
    const char *const arguments[] = {"migrate", "--from", path,   "--to", f->server.url,
                                     "--jwt-secret-file", secret, NULL};
    assert_int_equal(server_process_run(arguments), 0);
}

static void row_09_old_app_migrating_again_changes_nothing(void **state)
{
    struct fixture *f = *state;
    migrate_v1(f);
    old_app_expect(&f->app_a, "settings", "{\"themeMode\":\"light\",\"mute\":false}");
    old_app_put(&f->app_a, "settings", "{\"themeMode\":\"dark\",\"mute\":true}", 1, "updated");
    old_app_put(&f->app_a, "game_stats", "{\"score\":70,\"incorrectAnswers\":9}", 1, "updated");
    for (int i = 0; i < 2; i++) {
        migrate_v1(f);
        old_app_expect(&f->app_a, "settings", "{\"themeMode\":\"dark\",\"mute\":true}");
        old_app_expect(&f->app_a, "game_stats", "{\"score\":70,\"incorrectAnswers\":9}");
    }
}

/* ---- Row 10: five failed tries and the item is never sent again ------------------------------ */

static void row_10_failed_tries_never_drop_an_edit(void **state)
{
    struct fixture *f = *state;
    bool told = false;
    struct bq_event event = {.size = sizeof event};
    put(f->phone, "notes", "{\"n\":1}");
    /* Without a server: no try counts, however many there are. */
    server_process_stop(&f->server);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(bq_pull(f->phone, PATIENCE_MS), BQ_NETWORK);
    }
    assert_int_equal(bq_key_state(f->phone, "notes"), BQ_QUEUED);
    server_process_start(&f->server);
    /* A server that fails: after five the app is told, and it goes on. */
    atomic_store(&f->flaky.http_status, 500);
    atomic_store(&f->flaky.replace_answers, 9);
    while (atomic_load(&f->flaky.n_replaced) < 9) {
        assert_int_equal(bq_pull(f->phone, PATIENCE_MS), BQ_SERVER);
    }
    while (bq_next_event(f->phone, 0, &event) == BQ_OK) {
        told |= event.type == BQ_EVENT_RETRYING;
    }
    assert_true(told);
    assert_int_equal(bq_key_state(f->phone, "notes"), BQ_FAILED_RETRYABLE);
    flush(f->phone);
    pull(f->tablet);
    expect_all(f, "notes", "{\"n\":1}");
}

/* ---- Row 11: logging out throws the unsent queue away ---------------------------------------- */

static void row_11_signing_out_keeps_drains_or_discards(void **state)
{
    struct fixture *f = *state;
    struct bq_counts counts = {.size = sizeof counts};
    /* Kept. */
    assert_int_equal(bq_increment(f->phone, "game_stats", "incorrectAnswers", "1", 0), BQ_OK);
    assert_int_equal(bq_sign_out(f->phone, BQ_PARK, 0, &counts), BQ_OK);
    assert_int_equal(counts.unsent, 1);
    sign_in(f->phone, f->token);
    flush(f->phone);
    pull(f->tablet);
    expect_all(f, "game_stats", "{\"incorrectAnswers\":1}");
    /* Drained. */
    assert_int_equal(bq_increment(f->phone, "game_stats", "incorrectAnswers", "1", 0), BQ_OK);
    assert_int_equal(bq_sign_out(f->phone, BQ_DRAIN, PATIENCE_MS, &counts), BQ_OK);
    assert_int_equal(counts.unsent, 0);
    pull(f->tablet);
    expect(f->tablet, "game_stats", "{\"incorrectAnswers\":2}");
    sign_in(f->phone, f->token);
    /* Discarded, because the app says so. */
    assert_int_equal(bq_increment(f->phone, "game_stats", "incorrectAnswers", "1", 0), BQ_OK);
    assert_int_equal(bq_sign_out(f->phone, BQ_DISCARD, 0, &counts), BQ_OK);
    assert_int_equal(counts.unsent, 1);
    sign_in(f->phone, f->token);
    expect_all(f, "game_stats", "{\"incorrectAnswers\":2}");
}

/* ---- Row 12: a stale device's settings overwrite every newer setting ------------------------- */

static void row_12_a_stale_device_changes_only_its_fields(void **state)
{
    struct fixture *f = *state;
    put(f->phone, "settings",
        "{\"themeMode\":\"light\",\"gameSpeed\":\"slow\",\"mute\":false,\"aiThemes\":"
        "{\"t1\":{\"name\":\"Sea\"}}}");
    share(f, f->phone);
    patch(f->phone, "settings", "{\"themeMode\":\"dark\",\"mute\":true}");
    assert_int_equal(bq_settings_put_ai_theme(f->phone, "t2", "{\"name\":\"Sun\"}"), BQ_OK);
    flush(f->phone);
    /* The tablet is stale, and writes its whole document. */
    put(f->tablet, "settings",
        "{\"themeMode\":\"light\",\"gameSpeed\":\"fast\",\"mute\":false,\"aiThemes\":"
        "{\"t1\":{\"name\":\"Sea\"}}}");
    meet(f);
    expect_all(f, "settings",
               "{\"themeMode\":\"dark\",\"gameSpeed\":\"fast\",\"mute\":true,\"aiThemes\":"
               "{\"t1\":{\"name\":\"Sea\"},\"t2\":{\"name\":\"Sun\"}}}");
}

static void row_12_old_app_a_stale_device_changes_only_its_fields(void **state)
{
    struct fixture *f = *state;
    old_app_put(&f->app_a, "settings",
                "{\"themeMode\":\"light\",\"gameSpeed\":\"slow\",\"mute\":false}", 0, "inserted");
    old_app_put(&f->app_b, "settings",
                "{\"themeMode\":\"dark\",\"gameSpeed\":\"slow\",\"mute\":true}", 1, "updated");
    old_app_put(&f->app_a, "settings",
                "{\"themeMode\":\"light\",\"gameSpeed\":\"fast\",\"mute\":false}", 1, "merged");
    old_app_expect(&f->app_a, "settings",
                   "{\"themeMode\":\"dark\",\"gameSpeed\":\"fast\",\"mute\":true}");
}

/* ---- Row 13: a score that was spent comes back when another field changed elsewhere ---------- */

static void row_13_a_spent_score_stays_spent(void **state)
{
    struct fixture *f = *state;
    put(f->phone, "game_stats", "{\"score\":100,\"currentStreak\":1}");
    share(f, f->phone);
    assert_int_equal(bq_game_stats_add_score(f->phone, -60), BQ_OK);
    flush(f->phone);
    assert_int_equal(bq_game_stats_answer(f->tablet, 1), BQ_OK);
    meet(f);
    expect_all(f, "game_stats", "{\"score\":40,\"currentStreak\":2,\"longestStreak\":2}");
    assert_int_equal(bq_game_stats_reset(f->tablet), BQ_OK);
    patch(f->phone, "game_stats", "{\"lives\":2}");
    meet(f);
    expect_all(f, "game_stats",
               "{\"score\":0,\"currentStreak\":0,\"longestStreak\":0,\"incorrectAnswers\":0,"
               "\"lives\":2}");
}

static void row_13_old_app_a_spent_score_stays_spent(void **state)
{
    struct fixture *f = *state;
    old_app_put(&f->app_a, "game_stats", "{\"score\":100,\"currentStreak\":1}", 0, "inserted");
    old_app_put(&f->app_a, "game_stats", "{\"score\":40,\"currentStreak\":1}", 1, "updated");
    old_app_put(&f->app_b, "game_stats", "{\"score\":100,\"currentStreak\":2}", 1, "merged");
    old_app_expect(&f->app_a, "game_stats", "{\"score\":40,\"currentStreak\":2}");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(row_01_stars_of_unknown_lessons_are_kept),
        TEST(row_01_old_app_stars_of_unknown_lessons_are_kept),
        TEST(row_02_a_retry_after_a_lost_ack_applies_once),
        TEST(row_02_old_app_a_retry_after_a_lost_ack_applies_once),
        TEST(row_03_starting_the_app_counts_nothing_again),
        TEST(row_04_edits_made_offline_count_once),
        TEST(row_04_old_app_edits_made_offline_count_once),
        TEST(row_05_unknown_fields_stay_and_fractions_are_exact),
        TEST(row_05_old_app_unknown_fields_stay_and_fractions_are_exact),
        TEST(row_06_two_first_writes_are_both_merged),
        TEST(row_06_old_app_two_first_writes_are_both_merged),
        TEST(row_07_nobody_reads_or_writes_another_user),
        TEST(row_07_old_app_nobody_reads_or_writes_another_user),
        TEST(row_08_device_info_can_be_set_again),
        TEST(row_08_old_app_the_second_metadata_works),
        TEST(row_09_old_local_data_does_not_overwrite_newer),
        TEST(row_09_old_app_migrating_again_changes_nothing),
        TEST(row_10_failed_tries_never_drop_an_edit),
        TEST(row_11_signing_out_keeps_drains_or_discards),
        TEST(row_12_a_stale_device_changes_only_its_fields),
        TEST(row_12_old_app_a_stale_device_changes_only_its_fields),
        TEST(row_13_a_spent_score_stays_spent),
        TEST(row_13_old_app_a_spent_score_stays_spent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
