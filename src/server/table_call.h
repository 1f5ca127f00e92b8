/* table_call.h - a request on a table, from its parameters to its answer (docs/protocol.md,
 * "Tables").
 *
 * Who may see what is decided here alone: a token's user sees its own rows, anon sees none,
 * service_role those of the users that a filter on user_id names. Only user_sync_data can be
 * written, by its own user: everything else is written by functions. */
#ifndef SERVER_TABLE_CALL_H
#define SERVER_TABLE_CALL_H

#include "core/op.h"
#include "server/jwt.h"
#include "server/prefer.h"
#include "server/reply.h"
#include "server/table_query.h"

enum table_verb { TABLE_VERB_READ, TABLE_VERB_INSERT, TABLE_VERB_UPDATE, TABLE_VERB_DELETE };

struct table_input {
    struct arena *arena;
    const char *method;
    struct slice name;   /* of the table */
    struct slice target; /* of the request line, as it was sent */
    const struct uri *uri;
    const struct head *head;
    const struct jwt_identity *identity;
    struct slice body; /* lives as long as the arena */
    unsigned depth;    /* of JSON in the body */
    bool singular;     /* one object is wanted instead of rows */
};

/* Lives in the request's arena. */
struct table_call {
    struct arena *arena;
    const struct table *table;
    enum table_verb verb;
    struct table_query query;
    struct prefer prefer;
    bool singular;
    bool nothing;             /* nobody's rows are asked for, or nothing is written: no op runs */
    struct uuid user;         /* whose row is written */
    const struct uuid *users; /* service_role: whose rows are read; NULL: the op's */
    const char *content_location;
};

/* Before the body is there: whether there is such a table and the role may do this with it. False
 * with *problem. */
bool table_admit(struct arena *arena, struct slice name, const char *method,
                 const struct jwt_identity *identity, struct problem *problem);

/* For who was admitted: reads everything and fills in op, unless call->nothing. The op is for a
 * reader where op_only_reads(). False with *problem. */
bool table_prepare(const struct table_input *input, struct table_call *call, struct op *op,
                   struct problem *problem);

/* The answer of an op that ran, or of call->nothing. False with *problem; a *problem may also come
 * with true: then the reply is its own (416). */
bool table_answer(const struct table_call *call, const struct op *op, struct reply *reply,
                  struct problem *problem);

/* ---- Between the files of this module -------------------------------------------------------- */

/* 42501, as RLS says it of another user's row. */
#define TABLE_NOT_OWN "new row violates row-level security policy for table \"user_sync_data\""
bool table_refuse_write(const struct jwt_identity *identity, const char *message,
                        struct problem *problem);

/* table_write.c: the body of an insert or update into the op. */
bool table_write_prepare(const struct table_input *input, struct table_call *call, struct op *op,
                         struct problem *problem);
bool table_write_answer(const struct table_call *call, const struct op *op, struct reply *reply,
                        struct problem *problem);

/* table_read.c: rows of users, filtered, ordered, cut and printed. */
struct table_rows {
    const struct op_user_rows *users;
    uint32_t n_users;
};

struct table_shown {
    uint64_t n_total; /* that pass the filters */
    uint64_t n_shown; /* of the page */
};

/* Appends the rows as an array, or the one row as an object where the call wants that (and it is
 * one). False with *problem. */
bool table_rows_print(const struct table_call *call, const struct table_rows *rows, struct buf *out,
                      struct table_shown *out_shown, struct problem *problem);

/* The v1 row of a user, as reads show it: an empty one where there are no documents, but a user. */
int table_v1_row(struct arena *arena, const struct op_user_rows *of, struct table_row *out,
                 bool *out_exists);

/* "0-9/100" and its like, into the reply. */
void table_range_print(struct reply *reply, int64_t lower, uint64_t n, bool counted,
                       uint64_t total);

/* PGRST116: one object was wanted, and there are n. */
struct problem table_not_single(struct arena *arena, uint64_t n);

#endif
