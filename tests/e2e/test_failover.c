/* test_failover.c - two servers on one PostgreSQL with a streaming standby, under load of
 * libbqsync.
 *
 * Each user has three devices, which count in one sum, each in digits of its own (device 0 adds 1,
 * device 1 adds 10^6, device 2 adds 10^12), so the sum tells how many edits of each device it
 * holds. The devices of a user are spread over both servers. An observer reads the feed of the
 * first user from both servers in turn: versions and cursors never go back.
 *
 * Failover: kill -9 of every process of the primary under load, the standby is promoted, and the
 * servers find it by themselves (several hosts in the URL). They are stopped in their tracks while
 * the promoted database is looked at, so that nothing that was acknowledged can have come there
 * again. Synchronous: it holds everything. Asynchronous, as the control, with a standby that is
 * held back: it lacks edits that were acknowledged; the epoch changes, the devices send them
 * again. */
#include "bqsync.h"

#include "json/json.h"
#include "old_app.h"
#include "pg_cluster.h"
#include "server_process.h"
#include "token.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#define NODES 2u
#define USERS 2u
#define DEVICES 3u
#define UNIT INT64_C(1000000)
#define PATIENCE_MS 60000
#define LATENCIES 40

static const char *const user_ids[USERS] = {"aaaaaaaa-0000-4000-8000-000000000001",
                                            "aaaaaaaa-0000-4000-8000-000000000002"};

struct device {
    struct world *world;
    unsigned user;
    unsigned number;
    struct bq *bq;
    pthread_t thread;
    _Atomic int64_t durable;
    _Atomic int64_t acked;
};

struct world {
    struct pg_cluster cluster;
    char store[2 * PG_CLUSTER_URL]; /* both hosts */
    char standby[PG_CLUSTER_URL];
    struct server_process nodes[NODES];
    char *tokens[USERS];
    struct device devices[USERS][DEVICES];
    atomic_bool stop;
    pthread_t observer;
    char epoch[128]; /* the observer's */
    int n_reads;
    int n_backwards;
    int n_epochs;
};

static int64_t power(unsigned number)
{
    return number == 0 ? 1 : number == 1 ? UNIT : UNIT * UNIT;
}

static int64_t count_of(int64_t sum, unsigned number)
{
    return sum / power(number) % UNIT;
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- Devices --------------------------------------------------------------------------------- */

static struct bq *open_device(struct world *w, unsigned user, unsigned number, unsigned node)
{
    struct bq *bq;
    char path[300], name[40], error[BQ_ERROR_TEXT] = "";
    struct bq_config config = BQ_CONFIG_INIT;
    (void)snprintf(name, sizeof name, "device_%u_%u.bqsync", user, number);
    config.path = scratch_path(&w->nodes[0].scratch, name, path, sizeof path);
    config.url = w->nodes[node].url;
    config.debounce_ms = 5;
    config.error_text = error;
    int status = bq_open(&config, &bq);
    assert_string_equal(error, "");
    assert_int_equal(status, BQ_OK);
    assert_int_equal(bq_sign_in(bq, w->tokens[user], BQ_GUEST_MERGE, NULL), BQ_OK);
    return bq;
}

static void *run_device(void *cls)
{
    struct device *device = cls;
    char amount[32];
    (void)snprintf(amount, sizeof amount, "%lld", (long long)power(device->number));
    for (unsigned i = 0; !atomic_load(&device->world->stop); i++) {
        if (bq_increment(device->bq, "game_stats", "incorrectAnswers", amount, 0) != BQ_OK) {
            abort();
        }
        int64_t durable = atomic_fetch_add(&device->durable, 1) + 1;
        if (i % 4 == 3 && bq_flush(device->bq, 100) == BQ_OK) {
            atomic_store(&device->acked, durable);
        }
    }
    return NULL;
}

static int64_t sum_of(struct bq *bq)
{
    struct bq_game_stats stats = {.size = sizeof stats};
    assert_int_equal(bq_game_stats_read(bq, &stats), BQ_OK);
    return stats.incorrect_answers;
}

/* ---- The observer ---------------------------------------------------------------------------- */

static void observe(struct world *w, struct old_app *app, int64_t *cursor, int64_t *version)
{
    char body[300];
    struct old_answer answer;
    int64_t read;
    (void)snprintf(body, sizeof body,
                   "{\"p_device_id\":\"bq-observer\",\"p_epoch\":%s%s%s,\"p_edits\":[],"
                   "\"p_cursor\":%lld}",
                   w->epoch[0] == '\0' ? "" : "\"", w->epoch[0] == '\0' ? "null" : w->epoch,
                   w->epoch[0] == '\0' ? "" : "\"", (long long)*cursor);
    old_app_call(app, "sync_exchange", body, &answer);
    if (answer.http_status == 200) {
        struct slice epoch = json_text(json_get(&answer.body, "epoch"));
        const struct json_value *changes = json_get(&answer.body, "changes");
        if (!slice_is(epoch, w->epoch)) { /* anything may be there now */
            (void)snprintf(w->epoch, sizeof w->epoch, "%.*s", SLICE_FMT(epoch));
            w->n_epochs++;
            *cursor = 0;
            *version = 0;
        } else if (json_to_int(json_get(&answer.body, "cursor"), &read)) {
            w->n_backwards += read < *cursor ? 1 : 0;
            *cursor = read;
        }
        for (uint32_t i = 0; changes != NULL && i < changes->count; i++) {
            const struct json_value *change = &changes->items[i];
            if (slice_is(json_text(json_get(change, "data_key")), "game_stats") &&
                json_to_int(json_get(change, "version"), &read)) {
                w->n_backwards += read < *version ? 1 : 0;
                *version = read;
            }
        }
        w->n_reads++;
    }
    old_app_release(&answer);
}

static void *run_observer(void *cls)
{
    struct world *w = cls;
    int64_t cursor = 0;
    int64_t version = 0;
    for (unsigned i = 0; !atomic_load(&w->stop); i++) {
        struct old_app app = {w->nodes[i % NODES].port, w->tokens[0], user_ids[0], "observer"};
        observe(w, &app, &cursor, &version);
        server_process_breathe(5);
    }
    return NULL;
}

/* ---- The world ------------------------------------------------------------------------------- */

static void start_nodes(struct world *w)
{
    for (unsigned n = 0; n < NODES; n++) {
        server_process_init_on(&w->nodes[n], w->store);
    }
    for (unsigned u = 0; u < USERS; u++) {
        w->tokens[u] = token_user(user_ids[u]);
        for (unsigned d = 0; d < DEVICES; d++) {
            struct device *device = &w->devices[u][d];
            device->world = w;
            device->user = u;
            device->number = d;
            device->bq = open_device(w, u, d, (u + d) % NODES);
        }
    }
}

static void start_load(struct world *w)
{
    for (unsigned u = 0; u < USERS; u++) {
        for (unsigned d = 0; d < DEVICES; d++) {
            struct device *device = &w->devices[u][d];
            assert_int_equal(pthread_create(&device->thread, NULL, run_device, device), 0);
        }
    }
    assert_int_equal(pthread_create(&w->observer, NULL, run_observer, w), 0);
}

static void start_pair(struct world *w, bool synchronous)
{
    pg_cluster_start(&w->cluster, "fsync=off");
    pg_cluster_do(&w->cluster, "postgres_standby $D $D/s");
    struct scratch folder = w->cluster.scratch;
    (void)snprintf(w->store, sizeof w->store, "postgres:///postgres?host=%s,%s/s&user=postgres",
                   folder.folder, folder.folder);
    (void)snprintf(w->standby, sizeof w->standby, "postgres:///postgres?host=%s/s&user=postgres",
                   folder.folder);
    if (synchronous) {
        assert_true(pg_cluster_sql(w->cluster.url,
                                   "ALTER SYSTEM SET synchronous_standby_names = 'standby'"));
        assert_true(pg_cluster_sql(w->cluster.url, "SELECT pg_reload_conf()"));
    }
    start_nodes(w);
}

static void end_load(struct world *w)
{
    atomic_store(&w->stop, true);
    for (unsigned u = 0; u < USERS; u++) {
        for (unsigned d = 0; d < DEVICES; d++) {
            assert_int_equal(pthread_join(w->devices[u][d].thread, NULL), 0);
        }
    }
    assert_int_equal(pthread_join(w->observer, NULL), 0);
}

struct verdict {
    int64_t n_edits;
    int64_t lost;
    int64_t doubled;
};

/* All queues drain, all devices are equal, and each edit counts once. */
static struct verdict judge(struct world *w)
{
    struct verdict verdict = {0, 0, 0};
    for (unsigned u = 0; u < USERS; u++) {
        for (unsigned d = 0; d < DEVICES; d++) {
            assert_int_equal(bq_flush(w->devices[u][d].bq, PATIENCE_MS), BQ_OK);
        }
        for (unsigned d = 0; d < DEVICES; d++) { /* once more: others may have sent again */
            assert_int_equal(bq_pull(w->devices[u][d].bq, PATIENCE_MS), BQ_OK);
            assert_int_equal(bq_flush(w->devices[u][d].bq, PATIENCE_MS), BQ_OK);
        }
        for (unsigned d = 0; d < DEVICES; d++) {
            assert_int_equal(bq_pull(w->devices[u][d].bq, PATIENCE_MS), BQ_OK);
        }
        int64_t sum = sum_of(w->devices[u][0].bq);
        for (unsigned d = 0; d < DEVICES; d++) {
            int64_t durable = atomic_load(&w->devices[u][d].durable);
            int64_t held = count_of(sum, d);
            assert_int_equal(sum_of(w->devices[u][d].bq), sum);
            verdict.n_edits += durable;
            verdict.lost += held < durable ? durable - held : 0;
            verdict.doubled += held > durable ? held - durable : 0;
        }
    }
    return verdict;
}

static void end_world(struct world *w)
{
    for (unsigned u = 0; u < USERS; u++) {
        for (unsigned d = 0; d < DEVICES; d++) {
            bq_close(w->devices[u][d].bq);
        }
        free(w->tokens[u]);
    }
    for (unsigned n = NODES; n > 0; n--) {
        server_process_release(&w->nodes[n - 1]);
    }
    pg_cluster_stop(&w->cluster);
}

/* ---- Failover -------------------------------------------------------------------------------- */

/* Edits that were acknowledged and are not in the promoted database. */
static int64_t lost_there(struct world *w, int64_t acked[USERS][DEVICES])
{
    int64_t lost = 0;
    for (unsigned u = 0; u < USERS; u++) {
        char sql[300];
        (void)snprintf(sql, sizeof sql, "SELECT data->>'incorrectAnswers' FROM user_sync_data_v2"
                       " WHERE user_id = '%s' AND data_key = 'game_stats'", user_ids[u]);
        int64_t sum = strtoll(pg_cluster_ask(w->standby, sql), NULL, 10);
        for (unsigned d = 0; d < DEVICES; d++) {
            int64_t held = count_of(sum, d);
            lost += held < acked[u][d] ? acked[u][d] - held : 0;
        }
    }
    return lost;
}

/* Answers what the promoted database lacks of what was acknowledged. */
static int64_t fail_over(struct world *w)
{
    int64_t acked[USERS][DEVICES];
    pg_cluster_do(&w->cluster, "postgres_crash $D");
    for (unsigned n = 0; n < NODES; n++) {
        server_process_signal(&w->nodes[n], SIGSTOP);
    }
    for (unsigned u = 0; u < USERS; u++) {
        for (unsigned d = 0; d < DEVICES; d++) {
            acked[u][d] = atomic_load(&w->devices[u][d].acked);
        }
    }
    pg_cluster_do(&w->cluster, "postgres_promote $D/s");
    int64_t lost = lost_there(w, acked);
    for (unsigned n = 0; n < NODES; n++) {
        server_process_signal(&w->nodes[n], SIGCONT);
    }
    return lost;
}

static int64_t all_acked(struct world *w)
{
    int64_t n = 0;
    for (unsigned u = 0; u < USERS; u++) {
        for (unsigned d = 0; d < DEVICES; d++) {
            n += atomic_load(&w->devices[u][d].acked);
        }
    }
    return n;
}

static void load_until(struct world *w, int64_t n_more)
{
    int64_t goal = all_acked(w) + n_more;
    int64_t deadline_ms = now_ms() + PATIENCE_MS;
    while (all_acked(w) < goal) {
        assert_true(now_ms() < deadline_ms);
        server_process_breathe(5);
    }
}

static void run_failover(bool synchronous)
{
    static struct world worlds[2];
    struct world *w = &worlds[synchronous];
    int64_t n = getenv("BQ_LONG") != NULL ? 5000 : 400;
    start_pair(w, synchronous);
    start_load(w);
    load_until(w, n);
    if (!synchronous) {
        pg_cluster_do(&w->cluster, "postgres_hold_back $D");
        load_until(w, n / 2);
    }
    int64_t lost_on_standby = fail_over(w);
    int64_t promoted_ms = now_ms();
    load_until(w, 1);
    int64_t back_ms = now_ms() - promoted_ms;
    load_until(w, n);
    end_load(w);
    struct verdict verdict = judge(w);
    for (unsigned i = 0; i < NODES; i++) {
        assert_false(server_process_has_ended(&w->nodes[i])); /* they followed by themselves */
    }
    printf("failover %s: %lld edits, acknowledged and not on the standby %lld; in the end acked "
           "lost %lld, doubled %lld, queues drained, devices equal; first answer %lld ms after the "
           "promotion; observer: %d reads, %d went back, %d epochs\n",
           synchronous ? "synchronous" : "asynchronous", (long long)verdict.n_edits,
           (long long)lost_on_standby, (long long)verdict.lost, (long long)verdict.doubled,
           (long long)back_ms, w->n_reads, w->n_backwards, w->n_epochs);
    assert_int_equal(verdict.lost, 0);
    assert_int_equal(verdict.doubled, 0);
    assert_int_equal(w->n_backwards, 0);
    assert_int_equal(w->n_epochs, 2);
    if (synchronous) {
        assert_int_equal(lost_on_standby, 0);
    } else {
        assert_true(lost_on_standby > 0); /* or the control shows nothing */
    }
    end_world(w);
}

static void a_synchronous_failover_loses_nothing(void **state)
{
    (void)state;
    run_failover(true);
}

static void an_asynchronous_failover_is_healed_by_the_devices(void **state)
{
    (void)state;
    run_failover(false);
}

/* ---- Two servers ----------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Device 0 writes on one server, device 1 of the same user hears of it on the other: it polls so
 * seldom that only realtime can tell it. */
static void measure_from_node_to_node(struct world *w, int64_t out_ms[LATENCIES])
{
    struct bq *writer = w->devices[0][0].bq;
    struct bq *reader = w->devices[0][1].bq;
    for (int i = 0; i < LATENCIES; i++) {
        int64_t began_ms = now_ms();
        assert_int_equal(bq_increment(writer, "game_stats", "incorrectAnswers", "1", BQ_IMMEDIATE),
                         BQ_OK);
        int64_t durable = atomic_fetch_add(&w->devices[0][0].durable, 1) + 1;
        while (count_of(sum_of(reader), 0) < durable && now_ms() - began_ms < 20000) {
            server_process_breathe(1);
        }
        out_ms[i] = now_ms() - began_ms;
    }
    qsort(out_ms, LATENCIES, sizeof *out_ms, by_value);
}

static void two_servers_on_one_database_are_equal_and_ordered(void **state)
{
    static struct world w;
    int64_t latencies[LATENCIES];
    (void)state;
    pg_cluster_start(&w.cluster, "fsync=off");
    (void)snprintf(w.store, sizeof w.store, "%s", w.cluster.url);
    start_nodes(&w);
    start_load(&w);
    load_until(&w, getenv("BQ_LONG") != NULL ? 10000 : 1500);
    end_load(&w);
    struct verdict verdict = judge(&w);
    measure_from_node_to_node(&w, latencies);
    printf("two servers: %lld edits: lost %lld, doubled %lld, devices equal; observer: %d reads, "
           "%d went back; from server to server p50 %lld ms, p99 %lld ms\n",
           (long long)verdict.n_edits, (long long)verdict.lost, (long long)verdict.doubled,
           w.n_reads, w.n_backwards, (long long)latencies[LATENCIES / 2],
           (long long)latencies[LATENCIES - 1]);
    assert_int_equal(verdict.lost, 0);
    assert_int_equal(verdict.doubled, 0);
    assert_int_equal(w.n_backwards, 0);
    assert_int_equal(w.n_epochs, 1);
    assert_true(w.n_reads > 20);
    assert_true(latencies[LATENCIES - 1] < 10000);
    end_world(&w);
}

/* An argument chooses among the tests: 'two_*'. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_servers_on_one_database_are_equal_and_ordered),
        cmocka_unit_test(a_synchronous_failover_loses_nothing),
        cmocka_unit_test(an_asynchronous_failover_is_healed_by_the_devices),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
