/* test_acceptor.c - new connections when the server is full, and when it stops. */
#include "http_client.h"
#include "serve.h"

#include "base/status.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#define ROUNDS 30
#define KNOCKERS 2
#define REQUEST "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"

static void beyond_the_limit_one_waits_for_a_place(void **state)
{
    struct serve serve;
    struct http_answer answer;
    int fds[3];
    (void)state;
    serve_init(&serve);
    serve.config.threads = 1;
    serve.config.connections = 2;
    assert_int_equal(serve_start(&serve), BQ_OK);
    for (int i = 0; i < 3; i++) {
        fds[i] = http_connect(serve.port);
        assert_true(fds[i] >= 0);
        assert_true(http_write(fds[i], REQUEST, sizeof REQUEST - 1));
        if (i < 2) {
            http_read(fds[i], false, &answer);
            assert_int_equal(answer.status, 200);
            http_release(&answer);
        }
    }
    struct pollfd third = {fds[2], POLLIN, 0};
    assert_int_equal(poll(&third, 1, 200), 0); /* neither served nor turned away */
    close(fds[0]);
    http_read(fds[2], false, &answer);
    assert_int_equal(answer.status, 200);
    http_release(&answer);
    close(fds[1]);
    close(fds[2]);
    serve_release(&serve);
}

struct knocker {
    pthread_t thread;
    unsigned port;
    _Atomic bool refused;
};

/* Connects again and again, until nobody listens. */
static void *knock(void *cls)
{
    struct knocker *knocker = cls;
    int fd;
    while ((fd = http_connect(knocker->port)) >= 0) {
        close(fd);
    }
    atomic_store(&knocker->refused, true);
    return NULL;
}

static void it_stops_while_others_come_and_lets_nobody_in_then(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct serve serve;
        struct knocker knockers[KNOCKERS];
        serve_init(&serve);
        serve.config.threads = 4;
        assert_int_equal(serve_start(&serve), BQ_OK);
        for (int i = 0; i < KNOCKERS; i++) {
            knockers[i] = (struct knocker){.port = serve.port};
            assert_int_equal(pthread_create(&knockers[i].thread, NULL, knock, &knockers[i]), 0);
        }
        assert_true(serve_stop(&serve));
        for (int i = 0; i < KNOCKERS; i++) {
            pthread_join(knockers[i].thread, NULL);
            assert_true(atomic_load(&knockers[i].refused));
        }
        serve_release(&serve);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(beyond_the_limit_one_waits_for_a_place),
        cmocka_unit_test(it_stops_while_others_come_and_lets_nobody_in_then),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
