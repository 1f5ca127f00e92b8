/* test_hub.c - who hears of whose changes, and that a slot that changed hands names nobody. */
#include "core/hub.h"

#include "base/mem.h"
#include "base/rng.h"
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <setjmp.h>
#include <cmocka.h>

#define USERS 40u
#define LISTENERS 3000u

static struct hub *hub;

static int setup(void **state)
{
    const uint64_t key[2] = {1, 2};
    (void)state;
    return hub_new(key, &hub);
}

static int teardown(void **state)
{
    (void)state;
    hub_free(hub);
    return 0;
}

static struct uuid user(unsigned i)
{
    struct uuid id;
    snprintf(id.text, sizeof id.text, "00000000-0000-4000-8000-%012x", i);
    return id;
}

static void count(void *cls, void *listener, struct hub_handle handle)
{
    (void)handle;
    (void)listener;
    ++*(unsigned *)cls;
}

static void leave(void *cls, void *listener, struct hub_handle handle)
{
    (void)listener;
    ++*(unsigned *)cls;
    hub_leave(hub, handle);
}

static void only_the_listeners_of_a_user_hear(void **state)
{
    struct uuid a = user(1), b = user(2);
    struct hub_handle handle;
    unsigned heard = 0;
    int one, two;
    (void)state;
    assert_int_equal(hub_publish(hub, &a, count, &heard), 0);
    assert_int_equal(hub_join(hub, &a, &one, &handle), BQ_OK);
    assert_int_equal(hub_join(hub, &b, &two, &handle), BQ_OK);
    assert_int_equal(hub_publish(hub, &a, count, &heard), 1);
    assert_int_equal(heard, 1);
}

static void a_handle_whose_slot_serves_somebody_else_names_nobody(void **state)
{
    struct uuid a = user(1), b = user(2);
    struct hub_handle old, fresh;
    int one, two;
    (void)state;
    assert_int_equal(hub_join(hub, &a, &one, &old), BQ_OK);
    hub_leave(hub, old);
    assert_int_equal(hub_join(hub, &b, &two, &fresh), BQ_OK);
    assert_int_equal(old.slot, fresh.slot);
    assert_null(hub_listener(hub, old));
    hub_leave(hub, old);
    assert_ptr_equal(hub_listener(hub, fresh), &two);
    assert_int_equal(hub_size(hub), 1);
}

static void who_hears_may_leave(void **state)
{
    struct uuid a = user(1);
    struct hub_handle handle;
    unsigned heard = 0;
    int listener;
    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(hub_join(hub, &a, &listener, &handle), BQ_OK);
    }
    assert_int_equal(hub_publish(hub, &a, leave, &heard), 5);
    assert_int_equal(hub_publish(hub, &a, leave, &heard), 0);
    assert_int_equal(hub_size(hub), 0);
}

static void many_come_and_go_as_in_a_plain_list(void **state)
{
    struct hub_handle handles[LISTENERS];
    unsigned of[LISTENERS];
    bool there[LISTENERS] = {false};
    struct rng rng;
    (void)state;
    rng_init(&rng, 7);
    for (unsigned round = 0; round < 20000; round++) {
        unsigned i = (unsigned)rng_below(&rng, LISTENERS);
        struct uuid id = user(of[i] = there[i] ? of[i] : (unsigned)rng_below(&rng, USERS));
        if (there[i]) {
            assert_ptr_equal(hub_listener(hub, handles[i]), &of[i]);
            hub_leave(hub, handles[i]);
        } else {
            assert_int_equal(hub_join(hub, &id, &of[i], &handles[i]), BQ_OK);
        }
        there[i] = !there[i];
    }
    for (unsigned u = 0; u < USERS; u++) {
        struct uuid id = user(u);
        unsigned expected = 0, heard = 0;
        for (unsigned i = 0; i < LISTENERS; i++) {
            expected += there[i] && of[i] == u;
        }
        assert_int_equal(hub_publish(hub, &id, count, &heard), expected);
        assert_int_equal(heard, expected);
    }
}

static void without_memory_nothing_changes(void **state)
{
    struct uuid a = user(1);
    struct hub_handle handle;
    int listener;
    (void)state;
    for (unsigned i = 0; i < 40; i++) {
        for (uint64_t n = 1;; n++) {
            mem_fail_at(n, 1);
            int status = hub_join(hub, &a, &listener, &handle);
            mem_fail_at(0, 0);
            if (status == BQ_OK) {
                break;
            }
            assert_int_equal(status, BQ_NOMEM);
            assert_int_equal(hub_size(hub), i);
        }
    }
    unsigned heard = 0;
    assert_int_equal(hub_publish(hub, &a, count, &heard), 40);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(only_the_listeners_of_a_user_hear),
        TEST(a_handle_whose_slot_serves_somebody_else_names_nobody),
        TEST(who_hears_may_leave),
        TEST(many_come_and_go_as_in_a_plain_list),
        TEST(without_memory_nothing_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
