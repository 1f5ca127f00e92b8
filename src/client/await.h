/* await.h - waiting for the server: what bq_flush, bq_pull and draining share. */
#ifndef CLIENT_AWAIT_H
#define CLIENT_AWAIT_H

#include "client/runner.h"

/* Under the lock, which it gives up meanwhile: sends all and waits until until_ms (CLOCK_MONOTONIC)
 * for everything that was written before the call. Codes of bq_flush(). */
int await_flush(struct bq *bq, int64_t until_ms);

/* The same for one exchange that began after the call. Codes of bq_pull(). */
int await_pull(struct bq *bq, int64_t until_ms);

#endif
