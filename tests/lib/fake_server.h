/* fake_server.h - the real server core over the memory store, behind the client's transport: a
 * server without sockets, which fails where the test says so.
 *
 * Each transport carries one device's requests; the server may be shared by devices on several
 * threads. What a request does is decided when it starts: the next verdict of the test's script, or
 * FAKE_SERVE. */
#ifndef TESTS_FAKE_SERVER_H
#define TESTS_FAKE_SERVER_H

#include "client/transport.h"

#include <stdint.h>

struct fake_server;

enum fake_verdict {
    FAKE_SERVE,    /* as it should be */
    FAKE_LOSE,     /* the request does not arrive */
    FAKE_LOSE_ACK, /* it is applied, its answer is lost */
    FAKE_ANSWER,   /* http_status and body of the test's own, nothing is applied */
    FAKE_SILENT    /* no answer, until it is cancelled */
};

struct fake_server *fake_server_new(void);
void fake_server_free(struct fake_server *server);

/* Another server with a copy of what this one holds; its script and its counts are empty. For
 * when no request is under way on another thread; also inside `after` of fake_server_guard(). */
struct fake_server *fake_server_clone(const struct fake_server *server);

/* A document's compact text as the server has it, "" where there is none; free() it. */
char *fake_server_document(struct fake_server *server, const char *user, const char *key);

/* For the next request that has no verdict yet. body is copied; retry_after_ms -1: none. */
void fake_server_next(struct fake_server *server, enum fake_verdict verdict, int http_status,
                      int64_t retry_after_ms, const char *body);

/* For all that come, once the script is used up. */
void fake_server_always(struct fake_server *server, enum fake_verdict verdict);

/* Requests of a function ("sync_exchange") so far; NULL: of all. */
unsigned fake_server_n_requests(struct fake_server *server, const char *function);

/* The body of the last request and the token it came with; borrowed until the next request. */
const char *fake_server_last_body(struct fake_server *server);
const char *fake_server_last_token(struct fake_server *server);

/* An operator's policy for a pattern. */
void fake_server_set_policy(struct fake_server *server, const char *pattern, const char *policy);

/* An operator erases a user. */
void fake_server_erase(struct fake_server *server, const char *user);

/* Called after each request that moved a user's feed, before its answer; seq is the feed's end.
 * NULL: nobody listens. */
void fake_server_on_change(struct fake_server *server,
                           void (*moved)(void *cls, const char *user, int64_t seq), void *cls);

/* Called around the server's own work, so that a test that fails the client's allocations can spare
 * the server's. */
void fake_server_guard(struct fake_server *server, void (*before)(void), void (*after)(void));

/* A transport to it; the handle that it is given to frees it. */
struct transport *fake_server_connect(struct fake_server *server);

#endif
