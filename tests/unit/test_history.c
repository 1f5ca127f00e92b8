/* test_history.c - reverse edits lead back to every kept version.
 * Old clients' merges live on it (docs/protocol.md, "Old clients"). */
#include "core/history.h"

#include "base/mem.h"
#include "base/rng.h"
#include "base/status.h"
#include "core_bench.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <setjmp.h>
#include <cmocka.h>

#define N_VERSIONS 60

static struct core_bench bench;

static int setup(void **state)
{
    (void)state;
    bench_open(&bench);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    bench_close(&bench);
    return 0;
}

/* The document of key at a version, as compact text; "" absent, NULL not reached. */
static const char *at_version(const char *key, int64_t version)
{
    struct store *store = bench.store;
    struct store_doc doc;
    struct json_value present = json_absent();
    struct json_value value;
    assert_int_equal(store->begin(store), BQ_OK);
    assert_int_equal(store->doc_get(store, &bench.arena, &bench.user, slice_of(key), &doc), BQ_OK);
    if (!doc.deleted) {
        assert_int_equal(json_parse(&bench.arena, doc.data, 100, &present, NULL), BQ_OK);
    }
    int status = history_at(store, &bench.arena, &bench.user, &doc, &present, version, &value);
    store->rollback(store);
    if (status != BQ_OK) {
        assert_int_equal(status, BQ_NOT_FOUND);
        return NULL;
    }
    return bench_at(&bench, &value, "");
}

static const char *random_value(struct rng *rng, unsigned depth)
{
    unsigned what = (unsigned)rng_below(rng, depth == 0 ? 5 : 8);
    static const char *const leaves[] = {"null", "true", "1.50", "\"a\"", "[1,{\"x\":2}]"};
    if (what < 5) {
        return leaves[what];
    }
    const char *text = "{";
    unsigned n = (unsigned)rng_below(rng, 4);
    for (unsigned i = 0; i < n; i++) {
        text = bench_text(&bench, "%s%s\"m%u\":%s", text, i == 0 ? "" : ",",
                          i * 3 + (unsigned)rng_below(rng, 3), random_value(rng, depth - 1));
    }
    return bench_text(&bench, "%s}", text);
}

/* The order of members may differ. */
static void same_value(uint64_t seed, const char *want, const char *got)
{
    struct json_value a = json_absent();
    struct json_value b = json_absent();
    assert_non_null(got);
    if (want[0] != '\0') {
        assert_int_equal(json_parse(&bench.arena, slice_of(want), 100, &a, NULL), BQ_OK);
    }
    if (got[0] != '\0') {
        assert_int_equal(json_parse(&bench.arena, slice_of(got), 100, &b, NULL), BQ_OK);
    }
    if (!json_equal(&bench.arena, &a, &b)) {
        fail_msg("seed %llu: %s, not %s", (unsigned long long)seed, got, want);
    }
}

/* Writes a random document, or a tombstone, and remembers what stands at each version. */
static void write_random(struct rng *rng, const char *versions[], int64_t *inout_version)
{
    bool delete = *inout_version > 0 && rng_below(rng, 6) == 0;
    if (delete) {
        struct json_value answer =
            bench_edits(&bench, bench_text(&bench, "x%d", (int)*inout_version),
                        bench_text(&bench,
                                   "{\"op\":1,\"prev\":0,\"id\":\"aaaaaaaaaaaaaaaa\",\"key\":\"k\","
                                   "\"base\":%d,\"delete\":true}",
                                   (int)*inout_version));
        (void)answer;
    } else {
        (void)bench_upsert(&bench, NULL, "k", NULL, random_value(rng, 3));
    }
    int64_t version;
    const char *text = bench_document(&bench, "k", &version);
    if (version > *inout_version) {
        versions[version] = text;
    }
    *inout_version = version;
}

static void every_kept_version_can_be_had_again(void **state)
{
    const char *seed_text = getenv("BQ_SEED");
    uint64_t first = seed_text == NULL ? 1 : strtoull(seed_text, NULL, 10);
    (void)state;
    printf("history: seeds %llu to %llu\n", (unsigned long long)first,
           (unsigned long long)first + 39);
    for (uint64_t seed = first; seed < first + 40; seed++) {
        const char *versions[N_VERSIONS + 2] = {NULL};
        int64_t version = 0;
        struct rng rng;
        rng_init(&rng, seed);
        (void)teardown(NULL);
        (void)setup(NULL);
        for (unsigned i = 0; i < N_VERSIONS; i++) {
            write_random(&rng, versions, &version);
        }
        for (int64_t v = version; v >= 1; v--) {
            const char *got = at_version("k", v);
            if (got == NULL) {
                /* The last 32 changes lead back to 33 documents; no more is promised. */
                assert_true(version - v >= bench.context.limits.history);
                continue;
            }
            same_value(seed, versions[v], got);
        }
        assert_null(at_version("k", 0));
        assert_null(at_version("k", version + 1));
    }
}

static void an_entry_tells_who_did_what(void **state)
{
    struct history_entry entry;
    struct store_doc doc;
    struct store *store = bench.store;
    (void)state;
    (void)bench_edits(&bench, "d1",
                      "{\"op\":1,\"prev\":0,\"id\":\"aaaaaaaaaaaaaaaa\",\"key\":\"k\",\"base\":0,"
                      "\"now\":{\"a\":1}}");
    (void)bench_edits(&bench, "d2",
                      "{\"op\":7,\"prev\":0,\"id\":\"aaaaaaaaaaaaaaab\",\"key\":\"k\",\"base\":0,"
                      "\"now\":{\"b\":2}}");
    assert_int_equal(store->begin(store), BQ_OK);
    assert_int_equal(store->doc_get(store, &bench.arena, &bench.user, SLICE("k"), &doc), BQ_OK);
    assert_int_equal(history_get(store, &bench.arena, &bench.user, doc.history, &entry), BQ_OK);
    assert_int_equal(entry.version, 2);
    assert_string_equal(bench_at(&bench, &entry.fields, "/status"), "\"merged\"");
    assert_string_equal(bench_at(&bench, &entry.fields, "/device"), "\"d2\"");
    assert_string_equal(bench_at(&bench, &entry.fields, "/op"), "7");
    assert_string_equal(bench_at(&bench, &entry.fields, "/edit/now"), "{\"b\":2}");
    assert_int_equal(history_get(store, &bench.arena, &bench.user, entry.older, &entry), BQ_OK);
    assert_int_equal(entry.version, 1);
    assert_string_equal(bench_at(&bench, &entry.fields, "/status"), "\"applied\"");
    assert_string_equal(bench_at(&bench, &entry.fields, "/gone"), "true");
    assert_string_equal(bench_at(&bench, &entry.fields, "/edit"), "");
    assert_int_equal(history_get(store, &bench.arena, &bench.user, entry.older, &entry),
                     BQ_NOT_FOUND);
    store->rollback(store);
}

/* Entries are small: the reverse of one changed star, not the document. */
static void an_entry_holds_what_changed_and_no_more(void **state)
{
    struct history_entry entry;
    struct store_doc doc;
    struct store *store = bench.store;
    (void)state;
    const char *stars = "";
    for (unsigned i = 0; i < 200; i++) {
        stars = bench_text(&bench, "%s%s\"lesson_%u\":1", stars, i == 0 ? "" : ",", i);
    }
    (void)bench_upsert(&bench, "d", "k", NULL, bench_text(&bench, "{\"stars\":{%s}}", stars));
    (void)bench_upsert(&bench, "d", "k", NULL,
                       bench_text(&bench, "{\"stars\":{%s,\"new\":3}}", stars));
    assert_int_equal(store->begin(store), BQ_OK);
    assert_int_equal(store->doc_get(store, &bench.arena, &bench.user, SLICE("k"), &doc), BQ_OK);
    assert_int_equal(history_get(store, &bench.arena, &bench.user, doc.history, &entry), BQ_OK);
    store->rollback(store);
    assert_string_equal(bench_at(&bench, &entry.fields, "/was"), "{\"stars\":{\"new\":3}}");
    assert_string_equal(bench_at(&bench, &entry.fields, "/now"), "{\"stars\":{}}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_kept_version_can_be_had_again, setup, teardown),
        cmocka_unit_test_setup_teardown(an_entry_tells_who_did_what, setup, teardown),
        cmocka_unit_test_setup_teardown(an_entry_holds_what_changed_and_no_more, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
