/* test_server_process.c - `bqsync serve` as a process: killed under load, stopped under load,
 * started twice. BQ_ROUNDS sets how often it is killed (default 20), BQ_SEED the random moments. */
#include "child.h"
#include "http_client.h"
#include "token.h"

#include "base/rng.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#define WRITERS 4u

struct writer {
    pthread_t thread;
    unsigned port;
    char user[40];
    char *token;
    int64_t sent;  /* the last number that was sent */
    int64_t acked; /* the last one that was acknowledged */
    bool refused;  /* an answer that is neither 200 nor 503 */
};

static struct scratch scratch;
static struct writer writers[WRITERS];
static _Atomic uint64_t n_acked;
static char store[256];
static char secret[256];
static char port_file[256];

static int set_up(void **state)
{
    char path[200];
    (void)state;
    scratch_init(&scratch);
    snprintf(store, sizeof store, "sqlite:%s",
             scratch_path(&scratch, "store.db", path, sizeof path));
    scratch_path(&scratch, "secret", secret, sizeof secret);
    scratch_path(&scratch, "port", port_file, sizeof port_file);
    setenv("BQSYNC_STORE", store, 1); /* never one in the folder that the test runs in */
    FILE *file = fopen(secret, "w");
    assert_non_null(file);
    fputs(TOKEN_SECRET, file);
    fclose(file);
    for (unsigned i = 0; i < WRITERS; i++) {
        snprintf(writers[i].user, sizeof writers[i].user, "5f3a7a52-8c39-4f5e-9d4e-0c2f6f9b%04u",
                 i);
        writers[i].token = token_user(writers[i].user);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (unsigned i = 0; i < WRITERS; i++) {
        free(writers[i].token);
    }
    scratch_release(&scratch);
    return 0;
}

static unsigned serve(struct child *child, const char *on_store, const char *listen)
{
    char *argv[] = {child_bqsync(), "serve", "--listen", (char *)(uintptr_t)listen, "--store",
                    (char *)(uintptr_t)on_store, "--jwt-secret-file", secret, "--port-file",
                    port_file, "--log-level", "error", NULL};
    unlink(port_file);
    assert_true(child_start(child, &scratch, argv));
    return child_port(child, port_file);
}

/* Write n says n: the version must be n as well, or some write was lost or counted twice. */
static void *write_on(void *cls)
{
    struct writer *writer = cls;
    int fd = http_connect(writer->port);
    while (fd >= 0) {
        char body[256];
        struct http_answer answer;
        snprintf(body, sizeof body,
                 "{\"p_user_id\":\"%s\",\"p_data_key\":\"n\",\"p_data\":{\"n\":%lld},"
                 "\"p_expected_version\":null,\"p_device_id\":\"d\"}",
                 writer->user, (long long)++writer->sent);
        http_call_on(fd, &(struct http_request){0, "POST", "/rest/v1/rpc/atomic_sync_upsert",
                                                writer->token, NULL, body}, &answer);
        int status = answer.status;
        bool closed = answer.closed;
        http_release(&answer);
        if (status == 200) {
            writer->acked = writer->sent;
            atomic_fetch_add(&n_acked, 1);
        } else {
            writer->refused = status != 0 && status != 503;
        }
        if (status != 200 || closed) {
            break;
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    return NULL;
}

static void start_writers(unsigned port)
{
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i].port = port;
        assert_int_equal(pthread_create(&writers[i].thread, NULL, write_on, &writers[i]), 0);
    }
}

static void wait_for_acks(uint64_t n)
{
    time_t until = time(NULL) + 120;
    while (atomic_load(&n_acked) < n) {
        assert_true(time(NULL) < until);
        sched_yield();
    }
}

static void join_writers(void)
{
    for (unsigned i = 0; i < WRITERS; i++) {
        pthread_join(writers[i].thread, NULL);
        assert_false(writers[i].refused);
    }
}

/* What the store holds of a writer; its next number goes on from there. */
static void check(unsigned port, struct writer *writer)
{
    struct http_answer answer;
    char body[128];
    long long n = 0;
    long long version = 0;
    snprintf(body, sizeof body, "{\"p_user_id\":\"%s\"}", writer->user);
    http_rpc(port, "get_user_sync_data", writer->token, body, &answer);
    assert_int_equal(answer.status, 200);
    const char *data = strstr(answer.body, "{\"n\":");
    const char *number = strstr(answer.body, "\"version\":");
    if (data != NULL && number != NULL) {
        n = strtoll(data + 5, NULL, 10);
        version = strtoll(number + 10, NULL, 10);
    }
    http_release(&answer);
    if (n < writer->acked || n > writer->sent || version != n) {
        fail_msg("acknowledged %lld, sent %lld, stored %lld, version %lld",
                 (long long)writer->acked, (long long)writer->sent, n, version);
    }
    writer->acked = n;
    writer->sent = n;
}

static void killed_under_load_nothing_acknowledged_is_lost_or_doubled(void **state)
{
    const char *rounds_text = getenv("BQ_ROUNDS");
    const char *seed_text = getenv("BQ_SEED");
    unsigned long rounds = rounds_text == NULL ? 20 : strtoul(rounds_text, NULL, 10);
    uint64_t seed = seed_text == NULL ? (uint64_t)time(NULL) : strtoull(seed_text, NULL, 10);
    struct rng rng;
    (void)state;
    printf("seed %llu\n", (unsigned long long)seed);
    rng_init(&rng, seed);
    for (unsigned long round = 0; round < rounds; round++) {
        struct child child;
        unsigned port = serve(&child, store, "127.0.0.1:0");
        assert_true(port > 0);
        for (unsigned i = 0; i < WRITERS; i++) {
            check(port, &writers[i]);
        }
        uint64_t target = atomic_load(&n_acked) + 1 + rng_below(&rng, 150);
        start_writers(port);
        wait_for_acks(target);
        child_kill(&child, SIGKILL);
        assert_int_equal(child_wait(&child), -SIGKILL);
        join_writers();
    }
    printf("kill -9: %lu rounds: acked %llu, lost 0, doubled 0\n", rounds,
           (unsigned long long)atomic_load(&n_acked));
}

static void sigterm_under_load_ends_with_0_and_keeps_everything(void **state)
{
    struct child child;
    (void)state;
    for (int round = 0; round < 3; round++) {
        unsigned port = serve(&child, store, "127.0.0.1:0");
        assert_true(port > 0);
        for (unsigned i = 0; i < WRITERS; i++) {
            check(port, &writers[i]);
        }
        start_writers(port);
        wait_for_acks(atomic_load(&n_acked) + 40);
        child_kill(&child, SIGTERM);
        assert_int_equal(child_wait(&child), 0);
        join_writers();
    }
    unsigned port = serve(&child, store, "127.0.0.1:0");
    for (unsigned i = 0; i < WRITERS; i++) {
        check(port, &writers[i]);
    }
    child_kill(&child, SIGTERM);
    assert_int_equal(child_wait(&child), 0);
}

static void a_second_server_says_why_it_does_not_start(void **state)
{
    struct child first;
    struct child second;
    char other[300];
    char address[32];
    (void)state;
    unsigned port = serve(&first, store, "127.0.0.1:0");
    assert_true(port > 0);
    assert_int_equal(serve(&second, store, "127.0.0.1:0"), 0);
    assert_int_equal(child_wait(&second), 6);
    assert_true(strstr(child_text(second.err), "another") != NULL);
    snprintf(other, sizeof other, "%s.other", store);
    snprintf(address, sizeof address, "127.0.0.1:%u", port);
    assert_int_equal(serve(&second, other, address), 0);
    assert_int_equal(child_wait(&second), 4);
    assert_non_null(strstr(child_text(second.err), "is in use by another program"));
    child_kill(&first, SIGTERM);
    assert_int_equal(child_wait(&first), 0);
}

static void the_command_line_is_checked(void **state)
{
    static const struct {
        const char *option;
        const char *value;
        const char *says;
    } bad[] = {
        {"--lisent", "x", "--lisent is no option"},
        {"--listen", "8787", "--listen wants HOST:PORT"},
        {"--log-level", "loud", "--log-level is"},
        {"--store", "mysql:x", "--store wants sqlite:PATH"},
        {"--jwt-secret-file", "/no/such/file", "/no/such/file cannot be read"},
        {"--depth", "0", "--depth is 1 to 256"},
    };
    struct child child;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        bool own_secret = strcmp(bad[i].option, "--jwt-secret-file") == 0;
        char *argv[] = {child_bqsync(), "serve", (char *)(uintptr_t)bad[i].option,
                        (char *)(uintptr_t)bad[i].value, own_secret ? NULL : "--jwt-secret-file",
                        secret, NULL};
        assert_int_equal(child_run(&child, &scratch, argv), 2);
        if (strstr(child_text(child.err), bad[i].says) == NULL) {
            fail_msg("%s: %s", bad[i].option, child_text(child.err));
        }
    }
    char *help[] = {child_bqsync(), "serve", "--help", NULL};
    assert_int_equal(child_run(&child, &scratch, help), 0);
    assert_non_null(strstr(child_text(child.out), "--jwt-secret-file FILE"));
}

static void a_token_of_the_command_is_accepted(void **state)
{
    struct child child;
    struct child made;
    struct http_answer answer;
    char token[2048];
    (void)state;
    unsigned port = serve(&child, store, "127.0.0.1:0");
    assert_true(port > 0);
    char *argv[] = {child_bqsync(), "token", "--user", "5F3A7A52-8C39-4F5E-9D4E-0C2F6F9B1A11",
                    "--jwt-secret-file", secret, "--ttl", "90s", NULL};
    assert_int_equal(child_run(&made, &scratch, argv), 0);
    assert_int_equal(sscanf(child_text(made.out), "%2047s", token), 1);
    http_rpc(port, "get_user_sync_data", token,
             "{\"p_user_id\":\"5f3a7a52-8c39-4f5e-9d4e-0c2f6f9b1a11\"}", &answer);
    assert_int_equal(answer.status, 200);
    http_release(&answer);
    static char *const wrong[][3] = {{"--user", "bob", NULL}, {"--role", "root", NULL},
                                     {"--ttl", "x", NULL}, {"--role", "authenticated", NULL}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char *bad[] = {child_bqsync(), "token", "--jwt-secret-file", secret, wrong[i][0],
                       wrong[i][1], NULL};
        assert_int_equal(child_run(&made, &scratch, bad), 2);
        assert_true(strlen(child_text(made.err)) > 10);
    }
    child_kill(&child, SIGTERM);
    assert_int_equal(child_wait(&child), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_under_load_nothing_acknowledged_is_lost_or_doubled),
        cmocka_unit_test(sigterm_under_load_ends_with_0_and_keeps_everything),
        cmocka_unit_test(a_second_server_says_why_it_does_not_start),
        cmocka_unit_test(the_command_line_is_checked),
        cmocka_unit_test(a_token_of_the_command_is_accepted),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
