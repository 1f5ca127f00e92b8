/* test_rate.c - a user's bucket: what is in it, how it fills, and that it is nobody else's. */
#include "server/rate.h"

#include "base/status.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <setjmp.h>
#include <cmocka.h>

#define NOW_US INT64_C(1772719898000000)
#define PER_SECOND 50
#define BURST (RATE_BURST_S * PER_SECOND)

static struct rate *rate;

static int setup(void **state)
{
    const uint64_t key[2] = {1, 2};
    (void)state;
    return rate_new(PER_SECOND, key, &rate);
}

static int teardown(void **state)
{
    (void)state;
    rate_free(rate);
    return 0;
}

static struct uuid user(unsigned i)
{
    struct uuid id;
    snprintf(id.text, sizeof id.text, "00000000-0000-4000-8000-%012x", i);
    return id;
}

static unsigned take_all(const struct uuid *id, int64_t now_us)
{
    unsigned n = 0;
    while (rate_take(rate, id, now_us) == 0) {
        n++;
        assert_true(n <= 10 * BURST);
    }
    return n;
}

static void a_bucket_holds_the_tokens_of_four_seconds(void **state)
{
    struct uuid id = user(1);
    (void)state;
    assert_int_equal(take_all(&id, NOW_US), BURST);
    assert_int_equal(rate_take(rate, &id, NOW_US), 1000000 / PER_SECOND);
    assert_int_equal(rate_take(rate, &id, NOW_US + 1), 1000000 / PER_SECOND - 1);
}

static void it_fills_at_its_rate_and_never_over_its_brim(void **state)
{
    struct uuid id = user(1);
    (void)state;
    assert_int_equal(take_all(&id, NOW_US), BURST);
    assert_int_equal(take_all(&id, NOW_US + 1000000), PER_SECOND);
    assert_int_equal(take_all(&id, NOW_US + INT64_C(3600000000)), BURST);
}

static void one_users_requests_are_not_anothers(void **state)
{
    struct uuid first = user(1);
    struct uuid second = user(2);
    (void)state;
    assert_int_equal(take_all(&first, NOW_US), BURST);
    assert_int_equal(take_all(&second, NOW_US), BURST);
}

/* Ten times as many users as there are places: each may go on, and who is forgotten begins anew. */
static void many_users_need_no_more_memory(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 10 * RATE_USERS; i++) {
        struct uuid id = user(i);
        assert_int_equal(rate_take(rate, &id, NOW_US + i), 0);
    }
    struct uuid id = user(0);
    assert_int_equal(take_all(&id, NOW_US + 10 * RATE_USERS), BURST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_bucket_holds_the_tokens_of_four_seconds, setup, teardown),
        cmocka_unit_test_setup_teardown(it_fills_at_its_rate_and_never_over_its_brim, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(one_users_requests_are_not_anothers, setup, teardown),
        cmocka_unit_test_setup_teardown(many_users_need_no_more_memory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
