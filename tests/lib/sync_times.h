/* sync_times.h - what libsync_times.so (tests/shim/sync_times.c) notes of a program's syncs: a file
 * in memory that both map, named by BQ_SYNC_TIMES. */
#ifndef TESTS_SYNC_TIMES_H
#define TESTS_SYNC_TIMES_H

#include <stdatomic.h>
#include <stdint.h>

#define SYNC_TIMES 65536u

struct sync_time {
    uint32_t us;       /* of the sync alone */
    uint32_t whole_us; /* since the first write into that file after its last sync */
    uint32_t is_wal;   /* a commit; else a checkpoint, or what else is written to the database */
};

struct sync_times {
    _Atomic uint32_t n; /* more than SYNC_TIMES: the others were not noted */
    struct sync_time items[SYNC_TIMES];
};

#endif
