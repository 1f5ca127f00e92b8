/* upserts.h - what is remembered of an old client's device on a key, so that its retries and its
 * queued edits are counted once (docs/protocol.md, "Old clients").
 *
 * Kept as JSON: {"sent": [[E, "fingerprint", "action"], ...], newest first, at most
 * LIMIT_UPSERT_REPEATS; "sums": [[E, {...}], ...], the sum fields of the last document sent with E,
 * at most LIMIT_UPSERT_BASES; "last": [E, {...}], the last document whole}. E is null for NULL. */
#ifndef CORE_UPSERTS_H
#define CORE_UPSERTS_H

#include "base/hash.h"
#include "merge/merge.h"
#include "proto/rpc.h"

struct upserts {
    bool exists;
    struct json_value sent; /* arrays, or absent */
    struct json_value sums;
    struct json_value last;
};

/* BQ_OK, BQ_CORRUPT, BQ_NOMEM. SLICE_NONE: the device never wrote; a text of no bytes: it did, and
 * what it wrote was forgotten. */
int upserts_read(struct arena *arena, struct slice packed, struct upserts *out);

/* The fingerprint of a document by value: members in the order of slice_order, numbers by value. 32
 * hex digits. BQ_OK, BQ_NOMEM. */
int upserts_fingerprint(struct arena *arena, const struct json_value *document,
                        const uint64_t key[2], struct slice *out);

/* Whether (E, fingerprint) is an exact repeat, and of which outcome. With E NULL only the pair sent
 * last counts: such a write says "as sent, whatever is there", and may be meant again later. */
bool upserts_find_repeat(const struct upserts *upserts, const struct proto_upsert *in,
                         struct slice fingerprint, enum proto_action *out_action);

/* What this device sent last with this E: whole, or its sum fields (as a sparse document). Absent:
 * nothing is remembered. */
struct json_value upserts_last_document(const struct upserts *upserts, int64_t expected);
struct json_value upserts_last_sums(const struct upserts *upserts, int64_t expected);

/* Appends the memory with one more (E, sent, action). document is what was counted as sent. */
int upserts_print(struct buf *out, struct arena *arena, const struct upserts *upserts,
                  const struct proto_upsert *in, struct slice fingerprint,
                  enum proto_action action, const struct json_value *document,
                  const struct merge_policy *policy);

#endif
