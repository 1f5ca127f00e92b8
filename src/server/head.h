/* head.h - the header of a request: the fields that we look at, and whether it can be read in one
 * way only (docs/security.md, H1: what two parsers may understand differently is refused and the
 * connection closed).
 *
 * libmicrohttpd before 0.9.77 takes a bare LF for a line end, joins folded lines, allows a space
 * before the colon, two Content-Length fields, and Content-Length beside Transfer-Encoding. It
 * parses in place: each CR and LF that ended a line is overwritten with a NUL, and method,
 * version, names and values are pointers into that text. So the gaps between them tell how the
 * lines really ended. head_can_measure() tells whether the library at hand is one of those whose
 * layout is known; later ones are told to be strict instead (MHD_OPTION_CLIENT_DISCIPLINE_LVL). */
#ifndef SERVER_HEAD_H
#define SERVER_HEAD_H

#include "base/slice.h"

#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>

#define HEAD_MAX_BYTES (16u << 10) /* of all fields together */
#define HEAD_MAX_FIELDS 100u
#define HEAD_PREFER_MAX 4u
#define HEAD_US "bqsync"         /* in Via, */
#define HEAD_VIA "1.1 " HEAD_US /* which our own requests to an upstream say */

/* Absent fields are SLICE_NONE. All point into the connection's memory: valid while the request
 * is. */
struct head {
    struct slice host;
    struct slice content_length;
    struct slice transfer_encoding;
    struct slice authorization;
    struct slice apikey;
    struct slice content_type;
    struct slice content_encoding;
    struct slice accept;
    struct slice accept_profile;
    struct slice content_profile;
    struct slice origin;
    struct slice request_method;  /* Access-Control-Request-Method */
    struct slice request_headers; /* Access-Control-Request-Headers */
    struct slice expect;
    struct slice range;
    struct slice user_agent;
    struct slice prefer[HEAD_PREFER_MAX]; /* may stand there more than once */
    unsigned n_prefer;
    struct slice x_api_key;
    struct slice websocket_key;     /* Sec-WebSocket-Key */
    struct slice websocket_version; /* Sec-WebSocket-Version */
    bool asks_upgrade;              /* Connection lists "upgrade" */
    bool to_websocket;              /* Upgrade lists "websocket" */
    bool via_us;                    /* it passed a server of our kind already */
    struct slice api_version;     /* X-Supabase-Api-Version */
    uint64_t body_bytes; /* the number in Content-Length, 0 without one */
};

/* The request line as the library tells it; target is the one of the URI log callback. */
struct head_line {
    const char *method;
    const char *version;
    const char *target;
    size_t target_len;
};

enum head_verdict {
    HEAD_GOOD,
    HEAD_AMBIGUOUS, /* 400, close; *out_why is a sentence */
    HEAD_TOO_LONG,  /* 431, close */
    HEAD_VERSION,   /* 505, close: neither HTTP/1.1 nor HTTP/1.0 */
    HEAD_CHUNKED    /* 411, close: a length is demanded, chunk framing is not looked at */
};

/* Reads the fields of the connection's request into *out. */
enum head_verdict head_read(struct MHD_Connection *connection, const struct head_line *line,
                            bool measure, struct head *out, const char **out_why);

/* Whether this library's parsing layout is the known one. */
bool head_can_measure(void);

/* ASCII case does not matter. */
bool head_token_is(struct slice value, const char *lower);

#endif
