/* committer.c - a lane per writer of the store: a queue and a thread. A user's jobs go to one lane,
 * by a hash of the user; so they keep their order, and two lanes do not wait for one row. */
#include "server/committer.h"

#include "base/mem.h"
#include "base/status.h"
#include "core/commit.h"
#include "server/clock.h"

#include <pthread.h>
#include <stdatomic.h>

#define REOPEN_FIRST_US INT64_C(50000)
#define REOPEN_LONGEST_US INT64_C(5000000)

struct lane {
    struct committer *committer;
    unsigned number; /* the writer of the store that is its own */
    pthread_t thread;
    pthread_mutex_t lock; /* of the queue */
    pthread_cond_t work;
    struct committer_job *first;
    struct committer_job **last;
    size_t n_waiting;
    bool stopping;
    bool is_started;
    /* The thread's own. */
    struct committer_job **jobs;
    struct op **ops;
    int *statuses;
    bool was_usable; /* before the batch under way */
    int64_t reopen_at_us;
    int64_t reopen_pause_us;
};

struct committer {
    struct committer_config config;
    struct lane *lanes;
    unsigned n_lanes;
    _Atomic uint64_t n_ops;
    _Atomic uint64_t n_commits;
    _Atomic uint64_t n_singles;
    _Atomic uint64_t n_reopened;
};

static void log_store(struct committer *committer, enum log_level level, const char *event,
                      const char *sentence)
{
    struct log_line line;
    log_begin(&line, committer->config.log, level, clock_wall_us(), event);
    log_add_text(&line, "message", slice_of(sentence));
    log_end(&line);
}

/* Closes and opens the store; where that fails it is tried again after a pause. */
static void reopen(struct lane *lane)
{
    struct committer *committer = lane->committer;
    char error[256] = "";
    if (storage_reopen(committer->config.storage, error, sizeof error) == BQ_OK) {
        atomic_fetch_add(&committer->n_reopened, 1);
        lane->reopen_pause_us = 0;
        log_store(committer, LOG_LEVEL_WARN, "store_reopened", "the store was opened again");
        return;
    }
    int64_t pause = lane->reopen_pause_us * 2;
    pause = pause < REOPEN_FIRST_US ? REOPEN_FIRST_US : pause;
    lane->reopen_pause_us = pause > REOPEN_LONGEST_US ? REOPEN_LONGEST_US : pause;
    lane->reopen_at_us = clock_us() + lane->reopen_pause_us;
    log_store(committer, LOG_LEVEL_ERROR, "store_not_reopened", error);
    if (lane->number > 0) {
        committer_wake(committer); /* the first lane goes on trying; this one may have no work */
    }
}

static int write_ops(void *cls, struct op *const *ops, size_t n)
{
    const struct lane *lane = cls;
    struct committer *committer = lane->committer;
    int64_t start_us = clock_us();
    int status = storage_write(committer->config.storage, lane->number, ops, n, clock_wall_us());
    if (status == BQ_OK && committer->config.committed != NULL) {
        committer->config.committed(committer->config.published_cls, n, clock_us() - start_us);
    }
    if (status == BQ_OK) {
        atomic_fetch_add(&committer->n_commits, 1);
        atomic_fetch_add(&committer->n_ops, n);
    }
    return status;
}

static bool is_usable(void *cls)
{
    const struct lane *lane = cls;
    return storage_usable(lane->committer->config.storage);
}

static void batch_failed(void *cls, int status, size_t n_singles)
{
    const struct lane *lane = cls;
    atomic_fetch_add(&lane->committer->n_singles, n_singles);
    if (lane->was_usable) {
        log_store(lane->committer, LOG_LEVEL_ERROR, "commit_failed", status_text(status));
    }
}

static void answer(void *cls, size_t i, int status)
{
    const struct lane *lane = cls;
    const struct committer_config *config = &lane->committer->config;
    struct committer_job *job = lane->jobs[i];
    job->status = status;
    if (status == BQ_OK && config->published != NULL) {
        config->published(config->published_cls, &job->op);
    }
    job->done(job);
}

static void run_batch(struct lane *lane, size_t n)
{
    const struct commit_world world = {.size = sizeof world,
                                       .cls = lane,
                                       .write = write_ops,
                                       .usable = is_usable,
                                       .failed = batch_failed,
                                       .answer = answer};
    for (size_t i = 0; i < n; i++) {
        lane->ops[i] = &lane->jobs[i]->op;
    }
    lane->was_usable = is_usable(lane);
    commit_run(&world, lane->ops, lane->statuses, n);
    if (!is_usable(lane)) {
        reopen(lane);
    }
}

/* Waits for work, for the time to reopen (which is the first lane's to see to where there is no
 * work anywhere), or for the end; answers how many jobs were taken. */
static size_t take(struct lane *lane, bool *out_stop)
{
    size_t n = 0;
    pthread_mutex_lock(&lane->lock);
    while (lane->first == NULL && !lane->stopping) {
        if (lane->number > 0 || is_usable(lane)) {
            pthread_cond_wait(&lane->work, &lane->lock);
            continue;
        }
        struct timespec until = {lane->reopen_at_us / 1000000,
                                 lane->reopen_at_us % 1000000 * 1000};
        if (pthread_cond_timedwait(&lane->work, &lane->lock, &until) != 0) {
            break;
        }
    }
    size_t taken = commit_take(lane->n_waiting, lane->committer->config.batch);
    while (n < taken && lane->first != NULL) {
        lane->jobs[n++] = lane->first;
        lane->first = lane->first->next;
    }
    if (lane->first == NULL) {
        lane->last = &lane->first;
    }
    lane->n_waiting -= n;
    *out_stop = n == 0 && lane->stopping;
    pthread_mutex_unlock(&lane->lock);
    return n;
}

static void *run(void *cls)
{
    struct lane *lane = cls;
    bool stop = false;
    while (!stop) {
        size_t n = take(lane, &stop);
        if (!is_usable(lane) && !stop && clock_us() >= lane->reopen_at_us) {
            reopen(lane);
        }
        if (n > 0) {
            run_batch(lane, n);
        }
    }
    return NULL;
}

/* ---- Start and end --------------------------------------------------------------------------- */

static void init_condition(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

static int start_lane(struct committer *committer, struct lane *lane, unsigned number)
{
    size_t batch = committer->config.batch;
    lane->committer = committer;
    lane->number = number;
    lane->last = &lane->first;
    pthread_mutex_init(&lane->lock, NULL);
    init_condition(&lane->work);
    lane->jobs = mem_zalloc(batch, sizeof(struct committer_job *));
    lane->ops = mem_zalloc(batch, sizeof(struct op *));
    lane->statuses = mem_zalloc(batch, sizeof *lane->statuses);
    lane->is_started = lane->jobs != NULL && lane->ops != NULL && lane->statuses != NULL &&
                       pthread_create(&lane->thread, NULL, run, lane) == 0;
    return lane->is_started ? BQ_OK : BQ_NOMEM;
}

static void release_lane(struct lane *lane)
{
    pthread_mutex_destroy(&lane->lock);
    pthread_cond_destroy(&lane->work);
    mem_free(lane->jobs);
    mem_free(lane->ops);
    mem_free(lane->statuses);
}

static void stop_lane(struct lane *lane)
{
    pthread_mutex_lock(&lane->lock);
    bool was_stopping = lane->stopping;
    lane->stopping = true;
    pthread_cond_signal(&lane->work);
    pthread_mutex_unlock(&lane->lock);
    if (!was_stopping && lane->is_started) {
        pthread_join(lane->thread, NULL);
    }
}

int committer_start(const struct committer_config *config, struct committer **out)
{
    struct committer *committer = mem_zalloc(1, sizeof *committer);
    if (committer == NULL) {
        return BQ_NOMEM;
    }
    unsigned n = storage_writers(config->storage);
    int status = BQ_OK;
    committer->config = *config;
    committer->lanes = mem_zalloc(n, sizeof *committer->lanes);
    if (committer->lanes == NULL) {
        mem_free(committer);
        return BQ_NOMEM;
    }
    for (unsigned i = 0; status == BQ_OK && i < n; i++) {
        status = start_lane(committer, &committer->lanes[i], i);
        committer->n_lanes++;
    }
    if (status != BQ_OK) {
        committer_free(committer);
        return status;
    }
    *out = committer;
    return BQ_OK;
}

void committer_stop(struct committer *committer)
{
    for (unsigned i = 0; i < committer->n_lanes; i++) {
        stop_lane(&committer->lanes[i]);
    }
}

void committer_free(struct committer *committer)
{
    if (committer == NULL) {
        return;
    }
    committer_stop(committer);
    for (unsigned i = 0; i < committer->n_lanes; i++) {
        release_lane(&committer->lanes[i]);
    }
    mem_free(committer->lanes);
    mem_free(committer);
}

/* ---- Other threads --------------------------------------------------------------------------- */

/* Ops of no user, and those that concern more than one, share the first lane. */
static struct lane *lane_of(struct committer *committer, const struct op *op)
{
    uint32_t hash = 2166136261u; /* FNV-1a: ids are random enough */
    if (op->kind == OP_ACCOUNT || op->kind == OP_POLICY_SET) {
        return &committer->lanes[0];
    }
    for (unsigned i = 0; i < UUID_TEXT; i++) {
        hash = (hash ^ (unsigned char)op->user.text[i]) * 16777619u;
    }
    return &committer->lanes[hash % committer->n_lanes];
}

int committer_submit(struct committer *committer, struct committer_job *job)
{
    struct lane *lane = lane_of(committer, &job->op);
    int status = BQ_OK;
    job->next = NULL;
    pthread_mutex_lock(&lane->lock);
    if (lane->stopping) {
        status = BQ_CLOSED;
    } else if (lane->n_waiting >= committer->config.queue) {
        status = BQ_BUSY;
    } else {
        *lane->last = job;
        lane->last = &job->next;
        lane->n_waiting++;
        if (lane->n_waiting == 1) {
            pthread_cond_signal(&lane->work);
        }
    }
    pthread_mutex_unlock(&lane->lock);
    return status;
}

void committer_wake(struct committer *committer)
{
    struct lane *lane = &committer->lanes[0];
    pthread_mutex_lock(&lane->lock);
    pthread_cond_signal(&lane->work);
    pthread_mutex_unlock(&lane->lock);
}

struct committer_stats committer_stats(struct committer *committer)
{
    uint64_t n_waiting = 0;
    for (unsigned i = 0; i < committer->n_lanes; i++) {
        struct lane *lane = &committer->lanes[i];
        pthread_mutex_lock(&lane->lock);
        n_waiting += lane->n_waiting;
        pthread_mutex_unlock(&lane->lock);
    }
    return (struct committer_stats){
        atomic_load(&committer->n_ops), atomic_load(&committer->n_commits),
        atomic_load(&committer->n_singles), atomic_load(&committer->n_reopened), n_waiting};
}
