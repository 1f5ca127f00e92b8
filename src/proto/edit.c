/* edit.c - see edit.h. Strict on the way in: an edit is applied as it stands or not at all. */
#include "proto/edit.h"

#include "base/limits.h"
#include "base/status.h"
#include "base/utf8.h"
#include "proto/read.h"

bool proto_key_valid(struct slice key)
{
    if (key.len == 0 || key.len > LIMIT_KEY_BYTES || key.ptr[0] == '_') {
        return false;
    }
    return proto_device_valid(key);
}

bool proto_device_valid(struct slice device_id)
{
    return device_id.len > 0 && device_id.len <= LIMIT_DEVICE_BYTES && utf8_is_plain(device_id);
}

static bool id_valid(struct slice id)
{
    if (id.len != PROTO_ID_BYTES) {
        return false;
    }
    for (size_t i = 0; i < id.len; i++) {
        char c = id.ptr[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) {
            return false;
        }
    }
    return true;
}

/* ---- Reading --------------------------------------------------------------------------------- */

static bool is_known(struct slice name)
{
    static const char *const names[] = {"op",  "prev",  "id",    "key",    "base", "was",
                                        "now", "whole", "epoch", "delete", "seed"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (slice_is(name, names[i])) {
            return true;
        }
    }
    return false;
}

/* An edit from a later version must not be applied without what this one does not understand. */
static int check_members(const struct json_value *value, struct proto_problem *problem)
{
    if (value->type != JSON_OBJECT) {
        return proto_problem_set(problem, BQ_MALFORMED, "an edit is not an object");
    }
    for (uint32_t i = 0; i < value->count; i++) {
        struct slice name = json_text(&value->members[i].key);
        if (!is_known(name)) {
            return proto_problem_set(problem, BQ_UNSUPPORTED,
                                     "an edit has the unknown member \"%.*s\"",
                                     (int)(name.len > 40 ? 40 : name.len), name.ptr);
        }
    }
    return BQ_OK;
}

static bool is_pointer(const struct json_value *value)
{
    if (value->type != JSON_STRING || (value->len > 0 && value->ptr[0] != '/')) {
        return false;
    }
    for (uint32_t i = 0; i < value->len; i++) {
        bool escaped = i + 1 < value->len && (value->ptr[i + 1] == '0' || value->ptr[i + 1] == '1');
        if (value->ptr[i] == '~' && !escaped) {
            return false;
        }
    }
    return true;
}

static int read_whole(struct arena *arena, const struct json_value *value, struct merge_edit *out,
                      struct proto_problem *problem)
{
    const struct json_value *items;
    uint32_t n;
    int status = proto_read_array(value, "whole", &items, &n, problem);
    if (status != BQ_OK || n == 0) {
        return status;
    }
    struct slice *whole = arena_alloc(arena, n * sizeof *whole);
    if (whole == NULL) {
        return BQ_NOMEM;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (!is_pointer(&items[i])) {
            return proto_problem_set(problem, BQ_MALFORMED, "\"whole\" holds no JSON Pointer");
        }
        whole[i] = json_text(&items[i]);
    }
    out->whole = whole;
    out->n_whole = n;
    return BQ_OK;
}

/* was and now, or delete; a seed has now alone. */
static int check_shape(const struct merge_edit *edit, struct proto_problem *problem)
{
    bool has_was = !json_is_absent(&edit->was);
    bool has_now = !json_is_absent(&edit->now);
    if (edit->deletes && (has_was || has_now || edit->mode == MERGE_SEED)) {
        return proto_problem_set(problem, BQ_MALFORMED,
                                 "\"delete\" stands beside \"was\", \"now\" or \"seed\"");
    }
    if (!edit->deletes && !has_was && !has_now) {
        return proto_problem_set(problem, BQ_MALFORMED,
                                 "an edit has neither \"was\" nor \"now\" nor \"delete\"");
    }
    if (edit->mode == MERGE_SEED && (has_was || !has_now)) {
        return proto_problem_set(problem, BQ_MALFORMED, "a seed has \"now\" and no \"was\"");
    }
    return BQ_OK;
}

static struct json_value member_or_absent(const struct json_value *value, const char *name)
{
    const struct json_value *found = json_get(value, name);
    return found == NULL ? json_absent() : *found;
}

static int read_body(struct arena *arena, const struct json_value *value, struct merge_edit *out,
                     struct proto_problem *problem)
{
    struct merge_edit edit = {.mode = MERGE_EDIT};
    bool seed = false;
    int64_t epoch;
    int status = proto_read_int(value, "base", (struct proto_range){-1, LIMIT_VERSION}, 0,
                                &edit.base, problem);
    if (status == BQ_OK) {
        status = proto_read_int(value, "epoch", (struct proto_range){0, LIMIT_EPOCH - 1}, -1,
                                &epoch, problem);
    }
    if (status == BQ_OK) {
        status = proto_read_bool(value, "delete", &edit.deletes, problem);
    }
    if (status == BQ_OK) {
        status = proto_read_bool(value, "seed", &seed, problem);
    }
    if (status == BQ_OK) {
        status = read_whole(arena, value, &edit, problem);
    }
    if (status != BQ_OK) {
        return status;
    }
    edit.mode = seed ? MERGE_SEED : MERGE_EDIT;
    edit.has_epoch = epoch >= 0;
    edit.epoch = epoch < 0 ? 0 : epoch;
    edit.was = member_or_absent(value, "was");
    edit.now = member_or_absent(value, "now");
    status = check_shape(&edit, problem);
    if (status == BQ_OK) {
        *out = edit;
    }
    return status;
}

int proto_edit_read_bare(struct arena *arena, const struct json_value *value,
                         struct merge_edit *out, struct proto_problem *problem)
{
    int status = check_members(value, problem);
    return status == BQ_OK ? read_body(arena, value, out, problem) : status;
}

/* What names the edit, as far as it can be read: a refusal has to say which edit it is about. */
static void read_name(const struct json_value *value, struct proto_edit *out)
{
    const struct json_value *key = json_get(value, "key");
    const struct json_value *id = json_get(value, "id");
    const struct json_value *op = json_get(value, "op");
    *out = (struct proto_edit){.key = SLICE_NONE, .id = SLICE_NONE};
    if (json_is(key, JSON_STRING)) {
        out->key = json_text(key);
    }
    if (json_is(id, JSON_STRING) && id_valid(json_text(id))) {
        out->id = json_text(id);
    }
    if (op == NULL || !json_to_int(op, &out->op) || out->op < 1 || out->op >= LIMIT_OP) {
        out->op = 0;
    }
}

int proto_edit_read(struct arena *arena, const struct json_value *value, struct proto_edit *out,
                    struct proto_problem *problem)
{
    read_name(value, out);
    int status = check_members(value, problem);
    if (status != BQ_OK) {
        return status;
    }
    if (!proto_key_valid(out->key)) {
        return proto_problem_set(problem, BQ_BAD_KEY, "%s", status_text(BQ_BAD_KEY));
    }
    if (out->op == 0) {
        return proto_problem_set(problem, BQ_MALFORMED, "\"op\" is not an integer from 1");
    }
    if (out->id.ptr == NULL) {
        return proto_problem_set(problem, BQ_MALFORMED, "\"id\" is not 16 lower-case hex digits");
    }
    status = proto_need_int(value, "prev", (struct proto_range){0, out->op - 1}, &out->prev,
                            problem);
    return status == BQ_OK ? read_body(arena, value, &out->edit, problem) : status;
}

/* ---- Printing -------------------------------------------------------------------------------- */

static void print_whole(struct buf *out, const struct merge_edit *edit)
{
    if (edit->n_whole == 0) {
        return;
    }
    proto_print_name(out, false, "whole");
    for (uint32_t i = 0; i < edit->n_whole; i++) {
        buf_add_char(out, i == 0 ? '[' : ',');
        json_print_string(out, edit->whole[i]);
    }
    buf_add_char(out, ']');
}

void proto_edit_print(struct buf *out, const struct proto_edit *edit)
{
    const struct merge_edit *body = &edit->edit;
    proto_print_name(out, true, "op");
    buf_add_int(out, edit->op);
    proto_print_int(out, "prev", edit->prev);
    proto_print_text(out, "id", edit->id);
    proto_print_text(out, "key", edit->key);
    proto_print_int(out, "base", body->base);
    if (body->deletes) {
        proto_print_bool(out, "delete", true);
    }
    if (body->mode != MERGE_EDIT) {
        proto_print_bool(out, "seed", true);
    }
    if (!json_is_absent(&body->was)) {
        proto_print_value(out, "was", &body->was);
    }
    if (!json_is_absent(&body->now)) {
        proto_print_value(out, "now", &body->now);
    }
    print_whole(out, body);
    if (body->has_epoch) {
        proto_print_int(out, "epoch", body->epoch);
    }
    buf_add_char(out, '}');
}
