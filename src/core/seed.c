/* seed.c - see seed.h. */
#include "core/seed.h"

#include "base/hash.h"
#include "base/status.h"
#include "core/apply.h"
#include "json/canonical.h"
#include "json/sort.h"

#include <stdio.h>

#define US_PER_MS 1000

/* One row on its way in. */
struct seed {
    struct doc_writer *writer;
    struct slice device_id; /* of the receipts */
    const struct seed_row *row;
    struct doc doc;
    struct proto_edit edit;
    int64_t modified_us;
    bool older; /* than the row of its origin that was taken last, or nobody knows */
};

int seed_fingerprint(struct arena *arena, const struct json_value *value, struct slice *out)
{
    struct buf buf = BUF_INIT;
    char text[PROTO_ID_BYTES + 1];
    json_canonical(&buf, arena, value);
    struct hash128 hash = hash_text(buf_slice(&buf), 0, 0);
    bool failed = buf.failed || arena_failed(arena);
    buf_release(&buf);
    snprintf(text, sizeof text, "%016llx", (unsigned long long)(hash.low ^ hash.high));
    *out = failed ? SLICE_NONE : arena_copy(arena, slice_of(text));
    return out->ptr == NULL ? BQ_NOMEM : BQ_OK;
}

static int refuse(struct seed_result *result, int code, const char *message)
{
    *result = (struct seed_result){SEED_REFUSED, code, message};
    return BQ_OK;
}

/* Whether everything that was written to the document came in from where this row comes from. What
 * history no longer reaches may have been anybody's. */
static int is_untouched(struct seed *seed, const struct receipt *last, bool *out)
{
    struct op *op = seed->writer->op;
    int64_t id = seed->doc.row.history;
    *out = false;
    if (last == NULL || seed->doc.receipts.n > 1 || seed->doc.receipts.evicted) {
        return BQ_OK;
    }
    for (;;) {
        struct history_entry entry;
        int status = history_get(seed->writer->context->store, op->arena, &op->user, id, &entry);
        if (status != BQ_OK) {
            return status == BQ_NOT_FOUND ? BQ_OK : status;
        }
        const struct json_value *word = json_get(&entry.fields, "status");
        if (!json_is(word, JSON_STRING) || !slice_is(json_text(word), SEED_STATUS)) {
            return BQ_OK;
        }
        if (entry.older == 0) {
            *out = true;
            return BQ_OK;
        }
        id = entry.older;
    }
}

/* Writes a version with the row's own time; the receipt goes with it. */
static int write_version(struct seed *seed, const struct json_value *value, int64_t version,
                         int64_t at_us)
{
    struct doc_writer *writer = seed->writer;
    struct doc *doc = &seed->doc;
    const struct seed_row *row = seed->row;
    struct slice device = row->device_id.ptr != NULL ? row->device_id : seed->device_id;
    struct history_note note = {SEED_STATUS, device, 0, 0, NULL};
    struct receipt fate = {.version = version};
    int status = doc_receipt(writer, doc, seed->device_id, &seed->edit, fate);
    if (status != BQ_OK) {
        return status;
    }
    writer->given_at_us = at_us;
    writer->given_created_us = row->created_us > 0 ? row->created_us : at_us;
    doc->row.version = version - 1;
    status = doc_write(writer, doc, value, false, 0, &note);
    writer->given_at_us = 0;
    writer->given_created_us = 0;
    return status;
}

static int write_receipt(struct seed *seed)
{
    struct receipt fate = {.version = seed->doc.row.version};
    int status = doc_receipt(seed->writer, &seed->doc, seed->device_id, &seed->edit, fate);
    return status == BQ_OK ? doc_write_receipts(seed->writer, &seed->doc) : status;
}

static int insert(struct seed *seed, struct seed_result *result)
{
    int64_t version = seed->row->version < 1 ? 1 : seed->row->version;
    result->outcome = SEED_INSERTED;
    return write_version(seed, &seed->row->value, version, seed->modified_us);
}

/* A newer row of where the document came from. An older system counts versions too, and its clients
 * know them. */
static int replace(struct seed *seed, struct seed_result *result)
{
    int64_t version = seed->doc.row.version + 1;
    version = seed->row->version > version ? seed->row->version : version;
    if (version > LIMIT_VERSION) {
        return refuse(result, BQ_VERSION_LIMIT, status_text(BQ_VERSION_LIMIT));
    }
    result->outcome = SEED_REPLACED;
    return write_version(seed, &seed->row->value, version, seed->modified_us);
}

static int merge(struct seed *seed, struct seed_result *result)
{
    struct doc_writer *writer = seed->writer;
    struct merge_edit edit = {
        .mode = MERGE_SEED, .base = -1, .was = json_absent(), .now = seed->row->value};
    const struct merge_policy *policy = doc_policy(writer, seed->doc.row.key);
    struct merge_result merged;
    edit.has_epoch = policy->epoch_field.ptr != NULL;
    edit.epoch = merge_epoch(&edit.now, policy);
    int status =
        merge_apply(writer->op->arena, &seed->doc.present, &edit, policy, NULL, &merged);
    if (status == BQ_OUT_OF_RANGE) {
        return refuse(result, status, status_text(status));
    }
    if (status != BQ_OK) {
        return status;
    }
    if (!merged.changed) {
        result->outcome = SEED_KEPT;
        return seed->older ? BQ_OK : write_receipt(seed);
    }
    if (seed->doc.row.version >= LIMIT_VERSION) {
        return refuse(result, BQ_VERSION_LIMIT, status_text(BQ_VERSION_LIMIT));
    }
    result->outcome = SEED_MERGED;
    struct history_note note = {"merged", seed->device_id, 0, 0, &edit};
    struct receipt fate = {.version = seed->doc.row.version + 1};
    status = doc_receipt(writer, &seed->doc, seed->device_id, &seed->edit, fate);
    return status == BQ_OK
               ? doc_write(writer, &seed->doc, &merged.document.value, false, 0, &note)
               : status;
}

/* The receipt's number is the row's time, so that the receipts tell which row was the last. */
static int name_edit(struct seed *seed, const struct receipt *last)
{
    int64_t op = seed->row->modified_us / US_PER_MS;
    int64_t least = last == NULL ? 1 : last->op + 1;
    seed->edit = (struct proto_edit){.key = seed->row->key, .op = op > least ? op : least};
    return seed_fingerprint(seed->writer->op->arena, &seed->row->value, &seed->edit.id);
}

static int one_row(struct seed *seed, struct seed_result *result)
{
    struct doc_writer *writer = seed->writer;
    const struct store_user *user = &writer->user;
    const struct seed_row *row = seed->row;
    bool untouched = false;
    if (!proto_key_valid(row->key)) {
        return refuse(result, BQ_BAD_KEY, status_text(BQ_BAD_KEY));
    }
    if (row->version > LIMIT_VERSION || user->seq >= LIMIT_SEQ - 1) {
        return refuse(result, BQ_VERSION_LIMIT, status_text(BQ_VERSION_LIMIT));
    }
    int status = doc_load(writer, row->key, &seed->doc);
    if (status != BQ_OK) {
        return status;
    }
    int64_t now_us = writer->context->now_us;
    bool known = row->modified_us > 0 && row->modified_us <= now_us;
    const struct receipt *last = receipts_find(&seed->doc.receipts, seed->device_id);
    seed->modified_us = known ? row->modified_us : now_us;
    status = name_edit(seed, last);
    if (status != BQ_OK) {
        return status;
    }
    if (last != NULL && slice_is(seed->edit.id, last->id)) {
        result->outcome = SEED_AGAIN;
        return BQ_OK;
    }
    if (seed->doc.row.version == 0) {
        return insert(seed, result);
    }
    bool newer = known && seed->modified_us > seed->doc.row.modified_us;
    if (seed->doc.row.deleted) {
        /* What was written after the deletion makes it anew: an update beats a removal. */
        result->outcome = SEED_DELETED;
        return newer ? replace(seed, result) : write_receipt(seed);
    }
    seed->older = last != NULL && !(known && seed->modified_us / US_PER_MS >= last->op);
    if (newer || seed->older) {
        status = is_untouched(seed, last, &untouched);
    }
    if (status == BQ_OK && seed->older && !untouched) {
        result->outcome = SEED_KEPT; /* a newer row was taken, and went on from there */
        return BQ_OK;
    }
    if (status != BQ_OK) {
        return status;
    }
    return untouched && newer ? replace(seed, result) : merge(seed, result);
}

static int by_time(const void *a, const void *b)
{
    int64_t x = ((const struct seed_row *)a)->modified_us;
    int64_t y = ((const struct seed_row *)b)->modified_us;
    return x < y ? -1 : x > y;
}

/* In the order in which they were written, so that the change feed has them so. */
static int all_rows(struct doc_writer *writer, const struct seed_call *call,
                    struct seed_result *results)
{
    struct arena *arena = writer->op->arena;
    const void **order = arena_alloc(arena, (call->n_rows + 1) * sizeof *order);
    int status = BQ_OK;
    for (uint32_t i = 0; order != NULL && i < call->n_rows; i++) {
        order[i] = &call->rows[i];
    }
    if (order == NULL || !sort_pointers(arena, order, call->n_rows, by_time)) {
        return BQ_NOMEM;
    }
    for (uint32_t i = 0; i < call->n_rows && status == BQ_OK; i++) {
        const struct seed_row *row = order[i];
        struct seed seed = {.writer = writer, .device_id = call->device_id, .row = row};
        status = one_row(&seed, &results[row - call->rows]);
    }
    return status;
}

static int add_v1_devices(struct doc_writer *writer, const struct seed_call *call)
{
    struct store *store = writer->context->store;
    struct store_v1_devices there;
    int status = call->n_v1_devices == 0 ? BQ_OK
                                         : store->v1_devices(store, writer->op->arena,
                                                             &writer->user.id, &there);
    for (uint32_t i = 0; i < call->n_v1_devices && status == BQ_OK; i++) {
        bool found = false;
        for (uint32_t k = 0; k < there.n && !found; k++) {
            found = slice_equal(there.items[k].device_id, call->v1_devices[i].device_id);
        }
        if (!found) {
            status = store->v1_device_put(store, &writer->user.id, &call->v1_devices[i]);
        }
    }
    return status;
}

static int add_devices(struct doc_writer *writer, const struct seed_call *call)
{
    struct store *store = writer->context->store;
    struct store_devices there;
    int status = call->n_devices == 0 ? BQ_OK
                                      : store->devices(store, writer->op->arena,
                                                       &writer->user.id, &there);
    for (uint32_t i = 0; i < call->n_devices && status == BQ_OK; i++) {
        bool found = false;
        for (uint32_t k = 0; k < there.n && !found; k++) {
            found = slice_equal(there.items[k].device_id, call->devices[i].device_id);
        }
        if (!found) {
            status = store->device_put(store, &writer->user.id, &call->devices[i]);
        }
    }
    return status;
}

/* A user whom nobody knew yet: a row without a key makes one too. */
static void greet(struct doc_writer *writer, const struct seed_call *call, bool is_new)
{
    if (is_new && call->clock_us > writer->user.clock_us &&
        call->clock_us <= writer->context->now_us) {
        writer->user.clock_us = call->clock_us;
    }
    writer->user_changed = writer->user_changed || is_new;
}

int run_seed(struct op_context *context, struct op *op)
{
    const struct seed_call *call = &op->in.seed;
    struct store_user before;
    struct doc_writer writer;
    int status = context->store->user_get(context->store, &op->user, &before);
    if (status == BQ_OK) {
        status = doc_writer_begin(&writer, context, op);
    }
    if (status != BQ_OK) {
        return status == BQ_USER_ERASED ? BQ_OK : status;
    }
    op->out.seed.results = arena_zalloc(op->arena, call->n_rows, sizeof(struct seed_result));
    if (op->out.seed.results == NULL) {
        return BQ_NOMEM;
    }
    status = all_rows(&writer, call, op->out.seed.results);
    if (status == BQ_OK) {
        status = add_v1_devices(&writer, call);
    }
    if (status == BQ_OK) {
        status = add_devices(&writer, call);
    }
    if (status == BQ_OK) {
        greet(&writer, call, !before.exists);
        status = doc_writer_end(&writer);
    }
    return status;
}
