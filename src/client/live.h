/* live.h - realtime on a handle: tells core/live.h what the handle wants and the transport's socket
 * heard, and does what it answers. Part of the turn (runner.h), so under the lock, on the thread
 * whose turn it is. */
#ifndef CLIENT_LIVE_H
#define CLIENT_LIVE_H

#include "client/handle.h"

/* What is due: opening, closing, heartbeats, a new token. */
void live_link_turn(struct bq *bq);

/* News of the socket. */
void live_link_take(struct bq *bq, const struct transport_answer *news);

/* When live_link_turn() is due by itself, in the clock of bq->now_ms; INT64_MAX: not. */
int64_t live_link_next_ms(const struct bq *bq);

/* Whether changes are told right now, and of the present user. */
bool live_link_is_up(const struct bq *bq);

#endif
