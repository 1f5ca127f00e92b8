/* table_match.h - a row before the query: whether it passes, where it stands, what of it is shown.
 *
 * A filter on a row is true, false or, where something is null, unknown; only true passes
 * (PostgreSQL's three values). What lies in a document is read once per row into scratch memory.
 * All work is counted: a request whose filters cost too much ends, as by a statement time-out. */
#ifndef SERVER_TABLE_MATCH_H
#define SERVER_TABLE_MATCH_H

#include "json/json.h"
#include "server/table_query.h"

#define MATCH_WORK UINT64_C(200000000) /* bytes looked at by the filters of a request */

struct table_match {
    const struct table *table;
    struct arena scratch; /* of the row at hand */
    uint64_t work;        /* left */
    const struct table_row *row;
    unsigned parsed_column;
    bool parsed; /* of the row at hand: this column is read */
    bool failed; /* memory was exhausted */
    struct json_value value;
};

void table_match_init(struct table_match *match, const struct table *table);
void table_match_release(struct table_match *match);

/* The row that the calls below are about. */
void table_match_begin(struct table_match *match, const struct table_row *row);

/* Whether all siblings hold. */
bool table_match_passes(struct table_match *match, const struct query_filter *filters);

/* What stands at the place, until the next begin(). */
struct table_value table_match_value(struct table_match *match, const struct query_place *place);

/* What is wrong with the work done so far: BQ_OK, BQ_NOMEM, BQ_TIMEOUT. */
int table_match_status(const struct table_match *match);

#endif
