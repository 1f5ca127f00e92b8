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
