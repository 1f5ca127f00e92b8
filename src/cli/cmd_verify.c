/* cmd_verify.c - bqsync verify: whether every row of an older system is in the store, and what
 * became of those that read differently here (docs/migration.md).
 *
 * The rows are read as migrate reads them. A receipt of the migration's device tells that a row was
 * taken in; where the document is another one now, somebody wrote since. Exit code 0 only where
 * nothing is missing. */
#include <stdio.h>
#include <time.h>

#include "base/hash.h"
#include "base/status.h"
#include "base/timestamp.h"
#include "cli/commands.h"
#include "cli/input.h"
#include "cli/old_functions.h"
#include "cli/operator.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/source.h"
#include "core/receipts.h"
#include "json/canonical.h"
#include "proto/edit.h"
#include "store/postgres.h"

#define VALUE_DEPTH 10000u
#define MOST_KEYS 256u /* that are counted apart */
#define US_PER_MS 1000
#define BATCH_ROWS 256
#define HASH_TEXT 32u

enum verdict {
    SAME,
    NEWER_HERE,
    MERGED,
    SUPERSEDED,
    DELETED_HERE,
    SET_ASIDE,
    MISSING,
    CHANGED_THERE,
    VERDICTS
};

static const struct {
    const char *name;
    const char *reason;
    bool bad;
} verdicts[VERDICTS] = {
    [SAME] = {"same", "", false},
    [NEWER_HERE] = {"newer_here", "it was taken in, and written here since", false},
    [MERGED] = {"merged", "it was merged into what was there", false},
    [SUPERSEDED] = {"superseded", "a newer row of the same document was taken in", false},
    [DELETED_HERE] = {"deleted_here", "it, or its user, was deleted here", false},
    [SET_ASIDE] = {"set_aside", "migrate sets this row aside", false},
    [MISSING] = {"missing", "it never came in: run migrate", true},
    [CHANGED_THERE] = {"changed_there", "it was written there since: run migrate again", true}};

struct key_count {
    char name[LIMIT_KEY_BYTES + 1];
    int64_t n[VERDICTS];
};

struct verify {
    const char *from;
    const char *report;
    struct buf from_place; /* without secrets */
    struct buf to_place;
    struct operator operator;
    struct source *source;
    struct progress progress;
    struct arena arena;
    struct buf line;
    struct key_count keys[MOST_KEYS + 1]; /* the last one: all others */
    uint32_t n_keys;
    int64_t n[VERDICTS];
    int64_t n_rows;
    int n_open_functions; /* of a live older system */
    uint64_t hash; /* of all documents of the source together, in any order */
};

static int fail(struct verify *verify, const char *what, int status, const char *why)
{
    return output_fail(verify->operator.json, status, "%s: %s", what,
                       why[0] == '\0' ? status_text(status) : why);
}

/* ---- One document ---------------------------------------------------------------------------- */

static int hash_of(struct verify *verify, const struct json_value *value, char *out)
{
    struct buf buf = BUF_INIT;
    json_canonical(&buf, &verify->arena, value);
    struct hash128 hash = hash_text(buf_slice(&buf), 0, 0);
    bool failed = buf.failed || arena_failed(&verify->arena);
    buf_release(&buf);
    snprintf(out, HASH_TEXT + 1, "%016llx%016llx", (unsigned long long)hash.high,
             (unsigned long long)hash.low);
    verify->hash += hash.low; /* undone where it is the store's */
    return failed ? BQ_NOMEM : BQ_OK;
}

static enum verdict judge(const struct source_row *row, const struct seed_row *doc,
                          const struct store_doc *here, const struct receipt *receipt, bool same,
                          struct slice fingerprint)
{
    bool live = here->version > 0 && !here->deleted;
    if (!proto_key_valid(doc->key) || doc->version > LIMIT_VERSION || row->wrong[0] != '\0') {
        return SET_ASIDE;
    }
    if (live && same) {
        return SAME;
    }
    if (receipt == NULL) {
        return MISSING;
    }
    if (!slice_is(fingerprint, receipt->id) && doc->modified_us / US_PER_MS >= receipt->op) {
        return CHANGED_THERE;
    }
    if (!live) {
        return DELETED_HERE;
    }
    if (!slice_is(fingerprint, receipt->id)) {
        return SUPERSEDED;
    }
    return here->version > receipt->version ? NEWER_HERE : MERGED;
}

static struct key_count *count_of(struct verify *verify, struct slice key)
{
    for (uint32_t i = 0; i < verify->n_keys; i++) {
        if (slice_is(key, verify->keys[i].name)) {
            return &verify->keys[i];
        }
    }
    if (verify->n_keys == MOST_KEYS || !proto_key_valid(key)) {
        snprintf(verify->keys[MOST_KEYS].name, sizeof verify->keys[0].name, "(others)");
        return &verify->keys[MOST_KEYS];
    }
    struct key_count *out = &verify->keys[verify->n_keys++];
    memcpy(out->name, key.ptr, key.len);
    out->name[key.len] = '\0';
    return out;
}

static int print_difference(struct verify *verify, const struct source_row *row, struct slice key,
                            enum verdict verdict, const char *reason, const char *hashes[2])
{
    struct buf *line = &verify->line;
    if (verify->operator.json) {
        output_begin(line);
        output_text(line, "difference", slice_of(verdicts[verdict].name));
        output_int(line, "row", row->number);
        output_text(line, "user_id", row->has_user ? uuid_slice(&row->user) : SLICE(""));
        output_text(line, "key", key.ptr == NULL ? SLICE("") : key);
        output_text(line, "reason", slice_of(reason));
        output_text(line, "hash_there", slice_of(hashes[0]));
        output_text(line, "hash_here", slice_of(hashes[1]));
        output_close(line);
    } else {
        buf_add_format(line, "%-13s row %lld  %s  %.*s  %s", verdicts[verdict].name,
                       (long long)row->number, row->has_user ? row->user.text : "?",
                       (int)(key.ptr == NULL ? 0 : key.len), key.ptr == NULL ? "" : key.ptr,
                       reason);
    }
    return output_line(verify->operator.json, line);
}

static int one_document(struct verify *verify, const struct source_row *row,
                        const struct seed_row *doc, bool erased)
{
    struct store *store = verify->operator.opened;
    struct store_doc here = {.version = 0};
    struct receipts receipts = {.n = 0};
    struct json_value value = json_absent();
    struct slice fingerprint;
    char hash_there[HASH_TEXT + 1] = "";
    char hash_here[HASH_TEXT + 1] = "";
    int status = hash_of(verify, &doc->value, hash_there);
    uint64_t sum = verify->hash;
    if (status == BQ_OK) {
        status = store->doc_get(store, &verify->arena, &row->user, doc->key, &here);
    }
    if (status == BQ_OK) {
        status = receipts_read(&verify->arena, here.receipts, &receipts);
    }
    if (status == BQ_OK && here.version > 0 && !here.deleted) {
        status = json_parse(&verify->arena, here.data, VALUE_DEPTH, &value, NULL);
        status = status == BQ_OK ? hash_of(verify, &value, hash_here) : status;
    }
    verify->hash = sum;
    if (status == BQ_OK) {
        status = seed_fingerprint(&verify->arena, &doc->value, &fingerprint);
    }
    if (status != BQ_OK) {
        return fail(verify, verify->to_place.ptr, status, "");
    }
    const struct receipt *receipt = receipts_find(&receipts, source_device(row->kind));
    bool same = strcmp(hash_there, hash_here) == 0 &&
                json_equal(&verify->arena, &doc->value, &value);
    enum verdict verdict =
        erased ? DELETED_HERE : judge(row, doc, &here, receipt, same, fingerprint);
    verify->n[verdict]++;
    count_of(verify, doc->key)->n[verdict]++;
    const char *hashes[2] = {hash_there, hash_here};
    return verdict == SAME ? CLI_OK
                           : print_difference(verify, row, doc->key, verdict,
                                              verdicts[verdict].reason, hashes);
}

/* ---- All rows -------------------------------------------------------------------------------- */

static bool has_v1_device(const struct store_v1_devices *all, struct slice id)
{
    for (uint32_t i = 0; i < all->n; i++) {
        if (slice_equal(all->items[i].device_id, id)) {
            return true;
        }
    }
    return false;
}

static bool has_device(const struct store_devices *all, struct slice id)
{
    for (uint32_t i = 0; i < all->n; i++) {
        if (slice_equal(all->items[i].device_id, id)) {
            return true;
        }
    }
    return false;
}

/* A device is there or not; of a user with very many the oldest are not kept. */
static int one_device(struct verify *verify, const struct source_row *row)
{
    struct store *store = verify->operator.opened;
    struct store_v1_devices v1 = {.n = 0};
    struct store_devices devices = {.n = 0};
    const char *none[2] = {"", ""};
    int status = store->v1_devices(store, &verify->arena, &row->user, &v1);
    if (status == BQ_OK) {
        status = store->devices(store, &verify->arena, &row->user, &devices);
    }
    if (status != BQ_OK) {
        return fail(verify, verify->to_place.ptr, status, "");
    }
    struct slice id = row->has_device ? row->device.device_id : row->v1_device.device_id;
    bool full = row->has_device ? devices.n >= LIMIT_DEVICES : v1.n >= LIMIT_DEVICES;
    bool found = row->has_device ? has_device(&devices, id) : has_v1_device(&v1, id);
    enum verdict verdict = found ? SAME : full ? SUPERSEDED : MISSING;
    verify->n[verdict]++;
    return found ? CLI_OK
                 : print_difference(verify, row, id, verdict,
                                    full ? "only the devices that synced last are kept"
                                         : "the device is not there: run migrate",
                                    none);
}

static int one_row(struct verify *verify, const struct source_row *row)
{
    struct store *store = verify->operator.opened;
    const char *none[2] = {"", ""};
    struct store_user user;
    if (row->wrong[0] != '\0') {
        verify->n[SET_ASIDE]++;
        return print_difference(verify, row, SLICE_NONE, SET_ASIDE, row->wrong, none);
    }
    int status = store->user_get(store, &row->user, &user);
    if (status != BQ_OK) {
        return fail(verify, verify->to_place.ptr, status, "");
    }
    int result = CLI_OK;
    if (!user.exists && row->n_docs == 0 && row->kind == SOURCE_V1_ROW) {
        verify->n[MISSING]++;
        result = print_difference(verify, row, SLICE_NONE, MISSING, verdicts[MISSING].reason, none);
    }
    for (uint32_t i = 0; i < row->n_docs && result == CLI_OK; i++) {
        result = one_document(verify, row, &row->docs[i], user.erased);
    }
    if (result == CLI_OK && (row->has_device || row->has_v1_device) && !user.erased) {
        result = one_device(verify, row);
    }
    return result;
}

static int all_rows(struct verify *verify)
{
    struct store *store = verify->operator.opened;
    struct source_row row;
    int result = CLI_OK;
    int status = store->begin(store);
    while (status == BQ_OK && result == CLI_OK) {
        arena_reset(&verify->arena);
        status = verify->source->next(verify->source, &verify->arena, &row);
        if (status == BQ_OK) {
            verify->n_rows++;
            result = one_row(verify, &row);
            progress_set_rows(&verify->progress, (uint64_t)verify->source->done,
                              (uint64_t)verify->n_rows);
        }
    }
    store->rollback(store);
    if (status != BQ_OK && status != BQ_NOT_FOUND) {
        return fail(verify, verify->from_place.ptr, status, verify->source->error);
    }
    return result;
}

/* ---- The guide's own checks ------------------------------------------------------------------ */

/* What the guide tells to look at afterwards, with what it will say here. */
static int print_checks(struct verify *verify)
{
    struct buf *line = &verify->line;
    int64_t n_bad = verify->n[MISSING] + verify->n[CHANGED_THERE];
    int result = CLI_OK;
    static const char duplicates[] = "SELECT user_id, data_key, COUNT(*) FROM user_sync_data_v2 "
                                     "GROUP BY user_id, data_key HAVING COUNT(*) > 1;";
    static const char by_key[] = "SELECT data_key, COUNT(*) AS count, AVG(version) AS avg_version "
                                 "FROM user_sync_data_v2 GROUP BY data_key;";
    buf_add_format(line,
                   "the guide's checks, and what they say when all is well:\n  %s\n    no row",
                   duplicates);
    result = output_line(false, line);
    if (result == CLI_OK) {
        buf_add_format(line, "  %s\n    of each key at least:", by_key);
        result = output_line(false, line);
    }
    for (uint32_t i = 0; i < verify->n_keys && result == CLI_OK; i++) {
        const int64_t *n = verify->keys[i].n;
        buf_add_format(line, "    %-24s %lld", verify->keys[i].name,
                       (long long)n[SAME] + n[NEWER_HERE] + n[MERGED] + n[DELETED_HERE]);
        result = output_line(false, line);
    }
    if (result == CLI_OK) {
        buf_add_format(line,
                       "%lld rows: %lld the same here, %lld newer here, %lld merged, %lld "
                       "superseded, %lld deleted here, %lld set aside, %lld missing, %lld changed "
                       "there since: %s",
                       (long long)verify->n_rows, (long long)verify->n[SAME],
                       (long long)verify->n[NEWER_HERE], (long long)verify->n[MERGED],
                       (long long)verify->n[SUPERSEDED], (long long)verify->n[DELETED_HERE],
                       (long long)verify->n[SET_ASIDE], (long long)verify->n[MISSING],
                       (long long)verify->n[CHANGED_THERE],
                       n_bad == 0 ? "nothing is missing" : "NOT everything is here");
        result = output_line(false, line);
    }
    return result;
}

/* ---- The report ------------------------------------------------------------------------------ */

/* Since when all verifications of this source and store were green: of an earlier report. */
static int64_t green_since(struct verify *verify, int64_t now_us)
{
    struct buf text = BUF_INIT;
    struct json_value report;
    int64_t since_us = now_us;
    FILE *there = fopen(verify->report, "re");
    if (there == NULL) {
        return now_us;
    }
    fclose(there);
    if (input_file(verify->operator.json, verify->report, &text) == BQ_OK &&
        json_parse(&verify->arena, buf_slice(&text), VALUE_DEPTH, &report, NULL) == BQ_OK) {
        const struct json_value *green = json_get(&report, "green");
        const struct json_value *from = json_get(&report, "from");
        const struct json_value *to = json_get(&report, "to");
        const struct json_value *since = json_get(&report, "green_since");
        if (json_is(green, JSON_TRUE) && json_is(from, JSON_STRING) && json_is(to, JSON_STRING) &&
            json_is(since, JSON_STRING) &&
            slice_equal(json_text(from), buf_slice(&verify->from_place)) &&
            slice_equal(json_text(to), buf_slice(&verify->to_place))) {
            (void)timestamp_parse(json_text(since), &since_us);
        }
    }
    buf_release(&text);
    return since_us;
}

static void print_report(struct verify *verify, struct buf *out, bool green)
{
    char time[TIMESTAMP_TEXT];
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t now_us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
    output_begin(out);
    output_text(out, "from", buf_slice(&verify->from_place));
    output_text(out, "to", buf_slice(&verify->to_place));
    (void)timestamp_print(now_us, time);
    output_text(out, "at", slice_of(time));
    output_bool(out, "green", green);
    if (green) {
        (void)timestamp_print(green_since(verify, now_us), time);
        output_text(out, "green_since", slice_of(time));
    }
    output_int(out, "rows", verify->n_rows);
    output_int(out, "open_functions", verify->n_open_functions);
    for (int i = 0; i < VERDICTS; i++) {
        output_int(out, verdicts[i].name, verify->n[i]);
    }
    char hash[17];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)verify->hash);
    output_text(out, "hash", slice_of(hash));
    struct buf keys = BUF_INIT;
    output_begin(&keys);
    for (uint32_t i = 0; i <= MOST_KEYS; i++) {
        struct buf counts = BUF_INIT;
        if (verify->keys[i].name[0] == '\0') {
            continue;
        }
        output_begin(&counts);
        for (int k = 0; k < VERDICTS; k++) {
            output_int(&counts, verdicts[k].name, verify->keys[i].n[k]);
        }
        output_close(&counts);
        output_raw(&keys, verify->keys[i].name, buf_slice(&counts));
        keys.failed |= counts.failed;
        buf_release(&counts);
    }
    output_close(&keys);
    output_raw(out, "keys", buf_slice(&keys));
    out->failed |= keys.failed;
    buf_release(&keys);
    output_close(out);
}

/* A live older system whose functions anybody may call for anybody is not moved out of. */
static int check_functions(struct verify *verify)
{
    struct buf revokes = BUF_INIT;
    int result = CLI_OK;
    if (!store_postgres_is_url(verify->from)) {
        return CLI_OK;
    }
    PGconn *connection = PQconnectdb(verify->from);
    if (PQstatus(connection) != CONNECTION_OK ||
        old_functions(connection, &revokes, &verify->n_open_functions) != BQ_OK) {
        result = fail(verify, verify->from_place.ptr, BQ_NETWORK, PQerrorMessage(connection));
    }
    PQfinish(connection);
    if (result == CLI_OK && verify->n_open_functions > 0) {
        fprintf(stderr,
                "bqsync: %d functions of the older system are open to everybody; `bqsync cleanup "
                "--v1 --revoke` closes them once no old app needs them:\n%s",
                verify->n_open_functions, revokes.ptr);
    }
    buf_release(&revokes);
    return result;
}

static int tell(struct verify *verify)
{
    struct buf line = BUF_INIT;
    bool json = verify->operator.json;
    bool green = verify->n[MISSING] + verify->n[CHANGED_THERE] + verify->n_open_functions == 0;
    print_report(verify, &line, green);
    int result = line.failed ? output_fail(json, BQ_NOMEM, "%s", status_text(BQ_NOMEM))
                             : output_exit(input_replace_file(json, verify->report,
                                                              buf_slice(&line)));
    if (result == CLI_OK) {
        result = json ? output_line(true, &line) : print_checks(verify);
    }
    buf_release(&line);
    return result == CLI_OK && !green ? CLI_PROBLEM : result;
}

int cmd_verify(int argc, char **argv)
{
    static struct verify verify;
    int n;
    const struct option_spec options[] = {
        OPTION_TEXT("from", "SOURCE", &verify.from, "what migrate was given"),
        OPTION_TEXT("to", "STORE", &verify.operator.store, "the store: " STORE_PLACES),
        OPTION_TEXT("report", "FILE", &verify.report,
                    "takes the report (default bqsync-verify.json); cleanup reads it"),
        OPTION_FLAG("json", &verify.operator.json, "results as one JSON value a line"),
    };
    const struct command_line line = {
        "verify", "",
        "Compares every row of an older system with the store, by value, and lists each that\n"
        "reads differently here with the reason. Exit code 0 only where nothing is missing. Its\n"
        "server may run meanwhile.\n",
        options, OPTION_COUNT(options), 0, 0};
    verify.report = "bqsync-verify.json";
    int done = options_parse(&line, argc, argv, &n);
    if (done != OPTIONS_GO) {
        return done;
    }
    if (verify.from == NULL || verify.operator.store == NULL) {
        fputs("bqsync: verify: --from and --to are needed\n", stderr);
        return CLI_USAGE;
    }
    arena_init(&verify.arena);
    (void)source_place(&verify.from_place, verify.from);
    (void)source_place(&verify.to_place, verify.operator.store);
    int result = source_open(verify.from, verify.operator.store, verify.operator.json,
                             &verify.source);
    if (result == CLI_OK) {
        result = operator_open(&verify.operator, false);
        if (result == CLI_OK) {
            progress_begin(&verify.progress, "verify", (uint64_t)verify.source->total);
            result = all_rows(&verify);
            progress_end(&verify.progress);
        }
        result = result == CLI_OK ? check_functions(&verify) : result;
        result = result == CLI_OK ? tell(&verify) : result;
        verify.source->close(verify.source);
        operator_close(&verify.operator);
    }
    arena_release(&verify.arena);
    buf_release(&verify.line);
    buf_release(&verify.from_place);
    buf_release(&verify.to_place);
    return result;
}
