/* filter.h - the filter of a subscription: `col=op.value`, several joined by `,` (all must hold).
 *
 * Values may stand in double quotes (with \ before a quote or a backslash); `in` takes (a,b,...).
 * `not.` before the operator turns it around; a column that is null answers neither way. Patterns
 * of match and imatch are POSIX extended regular expressions of up to 64 bytes, without counts and
 * back references and with at most one "+" behind a group or another repetition: the cost of others
 * could not be bounded. For the same reason a document is only asked for being null.
 *
 * A filter is kept as its text and parsed again when a row comes: subscriptions are many, rows of a
 * user few. */
#ifndef SERVER_FILTER_H
#define SERVER_FILTER_H

#include "server/tables.h"

#define FILTER_MAX_BYTES 4096u
#define FILTER_MAX_TERMS 16u
#define FILTER_MAX_IN 100u

enum filter_op {
    FILTER_EQ,
    FILTER_NEQ,
    FILTER_LT,
    FILTER_LTE,
    FILTER_GT,
    FILTER_GTE,
    FILTER_IN,
    FILTER_LIKE,
    FILTER_ILIKE,
    FILTER_IS,
    FILTER_MATCH,
    FILTER_IMATCH,
    FILTER_ISDISTINCT
};

struct filter_term {
    struct slice column;
    struct slice word; /* of the operator */
    enum filter_op op;
    bool negated;
    struct slice text;    /* as it was sent */
    struct slice *values; /* unquoted; one, or those of `in` */
    unsigned n_values;
};

struct filter {
    struct filter_term terms[FILTER_MAX_TERMS];
    unsigned n_terms;
};

/* BQ_OK; BQ_NOMEM; BQ_INVALID with the sentence for the client appended to *why. Borrows text. */
int filter_parse(struct arena *arena, struct slice text, struct filter *out, struct buf *why);

/* Whether columns and values are such of the table: BQ_OK; BQ_NOMEM; BQ_INVALID with a sentence. */
int filter_check(struct arena *arena, const struct table *table, const struct filter *filter,
                 struct buf *why);

/* What it costs to ask a row, in bytes of filters looked at: a pattern counts as many. */
size_t filter_work(const struct filter *filter);

/* Whether the row passes. The filter was checked against the table; arena is scratch. */
bool filter_passes(struct arena *arena, const struct table *table, const struct filter *filter,
                   const struct table_row *row);

#endif
