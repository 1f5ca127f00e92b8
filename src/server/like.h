/* like.h - patterns of LIKE: % any run of characters, _ one, \ before what stands for itself. */
#ifndef SERVER_LIKE_H
#define SERVER_LIKE_H

#include "base/slice.h"

#include <stdint.h>

struct like {
    struct slice pattern;
    bool any_case; /* of ASCII letters */
    bool star;     /* * is % too, as PostgREST takes it */
};

/* Whether the whole text fits. *inout_work goes down by one for each step; at 0 it ends, false. */
bool like_matches(const struct like *like, struct slice text, uint64_t *inout_work);

#endif
