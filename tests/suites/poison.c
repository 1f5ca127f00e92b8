/* poison.c - the suite poison: one edit that can never succeed before 1,000 good ones, with refused
 * tokens and a server that is away in the middle. libbqsync as an app sees it, on a real server.
 *
 * The poison is an edit that takes its document over the server's limit, which the app's library
 * does not know. It must become one dead letter that the app hears of once, and hold up nothing:
 * neither the other keys nor its own. What the edits cannot help, a token that was refused and a
 * server that was not reached, must not count as a failure of theirs: no key is in backoff, the app
 * hears of no retries, and with a good token, or the server back, all goes at once
 * (docs/architecture.md 5).
 *
 * The last line is that of the suite; a broken promise prints a line with WRONG and ends with 1. */
#include "bqsync.h"

#include "json/json.h"
#include "planted.h"
#include "server_process.h"
#include "token.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define USER "aaaaaaaa-0000-4000-8000-000000000001"
#define KEYS 10
#define ROUNDS 100
#define GOOD (KEYS * ROUNDS)
#define TOKEN_ROUND 33 /* its first tokens are refused */
#define AWAY_ROUND 66  /* the server is away */
#define TRIES 6        /* more than the failures after which an app is told */
#define TRY_MS 200
#define PATIENCE_MS 30000
#define POISON_BYTES 8000

struct app {
    struct server_process server;
    struct bq *bq;
    char *good;
    char *expired;
    int64_t written[KEYS];
    unsigned n_told;     /* of dead letters */
    unsigned n_retrying; /* events */
    unsigned n_refused;  /* events: a token is needed */
    unsigned n_offline;  /* tries that did not reach the server */
    unsigned n_wrong;
    bool refreshed;
};

static void wrong(struct app *app, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void wrong(struct app *app, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("poison: WRONG: ");
    (void)vprintf(format, args);
    putchar('\n');
    va_end(args);
    app->n_wrong++;
}

/* What no planted bug may change: without it there is no test. */
static void must(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "poison: %s\n", what);
        exit(2);
    }
}

/* ---- The app --------------------------------------------------------------------------------- */

static struct bq *open_file(struct app *app, const char *name)
{
    char path[256], error[BQ_ERROR_TEXT] = "";
    struct bq *bq;
    struct bq_config config = BQ_CONFIG_INIT;
    config.path = scratch_path(&app->server.scratch, name, path, sizeof path);
    config.url = app->server.url;
    config.flags = BQ_MANUAL;
    config.error_text = error;
    must(bq_open(&config, &bq) == BQ_OK, error);
    return bq;
}

static void hear(struct app *app)
{
    struct bq_event event = {.size = sizeof event};
    while (bq_next_event(app->bq, 0, &event) == BQ_OK) {
        app->n_told += event.type == BQ_EVENT_DEAD_LETTER ? 1 : 0;
        app->n_retrying += event.type == BQ_EVENT_RETRYING ? 1 : 0;
        app->n_refused += event.type == BQ_EVENT_TOKEN_NEEDED ? 1 : 0;
    }
}

static const char *key_of(unsigned k, char *out, size_t size)
{
    (void)snprintf(out, size, k == 0 ? "game_stats" : "good_%u", k);
    return out;
}

static void write_good(struct app *app, unsigned k)
{
    char key[32];
    int status = bq_increment(app->bq, key_of(k, key, sizeof key), "incorrectAnswers", "1", 0);
    must(status == BQ_OK, "an increment is refused by the library");
    app->written[k]++;
}

static void write_poison(struct app *app)
{
    static char text[POISON_BYTES + 32];
    size_t n = (size_t)snprintf(text, sizeof text, "{\"blob\":\"");
    memset(text + n, 'x', POISON_BYTES);
    memcpy(text + n + POISON_BYTES, "\"}", 3);
    must(bq_patch(app->bq, "game_stats", text, SIZE_MAX, 0) == BQ_OK,
         "the library refuses the poison");
}

static void flush(struct app *app, const char *when)
{
    int status = bq_flush(app->bq, PATIENCE_MS);
    if (status != BQ_OK) {
        wrong(app, "%s: the queue does not drain: %s", when, bq_status_code(status));
    }
    hear(app);
}

/* Nothing that waits may be in backoff. */
static void nothing_burns(struct app *app, const char *what)
{
    struct bq_stats stats = {.size = sizeof stats};
    must(bq_stats(app->bq, &stats) == BQ_OK, "bq_stats fails");
    hear(app);
    if (stats.pending != KEYS) {
        wrong(app, "%s: %u of %u keys wait", what, stats.pending, KEYS);
    }
    if (stats.retrying > 0 || stats.by_state[BQ_FAILED_RETRYABLE] > 0 || app->n_retrying > 0) {
        wrong(app, "%s: %u keys are in backoff, the app was told of %u", what, stats.retrying,
              app->n_retrying);
    }
}

/* ---- What goes wrong ------------------------------------------------------------------------- */

static void refused_tokens(struct app *app)
{
    for (unsigned i = 0; i < TRIES; i++) {
        unsigned before = app->n_refused;
        must(bq_set_token(app->bq, app->expired) == BQ_OK, "bq_set_token fails");
        must(bq_flush(app->bq, PATIENCE_MS) == BQ_AUTH, "an expired token is not refused");
        nothing_burns(app, "401");
        must(app->n_refused == before + 1, "the app is not asked for a token");
    }
    must(bq_set_token(app->bq, app->good) == BQ_OK, "bq_set_token fails");
    int status = bq_flush(app->bq, PATIENCE_MS);
    app->refreshed = status == BQ_OK;
    if (!app->refreshed) {
        wrong(app, "a fresh token does not help: %s", bq_status_code(status));
    }
    hear(app);
}

static void server_away(struct app *app)
{
    server_process_stop(&app->server);
    for (unsigned i = 0; i < TRIES; i++) {
        struct bq_stats stats = {.size = sizeof stats};
        must(bq_flush(app->bq, TRY_MS) == BQ_TIMEOUT, "a server that is away answers");
        must(bq_stats(app->bq, &stats) == BQ_OK, "bq_stats fails");
        app->n_offline += stats.last_status == BQ_NETWORK ? 1 : 0;
        nothing_burns(app, "offline");
    }
    must(app->n_offline == TRIES, "not every try found the server away");
    server_process_start(&app->server);
    flush(app, "the server is back");
}

/* ---- The story ------------------------------------------------------------------------------- */

static void tell_progress(unsigned done)
{
    const char *path = getenv("BQ_PROGRESS");
    FILE *file = path == NULL || path[0] == '\0' ? NULL : fopen(path, "w");
    if (file != NULL) {
        fprintf(file, "%u %d\n", done, ROUNDS);
        fclose(file);
    }
}

static void one_round(struct app *app, unsigned round)
{
    /* The poison goes first, and in one request with good ones of other keys. */
    if (round == 0) {
        write_poison(app);
    }
    for (unsigned k = round == 0 ? 1 : 0; k < KEYS; k++) {
        write_good(app, k);
    }
    if (round == TOKEN_ROUND) {
        refused_tokens(app);
    } else if (round == AWAY_ROUND) {
        server_away(app);
    }
    flush(app, "a round");
    if (round == 0) {
        write_good(app, 0);
        flush(app, "after the poison");
    }
}

/* What a new device of the user finds. */
static int64_t count_delivered(struct app *app)
{
    struct bq *bq = open_file(app, "other.bqsync");
    int64_t sum = 0;
    must(bq_sign_in(bq, app->good, BQ_GUEST_MERGE, NULL) == BQ_OK, "bq_sign_in fails");
    must(bq_pull(bq, PATIENCE_MS) == BQ_OK, "bq_pull fails");
    for (unsigned k = 0; k < KEYS; k++) {
        char key[32];
        struct arena arena;
        struct json_value value;
        int64_t n = 0;
        struct bq_document document = {.size = sizeof document};
        arena_init(&arena);
        if (bq_get(bq, key_of(k, key, sizeof key), &document) == BQ_OK &&
            json_parse(&arena, slice_of(document.json), 64, &value, NULL) == BQ_OK) {
            const struct json_value *count = json_get(&value, "incorrectAnswers");
            (void)(count != NULL && json_to_int(count, &n));
            bq_document_release(&document);
        }
        arena_release(&arena);
        if (n != app->written[k]) {
            wrong(app, "%s: %" PRId64 " of %" PRId64, key, n, app->written[k]);
        }
        sum += n;
    }
    bq_close(bq);
    return sum;
}

/* Dead letters are durable: they are counted in the file opened anew. */
static size_t count_dead(struct app *app)
{
    struct bq_dead_letters letters = {.size = sizeof letters};
    bq_close(app->bq);
    app->bq = open_file(app, "app.bqsync");
    must(bq_dead_letters(app->bq, &letters) == BQ_OK, "bq_dead_letters fails");
    size_t n = letters.n;
    for (size_t i = 0; i < n; i++) {
        if (letters.items[i].status != BQ_TOO_LARGE ||
            strcmp(letters.items[i].key, "game_stats") != 0) {
            wrong(app, "%s became a dead letter: %s", letters.items[i].key,
                  letters.items[i].message);
        }
    }
    bq_dead_letters_release(&letters);
    return n;
}

static void begin(struct app *app)
{
    /* Beyond what this library believes; the server inherits it. */
    must(setenv("BQSYNC_DOCUMENT_BYTES", "4K", 1) == 0, "setenv fails");
    server_process_init(&app->server);
    app->good = token_user(USER);
    app->expired = token_make("authenticated", USER, (int64_t)time(NULL) - 3600);
    app->bq = open_file(app, "app.bqsync");
    must(bq_sign_in(app->bq, app->good, BQ_GUEST_MERGE, NULL) == BQ_OK, "bq_sign_in fails");
    must(bq_pull(app->bq, PATIENCE_MS) == BQ_OK, "bq_pull fails");
}

int main(void)
{
    struct app app = {0};
    struct bq_stats stats = {.size = sizeof stats};
    planted_begin();
    begin(&app);
    for (unsigned round = 0; round < ROUNDS && app.n_wrong == 0; round++) {
        one_round(&app, round);
        tell_progress(round + 1);
    }
    must(bq_stats(app.bq, &stats) == BQ_OK, "bq_stats fails");
    int64_t delivered = count_delivered(&app);
    size_t n_dead = count_dead(&app);
    if (stats.sent != GOOD || delivered != GOOD || n_dead != 1 || app.n_told != 1) {
        wrong(&app, "%" PRIu64 " edits were acknowledged", stats.sent);
    }
    bq_close(app.bq);
    free(app.good);
    free(app.expired);
    server_process_release(&app.server);
    printf("poison: delivered %" PRId64 "/%d, dead letters %zu, app told %u; 401: %s, lost %" PRId64
           "\n",
           delivered, GOOD, n_dead, app.n_told, app.refreshed ? "refreshed" : "not refreshed",
           GOOD - delivered);
    return app.n_wrong == 0 ? 0 : 1;
}
