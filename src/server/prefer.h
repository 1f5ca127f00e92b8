/* prefer.h - what a request prefers (RFC 7240, PostgREST's words): of each kind the first one that
 * is known counts, the others are passed over unless handling=strict asks for an error. */
#ifndef SERVER_PREFER_H
#define SERVER_PREFER_H

#include "server/problem.h"

#define PREFER_FIELDS 4u /* Prefer may stand in a header more than once */
#define PREFER_APPLIED_BYTES 160u

enum prefer_resolution { RESOLUTION_NONE, RESOLUTION_MERGE, RESOLUTION_IGNORE };
enum prefer_return { RETURN_NONE, RETURN_MINIMAL, RETURN_HEADERS, RETURN_ROWS };
enum prefer_count { COUNT_NONE, COUNT_EXACT, COUNT_PLANNED, COUNT_ESTIMATED };
enum prefer_missing { MISSING_NONE, MISSING_NULL, MISSING_DEFAULT };

struct prefer {
    enum prefer_resolution resolution;
    enum prefer_return returns;
    enum prefer_count count;
    enum prefer_missing missing;
    bool strict;
    bool lenient;
};

/* Reads the fields; absent ones are skipped. False with *problem where strict handling meets a word
 * that is not known. */
bool prefer_read(struct arena *arena, const struct slice *fields, unsigned n_fields,
                 struct prefer *out, struct problem *problem);

/* Writes the words that were obeyed, for Preference-Applied; "" where there are none. */
void prefer_print(const struct prefer *prefer, char out[PREFER_APPLIED_BYTES]);

#endif
