/* upserts.c - see upserts.h. */
#include "core/upserts.h"

#include "base/limits.h"
#include "base/status.h"
#include "json/canonical.h"

#include <stdio.h>

#define UPSERTS_DEPTH 10100u

static const char *const action_words[] = {
    [PROTO_INSERTED] = "inserted", [PROTO_UPDATED] = "updated", [PROTO_MERGED_ACTION] = "merged"};

int upserts_read(struct arena *arena, struct slice packed, struct upserts *out)
{
    struct json_value value;
    *out = (struct upserts){packed.ptr != NULL, json_absent(), json_absent(), json_absent()};
    if (packed.len == 0) {
        return BQ_OK;
    }
    int status = json_parse(arena, packed, UPSERTS_DEPTH, &value, NULL);
    if (status != BQ_OK) {
        return status == BQ_NOMEM ? status : BQ_CORRUPT;
    }
    const struct json_value *sent = json_get(&value, "sent");
    const struct json_value *sums = json_get(&value, "sums");
    const struct json_value *last = json_get(&value, "last");
    if (!json_is(sent, JSON_ARRAY) || !json_is(sums, JSON_ARRAY) || !json_is(last, JSON_ARRAY)) {
        return BQ_CORRUPT;
    }
    *out = (struct upserts){true, *sent, *sums, *last};
    return BQ_OK;
}

/* ---- Fingerprints ---------------------------------------------------------------------------- */

int upserts_fingerprint(struct arena *arena, const struct json_value *document,
                        const uint64_t key[2], struct slice *out)
{
    struct buf buf = BUF_INIT;
    char text[33];
    json_canonical(&buf, arena, document);
    struct hash128 hash = hash_text(buf_slice(&buf), key[0], key[1]);
    bool failed = buf.failed || arena_failed(arena);
    buf_release(&buf);
    snprintf(text, sizeof text, "%016llx%016llx", (unsigned long long)hash.high,
             (unsigned long long)hash.low);
    *out = failed ? SLICE_NONE : arena_copy(arena, slice_of(text));
    return out->ptr == NULL ? BQ_NOMEM : BQ_OK;
}

/* ---- Looking up ------------------------------------------------------------------------------ */

static bool is_expected(const struct json_value *value, const struct proto_upsert *in)
{
    int64_t number;
    if (!in->has_expected) {
        return value->type == JSON_NULL;
    }
    return json_to_int(value, &number) && number == in->expected;
}

bool upserts_find_repeat(const struct upserts *upserts, const struct proto_upsert *in,
                         struct slice fingerprint, enum proto_action *out_action)
{
    uint32_t n = upserts->sent.type == JSON_ARRAY ? upserts->sent.count : 0;
    if (!in->has_expected && n > 1) {
        n = 1;
    }
    for (uint32_t i = 0; i < n; i++) {
        const struct json_value *pair = &upserts->sent.items[i];
        if (pair->type != JSON_ARRAY || pair->count != 3 || !is_expected(&pair->items[0], in) ||
            !slice_equal(json_text(&pair->items[1]), fingerprint)) {
            continue;
        }
        for (int a = PROTO_INSERTED; a <= PROTO_MERGED_ACTION; a++) {
            if (slice_is(json_text(&pair->items[2]), action_words[a])) {
                *out_action = (enum proto_action)a;
                return true;
            }
        }
    }
    return false;
}

/* The second element of a pair whose first is E. */
static struct json_value of_pair(const struct json_value *pair, int64_t expected)
{
    int64_t number;
    if (pair->type == JSON_ARRAY && pair->count == 2 && json_to_int(&pair->items[0], &number) &&
        number == expected) {
        return pair->items[1];
    }
    return json_absent();
}

struct json_value upserts_last_document(const struct upserts *upserts, int64_t expected)
{
    return of_pair(&upserts->last, expected);
}

struct json_value upserts_last_sums(const struct upserts *upserts, int64_t expected)
{
    uint32_t n = upserts->sums.type == JSON_ARRAY ? upserts->sums.count : 0;
    for (uint32_t i = 0; i < n; i++) {
        struct json_value found = of_pair(&upserts->sums.items[i], expected);
        if (!json_is_absent(&found)) {
            return found;
        }
    }
    return json_absent();
}

/* ---- Remembering ----------------------------------------------------------------------------- */

static void print_expected(struct buf *out, const struct proto_upsert *in)
{
    if (in->has_expected) {
        buf_add_int(out, in->expected);
    } else {
        buf_add_text(out, "null");
    }
}

/* Of the elements that are there, up to `most`, but not those of this E where `skip` says so; none
 * after LIMIT_UPSERT_SUM_BYTES. */
static void print_rest(struct buf *out, const struct json_value *array, uint32_t most,
                       const struct proto_upsert *skip)
{
    uint32_t kept = 0;
    size_t begin = out->len;
    uint32_t n = array->type == JSON_ARRAY ? array->count : 0;
    for (uint32_t i = 0; i < n && kept < most && !out->failed; i++) {
        const struct json_value *item = &array->items[i];
        if (skip != NULL && item->type == JSON_ARRAY && item->count > 0 &&
            is_expected(&item->items[0], skip)) {
            continue;
        }
        if (out->len - begin + json_size(item) > LIMIT_UPSERT_SUM_BYTES) {
            return;
        }
        if (out->ptr[out->len - 1] != '[') {
            buf_add_char(out, ',');
        }
        json_print(out, item);
        kept++;
    }
}

static int print_sums(struct buf *out, struct arena *arena, const struct proto_upsert *in,
                      const struct json_value *document, const struct merge_policy *policy)
{
    struct json_value nothing = json_absent();
    struct merge_edit edit, sums;
    bool changed, empty = true;
    int status = merge_diff(arena, &nothing, document, policy, &edit, &changed);
    if (status == BQ_OK && changed) {
        status = merge_only_sums(arena, &edit, policy, &sums, &empty);
    }
    if (status == BQ_OK && !empty) {
        buf_add_char(out, '[');
        print_expected(out, in);
        buf_add_char(out, ',');
        json_print(out, &sums.now);
        buf_add_char(out, ']');
    }
    return status;
}

int upserts_print(struct buf *out, struct arena *arena, const struct upserts *upserts,
                  const struct proto_upsert *in, struct slice fingerprint,
                  enum proto_action action, const struct json_value *document,
                  const struct merge_policy *policy)
{
    int status = BQ_OK;
    buf_add_text(out, "{\"sent\":[[");
    print_expected(out, in);
    buf_add_text(out, ",\"");
    buf_add_slice(out, fingerprint);
    buf_add_text(out, "\",\"");
    buf_add_text(out, action_words[action]);
    buf_add_text(out, "\"]");
    print_rest(out, &upserts->sent, LIMIT_UPSERT_REPEATS - 1, NULL);
    buf_add_text(out, "],\"sums\":[");
    if (in->has_expected) {
        status = print_sums(out, arena, in, document, policy);
    }
    print_rest(out, &upserts->sums, LIMIT_UPSERT_BASES - 1, in);
    buf_add_text(out, "],\"last\":");
    if (in->has_expected) {
        buf_add_char(out, '[');
        print_expected(out, in);
        buf_add_char(out, ',');
        json_print(out, document);
        buf_add_char(out, ']');
    } else if (upserts->last.type == JSON_ARRAY) {
        json_print(out, &upserts->last);
    } else {
        buf_add_text(out, "[]");
    }
    buf_add_char(out, '}');
    return out->failed ? BQ_NOMEM : status;
}
