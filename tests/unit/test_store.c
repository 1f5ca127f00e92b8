/* test_store.c - both stores pass one suite, and agree with each other on random histories. */
#include "scratch.h"
#include "store_suite.h"

#include "base/mem.h"
#include "base/status.h"
#include "store/memory.h"
#include "store/sqlite.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static struct store *open_memory(void)
{
    struct store *store;
    assert_int_equal(store_memory_open("e1", 1, 2, STORE_SUITE_HISTORY, &store), BQ_OK);
    return store;
}

static void close_memory(struct store *store)
{
    store->close(store);
}

static struct scratch scratch;

static struct store *open_sqlite(void)
{
    struct store *store;
    char path[200];
    char error[300] = "";
    scratch_init(&scratch);
    struct store_sqlite_config config = {.size = sizeof config,
                                         .path =
                                             scratch_path(&scratch, "store.db", path, sizeof path),
                                         .n_history = STORE_SUITE_HISTORY,
                                         .create = true};
    int status = store_sqlite_open(&config, &store, error, sizeof error);
    assert_string_equal(error, "");
    assert_int_equal(status, BQ_OK);
    return store;
}

static void close_sqlite(struct store *store)
{
    store->close(store);
    scratch_release(&scratch);
}

/* Memory's own. */

static void a_clone_is_a_backup(void **state)
{
    (void)state;
    struct store *store = open_memory();
    struct store *copy;
    struct rng rng;
    struct buf then = BUF_INIT;
    struct buf now = BUF_INIT;
    rng_init(&rng, 3);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(store->begin(store), BQ_OK);
        for (int i = 0; i < 200; i++) {
            store_suite_random_write(store, &rng);
        }
        assert_int_equal(store->commit(store), BQ_OK);
        if (round == 0) {
            assert_int_equal(store_memory_clone(store, &copy), BQ_OK);
            store_suite_dump(store, false, &then);
        }
    }
    store->close(store);
    store_suite_dump(copy, false, &now);
    assert_string_equal(now.ptr, then.ptr);
    assert_true(slice_is(copy->epoch(copy), "e1"));
    assert_int_equal(copy->epoch_set(copy, SLICE("e2")), BQ_OK);
    assert_true(slice_is(copy->epoch(copy), "e2"));
    copy->close(copy);
    buf_release(&then);
    buf_release(&now);
}

/* One user's write of each kind; the first status that is not BQ_OK. */
static int write_all(struct store *store, const struct uuid *user, struct arena *arena)
{
    struct store_user row = {.id = *user, .exists = true, .seq = 1};
    struct store_doc doc = {.key = SLICE("k"), .version = 1, .seq = 1, .data = SLICE("{}")};
    struct store_history entry = {0, 0, 1, SLICE("entry")};
    struct store_device device = {SLICE("d"), 1, 1, SLICE("{}"), 1};
    struct store_dead dead = {SLICE("id"), SLICE("d"), SLICE("k"), SLICE("{}"), 1, SLICE("e"), 1};
    struct store_docs docs;
    struct store_devices devices;
    int status = store->user_put(store, &row);
    if (status == BQ_OK) {
        status = store->history_add(store, user, doc.key, &entry, &doc.history);
    }
    if (status == BQ_OK) {
        status = store->doc_put(store, user, &doc);
    }
    if (status == BQ_OK) {
        status = store->upserts_put(store, user, doc.key, SLICE("d"), SLICE("packed"), 1);
    }
    if (status == BQ_OK) {
        status = store->device_put(store, user, &device);
    }
    if (status == BQ_OK) {
        status = store->dead_replace(store, user, SLICE("d"), &dead, 1);
    }
    if (status == BQ_OK) {
        status = store->policy_put(store, SLICE("k"), SLICE("\"max\""));
    }
    if (status == BQ_OK) {
        status = store->docs(store, arena, user, 0, 10, SIZE_MAX, true, &docs);
    }
    if (status == BQ_OK) {
        status = store->devices(store, arena, user, &devices);
    }
    return status == BQ_OK ? store->user_clear(store, &row.id) : status;
}

static int one_batch(struct store *store)
{
    struct arena arena;
    struct uuid user = store_suite_user(0);
    arena_init(&arena);
    int status = store->begin(store);
    if (status == BQ_OK) {
        status = write_all(store, &user, &arena);
        if (status == BQ_OK) {
            status = store->commit(store);
        } else {
            store->rollback(store);
        }
    }
    arena_release(&arena);
    return status;
}

/* The n-th allocation fails, for every n: the batch leaves nothing behind, the next one works. */
static void every_allocation_may_fail(struct store *(*open)(void), void (*close)(struct store *))
{
    uint64_t n_failed = 0;
    for (uint64_t n = 1;; n++) {
        struct buf dump = BUF_INIT;
        struct buf empty = BUF_INIT;
        struct store *store = open();
        store_suite_dump(store, false, &empty);
        mem_fail_at(n, 1);
        int status = one_batch(store);
        bool fired = mem_count() >= n;
        mem_fail_at(0, 0);
        if (status != BQ_OK) {
            assert_int_equal(status, BQ_NOMEM);
            store_suite_dump(store, false, &dump);
            assert_string_equal(dump.ptr, empty.ptr);
            assert_int_equal(one_batch(store), BQ_OK);
            n_failed++;
        }
        buf_release(&dump);
        buf_release(&empty);
        close(store);
        if (!fired) {
            break;
        }
    }
    assert_true(n_failed > 0);
}

static void memory_survives_every_failing_allocation(void **state)
{
    (void)state;
    every_allocation_may_fail(open_memory, close_memory);
}

static void sqlite_survives_every_failing_allocation_of_ours(void **state)
{
    (void)state;
    every_allocation_may_fail(open_sqlite, close_sqlite);
}

static void opening_survives_every_failing_allocation(void **state)
{
    (void)state;
    for (uint64_t n = 1;; n++) {
        struct store *store = NULL;
        struct store *copy = NULL;
        mem_fail_at(n, 1);
        int status = store_memory_open("e1", 1, 2, 3, &store);
        if (status == BQ_OK) {
            status = store_memory_clone(store, &copy);
        }
        bool fired = mem_count() >= n;
        mem_fail_at(0, 0);
        assert_int_equal(status, fired ? BQ_NOMEM : BQ_OK);
        if (copy != NULL) {
            copy->close(copy);
        }
        if (store != NULL) {
            store->close(store);
        }
        if (!fired) {
            break;
        }
    }
}

/* Both at once. */

static void both_stores_agree_on_random_histories(void **state)
{
    (void)state;
    const char *given = getenv("BQ_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : 1;
    print_message("BQ_SEED=%llu\n", (unsigned long long)seed);
    struct store *stores[2] = {open_memory(), open_sqlite()};
    struct buf dumps[2] = {BUF_INIT, BUF_INIT};
    struct rng length;
    rng_init(&length, seed);
    for (unsigned round = 0; round < 150; round++) {
        uint64_t n = 1 + rng_below(&length, 30);
        bool keep = rng_below(&length, 3) != 0;
        for (int s = 0; s < 2; s++) {
            struct rng rng;
            rng_init(&rng, seed + round);
            assert_int_equal(stores[s]->begin(stores[s]), BQ_OK);
            for (uint64_t i = 0; i < n; i++) {
                store_suite_random_write(stores[s], &rng);
            }
            if (keep) {
                assert_int_equal(stores[s]->commit(stores[s]), BQ_OK);
            } else {
                stores[s]->rollback(stores[s]);
            }
            buf_clear(&dumps[s]);
            store_suite_dump(stores[s], false, &dumps[s]);
        }
        assert_string_equal(dumps[0].ptr, dumps[1].ptr);
    }
    buf_release(&dumps[0]);
    buf_release(&dumps[1]);
    close_memory(stores[0]);
    close_sqlite(stores[1]);
}

int main(void)
{
    static const struct store_suite_factory memory = {"memory", open_memory, close_memory};
    static const struct store_suite_factory sqlite = {"sqlite", open_sqlite, close_sqlite};
    static const struct CMUnitTest own[] = {
        cmocka_unit_test(a_clone_is_a_backup),
        cmocka_unit_test(memory_survives_every_failing_allocation),
        cmocka_unit_test(sqlite_survives_every_failing_allocation_of_ours),
        cmocka_unit_test(opening_survives_every_failing_allocation),
        cmocka_unit_test(both_stores_agree_on_random_histories),
    };
    int n_failed = store_suite_run(&memory);
    n_failed += store_suite_run(&sqlite);
    n_failed += store_suite_accounts_run(&memory);
    n_failed += store_suite_accounts_run(&sqlite);
    n_failed += store_suite_whole_run(&memory);
    n_failed += store_suite_whole_run(&sqlite);
    n_failed += cmocka_run_group_tests_name("stores", own, NULL, NULL);
    return n_failed;
}
