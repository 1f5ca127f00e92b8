/* old_functions.c - see old_functions.h. */
#include "cli/old_functions.h"

#include "base/status.h"

/* One that asks auth.uid() checks its caller, and so do all in a database with a store of ours. */
static const char query[] =
    "SELECT format('REVOKE ALL ON FUNCTION %s FROM PUBLIC%s;', p.oid::regprocedure,"
    "  (SELECT coalesce(string_agg(', ' || quote_ident(r.rolname), '' ORDER BY r.rolname), '')"
    "   FROM pg_roles r WHERE r.rolname IN ('anon', 'authenticated')))"
    " FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND p.proname IN"
    " ('atomic_sync_data', 'atomic_add_device', 'atomic_remove_device', 'atomic_sync_upsert',"
    "  'get_user_sync_data', 'get_user_sync_status', 'update_sync_metadata',"
    "  'delete_user_sync_data', 'migrate_sync_data_v1_to_v2')"
    " AND to_regclass('public.user_sync_feed') IS NULL"
    " AND p.prosrc !~* 'auth\\.uid|request\\.jwt'"
    " AND (has_function_privilege('public', p.oid, 'EXECUTE') OR"
    "  EXISTS (SELECT 1 FROM pg_roles r WHERE r.rolname IN ('anon', 'authenticated')"
    " AND has_function_privilege(r.oid, p.oid, 'EXECUTE'))) ORDER BY 1";

int old_functions(PGconn *connection, struct buf *out, int *out_n)
{
    PGresult *result = PQexec(connection, query);
    if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        PQclear(result);
        return BQ_INVALID;
    }
    *out_n = PQntuples(result);
    for (int i = 0; i < *out_n; i++) {
        buf_add_text(out, PQgetvalue(result, i, 0));
        buf_add_char(out, '\n');
    }
    PQclear(result);
    return out->failed ? BQ_NOMEM : BQ_OK;
}
