/* interleave.c - see interleave.h.
 *
 * The baton is a semaphore each: the schedule posts a participant's `go` and waits for `back`. All
 * of them stay on one processor: to wake another one costs more than what is done in between. */
#include "interleave.h"

#include "base/rng.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>

struct participant {
    struct interleave *interleave;
    unsigned who;
    pthread_t thread;
    sem_t go;
    bool done;
    bool (*may_run)(void *cls); /* of its next step */
    void *cls;
};

struct interleave {
    struct participant participants[INTERLEAVE_PARTICIPANTS];
    const struct interleave_history *history;
    sem_t back;
    cpu_set_t processors; /* of the caller, before */
    bool ends;
    /* The order under way: which of how many could go on at each step. */
    unsigned chosen[INTERLEAVE_STEPS];
    unsigned choices[INTERLEAVE_STEPS];
    unsigned n_steps;
    struct rng *rng; /* draws the order; NULL: the next one of all */
};

static _Thread_local struct participant *self;

static void must(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "interleave: %s\n", what);
        abort();
    }
}

static void wait_for(sem_t *semaphore)
{
    while (sem_wait(semaphore) != 0) {
    }
}

static void *live(void *cls)
{
    self = cls;
    struct interleave *interleave = self->interleave;
    for (;;) {
        wait_for(&self->go);
        if (interleave->ends) {
            return NULL;
        }
        interleave->history->run(interleave->history->cls, self->who);
        self->done = true;
        (void)sem_post(&interleave->back);
    }
}

/* Threads that are made afterwards stay there too. Where it is not allowed it is only slower. */
static void stay_on_one_processor(cpu_set_t *before)
{
    cpu_set_t one;
    int here = sched_getcpu();
    CPU_ZERO(before);
    (void)sched_getaffinity(0, sizeof *before, before);
    CPU_ZERO(&one);
    if (here >= 0) {
        CPU_SET((unsigned)here, &one);
        (void)sched_setaffinity(0, sizeof one, &one);
    }
}

struct interleave *interleave_new(void)
{
    struct interleave *interleave = calloc(1, sizeof *interleave);
    must(interleave != NULL && sem_init(&interleave->back, 0, 0) == 0, "no memory");
    stay_on_one_processor(&interleave->processors);
    for (unsigned i = 0; i < INTERLEAVE_PARTICIPANTS; i++) {
        struct participant *participant = &interleave->participants[i];
        participant->interleave = interleave;
        participant->who = i;
        must(sem_init(&participant->go, 0, 0) == 0, "no semaphore");
        must(pthread_create(&participant->thread, NULL, live, participant) == 0, "no thread");
    }
    return interleave;
}

void interleave_free(struct interleave *interleave)
{
    interleave->ends = true;
    for (unsigned i = 0; i < INTERLEAVE_PARTICIPANTS; i++) {
        (void)sem_post(&interleave->participants[i].go);
        (void)pthread_join(interleave->participants[i].thread, NULL);
        (void)sem_destroy(&interleave->participants[i].go);
    }
    (void)sem_destroy(&interleave->back);
    (void)sched_setaffinity(0, sizeof interleave->processors, &interleave->processors);
    free(interleave);
}

void interleave_pause(struct interleave *interleave, bool (*may_run)(void *cls), void *cls)
{
    struct participant *participant = self;
    if (participant == NULL || participant->interleave != interleave) {
        return;
    }
    participant->may_run = may_run;
    participant->cls = cls;
    (void)sem_post(&interleave->back);
    wait_for(&participant->go);
}

static void let_go(struct interleave *interleave, struct participant *participant)
{
    (void)sem_post(&participant->go);
    wait_for(&interleave->back);
}

static bool may_go(const struct participant *participant)
{
    return !participant->done &&
           (participant->may_run == NULL || participant->may_run(participant->cls));
}

/* Those that may take their next step. */
static unsigned find_ready(struct interleave *interleave, struct participant **out)
{
    unsigned n = 0;
    bool all_done = true;
    for (unsigned i = 0; i < interleave->history->n; i++) {
        struct participant *participant = &interleave->participants[i];
        all_done = all_done && participant->done;
        if (may_go(participant)) {
            out[n++] = participant;
        }
    }
    must(n > 0 || all_done, "everybody waits for everybody");
    return n;
}

static bool run_order(struct interleave *interleave)
{
    const struct interleave_history *history = interleave->history;
    struct participant *ready[INTERLEAVE_PARTICIPANTS];
    if (history->before != NULL) {
        history->before(history->cls);
    }
    /* Up to the first pause of each: what comes before it touches nothing that is shared. */
    for (unsigned i = 0; i < history->n; i++) {
        interleave->participants[i].done = false;
        let_go(interleave, &interleave->participants[i]);
    }
    unsigned step = 0;
    for (unsigned n = find_ready(interleave, ready); n > 0; n = find_ready(interleave, ready)) {
        must(step < INTERLEAVE_STEPS, "an order has too many steps");
        if (step == interleave->n_steps) {
            interleave->chosen[step] =
                interleave->rng == NULL ? 0 : (unsigned)rng_below(interleave->rng, n);
            interleave->choices[step] = n;
            interleave->n_steps++;
        }
        must(interleave->choices[step] == n, "a history takes another way than before");
        let_go(interleave, ready[interleave->chosen[step]]);
        step++;
    }
    return history->after(history->cls);
}

/* The next order: another way at the last step that has one. False where all were taken. */
static bool advance(struct interleave *interleave)
{
    while (interleave->n_steps > 0) {
        unsigned last = interleave->n_steps - 1;
        if (++interleave->chosen[last] < interleave->choices[last]) {
            return true;
        }
        interleave->n_steps--;
    }
    return false;
}

uint64_t interleave_all(struct interleave *interleave, const struct interleave_history *history,
                        uint64_t most)
{
    uint64_t n = 0;
    bool goes_on = true;
    must(history->n > 0 && history->n <= INTERLEAVE_PARTICIPANTS, "too many participants");
    interleave->history = history;
    interleave->n_steps = 0;
    do {
        goes_on = run_order(interleave);
        n++;
    } while (goes_on && n != most && advance(interleave));
    return n;
}

uint64_t interleave_some(struct interleave *interleave, const struct interleave_history *history,
                         uint64_t n, uint64_t seed)
{
    struct rng rng;
    uint64_t n_run = 0;
    bool goes_on = true;
    must(history->n > 0 && history->n <= INTERLEAVE_PARTICIPANTS, "too many participants");
    rng_init(&rng, seed);
    interleave->history = history;
    interleave->rng = &rng;
    while (n_run < n && goes_on) {
        interleave->n_steps = 0;
        goes_on = run_order(interleave);
        n_run++;
    }
    interleave->rng = NULL;
    return n_run;
}
