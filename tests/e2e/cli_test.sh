#!/usr/bin/env bash
# cli_test.sh - the commands that need no server: results, --json, exit codes, bad input.
. tests/lib/shell.sh

user1=00000000-0000-4000-8000-000000000001

# A device's folder without a server, signed in as the test's user 1.
device() {
    printf 'a secret of the tests with more than 32 bytes' >secret
    bq init --dir "$1" --token "$(bq token --user $user1 --jwt-secret-file secret)" >/dev/null
    export BQSYNC_DIR=$PWD/$1
}

case_put_and_get_give_the_document_back() {
    device d
    bq put notes '{"text": "Grüße", "n": 1.50}' >/dev/null
    same '{"text":"Grüße","n":1.50}' "$(bq get notes)"
    same '"Grüße"' "$(bq get notes --at /text)"
    same '{"notes":{"text":"Grüße","n":1.50}}' "$(bq get)"
}

case_put_reads_a_file_and_standard_input() {
    device d
    echo '{"from":"file"}' >document.json
    bq put a @document.json >/dev/null
    echo '{"from":"input"}' | bq put b - >/dev/null
    same '{"from":"file"}' "$(bq get a)"
    same '{"from":"input"}' "$(bq get b)"
}

case_put_replaces_and_patch_touches_only_what_it_names() {
    device d
    bq put k '{"a":1,"b":2}' >/dev/null
    bq patch k '{"b":null,"c":3}' >/dev/null
    same '{"a":1,"c":3}' "$(bq get k)"
    bq put k '{"z":0}' >/dev/null
    same '{"z":0}' "$(bq get k)"
}

case_inc_adds_exactly_and_takes_negative_amounts() {
    device d
    bq inc stats n 0.1 >/dev/null
    bq inc stats n 0.2 >/dev/null
    same 0.3 "$(bq get stats --at /n)"
    bq inc stats n -5 >/dev/null
    same -4.7 "$(bq get stats --at /n)"
    bq inc stats /deep/er 2 >/dev/null
    same 2 "$(bq get stats --at /deep/er)"
    bq put text '{"t":"x"}' >/dev/null
    code 1 bq inc text t 1
    same '{"t":"x"}' "$(bq get text)"
}

case_seed_gives_way_to_what_is_there() {
    device d
    bq put k '{"a":1}' >/dev/null
    bq put k '{"a":2,"b":3}' --seed >/dev/null
    same 1 "$(bq get k --at /a)"
}

case_ls_lists_with_state_and_rm_removes() {
    device d
    bq put one '{}' >/dev/null
    bq put three '{}' >/dev/null
    same 'one three' "$(bq ls | awk '{ print $1 }' | xargs)"
    same 2 "$(bq ls --json | grep -c '"key":"\(one\|three\)","version":0')"
    bq rm one >/dev/null
    same three "$(bq ls | awk '{ print $1 }')"
    code 3 bq rm one
    code 3 bq get one
}

case_queue_shows_what_waits() {
    device d
    bq put k '{}' >/dev/null
    says <(bq queue) k
    says <(bq queue list --json) '"pending":true'
    same '[]' "$(bq queue export)"
    code 3 bq queue retry 7
    code 0 bq queue discard --all
    code 2 bq queue retry
    code 2 bq queue discard x
    code 2 bq queue burn
}

case_status_tells_user_device_and_counts() {
    device d
    bq put k '{}' >/dev/null
    says <(bq status) "$user1"
    says <(bq status --json) '"pending":1'
    says <(bq status --json) '"device":"bq-'
}

case_files_are_readable_by_the_owner_alone() {
    device d
    bq put k '{}' >/dev/null
    same 600 "$(stat -c %a d/token)"
    same 600 "$(stat -c %a d/config.json)"
    same 600 "$(stat -c %a d/app.bqsync)"
    same 700 "$(stat -c %a d)"
}

case_sign_out_wants_to_know_how() {
    device d
    bq put k '{}' >/dev/null
    code 2 bq sign-out
    code 2 bq sign-out --park --discard
    code 4 bq sign-out --drain --wait 0.2
    says <(bq status) "$user1"
    says <(bq sign-out --park) '1 documents, 1 with unsent edits'
    code 3 bq get k
    test ! -e d/token
    bq init --dir d --token "$(bq token --user $user1 --jwt-secret-file secret)" >/dev/null
    same '{}' "$(bq get k)"
    bq sign-out --discard >/dev/null
    bq init --dir d --token "$(bq token --user $user1 --jwt-secret-file secret)" >/dev/null
    code 3 bq get k
}

case_another_user_must_wait_until_the_first_signed_out() {
    device d
    local other
    other=$(bq token --user 00000000-0000-4000-8000-000000000002 --jwt-secret-file secret)
    code 1 bq init --dir d --token "$other"
    says err 'sign-out'
    bq put k '{}' >/dev/null
    bq sign-out --park >/dev/null
    bq init --dir d --token "$other" >/dev/null
    code 3 bq get k
}

case_guest_documents_are_merged_kept_or_discarded() {
    device d
    local how token
    token=$(<d/token)
    for how in merge keep discard; do
        bq init --dir "$how" >/dev/null
        bq put k '{"guest":1}' --dir "$how" >/dev/null
        bq init --dir "$how" --token "$token" --guest "$how" >/dev/null
    done
    same '{"guest":1}' "$(bq get k --dir merge)"
    code 3 bq get k --dir keep
    bq sign-out --park --dir keep >/dev/null
    same '{"guest":1}' "$(bq get k --dir keep)"
    code 3 bq get k --dir discard
    bq sign-out --park --dir discard >/dev/null
    code 3 bq get k --dir discard
    code 2 bq init --dir d --guest perhaps
}

case_bad_documents_are_refused_and_nothing_changes() {
    device d
    bq put k '{"good":true}' >/dev/null
    code 1 bq put k '{"a":'
    says err 'line 1, column'
    code 1 bq put k '{"a":1,"a":2}'
    code 1 bq put k '{"a":"\u0000"}'
    code 1 bq put k "$(printf '{"a":"\xff"}')"
    code 1 bq put k '{"a":00}'
    code 1 bq put _hidden '{}'
    code 1 bq put '' '{}'
    printf '%0300000d' 0 | sed 's/.*/"&"/' | code 1 bq put k -
    says err 'limit'
    printf '[%.0s' {1..65} >deep
    printf ']%.0s' {1..65} >>deep
    code 1 bq put k @deep
    code 3 bq put k @absent.json
    same '{"good":true}' "$(bq get k)"
}

case_failures_with_json_are_one_json_object() {
    device d
    code 3 bq get nothing --json
    says out '"code":"not_found"'
    bq json out >/dev/null
    code 1 bq put k '[' --json
    says out '"error"'
    bq json out >/dev/null
}

case_wrong_command_lines_end_with_2_and_say_what() {
    code 2 bq
    code 2 bq nonsense
    says err nonsense
    code 2 bq get --nonsense
    says err '--nonsense'
    code 2 bq put k
    code 2 bq get a b
    code 2 bq sync --wait soon
    code 2 bq get --dir
    code 2 bq put k '{}' --priority urgent
    code 2 bq bench
    code 2 bq explain k
    code 2 bq migrate --from file
    code 2 bq policy burn
    code 0 bq --help
    code 0 bq --version
}

case_a_folder_that_is_none_says_how_to_make_one() {
    code 3 bq get k --dir nowhere
    says err 'bqsync init'
}

case_a_folder_in_use_is_refused() {
    device d
    "$BQSYNC" watch >/dev/null 2>&1 &
    local watcher=$!
    until ls -l /proc/$watcher/fd 2>/dev/null | grep -q app.bqsync; do
        kill -0 $watcher
    done
    code 6 bq put k '{}'
    says err 'another process'
    kill -TERM $watcher
    wait $watcher
    bq put k '{}' >/dev/null
}

case_a_file_that_is_damaged_or_newer_is_refused_and_left_alone() {
    device d
    bq put k '{}' >/dev/null
    cp d/app.bqsync kept
    head -c 8192 /dev/urandom >d/app.bqsync
    rm -f d/app.bqsync-wal d/app.bqsync-shm
    cp d/app.bqsync noise
    code 6 bq get k
    says err app.bqsync
    cmp noise d/app.bqsync
    cp kept d/app.bqsync
    sqlite3 d/app.bqsync "PRAGMA user_version = 9999;
        UPDATE app SET value = '9999' WHERE name = 'min_reader'"
    code 6 bq get k
    says err 'update the app'
    cp kept d/app.bqsync
    rm -f d/app.bqsync-wal d/app.bqsync-shm
    same '{}' "$(bq get k)"
}

case_a_folder_without_permission_is_refused() {
    if ((EUID == 0)); then
        # Root may write anywhere: a file where the folder should be stands in for it.
        touch f
        code 6 bq init --dir f
        return
    fi
    mkdir closed
    chmod 500 closed
    code 6 bq init --dir closed/d
}

case_sync_without_server_or_user_says_so() {
    bq init --dir guest >/dev/null
    code 3 bq sync --dir guest
    says err 'signed in'
    device d
    code 4 bq sync --wait 0.2
    bq put k '{}' >/dev/null
    code 4 bq put k '{"a":1}' --sync --wait 0.2
    same '{"a":1}' "$(bq get k)"
}

case_json_checks_strictly_with_line_and_column() {
    printf '{\n  "a": 1,\n  "a": 2\n}\n' >twice.json
    code 1 bq json twice.json
    says err 'twice.json:3:'
    printf '{ "b" : [ 1.0 , true ] }' >good.json
    same '{"b":[1.0,true]}' "$(bq json --print good.json)"
    code 0 bq json good.json --json
    says out '"ok":true'
    code 1 bq json good.json twice.json --json
    says out '"line":3'
    code 3 bq json absent.json
    echo '{"b":[1,true]}' >one.json
    code 0 bq json --same good.json one.json
    echo '{"b":[true,1]}' >two.json
    code 1 bq json --same good.json two.json
}

case_merge_answers_a_line_for_a_line() {
    cat >in <<'LINES'
{"policy":{"fields":{"n":"sum"}},"document":{"n":5},"version":3,"edit":{"base":1,"was":{"n":1},"now":{"n":3}}}
not json
{"policy":"nonsense","document":{},"version":1,"edit":{"base":1,"now":{"a":1}}}
{"policy":"incoming","document":{"a":1},"version":1,"edit":{"base":1,"was":{"a":1},"now":{"a":2}}}
{"policy":"incoming","document":{"a":1},"version":1,"edit":{"base":1}}
LINES
    bq merge <in >out
    same 5 "$(wc -l <out)"
    says <(sed -n 1p out) '"document":{"n":7}'
    says <(sed -n 2p out) '"error":"json_syntax"'
    says <(sed -n 3p out) '"error":"bad_policy"'
    says <(sed -n 4p out) '"status":"applied"'
    says <(sed -n 5p out) '"error":"malformed"'
    says <(bq merge --explain <in | sed -n 1p) '"rule":"6","policy":"sum"'
}

case_policy_check_says_where_a_policy_is_wrong() {
    says <(bq policy) game_stats
    says <(bq policy explain settings) union
    says <(bq policy explain unknown) incoming
    echo '{"a":"max","b*":{"each":"sum"}}' >good.json
    code 0 bq policy check good.json
    echo '{"a":{"fields":{"x":"most"}}}' >bad.json
    code 1 bq policy check bad.json
    says err '/a/fields/x'
    says <(bq policy explain bell --policies good.json) sum
    says <(bq policy explain game_stats --document '{"score":5}' \
        --edit '{"base":0,"was":{"score":1},"now":{"score":3}}') 'policy max'
    code 2 bq policy set a '"max"'
}

case_output_that_cannot_be_written_is_told() {
    device d
    bq put k '{}' >/dev/null
    local got=0
    bq get k >/dev/full 2>err || got=$?
    same 6 $got
    says err 'standard output'
}

run_cases
