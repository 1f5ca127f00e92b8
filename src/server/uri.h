/* uri.h - the target of a request line, split and decoded once (RFC 3986).
 *
 * What is decoded is well-formed UTF-8 without controls; a path holds no encoded slash and no dot
 * segments. So a path has one spelling for the routes below and for the log. */
#ifndef SERVER_URI_H
#define SERVER_URI_H

#include "base/arena.h"

#define URI_MAX_BYTES (16u << 10)
#define URI_QUERY_MAX 64u

struct uri_pair {
    struct slice name;
    struct slice value;
};

struct uri {
    struct slice path; /* decoded, without the query */
    struct uri_pair *query;
    unsigned n_query;
};

/* BQ_OK; BQ_TOO_LARGE; BQ_INVALID: not of this form; BQ_NOMEM. */
int uri_read(struct arena *arena, struct slice target, struct uri *out);

/* The last value of this name, or an absent slice. */
struct slice uri_find(const struct uri *uri, const char *name);

#endif
