/* test_filter.c - the filters of subscriptions: what is read, what is refused, and which rows
 * pass. */
#include "server/filter.h"

#include "base/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#define USER "5f3a7a52-8c39-4f5e-9d4e-0c2f6f9b1a11"
#define MODIFIED_US INT64_C(1772719898123456) /* 2026-03-05T14:11:38.123456 */

static struct table_row row_of(const struct uuid *user, bool with_device)
{
    const struct store_doc doc = {
        .key = SLICE("settings"),
        .version = 7,
        .data = SLICE("{\"a\":1}"),
        .device_id = with_device ? SLICE("Phone, \"mine\"") : SLICE_NONE,
        .modified_us = MODIFIED_US,
        .created_us = MODIFIED_US,
    };
    return table_row_document(user, &doc);
}

/* 1: passes; 0: does not; -1: refused when it is read; -2: when it is checked. */
static int outcome(const char *text, bool with_device)
{
    struct arena arena;
    struct filter filter;
    struct buf why = BUF_INIT;
    struct uuid user;
    int result = -1;
    arena_init(&arena);
    assert_true(uuid_parse(SLICE(USER), &user));
    struct table_row row = row_of(&user, with_device);
    const struct table *table = table_get(TABLE_DOCUMENTS);
    if (filter_parse(&arena, slice_of(text), &filter, &why) == BQ_OK) {
        result = filter_check(&arena, table, &filter, &why) != BQ_OK ? -2
                 : filter_passes(&arena, table, &filter, &row)       ? 1
                                                                     : 0;
    }
    assert_int_equal(why.len > 0, result < 0);
    buf_release(&why);
    arena_release(&arena);
    return result;
}

static void is(const char *text, int wanted)
{
    int got = outcome(text, true);
    if (got != wanted) {
        print_error("%s: %d, not %d\n", text, got, wanted);
    }
    assert_int_equal(got, wanted);
}

static void every_operator_compares_by_the_type_of_its_column(void **state)
{
    (void)state;
    is("", 1);
    is("user_id=eq." USER, 1);
    is("user_id=eq.5F3A7A52-8C39-4F5E-9D4E-0C2F6F9B1A11", 1);
    is("user_id=neq." USER, 0);
    is("version=eq.7", 1);
    is("version=eq. 7 ", 1);
    is("version=neq.7", 0);
    is("version=lt.10", 1); /* as text it were not */
    is("version=lte.7", 1);
    is("version=gt.7", 0);
    is("version=gte.7", 1);
    is("version=in.(1,7)", 1);
    is("version=in.(1,2)", 0);
    is("version=in.()", 0);
    is("data_key=eq.settings", 1);
    is("data_key=eq.Settings", 0);
    is("data_key=lt.t", 1);
    is("data_key=in.(a,\"settings\")", 1);
    is("modified_at=eq.2026-03-05T14:11:38.123456Z", 1);
    is("modified_at=gt.2026-03-05 14:11:38", 1);
    is("device_id=eq.\"Phone, \\\"mine\\\"\"", 1);
    is("data_key=isdistinct.settings", 0);
    is("data_key=isdistinct.other", 1);
}

static void patterns_match_as_in_sql(void **state)
{
    (void)state;
    is("data_key=like.set%", 1);
    is("data_key=like.%tin%", 1);
    is("data_key=like.s_ttings", 1);
    is("data_key=like.set", 0);
    is("data_key=like.SET%", 0);
    is("data_key=ilike.SET%", 1);
    is("data_key=like.set\\%", 0);
    is("data_key=like.%%%s", 1);
    is("data_key=match.^set", 1);
    is("data_key=match.^SET", 0);
    is("data_key=imatch.^SET", 1);
    is("version=like.7", 1);
}

static void not_turns_around_and_terms_must_all_hold(void **state)
{
    (void)state;
    is("data_key=not.eq.settings", 0);
    is("data_key=not.in.(a,b)", 1);
    is("data_key=not.like.set%", 0);
    is("data_key=eq.settings,version=eq.7", 1);
    is("data_key=eq.settings,version=eq.8", 0);
    is("data_key=in.(settings,x),version=gte.7,user_id=eq." USER, 1);
}

static void null_is_neither_equal_nor_unequal(void **state)
{
    (void)state;
    assert_int_equal(outcome("device_id=eq.d", false), 0);
    assert_int_equal(outcome("device_id=neq.d", false), 0);
    assert_int_equal(outcome("device_id=not.eq.d", false), 0);
    assert_int_equal(outcome("device_id=isdistinct.d", false), 1);
    assert_int_equal(outcome("device_id=is.null", false), 1);
    assert_int_equal(outcome("device_id=not.is.null", false), 0);
    assert_int_equal(outcome("device_id=is.not_null", false), 0);
    assert_int_equal(outcome("device_id=is.unknown", false), 1);
    is("device_id=is.null", 0);
    is("device_id=is.not_null", 1);
    is("device_id=is.true", 0);
    is("data=is.not_null", 1);
}

static void what_is_no_filter_is_refused(void **state)
{
    (void)state;
    is("undefined", -1);
    is("user_id=", -1);
    is("user_id=eq", -1);
    is("user_id=nope.1", -1);
    is("user_id=eq.a,b", -1);
    is("version=in.1,2", -1);
    is("version=not.not.eq.1", -1);
    is(",", -1);
}

static void what_does_not_fit_the_table_is_refused(void **state)
{
    (void)state;
    is("nope=eq.1", -2);
    is("version=eq.one", -2);
    is("version=eq.99999999999", -2);
    is("version=eq.1.5", -2);
    is("user_id=eq.nobody", -2);
    is("modified_at=gt.yesterday", -2);
    is("data=eq.{}", -2);
    is("device_id=is.maybe", -2);
    is("data_key=match.(", -2);
    is("data_key=match.a{1000}", -2); /* what it costs could not be bounded */
    is("data_key=match.(a)\\1", -2);
}

/* Each of these took all memory, or seconds. */
static void an_expression_that_costs_too_much_is_refused(void **state)
{
    char text[300];
    (void)state;
    is("data_key=match.(t|i)+n", 1);
    is("data_key=match.s+e+t+", 1);
    is("data_key=match.((s)+)+", -2);
    is("data_key=match.s++++++++++++++++++++++++++++++++++++++++++++++++++++", -2);
    is("data_key=match.s+?+*+", -2);
    is("data_key=match.((((((((((((((((s*)*)*)*)*)*)*)*)*)*)*)*)+)+)+)+", -2);
    snprintf(text, sizeof text, "data_key=match.%064d", 0);
    is(text, 0);
    snprintf(text, sizeof text, "data_key=match.%065d", 0);
    is(text, -2);
}

static void terms_and_values_are_bounded(void **state)
{
    char text[4096];
    size_t n = 0;
    (void)state;
    for (unsigned i = 0; i < FILTER_MAX_TERMS + 1; i++) {
        n += (size_t)snprintf(text + n, sizeof text - n, "%sversion=eq.7", i == 0 ? "" : ",");
    }
    is(text, -1);
    n = (size_t)snprintf(text, sizeof text, "version=in.(7");
    for (unsigned i = 0; i < FILTER_MAX_IN; i++) {
        n += (size_t)snprintf(text + n, sizeof text - n, ",%u", i);
    }
    snprintf(text + n, sizeof text - n, ")");
    is(text, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operator_compares_by_the_type_of_its_column),
        cmocka_unit_test(patterns_match_as_in_sql),
        cmocka_unit_test(not_turns_around_and_terms_must_all_hold),
        cmocka_unit_test(null_is_neither_equal_nor_unequal),
        cmocka_unit_test(what_is_no_filter_is_refused),
        cmocka_unit_test(what_does_not_fit_the_table_is_refused),
        cmocka_unit_test(an_expression_that_costs_too_much_is_refused),
        cmocka_unit_test(terms_and_values_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
