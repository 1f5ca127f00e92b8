/* doctor_server.c - what a server answers. Calls that only read, and one that is refused. */
#include "cli/doctor.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/limits.h"
#include "base/status.h"
#include "base/timestamp.h"
#include "cli/output.h"

#define ANSWER_DEPTH 1100u
#define SKEW_S 30
#define SHOWN 3u

struct visit {
    struct doctor *doctor;
    struct remote remote;
    struct slice token;
    struct arena arena;
    struct buf body;
    struct remote_reply reply;
    struct json_value value; /* of the last answer; absent where it is no JSON */
};

/* BQ_OK where there was an answer at all. */
static int ask(struct visit *visit, const char *method, const char *path, const char *body,
               struct slice token)
{
    const struct remote_request request = {method, path, path,
                                           body == NULL ? SLICE_NONE : slice_of(body)};
    visit->value = json_absent();
    int status = remote_try(&visit->remote, &request, token, &visit->body, &visit->reply);
    if (status == BQ_OK && visit->body.len > 0) {
        struct slice text = arena_copy(&visit->arena, buf_slice(&visit->body));
        if (text.ptr == NULL ||
            json_parse(&visit->arena, text, ANSWER_DEPTH, &visit->value, NULL) != BQ_OK) {
            visit->value = json_absent();
        }
    }
    return status;
}

static int call(struct visit *visit, const char *function, const char *body, struct slice token)
{
    char path[128];
    snprintf(path, sizeof path, "/rest/v1/rpc/%s", function);
    return ask(visit, "POST", path, body, token);
}

static bool good(const struct visit *visit)
{
    return visit->reply.http / 100 == 2;
}

/* The sentence of an error object, or "". */
static struct slice sentence(const struct visit *visit)
{
    const struct json_value *message =
        visit->value.type == JSON_OBJECT ? json_get(&visit->value, "message") : NULL;
    struct slice text = json_is(message, JSON_STRING) ? json_text(message) : SLICE("");
    text.len = text.len > 200 ? 200 : text.len;
    return text;
}

/* ---- Is it there ----------------------------------------------------------------------------- */

static bool look_alive(struct visit *visit)
{
    struct doctor *doctor = visit->doctor;
    if (ask(visit, "GET", "/readyz", NULL, SLICE("")) != BQ_OK) {
        doctor_say(doctor, DOCTOR_PROBLEM, "connectivity",
                   "check the URL, the network and that the server runs; edits wait meanwhile",
                   "%s cannot be reached: %s", visit->remote.url, visit->reply.why);
        return false;
    }
    if (visit->reply.http == 503) {
        doctor_say(doctor, DOCTOR_PROBLEM, "connectivity",
                   "see the server's log for store_not_reopened or commit_failed",
                   "the server is there, but takes no writes");
    } else {
        doctor_say(doctor, DOCTOR_OK, "connectivity", NULL, "%s answers%s", visit->remote.url,
                   visit->reply.http == 200 ? " and is ready" : "; it is no bqsync serve");
    }
    return true;
}

static void look_clock(struct visit *visit)
{
    const struct json_value *time = json_get(&visit->value, "server_time");
    struct timespec now;
    int64_t theirs_us;
    if (!json_is(time, JSON_STRING) || !timestamp_parse(json_text(time), &theirs_us)) {
        return;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t skew_s = (int64_t)now.tv_sec - theirs_us / 1000000;
    bool off = skew_s > SKEW_S || skew_s < -SKEW_S;
    doctor_say(visit->doctor, off ? DOCTOR_WARNING : DOCTOR_OK, "clock",
               off ? "set this machine's clock: tokens seem ended or not yet valid; no clock of a "
                     "client decides about data" : NULL,
               "%lld s %s the server's", (long long)(skew_s < 0 ? -skew_s : skew_s),
               skew_s < 0 ? "behind" : "before");
}

static bool look_exchange(struct visit *visit)
{
    static const char body[] = "{\"p_device_id\":\"bqsync-doctor\",\"p_epoch\":null,"
                               "\"p_edits\":[],\"p_cursor\":0,\"p_limit\":1}";
    struct doctor *doctor = visit->doctor;
    if (call(visit, "sync_exchange", body, visit->token) != BQ_OK) {
        return look_alive(visit) && false;
    }
    long http = visit->reply.http;
    if (good(visit)) {
        doctor_say(doctor, DOCTOR_OK, "exchange", NULL, "sync_exchange answers");
        look_clock(visit);
        return true;
    }
    const char *next =
        http == 401   ? "a fresh token of this server: same secret or key, not ended"
        : http == 403 ? "a token with role authenticated and a uuid in sub; an erased user is "
                        "created again by signing up"
        : http == 404 ? "load sql/postgres into the project, or check the URL"
        : http == 429 || http == 503 ? "wait; it asks to slow down"
                                     : "see the server's log";
    struct slice why = sentence(visit);
    doctor_say(doctor, DOCTOR_PROBLEM, http == 404 ? "functions" : "authenticated", next,
               "sync_exchange is answered with %ld: %.*s", http, SLICE_FMT(why));
    return false;
}

/* ---- Functions, policies, who may what ------------------------------------------------------- */

static void look_functions(struct visit *visit)
{
    /* The upsert names no document, so that it is refused: that it is there is what counts. */
    static const struct {
        const char *name;
        const char *body;
    } calls[] = {{"sync_policies", "{}"},
                 {"get_user_sync_data", "{\"p_user_id\":null}"},
                 {"get_user_sync_status", "{\"p_user_id\":null}"},
                 {"atomic_sync_upsert", "{\"p_user_id\":null,\"p_data_key\":\"\",\"p_data\":null,"
                                        "\"p_expected_version\":0,\"p_device_id\":\"doctor\"}"}};
    unsigned n = 0;
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        if (call(visit, calls[i].name, calls[i].body, visit->token) != BQ_OK) {
            return;
        }
        if (visit->reply.http == 404) {
            doctor_say(visit->doctor, DOCTOR_PROBLEM, "functions",
                       "load sql/postgres into the project", "%s is missing", calls[i].name);
        } else {
            n++;
        }
        if (i == 0 && good(visit)) {
            const struct json_value *policies = json_get(&visit->value, "policies");
            const struct json_value *version = json_get(&visit->value, "version");
            int64_t number = 0;
            (void)(version != NULL && json_to_int(version, &number));
            doctor_say(visit->doctor, DOCTOR_OK, "policies", NULL, "%u patterns, version %lld",
                       json_is(policies, JSON_OBJECT) ? policies->count : 0, (long long)number);
        }
    }
    if (n == sizeof calls / sizeof calls[0]) {
        doctor_say(visit->doctor, DOCTOR_OK, "functions", NULL, "the calls of V2 are there too");
    }
}

/* Without a token nothing may be answered (row 7 of the older system's faults). */
static void look_closed(struct visit *visit)
{
    if (call(visit, "get_user_sync_data",
             "{\"p_user_id\":\"00000000-0000-0000-0000-000000000000\"}", SLICE("")) != BQ_OK) {
        return;
    }
    bool open = good(visit);
    doctor_say(visit->doctor, open ? DOCTOR_PROBLEM : DOCTOR_OK, "isolation",
               open ? "run sql/postgres (its last files close the old functions), or the REVOKEs "
                      "of `bqsync cleanup`" : NULL,
               open ? "anybody may call get_user_sync_data for anybody"
                    : "without a token nothing is shown (%ld)", visit->reply.http);
}

/* ---- Rows ------------------------------------------------------------------------------------ */

static void look_rows(struct visit *visit)
{
    unsigned odd = 0, doubles = 0;
    if (ask(visit, "GET", "/rest/v1/user_sync_data_v2?select=data_key,version", NULL,
            visit->token) != BQ_OK || !good(visit) || visit->value.type != JSON_ARRAY) {
        return;
    }
    for (uint32_t i = 0; i < visit->value.count; i++) {
        const struct json_value *row = &visit->value.items[i];
        const struct json_value *version = json_get(row, "version");
        const struct json_value *key = json_get(row, "data_key");
        int64_t number;
        odd += version == NULL || !json_to_int(version, &number) || number < 1 ||
               number > LIMIT_VERSION;
        for (uint32_t k = 0; k < i && json_is(key, JSON_STRING); k++) {
            const struct json_value *other = json_get(&visit->value.items[k], "data_key");
            doubles += json_is(other, JSON_STRING) &&
                       slice_equal(json_text(other), json_text(key));
        }
    }
    bool bad = odd + doubles > 0;
    doctor_say(visit->doctor, bad ? DOCTOR_PROBLEM : DOCTOR_OK, "documents",
               bad ? "bqsync doctor --store, and restore a backup where it finds damage" : NULL,
               "%u of this user, %u with odd versions, %u doubled", visit->value.count, odd,
               doubles);
}

static void look_failed(struct visit *visit)
{
    if (ask(visit, "GET",
            "/rest/v1/user_sync_queue?status=eq.failed&select=data_key,device_id,error_message",
            NULL, visit->token) != BQ_OK || !good(visit) || visit->value.type != JSON_ARRAY) {
        return;
    }
    if (visit->value.count == 0) {
        doctor_say(visit->doctor, DOCTOR_OK, "failed", NULL, "no device reports a refused edit");
    }
    for (uint32_t i = 0; i < visit->value.count && i < SHOWN; i++) {
        const struct json_value *row = &visit->value.items[i];
        const struct json_value *key = json_get(row, "data_key");
        const struct json_value *why = json_get(row, "error_message");
        doctor_say(visit->doctor, DOCTOR_WARNING, "failed",
                   "on that device: bqsync queue list, then retry or discard",
                   "%.*s: %.*s (%u in all)",
                   SLICE_FMT(json_is(key, JSON_STRING) ? json_text(key) : SLICE("?")),
                   SLICE_FMT(json_is(why, JSON_STRING) ? json_text(why) : SLICE("?")),
                   visit->value.count);
    }
}

void doctor_server(struct doctor *doctor, const char *url, struct slice token, const char *api_key)
{
    struct visit visit = {.doctor = doctor, .token = token};
    if (remote_open(&visit.remote, url, doctor->json) != CLI_OK) {
        return;
    }
    visit.remote.api_key = api_key;
    arena_init(&visit.arena);
    if (look_alive(&visit)) {
        look_closed(&visit);
        if (token.len == 0) {
            doctor_say(doctor, DOCTOR_WARNING, "authenticated", "give a token: --token TOKEN",
                       "without a token no more can be seen");
        } else if (look_exchange(&visit)) {
            look_functions(&visit);
            look_rows(&visit);
            look_failed(&visit);
        }
    }
    arena_release(&visit.arena);
    buf_release(&visit.body);
    remote_close(&visit.remote);
}
