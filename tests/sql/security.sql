-- security.sql - pgTAP: what is there, and who may do what. Tables, views, functions and policies are
-- enumerated from pg_catalog, so that one which no test here names is red. Nothing runs as the
-- owner: calls are made under anon, authenticated and service_role, as a front sets them.
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
CREATE EXTENSION IF NOT EXISTS pgtap;
-- pgTAP's own views and functions are left out of every list.
CREATE SCHEMA IF NOT EXISTS test;
CREATE OR REPLACE FUNCTION test.is_ours(p_class oid, p_object oid) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = p_class AND d.objid = p_object
                       AND d.deptype = 'e')
$$;
SELECT no_plan();

-- ---- What is there --------------------------------------------------------------------------------

CREATE TEMP TABLE expected_tables (name text, authenticated text, service_role text);
INSERT INTO expected_tables VALUES
    ('user_sync_data_v2', 'SELECT', 'SELECT'), ('user_sync_metadata', 'SELECT', 'SELECT'),
    ('user_sync_queue', 'SELECT', 'SELECT'), ('user_devices', 'SELECT', 'SELECT'),
    ('user_sync_feed', NULL, 'SELECT'),     -- two of its columns: below
    ('user_sync_data', 'DELETE,INSERT,SELECT,UPDATE', 'DELETE,INSERT,SELECT,UPDATE'),
    ('user_sync_receipts', NULL, 'SELECT'), ('user_sync_history', NULL, 'SELECT'),
    ('user_sync_upserts', NULL, 'SELECT'), ('user_sync_policy', NULL, 'SELECT'),
    ('user_sync_schema', NULL, 'SELECT'), ('user_sync_store', NULL, NULL),
    ('bq_auth_users', NULL, NULL), ('bq_auth_sessions', NULL, NULL),
    ('user_sync_overview', NULL, 'SELECT'), ('user_sync_health', NULL, 'SELECT');
CREATE FUNCTION pg_temp.rights(p_role text, p_table regclass) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(r, ',' ORDER BY r) FROM unnest(ARRAY[
        'SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) r
    WHERE has_table_privilege(p_role, p_table, r)
$$;
SELECT set_eq($$SELECT c.relname::text FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace
                AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND test.is_ours('pg_class'::regclass, c.oid)$$,
              'SELECT name FROM expected_tables', 'each table and view is known');
SELECT set_eq(
    $$SELECT c.relname::text, pg_temp.rights('anon', c.oid) AS anon,
             pg_temp.rights('authenticated', c.oid) AS authenticated,
             pg_temp.rights('service_role', c.oid) AS service_role
      FROM pg_class c JOIN expected_tables e ON e.name = c.relname
      WHERE c.relnamespace = 'public'::regnamespace$$,
    'SELECT name, NULL::text AS anon, authenticated, service_role FROM expected_tables',
    'each role has the rights on tables that it should have, and no other');
SELECT set_eq(
    $$SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = 'public.user_sync_feed'::regclass
      AND a.attnum > 0 AND has_column_privilege('authenticated', a.attrelid, a.attnum, 'SELECT')$$,
    ARRAY['user_id', 'seq'], 'of the feed a user sees where it ends');
SELECT is_empty(
    $$SELECT c.oid::regclass FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace
      AND c.relkind IN ('r', 'p') AND test.is_ours('pg_class'::regclass, c.oid)
      AND NOT (c.relrowsecurity AND c.relforcerowsecurity)$$,
    'row level security is on, and forced, on each table');
SELECT is_empty(
    $$SELECT c.oid::regclass FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace
      AND c.relkind = 'v' AND test.is_ours('pg_class'::regclass, c.oid)
      AND NOT coalesce(c.reloptions @> '{security_invoker=true}', false)$$,
    'views look with the rights of who asks');
SELECT set_eq(
    $$SELECT p.tablename::text, p.policyname::text, p.cmd, p.roles::text FROM pg_policies p
      WHERE p.schemaname = 'public' AND p.policyname <> 'bq_owner'$$,
    $$SELECT t AS a, 'bq_own' AS b, 'SELECT' AS c, '{authenticated}' AS d FROM unnest(ARRAY['user_sync_data_v2',
          'user_sync_feed', 'user_sync_metadata', 'user_sync_queue', 'user_devices']) t
      UNION ALL SELECT 'user_sync_data', 'bq_own', 'ALL', '{authenticated}'
      UNION ALL SELECT 'user_sync_data', 'bq_service', 'ALL', '{service_role}'
      UNION ALL SELECT t, 'bq_service', 'SELECT', '{service_role}' FROM unnest(ARRAY[
          'user_sync_data_v2', 'user_sync_feed', 'user_sync_receipts', 'user_sync_history',
          'user_sync_upserts', 'user_sync_metadata', 'user_sync_queue', 'user_devices',
          'user_sync_policy']) t$$,
    'each policy is known');
SELECT is_empty(
    $$SELECT p.polrelid::regclass, p.polname FROM pg_policy p
      WHERE p.polname <> 'bq_service' AND p.polname <> 'bq_owner'
      AND (pg_get_expr(p.polqual, p.polrelid) !~ 'auth\.uid\(\)'
           OR p.polcmd <> 'r' AND pg_get_expr(p.polwithcheck, p.polrelid) !~ 'auth\.uid\(\)')$$,
    'a policy of users names the user, where it reads and where it writes');

CREATE TEMP TABLE expected_functions (signature text, result text, for_users boolean,
                                      as_another text);
INSERT INTO expected_functions VALUES
    ('atomic_sync_upsert(p_user_id uuid, p_data_key text, p_data jsonb, p_expected_version integer, p_device_id text DEFAULT NULL::text)',
     'jsonb', true, $$atomic_sync_upsert(%L, 'settings', '{"stolen": 1}', 1)$$),
    ('get_user_sync_data(p_user_id uuid)',
     'TABLE(data_key text, data jsonb, version integer, device_id text, modified_at timestamp with time zone)',
     true, 'get_user_sync_data(%L)'),
    ('get_user_sync_status(p_user_id uuid)',
     'TABLE(device_id text, last_sync_at timestamp with time zone, last_sync_version integer, device_info jsonb)',
     true, 'get_user_sync_status(%L)'),
    ('update_sync_metadata(p_user_id uuid, p_device_id text, p_version integer, p_device_info jsonb DEFAULT ''{}''::jsonb)',
     'void', true, $$update_sync_metadata(%L, 'd', 1)$$),
    ('delete_user_sync_data(p_user_id uuid)', 'void', true, 'delete_user_sync_data(%L)'),
    ('atomic_sync_data(target_user_id uuid, new_data jsonb)', 'boolean', true,
     $$atomic_sync_data(%L, '{"settings": {"value": {}, "timestamp": ""}}')$$),
    ('atomic_add_device(target_user_id uuid, device_id_param text, device_name_param text, device_type_param text)',
     'boolean', true, $$atomic_add_device(%L, 'd', 'n', 't')$$),
    ('atomic_remove_device(target_user_id uuid, device_id_param text)', 'boolean', true,
     $$atomic_remove_device(%L, 'phone')$$),
    ('sync_exchange(p_device_id text, p_epoch text, p_edits jsonb, p_cursor bigint, p_limit integer DEFAULT 500, p_policies integer DEFAULT 0, p_proto integer DEFAULT 1, p_user_id uuid DEFAULT NULL::uuid)',
     'jsonb', true, $$sync_exchange('bq-x', NULL, '[]', 0, p_user_id => %L)$$),
    ('sync_report(p_device_id text, p_device_info jsonb DEFAULT ''{}''::jsonb, p_replaces text DEFAULT NULL::text, p_failed jsonb DEFAULT ''[]''::jsonb, p_user_id uuid DEFAULT NULL::uuid)',
     'void', true, $$sync_report('bq-x', p_user_id => %L)$$),
    ('sync_policies()', 'jsonb', true, NULL),
    ('sync_policy_set(p_pattern text, p_policy jsonb)', 'void', false,
     $$sync_policy_set('settings', '"max"')$$),
    ('sync_user_erase(p_user_id uuid)', 'void', false, 'sync_user_erase(%L)'),
    ('sync_cleanup(p_days integer DEFAULT 400)', 'jsonb', false, 'sync_cleanup(1)'),
    ('migrate_sync_data_v1_to_v2()', 'void', false, 'migrate_sync_data_v1_to_v2()');
CREATE TEMP VIEW functions AS
SELECT p.oid, p.proname || '(' || pg_get_function_arguments(p.oid) || ')' AS signature,
       pg_get_function_result(p.oid) AS result, p.prosecdef, p.proconfig
FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace
AND test.is_ours('pg_proc'::regclass, p.oid) AND p.proname <> 'touch_modified_at';
SELECT set_eq('SELECT signature, result FROM functions',
              'SELECT signature, result FROM expected_functions',
              'each function is known, V2''s and v1''s by their signatures, and no other variant');
SELECT is_empty('SELECT signature FROM functions WHERE NOT prosecdef',
                'what clients call runs as the owner');
SELECT is_empty(
    $$SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace IN ('public'::regnamespace,
          'bqsync'::regnamespace) AND test.is_ours('pg_proc'::regclass, p.oid)
      AND p.proname <> 'touch_modified_at'
      AND NOT coalesce(p.proconfig @> '{"search_path=\"\""}', false)$$,
    'each function has an empty search_path');
SELECT set_eq(
    $$SELECT f.signature, has_function_privilege('anon', f.oid, 'EXECUTE') AS anon,
             has_function_privilege('authenticated', f.oid, 'EXECUTE') AS authenticated,
             has_function_privilege('service_role', f.oid, 'EXECUTE') AS service_role
      FROM functions f$$,
    'SELECT signature, false AS anon, for_users, true AS service_role FROM expected_functions',
    'each role may call what it should, and anon nothing');
SELECT is_empty(
    $$SELECT p.oid::regprocedure, r FROM pg_proc p, unnest(ARRAY['anon', 'authenticated',
          'service_role']) r WHERE p.pronamespace = 'bqsync'::regnamespace
      AND has_schema_privilege(r, 'bqsync', 'USAGE') $$,
    'the schema bqsync is nobody''s');
SELECT is_empty(
    $$SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'bqsync'::regnamespace
      AND EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
                  WHERE a.grantee <> p.proowner)$$,
    'nor are its functions');
SELECT set_eq(
    $$SELECT c.relname::text FROM pg_publication_rel r JOIN pg_class c ON c.oid = r.prrelid
      JOIN pg_publication p ON p.oid = r.prpubid AND p.pubname = 'supabase_realtime'$$,
    ARRAY['user_sync_data_v2', 'user_sync_metadata', 'user_sync_feed', 'user_sync_data'],
    'realtime reads four tables');

-- ---- Whoever is not the owner ---------------------------------------------------------------------

\set victim '00000000-0000-4000-8000-00000000000a'
\set other '00000000-0000-4000-8000-00000000000b'
CREATE FUNCTION pg_temp.as_role(p_role text, p_sub text) RETURNS void LANGUAGE sql AS $$
    SELECT set_config('request.jwt.claims', json_build_object('role', p_role, 'sub', p_sub)::text,
                      false), set_config('role', p_role, false)
$$;
SELECT bqsync.user_lock(:'victim');
SELECT count(*) FROM (SELECT public.atomic_sync_upsert(:'victim', k, '{"mine": 1}', 0, 'd1')
    FROM unnest(ARRAY['settings', 'gone']) k) t \g /dev/null
SELECT public.update_sync_metadata(:'victim', 'd1', 1);
SELECT public.sync_report('bq-1', '{}', NULL, '[{"key": "notes", "code": "too_large", "edit": {}}]',
                          :'victim');
SELECT public.atomic_add_device(:'victim', 'phone', 'n', 't') \g /dev/null
INSERT INTO public.user_sync_data (user_id, data) VALUES (:'victim', '{}');
SELECT bqsync.doc_write(bqsync.doc_load(:'victim', 'gone'), NULL, 0, NULL, '{"status": "deleted"}')
\g /dev/null
CREATE TEMP TABLE before AS
SELECT (SELECT jsonb_agg(to_jsonb(d) ORDER BY d.data_key) FROM public.user_sync_data_v2 d
        WHERE d.user_id = :'victim') AS docs,
       (SELECT to_jsonb(v) FROM public.user_sync_data v WHERE v.user_id = :'victim') AS v1,
       (SELECT count(*) FROM public.user_devices v WHERE v.user_id = :'victim') AS n_devices;

-- As it is tried: what a statement answers, or its SQLSTATE.
CREATE FUNCTION pg_temp.try(p_sql text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_n bigint;
BEGIN
    EXECUTE p_sql INTO v_n;
    RETURN coalesce(v_n, 0)::text;
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END $$;
CREATE FUNCTION pg_temp.try_write(p_sql text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_n bigint;
BEGIN
    EXECUTE p_sql;
    GET DIAGNOSTICS v_n = ROW_COUNT;
    RETURN v_n::text;
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END $$;
GRANT SELECT ON expected_tables, expected_functions TO PUBLIC;

SELECT pg_temp.as_role('anon', NULL) \g /dev/null
SELECT is(pg_temp.try(format('SELECT count(*) FROM public.%I', name)), '42501',
          'anon does not read ' || name) FROM expected_tables;
SELECT is(pg_temp.try(format('SELECT count(*) FROM public.' || as_another, :'victim')), '42501',
          'anon does not call ' || signature) FROM expected_functions WHERE as_another IS NOT NULL;
RESET role;

SELECT pg_temp.as_role('authenticated', :'other') \g /dev/null
SELECT is(pg_temp.try(format('SELECT count(%s) FROM public.%I', CASE name WHEN 'user_sync_feed'
                             THEN 'user_id' ELSE '*' END, name)),
          CASE WHEN authenticated IS NULL AND name <> 'user_sync_feed' THEN '42501' ELSE '0' END,
          'another user sees nothing of ' || name) FROM expected_tables;
SELECT is(pg_temp.try(format('SELECT count(*) FROM public.' || as_another, :'victim')), '42501',
          'another user does not call ' || signature) FROM expected_functions
WHERE as_another IS NOT NULL;
SELECT is(pg_temp.try_write(format('DELETE FROM public.%I', name)),
          CASE name WHEN 'user_sync_data' THEN '0' ELSE '42501' END,
          'another user deletes nothing of ' || name) FROM expected_tables
WHERE name !~ '(overview|health)$';
SELECT is(pg_temp.try_write(format('UPDATE public.user_sync_data SET data = ''{}''')), '0',
          'another user''s UPDATE of v1 rows meets none');
SELECT is(pg_temp.try_write(format('INSERT INTO public.user_sync_data (user_id, data) VALUES (%L, ''{}'')',
                                   :'victim')), '42501', 'nor is a v1 row made for another');
SELECT is(pg_temp.try_write(format('INSERT INTO public.user_sync_data (user_id, data) VALUES (%1$L, ''{}'')
                                    ON CONFLICT (user_id) DO UPDATE SET user_id = %1$L', :'victim')),
          '42501', 'nor written over');
RESET role;

SELECT results_eq(
    $$SELECT b.docs, b.v1, b.n_devices FROM before b$$,
    format($$SELECT (SELECT jsonb_agg(to_jsonb(d) ORDER BY d.data_key)
                     FROM public.user_sync_data_v2 d WHERE d.user_id = %1$L),
             (SELECT to_jsonb(v) FROM public.user_sync_data v WHERE v.user_id = %1$L),
             (SELECT count(*) FROM public.user_devices v WHERE v.user_id = %1$L)$$, :'victim'),
    'and nothing of the victim''s changed');

-- ---- The owner ------------------------------------------------------------------------------------

SELECT pg_temp.as_role('authenticated', :'victim') \g /dev/null
SELECT is(pg_temp.try('SELECT count(*) FROM public.user_sync_data_v2'), '1',
          'the owner reads its documents, and no tombstone');
SELECT is(pg_temp.try('SELECT count(seq) FROM public.user_sync_feed'), '1', 'and its feed');
SELECT is(pg_temp.try('SELECT count(*) FROM public.user_sync_queue'), '1', 'and its dead letters');
SELECT is(pg_temp.try_write('UPDATE public.user_sync_data_v2 SET data = ''{}'''), '42501',
          'documents are written by functions alone');
SELECT is(pg_temp.try_write(format('UPDATE public.user_sync_data SET user_id = %L', :'other')), '42501',
          'the owner''s v1 row stays its own');
SELECT is(pg_temp.try(format('SELECT count(*) FROM public.' || as_another, :'victim')), '1',
          'the owner calls ' || signature) FROM expected_functions
WHERE for_users AND as_another IS NOT NULL AND signature !~ '^(get_user_sync_status|delete)';
SELECT is(pg_temp.try_write(format('UPDATE public.user_sync_data SET data = %L',
                                   '{"notes": {"value": "by v1", "timestamp": "x"}}')), '1',
          'the owner writes its v1 row');
SELECT is(pg_temp.try('SELECT count(*) FROM public.user_sync_data_v2 WHERE data_key = ''notes'''), '1',
          'which is a document then');
RESET role;

SELECT pg_temp.as_role('service_role', NULL) \g /dev/null
SELECT is(pg_temp.try(format('SELECT count(*) FROM public.get_user_sync_data(%L)', :'victim')), '2',
          'service_role names a user');
SELECT is(pg_temp.try('SELECT count(*) FROM public.get_user_sync_data(NULL)'), 'PGRST',
          'and has to');
SELECT is(pg_temp.try_write('UPDATE public.user_sync_data_v2 SET data = ''{}'''), '42501',
          'but documents are written by functions alone');
SELECT is(pg_temp.try('SELECT count(*) FROM public.user_sync_overview'), '1', 'it sees who is there');
SELECT is(pg_temp.try(format('SELECT count(*) FROM public.sync_user_erase(%L)', :'victim')), '1',
          'it erases a user');
RESET role;
SELECT pg_temp.as_role('authenticated', :'victim') \g /dev/null
SELECT is(pg_temp.try(format('SELECT count(*) FROM public.get_user_sync_data(%L)', :'victim')), 'PGRST',
          'who is refused from then on');
SELECT is(pg_temp.try('SELECT count(*) FROM public.user_sync_data_v2'), '0', 'and of whom nothing is left');
RESET role;
SELECT * FROM finish();
