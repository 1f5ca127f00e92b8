/* http_stub.h - an HTTP server of a few lines: takes one request after the other on one thread,
 * keeps its bytes, and answers with the next of the raw answers that the test gave. */
#ifndef TESTS_HTTP_STUB_H
#define TESTS_HTTP_STUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http_stub;

/* Listens on 127.0.0.1 on a port of the system's choice. */
struct http_stub *http_stub_new(void);
void http_stub_free(struct http_stub *stub);

/* "http://127.0.0.1:port" */
const char *http_stub_url(const struct http_stub *stub);

/* The bytes of the next answer; NULL: none at all, the connection stays open and silent; "": the
 * connection is closed. len SIZE_MAX: up to the NUL. Copied. */
void http_stub_answer(struct http_stub *stub, const char *bytes, size_t len);

/* A whole answer with a JSON body. */
void http_stub_answer_json(struct http_stub *stub, int status, const char *body);

/* The n-th request (from 0) with its body; "" where there was none yet. */
const char *http_stub_request(struct http_stub *stub, unsigned n);

unsigned http_stub_n_requests(struct http_stub *stub);
unsigned http_stub_n_connections(struct http_stub *stub);

#endif
