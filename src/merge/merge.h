/* merge.h - diff and apply: the one merge function of client and server. docs/merge.md specifies
 * it; each branch of the code names its rule there.
 *
 * Pure: values in, values out, all in the caller's arena. Results share subtrees with their inputs,
 * so keep the arenas and texts of the inputs as long as the result. */
#ifndef MERGE_MERGE_H
#define MERGE_MERGE_H

#include "merge/policy.h"

enum merge_mode {
    MERGE_EDIT,   /* made from a known base */
    MERGE_SEED,   /* not: sum takes the larger, incoming, whole and keep keep theirs */
    MERGE_SEED_V1 /* a v1 write: a seed, but incoming takes now */
};

/* What changed, and from what. `was` and `now` are sparse trees; absent means not there. */
struct merge_edit {
    enum merge_mode mode;
    bool deletes; /* {"delete": true}; was and now are absent then */
    bool has_epoch;
    int64_t epoch;
    int64_t base; /* version it was made on; 0 none; -1 whatever the version */
    struct json_value was;
    struct json_value now;
    const struct slice *whole; /* JSON Pointers (RFC 6901) of objects shipped as leaves */
    uint32_t n_whole;
};

/* A document as the server, or the client's copy of the server, holds it. */
struct merge_document {
    struct json_value value; /* absent where version is 0; {} of a tombstone is not looked at */
    int64_t version;
    bool deleted;
    int64_t epoch; /* of a tombstone; a live document carries its own */
};

enum merge_outcome {
    MERGE_APPLIED, /* base was current: the result is what the client has */
    MERGE_MERGED,  /* merged with what others did */
    MERGE_KEPT     /* the edit changes nothing: an older epoch, a late delete, a tombstone */
};

struct merge_result {
    enum merge_outcome outcome;
    bool changed;                   /* by value: a new version is due */
    struct merge_document document; /* value, deleted and epoch are set; version is the old one */
};

/* One line of an explanation: which rule gave which path which value. */
struct merge_step {
    struct slice path; /* JSON Pointer */
    const char *rule;  /* "1" ... "6", "epoch", "delete", "tombstone", "applied" */
    const struct merge_policy *policy;
    struct json_value was, now, theirs, result;
};

struct merge_trace {
    struct arena *arena;
    struct merge_step *steps;
    uint32_t n_steps;
    uint32_t size;
};

/* The edit from base to mine (either may be absent), base version and mode left for the caller to
 * set (0, MERGE_EDIT). *out_changed is false where they are equal by value: then was and now are
 * absent. `mine` absent and base present makes a delete. BQ_OK or BQ_NOMEM. */
int merge_diff(struct arena *arena, const struct json_value *base, const struct json_value *mine,
               const struct merge_policy *policy, struct merge_edit *out, bool *out_changed);

/* Applies an edit. trace may be NULL. BQ_OK, BQ_OUT_OF_RANGE (a sum), BQ_NOMEM; on an error *out is
 * untouched. Sizes, depths and the version limit are the caller's to check. */
int merge_apply(struct arena *arena, const struct merge_document *theirs,
                const struct merge_edit *edit, const struct merge_policy *policy,
                struct merge_trace *trace, struct merge_result *out);

/* The edit without (or with nothing but) the fields whose policy is sum. *out_empty tells that
 * nothing is left. A delete has no sums. BQ_OK or BQ_NOMEM. */
int merge_without_sums(struct arena *arena, const struct merge_edit *edit,
                       const struct merge_policy *policy, struct merge_edit *out, bool *out_empty);
int merge_only_sums(struct arena *arena, const struct merge_edit *edit,
                    const struct merge_policy *policy, struct merge_edit *out, bool *out_empty);

/* The epoch of a document under a policy; 0 where there is none or it is odd. */
int64_t merge_epoch(const struct json_value *document, const struct merge_policy *policy);

/* RFC 7396 merge patch: null removes. BQ_OK or BQ_NOMEM. target may be absent. */
int merge_patch(struct arena *arena, const struct json_value *target,
                const struct json_value *patch, struct json_value *out);

/* The value at a JSON Pointer, or absent. */
struct json_value merge_pointer_get(const struct json_value *document, struct slice pointer);

/* `document` with the value at a pointer replaced, made (objects on the way as well) or, where
 * value is absent, removed. BQ_OK, BQ_INVALID (a bad pointer, or an array or a scalar on the way),
 * BQ_NOMEM. */
int merge_pointer_set(struct arena *arena, const struct json_value *document, struct slice pointer,
                      const struct json_value *value, struct json_value *out);

#endif
