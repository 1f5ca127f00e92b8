/* memory_misc.c - old clients, devices, dead letters, policies and a user's end, in memory. */
#include "store/memory_impl.h"

#include "json/sort.h"

/* Numbers and texts of the rows. */
enum upsert_number { UPSERT_UPDATED };
enum upsert_text { UPSERT_PACKED, UPSERT_DEVICE };
enum device_number { DEVICE_LAST_SYNC, DEVICE_CREATED, DEVICE_VERSION };
enum device_text { DEVICE_ID, DEVICE_INFO };
enum v1_device_text { V1_DEVICE_ID, V1_DEVICE_NAME, V1_DEVICE_TYPE };
enum dead_number { DEAD_AT, DEAD_VERSION };
enum dead_text { DEAD_ID, DEAD_DEVICE, DEAD_KEY, DEAD_DATA, DEAD_ERROR };
enum policy_text { POLICY_PATTERN, POLICY_POLICY };

/* Times are the first number of the rows that have one. */
static int by_time(const void *a, const void *b)
{
    int64_t x = ((const struct memory_row *)a)->numbers[0];
    int64_t y = ((const struct memory_row *)b)->numbers[0];
    return x > y ? -1 : x < y;
}

/* Old clients. */

static void upserts_key(struct memory *memory, const struct uuid *user, struct slice key,
                        struct slice device_id)
{
    memory_key_begin(memory, user);
    memory_key_add_part(memory, key);
    buf_add_slice(&memory->key, device_id);
}

/* The key of a row stands in its own key, behind the user and its length. */
static struct slice upsert_key_of(const struct memory_row *row)
{
    size_t before = UUID_TEXT + 4;
    return (struct slice){row->key.ptr + before,
                          row->key.len - before - row->texts[UPSERT_DEVICE].len};
}

/* By key, of one key by device. */
static int by_key(const void *a, const void *b)
{
    const struct memory_row *x = a;
    const struct memory_row *y = b;
    int order = memory_key_order(upsert_key_of(x), upsert_key_of(y));
    return order != 0 ? order
                      : memory_key_order(x->texts[UPSERT_DEVICE], y->texts[UPSERT_DEVICE]);
}

int memory_upserts_get(struct store *store, struct arena *arena, const struct uuid *user,
                       struct slice key, struct slice device_id, struct slice *out)
{
    struct memory *memory = memory_of(store);
    const struct memory_row *row;
    upserts_key(memory, user, key, device_id);
    int status = memory_row_find(memory, MEMORY_UPSERTS, &row);
    if (status != BQ_OK) {
        return status;
    }
    struct slice packed = row == NULL ? SLICE_NONE : memory_text(arena, row->texts[UPSERT_PACKED]);
    if (!arena_failed(arena)) {
        *out = packed;
    }
    return memory_arena_status(arena);
}

int memory_upserts_put(struct store *store, const struct uuid *user, struct slice key,
                       struct slice device_id, struct slice packed, int64_t now_us)
{
    struct memory *memory = memory_of(store);
    struct memory_row row = {.numbers = {[UPSERT_UPDATED] = now_us},
                             .texts = {[UPSERT_PACKED] = packed, [UPSERT_DEVICE] = device_id}};
    upserts_key(memory, user, key, device_id);
    return memory_row_put(memory, MEMORY_UPSERTS, &row);
}

int memory_upserts(struct store *store, struct arena *arena, const struct uuid *user,
                   struct store_upserts *out)
{
    struct memory *memory = memory_of(store);
    size_t first;
    size_t end;
    memory_key_begin(memory, user);
    int status = memory_row_range(memory, MEMORY_UPSERTS, &first, &end);
    if (status != BQ_OK) {
        return status;
    }
    const void **rows = arena_alloc(arena, (end - first) * sizeof *rows);
    struct store_upsert *items = arena_zalloc(arena, end - first, sizeof *items);
    for (size_t i = first; rows != NULL && i < end; i++) {
        rows[i - first] = memory_row_at(memory, MEMORY_UPSERTS, i);
    }
    if (rows == NULL || items == NULL || !sort_pointers(arena, rows, end - first, by_key)) {
        return BQ_NOMEM;
    }
    for (size_t i = 0; i < end - first; i++) {
        const struct memory_row *row = rows[i];
        items[i] = (struct store_upsert){memory_text(arena, upsert_key_of(row)),
                                         memory_text(arena, row->texts[UPSERT_DEVICE]),
                                         memory_text(arena, row->texts[UPSERT_PACKED]),
                                         row->numbers[UPSERT_UPDATED]};
    }
    if (!arena_failed(arena)) {
        *out = (struct store_upserts){items, (uint32_t)(end - first)};
    }
    return memory_arena_status(arena);
}

static int empty(struct memory *memory, const struct memory_row *before)
{
    struct memory_row row = *before;
    row.texts[UPSERT_PACKED] = SLICE("");
    return memory_put(&memory->state->tables, MEMORY_UPSERTS, &row);
}

int memory_upserts_forget(struct store *store, const struct uuid *user, struct slice key)
{
    struct memory *memory = memory_of(store);
    size_t first;
    size_t end;
    memory_key_begin(memory, user);
    memory_key_add_part(memory, key);
    int status = memory_row_range(memory, MEMORY_UPSERTS, &first, &end);
    for (size_t i = first; status == BQ_OK && i < end; i++) {
        status = empty(memory, memory_row_at(memory, MEMORY_UPSERTS, i));
    }
    return status;
}

/* The rows whose keys begin as the one that was built, the latest first; of equal times by key. */
static int latest_first(struct memory *memory, struct arena *arena, enum memory_table table,
                        const void ***out, size_t *out_n)
{
    size_t first;
    size_t end;
    int status = memory_row_range(memory, table, &first, &end);
    if (status != BQ_OK) {
        return status;
    }
    const void **rows = arena_alloc(arena, (end - first) * sizeof *rows);
    for (size_t i = first; rows != NULL && i < end; i++) {
        rows[i - first] = memory_row_at(memory, table, i);
    }
    if (rows == NULL || !sort_pointers(arena, rows, end - first, by_time)) {
        return BQ_NOMEM;
    }
    *out = rows;
    *out_n = end - first;
    return BQ_OK;
}

/* Removes all but the latest `most` of them. */
static int trim(struct memory *memory, enum memory_table table, size_t most, bool *out_evicted)
{
    struct arena arena;
    const void **rows;
    size_t n;
    arena_init(&arena);
    int status = latest_first(memory, &arena, table, &rows, &n);
    for (size_t i = most; status == BQ_OK && i < n; i++) {
        status =
            memory_remove(&memory->state->tables, table, ((const struct memory_row *)rows[i])->key);
    }
    if (status == BQ_OK) {
        *out_evicted = n > most;
    }
    arena_release(&arena);
    return status;
}

/* Empties all texts of the user but the latest LIMIT_UPSERT_MEMORIES. */
static int empty_oldest(struct memory *memory, const struct uuid *user)
{
    struct arena arena;
    const void **rows;
    size_t n;
    size_t n_texts = 0;
    arena_init(&arena);
    memory_key_begin(memory, user);
    int status = latest_first(memory, &arena, MEMORY_UPSERTS, &rows, &n);
    for (size_t i = 0; status == BQ_OK && i < n; i++) {
        const struct memory_row *row = rows[i];
        n_texts += row->texts[UPSERT_PACKED].len > 0;
        if (row->texts[UPSERT_PACKED].len > 0 && n_texts > LIMIT_UPSERT_MEMORIES) {
            status = empty(memory, row);
        }
    }
    arena_release(&arena);
    return status;
}

int memory_upserts_trim(struct store *store, const struct uuid *user, struct slice key,
                        bool *out_evicted)
{
    struct memory *memory = memory_of(store);
    bool evicted;
    memory_key_begin(memory, user);
    memory_key_add_part(memory, key);
    int status = trim(memory, MEMORY_UPSERTS, LIMIT_UPSERT_DEVICES, &evicted);
    if (status == BQ_OK) {
        status = empty_oldest(memory, user);
    }
    if (status == BQ_OK) {
        *out_evicted = evicted;
    }
    return status;
}

/* Devices. */

int memory_devices(struct store *store, struct arena *arena, const struct uuid *user,
                   struct store_devices *out)
{
    struct memory *memory = memory_of(store);
    const void **sorted;
    size_t n;
    memory_key_begin(memory, user);
    int status = latest_first(memory, arena, MEMORY_DEVICES, &sorted, &n);
    if (status != BQ_OK) {
        return status;
    }
    struct store_device *items = arena_zalloc(arena, n, sizeof *items);
    for (size_t i = 0; items != NULL && i < n; i++) {
        const struct memory_row *row = sorted[i];
        items[i] = (struct store_device){
            memory_text(arena, row->texts[DEVICE_ID]), row->numbers[DEVICE_LAST_SYNC],
            row->numbers[DEVICE_VERSION], memory_text(arena, row->texts[DEVICE_INFO]),
            row->numbers[DEVICE_CREATED]};
    }
    if (!arena_failed(arena)) {
        *out = (struct store_devices){items, (uint32_t)n};
    }
    return memory_arena_status(arena);
}

/* Puts a row of either device table; the time of creation that is there stays. */
static int put_device(struct memory *memory, enum memory_table table, const struct uuid *user,
                      struct memory_row *row)
{
    const struct memory_row *before;
    memory_key_begin(memory, user);
    buf_add_slice(&memory->key, row->texts[DEVICE_ID]);
    int status = memory_row_find(memory, table, &before);
    if (status != BQ_OK) {
        return status;
    }
    if (before != NULL) {
        row->numbers[DEVICE_CREATED] = before->numbers[DEVICE_CREATED];
    }
    status = memory_row_put(memory, table, row);
    if (status != BQ_OK) {
        return status;
    }
    bool evicted;
    memory_key_begin(memory, user);
    return trim(memory, table, LIMIT_DEVICES, &evicted);
}

int memory_device_put(struct store *store, const struct uuid *user,
                      const struct store_device *device)
{
    struct memory_row row = {
        .numbers = {[DEVICE_LAST_SYNC] = device->last_sync_us,
                    [DEVICE_VERSION] = device->last_sync_version,
                    [DEVICE_CREATED] = device->created_us},
        .texts = {[DEVICE_ID] = device->device_id, [DEVICE_INFO] = device->info}};
    return put_device(memory_of(store), MEMORY_DEVICES, user, &row);
}

int memory_v1_device_put(struct store *store, const struct uuid *user,
                         const struct store_v1_device *device)
{
    struct memory_row row = {
        .numbers =
            {[DEVICE_LAST_SYNC] = device->last_sync_us, [DEVICE_CREATED] = device->created_us},
        .texts = {[V1_DEVICE_ID] = device->device_id,
                  [V1_DEVICE_NAME] = device->name,
                  [V1_DEVICE_TYPE] = device->type}};
    return put_device(memory_of(store), MEMORY_V1_DEVICES, user, &row);
}

int memory_v1_devices(struct store *store, struct arena *arena, const struct uuid *user,
                      struct store_v1_devices *out)
{
    struct memory *memory = memory_of(store);
    const void **sorted;
    size_t n;
    memory_key_begin(memory, user);
    int status = latest_first(memory, arena, MEMORY_V1_DEVICES, &sorted, &n);
    if (status != BQ_OK) {
        return status;
    }
    struct store_v1_device *items = arena_zalloc(arena, n, sizeof *items);
    for (size_t i = 0; items != NULL && i < n; i++) {
        const struct memory_row *row = sorted[i];
        items[i] = (struct store_v1_device){memory_text(arena, row->texts[V1_DEVICE_ID]),
                                            memory_text(arena, row->texts[V1_DEVICE_NAME]),
                                            memory_text(arena, row->texts[V1_DEVICE_TYPE]),
                                            row->numbers[DEVICE_LAST_SYNC],
                                            row->numbers[DEVICE_CREATED]};
    }
    if (!arena_failed(arena)) {
        *out = (struct store_v1_devices){items, (uint32_t)n};
    }
    return memory_arena_status(arena);
}

int memory_v1_device_remove(struct store *store, const struct uuid *user, struct slice device_id,
                            bool *out_found)
{
    struct memory *memory = memory_of(store);
    const struct memory_row *row;
    memory_key_begin(memory, user);
    buf_add_slice(&memory->key, device_id);
    int status = memory_row_find(memory, MEMORY_V1_DEVICES, &row);
    if (status != BQ_OK) {
        return status;
    }
    bool found = row != NULL;
    status = memory_row_remove(memory, MEMORY_V1_DEVICES);
    if (status == BQ_OK) {
        *out_found = found;
    }
    return status;
}

/* The newest of all devices stay, as many and as long as a user may have. */
static int dead_trim(struct memory *memory, const struct uuid *user)
{
    struct arena arena;
    const void **rows;
    size_t n;
    size_t bytes = 0;
    arena_init(&arena);
    memory_key_begin(memory, user);
    int status = latest_first(memory, &arena, MEMORY_DEAD, &rows, &n);
    for (size_t i = 0; status == BQ_OK && i < n; i++) {
        const struct memory_row *row = rows[i];
        bytes += row->texts[DEAD_DATA].len;
        if (i >= LIMIT_DEAD_LETTERS || bytes > LIMIT_DEAD_BYTES) {
            status = memory_remove(&memory->state->tables, MEMORY_DEAD, row->key);
        }
    }
    arena_release(&arena);
    return status;
}

int memory_dead_replace(struct store *store, const struct uuid *user, struct slice device_id,
                        const struct store_dead *items, uint32_t n)
{
    struct memory *memory = memory_of(store);
    memory_key_begin(memory, user);
    memory_key_add_part(memory, device_id);
    int status = memory_row_remove_range(memory, MEMORY_DEAD);
    for (uint32_t i = 0; status == BQ_OK && i < n; i++) {
        const struct store_dead *item = &items[i];
        struct memory_row row = {.numbers = {[DEAD_AT] = item->at_us,
                                             [DEAD_VERSION] = item->version},
                                 .texts = {[DEAD_ID] = item->id,
                                           [DEAD_DEVICE] = device_id,
                                           [DEAD_KEY] = item->key,
                                           [DEAD_DATA] = item->data,
                                           [DEAD_ERROR] = item->error}};
        memory_key_begin(memory, user);
        memory_key_add_part(memory, device_id);
        buf_add_slice(&memory->key, item->id);
        status = memory_row_put(memory, MEMORY_DEAD, &row);
    }
    return status == BQ_OK && n > 0 ? dead_trim(memory, user) : status;
}

int memory_dead_letters(struct store *store, struct arena *arena, const struct uuid *user,
                        struct store_dead_letters *out)
{
    struct memory *memory = memory_of(store);
    const void **sorted;
    size_t n;
    memory_key_begin(memory, user);
    int status = latest_first(memory, arena, MEMORY_DEAD, &sorted, &n);
    if (status != BQ_OK) {
        return status;
    }
    struct store_dead *items = arena_zalloc(arena, n, sizeof *items);
    for (size_t i = 0; items != NULL && i < n; i++) {
        const struct memory_row *row = sorted[i];
        items[i] = (struct store_dead){
            memory_text(arena, row->texts[DEAD_ID]), memory_text(arena, row->texts[DEAD_DEVICE]),
            memory_text(arena, row->texts[DEAD_KEY]), memory_text(arena, row->texts[DEAD_DATA]),
            row->numbers[DEAD_VERSION], memory_text(arena, row->texts[DEAD_ERROR]),
            row->numbers[DEAD_AT]};
    }
    if (!arena_failed(arena)) {
        *out = (struct store_dead_letters){items, (uint32_t)n};
    }
    return memory_arena_status(arena);
}

/* Policies. */

int memory_policies(struct store *store, struct arena *arena, struct store_policies *out)
{
    struct memory *memory = memory_of(store);
    ASSERT(memory->is_open);
    const struct memory_rows *rows = &memory->state->tables.tables[MEMORY_POLICIES];
    struct store_policy *items = arena_zalloc(arena, rows->n, sizeof *items);
    for (size_t i = 0; items != NULL && i < rows->n; i++) {
        items[i].pattern = memory_text(arena, rows->items[i]->texts[POLICY_PATTERN]);
        items[i].policy = memory_text(arena, rows->items[i]->texts[POLICY_POLICY]);
    }
    if (!arena_failed(arena)) {
        *out = (struct store_policies){items, (uint32_t)rows->n, memory->state->policies_version};
    }
    return memory_arena_status(arena);
}

int memory_policy_put(struct store *store, struct slice pattern, struct slice policy)
{
    struct memory *memory = memory_of(store);
    struct memory_row row = {.texts = {[POLICY_PATTERN] = pattern, [POLICY_POLICY] = policy}};
    buf_clear(&memory->key);
    buf_add_slice(&memory->key, pattern);
    int status = policy.len == 0 ? memory_row_remove(memory, MEMORY_POLICIES)
                                 : memory_row_put(memory, MEMORY_POLICIES, &row);
    if (status == BQ_OK) {
        memory->state->policies_version++;
    }
    return status;
}

int memory_user_clear(struct store *store, const struct uuid *user)
{
    static const enum memory_table owned[] = {MEMORY_DOCS,    MEMORY_HISTORY,    MEMORY_UPSERTS,
                                              MEMORY_DEVICES, MEMORY_V1_DEVICES, MEMORY_DEAD};
    struct memory *memory = memory_of(store);
    int status = BQ_OK;
    memory_key_begin(memory, user);
    for (size_t i = 0; status == BQ_OK && i < sizeof owned / sizeof owned[0]; i++) {
        status = memory_row_remove_range(memory, owned[i]);
    }
    return status;
}
