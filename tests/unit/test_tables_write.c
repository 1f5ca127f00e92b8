/* test_tables_write.c - POST, PATCH and DELETE of tables: v1's row as an upserting app writes it,
 * and refusals of everything else (docs/protocol.md, "Tables" and "v1"). */
#include "http_client.h"
#include "serve.h"
#include "token.h"
#include "want.h"

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
#define V1 "/rest/v1/user_sync_data"
#define MERGE "Prefer: resolution=merge-duplicates\r\n"
#define IGNORE "Prefer: resolution=ignore-duplicates\r\n"
#define ROWS "Prefer: return=representation\r\n"
#define ROW(user, data) "{\"user_id\":\"" user "\",\"data\":" data "}"
#define SETTINGS(n)                                                                                \
    "{\"settings\":{\"value\":{\"n\":" #n "},\"timestamp\":\"2024-01-01T10:00:0" #n "\"}}"

static struct serve serve;
static char *user_a;
static char *user_b;
static char *service;
static char *anon;

static int set_up(void **state)
{
    (void)state;
    int64_t now = (int64_t)time(NULL);
    user_a = token_user(A);
    user_b = token_user(B);
    service = token_make("service_role", NULL, now + 3600);
    anon = token_make("anon", NULL, now + 3600);
    serve_init(&serve);
    return serve_start(&serve) != BQ_OK;
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

/* One request of user A; answers the status. Release the answer. */
static int call(const char *method, const char *path, const char *fields, const char *body,
                struct http_answer *out)
{
    http_call(&(struct http_request){serve.port, method, path, user_a, fields, body}, out);
    return out->status;
}

/* The same, and this is the status and the whole body. */
static void gives(const char *method, const char *path, const char *fields, const char *body,
                  const char *want)
{
    struct http_answer answer;
    char got[4000];
    call(method, path, fields, body, &answer);
    snprintf(got, sizeof got, "%d %s", answer.status, answer.body == NULL ? "" : answer.body);
    http_release(&answer);
    if (strcmp(got, want) != 0) {
        fail_msg("%s %s %s: %s, not %s", method, path, body == NULL ? "" : body, got, want);
    }
}

static void refuses(const char *method, const char *path, const char *fields, const char *body,
                    struct want want)
{
    want_refused(serve.port, &(struct http_request){0, method, path, user_a, fields, body}, want);
}

/* The documents of A, as V2 shows them. */
static void documents_are(const char *want)
{
    char text[1000];
    snprintf(text, sizeof text, "200 %s", want);
    gives("GET", "/rest/v1/user_sync_data_v2?select=data_key,data,version&order=data_key", NULL,
          NULL, text);
}

static void an_upsert_is_201_for_a_new_row_and_200_for_another(void **state)
{
    (void)state;
    struct http_answer answer;
    assert_int_equal(call("POST", V1, MERGE, ROW(A, SETTINGS(1)), &answer), 201);
    assert_int_equal(answer.body_len, 0);
    assert_null(http_field(&answer, "Content-Type"));
    assert_string_equal(http_field(&answer, "Content-Range"), "*/*");
    assert_string_equal(http_field(&answer, "Preference-Applied"), "resolution=merge-duplicates");
    http_release(&answer);
    gives("POST", V1 "?on_conflict=user_id", MERGE, ROW(A, SETTINGS(2)), "200 ");
    documents_are("[{\"data_key\":\"settings\",\"data\":{\"n\":2},\"version\":2}]");
    assert_int_equal(call("POST", V1, MERGE "Prefer: return=headers-only, count=exact\r\n",
                          ROW(A, SETTINGS(3)), &answer),
                     200);
    assert_string_equal(http_field(&answer, "Location"), "/user_sync_data?user_id=eq." A);
    assert_string_equal(http_field(&answer, "Content-Range"), "*/1");
    assert_string_equal(http_field(&answer, "Preference-Applied"),
                        "resolution=merge-duplicates, return=headers-only, count=exact");
    http_release(&answer);
}

static void a_plain_insert_meets_the_row_that_is_there(void **state)
{
    (void)state;
    gives("POST", V1, NULL, ROW(A, SETTINGS(1)), "201 ");
    refuses("POST", V1, NULL, ROW(A, SETTINGS(2)),
            WANT(409, "23505",
                 "duplicate key value violates unique constraint \"user_sync_data_pkey\"",
                 "Key (user_id)=(" A ") already exists."));
    gives("POST", V1 "?select=data", IGNORE ROWS, ROW(A, SETTINGS(2)), "200 []");
    gives("POST", V1, IGNORE, ROW(A, SETTINGS(2)), "200 ");
    documents_are("[{\"data_key\":\"settings\",\"data\":{\"n\":1},\"version\":1}]");
}

static void a_representation_is_the_row_as_it_is_then(void **state)
{
    (void)state;
    struct http_answer answer;
    gives("POST", V1 "?select=user_id,n:data->settings->value->n", MERGE ROWS, ROW(A, SETTINGS(1)),
          "201 [{\"user_id\":\"" A "\",\"n\":1}]");
    assert_int_equal(call("POST", V1 "?select=data->settings->value",
                          MERGE ROWS "Accept: application/vnd.pgrst.object+json\r\n",
                          ROW(A, SETTINGS(2)), &answer),
                     200);
    assert_string_equal(answer.body, "{\"value\":{\"n\":2}}");
    assert_string_equal(http_field(&answer, "Content-Type"),
                        "application/vnd.pgrst.object+json; charset=utf-8");
    assert_string_equal(http_field(&answer, "Preference-Applied"),
                        "resolution=merge-duplicates, return=representation");
    http_release(&answer);
    refuses("POST", V1, IGNORE ROWS "Accept: application/vnd.pgrst.object+json\r\n",
            ROW(A, SETTINGS(3)),
            WANT(406, "PGRST116", "Cannot coerce the result to a single JSON object",
                 "The result contains 0 rows"));
}

static void an_empty_row_is_there_afterwards(void **state)
{
    (void)state;
    gives("GET", V1 "?select=data", NULL, NULL, "200 []");
    gives("POST", V1, NULL, ROW(A, "{}"), "201 ");
    gives("GET", V1 "?select=data", NULL, NULL, "200 [{\"data\":{}}]");
    gives("GET", V1 "?select=data&user_id=eq." A, "Accept: application/vnd.pgrst.object+json\r\n",
          NULL, "200 {\"data\":{}}");
    gives("PATCH", V1 "?user_id=eq." A "&select=user_id", ROWS, "{\"data\":" SETTINGS(1) "}",
          "200 [{\"user_id\":\"" A "\"}]");
    documents_are("[{\"data_key\":\"settings\",\"data\":{\"n\":1},\"version\":1}]");
}

static void arrays_are_rows_with_the_same_keys(void **state)
{
    (void)state;
    gives("POST", V1, MERGE, "[]", "201 ");
    gives("POST", V1, MERGE ROWS, "[]", "201 []");
    gives("POST", V1 "?columns=%22user_id%22,%22data%22&select=user_id", MERGE ROWS,
          "[" ROW(A, SETTINGS(1)) "]", "201 [{\"user_id\":\"" A "\"}]");
    /* With columns= other members are not looked at. */
    gives("POST", V1 "?columns=user_id,data", MERGE,
          "[{\"user_id\":\"" A "\",\"data\":" SETTINGS(2) ",\"nope\":1}]", "200 ");
    refuses("POST", V1, MERGE, "[" ROW(A, "{}") ",{\"user_id\":\"" A "\"}]",
            WANT(400, "PGRST102", "All object keys must match"));
    refuses("POST", V1, MERGE, "[" ROW(A, "{}") "," ROW(A, "{}") "]",
            WANT(500, "21000", "ON CONFLICT DO UPDATE command cannot affect row a second time"));
    gives("POST", V1, IGNORE, "[" ROW(A, "{}") "," ROW(A, "{}") "]", "200 ");
    refuses("POST", V1 "?columns=user_id,nope", MERGE, "[]",
            WANT(400, "PGRST204",
                 "Could not find the 'nope' column of 'user_sync_data' in the schema cache"));
    documents_are("[{\"data_key\":\"settings\",\"data\":{\"n\":2},\"version\":2}]");
}

static void bodies_that_are_no_rows_are_refused(void **state)
{
    (void)state;
    static const char *const malformed[] = {
        "",     "{",   "1",    "\"x\"",
        "null", "[1]", "[[]]", "{\"user_id\":\"" A "\",\"user_id\":\"" A "\"}"};
    for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++) {
        refuses("POST", V1, MERGE, malformed[i], WANT(400, "PGRST102", "Empty or invalid json"));
    }
    refuses("POST", V1, MERGE, "{\"user_id\":\"" A "\",\"nope\":1}",
            WANT(400, "PGRST204",
                 "Could not find the 'nope' column of 'user_sync_data' in the schema cache"));
    refuses("POST", V1, MERGE, "{\"user_id\":\"abc\"}",
            WANT(400, "22P02", "invalid input syntax for type uuid: \"abc\""));
    refuses("POST", V1, MERGE, "{\"user_id\":\"" A "\",\"updated_at\":\"soon\"}",
            WANT(400, "22007", "invalid input syntax for type timestamp with time zone: \"soon\""));
    refuses("POST", V1, MERGE, ROW(A, "[1]"),
            WANT(400, "23514",
                 "new row for relation \"user_sync_data\" violates check constraint "
                 "\"user_sync_data_data_is_object\""));
    refuses("POST", V1 "?on_conflict=data", MERGE, ROW(A, "{}"),
            WANT(400, "42P10",
                 "there is no unique or exclusion constraint matching the ON "
                 "CONFLICT specification"));
    refuses("POST", V1 "?on_conflict=nope", MERGE, ROW(A, "{}"),
            WANT(400, "42703", "column \"nope\" does not exist"));
    refuses("POST", V1, MERGE "Content-Type: text/csv\r\n", "a,b",
            WANT(400, "PGRST102", "Content-Type not acceptable: text/csv"));
    gives("POST", V1, MERGE,
          "{\"user_id\":\"" A
          "\",\"data\":" SETTINGS(1) ",\"updated_at\":\"2026-11-23T10:00:00\",\"created_at\":null}",
          "201 ");
}

static void nobody_writes_another_users_row(void **state)
{
    (void)state;
    static const char not_own[] =
        "new row violates row-level security policy for table \"user_sync_data\"";
    struct http_answer answer;
    refuses("POST", V1, MERGE, ROW(B, SETTINGS(1)), WANT(403, "42501", not_own));
    refuses("POST", V1, MERGE, "{\"data\":{}}", WANT(403, "42501", not_own));
    refuses("POST", V1, MERGE, "[" ROW(A, SETTINGS(1)) "," ROW(B, SETTINGS(1)) "]",
            WANT(403, "42501", not_own));
    documents_are("[]"); /* not even the first of them */
    gives("PATCH", V1 "?user_id=eq." B, NULL, "{\"data\":" SETTINGS(1) "}", "204 ");
    refuses("PATCH", V1 "?user_id=eq." A, NULL, ROW(B, "{}"), WANT(403, "42501", not_own));
    gives("DELETE", V1 "?user_id=eq." B, NULL, NULL, "204 ");
    want_refused(serve.port, &(struct http_request){0, "POST", V1, anon, MERGE, ROW(A, "{}")},
                 WANT(401, "42501", not_own));
    http_call(&(struct http_request){serve.port, "POST", V1, anon, MERGE, ROW(A, "{}")}, &answer);
    assert_string_equal(http_field(&answer, "WWW-Authenticate"), "Bearer");
    http_release(&answer);
    http_call(&(struct http_request){serve.port, "PATCH", V1 "?user_id=eq." A, anon, NULL,
                                     "{\"data\":{}}"},
              &answer);
    assert_int_equal(answer.status, 204);
    http_release(&answer);
    http_call(&(struct http_request){serve.port, "DELETE", V1, anon, ROWS, NULL}, &answer);
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer.body, "[]");
    http_release(&answer);
}

static void service_role_writes_the_row_of_the_user_that_it_names(void **state)
{
    (void)state;
    struct http_answer answer;
    http_call(&(struct http_request){serve.port, "POST", V1, service, MERGE, ROW(A, SETTINGS(1))},
              &answer);
    assert_int_equal(answer.status, 201);
    http_release(&answer);
    documents_are("[{\"data_key\":\"settings\",\"data\":{\"n\":1},\"version\":1}]");
    http_call(&(struct http_request){serve.port, "PATCH", V1 "?user_id=eq." A, service, NULL,
                                     "{\"data\":" SETTINGS(2) "}"},
              &answer);
    assert_int_equal(answer.status, 204);
    http_release(&answer);
    documents_are("[{\"data_key\":\"settings\",\"data\":{\"n\":2},\"version\":2}]");
    want_refused(serve.port, &(struct http_request){0, "POST", V1, service, MERGE, "{\"data\":{}}"},
                 WANT(400, "23502",
                      "null value in column \"user_id\" of relation "
                      "\"user_sync_data\" violates not-null constraint"));
    want_refused(serve.port,
                 &(struct http_request){0, "POST", V1, service, MERGE,
                                        "[" ROW(A, "{}") "," ROW(B, "{}") "]"},
                 WANT(400, "0A000", "rows of several users are written one request each"));
    want_refused(serve.port, &(struct http_request){0, "DELETE", V1, service, NULL, NULL},
                 WANT(400, "user_needed", "service_role has to name the users whose rows it means",
                      NULL, "Add a filter: user_id=eq.<uuid>, or user_id=in.(<uuid>,<uuid>)."));
    want_refused(
        serve.port,
        &(struct http_request){0, "DELETE", V1 "?user_id=in.(" A "," B ")", service, NULL, NULL},
        WANT(400, "user_needed", "one user alone can be named here"));
    documents_are("[{\"data_key\":\"settings\",\"data\":{\"n\":2},\"version\":2}]");
}

static void a_patch_writes_where_its_filters_hold(void **state)
{
    (void)state;
    struct http_answer answer;
    gives("PATCH", V1 "?user_id=eq." A, ROWS, "{\"data\":" SETTINGS(1) "}", "200 []");
    gives("POST", V1, MERGE, ROW(A, SETTINGS(1)), "201 ");
    gives("PATCH", V1 "?data->settings->value->>n=eq.7", NULL, "{\"data\":" SETTINGS(2) "}",
          "204 ");
    documents_are("[{\"data_key\":\"settings\",\"data\":{\"n\":1},\"version\":1}]");
    assert_int_equal(call("PATCH", V1 "?user_id=eq." A "&data->settings->value->>n=eq.1",
                          "Prefer: count=exact\r\n", "{\"data\":" SETTINGS(2) "}", &answer),
                     204);
    assert_string_equal(http_field(&answer, "Content-Range"), "0-0/1");
    http_release(&answer);
    documents_are("[{\"data_key\":\"settings\",\"data\":{\"n\":2},\"version\":2}]");
    gives("PATCH", V1 "?user_id=eq." A "&select=user_id", ROWS,
          "{\"updated_at\":\"2026-11-23T10:00:00Z\"}", "200 [{\"user_id\":\"" A "\"}]");
    gives("PATCH", V1, ROWS, "{}", "200 []");
    refuses("PATCH", V1, NULL, "{\"nope\":1}",
            WANT(400, "PGRST204",
                 "Could not find the 'nope' column of 'user_sync_data' in the schema cache"));
    refuses("PATCH", V1, NULL, "", WANT(400, "PGRST102", "Empty or invalid json"));
    documents_are("[{\"data_key\":\"settings\",\"data\":{\"n\":2},\"version\":2}]");
}

static void a_delete_deletes_all_documents_and_a_new_row_may_come(void **state)
{
    (void)state;
    gives("POST", V1, MERGE, ROW(A, SETTINGS(1)), "201 ");
    gives("DELETE", V1 "?data->settings=is.null", NULL, NULL, "204 ");
    documents_are("[{\"data_key\":\"settings\",\"data\":{\"n\":1},\"version\":1}]");
    gives("DELETE", V1 "?user_id=eq." A "&select=data->settings->value", ROWS, NULL,
          "200 [{\"value\":{\"n\":1}}]");
    documents_are("[]");
    gives("POST", V1, NULL, ROW(A, SETTINGS(2)), "201 ");
    documents_are("[{\"data_key\":\"settings\",\"data\":{\"n\":2},\"version\":3}]");
}

static void what_an_app_read_and_wrote_back_changes_nothing(void **state)
{
    (void)state;
    struct http_answer answer;
    char body[3000];
    gives("POST", V1, MERGE, ROW(A, SETTINGS(1)), "201 ");
    gives("POST", V1, MERGE,
          ROW(A, "{\"notes\":{\"value\":[1],\"timestamp\":\"2024-01-01T10:00:00\"}}"), "200 ");
    assert_int_equal(call("GET", V1 "?select=data", "Accept: application/vnd.pgrst.object+json\r\n",
                          NULL, &answer),
                     200);
    /* The app changes its own copy of one key, and sends all. */
    char *value = strstr(answer.body, "{\"n\":1}");
    assert_non_null(value);
    value[5] = '8';
    snprintf(body, sizeof body, "{\"user_id\":\"" A "\",%s", answer.body + 1);
    http_release(&answer);
    gives("POST", V1, MERGE, body, "200 ");
    /* The time stamp is still ours: an app that changes a key writes a time of its own. */
    documents_are("[{\"data_key\":\"notes\",\"data\":[1],\"version\":1},"
                  "{\"data_key\":\"settings\",\"data\":{\"n\":1},\"version\":1}]");
}

static void a_key_that_is_refused_is_told_and_the_others_are_kept(void **state)
{
    (void)state;
    char *big = malloc(300001);
    char *body = malloc(301000);
    assert_true(big != NULL && body != NULL);
    memset(big, 'x', 300000);
    big[300000] = '\0';
    snprintf(body, 301000,
             "{\"user_id\":\"" A "\",\"data\":{\"big\":{\"value\":\"%s\",\"timestamp\":\"\"},"
             "\"notes\":{\"value\":[1],\"timestamp\":\"\"}}}",
             big);
    refuses("POST", V1, MERGE, body,
            WANT(413, "too_large", "the document would have 300002 bytes, the limit is 262144"));
    documents_are("[{\"data_key\":\"notes\",\"data\":[1],\"version\":1}]");
    free(big);
    free(body);
}

static void other_tables_are_written_by_functions_alone(void **state)
{
    (void)state;
    static const char *const tables[] = {"user_sync_data_v2", "user_sync_metadata",
                                         "user_sync_feed", "user_sync_queue"};
    static const char *const methods[] = {"POST", "PATCH", "DELETE"};
    for (size_t i = 0; i < 4; i++) {
        for (size_t k = 0; k < 3; k++) {
            char path[200];
            char message[200];
            snprintf(path, sizeof path, "/rest/v1/%s?user_id=eq." A, tables[i]);
            snprintf(message, sizeof message, "permission denied for table %s", tables[i]);
            const char *body = k == 2 ? NULL : "{\"user_id\":\"" A "\"}";
            refuses(methods[k], path, MERGE, body, WANT(403, "42501", message));
            want_refused(serve.port, &(struct http_request){0, methods[k], path, anon, NULL, body},
                         WANT(401, "42501", message));
            want_refused(serve.port,
                         &(struct http_request){0, methods[k], path, service, NULL, body},
                         WANT(403, "42501", message));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define RULE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        RULE(an_upsert_is_201_for_a_new_row_and_200_for_another),
        RULE(a_plain_insert_meets_the_row_that_is_there),
        RULE(a_representation_is_the_row_as_it_is_then),
        RULE(an_empty_row_is_there_afterwards),
        RULE(arrays_are_rows_with_the_same_keys),
        RULE(bodies_that_are_no_rows_are_refused),
        RULE(nobody_writes_another_users_row),
        RULE(service_role_writes_the_row_of_the_user_that_it_names),
        RULE(a_patch_writes_where_its_filters_hold),
        RULE(a_delete_deletes_all_documents_and_a_new_row_may_come),
        RULE(what_an_app_read_and_wrote_back_changes_nothing),
        RULE(a_key_that_is_refused_is_told_and_the_others_are_kept),
        RULE(other_tables_are_written_by_functions_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
