/* old_client.c - atomic_sync_upsert: a whole document and an expected version, as the apps in
 * the field send them (docs/protocol.md, "Old clients").
 *
 * The heart is to find the document that the app started from, so that what it sent becomes an
 * edit. */
#include "core/apply.h"
#include "core/upserts.h"

#include "base/plant.h"
#include "base/status.h"
#include "json/decimal.h"

struct upsert {
    struct doc_writer writer;
    const struct proto_upsert *in;
    struct slice device_id; /* NULL is the device '' */
    const struct merge_policy *policy;
    struct doc doc;
    struct upserts memory;
    struct slice fingerprint;
    struct json_value counted; /* `sent` as it is remembered: with sums that do not fall */
};

/* Failures stand in the answer, with HTTP 200, as the apps know it. The word "invalid" files them
 * under validation there. */
static int fail(struct upsert *u, const char *text)
{
    struct op *op = u->writer.op;
    struct buf buf = BUF_INIT;
    buf_add_text(&buf, "invalid document: ");
    buf_add_text(&buf, text);
    op->out.upserted =
        (struct proto_upserted){.success = false, .error = arena_copy(op->arena, buf_slice(&buf))};
    buf_release(&buf);
    return op->out.upserted.error.ptr == NULL ? BQ_NOMEM : BQ_OK;
}

static int answer(struct upsert *u, enum proto_action action)
{
    u->writer.op->out.upserted = (struct proto_upserted){.success = true,
                                                         .version = u->doc.row.version,
                                                         .conflict = action == PROTO_MERGED_ACTION,
                                                         .data = doc_value(&u->doc),
                                                         .action = action};
    return BQ_OK;
}

/* ---- The edit -------------------------------------------------------------------------------- */

/* `document` with the top-level members that only `from` has: an old app drops fields that it does
 * not know, and does not mean their removal. */
static int keep_members(struct arena *arena, const struct json_value *from,
                        const struct json_value *document, struct json_value *out)
{
    struct json_finder finder;
    *out = *document;
    if (!json_is(from, JSON_OBJECT) || document->type != JSON_OBJECT) {
        return BQ_OK;
    }
    struct json_member *members =
        arena_alloc(arena, (from->count + document->count) * sizeof *members);
    if (members == NULL) {
        return BQ_NOMEM;
    }
    uint32_t n = document->count;
    if (n > 0) {
        memcpy(members, document->members, n * sizeof *members);
    }
    json_finder_init(&finder, document);
    for (uint32_t i = 0; i < from->count; i++) {
        if (json_finder_find(&finder, arena, json_text(&from->members[i].key)) == NULL) {
            members[n++] = from->members[i];
        }
    }
    if (n > document->count) {
        *out = json_object(members, n);
    }
    return arena_failed(arena) ? BQ_NOMEM : BQ_OK;
}

/* `document` with each sum raised to what `base` has: a queue that sends out of order makes a count
 * seem to fall. */
static struct json_value raise_sums(struct arena *arena, const struct merge_policy *policy,
                                    const struct json_value *base,
                                    const struct json_value *document)
{
    struct json_finder finder;
    if (policy->kind == MERGE_SUM) {
        bool falls = json_is(base, JSON_NUMBER) && document->type == JSON_NUMBER &&
                     decimal_compare(document, base) < 0;
        return falls ? *base : *document;
    }
    bool walks = policy->kind == MERGE_EACH || policy->kind == MERGE_FIELDS;
    if (!walks || !json_is(base, JSON_OBJECT) || document->type != JSON_OBJECT) {
        return *document;
    }
    struct json_member *members = arena_alloc(arena, document->count * sizeof *members);
    if (members == NULL) {
        return *document;
    }
    json_finder_init(&finder, base);
    for (uint32_t i = 0; i < document->count; i++) {
        struct slice name = json_text(&document->members[i].key);
        const struct json_member *below = json_finder_find(&finder, arena, name);
        members[i] = document->members[i];
        if (below != NULL) {
            members[i].value = raise_sums(arena, merge_policy_member(policy, name), &below->value,
                                          &document->members[i].value);
        }
    }
    return json_object(members, document->count);
}

/* `base` with the sums of `sums` in their places. */
static int put_sums(struct arena *arena, const struct json_value *base,
                    const struct json_value *sums, struct json_value *out)
{
    if (json_is_absent(sums)) {
        *out = *base;
        return BQ_OK;
    }
    return merge_patch(arena, base, sums, out);
}

/* The document that the app started from. *out_known is false where nobody knows. */
static int find_base(struct upsert *u, struct json_value *out, bool *out_known, bool *out_queued)
{
    struct arena *arena = u->writer.op->arena;
    struct store *store = u->writer.context->store;
    int64_t expected = u->in->expected;
    struct json_value document = upserts_last_document(&u->memory, expected);
    struct json_value sums = upserts_last_sums(&u->memory, expected);
    *out_known = true;
    *out_queued = !json_is_absent(&document) || !json_is_absent(&sums);
    if (!json_is_absent(&document)) {
        *out = document;
        return BQ_OK;
    }
    int status = history_at(store, arena, &u->writer.op->user, &u->doc.row, &u->doc.present.value,
                            expected, &document);
    if (status == BQ_OK) {
        return put_sums(arena, &document, &sums, out);
    }
    if (status != BQ_NOT_FOUND) {
        return status;
    }
    bool is_new = expected == 0 && !u->memory.exists && !u->doc.receipts.evicted &&
                  receipts_find(&u->doc.receipts, u->device_id) == NULL;
    struct json_value empty = json_object(NULL, 0);
    if (is_new || (expected == 0 && !json_is_absent(&sums))) {
        return put_sums(arena, &empty, &sums, out);
    }
    *out_known = false;
    *out_queued = false;
    return BQ_OK;
}

static int make_edit(struct upsert *u, struct merge_edit *out, bool *out_changed)
{
    struct arena *arena = u->writer.op->arena;
    struct json_value base, sent = u->in->data;
    bool known, queued;
    int status = find_base(u, &base, &known, &queued);
    if (status != BQ_OK) {
        return status;
    }
    if (!known) {
        *out = (struct merge_edit){.mode = MERGE_SEED, .was = json_absent(), .now = sent};
        out->has_epoch = u->policy->epoch_field.ptr != NULL;
        out->epoch = merge_epoch(&sent, u->policy);
        *out_changed = true;
    } else {
        if (queued) {
            sent = raise_sums(arena, u->policy, &base, &sent);
            u->counted = sent;
        }
        if (u->policy->kind == MERGE_FIELDS) {
            status = keep_members(arena, &base, &sent, &sent);
        }
        if (status == BQ_OK) {
            status = merge_diff(arena, &base, &sent, u->policy, out, out_changed);
        }
    }
    out->base = -1; /* it was made on an older version, whatever its number */
    return status;
}

/* ---- The cases, in their order --------------------------------------------------------------- */

/* A device that has no memory of the key yet: the oldest one of others may have to go. Then nobody
 * without a memory is known to be new (docs/protocol.md 11.5). */
static int make_room(struct upsert *u, bool *out_evicted)
{
    struct op *op = u->writer.op;
    struct store *store = u->writer.context->store;
    *out_evicted = false;
    if (json_is(&u->memory.sent, JSON_ARRAY)) {
        return BQ_OK;
    }
    int status = store->upserts_trim(store, &op->user, u->doc.row.key, out_evicted);
    if (status == BQ_OK && *out_evicted) {
        u->doc.receipts.evicted = true;
    }
    return status;
}

static int remember(struct upsert *u, enum proto_action action)
{
    struct op *op = u->writer.op;
    struct store *store = u->writer.context->store;
    struct buf buf = BUF_INIT;
    int status = upserts_print(&buf, op->arena, &u->memory, u->in, u->fingerprint, action,
                               &u->counted, u->policy);
    if (status == BQ_OK) {
        status = store->upserts_put(store, &op->user, u->doc.row.key, u->device_id, buf_slice(&buf),
                                    u->writer.context->now_us);
    }
    buf_release(&buf);
    return status;
}

static int write(struct upsert *u, const struct json_value *value, enum proto_action action,
                 const struct merge_edit *edit)
{
    static const char *const words[] = {"inserted", "updated", "merged"};
    struct proto_problem problem;
    struct history_note note = {words[action], u->in->device_id, 0, 0, edit};
    int status;
    bool changed = u->doc.row.version == 0 || u->doc.row.deleted ||
                   !json_equal(u->writer.op->arena, value, &u->doc.present.value);
    if (changed) {
        if (doc_check(&u->writer, &u->doc, value, &problem) != BQ_OK) {
            return fail(u, problem.text);
        }
    }
    bool evicted = false;
    status = remember(u, action);
    if (status == BQ_OK) {
        status = make_room(u, &evicted);
    }
    if (status == BQ_OK && changed) {
        status = doc_write(&u->writer, &u->doc, value, false, 0, &note);
    } else if (status == BQ_OK && evicted) {
        status = doc_write_receipts(&u->writer, &u->doc);
    }
    if (status == BQ_OK) {
        status = doc_writer_end(&u->writer);
    }
    return status == BQ_OK ? answer(u, action) : status;
}

static int merge(struct upsert *u)
{
    struct arena *arena = u->writer.op->arena;
    struct merge_edit edit;
    struct merge_result result;
    bool changed;
    int status = make_edit(u, &edit, &changed);
    if (status != BQ_OK) {
        return status;
    }
    if (!changed) {
        return write(u, &u->doc.present.value, PROTO_MERGED_ACTION, NULL);
    }
    status = merge_apply(arena, &u->doc.present, &edit, u->policy, NULL, &result);
    if (status == BQ_OUT_OF_RANGE) {
        return fail(u, status_text(status));
    }
    return status == BQ_OK ? write(u, &result.document.value, PROTO_MERGED_ACTION, &edit) : status;
}

/* What is sent is remembered, also where nothing of it gets into the document: it obeys the limit
 * itself. */
static bool is_too_large(const struct upsert *u)
{
    size_t size = json_size(&u->in->data);
    return size > u->writer.context->limits.document_bytes && size > u->doc.row.data.len;
}

static int upsert(struct upsert *u)
{
    struct json_value value = u->in->data;
    enum proto_action action;
    if (upserts_find_repeat(&u->memory, u->in, u->fingerprint, &action) &&
        !PLANTED(REPEAT_MERGED_AGAIN)) {
        return answer(u, action);
    }
    if (is_too_large(u)) {
        return fail(u, status_text(BQ_TOO_LARGE));
    }
    if (u->doc.row.version == 0 || u->doc.row.deleted) {
        return write(u, &value, PROTO_INSERTED, NULL);
    }
    if (!u->in->has_expected) {
        return write(u, &value, PROTO_UPDATED, NULL);
    }
    if (u->in->expected != u->doc.row.version) {
        return merge(u);
    }
    if (u->policy->kind == MERGE_FIELDS) {
        int status = keep_members(u->writer.op->arena, &u->doc.present.value, &u->in->data, &value);
        if (status != BQ_OK) {
            return status;
        }
    }
    return write(u, &value, PROTO_UPDATED, NULL);
}

static int load(struct upsert *u)
{
    struct op *op = u->writer.op;
    struct store *store = u->writer.context->store;
    struct slice packed;
    uint64_t key[2];
    int status = doc_load(&u->writer, u->in->data_key, &u->doc);
    if (status == BQ_OK) {
        status =
            store->upserts_get(store, op->arena, &op->user, u->in->data_key, u->device_id, &packed);
    }
    if (status == BQ_OK) {
        status = upserts_read(op->arena, packed, &u->memory);
    }
    store->hash_key(store, key);
    return status == BQ_OK ? upserts_fingerprint(op->arena, &u->in->data, key, &u->fingerprint)
                           : status;
}

int run_upsert(struct op_context *context, struct op *op)
{
    struct upsert u = {.in = &op->in.upsert};
    int status = doc_writer_begin(&u.writer, context, op);
    if (status != BQ_OK) {
        return status == BQ_USER_ERASED ? BQ_OK : status;
    }
    if (!proto_key_valid(u.in->data_key)) {
        return fail(&u, status_text(BQ_BAD_KEY));
    }
    if (json_is_absent(&u.in->data)) {
        return fail(&u, "p_data is null");
    }
    if (u.in->device_id.len > LIMIT_DEVICE_BYTES) {
        return fail(&u, "p_device_id has over 128 bytes");
    }
    u.device_id = u.in->device_id.ptr == NULL ? SLICE("") : u.in->device_id;
    u.policy = merge_policies_find(context->policies, u.in->data_key);
    u.counted = u.in->data;
    status = load(&u);
    return status == BQ_OK ? upsert(&u) : status;
}
