/* http_client.h - a plain HTTP/1.1 client for tests: raw sockets, so that a test can also send
 * what no library would. Every wait ends after 20 seconds; then the test's expectation fails,
 * not the run. */
#ifndef TESTS_HTTP_CLIENT_H
#define TESTS_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

struct http_answer {
    int status;   /* 0: no answer came */
    char *header; /* status line and fields, NUL-terminated */
    char *body;
    size_t body_len;
    bool closed;  /* the server ended the connection behind it */
};

/* A connection to 127.0.0.1, or -1. */
int http_connect(unsigned port);

/* The same from this address of the loop-back net (127.0.0.0/8): for what is limited by address. */
int http_connect_from(const char *source, unsigned port);

/* False when the other side does not take everything. */
bool http_write(int fd, const char *bytes, size_t len);

/* Reads one answer. Without a Content-Length the body ends with the connection. head tells that the
 * request was a HEAD: no body follows. Release the answer in any case. */
void http_read(int fd, bool head, struct http_answer *out);

/* Whether the server ends the connection, what it still sends being thrown away. */
bool http_ends(int fd);

void http_release(struct http_answer *answer);

/* The value of a field (in a static buffer per thread, until the next call), or NULL. */
const char *http_field(const struct http_answer *answer, const char *name);

struct http_request {
    unsigned port;
    const char *method;
    const char *path;
    const char *token;  /* Authorization: Bearer; NULL: none */
    const char *fields; /* more, each with its CR LF; NULL: none */
    const char *body;   /* NULL: none; else application/json unless fields has a Content-Type */
};

/* One request on a connection of its own. */
void http_call(const struct http_request *request, struct http_answer *out);

/* The same on an open connection, which stays open. */
void http_call_on(int fd, const struct http_request *request, struct http_answer *out);

/* POST /rest/v1/rpc/<function>. */
void http_rpc(unsigned port, const char *function, const char *token, const char *body,
              struct http_answer *out);

#endif
