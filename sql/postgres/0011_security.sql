-- 0011_security.sql - who may do what: row level security, grants, realtime. Nothing is left to what a
-- project grants by default: every table and function is named.
--
--   anon            nothing
--   authenticated   the calls; reads its own rows of what the apps read; writes its own v1 row alone
--   service_role    the calls, naming any user; reads all tables, writes policies by their call
--
-- A plain PostgreSQL has these roles and the schema auth after options/roles.sql. Where they are missing
-- (a database behind `bqsync serve` alone) nobody but the owner may do anything; run this file
-- again after making them.

-- ---- Row level security ---------------------------------------------------------------------------

-- Every older policy goes: they let a user write documents past the merge.
DO $$
DECLARE
    v_found record;
BEGIN
    FOR v_found IN
        SELECT p.polname AS name, p.polrelid::regclass AS of_table
        FROM pg_catalog.pg_policy p JOIN pg_catalog.pg_class c ON c.oid = p.polrelid
        WHERE c.relnamespace = 'public'::regnamespace AND p.polname <> 'bq_owner' AND c.relname IN (
            'user_sync_data_v2', 'user_sync_feed', 'user_sync_receipts', 'user_sync_history',
            'user_sync_upserts', 'user_sync_metadata', 'user_sync_queue', 'user_sync_data',
            'user_devices', 'user_sync_policy', 'user_sync_store', 'bq_auth_users',
            'bq_auth_sessions', 'user_sync_schema')
    LOOP
        EXECUTE format('DROP POLICY %I ON %s', v_found.name, v_found.of_table);
    END LOOP;
END $$;

DO $$
BEGIN
    IF to_regrole('anon') IS NULL OR to_regrole('authenticated') IS NULL
       OR to_regrole('service_role') IS NULL OR to_regprocedure('auth.uid()') IS NULL THEN
        RAISE NOTICE 'the roles of options/roles.sql are not here: nobody but the owner has rights';
        RETURN;
    END IF;

    CREATE POLICY bq_own ON public.user_sync_data_v2 FOR SELECT TO authenticated
        USING (NOT deleted AND user_id = (SELECT auth.uid()));
    CREATE POLICY bq_own ON public.user_sync_feed FOR SELECT TO authenticated
        USING (user_id = (SELECT auth.uid()));
    CREATE POLICY bq_own ON public.user_sync_metadata FOR SELECT TO authenticated
        USING (user_id = (SELECT auth.uid()));
    CREATE POLICY bq_own ON public.user_sync_queue FOR SELECT TO authenticated
        USING (user_id = (SELECT auth.uid()));
    CREATE POLICY bq_own ON public.user_devices FOR SELECT TO authenticated
        USING (user_id = (SELECT auth.uid()));
    CREATE POLICY bq_own ON public.user_sync_data FOR ALL TO authenticated
        USING (user_id = (SELECT auth.uid())) WITH CHECK (user_id = (SELECT auth.uid()));

    -- service_role passes over row level security on Supabase, and elsewhere by options/roles.sql; these
    -- hold where it does not.
    CREATE POLICY bq_service ON public.user_sync_data_v2 FOR SELECT TO service_role USING (true);
    CREATE POLICY bq_service ON public.user_sync_feed FOR SELECT TO service_role USING (true);
    CREATE POLICY bq_service ON public.user_sync_receipts FOR SELECT TO service_role USING (true);
    CREATE POLICY bq_service ON public.user_sync_history FOR SELECT TO service_role USING (true);
    CREATE POLICY bq_service ON public.user_sync_upserts FOR SELECT TO service_role USING (true);
    CREATE POLICY bq_service ON public.user_sync_metadata FOR SELECT TO service_role USING (true);
    CREATE POLICY bq_service ON public.user_sync_queue FOR SELECT TO service_role USING (true);
    CREATE POLICY bq_service ON public.user_devices FOR SELECT TO service_role USING (true);
    CREATE POLICY bq_service ON public.user_sync_policy FOR SELECT TO service_role USING (true);
    CREATE POLICY bq_service ON public.user_sync_data FOR ALL TO service_role
        USING (true) WITH CHECK (true);
END $$;

-- ---- Grants ---------------------------------------------------------------------------------------

REVOKE ALL ON TABLE
    public.user_sync_data_v2, public.user_sync_feed, public.user_sync_receipts,
    public.user_sync_history, public.user_sync_upserts, public.user_sync_metadata,
    public.user_sync_queue, public.user_sync_data, public.user_devices, public.user_sync_policy,
    public.user_sync_store, public.bq_auth_users, public.bq_auth_sessions, public.user_sync_schema
FROM PUBLIC;
REVOKE ALL ON SCHEMA bqsync FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA bqsync FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA bqsync FROM PUBLIC;
REVOKE ALL ON FUNCTION
    public.sync_exchange(text, text, jsonb, bigint, int, int, int, uuid),
    public.sync_report(text, jsonb, text, jsonb, uuid), public.sync_policies(),
    public.sync_policy_set(text, jsonb), public.sync_user_erase(uuid),
    public.atomic_sync_upsert(uuid, text, jsonb, int, text), public.get_user_sync_data(uuid),
    public.get_user_sync_status(uuid), public.update_sync_metadata(uuid, text, int, jsonb),
    public.delete_user_sync_data(uuid), public.atomic_sync_data(uuid, jsonb),
    public.atomic_add_device(uuid, text, text, text), public.atomic_remove_device(uuid, text),
    public.migrate_sync_data_v1_to_v2()
FROM PUBLIC;

DO $$
DECLARE
    v_role text;
BEGIN
    IF to_regrole('anon') IS NULL OR to_regrole('authenticated') IS NULL
       OR to_regrole('service_role') IS NULL THEN
        RETURN;
    END IF;
    FOREACH v_role IN ARRAY ARRAY['anon', 'authenticated', 'service_role'] LOOP
        EXECUTE format($sql$
            REVOKE ALL ON TABLE
                public.user_sync_data_v2, public.user_sync_feed, public.user_sync_receipts,
                public.user_sync_history, public.user_sync_upserts, public.user_sync_metadata,
                public.user_sync_queue, public.user_sync_data, public.user_devices,
                public.user_sync_policy, public.user_sync_store, public.bq_auth_users,
                public.bq_auth_sessions, public.user_sync_schema
            FROM %1$I;
            REVOKE ALL ON SCHEMA bqsync FROM %1$I;
            REVOKE ALL ON ALL TABLES IN SCHEMA bqsync FROM %1$I;
            REVOKE ALL ON ALL FUNCTIONS IN SCHEMA bqsync FROM %1$I;
            REVOKE ALL ON FUNCTION
                public.sync_exchange(text, text, jsonb, bigint, int, int, int, uuid),
                public.sync_report(text, jsonb, text, jsonb, uuid), public.sync_policies(),
                public.sync_policy_set(text, jsonb), public.sync_user_erase(uuid),
                public.atomic_sync_upsert(uuid, text, jsonb, int, text),
                public.get_user_sync_data(uuid), public.get_user_sync_status(uuid),
                public.update_sync_metadata(uuid, text, int, jsonb),
                public.delete_user_sync_data(uuid), public.atomic_sync_data(uuid, jsonb),
                public.atomic_add_device(uuid, text, text, text),
                public.atomic_remove_device(uuid, text), public.migrate_sync_data_v1_to_v2()
            FROM %1$I;
            GRANT USAGE ON SCHEMA public TO %1$I;$sql$, v_role);
    END LOOP;

    GRANT SELECT ON TABLE
        public.user_sync_metadata, public.user_sync_queue, public.user_devices
    TO authenticated, service_role;
    -- Of the feed what wakes a client alone; of the documents all, because apps select *.
    GRANT SELECT ON TABLE public.user_sync_data_v2 TO authenticated, service_role;
    GRANT SELECT (user_id, seq) ON TABLE public.user_sync_feed TO authenticated;
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE public.user_sync_data
    TO authenticated, service_role;
    GRANT SELECT ON TABLE
        public.user_sync_feed, public.user_sync_receipts, public.user_sync_history,
        public.user_sync_upserts, public.user_sync_policy, public.user_sync_schema
    TO service_role;
    GRANT EXECUTE ON FUNCTION
        public.sync_exchange(text, text, jsonb, bigint, int, int, int, uuid),
        public.sync_report(text, jsonb, text, jsonb, uuid), public.sync_policies(),
        public.atomic_sync_upsert(uuid, text, jsonb, int, text), public.get_user_sync_data(uuid),
        public.get_user_sync_status(uuid), public.update_sync_metadata(uuid, text, int, jsonb),
        public.delete_user_sync_data(uuid), public.atomic_sync_data(uuid, jsonb),
        public.atomic_add_device(uuid, text, text, text), public.atomic_remove_device(uuid, text)
    TO authenticated, service_role;
    GRANT EXECUTE ON FUNCTION
        public.sync_policy_set(text, jsonb), public.sync_user_erase(uuid),
        public.migrate_sync_data_v1_to_v2()
    TO service_role;
END $$;

-- ---- An account's end -----------------------------------------------------------------------------

-- Where accounts are Supabase's, the end of one erases its user here.
CREATE OR REPLACE FUNCTION bqsync.account_deleted()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    PERFORM bqsync.erase(OLD.id);
    RETURN OLD;
END $$;
REVOKE ALL ON FUNCTION bqsync.account_deleted() FROM PUBLIC;

DO $$
BEGIN
    IF to_regclass('auth.users') IS NOT NULL THEN
        DROP TRIGGER IF EXISTS bq_account_deleted ON auth.users;
        CREATE TRIGGER bq_account_deleted AFTER DELETE ON auth.users
            FOR EACH ROW EXECUTE FUNCTION bqsync.account_deleted();
    END IF;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE WARNING 'auth.users takes no trigger of this role: call sync_user_erase(id) where an '
                  'account is deleted';
END $$;

-- ---- Realtime -------------------------------------------------------------------------------------

-- What Supabase's realtime reads. user_sync_feed wakes the new clients, the others are V2's and v1's.
DO $$
DECLARE
    v_table text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_publication WHERE pubname = 'supabase_realtime') THEN
        CREATE PUBLICATION supabase_realtime;
    END IF;
    FOREACH v_table IN ARRAY ARRAY['user_sync_data_v2', 'user_sync_metadata', 'user_sync_feed',
                                   'user_sync_data'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_publication_rel r
                       JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid
                       WHERE p.pubname = 'supabase_realtime'
                         AND r.prrelid = format('public.%I', v_table)::regclass)
           AND NOT (SELECT puballtables FROM pg_catalog.pg_publication
                    WHERE pubname = 'supabase_realtime') THEN
            EXECUTE format('ALTER PUBLICATION supabase_realtime ADD TABLE public.%I', v_table);
        END IF;
    END LOOP;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE WARNING 'the publication supabase_realtime was not changed: %', SQLERRM;
END $$;

INSERT INTO public.user_sync_schema (version, name) VALUES (11, 'security')
ON CONFLICT (version) DO NOTHING;
