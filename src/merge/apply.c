/* apply.c - docs/merge.md, sections 4 (which way an edit goes), 8 (epochs) and 9 (deletes). */
#include "merge/walk.h"

#include "base/limits.h"
#include "base/plant.h"
#include "base/status.h"
#include "json/decimal.h"

static const struct json_value empty_object = {.type = JSON_OBJECT};

static const struct json_value *present(const struct json_value *value)
{
    return json_is_absent(value) ? NULL : value;
}

/* Section 8.1: an integer by value, not negative, below 2^53; anything else reads as 0. */
int64_t merge_epoch(const struct json_value *document, const struct merge_policy *policy)
{
    if (policy->epoch_field.ptr == NULL) {
        return 0;
    }
    const struct json_value *field = json_get_slice(document, policy->epoch_field);
    int64_t epoch = 0;
    if (!json_is(field, JSON_NUMBER) || !decimal_to_int(field, &epoch)) {
        return 0;
    }
    return epoch >= 0 && epoch < LIMIT_EPOCH ? epoch : 0;
}

/* One merge_apply(). */
struct apply {
    struct walk walk;
    const struct merge_document *document;
    const struct merge_edit *edit;
    const struct merge_policy *policy;
    struct walk_at root;
    int64_t epoch;  /* the document's, or its tombstone's */
    bool has_epoch; /* policy and edit both have one */
};

static int keep(struct apply *apply, const char *rule, struct merge_result *out)
{
    walk_explain(&apply->walk, &apply->root, rule, apply->root.theirs);
    *out = (struct merge_result){.outcome = MERGE_KEPT, .document = *apply->document};
    return BQ_OK;
}

/* The result of a walk as a document; `from` is what was there. */
static void tell(struct apply *apply, enum merge_outcome outcome, const struct json_value *from,
                 const struct json_value *result, struct merge_result *out)
{
    struct walk *walk = &apply->walk;
    *out = (struct merge_result){.outcome = outcome, .document = *apply->document};
    bool same = from == result;
    if (!same && from != NULL && result != NULL && from != apply->root.theirs) {
        same = json_equal(walk->arena, from, result); /* section 8.2 put another value there */
    }
    if (same) {
        return;
    }
    out->changed = true;
    if (result == NULL) { /* section 9.4 */
        out->document.value = json_absent();
        out->document.deleted = true;
        bool higher = apply->has_epoch && apply->edit->epoch > apply->epoch; /* section 9.2 */
        out->document.epoch = higher ? apply->edit->epoch : apply->epoch;
        return;
    }
    out->document.value = *result;
    out->document.deleted = false;
    out->document.epoch = merge_epoch(result, apply->policy);
}

static bool out_of_memory(const struct apply *apply)
{
    const struct merge_trace *trace = apply->walk.trace;
    return arena_failed(apply->walk.arena) || (trace != NULL && arena_failed(trace->arena));
}

/* Section 4.1. *out_done tells whether it held. */
static int apply_exact(struct apply *apply, struct merge_result *out, bool *out_done)
{
    struct merge_trace *trace = apply->walk.trace;
    uint32_t n_steps = trace == NULL ? 0 : trace->n_steps;
    apply->walk.exact = true;
    const struct json_value *result = walk_value(&apply->walk, &apply->root);
    apply->walk.exact = false;
    if (out_of_memory(apply)) {
        return BQ_NOMEM;
    }
    *out_done = !apply->walk.differs;
    if (*out_done) {
        tell(apply, MERGE_APPLIED, apply->root.theirs, result, out);
    } else if (trace != NULL) {
        trace->n_steps = n_steps;
    }
    return BQ_OK;
}

/* Section 9. */
static int apply_delete(struct apply *apply, struct merge_result *out)
{
    bool current = apply->edit->base == apply->document->version;
    if (apply->has_epoch && apply->edit->epoch < apply->epoch) {
        return keep(apply, "epoch", out);
    }
    if (!current) {
        return keep(apply, apply->document->deleted ? "tombstone" : "delete", out);
    }
    walk_explain(&apply->walk, &apply->root, "delete", NULL);
    tell(apply, MERGE_APPLIED, apply->root.theirs, NULL, out);
    return BQ_OK;
}

/* Section 8.2: {field: n}, what an edit of a higher epoch finds; NULL when memory is exhausted. */
static const struct json_value *fresh(struct apply *apply, int64_t epoch)
{
    struct arena *arena = apply->walk.arena;
    struct json_member *member = arena_alloc(arena, sizeof *member);
    struct json_value *object = arena_alloc(arena, sizeof *object);
    if (member == NULL || object == NULL) {
        return NULL;
    }
    *member = (struct json_member){json_string(apply->policy->epoch_field), json_int(arena, epoch)};
    *object = json_object(member, 1);
    return object;
}

/* Sections 8.2 and 8.3: what the walk takes for theirs and was. */
static void enter_epoch(struct apply *apply)
{
    const struct json_value *now = apply->root.now;
    const struct json_value *was = apply->root.was;
    if (apply->policy->epoch_field.ptr == NULL) {
        return;
    }
    bool higher = apply->has_epoch && apply->edit->epoch > apply->epoch;
    int64_t epoch = higher ? apply->edit->epoch : apply->epoch;
    if (higher || (apply->document->deleted && epoch > 0)) {
        const struct json_value *value = fresh(apply, epoch);
        walk_explain(&apply->walk, &apply->root, "epoch", value);
        apply->root.theirs = value;
    }
    if (apply->has_epoch && merge_epoch(now, apply->policy) > merge_epoch(was, apply->policy)) {
        apply->root.was = &empty_object;
    }
}

static int apply_merge(struct apply *apply, struct merge_result *out)
{
    const struct json_value *from = apply->root.theirs;
    enter_epoch(apply);
    const struct json_value *result = walk_value(&apply->walk, &apply->root);
    if (out_of_memory(apply)) {
        return BQ_NOMEM;
    }
    if (apply->walk.status == BQ_OK) {
        tell(apply, MERGE_MERGED, from, result, out);
    }
    return apply->walk.status;
}

/* Section 9.3: an edit made before the document was deleted. */
static bool is_late(const struct apply *apply)
{
    int64_t base = apply->edit->base;
    return apply->document->deleted && base > 0 && base < apply->document->version;
}

static int apply_edit(struct apply *apply, struct merge_result *out)
{
    if (apply->edit->deletes) {
        return apply_delete(apply, out);
    }
    if (apply->edit->base == apply->document->version || PLANTED(VERSION_CHECK_SKIPPED)) {
        bool done = false;
        int status = apply_exact(apply, out, &done);
        if (status != BQ_OK || done) {
            return status;
        }
    }
    if (is_late(apply) && !PLANTED(TOMBSTONE_REVIVED)) {
        return keep(apply, "tombstone", out);
    }
    if (apply->has_epoch && apply->edit->epoch < apply->epoch) {
        return keep(apply, "epoch", out);
    }
    return apply_merge(apply, out);
}

int merge_apply(struct arena *arena, const struct merge_document *theirs,
                const struct merge_edit *edit, const struct merge_policy *policy,
                struct merge_trace *trace, struct merge_result *out)
{
    const struct json_value *value = theirs->deleted ? NULL : present(&theirs->value);
    struct apply apply = {
        .walk = {.arena = arena, .mode = edit->mode, .status = BQ_OK, .trace = trace},
        .document = theirs,
        .edit = edit,
        .policy = policy,
        .root = {.place = place_root(policy),
                 .was = present(&edit->was),
                 .now = present(&edit->now),
                 .theirs = value},
        .epoch = theirs->deleted ? theirs->epoch : merge_epoch(value, policy),
        .has_epoch = policy->epoch_field.ptr != NULL && edit->has_epoch,
    };
    struct merge_result result;
    if (!whole_begin(arena, edit->whole, edit->n_whole, &apply.root.whole)) {
        return BQ_NOMEM;
    }
    int status = apply_edit(&apply, &result);
    if (status == BQ_OK && out_of_memory(&apply)) {
        status = BQ_NOMEM;
    }
    if (status == BQ_OK) {
        *out = result;
    }
    return status;
}
