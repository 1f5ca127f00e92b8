/* memory_rows.c - sorted arrays of pointers, looked up by halving. */
#include "store/memory_rows.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/status.h"

#include <string.h>

#define FIRST_SIZE 16u

void memory_tables_init(struct memory_tables *tables)
{
    *tables = (struct memory_tables){0};
}

void memory_tables_release(struct memory_tables *tables)
{
    memory_rollback(tables);
    for (int t = 0; t < MEMORY_TABLES; t++) {
        for (size_t i = 0; i < tables->tables[t].n; i++) {
            mem_free(tables->tables[t].items[i]);
        }
        mem_free(tables->tables[t].items);
    }
    mem_free(tables->undo);
    memory_tables_init(tables);
}

int memory_key_order(struct slice a, struct slice b)
{
    size_t shared = a.len < b.len ? a.len : b.len;
    int order = shared == 0 ? 0 : memcmp(a.ptr, b.ptr, shared);
    if (order != 0 || a.len == b.len) {
        return order;
    }
    return a.len < b.len ? -1 : 1;
}

/* The first index whose key is not below key. */
static size_t lower(const struct memory_rows *rows, struct slice key)
{
    size_t from = 0;
    size_t to = rows->n;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (memory_key_order(rows->items[middle]->key, key) < 0) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    return from;
}

static bool holds(const struct memory_rows *rows, size_t at, struct slice key)
{
    return at < rows->n && slice_equal(rows->items[at]->key, key);
}

const struct memory_row *memory_find(const struct memory_tables *tables, enum memory_table table,
                                     struct slice key)
{
    const struct memory_rows *rows = &tables->tables[table];
    size_t at = lower(rows, key);
    return holds(rows, at, key) ? rows->items[at] : NULL;
}

static bool begins_with(struct slice key, struct slice prefix)
{
    return key.len >= prefix.len && memcmp(key.ptr, prefix.ptr, prefix.len) == 0;
}

void memory_range(const struct memory_tables *tables, enum memory_table table, struct slice prefix,
                  size_t *first, size_t *end)
{
    const struct memory_rows *rows = &tables->tables[table];
    *first = lower(rows, prefix);
    *end = *first;
    while (*end < rows->n && begins_with(rows->items[*end]->key, prefix)) {
        (*end)++;
    }
}

/* Copies a text behind *at. An absent text stays absent. */
static struct slice place(char **at, struct slice text)
{
    if (text.ptr == NULL) {
        return SLICE_NONE;
    }
    struct slice placed = {*at, text.len};
    if (text.len > 0) {
        memcpy(*at, text.ptr, text.len);
    }
    *at += text.len;
    return placed;
}

static struct memory_row *new_row(const struct memory_row *draft)
{
    size_t n_bytes = draft->key.len;
    for (int i = 0; i < MEMORY_ROW_TEXTS; i++) {
        n_bytes += draft->texts[i].len;
    }
    struct memory_row *row = mem_alloc(sizeof *row + n_bytes);
    if (row == NULL) {
        return NULL;
    }
    char *at = row->bytes;
    row->n_bytes = n_bytes;
    memcpy(row->numbers, draft->numbers, sizeof row->numbers);
    row->key = place(&at, draft->key);
    for (int i = 0; i < MEMORY_ROW_TEXTS; i++) {
        row->texts[i] = place(&at, draft->texts[i]);
    }
    return row;
}

/* Room for n items of item_size bytes in an array; doubles it where it is full. */
static bool reserve(void **array, size_t *size, size_t n, size_t item_size)
{
    if (n <= *size) {
        return true;
    }
    size_t wanted = *size == 0 ? FIRST_SIZE : *size * 2;
    while (wanted < n) {
        wanted *= 2;
    }
    void *grown = mem_realloc(*array, wanted * item_size);
    if (grown == NULL) {
        return false;
    }
    *array = grown;
    *size = wanted;
    return true;
}

static bool reserve_rows(struct memory_rows *rows, size_t n)
{
    void *array = rows->items;
    bool good = reserve(&array, &rows->size, n, sizeof(struct memory_row *));
    rows->items = array;
    return good;
}

static bool reserve_undo(struct memory_tables *tables, size_t more)
{
    void *array = tables->undo;
    bool good =
        reserve(&array, &tables->undo_size, tables->n_undo + more, sizeof(struct memory_undo));
    tables->undo = array;
    return good;
}

int memory_tables_copy(const struct memory_tables *from, struct memory_tables *out)
{
    ASSERT(from->n_undo == 0);
    struct memory_tables copy;
    memory_tables_init(&copy);
    for (int t = 0; t < MEMORY_TABLES; t++) {
        const struct memory_rows *rows = &from->tables[t];
        if (!reserve_rows(&copy.tables[t], rows->n)) {
            goto release_copy;
        }
        for (size_t i = 0; i < rows->n; i++) {
            struct memory_row *row = new_row(rows->items[i]);
            if (row == NULL) {
                goto release_copy;
            }
            copy.tables[t].items[copy.tables[t].n++] = row;
        }
    }
    *out = copy;
    return BQ_OK;

release_copy:
    memory_tables_release(&copy);
    return BQ_NOMEM;
}

static void insert(struct memory_rows *rows, size_t at, struct memory_row *row)
{
    memmove(&rows->items[at + 1], &rows->items[at], (rows->n - at) * sizeof rows->items[0]);
    rows->items[at] = row;
    rows->n++;
}

static void take_out(struct memory_rows *rows, size_t at)
{
    rows->n--;
    memmove(&rows->items[at], &rows->items[at + 1], (rows->n - at) * sizeof rows->items[0]);
}

int memory_put(struct memory_tables *tables, enum memory_table table,
               const struct memory_row *draft)
{
    struct memory_rows *rows = &tables->tables[table];
    if (!reserve_rows(rows, rows->n + 1) || !reserve_undo(tables, 1)) {
        return BQ_NOMEM;
    }
    struct memory_row *row = new_row(draft);
    if (row == NULL) {
        return BQ_NOMEM;
    }
    size_t at = lower(rows, row->key);
    struct memory_row *before = NULL;
    if (holds(rows, at, row->key)) {
        before = rows->items[at];
        rows->items[at] = row;
    } else {
        insert(rows, at, row);
    }
    tables->undo[tables->n_undo++] = (struct memory_undo){table, before, row};
    return BQ_OK;
}

int memory_remove(struct memory_tables *tables, enum memory_table table, struct slice key)
{
    struct memory_rows *rows = &tables->tables[table];
    size_t at = lower(rows, key);
    if (!holds(rows, at, key)) {
        return BQ_OK;
    }
    if (!reserve_undo(tables, 1)) {
        return BQ_NOMEM;
    }
    tables->undo[tables->n_undo++] = (struct memory_undo){table, rows->items[at], NULL};
    take_out(rows, at);
    return BQ_OK;
}

int memory_remove_range(struct memory_tables *tables, enum memory_table table, struct slice prefix)
{
    struct memory_rows *rows = &tables->tables[table];
    size_t first;
    size_t end;
    memory_range(tables, table, prefix, &first, &end);
    if (!reserve_undo(tables, end - first)) {
        return BQ_NOMEM;
    }
    while (end > first) {
        end--;
        tables->undo[tables->n_undo++] = (struct memory_undo){table, rows->items[end], NULL};
        take_out(rows, end);
    }
    return BQ_OK;
}

void memory_commit(struct memory_tables *tables)
{
    for (size_t i = 0; i < tables->n_undo; i++) {
        mem_free(tables->undo[i].before);
    }
    tables->n_undo = 0;
}

void memory_rollback(struct memory_tables *tables)
{
    while (tables->n_undo > 0) {
        struct memory_undo *undo = &tables->undo[--tables->n_undo];
        struct memory_rows *rows = &tables->tables[undo->table];
        const struct memory_row *either = undo->after != NULL ? undo->after : undo->before;
        size_t at = lower(rows, either->key);
        if (undo->after == NULL) {
            insert(rows, at, undo->before);
        } else if (undo->before != NULL) {
            rows->items[at] = undo->before;
        } else {
            take_out(rows, at);
        }
        mem_free(undo->after);
    }
}
