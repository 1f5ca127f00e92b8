/* rpc.h - the parameters and rows of the other calls (docs/protocol.md, "Calls").
 *
 * V2's and v1's calls keep their names, parameters and result objects to the letter; sync_report
 * and sync_policies are ours. A user id parameter is a slice here: who may name whom is decided
 * against the token, not here. SLICE_NONE stands for SQL NULL and for a parameter left to its
 * default. */
#ifndef PROTO_RPC_H
#define PROTO_RPC_H

#include "proto/edit.h"

struct proto_upsert {
    struct slice data_key;
    struct json_value data;
    bool has_expected;
    int64_t expected;
    struct slice device_id; /* NULL is the device '' */
};

enum proto_action { PROTO_INSERTED, PROTO_UPDATED, PROTO_MERGED_ACTION };

struct proto_upserted {
    bool success;
    int64_t version;
    bool conflict;
    struct json_value data;
    enum proto_action action;
    struct slice error; /* where success is false */
};

/* A row of get_user_sync_data, and of the table for operators. */
struct proto_row {
    struct slice key;
    struct json_value data;
    int64_t version;
    struct slice device_id;
    int64_t modified_us;
};

/* A row of get_user_sync_status. */
struct proto_device {
    struct slice device_id;
    int64_t last_sync_us;
    int64_t last_sync_version;
    struct json_value info;
};

/* update_sync_metadata. */
struct proto_metadata {
    struct slice device_id;
    int64_t version;
    struct json_value info;
};

/* One dead letter in p_failed of sync_report, and in the client's export. */
struct proto_dead {
    struct slice key;
    int64_t op;
    struct slice id;
    int code;
    struct slice message;
    struct json_value edit; /* as it was sent */
    int64_t failed_at_ms;
};

struct proto_report {
    struct slice device_id;
    struct json_value info; /* object; absent: {} */
    struct slice replaces;  /* an older device id of the same file, or none */
    struct proto_dead *failed;
    uint32_t n_failed;
};

void proto_report_print(struct buf *out, const struct proto_report *report);
int proto_report_read(struct arena *arena, const struct json_value *params,
                      struct proto_report *out, struct proto_problem *problem);

/* {"success": true, "version": ..., "conflict": ..., "data": ..., "action": "..."} or the
 * failure. */
void proto_upserted_print(struct buf *out, const struct proto_upserted *result);

/* Arrays of rows as PostgREST prints them. */
void proto_rows_print(struct buf *out, const struct proto_row *rows, uint32_t n);
void proto_devices_print(struct buf *out, const struct proto_device *devices, uint32_t n);

/* The four-key error object of PostgREST, keys in its order; details and hint NULL print null. */
void proto_error_print(struct buf *out, const char *code, const char *message, const char *details,
                       const char *hint);

#endif
