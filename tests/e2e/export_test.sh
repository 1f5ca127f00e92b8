#!/usr/bin/env bash
# export_test.sh - a whole store as JSON lines and back, byte for byte; one user's share of it; a
# user's end (docs/export-format.md).
. tests/lib/shell.sh
. tests/lib/postgres.sh

id=00000000-0000-4000-8000-00000000000

# rpc N FUNCTION BODY: as the test's user N.
rpc() {
    curl -sS --fail-with-body -H "Authorization: Bearer $(token_for "$1")" \
        -H 'Content-Type: application/json' -d "$3" "$url/rest/v1/rpc/$2" >/dev/null
}

# A store with something of every kind in it.
fill_store() {
    local n operator
    start_server
    for n in 1 2; do
        rpc $n sync_exchange '{"p_device_id":"d1","p_epoch":null,"p_cursor":0,"p_edits":[
            {"op":1,"prev":0,"id":"00000000000000a1","key":"game_stats","base":0,"now":{"score":5,"z":1,"aa":[2,{"y":1,"x":null}]}},
            {"op":1,"prev":0,"id":"00000000000000a2","key":"gone","base":0,"now":"Ünï \"x\" \\ 日本"},
            {"op":1,"prev":0,"id":"00000000000000a3","key":"never","base":0,"now":{},"odd":1},
            {"op":1,"prev":0,"id":"00000000000000a4","key":"nothing","base":0,"now":null}]}'
        rpc $n sync_exchange '{"p_device_id":"d2","p_epoch":null,"p_cursor":0,"p_edits":[
            {"op":1,"prev":0,"id":"00000000000000b1","key":"game_stats","base":1,"was":{"score":5},"now":{"score":9}},
            {"op":1,"prev":0,"id":"00000000000000b2","key":"gone","base":1,"delete":true}]}'
        rpc $n atomic_sync_upsert "{\"p_user_id\":\"$id$n\",\"p_data_key\":\"game_stats\",
            \"p_data\":{\"score\":3,\"incorrectAnswers\":2},\"p_expected_version\":1,\"p_device_id\":\"old\"}"
        rpc $n update_sync_metadata "{\"p_user_id\":\"$id$n\",\"p_device_id\":\"old\",\"p_version\":3,
            \"p_device_info\":{\"os\":\"x\",\"b\":1}}"
        rpc $n atomic_add_device "{\"target_user_id\":\"$id$n\",\"device_id_param\":\"v1\",
            \"device_name_param\":\"Phone\",\"device_type_param\":\"ios\"}"
        rpc $n sync_report '{"p_device_id":"d1","p_device_info":{"model":"m"},"p_failed":[
            {"key":"notes","op":7,"id":"00000000000000c1","code":"too_large","message":"m",
             "edit":{"base":0,"now":{"b":1,"a":2}},"failed_at":"2026-01-01T00:00:00Z"}]}'
    done
    operator=$(bq token --role service_role --jwt-secret-file "$secret")
    bq policy set 'shop*' '{"rest":"keep","fields":{"coins":"sum"}}' --url "$url" --token "$operator" >/dev/null
    stop_server
    printf 'correct horse battery' >password
    bq user add a@example.org --password-file password --store sqlite:store.db >/dev/null
    sqlite3 store.db "INSERT INTO auth_sessions SELECT '${id}9', id, 4, created_at, created_at
        FROM auth_users"
}

case_export_import_export_gives_the_same_bytes() {
    fill_store
    code 0 bq export first --store sqlite:store.db --json
    says out '"users":2,"documents":4,"accounts":1'
    same 600 "$(stat -c %a first)"
    local kind
    for kind in bqsync_export policy user history document old_client device v1_device dead_letter \
        account session end; do
        grep -q "^{\"$kind\":" first || { echo "no line of kind $kind" >&2; return 1; }
    done
    code 0 bq import first --store sqlite:other.db
    code 0 bq export second --store sqlite:other.db
    cmp first second
    # Through a pipe as well.
    bq export - --store sqlite:other.db | bq import - --store sqlite:third.db >/dev/null
    bq export - --store sqlite:third.db | cmp - first
    # What the export says is in the tables too: nothing was written down alone.
    local sql="SELECT user_id, data_key, version, device_id, seq, deleted, modified_at, hex(receipts)
        FROM user_sync_data_v2"
    same "$(sqlite3 store.db "$sql")" "$(sqlite3 other.db "$sql")"
    same "$(sqlite3 store.db 'SELECT * FROM auth_users')" "$(sqlite3 other.db 'SELECT * FROM auth_users')"
    same "$(sqlite3 store.db "SELECT value FROM user_sync_store WHERE name = 'hash_key'")" \
        "$(sqlite3 other.db "SELECT value FROM user_sync_store WHERE name = 'hash_key'")"
    test "$(sqlite3 store.db "SELECT value FROM user_sync_store WHERE name = 'epoch'")" != \
        "$(sqlite3 other.db "SELECT value FROM user_sync_store WHERE name = 'epoch'")"
}

case_through_postgresql_and_back_the_same_bytes() {
    fill_store
    local store
    cluster=$(mktemp -d /tmp/bqpg.XXXXXX)
    postgres_start "$cluster" fsync=off
    trap 'postgres_stop "$cluster"; rm -rf "$cluster"' EXIT
    createdb moved
    createdb exponent
    store="postgres://postgres@/moved?host=$cluster"
    bq export first --store sqlite:store.db >/dev/null
    code 0 bq import first --store "$store"
    bq export - --store "$store" | cmp - first
    bq export - --store "$store" | bq import - --store sqlite:back.db >/dev/null
    bq export - --store sqlite:back.db | cmp - first
    # A number with an exponent keeps its value there, and not its text.
    start_server
    rpc 3 atomic_sync_upsert "{\"p_user_id\":\"${id}3\",\"p_data_key\":\"notes\",
        \"p_data\":{\"n\":1.5e3},\"p_expected_version\":0,\"p_device_id\":\"old\"}"
    stop_server
    bq export with --store sqlite:store.db >/dev/null
    says with '"data":{"n":1.5e3}'
    store="postgres://postgres@/exponent?host=$cluster"
    code 0 bq import with --store "$store"
    bq export after --store "$store" >/dev/null
    says after '"data":{"n":1500}'
    same "$(wc -l <with)" "$(wc -l <after)"
}

# The password of a --store is shown by no message, be it taken or refused.
case_a_message_never_shows_the_stores_password() {
    fill_store
    local store
    cluster=$(mktemp -d /tmp/bqpg.XXXXXX)
    postgres_start "$cluster" fsync=off
    trap 'postgres_stop "$cluster"; rm -rf "$cluster"' EXIT
    createdb moved
    store="postgres://postgres:hidden@/moved?host=$cluster"
    bq export first --store sqlite:store.db >/dev/null
    never_hidden() {
        local wanted=$1 text=$2
        shift 2
        code "$wanted" bq "$@"
        says <(cat out err) "$text"
        (! grep -q hidden out err)
    }
    never_hidden 0 "postgres: host=$cluster dbname=moved: 2 users" import first --store "$store"
    never_hidden 1 'the store is not empty' import first --store "$store"
    never_hidden 0 'dbname=moved: epoch' restore --epoch-only --store "$store"
    never_hidden 0 'dbname=moved' restore --epoch-only --json --store "$store"
    never_hidden 2 'takes sqlite:PATH here' restore first --store "$store"
    never_hidden 2 'takes sqlite:PATH here' backup copy --store "$store"
    never_hidden 3 'dbname=moved: ' user disable 00000000-0000-4000-8000-00000000000f --store "$store"
    never_hidden 2 'not postgrs://...' import first --store "postgrs://postgres:hidden@/moved"
    never_hidden 2 'not postgrs://...' serve --store "postgrs://postgres:hidden@/moved"
    # A key of accounts has no file to lie beside; the server asks for one, and makes none.
    never_hidden 2 'need --accounts-key-file FILE' serve --store "$store"
}

# A difference anywhere shows: the check above can fail.
case_a_changed_receipt_changes_the_export() {
    fill_store
    bq export first --store sqlite:store.db >/dev/null
    sed '0,/"d1",1,"00000000000000a1"/s//"d1",2,"00000000000000a1"/' first >changed
    bq import changed --store sqlite:other.db >/dev/null
    bq export second --store sqlite:other.db >/dev/null
    code 1 cmp first second
    cmp changed second
}

case_a_device_goes_on_against_the_imported_store() {
    start_server
    bq init --url "$url" --token "$(token_for 1)" --dir d >/dev/null
    bq put game_stats '{"score":1,"incorrectAnswers":2}' --dir d >/dev/null
    bq sync --dir d >/dev/null
    bq inc game_stats incorrectAnswers 3 --dir d >/dev/null
    bq sync --dir d >/dev/null
    stop_server
    bq export whole --store sqlite:store.db >/dev/null
    mv store.db old.db
    rm -f store.db-*
    bq import whole --store sqlite:store.db >/dev/null
    bq inc game_stats incorrectAnswers 4 --dir d >/dev/null
    mkfifo started
    "$BQSYNC" serve --listen "127.0.0.1:${url##*:}" --store "sqlite:$PWD/store.db" \
        --jwt-secret-file "$secret" --log-level warn >started 2>server.log &
    server=$!
    read -r _ <started
    code 0 bq sync --wait 20 --dir d
    same 9 "$(bq get game_stats --at /incorrectAnswers --dir d)"
    stop_server
    same 9 "$(sqlite3 store.db "SELECT json_extract(data, '$.incorrectAnswers') FROM user_sync_data_v2")"
}

case_bad_files_are_refused_and_an_import_goes_on() {
    fill_store
    bq export whole --store sqlite:store.db >/dev/null
    code 1 bq export whole --store sqlite:store.db
    says err 'new file'
    code 1 bq import whole --store sqlite:store.db
    says err 'not empty'
    head -n -1 whole >cut
    code 1 bq import cut --store sqlite:other.db
    says err 'cut off'
    code 2 bq serve --listen 127.0.0.1:0 --store sqlite:other.db --jwt-secret-file "$secret"
    says err 'import'
    sed 3d whole >short
    code 1 bq import short --store sqlite:other.db
    sed '5s/"version":[0-9]*/"version":"x"/' whole >wrong
    code 1 bq import wrong --store sqlite:other.db
    says err 'wrong:5:'
    sed '1s/"format":1/"format":2/' whole >newer
    code 6 bq import newer --store sqlite:other.db
    says err 'update bqsync'
    echo '{}' >none
    code 1 bq import none --store sqlite:other.db
    : >empty
    code 1 bq import empty --store sqlite:other.db
    code 3 bq import absent --store sqlite:other.db
    code 0 bq import whole --store sqlite:other.db
    bq export - --store sqlite:other.db | cmp - whole
}

case_one_users_share_and_end() {
    fill_store
    code 0 bq user export "${id}1" --store sqlite:store.db
    says out '"key":"game_stats"'
    test "$(grep -c "$id" out)" -ge 1
    code 1 grep -q "${id}2" out
    bq user export a@example.org --store sqlite:store.db >mine
    says mine '"email":"a@example.org"'
    code 1 grep -q scrypt mine
    code 3 bq user export "${id}7" --store sqlite:store.db
    bq export before --store sqlite:store.db >/dev/null
    code 0 bq user erase "${id}1" --store sqlite:store.db
    bq export after --store sqlite:store.db >/dev/null
    same "$(grep -c . <(sed -n "/${id}2/,/^{.account/p" before))" \
        "$(grep -c . <(sed -n "/${id}2/,/^{.account/p" after))"
    same '' "$(sqlite3 store.db "SELECT data FROM user_sync_data_v2 WHERE user_id = '${id}1'")"
    says after "\"id\":\"${id}1\",\"erased\":true"
    code 0 bq user erase a@example.org --store sqlite:store.db
    same 0 "$(sqlite3 store.db 'SELECT count(*) FROM auth_users')"
    bq import after --store sqlite:other.db >/dev/null
    bq export - --store sqlite:other.db | cmp - after
}

case_erase_works_through_a_server_too() {
    fill_store
    mv store.db keep.db
    rm -f store.db* port
    mv keep.db store.db
    start_server
    code 0 bq user erase "${id}1" --url "$url" \
        --token "$(bq token --role service_role --jwt-secret-file "$secret")"
    code 5 bq user erase "${id}2" --url "$url" --token "$(token_for 1)"
    stop_server
    same 0 "$(sqlite3 store.db "SELECT count(*) FROM user_sync_data_v2 WHERE user_id = '${id}1'")"
    test "$(sqlite3 store.db "SELECT count(*) FROM user_sync_data_v2 WHERE user_id = '${id}2'")" -gt 2
}

run_cases
