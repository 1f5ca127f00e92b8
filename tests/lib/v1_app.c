/* v1_app.c - see v1_app.h. */
#include "v1_app.h"

#include "http_client.h"

#include "base/status.h"

#include <stdio.h>

#define PATH "/rest/v1/user_sync_data"

bool v1_app_read(const struct v1_app *app, struct arena *arena, struct json_value *out)
{
    char path[200];
    struct http_answer answer;
    struct json_value rows;
    snprintf(path, sizeof path, PATH "?select=data&user_id=eq.%s", app->user);
    http_call(
        &(struct http_request){
            .port = app->port, .method = "GET", .path = path, .token = app->token},
        &answer);
    struct slice text = arena_copy(arena, (struct slice){answer.body, answer.body_len});
    bool good = answer.status == 200 && json_parse(arena, text, 100, &rows, NULL) == BQ_OK &&
                rows.type == JSON_ARRAY && rows.count <= 1;
    http_release(&answer);
    if (!good) {
        return false;
    }
    *out = json_object(NULL, 0);
    const struct json_value *data = rows.count == 0 ? out : json_get(&rows.items[0], "data");
    good = json_is(data, JSON_OBJECT);
    *out = good ? *data : *out;
    return good;
}

const struct json_value *v1_app_value(const struct json_value *data, const char *key)
{
    const struct json_value *entry = json_get(data, key);
    return entry == NULL ? NULL : json_get(entry, "value");
}

static void print_body(const struct v1_app *app, const struct json_value *data, const char *key,
                       const char *value, const char *time, struct buf *out)
{
    buf_add_format(out, "{\"user_id\":\"%s\",\"updated_at\":\"%s\",\"data\":{", app->user, time);
    for (uint32_t i = 0; i < data->count; i++) {
        const struct json_member *member = &data->members[i];
        if (!slice_is(json_text(&member->key), key)) {
            json_print(out, &member->key);
            buf_add_char(out, ':');
            json_print(out, &member->value);
            buf_add_char(out, ',');
        }
    }
    json_print_string(out, slice_of(key));
    buf_add_text(out, ":{\"value\":");
    buf_add_text(out, value);
    buf_add_format(out, ",\"timestamp\":\"%s\"}}}", time);
}

bool v1_app_write(const struct v1_app *app, const struct json_value *data, const char *key,
                  const char *value, const char *time)
{
    struct http_answer answer;
    struct buf body = BUF_INIT;
    print_body(app, data, key, value, time, &body);
    http_call(&(struct http_request){app->port, "POST", PATH, app->token,
                                     "Prefer: resolution=merge-duplicates\r\n", body.ptr},
              &answer);
    bool good = answer.status == 200 || answer.status == 201;
    if (!good) {
        fprintf(stderr, "v1 app: %d %s\n", answer.status,
                answer.body == NULL ? "no answer" : answer.body);
    }
    http_release(&answer);
    buf_release(&body);
    return good;
}
