#!/usr/bin/env bash
# moving_postgres_test.sh - a migration while things go wrong in PostgreSQL: its backend is killed at
# each statement that writes; old apps go on writing (docs/migration.md).
. tests/lib/shell.sh
. tests/lib/postgres.sh

sample=$root/examples/v1_user_sync_data.jsonl

open_cluster() {
    cluster=$(mktemp -d /tmp/bqpg.XXXXXX)
    postgres_start "$cluster" fsync=off
    trap 'postgres_stop "$cluster"; rm -rf "$cluster"' EXIT
}

migrate() {
    bq migrate --from "$1" --to "$2" --json
}

ask() {
    psql -qXAt -v ON_ERROR_STOP=1 -d "$1" -c "$2"
}

# Statement number bq.kill_at of those that write ends its backend; a commit counts as one too. The
# sequence goes on where a transaction is rolled back.
set_the_trap() {
    psql -qX -v ON_ERROR_STOP=1 -d "$1" <<'SQL'
CREATE SEQUENCE statements;
CREATE FUNCTION count_statement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF nextval('public.statements') = current_setting('bq.kill_at', true)::bigint THEN
        PERFORM pg_terminate_backend(pg_backend_pid());
        PERFORM pg_sleep(10);
    END IF;
    RETURN NULL;
END $$;
DO $$
DECLARE
    v_table text;
BEGIN
    FOREACH v_table IN ARRAY ARRAY['user_sync_data_v2', 'user_sync_feed', 'user_sync_receipts',
                                   'user_sync_history'] LOOP
        EXECUTE format('CREATE TRIGGER count_before BEFORE INSERT OR UPDATE ON %I FOR EACH STATEMENT
            EXECUTE FUNCTION count_statement()', v_table);
        EXECUTE format('CREATE TRIGGER count_after AFTER INSERT OR UPDATE ON %I FOR EACH STATEMENT
            EXECUTE FUNCTION count_statement()', v_table);
    END LOOP;
END $$;
CREATE CONSTRAINT TRIGGER count_commit AFTER INSERT ON user_sync_feed DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.user_id::text LIKE '1%') EXECUTE FUNCTION count_statement();
SQL
}

case_a_killed_backend_loses_and_doubles_nothing() {
    open_cluster
    createdb whole
    createdb broken
    local store="postgres://postgres@/broken?host=$cluster" k=0 n_killed=0 n_new n_again
    head "-${BQ_LONG:+3}40" "$sample" >rows # one batch; long: two
    migrate rows "postgres://postgres@/whole?host=$cluster" >out
    local documents
    documents=$(sed 's/.*"new":\([0-9]*\).*/\1/' out)
    # Two stores differ in their fingerprints' keys alone.
    bq export - --store "postgres://postgres@/whole?host=$cluster" | tail -n +2 >wanted
    : >empty
    migrate empty "$store" >/dev/null
    set_the_trap broken
    while ((++k)); do
        ask broken "TRUNCATE user_sync_data_v2, user_sync_feed, user_sync_receipts, user_sync_history"
        ask broken "ALTER SEQUENCE statements RESTART" >/dev/null
        ask broken "ALTER DATABASE broken SET bq.kill_at = $k"
        if migrate rows "$store" >out 2>err; then
            break
        fi
        says err 'running it again goes on'
        n_killed=$((n_killed + 1))
        ask broken "ALTER DATABASE broken RESET bq.kill_at"
        local there
        there=$(ask broken 'SELECT count(*) FROM user_sync_data_v2')
        code 0 migrate rows "$store"
        n_again=$(sed 's/.*"again":\([0-9]*\).*/\1/' out)
        n_new=$(sed 's/.*"new":\([0-9]*\).*/\1/' out)
        same "$there" "$n_again"
        same "$documents" "$((n_again + n_new))"
        bq export - --store "$store" | tail -n +2 | cmp - wanted
        code 0 migrate rows "$store"
        says out "\"new\":0,\"replaced\":0,\"merged\":0,\"kept\":0,\"deleted\":0,\"again\":$documents,"
    done
    echo "killed at $n_killed statements"
    test "$n_killed" -ge 8 || { echo "only $n_killed kills" >&2; return 1; }
}

case_old_apps_go_on_during_a_migration_and_nothing_is_lost() {
    open_cluster
    createdb old
    local from="postgres://postgres@/old?host=$cluster"
    psql -qX -d old -c 'CREATE TABLE user_sync_data (user_id uuid PRIMARY KEY, data jsonb,
        created_at timestamptz DEFAULT now(), updated_at timestamptz DEFAULT now())'
    migrate "$sample" sqlite:first.db >/dev/null
    bq rollback --store sqlite:first.db --to v1 --target v1.csv >/dev/null
    psql -qX -d old -c "\\copy user_sync_data FROM 'v1.csv' csv header"
    # An old app changes a key of one user after the other, under its own clock, while rows stream.
    (
        local i
        for i in {1..60}; do
            ask old "UPDATE user_sync_data SET updated_at = now(), data = data || jsonb_build_object('late',
                jsonb_build_object('value', jsonb_build_object('n', $i), 'timestamp', now()))
                WHERE user_id = (SELECT user_id FROM user_sync_data ORDER BY user_id OFFSET $i LIMIT 1)"
        done
    ) &
    local app=$!
    code 0 migrate "$from" sqlite:store.db
    code 0 migrate "$from" sqlite:store.db
    wait "$app"
    # A new app goes on with what is here already; the last run brings the old app's rest.
    code 0 migrate "$from" sqlite:store.db
    code 0 bq verify --from "$from" --to sqlite:store.db --json
    says out '"green":true'
    same 60 "$(sqlite3 store.db "SELECT count(*) FROM user_sync_data_v2 WHERE data_key = 'late'")"
    sqlite3 store.db .dump >before
    code 0 migrate "$from" sqlite:store.db
    sqlite3 store.db .dump >after
    cmp before after
}

# Row level security shows a role that it is not meant for no rows at all, without an error.
case_hidden_rows_are_an_error_and_not_a_success() {
    open_cluster
    createdb old
    psql -qX -v ON_ERROR_STOP=1 -d old -c 'CREATE ROLE mover LOGIN' -c 'CREATE TABLE user_sync_data (user_id uuid
        PRIMARY KEY, data jsonb, created_at timestamptz DEFAULT now(), updated_at timestamptz DEFAULT now())' \
        -c "INSERT INTO user_sync_data VALUES ('10000000-0000-4000-8000-000000000001', '{\"a\": 1}')" \
        -c 'ALTER TABLE user_sync_data ENABLE ROW LEVEL SECURITY' -c 'GRANT SELECT ON user_sync_data TO mover'
    local from="postgres://mover@/old?host=$cluster"
    code 1 migrate "$from" sqlite:store.db
    says err 'row-level security'
    code 1 bq verify --from "$from" --to sqlite:store.db
    says err 'row-level security'
    psql -qX -d old -c 'ALTER ROLE mover BYPASSRLS'
    code 0 migrate "$from" sqlite:store.db
    says out '"rows":1,"new":1,'
}

run_cases
