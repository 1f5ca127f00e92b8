/* test_engine_sim.c - random histories of devices and a server: everything drains, all devices are
 * equal, counters are exact. BQ_SEED and BQ_CASES repeat or enlarge a run; BQ_TRACE=1 shows it. */
#include "planted.h"
#include "sim_world.h"

#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static uint64_t number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

static void run(const char *name, struct sim_faults faults, struct sim_world *counts)
{
    uint64_t first = number("BQ_SEED", 1);
    uint64_t n = number("BQ_CASES", 300);
    printf("%s: seeds %" PRIu64 " to %" PRIu64 "\n", name, first, first + n - 1);
    for (uint64_t seed = first; seed < first + n; seed++) {
        faults.n_devices = 2 + (unsigned)(seed % 4);
        sim_run(seed, &faults, counts, getenv("BQ_TRACE") != NULL);
    }
    printf("%s: drops %u, duplicates %u, crashes %u, merged %u, dead letters %u, client restores %u"
           " (rewound %u), store restores %u\n",
           name, counts->n_drops, counts->n_duplicates, counts->n_crashes, counts->n_conflicts,
           counts->n_dead, counts->n_client_restores, counts->n_rewound, counts->n_store_restores);
}

static void a_lossless_network_leaves_all_devices_equal(void **state)
{
    struct sim_world counts = {0};
    (void)state;
    run("lossless", (struct sim_faults){.n_events = 300}, &counts);
    assert_true(counts.n_conflicts > 0);
}

static void loss_duplicates_and_crashes_count_nothing_twice(void **state)
{
    struct sim_world counts = {0};
    (void)state;
    run("lossy",
        (struct sim_faults){.drop_percent = 25,
                            .duplicate_percent = 15,
                            .crash_percent = 50,
                            .offline_percent = 50,
                            .n_events = 400},
        &counts);
    assert_true(counts.n_drops > 0 && counts.n_duplicates > 0 && counts.n_crashes > 0);
}

static void a_restored_client_file_never_counts_twice(void **state)
{
    struct sim_world counts = {0};
    (void)state;
    run("client restores",
        (struct sim_faults){.drop_percent = 15,
                            .duplicate_percent = 10,
                            .crash_percent = 30,
                            .offline_percent = 30,
                            .client_restore_percent = 30,
                            .n_events = 400},
        &counts);
    assert_true(counts.n_client_restores > 0 && counts.n_rewound > 0);
}

static void a_restored_store_gets_back_what_clients_know(void **state)
{
    struct sim_world counts = {0};
    (void)state;
    run("store restores",
        (struct sim_faults){.drop_percent = 15,
                            .duplicate_percent = 10,
                            .crash_percent = 30,
                            .offline_percent = 30,
                            .store_restore_percent = 60,
                            .n_events = 400},
        &counts);
    assert_true(counts.n_store_restores > 0);
}

/* The checker itself: an edit that it was told of and that is nowhere has to end the run. */
static void a_lost_edit_is_noticed(void **state)
{
    int status;
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct sim_world counts = {0};
        struct sim_faults faults = {.n_devices = 2, .n_events = 100, .lies = true};
        fclose(stderr);
        sim_run(1, &faults, &counts, false);
        _exit(0);
    }
    assert_true(waitpid(child, &status, 0) == child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lossless_network_leaves_all_devices_equal),
        cmocka_unit_test(loss_duplicates_and_crashes_count_nothing_twice),
        cmocka_unit_test(a_restored_client_file_never_counts_twice),
        cmocka_unit_test(a_restored_store_gets_back_what_clients_know),
        cmocka_unit_test(a_lost_edit_is_noticed),
    };
    planted_begin();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
