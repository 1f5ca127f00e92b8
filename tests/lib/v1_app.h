/* v1_app.h - an app of the first system: reads its whole row from the table, changes one key, and
 * writes the whole row back. No cmocka in here: it may run in a thread of its own. */
#ifndef TESTS_V1_APP_H
#define TESTS_V1_APP_H

#include "json/json.h"

struct v1_app {
    unsigned port;
    const char *token;
    const char *user;
};

/* The row's data, in the arena; {} where there is no row. False: not answered as it should be. */
bool v1_app_read(const struct v1_app *app, struct arena *arena, struct json_value *out);

/* The value of a key in such data, or NULL. */
const struct json_value *v1_app_value(const struct json_value *data, const char *key);

/* Writes the row with one key set to the value (JSON text), under this time of the app's own, the
 * others as they were read. False: refused. */
bool v1_app_write(const struct v1_app *app, const struct json_value *data, const char *key,
                  const char *value, const char *time);

#endif
