/* dump_read.c - reading a whole store back, line by line.
 *
 * A user's lines are one piece: what was there of the user goes first, and the batch is committed
 * between users alone. Until the end line has come the store carries the note "import", so that a
 * run that was killed can be gone on with, and nobody takes half a store for a whole one. */
#include "cli/dump.h"

#include <stdarg.h>

#include "base/status.h"
#include "cli/input.h"
#include "core/receipts.h"
#include "proto/read.h"

#define LINE_DEPTH 10020u
#define BATCH_LINES 2000

struct reading {
    struct dump_reader *reader;
    struct store *store;
    struct arena arena;     /* of the present line */
    struct arena dead_arena;
    struct uuid user;       /* whose lines come */
    bool in_user;
    struct uuid account;
    bool in_account;
    int64_t history;        /* newest entry in front of the next document */
    struct store_dead dead[LIMIT_DEAD_LETTERS]; /* of one device, as they come */
    uint32_t n_dead;
    uint64_t hash_key[2];
    int64_t policies_version;
    int64_t uncommitted;    /* lines */
    bool began;             /* the header was there */
    bool ended;
};

static int wrong(struct reading *r, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static int wrong(struct reading *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(r->reader->error, sizeof r->reader->error, format, args);
    va_end(args);
    return BQ_INVALID;
}

/* ---- Members --------------------------------------------------------------------------------- */

static const struct proto_range any = {INT64_MIN, INT64_MAX};

/* A line's members; the first that is wrong makes the line wrong. */
struct fields {
    const struct json_value *object;
    struct proto_problem problem;
    int status;
};

static void keep(struct fields *fields, int status)
{
    fields->status = fields->status == BQ_OK ? status : fields->status;
}

static int64_t get_int(struct fields *fields, const char *name)
{
    int64_t out = 0;
    keep(fields, proto_need_int(fields->object, name, any, &out, &fields->problem));
    return out;
}

static struct slice get_text(struct fields *fields, const char *name)
{
    struct slice out = SLICE_NONE;
    keep(fields, proto_read_text(fields->object, name, &out, &fields->problem));
    return out;
}

static struct slice need_text(struct fields *fields, const char *name)
{
    struct slice out = SLICE("");
    keep(fields, proto_need_text(fields->object, name, &out, &fields->problem));
    return out;
}

static bool get_bool(struct fields *fields, const char *name)
{
    bool out = false;
    keep(fields, proto_read_bool(fields->object, name, &out, &fields->problem));
    return out;
}

static int64_t get_time(struct fields *fields, const char *name)
{
    int64_t out = 0;
    keep(fields, proto_read_time(fields->object, name, &out, &fields->problem));
    return out;
}

static struct uuid get_uuid(struct fields *fields, const char *name)
{
    struct uuid out = {""};
    struct slice text = need_text(fields, name);
    if (fields->status == BQ_OK && !uuid_parse(text, &out)) {
        keep(fields, proto_problem_set(&fields->problem, BQ_MALFORMED, "\"%s\" is no uuid", name));
    }
    return out;
}

/* The compact text of a member; null is `missing`. */
static struct slice get_json(struct reading *r, struct fields *fields, const char *name,
                             struct slice missing)
{
    const struct json_value *value = json_get(fields->object, name);
    struct buf buf = BUF_INIT;
    if (value == NULL || value->type == JSON_NULL) {
        return missing;
    }
    json_print(&buf, value);
    struct slice out = buf.failed ? SLICE_NONE : arena_copy(&r->arena, buf_slice(&buf));
    keep(fields, out.ptr == NULL ? BQ_NOMEM : BQ_OK);
    buf_release(&buf);
    return out;
}

static int finish(struct reading *r, struct fields *fields)
{
    if (fields->status == BQ_OK || fields->status == BQ_NOMEM) {
        return fields->status;
    }
    return wrong(r, "%s", fields->problem.text);
}

/* ---- Lines ----------------------------------------------------------------------------------- */

static int flush_dead(struct reading *r)
{
    int status = BQ_OK;
    if (r->n_dead > 0) {
        status = r->store->dead_replace(r->store, &r->user, r->dead[0].device_id, r->dead,
                                        r->n_dead);
    }
    r->n_dead = 0;
    arena_reset(&r->dead_arena);
    return status;
}

static int take_head(struct reading *r, struct fields *fields)
{
    int64_t format = get_int(fields, "format");
    struct slice key = need_text(fields, "hash_key");
    char digits[17] = "";
    r->policies_version = get_int(fields, "policies_version");
    if (fields->status == BQ_OK && format > DUMP_FORMAT) {
        wrong(r, "the file has format %lld and this bqsync knows %d; update bqsync",
              (long long)format, DUMP_FORMAT);
        return BQ_NEWER;
    }
    for (size_t i = 0; i < 2 && key.len == 32; i++) {
        unsigned long long number;
        memcpy(digits, key.ptr + 16 * i, 16);
        if (sscanf(digits, "%16llx", &number) != 1) {
            key.len = 0;
            break;
        }
        r->hash_key[i] = number;
    }
    if (fields->status == BQ_OK && (format < 1 || key.len != 32)) {
        return wrong(r, "the first line is not that of an export");
    }
    r->began = true;
    return finish(r, fields);
}

static int take_policy(struct reading *r, struct fields *fields)
{
    struct slice pattern = need_text(fields, "pattern");
    struct slice text = get_text(fields, "text");
    struct slice policy = text.ptr != NULL ? text : get_json(r, fields, "policy", SLICE_NONE);
    int status = finish(r, fields);
    if (status == BQ_OK && policy.ptr == NULL) {
        return wrong(r, "\"policy\" is missing");
    }
    return status == BQ_OK ? r->store->policy_put(r->store, pattern, policy) : status;
}

static int take_user(struct reading *r, struct fields *fields)
{
    struct store_user user = {.exists = true};
    user.id = get_uuid(fields, "id");
    user.erased = get_bool(fields, "erased");
    user.seq = get_int(fields, "seq");
    user.generation = get_int(fields, "generation");
    user.clock_us = get_int(fields, "clock_us");
    user.n_keys = get_int(fields, "keys");
    user.n_bytes = get_int(fields, "bytes");
    user.n_tombstones = get_int(fields, "tombstones");
    user.purged_seq = get_int(fields, "purged_seq");
    int status = finish(r, fields);
    r->user = user.id;
    r->in_user = true;
    r->history = 0;
    r->reader->counts.n_users++;
    if (status == BQ_OK) {
        status = r->store->user_clear(r->store, &user.id);
    }
    return status == BQ_OK ? r->store->user_put(r->store, &user) : status;
}

/* They stand in front of their document, the oldest first. */
static int take_history(struct reading *r, struct fields *fields)
{
    struct store_history entry = {.older = r->history};
    struct slice key = need_text(fields, "key");
    entry.version = get_int(fields, "version");
    entry.entry = get_json(r, fields, "entry", SLICE("{}"));
    int status = finish(r, fields);
    return status == BQ_OK ? r->store->history_add(r->store, &r->user, key, &entry, &r->history)
                           : status;
}

static int read_receipt(struct fields *fields, const struct json_value *item, struct receipt *out)
{
    int64_t code;
    bool good = item->type == JSON_ARRAY && item->count == 6 &&
                json_is(&item->items[0], JSON_STRING) && json_is(&item->items[2], JSON_STRING) &&
                item->items[0].len <= UINT8_MAX && item->items[2].len == PROTO_ID_BYTES &&
                json_to_int(&item->items[1], &out->op) &&
                json_to_int(&item->items[3], &out->version) &&
                json_to_int(&item->items[4], &code) && json_to_int(&item->items[5], &out->day);
    for (uint32_t i = 0; good && i < PROTO_ID_BYTES; i++) {
        good = strchr("0123456789abcdef", item->items[2].ptr[i]) != NULL;
    }
    if (!good) {
        return proto_problem_set(&fields->problem, BQ_MALFORMED, "a receipt is none");
    }
    out->device_id = json_text(&item->items[0]);
    memcpy(out->id, item->items[2].ptr, PROTO_ID_BYTES);
    out->id[PROTO_ID_BYTES] = '\0';
    out->code = (int)code;
    return BQ_OK;
}

static struct slice get_receipts(struct reading *r, struct fields *fields)
{
    const struct json_value *items = NULL;
    struct receipts receipts = {.n = 0};
    struct buf buf = BUF_INIT;
    receipts.evicted = get_bool(fields, "evicted");
    keep(fields, proto_read_array(fields->object, "receipts", &items, &receipts.n,
                                  &fields->problem));
    if (receipts.n == 0 && !receipts.evicted) {
        return SLICE("");
    }
    receipts.items = arena_zalloc(&r->arena, receipts.n, sizeof *receipts.items);
    keep(fields, receipts.items == NULL ? BQ_NOMEM : BQ_OK);
    for (uint32_t i = 0; i < receipts.n && fields->status == BQ_OK; i++) {
        keep(fields, read_receipt(fields, &items[i], &receipts.items[i]));
    }
    if (fields->status != BQ_OK) {
        return SLICE("");
    }
    receipts_print(&buf, &receipts);
    struct slice out = buf.failed ? SLICE_NONE : arena_copy(&r->arena, buf_slice(&buf));
    keep(fields, out.ptr == NULL ? BQ_NOMEM : BQ_OK);
    buf_release(&buf);
    return out;
}

static int take_document(struct reading *r, struct fields *fields)
{
    struct store_doc doc = {.history = r->history};
    doc.key = need_text(fields, "key");
    doc.version = get_int(fields, "version");
    doc.seq = get_int(fields, "seq");
    doc.deleted = get_bool(fields, "deleted");
    doc.epoch = get_int(fields, "epoch");
    doc.device_id = get_text(fields, "device");
    doc.modified_us = get_time(fields, "modified_at");
    doc.created_us = get_time(fields, "created_at");
    doc.receipts = get_receipts(r, fields);
    doc.data = get_json(r, fields, "data", SLICE("null"));
    int status = finish(r, fields);
    r->history = 0;
    r->reader->counts.n_documents += doc.version > 0 && !doc.deleted ? 1 : 0;
    return status == BQ_OK ? r->store->doc_put(r->store, &r->user, &doc) : status;
}

static int take_old_client(struct reading *r, struct fields *fields)
{
    struct slice key = need_text(fields, "key");
    struct slice device = need_text(fields, "device");
    int64_t at_us = get_time(fields, "updated_at");
    struct slice packed = get_json(r, fields, "memory", SLICE(""));
    int status = finish(r, fields);
    return status == BQ_OK
               ? r->store->upserts_put(r->store, &r->user, key, device, packed, at_us)
               : status;
}

static int take_device(struct reading *r, struct fields *fields)
{
    struct store_device device = {.device_id = need_text(fields, "id")};
    device.last_sync_us = get_time(fields, "last_sync_at");
    device.last_sync_version = get_int(fields, "last_sync_version");
    device.created_us = get_time(fields, "created_at");
    device.info = get_json(r, fields, "info", SLICE_NONE);
    int status = finish(r, fields);
    return status == BQ_OK ? r->store->device_put(r->store, &r->user, &device) : status;
}

static int take_v1_device(struct reading *r, struct fields *fields)
{
    struct store_v1_device device = {.device_id = need_text(fields, "id")};
    device.name = get_text(fields, "name");
    device.type = get_text(fields, "type");
    device.last_sync_us = get_time(fields, "last_sync");
    device.created_us = get_time(fields, "created_at");
    int status = finish(r, fields);
    return status == BQ_OK ? r->store->v1_device_put(r->store, &r->user, &device) : status;
}

static int take_dead_letter(struct reading *r, struct fields *fields)
{
    struct store_dead dead = {.id = need_text(fields, "id")};
    dead.device_id = need_text(fields, "device");
    dead.key = need_text(fields, "key");
    dead.version = get_int(fields, "version");
    dead.error = get_text(fields, "error");
    dead.at_us = get_time(fields, "at");
    dead.data = get_json(r, fields, "data", SLICE("null"));
    int status = finish(r, fields);
    if (status == BQ_OK && r->n_dead > 0 &&
        (r->n_dead == LIMIT_DEAD_LETTERS ||
         !slice_equal(r->dead[0].device_id, dead.device_id))) {
        status = flush_dead(r);
    }
    if (status != BQ_OK) {
        return status;
    }
    struct slice *texts[] = {&dead.id, &dead.device_id, &dead.key, &dead.error, &dead.data};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        *texts[i] = texts[i]->ptr == NULL ? SLICE_NONE : arena_copy(&r->dead_arena, *texts[i]);
    }
    r->dead[r->n_dead++] = dead;
    return arena_failed(&r->dead_arena) ? BQ_NOMEM : BQ_OK;
}

static int take_account(struct reading *r, struct fields *fields)
{
    struct store_account account = {.id = get_uuid(fields, "id")};
    account.email = get_text(fields, "email");
    account.password = get_text(fields, "password");
    account.disabled = get_bool(fields, "disabled");
    account.created_us = get_time(fields, "created_at");
    account.updated_us = get_time(fields, "updated_at");
    account.signed_in_us = get_int(fields, "signed_in_us");
    account.metadata = get_json(r, fields, "metadata", SLICE("{}"));
    int status = finish(r, fields);
    r->account = account.id;
    r->in_account = true;
    r->reader->counts.n_accounts++;
    return status == BQ_OK ? r->store->account_put(r->store, &account) : status;
}

static int take_session(struct reading *r, struct fields *fields)
{
    struct store_session session = {.id = get_uuid(fields, "id"), .user = r->account};
    session.counter = get_int(fields, "counter");
    session.created_us = get_time(fields, "created_at");
    session.refreshed_us = get_time(fields, "refreshed_at");
    int status = finish(r, fields);
    return status == BQ_OK ? r->store->session_put(r->store, &session) : status;
}

static int take_end(struct reading *r, struct fields *fields)
{
    const struct dump_counts *counts = &r->reader->counts;
    bool same = get_int(fields, "users") == counts->n_users;
    same = get_int(fields, "documents") == counts->n_documents && same;
    same = get_int(fields, "accounts") == counts->n_accounts && same;
    same = get_int(fields, "lines") == counts->n_lines && same;
    int status = finish(r, fields);
    if (status == BQ_OK && !same) {
        return wrong(r, "lines are missing: the file's own counts are other ones");
    }
    r->ended = true;
    return status;
}

enum needs { NEEDS_NOTHING, NEEDS_USER, NEEDS_ACCOUNT };

static const struct kind {
    const char *name;
    int (*take)(struct reading *r, struct fields *fields);
    enum needs needs;
} kinds[] = {
    {"bqsync_export", take_head, NEEDS_NOTHING},   {"policy", take_policy, NEEDS_NOTHING},
    {"user", take_user, NEEDS_NOTHING},            {"history", take_history, NEEDS_USER},
    {"document", take_document, NEEDS_USER},       {"old_client", take_old_client, NEEDS_USER},
    {"device", take_device, NEEDS_USER},           {"v1_device", take_v1_device, NEEDS_USER},
    {"dead_letter", take_dead_letter, NEEDS_USER}, {"account", take_account, NEEDS_NOTHING},
    {"session", take_session, NEEDS_ACCOUNT},      {"end", take_end, NEEDS_NOTHING},
};

static int commit(struct reading *r)
{
    int status = r->store->commit(r->store);
    r->uncommitted = 0;
    return status == BQ_OK ? r->store->begin(r->store) : status;
}

static int take_kind(struct reading *r, const struct kind *kind, const struct json_value *members)
{
    struct fields fields = {.object = members};
    bool head = kind->take == take_head;
    if (head == r->began || r->ended) {
        return wrong(r, head || r->ended ? "there is something behind the end"
                                         : "the first line is not that of an export");
    }
    if ((kind->needs == NEEDS_USER && !r->in_user) ||
        (kind->needs == NEEDS_ACCOUNT && !r->in_account)) {
        return wrong(r, "\"%s\" stands before its user or account", kind->name);
    }
    int status = BQ_OK;
    if (kind->take != take_dead_letter) {
        status = flush_dead(r);
    }
    if (status == BQ_OK && kind->needs == NEEDS_NOTHING && !head &&
        r->uncommitted > BATCH_LINES) {
        status = commit(r);
    }
    return status == BQ_OK ? kind->take(r, &fields) : status;
}

static int take_line(struct reading *r, struct slice text)
{
    struct json_value line;
    struct json_error error;
    arena_reset(&r->arena);
    int status = json_parse(&r->arena, text, LINE_DEPTH, &line, &error);
    if (status != BQ_OK) {
        return status == BQ_NOMEM ? status : wrong(r, "%s, at column %u", error.what, error.column);
    }
    if (line.type != JSON_OBJECT || line.count != 1 ||
        line.members[0].value.type != JSON_OBJECT) {
        return wrong(r, "the line is none of an export");
    }
    struct slice name = json_text(&line.members[0].key);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (slice_is(name, kinds[i].name)) {
            status = take_kind(r, &kinds[i], &line.members[0].value);
            r->reader->counts.n_lines++;
            r->uncommitted++;
            return status;
        }
    }
    return wrong(r, "lines of kind \"%.*s\" are unknown", (int)(name.len < 40 ? name.len : 40),
                 name.ptr);
}

/* ---- The whole ------------------------------------------------------------------------------- */

/* An empty store, or one that an import was begun on; policies that are there go. */
static int prepare(struct reading *r)
{
    struct store *store = r->store;
    struct slice note = SLICE_NONE;
    struct store_users users = {.n = 0};
    struct store_accounts accounts = {.n = 0};
    struct store_policies policies;
    int status = store->note_get(store, &r->arena, STORE_NOTE_IMPORT, &note);
    if (status == BQ_OK) {
        status = store->users(store, &r->arena, NULL, 1, &users);
    }
    if (status == BQ_OK) {
        status = store->accounts(store, &r->arena, NULL, 1, &accounts);
    }
    if (status == BQ_OK && note.ptr == NULL && users.n + accounts.n > 0) {
        return wrong(r, "the store is not empty: import makes a new one");
    }
    if (status == BQ_OK) {
        status = store->note_put(store, STORE_NOTE_IMPORT, SLICE("unfinished"));
    }
    if (status == BQ_OK) {
        status = store->policies(store, &r->arena, &policies);
    }
    for (uint32_t i = 0; status == BQ_OK && i < policies.n; i++) {
        status = store->policy_put(store, policies.items[i].pattern, SLICE(""));
    }
    return status == BQ_OK ? commit(r) : status;
}

static int take_lines(struct reading *r)
{
    struct input_lines lines = {.stream = r->reader->stream};
    struct slice text;
    int status = BQ_OK;
    while (status == BQ_OK && input_next_line(&lines, &text)) {
        r->reader->line++;
        status = lines.hold.failed ? BQ_NOMEM : take_line(r, text);
        progress_set_rows(r->reader->progress, 0, (uint64_t)r->reader->line);
    }
    buf_release(&lines.hold);
    if (status == BQ_OK && !r->ended) {
        r->reader->line++;
        status = wrong(r, r->began ? "the file is cut off: its last line is not there"
                                   : "the file is empty");
    }
    return status;
}

int dump_read(struct dump_reader *reader, const char *epoch)
{
    static struct reading r;
    struct store *store = reader->store;
    r = (struct reading){.reader = reader, .store = store};
    arena_init(&r.arena);
    arena_init(&r.dead_arena);
    int status = store->begin(store);
    if (status == BQ_OK) {
        status = prepare(&r);
        status = status == BQ_OK ? take_lines(&r) : status;
        status = status == BQ_OK ? commit(&r) : status;
        store->rollback(store);
    }
    if (status == BQ_OK) {
        status = store->identity_set(store, r.hash_key, r.policies_version);
    }
    /* Clients that were here before see it, and bring what they know. */
    if (status == BQ_OK) {
        status = store->epoch_set(store, slice_of(epoch));
    }
    if (status == BQ_OK) {
        status = store->begin(store);
    }
    if (status == BQ_OK) {
        status = store->note_put(store, STORE_NOTE_IMPORT, SLICE_NONE);
        status = status == BQ_OK ? store->commit(store) : status;
        store->rollback(store);
    }
    arena_release(&r.arena);
    arena_release(&r.dead_arena);
    return status;
}
