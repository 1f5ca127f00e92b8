/* store_suite_accounts.c - what every store must do with accounts and sessions (store_suite.h). */
#include "store_suite.h"

#include "base/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#define NOW_US STORE_SUITE_NOW_US

static const struct store_suite_factory *factory;

static struct store *open_begun(void)
{
    struct store *store = factory->open();
    assert_int_equal(store->begin(store), BQ_OK);
    return store;
}

static void close_begun(struct store *store)
{
    store->rollback(store);
    factory->close(store);
}

static struct store_account account(unsigned i, struct slice email)
{
    return (struct store_account){.id = store_suite_user(i),
                                  .email = email,
                                  .password = email.ptr == NULL ? SLICE_NONE : SLICE("$hash"),
                                  .metadata = SLICE("{\"name\":\"x\"}"),
                                  .created_us = NOW_US,
                                  .updated_us = NOW_US + 1,
                                  .signed_in_us = NOW_US + 2};
}

static struct store_session session(unsigned i, unsigned user, int64_t refreshed_us)
{
    struct store_session made = {.user = store_suite_user(user),
                                 .counter = 1,
                                 .created_us = NOW_US,
                                 .refreshed_us = refreshed_us};
    snprintf(made.id.text, sizeof made.id.text, "00000000-0000-4000-9000-%012x", i);
    return made;
}

static void an_account_comes_back_whole(void **state)
{
    (void)state;
    struct arena arena;
    struct store_account in = account(0, SLICE("a@example.com"));
    struct store_account out;
    struct store *store = open_begun();
    arena_init(&arena);
    in.disabled = true;
    assert_int_equal(store->account_get(store, &arena, &in.id, &out), BQ_NOT_FOUND);
    assert_int_equal(store->account_put(store, &in), BQ_OK);
    assert_int_equal(store->account_get(store, &arena, &in.id, &out), BQ_OK);
    assert_string_equal(out.id.text, in.id.text);
    assert_true(slice_is(out.email, "a@example.com") && slice_is(out.password, "$hash"));
    assert_true(slice_is(out.metadata, "{\"name\":\"x\"}") && out.disabled);
    assert_int_equal(out.created_us, in.created_us);
    assert_int_equal(out.updated_us, in.updated_us);
    assert_int_equal(out.signed_in_us, in.signed_in_us);
    in.signed_in_us = 0;
    in.disabled = false;
    assert_int_equal(store->account_put(store, &in), BQ_OK);
    assert_int_equal(store->account_get(store, &arena, &in.id, &out), BQ_OK);
    assert_true(out.signed_in_us == 0 && !out.disabled);
    arena_release(&arena);
    close_begun(store);
}

static void an_account_is_found_by_its_email_alone(void **state)
{
    (void)state;
    struct arena arena;
    struct store_account one = account(0, SLICE("a@example.com"));
    struct store_account two = account(1, SLICE_NONE);
    struct store_account out;
    struct store *store = open_begun();
    arena_init(&arena);
    assert_int_equal(store->account_put(store, &one), BQ_OK);
    assert_int_equal(store->account_put(store, &two), BQ_OK);
    assert_int_equal(store->account_find(store, &arena, SLICE("a@example.com"), &out), BQ_OK);
    assert_string_equal(out.id.text, one.id.text);
    assert_int_equal(store->account_find(store, &arena, SLICE(""), &out), BQ_NOT_FOUND);
    assert_int_equal(store->account_find(store, &arena, SLICE("b@example.com"), &out),
                     BQ_NOT_FOUND);
    assert_int_equal(store->account_get(store, &arena, &two.id, &out), BQ_OK);
    assert_null(out.email.ptr);
    assert_null(out.password.ptr);
    arena_release(&arena);
    close_begun(store);
}

static void accounts_come_by_id_after_the_last_one(void **state)
{
    (void)state;
    struct arena arena;
    struct store_accounts page;
    struct uuid first = store_suite_user(0);
    struct store *store = open_begun();
    arena_init(&arena);
    for (unsigned i = 0; i < STORE_SUITE_USERS; i++) {
        struct store_account made = account(i, SLICE_NONE);
        assert_int_equal(store->account_put(store, &made), BQ_OK);
    }
    assert_int_equal(store->accounts(store, &arena, NULL, 1, &page), BQ_OK);
    assert_int_equal(page.n, 1);
    assert_string_equal(page.items[0].id.text, first.text);
    assert_int_equal(store->accounts(store, &arena, &first, 100, &page), BQ_OK);
    assert_int_equal(page.n, STORE_SUITE_USERS - 1);
    assert_true(strcmp(page.items[0].id.text, first.text) > 0);
    arena_release(&arena);
    close_begun(store);
}

static void only_anonymous_accounts_can_be_unused(void **state)
{
    (void)state;
    struct arena arena;
    struct store_accounts page;
    struct store_account named = account(0, SLICE("a@example.com"));
    struct store_account old = account(1, SLICE_NONE);
    struct store_account young = account(2, SLICE_NONE);
    struct store *store = open_begun();
    arena_init(&arena);
    young.signed_in_us = NOW_US + 100;
    assert_int_equal(store->account_put(store, &named), BQ_OK);
    assert_int_equal(store->account_put(store, &old), BQ_OK);
    assert_int_equal(store->account_put(store, &young), BQ_OK);
    assert_int_equal(store->accounts_unused(store, &arena, NOW_US + 100, 10, &page), BQ_OK);
    assert_int_equal(page.n, 1);
    assert_string_equal(page.items[0].id.text, old.id.text);
    arena_release(&arena);
    close_begun(store);
}

static void a_removed_account_takes_its_sessions_along(void **state)
{
    (void)state;
    struct arena arena;
    struct store_account one = account(0, SLICE_NONE);
    struct store_session mine = session(1, 0, NOW_US);
    struct store_session theirs = session(2, 1, NOW_US);
    struct store_account found;
    struct store_session out;
    struct store *store = open_begun();
    arena_init(&arena);
    assert_int_equal(store->account_put(store, &one), BQ_OK);
    assert_int_equal(store->session_put(store, &mine), BQ_OK);
    assert_int_equal(store->session_put(store, &theirs), BQ_OK);
    assert_int_equal(store->account_remove(store, &one.id), BQ_OK);
    assert_int_equal(store->account_get(store, &arena, &one.id, &found), BQ_NOT_FOUND);
    assert_int_equal(store->session_get(store, &mine.id, &out), BQ_NOT_FOUND);
    assert_int_equal(store->session_get(store, &theirs.id, &out), BQ_OK);
    arena_release(&arena);
    close_begun(store);
}

static void a_session_comes_back_whole_and_is_removed(void **state)
{
    (void)state;
    struct store_session in = session(1, 0, NOW_US + 7);
    struct store_session other = session(2, 0, NOW_US + 8);
    struct store_session out;
    struct store *store = open_begun();
    assert_int_equal(store->session_put(store, &in), BQ_OK);
    assert_int_equal(store->session_put(store, &other), BQ_OK);
    in.counter = 9;
    in.refreshed_us = NOW_US + 20;
    assert_int_equal(store->session_put(store, &in), BQ_OK);
    assert_int_equal(store->session_get(store, &in.id, &out), BQ_OK);
    assert_string_equal(out.user.text, in.user.text);
    assert_int_equal(out.counter, 9);
    assert_int_equal(out.created_us, NOW_US);
    assert_int_equal(out.refreshed_us, NOW_US + 20);
    struct arena arena;
    struct store_sessions all;
    struct uuid nobody = store_suite_user(2);
    arena_init(&arena);
    assert_int_equal(store->sessions(store, &arena, &in.user, &all), BQ_OK);
    assert_int_equal(all.n, 2);
    assert_string_equal(all.items[0].id.text, in.id.text);
    assert_string_equal(all.items[1].user.text, in.user.text);
    assert_int_equal(all.items[0].counter, 9);
    assert_int_equal(all.items[1].refreshed_us, NOW_US + 8);
    assert_int_equal(store->sessions(store, &arena, &nobody, &all), BQ_OK);
    assert_int_equal(all.n, 0);
    arena_release(&arena);
    assert_int_equal(store->sessions_remove(store, &in.user, &in.id), BQ_OK);
    assert_int_equal(store->session_get(store, &other.id, &out), BQ_NOT_FOUND);
    assert_int_equal(store->session_get(store, &in.id, &out), BQ_OK);
    assert_int_equal(store->session_remove(store, &in.id), BQ_OK);
    assert_int_equal(store->session_get(store, &in.id, &out), BQ_NOT_FOUND);
    close_begun(store);
}

static void the_sessions_of_a_user_are_bounded(void **state)
{
    (void)state;
    struct store_session first = session(0, 0, NOW_US);
    struct store_session last = session(LIMIT_SESSIONS, 0, NOW_US + LIMIT_SESSIONS);
    struct store_session out;
    struct store *store = open_begun();
    for (unsigned i = 0; i <= LIMIT_SESSIONS; i++) {
        struct store_session made = session(i, 0, NOW_US + i);
        assert_int_equal(store->session_put(store, &made), BQ_OK);
    }
    assert_int_equal(store->session_get(store, &first.id, &out), BQ_NOT_FOUND);
    assert_int_equal(store->session_get(store, &last.id, &out), BQ_OK);
    close_begun(store);
}

static void a_rollback_undoes_accounts_and_sessions(void **state)
{
    (void)state;
    struct arena arena;
    struct store_account one = account(0, SLICE("a@example.com"));
    struct store_account found;
    struct store_session made = session(1, 0, NOW_US);
    struct store_session out;
    struct store *store = open_begun();
    arena_init(&arena);
    assert_int_equal(store->account_put(store, &one), BQ_OK);
    assert_int_equal(store->session_put(store, &made), BQ_OK);
    store->rollback(store);
    assert_int_equal(store->begin(store), BQ_OK);
    assert_int_equal(store->account_get(store, &arena, &one.id, &found), BQ_NOT_FOUND);
    assert_int_equal(store->session_get(store, &made.id, &out), BQ_NOT_FOUND);
    arena_release(&arena);
    close_begun(store);
}

int store_suite_accounts_run(const struct store_suite_factory *made_by)
{
    static const struct CMUnitTest cases[] = {
        cmocka_unit_test(an_account_comes_back_whole),
        cmocka_unit_test(an_account_is_found_by_its_email_alone),
        cmocka_unit_test(accounts_come_by_id_after_the_last_one),
        cmocka_unit_test(only_anonymous_accounts_can_be_unused),
        cmocka_unit_test(a_removed_account_takes_its_sessions_along),
        cmocka_unit_test(a_session_comes_back_whole_and_is_removed),
        cmocka_unit_test(the_sessions_of_a_user_are_bounded),
        cmocka_unit_test(a_rollback_undoes_accounts_and_sessions),
    };
    factory = made_by;
    return cmocka_run_group_tests_name(made_by->name, cases, NULL, NULL);
}
