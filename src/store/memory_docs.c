/* memory_docs.c - the user row, documents and their change feed, in memory. */
#include "store/memory_impl.h"

#include "json/sort.h"

/* Numbers and texts of the rows. */
enum user_number {
    USER_ERASED,
    USER_SEQ,
    USER_GENERATION,
    USER_CLOCK,
    USER_N_KEYS,
    USER_N_BYTES,
    USER_N_TOMBSTONES,
    USER_PURGED
};
enum doc_number {
    DOC_VERSION,
    DOC_SEQ,
    DOC_DELETED,
    DOC_EPOCH,
    DOC_MODIFIED,
    DOC_CREATED,
    DOC_HISTORY
};
enum doc_text { DOC_KEY, DOC_DATA, DOC_DEVICE, DOC_RECEIPTS };

/* The user row. */

static struct store_user user_of(const struct uuid *id, const struct memory_row *row)
{
    return (struct store_user){.id = *id,
                               .exists = true,
                               .erased = row->numbers[USER_ERASED] != 0,
                               .seq = row->numbers[USER_SEQ],
                               .generation = row->numbers[USER_GENERATION],
                               .clock_us = row->numbers[USER_CLOCK],
                               .n_keys = row->numbers[USER_N_KEYS],
                               .n_bytes = row->numbers[USER_N_BYTES],
                               .n_tombstones = row->numbers[USER_N_TOMBSTONES],
                               .purged_seq = row->numbers[USER_PURGED]};
}

int memory_user_get(struct store *store, const struct uuid *id, struct store_user *out)
{
    struct memory *memory = memory_of(store);
    const struct memory_row *row;
    memory_key_begin(memory, id);
    int status = memory_row_find(memory, MEMORY_USERS, &row);
    if (status != BQ_OK) {
        return status;
    }
    if (row == NULL) {
        *out = (struct store_user){.id = *id};
    } else {
        *out = user_of(id, row);
    }
    return BQ_OK;
}

int memory_users(struct store *store, struct arena *arena, const struct uuid *after, uint32_t max,
                 struct store_users *out)
{
    const struct memory_rows *rows = &memory_of(store)->state->tables.tables[MEMORY_USERS];
    struct store_user *items = arena_zalloc(arena, max < rows->n ? max : rows->n, sizeof *items);
    uint32_t n = 0;
    ASSERT(memory_of(store)->is_open);
    for (size_t i = 0; items != NULL && i < rows->n && n < max; i++) {
        struct uuid id = {""};
        memcpy(id.text, rows->items[i]->key.ptr, UUID_TEXT);
        if (after == NULL || memcmp(id.text, after->text, UUID_TEXT) > 0) {
            items[n++] = user_of(&id, rows->items[i]);
        }
    }
    if (!arena_failed(arena)) {
        *out = (struct store_users){items, n};
    }
    return memory_arena_status(arena);
}

int memory_user_put(struct store *store, const struct store_user *user)
{
    struct memory *memory = memory_of(store);
    struct memory_row row = {.numbers = {[USER_ERASED] = user->erased,
                                         [USER_SEQ] = user->seq,
                                         [USER_GENERATION] = user->generation,
                                         [USER_CLOCK] = user->clock_us,
                                         [USER_N_KEYS] = user->n_keys,
                                         [USER_N_BYTES] = user->n_bytes,
                                         [USER_N_TOMBSTONES] = user->n_tombstones,
                                         [USER_PURGED] = user->purged_seq}};
    memory_key_begin(memory, &user->id);
    return memory_row_put(memory, MEMORY_USERS, &row);
}

/* Documents. */

static void doc_of_row(struct arena *arena, const struct memory_row *row, struct store_doc *out)
{
    out->key = memory_text(arena, row->texts[DOC_KEY]);
    out->version = row->numbers[DOC_VERSION];
    out->seq = row->numbers[DOC_SEQ];
    out->deleted = row->numbers[DOC_DELETED] != 0;
    out->epoch = row->numbers[DOC_EPOCH];
    out->data = memory_text(arena, row->texts[DOC_DATA]);
    out->counted = (int64_t)row->texts[DOC_DATA].len;
    out->device_id = memory_text(arena, row->texts[DOC_DEVICE]);
    out->modified_us = row->numbers[DOC_MODIFIED];
    out->created_us = row->numbers[DOC_CREATED];
    out->receipts = memory_text(arena, row->texts[DOC_RECEIPTS]);
    out->history = row->numbers[DOC_HISTORY];
}

int memory_doc_get(struct store *store, struct arena *arena, const struct uuid *user,
                   struct slice key, struct store_doc *out)
{
    struct memory *memory = memory_of(store);
    const struct memory_row *row;
    memory_key_begin(memory, user);
    buf_add_slice(&memory->key, key);
    int status = memory_row_find(memory, MEMORY_DOCS, &row);
    if (status != BQ_OK) {
        return status;
    }
    struct store_doc doc = {0};
    if (row != NULL) {
        doc_of_row(arena, row, &doc);
    } else {
        doc.key = arena_copy(arena, key);
    }
    if (!arena_failed(arena)) {
        *out = doc;
    }
    return memory_arena_status(arena);
}

int memory_doc_put(struct store *store, const struct uuid *user, const struct store_doc *doc)
{
    struct memory *memory = memory_of(store);
    struct memory_row row = {.numbers = {[DOC_VERSION] = doc->version,
                                         [DOC_SEQ] = doc->seq,
                                         [DOC_DELETED] = doc->deleted,
                                         [DOC_EPOCH] = doc->epoch,
                                         [DOC_MODIFIED] = doc->modified_us,
                                         [DOC_CREATED] = doc->created_us,
                                         [DOC_HISTORY] = doc->history},
                             .texts = {[DOC_KEY] = doc->key,
                                       [DOC_DATA] = doc->data,
                                       [DOC_DEVICE] = doc->device_id,
                                       [DOC_RECEIPTS] = doc->receipts}};
    memory_key_begin(memory, user);
    buf_add_slice(&memory->key, doc->key);
    return memory_row_put(memory, MEMORY_DOCS, &row);
}

static int by_seq(const void *a, const void *b)
{
    int64_t x = ((const struct memory_row *)a)->numbers[DOC_SEQ];
    int64_t y = ((const struct memory_row *)b)->numbers[DOC_SEQ];
    return x < y ? -1 : x > y;
}

/* The rows of a user with seq > after, sorted by seq. */
static int rows_after(struct memory *memory, struct arena *arena, int64_t after, bool with_deleted,
                      const void ***out, size_t *out_n)
{
    size_t first;
    size_t last;
    int status = memory_row_range(memory, MEMORY_DOCS, &first, &last);
    if (status != BQ_OK) {
        return status;
    }
    const void **found = arena_alloc(arena, (last - first) * sizeof *found);
    if (found == NULL) {
        return BQ_NOMEM;
    }
    size_t n = 0;
    for (size_t i = first; i < last; i++) {
        const struct memory_row *row = memory_row_at(memory, MEMORY_DOCS, i);
        if (row->numbers[DOC_SEQ] > after && (with_deleted || row->numbers[DOC_DELETED] == 0)) {
            found[n++] = row;
        }
    }
    *out = found;
    *out_n = n;
    return sort_pointers(arena, found, n, by_seq) ? BQ_OK : BQ_NOMEM;
}

int memory_docs(struct store *store, struct arena *arena, const struct uuid *user, int64_t after,
                uint32_t max_rows, size_t max_bytes, bool with_deleted, struct store_docs *out)
{
    const void **found;
    size_t n_found;
    size_t n_bytes = 0;
    struct memory *memory = memory_of(store);
    memory_key_begin(memory, user);
    int status = rows_after(memory, arena, after, with_deleted, &found, &n_found);
    if (status != BQ_OK) {
        return status;
    }
    uint32_t n = 0;
    size_t most = n_found < max_rows ? n_found : max_rows;
    struct store_doc *items = arena_zalloc(arena, most, sizeof *items);
    for (; items != NULL && n < most; n++) {
        const struct memory_row *row = found[n];
        size_t len = row->texts[DOC_DATA].len;
        if (n > 0 && (n_bytes > max_bytes || len > max_bytes - n_bytes)) {
            break;
        }
        n_bytes += len;
        doc_of_row(arena, row, &items[n]);
    }
    if (!arena_failed(arena)) {
        *out = (struct store_docs){items, n, n < n_found};
    }
    return memory_arena_status(arena);
}

int memory_tombstone_drop(struct store *store, const struct uuid *user, int64_t *out_seq)
{
    struct memory *memory = memory_of(store);
    const struct memory_row *oldest = NULL;
    size_t first;
    size_t last;
    memory_key_begin(memory, user);
    int status = memory_row_range(memory, MEMORY_DOCS, &first, &last);
    if (status != BQ_OK) {
        return status;
    }
    for (size_t i = first; i < last; i++) {
        const struct memory_row *row = memory_row_at(memory, MEMORY_DOCS, i);
        if (row->numbers[DOC_DELETED] != 0 && (oldest == NULL || by_seq(row, oldest) < 0)) {
            oldest = row;
        }
    }
    if (oldest == NULL) {
        *out_seq = 0;
        return BQ_OK;
    }
    int64_t seq = oldest->numbers[DOC_SEQ];
    int64_t id = oldest->numbers[DOC_HISTORY];
    memory_key_add_part(memory, oldest->texts[DOC_KEY]);
    status = memory_row_remove_range(memory, MEMORY_UPSERTS);
    if (status == BQ_OK) {
        status = memory_remove(&memory->state->tables, MEMORY_DOCS, oldest->key);
    }
    if (status == BQ_OK) {
        status = memory_history_remove_chain(memory, user, id);
    }
    if (status == BQ_OK) {
        *out_seq = seq;
    }
    return status;
}
