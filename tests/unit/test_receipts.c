/* test_receipts.c - the decision table of exactly once, row by row, and how receipts are packed and
 * evicted (docs/protocol.md, "Receipts"). */
#include "core/receipts.h"

#include "base/limits.h"
#include "base/mem.h"
#include "base/status.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <setjmp.h>
#include <cmocka.h>

#define DEVICE SLICE("bq-1")

static struct arena arena;

static int setup(void **state)
{
    (void)state;
    arena_init(&arena);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_release(&arena);
    return 0;
}

static struct receipt receipt_of(const char *device, int64_t op, const char *id, int64_t version)
{
    struct receipt receipt = {
        .device_id = slice_of(device), .op = op, .version = version, .code = BQ_OK, .day = 20000};
    memcpy(receipt.id, id, PROTO_ID_BYTES + 1);
    return receipt;
}

static void put(struct receipts *receipts, struct receipt receipt)
{
    assert_int_equal(receipts_put(&arena, receipts, &receipt), BQ_OK);
}

/* The receipts of DEVICE with op 5 that made version 7, and of another device. */
static struct receipts example(void)
{
    struct receipts receipts = {0};
    put(&receipts, receipt_of("bq-2", 90, "00000000000000b2", 3));
    put(&receipts, receipt_of("bq-1", 5, "00000000000000a1", 7));
    return receipts;
}

static enum receipt_verdict judge(const struct receipts *receipts, int64_t op, int64_t prev,
                                  const char *id, int64_t base)
{
    struct proto_edit edit = {
        .op = op, .prev = prev, .id = slice_of(id), .key = SLICE("k"), .edit = {.base = base}};
    return receipts_judge(receipts, DEVICE, &edit);
}

static void no_receipt_and_no_prev_is_new(void **state)
{
    struct receipts none = {0};
    (void)state;
    assert_int_equal(judge(&none, 1, 0, "00000000000000a1", 0), RECEIPT_NEW);
    assert_int_equal(judge(&none, 9, 0, "00000000000000a1", -1), RECEIPT_NEW);
    none.evicted = true;
    assert_int_equal(judge(&none, 1, 0, "00000000000000a1", 0), RECEIPT_NEW);
}

static void no_receipt_but_prev_is_forgotten_where_some_were_evicted(void **state)
{
    struct receipts none = {.evicted = true};
    (void)state;
    assert_int_equal(judge(&none, 4, 3, "00000000000000a1", 7), RECEIPT_FORGOTTEN);
    assert_int_equal(judge(&none, 4, 3, "00000000000000a1", -1), RECEIPT_FORGOTTEN);
}

static void no_receipt_but_prev_is_evidence_where_none_was_evicted(void **state)
{
    struct receipts none = {0};
    (void)state;
    assert_int_equal(judge(&none, 4, 3, "00000000000000a1", 7), RECEIPT_EVIDENCE);
}

static void a_prev_above_the_receipt_is_evidence(void **state)
{
    struct receipts receipts = example();
    (void)state;
    assert_int_equal(judge(&receipts, 7, 6, "00000000000000a2", 7), RECEIPT_EVIDENCE);
    receipts.evicted = true;
    assert_int_equal(judge(&receipts, 7, 6, "00000000000000a2", 7), RECEIPT_EVIDENCE);
}

static void the_same_op_and_id_is_a_duplicate(void **state)
{
    struct receipts receipts = example();
    (void)state;
    assert_int_equal(judge(&receipts, 5, 4, "00000000000000a1", 6), RECEIPT_DUPLICATE);
    assert_int_equal(judge(&receipts, 5, 0, "00000000000000a1", -1), RECEIPT_DUPLICATE);
}

static void a_higher_op_on_what_was_made_is_new(void **state)
{
    struct receipts receipts = example();
    (void)state;
    assert_int_equal(judge(&receipts, 6, 5, "00000000000000a2", 7), RECEIPT_NEW);
    assert_int_equal(judge(&receipts, 6, 5, "00000000000000a2", 30), RECEIPT_NEW);
    assert_int_equal(judge(&receipts, 9, 5, "00000000000000a2", 7), RECEIPT_NEW);
    assert_int_equal(judge(&receipts, 6, 0, "00000000000000a2", -1), RECEIPT_NEW);
}

static void anything_else_is_rewound(void **state)
{
    struct receipts receipts = example();
    (void)state;
    /* The same number with another id; a lower number; a base before what this device made. */
    assert_int_equal(judge(&receipts, 5, 4, "00000000000000ff", 7), RECEIPT_REWOUND);
    assert_int_equal(judge(&receipts, 4, 3, "00000000000000a1", 7), RECEIPT_REWOUND);
    assert_int_equal(judge(&receipts, 4, 3, "00000000000000a1", -1), RECEIPT_REWOUND);
    assert_int_equal(judge(&receipts, 6, 5, "00000000000000a2", 6), RECEIPT_REWOUND);
    assert_int_equal(judge(&receipts, 6, 5, "00000000000000a2", 0), RECEIPT_REWOUND);
}

/* ---- Packing -------------------------------------------------------------------------------- */

static void packed_receipts_are_read_back(void **state)
{
    struct receipts receipts = example();
    struct receipts back;
    struct buf buf = BUF_INIT;
    struct receipt refused =
        receipt_of("", INT64_C(9007199254740991), "ffffffffffffffff", LIMIT_VERSION);
    (void)state;
    refused.code = BQ_TOO_LARGE;
    put(&receipts, refused);
    receipts.evicted = true;
    receipts_print(&buf, &receipts);
    assert_int_equal(receipts_read(&arena, buf_slice(&buf), &back), BQ_OK);
    assert_int_equal(back.n, 3);
    assert_true(back.evicted);
    for (uint32_t i = 0; i < back.n; i++) {
        const struct receipt *a = &receipts.items[i];
        const struct receipt *b = &back.items[i];
        assert_true(slice_equal(a->device_id, b->device_id));
        assert_string_equal(a->id, b->id);
        assert_int_equal(a->op, b->op);
        assert_int_equal(a->version, b->version);
        assert_int_equal(a->code, b->code);
        assert_int_equal(a->day, b->day);
    }
    buf_release(&buf);
}

static void nothing_packed_is_no_receipts(void **state)
{
    struct receipts back;
    (void)state;
    assert_int_equal(receipts_read(&arena, SLICE_NONE, &back), BQ_OK);
    assert_int_equal(back.n, 0);
    assert_false(back.evicted);
    assert_null(receipts_find(&back, DEVICE));
}

/* Every cut of a good text, and every flipped byte, is read or refused, and never overrun. */
static void a_damaged_text_is_corrupt(void **state)
{
    struct receipts receipts = example();
    struct receipts back;
    struct buf buf = BUF_INIT;
    (void)state;
    receipts_print(&buf, &receipts);
    for (size_t len = 1; len < buf.len; len++) {
        char *cut = mem_dup(buf.ptr, len);
        int status = receipts_read(&arena, (struct slice){cut, len}, &back);
        /* A cut behind a whole receipt, or behind the head, is a shorter text. */
        assert_true(status == BQ_CORRUPT || (status == BQ_OK && back.n < 2));
        mem_free(cut);
    }
    for (size_t i = 0; i < buf.len; i++) {
        for (int bit = 0; bit < 8; bit++) {
            buf.ptr[i] = (char)(buf.ptr[i] ^ (1 << bit));
            int status = receipts_read(&arena, buf_slice(&buf), &back);
            assert_true(status == BQ_OK || status == BQ_CORRUPT);
            buf.ptr[i] = (char)(buf.ptr[i] ^ (1 << bit));
        }
    }
    buf_release(&buf);
}

/* ---- Keeping -------------------------------------------------------------------------------- */

static void the_oldest_of_too_many_goes_and_is_remembered_as_evicted(void **state)
{
    struct receipts receipts = {0};
    char device[32];
    (void)state;
    for (unsigned i = 0; i < LIMIT_RECEIPTS; i++) {
        snprintf(device, sizeof device, "d%u", i);
        struct slice copy = arena_copy(&arena, slice_of(device));
        put(&receipts, receipt_of(copy.ptr, 1, "00000000000000a1", 1));
    }
    assert_int_equal(receipts.n, LIMIT_RECEIPTS);
    assert_false(receipts.evicted);
    /* A device that is there already takes no room, and is the newest now. */
    put(&receipts, receipt_of("d0", 2, "00000000000000a2", 2));
    assert_int_equal(receipts.n, LIMIT_RECEIPTS);
    assert_false(receipts.evicted);
    put(&receipts, receipt_of("new", 1, "00000000000000a1", 1));
    assert_int_equal(receipts.n, LIMIT_RECEIPTS);
    assert_true(receipts.evicted);
    assert_non_null(receipts_find(&receipts, SLICE("d0")));
    assert_null(receipts_find(&receipts, SLICE("d1")));
    assert_non_null(receipts_find(&receipts, SLICE("new")));
}

static void what_is_older_than_400_days_goes(void **state)
{
    struct receipts receipts = {0};
    struct receipt old = receipt_of("old", 1, "00000000000000a1", 1);
    struct receipt late = receipt_of("late", 1, "00000000000000a1", 1);
    (void)state;
    put(&receipts, old);
    late.day = old.day + LIMIT_RECEIPT_DAYS;
    put(&receipts, late);
    assert_non_null(receipts_find(&receipts, SLICE("old")));
    assert_false(receipts.evicted);
    late.day++;
    put(&receipts, late);
    assert_null(receipts_find(&receipts, SLICE("old")));
    assert_true(receipts.evicted);
    assert_int_equal(receipts.n, 1);
}

static void exhausted_memory_is_told(void **state)
{
    struct receipts receipts = example();
    struct receipts back;
    struct buf buf = BUF_INIT;
    struct arena small;
    (void)state;
    receipts_print(&buf, &receipts);
    arena_init(&small);
    mem_fail_at(1, 1);
    assert_int_equal(receipts_read(&small, buf_slice(&buf), &back), BQ_NOMEM);
    mem_fail_at(0, 0);
    arena_release(&small);
    buf_release(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(no_receipt_and_no_prev_is_new, setup, teardown),
        cmocka_unit_test_setup_teardown(no_receipt_but_prev_is_forgotten_where_some_were_evicted,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(no_receipt_but_prev_is_evidence_where_none_was_evicted,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_prev_above_the_receipt_is_evidence, setup, teardown),
        cmocka_unit_test_setup_teardown(the_same_op_and_id_is_a_duplicate, setup, teardown),
        cmocka_unit_test_setup_teardown(a_higher_op_on_what_was_made_is_new, setup, teardown),
        cmocka_unit_test_setup_teardown(anything_else_is_rewound, setup, teardown),
        cmocka_unit_test_setup_teardown(packed_receipts_are_read_back, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_packed_is_no_receipts, setup, teardown),
        cmocka_unit_test_setup_teardown(a_damaged_text_is_corrupt, setup, teardown),
        cmocka_unit_test_setup_teardown(the_oldest_of_too_many_goes_and_is_remembered_as_evicted,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_older_than_400_days_goes, setup, teardown),
        cmocka_unit_test_setup_teardown(exhausted_memory_is_told, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
