/* seed.h - what an older system kept, or another store: documents and devices that come in as they
 * were, under their times and versions (OP_SEED; docs/migration.md, "What migrate does").
 *
 * A document that is not there yet becomes what the row says. One that is there is never
 * overwritten: the row is merged into it as a seed (docs/merge.md, "Seeds"), unless all that
 * was ever written there came from rows like this one and the row is newer: then it is the next
 * version. What became of a row stands in a receipt of the seed's device, so a repeat changes
 * nothing, also where the value was changed or deleted meanwhile. Limits on sizes, depth and
 * numbers of documents do not hold: what an older system took is kept. */
#ifndef CORE_SEED_H
#define CORE_SEED_H

#include "json/json.h"
#include "store/store.h"

/* The history's word for such a write. */
#define SEED_STATUS "migrated"

struct seed_row {
    struct slice key;
    struct json_value value;
    int64_t version;        /* that the document gets; below 1: 1 */
    struct slice device_id; /* who wrote it there; absent: the seed's device */
    int64_t created_us;     /* not above 0: unknown */
    int64_t modified_us;    /* the same: as now, and so is a time that is yet to come */
};

struct seed_call {
    struct slice device_id; /* whose receipts remember the rows */
    const struct seed_row *rows;
    uint32_t n_rows;
    int64_t clock_us; /* when the older system last wrote this user's row, of a new user; -1 none */
    const struct store_v1_device *v1_devices; /* those that are not there yet are added */
    uint32_t n_v1_devices;
    const struct store_device *devices;
    uint32_t n_devices;
};

enum seed_outcome {
    SEED_INSERTED,
    SEED_REPLACED, /* it came from an earlier row, or was deleted, and this one is newer */
    SEED_MERGED,   /* into what was there */
    SEED_KEPT,     /* what was there holds it all, or keeps its own by its policy */
    SEED_DELETED,  /* it was deleted here: it stays so */
    SEED_AGAIN,    /* an earlier run took this very row */
    SEED_REFUSED
};

struct seed_result {
    enum seed_outcome outcome;
    int code;            /* SEED_REFUSED */
    const char *message; /* the sentence for it */
};

/* The name under which a receipt remembers a value: 16 hex digits, equal for equal values. BQ_OK or
 * BQ_NOMEM. */
int seed_fingerprint(struct arena *arena, const struct json_value *value, struct slice *out);

#endif
