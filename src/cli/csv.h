/* csv.h - one record of a CSV text (RFC 4180) as PostgreSQL's `copy ... csv` writes it: a field in
 * quotes may hold commas, line ends and doubled quotes; an empty field without quotes is NULL. */
#ifndef CLI_CSV_H
#define CLI_CSV_H

#include <stdint.h>

#include "base/arena.h"

struct csv_record {
    struct slice *fields; /* SLICE_NONE: NULL */
    uint32_t n;
};

/* Whether the record ends where text does: no quote is open. */
bool csv_is_whole(struct slice text);

/* Splits a record without its line end. BQ_OK, BQ_NOMEM, or BQ_MALFORMED: a quote is open, or
 * something stands behind a closed one. The fields live in the arena. */
int csv_split(struct arena *arena, struct slice text, struct csv_record *out);

#endif
