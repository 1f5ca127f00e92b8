/* password.h - passwords: salted scrypt hashes (RFC 7914), made and checked by own threads.
 *
 * A hash costs some 100 ms and 32 MiB on purpose, so no HTTP thread does it and few run at a time;
 * when the queue is full the caller hears BQ_BUSY. A hash is the text
 * "$scrypt$ln=15,r=8,p=1$<salt>$<hash>", so that the costs can be raised later. */
#ifndef SERVER_PASSWORD_H
#define SERVER_PASSWORD_H

#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>

#define PASSWORD_TEXT 128u

struct password_job {
    struct slice password;    /* what was typed */
    struct slice stored;      /* compare with this hash; SLICE_NONE: nothing */
    bool make;                /* make a hash of it */
    bool decoy;               /* there is no such account: take as long as if there were */
    bool matches;             /* answer */
    char hash[PASSWORD_TEXT]; /* answer, NUL-terminated; "" where memory ended */
    /* A worker's thread; the job may be gone when this returns. */
    void (*done)(struct password_job *job);
    struct password_job *next;
};

struct passwords;

/* BQ_OK, BQ_NOMEM. */
int passwords_start(unsigned n_threads, size_t queue, struct passwords **out);

/* Does what waits, then ends the threads; later jobs are answered BQ_CLOSED. */
void passwords_stop(struct passwords *passwords);
void passwords_free(struct passwords *passwords);

/* Any thread. BQ_OK: done() will be called; BQ_BUSY, BQ_CLOSED. */
int passwords_submit(struct passwords *passwords, struct password_job *job);

/* The work itself; for tools. */
void password_run(struct password_job *job);

#endif
