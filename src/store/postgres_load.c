/* postgres_load.c - from the database into the cache: one entry, or all that a batch will want.
 *
 * A writer locks the users' rows before it reads anything else, all of a batch in the order of
 * their ids, so two batches never wait for each other in a circle. A user without a row gets one to
 * be locked; where nothing is put into it, it goes before the commit. */
#include "store/postgres_impl.h"

#include "base/mem.h"
#include "base/status.h"

#include <stdlib.h>

/* A batch's wants, by what is read for them; each list names entries that are not loaded yet. */
struct batch {
    struct postgres *pg;
    struct pg_user **users;
    size_t n_users;
    struct pg_doc **docs;
    size_t n_docs;
    struct pg_upserts **upserts;
    size_t n_upserts;
    struct pg_user **feeds;
    int64_t *feeds_after;
    size_t n_feeds;
    struct pg_doc **chains;
    int64_t *chains_after;
    size_t n_chains;
    bool policies; /* their version too */
};

/* ---- Asking ---------------------------------------------------------------------------------- */

static int by_id(const void *a, const void *b)
{
    const struct pg_user *const *left = a;
    const struct pg_user *const *right = b;
    return memcmp((*left)->id.text, (*right)->id.text, UUID_TEXT);
}

static void add_users(struct pg_query *query, struct pg_user *const *users, size_t n)
{
    pg_array(query, PG_UUID);
    for (size_t i = 0; i < n; i++) {
        pg_item_uuid(query, &users[i]->id);
    }
    pg_array_end(query);
}

static void add_ints(struct pg_query *query, const int64_t *values, size_t n)
{
    pg_array(query, PG_INT8);
    for (size_t i = 0; i < n; i++) {
        pg_item_int(query, values[i]);
    }
    pg_array_end(query);
}

/* Two arguments: the users and the keys of documents. */
static void add_docs(struct pg_query *query, struct pg_doc *const *docs, size_t n)
{
    pg_array(query, PG_UUID);
    for (size_t i = 0; i < n; i++) {
        pg_item_uuid(query, &docs[i]->entry.user->id);
    }
    pg_array_end(query);
    pg_array(query, PG_TEXT);
    for (size_t i = 0; i < n; i++) {
        pg_item_text(query, docs[i]->row.key);
    }
    pg_array_end(query);
}

static void add_upserts(struct pg_query *query, struct pg_upserts *const *upserts, size_t n)
{
    pg_array(query, PG_UUID);
    for (size_t i = 0; i < n; i++) {
        pg_item_uuid(query, &upserts[i]->entry.user->id);
    }
    pg_array_end(query);
    pg_array(query, PG_TEXT);
    for (size_t i = 0; i < n; i++) {
        pg_item_text(query, upserts[i]->doc->row.key);
    }
    pg_array_end(query);
    pg_array(query, PG_TEXT);
    for (size_t i = 0; i < n; i++) {
        pg_item_text(query, upserts[i]->device_id);
    }
    pg_array_end(query);
}

/* ---- Taking ---------------------------------------------------------------------------------- */

struct store_user pg_user_row(const struct pg_query *query, int row)
{
    return (struct store_user){.id = pg_uuid(query, row, 0),
                               .exists = true,
                               .seq = pg_int(query, row, 1),
                               .generation = pg_int(query, row, 2),
                               .clock_us = pg_int(query, row, 3),
                               .erased = pg_int(query, row, 4) != 0,
                               .n_keys = pg_int(query, row, 5),
                               .n_bytes = pg_int(query, row, 6),
                               .n_tombstones = pg_int(query, row, 7),
                               .purged_seq = pg_int(query, row, 8)};
}

/* The rows of USERS_LOCK or USERS_READ; who has none is absent. */
static void take_users(const struct batch *batch, const struct pg_query *made,
                       const struct pg_query *rows)
{
    struct postgres *pg = batch->pg;
    for (size_t i = 0; i < batch->n_users; i++) {
        struct pg_user *user = batch->users[i];
        user->row = (struct store_user){.id = user->id};
        user->history_id = 0;
        user->made = false;
        user->entry.loaded = true;
    }
    for (int i = 0; i < pg_rows(rows); i++) {
        struct uuid id = pg_uuid(rows, i, 0);
        struct pg_user *user = pg_user_find(pg, &id);
        if (user == NULL) {
            continue;
        }
        user->row = pg_user_row(rows, i);
        user->history_id = pg_int(rows, i, 9);
    }
    for (int i = 0; i < pg_rows(made); i++) {
        struct uuid id = pg_uuid(made, i, 0);
        struct pg_user *user = pg_user_find(pg, &id);
        if (user != NULL) {
            user->row.exists = false;
            user->made = true;
            pg_make_dirty(pg, &user->entry);
        }
    }
}

void pg_read_doc(const struct pg_query *query, struct arena *arena, int row, int first,
                 struct store_doc *out)
{
    out->key = pg_text(query, arena, row, first);
    out->version = pg_int(query, row, first + 1);
    out->device_id = pg_text(query, arena, row, first + 2);
    out->modified_us = pg_time(query, row, first + 3);
    out->created_us = pg_time(query, row, first + 4);
    out->seq = pg_int(query, row, first + 5);
    out->deleted = pg_int(query, row, first + 6) != 0;
    out->epoch = pg_int(query, row, first + 7);
    out->history = pg_int(query, row, first + 8);
    out->receipts = pg_text(query, arena, row, first + 9);
    out->data = pg_json(query, arena, row, first + 10);
    out->counted = pg_int(query, row, first + 11);
    if (out->receipts.ptr == NULL) {
        out->receipts = SLICE("");
    }
}

static void take_doc(struct pg_doc *doc, const struct pg_query *rows, int row)
{
    struct slice key = doc->row.key;
    pg_read_doc(rows, &rows->pg->arena, row, 1, &doc->row);
    doc->row.key = key;
    doc->had_receipts = !pg_is_null(rows, row, 10);
    doc->written_version = doc->row.version;
    doc->written_history = doc->row.history;
    doc->entry.loaded = true;
}

static void take_docs(const struct batch *batch, const struct pg_query *rows)
{
    for (size_t i = 0; i < batch->n_docs; i++) {
        struct pg_doc *doc = batch->docs[i];
        doc->row = (struct store_doc){.key = doc->row.key};
        doc->had_receipts = false;
        doc->written_version = 0;
        doc->written_history = 0;
        doc->entry.loaded = true;
    }
    for (int i = 0; i < pg_rows(rows); i++) {
        take_doc(batch->docs[pg_int(rows, i, 0) - 1], rows, i);
    }
}

static void take_upserts(const struct batch *batch, const struct pg_query *rows)
{
    for (int i = 0; i < pg_rows(rows); i++) {
        struct pg_upserts *upserts = batch->upserts[pg_int(rows, i, 0) - 1];
        upserts->packed = SLICE_NONE;
        if (pg_int(rows, i, 1) != 0) {
            upserts->packed = pg_is_null(rows, i, 2) ? SLICE("")
                                                     : pg_json(rows, &batch->pg->arena, i, 2);
        } else {
            upserts->doc->n_devices = pg_int(rows, i, 3);
            upserts->entry.user->n_memories = pg_int(rows, i, 4);
        }
        upserts->entry.loaded = true;
    }
}

/* Of a feed more rows than are read ahead leave it unknown. A row of it that is loaded already is
 * the same one: the user is locked. */
static void take_feeds(const struct batch *batch, const struct pg_query *rows)
{
    for (size_t i = 0; i < batch->n_feeds; i++) {
        batch->feeds[i]->feed_after = batch->feeds_after[i];
        batch->feeds[i]->n_feed = 0;
    }
    for (int i = 0; i < pg_rows(rows); i++) {
        struct pg_user *user = batch->feeds[pg_int(rows, i, 0) - 1];
        if (++user->n_feed > PG_FEED_ROWS) {
            user->feed_after = -1;
            continue;
        }
        struct slice key = {PQgetvalue(rows->result, i, 1),
                            (size_t)PQgetlength(rows->result, i, 1)};
        struct pg_doc *doc = pg_doc_entry(batch->pg, &user->id, key);
        if (doc != NULL && !doc->entry.loaded) {
            take_doc(doc, rows, i);
        }
    }
}

static void take_chains(const struct batch *batch, const struct pg_query *rows)
{
    struct arena *arena = &batch->pg->arena;
    for (int i = 0; i < pg_rows(rows); i++) {
        struct pg_doc *doc = batch->chains[pg_int(rows, i, 0) - 1];
        struct pg_history *history =
            pg_history_entry(batch->pg, &doc->entry.user->id, pg_int(rows, i, 1));
        if (history != NULL && !history->entry.loaded) {
            history->key = doc->row.key;
            history->row.older = pg_int(rows, i, 2);
            history->row.version = pg_int(rows, i, 3);
            history->row.entry = pg_json(rows, arena, i, 4);
            history->entry.loaded = true;
        }
    }
}

/* ---- One trip -------------------------------------------------------------------------------- */

enum { MADE, USERS, DOCS, UPSERTS, FEEDS, CHAINS, POLICIES, N_QUERIES };

static void send_all(struct batch *batch, struct pg_query queries[N_QUERIES])
{
    struct postgres *pg = batch->pg;
    if (batch->n_users > 0 && pg->is_writer) {
        pg_begin(&queries[MADE], pg, PG_USERS_MAKE);
        add_users(&queries[MADE], batch->users, batch->n_users);
        pg_send(&queries[MADE]);
    }
    if (batch->n_users > 0) {
        pg_begin(&queries[USERS], pg, pg->is_writer ? PG_USERS_LOCK : PG_USERS_READ);
        add_users(&queries[USERS], batch->users, batch->n_users);
        pg_send(&queries[USERS]);
    }
    if (batch->n_docs > 0) {
        pg_begin(&queries[DOCS], pg, PG_DOCS_GET);
        add_docs(&queries[DOCS], batch->docs, batch->n_docs);
        pg_send(&queries[DOCS]);
    }
    if (batch->n_upserts > 0) {
        pg_begin(&queries[UPSERTS], pg, PG_UPSERTS_GET);
        add_upserts(&queries[UPSERTS], batch->upserts, batch->n_upserts);
        pg_send(&queries[UPSERTS]);
    }
    if (batch->n_feeds > 0) {
        pg_begin(&queries[FEEDS], pg, PG_FEEDS_GET);
        add_users(&queries[FEEDS], batch->feeds, batch->n_feeds);
        add_ints(&queries[FEEDS], batch->feeds_after, batch->n_feeds);
        pg_add_int(&queries[FEEDS], PG_FEED_ROWS + 1);
        pg_send(&queries[FEEDS]);
    }
    if (batch->n_chains > 0) {
        pg_begin(&queries[CHAINS], pg, PG_HISTORY_CHAINS);
        add_docs(&queries[CHAINS], batch->chains, batch->n_chains);
        add_ints(&queries[CHAINS], batch->chains_after, batch->n_chains);
        pg_send(&queries[CHAINS]);
    }
    if (batch->policies) {
        pg_begin(&queries[POLICIES], pg, PG_POLICIES_VERSION);
        pg_send(&queries[POLICIES]);
    }
}

static int load(struct batch *batch)
{
    struct postgres *pg = batch->pg;
    struct pg_query queries[N_QUERIES] = {0};
    if (batch->n_users > 0) {
        qsort(batch->users, batch->n_users, sizeof(struct pg_user *), by_id);
    }
    send_all(batch, queries);
    int status = pg_pipe(pg);
    if (status == BQ_OK) {
        take_users(batch, &queries[MADE], &queries[USERS]);
        take_docs(batch, &queries[DOCS]);
        take_upserts(batch, &queries[UPSERTS]);
        take_feeds(batch, &queries[FEEDS]);
        take_chains(batch, &queries[CHAINS]);
        if (pg_rows(&queries[POLICIES]) > 0) {
            pg->policies_version = pg_int(&queries[POLICIES], 0, 0);
        }
        status = arena_failed(&pg->arena) ? BQ_NOMEM : BQ_OK;
    }
    for (int i = 0; i < N_QUERIES; i++) {
        pg_end(&queries[i]);
    }
    return status;
}

int pg_load_user(struct postgres *pg, struct pg_user *user)
{
    struct batch batch = {.pg = pg, .users = &user, .n_users = 1};
    return user->entry.loaded ? BQ_OK : load(&batch);
}

int pg_load_doc(struct postgres *pg, struct pg_doc *doc)
{
    struct batch batch = {.pg = pg, .docs = &doc, .n_docs = 1};
    return doc->entry.loaded ? BQ_OK : load(&batch);
}

int pg_load_upserts(struct postgres *pg, struct pg_upserts *upserts)
{
    struct batch batch = {.pg = pg, .upserts = &upserts, .n_upserts = 1};
    return upserts->entry.loaded ? BQ_OK : load(&batch);
}

/* ---- A batch's wants ------------------------------------------------------------------------- */

/* Each entry is asked for once: `loaded` is set as soon as it is in a list, and holds in the
 * end. */
static void want_user(struct batch *batch, const struct uuid *id)
{
    struct pg_user *user = pg_user_entry(batch->pg, id);
    if (user != NULL && !user->entry.loaded) {
        user->entry.loaded = true;
        batch->users[batch->n_users++] = user;
    }
}

static void want_doc(struct batch *batch, const struct store_want *want)
{
    struct pg_doc *doc = pg_doc_entry(batch->pg, want->user, want->key);
    if (doc != NULL && !doc->entry.loaded) {
        doc->entry.loaded = true;
        batch->docs[batch->n_docs++] = doc;
    }
}

static void want_upserts(struct batch *batch, const struct store_want *want)
{
    struct pg_upserts *upserts =
        pg_upserts_entry(batch->pg, want->user, want->key, want->device_id);
    if (upserts != NULL && !upserts->entry.loaded) {
        upserts->entry.loaded = true;
        batch->upserts[batch->n_upserts++] = upserts;
    }
}

/* The lowest cursor of a user's ops counts. */
static void want_feed(struct batch *batch, const struct store_want *want)
{
    struct pg_user *user = pg_user_entry(batch->pg, want->user);
    if (user == NULL) {
        return;
    }
    for (size_t i = 0; user->feed_after != -1 && i < batch->n_feeds; i++) {
        if (batch->feeds[i] == user) {
            int64_t *after = &batch->feeds_after[i];
            *after = want->number < *after ? want->number : *after;
            return;
        }
    }
    user->feed_after = want->number;
    batch->feeds[batch->n_feeds] = user;
    batch->feeds_after[batch->n_feeds++] = want->number;
}

static void want_history(struct batch *batch, const struct store_want *want)
{
    struct pg_doc *doc = pg_doc_entry(batch->pg, want->user, want->key);
    if (doc != NULL) {
        batch->chains[batch->n_chains] = doc;
        batch->chains_after[batch->n_chains++] = want->number;
    }
}

static void sort_wants(struct batch *batch, const struct store_want *wants, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        switch (wants[i].kind) {
        case STORE_WANT_USER:
            want_user(batch, wants[i].user);
            break;
        case STORE_WANT_DOC:
            want_doc(batch, &wants[i]);
            break;
        case STORE_WANT_UPSERTS:
            want_upserts(batch, &wants[i]);
            break;
        case STORE_WANT_FEED:
            want_feed(batch, &wants[i]);
            break;
        case STORE_WANT_HISTORY:
            want_history(batch, &wants[i]);
            break;
        }
    }
}

int pg_prefetch(struct store *store, const struct store_want *wants, size_t n)
{
    struct postgres *pg = postgres_of(store);
    struct batch batch = {.pg = pg, .policies = pg->policies_version < 0};
    batch.users = arena_zalloc(&pg->arena, n, sizeof(struct pg_user *));
    batch.docs = arena_zalloc(&pg->arena, n, sizeof(struct pg_doc *));
    batch.upserts = arena_zalloc(&pg->arena, n, sizeof(struct pg_upserts *));
    batch.feeds = arena_zalloc(&pg->arena, n, sizeof(struct pg_user *));
    batch.feeds_after = arena_zalloc(&pg->arena, n, sizeof(int64_t));
    batch.chains = arena_zalloc(&pg->arena, n, sizeof(struct pg_doc *));
    batch.chains_after = arena_zalloc(&pg->arena, n, sizeof(int64_t));
    if (arena_failed(&pg->arena)) {
        return BQ_NOMEM;
    }
    sort_wants(&batch, wants, n);
    return arena_failed(&pg->arena) ? BQ_NOMEM : load(&batch);
}
