/* doc.h - one document in the hands of an op: loaded, judged, written.
 *
 * All ways of writing meet here: limits, quotas, version, sequence number, clock, history,
 * receipts. Every decision is made before the first write. */
#ifndef CORE_DOC_H
#define CORE_DOC_H

#include "core/history.h"
#include "core/op.h"
#include "core/receipts.h"

struct doc {
    struct store_doc row;
    struct merge_document present; /* row as the merge sees it */
    struct receipts receipts;
};

/* What all writes of one op share. */
struct doc_writer {
    struct op_context *context;
    struct op *op;
    struct store_user user; /* as it is now; written by doc_writer_end() */
    bool user_changed;
    int64_t given_at_us;      /* the time of the next doc_write(); 0: the user's clock */
    int64_t given_created_us; /* the same for a document that is new */
};

/* Loads the user's row. BQ_USER_ERASED in op->status (and as the answer) for an erased user; store
 * codes fail the batch. */
int doc_writer_begin(struct doc_writer *writer, struct op_context *context, struct op *op);

/* Writes the user's row where it changed, drops tombstones that are too many, sets op->wrote. */
int doc_writer_end(struct doc_writer *writer);

int doc_load(struct doc_writer *writer, struct slice key, struct doc *out);

/* There is no row, and tombstones of this user were purged: the key may have had one, and
 * receipts in it. So what a client knows of it is no evidence of a loss, and its receipts count
 * as evicted. */
bool doc_may_be_purged(const struct doc_writer *writer, const struct doc *doc);

/* Whether a value (NULL: a tombstone) may become the document: BQ_OK, or the refusal, with a
 * sentence. A result over a limit is fine where it is no larger than what was there. */
int doc_check(const struct doc_writer *writer, const struct doc *doc,
              const struct json_value *value, struct proto_problem *problem);

/* Writes a new version: value (or a tombstone with this epoch), its history, the receipts as they
 * are in doc. note->at_us is set here. doc is the new one afterwards. */
int doc_write(struct doc_writer *writer, struct doc *doc, const struct json_value *value,
              bool deleted, int64_t epoch, struct history_note *note);

/* Writes the receipts alone: no new version. Those of a document that never was stand in a row of
 * version 0, which the feed names and no reader of documents shows. */
int doc_write_receipts(struct doc_writer *writer, struct doc *doc);

/* Remembers the fate of an edit: the version that it makes (or found), or why it was refused. It is
 * written by doc_write() or doc_write_receipts(). */
int doc_receipt(struct doc_writer *writer, struct doc *doc, struct slice device_id,
                const struct proto_edit *edit, struct receipt fate);

/* The document as an answer carries it. */
struct json_value doc_value(const struct doc *doc);

const struct merge_policy *doc_policy(const struct doc_writer *writer, struct slice key);

#endif
