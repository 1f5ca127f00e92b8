/* metrics.h - what a server counts, and its text in the format of Prometheus.
 *
 * Counters only rise and are added to from any thread; none of them names a user or a key. */
#ifndef SERVER_METRICS_H
#define SERVER_METRICS_H

#include "core/op.h"
#include "server/committer.h"
#include "server/realtime.h"

#include <stdatomic.h>

#define METRICS_OUTCOMES 7u   /* enum proto_result_status */
#define METRICS_ACTIONS 4u    /* enum proto_action, and a failure */
#define METRICS_CODES 64u     /* -status */
#define METRICS_HTTP 6u       /* first digit of the status */
#define METRICS_BATCHES 10u   /* 1, 4, 16 ... and beyond */
#define METRICS_TIMES 12u

struct metrics {
    _Atomic uint64_t edits[METRICS_OUTCOMES];
    _Atomic uint64_t upserts[METRICS_ACTIONS];
    _Atomic uint64_t refused[METRICS_CODES]; /* edits, by code */
    _Atomic uint64_t requests[METRICS_HTTP];
    _Atomic uint64_t denied[5]; /* 401, 403, 413, 429, 503 */
    _Atomic uint64_t batches[METRICS_BATCHES];
    _Atomic uint64_t batch_ops;
    _Atomic uint64_t times[METRICS_TIMES];
    _Atomic uint64_t time_us;
};

/* An op that was committed. */
void metrics_op(struct metrics *metrics, const struct op *op);

/* A transaction that was committed: its ops, and how long it took with its sync. */
void metrics_commit(struct metrics *metrics, size_t n_ops, int64_t time_us);

/* An answer that went out. */
void metrics_request(struct metrics *metrics, unsigned http);

/* What is read at the moment of printing. */
struct metrics_now {
    struct committer_stats committer;
    struct realtime_stats realtime;
    bool usable;        /* the store takes writes */
    int64_t memory_bytes; /* resident; -1 unknown */
    int64_t started_us;   /* wall clock */
};

void metrics_print(struct buf *out, struct metrics *metrics, const struct metrics_now *now);

#endif
