-- 0001_tables.sql - the tables of a store in PostgreSQL 15 or later; a Supabase project's or a plain one.
--
-- Two writers use them, and may at the same time: `bqsync serve --store postgres://...` (src/store,
-- merges in C) and the functions of the files that follow (merges in PL/pgSQL, no server of ours).
-- Whoever writes for a user locks the user's row of user_sync_feed first.
--
-- The file runs over nothing, over a database with the tables of the older systems (V2: columns are
-- added behind its own, its rows keep their versions; v1: its tables stay), and over itself. It needs no
-- extension, and runs as one transaction. Every key begins with user_id: so the tables can be
-- partitioned (options/partitions.sql) or distributed as they are.
--
-- No index but the keys: a change of a column that any index names (also one in a partial index's
-- condition) is no HOT update, and seq and modified_at change with every edit.

-- What is not for clients: helpers, partitions. Supabase shows no other schema than public.
CREATE SCHEMA IF NOT EXISTS bqsync;
REVOKE ALL ON SCHEMA bqsync FROM PUBLIC;

-- The older functions trust the id that they are given and know nothing of seq: they go before the
-- tables change. Later files bring those of the same names and signatures.
DO $$
DECLARE
    v_function regprocedure;
BEGIN
    IF to_regclass('public.user_sync_feed') IS NOT NULL THEN
        RETURN;
    END IF;
    FOR v_function IN
        SELECT p.oid FROM pg_catalog.pg_proc p
        WHERE p.pronamespace = 'public'::regnamespace AND p.proname IN (
            'atomic_sync_upsert', 'get_user_sync_data', 'get_user_sync_status',
            'update_sync_metadata', 'delete_user_sync_data', 'migrate_sync_data_v1_to_v2',
            'atomic_sync_data', 'atomic_add_device', 'atomic_remove_device')
    LOOP
        EXECUTE format('DROP FUNCTION %s', v_function);
    END LOOP;
END $$;

-- Bytes of a document in the compact form (docs/protocol.md 1.3), with numbers as jsonb prints them.
-- jsonb's text has one blank behind each comma and colon, and no other one outside of strings.
CREATE OR REPLACE FUNCTION bqsync.json_size(p_value jsonb) RETURNS int
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT SET search_path = '' AS $$
    SELECT octet_length(t.text) - (length(t.bare) - length(replace(t.bare, ' ', '')))
    FROM (SELECT p_value::text AS text,
                 regexp_replace(p_value::text, '"(?:[^"\\]|\\.)*"', '', 'g') AS bare) t
$$;
REVOKE ALL ON FUNCTION bqsync.json_size(jsonb) FROM PUBLIC;

-- The documents. A tombstone is a row with deleted, data {}. V2's columns first, in V2's order: they
-- are what realtime shows.
CREATE TABLE IF NOT EXISTS public.user_sync_data_v2 (
    user_id uuid NOT NULL,
    data_key text NOT NULL,
    data jsonb NOT NULL,
    version int NOT NULL DEFAULT 1,
    device_id text,
    modified_at timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, data_key)
);
ALTER TABLE public.user_sync_data_v2
    ADD COLUMN IF NOT EXISTS seq bigint NOT NULL DEFAULT 0,         -- cursor of the change feed
    ADD COLUMN IF NOT EXISTS deleted boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS epoch bigint NOT NULL DEFAULT 0,       -- of a tombstone (merge.md 9.2)
    ADD COLUMN IF NOT EXISTS history bigint NOT NULL DEFAULT 0,     -- newest entry, 0: none
    ADD COLUMN IF NOT EXISTS n_bytes int NOT NULL DEFAULT 0;        -- as counted in user_sync_feed

-- One row per user: where the change feed stands, and what the quotas count.
CREATE TABLE IF NOT EXISTS public.user_sync_feed (
    user_id uuid NOT NULL PRIMARY KEY,
    seq bigint NOT NULL DEFAULT 0,
    generation bigint NOT NULL DEFAULT 0,
    clock_us bigint NOT NULL DEFAULT 0,     -- last modified_at given, in microseconds
    erased boolean NOT NULL DEFAULT false,
    n_keys bigint NOT NULL DEFAULT 0,
    n_bytes bigint NOT NULL DEFAULT 0,
    n_tombstones bigint NOT NULL DEFAULT 0,
    purged_seq bigint NOT NULL DEFAULT 0,
    history_id bigint NOT NULL DEFAULT 0    -- last id given in user_sync_history
) WITH (fillfactor = 70);

-- The last edit of each device on a document, packed (the format: src/core/receipts.h).
CREATE TABLE IF NOT EXISTS public.user_sync_receipts (
    user_id uuid NOT NULL,
    data_key text NOT NULL,
    packed bytea NOT NULL,
    PRIMARY KEY (user_id, data_key)
) WITH (fillfactor = 85);

-- An append-only log of reverse edits (the format: src/core/history.h); rows of a document are
-- chained by `older`, newest first.
CREATE TABLE IF NOT EXISTS public.user_sync_history (
    user_id uuid NOT NULL,
    id bigint NOT NULL,
    data_key text NOT NULL,
    version int NOT NULL,
    older bigint NOT NULL,
    entry jsonb NOT NULL,
    PRIMARY KEY (user_id, id)
);

-- What is remembered of an old client's device on a key (the format: src/core/upserts.h). NULL: it
-- wrote, and what it wrote is forgotten.
CREATE TABLE IF NOT EXISTS public.user_sync_upserts (
    user_id uuid NOT NULL,
    data_key text NOT NULL,
    device_id text NOT NULL,
    updated_at timestamptz NOT NULL,
    packed jsonb,
    PRIMARY KEY (user_id, data_key, device_id)
) WITH (fillfactor = 85);

CREATE TABLE IF NOT EXISTS public.user_sync_metadata (
    user_id uuid NOT NULL,
    device_id text NOT NULL,
    last_sync_at timestamptz NOT NULL DEFAULT now(),
    last_sync_version int NOT NULL DEFAULT 0,
    device_info jsonb DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, device_id)
);

-- Dead letters as devices reported them: status 'failed', for an operator to find.
CREATE TABLE IF NOT EXISTS public.user_sync_queue (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL,
    device_id text NOT NULL,
    data_key text NOT NULL,
    data jsonb,
    version int NOT NULL DEFAULT 0,
    status text NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'processing', 'completed', 'failed')),
    retry_count int NOT NULL DEFAULT 0,
    max_retries int NOT NULL DEFAULT 5,
    error_message text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    processed_at timestamptz,
    PRIMARY KEY (user_id, device_id, id)
);

-- v1's row of a user, and v1's devices.
CREATE TABLE IF NOT EXISTS public.user_sync_data (
    user_id uuid NOT NULL PRIMARY KEY,
    data jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS public.user_devices (
    device_id text NOT NULL,
    user_id uuid NOT NULL,
    device_name text,
    device_type text,
    last_sync timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, device_id)
);

-- Whether the row shows the documents. One of before this file's time does from when it was migrated or
-- written again; until then nothing is put over what it alone holds.
ALTER TABLE public.user_sync_data ADD COLUMN IF NOT EXISTS shown boolean NOT NULL DEFAULT false;

-- Merge policies by key pattern (docs/merge.md 2.5), over the shipped ones.
CREATE TABLE IF NOT EXISTS public.user_sync_policy (
    pattern text NOT NULL PRIMARY KEY,
    policy jsonb NOT NULL
);

-- What the store knows of itself: epoch, hash_key (of src/core/upserts.c), policies_version.
CREATE TABLE IF NOT EXISTS public.user_sync_store (
    name text NOT NULL PRIMARY KEY,
    value text NOT NULL
);
INSERT INTO public.user_sync_store (name, value) VALUES
    ('epoch', md5(gen_random_uuid()::text || gen_random_uuid()::text)),
    ('hash_key', md5(gen_random_uuid()::text || gen_random_uuid()::text)),
    ('policies_version', '0')
ON CONFLICT (name) DO NOTHING;

-- Accounts of our own sign-in (bqsync serve alone). Without an email: an anonymous one.
CREATE TABLE IF NOT EXISTS public.bq_auth_users (
    id uuid NOT NULL PRIMARY KEY,
    email text,
    password text,              -- a salted scrypt hash
    metadata jsonb NOT NULL DEFAULT '{}',
    disabled boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    last_sign_in_at timestamptz
);
CREATE UNIQUE INDEX IF NOT EXISTS bq_auth_users_email
    ON public.bq_auth_users (email) WHERE email IS NOT NULL;
CREATE INDEX IF NOT EXISTS bq_auth_users_anonymous
    ON public.bq_auth_users (last_sign_in_at) WHERE email IS NULL;

-- counter numbers the refresh tokens, which are not stored: they are signed.
CREATE TABLE IF NOT EXISTS public.bq_auth_sessions (
    id uuid NOT NULL PRIMARY KEY,
    user_id uuid NOT NULL,
    counter bigint NOT NULL,
    created_at timestamptz NOT NULL,
    refreshed_at timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS bq_auth_sessions_user
    ON public.bq_auth_sessions (user_id, refreshed_at);

-- The numbered files that were run here; they go forward only.
CREATE TABLE IF NOT EXISTS public.user_sync_schema (
    version int NOT NULL PRIMARY KEY,
    name text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- Nobody but the owner, until a later file says who else: a Supabase project grants everything on new
-- tables of public to everybody. FORCE binds the owner as well, who may not be a superuser.
DO $$
DECLARE
    v_table text;
BEGIN
    FOREACH v_table IN ARRAY ARRAY[
        'user_sync_data_v2', 'user_sync_feed', 'user_sync_receipts', 'user_sync_history',
        'user_sync_upserts', 'user_sync_metadata', 'user_sync_queue', 'user_sync_data',
        'user_devices', 'user_sync_policy', 'user_sync_store', 'bq_auth_users',
        'bq_auth_sessions', 'user_sync_schema']
    LOOP
        EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY',
                       v_table);
        EXECUTE format('DROP POLICY IF EXISTS bq_owner ON public.%I', v_table);
        EXECUTE format('CREATE POLICY bq_owner ON public.%I TO %s USING (true) WITH CHECK (true)',
                       v_table, (SELECT c.relowner::regrole FROM pg_catalog.pg_class c
                                 WHERE c.oid = format('public.%I', v_table)::regclass));
    END LOOP;
END $$;

-- What the older systems' tables have and ours cannot live with:
--   triggers that set modified_at or updated_at (user_sync_metadata's names a column that is not
--   there, so the second write of a device failed): times are given by who writes;
--   foreign keys to auth.users: their cascade is an SQL DELETE that realtime shows to everybody, and
--   it would leave receipts and counts behind (an account's end erases by a trigger, in a later file);
--   checks on version: a receipt without a document stands in a row of version 0.
DO $$
DECLARE
    v_found record;
BEGIN
    FOR v_found IN
        SELECT t.tgname AS name, t.tgrelid::regclass AS of_table
        FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
        WHERE NOT t.tgisinternal AND t.tgname NOT LIKE 'bq\_%' AND (t.tgtype & 2) = 2
          AND t.tgrelid IN (SELECT to_regclass('public.' || n) FROM unnest(ARRAY[
              'user_sync_data_v2', 'user_sync_metadata', 'user_sync_queue', 'user_sync_data',
              'user_devices']) n)
          AND p.prosrc ~* '(modified_at|updated_at|last_sync)'
    LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', v_found.name, v_found.of_table);
    END LOOP;
    FOR v_found IN
        SELECT c.conname AS name, c.conrelid::regclass AS of_table
        FROM pg_catalog.pg_constraint c
        WHERE c.conrelid IN (SELECT to_regclass('public.' || n) FROM unnest(ARRAY[
              'user_sync_data_v2', 'user_sync_metadata', 'user_sync_queue', 'user_sync_data',
              'user_devices']) n)
          AND (c.contype = 'f' AND c.confrelid = to_regclass('auth.users')
               OR c.contype = 'c' AND c.conrelid = to_regclass('public.user_sync_data_v2')
                  AND pg_catalog.pg_get_constraintdef(c.oid) ~ '\mversion\M')
    LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', v_found.of_table, v_found.name);
    END LOOP;
END $$;

-- The older systems' columns may be NULL where ours are not, and two of their keys do not begin with
-- the user. A device or a dead letter of no user is seen by nobody: it goes.
UPDATE public.user_sync_data_v2
SET version = coalesce(version, 1), modified_at = coalesce(modified_at, created_at, now()),
    created_at = coalesce(created_at, modified_at, now())
WHERE version IS NULL OR modified_at IS NULL OR created_at IS NULL;
ALTER TABLE public.user_sync_data_v2
    ALTER COLUMN version SET NOT NULL, ALTER COLUMN modified_at SET NOT NULL,
    ALTER COLUMN created_at SET NOT NULL;
UPDATE public.user_sync_metadata
SET last_sync_at = coalesce(last_sync_at, created_at, now()),
    last_sync_version = coalesce(last_sync_version, 0),
    created_at = coalesce(created_at, last_sync_at, now())
WHERE last_sync_at IS NULL OR last_sync_version IS NULL OR created_at IS NULL;
ALTER TABLE public.user_sync_metadata
    ALTER COLUMN last_sync_at SET NOT NULL, ALTER COLUMN last_sync_version SET NOT NULL,
    ALTER COLUMN created_at SET NOT NULL;
UPDATE public.user_devices
SET last_sync = coalesce(last_sync, created_at, now()), created_at = coalesce(created_at, now())
WHERE last_sync IS NULL OR created_at IS NULL;
ALTER TABLE public.user_devices
    ALTER COLUMN last_sync SET NOT NULL, ALTER COLUMN created_at SET NOT NULL;
UPDATE public.user_sync_data
SET data = coalesce(data, '{}'), created_at = coalesce(created_at, now()),
    updated_at = coalesce(updated_at, created_at, now())
WHERE data IS NULL OR created_at IS NULL OR updated_at IS NULL;
ALTER TABLE public.user_sync_data
    ALTER COLUMN data SET NOT NULL, ALTER COLUMN created_at SET NOT NULL,
    ALTER COLUMN updated_at SET NOT NULL;
ALTER TABLE public.user_sync_queue ALTER COLUMN data DROP NOT NULL;
UPDATE public.user_sync_queue
SET device_id = coalesce(device_id, ''), data_key = coalesce(data_key, ''),
    version = coalesce(version, 0), status = coalesce(status, 'pending'),
    retry_count = coalesce(retry_count, 0), max_retries = coalesce(max_retries, 5),
    created_at = coalesce(created_at, now()), updated_at = coalesce(updated_at, now())
WHERE device_id IS NULL OR data_key IS NULL OR version IS NULL OR status IS NULL
   OR retry_count IS NULL OR max_retries IS NULL OR created_at IS NULL OR updated_at IS NULL;

DO $$
DECLARE
    v_found record;
    v_key text;
BEGIN
    FOR v_found IN
        SELECT c.oid, c.conname AS name, c.conrelid::regclass AS of_table, w.keys
        FROM (VALUES ('public.user_devices', ARRAY['user_id', 'device_id']),
                     ('public.user_sync_queue', ARRAY['user_id', 'device_id', 'id'])) w (name, keys)
        JOIN pg_catalog.pg_constraint c ON c.conrelid = to_regclass(w.name) AND c.contype = 'p'
        WHERE w.keys <> ARRAY(
            SELECT a.attname::text FROM unnest(c.conkey) WITH ORDINALITY k (attnum, place)
            JOIN pg_catalog.pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.attnum
            ORDER BY k.place)
    LOOP
        EXECUTE format('DELETE FROM %s WHERE user_id IS NULL', v_found.of_table);
        SELECT string_agg(format('%I', k), ', ') INTO v_key FROM unnest(v_found.keys) k;
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I, ADD PRIMARY KEY (%s)',
                       v_found.of_table, v_found.name, v_key);
    END LOOP;
END $$;

DO $$
BEGIN
    IF (SELECT c.relkind = 'r' FROM pg_catalog.pg_class c
        WHERE c.oid = 'public.user_sync_data_v2'::regclass) THEN
        ALTER TABLE public.user_sync_data_v2 SET (fillfactor = 85);
    END IF;
END $$;

-- Documents that an older system wrote have no seq yet: they are numbered by their times, behind what
-- is numbered, and counted. Nobody writes meanwhile: the table is locked by the changes above.
UPDATE public.user_sync_data_v2 d
SET seq = n.seq, n_bytes = bqsync.json_size(d.data)
FROM (SELECT o.user_id, o.data_key,
             coalesce(f.seq, 0) + row_number() OVER (
                 PARTITION BY o.user_id ORDER BY o.modified_at, o.data_key COLLATE "C") AS seq
      FROM public.user_sync_data_v2 o LEFT JOIN public.user_sync_feed f USING (user_id)
      WHERE o.seq = 0) n
WHERE d.user_id = n.user_id AND d.data_key = n.data_key;
INSERT INTO public.user_sync_feed (user_id, seq, clock_us, n_keys, n_bytes)
SELECT d.user_id, max(d.seq), (extract(epoch FROM max(d.modified_at)) * 1000000)::bigint,
       count(*) FILTER (WHERE NOT d.deleted),
       coalesce(sum(d.n_bytes) FILTER (WHERE NOT d.deleted), 0)
FROM public.user_sync_data_v2 d
GROUP BY d.user_id
HAVING NOT EXISTS (SELECT FROM public.user_sync_feed f
                   WHERE f.user_id = d.user_id AND f.seq >= max(d.seq))
ON CONFLICT (user_id) DO UPDATE
SET seq = excluded.seq, clock_us = greatest(user_sync_feed.clock_us, excluded.clock_us),
    n_keys = excluded.n_keys, n_bytes = excluded.n_bytes;

INSERT INTO public.user_sync_schema (version, name) VALUES (1, 'tables')
ON CONFLICT (version) DO NOTHING;
