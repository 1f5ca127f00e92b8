/* postgres_listen.h - words between the servers that share a PostgreSQL store (LISTEN, NOTIFY).
 *
 * A word that is sent is heard by all that listen at the time, the sender included; who is not
 * connected misses it. Words are no part of a transaction of the store: a commit never waits for
 * them (of PostgreSQL's commits only one at a time may notify).
 *
 * Threads: a listener belongs to one thread. */
#ifndef STORE_POSTGRES_LISTEN_H
#define STORE_POSTGRES_LISTEN_H

#include "base/slice.h"

#define POSTGRES_WORD_BYTES 7900u /* PostgreSQL takes less than 8,000 */

struct postgres_listener;

/* BQ_OK, BQ_NOMEM, BQ_NETWORK. */
int postgres_listener_open(const char *url, struct postgres_listener **out);
void postgres_listener_close(struct postgres_listener *listener);

/* To be polled for input. */
int postgres_listener_socket(const struct postgres_listener *listener);

/* Sends one word, NUL-terminated. BQ_OK, BQ_IO: the connection is lost. */
int postgres_listener_say(struct postgres_listener *listener, const char *word);

/* Hands over what was heard; waits for nothing. BQ_OK, BQ_IO: the connection is lost. */
int postgres_listener_hear(struct postgres_listener *listener,
                           void (*heard)(void *cls, struct slice word), void *cls);

#endif
