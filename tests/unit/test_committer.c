/* test_committer.c - several lanes: a store that one of them lost comes back for all. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <cmocka.h>

#include "base/arena.h"
#include "base/status.h"
#include "core/op.h"
#include "server/committer.h"
#include "store/memory.h"

#define WAIT_S 20 /* far beyond the first pauses between two tries */

/* A store of two writers. The commits of the second one fail, and so does the next opening. */
struct world {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int n_opened; /* tries */
    int n_done;
};

static struct world world = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0};

static void raise_by_one(int *number)
{
    pthread_mutex_lock(&world.lock);
    ++*number;
    pthread_cond_broadcast(&world.changed);
    pthread_mutex_unlock(&world.lock);
}

static bool wait_until(const int *number, int wanted)
{
    struct timespec until;
    int failed = 0;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;
    pthread_mutex_lock(&world.lock);
    while (*number < wanted && failed == 0) {
        failed = pthread_cond_timedwait(&world.changed, &world.lock, &until);
    }
    pthread_mutex_unlock(&world.lock);
    return failed == 0;
}

static int second_writer(struct store *store, struct store **out)
{
    (void)store;
    int status = store_memory_open("e1", 1, 2, 4, out);
    if (status == BQ_OK) {
        store_memory_fail_commit(*out, BQ_IO, false);
    }
    return status;
}

static int open_two(void *cls, struct store **out, char *error, size_t error_size)
{
    (void)cls;
    bool fails = world.n_opened == 1;
    int status = fails ? BQ_IO : store_memory_open("e1", 1, 2, 4, out);
    if (status == BQ_OK) {
        (*out)->writer = second_writer;
    } else {
        (void)snprintf(error, error_size, "not yet");
    }
    raise_by_one(&world.n_opened);
    return status;
}

static void done(struct committer_job *job)
{
    (void)job;
    raise_by_one(&world.n_done);
}

/* The first lane has nothing to do, and the one that lost the store sleeps after its only try: the
 * server would be unready until somebody asks it, whom a balancer no longer sends. */
static void a_store_that_another_lane_lost_is_opened_without_a_request(void **state)
{
    (void)state;
    const struct storage_config config = {.size = sizeof config,
                                          .open = open_two,
                                          .n_readers = 1,
                                          .n_writers = 2,
                                          .limits = LIMITS_DEFAULT};
    struct storage *storage;
    struct committer *committer;
    char error[100] = "";
    assert_int_equal(storage_open(&config, &storage, error, sizeof error), BQ_OK);
    assert_int_equal(storage_writers(storage), 2);
    const struct committer_config lanes = {
        .size = sizeof lanes, .storage = storage, .queue = 8, .batch = 8};
    assert_int_equal(committer_start(&lanes, &committer), BQ_OK);
    struct arena arena;
    struct committer_job job = {.status = BQ_OK};
    int n = 0;
    arena_init(&arena);
    while (job.status == BQ_OK && n < 64) { /* until one is the second lane's */
        struct uuid user = {""};
        (void)snprintf(user.text, sizeof user.text, "00000000-0000-4000-8000-%012d", n++);
        job = (struct committer_job){.op = {.kind = OP_DELETE_ALL, .user = user, .arena = &arena},
                                     .done = done};
        assert_int_equal(committer_submit(committer, &job), BQ_OK);
        assert_true(wait_until(&world.n_done, n));
    }
    assert_int_equal(job.status, BQ_IO);
    assert_true(wait_until(&world.n_opened, 3)); /* at the start, in vain, and then */
    committer_free(committer);
    assert_true(storage_usable(storage));
    storage_close(storage);
    arena_release(&arena);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_store_that_another_lane_lost_is_opened_without_a_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
