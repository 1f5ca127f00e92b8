/* test_seed.c - what an older system kept comes in as it was, once, and over nothing
 * (core/seed.h). */
#include "core_bench.h"

#include "base/status.h"
#include "base/timestamp.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <setjmp.h>
#include <cmocka.h>

#define DEVICE "migrate:v1"
#define STORE_NOW_US INT64_C(1772719898123456) /* behind all rows but those to come */

static struct core_bench bench;

static int setup(void **state)
{
    (void)state;
    bench_open(&bench);
    bench.context.now_us = STORE_NOW_US;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    bench_close(&bench);
    return 0;
}

static int64_t time_of(const char *text)
{
    int64_t time_us = -1;
    assert_true(text == NULL || timestamp_parse(slice_of(text), &time_us));
    return time_us;
}

static struct seed_row row(const char *key, const char *value, const char *at)
{
    struct seed_row out = {.key = slice_of(key), .modified_us = time_of(at), .created_us = -1};
    assert_int_equal(json_parse(&bench.arena, slice_of(value), 2000, &out.value, NULL), BQ_OK);
    return out;
}

/* Runs rows of one user in one op; the outcome of the first. */
static enum seed_outcome take(const struct seed_row *rows, uint32_t n)
{
    struct op op = {.kind = OP_SEED, .user = bench.user, .arena = &bench.arena};
    op.in.seed = (struct seed_call){
        .device_id = SLICE(DEVICE), .rows = rows, .n_rows = n, .clock_us = -1};
    assert_int_equal(bench_run(&bench, &op), BQ_OK);
    assert_int_equal(op.status, BQ_OK);
    return n == 0 ? SEED_AGAIN : op.out.seed.results[0].outcome;
}

static enum seed_outcome take_one(const char *key, const char *value, const char *at)
{
    struct seed_row one = row(key, value, at);
    return take(&one, 1);
}

static void check_document(const char *key, int64_t version, const char *want)
{
    int64_t got_version;
    const char *got = bench_document(&bench, key, &got_version);
    if (strcmp(got, want) != 0 || got_version != version) {
        fail_msg("%s is %s at version %d", key, got, (int)got_version);
    }
}

static struct store_doc stored(const char *key)
{
    struct store *store = bench.store;
    struct store_doc doc;
    assert_int_equal(store->begin(store), BQ_OK);
    assert_int_equal(store->doc_get(store, &bench.arena, &bench.user, slice_of(key), &doc), BQ_OK);
    store->rollback(store);
    return doc;
}

static void a_new_document_has_the_rows_version_and_times(void **state)
{
    (void)state;
    struct seed_row one = row("k", "{\"a\":1}", "2025-07-04T23:11:19.000Z");
    one.version = 7;
    one.device_id = SLICE("old-phone");
    one.created_us = time_of("2025-01-02T00:00:00Z");
    assert_int_equal(take(&one, 1), SEED_INSERTED);
    check_document("k", 7, "{\"a\":1}");
    struct store_doc doc = stored("k");
    assert_int_equal(doc.modified_us, time_of("2025-07-04T23:11:19Z"));
    assert_int_equal(doc.created_us, time_of("2025-01-02T00:00:00Z"));
    assert_true(slice_is(doc.device_id, "old-phone"));
    assert_int_equal(take_one("plain", "{}", "2025-07-04T23:11:20Z"), SEED_INSERTED);
    assert_true(slice_is(stored("plain").device_id, DEVICE));
    check_document("plain", 1, "{}");
}

static void rows_take_their_places_by_time_and_keep_their_times(void **state)
{
    (void)state;
    struct seed_row rows[] = {row("late", "1", "2025-07-04T00:00:02Z"),
                              row("early", "1", "2025-07-04T00:00:01Z"),
                              row("twin", "1", "2025-07-04T00:00:02Z")};
    take(rows, 3);
    assert_int_equal(stored("early").seq, 1);
    assert_int_equal(stored("late").modified_us, time_of("2025-07-04T00:00:02Z"));
    assert_int_equal(stored("twin").modified_us, time_of("2025-07-04T00:00:02Z"));
    take_one("older", "1", "2025-01-01T00:00:00Z");
    assert_int_equal(stored("older").modified_us, time_of("2025-01-01T00:00:00Z"));
    assert_int_equal(bench_user(&bench).clock_us, time_of("2025-07-04T00:00:02Z"));
}

static void times_that_are_missing_or_to_come_are_now(void **state)
{
    (void)state;
    int64_t before = bench.context.now_us;
    take_one("none", "{}", NULL);
    assert_true(stored("none").modified_us >= before);
    take_one("future", "{}", "2999-01-01T00:00:00Z");
    assert_true(stored("future").modified_us <= bench.context.now_us);
}

static void a_row_again_changes_nothing(void **state)
{
    (void)state;
    assert_int_equal(take_one("k", "{\"a\":1,\"b\":2}", "2025-07-04T00:00:00Z"), SEED_INSERTED);
    int64_t seq = bench_user(&bench).seq;
    assert_int_equal(take_one("k", "{\"b\":2.0,\"a\":1}", "2025-07-04T00:00:00Z"), SEED_AGAIN);
    assert_int_equal(bench_user(&bench).seq, seq);
    bench_edits(&bench, "d",
                "{\"op\":1,\"prev\":0,\"id\":\"00000000000000aa\",\"key\":\"k\",\"base\":1,"
                "\"was\":{\"a\":1},\"now\":{\"a\":9}}");
    assert_int_equal(take_one("k", "{\"a\":1,\"b\":2}", "2025-07-04T00:00:00Z"), SEED_AGAIN);
    check_document("k", 2, "{\"a\":9,\"b\":2}");
}

static void what_is_there_is_never_overwritten(void **state)
{
    (void)state;
    bench_edits(&bench, "d",
                "{\"op\":1,\"prev\":0,\"id\":\"00000000000000aa\",\"key\":\"game_stats\","
                "\"base\":0,\"now\":{\"score\":5,\"incorrectAnswers\":7,\"name\":\"new\"}}");
    assert_int_equal(take_one("game_stats",
                              "{\"score\":9,\"incorrectAnswers\":3,\"name\":\"old\",\"x\":1}",
                              "2025-07-04T00:00:00Z"),
                     SEED_MERGED);
    check_document("game_stats", 2,
                   "{\"score\":9,\"incorrectAnswers\":7,\"name\":\"new\",\"x\":1}");
    bench_edits(&bench, "d",
                "{\"op\":1,\"prev\":0,\"id\":\"00000000000000ab\",\"key\":\"notes\",\"base\":0,"
                "\"now\":\"mine\"}");
    assert_int_equal(take_one("notes", "\"theirs\"", "2025-07-04T00:00:00Z"), SEED_KEPT);
    check_document("notes", 1, "\"mine\"");
    assert_int_equal(take_one("notes", "\"theirs\"", "2025-07-04T00:00:00Z"), SEED_AGAIN);
}

static void a_newer_row_replaces_what_only_rows_wrote(void **state)
{
    (void)state;
    take_one("notes", "\"first\"", "2025-07-04T00:00:00Z");
    assert_int_equal(take_one("notes", "\"second\"", "2025-07-05T00:00:00Z"), SEED_REPLACED);
    check_document("notes", 2, "\"second\"");
    assert_int_equal(stored("notes").modified_us, time_of("2025-07-05T00:00:00Z"));
    assert_int_equal(take_one("notes", "\"older\"", "2025-07-03T00:00:00Z"), SEED_KEPT);
    check_document("notes", 2, "\"second\"");
    struct seed_row v2 = row("notes", "\"third\"", "2025-07-06T00:00:00Z");
    v2.version = 9;
    assert_int_equal(take(&v2, 1), SEED_REPLACED);
    check_document("notes", 9, "\"third\"");
    bench_upsert(&bench, "app", "notes", "9", "\"by an app\"");
    assert_int_equal(take_one("notes", "\"late\"", "2025-08-01T00:00:00Z"), SEED_KEPT);
    check_document("notes", 10, "\"by an app\"");
}

static void rows_of_another_origin_are_merged_however_new(void **state)
{
    (void)state;
    struct seed_row one = row("notes", "\"v2\"", "2025-07-04T00:00:00Z");
    struct op op = {.kind = OP_SEED, .user = bench.user, .arena = &bench.arena};
    op.in.seed = (struct seed_call){SLICE("migrate:v2"), &one, 1, -1, NULL, 0, NULL, 0};
    assert_int_equal(bench_run(&bench, &op), BQ_OK);
    assert_int_equal(take_one("notes", "\"v1\"", "2025-08-01T00:00:00Z"), SEED_KEPT);
    check_document("notes", 1, "\"v2\"");
}

static void a_deleted_document_stays_deleted_unless_the_row_is_newer(void **state)
{
    (void)state;
    take_one("k", "{\"a\":1}", "2025-07-04T00:00:00Z");
    bench_edits(&bench, "d",
                "{\"op\":1,\"prev\":0,\"id\":\"00000000000000aa\",\"key\":\"k\",\"base\":1,"
                "\"delete\":true}");
    assert_int_equal(take_one("k", "{\"a\":1}", "2025-07-04T00:00:00Z"), SEED_AGAIN);
    assert_int_equal(take_one("k", "{\"a\":2}", "2025-07-05T00:00:00Z"), SEED_DELETED);
    assert_int_equal(take_one("k", "{\"a\":2}", "2025-07-05T00:00:00Z"), SEED_AGAIN);
    check_document("k", 2, "");
    assert_int_equal(take_one("k", "{\"a\":3}", "2026-03-05T18:00:00Z"), SEED_DELETED);
    bench.context.now_us += INT64_C(86400) * 1000000;
    assert_int_equal(take_one("k", "{\"a\":4}", "2026-03-05T18:00:01Z"), SEED_REPLACED);
    check_document("k", 3, "{\"a\":4}");
}

static void data_over_the_limits_is_kept(void **state)
{
    (void)state;
    bench.context.limits = (struct limits){10, 2, 1, 20, 32};
    assert_int_equal(take_one("long", "{\"a\":\"0123456789\"}", NULL), SEED_INSERTED);
    assert_int_equal(take_one("deep", "{\"a\":[[[[1]]]]}", NULL), SEED_INSERTED);
    check_document("deep", 1, "{\"a\":[[[[1]]]]}");
}

static void bad_keys_and_versions_are_refused_alone(void **state)
{
    (void)state;
    struct seed_row rows[] = {row("_mine", "1", NULL), row("good", "1", NULL),
                              row("high", "1", NULL)};
    rows[2].version = LIMIT_VERSION + 1;
    struct op op = {.kind = OP_SEED, .user = bench.user, .arena = &bench.arena};
    op.in.seed = (struct seed_call){SLICE(DEVICE), rows, 3, -1, NULL, 0, NULL, 0};
    assert_int_equal(bench_run(&bench, &op), BQ_OK);
    assert_int_equal(op.out.seed.results[0].outcome, SEED_REFUSED);
    assert_int_equal(op.out.seed.results[0].code, BQ_BAD_KEY);
    assert_int_equal(op.out.seed.results[1].outcome, SEED_INSERTED);
    assert_int_equal(op.out.seed.results[2].code, BQ_VERSION_LIMIT);
    check_document("good", 1, "1");
}

static void an_echo_of_a_migrated_row_changes_nothing_later(void **state)
{
    (void)state;
    take_one("notes", "\"old\"", "2025-07-04T10:00:00.123Z");
    bench_upsert(&bench, "app", "notes", "1", "\"new\"");
    bench_v1(&bench, "{\"notes\":{\"value\":\"old\",\"timestamp\":\"2025-07-04T10:00:00.123\"}}");
    check_document("notes", 2, "\"new\"");
}

static void a_user_without_documents_and_his_devices_come_too(void **state)
{
    (void)state;
    struct store *store = bench.store;
    struct store_v1_device v1 = {SLICE("d"), SLICE("Phone"), SLICE_NONE, 5, 4};
    struct store_device device = {SLICE("d"), 5, 3, SLICE("{\"os\":1}"), 4};
    struct op op = {.kind = OP_SEED, .user = bench.user, .arena = &bench.arena};
    op.in.seed = (struct seed_call){SLICE(DEVICE), NULL, 0, 77, &v1, 1, &device, 1};
    assert_int_equal(bench_run(&bench, &op), BQ_OK);
    assert_int_equal(bench_user(&bench).clock_us, 77);
    v1.name = SLICE("Other");
    device.info = SLICE("{}");
    assert_int_equal(bench_run(&bench, &op), BQ_OK);
    struct store_v1_devices v1_devices;
    struct store_devices devices;
    assert_int_equal(store->begin(store), BQ_OK);
    assert_int_equal(store->v1_devices(store, &bench.arena, &bench.user, &v1_devices), BQ_OK);
    assert_int_equal(store->devices(store, &bench.arena, &bench.user, &devices), BQ_OK);
    store->rollback(store);
    assert_true(v1_devices.n == 1 && slice_is(v1_devices.items[0].name, "Phone"));
    assert_true(devices.n == 1 && slice_is(devices.items[0].info, "{\"os\":1}"));
}

static void an_erased_user_takes_nothing(void **state)
{
    (void)state;
    struct op erase = {.kind = OP_USER_ERASE, .user = bench.user, .arena = &bench.arena};
    assert_int_equal(bench_run(&bench, &erase), BQ_OK);
    struct seed_row one = row("k", "{}", NULL);
    struct op op = {.kind = OP_SEED, .user = bench.user, .arena = &bench.arena};
    op.in.seed = (struct seed_call){SLICE(DEVICE), &one, 1, -1, NULL, 0, NULL, 0};
    assert_int_equal(bench_run(&bench, &op), BQ_OK);
    assert_int_equal(op.status, BQ_USER_ERASED);
    check_document("k", 0, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        CASE(a_new_document_has_the_rows_version_and_times),
        CASE(rows_take_their_places_by_time_and_keep_their_times),
        CASE(times_that_are_missing_or_to_come_are_now),
        CASE(a_row_again_changes_nothing),
        CASE(what_is_there_is_never_overwritten),
        CASE(a_newer_row_replaces_what_only_rows_wrote),
        CASE(rows_of_another_origin_are_merged_however_new),
        CASE(a_deleted_document_stays_deleted_unless_the_row_is_newer),
        CASE(data_over_the_limits_is_kept),
        CASE(bad_keys_and_versions_are_refused_alone),
        CASE(an_echo_of_a_migrated_row_changes_nothing_later),
        CASE(a_user_without_documents_and_his_devices_come_too),
        CASE(an_erased_user_takes_nothing),
    };
    return cmocka_run_group_tests_name("seed", tests, NULL, NULL);
}
