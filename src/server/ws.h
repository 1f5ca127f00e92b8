/* ws.h - WebSocket frames (RFC 6455): bytes to messages, and the header before what we send.
 *
 * A codec that never sees a socket, over wslay's frames. Read strictly, as a server: every frame is
 * masked, no extension was agreed on (reserved bits are refused), lengths have their shortest form,
 * control frames are short and whole, fragments come in order, text is UTF-8. A frame or message
 * over the limit is refused when its header is there, before its bytes are.
 *
 * A reader holds some 4 KiB, so a connection has one only while a frame or message is under way:
 * ws_reader_idle() tells when it can be given to another. */
#ifndef SERVER_WS_H
#define SERVER_WS_H

#include "base/slice.h"

#include <stdint.h>

#define WS_HEADER_BYTES 10u /* at most, of a frame that we send */
#define WS_CLOSE_NORMAL 1000u
#define WS_CLOSE_AWAY 1001u
#define WS_CLOSE_PROTOCOL 1002u
#define WS_CLOSE_TEXT 1007u /* bad UTF-8 */
#define WS_CLOSE_POLICY 1008u
#define WS_CLOSE_TOO_BIG 1009u
#define WS_CLOSE_RESTART 1012u

enum ws_opcode { WS_CONTINUATION, WS_TEXT, WS_BINARY, WS_CLOSE = 8, WS_PING, WS_PONG };

enum ws_verdict {
    WS_MESSAGE, /* *out is one, valid until the next call */
    WS_MORE,    /* everything fed is taken in */
    WS_BROKEN   /* close with out->code; the reader is of no use any more */
};

struct ws_message {
    enum ws_opcode opcode; /* text, binary, close, ping or pong */
    struct slice data;     /* of a close: the reason */
    unsigned code;         /* of a close: its code, 0 without one */
};

struct ws_reader;

/* BQ_OK, BQ_NOMEM. */
int ws_reader_new(struct ws_reader **out);
void ws_reader_free(struct ws_reader *reader);

/* Bytes that arrived; borrowed until ws_read() answers WS_MORE. */
void ws_reader_feed(struct ws_reader *reader, const char *bytes, size_t len);

/* The next message of at most `limit` bytes. */
enum ws_verdict ws_read(struct ws_reader *reader, size_t limit, struct ws_message *out);

/* Nothing of a frame or of a message is held. */
bool ws_reader_idle(const struct ws_reader *reader);

/* Frames that were begun since the last call. */
unsigned ws_reader_frames(struct ws_reader *reader);

/* Writes the header of a whole, unmasked frame; answers its length. */
size_t ws_header(enum ws_opcode opcode, size_t len, unsigned char out[WS_HEADER_BYTES]);

/* Whether a code may stand in a close frame (RFC 6455 section 7.4). */
bool ws_code_valid(unsigned code);

#endif
