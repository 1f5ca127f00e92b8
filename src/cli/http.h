/* http.h - one call to a server's function, for operators' commands. The client commands do not use
 * it: they speak through libbqsync. */
#ifndef CLI_HTTP_H
#define CLI_HTTP_H

#include <stdbool.h>

#include "base/buf.h"

/* A connection that is kept between calls. */
struct http {
    void *curl; /* CURL */
    const char *url;
    bool json;
};

/* CLI_OK or an exit code after its sentence. url is borrowed. */
int http_open(struct http *http, const char *url, bool json);
void http_close(struct http *http);

/* POST /rest/v1/rpc/<function> with the JSON body as the token's bearer. *answer takes the body
 * of a 2xx answer; anything else is told with the server's own message and gives an exit code. */
int http_call(struct http *http, const char *function, struct slice token, struct slice body,
              struct buf *answer);

#endif
