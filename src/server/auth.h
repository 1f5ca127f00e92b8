/* auth.h - sign-up, sign-in, sessions: what clients expect at /auth/v1 (docs/protocol.md,
 * "Accounts").
 *
 * A call goes in steps, because passwords are hashed by one thread and the store is written by
 * another: auth_begin() and then auth_next() say what is to be done, until AUTH_ANSWER. The caller
 * (request.c) does it: reads the op, hands the job to the password threads, hands the op to the
 * committer. Answers are JSON in the form of GoTrue. */
#ifndef SERVER_AUTH_H
#define SERVER_AUTH_H

#include "core/op.h"
#include "server/head.h"
#include "server/jwt.h"
#include "server/password.h"
#include "server/rate.h"
#include "server/reply.h"
#include "server/signer.h"
#include "server/uri.h"

/* Of one server; read-only but for what its parts lock themselves. */
struct auth {
    const struct signer *signer;
    struct passwords *passwords;
    struct rate *tries;     /* of passwords, by address */
    struct rate *anonymous; /* sign-ups, by address */
    struct jwt *jwt;
    const char *issuer;
    int64_t ttl_s; /* of access tokens */
    bool allows_sign_up;
    bool allows_anonymous;
};

enum auth_step {
    AUTH_READ,  /* run the op on a reader, then auth_next() */
    AUTH_HASH,  /* run the password job, then auth_next() */
    AUTH_WRITE, /* run the op through the committer, then auth_next() */
    AUTH_ANSWER
};

struct auth_request {
    const struct auth *auth;
    struct arena *arena;
    const char *method;
    struct slice path; /* what stands behind /auth/v1/ */
    const struct uri *uri;
    const struct head *head;
    struct slice body;
    struct slice address; /* of the client, as text */
    struct slice bearer;  /* of Authorization; SLICE_NONE: none, or the key itself */
    enum role key_role;   /* that of the api key, or of a service_role bearer */
    int64_t now_us;
};

struct auth_endpoint;

struct auth_error {
    unsigned http; /* 0: none */
    const char *code;
    const char *message;
    const char *weak; /* "length": why a password is weak, or NULL */
    unsigned retry_after_s;
};

struct auth_call {
    struct password_job password; /* first: the job's done() finds the call */
    void *owner; /* the caller's, for the job's done() */
    struct auth_request in;
    const struct auth_endpoint *endpoint;
    unsigned stage;
    struct op *op;
    struct json_value body;
    struct jwt_identity identity; /* of the bearer, where the endpoint wants one */
    struct slice email;
    struct slice typed; /* password */
    struct auth_error error;
};

/* Whether a path names an endpoint for these methods; *out_open: no api key is wanted. */
bool auth_path_known(const char *method, struct slice path, bool *out_open);

/* The call's owner and password.done are the caller's to set before. in is copied; op is filled in
 * when a step wants it, and read in the next one. */
enum auth_step auth_begin(struct auth_call *call, const struct auth_request *in, struct op *op);

/* status: what became of the step as a whole (the store's, the queue's). */
enum auth_step auth_next(struct auth_call *call, int status);

/* The answer, or the error. */
void auth_answer(struct auth_call *call, struct reply *reply);

/* An answer for who comes to /auth/v1 with what cannot be taken at all. */
void auth_answer_error(const struct head *head, const struct auth_error *error,
                       struct reply *reply);

#endif
