-- options/partitions.sql - the tables of users in hash partitions by user_id: smaller indexes, vacuum and
-- backup by the piece, and the same shape that a distributed PostgreSQL gives them.
--
-- Run it behind the numbered files, as one transaction, and then the numbered files once more: they put
-- triggers, policies, grants and the publication on the new tables. Until they did, nobody but the
-- owner may read these. Tables that are partitioned already stay. How many: the setting
-- bqsync.partitions (SET bqsync.partitions = 64), 16 where it is not set.
--
-- The partitions stand in the schema bqsync, which no client sees. Not for a Supabase project whose
-- apps listen: its realtime would tell of the partitions, not of the tables.

DO $$
DECLARE
    v_n int := coalesce(nullif(current_setting('bqsync.partitions', true), ''), '16')::int;
    v_table text;
    v_key text;
BEGIN
    IF v_n NOT BETWEEN 2 AND 1024 THEN
        RAISE EXCEPTION 'bqsync.partitions is 2 to 1024';
    END IF;
    FOREACH v_table IN ARRAY ARRAY[
        'user_sync_data_v2', 'user_sync_feed', 'user_sync_receipts', 'user_sync_history',
        'user_sync_upserts', 'user_sync_metadata', 'user_sync_queue']
    LOOP
        CONTINUE WHEN (SELECT c.relkind = 'p' FROM pg_catalog.pg_class c
                       WHERE c.oid = format('public.%I', v_table)::regclass);
        DROP VIEW IF EXISTS public.user_sync_overview, public.user_sync_health;
        EXECUTE format('LOCK TABLE public.%I IN ACCESS EXCLUSIVE MODE', v_table);
        SELECT string_agg(format('%I', a.attname), ', ' ORDER BY k.place) INTO v_key
        FROM pg_catalog.pg_constraint c, unnest(c.conkey) WITH ORDINALITY k (attnum, place),
             pg_catalog.pg_attribute a
        WHERE c.conrelid = format('public.%I', v_table)::regclass AND c.contype = 'p'
          AND a.attrelid = c.conrelid AND a.attnum = k.attnum;
        EXECUTE format('ALTER TABLE public.%1$I RENAME TO %2$I', v_table, v_table || '_whole');
        EXECUTE format('CREATE TABLE public.%1$I (LIKE public.%2$I INCLUDING DEFAULTS '
                       'INCLUDING CONSTRAINTS, PRIMARY KEY (%3$s)) PARTITION BY HASH (user_id)',
                       v_table, v_table || '_whole', v_key);
        EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY',
                       v_table);
        EXECUTE format('REVOKE ALL ON TABLE public.%I FROM PUBLIC', v_table);
        FOR i IN 0..v_n - 1 LOOP
            EXECUTE format('CREATE TABLE bqsync.%I PARTITION OF public.%I '
                           'FOR VALUES WITH (MODULUS %s, REMAINDER %s)%s',
                           v_table || '_' || i, v_table, v_n, i, CASE
                               WHEN v_table = 'user_sync_feed' THEN ' WITH (fillfactor = 70)'
                               WHEN v_table IN ('user_sync_history', 'user_sync_queue') THEN ''
                               ELSE ' WITH (fillfactor = 85)' END);
        END LOOP;
        EXECUTE format('CREATE POLICY bq_owner ON public.%I TO %s USING (true) WITH CHECK (true)',
                       v_table, (SELECT c.relowner::regrole FROM pg_catalog.pg_class c
                                 WHERE c.oid = format('public.%I', v_table)::regclass));
        EXECUTE format('INSERT INTO public.%I SELECT * FROM public.%I', v_table,
                       v_table || '_whole');
        EXECUTE format('DROP TABLE public.%I', v_table || '_whole');
    END LOOP;
END $$;
