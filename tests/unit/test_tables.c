/* test_tables.c - rows and values as the wire shows them, and the computed row of v1. */
#include "server/tables.h"

#include "base/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#define USER "5f3a7a52-8c39-4f5e-9d4e-0c2f6f9b1a11"
#define TIME_US INT64_C(1772719898120000) /* 2026-03-05T14:11:38.12 */

static struct uuid user_of(void)
{
    struct uuid user;
    assert_true(uuid_parse(SLICE(USER), &user));
    return user;
}

static void prints(enum table_id id, const struct table_row *row, bool key, const char *wanted)
{
    struct buf out = BUF_INIT;
    if (key) {
        table_key_print(&out, table_get(id), row);
    } else {
        table_row_print(&out, table_get(id), row);
    }
    assert_string_equal(out.ptr, wanted);
    buf_release(&out);
}

static void a_row_is_printed_in_the_order_of_its_columns(void **state)
{
    struct uuid user = user_of();
    const struct store_doc doc = {.key = SLICE("a\"b"),
                                  .version = 3,
                                  .data = SLICE("{\"x\":[1]}"),
                                  .modified_us = TIME_US,
                                  .created_us = 0};
    struct table_row row = table_row_document(&user, &doc);
    (void)state;
    prints(TABLE_DOCUMENTS, &row, false,
           "{\"user_id\":\"" USER "\",\"data_key\":\"a\\\"b\",\"data\":{\"x\":[1]},\"version\":3,"
           "\"device_id\":null,\"modified_at\":\"2026-03-05T14:11:38.12+00:00\","
           "\"created_at\":\"1970-01-01T00:00:00+00:00\"}");
    prints(TABLE_DOCUMENTS, &row, true, "{\"user_id\":\"" USER "\",\"data_key\":\"a\\\"b\"}");
    row = table_row_feed(&user, INT64_C(9007199254740991));
    prints(TABLE_FEED, &row, false, "{\"user_id\":\"" USER "\",\"seq\":9007199254740991}");
}

static void the_v1_row_is_all_documents_that_live(void **state)
{
    struct uuid user = user_of();
    struct arena arena;
    struct table_row row;
    bool exists;
    struct store_doc docs[] = {
        {.key = SLICE("a"),
         .version = 1,
         .data = SLICE("1"),
         .modified_us = TIME_US,
         .created_us = 3000000},
        {.key = SLICE("gone"),
         .version = 2,
         .deleted = true,
         .data = SLICE("{}"),
         .modified_us = TIME_US + 1000000,
         .created_us = 2000000},
        {.key = SLICE("never"),
         .deleted = true,
         .data = SLICE("{}"),
         .seq = 3,
         .modified_us = TIME_US + 9000000,
         .created_us = 1000000},
    };
    (void)state;
    arena_init(&arena);
    struct store_docs all = {docs, 3, false};
    assert_int_equal(table_row_v1(&arena, &user, &all, &row, &exists), BQ_OK);
    assert_true(exists);
    prints(TABLE_V1, &row, false,
           "{\"user_id\":\"" USER "\",\"data\":{\"a\":{\"value\":1,\"timestamp\":"
           "\"2026-03-05T14:11:38.120+00:00\"}},\"created_at\":\"1970-01-01T00:00:02+00:00\","
           "\"updated_at\":\"2026-03-05T14:11:39.12+00:00\"}");
    all = (struct store_docs){docs + 1, 1, false};
    assert_int_equal(table_row_v1(&arena, &user, &all, &row, &exists), BQ_OK);
    assert_true(exists);
    assert_true(slice_is(row.values[1].text, "{}"));
    all = (struct store_docs){docs + 2, 1, false};
    assert_int_equal(table_row_v1(&arena, &user, &all, &row, &exists), BQ_OK);
    assert_false(exists);
    arena_release(&arena);
}

static void literals_are_read_by_type(void **state)
{
    static const struct {
        enum table_type type;
        const char *text;
        int status;
        int64_t number;
    } cases[] = {
        {TABLE_INT4, "12", BQ_OK, 12},
        {TABLE_INT4, " -12 ", BQ_OK, -12},
        {TABLE_INT4, "+2147483647", BQ_OK, INT32_MAX},
        {TABLE_INT4, "-2147483648", BQ_OK, INT32_MIN},
        {TABLE_INT4, "2147483648", BQ_OUT_OF_RANGE, 0},
        {TABLE_INT8, "2147483648", BQ_OK, INT64_C(2147483648)},
        {TABLE_INT8, "9223372036854775808", BQ_OUT_OF_RANGE, 0},
        {TABLE_INT8, "99999999999999999999999999", BQ_OUT_OF_RANGE, 0},
        {TABLE_INT4, "", BQ_INVALID, 0},
        {TABLE_INT4, "-", BQ_INVALID, 0},
        {TABLE_INT4, "1x", BQ_INVALID, 0},
        {TABLE_INT4, "1 2", BQ_INVALID, 0},
        {TABLE_TIMESTAMPTZ, "1970-01-01T00:00:01Z", BQ_OK, 1000000},
        {TABLE_TIMESTAMPTZ, "now", BQ_INVALID, 0},
        {TABLE_UUID, "x", BQ_INVALID, 0},
        {TABLE_JSONB, "{", BQ_INVALID, 0},
    };
    struct arena arena;
    (void)state;
    arena_init(&arena);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct table_value value;
        assert_int_equal(table_value_read(&arena, cases[i].type, slice_of(cases[i].text), &value),
                         cases[i].status);
        if (cases[i].status == BQ_OK) {
            assert_int_equal(value.number, cases[i].number);
        }
    }
    arena_release(&arena);
}

static void json_is_compared_by_value(void **state)
{
    struct arena arena;
    struct table_value a;
    struct table_value b;
    (void)state;
    arena_init(&arena);
    assert_int_equal(table_value_read(&arena, TABLE_JSONB, SLICE("{\"a\":1.0,\"b\":2}"), &a),
                     BQ_OK);
    assert_int_equal(table_value_read(&arena, TABLE_JSONB, SLICE("{ \"b\":2, \"a\":1 }"), &b),
                     BQ_OK);
    assert_int_equal(table_value_order(&arena, TABLE_JSONB, &a, &b), 0);
    assert_int_equal(table_value_read(&arena, TABLE_JSONB, SLICE("{\"a\":2}"), &b), BQ_OK);
    assert_int_not_equal(table_value_order(&arena, TABLE_JSONB, &a, &b), 0);
    arena_release(&arena);
}

static void tables_are_found_by_name_and_fit_their_bound(void **state)
{
    (void)state;
    for (unsigned id = 0; id < TABLES; id++) {
        const struct table *table = table_get((enum table_id)id);
        assert_ptr_equal(table_find(slice_of(table->name)), table);
        assert_int_equal(table->id, id);
        assert_in_range(table->n_columns, 1, TABLE_COLUMNS);
        assert_true(table_column(table, SLICE("user_id")) >= 0);
    }
    assert_null(table_find(SLICE("user_sync_store")));
    assert_int_equal(table_column(table_get(TABLE_FEED), SLICE("generation")), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_is_printed_in_the_order_of_its_columns),
        cmocka_unit_test(the_v1_row_is_all_documents_that_live),
        cmocka_unit_test(literals_are_read_by_type),
        cmocka_unit_test(json_is_compared_by_value),
        cmocka_unit_test(tables_are_found_by_name_and_fit_their_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
