/* isolation.h - nobody reads, writes or hears another user: every entry of a service, asked by all
 * roles that are not the owner, with every forgery that fits (docs/security.md,
 * docs/reliability.md).
 *
 * The driver does not know what it talks to. A target gives the list of what can be asked ("METHOD
 * PATH ROLE", as `bqsync serve --routes` prints it), sends a request, and makes tokens. An entry of
 * the list that isolation_entries.c does not know is counted: it has no test, and the suite is red.
 *
 * The victim A owns one of everything, and each thing has a text in it that is nowhere else, its
 * canary. What anybody else gets is searched for A's canaries, byte by byte, also as base64url at
 * each of its three offsets, since tokens hold texts in that form; and after each entry A's things
 * have to be what they were. So that neither search can be blind, each entry is first asked by an
 * owner, whose answer must show his canary or change his things, whichever the entry is there for.
 *
 * Aborts where a test's own machinery fails. */
#ifndef TESTS_ISOLATION_H
#define TESTS_ISOLATION_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

/* Who asks. The first is the owner; all others must not get anything of A's. */
enum iso_role {
    ISO_OWNER,
    ISO_NONE,     /* no token */
    ISO_ANON,     /* a token of nobody */
    ISO_OTHER,    /* B, with a good token */
    ISO_EXPIRED,  /* A's token, over */
    ISO_AUDIENCE, /* A's token, for another service */
    ISO_FORGED,   /* A's token as it is, under another key */
    ISO_UNSIGNED, /* A's claims under "alg": "none" */
    ISO_SERVICE,  /* an operator's token, which names somebody else */
    ISO_SWAPPED,  /* realtime alone: A's token on a socket of B's */
    ISO_ROLES
};

const char *iso_role_name(enum iso_role role);

#define ISO_ID_SIZE 40
#define ISO_CANARY_SIZE 32

/* A user with its names, and what its canaries begin with. Names can be guessed, so forgeries use
 * them; canaries cannot. The email is both: it is looked for where the request did not say it. */
struct iso_user {
    char id[ISO_ID_SIZE];
    char canary[ISO_CANARY_SIZE];
    char email[64];
    char device[64];
    char key[64];
    char refresh[512]; /* a refresh token; "" */
    bool account;
};

struct iso_request {
    const char *method;
    const char *path;   /* with its query */
    const char *token;  /* NULL: none */
    const char *fields; /* more fields, each with CR LF; NULL: none */
    const char *body;   /* NULL: none */
    const char *behind; /* where there are connections: on one on which this token has just asked
                         * for its own documents; NULL: on a new one */
};

struct iso_answer {
    int status;       /* 0: none came */
    struct buf bytes; /* header and body as they came */
    size_t body_at;
};

struct iso_target {
    void *cls;
    const char *entries; /* a line each */
    bool has_accounts;
    unsigned port; /* of realtime on this host; 0: none */

    /* Sends it; the answer is the caller's to release. */
    void (*call)(void *cls, const struct iso_request *request, struct iso_answer *out);

    /* The token of this role about this user, to be freed; NULL for ISO_NONE. */
    char *(*token)(void *cls, enum iso_role role, const char *user);

    /* All that is stored about this user, where a target can look past its entries; NULL: what the
     * owner is shown. */
    void (*snapshot)(void *cls, const char *user, struct buf *out);
};

struct iso {
    const struct iso_target *target;
    struct iso_user a;     /* the victim */
    struct iso_user b;     /* the one who wants to know */
    struct iso_user spare; /* whom ISO_SERVICE names: may be erased */
    unsigned long long n;  /* gives each request a number of its own */
    struct buf baseline;   /* A's things, as they have to stay */
    bool quick;            /* to the first thing that is wrong, without controls and passwords */

    unsigned n_entries;
    unsigned n_untested;  /* entries without a test */
    unsigned n_forgeries; /* kinds that fitted an entry */
    unsigned used;        /* those of the walk, a bit each */
    uint64_t n_requests;  /* answers, messages and sockets that were looked through */
    uint64_t n_reads;     /* answers with anything of A's in them */
    uint64_t n_writes;    /* entries after which A's things were different */
    uint64_t n_canaries;  /* canaries of A's in what others got over sockets */
    uint64_t n_blind;     /* controls that did not show what they are there for */
};

/* Makes the three users and what they own. */
void iso_init(struct iso *iso, const struct iso_target *target);
void iso_release(struct iso *iso);

/* All entries by all roles with all forgeries. */
void iso_walk(struct iso *iso);

/* Sockets: topics, filters, tables, tokens, broadcasts and presence of others; then `rounds` of
 * sockets that come and go, so that slots are used again. */
void iso_listen(struct iso *iso);
void iso_churn(struct iso *iso, unsigned rounds, uint64_t seed);

/* After everything: A's session and device are still there. */
void iso_finish(struct iso *iso);

/* Whether anything was wrong; whether it is enough. */
bool iso_failed(const struct iso *iso);
bool iso_is_over(const struct iso *iso);

/* ---- Between the files of the driver --------------------------------------------------------- */

enum iso_flags {
    ISO_WRITES = 1,   /* the control changes what the owner sees */
    ISO_OPERATOR = 2, /* an operator sees or changes everybody's here: not asked as ISO_SERVICE */
    ISO_ACCOUNT = 4,  /* needs an account */
    ISO_COSTLY = 8,   /* hashes a password: forgeries of the body alone */
    ISO_SOCKET = 16,  /* iso_listen() asks it */
};

/* How an entry is asked. In query and body stand for the user that is meant: $U id, $D device,
 * $K key, $E email, $W password, $R refresh token; $N is a number that comes once. */
struct iso_entry {
    const char *method;
    const char *path; /* as in the list */
    const char *query;
    const char *fields;
    const char *body;
    enum iso_role control; /* who may: the owner, ISO_SERVICE, ISO_NONE; ISO_ROLES: nobody */
    int status;            /* that the control gets */
    const char *shows;     /* behind the owner's canary, in the control's answer; NULL */
    unsigned flags;
};

/* The i-th way to ask this entry; NULL behind the last. */
const struct iso_entry *iso_entry_find(struct slice method, struct slice path, unsigned i);

/* A user with one of everything, under a new id; account: one that can sign in. */
void iso_user_make(struct iso *iso, struct iso_user *out, char letter, bool account);

/* What belongs to the user, as its owner sees it or the target does. */
void iso_snapshot(struct iso *iso, const struct iso_user *user, struct buf *out);

/* Whether a canary of the user, or his email where nobody said it, is in these bytes, as it is or
 * in base64url. */
bool iso_sees(const struct iso_user *user, struct slice bytes, bool said_email);

void iso_call(struct iso *iso, const struct iso_request *request, struct iso_answer *out);
void iso_answer_release(struct iso_answer *answer);

/* POST of a function as this user's owner; the status. */
int iso_rpc(struct iso *iso, const struct iso_user *user, const char *function, const char *body);

#endif
