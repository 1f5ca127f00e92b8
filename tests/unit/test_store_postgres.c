/* test_store_postgres.c - the store on PostgreSQL passes the suite of every store, and agrees with
 * the memory store on random histories, with and without reading ahead. */
#include "pg_cluster.h"
#include "store_suite.h"

#include "base/limits.h"
#include "base/status.h"
#include "store/memory.h"
#include "store/postgres.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static struct pg_cluster cluster;
static char partitioned[PG_CLUSTER_URL];
static const char *database; /* of the suite under way */
static bool reads_ahead;

static struct store_postgres_config config_of(const char *url)
{
    return (struct store_postgres_config){
        .size = sizeof(struct store_postgres_config),
        .url = url,
        .n_history = STORE_SUITE_HISTORY,
        .create = true,
    };
}

/* A begin() behind which the users of the suite and some of what they have is read ahead. */
static int (*plain_begin)(struct store *store);

static int begin_and_prefetch(struct store *store)
{
    static const char *const names[] = {"k0", "k1", "a", "settings"};
    struct uuid users[STORE_SUITE_USERS];
    struct store_want wants[STORE_SUITE_USERS * 16];
    size_t n = 0;
    int status = plain_begin(store);
    for (unsigned i = STORE_SUITE_USERS; i > 0; i--) {
        struct uuid *user = &users[i - 1];
        *user = store_suite_user(i - 1);
        wants[n++] = (struct store_want){.kind = STORE_WANT_USER, .user = user};
        wants[n++] = (struct store_want){.kind = STORE_WANT_FEED, .user = user, .number = i % 2};
        for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
            struct slice key = slice_of(names[k]);
            wants[n++] = (struct store_want){STORE_WANT_DOC, user, key, SLICE_NONE, 0};
            wants[n++] = (struct store_want){STORE_WANT_UPSERTS, user, key, SLICE("d0"), 0};
            wants[n++] = (struct store_want){STORE_WANT_HISTORY, user, key, SLICE_NONE, 0};
        }
    }
    return status == BQ_OK ? store->prefetch(store, wants, n) : status;
}

static struct store *open_postgres(void)
{
    struct store *store;
    char error[300] = "";
    struct store_postgres_config config = config_of(database);
    int status = store_postgres_open(&config, &store, error, sizeof error);
    assert_string_equal(error, "");
    assert_int_equal(status, BQ_OK);
    pg_cluster_empty(database);
    plain_begin = store->begin;
    if (reads_ahead) {
        store->begin = begin_and_prefetch;
    }
    return store;
}

static void close_postgres(struct store *store)
{
    store->close(store);
}

static void it_agrees_with_memory_on_random_histories(void **state)
{
    (void)state;
    const char *given = getenv("BQ_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : 1;
    print_message("BQ_SEED=%llu\n", (unsigned long long)seed);
    struct store *stores[2];
    struct buf dumps[2] = {BUF_INIT, BUF_INIT};
    struct rng length;
    assert_int_equal(store_memory_open("e1", 1, 2, STORE_SUITE_HISTORY, &stores[0]), BQ_OK);
    stores[1] = open_postgres();
    rng_init(&length, seed);
    for (unsigned round = 0; round < 60; round++) {
        uint64_t n = 1 + rng_below(&length, 30);
        bool keep = rng_below(&length, 3) != 0;
        for (int s = 0; s < 2; s++) {
            struct rng rng;
            rng_init(&rng, seed + round);
            assert_int_equal(stores[s]->begin(stores[s]), BQ_OK);
            for (uint64_t i = 0; i < n; i++) {
                store_suite_random_write(stores[s], &rng);
            }
            if (round % 2 == 0) { /* what a transaction wrote it reads */
                buf_clear(&dumps[s]);
                store_suite_dump(stores[s], true, &dumps[s]);
            }
            if (keep) {
                assert_int_equal(stores[s]->commit(stores[s]), BQ_OK);
            } else {
                stores[s]->rollback(stores[s]);
            }
            store_suite_dump(stores[s], false, &dumps[s]);
        }
        assert_string_equal(dumps[0].ptr, dumps[1].ptr);
        buf_clear(&dumps[0]);
        buf_clear(&dumps[1]);
    }
    for (int s = 0; s < 2; s++) {
        buf_release(&dumps[s]);
        stores[s]->close(stores[s]);
    }
}

/* How many deleted rows of published tables are shown with this in their key since the slot was
 * made. */
static const char *deleted(const char *user)
{
    char sql[400];
    (void)snprintf(sql, sizeof sql,
                   "SELECT count(*) FROM pg_logical_slot_peek_changes('realtime', NULL, NULL)"
                   " WHERE data ~ '^table public.user_sync_(data_v2|metadata|feed|data): DELETE'"
                   " AND data LIKE '%%%s%%'", user);
    return pg_cluster_ask(database, sql);
}

/* Realtime of Supabase shows the key of a deleted row to all who listen (docs/sql.md). */
static void a_deleted_row_does_not_tell_whose_it_was(void **state)
{
    (void)state;
    struct store *store = open_postgres();
    struct uuid user = store_suite_user(0);
    struct uuid other = store_suite_user(1);
    struct store_user nothing;
    int64_t seq = 0;
    pg_cluster_ask(database, "SELECT pg_create_logical_replication_slot('realtime',"
                             " 'test_decoding')");
    assert_int_equal(store->begin(store), BQ_OK);
    store_suite_write(store, &user, SLICE("old"), SLICE("null"), true);
    store_suite_write(store, &user, SLICE("kept"), SLICE("{}"), false);
    assert_int_equal(store->tombstone_drop(store, &user, &seq), BQ_OK);
    assert_int_not_equal(seq, 0);
    for (unsigned i = 0; i <= LIMIT_DEVICES; i++) { /* one too many */
        char name[16];
        (void)snprintf(name, sizeof name, "d%u", i);
        const struct store_device device = {
            .device_id = slice_of(name),
            .last_sync_us = STORE_SUITE_NOW_US + i,
            .info = SLICE("{}"),
            .created_us = STORE_SUITE_NOW_US,
        };
        assert_int_equal(store->device_put(store, &user, &device), BQ_OK);
    }
    assert_int_equal(store->commit(store), BQ_OK);
    assert_string_equal(deleted(""), "2");
    pg_cluster_ask(database, "INSERT INTO user_sync_data (user_id)"
                             " SELECT user_id FROM user_sync_feed");
    assert_int_equal(store->begin(store), BQ_OK);
    assert_int_equal(store->user_clear(store, &user), BQ_OK);
    assert_int_equal(store->commit(store), BQ_OK);
    assert_string_equal(deleted(""), "260");
    assert_int_equal(store->begin(store), BQ_OK); /* a row that is made to be locked */
    assert_int_equal(store->user_get(store, &other, &nothing), BQ_OK);
    assert_int_equal(store->commit(store), BQ_OK);
    assert_string_equal(deleted(""), "261");
    assert_string_equal(deleted(user.text), "0");
    assert_string_equal(deleted(other.text), "0");
    pg_cluster_ask(database, "SELECT pg_drop_replication_slot('realtime')");
    store->close(store);
}

/* Another server's writer, which looks at an account of the first's. */
struct looking {
    struct store *store;
    struct uuid user;
    bool disabled; /* as it saw it */
    _Atomic bool done;
};

static void *look_at_account(void *cls)
{
    struct looking *looking = cls;
    struct store *store = looking->store;
    struct store_account account;
    struct arena arena;
    arena_init(&arena);
    bool seen = store->begin(store) == BQ_OK &&
                store->account_get(store, &arena, &looking->user, &account) == BQ_OK;
    looking->disabled = seen && account.disabled;
    store->rollback(store);
    arena_release(&arena);
    looking->done = true;
    return NULL;
}

/* Else a sign-in at one server writes back what another one just disabled. */
static void a_writer_waits_for_the_account_that_another_server_changes(void **state)
{
    (void)state;
    struct store_postgres_config config = config_of(database);
    char error[300] = "";
    struct store *store = open_postgres();
    struct looking looking = {.user = store_suite_user(0)};
    pthread_t thread;
    assert_int_equal(store_postgres_open(&config, &looking.store, error, sizeof error), BQ_OK);
    struct store_account account = {.id = looking.user,
                                    .email = SLICE("a@example.com"),
                                    .password = SLICE("$hash"),
                                    .metadata = SLICE("{}"),
                                    .created_us = STORE_SUITE_NOW_US,
                                    .updated_us = STORE_SUITE_NOW_US};
    assert_int_equal(store->begin(store), BQ_OK);
    assert_int_equal(store->account_put(store, &account), BQ_OK);
    assert_int_equal(store->commit(store), BQ_OK);
    account.disabled = true;
    assert_int_equal(store->begin(store), BQ_OK);
    assert_int_equal(store->account_put(store, &account), BQ_OK);
    assert_int_equal(pthread_create(&thread, NULL, look_at_account, &looking), 0);
    while (!looking.done && strcmp(pg_cluster_ask(database, "SELECT count(*) FROM pg_locks"
                                                            " WHERE NOT granted"),
                                   "0") == 0) {
    }
    assert_int_equal(store->commit(store), BQ_OK);
    pthread_join(thread, NULL);
    assert_true(looking.disabled);
    looking.store->close(looking.store);
    store->close(store);
}

/* A database whose tables are partitioned 16 ways by the user. */
static void make_partitions(void)
{
    struct store *store;
    char call[300];
    struct store_postgres_config config = config_of(partitioned);
    if (!pg_cluster_sql(cluster.url, "CREATE DATABASE parts") ||
        store_postgres_open(&config, &store, NULL, 0) != BQ_OK) {
        abort();
    }
    store->close(store);
    (void)snprintf(call, sizeof call, "psql -X -q -1 -v ON_ERROR_STOP=1 '%s'"
                   " -f sql/postgres/options/partitions.sql", partitioned);
    pg_cluster_do(&cluster, call);
}

static void the_tables_are_in_partitions(void **state)
{
    (void)state;
    assert_string_equal(pg_cluster_ask(partitioned, "SELECT count(*) FROM pg_inherits"
                                       " WHERE inhparent = 'public.user_sync_data_v2'::regclass"),
                        "16");
}

int main(void)
{
    static const struct store_suite_factory factories[] = {
        {"postgres", open_postgres, close_postgres},
        {"postgres, read ahead", open_postgres, close_postgres},
        {"postgres, in partitions", open_postgres, close_postgres}};
    static const struct CMUnitTest parts[] = {
        cmocka_unit_test(the_tables_are_in_partitions),
    };
    static const struct CMUnitTest own[] = {
        cmocka_unit_test(it_agrees_with_memory_on_random_histories),
    };
    static const struct CMUnitTest realtime[] = {
        cmocka_unit_test(a_deleted_row_does_not_tell_whose_it_was),
        cmocka_unit_test(a_writer_waits_for_the_account_that_another_server_changes),
    };
    int n_failed = 0;
    pg_cluster_start(&cluster, "fsync=off wal_level=logical");
    pg_cluster_url(&cluster, "parts", partitioned);
    make_partitions();
    n_failed += cmocka_run_group_tests_name("partitions", parts, NULL, NULL);
    database = cluster.url;
    n_failed += cmocka_run_group_tests_name("realtime", realtime, NULL, NULL);
    for (int i = 0; i < 3; i++) {
        reads_ahead = i > 0;
        database = i == 2 ? partitioned : cluster.url;
        n_failed += store_suite_run(&factories[i]);
        n_failed += store_suite_accounts_run(&factories[i]);
        n_failed += store_suite_whole_run(&factories[i]);
        n_failed += cmocka_run_group_tests_name(factories[i].name, own, NULL, NULL);
    }
    pg_cluster_stop(&cluster);
    return n_failed;
}
