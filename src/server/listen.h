/* listen.h - the listening socket. */
#ifndef SERVER_LISTEN_H
#define SERVER_LISTEN_H

#include <stddef.h>

/* Listens on "HOST:PORT" or "[ADDRESS]:PORT"; port 0 takes a free one. BQ_OK, or BQ_INVALID
 * or BQ_NETWORK (in use, not permitted ...) with a sentence. */
int listen_open(const char *address, int *out_fd, unsigned *out_port, char *error,
                size_t error_size);

#endif
