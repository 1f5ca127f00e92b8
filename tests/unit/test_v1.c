/* test_v1.c - the whole row of a v1 app: echoes and writes (docs/protocol.md, "v1"). */
#include "core_bench.h"

#include "base/status.h"
#include "base/timestamp.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <setjmp.h>
#include <cmocka.h>

static struct core_bench bench;

static int setup(void **state)
{
    (void)state;
    bench_open(&bench);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    bench_close(&bench);
    return 0;
}

static void check_document(const char *key, int64_t version, const char *want)
{
    int64_t got_version;
    const char *got = bench_document(&bench, key, &got_version);
    if (strcmp(got, want) != 0 || got_version != version) {
        fail_msg("%s is %s at version %d", key, got, (int)got_version);
    }
}

/* modified_at of a document as a v1 row shows it. */
static const char *shown(const char *key)
{
    struct store *store = bench.store;
    struct store_doc doc;
    char text[TIMESTAMP_TEXT];
    assert_int_equal(store->begin(store), BQ_OK);
    assert_int_equal(store->doc_get(store, &bench.arena, &bench.user, slice_of(key), &doc), BQ_OK);
    store->rollback(store);
    (void)timestamp_print_ms(doc.modified_us, text);
    return bench_text(&bench, "%s", text);
}

static bool write_row(const char *key, const char *timestamp, const char *value)
{
    return bench_v1(&bench, bench_text(&bench, "{\"%s\":{\"value\":%s,\"timestamp\":\"%s\"}}", key,
                                       value, timestamp));
}

static void a_first_row_is_stored_key_by_key(void **state)
{
    (void)state;
    assert_true(bench_v1(&bench,
                         "{\"game_stats\":{\"value\":{\"score\":1},"
                         "\"timestamp\":\"2024-01-01T10:00:00\"},"
                         "\"notes\":{\"value\":[1],\"timestamp\":\"2024-01-01T10:00:00\"}}"));
    check_document("game_stats", 1, "{\"score\":1}");
    check_document("notes", 1, "[1]");
}

static void what_we_showed_is_an_echo(void **state)
{
    (void)state;
    assert_true(write_row("notes", "2024-01-01T10:00:00", "{\"n\":1}"));
    /* Whatever the value: the app did not touch this key. */
    assert_true(write_row("notes", shown("notes"), "{\"n\":9}"));
    check_document("notes", 1, "{\"n\":1}");
    assert_false(bench.wrote);
}

static void an_earlier_kept_version_is_an_echo_too(void **state)
{
    (void)state;
    assert_true(write_row("notes", "2024-01-01T10:00:00", "{\"n\":1}"));
    const char *first = shown("notes");
    assert_true(write_row("notes", "2024-01-01T10:00:01", "{\"n\":2}"));
    check_document("notes", 2, "{\"n\":2}");
    assert_true(write_row("notes", first, "{\"n\":1}"));
    check_document("notes", 2, "{\"n\":2}");
}

static void instants_are_compared_not_texts(void **state)
{
    (void)state;
    bench.context.now_us = INT64_C(1700000000123000);
    assert_true(write_row("notes", "2024-01-01T10:00:00", "{\"n\":1}"));
    assert_string_equal(shown("notes"), "2023-11-14T22:13:20.124+00:00");
    assert_true(write_row("notes", "2023-11-14T23:13:20.124999+01:00", "{\"n\":2}"));
    assert_true(write_row("notes", "2023-11-14T22:13:20.124Z", "{\"n\":2}"));
    assert_true(write_row("notes", "2023-11-14T22:13:20.124", "{\"n\":2}"));
    check_document("notes", 1, "{\"n\":1}");
    assert_true(write_row("notes", "2023-11-14T22:13:20.123Z", "{\"n\":2}"));
    check_document("notes", 2, "{\"n\":2}");
}

/* v1 writes local time without a zone: an older or a younger one says nothing. */
static void every_other_time_is_a_write_whatever_the_clocks_say(void **state)
{
    (void)state;
    assert_true(write_row("notes", "2090-01-01T10:00:00", "{\"n\":1}"));
    assert_true(write_row("notes", "1999-01-01T10:00:00", "{\"n\":2}"));
    assert_true(write_row("notes", "no time at all", "{\"n\":3}"));
    check_document("notes", 3, "{\"n\":3}");
}

static void a_write_is_a_seed_but_incoming_takes_what_was_sent(void **state)
{
    (void)state;
    (void)bench_upsert(&bench, "a", "game_stats", "0",
                       "{\"score\":9,\"incorrectAnswers\":7,\"gems\":1,\"x\":1}");
    assert_true(write_row("game_stats", "2024-01-01T10:00:00",
                          "{\"score\":3,\"incorrectAnswers\":5,\"gems\":2}"));
    check_document("game_stats", 2, "{\"score\":9,\"incorrectAnswers\":7,\"gems\":2,\"x\":1}");
    /* The same row again changes nothing. */
    assert_true(write_row("game_stats", "2024-01-01T10:00:00",
                          "{\"score\":3,\"incorrectAnswers\":5,\"gems\":2}"));
    assert_false(bench.wrote);
}

static void a_key_that_is_absent_changes_nothing(void **state)
{
    (void)state;
    assert_true(write_row("notes", "2024-01-01T10:00:00", "{\"n\":1}"));
    assert_true(bench_v1(&bench, "{}"));
    assert_true(write_row("other", "2024-01-01T10:00:00", "1"));
    check_document("notes", 1, "{\"n\":1}");
}

static void a_deleted_document_is_not_brought_back_by_an_echo(void **state)
{
    struct op op = {.kind = OP_DELETE_ALL};
    (void)state;
    assert_true(write_row("notes", "2024-01-01T10:00:00", "{\"n\":1}"));
    const char *first = shown("notes");
    assert_int_equal(bench_run(&bench, &op), BQ_OK);
    assert_true(write_row("notes", first, "{\"n\":1}"));
    check_document("notes", 2, "");
    /* A write does. */
    assert_true(write_row("notes", "2024-01-01T10:00:00", "{\"n\":5}"));
    check_document("notes", 3, "{\"n\":5}");
}

static void a_value_without_its_wrapper_is_taken_as_it_is(void **state)
{
    (void)state;
    assert_true(bench_v1(&bench, "{\"notes\":{\"n\":1}}"));
    check_document("notes", 1, "{\"n\":1}");
}

static void one_refused_key_does_not_touch_the_others(void **state)
{
    (void)state;
    bench.context.limits.document_bytes = 30;
    assert_false(bench_v1(&bench, "{\"_bad\":1,\"a\":{\"n\":1},"
                                  "\"b\":{\"s\":\"0123456789012345678901234567890\"},"
                                  "\"c\":{\"n\":2}}"));
    assert_int_equal(bench.status, BQ_OK);
    check_document("a", 1, "{\"n\":1}");
    check_document("b", 0, "");
    check_document("c", 1, "{\"n\":2}");
}

static void a_row_that_is_no_object_is_false(void **state)
{
    (void)state;
    assert_false(bench_v1(&bench, "[1]"));
    assert_false(bench_v1(&bench, "null"));
    assert_int_equal(bench_user(&bench).seq, 0);
}

static void all_three_generations_live_together(void **state)
{
    (void)state;
    assert_true(write_row("game_stats", "2024-01-01T10:00:00", "{\"incorrectAnswers\":5}"));
    (void)bench_upsert(&bench, "old", "game_stats", "1", "{\"incorrectAnswers\":6}");
    (void)bench_edits(&bench, "bq-1",
                      "{\"op\":1,\"prev\":0,\"id\":\"aaaaaaaaaaaaaaaa\",\"key\":\"game_stats\","
                      "\"base\":1,\"was\":{\"incorrectAnswers\":5},\"now\":{\"incorrectAnswers\":"
                      "8}}");
    check_document("game_stats", 3, "{\"incorrectAnswers\":9}");
    /* The app of v1 sends its old row with another key changed: an echo here. */
    assert_true(write_row("game_stats", shown("game_stats"), "{\"incorrectAnswers\":5}"));
    check_document("game_stats", 3, "{\"incorrectAnswers\":9}");
}

/* ---- v1's list of devices -------------------------------------------------------------------- */

static bool device(enum op_kind kind, struct slice id)
{
    struct op op = {.kind = kind, .in.v1_device = {id, SLICE("Phone"), SLICE("android")}};
    assert_int_equal(bench_run(&bench, &op), BQ_OK);
    assert_int_equal(op.status, BQ_OK);
    return op.out.done;
}

static void devices_are_added_and_removed(void **state)
{
    (void)state;
    assert_true(device(OP_V1_ADD_DEVICE, SLICE("d1")));
    assert_true(device(OP_V1_ADD_DEVICE, SLICE("d1")));
    assert_true(device(OP_V1_REMOVE_DEVICE, SLICE("d1")));
    assert_false(device(OP_V1_REMOVE_DEVICE, SLICE("d1")));
    assert_false(device(OP_V1_ADD_DEVICE, SLICE("")));
    assert_false(device(OP_V1_ADD_DEVICE, SLICE_NONE));
    assert_false(device(OP_V1_REMOVE_DEVICE, SLICE_NONE));
}

static void a_row_of_too_many_keys_is_refused_as_a_whole(void **state)
{
    (void)state;
    bench.context.limits.keys = 2;
    assert_false(bench_v1(&bench, "{\"a\":1,\"b\":1,\"c\":1}"));
    assert_non_null(strstr(bench.message, "the limit is 2"));
    check_document("a", 0, "");
    assert_int_equal(bench_user(&bench).seq, 0);
    assert_true(bench_v1(&bench, "{\"a\":1,\"b\":1}"));
    /* What is over a limit that came later can still be written back. */
    bench.context.limits.keys = 1;
    assert_true(bench_v1(&bench, "{\"a\":2,\"b\":2}"));
    check_document("b", 2, "2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_first_row_is_stored_key_by_key, setup, teardown),
        cmocka_unit_test_setup_teardown(what_we_showed_is_an_echo, setup, teardown),
        cmocka_unit_test_setup_teardown(an_earlier_kept_version_is_an_echo_too, setup, teardown),
        cmocka_unit_test_setup_teardown(instants_are_compared_not_texts, setup, teardown),
        cmocka_unit_test_setup_teardown(every_other_time_is_a_write_whatever_the_clocks_say, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_write_is_a_seed_but_incoming_takes_what_was_sent, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_key_that_is_absent_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_deleted_document_is_not_brought_back_by_an_echo, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_value_without_its_wrapper_is_taken_as_it_is, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(one_refused_key_does_not_touch_the_others, setup, teardown),
        cmocka_unit_test_setup_teardown(a_row_that_is_no_object_is_false, setup, teardown),
        cmocka_unit_test_setup_teardown(all_three_generations_live_together, setup, teardown),
        cmocka_unit_test_setup_teardown(devices_are_added_and_removed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_row_of_too_many_keys_is_refused_as_a_whole, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
