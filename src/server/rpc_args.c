/* rpc_args.c - see rpc_args.h. */
#include "server/rpc_args.h"

#include "base/status.h"
#include "base/utf8.h"


#define SHOWN_BYTES 200u /* of a bad value in a sentence */

/* Names that are PostgREST's own in a query, and the key of the gateway. */
static bool is_reserved(struct slice name)
{
    static const char *const reserved[] = {"select", "order",       "limit", "offset", "columns",
                                           "apikey", "on_conflict", "and",   "or"};
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++) {
        if (slice_is(name, reserved[i])) {
            return true;
        }
    }
    return false;
}

static bool refuse_body(const struct rpc_input *input, const struct json_error *where,
                        struct problem *problem)
{
    const char *details = where == NULL
                              ? "the body is to be an object of named parameters"
                              : problem_format(input->arena, "line %u, column %u: %s", where->line,
                                               where->column, where->what);
    *problem = problem_detailed(400, "PGRST102", "Empty or invalid json", details);
    return false;
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_blank(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (!is_space(text.ptr[i])) {
            return false;
        }
    }
    return true;
}

/* The body as an object; an empty body and null are no arguments. */
static bool read_body(const struct rpc_input *input, struct json_value *out,
                      struct problem *problem)
{
    struct json_error where;
    *out = json_object(NULL, 0);
    if (is_blank(input->body)) {
        return true;
    }
    struct json_value value;
    int status = json_parse(input->arena, input->body, input->depth, &value, &where);
    if (status == BQ_NOMEM) {
        *problem = problem_of_status(input->arena, status, "");
        return false;
    }
    if (status != BQ_OK) {
        return refuse_body(input, &where, problem);
    }
    if (value.type == JSON_NULL) {
        return true;
    }
    *out = value;
    return value.type == JSON_OBJECT || refuse_body(input, NULL, problem);
}

/* The query as an object of strings; of several of one name the last counts. */
static bool read_query(const struct rpc_input *input, struct json_value *out,
                       struct problem *problem)
{
    uint32_t n = 0;
    struct json_member *members = arena_zalloc(input->arena, URI_QUERY_MAX + 1, sizeof *members);
    for (unsigned i = 0; members != NULL && i < input->uri->n_query; i++) {
        const struct uri_pair *pair = &input->uri->query[i];
        uint32_t at = 0;
        while (at < n && !slice_equal(json_text(&members[at].key), pair->name)) {
            at++;
        }
        if (is_reserved(pair->name)) {
            continue;
        }
        members[at].key = json_string(pair->name);
        members[at].value = json_string(pair->value);
        n += at == n;
    }
    if (members == NULL) {
        *problem = problem_of_status(input->arena, BQ_NOMEM, "");
        return false;
    }
    *out = json_object(members, n);
    return true;
}

/* A POST is told everything by its body: a filter in the query would be passed over silently. */
static bool query_is_harmless(const struct rpc_input *input, struct problem *problem)
{
    for (unsigned i = 0; !input->get && i < input->uri->n_query; i++) {
        const struct uri_pair *pair = &input->uri->query[i];
        if (slice_is(pair->name, "apikey") || slice_is(pair->name, "columns") ||
            (slice_is(pair->name, "select") && slice_is(pair->value, "*"))) {
            continue;
        }
        int shown = pair->name.len > SHOWN_BYTES ? 0 : (int)pair->name.len;
        *problem = problem_detailed(
            400, "PGRST100",
            problem_format(input->arena, "\"failed to parse filter (%.*s)\" (line 1, column 1)",
                           shown, pair->name.ptr),
            "results of functions are not filtered here");
        return false;
    }
    return true;
}

static bool fits(const struct rpc_function *function, const struct json_value *given,
                 struct rpc_args *args)
{
    bool seen[RPC_PARAMS_MAX] = {false};
    for (unsigned i = 0; i < RPC_PARAMS_MAX; i++) {
        args->values[i] = json_absent();
    }
    for (uint32_t i = 0; i < given->count; i++) {
        int at = rpc_param_index(function, json_text(&given->members[i].key));
        if (at < 0) {
            return false;
        }
        args->values[at] = given->members[i].value;
        seen[at] = true;
    }
    for (unsigned i = 0; i < function->n_params; i++) {
        if (!seen[i] && !function->params[i].optional) {
            return false;
        }
    }
    return true;
}

bool rpc_match(const struct rpc_input *input, const struct rpc_function **out_function,
               struct rpc_args *out, struct problem *problem)
{
    struct json_value given;
    if (!query_is_harmless(input, problem) ||
        !(input->get ? read_query : read_body)(input, &given, problem)) {
        return false;
    }
    const struct rpc_function *function = rpc_find(input->name);
    if (function != NULL && fits(function, &given, out)) {
        *out_function = function;
        return true;
    }
    struct slice *names = arena_alloc(input->arena, (given.count + 1) * sizeof *names);
    if (names == NULL) {
        *problem = problem_of_status(input->arena, BQ_NOMEM, "");
        return false;
    }
    for (uint32_t i = 0; i < given.count; i++) {
        names[i] = json_text(&given.members[i].key);
    }
    *problem = rpc_not_found(input->arena, input->name, names, given.count, input->get);
    return false;
}

static bool refuse_value(const struct rpc_input *input, const char *code, const char *format,
                         struct slice text, struct problem *problem)
{
    size_t len = text.len > SHOWN_BYTES ? SHOWN_BYTES : text.len;
    while (len < text.len && len > 0 && ((unsigned char)text.ptr[len] & 0xc0) == 0x80) {
        len--;
    }
    struct slice shown = arena_copy(input->arena, (struct slice){text.ptr, len});
    struct buf message = BUF_INIT;
    const char *at = strchr(format, '$'); /* stands for the value */
    buf_add(&message, format, (size_t)(at - format));
    buf_add_slice(&message, shown);
    buf_add_text(&message, at + 1);
    *problem = problem_of(400, code, problem_format(input->arena, "%s",
                                                    message.ptr == NULL ? "" : message.ptr));
    buf_release(&message);
    return false;
}

/* What json_to_record hands to a type's input function. */
static struct slice text_of(struct arena *arena, const struct json_value *value)
{
    if (value->type == JSON_STRING || value->type == JSON_NUMBER) {
        return json_text(value);
    }
    struct buf text = BUF_INIT;
    json_print(&text, value);
    struct slice copy = text.failed ? SLICE_NONE : arena_copy(arena, buf_slice(&text));
    buf_release(&text);
    return copy;
}

/* PostgreSQL's int4in and int8in: blanks around, a sign, digits. 0, BQ_INVALID or
 * BQ_OUT_OF_RANGE. */
static int read_int(struct slice text, int64_t min, int64_t max, int64_t *out)
{
    size_t i = 0;
    size_t end = text.len;
    uint64_t value = 0;
    bool large = false;
    while (i < end && is_space(text.ptr[i])) {
        i++;
    }
    while (end > i && is_space(text.ptr[end - 1])) {
        end--;
    }
    bool minus = i < end && text.ptr[i] == '-';
    i += i < end && (text.ptr[i] == '-' || text.ptr[i] == '+');
    if (i == end) {
        return BQ_INVALID;
    }
    for (; i < end; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9') {
            return BQ_INVALID;
        }
        large = large || value > (uint64_t)INT64_MAX / 10;
        value = large ? value : value * 10 + (uint64_t)(text.ptr[i] - '0');
    }
    uint64_t bound = minus ? 0 - (uint64_t)min : (uint64_t)max;
    if (large || value > bound) {
        return BQ_OUT_OF_RANGE;
    }
    *out = minus ? (int64_t)(0 - value) : (int64_t)value;
    return BQ_OK;
}

static bool convert_int(const struct rpc_input *input, struct slice text, bool four,
                        struct json_value *value, struct problem *problem)
{
    int64_t number;
    int status = read_int(text, four ? INT32_MIN : INT64_MIN, four ? INT32_MAX : INT64_MAX,
                          &number);
    if (status == BQ_INVALID) {
        return refuse_value(input, "22P02",
                            four ? "invalid input syntax for type integer: \"$\""
                                 : "invalid input syntax for type bigint: \"$\"", text, problem);
    }
    if (status == BQ_OUT_OF_RANGE) {
        return refuse_value(input, "22003",
                            four ? "value \"$\" is out of range for type integer"
                                 : "value \"$\" is out of range for type bigint", text, problem);
    }
    *value = json_int(input->arena, number);
    return true;
}

static bool convert_uuid(const struct rpc_input *input, struct slice text, struct json_value *value,
                         struct problem *problem)
{
    struct uuid uuid;
    if (!uuid_parse(text, &uuid)) {
        return refuse_value(input, "22P02", "invalid input syntax for type uuid: \"$\"", text,
                            problem);
    }
    *value = json_string(arena_copy(input->arena, uuid_slice(&uuid)));
    return true;
}

/* A query carries the JSON of a jsonb argument as text; a body carries it as itself. */
static bool convert_json(const struct rpc_input *input, struct json_value *value,
                         struct problem *problem)
{
    struct json_value parsed;
    if (!input->get) {
        return true;
    }
    if (json_parse(input->arena, json_text(value), input->depth, &parsed, NULL) != BQ_OK) {
        *problem = problem_of(400, "22P02", "invalid input syntax for type json");
        return false;
    }
    *value = parsed.type == JSON_NULL ? json_absent() : parsed;
    return true;
}

static bool is_text(struct slice text)
{
    for (struct slice rest = text; rest.len > 0;) {
        size_t n = utf8_length(rest);
        if (n == 0 || rest.ptr[0] == '\0') {
            return false;
        }
        rest.ptr += n;
        rest.len -= n;
    }
    return true;
}

static bool convert(const struct rpc_input *input, enum rpc_type type, struct json_value *value,
                    struct problem *problem)
{
    if (type == RPC_JSONB) {
        return convert_json(input, value, problem);
    }
    struct slice text = text_of(input->arena, value);
    if (!is_text(text)) {
        *problem = problem_of(400, "22021", "invalid byte sequence for encoding \"UTF8\"");
        return false;
    }
    if (type == RPC_UUID) {
        return convert_uuid(input, text, value, problem);
    }
    if (type == RPC_TEXT) {
        *value = json_string(text);
        return true;
    }
    return convert_int(input, text, type == RPC_INT4, value, problem);
}

bool rpc_convert(const struct rpc_input *input, const struct rpc_function *function,
                 struct rpc_args *args, struct problem *problem)
{
    for (unsigned i = 0; i < function->n_params; i++) {
        struct json_value *value = &args->values[i];
        if (value->type == JSON_NULL) {
            *value = json_absent();
        }
        if (value->type != JSON_ABSENT &&
            !convert(input, function->params[i].type, value, problem)) {
            return false;
        }
    }
    if (arena_failed(input->arena)) {
        *problem = problem_of_status(input->arena, BQ_NOMEM, "");
        return false;
    }
    return true;
}

struct slice rpc_text(const struct json_value *value)
{
    return json_is(value, JSON_STRING) ? json_text(value) : SLICE_NONE;
}

int64_t rpc_int(const struct json_value *value, int64_t absent)
{
    int64_t number = absent;
    json_to_int(value, &number);
    return number;
}
