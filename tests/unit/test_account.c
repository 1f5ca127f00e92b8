/* test_account.c - accounts and sessions as src/core/account.c decides them
 * (docs/protocol.md, "Accounts"). */
#include "core_bench.h"

#include "base/status.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <setjmp.h>
#include <cmocka.h>

#define US_PER_S INT64_C(1000000)
#define US_PER_DAY (INT64_C(86400) * US_PER_S)

static struct core_bench bench;
static unsigned next_id;

static int setup(void **state)
{
    (void)state;
    bench_open(&bench);
    next_id = 1;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    bench_close(&bench);
    return 0;
}

static struct uuid fresh_id(void)
{
    struct uuid id;
    snprintf(id.text, sizeof id.text, "00000000-0000-4000-8000-%012x", next_id++);
    return id;
}

static struct account_result call(struct account_call in)
{
    struct op op = {.kind = OP_ACCOUNT, .user = in.user, .arena = &bench.arena};
    op.in.account = in;
    assert_int_equal(bench_run(&bench, &op), BQ_OK);
    bench.status = op.status;
    return op.out.account;
}

static struct account_result sign_up(const char *email)
{
    struct account_call in = {.verb = ACCOUNT_SIGN_UP, .user = fresh_id(), .session = fresh_id()};
    if (email != NULL) {
        in.email = slice_of(email);
        in.password = SLICE("$one");
    }
    return call(in);
}

static struct account_result refresh(const struct uuid *session, int64_t counter)
{
    return call(
        (struct account_call){.verb = ACCOUNT_REFRESH, .session = *session, .counter = counter});
}

static void an_email_has_one_account(void **state)
{
    (void)state;
    struct account_result one = sign_up("a@example.com");
    assert_int_equal(one.outcome, ACCOUNT_DONE);
    assert_int_equal(one.session.counter, 1);
    assert_int_equal(sign_up("a@example.com").outcome, ACCOUNT_EXISTS);
    assert_int_equal(sign_up("b@example.com").outcome, ACCOUNT_DONE);
    struct account_result found =
        call((struct account_call){.verb = ACCOUNT_FIND, .email = SLICE("a@example.com")});
    assert_string_equal(found.account.id.text, one.account.id.text);
}

static void a_refresh_gives_the_next_number(void **state)
{
    (void)state;
    struct account_result one = sign_up("a@example.com");
    assert_int_equal(refresh(&one.session.id, 1).session.counter, 2);
    assert_int_equal(refresh(&one.session.id, 2).session.counter, 3);
}

static void a_refresh_whose_answer_was_lost_gives_the_same_token_again(void **state)
{
    (void)state;
    struct account_result one = sign_up("a@example.com");
    assert_int_equal(refresh(&one.session.id, 1).session.counter, 2);
    bench.context.now_us += 3600 * US_PER_S;
    assert_int_equal(refresh(&one.session.id, 1).session.counter, 2);
    assert_int_equal(refresh(&one.session.id, 2).session.counter, 3);
}

static void an_old_token_is_taken_for_ten_seconds(void **state)
{
    (void)state;
    struct account_result one = sign_up("a@example.com");
    for (int64_t i = 1; i <= 3; i++) {
        assert_int_equal(refresh(&one.session.id, i).session.counter, i + 1);
    }
    assert_int_equal(refresh(&one.session.id, 1).outcome, ACCOUNT_DONE);
    bench.context.now_us += ACCOUNT_REUSE_US;
    assert_int_equal(refresh(&one.session.id, 1).outcome, ACCOUNT_USED);
}

static void an_old_token_that_comes_late_ends_its_session_alone(void **state)
{
    (void)state;
    struct account_result one = sign_up("a@example.com");
    struct account_result other = call((struct account_call){.verb = ACCOUNT_SIGN_IN,
                                                             .user = one.account.id,
                                                             .session = fresh_id(),
                                                             .password = SLICE("$one")});
    for (int64_t i = 1; i <= 3; i++) {
        refresh(&one.session.id, i);
    }
    bench.context.now_us += 60 * US_PER_S;
    assert_int_equal(refresh(&one.session.id, 1).outcome, ACCOUNT_USED);
    assert_int_equal(refresh(&one.session.id, 4).outcome, ACCOUNT_NO_SESSION);
    assert_int_equal(refresh(&other.session.id, 1).outcome, ACCOUNT_DONE);
}

static void a_token_newer_than_a_restored_store_is_taken(void **state)
{
    (void)state;
    struct account_result one = sign_up("a@example.com");
    assert_int_equal(refresh(&one.session.id, 7).session.counter, 8);
    assert_int_equal(refresh(&one.session.id, 8).session.counter, 9);
}

static void a_disabled_account_neither_signs_in_nor_refreshes(void **state)
{
    (void)state;
    struct account_result one = sign_up("a@example.com");
    struct account_call in = {.verb = ACCOUNT_DISABLE, .user = one.account.id, .disabled = true};
    assert_int_equal(call(in).outcome, ACCOUNT_DONE);
    assert_int_equal(refresh(&one.session.id, 1).outcome, ACCOUNT_NO_SESSION);
    struct account_call again = {.verb = ACCOUNT_SIGN_IN,
                                 .user = one.account.id,
                                 .session = fresh_id(),
                                 .password = SLICE("$one")};
    assert_int_equal(call(again).outcome, ACCOUNT_IS_DISABLED);
    in.disabled = false;
    assert_int_equal(call(in).outcome, ACCOUNT_DONE);
    assert_int_equal(call(again).outcome, ACCOUNT_DONE);
}

static void a_password_that_changed_while_it_was_checked_does_not_sign_in(void **state)
{
    (void)state;
    struct account_result one = sign_up("a@example.com");
    struct account_result in = call((struct account_call){.verb = ACCOUNT_SIGN_IN,
                                                          .user = one.account.id,
                                                          .session = fresh_id(),
                                                          .password = SLICE("$before")});
    assert_int_equal(in.outcome, ACCOUNT_CHANGED);
}

static void a_new_password_ends_the_other_sessions(void **state)
{
    (void)state;
    struct account_result one = sign_up("a@example.com");
    struct account_result other = call((struct account_call){.verb = ACCOUNT_SIGN_IN,
                                                             .user = one.account.id,
                                                             .session = fresh_id(),
                                                             .password = SLICE("$one")});
    call((struct account_call){.verb = ACCOUNT_UPDATE,
                               .user = one.account.id,
                               .password = SLICE("$two"),
                               .with_session = true,
                               .session = one.session.id});
    assert_int_equal(refresh(&other.session.id, 1).outcome, ACCOUNT_NO_SESSION);
    assert_int_equal(refresh(&one.session.id, 1).outcome, ACCOUNT_DONE);
}

static void signing_out_has_three_scopes(void **state)
{
    static const bool lives_on[3][3] = {[ACCOUNT_SCOPE_GLOBAL] = {false, false, false},
                                        [ACCOUNT_SCOPE_LOCAL] = {false, true, true},
                                        [ACCOUNT_SCOPE_OTHERS] = {true, false, false}};
    (void)state;
    for (enum account_scope scope = ACCOUNT_SCOPE_GLOBAL; scope <= ACCOUNT_SCOPE_OTHERS; scope++) {
        struct account_result one = sign_up(bench_text(&bench, "a%d@example.com", (int)scope));
        struct uuid sessions[3] = {one.session.id, fresh_id(), fresh_id()};
        for (int i = 1; i < 3; i++) {
            call((struct account_call){.verb = ACCOUNT_SIGN_IN,
                                       .user = one.account.id,
                                       .session = sessions[i],
                                       .password = SLICE("$one")});
        }
        call((struct account_call){.verb = ACCOUNT_SIGN_OUT,
                                   .user = one.account.id,
                                   .session = sessions[0],
                                   .scope = scope});
        for (int i = 0; i < 3; i++) {
            assert_int_equal(refresh(&sessions[i], 1).outcome == ACCOUNT_DONE, lives_on[scope][i]);
        }
    }
}

static struct json_value parsed(const char *text)
{
    struct json_value value;
    assert_int_equal(json_parse(&bench.arena, slice_of(text), 8, &value, NULL), BQ_OK);
    return value;
}

static void an_update_touches_only_what_it_names(void **state)
{
    (void)state;
    struct account_result one = sign_up("a@example.com");
    struct account_call in = {.verb = ACCOUNT_UPDATE, .user = one.account.id};
    in.metadata = parsed("{\"name\":\"A\",\"colour\":\"blue\"}");
    assert_true(slice_is(call(in).account.metadata, "{\"name\":\"A\",\"colour\":\"blue\"}"));
    in.metadata = parsed("{\"name\":null,\"age\":7}");
    struct account_result changed = call(in);
    assert_true(slice_is(changed.account.metadata, "{\"colour\":\"blue\",\"age\":7}"));
    assert_true(slice_is(changed.account.email, "a@example.com"));
    assert_true(slice_is(changed.account.password, "$one"));
    sign_up("b@example.com");
    assert_int_equal(call((struct account_call){.verb = ACCOUNT_UPDATE,
                                                .user = one.account.id,
                                                .email = SLICE("b@example.com")})
                         .outcome,
                     ACCOUNT_EXISTS);
}

static void too_much_data_is_refused_and_changes_nothing(void **state)
{
    (void)state;
    struct account_result one = sign_up("a@example.com");
    char *text = arena_alloc(&bench.arena, LIMIT_METADATA_BYTES + 16);
    memset(text, 'x', LIMIT_METADATA_BYTES + 15);
    memcpy(text, "{\"a\":\"", 6);
    memcpy(text + LIMIT_METADATA_BYTES + 13, "\"}", 3);
    call((struct account_call){.verb = ACCOUNT_UPDATE,
                               .user = one.account.id,
                               .password = SLICE("$two"),
                               .metadata = parsed(text)});
    assert_int_equal(bench.status, BQ_TOO_LARGE);
    struct account_result now =
        call((struct account_call){.verb = ACCOUNT_GET, .user = one.account.id});
    assert_true(slice_is(now.account.metadata, "{}") && slice_is(now.account.password, "$one"));
    assert_int_equal(refresh(&one.session.id, 1).outcome, ACCOUNT_DONE);
}

static void a_session_is_its_users_alone(void **state)
{
    (void)state;
    struct account_result one = sign_up("a@example.com");
    struct account_result two = sign_up("b@example.com");
    struct account_call in = {.verb = ACCOUNT_GET,
                              .user = one.account.id,
                              .session = two.session.id,
                              .with_session = true};
    assert_int_equal(call(in).outcome, ACCOUNT_NO_SESSION);
    in.session = one.session.id;
    assert_int_equal(call(in).outcome, ACCOUNT_DONE);
}

static void an_anonymous_account_that_nobody_uses_is_erased(void **state)
{
    (void)state;
    struct account_result idle = sign_up(NULL);
    struct account_result busy = sign_up(NULL);
    struct account_result named = sign_up("a@example.com");
    bench.context.now_us += 50 * US_PER_DAY;
    refresh(&busy.session.id, 1);
    bench.context.now_us += (LIMIT_ANONYMOUS_DAYS - 49) * US_PER_DAY;
    sign_up(NULL);
    struct account_call get = {.verb = ACCOUNT_GET, .user = idle.account.id};
    assert_int_equal(call(get).outcome, ACCOUNT_UNKNOWN);
    get.user = busy.account.id;
    assert_int_equal(call(get).outcome, ACCOUNT_DONE);
    get.user = named.account.id;
    assert_int_equal(call(get).outcome, ACCOUNT_DONE);
}

static void a_deleted_account_takes_the_documents_along(void **state)
{
    (void)state;
    struct account_result one = sign_up("a@example.com");
    bench.user = one.account.id;
    bench_upsert(&bench, "d", "notes", "0", "{\"a\":1}");
    assert_string_equal(bench_document(&bench, "notes", NULL), "{\"a\":1}");
    assert_int_equal(
        call((struct account_call){.verb = ACCOUNT_DELETE, .user = one.account.id}).outcome,
        ACCOUNT_DONE);
    assert_true(bench_user(&bench).erased);
    assert_string_equal(bench_document(&bench, "notes", NULL), "");
    assert_int_equal(refresh(&one.session.id, 1).outcome, ACCOUNT_NO_SESSION);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(an_email_has_one_account),
        TEST(a_refresh_gives_the_next_number),
        TEST(a_refresh_whose_answer_was_lost_gives_the_same_token_again),
        TEST(an_old_token_is_taken_for_ten_seconds),
        TEST(an_old_token_that_comes_late_ends_its_session_alone),
        TEST(a_token_newer_than_a_restored_store_is_taken),
        TEST(a_disabled_account_neither_signs_in_nor_refreshes),
        TEST(a_password_that_changed_while_it_was_checked_does_not_sign_in),
        TEST(a_new_password_ends_the_other_sessions),
        TEST(signing_out_has_three_scopes),
        TEST(an_update_touches_only_what_it_names),
        TEST(too_much_data_is_refused_and_changes_nothing),
        TEST(a_session_is_its_users_alone),
        TEST(an_anonymous_account_that_nobody_uses_is_erased),
        TEST(a_deleted_account_takes_the_documents_along),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
