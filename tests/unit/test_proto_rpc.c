/* test_proto_rpc.c - reports, and the answers of the older calls to the letter
 * (docs/protocol.md, "Calls"). */
#include "proto/rpc.h"

#include "base/limits.h"
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

/* ---- sync_report ---------------------------------------------------------------------------- */

static int read_report(const char *text, struct proto_report *out, const char *word)
{
    struct proto_problem problem = {0};
    struct json_value value = parsed(text);
    int status = proto_report_read(&arena, &value, out, &problem);
    if (status != BQ_OK) {
        assert_int_equal(problem.status, status);
        if (strstr(problem.text, word) == NULL) {
            fail_msg("\"%s\" does not name %s", problem.text, word);
        }
    }
    return status;
}

static void a_report_survives_the_wire(void **state)
{
    struct proto_dead dead = {.key = SLICE("notes"),
                              .op = 3,
                              .id = SLICE("9f3c000000000001"),
                              .code = BQ_TOO_LARGE,
                              .message = SLICE("over \"the\" limit"),
                              .edit = parsed("{\"op\":3,\"now\":{\"a\":1.50}}"),
                              .failed_at_ms = INT64_C(1772719898123)};
    struct proto_report sent = {.device_id = SLICE("bq-1"),
                                .info = parsed("{\"name\":\"x\"}"),
                                .replaces = SLICE("bq-0"),
                                .failed = &dead,
                                .n_failed = 1};
    struct proto_report got;
    struct buf out = BUF_INIT;
    (void)state;
    proto_report_print(&out, &sent);
    assert_int_equal(read_report(out.ptr, &got, ""), BQ_OK);
    assert_true(slice_is(got.device_id, "bq-1"));
    assert_true(slice_is(got.replaces, "bq-0"));
    assert_true(json_equal(&arena, &got.info, &sent.info));
    assert_int_equal(got.n_failed, 1);
    assert_true(slice_is(got.failed[0].key, "notes"));
    assert_int_equal(got.failed[0].op, 3);
    assert_true(slice_is(got.failed[0].id, "9f3c000000000001"));
    assert_int_equal(got.failed[0].code, BQ_TOO_LARGE);
    assert_true(slice_is(got.failed[0].message, "over \"the\" limit"));
    assert_true(json_equal(&arena, &got.failed[0].edit, &dead.edit));
    assert_int_equal(got.failed[0].failed_at_ms, INT64_C(1772719898123));
    buf_release(&out);
}

static void a_bare_report_has_its_defaults(void **state)
{
    struct proto_report got;
    (void)state;
    assert_int_equal(read_report("{\"p_device_id\":\"d\"}", &got, ""), BQ_OK);
    assert_int_equal(got.info.type, JSON_OBJECT);
    assert_int_equal(got.info.count, 0);
    assert_null(got.replaces.ptr);
    assert_int_equal(got.n_failed, 0);
}

static void a_wrong_report_is_malformed(void **state)
{
    struct proto_report got;
    (void)state;
    assert_int_equal(read_report("{}", &got, "p_device_id"), BQ_MALFORMED);
    assert_int_equal(read_report("{\"p_device_id\":\"\"}", &got, "p_device_id"), BQ_MALFORMED);
    assert_int_equal(
        read_report("{\"p_device_id\":\"d\",\"p_device_info\":[]}", &got, "p_device_info"),
        BQ_MALFORMED);
    assert_int_equal(
        read_report("{\"p_device_id\":\"d\",\"p_replaces\":\"\\u0001\"}", &got, "p_replaces"),
        BQ_MALFORMED);
    assert_int_equal(read_report("{\"p_device_id\":\"d\",\"p_failed\":{}}", &got, "p_failed"),
                     BQ_MALFORMED);
    assert_int_equal(read_report("{\"p_device_id\":\"d\",\"p_failed\":[1]}", &got, "key"),
                     BQ_MALFORMED);
    assert_int_equal(read_report("{\"p_device_id\":\"d\",\"p_failed\":[{\"key\":\"k\","
                                 "\"code\":\"quota\"}]}",
                                 &got, "edit"),
                     BQ_MALFORMED);
}

/* count dead letters with a message of so many bytes each. */
static int many_dead(unsigned count, size_t bytes)
{
    struct proto_report got;
    struct buf out = BUF_INIT;
    buf_add_text(&out, "{\"p_device_id\":\"d\",\"p_failed\":[");
    for (unsigned i = 0; i < count; i++) {
        buf_add_text(&out, i == 0 ? "" : ",");
        buf_add_text(&out, "{\"key\":\"k\",\"code\":\"quota\",\"edit\":{},\"message\":\"");
        for (size_t k = 0; k < bytes; k++) {
            buf_add_char(&out, 'x');
        }
        buf_add_text(&out, "\"}");
    }
    buf_add_text(&out, "]}");
    int status = read_report(out.ptr, &got, "dead letters");
    buf_release(&out);
    return status;
}

static void dead_letters_have_their_limits(void **state)
{
    (void)state;
    assert_int_equal(many_dead(LIMIT_DEAD_LETTERS, 1), BQ_OK);
    assert_int_equal(many_dead(LIMIT_DEAD_LETTERS + 1, 1), BQ_MALFORMED);
    assert_int_equal(many_dead(2, LIMIT_DEAD_BYTES / 2 - 100), BQ_OK);
    assert_int_equal(many_dead(2, LIMIT_DEAD_BYTES / 2), BQ_MALFORMED);
}

/* ---- Answers of the older calls ------------------------------------------------------------- */

static void check_text(struct buf *out, const char *want)
{
    assert_string_equal(out->ptr, want);
    buf_release(out);
}

static void an_upsert_is_answered_as_v2_did(void **state)
{
    static const char *const actions[] = {"inserted", "updated", "merged"};
    struct buf out = BUF_INIT;
    char want[128];
    (void)state;
    for (int i = PROTO_INSERTED; i <= PROTO_MERGED_ACTION; i++) {
        struct proto_upserted upserted = {.success = true,
                                          .version = 7,
                                          .conflict = i == PROTO_MERGED_ACTION,
                                          .data = parsed("{\"a\":1}"),
                                          .action = (enum proto_action)i};
        proto_upserted_print(&out, &upserted);
        (void)snprintf(want, sizeof want,
                       "{\"success\":true,\"version\":7,\"conflict\":%s,\"data\":{\"a\":1},"
                       "\"action\":\"%s\"}",
                       i == PROTO_MERGED_ACTION ? "true" : "false", actions[i]);
        check_text(&out, want);
    }
    struct proto_upserted failed = {.success = false, .error = SLICE("no \"room\"")};
    proto_upserted_print(&out, &failed);
    check_text(&out, "{\"success\":false,\"error\":\"no \\\"room\\\"\",\"conflict\":false}");
}

static void rows_are_printed_as_postgrest_does(void **state)
{
    struct buf out = BUF_INIT;
    struct proto_row rows[] = {
        {SLICE("a"), parsed("{\"n\":1.50}"), 3, SLICE("d"), INT64_C(1772719898123456)},
        {SLICE("b"), parsed("[]"), 1, SLICE_NONE, INT64_C(1772719898000000)}};
    struct proto_device device = {SLICE("d"), INT64_C(1772719898120000), 7, parsed("{}")};
    (void)state;
    proto_rows_print(&out, NULL, 0);
    check_text(&out, "[]");
    proto_rows_print(&out, rows, 2);
    check_text(&out, "[{\"data_key\":\"a\",\"data\":{\"n\":1.50},\"version\":3,\"device_id\":\"d\","
                     "\"modified_at\":\"2026-03-05T14:11:38.123456+00:00\"},"
                     "{\"data_key\":\"b\",\"data\":[],\"version\":1,\"device_id\":null,"
                     "\"modified_at\":\"2026-03-05T14:11:38+00:00\"}]");
    proto_devices_print(&out, &device, 1);
    check_text(&out, "[{\"device_id\":\"d\",\"last_sync_at\":\"2026-03-05T14:11:38.12+00:00\","
                     "\"last_sync_version\":7,\"device_info\":{}}]");
}

static void an_error_has_four_members_in_postgrests_order(void **state)
{
    struct buf out = BUF_INIT;
    (void)state;
    proto_error_print(&out, "42501", "permission denied", NULL, NULL);
    check_text(&out, "{\"code\":\"42501\",\"details\":null,\"hint\":null,"
                     "\"message\":\"permission denied\"}");
    proto_error_print(&out, "PGRST202", "m", "d", "h");
    check_text(&out, "{\"code\":\"PGRST202\",\"details\":\"d\",\"hint\":\"h\",\"message\":\"m\"}");
}

static void exhausted_memory_is_told(void **state)
{
    struct json_value value = parsed("{\"p_device_id\":\"d\",\"p_failed\":[{\"key\":\"k\","
                                     "\"code\":\"quota\",\"edit\":{}}]}");
    struct proto_report got;
    struct arena small;
    (void)state;
    arena_init(&small);
    mem_fail_at(1, 1);
    assert_int_equal(proto_report_read(&small, &value, &got, NULL), BQ_NOMEM);
    mem_fail_at(0, 0);
    arena_release(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_report_survives_the_wire, setup, teardown),
        cmocka_unit_test_setup_teardown(a_bare_report_has_its_defaults, setup, teardown),
        cmocka_unit_test_setup_teardown(a_wrong_report_is_malformed, setup, teardown),
        cmocka_unit_test_setup_teardown(dead_letters_have_their_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(an_upsert_is_answered_as_v2_did, setup, teardown),
        cmocka_unit_test_setup_teardown(rows_are_printed_as_postgrest_does, setup, teardown),
        cmocka_unit_test_setup_teardown(an_error_has_four_members_in_postgrests_order, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(exhausted_memory_is_told, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
