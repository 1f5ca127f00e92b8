/* relay.h - WebSockets to the upstream (--upstream) for realtime's topics that are not ours: one
 * thread with libcurl, so that nobody waits for a name, a connection or TLS.
 *
 * A link belongs to the loop of realtime that opened it until relay_close(). Frames wait in both
 * directions, RELAY_WAITING_BYTES each: with more from below, relay_send() refuses; with more from
 * above, nothing is read until relay_next() has told of some. The thread sends the heartbeats; who
 * answers none is lost.
 *
 * Threads: relay_start(), relay_stop() and relay_free() from any, all others from one. */
#ifndef SERVER_RELAY_H
#define SERVER_RELAY_H

#include "server/phx.h"

#include <stdbool.h>
#include <stdint.h>

#define RELAY_WAITING_BYTES (256u << 10) /* each way of a link; or one frame, if larger */
#define RELAY_FRAME_BYTES (2u << 20)     /* of a frame from above */
#define RELAY_OPEN_MS 8000 /* for the handshake to be through: before clients give a join up */
#define RELAY_BEAT_MS 25000
#define RELAY_FILES 3 /* of a link: libcurl has a pair of its own beside each connection */

struct relay;
struct relay_link;

struct relay_config {
    size_t size;         /* sizeof(struct relay_config) */
    const char *url;     /* as upstream_start() took it; lives longer, as does ca_file */
    const char *ca_file; /* NULL: the system's */
    unsigned links;      /* at a time */
    int64_t open_ms;
    int64_t beat_ms;
    void (*wake)(void *cls); /* from the thread: relay_next() has something to tell */
    void *cls;
};

/* BQ_OK, BQ_NOMEM. */
int relay_start(const struct relay_config *config, struct relay **out);

/* When all links are closed. NULL is fine. */
void relay_stop(struct relay *relay);
void relay_free(struct relay *relay);

struct relay_request {
    enum phx_vsn vsn;
    const char *api_key; /* visible ASCII; NULL: none */
    const char *address; /* of the client */
    void *owner;         /* named in the news */
};

/* Begins to open one; what is sent meanwhile waits. BQ_OK; BQ_BUSY: there are too many; BQ_NOMEM.
 * The texts are copied. */
int relay_open(struct relay *relay, const struct relay_request *request, struct relay_link **out);

/* Of a closed link nothing is told any more. */
void relay_close(struct relay_link *link);

/* False: the other side does not read, or memory is exhausted; the link is of no use then. */
bool relay_send(struct relay_link *link, bool binary, struct slice frame);

enum relay_news_kind { RELAY_OPEN, RELAY_TEXT, RELAY_BINARY, RELAY_LOST };

struct relay_news {
    enum relay_news_kind kind;
    void *owner;
    struct slice frame; /* of RELAY_TEXT and RELAY_BINARY, until the next call */
    const char *why;    /* of RELAY_LOST, a sentence; until the link is closed */
};

/* The next thing that a link has to tell, each in its turn; false: nothing. */
bool relay_next(struct relay *relay, struct relay_news *out);

/* Links that are open or being opened. Any thread. */
unsigned relay_links(struct relay *relay);

#endif
