/* policy.c - docs/merge.md, section 2: policies are checked here, so that merging cannot fail on
 * one. Every error names the place in the policy and what would be accepted. */
#include "merge/policy.h"

#include "base/limits.h"
#include "base/status.h"
#include "json/sort.h"
#include "merge/place.h"

const struct merge_policy merge_policy_incoming = {.kind = MERGE_INCOMING};

static const char *const words[] = {"incoming", "whole", "keep", "max",  "min",   "sum",
                                    "union",    "any",   "all",  "each", "fields"};

/* What the leaf words stand for, in the order of enum merge_kind. */
static const struct merge_policy leaves[] = {
    {.kind = MERGE_INCOMING}, {.kind = MERGE_WHOLE, .has_whole = true},
    {.kind = MERGE_KEEP},     {.kind = MERGE_MAX},
    {.kind = MERGE_MIN},      {.kind = MERGE_SUM, .has_sum = true},
    {.kind = MERGE_UNION},    {.kind = MERGE_ANY},
    {.kind = MERGE_ALL},
};

const char merge_policies_shipped[] =
    "{\"game_stats\":{\"fields\":{\"score\":\"max\",\"currentStreak\":\"max\","
    "\"longestStreak\":\"max\",\"incorrectAnswers\":\"sum\"}},"
    "\"lesson_progress\":{\"fields\":{\"unlockedCount\":\"max\","
    "\"bestStarsByLesson\":{\"each\":\"max\"}}},"
    "\"settings\":{\"fields\":{\"unlockedThemes\":\"union\",\"aiThemes\":{\"each\":\"whole\"}}},"
    "\"*\":\"incoming\"}";

const char *merge_kind_word(enum merge_kind kind)
{
    return words[kind];
}

struct policy_reader {
    struct arena *arena;
    struct merge_policy_error *error;
    bool bad;
};

/* Copies text, which is UTF-8, into a field of `size` bytes, cut where a character ends. */
static void copy_cut(char *out, size_t size, struct slice text)
{
    size_t len = text.len < size ? text.len : size - 1;
    while (len < text.len && ((unsigned char)text.ptr[len] & 0xc0) == 0x80) {
        len--;
    }
    if (len > 0) {
        memcpy(out, text.ptr, len);
    }
    out[len] = '\0';
}

static const struct merge_policy *refuse(struct policy_reader *reader, const struct place *place,
                                         const char *what)
{
    reader->bad = true;
    if (reader->error != NULL) {
        copy_cut(reader->error->path, sizeof reader->error->path, place_text(reader->arena, place));
        copy_cut(reader->error->what, sizeof reader->error->what, slice_of(what));
    }
    return NULL;
}

static const struct merge_policy *read_policy(struct policy_reader *reader,
                                              const struct place *place, unsigned depth,
                                              const struct json_value *value);

/* A frame for messages alone. */
static struct place below(const struct place *up, struct slice key)
{
    return (struct place){.up = up, .key = key};
}

static const struct merge_policy *read_leaf(struct policy_reader *reader, const struct place *place,
                                            const struct json_value *value)
{
    for (size_t i = 0; i < sizeof leaves / sizeof leaves[0]; i++) {
        if (slice_is(json_text(value), words[i])) {
            return &leaves[i];
        }
    }
    return refuse(reader, place,
                  "this is no policy: incoming, whole, keep, max, min, sum, union, any or all, "
                  "or an object with each or fields");
}

/* Section 2.2: {"fields": {name: P}}. */
static bool read_fields(struct policy_reader *reader, const struct place *place, unsigned depth,
                        const struct json_value *value, struct merge_policy *out)
{
    if (!json_is(value, JSON_OBJECT)) {
        (void)refuse(reader, place, "fields wants an object of name and policy");
        return false;
    }
    const struct sort_item *sorted = sort_members(reader->arena, value);
    struct merge_field *fields = arena_alloc(reader->arena, value->count * sizeof *fields);
    if (sorted == NULL || fields == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < value->count; i++) {
        const struct json_member *member = sorted[i].item;
        struct place inner = below(place, json_text(&member->key));
        fields[i].name = inner.key;
        fields[i].policy = read_policy(reader, &inner, depth + 1, &member->value);
        if (fields[i].policy == NULL) {
            return false;
        }
        out->has_whole = out->has_whole || fields[i].policy->has_whole;
        out->has_sum = out->has_sum || fields[i].policy->has_sum;
    }
    out->fields = fields;
    out->n_fields = value->count;
    return true;
}

/* The policy inside `each` or `rest`. */
static const struct merge_policy *read_inner(struct policy_reader *reader,
                                             const struct place *place, unsigned depth,
                                             const struct json_value *value,
                                             struct merge_policy *out)
{
    const struct merge_policy *inner = read_policy(reader, place, depth + 1, value);
    if (inner != NULL) {
        out->has_whole = out->has_whole || inner->has_whole;
        out->has_sum = out->has_sum || inner->has_sum;
    }
    return inner;
}

/* Section 2.4: a name at the top of the document. */
static bool read_epoch(struct policy_reader *reader, const struct place *place, unsigned depth,
                       const struct json_value *value, struct merge_policy *out)
{
    if (depth > 1) {
        (void)refuse(reader, place, "epoch belongs to the policy of a document, at its top");
        return false;
    }
    if (!json_is(value, JSON_STRING) || value->len == 0) {
        (void)refuse(reader, place, "epoch wants the name of a field");
        return false;
    }
    out->epoch_field = json_text(value);
    return true;
}

static bool read_part(struct policy_reader *reader, const struct place *place, unsigned depth,
                      const struct json_member *member, struct merge_policy *out)
{
    struct slice name = json_text(&member->key);
    struct place inner = below(place, name);
    if (slice_is(name, "each")) {
        out->kind = MERGE_EACH;
        out->each = read_inner(reader, &inner, depth, &member->value, out);
        return out->each != NULL;
    }
    if (slice_is(name, "fields")) {
        out->kind = MERGE_FIELDS;
        return read_fields(reader, &inner, depth, &member->value, out);
    }
    if (slice_is(name, "rest")) {
        out->rest = read_inner(reader, &inner, depth, &member->value, out);
        return out->rest != NULL;
    }
    if (slice_is(name, "epoch")) {
        return read_epoch(reader, &inner, depth, &member->value, out);
    }
    (void)refuse(reader, &inner, "a policy has each, or fields and rest, and at its top epoch");
    return false;
}

static const struct merge_policy *read_object(struct policy_reader *reader,
                                              const struct place *place, unsigned depth,
                                              const struct json_value *value)
{
    bool has_each = json_get(value, "each") != NULL;
    bool has_fields = json_get(value, "fields") != NULL;
    if (has_each == has_fields) {
        return refuse(reader, place, "a policy object has either each or fields");
    }
    if (has_each && json_get(value, "rest") != NULL) {
        return refuse(reader, place, "rest goes with fields, not with each");
    }
    struct merge_policy *out = arena_zalloc(reader->arena, 1, sizeof *out);
    if (out == NULL) {
        return NULL;
    }
    for (uint32_t i = 0; i < value->count; i++) {
        if (!read_part(reader, place, depth, &value->members[i], out)) {
            return NULL;
        }
    }
    if (out->kind == MERGE_FIELDS && out->rest == NULL) {
        out->rest = &merge_policy_incoming;
    }
    return out;
}

/* NULL: refused (reader->bad) or out of memory. */
static const struct merge_policy *read_policy(struct policy_reader *reader,
                                              const struct place *place, unsigned depth,
                                              const struct json_value *value)
{
    if (depth > LIMIT_POLICY_DEPTH) {
        return refuse(reader, place, "policies nest at most 16 deep");
    }
    if (json_is(value, JSON_OBJECT)) {
        return read_object(reader, place, depth, value);
    }
    if (json_is(value, JSON_STRING)) {
        return read_leaf(reader, place, value);
    }
    return refuse(reader, place, "a policy is a word or an object");
}

/* Reads the policy that stands at `place` of what the caller reads. */
static const struct merge_policy *read_document_policy(struct policy_reader *reader,
                                                       const struct place *place,
                                                       const struct json_value *value)
{
    if (json_size(value) > LIMIT_POLICY_BYTES) {
        return refuse(reader, place, "a policy has at most 64 KiB");
    }
    return read_policy(reader, place, 1, value);
}

int merge_policy_read(struct arena *arena, const struct json_value *value,
                      const struct merge_policy **out, struct merge_policy_error *error)
{
    struct policy_reader reader = {.arena = arena, .error = error};
    struct place root = {0};
    const struct merge_policy *policy = read_document_policy(&reader, &root, value);
    if (policy == NULL) {
        return reader.bad ? BQ_BAD_POLICY : BQ_NOMEM;
    }
    *out = policy;
    return BQ_OK;
}

static const struct merge_policy *find_field(const struct merge_policy *policy, struct slice name)
{
    uint32_t low = 0;
    uint32_t high = policy->n_fields;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = slice_order(policy->fields[middle].name, name);
        if (order == 0) {
            return policy->fields[middle].policy;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return policy->rest;
}

/* Section 2.3. */
const struct merge_policy *merge_policy_member(const struct merge_policy *policy, struct slice name)
{
    if (policy->epoch_field.ptr != NULL && slice_equal(policy->epoch_field, name)) {
        return &merge_policy_incoming;
    }
    if (policy->kind == MERGE_EACH) {
        return policy->each;
    }
    if (policy->kind == MERGE_FIELDS) {
        return find_field(policy, name);
    }
    return &leaves[policy->kind == MERGE_KEEP ? MERGE_KEEP : MERGE_INCOMING];
}

/* ---- Sets by pattern, section 2.5. ---- */

struct pattern {
    struct slice text;   /* as it was written */
    struct slice prefix; /* without the '*' */
    const struct merge_policy *policy;
};

struct merge_policies {
    struct sort_item *exact; /* of struct pattern, by slice_order */
    uint32_t n_exact;
    struct sort_item *prefixes; /* longest first */
    uint32_t n_prefixes;
};

static int order_exact(const void *a, const void *b)
{
    const struct pattern *left = a;
    const struct pattern *right = b;
    return slice_order(left->text, right->text);
}

static int order_prefixes(const void *a, const void *b)
{
    return order_exact(b, a);
}

static bool is_prefix(struct slice pattern)
{
    return pattern.len > 0 && pattern.ptr[pattern.len - 1] == '*';
}

static bool read_pattern(struct policy_reader *reader, const struct place *root,
                         const struct json_member *member, struct pattern *out)
{
    struct slice text = json_text(&member->key);
    struct place place = below(root, text);
    size_t star = is_prefix(text) ? 1 : 0;
    if (text.len == 0 || text.len - star > LIMIT_KEY_BYTES) {
        (void)refuse(reader, &place, "a pattern is a key, or up to 128 bytes of one and *");
        return false;
    }
    out->text = text;
    out->prefix = (struct slice){text.ptr, text.len - star};
    if (memchr(out->prefix.ptr, '*', out->prefix.len) != NULL) {
        (void)refuse(reader, &place, "a pattern has * at its end and nowhere else");
        return false;
    }
    out->policy = read_document_policy(reader, &place, &member->value);
    return out->policy != NULL;
}

/* False: refused (reader->bad) or out of memory. */
static bool read_patterns(struct policy_reader *reader, const struct json_value *patterns,
                          struct merge_policies *out)
{
    struct place root = {0};
    if (!json_is(patterns, JSON_OBJECT)) {
        (void)refuse(reader, &root, "policies are an object of pattern and policy");
        return false;
    }
    size_t n = patterns->count;
    struct pattern *all = arena_alloc(reader->arena, n * sizeof *all);
    out->exact = arena_alloc(reader->arena, n * sizeof *out->exact);
    out->prefixes = arena_alloc(reader->arena, n * sizeof *out->prefixes);
    if (arena_failed(reader->arena)) {
        return false;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (!read_pattern(reader, &root, &patterns->members[i], &all[i])) {
            return false;
        }
        if (is_prefix(all[i].text)) {
            out->prefixes[out->n_prefixes++] = (struct sort_item){0, &all[i]};
        } else {
            out->exact[out->n_exact++] = (struct sort_item){sort_rank(all[i].text), &all[i]};
        }
    }
    return sort_items(reader->arena, out->exact, out->n_exact, order_exact) &&
           sort_items(reader->arena, out->prefixes, out->n_prefixes, order_prefixes);
}

int merge_policies_read(struct arena *arena, const struct json_value *patterns,
                        const struct merge_policies **out, struct merge_policy_error *error)
{
    struct policy_reader reader = {.arena = arena, .error = error};
    struct merge_policies *policies = arena_zalloc(arena, 1, sizeof *policies);
    if (policies == NULL || !read_patterns(&reader, patterns, policies)) {
        return reader.bad ? BQ_BAD_POLICY : BQ_NOMEM;
    }
    *out = policies;
    return BQ_OK;
}

static const struct pattern *find_pattern(const struct merge_policies *policies, struct slice key)
{
    if (policies == NULL) {
        return NULL;
    }
    struct pattern wanted = {.text = key};
    const struct pattern *found =
        sort_find(policies->exact, policies->n_exact, sort_rank(key), &wanted, order_exact);
    for (uint32_t i = 0; found == NULL && i < policies->n_prefixes; i++) {
        const struct pattern *pattern = policies->prefixes[i].item;
        struct slice prefix = pattern->prefix;
        if (prefix.len <= key.len && slice_equal(prefix, (struct slice){key.ptr, prefix.len})) {
            found = pattern;
        }
    }
    return found;
}

const struct merge_policy *merge_policies_find(const struct merge_policies *policies,
                                               struct slice key)
{
    const struct pattern *pattern = find_pattern(policies, key);
    return pattern == NULL ? &merge_policy_incoming : pattern->policy;
}

struct slice merge_policies_pattern(const struct merge_policies *policies, struct slice key)
{
    const struct pattern *pattern = find_pattern(policies, key);
    return pattern == NULL ? SLICE("*") : pattern->text;
}
