/* sim_world.h - devices and a server in one thread, from one seed, in virtual time.
 *
 * Real engines over sim_disk, the real server core (apply_batch) over the memory store, and between
 * them a network that delays, drops, duplicates and reorders. Everything random comes from the
 * seed. */
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include "core/engine.h"
#include "core/op.h"
#include "sim_disk.h"

#define SIM_DEVICES 8
#define SIM_MESSAGES 256

struct sim_faults {
    unsigned drop_percent; /* of messages, each way */
    unsigned duplicate_percent;
    unsigned crash_percent; /* of events */
    unsigned offline_percent;
    unsigned client_restore_percent;
    unsigned store_restore_percent;
    unsigned n_devices;
    unsigned n_events;
    bool lies; /* the checker is told of an edit that nobody made */
};

struct sim_device {
    struct sim_disk disk;
    struct sim_disk backup;
    bool has_backup;
    struct engine *engine;
    uint64_t life; /* raised by each start: answers to an older life are lost */
    bool online;
    int64_t backup_at_increments;
};

struct sim_message {
    bool is_answer;
    unsigned device;
    uint64_t life;
    uint64_t request;
    char function[24];
    int http_status;
    struct slice body; /* owned */
};

struct sim_world {
    uint64_t seed;
    struct rng rng;
    int64_t now_ms;
    struct sim_faults faults;
    struct sim_device devices[SIM_DEVICES];
    struct engine_actions actions;
    struct store *store;
    struct store *backup;
    struct op_context server;
    struct arena policy_arena;
    struct uuid user;
    struct sim_message messages[SIM_MESSAGES];
    unsigned n_messages;
    int64_t increments; /* made by the apps in all */
    unsigned n_store_restores;
    unsigned n_client_restores;
    unsigned n_crashes, n_drops, n_duplicates, n_conflicts, n_rewound, n_dead;
    bool quiet; /* no more faults, no more edits */
    bool trace;
};

/* Runs one whole history: events with faults, then quiet until drained. Aborts with the seed and
 * what was broken: a device that differs, a counter that is off, a queue that does not drain. */
void sim_run(uint64_t seed, const struct sim_faults *faults, struct sim_world *out_counts,
             bool trace);

#endif
