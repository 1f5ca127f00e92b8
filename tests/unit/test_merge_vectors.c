/* test_merge_vectors.c - tests/vectors/merge and tests/vectors/diff against merge_apply() and
 * merge_diff(). docs/merge.md, section 12, says how a vector is written. Run in the project's
 * root. */
#include "proto/edit.h"

#include "base/limits.h"
#include "base/mem.h"
#include "base/status.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

/* The vectors are at least this many; a runner that finds none must not be green. */
#define VECTORS_EXPECTED 400u

static const char *merge_folder = "tests/vectors/merge";
static const char *diff_folder = "tests/vectors/diff";
static unsigned n_run;
static unsigned n_failed;

static struct buf read_file(const char *path)
{
    struct buf out = BUF_INIT;
    char block[4096];
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    for (size_t n; (n = fread(block, 1, sizeof block, file)) > 0;) {
        buf_add(&out, block, n);
    }
    fclose(file);
    return out;
}

static struct json_value get(const struct json_value *object, const char *name)
{
    const struct json_value *value = json_get(object, name);
    return value == NULL ? json_absent() : *value;
}

static bool get_bool(const struct json_value *object, const char *name)
{
    return json_is(json_get(object, name), JSON_TRUE);
}

static int64_t get_int(const struct json_value *object, const char *name, int64_t otherwise)
{
    const struct json_value *value = json_get(object, name);
    int64_t number = otherwise;
    assert_true(value == NULL || json_to_int(value, &number));
    return number;
}

/* The edit of a vector, read as the server reads it. */
static void read_edit(struct arena *arena, const struct json_value *vector, struct merge_edit *out)
{
    struct proto_problem problem;
    struct json_value edit = get(vector, "edit");
    if (proto_edit_read_bare(arena, &edit, out, &problem) != BQ_OK) {
        struct buf text = BUF_INIT;
        json_print(&text, vector);
        fail_msg("%s: %s", problem.text, text.ptr);
    }
    if (get_bool(vector, "v1")) {
        assert_int_equal(out->mode, MERGE_SEED);
        out->mode = MERGE_SEED_V1;
    }
}

static const char *outcome_word(enum merge_outcome outcome)
{
    static const char *const words[] = {"applied", "merged", "kept"};
    return words[outcome];
}

/* What happened, in the form of `want`; an error as {"error": code}. */
static struct json_value outcome(struct arena *arena, int status, const struct merge_result *result)
{
    struct json_member *members = arena_alloc(arena, 5 * sizeof *members);
    uint32_t n = 0;
    if (status != BQ_OK) {
        members[n++] = json_member("error", json_string(slice_of(status_code(status))));
        return json_object(members, n);
    }
    members[n++] = json_member("status", json_string(slice_of(outcome_word(result->outcome))));
    members[n++] = json_member("changed", json_bool(result->changed));
    if (result->document.deleted) {
        members[n++] = json_member("deleted", json_bool(true));
        members[n++] = json_member("epoch", json_int(arena, result->document.epoch));
    } else if (!json_is_absent(&result->document.value)) {
        members[n++] = json_member("document", result->document.value);
    }
    return json_object(members, n);
}

static int apply_vector(struct arena *arena, const struct json_value *vector,
                        struct merge_result *out)
{
    const struct merge_policy *policy = &merge_policy_incoming;
    const struct json_value *policy_json = json_get(vector, "policy");
    if (policy_json != NULL) {
        int status = merge_policy_read(arena, policy_json, &policy, NULL);
        if (status != BQ_OK) {
            return status;
        }
    }
    struct merge_document document = {
        .value = get(vector, "document"),
        .version = get_int(vector, "version", 0),
        .deleted = get_bool(vector, "deleted"),
        .epoch = get_int(vector, "epoch", 0),
    };
    struct merge_edit edit;
    read_edit(arena, vector, &edit);
    return merge_apply(arena, &document, &edit, policy, NULL, out);
}

static void fail_vector(const char *path, const struct json_value *vector,
                        const struct json_value *want, const struct json_value *got)
{
    struct buf out = BUF_INIT;
    buf_add_text(&out, "\n  vector ");
    json_print(&out, vector);
    buf_add_text(&out, "\n  want   ");
    json_print(&out, want);
    buf_add_text(&out, "\n  got    ");
    json_print(&out, got);
    print_error("%s:%s\n", path, out.ptr);
    buf_release(&out);
    n_failed++;
}

static void check_apply(struct arena *arena, const char *path, const struct json_value *vector)
{
    struct merge_result result;
    int status = apply_vector(arena, vector, &result);
    struct json_value got = outcome(arena, status, &result);
    struct json_member error = json_member("error", get(vector, "error"));
    struct json_value want = get(vector, "want");
    if (want.type == JSON_ABSENT) {
        want = json_object(&error, 1);
    }
    if (!json_equal(arena, &want, &got)) {
        fail_vector(path, vector, &want, &got);
    }
}

/* An edit in wire form, without op, prev, id, key, base and seed. */
static struct json_value edit_json(struct arena *arena, const struct merge_edit *edit)
{
    struct json_member *members = arena_alloc(arena, 5 * sizeof *members);
    struct json_value *whole = arena_alloc(arena, edit->n_whole * sizeof *whole);
    uint32_t n = 0;
    for (uint32_t i = 0; i < edit->n_whole; i++) {
        whole[i] = json_string(edit->whole[i]);
    }
    if (edit->deletes) {
        members[n++] = json_member("delete", json_bool(true));
    }
    if (!json_is_absent(&edit->was)) {
        members[n++] = json_member("was", edit->was);
    }
    if (!json_is_absent(&edit->now)) {
        members[n++] = json_member("now", edit->now);
    }
    if (edit->n_whole > 0) {
        members[n++] = json_member("whole", json_array(whole, edit->n_whole));
    }
    if (edit->has_epoch) {
        members[n++] = json_member("epoch", json_int(arena, edit->epoch));
    }
    return json_object(members, n);
}

static void check_diff(struct arena *arena, const char *path, const struct json_value *vector)
{
    const struct merge_policy *policy = &merge_policy_incoming;
    struct json_value policy_json = get(vector, "policy");
    struct json_value base = get(vector, "base");
    struct json_value mine = get(vector, "mine");
    struct json_value want = get(vector, "edit");
    if (policy_json.type != JSON_ABSENT) {
        assert_int_equal(merge_policy_read(arena, &policy_json, &policy, NULL), BQ_OK);
    }
    struct merge_edit edit;
    bool changed;
    assert_int_equal(merge_diff(arena, &base, &mine, policy, &edit, &changed), BQ_OK);
    struct json_value got = changed ? edit_json(arena, &edit) : json_null();
    if (!json_equal(arena, &want, &got)) {
        fail_vector(path, vector, &want, &got);
    }
}

static void run_file(const char *path,
                     void (*check)(struct arena *, const char *, const struct json_value *))
{
    struct arena texts;
    struct json_value vectors;
    struct json_error error;
    struct buf text = read_file(path);
    arena_init(&texts);
    int status = json_parse(&texts, buf_slice(&text), 200, &vectors, &error);
    if (status != BQ_OK) {
        fail_msg("%s:%u:%u: %s", path, error.line, error.column, error.what);
    }
    for (uint32_t i = 0; i < vectors.count; i++) {
        struct arena arena;
        arena_init(&arena);
        check(&arena, path, &vectors.items[i]);
        arena_release(&arena);
        n_run++;
    }
    arena_release(&texts);
    buf_release(&text);
}

static void run_folder(const char *folder,
                       void (*check)(struct arena *, const char *, const struct json_value *))
{
    char path[512];
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    n_run = 0;
    n_failed = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        size_t len = strlen(entry->d_name);
        if (len > 5 && strcmp(entry->d_name + len - 5, ".json") == 0) {
            snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
            run_file(path, check);
        }
    }
    closedir(dir);
    print_message("%s: %u vectors, %u failed\n", folder, n_run, n_failed);
    assert_int_equal(n_failed, 0);
}

static void every_merge_vector_holds(void **state)
{
    (void)state;
    run_folder(merge_folder, check_apply);
    assert_true(n_run >= VECTORS_EXPECTED);
}

static void every_diff_vector_holds(void **state)
{
    (void)state;
    run_folder(diff_folder, check_diff);
    assert_true(n_run >= 40);
}

/* Other folders may be named: test_merge_vectors MERGE_FOLDER DIFF_FOLDER. */
int main(int argc, char **argv)
{
    merge_folder = argc > 1 ? argv[1] : merge_folder;
    diff_folder = argc > 2 ? argv[2] : diff_folder;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_merge_vector_holds),
        cmocka_unit_test(every_diff_vector_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
