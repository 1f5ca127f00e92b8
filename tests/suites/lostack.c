/* lostack.c - an answer that is lost at any byte, a server or a client that is killed at any
 * moment: what is sent again counts once.
 *
 * A real `bqsync serve`, real handles of libbqsync and an old app's raw calls, and between them the
 * proxy of tests/lib/fault_proxy.h. A *case* is an exchange of a small history (struct scene), a
 * byte of its request or reply, what happens there, and who comes back: the same client, one that
 * was closed and opened again, one whose file was restored from a copy made before the edit was
 * sent, or one that was killed. Each edit adds 1 to one sum, so after each case the sum on the
 * server and in the client must be the number of edits that the app was told are durable.
 *
 * The server stands on SQLite, or on a PostgreSQL cluster of the suite's own (BQ_LOSTACK_STORE).
 * There it writes no file: it is killed at each call that sends, to the database and to the
 * client.
 *
 * Small: cases spread evenly over all bytes, from a random offset. BQ_LONG: every byte.
 * `lostack bite`: a few cases, and exit code 0 when a wrong counter was found (BQ_PLANT). */
#include "bqsync.h"

#include "base/rng.h"
#include "fault_proxy.h"
#include "fault_shim.h"
#include "http_client.h"
#include "old_app.h"
#include "pg_cluster.h"
#include "server_process.h"
#include "suite_progress.h"
#include "token.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 20000
#define TIMEOUT_MS 250 /* of a client's request */
#define SHORT_MS 50
#define LIFE_CASES                                                                                 \
    40 /* then a new user: a document keeps receipts of a bounded number of devices */
#define SMALL_CUTS 260u
#define BITE_CUTS 60u

extern char **environ;

enum scene { SCENE_SESSION, SCENE_INCREMENT, SCENE_CONFLICT, SCENE_KEYS, SCENE_OLD_APP, SCENES };
enum comeback { COMEBACK_SAME, COMEBACK_RESTARTED, COMEBACK_RESTORED, COMEBACK_KILLED, COMEBACKS };

static const char *const scene_words[SCENES] = {"session", "increment", "conflict", "keys",
                                                "old app"};
static const char *const comeback_words[COMEBACKS] = {"same", "restarted", "restored", "killed"};

static bool biting; /* a planted bug is to be found */

struct test_case {
    enum scene scene;
    enum fault_proxy_action action;
    enum fault_proxy_direction direction;
    uint64_t at;
    enum comeback comeback;
    bool more;   /* the app writes once more before the retry */
    bool replay; /* the network brings the request once more afterwards */
    /* Where action is PASS: the server is killed at a call of its own. */
    enum fault_shim_call call;
    int how;
    uint64_t n;
};

struct world {
    const char *store;    /* its name in the line */
    enum fault_shim_call inner; /* the calls by which the server writes */
    struct pg_cluster cluster;  /* of PostgreSQL */
    struct scratch files; /* the clients', and the page of the preloaded library */
    struct server_process server;
    struct fault_shim *shim;
    struct fault_proxy *proxy;
    struct rng rng;
    uint64_t length[SCENES][2];
    /* The present user. */
    unsigned n_users;
    unsigned n_cases_of_user;
    char user[40];
    char *token;
    char path[256];
    char backup[256];
    struct bq *bq;
    struct bq *other; /* another device, not through the proxy */
    struct old_app app;
    int64_t app_count;
    int64_t app_version;
    int64_t expected;
    pid_t victim;
    /* What was done. */
    unsigned n_cases;
    unsigned n_exact;
    unsigned by_action[FAULT_PROXY_ACTIONS];
    unsigned by_comeback[COMEBACKS];
    unsigned by_scene[SCENES];
    unsigned by_call[FAULT_SHIM_CALLS];
    unsigned n_missed; /* cases that did not strike */
    unsigned n_rewound;
    unsigned n_replays;
    unsigned n_let_go;
};

/* ---- Clients --------------------------------------------------------------------------------- */

static struct bq *open_client(const char *path, unsigned port, const char *token)
{
    struct bq *bq;
    char url[64], user[37], error[BQ_ERROR_TEXT] = "";
    struct bq_config config = BQ_CONFIG_INIT;
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u", port);
    config.path = path;
    config.url = url;
    /* Realtime carries no edits; its bytes would come between the ones that are counted. */
    config.flags = BQ_MANUAL | BQ_NO_LIVE;
    config.debounce_ms = 60000; /* an edit leaves when the test says so */
    config.timeout_ms = TIMEOUT_MS;
    config.error_text = error;
    if (bq_open(&config, &bq) != BQ_OK) {
        fprintf(stderr, "lostack: %s: %s\n", path, error);
        abort();
    }
    bq_user(bq, user);
    int status =
        user[0] == '\0' ? bq_sign_in(bq, token, BQ_GUEST_MERGE, NULL) : bq_set_token(bq, token);
    assert_int_equal(status, BQ_OK);
    return bq;
}

static void reopen(struct world *w)
{
    w->bq = open_client(w->path, fault_proxy_port(w->proxy), w->token);
}

/* Where the machine is busy an answer may take longer than the client waits for it. */
static int pull(struct bq *bq)
{
    int status = BQ_NETWORK;
    for (int i = 0; i < PATIENCE_MS / TIMEOUT_MS && status == BQ_NETWORK; i++) {
        status = bq_pull(bq, PATIENCE_MS);
    }
    return status;
}

static void close_client(struct world *w)
{
    struct bq_event event = {.size = sizeof event};
    while (w->bq != NULL && bq_next_event(w->bq, 0, &event) == BQ_OK) {
        w->n_rewound += event.type == BQ_EVENT_REWOUND ? 1 : 0;
    }
    bq_close(w->bq);
    w->bq = NULL;
}

static void increment(struct world *w, struct bq *bq)
{
    assert_int_equal(bq_increment(bq, "game_stats", "incorrectAnswers", "1", 0), BQ_OK);
    w->expected++;
}

static int64_t sum_of(struct bq *bq)
{
    struct bq_game_stats stats = {.size = sizeof stats};
    assert_int_equal(bq_game_stats_read(bq, &stats), BQ_OK);
    return stats.incorrect_answers;
}

/* By another process: a descriptor that this one closes would drop SQLite's locks. */
static void copy(const char *from, const char *to)
{
    static const char *const ends[] = {"", "-wal"};
    for (int i = 0; i < 2; i++) {
        char source[280], target[280];
        char *const arguments[] = {(char *)(uintptr_t) "cp", (char *)(uintptr_t) "-f", source,
                                   target, NULL};
        pid_t pid;
        int result = -1;
        (void)snprintf(source, sizeof source, "%s%s", from, ends[i]);
        (void)snprintf(target, sizeof target, "%s%s", to, ends[i]);
        assert_int_equal(posix_spawnp(&pid, "cp", NULL, NULL, arguments, environ), 0);
        while (waitpid(pid, &result, 0) < 0 && errno == EINTR) {
        }
        assert_int_equal(result, 0);
    }
}

/* ---- Users ----------------------------------------------------------------------------------- */

static void end_user(struct world *w)
{
    close_client(w);
    bq_close(w->other);
    w->other = NULL;
    free(w->token);
    w->token = NULL;
}

static struct bq *open_other(struct world *w)
{
    char name[64], path[256];
    (void)snprintf(name, sizeof name, "other-%u.bqsync", w->n_users);
    struct bq *other =
        open_client(scratch_path(&w->files, name, path, sizeof path), w->server.port, w->token);
    assert_int_equal(pull(other), BQ_OK);
    return other;
}

static void new_user(struct world *w)
{
    char name[64];
    end_user(w);
    w->n_users++;
    w->n_cases_of_user = 0;
    (void)snprintf(w->user, sizeof w->user, "aaaaaaaa-0000-4000-8000-%012u", w->n_users);
    w->token = token_user(w->user);
    (void)snprintf(name, sizeof name, "app-%u.bqsync", w->n_users);
    scratch_path(&w->files, name, w->path, sizeof w->path);
    (void)snprintf(name, sizeof name, "backup-%u.bqsync", w->n_users);
    scratch_path(&w->files, name, w->backup, sizeof w->backup);
    w->app = (struct old_app){w->server.port, w->token, w->user, "old"};
    w->app_count = 0;
    w->app_version = 0;
    w->expected = 0;
}

/* A client that has exchanged everything, and a document on the server. */
static void settle_user(struct world *w)
{
    if (w->bq == NULL) {
        reopen(w);
        assert_int_equal(pull(w->bq), BQ_OK);
        increment(w, w->bq);
    }
    assert_int_equal(bq_flush(w->bq, PATIENCE_MS), BQ_OK);
    /* What else it has to say, the device's report above all. */
    assert_int_equal(pull(w->bq), BQ_OK);
}

/* ---- The server ------------------------------------------------------------------------------ */

static bool is_postgres(const struct world *w)
{
    return w->inner == FAULT_SHIM_SEND;
}

/* The library of faults goes into the server alone. */
static void start_server(struct world *w, bool first)
{
    const char *preload = getenv("BQ_PRELOAD");
    assert_non_null(preload);
    (void)setenv("LD_PRELOAD", preload, 1);
    if (first) {
        server_process_init_on(&w->server, is_postgres(w) ? w->cluster.url : NULL);
    } else {
        server_process_start(&w->server);
    }
    (void)unsetenv("LD_PRELOAD");
}

/* It is dead already, or about to be. */
static void restart_server(struct world *w)
{
    fault_shim_off(w->shim);
    server_process_kill(&w->server);
    start_server(w, false);
}

static void kill_server(void *cls)
{
    struct world *w = cls;
    (void)kill(w->server.pid, SIGKILL);
}

static void kill_client(void *cls)
{
    struct world *w = cls;
    (void)kill(w->victim, SIGKILL);
}

/* The sum that the server holds, asked for directly. */
static int64_t sum_on_server(struct world *w)
{
    struct old_answer answer;
    char body[128];
    int64_t sum = 0;
    (void)snprintf(body, sizeof body, "{\"p_user_id\":\"%s\"}", w->user);
    old_app_call(&w->app, "get_user_sync_data", body, &answer);
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

/* ---- An exchange, as far as it comes --------------------------------------------------------- */

static void arm(struct world *w, const struct test_case *c)
{
    struct fault_proxy_plan plan = {.action = c->action,
                                    .direction = c->direction,
                                    .at = c->at,
                                    .n = 1,
                                    .hook =
                                        c->comeback == COMEBACK_KILLED ? kill_client : kill_server,
                                    .cls = w};
    fault_proxy_arm(w->proxy, &plan);
    if (c->action == FAULT_PROXY_PASS && c->n > 0) {
        fault_shim_set(w->shim, c->call, c->how, c->n, 1);
    }
}

static bool has_struck(struct world *w, const struct test_case *c)
{
    return c->action == FAULT_PROXY_PASS ? fault_shim_hits(w->shim, c->call) > 0
                                         : fault_proxy_struck(w->proxy);
}

static bool kills_server(const struct test_case *c)
{
    return c->comeback != COMEBACK_KILLED &&
           (c->action == FAULT_PROXY_HOOK || (c->action == FAULT_PROXY_PASS && c->n > 0));
}

/* What the exchange of the scene needs before it. */
static void set_the_scene(struct world *w, enum scene scene)
{
    if (scene == SCENE_SESSION || w->user[0] == '\0' || w->n_cases_of_user++ >= LIFE_CASES) {
        new_user(w);
    }
    if (scene == SCENE_SESSION) {
        return;
    }
    settle_user(w);
    if (scene == SCENE_CONFLICT) {
        w->other = w->other != NULL ? w->other : open_other(w);
        increment(w, w->other);
        assert_int_equal(bq_flush(w->other, PATIENCE_MS), BQ_OK);
    }
}

static void edit(struct world *w, enum scene scene)
{
    increment(w, w->bq);
    if (scene == SCENE_KEYS) {
        char text[64];
        (void)snprintf(text, sizeof text, "{\"text\":\"after %lld\"}", (long long)w->expected);
        assert_int_equal(bq_put(w->bq, "notes", text, SIZE_MAX, 0), BQ_OK);
        (void)snprintf(text, sizeof text, "{\"mute\":%s}", w->expected % 2 == 0 ? "true" : "false");
        assert_int_equal(bq_patch(w->bq, "settings", text, SIZE_MAX, 0), BQ_OK);
    }
}

/* Sends what waits, once: until all of it was answered or a try has failed. */
static void send_once(struct bq *bq)
{
    struct bq_stats stats = {.size = sizeof stats};
    (void)bq_flush(bq, 0);
    for (int waited = 0; waited < 4 * TIMEOUT_MS; waited += SHORT_MS) {
        assert_int_equal(bq_stats(bq, &stats), BQ_OK);
        if (stats.online == 0 || stats.pending == 0) {
            return;
        }
        (void)bq_step(bq, SHORT_MS);
    }
}

/* A session has more exchanges than the one of its edit: the device's report, a pull. */
static void try_exchange(struct world *w, const struct test_case *c)
{
    send_once(w->bq);
    for (int i = 0; c->scene == SCENE_SESSION && i < 2 && !has_struck(w, c); i++) {
        (void)bq_pull(w->bq, PATIENCE_MS);
    }
}

/* The first half of a case by a process that is killed in the middle of it. argv: "client", file,
 * port, token. */
static int client_main(char **argv)
{
    char byte = 'r';
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct bq *bq = open_client(argv[2], (unsigned)strtoul(argv[3], NULL, 10), argv[4]);
    bool good = pull(bq) == BQ_OK &&
                bq_increment(bq, "game_stats", "incorrectAnswers", "1", 0) == BQ_OK &&
                write(STDOUT_FILENO, &byte, 1) == 1 && read(STDIN_FILENO, &byte, 1) == 1;
    if (good) {
        send_once(bq);
    }
    bq_close(bq);
    return good ? 0 : 1;
}

static void be_killed(struct world *w, const struct test_case *c)
{
    int to[2], from[2], result;
    char port[16], byte = 0;
    assert_int_equal(pipe(to) | pipe(from), 0);
    (void)snprintf(port, sizeof port, "%u", fault_proxy_port(w->proxy));
    close_client(w);
    w->victim = fork();
    assert_true(w->victim >= 0);
    if (w->victim == 0) {
        (void)dup2(to[0], STDIN_FILENO);
        (void)dup2(from[1], STDOUT_FILENO);
        (void)close(to[1]);
        (void)close(from[0]);
        (void)execl("/proc/self/exe", "lostack", "client", w->path, port, w->token, (char *)NULL);
        _exit(127);
    }
    (void)close(to[0]);
    (void)close(from[1]);
    assert_int_equal(read(from[0], &byte, 1), 1);
    w->expected++; /* it said that the edit is durable */
    arm(w, c);
    assert_int_equal(write(to[1], &byte, 1), 1);
    while (waitpid(w->victim, &result, 0) < 0 && errno == EINTR) {
    }
    (void)close(to[1]);
    (void)close(from[0]);
    reopen(w);
}

static void come_back(struct world *w, const struct test_case *c)
{
    if (c->comeback == COMEBACK_RESTORED) {
        close_client(w);
        copy(w->backup, w->path);
        reopen(w);
    } else if (c->more) {
        increment(w, w->bq);
    }
    if (c->comeback == COMEBACK_RESTARTED) {
        close_client(w);
        reopen(w);
    }
}

/* ---- An old app ------------------------------------------------------------------------------ */

/* It raises the count that it knows; the library's client has written meanwhile, so its version is
 * an old one. It sends the same again until it has an answer. */
static void old_app_case(struct world *w, const struct test_case *c)
{
    char data[64];
    struct buf body = BUF_INIT;
    struct http_answer lost;
    struct old_answer answer;
    increment(w, w->bq);
    assert_int_equal(bq_flush(w->bq, PATIENCE_MS), BQ_OK);
    (void)snprintf(data, sizeof data, "{\"incorrectAnswers\":%lld}", (long long)w->app_count + 1);
    old_app_upsert_body(&w->app, "game_stats", data, w->app_version, &body);
    w->expected++;
    arm(w, c);
    http_rpc(fault_proxy_port(w->proxy), "atomic_sync_upsert", w->token, body.ptr, &lost);
    http_release(&lost);
    buf_release(&body);
    if (kills_server(c)) {
        restart_server(w);
    }
    old_app_upsert(&w->app, "game_stats", data, w->app_version, &answer);
    assert_int_equal(answer.http_status, 200);
    const struct json_value *got = json_get(&answer.body, "data");
    assert_true(json_is(json_get(&answer.body, "success"), JSON_TRUE));
    assert_true(json_to_int(json_get(got, "incorrectAnswers"), &w->app_count));
    assert_true(json_to_int(json_get(&answer.body, "version"), &w->app_version));
    old_app_release(&answer);
}

/* What it knew before its first write. */
static void greet_old_app(struct world *w)
{
    if (w->app_version == 0) {
        w->app_count = w->expected;
        char data[64];
        (void)snprintf(data, sizeof data, "{\"incorrectAnswers\":%lld}", (long long)w->app_count);
        w->app_version = old_app_put(&w->app, "game_stats", data, -1, "updated");
    }
}

/* ---- A case ---------------------------------------------------------------------------------- */

static void library_case(struct world *w, const struct test_case *c)
{
    if (c->comeback == COMEBACK_KILLED) {
        be_killed(w, c);
        return;
    }
    if (c->scene == SCENE_SESSION) {
        arm(w, c);
        reopen(w);
    }
    edit(w, c->scene);
    if (c->comeback == COMEBACK_RESTORED) {
        copy(w->path, w->backup);
    }
    if (c->scene != SCENE_SESSION) {
        arm(w, c);
    }
    try_exchange(w, c);
    if (kills_server(c)) {
        restart_server(w);
    }
    come_back(w, c);
}

static void count_case(struct world *w, const struct test_case *c)
{
    w->n_cases++;
    w->by_scene[c->scene]++;
    w->by_comeback[c->comeback]++;
    if (c->action == FAULT_PROXY_PASS) {
        w->by_call[c->call]++;
    } else {
        w->by_action[c->action]++;
    }
}

/* Each call tries at once, whatever pause the client is in. */
static int flush(struct bq *bq)
{
    int status = BQ_TIMEOUT;
    for (int i = 0; i < PATIENCE_MS / SHORT_MS && status == BQ_TIMEOUT; i++) {
        status = bq_flush(bq, SHORT_MS);
    }
    return status;
}

static bool is_exact(struct world *w, const struct test_case *c)
{
    int flushed = flush(w->bq);
    int pulled = pull(w->bq);
    int64_t server = sum_on_server(w);
    int64_t client = sum_of(w->bq);
    if (flushed == BQ_OK && pulled == BQ_OK && server == w->expected && client == w->expected) {
        return true;
    }
    printf("lostack: WRONG: %s, %s of the %s at byte %llu (call %d, %d, no. %llu), %s%s%s: "
           "%lld edits, the server holds %lld, the client %lld (flush %s, pull %s)\n",
           scene_words[c->scene], fault_proxy_word(c->action),
           c->direction == FAULT_PROXY_REQUEST ? "request" : "reply", (unsigned long long)c->at,
           (int)c->call, c->how, (unsigned long long)c->n, comeback_words[c->comeback],
           c->more ? ", wrote more" : "", c->replay ? ", replayed" : "", (long long)w->expected,
           (long long)server, (long long)client, bq_status_code(flushed), bq_status_code(pulled));
    return false;
}

static void run_case(struct world *w, const struct test_case *c)
{
    set_the_scene(w, c->scene);
    if (c->scene == SCENE_OLD_APP) {
        greet_old_app(w);
        old_app_case(w, c);
    } else {
        library_case(w, c);
    }
    bool struck = has_struck(w, c);
    if (!struck) {
        w->n_missed++; /* the exchange was shorter this time; what was done must be right even so */
        fault_proxy_arm(w->proxy, &(struct fault_proxy_plan){.action = FAULT_PROXY_PASS});
        fault_shim_off(w->shim);
    } else {
        count_case(w, c);
    }
    bool exact = is_exact(w, c);
    if (exact && c->action == FAULT_PROXY_DELAY) {
        w->n_let_go += fault_proxy_let_go(w->proxy); /* what was late comes after its retry */
        exact = is_exact(w, c);
    }
    if (exact && c->replay) {
        w->n_replays += fault_proxy_replay(w->proxy) != 0 ? 1 : 0;
        exact = is_exact(w, c);
    }
    w->n_exact += exact && struck ? 1 : 0;
    if (!exact) {
        assert_true(struck || biting);
        new_user(w);
    }
}

/* ---- All cases ------------------------------------------------------------------------------- */

struct plan {
    struct test_case *cases;
    size_t n;
    size_t size;
};

static struct test_case *add(struct plan *plan)
{
    if (plan->n == plan->size) {
        plan->size = plan->size == 0 ? 1024 : 2 * plan->size;
        plan->cases = realloc(plan->cases, plan->size * sizeof plan->cases[0]);
        assert_non_null(plan->cases);
    }
    plan->cases[plan->n] = (struct test_case){.scene = SCENE_SESSION};
    return &plan->cases[plan->n++];
}

static void add_cut(struct world *w, struct plan *plan, enum scene scene,
                    enum fault_proxy_direction direction, uint64_t at,
                    enum fault_proxy_action action)
{
    struct test_case *c = add(plan);
    c->scene = scene;
    c->direction = direction;
    c->at = at;
    c->action = action;
    c->comeback =
        scene == SCENE_OLD_APP ? COMEBACK_SAME : (enum comeback)rng_below(&w->rng, COMEBACK_KILLED);
    c->more =
        scene != SCENE_OLD_APP && c->comeback != COMEBACK_RESTORED && rng_below(&w->rng, 4) == 0;
    c->replay = rng_below(&w->rng, 5) == 0;
}

/* Cuts at every byte from 0 to the length, or at each stride-th. */
static void add_cuts(struct world *w, struct plan *plan, bool every, uint64_t stride)
{
    for (enum scene scene = 0; scene < SCENES; scene++) {
        for (enum fault_proxy_direction d = FAULT_PROXY_REQUEST; d <= FAULT_PROXY_REPLY; d++) {
            uint64_t length = w->length[scene][d];
            uint64_t offset = every ? 0 : rng_below(&w->rng, stride);
            for (uint64_t at = offset; at <= length; at += stride) {
                bool reset = every ? (at + scene) % 2 == 0 : rng_below(&w->rng, 2) == 0;
                add_cut(w, plan, scene, d, at, reset ? FAULT_PROXY_RST : FAULT_PROXY_FIN);
            }
            if (!every) {
                add_cut(w, plan, scene, d, 0, FAULT_PROXY_FIN);
                add_cut(w, plan, scene, d, length, FAULT_PROXY_RST);
            }
        }
    }
}

/* The other things that a network does, at random bytes. */
static void add_others(struct world *w, struct plan *plan, unsigned rounds)
{
    static const enum fault_proxy_action actions[] = {FAULT_PROXY_HALF, FAULT_PROXY_DRIP,
                                                      FAULT_PROXY_HOLE, FAULT_PROXY_DELAY};
    for (unsigned i = 0; i < rounds * 4 * SCENES * 2; i++) {
        enum fault_proxy_action action = actions[i % 4];
        enum scene scene = i / 4 % SCENES;
        enum fault_proxy_direction direction = i / 4 / SCENES % 2;
        /* An old app waits for long; it is not made to. */
        if (scene != SCENE_OLD_APP || action == FAULT_PROXY_HALF || action == FAULT_PROXY_DRIP) {
            uint64_t at = rng_below(&w->rng, w->length[scene][direction] + 1);
            add_cut(w, plan, scene, direction, at, action);
        }
    }
}

/* kill -9, of the server and of a client, when a byte passes. */
static void add_kills(struct world *w, struct plan *plan, unsigned rounds)
{
    for (unsigned i = 0; i < rounds * 6; i++) {
        enum scene scene = 1 + (unsigned)rng_below(&w->rng, SCENES - 1);
        enum fault_proxy_direction direction = i % 2;
        uint64_t length = w->length[scene][direction];
        uint64_t at = i / 2 % 3 == 0 ? 0 : i / 2 % 3 == 1 ? length : 1 + rng_below(&w->rng, length);
        add_cut(w, plan, scene, direction, at, FAULT_PROXY_HOOK);
        add_cut(w, plan, SCENE_INCREMENT, direction, at, FAULT_PROXY_HOOK);
        struct test_case *c = &plan->cases[plan->n - 1];
        c->at =
            at < w->length[SCENE_INCREMENT][direction] ? at : w->length[SCENE_INCREMENT][direction];
        c->comeback = COMEBACK_KILLED;
        c->more = false;
    }
}

/* The same where the store is a database: at each call that sends it something, or the answer. */
static void add_sending_kills(struct world *w, struct plan *plan, uint64_t n_sends, unsigned rounds)
{
    for (uint64_t i = 0; i < rounds * 2 * n_sends; i++) {
        enum scene scene = 1 + (unsigned)rng_below(&w->rng, SCENES - 1);
        add_cut(w, plan, scene, FAULT_PROXY_REPLY, 0, FAULT_PROXY_PASS);
        struct test_case *c = &plan->cases[plan->n - 1];
        c->call = FAULT_SHIM_SEND;
        c->how = i % 2 == 0 ? FAULT_SHIM_KILL_BEFORE : FAULT_SHIM_KILL_AFTER;
        c->n = i / 2 % n_sends + 1;
    }
}

/* kill -9 of the server at calls of its own: inside the transaction (each write of the WAL), before
 * and behind its sync, and before the answer. */
static void add_inner_kills(struct world *w, struct plan *plan, uint64_t n_writes, unsigned rounds)
{
    for (uint64_t i = 0; i < rounds * (n_writes + 4); i++) {
        uint64_t which = i % (n_writes + 4);
        enum scene scene = 1 + (unsigned)rng_below(&w->rng, SCENES - 1);
        add_cut(w, plan, scene, FAULT_PROXY_REPLY, 0, FAULT_PROXY_PASS);
        struct test_case *c = &plan->cases[plan->n - 1];
        bool writes = which < n_writes;
        bool sends = which >= n_writes + 2;
        c->call = writes ? FAULT_SHIM_WRITE : sends ? FAULT_SHIM_SEND : FAULT_SHIM_SYNC;
        c->how = (writes ? rng_below(&w->rng, 2) : which - n_writes) % 2 == 0
                     ? FAULT_SHIM_KILL_BEFORE
                     : FAULT_SHIM_KILL_AFTER;
        c->n = writes ? which + 1 : 1;
    }
}

/* How long each exchange is, and how often the server writes (sends) in one. */
static uint64_t measure(struct world *w)
{
    uint64_t n_writes = 0;
    for (enum scene scene = 0; scene < SCENES; scene++) {
        struct test_case c = {.scene = scene, .action = FAULT_PROXY_PASS};
        fault_shim_set(w->shim, w->inner, 0, 0, 0);
        set_the_scene(w, scene);
        fault_shim_set(w->shim, w->inner, 0, 0, 0);
        if (scene == SCENE_OLD_APP) {
            greet_old_app(w);
            old_app_case(w, &c);
        } else {
            library_case(w, &c);
        }
        if (scene == SCENE_INCREMENT) {
            n_writes = fault_shim_calls(w->shim, w->inner);
        }
        w->length[scene][FAULT_PROXY_REQUEST] = fault_proxy_bytes(w->proxy, FAULT_PROXY_REQUEST);
        w->length[scene][FAULT_PROXY_REPLY] = fault_proxy_bytes(w->proxy, FAULT_PROXY_REPLY);
        if (!is_exact(w, &c)) {
            assert_true(biting);
            new_user(w);
        }
        printf("lostack: %s: request %llu bytes, reply %llu bytes\n", scene_words[scene],
               (unsigned long long)w->length[scene][FAULT_PROXY_REQUEST],
               (unsigned long long)w->length[scene][FAULT_PROXY_REPLY]);
    }
    assert_true(n_writes > 0);
    return n_writes;
}

static uint64_t total_bytes(const struct world *w)
{
    uint64_t total = 0;
    for (enum scene scene = 0; scene < SCENES; scene++) {
        total += w->length[scene][0] + w->length[scene][1];
    }
    return total;
}

static void make_plan(struct world *w, struct plan *plan, uint64_t n_writes, bool bite)
{
    bool every = getenv("BQ_LONG") != NULL && !bite;
    unsigned cuts = bite ? BITE_CUTS : SMALL_CUTS;
    add_cuts(w, plan, every, every ? 1 : total_bytes(w) / cuts + 1);
    if (!bite) {
        add_others(w, plan, every ? 20 : 1);
        add_kills(w, plan, every ? 40 : 2);
        if (is_postgres(w)) {
            add_sending_kills(w, plan, n_writes, every ? 40 : 1);
        } else {
            add_inner_kills(w, plan, n_writes, every ? 20 : 1);
        }
    }
}

/* ---- The suite ------------------------------------------------------------------------------- */

static struct world world;

static void begin(struct world *w)
{
    char page[256];
    const char *given = getenv("BQ_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    printf("lostack: seed %llu (BQ_SEED)\n", (unsigned long long)seed);
    rng_init(&w->rng, seed);
    const char *store = getenv("BQ_LOSTACK_STORE");
    w->store = store != NULL ? store : "SQLite";
    w->inner = strcmp(w->store, "PostgreSQL") == 0 ? FAULT_SHIM_SEND : FAULT_SHIM_WRITE;
    if (is_postgres(w)) {
        pg_cluster_start(&w->cluster, "fsync=off"); /* it is not the database that is killed */
    }
    scratch_init(&w->files);
    scratch_path(&w->files, "shim", page, sizeof page);
    w->shim = fault_shim_new(page);
    (void)setenv("BQ_SHIM", page, 1);
    start_server(w, true);
    assert_true(atomic_load(&w->shim->loaded) > 0);
    w->proxy = fault_proxy_new(w->server.port);
}

static void show(const struct world *w)
{
    printf("lostack: cases by network:");
    for (int i = FAULT_PROXY_RST; i < FAULT_PROXY_ACTIONS; i++) {
        printf(" %s %u", fault_proxy_word((enum fault_proxy_action)i), w->by_action[i]);
    }
    printf("; server killed at its own write %u, sync %u, send %u\n", w->by_call[FAULT_SHIM_WRITE],
           w->by_call[FAULT_SHIM_SYNC], w->by_call[FAULT_SHIM_SEND]);
    printf("lostack: who came back:");
    for (int i = 0; i < COMEBACKS; i++) {
        printf(" %s %u", comeback_words[i], w->by_comeback[i]);
    }
    printf("; scenes:");
    for (int i = 0; i < SCENES; i++) {
        printf(" %s %u", scene_words[i], w->by_scene[i]);
    }
    printf("; replays %u, late requests %u, rewound files %u, not struck %u\n", w->n_replays,
           w->n_let_go, w->n_rewound, w->n_missed);
}

/* Rare paths must fire. */
static void expect_all_kinds(const struct world *w)
{
    for (int i = FAULT_PROXY_RST; i < FAULT_PROXY_ACTIONS; i++) {
        assert_true(w->by_action[i] > 0);
    }
    for (int i = 0; i < COMEBACKS; i++) {
        assert_true(w->by_comeback[i] > 0);
    }
    for (int i = 0; i < SCENES; i++) {
        assert_true(w->by_scene[i] > 0);
    }
    assert_true(w->by_call[FAULT_SHIM_SEND] > 0);
    assert_true(is_postgres(w) ||
                (w->by_call[FAULT_SHIM_WRITE] > 0 && w->by_call[FAULT_SHIM_SYNC] > 0));
    assert_true(w->n_replays > 0 && w->n_let_go > 0 && w->n_rewound > 0);
    assert_true(w->n_missed < w->n_cases / 20);
}

static void what_is_sent_again_counts_once(void **state)
{
    struct world *w = &world;
    struct plan plan = {NULL, 0, 0};
    (void)state;
    begin(w);
    uint64_t n_writes = measure(w);
    make_plan(w, &plan, n_writes, biting);
    for (size_t i = 0; i < plan.n; i++) {
        run_case(w, &plan.cases[i]);
        if (i % 32 == 0) {
            suite_progress(i, plan.n);
        }
    }
    suite_progress(plan.n, plan.n);
    show(w);
    end_user(w);
    fault_proxy_free(w->proxy);
    server_process_stop(&w->server);
    assert_int_equal(w->server.result, 0);
    server_process_release(&w->server);
    fault_shim_free(w->shim);
    scratch_release(&w->files);
    if (is_postgres(w)) {
        pg_cluster_stop(&w->cluster);
    }
    free(plan.cases);
    if (biting) {
        assert_true(w->n_exact < w->n_cases);
        return;
    }
    expect_all_kinds(w);
    assert_int_equal(w->n_exact, w->n_cases);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_sent_again_counts_once),
    };
    if (argc == 5 && strcmp(argv[1], "client") == 0) {
        return client_main(argv);
    }
    biting = argc == 2 && strcmp(argv[1], "bite") == 0;
    /* Not the limits of a user are tested here. */
    (void)setenv("BQSYNC_USER_RATE", "0", 1);
    /* Half a request that no more comes of is given up soon. */
    (void)setenv("BQSYNC_HEADER_TIMEOUT", "1s", 1);
    (void)setenv("BQSYNC_BODY_TIMEOUT", "1s", 1);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    printf("lostack: %u cuts x {%s}: counters exact %u/%u\n", world.n_cases, world.store,
           world.n_exact, world.n_cases);
    return failed == 0 ? 0 : 1;
}
