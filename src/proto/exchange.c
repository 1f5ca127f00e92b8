/* exchange.c - see exchange.h. */
#include "proto/exchange.h"

#include "base/status.h"
#include "proto/read.h"

static const char *const result_words[] = {
    [PROTO_APPLIED] = "applied", [PROTO_MERGED] = "merged",   [PROTO_DUPLICATE] = "duplicate",
    [PROTO_KEPT] = "kept",       [PROTO_REWOUND] = "rewound", [PROTO_FORGOTTEN] = "forgotten",
    [PROTO_REFUSED] = "refused",
};

/* ---- The request ----------------------------------------------------------------------------- */

void proto_exchange_print(struct buf *out, const struct proto_exchange *request,
                          const struct slice *edits, uint32_t n_edits)
{
    proto_print_name(out, true, "p_device_id");
    json_print_string(out, request->device_id);
    proto_print_text(out, "p_epoch", request->epoch);
    proto_print_name(out, false, "p_edits");
    buf_add_char(out, '[');
    for (uint32_t i = 0; i < n_edits; i++) {
        if (i > 0) {
            buf_add_char(out, ',');
        }
        buf_add_slice(out, edits[i]);
    }
    buf_add_char(out, ']');
    proto_print_int(out, "p_cursor", request->cursor);
    proto_print_int(out, "p_limit", request->limit);
    proto_print_int(out, "p_policies", request->policies);
    proto_print_int(out, "p_proto", request->proto);
    buf_add_char(out, '}');
}

static int read_numbers(const struct json_value *params, struct proto_exchange *out,
                        struct proto_problem *problem)
{
    static const struct proto_range any_cursor = {-LIMIT_SEQ, LIMIT_SEQ};
    static const struct proto_range any_limit = {1, INT64_MAX};
    static const struct proto_range any_version = {0, LIMIT_SEQ};
    static const struct proto_range any_proto = {1, 1};
    int status = proto_read_int(params, "p_cursor", any_cursor, 0, &out->cursor, problem);
    if (status == BQ_OK) {
        status = proto_read_int(params, "p_limit", any_limit, LIMIT_CHANGES, &out->limit, problem);
    }
    if (status == BQ_OK) {
        status = proto_read_int(params, "p_policies", any_version, 0, &out->policies, problem);
    }
    if (status == BQ_OK) {
        status = proto_read_int(params, "p_proto", any_proto, 1, &out->proto, problem);
    }
    if (status == BQ_OK && out->limit > LIMIT_CHANGES) {
        out->limit = LIMIT_CHANGES;
    }
    return status;
}

int proto_exchange_read(struct arena *arena, const struct json_value *params,
                        struct proto_exchange *out, struct proto_problem *problem)
{
    struct proto_exchange request = {0};
    (void)arena;
    int status = proto_need_text(params, "p_device_id", &request.device_id, problem);
    if (status == BQ_OK && !proto_device_valid(request.device_id)) {
        status = proto_problem_set(problem, BQ_MALFORMED,
                                   "\"p_device_id\" is not 1 to %u bytes without controls",
                                   LIMIT_DEVICE_BYTES);
    }
    if (status == BQ_OK) {
        status = proto_read_text(params, "p_epoch", &request.epoch, problem);
    }
    if (status == BQ_OK) {
        status = proto_read_array(params, "p_edits", &request.edits, &request.n_edits, problem);
    }
    if (status == BQ_OK) {
        status = read_numbers(params, &request, problem);
    }
    if (status == BQ_OK && request.n_edits > LIMIT_EDITS) {
        status = proto_problem_set(problem, BQ_TOO_MANY_EDITS,
                                   "%u edits in one exchange, the limit is %u", request.n_edits,
                                   LIMIT_EDITS);
    }
    if (status == BQ_OK) {
        *out = request;
    }
    return status;
}

/* ---- Printing the answer --------------------------------------------------------------------- */

static void print_result(struct buf *out, const struct proto_result *result)
{
    proto_print_name(out, true, "key");
    json_print_string(out, result->key.ptr == NULL ? SLICE("") : result->key);
    proto_print_int(out, "op", result->op);
    proto_print_text(out, "status", slice_of(result_words[result->status]));
    if (result->code != BQ_OK) {
        proto_print_text(out, "code", slice_of(status_code(result->code)));
        proto_print_text(out, "message",
                         result->message.ptr != NULL ? result->message
                                                     : slice_of(status_text(result->code)));
        proto_print_text(out, "retry", slice_of(status_retry_word(status_retry(result->code))));
    }
    proto_print_int(out, "version", result->version);
    if (result->deleted) {
        proto_print_bool(out, "deleted", true);
    }
    if (result->has_data) {
        proto_print_value(out, "data", &result->data);
    }
    buf_add_char(out, '}');
}

static void print_change(struct buf *out, const struct proto_change *change)
{
    proto_print_name(out, true, "data_key");
    json_print_string(out, change->key);
    proto_print_int(out, "version", change->version);
    proto_print_int(out, "seq", change->seq);
    proto_print_int(out, "op", change->op);
    proto_print_text(out, "id", change->id);
    if (change->refused != BQ_OK) {
        proto_print_text(out, "refused", slice_of(status_code(change->refused)));
    }
    proto_print_bool(out, "deleted", change->deleted);
    proto_print_value(out, "data", &change->data);
    proto_print_text(out, "device_id", change->device_id);
    proto_print_time(out, "modified_at", change->modified_us);
    buf_add_char(out, '}');
}

void proto_answer_print(struct buf *out, const struct proto_answer *answer)
{
    proto_print_name(out, true, "epoch");
    json_print_string(out, answer->epoch);
    proto_print_text(out, "status", slice_of(answer->epoch_changed ? "epoch" : "ok"));
    proto_print_time(out, "server_time", answer->server_time_us);
    proto_print_int(out, "policies", answer->policies);
    proto_print_int(out, "cursor", answer->cursor);
    proto_print_bool(out, "more", answer->more);
    proto_print_bool(out, "complete", answer->complete);
    proto_print_name(out, false, "results");
    buf_add_char(out, '[');
    for (uint32_t i = 0; i < answer->n_results; i++) {
        if (i > 0) {
            buf_add_char(out, ',');
        }
        print_result(out, &answer->results[i]);
    }
    buf_add_text(out, "],\"changes\":[");
    for (uint32_t i = 0; i < answer->n_changes; i++) {
        if (i > 0) {
            buf_add_char(out, ',');
        }
        print_change(out, &answer->changes[i]);
    }
    buf_add_text(out, "]}");
}

/* ---- Reading the answer ---------------------------------------------------------------------- */

/* What was malformed in an answer is the server's fault: one code for all of it. */
static int as_protocol(int status, struct proto_problem *problem)
{
    if (status == BQ_OK || status == BQ_NOMEM) {
        return status;
    }
    if (problem != NULL) {
        problem->status = BQ_PROTOCOL;
    }
    return BQ_PROTOCOL;
}

static int read_result_status(const struct json_value *value, struct proto_result *out,
                              struct proto_problem *problem)
{
    struct slice word;
    int status = proto_need_text(value, "status", &word, problem);
    if (status != BQ_OK) {
        return status;
    }
    for (int i = PROTO_APPLIED; i <= PROTO_REFUSED; i++) {
        if (slice_is(word, result_words[i])) {
            out->status = (enum proto_result_status)i;
            return BQ_OK;
        }
    }
    return proto_problem_set(problem, BQ_MALFORMED, "a result has an unknown status");
}

static int read_result_code(const struct json_value *value, struct proto_result *out,
                            struct proto_problem *problem)
{
    struct slice code;
    int status = proto_read_text(value, "code", &code, problem);
    if (status == BQ_OK) {
        status = proto_read_text(value, "message", &out->message, problem);
    }
    if (status == BQ_OK && code.ptr != NULL) {
        out->code = status_of_code(code.ptr, code.len);
    }
    if (status == BQ_OK && out->status == PROTO_REFUSED && out->code == BQ_OK) {
        status = proto_problem_set(problem, BQ_MALFORMED, "a refusal has no code");
    }
    return status;
}

static int read_result(const struct json_value *value, struct proto_result *out,
                       struct proto_problem *problem)
{
    struct proto_result result = {.code = BQ_OK};
    int status = proto_need_text(value, "key", &result.key, problem);
    if (status == BQ_OK) {
        status =
            proto_need_int(value, "op", (struct proto_range){0, LIMIT_OP}, &result.op, problem);
    }
    if (status == BQ_OK) {
        status = read_result_status(value, &result, problem);
    }
    if (status == BQ_OK) {
        status = read_result_code(value, &result, problem);
    }
    if (status == BQ_OK) {
        status = proto_need_int(value, "version", (struct proto_range){0, LIMIT_VERSION},
                                &result.version, problem);
    }
    if (status == BQ_OK) {
        status = proto_read_bool(value, "deleted", &result.deleted, problem);
    }
    const struct json_value *data = json_get(value, "data");
    if (status == BQ_OK && data == NULL && result.status != PROTO_APPLIED) {
        status = proto_problem_set(problem, BQ_MALFORMED, "a result lacks its \"data\"");
    }
    if (status == BQ_OK) {
        result.has_data = data != NULL;
        /* Version 0: there is no document. */
        result.data = data == NULL || result.version == 0 ? json_absent() : *data;
        *out = result;
    }
    return status;
}

static int read_receipt(const struct json_value *value, struct proto_change *out,
                        struct proto_problem *problem)
{
    struct slice refused;
    int status =
        proto_read_int(value, "op", (struct proto_range){0, LIMIT_OP}, 0, &out->op, problem);
    if (status == BQ_OK) {
        status = proto_read_text(value, "id", &out->id, problem);
    }
    if (status == BQ_OK) {
        status = proto_read_text(value, "refused", &refused, problem);
    }
    if (status == BQ_OK && refused.ptr != NULL) {
        out->refused = status_of_code(refused.ptr, refused.len);
    }
    return status;
}

static int read_change(const struct json_value *value, struct proto_change *out,
                       struct proto_problem *problem)
{
    struct proto_change change = {.refused = BQ_OK};
    int status = proto_need_text(value, "data_key", &change.key, problem);
    if (status == BQ_OK && !proto_key_valid(change.key)) {
        status = proto_problem_set(problem, BQ_MALFORMED, "a change has a bad key");
    }
    if (status == BQ_OK) {
        status = proto_need_int(value, "version", (struct proto_range){0, LIMIT_VERSION},
                                &change.version, problem);
    }
    if (status == BQ_OK) {
        status =
            proto_need_int(value, "seq", (struct proto_range){1, LIMIT_SEQ}, &change.seq, problem);
    }
    if (status == BQ_OK) {
        status = read_receipt(value, &change, problem);
    }
    if (status == BQ_OK) {
        status = proto_read_bool(value, "deleted", &change.deleted, problem);
    }
    if (status == BQ_OK) {
        status = proto_read_text(value, "device_id", &change.device_id, problem);
    }
    if (status == BQ_OK) {
        status = proto_read_time(value, "modified_at", &change.modified_us, problem);
    }
    const struct json_value *data = json_get(value, "data");
    if (status == BQ_OK && data == NULL) {
        status = proto_problem_set(problem, BQ_MALFORMED, "a change lacks its \"data\"");
    }
    if (status == BQ_OK && data != NULL) {
        change.data = *data;
        *out = change;
    }
    return status;
}

static int read_lists(struct arena *arena, const struct json_value *value,
                      struct proto_answer *answer, struct proto_problem *problem)
{
    const struct json_value *results, *changes;
    int status = proto_read_array(value, "results", &results, &answer->n_results, problem);
    if (status == BQ_OK) {
        status = proto_read_array(value, "changes", &changes, &answer->n_changes, problem);
    }
    if (status != BQ_OK) {
        return status;
    }
    answer->results = arena_zalloc(arena, answer->n_results, sizeof *answer->results);
    answer->changes = arena_zalloc(arena, answer->n_changes, sizeof *answer->changes);
    if (arena_failed(arena)) {
        return BQ_NOMEM;
    }
    for (uint32_t i = 0; i < answer->n_results && status == BQ_OK; i++) {
        status = read_result(&results[i], &answer->results[i], problem);
    }
    for (uint32_t i = 0; i < answer->n_changes && status == BQ_OK; i++) {
        status = read_change(&changes[i], &answer->changes[i], problem);
    }
    return status;
}

static int read_head(const struct json_value *value, struct proto_answer *answer,
                     struct proto_problem *problem)
{
    struct slice word;
    int status = proto_need_text(value, "epoch", &answer->epoch, problem);
    if (status == BQ_OK) {
        status = proto_need_text(value, "status", &word, problem);
    }
    if (status == BQ_OK && !slice_is(word, "ok") && !slice_is(word, "epoch")) {
        status = proto_problem_set(problem, BQ_MALFORMED, "an answer has an unknown status");
    }
    if (status == BQ_OK) {
        answer->epoch_changed = slice_is(word, "epoch");
        status = proto_read_time(value, "server_time", &answer->server_time_us, problem);
    }
    if (status == BQ_OK) {
        status = proto_read_int(value, "policies", (struct proto_range){0, LIMIT_SEQ}, 0,
                                &answer->policies, problem);
    }
    if (status == BQ_OK) {
        status = proto_need_int(value, "cursor", (struct proto_range){-LIMIT_SEQ, LIMIT_SEQ},
                                &answer->cursor, problem);
    }
    if (status == BQ_OK) {
        status = proto_read_bool(value, "more", &answer->more, problem);
    }
    if (status == BQ_OK) {
        status = proto_read_bool(value, "complete", &answer->complete, problem);
    }
    return status;
}

int proto_answer_read(struct arena *arena, const struct json_value *value, struct proto_answer *out,
                      struct proto_problem *problem)
{
    struct proto_answer answer = {0};
    int status = read_head(value, &answer, problem);
    if (status == BQ_OK) {
        status = read_lists(arena, value, &answer, problem);
    }
    if (status == BQ_OK) {
        *out = answer;
    }
    return as_protocol(status, problem);
}
