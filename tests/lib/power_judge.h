/* power_judge.h - the suite `powerloss`: verdicts, a fingerprint of a database, and what a subject
 * (the client's file, the server's store) gives to be put through power losses. */
#ifndef TESTS_POWER_JUDGE_H
#define TESTS_POWER_JUDGE_H

#include "power_vfs.h"

#include <sqlite3.h>

enum power_verdict {
    POWER_GOOD,
    POWER_LOST,    /* whole, but an acknowledged change is gone */
    POWER_CORRUPT, /* does not open, or the integrity check finds something */
    POWER_HALF,    /* no state that ever was between two steps */
    POWER_INEXACT, /* going on against the server did not end exact */
    POWER_VERDICTS
};

extern const char *const power_verdict_names[POWER_VERDICTS];

#define POWER_WHY 400

/* Why the last verdict was not good. */
extern char power_why[POWER_WHY];

enum power_verdict power_say(enum power_verdict verdict, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A fingerprint of all rows of all tables and of the schema; 0: it cannot be read. */
uint64_t power_dump(sqlite3 *db);

/* PRAGMA integrity_check says ok; else a sentence in power_why. */
bool power_sound(sqlite3 *db);

/* The number that a query gives; -1 where it fails. */
int64_t power_number(sqlite3 *db, const char *sql);

/* States of a file, in the order of their commits. */
struct power_state {
    size_t at; /* calls in the log when it was committed */
    uint64_t dump;
};

/* What may be found when the power went during call k: the state that was committed last (*out)
 * and the next one, whose commit was under way. */
size_t power_states_at(const struct power_state *states, size_t n, size_t k);

/* The newest state of this fingerprint up to index last; n where it is none of them. */
size_t power_states_find(const struct power_state *states, size_t n, size_t last, uint64_t dump);

struct power_work {
    uint64_t seed;
    unsigned n_steps;        /* about how many changes */
    const char *synchronous; /* NULL: as shipped */
    bool powersafe;
};

#define POWER_ANY SIZE_MAX

struct power_subject {
    const char *name;

    /* Runs a history on the VFS, beginning with a disk of its own, and records it. */
    void (*work)(const struct power_work *work, struct power_log *log);

    /* Opens what is mounted, where the power went during call k, and looks. only: the one state
     * that may be there, or POWER_ANY; *out_found takes the state that was there. */
    enum power_verdict (*judge)(size_t k, size_t only, size_t *out_found);

    /* Opens what is mounted, of which judge() found `found`, and goes on to the end. */
    enum power_verdict (*go_on)(size_t k, size_t found);

    /* Forgets the history. */
    void (*forget)(void);
};

extern const struct power_subject power_client;
extern const struct power_subject power_store;
extern const struct power_subject power_upgrade;

#endif
