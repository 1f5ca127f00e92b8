/* phx.h - the Phoenix messages of realtime, in both of their forms (docs/protocol.md, "Realtime").
 *
 * vsn 1.0.0: {"topic","event","payload","ref","join_ref"}, and what we send has no join_ref.
 * vsn 2.0.0: [join_ref, ref, topic, event, payload], and binary frames for broadcasts.
 * Refs are texts or null and are sent back byte for byte. */
#ifndef SERVER_PHX_H
#define SERVER_PHX_H

#include "json/json.h"

enum phx_vsn { PHX_V1, PHX_V2 };

/* Absent refs have a NULL ptr. Lives in the arena and in the text. */
struct phx_message {
    struct slice join_ref;
    struct slice ref;
    struct slice topic;
    struct slice event;
    struct json_value payload;
    struct slice whole; /* the text that it was read from */
};

/* BQ_OK; BQ_NOMEM; BQ_INVALID: not of the form, and to be dropped. */
int phx_read(struct arena *arena, enum phx_vsn vsn, struct slice text, struct phx_message *out);

/* What a message says before its payload, which is not looked into. */
struct phx_envelope {
    struct slice join_ref;
    struct slice ref;
    struct slice topic;
    struct slice event;
    struct slice payload;
};

/* As phx_read(). */
int phx_skim(struct arena *arena, enum phx_vsn vsn, struct slice text, struct phx_envelope *out);

#define PHX_BROADCAST_KIND 4u /* of a binary frame to clients */
#define PHX_BROADCAST_HEADER 5u

/* The topic of such a frame: BQ_OK or BQ_INVALID; borrows bytes. */
int phx_skim_binary(struct slice bytes, struct slice *out_topic);

/* A broadcast as a binary frame (vsn 2.0.0 only): kind 3 from clients, kind 4 to them. */
struct phx_broadcast {
    struct slice join_ref; /* "" is null */
    struct slice ref;
    struct slice topic;
    struct slice event;
    struct slice meta;
    bool json; /* the payload's encoding */
    struct slice payload;
};

/* BQ_OK or BQ_INVALID; borrows bytes. */
int phx_read_broadcast(struct slice bytes, struct phx_broadcast *out);

/* Appends the frame to clients; false where a text is too long for it. */
bool phx_print_broadcast(struct buf *out, const struct phx_broadcast *broadcast);

/* Appends everything before the payload, and behind it. */
struct phx_head {
    enum phx_vsn vsn;
    struct slice join_ref;
    struct slice ref;
    struct slice topic;
    const char *event;
};

void phx_begin(struct buf *out, const struct phx_head *head);
void phx_end(struct buf *out, const struct phx_head *head);

#endif
