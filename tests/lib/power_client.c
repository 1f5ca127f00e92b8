/* power_client.c - the client's file under power loss: libbqsync as an app uses it, against the
 * server's core in memory.
 *
 * An app counts (game_stats/incorrectAnswers, a sum), keeps notes (members that only it writes) and
 * one document that it overwrites and removes; another device counts and notes as well; requests
 * and answers are lost now and then; the handle is closed and opened again. Each commit of the file
 * is a *state*: the fingerprint of all rows, and what the app had been promised by then. The server
 * is copied whenever it has served a request, so that the history can go on from any moment. */
#include "power_judge.h"

#include "base/status.h"
#include "client/disk_impl.h"
#include "client/handle.h"
#include "core/engine.h"
#include "fake_server.h"
#include "json/json.h"
#include "scratch.h"
#include "token.h"

#include <stdio.h>
#include <stdlib.h>

#define USER "aaaaaaaa-0000-4000-8000-000000000001"
#define OTHER_DEVICE "bq-0123456789abcdef0123456789abcdef"
#define START_MS INT64_C(1770000000000)
#define STATES_MAX 2000
#define MOMENTS_MAX 400
#define SENT_MAX 800
#define DRAIN_TURNS 200
#define TRIES_MAX 100u

/* What the app knows to be kept. */
struct promise {
    int64_t counted;
    unsigned n_notes;
    unsigned last_blob; /* 0: removed */
};

/* The server after a request. */
struct moment {
    size_t at;
    struct fake_server *server;
    int64_t others_counted;
    unsigned others_notes;
};

/* An edit as it was sent. */
struct sent {
    size_t at;
    char key[32];
    int64_t op;
    char id[PROTO_ID_BYTES + 1];
    struct slice text; /* owned */
};

static struct client {
    bool ready;   /* scratch and token are there, and the hooks */
    bool hooking; /* connections that are opened now are the client's */
    struct scratch scratch;
    char path[200];
    char *token;
    int64_t now_ms;
    struct rng rng;
    struct rng seeds;
    const struct power_log *log; /* NULL: nothing is recorded */
    int checkpoint_pages;
    const char *synchronous;
    struct fake_server *server;
    struct bq *bq;
    struct power_state states[STATES_MAX];
    struct promise promises[STATES_MAX];
    size_t n_states;
    uint64_t n_looks;    /* at the clock: each step of the engine begins with one */
    uint64_t last_looks; /* when the newest state was committed */
    struct moment moments[MOMENTS_MAX];
    size_t n_moments;
    struct sent sent[SENT_MAX];
    size_t n_sent;
    char device[ENGINE_DEVICE_TEXT]; /* of the first request that was recorded */
    size_t device_at;
    struct promise promise;
    unsigned n_blobs;
    int64_t others_counted;
    unsigned others_notes;
    bool in_other;      /* the request is the other device's */
    size_t k;           /* while going on: where the power went */
    const char *broken; /* a rule that a request broke */
} client;

static void must(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "power_client: %s\n", what);
        abort();
    }
}

static size_t position(void)
{
    return client.log == NULL ? 0 : client.log->n;
}

/* ---- What is watched ------------------------------------------------------------------------- */

/* Of two commits in one step the first is no state. */
static void add_state(uint64_t dump)
{
    must(client.n_states < STATES_MAX, "too many states");
    if (client.n_states > 1 && client.last_looks == client.n_looks) {
        client.n_states--;
    }
    client.last_looks = client.n_looks;
    client.promises[client.n_states] = client.promise;
    client.states[client.n_states++] = (struct power_state){position(), dump};
}

/* SQLite's own hook, which checkpoints, with fewer pages than its 1,000; each commit is a state. */
static int on_commit(void *context, sqlite3 *db, const char *name, int n_pages)
{
    (void)context;
    if (client.log != NULL) {
        uint64_t dump = power_dump(db);
        must(dump != 0, "the file cannot be read");
        add_state(dump);
    }
    if (n_pages >= client.checkpoint_pages) {
        (void)sqlite3_wal_checkpoint_v2(db, name, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    }
    return SQLITE_OK;
}

/* Opening a connection sets SQLite's hook last, so that ours can only come in with its first
 * statement. */
static int on_statement(unsigned type, void *context, void *statement, void *text)
{
    sqlite3 *db = context;
    (void)type;
    (void)statement;
    (void)text;
    (void)sqlite3_wal_hook(db, on_commit, NULL);
    return 0;
}

static int on_connection(sqlite3 *db, const char **error, const struct sqlite3_api_routines *api)
{
    (void)error;
    (void)api;
    if (client.hooking) {
        (void)sqlite3_trace_v2(db, SQLITE_TRACE_STMT, on_statement, db);
    }
    return SQLITE_OK;
}

/* A frozen edit goes out as it is on disk: never changed, never under another number. */
static void check_sent(const struct sent *edit)
{
    for (size_t i = 0; i < client.n_sent; i++) {
        const struct sent *before = &client.sent[i];
        bool same_number = before->op == edit->op && strcmp(before->key, edit->key) == 0;
        bool same_id = strcmp(before->id, edit->id) == 0;
        if (before->at > client.k || (!same_number && !same_id)) {
            continue;
        }
        if (!same_number || !same_id || !slice_equal(before->text, edit->text)) {
            client.broken = "an edit was sent again under another number, or changed";
        }
    }
}

static void keep_sent(const struct sent *edit)
{
    must(client.n_sent < SENT_MAX, "too many edits");
    client.sent[client.n_sent] = *edit;
    client.sent[client.n_sent].at = position();
    client.sent[client.n_sent++].text.ptr = strndup(edit->text.ptr, edit->text.len);
}

static void see_edit(const struct json_value *value)
{
    struct sent edit = {.at = 0};
    struct buf text = BUF_INIT;
    const struct json_value *key = json_get(value, "key");
    const struct json_value *op = json_get(value, "op");
    const struct json_value *id = json_get(value, "id");
    must(key != NULL && op != NULL && id != NULL, "an edit without a name");
    (void)snprintf(edit.key, sizeof edit.key, "%.*s", SLICE_FMT(json_text(key)));
    (void)snprintf(edit.id, sizeof edit.id, "%.*s", SLICE_FMT(json_text(id)));
    must(json_to_int(op, &edit.op), "an op that is no number");
    json_print(&text, value);
    edit.text = buf_slice(&text);
    check_sent(&edit);
    if (client.log != NULL) {
        keep_sent(&edit);
    }
    buf_release(&text);
}

static void see_device(struct slice device)
{
    if (client.device[0] == '\0') {
        must(device.len < sizeof client.device, "a long device id");
        (void)snprintf(client.device, sizeof client.device, "%.*s", SLICE_FMT(device));
        client.device_at = position();
    } else if (!slice_is(device, client.device) && client.device_at <= client.k) {
        client.broken = "the file has another device id";
    }
}

static void see_request(const char *body)
{
    struct arena arena;
    struct json_value request;
    arena_init(&arena);
    must(json_parse(&arena, slice_of(body), 80, &request, NULL) == BQ_OK, "a request is no JSON");
    const struct json_value *device = json_get(&request, "p_device_id");
    const struct json_value *edits = json_get(&request, "p_edits");
    if (device != NULL) {
        see_device(json_text(device));
    }
    for (uint32_t i = 0; edits != NULL && i < edits->count; i++) {
        see_edit(&edits->items[i]);
    }
    arena_release(&arena);
}

static void keep_moment(void)
{
    if (client.log != NULL) {
        must(client.n_moments < MOMENTS_MAX, "too many requests");
        client.moments[client.n_moments++] =
            (struct moment){position(), fake_server_clone(client.server), client.others_counted,
                            client.others_notes};
    }
}

/* The server served (or lost) a request. */
static void after_request(void)
{
    if (!client.in_other) {
        see_request(fake_server_last_body(client.server));
        keep_moment();
    }
}

static void before_request(void)
{
}

/* ---- The app --------------------------------------------------------------------------------- */

static int64_t now_ms(void)
{
    client.n_looks++;
    return client.now_ms;
}

static uint64_t next_seed(void)
{
    return rng_next(&client.seeds);
}

static int open_handle(void)
{
    static char error[BQ_ERROR_TEXT];
    struct bq_config config = BQ_CONFIG_INIT;
    struct handle_hooks hooks = {.transport = fake_server_connect(client.server),
                                 .vfs = POWER_VFS_NAME,
                                 .now_ms = now_ms,
                                 .seed = next_seed};
    config.path = client.path;
    config.url = "http://fake";
    config.flags = BQ_MANUAL;
    config.error_text = error;
    int status = handle_open(&config, &hooks, &client.bq);
    if (status != BQ_OK) {
        (void)power_say(POWER_CORRUPT, "bq_open: %s", error);
    } else if (client.synchronous != NULL) {
        char sql[64];
        (void)snprintf(sql, sizeof sql, "PRAGMA synchronous = %s", client.synchronous);
        must(disk_exec(client.bq->disk, sql) == SQLITE_OK, "synchronous cannot be set");
    }
    return status;
}

static void close_handle(void)
{
    bq_close(client.bq);
    client.bq = NULL;
}

static int count_one(void)
{
    client.promise.counted++;
    int status = bq_increment(client.bq, "game_stats", "incorrectAnswers", "1",
                              rng_below(&client.rng, 4) == 0 ? BQ_IMMEDIATE : 0);
    client.promise.counted -= status == BQ_OK ? 0 : 1;
    return status;
}

/* As a patch, or as the whole document. */
static int note_one(void)
{
    char text[4096];
    struct bq_document document = {.size = sizeof document};
    unsigned n = ++client.promise.n_notes;
    bool whole = rng_below(&client.rng, 2) == 0 && bq_get(client.bq, "notes", &document) == BQ_OK;
    if (!whole) {
        (void)snprintf(text, sizeof text, "{\"m%u\":%u}", n, n);
        return bq_patch(client.bq, "notes", text, SIZE_MAX, 0);
    }
    (void)snprintf(text, sizeof text, "%.*s%s\"m%u\":%u}", (int)document.json_len - 1,
                   document.json, document.json_len > 2 ? "," : "", n, n);
    bq_document_release(&document);
    return bq_put(client.bq, "notes", text, SIZE_MAX, 0);
}

static int overwrite(void)
{
    static char text[24000];
    unsigned before = client.promise.last_blob;
    int status;
    if (before != 0 && rng_below(&client.rng, 4) == 0) {
        client.promise.last_blob = 0;
        status = bq_remove(client.bq, "blob", 0);
    } else {
        int n_pad = (int)rng_below(&client.rng, rng_below(&client.rng, 4) == 0 ? 20000 : 500);
        client.promise.last_blob = ++client.n_blobs;
        (void)snprintf(text, sizeof text, "{\"v\":%u,\"pad\":\"%0*d\"}", client.n_blobs, n_pad + 1,
                       0);
        status = bq_put(client.bq, "blob", text, SIZE_MAX, 0);
    }
    client.promise.last_blob = status == BQ_OK ? client.promise.last_blob : before;
    return status;
}

/* The other device, straight to the server. A loss that waits may meet it; then it sends again. */
static void other_edit(const char *key, int64_t op, const char *edit)
{
    char body[600];
    struct transport_answer answer;
    (void)snprintf(body, sizeof body,
                   "{\"p_device_id\":\"" OTHER_DEVICE "\",\"p_edits\":[{\"op\":%lld,\"prev\":%lld,"
                   "\"id\":\"%016llx\",\"key\":\"%s\",%s}]}",
                   (long long)op, (long long)op - 1, (unsigned long long)op, key, edit);
    struct transport *transport = fake_server_connect(client.server);
    struct transport_request request = {1, "sync_exchange", slice_of(body), client.token};
    unsigned n_tries = 0;
    do {
        must(transport->start(transport, &request) == BQ_OK, "the other device cannot send");
        must(transport->wait(transport, 0, &answer) && ++n_tries < TRIES_MAX, "it hears nothing");
    } while (answer.http_status == 0);
    must(answer.http_status == 200, "the other device was refused");
    transport->free(transport);
    keep_moment();
}

static void other_writes(void)
{
    client.in_other = true;
    if (rng_below(&client.rng, 2) == 0) {
        client.others_counted++;
        other_edit("game_stats", client.others_counted,
                   "\"base\":-1,\"was\":{\"incorrectAnswers\":0},"
                   "\"now\":{\"incorrectAnswers\":1}");
    } else {
        char edit[64];
        client.others_notes++;
        (void)snprintf(edit, sizeof edit, "%s,\"now\":{\"o%u\":0}",
                       client.others_notes == 1 ? "\"base\":0" : "\"base\":-1,\"was\":{}",
                       client.others_notes);
        other_edit("notes", client.others_notes, edit);
    }
    client.in_other = false;
}

static void turn(void)
{
    client.now_ms += 2500;
    must(bq_step(client.bq, 0) == BQ_OK, "a step failed");
}

/* false: it does not come to rest. */
static bool drain(void)
{
    for (int i = 0; i < DRAIN_TURNS; i++) {
        client.now_ms += 2500;
        if (bq_pull(client.bq, 0) == BQ_CLOSED || bq_step(client.bq, 0) != BQ_OK) {
            return false;
        }
        if (i > 3 && engine_quiet(client.bq->engine)) {
            return true;
        }
    }
    return false;
}

static void open_again(void)
{
    close_handle();
    must(open_handle() == BQ_OK, power_why);
    char user[37];
    bq_user(client.bq, user);
    if (user[0] != '\0') {
        must(bq_set_token(client.bq, client.token) == BQ_OK, "the token was refused");
    }
}

static void sign_in(void)
{
    must(bq_sign_in(client.bq, client.token, BQ_GUEST_MERGE, NULL) == BQ_OK, "no signing in");
}

static void lose_one(void)
{
    enum fake_verdict verdict = rng_below(&client.rng, 3) == 0 ? FAKE_LOSE : FAKE_LOSE_ACK;
    fake_server_next(client.server, verdict, 0, -1, NULL);
}

static void do_something(void)
{
    uint64_t what = rng_below(&client.rng, 16);
    int status = BQ_OK;
    if (what < 4) {
        status = count_one();
    } else if (what < 6) {
        status = note_one();
    } else if (what < 8) {
        status = overwrite();
    } else if (what < 12) {
        turn();
    } else if (what == 12) {
        lose_one();
    } else if (what == 13) {
        other_writes();
    } else if (what == 14) {
        (void)drain();
    } else {
        open_again();
    }
    must(status == BQ_OK, "a write failed");
}

/* ---- The subject ----------------------------------------------------------------------------- */

static void get_ready(void)
{
    if (client.ready) {
        return;
    }
    client.ready = true;
    scratch_init(&client.scratch);
    (void)scratch_path(&client.scratch, "client.bqsync", client.path, sizeof client.path);
    client.token = token_user(USER);
    must(sqlite3_auto_extension((void (*)(void))on_connection) == SQLITE_OK, "no hook");
}

static void forget(void)
{
    for (size_t i = 0; i < client.n_moments; i++) {
        fake_server_free(client.moments[i].server);
    }
    for (size_t i = 0; i < client.n_sent; i++) {
        free((char *)(uintptr_t)client.sent[i].text.ptr);
    }
    client.n_moments = 0;
    client.n_sent = 0;
    client.n_states = 0;
}

static void begin(const struct power_work *work)
{
    struct power_disk empty;
    power_disk_init(&empty);
    power_vfs_mount(&empty, work->powersafe);
    rng_init(&client.rng, work->seed);
    rng_init(&client.seeds, work->seed ^ UINT64_C(0x9e3779b97f4a7c15));
    client.now_ms = START_MS;
    client.synchronous = work->synchronous;
    client.checkpoint_pages = 10 + (int)rng_below(&client.rng, 40);
    client.promise = (struct promise){.counted = 0};
    client.n_blobs = 0;
    client.others_counted = 0;
    client.others_notes = 0;
    client.device[0] = '\0';
    client.k = SIZE_MAX;
    client.broken = NULL;
    client.server = fake_server_new();
    fake_server_set_policy(client.server, "tally", "{\"fields\":{\"n\":\"sum\"}}");
    fake_server_guard(client.server, before_request, after_request);
}

/* Nothing was written yet but who the guest is. */
static bool is_fresh(sqlite3 *db)
{
    return power_number(db,
                        "SELECT (SELECT count(*) FROM lane) + (SELECT count(*) FROM synced)"
                        " + (SELECT count(*) FROM mine) + (SELECT count(*) FROM frozen)"
                        " + (SELECT count(*) FROM log) + (SELECT count(*) FROM dead)"
                        " + (SELECT count(*) FROM app WHERE name = 'user' AND value <> '')") == 0;
}

static enum power_verdict compare(sqlite3 *db, size_t last, size_t only, size_t *out_found)
{
    size_t n = client.n_states;
    size_t newest = only != POWER_ANY ? only : last + 1 < n ? last + 1 : last;
    uint64_t dump = power_dump(db);
    size_t found = dump == 0 ? n : power_states_find(client.states, n, newest, dump);
    if (found == n && is_fresh(db)) {
        found = 0;
    }
    if (found == n) {
        return power_say(POWER_HALF, "the rows are none of the states up to %zu", newest);
    }
    *out_found = found;
    size_t oldest = only != POWER_ANY ? only : last;
    return found < oldest
               ? power_say(POWER_LOST, "state %zu was committed, %zu is there", oldest, found)
               : POWER_GOOD;
}

static enum power_verdict judge(size_t k, size_t only, size_t *out_found)
{
    char error[BQ_ERROR_TEXT];
    struct disk *disk;
    if (disk_open(client.path, POWER_VFS_NAME, &disk, error) != BQ_OK) {
        return power_say(POWER_CORRUPT, "%s", error);
    }
    enum power_verdict verdict = POWER_CORRUPT;
    if (power_sound(disk->db)) {
        size_t last = power_states_at(client.states, client.n_states, k);
        verdict = compare(disk->db, last, only, out_found);
    }
    disk_close(disk);
    return verdict;
}

static int64_t number_at(const struct json_value *document, const char *name)
{
    int64_t number = -1;
    const struct json_value *value = json_get(document, name);
    return value != NULL && json_to_int(value, &number) ? number : -1;
}

static bool has_notes(const struct json_value *notes, char prefix, unsigned n)
{
    for (unsigned i = 1; i <= n; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "%c%u", prefix, i);
        if (json_get(notes, name) == NULL) {
            return false;
        }
    }
    return true;
}

/* Reads a document of the server; an absent one is {}. */
static struct json_value server_document(struct arena *arena, const char *key)
{
    struct json_value value;
    char *text = fake_server_document(client.server, USER, key);
    struct slice copy = arena_copy(arena, slice_of(text[0] == '\0' ? "{}" : text));
    must(json_parse(arena, copy, 80, &value, NULL) == BQ_OK, "the server's document is no JSON");
    free(text);
    return value;
}

static enum power_verdict check_server(void)
{
    struct arena arena;
    struct buf text = BUF_INIT;
    struct bq_stats stats = {.size = sizeof stats};
    arena_init(&arena);
    struct json_value counts = server_document(&arena, "game_stats");
    struct json_value notes = server_document(&arena, "notes");
    struct json_value blob = server_document(&arena, "blob");
    int64_t counted = number_at(&counts, "incorrectAnswers");
    int64_t expected = client.promise.counted + client.others_counted;
    int64_t version = number_at(&blob, "v");
    bool has_all = has_notes(&notes, 'm', client.promise.n_notes) &&
                   has_notes(&notes, 'o', client.others_notes) &&
                   notes.count == client.promise.n_notes + client.others_notes;
    json_print(&text, &notes);
    (void)power_say(POWER_INEXACT, "the notes are not the %u and %u that were made: %.*s",
                    client.promise.n_notes, client.others_notes, (int)text.len, text.ptr);
    buf_release(&text);
    arena_release(&arena);
    if (counted != expected) {
        return power_say(POWER_INEXACT, "counted %lld, not %lld", (long long)counted,
                         (long long)expected);
    }
    if (!has_all) {
        return POWER_INEXACT;
    }
    if (version != (client.promise.last_blob == 0 ? -1 : (int64_t)client.promise.last_blob)) {
        return power_say(POWER_INEXACT, "the blob is %lld, not %u", (long long)version,
                         client.promise.last_blob);
    }
    if (bq_stats(client.bq, &stats) != BQ_OK || stats.dead_letters != 0) {
        return power_say(POWER_INEXACT, "there are dead letters");
    }
    return POWER_GOOD;
}

static void work(const struct power_work *work, struct power_log *log)
{
    get_ready();
    begin(work);
    client.hooking = true;
    power_vfs_record(log);
    client.log = log;
    add_state(0); /* the file before its first commit; its tables may be there or not */
    client.moments[client.n_moments++] = (struct moment){0, fake_server_clone(client.server), 0, 0};
    must(open_handle() == BQ_OK, power_why);
    for (uint64_t n = rng_below(&client.rng, 3); n > 0; n--) {
        must((n == 1 ? note_one() : count_one()) == BQ_OK, "a guest's write failed");
    }
    sign_in();
    for (unsigned i = 0; i < work->n_steps; i++) {
        do_something();
    }
    must(drain(), "the history does not end");
    must(check_server() == POWER_GOOD, power_why);
    close_handle();
    power_vfs_record(NULL);
    client.log = NULL;
    client.hooking = false;
    must(client.broken == NULL, client.broken);
    fake_server_free(client.server);
    client.server = NULL;
}

static const struct moment *moment_at(size_t k)
{
    size_t last = 0;
    for (size_t i = 0; i < client.n_moments && client.moments[i].at <= k; i++) {
        last = i;
    }
    return &client.moments[last];
}

static enum power_verdict finish(void)
{
    char user[37];
    bq_user(client.bq, user);
    int status = user[0] == '\0' ? bq_sign_in(client.bq, client.token, BQ_GUEST_MERGE, NULL)
                                 : bq_set_token(client.bq, client.token);
    if (status == BQ_OK) {
        status = count_one();
    }
    if (status == BQ_OK) {
        status = note_one();
    }
    if (status != BQ_OK) {
        return power_say(POWER_INEXACT, "the app cannot go on: %s", bq_status_code(status));
    }
    if (!drain()) {
        return power_say(POWER_INEXACT, "the queue does not drain");
    }
    if (client.broken != NULL) {
        return power_say(POWER_INEXACT, "%s", client.broken);
    }
    return check_server();
}

static enum power_verdict go_on(size_t k, size_t found)
{
    const struct moment *moment = moment_at(k);
    client.server = fake_server_clone(moment->server);
    client.others_counted = moment->others_counted;
    client.others_notes = moment->others_notes;
    client.promise = client.promises[found];
    client.now_ms += 60000;
    client.k = k;
    client.broken = NULL;
    client.hooking = true;
    fake_server_guard(client.server, before_request, after_request);
    enum power_verdict verdict = open_handle() == BQ_OK ? finish() : POWER_CORRUPT;
    if (client.bq != NULL) {
        close_handle();
    }
    client.hooking = false;
    fake_server_free(client.server);
    client.server = NULL;
    return verdict;
}

const struct power_subject power_client = {"client", work, judge, go_on, forget};
