#!/usr/bin/env bash
# user_test.sh - bqsync user: accounts in a store's file and at a server, with the same answers.
. tests/lib/shell.sh

# sign_in EMAIL PASSWORD: prints the HTTP status; the answer is in the file session.
sign_in() {
    curl -sS -o session -w '%{http_code}' -H 'Content-Type: application/json' \
        -d "{\"email\":\"$1\",\"password\":\"$2\"}" "$url/auth/v1/token?grant_type=password"
}

# One after the other: added, listed, signed in, reset, disabled, enabled, deleted. $1: how the
# command reaches the store; stop and go are run around it.
story() {
    local how=("$@") id made
    printf 'correct horse\n' >password
    stop
    bq user add Ann@example.com --password-file password "${how[@]}" >out
    says out 'ann@example.com'
    if grep -q 'correct horse' out; then
        return 1
    fi
    go
    same 200 "$(sign_in ann@example.com 'correct horse')"
    stop
    bq user list "${how[@]}" >out
    says out 'active'
    same 1 "$(wc -l <out)"
    id=$(cut -d' ' -f1 out)
    bq user reset ANN@example.com "${how[@]}" >out
    made=$(sed -n 's/^password: //p' out)
    same 24 ${#made}
    go
    same 400 "$(sign_in ann@example.com 'correct horse')"
    same 200 "$(sign_in ann@example.com "$made")"
    stop
    bq user disable "$id" "${how[@]}" >out
    bq user list --json "${how[@]}" >out
    says out '"state":"disabled"'
    go
    same 400 "$(sign_in ann@example.com "$made")"
    says session user_banned
    stop
    bq user enable "$id" "${how[@]}" >out
    go
    same 200 "$(sign_in ann@example.com "$made")"
    stop
    # What is wrong is said, and changes nothing.
    code 1 bq user add ann@example.com --password-file password "${how[@]}"
    says err 'already been registered'
    printf 'short' >short
    code 1 bq user add bob@example.com --password-file short "${how[@]}"
    says err 'at least 6 characters'
    code 1 bq user add nobody --password-file password "${how[@]}"
    says err 'email'
    code 3 bq user delete bob@example.com "${how[@]}"
    code 3 bq user disable 00000000-0000-4000-8000-00000000000f "${how[@]}"
    code 2 bq user disable bob "${how[@]}"
    code 3 bq user add bob@example.com --password-file absent "${how[@]}"
    same 1 "$(bq user list "${how[@]}" | wc -l)"
    bq user delete "$id" --json "${how[@]}" >out
    says out '"deleted":true'
    same 0 "$(bq user list "${how[@]}" | wc -l)"
    go
    same 400 "$(sign_in ann@example.com "$made")"
}

case_accounts_in_the_file_while_no_server_runs() {
    stop() { stop_server; }
    go() { start_server --accounts on; }
    go
    story --store "sqlite:$PWD/store.db"
    # A server has the file: reading is fine, writing is refused and says why.
    bq user list --store "sqlite:$PWD/store.db"
    code 6 bq user add bob@example.com --password-file password --store "sqlite:$PWD/store.db"
    stop_server
}

case_accounts_at_a_server() {
    stop() { :; }
    go() { :; }
    start_server --accounts on --publishable-key sb_publishable_of_the_tests
    sign_in() {
        curl -sS -o session -w '%{http_code}' -H 'apikey: sb_publishable_of_the_tests' \
            -H 'X-Supabase-Api-Version: 2024-01-01' -H 'Content-Type: application/json' \
            -d "{\"email\":\"$1\",\"password\":\"$2\"}" "$url/auth/v1/token?grant_type=password"
    }
    bq token --role service_role --jwt-secret-file "$secret" >service
    story --url "$url" --token-file service
    # Anybody else's token is not enough.
    code 5 bq user list --url "$url" --token "$(token_for 1)"
    stop_server
}

# json NAME FILE: a member of an object, a text without escapes.
json() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" "$2"; }

case_accounts_of_another_server_sync_here() {
    local login login_server here issuer=https://login.example/auth/v1
    mkdir login here
    cd login
    start_server --accounts on --public-url https://login.example
    login=$url login_server=$server
    cd ../here
    # Without the issuer it does not start, nor where nobody answers.
    code 2 bq serve --listen 127.0.0.1:0 --store sqlite:store.db --jwks-url "$login/x"
    says err '--jwt-issuer'
    code 4 bq serve --listen 127.0.0.1:0 --store sqlite:store.db --jwt-issuer "$issuer" \
        --jwt-audience authenticated --jwks-url http://127.0.0.1:1/
    says err 'the keys of --jwks-url cannot be read'
    start_server --accounts off --jwks-url "$login/auth/v1/.well-known/jwks.json" \
        --jwt-issuer "$issuer" --jwt-audience authenticated
    here=$url
    curl -sSf -o session -H 'Content-Type: application/json' \
        -d '{"email":"ann@example.com","password":"correct horse"}' "$login/auth/v1/signup"
    json access_token session >token
    for device in a b; do
        bq init --dir "$device" --url "$here" --token-file token
    done
    bq put notes '{"text":"from a"}' --dir a
    bq sync --dir a
    bq sync --dir b
    bq get notes --dir b >out
    says out 'from a'
    # Another signature under the same kid.
    bq init --dir c --url "$here" --token "$(sed 's/.\{20\}$/AAAAAAAAAAAAAAAAAAAA/' token)"
    code 5 bq sync --dir c
    stop_server
    server=$login_server
    stop_server
}

case_wrong_words_are_refused() {
    code 2 bq user
    says err '--store'
    code 2 bq user add --store sqlite:x.db
    code 2 bq user burn a@b --store sqlite:x.db
    code 2 bq user list extra --store sqlite:x.db
    code 2 bq user add a@b --password secret --store sqlite:x.db
    says err '--password'
}

run_cases
