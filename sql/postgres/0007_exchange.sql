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
