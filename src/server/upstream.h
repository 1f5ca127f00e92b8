/* upstream.h - carries requests to another server (--upstream) and their answers back: one thread
 * with libcurl, bodies in both directions through buffers of UPSTREAM_BUFFER_BYTES.
 *
 * A call belongs to the request that began it until upstream_end(). Its HTTP thread gives and takes
 * bytes; where nothing is to be had, upstream_wait() suspends the request until there is. HTTP/1.1
 * alone is spoken, since libcurl buffers HTTP/2 without a bound while a transfer is paused.
 *
 * Threads: a call's functions from its request's thread; the others from any. */
#ifndef SERVER_UPSTREAM_H
#define SERVER_UPSTREAM_H

#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UPSTREAM_BUFFER_BYTES (64u << 10) /* each way */
#define UPSTREAM_HEAD_BYTES (32u << 10)   /* of an answer */

struct upstream;
struct upstream_call;

struct upstream_config {
    size_t size;         /* sizeof(struct upstream_config) */
    const char *url;     /* http or https, a host, no path but "/" */
    const char *ca_file; /* NULL: the system's */
    int64_t timeout_ms;  /* until an answer begins, and between two pieces of it */
    unsigned calls;      /* at a time */
};

/* BQ_OK, BQ_NOMEM, or BQ_INVALID with a sentence. */
int upstream_start(const struct upstream_config *config, struct upstream **out, char *error,
                   size_t error_size);

/* All calls end with BQ_CLOSED; nobody waits any more. NULL is fine. */
void upstream_stop(struct upstream *upstream);
/* When no call is left. */
void upstream_free(struct upstream *upstream);

struct upstream_request {
    const char *method;
    const char *target;   /* path and query, as they are to be sent */
    bool head;            /* no body comes back */
    bool has_body;
    uint64_t body_bytes;
    /* Writes the i-th header as "name: value"; false behind the last. */
    bool (*header)(void *cls, unsigned i, struct slice *name, struct slice *value);
    void *cls;
};

/* BQ_OK; BQ_BUSY: too many at a time; BQ_CLOSED; BQ_NOMEM. The texts are copied. */
int upstream_begin(struct upstream *upstream, const struct upstream_request *request,
                   struct upstream_call **out);
void upstream_end(struct upstream_call *call);

/* Takes up to n bytes of the body; fewer: there is no room. What comes after the call ended is
 * thrown away. */
size_t upstream_give(struct upstream_call *call, const char *bytes, size_t n);

struct upstream_answer {
    unsigned http;
    bool has_length;
    uint64_t length;
    struct slice headers;    /* "name: value\n" each; the call's */
    struct slice connection; /* names among them that are not to be passed on */
};

/* BQ_OK with *out; BQ_NETWORK, BQ_TIMEOUT, BQ_CLOSED, BQ_TOO_LARGE: there will be none;
 * BQ_BUSY: not yet. */
int upstream_head(struct upstream_call *call, struct upstream_answer *out);

/* Bytes of the answer's body: how many; 0: none yet; UPSTREAM_END; UPSTREAM_BROKEN. */
#define UPSTREAM_END (-1)
#define UPSTREAM_BROKEN (-2)
long upstream_take(struct upstream_call *call, char *bytes, size_t n);

enum upstream_wait { UPSTREAM_ROOM, UPSTREAM_HEAD, UPSTREAM_BYTES };

/* Where what is waited for is not there: suspend(cls), and resume(cls) once it is; true. Both are
 * called under the call's lock. */
struct upstream_waiter {
    void (*suspend)(void *cls);
    void (*resume)(void *cls);
    void *cls;
};

bool upstream_wait(struct upstream_call *call, enum upstream_wait what,
                   const struct upstream_waiter *waiter);

#endif
