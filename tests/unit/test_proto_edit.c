/* test_proto_edit.c - an edit on the wire: read strictly, printed as it was read
 * (docs/protocol.md, "Edits"). */
#include "proto/edit.h"

#include "base/limits.h"
#include "base/mem.h"
#include "base/status.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <setjmp.h>
#include <cmocka.h>

#define HEAD "\"op\":17,\"prev\":16,\"id\":\"9f3c000000000001\",\"key\":\"settings\""

static struct arena arena;

static int setup(void **state)
{
    (void)state;
    arena_init(&arena);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_release(&arena);
    return 0;
}

static struct json_value parsed(const char *text)
{
    struct json_value value;
    assert_int_equal(json_parse(&arena, slice_of(text), 80, &value, NULL), BQ_OK);
    return value;
}

/* Reads and answers the status; a refusal has to bring its status and a sentence with `word`. */
static int read_edit(const char *text, struct proto_edit *out, const char *word)
{
    struct proto_problem problem = {0};
    struct json_value value = parsed(text);
    int status = proto_edit_read(&arena, &value, out, &problem);
    if (status != BQ_OK) {
        assert_int_equal(problem.status, status);
        assert_true(problem.text[0] != '\0');
        if (word != NULL && strstr(problem.text, word) == NULL) {
            fail_msg("\"%s\" does not name %s", problem.text, word);
        }
    }
    return status;
}

static void check_refused(const char *text, int want, const char *word)
{
    struct proto_edit edit;
    int status = read_edit(text, &edit, word);
    if (status != want) {
        fail_msg("%s: %s, not %s", text, status_code(status), status_code(want));
    }
}

static void check_round_trip(const char *text)
{
    struct proto_edit edit;
    struct buf out = BUF_INIT;
    assert_int_equal(read_edit(text, &edit, NULL), BQ_OK);
    proto_edit_print(&out, &edit);
    struct json_value before = parsed(text);
    struct json_value after = parsed(out.ptr);
    if (!json_equal(&arena, &before, &after)) {
        fail_msg("%s became %s", text, out.ptr);
    }
    buf_release(&out);
}

static void every_part_is_read(void **state)
{
    struct proto_edit edit;
    (void)state;
    assert_int_equal(read_edit("{" HEAD ",\"base\":41,\"was\":{\"a\":1},\"now\":{\"a\":2},"
                               "\"whole\":[\"\",\"/a~1b/~0\"],\"epoch\":3}",
                               &edit, NULL),
                     BQ_OK);
    assert_int_equal(edit.op, 17);
    assert_int_equal(edit.prev, 16);
    assert_true(slice_is(edit.id, "9f3c000000000001"));
    assert_true(slice_is(edit.key, "settings"));
    assert_int_equal(edit.edit.base, 41);
    assert_int_equal(edit.edit.mode, MERGE_EDIT);
    assert_false(edit.edit.deletes);
    assert_true(edit.edit.has_epoch);
    assert_int_equal(edit.edit.epoch, 3);
    assert_int_equal(edit.edit.n_whole, 2);
    assert_int_equal(edit.edit.whole[0].len, 0);
    assert_true(slice_is(edit.edit.whole[1], "/a~1b/~0"));
    assert_int_equal(edit.edit.was.type, JSON_OBJECT);
    assert_int_equal(edit.edit.now.type, JSON_OBJECT);
}

static void what_was_read_is_printed(void **state)
{
    (void)state;
    check_round_trip("{" HEAD ",\"base\":41,\"was\":{\"a\":1},\"now\":{\"a\":2},\"whole\":[\"/a\"],"
                     "\"epoch\":0}");
    check_round_trip("{" HEAD ",\"base\":-1,\"was\":{\"a\":null}}");
    check_round_trip("{" HEAD ",\"base\":0,\"now\":null}");
    check_round_trip("{" HEAD ",\"base\":3,\"was\":[1],\"now\":\"\\u001f\"}");
    check_round_trip("{" HEAD ",\"base\":7,\"delete\":true}");
    check_round_trip("{" HEAD ",\"base\":7,\"delete\":true,\"epoch\":9007199254740991}");
    check_round_trip("{" HEAD ",\"base\":0,\"seed\":true,\"now\":{}}");
}

/* null is a value of a document, not a missing member. */
static void null_is_a_leaf(void **state)
{
    struct proto_edit edit;
    (void)state;
    assert_int_equal(read_edit("{" HEAD ",\"base\":1,\"was\":null,\"now\":{}}", &edit, NULL),
                     BQ_OK);
    assert_int_equal(edit.edit.was.type, JSON_NULL);
}

static void a_bad_envelope_is_malformed(void **state)
{
    (void)state;
    check_refused("[]", BQ_MALFORMED, "object");
    check_refused("null", BQ_MALFORMED, "object");
    check_refused("{\"op\":0,\"prev\":0,\"id\":\"9f3c000000000001\",\"key\":\"k\",\"now\":1}",
                  BQ_MALFORMED, "op");
    check_refused("{\"op\":1.0,\"prev\":0,\"id\":\"9f3c000000000001\",\"key\":\"k\",\"now\":1}",
                  BQ_MALFORMED, "op");
    check_refused("{\"op\":\"1\",\"prev\":0,\"id\":\"9f3c000000000001\",\"key\":\"k\",\"now\":1}",
                  BQ_MALFORMED, "op");
    check_refused("{\"op\":9007199254740992,\"prev\":0,\"id\":\"9f3c000000000001\",\"key\":\"k\","
                  "\"now\":1}",
                  BQ_MALFORMED, "op");
    check_refused("{\"prev\":0,\"id\":\"9f3c000000000001\",\"key\":\"k\",\"now\":1}", BQ_MALFORMED,
                  "op");
    check_refused("{\"op\":1,\"id\":\"9f3c000000000001\",\"key\":\"k\",\"now\":1}", BQ_MALFORMED,
                  "prev");
    check_refused("{\"op\":1,\"prev\":1,\"id\":\"9f3c000000000001\",\"key\":\"k\",\"now\":1}",
                  BQ_MALFORMED, "prev");
    check_refused("{\"op\":1,\"prev\":-1,\"id\":\"9f3c000000000001\",\"key\":\"k\",\"now\":1}",
                  BQ_MALFORMED, "prev");
    check_refused("{\"op\":1,\"prev\":0,\"id\":\"9F3C000000000001\",\"key\":\"k\",\"now\":1}",
                  BQ_MALFORMED, "id");
    check_refused("{\"op\":1,\"prev\":0,\"id\":\"9f3c00000000001\",\"key\":\"k\",\"now\":1}",
                  BQ_MALFORMED, "id");
    check_refused("{\"op\":1,\"prev\":0,\"id\":7,\"key\":\"k\",\"now\":1}", BQ_MALFORMED, "id");
}

static void a_bad_body_is_malformed(void **state)
{
    (void)state;
    check_refused("{" HEAD ",\"base\":1}", BQ_MALFORMED, "neither");
    check_refused("{" HEAD ",\"base\":1,\"delete\":false}", BQ_MALFORMED, "neither");
    check_refused("{" HEAD ",\"base\":1,\"delete\":true,\"now\":1}", BQ_MALFORMED, "delete");
    check_refused("{" HEAD ",\"base\":1,\"delete\":true,\"was\":1}", BQ_MALFORMED, "delete");
    check_refused("{" HEAD ",\"base\":1,\"delete\":true,\"seed\":true}", BQ_MALFORMED, "delete");
    check_refused("{" HEAD ",\"base\":1,\"delete\":1}", BQ_MALFORMED, "delete");
    check_refused("{" HEAD ",\"base\":0,\"seed\":true,\"was\":{},\"now\":{}}", BQ_MALFORMED,
                  "seed");
    check_refused("{" HEAD ",\"base\":0,\"seed\":true}", BQ_MALFORMED, NULL);
    check_refused("{" HEAD ",\"base\":0,\"seed\":\"v1\",\"now\":{}}", BQ_MALFORMED, "seed");
    check_refused("{" HEAD ",\"base\":-2,\"now\":1}", BQ_MALFORMED, "base");
    check_refused("{" HEAD ",\"base\":2147483648,\"now\":1}", BQ_MALFORMED, "base");
    check_refused("{" HEAD ",\"base\":\"1\",\"now\":1}", BQ_MALFORMED, "base");
    check_refused("{" HEAD ",\"base\":1,\"now\":1,\"epoch\":-1}", BQ_MALFORMED, "epoch");
    check_refused("{" HEAD ",\"base\":1,\"now\":1,\"epoch\":9007199254740992}", BQ_MALFORMED,
                  "epoch");
    check_refused("{" HEAD ",\"base\":1,\"now\":1,\"whole\":\"\"}", BQ_MALFORMED, "whole");
    check_refused("{" HEAD ",\"base\":1,\"now\":1,\"whole\":[1]}", BQ_MALFORMED, "whole");
    check_refused("{" HEAD ",\"base\":1,\"now\":1,\"whole\":[\"a\"]}", BQ_MALFORMED, "whole");
    check_refused("{" HEAD ",\"base\":1,\"now\":1,\"whole\":[\"/~2\"]}", BQ_MALFORMED, "whole");
    check_refused("{" HEAD ",\"base\":1,\"now\":1,\"whole\":[\"/~\"]}", BQ_MALFORMED, "whole");
}

static void an_unknown_member_is_unsupported_and_named(void **state)
{
    (void)state;
    check_refused("{" HEAD ",\"base\":1,\"now\":1,\"undo\":true}", BQ_UNSUPPORTED, "undo");
    /* Named although the rest is broken as well: a newer client is told what it is about. */
    check_refused("{\"op\":1,\"undo\":true}", BQ_UNSUPPORTED, "undo");
}

static void a_bad_key_is_refused_as_such(void **state)
{
    (void)state;
    check_refused("{\"op\":1,\"prev\":0,\"id\":\"9f3c000000000001\",\"key\":\"_k\",\"now\":1}",
                  BQ_BAD_KEY, NULL);
    check_refused("{\"op\":1,\"prev\":0,\"id\":\"9f3c000000000001\",\"key\":\"\",\"now\":1}",
                  BQ_BAD_KEY, NULL);
    check_refused("{\"op\":1,\"prev\":0,\"id\":\"9f3c000000000001\",\"now\":1}", BQ_BAD_KEY, NULL);
}

static void a_refused_edit_can_still_be_named(void **state)
{
    struct proto_edit edit;
    (void)state;
    assert_int_equal(read_edit("{" HEAD ",\"base\":-9,\"now\":1}", &edit, NULL), BQ_MALFORMED);
    assert_true(slice_is(edit.key, "settings"));
    assert_int_equal(edit.op, 17);
    assert_true(slice_is(edit.id, "9f3c000000000001"));
    assert_int_equal(read_edit("{\"key\":7,\"op\":\"x\",\"id\":\"zz\"}", &edit, NULL), BQ_BAD_KEY);
    assert_null(edit.key.ptr);
    assert_int_equal(edit.op, 0);
    assert_null(edit.id.ptr);
}

static void the_bare_form_needs_no_envelope(void **state)
{
    struct merge_edit edit;
    struct proto_problem problem;
    struct json_value value = parsed("{\"now\":{\"a\":1}}");
    (void)state;
    assert_int_equal(proto_edit_read_bare(&arena, &value, &edit, &problem), BQ_OK);
    assert_int_equal(edit.base, 0);
    assert_true(json_is_absent(&edit.was));
    value = parsed("{" HEAD ",\"base\":4,\"delete\":true}");
    assert_int_equal(proto_edit_read_bare(&arena, &value, &edit, &problem), BQ_OK);
    assert_true(edit.deletes);
    value = parsed("{\"now\":1,\"later\":2}");
    assert_int_equal(proto_edit_read_bare(&arena, &value, &edit, NULL), BQ_UNSUPPORTED);
}

static struct slice repeated(char c, size_t n)
{
    char *text = arena_alloc(&arena, n);
    memset(text, c, n);
    return (struct slice){text, n};
}

static void keys_and_device_ids_have_bounds(void **state)
{
    (void)state;
    assert_true(proto_key_valid(SLICE("a")));
    assert_true(proto_key_valid(SLICE("\xc3\xa9 x_y/z")));
    assert_true(proto_key_valid(repeated('k', LIMIT_KEY_BYTES)));
    assert_false(proto_key_valid(repeated('k', LIMIT_KEY_BYTES + 1)));
    assert_false(proto_key_valid(SLICE("")));
    assert_false(proto_key_valid(SLICE_NONE));
    assert_false(proto_key_valid(SLICE("_a")));
    assert_false(proto_key_valid(SLICE("a\n")));
    assert_false(proto_key_valid(SLICE("a\x7f")));
    assert_true(proto_device_valid(SLICE("_a")));
    assert_true(proto_device_valid(repeated('d', LIMIT_DEVICE_BYTES)));
    assert_false(proto_device_valid(repeated('d', LIMIT_DEVICE_BYTES + 1)));
    assert_false(proto_device_valid(SLICE("")));
    assert_false(proto_device_valid(SLICE("a\x01")));
}

static void exhausted_memory_is_told(void **state)
{
    struct proto_edit edit;
    struct proto_problem problem;
    struct json_value value = parsed("{" HEAD ",\"base\":1,\"now\":1,\"whole\":[\"/a\"]}");
    struct arena small;
    (void)state;
    arena_init(&small);
    mem_fail_at(1, 1);
    assert_int_equal(proto_edit_read(&small, &value, &edit, &problem), BQ_NOMEM);
    mem_fail_at(0, 0);
    arena_release(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_part_is_read, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_read_is_printed, setup, teardown),
        cmocka_unit_test_setup_teardown(null_is_a_leaf, setup, teardown),
        cmocka_unit_test_setup_teardown(a_bad_envelope_is_malformed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_bad_body_is_malformed, setup, teardown),
        cmocka_unit_test_setup_teardown(an_unknown_member_is_unsupported_and_named, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_bad_key_is_refused_as_such, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refused_edit_can_still_be_named, setup, teardown),
        cmocka_unit_test_setup_teardown(the_bare_form_needs_no_envelope, setup, teardown),
        cmocka_unit_test_setup_teardown(keys_and_device_ids_have_bounds, setup, teardown),
        cmocka_unit_test_setup_teardown(exhausted_memory_is_told, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
