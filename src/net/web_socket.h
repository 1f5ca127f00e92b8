/* web_socket.h - one WebSocket to a server's realtime, as a client: TCP, TLS and proxies are
 * libcurl's (CURLOPT_CONNECT_ONLY), the frames wslay's, the handshake proto/upgrade's.
 *
 * It never waits and has no thread: its owner asks what to poll for, polls, and lets it work.
 * Belongs to the thread whose turn it is. */
#ifndef NET_WEB_SOCKET_H
#define NET_WEB_SOCKET_H

#include "core/live.h"
#include "proto/upgrade.h"

#include <curl/curl.h>

/* File descriptors that it waits for at a time, at most. */
#define WEB_SOCKET_FDS 8u

struct web_socket;

struct web_socket_config {
    const char *url;     /* http or https, a host, maybe a path, checked before */
    const char *ca_file; /* NULL: the system's */
    const char *proxy;   /* NULL: what the environment says */
    unsigned timeout_ms; /* of connecting */
    size_t frame_bytes;  /* of a message that comes in, at most */
    /* Tells TLS whom to trust, in place of ca_file (CURLOPT_SSL_CTX_FUNCTION); NULL: ca_file. */
    CURLcode (*trust)(CURL *easy, void *context, void *cls);
    void *trust_cls;
};

enum web_socket_news_kind {
    WEB_SOCKET_OPEN,   /* the handshake is through */
    WEB_SOCKET_TEXT,   /* a message came: body */
    WEB_SOCKET_BINARY, /* likewise */
    WEB_SOCKET_LOST    /* it is gone: loss, retry_after_ms, error */
};

struct web_socket_news {
    enum web_socket_news_kind kind;
    struct slice body; /* borrowed until the next call */
    enum live_loss loss;
    int64_t retry_after_ms; /* -1: none */
    const char *error;      /* a sentence */
};

/* config's texts are copied. BQ_OK, BQ_NOMEM. */
int web_socket_new(const struct web_socket_config *config, struct web_socket **out);
void web_socket_free(struct web_socket *socket);

/* Begins to open it; url and key of the request are filled in here. BQ_OK, BQ_NOMEM. */
int web_socket_open(struct web_socket *socket, const struct upgrade_request *request);

/* Puts a message into the queue; only while it is open. BQ_OK, BQ_NOMEM. */
int web_socket_send(struct web_socket *socket, bool binary, struct slice message);

/* Bytes of messages in the queue. */
size_t web_socket_queued(const struct web_socket *socket);

/* Says goodbye where that needs no wait, and closes. Of what came in before nothing is told. */
void web_socket_close(struct web_socket *socket);

/* What to poll for; *wait_ms is lowered where it has to work earlier. Returns the number of fds. */
unsigned web_socket_watch(struct web_socket *socket, struct curl_waitfd fds[WEB_SOCKET_FDS],
                          int64_t *wait_ms);

/* Does what can be done at once. True: *out tells of it. */
bool web_socket_work(struct web_socket *socket, struct web_socket_news *out);

#endif
