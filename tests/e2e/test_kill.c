/* test_kill.c - kill -9 of the server and of clients at random moments under load.
 *
 * Three client processes count in one shared sum, each in digits of its own: device 0 adds 1,
 * device 1 adds 10^6, device 2 adds 10^12. So the sum on any device and on the server tells how
 * many edits of each device it holds, and an edit that was lost or doubled shows by name.
 *
 * A client writes down in shared memory what it was told: `durable` after bq_increment() returned,
 * `acked` after bq_flush() did. When it starts again it looks into its own file: whatever a call
 * was doing when it was killed, the file holds it wholly or not at all. After each kill of the
 * server the edits that it had acknowledged are looked for on it before any client can send them
 * again: the store's epoch, which changes where anything acknowledged is missing, must be what it
 * was, at the end.
 *
 * 200 rounds; BQ_ROUNDS says otherwise. */
#include "bqsync.h"

#include "base/rng.h"
#include "json/json.h"
#include "old_app.h"
#include "server_process.h"
#include "token.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define DEVICES 3
#define UNIT INT64_C(1000000)
#define ROUNDS 200
#define USER "aaaaaaaa-0000-4000-8000-000000000001"
#define PATIENCE_MS 60000

/* Between the processes; a kill tears none of these. */
struct shared {
    _Atomic int64_t durable[DEVICES];
    _Atomic int64_t acked[DEVICES];
    _Atomic int64_t starts[DEVICES];
    atomic_int torn; /* files that held half an edit, or less than was durable */
    atomic_bool stop;
};

static int64_t power(unsigned device)
{
    return device == 0 ? 1 : device == 1 ? UNIT : UNIT * UNIT;
}

/* How many edits of a device a sum holds. */
static int64_t count_of(int64_t sum, unsigned device)
{
    return sum / power(device) % UNIT;
}

/* ---- A client -------------------------------------------------------------------------------- */

static void die(const char *what, int status)
{
    fprintf(stderr, "client: %s: %s\n", what, bq_status_code(status));
    _exit(3);
}

static int64_t sum_of(struct bq *bq)
{
    struct bq_game_stats stats = {.size = sizeof stats};
    int status = bq_game_stats_read(bq, &stats);
    if (status != BQ_OK) {
        die("the sum cannot be read", status);
    }
    return stats.incorrect_answers;
}

static struct bq *open_client(const char *path, const char *url, const char *token)
{
    struct bq *bq;
    char user[37], error[BQ_ERROR_TEXT] = "";
    struct bq_config config = BQ_CONFIG_INIT;
    config.path = path;
    config.url = url;
    config.debounce_ms = 2;
    config.poll_ms = 20;
    config.error_text = error;
    int status = bq_open(&config, &bq);
    if (status != BQ_OK) {
        die(error, status);
    }
    bq_user(bq, user);
    status =
        user[0] == '\0' ? bq_sign_in(bq, token, BQ_GUEST_MERGE, NULL) : bq_set_token(bq, token);
    if (status != BQ_OK) {
        die("sign in", status);
    }
    return bq;
}

/* What a killed call left: all of it or nothing. */
static void look_into_the_file(struct bq *bq, struct shared *shared, unsigned device)
{
    int64_t durable = atomic_load(&shared->durable[device]);
    int64_t held = count_of(sum_of(bq), device);
    if (held != durable && held != durable + 1) {
        fprintf(stderr, "client %u: the file holds %lld, durable were %lld\n", device,
                (long long)held, (long long)durable);
        atomic_fetch_add(&shared->torn, 1);
    }
    atomic_store(&shared->durable[device], held);
}

static void one_edit(struct bq *bq, struct shared *shared, unsigned device, struct rng *rng)
{
    char amount[32], lesson[32];
    (void)snprintf(amount, sizeof amount, "%lld", (long long)power(device));
    unsigned flags = rng_below(rng, 3) == 0 ? BQ_IMMEDIATE : 0;
    int status = bq_increment(bq, "game_stats", "incorrectAnswers", amount, flags);
    if (status != BQ_OK) {
        die("an edit", status);
    }
    atomic_fetch_add(&shared->durable[device], 1);
    /* Some company for the counter. */
    (void)snprintf(lesson, sizeof lesson, "lesson_%u_%u", device, (unsigned)rng_below(rng, 50));
    if (rng_below(rng, 4) == 0) {
        status = bq_lesson_progress_set_stars(bq, lesson, (int64_t)rng_below(rng, 4));
    }
    if (status != BQ_OK) {
        die("stars", status);
    }
}

static void flush_some(struct bq *bq, struct shared *shared, unsigned device)
{
    int64_t before = atomic_load(&shared->durable[device]);
    /* Short: the server may be away. */
    if (bq_flush(bq, 50) == BQ_OK) {
        atomic_store(&shared->acked[device], before);
    }
}

/* argv: "client", device, folder, url, token, name of the shared file, seed */
static int client_main(char **argv)
{
    unsigned device = (unsigned)strtoul(argv[2], NULL, 10);
    char path[300];
    struct rng rng;
    FILE *file = fopen(argv[6], "r+");
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (file == NULL) {
        return 4;
    }
    struct shared *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(file), 0);
    if (shared == MAP_FAILED) {
        return 4;
    }
    rng_init(&rng, strtoull(argv[7], NULL, 10));
    (void)snprintf(path, sizeof path, "%s/client_%u.bqsync", argv[3], device);
    struct bq *bq = open_client(path, argv[4], argv[5]);
    look_into_the_file(bq, shared, device);
    atomic_fetch_add(&shared->starts[device], 1);
    while (!atomic_load(&shared->stop)) {
        one_edit(bq, shared, device, &rng);
        if (rng_below(&rng, 8) == 0) {
            flush_some(bq, shared, device);
        }
    }
    bq_close(bq);
    return 0;
}

/* ---- The parent ------------------------------------------------------------------------------ */

struct world {
    struct server_process server;
    struct shared *shared;
    char shared_path[256];
    char *token;
    pid_t clients[DEVICES];
    uint64_t seed;
    struct rng rng;
    struct old_app app;
    unsigned n_server_kills;
    unsigned n_client_kills;
    unsigned n_lost_on_server;
};

static void start_client(struct world *w, unsigned device)
{
    char number[16], seed[32];
    (void)snprintf(number, sizeof number, "%u", device);
    (void)snprintf(seed, sizeof seed, "%llu", (unsigned long long)rng_next(&w->rng));
    w->clients[device] = fork();
    assert_true(w->clients[device] >= 0);
    if (w->clients[device] == 0) {
        (void)execl("/proc/self/exe", "test_kill", "client", number, w->server.scratch.folder,
                    w->server.url, w->token, w->shared_path, seed, (char *)NULL);
        _exit(127);
    }
}

static int wait_for(pid_t pid)
{
    int result;
    while (waitpid(pid, &result, 0) < 0 && errno == EINTR) {
    }
    return result;
}

static void kill_client(struct world *w, unsigned device)
{
    assert_int_equal(kill(w->clients[device], SIGKILL), 0);
    int result = wait_for(w->clients[device]);
    /* A client that ended by itself found something wrong, and said so. */
    assert_true(WIFSIGNALED(result) && WTERMSIG(result) == SIGKILL);
    w->n_client_kills++;
    start_client(w, device);
}

/* The sum that the server holds; 0 where it has none. */
static int64_t sum_on_server(struct world *w)
{
    struct old_answer answer;
    int64_t sum = 0;
    old_app_call(&w->app, "get_user_sync_data", "{\"p_user_id\":\"" USER "\"}", &answer);
    assert_int_equal(answer.http_status, 200);
    for (uint32_t i = 0; i < answer.body.count; i++) {
        const struct json_value *key = json_get(&answer.body.items[i], "data_key");
        const struct json_value *data = json_get(&answer.body.items[i], "data");
        if (json_is(key, JSON_STRING) && slice_is(json_text(key), "game_stats")) {
            assert_true(json_to_int(json_get(data, "incorrectAnswers"), &sum));
        }
    }
    old_app_release(&answer);
    return sum;
}

/* The user's epoch on the server. */
static void read_epoch(struct world *w, char out[128])
{
    struct old_answer answer;
    old_app_call(&w->app, "sync_exchange",
                 "{\"p_device_id\":\"bq-observer\",\"p_epoch\":null,\"p_edits\":[],\"p_cursor\":0}",
                 &answer);
    assert_int_equal(answer.http_status, 200);
    const struct json_value *epoch = json_get(&answer.body, "epoch");
    assert_true(json_is(epoch, JSON_STRING));
    (void)snprintf(out, 128, "%.*s", SLICE_FMT(json_text(epoch)));
    old_app_release(&answer);
}

/* With the clients stopped in their tracks, so that none can send anything again before the
 * look. */
static void kill_server(struct world *w)
{
    int64_t acked[DEVICES];
    server_process_kill(&w->server);
    w->n_server_kills++;
    for (unsigned d = 0; d < DEVICES; d++) {
        assert_int_equal(kill(w->clients[d], SIGSTOP), 0);
    }
    for (unsigned d = 0; d < DEVICES; d++) {
        acked[d] = atomic_load(&w->shared->acked[d]);
    }
    server_process_start(&w->server);
    int64_t sum = sum_on_server(w);
    for (unsigned d = 0; d < DEVICES; d++) {
        if (count_of(sum, d) < acked[d]) {
            printf("kill: the server lost edits of device %u: %lld of %lld acknowledged\n", d,
                   (long long)count_of(sum, d), (long long)acked[d]);
            w->n_lost_on_server++;
        }
        assert_int_equal(kill(w->clients[d], SIGCONT), 0);
    }
}

static void start_world(struct world *w)
{
    FILE *file;
    const char *given = getenv("BQ_SEED");
    w->seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    printf("kill: seed %llu (BQ_SEED)\n", (unsigned long long)w->seed);
    rng_init(&w->rng, w->seed);
    server_process_init(&w->server);
    w->token = token_user(USER);
    w->app = (struct old_app){w->server.port, w->token, USER, "observer"};
    scratch_path(&w->server.scratch, "shared", w->shared_path, sizeof w->shared_path);
    file = fopen(w->shared_path, "w+");
    assert_non_null(file);
    assert_int_equal(ftruncate(fileno(file), sizeof *w->shared), 0);
    w->shared = mmap(NULL, sizeof *w->shared, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(file), 0);
    assert_true(w->shared != MAP_FAILED);
    assert_int_equal(fclose(file), 0);
    for (unsigned d = 0; d < DEVICES; d++) {
        start_client(w, d);
    }
}

/* ---- The end --------------------------------------------------------------------------------- */

static void stop_clients(struct world *w)
{
    atomic_store(&w->shared->stop, true);
    for (unsigned d = 0; d < DEVICES; d++) {
        assert_int_equal(wait_for(w->clients[d]), 0);
    }
}

static void expect_same(struct bq *a, struct bq *b)
{
    struct bq_documents of_a = {.size = sizeof of_a};
    struct bq_documents of_b = {.size = sizeof of_b};
    struct arena arena;
    arena_init(&arena);
    assert_int_equal(bq_list(a, &of_a), BQ_OK);
    assert_int_equal(bq_list(b, &of_b), BQ_OK);
    assert_int_equal(of_a.n, of_b.n);
    for (size_t i = 0; i < of_a.n; i++) {
        struct json_value x, y;
        assert_int_equal(json_parse(&arena, slice_of(of_a.items[i].json), 80, &x, NULL), BQ_OK);
        assert_int_equal(json_parse(&arena, slice_of(of_b.items[i].json), 80, &y, NULL), BQ_OK);
        assert_true(json_equal(&arena, &x, &y));
        assert_int_equal(of_a.items[i].version, of_b.items[i].version);
    }
    bq_documents_release(&of_a);
    bq_documents_release(&of_b);
    arena_release(&arena);
}

/* Lost and doubled edits by device, over all copies; all copies equal. */
static void judge(struct world *w, int64_t *out_lost, int64_t *out_doubled)
{
    struct bq *bqs[DEVICES];
    char path[300];
    for (unsigned d = 0; d < DEVICES; d++) {
        (void)snprintf(path, sizeof path, "%s/client_%u.bqsync", w->server.scratch.folder, d);
        bqs[d] = open_client(path, w->server.url, w->token);
        look_into_the_file(bqs[d], w->shared, d);
    }
    for (unsigned d = 0; d < DEVICES; d++) {
        assert_int_equal(bq_flush(bqs[d], PATIENCE_MS), BQ_OK);
    }
    for (unsigned d = 0; d < DEVICES; d++) {
        assert_int_equal(bq_pull(bqs[d], PATIENCE_MS), BQ_OK);
    }
    int64_t sum = sum_on_server(w);
    for (unsigned d = 0; d < DEVICES; d++) {
        int64_t held = count_of(sum, d);
        int64_t durable = atomic_load(&w->shared->durable[d]);
        *out_lost += held < durable ? durable - held : 0;
        *out_doubled += held > durable ? held - durable : 0;
        assert_int_equal(sum_of(bqs[d]), sum);
        expect_same(bqs[0], bqs[d]);
    }
    for (unsigned d = 0; d < DEVICES; d++) {
        bq_close(bqs[d]);
    }
}

static void killed_at_random_moments_nothing_is_lost_or_doubled(void **state)
{
    static struct world w;
    const char *given = getenv("BQ_ROUNDS");
    unsigned rounds = given != NULL ? (unsigned)strtoul(given, NULL, 10) : ROUNDS;
    int64_t lost = 0;
    int64_t doubled = 0;
    int64_t n_edits = 0;
    char epoch[128], epoch_at_end[128];
    (void)state;
    start_world(&w);
    read_epoch(&w, epoch);
    for (unsigned round = 0; round < rounds; round++) {
        server_process_breathe((int64_t)rng_below(&w.rng, 60));
        uint64_t who = rng_below(&w.rng, 2 * DEVICES);
        if (who < DEVICES) {
            kill_client(&w, (unsigned)who);
        } else {
            kill_server(&w);
        }
    }
    stop_clients(&w);
    judge(&w, &lost, &doubled);
    read_epoch(&w, epoch_at_end);
    for (unsigned d = 0; d < DEVICES; d++) {
        n_edits += atomic_load(&w.shared->durable[d]);
    }
    printf("kill: %u rounds (server %u, clients %u), %lld edits: acknowledged lost %lld, "
           "doubled %lld, torn files %d, lost on the server %u, devices equal\n",
           rounds, w.n_server_kills, w.n_client_kills, (long long)n_edits, (long long)lost,
           (long long)doubled, atomic_load(&w.shared->torn), w.n_lost_on_server);
    assert_int_equal(lost, 0);
    assert_int_equal(doubled, 0);
    assert_int_equal(atomic_load(&w.shared->torn), 0);
    assert_int_equal(w.n_lost_on_server, 0);
    assert_string_equal(epoch_at_end, epoch);
    /* Rare paths must fire: both kinds of kills, and work between them. */
    assert_true(w.n_server_kills >= rounds / 5 && w.n_client_kills >= rounds / 5);
    assert_true(n_edits >= rounds);
    for (unsigned d = 0; d < DEVICES; d++) {
        assert_true(atomic_load(&w.shared->acked[d]) > 0);
    }
    (void)munmap(w.shared, sizeof *w.shared);
    free(w.token);
    server_process_release(&w.server);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_at_random_moments_nothing_is_lost_or_doubled),
    };
    if (argc == 8 && strcmp(argv[1], "client") == 0) {
        return client_main(argv);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
