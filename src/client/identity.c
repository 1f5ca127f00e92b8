/* identity.c - see identity.h; the form is RFC 7515 section 7.1 and RFC 7519 section 4.1.2. */
#include "client/identity.h"

#include "base/base64url.h"
#include "bqsync.h"
#include "json/json.h"

#define CLAIMS_DEPTH 16u

static int refuse(const char **out_why, const char *why)
{
    *out_why = why;
    return BQ_AUTH;
}

/* The three parts, none of them empty. */
static bool split(struct slice token, struct slice parts[3])
{
    size_t start = 0;
    for (int i = 0; i < 3; i++) {
        const char *at = token.ptr + start;
        const char *dot = memchr(at, '.', token.len - start);
        size_t len = dot == NULL ? token.len - start : (size_t)(dot - at);
        if (len == 0 || (dot == NULL) != (i == 2)) {
            return false;
        }
        parts[i] = (struct slice){at, len};
        start += len + 1;
    }
    return true;
}

static int read_parts(struct arena *arena, const struct slice parts[3], struct uuid *out,
                      const char **out_why)
{
    struct slice bytes[3];
    struct json_value claims;
    for (int i = 0; i < 3; i++) {
        if (!base64url_read(arena, parts[i], &bytes[i])) {
            return arena_failed(arena) ? BQ_NOMEM
                                       : refuse(out_why, "a part of the token is not base64url");
        }
    }
    int status = json_parse(arena, bytes[1], CLAIMS_DEPTH, &claims, NULL);
    if (status == BQ_NOMEM) {
        return status;
    }
    if (status != BQ_OK || claims.type != JSON_OBJECT) {
        return refuse(out_why, "the token's claims are not a JSON object");
    }
    const struct json_value *sub = json_get(&claims, "sub");
    if (!json_is(sub, JSON_STRING) || !uuid_parse(json_text(sub), out)) {
        return refuse(out_why, "the token's sub is not a uuid");
    }
    return BQ_OK;
}

int identity_of_token(const char *token, struct uuid *out, const char **out_why)
{
    struct slice text = {token, strnlen(token, IDENTITY_TOKEN_BYTES + 1)};
    struct slice parts[3];
    struct arena arena;
    if (text.len > IDENTITY_TOKEN_BYTES) {
        return refuse(out_why, "the token has over 8,192 bytes");
    }
    if (!split(text, parts)) {
        return refuse(out_why, "the token does not have three parts");
    }
    arena_init(&arena);
    int status = read_parts(&arena, parts, out, out_why);
    arena_release(&arena);
    return status;
}
