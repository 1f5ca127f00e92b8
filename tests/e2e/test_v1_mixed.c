/* test_v1_mixed.c - v1, V2 and libbqsync at once on one user, against a real server on a real file:
 * whoever asks sees the same, what was counted is counted once, and each app's own changes are
 * there (docs/protocol.md 11, 12, "Tables"). */
#include "bqsync.h"
#include "http_client.h"
#include "old_app.h"
#include "server_process.h"
#include "token.h"
#include "v1_app.h"

#include "base/status.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define USER "aaaaaaaa-0000-4000-8000-000000000001"
#define PATIENCE_MS 20000
#define ROUNDS 30

struct fixture {
    struct server_process server;
    char *token;
    struct bq *phone;
    struct bq *tablet;
    struct old_app v2;
    struct v1_app v1;
};

static struct bq *open_device(struct fixture *f, const char *name)
{
    char path[256];
    char error[BQ_ERROR_TEXT] = "";
    struct bq *bq;
    struct bq_config config = BQ_CONFIG_INIT;
    config.path = scratch_path(&f->server.scratch, name, path, sizeof path);
    config.url = f->server.url;
    config.debounce_ms = 60000;
    config.poll_ms = 60000;
    config.error_text = error;
    if (bq_open(&config, &bq) != BQ_OK) {
        fail_msg("%s", error);
    }
    assert_int_equal(bq_sign_in(bq, f->token, BQ_GUEST_MERGE, NULL), BQ_OK);
    assert_int_equal(bq_pull(bq, PATIENCE_MS), BQ_OK);
    return bq;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    server_process_init(&f->server);
    f->token = token_user(USER);
    f->v2 = (struct old_app){f->server.port, f->token, USER, "v2 device"};
    f->v1 = (struct v1_app){f->server.port, f->token, USER};
    f->phone = open_device(f, "phone.bqsync");
    f->tablet = open_device(f, "tablet.bqsync");
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
    free(f);
    return 0;
}

/* ---- Who sees what --------------------------------------------------------------------------- */

static bool same_json(const char *json, const struct json_value *value)
{
    struct arena arena;
    struct json_value want;
    arena_init(&arena);
    assert_int_equal(json_parse(&arena, slice_of(json), 80, &want, NULL), BQ_OK);
    bool equal = value != NULL && json_equal(&arena, &want, value);
    arena_release(&arena);
    return equal;
}

/* What the phone has is what the tablet, V2 and v1 have. */
static void all_see(struct fixture *f, const char *key)
{
    struct arena arena;
    struct json_value row;
    struct json_value other;
    struct bq_document on_phone = {.size = sizeof on_phone};
    struct bq_document on_tablet = {.size = sizeof on_tablet};
    arena_init(&arena);
    assert_int_equal(bq_get(f->phone, key, &on_phone), BQ_OK);
    assert_int_equal(bq_get(f->tablet, key, &on_tablet), BQ_OK);
    assert_int_equal(json_parse(&arena, slice_of(on_tablet.json), 80, &other, NULL), BQ_OK);
    assert_true(same_json(on_phone.json, &other));
    old_app_expect(&f->v2, key, on_phone.json);
    assert_true(v1_app_read(&f->v1, &arena, &row));
    assert_true(same_json(on_phone.json, v1_app_value(&row, key)));
    bq_document_release(&on_phone);
    bq_document_release(&on_tablet);
    arena_release(&arena);
}

static int64_t number_on_phone(struct fixture *f, const char *key, const char *name)
{
    struct arena arena;
    struct json_value document;
    struct bq_document on_phone = {.size = sizeof on_phone};
    int64_t number = -1;
    arena_init(&arena);
    assert_int_equal(bq_get(f->phone, key, &on_phone), BQ_OK);
    assert_int_equal(json_parse(&arena, slice_of(on_phone.json), 80, &document, NULL), BQ_OK);
    const struct json_value *value = json_get(&document, name);
    assert_true(value != NULL && json_to_int(value, &number));
    bq_document_release(&on_phone);
    arena_release(&arena);
    return number;
}

static void settle(struct fixture *f)
{
    assert_int_equal(bq_flush(f->phone, PATIENCE_MS), BQ_OK);
    assert_int_equal(bq_flush(f->tablet, PATIENCE_MS), BQ_OK);
    assert_int_equal(bq_pull(f->phone, PATIENCE_MS), BQ_OK);
    assert_int_equal(bq_pull(f->tablet, PATIENCE_MS), BQ_OK);
}

/* ---- The apps -------------------------------------------------------------------------------- */

struct apps {
    struct fixture *f;
    const char *v1_key;
    bool v1_good;
    bool v2_good;
};

/* Counts one more each time, from what the last answer showed. */
static void *run_v2(void *cls)
{
    struct apps *apps = cls;
    int64_t version = 0;
    int64_t count = 0;
    apps->v2_good = true;
    for (int i = 0; i < ROUNDS && apps->v2_good; i++) {
        char document[200];
        struct old_answer answer;
        snprintf(document, sizeof document, "{\"incorrectAnswers\":%lld,\"score\":%d}",
                 (long long)count + 1, i);
        old_app_upsert(&apps->f->v2, "game_stats", document, version, &answer);
        const struct json_value *data = json_get(&answer.body, "data");
        const struct json_value *now = data == NULL ? NULL : json_get(data, "incorrectAnswers");
        const struct json_value *at = json_get(&answer.body, "version");
        apps->v2_good = json_is(json_get(&answer.body, "success"), JSON_TRUE) && now != NULL &&
                        at != NULL && json_to_int(now, &count) && json_to_int(at, &version);
        old_app_release(&answer);
    }
    return NULL;
}

/* Reads, changes its own key, writes all back. */
static void *run_v1(void *cls)
{
    struct apps *apps = cls;
    apps->v1_good = true;
    for (int i = 0; i < ROUNDS && apps->v1_good; i++) {
        struct arena arena;
        struct json_value row;
        char value[100];
        char time[40];
        int64_t count = 0;
        arena_init(&arena);
        apps->v1_good = v1_app_read(&apps->f->v1, &arena, &row);
        const struct json_value *stats = apps->v1_good ? v1_app_value(&row, apps->v1_key) : NULL;
        const struct json_value *there = stats == NULL ? NULL : json_get(stats, "incorrectAnswers");
        if (there != NULL) {
            (void)json_to_int(there, &count);
        }
        snprintf(value, sizeof value, "{\"incorrectAnswers\":%lld,\"round\":%d}",
                 (long long)count + 1, i);
        snprintf(time, sizeof time, "2024-01-01T10:%02d:00.000", i);
        apps->v1_good =
            apps->v1_good && v1_app_write(&apps->f->v1, &row, apps->v1_key, value, time);
        arena_release(&arena);
    }
    return NULL;
}

/* Both devices count while the old apps do. */
static void run_all(struct fixture *f, struct apps *apps)
{
    pthread_t v1;
    pthread_t v2;
    assert_int_equal(pthread_create(&v1, NULL, run_v1, apps), 0);
    assert_int_equal(pthread_create(&v2, NULL, run_v2, apps), 0);
    for (int i = 0; i < ROUNDS; i++) {
        assert_int_equal(bq_increment(f->phone, "game_stats", "incorrectAnswers", "1", 0), BQ_OK);
        assert_int_equal(bq_increment(f->tablet, "game_stats", "incorrectAnswers", "1", 0), BQ_OK);
        assert_int_equal(bq_flush(i % 2 == 0 ? f->phone : f->tablet, PATIENCE_MS), BQ_OK);
    }
    pthread_join(v1, NULL);
    pthread_join(v2, NULL);
    assert_true(apps->v1_good);
    assert_true(apps->v2_good);
    settle(f);
}

static void an_app_that_writes_its_whole_row_counts_nothing_twice(void **state)
{
    struct fixture *f = *state;
    struct apps apps = {.f = f, .v1_key = "v1_notes"};
    run_all(f, &apps);
    all_see(f, "game_stats");
    all_see(f, "v1_notes");
    /* v1 sent game_stats along each time, as it had read it. */
    assert_int_equal(number_on_phone(f, "game_stats", "incorrectAnswers"), 3 * ROUNDS);
    assert_int_equal(number_on_phone(f, "game_stats", "score"), ROUNDS - 1);
    assert_int_equal(number_on_phone(f, "v1_notes", "round"), ROUNDS - 1);
}

/* v1's own counting loses what happens between its reading and its writing (it knows no better),
 * but nothing of the others', and counts nothing twice. */
static void an_app_that_counts_in_its_row_takes_nothing_from_the_others(void **state)
{
    struct fixture *f = *state;
    struct apps apps = {.f = f, .v1_key = "game_stats"};
    run_all(f, &apps);
    all_see(f, "game_stats");
    int64_t count = number_on_phone(f, "game_stats", "incorrectAnswers");
    assert_in_range(count, 3 * ROUNDS, 4 * ROUNDS);
    assert_int_equal(number_on_phone(f, "game_stats", "round"), ROUNDS - 1);
}

static void a_row_written_long_ago_and_sent_again_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct arena arena;
    struct json_value row;
    arena_init(&arena);
    assert_int_equal(bq_put(f->phone, "settings", "{\"theme\":\"dark\"}", SIZE_MAX, 0), BQ_OK);
    settle(f);
    assert_true(v1_app_read(&f->v1, &arena, &row));
    assert_int_equal(bq_put(f->tablet, "settings", "{\"theme\":\"light\"}", SIZE_MAX, 0), BQ_OK);
    settle(f);
    assert_true(v1_app_write(&f->v1, &row, "other", "1", "2024-01-01T10:00:00"));
    settle(f);
    all_see(f, "settings");
    all_see(f, "other");
    old_app_expect(&f->v2, "settings", "{\"theme\":\"light\"}");
    arena_release(&arena);
}

static void a_key_that_v1_writes_reaches_the_devices(void **state)
{
    struct fixture *f = *state;
    struct json_value empty = json_object(NULL, 0);
    assert_true(
        v1_app_write(&f->v1, &empty, "settings", "{\"theme\":\"blue\"}", "2024-01-01T10:00:00"));
    settle(f);
    all_see(f, "settings");
    old_app_expect(&f->v2, "settings", "{\"theme\":\"blue\"}");
    /* A key that a row does not name is nothing to it. */
    assert_true(v1_app_write(&f->v1, &empty, "other", "1", "2024-01-01T10:00:00"));
    settle(f);
    all_see(f, "settings");
    all_see(f, "other");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define RULE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        RULE(an_app_that_writes_its_whole_row_counts_nothing_twice),
        RULE(an_app_that_counts_in_its_row_takes_nothing_from_the_others),
        RULE(a_row_written_long_ago_and_sent_again_changes_nothing),
        RULE(a_key_that_v1_writes_reaches_the_devices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
