-- plpgsql_check.sql - what plpgsql_check finds in our functions: no row where they are clean.
\set QUIET 1
\pset format unaligned
\pset tuples_only true
CREATE EXTENSION IF NOT EXISTS plpgsql_check;
SELECT p.oid::regprocedure, c.*
FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang AND l.lanname = 'plpgsql',
     LATERAL plpgsql_check_function(
         p.oid, CASE WHEN p.prorettype <> 'trigger'::regtype THEN 0
                     WHEN p.proname = 'v1_show' THEN 'public.user_sync_data_v2'::regclass
                     WHEN p.proname = 'account_deleted' THEN 'auth.users'::regclass
                     ELSE 'public.user_sync_data'::regclass END,
         newtable => CASE p.proname WHEN 'v1_show' THEN 'written' END, extra_warnings => true) c
WHERE p.pronamespace IN ('bqsync'::regnamespace, 'public'::regnamespace)
  AND p.proname <> 'touch_modified_at'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
                  AND d.deptype = 'e');
