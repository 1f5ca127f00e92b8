/* dump.c - writing: header, policies, users by id each with all that is theirs, accounts, end. */
#include "cli/dump.h"

#include <errno.h>

#include "base/status.h"
#include "base/timestamp.h"
#include "core/receipts.h"
#include "json/sorted.h"
#include "proto/read.h"

#define PAGE_USERS 256u
#define PAGE_DOCUMENTS 64u
#define PAGE_BYTES (4u << 20)
#define PAGE_ACCOUNTS 256u
#define TEXT_DEPTH 10000u

struct writer {
    struct store *store;
    FILE *stream;
    struct progress *progress;
    struct dump_counts *counts;
    struct buf line;
    struct arena arena;
    int64_t n_done; /* users, for the bar */
};

/* ---- Lines ----------------------------------------------------------------------------------- */

/* {"kind": {"first": ... as far as the member's name. */
static void begin(struct writer *writer, const char *kind, const char *first)
{
    buf_clear(&writer->line);
    proto_print_name(&writer->line, true, kind);
    proto_print_name(&writer->line, true, first);
}

static int end(struct writer *writer)
{
    buf_add_text(&writer->line, "}}\n");
    if (writer->line.failed) {
        return BQ_NOMEM;
    }
    writer->counts->n_lines++;
    size_t n = fwrite(writer->line.ptr, 1, writer->line.len, writer->stream);
    return n == writer->line.len ? BQ_OK : BQ_IO;
}

static void add_text(struct writer *writer, struct slice text)
{
    if (text.ptr == NULL) {
        buf_add_text(&writer->line, "null");
    } else {
        json_print_string(&writer->line, text);
    }
}

/* A stored JSON text, its members in one order; an empty one (and SQL NULL) is null. */
static int add_json(struct writer *writer, const char *name, struct slice text)
{
    struct json_value value = json_null();
    struct json_value sorted;
    int status = text.len == 0
                     ? BQ_OK
                     : json_parse(&writer->arena, text, TEXT_DEPTH, &value, NULL);
    if (status == BQ_OK) {
        status = json_sorted(&writer->arena, &value, &sorted);
    }
    if (status == BQ_OK) {
        proto_print_value(&writer->line, name, &sorted);
    }
    return status == BQ_OK || status == BQ_NOMEM ? status : BQ_CORRUPT;
}

/* ---- A user's documents ---------------------------------------------------------------------- */

static int add_receipts(struct writer *writer, struct slice packed)
{
    struct receipts receipts;
    int status = receipts_read(&writer->arena, packed, &receipts);
    if (status != BQ_OK) {
        return status;
    }
    proto_print_bool(&writer->line, "evicted", receipts.evicted);
    proto_print_name(&writer->line, false, "receipts");
    buf_add_char(&writer->line, '[');
    for (uint32_t i = 0; i < receipts.n; i++) {
        const struct receipt *one = &receipts.items[i];
        buf_add_char(&writer->line, i == 0 ? '[' : ',');
        if (i > 0) {
            buf_add_char(&writer->line, '[');
        }
        json_print_string(&writer->line, one->device_id);
        buf_add_format(&writer->line, ",%lld,\"%s\",%lld,%d,%lld]", (long long)one->op, one->id,
                       (long long)one->version, one->code, (long long)one->day);
    }
    buf_add_char(&writer->line, ']');
    return BQ_OK;
}

/* The kept entries of a document, oldest first, each in front of it. */
static int write_history(struct writer *writer, const struct uuid *user,
                         const struct store_doc *doc)
{
    struct store_history entries[64];
    unsigned n = 0;
    int64_t id = doc->history;
    int status = BQ_OK;
    while (n < LIMITS_DEFAULT.history && id != 0 && status == BQ_OK) {
        status = writer->store->history_get(writer->store, &writer->arena, user, id, &entries[n]);
        if (status == BQ_OK && entries[n].version <= doc->version - LIMITS_DEFAULT.history) {
            break; /* due to be pruned: whether it was is chance */
        }
        id = status == BQ_OK ? entries[n++].older : 0;
    }
    status = status == BQ_NOT_FOUND ? BQ_OK : status;
    while (n > 0 && status == BQ_OK) {
        const struct store_history *entry = &entries[--n];
        begin(writer, "history", "key");
        add_text(writer, doc->key);
        proto_print_int(&writer->line, "version", entry->version);
        status = add_json(writer, "entry", entry->entry);
        status = status == BQ_OK ? end(writer) : status;
    }
    return status;
}

static int write_document(struct writer *writer, const struct uuid *user,
                          const struct store_doc *doc)
{
    int status = write_history(writer, user, doc);
    if (status != BQ_OK) {
        return status;
    }
    begin(writer, "document", "key");
    add_text(writer, doc->key);
    proto_print_int(&writer->line, "version", doc->version);
    proto_print_int(&writer->line, "seq", doc->seq);
    proto_print_bool(&writer->line, "deleted", doc->deleted);
    proto_print_int(&writer->line, "epoch", doc->epoch);
    proto_print_text(&writer->line, "device", doc->device_id);
    proto_print_time(&writer->line, "modified_at", doc->modified_us);
    proto_print_time(&writer->line, "created_at", doc->created_us);
    status = add_receipts(writer, doc->receipts);
    if (status == BQ_OK) {
        status = add_json(writer, "data", doc->data);
    }
    writer->counts->n_documents += doc->version > 0 && !doc->deleted ? 1 : 0;
    return status == BQ_OK ? end(writer) : status;
}

static int write_documents(struct writer *writer, const struct uuid *user)
{
    struct store_docs docs = {.more = true};
    int64_t after = 0;
    int status = BQ_OK;
    while (docs.more && status == BQ_OK) {
        arena_reset(&writer->arena);
        status = writer->store->docs(writer->store, &writer->arena, user, after, PAGE_DOCUMENTS,
                                     PAGE_BYTES, true, &docs);
        for (uint32_t i = 0; status == BQ_OK && i < docs.n; i++) {
            after = docs.items[i].seq;
            status = write_document(writer, user, &docs.items[i]);
        }
        docs.more = status == BQ_OK && docs.more && docs.n > 0;
    }
    return status;
}

/* ---- What else is a user's ------------------------------------------------------------------- */

static int write_upserts(struct writer *writer, const struct uuid *user)
{
    struct store_upserts all;
    int status = writer->store->upserts(writer->store, &writer->arena, user, &all);
    for (uint32_t i = 0; status == BQ_OK && i < all.n; i++) {
        begin(writer, "old_client", "key");
        add_text(writer, all.items[i].key);
        proto_print_text(&writer->line, "device", all.items[i].device_id);
        proto_print_time(&writer->line, "updated_at", all.items[i].updated_us);
        status = add_json(writer, "memory", all.items[i].packed);
        status = status == BQ_OK ? end(writer) : status;
    }
    return status;
}

/* The one that synced last comes last: so it is the last to be trimmed on the way back. */
static int write_devices(struct writer *writer, const struct uuid *user)
{
    struct store_devices all;
    struct store_v1_devices v1;
    int status = writer->store->devices(writer->store, &writer->arena, user, &all);
    for (uint32_t i = 0; status == BQ_OK && i < all.n; i++) {
        const struct store_device *one = &all.items[all.n - 1 - i];
        begin(writer, "device", "id");
        add_text(writer, one->device_id);
        proto_print_time(&writer->line, "last_sync_at", one->last_sync_us);
        proto_print_int(&writer->line, "last_sync_version", one->last_sync_version);
        proto_print_time(&writer->line, "created_at", one->created_us);
        status = add_json(writer, "info", one->info);
        status = status == BQ_OK ? end(writer) : status;
    }
    if (status == BQ_OK) {
        status = writer->store->v1_devices(writer->store, &writer->arena, user, &v1);
    }
    for (uint32_t i = 0; status == BQ_OK && i < v1.n; i++) {
        const struct store_v1_device *one = &v1.items[v1.n - 1 - i];
        begin(writer, "v1_device", "id");
        add_text(writer, one->device_id);
        proto_print_text(&writer->line, "name", one->name);
        proto_print_text(&writer->line, "type", one->type);
        proto_print_time(&writer->line, "last_sync", one->last_sync_us);
        proto_print_time(&writer->line, "created_at", one->created_us);
        status = end(writer);
    }
    return status;
}

static int by_device(const struct store_dead *a, const struct store_dead *b)
{
    int order = slice_order(a->device_id, b->device_id);
    order = order != 0 ? order : (a->at_us > b->at_us) - (a->at_us < b->at_us);
    return order != 0 ? order : slice_order(a->id, b->id);
}

/* Those of a device together, since they are replaced together. At most LIMIT_DEAD_LETTERS. */
static int write_dead_letters(struct writer *writer, const struct uuid *user)
{
    struct store_dead_letters all;
    int status = writer->store->dead_letters(writer->store, &writer->arena, user, &all);
    for (uint32_t i = 1; status == BQ_OK && i < all.n; i++) {
        for (uint32_t k = i; k > 0 && by_device(&all.items[k - 1], &all.items[k]) > 0; k--) {
            struct store_dead swap = all.items[k];
            all.items[k] = all.items[k - 1];
            all.items[k - 1] = swap;
        }
    }
    for (uint32_t i = 0; status == BQ_OK && i < all.n; i++) {
        const struct store_dead *one = &all.items[i];
        begin(writer, "dead_letter", "id");
        add_text(writer, one->id);
        proto_print_text(&writer->line, "device", one->device_id);
        proto_print_text(&writer->line, "key", one->key);
        proto_print_int(&writer->line, "version", one->version);
        proto_print_text(&writer->line, "error", one->error);
        proto_print_time(&writer->line, "at", one->at_us);
        status = add_json(writer, "data", one->data);
        status = status == BQ_OK ? end(writer) : status;
    }
    return status;
}

static int write_user(struct writer *writer, const struct store_user *user)
{
    begin(writer, "user", "id");
    add_text(writer, uuid_slice(&user->id));
    proto_print_bool(&writer->line, "erased", user->erased);
    proto_print_int(&writer->line, "seq", user->seq);
    proto_print_int(&writer->line, "generation", user->generation);
    proto_print_int(&writer->line, "clock_us", user->clock_us);
    proto_print_int(&writer->line, "keys", user->n_keys);
    proto_print_int(&writer->line, "bytes", user->n_bytes);
    proto_print_int(&writer->line, "tombstones", user->n_tombstones);
    proto_print_int(&writer->line, "purged_seq", user->purged_seq);
    writer->counts->n_users++;
    int status = end(writer);
    static int (*const parts[])(struct writer *, const struct uuid *) = {
        write_documents, write_upserts, write_devices, write_dead_letters};
    for (size_t i = 0; status == BQ_OK && i < sizeof parts / sizeof parts[0]; i++) {
        arena_reset(&writer->arena);
        status = parts[i](writer, &user->id);
    }
    return status;
}

/* ---- Accounts -------------------------------------------------------------------------------- */

static int write_account(struct writer *writer, const struct store_account *account)
{
    struct store_sessions sessions;
    begin(writer, "account", "id");
    add_text(writer, uuid_slice(&account->id));
    proto_print_text(&writer->line, "email", account->email);
    proto_print_text(&writer->line, "password", account->password);
    proto_print_bool(&writer->line, "disabled", account->disabled);
    proto_print_time(&writer->line, "created_at", account->created_us);
    proto_print_time(&writer->line, "updated_at", account->updated_us);
    proto_print_int(&writer->line, "signed_in_us", account->signed_in_us);
    int status = add_json(writer, "metadata", account->metadata);
    status = status == BQ_OK ? end(writer) : status;
    writer->counts->n_accounts++;
    if (status == BQ_OK) {
        status = writer->store->sessions(writer->store, &writer->arena, &account->id, &sessions);
    }
    for (uint32_t i = 0; status == BQ_OK && i < sessions.n; i++) {
        const struct store_session *session = &sessions.items[i];
        begin(writer, "session", "id");
        add_text(writer, uuid_slice(&session->id));
        proto_print_int(&writer->line, "counter", session->counter);
        proto_print_time(&writer->line, "created_at", session->created_us);
        proto_print_time(&writer->line, "refreshed_at", session->refreshed_us);
        status = end(writer);
    }
    return status;
}

static int write_accounts(struct writer *writer)
{
    struct store_accounts page = {.n = PAGE_ACCOUNTS};
    struct arena arena;
    struct uuid last;
    int status = BQ_OK;
    arena_init(&arena);
    for (bool first = true; status == BQ_OK && page.n == PAGE_ACCOUNTS; first = false) {
        arena_reset(&arena);
        status = writer->store->accounts(writer->store, &arena, first ? NULL : &last,
                                         PAGE_ACCOUNTS, &page);
        for (uint32_t i = 0; status == BQ_OK && i < page.n; i++) {
            arena_reset(&writer->arena);
            last = page.items[i].id;
            status = write_account(writer, &page.items[i]);
        }
    }
    arena_release(&arena);
    return status;
}

/* ---- The whole ------------------------------------------------------------------------------- */

static int write_head(struct writer *writer)
{
    struct store_policies policies;
    uint64_t key[2];
    writer->store->hash_key(writer->store, key);
    int status = writer->store->policies(writer->store, &writer->arena, &policies);
    if (status != BQ_OK) {
        return status;
    }
    begin(writer, "bqsync_export", "format");
    buf_add_int(&writer->line, DUMP_FORMAT);
    buf_add_format(&writer->line, ",\"hash_key\":\"%016llx%016llx\"", (unsigned long long)key[0],
                   (unsigned long long)key[1]);
    proto_print_int(&writer->line, "policies_version", policies.version);
    status = end(writer);
    for (uint32_t i = 0; status == BQ_OK && i < policies.n; i++) {
        begin(writer, "policy", "pattern");
        add_text(writer, policies.items[i].pattern);
        if (add_json(writer, "policy", policies.items[i].policy) == BQ_CORRUPT) {
            /* Somebody wrote into the table what is no policy: it moves as it is. */
            proto_print_text(&writer->line, "text", policies.items[i].policy);
        }
        status = end(writer);
    }
    return status;
}

static int write_users(struct writer *writer)
{
    struct store_users page = {.n = PAGE_USERS};
    struct arena arena;
    struct uuid last;
    int status = BQ_OK;
    arena_init(&arena);
    for (bool first = true; status == BQ_OK && page.n == PAGE_USERS; first = false) {
        arena_reset(&arena);
        status = writer->store->users(writer->store, &arena, first ? NULL : &last, PAGE_USERS,
                                      &page);
        for (uint32_t i = 0; status == BQ_OK && i < page.n; i++) {
            last = page.items[i].id;
            status = write_user(writer, &page.items[i]);
            writer->n_done++;
            progress_set_rows(writer->progress, 0, (uint64_t)writer->n_done);
        }
    }
    arena_release(&arena);
    return status;
}

/* One user: everything that is kept of him, and neither keys nor policies nor passwords. */
static int write_one(struct writer *writer, const struct uuid *id)
{
    struct store_user user;
    struct store_account account;
    int status = writer->store->user_get(writer->store, id, &user);
    if (status == BQ_OK && user.exists) {
        status = write_user(writer, &user);
    }
    int found = status == BQ_OK
                    ? writer->store->account_get(writer->store, &writer->arena, id, &account)
                    : status;
    if (found == BQ_OK) {
        account.password = SLICE_NONE;
        status = write_account(writer, &account);
    } else if (found != BQ_NOT_FOUND) {
        status = found;
    }
    return status == BQ_OK && !user.exists && found == BQ_NOT_FOUND ? BQ_NOT_FOUND : status;
}

static int write_all(struct writer *writer)
{
    int status = write_head(writer);
    status = status == BQ_OK ? write_users(writer) : status;
    status = status == BQ_OK ? write_accounts(writer) : status;
    if (status == BQ_OK) {
        begin(writer, "end", "users");
        buf_add_int(&writer->line, writer->counts->n_users);
        proto_print_int(&writer->line, "documents", writer->counts->n_documents);
        proto_print_int(&writer->line, "accounts", writer->counts->n_accounts);
        proto_print_int(&writer->line, "lines", writer->counts->n_lines);
        status = end(writer);
    }
    return status;
}

int dump_write(struct store *store, const struct uuid *only, FILE *stream,
               struct progress *progress, struct dump_counts *counts)
{
    struct writer writer = {
        .store = store, .stream = stream, .progress = progress, .counts = counts};
    *counts = (struct dump_counts){0};
    arena_init(&writer.arena);
    int status = store->begin(store);
    if (status == BQ_OK) {
        status = only == NULL ? write_all(&writer) : write_one(&writer, only);
        store->rollback(store);
    }
    if (status == BQ_OK && fflush(stream) != 0) {
        status = BQ_IO;
    }
    arena_release(&writer.arena);
    buf_release(&writer.line);
    return status;
}
