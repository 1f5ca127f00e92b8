/* ws_client.h - a WebSocket client for tests, on raw sockets: it can also send what no library
 * would. It checks nothing but what it must to read frames; that is what the tests are for.
 *
 * Every wait ends after 20 seconds; then the test's expectation fails, not the run. */
#ifndef TESTS_WS_CLIENT_H
#define TESTS_WS_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

#define WS_KEY "dGhlIHNhbXBsZSBub25jZQ==" /* of RFC 6455 section 1.3, and what answers it: */
#define WS_ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

struct ws_client {
    int fd;
    int status;   /* of the handshake; 0: no answer */
    char *header; /* of the answer */
    char *body;   /* of a refusal */
    char *bytes;  /* read and not looked at yet */
    size_t len, size;
    char *text; /* the last frame's payload, with a NUL behind it */
    size_t text_len;
    unsigned opcode; /* of the last frame; 0: the connection ended */
    unsigned first;  /* its first byte */
};

/* Connects and shakes hands at `target`. fields: more header fields, or NULL. True: 101. */
bool ws_open(struct ws_client *client, unsigned port, const char *target, const char *fields);

/* Connects and sends `request` as it is; then as ws_open(). */
bool ws_open_raw(struct ws_client *client, unsigned port, const char *request);

/* Closes the socket without a word; the client may be opened again. */
void ws_release(struct ws_client *client);

/* False when the other side does not take everything. */
bool ws_write(struct ws_client *client, const void *bytes, size_t len);

/* One masked frame: `first` is FIN, reserved bits and opcode. */
bool ws_send(struct ws_client *client, unsigned first, const void *payload, size_t len);

/* A text message of printf. */
bool ws_say(struct ws_client *client, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The next frame into the client; false at the end of the connection (or of patience). */
bool ws_next(struct ws_client *client);

/* Reads on to a text frame that has `part` in it; false where the connection ends before. */
bool ws_hear(struct ws_client *client, const char *part);

/* Reads to the end; the code of the close frame that came, 1006 where none did, 0 where the
 * connection did not end. */
unsigned ws_ends(struct ws_client *client);

#endif
