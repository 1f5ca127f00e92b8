-- 0009_calls.sql - the calls that are no edit (docs/protocol.md, section 10): reading, devices, dead
-- letters, deleting, policies, erasing. V2's signatures to the letter.

-- ---- Reading --------------------------------------------------------------------------------------

DROP FUNCTION IF EXISTS public.get_user_sync_data(uuid);
CREATE FUNCTION public.get_user_sync_data(p_user_id uuid)
RETURNS TABLE (data_key text, data jsonb, version int, device_id text, modified_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    v_user uuid := bqsync.caller(p_user_id, 'get_user_sync_data');
BEGIN
    PERFORM bqsync.user_check(v_user);
    RETURN QUERY SELECT d.data_key, d.data, d.version, d.device_id, d.modified_at
        FROM public.user_sync_data_v2 d WHERE d.user_id = v_user AND NOT d.deleted
        ORDER BY d.seq DESC;
END $$;

DROP FUNCTION IF EXISTS public.get_user_sync_status(uuid);
CREATE FUNCTION public.get_user_sync_status(p_user_id uuid)
RETURNS TABLE (device_id text, last_sync_at timestamptz, last_sync_version int, device_info jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    v_user uuid := bqsync.caller(p_user_id, 'get_user_sync_status');
BEGIN
    PERFORM bqsync.user_check(v_user);
    RETURN QUERY SELECT m.device_id, m.last_sync_at, m.last_sync_version,
                        coalesce(m.device_info, '{}')
        FROM public.user_sync_metadata m WHERE m.user_id = v_user
        ORDER BY m.last_sync_at DESC, m.device_id COLLATE "C";
END $$;

-- ---- Devices --------------------------------------------------------------------------------------

-- Writes a device's row; the 256 that synced last stay.
CREATE OR REPLACE FUNCTION bqsync.device_put(p_user_id uuid, p_device_id text, p_version bigint,
                                             p_info jsonb)
RETURNS void LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    v_now timestamptz := bqsync.time_of(bqsync.now_us());
    v_over text[];
BEGIN
    INSERT INTO public.user_sync_metadata (user_id, device_id, last_sync_at, last_sync_version,
                                           device_info, created_at)
    VALUES (p_user_id, p_device_id, v_now, p_version, p_info, v_now)
    ON CONFLICT (user_id, device_id) DO UPDATE
    SET last_sync_at = excluded.last_sync_at, last_sync_version = excluded.last_sync_version,
        device_info = excluded.device_info;
    v_over := ARRAY(SELECT m.device_id FROM public.user_sync_metadata m
                    WHERE m.user_id = p_user_id
                    ORDER BY m.last_sync_at DESC, m.device_id COLLATE "C" OFFSET 256);
    IF v_over <> '{}' THEN
        PERFORM bqsync.forget_devices(p_user_id, v_over);
    END IF;
END $$;

CREATE OR REPLACE FUNCTION bqsync.device_check(p_device_id text, p_info jsonb)
RETURNS void LANGUAGE plpgsql STABLE SET search_path = '' AS $$
BEGIN
    IF NOT bqsync.is_name(p_device_id) THEN
        PERFORM bqsync.refuse(400, 'malformed',
                              'p_device_id is not 1 to 128 bytes without controls');
    ELSIF bqsync.json_size(p_info) > 4096 THEN
        PERFORM bqsync.refuse(413, 'too_large', 'p_device_info has over 4096 bytes');
    END IF;
END $$;

DROP FUNCTION IF EXISTS public.update_sync_metadata(uuid, text, int, jsonb);
CREATE FUNCTION public.update_sync_metadata(p_user_id uuid, p_device_id text, p_version int,
                                            p_device_info jsonb DEFAULT '{}')
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    v_user uuid := bqsync.caller(p_user_id, 'update_sync_metadata');
BEGIN
    PERFORM bqsync.check_numbers('p_device_info', p_device_info);
    PERFORM bqsync.user_lock(v_user);
    PERFORM bqsync.device_check(p_device_id, p_device_info);
    PERFORM bqsync.device_put(v_user, p_device_id, coalesce(p_version, 0), CASE
        WHEN coalesce(p_device_info, 'null') = 'null' THEN '{}' ELSE p_device_info END);
END $$;

-- ---- Dead letters ---------------------------------------------------------------------------------

-- What is wrong with one of p_failed; NULL: nothing.
CREATE OR REPLACE FUNCTION bqsync.dead_problem(p_dead jsonb)
RETURNS text LANGUAGE plpgsql IMMUTABLE SET search_path = '' AS $$
DECLARE
    v_dead jsonb := CASE jsonb_typeof(p_dead) WHEN 'object' THEN jsonb_strip_nulls(p_dead - 'edit')
                                              ELSE '{}' END;
    v_name text;
BEGIN
    FOREACH v_name IN ARRAY ARRAY['key', 'code'] LOOP
        IF NOT v_dead ? v_name THEN
            RETURN format('"%s" is missing', v_name);
        END IF;
    END LOOP;
    FOREACH v_name IN ARRAY ARRAY['key', 'id', 'code', 'message', 'failed_at'] LOOP
        IF v_dead ? v_name AND jsonb_typeof(v_dead -> v_name) <> 'string' THEN
            RETURN format('"%s" is not a string', v_name);
        END IF;
    END LOOP;
    IF v_dead ? 'op' AND bqsync.json_int(v_dead -> 'op', 0, 9007199254740992) IS NULL THEN
        RETURN '"op" is not an integer from 0 to 9007199254740992';
    ELSIF v_dead ? 'failed_at' AND bqsync.parse_time(v_dead ->> 'failed_at') IS NULL THEN
        RETURN '"failed_at" is not a timestamp';
    ELSIF jsonb_typeof(p_dead -> 'edit') IS DISTINCT FROM 'object' THEN
        RETURN 'a dead letter has no "edit"';
    END IF;
    RETURN NULL;
END $$;

-- Replaces what a device reported. Of a user the newest 100 stay, of at most 1 MiB. The row of a dead
-- letter is the same however often it is reported: its id is a fingerprint.
CREATE OR REPLACE FUNCTION bqsync.dead_replace(p_user_id uuid, p_device_id text, p_failed jsonb)
RETURNS void LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    v_now bigint := bqsync.now_us();
BEGIN
    DELETE FROM public.user_sync_queue q
    WHERE q.user_id = p_user_id AND q.device_id = p_device_id AND q.status = 'failed';
    INSERT INTO public.user_sync_queue (id, user_id, device_id, data_key, data, version, status,
                                        error_message, created_at, updated_at)
    SELECT md5(concat_ws('/', p_user_id, p_device_id, f.value ->> 'key', f.value ->> 'id',
                         f.value ->> 'op', f.value ->> 'edit'))::uuid,
           p_user_id, p_device_id, f.value ->> 'key', f.value -> 'edit',
           coalesce(bqsync.json_int(f.value -> 'edit' -> 'base', -1, 2147483647), 0), 'failed',
           concat_ws(': ', coalesce((SELECT c.word FROM bqsync.codes() c
                                     WHERE c.word = f.value ->> 'code'), 'server'),
                     f.value ->> 'message'),
           t.at, t.at
    FROM jsonb_array_elements(p_failed) f,
         coalesce(date_trunc('milliseconds', bqsync.parse_time(f.value ->> 'failed_at')),
                  bqsync.time_of(v_now)) t (at)
    ON CONFLICT (user_id, device_id, id) DO NOTHING;
    DELETE FROM public.user_sync_queue q
    USING (SELECT s.device_id, s.id, row_number() OVER newest AS n,
                  sum(bqsync.json_size(s.data)) OVER newest AS bytes
           FROM public.user_sync_queue s WHERE s.user_id = p_user_id AND s.status = 'failed'
           WINDOW newest AS (ORDER BY s.created_at DESC, s.device_id COLLATE "C", s.id)) o
    WHERE q.user_id = p_user_id AND q.device_id = o.device_id AND q.id = o.id
      AND (o.n > 100 OR o.bytes > 1048576);
END $$;

DROP FUNCTION IF EXISTS public.sync_report(text, jsonb, text, jsonb, uuid);
CREATE FUNCTION public.sync_report(p_device_id text, p_device_info jsonb DEFAULT '{}',
                                   p_replaces text DEFAULT NULL, p_failed jsonb DEFAULT '[]',
                                   p_user_id uuid DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    v_user uuid := bqsync.caller_or_token(p_user_id, 'sync_report');
    v_info jsonb := CASE WHEN coalesce(p_device_info, 'null') = 'null' THEN '{}'
                         ELSE p_device_info END;
    v_failed jsonb := CASE WHEN coalesce(p_failed, 'null') = 'null' THEN '[]' ELSE p_failed END;
    v_problem text;
    v_seq bigint;
BEGIN
    PERFORM bqsync.check_numbers('p_device_info', p_device_info);
    PERFORM bqsync.check_numbers('p_failed', p_failed);
    IF NOT bqsync.is_name(p_device_id) THEN
        v_problem := '"p_device_id" is not 1 to 128 bytes without controls';
    ELSIF p_replaces IS NOT NULL AND NOT bqsync.is_name(p_replaces) THEN
        v_problem := '"p_replaces" is not 1 to 128 bytes without controls';
    ELSIF jsonb_typeof(v_info) <> 'object' THEN
        v_problem := '"p_device_info" is not an object';
    ELSIF jsonb_typeof(v_failed) <> 'array' THEN
        v_problem := '"p_failed" is not an array';
    ELSIF jsonb_array_length(v_failed) > 100 THEN
        v_problem := 'over 100 dead letters in one report';
    ELSE
        SELECT bqsync.dead_problem(f.value) INTO v_problem
        FROM jsonb_array_elements(v_failed) f
        WHERE bqsync.dead_problem(f.value) IS NOT NULL LIMIT 1;
        IF v_problem IS NULL AND (SELECT sum(bqsync.json_size(f.value))
                                  FROM jsonb_array_elements(v_failed) f) > 1048576 THEN
            v_problem := 'dead letters of over 1048576 bytes';
        END IF;
    END IF;
    IF v_problem IS NOT NULL THEN
        PERFORM bqsync.refuse(400, 'malformed', v_problem);
    END IF;
    PERFORM bqsync.user_lock(v_user);
    PERFORM bqsync.device_check(p_device_id, v_info);
    IF p_replaces IS NOT NULL AND NOT v_info ? 'replaces' THEN
        v_info := v_info || jsonb_build_object('replaces', p_replaces);
    END IF;
    SELECT least(f.seq, 2147483647) INTO v_seq
    FROM public.user_sync_feed f WHERE f.user_id = v_user;
    PERFORM bqsync.device_put(v_user, p_device_id, v_seq, v_info);
    PERFORM bqsync.dead_replace(v_user, p_device_id, v_failed);
    IF p_replaces IS NOT NULL AND p_replaces <> p_device_id THEN
        PERFORM bqsync.dead_replace(v_user, p_replaces, '[]');
    END IF;
END $$;

-- ---- Deleting -------------------------------------------------------------------------------------

-- Leaves a tombstone in place of every document, but of one whose versions are used up.
CREATE OR REPLACE FUNCTION bqsync.delete_all(p_user_id uuid)
RETURNS void LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    v_key text;
    v_doc bqsync.document;
BEGIN
    FOR v_key IN SELECT d.data_key FROM public.user_sync_data_v2 d
                 WHERE d.user_id = p_user_id AND NOT d.deleted ORDER BY d.seq LOOP
        v_doc := bqsync.doc_load(p_user_id, v_key);
        CONTINUE WHEN bqsync.doc_check(v_doc, NULL) IS NOT NULL;
        PERFORM bqsync.doc_write(v_doc, NULL, bqsync.epoch_of(
            (v_doc).data, bqsync.epoch_field(bqsync.policy_of(v_key))), NULL,
            '{"status": "deleted"}');
    END LOOP;
    PERFORM bqsync.user_end(p_user_id);
END $$;

DROP FUNCTION IF EXISTS public.delete_user_sync_data(uuid);
CREATE FUNCTION public.delete_user_sync_data(p_user_id uuid)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    v_user uuid := bqsync.caller(p_user_id, 'delete_user_sync_data');
BEGIN
    PERFORM bqsync.user_lock(v_user);
    PERFORM bqsync.delete_all(v_user);
END $$;

-- ---- Policies -------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION public.sync_policies()
RETURNS jsonb LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    SELECT jsonb_build_object('version', bqsync.policies_version(), 'policies', bqsync.policies())
$$;

-- Operators alone may call these two, or an exception says so (EXECUTE is service_role's).
CREATE OR REPLACE FUNCTION bqsync.service_only(p_function text)
RETURNS void LANGUAGE plpgsql STABLE SET search_path = '' AS $$
BEGIN
    IF NOT bqsync.is_service() THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
            MESSAGE = 'permission denied for function ' || p_function;
    END IF;
END $$;

CREATE OR REPLACE FUNCTION public.sync_policy_set(p_pattern text, p_policy jsonb)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    v_problem text;
BEGIN
    PERFORM bqsync.service_only('sync_policy_set');
    IF NOT coalesce(bqsync.is_pattern(p_pattern), false) THEN
        PERFORM bqsync.refuse(400, CASE WHEN p_pattern IS NULL THEN '22023' ELSE 'bad_policy' END,
            CASE WHEN p_pattern IS NULL THEN 'p_pattern' ELSE 'a pattern' END
            || ' is a key, or a prefix and *');
    END IF;
    IF coalesce(p_policy, 'null') = 'null' THEN
        DELETE FROM public.user_sync_policy p WHERE p.pattern = p_pattern;
    ELSE
        v_problem := bqsync.policy_check(p_policy);
        IF v_problem IS NOT NULL THEN
            PERFORM bqsync.refuse(400, 'bad_policy', v_problem);
        END IF;
        INSERT INTO public.user_sync_policy (pattern, policy) VALUES (p_pattern, p_policy)
        ON CONFLICT (pattern) DO UPDATE SET policy = excluded.policy;
    END IF;
    UPDATE public.user_sync_store s SET value = (s.value::bigint + 1)::text
    WHERE s.name = 'policies_version';
END $$;

-- ---- Erasing --------------------------------------------------------------------------------------

-- Removes everything of a user and leaves a mark.
CREATE OR REPLACE FUNCTION bqsync.erase(p_user_id uuid)
RETURNS void LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    INSERT INTO public.user_sync_feed AS f (user_id, generation, erased) VALUES (p_user_id, 1, true)
    ON CONFLICT (user_id) DO UPDATE
    SET erased = true, generation = f.generation + 1, n_keys = 0, n_bytes = 0, n_tombstones = 0;
    PERFORM bqsync.forget_documents(p_user_id, ARRAY(
        SELECT d.data_key FROM public.user_sync_data_v2 d WHERE d.user_id = p_user_id));
    PERFORM bqsync.forget_devices(p_user_id, ARRAY(
        SELECT m.device_id FROM public.user_sync_metadata m WHERE m.user_id = p_user_id));
    DELETE FROM public.user_sync_receipts r WHERE r.user_id = p_user_id;
    DELETE FROM public.user_sync_history h WHERE h.user_id = p_user_id;
    DELETE FROM public.user_sync_upserts u WHERE u.user_id = p_user_id;
    DELETE FROM public.user_sync_queue q WHERE q.user_id = p_user_id;
    PERFORM bqsync.forget_v1(p_user_id);
    DELETE FROM public.user_devices v WHERE v.user_id = p_user_id;
END $$;

CREATE OR REPLACE FUNCTION public.sync_user_erase(p_user_id uuid)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    PERFORM bqsync.service_only('sync_user_erase');
    PERFORM bqsync.caller(p_user_id, 'sync_user_erase');
    PERFORM bqsync.erase(p_user_id);
END $$;

INSERT INTO public.user_sync_schema (version, name) VALUES (9, 'calls')
ON CONFLICT (version) DO NOTHING;
