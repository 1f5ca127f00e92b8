-- user_sync_data_v2.sql - the whole of sql/postgres in one file: paste it into the SQL editor of a
-- Supabase project and run it; again for each new version. docs/sql.md has the rest.
-- Made by scripts/generate-sql; change the numbered files instead.
-- Revision 2 of the functions, whose texts are 8aa8b075aead22bc.

-- ================================================================================================
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

-- ================================================================================================
-- 0002_json.sql - JSON as this project sees it: sizes, depths, integers, texts.
--
-- Equality by value (docs/merge.md 1.2) is jsonb's own =: numbers by value, members without order.
-- "Absent" is SQL NULL, JSON's null is 'null'::jsonb, and NULL-safe comparison is IS DISTINCT FROM.
--
-- These functions are the schema bqsync's own: nobody but the owner may call them, and those of the
-- schema public do. Each has an empty search_path and names everything in full.

-- The integer of a JSON number written as one, from p_least to p_most; NULL for anything else.
CREATE OR REPLACE FUNCTION bqsync.json_int(p_value jsonb, p_least bigint, p_most bigint)
RETURNS bigint LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
DECLARE
    v_text text := p_value #>> '{}';
BEGIN
    IF jsonb_typeof(p_value) <> 'number' OR v_text !~ '^-?[0-9]{1,18}$' THEN
        RETURN NULL;
    END IF;
    IF v_text::bigint NOT BETWEEN p_least AND p_most THEN
        RETURN NULL;
    END IF;
    RETURN v_text::bigint;
END $$;

-- Whether containers nest deeper than p_limit; the root is 1.
CREATE OR REPLACE FUNCTION bqsync.json_deeper(p_value jsonb, p_limit int)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
    SELECT length(p_value::text) > 2 * p_limit AND jsonb_path_exists(p_value, format(
        'strict $.**{%s} ? (@.type() == "object" || @.type() == "array")', p_limit)::jsonpath)
$$;

-- How deep they nest: 0 for a number, a text, true, false, null and NULL.
CREATE OR REPLACE FUNCTION bqsync.json_depth(p_value jsonb)
RETURNS int LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
DECLARE
    v_depth int := 0;
BEGIN
    WHILE bqsync.json_deeper(p_value, v_depth) LOOP
        v_depth := v_depth + 1;
    END LOOP;
    RETURN v_depth;
END $$;

-- Whether all numbers have a text of bounded length: 1e131071 is 131,072 digits there, and a few thousand
-- of them all the memory that a session may have. What our server takes fits, but for a fraction that is
-- written out with some hundred zeros behind its point.
CREATE OR REPLACE FUNCTION bqsync.numbers_fit(p_value jsonb)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
    SELECT NOT EXISTS (
        SELECT FROM jsonb_path_query(p_value, 'strict $.** ? (@.type() == "number")') q
        WHERE abs(q::numeric) >= 1e348 OR scale(q::numeric) > 348)
$$;

-- 1 to 128 bytes without controls: a device's id.
CREATE OR REPLACE FUNCTION bqsync.is_name(p_text text)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
    SELECT coalesce(octet_length(p_text) BETWEEN 1 AND 128 AND p_text !~ E'[\x01-\x1f\x7f]', false)
$$;

-- A document's key.
CREATE OR REPLACE FUNCTION bqsync.is_key(p_text text)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
    SELECT bqsync.is_name(p_text) AND NOT starts_with(p_text, '_')
$$;

-- A JSON Pointer (RFC 6901).
CREATE OR REPLACE FUNCTION bqsync.is_pointer(p_value jsonb)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
    SELECT jsonb_typeof(p_value) = 'string' AND p_value #>> '{}' ~ '^(/([^~]|~[01])*)?$'
$$;

-- One part of a JSON Pointer, with its slash.
CREATE OR REPLACE FUNCTION bqsync.pointer_part(p_name text)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
    SELECT '/' || replace(replace(p_name, '~', '~0'), '/', '~1')
$$;

-- Microseconds since 1970, and the way they are printed (docs/protocol.md 1.6). Here and nowhere else
-- a clock is read.
CREATE OR REPLACE FUNCTION bqsync.now_us()
RETURNS bigint LANGUAGE sql VOLATILE SET search_path = '' AS $$
    SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
$$;

CREATE OR REPLACE FUNCTION bqsync.us_of(p_time timestamptz)
RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
    SELECT (extract(epoch FROM p_time) * 1000000)::bigint
$$;

CREATE OR REPLACE FUNCTION bqsync.time_of(p_us bigint)
RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
    SELECT timestamptz '1970-01-01 00:00:00+00' + p_us * interval '1 microsecond'
$$;

CREATE OR REPLACE FUNCTION bqsync.time_text(p_time timestamptz)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
    SELECT to_char(p_time AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS')
           || rtrim(rtrim(to_char(p_time AT TIME ZONE 'UTC', '.US'), '0'), '.') || '+00:00'
$$;

-- Reads ISO 8601, T or a blank between date and time; without a zone it is UTC. NULL: it is none.
CREATE OR REPLACE FUNCTION bqsync.parse_time(p_text text)
RETURNS timestamptz LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = '' SET timezone = 'UTC' SET datestyle = 'ISO, YMD' AS $$
BEGIN
    IF p_text ~ '^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d(:?\d\d)?)?$' THEN
        RETURN regexp_replace(p_text, '(\.\d{6})\d+', '\1')::timestamptz;
    END IF;
    RETURN NULL;
EXCEPTION WHEN datetime_field_overflow OR invalid_datetime_format
               OR invalid_time_zone_displacement_value THEN
    RETURN NULL;
END $$;

INSERT INTO public.user_sync_schema (version, name) VALUES (2, 'json')
ON CONFLICT (version) DO NOTHING;

-- ================================================================================================
-- 0003_policy.sql - merge policies (docs/merge.md, section 2): what is one, and whose is a key's.

-- The set that is shipped, as src/merge/policy.c has it.
CREATE OR REPLACE FUNCTION bqsync.policies_shipped()
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
    SELECT '{"game_stats": {"fields": {"score": "max", "currentStreak": "max",
                                       "longestStreak": "max", "incorrectAnswers": "sum"}},
             "lesson_progress": {"fields": {"unlockedCount": "max",
                                            "bestStarsByLesson": {"each": "max"}}},
             "settings": {"fields": {"unlockedThemes": "union", "aiThemes": {"each": "whole"}}},
             "*": "incoming"}'::jsonb
$$;

-- What is wrong inside a policy, with its place; NULL: nothing. p_depth is 1 at a document's.
CREATE OR REPLACE FUNCTION bqsync.policy_error(p_policy jsonb, p_path text, p_depth int)
RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
DECLARE
    v_what text;
    v_name text;
    v_value jsonb;
BEGIN
    IF p_depth > 16 THEN
        v_what := 'policies nest at most 16 deep';
    ELSIF jsonb_typeof(p_policy) = 'string' THEN
        IF p_policy #>> '{}' NOT IN ('incoming', 'whole', 'keep', 'max', 'min', 'sum', 'union',
                                     'any', 'all') THEN
            v_what := 'this is no policy: incoming, whole, keep, max, min, sum, union, any or all,'
                      ' or an object with each or fields';
        END IF;
    ELSIF jsonb_typeof(p_policy) IS DISTINCT FROM 'object' THEN
        v_what := 'a policy is a word or an object';
    ELSIF (p_policy ? 'each') = (p_policy ? 'fields') THEN
        v_what := 'a policy object has either each or fields';
    ELSIF p_policy ? 'each' AND p_policy ? 'rest' THEN
        v_what := 'rest goes with fields, not with each';
    ELSE
        FOR v_name, v_value IN SELECT m.key, m.value FROM jsonb_each(p_policy) m LOOP
            v_what := bqsync.policy_part_error(v_name, v_value,
                                               p_path || bqsync.pointer_part(v_name), p_depth);
            EXIT WHEN v_what IS NOT NULL;
        END LOOP;
        RETURN v_what;
    END IF;
    RETURN 'at ' || p_path || ': ' || v_what;
END $$;

-- The same of a member of a policy object.
CREATE OR REPLACE FUNCTION bqsync.policy_part_error(p_name text, p_value jsonb, p_path text,
                                                    p_depth int)
RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
DECLARE
    v_what text;
    v_name text;
    v_value jsonb;
BEGIN
    IF p_name IN ('each', 'rest') THEN
        RETURN bqsync.policy_error(p_value, p_path, p_depth + 1);
    ELSIF p_name = 'fields' AND jsonb_typeof(p_value) = 'object' THEN
        FOR v_name, v_value IN SELECT m.key, m.value FROM jsonb_each(p_value) m LOOP
            v_what := bqsync.policy_error(v_value, p_path || bqsync.pointer_part(v_name),
                                          p_depth + 1);
            EXIT WHEN v_what IS NOT NULL;
        END LOOP;
        RETURN v_what;
    ELSIF p_name = 'fields' THEN
        v_what := 'fields wants an object of name and policy';
    ELSIF p_name <> 'epoch' THEN
        v_what := 'a policy has each, or fields and rest, and at its top epoch';
    ELSIF p_depth > 1 THEN
        v_what := 'epoch belongs to the policy of a document, at its top';
    ELSIF jsonb_typeof(p_value) <> 'string' OR p_value = '""' THEN
        v_what := 'epoch wants the name of a field';
    END IF;
    RETURN 'at ' || p_path || ': ' || v_what;
END $$;

-- What keeps a value from being the policy of a document; NULL: nothing does.
CREATE OR REPLACE FUNCTION bqsync.policy_check(p_policy jsonb)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
    SELECT CASE WHEN bqsync.json_size(p_policy) > 65536 THEN 'a policy has at most 64 KiB'
                ELSE bqsync.policy_error(p_policy, '', 1) END
$$;

-- A key, or a prefix and one *.
CREATE OR REPLACE FUNCTION bqsync.is_pattern(p_pattern text)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
    SELECT p_pattern = '*' OR bqsync.is_key(rtrim(p_pattern, '*'))
           AND p_pattern IN (rtrim(p_pattern, '*'), rtrim(p_pattern, '*') || '*')
           AND position('*' IN rtrim(p_pattern, '*')) = 0
$$;

-- All patterns: the shipped ones, and over them what operators set. One that is none (somebody wrote
-- into the table, or a newer version) is passed over as if it were not set.
CREATE OR REPLACE FUNCTION bqsync.policies()
RETURNS jsonb LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT bqsync.policies_shipped() || coalesce(jsonb_object_agg(p.pattern, p.policy), '{}')
    FROM public.user_sync_policy p
    WHERE bqsync.is_pattern(p.pattern) AND bqsync.policy_check(p.policy) IS NULL
$$;

CREATE OR REPLACE FUNCTION bqsync.policies_version()
RETURNS bigint LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT s.value::bigint FROM public.user_sync_store s WHERE s.name = 'policies_version'
$$;

-- The policy of a key (section 2.5): an exact pattern, else the longest prefix.
CREATE OR REPLACE FUNCTION bqsync.policy_of(p_key text)
RETURNS jsonb LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT coalesce((
        SELECT p.value FROM jsonb_each(bqsync.policies()) p
        WHERE CASE WHEN right(p.key, 1) = '*' THEN starts_with(p_key, left(p.key, -1))
                   ELSE p.key = p_key END
        ORDER BY right(p.key, 1) = '*', length(p.key) DESC
        LIMIT 1), '"incoming"')
$$;

-- The policy of a member of an object (section 2.3).
CREATE OR REPLACE FUNCTION bqsync.policy_member(p_policy jsonb, p_name text)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
    SELECT CASE WHEN jsonb_typeof(p_policy) <> 'object'
                THEN CASE WHEN p_policy = '"keep"' THEN p_policy ELSE '"incoming"' END
                WHEN p_policy ->> 'epoch' = p_name THEN '"incoming"'
                WHEN p_policy ? 'each' THEN p_policy -> 'each'
                ELSE coalesce(p_policy -> 'fields' -> p_name, p_policy -> 'rest', '"incoming"') END
$$;

-- The name of a policy's epoch field; NULL: it has none.
CREATE OR REPLACE FUNCTION bqsync.epoch_field(p_policy jsonb)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
    SELECT CASE jsonb_typeof(p_policy) WHEN 'object' THEN p_policy ->> 'epoch' END
$$;

INSERT INTO public.user_sync_schema (version, name) VALUES (3, 'policy')
ON CONFLICT (version) DO NOTHING;

-- ================================================================================================
-- 0004_merge.sql - diff and apply: docs/merge.md in PL/pgSQL. Each branch names its section.
--
-- The third implementation of that page beside src/merge and tests/merge/reference.py; the suite merge
-- compares them. An absent value is SQL NULL. Objects are walked set-wise, one query a level, so that
-- nothing is quadratic in what a client sends. Where a query calls the walk again it stands in a
-- MATERIALIZED part: the planner would call it once for each place that names its result, and so
-- twice as often a level deeper.

-- Section 8.1: the epoch of a document under a policy's epoch field (NULL: it has none).
CREATE OR REPLACE FUNCTION bqsync.epoch_of(p_document jsonb, p_field text)
RETURNS bigint LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
DECLARE
    v_number numeric;
BEGIN
    IF p_field IS NULL OR jsonb_typeof(p_document) IS DISTINCT FROM 'object'
       OR jsonb_typeof(p_document -> p_field) IS DISTINCT FROM 'number' THEN
        RETURN 0;
    END IF;
    v_number := (p_document -> p_field)::numeric;
    IF v_number < 0 OR v_number >= 9007199254740992 OR v_number <> trunc(v_number) THEN
        RETURN 0;
    END IF;
    RETURN v_number::bigint;
END $$;

-- Section 6.6, 3: an operand of a sum. A sum out of range is the error BQ044, which merge_apply catches.
CREATE OR REPLACE FUNCTION bqsync.sum_operand(p_value jsonb)
RETURNS numeric LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
DECLARE
    v_number numeric := coalesce(round(p_value::numeric, 9), 0);
BEGIN
    IF abs(v_number) >= 1000000000000000000 THEN
        RAISE EXCEPTION USING ERRCODE = 'BQ044', MESSAGE = 'out of range';
    END IF;
    RETURN v_number;
END $$;

-- Section 6.6; of seeds, 7.2, it is max.
CREATE OR REPLACE FUNCTION bqsync.merge_sum(p_was jsonb, p_now jsonb, p_theirs jsonb)
RETURNS jsonb LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
DECLARE
    v_sum numeric;
BEGIN
    IF p_now IS NULL THEN
        RETURN p_theirs;
    END IF;
    IF jsonb_typeof(p_now) <> 'number' OR jsonb_typeof(p_was) <> 'number'
       OR jsonb_typeof(p_theirs) <> 'number' THEN
        RETURN p_now;
    END IF;
    v_sum := bqsync.sum_operand(p_theirs) + (bqsync.sum_operand(p_now) - bqsync.sum_operand(p_was));
    IF abs(v_sum) >= 1000000000000000000 THEN
        RAISE EXCEPTION USING ERRCODE = 'BQ044', MESSAGE = 'out of range';
    END IF;
    RETURN to_jsonb(trim_scale(v_sum));
END $$;

-- Section 6.8: the elements of theirs without the removed ones, then the added ones; of equal elements
-- the first.
CREATE OR REPLACE FUNCTION bqsync.merge_union(p_was jsonb, p_now jsonb, p_theirs jsonb)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
    WITH was AS (
        SELECT DISTINCT e.value FROM jsonb_array_elements(
            CASE WHEN jsonb_typeof(p_was) = 'array' THEN p_was ELSE '[]' END) e),
    now AS (
        SELECT e.value, e.ordinality AS place
        FROM jsonb_array_elements(p_now) WITH ORDINALITY e),
    stays AS (
        SELECT e.value, e.ordinality AS place
        FROM jsonb_array_elements(p_theirs) WITH ORDINALITY e
        WHERE e.value NOT IN (SELECT w.value FROM was w)
           OR e.value IN (SELECT n.value FROM now n)),
    everything AS (
        SELECT s.value, 1 AS part, s.place FROM stays s
        UNION ALL
        SELECT n.value, 2, n.place FROM now n WHERE n.value NOT IN (SELECT w.value FROM was w)),
    firsts AS (
        SELECT DISTINCT ON (e.value) e.value, e.part, e.place FROM everything e
        ORDER BY e.value, e.part, e.place)
    SELECT coalesce(jsonb_agg(f.value ORDER BY f.part, f.place), '[]') FROM firsts f
$$;

-- Rule 6: sections 6 and 7. p_mode is 'edit', 'seed' or 'v1'.
CREATE OR REPLACE FUNCTION bqsync.merge_leaf(p_was jsonb, p_now jsonb, p_theirs jsonb,
                                             p_policy jsonb, p_mode text)
RETURNS jsonb LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
DECLARE
    v_word text := CASE jsonb_typeof(p_policy) WHEN 'object' THEN 'incoming'
                        ELSE p_policy #>> '{}' END;
BEGIN
    IF v_word = 'incoming' AND p_mode = 'seed'
       OR v_word IN ('whole', 'keep') AND p_mode <> 'edit' THEN
        RETURN coalesce(p_theirs, p_now);                                           -- 7.1
    END IF;
    IF v_word IN ('incoming', 'whole') THEN
        RETURN p_now;                                                               -- 6.1, 6.2, 7.4
    END IF;
    IF v_word = 'keep' THEN
        RETURN p_theirs;                                                            -- 6.3
    END IF;
    IF v_word = 'sum' AND p_mode = 'edit' THEN
        RETURN bqsync.merge_sum(p_was, p_now, p_theirs);                            -- 6.6
    END IF;
    IF p_now IS NULL OR p_theirs IS NULL THEN
        RETURN coalesce(p_now, p_theirs);
    END IF;
    IF v_word IN ('max', 'min', 'sum') THEN                                         -- 6.4, 6.5, 7.2
        IF jsonb_typeof(p_theirs) <> 'number' THEN
            RETURN p_now;
        END IF;
        IF jsonb_typeof(p_now) <> 'number' THEN
            RETURN p_theirs;
        END IF;
        RETURN CASE WHEN CASE v_word WHEN 'min' THEN p_now::numeric < p_theirs::numeric
                                     ELSE p_now::numeric > p_theirs::numeric END
                    THEN p_now ELSE p_theirs END;
    END IF;
    IF v_word IN ('any', 'all') THEN                                                -- 6.7
        RETURN CASE WHEN jsonb_typeof(p_now) = 'boolean' AND p_theirs = to_jsonb(v_word = 'any')
                    THEN p_theirs ELSE p_now END;
    END IF;
    IF jsonb_typeof(p_now) <> 'array' OR jsonb_typeof(p_theirs) <> 'array' THEN
        RETURN p_now;
    END IF;
    RETURN bqsync.merge_union(p_was, p_now, p_theirs);                              -- 6.8
END $$;

-- Section 5.3: whether a path is replaced as one. p_whole is NULL where the edit lists none.
CREATE OR REPLACE FUNCTION bqsync.is_whole(p_policy jsonb, p_whole text[], p_path text)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
    SELECT p_whole IS NOT NULL AND p_policy = '"whole"' AND p_path = ANY (p_whole)
$$;

-- Section 4.1: whether every `was` equals what is there. Where it does, the rules of section 5 give
-- exactly what the client has (4.8), so this only asks.
CREATE OR REPLACE FUNCTION bqsync.merge_is_exact(p_was jsonb, p_now jsonb, p_theirs jsonb,
                                                 p_policy jsonb, p_whole text[], p_path text)
RETURNS boolean LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
BEGIN
    IF jsonb_typeof(p_was) = 'object' AND jsonb_typeof(p_now) = 'object'
       AND NOT bqsync.is_whole(p_policy, p_whole, p_path) THEN
        RETURN jsonb_typeof(p_theirs) IS NOT DISTINCT FROM 'object' AND NOT EXISTS (
            SELECT FROM (SELECT jsonb_object_keys(p_now) AS name
                         UNION SELECT jsonb_object_keys(p_was)) n
            WHERE NOT bqsync.merge_is_exact(
                p_was -> n.name, p_now -> n.name, p_theirs -> n.name,
                bqsync.policy_member(p_policy, n.name), p_whole,
                p_path || bqsync.pointer_part(n.name)));
    END IF;
    RETURN p_was IS NOT DISTINCT FROM p_theirs;
END $$;

-- Section 5.3, per member. p_theirs is an object, '{}' where it is read as one.
CREATE OR REPLACE FUNCTION bqsync.merge_members(p_was jsonb, p_now jsonb, p_theirs jsonb,
                                                p_policy jsonb, p_whole text[], p_path text,
                                                p_mode text)
RETURNS jsonb LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
DECLARE
    v_was jsonb := coalesce(p_was, '{}');
    v_now jsonb := coalesce(p_now, '{}');
    v_in_each boolean := jsonb_typeof(p_policy) = 'object' AND p_policy ? 'each';
    v_result jsonb;
BEGIN
    WITH merged AS MATERIALIZED (
        SELECT n.name, bqsync.merge_value(
            v_was -> n.name, v_now -> n.name, p_theirs -> n.name,
            bqsync.policy_member(p_policy, n.name), v_in_each, p_whole,
            p_path || bqsync.pointer_part(n.name), p_mode) AS value
        FROM (SELECT jsonb_object_keys(v_now) AS name UNION SELECT jsonb_object_keys(v_was)) n)
    SELECT jsonb_object_agg(m.name, m.value) INTO v_result
    FROM (SELECT t.key AS name, t.value FROM jsonb_each(p_theirs) t
          WHERE NOT (v_now ? t.key OR v_was ? t.key)
          UNION ALL
          SELECT g.name, g.value FROM merged g WHERE g.value IS NOT NULL) m;
    IF v_result IS NULL AND p_now IS NOT NULL THEN
        RETURN '{}'::jsonb;
    END IF;
    RETURN v_result;
END $$;

-- Rules 1 to 6 (section 5) at a path.
CREATE OR REPLACE FUNCTION bqsync.merge_value(p_was jsonb, p_now jsonb, p_theirs jsonb,
                                              p_policy jsonb, p_in_each boolean, p_whole text[],
                                              p_path text, p_mode text)
RETURNS jsonb LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
DECLARE
    v_was_object boolean := coalesce(jsonb_typeof(p_was) = 'object', false);
    v_now_object boolean := coalesce(jsonb_typeof(p_now) = 'object', false);
    v_theirs_object boolean := coalesce(jsonb_typeof(p_theirs) = 'object', false);
    v_result jsonb;
BEGIN
    IF p_was IS NOT DISTINCT FROM p_now THEN                                        -- rule 1
        RETURN p_theirs;
    END IF;
    IF p_in_each AND p_was IS NOT NULL AND (p_now IS NULL) <> (p_theirs IS NULL)
       AND coalesce(p_now, p_theirs) <> p_was THEN                                  -- rule 2
        RETURN coalesce(p_now, p_theirs);
    END IF;
    IF (v_was_object OR v_now_object) AND NOT bqsync.is_whole(p_policy, p_whole, p_path) THEN
        IF v_theirs_object AND (v_was_object OR p_was IS NULL)
           AND (v_now_object OR p_now IS NULL) THEN                                 -- rule 3 (a)
            RETURN bqsync.merge_members(p_was, p_now, p_theirs, p_policy, p_whole, p_path, p_mode);
        END IF;
        IF v_was_object AND v_now_object AND NOT v_theirs_object THEN
            IF jsonb_typeof(p_policy) = 'object' THEN                               -- rule 3 (b)
                RETURN bqsync.merge_members(p_was, p_now, '{}', p_policy, p_whole, p_path, p_mode);
            END IF;
            RETURN p_theirs;                                                        -- rule 3 (c)
        END IF;
    END IF;
    IF p_theirs IS NOT DISTINCT FROM p_was THEN                                     -- rule 4
        RETURN p_now;
    END IF;
    IF p_theirs IS NOT DISTINCT FROM p_now AND p_policy <> '"sum"' THEN             -- rule 5
        RETURN p_theirs;
    END IF;
    v_result := bqsync.merge_leaf(p_was, p_now, p_theirs, p_policy, p_mode);        -- rule 6
    RETURN CASE WHEN v_result = p_theirs THEN p_theirs ELSE v_result END;
END $$;

-- Sections 4, 8 and 9: applies an edit to a document at p_version. The edit is as on the wire; p_mode
-- is that of merge_leaf. `status` is applied, merged, kept, or out_of_range: then nothing else counts.
-- A tombstone, and no document, have p_document NULL.
CREATE OR REPLACE FUNCTION bqsync.merge_apply(
    p_document jsonb, p_version bigint, p_deleted boolean, p_epoch bigint, p_edit jsonb,
    p_policy jsonb, p_mode text,
    OUT status text, OUT changed boolean, OUT document jsonb, OUT deleted boolean,
    OUT epoch bigint)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
DECLARE
    v_field text := bqsync.epoch_field(p_policy);
    v_base bigint := coalesce((p_edit ->> 'base')::bigint, 0);
    v_epoch bigint := CASE WHEN v_field IS NOT NULL THEN (p_edit ->> 'epoch')::bigint END;
    v_their_epoch bigint := CASE WHEN p_deleted THEN p_epoch
                                 ELSE bqsync.epoch_of(p_document, v_field) END;
    v_was jsonb := p_edit -> 'was';
    v_now jsonb := p_edit -> 'now';
    v_theirs jsonb := p_document;
    v_whole text[] := CASE WHEN jsonb_typeof(p_edit -> 'whole') = 'array' THEN
        (SELECT array_agg(w) FROM jsonb_array_elements_text(p_edit -> 'whole') w) END;
    v_deletes boolean := coalesce((p_edit ->> 'delete')::boolean, false);
BEGIN
    status := 'kept';
    changed := false;
    document := p_document;
    deleted := p_deleted;
    epoch := p_epoch;
    IF v_deletes THEN                                                               -- 9.1
        IF v_epoch < v_their_epoch OR v_base <> p_version THEN
            RETURN;
        END IF;
        status := 'applied';
        v_theirs := NULL;
    ELSE
        IF v_base = p_version AND bqsync.merge_is_exact(v_was, v_now, v_theirs, p_policy, v_whole,
                                                        '') THEN
            status := 'applied';                                                    -- 4.1
        ELSIF p_deleted AND v_base > 0 AND v_base < p_version                       -- 4.3, 9.3
              OR v_epoch < v_their_epoch THEN                                       -- 4.4, 8.2
            RETURN;
        ELSE
            status := 'merged';                                                     -- 4.5
            IF v_epoch > v_their_epoch THEN                                         -- 8.2
                v_theirs := jsonb_build_object(v_field, v_epoch);
            ELSIF p_deleted AND v_field IS NOT NULL AND p_epoch > 0 THEN
                v_theirs := jsonb_build_object(v_field, p_epoch);
            END IF;
            IF v_epoch IS NOT NULL
               AND bqsync.epoch_of(v_now, v_field) > bqsync.epoch_of(v_was, v_field) THEN
                v_was := '{}';                                                      -- 8.3
            END IF;
        END IF;
        v_theirs := bqsync.merge_value(v_was, v_now, v_theirs, p_policy, false, v_whole, '',
                                       p_mode);
    END IF;
    IF v_theirs IS NOT DISTINCT FROM p_document THEN                                -- 4.7
        RETURN;
    END IF;
    changed := true;
    document := v_theirs;
    deleted := v_theirs IS NULL;
    epoch := CASE WHEN deleted THEN greatest(v_their_epoch, coalesce(v_epoch, 0))   -- 9.2, 9.4
                  ELSE 0 END;
EXCEPTION WHEN SQLSTATE 'BQ044' THEN
    status := 'out_of_range';                                                       -- 4.6
END $$;

-- Section 3.4: the changed paths at and below one that is shipped in full, whose policy is whole.
CREATE OR REPLACE FUNCTION bqsync.diff_whole(p_base jsonb, p_mine jsonb, p_policy jsonb,
                                             p_path text, p_raises boolean)
RETURNS text[] LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
DECLARE
    v_base jsonb := CASE WHEN jsonb_typeof(p_base) = 'object' THEN p_base ELSE '{}' END;
    v_mine jsonb := CASE WHEN jsonb_typeof(p_mine) = 'object' THEN p_mine ELSE '{}' END;
    v_paths text[];
BEGIN
    IF jsonb_typeof(p_base) IS DISTINCT FROM 'object'
       AND jsonb_typeof(p_mine) IS DISTINCT FROM 'object' THEN
        RETURN NULL;
    END IF;
    IF jsonb_typeof(p_policy) = 'string' THEN
        RETURN CASE WHEN p_policy = '"whole"' THEN ARRAY[p_path] END;
    END IF;
    SELECT array_agg(w.path) INTO v_paths
    FROM (SELECT jsonb_object_keys(v_mine) AS name UNION SELECT jsonb_object_keys(v_base)) n,
         unnest(bqsync.diff_whole(v_base -> n.name, v_mine -> n.name,
                                  bqsync.policy_member(p_policy, n.name),
                                  p_path || bqsync.pointer_part(n.name), p_raises)) w (path)
    WHERE p_raises OR (v_base -> n.name) IS DISTINCT FROM (v_mine -> n.name);
    RETURN v_paths;
END $$;

-- Sections 3.2 and 3.3: {"was", "now", "whole"} of a path where base and mine differ, as far as there.
CREATE OR REPLACE FUNCTION bqsync.diff_value(p_base jsonb, p_mine jsonb, p_policy jsonb,
                                             p_in_each boolean, p_path text, p_raises boolean)
RETURNS jsonb LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
DECLARE
    v_in_each boolean := jsonb_typeof(p_policy) = 'object' AND p_policy ? 'each';
    v_was jsonb;
    v_now jsonb;
    v_whole jsonb;
BEGIN
    IF jsonb_typeof(p_base) IS DISTINCT FROM 'object'
       OR jsonb_typeof(p_mine) IS DISTINCT FROM 'object'
       OR p_policy = '"whole"' OR p_in_each OR p_raises THEN
        RETURN CASE WHEN p_base IS NULL THEN '{}' ELSE jsonb_build_object('was', p_base) END
               || CASE WHEN p_mine IS NULL THEN '{}' ELSE jsonb_build_object('now', p_mine) END
               || coalesce((SELECT jsonb_build_object('whole', w) FROM to_jsonb(bqsync.diff_whole(
                      p_base, p_mine, p_policy, p_path, p_raises)) w WHERE w IS NOT NULL), '{}');
    END IF;
    WITH differing AS MATERIALIZED (
        SELECT n.name, bqsync.diff_value(
            p_base -> n.name, p_mine -> n.name, bqsync.policy_member(p_policy, n.name), v_in_each,
            p_path || bqsync.pointer_part(n.name), false) AS diff
        FROM (SELECT jsonb_object_keys(p_mine) AS name
              UNION SELECT jsonb_object_keys(p_base)) n
        WHERE (p_base -> n.name) IS DISTINCT FROM (p_mine -> n.name))
    SELECT coalesce(jsonb_object_agg(d.name, d.diff -> 'was') FILTER (WHERE d.diff ? 'was'), '{}'),
           coalesce(jsonb_object_agg(d.name, d.diff -> 'now') FILTER (WHERE d.diff ? 'now'), '{}'),
           jsonb_agg(d.diff -> 'whole') FILTER (WHERE d.diff ? 'whole')
    INTO v_was, v_now, v_whole
    FROM differing d;
    RETURN jsonb_build_object('was', v_was, 'now', v_now)
           || CASE WHEN v_whole IS NULL THEN '{}' ELSE jsonb_build_object(
                  'whole', (SELECT jsonb_agg(p.value) FROM jsonb_array_elements(v_whole) l,
                                   jsonb_array_elements(l.value) p)) END;
END $$;

-- Section 3: the edit from base to mine; NULL where they are equal. The order of `whole` is jsonb's.
CREATE OR REPLACE FUNCTION bqsync.merge_diff(p_base jsonb, p_mine jsonb, p_policy jsonb)
RETURNS jsonb LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
DECLARE
    v_field text := bqsync.epoch_field(p_policy);
    v_base_epoch bigint := bqsync.epoch_of(p_base, v_field);
    v_mine_epoch bigint := bqsync.epoch_of(p_mine, v_field);
BEGIN
    IF p_base IS NOT DISTINCT FROM p_mine THEN
        RETURN NULL;
    END IF;
    RETURN CASE WHEN p_mine IS NULL THEN '{"delete": true}'                         -- 3.6
                ELSE bqsync.diff_value(p_base, p_mine, p_policy, false, '',
                                       v_mine_epoch > v_base_epoch) END
           || CASE WHEN v_field IS NULL THEN '{}'                                   -- 3.5
                   WHEN p_mine IS NULL THEN jsonb_build_object('epoch', v_base_epoch)
                   ELSE jsonb_build_object('epoch', v_mine_epoch) END;
END $$;

-- Section 11: of a document that was made of nothing, the counters alone; NULL: it has none.
CREATE OR REPLACE FUNCTION bqsync.only_sums(p_document jsonb, p_policy jsonb)
RETURNS jsonb LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
DECLARE
    v_sums jsonb;
BEGIN
    IF p_policy = '"sum"' THEN
        RETURN p_document;
    END IF;
    IF jsonb_typeof(p_policy) <> 'object' OR jsonb_typeof(p_document) <> 'object' THEN
        RETURN NULL;
    END IF;
    WITH members AS MATERIALIZED (
        SELECT d.key, bqsync.only_sums(d.value, bqsync.policy_member(p_policy, d.key)) AS sums
        FROM jsonb_each(p_document) d)
    SELECT jsonb_object_agg(m.key, m.sums) INTO v_sums FROM members m WHERE m.sums IS NOT NULL;
    RETURN v_sums;
END $$;

INSERT INTO public.user_sync_schema (version, name) VALUES (4, 'merge')
ON CONFLICT (version) DO NOTHING;

-- ================================================================================================
-- 0005_receipts.sql - what a document remembers of each device's last edit (docs/protocol.md,
-- section 5), in the bytes of src/core/receipts.h, which a server of ours on the same tables reads:
--
--     byte 1: format (1); byte 2: 1 if a receipt was ever evicted
--     each, most recent first: op, version, code, day as LEB128 numbers (code negated), 8 bytes of
--     id, length of the device id as one byte, the device id

-- The codes that a receipt may carry: word, number (of bqsync.h), sentence.
CREATE OR REPLACE FUNCTION bqsync.codes()
RETURNS TABLE (word text, number int, sentence text)
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
    VALUES
        ('too_large', 40, 'the document is over the size limit'),
        ('too_many_keys', 41, 'the user has too many documents'),
        ('quota', 42, 'the user''s documents are over the total limit'),
        ('bad_key', 43, 'a key is 1 to 128 bytes of UTF-8, without controls, not beginning with _'),
        ('out_of_range', 44, 'a sum has more than 18 digits before the point'),
        ('version_limit', 45, 'the document''s versions are used up'),
        ('malformed', 46, 'the edit is not well-formed'),
        ('unsupported', 47, 'the edit has a member unknown here'),
        ('deleted', 48, 'the document was deleted on another device'),
        ('user_erased', 49, 'the user was erased; local data is wiped'),
        ('bad_policy', 50, 'this is not a merge policy'),
        ('too_deep', 51, 'the document nests too deep'),
        ('too_many_edits', 52, 'too many edits in one exchange')
$$;

CREATE OR REPLACE FUNCTION bqsync.code_number(p_word text)
RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
    SELECT c.number FROM bqsync.codes() c WHERE c.word = p_word
$$;

CREATE OR REPLACE FUNCTION bqsync.code_word(p_number int)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
    SELECT c.word FROM bqsync.codes() c WHERE c.number = p_number
$$;

CREATE OR REPLACE FUNCTION bqsync.code_sentence(p_word text)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
    SELECT c.sentence FROM bqsync.codes() c WHERE c.word = p_word
$$;

-- A number, seven bits a byte, the lowest first.
CREATE OR REPLACE FUNCTION bqsync.leb128(p_number bigint)
RETURNS bytea LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
DECLARE
    v_rest bigint := p_number;
    v_bytes bytea := ''::bytea;
BEGIN
    WHILE v_rest >= 128 LOOP
        v_bytes := v_bytes || set_byte('\x00', 0, (v_rest & 127)::int | 128);
        v_rest := v_rest >> 7;
    END LOOP;
    RETURN v_bytes || set_byte('\x00', 0, v_rest::int);
END $$;

-- The receipts of a document in their order; `bytes` is each as it is packed.
CREATE OR REPLACE FUNCTION bqsync.receipts(p_packed bytea)
RETURNS TABLE (device_id text, op bigint, id text, version bigint, code int, day bigint,
               bytes bytea)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
DECLARE
    v_at int := 2;
    v_end int := coalesce(octet_length(p_packed), 0);
    v_from int;
    v_numbers bigint[];
    v_shift int;
    v_byte int;
BEGIN
    IF v_end > 0 AND get_byte(p_packed, 0) <> 1 THEN
        RAISE EXCEPTION USING ERRCODE = 'data_corrupted',
            MESSAGE = 'receipts of a format that this version does not know';
    END IF;
    WHILE v_at < v_end LOOP
        v_from := v_at;
        v_numbers := ARRAY[0, 0, 0, 0];
        FOR i IN 1..4 LOOP
            v_shift := 0;
            LOOP
                v_byte := get_byte(p_packed, v_at);
                v_at := v_at + 1;
                v_numbers[i] := v_numbers[i] | ((v_byte & 127)::bigint << v_shift);
                EXIT WHEN v_byte < 128;
                v_shift := v_shift + 7;
            END LOOP;
        END LOOP;
        v_byte := get_byte(p_packed, v_at + 8);
        op := v_numbers[1];
        version := v_numbers[2];
        code := v_numbers[3];
        day := v_numbers[4];
        id := encode(substring(p_packed FROM v_at + 1 FOR 8), 'hex');
        device_id := convert_from(substring(p_packed FROM v_at + 10 FOR v_byte), 'UTF8');
        v_at := v_at + 9 + v_byte;
        bytes := substring(p_packed FROM v_from + 1 FOR v_at - v_from);
        RETURN NEXT;
    END LOOP;
END $$;

-- Whether a receipt was ever evicted.
CREATE OR REPLACE FUNCTION bqsync.receipts_evicted(p_packed bytea)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
    SELECT coalesce(octet_length(p_packed), 0) > 0 AND get_byte(p_packed, 1) <> 0
$$;

-- The same receipts, one marked as evicted.
CREATE OR REPLACE FUNCTION bqsync.receipts_evict(p_packed bytea)
RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
    SELECT '\x0101'::bytea || substring(coalesce(p_packed, '') FROM 3)
$$;

-- Puts a device's receipt in front, and evicts what is over the limits: 256 of a key, 400 days.
CREATE OR REPLACE FUNCTION bqsync.receipts_put(p_packed bytea, p_device_id text, p_op bigint,
                                               p_id text, p_version bigint, p_code int,
                                               p_day bigint)
RETURNS bytea LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
DECLARE
    v_others bytea;
    v_evicts boolean;
BEGIN
    SELECT string_agg(o.bytes, '' ORDER BY o.place) FILTER (WHERE o.stays),
           coalesce(bool_or(NOT o.stays), false)
    INTO v_others, v_evicts
    FROM (SELECT r.bytes, r.place, r.day >= p_day - 400 AND count(*) FILTER (
                     WHERE r.day >= p_day - 400) OVER (ORDER BY r.place) < 256 AS stays
          FROM (SELECT * FROM bqsync.receipts(p_packed) WITH ORDINALITY AS t (
                    device_id, op, id, version, code, day, bytes, place)) r
          WHERE r.device_id <> p_device_id) o;
    RETURN '\x01' || CASE WHEN v_evicts OR bqsync.receipts_evicted(p_packed)
                          THEN '\x01'::bytea ELSE '\x00' END
           || bqsync.leb128(p_op) || bqsync.leb128(p_version) || bqsync.leb128(p_code)
           || bqsync.leb128(p_day) || decode(p_id, 'hex')
           || set_byte('\x00', 0, octet_length(p_device_id)) || convert_to(p_device_id, 'UTF8')
           || coalesce(v_others, '');
END $$;

-- The table of section 5: new, duplicate, forgotten, rewound, or evidence that the store lost
-- something. p_edit is what edit_read() gives.
CREATE OR REPLACE FUNCTION bqsync.receipts_judge(p_packed bytea, p_device_id text, p_edit jsonb)
RETURNS text LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
    v_op bigint := (p_edit ->> 'op')::bigint;
    v_prev bigint := (p_edit ->> 'prev')::bigint;
    v_base bigint := (p_edit ->> 'base')::bigint;
    r record;
BEGIN
    SELECT t.op, t.id, t.version INTO r
    FROM bqsync.receipts(p_packed) t WHERE t.device_id = p_device_id;
    IF NOT FOUND THEN
        RETURN CASE WHEN v_prev = 0 THEN 'new'
                    WHEN bqsync.receipts_evicted(p_packed) THEN 'forgotten' ELSE 'evidence' END;
    END IF;
    RETURN CASE WHEN v_prev > r.op THEN 'evidence'
                WHEN v_op = r.op AND p_edit ->> 'id' = r.id THEN 'duplicate'
                WHEN v_op > r.op AND (v_base = -1 OR v_base >= r.version) THEN 'new'
                ELSE 'rewound' END;
END $$;

INSERT INTO public.user_sync_schema (version, name) VALUES (5, 'receipts')
ON CONFLICT (version) DO NOTHING;

-- ================================================================================================
-- 0006_documents.sql - one document in the hands of a call: loaded, judged, written. What src/core/doc.c
-- is in C: all ways of writing meet here, for limits, quotas, versions, the clock, history, receipts.
--
-- The row of user_sync_feed serialises a user's writes: user_lock() takes it before anything is read,
-- and it is written here alone.

-- A document with what belongs to it; version 0: there is none.
DO $$
BEGIN
    IF to_regtype('bqsync.document') IS NULL THEN
        CREATE TYPE bqsync.document AS (
            user_id uuid, data_key text, data jsonb, version int, deleted boolean, epoch bigint,
            seq bigint, modified_us bigint, created_us bigint, history bigint, n_bytes int,
            receipts bytea);
    END IF;
END $$;

-- A refusal as PostgREST tells it (SQLSTATE PGRST): HTTP status, code, sentence.
CREATE OR REPLACE FUNCTION bqsync.refuse(p_http int, p_code text, p_message text)
RETURNS void LANGUAGE plpgsql STABLE SET search_path = '' AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'PGRST',
        MESSAGE = json_build_object('code', p_code, 'message', p_message, 'details', null,
                                    'hint', null)::text,
        DETAIL = json_build_object('status', p_http, 'headers', json_build_object())::text;
END $$;

-- What a call was given, before anything looks at its text.
CREATE OR REPLACE FUNCTION bqsync.check_numbers(p_name text, p_value jsonb)
RETURNS void LANGUAGE plpgsql STABLE SET search_path = '' AS $$
BEGIN
    IF NOT bqsync.numbers_fit(p_value) THEN
        PERFORM bqsync.refuse(400, 'malformed', format(
            '"%s" has a number of over 348 digits before or behind the point', p_name));
    END IF;
END $$;

-- Limits that an operator may change by rows of user_sync_store named limit.<name>.
CREATE OR REPLACE FUNCTION bqsync.limit_of(p_name text)
RETURNS bigint LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT coalesce(
        (SELECT s.value::bigint FROM public.user_sync_store s WHERE s.name = 'limit.' || p_name),
        CASE p_name WHEN 'document_bytes' THEN 262144 WHEN 'depth' THEN 64 WHEN 'keys' THEN 1000
                    WHEN 'user_bytes' THEN 16777216 WHEN 'history' THEN 32
                    WHEN 'tombstones' THEN 10000 WHEN 'anonymous_bytes' THEN 1048576 END)
$$;

-- ---- Who calls ------------------------------------------------------------------------------------

-- service_role, or an operator: whoever may act as the owner of these functions, outside of a role that
-- a front has set (the SQL editor, psql).
CREATE OR REPLACE FUNCTION bqsync.is_service()
RETURNS boolean LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT current_setting('role') = 'service_role'
           OR current_setting('role') = 'none' AND pg_has_role(
                  session_user, (SELECT p.proowner FROM pg_catalog.pg_proc p
                                 WHERE p.oid = 'bqsync.is_service()'::regprocedure), 'MEMBER')
$$;

-- The user that a call is about: the token's, unless service_role names another. An id that is not the
-- token's is refused before anything is read.
CREATE OR REPLACE FUNCTION bqsync.caller(p_user_id uuid, p_function text)
RETURNS uuid LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
    v_user uuid;
BEGIN
    IF bqsync.is_service() THEN
        IF p_user_id IS NULL THEN
            PERFORM bqsync.refuse(400, '22004', p_function || ' must name a user');
        END IF;
        RETURN p_user_id;
    END IF;
    v_user := auth.uid();
    IF v_user IS NULL OR v_user IS DISTINCT FROM p_user_id THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
            MESSAGE = 'permission denied for function ' || p_function,
            DETAIL = 'the token is another user''s';
    END IF;
    RETURN v_user;
END $$;

-- The same where a user need not be named.
CREATE OR REPLACE FUNCTION bqsync.caller_or_token(p_user_id uuid, p_function text)
RETURNS uuid LANGUAGE plpgsql STABLE SET search_path = '' AS $$
BEGIN
    RETURN bqsync.caller(CASE WHEN p_user_id IS NULL AND NOT bqsync.is_service() THEN auth.uid()
                              ELSE p_user_id END, p_function);
END $$;

-- Bytes of all documents that the caller's user may have. (Not in SQL, whose names have to be there when
-- a function is made: a database behind `bqsync serve` alone has no schema auth.)
CREATE OR REPLACE FUNCTION bqsync.quota()
RETURNS bigint LANGUAGE plpgsql STABLE SET search_path = '' AS $$
BEGIN
    IF bqsync.is_service() THEN
        RETURN bqsync.limit_of('user_bytes');
    END IF;
    RETURN bqsync.limit_of(CASE WHEN auth.jwt() ->> 'is_anonymous' = 'true' THEN 'anonymous_bytes'
                                ELSE 'user_bytes' END);
END $$;

-- ---- The user -------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION bqsync.refuse_erased()
RETURNS void LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT bqsync.refuse(403, 'user_erased', bqsync.code_sentence('user_erased'))
$$;

-- Locks the user's row, made where it is absent. An erased user is refused.
CREATE OR REPLACE FUNCTION bqsync.user_lock(p_user_id uuid)
RETURNS void LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    v_erased boolean;
BEGIN
    SELECT f.erased INTO v_erased FROM public.user_sync_feed f WHERE f.user_id = p_user_id
    FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO public.user_sync_feed (user_id) VALUES (p_user_id)
        ON CONFLICT (user_id) DO NOTHING;
        SELECT f.erased INTO v_erased FROM public.user_sync_feed f WHERE f.user_id = p_user_id
        FOR UPDATE;
    END IF;
    IF v_erased THEN
        PERFORM bqsync.refuse_erased();
    END IF;
END $$;

-- Refuses an erased user where nothing is written.
CREATE OR REPLACE FUNCTION bqsync.user_check(p_user_id uuid)
RETURNS void LANGUAGE plpgsql STABLE SET search_path = '' AS $$
BEGIN
    IF EXISTS (SELECT FROM public.user_sync_feed f WHERE f.user_id = p_user_id AND f.erased) THEN
        PERFORM bqsync.refuse_erased();
    END IF;
END $$;

-- Removes rows of a published table without telling anybody whose they were: realtime shows the key of
-- a deleted row to all who listen, so the row gets a key that says nothing first.
CREATE OR REPLACE FUNCTION bqsync.forget_documents(p_user_id uuid, p_keys text[])
RETURNS void LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    v_nobody uuid := gen_random_uuid();
BEGIN
    UPDATE public.user_sync_data_v2 d
    SET user_id = v_nobody, data_key = gen_random_uuid()::text, data = '{}', deleted = true
    WHERE d.user_id = p_user_id AND d.data_key = ANY (p_keys);
    DELETE FROM public.user_sync_data_v2 d WHERE d.user_id = v_nobody;
END $$;

CREATE OR REPLACE FUNCTION bqsync.forget_devices(p_user_id uuid, p_devices text[])
RETURNS void LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    v_nobody uuid := gen_random_uuid();
BEGIN
    UPDATE public.user_sync_metadata m
    SET user_id = v_nobody, device_id = gen_random_uuid()::text, device_info = '{}'
    WHERE m.user_id = p_user_id AND m.device_id = ANY (p_devices);
    DELETE FROM public.user_sync_metadata m WHERE m.user_id = v_nobody;
END $$;

-- v1's row. bqsync.v1 keeps its triggers still (0010_v1.sql).
CREATE OR REPLACE FUNCTION bqsync.forget_v1(p_user_id uuid)
RETURNS void LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    v_nobody uuid := gen_random_uuid();
BEGIN
    PERFORM set_config('bqsync.v1', 'shows', true);
    UPDATE public.user_sync_data v SET user_id = v_nobody, data = '{}'
    WHERE v.user_id = p_user_id;
    DELETE FROM public.user_sync_data v WHERE v.user_id = v_nobody;
    PERFORM set_config('bqsync.v1', '', true);
END $$;

-- Rows of user_sync_feed that were made to be locked, and hold nothing.
CREATE OR REPLACE FUNCTION bqsync.forget_users(p_user_ids uuid[])
RETURNS void LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    v_nobodies uuid[];
BEGIN
    WITH moved AS (UPDATE public.user_sync_feed f SET user_id = gen_random_uuid()
                   WHERE f.user_id = ANY (p_user_ids) RETURNING f.user_id)
    SELECT array_agg(m.user_id) INTO v_nobodies FROM moved m;
    DELETE FROM public.user_sync_feed f WHERE f.user_id = ANY (v_nobodies);
END $$;

-- The end of a call that wrote: drops the oldest tombstones beyond the limit, with what belongs to
-- them.
CREATE OR REPLACE FUNCTION bqsync.user_end(p_user_id uuid)
RETURNS void LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    v_over bigint;
    v_keys text[];
    v_seq bigint;
BEGIN
    SELECT f.n_tombstones - bqsync.limit_of('tombstones') INTO v_over
    FROM public.user_sync_feed f WHERE f.user_id = p_user_id;
    IF v_over > 0 THEN
        SELECT array_agg(t.data_key), max(t.seq) INTO v_keys, v_seq
        FROM (SELECT d.data_key, d.seq FROM public.user_sync_data_v2 d
              WHERE d.user_id = p_user_id AND d.deleted ORDER BY d.seq LIMIT v_over) t;
        DELETE FROM public.user_sync_receipts r
        WHERE r.user_id = p_user_id AND r.data_key = ANY (v_keys);
        DELETE FROM public.user_sync_history h
        WHERE h.user_id = p_user_id AND h.data_key = ANY (v_keys);
        DELETE FROM public.user_sync_upserts u
        WHERE u.user_id = p_user_id AND u.data_key = ANY (v_keys);
        PERFORM bqsync.forget_documents(p_user_id, v_keys);
        UPDATE public.user_sync_feed f
        SET n_tombstones = f.n_tombstones - v_over, purged_seq = greatest(f.purged_seq, v_seq)
        WHERE f.user_id = p_user_id;
    END IF;
END $$;

-- ---- Reading --------------------------------------------------------------------------------------

-- A document with its receipts. Where tombstones were purged the key may have had one, and receipts
-- in it: then they count as evicted.
CREATE OR REPLACE FUNCTION bqsync.doc_load(p_user_id uuid, p_key text)
RETURNS bqsync.document LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
    v_doc bqsync.document;
BEGIN
    -- #> '{}' is the value, and no longer in parts in a table of its own.
    SELECT d.user_id, d.data_key, d.data #> '{}', d.version, d.deleted, d.epoch, d.seq,
           bqsync.us_of(d.modified_at), bqsync.us_of(d.created_at), d.history, d.n_bytes, r.packed
    INTO v_doc
    FROM public.user_sync_data_v2 d
    LEFT JOIN public.user_sync_receipts r ON r.user_id = d.user_id AND r.data_key = d.data_key
    WHERE d.user_id = p_user_id AND d.data_key = p_key;
    IF NOT FOUND THEN
        SELECT p_user_id, p_key, NULL::jsonb, 0, false, 0, 0, 0, 0, 0, 0,
               CASE WHEN f.purged_seq > 0 THEN '\x0101'::bytea END
        INTO v_doc
        FROM public.user_sync_feed f WHERE f.user_id = p_user_id;
    END IF;
    RETURN v_doc;
END $$;

-- The value as a merge sees it: absent of a tombstone, and where there is none.
CREATE OR REPLACE FUNCTION bqsync.doc_value(p_doc bqsync.document)
RETURNS jsonb LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
    SELECT CASE WHEN (p_doc).version > 0 AND NOT (p_doc).deleted THEN (p_doc).data END
$$;

-- ---- Limits ---------------------------------------------------------------------------------------

-- Why a value (NULL: a tombstone) may not become the document: code and sentence; NULL: it may. A
-- result over a limit is fine where it is no larger than what was there.
CREATE OR REPLACE FUNCTION bqsync.doc_check(p_doc bqsync.document, p_value jsonb)
RETURNS text[] LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
    v_live boolean := (p_doc).version > 0 AND NOT (p_doc).deleted;
    v_old bigint := CASE WHEN v_live THEN bqsync.json_size((p_doc).data) ELSE 0 END;
    v_size bigint;
    v_depth int;
    v_quota bigint;
    v_feed record;
BEGIN
    SELECT f.seq, f.n_keys, f.n_bytes INTO v_feed
    FROM public.user_sync_feed f WHERE f.user_id = (p_doc).user_id;
    IF (p_doc).version >= 2147483647 OR v_feed.seq >= 9007199254740991 THEN
        RETURN ARRAY['version_limit', bqsync.code_sentence('version_limit')];
    END IF;
    IF p_value IS NULL THEN
        RETURN NULL;
    END IF;
    v_size := bqsync.json_size(p_value);
    IF v_size > bqsync.limit_of('document_bytes') AND v_size > v_old THEN
        RETURN ARRAY['too_large', format('the document would have %s bytes, the limit is %s',
                                         v_size, bqsync.limit_of('document_bytes'))];
    END IF;
    IF bqsync.json_deeper(p_value, bqsync.limit_of('depth')::int) THEN
        v_depth := bqsync.json_depth(p_value);
        IF NOT v_live OR v_depth > bqsync.json_depth((p_doc).data) THEN
            RETURN ARRAY['too_deep', format('the document would nest %s deep, the limit is %s',
                                            v_depth, bqsync.limit_of('depth'))];
        END IF;
    END IF;
    IF NOT v_live AND v_feed.n_keys >= bqsync.limit_of('keys') THEN
        RETURN ARRAY['too_many_keys', format('the user has %s documents, the limit is %s',
                                             v_feed.n_keys, bqsync.limit_of('keys'))];
    END IF;
    v_quota := bqsync.quota();
    IF v_size > v_old AND v_feed.n_bytes + v_size - v_old > v_quota THEN
        RETURN ARRAY['quota', format('the user''s documents would have over %s bytes', v_quota)];
    END IF;
    RETURN NULL;
END $$;

-- ---- History --------------------------------------------------------------------------------------

-- Adds the step from the new version back to the one before; the id of the entry, 0 where none is kept.
-- The first one of a document that came from an older system says when that one wrote it: a v1
-- app may have read it.
-- Entries that n newer ones made superfluous go with every eighth version: nothing but a walk through
-- the user's entries finds them.
CREATE OR REPLACE FUNCTION bqsync.history_add(p_doc bqsync.document, p_newer jsonb, p_note jsonb)
RETURNS bigint LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    v_kept bigint := bqsync.limit_of('history');
    v_older jsonb := bqsync.doc_value(p_doc);
    v_back jsonb;
    v_id bigint;
BEGIN
    IF v_kept = 0 THEN
        RETURN 0;
    END IF;
    v_back := bqsync.merge_diff(p_newer, v_older, '"incoming"');
    UPDATE public.user_sync_feed f SET history_id = f.history_id + 1
    WHERE f.user_id = (p_doc).user_id RETURNING f.history_id INTO v_id;
    INSERT INTO public.user_sync_history (user_id, id, data_key, version, older, entry)
    VALUES ((p_doc).user_id, v_id, (p_doc).data_key, (p_doc).version + 1, (p_doc).history,
            p_note || CASE WHEN v_older IS NULL THEN '{"gone": true}' ELSE '{}'::jsonb END
            || CASE WHEN (p_doc).history > 0 OR (p_doc).version = 0 THEN '{}'::jsonb
                    ELSE jsonb_build_object('from', bqsync.time_text(bqsync.time_of(
                        (p_doc).modified_us))) END
            || (coalesce(v_back, '{}') - '{whole,delete,epoch}'::text[]));
    IF (p_doc).version % 8 = 7 AND (p_doc).version > v_kept THEN
        DELETE FROM public.user_sync_history h
        WHERE h.user_id = (p_doc).user_id AND h.data_key = (p_doc).data_key
          AND h.version <= (p_doc).version + 1 - v_kept;
    END IF;
    RETURN v_id;
END $$;

-- The document at a version (NULL: none or a tombstone); known is false where history does not reach.
CREATE OR REPLACE FUNCTION bqsync.history_at(p_doc bqsync.document, p_version bigint,
                                             OUT known boolean, OUT document jsonb)
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
    v_at int := (p_doc).version;
    v_id bigint := (p_doc).history;
    v_entry record;
BEGIN
    known := false;
    IF p_version < 1 OR p_version > v_at OR p_version < v_at - bqsync.limit_of('history') THEN
        RETURN;
    END IF;
    document := bqsync.doc_value(p_doc);
    WHILE v_at > p_version LOOP
        SELECT h.version, h.older, h.entry INTO v_entry FROM public.user_sync_history h
        WHERE h.user_id = (p_doc).user_id AND h.id = v_id;
        IF NOT FOUND OR v_entry.version <> v_at THEN
            document := NULL;
            RETURN;
        END IF;
        IF coalesce((v_entry.entry ->> 'gone')::boolean, false) THEN
            document := NULL;
        ELSIF v_entry.entry ?| '{was,now}' THEN
            SELECT m.document INTO document FROM bqsync.merge_apply(
                document, 1, document IS NULL, 0,
                jsonb_build_object('base', 1) || (v_entry.entry - '{status,device,op,at,from,edit}'::text[]),
                '"incoming"', 'edit') m;
        END IF;
        v_at := v_at - 1;
        v_id := v_entry.older;
    END LOOP;
    known := true;
END $$;

-- ---- Writing --------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION bqsync.receipts_write(p_doc bqsync.document)
RETURNS void LANGUAGE sql SET search_path = '' AS $$
    INSERT INTO public.user_sync_receipts AS r (user_id, data_key, packed)
    SELECT (p_doc).user_id, (p_doc).data_key, (p_doc).receipts WHERE (p_doc).receipts IS NOT NULL
    ON CONFLICT (user_id, data_key) DO UPDATE SET packed = excluded.packed
    WHERE r.packed <> excluded.packed
$$;

-- Writes a new version: value, or a tombstone with this epoch (NULL); history, receipts, counts. The
-- note's `at` is set here. What old clients sent before a deletion is no repeat after it.
CREATE OR REPLACE FUNCTION bqsync.doc_write(p_doc bqsync.document, p_value jsonb, p_epoch bigint,
                                            p_device_id text, p_note jsonb)
RETURNS bqsync.document LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    v_doc bqsync.document := p_doc;
    v_now bigint := bqsync.now_us();
    v_was_there boolean := (p_doc).seq > 0;
    v_was_live boolean := (p_doc).version > 0 AND NOT (p_doc).deleted;
BEGIN
    UPDATE public.user_sync_feed f SET clock_us = greatest(v_now, f.clock_us + 1)
    WHERE f.user_id = (p_doc).user_id RETURNING f.clock_us INTO v_doc.modified_us;
    v_doc.history := bqsync.history_add(
        p_doc, p_value, jsonb_build_object(
            'device', p_device_id, 'op', 0,
            'at', bqsync.time_text(bqsync.time_of(v_doc.modified_us))) || p_note);
    v_doc.data := coalesce(p_value, '{}');
    v_doc.n_bytes := CASE WHEN p_value IS NULL THEN 0 ELSE bqsync.json_size(p_value) END;
    v_doc.deleted := p_value IS NULL;
    v_doc.epoch := CASE WHEN p_value IS NULL THEN p_epoch ELSE 0 END;
    v_doc.version := (p_doc).version + 1;
    IF (p_doc).version = 0 THEN
        v_doc.created_us := v_doc.modified_us;
    END IF;
    UPDATE public.user_sync_feed f
    SET seq = f.seq + 1,
        n_bytes = f.n_bytes + v_doc.n_bytes - CASE WHEN v_was_live THEN (p_doc).n_bytes ELSE 0 END,
        n_keys = f.n_keys + (NOT v_doc.deleted)::int - v_was_live::int,
        n_tombstones = f.n_tombstones + v_doc.deleted::int
                       - (v_was_there AND NOT v_was_live)::int
    WHERE f.user_id = (p_doc).user_id RETURNING f.seq INTO v_doc.seq;
    INSERT INTO public.user_sync_data_v2 AS d (user_id, data_key, data, version, device_id,
        modified_at, created_at, seq, deleted, epoch, history, n_bytes)
    VALUES (v_doc.user_id, v_doc.data_key, v_doc.data, v_doc.version, p_device_id,
            bqsync.time_of(v_doc.modified_us), bqsync.time_of(v_doc.created_us), v_doc.seq,
            v_doc.deleted, v_doc.epoch, v_doc.history, v_doc.n_bytes)
    ON CONFLICT (user_id, data_key) DO UPDATE
    SET data = excluded.data, version = excluded.version, device_id = excluded.device_id,
        modified_at = excluded.modified_at, created_at = excluded.created_at, seq = excluded.seq,
        deleted = excluded.deleted, epoch = excluded.epoch, history = excluded.history,
        n_bytes = excluded.n_bytes;
    PERFORM bqsync.receipts_write(v_doc);
    IF v_doc.deleted THEN
        UPDATE public.user_sync_upserts u SET packed = NULL
        WHERE u.user_id = v_doc.user_id AND u.data_key = v_doc.data_key AND u.packed IS NOT NULL;
    END IF;
    RETURN v_doc;
END $$;

-- Writes the receipts alone: no new version. Those of a document that never was stand in a row of
-- version 0, which counts as a tombstone (docs/protocol.md 5.6).
CREATE OR REPLACE FUNCTION bqsync.doc_write_receipts(p_doc bqsync.document)
RETURNS void LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    v_seq bigint;
    v_now timestamptz := bqsync.time_of(bqsync.now_us());
BEGIN
    PERFORM bqsync.receipts_write(p_doc);
    IF (p_doc).version > 0 THEN
        RETURN;
    END IF;
    UPDATE public.user_sync_feed f
    SET seq = f.seq + 1, n_tombstones = f.n_tombstones + ((p_doc).seq = 0)::int
    WHERE f.user_id = (p_doc).user_id RETURNING f.seq INTO v_seq;
    INSERT INTO public.user_sync_data_v2 (user_id, data_key, data, version, modified_at, created_at,
                                          seq, deleted)
    VALUES ((p_doc).user_id, (p_doc).data_key, '{}', 0, v_now, v_now, v_seq, true)
    ON CONFLICT (user_id, data_key) DO UPDATE
    SET seq = excluded.seq, modified_at = excluded.modified_at, created_at = excluded.created_at;
END $$;

INSERT INTO public.user_sync_schema (version, name) VALUES (6, 'documents')
ON CONFLICT (version) DO NOTHING;

-- ================================================================================================
-- 0007_exchange.sql - sync_exchange: edits in, changes out (docs/protocol.md, sections 4 to 9).
--
-- In this order: is the client's epoch ours? Does it know of more than the store does (evidence)?
-- Only then is anything applied, edit by edit; then the changes since its cursor are collected.

-- The epoch of the store, as src/store/postgres_schema.c makes it: when it was made or restored, and the
-- timeline of its log, which is new after a promotion. A role may lack the right to ask for that.
CREATE OR REPLACE FUNCTION bqsync.store_epoch()
RETURNS text LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
    v_epoch text;
BEGIN
    SELECT s.value INTO v_epoch FROM public.user_sync_store s WHERE s.name = 'epoch';
    RETURN v_epoch || '-'
           || ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int;
EXCEPTION WHEN insufficient_privilege OR object_not_in_prerequisite_state THEN
    RETURN v_epoch;
END $$;

-- Reads the envelope of an edit. {"key", "op", "id"} as far as they could be read, "prev", "base"; or
-- "code" and "message" where it is refused before the merge looks at it.
CREATE OR REPLACE FUNCTION bqsync.edit_read(p_edit jsonb)
RETURNS jsonb LANGUAGE plpgsql IMMUTABLE SET search_path = '' AS $$
DECLARE
    v_key text := CASE jsonb_typeof(p_edit -> 'key') WHEN 'string' THEN p_edit ->> 'key' END;
    v_id text := CASE jsonb_typeof(p_edit -> 'id') WHEN 'string' THEN p_edit ->> 'id' END;
    v_op bigint := coalesce(bqsync.json_int(p_edit -> 'op', 1, 9007199254740991), 0);
    v_read jsonb;
    v_unknown text;
    v_code text := 'malformed';
    v_message text;
BEGIN
    IF v_id !~ '^[0-9a-f]{16}$' THEN
        v_id := NULL;
    END IF;
    v_read := jsonb_build_object('key', v_key, 'op', v_op, 'id', v_id);
    IF jsonb_typeof(p_edit) <> 'object' THEN
        v_message := 'an edit is not an object';
    ELSE
        SELECT k INTO v_unknown FROM jsonb_object_keys(p_edit) k
        WHERE k NOT IN ('op', 'prev', 'id', 'key', 'base', 'was', 'now', 'whole', 'epoch', 'delete',
                        'seed')
        LIMIT 1;
        IF v_unknown IS NOT NULL THEN
            v_code := 'unsupported';
            v_message := format('an edit has the unknown member "%s"', left(v_unknown, 40));
        ELSIF NOT bqsync.is_key(v_key) THEN
            v_code := 'bad_key';
            v_message := bqsync.code_sentence(v_code);
        ELSIF v_op = 0 THEN
            v_message := '"op" is not an integer from 1';
        ELSIF v_id IS NULL THEN
            v_message := '"id" is not 16 lower-case hex digits';
        ELSE
            v_message := bqsync.edit_problem(p_edit, v_op);
        END IF;
    END IF;
    IF v_message IS NOT NULL THEN
        RETURN v_read || jsonb_build_object('code', v_code, 'message', v_message);
    END IF;
    RETURN v_read || jsonb_build_object('prev', p_edit -> 'prev', 'base', coalesce(
        bqsync.json_int(p_edit -> 'base', -1, 2147483647), 0));
END $$;

-- What is wrong with the members of an edit; NULL: nothing. null counts as missing, but in was and now.
CREATE OR REPLACE FUNCTION bqsync.edit_problem(p_edit jsonb, p_op bigint)
RETURNS text LANGUAGE plpgsql IMMUTABLE SET search_path = '' AS $$
DECLARE
    v_edit jsonb := jsonb_strip_nulls(p_edit - '{was,now}'::text[]);
    v_name text;
    v_deletes boolean;
    v_seeds boolean;
BEGIN
    IF NOT v_edit ? 'prev' THEN
        RETURN '"prev" is missing';
    ELSIF bqsync.json_int(v_edit -> 'prev', 0, p_op - 1) IS NULL THEN
        RETURN format('"prev" is not an integer from 0 to %s', p_op - 1);
    ELSIF v_edit ? 'base' AND bqsync.json_int(v_edit -> 'base', -1, 2147483647) IS NULL THEN
        RETURN '"base" is not an integer from -1 to 2147483647';
    ELSIF v_edit ? 'epoch' AND bqsync.json_int(v_edit -> 'epoch', 0, 9007199254740991) IS NULL THEN
        RETURN '"epoch" is not an integer from 0 to 9007199254740991';
    END IF;
    FOREACH v_name IN ARRAY ARRAY['delete', 'seed'] LOOP
        IF v_edit ? v_name AND jsonb_typeof(v_edit -> v_name) <> 'boolean' THEN
            RETURN format('"%s" is neither true nor false', v_name);
        END IF;
    END LOOP;
    IF v_edit ? 'whole' THEN
        IF jsonb_typeof(v_edit -> 'whole') <> 'array' THEN
            RETURN '"whole" is not an array';
        ELSIF EXISTS (SELECT FROM jsonb_array_elements(p_edit -> 'whole') w
                      WHERE NOT bqsync.is_pointer(w)) THEN
            RETURN '"whole" holds no JSON Pointer';
        END IF;
    END IF;
    v_deletes := coalesce((v_edit ->> 'delete')::boolean, false);
    v_seeds := coalesce((v_edit ->> 'seed')::boolean, false);
    IF v_deletes AND (p_edit ?| '{was,now}' OR v_seeds) THEN
        RETURN '"delete" stands beside "was", "now" or "seed"';
    ELSIF NOT v_deletes AND NOT p_edit ?| '{was,now}' THEN
        RETURN 'an edit has neither "was" nor "now" nor "delete"';
    ELSIF v_seeds AND (p_edit ? 'was' OR NOT p_edit ? 'now') THEN
        RETURN 'a seed has "now" and no "was"';
    ELSIF bqsync.json_deeper(p_edit, bqsync.limit_depth_of_edits()) THEN
        RETURN 'objects and arrays nest too deep';
    END IF;
    RETURN NULL;
END $$;

-- Containers in an edit, whose envelope takes 8: a bound for the walks, whatever an operator allows.
CREATE OR REPLACE FUNCTION bqsync.limit_depth_of_edits()
RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$ SELECT 200 $$;

-- The document as a result carries it.
CREATE OR REPLACE FUNCTION bqsync.result_document(p_doc bqsync.document)
RETURNS jsonb LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
    SELECT jsonb_build_object(
               'version', (p_doc).version,
               'data', CASE WHEN (p_doc).version = 0 THEN 'null'
                            WHEN (p_doc).deleted THEN '{}' ELSE (p_doc).data END)
           || CASE WHEN (p_doc).version > 0 AND (p_doc).deleted THEN '{"deleted": true}'
                   ELSE '{}'::jsonb END
$$;

CREATE OR REPLACE FUNCTION bqsync.result_code(p_code text, p_message text)
RETURNS jsonb LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
    SELECT jsonb_build_object('code', p_code, 'retry', 'never', 'message',
                              coalesce(p_message, bqsync.code_sentence(p_code)))
$$;

-- Refuses an edit for good: with a receipt, so that a late copy of it changes nothing. Where a receipt
-- needs a row of its own and the user has too many tombstones it is not worth one (5.6).
CREATE OR REPLACE FUNCTION bqsync.edit_refuse(p_doc bqsync.document, p_device_id text,
                                              p_edit jsonb, p_code text, p_message text)
RETURNS jsonb LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    v_doc bqsync.document := p_doc;
    v_op bigint := (p_edit ->> 'op')::bigint;
    v_result jsonb := jsonb_build_object(
        'key', coalesce(p_edit ->> 'key', ''), 'op', v_op, 'status', 'refused')
        || bqsync.result_code(p_code, p_message);
    v_last bigint;
BEGIN
    IF NOT bqsync.is_key(p_edit ->> 'key') THEN
        RETURN v_result || '{"version": 0}';
    END IF;
    v_result := v_result || bqsync.result_document(p_doc);
    SELECT r.op INTO v_last FROM bqsync.receipts((p_doc).receipts) r
    WHERE r.device_id = p_device_id;
    IF v_op > 0 AND p_edit ->> 'id' IS NOT NULL AND (v_last IS NULL OR v_op > v_last)
       AND ((p_doc).seq > 0 OR EXISTS (
           SELECT FROM public.user_sync_feed f WHERE f.user_id = (p_doc).user_id
           AND (f.n_tombstones < bqsync.limit_of('tombstones') OR f.purged_seq = 0))) THEN
        v_doc.receipts := bqsync.receipts_put(
            (p_doc).receipts, p_device_id, v_op, p_edit ->> 'id', (p_doc).version,
            bqsync.code_number(p_code), bqsync.now_us() / 86400000000);
        PERFORM bqsync.doc_write_receipts(v_doc);
    END IF;
    RETURN v_result;
END $$;

-- Applies an edit that receipts_judge() found new.
CREATE OR REPLACE FUNCTION bqsync.edit_apply(p_doc bqsync.document, p_device_id text,
                                             p_read jsonb, p_edit jsonb)
RETURNS jsonb LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    v_doc bqsync.document := p_doc;
    v_deletes boolean := coalesce((p_edit ->> 'delete')::boolean, false);
    v_refused text[];
    v_merged record;
    v_code int := 0;
BEGIN
    SELECT * INTO v_merged FROM bqsync.merge_apply(
        bqsync.doc_value(p_doc), (p_doc).version, (p_doc).deleted, (p_doc).epoch, p_edit,
        bqsync.policy_of((p_doc).data_key),
        CASE WHEN (p_edit ->> 'seed')::boolean THEN 'seed' ELSE 'edit' END);
    IF v_merged.status = 'out_of_range' THEN
        RETURN bqsync.edit_refuse(p_doc, p_device_id, p_read, v_merged.status, NULL);
    END IF;
    IF v_merged.changed THEN
        v_refused := bqsync.doc_check(p_doc, v_merged.document);
        IF v_refused IS NOT NULL THEN
            RETURN bqsync.edit_refuse(p_doc, p_device_id, p_read, v_refused[1], v_refused[2]);
        END IF;
    END IF;
    IF v_merged.status = 'kept' AND (p_doc).deleted AND NOT v_deletes THEN
        v_code := bqsync.code_number('deleted');                                    -- 5.2
    END IF;
    v_doc.receipts := bqsync.receipts_put(
        (p_doc).receipts, p_device_id, (p_read ->> 'op')::bigint, p_read ->> 'id',
        (p_doc).version + v_merged.changed::int, v_code, bqsync.now_us() / 86400000000);
    IF v_merged.changed THEN
        v_doc := bqsync.doc_write(
            v_doc, v_merged.document, v_merged.epoch, p_device_id,
            jsonb_build_object('op', p_read -> 'op', 'status',
                               CASE WHEN v_merged.status = 'merged' THEN 'merged'
                                    WHEN v_deletes THEN 'deleted' ELSE 'applied' END)
            || CASE WHEN v_merged.status = 'merged' THEN jsonb_build_object(
                        'edit', p_edit || '{"prev": 0, "id": "0000000000000000"}')
                    ELSE '{}' END);
    ELSE
        PERFORM bqsync.doc_write_receipts(v_doc);
        v_doc := bqsync.doc_load((p_doc).user_id, (p_doc).data_key);
    END IF;
    RETURN jsonb_build_object('key', (p_doc).data_key, 'op', p_read -> 'op',
                              'status', v_merged.status)
           || CASE WHEN v_merged.status = 'applied'
                   THEN bqsync.result_document(v_doc) - 'data'
                   ELSE bqsync.result_document(v_doc) END;
END $$;

-- One edit to its result.
CREATE OR REPLACE FUNCTION bqsync.edit_one(p_user_id uuid, p_device_id text, p_read jsonb,
                                           p_edit jsonb)
RETURNS jsonb LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    v_doc bqsync.document;
    v_verdict text;
    v_code int;
BEGIN
    IF bqsync.is_key(p_read ->> 'key') THEN
        v_doc := bqsync.doc_load(p_user_id, p_read ->> 'key');
    END IF;
    IF p_read ? 'code' THEN
        RETURN bqsync.edit_refuse(v_doc, p_device_id, p_read, p_read ->> 'code',
                                  p_read ->> 'message');
    END IF;
    v_verdict := bqsync.receipts_judge((v_doc).receipts, p_device_id, p_read);
    IF v_verdict = 'new' THEN
        RETURN bqsync.edit_apply(v_doc, p_device_id, p_read, p_edit);
    END IF;
    IF v_verdict = 'duplicate' THEN
        SELECT r.code INTO v_code FROM bqsync.receipts((v_doc).receipts) r
        WHERE r.device_id = p_device_id;
    ELSIF v_verdict = 'evidence' THEN
        v_verdict := 'rewound';         -- an earlier edit of this key was refused meanwhile
    END IF;
    RETURN jsonb_build_object('key', p_read -> 'key', 'op', p_read -> 'op', 'status', v_verdict)
           || bqsync.result_document(v_doc)
           || CASE WHEN v_code > 0 THEN bqsync.result_code(bqsync.code_word(v_code), NULL)
                   ELSE '{}' END;
END $$;

-- Section 8.2: whether the client knows of more than the store does.
CREATE OR REPLACE FUNCTION bqsync.shows_loss(p_user_id uuid, p_device_id text, p_cursor bigint,
                                             p_reads jsonb)
RETURNS boolean LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
    v_seq bigint;
    v_purged bigint;
    v_doc bqsync.document;
    v_read jsonb;
BEGIN
    SELECT f.seq, f.purged_seq INTO v_seq, v_purged
    FROM public.user_sync_feed f WHERE f.user_id = p_user_id;
    IF (CASE WHEN p_cursor < 0 THEN -p_cursor - 1 ELSE p_cursor END) > coalesce(v_seq, 0) THEN
        RETURN true;
    END IF;
    FOR v_read IN SELECT e.value FROM jsonb_array_elements(p_reads) e LOOP
        CONTINUE WHEN v_read ? 'code';
        v_doc := bqsync.doc_load(p_user_id, v_read ->> 'key');
        IF (v_read ->> 'base')::bigint > (v_doc).version AND NOT ((v_doc).seq = 0 AND v_purged > 0)
           OR bqsync.receipts_judge((v_doc).receipts, p_device_id, v_read) = 'evidence' THEN
            RETURN true;
        END IF;
    END LOOP;
    RETURN false;
END $$;

-- Sections 6.3 and 7: the answer with the changes behind the cursor. STABLE: all that it reads is of one
-- moment. p_results is NULL where nothing was applied (status epoch).
CREATE OR REPLACE FUNCTION bqsync.exchange_answer(p_user_id uuid, p_device_id text,
                                                  p_cursor bigint, p_limit int, p_results jsonb)
RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
    v_feed record;
    v_complete boolean := p_results IS NULL OR p_cursor < 0;
    v_after bigint := CASE WHEN p_results IS NULL THEN 0 WHEN p_cursor < 0 THEN -p_cursor - 1
                           ELSE p_cursor END;
    v_changes jsonb;
    v_last bigint;
    v_more boolean;
BEGIN
    SELECT coalesce(max(f.seq), 0) AS seq, coalesce(max(f.purged_seq), 0) AS purged_seq,
           coalesce(max(f.generation), 0) AS generation
    INTO v_feed FROM public.user_sync_feed f WHERE f.user_id = p_user_id;
    IF NOT v_complete AND p_cursor > 0 AND p_cursor < v_feed.purged_seq THEN
        v_complete := true;                                                         -- 7.2
        v_after := 0;
    END IF;
    -- Rows up to the limit, and 1 MiB of documents, but at least one.
    SELECT coalesce(jsonb_agg(c.change ORDER BY c.seq) FILTER (WHERE c.told), '[]'),
           coalesce(max(c.seq), v_after)
    INTO v_changes, v_last
    FROM (SELECT d.seq,
                 v_complete OR NOT EXISTS (
                     SELECT FROM jsonb_array_elements(p_results) t
                     WHERE t.value ->> 'key' = d.data_key
                       AND (t.value -> 'version')::int = d.version) AS told,
                 jsonb_build_object(
                     'data_key', d.data_key, 'version', d.version, 'seq', d.seq,
                     'op', coalesce(r.op, 0), 'id', r.id, 'deleted', d.deleted,
                     'data', CASE WHEN d.deleted THEN '{}' ELSE d.data END,
                     'device_id', d.device_id, 'modified_at', bqsync.time_text(d.modified_at))
                 || CASE WHEN r.code > 0 THEN jsonb_build_object('refused', bqsync.code_word(r.code))
                         ELSE '{}' END AS change
          FROM (SELECT b.*, row_number() OVER (ORDER BY b.seq) AS place,
                       sum(b.n_bytes) OVER (ORDER BY b.seq) AS bytes
                FROM (SELECT v.data_key, v.version, v.seq, v.deleted, v.data, v.device_id,
                             v.modified_at, v.n_bytes
                      FROM public.user_sync_data_v2 v
                      WHERE v.user_id = p_user_id AND v.seq > v_after AND v_feed.seq > v_after
                      ORDER BY v.seq LIMIT least(p_limit, 500)) b) d
          LEFT JOIN public.user_sync_receipts p
                 ON p.user_id = p_user_id AND p.data_key = d.data_key
          LEFT JOIN LATERAL (SELECT x.op, x.id, x.code FROM bqsync.receipts(p.packed) x
                             WHERE x.device_id = p_device_id) r ON true
          WHERE d.place = 1 OR d.bytes <= 1048576) c;
    v_more := EXISTS (SELECT FROM public.user_sync_data_v2 v
                      WHERE v.user_id = p_user_id AND v.seq > v_last AND v_feed.seq > v_last);
    RETURN jsonb_build_object(
        'epoch', bqsync.store_epoch() || '.' || v_feed.generation,
        'status', CASE WHEN p_results IS NULL THEN 'epoch' ELSE 'ok' END,
        'server_time', bqsync.time_text(bqsync.time_of(bqsync.now_us())),
        'policies', bqsync.policies_version(),
        'cursor', CASE WHEN NOT v_more THEN v_feed.seq WHEN v_complete THEN -(v_last + 1)
                       ELSE v_last END,
        'more', v_more, 'complete', v_complete, 'results', coalesce(p_results, '[]'),
        'changes', v_changes);
END $$;

-- The parameters of sync_exchange, which refuse it as a whole.
CREATE OR REPLACE FUNCTION bqsync.exchange_check(p_device_id text, p_edits jsonb, p_cursor bigint,
                                                 p_limit int, p_policies int, p_proto int)
RETURNS void LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
    v_problem text;
BEGIN
    v_problem := CASE
        WHEN p_device_id IS NULL THEN '"p_device_id" is missing'
        WHEN NOT bqsync.is_name(p_device_id)
            THEN '"p_device_id" is not 1 to 128 bytes without controls'
        WHEN jsonb_typeof(p_edits) <> 'array' THEN '"p_edits" is not an array'
        WHEN abs(p_cursor) > 9007199254740992
            THEN '"p_cursor" is not an integer from -9007199254740992 to 9007199254740992'
        WHEN p_limit < 1 THEN '"p_limit" is not an integer from 1 to 9223372036854775807'
        WHEN p_policies < 0 THEN '"p_policies" is not an integer from 0 to 9007199254740992'
        WHEN p_proto <> 1 THEN '"p_proto" is not an integer from 1 to 1' END;
    IF v_problem IS NOT NULL THEN
        PERFORM bqsync.refuse(400, 'malformed', v_problem);
    END IF;
    IF jsonb_array_length(p_edits) > 100 THEN
        PERFORM bqsync.refuse(400, 'too_many_edits', format(
            '%s edits in one exchange, the limit is 100', jsonb_array_length(p_edits)));
    END IF;
END $$;

-- Push and pull in one trip.
DROP FUNCTION IF EXISTS public.sync_exchange(text, text, jsonb, bigint, int, int, int, uuid);
CREATE FUNCTION public.sync_exchange(
    p_device_id text, p_epoch text, p_edits jsonb, p_cursor bigint, p_limit int = 500,
    p_policies int = 0, p_proto int = 1, p_user_id uuid = NULL)
RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    v_user uuid := bqsync.caller_or_token(p_user_id, 'sync_exchange');
    v_edits jsonb := CASE jsonb_typeof(p_edits) WHEN 'null' THEN '[]'
                                                ELSE coalesce(p_edits, '[]') END;
    v_cursor bigint := coalesce(p_cursor, 0);
    v_limit int := coalesce(p_limit, 500);
    v_reads jsonb;
    v_results jsonb := '[]'::jsonb;
    v_writes boolean;
BEGIN
    PERFORM bqsync.check_numbers('p_edits', v_edits);
    PERFORM bqsync.exchange_check(p_device_id, v_edits, v_cursor, v_limit, p_policies, p_proto);
    v_writes := jsonb_array_length(v_edits) > 0 OR bqsync.shows_loss(v_user, p_device_id, v_cursor,
                                                                     '[]');
    IF v_writes THEN
        PERFORM bqsync.user_lock(v_user);
    ELSE
        PERFORM bqsync.user_check(v_user);
    END IF;
    IF p_epoch IS DISTINCT FROM bqsync.store_epoch() || '.' || coalesce(
           (SELECT f.generation FROM public.user_sync_feed f WHERE f.user_id = v_user), 0)
       AND p_epoch IS NOT NULL THEN
        v_results := NULL;
    ELSIF v_writes THEN
        SELECT coalesce(jsonb_agg(bqsync.edit_read(e.value) ORDER BY e.ordinality), '[]')
        INTO v_reads FROM jsonb_array_elements(v_edits) WITH ORDINALITY e;
        IF bqsync.shows_loss(v_user, p_device_id, v_cursor, v_reads) THEN
            UPDATE public.user_sync_feed f SET generation = f.generation + 1
            WHERE f.user_id = v_user;
            v_results := NULL;
        ELSE
            FOR i IN 0..jsonb_array_length(v_edits) - 1 LOOP
                v_results := v_results || jsonb_build_array(bqsync.edit_one(
                    v_user, p_device_id, v_reads -> i, v_edits -> i));
            END LOOP;
        END IF;
        PERFORM bqsync.user_end(v_user);
    END IF;
    RETURN bqsync.exchange_answer(v_user, p_device_id, v_cursor, v_limit, v_results);
END $$;

INSERT INTO public.user_sync_schema (version, name) VALUES (7, 'exchange')
ON CONFLICT (version) DO NOTHING;

-- ================================================================================================
-- 0008_old_clients.sql - atomic_sync_upsert: a whole document and an expected version, as the apps in the
-- field send them (docs/protocol.md, section 11). What src/core/old_client.c and upserts.c are in C.
--
-- What is remembered of a device on a key is the JSON of src/core/upserts.h, so that either side goes on
-- where the other one stopped. The fingerprints differ (here md5 of jsonb's text, marked `m`): a repeat
-- across such a change is no exact one, and is counted once as the last document with the same E.

-- One text per value. jsonb's own is one but for the scale of numbers (1.0 and 1).
CREATE OR REPLACE FUNCTION bqsync.json_canonical(p_value jsonb)
RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
DECLARE
    v_text text := p_value::text;
BEGIN
    -- A fraction that ends in 0 is seldom; then the text is taken to pieces: strings, numbers, the rest.
    IF v_text !~ '\.[0-9]*0($|[^0-9])' THEN
        RETURN v_text;
    END IF;
    RETURN (SELECT string_agg(CASE WHEN p.piece[1] ~ '^-?[0-9]'
                                   THEN trim_scale(p.piece[1]::numeric)::text
                                   ELSE p.piece[1] END, '' ORDER BY p.n)
            FROM regexp_matches(v_text,
                                '("(?:[^"\\]|\\.)*"|-?[0-9]+(?:\.[0-9]+)?|[^"0-9-]+)', 'g')
                 WITH ORDINALITY p (piece, n));
END $$;

CREATE OR REPLACE FUNCTION bqsync.upserts_fingerprint(p_document jsonb)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
    SELECT 'm' || md5(bqsync.json_canonical(p_document))
$$;

-- The action of an exact repeat (11.1); NULL: it is none. With E NULL the pair sent last alone counts.
CREATE OR REPLACE FUNCTION bqsync.upserts_repeat(p_memory jsonb, p_expected int, p_fingerprint text)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
    SELECT s.value ->> 2 FROM jsonb_array_elements(p_memory -> 'sent') WITH ORDINALITY s
    WHERE s.value ->> 0 IS NOT DISTINCT FROM p_expected::text AND s.value ->> 1 = p_fingerprint
      AND (p_expected IS NOT NULL OR s.ordinality = 1)
    ORDER BY s.ordinality LIMIT 1
$$;

-- The elements of a list, up to p_most and 64 KiB, without those of E where p_skip says so.
CREATE OR REPLACE FUNCTION bqsync.upserts_rest(p_list jsonb, p_most int, p_skip int)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
    SELECT coalesce(jsonb_agg(k.value ORDER BY k.place), '[]')
    FROM (SELECT r.value, r.place, row_number() OVER (ORDER BY r.place) AS n,
                 sum(bqsync.json_size(r.value) + 1) OVER (ORDER BY r.place) AS bytes
          FROM jsonb_array_elements(coalesce(p_list, '[]')) WITH ORDINALITY r (value, place)
          WHERE p_skip IS NULL OR r.value ->> 0 IS DISTINCT FROM p_skip::text) k
    WHERE k.n <= p_most AND k.bytes <= 65536
$$;

-- The memory with one more pair in front. p_counted is the document that counts as sent.
CREATE OR REPLACE FUNCTION bqsync.upserts_add(p_memory jsonb, p_expected int, p_fingerprint text,
                                              p_action text, p_counted jsonb, p_policy jsonb)
RETURNS jsonb LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
DECLARE
    v_sums jsonb := '[]'::jsonb;
    v_own jsonb;
BEGIN
    IF p_expected IS NOT NULL THEN
        v_own := bqsync.only_sums(p_counted, p_policy);
        IF v_own IS NOT NULL THEN
            v_sums := jsonb_build_array(jsonb_build_array(p_expected, v_own));
        END IF;
    END IF;
    RETURN jsonb_build_object(
        'sent', jsonb_build_array(jsonb_build_array(p_expected, p_fingerprint, p_action))
                || bqsync.upserts_rest(p_memory -> 'sent', 63, NULL),
        'sums', v_sums || bqsync.upserts_rest(p_memory -> 'sums', 15, p_expected),
        'last', CASE WHEN p_expected IS NOT NULL THEN jsonb_build_array(p_expected, p_counted)
                     ELSE coalesce(p_memory -> 'last', '[]') END);
END $$;

-- Keeps what is remembered within its limits: of a key the 16 devices that wrote last (true: some had
-- to go), of a user 256 memories with content.
CREATE OR REPLACE FUNCTION bqsync.upserts_trim(p_user_id uuid, p_key text)
RETURNS boolean LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    v_evicted boolean;
BEGIN
    DELETE FROM public.user_sync_upserts u
    WHERE u.user_id = p_user_id AND u.data_key = p_key AND u.device_id IN (
        SELECT o.device_id FROM public.user_sync_upserts o
        WHERE o.user_id = p_user_id AND o.data_key = p_key
        ORDER BY o.updated_at DESC, o.device_id COLLATE "C" OFFSET 16);
    v_evicted := FOUND;
    UPDATE public.user_sync_upserts u SET packed = NULL
    FROM (SELECT o.data_key, o.device_id FROM public.user_sync_upserts o
          WHERE o.user_id = p_user_id AND o.packed IS NOT NULL
          ORDER BY o.updated_at DESC, o.data_key COLLATE "C", o.device_id COLLATE "C"
          OFFSET 256) o
    WHERE u.user_id = p_user_id AND u.data_key = o.data_key AND u.device_id = o.device_id;
    RETURN v_evicted;
END $$;

-- `document` with each sum raised to what `base` has: a queue that sends out of order makes a count seem
-- to fall.
CREATE OR REPLACE FUNCTION bqsync.raise_sums(p_policy jsonb, p_base jsonb, p_document jsonb)
RETURNS jsonb LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
DECLARE
    v_result jsonb;
BEGIN
    IF p_policy = '"sum"' THEN
        RETURN CASE WHEN jsonb_typeof(p_base) = 'number' AND jsonb_typeof(p_document) = 'number'
                    AND p_document::numeric < p_base::numeric THEN p_base ELSE p_document END;
    END IF;
    IF jsonb_typeof(p_policy) <> 'object' OR jsonb_typeof(p_base) IS DISTINCT FROM 'object'
       OR jsonb_typeof(p_document) <> 'object' THEN
        RETURN p_document;
    END IF;
    SELECT jsonb_object_agg(d.key, CASE WHEN p_base ? d.key THEN bqsync.raise_sums(
               bqsync.policy_member(p_policy, d.key), p_base -> d.key, d.value) ELSE d.value END)
    INTO v_result FROM jsonb_each(p_document) d;
    RETURN coalesce(v_result, '{}');
END $$;

-- `document` with the top-level members that only `from` has: an old app drops fields that it does not
-- know, and does not mean their removal.
CREATE OR REPLACE FUNCTION bqsync.keep_members(p_from jsonb, p_document jsonb)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
    SELECT CASE WHEN jsonb_typeof(p_from) = 'object' AND jsonb_typeof(p_document) = 'object'
                THEN p_from || p_document ELSE p_document END
$$;

-- A merge patch (RFC 7396) of sums, which hold no null: members over members.
CREATE OR REPLACE FUNCTION bqsync.put_sums(p_base jsonb, p_sums jsonb)
RETURNS jsonb LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
DECLARE
    v_base jsonb := CASE WHEN jsonb_typeof(p_base) = 'object' THEN p_base ELSE '{}' END;
    v_result jsonb;
BEGIN
    IF p_sums IS NULL THEN
        RETURN p_base;
    ELSIF jsonb_typeof(p_sums) <> 'object' THEN
        RETURN p_sums;
    END IF;
    SELECT jsonb_object_agg(s.key, bqsync.put_sums(v_base -> s.key, s.value))
           FILTER (WHERE s.value <> 'null'),
           v_base - coalesce(array_agg(s.key) FILTER (WHERE s.value = 'null'), '{}')
    INTO v_result, v_base FROM jsonb_each(p_sums) s;
    RETURN v_base || coalesce(v_result, '{}');
END $$;

-- 11.5: the document that the app started from. known: it was found; queued: it is what this device
-- sent before with the same E.
CREATE OR REPLACE FUNCTION bqsync.upsert_base(p_doc bqsync.document, p_memory jsonb,
                                              p_remembered boolean, p_expected int,
                                              p_device_id text,
                                              OUT base jsonb, OUT known boolean,
                                              OUT queued boolean)
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
    v_sums jsonb;
    v_past record;
BEGIN
    known := true;
    SELECT s.value -> 1 INTO v_sums
    FROM jsonb_array_elements(p_memory -> 'sums') WITH ORDINALITY s
    WHERE s.value ->> 0 = p_expected::text ORDER BY s.ordinality LIMIT 1;
    queued := v_sums IS NOT NULL;
    IF p_memory -> 'last' ->> 0 = p_expected::text THEN
        base := p_memory -> 'last' -> 1;                                            -- 1
        queued := true;
        RETURN;
    END IF;
    SELECT * INTO v_past FROM bqsync.history_at(p_doc, p_expected);
    IF v_past.known THEN
        base := bqsync.put_sums(v_past.document, v_sums);                           -- 2
        RETURN;
    END IF;
    IF p_expected = 0 AND (v_sums IS NOT NULL OR NOT p_remembered
        AND NOT bqsync.receipts_evicted((p_doc).receipts)
        AND NOT EXISTS (SELECT FROM bqsync.receipts((p_doc).receipts) r
                        WHERE r.device_id = p_device_id)) THEN
        base := bqsync.put_sums('{}', v_sums);                                      -- 3
        RETURN;
    END IF;
    known := false;                                                                 -- 4
    queued := false;
END $$;

-- A failure as the apps know it. The word "invalid" files it under validation there.
CREATE OR REPLACE FUNCTION bqsync.upsert_failure(p_text text)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = '' AS $$
    SELECT jsonb_build_object('success', false, 'error', 'invalid document: ' || p_text,
                              'conflict', false)
$$;

CREATE OR REPLACE FUNCTION bqsync.upsert_answer(p_doc bqsync.document, p_action text)
RETURNS jsonb LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
    SELECT jsonb_build_object(
        'success', true, 'version', (p_doc).version, 'conflict', p_action = 'merged',
        'data', CASE WHEN (p_doc).version = 0 THEN 'null' WHEN (p_doc).deleted THEN '{}'
                     ELSE (p_doc).data END,
        'action', p_action)
$$;

-- Stores the value that came out, remembers what was sent, answers.
CREATE OR REPLACE FUNCTION bqsync.upsert_write(p_doc bqsync.document, p_value jsonb,
                                               p_action text, p_device_id text, p_memory jsonb,
                                               p_new_memory jsonb, p_edit jsonb)
RETURNS jsonb LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    v_doc bqsync.document := p_doc;
    v_device text := coalesce(p_device_id, '');
    v_changed boolean := bqsync.doc_value(p_doc) IS DISTINCT FROM p_value;
    v_refused text[];
    v_evicted boolean := false;
BEGIN
    IF v_changed THEN
        v_refused := bqsync.doc_check(p_doc, p_value);
        IF v_refused IS NOT NULL THEN
            RETURN bqsync.upsert_failure(v_refused[2]);
        END IF;
    END IF;
    INSERT INTO public.user_sync_upserts (user_id, data_key, device_id, updated_at, packed)
    VALUES ((p_doc).user_id, (p_doc).data_key, v_device, bqsync.time_of(bqsync.now_us()),
            p_new_memory)
    ON CONFLICT (user_id, data_key, device_id) DO UPDATE
    SET updated_at = excluded.updated_at, packed = excluded.packed;
    IF p_memory IS NULL THEN
        v_evicted := bqsync.upserts_trim((p_doc).user_id, (p_doc).data_key);
        IF v_evicted THEN
            v_doc.receipts := bqsync.receipts_evict(v_doc.receipts);
        END IF;
    END IF;
    IF v_changed THEN
        v_doc := bqsync.doc_write(
            v_doc, p_value, 0, p_device_id, jsonb_build_object('status', p_action)
            || CASE WHEN p_edit IS NULL THEN '{}' ELSE jsonb_build_object(
                   'edit', p_edit || jsonb_build_object(
                       'op', 0, 'prev', 0, 'id', '0000000000000000', 'key', (p_doc).data_key)) END);
    ELSIF v_evicted THEN
        PERFORM bqsync.doc_write_receipts(v_doc);
    END IF;
    PERFORM bqsync.user_end((p_doc).user_id);
    RETURN bqsync.upsert_answer(v_doc, p_action);
END $$;

-- 11.5: brings what was sent into what is there.
CREATE OR REPLACE FUNCTION bqsync.upsert_merge(p_doc bqsync.document, p_data jsonb,
                                               p_expected int, p_device_id text, p_memory jsonb,
                                               p_remembered boolean, p_fingerprint text,
                                               p_policy jsonb)
RETURNS jsonb LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    v_base record;
    v_counted jsonb := p_data;
    v_sent jsonb;
    v_field text := bqsync.epoch_field(p_policy);
    v_edit jsonb;
    v_merged record;
    v_memory jsonb;
BEGIN
    SELECT * INTO v_base FROM bqsync.upsert_base(p_doc, p_memory, p_remembered, p_expected,
                                                 coalesce(p_device_id, ''));
    IF v_base.known THEN
        IF v_base.queued THEN
            v_counted := bqsync.raise_sums(p_policy, v_base.base, p_data);
        END IF;
        v_sent := v_counted;
        IF jsonb_typeof(p_policy) = 'object' AND p_policy ? 'fields' THEN
            v_sent := bqsync.keep_members(v_base.base, v_sent);
        END IF;
        v_edit := bqsync.merge_diff(v_base.base, v_sent, p_policy);
    ELSE
        v_edit := jsonb_build_object('seed', true, 'now', p_data)
                  || CASE WHEN v_field IS NULL THEN '{}' ELSE jsonb_build_object(
                         'epoch', bqsync.epoch_of(p_data, v_field)) END;
    END IF;
    v_memory := bqsync.upserts_add(p_memory, p_expected, p_fingerprint, 'merged', v_counted,
                                   p_policy);
    IF v_edit IS NULL THEN
        RETURN bqsync.upsert_write(p_doc, (p_doc).data, 'merged', p_device_id, p_memory, v_memory,
                                   NULL);
    END IF;
    v_edit := v_edit || '{"base": -1}';     -- it was made on an older version, whatever its number
    SELECT * INTO v_merged FROM bqsync.merge_apply(
        bqsync.doc_value(p_doc), (p_doc).version, (p_doc).deleted, (p_doc).epoch, v_edit, p_policy,
        CASE WHEN v_base.known THEN 'edit' ELSE 'seed' END);
    IF v_merged.status = 'out_of_range' THEN
        RETURN bqsync.upsert_failure(bqsync.code_sentence(v_merged.status));
    END IF;
    RETURN bqsync.upsert_write(p_doc, v_merged.document, 'merged', p_device_id, p_memory, v_memory,
                               v_edit);
END $$;

-- V2's call, its signature to the letter.
DROP FUNCTION IF EXISTS public.atomic_sync_upsert(uuid, text, jsonb, int, text);
CREATE FUNCTION public.atomic_sync_upsert(p_user_id uuid, p_data_key text, p_data jsonb,
                                          p_expected_version int, p_device_id text DEFAULT NULL)
RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    v_user uuid := bqsync.caller(p_user_id, 'atomic_sync_upsert');
    v_doc bqsync.document;
    v_policy jsonb;
    v_fingerprint text;
    v_memory jsonb;
    v_remembered boolean;
    v_action text;
    v_value jsonb := p_data;
BEGIN
    PERFORM bqsync.check_numbers('p_data', p_data);
    PERFORM bqsync.user_lock(v_user);
    IF NOT bqsync.is_key(p_data_key) THEN
        RETURN bqsync.upsert_failure(bqsync.code_sentence('bad_key'));
    ELSIF p_data IS NULL THEN
        RETURN bqsync.upsert_failure('p_data is null');
    ELSIF octet_length(p_device_id) > 128 THEN
        RETURN bqsync.upsert_failure('p_device_id has over 128 bytes');
    ELSIF bqsync.json_deeper(p_data, bqsync.limit_depth_of_edits()) THEN
        RETURN bqsync.upsert_failure(bqsync.code_sentence('too_deep'));
    END IF;
    v_policy := bqsync.policy_of(p_data_key);
    v_doc := bqsync.doc_load(v_user, p_data_key);
    SELECT u.packed INTO v_memory FROM public.user_sync_upserts u
    WHERE u.user_id = v_user AND u.data_key = p_data_key
      AND u.device_id = coalesce(p_device_id, '');
    v_remembered := FOUND;
    v_fingerprint := bqsync.upserts_fingerprint(p_data);
    v_action := bqsync.upserts_repeat(v_memory, p_expected_version, v_fingerprint);
    IF v_action IS NOT NULL THEN                                                    -- 11.1
        RETURN bqsync.upsert_answer(v_doc, v_action);
    END IF;
    IF bqsync.json_size(p_data) > greatest(bqsync.limit_of('document_bytes'),
                                           bqsync.json_size((v_doc).data)) THEN
        RETURN bqsync.upsert_failure(bqsync.code_sentence('too_large'));
    END IF;
    IF (v_doc).version = 0 OR (v_doc).deleted THEN                                  -- 11.2
        v_action := 'inserted';
    ELSIF p_expected_version IS NULL THEN                                           -- 11.3
        v_action := 'updated';
    ELSIF p_expected_version = (v_doc).version THEN                                 -- 11.4
        v_action := 'updated';
        IF jsonb_typeof(v_policy) = 'object' AND v_policy ? 'fields' THEN
            v_value := bqsync.keep_members((v_doc).data, p_data);
        END IF;
    ELSE                                                                            -- 11.5
        RETURN bqsync.upsert_merge(v_doc, p_data, p_expected_version, p_device_id, v_memory,
                                   v_remembered, v_fingerprint, v_policy);
    END IF;
    RETURN bqsync.upsert_write(
        v_doc, v_value, v_action, p_device_id, v_memory,
        bqsync.upserts_add(v_memory, p_expected_version, v_fingerprint, v_action, p_data, v_policy),
        NULL);
END $$;

INSERT INTO public.user_sync_schema (version, name) VALUES (8, 'old_clients')
ON CONFLICT (version) DO NOTHING;

-- ================================================================================================
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

-- ================================================================================================
-- 0010_v1.sql - the first system: one row a user, {"<key>": {"value": ..., "timestamp": ...}, ...}, read
-- key by key (docs/protocol.md, section 12). What src/core/v1.c is in C.
--
-- Here user_sync_data is a real table, because its apps upsert into it and listen to it, and triggers keep
-- it in step both ways: what is written into the row is brought into the documents, and the row then
-- shows them; a document that changes is shown in the row of a user who has one. A key that is
-- refused (too large, no key at all) stays in the row as it was sent, and nowhere else. `shown` tells the
-- rows that are in step from those of before that nobody migrated.
--
-- bqsync.v1 tells the triggers which of the two ways is on: 'reads' or 'shows'.

-- A document as the row shows it.
CREATE OR REPLACE FUNCTION bqsync.v1_entry(p_data jsonb, p_modified_at timestamptz)
RETURNS jsonb LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
    SELECT jsonb_build_object('value', p_data, 'timestamp', to_char(
        date_trunc('milliseconds', p_modified_at) AT TIME ZONE 'UTC',
        'YYYY-MM-DD"T"HH24:MI:SS.MS"+00:00"'))
$$;

CREATE OR REPLACE FUNCTION bqsync.v1_row(p_user_id uuid)
RETURNS jsonb LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT coalesce(jsonb_object_agg(d.data_key, bqsync.v1_entry(d.data, d.modified_at)), '{}')
    FROM public.user_sync_data_v2 d WHERE d.user_id = p_user_id AND NOT d.deleted
$$;

-- 12.1: whether a time is one that we show for the present or a kept earlier version.
CREATE OR REPLACE FUNCTION bqsync.v1_is_echo(p_doc bqsync.document, p_time timestamptz)
RETURNS boolean LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
    v_ms bigint := bqsync.us_of(p_time) / 1000;
    v_id bigint := (p_doc).history;
    v_entry record;
BEGIN
    IF p_time IS NULL THEN
        RETURN false;
    END IF;
    IF (p_doc).version > 0 AND (p_doc).modified_us / 1000 = v_ms THEN
        RETURN true;
    END IF;
    FOR i IN 1..bqsync.limit_of('history') LOOP
        SELECT h.older, h.entry ->> 'at' AS at, h.entry ->> 'from' AS before
        INTO v_entry FROM public.user_sync_history h
        WHERE h.user_id = (p_doc).user_id AND h.id = v_id;
        EXIT WHEN NOT FOUND;
        IF v_ms IN (bqsync.us_of(bqsync.parse_time(v_entry.at)) / 1000,
                    bqsync.us_of(bqsync.parse_time(v_entry.before)) / 1000) THEN
            RETURN true;
        END IF;
        v_id := v_entry.older;
    END LOOP;
    RETURN false;
END $$;

-- One key of a row. Code and sentence of a refusal, or NULL. p_mode: 'v1' is a write of an app, 'seed' a
-- row that is migrated, which no limit refuses.
CREATE OR REPLACE FUNCTION bqsync.v1_key(p_user_id uuid, p_key text, p_entry jsonb, p_mode text)
RETURNS text[] LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    v_wrapped boolean := jsonb_typeof(p_entry) = 'object' AND p_entry ?& '{value,timestamp}';
    v_value jsonb := CASE WHEN v_wrapped THEN p_entry -> 'value' ELSE p_entry END;
    v_time timestamptz := CASE WHEN v_wrapped AND jsonb_typeof(p_entry -> 'timestamp') = 'string'
                               THEN bqsync.parse_time(p_entry ->> 'timestamp') END;
    v_policy jsonb;
    v_edit jsonb;
    v_doc bqsync.document;
    v_merged record;
    v_refused text[];
BEGIN
    IF NOT bqsync.is_key(p_key) THEN
        RETURN ARRAY['bad_key', bqsync.code_sentence('bad_key')];
    ELSIF bqsync.json_deeper(v_value, bqsync.limit_depth_of_edits()) THEN
        RETURN ARRAY['too_deep', bqsync.code_sentence('too_deep')];
    END IF;
    v_doc := bqsync.doc_load(p_user_id, p_key);
    IF bqsync.v1_is_echo(v_doc, v_time) THEN
        RETURN NULL;
    END IF;
    v_policy := bqsync.policy_of(p_key);
    -- A tombstone that the app never heard of does not refuse its write.
    v_edit := jsonb_build_object(
        'seed', true, 'now', v_value, 'base',
        CASE WHEN (v_doc).deleted THEN (v_doc).version ELSE -1 END)
        || CASE WHEN bqsync.epoch_field(v_policy) IS NULL THEN '{}' ELSE jsonb_build_object(
               'epoch', bqsync.epoch_of(v_value, bqsync.epoch_field(v_policy))) END;
    SELECT * INTO v_merged FROM bqsync.merge_apply(
        bqsync.doc_value(v_doc), (v_doc).version, (v_doc).deleted, (v_doc).epoch, v_edit, v_policy,
        p_mode);
    IF v_merged.status = 'out_of_range' THEN
        RETURN ARRAY['out_of_range', bqsync.code_sentence('out_of_range')];
    ELSIF NOT v_merged.changed THEN
        RETURN NULL;
    END IF;
    v_refused := bqsync.doc_check(v_doc, v_merged.document);
    IF v_refused IS NOT NULL AND (p_mode = 'v1' OR v_refused[1] = 'version_limit') THEN
        RETURN v_refused;
    END IF;
    PERFORM bqsync.doc_write(v_doc, v_merged.document, 0, NULL, jsonb_build_object(
        'status', 'v1', 'edit', v_edit || jsonb_build_object(
            'op', 0, 'prev', 0, 'id', '0000000000000000', 'key', p_key)));
    RETURN NULL;
END $$;

-- A whole row; the entries that were refused, to stay in it. The user is locked.
CREATE OR REPLACE FUNCTION bqsync.v1_read(p_user_id uuid, p_data jsonb, p_mode text,
                                          OUT refused jsonb, OUT problem text[])
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    v_names bigint;
    v_keys bigint;
    v_refused text[];
    v_entry record;
BEGIN
    refused := '{}';
    IF jsonb_typeof(p_data) IS DISTINCT FROM 'object' THEN
        problem := ARRAY['malformed', 'the row is no object'];
        RETURN;
    END IF;
    SELECT count(*) INTO v_names FROM jsonb_object_keys(p_data);
    SELECT f.n_keys INTO v_keys FROM public.user_sync_feed f WHERE f.user_id = p_user_id;
    IF p_mode = 'v1' AND v_names > bqsync.limit_of('keys') AND v_names > v_keys THEN
        problem := ARRAY['too_many_keys', format('the row names %s keys, the limit is %s', v_names,
                                                 bqsync.limit_of('keys'))];
        refused := p_data;
        RETURN;
    END IF;
    FOR v_entry IN SELECT e.key, e.value FROM jsonb_each(p_data) e LOOP
        v_refused := bqsync.v1_key(p_user_id, v_entry.key, v_entry.value, p_mode);
        IF v_refused IS NOT NULL THEN
            problem := coalesce(problem, v_refused);
            refused := refused || jsonb_build_object(v_entry.key, v_entry.value);
        END IF;
    END LOOP;
    PERFORM bqsync.user_end(p_user_id);
END $$;

-- ---- The row is written ---------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION bqsync.v1_written()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    v_refused jsonb := '{}'::jsonb;
BEGIN
    IF coalesce(current_setting('bqsync.v1', true), '') <> '' THEN
        RETURN NEW;
    END IF;
    IF TG_OP = 'UPDATE' AND NEW.user_id IS DISTINCT FROM OLD.user_id THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
            MESSAGE = 'a row of user_sync_data stays its user''s';
    END IF;
    NEW.user_id := bqsync.caller(NEW.user_id, 'user_sync_data');
    PERFORM bqsync.check_numbers('data', NEW.data);
    PERFORM bqsync.user_lock(NEW.user_id);
    PERFORM set_config('bqsync.v1', 'reads', true);
    IF NEW.data IS NOT NULL AND NEW.data <> 'null' THEN
        SELECT r.refused INTO v_refused FROM bqsync.v1_read(NEW.user_id, NEW.data, 'v1') r;
    END IF;
    PERFORM set_config('bqsync.v1', '', true);
    -- What was refused stays in the row, past all that counts documents.
    IF octet_length(v_refused::text) > bqsync.quota() THEN
        PERFORM bqsync.refuse(413, 'quota', format('the keys that are refused have over %s bytes',
                                                   bqsync.quota()));
    END IF;
    NEW.data := v_refused || bqsync.v1_row(NEW.user_id);
    NEW.shown := true;
    NEW.created_at := CASE TG_OP WHEN 'UPDATE' THEN OLD.created_at
                                 ELSE bqsync.time_of(bqsync.now_us()) END;
    NEW.updated_at := bqsync.time_of(bqsync.now_us());
    RETURN NEW;
END $$;

-- An app's UPDATE or DELETE locks its row before the triggers of the row run, and whoever writes a document
-- locks the user first and that row then: so the user is locked before either.
CREATE OR REPLACE FUNCTION bqsync.v1_lock()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    IF coalesce(current_setting('bqsync.v1', true), '') <> '' OR bqsync.is_service() THEN
        RETURN NULL;
    END IF;
    PERFORM FROM public.user_sync_feed f WHERE f.user_id = auth.uid() FOR UPDATE;
    RETURN NULL;
END $$;

-- Deleting the row deletes the documents; the row stays, empty: an SQL DELETE would be shown to everybody
-- who listens. An operator's own DELETE is one.
CREATE OR REPLACE FUNCTION bqsync.v1_deleted()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    IF current_setting('role') = 'none' OR current_setting('bqsync.v1', true) = 'shows' THEN
        RETURN OLD;
    END IF;
    PERFORM bqsync.caller(OLD.user_id, 'user_sync_data');
    PERFORM bqsync.user_lock(OLD.user_id);
    PERFORM bqsync.delete_all(OLD.user_id);
    PERFORM set_config('bqsync.v1', 'shows', true);
    UPDATE public.user_sync_data v SET data = '{}' WHERE v.user_id = OLD.user_id;
    PERFORM set_config('bqsync.v1', '', true);
    RETURN NULL;
END $$;

-- ---- A document is written ------------------------------------------------------------------------

-- Of all documents that a statement wrote, those of users who have a v1 row.
CREATE OR REPLACE FUNCTION bqsync.v1_show()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    IF coalesce(current_setting('bqsync.v1', true), '') = 'reads' THEN
        RETURN NULL;
    END IF;
    PERFORM set_config('bqsync.v1', 'shows', true);
    UPDATE public.user_sync_data v
    SET data = (v.data - w.keys) || w.entries, updated_at = greatest(v.updated_at, w.at)
    FROM (SELECT d.user_id, array_agg(d.data_key) AS keys, max(d.modified_at) AS at,
                 coalesce(jsonb_object_agg(d.data_key, bqsync.v1_entry(d.data, d.modified_at))
                          FILTER (WHERE NOT d.deleted), '{}') AS entries
          FROM written d
          WHERE d.version > 0
            AND EXISTS (SELECT FROM public.user_sync_data s WHERE s.user_id = d.user_id AND s.shown)
          GROUP BY d.user_id) w
    WHERE v.user_id = w.user_id AND v.shown;
    PERFORM set_config('bqsync.v1', '', true);
    RETURN NULL;
END $$;

DROP TRIGGER IF EXISTS bq_v1_lock ON public.user_sync_data;
CREATE TRIGGER bq_v1_lock BEFORE UPDATE OR DELETE ON public.user_sync_data
    FOR EACH STATEMENT EXECUTE FUNCTION bqsync.v1_lock();
DROP TRIGGER IF EXISTS bq_v1_written ON public.user_sync_data;
CREATE TRIGGER bq_v1_written BEFORE INSERT OR UPDATE ON public.user_sync_data
    FOR EACH ROW EXECUTE FUNCTION bqsync.v1_written();
DROP TRIGGER IF EXISTS bq_v1_deleted ON public.user_sync_data;
CREATE TRIGGER bq_v1_deleted BEFORE DELETE ON public.user_sync_data
    FOR EACH ROW EXECUTE FUNCTION bqsync.v1_deleted();
DROP TRIGGER IF EXISTS bq_v1_show_new ON public.user_sync_data_v2;
CREATE TRIGGER bq_v1_show_new AFTER INSERT ON public.user_sync_data_v2
    REFERENCING NEW TABLE AS written
    FOR EACH STATEMENT EXECUTE FUNCTION bqsync.v1_show();
DROP TRIGGER IF EXISTS bq_v1_show_changed ON public.user_sync_data_v2;
CREATE TRIGGER bq_v1_show_changed AFTER UPDATE ON public.user_sync_data_v2
    REFERENCING NEW TABLE AS written
    FOR EACH STATEMENT EXECUTE FUNCTION bqsync.v1_show();

-- ---- v1's calls -----------------------------------------------------------------------------------

-- Signatures of the first system; false where something was refused.
DROP FUNCTION IF EXISTS public.atomic_sync_data(uuid, jsonb);
CREATE FUNCTION public.atomic_sync_data(target_user_id uuid, new_data jsonb)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    v_user uuid := bqsync.caller(target_user_id, 'atomic_sync_data');
    v_problem text[];
BEGIN
    PERFORM bqsync.check_numbers('new_data', new_data);
    PERFORM bqsync.user_lock(v_user);
    SELECT r.problem INTO v_problem FROM bqsync.v1_read(v_user, new_data, 'v1') r;
    RETURN v_problem IS NULL;
END $$;

DROP FUNCTION IF EXISTS public.atomic_add_device(uuid, text, text, text);
CREATE FUNCTION public.atomic_add_device(target_user_id uuid, device_id_param text,
                                         device_name_param text, device_type_param text)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    v_user uuid := bqsync.caller(target_user_id, 'atomic_add_device');
    v_now timestamptz := bqsync.time_of(bqsync.now_us());
BEGIN
    PERFORM bqsync.user_lock(v_user);
    IF NOT bqsync.is_name(device_id_param) OR octet_length(device_name_param) > 256
       OR octet_length(device_type_param) > 256 THEN
        RETURN false;
    END IF;
    INSERT INTO public.user_devices (user_id, device_id, device_name, device_type, last_sync,
                                     created_at)
    VALUES (v_user, device_id_param, device_name_param, device_type_param, v_now, v_now)
    ON CONFLICT (user_id, device_id) DO UPDATE
    SET device_name = excluded.device_name, device_type = excluded.device_type,
        last_sync = excluded.last_sync;
    DELETE FROM public.user_devices d WHERE d.user_id = v_user AND d.device_id IN (
        SELECT o.device_id FROM public.user_devices o WHERE o.user_id = v_user
        ORDER BY o.last_sync DESC, o.device_id COLLATE "C" OFFSET 256);
    RETURN true;
END $$;

DROP FUNCTION IF EXISTS public.atomic_remove_device(uuid, text);
CREATE FUNCTION public.atomic_remove_device(target_user_id uuid, device_id_param text)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    v_user uuid := bqsync.caller(target_user_id, 'atomic_remove_device');
BEGIN
    PERFORM bqsync.user_lock(v_user);
    DELETE FROM public.user_devices d
    WHERE d.user_id = v_user AND d.device_id = device_id_param;
    RETURN FOUND;
END $$;

-- Brings every v1 row into the documents, as seeds: what is there already stays. Afterwards the rows show
-- the documents, so a second run finds nothing but echoes and changes nothing.
DROP FUNCTION IF EXISTS public.migrate_sync_data_v1_to_v2();
CREATE FUNCTION public.migrate_sync_data_v1_to_v2()
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    v_row record;
    v_read record;
BEGIN
    PERFORM bqsync.service_only('migrate_sync_data_v1_to_v2');
    FOR v_row IN SELECT v.user_id FROM public.user_sync_data v
                 WHERE NOT EXISTS (SELECT FROM public.user_sync_feed f
                                   WHERE f.user_id = v.user_id AND f.erased)
                 ORDER BY v.user_id LOOP
        PERFORM bqsync.user_lock(v_row.user_id);
        PERFORM set_config('bqsync.v1', 'reads', true);
        SELECT r.refused, r.problem INTO v_read FROM public.user_sync_data v,
            bqsync.v1_read(v.user_id, v.data, 'seed') r WHERE v.user_id = v_row.user_id;
        PERFORM set_config('bqsync.v1', 'shows', true);
        UPDATE public.user_sync_data v
        SET data = v_read.refused || bqsync.v1_row(v.user_id), shown = true
        WHERE v.user_id = v_row.user_id AND v_read.problem[1] IS DISTINCT FROM 'malformed';
        PERFORM set_config('bqsync.v1', '', true);
    END LOOP;
END $$;

INSERT INTO public.user_sync_schema (version, name) VALUES (10, 'v1')
ON CONFLICT (version) DO NOTHING;

-- ================================================================================================
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

-- ================================================================================================
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
