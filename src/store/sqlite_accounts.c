/* sqlite_accounts.c - accounts and their sessions. */
#include "store/sqlite_impl.h"

#include "base/assert.h"
#include "base/status.h"

/* ---- Accounts -------------------------------------------------------------------------------- */

struct uuid sqlite_column_uuid(struct sqlite_query *query, int column)
{
    struct uuid id = {""};
    const unsigned char *text = sqlite3_column_text(query->stmt, column);
    size_t n = (size_t)sqlite3_column_bytes(query->stmt, column);
    if (text == NULL || !uuid_parse((struct slice){(const char *)text, n}, &id)) {
        query->rc = SQLITE_CORRUPT;
    }
    return id;
}

static struct store_account account_row(struct sqlite_query *query, struct arena *arena)
{
    return (struct store_account){.id = sqlite_column_uuid(query, 0),
                                  .email = sqlite_column_slice(query, arena, 1),
                                  .password = sqlite_column_slice(query, arena, 2),
                                  .metadata = sqlite_column_slice(query, arena, 3),
                                  .disabled = sqlite_column_int(query, 4) != 0,
                                  .created_us = sqlite_column_time(query, 5),
                                  .updated_us = sqlite_column_time(query, 6),
                                  .signed_in_us = sqlite3_column_type(query->stmt, 7) == SQLITE_NULL
                                                      ? 0
                                                      : sqlite_column_time(query, 7)};
}

/* The one row of a query of which everything is bound. */
static int give(struct sqlite_query *query, struct arena *arena, struct store_account *out)
{
    struct store_account account = {0};
    int found = sqlite_query_step(query);
    if (found == BQ_OK) {
        account = account_row(query, arena);
    }
    int status = sqlite_query_finish(query, arena);
    if (status == BQ_OK && found == BQ_OK) {
        *out = account;
    }
    return status == BQ_OK ? found : status;
}

int sqlite_account_get(struct store *store, struct arena *arena, const struct uuid *id,
                       struct store_account *out)
{
    struct sqlite_query query;
    ASSERT(sqlite_of(store)->is_open);
    sqlite_query_begin(&query, sqlite_of(store), SQL_ACCOUNT_GET);
    sqlite_bind_text(&query, uuid_slice(id));
    return give(&query, arena, out);
}

int sqlite_account_find(struct store *store, struct arena *arena, struct slice email,
                        struct store_account *out)
{
    struct sqlite_query query;
    ASSERT(sqlite_of(store)->is_open);
    sqlite_query_begin(&query, sqlite_of(store), SQL_ACCOUNT_FIND);
    sqlite_bind_text(&query, email);
    return give(&query, arena, out);
}

int sqlite_account_put(struct store *store, const struct store_account *account)
{
    struct sqlite_query query;
    ASSERT(sqlite_of(store)->is_open && sqlite_of(store)->is_writer);
    sqlite_query_begin(&query, sqlite_of(store), SQL_ACCOUNT_PUT);
    sqlite_bind_text(&query, uuid_slice(&account->id));
    sqlite_bind_text(&query, account->email);
    sqlite_bind_text(&query, account->password);
    sqlite_bind_text(&query, account->metadata);
    sqlite_bind_int(&query, account->disabled);
    sqlite_bind_time(&query, account->created_us);
    sqlite_bind_time(&query, account->updated_us);
    if (account->signed_in_us == 0) {
        sqlite_bind_text(&query, SLICE_NONE);
    } else {
        sqlite_bind_time(&query, account->signed_in_us);
    }
    return sqlite_query_run(&query);
}

int sqlite_account_remove(struct store *store, const struct uuid *id)
{
    struct sqlite_query query;
    int status = sqlite_sessions_remove(store, id, NULL);
    if (status != BQ_OK) {
        return status;
    }
    sqlite_query_begin(&query, sqlite_of(store), SQL_ACCOUNT_REMOVE);
    sqlite_bind_text(&query, uuid_slice(id));
    return sqlite_query_run(&query);
}

static int list(struct sqlite_query *query, struct arena *arena, uint32_t max,
                struct store_accounts *out)
{
    struct store_account *items = arena_zalloc(arena, max, sizeof *items);
    uint32_t n = 0;
    while (items != NULL && n < max && sqlite_query_step(query) == BQ_OK) {
        items[n++] = account_row(query, arena);
    }
    int status = sqlite_query_finish(query, arena);
    if (status == BQ_OK) {
        *out = (struct store_accounts){items, n};
    }
    return status;
}

int sqlite_accounts(struct store *store, struct arena *arena, const struct uuid *after,
                    uint32_t max, struct store_accounts *out)
{
    struct sqlite_query query;
    ASSERT(sqlite_of(store)->is_open);
    sqlite_query_begin(&query, sqlite_of(store), SQL_ACCOUNTS);
    sqlite_bind_text(&query, after == NULL ? SLICE("") : uuid_slice(after));
    sqlite_bind_int(&query, max);
    return list(&query, arena, max, out);
}

int sqlite_accounts_unused(struct store *store, struct arena *arena, int64_t before_us,
                           uint32_t max, struct store_accounts *out)
{
    struct sqlite_query query;
    ASSERT(sqlite_of(store)->is_open);
    sqlite_query_begin(&query, sqlite_of(store), SQL_ACCOUNTS_UNUSED);
    sqlite_bind_time(&query, before_us);
    sqlite_bind_int(&query, max);
    return list(&query, arena, max, out);
}

/* ---- Sessions -------------------------------------------------------------------------------- */

int sqlite_session_get(struct store *store, const struct uuid *id, struct store_session *out)
{
    struct sqlite_query query;
    struct store_session session;
    ASSERT(sqlite_of(store)->is_open);
    sqlite_query_begin(&query, sqlite_of(store), SQL_SESSION_GET);
    sqlite_bind_text(&query, uuid_slice(id));
    int found = sqlite_query_step(&query);
    if (found == BQ_OK) {
        session =
            (struct store_session){*id, sqlite_column_uuid(&query, 0), sqlite_column_int(&query, 1),
                                   sqlite_column_time(&query, 2), sqlite_column_time(&query, 3)};
    }
    int rc = query.rc;
    sqlite_query_end(&query);
    if (found == BQ_OK && rc == SQLITE_CORRUPT) {
        return BQ_CORRUPT;
    }
    if (found == BQ_OK) {
        *out = session;
    }
    return found;
}

int sqlite_session_put(struct store *store, const struct store_session *session)
{
    struct sqlite_query query;
    ASSERT(sqlite_of(store)->is_open && sqlite_of(store)->is_writer);
    sqlite_query_begin(&query, sqlite_of(store), SQL_SESSION_PUT);
    sqlite_bind_text(&query, uuid_slice(&session->id));
    sqlite_bind_text(&query, uuid_slice(&session->user));
    sqlite_bind_int(&query, session->counter);
    sqlite_bind_time(&query, session->created_us);
    sqlite_bind_time(&query, session->refreshed_us);
    int status = sqlite_query_run(&query);
    if (status == BQ_OK) {
        sqlite_query_begin(&query, sqlite_of(store), SQL_SESSIONS_TRIM);
        sqlite_bind_text(&query, uuid_slice(&session->user));
        sqlite_bind_int(&query, LIMIT_SESSIONS);
        status = sqlite_query_run(&query);
    }
    return status;
}

int sqlite_session_remove(struct store *store, const struct uuid *id)
{
    struct sqlite_query query;
    ASSERT(sqlite_of(store)->is_open && sqlite_of(store)->is_writer);
    sqlite_query_begin(&query, sqlite_of(store), SQL_SESSION_REMOVE);
    sqlite_bind_text(&query, uuid_slice(id));
    return sqlite_query_run(&query);
}

int sqlite_sessions_remove(struct store *store, const struct uuid *user, const struct uuid *but)
{
    struct sqlite_query query;
    ASSERT(sqlite_of(store)->is_open && sqlite_of(store)->is_writer);
    sqlite_query_begin(&query, sqlite_of(store), SQL_SESSIONS_REMOVE);
    sqlite_bind_text(&query, uuid_slice(user));
    sqlite_bind_text(&query, but == NULL ? SLICE("") : uuid_slice(but));
    return sqlite_query_run(&query);
}
