/* test_store_faults.c - the SQLite store on a disk that fails, and under kill -9: what was answered
 * is there, nothing is half there, a failed sync is never believed again.
 *
 * Each loop fails the n-th call for every n until a run passes without meeting the fault, and
 * counts how often the fault fired: a loop that never met one is red. */
#include "fault_vfs.h"
#include "store_file.h"

#include "base/rng.h"
#include "base/status.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define BATCHES 4
#define PADDING 3000 /* a document of one page and more */

/* What a run on a failing disk came to. */
struct run {
    int64_t acknowledged; /* last batch that was answered with BQ_OK */
    int64_t tried;
    int status;    /* of the one that was not */
    bool poisoned; /* begin() refused afterwards */
};

/* Writes batches until one fails; then tries once more on the same handle. */
static struct run write_until_failure(struct store *store, int64_t from, int64_t to)
{
    struct run run = {.acknowledged = from - 1, .status = BQ_OK};
    for (int64_t i = from; i <= to && run.status == BQ_OK; i++) {
        run.tried = i;
        run.status = store_file_write_batch(store, i, PADDING);
        if (run.status == BQ_OK) {
            run.acknowledged = i;
        }
    }
    if (run.status != BQ_OK) {
        int again = store->begin(store);
        run.poisoned = again != BQ_OK;
        store->rollback(store);
    }
    return run;
}

/* A sound store with batch 1, closed. */
static void make_store(struct store_file *file)
{
    store_file_init(file);
    struct store *store = store_file_open(file);
    assert_int_equal(store_file_write_batch(store, 1, PADDING), BQ_OK);
    store->close(store);
}

/* After a failure the file opens on a sound disk and holds what was acknowledged, or one batch more
 * whose outcome was unknown; and it takes new batches. */
static void assert_recovers(struct store_file *file, const struct run *run)
{
    struct store *store = store_file_open(file);
    int64_t last = store_file_last_batch(store);
    assert_in_range(last, run->acknowledged,
                    run->acknowledged < run->tried ? run->acknowledged + 1 : run->acknowledged);
    assert_int_equal(store_file_write_batch(store, 1000, PADDING), BQ_OK);
    store->close(store);
    store = store_file_open(file);
    assert_int_equal(store_file_last_batch(store), 1000);
    store->close(store);
}

/* One run with a fault at the n-th call; false where the run was over before it. */
static bool run_with_fault(enum fault_vfs_kind kind, uint64_t n, uint64_t repeat, int want)
{
    struct store_file file;
    struct store *store = NULL;
    struct run run = {.acknowledged = 1, .tried = 1};
    make_store(&file);
    fault_vfs_set(kind, n, repeat);
    run.status = store_file_try(&file, FAULT_VFS_NAME, &store);
    if (run.status == BQ_OK) {
        run = write_until_failure(store, 2, BATCHES);
        store->close(store);
    } else {
        assert_non_null(strstr(file.error, file.path));
    }
    bool fired = fault_vfs_hits(kind) > 0;
    fault_vfs_set(kind, 0, 0);
    assert_true(kind != FAULT_VFS_SYNC || run.tried == 1 || run.status == BQ_OK || run.poisoned);
    if (run.status != BQ_OK && run.status != want && (want != BQ_IO || run.status != BQ_BUSY)) {
        fail_msg("call %u: status %d (%s)", (unsigned)n, run.status, file.error);
    }
    assert_true(run.status == BQ_OK || fired);
    assert_recovers(&file, &run);
    store_file_release(&file);
    return fired;
}

static void walk(enum fault_vfs_kind kind, uint64_t repeat, int want)
{
    uint64_t n = 1;
    while (run_with_fault(kind, n, repeat, want)) {
        n++;
        assert_true(n < 1000);
    }
    print_message("sites server VFS %s: %llu\n", fault_vfs_word(kind), (unsigned long long)(n - 1));
    assert_true(n > 1);
}

static void a_full_disk_once_or_for_good_loses_nothing(void **state)
{
    (void)state;
    walk(FAULT_VFS_FULL, 1, BQ_DISK_FULL);
    walk(FAULT_VFS_FULL, FAULT_VFS_FOREVER, BQ_DISK_FULL);
}

static void a_failing_write_once_or_for_good_loses_nothing(void **state)
{
    (void)state;
    walk(FAULT_VFS_WRITE, 1, BQ_IO);
    walk(FAULT_VFS_WRITE, FAULT_VFS_FOREVER, BQ_IO);
}

static void a_failing_sync_once_or_for_good_loses_nothing(void **state)
{
    (void)state;
    walk(FAULT_VFS_SYNC, 1, BQ_IO);
    walk(FAULT_VFS_SYNC, FAULT_VFS_FOREVER, BQ_IO);
}

static void a_failing_read_loses_nothing(void **state)
{
    (void)state;
    walk(FAULT_VFS_READ, FAULT_VFS_FOREVER, BQ_IO);
}

static void any_other_call_that_fails_loses_nothing(void **state)
{
    static const enum fault_vfs_kind kinds[] = {
        FAULT_VFS_OPEN, FAULT_VFS_TRUNCATE, FAULT_VFS_SIZE,   FAULT_VFS_LOCK,
        FAULT_VFS_MAP,  FAULT_VFS_SHM_LOCK, FAULT_VFS_ACCESS, FAULT_VFS_DELETE};
    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        walk(kinds[i], 1, BQ_IO);
        walk(kinds[i], FAULT_VFS_FOREVER, BQ_IO);
    }
}

/* The suite `faults` found a store that would have refused every write until the server was started
 * again, because one open() had met EMFILE. */
static void a_file_that_opens_to_read_alone_is_refused_and_opens_later(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 3; n++) {
        struct store_file file;
        struct store *store = NULL;
        make_store(&file);
        fault_vfs_set(FAULT_VFS_READ_ONLY, n, 1);
        int status = store_file_try(&file, FAULT_VFS_NAME, &store);
        bool fired = fault_vfs_hits(FAULT_VFS_READ_ONLY) > 0;
        fault_vfs_set(FAULT_VFS_READ_ONLY, 0, 0);
        assert_true(fired || n > 1);
        if (status != BQ_OK) {
            assert_true(fired);
            assert_non_null(strstr(file.error, file.path));
            assert_int_equal(store_file_try(&file, FAULT_VFS_NAME, &store), BQ_OK);
        } else {
            assert_true(n > 1); /* without a WAL there is but one file to open */
        }
        assert_int_equal(store_file_write_batch(store, 2, PADDING), BQ_OK);
        store->close(store);
        store_file_release(&file);
    }
}

/* Space again: the same handle goes on. */
static void after_a_full_disk_the_same_handle_goes_on(void **state)
{
    (void)state;
    struct store_file file;
    struct store *store = NULL;
    make_store(&file);
    assert_int_equal(store_file_try(&file, FAULT_VFS_NAME, &store), BQ_OK);
    fault_vfs_set(FAULT_VFS_FULL, 1, FAULT_VFS_FOREVER);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(store_file_write_batch(store, 2, PADDING), BQ_DISK_FULL);
        assert_int_equal(store_file_last_batch(store), 1); /* and it still reads */
    }
    fault_vfs_set(FAULT_VFS_FULL, 0, 0);
    assert_int_equal(store_file_write_batch(store, 2, PADDING), BQ_OK);
    assert_int_equal(store_file_last_batch(store), 2);
    store->close(store);
    store = store_file_open(&file);
    assert_int_equal(store_file_last_batch(store), 2);
    store->close(store);
    store_file_release(&file);
}

/* fsync fails once and is fine afterwards: the kernel may have dropped the pages. */
static void a_failed_sync_poisons_the_handle_until_it_is_opened_again(void **state)
{
    (void)state;
    struct store_file file;
    struct store *store = NULL;
    struct store *reader = NULL;
    make_store(&file);
    assert_int_equal(store_file_try(&file, FAULT_VFS_NAME, &store), BQ_OK);
    assert_int_equal(store_file_write_batch(store, 2, PADDING), BQ_OK);
    assert_int_equal(store->reader(store, &reader), BQ_OK);
    fault_vfs_set(FAULT_VFS_SYNC, 1, 1);
    assert_int_equal(store_file_write_batch(store, 3, PADDING), BQ_IO);
    assert_int_equal(fault_vfs_hits(FAULT_VFS_SYNC), 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(store->begin(store), BQ_IO);
    }
    assert_int_equal(store_file_last_batch(reader), 2); /* readers go on */
    reader->close(reader);
    uint64_t n_syncs = fault_vfs_calls(FAULT_VFS_SYNC);
    store->close(store);
    assert_int_equal(fault_vfs_calls(FAULT_VFS_SYNC), n_syncs); /* closing proves nothing either */
    /* Opening writes what the WAL holds into the database file and syncs that. */
    fault_vfs_set(FAULT_VFS_SYNC, 0, 0);
    assert_int_equal(store_file_try(&file, FAULT_VFS_NAME, &store), BQ_OK);
    assert_true(fault_vfs_calls(FAULT_VFS_SYNC) > 0);
    assert_int_equal(store_file_size(&file, "-wal"), 0);
    assert_in_range(store_file_last_batch(store), 2, 3);
    assert_int_equal(store_file_write_batch(store, 4, PADDING), BQ_OK);
    store->close(store);
    store_file_release(&file);
}

/* The sync of the database file fails inside a checkpoint. The commit before it was answered and
 * stays; the WAL must not be given up. */
static void a_failed_sync_of_a_checkpoint_poisons_too(void **state)
{
    (void)state;
    struct store_file file;
    struct store *store = NULL;
    int64_t last = 1;
    unsigned n_poisoned_after_ok = 0;
    for (uint64_t from_end = 1; from_end <= 3; from_end++) {
        make_store(&file);
        assert_int_equal(store_file_try(&file, FAULT_VFS_NAME, &store), BQ_OK);
        int status = BQ_OK;
        bool refused = false;
        for (last = 1; status == BQ_OK && !refused;) {
            /* A commit syncs once; a checkpoint adds syncs of its own behind it. */
            fault_vfs_set(FAULT_VFS_SYNC, 1 + from_end, 1);
            status = store_file_write_batch(store, last + 1, 256u << 10);
            last += status == BQ_OK ? 1 : 0;
            refused = status == BQ_OK && store->begin(store) != BQ_OK;
            store->rollback(store);
            if (last > 40) {
                break; /* a checkpoint has no more syncs than that */
            }
        }
        fault_vfs_set(FAULT_VFS_SYNC, 0, 0);
        n_poisoned_after_ok += refused ? 1 : 0;
        assert_true(status == BQ_OK || status == BQ_IO);
        store->close(store);
        assert_true(!refused || store_file_size(&file, "-wal") > 0);
        store = store_file_open(&file);
        assert_in_range(store_file_last_batch(store), last, last + 1);
        store->close(store);
        store_file_release(&file);
    }
    assert_true(n_poisoned_after_ok > 0);
}

/* A store whose making is cut short opens as an empty one. */
static void a_failing_disk_while_the_file_is_made(void **state)
{
    (void)state;
    static const enum fault_vfs_kind kinds[] = {FAULT_VFS_FULL, FAULT_VFS_WRITE, FAULT_VFS_SYNC,
                                                FAULT_VFS_OPEN};
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        bool fired = true;
        for (uint64_t n = 1; fired; n++) {
            struct store_file file;
            struct store *store = NULL;
            store_file_init(&file);
            fault_vfs_set(kinds[k], n, 1);
            int status = store_file_try(&file, FAULT_VFS_NAME, &store);
            if (status == BQ_OK) {
                store->close(store);
            } else {
                assert_true(status == BQ_IO || status == BQ_DISK_FULL);
                assert_non_null(strstr(file.error, file.path));
            }
            fired = fault_vfs_hits(kinds[k]) > 0;
            fault_vfs_set(kinds[k], 0, 0);
            store = store_file_open(&file);
            assert_int_equal(store_file_last_batch(store), 0);
            assert_int_equal(store_file_write_batch(store, 1, 0), BQ_OK);
            store->close(store);
            store_file_release(&file);
            assert_true(fired || n > 1);
        }
    }
}

/* kill -9. */

/* Writes batches for ever; tells each acknowledged number through the pipe. */
static void write_until_killed(struct store_file *file, int64_t from, int pipe_end)
{
    struct store *store;
    if (store_file_try(file, NULL, &store) != BQ_OK) {
        _exit(2);
    }
    for (int64_t i = from;; i++) {
        if (store_file_write_batch(store, i, PADDING) != BQ_OK ||
            write(pipe_end, &i, sizeof i) != (ssize_t)sizeof i) {
            _exit(3);
        }
    }
}

/* The next number that the child tells; 0 when it is dead and all was read. */
static int64_t next_told(int pipe_end)
{
    int64_t number;
    ssize_t n;
    do {
        n = read(pipe_end, &number, sizeof number);
    } while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof number ? number : 0;
}

static void what_was_acknowledged_survives_kill_9(void **state)
{
    (void)state;
    const char *given = getenv("BQ_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : 1;
    int rounds = getenv("BQ_LONG") != NULL ? 200 : 15;
    struct store_file file;
    struct rng rng;
    int64_t last = 0;
    print_message("BQ_SEED=%llu\n", (unsigned long long)seed);
    rng_init(&rng, seed);
    store_file_init(&file);
    for (int round = 0; round < rounds; round++) {
        int ends[2];
        int64_t told = last;
        int64_t number;
        uint64_t until = rng_below(&rng, 30);
        assert_int_equal(pipe(ends), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            close(ends[0]);
            write_until_killed(&file, last + 1, ends[1]);
        }
        close(ends[1]);
        for (uint64_t i = 0; i <= until && (number = next_told(ends[0])) != 0; i++) {
            told = number;
        }
        assert_int_equal(kill(child, SIGKILL), 0);
        int result;
        assert_int_equal(waitpid(child, &result, 0), child);
        assert_true(WIFSIGNALED(result) && WTERMSIG(result) == SIGKILL);
        while ((number = next_told(ends[0])) != 0) {
            told = number;
        }
        close(ends[0]);
        struct store *store = store_file_open(&file);
        last = store_file_last_batch(store);
        assert_in_range(last, told, told + 1);
        store->close(store);
    }
    assert_true(last > rounds);
    store_file_release(&file);
}

int main(void)
{
    static const struct CMUnitTest cases[] = {
        cmocka_unit_test(a_full_disk_once_or_for_good_loses_nothing),
        cmocka_unit_test(a_failing_write_once_or_for_good_loses_nothing),
        cmocka_unit_test(a_failing_sync_once_or_for_good_loses_nothing),
        cmocka_unit_test(a_failing_read_loses_nothing),
        cmocka_unit_test(any_other_call_that_fails_loses_nothing),
        cmocka_unit_test(a_file_that_opens_to_read_alone_is_refused_and_opens_later),
        cmocka_unit_test(after_a_full_disk_the_same_handle_goes_on),
        cmocka_unit_test(a_failed_sync_poisons_the_handle_until_it_is_opened_again),
        cmocka_unit_test(a_failed_sync_of_a_checkpoint_poisons_too),
        cmocka_unit_test(a_failing_disk_while_the_file_is_made),
        cmocka_unit_test(what_was_acknowledged_survives_kill_9),
    };
    fault_vfs_register();
    return cmocka_run_group_tests_name("store_faults", cases, NULL, NULL);
}
