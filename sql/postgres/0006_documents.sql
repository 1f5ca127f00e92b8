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
