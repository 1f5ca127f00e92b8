/* table_query.h - the query of a table request, read once into the arena: select, filters, order,
 * limit and offset, columns, on_conflict (docs/protocol.md, "Tables"; PostgREST's grammar).
 *
 *     select   *, or a comma list of [alias:]column[->key or ->>key ...][::type]
 *     filter   column=[not.]op.value    and=(...)   or=(...)   not.and, not.or, nested
 *     order    column[.asc or .desc][.nullsfirst or .nullslast], ...
 *
 * What cannot be read is answered 400 (PGRST100, or the SQLSTATE that PostgreSQL would give). Known
 * operators that are not offered are 0A000. */
#ifndef SERVER_TABLE_QUERY_H
#define SERVER_TABLE_QUERY_H

#include "server/problem.h"
#include "server/tables.h"
#include "server/uri.h"

#define QUERY_SELECTED_MAX 64u
#define QUERY_TERMS_MAX 100u /* filters of a request */
#define QUERY_DEPTH_MAX 16u  /* and, or, in each other */
#define QUERY_ORDER_MAX 16u
#define QUERY_STEPS_MAX 16u    /* arrows of a path */
#define QUERY_VALUES_MAX 1000u /* of an in list */

/* One arrow: a member's name, or an element's place (from the end where negative). */
struct query_step {
    bool is_index;
    int64_t index;
    struct slice key;
};

/* A column, or what lies in its JSON. */
struct query_place {
    unsigned column;
    const struct query_step *steps;
    unsigned n_steps;
    bool as_text; /* the last arrow is ->> */
};

/* The type of what stands there. */
enum table_type query_place_type(const struct table *table, const struct query_place *place);

struct query_selected {
    struct query_place place;
    struct slice name; /* in the answer */
    bool casts;
    enum table_type type; /* after the cast */
};

enum query_op {
    QUERY_EQ,
    QUERY_NEQ,
    QUERY_GT,
    QUERY_GTE,
    QUERY_LT,
    QUERY_LTE,
    QUERY_LIKE,
    QUERY_ILIKE,
    QUERY_IN,
    QUERY_IS,
    QUERY_ISDISTINCT,
    QUERY_AND,
    QUERY_OR
};

/* A node of the tree of filters. */
struct query_filter {
    enum query_op op;
    bool negated;
    struct query_filter *first; /* of AND and OR */
    struct query_filter *next;  /* its sibling */
    struct query_place place;
    bool every;   /* all values must hold: (all); else one of them */
    bool is_null; /* of IS: null and unknown; else not_null */
    const struct table_value *values;
    unsigned n_values;
};

struct query_order {
    struct query_place place;
    bool falls;
    bool nulls_first;
};

struct table_query {
    bool all; /* select=*, or none */
    const struct query_selected *selected;
    unsigned n_selected;
    const struct query_filter *filters; /* siblings; all must hold */
    const struct query_order *order;
    unsigned n_order;
    int64_t limit; /* -1: none */
    int64_t offset;
    bool has_columns;
    const struct slice *columns; /* names as sent */
    unsigned n_columns;
    bool has_conflict;
    const struct slice *conflict;
    unsigned n_conflict;
};

/* False with *problem. out borrows the uri. */
bool table_query_read(struct arena *arena, const struct table *table, const struct uri *uri,
                      struct table_query *out, struct problem *problem);

/* The users that a row must be of, by the filters on user_id (eq, or in) that all must hold: so a
 * reader of all tables asks only for those. False: no filter names any. values are uuids. */
bool table_query_users(const struct table *table, const struct table_query *query,
                       const struct table_value **out, unsigned *out_n);

/* The text that this column must equal, or SLICE_NONE. */
struct slice table_query_equal(const struct table *table, const struct table_query *query,
                               const char *column);

#endif
