#!/usr/bin/env bash
# backup_test.sh - bqsync backup and restore: what is refused and with which words, what is kept.
. tests/lib/shell.sh

# A store with one document, its server stopped.
make_store() {
    start_server
    bq init --dir phone --url "$url" --token "$(token_for 1)" >/dev/null
    bq put --dir phone settings '{"mute":true}' >/dev/null
    bq sync --dir phone >/dev/null
    stop_server
}

sql() { sqlite3 "$@"; }

case_a_backup_is_one_whole_file_with_the_same_rows_and_epoch() {
    make_store
    code 0 bq backup --store "sqlite:$PWD/store.db" copy.db
    says out 'copy.db: 1 users, 1 documents'
    same 600 "$(stat -c %a copy.db)"
    same ok "$(sql copy.db 'PRAGMA integrity_check')"
    same '' "$(ls copy.db?* 2>/dev/null || true)"
    same "$(sql store.db 'SELECT data FROM user_sync_data_v2')" \
        "$(sql copy.db 'SELECT data FROM user_sync_data_v2')"
    same "$(sql store.db "SELECT value FROM user_sync_store WHERE name = 'epoch'")" \
        "$(sql copy.db "SELECT value FROM user_sync_store WHERE name = 'epoch'")"
}

case_an_existing_file_is_never_overwritten() {
    make_store
    echo precious >copy.db
    code 1 bq backup --store "sqlite:$PWD/store.db" copy.db
    says err 'copy.db exists already; name another file or remove it'
    same precious "$(<copy.db)"
}

case_bad_sources_and_places_are_refused_with_a_sentence_and_leave_nothing() {
    make_store
    code 3 bq backup --store sqlite:none.db copy.db
    says err 'none.db cannot be opened: No such file or directory; check the path'
    code 3 bq backup --store "sqlite:$PWD/store.db" nowhere/copy.db
    says err 'nowhere/copy.db.partial cannot be made'
    code 2 bq backup --store store.db copy.db
    says err '--store takes sqlite:PATH'
    code 2 bq backup copy.db
    sql other.db 'CREATE TABLE t (a)'
    code 6 bq backup --store sqlite:other.db copy.db
    says err 'other.db is no store of bqsync'
    same '' "$(ls copy.db* 2>/dev/null || true)"
}

case_a_full_disk_is_told_and_leaves_nothing() {
    make_store
    # A limit on the size of files stands for a disk without room: the copy is 64 KiB and more.
    code 6 bash -c 'trap "" XFSZ; ulimit -f 32; exec "$@"' - "$BQSYNC" backup \
        --store "sqlite:$PWD/store.db" copy.db
    says err 'copy.db.partial cannot be written'
    same '' "$(ls copy.db* 2>/dev/null || true)"
}

case_a_restore_gives_a_new_epoch_and_keeps_the_old_file() {
    make_store
    bq backup --store "sqlite:$PWD/store.db" copy.db >/dev/null
    old=$(sql store.db "SELECT value FROM user_sync_store WHERE name = 'epoch'")
    sql store.db "UPDATE user_sync_data_v2 SET data = '{\"later\":1}'"
    code 0 bq restore copy.db --store "sqlite:$PWD/store.db"
    says out '1 users, 1 documents, epoch '
    new=$(sql store.db "SELECT value FROM user_sync_store WHERE name = 'epoch'")
    [[ $new != "$old" && ${#new} == 32 ]]
    same '{"mute":true}' "$(sql store.db 'SELECT data FROM user_sync_data_v2')"
    same '{"later":1}' "$(sql store.db.before-* 'SELECT data FROM user_sync_data_v2')"
    same "$old" "$(sql copy.db "SELECT value FROM user_sync_store WHERE name = 'epoch'")"
}

case_what_only_the_wal_held_is_kept_aside_too() {
    make_store
    bq backup --store "sqlite:$PWD/store.db" copy.db >/dev/null
    # A writer that is killed leaves its WAL behind; a damaged file cannot take it in.
    start_again
    bq put --dir phone notes '{"a":1}' >/dev/null
    bq sync --dir phone >/dev/null
    kill -KILL "$server"
    wait "$server" || true
    [[ -s store.db-wal ]]
    dd if=/dev/zero of=store.db bs=1 seek=0 count=100 conv=notrunc 2>/dev/null
    code 0 bq restore copy.db --store "sqlite:$PWD/store.db"
    [[ -s $(echo store.db.before-*Z-wal) && ! -e store.db-wal ]]
    same ok "$(sql store.db 'PRAGMA integrity_check')"
}

start_again() {
    mkfifo started
    "$BQSYNC" serve --listen "127.0.0.1:$(<port)" --store "sqlite:$PWD/store.db" \
        --jwt-secret-file "$secret" --log-level warn >started 2>server.log &
    server=$!
    read -r _ <started
}

case_a_damaged_or_newer_backup_is_refused_and_the_store_stays() {
    make_store
    bq backup --store "sqlite:$PWD/store.db" copy.db >/dev/null
    before=$(md5sum <store.db)
    cp copy.db newer.db
    sql newer.db 'PRAGMA user_version = 99'
    code 6 bq restore newer.db --store "sqlite:$PWD/store.db"
    says err 'newer.db has schema 99'
    says err 'update bqsync'
    dd if=/dev/urandom of=copy.db bs=4096 seek=3 count=4 conv=notrunc 2>/dev/null
    code 6 bq restore copy.db --store "sqlite:$PWD/store.db"
    code 1 bq restore store.db --store "sqlite:$PWD/store.db"
    says err 'is the store itself'
    same "$before" "$(md5sum <store.db)"
    same '' "$(ls store.db.* 2>/dev/null | grep -v lock || true)"
}

case_a_store_that_other_tools_brought_back_gets_a_new_epoch() {
    make_store
    old=$(sql store.db "SELECT value FROM user_sync_store WHERE name = 'epoch'")
    code 0 bq restore --epoch-only --store "sqlite:$PWD/store.db"
    new=$(sql store.db "SELECT value FROM user_sync_store WHERE name = 'epoch'")
    [[ $new != "$old" ]]
    says out "$new"
    code 2 bq restore --store "sqlite:$PWD/store.db"
    code 2 bq restore copy.db --epoch-only --store "sqlite:$PWD/store.db"
}

run_cases
