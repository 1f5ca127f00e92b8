/* old_app.c - see old_app.h. */
#include "old_app.h"

#include "http_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define DEPTH 90u

void old_app_release(struct old_answer *answer)
{
    arena_release(&answer->arena);
}

void old_app_call(const struct old_app *app, const char *function, const char *body,
                  struct old_answer *out)
{
    struct http_answer answer;
    http_rpc(app->port, function, app->token, body, &answer);
    *out = (struct old_answer){.http_status = answer.status, .body = json_absent()};
    arena_init(&out->arena);
    if (answer.body_len > 0) {
        struct slice text = arena_copy(&out->arena, (struct slice){answer.body, answer.body_len});
        if (json_parse(&out->arena, text, DEPTH, &out->body, NULL) != 0) {
            fail_msg("%s answers no JSON: %.*s", function, SLICE_FMT(text));
        }
    }
    http_release(&answer);
}

void old_app_upsert_body(const struct old_app *app, const char *key, const char *data,
                         int64_t expected, struct buf *out)
{
    buf_add_text(out, "{\"p_user_id\":\"");
    buf_add_text(out, app->user);
    buf_add_text(out, "\",\"p_data_key\":");
    json_print_string(out, slice_of(key));
    buf_add_text(out, ",\"p_data\":");
    buf_add_text(out, data);
    buf_add_text(out, ",\"p_expected_version\":");
    if (expected < 0) {
        buf_add_text(out, "null");
    } else {
        buf_add_int(out, expected);
    }
    buf_add_text(out, ",\"p_device_id\":\"");
    buf_add_text(out, app->device);
    buf_add_text(out, "\"}");
    assert_false(out->failed);
}

void old_app_upsert(const struct old_app *app, const char *key, const char *data, int64_t expected,
                    struct old_answer *out)
{
    struct buf body = BUF_INIT;
    old_app_upsert_body(app, key, data, expected, &body);
    old_app_call(app, "atomic_sync_upsert", body.ptr, out);
    buf_release(&body);
}

int64_t old_app_put(const struct old_app *app, const char *key, const char *data, int64_t expected,
                    const char *action)
{
    struct old_answer answer;
    int64_t version = 0;
    old_app_upsert(app, key, data, expected, &answer);
    assert_int_equal(answer.http_status, 200);
    struct buf text = BUF_INIT;
    json_print(&text, &answer.body);
    const struct json_value *success = json_get(&answer.body, "success");
    const struct json_value *got = json_get(&answer.body, "action");
    if (!json_is(success, JSON_TRUE) || !json_is(got, JSON_STRING) ||
        !slice_is(json_text(got), action)) {
        fail_msg("wanted %s: %s", action, text.ptr);
    }
    assert_true(json_to_int(json_get(&answer.body, "version"), &version));
    buf_release(&text);
    old_app_release(&answer);
    return version;
}

void old_app_expect(const struct old_app *app, const char *key, const char *json)
{
    struct old_answer answer;
    struct json_value want = json_absent();
    const struct json_value *got = NULL;
    char body[128];
    (void)snprintf(body, sizeof body, "{\"p_user_id\":\"%s\"}", app->user);
    old_app_call(app, "get_user_sync_data", body, &answer);
    assert_int_equal(answer.http_status, 200);
    assert_int_equal(answer.body.type, JSON_ARRAY);
    if (json != NULL) {
        assert_int_equal(json_parse(&answer.arena, slice_of(json), DEPTH, &want, NULL), 0);
    }
    for (uint32_t i = 0; i < answer.body.count; i++) {
        const struct json_value *name = json_get(&answer.body.items[i], "data_key");
        if (json_is(name, JSON_STRING) && slice_is(json_text(name), key)) {
            got = json_get(&answer.body.items[i], "data");
        }
    }
    struct json_value absent = json_absent();
    if (!json_equal(&answer.arena, got == NULL ? &absent : got, &want)) {
        struct buf text = BUF_INIT;
        if (got != NULL) {
            json_print(&text, got);
        }
        fail_msg("%s is %.*s, wanted %s", key, SLICE_FMT(buf_slice(&text)),
                 json == NULL ? "nothing" : json);
    }
    old_app_release(&answer);
}
