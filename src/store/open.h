/* open.h - a store by what --store says: sqlite:PATH, or the URL of a PostgreSQL database. */
#ifndef STORE_OPEN_H
#define STORE_OPEN_H

#include "base/buf.h"
#include "store/store.h"

#define STORE_PLACES "sqlite:PATH or postgres://..."

struct store_open_config {
    size_t size;        /* sizeof(struct store_open_config) */
    const char *where;
    unsigned n_history; /* kept changes per document */
    bool create;        /* make the store where it is absent, update it where it is older */
    bool read_only;     /* operator's tools: no lock, no writes */
    void (*random)(void *bytes, size_t n); /* as store_sqlite_config's */
    void (*problem)(void *cls, const char *sentence); /* as store_postgres_config's */
    void *cls;
};

/* Whether such a store is known here; nothing is opened. */
bool store_place_is_known(const char *where);

/* The place without a secret, for logs and messages: of an unknown URL the scheme alone. */
void store_place_print(struct buf *out, const char *where);

/* BQ_OK where it is known, else BQ_INVALID; error (may be NULL) takes a sentence. */
int store_place_check(const char *where, char *error, size_t error_size);

/* What the store's own open() answers, BQ_INVALID where the place is of no known kind; error (may
 * be NULL) takes a sentence of up to error_size bytes. */
int store_open(const struct store_open_config *config, struct store **out, char *error,
               size_t error_size);

#endif
