/* memory_history.c - chains of reverse edits, in memory. */
#include "store/memory_impl.h"

enum history_number { HISTORY_ID, HISTORY_OLDER, HISTORY_VERSION };

static int find_history(struct memory *memory, const struct uuid *user, int64_t id,
                        const struct memory_row **out)
{
    memory_key_begin(memory, user);
    memory_key_add_id(memory, id);
    return memory_row_find(memory, MEMORY_HISTORY, out);
}

/* Removes the entry that n_history newer ones made superfluous: one at most, as each add looks. */
static int prune(struct memory *memory, const struct uuid *user, int64_t id)
{
    const struct memory_row *row = NULL;
    for (unsigned i = 0; i <= memory->state->n_history && id != 0; i++) {
        int status = find_history(memory, user, id, &row);
        if (status != BQ_OK || row == NULL) {
            return status;
        }
        if (i < memory->state->n_history) {
            id = row->numbers[HISTORY_OLDER];
        }
    }
    return id == 0 ? BQ_OK : memory_row_remove(memory, MEMORY_HISTORY);
}

int memory_history_add(struct store *store, const struct uuid *user, struct slice key,
                       const struct store_history *entry, int64_t *out_id)
{
    struct memory *memory = memory_of(store);
    struct memory_state *state = memory->state;
    (void)key; /* the chain says which document an entry belongs to */
    if (state->n_history == 0) {
        *out_id = 0;
        return BQ_OK;
    }
    int64_t id = state->next_history;
    struct memory_row row = {
        .numbers =
            {[HISTORY_ID] = id, [HISTORY_OLDER] = entry->older, [HISTORY_VERSION] = entry->version},
        .texts = {entry->entry}};
    memory_key_begin(memory, user);
    memory_key_add_id(memory, id);
    int status = memory_row_put(memory, MEMORY_HISTORY, &row);
    if (status != BQ_OK) {
        return status;
    }
    state->next_history++;
    status = prune(memory, user, id);
    if (status == BQ_OK) {
        *out_id = id;
    }
    return status;
}

int memory_history_get(struct store *store, struct arena *arena, const struct uuid *user,
                       int64_t id, struct store_history *out)
{
    const struct memory_row *row;
    int status = find_history(memory_of(store), user, id, &row);
    if (status != BQ_OK) {
        return status;
    }
    if (row == NULL) {
        return BQ_NOT_FOUND;
    }
    struct slice entry = memory_text(arena, row->texts[0]);
    if (!arena_failed(arena)) {
        *out = (struct store_history){id, row->numbers[HISTORY_OLDER],
                                      row->numbers[HISTORY_VERSION], entry};
    }
    return memory_arena_status(arena);
}

int memory_history_remove_chain(struct memory *memory, const struct uuid *user, int64_t id)
{
    int status = BQ_OK;
    while (status == BQ_OK && id != 0) {
        const struct memory_row *entry;
        status = find_history(memory, user, id, &entry);
        if (status == BQ_OK) {
            id = entry == NULL ? 0 : entry->numbers[HISTORY_OLDER];
            status = memory_row_remove(memory, MEMORY_HISTORY);
        }
    }
    return status;
}
