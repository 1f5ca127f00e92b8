/* want.c - see want.h. */
#include "want.h"

#include "base/status.h"
#include "json/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void expect_text(const struct json_value *object, const char *name, const char *want)
{
    const struct json_value *value = json_get(object, name);
    assert_non_null(value);
    if (want == NULL) {
        assert_int_equal(value->type, JSON_NULL);
    } else {
        assert_int_equal(value->type, JSON_STRING);
        struct slice text = json_text(value);
        if (!slice_is(text, want)) {
            fail_msg("%s is \"%.*s\", not \"%s\"", name, SLICE_FMT(text), want);
        }
    }
}

void want_problem(const struct http_answer *answer, const struct want *want)
{
    static const char *const order[] = {"code", "details", "hint", "message"};
    struct arena arena;
    struct json_value object;
    arena_init(&arena);
    if (answer->status != want->status) {
        fail_msg("status %d, not %d: %s", answer->status, want->status, answer->body);
    }
    assert_string_equal(http_field(answer, "Content-Type"), "application/json; charset=utf-8");
    assert_int_equal(json_parse(&arena, slice_of(answer->body), 8, &object, NULL), BQ_OK);
    assert_int_equal(object.type, JSON_OBJECT);
    assert_int_equal(object.count, 4);
    for (uint32_t i = 0; i < 4; i++) {
        assert_true(slice_is(json_text(&object.members[i].key), order[i]));
    }
    expect_text(&object, "code", want->code);
    expect_text(&object, "message", want->message);
    expect_text(&object, "details", want->details);
    expect_text(&object, "hint", want->hint);
    arena_release(&arena);
}

void want_refused(unsigned port, const struct http_request *request, struct want want)
{
    struct http_answer answer;
    struct http_request sent = *request;
    sent.port = port;
    http_call(&sent, &answer);
    want_problem(&answer, &want);
    http_release(&answer);
}
