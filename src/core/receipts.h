/* receipts.h - what a document remembers of each device's last edit (docs/protocol.md,
 * "Receipts").
 *
 * Packed into one text of the document's row, most recent first:
 *     byte 1: format (1); byte 2: 1 if a receipt was ever evicted
 *     each: op, version, code, day as LEB128 numbers (code negated), 8 bytes of id, length of the
 *     device id as one byte, the device id
 * At most LIMIT_RECEIPTS and LIMIT_RECEIPT_DAYS; what is older goes, and is remembered as
 * evicted. */
#ifndef CORE_RECEIPTS_H
#define CORE_RECEIPTS_H

#include "base/arena.h"
#include "base/buf.h"
#include "proto/edit.h"

struct receipt {
    struct slice device_id;
    int64_t op;
    char id[PROTO_ID_BYTES + 1];
    int64_t version; /* that it made, or found */
    int code;        /* BQ_OK, or why it was refused */
    int64_t day;     /* days since 1970 */
};

struct receipts {
    struct receipt *items;
    uint32_t n;
    bool evicted;
};

/* An empty text is no receipts. BQ_OK, BQ_CORRUPT, BQ_NOMEM. */
int receipts_read(struct arena *arena, struct slice packed, struct receipts *out);

void receipts_print(struct buf *out, const struct receipts *receipts);

/* NULL: none. */
const struct receipt *receipts_find(const struct receipts *receipts, struct slice device_id);

/* Replaces the device's receipt, and evicts what is over the limits. BQ_OK, BQ_NOMEM. */
int receipts_put(struct arena *arena, struct receipts *receipts, const struct receipt *receipt);

enum receipt_verdict {
    RECEIPT_NEW,       /* apply, and write a receipt */
    RECEIPT_DUPLICATE, /* answer with the outcome of the first time */
    RECEIPT_FORGOTTEN, /* no receipt any more */
    RECEIPT_REWOUND,   /* a restored backup, a cloned file */
    RECEIPT_EVIDENCE   /* the client knows of more than the store: the store lost something */
};

/* The decision table of exactly once. */
enum receipt_verdict receipts_judge(const struct receipts *receipts, struct slice device_id,
                                    const struct proto_edit *edit);

#endif
