#!/usr/bin/env bash
# server_test.sh - the commands that need a server: sync between devices, refusals, operators' tools.
. tests/lib/shell.sh

user1=00000000-0000-4000-8000-000000000001

# A device of the test's user 1, signed in at the server.
device() {
    bq init --url "$url" --token "$(token_for 1)" --dir "$1" >/dev/null
}

case_two_devices_see_each_others_documents() {
    start_server
    device a
    device b
    bq put notes '{"from":"a"}' --dir a --sync >/dev/null
    bq sync --dir b >/dev/null
    same '{"from":"a"}' "$(bq get notes --dir b)"
    bq patch notes '{"b":1}' --dir b --sync >/dev/null
    bq sync --dir a --json >out
    says out '"pending":0'
    same '{"from":"a","b":1}' "$(bq get notes --dir a)"
    bq rm notes --dir a --sync >/dev/null
    bq sync --dir b >/dev/null
    code 3 bq get notes --dir b
    stop_server
}

case_counts_of_two_offline_devices_add_up_once() {
    start_server
    device a
    device b
    for i in 1 2 3; do
        bq inc game_stats incorrectAnswers "$i" --dir a >/dev/null
        bq inc game_stats incorrectAnswers 10 --dir b >/dev/null
    done
    bq sync --dir a >/dev/null
    bq sync --dir b >/dev/null
    bq sync --dir a >/dev/null
    same 36 "$(bq get game_stats --at /incorrectAnswers --dir a)"
    same 36 "$(bq get game_stats --at /incorrectAnswers --dir b)"
    stop_server
}

# watches NAME OPTION...: what device b hears of a change on device a.
watches() {
    local word=$1 watcher line=''
    shift
    start_server
    device a
    device b
    bq sync --dir b >/dev/null
    mkfifo events
    "$BQSYNC" watch --json "$@" --dir b >events 2>watch.log &
    watcher=$!
    exec 4<events
    # The watcher tells that it is ready before anything else happens.
    until [[ $line == *"\"$word\""* ]]; do
        read -r -t 60 line <&4
    done
    bq put k '{"seen":true}' --dir a --sync >/dev/null
    until [[ $line == *'"changed"'*'"seen":true'* ]]; do
        read -r -t 60 line <&4
    done
    kill -TERM $watcher
    wait $watcher
    same '' "$(cat watch.log)"
    stop_server
}

case_watch_tells_of_the_other_devices_change_by_polling() {
    watches online --no-live --poll 0.2
}

case_watch_tells_of_the_other_devices_change_as_it_comes() {
    watches live --poll 1h
}

case_a_refused_edit_is_kept_shown_and_blocks_nothing() {
    start_server --document-bytes 1K
    device a
    printf '%02000d' 0 | sed 's/.*/{"big":"&"}/' >big.json
    bq put big @big.json --dir a >/dev/null
    bq put small '{}' --dir a >/dev/null
    code 1 bq sync --dir a
    says err 'queue list'
    says <(bq queue --dir a) 'too_large'
    says <(bq queue --json --dir a) '"code":"too_large"'
    says <(bq queue export --dir a) '"too_large"'
    device b
    bq sync --dir b >/dev/null
    same small "$(bq ls --dir b | awk '{ print $1 }')"
    bq queue discard --all --dir a
    same '[]' "$(bq queue export --dir a)"
    stop_server
}

case_a_bad_token_ends_with_5_and_keeps_the_edit() {
    start_server
    printf 'another secret of the tests, just as long as that' >other
    bq init --url "$url" --dir a \
        --token "$(bq token --user $user1 --jwt-secret-file other)" >/dev/null
    bq put k '{"kept":1}' --dir a >/dev/null
    code 5 bq sync --dir a --wait 5
    same '{"kept":1}' "$(bq get k --dir a)"
    device a
    bq sync --dir a >/dev/null
    device b
    bq sync --dir b >/dev/null
    same '{"kept":1}' "$(bq get k --dir b)"
    stop_server
}

case_a_server_that_is_away_ends_with_4_and_keeps_the_edit() {
    start_server
    device a
    stop_server
    bq put k '{}' --dir a >/dev/null
    code 4 bq sync --dir a --wait 2
    says err "not synced with $url, 1 of 1 documents wait here safely"
    says <(bq queue --dir a) k
}

case_sign_out_drain_sends_first() {
    start_server
    device a
    bq put k '{"sent":1}' --dir a >/dev/null
    bq sign-out --drain --dir a >out
    says out '0 with unsent edits'
    device b
    bq sync --dir b >/dev/null
    same '{"sent":1}' "$(bq get k --dir b)"
    stop_server
}

case_one_user_never_sees_another() {
    start_server
    device a
    bq put secret '{"canary":1}' --dir a --sync >/dev/null
    bq init --url "$url" --token "$(token_for 2)" --dir other >/dev/null
    bq sync --dir other >/dev/null
    same '{}' "$(bq get --dir other)"
    stop_server
}

case_a_busy_port_and_a_used_store_are_refused() {
    start_server
    local code=0
    bq serve --listen "127.0.0.1:$(<port)" --store "sqlite:$PWD/two.db" \
        --jwt-secret-file "$secret" >out 2>err || code=$?
    test $code -ne 0
    says err "$(<port)"
    code=0
    bq serve --listen 127.0.0.1:0 --store "sqlite:$PWD/store.db" \
        --jwt-secret-file "$secret" >out 2>err || code=$?
    test $code -ne 0
    says err 'store.db'
    stop_server
}

case_migrate_brings_rows_into_a_running_server_and_a_second_run_changes_nothing() {
    start_server
    head -5 "$root/examples/v1_user_sync_data.jsonl" >rows
    echo 'not json' >>rows
    echo '{"user_id":"nobody","data":{}}' >>rows
    code 1 bq migrate --from rows --to "$url" --jwt-secret-file "$secret" --json
    says out '"rows":7'
    says out '"rows_set_aside":2'
    says migrate-set-aside.jsonl '"row":6'
    local before after
    before=$(sqlite3 store.db 'SELECT user_id, data_key, version, data FROM user_sync_data_v2')
    head -5 rows | bq migrate --from - --to "$url" --jwt-secret-file "$secret" --json >out
    says out '"new":0,'
    after=$(sqlite3 store.db 'SELECT user_id, data_key, version, data FROM user_sync_data_v2')
    test -n "$before"
    same "$before" "$after"
    code 3 bq migrate --from absent --to "$url" --jwt-secret-file "$secret"
    code 6 bq migrate --from rows --to "sqlite:$PWD/store.db"
    stop_server
    head -5 rows | bq migrate --from - --to "sqlite:$PWD/store.db" --json >out
    says out '"new":0,' # what went in through the server is known by its receipts
}

case_a_bar_is_drawn_on_a_terminal_and_nowhere_else() {
    start_server
    head -20 "$root/examples/v1_user_sync_data.jsonl" >rows
    code 0 bq migrate --from rows --to "$url" --jwt-secret-file "$secret"
    same '' "$(<err)"
    TERM=xterm script -qec "$BQSYNC migrate --from rows --to sqlite:$PWD/other.db" typescript >/dev/null
    says typescript 'rows, '
    says typescript '###'
    stop_server
}

case_policies_are_set_over_the_wire_and_in_the_file() {
    start_server
    local operator
    operator=$(bq token --role service_role --jwt-secret-file "$secret")
    bq policy set 'shop*' '{"fields":{"coins":"sum"}}' --url "$url" --token "$operator" >/dev/null
    says <(bq policy list --url "$url" --token "$operator") 'shop*'
    says <(bq policy explain shop1 --url "$url" --token "$operator") sum
    code 5 bq policy set a '"max"' --url "$url" --token "$(token_for 1)"
    code 5 bq policy list --url "$url"
    code 1 bq policy set a '"most"' --url "$url" --token "$operator"
    code 6 bq policy set a '"max"' --store "sqlite:$PWD/store.db"
    stop_server
    bq policy set a '"max"' --store "sqlite:$PWD/store.db" >/dev/null
    says <(bq policy list --store "sqlite:$PWD/store.db") '"max"'
    bq policy set 'shop*' --remove --store "sqlite:$PWD/store.db" >/dev/null
    bq policy list --store "sqlite:$PWD/store.db" >out
    ! grep -q shop out
    code 3 bq policy list --store "sqlite:$PWD/absent.db"
}

case_explain_names_device_and_rule() {
    start_server
    device a
    device b
    bq inc game_stats incorrectAnswers 1 --dir a --sync >/dev/null
    bq sync --dir b >/dev/null
    bq inc game_stats incorrectAnswers 2 --dir b >/dev/null
    bq inc game_stats incorrectAnswers 4 --dir a --sync >/dev/null
    bq sync --dir b >/dev/null
    bq explain game_stats --store "sqlite:$PWD/store.db" --user $user1 >out
    says out 'policy sum (was 1, now 3, server had 5)'
    says out "$(bq status --dir b | awk '$1 == "device" { print $2 }')"
    bq explain game_stats --version 3 --json --store "sqlite:$PWD/store.db" --user $user1 >out
    same 1 "$(wc -l <out)"
    bq json out >/dev/null
    says out '"result":7'
    code 3 bq explain nothing --store "sqlite:$PWD/store.db" --user $user1
    code 3 bq explain game_stats --version 9 --store "sqlite:$PWD/store.db" --user $user1
    stop_server
}

case_bench_prints_one_line_of_json() {
    start_server --user-rate 0
    local mode
    for mode in upsert exchange conflict; do
        code 0 bq bench --url "$url" --token-secret-file "$secret" --mode $mode --connections 4 \
            --users 8 --seconds 0.5
        same 1 "$(wc -l <out)"
        bq json out >/dev/null
        says out '"errors":0'
        ! grep -q '"operations":0,' out
    done
    stop_server
    code 4 bq bench --url "$url" --token-secret-file "$secret" --seconds 0.1 --connections 1
}

run_cases
