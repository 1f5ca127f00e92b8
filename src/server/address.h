/* address.h - whom a connection is with, as text: what limits per address are counted by. */
#ifndef SERVER_ADDRESS_H
#define SERVER_ADDRESS_H

#include "base/slice.h"

#include <microhttpd.h>

#define ADDRESS_TEXT 64u

/* Writes the client's address: of IPv6 the first 64 bits, which are one household's, unless there
 * is one of IPv4 inside. "?" where the library does not tell. Where the connection comes from an
 * address in the comma list `trusted` (NULL: none), the last one of its last X-Forwarded-For
 * counts, which that proxy wrote. */
struct slice address_of(struct MHD_Connection *connection, const char *trusted,
                        char out[ADDRESS_TEXT]);

#endif
