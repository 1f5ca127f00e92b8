/* rt_app.h - an app's realtime for tests: a socket of either vsn, joins as the published clients
 * send them, and writes of the same user over HTTP. */
#ifndef TESTS_RT_APP_H
#define TESTS_RT_APP_H

#include "ws_client.h"

#define RT_USER_A "aaaaaaaa-0000-4000-8000-00000000000a"
#define RT_USER_B "bbbbbbbb-0000-4000-8000-00000000000b"
#define RT_TARGET_V1 "/realtime/v1/websocket?apikey=key&vsn=1.0.0"
#define RT_TARGET_V2 "/realtime/v1/websocket?apikey=key&vsn=2.0.0"

/* Sends a join (vsn 2.0.0, join_ref and ref "1"). topic without "realtime:"; changes: the elements
 * of postgres_changes; token: NULL for none. */
void rt_app_join(struct ws_client *client, const char *topic, const char *changes,
                 const char *token);

/* The binding of the app in the field: the user's documents. */
const char *rt_app_binding(const char *user);

/* Opens a socket, joins and waits until it hears the changes of the user's documents. */
bool rt_app_open(struct ws_client *client, unsigned port, const char *user, const char *token);

/* atomic_sync_upsert of this key, without an expected version. */
bool rt_app_write(unsigned port, const char *user, const char *token, const char *key,
                  const char *data);

/* Sends a heartbeat and reads to its answer: everything that was published before was sent before.
 * Answers how many frames before it had `part` in them; -1 where the connection ended. */
int rt_app_heard(struct ws_client *client, const char *part);

#endif
