/* store_suite_fixture.h - what most cases of the suite need: a store in a transaction, an arena,
 * users. */
#ifndef TESTS_STORE_SUITE_FIXTURE_H
#define TESTS_STORE_SUITE_FIXTURE_H

#include "store_suite.h"

struct fixture {
    const struct store_suite_factory *factory;
    struct store *store;
    struct arena arena;
    struct uuid user;
    struct uuid other;
};

struct fixture fixture_open(const struct store_suite_factory *factory);
void fixture_next_transaction(struct fixture *f);
void fixture_close(struct fixture *f);

/* The same bytes; a slice that is none only where none is wanted. */
void assert_slice(struct slice got, struct slice want);

#endif
