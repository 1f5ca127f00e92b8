/* rt_claims.c - whose claims a channel has, and with that, in whose chain of the hub it hangs.
 *
 * No leeway here: a token that is over is over (the older system's rule), so that nobody hears
 * anything by a token that the next request would be refused with. */
#include "server/rt.h"

#include "base/hash.h"
#include "base/plant.h"
#include "base/status.h"
#include "server/clock.h"

#include <stdio.h>

uint64_t rt_token_hash(const struct realtime *rt, struct slice token)
{
    if (token.ptr == NULL) {
        return 0;
    }
    uint64_t hash = hash_text(token, rt->config.hub_key[0], rt->config.hub_key[1]).low;
    return hash == 0 ? 1 : hash;
}

#define MALFORMED "The token provided is not a valid JWT"
#define OVER "Token has expired"

static int refuse(struct rt_claims *out, const char *class, const char *text)
{
    out->class = class;
    out->text = text;
    snprintf(out->reason, sizeof out->reason, "%s", text);
    return BQ_AUTH;
}

static int refuse_expired(struct rt_claims *out, int64_t exp_s, int64_t now_s)
{
    (void)refuse(out, "InvalidJWTToken", OVER);
    snprintf(out->reason, sizeof out->reason, OVER " %lld seconds ago", (long long)(now_s - exp_s));
    return BQ_AUTH;
}

/* The older system's class and sentence for a refusal of jwt_verify(). */
static int refuse_as(const struct jwt_refusal *refusal, int64_t now_s, struct rt_claims *out)
{
    const char *message = refusal->message;
    if (refusal->exp_s != 0) {
        return refuse_expired(out, refusal->exp_s, now_s);
    }
    if (strstr(message, "'exp' claim") != NULL || strstr(message, "'role' claim") != NULL) {
        return refuse(out, "InvalidJWTToken", "Fields `role` and `exp` are required in JWT");
    }
    if (strcmp(message, "No suitable key or wrong key type") == 0) {
        return refuse(out, "JwtSignatureError", "Failed to validate JWT signature");
    }
    return refuse(out, "MalformedJWT", MALFORMED);
}

static int verify(const struct realtime *rt, struct slice token, int64_t now_s,
                  struct rt_claims *out)
{
    struct jwt_refusal refusal = {.code = NULL};
    int status = jwt_verify(rt->config.gateway->jwt, token, now_s, &out->identity, &refusal);
    if (status == BQ_AUTH) {
        return refuse_as(&refusal, now_s, out);
    }
    if (status != BQ_OK) {
        return refuse(out, "UnknownErrorOnChannel", status_text(status));
    }
    return out->identity.exp_s > now_s ? BQ_OK : refuse_expired(out, out->identity.exp_s, now_s);
}

static bool is_opaque(struct slice token)
{
    return token.len >= 3 && memcmp(token.ptr, "sb_", 3) == 0;
}

int rt_claims_of(struct realtime *rt, const struct rt_socket *socket, struct slice token,
                 struct rt_claims *out)
{
    int64_t now_s = clock_wall_us() / 1000000;
    *out = (struct rt_claims){.identity = socket->identity};
    if (token.ptr != NULL && token.len > 0 && !is_opaque(token)) {
        return verify(rt, token, now_s, out);
    }
    return socket->identity.exp_s > now_s ? BQ_OK
                                          : refuse_expired(out, socket->identity.exp_s, now_s);
}

bool realtime_identify(struct realtime *rt, struct slice apikey, int64_t now_s,
                       struct jwt_identity *out, const char **out_problem)
{
    struct rt_claims claims;
    const struct gateway *gateway = rt->config.gateway;
    *out = (struct jwt_identity){.role = ROLE_ANON, .exp_s = INT64_MAX};
    *out_problem = MALFORMED;
    switch (gateway_key(gateway, apikey, &out->role)) {
    case GATEWAY_KEY_NONE:
        *out_problem = "API key is missing";
        return false;
    case GATEWAY_KEY_OURS:
        return true;
    case GATEWAY_KEY_UNKNOWN:
        return false;
    case GATEWAY_KEY_JWT:
        break;
    }
    if (verify(rt, apikey, now_s, &claims) != BQ_OK) {
        *out_problem = claims.text;
        return false;
    }
    *out = claims.identity;
    /* A user's token is no key where keys are demanded. */
    return !claims.identity.has_user || !gateway_demands_key(gateway);
}

/* ---- In and out of the hub ------------------------------------------------------------------- */

unsigned rt_user_slot(const struct realtime *rt, const struct uuid *user)
{
    struct hash128 hash = hash_text(uuid_slice(user), rt->config.hub_key[0], rt->config.hub_key[1]);
    return (unsigned)(hash.low % RT_USER_SLOTS);
}

static _Atomic uint32_t *listening(struct realtime *rt, const struct uuid *user)
{
    return &rt->listening[rt_user_slot(rt, user)];
}

bool rt_is_heard(struct realtime *rt, const struct uuid *user)
{
    return atomic_load(listening(rt, user)) > 0;
}

static void leave(struct realtime *rt, struct rt_channel *channel)
{
    if (channel->hub.generation != 0) {
        hub_leave(rt->hub, channel->hub);
        channel->hub.generation = 0;
        atomic_fetch_sub(listening(rt, &channel->user), 1);
        rt_heard_leave(rt, &channel->user);
        rt_presence_end(rt, channel);
    }
}

static void count(void *cls, void *listener, struct hub_handle handle)
{
    (void)cls;
    (void)listener;
    (void)handle;
}

static int enter(struct realtime *rt, struct rt_channel *channel)
{
    if (hub_publish(rt->hub, &channel->user, count, NULL) >= RT_USER_CHANNELS) {
        return BQ_BUSY;
    }
    int status = hub_join(rt->hub, &channel->user, channel, &channel->hub);
    if (status == BQ_OK) {
        atomic_fetch_add(listening(rt, &channel->user), 1);
        rt_heard_enter(rt, &channel->user);
    }
    return status;
}

int rt_take_claims(struct realtime *rt, struct rt_channel *channel,
                   const struct jwt_identity *identity)
{
    bool same = channel->bound && identity->has_user &&
                memcmp(channel->user.text, identity->user.text, UUID_TEXT) == 0;
    if (identity->has_user && channel->bound && !same) {
        if (!PLANTED(TOKEN_SWAPPED)) {
            return BQ_AUTH;
        }
        leave(rt, channel);
    }
    if (!identity->has_user) {
        leave(rt, channel);
    } else if (channel->hub.generation == 0) {
        channel->user = identity->user;
        channel->bound = true;
        int status = enter(rt, channel);
        if (status != BQ_OK) {
            return status;
        }
    }
    channel->role = identity->role;
    channel->exp_s = identity->exp_s;
    channel->socket->trusted = channel->socket->trusted || identity->role != ROLE_ANON;
    return BQ_OK;
}
