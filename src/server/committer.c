/* committer.c - one queue, one thread. */
#include "server/committer.h"

#include "base/mem.h"
#include "base/status.h"
#include "core/commit.h"
#include "server/clock.h"

#include <pthread.h>
#include <stdatomic.h>

#define REOPEN_FIRST_US INT64_C(50000)
#define REOPEN_LONGEST_US INT64_C(5000000)

struct committer {
    struct committer_config config;
    pthread_t thread;
    pthread_mutex_t lock; /* of the queue */
    pthread_cond_t work;
    struct committer_job *first;
    struct committer_job **last;
    size_t n_waiting;
    bool stopping;
    /* The thread's own. */
    struct committer_job **jobs;
    struct op **ops;
    int *statuses;
    bool was_usable; /* before the batch under way */
    int64_t reopen_at_us;
    int64_t reopen_pause_us;
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

/* Closes and opens the store. */
static void reopen(struct committer *committer)
{
    char error[256] = "";
    if (storage_reopen(committer->config.storage, error, sizeof error) == BQ_OK) {
        atomic_fetch_add(&committer->n_reopened, 1);
        committer->reopen_pause_us = 0;
        log_store(committer, LOG_LEVEL_WARN, "store_reopened", "the store was opened again");
        return;
    }
    int64_t pause = committer->reopen_pause_us * 2;
    pause = pause < REOPEN_FIRST_US ? REOPEN_FIRST_US : pause;
    committer->reopen_pause_us = pause > REOPEN_LONGEST_US ? REOPEN_LONGEST_US : pause;
    committer->reopen_at_us = clock_us() + committer->reopen_pause_us;
    log_store(committer, LOG_LEVEL_ERROR, "store_not_reopened", error);
}

static int write_ops(void *cls, struct op *const *ops, size_t n)
{
    struct committer *committer = cls;
    int status = storage_write(committer->config.storage, ops, n, clock_wall_us());
    if (status == BQ_OK) {
        atomic_fetch_add(&committer->n_commits, 1);
        atomic_fetch_add(&committer->n_ops, n);
    }
    return status;
}

static bool is_usable(void *cls)
{
    struct committer *committer = cls;
    return storage_usable(committer->config.storage);
}

static void batch_failed(void *cls, int status, size_t n_singles)
{
    struct committer *committer = cls;
    atomic_fetch_add(&committer->n_singles, n_singles);
    if (committer->was_usable) {
        log_store(committer, LOG_LEVEL_ERROR, "commit_failed", status_text(status));
    }
}

static void answer(void *cls, size_t i, int status)
{
    struct committer *committer = cls;
    struct committer_job *job = committer->jobs[i];
    job->status = status;
    if (status == BQ_OK && committer->config.published != NULL) {
        committer->config.published(committer->config.published_cls, &job->op);
    }
    job->done(job);
}

static void run_batch(struct committer *committer, size_t n)
{
    const struct commit_world world = {.size = sizeof world,
                                       .cls = committer,
                                       .write = write_ops,
                                       .usable = is_usable,
                                       .failed = batch_failed,
                                       .answer = answer};
    for (size_t i = 0; i < n; i++) {
        committer->ops[i] = &committer->jobs[i]->op;
    }
    committer->was_usable = is_usable(committer);
    commit_run(&world, committer->ops, committer->statuses, n);
    if (!is_usable(committer)) {
        reopen(committer);
    }
}

/* Waits for work, for the time to reopen, or for the end; answers how many jobs were taken. */
static size_t take(struct committer *committer, bool *out_stop)
{
    size_t n = 0;
    pthread_mutex_lock(&committer->lock);
    while (committer->first == NULL && !committer->stopping) {
        if (storage_usable(committer->config.storage)) {
            pthread_cond_wait(&committer->work, &committer->lock);
            continue;
        }
        struct timespec until = {committer->reopen_at_us / 1000000,
                                 committer->reopen_at_us % 1000000 * 1000};
        if (pthread_cond_timedwait(&committer->work, &committer->lock, &until) != 0) {
            break;
        }
    }
    size_t taken = commit_take(committer->n_waiting, committer->config.batch);
    while (n < taken) {
        committer->jobs[n++] = committer->first;
        committer->first = committer->first->next;
    }
    if (committer->first == NULL) {
        committer->last = &committer->first;
    }
    committer->n_waiting -= n;
    *out_stop = n == 0 && committer->stopping;
    pthread_mutex_unlock(&committer->lock);
    return n;
}

static void *run(void *cls)
{
    struct committer *committer = cls;
    bool stop = false;
    while (!stop) {
        size_t n = take(committer, &stop);
        if (!storage_usable(committer->config.storage) && !stop &&
            clock_us() >= committer->reopen_at_us) {
            reopen(committer);
        }
        if (n > 0) {
            run_batch(committer, n);
        }
    }
    return NULL;
}

static void init_condition(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

static void release(struct committer *committer)
{
    pthread_mutex_destroy(&committer->lock);
    pthread_cond_destroy(&committer->work);
    mem_free(committer->jobs);
    mem_free(committer->ops);
    mem_free(committer->statuses);
    mem_free(committer);
}

int committer_start(const struct committer_config *config, struct committer **out)
{
    struct committer *committer = mem_zalloc(1, sizeof *committer);
    if (committer == NULL) {
        return BQ_NOMEM;
    }
    committer->config = *config;
    committer->last = &committer->first;
    pthread_mutex_init(&committer->lock, NULL);
    init_condition(&committer->work);
    committer->jobs = mem_zalloc(config->batch, sizeof(struct committer_job *));
    committer->ops = mem_zalloc(config->batch, sizeof(struct op *));
    committer->statuses = mem_zalloc(config->batch, sizeof *committer->statuses);
    if (committer->jobs == NULL || committer->ops == NULL || committer->statuses == NULL ||
        pthread_create(&committer->thread, NULL, run, committer) != 0) {
        release(committer);
        return BQ_NOMEM;
    }
    *out = committer;
    return BQ_OK;
}

void committer_stop(struct committer *committer)
{
    pthread_mutex_lock(&committer->lock);
    bool was_stopping = committer->stopping;
    committer->stopping = true;
    pthread_cond_signal(&committer->work);
    pthread_mutex_unlock(&committer->lock);
    if (!was_stopping) {
        pthread_join(committer->thread, NULL);
    }
}

void committer_free(struct committer *committer)
{
    if (committer != NULL) {
        committer_stop(committer);
        release(committer);
    }
}

int committer_submit(struct committer *committer, struct committer_job *job)
{
    int status = BQ_OK;
    job->next = NULL;
    pthread_mutex_lock(&committer->lock);
    if (committer->stopping) {
        status = BQ_CLOSED;
    } else if (committer->n_waiting >= committer->config.queue) {
        status = BQ_BUSY;
    } else {
        *committer->last = job;
        committer->last = &job->next;
        committer->n_waiting++;
        if (committer->n_waiting == 1) {
            pthread_cond_signal(&committer->work);
        }
    }
    pthread_mutex_unlock(&committer->lock);
    return status;
}

void committer_wake(struct committer *committer)
{
    pthread_mutex_lock(&committer->lock);
    pthread_cond_signal(&committer->work);
    pthread_mutex_unlock(&committer->lock);
}

struct committer_stats committer_stats(struct committer *committer)
{
    pthread_mutex_lock(&committer->lock);
    size_t n_waiting = committer->n_waiting;
    pthread_mutex_unlock(&committer->lock);
    return (struct committer_stats){
        atomic_load(&committer->n_ops), atomic_load(&committer->n_commits),
        atomic_load(&committer->n_singles), atomic_load(&committer->n_reopened), n_waiting};
}
