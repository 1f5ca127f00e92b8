/* test_server.c - promises of the running server: an answer leaves after the commit and not
 * before, writes that wait share a commit, a failed sync acknowledges nothing, and it starts and
 * ends well. */
#include "fault_vfs.h"
#include "http_client.h"
#include "serve.h"
#include "token.h"

#include "base/mem.h"
#include "base/status.h"
#include "store/sqlite.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#define USER "5f3a7a52-8c39-4f5e-9d4e-0c2f6f9b1a11"
#define PARALLEL 48u

static char *token;
static char *service;

/* A gate in the store's commit: closed, commits wait there. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    bool closed;
    unsigned n_entered;
    int (*commit)(struct store *store);
    int (*doc_put)(struct store *store, const struct uuid *user, const struct store_doc *doc);
} gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER};

static int gated_commit(struct store *store)
{
    pthread_mutex_lock(&gate.lock);
    gate.n_entered++;
    pthread_cond_broadcast(&gate.moved);
    while (gate.closed) {
        pthread_cond_wait(&gate.moved, &gate.lock);
    }
    pthread_mutex_unlock(&gate.lock);
    return gate.commit(store);
}

/* Memory runs out whenever somebody writes the key "poison". */
static int poisoned_put(struct store *store, const struct uuid *user, const struct store_doc *doc)
{
    return slice_is(doc->key, "poison") ? BQ_NOMEM : gate.doc_put(store, user, doc);
}

/* A damaged page: who meets it does nothing more until the file is opened anew. */
static struct {
    struct store *_Atomic handle; /* that met it */
    int (*begin)(struct store *store);
    int (*reader)(struct store *store, struct store **out);
    int (*doc_put)(struct store *store, const struct uuid *user, const struct store_doc *doc);
    int (*docs)(struct store *store, struct arena *arena, const struct uuid *user, int64_t after,
                uint32_t max_rows, size_t max_bytes, bool with_deleted, struct store_docs *out);
    _Atomic bool for_readers;
    _Atomic unsigned n_readers;
} damage;

static int damaged_begin(struct store *store)
{
    return store == damage.handle ? BQ_CORRUPT : damage.begin(store);
}

static int damaged_put(struct store *store, const struct uuid *user, const struct store_doc *doc)
{
    if (slice_is(doc->key, "damaged")) {
        damage.handle = store;
        return BQ_CORRUPT;
    }
    return damage.doc_put(store, user, doc);
}

static int damaged_docs(struct store *store, struct arena *arena, const struct uuid *user,
                        int64_t after, uint32_t max_rows, size_t max_bytes, bool with_deleted,
                        struct store_docs *out)
{
    if (atomic_exchange(&damage.for_readers, false)) {
        damage.handle = store;
        return BQ_CORRUPT;
    }
    return damage.docs(store, arena, user, after, max_rows, max_bytes, with_deleted, out);
}

static int damaged_reader(struct store *store, struct store **out)
{
    int status = damage.reader(store, out);
    if (status == BQ_OK) {
        (*out)->begin = damaged_begin;
        (*out)->docs = damaged_docs;
        atomic_fetch_add(&damage.n_readers, 1);
    }
    return status;
}

static void close_gate(void)
{
    pthread_mutex_lock(&gate.lock);
    gate.closed = true;
    gate.n_entered = 0;
    pthread_mutex_unlock(&gate.lock);
}

static void open_gate(void)
{
    pthread_mutex_lock(&gate.lock);
    gate.closed = false;
    pthread_cond_broadcast(&gate.moved);
    pthread_mutex_unlock(&gate.lock);
}

static void wait_for_commit(void)
{
    pthread_mutex_lock(&gate.lock);
    while (gate.n_entered == 0) {
        pthread_cond_wait(&gate.moved, &gate.lock);
    }
    pthread_mutex_unlock(&gate.lock);
}

static int open_with(struct serve *serve, const char *vfs, struct store **out, char *error,
                     size_t error_size)
{
    const struct store_sqlite_config config = {.size = sizeof config,
                                               .path = serve->store + sizeof "sqlite:" - 1,
                                               .n_history = 32,
                                               .create = true,
                                               .vfs = vfs};
    return store_sqlite_open(&config, out, error, error_size);
}

static int open_gated(void *cls, struct store **out, char *error, size_t error_size)
{
    int status = open_with(cls, NULL, out, error, error_size);
    if (status == BQ_OK) {
        gate.commit = (*out)->commit;
        gate.doc_put = (*out)->doc_put;
        (*out)->commit = gated_commit;
        (*out)->doc_put = poisoned_put;
    }
    return status;
}

static int open_damaged(void *cls, struct store **out, char *error, size_t error_size)
{
    int status = open_with(cls, NULL, out, error, error_size);
    damage.handle = NULL;
    if (status == BQ_OK) {
        damage.begin = (*out)->begin;
        damage.reader = (*out)->reader;
        damage.doc_put = (*out)->doc_put;
        damage.docs = (*out)->docs;
        (*out)->begin = damaged_begin;
        (*out)->reader = damaged_reader;
        (*out)->doc_put = damaged_put;
    }
    return status;
}

static int open_faulty(void *cls, struct store **out, char *error, size_t error_size)
{
    return open_with(cls, FAULT_VFS_NAME, out, error, error_size);
}

static void start(struct serve *serve,
                  int (*open)(void *cls, struct store **out, char *error, size_t error_size))
{
    serve->hooks = (struct server_hooks){.open_store = open, .cls = serve};
    if (serve_start(serve) != BQ_OK) {
        fail_msg("%s", serve->error);
    }
}

static int set_up(void **state)
{
    (void)state;
    fault_vfs_register();
    token = token_user(USER);
    service = token_make("service_role", NULL, (int64_t)time(NULL) + 3600);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(token);
    free(service);
    return 0;
}

static void print_upsert(char *out, size_t size, const char *key)
{
    snprintf(out, size, "{\"p_user_id\":\"" USER "\",\"p_data_key\":\"%s\",\"p_data\":{\"a\":1},"
             "\"p_expected_version\":0}", key);
}

/* Sends an upsert and leaves the answer for later. */
static int send_upsert(unsigned port, const char *key)
{
    char body[256];
    char text[2048];
    print_upsert(body, sizeof body, key);
    int n = snprintf(text, sizeof text,
                     "POST /rest/v1/rpc/atomic_sync_upsert HTTP/1.1\r\nHost: x\r\n"
                     "Authorization: Bearer %s\r\nContent-Type: application/json\r\n"
                     "Content-Length: %zu\r\n\r\n%s", token, strlen(body), body);
    int fd = http_connect(port);
    assert_true(fd >= 0);
    assert_true(http_write(fd, text, (size_t)n));
    return fd;
}

static int upsert(unsigned port, const char *key)
{
    char body[256];
    struct http_answer answer;
    print_upsert(body, sizeof body, key);
    http_rpc(port, "atomic_sync_upsert", token, body, &answer);
    int status = answer.status;
    http_release(&answer);
    return status;
}

static int status_of(int fd, char *out_body, size_t size)
{
    struct http_answer answer;
    http_read(fd, false, &answer);
    if (out_body != NULL) {
        snprintf(out_body, size, "%s", answer.body == NULL ? "" : answer.body);
    }
    int status = answer.status;
    http_release(&answer);
    close(fd);
    return status;
}

static bool readable(int fd)
{
    struct pollfd poll_fd = {fd, POLLIN, 0};
    return poll(&poll_fd, 1, 0) == 1;
}

/* Until so many writes stand in the queue. */
static void wait_for_queue(struct serve *serve, uint64_t n)
{
    time_t until = time(NULL) + 60;
    while (server_stats(serve->server).n_waiting != n) {
        assert_true(time(NULL) < until);
        sched_yield();
    }
}

static unsigned n_documents(unsigned port)
{
    struct http_answer answer;
    unsigned n = 0;
    http_rpc(port, "get_user_sync_data", token, "{\"p_user_id\":\"" USER "\"}", &answer);
    assert_int_equal(answer.status, 200);
    for (const char *at = answer.body; (at = strstr(at, "\"data_key\"")) != NULL; at++) {
        n++;
    }
    http_release(&answer);
    return n;
}

static void an_answer_leaves_after_the_commit(void **state)
{
    struct serve serve;
    (void)state;
    serve_init(&serve);
    start(&serve, open_gated);
    close_gate();
    int fd = send_upsert(serve.port, "a");
    wait_for_commit();
    assert_false(readable(fd));
    assert_int_equal(n_documents(serve.port), 0); /* reads go on, and see nothing of it */
    open_gate();
    assert_int_equal(status_of(fd, NULL, 0), 200);
    assert_int_equal(n_documents(serve.port), 1);
    serve_release(&serve);
}

static void writes_that_wait_share_a_commit(void **state)
{
    struct serve serve;
    int fds[PARALLEL];
    (void)state;
    serve_init(&serve);
    start(&serve, open_gated);
    close_gate();
    int first = send_upsert(serve.port, "first");
    wait_for_commit();
    for (unsigned i = 0; i < PARALLEL; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%u", i);
        fds[i] = send_upsert(serve.port, key);
    }
    wait_for_queue(&serve, PARALLEL);
    open_gate();
    assert_int_equal(status_of(first, NULL, 0), 200);
    for (unsigned i = 0; i < PARALLEL; i++) {
        assert_int_equal(status_of(fds[i], NULL, 0), 200);
    }
    struct committer_stats stats = server_stats(serve.server);
    assert_int_equal(stats.n_ops, PARALLEL + 1);
    assert_int_equal(stats.n_commits, 2);
    assert_int_equal(n_documents(serve.port), PARALLEL + 1);
    serve_release(&serve);
}

static void one_poisoned_write_does_not_take_the_others_with_it(void **state)
{
    struct serve serve;
    int fds[6];
    char body[512];
    (void)state;
    serve_init(&serve);
    start(&serve, open_gated);
    close_gate();
    int first = send_upsert(serve.port, "first");
    wait_for_commit();
    for (unsigned i = 0; i < 6; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%u", i);
        fds[i] = send_upsert(serve.port, i == 3 ? "poison" : key);
    }
    wait_for_queue(&serve, 6);
    open_gate();
    assert_int_equal(status_of(first, NULL, 0), 200);
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(status_of(fds[i], body, sizeof body), i == 3 ? 503 : 200);
        if (i == 3) {
            assert_non_null(strstr(body, "\"code\":\"53200\""));
        }
    }
    assert_int_equal(server_stats(serve.server).n_singles, 6);
    assert_int_equal(n_documents(serve.port), 6);
    serve_release(&serve);
}

static void a_full_queue_says_503_and_when_to_come_back(void **state)
{
    struct serve serve;
    struct http_answer answer;
    char body[256];
    (void)state;
    serve_init(&serve);
    serve.config.queue = 2;
    start(&serve, open_gated);
    close_gate();
    int first = send_upsert(serve.port, "first");
    wait_for_commit();
    int second = send_upsert(serve.port, "second");
    int third = send_upsert(serve.port, "third");
    wait_for_queue(&serve, 2);
    print_upsert(body, sizeof body, "fourth");
    http_rpc(serve.port, "atomic_sync_upsert", token, body, &answer);
    assert_int_equal(answer.status, 503);
    assert_non_null(strstr(answer.body, "\"code\":\"53300\""));
    assert_string_equal(http_field(&answer, "Retry-After"), "1");
    http_release(&answer);
    open_gate();
    assert_int_equal(status_of(first, NULL, 0), 200);
    assert_int_equal(status_of(second, NULL, 0), 200);
    assert_int_equal(status_of(third, NULL, 0), 200);
    assert_int_equal(n_documents(serve.port), 3);
    serve_release(&serve);
}

static void a_user_that_asks_too_often_hears_429_and_when_to_come_back(void **state)
{
    struct serve serve;
    struct http_answer answer = {0};
    unsigned n = 0;
    char *other = token_user("6f3a7a52-8c39-4f5e-9d4e-0c2f6f9b1a22");
    (void)state;
    serve_init(&serve);
    serve.config.user_rate = 1;
    start(&serve, NULL);
    /* Four at once, and one for each second that this takes. */
    do {
        http_release(&answer);
        http_rpc(serve.port, "sync_policies", token, "{}", &answer);
        assert_true(answer.status == 200 || answer.status == 429);
        n++;
    } while (answer.status == 200 && n < 10000);
    assert_true(n > 4);
    assert_int_equal(answer.status, 429);
    assert_non_null(strstr(answer.body, "\"code\":\"too_many_requests\""));
    assert_string_equal(http_field(&answer, "Retry-After"), "1");
    http_release(&answer);
    http_rpc(serve.port, "sync_policies", other, "{}", &answer);
    assert_int_equal(answer.status, 200);
    http_release(&answer);
    for (unsigned i = 0; i < 8; i++) {
        http_rpc(serve.port, "sync_policies", service, "{}", &answer);
        assert_int_equal(answer.status, 200);
        http_release(&answer);
    }
    serve_release(&serve);
    free(other);
}

static int ready(unsigned port)
{
    struct http_answer answer;
    http_call(&(struct http_request){port, "GET", "/readyz", NULL, NULL, NULL}, &answer);
    int status = answer.status;
    http_release(&answer);
    return status;
}

static void wait_until_ready(unsigned port)
{
    time_t until = time(NULL) + 60;
    while (ready(port) != 200) {
        assert_true(time(NULL) < until);
        sched_yield();
    }
}

static void quiet(void *cls, const char *line, size_t len)
{
    (void)cls;
    (void)line;
    (void)len;
}

static void nothing_is_acknowledged_after_a_failed_sync(void **state)
{
    struct serve serve;
    char body[512];
    (void)state;
    serve_init(&serve);
    serve.log.sink = quiet;
    start(&serve, open_faulty);
    assert_int_equal(upsert(serve.port, "before"), 200);
    fault_vfs_set(FAULT_VFS_SYNC, 1, FAULT_VFS_FOREVER);
    for (unsigned i = 0; i < 20; i++) {
        int fd = send_upsert(serve.port, "during");
        assert_int_equal(status_of(fd, body, sizeof body), 503);
        assert_non_null(strstr(body, "\"code\":\"PGRST001\""));
    }
    assert_true(fault_vfs_hits(FAULT_VFS_SYNC) > 0);
    fault_vfs_set(FAULT_VFS_SYNC, 0, 0);
    wait_until_ready(serve.port);
    assert_int_equal(upsert(serve.port, "after"), 200);
    assert_true(server_stats(serve.server).n_reopened > 0);
    assert_true(n_documents(serve.port) >= 2);
    serve_release(&serve);
}

static void a_single_failed_sync_is_not_trusted_when_it_works_again(void **state)
{
    struct serve serve;
    (void)state;
    serve_init(&serve);
    serve.log.sink = quiet;
    start(&serve, open_faulty);
    assert_int_equal(upsert(serve.port, "before"), 200);
    fault_vfs_set(FAULT_VFS_SYNC, 1, 1); /* EIO once, then the disk says all is well */
    assert_int_equal(upsert(serve.port, "during"), 503);
    assert_int_equal(fault_vfs_hits(FAULT_VFS_SYNC), 1);
    wait_until_ready(serve.port);
    assert_int_equal(server_stats(serve.server).n_reopened, 1);
    assert_int_equal(upsert(serve.port, "during"), 200);
    serve_release(&serve);
}

static void damage_makes_the_writer_be_opened_and_checked_again(void **state)
{
    struct serve serve;
    (void)state;
    serve_init(&serve);
    serve.log.sink = quiet;
    start(&serve, open_damaged);
    assert_int_equal(upsert(serve.port, "before"), 200);
    assert_int_equal(upsert(serve.port, "damaged"), 500);
    wait_until_ready(serve.port);
    assert_int_equal(upsert(serve.port, "after"), 200);
    assert_int_equal(server_stats(serve.server).n_reopened, 1);
    assert_int_equal(n_documents(serve.port), 2);
    serve_release(&serve);
}

static void a_reader_that_met_damage_is_replaced(void **state)
{
    struct serve serve;
    struct http_answer answer;
    (void)state;
    serve_init(&serve);
    serve.log.sink = quiet;
    start(&serve, open_damaged);
    assert_int_equal(upsert(serve.port, "before"), 200);
    unsigned n_readers = atomic_load(&damage.n_readers);
    atomic_store(&damage.for_readers, true);
    http_rpc(serve.port, "get_user_sync_data", token, "{\"p_user_id\":\"" USER "\"}", &answer);
    assert_int_equal(answer.status, 500);
    http_release(&answer);
    assert_int_equal(atomic_load(&damage.n_readers), n_readers + 1);
    for (unsigned i = 0; i < 2 * n_readers; i++) {
        assert_int_equal(n_documents(serve.port), 1);
    }
    assert_int_equal(server_stats(serve.server).n_reopened, 0);
    serve_release(&serve);
}

static void a_full_disk_is_503_until_there_is_space(void **state)
{
    struct serve serve;
    char body[512];
    (void)state;
    serve_init(&serve);
    serve.log.sink = quiet;
    start(&serve, open_faulty);
    assert_int_equal(upsert(serve.port, "before"), 200);
    fault_vfs_set(FAULT_VFS_FULL, 1, FAULT_VFS_FOREVER);
    int fd = send_upsert(serve.port, "during");
    assert_int_equal(status_of(fd, body, sizeof body), 503);
    assert_non_null(strstr(body, "\"code\":\"53100\""));
    assert_int_equal(n_documents(serve.port), 1); /* reading goes on */
    fault_vfs_set(FAULT_VFS_FULL, 0, 0);
    assert_int_equal(upsert(serve.port, "during"), 200);
    assert_int_equal(n_documents(serve.port), 2);
    serve_release(&serve);
}

static void a_busy_port_is_named(void **state)
{
    struct serve first;
    struct serve second;
    char address[64];
    (void)state;
    serve_init(&first);
    serve_init(&second);
    start(&first, NULL);
    snprintf(address, sizeof address, "127.0.0.1:%u", first.port);
    second.config.listen = address;
    assert_int_equal(serve_start(&second), BQ_NETWORK);
    assert_non_null(strstr(second.error, "is in use by another program"));
    assert_non_null(strstr(second.error, address));
    serve_release(&second);
    serve_release(&first);
}

static void a_second_server_on_one_file_is_refused(void **state)
{
    struct serve first;
    struct serve second;
    (void)state;
    serve_init(&first);
    serve_init(&second);
    start(&first, NULL);
    second.config.store = first.store;
    assert_int_equal(serve_start(&second), BQ_LOCKED);
    assert_true(strlen(second.error) > 10);
    assert_int_equal(upsert(first.port, "still"), 200);
    serve_release(&second);
    serve_release(&first);
}

static void what_cannot_be_served_does_not_start(void **state)
{
    struct serve serve;
    (void)state;
    static const char *const listens[] = {"8787", "127.0.0.1", ":1", "127.0.0.1:", "127.0.0.1:x",
                                          "::1:80", "127.0.0.1:99999", "no.such.host.invalid:0"};
    for (size_t i = 0; i < sizeof listens / sizeof listens[0]; i++) {
        serve_init(&serve);
        serve.config.listen = listens[i];
        if (serve_start(&serve) != BQ_INVALID) {
            fail_msg("%s: %s", listens[i], serve.error);
        }
        serve_release(&serve);
    }
    serve_init(&serve);
    serve.config.store = "postgres:x";
    assert_int_equal(serve_start(&serve), BQ_INVALID);
    assert_non_null(strstr(serve.error, "sqlite:PATH"));
    serve.config.store = "sqlite:/no/such/folder/x.db";
    assert_int_not_equal(serve_start(&serve), BQ_OK);
    serve.config.store = serve.store;
    serve.config.jwt_secret_file = NULL;
    serve.config.accounts = "off";
    assert_int_equal(serve_start(&serve), BQ_INVALID);
    assert_non_null(strstr(serve.error, "--jwt-secret-file"));
    serve.config.jwt_secret_file = "/no/such/file";
    assert_int_equal(serve_start(&serve), BQ_INVALID);
    assert_non_null(strstr(serve.error, "/no/such/file"));
    serve_release(&serve);
}

static void a_damaged_store_is_named_and_left_alone(void **state)
{
    struct serve serve;
    char text[64] = "";
    (void)state;
    serve_init(&serve);
    const char *path = serve.store + sizeof "sqlite:" - 1;
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (int i = 0; i < 4096; i++) {
        fputs("this is no database ", file);
    }
    fclose(file);
    assert_int_equal(serve_start(&serve), BQ_CORRUPT);
    assert_non_null(strstr(serve.error, path));
    file = fopen(path, "r");
    assert_non_null(fgets(text, 21, file));
    fclose(file);
    assert_string_equal(text, "this is no database ");
    serve_release(&serve);
}

static void a_client_that_goes_away_meanwhile_does_no_harm(void **state)
{
    struct serve serve;
    (void)state;
    serve_init(&serve);
    serve.config.threads = 1; /* no pool: the other way to start the library */
    start(&serve, open_gated);
    close_gate();
    int gone = send_upsert(serve.port, "gone");
    wait_for_commit();
    int other = send_upsert(serve.port, "other");
    wait_for_queue(&serve, 1);
    close(gone);
    open_gate();
    assert_int_equal(status_of(other, NULL, 0), 200);
    assert_int_equal(n_documents(serve.port), 2);
    serve_release(&serve);
}

static void *stop(void *cls)
{
    struct serve *serve = cls;
    return serve_stop(serve) ? serve : NULL;
}

static void stopping_answers_what_is_in_flight_and_checkpoints(void **state)
{
    struct serve serve;
    struct stat info;
    pthread_t thread;
    void *all_answered;
    char wal[2048];
    (void)state;
    serve_init(&serve);
    start(&serve, open_gated);
    struct http_answer answer;
    int idle = http_connect(serve.port);
    http_call_on(idle, &(struct http_request){0, "GET", "/healthz", NULL, NULL, NULL}, &answer);
    assert_int_equal(answer.status, 200);
    http_release(&answer);
    close_gate();
    int fd = send_upsert(serve.port, "in flight");
    wait_for_commit();
    int queued = send_upsert(serve.port, "queued");
    wait_for_queue(&serve, 1);
    assert_int_equal(pthread_create(&thread, NULL, stop, &serve), 0);
    assert_true(http_ends(idle)); /* the drain has begun */
    int late = http_connect(serve.port);
    assert_true(late < 0 || http_ends(late));
    open_gate();
    http_read(fd, false, &answer);
    assert_int_equal(answer.status, 200);
    assert_true(answer.closed);
    http_release(&answer);
    assert_int_equal(status_of(queued, NULL, 0), 200);
    pthread_join(thread, &all_answered);
    assert_non_null(all_answered);
    close(fd);
    close(idle);
    if (late >= 0) {
        close(late);
    }
    snprintf(wal, sizeof wal, "%s-wal", serve.store + sizeof "sqlite:" - 1);
    assert_true(stat(wal, &info) != 0 || info.st_size == 0);
    serve.hooks.open_store = NULL;
    assert_int_equal(serve_start(&serve), BQ_OK);
    assert_int_equal(n_documents(serve.port), 2);
    serve_release(&serve);
}

static void a_new_policy_is_obeyed_at_once(void **state)
{
    struct serve serve;
    struct http_answer answer;
    (void)state;
    serve_init(&serve);
    start(&serve, NULL);
    http_rpc(serve.port, "sync_policies", token, "{}", &answer);
    assert_int_equal(answer.status, 200);
    assert_null(strstr(answer.body, "\"mine\""));
    http_release(&answer);
    http_rpc(serve.port, "sync_policy_set", service,
             "{\"p_pattern\":\"mine\",\"p_policy\":{\"fields\":{\"n\":\"max\"}}}", &answer);
    assert_int_equal(answer.status, 204);
    http_release(&answer);
    http_rpc(serve.port, "sync_policies", token, "{}", &answer);
    assert_non_null(strstr(answer.body, "\"mine\":{\"fields\":{\"n\":\"max\"}}"));
    http_release(&answer);
    static const char *const sent[] = {"{\"n\":5}", "{\"n\":3}"};
    for (size_t i = 0; i < 2; i++) {
        char body[256];
        snprintf(body, sizeof body,
                 "{\"p_user_id\":\"" USER "\",\"p_data_key\":\"mine\",\"p_data\":%s,"
                 "\"p_expected_version\":0,\"p_device_id\":\"d%zu\"}", sent[i], i);
        http_rpc(serve.port, "atomic_sync_upsert", token, body, &answer);
        assert_int_equal(answer.status, 200);
        assert_non_null(strstr(answer.body, i == 0 ? "inserted" : "\"n\":5"));
        http_release(&answer);
    }
    http_rpc(serve.port, "sync_policy_set", service,
             "{\"p_pattern\":\"mine\",\"p_policy\":\"largest\"}", &answer);
    assert_int_equal(answer.status, 400);
    assert_non_null(strstr(answer.body, "\"code\":\"bad_policy\""));
    http_release(&answer);
    serve_release(&serve);
}

static void an_erased_user_hears_user_erased(void **state)
{
    struct serve serve;
    struct http_answer answer;
    (void)state;
    serve_init(&serve);
    start(&serve, NULL);
    assert_int_equal(upsert(serve.port, "a"), 200);
    http_rpc(serve.port, "sync_user_erase", service, "{\"p_user_id\":\"" USER "\"}", &answer);
    assert_int_equal(answer.status, 204);
    http_release(&answer);
    static const char *const functions[][2] = {
        {"sync_exchange",
         "{\"p_device_id\":\"d\",\"p_epoch\":null,\"p_edits\":[],\"p_cursor\":0}"},
        {"get_user_sync_data", "{\"p_user_id\":\"" USER "\"}"},
        {"atomic_sync_upsert", "{\"p_user_id\":\"" USER "\",\"p_data_key\":\"a\",\"p_data\":{},"
                               "\"p_expected_version\":0}"},
    };
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        http_rpc(serve.port, functions[i][0], token, functions[i][1], &answer);
        if (answer.status != 403 || strstr(answer.body, "\"code\":\"user_erased\"") == NULL) {
            fail_msg("%s: %d %s", functions[i][0], answer.status, answer.body);
        }
        http_release(&answer);
    }
    serve_release(&serve);
}

static void memory_that_runs_out_ends_a_request_and_not_the_server(void **state)
{
    struct serve serve;
    unsigned n_failed = 0;
    (void)state;
    serve_init(&serve);
    serve.log.sink = quiet;
    start(&serve, NULL);
    for (uint64_t n = 1; n <= 150; n++) {
        char key[16];
        snprintf(key, sizeof key, "k%u", (unsigned)n);
        mem_fail_at(n, 1);
        int fd = send_upsert(serve.port, key);
        struct pollfd poll_fd = {fd, POLLIN, 0};
        assert_int_equal(poll(&poll_fd, 1, 20000), 1); /* an answer, or the end */
        mem_fail_at(0, 0);
        int status = status_of(fd, NULL, 0);
        if (status != 200) {
            n_failed++;
            if (status != 0 && status != 503) {
                fail_msg("allocation %u: %d", (unsigned)n, status);
            }
            assert_int_equal(upsert(serve.port, key), 200);
        }
    }
    assert_true(n_failed > 5);
    assert_int_equal(n_documents(serve.port), 150);
    serve_release(&serve);
}

static void a_pull_that_shows_a_loss_raises_the_epoch(void **state)
{
    struct serve serve;
    struct http_answer answer;
    char body[256];
    char epoch[64] = "";
    (void)state;
    serve_init(&serve);
    start(&serve, NULL);
    http_rpc(serve.port, "sync_exchange", token,
             "{\"p_device_id\":\"d\",\"p_epoch\":null,\"p_edits\":[],\"p_cursor\":0}", &answer);
    assert_int_equal(answer.status, 200);
    const char *at = strstr(answer.body, "\"epoch\":\"");
    assert_non_null(at);
    snprintf(epoch, sizeof epoch, "%.*s", (int)strcspn(at + 9, "\""), at + 9);
    assert_non_null(strstr(answer.body, "\"status\":\"ok\""));
    http_release(&answer);
    /* The client has seen more than there is: a write, though no edit came with it. */
    snprintf(body, sizeof body,
             "{\"p_device_id\":\"d\",\"p_epoch\":\"%s\",\"p_edits\":[],\"p_cursor\":7}", epoch);
    http_rpc(serve.port, "sync_exchange", token, body, &answer);
    assert_int_equal(answer.status, 200);
    assert_non_null(strstr(answer.body, "\"status\":\"epoch\""));
    assert_null(strstr(answer.body, epoch));
    at = strstr(answer.body, "\"epoch\":\"");
    snprintf(epoch, sizeof epoch, "%.*s", (int)strcspn(at + 9, "\""), at + 9);
    http_release(&answer);
    snprintf(body, sizeof body,
             "/rest/v1/rpc/sync_exchange?p_device_id=d&p_epoch=%s&p_edits=%%5B%%5D&p_cursor=9",
             epoch);
    http_call(&(struct http_request){serve.port, "GET", body, token, NULL, NULL}, &answer);
    assert_int_equal(answer.status, 405); /* the same by GET may not write */
    assert_non_null(strstr(answer.body, "\"code\":\"25006\""));
    http_release(&answer);
    serve_release(&serve);
}

static struct {
    pthread_mutex_t lock;
    char text[16384];
    size_t len;
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void remember(void *cls, const char *line, size_t len)
{
    (void)cls;
    pthread_mutex_lock(&seen.lock);
    if (len < sizeof seen.text - seen.len) {
        memcpy(seen.text + seen.len, line, len);
        seen.len += len;
    }
    pthread_mutex_unlock(&seen.lock);
}

static void the_log_has_no_secrets_and_no_forged_lines(void **state)
{
    struct serve serve;
    struct http_answer answer;
    (void)state;
    serve_init(&serve);
    serve.log = (struct log){remember, NULL, LOG_LEVEL_DEBUG};
    start(&serve, NULL);
    http_call(&(struct http_request){serve.port, "POST",
                                     "/rest/v1/rpc/atomic_sync_upsert?apikey=sb_secret_in_the_url",
                                     token, "apikey: sb_publishable_in_the_header\r\n",
                                     "{\"p_user_id\":\"" USER "\",\"p_data_key\":\"k\",\"p_data\":"
                                     "{\"x\":\"canary in the body\"},\"p_expected_version\":0}"},
              &answer);
    assert_int_equal(answer.status, 200);
    http_release(&answer);
    http_call(&(struct http_request){serve.port, "GET", "/%22,%22status%22:200", NULL, NULL, NULL},
              &answer);
    assert_int_equal(answer.status, 404);
    http_release(&answer);
    assert_true(serve_stop(&serve));
    assert_non_null(strstr(seen.text, "\"method\":\"POST\",\"route\":\"/rest/v1/rpc/"
                                      "atomic_sync_upsert\",\"status\":200,\"ms\":"));
    assert_non_null(strstr(seen.text, "\"user\":\"" USER "\""));
    assert_non_null(strstr(seen.text, "\"route\":\"/\\\",\\\"status\\\":200\",\"status\":404"));
    assert_null(strstr(seen.text, "canary"));
    assert_null(strstr(seen.text, "sb_"));
    assert_null(strstr(seen.text, token + 40));
    assert_null(strstr(seen.text, TOKEN_SECRET));
    serve_release(&serve);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_leaves_after_the_commit),
        cmocka_unit_test(writes_that_wait_share_a_commit),
        cmocka_unit_test(one_poisoned_write_does_not_take_the_others_with_it),
        cmocka_unit_test(a_full_queue_says_503_and_when_to_come_back),
        cmocka_unit_test(a_user_that_asks_too_often_hears_429_and_when_to_come_back),
        cmocka_unit_test(nothing_is_acknowledged_after_a_failed_sync),
        cmocka_unit_test(a_single_failed_sync_is_not_trusted_when_it_works_again),
        cmocka_unit_test(damage_makes_the_writer_be_opened_and_checked_again),
        cmocka_unit_test(a_reader_that_met_damage_is_replaced),
        cmocka_unit_test(a_full_disk_is_503_until_there_is_space),
        cmocka_unit_test(a_busy_port_is_named),
        cmocka_unit_test(a_second_server_on_one_file_is_refused),
        cmocka_unit_test(what_cannot_be_served_does_not_start),
        cmocka_unit_test(a_damaged_store_is_named_and_left_alone),
        cmocka_unit_test(a_client_that_goes_away_meanwhile_does_no_harm),
        cmocka_unit_test(stopping_answers_what_is_in_flight_and_checkpoints),
        cmocka_unit_test(a_new_policy_is_obeyed_at_once),
        cmocka_unit_test(an_erased_user_hears_user_erased),
        cmocka_unit_test(memory_that_runs_out_ends_a_request_and_not_the_server),
        cmocka_unit_test(a_pull_that_shows_a_loss_raises_the_epoch),
        cmocka_unit_test(the_log_has_no_secrets_and_no_forged_lines),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
