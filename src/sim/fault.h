/* fault.h - everything that the simulator may let happen, in one list: what breaks, and the odder
 * things that apps do. Each is counted; a run in which one fired too seldom proves nothing about it
 * and fails.
 *
 * X(name, word, share, text): share is out of how many seeds one fires at least once, about; the
 * least that a run must count is derived from it. */
#ifndef SIM_FAULT_H
#define SIM_FAULT_H

#include "base/buf.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

#define SIM_FAULT_MAP(X)                                                                           \
    /* The network. */                                                                             \
    X(DROP, "drop", 3, "a message is lost")                                                        \
    X(DUPLICATE, "duplicate", 3, "a message arrives twice")                                        \
    X(DELAY, "delay", 3, "a message takes up to 40 seconds")                                       \
    X(REORDER, "reorder", 3, "a message overtakes an older one")                                   \
    X(CUT, "cut", 3, "a connection ends in the middle of a message")                               \
    X(OFFLINE, "offline", 3, "a device has no network, and may or may not know it")                \
    X(ONE_WAY, "one_way", 3, "requests arrive and answers do not")                                 \
    X(ONE_NODE, "one_node", 3, "a device reaches one node alone")                                  \
    X(HALF_OPEN, "half_open", 3, "a realtime link is dead and both sides think that it lives")     \
    X(LOST_NOTE, "lost_note", 3, "a node does not hear of the other one's commit")                 \
    X(BUSY, "busy", 3, "429, with Retry-After or without")                                         \
    X(UNAVAILABLE, "unavailable", 3, "503, with Retry-After or without")                           \
    X(EXPIRE, "expire", 3, "a token expires: 401")                                                 \
    /* Devices. */                                                                                 \
    X(CRASH, "crash", 3, "an app ends between two steps")                                          \
    X(UNSAVED, "unsaved", 3, "an app ends before a step is on disk")                               \
    X(UNSENT, "unsent", 3, "an app ends after a step is on disk and before its request leaves")    \
    X(RESTORE, "restore", 4, "a client file is an older copy of itself")                           \
    X(CLONE, "clone", 4, "a client file is copied and both copies run")                            \
    X(CLOCK, "clock", 3, "a device's clock jumps")                                                 \
    X(GUEST, "guest", 4, "a guest signs in")                                                       \
    /* The server. */                                                                              \
    X(NODE_CRASH, "node_crash", 3, "a node ends before a commit")                                  \
    X(NODE_INSIDE, "node_inside", 3, "a node ends inside a commit")                                \
    X(NODE_AFTER, "node_after", 3, "a node ends after a commit and before its answers")            \
    X(COMMIT_FAIL, "commit_fail", 3, "a commit fails and nothing is kept")                         \
    X(COMMIT_UNKNOWN, "commit_unknown", 3, "a commit is kept and answers an error")                \
    X(STORE_RESTORE, "store_restore", 4, "the store comes back from an older backup")              \
    X(FAILOVER, "failover", 4, "a copy of the store takes over that lags")                         \
    X(BRANCH, "branch", 8, "an abandoned store comes back")                                        \
    X(SILENT, "silent", 40, "an older store comes back, and nobody says so")                       \
    X(SERVER_CLOCK, "server_clock", 3, "a node's clock jumps")                                     \
    X(POLICY, "policy", 3, "an operator changes a policy")                                         \
    /* What apps do. */                                                                            \
    X(REFUSAL, "refusal", 4, "an edit is refused for good")                                        \
    X(DELETE, "delete", 3, "a document is deleted")                                                \
    X(RECREATE, "recreate", 6, "a deleted document is written again")                              \
    X(SEED, "seed", 3, "an app gives its defaults")                                                \
    X(RESET, "reset", 3, "an epoch field rises")                                                   \
    X(V2, "v2", 4, "an app of V2 sends whole documents")                                           \
    X(V1, "v1", 4, "an app of v1 sends whole rows")

enum sim_fault {
#define X(name, word, share, text) SIM_##name,
    SIM_FAULT_MAP(X)
#undef X
        SIM_FAULT_N
};

#define SIM_FAULTS_ALL ((UINT64_C(1) << SIM_FAULT_N) - 1)

static inline uint64_t sim_fault_bit(enum sim_fault fault)
{
    return UINT64_C(1) << fault;
}

const char *sim_fault_word(enum sim_fault fault);
const char *sim_fault_text(enum sim_fault fault);

/* How often a fault has to fire in a run of that many seeds; 0 where they are too few to tell. */
uint64_t sim_fault_least(enum sim_fault fault, uint64_t n_seeds);

/* "drop,crash", "all", "none". False, with the word that is none in *out_unknown. */
bool sim_faults_parse(struct slice text, uint64_t *out, struct slice *out_unknown);

/* The reverse. */
void sim_faults_print(struct buf *out, uint64_t faults);

#endif
