-- 0012_operations.sql - for those who run it: what grows is cut, and what is there can be seen.

-- Removes what nobody asks for any more, of at most p_days ago: devices that did not sync, dead letters, what
-- is remembered of old clients (that they wrote stays remembered), finished rows of V2's queue; and
-- changes beyond the history that is kept. Answers how many of each. For a job once a day.
CREATE OR REPLACE FUNCTION public.sync_cleanup(p_days int DEFAULT 400)
RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    v_before timestamptz := bqsync.time_of(bqsync.now_us()) - make_interval(days => p_days);
    v_nobodies uuid[];
    v_n bigint;
    v_done jsonb;
BEGIN
    PERFORM bqsync.service_only('sync_cleanup');
    IF p_days IS NULL OR p_days < 1 THEN
        PERFORM bqsync.refuse(400, '22023', 'p_days is 1 or more');
    END IF;
    -- As forget_devices() does it; one that syncs meanwhile is none of these any more.
    WITH moved AS (UPDATE public.user_sync_metadata m
                   SET user_id = gen_random_uuid(), device_id = gen_random_uuid()::text,
                       device_info = '{}'
                   WHERE m.last_sync_at < v_before RETURNING m.user_id)
    SELECT array_agg(m.user_id) INTO v_nobodies FROM moved m;
    DELETE FROM public.user_sync_metadata m WHERE m.user_id = ANY (v_nobodies);
    GET DIAGNOSTICS v_n = ROW_COUNT;
    v_done := jsonb_build_object('devices', v_n);
    DELETE FROM public.user_devices d WHERE d.last_sync < v_before;
    GET DIAGNOSTICS v_n = ROW_COUNT;
    v_done := v_done || jsonb_build_object('v1_devices', v_n);
    DELETE FROM public.user_sync_queue q
    WHERE q.updated_at < v_before AND q.status IN ('failed', 'completed');
    GET DIAGNOSTICS v_n = ROW_COUNT;
    v_done := v_done || jsonb_build_object('queue', v_n);
    UPDATE public.user_sync_upserts u SET packed = NULL
    WHERE u.updated_at < v_before AND u.packed IS NOT NULL;
    GET DIAGNOSTICS v_n = ROW_COUNT;
    v_done := v_done || jsonb_build_object('old_clients', v_n);
    DELETE FROM public.user_sync_history h USING public.user_sync_data_v2 d
    WHERE d.user_id = h.user_id AND d.data_key = h.data_key
      AND h.version <= d.version - bqsync.limit_of('history');
    GET DIAGNOSTICS v_n = ROW_COUNT;
    RETURN v_done || jsonb_build_object('history', v_n);
END $$;

-- A user in a line.
CREATE OR REPLACE VIEW public.user_sync_overview WITH (security_invoker = true) AS
SELECT f.user_id, f.n_keys, f.n_bytes, f.n_tombstones, f.seq, f.generation, f.erased,
       timestamptz '1970-01-01 00:00:00+00' + f.clock_us * interval '1 microsecond'
           AS last_change_at,
       (SELECT count(*) FROM public.user_sync_metadata m WHERE m.user_id = f.user_id) AS n_devices,
       (SELECT count(*) FROM public.user_sync_queue q
        WHERE q.user_id = f.user_id AND q.status = 'failed') AS n_dead_letters
FROM public.user_sync_feed f;

-- The store in a line. n_full: users at 90 % of their keys, bytes or tombstones.
CREATE OR REPLACE VIEW public.user_sync_health WITH (security_invoker = true) AS
SELECT count(*) AS n_users, count(*) FILTER (WHERE f.erased) AS n_erased,
       coalesce(sum(f.n_keys), 0) AS n_documents, coalesce(sum(f.n_bytes), 0) AS n_bytes,
       coalesce(sum(f.n_tombstones), 0) AS n_tombstones,
       count(*) FILTER (WHERE f.n_keys >= 900 OR f.n_bytes >= 15099494
                        OR f.n_tombstones >= 9000) AS n_full,
       count(*) FILTER (WHERE f.generation > 0 AND NOT f.erased) AS n_restored,
       (SELECT count(*) FROM public.user_sync_queue q WHERE q.status = 'failed') AS n_dead_letters,
       (SELECT max(s.version) FROM public.user_sync_schema s) AS schema_version
FROM public.user_sync_feed f;

REVOKE ALL ON TABLE public.user_sync_overview, public.user_sync_health FROM PUBLIC;
REVOKE ALL ON FUNCTION public.sync_cleanup(int) FROM PUBLIC;
DO $$
BEGIN
    IF to_regrole('anon') IS NOT NULL AND to_regrole('authenticated') IS NOT NULL
       AND to_regrole('service_role') IS NOT NULL THEN
        REVOKE ALL ON TABLE public.user_sync_overview, public.user_sync_health
        FROM anon, authenticated, service_role;
        REVOKE ALL ON FUNCTION public.sync_cleanup(int) FROM anon, authenticated, service_role;
        GRANT SELECT ON TABLE public.user_sync_overview, public.user_sync_health TO service_role;
        GRANT EXECUTE ON FUNCTION public.sync_cleanup(int) TO service_role;
    END IF;
END $$;

INSERT INTO public.user_sync_schema (version, name) VALUES (12, 'operations')
ON CONFLICT (version) DO NOTHING;

-- The revision of the functions: raised whenever one of the files behind 0001_tables.sql changes. A server
-- that finds an older one here runs them all again (src/store/postgres_schema.c).
INSERT INTO public.user_sync_store (name, value) VALUES ('revision', '2')
ON CONFLICT (name) DO UPDATE SET value = excluded.value;
