/* tables.h - the tables that clients see: their columns, and a row as the wire shows it.
 *
 * One place for what table reads and realtime events share: names and PostgreSQL types in the order
 * of the definition, how a value is printed, how a literal of a filter is read and compared. The
 * row of user_sync_data (v1) is no row of the store: it is computed from the user's documents
 * (docs/protocol.md 12.4).
 *
 * A value of a row borrows what it was made from. */
#ifndef SERVER_TABLES_H
#define SERVER_TABLES_H

#include "base/buf.h"
#include "store/store.h"

#define TABLE_COLUMNS 13u /* no table has more */

enum table_id {
    TABLE_DOCUMENTS, /* user_sync_data_v2 */
    TABLE_METADATA,  /* user_sync_metadata */
    TABLE_FEED,      /* user_sync_feed: user_id, seq */
    TABLE_V1,        /* user_sync_data */
    TABLE_QUEUE      /* user_sync_queue */
};

#define TABLES 5u

enum table_type { TABLE_UUID, TABLE_TEXT, TABLE_JSONB, TABLE_INT4, TABLE_INT8, TABLE_TIMESTAMPTZ };

struct table_column {
    const char *name;
    enum table_type type;
    bool key; /* of the primary key */
};

struct table {
    enum table_id id;
    const char *name;
    const struct table_column *columns;
    unsigned n_columns;
};

struct table_value {
    bool null;
    struct slice text; /* uuid and text; jsonb: JSON in compact form */
    int64_t number;    /* int4 and int8; timestamptz: microseconds */
};

struct table_row {
    struct table_value values[TABLE_COLUMNS]; /* in the order of the columns */
};

const struct table *table_get(enum table_id id);

/* NULL: there is none of this name. */
const struct table *table_find(struct slice name);

/* Where the column stands, or -1. */
int table_column(const struct table *table, struct slice name);

/* As PostgreSQL names it: "int4". */
const char *table_type_name(enum table_type type);

/* ---- Rows ------------------------------------------------------------------------------------ */

struct table_row table_row_document(const struct uuid *user, const struct store_doc *doc);
struct table_row table_row_device(const struct uuid *user, const struct store_device *device);
struct table_row table_row_feed(const struct uuid *user, int64_t seq);
struct table_row table_row_dead(const struct uuid *user, const struct store_dead *dead);

/* The row of v1, from *all* documents of the user, tombstones among them: who had documents has a
 * row, and its data is {} where all are deleted. *out_exists is false where there were none. The
 * data lives in the arena. BQ_OK, BQ_NOMEM. */
int table_row_v1(struct arena *arena, const struct uuid *user, const struct store_docs *docs,
                 struct table_row *out, bool *out_exists);

/* ---- Values ---------------------------------------------------------------------------------- */

/* Appends the value as JSON. */
void table_value_print(struct buf *out, enum table_type type, const struct table_value *value);

/* Appends {"column":value,...}: all columns, or those of the key alone. */
void table_row_print(struct buf *out, const struct table *table, const struct table_row *row);
void table_key_print(struct buf *out, const struct table *table, const struct table_row *row);

/* The value as text, as PostgreSQL casts it: what like, ilike and match see. Lives in the
 * arena where it was not text already; SLICE_NONE: memory is exhausted. */
struct slice table_value_text(struct arena *arena, enum table_type type,
                              const struct table_value *value);

/* Reads a literal. BQ_OK, BQ_NOMEM; BQ_INVALID: not one of this type ("invalid input syntax");
 * BQ_OUT_OF_RANGE: too large for it. out borrows text, or lives in the arena. */
int table_value_read(struct arena *arena, enum table_type type, struct slice text,
                     struct table_value *out);

/* As memcmp(), neither is null: numbers and times by value, text by bytes, jsonb 0 where the two
 * are equal by value and else by their bytes (which is an order, though not PostgreSQL's). arena is
 * scratch. */
int table_value_order(struct arena *arena, enum table_type type, const struct table_value *a,
                      const struct table_value *b);

#endif
