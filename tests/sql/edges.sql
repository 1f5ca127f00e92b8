-- edges.sql - pgTAP: bad input that reaches the functions of sql/postgres (through v1's row above all, whose
-- apps write into a table), and what a row that goes away tells. Needs wal_level=logical.
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
\set one '10000000-0000-4000-8000-000000000001'
\set two '10000000-0000-4000-8000-000000000002'
\set three '10000000-0000-4000-8000-000000000003'
CREATE FUNCTION pg_temp.as_user(p_sub text, p_anonymous boolean DEFAULT false)
RETURNS void LANGUAGE sql AS $$
    SELECT set_config('request.jwt.claims', json_build_object(
               'role', 'authenticated', 'sub', p_sub, 'is_anonymous', p_anonymous)::text, false),
           set_config('role', 'authenticated', false)
$$;

-- ---- v1's row -------------------------------------------------------------------------------------

-- A row of before that nobody brought in yet.
SELECT set_config('bqsync.v1', 'reads', false) \g /dev/null
INSERT INTO public.user_sync_data (user_id, data)
SELECT :'three', '{"a": {"value": 1, "timestamp": "2024-01-01T00:00:00+99:00"}}';
SELECT set_config('bqsync.v1', '', false) \g /dev/null
SELECT lives_ok('SELECT public.migrate_sync_data_v1_to_v2()',
                'a zone that there is not does not stop a migration');
SELECT is(data, '1', 'and the value is there') FROM public.user_sync_data_v2 WHERE user_id = :'three';

SELECT pg_temp.as_user(:'one') \g /dev/null
SELECT lives_ok(format($$INSERT INTO public.user_sync_data (user_id, data) VALUES (%L,
                '{"a": {"value": 1, "timestamp": "2024-01-01T00:00:00-16:00"}}')$$, :'one'),
                'nor a write of an app');
SELECT is(data, '1', 'which counts') FROM public.user_sync_data_v2;
SELECT lives_ok('UPDATE public.user_sync_data SET data = NULL', 'a row of NULL says nothing');
SELECT lives_ok('UPDATE public.user_sync_data SET data = ''null''', 'nor does one of null');
SELECT is(data -> 'a' -> 'value', '1', 'and deletes nothing') FROM public.user_sync_data;

SELECT pg_temp.as_user(:'two', true) \g /dev/null
SELECT throws_ok(
    format($$INSERT INTO public.user_sync_data (user_id, data)
             VALUES (%L, jsonb_build_object('kept', 1, '_refused', repeat('x', 1048576)))$$, :'two'),
    'PGRST', NULL, 'keys that are refused count as well');
SELECT is_empty('SELECT FROM public.user_sync_data', 'and nothing of such a row is kept');
SELECT lives_ok(
    format($$INSERT INTO public.user_sync_data (user_id, data)
             VALUES (%L, jsonb_build_object('kept', 1, '_refused', repeat('x', 1000)))$$, :'two'),
    'a few stay in the row');
SELECT is(length(data ->> '_refused'), 1000, 'as they were sent') FROM public.user_sync_data;

-- ---- Numbers --------------------------------------------------------------------------------------

SELECT pg_temp.as_user(:'one') \g /dev/null
SELECT throws_ok(replace(c, 'NUMBER', n), 'PGRST', NULL, n || ' is refused: ' || left(c, 40))
FROM unnest(ARRAY['1e348', '-1e131071', '1e-349', '0e-16383']) n,
     unnest(ARRAY[
         format($$SELECT public.atomic_sync_upsert(%L, 'n', '{"n": [NUMBER]}', 0)$$, :'one'),
         $$SELECT public.sync_exchange('bq-1', NULL, '[{"now": NUMBER}]', 0)$$,
         $$SELECT public.sync_report('bq-1', '{"n": NUMBER}')$$,
         $$SELECT public.sync_report('bq-1', p_failed => '[{"n": NUMBER}]')$$,
         format($$SELECT public.update_sync_metadata(%L, 'd', 1, '{"n": NUMBER}')$$, :'one'),
         format($$SELECT public.atomic_sync_data(%L, '{"n": NUMBER}')$$, :'one'),
         $$UPDATE public.user_sync_data SET data = '{"n": NUMBER}'$$]) c;
SELECT is(public.atomic_sync_upsert(:'one', 'n', format('[%s]', n)::jsonb, NULL) ->> 'success',
          'true', n || ' is kept')
FROM unnest(ARRAY['9999999999999999999999999999999999999999e308', '-1e347',
                  '0.999999999999999999999999999999999999999e-308', '0']) n;
RESET role;

-- ---- What a deleted row tells ---------------------------------------------------------------------

-- Realtime shows the old key of a deleted row to everybody who listens.
SELECT pg_create_logical_replication_slot('edges', 'test_decoding') \g /dev/null
CREATE FUNCTION pg_temp.deleted(p_of text) RETURNS bigint LANGUAGE sql AS $$
    SELECT count(*) FROM pg_logical_slot_peek_changes('edges', NULL, NULL)
    WHERE data ~ '^table public.user_sync_(data_v2|metadata|feed|data): DELETE'
      AND strpos(data, p_of) > 0
$$;
SELECT public.update_sync_metadata(:'one', 'd', 1) \g /dev/null
SELECT public.sync_user_erase(:'one') \g /dev/null
SELECT is(pg_temp.deleted(''), 4::bigint, 'two documents, a device and a v1 row of an erased user go');
SELECT pg_temp.as_user(:'two') \g /dev/null
DELETE FROM public.user_sync_data;
RESET role;
INSERT INTO public.user_sync_feed (user_id) VALUES (:'three') ON CONFLICT DO NOTHING;
SELECT bqsync.forget_users(ARRAY[:'three']::uuid[]) \g /dev/null
SELECT is(pg_temp.deleted(''), 5::bigint, 'and a row that was made to be locked');
SELECT is(pg_temp.deleted(u), 0::bigint, 'no word of ' || u)
FROM unnest(ARRAY[:'one', :'two', :'three']) u;
SET ROLE service_role;
DELETE FROM public.user_sync_data WHERE user_id = :'two';
RESET role;
SELECT is(pg_temp.deleted(:'two'), 0::bigint, 'nor where service_role deletes a v1 row');
INSERT INTO public.user_sync_metadata (user_id, device_id, last_sync_at)
VALUES (:'two', 'old', now() - interval '401 days'), (:'two', 'new', now());
SELECT is(public.sync_cleanup() ->> 'devices', '1', 'sync_cleanup removes a device of long ago');
SELECT is(pg_temp.deleted(:'two'), 0::bigint, 'whose it was is not told');
SELECT is(string_agg(device_id, ','), 'new', 'and no other') FROM public.user_sync_metadata
WHERE user_id = :'two';
SELECT pg_drop_replication_slot('edges') \g /dev/null
SELECT * FROM finish();
