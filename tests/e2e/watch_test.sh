#!/usr/bin/env bash
# watch_test.sh - /metrics on the listener of its own (H6), and bqsync doctor.
. tests/lib/shell.sh

# A server with the admin listener; sets admin, its address.
start_watched() {
    printf 'a token of the operators, 32 bytes and more' >admin-token
    chmod 600 admin-token
    start_server --admin-listen 0 --admin-token-file "$PWD/admin-token" \
        --admin-port-file "$PWD/admin-port" "$@"
    admin=http://127.0.0.1:$(<admin-port)
    bearer="Authorization: Bearer $(<admin-token)"
}

# answers CODE CURL-ARGUMENT...: of the admin listener.
answers() {
    local wanted=$1
    shift
    same "$wanted" "$(curl -s -o body -w '%{http_code}' "$@")"
}

# value NAME: of a metric, with its labels.
value() { awk -v name="$1" '$1 == name { print $2 }' body; }

case_metrics_count_what_happened() {
    start_watched
    bq init --dir phone --url "$url" --token "$(token_for 1)" >/dev/null
    bq inc --dir phone game_stats incorrectAnswers 1 >/dev/null
    bq sync --dir phone >/dev/null
    bq inc --dir phone game_stats incorrectAnswers 1 >/dev/null
    bq sync --dir phone >/dev/null
    code 0 curl -s -o /dev/null -H "Authorization: Bearer $(token_for 1)" "$url/rest/v1/rpc/atomic_sync_upsert" \
        -H 'Content-Type: application/json' -d '{"p_user_id":"00000000-0000-4000-8000-000000000001","p_data_key":"notes","p_data":{"a":1},"p_expected_version":0,"p_device_id":"old"}'
    curl -s -o /dev/null -H "Authorization: Bearer x" "$url/rest/v1/user_sync_data_v2"
    answers 200 -H "$bearer" "$admin/metrics"
    same 2 "$(value 'bqsync_edits_total{outcome="applied"}')"
    same 0 "$(value 'bqsync_edits_total{outcome="refused"}')"
    same 1 "$(value 'bqsync_upserts_total{action="inserted"}')"
    same 1 "$(value 'bqsync_http_refused_total{status="401"}')"
    same 1 "$(value bqsync_store_usable)"
    same 0 "$(value bqsync_queue_writes)"
    same 0 "$(value bqsync_sockets)"
    (($(value bqsync_memory_bytes) > 1000000 && $(value bqsync_commit_batch_count) >= 3))
    same "$(value bqsync_commit_seconds_count)" "$(value 'bqsync_commit_seconds_bucket{le="+Inf"}')"
    same "$(value bqsync_commit_batch_count)" "$(value bqsync_commit_seconds_count)"
    # The format: each sample under its type, no sample twice.
    python3 - body <<'PY'
import re, sys
types, seen = {}, set()
for line in open(sys.argv[1]):
    if line.startswith('# TYPE'):
        _, _, name, kind = line.split()
        types[name] = kind
    elif not line.startswith('#'):
        match = re.fullmatch(r'([a-z_]+)(\{[a-z]+="[^"]*"\})? ([0-9.]+)\n', line)
        assert match, line
        base = re.sub(r'_(bucket|sum|count)$', '', match[1])
        assert match[1] in types or types.get(base) == 'histogram', line
        assert match[1] + str(match[2]) not in seen, line
        seen.add(match[1] + str(match[2]))
assert len(seen) > 40, len(seen)
PY
    # Nobody's id, key or document stands there.
    ! grep -qE '00000000-0000|game_stats|notes' body
    same 1 "$(value 'bqsync_build_info{version="0.1.0"}')"
    stop_server
}

case_h6_without_the_token_nothing_is_shown() {
    start_watched
    answers 401 "$admin/metrics"
    answers 401 -H 'Authorization: Bearer wrong' "$admin/metrics"
    answers 401 -H "Authorization: Bearer $(token_for 1)" "$admin/metrics"
    answers 401 -H "Authorization: Basic $(<admin-token)" "$admin/metrics"
    ! grep -q bqsync_ body
    answers 200 -H "$bearer" "$admin/metrics"
    stop_server
}

case_h6_a_web_page_and_a_rebound_name_are_refused() {
    start_watched
    answers 403 -H "$bearer" -H 'Origin: http://evil.example' "$admin/metrics"
    answers 403 -H "$bearer" -H 'Origin: null' "$admin/metrics"
    answers 421 -H "$bearer" -H 'Host: evil.example' "$admin/metrics"
    answers 421 -H "$bearer" -H "Host: evil.example:$(<admin-port)" "$admin/metrics"
    answers 421 -H "$bearer" -H 'Host: 127.0.0.1.evil.example' "$admin/metrics"
    answers 200 -H "$bearer" -H "Host: localhost:$(<admin-port)" "$admin/metrics"
    answers 200 -H "$bearer" -H 'Host: [::1]:99' "$admin/metrics"
    stop_server
}

case_h6_there_is_nothing_else_and_nothing_on_the_public_listener() {
    start_watched
    answers 404 -H "$bearer" "$admin/"
    answers 404 -H "$bearer" "$admin/rest/v1/user_sync_data_v2"
    answers 405 -H "$bearer" -X POST -d x "$admin/metrics"
    answers 401 -X POST -d x "$admin/metrics"
    answers 405 -H "$bearer" -X OPTIONS "$admin/metrics"
    same 401 "$(curl -s -o /dev/null -w '%{http_code}' -H "$bearer" "$url/metrics")"
    # Loopback unless another host is named.
    local hex
    printf -v hex '0100007F:%04X' "$(<admin-port)"
    grep -q " $hex " /proc/net/tcp
    stop_server
}

case_h6_it_is_off_unless_asked_for_and_never_without_a_token() {
    printf 'a secret of the tests with more than 32 bytes' >secret
    chmod 600 secret
    code 2 bq serve --listen 127.0.0.1:0 --store sqlite:s.db --jwt-secret-file secret --admin-listen 0
    says err '--admin-listen wants --admin-token-file'
    printf short >short
    chmod 600 short
    code 2 bq serve --listen 127.0.0.1:0 --store sqlite:s.db --jwt-secret-file secret --admin-listen 0 \
        --admin-token-file short
    says err 'short'
}

case_a_refusal_is_logged_without_its_token() {
    start_watched
    answers 401 -H 'Authorization: Bearer a-token-that-must-not-be-logged' "$admin/metrics"
    stop_server
    says server.log '"event":"admin_refused"'
    ! grep -q must-not-be-logged server.log
}

# ---- doctor ----

case_a_healthy_device_has_no_problem() {
    start_server
    bq init --dir phone --url "$url" --token "$(token_for 1)" >/dev/null
    bq put --dir phone settings '{"mute":true}' >/dev/null
    bq sync --dir phone >/dev/null
    code 0 bq doctor --dir phone
    for word in 'ok       initialised' 'ok       authenticated  as 00000000-0000-4000-8000-000000000001' \
        'ok       token' 'ok       queue' 'ok       exchange' 'ok       refused' 'ok       connectivity' \
        'ok       isolation' 'ok       clock' 'ok       functions' 'ok       policies' \
        'ok       documents      1 of this user, 0 with odd versions, 0 doubled' 'ok       failed' \
        '0 warnings, 0 problems'; do
        says out "$word"
    done
    code 0 bq doctor --dir phone --json
    python3 -c 'import json, sys
lines = [json.loads(line) for line in open("out")]
assert lines[-1] == {"ok": len(lines) - 1, "warnings": 0, "problems": 0}, lines[-1]
assert all(set(line) >= {"level", "check", "text"} for line in lines[:-1])'
    stop_server
}

case_each_fault_of_a_device_is_named_with_its_next_step() {
    start_server
    code 1 bq doctor --dir none
    says out 'problem  initialised'
    bq init --dir guest --url "$url" >/dev/null
    code 0 bq doctor --dir guest
    says out 'warning  authenticated  nobody is signed in'
    # An ended token.
    bq init --dir late --url "$url" --token "$(bq token --user 00000000-0000-4000-8000-000000000002 \
        --jwt-secret-file "$secret" --ttl 1s)" >/dev/null
    # A token of another secret.
    printf 'another secret of the tests, just as long as that' >other
    chmod 600 other
    bq init --dir forged --url "$url" --token "$(bq token --user 00000000-0000-4000-8000-000000000003 \
        --jwt-secret-file other)" >/dev/null
    code 1 bq doctor --dir forged
    says out 'problem  authenticated  sync_exchange is answered with 401'
    says out 'next: a fresh token of this server'
    # A refused edit: two devices, the sum leaves its range on the server.
    bq init --dir a --url "$url" --token "$(token_for 4)" >/dev/null
    bq init --dir b --url "$url" --token "$(token_for 4)" >/dev/null
    bq sync --dir a >/dev/null && bq sync --dir b >/dev/null
    bq inc --dir a game_stats incorrectAnswers 999999999999999999 >/dev/null && bq sync --dir a >/dev/null
    bq inc --dir b game_stats incorrectAnswers 999999999999999999 >/dev/null
    bq sync --dir b >/dev/null 2>&1 || true
    code 0 bq doctor --dir b
    says out 'warning  refused        game_stats #1: out_of_range'
    says out 'next: bqsync queue retry ID'
    # The server is away: what waits, waits.
    bq inc --dir a game_stats score 1 >/dev/null
    for _ in $(seq 100); do bq doctor --dir late >late.out 2>&1 || break; done
    says late.out 'problem  token          the token ended'
    stop_server
    code 1 bq doctor --dir a
    says out 'problem  connectivity'
    says out 'warning  queue          1 documents, 1 with edits that wait'
}

case_a_server_is_looked_at_with_and_without_a_token() {
    start_server
    code 0 bq doctor --url "$url"
    says out 'warning  authenticated  without a token no more can be seen'
    code 0 bq doctor --url "$url" --token "$(token_for 1)"
    says out 'ok       functions'
    code 1 bq doctor --url "$url" --token nonsense
    says out 'problem  token          the token is no JWT'
    code 1 bq doctor --url http://127.0.0.1:9
    says out 'problem  connectivity'
    code 2 bq doctor --url "$url" --dir phone
    stop_server
}

case_a_store_is_read_through_and_damage_is_found() {
    start_server
    bq init --dir phone --url "$url" --token "$(token_for 1)" >/dev/null
    bq put --dir phone settings '{"mute":true}' >/dev/null
    bq put --dir phone notes '{"a":1}' >/dev/null
    bq sync --dir phone >/dev/null
    bq rm --dir phone notes >/dev/null
    bq sync --dir phone >/dev/null
    # Also while its server runs.
    code 0 bq doctor --store "sqlite:$PWD/store.db"
    says out '1 users (0 erased), 1 documents, 1 tombstones; none doubled'
    stop_server
    cp store.db good.db
    for damage in "version = -5" "seq = 99" "data = '{'" "deleted = 1"; do
        cp good.db store.db
        sqlite3 store.db "UPDATE user_sync_data_v2 SET $damage WHERE data_key = 'settings'"
        code 1 bq doctor --store "sqlite:$PWD/store.db"
        says out 'problem  rows'
        says out 'restore the last good backup'
    done
    cp good.db store.db
    sqlite3 store.db "INSERT INTO user_sync_policy VALUES ('notes', '\"nonsense\"')"
    code 1 bq doctor --store "sqlite:$PWD/store.db"
    says out 'problem  policies'
    code 1 bq doctor --store sqlite:none.db
    says out 'problem  store'
}

run_cases
