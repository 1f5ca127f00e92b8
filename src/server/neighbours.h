/* neighbours.h - the other servers of the same PostgreSQL store: what one commits the realtime
 * sockets of the others hear.
 *
 * After a commit a thread of its own tells the others whose feed moved; who has listeners to that
 * user reads the rows. Words gather while one is on its way, so many commits are few words. A word
 * is "NODE USER:FROM:TO USER:FROM:TO ...": the user's changes behind FROM, up to TO; who sends it
 * does not listen to itself. A lost word delays libbqsync, which reads from its cursor every few
 * minutes anyway; an old app hears of it when it reads again. Where the connection was lost, and
 * with it nobody knows what, all sockets are dropped, and their clients read when they are back. */
#ifndef SERVER_NEIGHBOURS_H
#define SERVER_NEIGHBOURS_H

#include "server/realtime.h"

struct neighbours;

struct neighbours_config {
    size_t size; /* sizeof(struct neighbours_config) */
    const char *url; /* of the store */
    struct storage *storage;
    struct realtime *realtime;
    const struct log *log;
    uint64_t node; /* random */
};

/* BQ_OK, BQ_NOMEM. Connects by and by. */
int neighbours_start(const struct neighbours_config *config, struct neighbours **out);

/* Says what is to be said, and ends the thread. NULL is fine. */
void neighbours_free(struct neighbours *neighbours);

/* Any thread, after the commit of the op: never waits. */
void neighbours_published(struct neighbours *neighbours, const struct op *op);

#endif
