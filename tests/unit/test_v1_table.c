/* test_v1_table.c - the v1 row as a row of its table: what insert, upsert, update and delete do to
 * the documents (docs/protocol.md, "Tables"), and what a table read gives. */
#include "core_bench.h"

#include "base/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
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

static struct json_value parsed(const char *text)
{
    struct json_value value;
    assert_int_equal(json_parse(&bench.arena, slice_of(text), 64, &value, NULL), BQ_OK);
    return value;
}

/* The op keeps its results; data NULL: none. */
static struct op *row(enum op_v1_verb verb, const char *data)
{
    struct op *op = arena_zalloc(&bench.arena, 1, sizeof *op);
    assert_non_null(op);
    op->kind = OP_V1_WRITE;
    op->in.v1_write.verb = verb;
    op->in.v1_write.data = data == NULL ? json_absent() : parsed(data);
    op->in.v1_write.wants_row = true;
    assert_int_equal(bench_run(&bench, op), BQ_OK);
    return op;
}

static void check_document(const char *key, const char *want)
{
    assert_string_equal(bench_document(&bench, key, NULL), want);
}

#define ONE "{\"settings\":{\"value\":{\"a\":1},\"timestamp\":\"2024-01-01T10:00:00\"}}"
#define TWO "{\"settings\":{\"value\":{\"a\":2},\"timestamp\":\"2024-01-01T10:00:01\"}}"

static void an_insert_where_documents_are_changes_nothing(void **state)
{
    (void)state;
    struct op *first = row(OP_V1_INSERT, ONE);
    assert_true(first->out.v1_write.applied && !first->out.v1_write.existed);
    assert_int_equal(first->out.v1_write.row.docs.n, 1);
    struct op *second = row(OP_V1_INSERT, TWO);
    assert_true(!second->out.v1_write.applied && second->out.v1_write.existed);
    struct op *third = row(OP_V1_IGNORE, TWO);
    assert_true(!third->out.v1_write.applied && third->out.v1_write.existed);
    assert_false(bench.wrote);
    check_document("settings", "{\"a\":1}");
}

static void an_upsert_writes_key_by_key(void **state)
{
    (void)state;
    (void)row(OP_V1_MERGE, ONE);
    struct op *op = row(OP_V1_MERGE, "{\"settings\":{\"value\":{\"a\":2},\"timestamp\":\"x\"},"
                                     "\"notes\":{\"value\":[1],\"timestamp\":\"x\"}}");
    assert_true(op->out.v1_write.applied && op->out.v1_write.existed);
    assert_int_equal(op->out.v1_write.row.docs.n, 2);
    check_document("settings", "{\"a\":2}");
    check_document("notes", "[1]");
}

static void a_row_without_keys_is_there_afterwards(void **state)
{
    (void)state;
    assert_false(bench_user(&bench).exists);
    struct op *op = row(OP_V1_MERGE, "{}");
    assert_true(op->out.v1_write.applied && op->out.v1_write.row.user.exists);
    assert_true(bench_user(&bench).exists);
    assert_true(bench_user(&bench).clock_us > 0);
    bench.wrote = false;
    (void)row(OP_V1_MERGE, "{}");
    assert_false(bench.wrote); /* nothing new */
}

static void an_update_finds_only_what_is_there(void **state)
{
    (void)state;
    assert_false(row(OP_V1_UPDATE, ONE)->out.v1_write.applied);
    assert_false(bench_user(&bench).exists);
    (void)row(OP_V1_MERGE, ONE);
    assert_true(row(OP_V1_UPDATE, TWO)->out.v1_write.applied);
    check_document("settings", "{\"a\":2}");
    /* Without data nothing but the match is told. */
    assert_true(row(OP_V1_UPDATE, NULL)->out.v1_write.applied);
    assert_false(bench.wrote);
}

static int never(const void *cls, const struct op *op, const struct op_user_rows *there, bool *out)
{
    (void)cls;
    (void)op;
    assert_int_equal(there->docs.n, 1);
    *out = false;
    return BQ_OK;
}

static void an_update_asks_whether_the_row_is_meant(void **state)
{
    (void)state;
    (void)row(OP_V1_MERGE, ONE);
    struct op op = {.kind = OP_V1_WRITE,
                    .in.v1_write = {.verb = OP_V1_UPDATE, .data = parsed(TWO), .matches = never}};
    assert_int_equal(bench_run(&bench, &op), BQ_OK);
    assert_false(op.out.v1_write.applied);
    check_document("settings", "{\"a\":1}");
    op.in.v1_write.verb = OP_V1_DELETE;
    assert_int_equal(bench_run(&bench, &op), BQ_OK);
    assert_false(op.out.v1_write.applied);
    check_document("settings", "{\"a\":1}");
}

static void a_delete_leaves_tombstones_and_a_new_row_may_come(void **state)
{
    (void)state;
    assert_false(row(OP_V1_DELETE, NULL)->out.v1_write.applied);
    (void)row(OP_V1_MERGE, ONE);
    struct op *op = row(OP_V1_DELETE, NULL);
    assert_true(op->out.v1_write.applied);
    assert_false(op->out.v1_write.row.docs.items[0].deleted); /* as it was */
    check_document("settings", "");
    assert_true(row(OP_V1_INSERT, TWO)->out.v1_write.applied);
    check_document("settings", "{\"a\":2}");
}

static void a_refused_key_leaves_the_others_written(void **state)
{
    (void)state;
    bench.context.limits.document_bytes = 64;
    struct op *op = row(OP_V1_MERGE, "{\"big\":{\"value\":\""
                                     "0123456789012345678901234567890123456789"
                                     "0123456789012345678901234567890123456789\","
                                     "\"timestamp\":\"\"},"
                                     "\"notes\":{\"value\":1,\"timestamp\":\"\"}}");
    assert_int_equal(op->status, BQ_OK);
    assert_int_equal(op->out.v1_write.refused, BQ_TOO_LARGE);
    assert_string_equal(op->message, "the document would have 82 bytes, the limit is 64");
    check_document("notes", "1");
    check_document("big", "");
    assert_int_equal(row(OP_V1_MERGE, "[1]")->out.v1_write.refused, BQ_MALFORMED);
}

static void an_erased_user_is_refused(void **state)
{
    (void)state;
    struct op erase = {.kind = OP_USER_ERASE};
    assert_int_equal(bench_run(&bench, &erase), BQ_OK);
    assert_int_equal(row(OP_V1_MERGE, ONE)->status, BQ_USER_ERASED);
    struct op read = {.kind = OP_TABLE, .in.table = {.rows = OP_ROWS_DOCUMENTS}};
    assert_int_equal(bench_run(&bench, &read), BQ_OK);
    assert_int_equal(read.status, BQ_USER_ERASED);
    read.in.table.users = &bench.user;
    read.in.table.n_users = 1;
    assert_int_equal(bench_run(&bench, &read), BQ_OK);
    assert_int_equal(read.status, BQ_OK);
    assert_int_equal(read.out.table.users[0].docs.n, 0);
}

static void a_table_read_hides_tombstones_and_other_users(void **state)
{
    (void)state;
    struct uuid other;
    (void)row(OP_V1_MERGE, "{\"a\":{\"value\":1,\"timestamp\":\"\"}}");
    (void)row(OP_V1_DELETE, NULL);
    (void)row(OP_V1_MERGE, "{\"b\":{\"value\":2,\"timestamp\":\"\"}}");
    struct op read = {.kind = OP_TABLE, .in.table = {.rows = OP_ROWS_DOCUMENTS}};
    assert_int_equal(bench_run(&bench, &read), BQ_OK);
    assert_int_equal(read.out.table.users[0].docs.n, 1);
    assert_true(slice_is(read.out.table.users[0].docs.items[0].key, "b"));
    read.in.table.key = SLICE("a");
    assert_int_equal(bench_run(&bench, &read), BQ_OK);
    assert_int_equal(read.out.table.users[0].docs.n, 0);
    read.in.table.tombstones = true;
    assert_int_equal(bench_run(&bench, &read), BQ_OK);
    assert_int_equal(read.out.table.users[0].docs.n, 1);
    assert_true(uuid_parse(SLICE("99999999-8c39-4f5e-9d4e-0c2f6f9b1a11"), &other));
    read.in.table.key = SLICE_NONE;
    read.in.table.users = &other;
    read.in.table.n_users = 1;
    assert_int_equal(bench_run(&bench, &read), BQ_OK);
    assert_int_equal(read.out.table.users[0].docs.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define RULE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        RULE(an_insert_where_documents_are_changes_nothing),
        RULE(an_upsert_writes_key_by_key),
        RULE(a_row_without_keys_is_there_afterwards),
        RULE(an_update_finds_only_what_is_there),
        RULE(an_update_asks_whether_the_row_is_meant),
        RULE(a_delete_leaves_tombstones_and_a_new_row_may_come),
        RULE(a_refused_key_leaves_the_others_written),
        RULE(an_erased_user_is_refused),
        RULE(a_table_read_hides_tombstones_and_other_users),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
