-- postgres_plain.sql - the yardstick of `scripts/bench BUILD postgres`: what an app's own upsert
-- function in PL/pgSQL does, one row a call: the row lock, a merge in jsonb, one commit.
CREATE TABLE plain_sync (
    user_id uuid NOT NULL,
    data_key text NOT NULL,
    data jsonb NOT NULL,
    version int NOT NULL,
    device_id text,
    modified_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, data_key)
);

CREATE FUNCTION plain_user(p_number int) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT ('00000000-0000-4000-8000-' || lpad(p_number::text, 12, '0'))::uuid
$$;

CREATE FUNCTION plain_upsert(p_user_id uuid, p_data_key text, p_data jsonb, p_expected int,
                             p_device_id text)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_row plain_sync;
    v_data jsonb := p_data;
BEGIN
    SELECT * INTO v_row FROM plain_sync
    WHERE user_id = p_user_id AND data_key = p_data_key FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO plain_sync (user_id, data_key, data, version, device_id)
        VALUES (p_user_id, p_data_key, p_data, 1, p_device_id);
        RETURN jsonb_build_object('success', true, 'version', 1, 'conflict', false,
                                  'data', p_data, 'action', 'inserted');
    END IF;
    IF p_expected IS NOT NULL AND p_expected <> v_row.version THEN
        v_data := v_row.data || jsonb_build_object(
            'score', greatest((v_row.data->>'score')::int, (p_data->>'score')::int),
            'currentStreak',
            greatest((v_row.data->>'currentStreak')::int, (p_data->>'currentStreak')::int),
            'incorrectAnswers',
            coalesce((v_row.data->>'incorrectAnswers')::int, 0) +
            coalesce((p_data->>'incorrectAnswers')::int, 0));
    END IF;
    UPDATE plain_sync
    SET data = v_data, version = v_row.version + 1, device_id = p_device_id, modified_at = now()
    WHERE user_id = p_user_id AND data_key = p_data_key;
    RETURN jsonb_build_object('success', true, 'version', v_row.version + 1,
                              'conflict', v_data <> p_data, 'data', v_data,
                              'action', CASE WHEN v_data = p_data THEN 'updated' ELSE 'merged' END);
END $$;

INSERT INTO plain_sync (user_id, data_key, data, version)
SELECT plain_user(n), 'game_stats', '{"score":1,"currentStreak":1,"incorrectAnswers":1}', 1
FROM generate_series(1, 1000) n;
