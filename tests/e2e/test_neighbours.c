/* test_neighbours.c - what is written elsewhere is heard here, whatever becomes of the words that
 * servers send each other (server/neighbours.h): two servers in this process on one PostgreSQL, and
 * sockets that listen to the documents and the feed of a user.
 *
 * An ear notes what it hears. Always: the feed's seq only grow, so do the versions of each
 * document, and no event comes twice. */
#include "http_client.h"
#include "pg_cluster.h"
#include "rt_app.h"
#include "serve.h"
#include "server_process.h"
#include "token.h"

#include "base/status.h"

#include <libpq-fe.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define NODES 2u
#define KEYS 600u
#define PERIOD_MS (5000 + 3000) /* of looks, and what a busy machine needs */
#define KILLS 20u
#define ROWS 450u
#define USERS 12u
#define WRITES 120u

static struct pg_cluster cluster;

struct ear {
    struct ws_client socket;
    int64_t seq;
    int64_t versions[KEYS]; /* of the documents k0, k1, ...: the last one heard */
    unsigned n_events;      /* of documents */
    unsigned n_wrong;       /* that went back, or came twice */
};

struct pair {
    struct serve nodes[NODES];
    char *token;
};

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- Ears ------------------------------------------------------------------------------------ */

static void listen_to(struct ear *ear, unsigned port, const char *user, const char *token)
{
    char bindings[500];
    (void)snprintf(bindings, sizeof bindings,
                   "%s,{\"event\":\"*\",\"schema\":\"public\",\"table\":\"user_sync_feed\","
                   "\"filter\":\"user_id=eq.%s\"}",
                   rt_app_binding(user), user);
    memset(ear, 0, sizeof *ear);
    assert_true(ws_open(&ear->socket, port, RT_TARGET_V2, NULL));
    rt_app_join(&ear->socket, "all", bindings, token);
    assert_true(ws_hear(&ear->socket, "\"Subscribed to PostgreSQL\""));
}

static bool number_behind(const char *text, const char *name, int64_t *out)
{
    const char *at = text == NULL ? NULL : strstr(text, name);
    if (at != NULL) {
        *out = strtoll(at + strlen(name), NULL, 10);
    }
    return at != NULL;
}

static void note(struct ear *ear, const char *text)
{
    int64_t key = -1;
    int64_t version = 0;
    int64_t seq = 0;
    const char *record = strstr(text, "\"record\":");
    if (record == NULL) {
        return;
    }
    if (strstr(text, "\"table\":\"user_sync_feed\"") != NULL) {
        assert_true(number_behind(record, "\"seq\":", &seq));
        ear->n_wrong += seq <= ear->seq;
        ear->seq = seq;
        return;
    }
    assert_true(number_behind(record, "\"data_key\":\"k", &key));
    assert_true(number_behind(record, "\"version\":", &version));
    assert_true(key >= 0 && key < (int64_t)KEYS);
    ear->n_wrong += version <= ear->versions[key];
    ear->versions[key] = version;
    ear->n_events++;
}

/* Reads on until the feed was heard up to this seq; false where the socket ends before. */
static bool hear_to(struct ear *ear, int64_t seq)
{
    while (ear->seq < seq) {
        if (!ws_next(&ear->socket) || ear->socket.opcode != 1) {
            return false;
        }
        note(ear, ear->socket.text);
    }
    return true;
}

/* Takes what was sent up to now. */
static void hear_rest(struct ear *ear)
{
    ws_say(&ear->socket, "[null,\"rest\",\"phoenix\",\"heartbeat\",{}]");
    while (ws_next(&ear->socket) && strstr(ear->socket.text, "\"rest\"") == NULL) {
        note(ear, ear->socket.text);
    }
    assert_int_equal(ear->socket.opcode, 1);
}

/* ---- Writers --------------------------------------------------------------------------------- */

/* By the function of sql/postgres, which sends no word. */
static void write_by_sql(const char *user, unsigned first, unsigned last)
{
    char sql[800];
    (void)snprintf(sql, sizeof sql,
                   "SELECT atomic_sync_upsert('%s', 'k' || i, jsonb_build_object('n', i), NULL,"
                   " 'd') FROM generate_series(%u, %u) AS i",
                   user, first, last);
    assert_true(pg_cluster_sql(cluster.url, sql));
}

static bool write_by_server(const struct serve *node, const char *token, unsigned key, unsigned n)
{
    char name[16], data[40];
    (void)snprintf(name, sizeof name, "k%u", key);
    (void)snprintf(data, sizeof data, "{\"n\":%u}", n);
    return rt_app_write(node->port, RT_USER_A, token, name, data);
}

static int64_t ask(const char *sql)
{
    return strtoll(pg_cluster_ask(cluster.url, sql), NULL, 10);
}

static int64_t feed_end(const char *user)
{
    char sql[600];
    (void)snprintf(sql, sizeof sql, "SELECT seq FROM user_sync_feed WHERE user_id = '%s'", user);
    return ask(sql);
}

/* ---- The servers ----------------------------------------------------------------------------- */

static int start_pair(void **state)
{
    struct pair *pair = calloc(1, sizeof *pair);
    assert_non_null(pair);
    for (unsigned i = 0; i < NODES; i++) {
        serve_init(&pair->nodes[i]);
        pair->nodes[i].config.store = cluster.url;
        if (serve_start(&pair->nodes[i]) != BQ_OK) {
            fail_msg("%s", pair->nodes[i].error);
        }
    }
    pg_cluster_empty(cluster.url);
    pair->token = token_user(RT_USER_A);
    *state = pair;
    return 0;
}

static int end_pair(void **state)
{
    struct pair *pair = *state;
    for (unsigned i = 0; i < NODES; i++) {
        serve_release(&pair->nodes[i]);
    }
    free(pair->token);
    free(pair);
    return 0;
}

/* Servers whose words reach nobody: each lands in a table. */
static int start_mute_pair(void **state)
{
    assert_true(pg_cluster_sql(
        cluster.url, "CREATE SCHEMA mute; CREATE TABLE mute.words (word text);"
                     "CREATE FUNCTION mute.pg_notify(text, text) RETURNS void LANGUAGE sql AS"
                     " 'INSERT INTO mute.words VALUES ($2)';"
                     "ALTER DATABASE postgres SET search_path = mute, pg_catalog, public"));
    return start_pair(state);
}

static int end_mute_pair(void **state)
{
    assert_true(pg_cluster_sql(cluster.url, "SET client_min_messages = warning;"
                                            "ALTER DATABASE postgres RESET search_path;"
                                            "DROP SCHEMA mute CASCADE"));
    return end_pair(state);
}

/* ---- Tests ----------------------------------------------------------------------------------- */

static void what_a_function_in_the_database_writes_is_heard(void **state)
{
    struct pair *pair = *state;
    struct ear ears[NODES];
    for (unsigned i = 0; i < NODES; i++) {
        listen_to(&ears[i], pair->nodes[i].port, RT_USER_A, pair->token);
    }
    int64_t began_ms = now_ms();
    write_by_sql(RT_USER_A, 0, 0);
    for (unsigned i = 0; i < NODES; i++) {
        assert_true(hear_to(&ears[i], feed_end(RT_USER_A)));
        assert_true(now_ms() - began_ms < PERIOD_MS);
        hear_rest(&ears[i]);
        assert_int_equal(ears[i].n_events, 1);
        assert_int_equal(ears[i].n_wrong, 0);
        ws_release(&ears[i].socket);
    }
    printf("a function's write was heard after %lld ms\n", (long long)(now_ms() - began_ms));
}

static void a_word_that_is_lost_is_made_up_for(void **state)
{
    struct pair *pair = *state;
    struct ear ear;
    listen_to(&ear, pair->nodes[0].port, RT_USER_A, pair->token);
    int64_t began_ms = now_ms();
    for (unsigned i = 0; i < 3; i++) {
        assert_true(write_by_server(&pair->nodes[1], pair->token, i, i));
    }
    assert_true(hear_to(&ear, feed_end(RT_USER_A)));
    assert_true(now_ms() - began_ms < PERIOD_MS);
    hear_rest(&ear);
    assert_int_equal(ear.n_events, 3);
    assert_int_equal(ear.n_wrong, 0);
    assert_true(ask("SELECT count(*) FROM mute.words") > 0);
    ws_release(&ear.socket);
}

/* Each writes as soon as its join was answered; a server that began at the next look would miss
 * that. */
static void what_is_written_right_behind_a_join_is_heard(void **state)
{
    struct pair *pair = *state;
    static struct ear ears[USERS];
    char users[USERS][40];
    for (unsigned i = 0; i < USERS; i++) {
        (void)snprintf(users[i], sizeof users[i], "cccccccc-0000-4000-8000-%012u", i);
        char *token = token_user(users[i]);
        write_by_sql(users[i], 0, i % 3);
        listen_to(&ears[i], pair->nodes[i % NODES].port, users[i], token);
        write_by_sql(users[i], 10, 10);
        free(token);
    }
    for (unsigned i = 0; i < USERS; i++) {
        assert_true(hear_to(&ears[i], feed_end(users[i])));
        hear_rest(&ears[i]);
        assert_int_equal(ears[i].versions[10], 1);
        assert_int_equal(ears[i].n_events, 1); /* nothing of before the join */
        assert_int_equal(ears[i].n_wrong, 0);
        ws_release(&ears[i].socket);
    }
}

/* The database does not say where the feed stands: the socket lives, the join waits. */
static void a_join_waits_for_the_database_and_no_socket_for_a_join(void **state)
{
    struct pair *pair = *state;
    struct ear ear = {.seq = 0};
    PGconn *conn = PQconnectdb(cluster.url);
    PQclear(PQexec(conn, "BEGIN"));
    PQclear(PQexec(conn, "LOCK TABLE user_sync_feed IN ACCESS EXCLUSIVE MODE"));
    assert_int_equal(PQtransactionStatus(conn), PQTRANS_INTRANS);
    assert_true(ws_open(&ear.socket, pair->nodes[0].port, RT_TARGET_V2, NULL));
    rt_app_join(&ear.socket, "all", rt_app_binding(RT_USER_A), pair->token);
    int n_answers = rt_app_heard(&ear.socket, "realtime:all");
    PQclear(PQexec(conn, "COMMIT"));
    PQfinish(conn);
    assert_int_equal(n_answers, 0);
    assert_true(ws_hear(&ear.socket, "\"Subscribed to PostgreSQL\""));
    ws_release(&ear.socket);
}

/* The connection on which a server hears is broken before every write. */
static void a_broken_connection_loses_nothing(void **state)
{
    struct pair *pair = *state;
    struct ear ear;
    int64_t n_kills = 0;
    listen_to(&ear, pair->nodes[0].port, RT_USER_A, pair->token);
    for (unsigned i = 0; i < KILLS; i++) {
        n_kills += ask("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                       " WHERE query LIKE '%LISTEN bqsync%' AND pid <> pg_backend_pid()");
        assert_true(write_by_server(&pair->nodes[1], pair->token, i, i));
    }
    assert_true(hear_to(&ear, feed_end(RT_USER_A)));
    hear_rest(&ear);
    assert_int_equal(ear.n_events, KILLS);
    assert_int_equal(ear.n_wrong, 0);
    assert_true(n_kills > 0);
    ws_release(&ear.socket);
}

static void a_change_of_many_rows_is_read_to_its_end(void **state)
{
    struct pair *pair = *state;
    struct ear ear;
    listen_to(&ear, pair->nodes[0].port, RT_USER_A, pair->token);
    write_by_sql(RT_USER_A, 0, ROWS - 1);
    assert_true(hear_to(&ear, feed_end(RT_USER_A)));
    hear_rest(&ear);
    assert_int_equal(ear.n_events, ROWS);
    for (unsigned i = 0; i < ROWS; i++) {
        assert_int_equal(ear.versions[i], 1);
    }
    assert_int_equal(ear.n_wrong, 0);
    ws_release(&ear.socket);
}

/* The number and the time of what our servers have asked. */
static void last_asked(char out[100])
{
    (void)snprintf(out, 100, "%s",
                   pg_cluster_ask(cluster.url, "SELECT count(*) || ' ' || max(query_start)"
                                               " FROM pg_stat_activity"
                                               " WHERE application_name = 'bqsync'"));
}

static void where_nobody_listens_nothing_is_asked(void **state)
{
    struct pair *pair = *state;
    struct ear ear;
    char before[100], after[100];
    listen_to(&ear, pair->nodes[0].port, RT_USER_A, pair->token);
    last_asked(before);
    server_process_breathe(5500);
    last_asked(after);
    assert_string_not_equal(before, after); /* one listened */
    ws_release(&ear.socket);
    server_process_breathe(500); /* the socket's end comes by itself */
    last_asked(before);
    server_process_breathe(5500);
    last_asked(after);
    assert_string_equal(before, after);
}

/* "NODE *": a server had more to tell than it keeps. */
static void who_is_told_to_look_looks_at_once(void **state)
{
    struct pair *pair = *state;
    struct ear ear;
    listen_to(&ear, pair->nodes[0].port, RT_USER_A, pair->token);
    int64_t began_ms = now_ms();
    write_by_sql(RT_USER_A, 0, 0);
    assert_true(pg_cluster_sql(cluster.url, "NOTIFY bqsync, '0000000000000001 *'"));
    assert_true(hear_to(&ear, feed_end(RT_USER_A)));
    assert_true(now_ms() - began_ms < 2500);
    hear_rest(&ear);
    assert_int_equal(ear.n_events, 1);
    ws_release(&ear.socket);
}

struct writer {
    pthread_t thread;
    const struct pair *pair;
    unsigned who; /* NODES: the functions in the database */
    unsigned n_failed;
};

static void *run_writer(void *cls)
{
    struct writer *writer = cls;
    for (unsigned i = 0; i < WRITES; i++) {
        unsigned key = (i * 7 + writer->who) % 5;
        if (writer->who == NODES) {
            write_by_sql(RT_USER_A, key, key);
        } else if (!write_by_server(&writer->pair->nodes[writer->who], writer->pair->token, key,
                                    i * 3 + writer->who)) {
            writer->n_failed++;
        }
    }
    return NULL;
}

/* Both servers and the functions write the same documents at once. */
static void all_who_write_are_heard_in_order_and_once(void **state)
{
    struct pair *pair = *state;
    struct ear ears[NODES];
    struct writer writers[NODES + 1];
    for (unsigned i = 0; i < NODES; i++) {
        listen_to(&ears[i], pair->nodes[i].port, RT_USER_A, pair->token);
    }
    for (unsigned i = 0; i <= NODES; i++) {
        writers[i] = (struct writer){.pair = pair, .who = i};
        assert_int_equal(pthread_create(&writers[i].thread, NULL, run_writer, &writers[i]), 0);
    }
    for (unsigned i = 0; i <= NODES; i++) {
        pthread_join(writers[i].thread, NULL);
        assert_int_equal(writers[i].n_failed, 0);
    }
    for (unsigned i = 0; i < NODES; i++) {
        assert_true(hear_to(&ears[i], feed_end(RT_USER_A)));
        hear_rest(&ears[i]);
        for (unsigned k = 0; k < 5; k++) {
            char sql[200];
            (void)snprintf(sql, sizeof sql,
                           "SELECT version FROM user_sync_data_v2 WHERE data_key = 'k%u'", k);
            assert_int_equal(ears[i].versions[k], ask(sql));
        }
        printf("server %u: %u writes in all, %u events, went back or twice %u\n", i,
               (NODES + 1) * WRITES, ears[i].n_events, ears[i].n_wrong);
        assert_int_equal(ears[i].n_wrong, 0);
        ws_release(&ears[i].socket);
    }
}

static int start_cluster(void **state)
{
    (void)state;
    pg_cluster_start(&cluster, "fsync=off");
    pg_cluster_do(&cluster, "psql -X -q -h $D -U postgres -v ON_ERROR_STOP=1 -f "
                            "sql/postgres/options/roles.sql postgres"); /* for the functions */
    return 0;
}

static int stop_cluster(void **state)
{
    (void)state;
    pg_cluster_stop(&cluster);
    return 0;
}

#define PAIR(test) cmocka_unit_test_setup_teardown(test, start_pair, end_pair)
#define MUTE(test) cmocka_unit_test_setup_teardown(test, start_mute_pair, end_mute_pair)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PAIR(what_a_function_in_the_database_writes_is_heard),
        MUTE(a_word_that_is_lost_is_made_up_for),
        PAIR(what_is_written_right_behind_a_join_is_heard),
        PAIR(a_join_waits_for_the_database_and_no_socket_for_a_join),
        PAIR(a_broken_connection_loses_nothing),
        PAIR(a_change_of_many_rows_is_read_to_its_end),
        PAIR(where_nobody_listens_nothing_is_asked),
        PAIR(who_is_told_to_look_looks_at_once),
        PAIR(all_who_write_are_heard_in_order_and_once),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, start_cluster, stop_cluster);
}
