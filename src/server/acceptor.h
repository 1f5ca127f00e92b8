/* acceptor.h - takes connections from the listening socket and gives them to the HTTP library.
 *
 * The thread is ours since only what is ours can be stopped at any moment: the library, 0.9.75 for
 * one, aborts the process where a daemon with several threads is told to stop listening
 * just as one of them looks at its listening socket. */
#ifndef SERVER_ACCEPTOR_H
#define SERVER_ACCEPTOR_H

#include <microhttpd.h>

struct acceptor;

/* Takes connections from listen_fd, which is the acceptor's from here on (not where it fails),
 * while daemon has fewer than limit; what comes beyond that waits in the system's queue. Where the
 * system has no descriptor or memory to give it rests for a moment. BQ_OK, BQ_NOMEM or BQ_IO. */
int acceptor_start(struct MHD_Daemon *daemon, int listen_fd, unsigned limit,
                   struct acceptor **out);

/* Closes the listening socket: who comes now is refused. NULL is fine. */
void acceptor_stop(struct acceptor *acceptor);

#endif
