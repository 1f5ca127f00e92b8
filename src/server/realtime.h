/* realtime.h - the sockets at /realtime/v1/websocket: one event loop in a thread of its own.
 *
 * The HTTP library does the handshake; then the socket is taken from it, and its connection's
 * memory goes. From there: frames (ws.h), Phoenix messages (phx.h), channels (rt_channel.c), and
 * what the committer tells of committed changes (rt_deliver.c). Who hears what is decided when it
 * is delivered, by the claims that a channel has then (docs/security.md, W1 to W5).
 *
 * The thread never makes anybody wait: writers hand over a copy and go on; a socket that does not
 * take what is sent is dropped, and its client reads from its cursor when it is back.
 *
 * Threads: all calls from any thread, unless they say otherwise. */
#ifndef SERVER_REALTIME_H
#define SERVER_REALTIME_H

#include "core/op.h"
#include "server/config.h"
#include "server/gateway.h"
#include "server/phx.h"
#include "server/storage.h"

struct realtime;

#define REALTIME_LOOK_MS 5000 /* between two looks at the feeds of all who are listened to */

/* A user who is listened to here, and up to where the feed was told; seq -1: a join waits to learn
 * where it stands. */
struct realtime_heard {
    struct uuid user;
    int64_t seq;
};

struct realtime_config {
    size_t size; /* sizeof(struct realtime_config) */
    const struct server_config *config;
    const struct gateway *gateway;
    struct storage *storage;
    const struct log *log;
    uint64_t hub_key[2]; /* random */
    /* Where other servers write to the same store: users whose feed is to be looked at, borrowed
     * for the call, on the loop's thread, which must not wait. What they lack is answered by
     * realtime_read(), and -1 by realtime_stands(). all: everybody who is listened to; what was
     * asked before and is not answered yet is asked again by that. NULL: nobody else writes. */
    void (*look)(void *cls, const struct realtime_heard *items, size_t n, bool all);
    void *look_cls;
};

/* Who came through the handshake. */
struct realtime_guest {
    enum phx_vsn vsn;
    struct jwt_identity identity; /* of the API key */
    uint64_t address;             /* of realtime_address() */
    struct slice caller; /* API key and address, a NUL behind each; empty: nothing is relayed */
};

/* Counters since the start, and what is there now. */
struct realtime_stats {
    uint64_t n_sockets;  /* open now */
    uint64_t n_channels; /* joined now */
    uint64_t n_opened;
    uint64_t n_refused; /* handshakes */
    uint64_t n_joins;
    uint64_t n_joins_refused;
    uint64_t n_messages; /* frames of clients */
    uint64_t n_changes;  /* committed ops that were handed over */
    uint64_t n_events;   /* change events sent */
    uint64_t n_slow;     /* sockets dropped because they did not read */
    uint64_t n_abused;   /* sockets closed for a breach of the protocol or a limit */
    uint64_t n_relays;   /* sockets to the upstream that are open or being opened now */
    uint64_t n_relays_lost;
};

/* BQ_OK, BQ_NOMEM, BQ_IO. */
int realtime_start(const struct realtime_config *config, struct realtime **out);

/* Sends what waits, closes all sockets (1012) and ends the thread; later calls do nothing. NULL is
 * fine. */
void realtime_stop(struct realtime *realtime);
void realtime_free(struct realtime *realtime);

/* Whose an API key is (it may be absent). False: 401 with the sentence of the older system. */
bool realtime_identify(struct realtime *realtime, struct slice apikey, int64_t now_s,
                       struct jwt_identity *out, const char **out_problem);

/* Whether there is room for one more socket. */
bool realtime_has_room(struct realtime *realtime);

/* The address of a client, as sockets are counted by it. */
uint64_t realtime_address(const struct realtime *realtime, struct slice text);

/* Takes fd, and what was read behind the handshake already. fd is closed where that fails. */
void realtime_adopt(struct realtime *realtime, int fd, const struct realtime_guest *guest,
                    const char *extra, size_t extra_len);

/* Calls later(cls) from the realtime thread after the pause of refused handshakes, or at once
 * from here where too many wait or the server ends. */
void realtime_delay(struct realtime *realtime, void (*later)(void *cls), void *cls);

/* Fires all that realtime_delay() holds, and holds nothing any more. */
void realtime_hurry(struct realtime *realtime);

/* After the commit and before the op's answer: never waits. */
void realtime_published(void *realtime, const struct op *op);

/* The same for changes that another server made and this one has read: all that the user's feed
 * holds behind the seq `from`, up to op->seq. more: what is behind that follows. */
void realtime_read(struct realtime *realtime, const struct op *op, int64_t from, bool more);

/* The user's feed stood there after it was asked for. */
void realtime_stands(struct realtime *realtime, const struct uuid *user, int64_t seq);

/* Looks at the feeds of all who are listened to, at once. */
void realtime_look(struct realtime *realtime);

/* The user's feed went back: who listens has to read anew. */
void realtime_lost(struct realtime *realtime, const struct uuid *user);

/* Whether somebody may listen to the user. */
bool realtime_is_heard(struct realtime *realtime, const struct uuid *user);

/* Drops all sockets: nobody knows what was missed. */
void realtime_drop_all(struct realtime *realtime);

struct realtime_stats realtime_stats(struct realtime *realtime);

#endif
