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
