/* test_client_transport.c - what the transport sends, and what it makes of each kind of answer. */
#include "client/transport.h"

#include "base/buf.h"
#include "bqsync.h"
#include "http_stub.h"
#include "tls_server.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* Long enough for a busy machine; only a failing test waits for it. */
#define PATIENCE_MS 20000

struct fixture {
    struct http_stub *stub;
    struct transport *transport;
    struct transport_config config;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->stub = http_stub_new();
    f->config = (struct transport_config){.url = http_stub_url(f->stub), .timeout_ms = 20000};
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    if (f->transport != NULL) {
        f->transport->free(f->transport);
    }
    http_stub_free(f->stub);
    free(f);
    return 0;
}

static void make(struct fixture *f)
{
    assert_int_equal(transport_curl_new(&f->config, &f->transport), BQ_OK);
}

static void start(struct fixture *f, uint64_t serial, struct slice body)
{
    struct transport_request request = {serial, "sync_exchange", body, "head.payload.sign"};
    assert_int_equal(f->transport->start(f->transport, &request), BQ_OK);
}

static struct transport_answer go(struct fixture *f, uint64_t serial, struct slice body)
{
    struct transport_answer answer;
    start(f, serial, body);
    assert_true(f->transport->wait(f->transport, PATIENCE_MS, &answer));
    assert_int_equal(answer.serial, serial);
    return answer;
}

static void expect_text(const char *request, const char *part)
{
    if (strstr(request, part) == NULL) {
        fail_msg("the request lacks \"%s\":\n%s", part, request);
    }
}

static void a_request_has_the_path_the_headers_and_the_body(void **state)
{
    struct fixture *f = *state;
    char url[80];
    (void)snprintf(url, sizeof url, "%s/prefix/", http_stub_url(f->stub));
    f->config.url = url;
    f->config.api_key = "sb_publishable_x";
    make(f);
    http_stub_answer_json(f->stub, 200, "{\"status\":\"ok\"}");
    struct transport_answer answer = go(f, 7, SLICE("{\"p_cursor\":0}"));
    assert_int_equal(answer.status, BQ_OK);
    assert_int_equal(answer.http_status, 200);
    assert_int_equal(answer.retry_after_ms, -1);
    assert_true(slice_is(answer.body, "{\"status\":\"ok\"}"));
    const char *request = http_stub_request(f->stub, 0);
    expect_text(request, "POST /prefix/rest/v1/rpc/sync_exchange HTTP/1.1\r\n");
    expect_text(request, "\r\napikey: sb_publishable_x\r\n");
    expect_text(request, "\r\nAuthorization: Bearer head.payload.sign\r\n");
    expect_text(request, "\r\nContent-Type: application/json\r\n");
    expect_text(request, "\r\nAccept: application/json\r\n");
    expect_text(request, "\r\nX-Client-Info: bqsync/0.1.0\r\n");
    expect_text(request, "\r\nContent-Length: 14\r\n");
    expect_text(request, "\r\n\r\n{\"p_cursor\":0}");
    assert_null(strstr(request, "Expect:"));
}

static void without_an_api_key_the_token_stands_in(void **state)
{
    struct fixture *f = *state;
    make(f);
    http_stub_answer_json(f->stub, 200, "{}");
    (void)go(f, 1, SLICE("{}"));
    expect_text(http_stub_request(f->stub, 0), "\r\napikey: head.payload.sign\r\n");
}

static void requests_share_a_connection(void **state)
{
    struct fixture *f = *state;
    make(f);
    for (uint64_t i = 1; i <= 5; i++) {
        http_stub_answer_json(f->stub, 200, "{}");
        assert_int_equal(go(f, i, SLICE("{}")).http_status, 200);
    }
    assert_int_equal(http_stub_n_connections(f->stub), 1);
    assert_int_equal(http_stub_n_requests(f->stub), 5);
}

static void a_connection_that_was_closed_is_opened_again(void **state)
{
    struct fixture *f = *state;
    make(f);
    http_stub_answer(f->stub, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
                     SIZE_MAX);
    http_stub_answer_json(f->stub, 200, "{}");
    assert_int_equal(go(f, 1, SLICE("{}")).http_status, 200);
    assert_int_equal(go(f, 2, SLICE("{}")).http_status, 200);
    assert_int_equal(http_stub_n_connections(f->stub), 2);
}

static void retry_after_is_read_in_seconds(void **state)
{
    struct fixture *f = *state;
    make(f);
    http_stub_answer(f->stub, "HTTP/1.1 503 Busy\r\nRetry-After: 17\r\nContent-Length: 2\r\n\r\n{}",
                     SIZE_MAX);
    struct transport_answer answer = go(f, 1, SLICE("{}"));
    assert_int_equal(answer.http_status, 503);
    assert_int_equal(answer.retry_after_ms, 17000);
}

static void a_redirect_is_not_followed(void **state)
{
    struct fixture *f = *state;
    char text[200];
    make(f);
    (void)snprintf(text, sizeof text,
                   "HTTP/1.1 307 Away\r\nLocation: %s/elsewhere\r\nContent-Length: 0\r\n\r\n",
                   http_stub_url(f->stub));
    http_stub_answer(f->stub, text, SIZE_MAX);
    assert_int_equal(go(f, 1, SLICE("{}")).http_status, 307);
    assert_int_equal(http_stub_n_requests(f->stub), 1);
}

static void nobody_at_home_is_network(void **state)
{
    struct fixture *f = *state;
    char url[80];
    (void)snprintf(url, sizeof url, "%s", http_stub_url(f->stub));
    http_stub_free(f->stub);
    f->config.url = url;
    make(f);
    struct transport_answer answer = go(f, 1, SLICE("{}"));
    f->stub = http_stub_new();
    assert_int_equal(answer.status, BQ_NETWORK);
    assert_non_null(answer.error);
    assert_null(strstr(answer.error, "payload"));
}

static void half_an_answer_is_network(void **state)
{
    struct fixture *f = *state;
    make(f);
    http_stub_answer(f->stub, "", 0);
    assert_int_equal(go(f, 1, SLICE("{}")).status, BQ_NETWORK);
    /* The stub sends these bytes and then, asked for no more, keeps silent: only closing ends
     * it. */
    http_stub_answer(f->stub, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Len", SIZE_MAX);
    f->config.timeout_ms = 300;
    f->transport->free(f->transport);
    make(f);
    assert_int_not_equal(go(f, 2, SLICE("{}")).status, BQ_OK);
}

static void silence_is_a_timeout(void **state)
{
    struct fixture *f = *state;
    f->config.timeout_ms = 200;
    make(f);
    http_stub_answer(f->stub, NULL, 0);
    assert_int_equal(go(f, 1, SLICE("{}")).status, BQ_TIMEOUT);
}

static void an_answer_that_never_ends_is_cut(void **state)
{
    struct fixture *f = *state;
    size_t len = TRANSPORT_ANSWER_BYTES + 1000;
    char *text = malloc(len + 100);
    assert_non_null(text);
    int n = snprintf(text, 100, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", len);
    memset(text + n, ' ', len);
    make(f);
    http_stub_answer(f->stub, text, (size_t)n + len);
    free(text);
    struct transport_answer answer = go(f, 1, SLICE("{}"));
    assert_int_equal(answer.status, BQ_OK);
    assert_int_equal(answer.body.len, 0);
    http_stub_answer_json(f->stub, 200, "{}");
    assert_true(slice_is(go(f, 2, SLICE("{}")).body, "{}"));
}

static void a_cancelled_request_answers_nothing(void **state)
{
    struct fixture *f = *state;
    struct transport_answer answer;
    make(f);
    http_stub_answer(f->stub, NULL, 0);
    start(f, 1, SLICE("{}"));
    assert_false(f->transport->wait(f->transport, 0, &answer));
    f->transport->cancel(f->transport);
    f->transport->cancel(f->transport);
    assert_false(f->transport->wait(f->transport, 0, &answer));
}

static void *wake(void *context)
{
    struct transport *transport = context;
    transport->wake(transport);
    return NULL;
}

/* Whether it comes before or while the other waits. */
static void waking_ends_a_wait(void **state)
{
    struct fixture *f = *state;
    struct transport_answer answer;
    pthread_t thread;
    make(f);
    f->transport->wake(f->transport);
    assert_false(f->transport->wait(f->transport, PATIENCE_MS, &answer));
    assert_int_equal(pthread_create(&thread, NULL, wake, f->transport), 0);
    assert_false(f->transport->wait(f->transport, PATIENCE_MS, &answer));
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void a_large_body_arrives_whole(void **state)
{
    struct fixture *f = *state;
    size_t len = 900000;
    char *body = malloc(len + 1);
    char head[64];
    assert_non_null(body);
    memset(body, 'b', len);
    body[len] = '\0';
    make(f);
    http_stub_answer_json(f->stub, 200, "{}");
    assert_int_equal(go(f, 1, (struct slice){body, len}).http_status, 200);
    const char *request = http_stub_request(f->stub, 0);
    (void)snprintf(head, sizeof head, "\r\nContent-Length: %zu\r\n", len);
    expect_text(request, head);
    assert_string_equal(strstr(request, "\r\n\r\n") + 4, body);
    free(body);
}

/* ---- TLS ------------------------------------------------------------------------------------- */

/* The sentence of a request to the server; "" where it answered. */
static void ask_tls(struct fixture *f, struct tls_server *server, const char *ca_file,
                    char out[256])
{
    f->config.url = server->url;
    f->config.ca_file = ca_file;
    f->config.timeout_ms = 3000;
    if (f->transport != NULL) {
        f->transport->free(f->transport);
    }
    make(f);
    struct transport_answer answer = go(f, 1, SLICE("{}"));
    (void)snprintf(out, 256, "%s", answer.status == BQ_OK ? "" : answer.error);
}

static void a_certificate_has_to_be_trusted(void **state)
{
    struct fixture *f = *state;
    struct tls_server server;
    char sentence[256];
    tls_server_start(&server, "-tls1_2");
    ask_tls(f, &server, NULL, sentence);
    assert_non_null(strstr(sentence, "certificate"));
    ask_tls(f, &server, server.key, sentence);
    assert_string_not_equal(sentence, "");
    /* Trusted: what this server makes of a POST does not matter, the handshake is through. */
    ask_tls(f, &server, server.certificate, sentence);
    assert_null(strstr(sentence, "certificate"));
    assert_null(strstr(sentence, "SSL"));
    tls_server_stop(&server);
}

static void old_tls_is_refused(void **state)
{
    struct fixture *f = *state;
    struct tls_server server;
    char sentence[256];
    tls_server_start(&server, "-tls1_1");
    ask_tls(f, &server, server.certificate, sentence);
    assert_string_not_equal(sentence, "");
    tls_server_stop(&server);
}

static void a_url_is_a_host_and_nothing_secret(void **state)
{
    (void)state;
    assert_true(transport_url_valid("http://127.0.0.1:8787"));
    assert_true(transport_url_valid("https://sync.example.org/base/"));
    static const char *const bad[] = {"",           "ftp://x",          "https://",
                                      "http:///x",  "http://:80",       "https://user:pw@host",
                                      "http://h?q", "http://h#f",       "http://h o",
                                      "HTTP://h",   "http://h\r\nX: y", "example.org"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (transport_url_valid(bad[i])) {
            fail_msg("taken: %s", bad[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_request_has_the_path_the_headers_and_the_body, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(without_an_api_key_the_token_stands_in, setup, teardown),
        cmocka_unit_test_setup_teardown(requests_share_a_connection, setup, teardown),
        cmocka_unit_test_setup_teardown(a_connection_that_was_closed_is_opened_again, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(retry_after_is_read_in_seconds, setup, teardown),
        cmocka_unit_test_setup_teardown(a_redirect_is_not_followed, setup, teardown),
        cmocka_unit_test_setup_teardown(nobody_at_home_is_network, setup, teardown),
        cmocka_unit_test_setup_teardown(half_an_answer_is_network, setup, teardown),
        cmocka_unit_test_setup_teardown(silence_is_a_timeout, setup, teardown),
        cmocka_unit_test_setup_teardown(an_answer_that_never_ends_is_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cancelled_request_answers_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(waking_ends_a_wait, setup, teardown),
        cmocka_unit_test_setup_teardown(a_large_body_arrives_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(a_certificate_has_to_be_trusted, setup, teardown),
        cmocka_unit_test_setup_teardown(old_tls_is_refused, setup, teardown),
        cmocka_unit_test(a_url_is_a_host_and_nothing_secret),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
