/* interleave.h - all orders in which a few participants can take their steps.
 *
 * Each participant is a thread, but only one runs at a time: it goes on until its next pause, then
 * the schedule says who is next. interleave_all() runs a history again and again, once for each
 * order, by going back to the last choice that has another way; interleave_some() draws some of
 * them, where all are too many. Nothing sleeps, and the n-th order is the same in each run. */
#ifndef TESTS_INTERLEAVE_H
#define TESTS_INTERLEAVE_H

#include <stdbool.h>
#include <stdint.h>

#define INTERLEAVE_PARTICIPANTS 4u
#define INTERLEAVE_STEPS 64u /* pauses of all participants in one order */

struct interleave;

struct interleave_history {
    unsigned n;                           /* participants */
    void (*before)(void *cls);            /* an order begins; may be NULL */
    void (*run)(void *cls, unsigned who); /* a participant's part, on its thread */
    bool (*after)(void *cls);             /* all are done; false: no more orders */
    void *cls;
};

struct interleave *interleave_new(void);
void interleave_free(struct interleave *interleave);

/* Runs every order, or `most` of them where that is not 0. Answers how many were run. */
uint64_t interleave_all(struct interleave *interleave, const struct interleave_history *history,
                        uint64_t most);

/* Runs n orders that are drawn from a seed: at each step any of those that can go on. Answers how
 * many were run. */
uint64_t interleave_some(struct interleave *interleave, const struct interleave_history *history,
                         uint64_t n, uint64_t seed);

/* Called by a participant before each step; goes on when the schedule says so, and not before
 * may_run(cls) holds (NULL: always). Outside of a participant it does nothing. */
void interleave_pause(struct interleave *interleave, bool (*may_run)(void *cls), void *cls);

#endif
