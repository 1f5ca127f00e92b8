/* store_suite_fixture.c - see store_suite_fixture.h. */
#include "store_suite_fixture.h"

#include "base/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

struct fixture fixture_open(const struct store_suite_factory *factory)
{
    struct fixture f = {
        .factory = factory,
        .store = factory->open(),
        .user = store_suite_user(0),
        .other = store_suite_user(1),
    };
    arena_init(&f.arena);
    assert_int_equal(f.store->begin(f.store), BQ_OK);
    return f;
}

void fixture_next_transaction(struct fixture *f)
{
    assert_int_equal(f->store->commit(f->store), BQ_OK);
    assert_int_equal(f->store->begin(f->store), BQ_OK);
}

void fixture_close(struct fixture *f)
{
    f->store->rollback(f->store);
    f->factory->close(f->store);
    arena_release(&f->arena);
}

void assert_slice(struct slice got, struct slice want)
{
    assert_int_equal(got.ptr == NULL, want.ptr == NULL);
    assert_int_equal(got.len, want.len);
    if (want.len > 0) {
        assert_memory_equal(got.ptr, want.ptr, want.len);
    }
}
