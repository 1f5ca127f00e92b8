/* test_policy.c - policies as data (docs/merge.md, section 2). */
#include "merge/policy.h"

#include "base/status.h"
#include "merge/place.h"

#include "starve.h"

#include <stdio.h>

static struct json_value parse(struct arena *arena, const char *text)
{
    struct json_value value = json_absent();
    if (json_parse(arena, slice_of(text), 100, &value, NULL) != BQ_OK) {
        fail_msg("not read: %s", text);
    }
    return value;
}

static const struct merge_policy *read(struct arena *arena, const char *text)
{
    const struct merge_policy *policy = NULL;
    struct json_value value = parse(arena, text);
    struct merge_policy_error error;
    if (merge_policy_read(arena, &value, &policy, &error) != BQ_OK) {
        fail_msg("%s: %s %s", text, error.path, error.what);
    }
    return policy;
}

static void words_are_policies(void **state)
{
    (void)state;
    static const char *const words[] = {"incoming", "whole", "keep", "max", "min",
                                        "sum",      "union", "any",  "all"};
    struct arena arena;
    char text[32];
    arena_init(&arena);
    for (unsigned i = 0; i < 9; i++) {
        snprintf(text, sizeof text, "\"%s\"", words[i]);
        const struct merge_policy *policy = read(&arena, text);
        assert_int_equal(policy->kind, i);
        assert_string_equal(merge_kind_word(policy->kind), words[i]);
        assert_int_equal(policy->has_sum, policy->kind == MERGE_SUM);
        assert_int_equal(policy->has_whole, policy->kind == MERGE_WHOLE);
    }
    assert_string_equal(merge_kind_word(MERGE_EACH), "each");
    assert_string_equal(merge_kind_word(MERGE_FIELDS), "fields");
    arena_release(&arena);
}

static enum merge_kind member_kind(const struct merge_policy *policy, const char *name)
{
    return merge_policy_member(policy, slice_of(name))->kind;
}

static void members_have_their_policy(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    const struct merge_policy *policy =
        read(&arena, "{\"fields\":{\"zz\":\"max\",\"a\":{\"each\":\"sum\"},\"b\":\"keep\","
                     "\"ccc\":\"whole\"},\"rest\":\"union\",\"epoch\":\"a1\"}");
    assert_int_equal(member_kind(policy, "zz"), MERGE_MAX);
    assert_int_equal(member_kind(policy, "b"), MERGE_KEEP);
    assert_int_equal(member_kind(policy, "ccc"), MERGE_WHOLE);
    assert_int_equal(member_kind(policy, "a"), MERGE_EACH);
    assert_int_equal(member_kind(policy, "other"), MERGE_UNION);
    assert_int_equal(member_kind(policy, ""), MERGE_UNION);
    assert_int_equal(member_kind(policy, "a1"), MERGE_INCOMING);
    assert_true(policy->has_whole && policy->has_sum);
    assert_int_equal(member_kind(merge_policy_member(policy, SLICE("a")), "any id"), MERGE_SUM);
    assert_int_equal(member_kind(read(&arena, "\"keep\""), "x"), MERGE_KEEP);
    assert_int_equal(member_kind(read(&arena, "{\"fields\":{}}"), "x"), MERGE_INCOMING);
    static const char *const leaves[] = {"\"incoming\"", "\"whole\"", "\"max\"", "\"min\"",
                                         "\"sum\"",      "\"union\"", "\"any\"", "\"all\""};
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(member_kind(read(&arena, leaves[i]), "x"), MERGE_INCOMING);
    }
    assert_true(read(&arena, "{\"fields\":{},\"rest\":{\"each\":\"whole\"}}")->has_whole);
    assert_true(read(&arena, "{\"each\":{\"each\":\"sum\"}}")->has_sum);
    arena_release(&arena);
}

static void check_error(const char *text, const char *path)
{
    struct arena arena;
    const struct merge_policy *policy = NULL;
    struct merge_policy_error error;
    arena_init(&arena);
    struct json_value value = parse(&arena, text);
    assert_int_equal(merge_policy_read(&arena, &value, &policy, &error), BQ_BAD_POLICY);
    assert_int_equal(merge_policy_read(&arena, &value, &policy, NULL), BQ_BAD_POLICY);
    assert_null(policy);
    assert_string_equal(error.path, path);
    assert_true(strlen(error.what) > 10);
    arena_release(&arena);
}

static void errors_name_the_place(void **state)
{
    (void)state;
    check_error("\"latest\"", "");
    check_error("17", "");
    check_error("{}", "");
    check_error("{\"each\":\"max\",\"fields\":{}}", "");
    check_error("{\"each\":\"max\",\"rest\":\"max\"}", "");
    check_error("{\"each\":null}", "/each");
    check_error("{\"fields\":[]}", "/fields");
    check_error("{\"fields\":{\"a/b\":{\"each\":{\"fields\":{\"~\":\"sums\"}}}}}",
                "/fields/a~1b/each/fields/~0");
    check_error("{\"fields\":{},\"rest\":\"x\"}", "/rest");
    check_error("{\"fields\":{},\"merge\":\"max\"}", "/merge");
    check_error("{\"fields\":{},\"epoch\":7}", "/epoch");
    check_error("{\"fields\":{},\"epoch\":\"\"}", "/epoch");
    check_error("{\"each\":{\"each\":\"max\",\"epoch\":\"e\"}}", "/each/epoch");
    check_error("{\"fields\":{},\"rest\":{\"fields\":{},\"epoch\":\"e\"}}", "/rest/epoch");
}

/* A path that is too long is cut between characters. */
static void long_paths_are_cut(void **state)
{
    (void)state;
    struct arena arena;
    struct buf text = BUF_INIT;
    struct merge_policy_error error;
    const struct merge_policy *policy;
    arena_init(&arena);
    for (unsigned extra = 0; extra < 2; extra++) {
        buf_clear(&text);
        buf_add_text(&text, extra == 0 ? "{\"fields\":{\"" : "{\"fields\":{\"x");
        for (int i = 0; i < 100; i++) {
            buf_add_text(&text, "\xc3\xa9");
        }
        buf_add_text(&text, "\":1}}");
        struct json_value value = parse(&arena, text.ptr);
        assert_int_equal(merge_policy_read(&arena, &value, &policy, &error), BQ_BAD_POLICY);
        assert_int_equal(strlen(error.path), extra == 0 ? 126 : 127);
    }
    buf_release(&text);
    arena_release(&arena);
}

static void size_and_depth_have_limits(void **state)
{
    (void)state;
    struct arena arena;
    struct buf text = BUF_INIT;
    struct merge_policy_error error;
    const struct merge_policy *policy;
    arena_init(&arena);
    for (unsigned levels = 16; levels <= 17; levels++) {
        buf_clear(&text);
        for (unsigned i = 1; i < levels; i++) {
            buf_add_text(&text, "{\"each\":");
        }
        buf_add_text(&text, "\"max\"");
        for (unsigned i = 1; i < levels; i++) {
            buf_add_text(&text, "}");
        }
        struct json_value value = parse(&arena, text.ptr);
        assert_int_equal(merge_policy_read(&arena, &value, &policy, &error),
                         levels > 16 ? BQ_BAD_POLICY : BQ_OK);
    }
    buf_clear(&text);
    buf_add_text(&text, "{\"fields\":{\"a\":\"max\"");
    for (int i = 0; i < 7000; i++) {
        buf_add_format(&text, ",\"%d\":\"max\"", i);
    }
    buf_add_text(&text, "}}");
    struct json_value value = parse(&arena, text.ptr);
    assert_int_equal(merge_policy_read(&arena, &value, &policy, &error), BQ_BAD_POLICY);
    assert_string_equal(error.path, "");
    buf_release(&text);
    arena_release(&arena);
}

static void check_pattern(const struct merge_policies *policies, const char *key,
                          enum merge_kind kind, const char *pattern)
{
    assert_int_equal(merge_policies_find(policies, slice_of(key))->kind, kind);
    assert_true(slice_is(merge_policies_pattern(policies, slice_of(key)), pattern));
}

static void the_longest_pattern_wins(void **state)
{
    (void)state;
    struct arena arena;
    const struct merge_policies *policies = NULL;
    arena_init(&arena);
    struct json_value value = parse(
        &arena, "{\"*\":\"keep\",\"game_*\":\"max\",\"game_st*\":\"sum\",\"game_stats\":\"min\","
                "\"g*\":\"any\",\"game_\":\"all\",\"zzzzzzzzzzzz\":\"union\",\"a\":\"whole\"}");
    assert_int_equal(merge_policies_read(&arena, &value, &policies, NULL), BQ_OK);
    check_pattern(policies, "game_stats", MERGE_MIN, "game_stats");
    check_pattern(policies, "game_stats2", MERGE_SUM, "game_st*");
    check_pattern(policies, "game_st", MERGE_SUM, "game_st*");
    check_pattern(policies, "game_s", MERGE_MAX, "game_*");
    check_pattern(policies, "game_", MERGE_ALL, "game_");
    check_pattern(policies, "game", MERGE_ANY, "g*");
    check_pattern(policies, "a", MERGE_WHOLE, "a");
    check_pattern(policies, "zzzzzzzzzzzz", MERGE_UNION, "zzzzzzzzzzzz");
    check_pattern(policies, "other", MERGE_KEEP, "*");
    check_pattern(NULL, "other", MERGE_INCOMING, "*");
    value = parse(&arena, "{\"a*\":\"max\"}");
    assert_int_equal(merge_policies_read(&arena, &value, &policies, NULL), BQ_OK);
    check_pattern(policies, "b", MERGE_INCOMING, "*");
    arena_release(&arena);
}

static void the_shipped_set_is_the_guides(void **state)
{
    (void)state;
    struct arena arena;
    const struct merge_policies *policies = NULL;
    arena_init(&arena);
    struct json_value value = parse(&arena, merge_policies_shipped);
    assert_int_equal(merge_policies_read(&arena, &value, &policies, NULL), BQ_OK);
    const struct merge_policy *game = merge_policies_find(policies, SLICE("game_stats"));
    assert_int_equal(member_kind(game, "score"), MERGE_MAX);
    assert_int_equal(member_kind(game, "currentStreak"), MERGE_MAX);
    assert_int_equal(member_kind(game, "longestStreak"), MERGE_MAX);
    assert_int_equal(member_kind(game, "incorrectAnswers"), MERGE_SUM);
    assert_int_equal(member_kind(game, "lastPlayed"), MERGE_INCOMING);
    const struct merge_policy *progress = merge_policies_find(policies, SLICE("lesson_progress"));
    assert_int_equal(member_kind(progress, "unlockedCount"), MERGE_MAX);
    assert_int_equal(member_kind(merge_policy_member(progress, SLICE("bestStarsByLesson")), "l1"),
                     MERGE_MAX);
    const struct merge_policy *settings = merge_policies_find(policies, SLICE("settings"));
    assert_int_equal(member_kind(settings, "unlockedThemes"), MERGE_UNION);
    assert_int_equal(member_kind(merge_policy_member(settings, SLICE("aiThemes")), "t1"),
                     MERGE_WHOLE);
    check_pattern(policies, "notes", MERGE_INCOMING, "*");
    arena_release(&arena);
}

static void bad_patterns_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "[]",
        "\"max\"",
        "{\"\":\"max\"}",
        "{\"*a\":\"max\"}",
        "{\"a*b*\":\"max\"}",
        "{\"**\":\"max\"}",
        "{\"a\":\"sums\"}",
        "{\"a\":{\"fields\":{\"b\":1}}}",
    };
    struct arena arena;
    const struct merge_policies *policies = NULL;
    struct merge_policy_error error;
    arena_init(&arena);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct json_value value = parse(&arena, texts[i]);
        assert_int_equal(merge_policies_read(&arena, &value, &policies, &error), BQ_BAD_POLICY);
        assert_null(policies);
    }
    assert_string_equal(error.path, "/a/fields/b");
    struct buf text = BUF_INIT;
    for (unsigned len = 128; len <= 129; len++) {
        for (unsigned star = 0; star < 2; star++) {
            buf_clear(&text);
            buf_add_text(&text, "{\"");
            for (unsigned i = 0; i < len; i++) {
                buf_add_char(&text, 'k');
            }
            buf_add_text(&text, star == 0 ? "\":\"max\"}" : "*\":\"max\"}");
            struct json_value value = parse(&arena, text.ptr);
            assert_int_equal(merge_policies_read(&arena, &value, &policies, NULL),
                             len > 128 ? BQ_BAD_POLICY : BQ_OK);
        }
    }
    buf_release(&text);
    arena_release(&arena);
}

static int starved_read(struct arena *arena, void *state)
{
    const struct merge_policies *untouched = NULL;
    int status = merge_policies_read(arena, state, &untouched, NULL);
    assert_true((status == BQ_OK) == (untouched != NULL));
    return status;
}

static int starved_refusal(struct arena *arena, void *state)
{
    const struct merge_policy *policy = NULL;
    struct merge_policy_error error;
    int status = merge_policy_read(arena, state, &policy, &error);
    assert_true(status == BQ_BAD_POLICY || status == BQ_NOMEM);
    return status == BQ_NOMEM ? BQ_NOMEM : BQ_OK;
}

static void memory_may_end_anywhere(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    struct json_value value =
        parse(&arena, "{\"b\":{\"fields\":{\"y\":{\"each\":\"max\"},\"x\":\"sum\"},\"rest\":"
                      "{\"each\":\"max\"}},\"a\":\"max\",\"q*\":\"sum\",\"rr*\":\"max\","
                      "\"c\":\"min\"}");
    starve(starved_read, &value);
    value = parse(&arena, "{\"fields\":{\"y\":{\"each\":\"maxx\"},\"x\":\"sum\"}}");
    starve(starved_refusal, &value);
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_policies),
        cmocka_unit_test(members_have_their_policy),
        cmocka_unit_test(errors_name_the_place),
        cmocka_unit_test(long_paths_are_cut),
        cmocka_unit_test(size_and_depth_have_limits),
        cmocka_unit_test(the_longest_pattern_wins),
        cmocka_unit_test(the_shipped_set_is_the_guides),
        cmocka_unit_test(bad_patterns_are_refused),
        cmocka_unit_test(memory_may_end_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
