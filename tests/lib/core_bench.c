/* core_bench.c - see core_bench.h. */
#include "core_bench.h"

#include "base/assert.h"
#include "base/status.h"
#include "json/json.h"
#include "merge/merge.h"
#include "proto/read.h"
#include "store/memory.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <setjmp.h>
#include <cmocka.h>

#define START_US INT64_C(1700000000000000)
#define DEPTH 2000u

void bench_open(struct core_bench *bench)
{
    *bench = (struct core_bench){0};
    arena_init(&bench->arena);
    arena_init(&bench->policy_arena);
    assert_true(uuid_parse(SLICE("11111111-2222-3333-4444-555555555555"), &bench->user));
    assert_int_equal(store_memory_open("e", 1, 2, 32, &bench->store), BQ_OK);
    bench->context.store = bench->store;
    bench->context.limits = LIMITS_DEFAULT;
    bench->context.now_us = START_US;
    assert_int_equal(op_load_policies(bench->store, &bench->policy_arena, &bench->context.policies,
                                      &bench->context.policies_version),
                     BQ_OK);
}

void bench_close(struct core_bench *bench)
{
    bench->store->close(bench->store);
    arena_release(&bench->arena);
    arena_release(&bench->policy_arena);
}

void bench_forget(struct core_bench *bench)
{
    arena_reset(&bench->arena);
}

static struct json_value parsed(struct core_bench *bench, struct slice text)
{
    struct json_value value;
    struct json_error error;
    if (json_parse(&bench->arena, text, DEPTH, &value, &error) != BQ_OK) {
        fail_msg("%s at %zu of %.*s", error.what, error.offset, SLICE_FMT(text));
    }
    return value;
}

static struct slice kept(struct core_bench *bench, struct buf *buf)
{
    assert_false(buf->failed);
    struct slice text = arena_copy(&bench->arena, buf_slice(buf));
    buf_release(buf);
    assert_non_null(text.ptr);
    return text;
}

void bench_policies(struct core_bench *bench, const char *json)
{
    struct json_value value = parsed(bench, slice_of(json));
    for (uint32_t i = 0; i < value.count; i++) {
        struct op op = {
            .kind = OP_POLICY_SET,
            .in.policy_set = {json_text(&value.members[i].key), value.members[i].value}};
        assert_int_equal(bench_run(bench, &op), BQ_OK);
        assert_int_equal(op.status, BQ_OK);
    }
    assert_int_equal(op_load_policies(bench->store, &bench->policy_arena, &bench->context.policies,
                                      &bench->context.policies_version),
                     BQ_OK);
}

int bench_run(struct core_bench *bench, struct op *op)
{
    struct op *ops[] = {op};
    op->user = bench->user;
    op->arena = &bench->arena;
    bench->context.now_us += 1000;
    int status = apply_batch(&bench->context, ops, 1);
    bench->status = op->status;
    memcpy(bench->message, op->message, sizeof bench->message);
    bench->wrote = op->wrote;
    bench->seq = op->seq;
    return status;
}

struct json_value bench_exchange(struct core_bench *bench, const char *device, const char *params)
{
    struct op op = {.kind = OP_EXCHANGE};
    struct proto_problem problem = {0};
    struct buf out = BUF_INIT;
    const char *text = bench_text(bench, "{\"p_device_id\":\"%s\"%s%s}", device,
                                  params[0] == '\0' ? "" : ",", params);
    struct json_value value = parsed(bench, slice_of(text));
    if (proto_exchange_read(&bench->arena, &value, &op.in.exchange, &problem) != BQ_OK) {
        fail_msg("%s: %s", text, problem.text);
    }
    assert_int_equal(bench_run(bench, &op), BQ_OK);
    if (op.status != BQ_OK) {
        return json_absent();
    }
    proto_answer_print(&out, &op.out.answer);
    return parsed(bench, kept(bench, &out));
}

struct json_value bench_edits(struct core_bench *bench, const char *device, const char *edits)
{
    return bench_exchange(bench, device, bench_text(bench, "\"p_edits\":[%s]", edits));
}

struct json_value bench_upsert(struct core_bench *bench, const char *device, const char *key,
                               const char *expected, const char *data)
{
    struct op op = {
        .kind = OP_UPSERT,
        .in.upsert = {.data_key = slice_of(key),
                      .data = data == NULL ? json_absent() : parsed(bench, slice_of(data)),
                      .has_expected = expected != NULL,
                      .device_id = slice_of(device)}};
    struct buf out = BUF_INIT;
    if (expected != NULL) {
        struct json_value number = parsed(bench, slice_of(expected));
        assert_true(json_to_int(&number, &op.in.upsert.expected));
    }
    assert_int_equal(bench_run(bench, &op), BQ_OK);
    if (op.status != BQ_OK) {
        return json_absent();
    }
    proto_upserted_print(&out, &op.out.upserted);
    return parsed(bench, kept(bench, &out));
}

bool bench_v1(struct core_bench *bench, const char *data)
{
    struct op op = {.kind = OP_V1_SYNC, .in.v1_sync = {parsed(bench, slice_of(data))}};
    assert_int_equal(bench_run(bench, &op), BQ_OK);
    return op.out.done;
}

const char *bench_document(struct core_bench *bench, const char *key, int64_t *out_version)
{
    struct store_doc doc;
    struct store *store = bench->store;
    assert_int_equal(store->begin(store), BQ_OK);
    assert_int_equal(store->doc_get(store, &bench->arena, &bench->user, slice_of(key), &doc),
                     BQ_OK);
    store->rollback(store);
    if (out_version != NULL) {
        *out_version = doc.version;
    }
    return doc.version == 0 || doc.deleted ? "" : bench_text(bench, "%.*s", SLICE_FMT(doc.data));
}

struct store_user bench_user(struct core_bench *bench)
{
    struct store_user user;
    struct store *store = bench->store;
    assert_int_equal(store->begin(store), BQ_OK);
    assert_int_equal(store->user_get(store, &bench->user, &user), BQ_OK);
    store->rollback(store);
    return user;
}

const char *bench_at(struct core_bench *bench, const struct json_value *value, const char *pointer)
{
    struct buf out = BUF_INIT;
    struct json_value found = merge_pointer_get(value, slice_of(pointer));
    if (json_is_absent(&found)) {
        return "";
    }
    json_print(&out, &found);
    return kept(bench, &out).ptr;
}

void bench_check(struct core_bench *bench, const struct json_value *value, const char *pointer,
                 const char *want)
{
    const char *got = bench_at(bench, value, pointer);
    if (strcmp(got, want) != 0) {
        fail_msg("%s is %s, not %s, in %s", pointer, got, want, bench_at(bench, value, ""));
    }
}

const char *bench_text(struct core_bench *bench, const char *format, ...)
{
    va_list args;
    va_list again;
    ASSERT(format != NULL);
    va_start(args, format);
    va_copy(again, args);
    char none[1];
    int n = vsnprintf(none, sizeof none, format, args);
    va_end(args);
    assert_true(n >= 0);
    char *text = arena_alloc(&bench->arena, (size_t)n + 1);
    assert_non_null(text);
    (void)vsnprintf(text, (size_t)n + 1, format, again);
    va_end(again);
    return text;
}
