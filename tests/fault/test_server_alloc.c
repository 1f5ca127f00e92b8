/* test_server_alloc.c - the server with the n-th allocation failing, SQLite's among them: while it
 * starts, and while it answers.
 *
 * It must not crash and nothing may leak. A start is refused with a sentence; a request is
 * answered, refused with a 5xx or cut off; and afterwards the server goes on, holds what it
 * acknowledged and nothing that it was not sent. The requests are made without base/mem.h, so that
 * only the server's allocations count.
 *
 * Each STRIDE-th site from a random one on; BQ_LONG: all; BQ_SAMPLE, as the suite `faults` sets it:
 * far fewer. */
#include "http_client.h"
#include "lite_memory.h"
#include "serve.h"
#include "token.h"

#include "base/mem.h"
#include "base/status.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#define USER "aaaaaaaa-0000-4000-8000-000000000001"
#define WAIT_MS 20000
#define TRIES 400
#define STRIDE 11u
#define SAMPLE_STRIDE 20u
#define N_MAX 100000u

static char *token;
static uint64_t stride;
static uint64_t offset;
static char answer[65536];
static int64_t n_tried;
static int64_t n_acked;

/* One request; the status, 0 where no answer came. The answer is in `answer`. */
static int call(unsigned port, const char *function, const char *body)
{
    static char text[16384];
    int status = 0;
    size_t len = 0;
    int fd = http_connect(port);
    assert_true(fd >= 0);
    int n = snprintf(text, sizeof text,
                     "POST /rest/v1/rpc/%s HTTP/1.1\r\nHost: here\r\nConnection: close\r\n"
                     "Content-Type: application/json\r\nAuthorization: Bearer %s\r\n"
                     "Content-Length: %zu\r\n\r\n%s",
                     function, token, strlen(body), body);
    assert_true(n > 0 && (size_t)n < sizeof text);
    if (http_write(fd, text, (size_t)n)) {
        struct pollfd readable = {fd, POLLIN, 0};
        ssize_t got = 1;
        while (got > 0 && len + 1 < sizeof answer && poll(&readable, 1, WAIT_MS) == 1) {
            got = recv(fd, answer + len, sizeof answer - 1 - len, 0);
            len += got > 0 ? (size_t)got : 0;
        }
    }
    answer[len] = '\0';
    (void)close(fd);
    return sscanf(answer, "HTTP/1.1 %d", &status) == 1 ? status : 0;
}

/* ---- Requests -------------------------------------------------------------------------------- */

static int call_upsert(unsigned port)
{
    char body[256];
    n_tried++;
    (void)snprintf(body, sizeof body,
                   "{\"p_user_id\":\"" USER "\",\"p_data_key\":\"numbers\",\"p_data\":{\"n\":%lld},"
                   "\"p_expected_version\":null,\"p_device_id\":\"old\"}",
                   (long long)n_tried);
    int status = call(port, "atomic_sync_upsert", body);
    if (status == 200 && strstr(answer, "\"success\":true") != NULL) {
        n_acked = n_tried;
    }
    return status;
}

static int call_read(unsigned port)
{
    return call(port, "get_user_sync_data", "{\"p_user_id\":\"" USER "\"}");
}

/* The same edit again and again: a duplicate after the first time. */
static int call_exchange(unsigned port)
{
    return call(port, "sync_exchange",
                "{\"p_device_id\":\"bq-1\",\"p_epoch\":null,\"p_cursor\":0,\"p_edits\":["
                "{\"op\":1,\"prev\":0,\"id\":\"0011223344556677\",\"key\":\"game_stats\","
                "\"base\":0,\"now\":{\"incorrectAnswers\":5}}]}");
}

static int call_report(unsigned port)
{
    return call(port, "sync_report",
                "{\"p_device_id\":\"bq-1\",\"p_device_info\":{\"a\":1},\"p_replaces\":null,"
                "\"p_failed\":[]}");
}

static int call_v1(unsigned port)
{
    return call(port, "atomic_sync_data",
                "{\"target_user_id\":\"" USER "\",\"new_data\":{\"settings\":{\"value\":"
                "{\"mute\":true},\"timestamp\":\"2026-01-01T00:00:00Z\"}}}");
}

static const struct request_case {
    const char *name;
    int (*call)(unsigned port);
} cases[] = {
    {"atomic_sync_upsert", call_upsert}, {"get_user_sync_data", call_read},
    {"sync_exchange", call_exchange},    {"sync_report", call_report},
    {"atomic_sync_data", call_v1},
};

/* The number in the document; -1 where it cannot be read. */
static int64_t number(unsigned port)
{
    long long n = -1;
    if (call_read(port) != 200) {
        return -1;
    }
    const char *at = strstr(answer, "{\"n\":");
    return at != NULL && sscanf(at, "{\"n\":%lld", &n) == 1 ? n : 0;
}

/* With memory again: what was acknowledged is there, and it goes on. */
static void expect_recovery(unsigned port, const char *name, uint64_t n)
{
    int64_t held = -1;
    for (int i = 0; i < TRIES && held < 0; i++) {
        held = number(port);
        (void)poll(NULL, 0, held < 0 ? 10 : 0); /* the store is opened again meanwhile */
    }
    if (held < n_acked || held > n_tried) {
        fail_msg("%s, allocation %llu: %lld acknowledged, %lld sent, %lld there", name,
                 (unsigned long long)n, (long long)n_acked, (long long)n_tried, (long long)held);
    }
    int status = 0;
    for (int i = 0; i < TRIES && status != 200; i++) {
        status = call_upsert(port);
        (void)poll(NULL, 0, status != 200 ? 10 : 0);
    }
    assert_int_equal(status, 200);
}

static bool request_site(struct serve *serve, const struct request_case *test, uint64_t n,
                         uint64_t repeat)
{
    uint64_t failed = mem_failed();
    mem_fail_at(n, repeat);
    int status = test->call(serve->port);
    mem_fail_at(0, 0);
    bool came = mem_failed() != failed;
    /* A call of an old app that fails in its own words is a 200. */
    if (status != 0 && status != 200 && status != 204 && status < 500) {
        fail_msg("%s, allocation %llu: status %d: %s", test->name, (unsigned long long)n, status,
                 answer);
    }
    assert_true(came || status == 200 || status == 204);
    expect_recovery(serve->port, test->name, n);
    return came;
}

static uint64_t walk_requests(uint64_t repeat)
{
    struct serve serve;
    uint64_t n_sites = 0;
    n_tried = 0;
    n_acked = 0;
    serve_init(&serve);
    serve.log.level = (enum log_level)0;
    assert_int_equal(serve_start(&serve), BQ_OK);
    assert_int_equal(call_upsert(serve.port), 200);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t n = 1;
        while (request_site(&serve, &cases[i], n, repeat)) {
            n_sites++;
            n += n < 8 ? 1 : n == 8 ? 1 + offset % stride : stride;
            assert_true(n < N_MAX);
        }
    }
    assert_true(serve_stop(&serve));
    serve_release(&serve);
    return n_sites;
}

static void each_allocation_of_a_request_fails_once(void **state)
{
    (void)state;
    uint64_t n_sites = walk_requests(1);
    printf("sites server malloc: %llu\n", (unsigned long long)n_sites);
    assert_true(n_sites > 20);
}

static void all_allocations_of_a_request_fail_from_the_nth_on(void **state)
{
    (void)state;
    uint64_t n_sites = walk_requests(UINT64_MAX);
    printf("sites server malloc: %llu\n", (unsigned long long)n_sites);
    assert_true(n_sites > 20);
}

/* A start on what a stopped server left. */
static bool start_site(struct serve *serve, uint64_t n, uint64_t repeat)
{
    uint64_t failed = mem_failed();
    mem_fail_at(n, repeat);
    int status = serve_start(serve);
    mem_fail_at(0, 0);
    bool came = mem_failed() != failed;
    assert_true(came || status == BQ_OK);
    if (status != BQ_OK) {
        if (serve->error[0] == '\0') {
            fail_msg("allocation %llu: %d and no sentence", (unsigned long long)n, status);
        }
        assert_int_equal(serve_start(serve), BQ_OK);
    }
    expect_recovery(serve->port, "a start", n);
    assert_true(serve_stop(serve));
    return came;
}

static void each_allocation_of_a_start_fails(void **state)
{
    struct serve serve;
    uint64_t n_sites = 0;
    (void)state;
    n_tried = 0;
    n_acked = 0;
    serve_init(&serve);
    assert_int_equal(serve_start(&serve), BQ_OK);
    assert_int_equal(call_upsert(serve.port), 200);
    assert_true(serve_stop(&serve));
    for (int round = 0; round < 2; round++) {
        uint64_t n = 1;
        while (start_site(&serve, n, round == 0 ? 1 : UINT64_MAX)) {
            n_sites++;
            n += n < 8 ? 1 : n == 8 ? 1 + offset % stride : 2 * stride;
            assert_true(n < N_MAX);
        }
    }
    serve_release(&serve);
    printf("sites server-recovery malloc: %llu\n", (unsigned long long)n_sites);
    assert_true(n_sites > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_allocation_of_a_request_fails_once),
        cmocka_unit_test(all_allocations_of_a_request_fail_from_the_nth_on),
        cmocka_unit_test(each_allocation_of_a_start_fails),
    };
    const char *given = getenv("BQ_SEED");
    offset = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    stride = getenv("BQ_LONG") != NULL ? 1 : getenv("BQ_SAMPLE") != NULL ? SAMPLE_STRIDE : STRIDE;
    printf("faults: seed %llu (BQ_SEED)\n", (unsigned long long)offset);
    if (getenv("TMPDIR") == NULL && access("/dev/shm", W_OK) == 0) {
        (void)setenv("TMPDIR", "/dev/shm", 1);
    }
    lite_memory_install();
    token = token_user(USER);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(token);
    return failed;
}
