/* operator.c - devices, dead letters, policies, deletion: what is not an edit. */
#include "core/apply.h"

#include "base/hash.h"
#include "base/status.h"
#include "json/sort.h"
#include "proto/read.h"

#include <stdio.h>

#define DEVICE_INFO_BYTES 4096u
#define V1_NAME_BYTES 256u

/* ---- Reading --------------------------------------------------------------------------------- */

static int by_newest(const void *a, const void *b)
{
    int64_t x = ((const struct store_doc *)a)->modified_us;
    int64_t y = ((const struct store_doc *)b)->modified_us;
    return x > y ? -1 : x < y;
}

int run_user_data(struct op_context *context, struct op *op)
{
    struct store *store = context->store;
    struct store_docs docs;
    struct doc_writer writer;
    int status = doc_writer_begin(&writer, context, op);
    if (status != BQ_OK) {
        return status == BQ_USER_ERASED ? BQ_OK : status;
    }
    status = store->docs(store, op->arena, &op->user, 0, UINT32_MAX, SIZE_MAX, false, &docs);
    if (status != BQ_OK) {
        return status;
    }
    struct proto_row *rows = arena_zalloc(op->arena, docs.n, sizeof *rows);
    if (rows == NULL) {
        return BQ_NOMEM;
    }
    /* Newest first: by seq, which the clock of a user rises with, but for what came in from an
     * older system under its own time. */
    const void **order = arena_alloc(op->arena, (docs.n + 1) * sizeof *order);
    for (uint32_t i = 0; order != NULL && i < docs.n; i++) {
        order[i] = &docs.items[docs.n - 1 - i];
    }
    if (order == NULL || !sort_pointers(op->arena, order, docs.n, by_newest)) {
        return BQ_NOMEM;
    }
    for (uint32_t i = 0; i < docs.n; i++) {
        const struct store_doc *doc = order[i];
        rows[i] = (struct proto_row){doc->key, json_raw(doc->data), doc->version, doc->device_id,
                                     doc->modified_us};
    }
    op->out.rows.items = rows;
    op->out.rows.n = docs.n;
    return BQ_OK;
}

int run_user_status(struct op_context *context, struct op *op)
{
    struct store *store = context->store;
    struct store_devices devices;
    struct doc_writer writer;
    int status = doc_writer_begin(&writer, context, op);
    if (status != BQ_OK) {
        return status == BQ_USER_ERASED ? BQ_OK : status;
    }
    status = store->devices(store, op->arena, &op->user, &devices);
    if (status != BQ_OK) {
        return status;
    }
    struct proto_device *out = arena_zalloc(op->arena, devices.n, sizeof *out);
    if (out == NULL) {
        return BQ_NOMEM;
    }
    for (uint32_t i = 0; i < devices.n; i++) {
        const struct store_device *device = &devices.items[i];
        out[i] = (struct proto_device){device->device_id, device->last_sync_us,
                                       device->last_sync_version, json_raw(device->info)};
    }
    op->out.devices.items = out;
    op->out.devices.n = devices.n;
    return BQ_OK;
}

/* ---- Devices --------------------------------------------------------------------------------- */

/* The row as those hear it who listen; it keeps the created_at that was there. */
static int tell_device(struct op *op, const struct store_device *device,
                       const struct store_devices *before)
{
    op->device = arena_alloc(op->arena, sizeof *op->device);
    if (op->device == NULL) {
        return BQ_NOMEM;
    }
    *op->device = *device;
    op->device->info = arena_copy(op->arena, device->info);
    op->device_inserted = true;
    for (uint32_t i = 0; i < before->n && op->device_inserted; i++) {
        if (slice_equal(before->items[i].device_id, device->device_id)) {
            op->device->created_us = before->items[i].created_us;
            op->device_inserted = false;
        }
    }
    return op->device->info.ptr == NULL ? BQ_NOMEM : BQ_OK;
}

static int put_device(struct op_context *context, struct op *op, struct slice device_id,
                      int64_t version, const struct json_value *info)
{
    struct store *store = context->store;
    struct store_device device = {.device_id = device_id,
                                  .last_sync_us = context->now_us,
                                  .last_sync_version = version,
                                  .created_us = context->now_us};
    struct store_devices before;
    struct buf buf = BUF_INIT;
    if (json_is_absent(info) || info->type == JSON_NULL) {
        buf_add_text(&buf, "{}");
    } else {
        json_print(&buf, info);
    }
    device.info = buf_slice(&buf);
    int status = buf.failed ? BQ_NOMEM : store->devices(store, op->arena, &op->user, &before);
    if (status == BQ_OK) {
        status = tell_device(op, &device, &before);
    }
    if (status == BQ_OK) {
        status = store->device_put(store, &op->user, &device);
    }
    buf_release(&buf);
    return status;
}

int run_metadata(struct op_context *context, struct op *op)
{
    const struct proto_metadata *in = &op->in.metadata;
    struct doc_writer writer;
    int status = doc_writer_begin(&writer, context, op);
    if (status != BQ_OK) {
        return status == BQ_USER_ERASED ? BQ_OK : status;
    }
    if (!proto_device_valid(in->device_id)) {
        return op_refuse(op, BQ_MALFORMED, "p_device_id is not 1 to %u bytes without controls",
                         LIMIT_DEVICE_BYTES);
    }
    if (json_size(&in->info) > DEVICE_INFO_BYTES) {
        return op_refuse(op, BQ_TOO_LARGE, "p_device_info has over %u bytes", DEVICE_INFO_BYTES);
    }
    return put_device(context, op, in->device_id, in->version, &in->info);
}

/* The info with the id that this device replaces, so that an operator sees both. */
static struct json_value with_replaces(struct arena *arena, const struct json_value *info,
                                       struct slice replaces)
{
    if (replaces.ptr == NULL || json_get(info, "replaces") != NULL) {
        return *info;
    }
    struct json_member *members = arena_alloc(arena, (info->count + 1) * sizeof *members);
    if (members == NULL) {
        return *info;
    }
    if (info->count > 0) {
        memcpy(members, info->members, info->count * sizeof *members);
    }
    members[info->count] = json_member("replaces", json_string(replaces));
    return json_object(members, info->count + 1);
}

/* The row of a dead letter is the same however often it is reported: its uuid is a fingerprint. */
static struct slice dead_row_id(struct op_context *context, struct op *op,
                                const struct proto_dead *dead)
{
    uint64_t key[2];
    struct buf buf = BUF_INIT;
    char text[UUID_TEXT + 1];
    buf_add_slice(&buf, uuid_slice(&op->user));
    buf_add_slice(&buf, op->in.report.device_id);
    buf_add_slice(&buf, dead->key);
    buf_add_slice(&buf, dead->id);
    buf_add_int(&buf, dead->op);
    json_print(&buf, &dead->edit);
    context->store->hash_key(context->store, key);
    struct hash128 hash = hash_text(buf_slice(&buf), key[0], key[1]);
    bool failed = buf.failed;
    buf_release(&buf);
    /* Version 8 of RFC 9562: bits of our own making. */
    snprintf(text, sizeof text, "%08x-%04x-8%03x-%04x-%012llx", (unsigned)(hash.high >> 32),
             (unsigned)(hash.high >> 16) & 0xffff, (unsigned)hash.high & 0xfff,
             (unsigned)(0x8000 | ((hash.low >> 48) & 0x3fff)),
             (unsigned long long)(hash.low & 0xffffffffffff));
    return failed ? SLICE_NONE : arena_copy(op->arena, slice_of(text));
}

static int fill_dead(struct op_context *context, struct op *op, const struct proto_dead *in,
                     struct store_dead *out)
{
    struct buf edit = BUF_INIT;
    struct buf error = BUF_INIT;
    int64_t base = 0;
    json_print(&edit, &in->edit);
    buf_add_text(&error, status_code(in->code));
    if (in->message.ptr != NULL) {
        buf_add_text(&error, ": ");
        buf_add_slice(&error, in->message);
    }
    (void)proto_read_int(&in->edit, "base", (struct proto_range){-1, LIMIT_VERSION}, 0, &base,
                         NULL);
    out->id = dead_row_id(context, op, in);
    out->device_id = op->in.report.device_id;
    out->key = in->key;
    out->data = edit.failed ? SLICE_NONE : arena_copy(op->arena, buf_slice(&edit));
    out->error = error.failed ? SLICE_NONE : arena_copy(op->arena, buf_slice(&error));
    out->version = base;
    out->at_us = in->failed_at_ms > 0 ? in->failed_at_ms * 1000 : context->now_us;
    buf_release(&edit);
    buf_release(&error);
    return out->id.ptr == NULL || out->data.ptr == NULL || out->error.ptr == NULL ? BQ_NOMEM
                                                                                : BQ_OK;
}

int run_report(struct op_context *context, struct op *op)
{
    struct store *store = context->store;
    const struct proto_report *in = &op->in.report;
    struct doc_writer writer;
    int status = doc_writer_begin(&writer, context, op);
    if (status != BQ_OK) {
        return status == BQ_USER_ERASED ? BQ_OK : status;
    }
    if (json_size(&in->info) > DEVICE_INFO_BYTES) {
        return op_refuse(op, BQ_TOO_LARGE, "p_device_info has over %u bytes", DEVICE_INFO_BYTES);
    }
    struct store_dead *dead = arena_zalloc(op->arena, in->n_failed, sizeof *dead);
    if (dead == NULL) {
        return BQ_NOMEM;
    }
    for (uint32_t i = 0; i < in->n_failed && status == BQ_OK; i++) {
        status = fill_dead(context, op, &in->failed[i], &dead[i]);
    }
    struct json_value info = with_replaces(op->arena, &in->info, in->replaces);
    if (status == BQ_OK) {
        /* The column is V2's, an int4. */
        int64_t version = writer.user.seq < LIMIT_VERSION ? writer.user.seq : LIMIT_VERSION;
        status = put_device(context, op, in->device_id, version, &info);
    }
    if (status == BQ_OK) {
        status = store->dead_replace(store, &op->user, in->device_id, dead, in->n_failed);
    }
    /* The file that took a new id brings its dead letters along. */
    if (status == BQ_OK && in->replaces.ptr != NULL) {
        status = store->dead_replace(store, &op->user, in->replaces, NULL, 0);
    }
    return status;
}

int run_v1_device(struct op_context *context, struct op *op)
{
    struct store *store = context->store;
    struct doc_writer writer;
    int status = doc_writer_begin(&writer, context, op);
    if (status != BQ_OK) {
        return status == BQ_USER_ERASED ? BQ_OK : status;
    }
    op->out.done = false;
    if (!proto_device_valid(op->in.v1_device.device_id) ||
        op->in.v1_device.name.len > V1_NAME_BYTES || op->in.v1_device.type.len > V1_NAME_BYTES) {
        return BQ_OK;
    }
    if (op->kind == OP_V1_REMOVE_DEVICE) {
        return store->v1_device_remove(store, &op->user, op->in.v1_device.device_id,
                                       &op->out.done);
    }
    struct store_v1_device device = {op->in.v1_device.device_id, op->in.v1_device.name,
                                     op->in.v1_device.type, context->now_us, context->now_us};
    op->out.done = true;
    return store->v1_device_put(store, &op->user, &device);
}

/* ---- Deleting -------------------------------------------------------------------------------- */

int run_delete_all(struct op_context *context, struct op *op)
{
    struct store *store = context->store;
    struct store_docs docs;
    struct doc_writer writer;
    int status = doc_writer_begin(&writer, context, op);
    if (status != BQ_OK) {
        return status == BQ_USER_ERASED ? BQ_OK : status;
    }
    status = store->docs(store, op->arena, &op->user, 0, UINT32_MAX, SIZE_MAX, false, &docs);
    for (uint32_t i = 0; i < docs.n && status == BQ_OK; i++) {
        struct doc doc;
        struct json_value nothing = json_absent();
        struct history_note note = {"deleted", SLICE_NONE, 0, 0, NULL};
        struct proto_problem problem;
        status = doc_load(&writer, docs.items[i].key, &doc);
        if (status == BQ_OK && doc_check(&writer, &doc, NULL, &problem) != BQ_OK) {
            continue; /* its versions are used up: it can only be erased with its user */
        }
        if (status == BQ_OK) {
            int64_t epoch = merge_epoch(&doc.present.value, doc_policy(&writer, doc.row.key));
            status = doc_write(&writer, &doc, &nothing, true, epoch, &note);
        }
    }
    return status == BQ_OK ? doc_writer_end(&writer) : status;
}

int run_user_erase(struct op_context *context, struct op *op)
{
    struct store *store = context->store;
    struct store_user user;
    int status = store->user_get(store, &op->user, &user);
    if (status == BQ_OK) {
        status = store->user_clear(store, &op->user);
    }
    if (status == BQ_OK) {
        status = store->account_remove(store, &op->user);
    }
    if (status != BQ_OK) {
        return status;
    }
    user.id = op->user;
    user.exists = true;
    user.erased = true;
    user.generation++;
    user.n_keys = 0;
    user.n_bytes = 0;
    user.n_tombstones = 0;
    op->out.done = true;
    op->wrote = true; /* who listens comes, and hears that it was erased */
    op->seq = user.seq;
    return store->user_put(store, &user);
}

/* ---- Policies -------------------------------------------------------------------------------- */

/* Whether a stored policy still is one. What an older or newer server let in, or somebody wrote
 * into the table, must not keep this one from its work. BQ_BAD_POLICY: it is none. */
static int read_stored(struct arena *arena, const struct store_policy *stored,
                       struct json_member *out)
{
    const struct merge_policies *policies;
    struct json_value set;
    out->key = json_string(stored->pattern);
    int status = json_parse(arena, stored->policy, LIMIT_POLICY_JSON_DEPTH, &out->value, NULL);
    if (status == BQ_OK) {
        set = json_object(out, 1);
        status = merge_policies_read(arena, &set, &policies, NULL);
    }
    return status == BQ_OK || status == BQ_NOMEM ? status : BQ_BAD_POLICY;
}

static bool overrides(const struct json_member *members, uint32_t n, struct slice pattern)
{
    for (uint32_t i = 0; i < n; i++) {
        if (slice_equal(json_text(&members[i].key), pattern)) {
            return true;
        }
    }
    return false;
}

/* The shipped patterns, overridden and extended by those of the store, as one object. A stored
 * pattern that cannot be read is passed over, as if it had not been set. */
static int all_policies(struct store *store, struct arena *arena, struct json_value *out,
                        struct op_policies *out_more)
{
    struct store_policies stored;
    struct json_value shipped;
    int status = store->policies(store, arena, &stored);
    if (status == BQ_OK) {
        status = json_parse(arena, slice_of(merge_policies_shipped), LIMIT_POLICY_JSON_DEPTH,
                            &shipped, NULL);
    }
    if (status != BQ_OK) {
        return status;
    }
    struct json_member *members = arena_alloc(arena, (shipped.count + stored.n) * sizeof *members);
    struct json_member *ours = arena_alloc(arena, (stored.n + 1) * sizeof *ours);
    if (members == NULL || ours == NULL) {
        return BQ_NOMEM;
    }
    uint32_t n = 0;
    uint32_t n_ours = 0;
    *out_more = (struct op_policies){.version = stored.version};
    for (uint32_t i = 0; i < stored.n; i++) {
        status = read_stored(arena, &stored.items[i], &ours[n_ours]);
        if (status == BQ_NOMEM) {
            return status;
        }
        if (status == BQ_OK) {
            n_ours++;
        } else if (out_more->n_unreadable++ == 0) {
            out_more->unreadable = stored.items[i].pattern;
        }
    }
    for (uint32_t i = 0; i < shipped.count; i++) {
        if (!overrides(ours, n_ours, json_text(&shipped.members[i].key))) {
            members[n++] = shipped.members[i];
        }
    }
    if (n_ours > 0) {
        memcpy(&members[n], ours, n_ours * sizeof *ours);
    }
    *out = json_object(members, n + n_ours);
    return BQ_OK;
}

int op_read_policies(struct store *store, struct arena *arena, struct op_policies *out)
{
    struct json_value policies;
    int status = store->begin(store);
    if (status != BQ_OK) {
        return status;
    }
    status = all_policies(store, arena, &policies, out);
    if (status == BQ_OK) {
        status = merge_policies_read(arena, &policies, &out->policies, NULL);
    }
    store->rollback(store);
    return status;
}

int op_load_policies(struct store *store, struct arena *arena,
                     const struct merge_policies **out, int64_t *out_version)
{
    struct op_policies read;
    int status = op_read_policies(store, arena, &read);
    if (status == BQ_OK) {
        *out = read.policies;
        *out_version = read.version;
    }
    return status;
}

int run_policies(struct op_context *context, struct op *op)
{
    struct json_value policies;
    struct op_policies more;
    int status = all_policies(context->store, op->arena, &policies, &more);
    struct json_member *members = arena_alloc(op->arena, 2 * sizeof *members);
    if (status != BQ_OK || members == NULL) {
        return status == BQ_OK ? BQ_NOMEM : status;
    }
    members[0] = json_member("version", json_int(op->arena, more.version));
    members[1] = json_member("policies", policies);
    op->out.policies = json_object(members, 2);
    return BQ_OK;
}

/* A key, or a prefix and one *. */
static bool pattern_valid(struct slice pattern)
{
    if (slice_is(pattern, "*")) {
        return true;
    }
    struct slice prefix = pattern;
    if (prefix.len > 0 && prefix.ptr[prefix.len - 1] == '*') {
        prefix.len--;
    }
    return proto_key_valid(prefix) && memchr(prefix.ptr, '*', prefix.len) == NULL;
}

int run_policy_set(struct op_context *context, struct op *op)
{
    struct store *store = context->store;
    const struct merge_policy *policy;
    struct merge_policy_error error;
    struct buf buf = BUF_INIT;
    op->out.done = true;
    if (!pattern_valid(op->in.policy_set.pattern)) {
        return op_refuse(op, BQ_BAD_POLICY, "a pattern is a key, or a prefix and *");
    }
    if (json_is_absent(&op->in.policy_set.policy)) {
        return store->policy_put(store, op->in.policy_set.pattern, SLICE(""));
    }
    int status = merge_policy_read(op->arena, &op->in.policy_set.policy, &policy, &error);
    if (status == BQ_BAD_POLICY) {
        return op_refuse(op, status, "at %.40s: %.112s", error.path, error.what);
    }
    json_print(&buf, &op->in.policy_set.policy);
    if (status == BQ_OK && buf.len > LIMIT_POLICY_BYTES) {
        buf_release(&buf);
        return op_refuse(op, BQ_BAD_POLICY, "a policy has at most %u bytes", LIMIT_POLICY_BYTES);
    }
    if (status == BQ_OK) {
        status = buf.failed ? BQ_NOMEM
                            : store->policy_put(store, op->in.policy_set.pattern, buf_slice(&buf));
    }
    buf_release(&buf);
    return status;
}
