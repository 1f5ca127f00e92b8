/* postgres.h - the store on a PostgreSQL database (15 or later), for several servers at once.
 *
 * A batch is one locking read and one write with arrays, each one trip: the writer's prefetch()
 * locks the users' rows and reads what the ops will ask for into a cache; verbs answer from it and
 * write into it; commit() sends everything and the COMMIT together. What was not prefetched is
 * asked for when it is wanted.
 *
 * Where the answer to the COMMIT does not come, or comes with the warning that a synchronous
 * standby was not waited for, the batch is unknown: BQ_IO, and the handle is poisoned. BQ_BUSY:
 * PostgreSQL refused the batch for the sake of another one (deadlock, serialization, a lock's
 * time-out): it may be run again at once. */
#ifndef STORE_POSTGRES_H
#define STORE_POSTGRES_H

#include "base/buf.h"
#include "store/store.h"

struct store_postgres_config {
    size_t size;        /* sizeof(struct store_postgres_config) */
    const char *url;    /* as libpq reads it: several hosts, all its parameters */
    unsigned n_history; /* kept changes per document */
    bool create;        /* make or update the schema */
    bool read_only;     /* operator's tools: reads alone */
    unsigned lock_ms;   /* that a lock is waited for, before BQ_BUSY; 0: 10 s */
    /* Hears of what PostgreSQL refused: a sentence without data. Threads: the handle's. NULL:
     * nobody does. */
    void (*problem)(void *cls, const char *sentence);
    void *cls;
};

/* Whether this is a URL for store_postgres_open(). */
bool store_postgres_is_url(const char *text);

/* The URL without user, password and parameters: for logs. */
void store_postgres_print_url(struct buf *out, const char *url);

/* BQ_OK, BQ_NETWORK, BQ_AUTH, BQ_FORBIDDEN, BQ_NOT_FOUND, BQ_NEWER, BQ_READ_ONLY, BQ_CORRUPT,
 * BQ_INVALID, BQ_BUSY, BQ_IO, BQ_NOMEM; error (may be NULL) takes a sentence of up to error_size
 * bytes: what, which database, what to do. */
int store_postgres_open(const struct store_postgres_config *config, struct store **out,
                        char *error, size_t error_size);

/* The steps of the schema that opening with `create` would run, one name a line; touches nothing.
 * Answers as store_postgres_open(). */
int store_postgres_due(const struct store_postgres_config *config, struct buf *out, char *error,
                       size_t error_size);

#endif
