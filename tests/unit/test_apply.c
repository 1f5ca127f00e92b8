/* test_apply.c - apply_batch as a whole: an op's own fault never fails the batch, a fault of the
 * store or of memory leaves nothing of it; and the calls that are no edits. */
#include "core_bench.h"

#include "base/mem.h"
#include "base/status.h"
#include "scratch.h"
#include "store/memory.h"
#include "store/sqlite.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <setjmp.h>
#include <cmocka.h>

#define N_OPS 16

static struct core_bench bench;

static int setup(void **state)
{
    (void)state;
    bench_open(&bench);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    bench_close(&bench);
    return 0;
}

static struct json_value parsed(const char *text)
{
    struct json_value value;
    assert_int_equal(json_parse(&bench.arena, slice_of(text), 2000, &value, NULL), BQ_OK);
    return value;
}

static struct op exchange_op(const char *device, const char *edits)
{
    struct op op = {.kind = OP_EXCHANGE, .user = bench.user, .arena = &bench.arena};
    struct json_value list = parsed(bench_text(&bench, "[%s]", edits));
    op.in.exchange = (struct proto_exchange){.device_id = slice_of(device),
                                             .limit = LIMIT_CHANGES,
                                             .proto = 1,
                                             .edits = list.items,
                                             .n_edits = list.count};
    return op;
}

static const char *edit_of(int op, const char *key, const char *rest)
{
    return bench_text(&bench,
                      "{\"op\":%d,\"prev\":0,\"id\":\"%016x\",\"key\":\"%s\",\"base\":-1,%s}", op,
                      op, key, rest);
}

/* ---- The whole state of a store as a text -------------------------------------------------- */

static const char *dump(struct store *store)
{
    struct store_user user;
    struct store_docs docs;
    struct store_devices devices;
    struct store_policies policies;
    assert_int_equal(store->begin(store), BQ_OK);
    assert_int_equal(store->user_get(store, &bench.user, &user), BQ_OK);
    assert_int_equal(
        store->docs(store, &bench.arena, &bench.user, 0, UINT32_MAX, SIZE_MAX, true, &docs), BQ_OK);
    assert_int_equal(store->devices(store, &bench.arena, &bench.user, &devices), BQ_OK);
    assert_int_equal(store->policies(store, &bench.arena, &policies), BQ_OK);
    store->rollback(store);
    const char *text = bench_text(
        &bench,
        "seq %lld gen %lld clock %lld keys %lld bytes %lld dead %lld erased %d policies %lld",
        (long long)user.seq, (long long)user.generation, (long long)user.clock_us,
        (long long)user.n_keys, (long long)user.n_bytes, (long long)user.n_tombstones,
        (int)user.erased, (long long)policies.version);
    for (uint32_t i = 0; i < docs.n; i++) {
        const struct store_doc *doc = &docs.items[i];
        text = bench_text(&bench, "%s; %.*s v%lld s%lld %.*s r%zu h%lld", text, SLICE_FMT(doc->key),
                          (long long)doc->version, (long long)doc->seq, SLICE_FMT(doc->data),
                          doc->receipts.len, (long long)doc->history);
    }
    for (uint32_t i = 0; i < devices.n; i++) {
        text = bench_text(&bench, "%s; %.*s %.*s", text, SLICE_FMT(devices.items[i].device_id),
                          SLICE_FMT(devices.items[i].info));
    }
    return text;
}

/* ---- An op's own fault ---------------------------------------------------------------------- */

static struct slice long_text(size_t n)
{
    char *text = arena_alloc(&bench.arena, n);
    memset(text, 'x', n);
    return (struct slice){text, n};
}

/* Ops as a careless router could hand them over: absent, empty, huge and odd parameters. */
static uint32_t bad_ops(struct op *ops)
{
    uint32_t n = 0;
    struct slice odd[] = {SLICE_NONE, SLICE(""), SLICE("\x01"), long_text(5000)};
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        ops[n++] = (struct op){.kind = OP_METADATA, .in.metadata = {odd[i], -5, json_absent()}};
        ops[n++] = (struct op){.kind = OP_V1_ADD_DEVICE, .in.v1_device = {odd[i], odd[i], odd[i]}};
        ops[n++] =
            (struct op){.kind = OP_V1_ADD_DEVICE, .in.v1_device = {SLICE("d"), odd[i], odd[i]}};
        ops[n++] =
            (struct op){.kind = OP_V1_REMOVE_DEVICE, .in.v1_device = {odd[i], odd[i], odd[i]}};
        ops[n++] = (struct op){.kind = OP_UPSERT,
                               .in.upsert = {odd[i], parsed("{\"a\":1}"), true, 0, SLICE("d")}};
        ops[n++] = (struct op){.kind = OP_UPSERT,
                               .in.upsert = {SLICE("k"), parsed("{\"a\":1}"), true, 0, odd[i]}};
        ops[n++] = (struct op){.kind = OP_POLICY_SET, .in.policy_set = {odd[i], parsed("\"sum\"")}};
    }
    ops[n++] = (struct op){.kind = OP_METADATA, .in.metadata = {SLICE("d"), -5, json_absent()}};
    ops[n++] = (struct op){.kind = OP_METADATA,
                           .in.metadata = {SLICE("d"), 7, json_string(long_text(100000))}};
    ops[n++] = (struct op){.kind = OP_UPSERT,
                           .in.upsert = {SLICE("k"), json_absent(), true, 0, SLICE("d")}};
    ops[n++] = (struct op){.kind = OP_UPSERT,
                           .in.upsert = {SLICE("k"), parsed("null"), true, -7, SLICE("d")}};
    ops[n++] = (struct op){.kind = OP_UPSERT,
                           .in.upsert = {SLICE("k"), parsed("3"), true, INT32_MAX, SLICE("d")}};
    ops[n++] = (struct op){.kind = OP_V1_SYNC, .in.v1_sync = {json_absent()}};
    ops[n++] = (struct op){.kind = OP_V1_SYNC, .in.v1_sync = {parsed("{\"a\":null,\"\":1}")}};
    ops[n++] = (struct op){.kind = OP_REPORT,
                           .in.report = {SLICE("d"), json_object(NULL, 0), SLICE_NONE, NULL, 0}};
    ops[n++] =
        (struct op){.kind = OP_REPORT,
                    .in.report = {SLICE("d"), parsed("{\"replaces\":7}"), SLICE("old"), NULL, 0}};
    ops[n++] = (struct op){.kind = OP_POLICY_SET, .in.policy_set = {SLICE("k*"), parsed("7")}};
    ops[n++] = (struct op){.kind = OP_POLICY_SET, .in.policy_set = {SLICE("k*"), json_absent()}};
    ops[n++] = exchange_op("d", "7,null,{},[],{\"op\":1},{\"key\":\"k\",\"op\":1}");
    return n;
}

/* One by one, each with a good edit before and behind it in the batch. */
static void check_own_faults(struct store *store)
{
    struct op ops[64];
    uint32_t n = bad_ops(ops);
    bench.context.store = store;
    for (uint32_t i = 0; i < n; i++) {
        const char *key = bench_text(&bench, "good%u", i);
        struct op first = exchange_op("g", edit_of(1, key, "\"now\":{\"n\":1}"));
        struct op last = exchange_op("g", edit_of(2, key, "\"was\":{\"n\":1},\"now\":{\"n\":2}"));
        struct op *batch[] = {&first, &ops[i], &last};
        ops[i].user = bench.user;
        ops[i].arena = &bench.arena;
        int status = apply_batch(&bench.context, batch, 3);
        if (status != BQ_OK) {
            fail_msg("op %u of kind %d fails the batch with %s", i, (int)ops[i].kind,
                     status_code(status));
        }
        assert_int_equal(last.status, BQ_OK);
        assert_int_equal(last.out.answer.results[0].status, PROTO_MERGED);
        assert_true(ops[i].status == BQ_OK || ops[i].message[0] != '\0');
    }
    bench.context.store = bench.store;
}

static void the_fault_of_one_op_never_fails_the_batch(void **state)
{
    (void)state;
    check_own_faults(bench.store);
}

static void not_in_sqlite_either(void **state)
{
    struct scratch scratch;
    struct store *store;
    char path[256];
    char error[256];
    (void)state;
    scratch_init(&scratch);
    struct store_sqlite_config config = {.size = sizeof config,
                                         .path = scratch_path(&scratch, "s.db", path, sizeof path),
                                         .n_history = 32,
                                         .create = true};
    assert_int_equal(store_sqlite_open(&config, &store, error, sizeof error), BQ_OK);
    check_own_faults(store);
    store->close(store);
    scratch_release(&scratch);
}

/* ---- The store's fault ---------------------------------------------------------------------- */

/* One op of each kind that writes. */
static uint32_t good_ops(struct op *ops)
{
    static struct proto_dead dead;
    uint32_t n = 0;
    dead = (struct proto_dead){
        SLICE("notes"),         3, SLICE("aaaaaaaaaaaaaaaa"), BQ_TOO_LARGE, SLICE("!"),
        parsed("{\"base\":4}"), 0};
    ops[n++] = exchange_op("d1", bench_text(&bench, "%s,%s,%s,%s",
                                            edit_of(2, "notes",
                                                    "\"was\":{\"a\":1},"
                                                    "\"now\":{\"a\":2}"),
                                            edit_of(1, "new", "\"now\":{\"a\":[1,2]}"),
                                            edit_of(1, "none", "\"now\":1,\"undo\":1"),
                                            edit_of(1, "game_stats",
                                                    "\"was\":{\"incorrectAnswers\":1},"
                                                    "\"now\":{\"incorrectAnswers\":3}")));
    ops[n++] = (struct op){.kind = OP_UPSERT,
                           .in.upsert = {SLICE("game_stats"),
                                         parsed("{\"incorrectAnswers\":9,\"x\":{\"y\":1}}"), true,
                                         1, SLICE("old")}};
    ops[n++] = (struct op){.kind = OP_UPSERT,
                           .in.upsert = {SLICE("fresh"), parsed("{\"x\":1}"), true, 0, SLICE_NONE}};
    ops[n++] = (struct op){.kind = OP_V1_SYNC,
                           .in.v1_sync = {parsed("{\"notes\":{\"value\":{\"b\":1},\"timestamp\":"
                                                 "\"2024-01-01T00:00:00\"}}")}};
    ops[n++] =
        (struct op){.kind = OP_REPORT,
                    .in.report = {SLICE("d1"), parsed("{\"name\":\"x\"}"), SLICE("d0"), &dead, 1}};
    ops[n++] =
        (struct op){.kind = OP_METADATA, .in.metadata = {SLICE("old"), 2, parsed("{\"os\":1}")}};
    ops[n++] =
        (struct op){.kind = OP_V1_ADD_DEVICE, .in.v1_device = {SLICE("v"), SLICE("n"), SLICE("t")}};
    ops[n++] = (struct op){.kind = OP_POLICY_SET,
                           .in.policy_set = {SLICE("k*"), parsed("{\"each\":\"sum\"}")}};
    ops[n++] = (struct op){.kind = OP_POLICIES};
    ops[n++] = (struct op){.kind = OP_USER_DATA};
    ops[n++] = (struct op){.kind = OP_USER_STATUS};
    ops[n++] = (struct op){.kind = OP_DELETE_ALL};
    return n;
}

static void fill_store(void)
{
    (void)bench_edits(&bench, "d1",
                      bench_text(&bench, "%s,%s", edit_of(1, "notes", "\"now\":{\"a\":1}"),
                                 edit_of(1, "other", "\"now\":{\"a\":1}")));
    (void)bench_upsert(&bench, "old", "game_stats", "0", "{\"incorrectAnswers\":5}");
    (void)bench_upsert(&bench, "new", "game_stats", "1", "{\"incorrectAnswers\":6}");
}

static int run_ops(struct op *ops, uint32_t n, struct arena *arena)
{
    struct op *batch[N_OPS];
    for (uint32_t i = 0; i < n; i++) {
        ops[i].user = bench.user;
        ops[i].arena = arena;
        batch[i] = &ops[i];
    }
    return apply_batch(&bench.context, batch, n);
}

/* Verbs that fail at the n-th call of any of them. */
static struct {
    struct store verbs; /* the real ones */
    unsigned countdown;
} broken;

static bool breaks(void)
{
    return broken.countdown > 0 && --broken.countdown == 0;
}

static int broken_user_get(struct store *store, const struct uuid *id, struct store_user *out)
{
    return breaks() ? BQ_IO : broken.verbs.user_get(store, id, out);
}

static int broken_user_put(struct store *store, const struct store_user *user)
{
    return breaks() ? BQ_IO : broken.verbs.user_put(store, user);
}

static int broken_doc_get(struct store *store, struct arena *arena, const struct uuid *user,
                          struct slice key, struct store_doc *out)
{
    return breaks() ? BQ_IO : broken.verbs.doc_get(store, arena, user, key, out);
}

static int broken_doc_put(struct store *store, const struct uuid *user, const struct store_doc *doc)
{
    return breaks() ? BQ_IO : broken.verbs.doc_put(store, user, doc);
}

static int broken_docs(struct store *store, struct arena *arena, const struct uuid *user,
                       int64_t after, uint32_t max_rows, size_t max_bytes, bool with_deleted,
                       struct store_docs *out)
{
    return breaks() ? BQ_IO
                    : broken.verbs.docs(store, arena, user, after, max_rows, max_bytes,
                                        with_deleted, out);
}

static int broken_history_add(struct store *store, const struct uuid *user, struct slice key,
                              const struct store_history *entry, int64_t *out_id)
{
    return breaks() ? BQ_IO : broken.verbs.history_add(store, user, key, entry, out_id);
}

static int broken_history_get(struct store *store, struct arena *arena, const struct uuid *user,
                              int64_t id, struct store_history *out)
{
    return breaks() ? BQ_IO : broken.verbs.history_get(store, arena, user, id, out);
}

static int broken_upserts_get(struct store *store, struct arena *arena, const struct uuid *user,
                              struct slice key, struct slice device_id, struct slice *out)
{
    return breaks() ? BQ_IO : broken.verbs.upserts_get(store, arena, user, key, device_id, out);
}

static int broken_upserts_put(struct store *store, const struct uuid *user, struct slice key,
                              struct slice device_id, struct slice packed, int64_t now_us)
{
    return breaks() ? BQ_IO : broken.verbs.upserts_put(store, user, key, device_id, packed, now_us);
}

static int broken_device_put(struct store *store, const struct uuid *user,
                             const struct store_device *device)
{
    return breaks() ? BQ_IO : broken.verbs.device_put(store, user, device);
}

static int broken_dead_replace(struct store *store, const struct uuid *user, struct slice device_id,
                               const struct store_dead *items, uint32_t n)
{
    return breaks() ? BQ_IO : broken.verbs.dead_replace(store, user, device_id, items, n);
}

static int broken_policy_put(struct store *store, struct slice pattern, struct slice policy)
{
    return breaks() ? BQ_IO : broken.verbs.policy_put(store, pattern, policy);
}

static int broken_commit(struct store *store)
{
    if (breaks()) {
        store->rollback(store);
        return BQ_IO;
    }
    return broken.verbs.commit(store);
}

static void break_verbs(unsigned countdown)
{
    struct store *store = bench.store;
    broken.countdown = countdown;
    store->user_get = broken_user_get;
    store->user_put = broken_user_put;
    store->doc_get = broken_doc_get;
    store->doc_put = broken_doc_put;
    store->docs = broken_docs;
    store->history_add = broken_history_add;
    store->history_get = broken_history_get;
    store->upserts_get = broken_upserts_get;
    store->upserts_put = broken_upserts_put;
    store->device_put = broken_device_put;
    store->dead_replace = broken_dead_replace;
    store->policy_put = broken_policy_put;
    store->commit = broken_commit;
}

static void a_failure_of_the_store_leaves_nothing_of_the_batch(void **state)
{
    unsigned n_failed = 0;
    struct op ops[N_OPS];
    uint32_t n = good_ops(ops);
    (void)state;
    fill_store();
    const char *before = dump(bench.store);
    broken.verbs = *bench.store;
    for (unsigned at = 1;; at++) {
        break_verbs(at);
        int status = run_ops(ops, n, &bench.arena);
        *bench.store = broken.verbs;
        if (status == BQ_OK) {
            break;
        }
        assert_int_equal(status, BQ_IO);
        assert_string_equal(dump(bench.store), before);
        n_failed++;
    }
    /* Every kind of op reaches the store; fewer would mean that a failure went unseen. */
    assert_true(n_failed > 40);
    assert_string_not_equal(dump(bench.store), before);
}

/* ---- Memory that ends ----------------------------------------------------------------------- */

/* Each allocation in turn, and the chunks of the arena at every fill: nothing leaks, nothing of the
 * batch is kept, and the next try succeeds. */
static void exhausted_memory_leaves_nothing_of_the_batch(void **state)
{
    unsigned n_failed = 0;
    struct op ops[N_OPS];
    uint32_t n = good_ops(ops);
    (void)state;
    fill_store();
    const char *before = dump(bench.store);
    struct store *original = bench.store;
    for (size_t fill = 0; fill <= 4096; fill += 256) {
        bool done = false;
        for (uint64_t nth = 1; !done; nth++) {
            struct arena arena;
            struct store *copy;
            assert_int_equal(store_memory_clone(original, &copy), BQ_OK);
            bench.context.store = copy;
            arena_init(&arena);
            assert_non_null(arena_alloc(&arena, fill));
            mem_fail_at(nth, 1);
            int status = run_ops(ops, n, &arena);
            done = mem_count() < nth;
            mem_fail_at(0, 0);
            if (!done) {
                assert_true(status == BQ_NOMEM || status == BQ_OK);
            }
            if (status == BQ_NOMEM) {
                n_failed++;
                arena_reset(&arena);
                if (nth % 7 == 0) {
                    assert_string_equal(dump(copy), before);
                    assert_int_equal(run_ops(ops, n, &arena), BQ_OK);
                }
            } else {
                assert_int_equal(status, BQ_OK);
            }
            arena_release(&arena);
            copy->close(copy);
        }
        bench.context.store = original;
    }
    assert_true(n_failed > 300);
}

/* ---- The calls that are no edits ------------------------------------------------------------ */

static void only_these_kinds_read_alone(void **state)
{
    (void)state;
    for (int kind = OP_EXCHANGE; kind <= OP_USER_ERASE; kind++) {
        struct op op = {.kind = (enum op_kind)kind};
        bool reads = kind == OP_EXCHANGE || kind == OP_POLICIES || kind == OP_USER_DATA ||
                     kind == OP_USER_STATUS || kind == OP_MIGRATE;
        assert_int_equal(op_only_reads(&op), reads);
    }
    struct op op = exchange_op("d", "1");
    assert_false(op_only_reads(&op));
}

static void readers_answer_what_was_committed(void **state)
{
    struct store *reader;
    struct op op = {.kind = OP_USER_DATA, .user = bench.user, .arena = &bench.arena};
    (void)state;
    fill_store();
    assert_int_equal(bench.store->reader(bench.store, &reader), BQ_OK);
    bench.context.store = reader;
    assert_int_equal(apply_read(&bench.context, &op), BQ_OK);
    assert_int_equal(op.out.rows.n, 3);
    /* Newest first. */
    assert_true(slice_is(op.out.rows.items[0].key, "game_stats"));
    assert_true(slice_is(op.out.rows.items[2].key, "notes"));
    struct op pull = exchange_op("d9", "");
    assert_int_equal(apply_read(&bench.context, &pull), BQ_OK);
    assert_int_equal(pull.out.answer.n_changes, 3);
    bench.context.store = bench.store;
    reader->close(reader);
}

static void tombstones_are_no_rows(void **state)
{
    struct op delete_all = {.kind = OP_DELETE_ALL};
    struct op read = {.kind = OP_USER_DATA};
    (void)state;
    fill_store();
    assert_int_equal(bench_run(&bench, &delete_all), BQ_OK);
    assert_true(bench.wrote);
    assert_int_equal(bench_run(&bench, &read), BQ_OK);
    assert_int_equal(read.out.rows.n, 0);
    assert_int_equal(bench_user(&bench).n_tombstones, 3);
    struct json_value answer = bench_exchange(&bench, "d", "");
    assert_int_equal(json_get(&answer, "changes")->count, 3);
}

static void row_8_the_second_report_of_a_device_works(void **state)
{
    (void)state;
    for (int i = 1; i <= 2; i++) {
        struct op op = {.kind = OP_METADATA,
                        .in.metadata = {SLICE("old"), i, parsed("{\"os\":\"x\"}")}};
        assert_int_equal(bench_run(&bench, &op), BQ_OK);
        assert_int_equal(op.status, BQ_OK);
    }
    struct op status = {.kind = OP_USER_STATUS};
    assert_int_equal(bench_run(&bench, &status), BQ_OK);
    assert_int_equal(status.out.devices.n, 1);
    assert_int_equal(status.out.devices.items[0].last_sync_version, 2);
    struct buf out = BUF_INIT;
    proto_devices_print(&out, status.out.devices.items, status.out.devices.n);
    assert_non_null(strstr(out.ptr, "\"device_info\":{\"os\":\"x\"}"));
    buf_release(&out);
}

static void a_report_registers_the_device_and_names_what_it_replaces(void **state)
{
    struct op report = {
        .kind = OP_REPORT,
        .in.report = {SLICE("bq-2"), parsed("{\"name\":\"phone\"}"), SLICE("bq-1"), NULL, 0}};
    struct op status = {.kind = OP_USER_STATUS};
    (void)state;
    assert_int_equal(bench_run(&bench, &report), BQ_OK);
    assert_int_equal(report.status, BQ_OK);
    assert_int_equal(bench_run(&bench, &status), BQ_OK);
    assert_int_equal(status.out.devices.n, 1);
    struct buf out = BUF_INIT;
    json_print(&out, &status.out.devices.items[0].info);
    assert_string_equal(out.ptr, "{\"name\":\"phone\",\"replaces\":\"bq-1\"}");
    buf_release(&out);
}

/* The column is an int4 in PostgreSQL; a feed may be longer. */
static void a_report_behind_a_long_feed_keeps_to_the_columns_range(void **state)
{
    struct op report = {
        .kind = OP_REPORT,
        .in.report = {SLICE("bq-2"), parsed("{}"), SLICE_NONE, NULL, 0}};
    struct op status = {.kind = OP_USER_STATUS};
    struct store_user user = {.id = bench.user, .seq = INT64_C(3000000000)};
    (void)state;
    assert_int_equal(bench.store->begin(bench.store), BQ_OK);
    assert_int_equal(bench.store->user_put(bench.store, &user), BQ_OK);
    assert_int_equal(bench.store->commit(bench.store), BQ_OK);
    assert_int_equal(bench_run(&bench, &report), BQ_OK);
    assert_int_equal(bench_run(&bench, &status), BQ_OK);
    assert_int_equal(status.out.devices.items[0].last_sync_version, INT32_MAX);
}

static void policies_are_checked_and_override_the_shipped_ones(void **state)
{
    struct op bad = {.kind = OP_POLICY_SET,
                     .in.policy_set = {SLICE("x"), parsed("{\"each\":\"most\"}")}};
    (void)state;
    assert_int_equal(bench_run(&bench, &bad), BQ_OK);
    assert_int_equal(bad.status, BQ_BAD_POLICY);
    assert_non_null(strstr(bad.message, "/each"));
    int64_t version = bench.context.policies_version;
    bench_policies(&bench, "{\"game_stats\":\"keep\",\"quiz_*\":{\"each\":\"sum\"}}");
    assert_int_equal(bench.context.policies_version, version + 2);
    const struct merge_policies *policies = bench.context.policies;
    assert_int_equal(merge_policies_find(policies, SLICE("game_stats"))->kind, MERGE_KEEP);
    assert_int_equal(merge_policies_find(policies, SLICE("quiz_1"))->kind, MERGE_EACH);
    assert_int_equal(merge_policies_find(policies, SLICE("settings"))->kind, MERGE_FIELDS);
    struct op read = {.kind = OP_POLICIES};
    struct buf out = BUF_INIT;
    assert_int_equal(bench_run(&bench, &read), BQ_OK);
    json_print(&out, &read.out.policies);
    assert_non_null(strstr(out.ptr, "\"game_stats\":\"keep\""));
    assert_non_null(strstr(out.ptr, "\"lesson_progress\":{"));
    buf_release(&out);
    /* Removed, the shipped one is there again; an answer names the version. */
    struct op remove = {.kind = OP_POLICY_SET,
                        .in.policy_set = {SLICE("game_stats"), json_absent()}};
    assert_int_equal(bench_run(&bench, &remove), BQ_OK);
    bench_policies(&bench, "{}");
    assert_int_equal(merge_policies_find(bench.context.policies, SLICE("game_stats"))->kind,
                     MERGE_FIELDS);
    struct json_value answer = bench_exchange(&bench, "d", "");
    assert_string_equal(bench_at(&bench, &answer, "/policies"),
                        bench_text(&bench, "%lld", (long long)bench.context.policies_version));
}

/* 15 levels of fields around a word: the deepest policy that is accepted. */
static const char *deep_policy(unsigned levels)
{
    const char *text = "\"max\"";
    for (unsigned i = 0; i < levels; i++) {
        text = bench_text(&bench, "{\"fields\":{\"f\":%s}}", text);
    }
    return text;
}

static void the_deepest_policy_that_is_accepted_is_read_again(void **state)
{
    struct op too_deep = {.kind = OP_POLICY_SET,
                          .in.policy_set = {SLICE("d"), parsed(deep_policy(LIMIT_POLICY_DEPTH))}};
    (void)state;
    bench_policies(&bench,
                   bench_text(&bench, "{\"deep\":%s}", deep_policy(LIMIT_POLICY_DEPTH - 1)));
    assert_int_equal(merge_policies_find(bench.context.policies, SLICE("deep"))->kind,
                     MERGE_FIELDS);
    assert_int_equal(bench_run(&bench, &too_deep), BQ_OK);
    assert_int_equal(too_deep.status, BQ_BAD_POLICY);
}

static void what_cannot_be_read_as_a_pattern_is_not_accepted(void **state)
{
    static const char *const patterns[] = {"**", "a*b", "*a", "a**", "", "_x"};
    (void)state;
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        struct op op = {.kind = OP_POLICY_SET,
                        .in.policy_set = {slice_of(patterns[i]), parsed("\"sum\"")}};
        assert_int_equal(bench_run(&bench, &op), BQ_OK);
        assert_int_equal(op.status, BQ_BAD_POLICY);
    }
    bench_policies(&bench, "{}");
}

static void a_stored_policy_that_cannot_be_read_is_passed_over(void **state)
{
    static const char *const texts[] = {"{\"each\":", "7", "{\"each\":\"most\"}"};
    struct store *store = bench.store;
    struct op_policies read;
    (void)state;
    bench_policies(&bench, "{\"quiz_*\":\"sum\"}");
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_int_equal(store->begin(store), BQ_OK);
        assert_int_equal(store->policy_put(store, SLICE("game_stats"), slice_of(texts[i])), BQ_OK);
        assert_int_equal(store->policy_put(store, SLICE("quiz_1"), slice_of(texts[i])), BQ_OK);
        assert_int_equal(store->commit(store), BQ_OK);
        assert_int_equal(op_read_policies(store, &bench.arena, &read), BQ_OK);
        assert_int_equal(read.n_unreadable, 2);
        assert_true(slice_is(read.unreadable, "game_stats"));
        /* The shipped one, and the next shorter pattern. */
        assert_int_equal(merge_policies_find(read.policies, SLICE("game_stats"))->kind,
                         MERGE_FIELDS);
        assert_int_equal(merge_policies_find(read.policies, SLICE("quiz_1"))->kind, MERGE_SUM);
    }
    struct op list = {.kind = OP_POLICIES};
    assert_int_equal(bench_run(&bench, &list), BQ_OK);
    assert_int_equal(list.status, BQ_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_fault_of_one_op_never_fails_the_batch, setup, teardown),
        cmocka_unit_test_setup_teardown(not_in_sqlite_either, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failure_of_the_store_leaves_nothing_of_the_batch, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(exhausted_memory_leaves_nothing_of_the_batch, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(only_these_kinds_read_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(readers_answer_what_was_committed, setup, teardown),
        cmocka_unit_test_setup_teardown(tombstones_are_no_rows, setup, teardown),
        cmocka_unit_test_setup_teardown(row_8_the_second_report_of_a_device_works, setup, teardown),
        cmocka_unit_test_setup_teardown(a_report_registers_the_device_and_names_what_it_replaces,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(policies_are_checked_and_override_the_shipped_ones, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_report_behind_a_long_feed_keeps_to_the_columns_range,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(the_deepest_policy_that_is_accepted_is_read_again, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_read_as_a_pattern_is_not_accepted, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_stored_policy_that_cannot_be_read_is_passed_over, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
