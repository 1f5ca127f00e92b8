/* test_client_faults.c - libbqsync on a disk that fails: the n-th call of SQLite's VFS, of every
 * kind, once and from then on, while the file is opened, while it is written, and while it is
 * opened after a crash.
 *
 * What was answered with BQ_OK is there afterwards, what was not is there wholly or not at all, and
 * on a sound disk the next call gets through. */
#include "client_fixture.h"
#include "fault_vfs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define N_MAX 2000u

enum moment { AT_OPENING, AT_WRITING, AT_RECOVERY };

static int64_t held(struct bq *bq)
{
    int64_t number = -1;
    struct bq_document document = {.size = sizeof document};
    if (bq_get(bq, "k", &document) == BQ_OK) {
        (void)sscanf(document.json, "{\"n\":%ld}", &number);
        bq_document_release(&document);
    }
    return number;
}

/* A file with n = 1. */
static void prepare(struct client_fixture *f, enum moment moment)
{
    client_open_handle(f);
    assert_int_equal(client_put(f->bq, "k", "{\"n\":1}"), BQ_OK);
    if (moment == AT_RECOVERY) {
        client_crash_handle(f);
    } else {
        client_close_handle(f);
    }
}

/* One site; false where the run was over before it. */
static bool run_site(enum moment moment, enum fault_vfs_kind kind, uint64_t n, uint64_t repeat)
{
    void *state;
    (void)client_setup(&state);
    struct client_fixture *f = state;
    prepare(f, moment);
    f->hooks.vfs = FAULT_VFS_NAME;
    if (moment == AT_WRITING) {
        client_open_handle(f);
    }
    fault_vfs_set(kind, n, repeat);
    int status = moment == AT_WRITING ? BQ_OK : client_open_status(f);
    bool opened = status == BQ_OK;
    if (opened) {
        status = client_put(f->bq, "k", "{\"n\":2}");
    } else {
        assert_true(f->error[0] != '\0');
    }
    uint64_t hits = fault_vfs_hits(kind);
    fault_vfs_set(kind, 0, 0);
    /* Of the sync of a write alone nothing may be believed; a checkpoint's is behind the commit. */
    if (kind == FAULT_VFS_SYNC && moment == AT_WRITING && hits > 0) {
        assert_int_not_equal(status, BQ_OK);
    }
    assert_true(status == BQ_OK || hits > 0);
    if (!opened) {
        client_open_handle(f);
    }
    int64_t number = held(f->bq);
    bool whole = number == 2 || (number == 1 && status != BQ_OK);
    if (!whole) {
        fail_msg("%s, call %llu: %s, and the file holds %lld", fault_vfs_word(kind),
                 (unsigned long long)n, bq_status_code(status), (long long)number);
    }
    assert_int_equal(client_put(f->bq, "k", "{\"n\":3}"), BQ_OK);
    client_close_handle(f);
    f->hooks.vfs = NULL;
    client_open_handle(f);
    assert_int_equal(held(f->bq), 3);
    (void)client_teardown(&state);
    return hits > 0;
}

static void walk(enum moment moment, const char *word)
{
    for (int kind = 0; kind < FAULT_VFS_N; kind++) {
        uint64_t n_sites = 0;
        for (int forever = 0; forever < 2; forever++) {
            uint64_t n = 1;
            while (run_site(moment, (enum fault_vfs_kind)kind, n,
                            forever != 0 ? FAULT_VFS_FOREVER : 1)) {
                n++;
                n_sites++;
                assert_true(n < N_MAX);
            }
        }
        printf("sites %s VFS %s: %llu\n", word, fault_vfs_word((enum fault_vfs_kind)kind),
               (unsigned long long)n_sites);
        assert_true(n_sites > 0 || kind > FAULT_VFS_OPEN || moment == AT_WRITING);
    }
}

static void a_failing_call_while_the_file_is_opened(void **state)
{
    (void)state;
    walk(AT_OPENING, "client");
}

static void a_failing_call_while_an_edit_is_saved(void **state)
{
    (void)state;
    walk(AT_WRITING, "client");
}

static void a_failing_call_while_the_file_is_recovered(void **state)
{
    (void)state;
    walk(AT_RECOVERY, "client-recovery");
}

/* The suite `faults` found a handle that refused every edit for good, because one open() had met
 * EMFILE. */
static void a_file_that_opens_to_read_alone_is_refused_and_opens_later(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 2; n++) {
        void *fixture;
        (void)client_setup(&fixture);
        struct client_fixture *f = fixture;
        prepare(f, AT_RECOVERY); /* with a WAL to open */
        f->hooks.vfs = FAULT_VFS_NAME;
        fault_vfs_set(FAULT_VFS_READ_ONLY, n, 1);
        int status = client_open_status(f);
        assert_int_equal(fault_vfs_hits(FAULT_VFS_READ_ONLY), 1);
        fault_vfs_set(FAULT_VFS_READ_ONLY, 0, 0);
        assert_int_not_equal(status, BQ_OK);
        assert_non_null(strstr(f->error, "at the moment"));
        client_open_handle(f);
        assert_int_equal(client_put(f->bq, "k", "{\"n\":2}"), BQ_OK);
        (void)client_teardown(&fixture);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failing_call_while_the_file_is_opened),
        cmocka_unit_test(a_failing_call_while_an_edit_is_saved),
        cmocka_unit_test(a_failing_call_while_the_file_is_recovered),
        cmocka_unit_test(a_file_that_opens_to_read_alone_is_refused_and_opens_later),
    };
    if (getenv("TMPDIR") == NULL && access("/dev/shm", W_OK) == 0) {
        (void)setenv("TMPDIR", "/dev/shm", 1);
    }
    fault_vfs_register();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
