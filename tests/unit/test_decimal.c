/* test_decimal.c - exact numbers (docs/merge.md 1.2, 6.6 and 8.1). */
#include "json/decimal.h"

#include "base/status.h"

#include "starve.h"

static struct json_value number(struct arena *arena, const char *text)
{
    struct json_value value = json_absent();
    assert_int_equal(json_parse(arena, slice_of(text), 1, &value, NULL), BQ_OK);
    return value;
}

/* Numbers in ascending order; equal ones stand in one row, separated by spaces. */
static const char *const ascending[] = {
    "-1e308",
    "-9999999999999999999999999999999999999999",
    "-1e39",
    "-9223372036854775809",
    "-9223372036854775808",
    "-100.5",
    "-100.4999",
    "-10 -1e1 -10.0 -0.1e2",
    "-9",
    "-1.01",
    "-1 -1.0 -10e-1",
    "-0.10000001",
    "-0.1 -1e-1 -0.01e1",
    "-0.099",
    "-1e-307",
    "-1e-308",
    "0 -0 0.0 0e308 -0e-308 0.00e5",
    "1e-308 0.1e-307",
    "1e-307",
    "0.000000001 1e-9",
    "0.1 0.10 1E-1",
    "0.11",
    "0.2",
    "1 1.0 0.1e1 10e-1",
    "1.5",
    "2",
    "9",
    "10 1e+1",
    "11",
    "99.999999999999999999999999999999999999",
    "100 1e2 1000e-1",
    "9007199254740992",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "1234567890123456789012345678901234567890",
    "1234567890123456789012345678901234567891",
    "1e308 10e307",
    "9e308",
};

#define N_ASCENDING (sizeof ascending / sizeof ascending[0])

/* The k-th word of a row; false where there is none. */
static bool word(const char *row, unsigned k, struct json_value *out)
{
    while (k > 0) {
        row = strchr(row, ' ');
        if (row == NULL) {
            return false;
        }
        row++;
        k--;
    }
    const char *end = strchr(row, ' ');
    size_t len = end == NULL ? strlen(row) : (size_t)(end - row);
    *out = (struct json_value){.ptr = row, .len = (uint32_t)len, .type = JSON_NUMBER};
    return true;
}

static int sign(int order)
{
    return (order > 0) - (order < 0);
}

static bool same_canonical(const struct json_value *a, const struct json_value *b)
{
    char left[DECIMAL_CANONICAL_BYTES];
    char right[DECIMAL_CANONICAL_BYTES];
    struct slice one = {left, decimal_canonical(a, left)};
    struct slice two = {right, decimal_canonical(b, right)};
    assert_true(one.len <= sizeof left && two.len <= sizeof right);
    return slice_equal(one, two);
}

static void numbers_are_ordered_by_value(void **state)
{
    (void)state;
    struct json_value a;
    struct json_value b;
    for (size_t i = 0; i < N_ASCENDING; i++) {
        for (unsigned k = 0; word(ascending[i], k, &a); k++) {
            for (size_t j = 0; j < N_ASCENDING; j++) {
                for (unsigned l = 0; word(ascending[j], l, &b); l++) {
                    int want = (i > j) - (i < j);
                    assert_int_equal(sign(decimal_compare(&a, &b)), want);
                    assert_int_equal(same_canonical(&a, &b), want == 0);
                }
            }
        }
    }
}

static void check_sum(const char *theirs, const char *now, const char *was, const char *want)
{
    struct arena arena;
    arena_init(&arena);
    struct json_value values[3] = {json_absent(), json_absent(), json_absent()};
    const char *const texts[3] = {theirs, now, was};
    for (int i = 0; i < 3; i++) {
        if (texts[i] != NULL) {
            values[i] = number(&arena, texts[i]);
        }
    }
    struct json_value out = json_absent();
    int status =
        decimal_sum(&arena, &values[0], texts[1] == NULL ? NULL : &values[1], &values[2], &out);
    if (want == NULL) {
        assert_int_equal(status, BQ_OUT_OF_RANGE);
        assert_int_equal(out.type, JSON_ABSENT);
    } else {
        assert_int_equal(status, BQ_OK);
        assert_int_equal(out.type, JSON_NUMBER);
        if (!slice_is(json_text(&out), want)) {
            fail_msg("%s + (%s - %s) = %.*s, not %s", theirs, now, was, SLICE_FMT(json_text(&out)),
                     want);
        }
        struct json_value again = number(&arena, want); /* it is JSON */
        assert_int_equal(decimal_compare(&again, &out), 0);
    }
    arena_release(&arena);
}

static void sums_are_exact(void **state)
{
    (void)state;
    check_sum("6", "7", "5", "8");
    check_sum(NULL, NULL, NULL, "0");
    check_sum(NULL, "3", NULL, "3");
    check_sum("0.1", "0.2", NULL, "0.3");
    check_sum("0.3", NULL, "0.1", "0.2");
    check_sum("1", "1.5", "3", "-0.5");
    check_sum("-1", "3", "1.5", "0.5");
    check_sum("-0.25", "1.5", "0.5", "0.75");
    check_sum("0.25", "0.5", "1.5", "-0.75");
    check_sum("5", "1", "6", "0");
    check_sum("-0", "-0", "-0", "0");
    check_sum("1e2", "5E+1", "500e-1", "100");
    check_sum("100000000", "0.000000001", "0", "100000000.000000001");
    check_sum("0.999999999", "0.000000001", "0", "1");
    check_sum("-0.999999999", "-0.000000001", "0", "-1");
    check_sum("-5.000000001", "5", "0", "-0.000000001");
    check_sum("9007199254740993.25", "9007199254740993", "0.75", "18014398509481985.5");
}

static void sums_round_half_away_from_zero(void **state)
{
    (void)state;
    check_sum("0.0000000005", "0", "0", "0.000000001");
    check_sum("-0.0000000005", "0", "0", "-0.000000001");
    check_sum("0.00000000049999999999", "0", "0", "0");
    check_sum("-0.00000000049999999999", "0", "0", "0");
    check_sum("0.0000000015", "0", "0", "0.000000002");
    check_sum("0.9999999995", "0", "0", "1");
    check_sum("1.9999999999999999999", "0", "0", "2");
    check_sum("-1.9999999999999999999", "0", "0", "-2");
    check_sum("0", "0.0000000005", "0.0000000005", "0");
    check_sum("1e-308", "1e-10", "-5e-10", "0.000000001");
}

static void sums_have_eighteen_digits(void **state)
{
    (void)state;
    check_sum("999999999999999999", "0", "0", "999999999999999999");
    check_sum("999999999999999998", "1.999999999", "1", "999999999999999998.999999999");
    check_sum("-999999999999999999", "0", "0", "-999999999999999999");
    check_sum("999999999999999999", "-999999999999999999", "999999999999999999",
              "-999999999999999999");
    check_sum("999999999999999999", "1", "0", NULL);
    check_sum("-999999999999999999", "-1", "0", NULL);
    check_sum("999999999999999999.999999999", "0.000000001", "0", NULL);
    check_sum("999999999999999999.9999999995", "0", "0", NULL);
    check_sum("-999999999999999999.9999999995", "0", "0", NULL);
    check_sum("1000000000000000000", "0", "0", NULL);
    check_sum("0", "1e18", "0", NULL);
    check_sum("0", "0", "-1e308", NULL);
    check_sum("0", "1e17", "0", "100000000000000000");
    check_sum("0e308", "0", "0", "0");
}

static void integers_are_told_by_value(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_int;
        int64_t value;
    } cases[] = {
        {"2", true, 2},
        {"2.0", true, 2},
        {"20e-1", true, 2},
        {"0.2e1", true, 2},
        {"-7", true, -7},
        {"0", true, 0},
        {"-0.0e5", true, 0},
        {"1e17", true, INT64_C(100000000000000000)},
        {"999999999999999999", true, INT64_C(999999999999999999)},
        {"1e18", false, 0},
        {"2.5", false, 0},
        {"0.1", false, 0},
        {"1e-1", false, 0},
        {"1e308", false, 0},
        {"9007199254740991", true, INT64_C(9007199254740991)},
    };
    struct arena arena;
    arena_init(&arena);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct json_value value = number(&arena, cases[i].text);
        int64_t got = 0;
        assert_int_equal(decimal_to_int(&value, &got), cases[i].is_int);
        assert_int_equal(got, cases[i].value);
    }
    arena_release(&arena);
}

static int starved_sum(struct arena *arena, void *state)
{
    struct json_value out = json_absent();
    int status = decimal_sum(arena, state, NULL, NULL, &out);
    assert_int_equal(out.type, status == BQ_OK ? JSON_NUMBER : JSON_ABSENT);
    return status;
}

static void memory_may_end(void **state)
{
    (void)state;
    struct json_value five = {.ptr = "5", .len = 1, .type = JSON_NUMBER};
    starve(starved_sum, &five);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_ordered_by_value),
        cmocka_unit_test(sums_are_exact),
        cmocka_unit_test(sums_round_half_away_from_zero),
        cmocka_unit_test(sums_have_eighteen_digits),
        cmocka_unit_test(integers_are_told_by_value),
        cmocka_unit_test(memory_may_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
