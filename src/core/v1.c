/* v1.c - the whole row of a v1 app, {"<key>": {"value": .., "timestamp": ..}}: atomic_sync_data,
 * and the same through the table user_sync_data (docs/protocol.md, "v1").
 *
 * A v1 app reads the row, changes a key and sends all of it. A key whose timestamp is one that
 * we showed, for the present or a kept earlier version, is an echo; every other one is a write,
 * merged as a seed except that `incoming` takes what was sent. A key that is absent changes
 * nothing. */
#include "core/apply.h"

#include "base/status.h"
#include "proto/v1.h"

#define US_PER_MS 1000

static int is_echo(struct doc_writer *writer, const struct doc *doc, int64_t time_us, bool *out)
{
    int64_t time_ms = time_us / US_PER_MS;
    struct store *store = writer->context->store;
    int64_t id = doc->row.history;
    *out = doc->row.version > 0 && doc->row.modified_us / US_PER_MS == time_ms;
    for (unsigned i = 0; i < writer->context->limits.history && !*out && id != 0; i++) {
        struct history_entry entry;
        int status = history_get(store, writer->op->arena, &writer->op->user, id, &entry);
        if (status != BQ_OK) {
            return status == BQ_NOT_FOUND ? BQ_OK : status;
        }
        *out = entry.at_us / US_PER_MS == time_ms;
        id = entry.older;
    }
    return BQ_OK;
}

/* The first refusal is the one that is told. */
static int refuse_key(struct op *op, int status, const char *sentence, int *inout_refused)
{
    if (*inout_refused == BQ_OK) {
        *inout_refused = status;
        (void)op_refuse(op, BQ_OK, "%s", sentence);
    }
    return BQ_OK;
}

static int one_key(struct doc_writer *writer, struct slice key, const struct json_value *entry,
                   int *inout_refused)
{
    struct op *op = writer->op;
    const struct merge_policy *policy = doc_policy(writer, key);
    struct merge_edit edit = {.mode = MERGE_SEED_V1, .base = -1, .was = json_absent()};
    struct merge_result result;
    struct proto_problem problem;
    struct doc doc;
    int64_t time_us;
    bool echo = false;
    edit.now = proto_v1_unwrap(entry, &time_us);
    int status = doc_load(writer, key, &doc);
    if (status == BQ_OK && time_us >= 0) {
        status = is_echo(writer, &doc, time_us, &echo);
    }
    if (status != BQ_OK || echo) {
        return status;
    }
    edit.has_epoch = policy->epoch_field.ptr != NULL;
    edit.epoch = merge_epoch(&edit.now, policy);
    /* A tombstone that the app never heard of does not refuse its write. */
    edit.base = doc.row.deleted ? doc.row.version : -1;
    status = merge_apply(op->arena, &doc.present, &edit, policy, NULL, &result);
    if (status == BQ_OUT_OF_RANGE) {
        return refuse_key(op, status, status_text(status), inout_refused);
    }
    if (status != BQ_OK || !result.changed) {
        return status;
    }
    if (doc_check(writer, &doc, &result.document.value, &problem) != BQ_OK) {
        return refuse_key(op, problem.status, problem.text, inout_refused);
    }
    struct history_note note = {"v1", SLICE_NONE, 0, 0, &edit};
    return doc_write(writer, &doc, &result.document.value, false, 0, &note);
}

/* Key by key; *inout_refused tells why some key was not taken. */
static int write_row(struct doc_writer *writer, const struct json_value *data, int *inout_refused)
{
    const struct limits *limits = &writer->context->limits;
    int status = BQ_OK;
    if (data->type != JSON_OBJECT) {
        return refuse_key(writer->op, BQ_MALFORMED, "the row is no object", inout_refused);
    }
    /* A row is read key by key: nobody's is longer than what he may have, or has already. */
    if (data->count > limits->keys && data->count > writer->user.n_keys) {
        *inout_refused = BQ_TOO_MANY_KEYS;
        return op_refuse(writer->op, BQ_OK, "the row names %u keys, the limit is %u", data->count,
                         limits->keys);
    }
    for (uint32_t i = 0; i < data->count && status == BQ_OK; i++) {
        struct slice key = json_text(&data->members[i].key);
        if (!proto_key_valid(key)) {
            status = refuse_key(writer->op, BQ_BAD_KEY, status_text(BQ_BAD_KEY), inout_refused);
        } else {
            status = one_key(writer, key, &data->members[i].value, inout_refused);
        }
    }
    return status;
}

int run_v1_sync(struct op_context *context, struct op *op)
{
    struct doc_writer writer;
    int refused = BQ_OK;
    int status = doc_writer_begin(&writer, context, op);
    if (status != BQ_OK) {
        return status == BQ_USER_ERASED ? BQ_OK : status;
    }
    status = write_row(&writer, &op->in.v1_sync.data, &refused);
    op->out.done = refused == BQ_OK;
    return status == BQ_OK ? doc_writer_end(&writer) : status;
}

/* ---- As a row of a table --------------------------------------------------------------------- */

int op_v1_row(struct op_context *context, struct op *op, struct op_user_rows *out)
{
    struct store *store = context->store;
    *out = (struct op_user_rows){.docs = {.n = 0}};
    int status = store->user_get(store, &op->user, &out->user);
    if (status != BQ_OK) {
        return status;
    }
    out->user.id = op->user;
    return store->docs(store, op->arena, &op->user, 0, UINT32_MAX, SIZE_MAX, true, &out->docs);
}

/* Whether the row that is there is meant; it is in *out then. */
static int find_row(struct op_context *context, struct op *op, struct op_user_rows *out,
                    bool *out_found)
{
    *out_found = false;
    int status = op_v1_row(context, op, out);
    if (status != BQ_OK || !out->user.exists) {
        return status;
    }
    *out_found = true;
    return op->in.v1_write.matches == NULL
               ? BQ_OK
               : op->in.v1_write.matches(op->in.v1_write.cls, op, out, out_found);
}

static int delete_row(struct op_context *context, struct op *op)
{
    bool found;
    int status = find_row(context, op, &op->out.v1_write.row, &found);
    op->out.v1_write.applied = found;
    return status == BQ_OK && found ? run_delete_all(context, op) : status;
}

/* A row without a key is a row all the same: an app that makes it reads it back. */
static void make_user(struct doc_writer *writer, bool is_new)
{
    if (is_new && !writer->user_changed) {
        writer->user.clock_us = writer->context->now_us;
        writer->user_changed = true;
    }
}

static int store_row(struct op_context *context, struct op *op)
{
    const struct json_value *data = &op->in.v1_write.data;
    struct doc_writer writer;
    struct store_user before;
    int status = context->store->user_get(context->store, &op->user, &before);
    if (status == BQ_OK) {
        status = doc_writer_begin(&writer, context, op);
    }
    if (status == BQ_OK && !json_is_absent(data) && data->type != JSON_NULL) {
        status = write_row(&writer, data, &op->out.v1_write.refused);
    }
    if (status == BQ_OK) {
        make_user(&writer, !before.exists);
        status = doc_writer_end(&writer);
    }
    if (status == BQ_OK && op->in.v1_write.wants_row) {
        status = op_v1_row(context, op, &op->out.v1_write.row);
    }
    op->out.v1_write.applied = true;
    return status;
}

int run_v1_write(struct op_context *context, struct op *op)
{
    struct doc_writer writer;
    bool wanted = true;
    int status = doc_writer_begin(&writer, context, op);
    if (status != BQ_OK) {
        return status == BQ_USER_ERASED ? BQ_OK : status;
    }
    memset(&op->out.v1_write, 0, sizeof op->out.v1_write);
    op->out.v1_write.existed = writer.user.n_keys > 0;
    switch (op->in.v1_write.verb) {
    case OP_V1_DELETE:
        return delete_row(context, op);
    case OP_V1_UPDATE:
        status = find_row(context, op, &op->out.v1_write.row, &wanted);
        break;
    case OP_V1_INSERT:
    case OP_V1_IGNORE:
        wanted = !op->out.v1_write.existed;
        break;
    case OP_V1_MERGE:
        break;
    }
    return status == BQ_OK && wanted ? store_row(context, op) : status;
}
