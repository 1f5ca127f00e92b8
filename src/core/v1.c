/* v1.c - atomic_sync_data: the whole row of a v1 app, {"<key>": {"value": .., "timestamp": ..}}.
 *
 * A v1 app reads the row, changes a key and sends all of it. A key whose timestamp is one that
 * we showed, for the present or a kept earlier version, is an echo; every other one is a write,
 * merged as a seed except that `incoming` takes what was sent. A key that is absent changes
 * nothing. */
#include "core/apply.h"

#include "base/status.h"
#include "base/timestamp.h"

#define US_PER_MS 1000

/* The wrapper, or a bare value. *out_ms is -1 where there is no readable timestamp. */
static struct json_value unwrap(const struct json_value *entry, int64_t *out_ms)
{
    const struct json_value *value = json_get(entry, "value");
    const struct json_value *timestamp = json_get(entry, "timestamp");
    int64_t time_us;
    *out_ms = -1;
    if (entry->type != JSON_OBJECT || value == NULL || timestamp == NULL) {
        return *entry;
    }
    if (timestamp->type == JSON_STRING && timestamp_parse(json_text(timestamp), &time_us)) {
        *out_ms = time_us / US_PER_MS;
    }
    return *value;
}

static int is_echo(struct doc_writer *writer, const struct doc *doc, int64_t time_ms, bool *out)
{
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

static int one_key(struct doc_writer *writer, struct slice key, const struct json_value *entry,
                   bool *out_refused)
{
    struct op *op = writer->op;
    const struct merge_policy *policy = doc_policy(writer, key);
    struct merge_edit edit = {.mode = MERGE_SEED_V1, .base = -1, .was = json_absent()};
    struct merge_result result;
    struct proto_problem problem;
    struct doc doc;
    int64_t time_ms;
    bool echo = false;
    edit.now = unwrap(entry, &time_ms);
    int status = doc_load(writer, key, &doc);
    if (status == BQ_OK && time_ms >= 0) {
        status = is_echo(writer, &doc, time_ms, &echo);
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
        *out_refused = true;
        return op_refuse(op, BQ_OK, "%s", status_text(status));
    }
    if (status != BQ_OK || !result.changed) {
        return status;
    }
    if (doc_check(writer, &doc, &result.document.value, &problem) != BQ_OK) {
        *out_refused = true;
        return op_refuse(op, BQ_OK, "%s", problem.text);
    }
    struct history_note note = {"v1", SLICE_NONE, 0, 0, &edit};
    return doc_write(writer, &doc, &result.document.value, false, 0, &note);
}

int run_v1_sync(struct op_context *context, struct op *op)
{
    const struct json_value *data = &op->in.v1_sync.data;
    struct doc_writer writer;
    bool refused = false;
    int status = doc_writer_begin(&writer, context, op);
    if (status != BQ_OK) {
        return status == BQ_USER_ERASED ? BQ_OK : status;
    }
    if (data->type != JSON_OBJECT) {
        op->out.done = false;
        return BQ_OK;
    }
    /* A row is read key by key: nobody's is longer than what he may have, or has already. */
    if (data->count > context->limits.keys && data->count > writer.user.n_keys) {
        op->out.done = false;
        return op_refuse(op, BQ_OK, "the row names %u keys, the limit is %u", data->count,
                         context->limits.keys);
    }
    for (uint32_t i = 0; i < data->count && status == BQ_OK; i++) {
        struct slice key = json_text(&data->members[i].key);
        if (!proto_key_valid(key)) {
            refused = true;
            continue;
        }
        status = one_key(&writer, key, &data->members[i].value, &refused);
    }
    op->out.done = !refused;
    return status == BQ_OK ? doc_writer_end(&writer) : status;
}
