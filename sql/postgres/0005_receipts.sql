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
