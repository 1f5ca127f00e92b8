/* memory.c - the verbs of store.h over memory_rows.h, and nothing else.
 *
 * Keys of rows: parts one behind the other. A user id has a fixed length, a last part needs none,
 * any other part begins with its length in 4 bytes. So all rows of a user, and all of a device,
 * stand together.
 *
 * A reader looks at the writer's tables. As nothing here runs in parallel, isolation is by refusal:
 * begin() answers BQ_BUSY while the other side is in a transaction. */
#include "store/memory.h"

#include "base/assert.h"
#include "base/buf.h"
#include "base/mem.h"
#include "base/status.h"
#include "json/sort.h"
#include "store/memory_rows.h"

#define EPOCH_TEXT 32u

/* What a handle and its readers share. */
struct memory_state {
    struct memory_tables tables;
    char epoch[EPOCH_TEXT + 1];
    uint64_t hash_key[2];
    unsigned n_history;
    unsigned n_readers;
    unsigned n_reading;
    bool writing;
    int64_t next_history;
    int64_t next_history_before; /* as it was at begin() */
    int64_t policies_version;
    int64_t policies_version_before;
};

struct memory {
    struct store store;
    struct memory_state *state;
    struct buf key; /* the key of the row that is looked for */
    bool is_reader;
    bool is_open; /* in a transaction */
};

/* Numbers and texts of each kind of row. */
enum user_number { USER_ERASED, USER_SEQ, USER_GENERATION, USER_CLOCK, USER_N_KEYS, USER_N_BYTES,
                   USER_N_TOMBSTONES, USER_PURGED };
enum doc_number { DOC_VERSION, DOC_SEQ, DOC_DELETED, DOC_EPOCH, DOC_MODIFIED, DOC_CREATED,
                  DOC_HISTORY };
enum doc_text { DOC_KEY, DOC_DATA, DOC_DEVICE, DOC_RECEIPTS };
enum history_number { HISTORY_ID, HISTORY_OLDER, HISTORY_VERSION };
enum device_number { DEVICE_LAST_SYNC, DEVICE_CREATED, DEVICE_VERSION };
enum device_text { DEVICE_ID, DEVICE_INFO };
enum v1_device_text { V1_DEVICE_ID, V1_DEVICE_NAME, V1_DEVICE_TYPE };
enum dead_text { DEAD_ID, DEAD_DEVICE, DEAD_KEY, DEAD_DATA, DEAD_ERROR };
enum policy_text { POLICY_PATTERN, POLICY_POLICY };

static struct memory *memory_of(struct store *store)
{
    return (struct memory *)store;
}

/* Keys. */

static void key_begin(struct memory *memory, const struct uuid *user)
{
    buf_clear(&memory->key);
    buf_add_slice(&memory->key, uuid_slice(user));
}

static void key_add_part(struct memory *memory, struct slice part)
{
    char length[4];
    for (int i = 0; i < 4; i++) {
        length[i] = (char)(unsigned char)(part.len >> (24 - 8 * i));
    }
    buf_add(&memory->key, length, sizeof length);
    buf_add_slice(&memory->key, part);
}

static void key_add_id(struct memory *memory, int64_t id)
{
    char bytes[8];
    for (int i = 0; i < 8; i++) {
        bytes[i] = (char)(unsigned char)((uint64_t)id >> (56 - 8 * i));
    }
    buf_add(&memory->key, bytes, sizeof bytes);
}

/* Tables by the key that was built; a verb's failure is that of its key. */

static int find(struct memory *memory, enum memory_table table, const struct memory_row **out)
{
    ASSERT(memory->is_open);
    if (memory->key.failed) {
        return BQ_NOMEM;
    }
    *out = memory_find(&memory->state->tables, table, buf_slice(&memory->key));
    return BQ_OK;
}

static int range(struct memory *memory, enum memory_table table, size_t *first, size_t *end)
{
    ASSERT(memory->is_open);
    if (memory->key.failed) {
        return BQ_NOMEM;
    }
    memory_range(&memory->state->tables, table, buf_slice(&memory->key), first, end);
    return BQ_OK;
}

static int put(struct memory *memory, enum memory_table table, struct memory_row *draft)
{
    ASSERT(memory->is_open && !memory->is_reader);
    if (memory->key.failed) {
        return BQ_NOMEM;
    }
    draft->key = buf_slice(&memory->key);
    return memory_put(&memory->state->tables, table, draft);
}

static int remove_row(struct memory *memory, enum memory_table table)
{
    ASSERT(memory->is_open && !memory->is_reader);
    return memory->key.failed
               ? BQ_NOMEM
               : memory_remove(&memory->state->tables, table, buf_slice(&memory->key));
}

static int remove_range(struct memory *memory, enum memory_table table)
{
    ASSERT(memory->is_open && !memory->is_reader);
    return memory->key.failed
               ? BQ_NOMEM
               : memory_remove_range(&memory->state->tables, table, buf_slice(&memory->key));
}

/* A copy for the caller; an absent text stays absent. */
static struct slice copy(struct arena *arena, struct slice text)
{
    return text.ptr == NULL ? SLICE_NONE : arena_copy(arena, text);
}

static int arena_status(const struct arena *arena)
{
    return arena_failed(arena) ? BQ_NOMEM : BQ_OK;
}

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

static int commit(struct store *store)
{
    struct memory *memory = memory_of(store);
    if (!memory->is_reader) {
        memory_commit(&memory->state->tables);
    }
    end(memory);
    return BQ_OK;
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

/* The user row. */

static int user_get(struct store *store, const struct uuid *id, struct store_user *out)
{
    struct memory *memory = memory_of(store);
    const struct memory_row *row;
    key_begin(memory, id);
    int status = find(memory, MEMORY_USERS, &row);
    if (status != BQ_OK) {
        return status;
    }
    *out = (struct store_user){.id = *id};
    if (row != NULL) {
        out->exists = true;
        out->erased = row->numbers[USER_ERASED] != 0;
        out->seq = row->numbers[USER_SEQ];
        out->generation = row->numbers[USER_GENERATION];
        out->clock_us = row->numbers[USER_CLOCK];
        out->n_keys = row->numbers[USER_N_KEYS];
        out->n_bytes = row->numbers[USER_N_BYTES];
        out->n_tombstones = row->numbers[USER_N_TOMBSTONES];
        out->purged_seq = row->numbers[USER_PURGED];
    }
    return BQ_OK;
}

static int user_put(struct store *store, const struct store_user *user)
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
    key_begin(memory, &user->id);
    return put(memory, MEMORY_USERS, &row);
}

/* Documents. */

static void doc_of_row(struct arena *arena, const struct memory_row *row, struct store_doc *out)
{
    out->key = copy(arena, row->texts[DOC_KEY]);
    out->version = row->numbers[DOC_VERSION];
    out->seq = row->numbers[DOC_SEQ];
    out->deleted = row->numbers[DOC_DELETED] != 0;
    out->epoch = row->numbers[DOC_EPOCH];
    out->data = copy(arena, row->texts[DOC_DATA]);
    out->device_id = copy(arena, row->texts[DOC_DEVICE]);
    out->modified_us = row->numbers[DOC_MODIFIED];
    out->created_us = row->numbers[DOC_CREATED];
    out->receipts = copy(arena, row->texts[DOC_RECEIPTS]);
    out->history = row->numbers[DOC_HISTORY];
}

static int doc_get(struct store *store, struct arena *arena, const struct uuid *user,
                   struct slice key, struct store_doc *out)
{
    struct memory *memory = memory_of(store);
    const struct memory_row *row;
    key_begin(memory, user);
    buf_add_slice(&memory->key, key);
    int status = find(memory, MEMORY_DOCS, &row);
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
    return arena_status(arena);
}

static int doc_put(struct store *store, const struct uuid *user, const struct store_doc *doc)
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
    key_begin(memory, user);
    buf_add_slice(&memory->key, doc->key);
    return put(memory, MEMORY_DOCS, &row);
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
    int status = range(memory, MEMORY_DOCS, &first, &last);
    if (status != BQ_OK) {
        return status;
    }
    const void **found = arena_alloc(arena, (last - first) * sizeof *found);
    if (found == NULL) {
        return BQ_NOMEM;
    }
    size_t n = 0;
    for (size_t i = first; i < last; i++) {
        const struct memory_row *row = memory->state->tables.tables[MEMORY_DOCS].items[i];
        if (row->numbers[DOC_SEQ] > after && (with_deleted || row->numbers[DOC_DELETED] == 0)) {
            found[n++] = row;
        }
    }
    *out = found;
    *out_n = n;
    return sort_pointers(arena, found, n, by_seq) ? BQ_OK : BQ_NOMEM;
}

static int docs(struct store *store, struct arena *arena, const struct uuid *user, int64_t after,
                uint32_t max_rows, size_t max_bytes, bool with_deleted, struct store_docs *out)
{
    const void **found;
    size_t n_found;
    size_t n_bytes = 0;
    struct memory *memory = memory_of(store);
    key_begin(memory, user);
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
    return arena_status(arena);
}

static int tombstone_drop(struct store *store, const struct uuid *user, int64_t *out_seq)
{
    struct memory *memory = memory_of(store);
    const struct memory_row *oldest = NULL;
    size_t first;
    size_t last;
    key_begin(memory, user);
    int status = range(memory, MEMORY_DOCS, &first, &last);
    if (status != BQ_OK) {
        return status;
    }
    for (size_t i = first; i < last; i++) {
        const struct memory_row *row = memory->state->tables.tables[MEMORY_DOCS].items[i];
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
    status = memory_remove(&memory->state->tables, MEMORY_DOCS, oldest->key);
    while (status == BQ_OK && id != 0) {
        const struct memory_row *entry;
        key_begin(memory, user);
        key_add_id(memory, id);
        status = find(memory, MEMORY_HISTORY, &entry);
        if (status == BQ_OK) {
            id = entry == NULL ? 0 : entry->numbers[HISTORY_OLDER];
            status = remove_row(memory, MEMORY_HISTORY);
        }
    }
    if (status == BQ_OK) {
        *out_seq = seq;
    }
    return status;
}

/* History. */

static int find_history(struct memory *memory, const struct uuid *user, int64_t id,
                        const struct memory_row **out)
{
    key_begin(memory, user);
    key_add_id(memory, id);
    return find(memory, MEMORY_HISTORY, out);
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
    return id == 0 ? BQ_OK : remove_row(memory, MEMORY_HISTORY);
}

static int history_add(struct store *store, const struct uuid *user, struct slice key,
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
    struct memory_row row = {.numbers = {[HISTORY_ID] = id,
                                         [HISTORY_OLDER] = entry->older,
                                         [HISTORY_VERSION] = entry->version},
                             .texts = {entry->entry}};
    key_begin(memory, user);
    key_add_id(memory, id);
    int status = put(memory, MEMORY_HISTORY, &row);
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

static int history_get(struct store *store, struct arena *arena, const struct uuid *user,
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
    struct slice entry = copy(arena, row->texts[0]);
    if (!arena_failed(arena)) {
        *out = (struct store_history){id, row->numbers[HISTORY_OLDER],
                                      row->numbers[HISTORY_VERSION], entry};
    }
    return arena_status(arena);
}

/* Old clients. */

static void upserts_key(struct memory *memory, const struct uuid *user, struct slice key,
                        struct slice device_id)
{
    key_begin(memory, user);
    key_add_part(memory, key);
    buf_add_slice(&memory->key, device_id);
}

static int upserts_get(struct store *store, struct arena *arena, const struct uuid *user,
                       struct slice key, struct slice device_id, struct slice *out)
{
    struct memory *memory = memory_of(store);
    const struct memory_row *row;
    upserts_key(memory, user, key, device_id);
    int status = find(memory, MEMORY_UPSERTS, &row);
    if (status != BQ_OK) {
        return status;
    }
    struct slice packed = row == NULL ? SLICE_NONE : copy(arena, row->texts[0]);
    if (!arena_failed(arena)) {
        *out = packed;
    }
    return arena_status(arena);
}

static int upserts_put(struct store *store, const struct uuid *user, struct slice key,
                       struct slice device_id, struct slice packed, int64_t now_us)
{
    struct memory *memory = memory_of(store);
    struct memory_row row = {.numbers = {now_us}, .texts = {packed}};
    upserts_key(memory, user, key, device_id);
    return put(memory, MEMORY_UPSERTS, &row);
}

/* Devices. */

static int by_last_sync(const void *a, const void *b)
{
    int64_t x = ((const struct memory_row *)a)->numbers[DEVICE_LAST_SYNC];
    int64_t y = ((const struct memory_row *)b)->numbers[DEVICE_LAST_SYNC];
    return x > y ? -1 : x < y;
}

static int devices(struct store *store, struct arena *arena, const struct uuid *user,
                   struct store_devices *out)
{
    struct memory *memory = memory_of(store);
    size_t first;
    size_t last;
    key_begin(memory, user);
    int status = range(memory, MEMORY_DEVICES, &first, &last);
    if (status != BQ_OK) {
        return status;
    }
    uint32_t n = (uint32_t)(last - first);
    const void **sorted = arena_alloc(arena, n * sizeof *sorted);
    struct store_device *items = arena_zalloc(arena, n, sizeof *items);
    for (uint32_t i = 0; items != NULL && i < n; i++) {
        sorted[i] = memory->state->tables.tables[MEMORY_DEVICES].items[first + i];
    }
    if (items == NULL || !sort_pointers(arena, sorted, n, by_last_sync)) {
        return BQ_NOMEM;
    }
    for (uint32_t i = 0; i < n; i++) {
        const struct memory_row *row = sorted[i];
        items[i] = (struct store_device){copy(arena, row->texts[DEVICE_ID]),
                                         row->numbers[DEVICE_LAST_SYNC],
                                         row->numbers[DEVICE_VERSION],
                                         copy(arena, row->texts[DEVICE_INFO]),
                                         row->numbers[DEVICE_CREATED]};
    }
    if (!arena_failed(arena)) {
        *out = (struct store_devices){items, n};
    }
    return arena_status(arena);
}

/* Puts a row of either device table; the time of creation that is there stays. */
static int put_device(struct memory *memory, enum memory_table table, const struct uuid *user,
                      struct memory_row *row)
{
    const struct memory_row *before;
    key_begin(memory, user);
    buf_add_slice(&memory->key, row->texts[DEVICE_ID]);
    int status = find(memory, table, &before);
    if (status != BQ_OK) {
        return status;
    }
    if (before != NULL) {
        row->numbers[DEVICE_CREATED] = before->numbers[DEVICE_CREATED];
    }
    return put(memory, table, row);
}

static int device_put(struct store *store, const struct uuid *user,
                      const struct store_device *device)
{
    struct memory_row row = {.numbers = {[DEVICE_LAST_SYNC] = device->last_sync_us,
                                         [DEVICE_VERSION] = device->last_sync_version,
                                         [DEVICE_CREATED] = device->created_us},
                             .texts = {[DEVICE_ID] = device->device_id,
                                       [DEVICE_INFO] = device->info}};
    return put_device(memory_of(store), MEMORY_DEVICES, user, &row);
}

static int v1_device_put(struct store *store, const struct uuid *user,
                         const struct store_v1_device *device)
{
    struct memory_row row = {.numbers = {[DEVICE_LAST_SYNC] = device->last_sync_us,
                                         [DEVICE_CREATED] = device->created_us},
                             .texts = {[V1_DEVICE_ID] = device->device_id,
                                       [V1_DEVICE_NAME] = device->name,
                                       [V1_DEVICE_TYPE] = device->type}};
    return put_device(memory_of(store), MEMORY_V1_DEVICES, user, &row);
}

static int v1_device_remove(struct store *store, const struct uuid *user, struct slice device_id,
                            bool *out_found)
{
    struct memory *memory = memory_of(store);
    const struct memory_row *row;
    key_begin(memory, user);
    buf_add_slice(&memory->key, device_id);
    int status = find(memory, MEMORY_V1_DEVICES, &row);
    if (status != BQ_OK) {
        return status;
    }
    bool found = row != NULL;
    status = remove_row(memory, MEMORY_V1_DEVICES);
    if (status == BQ_OK) {
        *out_found = found;
    }
    return status;
}

static int dead_replace(struct store *store, const struct uuid *user, struct slice device_id,
                        const struct store_dead *items, uint32_t n)
{
    struct memory *memory = memory_of(store);
    key_begin(memory, user);
    key_add_part(memory, device_id);
    int status = remove_range(memory, MEMORY_DEAD);
    for (uint32_t i = 0; status == BQ_OK && i < n; i++) {
        const struct store_dead *item = &items[i];
        struct memory_row row = {.numbers = {item->version, item->at_us},
                                 .texts = {[DEAD_ID] = item->id,
                                           [DEAD_DEVICE] = device_id,
                                           [DEAD_KEY] = item->key,
                                           [DEAD_DATA] = item->data,
                                           [DEAD_ERROR] = item->error}};
        key_begin(memory, user);
        key_add_part(memory, device_id);
        buf_add_slice(&memory->key, item->id);
        status = put(memory, MEMORY_DEAD, &row);
    }
    return status;
}

/* Policies. */

static int policies(struct store *store, struct arena *arena, struct store_policies *out)
{
    struct memory *memory = memory_of(store);
    ASSERT(memory->is_open);
    const struct memory_rows *rows = &memory->state->tables.tables[MEMORY_POLICIES];
    struct store_policy *items = arena_zalloc(arena, rows->n, sizeof *items);
    for (size_t i = 0; items != NULL && i < rows->n; i++) {
        items[i].pattern = copy(arena, rows->items[i]->texts[POLICY_PATTERN]);
        items[i].policy = copy(arena, rows->items[i]->texts[POLICY_POLICY]);
    }
    if (!arena_failed(arena)) {
        *out = (struct store_policies){items, (uint32_t)rows->n, memory->state->policies_version};
    }
    return arena_status(arena);
}

static int policy_put(struct store *store, struct slice pattern, struct slice policy)
{
    struct memory *memory = memory_of(store);
    struct memory_row row = {
        .texts = {[POLICY_PATTERN] = pattern, [POLICY_POLICY] = policy}};
    buf_clear(&memory->key);
    buf_add_slice(&memory->key, pattern);
    int status = policy.len == 0 ? remove_row(memory, MEMORY_POLICIES)
                                 : put(memory, MEMORY_POLICIES, &row);
    if (status == BQ_OK) {
        memory->state->policies_version++;
    }
    return status;
}

static int user_clear(struct store *store, const struct uuid *user)
{
    static const enum memory_table owned[] = {MEMORY_DOCS,    MEMORY_HISTORY,    MEMORY_UPSERTS,
                                              MEMORY_DEVICES, MEMORY_V1_DEVICES, MEMORY_DEAD};
    struct memory *memory = memory_of(store);
    int status = BQ_OK;
    key_begin(memory, user);
    for (size_t i = 0; status == BQ_OK && i < sizeof owned / sizeof owned[0]; i++) {
        status = remove_range(memory, owned[i]);
    }
    return status;
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
                                   user_get,
                                   user_put,
                                   doc_get,
                                   doc_put,
                                   docs,
                                   tombstone_drop,
                                   history_add,
                                   history_get,
                                   upserts_get,
                                   upserts_put,
                                   devices,
                                   device_put,
                                   v1_device_put,
                                   v1_device_remove,
                                   dead_replace,
                                   policies,
                                   policy_put,
                                   user_clear};

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

static void set_epoch(struct memory_state *state, const char *text)
{
    size_t len = strlen(text);
    ASSERT(len >= 1 && len <= EPOCH_TEXT);
    memcpy(state->epoch, text, len + 1);
}

static struct memory_state *new_state(void)
{
    struct memory_state *state = mem_zalloc(1, sizeof *state);
    if (state != NULL) {
        memory_tables_init(&state->tables);
        state->next_history = 1;
        state->policies_version = 1;
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
    set_epoch(state, epoch_text);
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

int store_memory_set_epoch(struct store *store, const char *epoch_text)
{
    set_epoch(memory_of(store)->state, epoch_text);
    return BQ_OK;
}
