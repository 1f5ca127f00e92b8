#!/usr/bin/env bash
# moving_test.sh - verify and rollback: nothing is called there that is not, and everything goes back
# as it came (docs/migration.md).
. tests/lib/shell.sh
. tests/lib/postgres.sh

sample=$root/examples/v1_user_sync_data.jsonl
id=00000000-0000-4000-8000-00000000000

migrate() {
    bq migrate --from "$1" --to "${2:-sqlite:store.db}" --json
}

verify() {
    bq verify --from "$1" --to "${2:-sqlite:store.db}" --json
}

case_verify_is_green_only_when_nothing_is_missing() {
    head -50 "$sample" >rows
    migrate rows >/dev/null
    code 0 verify rows
    says out '"green":true'
    same 0 "$(grep -c '"difference"' out)"
    code 1 verify "$sample"
    says out '"difference":"missing"'
    says out '"green":false'
    migrate "$sample" >/dev/null
    code 0 verify "$sample"
    # A value that is changed behind our back, without a version, is found.
    sqlite3 store.db "DELETE FROM user_sync_data_v2 WHERE (user_id, data_key) IN
        (SELECT user_id, data_key FROM user_sync_data_v2 LIMIT 1)"
    code 1 verify "$sample"
    same 1 "$(grep -c '"difference":"missing"' out)"
    code 0 bq verify --from rows --to sqlite:store.db
    says out 'HAVING COUNT(*) > 1;'
}

case_every_difference_has_its_reason() {
    cat >rows <<ROWS
{"user_id":"${id}1","data":{"same":{"value":1,"timestamp":"2025-07-04T00:00:00Z"},"newer":{"value":1,"timestamp":"2025-07-04T00:00:00Z"},"gone":{"value":1,"timestamp":"2025-07-04T00:00:00Z"},"settings":{"value":{"a":1},"timestamp":"2025-07-04T00:00:00Z"},"_bad":1}}
{"user_id":"${id}1","data":{"same":{"value":0,"timestamp":"2025-07-03T00:00:00Z"}}}
{"user_id":"broken
{"user_id":"${id}2","data":{"k":1}}
ROWS
    start_server
    local token
    token=$(token_for 1)
    put() { # KEY VALUE EXPECTED
        curl -sS -H "Authorization: Bearer $token" -H 'Content-Type: application/json' -d "{
            \"p_user_id\":\"${id}1\",\"p_data_key\":\"$1\",\"p_data\":$2,\"p_expected_version\":$3,
            \"p_device_id\":\"app\"}" "$url/rest/v1/rpc/atomic_sync_upsert" >/dev/null
    }
    put settings '{"b":2}' 0
    bq migrate --from rows --to "$url" --jwt-secret-file "$secret" >/dev/null || true
    put newer 2 1
    curl -sS -H "Authorization: Bearer $token" -H 'Content-Type: application/json' -d '{
        "p_device_id":"d","p_epoch":null,"p_cursor":0,"p_edits":[{"op":1,"prev":0,
        "id":"00000000000000a1","key":"gone","base":1,"delete":true}]}' \
        "$url/rest/v1/rpc/sync_exchange" >/dev/null
    code 0 verify rows # the server runs
    bq user erase "${id}2" --url "$url" \
        --token "$(bq token --role service_role --jwt-secret-file "$secret")" >/dev/null
    code 0 verify rows
    same 'deleted_here:gone deleted_here:k merged:settings newer_here:newer set_aside: set_aside:_bad superseded:same' \
        "$(grep '"difference"' out | sed 's/.*"difference":"\([a-z_]*\)".*"key":"\([a-z_]*\)".*/\1:\2/' | sort | xargs)"
    # What an old app writes there meanwhile is red until it is brought in.
    sed -i 's/"newer":{"value":1,"timestamp":"2025-07-04/"newer":{"value":7,"timestamp":"2025-09-04/' rows
    code 1 verify rows
    says out '"difference":"changed_there"'
    stop_server
    migrate rows >/dev/null || true
    code 0 verify rows
}

case_green_is_dated_from_its_first_day() {
    head -5 "$sample" >rows
    migrate rows >/dev/null
    verify rows >/dev/null
    sed -i 's/"green_since":"[^"]*"/"green_since":"2025-01-01T00:00:00+00:00"/' bqsync-verify.json
    verify rows >/dev/null
    says bqsync-verify.json '"green_since":"2025-01-01T00:00:00+00:00"'
    head -6 "$sample" >rows
    verify rows >/dev/null || true
    code 1 grep green_since bqsync-verify.json
}

# equal_rows A B: two files of v1 rows are equal by value (times as points in time).
equal_rows() {
    python3 - "$@" <<'PYTHON'
import csv, datetime, json, sys
csv.field_size_limit(1 << 30)
def when(text):
    time = datetime.datetime.fromisoformat(text.replace('Z', '+00:00'))
    return time.replace(tzinfo=time.tzinfo or datetime.timezone.utc)
def rows(path):
    out = {}
    stream = open(path, encoding='utf-8', newline='')
    for row in csv.DictReader(stream) if path.endswith('.csv') else map(json.loads, stream):
        if isinstance(row['data'], str):
            row['data'] = json.loads(row['data'])
        for name in ('created_at', 'updated_at', 'modified_at'):
            if name in row:
                row[name] = when(row[name])
        if 'data_key' in row:
            row['version'] = int(row['version'])
            out[row['user_id'], row['data_key']] = row
            continue
        for key, entry in row['data'].items():
            if isinstance(entry, dict) and 'value' in entry and 'timestamp' in entry:
                try:
                    entry['timestamp'] = when(entry['timestamp'])
                except (ValueError, AttributeError):
                    entry['timestamp'] = row['updated_at'] # what cannot be read counts as the row's
            else:
                row['data'][key] = {'value': entry, 'timestamp': row['updated_at']}
        # A row cannot be older than what is in it.
        times = [entry['timestamp'] for entry in row['data'].values()]
        row['updated_at'] = max([row['updated_at'], *times])
        out[row['user_id']] = row
    return out
a, b = rows(sys.argv[1]), rows(sys.argv[2])
assert a.keys() == b.keys() and len(a) > 0, (len(a), len(b))
bad = [k for k in a if a[k] != b[k]]
# created_at of a user without a document is not kept.
bad = [k for k in bad if a[k]['data'] or b[k]['data']]
assert not bad, (len(bad), a[bad[0]], b[bad[0]])
PYTHON
}

case_v1_goes_back_as_it_came() {
    migrate "$sample" >/dev/null
    code 0 bq rollback --store sqlite:store.db --to v1 --target back.jsonl --json
    says out '"rows":600,"documents":1632,"devices":0'
    equal_rows "$sample" back.jsonl
    code 0 bq rollback --store sqlite:store.db --to v1 --target back.csv
    equal_rows "$sample" back.csv
    code 1 bq rollback --store sqlite:store.db --to v1 --target back.csv
    # And in again: the same documents.
    migrate back.csv sqlite:other.db >/dev/null
    local sql='SELECT user_id, data_key, data, version, modified_at, created_at FROM user_sync_data_v2'
    same "$(sqlite3 store.db "$sql")" "$(sqlite3 other.db "$sql")"
    sed 's/"score":/"score":1/' back.jsonl >changed.jsonl
    if equal_rows "$sample" changed.jsonl 2>/dev/null; then
        echo 'a changed row was not found' >&2
        return 1
    fi
}

case_v2_goes_back_as_it_came_with_what_was_written_since() {
    migrate "$sample" >/dev/null
    bq rollback --store sqlite:store.db --to v2 --target v2.csv >/dev/null
    migrate v2.csv sqlite:other.db >/dev/null
    code 0 bq rollback --store sqlite:other.db --to v2 --target again.csv
    equal_rows v2.csv again.csv
    printf 'user_id,device_id,last_sync_at,last_sync_version,device_info,created_at\n%s,d,2025-01-01 00:00:00+00,3,"{""a"":1}",2025-01-01 00:00:00+00\n' "${id}1" >devices
    migrate devices sqlite:other.db >/dev/null
    bq rollback --store sqlite:other.db --to v2 --target third.jsonl >/dev/null
    says third.devices.jsonl '"device_id": "d", "last_sync_at": "2025-01-01T00:00:00+00:00", "last_sync_version": 3, "device_info": {"a":1}'
    code 2 bq rollback --store sqlite:other.db --to v3 --target x.csv
    code 2 bq rollback --store sqlite:other.db --to v1 --target x.txt
}

# A live PostgreSQL with the tables as the older systems ship them.
old_tables() {
    psql -qX -v ON_ERROR_STOP=1 -d "$1" <<'SQL'
CREATE TABLE user_sync_data (user_id uuid PRIMARY KEY, data jsonb, created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now());
CREATE TABLE user_devices (device_id text PRIMARY KEY, user_id uuid, device_name text, device_type text,
    last_sync timestamptz DEFAULT now(), created_at timestamptz DEFAULT now());
CREATE TABLE user_sync_data_v2 (user_id uuid, data_key text, data jsonb NOT NULL,
    version integer NOT NULL DEFAULT 1, device_id text, modified_at timestamptz DEFAULT now(),
    created_at timestamptz DEFAULT now(), PRIMARY KEY (user_id, data_key));
CREATE TABLE user_sync_metadata (user_id uuid, device_id text, last_sync_at timestamptz DEFAULT now(),
    last_sync_version integer DEFAULT 0, device_info jsonb DEFAULT '{}', created_at timestamptz DEFAULT now(),
    PRIMARY KEY (user_id, device_id));
SQL
}

case_a_live_postgres_is_read_and_written_back() {
    cluster=$(mktemp -d /tmp/bqpg.XXXXXX)
    postgres_start "$cluster" fsync=off
    trap 'postgres_stop "$cluster"; rm -rf "$cluster"' EXIT
    local from="postgres://postgres@/old?host=$cluster" back="postgres://postgres@/back?host=$cluster"
    createdb old
    createdb back
    old_tables old
    old_tables back
    # v1's rows by way of our own CSV, which `\copy ... csv header` reads.
    migrate "$sample" >/dev/null
    bq rollback --store sqlite:store.db --to v1 --target v1.csv >/dev/null
    psql -qX -d old -c "\\copy user_sync_data FROM 'v1.csv' csv header" \
        -c "INSERT INTO user_devices VALUES ('d1', '${id}1', 'Phone', 'ios', '2025-07-04', '2025-01-01')" \
        -c "INSERT INTO user_sync_data_v2 VALUES ('${id}1', 'notes', '{\"n\": 1.50}', 12, 'p', '2025-07-04', '2025-01-01')" \
        -c "INSERT INTO user_sync_metadata VALUES ('${id}1', 'p', '2025-07-04', 4, '{}', '2025-01-01')"
    code 0 migrate "$from" sqlite:live.db
    says out '"rows":603,"new":1633,'
    says out '"devices":2,'
    code 1 grep -q host= out # what a URL may hold is nobody's business
    code 0 migrate "$from" sqlite:live.db
    says out '"new":0,"replaced":0,"merged":0,"kept":0,"deleted":0,"again":1633,'
    code 0 verify "$from" sqlite:live.db
    code 0 bq rollback --store sqlite:live.db --to v1 --target "$back" --json
    says out '"rows":601,"documents":1633,"devices":1'
    psql -qX -d back -c "\\copy (SELECT * FROM user_sync_data WHERE user_id <> '${id}1') TO 'back.csv' csv header"
    equal_rows v1.csv back.csv
    same 'd1|Phone|ios' "$(psql -qXAt -d back -c 'SELECT device_id, device_name, device_type FROM user_devices')"
    code 0 bq rollback --store sqlite:live.db --to v2 --target "$back"
    same '12|p|{"n": 1.50}' "$(psql -qXAt -d back -c "SELECT version, device_id, data FROM user_sync_data_v2
        WHERE user_id = '${id}1'")"
    same 1633 "$(psql -qXAt -d back -c 'SELECT count(*) FROM user_sync_data_v2')"
    # What the old row alone holds stays there: a key that migrate set aside, one that was never here.
    psql -qX -d back -c "UPDATE user_sync_data SET data = '{\"_odd\": 1, \"gone\": 2, \"notes\": 3, \"late\": 4}'
        WHERE user_id = '${id}1'"
    sqlite3 live.db "CREATE TEMP TABLE one AS SELECT * FROM user_sync_data_v2 WHERE data_key = 'notes';
        UPDATE one SET data_key = 'gone', deleted = 1, seq = seq + 1; INSERT INTO user_sync_data_v2 SELECT * FROM one"
    code 0 bq rollback --store sqlite:live.db --to v1 --target "$back"
    same '1|f|1.50|4' "$(psql -qXAt -d back -c "SELECT data -> '_odd', data ? 'gone', data #> '{notes,value,n}',
        data -> 'late' FROM user_sync_data WHERE user_id = '${id}1'")"
    code 4 migrate "postgres://postgres@/old?host=/nowhere" sqlite:other.db
    code 4 migrate "postgres://postgres@/absent?host=$cluster" sqlite:other.db
    says err 'absent'
}

case_cleanup_drops_v1_only_when_green_long_enough_and_written_down() {
    cluster=$(mktemp -d /tmp/bqpg.XXXXXX)
    postgres_start "$cluster" fsync=off
    trap 'postgres_stop "$cluster"; rm -rf "$cluster"' EXIT
    local from="postgres://postgres@/old?host=$cluster" to=sqlite:live.db
    createdb old
    old_tables old
    migrate "$sample" >/dev/null
    bq rollback --store sqlite:store.db --to v1 --target v1.csv >/dev/null
    psql -qX -d old -c "\\copy user_sync_data FROM 'v1.csv' csv header" -c "CREATE ROLE anon" -c "
        CREATE FUNCTION atomic_sync_data(target_user_id uuid, new_data jsonb) RETURNS boolean
        LANGUAGE sql SECURITY DEFINER AS 'SELECT true'"
    migrate "$from" $to >/dev/null
    clean() { bq cleanup --v1 --from "$from" --to $to --export gone --yes "$@"; }
    code 1 verify "$from" $to # everything is there, but the functions are open
    says err 'REVOKE ALL ON FUNCTION atomic_sync_data(uuid,jsonb) FROM PUBLIC, anon;'
    code 1 clean
    says err '1 old functions'
    code 1 clean --revoke
    says err 'not green'
    same f "$(psql -qXAt -d old -c "SELECT has_function_privilege('anon', 'atomic_sync_data(uuid,jsonb)', 'EXECUTE')")"
    code 0 verify "$from" $to
    code 1 clean
    says err '--older-than'
    sed -i 's/"green_since":"[^"]*"/"green_since":"2025-01-01T00:00:00+00:00"/' bqsync-verify.json
    code 1 bq cleanup --v1 --from "$from" --to sqlite:store.db --export gone --yes
    says err 'another source'
    # What an old app wrote a moment ago keeps the tables.
    cp bqsync-verify.json green
    psql -qX -d old -c "UPDATE user_sync_data SET data = data || '{\"late\": 1}', updated_at = now()
        WHERE user_id = (SELECT user_id FROM user_sync_data LIMIT 1)"
    code 1 clean
    same 600 "$(psql -qXAt -d old -c 'SELECT count(*) FROM user_sync_data')"
    migrate "$from" $to >/dev/null
    cp green bqsync-verify.json
    : >gone.csv
    code 1 clean
    says err 'new file'
    rm gone.csv
    code 0 clean
    same '' "$(psql -qXAt -d old -c "SELECT to_regclass('user_sync_data'), to_regclass('user_devices')" | tr -d '|')"
    code 0 bq verify --from gone.csv --to $to --report other.json
    same 600 "$(stat -c %a gone.csv)"
}

case_a_store_in_postgres_takes_and_gives_the_same() {
    cluster=$(mktemp -d /tmp/bqpg.XXXXXX)
    postgres_start "$cluster" fsync=off
    trap 'postgres_stop "$cluster"; rm -rf "$cluster"' EXIT
    createdb ours
    createdb second
    local store="postgres://postgres@/ours?host=$cluster" second="postgres://postgres@/second?host=$cluster"
    code 0 migrate "$sample" "$store"
    says out '"new":1632,'
    code 0 migrate "$sample" "$store"
    says out '"again":1632,'
    code 0 verify "$sample" "$store"
    code 0 bq rollback --store "$store" --to v1 --target back.jsonl
    equal_rows "$sample" back.jsonl
    # Export, import, export, either way between the engines.
    bq export first --store "$store" >/dev/null
    code 0 bq import first --store sqlite:local.db
    bq export - --store sqlite:local.db | cmp - first
    code 0 bq import first --store "$second"
    bq export - --store "$second" | cmp - first
    # The guide's own SQL, as it is.
    same '' "$(psql -qXAt -d ours -c 'SELECT user_id, data_key, COUNT(*) FROM user_sync_data_v2 GROUP BY user_id, data_key HAVING COUNT(*) > 1;')"
    psql -qXAt -F'|' -d ours -c 'SELECT data_key, COUNT(*) AS count, AVG(version)::int AS avg_version FROM user_sync_data_v2 GROUP BY data_key;' | sort >postgres
    sqlite3 local.db 'SELECT data_key, COUNT(*) AS count, CAST(AVG(version) AS int) AS avg_version FROM user_sync_data_v2 GROUP BY data_key;' | sort >sqlite
    cmp postgres sqlite
    test "$(wc -l <sqlite)" -ge 3
}

# The guide's SQL on a SQLite store, verbatim, and what it says.
case_the_guides_sql_runs_on_sqlite() {
    migrate "$sample" >/dev/null
    same '' "$(sqlite3 store.db 'SELECT user_id, data_key, COUNT(*) FROM user_sync_data_v2 GROUP BY user_id, data_key HAVING COUNT(*) > 1;')"
    same 1632 "$(sqlite3 store.db 'SELECT data_key, COUNT(*) AS count, AVG(version) AS avg_version FROM user_sync_data_v2 GROUP BY data_key;' |
        awk -F'|' '$3 == 1.0 { n += $2 } END { print n }')"
    same '' "$(sqlite3 store.db 'SELECT * FROM user_sync_data_v2 WHERE version > 10 ORDER BY version DESC;')"
    same '' "$(sqlite3 store.db "SELECT * FROM user_sync_queue WHERE status = 'failed';")"
    same '' "$(sqlite3 store.db 'SELECT * FROM user_sync_metadata;')"
}

run_cases
