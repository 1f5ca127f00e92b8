/* test_old_client.c - atomic_sync_upsert, case by case, and the rows of docs/architecture.md,
 * section 2, that an unmodified old app is given (docs/protocol.md, "Old clients"). */
#include "core_bench.h"

#include "base/status.h"

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

static void check(const struct json_value *answer, const char *pointer, const char *want)
{
    bench_check(&bench, answer, pointer, want);
}

/* Sends, and checks action, version and document of the answer. */
static void send(const char *device, const char *key, const char *expected, const char *data,
                 const char *want)
{
    struct json_value answer = bench_upsert(&bench, device, key, expected, data);
    const char *got =
        bench_text(&bench, "%s %s %s", bench_at(&bench, &answer, "/action"),
                   bench_at(&bench, &answer, "/version"), bench_at(&bench, &answer, "/data"));
    bool merged = strncmp(want, "\"merged\"", 8) == 0;
    check(&answer, "/success", "true");
    check(&answer, "/conflict", merged ? "true" : "false");
    if (strcmp(got, want) != 0) {
        fail_msg("answered %s, not %s", got, want);
    }
}

static void check_document(const char *key, int64_t version, const char *want)
{
    int64_t got_version;
    const char *got = bench_document(&bench, key, &got_version);
    if (strcmp(got, want) != 0 || got_version != version) {
        fail_msg("%s is %s at version %d", key, got, (int)got_version);
    }
}

/* ---- The cases ------------------------------------------------------------------------------- */

static void a_first_write_is_inserted(void **state)
{
    (void)state;
    send("a", "notes", "0", "{\"n\":1}", "\"inserted\" 1 {\"n\":1}");
    assert_true(bench.wrote);
}

static void a_write_on_the_present_version_is_updated(void **state)
{
    (void)state;
    send("a", "notes", "0", "{\"n\":1,\"m\":1}", "\"inserted\" 1 {\"n\":1,\"m\":1}");
    /* Without fields in the policy the document is what was sent. */
    send("a", "notes", "1", "{\"n\":2}", "\"updated\" 2 {\"n\":2}");
    send("b", "notes", "2", "[1]", "\"updated\" 3 [1]");
}

static void where_the_policy_has_fields_unknown_members_stay(void **state)
{
    (void)state;
    send("a", "game_stats", "0", "{\"score\":1,\"badges\":[1]}",
         "\"inserted\" 1 {\"score\":1,\"badges\":[1]}");
    send("b", "game_stats", "1", "{\"score\":0}", "\"updated\" 2 {\"score\":0,\"badges\":[1]}");
}

static void without_a_version_it_is_stored_as_sent(void **state)
{
    (void)state;
    send("a", "game_stats", "0", "{\"score\":9,\"x\":1}", "\"inserted\" 1 {\"score\":9,\"x\":1}");
    send("b", "game_stats", NULL, "{\"score\":2}", "\"updated\" 2 {\"score\":2}");
}

/* Forced writes say "as sent, whatever is there": only the very last one can be a repeat. */
static void a_forced_write_may_be_meant_again(void **state)
{
    (void)state;
    send("a", "notes", NULL, "{\"n\":1}", "\"inserted\" 1 {\"n\":1}");
    send("a", "notes", NULL, "{\"n\":1}", "\"inserted\" 1 {\"n\":1}");
    send("a", "notes", NULL, "{\"n\":2}", "\"updated\" 2 {\"n\":2}");
    send("a", "notes", NULL, "{\"n\":1}", "\"updated\" 3 {\"n\":1}");
}

static void a_tombstone_is_written_anew(void **state)
{
    struct op op = {.kind = OP_DELETE_ALL};
    (void)state;
    send("a", "notes", "0", "{\"n\":1}", "\"inserted\" 1 {\"n\":1}");
    assert_int_equal(bench_run(&bench, &op), BQ_OK);
    check_document("notes", 2, "");
    send("b", "notes", "1", "{\"n\":2}", "\"inserted\" 3 {\"n\":2}");
}

static void an_exact_repeat_is_answered_and_not_applied(void **state)
{
    (void)state;
    send("a", "notes", "0", "{\"n\":1}", "\"inserted\" 1 {\"n\":1}");
    send("b", "notes", "1", "{\"n\":2}", "\"updated\" 2 {\"n\":2}");
    /* The first outcome's action, the present document; equal by value, not by text. */
    send("a", "notes", "0", "{ \"n\" : 1.0 }", "\"inserted\" 2 {\"n\":2}");
    assert_false(bench.wrote);
    check_document("notes", 2, "{\"n\":2}");
    /* Of another device, or with another version, it is a write. */
    send("b", "notes", "2", "{\"n\":1}", "\"updated\" 3 {\"n\":1}");
}

static void repeats_are_found_whatever_the_order_of_members(void **state)
{
    (void)state;
    send("a", "game_stats", "0", "{\"incorrectAnswers\":5,\"score\":1e1}",
         "\"inserted\" 1 {\"incorrectAnswers\":5,\"score\":1e1}");
    send("a", "game_stats", "0", "{\"score\":10.0,\"incorrectAnswers\":5}",
         "\"inserted\" 1 {\"incorrectAnswers\":5,\"score\":1e1}");
}

static void the_last_64_are_known(void **state)
{
    (void)state;
    send("a", "notes", "0", "{\"n\":0}", "\"inserted\" 1 {\"n\":0}");
    for (int i = 1; i < 65; i++) {
        (void)bench_upsert(&bench, "a", "notes", bench_text(&bench, "%d", i),
                           bench_text(&bench, "{\"n\":%d}", i));
    }
    check_document("notes", 65, "{\"n\":64}");
    (void)bench_upsert(&bench, "a", "notes", "1", "{\"n\":1}");
    check_document("notes", 65, "{\"n\":64}");
    /* The very first is forgotten, and is a merge now: a stale copy without a base. */
    struct json_value answer = bench_upsert(&bench, "a", "notes", "0", "{\"n\":0}");
    check(&answer, "/action", "\"merged\"");
    check_document("notes", 65, "{\"n\":64}");
}

static void no_device_is_a_device(void **state)
{
    (void)state;
    send(NULL, "game_stats", "0", "{\"incorrectAnswers\":5}",
         "\"inserted\" 1 {\"incorrectAnswers\":5}");
    send("", "game_stats", "0", "{\"incorrectAnswers\":5}",
         "\"inserted\" 1 {\"incorrectAnswers\":5}");
}

static void an_unknown_base_is_a_seed(void **state)
{
    (void)state;
    send("a", "game_stats", "0", "{\"incorrectAnswers\":5,\"score\":9}",
         "\"inserted\" 1 {\"incorrectAnswers\":5,\"score\":9}");
    /* A version that never was: the larger count, not the sum. */
    send("b", "game_stats", "77", "{\"incorrectAnswers\":7,\"score\":3,\"x\":1}",
         "\"merged\" 2 {\"incorrectAnswers\":7,\"score\":9,\"x\":1}");
}

static void a_version_that_history_forgot_is_a_seed(void **state)
{
    (void)state;
    for (int i = 0; i < 40; i++) {
        (void)bench_upsert(&bench, "a", "game_stats", bench_text(&bench, "%d", i),
                           bench_text(&bench, "{\"incorrectAnswers\":%d}", i + 1));
    }
    send("b", "game_stats", "2", "{\"incorrectAnswers\":3}",
         "\"merged\" 40 {\"incorrectAnswers\":40}");
    send("b", "game_stats", "39", "{\"incorrectAnswers\":42}",
         "\"merged\" 41 {\"incorrectAnswers\":43}");
}

static void what_goes_wrong_is_told_inside_the_answer(void **state)
{
    (void)state;
    bench.context.limits.document_bytes = 40;
    static const struct {
        const char *key;
        const char *data;
    } cases[] = {
        {"_a", "{}"},
        {"", "{}"},
        {"a", NULL},
        {"a", "{\"s\":\"0123456789012345678901234567890123456789\"}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct json_value answer = bench_upsert(&bench, "d", cases[i].key, "0", cases[i].data);
        check(&answer, "/success", "false");
        check(&answer, "/conflict", "false");
        check(&answer, "/action", "");
        assert_true(strlen(bench_at(&bench, &answer, "/error")) > 10);
        assert_int_equal(bench.status, BQ_OK);
    }
    assert_int_equal(bench_user(&bench).n_keys, 0);
    assert_int_equal(bench_user(&bench).seq, 0);
}

/* Although nothing of it would get into the document. */
static void what_is_sent_obeys_the_limit_itself(void **state)
{
    (void)state;
    bench_policies(&bench, "{\"notes\":\"keep\"}");
    bench.context.limits.document_bytes = 20;
    send("a", "notes", "0", "{\"n\":1}", "\"inserted\" 1 {\"n\":1}");
    struct json_value answer =
        bench_upsert(&bench, "b", "notes", "0", "{\"n\":\"01234567890123456789\"}");
    check(&answer, "/success", "false");
    send("b", "notes", "0", "{\"n\":\"01\"}", "\"merged\" 1 {\"n\":1}");
}

/* What failed was not sent: the same document goes in once there is room. */
static void a_failure_is_not_remembered_as_an_outcome(void **state)
{
    (void)state;
    bench.context.limits.keys = 0;
    struct json_value answer = bench_upsert(&bench, "d", "a", "0", "{}");
    check(&answer, "/success", "false");
    bench.context.limits.keys = 1;
    send("d", "a", "0", "{}", "\"inserted\" 1 {}");
}

/* ---- The rows -------------------------------------------------------------------------------- */

static void row_1_stars_of_a_lesson_unknown_to_the_server_are_kept(void **state)
{
    (void)state;
    send("a", "lesson_progress", "0", "{\"unlockedCount\":2,\"bestStarsByLesson\":{\"l1\":2}}",
         "\"inserted\" 1 {\"unlockedCount\":2,\"bestStarsByLesson\":{\"l1\":2}}");
    send("b", "lesson_progress", "0",
         "{\"unlockedCount\":1,\"bestStarsByLesson\":{\"l1\":1,\"l2\":3}}",
         "\"merged\" 2 {\"unlockedCount\":2,\"bestStarsByLesson\":{\"l1\":2,\"l2\":3}}");
}

static void row_2_a_retry_after_a_lost_answer_is_applied_once(void **state)
{
    (void)state;
    send("a", "game_stats", "0", "{\"incorrectAnswers\":5}",
         "\"inserted\" 1 {\"incorrectAnswers\":5}");
    send("a", "game_stats", "0", "{\"incorrectAnswers\":5}",
         "\"inserted\" 1 {\"incorrectAnswers\":5}");
    send("b", "game_stats", "0", "{\"incorrectAnswers\":3}",
         "\"merged\" 2 {\"incorrectAnswers\":8}");
    send("b", "game_stats", "0", "{\"incorrectAnswers\":3}",
         "\"merged\" 2 {\"incorrectAnswers\":8}");
}

static void row_4_three_edits_made_offline_are_counted_once(void **state)
{
    (void)state;
    send("a", "game_stats", "0", "{\"incorrectAnswers\":5}",
         "\"inserted\" 1 {\"incorrectAnswers\":5}");
    send("a", "game_stats", "1", "{\"incorrectAnswers\":6}",
         "\"updated\" 2 {\"incorrectAnswers\":6}");
    /* b was offline at version 1, and counted three. */
    send("b", "game_stats", "1", "{\"incorrectAnswers\":6}",
         "\"merged\" 3 {\"incorrectAnswers\":7}");
    send("b", "game_stats", "1", "{\"incorrectAnswers\":7}",
         "\"merged\" 4 {\"incorrectAnswers\":8}");
    send("b", "game_stats", "1", "{\"incorrectAnswers\":8}",
         "\"merged\" 5 {\"incorrectAnswers\":9}");
}

static void row_4_also_when_the_first_of_them_meets_its_version(void **state)
{
    (void)state;
    send("a", "game_stats", "0", "{\"incorrectAnswers\":5}",
         "\"inserted\" 1 {\"incorrectAnswers\":5}");
    send("a", "game_stats", "1", "{\"incorrectAnswers\":6}",
         "\"updated\" 2 {\"incorrectAnswers\":6}");
    send("a", "game_stats", "1", "{\"incorrectAnswers\":7}",
         "\"merged\" 3 {\"incorrectAnswers\":7}");
    send("a", "game_stats", "1", "{\"incorrectAnswers\":8}",
         "\"merged\" 4 {\"incorrectAnswers\":8}");
}

static void row_4_also_out_of_order(void **state)
{
    (void)state;
    send("a", "game_stats", "0", "{\"incorrectAnswers\":5}",
         "\"inserted\" 1 {\"incorrectAnswers\":5}");
    send("a", "game_stats", "1", "{\"incorrectAnswers\":6}",
         "\"updated\" 2 {\"incorrectAnswers\":6}");
    send("b", "game_stats", "1", "{\"incorrectAnswers\":8}",
         "\"merged\" 3 {\"incorrectAnswers\":9}");
    send("b", "game_stats", "1", "{\"incorrectAnswers\":6}",
         "\"merged\" 3 {\"incorrectAnswers\":9}");
    send("b", "game_stats", "1", "{\"incorrectAnswers\":7}",
         "\"merged\" 3 {\"incorrectAnswers\":9}");
    send("b", "game_stats", "1", "{\"incorrectAnswers\":9}",
         "\"merged\" 4 {\"incorrectAnswers\":10}");
}

static void row_5_unknown_fields_stay_and_fractions_are_exact(void **state)
{
    (void)state;
    send("a", "game_stats", "0", "{\"incorrectAnswers\":11.5,\"gems\":7}",
         "\"inserted\" 1 {\"incorrectAnswers\":11.5,\"gems\":7}");
    send("b", "game_stats", "0", "{\"incorrectAnswers\":0.1,\"skin\":\"x\"}",
         "\"merged\" 2 {\"incorrectAnswers\":11.6,\"gems\":7,\"skin\":\"x\"}");
}

static void row_6_two_first_writes_are_merged(void **state)
{
    (void)state;
    send("a", "settings", "0", "{\"mute\":true}", "\"inserted\" 1 {\"mute\":true}");
    send("b", "settings", "0", "{\"speed\":2}", "\"merged\" 2 {\"mute\":true,\"speed\":2}");
}

static void row_12_a_stale_device_changes_only_what_it_changed(void **state)
{
    (void)state;
    send("a", "settings", "0", "{\"mute\":false,\"speed\":1,\"layout\":\"grid\"}",
         "\"inserted\" 1 {\"mute\":false,\"speed\":1,\"layout\":\"grid\"}");
    send("a", "settings", "1", "{\"mute\":true,\"speed\":1,\"layout\":\"list\"}",
         "\"updated\" 2 {\"mute\":true,\"speed\":1,\"layout\":\"list\"}");
    send("b", "settings", "1", "{\"mute\":false,\"speed\":3,\"layout\":\"grid\"}",
         "\"merged\" 3 {\"mute\":true,\"speed\":3,\"layout\":\"list\"}");
}

static void row_13_a_spent_score_stays_spent(void **state)
{
    (void)state;
    send("a", "game_stats", "0", "{\"score\":100,\"currentStreak\":1}",
         "\"inserted\" 1 {\"score\":100,\"currentStreak\":1}");
    send("a", "game_stats", "1", "{\"score\":40,\"currentStreak\":1}",
         "\"updated\" 2 {\"score\":40,\"currentStreak\":1}");
    send("b", "game_stats", "1", "{\"score\":100,\"currentStreak\":2}",
         "\"merged\" 3 {\"score\":40,\"currentStreak\":2}");
}

/* ---- Other generations beside them ----------------------------------------------------------- */

static void new_clients_see_old_writes_and_the_other_way_round(void **state)
{
    (void)state;
    send("old", "game_stats", "0", "{\"incorrectAnswers\":5}",
         "\"inserted\" 1 {\"incorrectAnswers\":5}");
    struct json_value answer = bench_edits(
        &bench, "bq-1",
        "{\"op\":1,\"prev\":0,\"id\":\"aaaaaaaaaaaaaaaa\",\"key\":\"game_stats\",\"base\":1,"
        "\"was\":{\"incorrectAnswers\":5},\"now\":{\"incorrectAnswers\":7}}");
    check(&answer, "/results/0/status", "\"applied\"");
    send("old", "game_stats", "1", "{\"incorrectAnswers\":6}",
         "\"merged\" 3 {\"incorrectAnswers\":8}");
    answer = bench_exchange(&bench, "bq-1", "\"p_cursor\":2");
    check(&answer, "/changes/0/data", "{\"incorrectAnswers\":8}");
    check(&answer, "/changes/0/device_id", "\"old\"");
    check(&answer, "/changes/0/op", "1");
}

/* An old app whose number of a version is ahead was restored from nothing: no evidence, a seed. */
static void an_old_client_never_raises_the_generation(void **state)
{
    (void)state;
    (void)bench_upsert(&bench, "a", "notes", "5", "{\"n\":1}");
    (void)bench_upsert(&bench, "a", "notes", "9", "{\"n\":2}");
    assert_int_equal(bench_user(&bench).generation, 0);
}

/* The app deletes its data and starts over with what it had: that is no repeat. */
static void what_was_sent_before_a_deletion_is_no_repeat_after_it(void **state)
{
    struct op delete_all = {.kind = OP_DELETE_ALL};
    (void)state;
    send("d", "notes", "0", "{\"a\":1}", "\"inserted\" 1 {\"a\":1}");
    send("d", "notes", "0", "{\"a\":1}", "\"inserted\" 1 {\"a\":1}");
    assert_int_equal(bench_run(&bench, &delete_all), BQ_OK);
    send("d", "notes", "0", "{\"a\":1}", "\"inserted\" 3 {\"a\":1}");
    send("d", "notes", "0", "{\"a\":1}", "\"inserted\" 3 {\"a\":1}");
    check_document("notes", 3, "{\"a\":1}");
    /* An edit of a new client that deletes counts as much. */
    (void)bench_edits(
        &bench, "bq",
        "{\"op\":1,\"prev\":0,\"id\":\"000000000000000a\",\"key\":\"notes\",\"base\":3,"
        "\"delete\":true}");
    send("d", "notes", "0", "{\"a\":1}", "\"inserted\" 5 {\"a\":1}");
}

static void a_device_that_wrote_before_a_deletion_is_not_new_after_it(void **state)
{
    struct op delete_all = {.kind = OP_DELETE_ALL};
    (void)state;
    send("d", "game_stats", "0", "{\"incorrectAnswers\":5}",
         "\"inserted\" 1 {\"incorrectAnswers\":5}");
    assert_int_equal(bench_run(&bench, &delete_all), BQ_OK);
    send("e", "game_stats", "0", "{\"incorrectAnswers\":3}",
         "\"inserted\" 3 {\"incorrectAnswers\":3}");
    /* Its 5 may have been in what was deleted: a seed, the larger count. */
    send("d", "game_stats", "0", "{\"incorrectAnswers\":6}",
         "\"merged\" 4 {\"incorrectAnswers\":6}");
    send("d", "game_stats", "0", "{\"incorrectAnswers\":7}",
         "\"merged\" 5 {\"incorrectAnswers\":7}");
}

static void an_evicted_device_is_not_taken_for_a_new_one(void **state)
{
    (void)state;
    send("d", "game_stats", "0", "{\"incorrectAnswers\":5}",
         "\"inserted\" 1 {\"incorrectAnswers\":5}");
    /* Sixteen others push it out; the document does not change by them. */
    for (unsigned i = 0; i < LIMIT_UPSERT_DEVICES; i++) {
        send(bench_text(&bench, "e%u", i), "game_stats", "1", "{\"incorrectAnswers\":5}",
             "\"updated\" 1 {\"incorrectAnswers\":5}");
    }
    send("d", "game_stats", "0", "{\"incorrectAnswers\":6}",
         "\"merged\" 2 {\"incorrectAnswers\":6}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_first_write_is_inserted, setup, teardown),
        cmocka_unit_test_setup_teardown(a_write_on_the_present_version_is_updated, setup, teardown),
        cmocka_unit_test_setup_teardown(where_the_policy_has_fields_unknown_members_stay, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(without_a_version_it_is_stored_as_sent, setup, teardown),
        cmocka_unit_test_setup_teardown(a_forced_write_may_be_meant_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_tombstone_is_written_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(an_exact_repeat_is_answered_and_not_applied, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(repeats_are_found_whatever_the_order_of_members, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_last_64_are_known, setup, teardown),
        cmocka_unit_test_setup_teardown(no_device_is_a_device, setup, teardown),
        cmocka_unit_test_setup_teardown(an_unknown_base_is_a_seed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_version_that_history_forgot_is_a_seed, setup, teardown),
        cmocka_unit_test_setup_teardown(what_goes_wrong_is_told_inside_the_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_sent_obeys_the_limit_itself, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failure_is_not_remembered_as_an_outcome, setup, teardown),
        cmocka_unit_test_setup_teardown(row_1_stars_of_a_lesson_unknown_to_the_server_are_kept,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(row_2_a_retry_after_a_lost_answer_is_applied_once, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(row_4_three_edits_made_offline_are_counted_once, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(row_4_also_when_the_first_of_them_meets_its_version, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(row_4_also_out_of_order, setup, teardown),
        cmocka_unit_test_setup_teardown(row_5_unknown_fields_stay_and_fractions_are_exact, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(row_6_two_first_writes_are_merged, setup, teardown),
        cmocka_unit_test_setup_teardown(row_12_a_stale_device_changes_only_what_it_changed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(row_13_a_spent_score_stays_spent, setup, teardown),
        cmocka_unit_test_setup_teardown(new_clients_see_old_writes_and_the_other_way_round, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_old_client_never_raises_the_generation, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_sent_before_a_deletion_is_no_repeat_after_it,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_device_that_wrote_before_a_deletion_is_not_new_after_it,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(an_evicted_device_is_not_taken_for_a_new_one, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
