/* policy.h - merge policies: read from JSON, looked up by document key. docs/merge.md, section 2.
 *
 * A policy is data of an operator, checked once when it is read; afterwards it cannot fail. */
#ifndef MERGE_POLICY_H
#define MERGE_POLICY_H

#include "json/json.h"

enum merge_kind {
    MERGE_INCOMING,
    MERGE_WHOLE,
    MERGE_KEEP,
    MERGE_MAX,
    MERGE_MIN,
    MERGE_SUM,
    MERGE_UNION,
    MERGE_ANY,
    MERGE_ALL,
    MERGE_EACH,
    MERGE_FIELDS
};

struct merge_field;

struct merge_policy {
    enum merge_kind kind;
    uint32_t n_fields;
    struct slice epoch_field;         /* of a document policy; ptr NULL where there is none */
    const struct merge_policy *each;  /* MERGE_EACH */
    const struct merge_field *fields; /* MERGE_FIELDS, sorted by slice_order(name) */
    const struct merge_policy *rest;  /* MERGE_FIELDS; never NULL there */
    bool has_whole;                   /* it or a policy inside it is "whole" */
    bool has_sum;                     /* it or a policy inside it is "sum" */
};

struct merge_field {
    struct slice name;
    const struct merge_policy *policy;
};

/* What is wrong with a policy: where (JSON Pointer) and a sentence. */
struct merge_policy_error {
    char path[128];
    char what[160];
};

/* "incoming", the policy of what no pattern names. */
extern const struct merge_policy merge_policy_incoming;

/* Reads a document policy. BQ_OK, BQ_BAD_POLICY with *error filled in, BQ_NOMEM. The result lives
 * in the arena and borrows from value. error may be NULL. */
int merge_policy_read(struct arena *arena, const struct json_value *value,
                      const struct merge_policy **out, struct merge_policy_error *error);

/* The policy of a member of an object under `policy`; with KEEP members are KEEP, every other leaf
 * policy gives INCOMING, and so does the epoch field (docs/merge.md 2.3). */
const struct merge_policy *merge_policy_member(const struct merge_policy *policy,
                                               struct slice name);

/* The word of a leaf kind ("max"), "each" or "fields". */
const char *merge_kind_word(enum merge_kind kind);

/* A set of policies by pattern: an exact key, or a prefix and '*'; the longest pattern wins, an
 * exact key over any. Belongs to the arena that it was read into; read-only and shareable
 * afterwards. */
struct merge_policies;

/* The shipped set as JSON text: {"game_stats": ..., "*": "incoming"}. */
extern const char merge_policies_shipped[];

/* Reads an object {pattern: policy}. BQ_OK, BQ_BAD_POLICY with *error, BQ_NOMEM. */
int merge_policies_read(struct arena *arena, const struct json_value *patterns,
                        const struct merge_policies **out, struct merge_policy_error *error);

/* Never NULL. policies may be NULL (everything is incoming). */
const struct merge_policy *merge_policies_find(const struct merge_policies *policies,
                                               struct slice key);

/* The pattern that merge_policies_find() used; "*" where none matched. */
struct slice merge_policies_pattern(const struct merge_policies *policies, struct slice key);

#endif
