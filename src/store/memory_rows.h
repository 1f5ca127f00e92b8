/* memory_rows.h - tables in memory: rows sorted by key, with an undo log over all of them.
 *
 * A row is one heap block: a key, a few numbers and texts, and the bytes of key and texts behind
 * them. It never changes: a put replaces the whole row and the log remembers the old one until
 * commit, so rollback is the log read backwards.
 *
 * Invariants: a table is sorted by memory_key_order() and holds a key once; on a failed put or
 * remove nothing changed; the array of a table never shrinks, so rollback needs no memory. */
#ifndef STORE_MEMORY_ROWS_H
#define STORE_MEMORY_ROWS_H

#include "base/slice.h"

#include <stdint.h>

#define MEMORY_ROW_NUMBERS 9
#define MEMORY_ROW_TEXTS 5

enum memory_table {
    MEMORY_USERS,
    MEMORY_DOCS,
    MEMORY_HISTORY,
    MEMORY_UPSERTS,
    MEMORY_DEVICES,
    MEMORY_V1_DEVICES,
    MEMORY_DEAD,
    MEMORY_POLICIES,
    MEMORY_ACCOUNTS,
    MEMORY_SESSIONS,
    MEMORY_NOTES,
    MEMORY_TABLES
};

struct memory_row {
    struct slice key;
    int64_t numbers[MEMORY_ROW_NUMBERS];
    struct slice texts[MEMORY_ROW_TEXTS];
    size_t n_bytes;
    char bytes[];
};

struct memory_rows {
    struct memory_row **items;
    size_t n;
    size_t size;
};

/* Either side may be NULL: the row was not there before, or is not there now. */
struct memory_undo {
    enum memory_table table;
    struct memory_row *before;
    struct memory_row *after;
};

struct memory_tables {
    struct memory_rows tables[MEMORY_TABLES];
    struct memory_undo *undo;
    size_t n_undo;
    size_t undo_size;
};

void memory_tables_init(struct memory_tables *tables);
void memory_tables_release(struct memory_tables *tables);

/* A deep copy of the rows; `from` must have nothing to undo. BQ_OK or BQ_NOMEM (out untouched). */
int memory_tables_copy(const struct memory_tables *from, struct memory_tables *out);

/* By bytes, a prefix first: so all keys of one prefix stand together. */
int memory_key_order(struct slice a, struct slice b);

/* The row of a key; NULL where there is none. Borrowed until the next put, remove or commit. */
const struct memory_row *memory_find(const struct memory_tables *tables, enum memory_table table,
                                     struct slice key);

/* The range [*first, *end) of the rows whose keys begin with prefix. */
void memory_range(const struct memory_tables *tables, enum memory_table table, struct slice prefix,
                  size_t *first, size_t *end);

/* Copies key, numbers and texts of draft into a new row, in place of the one of that key. BQ_OK or
 * BQ_NOMEM. */
int memory_put(struct memory_tables *tables, enum memory_table table,
               const struct memory_row *draft);

/* Removes the row of a key, where there is one; all rows that begin with prefix. BQ_OK or
 * BQ_NOMEM. */
int memory_remove(struct memory_tables *tables, enum memory_table table, struct slice key);
int memory_remove_range(struct memory_tables *tables, enum memory_table table,
                        struct slice prefix);

void memory_commit(struct memory_tables *tables);
void memory_rollback(struct memory_tables *tables);

#endif
