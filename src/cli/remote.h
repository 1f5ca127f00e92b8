/* remote.h - one call to a server's function, for operators' commands. The client commands do
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
};

/* CLI_OK or an exit code after its sentence. url is borrowed. */
int remote_open(struct remote *remote, const char *url, bool json);
void remote_close(struct remote *remote);

/* POST /rest/v1/rpc/<function> with the JSON body as the token's bearer. *answer takes the body
 * of a 2xx answer; anything else is told with the server's own message and gives an exit code. */
int remote_call(struct remote *remote, const char *function, struct slice token, struct slice body,
              struct buf *answer);

#endif
