/* test_exchange.c - sync_exchange, result by result (docs/protocol.md, "sync_exchange",
 * "Receipts"). */
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

static void check_document(const char *key, int64_t version, const char *want)
{
    int64_t got_version;
    const char *got = bench_document(&bench, key, &got_version);
    if (strcmp(got, want) != 0 || got_version != version) {
        fail_msg("%s is %s at version %d", key, got, (int)got_version);
    }
}

/* An edit whose id tells device and number. */
static const char *edit_of(int who, int op, int prev, const char *key, int base, const char *rest)
{
    return bench_text(&bench,
                      "{\"op\":%d,\"prev\":%d,\"id\":\"%08x%08x\",\"key\":\"%s\",\"base\":%d,%s}",
                      op, prev, who, op, key, base, rest);
}

/* Sends one edit of device d1 or d2. */
static struct json_value send(int who, int op, int prev, const char *key, int base,
                              const char *rest)
{
    return bench_edits(&bench, bench_text(&bench, "d%d", who),
                       edit_of(who, op, prev, key, base, rest));
}

/* ---- Outcomes -------------------------------------------------------------------------------- */

static void a_first_edit_is_applied(void **state)
{
    (void)state;
    struct json_value answer = send(1, 1, 0, "notes", 0, "\"now\":{\"a\":1}");
    check(&answer, "/status", "\"ok\"");
    check(&answer, "/results/0/key", "\"notes\"");
    check(&answer, "/results/0/op", "1");
    check(&answer, "/results/0/status", "\"applied\"");
    check(&answer, "/results/0/version", "1");
    check(&answer, "/results/0/data", "");
    check(&answer, "/results/0/code", "");
    /* The result told it, so no change does; the cursor passes it. */
    check(&answer, "/changes", "[]");
    check(&answer, "/cursor", "1");
    check_document("notes", 1, "{\"a\":1}");
    assert_true(bench.wrote);
    assert_int_equal(bench.seq, 1);
}

static void concurrent_edits_are_merged(void **state)
{
    (void)state;
    (void)send(1, 1, 0, "game_stats", 0, "\"now\":{\"incorrectAnswers\":5}");
    (void)send(1, 2, 1, "game_stats", 1,
               "\"was\":{\"incorrectAnswers\":5},\"now\":{\"incorrectAnswers\":6}");
    struct json_value answer =
        send(2, 1, 0, "game_stats", 1,
             "\"was\":{\"incorrectAnswers\":5},\"now\":{\"incorrectAnswers\":8}");
    check(&answer, "/results/0/status", "\"merged\"");
    check(&answer, "/results/0/version", "3");
    check(&answer, "/results/0/data", "{\"incorrectAnswers\":9}");
    check(&answer, "/changes", "[]");
}

static void ack_lost_then_retry_applies_once(void **state)
{
    const char *rest = "\"was\":{\"incorrectAnswers\":5},\"now\":{\"incorrectAnswers\":7}";
    (void)state;
    (void)send(1, 1, 0, "game_stats", 0, "\"now\":{\"incorrectAnswers\":5}");
    (void)send(1, 2, 1, "game_stats", 1, rest);
    struct json_value answer = send(1, 2, 1, "game_stats", 1, rest);
    check(&answer, "/results/0/status", "\"duplicate\"");
    check(&answer, "/results/0/version", "2");
    check(&answer, "/results/0/data", "{\"incorrectAnswers\":7}");
    assert_false(bench.wrote);
    /* Also with a renewed base, and after others went on. */
    (void)send(2, 1, 0, "game_stats", 2,
               "\"was\":{\"incorrectAnswers\":7},\"now\":{\"incorrectAnswers\":8}");
    answer = send(1, 2, 1, "game_stats", -1, rest);
    check(&answer, "/results/0/status", "\"duplicate\"");
    check(&answer, "/results/0/version", "3");
    check_document("game_stats", 3, "{\"incorrectAnswers\":8}");
}

static void the_same_edit_twice_in_one_request_applies_once(void **state)
{
    (void)state;
    const char *edit = edit_of(1, 1, 0, "game_stats", 0, "\"now\":{\"incorrectAnswers\":5}");
    struct json_value answer = bench_edits(&bench, "d1", bench_text(&bench, "%s,%s", edit, edit));
    check(&answer, "/results/0/status", "\"applied\"");
    check(&answer, "/results/1/status", "\"duplicate\"");
    check_document("game_stats", 1, "{\"incorrectAnswers\":5}");
}

static void an_edit_without_effect_makes_a_receipt_but_no_version(void **state)
{
    (void)state;
    (void)send(1, 1, 0, "notes", 0, "\"now\":{\"a\":1}");
    struct json_value answer = send(2, 1, 0, "notes", 0, "\"was\":{\"a\":1},\"now\":{\"a\":1.0}");
    check(&answer, "/results/0/status", "\"merged\"");
    check(&answer, "/results/0/version", "1");
    check(&answer, "/cursor", "1");
    answer = send(2, 1, 0, "notes", 0, "\"was\":{\"a\":1},\"now\":{\"a\":1.0}");
    check(&answer, "/results/0/status", "\"duplicate\"");
    check_document("notes", 1, "{\"a\":1}");
    assert_int_equal(bench_user(&bench).seq, 1);
}

static void a_delete_leaves_a_tombstone(void **state)
{
    (void)state;
    (void)send(1, 1, 0, "notes", 0, "\"now\":{\"a\":1}");
    struct json_value answer = send(1, 2, 1, "notes", 1, "\"delete\":true");
    check(&answer, "/results/0/status", "\"applied\"");
    check(&answer, "/results/0/version", "2");
    check(&answer, "/results/0/deleted", "true");
    check_document("notes", 2, "");
    struct store_user user = bench_user(&bench);
    assert_int_equal(user.n_keys, 0);
    assert_int_equal(user.n_tombstones, 1);
    assert_int_equal(user.n_bytes, 0);
    answer = bench_exchange(&bench, "d2", "");
    check(&answer, "/changes/0/deleted", "true");
    check(&answer, "/changes/0/data", "{}");
    check(&answer, "/changes/0/op", "0");
    check(&answer, "/changes/0/id", "null");
}

static void an_update_beats_a_late_delete(void **state)
{
    (void)state;
    (void)send(1, 1, 0, "notes", 0, "\"now\":{\"a\":1}");
    (void)send(1, 2, 1, "notes", 1, "\"was\":{\"a\":1},\"now\":{\"a\":2}");
    struct json_value answer = send(2, 1, 0, "notes", 1, "\"delete\":true");
    check(&answer, "/results/0/status", "\"kept\"");
    check(&answer, "/results/0/version", "2");
    check(&answer, "/results/0/data", "{\"a\":2}");
    check(&answer, "/results/0/deleted", "");
    answer = send(2, 1, 0, "notes", 1, "\"delete\":true");
    check(&answer, "/results/0/status", "\"duplicate\"");
    check(&answer, "/results/0/code", "");
}

static void a_late_delete_of_what_is_deleted_is_no_refusal(void **state)
{
    (void)state;
    (void)send(1, 1, 0, "notes", 0, "\"now\":{\"a\":1}");
    (void)send(1, 2, 1, "notes", 1, "\"delete\":true");
    struct json_value answer = send(2, 1, 0, "notes", 1, "\"delete\":true");
    check(&answer, "/results/0/status", "\"kept\"");
    answer = send(2, 1, 0, "notes", 1, "\"delete\":true");
    check(&answer, "/results/0/status", "\"duplicate\"");
    check(&answer, "/results/0/code", "");
}

static void an_edit_of_a_deleted_document_is_kept(void **state)
{
    (void)state;
    (void)send(1, 1, 0, "notes", 0, "\"now\":{\"a\":1}");
    (void)send(1, 2, 1, "notes", 1, "\"delete\":true");
    struct json_value answer = send(2, 1, 0, "notes", 1, "\"was\":{\"a\":1},\"now\":{\"a\":2}");
    check(&answer, "/results/0/status", "\"kept\"");
    check(&answer, "/results/0/deleted", "true");
    check(&answer, "/results/0/data", "{}");
    check(&answer, "/results/0/version", "2");
    check(&answer, "/results/0/code", "");
    /* Where this answer is lost, its copy and the feed tell as much. */
    answer = send(2, 1, 0, "notes", 1, "\"was\":{\"a\":1},\"now\":{\"a\":2}");
    check(&answer, "/results/0/status", "\"duplicate\"");
    check(&answer, "/results/0/code", "\"deleted\"");
    check(&answer, "/results/0/retry", "\"never\"");
    answer = bench_exchange(&bench, "d2", "");
    check(&answer, "/changes/0/op", "1");
    check(&answer, "/changes/0/refused", "\"deleted\"");
    /* Who knows the tombstone, or nothing, writes the document anew. */
    answer = send(2, 2, 1, "notes", 2, "\"now\":{\"a\":3}");
    check(&answer, "/results/0/status", "\"applied\"");
    check_document("notes", 3, "{\"a\":3}");
    struct store_user user = bench_user(&bench);
    assert_int_equal(user.n_keys, 1);
    assert_int_equal(user.n_tombstones, 0);
}

static void the_receipt_decides_before_the_merge(void **state)
{
    (void)state;
    (void)send(1, 1, 0, "notes", 0, "\"now\":{\"a\":1}");
    (void)send(1, 2, 1, "notes", 1, "\"was\":{\"a\":1},\"now\":{\"a\":2}");
    /* A restored copy of the file of d1 writes its second edit anew, with another id. */
    struct json_value answer =
        bench_edits(&bench, "d1",
                    "{\"op\":2,\"prev\":1,\"id\":\"ffffffffffffffff\",\"key\":\"notes\",\"base\":1,"
                    "\"was\":{\"a\":1},\"now\":{\"a\":7}}");
    check(&answer, "/results/0/status", "\"rewound\"");
    check(&answer, "/results/0/data", "{\"a\":2}");
    check(&answer, "/results/0/version", "2");
    assert_false(bench.wrote);
    /* Nothing was written for it: the file that was not restored goes on. */
    answer = send(1, 3, 2, "notes", 2, "\"was\":{\"a\":2},\"now\":{\"a\":3}");
    check(&answer, "/results/0/status", "\"applied\"");
}

/* ---- Refusals -------------------------------------------------------------------------------- */

static void one_refusal_does_not_touch_the_others(void **state)
{
    (void)state;
    struct json_value answer =
        bench_edits(&bench, "d1",
                    bench_text(&bench, "%s,7,%s,{\"key\":\"x\"},%s",
                               edit_of(1, 1, 0, "a", 0, "\"now\":{\"n\":1}"),
                               edit_of(1, 1, 0, "b", 0, "\"now\":{\"n\":1},\"undo\":true"),
                               edit_of(1, 1, 0, "c", 0, "\"now\":{\"n\":1}")));
    check(&answer, "/results/0/status", "\"applied\"");
    check(&answer, "/results/1/status", "\"refused\"");
    check(&answer, "/results/1/key", "\"\"");
    check(&answer, "/results/1/op", "0");
    check(&answer, "/results/1/code", "\"malformed\"");
    check(&answer, "/results/2/code", "\"unsupported\"");
    check(&answer, "/results/2/retry", "\"never\"");
    check(&answer, "/results/2/key", "\"b\"");
    check(&answer, "/results/2/version", "0");
    check(&answer, "/results/2/data", "null");
    check(&answer, "/results/3/code", "\"malformed\"");
    check(&answer, "/results/4/status", "\"applied\"");
    check_document("a", 1, "{\"n\":1}");
    check_document("b", 0, "");
    check_document("c", 1, "{\"n\":1}");
}

static void a_late_copy_of_a_refused_edit_changes_nothing(void **state)
{
    const char *rest = "\"was\":{\"incorrectAnswers\":1},\"now\":{\"incorrectAnswers\":"
                       "1000000000000000000}";
    (void)state;
    (void)send(1, 1, 0, "game_stats", 0, "\"now\":{\"incorrectAnswers\":1}");
    (void)send(2, 1, 0, "game_stats", 1,
               "\"was\":{\"incorrectAnswers\":1},\"now\":{\"incorrectAnswers\":2}");
    struct json_value answer = send(1, 2, 1, "game_stats", 1, rest);
    check(&answer, "/results/0/status", "\"refused\"");
    check(&answer, "/results/0/code", "\"out_of_range\"");
    check(&answer, "/results/0/version", "2");
    check(&answer, "/results/0/data", "{\"incorrectAnswers\":2}");
    answer = send(1, 2, 1, "game_stats", 1, rest);
    check(&answer, "/results/0/status", "\"duplicate\"");
    check(&answer, "/results/0/code", "\"out_of_range\"");
    check(&answer, "/results/0/retry", "\"never\"");
    check_document("game_stats", 2, "{\"incorrectAnswers\":2}");
    /* The row tells it as well, and the lane goes on as if the edit had not been made. */
    answer = bench_exchange(&bench, "d1", "");
    check(&answer, "/changes/0/op", "2");
    check(&answer, "/changes/0/refused", "\"out_of_range\"");
    answer = send(1, 3, 2, "game_stats", 2,
                  "\"was\":{\"incorrectAnswers\":2},\"now\":{\"incorrectAnswers\":3}");
    check(&answer, "/results/0/status", "\"applied\"");
}

static void a_refused_first_edit_of_a_key_is_remembered(void **state)
{
    (void)state;
    struct json_value answer = send(1, 1, 0, "b", 0, "\"now\":{\"n\":1},\"undo\":true");
    check(&answer, "/results/0/code", "\"unsupported\"");
    /* The receipt knows it: prev 1 is no evidence of a loss. */
    answer = send(1, 2, 1, "b", 0, "\"now\":{\"n\":1}");
    check(&answer, "/status", "\"ok\"");
    check(&answer, "/results/0/status", "\"applied\"");
    check(&answer, "/results/0/version", "1");
    struct store_user user = bench_user(&bench);
    assert_int_equal(user.n_keys, 1);
    assert_int_equal(user.n_tombstones, 0);
    assert_int_equal(user.generation, 0);
}

/* A retry of a refused edit by a server that was updated meanwhile is still that refusal. */
static void a_bad_edit_that_was_refused_before_stays_refused(void **state)
{
    (void)state;
    (void)send(1, 1, 0, "b", 0, "\"now\":{\"n\":1},\"undo\":true");
    struct json_value answer = send(1, 1, 0, "b", 0, "\"now\":{\"n\":1}");
    check(&answer, "/results/0/status", "\"duplicate\"");
    check(&answer, "/results/0/code", "\"unsupported\"");
    check_document("b", 0, "");
}

/* ---- Changes --------------------------------------------------------------------------------- */

static void changes_come_by_seq_from_the_cursor(void **state)
{
    (void)state;
    (void)send(1, 1, 0, "a", 0, "\"now\":{\"n\":1}");
    (void)send(1, 1, 0, "b", 0, "\"now\":{\"n\":1}");
    (void)send(1, 2, 1, "a", 1, "\"was\":{\"n\":1},\"now\":{\"n\":2}");
    struct json_value answer = bench_exchange(&bench, "d2", "\"p_cursor\":1");
    check(&answer, "/changes/0/data_key", "\"b\"");
    check(&answer, "/changes/0/seq", "2");
    check(&answer, "/changes/1/data_key", "\"a\"");
    check(&answer, "/changes/1/seq", "3");
    check(&answer, "/changes/1/version", "2");
    check(&answer, "/changes/1/device_id", "\"d1\"");
    check(&answer, "/changes/2", "");
    check(&answer, "/cursor", "3");
    check(&answer, "/more", "false");
    answer = bench_exchange(&bench, "d2", "\"p_cursor\":1,\"p_limit\":1");
    check(&answer, "/changes/1", "");
    check(&answer, "/cursor", "2");
    check(&answer, "/more", "true");
    check(&answer, "/complete", "false");
    answer = bench_exchange(&bench, "d2", "\"p_cursor\":3");
    check(&answer, "/changes", "[]");
}

static void a_row_carries_the_receipt_of_the_device_that_asks(void **state)
{
    (void)state;
    (void)send(1, 1, 0, "a", 0, "\"now\":{\"n\":1}");
    (void)send(2, 4, 0, "a", 1, "\"was\":{\"n\":1},\"now\":{\"n\":2}");
    struct json_value answer = bench_exchange(&bench, "d1", "");
    check(&answer, "/changes/0/op", "1");
    check(&answer, "/changes/0/id", "\"0000000100000001\"");
    check(&answer, "/changes/0/refused", "");
    check(&answer, "/changes/0/device_id", "\"d2\"");
    answer = bench_exchange(&bench, "d2", "");
    check(&answer, "/changes/0/op", "4");
    check(&answer, "/changes/0/id", "\"0000000200000004\"");
}

/* A document that another device changed behind an older version that a result told is a change. */
static void what_a_result_told_of_an_older_version_is_told_again(void **state)
{
    (void)state;
    struct json_value answer =
        bench_edits(&bench, "d1",
                    bench_text(&bench, "%s,%s", edit_of(1, 1, 0, "a", 0, "\"now\":{\"n\":1}"),
                               edit_of(1, 1, 0, "b", 0, "\"now\":{\"n\":1}")));
    check(&answer, "/changes", "[]");
    check(&answer, "/cursor", "2");
    answer = bench_exchange(&bench, "d1", "\"p_cursor\":0");
    check(&answer, "/changes/0/data_key", "\"a\"");
    check(&answer, "/changes/1/data_key", "\"b\"");
}

static void the_clock_of_a_user_only_rises(void **state)
{
    (void)state;
    bench.context.now_us = 5000000;
    (void)send(1, 1, 0, "a", 0, "\"now\":{\"n\":1}");
    bench.context.now_us = 1000000;
    (void)send(1, 1, 0, "b", 0, "\"now\":{\"n\":1}");
    struct json_value answer = bench_exchange(&bench, "d1", "");
    check(&answer, "/changes/0/modified_at", "\"1970-01-01T00:00:05.001+00:00\"");
    check(&answer, "/changes/1/modified_at", "\"1970-01-01T00:00:05.001001+00:00\"");
}

static void seeds_keep_what_is_there(void **state)
{
    (void)state;
    (void)send(1, 1, 0, "settings", 0, "\"now\":{\"mute\":true}");
    struct json_value answer =
        send(2, 1, 0, "settings", 0, "\"seed\":true,\"now\":{\"mute\":false,\"speed\":2}");
    check(&answer, "/results/0/status", "\"merged\"");
    check(&answer, "/results/0/data", "{\"mute\":true,\"speed\":2}");
}

static void users_do_not_see_each_other(void **state)
{
    (void)state;
    (void)send(1, 1, 0, "a", 0, "\"now\":{\"n\":1}");
    assert_true(uuid_parse(SLICE("99999999-2222-3333-4444-555555555555"), &bench.user));
    struct json_value answer = bench_exchange(&bench, "d1", "");
    check(&answer, "/changes", "[]");
    check(&answer, "/cursor", "0");
    answer = send(1, 1, 0, "a", 0, "\"now\":{\"n\":2}");
    check(&answer, "/results/0/status", "\"applied\"");
    check(&answer, "/results/0/version", "1");
}

static void an_erased_user_is_refused_everywhere(void **state)
{
    (void)state;
    (void)send(1, 1, 0, "a", 0, "\"now\":{\"n\":1}");
    struct op erase = {.kind = OP_USER_ERASE};
    assert_int_equal(bench_run(&bench, &erase), BQ_OK);
    static const enum op_kind kinds[] = {
        OP_EXCHANGE, OP_REPORT,     OP_UPSERT,  OP_USER_DATA,     OP_USER_STATUS,
        OP_METADATA, OP_DELETE_ALL, OP_V1_SYNC, OP_V1_ADD_DEVICE, OP_V1_REMOVE_DEVICE};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct op op = {.kind = kinds[i]};
        if (op.kind == OP_EXCHANGE) {
            op.in.exchange =
                (struct proto_exchange){.device_id = SLICE("d1"), .limit = 500, .proto = 1};
        }
        assert_int_equal(bench_run(&bench, &op), BQ_OK);
        if (op.status != BQ_USER_ERASED) {
            fail_msg("op %d is not refused", (int)op.kind);
        }
    }
    check_document("a", 0, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_first_edit_is_applied, setup, teardown),
        cmocka_unit_test_setup_teardown(concurrent_edits_are_merged, setup, teardown),
        cmocka_unit_test_setup_teardown(ack_lost_then_retry_applies_once, setup, teardown),
        cmocka_unit_test_setup_teardown(the_same_edit_twice_in_one_request_applies_once, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_edit_without_effect_makes_a_receipt_but_no_version,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_delete_leaves_a_tombstone, setup, teardown),
        cmocka_unit_test_setup_teardown(an_update_beats_a_late_delete, setup, teardown),
        cmocka_unit_test_setup_teardown(an_edit_of_a_deleted_document_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(a_late_delete_of_what_is_deleted_is_no_refusal, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_receipt_decides_before_the_merge, setup, teardown),
        cmocka_unit_test_setup_teardown(one_refusal_does_not_touch_the_others, setup, teardown),
        cmocka_unit_test_setup_teardown(a_late_copy_of_a_refused_edit_changes_nothing, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_refused_first_edit_of_a_key_is_remembered, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_bad_edit_that_was_refused_before_stays_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(changes_come_by_seq_from_the_cursor, setup, teardown),
        cmocka_unit_test_setup_teardown(a_row_carries_the_receipt_of_the_device_that_asks, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_a_result_told_of_an_older_version_is_told_again, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_clock_of_a_user_only_rises, setup, teardown),
        cmocka_unit_test_setup_teardown(seeds_keep_what_is_there, setup, teardown),
        cmocka_unit_test_setup_teardown(users_do_not_see_each_other, setup, teardown),
        cmocka_unit_test_setup_teardown(an_erased_user_is_refused_everywhere, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
