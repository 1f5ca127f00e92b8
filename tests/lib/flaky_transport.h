/* flaky_transport.h - a transport around another one that loses or replaces answers. */
#ifndef TESTS_FLAKY_TRANSPORT_H
#define TESTS_FLAKY_TRANSPORT_H

#include "client/transport.h"

#include <stdatomic.h>

/* Shared with the test; any thread. */
struct flaky {
    atomic_uint lose_answers;    /* of the next n requests, which the server gets */
    atomic_uint replace_answers; /* the same, but the client sees http_status instead */
    atomic_int http_status;
    atomic_uint n_lost;
    atomic_uint n_replaced;
};

/* Takes over `real`. */
struct transport *flaky_transport_new(struct transport *real, struct flaky *flaky);

#endif
