/* postgres_accounts.c - accounts and their sessions. */
#include "store/postgres_impl.h"

#include "base/assert.h"
#include "base/status.h"

static struct store_account account_row(const struct pg_query *query, struct arena *arena, int row)
{
    return (struct store_account){.id = pg_uuid(query, row, 0),
                                  .email = pg_text(query, arena, row, 1),
                                  .password = pg_text(query, arena, row, 2),
                                  .metadata = pg_json(query, arena, row, 3),
                                  .disabled = pg_int(query, row, 4) != 0,
                                  .created_us = pg_time(query, row, 5),
                                  .updated_us = pg_time(query, row, 6),
                                  .signed_in_us = pg_time(query, row, 7)};
}

/* The one row of a query of which everything is bound. */
static int give(struct pg_query *query, struct arena *arena, struct store_account *out)
{
    int status = pg_run_after_flush(query);
    if (status == BQ_OK && pg_rows(query) == 0) {
        status = BQ_NOT_FOUND;
    }
    if (status == BQ_OK) {
        struct store_account account = account_row(query, arena, 0);
        status = arena_failed(arena) ? BQ_NOMEM : BQ_OK;
        *out = status == BQ_OK ? account : *out;
    }
    pg_end(query);
    return status;
}

static int run(struct pg_query *query)
{
    int status = pg_run_after_flush(query);
    pg_end(query);
    return status;
}

/* A writer locks the account, and with it its sessions: another server may be at them. */
int pg_account_get(struct store *store, struct arena *arena, const struct uuid *id,
                   struct store_account *out)
{
    struct pg_query query;
    struct postgres *pg = postgres_of(store);
    ASSERT(pg->is_open);
    pg_begin(&query, pg, pg->is_writer ? PG_ACCOUNT_LOCK : PG_ACCOUNT_GET);
    pg_add_uuid(&query, id);
    return give(&query, arena, out);
}

int pg_account_find(struct store *store, struct arena *arena, struct slice email,
                    struct store_account *out)
{
    struct pg_query query;
    ASSERT(postgres_of(store)->is_open);
    pg_begin(&query, postgres_of(store), PG_ACCOUNT_FIND);
    pg_add_text(&query, email);
    return give(&query, arena, out);
}

int pg_account_put(struct store *store, const struct store_account *account)
{
    struct pg_query query;
    ASSERT(postgres_of(store)->is_open && postgres_of(store)->is_writer);
    pg_begin(&query, postgres_of(store), PG_ACCOUNT_PUT);
    pg_add_uuid(&query, &account->id);
    pg_add_text(&query, account->email);
    pg_add_text(&query, account->password);
    pg_add_json(&query, account->metadata);
    pg_add_bool(&query, account->disabled);
    pg_add_time(&query, account->created_us);
    pg_add_time(&query, account->updated_us);
    if (account->signed_in_us == 0) {
        pg_add_text(&query, SLICE_NONE);
    } else {
        pg_add_time(&query, account->signed_in_us);
    }
    return run(&query);
}

int pg_account_remove(struct store *store, const struct uuid *id)
{
    struct pg_query query;
    int status = pg_sessions_remove(store, id, NULL);
    if (status != BQ_OK) {
        return status;
    }
    pg_begin(&query, postgres_of(store), PG_ACCOUNT_REMOVE);
    pg_add_uuid(&query, id);
    return run(&query);
}

static int list(struct pg_query *query, struct arena *arena, struct store_accounts *out)
{
    int status = pg_run_after_flush(query);
    int n = status == BQ_OK ? pg_rows(query) : 0;
    struct store_account *items = arena_zalloc(arena, (size_t)n, sizeof *items);
    for (int i = 0; items != NULL && i < n; i++) {
        items[i] = account_row(query, arena, i);
    }
    pg_end(query);
    if (status == BQ_OK && arena_failed(arena)) {
        status = BQ_NOMEM;
    }
    if (status == BQ_OK) {
        *out = (struct store_accounts){items, (uint32_t)n};
    }
    return status;
}

int pg_accounts(struct store *store, struct arena *arena, const struct uuid *after, uint32_t max,
                struct store_accounts *out)
{
    struct pg_query query;
    ASSERT(postgres_of(store)->is_open);
    pg_begin(&query, postgres_of(store), PG_ACCOUNTS);
    pg_add_uuid(&query, after);
    pg_add_int(&query, max);
    return list(&query, arena, out);
}

int pg_accounts_unused(struct store *store, struct arena *arena, int64_t before_us, uint32_t max,
                       struct store_accounts *out)
{
    struct pg_query query;
    ASSERT(postgres_of(store)->is_open);
    pg_begin(&query, postgres_of(store), PG_ACCOUNTS_UNUSED);
    pg_add_time(&query, before_us);
    pg_add_int(&query, max);
    return list(&query, arena, out);
}

/* ---- Sessions -------------------------------------------------------------------------------- */

int pg_session_get(struct store *store, const struct uuid *id, struct store_session *out)
{
    struct pg_query query;
    ASSERT(postgres_of(store)->is_open);
    pg_begin(&query, postgres_of(store), PG_SESSION_GET);
    pg_add_uuid(&query, id);
    int status = pg_run_after_flush(&query);
    if (status == BQ_OK && pg_rows(&query) == 0) {
        status = BQ_NOT_FOUND;
    }
    if (status == BQ_OK) {
        *out = (struct store_session){*id, pg_uuid(&query, 0, 0), pg_int(&query, 0, 1),
                                      pg_time(&query, 0, 2), pg_time(&query, 0, 3)};
    }
    pg_end(&query);
    return status;
}

int pg_session_put(struct store *store, const struct store_session *session)
{
    struct pg_query query;
    ASSERT(postgres_of(store)->is_open && postgres_of(store)->is_writer);
    pg_begin(&query, postgres_of(store), PG_SESSION_PUT);
    pg_add_uuid(&query, &session->id);
    pg_add_uuid(&query, &session->user);
    pg_add_int(&query, session->counter);
    pg_add_time(&query, session->created_us);
    pg_add_time(&query, session->refreshed_us);
    int status = run(&query);
    if (status == BQ_OK) {
        pg_begin(&query, postgres_of(store), PG_SESSIONS_TRIM);
        pg_add_uuid(&query, &session->user);
        pg_add_int(&query, LIMIT_SESSIONS);
        status = run(&query);
    }
    return status;
}

int pg_session_remove(struct store *store, const struct uuid *id)
{
    struct pg_query query;
    ASSERT(postgres_of(store)->is_open && postgres_of(store)->is_writer);
    pg_begin(&query, postgres_of(store), PG_SESSION_REMOVE);
    pg_add_uuid(&query, id);
    return run(&query);
}

int pg_sessions_remove(struct store *store, const struct uuid *user, const struct uuid *but)
{
    struct pg_query query;
    ASSERT(postgres_of(store)->is_open && postgres_of(store)->is_writer);
    pg_begin(&query, postgres_of(store), PG_SESSIONS_REMOVE);
    pg_add_uuid(&query, user);
    pg_add_uuid(&query, but);
    return run(&query);
}
