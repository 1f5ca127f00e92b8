/* test_merge_laws.c - what docs/merge.md, sections 4.8 and 13, promises of any documents, tried
 * with random ones.
 *
 *     test_merge_laws [CASES [SEED]]      or BQ_CASES and BQ_SEED in the environment
 *
 * Every law gets CASES / (number of laws) cases. A failure prints the seed of its very case: run
 * it with that seed and CASES = 1 to see it alone. */
#include "merge/merge.h"

#include "base/status.h"

#include "random_json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

/* A sanitized build is some times slower and gets less. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CASES_DEFAULT 60000u
#else
#define CASES_DEFAULT 1000000u
#endif

#define LAWS 9u

static uint64_t n_cases = CASES_DEFAULT;
static uint64_t first_seed = 20240229;
static uint64_t case_seed;

/* One random case. */
struct world {
    struct rng rng;
    struct arena arena;
    const struct merge_policy *policy;
    struct json_value base, mine, theirs;
};

static void show(struct buf *out, const char *what, const struct json_value *value)
{
    buf_add_format(out, "\n  %-7s", what);
    json_print(out, value);
}

static void fail_case(struct world *world, const char *what, const struct json_value *got,
                      const struct json_value *want)
{
    struct buf out = BUF_INIT;
    buf_add_format(&out, "%s; seed %llu", what, (unsigned long long)case_seed);
    show(&out, "base", &world->base);
    show(&out, "mine", &world->mine);
    show(&out, "theirs", &world->theirs);
    show(&out, "got", got);
    show(&out, "want", want);
    print_error("%s\n", out.ptr);
    buf_release(&out);
    fail();
}

static void expect_equal(struct world *world, const char *what, const struct json_value *got,
                         const struct json_value *want)
{
    if (!json_equal(&world->arena, got, want)) {
        fail_case(world, what, got, want);
    }
}

static struct merge_edit diff(struct world *world, const struct json_value *base,
                              const struct json_value *mine, bool *changed)
{
    struct merge_edit edit;
    assert_int_equal(merge_diff(&world->arena, base, mine, world->policy, &edit, changed), BQ_OK);
    return edit;
}

static struct merge_document document_of(const struct json_value *value, int64_t version)
{
    return (struct merge_document){.value = *value, .version = json_is_absent(value) ? 0 : version};
}

/* Applies, and checks that `changed` tells the truth. BQ_OUT_OF_RANGE leaves *out as theirs. */
static int apply(struct world *world, const struct merge_document *theirs,
                 const struct merge_edit *edit, struct merge_result *out)
{
    int status = merge_apply(&world->arena, theirs, edit, world->policy, NULL, out);
    assert_true(status == BQ_OK || status == BQ_OUT_OF_RANGE);
    if (status != BQ_OK) {
        *out = (struct merge_result){.outcome = MERGE_KEPT, .document = *theirs};
        return status;
    }
    bool differs =
        out->document.deleted != theirs->deleted ||
        (!theirs->deleted && !json_equal(&world->arena, &out->document.value, &theirs->value));
    if (out->changed != differs) {
        fail_case(world, "changed is not true", &out->document.value, &theirs->value);
    }
    return status;
}

/* Merges with base -1 on a live or missing document; absent for a tombstone. */
static struct json_value merged(struct world *world, const struct json_value *theirs,
                                const struct merge_edit *edit)
{
    struct merge_document document = document_of(theirs, 3);
    struct merge_edit any = *edit;
    struct merge_result result;
    any.base = -1;
    (void)apply(world, &document, &any, &result);
    return result.document.deleted ? json_absent() : result.document.value;
}

static void random_world(struct world *world)
{
    world->policy = random_policy(&world->rng, &world->arena, 3);
    bool is_object = rng_below(&world->rng, 10) != 0;
    world->base = is_object ? random_object(&world->rng, &world->arena, 4)
                            : random_json(&world->rng, &world->arena, 2);
    world->mine = random_change(&world->rng, &world->arena, &world->base);
    world->theirs = random_change(&world->rng, &world->arena, &world->base);
    uint64_t missing = rng_below(&world->rng, 40);
    world->base = missing == 0 ? json_absent() : world->base;
    world->mine = missing == 1 ? json_absent() : world->mine;
}

/* Runs one law over its share of the cases. */
static void for_cases(uint64_t law, void (*check)(struct world *))
{
    struct world world;
    uint64_t n = n_cases < LAWS ? 1 : n_cases / LAWS;
    arena_init(&world.arena);
    for (uint64_t i = 0; i < n; i++) {
        case_seed = first_seed + i;
        rng_init(&world.rng, case_seed * 16 + law);
        random_world(&world);
        check(&world);
        arena_reset(&world.arena);
    }
    arena_release(&world.arena);
}

/* ---- 13.1: the law of 4.8 ---- */

static void check_round_trip(struct world *world)
{
    bool changed;
    struct merge_result result;
    struct merge_edit edit = diff(world, &world->base, &world->mine, &changed);
    struct merge_document document = document_of(&world->base, 3);
    edit.base = document.version;
    if (changed == json_equal(&world->arena, &world->base, &world->mine)) {
        fail_case(world, "diff: changed is not true", &world->mine, &world->base);
    }
    if (!changed) {
        return;
    }
    assert_int_equal(apply(world, &document, &edit, &result), BQ_OK);
    assert_int_equal(result.outcome, MERGE_APPLIED);
    if (json_is_absent(&world->mine)) {
        assert_true(result.document.deleted);
    } else {
        expect_equal(world, "applied onto its base", &result.document.value, &world->mine);
    }
    int64_t before = merge_epoch(&world->base, world->policy);
    if (edit.deletes || edit.epoch < before) {
        return; /* kept, as 4.8 says */
    }
    struct json_value value = merged(world, &world->base, &edit);
    expect_equal(world, "merged onto its base", &value, &world->mine);
}

static void an_edit_merged_onto_its_base_gives_the_clients_document(void **state)
{
    (void)state;
    for_cases(1, check_round_trip);
}

/* ---- 13.2 ---- */

static void check_identity(struct world *world)
{
    struct merge_edit edit = {.base = 2,
                              .was = world->mine,
                              .now = world->mine,
                              .mode = (enum merge_mode)rng_below(&world->rng, 3)};
    struct merge_document document =
        document_of(&world->theirs, 2 + (int64_t)rng_below(&world->rng, 2));
    struct merge_result result;
    assert_int_equal(apply(world, &document, &edit, &result), BQ_OK);
    expect_equal(world, "an edit of nothing", &result.document.value, &world->theirs);
    assert_false(result.changed);
}

static void an_edit_of_nothing_changes_nothing(void **state)
{
    (void)state;
    for_cases(2, check_identity);
}

/* ---- 13.3 ---- */

/* Every path of theirs that neither was nor now names is as it was. */
static void check_untouched(struct world *world, const struct json_value *was,
                            const struct json_value *now, const struct json_value *theirs,
                            const struct json_value *result)
{
    bool walked = (json_is(was, JSON_OBJECT) || json_is_absent(was)) &&
                  (json_is(now, JSON_OBJECT) || json_is_absent(now));
    if (!walked || !json_is(theirs, JSON_OBJECT)) {
        return;
    }
    for (uint32_t i = 0; i < theirs->count; i++) {
        struct slice key = json_text(&theirs->members[i].key);
        const struct json_value *value = &theirs->members[i].value;
        const struct json_value *after = json_get_slice(result, key);
        const struct json_value *old = json_get_slice(was, key);
        const struct json_value *new = json_get_slice(now, key);
        struct json_value absent = json_absent();
        if (old == NULL && new == NULL) {
            expect_equal(world, "a path that nobody named", after == NULL ? &absent : after, value);
        } else if (json_is(old, JSON_OBJECT) && json_is(new, JSON_OBJECT)) {
            check_untouched(world, old, new, value, after);
        }
    }
}

static void check_containment(struct world *world)
{
    bool changed;
    struct merge_edit edit = diff(world, &world->base, &world->mine, &changed);
    if (edit.n_whole > 0 || edit.epoch > merge_epoch(&world->theirs, world->policy)) {
        return; /* leaves that are objects, and epochs, clear what they do not name */
    }
    struct json_value result = merged(world, &world->theirs, &edit);
    check_untouched(world, &edit.was, &edit.now, &world->theirs, &result);
}

static void a_path_that_is_not_named_is_not_touched(void **state)
{
    (void)state;
    for_cases(3, check_containment);
}

/* ---- 5.4: theirs == was ---- */

static void check_theirs_is_was(struct world *world)
{
    bool changed;
    struct merge_result result;
    /* Theirs changed elsewhere, at a name that neither side has. */
    struct json_member *members = arena_alloc(&world->arena, 2 * sizeof *members);
    assert_non_null(members);
    members[0] = json_member("x", world->base);
    members[1] = json_member("elsewhere", world->theirs);
    struct json_value base = json_object(members, 1);
    struct json_member mine_member = json_member("x", world->mine);
    struct json_value mine = json_object(&mine_member, json_is_absent(&world->mine) ? 0 : 1);
    if (json_is_absent(&world->base) || world->policy->kind == MERGE_WHOLE) {
        return; /* a document that is replaced as one has no elsewhere */
    }
    struct merge_edit edit = diff(world, &base, &mine, &changed);
    struct merge_document document = {.value = json_object(members, 2), .version = 3};
    edit.base = 2;
    if (edit.epoch != merge_epoch(&document.value, world->policy) && edit.has_epoch) {
        return;
    }
    assert_int_equal(apply(world, &document, &edit, &result), BQ_OK);
    const struct json_value *got = json_get(&result.document.value, "x");
    struct json_value absent = json_absent();
    expect_equal(world, "theirs was was", got == NULL ? &absent : got, &world->mine);
    expect_equal(world, "elsewhere", json_get(&result.document.value, "elsewhere"), &world->theirs);
}

static void what_nobody_else_changed_is_what_the_client_has(void **state)
{
    (void)state;
    for_cases(4, check_theirs_is_was);
}

/* ---- 13.4 ---- */

/* Whether arrays under it hold an element twice (then a union tidies up). */
static bool has_doubles(struct arena *arena, const struct json_value *value)
{
    bool found = false;
    for (uint32_t i = 0; value->type == JSON_ARRAY && i < value->count; i++) {
        for (uint32_t j = 0; j < i; j++) {
            found = found || json_equal(arena, &value->items[i], &value->items[j]);
        }
    }
    for (uint32_t i = 0; value->type == JSON_OBJECT && i < value->count; i++) {
        found = found || has_doubles(arena, &value->members[i].value);
    }
    return found;
}

static void check_again(struct world *world)
{
    bool changed;
    struct merge_edit edit = diff(world, &world->base, &world->mine, &changed);
    edit.mode = (enum merge_mode)rng_below(&world->rng, 3);
    bool counts = world->policy->has_sum && edit.mode == MERGE_EDIT;
    if (counts || edit.deletes || !changed || has_doubles(&world->arena, &world->theirs) ||
        has_doubles(&world->arena, &world->base) || has_doubles(&world->arena, &world->mine)) {
        return;
    }
    struct json_value once = merged(world, &world->theirs, &edit);
    if (json_is_absent(&once)) {
        return;
    }
    struct json_value twice = merged(world, &once, &edit);
    expect_equal(world, "merged again", &twice, &once);
}

static void merging_again_changes_nothing_without_sums(void **state)
{
    (void)state;
    for_cases(5, check_again);
}

/* ---- 13.5 ---- */

static const char *const ordered_policy =
    "{\"fields\":{\"max\":\"max\",\"min\":\"min\",\"sum\":\"sum\",\"any\":\"any\",\"all\":\"all\","
    "\"union\":\"union\",\"sums\":{\"each\":\"sum\"},\"maxs\":{\"each\":\"max\"},"
    "\"deep\":{\"fields\":{\"n\":\"sum\",\"m\":\"max\"}}}}";

static const char *const numbers[] = {"0", "1", "2", "3.5", "-4", "0.000000001", "10", "1e2"};
static const char *const elements[] = {"a", "b", "c", "d", "e"};

static struct json_value random_number(struct world *world)
{
    struct slice text = slice_of(numbers[rng_below(&world->rng, 8)]);
    return (struct json_value){.ptr = text.ptr, .len = (uint32_t)text.len, .type = JSON_NUMBER};
}

static struct json_value random_set(struct world *world)
{
    struct json_value *items = arena_alloc(&world->arena, 5 * sizeof *items);
    assert_non_null(items);
    uint32_t count = 0;
    for (size_t i = 0; i < 5; i++) {
        if (rng_below(&world->rng, 2) == 0) {
            items[count++] = json_string(slice_of(elements[i]));
        }
    }
    return json_array(items, count);
}

/* An object with the members a, b, c, or some of them. */
static struct json_value random_map(struct world *world, bool all)
{
    struct json_member *members = arena_alloc(&world->arena, 3 * sizeof *members);
    assert_non_null(members);
    uint32_t count = 0;
    for (size_t i = 0; i < 3; i++) {
        if (all || rng_below(&world->rng, 3) != 0) {
            members[count++] = json_member(elements[i], random_number(world));
        }
    }
    return json_object(members, count);
}

/* A document in which each policy of 13.5 has something to do. Members may be missing where the
 * page allows removals; maps are always there, and counters once they are. */
static struct json_value ordered_document(struct world *world, bool is_base)
{
    struct json_member *members = arena_alloc(&world->arena, 9 * sizeof *members);
    struct json_member *deep = arena_alloc(&world->arena, 2 * sizeof *deep);
    assert_true(members != NULL && deep != NULL);
    uint32_t n = 0;
    struct rng *rng = &world->rng;
    members[n++] = json_member("sum", random_number(world));
    members[n++] = json_member("sums", random_map(world, !is_base));
    members[n++] = json_member("maxs", random_map(world, false));
    deep[0] = json_member("n", random_number(world));
    deep[1] = json_member("m", random_number(world));
    members[n++] = json_member("deep", json_object(deep, rng_below(rng, 4) == 0 ? 1 : 2));
    if (rng_below(rng, 4) != 0) {
        members[n++] = json_member("max", random_number(world));
    }
    if (rng_below(rng, 4) != 0) {
        members[n++] = json_member("min", random_number(world));
    }
    if (rng_below(rng, 4) != 0) {
        members[n++] = json_member("any", json_bool(rng_below(rng, 2) == 0));
        members[n++] = json_member("all", json_bool(rng_below(rng, 2) == 0));
    }
    if (rng_below(rng, 4) != 0) {
        members[n++] = json_member("union", random_set(world));
    }
    return json_object(members, n);
}

/* Equality, but of the elements under "union" without their order. */
static bool same_state(struct world *world, const struct json_value *a, const struct json_value *b)
{
    bool same = a->count == b->count;
    for (uint32_t i = 0; same && i < a->count; i++) {
        const struct json_value *one = &a->members[i].value;
        const struct json_value *two = json_get_slice(b, json_text(&a->members[i].key));
        same = two != NULL && one->type == two->type;
        if (same && one->type == JSON_ARRAY) {
            same = one->count == two->count;
            for (uint32_t j = 0; same && j < one->count; j++) {
                bool found = false;
                for (uint32_t k = 0; k < two->count; k++) {
                    found = found || json_equal(&world->arena, &one->items[j], &two->items[k]);
                }
                same = found;
            }
        } else if (same) {
            same = json_equal(&world->arena, one, two);
        }
    }
    return same;
}

static const struct merge_policy *read_policy(struct world *world, const char *text)
{
    struct json_value *value = arena_alloc(&world->arena, sizeof *value);
    const struct merge_policy *policy = NULL;
    assert_int_equal(json_parse(&world->arena, slice_of(text), 16, value, NULL), BQ_OK);
    assert_int_equal(merge_policy_read(&world->arena, value, &policy, NULL), BQ_OK);
    return policy;
}

static void check_order(struct world *world)
{
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                     {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    struct merge_edit edits[3];
    struct json_value first = json_absent();
    world->policy = read_policy(world, ordered_policy);
    world->base = ordered_document(world, true);
    for (int i = 0; i < 3; i++) {
        bool changed;
        world->mine = ordered_document(world, false);
        edits[i] = diff(world, &world->base, &world->mine, &changed);
        if (!changed) {
            return;
        }
    }
    for (int order = 0; order < 6; order++) {
        struct json_value document = world->base;
        for (int i = 0; i < 3; i++) {
            document = merged(world, &document, &edits[orders[order][i]]);
        }
        if (order == 0) {
            first = document;
        } else if (!same_state(world, &document, &first)) {
            fail_case(world, "the order shows", &document, &first);
        }
    }
}

static void the_order_of_edits_does_not_show(void **state)
{
    (void)state;
    for_cases(6, check_order);
}

/* ---- 13.6 ---- */

/* mine grown: counters anywhere, maxima up, minima down, sets larger. */
static struct json_value grown(struct world *world, const struct json_value *from)
{
    static const char *const names[] = {"sum", "max", "min", "any", "all", "union"};
    struct json_member *members = arena_alloc(&world->arena, 6 * sizeof *members);
    struct json_value now[6] = {random_number(world), random_number(world), random_number(world),
                                json_bool(true),      json_bool(false),     random_set(world)};
    struct json_value keep = *from;
    bool changed;
    assert_non_null(members);
    for (int i = 0; i < 6; i++) {
        members[i] = json_member(names[i], now[i]);
    }
    /* Merging a document into another lets everything but the counter grow; that is set anyhow. */
    struct json_value none = json_object(NULL, 0);
    struct json_value next = json_object(members, 6);
    struct merge_edit edit = diff(world, &none, &next, &changed);
    edit.mode = MERGE_SEED;
    keep = merged(world, &keep, &edit);
    assert_int_equal(merge_pointer_set(&world->arena, &keep, SLICE("/sum"), &now[0], &next), BQ_OK);
    return next;
}

static void check_grouping(struct world *world)
{
    bool changed;
    world->policy = read_policy(world, ordered_policy);
    struct json_value none = json_object(NULL, 0);
    world->base = grown(world, &none);
    struct json_value middle = grown(world, &world->base);
    world->mine = grown(world, &middle);
    world->theirs = grown(world, &world->base);
    struct merge_edit first = diff(world, &world->base, &middle, &changed);
    struct merge_edit second = diff(world, &middle, &world->mine, &changed);
    struct merge_edit both = diff(world, &world->base, &world->mine, &changed);
    struct json_value apart = merged(world, &world->theirs, &first);
    apart = merged(world, &apart, &second);
    struct json_value together = merged(world, &world->theirs, &both);
    if (!same_state(world, &apart, &together)) {
        fail_case(world, "the grouping shows", &apart, &together);
    }
}

static void the_grouping_of_edits_does_not_show(void **state)
{
    (void)state;
    for_cases(7, check_grouping);
}

/* ---- 11: what is left out and what is left come to the whole ---- */

static void check_sums(struct world *world)
{
    bool changed;
    bool empty[2];
    struct merge_edit parts[2];
    world->policy = read_policy(world, ordered_policy);
    world->base = ordered_document(world, true);
    world->mine = ordered_document(world, false);
    struct merge_edit edit = diff(world, &world->base, &world->mine, &changed);
    assert_int_equal(merge_without_sums(&world->arena, &edit, world->policy, &parts[0], &empty[0]),
                     BQ_OK);
    assert_int_equal(merge_only_sums(&world->arena, &edit, world->policy, &parts[1], &empty[1]),
                     BQ_OK);
    assert_true(changed || (empty[0] && empty[1]));
    size_t first = rng_below(&world->rng, 2);
    struct json_value document = world->base;
    for (size_t i = 0; i < 2; i++) {
        if (!empty[first ^ i]) {
            document = merged(world, &document, &parts[first ^ i]);
        }
    }
    expect_equal(world, "without and only", &document, &world->mine);
}

static void an_edit_is_its_sums_and_the_rest(void **state)
{
    (void)state;
    for_cases(8, check_sums);
}

/* ---- 1.3: results are good JSON, printed and read again ---- */

static void check_printed(struct world *world)
{
    bool changed;
    struct merge_edit edit = diff(world, &world->base, &world->mine, &changed);
    struct json_value result = merged(world, &world->theirs, &edit);
    struct buf text = BUF_INIT;
    struct json_value again = json_absent();
    json_print(&text, &result);
    if (!json_is_absent(&result)) {
        assert_int_equal(text.len, json_size(&result));
        assert_int_equal(json_parse(&world->arena, buf_slice(&text), 64, &again, NULL), BQ_OK);
        expect_equal(world, "printed and read again", &again, &result);
        assert_true(again.count == 0 || again.len == text.len || again.type < JSON_ARRAY);
    }
    buf_release(&text);
}

static void results_are_good_json(void **state)
{
    (void)state;
    for_cases(9, check_printed);
}

static uint64_t number_of(const char *text, uint64_t otherwise)
{
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

int main(int argc, char **argv)
{
    n_cases = number_of(argc > 1 ? argv[1] : getenv("BQ_CASES"), CASES_DEFAULT);
    first_seed = number_of(argc > 2 ? argv[2] : getenv("BQ_SEED"), first_seed);
    print_message("merge laws: %llu cases from seed %llu\n", (unsigned long long)n_cases,
                  (unsigned long long)first_seed);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_edit_merged_onto_its_base_gives_the_clients_document),
        cmocka_unit_test(an_edit_of_nothing_changes_nothing),
        cmocka_unit_test(a_path_that_is_not_named_is_not_touched),
        cmocka_unit_test(what_nobody_else_changed_is_what_the_client_has),
        cmocka_unit_test(merging_again_changes_nothing_without_sums),
        cmocka_unit_test(the_order_of_edits_does_not_show),
        cmocka_unit_test(the_grouping_of_edits_does_not_show),
        cmocka_unit_test(an_edit_is_its_sums_and_the_rest),
        cmocka_unit_test(results_are_good_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
