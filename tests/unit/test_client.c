/* test_client.c - libbqsync by its public calls, stepped by hand against the server core in memory:
 * opening, writing and reading, signing in and out. */
#include "client_fixture.h"
#include "fault_vfs.h"
#include "token.h"

#include "base/buf.h"
#include "json/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- Opening --------------------------------------------------------------------------------- */

static void a_bad_configuration_is_refused_with_a_sentence(void **state)
{
    struct client_fixture *f = *state;
    struct bq *bq;
    struct bq_config good = f->config;
    struct {
        struct bq_config config;
        const char *word;
    } bad[8];
    for (size_t i = 0; i < 8; i++) {
        bad[i].config = good;
    }
    bad[0].config.path = NULL;
    bad[0].word = "path";
    bad[1].config.path = "";
    bad[1].word = "path";
    bad[2].config.url = "ftp://x";
    bad[2].word = "url";
    bad[3].config.flags = 64;
    bad[3].word = "flag";
    bad[4].config.debounce_ms = 60001;
    bad[4].word = "debounce_ms";
    bad[5].config.api_key = "a\nb";
    bad[5].word = "api_key";
    bad[6].config.device_info = "[1]";
    bad[6].word = "device info";
    bad[7].config.timeout_ms = UINT32_MAX;
    bad[7].word = "timeout_ms";
    for (size_t i = 0; i < 8; i++) {
        bq = (struct bq *)1;
        f->error[0] = '\0';
        assert_int_equal(bq_open(&bad[i].config, &bq), BQ_INVALID);
        assert_null(bq);
        if (strstr(f->error, bad[i].word) == NULL) {
            fail_msg("\"%s\" lacks \"%s\"", f->error, bad[i].word);
        }
    }
    assert_int_equal(bq_open(NULL, &bq), BQ_INVALID);
    assert_int_equal(bq_open(&good, NULL), BQ_INVALID);
    good.size = 0;
    assert_int_equal(bq_open(&good, &bq), BQ_INVALID);
}

static void a_file_in_use_is_locked(void **state)
{
    struct client_fixture *f = *state;
    struct bq *second;
    client_open_handle(f);
    struct handle_hooks hooks = {.transport = fake_server_connect(f->server)};
    assert_int_equal(handle_open(&f->config, &hooks, &second), BQ_LOCKED);
    assert_non_null(strstr(f->error, "another process"));
}

static void a_shorter_configuration_of_an_older_app_is_taken(void **state)
{
    struct client_fixture *f = *state;
    f->config.size = offsetof(struct bq_config, wakeup_fn);
    client_open_handle(f);
}

static void every_call_survives_null(void **state)
{
    char text[64];
    (void)state;
    bq_close(NULL);
    assert_int_equal(bq_step(NULL, 0), BQ_INVALID);
    assert_int_equal(bq_next_step_ms(NULL), -1);
    bq_last_error(NULL, text, sizeof text);
    bq_free(NULL);
    assert_int_equal(bq_sign_in(NULL, "x", BQ_GUEST_KEEP, NULL), BQ_INVALID);
    assert_int_equal(bq_set_token(NULL, "x"), BQ_INVALID);
    assert_int_equal(bq_sign_out(NULL, BQ_PARK, 0, NULL), BQ_INVALID);
    bq_user(NULL, text);
    bq_device_id(NULL, text);
    assert_int_equal(bq_put(NULL, "k", "{}", 2, 0), BQ_INVALID);
    assert_int_equal(bq_patch(NULL, "k", "{}", 2, 0), BQ_INVALID);
    assert_int_equal(bq_increment(NULL, "k", "n", "1", 0), BQ_INVALID);
    assert_int_equal(bq_remove(NULL, "k", 0), BQ_INVALID);
    assert_int_equal(bq_seed(NULL, "k", "{}", 2), BQ_INVALID);
    assert_int_equal(bq_get(NULL, "k", NULL), BQ_INVALID);
    bq_document_release(NULL);
    assert_int_equal(bq_list(NULL, NULL), BQ_INVALID);
    bq_documents_release(NULL);
    assert_int_equal(bq_key_state(NULL, "k"), BQ_IDLE);
    assert_int_equal(bq_flush(NULL, 0), BQ_INVALID);
    assert_int_equal(bq_pull(NULL, 0), BQ_INVALID);
    assert_int_equal(bq_set_online(NULL, 1), BQ_INVALID);
    assert_int_equal(bq_pause(NULL), BQ_INVALID);
    assert_int_equal(bq_resume(NULL), BQ_INVALID);
    assert_int_equal(bq_set_device_info(NULL, "{}"), BQ_INVALID);
    assert_int_equal(bq_stats(NULL, NULL), BQ_INVALID);
    assert_int_equal(bq_next_event(NULL, 0, NULL), BQ_INVALID);
    assert_int_equal(bq_dead_letters(NULL, NULL), BQ_INVALID);
    bq_dead_letters_release(NULL);
    assert_int_equal(bq_dead_retry(NULL, 0), BQ_INVALID);
    assert_int_equal(bq_dead_discard(NULL, 0), BQ_INVALID);
    assert_int_equal(bq_dead_export(NULL, NULL), BQ_INVALID);
}

static void arguments_outside_their_limits_are_invalid(void **state)
{
    struct client_fixture *f = *state;
    struct bq_document document = {.size = 3};
    struct bq_stats stats = {.size = 0};
    struct bq_event event = {.size = 1};
    struct bq_documents documents = {.size = 0};
    struct bq_dead_letters letters = {.size = 0};
    struct bq_counts counts = {.size = 1};
    client_open_handle(f);
    assert_int_equal(bq_get(f->bq, "k", &document), BQ_INVALID);
    assert_int_equal(bq_stats(f->bq, &stats), BQ_INVALID);
    assert_int_equal(bq_next_event(f->bq, 0, &event), BQ_INVALID);
    assert_int_equal(bq_list(f->bq, &documents), BQ_INVALID);
    assert_int_equal(bq_dead_letters(f->bq, &letters), BQ_INVALID);
    assert_int_equal(bq_sign_in(f->bq, f->token_a, BQ_GUEST_MERGE, &counts), BQ_INVALID);
    assert_int_equal(bq_sign_in(f->bq, f->token_a, (enum bq_guest)9, NULL), BQ_INVALID);
    assert_int_equal(bq_sign_in(f->bq, NULL, BQ_GUEST_MERGE, NULL), BQ_INVALID);
    assert_int_equal(bq_sign_out(f->bq, (enum bq_sign_out)7, 0, NULL), BQ_INVALID);
    assert_int_equal(bq_put(f->bq, NULL, "{}", 2, 0), BQ_INVALID);
    assert_int_equal(bq_put(f->bq, "k", NULL, 2, 0), BQ_INVALID);
    assert_int_equal(bq_put(f->bq, "k", "{}", 2, 1024), BQ_INVALID);
    assert_int_equal(bq_put(f->bq, "k", "{}", 2, BQ_PRIORITY_LOW | BQ_PRIORITY_HIGH), BQ_INVALID);
    assert_int_equal(bq_set_online(f->bq, 2), BQ_INVALID);
    assert_int_equal(bq_dead_retry(f->bq, -1), BQ_INVALID);
    assert_int_equal(bq_set_device_info(f->bq, NULL), BQ_INVALID);
    assert_int_equal(bq_step(f->bq, 0), BQ_OK);
}

/* ---- Writing and reading --------------------------------------------------------------------- */

static void bad_input_leaves_all_as_it_was(void **state)
{
    struct client_fixture *f = *state;
    char *large = malloc(300000);
    char deep[400];
    assert_non_null(large);
    memset(large, 'x', 299999);
    memcpy(large, "{\"a\":\"", 6);
    memcpy(large + 299997, "\"}", 3);
    memset(deep, '[', 100);
    memset(deep + 100, ']', 100);
    deep[200] = '\0';
    struct {
        const char *key;
        const char *json;
        int status;
    } bad[] = {
        {"k", "{\"a\":}", BQ_JSON_SYNTAX},
        {"k", "", BQ_JSON_SYNTAX},
        {"k", "{} x", BQ_JSON_SYNTAX},
        {"k", "{\"a\":\"\xff\"}", BQ_JSON_UTF8},
        {"k", "{\"a\":\"\\ud800\"}", BQ_JSON_STRING},
        {"k", "{\"a\":\"\\u0000\"}", BQ_JSON_STRING},
        {"k", "{\"a\":1e999}", BQ_JSON_NUMBER},
        {"k", "{\"a\":1,\"a\":2}", BQ_JSON_DUPLICATE},
        {"k", deep, BQ_JSON_DEPTH},
        {"k", large, BQ_TOO_LARGE},
        {"", "{}", BQ_BAD_KEY},
        {"_k", "{}", BQ_BAD_KEY},
        {"a\tb", "{}", BQ_BAD_KEY},
        {"a\xff", "{}", BQ_BAD_KEY},
    };
    client_open_handle(f);
    assert_int_equal(client_put(f->bq, "k", "{\"good\":1}"), BQ_OK);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        int status = client_put(f->bq, bad[i].key, bad[i].json);
        if (status != bad[i].status) {
            fail_msg("row %zu: %s, wanted %s", i, bq_status_code(status),
                     bq_status_code(bad[i].status));
        }
        char text[BQ_ERROR_TEXT];
        bq_last_error(f->bq, text, sizeof text);
        assert_true(strlen(text) > 10);
        client_expect_document(f->bq, "k", "{\"good\":1}");
    }
    assert_int_equal(bq_patch(f->bq, "k", "[1]", SIZE_MAX, 0), BQ_INVALID);
    assert_int_equal(bq_increment(f->bq, "k", "good", "abc", 0), BQ_INVALID);
    assert_int_equal(bq_increment(f->bq, "k", "", "1", 0), BQ_INVALID);
    assert_int_equal(client_put(f->bq, "t", "{\"name\":\"x\"}"), BQ_OK);
    assert_int_equal(bq_increment(f->bq, "t", "name", "1", 0), BQ_INVALID);
    assert_int_equal(bq_remove(f->bq, "absent", 0), BQ_NOT_FOUND);
    client_expect_document(f->bq, "k", "{\"good\":1}");
    client_expect_document(f->bq, "absent", NULL);
    free(large);
}

static void writes_are_read_back_and_survive_closing(void **state)
{
    struct client_fixture *f = *state;
    client_open_handle(f);
    assert_int_equal(bq_put(f->bq, "settings", "{ \"mute\" : true }garbage", 17, 0), BQ_OK);
    assert_int_equal(bq_patch(f->bq, "settings", "{\"speed\":\"fast\",\"gone\":null}", SIZE_MAX, 0),
                     BQ_OK);
    assert_int_equal(bq_increment(f->bq, "game_stats", "incorrectAnswers", "2.5", 0), BQ_OK);
    assert_int_equal(bq_increment(f->bq, "game_stats", "/incorrectAnswers", "-1", 0), BQ_OK);
    assert_int_equal(client_put(f->bq, "bye", "{}"), BQ_OK);
    assert_int_equal(bq_remove(f->bq, "bye", 0), BQ_OK);
    assert_int_equal(bq_seed(f->bq, "settings", "{\"mute\":false,\"theme\":\"dark\"}", SIZE_MAX),
                     BQ_OK);
    for (int i = 0; i < 2; i++) {
        client_expect_document(f->bq, "settings",
                               "{\"mute\":true,\"speed\":\"fast\",\"theme\":\"dark\"}");
        client_expect_document(f->bq, "game_stats", "{\"incorrectAnswers\":1.5}");
        client_expect_document(f->bq, "bye", NULL);
        struct bq_documents all = {.size = sizeof all};
        assert_int_equal(bq_list(f->bq, &all), BQ_OK);
        assert_int_equal(all.n, 2);
        assert_string_equal(all.items[0].key, "settings");
        assert_string_equal(all.items[1].key, "game_stats");
        assert_int_equal(all.items[0].pending, 1);
        bq_documents_release(&all);
        assert_int_equal(all.n, 0);
        client_close_handle(f);
        client_open_handle(f);
    }
}

static void a_full_disk_fails_the_write_and_nothing_else(void **state)
{
    struct client_fixture *f = *state;
    f->hooks.vfs = FAULT_VFS_NAME;
    client_open_signed_in(f);
    assert_int_equal(bq_pull(f->bq, PATIENCE_MS), BQ_OK);
    assert_int_equal(client_put(f->bq, "notes", "{\"n\":1}"), BQ_OK);
    fault_vfs_set(FAULT_VFS_FULL, 1, FAULT_VFS_FOREVER);
    assert_int_equal(client_put(f->bq, "notes", "{\"n\":2}"), BQ_DISK_FULL);
    client_expect_error(f->bq, "full");
    client_expect_document(f->bq, "notes", "{\"n\":1}");
    unsigned n = fake_server_n_requests(f->server, NULL);
    assert_int_equal(bq_flush(f->bq, 0), BQ_DISK_FULL);
    assert_int_equal(bq_step(f->bq, 0), BQ_DISK_FULL);
    client_expect_document(f->bq, "notes", "{\"n\":1}");
    assert_int_equal(fake_server_n_requests(f->server, NULL), n);
    fault_vfs_set(FAULT_VFS_FULL, 0, 0);
    assert_int_equal(client_put(f->bq, "notes", "{\"n\":3}"), BQ_OK);
    assert_int_equal(bq_flush(f->bq, PATIENCE_MS), BQ_OK);
    client_close_handle(f);
    f->hooks.vfs = NULL;
    client_open_handle(f);
    client_expect_document(f->bq, "notes", "{\"n\":3}");
}

static void a_failed_sync_fails_the_write_and_the_handle_goes_on(void **state)
{
    struct client_fixture *f = *state;
    f->hooks.vfs = FAULT_VFS_NAME;
    client_open_signed_in(f);
    assert_int_equal(client_put(f->bq, "notes", "{\"n\":1}"), BQ_OK);
    fault_vfs_set(FAULT_VFS_SYNC, 1, 1);
    assert_int_equal(client_put(f->bq, "notes", "{\"n\":2}"), BQ_IO);
    client_expect_document(f->bq, "notes", "{\"n\":1}");
    /* The disk is away for good: each call says so, and tries again. */
    fault_vfs_set(FAULT_VFS_SYNC, 1, FAULT_VFS_FOREVER);
    assert_int_equal(client_put(f->bq, "notes", "{\"n\":3}"), BQ_IO);
    fault_vfs_set(FAULT_VFS_SYNC, 0, 0);
    fault_vfs_set(FAULT_VFS_OPEN, 1, FAULT_VFS_FOREVER);
    struct bq_document document = {.size = sizeof document};
    int status = bq_get(f->bq, "notes", &document);
    if (status == BQ_OK) {
        bq_document_release(&document);
    }
    fault_vfs_set(FAULT_VFS_OPEN, 0, 0);
    client_expect_document(f->bq, "notes", "{\"n\":1}");
    assert_int_equal(client_put(f->bq, "notes", "{\"n\":4}"), BQ_OK);
    assert_int_equal(bq_flush(f->bq, PATIENCE_MS), BQ_OK);
    client_expect_document(f->bq, "notes", "{\"n\":4}");
}

/* ---- Signing in and out ---------------------------------------------------------------------- */

static void a_token_without_a_user_is_refused(void **state)
{
    struct client_fixture *f = *state;
    char *no_sub = token_make("anon", NULL, 4000000000);
    char *odd_sub = token_make("authenticated", "somebody", 4000000000);
    char *huge = malloc(10000);
    char user[37];
    assert_non_null(huge);
    memset(huge, 'a', 9999);
    huge[9999] = '\0';
    /* {"sub":USER_A,"sub":USER_B}: two users in one token are none. */
    struct token_key *key = token_key_new("HS256", TOKEN_SECRET);
    char *twice =
        token_sign(key, "{\"alg\":\"HS256\"}", "{\"sub\":\"" USER_A "\",\"sub\":\"" USER_B "\"}");
    const char *bad[] = {"",     "x",     "a.b", "a.b.c.d", "a.b.", "..", "e30.e30=.e30",
                         no_sub, odd_sub, huge,  twice};
    client_open_handle(f);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(bq_sign_in(f->bq, bad[i], BQ_GUEST_MERGE, NULL), BQ_AUTH);
        client_expect_error(f->bq, "token");
    }
    bq_user(f->bq, user);
    assert_string_equal(user, "");
    assert_int_equal(bq_set_token(f->bq, f->token_a), BQ_SIGNED_OUT);
    assert_int_equal(bq_sign_out(f->bq, BQ_PARK, 0, NULL), BQ_SIGNED_OUT);
    token_key_free(key);
    free(no_sub);
    free(odd_sub);
    free(huge);
    free(twice);
}

static void a_second_user_has_to_wait_for_the_first_to_leave(void **state)
{
    struct client_fixture *f = *state;
    char user[37], device_a[40], device[40];
    struct bq_counts counts = {.size = sizeof counts};
    client_open_signed_in(f);
    bq_device_id(f->bq, device_a);
    assert_int_equal(strlen(device_a), 35);
    assert_int_equal(bq_sign_in(f->bq, f->token_b, BQ_GUEST_MERGE, NULL), BQ_INVALID);
    assert_int_equal(bq_set_token(f->bq, f->token_b), BQ_INVALID);
    assert_int_equal(bq_sign_in(f->bq, f->token_a, BQ_GUEST_MERGE, &counts), BQ_OK);
    assert_int_equal(client_put(f->bq, "notes", "{\"of\":\"a\"}"), BQ_OK);
    assert_int_equal(bq_sign_out(f->bq, BQ_PARK, 0, &counts), BQ_OK);
    assert_int_equal(counts.documents, 1);
    assert_int_equal(counts.unsent, 1);
    client_expect_document(f->bq, "notes", NULL);
    assert_int_equal(bq_sign_in(f->bq, f->token_b, BQ_GUEST_MERGE, NULL), BQ_OK);
    bq_user(f->bq, user);
    assert_string_equal(user, USER_B);
    bq_device_id(f->bq, device);
    assert_string_not_equal(device, device_a);
    client_expect_document(f->bq, "notes", NULL);
    assert_int_equal(bq_sign_out(f->bq, BQ_DISCARD, 0, NULL), BQ_OK);
    assert_int_equal(bq_sign_in(f->bq, f->token_a, BQ_GUEST_MERGE, &counts), BQ_OK);
    assert_int_equal(counts.unsent, 1);
    client_expect_document(f->bq, "notes", "{\"of\":\"a\"}");
    bq_device_id(f->bq, device);
    assert_string_equal(device, device_a);
}

static void who_is_signed_in_survives_closing(void **state)
{
    struct client_fixture *f = *state;
    struct bq_event event;
    char user[37];
    client_open_signed_in(f);
    assert_int_equal(client_put(f->bq, "notes", "{}"), BQ_OK);
    client_close_handle(f);
    client_open_handle(f);
    bq_user(f->bq, user);
    assert_string_equal(user, USER_A);
    client_expect_document(f->bq, "notes", "{}");
    assert_true(client_next_of(f->bq, BQ_EVENT_TOKEN_NEEDED, &event));
    assert_int_equal(bq_flush(f->bq, 0), BQ_AUTH);
    assert_int_equal(bq_set_token(f->bq, f->token_a), BQ_OK);
    assert_int_equal(bq_flush(f->bq, PATIENCE_MS), BQ_OK);
}

static void guest_documents_come_in_as_seeds_and_sums_are_added(void **state)
{
    struct client_fixture *f = *state;
    struct bq_counts counts = {.size = sizeof counts};
    client_open_signed_in(f);
    assert_int_equal(client_put(f->bq, "game_stats", "{\"score\":70,\"incorrectAnswers\":4}"),
                     BQ_OK);
    assert_int_equal(client_put(f->bq, "settings", "{\"mute\":true}"), BQ_OK);
    assert_int_equal(bq_sign_out(f->bq, BQ_DRAIN, PATIENCE_MS, &counts), BQ_OK);
    assert_int_equal(counts.unsent, 0);
    assert_int_equal(client_put(f->bq, "game_stats", "{\"score\":50,\"incorrectAnswers\":3}"),
                     BQ_OK);
    assert_int_equal(client_put(f->bq, "settings", "{\"mute\":false,\"gameSpeed\":\"fast\"}"),
                     BQ_OK);
    assert_int_equal(client_put(f->bq, "removed", "{}"), BQ_OK);
    assert_int_equal(bq_remove(f->bq, "removed", 0), BQ_OK);
    assert_int_equal(bq_sign_in(f->bq, f->token_a, BQ_GUEST_MERGE, &counts), BQ_OK);
    assert_int_equal(counts.documents, 2);
    assert_int_equal(bq_flush(f->bq, PATIENCE_MS), BQ_OK);
    client_expect_document(f->bq, "game_stats", "{\"score\":70,\"incorrectAnswers\":7}");
    client_expect_document(f->bq, "settings", "{\"mute\":true,\"gameSpeed\":\"fast\"}");
    assert_int_equal(bq_sign_out(f->bq, BQ_PARK, 0, NULL), BQ_OK);
    client_expect_document(f->bq, "settings", NULL);
}

static void guest_documents_are_kept_or_removed_as_the_app_says(void **state)
{
    struct client_fixture *f = *state;
    struct bq_counts counts = {.size = sizeof counts};
    client_open_handle(f);
    assert_int_equal(client_put(f->bq, "notes", "{\"of\":\"guest\"}"), BQ_OK);
    assert_int_equal(bq_sign_in(f->bq, f->token_a, BQ_GUEST_KEEP, &counts), BQ_OK);
    assert_int_equal(counts.documents, 1);
    client_expect_document(f->bq, "notes", NULL);
    assert_int_equal(bq_sign_out(f->bq, BQ_PARK, 0, NULL), BQ_OK);
    client_expect_document(f->bq, "notes", "{\"of\":\"guest\"}");
    assert_int_equal(bq_sign_in(f->bq, f->token_a, BQ_GUEST_DISCARD, &counts), BQ_OK);
    assert_int_equal(counts.documents, 1);
    client_expect_document(f->bq, "notes", NULL);
    assert_int_equal(bq_sign_out(f->bq, BQ_PARK, 0, NULL), BQ_OK);
    client_expect_document(f->bq, "notes", NULL);
}

/* The user's documents and the guest's are together over a limit: nobody is signed in, nothing is
 * lost, and the app may choose otherwise. */
static void a_guest_that_does_not_fit_stays_a_guest(void **state)
{
    struct client_fixture *f = *state;
    char *large = malloc(200001);
    char user[37];
    assert_non_null(large);
    memset(large, 'x', 200000);
    memcpy(large, "{\"mine\":\"", 9);
    memcpy(large + 199998, "\"}", 3);
    client_open_signed_in(f);
    assert_int_equal(client_put(f->bq, "notes", large), BQ_OK);
    assert_int_equal(bq_sign_out(f->bq, BQ_PARK, 0, NULL), BQ_OK);
    memcpy(large, "{\"them\":\"", 9);
    assert_int_equal(client_put(f->bq, "notes", large), BQ_OK);
    assert_int_equal(client_put(f->bq, "a", "{}"), BQ_OK);
    assert_int_equal(bq_sign_in(f->bq, f->token_a, BQ_GUEST_MERGE, NULL), BQ_TOO_LARGE);
    bq_user(f->bq, user);
    assert_string_equal(user, "");
    client_expect_document(f->bq, "notes", large);
    client_expect_document(f->bq, "a", "{}");
    assert_int_equal(bq_sign_in(f->bq, f->token_a, BQ_GUEST_KEEP, NULL), BQ_OK);
    memcpy(large, "{\"mine\":\"", 9);
    client_expect_document(f->bq, "notes", large);
    client_expect_document(f->bq, "a", NULL);
    free(large);
}

static void draining_that_takes_too_long_leaves_the_user_signed_in(void **state)
{
    struct client_fixture *f = *state;
    char user[37];
    client_open_signed_in(f);
    assert_int_equal(client_put(f->bq, "notes", "{}"), BQ_OK);
    fake_server_always(f->server, FAKE_LOSE);
    assert_int_equal(bq_sign_out(f->bq, BQ_DRAIN, 30, NULL), BQ_TIMEOUT);
    bq_user(f->bq, user);
    assert_string_equal(user, USER_A);
    fake_server_always(f->server, FAKE_SERVE);
    assert_int_equal(bq_sign_out(f->bq, BQ_DRAIN, PATIENCE_MS, NULL), BQ_OK);
    bq_user(f->bq, user);
    assert_string_equal(user, "");
}

static void a_change_of_users_that_the_disk_refuses_changes_nothing(void **state)
{
    struct client_fixture *f = *state;
    char user[37];
    unsigned n_failed = 0;
    f->hooks.vfs = FAULT_VFS_NAME;
    client_open_handle(f);
    assert_int_equal(client_put(f->bq, "notes", "{\"of\":\"guest\"}"), BQ_OK);
    for (uint64_t n = 1; n < 60; n++) {
        fault_vfs_set(FAULT_VFS_FULL, n, FAULT_VFS_FOREVER);
        int status = bq_sign_in(f->bq, f->token_a, BQ_GUEST_MERGE, NULL);
        bool hit = fault_vfs_hits(FAULT_VFS_FULL) > 0;
        fault_vfs_set(FAULT_VFS_FULL, 0, 0);
        bq_user(f->bq, user);
        if (!hit || status == BQ_OK) {
            assert_int_equal(status, BQ_OK);
            break;
        }
        n_failed++;
        assert_int_equal(status, BQ_DISK_FULL);
        assert_string_equal(user, "");
        client_expect_document(f->bq, "notes", "{\"of\":\"guest\"}");
    }
    assert_true(n_failed > 0);
    assert_string_equal(user, USER_A);
    client_expect_document(f->bq, "notes", "{\"of\":\"guest\"}");
}

/* ---- The rest -------------------------------------------------------------------------------- */

static void device_info_is_an_object_of_4_kib(void **state)
{
    struct client_fixture *f = *state;
    char large[5000];
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    memcpy(large, "{\"a\":\"", 6);
    memcpy(large + sizeof large - 3, "\"}", 2);
    client_open_signed_in(f);
    assert_int_equal(bq_set_device_info(f->bq, "[]"), BQ_INVALID);
    assert_int_equal(bq_set_device_info(f->bq, "{"), BQ_JSON_SYNTAX);
    assert_int_equal(bq_set_device_info(f->bq, large), BQ_TOO_LARGE);
    assert_int_equal(bq_set_device_info(f->bq, "{ \"name\": \"phone\" }"), BQ_OK);
    assert_int_equal(bq_pull(f->bq, PATIENCE_MS), BQ_OK);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(bq_step(f->bq, 0), BQ_OK);
    }
    assert_non_null(strstr(fake_server_last_body(f->server), "{\"name\":\"phone\"}"));
}

static void stepping_by_hand_says_when_it_is_due(void **state)
{
    struct client_fixture *f = *state;
    client_open_handle(f);
    assert_int_equal(bq_next_step_ms(f->bq), -1);
    assert_int_equal(bq_sign_in(f->bq, f->token_a, BQ_GUEST_MERGE, NULL), BQ_OK);
    assert_int_equal(bq_next_step_ms(f->bq), 0);
    for (int i = 0; i < 20 && bq_next_step_ms(f->bq) <= 1000; i++) {
        assert_int_equal(bq_step(f->bq, 0), BQ_OK);
    }
    assert_true(bq_next_step_ms(f->bq) > 1000);
    assert_int_equal(bq_pause(f->bq), BQ_OK);
    assert_int_equal(bq_next_step_ms(f->bq), -1);
    struct bq_stats stats = {.size = sizeof stats};
    assert_int_equal(bq_stats(f->bq, &stats), BQ_OK);
    assert_int_equal(stats.paused, 1);
    assert_int_equal(stats.next_try_ms, -1);
}

static void the_token_is_nowhere_but_in_memory(void **state)
{
    struct client_fixture *f = *state;
    char name[64];
    client_open_signed_in(f);
    assert_int_equal(client_put(f->bq, "notes", "{}"), BQ_OK);
    assert_int_equal(bq_flush(f->bq, PATIENCE_MS), BQ_OK);
    assert_string_equal(fake_server_last_token(f->server), f->token_a);
    client_close_handle(f);
    /* The signature is in no file of the folder. */
    const char *signature = strrchr(f->token_a, '.') + 1;
    static const char *const names[] = {"app.bqsync", "app.bqsync-wal", "app.bqsync.lock"};
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(name, sizeof name, "%s", names[i]);
        char path[256];
        FILE *file = fopen(scratch_path(&f->scratch, name, path, sizeof path), "rb");
        if (file == NULL) {
            continue;
        }
        static char bytes[1 << 20];
        size_t n = fread(bytes, 1, sizeof bytes, file);
        assert_null(memmem(bytes, n, signature, strlen(signature)));
        fclose(file);
    }
}

static void keep_line(void *context, const char *line, size_t len)
{
    assert_true(len > 1 && line[len - 1] == '\n' && memchr(line, '\n', len - 1) == NULL);
    buf_add(context, line, len);
}

static bool logged(const struct buf *log, const char *text)
{
    return log->len > 0 && strstr(log->ptr, text) != NULL;
}

static void what_happens_is_logged_and_nothing_that_is_the_users(void **state)
{
    struct client_fixture *f = *state;
    struct buf log = BUF_INIT;
    struct arena arena;
    f->config.log_fn = keep_line;
    f->config.log_context = &log;
    client_open_signed_in(f);
    assert_int_equal(client_put(f->bq, "settings", "{\"secret\":\"canary\"}"), BQ_OK);
    assert_int_equal(bq_flush(f->bq, PATIENCE_MS), BQ_OK);
    client_close_handle(f);
    assert_true(logged(&log, "\"event\":\"opened\""));
    assert_true(logged(&log, "\"event\":\"request\",\"function\":\"sync_exchange\","
                             "\"status\":200"));
    assert_true(logged(&log, "\"event\":\"closed\""));
    assert_true(logged(&log, "\"pending\":0"));
    assert_false(logged(&log, "\"level\":\"debug\""));
    assert_false(logged(&log, "canary") || logged(&log, "settings") || logged(&log, f->token_a));
    /* Each line is an object by itself. */
    arena_init(&arena);
    for (char *line = log.ptr; *line != '\0';) {
        struct json_value value;
        size_t n = strcspn(line, "\n");
        assert_int_equal(json_parse(&arena, (struct slice){line, n}, 4, &value, NULL), BQ_OK);
        assert_true(json_is(json_get(&value, "event"), JSON_STRING));
        line += n + 1;
    }
    arena_release(&arena);
    /* Fewer lines, more lines, none. */
    buf_clear(&log);
    f->config.log_level = "warn";
    client_open_handle(f);
    client_close_handle(f);
    assert_false(logged(&log, "opened"));
    buf_clear(&log);
    f->config.log_level = "debug";
    client_open_handle(f);
    assert_int_equal(client_put(f->bq, "settings", "{}"), BQ_OK);
    client_close_handle(f);
    assert_true(logged(&log, "\"event\":\"state\""));
    f->config.log_level = "loud";
    assert_int_equal(client_open_status(f), BQ_INVALID);
    assert_non_null(strstr(f->error, "log_level"));
    f->config.log_level = NULL;
    buf_release(&log);
}

static void codes_have_words_classes_and_sentences(void **state)
{
    (void)state;
    assert_string_equal(bq_strerror(BQ_TOO_LARGE), "the document is over the size limit");
    assert_string_equal(bq_status_code(BQ_TOO_LARGE), "too_large");
    assert_int_equal(bq_error_class(BQ_TOO_LARGE), BQ_CLASS_VALIDATION);
    assert_int_equal(bq_error_class(BQ_DELETED), BQ_CLASS_CONFLICT);
    assert_int_equal(bq_error_class(12345), BQ_CLASS_UNKNOWN);
    assert_string_equal(bq_error_class_word(BQ_CLASS_AUTH), "auth");
    assert_string_equal(bq_retry_class(BQ_BUSY), "later");
    assert_string_equal(bq_retry_class(BQ_INVALID), "bug");
    assert_string_equal(bq_version(), "0.1.0");
    assert_string_equal(bq_state_word((enum bq_state)99), "unknown");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, client_setup, client_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_bad_configuration_is_refused_with_a_sentence),
        TEST(a_file_in_use_is_locked),
        TEST(a_shorter_configuration_of_an_older_app_is_taken),
        cmocka_unit_test(every_call_survives_null),
        TEST(arguments_outside_their_limits_are_invalid),
        TEST(bad_input_leaves_all_as_it_was),
        TEST(writes_are_read_back_and_survive_closing),
        TEST(a_full_disk_fails_the_write_and_nothing_else),
        TEST(a_failed_sync_fails_the_write_and_the_handle_goes_on),
        TEST(a_token_without_a_user_is_refused),
        TEST(a_second_user_has_to_wait_for_the_first_to_leave),
        TEST(who_is_signed_in_survives_closing),
        TEST(guest_documents_come_in_as_seeds_and_sums_are_added),
        TEST(guest_documents_are_kept_or_removed_as_the_app_says),
        TEST(a_guest_that_does_not_fit_stays_a_guest),
        TEST(draining_that_takes_too_long_leaves_the_user_signed_in),
        TEST(a_change_of_users_that_the_disk_refuses_changes_nothing),
        TEST(device_info_is_an_object_of_4_kib),
        TEST(stepping_by_hand_says_when_it_is_due),
        TEST(the_token_is_nowhere_but_in_memory),
        TEST(what_happens_is_logged_and_nothing_that_is_the_users),
        cmocka_unit_test(codes_have_words_classes_and_sentences),
    };
    fault_vfs_register();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
