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

#endif
