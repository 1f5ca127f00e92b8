/* memory_accounts.c - accounts and sessions in memory; what needs no key of its own is a walk. */
#include "store/memory_impl.h"

/* Numbers and texts of the rows. */
enum account_number { ACCOUNT_SIGNED_IN, ACCOUNT_DISABLED, ACCOUNT_CREATED, ACCOUNT_UPDATED };
enum account_text { ACCOUNT_ID, ACCOUNT_EMAIL, ACCOUNT_PASSWORD, ACCOUNT_METADATA };
enum session_number { SESSION_REFRESHED, SESSION_COUNTER, SESSION_CREATED };
enum session_text { SESSION_ID, SESSION_USER };

static struct uuid uuid_of(struct slice text)
{
    struct uuid id = {""};
    ASSERT(text.len == UUID_TEXT);
    memcpy(id.text, text.ptr, UUID_TEXT);
    return id;
}

static const struct memory_rows *rows_of(const struct memory *memory, enum memory_table table)
{
    ASSERT(memory->is_open);
    return &memory->state->tables.tables[table];
}

/* ---- Accounts -------------------------------------------------------------------------------- */

static struct store_account account_of(struct arena *arena, const struct memory_row *row)
{
    return (struct store_account){.id = uuid_of(row->texts[ACCOUNT_ID]),
                                  .email = memory_text(arena, row->texts[ACCOUNT_EMAIL]),
                                  .password = memory_text(arena, row->texts[ACCOUNT_PASSWORD]),
                                  .metadata = memory_text(arena, row->texts[ACCOUNT_METADATA]),
                                  .disabled = row->numbers[ACCOUNT_DISABLED] != 0,
                                  .created_us = row->numbers[ACCOUNT_CREATED],
                                  .updated_us = row->numbers[ACCOUNT_UPDATED],
                                  .signed_in_us = row->numbers[ACCOUNT_SIGNED_IN]};
}

static int give(struct arena *arena, const struct memory_row *row, struct store_account *out)
{
    if (row == NULL) {
        return BQ_NOT_FOUND;
    }
    struct store_account account = account_of(arena, row);
    if (!arena_failed(arena)) {
        *out = account;
    }
    return memory_arena_status(arena);
}

int memory_account_get(struct store *store, struct arena *arena, const struct uuid *id,
                       struct store_account *out)
{
    struct memory *memory = memory_of(store);
    const struct memory_row *row;
    memory_key_begin(memory, id);
    int status = memory_row_find(memory, MEMORY_ACCOUNTS, &row);
    return status == BQ_OK ? give(arena, row, out) : status;
}

int memory_account_find(struct store *store, struct arena *arena, struct slice email,
                        struct store_account *out)
{
    const struct memory_rows *rows = rows_of(memory_of(store), MEMORY_ACCOUNTS);
    for (size_t i = 0; i < rows->n; i++) {
        struct slice theirs = rows->items[i]->texts[ACCOUNT_EMAIL];
        if (theirs.ptr != NULL && slice_equal(theirs, email)) {
            return give(arena, rows->items[i], out);
        }
    }
    return BQ_NOT_FOUND;
}

int memory_account_put(struct store *store, const struct store_account *account)
{
    struct memory *memory = memory_of(store);
    struct memory_row row = {.numbers = {[ACCOUNT_SIGNED_IN] = account->signed_in_us,
                                         [ACCOUNT_DISABLED] = account->disabled,
                                         [ACCOUNT_CREATED] = account->created_us,
                                         [ACCOUNT_UPDATED] = account->updated_us},
                             .texts = {[ACCOUNT_ID] = uuid_slice(&account->id),
                                       [ACCOUNT_EMAIL] = account->email,
                                       [ACCOUNT_PASSWORD] = account->password,
                                       [ACCOUNT_METADATA] = account->metadata}};
    memory_key_begin(memory, &account->id);
    return memory_row_put(memory, MEMORY_ACCOUNTS, &row);
}

int memory_account_remove(struct store *store, const struct uuid *id)
{
    struct memory *memory = memory_of(store);
    int status = memory_sessions_remove(store, id, NULL);
    memory_key_begin(memory, id);
    return status == BQ_OK ? memory_row_remove(memory, MEMORY_ACCOUNTS) : status;
}

/* Those from row `first` on that `wanted` takes. */
static int list(struct memory *memory, struct arena *arena, size_t first, uint32_t max,
                bool (*wanted)(const struct memory_row *row, int64_t before_us), int64_t before_us,
                struct store_accounts *out)
{
    const struct memory_rows *rows = rows_of(memory, MEMORY_ACCOUNTS);
    size_t most = rows->n - first < max ? rows->n - first : max;
    struct store_account *items = arena_zalloc(arena, most, sizeof *items);
    uint32_t n = 0;
    for (size_t i = first; items != NULL && i < rows->n && n < most; i++) {
        if (wanted == NULL || wanted(rows->items[i], before_us)) {
            items[n++] = account_of(arena, rows->items[i]);
        }
    }
    if (!arena_failed(arena)) {
        *out = (struct store_accounts){items, n};
    }
    return memory_arena_status(arena);
}

int memory_accounts(struct store *store, struct arena *arena, const struct uuid *after,
                    uint32_t max, struct store_accounts *out)
{
    const struct memory_rows *rows = rows_of(memory_of(store), MEMORY_ACCOUNTS);
    size_t first = 0;
    while (after != NULL && first < rows->n &&
           memory_key_order(rows->items[first]->key, uuid_slice(after)) <= 0) {
        first++;
    }
    return list(memory_of(store), arena, first, max, NULL, 0, out);
}

static bool is_unused(const struct memory_row *row, int64_t before_us)
{
    return row->texts[ACCOUNT_EMAIL].ptr == NULL && row->numbers[ACCOUNT_SIGNED_IN] < before_us;
}

int memory_accounts_unused(struct store *store, struct arena *arena, int64_t before_us,
                           uint32_t max, struct store_accounts *out)
{
    return list(memory_of(store), arena, 0, max, is_unused, before_us, out);
}

/* ---- Sessions -------------------------------------------------------------------------------- */

static struct store_session session_of(const struct memory_row *row)
{
    return (struct store_session){uuid_of(row->texts[SESSION_ID]),
                                  uuid_of(row->texts[SESSION_USER]), row->numbers[SESSION_COUNTER],
                                  row->numbers[SESSION_CREATED], row->numbers[SESSION_REFRESHED]};
}

int memory_session_get(struct store *store, const struct uuid *id, struct store_session *out)
{
    struct memory *memory = memory_of(store);
    const struct memory_row *row;
    memory_key_begin(memory, id);
    int status = memory_row_find(memory, MEMORY_SESSIONS, &row);
    if (status == BQ_OK && row != NULL) {
        *out = session_of(row);
    }
    return status == BQ_OK && row == NULL ? BQ_NOT_FOUND : status;
}

int memory_sessions(struct store *store, struct arena *arena, const struct uuid *user,
                    struct store_sessions *out)
{
    const struct memory_rows *rows = rows_of(memory_of(store), MEMORY_SESSIONS);
    struct store_session *items = arena_zalloc(arena, LIMIT_SESSIONS, sizeof *items);
    uint32_t n = 0;
    for (size_t i = 0; items != NULL && i < rows->n && n < LIMIT_SESSIONS; i++) {
        if (slice_equal(rows->items[i]->texts[SESSION_USER], uuid_slice(user))) {
            items[n++] = session_of(rows->items[i]);
        }
    }
    if (!arena_failed(arena)) {
        *out = (struct store_sessions){items, n};
    }
    return memory_arena_status(arena);
}

/* Of this user's sessions, how many there are and which was refreshed first. */
static const struct memory_row *oldest(const struct memory *memory, const struct uuid *user,
                                       uint32_t *out_n)
{
    const struct memory_rows *rows = rows_of(memory, MEMORY_SESSIONS);
    const struct memory_row *first = NULL;
    *out_n = 0;
    for (size_t i = 0; i < rows->n; i++) {
        const struct memory_row *row = rows->items[i];
        if (!slice_equal(row->texts[SESSION_USER], uuid_slice(user))) {
            continue;
        }
        ++*out_n;
        if (first == NULL || row->numbers[SESSION_REFRESHED] < first->numbers[SESSION_REFRESHED]) {
            first = row;
        }
    }
    return first;
}

int memory_session_put(struct store *store, const struct store_session *session)
{
    struct memory *memory = memory_of(store);
    struct memory_row row = {
        .numbers = {[SESSION_REFRESHED] = session->refreshed_us,
                    [SESSION_COUNTER] = session->counter,
                    [SESSION_CREATED] = session->created_us},
        .texts = {
            [SESSION_ID] = uuid_slice(&session->id), [SESSION_USER] = uuid_slice(&session->user)}};
    uint32_t n;
    memory_key_begin(memory, &session->id);
    int status = memory_row_put(memory, MEMORY_SESSIONS, &row);
    const struct memory_row *first = oldest(memory, &session->user, &n);
    if (status == BQ_OK && n > LIMIT_SESSIONS) {
        struct uuid id = uuid_of(first->texts[SESSION_ID]);
        status = memory_session_remove(store, &id);
    }
    return status;
}

int memory_session_remove(struct store *store, const struct uuid *id)
{
    struct memory *memory = memory_of(store);
    memory_key_begin(memory, id);
    return memory_row_remove(memory, MEMORY_SESSIONS);
}

int memory_sessions_remove(struct store *store, const struct uuid *user, const struct uuid *but)
{
    const struct memory_rows *rows = rows_of(memory_of(store), MEMORY_SESSIONS);
    int status = BQ_OK;
    for (size_t i = rows->n; status == BQ_OK && i-- > 0;) {
        const struct memory_row *row = rows->items[i];
        if (slice_equal(row->texts[SESSION_USER], uuid_slice(user)) &&
            (but == NULL || !slice_equal(row->texts[SESSION_ID], uuid_slice(but)))) {
            struct uuid id = uuid_of(row->texts[SESSION_ID]);
            status = memory_session_remove(store, &id);
        }
    }
    return status;
}
