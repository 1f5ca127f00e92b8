/* test_client_threads.c - the runner thread, and the app's threads around it. For TSan above
 * all. */
#include "client_fixture.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

#include <cmocka.h>

#define WRITES 40

static void open_threaded(struct client_fixture *f)
{
    f->config.flags = 0;
    f->config.debounce_ms = 1;
    f->config.poll_ms = 20;
    client_open_signed_in(f);
}

static void an_edit_leaves_by_itself(void **state)
{
    struct client_fixture *f = *state;
    struct bq_event event = {.size = sizeof event};
    open_threaded(f);
    assert_int_equal(client_put(f->bq, "notes", "{\"n\":1}"), BQ_OK);
    do {
        assert_int_equal(bq_next_event(f->bq, PATIENCE_MS, &event), BQ_OK);
    } while (event.type != BQ_EVENT_STATE || event.state != BQ_COMPLETED);
    struct bq_document document = {.size = sizeof document};
    assert_int_equal(bq_get(f->bq, "notes", &document), BQ_OK);
    assert_int_equal(document.version, 1);
    assert_int_equal(document.pending, 0);
    bq_document_release(&document);
    assert_int_equal(bq_step(f->bq, 0), BQ_INVALID);
    assert_int_equal(bq_next_step_ms(f->bq), -1);
}

static void another_device_is_heard_by_polling(void **state)
{
    struct client_fixture *f = *state;
    struct bq_event event = {.size = sizeof event};
    open_threaded(f);
    struct bq *tablet = client_open_other(f, "tablet.bqsync");
    assert_int_equal(client_put(tablet, "notes", "{\"of\":\"tablet\"}"), BQ_OK);
    assert_int_equal(bq_flush(tablet, PATIENCE_MS), BQ_OK);
    do {
        assert_int_equal(bq_next_event(f->bq, PATIENCE_MS, &event), BQ_OK);
    } while (event.type != BQ_EVENT_CHANGED);
    client_expect_document(f->bq, "notes", "{\"of\":\"tablet\"}");
    bq_close(tablet);
}

struct worker {
    struct bq *bq;
    pthread_t thread;
    unsigned seed;
    atomic_bool *stop;
    int status;
};

static void *write_all(void *context)
{
    struct worker *worker = context;
    for (int i = 0; i < WRITES && worker->status == BQ_OK; i++) {
        worker->status = bq_increment(worker->bq, "game_stats", "incorrectAnswers", "1",
                                      i % 7 == 0 ? BQ_IMMEDIATE : 0);
        if (worker->status == BQ_OK && i % 10 == 0) {
            worker->status = bq_flush(worker->bq, PATIENCE_MS);
        }
    }
    return NULL;
}

static void *read_all(void *context)
{
    struct worker *worker = context;
    while (!atomic_load(worker->stop) && worker->status == BQ_OK) {
        struct bq_documents documents = {.size = sizeof documents};
        struct bq_stats stats = {.size = sizeof stats};
        struct bq_event event = {.size = sizeof event};
        char text[BQ_ERROR_TEXT];
        worker->status = bq_list(worker->bq, &documents);
        bq_documents_release(&documents);
        (void)bq_stats(worker->bq, &stats);
        (void)bq_next_event(worker->bq, 1, &event);
        (void)bq_key_state(worker->bq, "game_stats");
        bq_last_error(worker->bq, text, sizeof text);
    }
    return NULL;
}

static void *fiddle(void *context)
{
    struct worker *worker = context;
    for (int i = 0; !atomic_load(worker->stop) && worker->status == BQ_OK; i++) {
        switch (i % 4) {
        case 0:
            worker->status = bq_pause(worker->bq);
            break;
        case 1:
            worker->status = bq_resume(worker->bq);
            break;
        case 2:
            worker->status = bq_set_online(worker->bq, i % 8 < 4 ? 1 : -1);
            break;
        default:
            (void)bq_pull(worker->bq, 5);
            break;
        }
    }
    worker->status = worker->status == BQ_OK ? bq_resume(worker->bq) : worker->status;
    return NULL;
}

static void calls_from_many_threads_keep_the_count(void **state)
{
    struct client_fixture *f = *state;
    atomic_bool stop = false;
    void *(*const jobs[])(void *) = {write_all, write_all, write_all, read_all, read_all, fiddle};
    struct worker workers[6];
    open_threaded(f);
    for (unsigned i = 0; i < 6; i++) {
        workers[i] = (struct worker){.bq = f->bq, .seed = i, .stop = &stop, .status = BQ_OK};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, jobs[i], &workers[i]), 0);
    }
    for (unsigned i = 0; i < 6; i++) {
        if (i == 3) {
            atomic_store(&stop, true);
        }
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
        assert_int_equal(workers[i].status, BQ_OK);
    }
    assert_int_equal(bq_flush(f->bq, PATIENCE_MS), BQ_OK);
    struct bq_game_stats stats = {.size = sizeof stats};
    assert_int_equal(bq_game_stats_read(f->bq, &stats), BQ_OK);
    assert_int_equal(stats.incorrect_answers, 3 * WRITES);
    struct bq *tablet = client_open_other(f, "tablet.bqsync");
    assert_int_equal(bq_pull(tablet, PATIENCE_MS), BQ_OK);
    assert_int_equal(bq_game_stats_read(tablet, &stats), BQ_OK);
    assert_int_equal(stats.incorrect_answers, 3 * WRITES);
    bq_close(tablet);
}

static void closing_gives_up_a_request_under_way(void **state)
{
    struct client_fixture *f = *state;
    open_threaded(f);
    assert_int_equal(bq_pull(f->bq, PATIENCE_MS), BQ_OK);
    fake_server_always(f->server, FAKE_SILENT);
    assert_int_equal(bq_put(f->bq, "notes", "{}", 2, BQ_IMMEDIATE), BQ_OK);
    assert_int_equal(bq_flush(f->bq, 10), BQ_TIMEOUT);
    client_close_handle(f);
    fake_server_always(f->server, FAKE_SERVE);
    client_open_handle(f);
    assert_int_equal(bq_set_token(f->bq, f->token_a), BQ_OK);
    assert_int_equal(bq_flush(f->bq, PATIENCE_MS), BQ_OK);
}

static void ask(void *context, struct bq *bq)
{
    struct client_fixture *f = context;
    assert_int_equal(bq_set_token(bq, f->token_a), BQ_OK);
}

static void the_token_function_runs_on_the_librarys_thread(void **state)
{
    struct client_fixture *f = *state;
    open_threaded(f);
    assert_int_equal(client_put(f->bq, "notes", "{}"), BQ_OK);
    client_close_handle(f);
    f->config.token_fn = ask;
    f->config.token_context = f;
    client_open_handle(f);
    assert_int_equal(bq_flush(f->bq, PATIENCE_MS), BQ_OK);
}

static void users_may_change_while_it_syncs(void **state)
{
    struct client_fixture *f = *state;
    open_threaded(f);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(bq_increment(f->bq, "counter", "n", "1", BQ_IMMEDIATE), BQ_OK);
        assert_int_equal(bq_sign_out(f->bq, BQ_PARK, 0, NULL), BQ_OK);
        assert_int_equal(bq_increment(f->bq, "counter", "n", "1", BQ_IMMEDIATE), BQ_OK);
        assert_int_equal(bq_sign_in(f->bq, f->token_b, BQ_GUEST_KEEP, NULL), BQ_OK);
        assert_int_equal(bq_increment(f->bq, "counter", "n", "1", BQ_IMMEDIATE), BQ_OK);
        assert_int_equal(bq_sign_out(f->bq, BQ_PARK, 0, NULL), BQ_OK);
        assert_int_equal(bq_sign_in(f->bq, f->token_a, BQ_GUEST_KEEP, NULL), BQ_OK);
    }
    assert_int_equal(bq_flush(f->bq, PATIENCE_MS), BQ_OK);
    client_expect_document(f->bq, "counter", "{\"n\":10}");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, client_setup, client_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_edit_leaves_by_itself),
        TEST(another_device_is_heard_by_polling),
        TEST(calls_from_many_threads_keep_the_count),
        TEST(closing_gives_up_a_request_under_way),
        TEST(the_token_function_runs_on_the_librarys_thread),
        TEST(users_may_change_while_it_syncs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
