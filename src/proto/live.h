/* live.h - what libbqsync says and hears over realtime: frames of one Phoenix channel, vsn 2.0.0
 * (docs/protocol.md, "Realtime").
 *
 * A frame is [join_ref, ref, topic, event, payload]. The client joins one topic of its own with one
 * binding, the row of user_sync_feed that counts its user's changes; so an event tells how far the
 * feed has moved and nothing else, and the rest is an exchange. What it does not know is OTHER and
 * ignored. References are decimal numbers; the join's is the join_ref of all that follows. */
#ifndef PROTO_LIVE_H
#define PROTO_LIVE_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

/* A frame that the client takes has at most this many bytes; the ones that it waits for have far
 * fewer. */
#define PROTO_LIVE_FRAME_BYTES (64u << 10)

/* Append a frame. The buffer is reserved at once, so that a growing one leaves no token behind.
 * user: a uuid's text. */
void proto_live_join(struct buf *out, const char *user, const char *token, uint64_t ref);
void proto_live_token(struct buf *out, const char *user, const char *token, uint64_t join_ref,
                      uint64_t ref);
void proto_live_heartbeat(struct buf *out, uint64_t ref);

enum proto_live_type {
    PROTO_LIVE_OTHER,      /* nothing for this client */
    PROTO_LIVE_JOINED,     /* the join was taken */
    PROTO_LIVE_REFUSED,    /* it was not; about_token */
    PROTO_LIVE_HEARTBEAT,  /* the answer to heartbeat `ref` */
    PROTO_LIVE_SUBSCRIBED, /* changes are told from now on */
    PROTO_LIVE_FAILED,     /* the server cannot tell of changes (any more); about_token */
    PROTO_LIVE_ENDED,      /* the channel is closed */
    PROTO_LIVE_MOVED       /* the feed moved to seq; 0: nobody knows where to */
};

struct proto_live_frame {
    enum proto_live_type type;
    uint64_t ref;
    int64_t seq;
    bool about_token; /* the server says that it is the token's fault */
};

/* Reads one text frame. A frame of another topic, of another join or without sense is OTHER.
 * BQ_OK, BQ_NOMEM. */
int proto_live_read(struct arena *arena, struct slice text, const char *user, uint64_t join_ref,
                    struct proto_live_frame *out);

#endif
