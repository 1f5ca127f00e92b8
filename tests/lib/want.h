/* want.h - what a test expects of a refusal: status, and the four keys of an error object. */
#ifndef TESTS_WANT_H
#define TESTS_WANT_H

#include "http_client.h"

/* NULL: null. */
struct want {
    int status;
    const char *code;
    const char *message;
    const char *details;
    const char *hint;
};

/* Status, code, message; details and hint may be left out. */
#define WANT(...) WANT_OF(__VA_ARGS__, NULL, NULL, NULL)
#define WANT_OF(status, code, message, details, hint, ...)                                         \
    ((struct want){status, code, message, details, hint})

/* The four keys in their order, all of them, code and message strings. */
void want_problem(const struct http_answer *answer, const struct want *want);

/* Sends the request to the port and expects the refusal. */
void want_refused(unsigned port, const struct http_request *request, struct want want);

#endif
