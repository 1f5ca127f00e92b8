#!/usr/bin/env bash
# sql.sh - the suite sql (docs/reliability.md): sql/postgres installed over nothing, over v1, over V2, over
# both with rows, twice, as one file, and in partitions; what is there and who may do what
# (tests/sql/security.sql); holes made on purpose, which it must find; plpgsql_check.
set -u -o pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/postgres.sh
fixtures=tests/sql/fixtures
one=database/user_sync_data_v2.sql
partitions=sql/postgres/options/partitions.sql
folder=$(mktemp -d /tmp/bq-sql.XXXXXX)
trap 'postgres_stop "$folder" immediate; rm -rf "$folder"' EXIT
postgres_start "$folder" fsync=off wal_level=logical || exit 1
good=0
bad=0

note() {
    if [[ $1 == 0 ]]; then
        good=$((good + 1))
    else
        bad=$((bad + 1))
        echo "sql: $2 failed"
    fi
}

# tap NAME FILE: the tests of a pgTAP file in $PGDATABASE, each counted; its own failures are shown.
tap() {
    local out=$folder/tap n_good n_bad
    psql -X -f "$2" >"$out" 2>&1
    n_good=$(grep -c '^ok' "$out")
    n_bad=$(grep -c -e '^not ok' -e 'ERROR:' "$out")
    grep -A4 -e '^not ok' -e 'ERROR:' "$out" | head -40
    good=$((good + n_good))
    bad=$((bad + n_bad))
    if ((n_good == 0 || n_bad > 0)) || ! grep -q '^1\.\.' "$out"; then
        ((n_bad > 0)) || bad=$((bad + 1))
        echo "sql: $1: $n_good good, $n_bad bad"
        return 1
    fi
}

scripts/generate-sql --check
note $? "generate-sql --check"

# ---- Over what there may be, in the forms there are -----------------------------------------------
files=(sql/postgres/[0-9]*.sql)
for base in "" v1 v2 "v1 v2"; do
    before=("$fixtures/project.sql")
    for part in $base; do
        before+=("$fixtures/$part.sql")
    done
    name=over_${base// /_}
    postgres_install "$name" "${before[@]}" "${files[@]}"
    note $? "installing over '$base'"
    [[ $base != v1 && $base != v2 ]] || continue
    postgres_install "${name}_twice" "${before[@]}" "$one" "${files[@]}" "$one"
    note $? "installing over '$base' twice"
    postgres_install "${name}_parts" "${before[@]}" "$one" "$partitions" "$one" "$partitions"
    note $? "installing over '$base' in partitions"
done
# No roles at all: a database behind `bqsync serve` alone.
psql -X -q -d postgres -c "CREATE DATABASE alone" && PGDATABASE=alone psql -X -q -1 -v ON_ERROR_STOP=1 -f "$one"
note $? "installing without roles"

for database in over_v1_v2 over_v1_v2_twice over_v1_v2_parts; do
    PGDATABASE=$database tap "rows in $database" tests/sql/installed.sql
done

# ---- Bad input, and two at once -----------------------------------------------------------------------
psql -X -q -d postgres -c "CREATE DATABASE copy TEMPLATE over__twice"
PGDATABASE=copy tap "edges" tests/sql/edges.sql

# A v1 app changes its row while somebody writes a document of the user, whom that one has locked already:
# the app waits, and neither is sent away by a deadlock.
two_at_once() {
    local user=10000000-0000-4000-8000-000000000009 writer app
    local claims="{\"role\": \"authenticated\", \"sub\": \"$user\"}"
    PGDATABASE=copy psql -X -q -v ON_ERROR_STOP=1 \
        -c "INSERT INTO user_sync_data (user_id, data) VALUES ('$user', '{\"a\": 1}')" || return 1
    mkfifo "$folder/say"
    PGDATABASE=copy psql -X -At -v ON_ERROR_STOP=1 <"$folder/say" >"$folder/writer" 2>&1 &
    writer=$!
    exec 8>"$folder/say"
    echo "BEGIN; SELECT bqsync.user_lock('$user'); SELECT 'locked';" >&8
    until grep -q locked "$folder/writer"; do kill -0 "$writer" || return 1; done
    PGDATABASE=copy psql -X -q -v ON_ERROR_STOP=1 -c "SET application_name = 'app'; SET ROLE authenticated;
        SET request.jwt.claims = '$claims'; UPDATE user_sync_data SET data = '{\"a\": 3}'" >"$folder/app" 2>&1 &
    app=$!
    until [[ $(psql -X -At -d postgres -c "SELECT wait_event_type FROM pg_stat_activity
        WHERE application_name = 'app' AND wait_event_type = 'Lock'") == Lock ]]; do kill -0 "$app" || return 1; done
    echo "SELECT atomic_sync_upsert('$user', 'a', '2', NULL); COMMIT;" >&8
    exec 8>&-
    wait "$writer" && wait "$app" && [[ $(PGDATABASE=copy psql -X -At -c "
        SELECT data #>> '{a,value}' FROM user_sync_data WHERE user_id = '$user'") == 3 ]]
}
two_at_once
note $? "a v1 app beside a writer"
cat "$folder/app" "$folder/writer" | grep ERROR
psql -X -q -d postgres -c "DROP DATABASE copy"

# ---- Who may do what ------------------------------------------------------------------------------
for database in over_ over__twice over__parts; do
    psql -X -q -d postgres -c "CREATE DATABASE copy TEMPLATE $database"
    PGDATABASE=copy tap "security in $database" tests/sql/security.sql
    psql -X -q -d postgres -c "DROP DATABASE copy"
done

found=0
holes=(
    "GRANT SELECT ON public.user_sync_data_v2 TO anon"
    "GRANT UPDATE ON public.user_sync_data_v2 TO authenticated"
    "GRANT EXECUTE ON FUNCTION public.get_user_sync_data(uuid) TO PUBLIC"
    "GRANT EXECUTE ON FUNCTION public.sync_user_erase(uuid) TO authenticated"
    "ALTER TABLE public.user_sync_queue NO FORCE ROW LEVEL SECURITY"
    "ALTER TABLE public.user_sync_metadata DISABLE ROW LEVEL SECURITY"
    "CREATE POLICY hole ON public.user_sync_data_v2 FOR SELECT TO authenticated USING (true)"
    "ALTER POLICY bq_own ON public.user_sync_data WITH CHECK (true)"
    "CREATE TABLE public.user_sync_new (user_id uuid)"
    "CREATE VIEW public.user_sync_all AS SELECT * FROM public.user_sync_data_v2"
    "ALTER VIEW public.user_sync_overview RESET (security_invoker)"
    "ALTER FUNCTION public.sync_policies() RESET search_path"
    "ALTER FUNCTION bqsync.erase(uuid) RESET search_path"
    "GRANT USAGE ON SCHEMA bqsync TO authenticated"
    "CREATE FUNCTION public.atomic_sync_upsert(uuid, text, jsonb, bigint) RETURNS jsonb LANGUAGE sql
        SECURITY DEFINER SET search_path = '' AS \$\$ SELECT \$3 \$\$"
    "CREATE OR REPLACE FUNCTION bqsync.caller(p_user_id uuid, p_function text) RETURNS uuid LANGUAGE sql
        SET search_path = '' AS \$\$ SELECT p_user_id \$\$"
    "ALTER PUBLICATION supabase_realtime ADD TABLE public.user_sync_receipts"
)
for hole in "${holes[@]}"; do
    psql -X -q -d postgres -c "CREATE DATABASE copy TEMPLATE over_"
    psql -X -q -d copy -c "$hole" || echo "sql: not made: $hole"
    out=$(psql -X -d copy -f tests/sql/security.sql 2>&1)
    if [[ $out == *$'\nnot ok'* ]]; then
        found=$((found + 1))
    else
        echo "sql: not found: $hole"
    fi
    psql -X -q -d postgres -c "DROP DATABASE copy"
done
[[ $found == "${#holes[@]}" ]]
note $? "finding the holes"

# ---- The functions ----------------------------------------------------------------------------------
out=$(PGDATABASE=over_ psql -X -f tests/sql/plpgsql_check.sql 2>&1)
[[ -z $out ]]
note $? "plpgsql_check"
echo "$out"
psql -X -q -d over_ -c "CREATE FUNCTION bqsync.hole() RETURNS int LANGUAGE plpgsql AS \$\$
    BEGIN RETURN (SELECT nothing FROM public.user_sync_data); END \$\$"
[[ $(PGDATABASE=over_ psql -X -f tests/sql/plpgsql_check.sql) == *nothing* ]]
note $? "plpgsql_check of a hole"

PGDATABASE=over__parts psql -X -q -f tests/sql/play.sql
out=$(PGDATABASE=over__parts python3 tests/sql/equal.py --histories 4 --seed 7)
note $? "histories on partitions"
echo "$out"

echo "sql: $good good, $bad bad; holes found $found/${#holes[@]}"
((bad == 0))
