/* postgres.c - handles of the PostgreSQL store: opening, transactions, closing. */
#include "store/postgres.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/status.h"
#include "store/postgres_impl.h"

#include <stdio.h>

static int open_reader(struct store *store, struct store **out);
static int store_writer(struct store *store, struct store **out);

/* ---- Transactions ---------------------------------------------------------------------------- */

static int begin(struct store *store)
{
    struct postgres *pg = postgres_of(store);
    ASSERT(!pg->is_open);
    if (pg->poison != BQ_OK) {
        return pg->poison;
    }
    pg_cache_clear(pg);
    pg->is_open = true;
    pg->has_begun = false;
    pg->policies_version = -1;
    return BQ_OK;
}

static void rollback(struct store *store)
{
    struct postgres *pg = postgres_of(store);
    if (!pg->is_open) {
        return;
    }
    pg->is_open = false;
    pg->send_failed = BQ_OK;
    if (pg->has_begun && pg->poison == BQ_OK) {
        struct pg_query query;
        pg_begin(&query, pg, PG_ROLLBACK);
        if (pg_run(&query) != BQ_OK) {
            pg->poison = BQ_IO;
        }
        pg_end(&query);
    }
    pg->has_begun = false;
}

static int commit(struct store *store)
{
    struct postgres *pg = postgres_of(store);
    ASSERT(pg->is_open);
    if (pg->is_writer && pg->poison == BQ_OK) {
        pg->warned = false;
        int status = pg_flush_and_commit(pg);
        if (status != BQ_OK) {
            rollback(store);
            return status;
        }
        if (pg->warned) {
            pg->poison = BQ_IO; /* committed here, and perhaps nowhere else: unknown */
        }
        pg->is_open = false;
        pg->has_begun = false;
        return pg->poison;
    }
    rollback(store);
    return pg->poison;
}

static struct slice epoch(struct store *store)
{
    return slice_of(postgres_of(store)->epoch);
}

static void hash_key(struct store *store, uint64_t out[2])
{
    memcpy(out, postgres_of(store)->hash_key, 2 * sizeof out[0]);
}

static bool policies_now(struct store *store, int64_t *out)
{
    const struct postgres *pg = postgres_of(store);
    *out = pg->policies_version;
    return pg->policies_version >= 0;
}

/* ---- Closing, opening ------------------------------------------------------------------------ */

static void close_store(struct store *store)
{
    struct postgres *pg = postgres_of(store);
    PQfinish(pg->conn); /* which rolls back what is open */
    arena_release(&pg->arena);
    mem_free((void *)(uintptr_t)pg->config.url);
    mem_free(pg);
}

static const struct store verbs = {
    .close = close_store,
    .reader = open_reader,
    .begin = begin,
    .commit = commit,
    .rollback = rollback,
    .epoch = epoch,
    .hash_key = hash_key,
    .epoch_set = pg_epoch_set,
    .user_get = pg_user_get,
    .user_put = pg_user_put,
    .doc_get = pg_doc_get,
    .doc_put = pg_doc_put,
    .docs = pg_docs,
    .tombstone_drop = pg_tombstone_drop,
    .history_add = pg_history_add,
    .history_get = pg_history_get,
    .upserts_get = pg_upserts_get,
    .upserts_put = pg_upserts_put,
    .upserts_forget = pg_upserts_forget,
    .upserts_trim = pg_upserts_trim,
    .devices = pg_devices,
    .device_put = pg_device_put,
    .v1_device_put = pg_v1_device_put,
    .v1_device_remove = pg_v1_device_remove,
    .dead_replace = pg_dead_replace,
    .dead_letters = pg_dead_letters,
    .policies = pg_policies,
    .policy_put = pg_policy_put,
    .user_clear = pg_user_clear,
    .account_get = pg_account_get,
    .account_find = pg_account_find,
    .account_put = pg_account_put,
    .account_remove = pg_account_remove,
    .accounts = pg_accounts,
    .accounts_unused = pg_accounts_unused,
    .session_get = pg_session_get,
    .session_put = pg_session_put,
    .session_remove = pg_session_remove,
    .sessions_remove = pg_sessions_remove,
    .users = pg_users,
    .upserts = pg_upserts,
    .v1_devices = pg_v1_devices,
    .sessions = pg_sessions,
    .note_get = pg_note_get,
    .note_put = pg_note_put,
    .identity_set = pg_identity_set,
    .prefetch = pg_prefetch,
    .policies_now = policies_now,
    .writer = store_writer,
    .n_again = PG_RUNS,
};

static struct postgres *new_handle(const struct store_postgres_config *config)
{
    struct postgres *pg = mem_zalloc(1, sizeof *pg);
    if (pg == NULL) {
        return NULL;
    }
    pg->store = verbs;
    pg->config = *config;
    pg->is_writer = !config->read_only;
    arena_init(&pg->arena);
    pg->config.url = mem_dup(config->url, strlen(config->url));
    if (pg->config.url == NULL) {
        close_store(&pg->store);
        return NULL;
    }
    return pg;
}

static int open_handle(const struct store_postgres_config *config, struct store **out,
                       struct buf *error)
{
    struct postgres *pg = new_handle(config);
    if (pg == NULL) {
        return BQ_NOMEM;
    }
    int status = pg_connect(pg, error);
    if (status == BQ_OK) {
        status = pg_schema_open(pg, error);
    }
    if (status == BQ_OK) {
        status = pg_enter_pipeline(pg);
    }
    if (status != BQ_OK) {
        close_store(&pg->store);
        return status;
    }
    *out = &pg->store;
    return BQ_OK;
}

static int open_another(struct store *store, bool read_only, struct store **out)
{
    struct store_postgres_config config = postgres_of(store)->config;
    struct buf error = BUF_INIT;
    config.read_only = read_only;
    config.create = false;
    int status = open_handle(&config, out, &error);
    if (status != BQ_OK && config.problem != NULL && error.len > 0) {
        config.problem(config.cls, error.ptr);
    }
    buf_release(&error);
    /* An epoch that changed between two connections: a promotion in between. */
    if (status == BQ_OK && strcmp(postgres_of(*out)->epoch, postgres_of(store)->epoch) != 0) {
        (*out)->close(*out);
        status = BQ_IO;
    }
    return status;
}

static int open_reader(struct store *store, struct store **out)
{
    return open_another(store, true, out);
}

static int store_writer(struct store *store, struct store **out)
{
    return open_another(store, false, out);
}

static void say(const struct buf *sentence, int status, char *error, size_t error_size)
{
    if (status != BQ_OK && error != NULL && error_size > 0) {
        snprintf(error, error_size, "%s",
                 sentence->len > 0 ? sentence->ptr : status_text(status));
    }
}

int store_postgres_open(const struct store_postgres_config *config, struct store **out, char *error,
                        size_t error_size)
{
    struct buf sentence = BUF_INIT;
    ASSERT(config->size == sizeof *config && config->url != NULL);
    int status = open_handle(config, out, &sentence);
    say(&sentence, status, error, error_size);
    buf_release(&sentence);
    return status;
}

int store_postgres_due(const struct store_postgres_config *config, struct buf *out, char *error,
                       size_t error_size)
{
    struct buf sentence = BUF_INIT;
    struct postgres *pg = new_handle(config);
    int status = pg == NULL ? BQ_NOMEM : pg_connect(pg, &sentence);
    if (status == BQ_OK) {
        status = pg_schema_due(pg, out, &sentence);
    }
    if (pg != NULL) {
        close_store(&pg->store);
    }
    say(&sentence, status, error, error_size);
    buf_release(&sentence);
    return status;
}

/* ---- URLs ------------------------------------------------------------------------------------ */

bool store_postgres_is_url(const char *text)
{
    return strncmp(text, "postgres://", 11) == 0 || strncmp(text, "postgresql://", 13) == 0;
}

void store_postgres_print_url(struct buf *out, const char *url)
{
    static const char *const wanted[] = {"host", "port", "dbname"};
    PQconninfoOption *options = PQconninfoParse(url, NULL);
    buf_add_text(out, "postgres:");
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        const char *value = NULL;
        for (PQconninfoOption *o = options; o != NULL && o->keyword != NULL; o++) {
            value = strcmp(o->keyword, wanted[i]) == 0 && o->val != NULL ? o->val : value;
        }
        if (value != NULL) {
            buf_add_format(out, " %s=%.200s", wanted[i], value);
        }
    }
    PQconninfoFree(options);
}
