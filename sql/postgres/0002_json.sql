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
