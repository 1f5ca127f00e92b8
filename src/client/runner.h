/* runner.h - the turn: what is due, then the network, then what came of it.
 *
 * A thread of the library takes one turn after the other; with BQ_MANUAL, bq_step() takes them. One
 * turn runs at a time, and while it waits for the network the lock is free. */
#ifndef CLIENT_RUNNER_H
#define CLIENT_RUNNER_H

#include "client/handle.h"

/* Under the lock, which it gives up meanwhile: does what is due, waits at most until until_ms (of
 * CLOCK_MONOTONIC) for network or timers, and handles what came. BQ_OK, or what the disk
 * answers. */
int runner_turn(struct bq *bq, int64_t until_ms);

/* Under the lock: ms until a turn is due; 0 now, -1 not before something happens. */
int64_t runner_next_ms(struct bq *bq);

/* Starts and ends the thread. BQ_OK, BQ_NOMEM. */
int runner_start(struct bq *bq);
void runner_stop(struct bq *bq);

#endif
