/* test_restore.c - bqsync backup of a server that is being written to, then 1,000 more acknowledged
 * edits, kill -9, bqsync restore: with the devices alive nothing is lost and nothing counted twice.
 *
 * Four devices of one user count in one shared sum, each in three digits of its own, so that a lost
 * or doubled edit shows by name; each also keeps a document that nobody else writes. While the
 * backup is made one device goes on writing. Before the devices may speak to the restored server it
 * is looked at: it must lack the edits, or the test would show nothing. */
#include "bqsync.h"

#include "json/json.h"
#include "old_app.h"
#include "server_process.h"
#include "store/sqlite_backup.h"
#include "token.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define DEVICES 4u
#define BEFORE 10  /* edits of a device before the backup */
#define AFTER 250 /* and after it */
#define UNIT INT64_C(1000)
#define USER "aaaaaaaa-0000-4000-8000-000000000001"
#define PATIENCE_MS 60000

struct world {
    struct server_process server;
    char *token;
    struct bq *bqs[DEVICES];
    int64_t n_edits[DEVICES]; /* acknowledged */
    char backup[300];
    char store[300];
    atomic_bool stop;
};

static int64_t power(unsigned device)
{
    int64_t value = 1;
    for (unsigned i = 0; i < device; i++) {
        value *= UNIT;
    }
    return value;
}

static struct bq *open_device(struct world *w, unsigned device)
{
    struct bq *bq;
    char path[300];
    struct bq_config config = BQ_CONFIG_INIT;
    (void)snprintf(path, sizeof path, "%s/device_%u.bqsync", w->server.scratch.folder, device);
    config.path = path;
    config.url = w->server.url;
    config.debounce_ms = 2;
    config.poll_ms = 1000;
    assert_int_equal(bq_open(&config, &bq), BQ_OK);
    assert_int_equal(bq_sign_in(bq, w->token, BQ_GUEST_MERGE, NULL), BQ_OK);
    return bq;
}

/* One edit of each kind; acknowledged when this returns. */
static void write_one(struct world *w, unsigned device)
{
    char amount[32], key[32], text[64];
    struct bq *bq = w->bqs[device];
    w->n_edits[device]++;
    (void)snprintf(amount, sizeof amount, "%lld", (long long)power(device));
    (void)snprintf(key, sizeof key, "own_%u", device);
    (void)snprintf(text, sizeof text, "{\"n\":%lld}", (long long)w->n_edits[device]);
    assert_int_equal(bq_increment(bq, "game_stats", "incorrectAnswers", amount, BQ_IMMEDIATE),
                     BQ_OK);
    assert_int_equal(bq_put(bq, key, text, SIZE_MAX, BQ_IMMEDIATE), BQ_OK);
    assert_int_equal(bq_flush(bq, PATIENCE_MS), BQ_OK);
}

static void *write_on(void *cls)
{
    struct world *w = cls;
    while (!atomic_load(&w->stop)) {
        write_one(w, 0);
    }
    return NULL;
}

struct writer {
    struct world *w;
    unsigned device;
};

static void *write_many(void *cls)
{
    const struct writer *writer = cls;
    for (int i = 0; i < AFTER; i++) {
        write_one(writer->w, writer->device);
    }
    return NULL;
}

static void write_on_all(struct world *w)
{
    pthread_t threads[DEVICES];
    struct writer writers[DEVICES];
    for (unsigned d = 0; d < DEVICES; d++) {
        writers[d] = (struct writer){w, d};
        assert_int_equal(pthread_create(&threads[d], NULL, write_many, &writers[d]), 0);
    }
    for (unsigned d = 0; d < DEVICES; d++) {
        assert_int_equal(pthread_join(threads[d], NULL), 0);
    }
}

static int64_t sum_on_server(struct world *w)
{
    struct old_app app = {w->server.port, w->token, USER, "observer"};
    struct old_answer answer;
    int64_t sum = 0;
    old_app_call(&app, "get_user_sync_data", "{\"p_user_id\":\"" USER "\"}", &answer);
    assert_int_equal(answer.http_status, 200);
    for (uint32_t i = 0; i < answer.body.count; i++) {
        const struct json_value *key = json_get(&answer.body.items[i], "data_key");
        const struct json_value *data = json_get(&answer.body.items[i], "data");
        if (json_is(key, JSON_STRING) && slice_is(json_text(key), "game_stats")) {
            assert_true(json_to_int(json_get(data, "incorrectAnswers"), &sum));
        }
    }
    old_app_release(&answer);
    return sum;
}

static void start(struct world *w)
{
    assert_int_equal(setenv("BQSYNC_USER_RATE", "0", 1), 0);
    server_process_init(&w->server);
    w->token = token_user(USER);
    scratch_path(&w->server.scratch, "backup.db", w->backup, sizeof w->backup);
    (void)snprintf(w->store, sizeof w->store, "sqlite:%s/server.db", w->server.scratch.folder);
    for (unsigned d = 0; d < DEVICES; d++) {
        w->bqs[d] = open_device(w, d);
        for (int i = 0; i < BEFORE; i++) {
            write_one(w, d);
        }
    }
}

static void back_up_under_load(struct world *w)
{
    const char *const arguments[] = {"backup", w->backup, "--store", w->store, "--json", NULL};
    pthread_t writer;
    int64_t before = w->n_edits[0];
    assert_int_equal(pthread_create(&writer, NULL, write_on, w), 0);
    assert_int_equal(server_process_run(arguments), 0);
    atomic_store(&w->stop, true);
    assert_int_equal(pthread_join(writer, NULL), 0);
    assert_true(w->n_edits[0] > before);
}

static void crash_and_restore(struct world *w)
{
    const char *const arguments[] = {"restore", w->backup, "--store", w->store, "--json", NULL};
    for (unsigned d = 0; d < DEVICES; d++) {
        assert_int_equal(bq_pause(w->bqs[d]), BQ_OK);
    }
    /* While the server lives, its store is not to be replaced. */
    assert_int_equal(server_process_run(arguments), 6);
    server_process_kill(&w->server);
    assert_int_equal(server_process_run(arguments), 0);
    server_process_start(&w->server);
}

static void expect_documents(struct bq *bq, const struct world *w)
{
    struct bq_game_stats stats = {.size = sizeof stats};
    int64_t sum = 0;
    for (unsigned d = 0; d < DEVICES; d++) {
        char key[32], text[64];
        struct bq_document document = {.size = sizeof document};
        sum += w->n_edits[d] * power(d);
        (void)snprintf(key, sizeof key, "own_%u", d);
        (void)snprintf(text, sizeof text, "{\"n\":%lld}", (long long)w->n_edits[d]);
        assert_int_equal(bq_get(bq, key, &document), BQ_OK);
        assert_string_equal(document.json, text);
        assert_int_equal(document.pending, 0);
        bq_document_release(&document);
    }
    assert_int_equal(bq_game_stats_read(bq, &stats), BQ_OK);
    assert_int_equal(stats.incorrect_answers, sum);
}

static void after_backup_crash_and_restore_nothing_is_lost_or_doubled(void **state)
{
    static struct world w;
    int64_t sum = 0;
    (void)state;
    start(&w);
    back_up_under_load(&w);
    write_on_all(&w);
    for (unsigned d = 0; d < DEVICES; d++) {
        assert_true(w.n_edits[d] < UNIT);
        sum += w.n_edits[d] * power(d);
    }
    assert_true(sum_on_server(&w) == sum);
    crash_and_restore(&w);
    int64_t restored = sum_on_server(&w);
    assert_true(restored < sum && restored % UNIT >= BEFORE);
    for (unsigned d = 0; d < DEVICES; d++) {
        assert_int_equal(bq_resume(w.bqs[d]), BQ_OK);
        assert_int_equal(bq_pull(w.bqs[d], PATIENCE_MS), BQ_OK);
        assert_int_equal(bq_flush(w.bqs[d], PATIENCE_MS), BQ_OK);
    }
    assert_true(sum_on_server(&w) == sum);
    for (unsigned d = 0; d < DEVICES; d++) {
        assert_int_equal(bq_pull(w.bqs[d], PATIENCE_MS), BQ_OK);
        expect_documents(w.bqs[d], &w);
    }
    printf("restore: %u devices, %d acknowledged edits after the backup, kill -9, restore: "
           "lost 0, doubled 0, counters exact\n", DEVICES, (int)DEVICES * AFTER);
    for (unsigned d = 0; d < DEVICES; d++) {
        bq_close(w.bqs[d]);
    }
    free(w.token);
    server_process_release(&w.server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(after_backup_crash_and_restore_nothing_is_lost_or_doubled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
