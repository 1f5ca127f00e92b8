/* test_log.c - a log line is one line of JSON, whatever a peer put into it
 * (docs/security.md, H5). */
#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

static char seen[2 * LOG_LINE_BYTES];
static int n_seen;

static void sink(void *cls, const char *line, size_t len)
{
    (void)cls;
    assert_true(len < sizeof seen);
    memcpy(seen, line, len);
    seen[len] = '\0';
    n_seen++;
}

static const struct log info_log = {sink, NULL, LOG_LEVEL_INFO};

static void a_line_has_time_level_event_and_members(void **state)
{
    (void)state;
    struct log_line line;
    log_begin(&line, &info_log, LOG_LEVEL_WARN, INT64_C(1772719898123456), "start");
    log_add_text(&line, "route", SLICE("/healthz"));
    log_add_int(&line, "status", -5);
    log_end(&line);
    assert_string_equal(seen, "{\"time\":\"2026-03-05T14:11:38.123+00:00\",\"level\":\"warn\","
                              "\"event\":\"start\",\"route\":\"/healthz\",\"status\":-5}\n");
}

static void controls_quotes_and_bad_utf8_cannot_break_a_line(void **state)
{
    (void)state;
    struct log_line line;
    log_begin(&line, &info_log, LOG_LEVEL_INFO, 0, "e");
    log_add_text(&line, "v", SLICE("a\"b\\c\nd\r\x01\x7f" "\xc3\xa4\xff\xed\xa0\x80\xc0\xaf"));
    log_end(&line);
    assert_non_null(strstr(seen, "\"v\":\"a\\\"b\\\\c\\u000ad\\u000d\\u0001\\u007f\xc3\xa4"
                                 "\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\"}\n"));
    assert_ptr_equal(strchr(seen, '\n'), seen + strlen(seen) - 1);
}

static void a_long_value_is_cut(void **state)
{
    (void)state;
    static char big[LOG_VALUE_BYTES + 100];
    struct log_line line;
    memset(big, 'x', sizeof big);
    log_begin(&line, &info_log, LOG_LEVEL_INFO, 0, "e");
    log_add_text(&line, "v", (struct slice){big, sizeof big});
    log_end(&line);
    assert_non_null(strstr(seen, "x...\"}\n"));
    assert_true(strlen(seen) < LOG_VALUE_BYTES + 120);
}

static void a_line_too_long_drops_whole_members(void **state)
{
    (void)state;
    static char controls[LOG_VALUE_BYTES];
    struct log_line line;
    memset(controls, 1, sizeof controls);
    log_begin(&line, &info_log, LOG_LEVEL_INFO, 0, "e");
    log_add_text(&line, "huge", (struct slice){controls, sizeof controls}); /* 6 bytes each */
    log_add_int(&line, "after", 7);
    log_end(&line);
    assert_null(strstr(seen, "huge"));
    assert_non_null(strstr(seen, "\"after\":7,\"cut\":true}\n"));
    assert_true(strlen(seen) <= LOG_LINE_BYTES);
}

static void a_level_that_is_off_reaches_no_sink(void **state)
{
    (void)state;
    struct log_line line;
    n_seen = 0;
    log_begin(&line, &info_log, LOG_LEVEL_DEBUG, 0, "e");
    log_add_int(&line, "n", 1);
    log_end(&line);
    log_begin(&line, NULL, LOG_LEVEL_ERROR, 0, "e");
    log_end(&line);
    assert_int_equal(n_seen, 0);
}

static void words_of_levels(void **state)
{
    (void)state;
    enum log_level level;
    assert_true(log_level_parse(SLICE("debug"), &level));
    assert_int_equal(level, LOG_LEVEL_DEBUG);
    assert_false(log_level_parse(SLICE("loud"), &level));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_has_time_level_event_and_members),
        cmocka_unit_test(controls_quotes_and_bad_utf8_cannot_break_a_line),
        cmocka_unit_test(a_long_value_is_cut),
        cmocka_unit_test(a_line_too_long_drops_whole_members),
        cmocka_unit_test(a_level_that_is_off_reaches_no_sink),
        cmocka_unit_test(words_of_levels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
