/* upgrade.h - a client's half of the WebSocket handshake (RFC 6455 section 4.1) as text: the
 * request that it sends, and whether what comes back opens the socket.
 *
 * Without extensions: the messages are small, and compressing secrets beside other people's text
 * tells of both. */
#ifndef PROTO_UPGRADE_H
#define PROTO_UPGRADE_H

#include "base/buf.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

#define UPGRADE_NONCE_BYTES 16u
#define UPGRADE_KEY_TEXT 25u      /* the nonce in base64, with its NUL */
#define UPGRADE_ACCEPT_TEXT 29u   /* of the answer, with its NUL */
#define UPGRADE_HEAD_BYTES 16384u /* of an answer; a longer one is refused */
#define UPGRADE_REALTIME_PATH "/realtime/v1/websocket"

/* The Sec-WebSocket-Key of 16 random bytes. */
void upgrade_key(const uint8_t nonce[UPGRADE_NONCE_BYTES], char out[UPGRADE_KEY_TEXT]);

/* The Sec-WebSocket-Accept that answers a key of 24 characters: the server's half too. */
void upgrade_accept(const char *key, char out[UPGRADE_ACCEPT_TEXT]);

struct upgrade_request {
    struct slice url;    /* http or https, a host, maybe a path, checked before */
    const char *path;    /* what follows the URL's own path */
    const char *vsn;     /* form of the messages: "1.0.0", "2.0.0" */
    const char *api_key; /* public: in the query as well, where gateways look; NULL: none */
    const char *token;   /* stands in for the key in the headers where there is none; NULL: none */
    const char *key;     /* of upgrade_key() */
    const char *via;     /* who passes it on, */
    const char *address; /* and for whom; NULL: nobody */
};

/* Appends the request. Reserves first, so that a token is not left behind by a growing buffer. */
void upgrade_print(struct buf *out, const struct upgrade_request *request);

struct upgrade_answer {
    bool opened;            /* 101, and all that it has to say is right */
    int http_status;        /* 0: this is no HTTP */
    int64_t retry_after_ms; /* -1: none */
};

/* head: up to and with its empty line. key: as it was sent. */
void upgrade_read(struct slice head, const char *key, struct upgrade_answer *out);

#endif
