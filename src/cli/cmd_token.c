/* cmd_token.c - bqsync token: makes a token for a user, a test or an operator. */
#include "base/status.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "server/clock.h"
#include "server/jwt_sign.h"

#include <openssl/crypto.h>

struct token {
    const char *user;
    const char *secret_file;
    const char *role;
    int64_t ttl_ms;
    bool json;
};

static bool role_of(const char *word, enum role *out)
{
    for (enum role role = ROLE_ANON; role <= ROLE_SERVICE; role++) {
        if (strcmp(word, role_word(role)) == 0) {
            *out = role;
            return true;
        }
    }
    return false;
}

static int sign(const struct token *token, const struct jwt_grant *grant, struct buf *out)
{
    char error[512] = "";
    struct buf secret = BUF_INIT;
    int status = jwt_secret_load(token->secret_file, &secret, error, sizeof error);
    if (status == BQ_OK) {
        status = jwt_sign(buf_slice(&secret), grant, out);
    }
    if (secret.ptr != NULL) {
        OPENSSL_cleanse(secret.ptr, secret.size);
    }
    buf_release(&secret);
    if (status != BQ_OK) {
        return output_fail(token->json, status, "%s",
                           error[0] == '\0' ? status_text(status) : error);
    }
    return CLI_OK;
}

static int print(const struct token *token, const struct jwt_grant *grant)
{
    struct buf text = BUF_INIT;
    struct buf line = BUF_INIT;
    int result = sign(token, grant, &text);
    if (result == CLI_OK && token->json) {
        output_begin(&line);
        output_text(&line, "token", buf_slice(&text));
        output_int(&line, "expires_at", grant->now_s + grant->ttl_s);
        output_close(&line);
        result = output_line(true, &line);
    } else if (result == CLI_OK) {
        result = output_line(false, &text);
    }
    buf_release(&text);
    buf_release(&line);
    return result;
}

int cmd_token(int argc, char **argv)
{
    struct token token = {.role = "authenticated", .ttl_ms = 3600000};
    struct jwt_grant grant = {.now_s = clock_wall_us() / 1000000};
    struct uuid user;
    int n;
    const struct option_spec options[] = {
        OPTION_TEXT("user", "UUID", &token.user, "the user; demanded of role authenticated"),
        OPTION_TEXT("jwt-secret-file", "FILE", &token.secret_file, "the secret of the server"),
        OPTION_TEXT("role", "ROLE", &token.role,
                    "authenticated (default), anon or service_role"),
        OPTION_DURATION("ttl", "TIME", &token.ttl_ms, "how long it is valid (default 1h)"),
        OPTION_FLAG("json", &token.json, "the result as one JSON value"),
    };
    const struct command_line line = {
        "token", "",
        "Prints a token (HS256). Whoever has it is that user until it ends; one of service_role\n"
        "may do everything.\n",
        options, OPTION_COUNT(options), 0, 0};
    int done = options_parse(&line, argc, argv, &n);
    if (done != OPTIONS_GO) {
        return done;
    }
    grant.ttl_s = token.ttl_ms / 1000;
    if (token.secret_file == NULL || !role_of(token.role, &grant.role) || grant.ttl_s <= 0) {
        output_fail(token.json, BQ_INVALID,
                    token.secret_file == NULL ? "--jwt-secret-file is missing"
                    : grant.ttl_s <= 0        ? "--ttl is at least 1s"
                                              : "--role is authenticated, anon or service_role");
        return CLI_USAGE;
    }
    if (token.user == NULL ? grant.role == ROLE_AUTHENTICATED
                           : !uuid_parse(slice_of(token.user), &user)) {
        output_fail(token.json, BQ_INVALID, "--user wants the user's uuid");
        return CLI_USAGE;
    }
    grant.user = token.user == NULL ? NULL : &user;
    return print(&token, &grant);
}
