/* handshake.h - the server's half of the WebSocket handshake (RFC 6455 section 4.2) at
 * /realtime/v1/websocket: who may come in, and the words for who may not
 * (docs/protocol.md, "Realtime").
 *
 * Only the API key is looked at here; users show their tokens when they join. No extension is
 * agreed on, no subprotocol, and no origin is asked for: nothing here rests on cookies. */
#ifndef SERVER_HANDSHAKE_H
#define SERVER_HANDSHAKE_H

#include "proto/upgrade.h"
#include "server/head.h"
#include "server/realtime.h"
#include "server/uri.h"

struct handshake {
    unsigned http;    /* 101, or what it is refused with */
    const char *text; /* of a refusal; NULL: no body */
    bool late;        /* the refusal waits, so that clients which come again at once do not storm */
    struct realtime_guest guest;
    char accept[UPGRADE_ACCEPT_TEXT];
};

/* address: the client's, as text. */
void handshake_check(struct realtime *realtime, const struct head *head, const struct uri *uri,
                     struct slice address, struct handshake *out);

/* Names the caller to the upstream in out->guest: its key, where that may stand in a request of
 * ours, and its address. Lives in the arena. Who came through a server of our kind is not named,
 * and so goes no further. */
void handshake_name_caller(struct arena *arena, const struct head *head, const struct uri *uri,
                           struct slice address, struct handshake *out);

/* Queues the 101; taken() is called with the socket and what was read behind the request; it has to
 * end with MHD_upgrade_action(). False: memory is exhausted. */
bool handshake_send(struct MHD_Connection *connection, const struct handshake *handshake,
                    MHD_UpgradeHandler taken, void *cls);

#endif
