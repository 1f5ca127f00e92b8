/* test_simulate.c - the simulator under the sanitizers: some hundred seeds of each kind of trouble,
 * a seed that repeats itself, and the proof that each of its checkers can fail. The large runs are
 * tests/suites/sim.sh. BQ_SEED and BQ_CASES repeat or enlarge a run. */
#include "sim/sim.h"

#include "base/status.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define N_CASES 100

static uint64_t number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

static uint64_t mask(const char *words)
{
    uint64_t faults = 0;
    struct slice unknown;
    assert_true(sim_faults_parse(slice_of(words), &faults, &unknown));
    return faults;
}

/* All seeds hold, and each of these faults fired; of all at once the large runs tell. */
static void hold(const char *words)
{
    uint64_t first = number("BQ_SEED", 1);
    uint64_t n = number("BQ_CASES", N_CASES);
    uint64_t fired[SIM_FAULT_N] = {0};
    struct sim_config config = {.size = sizeof config, .faults = mask(words)};
    printf("seeds %" PRIu64 " to %" PRIu64 ": %s\n", first, first + n - 1, words);
    for (uint64_t seed = first; seed < first + n; seed++) {
        struct sim_result result;
        config.seed = seed;
        assert_int_equal(sim_run(&config, &result), BQ_OK);
        if (result.verdict != SIM_GOOD) {
            fail_msg("seed %" PRIu64 " of %s: %s: %s", seed, words,
                     sim_verdict_word(result.verdict), result.what);
        }
        for (int f = 0; f < SIM_FAULT_N; f++) {
            fired[f] += result.faults[f];
        }
    }
    for (int f = 0; f < SIM_FAULT_N && n >= N_CASES && config.faults != SIM_FAULTS_ALL; f++) {
        bool wanted = (config.faults & sim_fault_bit((enum sim_fault)f)) != 0;
        if (wanted && fired[f] == 0) {
            fail_msg("%s never fired", sim_fault_word((enum sim_fault)f));
        }
    }
}

static void without_faults_nothing_is_lost_or_doubled(void **state)
{
    (void)state;
    hold("none");
}

static void a_bad_network_changes_nothing(void **state)
{
    (void)state;
    hold("drop,duplicate,delay,reorder,cut,offline,one_way,one_node,half_open,lost_note,busy,"
         "unavailable,expire");
}

static void devices_that_crash_and_clocks_that_jump_change_nothing(void **state)
{
    (void)state;
    hold("drop,duplicate,crash,unsaved,unsent,clock,guest,server_clock");
}

static void copied_client_files_never_count_twice(void **state)
{
    (void)state;
    hold("drop,duplicate,delay,crash,restore,clone");
}

static void nodes_that_crash_and_commits_that_fail_lose_nothing(void **state)
{
    (void)state;
    hold("drop,duplicate,node_crash,node_inside,node_after,commit_fail,commit_unknown");
}

static void a_store_that_comes_back_older_gets_back_what_clients_know(void **state)
{
    (void)state;
    hold("drop,duplicate,delay,crash,clone,restore,store_restore,failover,branch,policy");
}

static void a_store_that_comes_back_older_without_a_word_is_found_out(void **state)
{
    (void)state;
    hold("drop,duplicate,delay,crash,silent");
}

static void odd_apps_and_old_apps_live_together(void **state)
{
    (void)state;
    hold("drop,duplicate,delay,refusal,delete,recreate,seed,reset,v2,v1,policy");
}

static void everything_at_once(void **state)
{
    (void)state;
    hold("all");
}

static void a_seed_repeats_itself(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct sim_config config = {.size = sizeof config, .seed = seed, .faults = SIM_FAULTS_ALL};
        struct sim_result first, second;
        struct sim_trace *trace = calloc(1, sizeof *trace);
        assert_int_equal(sim_run(&config, &first), BQ_OK);
        config.trace = trace; /* and being watched changes nothing */
        assert_int_equal(sim_run(&config, &second), BQ_OK);
        config.trace = NULL;
        free(trace);
        assert_true(first.hash == second.hash && first.n_events == second.n_events);
        config.seed += 1000;
        assert_int_equal(sim_run(&config, &second), BQ_OK);
        assert_true(first.hash != second.hash);
    }
}

/* ---- It bites -------------------------------------------------------------------------------- */

static const struct {
    enum sim_lie lie;
    enum sim_verdict verdict;
    const char *faults;
} lies[] = {
    {SIM_LIE_FORGET, SIM_LOST, "none"},        {SIM_LIE_TWICE, SIM_DOUBLED, "none"},
    {SIM_LIE_INVENT, SIM_INVENTED, "none"},    {SIM_LIE_SPLIT, SIM_DIVERGED, "none"},
    {SIM_LIE_BACK, SIM_WENT_BACK, "failover"}, {SIM_LIE_DEAF, SIM_STUCK, "none"},
    {SIM_LIE_MIX_UP, SIM_LEAKED, "none"},      {SIM_LIE_ALARM, SIM_FALSE_ALARM, "none"},
};

/* Another checker may be the first to see it, in some seeds. */
static void each_lie_is_found_by_its_checker(void **state)
{
    (void)state;
    assert_int_equal(sizeof lies / sizeof lies[0], SIM_LIE_N - 1);
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        unsigned found = 0;
        for (uint64_t seed = 1; seed <= 20; seed++) {
            struct sim_config config = {.size = sizeof config,
                                        .seed = seed,
                                        .devices = 4,
                                        .users = 2,
                                        .edits = 60,
                                        .faults = mask(lies[i].faults),
                                        .lie = lies[i].lie};
            struct sim_result result;
            assert_int_equal(sim_run(&config, &result), BQ_OK);
            found += result.verdict == lies[i].verdict ? 1 : 0;
        }
        printf("%s: found in %u of 20 seeds\n", sim_verdict_word(lies[i].verdict), found);
        assert_true(found >= 3);
    }
}

static void a_failing_seed_shrinks_to_a_smaller_one_that_fails_the_same_way(void **state)
{
    struct sim_config config = {
        .size = sizeof config, .seed = 3, .faults = SIM_FAULTS_ALL, .lie = SIM_LIE_DEAF};
    struct sim_config small = config;
    struct sim_result before, after;
    struct buf text = BUF_INIT;
    (void)state;
    assert_int_equal(sim_run(&config, &before), BQ_OK);
    assert_int_equal(before.verdict, SIM_STUCK);
    sim_shrink(&small, 300);
    assert_int_equal(sim_run(&small, &after), BQ_OK);
    assert_int_equal(after.verdict, SIM_STUCK);
    assert_true(small.edits < before.edits && small.devices <= before.devices);
    assert_true(after.n_events < before.n_events);
    assert_int_equal(small.faults, 0);
    sim_command_print(&text, &small);
    assert_non_null(strstr(text.ptr, "bqsync simulate --seeds 1 --from "));
    assert_non_null(strstr(text.ptr, " --faults none"));
    buf_release(&text);
}

static void a_list_of_faults_is_read_as_it_is_printed(void **state)
{
    struct buf text = BUF_INIT;
    struct slice unknown;
    uint64_t faults = 7;
    (void)state;
    sim_faults_print(&text, mask("crash,drop"));
    assert_string_equal(text.ptr, "drop,crash");
    assert_false(sim_faults_parse(SLICE("drop,thunder"), &faults, &unknown));
    assert_true(slice_is(unknown, "thunder"));
    assert_int_equal(faults, 7);
    assert_true(mask("all") == SIM_FAULTS_ALL && mask("none") == 0);
    buf_release(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_faults_nothing_is_lost_or_doubled),
        cmocka_unit_test(a_bad_network_changes_nothing),
        cmocka_unit_test(devices_that_crash_and_clocks_that_jump_change_nothing),
        cmocka_unit_test(copied_client_files_never_count_twice),
        cmocka_unit_test(nodes_that_crash_and_commits_that_fail_lose_nothing),
        cmocka_unit_test(a_store_that_comes_back_older_gets_back_what_clients_know),
        cmocka_unit_test(a_store_that_comes_back_older_without_a_word_is_found_out),
        cmocka_unit_test(odd_apps_and_old_apps_live_together),
        cmocka_unit_test(everything_at_once),
        cmocka_unit_test(a_seed_repeats_itself),
        cmocka_unit_test(each_lie_is_found_by_its_checker),
        cmocka_unit_test(a_failing_seed_shrinks_to_a_smaller_one_that_fails_the_same_way),
        cmocka_unit_test(a_list_of_faults_is_read_as_it_is_printed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
