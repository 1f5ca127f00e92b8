/* test_tables_read.c - GET and HEAD of tables as PostgREST answers them: select, filters, order,
 * ranges, counts, one object, errors; and whose rows a token sees (docs/protocol.md, "Tables"). */
#include "http_client.h"
#include "serve.h"
#include "token.h"
#include "want.h"

#include "base/mem.h"
#include "base/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

#define A "5f3a7a52-8c39-4f5e-9d4e-0c2f6f9b1a11"
#define B "6f3a7a52-8c39-4f5e-9d4e-0c2f6f9b1a22"
#define DOCS "/rest/v1/user_sync_data_v2"
#define V1 "/rest/v1/user_sync_data"
#define META "/rest/v1/user_sync_metadata"
#define FEED "/rest/v1/user_sync_feed"
#define QUEUE "/rest/v1/user_sync_queue"

static struct serve serve;
static char *user_a;
static char *user_b;
static char *service;
static char *anon;

static void rpc(const char *function, const char *token, const char *body)
{
    struct http_answer answer;
    http_rpc(serve.port, function, token, body, &answer);
    if (answer.status / 100 != 2) {
        fail_msg("%s: %d %s", function, answer.status, answer.body);
    }
    http_release(&answer);
}

static void put(const char *user, const char *token, const char *key, const char *data)
{
    char body[1000];
    snprintf(body, sizeof body,
             "{\"p_user_id\":\"%s\",\"p_data_key\":\"%s\",\"p_data\":%s,\"p_expected_version\":0,"
             "\"p_device_id\":\"phone, \\\"one\\\"\"}",
             user, key, data);
    rpc("atomic_sync_upsert", token, body);
}

/* Three documents of A, one of B; a device and a dead letter of A. */
static int set_up(void **state)
{
    (void)state;
    int64_t now = (int64_t)time(NULL);
    user_a = token_user(A);
    user_b = token_user(B);
    service = token_make("service_role", NULL, now + 3600);
    anon = token_make("anon", NULL, now + 3600);
    serve_init(&serve);
    if (serve_start(&serve) != BQ_OK) {
        return 1;
    }
    put(A, user_a, "game_stats", "{\"score\":30,\"name\":\"Zoë\",\"tags\":[\"x\",{\"y\":7}]}");
    put(A, user_a, "notes", "{\"score\":4,\"name\":null}");
    put(A, user_a, "settings", "{\"theme\":\"dark\"}");
    put(A, user_a, "gone", "{}");
    put(B, user_b, "settings", "{\"canary\":\"of B\"}");
    rpc("update_sync_metadata", user_a,
        "{\"p_user_id\":\"" A "\",\"p_device_id\":\"phone\",\"p_version\":3,"
        "\"p_device_info\":{\"os\":\"ios\"}}");
    rpc("sync_report", user_a,
        "{\"p_device_id\":\"bq-00000000000000000000000000000001\",\"p_device_info\":{},"
        "\"p_failed\":[{\"key\":\"notes\",\"op\":3,\"id\":\"00000000000000000000000000000001\","
        "\"code\":\"too_large\",\"message\":\"no\",\"edit\":{\"base\":2,\"now\":{\"a\":1}}}]}");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    serve_release(&serve);
    free(user_a);
    free(user_b);
    free(service);
    free(anon);
    return 0;
}

static void get(const char *token, const char *path, const char *fields, struct http_answer *out)
{
    http_call(&(struct http_request){serve.port, "GET", path, token, fields, NULL}, out);
}

/* Status 200 or 206, and this body. */
static void gives(const char *path, const char *body)
{
    struct http_answer answer;
    get(user_a, path, NULL, &answer);
    if (answer.status / 100 != 2 || strcmp(answer.body, body) != 0) {
        fail_msg("%s: %d %s, not %s", path, answer.status, answer.body, body);
    }
    assert_string_equal(http_field(&answer, "Content-Type"), "application/json; charset=utf-8");
    http_release(&answer);
}

static void refuses(const char *path, struct want want)
{
    want_refused(serve.port, &(struct http_request){0, "GET", path, user_a, NULL, NULL}, want);
}

#define KEYS(filter) DOCS "?select=data_key&" filter

/* ---- Columns and rows ------------------------------------------------------------------------ */

static void all_columns_stand_in_the_order_of_the_definition(void **state)
{
    (void)state;
    struct http_answer answer;
    static const char *const names[] = {"{\"user_id\":\"" A "\",\"data_key\":\"settings\"",
                                        "\"data\":{\"theme\":\"dark\"},\"version\":1",
                                        "\"device_id\":\"phone, \\\"one\\\"\",\"modified_at\":\"20",
                                        "+00:00\",\"created_at\":\"20"};
    get(user_a, DOCS "?select=*&user_id=eq." A "&data_key=eq.settings", NULL, &answer);
    assert_int_equal(answer.status, 200);
    const char *at = answer.body + 1;
    for (size_t i = 0; i < 4; i++) {
        const char *found = strstr(at, names[i]);
        if (found == NULL) {
            fail_msg("%s lacks %s", answer.body, names[i]);
        }
        at = found;
    }
    http_release(&answer);
    get(user_a, META, NULL, &answer);
    assert_non_null(strstr(answer.body, "{\"user_id\":\"" A "\",\"device_id\":\""));
    assert_non_null(
        strstr(answer.body, "\"last_sync_version\":3,\"device_info\":{\"os\":\"ios\"}"));
    http_release(&answer);
    get(user_a, QUEUE, NULL, &answer);
    assert_non_null(strstr(answer.body, "\"user_id\":\"" A "\",\"device_id\":\"bq-"));
    assert_non_null(strstr(answer.body, "\"data\":{\"base\":2,\"now\":{\"a\":1}},\"version\":2,"
                                        "\"status\":\"failed\""));
    assert_non_null(strstr(answer.body, "\"error_message\":\"too_large: no\""));
    http_release(&answer);
    gives(FEED, "[{\"user_id\":\"" A "\",\"seq\":4}]");
}

static void select_names_columns_aliases_paths_and_casts(void **state)
{
    (void)state;
#define ONE DOCS "?data_key=eq.game_stats&select="
    gives(ONE "version,data_key", "[{\"version\":1,\"data_key\":\"game_stats\"}]");
    gives(ONE "k:data_key,\"version\"", "[{\"k\":\"game_stats\",\"version\":1}]");
    gives(ONE "data->score", "[{\"score\":30}]");
    gives(ONE "data->>score", "[{\"score\":\"30\"}]");
    gives(ONE "s:data->>score::int", "[{\"s\":30}]");
    gives(ONE "version::text", "[{\"version\":\"1\"}]");
    gives(ONE "data->tags->1->y", "[{\"y\":7}]");
    gives(ONE "data->tags->>-2", "[{\"tags\":\"x\"}]");
    gives(ONE "data->tags->5", "[{\"tags\":null}]");
    gives(ONE "data->%22name%22", "[{\"name\":\"Zo\xc3\xab\"}]");
    gives(ONE "data->name->x", "[{\"x\":null}]");
    gives(ONE, "[{}]");
    gives(KEYS("data_key=eq.notes") "&select=data->>name", "[{\"name\":null}]");
    refuses(ONE "nope", WANT(400, "42703", "column user_sync_data_v2.nope does not exist"));
    refuses(ONE "data_key,",
            WANT(400, "PGRST100",
                 "\"failed to parse select parameter (data_key,)\" (line 1, "
                 "column 10)",
                 "unexpected end of input expecting field name (* or [a..z0..9_$])"));
    refuses(ONE "data_key;x", WANT(400, "PGRST100",
                                   "\"failed to parse select parameter (data_key;x)\" (line 1, "
                                   "column 9)",
                                   "unexpected \";\" expecting \",\" or end of input"));
    refuses(ONE "version::blob", WANT(400, "42704", "type \"blob\" does not exist"));
    refuses(ONE "data_key::int",
            WANT(400, "22P02", "invalid input syntax for type integer: \"game_stats\""));
    refuses(ONE "version->x", WANT(404, "42883", "operator does not exist: int4 -> unknown", NULL,
                                   "No operator matches the given name and argument types. You "
                                   "might need to add explicit type casts."));
    refuses(ONE "count()", WANT(400, "PGRST123", "Use of aggregate functions is not allowed"));
    refuses(ONE "*,other(*)",
            WANT(400, "PGRST200",
                 "Could not find a relationship between 'user_sync_data_v2' and "
                 "'other' in the schema cache",
                 "Searched for a foreign key relationship between 'user_sync_data_v2' and 'other' "
                 "in the schema 'public', but no matches were found."));
}

/* ---- Filters --------------------------------------------------------------------------------- */

#define ROW(key) "{\"data_key\":\"" key "\"}"
#define GAME ROW("game_stats")
#define NOTES ROW("notes")
#define SETTINGS ROW("settings")

static void filters_compare_by_the_type_of_the_column(void **state)
{
    (void)state;
    gives(KEYS("data_key=eq.notes"), "[" NOTES "]");
    gives(KEYS("data_key=neq.notes&data_key=neq.gone"), "[" GAME "," SETTINGS "]");
    gives(KEYS("data_key=gt.notes"), "[" SETTINGS "]");
    gives(KEYS("data_key=gte.notes"), "[" NOTES "," SETTINGS "]");
    gives(KEYS("data_key=lt.gone"), "[" GAME "]");
    gives(KEYS("data_key=lte.game_stats"), "[" GAME "]");
    gives(KEYS("data_key=in.(notes,%22settings%22,%22a,b%22)"), "[" NOTES "," SETTINGS "]");
    gives(KEYS("data_key=in.()"), "[]");
    gives(KEYS("data_key=not.in.(notes,settings,gone)"), "[" GAME "]");
    gives(KEYS("data_key=like.*s"), "[" GAME "," NOTES "," SETTINGS "]");
    gives(KEYS("data_key=like.%25tat"), "[]");
    gives(KEYS("data_key=ilike.NOT%25"), "[" NOTES "]");
    gives(KEYS("data_key=not.like.*s"), "[" ROW("gone") "]");
    gives(KEYS("data_key=like(any).{no*,set*}"), "[" NOTES "," SETTINGS "]");
    gives(KEYS("data_key=like(all).{*s*,*t*,*e*}&data_key=neq.gone"),
          "[" GAME "," NOTES "," SETTINGS "]");
    gives(KEYS("data_key=eq(any).{notes,settings}"), "[" NOTES "," SETTINGS "]");
    gives(KEYS("version=eq.1&data_key=eq.notes"), "[" NOTES "]");
    gives(KEYS("version=gt.1"), "[]");
    gives(KEYS("modified_at=gt.2020-01-01&data_key=eq.notes"), "[" NOTES "]");
    gives(KEYS("modified_at=lt.2020-01-01T00:00:00Z"), "[]");
    gives(KEYS("user_id=eq.5F3A7A52-8C39-4F5E-9D4E-0C2F6F9B1A11&data_key=eq.notes"), "[" NOTES "]");
    gives(KEYS("data=eq.{\"name\":null,%20\"score\":4.0}"), "[" NOTES "]");
}

static void null_is_neither_true_nor_false(void **state)
{
    (void)state;
    gives(KEYS("data->>name=is.null&data_key=neq.gone"), "[" NOTES "," SETTINGS "]");
    gives(KEYS("data->>name=not.is.null"), "[" GAME "]");
    gives(KEYS("data->>name=is.not_null"), "[" GAME "]");
    gives(KEYS("data->>name=eq.x"), "[]");
    gives(KEYS("data->>name=neq.x"), "[" GAME "]");
    gives(KEYS("data->>name=not.eq.x"), "[" GAME "]");
    gives(KEYS("data->>theme=isdistinct.dark&data_key=neq.gone"), "[" GAME "," NOTES "]");
    gives(KEYS("data->>score=gt.2"), "[" GAME "," NOTES "]"); /* as texts: ->> is one */
    gives(KEYS("data->score=gt.9"), "[]"); /* documents are not ordered by value */
    gives(KEYS("not.or=(data->>name.eq.x,data_key.eq.gone)"), "[" GAME "]");
    gives(KEYS("device_id=is.null"), "[]");
}

static void trees_of_and_and_or_nest(void **state)
{
    (void)state;
    gives(KEYS("or=(data_key.eq.notes,data_key.eq.settings)"), "[" NOTES "," SETTINGS "]");
    gives(KEYS("and=(data_key.gte.notes,version.eq.1)"), "[" NOTES "," SETTINGS "]");
    gives(KEYS("or=(and(data_key.gt.gone,data_key.lt.o),data_key.not.in.(notes,settings,gone))"),
          "[" GAME "," NOTES "]");
    gives(KEYS("or=(data_key.eq.%22notes%22,data_key.like.*x,data->>theme.eq.dark)"),
          "[" NOTES "," SETTINGS "]");
    gives(KEYS("or=(data_key.is.null,not.and(data_key.neq.notes,data_key.neq.gone))&data_key=neq."
               "gone"),
          "[" NOTES "]");
    refuses(KEYS("or=(data_key.eq.notes"),
            WANT(400, "PGRST100",
                 "\"failed to parse logic tree ((data_key.eq.notes)\" (line 1, "
                 "column 19)",
                 "unexpected end of input expecting \",\" or \")\""));
    refuses(KEYS("or=()"), WANT(400, "PGRST100",
                                "\"failed to parse logic tree (())\" (line 1, "
                                "column 2)",
                                "unexpected \")\" expecting field name (* or [a..z0..9_$])"));
    refuses(
        KEYS("or=((((((((((((((((((data_key.eq.x))))))))))))))))))"),
        WANT(400, "PGRST100",
             "\"failed to parse logic tree (((((((((((((((((((data_key.eq.x)))))))))))))))))))\" "
             "(line 1, column 2)",
             "unexpected \"(\" expecting field name (* or [a..z0..9_$])"));
}

/* .or('a.eq.1, b.eq.2') is written by hand, blanks and all. */
static void blanks_around_names_commas_and_parentheses_are_nothing(void **state)
{
    (void)state;
    gives(KEYS("or=(data_key.eq.notes,%20data_key.eq.settings)"), "[" NOTES "," SETTINGS "]");
    gives(KEYS("or=%20(%20data_key%20.eq.notes,%09%22data_key%22.eq.settings,%20version.is.null%20"
               ")%20"),
          "[" NOTES "," SETTINGS "]");
    gives(KEYS("or=(data_key.in.(%20notes,settings)%20,%20not.or%20(data_key.neq.gone))"),
          "[" NOTES "," SETTINGS "," ROW("gone") "]");
    gives(KEYS("or=(data_key.eq.notes,%20and%20(data_key.gt.notes,%20data->>theme%20.eq.dark))"),
          "[" NOTES "," SETTINGS "]");
    gives(KEYS("data_key=in.(notes)%20"), "[" NOTES "]");
    gives(DOCS "?select=data_key%20,%20v:version&data_key=eq.notes",
          "[{\"data_key\":\"notes\",\"v\":1}]");
    gives(KEYS("data_key=gt.gone&order=version.asc,%20data_key.desc%20"),
          "[" SETTINGS "," NOTES "]");
    /* Inside a value they count. */
    gives(KEYS("or=(data_key.eq.%20notes,data_key.eq.settings)"), "[" SETTINGS "]");
}

static void what_is_no_filter_is_refused_as_postgrest_does(void **state)
{
    (void)state;
    refuses(DOCS "?foo=bar", WANT(400, "PGRST100",
                                  "\"failed to parse filter (bar)\" (line 1, "
                                  "column 1)",
                                  "unexpected \"b\" expecting \"not\" or operator (eq, gt, ...)"));
    refuses(DOCS "?nope=eq.1", WANT(400, "42703", "column user_sync_data_v2.nope does not exist"));
    refuses(DOCS "?user_id=eq.abc",
            WANT(400, "22P02", "invalid input syntax for type uuid: \"abc\""));
    refuses(DOCS "?version=eq.1.5",
            WANT(400, "22P02", "invalid input syntax for type integer: \"1.5\""));
    refuses(DOCS "?version=in.(1,99999999999)",
            WANT(400, "22003", "value \"99999999999\" is out of range for type integer"));
    refuses(DOCS "?modified_at=gt.soon",
            WANT(400, "22007", "invalid input syntax for type timestamp with time zone: \"soon\""));
    refuses(DOCS "?data=eq.{", WANT(400, "22P02", "invalid input syntax for type json"));
    refuses(DOCS "?data=cs.{}", WANT(400, "0A000", "the operator cs is not offered here"));
    refuses(DOCS "?data_key=is.true",
            WANT(400, "42804", "argument of IS TRUE must be type boolean, not type text"));
    refuses(DOCS "?version=like.1*",
            WANT(404, "42883", "operator does not exist: int4 ~~ unknown", NULL,
                 "No operator matches the given name and argument types. You might need to add "
                 "explicit type casts."));
    refuses(DOCS "?other.id=eq.1",
            WANT(400, "PGRST108", "'other' is not an embedded resource in this request", NULL,
                 "Verify that 'other' is included in the 'select' query parameter."));
    refuses(DOCS "?data_key=in.notes",
            WANT(400, "PGRST100", "\"failed to parse filter (in.notes)\" (line 1, column 4)",
                 "unexpected \"n\" expecting \"(\""));
}

static void filters_that_cost_too_much_end(void **state)
{
    (void)state;
    char *data = malloc(250001);
    char *body = malloc(260000);
    assert_non_null(data);
    assert_non_null(body);
    memset(data, 'a', 250000);
    data[250000] = '\0';
    int n = snprintf(body, 260000,
                     "{\"p_user_id\":\"%s\",\"p_data_key\":\"long\",\"p_data\":{\"a\":\"%s\"},"
                     "\"p_expected_version\":0}",
                     B, data);
    assert_in_range(n, 250000, 259999);
    rpc("atomic_sync_upsert", user_b, body);
    char path[5000] = DOCS "?data->>a=like.*";
    size_t len = strlen(path);
    memset(path + len, 'a', 4000);
    snprintf(path + len + 4000, sizeof path - len - 4000, "b");
    want_refused(serve.port, &(struct http_request){0, "GET", path, user_b, NULL, NULL},
                 WANT(500, "57014", "canceling statement due to statement timeout"));
    free(data);
    free(body);
}

/* ---- Order and pages ------------------------------------------------------------------------- */

static void rows_come_in_the_order_asked_for(void **state)
{
    (void)state;
    gives(KEYS("order=data_key.desc&data_key=neq.gone"), "[" SETTINGS "," NOTES "," GAME "]");
    gives(KEYS("order=version,data_key&limit=2"), "[" GAME "," ROW("gone") "]");
    gives(KEYS("order=data->>name&data_key=neq.gone"), "[" GAME "," NOTES "," SETTINGS "]");
    gives(KEYS("order=data->>name.desc,data_key&data_key=neq.gone"),
          "[" NOTES "," SETTINGS "," GAME "]");
    gives(KEYS("order=data->>name.desc.nullslast,data_key.desc&data_key=neq.gone"),
          "[" GAME "," SETTINGS "," NOTES "]");
    gives(KEYS("order=data->>name.nullsfirst&data_key=neq.gone"),
          "[" NOTES "," SETTINGS "," GAME "]");
    gives(KEYS("order=modified_at.desc&limit=1"), "[" ROW("gone") "]");
    refuses(DOCS "?order=nope", WANT(400, "42703", "column user_sync_data_v2.nope does not exist"));
    refuses(DOCS "?order=data_key.up",
            WANT(400, "PGRST100", "\"failed to parse order (data_key.up)\" (line 1, column 9)",
                 "unexpected \".\" expecting \",\", \"asc\", \"desc\", \"nullsfirst\" or "
                 "\"nullslast\""));
}

struct page {
    const char *query;
    const char *fields;
    int status;
    const char *range;
    const char *body;
};

static void ranges_and_counts_are_postgrests(void **state)
{
    (void)state;
    static const struct page pages[] = {
        {"", "", 200, "0-3/*", "[" GAME "," NOTES "," SETTINGS "," ROW("gone") "]"},
        {"&data_key=eq.none", "", 200, "*/*", "[]"},
        {"&limit=2", "", 200, "0-1/*", "[" GAME "," NOTES "]"},
        {"&limit=2&offset=1", "", 200, "1-2/*", "[" NOTES "," SETTINGS "]"},
        {"&limit=0", "", 200, "*/*", "[]"},
        {"&offset=9", "", 200, "*/*", "[]"},
        {"&limit=x", "", 200, "0-3/*", NULL},
        {"", "Prefer: count=exact\r\n", 200, "0-3/4", NULL},
        {"", "Prefer: count=planned\r\n", 200, "0-3/4", NULL},
        {"&limit=2", "Prefer: count=exact\r\n", 206, "0-1/4", NULL},
        {"&offset=4", "Prefer: count=exact\r\n", 206, "*/4", "[]"},
        {"&data_key=eq.none", "Prefer: count=exact\r\n", 200, "*/0", "[]"},
        {"", "Range: 1-2\r\nPrefer: count=exact\r\n", 206, "1-2/4", "[" NOTES "," SETTINGS "]"},
        {"", "Range-Unit: items\r\nRange: 2-\r\n", 200, "2-3/*", "[" SETTINGS "," ROW("gone") "]"},
        {"&limit=2&offset=1", "Range: 0-1\r\n", 200, "1-1/*", "[" NOTES "]"},
        {"", "Range: bytes=0-1\r\n", 200, "0-3/*", NULL},
        {"&order=data_key&limit=1&offset=1", "Prefer: count=exact\r\n", 206, "1-1/4",
         "[" ROW("gone") "]"},
    };
    for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++) {
        char path[300];
        struct http_answer answer;
        snprintf(path, sizeof path, DOCS "?select=data_key%s", pages[i].query);
        get(user_a, path, pages[i].fields, &answer);
        const char *range = http_field(&answer, "Content-Range");
        if (answer.status != pages[i].status || range == NULL ||
            strcmp(range, pages[i].range) != 0 ||
            (pages[i].body != NULL && strcmp(answer.body, pages[i].body) != 0)) {
            fail_msg("%s %s: %d %s %s", path, pages[i].fields, answer.status,
                     range == NULL ? "-" : range, answer.body);
        }
        http_release(&answer);
    }
}

static void ranges_that_cannot_be_are_416(void **state)
{
    (void)state;
    struct http_answer answer;
    get(user_a, DOCS "?offset=9", "Prefer: count=exact\r\n", &answer);
    want_problem(&answer, &WANT(416, "PGRST103", "Requested range not satisfiable",
                                "An offset of 9 was requested, but there are only 4 rows."));
    assert_string_equal(http_field(&answer, "Content-Range"), "*/4");
    http_release(&answer);
    refuses(DOCS "?limit=-1", WANT(416, "PGRST103", "Requested range not satisfiable",
                                   "Limit should be greater than or equal to zero."));
    want_refused(serve.port, &(struct http_request){0, "GET", DOCS, user_a, "Range: 5-2\r\n", NULL},
                 WANT(416, "PGRST103", "Requested range not satisfiable",
                      "The lower boundary must be lower than or equal to the upper boundary in the "
                      "Range header."));
}

/* ---- Forms of an answer ---------------------------------------------------------------------- */

static void one_object_is_given_for_one_row_alone(void **state)
{
    (void)state;
    static const char accept[] = "Accept: application/vnd.pgrst.object+json\r\n";
    struct http_answer answer;
    get(user_a, KEYS("data_key=eq.notes"), accept, &answer);
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer.body, NOTES);
    assert_string_equal(http_field(&answer, "Content-Type"),
                        "application/vnd.pgrst.object+json; charset=utf-8");
    assert_string_equal(http_field(&answer, "Content-Range"), "0-0/*");
    http_release(&answer);
    want_refused(serve.port,
                 &(struct http_request){0, "GET", KEYS("data_key=eq.none"), user_a, accept, NULL},
                 WANT(406, "PGRST116", "Cannot coerce the result to a single JSON object",
                      "The result contains 0 rows"));
    want_refused(serve.port, &(struct http_request){0, "GET", DOCS, user_a, accept, NULL},
                 WANT(406, "PGRST116", "Cannot coerce the result to a single JSON object",
                      "The result contains 4 rows"));
}

static void headers_are_postgrests(void **state)
{
    (void)state;
    struct http_answer answer;
    get(user_a, DOCS "?select=*&limit=1",
        "Accept-Profile: public\r\nOrigin: https://app.example\r\nPrefer: count=exact\r\n"
        "Prefer: return=minimal\r\n",
        &answer);
    assert_int_equal(answer.status, 206);
    assert_string_equal(http_field(&answer, "Content-Location"),
                        "/user_sync_data_v2?select=*&limit=1");
    assert_string_equal(http_field(&answer, "Content-Profile"), "public");
    assert_string_equal(http_field(&answer, "Preference-Applied"), "count=exact");
    assert_string_equal(http_field(&answer, "Access-Control-Allow-Origin"), "*");
    assert_non_null(strstr(http_field(&answer, "Access-Control-Expose-Headers"), "Content-Range"));
    http_release(&answer);
    get(user_a, DOCS "?limit=1&apikey=secret", NULL, &answer);
    assert_int_equal(answer.status, 200);
    assert_null(http_field(&answer, "Content-Location")); /* a key is not told again */
    http_release(&answer);
    want_refused(serve.port,
                 &(struct http_request){0, "GET", DOCS, user_a, "Accept-Profile: auth\r\n", NULL},
                 WANT(406, "PGRST106", "Invalid schema: auth", NULL,
                      "Only the following schemas are exposed: public"));
    want_refused(serve.port,
                 &(struct http_request){0, "GET", DOCS, user_a, "Accept: text/csv\r\n", NULL},
                 WANT(406, "PGRST107", "None of these media types are available: text/csv"));
    want_refused(serve.port,
                 &(struct http_request){0, "GET", DOCS, user_a,
                                        "Prefer: handling=strict, wish=moon\r\n", NULL},
                 WANT(400, "PGRST122", "Invalid preferences given with handling=strict",
                      "Invalid preferences: wish=moon"));
}

static void a_head_is_a_get_without_a_body(void **state)
{
    (void)state;
    struct http_answer answer;
    int fd = http_connect(serve.port);
    char request[3000];
    int n = snprintf(request, sizeof request,
                     "HEAD " DOCS "?select=*&limit=2 HTTP/1.1\r\nHost: x\r\n"
                     "Authorization: Bearer %s\r\nPrefer: count=exact\r\n\r\n",
                     user_a);
    assert_true(http_write(fd, request, (size_t)n));
    http_read(fd, true, &answer);
    assert_int_equal(answer.status, 206);
    assert_string_equal(http_field(&answer, "Content-Range"), "0-1/4");
    assert_int_equal(answer.body_len, 0);
    http_release(&answer);
    /* The connection goes on: nothing of a body was left on it. */
    http_call_on(fd, &(struct http_request){0, "GET", FEED, user_a, NULL, NULL}, &answer);
    assert_int_equal(answer.status, 200);
    http_release(&answer);
}

/* ---- Whose rows ------------------------------------------------------------------------------ */

static void sees(const char *token, const char *path, bool a, bool b)
{
    struct http_answer answer;
    get(token, path, NULL, &answer);
    if (answer.status != 200 || (strstr(answer.body, A) != NULL) != a ||
        (strstr(answer.body, B) != NULL) != b) {
        fail_msg("%s: %d %s", path, answer.status, answer.body);
    }
    http_release(&answer);
}

static void a_user_sees_its_own_rows_whatever_it_asks_for(void **state)
{
    (void)state;
    static const char *const tables[] = {DOCS, V1, META, FEED, QUEUE};
    for (size_t i = 0; i < 5; i++) {
        char path[200];
        sees(user_a, tables[i], true, false);
        snprintf(path, sizeof path, "%s?user_id=in.(" A "," B ")", tables[i]);
        sees(user_a, path, true, false);
        snprintf(path, sizeof path, "%s?user_id=neq." A, tables[i]);
        sees(user_a, path, false, false);
        snprintf(path, sizeof path, "%s?or=(user_id.eq." B ",user_id.is.null)", tables[i]);
        sees(user_a, path, false, false);
        sees(anon, tables[i], false, false);
        snprintf(path, sizeof path, "%s?user_id=eq." A, tables[i]);
        sees(anon, path, false, false);
        sees(user_b, path, false, false);
    }
}

static void service_role_sees_the_users_that_it_names(void **state)
{
    (void)state;
    sees(service, DOCS "?user_id=eq." A, true, false);
    sees(service, DOCS "?user_id=in.(" A "," B "," A ")", true, true);
    sees(service, DOCS "?user_id=in.(" A "," B ")&data->>canary=not.is.null", false, true);
    sees(service, V1 "?user_id=in.(" A "," B ")", true, true);
    sees(service, FEED "?user_id=eq." B, false, true);
    sees(service, QUEUE "?user_id=eq." A, true, false);
    sees(service, DOCS "?user_id=in.()", false, false);
    static const char *const all[] = {DOCS, V1, DOCS "?user_id=neq." A,
                                      DOCS "?or=(user_id.eq." A ",user_id.eq." B ")"};
    for (size_t i = 0; i < 4; i++) {
        want_refused(serve.port, &(struct http_request){0, "GET", all[i], service, NULL, NULL},
                     WANT(400, "user_needed",
                          "service_role has to name the users whose rows it means", NULL,
                          "Add a filter: user_id=eq.<uuid>, or user_id=in.(<uuid>,<uuid>)."));
    }
}

static void unknown_tables_and_methods_are_refused(void **state)
{
    (void)state;
    refuses("/rest/v1/user_profiles?select=id",
            WANT(404, "PGRST205",
                 "Could not find the table 'public.user_profiles' in the schema cache"));
    refuses(
        "/rest/v1/auth_users",
        WANT(404, "PGRST205", "Could not find the table 'public.auth_users' in the schema cache"));
    want_refused(serve.port, &(struct http_request){0, "PUT", V1, user_a, NULL, "{}"},
                 WANT(405, "PGRST117", "Unsupported HTTP method: PUT"));
}

static void an_erased_user_hears_user_erased(void **state)
{
    (void)state;
    struct http_answer answer;
    rpc("sync_user_erase", service, "{\"p_user_id\":\"" A "\"}");
    static const char *const tables[] = {DOCS, V1, META, FEED, QUEUE};
    for (size_t i = 0; i < 5; i++) {
        char path[200];
        get(user_a, tables[i], NULL, &answer);
        assert_int_equal(answer.status, 403);
        assert_non_null(strstr(answer.body, "\"user_erased\""));
        http_release(&answer);
        snprintf(path, sizeof path, "%s?user_id=eq." A, tables[i]);
        sees(service, path, false, false);
    }
}

static void quiet(void *cls, const char *line, size_t len)
{
    (void)cls;
    (void)line;
    (void)len;
}

/* The n-th allocation of the process fails: an answer is whole and right, or it is none. */
static void memory_that_runs_out_gives_no_wrong_rows(void **state)
{
    (void)state;
    static const char path[] =
        DOCS "?select=data_key,t:data->tags,s:data->>score::int,version::text"
             "&order=data->>name.desc,data_key&data=neq.{}"
             "&or=(data->score.eq.30,data->>theme.like.d*,data_key.in.(a,%22notes%22))";
    char want[1000];
    struct http_answer answer;
    unsigned n_failed = 0;
    get(user_a, path, NULL, &answer);
    assert_int_equal(answer.status, 200);
    snprintf(want, sizeof want, "%s", answer.body);
    http_release(&answer);
    serve.log.sink = quiet;
    for (uint64_t n = 1; n <= 119; n++) {
        mem_fail_at(n, 1);
        get(user_a, path, NULL, &answer);
        mem_fail_at(0, 0);
        n_failed += answer.status != 200;
        if (answer.status == 200 ? strcmp(answer.body, want) != 0
                                 : answer.status != 0 && answer.status != 503) {
            fail_msg("allocation %u: %d %s", (unsigned)n, answer.status, answer.body);
        }
        http_release(&answer);
    }
    assert_in_range(n_failed, 6, 119);
    gives(path, want);
}

static void a_deleted_document_is_not_shown(void **state)
{
    (void)state;
    rpc("delete_user_sync_data", user_a, "{\"p_user_id\":\"" A "\"}");
    gives(DOCS, "[]");
    gives(DOCS "?data_key=eq.notes", "[]");
    gives(V1 "?select=data", "[{\"data\":{}}]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define RULE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        RULE(all_columns_stand_in_the_order_of_the_definition),
        RULE(select_names_columns_aliases_paths_and_casts),
        RULE(filters_compare_by_the_type_of_the_column),
        RULE(null_is_neither_true_nor_false),
        RULE(trees_of_and_and_or_nest),
        RULE(blanks_around_names_commas_and_parentheses_are_nothing),
        RULE(what_is_no_filter_is_refused_as_postgrest_does),
        RULE(filters_that_cost_too_much_end),
        RULE(rows_come_in_the_order_asked_for),
        RULE(ranges_and_counts_are_postgrests),
        RULE(ranges_that_cannot_be_are_416),
        RULE(one_object_is_given_for_one_row_alone),
        RULE(headers_are_postgrests),
        RULE(a_head_is_a_get_without_a_body),
        RULE(a_user_sees_its_own_rows_whatever_it_asks_for),
        RULE(service_role_sees_the_users_that_it_names),
        RULE(unknown_tables_and_methods_are_refused),
        RULE(an_erased_user_hears_user_erased),
        RULE(memory_that_runs_out_gives_no_wrong_rows),
        RULE(a_deleted_document_is_not_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
