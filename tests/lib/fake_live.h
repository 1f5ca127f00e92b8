/* fake_live.h - realtime in memory beside a transport of the tests: sockets, joins, heartbeats and
 * the events of user_sync_feed, as the server does them, failing where the test says so.
 *
 * An event is there before the answer to the request that made it: the order that is hard for the
 * client. Any thread. */
#ifndef TESTS_FAKE_LIVE_H
#define TESTS_FAKE_LIVE_H

#include "client/transport.h"

#include "fake_server.h"

struct fake_live;

enum fake_live_mood {
    FAKE_LIVE_FINE,
    FAKE_LIVE_REFUSES, /* handshakes: what a proxy does that knows no WebSockets */
    FAKE_LIVE_AWAY,    /* nobody at home */
    FAKE_LIVE_SILENT,  /* sockets open, and nothing is ever said */
    FAKE_LIVE_STRICT   /* refuses each token, and ends channels because of it */
};

/* Tells of what this server commits. Free it after the handles and before the server. */
struct fake_live *fake_live_new(struct fake_server *server);
void fake_live_free(struct fake_live *live);

/* A transport that has such a socket too; takes over `real`. */
struct transport *fake_live_connect(struct fake_live *live, struct transport *real);

/* From now on; for open channels STRICT is at once what an expired token is. */
void fake_live_set_mood(struct fake_live *live, enum fake_live_mood mood);

/* All sockets break, as when a server is started again. */
void fake_live_drop(struct fake_live *live);

/* Events are lost until it is said otherwise. */
void fake_live_lose_events(struct fake_live *live, bool lose);

/* So far: sockets asked for, joins, access_token frames, heartbeats; and sockets open now. */
struct fake_live_counts {
    unsigned n_opened;
    unsigned n_joins;
    unsigned n_tokens;
    unsigned n_heartbeats;
    unsigned n_open;
};

struct fake_live_counts fake_live_counts(struct fake_live *live);

#endif
