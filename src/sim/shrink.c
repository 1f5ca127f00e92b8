/* shrink.c - from a configuration that fails to a smaller one that fails. Nothing of it is clever:
 * leave a fault out, or devices, or users, or edits, and see whether it still breaks, under the
 * same seed or the few after it. */
#include "sim/sim.h"

#include "base/status.h"

#define SEEDS_TRIED 4u

struct shrinker {
    struct sim_config *best;
    enum sim_verdict verdict;
    unsigned left;
};

/* Whether a configuration breaks under one of a few seeds; then it is the new best. */
static bool breaks(struct shrinker *shrinker, struct sim_config config)
{
    uint64_t first = config.seed;
    for (unsigned i = 0; i < SEEDS_TRIED && shrinker->left > 0; i++) {
        struct sim_result result;
        shrinker->left--;
        config.seed = first + i;
        if (sim_run(&config, &result) == BQ_OK && result.verdict == shrinker->verdict) {
            *shrinker->best = config;
            return true;
        }
    }
    return false;
}

static bool fewer_faults(struct shrinker *shrinker)
{
    bool any = false;
    for (int f = 0; f < SIM_FAULT_N; f++) {
        struct sim_config config = *shrinker->best;
        uint64_t bit = sim_fault_bit((enum sim_fault)f);
        if ((config.faults & bit) != 0) {
            config.faults &= ~bit;
            any |= breaks(shrinker, config);
        }
    }
    return any;
}

/* Halves a number, then takes one off, as long as it breaks. */
static bool fewer(struct shrinker *shrinker, size_t offset)
{
    bool any = false;
    for (;;) {
        struct sim_config config = *shrinker->best;
        unsigned *number = (unsigned *)(void *)((char *)&config + offset);
        unsigned before = *number;
        *number = before / 2;
        if (before > 1 && breaks(shrinker, config)) {
            any = true;
            continue;
        }
        *number = before - 1;
        if (before > 2 && breaks(shrinker, config)) {
            any = true;
            continue;
        }
        return any;
    }
}

void sim_shrink(struct sim_config *inout, unsigned tries)
{
    struct sim_config best = *inout;
    struct shrinker shrinker = {&best, SIM_GOOD, tries};
    struct sim_result result;
    best.trace = NULL;
    if (sim_run(&best, &result) != BQ_OK || result.verdict == SIM_GOOD) {
        return;
    }
    shrinker.verdict = result.verdict;
    /* What the seed said is said now. */
    best.devices = result.devices;
    best.users = result.users;
    best.edits = result.edits;
    bool more = true;
    while (more && shrinker.left > 0) {
        more = fewer(&shrinker, offsetof(struct sim_config, edits));
        more |= fewer(&shrinker, offsetof(struct sim_config, devices));
        more |= fewer(&shrinker, offsetof(struct sim_config, users));
        more |= fewer_faults(&shrinker);
    }
    best.trace = inout->trace;
    *inout = best;
}

void sim_command_print(struct buf *out, const struct sim_config *config)
{
    buf_add_format(out, "bqsync simulate --seeds 1 --from %llu", (unsigned long long)config->seed);
    if (config->devices != 0) {
        buf_add_format(out, " --devices %u", config->devices);
    }
    if (config->users != 0) {
        buf_add_format(out, " --users %u", config->users);
    }
    if (config->edits != 0) {
        buf_add_format(out, " --edits %u", config->edits);
    }
    if (config->faults != SIM_FAULTS_ALL) {
        buf_add_text(out, " --faults ");
        sim_faults_print(out, config->faults);
    }
}
