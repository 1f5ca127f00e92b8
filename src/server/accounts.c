/* accounts.c - see accounts.h. */
#include "server/accounts.h"

#include "base/mem.h"
#include "base/status.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

#define PASSWORD_THREADS 1u /* 32 MiB each while they work */
#define PASSWORD_QUEUE 64u
#define TRIES 60 /* of passwords, of an address, in TRIES_US */
#define TRIES_US INT64_C(300000000)
#define ANONYMOUS 30 /* accounts, of an address, in ANONYMOUS_US */
#define ANONYMOUS_US INT64_C(3600000000)
#define ISSUER_BYTES 512u

struct accounts {
    struct auth auth;
    struct signer *signer;
    char issuer[ISSUER_BYTES];
};

static bool is_on(const struct server_config *config)
{
    return strcmp(config->accounts, "on") == 0 ||
           (strcmp(config->accounts, "auto") == 0 && config->jwt_secret_file == NULL &&
            config->jwks_file == NULL && config->jwks_url == NULL);
}

/* Whether the key of ES256 has a place: named, or beside the store's file. A database has none. */
static bool has_key_file(const struct server_config *config)
{
    return config->accounts_key_file != NULL || strncmp(config->store, "sqlite:", 7) == 0;
}

/* What is wrong with the options; NULL: nothing. */
static const char *problem_of_config(const struct server_config *config, struct slice secret)
{
    bool es256 = strcmp(config->accounts_algorithm, "ES256") == 0;
    if (strcmp(config->accounts, "on") != 0 && strcmp(config->accounts, "off") != 0 &&
        strcmp(config->accounts, "auto") != 0) {
        return "--accounts is on, off or auto";
    }
    if (!es256 && strcmp(config->accounts_algorithm, "HS256") != 0) {
        return "--accounts-algorithm is ES256 or HS256";
    }
    if (is_on(config) && !es256 && secret.ptr == NULL) {
        return "--accounts-algorithm HS256 needs --jwt-secret-file";
    }
    if (is_on(config) && es256 && !has_key_file(config)) {
        return "accounts on a database need --accounts-key-file FILE, the same on all its servers, "
               "or name whose tokens count: --jwt-secret-file, --jwks-file or --jwks-url";
    }
    if (config->public_url != NULL && strlen(config->public_url) > ISSUER_BYTES - 16) {
        return "--public-url is too long";
    }
    return NULL;
}

/* Beside the store's file, unless it is named. */
static int open_signer(const struct server_config *config, struct slice secret, struct signer **out,
                       char *error, size_t error_size)
{
    char path[4096];
    const char *named = config->accounts_key_file;
    if (strcmp(config->accounts_algorithm, "HS256") == 0) {
        return signer_open_secret(secret, out);
    }
    if (named == NULL) {
        const char *file = strchr(config->store, ':');
        int n = snprintf(path, sizeof path, "%s.key", file == NULL ? config->store : file + 1);
        if (n < 0 || (size_t)n >= sizeof path) {
            snprintf(error, error_size, "the path of the store is too long");
            return BQ_INVALID;
        }
        named = path;
    }
    return signer_open(named, out, error, error_size);
}

static void set_issuer(struct accounts *accounts, const char *url)
{
    size_t n = url == NULL ? 0 : strlen(url);
    while (n > 0 && url[n - 1] == '/') {
        n--;
    }
    if (n == 0) {
        snprintf(accounts->issuer, sizeof accounts->issuer, "bqsync");
    } else {
        snprintf(accounts->issuer, sizeof accounts->issuer, "%.*s/auth/v1", (int)n, url);
    }
}

int accounts_open(const struct server_config *config, struct slice secret, struct jwt_keys *keys,
                  struct accounts **out, char *error, size_t error_size)
{
    const char *problem = problem_of_config(config, secret);
    *out = NULL;
    if (problem != NULL) {
        snprintf(error, error_size, "%s", problem);
        return BQ_INVALID;
    }
    if (!is_on(config)) {
        return BQ_OK;
    }
    struct accounts *accounts = mem_zalloc(1, sizeof *accounts);
    if (accounts == NULL) {
        return BQ_NOMEM;
    }
    set_issuer(accounts, config->public_url);
    accounts->auth.issuer = accounts->issuer;
    accounts->auth.ttl_s = config->accounts_ttl_ms / 1000;
    accounts->auth.allows_sign_up = config->accounts_sign_up;
    accounts->auth.allows_anonymous = config->accounts_anonymous;
    int status = open_signer(config, secret, &accounts->signer, error, error_size);
    accounts->auth.signer = accounts->signer;
    if (status == BQ_OK) {
        status = signer_add_key(accounts->signer, keys);
    }
    if (status != BQ_OK) {
        accounts_close(accounts);
        return status;
    }
    *out = accounts;
    return BQ_OK;
}

void accounts_close(struct accounts *accounts)
{
    if (accounts != NULL) {
        passwords_free(accounts->auth.passwords);
        rate_free(accounts->auth.tries);
        rate_free(accounts->auth.anonymous);
        signer_free(accounts->signer);
        mem_free(accounts);
    }
}

int accounts_start(struct accounts *accounts, struct jwt *jwt)
{
    uint64_t key[2];
    if (accounts == NULL) {
        return BQ_OK;
    }
    accounts->auth.jwt = jwt;
    int status = RAND_bytes((unsigned char *)key, sizeof key) == 1 ? BQ_OK : BQ_NOMEM;
    if (status == BQ_OK) {
        status = rate_new_slow(TRIES, TRIES_US, key, &accounts->auth.tries);
    }
    if (status == BQ_OK) {
        status = rate_new_slow(ANONYMOUS, ANONYMOUS_US, key, &accounts->auth.anonymous);
    }
    if (status == BQ_OK) {
        status = passwords_start(PASSWORD_THREADS, PASSWORD_QUEUE, &accounts->auth.passwords);
    }
    return status;
}

void accounts_stop(struct accounts *accounts)
{
    if (accounts != NULL) {
        passwords_stop(accounts->auth.passwords);
    }
}

struct auth *accounts_auth(struct accounts *accounts)
{
    return accounts == NULL ? NULL : &accounts->auth;
}
