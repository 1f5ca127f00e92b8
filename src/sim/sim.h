/* sim.h - a fleet of devices and two server nodes in one thread, from one seed, in virtual time.
 *
 * What runs is the real thing: client engines (core/engine.h) over a client file in memory, the
 * server's apply_batch() and committer (core/commit.h) and hub over the memory store. What is made
 * up is the world between and around them: links, clocks, crashes, disks, tokens, apps.
 *
 * A seed decides everything: how many devices and users, what apps write, which faults happen how
 * often (docs/reliability.md, "sim"). First come edits and faults; then the faults end and
 * everything has to drain. Checkers look after each event and at the end. The same seed gives the
 * same hash of all events. */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include "sim/fault.h"

#include <stddef.h>

#define SIM_DEVICES 8u
#define SIM_USERS 3u

/* X(name, word): how a run can go wrong. */
#define SIM_VERDICT_MAP(X)                                                                         \
    X(GOOD, "good")                                                                                \
    X(LOST, "acked lost")                                                                          \
    X(DOUBLED, "doubled")                                                                          \
    X(INVENTED, "invented")                                                                        \
    X(DIVERGED, "diverged")                                                                        \
    X(WENT_BACK, "went back")                                                                      \
    X(STUCK, "not drained")                                                                        \
    X(LEAKED, "leaked")                                                                            \
    X(FALSE_ALARM, "false alarms") /* a device is told of an error without cause */                \
    X(BROKEN, "broken")            /* a call that cannot fail failed */

enum sim_verdict {
#define X(name, word) SIM_##name,
    SIM_VERDICT_MAP(X)
#undef X
        SIM_VERDICT_N
};

const char *sim_verdict_word(enum sim_verdict verdict);

/* For the test of the tests: the world does one thing that must not be, and the checker of that
 * name has to see it. */
enum sim_lie {
    SIM_LIE_NONE,
    SIM_LIE_FORGET, /* a commit is answered and rolled back: acked lost */
    SIM_LIE_TWICE,  /* a commit is run twice, the second time without receipts: doubled */
    SIM_LIE_INVENT, /* a token that nobody wrote stands in a document: invented */
    SIM_LIE_SPLIT,  /* the last rows of the feed never reach one device: diverged */
    SIM_LIE_BACK,   /* an older store comes back under the old epoch: went back */
    SIM_LIE_DEAF,   /* one device never reaches a server again: not drained */
    SIM_LIE_MIX_UP, /* an answer goes to another user's device: leaked */
    SIM_LIE_ALARM,  /* 401 for a good token: false alarms */
    SIM_LIE_N
};

#define SIM_TRACE_LINES 200u
#define SIM_TRACE_TEXT 1000u

/* The last lines of what happened, oldest first from `first`. With line set each goes there too. */
struct sim_trace {
    char lines[SIM_TRACE_LINES][SIM_TRACE_TEXT];
    unsigned first;
    unsigned n;
    void (*line)(void *cls, const char *text);
    void *cls;
};

struct sim_config {
    size_t size; /* sizeof(struct sim_config) */
    uint64_t seed;
    unsigned devices; /* 1 to SIM_DEVICES; 0: the seed says */
    unsigned users;   /* 1 to SIM_USERS; 0: the seed says */
    unsigned edits;   /* that the apps make; 0: the seed says */
    uint64_t faults;  /* which may happen; how often says the seed */
    enum sim_lie lie;
    struct sim_trace *trace; /* NULL: none; it costs time */
};

struct sim_result {
    uint64_t hash; /* of the event log */
    uint64_t n_events;
    uint64_t faults[SIM_FAULT_N];
    uint64_t n_merged;
    uint64_t n_commits;
    int64_t drained_ms; /* virtual time from the end of the faults until all was quiet */
    unsigned devices, users, edits; /* as they were */
    enum sim_verdict verdict;
    int64_t broke_at_ms;
    char what[256]; /* a sentence about a verdict that is not SIM_GOOD */
};

/* Runs one seed. The answer is in *out; only memory can fail it: BQ_OK, BQ_NOMEM. */
int sim_run(const struct sim_config *config, struct sim_result *out);

/* Looks for a smaller failing configuration than one that failed: fewer faults, devices, users and
 * edits, with at most `tries` runs. *inout is the smallest that still breaks something. */
void sim_shrink(struct sim_config *inout, unsigned tries);

/* The command line that repeats a configuration. */
void sim_command_print(struct buf *out, const struct sim_config *config);

#endif
