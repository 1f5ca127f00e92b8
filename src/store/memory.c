/* memory.c - handles of the store in memory: opening, transactions, copies.
 *
 * A reader looks at the writer's tables. As nothing here runs in parallel, isolation is by refusal:
 * begin() answers BQ_BUSY while the other side is in a transaction. */
#include "store/memory.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/status.h"
#include "store/memory_impl.h"

/* Transactions. */

static int begin(struct store *store)
{
    struct memory *memory = memory_of(store);
    struct memory_state *state = memory->state;
    ASSERT(!memory->is_open);
    if (state->writing || (!memory->is_reader && state->n_reading > 0)) {
        return BQ_BUSY;
    }
    if (memory->is_reader) {
        state->n_reading++;
    } else {
        state->writing = true;
        state->next_history_before = state->next_history;
        state->policies_version_before = state->policies_version;
    }
    memory->is_open = true;
    return BQ_OK;
}

static void end(struct memory *memory)
{
    ASSERT(memory->is_open);
    memory->is_open = false;
    if (memory->is_reader) {
        memory->state->n_reading--;
    } else {
        memory->state->writing = false;
    }
}

static void rollback(struct store *store);

static int commit(struct store *store)
{
    struct memory *memory = memory_of(store);
    int status = memory->is_reader ? BQ_OK : memory->state->fail_status;
    if (status != BQ_OK) {
        memory->state->fail_status = BQ_OK;
        if (!memory->state->fail_keeps) {
            rollback(store);
            return status;
        }
    }
    if (!memory->is_reader) {
        memory_commit(&memory->state->tables);
    }
    end(memory);
    return status;
}

static void rollback(struct store *store)
{
    struct memory *memory = memory_of(store);
    if (!memory->is_open) {
        return;
    }
    if (!memory->is_reader) {
        memory_rollback(&memory->state->tables);
        memory->state->next_history = memory->state->next_history_before;
        memory->state->policies_version = memory->state->policies_version_before;
    }
    end(memory);
}

static struct slice epoch(struct store *store)
{
    return slice_of(memory_of(store)->state->epoch);
}

static void hash_key(struct store *store, uint64_t out[2])
{
    memcpy(out, memory_of(store)->state->hash_key, 2 * sizeof out[0]);
}

int memory_note_get(struct store *store, struct arena *arena, struct slice name, struct slice *out)
{
    struct memory *memory = memory_of(store);
    const struct memory_row *row;
    buf_clear(&memory->key);
    buf_add_slice(&memory->key, name);
    int status = memory_row_find(memory, MEMORY_NOTES, &row);
    if (status != BQ_OK) {
        return status;
    }
    *out = row == NULL ? SLICE_NONE : memory_text(arena, row->texts[0]);
    return memory_arena_status(arena);
}

int memory_note_put(struct store *store, struct slice name, struct slice value)
{
    struct memory *memory = memory_of(store);
    struct memory_row row = {.texts = {value}};
    buf_clear(&memory->key);
    buf_add_slice(&memory->key, name);
    return value.ptr == NULL ? memory_row_remove(memory, MEMORY_NOTES)
                             : memory_row_put(memory, MEMORY_NOTES, &row);
}

int memory_identity_set(struct store *store, const uint64_t key[2], int64_t policies_version)
{
    struct memory *memory = memory_of(store);
    ASSERT(!memory->is_open && !memory->is_reader);
    memcpy(memory->state->hash_key, key, sizeof memory->state->hash_key);
    memory->state->policies_version = policies_version;
    return BQ_OK;
}

static void copy_epoch(struct memory_state *state, struct slice text)
{
    ASSERT(text.len >= 1 && text.len <= MEMORY_EPOCH_TEXT);
    memcpy(state->epoch, text.ptr, text.len);
    state->epoch[text.len] = '\0';
}

static int epoch_set(struct store *store, struct slice text)
{
    struct memory *memory = memory_of(store);
    ASSERT(!memory->is_open && !memory->is_reader);
    copy_epoch(memory->state, text);
    return BQ_OK;
}

/* Opening and closing. */

static int open_handle(struct memory_state *state, bool is_reader, struct store **out);

static int reader(struct store *store, struct store **out)
{
    struct memory_state *state = memory_of(store)->state;
    int status = open_handle(state, true, out);
    if (status == BQ_OK) {
        state->n_readers++;
    }
    return status;
}

static void free_state(struct memory_state *state)
{
    memory_tables_release(&state->tables);
    mem_free(state);
}

static void close_store(struct store *store)
{
    struct memory *memory = memory_of(store);
    rollback(store);
    if (memory->is_reader) {
        memory->state->n_readers--;
    } else {
        ASSERT(memory->state->n_readers == 0);
        free_state(memory->state);
    }
    buf_release(&memory->key);
    mem_free(memory);
}

static const struct store verbs = {close_store,
                                   reader,
                                   begin,
                                   commit,
                                   rollback,
                                   epoch,
                                   hash_key,
                                   epoch_set,
                                   memory_user_get,
                                   memory_user_put,
                                   memory_doc_get,
                                   memory_doc_put,
                                   memory_docs,
                                   memory_tombstone_drop,
                                   memory_history_add,
                                   memory_history_get,
                                   memory_upserts_get,
                                   memory_upserts_put,
                                   memory_upserts_forget,
                                   memory_upserts_trim,
                                   memory_devices,
                                   memory_device_put,
                                   memory_v1_device_put,
                                   memory_v1_device_remove,
                                   memory_dead_replace,
                                   memory_dead_letters,
                                   memory_policies,
                                   memory_policy_put,
                                   memory_user_clear,
                                   memory_account_get,
                                   memory_account_find,
                                   memory_account_put,
                                   memory_account_remove,
                                   memory_accounts,
                                   memory_accounts_unused,
                                   memory_session_get,
                                   memory_session_put,
                                   memory_session_remove,
                                   memory_sessions_remove,
                                   memory_users,
                                   memory_upserts,
                                   memory_v1_devices,
                                   memory_sessions,
                                   memory_note_get,
                                   memory_note_put,
                                   memory_identity_set,
                                   NULL,
                                   NULL,
                                   NULL,
                                   0};

static int open_handle(struct memory_state *state, bool is_reader, struct store **out)
{
    struct memory *memory = mem_alloc(sizeof *memory);
    if (memory == NULL) {
        return BQ_NOMEM;
    }
    *memory = (struct memory){.store = verbs, .state = state, .is_reader = is_reader};
    buf_init(&memory->key);
    *out = &memory->store;
    return BQ_OK;
}

static struct memory_state *new_state(void)
{
    struct memory_state *state = mem_zalloc(1, sizeof *state);
    if (state != NULL) {
        memory_tables_init(&state->tables);
        state->next_history = 1;
        state->policies_version = 0;
    }
    return state;
}

int store_memory_open(const char *epoch_text, uint64_t key0, uint64_t key1, unsigned n_history,
                      struct store **out)
{
    struct memory_state *state = new_state();
    if (state == NULL) {
        return BQ_NOMEM;
    }
    copy_epoch(state, slice_of(epoch_text));
    state->hash_key[0] = key0;
    state->hash_key[1] = key1;
    state->n_history = n_history;
    int status = open_handle(state, false, out);
    if (status != BQ_OK) {
        free_state(state);
    }
    return status;
}

int store_memory_clone(struct store *store, struct store **out)
{
    const struct memory_state *from = memory_of(store)->state;
    ASSERT(!from->writing);
    struct memory_state *state = new_state();
    if (state == NULL) {
        return BQ_NOMEM;
    }
    memcpy(state->epoch, from->epoch, sizeof state->epoch);
    memcpy(state->hash_key, from->hash_key, sizeof state->hash_key);
    state->n_history = from->n_history;
    state->next_history = from->next_history;
    state->policies_version = from->policies_version;
    int status = memory_tables_copy(&from->tables, &state->tables);
    if (status == BQ_OK) {
        status = open_handle(state, false, out);
    }
    if (status != BQ_OK) {
        free_state(state);
    }
    return status;
}

void store_memory_fail_commit(struct store *store, int status, bool kept)
{
    memory_of(store)->state->fail_status = status;
    memory_of(store)->state->fail_keeps = kept;
}
