/* test_upgrade.c - the WebSocket handshake as text, and SHA-1, which only it needs. */
#include "proto/upgrade.h"

#include "base/sha1.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* RFC 6455 section 1.3. */
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

static void expect_sha1(struct slice bytes, const char *hex)
{
    uint8_t digest[SHA1_BYTES];
    char text[2 * SHA1_BYTES + 1];
    sha1(bytes, digest);
    for (unsigned i = 0; i < SHA1_BYTES; i++) {
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
    }
    assert_string_equal(text, hex);
}

/* The examples of FIPS 180, and lengths around the ends of a block (by sha1sum). */
static void sha1_is_the_standards(void **state)
{
    char *as = malloc(1000000);
    (void)state;
    assert_non_null(as);
    memset(as, 'a', 1000000);
    expect_sha1(SLICE(""), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    expect_sha1(SLICE("abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
    expect_sha1(SLICE("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
                "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
    expect_sha1((struct slice){as, 55}, "c1c8bbdc22796e28c0e15163d20899b65621d65a");
    expect_sha1((struct slice){as, 64}, "0098ba824b5c16427bd7a1122a5a442a25ec644d");
    expect_sha1((struct slice){as, 1000000}, "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
    free(as);
}

static void a_key_is_its_nonce_in_base64(void **state)
{
    char text[UPGRADE_KEY_TEXT];
    (void)state;
    upgrade_key((const uint8_t *)"the sample nonce", text);
    assert_string_equal(text, KEY);
}

static void print(const char *url, const char *api_key, struct buf *out)
{
    const struct upgrade_request request = {.url = slice_of(url),
                                            .path = UPGRADE_REALTIME_PATH,
                                            .vsn = "2.0.0",
                                            .api_key = api_key,
                                            .token = "head.claims.sign",
                                            .key = KEY};
    upgrade_print(out, &request);
    assert_false(out->failed);
}

static void the_request_has_all_that_the_standard_asks_for(void **state)
{
    struct buf out = BUF_INIT;
    (void)state;
    print("https://sync.example.org:8443/base/", "sb_publishable_x+/", &out);
    assert_string_equal(
        out.ptr,
        "GET /base/realtime/v1/websocket?vsn=2.0.0&apikey=sb_publishable_x%2B%2F HTTP/1.1\r\n"
        "Host: sync.example.org:8443\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " KEY "\r\n"
        "User-Agent: bqsync/0.1.0\r\nX-Client-Info: bqsync/0.1.0\r\n"
        "apikey: sb_publishable_x+/\r\nX-Api-Key: sb_publishable_x+/\r\n\r\n");
    buf_release(&out);
}

static void a_token_never_stands_in_the_address(void **state)
{
    struct buf out = BUF_INIT;
    (void)state;
    print("http://127.0.0.1:8787", NULL, &out);
    char *end = strstr(out.ptr, "\r\n");
    assert_non_null(end);
    assert_non_null(strstr(end, "apikey: head.claims.sign\r\n"));
    *end = '\0';
    assert_string_equal(out.ptr, "GET /realtime/v1/websocket?vsn=2.0.0 HTTP/1.1");
    buf_release(&out);
}

static struct upgrade_answer read_head(const char *head)
{
    struct upgrade_answer answer;
    upgrade_read(slice_of(head), KEY, &answer);
    return answer;
}

static void only_a_right_answer_opens_the_socket(void **state)
{
    static const char *const good[] = {
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: " ACCEPT "\r\n\r\n",
        "HTTP/1.1 101 x\r\nconnection: keep-alive, UPGRADE\r\nupgrade:WebSocket\r\n"
        "sec-websocket-accept:  " ACCEPT " \r\nDate: today\r\n\r\n",
    };
    static const char *const bad[] = {
        "",
        "\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "HTTP/1.0 101 x\r\nUpgrade: websocket\r\nConnection: "
        "Upgrade\r\nSec-WebSocket-Accept: " ACCEPT "\r\n\r\n",
        "HTTP/1.1 200 OK\r\nUpgrade: websocket\r\nConnection: "
        "Upgrade\r\nSec-WebSocket-Accept: " ACCEPT "\r\n\r\n",
        "HTTP/1.1 101 x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " ACCEPT
        "\r\n\r\n",
        "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: close\r\nSec-WebSocket-Accept: " ACCEPT
        "\r\n\r\n",
        "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        "S3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: "
        "Upgrade\r\nSec-WebSocket-Accept: " ACCEPT "\r\nSec-WebSocket-Accept: " ACCEPT "\r\n\r\n",
        /* Extensions and protocols that nobody asked for. */
        "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: "
        "Upgrade\r\nSec-WebSocket-Accept: " ACCEPT
        "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
        "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: "
        "Upgrade\r\nSec-WebSocket-Accept: " ACCEPT
        "\r\nSec-WebSocket-Extensions: a\r\nSec-WebSocket-Extensions: b\r\n\r\n",
        "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: "
        "Upgrade\r\nSec-WebSocket-Accept: " ACCEPT "\r\nSec-WebSocket-Protocol: chat\r\n\r\n",
    };
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(read_head(good[i]).opened);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (read_head(bad[i]).opened) {
            fail_msg("opened by: %s", bad[i]);
        }
    }
}

static void a_refusal_tells_its_status_and_when_to_come_again(void **state)
{
    (void)state;
    struct upgrade_answer answer =
        read_head("HTTP/1.1 503 Busy\r\nretry-after: 17\r\nContent-Length: 0\r\n\r\n");
    assert_int_equal(answer.http_status, 503);
    assert_int_equal(answer.retry_after_ms, 17000);
    assert_int_equal(read_head("HTTP/1.1 404 x\r\n\r\n").retry_after_ms, -1);
    assert_int_equal(
        read_head("HTTP/1.1 404 x\r\nRetry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n\r\n")
            .retry_after_ms,
        -1);
    assert_int_equal(
        read_head("HTTP/1.1 404 x\r\nRetry-After: 99999999999999999999999\r\n\r\n").retry_after_ms,
        86400000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha1_is_the_standards),
        cmocka_unit_test(a_key_is_its_nonce_in_base64),
        cmocka_unit_test(the_request_has_all_that_the_standard_asks_for),
        cmocka_unit_test(a_token_never_stands_in_the_address),
        cmocka_unit_test(only_a_right_answer_opens_the_socket),
        cmocka_unit_test(a_refusal_tells_its_status_and_when_to_come_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
