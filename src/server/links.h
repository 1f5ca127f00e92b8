/* links.h - the open connections and their deadlines (docs/security.md, H2).
 *
 * libmicrohttpd's own time-out starts anew with every byte, so one byte now and then holds a
 * connection for hours. Here each connection has one deadline for what it is doing: the header, the
 * body, the reply, the pause between requests; none while its write waits for the commit. A thread
 * shuts down the sockets that are late; the library then sees their end and cleans up. */
#ifndef SERVER_LINKS_H
#define SERVER_LINKS_H

#include <stdbool.h>
#include <stdint.h>

struct link;
struct links;

#define LINK_NEVER INT64_MAX

/* period_ms: how often deadlines are looked at. BQ_OK or BQ_NOMEM. */
int links_start(int64_t period_ms, struct links **out);
/* When no connection is left. */
void links_stop(struct links *links);

/* A new connection; NULL when memory is exhausted. fd stays the library's. */
struct link *links_add(struct links *links, int fd, int64_t deadline_us);
/* Before the library closes the socket. */
void links_remove(struct links *links, struct link *link);

/* The socket is no longer the library's alone (a WebSocket): it is not shut down from here. */
void links_let_go(struct links *links, struct link *link);

/* Any thread. busy: a request is in progress. */
void link_set(struct link *link, int64_t deadline_us, bool busy);

/* Ends the reading side of all connections without a request (what has arrived is still read and
 * answered) until none is left or the time is there. True when none is left. */
bool links_drain(struct links *links, int64_t until_us);

/* Shuts all connections down at once. */
void links_close_all(struct links *links);

#endif
