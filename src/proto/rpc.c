/* rpc.c - see rpc.h. */
#include "proto/rpc.h"

#include "base/limits.h"
#include "base/status.h"
#include "proto/read.h"

/* ---- sync_report ----------------------------------------------------------------------------- */

static void print_dead(struct buf *out, const struct proto_dead *dead)
{
    proto_print_name(out, true, "key");
    json_print_string(out, dead->key);
    proto_print_int(out, "op", dead->op);
    proto_print_text(out, "id", dead->id);
    proto_print_text(out, "code", slice_of(status_code(dead->code)));
    proto_print_text(out, "message", dead->message);
    proto_print_value(out, "edit", &dead->edit);
    proto_print_time(out, "failed_at", dead->failed_at_ms * 1000);
    buf_add_char(out, '}');
}

void proto_report_print(struct buf *out, const struct proto_report *report)
{
    proto_print_name(out, true, "p_device_id");
    json_print_string(out, report->device_id);
    proto_print_name(out, false, "p_device_info");
    if (json_is_absent(&report->info)) {
        buf_add_text(out, "{}");
    } else {
        json_print(out, &report->info);
    }
    proto_print_text(out, "p_replaces", report->replaces);
    proto_print_name(out, false, "p_failed");
    buf_add_char(out, '[');
    for (uint32_t i = 0; i < report->n_failed; i++) {
        if (i > 0) {
            buf_add_char(out, ',');
        }
        print_dead(out, &report->failed[i]);
    }
    buf_add_text(out, "]}");
}

static int read_dead(const struct json_value *value, struct proto_dead *out,
                     struct proto_problem *problem)
{
    struct slice code;
    int64_t failed_us;
    int status = proto_need_text(value, "key", &out->key, problem);
    if (status == BQ_OK) {
        status =
            proto_read_int(value, "op", (struct proto_range){0, LIMIT_OP}, 0, &out->op, problem);
    }
    if (status == BQ_OK) {
        status = proto_read_text(value, "id", &out->id, problem);
    }
    if (status == BQ_OK) {
        status = proto_need_text(value, "code", &code, problem);
    }
    if (status == BQ_OK) {
        out->code = status_of_code(code.ptr, code.len);
        status = proto_read_text(value, "message", &out->message, problem);
    }
    if (status == BQ_OK) {
        status = proto_read_time(value, "failed_at", &failed_us, problem);
    }
    const struct json_value *edit = json_get(value, "edit");
    if (status == BQ_OK && !json_is(edit, JSON_OBJECT)) {
        status = proto_problem_set(problem, BQ_MALFORMED, "a dead letter has no \"edit\"");
    }
    if (status == BQ_OK) {
        out->failed_at_ms = failed_us / 1000;
        out->edit = *edit;
    }
    return status;
}

static int read_failed(struct arena *arena, const struct json_value *params,
                       struct proto_report *report, struct proto_problem *problem)
{
    const struct json_value *items;
    int status = proto_read_array(params, "p_failed", &items, &report->n_failed, problem);
    if (status != BQ_OK) {
        return status;
    }
    if (report->n_failed > LIMIT_DEAD_LETTERS) {
        return proto_problem_set(problem, BQ_MALFORMED, "over %u dead letters in one report",
                                 LIMIT_DEAD_LETTERS);
    }
    report->failed = arena_zalloc(arena, report->n_failed, sizeof *report->failed);
    if (report->failed == NULL) {
        return BQ_NOMEM;
    }
    size_t bytes = 0;
    for (uint32_t i = 0; i < report->n_failed && status == BQ_OK; i++) {
        status = read_dead(&items[i], &report->failed[i], problem);
        bytes += json_size(&items[i]);
    }
    if (status == BQ_OK && bytes > LIMIT_DEAD_BYTES) {
        status = proto_problem_set(problem, BQ_MALFORMED, "dead letters of over %u bytes",
                                   LIMIT_DEAD_BYTES);
    }
    return status;
}

int proto_report_read(struct arena *arena, const struct json_value *params,
                      struct proto_report *out, struct proto_problem *problem)
{
    struct proto_report report = {.info = json_object(NULL, 0)};
    int status = proto_need_text(params, "p_device_id", &report.device_id, problem);
    if (status == BQ_OK && !proto_device_valid(report.device_id)) {
        status = proto_problem_set(problem, BQ_MALFORMED,
                                   "\"p_device_id\" is not 1 to %u bytes without controls",
                                   LIMIT_DEVICE_BYTES);
    }
    if (status == BQ_OK) {
        status = proto_read_text(params, "p_replaces", &report.replaces, problem);
    }
    if (status == BQ_OK && report.replaces.ptr != NULL && !proto_device_valid(report.replaces)) {
        status = proto_problem_set(problem, BQ_MALFORMED,
                                   "\"p_replaces\" is not 1 to %u bytes without controls",
                                   LIMIT_DEVICE_BYTES);
    }
    const struct json_value *info = json_get(params, "p_device_info");
    if (status == BQ_OK && info != NULL && info->type != JSON_NULL) {
        report.info = *info;
        if (info->type != JSON_OBJECT) {
            status = proto_problem_set(problem, BQ_MALFORMED, "\"p_device_info\" is not an object");
        }
    }
    if (status == BQ_OK) {
        status = read_failed(arena, params, &report, problem);
    }
    if (status == BQ_OK) {
        *out = report;
    }
    return status;
}

/* ---- Answers of the older calls -------------------------------------------------------------- */

void proto_upserted_print(struct buf *out, const struct proto_upserted *result)
{
    static const char *const actions[] = {[PROTO_INSERTED] = "inserted",
                                          [PROTO_UPDATED] = "updated",
                                          [PROTO_MERGED_ACTION] = "merged"};
    proto_print_name(out, true, "success");
    if (!result->success) {
        buf_add_text(out, "false");
        proto_print_text(out, "error", result->error);
        proto_print_bool(out, "conflict", false);
        buf_add_char(out, '}');
        return;
    }
    buf_add_text(out, "true");
    proto_print_int(out, "version", result->version);
    proto_print_bool(out, "conflict", result->conflict);
    proto_print_value(out, "data", &result->data);
    proto_print_text(out, "action", slice_of(actions[result->action]));
    buf_add_char(out, '}');
}

void proto_rows_print(struct buf *out, const struct proto_row *rows, uint32_t n)
{
    buf_add_char(out, '[');
    for (uint32_t i = 0; i < n; i++) {
        if (i > 0) {
            buf_add_char(out, ',');
        }
        proto_print_name(out, true, "data_key");
        json_print_string(out, rows[i].key);
        proto_print_value(out, "data", &rows[i].data);
        proto_print_int(out, "version", rows[i].version);
        proto_print_text(out, "device_id", rows[i].device_id);
        proto_print_time(out, "modified_at", rows[i].modified_us);
        buf_add_char(out, '}');
    }
    buf_add_char(out, ']');
}

void proto_devices_print(struct buf *out, const struct proto_device *devices, uint32_t n)
{
    buf_add_char(out, '[');
    for (uint32_t i = 0; i < n; i++) {
        if (i > 0) {
            buf_add_char(out, ',');
        }
        proto_print_name(out, true, "device_id");
        json_print_string(out, devices[i].device_id);
        proto_print_time(out, "last_sync_at", devices[i].last_sync_us);
        proto_print_int(out, "last_sync_version", devices[i].last_sync_version);
        proto_print_value(out, "device_info", &devices[i].info);
        buf_add_char(out, '}');
    }
    buf_add_char(out, ']');
}

static void print_or_null(struct buf *out, const char *name, const char *text)
{
    proto_print_text(out, name, text == NULL ? SLICE_NONE : slice_of(text));
}

void proto_error_print(struct buf *out, const char *code, const char *message, const char *details,
                       const char *hint)
{
    proto_print_name(out, true, "code");
    json_print_string(out, slice_of(code));
    print_or_null(out, "details", details);
    print_or_null(out, "hint", hint);
    print_or_null(out, "message", message);
    buf_add_char(out, '}');
}
