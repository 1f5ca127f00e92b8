/* test_json.c - the reader, the writer, equality and look-ups (docs/protocol.md, "JSON"). */
#include "json/json.h"

#include "base/status.h"
#include "json/canonical.h"
#include "json/sort.h"
#include "json/sorted.h"

#include "starve.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define DEPTH 64u

/* The bytes of a literal, embedded zeros included. */
#define BYTES(literal) ((struct slice){literal, sizeof(literal) - 1})

/* Reads a text from a block of its very size, so that a read behind its end is seen by the
 * sanitizer. The caller frees *block. */
static int parse_exact(struct arena *arena, struct slice text, char **block, struct json_value *out,
                       struct json_error *error)
{
    *block = malloc(text.len > 0 ? text.len : 1);
    assert_non_null(*block);
    memcpy(*block, text.ptr, text.len);
    return json_parse(arena, (struct slice){*block, text.len}, DEPTH, out, error);
}

static int status_of(struct slice text)
{
    struct arena arena;
    struct json_value value;
    struct json_error error = {0};
    char *block;
    arena_init(&arena);
    int status = parse_exact(&arena, text, &block, &value, &error);
    assert_int_equal(error.status, status);
    assert_true(error.offset <= text.len);
    assert_true((status == BQ_OK) == (error.what == NULL));
    arena_release(&arena);
    free(block);
    return status;
}

static struct json_value parse(struct arena *arena, const char *text)
{
    struct json_value value = json_absent();
    if (json_parse(arena, slice_of(text), DEPTH, &value, NULL) != BQ_OK) {
        fail_msg("not read: %s", text);
    }
    return value;
}

static void check_print(const char *text, const char *want)
{
    struct arena arena;
    struct buf out = BUF_INIT;
    arena_init(&arena);
    struct json_value value = parse(&arena, text);
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
    check_print("{ }", "{}");
    check_print("[\t\r\n]", "[]");
    check_print("false", "false");
    check_print("[1.50,-0,0e0,1E+2,12345678901234567890]",
                "[1.50,-0,0e0,1E+2,12345678901234567890]");
    check_print("\"\\/\\u0041\\u00e9\\u20AC\\ud83d\\uDE00\"",
                "\"/A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"");
    check_print("\"\\u001F\\u000a\\u0008\\u000C\\u000d\\u0009\\u0022\\u005c\"",
                "\"\\u001f\\n\\b\\f\\r\\t\\\"\\\\\"");
    check_print("\"\\b\\f\\n\\r\\t\\\"\\\\ \\u007f\"", "\"\\b\\f\\n\\r\\t\\\"\\\\ \x7f\"");
}

/* A container keeps its text only where printing it anew would give the same. */
static void a_text_that_is_not_compact_is_not_kept(void **state)
{
    (void)state;
    check_print("[{\"a\":\"\\u001f\"},{\"a\":\"\\u001F\"}]",
                "[{\"a\":\"\\u001f\"},{\"a\":\"\\u001f\"}]");
    check_print("[[\"\\/\"],[ 1]]", "[[\"/\"],[1]]");
    check_print("[\"\\u000a\",\"\\u0041\",\"\\u0001\"]", "[\"\\n\",\"A\",\"\\u0001\"]");
    check_print("[\"\\u0022\",\"\\u005C\"]", "[\"\\\"\",\"\\\\\"]");
    check_print("{\"a\\/b\":{\"\\t\":[]}}", "{\"a/b\":{\"\\t\":[]}}");
    struct arena arena;
    arena_init(&arena);
    struct json_value value = parse(&arena, "[{\"a\":[1,2]}, {\"b\": 1}]");
    assert_int_equal(value.len, 0);
    assert_int_equal(value.items[0].len, strlen("{\"a\":[1,2]}"));
    assert_int_equal(value.items[1].len, 0);
    arena_release(&arena);
}

static void what_rfc_8259_accepts_is_accepted(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "0",
        "-0",
        "10",
        "-1.5",
        "1e5",
        "1E-5",
        "1.0e+05",
        "0.1",
        "\"\"",
        "\"a\"",
        "null",
        " true ",
        "\n[\r1 ,\t2 ]",
        "{\"\":0}",
        "[[],{},\"\",0]",
        "\"\\u0001\"",
        "\"\x7f\"",
        "\"\xc2\x80\"",
        "\"\xdf\xbf\"",
        "\"\xe0\xa0\x80\"",
        "\"\xed\x9f\xbf\"",
        "\"\xee\x80\x80\"",
        "\"\xef\xbf\xbf\"",
        "\"\xf0\x90\x80\x80\"",
        "\"\xf4\x8f\xbf\xbf\"",
        "\"\\ud800\\udc00\"",
        "\"\\uDBFF\\uDFFF\"",
        "\"\\uFFFF\"",
        "1e308",
        "1e-308",
        "1E+000000308",
        "1234567890123456789012345678901234567890",
        "0.000000000000000000000000000000000000001",
        "-0.123456789012345678901234567890123456789e-308",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (status_of(slice_of(texts[i])) != BQ_OK) {
            fail_msg("refused: %s", texts[i]);
        }
    }
}

struct refusal {
    struct slice text;
    int status;
};

static void check_refusals(const struct refusal *refusals, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int status = status_of(refusals[i].text);
        if (status != refusals[i].status) {
            fail_msg("%.*s: %s, not %s", SLICE_FMT(refusals[i].text), status_code(status),
                     status_code(refusals[i].status));
        }
    }
}

/* Not JSON, for one reason each. */
static const char *const no_json[] = {
    "",
    " ",
    "nul",
    "nulls",
    "tru",
    "True",
    "fals",
    "falsy",
    "NaN",
    "-",
    "+1",
    "01",
    "-01",
    "00",
    "1.",
    ".5",
    "-.5",
    "1.e5",
    "1e",
    "1e+",
    "1e-",
    "1E ",
    "0x1",
    "1 2",
    "[",
    "[1",
    "[1,",
    "[1,]",
    "[,1]",
    "[1 2]",
    "[1}",
    "]",
    "{",
    "{\"a\"",
    "{\"a\":",
    "{\"a\":1",
    "{\"a\":1,",
    "{\"a\":1,}",
    "{,}",
    "{a:1}",
    "{1:1}",
    "{\"a\" 1}",
    "{\"a\":}",
    "{\"a\":1]",
    "}",
    "\"",
    "\"a",
    "\"\\",
    "\"\\\"",
    "\"\\a\"",
    "\"\\u\"",
    "\"\\u12",
    "\"\\u12g4\"",
    "\"\\u 123\"",
    "\"\\u00:0\"",
    "\"\\u00@0\"",
    "\"\\u00G0\"",
    "\"\\u00`0\"",
    "'a'",
    "\xef\xbb\xbf[]",
    "[]x",
    "[] []",
    "//",
    "\f1",
    "1,",
    "[\"a\":1]",
    "{\"a\":nope}",
    "[nope]",
    "{\"a",
    "[1 \"a\"]",
};

static void what_is_no_json_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof no_json / sizeof no_json[0]; i++) {
        if (status_of(slice_of(no_json[i])) != BQ_JSON_SYNTAX) {
            fail_msg("not a syntax error: %s", no_json[i]);
        }
    }
    assert_int_equal(status_of(BYTES("[1]\0")), BQ_JSON_SYNTAX);
    assert_int_equal(status_of(BYTES("\0")), BQ_JSON_SYNTAX);
}

static void bad_strings_are_refused(void **state)
{
    (void)state;
    static const struct refusal refusals[] = {
        {BYTES("\"\\u0000\""), BQ_JSON_STRING},
        {BYTES("{\"\\u0000\":1}"), BQ_JSON_STRING},
        {BYTES("\"a\0b\""), BQ_JSON_STRING},
        {BYTES("\"a\nb\""), BQ_JSON_STRING},
        {BYTES("\"\x1f\""), BQ_JSON_STRING},
        {BYTES("\"12345678\x01\""), BQ_JSON_STRING},
        {BYTES("\"\\ud800\""), BQ_JSON_STRING},
        {BYTES("\"\\ud800x\""), BQ_JSON_STRING},
        {BYTES("\"\\ud800xxxxxx\""), BQ_JSON_STRING},
        {BYTES("\"\\ud800\\nxxxx\""), BQ_JSON_STRING},
        {BYTES("\"\\ud800\\u0041\""), BQ_JSON_STRING},
        {BYTES("\"\\ud800\\ue000\""), BQ_JSON_STRING},
        {BYTES("\"\\ud800\\ud800\""), BQ_JSON_STRING},
        {BYTES("\"\\ud800\\u12\""), BQ_JSON_STRING},
        {BYTES("\"\\ud800\\uxxxx\""), BQ_JSON_STRING},
        {BYTES("\"\\udc00\""), BQ_JSON_STRING},
        {BYTES("\"\\udfff\\ud800\""), BQ_JSON_STRING},
        {BYTES("\"\\ud800"), BQ_JSON_STRING},
    };
    check_refusals(refusals, sizeof refusals / sizeof refusals[0]);
}

static void bad_utf8_is_refused(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "\x80",
        "\xbf",
        "\xc0\x80",
        "\xc1\xbf",
        "\xc2",
        "\xc2z",
        "\xe0\x80\x80",
        "\xe0\x9f\xbf",
        "\xe1\x80",
        "\xe1\x80z",
        "\xe1z\x80",
        "\xed\xa0\x80",
        "\xed\xbf\xbf",
        "\xf0\x80\x80\x80",
        "\xf0\x8f\xbf\xbf",
        "\xf1\x80\x80",
        "\xf1\x80\x80z",
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xf8\x88\x80\x80\x80",
        "\xff",
        "\xfe",
    };
    char text[64];
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        snprintf(text, sizeof text, "\"%s\"", bodies[i]);
        assert_int_equal(status_of(slice_of(text)), BQ_JSON_UTF8);
        snprintf(text, sizeof text, "[\"some plain text %s", bodies[i]);
        assert_int_equal(status_of(slice_of(text)), BQ_JSON_UTF8);
    }
}

static void numbers_have_limits(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "12345678901234567890123456789012345678901",
        "0.0000000000000000000000000000000000000000",
        "1234567890.1234567890123456789012345678901",
        "1e309",
        "1e-309",
        "0e309",
        "1e+0309",
        "-1e99999999999999999999",
        "[1e1000]",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_int_equal(status_of(slice_of(texts[i])), BQ_JSON_NUMBER);
    }
}

static void depth_has_a_limit(void **state)
{
    (void)state;
    char text[2 * DEPTH + 8];
    for (unsigned depth = DEPTH; depth <= DEPTH + 1; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        struct slice nested = {text, (size_t)2 * depth};
        assert_int_equal(status_of(nested), depth > DEPTH ? BQ_JSON_DEPTH : BQ_OK);
    }
    assert_int_equal(json_parse(NULL, SLICE("{}"), 0, NULL, NULL), BQ_JSON_DEPTH);
    struct arena arena;
    struct json_value value;
    arena_init(&arena);
    assert_int_equal(json_parse(&arena, SLICE("1"), 0, &value, NULL), BQ_OK);
    assert_int_equal(json_parse(&arena, SLICE("[[],{}]"), 2, &value, NULL), BQ_OK);
    assert_int_equal(json_parse(&arena, SLICE("[{\"a\":[]}]"), 2, &value, NULL), BQ_JSON_DEPTH);
    arena_release(&arena);
}

static void duplicate_keys_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{\"a\":1,\"a\":2}",
        "{\"b\":1,\"a\":2,\"b\":3}",
        "{\"a\":1,\"\\u0061\":2}",
        "{\"\\u0061\":1,\"a\":2}",
        "{\"\":1,\"\":2}",
        "[{\"x\":{\"k\":0,\"j\":0,\"k\":0}}]",
        "{\"i\":0,\"h\":0,\"g\":0,\"f\":0,\"e\":0,\"d\":0,\"c\":0,\"b\":0,\"a\":0,\"e\":0}",
        "{\"i\":0,\"h\":0,\"g\":0,\"f\":0,\"e\":0,\"d\":0,\"c\":0,\"b\":0,\"a\":0,\"\\u0065\":0}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_int_equal(status_of(slice_of(texts[i])), BQ_JSON_DUPLICATE);
    }
    static const char *const unique[] = {
        "{\"a\":1,\"b\":2}",
        "{\"b\":1,\"a\":2}",
        "{\"aa\":1,\"b\":2,\"a\":3}",
        "{\"j\":0,\"i\":0,\"h\":0,\"g\":0,\"f\":0,\"e\":0,\"d\":0,\"c\":0,\"b\":0,\"a\":0}",
        "{\"prefix_2\":0,\"prefix_1\":0,\"g\":0,\"f\":0,\"e\":0,\"d\":0,\"c\":0,\"b\":0,\"a\":0}",
        "{\"a\":{\"a\":{\"a\":1}}}",
        "[{\"a\":1},{\"a\":1}]",
    };
    for (size_t i = 0; i < sizeof unique / sizeof unique[0]; i++) {
        assert_int_equal(status_of(slice_of(unique[i])), BQ_OK);
    }
}

static void errors_say_where(void **state)
{
    (void)state;
    struct arena arena;
    struct json_value value;
    struct json_error error;
    arena_init(&arena);
    const char *text = "{\n  \"a\": 1,\n  \"b\": nope\n}";
    assert_int_equal(json_parse(&arena, slice_of(text), DEPTH, &value, &error), BQ_JSON_SYNTAX);
    assert_int_equal(error.line, 3);
    assert_int_equal(error.column, 8);
    assert_int_equal(error.offset, 19);
    text = "{\"a\":1,\n\"b\":2,\"a\":3}";
    assert_int_equal(json_parse(&arena, slice_of(text), DEPTH, &value, &error), BQ_JSON_DUPLICATE);
    assert_int_equal(error.line, 2);
    assert_int_equal(error.column, 8);
    assert_int_equal(json_parse(&arena, SLICE_NONE, DEPTH, &value, &error), BQ_JSON_SYNTAX);
    assert_string_equal(error.what, "the text ends too early");
    struct slice huge = {"", (size_t)UINT32_MAX + 1};
    assert_int_equal(json_parse(&arena, huge, DEPTH, &value, &error), BQ_TOO_LARGE);
    arena_release(&arena);
}

/* What was read lies in the text and the arena, and is what was written. */
static void values_are_what_was_written(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    struct json_value value =
        parse(&arena, "{\"s\":\"plain\",\"e\":\"a\\\"b\\ud83d\\ude00\",\"n\":-1.50,\"l\":[1,[]]}");
    assert_int_equal(value.type, JSON_OBJECT);
    assert_int_equal(value.count, 4);
    assert_true(slice_is(json_text(json_get(&value, "s")), "plain"));
    assert_false(json_get(&value, "s")->escape);
    assert_true(slice_is(json_text(json_get(&value, "e")), "a\"b\xf0\x9f\x98\x80"));
    assert_true(json_get(&value, "e")->escape);
    assert_true(slice_is(json_text(json_get(&value, "n")), "-1.50"));
    assert_int_equal(json_get(&value, "l")->items[1].type, JSON_ARRAY);
    assert_null(json_get(&value, "x"));
    assert_null(json_get(json_get(&value, "s"), "x"));
    assert_null(json_get_slice(NULL, SLICE("x")));
    assert_int_equal(json_depth(&value), 3);
    assert_int_equal(json_depth(json_get(&value, "n")), 0);
    arena_release(&arena);
}

static void builders_make_values(void **state)
{
    (void)state;
    struct arena arena;
    struct buf out = BUF_INIT;
    arena_init(&arena);
    struct json_value items[] = {json_null(),
                                 json_bool(true),
                                 json_bool(false),
                                 json_int(&arena, 0),
                                 json_int(&arena, INT64_MIN),
                                 json_int(&arena, INT64_MAX),
                                 json_string(SLICE("a\"\x01\xc3\xa9")),
                                 json_absent()};
    struct json_member member = json_member("k\n", json_array(items, 8));
    struct json_value value = json_object(&member, 1);
    json_print(&out, &value);
    assert_string_equal(out.ptr, "{\"k\\n\":[null,true,false,0,-9223372036854775808,"
                                 "9223372036854775807,\"a\\\"\\u0001\xc3\xa9\",null]}");
    assert_int_equal(json_size(&value), out.len);
    buf_clear(&out);
    json_print_string(&out, SLICE("tab\t"));
    json_print_string(&out, SLICE(""));
    assert_string_equal(out.ptr, "\"tab\\t\"\"\"");
    buf_clear(&out);
    struct json_value empty = json_object(NULL, 0);
    json_print(&out, &empty);
    assert_string_equal(out.ptr, "{}");
    assert_true(json_is_absent(NULL));
    assert_true(json_is_absent(&items[7]));
    assert_false(json_is_absent(&items[0]));
    assert_false(json_is(NULL, JSON_NULL));
    buf_release(&out);
    arena_release(&arena);
}

static void integers_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_int;
        int64_t value;
    } cases[] = {
        {"0", true, 0},
        {"-0", true, 0},
        {"42", true, 42},
        {"-42", true, -42},
        {"9223372036854775807", true, INT64_MAX},
        {"-9223372036854775808", true, INT64_MIN},
        {"9223372036854775808", false, 0},
        {"-9223372036854775809", false, 0},
        {"92233720368547758070", false, 0},
        {"1.0", false, 0},
        {"1e3", false, 0},
        {"\"1\"", false, 0},
        {"true", false, 0},
    };
    struct arena arena;
    arena_init(&arena);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct json_value value = parse(&arena, cases[i].text);
        int64_t got = 0;
        assert_int_equal(json_to_int(&value, &got), cases[i].is_int);
        assert_int_equal(got, cases[i].value);
    }
    int64_t untouched = 7;
    assert_false(json_to_int(NULL, &untouched));
    assert_int_equal(untouched, 7);
    arena_release(&arena);
}

static void members_are_sorted_at_every_depth(void **state)
{
    struct arena arena;
    struct json_value sorted;
    struct buf out = BUF_INIT;
    (void)state;
    arena_init(&arena);
    struct json_value value =
        parse(&arena, "{\"b\":[{\"z\":1.50,\"a\":null},[],true],\"\":{},"
                      "\"a\":{\"y\":\"t\",\"x\":{}}}");
    assert_int_equal(json_sorted(&arena, &value, &sorted), BQ_OK);
    json_print(&out, &sorted);
    buf_add_char(&out, '\0');
    assert_string_equal(out.ptr, "{\"\":{},\"a\":{\"x\":{},\"y\":\"t\"},"
                                 "\"b\":[{\"a\":null,\"z\":1.50},[],true]}");
    buf_release(&out);
    arena_release(&arena);
}

/* Both ways to tell equality agree: the comparison and the canonical text. */
static bool equal(struct arena *arena, const char *a, const char *b)
{
    struct json_value left = parse(arena, a);
    struct json_value right = parse(arena, b);
    struct buf texts[2] = {BUF_INIT, BUF_INIT};
    json_canonical(&texts[0], arena, &left);
    json_canonical(&texts[1], arena, &right);
    bool is_equal = json_equal(arena, &left, &right);
    assert_int_equal(json_equal(arena, &right, &left), is_equal);
    assert_int_equal(slice_equal(buf_slice(&texts[0]), buf_slice(&texts[1])), is_equal);
    buf_release(&texts[0]);
    buf_release(&texts[1]);
    return is_equal;
}

static void equality_is_by_value(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    static const char *const same[][2] = {
        {"1", "1.0"},
        {"-0", "0e5"},
        {"100", "1e2"},
        {"0.1", "1e-1"},
        {"\"a\"", "\"\\u0061\""},
        {"null", " null"},
        {"true", "true"},
        {"false", "false"},
        {"[]", "[ ]"},
        {"{}", "{ }"},
        {"[1,[2]]", "[1.0,[2e0]]"},
        {"{\"a\":1,\"b\":[2]}", "{\"b\":[2.0],\"a\":1}"},
        {"{\"a\":{\"x\":1,\"y\":2}}", "{\"a\":{\"y\":2, \"x\":1}}"},
        {"12345678901234567890123456789", "1234567890123456789012345678.90e1"},
    };
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        assert_true(equal(&arena, same[i][0], same[i][1]));
    }
    static const char *const other[][2] = {
        {"1", "\"1\""},
        {"1", "-1"},
        {"0", "null"},
        {"true", "false"},
        {"[]", "{}"},
        {"[1]", "[1,1]"},
        {"[1,2]", "[2,1]"},
        {"{\"a\":1}", "{\"a\":2}"},
        {"{\"a\":1}", "{\"b\":1}"},
        {"{\"a\":1}", "{\"a\":1,\"b\":2}"},
        {"9007199254740992", "9007199254740993"},
        {"\"a\"", "\"b\""},
        {"\"a\"", "\"ab\""},
        {"[[1]]", "[[2]]"},
        {"null", "false"},
    };
    for (size_t i = 0; i < sizeof other / sizeof other[0]; i++) {
        assert_false(equal(&arena, other[i][0], other[i][1]));
    }
    struct json_value absent = json_absent();
    struct json_value null = json_null();
    assert_true(json_equal(&arena, &absent, &absent));
    assert_false(json_equal(&arena, &absent, &null));
    struct json_value value = parse(&arena, "{ \"a\": [1, {}]}");
    assert_true(json_equal(&arena, &value, &value));
    arena_release(&arena);
}

/* An object of n members, named in an order that is not theirs. */
static struct json_value scrambled(struct arena *arena, uint32_t n, uint32_t step)
{
    struct json_member *members = arena_alloc(arena, n * sizeof *members);
    assert_non_null(members);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t k = (uint32_t)(((uint64_t)i * step + 7) % n);
        struct json_value number = json_int(arena, k);
        members[i] = (struct json_member){json_string(json_text(&number)), number};
    }
    return json_object(members, n);
}

static void a_finder_finds_all_and_nothing_else(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    for (uint32_t n = 1; n < 60; n++) {
        struct json_value object = scrambled(&arena, n, 1);
        struct json_finder finder;
        json_finder_init(&finder, &object);
        for (unsigned round = 0; round < 8; round++) {
            for (uint32_t i = 0; i < n; i++) {
                uint32_t k = round % 2 == 0 ? i : n - 1 - i;
                const struct json_member *member = &object.members[k];
                assert_ptr_equal(json_finder_find(&finder, &arena, json_text(&member->key)),
                                 member);
                assert_null(json_finder_find(&finder, &arena, SLICE("no")));
            }
        }
    }
    struct json_finder finder;
    struct json_value empty = json_object(NULL, 0);
    struct json_value number = json_int(&arena, 1);
    const struct json_value *const nothing[] = {NULL, &empty, &number};
    for (size_t i = 0; i < 3; i++) {
        json_finder_init(&finder, nothing[i]);
        assert_null(json_finder_find(&finder, &arena, SLICE("a")));
    }
    arena_release(&arena);
}

/* The work of n look-ups in the least convenient order, as the finder counts it. */
static uint64_t steps_of(uint32_t n)
{
    struct arena arena;
    arena_init(&arena);
    struct json_value object = scrambled(&arena, n, 1);
    struct json_value asked = scrambled(&arena, n, 7919);
    struct json_finder finder;
    json_finder_init(&finder, &object);
    for (uint32_t i = 0; i < n; i++) {
        assert_non_null(json_finder_find(&finder, &arena, json_text(&asked.members[i].key)));
    }
    uint64_t steps = finder.steps;
    assert_true(n < 100 || finder.sorted != NULL);
    arena_release(&arena);
    return steps;
}

/* Ten times the members, at most twelve times the work: what is not counted is a binary search. */
static void ten_times_the_members_are_not_a_hundred_times_the_work(void **state)
{
    (void)state;
    assert_true(steps_of(40000) <= 12 * steps_of(4000));
    assert_true(steps_of(40000) <= UINT64_C(40000) * 6);
}

/* CPU time to read and compare a text of n scrambled members, the least of a few tries. */
static double seconds_of(uint32_t n)
{
    struct arena arena;
    struct buf text = BUF_INIT;
    struct buf other = BUF_INIT;
    arena_init(&arena);
    struct json_value one = scrambled(&arena, n, 7919);
    struct json_value two = scrambled(&arena, n, 104729);
    json_print(&text, &one);
    json_print(&other, &two);
    double best = 1e9;
    for (int i = 0; i < 5; i++) {
        struct arena scratch;
        struct json_value a;
        struct json_value b;
        arena_init(&scratch);
        clock_t start = clock();
        assert_int_equal(json_parse(&scratch, buf_slice(&text), DEPTH, &a, NULL), BQ_OK);
        assert_int_equal(json_parse(&scratch, buf_slice(&other), DEPTH, &b, NULL), BQ_OK);
        assert_true(json_equal(&scratch, &a, &b));
        double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
        best = seconds < best ? seconds : best;
        arena_release(&scratch);
    }
    buf_release(&text);
    buf_release(&other);
    arena_release(&arena);
    return best;
}

/* A quadratic reader would need a hundred times as long; caches and pages are allowed for. */
static void scrambled_members_are_read_in_about_linear_time(void **state)
{
    (void)state;
    double small = seconds_of(4000);
    double large = seconds_of(40000);
    print_message("4,000 members %.2f ms, 40,000 members %.2f ms\n", small * 1e3, large * 1e3);
    assert_true(large < 40 * (small + 0.0005));
}

static int order_ints(const void *a, const void *b)
{
    const int *left = a;
    const int *right = b;
    return *left / 10 - *right / 10;
}

/* Equal elements (same tens) keep their order. */
static void sorting_is_stable(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    for (int n = 0; n < 70; n++) {
        int values[70];
        struct sort_item sorted[70];
        const void *pointers[70];
        for (int i = 0; i < n; i++) {
            values[i] = ((i * 37 + n) % 7) * 10 + i % 10;
            sorted[i] = (struct sort_item){(uint64_t)values[i] / 40, &values[i]};
            pointers[i] = &values[i];
        }
        assert_true(sort_items(&arena, sorted, (size_t)n, order_ints));
        assert_true(sort_pointers(&arena, pointers, (size_t)n, order_ints));
        for (int i = 1; i < n; i++) {
            const int *left = sorted[i - 1].item;
            const int *right = sorted[i].item;
            assert_ptr_equal(pointers[i], right);
            int order = order_ints(left, right);
            assert_true(order < 0 || (order == 0 && left < right));
        }
    }
    arena_release(&arena);
}

static const char *const hungry =
    "{\"z\":[1,2,{\"q\":\"\\n\"}],\"y\":{},\"x\":1,\"w\":1,\"v\":1,\"u\":1,\"t\":1,\"s\":1,"
    "\"r\":[0,1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9,"
    "0,1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9]}";

static int starved_parse(struct arena *arena, void *state)
{
    struct json_value untouched = {.type = JSON_STRING, .count = 12345};
    struct json_error error;
    int status = json_parse(arena, slice_of(state), DEPTH, &untouched, &error);
    if (status != BQ_OK) {
        assert_int_equal(untouched.count, 12345);
        assert_int_equal(error.status, BQ_NOMEM);
    }
    return status;
}

static int starved_print(struct arena *arena, void *state)
{
    const struct json_value *value = state;
    struct buf out = BUF_INIT;
    json_print(&out, value);
    json_print_string(&out, SLICE("text"));
    json_canonical(&out, arena, value);
    int status = out.failed || arena_failed(arena) ? BQ_NOMEM : BQ_OK;
    buf_release(&out);
    return status;
}

static int starved_sort(struct arena *arena, void *state)
{
    static const int values[3] = {30, 20, 10};
    const void *pointers[3] = {&values[0], &values[1], &values[2]};
    (void)state;
    return sort_pointers(arena, pointers, 3, order_ints) ? BQ_OK : BQ_NOMEM;
}

/* Compares two objects of one content and opposite order; an answer counts only with memory. */
static int starved_sorted(struct arena *arena, void *state)
{
    struct json_value sorted;
    return json_sorted(arena, state, &sorted);
}

static int starved_equal(struct arena *arena, void *state)
{
    const struct json_value *pair = state;
    bool is_equal = json_equal(arena, &pair[0], &pair[1]);
    if (arena_failed(arena)) {
        return BQ_NOMEM;
    }
    assert_true(is_equal);
    return BQ_OK;
}

static void memory_may_end_anywhere(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    struct buf many = BUF_INIT;
    starve(starved_parse, (void *)(uintptr_t)hungry);
    /* The stack of the reader is full at a key, and at a value. */
    for (int odd = 0; odd < 2; odd++) {
        buf_clear(&many);
        buf_add_text(&many, odd == 0 ? "[{\"k0\":0" : "[1,{\"k0\":0");
        for (int i = 1; i < 40; i++) {
            buf_add_format(&many, ",\"k%d\":%d", i, i);
        }
        buf_add_text(&many, "}]");
        starve(starved_parse, many.ptr);
    }
    buf_release(&many);
    struct json_value value = parse(&arena, hungry);
    value.len = 0;
    starve(starved_print, &value);
    struct json_value pair[2] = {scrambled(&arena, 40, 1), scrambled(&arena, 40, 17)};
    starve(starved_equal, pair);
    starve(starved_sort, NULL);
    starve(starved_sorted, &value);
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compact_form_is_printed),
        cmocka_unit_test(members_are_sorted_at_every_depth),
        cmocka_unit_test(a_text_that_is_not_compact_is_not_kept),
        cmocka_unit_test(what_rfc_8259_accepts_is_accepted),
        cmocka_unit_test(what_is_no_json_is_refused),
        cmocka_unit_test(bad_strings_are_refused),
        cmocka_unit_test(bad_utf8_is_refused),
        cmocka_unit_test(numbers_have_limits),
        cmocka_unit_test(depth_has_a_limit),
        cmocka_unit_test(duplicate_keys_are_refused),
        cmocka_unit_test(errors_say_where),
        cmocka_unit_test(values_are_what_was_written),
        cmocka_unit_test(builders_make_values),
        cmocka_unit_test(integers_are_read),
        cmocka_unit_test(equality_is_by_value),
        cmocka_unit_test(a_finder_finds_all_and_nothing_else),
        cmocka_unit_test(ten_times_the_members_are_not_a_hundred_times_the_work),
        cmocka_unit_test(scrambled_members_are_read_in_about_linear_time),
        cmocka_unit_test(sorting_is_stable),
        cmocka_unit_test(memory_may_end_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
