#!/usr/bin/env bash
# migrate_test.sh - moving in: every row of an older system comes in once, or stands in a file with
# the reason why not (docs/migration.md).
. tests/lib/shell.sh

sample=$root/examples/v1_user_sync_data.jsonl
id=00000000-0000-4000-8000-00000000000

# rows LINE...: a file of JSON lines.
rows() {
    printf '%s\n' "$@" >rows
}

migrate() {
    bq migrate --from "${1:-rows}" --to "sqlite:${2:-store.db}" --json
}

# ask SQL: of the store.
ask() {
    sqlite3 "${2:-store.db}" "$1"
}

# dump STORE: everything in it but what is random.
dump() {
    sqlite3 "$1" .dump | grep -v -e "'epoch'" -e "'hash_key'"
}

case_the_sample_comes_in_whole_and_again_changes_nothing() {
    code 0 migrate "$sample"
    says out '"rows":600,"new":1632,'
    same 600 "$(ask 'SELECT count(*) FROM user_sync_feed')" # four of them without a document
    same 1 "$(ask 'SELECT DISTINCT version FROM user_sync_data_v2')"
    same '' "$(ask "SELECT user_id, data_key, count(*) FROM user_sync_data_v2
        GROUP BY user_id, data_key HAVING count(*) > 1")"
    dump store.db >before
    code 0 migrate "$sample"
    says out '"new":0,"replaced":0,"merged":0,"kept":0,"deleted":0,"again":1632,'
    dump store.db >after
    cmp before after
    test ! -e migrate-set-aside.jsonl
}

# Every value and every time is the one of the row, read by another program.
case_values_and_times_are_the_rows() {
    migrate "$sample" >/dev/null
    sqlite3 -json store.db 'SELECT user_id, data_key, data, modified_at, created_at
        FROM user_sync_data_v2' >got
    python3 - "$sample" got <<'PYTHON'
import json, sys, datetime
def when(text):
    time = datetime.datetime.fromisoformat(text.replace('Z', '+00:00'))
    return time.replace(tzinfo=time.tzinfo or datetime.timezone.utc)
got = {(r['user_id'], r['data_key']): r for r in json.load(open(sys.argv[2]))}
n = odd = 0
for line in open(sys.argv[1], encoding='utf-8'):
    row = json.loads(line)
    for key, entry in row['data'].items():
        ours = got[row['user_id'], key]
        wrapped = isinstance(entry, dict) and 'value' in entry and 'timestamp' in entry
        assert json.loads(ours['data']) == (entry['value'] if wrapped else entry), (row, ours)
        try:
            at = when(entry['timestamp'])
        except (TypeError, ValueError, KeyError, AttributeError):
            odd += 1
            at = when(row['updated_at'])
        assert when(ours['modified_at']) == at, (entry, ours)
        assert when(ours['created_at']) == when(row['created_at'])
        n += 1
assert n == len(got) == 1632 and odd >= 6, (n, len(got), odd)
PYTHON
}

case_a_dry_run_tells_and_writes_nothing() {
    head -20 "$sample" >rows
    code 0 bq migrate --from rows --to sqlite:store.db --dry-run --json
    says out '"dry_run":true,"rows":20,"new":'
    test ! -e store.db
    head -3 "$sample" | bq migrate --from - --to sqlite:store.db >/dev/null
    dump store.db >before
    code 0 bq migrate --from rows --to sqlite:store.db --dry-run
    says out 'dry run'
    dump store.db >after
    cmp before after
}

case_no_rows_are_no_error() {
    : >rows
    code 0 migrate
    says out '"rows":0,"new":0,'
    printf 'user_id,data,created_at,updated_at\n' >rows
    code 0 migrate
    says out '"rows":0,'
    code 0 bq migrate --from sqlite:store.db --to sqlite:other.db --json
    says out '"rows":0,'
}

case_wrappers_come_off_and_everything_else_stays() {
    local wide deep
    wide=$(python3 -c 'import json
print(json.dumps({"bestStarsByLesson": {f"lesson_{i:03}": i % 4 for i in range(400)}}))')
    deep=$(printf '%.0s[' {1..90})1$(printf '%.0s]' {1..90})
    rows "{\"user_id\":\"${id}1\",\"data\":{
        \"wrapped\":{\"value\":{\"a\":1},\"timestamp\":\"2025-07-04T23:11:19.5Z\"},
        \"bare\":{\"a\":2},\"scalar\":7,\"text\":{\"value\":\"x\",\"timestamp\":\"2025-07-04T00:00:00Z\"},
        \"nothing\":{\"value\":null,\"timestamp\":\"2025-07-04T00:00:00Z\"},\"list\":[1,2],
        \"half\":{\"value\":3},\"big\":{\"n\":123456789012345678901234567890},
        \"fraction\":{\"n\":11.50},\"lesson_progress\":$wide,\"deep\":$deep,
        \"Ünïcödé 日本\":{\"value\":{\"ключ\":\"🎉\"},\"timestamp\":\"2025-07-04T00:00:00Z\"}},
        \"updated_at\":\"2025-12-01T00:00:00Z\"}"
    tr -d '\n' <rows >line
    code 0 migrate line
    same '{"a":1}' "$(ask "SELECT data FROM user_sync_data_v2 WHERE data_key = 'wrapped'")"
    same '{"a":2}' "$(ask "SELECT data FROM user_sync_data_v2 WHERE data_key = 'bare'")"
    same 7 "$(ask "SELECT data FROM user_sync_data_v2 WHERE data_key = 'scalar'")"
    same '"x"' "$(ask "SELECT data FROM user_sync_data_v2 WHERE data_key = 'text'")"
    same null "$(ask "SELECT data FROM user_sync_data_v2 WHERE data_key = 'nothing'")"
    same '[1,2]' "$(ask "SELECT data FROM user_sync_data_v2 WHERE data_key = 'list'")"
    same '{"value":3}' "$(ask "SELECT data FROM user_sync_data_v2 WHERE data_key = 'half'")"
    same '{"n":123456789012345678901234567890}' \
        "$(ask "SELECT data FROM user_sync_data_v2 WHERE data_key = 'big'")"
    same '{"n":11.50}' "$(ask "SELECT data FROM user_sync_data_v2 WHERE data_key = 'fraction'")"
    same 400 "$(ask "SELECT count(*) FROM user_sync_data_v2, json_each(data, '$.bestStarsByLesson')
        WHERE data_key = 'lesson_progress'")"
    same "$deep" "$(ask "SELECT data FROM user_sync_data_v2 WHERE data_key = 'deep'")"
    same '{"ключ":"🎉"}' "$(ask "SELECT data FROM user_sync_data_v2 WHERE data_key LIKE 'Ü%'")"
    same 2025-07-04T23:11:19.5+00:00 \
        "$(ask "SELECT modified_at FROM user_sync_data_v2 WHERE data_key = 'wrapped'")"
    same 2025-12-01T00:00:00+00:00 \
        "$(ask "SELECT modified_at FROM user_sync_data_v2 WHERE data_key = 'bare'")"
}

case_data_over_the_limits_is_kept() {
    python3 -c "import json
print(json.dumps({'user_id': '${id}1', 'data': {'long': {'t': 'x' * 300000}}}))
print(json.dumps({'user_id': '${id}2', 'data': {f'k{i}': i for i in range(1100)}}))" >rows
    code 0 migrate
    same 1101 "$(ask 'SELECT count(*) FROM user_sync_data_v2')"
    code 0 migrate
    says out '"again":1101,'
}

case_rows_that_are_none_are_set_aside_with_a_reason_and_the_others_come_in() {
    {
        printf '\xef\xbb\xbf{"user_id":"%s1","data":{"k":1}}\r\n' "$id"
        printf '\r\n   \n'
        printf '{"user_id":"no uuid","data":{"k":1}}\r\n'
        printf '{"user_id":"%s2","data":[1]}\n' "$id"
        printf '{"user_id":"%s2","data":{"_reserved":1,"":2,"good":3}}\n' "$id"
        printf '{"user_id":"%s3","data":{"k":1,"k":2}}\n' "$id"
        printf '{"user_id":"%s3","data":{"n":%s}}\n' "$id" "$(printf '%.0s9' {1..60})"
        printf '{"name":"no table of ours"}\n'
        printf '\xff\xfe broken\n'
        printf '{"user_id":"%s4","data":null,"updated_at":"2025-07-04T00:00:00Z"}\n' "$id"
        printf '{"user_id":"%s5","data":{"k":{"value":5,"timest' "$id"
    } >rows
    code 1 migrate
    says out '"rows":10,"new":2,'
    says out '"refused":2,'
    says out '"rows_set_aside":7,'
    same 9 "$(wc -l <migrate-set-aside.jsonl)"
    same 600 "$(stat -c %a migrate-set-aside.jsonl)"
    python3 - <<'PYTHON'
import json
rows = [json.loads(line) for line in open('migrate-set-aside.jsonl', encoding='utf-8')]
by = {}
for row in rows:
    assert row['reason'] and row['code'] and 'text' in row, row
    by.setdefault(row['row'], []).append(row)
assert [r['key'] for r in by[6]] == ['_reserved', ''], by
assert 'uuid' in by[4][0]['reason'] and 'object' in by[5][0]['reason']
assert by[12][0]['text'].endswith('"timest')
PYTHON
    same "${id}1|k ${id}2|good" "$(ask 'SELECT user_id, data_key FROM user_sync_data_v2' | xargs)"
    same 1 "$(ask "SELECT count(*) FROM user_sync_feed WHERE user_id = '${id}4'")"
    dump store.db >before
    code 1 migrate
    dump store.db >after
    cmp before after
}

case_times_that_are_none_count_as_missing() {
    rows "{\"user_id\":\"${id}1\",\"data\":{\"a\":{\"value\":1,\"timestamp\":\"yesterday\"},
        \"b\":{\"value\":1,\"timestamp\":12},\"c\":{\"value\":1,\"timestamp\":\"2999-01-01T00:00:00Z\"},
        \"d\":{\"value\":1,\"timestamp\":\"2025-02-30T00:00:00Z\"}},\"updated_at\":\"2025-07-04\"}"
    tr -d '\n' <rows >line
    code 0 migrate line
    says out '"new":4,'
    says out '"unreadable_times":4,'
    same 4 "$(ask "SELECT count(*) FROM user_sync_data_v2
        WHERE modified_at BETWEEN '2025-08' AND strftime('%Y-%m-%dT%H:%M:%S', 'now', '+1 minute')")"
}

case_a_user_who_comes_twice_is_merged_by_time() {
    rows "{\"user_id\":\"${id}1\",\"data\":{\"k\":{\"value\":1,\"timestamp\":\"2025-07-04T00:00:00Z\"}}}" \
        "{\"user_id\":\"${id}1\",\"data\":{\"k\":{\"value\":2,\"timestamp\":\"2025-07-05T00:00:00Z\"},\"l\":3}}" \
        "{\"user_id\":\"${id}1\",\"data\":{\"k\":{\"value\":0,\"timestamp\":\"2025-07-03T00:00:00Z\"}}}"
    code 0 migrate
    says out '"new":2,"replaced":1,"merged":0,"kept":1,'
    same 2 "$(ask "SELECT data FROM user_sync_data_v2 WHERE data_key = 'k'")"
    dump store.db >before
    code 0 migrate
    says out '"new":0,"replaced":0,"merged":0,'
    dump store.db >after
    cmp before after
    # A counter that only the older row has in full is not lost, and counted once.
    rows "{\"user_id\":\"${id}2\",\"data\":{\"game_stats\":{\"value\":{\"score\":5},\"timestamp\":\"2025-07-05T00:00:00Z\"}}}" \
        "{\"user_id\":\"${id}2\",\"data\":{\"game_stats\":{\"value\":{\"score\":9},\"timestamp\":\"2025-07-04T00:00:00Z\"}}}"
    code 0 migrate
    same '{"score":9}' "$(ask "SELECT data FROM user_sync_data_v2 WHERE data_key = 'game_stats'")"
    dump store.db >before
    code 0 migrate
    dump store.db >after
    cmp before after
}

case_csv_of_copy_and_of_the_table_editor_is_read() {
    cat >rows <<CSV
user_id,data,created_at,updated_at
${id}1,"{""k"": {""value"": {""t"": ""a,b ""}, ""timestamp"": ""2025-07-04T00:00:00Z""},
 ""l"": 2}",2025-01-01 00:00:00+00,2025-08-01 10:00:00.123456+02
${id}2,{},2025-01-01 00:00:00+00,
${id}3,"{""k"": 1}"
${id}4,"{""k"": 1
CSV
    code 1 migrate
    says out '"rows":4,"new":2,'
    says out '"rows_set_aside":2,'
    same '{"t":"a,b "}' "$(ask "SELECT data FROM user_sync_data_v2 WHERE data_key = 'k'")"
    same 2025-08-01T08:00:00.123456+00:00 \
        "$(ask "SELECT modified_at FROM user_sync_data_v2 WHERE data_key = 'l'")"
    printf 'device_id,user_id,device_name,device_type,last_sync,created_at\r\nd1,%s,"Anna''s ""phone""",ios,2025-07-04 00:00:00+00,2025-01-01 00:00:00+00\r\n' \
        "${id}1" >devices
    code 0 migrate devices
    says out '"devices":1,'
    same 'd1|Annas "phone"|ios|2025-07-04T00:00:00+00:00' \
        "$(ask 'SELECT device_id, device_name, device_type, last_sync FROM user_devices')"
    echo 'just words' >rows
    code 1 migrate
    says err 'csv header'
}

case_rows_of_v2_keep_versions_devices_and_times() {
    cat >rows <<CSV
user_id,data_key,data,version,device_id,modified_at,created_at
${id}1,settings,"{""mute"": true}",17,phone-1,2025-07-04 10:00:00.5+00,2025-01-01 00:00:00+00
${id}1,notes,7,2147483648,phone-1,2025-07-04 10:00:00+00,2025-01-01 00:00:00+00
${id}1,odd,7,soon,,2025-07-04 10:00:00+00,2025-01-01 00:00:00+00
CSV
    code 1 migrate
    says out '"new":1,'
    same '17|phone-1|2025-07-04T10:00:00.5+00:00|2025-01-01T00:00:00+00:00|{"mute":true}' "$(ask '
        SELECT version, device_id, modified_at, created_at, data FROM user_sync_data_v2')"
    cat >rows <<CSV
user_id,device_id,last_sync_at,last_sync_version,device_info,created_at
${id}1,phone-1,2025-07-04 10:00:00+00,3,"{""os"": ""ios""}",2025-01-01 00:00:00+00
CSV
    code 0 migrate
    same 'phone-1|3|{"os":"ios"}' \
        "$(ask 'SELECT device_id, last_sync_version, device_info FROM user_sync_metadata')"
}

# V2's newer data is not overwritten by v1's older one (row 9 of what the older system did wrong).
case_v1_behind_v2_is_merged_and_never_wins() {
    cat >v2 <<CSV
user_id,data_key,data,version,device_id,modified_at,created_at
${id}1,game_stats,"{""score"": 50, ""incorrectAnswers"": 4, ""x"": 1}",9,p,2025-09-01 00:00:00+00,2025-01-01 00:00:00+00
${id}1,notes,"""new""",3,p,2025-09-01 00:00:00+00,2025-01-01 00:00:00+00
CSV
    rows "{\"user_id\":\"${id}1\",\"data\":{\"game_stats\":{\"value\":{\"score\":70,\"incorrectAnswers\":2},\"timestamp\":\"2025-08-01T00:00:00Z\"},\"notes\":{\"value\":\"old\",\"timestamp\":\"2025-12-01T00:00:00Z\"}}}"
    migrate v2 >/dev/null
    code 0 migrate
    says out '"merged":1,"kept":1,'
    same '{"score":70,"incorrectAnswers":4,"x":1}' \
        "$(ask "SELECT data FROM user_sync_data_v2 WHERE data_key = 'game_stats'")"
    same '"new"' "$(ask "SELECT data FROM user_sync_data_v2 WHERE data_key = 'notes'")"
    migrate >/dev/null
    migrate v2 >/dev/null
    same '70 10' "$(ask "SELECT json_extract(data, '$.score'), version FROM user_sync_data_v2
        WHERE data_key = 'game_stats'" | tr '|' ' ')"
}

case_a_killed_run_goes_on() {
    local i
    for i in {1..40}; do
        sed "s/\"user_id\": \"......../\"user_id\": \"$(printf %08x "$i")/" "$sample"
    done >rows
    mkfifo gate
    "$BQSYNC" migrate --from gate --to sqlite:store.db >killed 2>&1 &
    local pid=$!
    exec 3>gate
    head -9000 rows >&3
    # Once something is committed, it is killed in the middle of the stream.
    until [[ -e store.db ]] && (($(ask 'SELECT count(*) FROM user_sync_data_v2' 2>/dev/null || echo 0) > 1000)); do
        kill -0 "$pid"
    done
    kill -KILL "$pid"
    wait "$pid" || true
    exec 3>&-
    code 0 migrate
    python3 - <<'PYTHON'
import json
report = json.load(open('out'))
assert report['again'] > 1000 and report['new'] > 1000, report
assert report['again'] + report['new'] == 40 * 1632, report
PYTHON
    same 65280 "$(ask 'SELECT count(*) FROM user_sync_data_v2 WHERE version = 1')"
}

case_another_store_moves_over_with_its_versions() {
    migrate "$sample" >/dev/null
    code 0 bq migrate --from sqlite:store.db --to sqlite:other.db --json
    says out '"new":1632,'
    local sql='SELECT user_id, data_key, version, device_id, modified_at, created_at, data
        FROM user_sync_data_v2'
    same "$(ask "$sql")" "$(ask "$sql" other.db)"
}

run_cases
