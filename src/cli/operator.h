/* operator.h - how an operator's command reaches a store: itself, or a server's functions.
 *
 *     --store STORE                 the store itself: sqlite:PATH (for writing, no server may use
 *                                   it) or postgres://...
 *     --url URL --token TOKEN       a server; writing wants a service_role token
 *
 * Both give the same answers: the file through the same ops that the server runs. */
#ifndef CLI_OPERATOR_H
#define CLI_OPERATOR_H

#include <stdbool.h>

#include "cli/remote.h"
#include "core/op.h"
#include "store/open.h"

struct operator {
    const char *store;
    const char *url;
    const char *token;
    const char *token_file;
    bool json;
    bool create; /* a store that is not there is made */
    struct store *opened;
    struct buf place; /* the store without its password, for messages */
    struct remote remote;
    struct buf bearer;
};

#define OPERATOR_OPTIONS(operator)                                                                 \
    OPTION_TEXT("store", "STORE", &(operator)->store, "the store itself: " STORE_PLACES),          \
        OPTION_TEXT("url", "URL", &(operator)->url, "a server"),                                   \
        OPTION_TEXT("token", "TOKEN", &(operator)->token, "for --url: a service_role token"),      \
        OPTION_TEXT("token-file", "FILE", &(operator)->token_file, "read it from FILE"),           \
        OPTION_FLAG("json", &(operator)->json, "results as one JSON value a line")

/* True when neither a store nor a server was named. */
bool operator_is_nowhere(const struct operator *operator);

/* The PATH of sqlite:PATH; NULL after a sentence where the store is none. */
const char *operator_sqlite_path(const char *store);

/* How a message names the store; "" where memory is short. Valid until operator_close().  */
const char *operator_place(const struct operator *operator);

/* Reads --token or --token-file into bearer; empty where neither was given. CLI_OK or an exit
 * code. */
int operator_read_token(struct operator *operator);

/* CLI_OK or an exit code after its sentence; operator_close() in either case. */
int operator_open(struct operator *operator, bool writing);
void operator_close(struct operator *operator);

/* A new epoch for a store: random hex, NUL behind it. CLI_OK or an exit code after its sentence. */
#define OPERATOR_EPOCH_TEXT 32u
int operator_make_epoch(bool json, char out[OPERATOR_EPOCH_TEXT + 1]);

/* {"version": n, "policies": {pattern: policy}} in the arena. CLI_OK or an exit code. */
int operator_policies(struct operator *operator, struct arena *arena, struct json_value *out);

/* Sets or, with an absent policy, removes one. CLI_OK or an exit code. */
int operator_set_policy(struct operator *operator, struct arena *arena, const char *pattern,
                        const struct json_value *policy);

/* A request to /auth/v1/admin (docs/protocol.md, "Accounts") of a server or, by the same code, of
 * a file; its answer in the arena. CLI_OK or an exit code. */
int operator_accounts(struct operator *operator, struct arena *arena,
                      const struct remote_request *request, struct json_value *out);

/* Removes everything of a user, the account too where there is one. CLI_OK or an exit code. */
int operator_erase(struct operator *operator, struct arena *arena, const struct uuid *user);

#endif
