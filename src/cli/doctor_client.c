/* doctor_client.c - what can be seen in a device's folder. */
#include "cli/doctor.h"

#include <string.h>
#include <time.h>

#include "base/base64url.h"
#include "base/status.h"
#include "cli/client.h"
#include "cli/output.h"

#define TOKEN_DEPTH 16u
#define LETTERS_SHOWN 3u
#define OLD_MS (INT64_C(24) * 3600 * 1000)

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- The token ------------------------------------------------------------------------------- */

/* The claims; false for what is no JWT. */
static bool read_claims(struct arena *arena, struct slice token, struct json_value *out)
{
    struct slice text;
    const char *first = memchr(token.ptr, '.', token.len);
    const char *last = memrchr(token.ptr, '.', token.len);
    if (first == NULL || first == last) {
        return false;
    }
    struct slice middle = {first + 1, (size_t)(last - first) - 1};
    return base64url_read(arena, middle, &text) &&
           json_parse(arena, text, TOKEN_DEPTH, out, NULL) == BQ_OK && out->type == JSON_OBJECT;
}

static void say_expiry(struct doctor *doctor, const struct json_value *claims)
{
    const struct json_value *exp = json_get(claims, "exp");
    int64_t at_s;
    if (exp == NULL || !json_to_int(exp, &at_s)) {
        doctor_say(doctor, DOCTOR_PROBLEM, "token", "make tokens that end: `exp` is demanded",
                   "the token does not say when it ends");
        return;
    }
    int64_t left_s = at_s - now_ms() / 1000;
    if (left_s <= 0) {
        doctor_say(doctor, DOCTOR_PROBLEM, "token",
                   "sign in again: bqsync init --token, or bq_set_token() in the app",
                   "the token ended %lld s ago", (long long)-left_s);
    } else {
        doctor_say(doctor, DOCTOR_OK, "token", NULL, "valid for %lld s", (long long)left_s);
    }
}

void doctor_token(struct doctor *doctor, struct slice token, const char *user)
{
    struct arena arena;
    struct json_value claims;
    arena_init(&arena);
    if (!read_claims(&arena, token, &claims)) {
        doctor_say(doctor, DOCTOR_PROBLEM, "token", "take the whole token, three parts with points",
                   "the token is no JWT");
    } else {
        const struct json_value *sub = json_get(&claims, "sub");
        const struct json_value *role = json_get(&claims, "role");
        struct slice who = json_is(sub, JSON_STRING) ? json_text(sub) : SLICE("nobody");
        struct slice as = json_is(role, JSON_STRING) ? json_text(role) : SLICE("no role");
        bool other = user[0] != '\0' && !slice_is(who, user);
        doctor_say(doctor, other ? DOCTOR_PROBLEM : DOCTOR_OK, "authenticated",
                   other ? "sign out first (bqsync sign-out --park), then sign that user in" : NULL,
                   "as %.*s (%.*s)%s", SLICE_FMT(who), SLICE_FMT(as),
                   other ? ", which is not the user of this file" : "");
        say_expiry(doctor, &claims);
    }
    arena_release(&arena);
}

/* ---- The file -------------------------------------------------------------------------------- */

static void say_user(struct doctor *doctor, struct client *client, const char *user)
{
    if (user[0] == '\0') {
        doctor_say(doctor, DOCTOR_WARNING, "authenticated",
                   "sign in: bqsync init --token, or bq_sign_in() in the app",
                   "nobody is signed in: documents belong to the guest and are not sent");
    } else if (client->token.len == 0) {
        doctor_say(doctor, DOCTOR_PROBLEM, "authenticated",
                   "give a token: bqsync init --token, or bq_set_token() in the app",
                   "%s is signed in, but there is no token", user);
    } else {
        doctor_token(doctor, buf_slice(&client->token), user);
    }
}

static void say_queue(struct doctor *doctor, const struct bq_stats *stats)
{
    bool waits = stats->pending > 0;
    doctor_say(doctor, waits ? DOCTOR_WARNING : DOCTOR_OK, "queue",
               waits ? "bqsync sync; what stands below says what keeps it" : NULL,
               "%u documents, %u with edits that wait, %u edits on their way", stats->documents,
               stats->pending, stats->frozen);
    int64_t ago_ms = now_ms() - stats->last_exchange_ms;
    if (stats->last_exchange_ms == 0) {
        doctor_say(doctor, DOCTOR_WARNING, "exchange", "bqsync sync", "never synced");
    } else if (ago_ms < -60000) {
        doctor_say(doctor, DOCTOR_WARNING, "exchange",
                   "none for the data: no client clock decides; set the clock for the tokens' sake",
                   "the last exchange lies %lld s in the future: the clock was set back",
                   (long long)(-ago_ms / 1000));
    } else {
        doctor_say(doctor, ago_ms > OLD_MS ? DOCTOR_WARNING : DOCTOR_OK, "exchange",
                   ago_ms > OLD_MS ? "bqsync sync" : NULL, "the last one was complete %lld s ago",
                   (long long)(ago_ms / 1000));
    }
}

static void say_dead(struct doctor *doctor, struct client *client)
{
    struct bq_dead_letters letters = {.size = sizeof letters};
    if (bq_dead_letters(client->bq, &letters) != BQ_OK) {
        return;
    }
    if (letters.n == 0) {
        doctor_say(doctor, DOCTOR_OK, "refused", NULL, "no dead letters");
    }
    for (size_t i = 0; i < letters.n && i < LETTERS_SHOWN; i++) {
        const struct bq_dead_letter *letter = &letters.items[i];
        doctor_say(doctor, DOCTOR_WARNING, "refused",
                   "bqsync queue retry ID once the cause is gone, or bqsync queue discard ID",
                   "%s #%lld: %s: %s", letter->key, (long long)letter->id,
                   bq_status_code(letter->status), letter->message);
    }
    if (letters.n > LETTERS_SHOWN) {
        doctor_say(doctor, DOCTOR_WARNING, "refused", "bqsync queue list", "and %zu more",
                   letters.n - LETTERS_SHOWN);
    }
    bq_dead_letters_release(&letters);
}

static void say_file(struct doctor *doctor, struct client *client)
{
    struct bq_stats stats = {.size = sizeof stats};
    char user[37];
    char device[40];
    bq_user(client->bq, user);
    bq_device_id(client->bq, device);
    doctor_say(doctor, DOCTOR_OK, "initialised", NULL, "%s, device %s", client_dir(client),
               device);
    say_user(doctor, client, user);
    if (bq_stats(client->bq, &stats) == BQ_OK) {
        say_queue(doctor, &stats);
    }
    say_dead(doctor, client);
}

void doctor_client(struct doctor *doctor, const char *dir)
{
    struct client client = CLIENT_INIT;
    client.dir = dir;
    client.json = doctor->json;
    if (client_open(&client, CLIENT_LOCAL) != CLI_OK) {
        doctor_say(doctor, DOCTOR_PROBLEM, "initialised",
                   "bqsync init --url URL --token TOKEN, or what the sentence on standard error "
                   "says",
                   "%s cannot be opened", client_dir(&client));
    } else {
        say_file(doctor, &client);
        /* The file is free again before the server is asked. */
        bq_close(client.bq);
        client.bq = NULL;
        if (client.url.len == 0) {
            doctor_say(doctor, DOCTOR_WARNING, "connectivity", "bqsync init --url URL",
                       "no server is named: nothing is ever sent");
        } else {
            struct slice token = client.token.len == 0 ? SLICE("") : buf_slice(&client.token);
            doctor_server(doctor, client.url.ptr, token,
                          client.api_key.len == 0 ? NULL : client.api_key.ptr);
        }
    }
    client_close(&client);
}
