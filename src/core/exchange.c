/* exchange.c - sync_exchange: edits in, changes out (docs/protocol.md, "sync_exchange").
 *
 * In this order: is the client's epoch ours? Does it know of more than the store does (evidence)?
 * Only then is anything applied, edit by edit; then the changes since its cursor are collected. */
#include "core/apply.h"

#include "base/plant.h"
#include "base/status.h"
#include "proto/read.h"

#include <inttypes.h>
#include <stdio.h>

#define EPOCH_TEXT 64u

/* An edit as it came, and what could be read of it. */
struct incoming {
    struct proto_edit edit;
    int status;
    struct slice problem;
    struct doc *doc; /* shared by the edits of one key; NULL where the key cannot be read */
};

struct exchange {
    struct doc_writer writer;
    const struct proto_exchange *in;
    struct proto_answer *answer;
    struct incoming *edits;
    struct doc *docs; /* one per key that the edits name */
    uint32_t n_docs;
};

/* ---- Reading the edits ----------------------------------------------------------------------- */

static int find_doc(struct exchange *x, struct slice key, struct doc **out)
{
    for (uint32_t i = 0; i < x->n_docs; i++) {
        if (slice_equal(x->docs[i].row.key, key)) {
            *out = &x->docs[i];
            return BQ_OK;
        }
    }
    int status = doc_load(&x->writer, key, &x->docs[x->n_docs]);
    if (status == BQ_OK) {
        *out = &x->docs[x->n_docs++];
    }
    return status;
}

static int read_edits(struct exchange *x)
{
    struct arena *arena = x->writer.op->arena;
    uint32_t n = x->in->n_edits;
    x->edits = arena_zalloc(arena, n, sizeof *x->edits);
    x->docs = arena_zalloc(arena, n, sizeof *x->docs);
    if (arena_failed(arena)) {
        return BQ_NOMEM;
    }
    for (uint32_t i = 0; i < n; i++) {
        struct incoming *incoming = &x->edits[i];
        struct proto_problem problem;
        int status = BQ_OK;
        incoming->status = proto_edit_read(arena, &x->in->edits[i], &incoming->edit, &problem);
        if (incoming->status == BQ_NOMEM) {
            return BQ_NOMEM;
        }
        if (incoming->status != BQ_OK) {
            incoming->problem = arena_copy(arena, slice_of(problem.text));
        }
        if (proto_key_valid(incoming->edit.key)) {
            status = find_doc(x, incoming->edit.key, &incoming->doc);
        }
        if (status != BQ_OK) {
            return status;
        }
    }
    return BQ_OK;
}

/* ---- Evidence of loss ------------------------------------------------------------------------ */

static bool shows_loss(const struct exchange *x)
{
    int64_t cursor = x->in->cursor < 0 ? -x->in->cursor - 1 : x->in->cursor;
    if (PLANTED(EVIDENCE_IGNORED)) {
        return false;
    }
    if (cursor > x->writer.user.seq) {
        return true;
    }
    for (uint32_t i = 0; i < x->in->n_edits; i++) {
        const struct incoming *incoming = &x->edits[i];
        if (incoming->status != BQ_OK) {
            continue;
        }
        const struct doc *doc = incoming->doc;
        if ((incoming->edit.edit.base > doc->row.version && !doc_may_be_purged(&x->writer, doc)) ||
            receipts_judge(&doc->receipts, x->in->device_id, &incoming->edit) == RECEIPT_EVIDENCE) {
            return true;
        }
    }
    return false;
}

/* ---- One edit -------------------------------------------------------------------------------- */

static void carry_document(struct proto_result *result, const struct doc *doc)
{
    result->version = doc->row.version;
    result->deleted = doc->row.version > 0 && doc->row.deleted;
    result->has_data = true;
    result->data = doc_value(doc);
}

/* A receipt on a key without a row makes one, which pushes the oldest tombstone out once there are
 * LIMIT_TOMBSTONES: no refusal is worth that. From the first purge on the missing receipt counts as
 * evicted, so the device's next edit shows no loss (docs/protocol.md 8.3). */
static bool has_room(const struct exchange *x, const struct doc *doc)
{
    const struct store_user *user = &x->writer.user;
    return doc->row.seq > 0 || user->n_tombstones < LIMIT_TOMBSTONES || user->purged_seq == 0;
}

/* A refusal for good gets a receipt, so that a late copy of the edit changes nothing. */
static int refuse(struct exchange *x, struct incoming *incoming, int code, struct slice message,
                  struct proto_result *result)
{
    struct doc *doc = incoming->doc;
    const struct proto_edit *edit = &incoming->edit;
    int status = BQ_OK;
    result->status = PROTO_REFUSED;
    result->code = code;
    result->message = message;
    if (doc == NULL) {
        return BQ_OK;
    }
    carry_document(result, doc);
    if (PLANTED(REFUSAL_WITHOUT_RECEIPT)) {
        return BQ_OK;
    }
    const struct receipt *last = receipts_find(&doc->receipts, x->in->device_id);
    bool named = edit->op > 0 && edit->id.ptr != NULL;
    if (named && has_room(x, doc) && (last == NULL || edit->op > last->op)) {
        struct receipt fate = {.version = doc->row.version, .code = code};
        status = doc_receipt(&x->writer, doc, x->in->device_id, edit, fate);
        if (status == BQ_OK) {
            status = doc_write_receipts(&x->writer, doc);
        }
    }
    return status;
}

/* A planted bug: the edit is committed, and its receipt comes in a transaction of its own. */
static int receipt_apart(struct exchange *x, struct incoming *incoming, struct receipt fate)
{
    struct store *store = x->writer.context->store;
    int status = doc_writer_end(&x->writer);
    status = status == BQ_OK ? store->commit(store) : status;
    status = status == BQ_OK ? store->begin(store) : status;
    if (status == BQ_OK) {
        status = doc_receipt(&x->writer, incoming->doc, x->in->device_id, &incoming->edit, fate);
    }
    return status == BQ_OK ? doc_write_receipts(&x->writer, incoming->doc) : status;
}

static int write_result(struct exchange *x, struct incoming *incoming,
                        const struct merge_result *merged)
{
    struct doc *doc = incoming->doc;
    const struct proto_edit *edit = &incoming->edit;
    struct receipt fate = {.version = doc->row.version + (merged->changed ? 1 : 0)};
    if (merged->outcome == MERGE_KEPT && doc->row.deleted && !edit->edit.deletes) {
        /* Lost, as far as the device is concerned: so it hears of it also where this answer does
         * not arrive. */
        fate.code = BQ_DELETED;
    }
    bool merge = merged->outcome == MERGE_MERGED;
    struct history_note note = {merge                ? "merged"
                                : edit->edit.deletes ? "deleted"
                                                     : "applied",
                                x->in->device_id, edit->op, 0, merge ? &edit->edit : NULL};
    int status = PLANTED(NO_RECEIPT) || PLANTED(RECEIPT_APART)
                     ? BQ_OK
                     : doc_receipt(&x->writer, doc, x->in->device_id, edit, fate);
    if (status != BQ_OK) {
        return status;
    }
    if (!merged->changed) {
        status = doc_write_receipts(&x->writer, doc);
    } else {
        status = doc_write(&x->writer, doc, &merged->document.value, merged->document.deleted,
                           merged->document.epoch, &note);
    }
    return status == BQ_OK && PLANTED(RECEIPT_APART) ? receipt_apart(x, incoming, fate) : status;
}

static int apply_new(struct exchange *x, struct incoming *incoming, struct proto_result *result)
{
    static const enum proto_result_status words[] = {
        [MERGE_APPLIED] = PROTO_APPLIED, [MERGE_MERGED] = PROTO_MERGED, [MERGE_KEPT] = PROTO_KEPT};
    struct arena *arena = x->writer.op->arena;
    struct doc *doc = incoming->doc;
    struct merge_result merged;
    struct proto_problem problem;
    int status = merge_apply(arena, &doc->present, &incoming->edit.edit,
                             doc_policy(&x->writer, doc->row.key), NULL, &merged);
    if (status == BQ_OUT_OF_RANGE) {
        return refuse(x, incoming, status, slice_of(status_text(status)), result);
    }
    if (status == BQ_OK && merged.changed) {
        int refused = doc_check(&x->writer, doc,
                                merged.document.deleted ? NULL : &merged.document.value, &problem);
        if (refused != BQ_OK) {
            return refuse(x, incoming, refused, arena_copy(arena, slice_of(problem.text)), result);
        }
    }
    if (status == BQ_OK) {
        status = write_result(x, incoming, &merged);
    }
    if (status != BQ_OK) {
        return status;
    }
    result->status = words[merged.outcome];
    carry_document(result, doc);
    result->has_data = merged.outcome != MERGE_APPLIED;
    return BQ_OK;
}

static int one_edit(struct exchange *x, struct incoming *incoming, struct proto_result *result)
{
    const struct proto_edit *edit = &incoming->edit;
    struct doc *doc = incoming->doc;
    *result = (struct proto_result){.key = edit->key, .op = edit->op};
    if (incoming->status != BQ_OK) {
        return refuse(x, incoming, incoming->status, incoming->problem, result);
    }
    switch (receipts_judge(&doc->receipts, x->in->device_id, edit)) {
    case RECEIPT_NEW:
        return apply_new(x, incoming, result);
    case RECEIPT_DUPLICATE:
        result->status = PROTO_DUPLICATE;
        result->code = receipts_find(&doc->receipts, x->in->device_id)->code;
        break;
    case RECEIPT_FORGOTTEN:
        result->status = PROTO_FORGOTTEN;
        break;
    case RECEIPT_EVIDENCE: /* was looked for before the first edit; an earlier one of this key */
    case RECEIPT_REWOUND:  /* was refused meanwhile */
        result->status = PROTO_REWOUND;
        break;
    }
    carry_document(result, doc);
    return BQ_OK;
}

static int all_edits(struct exchange *x)
{
    struct proto_answer *answer = x->answer;
    uint32_t n = x->in->n_edits;
    int status = BQ_OK;
    answer->results = arena_zalloc(x->writer.op->arena, n, sizeof *answer->results);
    if (answer->results == NULL) {
        return BQ_NOMEM;
    }
    for (uint32_t i = 0; i < n && status == BQ_OK; i++) {
        status = one_edit(x, &x->edits[i], &answer->results[i]);
    }
    answer->n_results = n;
    return status;
}

/* ---- Changes --------------------------------------------------------------------------------- */

/* What a result told of this very version is not told again. */
static bool is_told(const struct proto_answer *answer, const struct store_doc *doc)
{
    for (uint32_t i = 0; i < answer->n_results; i++) {
        const struct proto_result *result = &answer->results[i];
        if (result->version == doc->version && slice_equal(result->key, doc->key)) {
            return true;
        }
    }
    return false;
}

static int fill_change(struct exchange *x, const struct store_doc *doc, struct proto_change *out)
{
    struct receipts receipts;
    int status = receipts_read(x->writer.op->arena, doc->receipts, &receipts);
    if (status != BQ_OK) {
        return status;
    }
    const struct receipt *last = receipts_find(&receipts, x->in->device_id);
    *out = (struct proto_change){.key = doc->key,
                                 .version = doc->version,
                                 .seq = doc->seq,
                                 .refused = BQ_OK,
                                 .deleted = doc->deleted,
                                 .device_id = doc->device_id,
                                 .modified_us = doc->modified_us};
    out->data = doc->deleted ? json_object(NULL, 0) : json_raw(doc->data);
    if (last != NULL) {
        out->op = last->op;
        out->id = arena_copy(x->writer.op->arena, slice_of(last->id));
        out->refused = last->code;
    }
    return BQ_OK;
}

/* A planted bug: the feed's end is read after the rows, in a transaction of its own. */
static int look_again(struct exchange *x)
{
    struct store *store = x->writer.context->store;
    store->rollback(store);
    int status = store->begin(store);
    return status == BQ_OK ? store->user_get(store, &x->writer.op->user, &x->writer.user) : status;
}

static int collect(struct exchange *x, bool complete, int64_t after)
{
    struct store *store = x->writer.context->store;
    struct arena *arena = x->writer.op->arena;
    struct proto_answer *answer = x->answer;
    struct store_docs docs;
    after += PLANTED(CURSOR_OFF_BY_ONE) ? 1 : 0;
    int status = store->docs(store, arena, &x->writer.op->user, after, (uint32_t)x->in->limit,
                             LIMIT_ANSWER_BYTES, true, &docs);
    if (status != BQ_OK) {
        return status;
    }
    answer->changes = arena_zalloc(arena, docs.n, sizeof *answer->changes);
    if (answer->changes == NULL) {
        return BQ_NOMEM;
    }
    for (uint32_t i = 0; i < docs.n && status == BQ_OK; i++) {
        if (complete || !is_told(answer, &docs.items[i])) {
            status = fill_change(x, &docs.items[i], &answer->changes[answer->n_changes++]);
        }
    }
    int64_t last = docs.n > 0 ? docs.items[docs.n - 1].seq : after;
    if (PLANTED(CURSOR_PAST_UNCOMMITTED) && status == BQ_OK && !x->writer.op->may_write) {
        status = look_again(x);
    }
    answer->more = docs.more;
    answer->complete = complete;
    answer->cursor = !docs.more ? x->writer.user.seq : complete ? -(last + 1) : last;
    return status;
}

static int changes(struct exchange *x)
{
    int64_t cursor = x->in->cursor;
    if (x->answer->epoch_changed || (cursor > 0 && cursor < x->writer.user.purged_seq)) {
        return collect(x, true, 0);
    }
    return cursor < 0 ? collect(x, true, -cursor - 1) : collect(x, false, cursor);
}

/* ---- The whole ------------------------------------------------------------------------------- */

static int set_epoch(struct exchange *x)
{
    struct store *store = x->writer.context->store;
    struct slice epoch = store->epoch(store);
    struct buf buf = BUF_INIT;
    buf_add_slice(&buf, epoch);
    buf_add_char(&buf, '.');
    buf_add_int(&buf, x->writer.user.generation);
    x->answer->epoch = buf.failed ? SLICE_NONE : arena_copy(x->writer.op->arena, buf_slice(&buf));
    buf_release(&buf);
    return x->answer->epoch.ptr == NULL ? BQ_NOMEM : BQ_OK;
}

static int exchange(struct exchange *x, bool may_write)
{
    int status = set_epoch(x);
    if (status != BQ_OK) {
        return status;
    }
    if (x->in->epoch.ptr != NULL && !slice_equal(x->in->epoch, x->answer->epoch) &&
        !PLANTED(EPOCH_IGNORED)) {
        x->answer->epoch_changed = true;
        return changes(x);
    }
    status = read_edits(x);
    if (status == BQ_OK && shows_loss(x)) {
        if (!may_write) {
            return BQ_READ_ONLY;
        }
        x->writer.user.generation++;
        x->writer.user_changed = true;
        x->answer->epoch_changed = true;
        status = set_epoch(x);
    } else if (status == BQ_OK) {
        status = all_edits(x);
    }
    return status == BQ_OK ? changes(x) : status;
}

int run_exchange(struct op_context *context, struct op *op)
{
    struct exchange x = {.in = &op->in.exchange, .answer = &op->out.answer};
    int status = doc_writer_begin(&x.writer, context, op);
    if (status != BQ_OK) {
        return status == BQ_USER_ERASED ? BQ_OK : status;
    }
    op->out.answer = (struct proto_answer){.server_time_us = context->now_us,
                                           .policies = context->policies_version};
    status = exchange(&x, op->may_write);
    return status == BQ_OK ? doc_writer_end(&x.writer) : status;
}
