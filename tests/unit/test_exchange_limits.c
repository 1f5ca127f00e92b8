/* test_exchange_limits.c - what is over a limit is refused for good, and changes nothing
 * (docs/protocol.md, "Names and limits"). */
#include "core_bench.h"

#include "base/status.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <setjmp.h>
#include <cmocka.h>

static struct core_bench bench;
static int next_op;

static int setup(void **state)
{
    (void)state;
    bench_open(&bench);
    next_op = 1;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    bench_close(&bench);
    return 0;
}

/* A fresh device's edit, merged whatever the version; answers the code of its refusal, or "". */
static const char *write_code(const char *key, const char *rest)
{
    const char *edit =
        bench_text(&bench, "{\"op\":1,\"prev\":0,\"id\":\"%016x\",\"key\":\"%s\",\"base\":-1,%s}",
                   next_op, key, rest);
    struct json_value answer = bench_edits(&bench, bench_text(&bench, "d%d", next_op++), edit);
    const char *code = bench_at(&bench, &answer, "/results/0/code");
    assert_int_equal(code[0] != '\0', bench_at(&bench, &answer, "/results/0/message")[0] != '\0');
    if (code[0] != '\0') {
        assert_string_equal(bench_at(&bench, &answer, "/results/0/retry"), "\"never\"");
    }
    return code;
}

/* {"s": "xxx..."} of so many bytes in compact form. */
static const char *document_of(size_t bytes)
{
    char *text = arena_alloc(&bench.arena, bytes + 1);
    memset(text, 'x', bytes);
    memcpy(text, "{\"s\":\"", 6);
    memcpy(text + bytes - 2, "\"}", 3);
    return text;
}

static const char *now_of(size_t bytes)
{
    return bench_text(&bench, "\"now\":%s", document_of(bytes));
}

static const char *nested(unsigned depth)
{
    struct buf buf = BUF_INIT;
    for (unsigned i = 0; i < depth; i++) {
        buf_add_text(&buf, "{\"a\":");
    }
    buf_add_text(&buf, "1");
    for (unsigned i = 0; i < depth; i++) {
        buf_add_text(&buf, "}");
    }
    const char *text = bench_text(&bench, "%s", buf.ptr);
    buf_release(&buf);
    return text;
}

static void a_document_has_a_size(void **state)
{
    (void)state;
    bench.context.limits.document_bytes = 100;
    assert_string_equal(write_code("a", now_of(100)), "");
    assert_string_equal(write_code("b", now_of(101)), "\"too_large\"");
    assert_string_equal(bench_document(&bench, "b", NULL), "");
    /* Also where only the merge of two makes it too large. */
    assert_string_equal(write_code("a", "\"was\":{},\"now\":{\"t\":1}"), "\"too_large\"");
    int64_t version;
    assert_string_equal(bench_document(&bench, "a", &version), document_of(100));
    assert_int_equal(version, 1);
}

static void what_is_over_a_limit_already_may_shrink(void **state)
{
    (void)state;
    assert_string_equal(write_code("a", now_of(200)), "");
    assert_string_equal(write_code("d", bench_text(&bench, "\"now\":%s", nested(9))), "");
    bench.context.limits.document_bytes = 150;
    bench.context.limits.depth = 4;
    assert_string_equal(write_code("a", "\"was\":{},\"now\":{\"t\":1}"), "\"too_large\"");
    /* Of one size: "s" gives way to a value as long. */
    const char *text = bench_document(&bench, "a", NULL);
    assert_string_equal(
        write_code("a", bench_text(&bench, "\"was\":%s,\"now\":{\"s\":\"%s\"}", text,
                                   bench_text(&bench, "%.*s", 192, document_of(300) + 6))),
        "");
    assert_string_equal(
        write_code("d", bench_text(&bench, "\"was\":{},\"now\":{\"b\":%s}", nested(9))),
        "\"too_deep\"");
    assert_string_equal(
        write_code("d", bench_text(&bench, "\"was\":{},\"now\":{\"b\":%s}", nested(8))), "");
}

static void a_document_has_a_depth(void **state)
{
    (void)state;
    assert_string_equal(write_code("a", bench_text(&bench, "\"now\":%s", nested(64))), "");
    assert_string_equal(write_code("b", bench_text(&bench, "\"now\":%s", nested(65))),
                        "\"too_deep\"");
}

static void a_user_has_so_many_documents(void **state)
{
    (void)state;
    bench.context.limits.keys = 2;
    assert_string_equal(write_code("a", "\"now\":{}"), "");
    assert_string_equal(write_code("b", "\"now\":{}"), "");
    assert_string_equal(write_code("c", "\"now\":{}"), "\"too_many_keys\"");
    assert_string_equal(write_code("a", "\"was\":{},\"now\":{\"n\":1}"), "");
    /* A deleted one makes room, and takes it again when it comes back. */
    struct json_value answer = bench_edits(&bench, "x",
                                           "{\"op\":1,\"prev\":0,\"id\":\"aaaaaaaaaaaaaaaa\","
                                           "\"key\":\"b\",\"base\":1,\"delete\":true}");
    assert_string_equal(bench_at(&bench, &answer, "/results/0/status"), "\"applied\"");
    assert_string_equal(write_code("c", "\"now\":{}"), "");
    assert_string_equal(write_code("b", "\"now\":{}"), "\"too_many_keys\"");
}

static void a_user_has_so_many_bytes(void **state)
{
    (void)state;
    bench.context.limits.user_bytes = 300;
    assert_string_equal(write_code("a", now_of(200)), "");
    assert_string_equal(write_code("b", now_of(101)), "\"quota\"");
    assert_string_equal(write_code("b", now_of(100)), "");
    assert_int_equal(bench_user(&bench).n_bytes, 300);
    assert_string_equal(write_code("b", "\"was\":{},\"now\":{\"t\":1}"), "\"quota\"");
    /* With the quota lowered a document may still be replaced by a smaller one. */
    bench.context.limits.user_bytes = 50;
    assert_string_equal(
        write_code("a", bench_text(&bench, "\"was\":%s,\"now\":{\"s\":1}", document_of(200))), "");
    assert_int_equal(bench_user(&bench).n_bytes, 107);
}

/* Puts the document a at a version near its end. */
static void set_version(int64_t version, int64_t seq)
{
    struct store_doc doc;
    struct store_user user = bench_user(&bench);
    struct store *store = bench.store;
    assert_int_equal(store->begin(store), BQ_OK);
    assert_int_equal(store->doc_get(store, &bench.arena, &bench.user, SLICE("a"), &doc), BQ_OK);
    doc.version = version;
    doc.seq = seq;
    user.seq = seq;
    assert_int_equal(store->doc_put(store, &bench.user, &doc), BQ_OK);
    assert_int_equal(store->user_put(store, &user), BQ_OK);
    assert_int_equal(store->commit(store), BQ_OK);
}

static void versions_end_at_an_int4(void **state)
{
    int64_t version;
    (void)state;
    assert_string_equal(write_code("a", "\"now\":{\"n\":1}"), "");
    set_version(LIMIT_VERSION - 1, 1);
    assert_string_equal(write_code("a", "\"was\":{},\"now\":{\"m\":1}"), "");
    assert_string_equal(write_code("a", "\"was\":{},\"now\":{\"k\":1}"), "\"version_limit\"");
    struct json_value answer = bench_edits(
        &bench, "x",
        bench_text(&bench,
                   "{\"op\":1,\"prev\":0,\"id\":\"aaaaaaaaaaaaaaaa\",\"key\":\"a\",\"base\":%lld,"
                   "\"delete\":true}",
                   (long long)LIMIT_VERSION));
    assert_string_equal(bench_at(&bench, &answer, "/results/0/code"), "\"version_limit\"");
    struct op op = {.kind = OP_DELETE_ALL};
    assert_int_equal(bench_run(&bench, &op), BQ_OK);
    struct json_value upserted = bench_upsert(&bench, "old", "a", NULL, "{\"z\":1}");
    assert_string_equal(bench_at(&bench, &upserted, "/success"), "false");
    assert_false(bench_v1(&bench, "{\"a\":{\"value\":{\"z\":1},\"timestamp\":\"2001-01-01\"}}"));
    assert_string_equal(bench_document(&bench, "a", &version), "{\"n\":1,\"m\":1}");
    assert_int_equal(version, LIMIT_VERSION);
}

static void sequence_numbers_end_below_2_to_the_53(void **state)
{
    (void)state;
    assert_string_equal(write_code("a", "\"now\":{\"n\":1}"), "");
    set_version(5, LIMIT_SEQ - 2);
    assert_string_equal(write_code("a", "\"was\":{},\"now\":{\"m\":1}"), "");
    assert_string_equal(write_code("a", "\"was\":{},\"now\":{\"k\":1}"), "\"version_limit\"");
    assert_true(bench_user(&bench).seq < LIMIT_SEQ);
}

static void a_sum_has_18_digits(void **state)
{
    (void)state;
    assert_string_equal(
        write_code("game_stats", "\"now\":{\"incorrectAnswers\":999999999999999999}"), "");
    assert_string_equal(
        write_code("game_stats",
                   "\"was\":{\"incorrectAnswers\":0},\"now\":{\"incorrectAnswers\":1}"),
        "\"out_of_range\"");
    assert_string_equal(bench_document(&bench, "game_stats", NULL),
                        "{\"incorrectAnswers\":999999999999999999}");
}

static void a_key_has_its_bounds(void **state)
{
    (void)state;
    assert_string_equal(write_code("_a", "\"now\":{}"), "\"bad_key\"");
    assert_string_equal(write_code("", "\"now\":{}"), "\"bad_key\"");
    assert_string_equal(write_code("\\u0001", "\"now\":{}"), "\"bad_key\"");
    assert_string_equal(write_code("\\u00e9", "\"now\":{}"), "");
    assert_int_equal(bench_user(&bench).n_keys, 1);
}

/* Answers end after about 1 MiB of documents, and go on at the next call. */
static void an_answer_holds_about_one_mebibyte(void **state)
{
    unsigned n = 0;
    const char *cursor = "0";
    (void)state;
    for (unsigned i = 0; i < 7; i++) {
        assert_string_equal(write_code(bench_text(&bench, "k%u", i), now_of(250000)), "");
    }
    for (unsigned pages = 1;; pages++) {
        struct json_value answer =
            bench_exchange(&bench, "d", bench_text(&bench, "\"p_cursor\":%s", cursor));
        const struct json_value *changes = json_get(&answer, "changes");
        assert_true(changes->count > 0 && changes->count <= 5);
        n += changes->count;
        cursor = bench_at(&bench, &answer, "/cursor");
        if (json_is(json_get(&answer, "more"), JSON_FALSE)) {
            assert_int_equal(pages, 2);
            break;
        }
    }
    assert_int_equal(n, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_document_has_a_size, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_over_a_limit_already_may_shrink, setup, teardown),
        cmocka_unit_test_setup_teardown(a_document_has_a_depth, setup, teardown),
        cmocka_unit_test_setup_teardown(a_user_has_so_many_documents, setup, teardown),
        cmocka_unit_test_setup_teardown(a_user_has_so_many_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(versions_end_at_an_int4, setup, teardown),
        cmocka_unit_test_setup_teardown(sequence_numbers_end_below_2_to_the_53, setup, teardown),
        cmocka_unit_test_setup_teardown(a_sum_has_18_digits, setup, teardown),
        cmocka_unit_test_setup_teardown(a_key_has_its_bounds, setup, teardown),
        cmocka_unit_test_setup_teardown(an_answer_holds_about_one_mebibyte, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
