/* old_app.h - an app of the older systems: raw calls, as shipped clients make them. */
#ifndef TESTS_OLD_APP_H
#define TESTS_OLD_APP_H

#include "base/buf.h"
#include "json/json.h"

struct old_app {
    unsigned port;
    const char *token;
    const char *user;
    const char *device;
};

/* What a call brought. Release with old_app_release(). */
struct old_answer {
    struct arena arena;
    int http_status;
    struct json_value body; /* absent where there was none */
};

void old_app_release(struct old_answer *answer);

/* Any function with a body of the test's own. */
void old_app_call(const struct old_app *app, const char *function, const char *body,
                  struct old_answer *out);

/* The parameters of such a call, for a test that sends them by itself. */
void old_app_upsert_body(const struct old_app *app, const char *key, const char *data,
                         int64_t expected, struct buf *out);

/* atomic_sync_upsert of {user, key, data, expected, device}; expected -1 is null. */
void old_app_upsert(const struct old_app *app, const char *key, const char *data, int64_t expected,
                    struct old_answer *out);

/* The same; answers the version, and expects success and the action. */
int64_t old_app_put(const struct old_app *app, const char *key, const char *data, int64_t expected,
                    const char *action);

/* The document as get_user_sync_data shows it equals this JSON, by value; NULL: there is none. */
void old_app_expect(const struct old_app *app, const char *key, const char *json);

#endif
