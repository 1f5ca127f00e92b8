/* test_exchange_epoch.c - epochs, evidence of loss, complete listings (docs/protocol.md,
 * "Cursors and complete listings", "Epoch"). */
#include "core_bench.h"

#include "base/status.h"
#include "store/memory.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
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

static const char *edit(int op, int prev, const char *key, int base, const char *rest)
{
    return bench_text(&bench,
                      "{\"op\":%d,\"prev\":%d,\"id\":\"%016x\",\"key\":\"%s\",\"base\":%d,%s}", op,
                      prev, op, key, base, rest);
}

/* n documents k0, k1 ... of one device. */
static void fill(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        const char *key = bench_text(&bench, "k%u", i);
        struct json_value answer =
            bench_edits(&bench, "d1", edit(1, 0, key, 0, "\"now\":{\"n\":1}"));
        check(&answer, "/results/0/status", "\"applied\"");
    }
}

static void first_contact_needs_no_epoch(void **state)
{
    (void)state;
    struct json_value answer = bench_exchange(&bench, "d1", "\"p_epoch\":null");
    check(&answer, "/status", "\"ok\"");
    check(&answer, "/epoch", "\"e.0\"");
    check(&answer, "/cursor", "0");
    check(&answer, "/complete", "false");
    answer = bench_exchange(&bench, "d1", "\"p_epoch\":\"e.0\"");
    check(&answer, "/status", "\"ok\"");
}

static void another_epoch_applies_nothing_and_lists_all(void **state)
{
    (void)state;
    fill(2);
    const char *text = bench_text(&bench, "\"p_epoch\":\"older.0\",\"p_cursor\":2,\"p_edits\":[%s]",
                                  edit(2, 1, "k0", 1, "\"now\":{\"m\":2}"));
    struct json_value answer = bench_exchange(&bench, "d1", text);
    check(&answer, "/status", "\"epoch\"");
    check(&answer, "/epoch", "\"e.0\"");
    check(&answer, "/results", "[]");
    check(&answer, "/complete", "true");
    check(&answer, "/changes/0/data_key", "\"k0\"");
    check(&answer, "/changes/0/op", "1");
    check(&answer, "/changes/0/id", "\"0000000000000001\"");
    check(&answer, "/changes/1/data_key", "\"k1\"");
    check(&answer, "/more", "false");
    check(&answer, "/cursor", "2");
    assert_string_equal(bench_document(&bench, "k0", NULL), "{\"n\":1}");
    assert_int_equal(bench_user(&bench).generation, 0);
}

static void check_evidence(const char *params)
{
    int64_t seq = bench_user(&bench).seq;
    int64_t generation = bench_user(&bench).generation;
    struct json_value answer = bench_exchange(&bench, "d1", params);
    check(&answer, "/status", "\"epoch\"");
    check(&answer, "/results", "[]");
    check(&answer, "/complete", "true");
    check(&answer, "/epoch", bench_text(&bench, "\"e.%d\"", (int)generation + 1));
    assert_int_equal(bench_user(&bench).generation, generation + 1);
    assert_int_equal(bench_user(&bench).seq, seq);
}

static void a_cursor_ahead_of_the_store_raises_the_generation(void **state)
{
    (void)state;
    check_evidence("\"p_cursor\":1");
    fill(2);
    struct json_value answer = bench_exchange(&bench, "d1", "\"p_cursor\":2");
    check(&answer, "/status", "\"ok\"");
    check_evidence("\"p_cursor\":3");
    check_evidence("\"p_cursor\":-4");
    answer = bench_exchange(&bench, "d1", "\"p_cursor\":-3");
    check(&answer, "/status", "\"ok\"");
}

static void a_base_ahead_of_the_document_raises_the_generation(void **state)
{
    (void)state;
    fill(1);
    check_evidence(
        bench_text(&bench, "\"p_edits\":[%s]", edit(2, 1, "k0", 2, "\"now\":{\"m\":1}")));
    check_evidence(
        bench_text(&bench, "\"p_edits\":[%s]", edit(1, 0, "nowhere", 1, "\"now\":{\"m\":1}")));
    struct json_value answer =
        bench_edits(&bench, "d1", edit(2, 1, "k0", 1, "\"was\":{},\"now\":{\"m\":1}"));
    check(&answer, "/results/0/status", "\"applied\"");
}

static void a_prev_ahead_of_the_receipt_raises_the_generation(void **state)
{
    (void)state;
    fill(1);
    check_evidence(
        bench_text(&bench, "\"p_edits\":[%s]", edit(3, 2, "k0", 1, "\"now\":{\"m\":1}")));
    check_evidence(
        bench_text(&bench, "\"p_edits\":[%s]", edit(3, 1, "nowhere", 0, "\"now\":{\"m\":1}")));
}

static void evidence_in_the_last_edit_keeps_the_first_from_being_applied(void **state)
{
    (void)state;
    fill(2);
    check_evidence(bench_text(&bench, "\"p_edits\":[%s,%s]",
                              edit(2, 1, "k0", 1, "\"now\":{\"m\":1}"),
                              edit(5, 4, "k1", 1, "\"now\":{\"m\":1}")));
    assert_string_equal(bench_document(&bench, "k0", NULL), "{\"n\":1}");
}

static void a_malformed_edit_is_no_evidence(void **state)
{
    (void)state;
    struct json_value answer =
        bench_edits(&bench, "d1", edit(2, 1, "k0", 9, "\"now\":1,\"undo\":1"));
    check(&answer, "/status", "\"ok\"");
    check(&answer, "/results/0/code", "\"unsupported\"");
}

/* A pull alone runs on a reader, which cannot raise anything: it says so. */
static void evidence_on_a_reader_asks_for_the_writer(void **state)
{
    struct op op = {
        .kind = OP_EXCHANGE,
        .user = bench.user,
        .arena = &bench.arena,
        .in.exchange = {.device_id = SLICE("d1"), .cursor = 7, .limit = 500, .proto = 1}};
    (void)state;
    assert_true(op_only_reads(&op));
    assert_int_equal(apply_read(&bench.context, &op), BQ_READ_ONLY);
    assert_int_equal(bench_user(&bench).generation, 0);
    assert_int_equal(bench_run(&bench, &op), BQ_OK);
    assert_true(op.out.answer.epoch_changed);
    assert_int_equal(bench_user(&bench).generation, 1);
}

/* ---- Complete listings ---------------------------------------------------------------------- */

/* Pages to the end and answers the keys in their order. */
static const char *listing(const char *first, unsigned limit, unsigned *out_pages)
{
    const char *names = "";
    const char *params = bench_text(&bench, "%s,\"p_limit\":%u", first, limit);
    *out_pages = 0;
    for (;;) {
        struct json_value answer = bench_exchange(&bench, "d9", params);
        const struct json_value *changes = json_get(&answer, "changes");
        check(&answer, "/complete", "true");
        ++*out_pages;
        for (uint32_t i = 0; i < changes->count; i++) {
            struct slice key = json_text(json_get(&changes->items[i], "data_key"));
            names = bench_text(&bench, "%s %.*s", names, SLICE_FMT(key));
        }
        const char *cursor = bench_at(&bench, &answer, "/cursor");
        if (strcmp(bench_at(&bench, &answer, "/more"), "false") == 0) {
            check(&answer, "/cursor",
                  bench_text(&bench, "%lld", (long long)bench_user(&bench).seq));
            return names;
        }
        assert_int_equal(cursor[0], '-');
        params = bench_text(&bench, "\"p_cursor\":%s,\"p_limit\":%u", cursor, limit);
    }
}

static void a_listing_is_paged_by_negative_cursors(void **state)
{
    unsigned pages;
    (void)state;
    fill(5);
    assert_string_equal(listing("\"p_epoch\":\"x\"", 2, &pages), " k0 k1 k2 k3 k4");
    assert_int_equal(pages, 3);
    assert_string_equal(listing("\"p_epoch\":\"x\"", 1, &pages), " k0 k1 k2 k3 k4");
    assert_string_equal(listing("\"p_epoch\":\"x\"", 500, &pages), " k0 k1 k2 k3 k4");
    assert_int_equal(pages, 1);
}

static void a_listing_names_tombstones(void **state)
{
    unsigned pages;
    (void)state;
    fill(2);
    struct json_value answer = bench_edits(&bench, "d1", edit(2, 1, "k0", 1, "\"delete\":true"));
    check(&answer, "/results/0/status", "\"applied\"");
    assert_string_equal(listing("\"p_epoch\":\"x\"", 500, &pages), " k1 k0");
    answer = bench_exchange(&bench, "d9", "\"p_epoch\":\"x\"");
    check(&answer, "/changes/1/deleted", "true");
    check(&answer, "/changes/1/data", "{}");
    check(&answer, "/changes/1/version", "2");
}

/* A document that changes between two pages comes again behind them, under its new seq. */
static void a_change_between_two_pages_is_not_lost(void **state)
{
    (void)state;
    fill(3);
    struct json_value answer = bench_exchange(&bench, "d9", "\"p_epoch\":\"x\",\"p_limit\":2");
    check(&answer, "/cursor", "-3");
    (void)bench_edits(&bench, "d1", edit(2, 1, "k0", 1, "\"now\":{\"m\":1}"));
    answer = bench_exchange(&bench, "d9", "\"p_cursor\":-3");
    check(&answer, "/complete", "true");
    check(&answer, "/changes/0/data_key", "\"k2\"");
    check(&answer, "/changes/1/data_key", "\"k0\"");
    check(&answer, "/changes/1/version", "2");
    check(&answer, "/cursor", "4");
}

static void edits_inside_a_listing_are_applied(void **state)
{
    (void)state;
    fill(3);
    struct json_value answer =
        bench_exchange(&bench, "d1",
                       bench_text(&bench, "\"p_cursor\":-2,\"p_edits\":[%s]",
                                  edit(2, 1, "k2", 1, "\"was\":{},\"now\":{\"m\":1}")));
    check(&answer, "/status", "\"ok\"");
    check(&answer, "/complete", "true");
    check(&answer, "/results/0/status", "\"applied\"");
    /* All rows, also the one that the result told: a listing names every key. */
    check(&answer, "/changes/0/data_key", "\"k1\"");
    check(&answer, "/changes/1/data_key", "\"k2\"");
    check(&answer, "/changes/1/version", "2");
}

/* ---- Purged tombstones ---------------------------------------------------------------------- */

/* As if the tombstones up to seq had been purged. */
static void purge(const char *key)
{
    struct store *store = bench.store;
    struct store_user user = bench_user(&bench);
    int64_t seq;
    assert_int_equal(store->begin(store), BQ_OK);
    assert_int_equal(store->tombstone_drop(store, &bench.user, &seq), BQ_OK);
    user.purged_seq = seq;
    user.n_tombstones--;
    assert_int_equal(store->user_put(store, &user), BQ_OK);
    assert_int_equal(store->commit(store), BQ_OK);
    assert_string_equal(bench_document(&bench, key, NULL), "");
}

static void a_cursor_below_what_was_purged_gets_a_complete_listing(void **state)
{
    unsigned pages;
    (void)state;
    fill(3);
    (void)bench_edits(&bench, "d1", edit(2, 1, "k0", 1, "\"delete\":true"));
    purge("k0");
    assert_string_equal(listing("\"p_cursor\":3", 1, &pages), " k1 k2");
    /* At the mark and beyond, and for who knows nothing yet, an ordinary pull does. */
    struct json_value answer = bench_exchange(&bench, "d9", "\"p_cursor\":4");
    check(&answer, "/complete", "false");
    check(&answer, "/status", "\"ok\"");
    answer = bench_exchange(&bench, "d9", "\"p_cursor\":0");
    check(&answer, "/complete", "false");
}

/* What is gone with a tombstone proves no loss: the client saw it, and writes the key anew. */
static void writing_on_a_purged_tombstone_is_no_evidence(void **state)
{
    (void)state;
    fill(2);
    (void)bench_edits(&bench, "d1", edit(2, 1, "k0", 1, "\"delete\":true"));
    purge("k0");
    struct json_value answer = bench_exchange(&bench, "d1",
                                              bench_text(&bench, "\"p_cursor\":3,\"p_edits\":[%s]",
                                                         edit(3, 2, "k0", 2, "\"now\":{\"n\":9}")));
    check(&answer, "/status", "\"ok\"");
    check(&answer, "/results/0/status", "\"forgotten\"");
    assert_int_equal(bench_user(&bench).generation, 0);
    /* Another device, which never wrote the key, has a base alone. */
    answer = bench_exchange(&bench, "d2",
                            bench_text(&bench, "\"p_cursor\":3,\"p_edits\":[%s]",
                                       edit(1, 0, "k0", 2, "\"now\":{\"n\":9}")));
    check(&answer, "/status", "\"ok\"");
    check(&answer, "/results/0/version", "1");
    assert_string_equal(bench_document(&bench, "k0", NULL), "{\"n\":9}");
    assert_int_equal(bench_user(&bench).generation, 0);
}

static void tombstones_beyond_the_limit_are_purged_oldest_first(void **state)
{
    struct store_user user;
    (void)state;
    fill(2);
    (void)bench_edits(&bench, "d1", edit(2, 1, "k1", 1, "\"delete\":true"));
    /* As if there were as many as may be. */
    user = bench_user(&bench);
    user.n_tombstones = LIMIT_TOMBSTONES;
    assert_int_equal(bench.store->begin(bench.store), BQ_OK);
    assert_int_equal(bench.store->user_put(bench.store, &user), BQ_OK);
    assert_int_equal(bench.store->commit(bench.store), BQ_OK);
    (void)bench_edits(&bench, "d1", edit(2, 1, "k0", 1, "\"delete\":true"));
    user = bench_user(&bench);
    assert_int_equal(user.n_tombstones, LIMIT_TOMBSTONES);
    assert_int_equal(user.purged_seq, 3);
    int64_t version;
    (void)bench_document(&bench, "k1", &version);
    assert_int_equal(version, 0);
    (void)bench_document(&bench, "k0", &version);
    assert_int_equal(version, 2);
}

/* Refused edits of ever new keys cost no write once the user's tombstones are at their limit, and
 * the receipt that is not there is no evidence. */
static void a_refusal_on_a_new_key_is_not_written_at_the_limit(void **state)
{
    struct store *store = bench.store;
    struct store_user user;
    (void)state;
    (void)bench_edits(&bench, "d",
                      "{\"op\":1,\"prev\":0,\"id\":\"0000000000000001\",\"key\":\"a\",\"base\":0,"
                      "\"now\":{\"a\":1}}");
    user = bench_user(&bench);
    user.n_tombstones = LIMIT_TOMBSTONES;
    user.purged_seq = 1;
    assert_int_equal(store->begin(store), BQ_OK);
    assert_int_equal(store->user_put(store, &user), BQ_OK);
    assert_int_equal(store->commit(store), BQ_OK);
    struct json_value answer =
        bench_edits(&bench, "d",
                    "{\"op\":1,\"prev\":0,\"id\":\"0000000000000002\",\"key\":\"b\",\"base\":0,"
                    "\"now\":{\"a\":1},\"zzz\":1}");
    assert_string_equal(bench_at(&bench, &answer, "/results/0/status"), "\"refused\"");
    assert_string_equal(bench_at(&bench, &answer, "/results/0/code"), "\"unsupported\"");
    assert_int_equal(bench_user(&bench).seq, user.seq);
    assert_false(bench.wrote);
    answer =
        bench_edits(&bench, "d",
                    "{\"op\":2,\"prev\":1,\"id\":\"0000000000000003\",\"key\":\"b\",\"base\":0,"
                    "\"now\":{\"a\":1}}");
    assert_string_equal(bench_at(&bench, &answer, "/status"), "\"ok\"");
    assert_string_equal(bench_at(&bench, &answer, "/results/0/status"), "\"forgotten\"");
    assert_int_equal(bench_user(&bench).generation, user.generation);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(first_contact_needs_no_epoch, setup, teardown),
        cmocka_unit_test_setup_teardown(another_epoch_applies_nothing_and_lists_all, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_cursor_ahead_of_the_store_raises_the_generation, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_base_ahead_of_the_document_raises_the_generation, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_prev_ahead_of_the_receipt_raises_the_generation, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            evidence_in_the_last_edit_keeps_the_first_from_being_applied, setup, teardown),
        cmocka_unit_test_setup_teardown(a_malformed_edit_is_no_evidence, setup, teardown),
        cmocka_unit_test_setup_teardown(evidence_on_a_reader_asks_for_the_writer, setup, teardown),
        cmocka_unit_test_setup_teardown(a_listing_is_paged_by_negative_cursors, setup, teardown),
        cmocka_unit_test_setup_teardown(a_listing_names_tombstones, setup, teardown),
        cmocka_unit_test_setup_teardown(a_change_between_two_pages_is_not_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(edits_inside_a_listing_are_applied, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cursor_below_what_was_purged_gets_a_complete_listing,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(writing_on_a_purged_tombstone_is_no_evidence, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(tombstones_beyond_the_limit_are_purged_oldest_first, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_refusal_on_a_new_key_is_not_written_at_the_limit, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
