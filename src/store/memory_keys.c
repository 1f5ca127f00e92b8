/* memory_keys.c - keys of rows, and the rows that they name. */
#include "store/memory_impl.h"

/* Keys. */

void memory_key_begin(struct memory *memory, const struct uuid *user)
{
    buf_clear(&memory->key);
    buf_add_slice(&memory->key, uuid_slice(user));
}

void memory_key_add_part(struct memory *memory, struct slice part)
{
    char length[4];
    for (int i = 0; i < 4; i++) {
        length[i] = (char)(unsigned char)(part.len >> (24 - 8 * i));
    }
    buf_add(&memory->key, length, sizeof length);
    buf_add_slice(&memory->key, part);
}

void memory_key_add_id(struct memory *memory, int64_t id)
{
    char bytes[8];
    for (int i = 0; i < 8; i++) {
        bytes[i] = (char)(unsigned char)((uint64_t)id >> (56 - 8 * i));
    }
    buf_add(&memory->key, bytes, sizeof bytes);
}

/* Tables by the key that was built; a verb's failure is that of its key. */

int memory_row_find(struct memory *memory, enum memory_table table, const struct memory_row **out)
{
    ASSERT(memory->is_open);
    if (memory->key.failed) {
        return BQ_NOMEM;
    }
    *out = memory_find(&memory->state->tables, table, buf_slice(&memory->key));
    return BQ_OK;
}

int memory_row_range(struct memory *memory, enum memory_table table, size_t *first, size_t *end)
{
    ASSERT(memory->is_open);
    if (memory->key.failed) {
        return BQ_NOMEM;
    }
    memory_range(&memory->state->tables, table, buf_slice(&memory->key), first, end);
    return BQ_OK;
}

int memory_row_put(struct memory *memory, enum memory_table table, struct memory_row *draft)
{
    ASSERT(memory->is_open && !memory->is_reader);
    if (memory->key.failed) {
        return BQ_NOMEM;
    }
    draft->key = buf_slice(&memory->key);
    return memory_put(&memory->state->tables, table, draft);
}

int memory_row_remove(struct memory *memory, enum memory_table table)
{
    ASSERT(memory->is_open && !memory->is_reader);
    return memory->key.failed
               ? BQ_NOMEM
               : memory_remove(&memory->state->tables, table, buf_slice(&memory->key));
}

int memory_row_remove_range(struct memory *memory, enum memory_table table)
{
    ASSERT(memory->is_open && !memory->is_reader);
    return memory->key.failed
               ? BQ_NOMEM
               : memory_remove_range(&memory->state->tables, table, buf_slice(&memory->key));
}

const struct memory_row *memory_row_at(const struct memory *memory, enum memory_table table,
                                       size_t i)
{
    return memory->state->tables.tables[table].items[i];
}

/* A copy for the caller; an absent text stays absent. */
struct slice memory_text(struct arena *arena, struct slice text)
{
    return text.ptr == NULL ? SLICE_NONE : arena_copy(arena, text);
}

int memory_arena_status(const struct arena *arena)
{
    return arena_failed(arena) ? BQ_NOMEM : BQ_OK;
}
