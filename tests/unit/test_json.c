/* test_json.c - the reader, the writer, equality and look-ups (docs/protocol.md, "JSON"). */
#include "json/json.h"

#include "base/mem.h"
#include "base/status.h"
#include "json/canonical.h"
#include "json/sort.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>

#define DEPTH 64u

static int parse(struct arena *arena, const char *text, struct json_value *out)
{
    return json_parse(arena, slice_of(text), DEPTH, out, NULL);
}

/* The status of a text, whatever is in it. */
static int status_of(struct slice text)
{
    struct arena arena;
    struct json_value value;
    struct json_error error = {0};
    arena_init(&arena);
    /* A copy of its own size, so that a read behind its end is seen by the sanitizer. */
    char *copy = malloc(text.len + 1);
    memcpy(copy, text.ptr, text.len);
    char *exact = malloc(text.len > 0 ? text.len : 1);
    memcpy(exact, copy, text.len);
    int status = json_parse(&arena, (struct slice){exact, text.len}, DEPTH, &value, &error);
    assert_int_equal(error.status, status);
    if (status != BQ_OK) {
        assert_non_null(error.what);
        assert_true(error.offset <= text.len);
    }
    free(copy);
    free(exact);
    arena_release(&arena);
    return status;
}

static void check_print(const char *text, const char *want)
{
    struct arena arena;
    struct buf out = BUF_INIT;
    struct json_value value;
    arena_init(&arena);
    assert_int_equal(parse(&arena, text, &value), BQ_OK);
    assert_int_equal(json_size(&value), strlen(want));
    json_print(&out, &value);
    assert_string_equal(out.ptr, want);
    buf_release(&out);
    arena_release(&arena);
}

static void compact_form_is_printed(void **state)
{
    (void)state;
    check_print(" { \"b\" : 1 , \"a\" : [ true , false , null ] } ",
                "{\"b\":1,\"a\":[true,false,null]}");
    check_print("{}", "{}");
    check_print("[ ]", "[]");
    check_print("[1.50,-0,0e0,1E+2,12345678901234567890]",
                "[1.50,-0,0e0,1E+2,12345678901234567890]");
    check_print("\"\\/\\u0041\\u00e9\\u20ac\\ud83d\\ude00\"",
                "\"/A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"");
    check_print("\"\\u001F\\u000a\\u0008\\u000C\\u000d\\u0009\\u0022\\u005c\"",
                "\"\\u001f\\n\\b\\f\\r\\t\\\"\\\\\"");
    check_print("[{\"a\":\"\\u001f\"},{\"a\" :\"\\u001F\"}]",
                "[{\"a\":\"\\u001f\"},{\"a\":\"\\u001f\"}]");
    check_print("\"\\b\\f\\n\\r\\t\\\"\\\\ \\u007f\"", "\"\\b\\f\\n\\r\\t\\\"\\\\ \x7f\"");
}

int main(void)
{
    (void)status_of;
    const struct CMUnitTest tests[] = {cmocka_unit_test(compact_form_is_printed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
