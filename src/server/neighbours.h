/* neighbours.h - the other servers of the same PostgreSQL store, and whoever else writes to it:
 * what they commit the realtime sockets of this server hear.
 *
 * After a commit a thread of its own tells the others whose feed moved; who has listeners to that
 * user reads the rows, to the feed's end. Words gather while one is on its way or there is no
 * connection, so many commits are few words. A word is "NODE USER:FROM:TO USER:FROM:TO ...": the
 * user's changes behind FROM, up to TO; who sends it does not listen to itself. "NODE *" stands for
 * more users than are kept, and for words that were lost: who hears it looks.
 *
 * A word makes it quick; that nothing is missed does not depend on it. Every REALTIME_LOOK_MS, and
 * at once when the connection is back, the feeds' ends of all users who are listened to here are
 * asked for, a thousand in one query, and compared with what was told (rt_heard.c, which says why
 * nothing falls in between, and nothing is told twice). So what is heard late at most, but heard,
 * is: what a server committed and died before it told; what came while the connection was broken;
 * what the functions of sql/postgres wrote, which send no word. Where nobody listens nothing is
 * asked. Where the store's epoch changed (a failover may have lost what was told) all sockets are
 * dropped, and their clients read when they are back.
 *
 * Not heard across servers: rows of user_sync_metadata; and that an operator erased a user is heard
 * by the word alone. */
#ifndef SERVER_NEIGHBOURS_H
#define SERVER_NEIGHBOURS_H

#include "server/realtime.h"

struct neighbours;

struct neighbours_config {
    size_t size; /* sizeof(struct neighbours_config) */
    const char *url; /* of the store */
    struct storage *storage;
    const struct log *log;
    uint64_t node; /* random */
};

/* BQ_OK, BQ_NOMEM. */
int neighbours_new(const struct neighbours_config *config, struct neighbours **out);

/* The thread begins: it connects by and by. `realtime` has neighbours_look() as its look(), and
 * lives until neighbours_stop(); NULL: nobody listens here. BQ_OK, BQ_NOMEM. */
int neighbours_start(struct neighbours *neighbours, struct realtime *realtime);

/* Says what is to be said, and ends the thread. NULL is fine, for both. */
void neighbours_stop(struct neighbours *neighbours);
void neighbours_free(struct neighbours *neighbours);

/* Any thread, after the commit of the op: never waits. */
void neighbours_published(struct neighbours *neighbours, const struct op *op);

/* Any thread: for struct realtime_config; cls is the neighbours. Never waits. */
void neighbours_look(void *cls, const struct realtime_heard *items, size_t n, bool all);

#endif
