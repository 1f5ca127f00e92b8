/* store_suite.h - what every store must do, whatever lies behind store.h.
 *
 * Each case gets a fresh, empty store of STORE_SUITE_HISTORY kept changes per document. */
#ifndef TESTS_STORE_SUITE_H
#define TESTS_STORE_SUITE_H

#include "base/buf.h"
#include "base/rng.h"
#include "store/store.h"

#define STORE_SUITE_HISTORY 4u
#define STORE_SUITE_USERS 3u

/* Fail the running case where they cannot do it. */
struct store_suite_factory {
    const char *name;
    struct store *(*open)(void); /* a new, empty store */
    void (*close)(struct store *store);
};

/* Runs all cases as one cmocka group; answers the number of failed ones. */
int store_suite_run(const struct store_suite_factory *factory);

/* The same for accounts and sessions. */
int store_suite_accounts_run(const struct store_suite_factory *factory);

/* The same for what moves a whole store. */
int store_suite_whole_run(const struct store_suite_factory *factory);

/* User number i of the cases. */
struct uuid store_suite_user(unsigned i);

#define STORE_SUITE_NOW_US INT64_C(1772719898123456)

/* A document, or its tombstone, with new seq and version and a history entry, in the open
 * transaction. */
void store_suite_write(struct store *store, const struct uuid *user, struct slice key,
                       struct slice data, bool deleted);

/* Everything that the verbs can read of the users of the cases, as text; opens its own
 * transaction where in_transaction is false. */
void store_suite_dump(struct store *store, bool in_transaction, struct buf *out);

/* A random verb that writes. The same generator makes the same call on every store. */
void store_suite_random_write(struct store *store, struct rng *rng);

#endif
