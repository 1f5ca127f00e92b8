/* reply.h - sends an answer: status line, the headers of PostgREST and CORS, body. */
#ifndef SERVER_REPLY_H
#define SERVER_REPLY_H

#include "base/buf.h"
#include "server/head.h"
#include "server/prefer.h"
#include "server/problem.h"

/* Content types that we answer with. */
#define REPLY_JSON "application/json; charset=utf-8"
#define REPLY_OBJECT "application/vnd.pgrst.object+json; charset=utf-8"

struct reply {
    unsigned http;
    struct buf body;           /* taken by reply_send() */
    const char *content_type;  /* NULL: none */
    char content_range[64];    /* "": none */
    const char *content_location; /* or NULL */
    const char *location;         /* or NULL */
    char preference_applied[PREFER_APPLIED_BYTES]; /* "": none */
    bool profile;              /* echo Content-Profile: public beside the content type */
    bool close;
    const char *allow;         /* Allow, or NULL */
    const char *websocket;     /* Sec-WebSocket-Version, or NULL */
    const char *cache;         /* Cache-Control, or NULL */
    const char *api_version;   /* X-Supabase-Api-Version, or NULL */
    const char *error_code;    /* x-sb-error-code, or NULL */
    enum problem_challenge challenge;
    const char *challenge_text;
    unsigned retry_after_s;
};

/* The answer to a request that is refused. */
void reply_problem(struct reply *reply, const struct problem *problem);

/* Content-Range of all n rows that a function answers; anything else than rows is one. */
void reply_range(struct reply *reply, uint64_t n);

/* The CORS headers alone, for an answer that is somebody else's. False: memory is exhausted. */
bool reply_add_cors(struct MHD_Response *response, const struct head *head,
                    const char *cors_origin);

/* Queues the answer and takes its body. cors_origin is the configured origin; CORS headers are
 * added where the request has an Origin, preflight ones where it is a preflight. *out_bytes is
 * the body's length. False: out of memory, the connection is to be dropped. */
bool reply_send(struct MHD_Connection *connection, const struct head *head, const char *cors_origin,
                struct reply *reply, size_t *out_bytes);

#endif
