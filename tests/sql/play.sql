-- play.sql - a call as a front makes it: role and claims set, the function called by named parameters,
-- errors as PostgREST tells them. For tests alone, and with a clock that the test sets.
CREATE SCHEMA IF NOT EXISTS test;
GRANT USAGE ON SCHEMA test TO PUBLIC;

CREATE OR REPLACE FUNCTION bqsync.now_us()
RETURNS bigint LANGUAGE sql VOLATILE SET search_path = '' AS $$
    SELECT current_setting('test.now')::bigint
$$;

-- The call of a line of tests/suites/sqlequal.c, as SQL.
CREATE OR REPLACE FUNCTION test.sql_of(p_call text, p_body jsonb) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT format(CASE WHEN p.proretset
                       THEN 'SELECT coalesce(jsonb_agg(to_jsonb(t)), ''[]'') FROM public.%I(%s) t'
                       WHEN p.prorettype = 'void'::regtype
                       THEN 'SELECT CASE WHEN public.%I(%s) IS NULL THEN NULL::jsonb END'
                       ELSE 'SELECT to_jsonb(public.%I(%s))' END, p_call,
                  (SELECT string_agg(format('%I => %L::%s', a.name, CASE
                              WHEN a.type = 'jsonb'::regtype AND p_body ->> a.name IS NOT NULL
                              THEN (p_body -> a.name)::text ELSE p_body ->> a.name END,
                              format_type(a.type, NULL)), ', ')
                   FROM unnest(p.proargnames[1:p.pronargs], p.proargtypes::oid[]) a (name, type)
                   WHERE p_body ? a.name))
    FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND p.proname = p_call
$$;

CREATE OR REPLACE FUNCTION test.play(p_line jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_role text := p_line ->> 'role';
    v_body jsonb := p_line -> 'body';
    v_sql text;
    v_answer jsonb;
    v_http int;
    v_message text;
    v_detail text;
    v_state text;
BEGIN
    -- The epoch of the other store is "E".
    IF v_body ->> 'p_epoch' LIKE 'E.%' THEN
        v_body := v_body || jsonb_build_object(
            'p_epoch', bqsync.store_epoch() || substr(v_body ->> 'p_epoch', 2));
    END IF;
    v_sql := test.sql_of(p_line ->> 'call', v_body);
    PERFORM set_config('test.now', p_line ->> 'now', true);
    PERFORM set_config('request.jwt.claims', jsonb_build_object(
        'role', v_role, 'sub', p_line -> 'sub')::text, true);
    PERFORM set_config('role', v_role, true);
    EXECUTE v_sql INTO v_answer;
    PERFORM set_config('role', 'none', true);
    IF v_answer ? 'epoch' THEN
        v_answer := v_answer || jsonb_build_object(
            'epoch', 'E' || substr(v_answer ->> 'epoch', length(bqsync.store_epoch()) + 1));
    END IF;
    RETURN jsonb_build_object('http', CASE WHEN v_sql LIKE 'SELECT CASE%' THEN 204 ELSE 200 END,
                              'body', v_answer);
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS v_message = MESSAGE_TEXT, v_detail = PG_EXCEPTION_DETAIL,
        v_state = RETURNED_SQLSTATE;
    IF v_state = 'PGRST' THEN
        RETURN jsonb_build_object('http', v_detail::jsonb -> 'status', 'body', v_message::jsonb);
    END IF;
    RETURN jsonb_build_object(
        'http', CASE v_state WHEN '42501' THEN CASE v_role WHEN 'anon' THEN 401 ELSE 403 END
                             ELSE 400 END,
        'body', jsonb_build_object('code', v_state, 'message', v_message, 'hint', NULL,
                                   'details', nullif(v_detail, '')));
END $$;

CREATE OR REPLACE FUNCTION test.dump(p_users jsonb) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_agg(jsonb_build_object(
        'seq', coalesce(f.seq, 0), 'generation', coalesce(f.generation, 0),
        'clock', coalesce(f.clock_us, 0), 'erased', coalesce(f.erased, false),
        'keys', coalesce(f.n_keys, 0), 'bytes', coalesce(f.n_bytes, 0),
        'tombstones', coalesce(f.n_tombstones, 0), 'purged', coalesce(f.purged_seq, 0),
        'docs', coalesce((SELECT jsonb_agg(jsonb_build_object(
            'key', d.data_key, 'version', d.version, 'seq', d.seq, 'deleted', d.deleted,
            'epoch', d.epoch, 'data', d.data, 'device', d.device_id,
            'modified', bqsync.time_text(d.modified_at), 'created', bqsync.time_text(d.created_at),
            'receipts', coalesce(encode(r.packed, 'hex'), '')) ORDER BY d.seq)
            FROM public.user_sync_data_v2 d
            LEFT JOIN public.user_sync_receipts r USING (user_id, data_key)
            WHERE d.user_id = u.id), '[]')) ORDER BY u.n)
    FROM (SELECT value::uuid, ordinality FROM jsonb_array_elements_text(p_users) WITH ORDINALITY)
         u (id, n)
    LEFT JOIN public.user_sync_feed f ON f.user_id = u.id
$$;

-- An empty store.
CREATE OR REPLACE FUNCTION test.reset() RETURNS void LANGUAGE sql AS $$
    TRUNCATE public.user_sync_data_v2, public.user_sync_feed, public.user_sync_receipts,
        public.user_sync_history, public.user_sync_upserts, public.user_sync_metadata,
        public.user_sync_queue, public.user_sync_data, public.user_devices,
        public.user_sync_policy;
    UPDATE public.user_sync_store SET value = '0' WHERE name = 'policies_version';
$$;
