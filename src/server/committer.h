/* committer.h - group commit: writes that wait share one transaction and one sync.
 *
 * HTTP threads submit jobs; one thread takes everything that waits (up to a batch), commits it, and
 * only then calls done() of each job (where the store takes several writers, one thread each, and a
 * user's jobs are always the same one's): an answer never leaves before the sync. Nothing waits on
 * purpose: while one batch syncs the next one gathers. Where a batch fails and one op may be at
 * fault its ops are run one by one, so a poisoned one does not take the others with it. After an
 * I/O error nothing is acknowledged until the store was closed, opened again and read. */
#ifndef SERVER_COMMITTER_H
#define SERVER_COMMITTER_H

#include "base/log.h"
#include "server/storage.h"

struct committer_job {
    struct op op;
    int status; /* BQ_OK: committed, and op.status tells of the op; else: nothing of it is known to
                   be kept */
    /* The committer's thread; job may be gone when this returns. */
    void (*done)(struct committer_job *job);
    struct committer_job *next;
};

struct committer_config {
    size_t size;             /* sizeof(struct committer_config) */
    struct storage *storage;
    size_t queue;            /* jobs that may wait for a thread */
    size_t batch;            /* ops in one commit */
    const struct log *log;
    /* Hears of each op that is committed, before its answer leaves, which must not wait for it; on
     * any of the threads. NULL: nobody does. */
    void (*published)(void *cls, const struct op *op);
    void *published_cls;
    /* Hears of each transaction that is committed, on the same threads. NULL: nobody does. */
    void (*committed)(void *cls, size_t n_ops, int64_t time_us);
};

struct committer_stats {
    uint64_t n_ops;
    uint64_t n_commits;  /* transactions that were committed */
    uint64_t n_singles;  /* ops run alone after their batch failed */
    uint64_t n_reopened;
    uint64_t n_waiting;  /* jobs in the queue now */
};

struct committer;

int committer_start(const struct committer_config *config, struct committer **out);

/* Runs what waits, answers it, and ends the thread; later jobs are answered BQ_CLOSED. */
void committer_stop(struct committer *committer);

/* Stops it where that was not done; nobody may submit any more. */
void committer_free(struct committer *committer);

/* Any thread. BQ_OK: done() will be called; BQ_BUSY: the queue is full; BQ_CLOSED. */
int committer_submit(struct committer *committer, struct committer_job *job);

/* Any thread. For who found the store unusable while reading: it is opened again without a write
 * coming. */
void committer_wake(struct committer *committer);

/* Any thread. */
struct committer_stats committer_stats(struct committer *committer);

#endif
