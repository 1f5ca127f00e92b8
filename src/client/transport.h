/* transport.h - carries one request at a time to the server and its answer back; beside it, a
 * realtime socket where the transport has such a thing.
 *
 * A table of verbs, so that tests can put a server of their own behind the library. All verbs but
 * wake() belong to the thread whose turn it is; wake() is for any thread. */
#ifndef CLIENT_TRANSPORT_H
#define CLIENT_TRANSPORT_H

#include "base/slice.h"
#include "core/live.h"

#include <stdbool.h>
#include <stdint.h>

/* An answer has at most this many bytes; a longer one counts as none of this protocol. */
#define TRANSPORT_ANSWER_BYTES (24u << 20)

struct transport_request {
    uint64_t serial;      /* names it in the answer */
    const char *function; /* "sync_exchange" */
    struct slice body;
    const char *token;
};

enum transport_news {
    TRANSPORT_ANSWER,    /* to the request */
    TRANSPORT_LIVE_OPEN, /* the socket is open */
    TRANSPORT_LIVE_TEXT, /* a frame came: body */
    TRANSPORT_LIVE_LOST  /* the socket is gone: loss, retry_after_ms, error */
};

struct transport_answer {
    enum transport_news news;
    enum live_loss loss;
    uint64_t serial;
    int status; /* BQ_OK: answered; BQ_NETWORK, BQ_TIMEOUT */
    int http_status;
    int64_t retry_after_ms; /* -1: none */
    struct slice body;      /* borrowed until the next call */
    const char *error;      /* a sentence where status is not BQ_OK */
};

/* The implementer embeds this as its first member. */
struct transport {
    void (*free)(struct transport *transport);

    /* Nothing may be under way. What is handed over is copied. BQ_OK, BQ_NOMEM. */
    int (*start)(struct transport *transport, const struct transport_request *request);

    /* Gives up what is under way, if anything is. */
    void (*cancel)(struct transport *transport);

    /* Moves the bytes, for up to wait_ms, until there is something to tell or wake() was called.
     * True: *out tells it; after an answer no request is under way any more. */
    bool (*wait)(struct transport *transport, int64_t wait_ms, struct transport_answer *out);

    /* Ends the wait() of another thread, or its next one at once. */
    void (*wake)(struct transport *transport);

    /* The socket; all NULL: this transport has none. Opening begins it, wait() tells how it went;
     * closing forgets what was not told yet. BQ_OK, BQ_NOMEM. */
    int (*live_open)(struct transport *transport, const char *token);
    int (*live_send)(struct transport *transport, struct slice text);
    void (*live_close)(struct transport *transport);
};

struct transport_config {
    const char *url; /* NULL: it only waits */
    const char *api_key;
    const char *ca_file;
    const char *proxy;
    unsigned timeout_ms;
};

/* The libcurl transport. Everything is copied. BQ_OK, BQ_NOMEM. */
int transport_curl_new(const struct transport_config *config, struct transport **out);

/* Whether a text is a URL that transport_curl_new() takes: http or https, a host, no user name, no
 * query, no white space. */
bool transport_url_valid(const char *url);

#endif
