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
