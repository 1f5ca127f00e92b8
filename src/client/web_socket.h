/* web_socket.h - one WebSocket to the server's realtime: TCP, TLS and proxies are libcurl's
 * (CURLOPT_CONNECT_ONLY), the frames wslay's, the handshake proto/upgrade's.
 *
 * It never waits and has no thread: its owner (transport_curl.c) asks what to poll for, polls, and
 * lets it work. A frame has at most PROTO_LIVE_FRAME_BYTES; binary ones are thrown away. Belongs to
 * the thread whose turn it is. */
#ifndef CLIENT_WEB_SOCKET_H
#define CLIENT_WEB_SOCKET_H

#include "client/transport.h"

#include <curl/curl.h>

/* File descriptors that it waits for at a time, at most. */
#define WEB_SOCKET_FDS 8u

struct web_socket;

/* config's texts are copied. BQ_OK, BQ_NOMEM. */
int web_socket_new(const struct transport_config *config, struct web_socket **out);
void web_socket_free(struct web_socket *socket);

/* Begins to open it; the token stands in for a missing key. BQ_OK, BQ_NOMEM. */
int web_socket_open(struct web_socket *socket, const char *token);

/* Puts a text frame into the queue; only while it is open. BQ_OK, BQ_NOMEM. */
int web_socket_send(struct web_socket *socket, struct slice text);

/* Says goodbye where that needs no wait, and closes. Of what came in before nothing is told. */
void web_socket_close(struct web_socket *socket);

/* What to poll for; *wait_ms is lowered where it has to work earlier. Returns the number of fds. */
unsigned web_socket_watch(struct web_socket *socket, struct curl_waitfd fds[WEB_SOCKET_FDS],
                          int64_t *wait_ms);

/* Does what can be done at once. True: *out tells of it (TRANSPORT_LIVE_...). */
bool web_socket_work(struct web_socket *socket, struct transport_answer *out);

#endif
