/* client_fixture.c - see client_fixture.h. */
#include "client_fixture.h"

#include "token.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

int client_setup(void **state)
{
    struct client_fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    scratch_init(&f->scratch);
    scratch_path(&f->scratch, "app.bqsync", f->path, sizeof f->path);
    f->server = fake_server_new();
    f->config = (struct bq_config)BQ_CONFIG_INIT;
    f->config.path = f->path;
    f->config.url = "http://fake";
    f->config.flags = BQ_MANUAL;
    f->config.debounce_ms = 60000;
    f->config.error_text = f->error;
    f->token_a = token_user(USER_A);
    f->token_b = token_user(USER_B);
    *state = f;
    return 0;
}

int client_teardown(void **state)
{
    struct client_fixture *f = *state;
    bq_close(f->bq);
    if (f->live != NULL) {
        fake_live_free(f->live);
    }
    fake_server_free(f->server);
    scratch_release(&f->scratch);
    free(f->token_a);
    free(f->token_b);
    free(f);
    return 0;
}

int client_open_status(struct client_fixture *f)
{
    f->hooks.transport = fake_server_connect(f->server);
    if (f->live != NULL) {
        f->hooks.transport = fake_live_connect(f->live, f->hooks.transport);
    }
    return handle_open(&f->config, &f->hooks, &f->bq);
}

void client_open_handle(struct client_fixture *f)
{
    int status = client_open_status(f);
    if (status != BQ_OK) {
        fail_msg("open answers %s: %s", bq_status_code(status), f->error);
    }
}

void client_close_handle(struct client_fixture *f)
{
    bq_close(f->bq);
    f->bq = NULL;
}

/* Neither file is empty. */
static void copy_file(const char *from, const char *to)
{
    char bytes[4096];
    size_t n;
    FILE *source = fopen(from, "rb");
    FILE *target = fopen(to, "wb");
    assert_non_null(source);
    assert_non_null(target);
    while ((n = fread(bytes, 1, sizeof bytes, source)) > 0) {
        assert_int_equal(fwrite(bytes, 1, n, target), n);
    }
    (void)fclose(source);
    assert_true(ftell(target) > 0);
    assert_int_equal(fclose(target), 0);
}

void client_crash_handle(struct client_fixture *f)
{
    static const char *const ends[] = {"", "-wal"};
    for (int i = 0; i < 2; i++) {
        char from[300], to[300];
        (void)snprintf(from, sizeof from, "%s%s", f->path, ends[i]);
        (void)snprintf(to, sizeof to, "%s.crashed%s", f->path, ends[i]);
        copy_file(from, to);
    }
    client_close_handle(f);
    (void)snprintf(f->path + strlen(f->path), sizeof f->path - strlen(f->path), ".crashed");
}

void client_open_signed_in(struct client_fixture *f)
{
    client_open_handle(f);
    assert_int_equal(bq_sign_in(f->bq, f->token_a, BQ_GUEST_MERGE, NULL), BQ_OK);
}

struct bq *client_open_other(struct client_fixture *f, const char *name)
{
    struct bq *bq;
    char path[256];
    struct bq_config config = f->config;
    config.path = scratch_path(&f->scratch, name, path, sizeof path);
    struct handle_hooks hooks = {.transport = fake_server_connect(f->server)};
    assert_int_equal(handle_open(&config, &hooks, &bq), BQ_OK);
    assert_int_equal(bq_sign_in(bq, f->token_a, BQ_GUEST_MERGE, NULL), BQ_OK);
    return bq;
}

int client_put(struct bq *bq, const char *key, const char *json)
{
    return bq_put(bq, key, json, SIZE_MAX, 0);
}

void client_expect_document(struct bq *bq, const char *key, const char *json)
{
    struct bq_document document = {.size = sizeof document};
    int status = bq_get(bq, key, &document);
    if (json == NULL) {
        assert_int_equal(status, BQ_NOT_FOUND);
        return;
    }
    if (status != BQ_OK) {
        fail_msg("%s: %s, wanted %s", key, bq_status_code(status), json);
    }
    assert_string_equal(document.json, json);
    assert_int_equal(document.json_len, strlen(json));
    assert_string_equal(document.key, key);
    bq_document_release(&document);
}

void client_expect_error(struct bq *bq, const char *word)
{
    char text[BQ_ERROR_TEXT];
    bq_last_error(bq, text, sizeof text);
    if (strstr(text, word) == NULL) {
        fail_msg("the sentence \"%s\" lacks \"%s\"", text, word);
    }
}

bool client_next_of(struct bq *bq, enum bq_event_type type, struct bq_event *out)
{
    *out = (struct bq_event){.size = sizeof *out};
    while (bq_next_event(bq, 0, out) == BQ_OK) {
        if (out->type == type) {
            return true;
        }
    }
    return false;
}

void client_drop_events(struct bq *bq)
{
    struct bq_event event;
    assert_false(client_next_of(bq, (enum bq_event_type)0, &event));
}
