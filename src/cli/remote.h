/* remote.h - one request to a server, for operators' commands. The client commands do
 * not use it: they speak through libbqsync. */
#ifndef CLI_REMOTE_H
#define CLI_REMOTE_H

#include <stdbool.h>

#include "base/buf.h"

/* A connection that is kept between calls. */
struct remote {
    void *curl; /* CURL */
    const char *url;
    bool json;
    const char *api_key; /* sent as `apikey`; NULL: the token */
};

/* CLI_OK or an exit code after its sentence. url is borrowed. */
int remote_open(struct remote *remote, const char *url, bool json);
void remote_close(struct remote *remote);

struct remote_request {
    const char *method;
    const char *path; /* "/auth/v1/admin/users?page=1" */
    const char *what; /* names it in a sentence */
    struct slice body; /* JSON; SLICE_NONE: none */
};

#define REMOTE_WHY 256

struct remote_reply {
    long http; /* the status that was answered */
    char why[REMOTE_WHY]; /* a sentence where nothing was */
};

/* One request, of which nothing is told: *answer takes the body of any answer. An empty token: no
 * Authorization. BQ_OK: there was an answer; BQ_NETWORK, BQ_TIMEOUT, BQ_NOMEM. */
int remote_try(struct remote *remote, const struct remote_request *request, struct slice token,
               struct buf *answer, struct remote_reply *out);

/* The token is bearer and API key. *answer takes the body of a 2xx answer; anything else is told
 * with the server's own message and gives an exit code. */
int remote_request(struct remote *remote, const struct remote_request *request, struct slice token,
                   struct buf *answer);

/* POST /rest/v1/rpc/<function> with the JSON body; as remote_request(). */
int remote_call(struct remote *remote, const char *function, struct slice token, struct slice body,
                struct buf *answer);

#endif
