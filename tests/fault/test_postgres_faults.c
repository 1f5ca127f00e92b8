/* test_postgres_faults.c - what PostgreSQL may do to us: each time a clear sentence or a status
 * that says whether to try again, and nothing half done. */
#include "old_app.h"
#include "pg_cluster.h"
#include "server_process.h"
#include "store_suite.h"
#include "token.h"

#include "base/mem.h"
#include "base/status.h"
#include "store/postgres.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define USER "aaaaaaaa-0000-4000-8000-000000000001"

static struct pg_cluster cluster;

static int try_open(const char *url, bool create, struct store **out, char *error, size_t size)
{
    const struct store_postgres_config config = {
        .size = sizeof config, .url = url, .n_history = 4, .create = create};
    error[0] = '\0';
    return store_postgres_open(&config, out, error, size);
}

static struct store *must_open(void)
{
    struct store *store;
    char error[300];
    int status = try_open(cluster.url, true, &store, error, sizeof error);
    assert_string_equal(error, "");
    assert_int_equal(status, BQ_OK);
    return store;
}

static void refused(const char *url, bool create, int want, const char *says)
{
    struct store *store;
    char error[300];
    int status = try_open(url, create, &store, error, sizeof error);
    if (status != want || strstr(error, says) == NULL) {
        print_message("%s: %s\n", status_code(status), error);
    }
    assert_int_equal(status, want);
    assert_non_null(strstr(error, says));
    assert_null(strstr(error, "hunter2")); /* no password in a sentence */
    assert_null(strchr(error, '\n'));
}

static void sql(const char *text)
{
    assert_true(pg_cluster_sql(cluster.url, text));
}

static int64_t seq_of(struct store *store, const struct uuid *user)
{
    struct store_user row;
    assert_int_equal(store->begin(store), BQ_OK);
    assert_int_equal(store->user_get(store, user, &row), BQ_OK);
    store->rollback(store);
    return row.seq;
}

static int put_seq(struct store *store, unsigned user, int64_t seq)
{
    struct uuid id = store_suite_user(user);
    struct store_user row;
    int status = store->user_get(store, &id, &row);
    row.seq = seq;
    return status == BQ_OK ? store->user_put(store, &row) : status;
}

/* ---- Opening --------------------------------------------------------------------------------- */

static void a_wrong_url_is_told(void **state)
{
    (void)state;
    refused("postgres://me:hunter2@127.0.0.1:1/none?connect_timeout=2", true, BQ_NETWORK,
            "127.0.0.1");
    refused("postgres:///none?host=/nowhere&user=me&password=hunter2", true, BQ_NETWORK,
            "/nowhere");
    refused("postgres://%zz", true, BQ_NETWORK, "cannot be used");
    char url[PG_CLUSTER_URL];
    pg_cluster_url(&cluster, "absent", url);
    refused(url, true, BQ_NETWORK, "\"absent\" does not exist");
}

static void a_wrong_password_is_told(void **state)
{
    (void)state;
    char url[PG_CLUSTER_URL];
    sql("CREATE ROLE guarded LOGIN PASSWORD 'right'");
    pg_cluster_do(&cluster, "sed -i '1i local all guarded scram-sha-256' $D/data/pg_hba.conf");
    sql("SELECT pg_reload_conf()");
    pg_cluster_url(&cluster, "postgres?user=guarded&password=hunter2", url);
    refused(url, true, BQ_AUTH, "password authentication failed");
    pg_cluster_url(&cluster, "postgres?user=guarded", url);
    refused(url, true, BQ_AUTH, "no password supplied");
}

static void missing_rights_are_told(void **state)
{
    (void)state;
    char url[PG_CLUSTER_URL];
    struct store *store = must_open();
    store->close(store);
    sql("CREATE ROLE weak LOGIN");
    sql("CREATE DATABASE fresh");
    pg_cluster_url(&cluster, "postgres?user=weak", url);
    refused(url, true, BQ_FORBIDDEN, "rights");
    pg_cluster_url(&cluster, "fresh?user=weak", url);
    refused(url, true, BQ_FORBIDDEN, "0001_tables.sql");
}

#define OF_FORGET_USERS "SELECT prosrc FROM pg_proc WHERE proname = 'forget_users'"

static void an_older_schema_is_updated_by_a_server_alone(void **state)
{
    (void)state;
    struct store *store = must_open();
    struct buf due = BUF_INIT;
    const struct store_postgres_config config = {.size = sizeof config, .url = cluster.url};
    store->close(store);
    sql("DELETE FROM user_sync_schema WHERE version > 1");
    refused(cluster.url, false, BQ_READ_ONLY, "start the server once");
    assert_int_equal(store_postgres_due(&config, &due, NULL, 0), BQ_OK);
    assert_true(strncmp(due.ptr, "0002_", 5) == 0); /* and it did nothing */
    buf_clear(&due);
    refused(cluster.url, false, BQ_READ_ONLY, "start the server once");
    store = must_open();
    store->close(store);
    assert_int_equal(store_postgres_due(&config, &due, NULL, 0), BQ_OK);
    assert_int_equal(due.len, 0);
    buf_release(&due);
}

/* Changed functions come without a new step: all steps but the first are run again. */
static void functions_of_an_older_revision_are_replaced_by_a_server_alone(void **state)
{
    (void)state;
    struct store *store = must_open();
    struct buf due = BUF_INIT;
    const struct store_postgres_config config = {.size = sizeof config, .url = cluster.url};
    store->close(store);
    sql("CREATE OR REPLACE FUNCTION bqsync.forget_users(p_user_ids uuid[]) RETURNS void"
        " LANGUAGE sql AS ''");
    store = must_open(); /* the revision is ours: what is there stays */
    store->close(store);
    assert_string_equal(pg_cluster_ask(cluster.url, OF_FORGET_USERS), "");
    sql("DELETE FROM user_sync_store WHERE name = 'revision'"); /* of before there was one */
    refused(cluster.url, false, BQ_READ_ONLY, "start the server once");
    assert_int_equal(store_postgres_due(&config, &due, NULL, 0), BQ_OK);
    assert_true(strncmp(due.ptr, "0002_", 5) == 0);
    buf_release(&due);
    store = must_open();
    store->close(store);
    assert_string_not_equal(pg_cluster_ask(cluster.url, OF_FORGET_USERS), "");
    sql("UPDATE user_sync_store SET value = '999' WHERE name = 'revision'"); /* a newer server's */
    sql("CREATE OR REPLACE FUNCTION bqsync.forget_users(p_user_ids uuid[]) RETURNS void"
        " LANGUAGE sql AS ''");
    store = must_open();
    store->close(store);
    assert_string_equal(pg_cluster_ask(cluster.url, OF_FORGET_USERS), "");
    sql("UPDATE user_sync_store SET value = '0' WHERE name = 'revision'");
    store = must_open();
    store->close(store);
    assert_string_not_equal(pg_cluster_ask(cluster.url, OF_FORGET_USERS), "");
}

static void a_newer_schema_is_refused(void **state)
{
    (void)state;
    struct store *store = must_open();
    store->close(store);
    sql("INSERT INTO user_sync_schema (version, name) VALUES (99, 'later')");
    refused(cluster.url, true, BQ_NEWER, "update bqsync");
    sql("DELETE FROM user_sync_schema WHERE version = 99");
}

/* ---- Transactions ---------------------------------------------------------------------------- */

#define OUR_BACKENDS "FROM pg_stat_activity WHERE application_name = 'bqsync'"

static void a_backend_that_goes_in_mid_transaction_leaves_nothing(void **state)
{
    (void)state;
    struct store *store = must_open();
    struct uuid user = store_suite_user(0);
    pg_cluster_empty(cluster.url);
    assert_int_equal(store->begin(store), BQ_OK);
    assert_int_equal(put_seq(store, 0, 7), BQ_OK);
    sql("SELECT pg_terminate_backend(pid) " OUR_BACKENDS);
    assert_int_equal(store->commit(store), BQ_IO);
    assert_int_equal(store->begin(store), BQ_IO); /* until it is opened anew */
    store->close(store);
    store = must_open();
    assert_int_equal(seq_of(store, &user), 0);
    store->close(store);
}

static void what_a_trigger_raises(const char *state, int want)
{
    char text[500];
    struct store *store = must_open();
    struct uuid user = store_suite_user(0);
    pg_cluster_empty(cluster.url);
    (void)snprintf(text, sizeof text,
                   "CREATE OR REPLACE FUNCTION raises() RETURNS trigger LANGUAGE plpgsql AS $$"
                   "BEGIN RAISE EXCEPTION 'as planted' USING ERRCODE = '%s'; END $$;"
                   "CREATE TRIGGER raises BEFORE INSERT ON user_sync_history"
                   " FOR EACH ROW EXECUTE FUNCTION raises()", state);
    sql(text);
    struct store_history entry = {0, 0, 1, SLICE("{}")};
    int64_t id;
    assert_int_equal(store->begin(store), BQ_OK);
    assert_int_equal(put_seq(store, 0, 7), BQ_OK);
    assert_int_equal(store->history_add(store, &user, SLICE("k"), &entry, &id), BQ_OK);
    assert_int_equal(store->commit(store), want);
    sql("DROP TRIGGER raises ON user_sync_history");
    assert_int_equal(seq_of(store, &user), 0); /* the handle is sound, and nothing was kept */
    assert_int_equal(store->begin(store), BQ_OK);
    assert_int_equal(put_seq(store, 0, 8), BQ_OK);
    assert_int_equal(store->commit(store), BQ_OK);
    assert_int_equal(seq_of(store, &user), 8);
    store->close(store);
}

static void a_refused_batch_says_whether_to_try_again(void **state)
{
    (void)state;
    what_a_trigger_raises("40001", BQ_BUSY);      /* serialization failure */
    what_a_trigger_raises("40P01", BQ_BUSY);      /* deadlock */
    what_a_trigger_raises("57014", BQ_BUSY);      /* time-out */
    what_a_trigger_raises("53100", BQ_DISK_FULL); /* disk full */
    what_a_trigger_raises("42501", BQ_READ_ONLY); /* rights */
}

static int64_t number(const char *text)
{
    return strtoll(pg_cluster_ask(cluster.url, text), NULL, 10);
}

/* A receipt without its document would make a lost edit of a late copy. */
static void memory_that_ends_in_a_commit_keeps_a_batch_whole_or_not_at_all(void **state)
{
    (void)state;
    struct store *store = must_open();
    struct uuid user = store_suite_user(0);
    const struct store_doc doc = {.key = SLICE("k"), .version = 1, .seq = 7, .data = SLICE("{}"),
                                  .receipts = SLICE("\1")};
    struct store_history entry = {0, 0, 1, SLICE("{}")};
    int64_t id;
    int status = BQ_NOMEM;
    unsigned n_failed = 0;
    for (uint64_t nth = 1; status == BQ_NOMEM; nth++) {
        pg_cluster_empty(cluster.url);
        assert_int_equal(store->begin(store), BQ_OK);
        assert_int_equal(put_seq(store, 0, 7), BQ_OK);
        assert_int_equal(store->doc_put(store, &user, &doc), BQ_OK);
        assert_int_equal(store->history_add(store, &user, SLICE("k"), &entry, &id), BQ_OK);
        mem_fail_at(nth, 1);
        status = store->commit(store);
        mem_fail_at(0, 0);
        int64_t want = status == BQ_OK;
        assert_int_equal(number("SELECT count(*) FROM user_sync_feed"), want);
        assert_int_equal(number("SELECT count(*) FROM user_sync_data_v2"), want);
        assert_int_equal(number("SELECT count(*) FROM user_sync_receipts"), want);
        assert_int_equal(number("SELECT count(*) FROM user_sync_history"), want);
        n_failed += status == BQ_NOMEM;
    }
    assert_int_equal(status, BQ_OK);
    assert_true(n_failed >= 4);
    store->close(store);
}

/* PostgreSQL answers the COMMIT of a transaction that failed with a ROLLBACK, and no error. */
static void a_commit_behind_a_failed_statement_is_none(void **state)
{
    (void)state;
    struct store *store = must_open();
    struct uuid user = store_suite_user(0);
    struct store_account account = {.id = user, .email = SLICE("a@b.c"), .metadata = SLICE("{}"),
                                    .created_us = 1, .updated_us = 1};
    pg_cluster_empty(cluster.url);
    assert_int_equal(store->begin(store), BQ_OK);
    assert_int_equal(store->account_put(store, &account), BQ_OK);
    account.id = store_suite_user(1);
    assert_int_equal(store->account_put(store, &account), BQ_BUSY); /* the address is taken */
    assert_int_not_equal(store->commit(store), BQ_OK);
    assert_int_equal(number("SELECT count(*) FROM bq_auth_users"), 0);
    store->close(store);
}

struct locker {
    struct store *store;
    unsigned first;
    unsigned second;
    pthread_barrier_t *met;
    int status;
    _Atomic bool is_done;
};

static void *lock_two(void *cls)
{
    struct locker *locker = cls;
    locker->status = locker->store->begin(locker->store);
    if (locker->status == BQ_OK) {
        locker->status = put_seq(locker->store, locker->first, 1);
    }
    (void)pthread_barrier_wait(locker->met);
    if (locker->status == BQ_OK) {
        locker->status = put_seq(locker->store, locker->second, 1);
    }
    if (locker->status == BQ_OK) {
        locker->status = locker->store->commit(locker->store);
    } else {
        locker->store->rollback(locker->store);
    }
    return NULL;
}

static void of_two_in_a_deadlock_one_is_told_to_try_again(void **state)
{
    (void)state;
    pthread_barrier_t met;
    pthread_t threads[2];
    struct locker lockers[2] = {{must_open(), 0, 1, &met, BQ_OK, false},
                                {must_open(), 1, 0, &met, BQ_OK, false}};
    pg_cluster_empty(cluster.url);
    (void)pthread_barrier_init(&met, NULL, 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, lock_two, &lockers[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    int loser = lockers[0].status == BQ_OK ? 1 : 0;
    assert_int_equal(lockers[loser].status, BQ_BUSY);
    assert_int_equal(lockers[1 - loser].status, BQ_OK);
    (void)pthread_barrier_destroy(&met);
    (void)pthread_barrier_init(&met, NULL, 1);
    (void)lock_two(&lockers[loser]);
    assert_int_equal(lockers[loser].status, BQ_OK);
    (void)pthread_barrier_destroy(&met);
    for (int i = 0; i < 2; i++) {
        lockers[i].store->close(lockers[i].store);
    }
}

static void *commit_one(void *cls)
{
    struct locker *locker = cls;
    locker->status = locker->store->commit(locker->store);
    atomic_store(&locker->is_done, true);
    return NULL;
}

static bool waits_for_standby(void)
{
    return strcmp(pg_cluster_ask(cluster.url, "SELECT count(pg_cancel_backend(pid)) " OUR_BACKENDS
                                 " AND wait_event = 'SyncRep'"),
                  "1") == 0;
}

/* A commit whose wait for a standby is cancelled. One may come before the setting does, which
 * nobody can see: it is done without a wait. */
static int commit_cancelled(struct locker *locker)
{
    pthread_t thread;
    atomic_store(&locker->is_done, false);
    assert_int_equal(locker->store->begin(locker->store), BQ_OK);
    assert_int_equal(put_seq(locker->store, 0, 7), BQ_OK);
    assert_int_equal(pthread_create(&thread, NULL, commit_one, locker), 0);
    while (!atomic_load(&locker->is_done) && !waits_for_standby()) {
        server_process_breathe(5);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    return locker->status;
}

/* PostgreSQL calls it a success, with a warning: committed here, on no standby. */
static void a_commit_whose_standby_was_not_waited_for_is_unknown(void **state)
{
    (void)state;
    int tries = 0;
    struct locker locker = {.store = must_open()};
    pg_cluster_empty(cluster.url);
    sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    sql("SELECT pg_reload_conf()");
    while (commit_cancelled(&locker) == BQ_OK) {
        assert_true(++tries < 1000);
        server_process_breathe(5);
    }
    assert_int_equal(locker.status, BQ_IO);
    assert_int_equal(locker.store->begin(locker.store), BQ_IO);
    locker.store->close(locker.store);
    sql("ALTER SYSTEM RESET synchronous_standby_names");
    sql("SELECT pg_reload_conf()");
}

/* ---- A server -------------------------------------------------------------------------------- */

static int upsert(struct server_process *server, char *token, int n)
{
    char body[300];
    struct old_answer answer;
    struct old_app app = {server->port, token, USER, "d"};
    (void)snprintf(body, sizeof body,
                   "{\"p_user_id\":\"" USER "\",\"p_data_key\":\"k\",\"p_data\":{\"n\":%d},"
                   "\"p_expected_version\":null,\"p_device_id\":\"d\"}", n);
    old_app_call(&app, "atomic_sync_upsert", body, &answer);
    int code = answer.http_status;
    old_app_release(&answer);
    return code;
}

static void a_server_runs_a_refused_batch_again(void **state)
{
    (void)state;
    struct server_process server;
    char *token = token_user(USER);
    pg_cluster_empty(cluster.url);
    server_process_init_on(&server, cluster.url);
    /* The first three tries fail, whatever becomes of the transaction. */
    sql("CREATE SEQUENCE tries; CREATE OR REPLACE FUNCTION raises() RETURNS trigger"
        " LANGUAGE plpgsql AS $$ BEGIN IF nextval('tries') <= 3 THEN"
        " RAISE EXCEPTION 'as planted' USING ERRCODE = '40001'; END IF; RETURN NEW; END $$;"
        "CREATE TRIGGER raises BEFORE INSERT ON user_sync_history"
        " FOR EACH ROW EXECUTE FUNCTION raises()");
    assert_int_equal(upsert(&server, token, 1), 200);
    assert_string_equal(pg_cluster_ask(cluster.url, "SELECT last_value FROM tries"), "4");
    assert_string_equal(pg_cluster_ask(cluster.url, "SELECT data FROM user_sync_data_v2"),
                        "{\"n\": 1}");
    sql("DROP TRIGGER raises ON user_sync_history; DROP SEQUENCE tries");
    server_process_release(&server);
    free(token);
}

static void a_full_disk_is_answered_and_space_heals(void **state)
{
    (void)state;
    struct server_process server;
    char *token = token_user(USER);
    pg_cluster_empty(cluster.url);
    server_process_init_on(&server, cluster.url);
    sql("CREATE OR REPLACE FUNCTION raises() RETURNS trigger LANGUAGE plpgsql AS $$"
        "BEGIN RAISE EXCEPTION 'as planted' USING ERRCODE = '53100'; END $$;"
        "CREATE TRIGGER raises BEFORE INSERT ON user_sync_history"
        " FOR EACH ROW EXECUTE FUNCTION raises()");
    int code = upsert(&server, token, 1);
    assert_true(code >= 500);
    assert_string_equal(pg_cluster_ask(cluster.url, "SELECT data FROM user_sync_data_v2"), "");
    sql("DROP TRIGGER raises ON user_sync_history");
    assert_int_equal(upsert(&server, token, 2), 200);
    server_process_release(&server);
    free(token);
}

static void a_server_whose_backends_end_connects_again(void **state)
{
    (void)state;
    struct server_process server;
    char *token = token_user(USER);
    int n_failed = 0;
    pg_cluster_empty(cluster.url);
    server_process_init_on(&server, cluster.url);
    for (int i = 0; i < 10; i++) {
        sql("SELECT pg_terminate_backend(pid) " OUR_BACKENDS);
        int code = 0;
        for (int tries = 0; code != 200; tries++) {
            assert_true(tries < 1000);
            code = upsert(&server, token, i);
            n_failed += code != 200 ? 1 : 0;
            assert_true(code == 200 || code == 503);
            server_process_breathe(code == 200 ? 0 : 10);
        }
    }
    assert_true(n_failed > 0);
    assert_string_equal(pg_cluster_ask(cluster.url, "SELECT data FROM user_sync_data_v2"),
                        "{\"n\": 9}");
    server_process_release(&server);
    free(token);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wrong_url_is_told),
        cmocka_unit_test(missing_rights_are_told),
        cmocka_unit_test(a_wrong_password_is_told),
        cmocka_unit_test(an_older_schema_is_updated_by_a_server_alone),
        cmocka_unit_test(functions_of_an_older_revision_are_replaced_by_a_server_alone),
        cmocka_unit_test(a_newer_schema_is_refused),
        cmocka_unit_test(a_backend_that_goes_in_mid_transaction_leaves_nothing),
        cmocka_unit_test(a_refused_batch_says_whether_to_try_again),
        cmocka_unit_test(memory_that_ends_in_a_commit_keeps_a_batch_whole_or_not_at_all),
        cmocka_unit_test(a_commit_behind_a_failed_statement_is_none),
        cmocka_unit_test(of_two_in_a_deadlock_one_is_told_to_try_again),
        cmocka_unit_test(a_commit_whose_standby_was_not_waited_for_is_unknown),
        cmocka_unit_test(a_server_runs_a_refused_batch_again),
        cmocka_unit_test(a_full_disk_is_answered_and_space_heals),
        cmocka_unit_test(a_server_whose_backends_end_connects_again),
    };
    pg_cluster_start(&cluster, "fsync=off");
    int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    pg_cluster_stop(&cluster);
    return n_failed;
}
