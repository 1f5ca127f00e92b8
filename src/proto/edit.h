/* edit.h - an edit on the wire (docs/protocol.md, "Edits").
 *
 *     {"op": 17, "prev": 16, "id": "9f3c...", "key": "settings", "base": 41,
 *      "was": {...}, "now": {...}, "whole": ["/aiThemes/t1"], "epoch": 2}
 *     {"op": 18, "prev": 17, "id": "...", "key": "notes", "base": 7, "delete": true}
 *     {"op": 1, "prev": 0, "id": "...", "key": "settings", "base": 0, "seed": true,
 *      "now": {...}} */
#ifndef PROTO_EDIT_H
#define PROTO_EDIT_H

#include "merge/merge.h"

#define PROTO_ID_BYTES 16u /* 64 random bits in lower-case hex */

struct proto_edit {
    struct slice key;
    int64_t op;   /* 1, 2, 3 ... per user, device and key */
    int64_t prev; /* the last op of this device that the client knows the server to hold */
    struct slice id;
    struct merge_edit edit;
};

/* Why an edit was refused before it was looked at by the merge. */
struct proto_problem {
    int status;     /* BQ_MALFORMED, BQ_UNSUPPORTED, BQ_BAD_KEY, BQ_NOMEM */
    char text[160]; /* a sentence: what, where */
};

/* Reads the envelope and the edit. What can be read of key, op and id is in *out even on a refusal,
 * so that the answer can name the edit (absent ones: SLICE_NONE, 0). Borrows from value. */
int proto_edit_read(struct arena *arena, const struct json_value *value, struct proto_edit *out,
                    struct proto_problem *problem);

/* Reads base, was, now, whole, epoch, delete and seed alone: the form of the vectors and of
 * `bqsync merge`; op, prev, id and key may stand beside them. */
int proto_edit_read_bare(struct arena *arena, const struct json_value *value,
                         struct merge_edit *out, struct proto_problem *problem);

/* Appends the edit as compact JSON. */
void proto_edit_print(struct buf *out, const struct proto_edit *edit);

/* A document key: 1 to 128 bytes, UTF-8, no controls, not beginning with '_'. */
bool proto_key_valid(struct slice key);

/* A device id: 1 to 128 bytes, no controls. */
bool proto_device_valid(struct slice device_id);

#endif
