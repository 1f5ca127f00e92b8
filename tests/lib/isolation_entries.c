/* isolation_entries.c - how each entry of the list is asked (isolation.h): the request that gets
 * what is there, made with its owner's names. */
#include "isolation.h"

#define RPC(name) "/rest/v1/rpc/" name
#define REST(name) "/rest/v1/" name
#define AUTH(name) "/auth/v1/" name
#define COUNTED "Prefer: count=exact\r\n"
#define MERGED "Prefer: resolution=merge-duplicates\r\n"
#define V1_DATA "{\"$K\":{\"value\":{\"n\":$N},\"timestamp\":\"2026-01-02T00:00:00Z\"}}"

/* A table that its owner reads, and that nobody writes. */
#define READ_ONLY(name, shows)                                                                     \
    {"GET", REST(name), NULL, COUNTED, NULL, ISO_OWNER, 200, shows, 0},                            \
        {"HEAD", REST(name), NULL, COUNTED, NULL, ISO_OWNER, 200, NULL, 0},                        \
        {"POST", REST(name), NULL, NULL, "[{\"user_id\":\"$U\"}]", ISO_ROLES, 403, NULL, 0},       \
        {"PATCH", REST(name), NULL, NULL, "{\"user_id\":\"$U\"}", ISO_ROLES, 403, NULL, 0},        \
    {                                                                                              \
        "DELETE", REST(name), NULL, NULL, NULL, ISO_ROLES, 403, NULL, 0                            \
    }

/* A function without side effects, by all its methods. */
#define READING(name, query, body, control, status, shows)                                         \
    {"GET", RPC(name), query, NULL, NULL, control, status, shows, 0},                              \
        {"HEAD", RPC(name), query, NULL, NULL, control, status, NULL, 0},                          \
    {                                                                                              \
        "POST", RPC(name), NULL, NULL, body, control, status, shows, 0                             \
    }

#define OPEN(path, status)                                                                         \
    {"GET", path, NULL, NULL, NULL, ISO_NONE, status, NULL, 0},                                    \
    {                                                                                              \
        "HEAD", path, NULL, NULL, NULL, ISO_NONE, status, NULL, 0                                  \
    }

static const struct iso_entry entries[] = {
    OPEN("/healthz", 200),
    OPEN("/readyz", 200),
    {"POST", RPC("sync_exchange"), NULL, NULL,
     "{\"p_user_id\":\"$U\",\"p_device_id\":\"$D\",\"p_epoch\":null,\"p_cursor\":0,\"p_edits\":[{"
     "\"op\":$N,\"prev\":0,\"id\":\"000000$N\",\"key\":\"$K\",\"base\":-1,\"now\":{\"n\":$N}}]}",
     ISO_SERVICE, 200, "-doc", ISO_WRITES},
    {"POST", RPC("sync_exchange"), NULL, NULL,
     "{\"p_device_id\":\"$D\",\"p_epoch\":null,\"p_cursor\":0,\"p_edits\":[]}", ISO_OWNER, 200,
     "-doc", 0},
    {"POST", RPC("sync_report"), NULL, NULL,
     "{\"p_user_id\":\"$U\",\"p_device_id\":\"$D\",\"p_device_info\":{\"n\":$N},"
     "\"p_replaces\":\"$D\",\"p_failed\":[]}",
     ISO_SERVICE, 204, NULL, ISO_WRITES},
    {"POST", RPC("sync_report"), NULL, NULL, "{\"p_device_id\":\"$D\",\"p_failed\":[]}", ISO_OWNER,
     204, NULL, ISO_WRITES},
    READING("sync_policies", NULL, "{}", ISO_OWNER, 200, NULL),
    {"POST", RPC("sync_policy_set"), NULL, NULL,
     "{\"p_pattern\":\"iso_$N\",\"p_policy\":\"keep\"}", ISO_SERVICE, 204, NULL,
     ISO_WRITES | ISO_OPERATOR},
    {"POST", RPC("sync_user_erase"), NULL, NULL, "{\"p_user_id\":\"$U\"}", ISO_SERVICE, 204, NULL,
     ISO_WRITES},
    {"POST", RPC("atomic_sync_upsert"), NULL, NULL,
     "{\"p_user_id\":\"$U\",\"p_data_key\":\"$K\",\"p_data\":{\"n\":$N},"
     "\"p_expected_version\":0,\"p_device_id\":\"$D\"}",
     ISO_OWNER, 200, NULL, ISO_WRITES},
    READING("get_user_sync_data", "p_user_id=$U", "{\"p_user_id\":\"$U\"}", ISO_OWNER, 200, "-doc"),
    READING("get_user_sync_status", "p_user_id=$U", "{\"p_user_id\":\"$U\"}", ISO_OWNER, 200,
            "-device"),
    {"POST", RPC("update_sync_metadata"), NULL, NULL,
     "{\"p_user_id\":\"$U\",\"p_device_id\":\"$D\",\"p_version\":$N,\"p_device_info\":{}}",
     ISO_OWNER, 204, NULL, ISO_WRITES},
    {"POST", RPC("delete_user_sync_data"), NULL, NULL, "{\"p_user_id\":\"$U\"}", ISO_OWNER, 204,
     NULL, ISO_WRITES},
    {"POST", RPC("atomic_sync_data"), NULL, NULL,
     "{\"target_user_id\":\"$U\",\"new_data\":" V1_DATA "}", ISO_OWNER, 200, NULL, ISO_WRITES},
    {"POST", RPC("atomic_add_device"), NULL, NULL,
     "{\"target_user_id\":\"$U\",\"device_id_param\":\"other-$N\",\"device_name_param\":\"n\","
     "\"device_type_param\":\"t\"}",
     ISO_OWNER, 200, NULL, 0},
    {"POST", RPC("atomic_remove_device"), NULL, NULL,
     "{\"target_user_id\":\"$U\",\"device_id_param\":\"$D\"}", ISO_OWNER, 200, NULL, 0},
    READING("migrate_sync_data_v1_to_v2", NULL, "{}", ISO_SERVICE, 204, NULL),
    {"GET", "/realtime/v1/websocket", NULL, NULL, NULL, ISO_NONE, 0, NULL, ISO_SOCKET},
    READ_ONLY("user_sync_data_v2", "-doc"),
    READ_ONLY("user_sync_metadata", "-device"),
    READ_ONLY("user_sync_feed", NULL),
    READ_ONLY("user_sync_queue", "-queue"),
    {"GET", REST("user_sync_data"), NULL, COUNTED, NULL, ISO_OWNER, 200, "-v1", 0},
    {"HEAD", REST("user_sync_data"), NULL, COUNTED, NULL, ISO_OWNER, 200, NULL, 0},
    {"POST", REST("user_sync_data"), NULL, MERGED,
     "[{\"user_id\":\"$U\",\"data\":" V1_DATA "}]", ISO_OWNER, 200, NULL, ISO_WRITES},
    {"PATCH", REST("user_sync_data"), NULL, NULL, "{\"data\":" V1_DATA "}", ISO_OWNER, 204, NULL,
     ISO_WRITES},
    {"PATCH", REST("user_sync_data"), NULL, NULL,
     "{\"user_id\":\"$U\",\"data\":" V1_DATA "}", ISO_OWNER, 204, NULL, ISO_WRITES},
    {"DELETE", REST("user_sync_data"), NULL, NULL, NULL, ISO_OWNER, 204, NULL, ISO_WRITES},
    {"POST", AUTH("signup"), NULL, NULL,
     "{\"email\":\"$E\",\"password\":\"$W\",\"data\":{\"n\":$N}}", ISO_NONE, 200, "$E", ISO_COSTLY},
    {"POST", AUTH("token"), "grant_type=password", NULL,
     "{\"email\":\"$E\",\"password\":\"$W\"}", ISO_NONE, 200, "-account",
     ISO_ACCOUNT | ISO_COSTLY | ISO_WRITES}, /* last_sign_in_at */
    {"POST", AUTH("token"), "grant_type=refresh_token", NULL, "{\"refresh_token\":\"$R\"}",
     ISO_NONE, 200, "-account", ISO_ACCOUNT},
    {"GET", AUTH("user"), NULL, NULL, NULL, ISO_OWNER, 200, "-account", ISO_ACCOUNT},
    {"HEAD", AUTH("user"), NULL, NULL, NULL, ISO_OWNER, 200, NULL, ISO_ACCOUNT},
    {"PUT", AUTH("user"), NULL, NULL, "{\"data\":{\"n\":$N}}", ISO_OWNER, 200, "-account",
     ISO_ACCOUNT | ISO_WRITES},
    {"POST", AUTH("logout"), NULL, NULL, "{}", ISO_OWNER, 204, NULL, ISO_ACCOUNT},
    OPEN(AUTH("settings"), 200),
    OPEN(AUTH("health"), 200),
    OPEN(AUTH(".well-known/jwks.json"), 200),
    {"GET", AUTH("admin/users"), "per_page=1000", NULL, NULL, ISO_SERVICE, 200, "-account",
     ISO_ACCOUNT | ISO_OPERATOR},
    {"HEAD", AUTH("admin/users"), "per_page=1000", NULL, NULL, ISO_SERVICE, 200, NULL,
     ISO_ACCOUNT | ISO_OPERATOR},
    {"POST", AUTH("admin/users"), NULL, NULL,
     "{\"email\":\"new-$N@example.com\",\"password\":\"$W\"}", ISO_SERVICE, 200, NULL,
     ISO_OPERATOR | ISO_COSTLY},
    {"GET", AUTH("admin/users/{name}"), NULL, NULL, NULL, ISO_SERVICE, 200, "-account",
     ISO_ACCOUNT},
    {"HEAD", AUTH("admin/users/{name}"), NULL, NULL, NULL, ISO_SERVICE, 200, NULL, ISO_ACCOUNT},
    {"PUT", AUTH("admin/users/{name}"), NULL, NULL, "{\"user_metadata\":{\"n\":$N}}", ISO_SERVICE,
     200, "-account", ISO_ACCOUNT | ISO_WRITES},
    {"DELETE", AUTH("admin/users/{name}"), NULL, NULL, NULL, ISO_SERVICE, 200, NULL,
     ISO_ACCOUNT | ISO_WRITES},
    OPEN(AUTH("{name}"), 404),
    {"POST", AUTH("{name}"), NULL, NULL, "{\"id\":\"$U\"}", ISO_NONE, 404, NULL, 0},
    {"PUT", AUTH("{name}"), NULL, NULL, "{\"id\":\"$U\"}", ISO_NONE, 404, NULL, 0},
    {"PATCH", AUTH("{name}"), NULL, NULL, "{\"id\":\"$U\"}", ISO_NONE, 404, NULL, 0},
    {"DELETE", AUTH("{name}"), NULL, NULL, NULL, ISO_NONE, 404, NULL, 0},
};

#define N_ENTRIES (sizeof entries / sizeof entries[0])

const struct iso_entry *iso_entry_find(struct slice method, struct slice path, unsigned i)
{
    for (size_t at = 0; at < N_ENTRIES; at++) {
        if (slice_is(method, entries[at].method) && slice_is(path, entries[at].path) && i-- == 0) {
            return &entries[at];
        }
    }
    return NULL;
}
