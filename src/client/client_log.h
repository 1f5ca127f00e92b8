/* client_log.h - what the library says of itself: one line of JSON per event (base/log.h), to the
 * app's log_fn. Never a token, a key or a document. */
#ifndef CLIENT_CLIENT_LOG_H
#define CLIENT_CLIENT_LOG_H

#include "client/handle.h"

/* An event that the app is told of. */
void client_log_notify(struct bq *bq, const struct engine_notify *notify);

/* A request that ended: answered with http, or status says why it was not. */
void client_log_request(struct bq *bq, const struct flight *flight, int status, int http);

/* The handle as a whole: "opened", "closed". */
void client_log_life(struct bq *bq, const char *event);

#endif
