-- installed.sql - pgTAP: a database that had v1's and V2's tables with rows (tests/sql/fixtures) after the
-- files of sql/postgres ran over it, and ran again: nothing is lost, and old apps go on.
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
\set one '00000000-0000-4000-8000-000000000001'
\set two '00000000-0000-4000-8000-000000000002'
\set three '00000000-0000-4000-8000-000000000003'
CREATE FUNCTION pg_temp.as_user(p_sub text) RETURNS void LANGUAGE sql AS $$
    SELECT set_config('request.jwt.claims', json_build_object(
               'role', 'authenticated', 'sub', p_sub)::text, false),
           set_config('role', 'authenticated', false)
$$;

SELECT set_eq(
    'SELECT user_id::text, data_key, version, device_id, octet_length(data::text) AS n
     FROM public.user_sync_data_v2',
    format('VALUES (%1$L, ''game_stats'', 12, ''d1'', 36), (%1$L, ''settings'', 3, NULL, 15),
                   (%2$L, ''settings'', 1, ''d9'', 14), (%2$L, ''_old'', 2, ''d9'', 300002)',
           :'one', :'two'), 'V2''s documents are there, with their versions');
SELECT set_eq('SELECT user_id::text, seq, n_keys, n_bytes FROM public.user_sync_feed',
              format('VALUES (%L, 2::bigint, 2::bigint, 47::bigint), (%L, 2, 2, 300015)', :'one', :'two'),
              'they are numbered by their times, and counted');
SELECT is_empty('SELECT tgname FROM pg_trigger WHERE tgname LIKE ''touch%''', 'V2''s triggers are gone');
SELECT is_empty($$SELECT conname FROM pg_constraint WHERE contype = 'f'
                  AND connamespace = 'public'::regnamespace$$, 'and its foreign keys');
SELECT is(count(*), 1::bigint, 'a device of nobody is gone') FROM public.user_devices;
SELECT is(status || device_id, 'pending', 'V2''s queue stays') FROM public.user_sync_queue;

SELECT pg_temp.as_user(:'one') \g /dev/null
SELECT lives_ok(format('SELECT public.update_sync_metadata(%L, ''d1'', 13)', :'one'),
                'the second update_sync_metadata of a device works');
SELECT is(public.atomic_sync_upsert(:'one', 'game_stats', '{"score": 95, "incorrectAnswers": 8}', 12,
                                    'd1') - 'data',
          '{"success": true, "version": 13, "conflict": false, "action": "updated"}',
          'an old app goes on where it was');
SELECT throws_ok(format('SELECT public.atomic_sync_upsert(%L, ''settings'', ''{}'', 1)', :'two'), '42501',
                 NULL, 'but no longer for somebody else');
SELECT is(public.sync_exchange('bq-1', NULL, NULL, 0) ->> 'cursor', '3', 'a new one begins');
SELECT is(jsonb_array_length(public.sync_exchange('bq-1', NULL, NULL, 0) -> 'changes'), 2,
          'and reads all');
RESET role;
SELECT is(data -> 'game_stats' -> 'value' ->> 'hat', 'red',
          'a v1 row keeps what it alone holds until it is migrated')
FROM public.user_sync_data WHERE user_id = :'one';
SELECT is_empty(format('SELECT FROM public.user_sync_data WHERE user_id = %L', :'two'),
                'who has no v1 row gets none');

SELECT pg_temp.as_user(:'two') \g /dev/null
SELECT is(public.atomic_sync_upsert(:'two', '_old', '"x"', 2) ->> 'error',
          'invalid document: a key is 1 to 128 bytes of UTF-8, without controls, not beginning with _',
          'a key that nobody may make any more is kept, and not written');
RESET role;

SELECT public.migrate_sync_data_v1_to_v2();
SELECT set_eq(
    'SELECT user_id::text, data_key, version, data FROM public.user_sync_data_v2
     WHERE data_key <> ''_old''',
    format('VALUES (%1$L, ''game_stats'', 14, ''{"hat": "red", "score": 95, "incorrectAnswers": 8}''::jsonb),
                   (%1$L, ''settings'', 3, ''{"mute": false}''),
                   (%1$L, ''notes'', 1, ''{"text": "of v1 alone"}''),
                   (%2$L, ''settings'', 1, ''{"mute": true}''),
                   (%3$L, ''settings'', 1, ''{"mute": true}'')', :'one', :'two', :'three'),
    'the migration brings what was v1''s alone, and overwrites nothing newer');
SELECT is(data -> 'game_stats' -> 'value' ->> 'score', '95', 'then it shows the documents')
FROM public.user_sync_data WHERE user_id = :'one';
SELECT is(data -> '_odd' ->> 'value', '1', 'a key that is none stays in the v1 row')
FROM public.user_sync_data WHERE user_id = :'one';
CREATE TEMP TABLE first AS SELECT * FROM public.user_sync_data_v2;
CREATE TEMP TABLE first_v1 AS SELECT * FROM public.user_sync_data;
SELECT public.migrate_sync_data_v1_to_v2();
SELECT set_eq('SELECT * FROM public.user_sync_data_v2', 'SELECT * FROM first',
              'a second migration changes nothing');
SELECT set_eq('SELECT * FROM public.user_sync_data', 'SELECT * FROM first_v1', 'nor a v1 row');

-- A v1 app: reads the row, changes a key, writes all of it back; meanwhile another device wrote.
CREATE TEMP TABLE read AS SELECT data FROM public.user_sync_data WHERE user_id = :'one';
GRANT SELECT ON read TO authenticated;
SELECT pg_temp.as_user(:'one') \g /dev/null
SELECT public.atomic_sync_upsert(:'one', 'settings', '{"mute": true}', 3) \g /dev/null
INSERT INTO public.user_sync_data (user_id, data, updated_at)
SELECT :'one', data || '{"notes": {"value": {"text": "changed"}, "timestamp": "2026-11-23T10:00:00"}}',
       '2026-11-23T10:00:00' FROM read
ON CONFLICT (user_id) DO UPDATE SET user_id = excluded.user_id, data = excluded.data,
    updated_at = excluded.updated_at;
SELECT set_eq('SELECT data_key, data ->> ''mute'' AS mute, data ->> ''text'' AS text
               FROM public.user_sync_data_v2',
              $$VALUES ('game_stats', NULL, NULL), ('settings', 'true', NULL),
                       ('notes', NULL, 'changed')$$,
              'what a v1 app wrote counts, and what it only echoed undoes nothing');
SELECT is(data -> 'settings' -> 'value' ->> 'mute', 'true', 'its row shows what the others wrote')
FROM public.user_sync_data WHERE user_id = :'one';
DELETE FROM public.user_sync_data;
SELECT is(count(*), 0::bigint, 'deleting the v1 row deletes the documents') FROM public.user_sync_data_v2;
SELECT is(data, '{}', 'and the row stays, empty') FROM public.user_sync_data;
RESET role;

DELETE FROM auth.users WHERE id = :'three';
SELECT is_empty(format('SELECT FROM public.user_sync_data_v2 WHERE user_id = %L', :'three'),
                'the end of an account takes its documents along');
SELECT is(erased, true, 'and leaves a mark') FROM public.user_sync_feed WHERE user_id = :'three';
SELECT is(public.sync_cleanup(), '{"queue": 0, "devices": 0, "history": 0, "v1_devices": 0, "old_clients": 0}',
          'sync_cleanup answers how many');
SELECT is(n_erased, 1::bigint, 'the views tell') FROM public.user_sync_health;
SELECT * FROM finish();
