/* problem.h - why a request is refused, as a PostgREST client expects to hear it: an HTTP status
 * and an object of code, details, hint and message (docs/protocol.md, "Errors").
 *
 * Texts are in the request's arena or constant; NULL prints null. */
#ifndef SERVER_PROBLEM_H
#define SERVER_PROBLEM_H

#include "base/arena.h"

enum problem_challenge { CHALLENGE_NONE, CHALLENGE_BEARER, CHALLENGE_INVALID_TOKEN };

struct problem {
    unsigned http; /* 0: there is none */
    const char *code;
    const char *message;
    const char *details;
    const char *hint;
    enum problem_challenge challenge; /* WWW-Authenticate */
    bool gateway;         /* the two-key object of the API gateway: message and hint alone */
    bool close;           /* the connection cannot go on */
    unsigned retry_after_s; /* 0: none */
};

#define PROBLEM_NONE ((struct problem){0})

/* A constant text, no details. */
struct problem problem_of(unsigned http, const char *code, const char *message);

/* The same with details. */
struct problem problem_detailed(unsigned http, const char *code, const char *message,
                                const char *details);

/* printf into the arena, cut at 1 KiB; "" when memory is exhausted. */
const char *problem_format(struct arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A BQ_ status of the store or of an op; message (copied) is its sentence, or "" for the
 * status's. */
struct problem problem_of_status(struct arena *arena, int status, const char *message);

#endif
