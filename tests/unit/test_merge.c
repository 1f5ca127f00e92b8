/* test_merge.c - what the vectors cannot say: explanations, sums, pointers, patches, shared memory,
 * big inputs and memory that ends (docs/merge.md). */
#include "merge/merge.h"

#include "base/limits.h"
#include "base/status.h"

#include "starve.h"

#include <stdio.h>
#include <time.h>

static struct json_value parse(struct arena *arena, const char *text)
{
    struct json_value value = json_absent();
    if (text != NULL && json_parse(arena, slice_of(text), 100, &value, NULL) != BQ_OK) {
        fail_msg("not read: %s", text);
    }
    return value;
}

static const struct merge_policy *read_policy(struct arena *arena, const char *text)
{
    const struct merge_policy *policy = NULL;
    struct json_value value = parse(arena, text);
    assert_int_equal(merge_policy_read(arena, &value, &policy, NULL), BQ_OK);
    return policy;
}

static void check_value(struct arena *arena, const struct json_value *value, const char *want)
{
    struct json_value wanted = parse(arena, want);
    if (!json_equal(arena, value, &wanted)) {
        struct buf out = BUF_INIT;
        json_print(&out, value);
        fail_msg("%s, not %s", out.ptr, want == NULL ? "absent" : want);
    }
}

/* An edit from base to mine, NULL for absent. */
static struct merge_edit edit_between(struct arena *arena, const char *base, const char *mine,
                                      const struct merge_policy *policy)
{
    struct json_value old = parse(arena, base);
    struct json_value new = parse(arena, mine);
    struct merge_edit edit;
    bool changed;
    assert_int_equal(merge_diff(arena, &old, &new, policy, &edit, &changed), BQ_OK);
    return edit;
}

static void check_step(const struct merge_trace *trace, uint32_t i, const char *path,
                       const char *rule, const char *result)
{
    assert_true(i < trace->n_steps);
    const struct merge_step *step = &trace->steps[i];
    if (!slice_is(step->path, path) || strcmp(step->rule, rule) != 0) {
        fail_msg("step %u: %.*s by rule %s", i, SLICE_FMT(step->path), step->rule);
    }
    check_value(trace->arena, &step->result, result);
    assert_non_null(step->policy);
}

/* Section 10. */
static void each_decision_is_explained(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    const struct merge_policy *policy = read_policy(
        &arena, "{\"fields\":{\"s\":\"max\",\"m\":{\"each\":\"whole\"}},\"rest\":\"incoming\"}");
    struct merge_edit edit = {
        .base = 1,
        .was = parse(&arena, "{\"same\":1,\"s\":1,\"m\":{\"t\":{\"a\":1}},\"o\":{\"x\":1},"
                             "\"free\":1,\"both\":1,\"a/b\":1}"),
        .now = parse(&arena, "{\"same\":1,\"s\":2,\"m\":{\"t\":{\"a\":2}},\"o\":{\"x\":2},"
                             "\"free\":2,\"both\":2,\"a/b\":2}"),
    };
    struct merge_document theirs = {
        .value = parse(&arena, "{\"same\":9,\"s\":3,\"m\":{},\"free\":1,\"both\":2,\"a/b\":3}"),
        .version = 2,
    };
    struct merge_trace trace = {.arena = &arena};
    struct merge_result result;
    assert_int_equal(merge_apply(&arena, &theirs, &edit, policy, &trace, &result), BQ_OK);
    assert_int_equal(trace.n_steps, 7);
    check_step(&trace, 0, "/same", "1", "9");
    check_step(&trace, 1, "/s", "6", "3");
    check_step(&trace, 2, "/m/t", "2", "{\"a\":2}");
    check_step(&trace, 3, "/o", "3", NULL);
    check_step(&trace, 4, "/free", "4", "2");
    check_step(&trace, 5, "/both", "5", "2");
    check_step(&trace, 6, "/a~1b", "6", "2");
    assert_string_equal(merge_kind_word(trace.steps[1].policy->kind), "max");
    check_value(&arena, &trace.steps[1].was, "1");
    check_value(&arena, &trace.steps[1].now, "2");
    check_value(&arena, &trace.steps[1].theirs, "3");
    arena_release(&arena);
}

static void explain_one(struct arena *arena, const char *policy, const char *theirs,
                        const struct merge_edit *edit, struct merge_trace *trace,
                        struct merge_result *out)
{
    struct merge_document document = {
        .value = parse(arena, theirs), .version = 3, .deleted = theirs == NULL, .epoch = 2};
    *trace = (struct merge_trace){.arena = arena};
    assert_int_equal(merge_apply(arena, &document, edit, read_policy(arena, policy), trace, out),
                     BQ_OK);
}

static void whole_decisions_are_explained(void **state)
{
    (void)state;
    struct arena arena;
    struct merge_trace trace;
    struct merge_result result;
    arena_init(&arena);
    const char *policy = "{\"fields\":{},\"epoch\":\"e\"}";
    struct merge_edit edit = {.base = 3,
                              .was = parse(&arena, "{\"a\":1,\"b\":1}"),
                              .now = parse(&arena, "{\"a\":2,\"b\":1}")};
    explain_one(&arena, policy, "{\"a\":1,\"b\":1,\"e\":2}", &edit, &trace, &result);
    assert_int_equal(trace.n_steps, 2);
    check_step(&trace, 0, "/a", "applied", "2");
    check_step(&trace, 1, "/b", "applied", "1");
    /* What was tried as applied and did not fit leaves no steps. */
    explain_one(&arena, policy, "{\"a\":1,\"b\":5,\"e\":2}", &edit, &trace, &result);
    assert_int_equal(trace.n_steps, 2);
    check_step(&trace, 0, "/a", "4", "2");
    check_step(&trace, 1, "/b", "1", "5");
    edit.base = 2;
    explain_one(&arena, policy, NULL, &edit, &trace, &result);
    assert_int_equal(result.outcome, MERGE_KEPT);
    check_step(&trace, 0, "", "tombstone", NULL);
    edit.has_epoch = true;
    edit.epoch = 1;
    explain_one(&arena, policy, "{\"a\":1,\"e\":2}", &edit, &trace, &result);
    assert_int_equal(result.outcome, MERGE_KEPT);
    check_step(&trace, 0, "", "epoch", "{\"a\":1,\"e\":2}");
    edit.epoch = 3;
    explain_one(&arena, policy, "{\"a\":1,\"e\":2}", &edit, &trace, &result);
    check_step(&trace, 0, "", "epoch", "{\"e\":3}");
    check_step(&trace, 1, "/a", "6", "2");
    struct merge_edit removal = {.base = 2, .deletes = true};
    explain_one(&arena, policy, "{\"a\":1}", &removal, &trace, &result);
    check_step(&trace, 0, "", "delete", "{\"a\":1}");
    explain_one(&arena, policy, NULL, &removal, &trace, &result);
    check_step(&trace, 0, "", "tombstone", NULL);
    removal.base = 3;
    explain_one(&arena, policy, "{\"a\":1}", &removal, &trace, &result);
    check_step(&trace, 0, "", "delete", NULL);
    assert_int_equal(trace.n_steps, 1);
    arena_release(&arena);
}

/* A list of steps grows beyond its first block. */
static void long_explanations_are_complete(void **state)
{
    (void)state;
    struct arena arena;
    struct buf was = BUF_INIT;
    struct buf now = BUF_INIT;
    arena_init(&arena);
    for (int i = 0; i < 100; i++) {
        buf_add_format(&was, "%c\"k%d\":1", i == 0 ? '{' : ',', i);
        buf_add_format(&now, "%c\"k%d\":%d", i == 0 ? '{' : ',', i, i + 2);
    }
    buf_add_text(&was, "}");
    buf_add_text(&now, "}");
    struct merge_edit edit = {
        .base = 3, .was = parse(&arena, was.ptr), .now = parse(&arena, now.ptr)};
    struct merge_trace trace;
    struct merge_result result;
    explain_one(&arena, "\"incoming\"", was.ptr, &edit, &trace, &result);
    assert_int_equal(trace.n_steps, 100);
    check_step(&trace, 0, "/k0", "applied", "2");
    check_step(&trace, 99, "/k99", "applied", "101");
    buf_release(&was);
    buf_release(&now);
    arena_release(&arena);
}

/* What did not change is shared with theirs, not copied. */
static void results_share_what_did_not_change(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    const struct merge_policy *policy = read_policy(&arena, "\"incoming\"");
    struct merge_document theirs = {
        .value = parse(&arena, "{\"big\":{\"x\":[1,2,3]},\"o\":{\"a\":1},\"k\":1}"), .version = 2};
    struct merge_edit edit = edit_between(&arena, "{\"k\":0}", "{\"k\":5}", policy);
    struct merge_result result;
    edit.base = 1;
    assert_int_equal(merge_apply(&arena, &theirs, &edit, policy, NULL, &result), BQ_OK);
    assert_ptr_equal(json_get(&result.document.value, "big")->members,
                     json_get(&theirs.value, "big")->members);
    edit = edit_between(&arena, "{\"k\":0}", "{\"k\":1}", policy);
    assert_int_equal(merge_apply(&arena, &theirs, &edit, policy, NULL, &result), BQ_OK);
    assert_false(result.changed);
    assert_ptr_equal(result.document.value.members, theirs.value.members);
    assert_int_equal(result.document.version, 2);
    arena_release(&arena);
}

static void an_error_leaves_the_result_alone(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    const struct merge_policy *policy = read_policy(&arena, "{\"each\":\"sum\"}");
    struct merge_document theirs = {.value = parse(&arena, "{\"a\":999999999999999999,\"b\":1}"),
                                    .version = 2};
    struct merge_edit edit = edit_between(&arena, "{\"a\":1,\"b\":2}", "{\"a\":9,\"b\":3}", policy);
    struct merge_result result = {.outcome = MERGE_KEPT, .document = {.version = 77}};
    struct merge_trace trace = {.arena = &arena};
    edit.base = 1;
    assert_int_equal(merge_apply(&arena, &theirs, &edit, policy, &trace, &result), BQ_OUT_OF_RANGE);
    assert_int_equal(result.document.version, 77);
    arena_release(&arena);
}

/* Section 3.4, and the list is as long as it has to be. */
static void many_whole_paths_are_listed(void **state)
{
    (void)state;
    struct arena arena;
    struct buf text = BUF_INIT;
    char path[16];
    arena_init(&arena);
    for (int i = 0; i < 50; i++) {
        buf_add_format(&text, "%c\"%d\":{}", i == 0 ? '{' : ',', i);
    }
    buf_add_text(&text, "}");
    const struct merge_policy *policy = read_policy(&arena, "{\"each\":\"whole\"}");
    struct merge_edit edit = edit_between(&arena, "{}", text.ptr, policy);
    assert_int_equal(edit.n_whole, 50);
    for (uint32_t i = 0; i < 50; i++) {
        snprintf(path, sizeof path, "/%u", i);
        assert_true(slice_is(edit.whole[i], path));
    }
    buf_release(&text);
    arena_release(&arena);
}

/* What is no JSON Pointer lists nothing; the wire refuses it before. */
static void bad_pointers_list_nothing(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    const struct merge_policy *policy = read_policy(&arena, "{\"each\":\"whole\"}");
    struct slice pointers[] = {SLICE("t"), SLICE("u/t"), SLICE("~"), SLICE("t/")};
    struct merge_edit edit = {.base = 1,
                              .was = parse(&arena, "{\"t\":{\"a\":1}}"),
                              .now = parse(&arena, "{\"t\":{\"a\":2}}"),
                              .whole = pointers,
                              .n_whole = 4};
    struct merge_document theirs = {.value = parse(&arena, "{\"t\":{\"a\":3,\"b\":4}}"),
                                    .version = 2};
    struct merge_result result;
    assert_int_equal(merge_apply(&arena, &theirs, &edit, policy, NULL, &result), BQ_OK);
    check_value(&arena, &result.document.value, "{\"t\":{\"a\":2,\"b\":4}}");
    arena_release(&arena);
}

/* Section 7: seeds have no `was` on the wire; the rules hold for one that has it all the same. */
static void a_seed_with_was_follows_the_rules(void **state)
{
    (void)state;
    static const struct {
        enum merge_mode mode;
        const char *policy, *now, *theirs, *want;
    } cases[] = {
        {MERGE_SEED, "\"incoming\"", "2", "1", "2"},
        {MERGE_SEED, "\"incoming\"", "2", "3", "3"},
        {MERGE_SEED, "\"incoming\"", "2", NULL, "2"},
        {MERGE_SEED, "\"incoming\"", NULL, "3", "3"},
        {MERGE_SEED_V1, "\"incoming\"", "2", "3", "2"},
        {MERGE_SEED_V1, "\"keep\"", "2", NULL, "2"},
        {MERGE_SEED, "\"sum\"", NULL, NULL, NULL},
        {MERGE_SEED, "\"sum\"", NULL, "3", "3"},
        {MERGE_SEED_V1, "\"whole\"", "2", NULL, "2"},
        {MERGE_SEED_V1, "\"whole\"", "2", "3", "3"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct arena arena;
        arena_init(&arena);
        struct json_value policy = parse(&arena, cases[i].policy);
        struct json_member field = json_member("x", policy);
        struct json_member fields = json_member("fields", json_object(&field, 1));
        struct json_value rule = json_object(&fields, 1);
        const struct merge_policy *read = NULL;
        assert_int_equal(merge_policy_read(&arena, &rule, &read, NULL), BQ_OK);
        struct json_member was = json_member("x", json_int(&arena, 1));
        struct json_member now = json_member("x", parse(&arena, cases[i].now));
        struct json_member theirs = json_member("x", parse(&arena, cases[i].theirs));
        struct merge_edit edit = {.mode = cases[i].mode,
                                  .base = 1,
                                  .was = json_object(&was, 1),
                                  .now = json_object(&now, cases[i].now == NULL ? 0 : 1)};
        struct merge_document document = {
            .value = json_object(&theirs, cases[i].theirs == NULL ? 0 : 1), .version = 2};
        struct merge_result result;
        assert_int_equal(merge_apply(&arena, &document, &edit, read, NULL, &result), BQ_OK);
        const struct json_value *got = json_get(&result.document.value, "x");
        struct json_value absent = json_absent();
        check_value(&arena, got == NULL ? &absent : got, cases[i].want);
        arena_release(&arena);
    }
}

/* ---- Section 11. ---- */

typedef int filter_call(struct arena *arena, const struct merge_edit *edit,
                        const struct merge_policy *policy, struct merge_edit *out, bool *out_empty);

static void check_filter(filter_call *filter, const char *policy, const char *was, const char *now,
                         const char *want_was, const char *want_now)
{
    struct arena arena;
    arena_init(&arena);
    struct merge_edit edit = {.base = 7,
                              .was = parse(&arena, was),
                              .now = parse(&arena, now),
                              .has_epoch = true,
                              .epoch = 2};
    struct merge_edit out = {0};
    bool empty = false;
    assert_int_equal(filter(&arena, &edit, read_policy(&arena, policy), &out, &empty), BQ_OK);
    check_value(&arena, &out.was, want_was);
    check_value(&arena, &out.now, want_now);
    assert_int_equal(empty, want_was == NULL && want_now == NULL);
    assert_int_equal(out.base, 7);
    assert_true(out.has_epoch && out.epoch == 2);
    arena_release(&arena);
}

static void edits_without_sums(void **state)
{
    (void)state;
    filter_call *f = merge_without_sums;
    const char *game = "{\"fields\":{\"n\":\"sum\",\"s\":\"max\",\"o\":{\"each\":\"sum\"},"
                       "\"m\":{\"each\":{\"fields\":{\"c\":\"sum\"}}}}}";
    check_filter(f, game, "{\"n\":1,\"s\":2}", "{\"n\":2,\"s\":3}", "{\"s\":2}", "{\"s\":3}");
    check_filter(f, game, "{\"n\":1}", "{\"n\":2}", NULL, NULL);
    check_filter(f, game, "{\"n\":1}", "{}", NULL, NULL);
    check_filter(f, game, "{}", "{\"n\":2}", NULL, NULL);
    check_filter(f, game, NULL, "{\"n\":2}", NULL, NULL);
    check_filter(f, game, NULL, "{\"n\":2,\"x\":1}", NULL, "{\"x\":1}");
    check_filter(f, game, NULL, "{}", NULL, "{}");
    check_filter(f, game, "{\"n\":1}", "{\"n\":\"odd\"}", NULL, NULL);
    check_filter(f, game, "{\"n\":{\"a\":1}}", "{\"n\":{\"a\":2}}", "{\"n\":{\"a\":1}}",
                 "{\"n\":{\"a\":2}}");
    check_filter(f, game, "{\"o\":{\"a\":1}}", "{\"o\":{\"a\":2,\"b\":1}}", NULL, NULL);
    check_filter(f, game, "{}", "{\"o\":{\"a\":2}}", NULL, NULL);
    check_filter(f, game, "{}", "{\"o\":{}}", "{}", "{\"o\":{}}");
    check_filter(f, game, "{\"o\":5}", "{\"o\":{\"a\":2}}", "{\"o\":5}", "{\"o\":{}}");
    check_filter(f, game, "{\"m\":{\"a\":{\"c\":1,\"t\":1,\"u\":1}}}",
                 "{\"m\":{\"a\":{\"c\":2,\"t\":2,\"u\":1}}}", "{\"m\":{\"a\":{\"t\":1,\"u\":1}}}",
                 "{\"m\":{\"a\":{\"t\":2,\"u\":1}}}");
    check_filter(f, game, "{\"m\":{\"a\":{\"c\":1,\"t\":1}}}", "{\"m\":{\"a\":{\"c\":2,\"t\":1}}}",
                 NULL, NULL);
    check_filter(f, game, "{\"o\":{\"a\":1}}", "{\"o\":5}", "{\"o\":{}}", "{\"o\":5}");
    check_filter(f, game, "{\"o\":{\"a\":1}}", "{}", NULL, NULL);
    check_filter(f, "\"sum\"", "1", "2", NULL, NULL);
    check_filter(f, "\"max\"", "1", "2", "1", "2");
    check_filter(f, game, "5", "6", "5", "6");
    check_filter(f, game, "{}", "{}", NULL, NULL);
}

static void edits_of_sums_alone(void **state)
{
    (void)state;
    filter_call *f = merge_only_sums;
    const char *game = "{\"fields\":{\"n\":\"sum\",\"s\":\"max\",\"o\":{\"each\":\"sum\"}},"
                       "\"epoch\":\"e\"}";
    check_filter(f, game, "{\"n\":1,\"s\":2}", "{\"n\":2,\"s\":3}", "{\"n\":1}", "{\"n\":2}");
    check_filter(f, game, "{\"s\":2}", "{\"s\":3}", NULL, NULL);
    check_filter(f, game, NULL, "{\"s\":2,\"o\":{\"a\":1}}", NULL, "{\"o\":{\"a\":1}}");
    check_filter(f, game, NULL, "{\"s\":2,\"o\":{}}", NULL, NULL);
    check_filter(f, game, NULL, "{}", NULL, NULL);
    check_filter(f, game, "{\"n\":{}}", "{\"n\":{\"a\":1}}", NULL, NULL);
    check_filter(f, game, "{\"e\":1,\"n\":9}", "{\"e\":2,\"n\":3}", "{}", "{\"n\":3}");
    check_filter(f, game, "{\"e\":2,\"n\":9}", "{\"e\":1,\"n\":3}", "{\"n\":9}", "{\"n\":3}");
    check_filter(f, "\"incoming\"", "{\"n\":9}", "{\"n\":3}", NULL, NULL);
}

static void a_delete_has_no_sums(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    const struct merge_policy *policy = read_policy(&arena, "{\"each\":\"sum\"}");
    struct merge_edit edit = {.deletes = true, .base = 3};
    struct merge_edit out = {0};
    bool empty = true;
    assert_int_equal(merge_without_sums(&arena, &edit, policy, &out, &empty), BQ_OK);
    assert_true(out.deletes && !empty);
    assert_int_equal(merge_only_sums(&arena, &edit, policy, &out, &empty), BQ_OK);
    assert_true(empty);
    arena_release(&arena);
}

/* ---- Section 14. ---- */

static void check_get(struct arena *arena, const char *document, const char *pointer,
                      const char *want)
{
    struct json_value value = parse(arena, document);
    struct json_value got = merge_pointer_get(&value, slice_of(pointer));
    check_value(arena, &got, want);
}

static void pointers_read(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    const char *document = "{\"a\":{\"b\":[1,{\"c\":2}]},\"\":3,\"x/y\":4,\"~\":5,\"~1\":6,"
                           "\"ab\":7,\"n\":null}";
    check_get(&arena, document, "", document);
    check_get(&arena, document, "/a/b/0", "1");
    check_get(&arena, document, "/a/b/1/c", "2");
    check_get(&arena, document, "/", "3");
    check_get(&arena, document, "/x~1y", "4");
    check_get(&arena, document, "/~0", "5");
    check_get(&arena, document, "/~01", "6");
    check_get(&arena, document, "/ab", "7");
    check_get(&arena, document, "/n", "null");
    static const char *const missing[] = {
        "/b",     "/abc",  "/a/b/2",  "/a/b/00", "/a/b/01",
        "/a/b/-", "/a/b/", "/a/b/1x", "/a/b/:",  "/a/b/9999999999",
        "/n/x",   "/ab/x", "a",       "/~",      "/~2",
        "/a~",    "//",    "/x/y"};
    for (size_t i = 0; i < sizeof missing / sizeof missing[0]; i++) {
        check_get(&arena, document, missing[i], NULL);
    }
    check_get(&arena, NULL, "/a", NULL);
    check_get(&arena, "5", "", "5");
    arena_release(&arena);
}

static void check_set(const char *document, const char *pointer, const char *value, int want_status,
                      const char *want)
{
    struct arena arena;
    arena_init(&arena);
    struct json_value before = parse(&arena, document);
    struct json_value put = parse(&arena, value);
    struct json_value after = json_null();
    int status = merge_pointer_set(&arena, document == NULL ? NULL : &before, slice_of(pointer),
                                   value == NULL ? NULL : &put, &after);
    assert_int_equal(status, want_status);
    check_value(&arena, &after, status == BQ_OK ? want : "null");
    check_value(&arena, &before, document);
    arena_release(&arena);
}

static void pointers_write(void **state)
{
    (void)state;
    check_set("{\"a\":1,\"b\":2}", "/a", "5", BQ_OK, "{\"a\":5,\"b\":2}");
    check_set("{\"a\":1}", "/b", "[1]", BQ_OK, "{\"a\":1,\"b\":[1]}");
    check_set("{\"a\":1,\"b\":2,\"c\":3}", "/b", NULL, BQ_OK, "{\"a\":1,\"c\":3}");
    check_set("{\"a\":1}", "/b", NULL, BQ_OK, "{\"a\":1}");
    check_set("{\"a\":1}", "/b/c/d", NULL, BQ_OK, "{\"a\":1}");
    check_set("{\"a\":{\"b\":{\"c\":1}}}", "/a/b/c", NULL, BQ_OK, "{\"a\":{\"b\":{}}}");
    check_set("{\"a\":{\"x\":1}}", "/a/b/c", "2", BQ_OK, "{\"a\":{\"x\":1,\"b\":{\"c\":2}}}");
    check_set(NULL, "/a/b", "1", BQ_OK, "{\"a\":{\"b\":1}}");
    check_set(NULL, "", "1", BQ_OK, "1");
    check_set(NULL, "/a", NULL, BQ_OK, NULL);
    check_set("{\"a\":1}", "", NULL, BQ_OK, NULL);
    check_set("{\"a\":1}", "", "null", BQ_OK, "null");
    check_set("{}", "/x~1y/~0~01", "1", BQ_OK, "{\"x/y\":{\"~~1\":1}}");
    check_set("{\"x/y\":{\"~~1\":1}}", "/x~1y/~0~01", "2", BQ_OK, "{\"x/y\":{\"~~1\":2}}");
    check_set("{}", "/", "1", BQ_OK, "{\"\":1}");
    check_set("{\"a\":[1]}", "/a/0", "1", BQ_INVALID, NULL);
    check_set("{\"a\":1}", "/a/b", "1", BQ_INVALID, NULL);
    check_set("{\"a\":1}", "/a/b", NULL, BQ_INVALID, NULL);
    check_set("5", "/a", "1", BQ_INVALID, NULL);
    check_set("{}", "a", "1", BQ_INVALID, NULL);
    check_set("{}", "/~2", "1", BQ_INVALID, NULL);
    check_set("{}", "/~", "1", BQ_INVALID, NULL);
}

static void pointers_have_a_limit(void **state)
{
    (void)state;
    struct arena arena;
    char text[2 * (LIMIT_POINTER_PARTS + 1)];
    arena_init(&arena);
    for (size_t i = 0; i < sizeof text; i += 2) {
        memcpy(text + i, "/a", 2);
    }
    struct json_value one = json_int(&arena, 1);
    struct json_value out;
    struct slice most = {text, 2 * LIMIT_POINTER_PARTS};
    struct slice more = {text, sizeof text};
    assert_int_equal(merge_pointer_set(&arena, NULL, most, &one, &out), BQ_OK);
    assert_int_equal(json_depth(&out), LIMIT_POINTER_PARTS);
    assert_int_equal(merge_pointer_set(&arena, NULL, more, &one, &out), BQ_INVALID);
    arena_release(&arena);
}

/* The examples of RFC 7396, appendix A, and absent targets. */
static void patches_are_rfc_7396(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {"{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"a\":null}", "{}"},
        {"{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}"},
        {"{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}"},
        {"{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}", "{\"a\":{\"b\":\"d\"}}"},
        {"{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}"},
        {"[\"a\",\"b\"]", "[\"c\",\"d\"]", "[\"c\",\"d\"]"},
        {"{\"a\":\"b\"}", "[\"c\"]", "[\"c\"]"},
        {"{\"a\":\"foo\"}", "null", "null"},
        {"{\"a\":\"foo\"}", "\"bar\"", "\"bar\""},
        {"{\"e\":null}", "{\"a\":1}", "{\"e\":null,\"a\":1}"},
        {"[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}"},
        {"{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}"},
        {NULL, "{\"a\":1,\"b\":null}", "{\"a\":1}"},
        {NULL, "7", "7"},
    };
    struct arena arena;
    arena_init(&arena);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct json_value target = parse(&arena, cases[i][0]);
        struct json_value patch = parse(&arena, cases[i][1]);
        struct json_value out;
        assert_int_equal(merge_patch(&arena, cases[i][0] == NULL ? NULL : &target, &patch, &out),
                         BQ_OK);
        check_value(&arena, &out, cases[i][2]);
    }
    arena_release(&arena);
}

static void epochs_are_read(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    const struct merge_policy *policy = read_policy(&arena, "{\"each\":\"max\",\"epoch\":\"e\"}");
    struct json_value document = parse(&arena, "{\"e\":9007199254740991}");
    assert_int_equal(merge_epoch(&document, policy), INT64_C(9007199254740991));
    assert_int_equal(merge_epoch(&document, &merge_policy_incoming), 0);
    assert_int_equal(merge_epoch(NULL, policy), 0);
    arena_release(&arena);
}

/* ---- Big inputs (nothing is quadratic in what a peer sends). ---- */

/* {"k0": v, ...} or [v, ...] with the numbers 0 to n-1 in a scrambled order. */
static struct json_value scrambled(struct arena *arena, uint32_t n, uint32_t step, uint32_t shift,
                                   bool as_array)
{
    struct json_member *members = arena_alloc(arena, n * sizeof *members);
    struct json_value *items = arena_alloc(arena, n * sizeof *items);
    assert_true(members != NULL && items != NULL);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t k = (uint32_t)(((uint64_t)i * step + 7) % n) + shift;
        items[i] = json_int(arena, k);
        members[i] = (struct json_member){json_string(json_text(&items[i])), items[i]};
    }
    return as_array ? json_array(items, n) : json_object(members, n);
}

static double seconds_of(uint32_t n, const char *policy_text, bool as_array)
{
    double best = 1e9;
    for (int i = 0; i < 3; i++) {
        struct arena arena;
        arena_init(&arena);
        const struct merge_policy *policy = read_policy(&arena, policy_text);
        struct json_value base = scrambled(&arena, n, 7919, 0, as_array);
        struct json_value mine = scrambled(&arena, n, 104729, n / 2, as_array);
        struct merge_document theirs = {.value = scrambled(&arena, n, 1299709, n / 4, as_array),
                                        .version = 2};
        struct merge_edit edit;
        struct merge_result result;
        bool changed;
        clock_t start = clock();
        assert_int_equal(merge_diff(&arena, &base, &mine, policy, &edit, &changed), BQ_OK);
        edit.base = 1;
        assert_int_equal(merge_apply(&arena, &theirs, &edit, policy, NULL, &result), BQ_OK);
        double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
        best = seconds < best ? seconds : best;
        arena_release(&arena);
    }
    return best;
}

static void big_merges_take_about_linear_time(void **state)
{
    (void)state;
    double objects = seconds_of(4000, "{\"each\":\"max\"}", false);
    double objects10 = seconds_of(40000, "{\"each\":\"max\"}", false);
    double arrays = seconds_of(4000, "\"union\"", true);
    double arrays10 = seconds_of(40000, "\"union\"", true);
    print_message("4,000 and 40,000: members %.2f and %.2f ms, elements %.2f and %.2f ms\n",
                  objects * 1e3, objects10 * 1e3, arrays * 1e3, arrays10 * 1e3);
    assert_true(objects10 < 40 * (objects + 0.0005));
    assert_true(arrays10 < 40 * (arrays + 0.0005));
}

/* Many pointers below a long key: steps look at the new key alone. */
static void long_keys_over_whole_lists_are_cheap(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    uint32_t n = 5000;
    size_t len = 50000;
    char *key = arena_alloc(&arena, len + 1);
    assert_non_null(key);
    memset(key, 'k', len);
    key[len] = '\0';
    struct json_value inner = scrambled(&arena, n, 7919, 0, false);
    struct json_value other = scrambled(&arena, n, 104729, 1, false);
    struct json_member was = {json_string((struct slice){key, len}), inner};
    struct json_member now = {was.key, other};
    key[0] = '/';
    struct slice pointer = {key, len};
    struct merge_edit edit = {.base = 1,
                              .was = json_object(&was, 1),
                              .now = json_object(&now, 1),
                              .whole = &pointer,
                              .n_whole = 1};
    struct merge_document theirs = {.value = json_object(&now, 1), .version = 2};
    struct merge_result result;
    clock_t start = clock();
    assert_int_equal(merge_apply(&arena, &theirs, &edit,
                                 read_policy(&arena, "{\"each\":{\"each\":\"whole\"}}"), NULL,
                                 &result),
                     BQ_OK);
    assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 2);
    arena_release(&arena);
}

/* ---- Memory that ends. ---- */

struct hungry {
    struct json_value base, mine, theirs;
    struct merge_edit edit;
    const struct merge_policy *policy;
};

static int starved_diff(struct arena *arena, void *state)
{
    const struct hungry *hungry = state;
    struct merge_edit edit = {.base = 12345};
    bool changed;
    int status = merge_diff(arena, &hungry->base, &hungry->mine, hungry->policy, &edit, &changed);
    assert_int_equal(edit.base, status == BQ_OK ? 0 : 12345);
    return status;
}

/* Applies the edit with a base that is current, or is not, and is explained. */
static int apply_starved(struct arena *arena, const struct hungry *hungry, int64_t base)
{
    struct merge_edit edit = hungry->edit;
    struct merge_document theirs = {.value = hungry->theirs, .version = 3};
    struct merge_result result = {.document = {.version = 77}};
    struct merge_trace trace = {.arena = arena};
    edit.base = base;
    int status = merge_apply(arena, &theirs, &edit, hungry->policy, &trace, &result);
    assert_int_equal(result.document.version, status == BQ_OK ? 3 : 77);
    return status;
}

static int starved_merge(struct arena *arena, void *state)
{
    return apply_starved(arena, state, 2);
}

static int starved_exact(struct arena *arena, void *state)
{
    return apply_starved(arena, state, 3);
}

static int starved_filter(struct arena *arena, void *state)
{
    const struct hungry *hungry = state;
    struct merge_edit out = {.base = 12345};
    bool empty;
    int status = merge_without_sums(arena, &hungry->edit, hungry->policy, &out, &empty);
    assert_true(status == BQ_OK || out.base == 12345);
    if (status == BQ_OK) {
        status = merge_only_sums(arena, &hungry->edit, hungry->policy, &out, &empty);
    }
    return status;
}

static int starved_pointer(struct arena *arena, void *state)
{
    const struct hungry *hungry = state;
    struct json_value out = {.count = 12345};
    struct slice pointer = SLICE("/m/~0new/x~1y");
    int status = merge_pointer_set(arena, &hungry->base, pointer, &hungry->mine, &out);
    assert_true(status == BQ_OK || out.count == 12345);
    return status;
}

static int starved_patch(struct arena *arena, void *state)
{
    const struct hungry *hungry = state;
    struct json_value out = {.count = 12345};
    int status = merge_patch(arena, &hungry->base, &hungry->mine, &out);
    assert_true(status == BQ_OK || out.count == 12345);
    return status;
}

/* A merge whose explanation has memory of its own, which ends; the merge's does not. */
static int starved_trace(struct arena *arena, void *state)
{
    const struct hungry *hungry = state;
    struct arena own;
    struct merge_document theirs = {.value = hungry->theirs, .version = 3};
    struct merge_result result;
    struct merge_trace trace = {.arena = arena};
    mem_fail_at(0, 0);
    arena_init(&own);
    assert_non_null(arena_alloc(&own, 60000));
    arena_reset(&own);
    mem_fail_at(1, 1);
    int status = merge_apply(&own, &theirs, &hungry->edit, hungry->policy, &trace, &result);
    mem_fail_at(0, 0);
    arena_release(&own);
    return status;
}

static const char *const hungry_texts[][3] = {
    {"{\"e\":1,\"n\":1,\"m\":{\"t\":{\"a\":1},\"s\":{\"b\":1},\"r\":{}},\"g\":1,\"f\":1,\"q\":1,"
     "\"p\":1,\"gone\":{\"a\":1},\"c\":{\"a\":1,\"b\":2}}",
     "{\"e\":1,\"n\":2,\"m\":{\"t\":{\"a\":2},\"s\":{\"b\":2},\"w\":{\"c/d\":1}},\"g\":2,"
     "\"f\":2,\"q\":2,\"p\":null,\"new\":{\"x\":{}},\"c\":{\"b\":3,\"a\":2}}",
     "{\"p\":5,\"q\":4,\"f\":3,\"g\":2,\"m\":{\"t\":{\"a\":3}},\"n\":4,\"e\":1,"
     "\"gone\":{\"a\":1,\"b\":1},\"c\":{}}"},
    /* A union. */
    {"{\"u\":[3,2,1]}", "{\"u\":[3,9,{\"z\":1,\"y\":2},\"s\"]}", "{\"u\":[7,1,2,\"q\",5]}"},
    /* A reset. */
    {"{\"e\":1,\"m\":{\"t\":{\"a\":1}}}", "{\"e\":2,\"m\":{\"t\":{\"a\":2}}}",
     "{\"e\":1,\"m\":{},\"n\":3}"},
    /* A removed object. */
    {"{\"o\":{\"a\":1,\"b\":1}}", "{}", "{\"o\":{\"a\":1,\"b\":1,\"c\":1}}"},
    /* A new object where there is none. */
    {"{\"c\":{\"a\":1}}", "{\"c\":{\"a\":2}}", "{}"},
};

static void memory_may_end_anywhere(void **state)
{
    (void)state;
    static starve_call *const calls[] = {starved_merge, starved_exact};
    struct arena arena;
    arena_init(&arena);
    for (size_t i = 0; i < sizeof hungry_texts / sizeof hungry_texts[0]; i++) {
        struct hungry hungry = {
            .base = parse(&arena, hungry_texts[i][0]),
            .mine = parse(&arena, hungry_texts[i][1]),
            .theirs = parse(&arena, hungry_texts[i][2]),
            .policy =
                read_policy(&arena, "{\"fields\":{\"n\":\"sum\",\"u\":\"union\",\"c\":{\"each\":"
                                    "\"sum\"},\"m\":{\"each\":\"whole\"}},\"epoch\":\"e\"}"),
        };
        hungry.edit = edit_between(&arena, hungry_texts[i][0], hungry_texts[i][1], hungry.policy);
        starve(starved_diff, &hungry);
        for (size_t k = 0; k < sizeof calls / sizeof calls[0]; k++) {
            starve(calls[k], &hungry);
        }
        if (i == 0) {
            starve(starved_filter, &hungry);
            starve(starved_pointer, &hungry);
            starve(starved_patch, &hungry);
        }
        hungry.edit.deletes = i == 1; /* a decision on the whole document is explained as well */
        for (size_t fill = 0; fill <= STARVE_CHUNK; fill += STARVE_STEP) {
            (void)starve_once(starved_trace, &hungry, fill, 0);
        }
    }
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_decision_is_explained),
        cmocka_unit_test(whole_decisions_are_explained),
        cmocka_unit_test(long_explanations_are_complete),
        cmocka_unit_test(results_share_what_did_not_change),
        cmocka_unit_test(an_error_leaves_the_result_alone),
        cmocka_unit_test(many_whole_paths_are_listed),
        cmocka_unit_test(bad_pointers_list_nothing),
        cmocka_unit_test(a_seed_with_was_follows_the_rules),
        cmocka_unit_test(edits_without_sums),
        cmocka_unit_test(edits_of_sums_alone),
        cmocka_unit_test(a_delete_has_no_sums),
        cmocka_unit_test(pointers_read),
        cmocka_unit_test(pointers_write),
        cmocka_unit_test(pointers_have_a_limit),
        cmocka_unit_test(patches_are_rfc_7396),
        cmocka_unit_test(epochs_are_read),
        cmocka_unit_test(big_merges_take_about_linear_time),
        cmocka_unit_test(long_keys_over_whole_lists_are_cheap),
        cmocka_unit_test(memory_may_end_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
