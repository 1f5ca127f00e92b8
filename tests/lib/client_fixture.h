/* client_fixture.h - a handle of libbqsync in a folder of its own, before the server core in
 * memory, stepped by hand unless the test says otherwise. */
#ifndef TESTS_CLIENT_FIXTURE_H
#define TESTS_CLIENT_FIXTURE_H

#include "client/handle.h"

#include "fake_live.h"
#include "fake_server.h"
#include "scratch.h"

#define USER_A "aaaaaaaa-0000-4000-8000-000000000001"
#define USER_B "bbbbbbbb-0000-4000-8000-000000000002"

/* Flushes and pulls of a test that passes are done at once; a failing one waits this long. */
#define PATIENCE_MS 5000

struct client_fixture {
    struct scratch scratch;
    char path[256];
    struct fake_server *server;
    struct fake_live *live; /* NULL, or the test's: then handles have realtime; freed here */
    struct bq_config config;
    struct handle_hooks hooks; /* the transport is made anew at each opening */
    char error[BQ_ERROR_TEXT];
    struct bq *bq;
    char *token_a;
    char *token_b;
};

/* For cmocka: *state is the fixture. */
int client_setup(void **state);
int client_teardown(void **state);

int client_open_status(struct client_fixture *f);
void client_open_handle(struct client_fixture *f);
void client_close_handle(struct client_fixture *f);

/* Closes the handle; the path is then a copy of the file as a crash would have left it: its WAL was
 * never checkpointed. */
void client_crash_handle(struct client_fixture *f);

/* As USER_A. */
void client_open_signed_in(struct client_fixture *f);

/* A second handle with a file of that name, signed in as USER_A; the caller closes it. */
struct bq *client_open_other(struct client_fixture *f, const char *name);

int client_put(struct bq *bq, const char *key, const char *json);

/* json NULL: absent. */
void client_expect_document(struct bq *bq, const char *key, const char *json);

/* The last error's sentence has this word. */
void client_expect_error(struct bq *bq, const char *word);

/* The next event of a type; the others before it are dropped. False where there is none. */
bool client_next_of(struct bq *bq, enum bq_event_type type, struct bq_event *out);

void client_drop_events(struct bq *bq);

#endif
