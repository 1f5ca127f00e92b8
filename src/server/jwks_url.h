/* jwks_url.h - the public keys of another issuer, read from the address that the operator gives
 * (--jwks-url; docs/security.md J7).
 *
 * The address is https, or http to this machine; the certificate is verified, nothing is followed
 * elsewhere, a set has at most JWKS_URL_BYTES and JWKS_URL_TIMEOUT_MS to come. It is read when the
 * server starts, and later by a thread of its own: every JWKS_URL_EVERY_US, and when a token named
 * a key that is not there, but at most once in JWKS_URL_PAUSE_US, whatever tokens say. Where
 * reading fails the keys of before stay, and it is tried again after that pause. No request waits
 * for it. */
#ifndef SERVER_JWKS_URL_H
#define SERVER_JWKS_URL_H

#include "base/log.h"
#include "server/jwt.h"

#define JWKS_URL_BYTES (64u << 10)
#define JWKS_URL_TIMEOUT_MS 10000
#define JWKS_URL_PAUSE_US INT64_C(60000000)
#define JWKS_URL_EVERY_US INT64_C(600000000)

struct jwks_url;

/* Borrowed until jwks_url_free(). */
struct jwks_url_config {
    size_t size; /* sizeof(struct jwks_url_config) */
    const char *url;
    const char *ca_file;         /* whom to trust instead of the system's list; NULL */
    struct jwt *jwt;             /* gets the keys */
    const struct log *log;
    int64_t (*clock_us)(void *); /* NULL: clock_us() of clock.h; a test's own */
    void *cls;
    int64_t timeout_ms;          /* 0: JWKS_URL_TIMEOUT_MS */
};

/* Whether a server may read keys there; NULL, or what is wrong. */
const char *jwks_url_problem(const char *url);

/* Reads the keys; waits for them. BQ_OK, BQ_NOMEM, or with a sentence BQ_INVALID (the address, or
 * what came is no set of keys), BQ_NETWORK, BQ_TIMEOUT, BQ_TOO_LARGE. */
int jwks_url_open(const struct jwks_url_config *config, struct jwks_url **out, char *error,
                  size_t error_size);

/* Begins the thread. BQ_OK, BQ_NOMEM. */
int jwks_url_start(struct jwks_url *jwks);

/* Ends the thread, in the middle of reading too. */
void jwks_url_free(struct jwks_url *jwks);

/* A token named a key that is not there. Any thread; never waits. */
void jwks_url_want(struct jwks_url *jwks);

/* What the thread does, for tests without one: reads where it is time to; answers when it will be
 * time again. */
int64_t jwks_url_step(struct jwks_url *jwks, int64_t now_us);

#endif
