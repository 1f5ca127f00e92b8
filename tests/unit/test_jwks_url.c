/* test_jwks_url.c - keys that another issuer publishes (threat J7 of docs/security.md): taken,
 * changed, withdrawn, and never because of what a token says more than once a minute. Time is the
 * test's own; the address is a stub's that counts who reads it. */
#include "server/jwks_url.h"

#include "base/base64url.h"
#include "base/buf.h"
#include "base/status.h"
#include "http_client.h"
#include "http_stub.h"
#include "rt_app.h"
#include "serve.h"
#include "server/clock.h"
#include "tls_server.h"
#include "token.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define NOW INT64_C(1800000000)
#define SECOND_US INT64_C(1000000)
#define USER "5f3a7a52-8c39-4f5e-9d4e-0c2f6f9b1a11"
#define ISSUER "https://project.example.org/auth/v1"
#define AUDIENCE "authenticated"
#define PARTIES ",\"iss\":\"" ISSUER "\",\"aud\":\"" AUDIENCE "\"}"
#define CLAIMS "{\"role\":\"authenticated\",\"sub\":\"" USER "\",\"exp\":1800009999" PARTIES
#define NO_KEY "No suitable key or wrong key type"
#define HANG_MS 1500 /* of a test that waits for the end of the time; all else is quicker */

static struct token_key *key_a;
static struct token_key *key_b;
static struct token_key *key_rs;
static struct token_key *key_hs;
static struct token_key *key_file; /* of the set in a file */
static char *jwk_a;
static char *jwk_b;
static char *jwk_rs;
static char *jwk_file;

static int set_up(void **state)
{
    (void)state;
    key_a = token_key_new("ES256", NULL);
    key_b = token_key_new("ES256", NULL);
    key_rs = token_key_new("RS256", NULL);
    key_hs = token_key_new("HS256", TOKEN_SECRET);
    key_file = token_key_new("ES256", NULL);
    jwk_a = token_jwk(key_a, "a");
    jwk_b = token_jwk(key_b, "b");
    jwk_rs = token_jwk(key_rs, "rs");
    jwk_file = token_jwk(key_file, "file");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    struct token_key *const keys[] = {key_a, key_b, key_rs, key_hs, key_file};
    char *const texts[] = {jwk_a, jwk_b, jwk_rs, jwk_file};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        token_key_free(keys[i]);
    }
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        free(texts[i]);
    }
    return 0;
}

/* ---- One issuer, one reader, no thread ------------------------------------------------------- */

struct reader {
    struct http_stub *stub;
    char url[128];
    struct log log;
    char lines[8192]; /* of the log */
    size_t n_lines;
    struct jwks_url_config config;
    struct jwks_url *jwks;
    int64_t now_us; /* the test's clock */
    bool wants;     /* a token with an unknown kid comes while keys are read */
    char error[512];
};

static void keep_line(void *cls, const char *line, size_t len)
{
    struct reader *reader = cls;
    assert_true(reader->n_lines + len < sizeof reader->lines);
    memcpy(reader->lines + reader->n_lines, line, len);
    reader->n_lines += len;
    reader->lines[reader->n_lines] = '\0';
    if (reader->wants) {
        jwks_url_want(reader->jwks);
    }
}

static void on_unknown_kid(void *cls)
{
    const struct reader *reader = cls;
    jwks_url_want(reader->jwks);
}

static int64_t clock_of(void *cls)
{
    const struct reader *reader = cls;
    return reader->now_us;
}

/* Tokens of our secret and of a file's set verify already. */
static void reader_init(struct reader *reader)
{
    char set[1024];
    struct jwt_config jwt = {.size = sizeof jwt, .issuer = ISSUER, .audience = AUDIENCE,
                             .has_url = true, .unknown_kid = on_unknown_kid, .cls = reader};
    memset(reader, 0, sizeof *reader);
    reader->stub = http_stub_new();
    snprintf(reader->url, sizeof reader->url, "%s/auth/v1/.well-known/jwks.json",
             http_stub_url(reader->stub));
    reader->log = (struct log){keep_line, reader, LOG_LEVEL_DEBUG};
    reader->now_us = 77 * SECOND_US;
    reader->config = (struct jwks_url_config){.size = sizeof reader->config, .url = reader->url,
                                              .log = &reader->log, .clock_us = clock_of,
                                              .cls = reader};
    snprintf(set, sizeof set, "{\"keys\":[%s]}", jwk_file);
    assert_int_equal(jwt_keys_new(&jwt.keys), BQ_OK);
    assert_int_equal(jwt_keys_add_secret(jwt.keys, SLICE(TOKEN_SECRET), reader->error,
                                         sizeof reader->error), BQ_OK);
    assert_int_equal(jwt_keys_add_jwks(jwt.keys, slice_of(set), reader->error,
                                       sizeof reader->error), BQ_OK);
    assert_int_equal(jwt_new(&jwt, &reader->config.jwt, reader->error, sizeof reader->error),
                     BQ_OK);
}

static void reader_release(struct reader *reader)
{
    jwks_url_free(reader->jwks);
    jwt_free(reader->config.jwt);
    http_stub_free(reader->stub);
}

/* The issuer's next answer: a set of these JWKs ("a,b"). */
static void publish(struct http_stub *stub, const char *keys)
{
    struct buf body = BUF_INIT;
    buf_add_text(&body, "{\"keys\":[");
    buf_add_text(&body, keys);
    buf_add_text(&body, "]}");
    assert_false(body.failed);
    http_stub_answer_json(stub, 200, body.ptr);
    buf_release(&body);
}

static void publish_two(struct http_stub *stub, const char *one, const char *two)
{
    char keys[2048];
    snprintf(keys, sizeof keys, "%s,%s", one, two);
    publish(stub, keys);
}

static int reader_open(struct reader *reader)
{
    return jwks_url_open(&reader->config, &reader->jwks, reader->error, sizeof reader->error);
}

/* A reader that has read the key a. */
static void reader_init_a(struct reader *reader)
{
    reader_init(reader);
    publish(reader->stub, jwk_a);
    if (reader_open(reader) != BQ_OK) {
        fail_msg("%s", reader->error);
    }
}

/* So many seconds later. */
static void later(struct reader *reader, int64_t seconds)
{
    reader->now_us += seconds * SECOND_US;
    (void)jwks_url_step(reader->jwks, reader->now_us);
}

static unsigned n_read(struct reader *reader)
{
    return http_stub_n_requests(reader->stub);
}

static struct jwt_identity identity;
static struct jwt_refusal refusal;

static int verify_text(struct reader *reader, const char *token)
{
    memset(&identity, 0, sizeof identity);
    memset(&refusal, 0, sizeof refusal);
    return jwt_verify(reader->config.jwt, slice_of(token), NOW, &identity, &refusal);
}

static int verify(struct reader *reader, const struct token_key *key, const char *header,
                  const char *claims)
{
    char *token = token_sign(key, header, claims);
    int status = verify_text(reader, token);
    free(token);
    return status;
}

static int verify_kid(struct reader *reader, const struct token_key *key, const char *kid)
{
    char header[256];
    const char *alg = key == key_rs ? "RS256" : key == key_hs ? "HS256" : "ES256";
    snprintf(header, sizeof header, "{\"alg\":\"%s\",\"kid\":\"%s\"}", alg, kid);
    return verify(reader, key, header, CLAIMS);
}

static void keys_of_before_stay(struct reader *reader)
{
    assert_int_equal(verify_kid(reader, key_hs, "whatever"), BQ_OK);
    assert_int_equal(verify_kid(reader, key_file, "file"), BQ_OK);
}

/* ---- Taken, changed, withdrawn --------------------------------------------------------------- */

static void keys_are_taken_at_the_start(void **state)
{
    (void)state;
    struct reader reader;
    reader_init(&reader);
    assert_int_equal(verify_kid(&reader, key_file, "file"), BQ_OK);
    publish_two(reader.stub, jwk_a, jwk_rs);
    assert_int_equal(reader_open(&reader), BQ_OK);
    assert_int_equal(verify_kid(&reader, key_a, "a"), BQ_OK);
    assert_string_equal(identity.user.text, USER);
    assert_int_equal(verify_kid(&reader, key_rs, "rs"), BQ_OK);
    assert_int_equal(verify(&reader, key_a, "{\"alg\":\"ES256\"}", CLAIMS), BQ_OK);
    keys_of_before_stay(&reader);
    assert_memory_equal(http_stub_request(reader.stub, 0), "GET /auth/v1/.well-known/jwks.json ",
                        35);
    assert_non_null(strstr(reader.lines, "\"jwks_taken\",\"keys\":3,\"passed_over\":0"));
    reader_release(&reader);
}

static void a_published_key_is_somebody_elses(void **state)
{
    (void)state;
    struct reader reader;
    reader_init_a(&reader);
    const char *a = "{\"alg\":\"ES256\",\"kid\":\"a\"}";
    assert_int_equal(verify(&reader, key_a, a, "{\"role\":\"authenticated\",\"sub\":\"" USER
                            "\",\"exp\":1800009999,\"iss\":\"https://evil.example\",\"aud\":\""
                            AUDIENCE "\"}"), BQ_AUTH);
    assert_string_equal(refusal.message, "JWT not from the configured issuer");
    assert_int_equal(verify(&reader, key_a, a, "{\"role\":\"authenticated\",\"sub\":\"" USER
                            "\",\"exp\":1800009999,\"iss\":\"" ISSUER "\"}"), BQ_AUTH);
    assert_string_equal(refusal.message, "JWT not in audience");
    assert_int_equal(verify(&reader, key_a, a, "{\"role\":\"service_role\",\"exp\":1800009999"
                            PARTIES), BQ_AUTH);
    assert_string_equal(refusal.message, NO_KEY);
    reader_release(&reader);
}

static void a_new_key_is_read_when_a_token_names_it(void **state)
{
    (void)state;
    struct reader reader;
    reader_init_a(&reader);
    publish_two(reader.stub, jwk_a, jwk_b);
    assert_int_equal(verify_kid(&reader, key_b, "b"), BQ_AUTH);
    assert_string_equal(refusal.code, "PGRST301");
    assert_string_equal(refusal.message, NO_KEY);
    later(&reader, 59);
    assert_int_equal(n_read(&reader), 1);
    later(&reader, 1);
    assert_int_equal(n_read(&reader), 2);
    assert_int_equal(verify_kid(&reader, key_b, "b"), BQ_OK);
    assert_int_equal(verify_kid(&reader, key_a, "a"), BQ_OK);
    keys_of_before_stay(&reader);
    later(&reader, 599);
    assert_int_equal(n_read(&reader), 2);
    reader_release(&reader);
}

static void a_kid_that_comes_while_keys_are_read_has_them_read_again(void **state)
{
    (void)state;
    struct reader reader;
    reader_init_a(&reader);
    publish(reader.stub, jwk_b);
    publish_two(reader.stub, jwk_a, jwk_b);
    reader.wants = true;
    later(&reader, 600);
    reader.wants = false;
    later(&reader, 59);
    assert_int_equal(n_read(&reader), 2);
    later(&reader, 1);
    assert_int_equal(n_read(&reader), 3);
    reader_release(&reader);
}

static void a_withdrawn_key_is_refused_after_ten_minutes(void **state)
{
    (void)state;
    struct reader reader;
    reader_init_a(&reader);
    publish(reader.stub, jwk_b);
    char *token = token_sign(key_a, "{\"alg\":\"ES256\",\"kid\":\"a\"}", CLAIMS);
    assert_int_equal(verify_text(&reader, token), BQ_OK);
    later(&reader, 599);
    assert_int_equal(verify_text(&reader, token), BQ_OK); /* remembered */
    assert_int_equal(n_read(&reader), 1);
    later(&reader, 1);
    assert_int_equal(n_read(&reader), 2);
    assert_int_equal(verify_text(&reader, token), BQ_AUTH);
    assert_string_equal(refusal.message, NO_KEY);
    assert_int_equal(verify_kid(&reader, key_b, "b"), BQ_OK);
    keys_of_before_stay(&reader);
    free(token);
    reader_release(&reader);
}

/* ---- What tokens can make it do -------------------------------------------------------------- */

static void a_flood_of_unknown_kids_reads_once_a_minute(void **state)
{
    (void)state;
    struct reader reader;
    char kid[32];
    unsigned n = 0;
    reader_init_a(&reader);
    for (int i = 0; i < 4; i++) {
        publish(reader.stub, jwk_a);
    }
    for (int second = 0; second < 240; second++) {
        for (int i = 0; i < 3; i++) {
            snprintf(kid, sizeof kid, "unknown-%u", n++);
            assert_int_equal(verify_kid(&reader, key_b, kid), BQ_AUTH);
        }
        later(&reader, 1);
        assert_int_equal(n_read(&reader), 1 + (second + 1) / 60);
    }
    assert_int_equal(verify_kid(&reader, key_a, "a"), BQ_OK);
    reader_release(&reader);
}

static void other_tokens_read_nothing(void **state)
{
    (void)state;
    struct reader reader;
    char kid[160];
    reader_init_a(&reader);
    memset(kid, 'k', sizeof kid - 1);
    kid[sizeof kid - 1] = '\0';
    /* No kid, wrong signature under a kid that is known, a secret's token, kids that no key can
     * have, other algorithms. */
    assert_int_equal(verify(&reader, key_b, "{\"alg\":\"ES256\"}", CLAIMS), BQ_AUTH);
    assert_int_equal(verify(&reader, key_b, "{\"alg\":\"RS256\"}", CLAIMS), BQ_AUTH);
    assert_int_equal(verify_kid(&reader, key_b, "a"), BQ_AUTH);
    assert_int_equal(verify_kid(&reader, key_b, "file"), BQ_AUTH);
    assert_int_equal(verify_kid(&reader, key_rs, "a"), BQ_AUTH);
    assert_int_equal(verify(&reader, key_b, "{\"alg\":\"HS256\",\"kid\":\"new\"}", CLAIMS),
                     BQ_AUTH);
    assert_int_equal(verify(&reader, key_b, "{\"alg\":\"none\",\"kid\":\"new\"}", CLAIMS), BQ_AUTH);
    assert_int_equal(verify(&reader, key_b, "{\"alg\":\"EdDSA\",\"kid\":\"new\"}", CLAIMS),
                     BQ_AUTH);
    assert_int_equal(verify_kid(&reader, key_b, ""), BQ_AUTH);
    assert_int_equal(verify_kid(&reader, key_b, kid), BQ_AUTH);
    assert_int_equal(verify_text(&reader, "a.b.c"), BQ_AUTH);
    later(&reader, 599);
    assert_int_equal(n_read(&reader), 1);
    reader_release(&reader);
}

static void an_address_in_a_token_is_not_looked_at(void **state)
{
    (void)state;
    struct reader reader;
    struct http_stub *evil = http_stub_new();
    char header[512];
    reader_init_a(&reader);
    publish(evil, jwk_b);
    publish(reader.stub, jwk_a);
    static const char *const kids[] = {"", ",\"kid\":\"a\"", ",\"kid\":\"b\""};
    for (size_t i = 0; i < sizeof kids / sizeof kids[0]; i++) {
        snprintf(header, sizeof header, "{\"alg\":\"ES256\",\"jku\":\"%s/b\",\"x5u\":\"%s/b\"%s}",
                 http_stub_url(evil), http_stub_url(evil), kids[i]);
        assert_int_equal(verify(&reader, key_b, header, CLAIMS), BQ_AUTH);
        /* Only a kid that is unknown counts, and then at our own address. */
        later(&reader, 60);
        assert_int_equal(n_read(&reader), i == 2 ? 2 : 1);
        assert_int_equal(verify(&reader, key_b, header, CLAIMS), BQ_AUTH);
    }
    assert_int_equal(http_stub_n_connections(evil), 0);
    http_stub_free(evil);
    reader_release(&reader);
}

/* ---- What the address can answer ------------------------------------------------------------- */

#define MARK "a-word-of-the-answer"

static void answer_too_much(struct http_stub *stub)
{
    char *body = malloc(JWKS_URL_BYTES + 2);
    assert_non_null(body);
    memset(body, ' ', JWKS_URL_BYTES + 1);
    body[JWKS_URL_BYTES + 1] = '\0';
    memcpy(body, "{\"keys\":[", 9);
    http_stub_answer_json(stub, 200, body);
    free(body);
}

struct bad_answer {
    int http;         /* 0: what follows is no answer of HTTP with a body */
    const char *body; /* NULL: none at all; "": the end of the connection; "long" */
    int status;
    const char *says;
};

static const struct bad_answer bad_answers[] = {
    {500, "{\"keys\":[]," MARK, BQ_NETWORK, "the status 500"},
    {404, MARK, BQ_NETWORK, "the status 404"},
    {304, "", BQ_NETWORK, "redirects are not followed"},
    {200, "<html>" MARK, BQ_INVALID, "line 1"},
    {200, "{\"keys\":{}}", BQ_INVALID, "no list"},
    {200, "{\"keys\":[]}", BQ_INVALID, "no list"},
    {200, "{\"keys\":[{\"kty\":\"oct\",\"k\":\"" MARK "\"}]}", BQ_INVALID,
     "none of the keys can be used; the first one is a secret"},
    {200, "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" MARK "\"},7]}", BQ_INVALID,
     "none of the keys can be used; the first one has a kty that is neither EC nor RSA"},
    {0, "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/" MARK "\r\nContent-Length: 0\r\n\r\n",
     BQ_NETWORK, "redirects are not followed"},
    {0, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"keys\":", BQ_TIMEOUT, "no whole answer"},
    {0, "", BQ_NETWORK, "Empty reply"},
    {0, NULL, BQ_TIMEOUT, "no whole answer came in 1500 ms"},
    {0, "long", BQ_TOO_LARGE, "more than 65536 bytes"},
};

#define N_BAD (sizeof bad_answers / sizeof bad_answers[0])

static void answer_badly(struct http_stub *stub, const struct bad_answer *bad)
{
    if (bad->http != 0) {
        http_stub_answer_json(stub, bad->http, bad->body);
    } else if (bad->body != NULL && strcmp(bad->body, "long") == 0) {
        answer_too_much(stub);
    } else {
        http_stub_answer(stub, bad->body, SIZE_MAX);
    }
}

static void must_say(const char *text, const char *words)
{
    if (strstr(text, words) == NULL) {
        fail_msg("\"%s\" lacks \"%s\"", text, words);
    }
    assert_null(strstr(text, MARK));
}

static void a_server_does_not_start_without_keys(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_BAD; i++) {
        struct reader reader;
        reader_init(&reader);
        reader.config.timeout_ms = HANG_MS;
        answer_badly(reader.stub, &bad_answers[i]);
        assert_int_equal(reader_open(&reader), bad_answers[i].status);
        assert_null(reader.jwks);
        must_say(reader.error, "the keys of --jwks-url cannot be read: ");
        must_say(reader.error, bad_answers[i].says);
        keys_of_before_stay(&reader);
        reader_release(&reader);
    }
}

static void keys_stay_while_reading_fails(void **state)
{
    (void)state;
    struct reader reader;
    reader_init(&reader);
    reader.config.timeout_ms = HANG_MS;
    publish(reader.stub, jwk_a);
    assert_int_equal(reader_open(&reader), BQ_OK);
    later(&reader, 540); /* the first one at ten minutes, then one a minute */
    for (size_t i = 0; i < N_BAD; i++) {
        answer_badly(reader.stub, &bad_answers[i]);
        later(&reader, 59);
        assert_int_equal(n_read(&reader), 1 + i);
        reader.n_lines = 0;
        later(&reader, 1);
        assert_int_equal(n_read(&reader), 2 + i);
        must_say(reader.lines, "\"level\":\"warn\",\"event\":\"jwks_failed\"");
        must_say(reader.lines, bad_answers[i].says);
        must_say(reader.lines, "those of before stay");
        assert_int_equal(verify_kid(&reader, key_a, "a"), BQ_OK);
        keys_of_before_stay(&reader);
    }
    publish(reader.stub, jwk_b);
    later(&reader, 60);
    assert_int_equal(verify_kid(&reader, key_b, "b"), BQ_OK);
    assert_int_equal(verify_kid(&reader, key_a, "a"), BQ_AUTH);
    reader_release(&reader);
}

/* The name of a key of the set takes no place of ours, and a secret is none. */
static void foreign_keys_are_passed_over(void **state)
{
    (void)state;
    struct reader reader;
    struct buf keys = BUF_INIT;
    struct token_key *oct = token_key_new("HS256", TOKEN_OTHER_SECRET);
    char *impostor = token_jwk(key_b, "file");
    char *again = token_jwk(key_b, "a");
    buf_add_text(&keys, "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AA\",\"kid\":\"ed\"},"
                        "{\"kty\":\"RSA\",\"use\":\"enc\",\"n\":\"AQAB\",\"e\":\"AQAB\"},7,"
                        "{\"kty\":\"EC\",\"crv\":\"P-384\",\"x\":\"AA\",\"y\":\"AA\"},"
                        "{\"kty\":\"EC\",\"crv\":\"P-256\",\"d\":\"AA\"},"
                        "{\"kty\":\"oct\",\"kid\":\"secret\",\"alg\":\"HS256\",\"k\":\"");
    base64url_print(&keys, SLICE(TOKEN_OTHER_SECRET));
    buf_add_format(&keys, "\"},%s,%s,%s", impostor, jwk_a, again);
    reader_init(&reader);
    publish(reader.stub, keys.ptr);
    assert_int_equal(reader_open(&reader), BQ_OK);
    assert_int_equal(verify_kid(&reader, key_a, "a"), BQ_OK);
    assert_int_equal(verify_kid(&reader, key_b, "file"), BQ_AUTH);
    assert_int_equal(verify_kid(&reader, key_b, "a"), BQ_AUTH);
    assert_int_equal(verify(&reader, oct, "{\"alg\":\"HS256\",\"kid\":\"secret\"}", CLAIMS),
                     BQ_AUTH);
    assert_int_equal(verify(&reader, oct, "{\"alg\":\"HS256\"}", CLAIMS), BQ_AUTH);
    keys_of_before_stay(&reader);
    must_say(reader.lines, "\"keys\":2,\"passed_over\":8");
    buf_release(&keys);
    free(impostor);
    free(again);
    token_key_free(oct);
    reader_release(&reader);
}

static void a_set_has_a_bound(void **state)
{
    (void)state;
    struct reader reader;
    struct buf keys = BUF_INIT;
    char kid[8];
    for (unsigned i = 0; i < JWT_PUBLIC_KEYS + 4; i++) {
        snprintf(kid, sizeof kid, "k%u", i);
        char *jwk = token_jwk(key_a, kid);
        buf_add_format(&keys, "%s%s", i == 0 ? "" : ",", jwk);
        free(jwk);
    }
    reader_init(&reader);
    publish(reader.stub, keys.ptr);
    assert_int_equal(reader_open(&reader), BQ_OK);
    must_say(reader.lines, "\"keys\":16,\"passed_over\":5"); /* the file's is one of the 16 */
    assert_int_equal(verify_kid(&reader, key_a, "k14"), BQ_OK);
    assert_int_equal(verify_kid(&reader, key_a, "k15"), BQ_AUTH);
    buf_release(&keys);
    reader_release(&reader);
}

static void an_address_is_https_or_this_machine(void **state)
{
    (void)state;
    static const char *const good[] = {
        "https://project.supabase.co/auth/v1/.well-known/jwks.json", "https://[2001:db8::1]/keys",
        "https://example.org:8443", "https://example.org/keys?p=policy", "http://127.0.0.1:9999/x",
        "http://127.9.9.9/x", "http://localhost/x", "http://localhost:1", "http://[::1]:80/x",
    };
    static const char *const bad[] = {
        "", "example.org", "ftp://example.org/", "file:///etc/passwd", "HTTPS://example.org/",
        "https://", "https:///keys", "https://?x", "https://user@example.org/", "https://a b/",
        "https://example.org/#x", "https://example.org/\"", "http://example.org/keys",
        "http://10.0.0.1/", "http://128.0.0.1/", "http://127.0.0.1.example.org/",
        "http://localhost.example.org/", "http://127.0.0.1@example.org/", "http://[::2]/",
        "http://[::1]example.org/", "http://[::1", "http://127.1/", "http://0.0.0.0/",
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_null(jwks_url_problem(good[i]));
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const char *problem = jwks_url_problem(bad[i]);
        if (problem == NULL || strstr(problem, "--jwks-url is https://") == NULL) {
            fail_msg("%s: %s", bad[i], problem == NULL ? "taken" : problem);
        }
    }
}

static void a_certificate_is_verified(void **state)
{
    (void)state;
    struct reader reader;
    struct tls_server tls;
    char other_name[128];
    reader_init(&reader);
    tls_server_start(&tls, "-tls1_2");
    reader.config.url = tls.url;
    assert_int_equal(reader_open(&reader), BQ_NETWORK);
    must_say(reader.error, "certificate");
    reader.config.ca_file = tls.certificate;
    /* Now its page is read, which is no set of keys. */
    assert_int_equal(reader_open(&reader), BQ_INVALID);
    must_say(reader.error, "line 1");
    snprintf(other_name, sizeof other_name, "https://localhost%s", strrchr(tls.url, ':'));
    reader.config.url = other_name;
    assert_int_equal(reader_open(&reader), BQ_NETWORK);
    must_say(reader.error, "localhost");
    tls_server_stop(&tls);
    tls_server_start(&tls, "-tls1_1");
    reader.config.url = tls.url;
    reader.config.ca_file = tls.certificate;
    assert_int_equal(reader_open(&reader), BQ_NETWORK);
    tls_server_stop(&tls);
    reader_release(&reader);
}

/* ---- Threads --------------------------------------------------------------------------------- */

struct verifier {
    struct reader *reader;
    const char *stays; /* tokens */
    const char *goes;
    _Atomic bool stop;
    unsigned n_wrong;
};

static void *verify_until_told(void *cls)
{
    struct verifier *verifier = cls;
    struct jwt_identity who;
    struct jwt_refusal why;
    while (!atomic_load(&verifier->stop)) {
        struct jwt *jwt = verifier->reader->config.jwt;
        verifier->n_wrong += jwt_verify(jwt, slice_of(verifier->stays), NOW, &who, &why) != BQ_OK;
        (void)jwt_verify(jwt, slice_of(verifier->goes), NOW, &who, &why);
    }
    return NULL;
}

static void a_change_of_keys_is_whole_for_all_threads(void **state)
{
    (void)state;
    struct reader reader;
    struct verifier verifiers[3];
    pthread_t threads[3];
    struct jwt_published published;
    char one[1024];
    char both[2048];
    snprintf(one, sizeof one, "{\"keys\":[%s]}", jwk_a);
    snprintf(both, sizeof both, "{\"keys\":[%s,%s]}", jwk_b, jwk_a);
    reader_init_a(&reader);
    char *stays = token_sign(key_a, "{\"alg\":\"ES256\",\"kid\":\"a\"}", CLAIMS);
    char *goes = token_sign(key_b, "{\"alg\":\"ES256\",\"kid\":\"b\"}", CLAIMS);
    for (size_t i = 0; i < 3; i++) {
        verifiers[i] = (struct verifier){&reader, stays, goes, false, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, verify_until_told, &verifiers[i]), 0);
    }
    for (int i = 0; i < 200; i++) {
        bool there = i % 2 == 0;
        assert_int_equal(jwt_set_published(reader.config.jwt, slice_of(there ? both : one),
                                           &published, reader.error, sizeof reader.error), BQ_OK);
        assert_int_equal(verify_text(&reader, goes), there ? BQ_OK : BQ_AUTH);
        assert_int_equal(verify_text(&reader, stays), BQ_OK);
    }
    for (size_t i = 0; i < 3; i++) {
        atomic_store(&verifiers[i].stop, true);
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(verifiers[i].n_wrong, 0);
    }
    free(stays);
    free(goes);
    reader_release(&reader);
}

/* ---- A whole server -------------------------------------------------------------------------- */

static _Atomic int64_t server_clock_us;

static int64_t server_clock(void *cls)
{
    (void)cls;
    return atomic_load(&server_clock_us);
}

static void serve_init_at(struct serve *serve, const char *url)
{
    serve_init(serve);
    atomic_store(&server_clock_us, SECOND_US);
    serve->hooks = (struct server_hooks){.jwks_clock_us = server_clock};
    serve->config.jwt_issuer = ISSUER;
    serve->config.jwt_audience = AUDIENCE;
    serve->config.jwks_url = url;
}

/* An hour's token of the present. */
static char *token_now(const struct token_key *key, const char *kid)
{
    char header[64];
    char claims[512];
    snprintf(header, sizeof header, "{\"alg\":\"ES256\",\"kid\":\"%s\"}", kid);
    snprintf(claims, sizeof claims, "{\"role\":\"authenticated\",\"sub\":\"" USER "\",\"exp\":%lld"
             PARTIES, (long long)(clock_wall_us() / SECOND_US + 3600));
    return token_sign(key, header, claims);
}

/* What a call with a token of this key is answered. */
static int call(struct serve *serve, const struct token_key *key, const char *kid)
{
    struct http_answer answer;
    char *token = token_now(key, kid);
    http_rpc(serve->port, "get_user_sync_data", token, "{\"p_user_id\":\"" USER "\"}", &answer);
    int status = answer.status;
    http_release(&answer);
    free(token);
    return status;
}

static void wait_for_requests(struct http_stub *stub, unsigned n)
{
    int64_t until_us = clock_us() + 60 * SECOND_US;
    while (http_stub_n_requests(stub) < n) {
        assert_true(clock_us() < until_us);
        (void)poll(NULL, 0, 1);
    }
}

/* Until its tokens are taken. */
static void wait_for_key(struct serve *serve, const struct token_key *key, const char *kid)
{
    int64_t until_us = clock_us() + 60 * SECOND_US;
    while (call(serve, key, kid) != 200) {
        assert_true(clock_us() < until_us);
        (void)poll(NULL, 0, 1);
    }
}

static void an_unknown_key_is_401_now_and_read_for_the_retry(void **state)
{
    (void)state;
    struct serve serve;
    struct http_stub *stub = http_stub_new();
    publish(stub, jwk_a);
    publish_two(stub, jwk_a, jwk_b);
    serve_init_at(&serve, http_stub_url(stub));
    assert_int_equal(serve_start(&serve), BQ_OK);
    assert_int_equal(call(&serve, key_a, "a"), 200);
    assert_int_equal(http_stub_n_requests(stub), 1);
    atomic_fetch_add(&server_clock_us, JWKS_URL_PAUSE_US);
    assert_int_equal(call(&serve, key_b, "b"), 401);
    wait_for_key(&serve, key_b, "b");
    assert_int_equal(http_stub_n_requests(stub), 2);
    assert_int_equal(call(&serve, key_a, "a"), 200);
    serve_release(&serve);
    http_stub_free(stub);
}

/* At the start it is zero, then always nearly ten minutes later. */
static int64_t hurried_clock(void *cls)
{
    int64_t started_us = 0;
    (void)cls;
    if (atomic_compare_exchange_strong(&server_clock_us, &started_us, clock_us())) {
        return 0;
    }
    return clock_us() - started_us + JWKS_URL_EVERY_US - SECOND_US / 10;
}

static void keys_are_read_again_when_nothing_happens(void **state)
{
    (void)state;
    struct serve serve;
    struct http_stub *stub = http_stub_new();
    publish(stub, jwk_a);
    publish(stub, jwk_b);
    serve_init_at(&serve, http_stub_url(stub));
    serve.hooks.jwks_clock_us = hurried_clock;
    atomic_store(&server_clock_us, 0);
    assert_int_equal(serve_start(&serve), BQ_OK);
    wait_for_requests(stub, 2);
    wait_for_key(&serve, key_b, "b");
    assert_int_equal(call(&serve, key_a, "a"), 401);
    assert_int_equal(http_stub_n_requests(stub), 2);
    serve_release(&serve);
    http_stub_free(stub);
}

static void a_socket_that_joined_keeps_its_claims(void **state)
{
    (void)state;
    struct serve serve;
    struct ws_client ws = {.fd = -1};
    struct http_stub *stub = http_stub_new();
    publish(stub, jwk_a);
    publish(stub, jwk_b);
    serve_init_at(&serve, http_stub_url(stub));
    serve.config.join_refusal_ms = 0;
    assert_int_equal(serve_start(&serve), BQ_OK);
    char *withdrawn = token_now(key_a, "a");
    char *ours = token_user(USER);
    assert_true(rt_app_open(&ws, serve.port, USER, withdrawn));
    atomic_fetch_add(&server_clock_us, JWKS_URL_PAUSE_US);
    assert_int_equal(call(&serve, key_b, "b"), 401);
    wait_for_key(&serve, key_b, "b");
    assert_int_equal(call(&serve, key_a, "a"), 401);
    /* It hears on, and joins nothing more by that token. */
    assert_true(rt_app_write(serve.port, USER, ours, "notes", "{\"a\":1}"));
    assert_int_equal(rt_app_heard(&ws, "postgres_changes"), 1);
    rt_app_join(&ws, "more", "", withdrawn);
    assert_true(ws_next(&ws));
    must_say(ws.text, "JwtSignatureError");
    ws_release(&ws);
    free(withdrawn);
    free(ours);
    serve_release(&serve);
    http_stub_free(stub);
}

static void nobody_waits_for_an_address_that_hangs(void **state)
{
    (void)state;
    struct serve serve;
    struct http_stub *stub = http_stub_new();
    publish(stub, jwk_a);
    http_stub_answer(stub, NULL, 0);
    serve_init_at(&serve, http_stub_url(stub));
    assert_int_equal(serve_start(&serve), BQ_OK);
    atomic_fetch_add(&server_clock_us, JWKS_URL_PAUSE_US);
    int64_t from_us = clock_us();
    assert_int_equal(call(&serve, key_b, "b"), 401);
    wait_for_requests(stub, 2);
    assert_int_equal(call(&serve, key_a, "a"), 200);
    assert_int_equal(call(&serve, key_b, "b"), 401);
    assert_true(serve_stop(&serve));
    /* All of that while one reading hung, which has ten seconds. */
    assert_int_equal(http_stub_n_requests(stub), 2);
    assert_true(clock_us() - from_us < JWKS_URL_TIMEOUT_MS * INT64_C(1000));
    serve_release(&serve);
    http_stub_free(stub);
}

static void does_not_start(struct serve *serve, int status, const char *words)
{
    assert_int_equal(serve_start(serve), status);
    must_say(serve->error, words);
}

static void wrong_options_are_refused_before_anything_is_read(void **state)
{
    (void)state;
    struct serve serve;
    struct http_stub *stub = http_stub_new();
    serve_init_at(&serve, http_stub_url(stub));
    serve.config.jwt_issuer = NULL;
    does_not_start(&serve, BQ_INVALID, "--jwks-url need --jwt-issuer and --jwt-audience");
    serve.config.jwt_issuer = ISSUER;
    serve.config.jwt_audience = NULL;
    does_not_start(&serve, BQ_INVALID, "--jwks-url need --jwt-issuer and --jwt-audience");
    serve.config.jwt_audience = AUDIENCE;
    serve.config.jwks_url = "http://example.org/keys";
    does_not_start(&serve, BQ_INVALID, "--jwks-url is https://");
    assert_int_equal(http_stub_n_connections(stub), 0);
    serve.config.jwks_url = http_stub_url(stub);
    http_stub_answer_json(stub, 503, MARK);
    does_not_start(&serve, BQ_NETWORK, "the keys of --jwks-url cannot be read: the answer has the "
                   "status 503. The server does not start without them");
    /* Alone it is enough: no secret, and no accounts of our own then. */
    publish(stub, jwk_a);
    serve.config.jwt_secret_file = NULL;
    assert_int_equal(serve_start(&serve), BQ_OK);
    assert_int_equal(call(&serve, key_a, "a"), 200);
    struct http_request health = {serve.port, "GET", "/auth/v1/health", NULL, NULL, NULL};
    struct http_answer answer;
    http_call(&health, &answer);
    assert_int_equal(answer.status, 404);
    http_release(&answer);
    serve_release(&serve);
    http_stub_free(stub);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_taken_at_the_start),
        cmocka_unit_test(a_published_key_is_somebody_elses),
        cmocka_unit_test(a_new_key_is_read_when_a_token_names_it),
        cmocka_unit_test(a_kid_that_comes_while_keys_are_read_has_them_read_again),
        cmocka_unit_test(a_withdrawn_key_is_refused_after_ten_minutes),
        cmocka_unit_test(a_flood_of_unknown_kids_reads_once_a_minute),
        cmocka_unit_test(other_tokens_read_nothing),
        cmocka_unit_test(an_address_in_a_token_is_not_looked_at),
        cmocka_unit_test(a_server_does_not_start_without_keys),
        cmocka_unit_test(keys_stay_while_reading_fails),
        cmocka_unit_test(foreign_keys_are_passed_over),
        cmocka_unit_test(a_set_has_a_bound),
        cmocka_unit_test(an_address_is_https_or_this_machine),
        cmocka_unit_test(a_certificate_is_verified),
        cmocka_unit_test(a_change_of_keys_is_whole_for_all_threads),
        cmocka_unit_test(an_unknown_key_is_401_now_and_read_for_the_retry),
        cmocka_unit_test(keys_are_read_again_when_nothing_happens),
        cmocka_unit_test(a_socket_that_joined_keeps_its_claims),
        cmocka_unit_test(nobody_waits_for_an_address_that_hangs),
        cmocka_unit_test(wrong_options_are_refused_before_anything_is_read),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
