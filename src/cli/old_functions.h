/* old_functions.h - the functions of the older systems that anybody may call for anybody. */
#ifndef CLI_OLD_FUNCTIONS_H
#define CLI_OLD_FUNCTIONS_H

#include <libpq-fe.h>

#include "base/buf.h"

/* Appends a REVOKE for each function of v1 and V2 that PUBLIC, anon or authenticated may call and
 * that does not look at who calls; *out_n is how many. BQ_OK, or BQ_INVALID (PQerrorMessage). */
int old_functions(PGconn *connection, struct buf *out, int *out_n);

#endif
