/* gateway.h - the API gateway's part: keys, and whose claims a request carries (docs/protocol.md,
 * "Tokens").
 *
 * A client sends `apikey` with everything and `Authorization: Bearer` with its user's token, or
 * with the key itself where nobody is signed in. Keys are the publishable one (anon), the secret
 * one (service_role), and JWTs of the server's own secret with those roles. Where no key is
 * configured any is accepted, and none. */
#ifndef SERVER_GATEWAY_H
#define SERVER_GATEWAY_H

#include "server/head.h"
#include "server/jwt.h"
#include "server/problem.h"
#include "server/uri.h"

struct gateway {
    struct jwt *jwt;
    struct slice publishable_key; /* SLICE_NONE: not configured */
    struct slice secret_key;
};

/* Who the request speaks for; false with *problem where it is refused. */
bool gateway_identify(const struct gateway *gateway, struct arena *arena, const struct head *head,
                      const struct uri *uri, int64_t now_s, struct jwt_identity *out,
                      struct problem *problem);

/* The key alone, for routes that look at the token themselves: what the key (or a service_role
 * token) stands for, and the token beside it (SLICE_NONE: none, or the key again). */
bool gateway_admit(const struct gateway *gateway, struct arena *arena, const struct head *head,
                   const struct uri *uri, int64_t now_s, enum role *out_role,
                   struct slice *out_bearer, struct problem *problem);

/* What an API key is: for those who ask about the key alone. */
enum gateway_key {
    GATEWAY_KEY_NONE,    /* none, and one is demanded */
    GATEWAY_KEY_OURS,    /* configured, or nothing is: *out_role */
    GATEWAY_KEY_JWT,     /* to be verified as a token */
    GATEWAY_KEY_UNKNOWN
};

enum gateway_key gateway_key(const struct gateway *gateway, struct slice apikey,
                             enum role *out_role);

/* Whether a key is configured, so that every call has to bring one. */
bool gateway_demands_key(const struct gateway *gateway);

#endif
