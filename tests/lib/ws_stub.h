/* ws_stub.h - the far end of a WebSocket, moved by the test itself: it has no thread,
 * ws_stub_pump() does what can be done at once. One connection at a time. It says what the test
 * tells it to, right or wrong, and keeps what the client said. */
#ifndef TESTS_WS_STUB_H
#define TESTS_WS_STUB_H

#include "base/buf.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

struct ws_stub;

/* Aborts where the machine gives no socket. */
struct ws_stub *ws_stub_new(void);
void ws_stub_free(struct ws_stub *stub);

/* "http://127.0.0.1:port" */
const char *ws_stub_url(const struct ws_stub *stub);

/* What it answers to the next handshakes: raw bytes; "" closes; NULL (the start) a right answer.
 * Borrowed. */
void ws_stub_answer(struct ws_stub *stub, const char *raw);

/* Bytes that leave in one piece with the handshake's answer. */
void ws_stub_behind_handshake(struct ws_stub *stub, struct slice bytes);

/* It is a proxy, and takes a CONNECT before the handshake. */
void ws_stub_be_proxy(struct ws_stub *stub);

void ws_stub_pump(struct ws_stub *stub);

/* Waits until there is something to take in, for up to wait_ms, and pumps. */
void ws_stub_wait(struct ws_stub *stub, int wait_ms);

/* The last handshake and the last CONNECT as they came, or "". */
const char *ws_stub_request(const struct ws_stub *stub);
const char *ws_stub_connect(const struct ws_stub *stub);

/* Connections taken so far; whether the present one is open and past its handshake. */
unsigned ws_stub_n_connections(const struct ws_stub *stub);
bool ws_stub_is_open(const struct ws_stub *stub);

/* Appends a frame: first byte (0x81 is a whole text), payload, optionally masked as a client's. */
void ws_stub_frame(struct buf *out, uint8_t first, struct slice payload, bool masked);

/* Queues bytes; a whole text frame. */
void ws_stub_send(struct ws_stub *stub, struct slice bytes);
void ws_stub_send_text(struct ws_stub *stub, const char *text);

/* The next frame of the client, unmasked, its payload in *out; *opcode without FIN. False: none
 * yet. Aborts on a frame that is not masked or not whole in itself. */
bool ws_stub_take(struct ws_stub *stub, uint8_t *opcode, struct buf *out);

/* Closes the connection. */
void ws_stub_drop(struct ws_stub *stub);

#endif
