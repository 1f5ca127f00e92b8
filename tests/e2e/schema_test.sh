#!/usr/bin/env bash
# schema_test.sh - files that earlier versions wrote are brought forward; newer ones are refused untouched.
#
# tests/fixtures holds one file of each schema, as SQL text: store-N.sql of the server's, client-N.sql
# of the library's. In PostgreSQL the step files themselves are what an earlier version had run.
. tests/lib/shell.sh
. tests/lib/postgres.sh

fixtures=$root/tests/fixtures
n_store=$(find "$root/sql/sqlite" -name '[0-9]*.sql' | wc -l)
n_client=$(sed -n 's/^#define DISK_VERSION //p' "$root/src/client/disk_schema.c")

schema() { sqlite3 "$1" 'SELECT type, name, sql FROM sqlite_master ORDER BY type, name'; }

# Starts on store.db as it is and stops again.
serve_once() {
    start_server
    stop_server
}

make_phone() {
    mkdir phone
    sqlite3 phone/app.bqsync <"$1"
    chmod 600 phone/app.bqsync
    printf '{"url":"%s"}' "$url" >phone/config.json
    token_for 1 >phone/token
    chmod 600 phone/config.json phone/token
}

case_every_schema_has_its_fixture() {
    local n
    ((n_store >= 2 && n_client >= 2))
    for ((n = 1; n <= n_store; n++)); do [[ -s $fixtures/store-$n.sql ]]; done
    for ((n = 1; n <= n_client; n++)); do [[ -s $fixtures/client-$n.sql ]]; done
}

case_each_store_comes_forward_with_all_it_held() {
    local n
    mkdir new && cd new && serve_once && mv store.db ../new.db && cd ..
    for ((n = 1; n <= n_store; n++)); do
        rm -f store.db* started port
        sqlite3 store.db <"$fixtures/store-$n.sql"
        sqlite3 store.db 'SELECT * FROM user_sync_data_v2' >before
        sqlite3 store.db "SELECT * FROM user_sync_store WHERE name IN ('epoch', 'hash_key')" >>before
        test -s before
        serve_once
        sqlite3 store.db 'SELECT * FROM user_sync_data_v2' >after
        sqlite3 store.db "SELECT * FROM user_sync_store WHERE name IN ('epoch', 'hash_key')" >>after
        cmp before after
        same "$n_store" "$(sqlite3 store.db 'PRAGMA user_version')"
        same "$(schema new.db)" "$(schema store.db)"
        same ok "$(sqlite3 store.db 'PRAGMA integrity_check')"
    done
}

# The server had 7, one edit of 4 was on its way (it had not arrived), one of 1 waited: 12.
case_each_client_file_comes_forward_and_syncs_with_each_store() {
    local n s
    for ((s = 1; s <= n_store; s++)); do
        for ((n = 1; n <= n_client; n++)); do
            rm -rf store.db* phone started port
            sqlite3 store.db <"$fixtures/store-$s.sql"
            start_server
            make_phone "$fixtures/client-$n.sql"
            same '{"incorrectAnswers":10}' "$(bq get --dir phone game_stats)"
            same "$n_client" "$(sqlite3 phone/app.bqsync 'PRAGMA user_version')"
            code 0 bq sync --dir phone
            same '{"incorrectAnswers":12}' "$(bq get --dir phone game_stats)"
            same '{"mute":false,"unlockedThemes":["sea","forest"]}' "$(bq get --dir phone settings)"
            ((n < 2)) || same '{"unlockedCount":3}' "$(bq get --dir phone lesson_progress)"
            stop_server
        done
    done
    # Its tables are those of a new file.
    bq init --dir fresh --url http://127.0.0.1:9 >/dev/null
    same "$(schema fresh/app.bqsync)" "$(schema phone/app.bqsync)"
}

case_a_newer_store_is_refused_untouched() {
    sqlite3 store.db <"$fixtures/store-$n_store.sql"
    sqlite3 store.db 'PRAGMA user_version = 99'
    before=$(md5sum <store.db)
    printf 'a secret of the tests with more than 32 bytes' >secret
    chmod 600 secret
    code 6 bq serve --listen 127.0.0.1:0 --store "sqlite:$PWD/store.db" --jwt-secret-file secret
    says err "has schema 99 and this bqsync knows $n_store; update bqsync"
    code 6 bq policy list --store "sqlite:$PWD/store.db"
    says err 'update bqsync'
    same "$before" "$(md5sum <store.db)"
}

# An operator's look changes nothing: it says who brings the file forward.
case_an_older_store_is_not_brought_forward_by_a_look() {
    sqlite3 store.db <"$fixtures/store-1.sql"
    code 6 bq policy list --store "sqlite:$PWD/store.db"
    says err 'start the server to update it'
    same 1 "$(sqlite3 store.db 'PRAGMA user_version')"
}

case_a_newer_client_file_is_refused_where_it_says_so() {
    mkdir phone
    sqlite3 phone/app.bqsync <"$fixtures/client-$n_client.sql"
    chmod 600 phone/app.bqsync
    echo '{"url":"http://127.0.0.1:9"}' >phone/config.json
    sqlite3 phone/app.bqsync "PRAGMA user_version = 99; UPDATE app SET value = '99' WHERE name = 'min_reader'"
    before=$(md5sum <phone/app.bqsync)
    code 6 bq ls --dir phone
    says err "has format 99, this program reads up to $n_client: update the app"
    same "$before" "$(md5sum <phone/app.bqsync)"
    # A newer one that older programs may still read is read.
    sqlite3 phone/app.bqsync "UPDATE app SET value = '1' WHERE name = 'min_reader'"
    code 0 bq ls --dir phone
}

# A cluster of this case's own; gone with it.
start_postgres() {
    pg=$(mktemp -d /tmp/bqpg.XXXXXX)
    trap 'kill $(jobs -p) 2>/dev/null || true; wait || true; postgres_stop "$pg" immediate; rm -rf "$pg"' EXIT
    postgres_start "$pg" fsync=off
    printf 'a secret of the tests with more than 32 bytes' >secret
    chmod 600 secret
    store="postgres://postgres@/phone?host=$pg"
    psql -X -q -d postgres -c 'CREATE DATABASE phone'
    export PGDATABASE=phone
}

case_a_database_of_each_earlier_step_comes_forward_and_a_newer_one_is_refused() {
    local n_steps first
    start_postgres
    n_steps=$(find "$root/sql/postgres" -maxdepth 1 -name '[0-9]*.sql' | wc -l)
    psql -X -q -v ON_ERROR_STOP=1 -f "$root/sql/postgres/options/roles.sql" >/dev/null 2>&1
    for first in 1 $((n_steps - 1)); do
        psql -X -q -c 'DROP SCHEMA public CASCADE; CREATE SCHEMA public' 2>/dev/null
        find "$root/sql/postgres" -maxdepth 1 -name '[0-9]*.sql' | sort | head -n "$first" | while read -r file; do
            psql -X -q -1 -v ON_ERROR_STOP=1 -f "$file" >/dev/null 2>&1
        done
        psql -X -q -v ON_ERROR_STOP=1 -c "INSERT INTO user_sync_data_v2 (user_id, data_key, data, version, seq)
            VALUES ('00000000-0000-4000-8000-000000000001', 'notes', '{\"n\": 1}', 1, 1)"
        mkfifo started
        "$BQSYNC" serve --listen 127.0.0.1:0 --store "$store" --jwt-secret-file secret \
            --log-level warn >started 2>server.log &
        server=$!
        read -r _ <started
        stop_server
        rm started
        same "$n_steps" "$(psql -X -At -c 'SELECT max(version) FROM user_sync_schema')"
        same '{"n": 1}' "$(psql -X -At -c 'SELECT data FROM user_sync_data_v2')"
    done
    psql -X -q -c "INSERT INTO user_sync_schema (version, name) VALUES (99, 'later')"
    code 6 bq serve --listen 127.0.0.1:0 --store "$store" --jwt-secret-file secret
    revision=$(psql -X -At -c "SELECT value FROM user_sync_store WHERE name = 'revision'")
    says err "the schema is 99.$revision and this bqsync knows $n_steps.$revision; update bqsync"
}

run_cases
