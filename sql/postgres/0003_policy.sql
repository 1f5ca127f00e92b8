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
