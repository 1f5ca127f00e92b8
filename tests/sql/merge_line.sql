-- merge_line.sql - `bqsync merge` on top of the functions: a line in, a line out. For tests alone.
CREATE SCHEMA IF NOT EXISTS test;
CREATE OR REPLACE FUNCTION test.merge_line(p_line text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    l jsonb := p_line::jsonb;
    v_policy jsonb := coalesce(l -> 'policy', '"incoming"');
    v_version bigint := coalesce((l ->> 'version')::bigint, 0);
    v_deleted boolean := coalesce((l ->> 'deleted')::boolean, false);
    v_document jsonb := l -> 'document';
    r record;
BEGIN
    IF v_document = 'null' AND (v_version = 0 OR v_deleted) THEN
        v_document := NULL;
    END IF;
    IF bqsync.policy_check(v_policy) IS NOT NULL THEN
        RETURN jsonb_build_object('error', 'bad_policy');
    END IF;
    SELECT * INTO r FROM bqsync.merge_apply(
        v_document, v_version, v_deleted, coalesce((l ->> 'epoch')::bigint, 0), l -> 'edit',
        v_policy, CASE WHEN l -> 'edit' -> 'seed' IS DISTINCT FROM 'true' THEN 'edit'
                       WHEN (l ->> 'v1')::boolean THEN 'v1' ELSE 'seed' END);
    IF r.status = 'out_of_range' THEN
        RETURN jsonb_build_object('error', r.status);
    END IF;
    RETURN jsonb_build_object('status', r.status, 'changed', r.changed)
           || CASE WHEN r.deleted THEN jsonb_build_object('deleted', true, 'epoch', r.epoch)
                   WHEN r.document IS NULL THEN '{}'
                   ELSE jsonb_build_object('document', r.document) END;
END $$;
