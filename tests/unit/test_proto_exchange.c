/* test_proto_exchange.c - sync_exchange on the wire, both directions
 * (docs/protocol.md, "sync_exchange"). */
#include "proto/exchange.h"

#include "base/mem.h"
#include "base/status.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <setjmp.h>
#include <cmocka.h>

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

static struct json_value parsed_buf(struct buf *buf)
{
    struct slice copy = arena_copy(&arena, buf_slice(buf));
    buf_release(buf);
    return parsed(copy.ptr);
}

/* ---- The request ----------------------------------------------------------------------------- */

static int read_request(const char *text, struct proto_exchange *out, const char *word)
{
    struct proto_problem problem = {0};
    struct json_value value = parsed(text);
    int status = proto_exchange_read(&arena, &value, out, &problem);
    if (status != BQ_OK) {
        assert_int_equal(problem.status, status);
        if (strstr(problem.text, word) == NULL) {
            fail_msg("\"%s\" does not name %s", problem.text, word);
        }
    }
    return status;
}

static void a_request_survives_the_wire(void **state)
{
    struct proto_exchange sent = {.device_id = SLICE("bq-\"1\""),
                                  .epoch = SLICE("ab.0"),
                                  .cursor = -7,
                                  .limit = 12,
                                  .policies = 3,
                                  .proto = 1};
    struct slice edits[] = {SLICE("{\"op\":1}"), SLICE("{\"op\":2}")};
    struct proto_exchange got;
    struct proto_problem problem;
    struct buf out = BUF_INIT;
    (void)state;
    proto_exchange_print(&out, &sent, edits, 2);
    struct json_value value = parsed_buf(&out);
    assert_int_equal(proto_exchange_read(&arena, &value, &got, &problem), BQ_OK);
    assert_true(slice_equal(got.device_id, sent.device_id));
    assert_true(slice_equal(got.epoch, sent.epoch));
    assert_int_equal(got.cursor, -7);
    assert_int_equal(got.limit, 12);
    assert_int_equal(got.policies, 3);
    assert_int_equal(got.proto, 1);
    assert_int_equal(got.n_edits, 2);
    assert_int_equal(json_get(&got.edits[1], "op")->type, JSON_NUMBER);
}

static void what_is_left_out_has_its_default(void **state)
{
    struct proto_exchange got;
    (void)state;
    assert_int_equal(
        read_request("{\"p_device_id\":\"d\",\"p_epoch\":null,\"p_edits\":null}", &got, ""), BQ_OK);
    assert_null(got.epoch.ptr);
    assert_int_equal(got.cursor, 0);
    assert_int_equal(got.limit, LIMIT_CHANGES);
    assert_int_equal(got.policies, 0);
    assert_int_equal(got.proto, 1);
    assert_int_equal(got.n_edits, 0);
    /* More rows than the server ever gives is a wish, not a mistake. */
    assert_int_equal(read_request("{\"p_device_id\":\"d\",\"p_limit\":100000}", &got, ""), BQ_OK);
    assert_int_equal(got.limit, LIMIT_CHANGES);
}

static void a_wrong_parameter_is_named(void **state)
{
    struct proto_exchange got;
    (void)state;
    assert_int_equal(read_request("{}", &got, "p_device_id"), BQ_MALFORMED);
    assert_int_equal(read_request("{\"p_device_id\":\"\"}", &got, "p_device_id"), BQ_MALFORMED);
    assert_int_equal(read_request("{\"p_device_id\":1}", &got, "p_device_id"), BQ_MALFORMED);
    assert_int_equal(read_request("{\"p_device_id\":\"d\",\"p_epoch\":1}", &got, "p_epoch"),
                     BQ_MALFORMED);
    assert_int_equal(read_request("{\"p_device_id\":\"d\",\"p_edits\":{}}", &got, "p_edits"),
                     BQ_MALFORMED);
    assert_int_equal(read_request("{\"p_device_id\":\"d\",\"p_cursor\":1.5}", &got, "p_cursor"),
                     BQ_MALFORMED);
    assert_int_equal(
        read_request("{\"p_device_id\":\"d\",\"p_cursor\":9007199254740993}", &got, "p_cursor"),
        BQ_MALFORMED);
    assert_int_equal(read_request("{\"p_device_id\":\"d\",\"p_limit\":0}", &got, "p_limit"),
                     BQ_MALFORMED);
    assert_int_equal(read_request("{\"p_device_id\":\"d\",\"p_policies\":-1}", &got, "p_policies"),
                     BQ_MALFORMED);
    assert_int_equal(read_request("{\"p_device_id\":\"d\",\"p_proto\":2}", &got, "p_proto"),
                     BQ_MALFORMED);
}

static void too_many_edits_are_refused_as_such(void **state)
{
    struct proto_exchange got;
    struct buf out = BUF_INIT;
    (void)state;
    for (unsigned n = LIMIT_EDITS; n <= LIMIT_EDITS + 1; n++) {
        struct proto_problem problem;
        buf_clear(&out);
        buf_add_text(&out, "{\"p_device_id\":\"d\",\"p_edits\":[");
        for (unsigned i = 0; i < n; i++) {
            buf_add_text(&out, i == 0 ? "1" : ",1");
        }
        buf_add_text(&out, "]}");
        struct json_value value = parsed(out.ptr);
        assert_int_equal(proto_exchange_read(&arena, &value, &got, &problem),
                         n > LIMIT_EDITS ? BQ_TOO_MANY_EDITS : BQ_OK);
    }
    buf_release(&out);
}

/* ---- The answer ------------------------------------------------------------------------------ */

#define ANSWER_HEAD                                                                                \
    "\"epoch\":\"e.0\",\"status\":\"ok\",\"server_time\":\"2026-03-05T14:11:38+00:00\","           \
    "\"policies\":1,\"cursor\":184,\"more\":false,\"complete\":false"

static int read_answer(const char *text, struct proto_answer *out, const char *word)
{
    struct proto_problem problem = {0};
    struct json_value value = parsed(text);
    int status = proto_answer_read(&arena, &value, out, &problem);
    if (status != BQ_OK) {
        assert_int_equal(problem.status, status);
        if (strstr(problem.text, word) == NULL) {
            fail_msg("\"%s\" does not name %s", problem.text, word);
        }
    }
    return status;
}

static struct proto_answer example(void)
{
    static struct proto_result results[3];
    static struct proto_change changes[2];
    results[0] = (struct proto_result){
        .key = SLICE("settings"), .op = 17, .status = PROTO_APPLIED, .version = 42};
    results[1] = (struct proto_result){.key = SLICE("gone"),
                                       .op = 2,
                                       .status = PROTO_KEPT,
                                       .version = 5,
                                       .has_data = true,
                                       .deleted = true,
                                       .data = json_object(NULL, 0)};
    results[2] = (struct proto_result){.key = SLICE("notes"),
                                       .op = 3,
                                       .status = PROTO_REFUSED,
                                       .version = 0,
                                       .has_data = true,
                                       .data = json_absent(),
                                       .code = BQ_TOO_LARGE,
                                       .message = SLICE("300 KiB, the limit is 256 KiB")};
    changes[0] = (struct proto_change){.key = SLICE("a\"b"),
                                       .version = 7,
                                       .seq = 181,
                                       .op = 3,
                                       .id = SLICE("9f3c000000000001"),
                                       .refused = BQ_QUOTA,
                                       .data = parsed("{\"x\":[1,2.50]}"),
                                       .device_id = SLICE("bq-1"),
                                       .modified_us = INT64_C(1772719898123456)};
    changes[1] = (struct proto_change){.key = SLICE("c"),
                                       .version = 1,
                                       .seq = 182,
                                       .id = SLICE_NONE,
                                       .deleted = true,
                                       .data = json_object(NULL, 0),
                                       .device_id = SLICE_NONE,
                                       .modified_us = 1};
    return (struct proto_answer){.epoch = SLICE("e.0"),
                                 .epoch_changed = true,
                                 .server_time_us = INT64_C(1772719898000000),
                                 .policies = 3,
                                 .cursor = -183,
                                 .more = true,
                                 .complete = true,
                                 .results = results,
                                 .n_results = 3,
                                 .changes = changes,
                                 .n_changes = 2};
}

static void check_results(const struct proto_answer *got)
{
    assert_int_equal(got->n_results, 3);
    assert_true(slice_is(got->results[0].key, "settings"));
    assert_int_equal(got->results[0].op, 17);
    assert_int_equal(got->results[0].status, PROTO_APPLIED);
    assert_int_equal(got->results[0].version, 42);
    assert_false(got->results[0].has_data);
    assert_int_equal(got->results[0].code, BQ_OK);
    assert_int_equal(got->results[1].status, PROTO_KEPT);
    assert_true(got->results[1].deleted);
    assert_true(got->results[1].has_data);
    assert_int_equal(got->results[2].status, PROTO_REFUSED);
    assert_int_equal(got->results[2].code, BQ_TOO_LARGE);
    assert_true(slice_is(got->results[2].message, "300 KiB, the limit is 256 KiB"));
    assert_true(got->results[2].has_data);
    assert_true(json_is_absent(&got->results[2].data));
}

static void check_changes(const struct proto_answer *got)
{
    assert_int_equal(got->n_changes, 2);
    const struct proto_change *first = &got->changes[0];
    assert_true(slice_is(first->key, "a\"b"));
    assert_int_equal(first->version, 7);
    assert_int_equal(first->seq, 181);
    assert_int_equal(first->op, 3);
    assert_true(slice_is(first->id, "9f3c000000000001"));
    assert_int_equal(first->refused, BQ_QUOTA);
    assert_false(first->deleted);
    assert_true(slice_is(first->device_id, "bq-1"));
    assert_int_equal(first->modified_us, INT64_C(1772719898123456));
    struct json_value want = parsed("{\"x\":[1,2.5]}");
    assert_true(json_equal(&arena, &first->data, &want));
    assert_int_equal(got->changes[1].op, 0);
    assert_null(got->changes[1].id.ptr);
    assert_null(got->changes[1].device_id.ptr);
    assert_true(got->changes[1].deleted);
    assert_int_equal(got->changes[1].refused, BQ_OK);
}

static void an_answer_survives_the_wire(void **state)
{
    struct proto_answer got;
    struct proto_problem problem;
    struct buf out = BUF_INIT;
    struct proto_answer sent = example();
    (void)state;
    proto_answer_print(&out, &sent);
    struct json_value value = parsed_buf(&out);
    assert_int_equal(proto_answer_read(&arena, &value, &got, &problem), BQ_OK);
    assert_true(slice_is(got.epoch, "e.0"));
    assert_true(got.epoch_changed);
    assert_int_equal(got.server_time_us, INT64_C(1772719898000000));
    assert_int_equal(got.policies, 3);
    assert_int_equal(got.cursor, -183);
    assert_true(got.more);
    assert_true(got.complete);
    check_results(&got);
    check_changes(&got);
}

static void a_refusal_says_when_to_try_again(void **state)
{
    struct buf out = BUF_INIT;
    struct proto_answer sent = example();
    (void)state;
    proto_answer_print(&out, &sent);
    assert_non_null(strstr(out.ptr, "\"code\":\"too_large\""));
    assert_non_null(strstr(out.ptr, "\"retry\":\"never\""));
    assert_non_null(strstr(out.ptr, "\"refused\":\"quota\""));
    buf_release(&out);
}

static void every_status_word_is_known_to_both_sides(void **state)
{
    static const char *const words[] = {"applied", "merged",    "duplicate", "kept",
                                        "rewound", "forgotten", "refused"};
    (void)state;
    for (int i = PROTO_APPLIED; i <= PROTO_REFUSED; i++) {
        struct proto_result result = {.key = SLICE("k"),
                                      .op = 1,
                                      .status = (enum proto_result_status)i,
                                      .version = 1,
                                      .has_data = i != PROTO_APPLIED,
                                      .data = json_object(NULL, 0),
                                      .code = i == PROTO_REFUSED ? BQ_QUOTA : BQ_OK};
        struct proto_answer sent = {.epoch = SLICE("e"), .results = &result, .n_results = 1};
        struct proto_answer got;
        struct proto_problem problem;
        struct buf out = BUF_INIT;
        char want[64];
        proto_answer_print(&out, &sent);
        snprintf(want, sizeof want, "\"status\":\"%s\"", words[i]);
        assert_non_null(strstr(out.ptr, want));
        struct json_value value = parsed_buf(&out);
        assert_int_equal(proto_answer_read(&arena, &value, &got, &problem), BQ_OK);
        assert_int_equal(got.results[0].status, i);
    }
}

static void a_duplicate_of_a_refusal_carries_its_code(void **state)
{
    struct proto_answer got;
    (void)state;
    assert_int_equal(read_answer("{" ANSWER_HEAD ",\"results\":[{\"key\":\"k\",\"op\":1,\"status\":"
                                 "\"duplicate\",\"code\":\"too_deep\",\"version\":2,\"data\":{}}],"
                                 "\"changes\":[]}",
                                 &got, ""),
                     BQ_OK);
    assert_int_equal(got.results[0].status, PROTO_DUPLICATE);
    assert_int_equal(got.results[0].code, BQ_TOO_DEEP);
}

static void unknown_members_are_ignored(void **state)
{
    struct proto_answer got;
    (void)state;
    assert_int_equal(
        read_answer("{" ANSWER_HEAD ",\"hint\":[1],\"results\":[{\"key\":\"k\",\"op\":1,"
                    "\"status\":\"applied\",\"version\":2,\"why\":7}],"
                    "\"changes\":[{\"data_key\":\"k\",\"version\":1,\"seq\":1,\"op\":0,"
                    "\"id\":null,\"deleted\":false,\"data\":1,\"size\":9}]}",
                    &got, ""),
        BQ_OK);
    assert_int_equal(got.n_results, 1);
    assert_int_equal(got.n_changes, 1);
}

static void an_odd_answer_is_not_of_this_protocol(void **state)
{
    static const struct {
        const char *text;
        const char *word;
    } cases[] = {
        {"[]", ""},
        {"{}", "epoch"},
        {"{\"epoch\":\"e\",\"status\":\"later\",\"cursor\":1}", "status"},
        {"{\"epoch\":\"e\",\"status\":\"ok\"}", "cursor"},
        {"{" ANSWER_HEAD ",\"results\":{}}", "results"},
        {"{" ANSWER_HEAD
         ",\"results\":[{\"key\":\"k\",\"op\":1,\"status\":\"won\",\"version\":1}]}",
         "status"},
        {"{" ANSWER_HEAD ",\"results\":[{\"key\":\"k\",\"op\":1,\"status\":\"merged\","
         "\"version\":1}]}",
         "data"},
        {"{" ANSWER_HEAD ",\"results\":[{\"key\":\"k\",\"op\":1,\"status\":\"refused\","
         "\"version\":1,\"data\":{}}]}",
         "code"},
        {"{" ANSWER_HEAD ",\"results\":[{\"op\":1,\"status\":\"applied\",\"version\":1}]}", "key"},
        {"{" ANSWER_HEAD ",\"results\":[{\"key\":\"k\",\"op\":1,\"status\":\"applied\","
         "\"version\":-1}]}",
         "version"},
        {"{" ANSWER_HEAD ",\"changes\":[{\"data_key\":\"k\",\"version\":-1,\"seq\":1,\"data\":1}]}",
         "version"},
        {"{" ANSWER_HEAD ",\"changes\":[{\"data_key\":\"k\",\"version\":1,\"seq\":0,\"data\":1}]}",
         "seq"},
        {"{" ANSWER_HEAD ",\"changes\":[{\"data_key\":\"_k\",\"version\":1,\"seq\":1,\"data\":1}]}",
         "key"},
        {"{" ANSWER_HEAD ",\"changes\":[{\"data_key\":\"k\",\"version\":1,\"seq\":1}]}", "data"},
        {"{" ANSWER_HEAD ",\"changes\":[{\"data_key\":\"k\",\"version\":1,\"seq\":1,\"data\":1,"
         "\"modified_at\":\"yesterday\"}]}",
         "modified_at"},
        {"{" ANSWER_HEAD ",\"changes\":[7]}", ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct proto_answer got;
        if (read_answer(cases[i].text, &got, cases[i].word) != BQ_PROTOCOL) {
            fail_msg("%s was taken", cases[i].text);
        }
    }
}

static void exhausted_memory_is_told(void **state)
{
    struct json_value value = parsed("{" ANSWER_HEAD ",\"results\":[{\"key\":\"k\",\"op\":1,"
                                     "\"status\":\"applied\",\"version\":2}],\"changes\":[]}");
    struct proto_answer got;
    struct proto_problem problem;
    struct arena small;
    (void)state;
    arena_init(&small);
    mem_fail_at(1, 1);
    assert_int_equal(proto_answer_read(&small, &value, &got, &problem), BQ_NOMEM);
    mem_fail_at(0, 0);
    arena_release(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_request_survives_the_wire, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_left_out_has_its_default, setup, teardown),
        cmocka_unit_test_setup_teardown(a_wrong_parameter_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(too_many_edits_are_refused_as_such, setup, teardown),
        cmocka_unit_test_setup_teardown(an_answer_survives_the_wire, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refusal_says_when_to_try_again, setup, teardown),
        cmocka_unit_test_setup_teardown(every_status_word_is_known_to_both_sides, setup, teardown),
        cmocka_unit_test_setup_teardown(a_duplicate_of_a_refusal_carries_its_code, setup, teardown),
        cmocka_unit_test_setup_teardown(unknown_members_are_ignored, setup, teardown),
        cmocka_unit_test_setup_teardown(an_odd_answer_is_not_of_this_protocol, setup, teardown),
        cmocka_unit_test_setup_teardown(exhausted_memory_is_told, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
