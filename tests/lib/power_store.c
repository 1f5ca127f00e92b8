/* power_store.c - the server's store under power loss: batches of ops through apply_batch.
 *
 * Two users, three devices and an old app. Each batch is one transaction of up to four ops: edits
 * that count (a sum, with a receipt), notes, whole documents and metadata of the old app, device
 * reports, policies. Each batch that was answered is a *state*: the fingerprint of all rows, and
 * the counts. After a power loss the batch that was under way is sent again, and the one before it
 * too, as devices do whose answer was lost: nothing may count twice.
 *
 * `upgrade` is the same on a file of the first schema, so that the steps of the schema run under
 * power loss too. */
#include "power_judge.h"

#include "base/status.h"
#include "core/op.h"
#include "json/json.h"
#include "scratch.h"
#include "store/sqlite_impl.h"

#include <stdio.h>
#include <stdlib.h>

#define N_USERS 2
#define N_DEVICES 3
#define OPS_MAX 4
#define BATCHES_MAX 300
#define STATES_MAX 700
#define START_US INT64_C(1770000000000000)
#define FIRST_SCHEMA "sql/sqlite/0001_tables.sql"

/* What a user's devices were promised. */
struct promise {
    int64_t counted;
    unsigned n_notes;
};

struct batch_op {
    enum op_kind kind;
    unsigned user;
    char device[40];
    char text[400]; /* the edits of an exchange, or the document of an upsert */
    int64_t expected;
};

struct batch {
    struct batch_op ops[OPS_MAX];
    unsigned n;
};

static struct subject {
    bool ready;
    struct scratch scratch;
    char path[200];
    struct rng rng;
    struct rng identity;
    const struct power_log *log;
    const char *synchronous;
    int checkpoint_pages;
    struct store *store;
    struct arena policy_arena;
    struct op_context context;
    struct power_state states[STATES_MAX];
    struct promise promises[STATES_MAX][N_USERS];
    size_t batch_before[STATES_MAX]; /* how many batches the state holds */
    size_t n_states;
    struct batch batches[BATCHES_MAX];
    size_t n_batches;
    size_t n_done; /* batches in the store while the history runs */
    struct promise promise[N_USERS];
    int64_t last_op[N_USERS][N_DEVICES];
    unsigned n_ids;
    unsigned n_old;
} subject;

static const char *const users[N_USERS] = {"aaaaaaaa-0000-4000-8000-000000000001",
                                           "bbbbbbbb-0000-4000-8000-000000000002"};

static void must(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "power_store: %s\n", what);
        abort();
    }
}

/* ---- The store ------------------------------------------------------------------------------- */

/* The same bytes at each making of a store, so that two of them can be compared. */
static void identity_bytes(void *bytes, size_t n)
{
    memset(bytes, 0x5a, n);
}

static int open_store(void)
{
    char error[300] = "";
    struct store_sqlite_config config = {.size = sizeof config,
                                         .path = subject.path,
                                         .n_history = 4,
                                         .create = true,
                                         .vfs = POWER_VFS_NAME,
                                         .synchronous = subject.synchronous,
                                         .random = identity_bytes};
    int status = store_sqlite_open(&config, &subject.store, error, sizeof error);
    if (status != BQ_OK) {
        subject.store = NULL;
        (void)power_say(POWER_CORRUPT, "the store does not open: %s", error);
        return status;
    }
    sqlite_of(subject.store)->checkpoint_at = subject.checkpoint_pages;
    subject.context.store = subject.store;
    arena_reset(&subject.policy_arena);
    return op_load_policies(subject.store, &subject.policy_arena, &subject.context.policies,
                            &subject.context.policies_version);
}

static void close_store(void)
{
    if (subject.store != NULL) {
        subject.store->close(subject.store);
        subject.store = NULL;
    }
}

static sqlite3 *database(void)
{
    return sqlite_of(subject.store)->db;
}

static void add_state(uint64_t dump)
{
    must(subject.n_states < STATES_MAX, "too many states");
    memcpy(subject.promises[subject.n_states], subject.promise, sizeof subject.promise);
    subject.batch_before[subject.n_states] = subject.n_done;
    subject.states[subject.n_states++] =
        (struct power_state){subject.log == NULL ? 0 : subject.log->n, dump};
}

/* What the store tells of itself fits together: a check of the states, once each; what is found
 * after a power loss is compared with them. */
static void check_state(void)
{
    static const char *const rules[] = {
        "SELECT count(*) FROM user_sync_feed AS f WHERE f.n_keys <> (SELECT count(*) FROM"
        " user_sync_data_v2 AS d WHERE d.user_id = f.user_id AND d.deleted = 0 AND d.version > 0)",
        "SELECT count(*) FROM user_sync_data_v2 AS d JOIN user_sync_feed AS f USING (user_id)"
        " WHERE d.seq > f.seq",
        "SELECT count(*) FROM user_sync_data_v2 AS d WHERE d.history <> 0 AND NOT EXISTS"
        " (SELECT 1 FROM user_sync_history AS h WHERE h.id = d.history AND h.user_id = d.user_id"
        " AND h.data_key = d.data_key AND h.version = d.version)"};
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        must(power_number(database(), rules[i]) == 0, rules[i]);
    }
}

/* ---- Batches --------------------------------------------------------------------------------- */

static int read_op(struct arena *arena, const struct batch_op *from, struct op *op)
{
    char text[600];
    struct json_value value;
    struct proto_problem problem;
    *op = (struct op){.kind = from->kind, .arena = arena};
    must(uuid_parse(slice_of(users[from->user]), &op->user), "no uuid");
    if (from->kind == OP_EXCHANGE) {
        (void)snprintf(text, sizeof text, "{\"p_device_id\":\"%s\",\"p_edits\":[%s]}", from->device,
                       from->text);
    } else {
        (void)snprintf(text, sizeof text, "%s", from->text);
    }
    struct slice copy = arena_copy(arena, slice_of(text));
    must(json_parse(arena, copy, 80, &value, NULL) == BQ_OK, "an op is no JSON");
    if (from->kind == OP_EXCHANGE) {
        return proto_exchange_read(arena, &value, &op->in.exchange, &problem);
    }
    if (from->kind == OP_REPORT) {
        return proto_report_read(arena, &value, &op->in.report, &problem);
    }
    if (from->kind == OP_METADATA) {
        op->in.metadata = (struct proto_metadata){
            .device_id = slice_of(from->device), .version = 1, .info = value};
    } else if (from->kind == OP_POLICY_SET) {
        op->in.policy_set.pattern = SLICE("other");
        op->in.policy_set.policy = value;
    } else {
        op->in.upsert = (struct proto_upsert){.data_key = SLICE("settings"),
                                              .data = value,
                                              .has_expected = true,
                                              .expected = from->expected,
                                              .device_id = slice_of(from->device)};
    }
    return BQ_OK;
}

static int run_batch(const struct batch *batch)
{
    struct arena arena;
    struct op ops[OPS_MAX];
    struct op *pointers[OPS_MAX];
    arena_init(&arena);
    for (unsigned i = 0; i < batch->n; i++) {
        must(read_op(&arena, &batch->ops[i], &ops[i]) == BQ_OK, "an op cannot be read");
        pointers[i] = &ops[i];
    }
    subject.context.now_us += 1000000;
    int status = apply_batch(&subject.context, pointers, batch->n);
    for (unsigned i = 0; status == BQ_OK && i < batch->n; i++) {
        if (ops[i].status != BQ_OK) {
            fprintf(stderr, "power_store: refused: %s\n", ops[i].message);
            abort();
        }
    }
    arena_release(&arena);
    return status;
}

/* Counts one; or writes a note; or both, each with a receipt. */
static void make_edits(struct batch_op *op)
{
    unsigned device = (unsigned)rng_below(&subject.rng, N_DEVICES);
    struct promise *promise = &subject.promise[op->user];
    int64_t *last = &subject.last_op[op->user][device];
    uint64_t what = rng_below(&subject.rng, 8);
    size_t n = 0;
    op->kind = OP_EXCHANGE;
    (void)snprintf(op->device, sizeof op->device, "bq-%032x", device + 1);
    if (what < 6) {
        promise->counted++;
        ++*last;
        n = (size_t)snprintf(op->text, sizeof op->text,
                             "{\"op\":%lld,\"prev\":%lld,\"id\":\"%016x\",\"key\":\"game_stats\","
                             "\"base\":-1,\"was\":{\"incorrectAnswers\":0},"
                             "\"now\":{\"incorrectAnswers\":1}}",
                             (long long)*last, (long long)*last - 1, ++subject.n_ids);
    }
    if (what > 3) {
        promise->n_notes++;
        (void)snprintf(op->text + n, sizeof op->text - n,
                       "%s{\"op\":%u,\"prev\":%u,\"id\":\"%016x\",\"key\":\"note%u\","
                       "\"base\":0,\"now\":{\"n\":%u}}",
                       n > 0 ? "," : "", 1u, 0u, ++subject.n_ids, promise->n_notes,
                       promise->n_notes);
    }
}

static void make_op(struct batch_op *op)
{
    uint64_t what = rng_below(&subject.rng, 12);
    *op = (struct batch_op){.user = (unsigned)rng_below(&subject.rng, N_USERS)};
    (void)snprintf(op->device, sizeof op->device, "old-%u", op->user);
    if (what < 8) {
        make_edits(op);
    } else if (what < 9) {
        op->kind = OP_UPSERT;
        op->expected = (int64_t)rng_below(&subject.rng, 4);
        (void)snprintf(op->text, sizeof op->text, "{\"theme\":%u,\"pad\":\"%0*u\"}",
                       ++subject.n_old, 1 + (int)rng_below(&subject.rng, 300), 0u);
    } else if (what < 10) {
        op->kind = OP_METADATA;
        (void)snprintf(op->text, sizeof op->text, "{\"model\":%u}", ++subject.n_old);
    } else if (what < 11) {
        op->kind = OP_REPORT;
        (void)snprintf(op->text, sizeof op->text,
                       "{\"p_device_id\":\"bq-%032x\",\"p_device_info\":{\"n\":%u},"
                       "\"p_failed\":[]}",
                       1u, ++subject.n_old);
    } else {
        op->kind = OP_POLICY_SET;
        (void)snprintf(op->text, sizeof op->text, "{\"fields\":{\"f%u\":\"max\"}}",
                       ++subject.n_old);
    }
}

static struct batch *make_batch(void)
{
    must(subject.n_batches < BATCHES_MAX, "too many batches");
    struct batch *batch = &subject.batches[subject.n_batches++];
    batch->n = 1 + (unsigned)rng_below(&subject.rng, OPS_MAX);
    for (unsigned i = 0; i < batch->n; i++) {
        make_op(&batch->ops[i]);
    }
    return batch;
}

/* ---- The subject ----------------------------------------------------------------------------- */

static void get_ready(void)
{
    if (!subject.ready) {
        subject.ready = true;
        scratch_init(&subject.scratch);
        (void)scratch_path(&subject.scratch, "store.db", subject.path, sizeof subject.path);
        arena_init(&subject.policy_arena);
    }
}

static void forget(void)
{
    subject.n_states = 0;
    subject.n_batches = 0;
}

static void begin(const struct power_work *work)
{
    rng_init(&subject.rng, work->seed);
    memset(subject.promise, 0, sizeof subject.promise);
    memset(subject.last_op, 0, sizeof subject.last_op);
    subject.synchronous = work->synchronous;
    subject.checkpoint_pages = 10 + (int)rng_below(&subject.rng, 60);
    subject.n_ids = 0;
    subject.n_old = 0;
    subject.n_done = 0;
    subject.context = (struct op_context){.limits = LIMITS_DEFAULT, .now_us = START_US};
}

static void checkpoint_hard(void)
{
    static const int modes[] = {SQLITE_CHECKPOINT_PASSIVE, SQLITE_CHECKPOINT_FULL,
                                SQLITE_CHECKPOINT_RESTART, SQLITE_CHECKPOINT_TRUNCATE};
    (void)sqlite3_wal_checkpoint_v2(database(), NULL, modes[rng_below(&subject.rng, 4)], NULL,
                                    NULL);
}

static void do_something(void)
{
    uint64_t what = rng_below(&subject.rng, 20);
    if (what == 0) {
        close_store();
        must(open_store() == BQ_OK, power_why);
        return;
    }
    if (what == 1) {
        checkpoint_hard();
        return;
    }
    must(run_batch(make_batch()) == BQ_OK, "a batch failed");
    subject.n_done++;
    struct sqlite *sqlite = sqlite_of(subject.store);
    if (sqlite->checkpoint_at > sqlite->wal_pages + subject.checkpoint_pages) {
        sqlite->checkpoint_at = sqlite->wal_pages + subject.checkpoint_pages;
    }
    uint64_t dump = power_dump(database());
    must(dump != 0, "the store cannot be read");
    check_state();
    add_state(dump);
}

static void run(const struct power_work *work, struct power_log *log)
{
    begin(work);
    power_vfs_record(log);
    subject.log = log;
    add_state(0); /* before the first opening has answered */
    must(open_store() == BQ_OK, power_why);
    add_state(power_dump(database()));
    for (unsigned i = 0; i < work->n_steps; i++) {
        do_something();
    }
    close_store();
    power_vfs_record(NULL);
    subject.log = NULL;
}

static void work_new(const struct power_work *work, struct power_log *log)
{
    struct power_disk empty;
    get_ready();
    power_disk_init(&empty);
    power_vfs_mount(&empty, work->powersafe);
    run(work, log);
}

static char *read_text(const char *path)
{
    char *text = calloc(1, 65536);
    FILE *file = fopen(path, "r");
    must(text != NULL && file != NULL, "run me in the source folder");
    must(fread(text, 1, 65535, file) > 0, "a schema without text");
    (void)fclose(file);
    return text;
}

/* A store as the first version made it, with one user's documents in it. */
static void make_old(void)
{
    static const char rest[] =
        "INSERT INTO user_sync_store (name, value) VALUES"
        " ('epoch', '5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a'),"
        " ('hash_key', '5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a');"
        "PRAGMA application_id = 1112626003; PRAGMA user_version = 1; COMMIT;"
        "PRAGMA wal_checkpoint(TRUNCATE)";
    sqlite3 *db;
    char *schema = read_text(FIRST_SCHEMA);
    must(sqlite3_open_v2(subject.path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
                         POWER_VFS_NAME) == SQLITE_OK,
         "no old file");
    must(sqlite3_exec(db, "PRAGMA journal_mode = WAL; BEGIN", NULL, NULL, NULL) == SQLITE_OK &&
             sqlite3_exec(db, schema, NULL, NULL, NULL) == SQLITE_OK &&
             sqlite3_exec(db, rest, NULL, NULL, NULL) == SQLITE_OK,
         "no old schema");
    (void)sqlite3_close(db);
    free(schema);
}

static void work_upgrade(const struct power_work *work, struct power_log *log)
{
    struct power_disk empty;
    get_ready();
    power_disk_init(&empty);
    power_vfs_mount(&empty, work->powersafe);
    make_old();
    run(work, log);
}

static enum power_verdict compare(size_t last, size_t only, size_t *out_found)
{
    size_t n = subject.n_states;
    /* Opening finishes what the first opening began. */
    last = last == 0 ? 1 : last;
    size_t newest = only != POWER_ANY ? only : last + 1 < n ? last + 1 : last;
    size_t oldest = only != POWER_ANY ? only : last;
    uint64_t dump = power_dump(database());
    size_t found = dump == 0 ? n : power_states_find(subject.states, n, newest, dump);
    if (found == n) {
        return power_say(POWER_HALF, "the rows are none of the states up to %zu", newest);
    }
    *out_found = found;
    return found < oldest
               ? power_say(POWER_LOST, "state %zu was committed, %zu is there", oldest, found)
               : POWER_GOOD;
}

static enum power_verdict judge(size_t k, size_t only, size_t *out_found)
{
    const char *synchronous = subject.synchronous;
    subject.synchronous = NULL;
    enum power_verdict verdict = POWER_CORRUPT;
    if (open_store() == BQ_OK && power_sound(database())) {
        verdict = compare(power_states_at(subject.states, subject.n_states, k), only, out_found);
    }
    close_store();
    subject.synchronous = synchronous;
    return verdict;
}

static bool read_doc(struct arena *arena, unsigned user, const char *key, struct json_value *out)
{
    struct store_doc doc;
    struct uuid id;
    struct store *store = subject.store;
    must(uuid_parse(slice_of(users[user]), &id), "no uuid");
    bool good = store->begin(store) == BQ_OK &&
                store->doc_get(store, arena, &id, slice_of(key), &doc) == BQ_OK;
    store->rollback(store);
    return good && doc.version > 0 && json_parse(arena, doc.data, 80, out, NULL) == BQ_OK;
}

static enum power_verdict check_user(struct arena *arena, unsigned user,
                                     const struct promise *promise)
{
    struct json_value document;
    int64_t counted = 0;
    if (read_doc(arena, user, "game_stats", &document)) {
        const struct json_value *value = json_get(&document, "incorrectAnswers");
        if (value == NULL || !json_to_int(value, &counted)) {
            counted = -1;
        }
    }
    if (counted != promise->counted) {
        return power_say(POWER_INEXACT, "counted %lld, not %lld", (long long)counted,
                         (long long)promise->counted);
    }
    for (unsigned i = 1; i <= promise->n_notes; i++) {
        char key[32];
        (void)snprintf(key, sizeof key, "note%u", i);
        if (!read_doc(arena, user, key, &document)) {
            return power_say(POWER_INEXACT, "%s is not there", key);
        }
    }
    return POWER_GOOD;
}

/* The batch before, whose answer was perhaps lost, again; then all that are left. */
static enum power_verdict finish(size_t found)
{
    struct arena arena;
    enum power_verdict verdict = POWER_GOOD;
    size_t done = subject.batch_before[found];
    size_t first = done > 0 ? done - 1 : 0;
    size_t last = done + 2 < subject.n_batches ? done + 2 : subject.n_batches;
    for (size_t i = first; i < last; i++) {
        if (run_batch(&subject.batches[i]) != BQ_OK) {
            return power_say(POWER_INEXACT, "a batch fails after the power loss");
        }
    }
    size_t state = found;
    while (state + 1 < subject.n_states && subject.batch_before[state] < last) {
        state++;
    }
    arena_init(&arena);
    for (unsigned i = 0; i < N_USERS && verdict == POWER_GOOD; i++) {
        verdict = check_user(&arena, i, &subject.promises[state][i]);
    }
    arena_release(&arena);
    return verdict;
}

static enum power_verdict go_on(size_t k, size_t found)
{
    (void)k;
    subject.synchronous = NULL;
    subject.context.now_us += INT64_C(60000000);
    enum power_verdict verdict = open_store() == BQ_OK ? finish(found) : POWER_CORRUPT;
    close_store();
    return verdict;
}

const struct power_subject power_store = {"store", work_new, judge, go_on, forget};
const struct power_subject power_upgrade = {"upgrade", work_upgrade, judge, go_on, forget};
