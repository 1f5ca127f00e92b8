/* rt_app.c - see rt_app.h. */
#include "rt_app.h"

#include "http_client.h"

#include <stdio.h>
#include <string.h>

void rt_app_join(struct ws_client *client, const char *topic, const char *changes,
                 const char *token)
{
    char access[9000] = "";
    if (token != NULL) {
        snprintf(access, sizeof access, ",\"access_token\":\"%s\"", token);
    }
    ws_say(
        client,
        "[\"1\",\"1\",\"realtime:%s\",\"phx_join\",{\"config\":{\"broadcast\":{\"ack\":false,"
        "\"self\":false},\"presence\":{\"key\":\"\",\"enabled\":false},\"postgres_changes\":[%s],"
        "\"private\":false}%s}]",
        topic, changes, access);
}

const char *rt_app_binding(const char *user)
{
    static _Thread_local char text[256];
    snprintf(text, sizeof text,
             "{\"event\":\"*\",\"schema\":\"public\",\"table\":\"user_sync_data_v2\","
             "\"filter\":\"user_id=eq.%s\"}",
             user);
    return text;
}

bool rt_app_open(struct ws_client *client, unsigned port, const char *user, const char *token)
{
    char topic[64];
    snprintf(topic, sizeof topic, "user_sync_v2_%s", user);
    if (!ws_open(client, port, RT_TARGET_V2, NULL)) {
        return false;
    }
    rt_app_join(client, topic, rt_app_binding(user), token);
    return ws_hear(client, "\"Subscribed to PostgreSQL\"");
}

bool rt_app_write(unsigned port, const char *user, const char *token, const char *key,
                  const char *data)
{
    char body[4096];
    struct http_answer answer;
    snprintf(body, sizeof body,
             "{\"p_user_id\":\"%s\",\"p_data_key\":\"%s\",\"p_data\":%s,"
             "\"p_expected_version\":null,\"p_device_id\":\"d1\"}",
             user, key, data);
    http_rpc(port, "atomic_sync_upsert", token, body, &answer);
    bool good = answer.status == 200 && strstr(answer.body, "\"success\":true") != NULL;
    http_release(&answer);
    return good;
}

int rt_app_heard(struct ws_client *client, const char *part)
{
    static unsigned n_beats;
    char ref[32];
    int n = 0;
    n_beats++;
    snprintf(ref, sizeof ref, "\"beat%u\"", n_beats);
    ws_say(client, "[null,%s,\"phoenix\",\"heartbeat\",{}]", ref);
    while (ws_next(client)) {
        if (client->opcode == 1 && strstr(client->text, ref) != NULL) {
            return n;
        }
        n += client->opcode <= 2 &&
             memmem(client->text, client->text_len, part, strlen(part)) != NULL;
    }
    return -1;
}
