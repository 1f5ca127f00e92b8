/* source.h - where rows of an older system come from, one after the other, whatever holds them.
 *
 *     PATH, -                  JSON objects one a line, or CSV with a header, of any of the tables
 *     postgres://...           a live database with the tables of v1 or V2 as shipped
 *     sqlite:PATH              a store of ours (and postgres:// of one)
 *
 * A row is read into what it becomes here: documents, a device. One of which nothing can be made
 * says why in `wrong`; the rows behind it come all the same. */
#ifndef CLI_SOURCE_H
#define CLI_SOURCE_H

#include "base/uuid.h"
#include "core/seed.h"

enum source_kind {
    SOURCE_NONE,      /* it cannot be told */
    SOURCE_V1_ROW,    /* user_sync_data: a user and all his documents */
    SOURCE_V1_DEVICE, /* user_devices */
    SOURCE_DOCUMENT,  /* user_sync_data_v2 */
    SOURCE_DEVICE,    /* user_sync_metadata */
    SOURCE_STORED,    /* a document of a store of ours */
    SOURCE_KINDS
};

#define SOURCE_WRONG 160u

struct source_row {
    enum source_kind kind;
    int64_t number;           /* of the line or row, from 1 */
    struct slice text;        /* as it stood there; SLICE_NONE where it came from a store */
    char wrong[SOURCE_WRONG]; /* why nothing can be made of it; "": it is good */
    bool has_user;
    struct uuid user;
    const struct seed_row *docs;
    uint32_t n_docs;
    int64_t clock_us;  /* updated_at of a v1 row; -1 none */
    bool has_v1_device;
    struct store_v1_device v1_device;
    bool has_device;
    struct store_device device;
    uint32_t n_bad_times; /* that could not be read, and count as missing */
};

/* The table of a kind, as the older systems call it; the device whose receipts remember it. */
const char *source_table(enum source_kind kind);
struct slice source_device(enum source_kind kind);

/* The implementer embeds this as its first member. */
struct source {
    /* The next row, in the arena. BQ_OK, BQ_NOT_FOUND at the end, or why it cannot go on, with a
     * sentence in source->error. */
    int (*next)(struct source *source, struct arena *arena, struct source_row *out);
    void (*close)(struct source *source);
    int64_t done;  /* bytes, or rows where `total` is of rows */
    int64_t total; /* 0: unknown */
    char error[1024];
};

/* Opens any of them; `to` is where its rows go: of a database that is both, v1's tables are read.
 * CLI_OK, or an exit code after its sentence. */
int source_open(const char *from, const char *to, bool json, struct source **out);

/* A place without its secrets: for reports and sentences. Borrowed from the buffer. */
const char *source_place(struct buf *out, const char *place);

/* For the implementers. */

/* A column by name. json: the value itself, where the row was JSON; else text. */
struct source_field {
    struct slice name;
    struct slice text;             /* SLICE_NONE: NULL */
    const struct json_value *json; /* NULL: there is only text */
};

/* What a row of these columns becomes. BQ_OK (also where the row is wrong) or BQ_NOMEM. */
int source_read_row(struct arena *arena, const struct source_field *fields, uint32_t n,
                    struct source_row *out);

int source_open_file(const char *path, bool json, struct source **out);
/* in_place: v1's tables alone, also where a store of ours is beside them. */
int source_open_postgres(const char *url, bool in_place, bool json, struct source **out);
int source_open_store(const char *store, bool json, struct source **out);

#endif
