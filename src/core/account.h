/* account.h - accounts and sessions: what a sign-up, a sign-in, a refresh decide.
 *
 * Passwords are hashed and checked outside (server/password.h): here they are opaque texts.
 * Refresh tokens are not stored. A token is a session and a number, signed by the server
 * (server/refresh.h); the session's row says which number is the present one:
 *
 *     the present one          a new one is given, the number rises
 *     the one before it        its answer was lost: the present one is given again
 *     older, within 10 s       the same: several tabs that woke at once
 *     older                    stolen or copied: the session ends
 *     newer than ours          the store came back older: it is taken as the present one */
#ifndef CORE_ACCOUNT_H
#define CORE_ACCOUNT_H

#include "json/json.h"
#include "store/store.h"

#define ACCOUNT_REUSE_US INT64_C(10000000)

enum account_verb {
    ACCOUNT_FIND,     /* email; reads */
    ACCOUNT_GET,      /* user, and session where with_session; reads */
    ACCOUNT_LIST,     /* after (or with_after false), max; reads */
    ACCOUNT_SIGN_UP,  /* user, session, email (absent: anonymous), password, metadata */
    ACCOUNT_ADD,      /* as sign-up, without a session */
    ACCOUNT_SIGN_IN,  /* user, session; password: the stored hash that was checked */
    ACCOUNT_REFRESH,  /* session, counter */
    ACCOUNT_UPDATE,   /* user; email, password and metadata where they are there; session: which
                         one lives on where the password changes (with_session) */
    ACCOUNT_DISABLE,  /* user, disabled */
    ACCOUNT_SIGN_OUT, /* user, session, scope */
    ACCOUNT_DELETE    /* user, and everything that is the user's */
};

enum account_scope { ACCOUNT_SCOPE_GLOBAL, ACCOUNT_SCOPE_LOCAL, ACCOUNT_SCOPE_OTHERS };

enum account_outcome {
    ACCOUNT_DONE,
    ACCOUNT_EXISTS,     /* another account has this email */
    ACCOUNT_UNKNOWN,    /* no such account */
    ACCOUNT_NO_SESSION, /* no such session */
    ACCOUNT_USED,       /* an old refresh token came again: the session has ended */
    ACCOUNT_IS_DISABLED,
    ACCOUNT_CHANGED /* the password changed while it was checked */
};

struct account_call {
    enum account_verb verb;
    struct uuid user;
    struct uuid session;
    bool with_session;
    bool with_after;
    struct uuid after;
    uint32_t max;
    int64_t counter;
    struct slice email;         /* lower case */
    struct slice password;      /* hash */
    struct json_value metadata; /* an object, or absent */
    bool disabled;
    enum account_scope scope;
};

struct account_result {
    enum account_outcome outcome;
    struct store_account account;
    struct store_session session;
    struct store_accounts list;
};

/* Whether a verb only reads. */
bool account_only_reads(enum account_verb verb);

#endif
