/* doc.c - see doc.h. */
#include "core/doc.h"

#include "base/plant.h"
#include "base/status.h"
#include "proto/read.h"

#define US_PER_DAY (INT64_C(86400) * 1000000)

/* Documents that were let in over the depth limit (migrated ones) can still be read. */
#define STORED_DEPTH 10000u

/* ---- The user -------------------------------------------------------------------------------- */

int doc_writer_begin(struct doc_writer *writer, struct op_context *context, struct op *op)
{
    *writer = (struct doc_writer){.context = context, .op = op};
    int status = context->store->user_get(context->store, &op->user, &writer->user);
    if (PLANTED(SEQ_BEFORE_LOCK) && status == BQ_OK && op->may_write) {
        /* As if the row were read first, and the transaction that writes began after it. */
        context->store->rollback(context->store);
        status = context->store->begin(context->store);
    }
    if (status != BQ_OK) {
        return status;
    }
    writer->user.id = op->user;
    writer->user.exists = true;
    if (writer->user.erased) {
        op->status = BQ_USER_ERASED;
        return BQ_USER_ERASED;
    }
    return BQ_OK;
}

int doc_writer_end(struct doc_writer *writer)
{
    struct store *store = writer->context->store;
    struct store_user *user = &writer->user;
    int status = BQ_OK;
    if (!writer->user_changed) {
        return BQ_OK;
    }
    while (user->n_tombstones > LIMIT_TOMBSTONES && status == BQ_OK) {
        int64_t seq;
        status = store->tombstone_drop(store, &user->id, &seq);
        user->n_tombstones--;
        if (status == BQ_OK && seq > user->purged_seq) {
            user->purged_seq = seq;
        }
    }
    if (status == BQ_OK) {
        status = store->user_put(store, user);
    }
    writer->op->wrote = true;
    writer->op->seq = user->seq;
    return status;
}

const struct merge_policy *doc_policy(const struct doc_writer *writer, struct slice key)
{
    return merge_policies_find(writer->context->policies, key);
}

/* ---- Reading --------------------------------------------------------------------------------- */

bool doc_may_be_purged(const struct doc_writer *writer, const struct doc *doc)
{
    return doc->row.seq == 0 && writer->user.purged_seq > 0;
}

int doc_load(struct doc_writer *writer, struct slice key, struct doc *out)
{
    struct store *store = writer->context->store;
    struct arena *arena = writer->op->arena;
    int status = store->doc_get(store, arena, &writer->op->user, key, &out->row);
    if (status != BQ_OK) {
        return status;
    }
    out->row.key = key;
    out->present =
        (struct merge_document){json_absent(), out->row.version, out->row.deleted, out->row.epoch};
    if (out->row.version > 0 && !out->row.deleted) {
        status = json_parse(arena, out->row.data, STORED_DEPTH, &out->present.value, NULL);
    }
    if (status == BQ_OK) {
        status = receipts_read(arena, out->row.receipts, &out->receipts);
    }
    if (doc_may_be_purged(writer, out)) {
        out->receipts.evicted = true;
    }
    return status == BQ_OK || status == BQ_NOMEM ? status : BQ_CORRUPT;
}

struct json_value doc_value(const struct doc *doc)
{
    if (doc->row.version == 0) {
        return json_absent();
    }
    return doc->row.deleted ? json_object(NULL, 0) : json_raw(doc->row.data);
}

/* ---- Limits ---------------------------------------------------------------------------------- */

static size_t live_bytes(const struct doc *doc)
{
    return doc->row.version == 0 || doc->row.deleted ? 0 : (size_t)doc->row.counted;
}

int doc_check(const struct doc_writer *writer, const struct doc *doc,
              const struct json_value *value, struct proto_problem *problem)
{
    const struct limits *limits = &writer->context->limits;
    const struct store_user *user = &writer->user;
    if (doc->row.version >= LIMIT_VERSION || user->seq >= LIMIT_SEQ - 1) {
        return proto_problem_set(problem, BQ_VERSION_LIMIT, "%s", status_text(BQ_VERSION_LIMIT));
    }
    if (value == NULL) {
        return BQ_OK;
    }
    size_t size = json_size(value);
    size_t old = live_bytes(doc);
    if (size > limits->document_bytes && size > old) {
        return proto_problem_set(problem, BQ_TOO_LARGE,
                                 "the document would have %zu bytes, the limit is %zu", size,
                                 limits->document_bytes);
    }
    unsigned depth = json_depth(value);
    if (depth > limits->depth &&
        (json_is_absent(&doc->present.value) || depth > json_depth(&doc->present.value))) {
        return proto_problem_set(problem, BQ_TOO_DEEP,
                                 "the document would nest %u deep, the limit is %u", depth,
                                 limits->depth);
    }
    if (old == 0 && user->n_keys >= limits->keys) {
        return proto_problem_set(problem, BQ_TOO_MANY_KEYS,
                                 "the user has %lld documents, the limit is %u",
                                 (long long)user->n_keys, limits->keys);
    }
    size_t quota = writer->op->user_bytes > 0 ? writer->op->user_bytes : limits->user_bytes;
    if (size > old && (size_t)user->n_bytes + size - old > quota) {
        return proto_problem_set(problem, BQ_QUOTA,
                                 "the user's documents would have over %zu bytes", quota);
    }
    return BQ_OK;
}

/* ---- Writing --------------------------------------------------------------------------------- */

/* Appends to the arena and gives the text. */
static struct slice print_to_arena(struct arena *arena, const struct json_value *value)
{
    struct buf buf = BUF_INIT;
    json_print(&buf, value);
    struct slice text = buf.failed ? SLICE_NONE : arena_copy(arena, buf_slice(&buf));
    buf_release(&buf);
    return text;
}

static int pack_receipts(struct arena *arena, struct doc *doc)
{
    struct buf buf = BUF_INIT;
    if (doc->receipts.n == 0 && !doc->receipts.evicted) {
        doc->row.receipts = SLICE("");
        return BQ_OK;
    }
    receipts_print(&buf, &doc->receipts);
    doc->row.receipts = buf.failed ? SLICE_NONE : arena_copy(arena, buf_slice(&buf));
    buf_release(&buf);
    return doc->row.receipts.ptr == NULL ? BQ_NOMEM : BQ_OK;
}

/* The user's clock: the server's, made strictly increasing. A time that is given is taken as it is,
 * and the clock does not fall behind it. */
static int64_t next_clock(struct doc_writer *writer)
{
    struct store_user *user = &writer->user;
    int64_t now = writer->context->now_us;
    int64_t given = writer->given_at_us;
    if (given != 0) {
        user->clock_us = given > user->clock_us ? given : user->clock_us;
        return given;
    }
    user->clock_us = now > user->clock_us ? now : user->clock_us + 1;
    return user->clock_us;
}

static void count(struct doc_writer *writer, const struct doc *doc, size_t new_bytes, bool deleted)
{
    struct store_user *user = &writer->user;
    bool was_there = doc->row.seq > 0;
    bool was_live = was_there && !doc->row.deleted;
    user->n_bytes += (int64_t)new_bytes - (int64_t)live_bytes(doc);
    user->n_keys += (deleted ? 0 : 1) - (was_live ? 1 : 0);
    user->n_tombstones += (deleted ? 1 : 0) - (was_there && doc->row.deleted ? 1 : 0);
}

/* The change as those hear it who listen. */
static int tell(struct op *op, const struct doc *doc, bool inserted)
{
    struct op_change *change = arena_alloc(op->arena, sizeof *change);
    if (change == NULL) {
        return BQ_NOMEM;
    }
    *change = (struct op_change){.row = doc->row, .inserted = inserted};
    if (op->changes == NULL) {
        op->changes = change;
    } else {
        op->last_change->next = change;
    }
    op->last_change = change;
    return BQ_OK;
}

int doc_write(struct doc_writer *writer, struct doc *doc, const struct json_value *value,
              bool deleted, int64_t epoch, struct history_note *note)
{
    struct store *store = writer->context->store;
    struct arena *arena = writer->op->arena;
    struct json_value nothing = json_absent();
    const struct json_value *newer = deleted ? &nothing : value;
    struct slice text = deleted ? SLICE("{}") : print_to_arena(arena, value);
    int status = text.ptr == NULL ? BQ_NOMEM : pack_receipts(arena, doc);
    note->at_us = next_clock(writer);
    if (status == BQ_OK && writer->context->limits.history > 0) {
        status = history_add(store, arena, &writer->op->user, doc->row.key, doc->row.version + 1,
                             &doc->present.value, newer, note, &doc->row.history);
    }
    if (status != BQ_OK) {
        return status;
    }
    bool inserted = live_bytes(doc) == 0;
    count(writer, doc, deleted ? 0 : text.len, deleted);
    if (doc->row.seq == 0 || doc->row.version == 0) {
        bool given = writer->given_created_us != 0;
        doc->row.created_us = given ? writer->given_created_us : note->at_us;
    }
    doc->row.version++;
    doc->row.seq = ++writer->user.seq;
    doc->row.deleted = deleted;
    doc->row.epoch = deleted ? epoch : 0;
    doc->row.data = text;
    doc->row.counted = (int64_t)text.len;
    doc->row.device_id = note->device_id;
    doc->row.modified_us = note->at_us;
    doc->present = (struct merge_document){*newer, doc->row.version, deleted, doc->row.epoch};
    writer->user_changed = true;
    status = store->doc_put(store, &writer->op->user, &doc->row);
    if (status == BQ_OK && deleted) {
        /* What an old client sent before the deletion is no repeat after it (docs/protocol.md
         * 11.1). */
        status = store->upserts_forget(store, &writer->op->user, doc->row.key);
    }
    return status == BQ_OK ? tell(writer->op, doc, inserted) : status;
}

int doc_write_receipts(struct doc_writer *writer, struct doc *doc)
{
    struct store *store = writer->context->store;
    int status = pack_receipts(writer->op->arena, doc);
    if (doc->row.version == 0) {
        doc->row.deleted = true;
        doc->row.data = SLICE("{}");
        doc->row.created_us = writer->context->now_us;
        doc->row.modified_us = writer->context->now_us;
        /* It stands in the feed, since a device that lists everything has to see its receipt, and
         * counts as a tombstone, so that refused edits of ever new keys cannot pile up. */
        writer->user.n_tombstones += doc->row.seq == 0 ? 1 : 0;
        doc->row.seq = ++writer->user.seq;
        writer->user_changed = true;
    }
    return status == BQ_OK ? store->doc_put(store, &writer->op->user, &doc->row) : status;
}

int doc_receipt(struct doc_writer *writer, struct doc *doc, struct slice device_id,
                const struct proto_edit *edit, struct receipt fate)
{
    fate.device_id = device_id;
    fate.op = edit->op;
    fate.day = writer->context->now_us / US_PER_DAY;
    memcpy(fate.id, edit->id.ptr, PROTO_ID_BYTES);
    return receipts_put(writer->op->arena, &doc->receipts, &fate);
}
