/* read.c - see read.h. */
#include "proto/read.h"

#include "base/status.h"
#include "base/timestamp.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

int proto_problem_set(struct proto_problem *problem, int status, const char *format, ...)
{
    if (problem != NULL) {
        va_list args;
        va_start(args, format);
        problem->status = status;
        (void)vsnprintf(problem->text, sizeof problem->text, format, args);
        va_end(args);
    }
    return status;
}

/* Absent and null are one thing on this wire, as in SQL. */
static const struct json_value *member(const struct json_value *object, const char *name)
{
    const struct json_value *value = json_get(object, name);
    return json_is(value, JSON_NULL) ? NULL : value;
}

static int missing(const char *name, struct proto_problem *problem)
{
    return proto_problem_set(problem, BQ_MALFORMED, "\"%s\" is missing", name);
}

int proto_read_int(const struct json_value *object, const char *name, struct proto_range range,
                   int64_t otherwise, int64_t *out, struct proto_problem *problem)
{
    const struct json_value *value = member(object, name);
    int64_t number;
    if (value == NULL) {
        *out = otherwise;
        return BQ_OK;
    }
    if (!json_to_int(value, &number) || number < range.least || number > range.most) {
        return proto_problem_set(problem, BQ_MALFORMED,
                                 "\"%s\" is not an integer from %" PRId64 " to %" PRId64, name,
                                 range.least, range.most);
    }
    *out = number;
    return BQ_OK;
}

int proto_need_int(const struct json_value *object, const char *name, struct proto_range range,
                   int64_t *out, struct proto_problem *problem)
{
    if (member(object, name) == NULL) {
        return missing(name, problem);
    }
    return proto_read_int(object, name, range, 0, out, problem);
}

int proto_read_text(const struct json_value *object, const char *name, struct slice *out,
                    struct proto_problem *problem)
{
    const struct json_value *value = member(object, name);
    if (value == NULL) {
        *out = SLICE_NONE;
        return BQ_OK;
    }
    if (value->type != JSON_STRING) {
        return proto_problem_set(problem, BQ_MALFORMED, "\"%s\" is not a string", name);
    }
    *out = json_text(value);
    return BQ_OK;
}

int proto_need_text(const struct json_value *object, const char *name, struct slice *out,
                    struct proto_problem *problem)
{
    if (member(object, name) == NULL) {
        return missing(name, problem);
    }
    return proto_read_text(object, name, out, problem);
}

int proto_read_bool(const struct json_value *object, const char *name, bool *out,
                    struct proto_problem *problem)
{
    const struct json_value *value = member(object, name);
    if (value != NULL && value->type != JSON_TRUE && value->type != JSON_FALSE) {
        return proto_problem_set(problem, BQ_MALFORMED, "\"%s\" is neither true nor false", name);
    }
    *out = json_is(value, JSON_TRUE);
    return BQ_OK;
}

int proto_read_array(const struct json_value *object, const char *name,
                     const struct json_value **out_items, uint32_t *out_n,
                     struct proto_problem *problem)
{
    const struct json_value *value = member(object, name);
    *out_items = NULL;
    *out_n = 0;
    if (value == NULL) {
        return BQ_OK;
    }
    if (value->type != JSON_ARRAY) {
        return proto_problem_set(problem, BQ_MALFORMED, "\"%s\" is not an array", name);
    }
    *out_items = value->items;
    *out_n = value->count;
    return BQ_OK;
}

int proto_read_time(const struct json_value *object, const char *name, int64_t *out_us,
                    struct proto_problem *problem)
{
    struct slice text = SLICE_NONE;
    int status = proto_read_text(object, name, &text, problem);
    *out_us = 0;
    if (status != BQ_OK || text.ptr == NULL) {
        return status;
    }
    if (!timestamp_parse(text, out_us)) {
        return proto_problem_set(problem, BQ_MALFORMED, "\"%s\" is not a timestamp", name);
    }
    return BQ_OK;
}

/* ---- Printing -------------------------------------------------------------------------------- */

void proto_print_name(struct buf *out, bool first, const char *name)
{
    buf_add_char(out, first ? '{' : ',');
    buf_add_char(out, '"');
    buf_add_text(out, name);
    buf_add_text(out, "\":");
}

void proto_print_int(struct buf *out, const char *name, int64_t value)
{
    proto_print_name(out, false, name);
    buf_add_int(out, value);
}

void proto_print_bool(struct buf *out, const char *name, bool value)
{
    proto_print_name(out, false, name);
    buf_add_text(out, value ? "true" : "false");
}

void proto_print_value(struct buf *out, const char *name, const struct json_value *value)
{
    proto_print_name(out, false, name);
    if (json_is_absent(value)) {
        buf_add_text(out, "null");
    } else {
        json_print(out, value);
    }
}

void proto_print_time(struct buf *out, const char *name, int64_t time_us)
{
    char text[TIMESTAMP_TEXT];
    proto_print_name(out, false, name);
    buf_add_char(out, '"');
    buf_add(out, text, timestamp_print(time_us, text));
    buf_add_char(out, '"');
}

void proto_print_text(struct buf *out, const char *name, struct slice text)
{
    proto_print_name(out, false, name);
    if (text.ptr == NULL) {
        buf_add_text(out, "null");
    } else {
        json_print_string(out, text);
    }
}
