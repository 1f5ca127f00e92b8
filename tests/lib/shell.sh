# shell.sh - test cases in bash, counted like cmocka's. Sourced by tests/e2e/*_test.sh.
#
# A case is a function whose name begins with case_ and says the rule. Each runs in a shell of its own
# in an empty folder that goes away; the first command that fails fails it, and what it ran is shown.
# $BQSYNC is the program, $root the source folder. The file ends with run_cases.

root=$(pwd)
BQSYNC=$(realpath "${BQSYNC:-build/bqsync}")

bq() { "$BQSYNC" "$@"; }

# code CODE COMMAND...: the command must end with this exit code; its output goes to files out, err.
code() {
    local wanted=$1 got=0
    shift
    "$@" >out 2>err || got=$?
    if ((got != wanted)); then
        echo "exit code $got, wanted $wanted: $*" >&2
        cat out err >&2
        return 1
    fi
}

# same WANTED GOT
same() {
    if [[ $1 != "$2" ]]; then
        printf 'wanted: %s\ngot:    %s\n' "$1" "$2" >&2
        return 1
    fi
}

# says FILE TEXT: the file holds the text.
says() {
    if ! grep -qF -- "$2" "$1"; then
        echo "$1 does not say: $2" >&2
        cat "$1" >&2
        return 1
    fi
}

# Starts a server on a free port, or at $listen; sets url, server (its process) and secret.
start_server() {
    secret=$PWD/secret
    printf 'a secret of the tests with more than 32 bytes' >"$secret"
    chmod 600 "$secret"
    mkfifo started
    "$BQSYNC" serve --listen "${listen:-127.0.0.1:0}" --port-file port --store "sqlite:$PWD/store.db" \
        --jwt-secret-file "$secret" --log-level warn "$@" >started 2>server.log &
    server=$!
    if ! read -r _ <started; then
        cat server.log >&2
        return 1
    fi
    rm started
    url=http://127.0.0.1:$(<port)
}

# Ends it in order; a sanitizer's report or a lost store is an exit code here.
stop_server() {
    kill -TERM "$server"
    wait "$server"
}

# token_for N: a token for the test's user N.
token_for() {
    bq token --user "00000000-0000-4000-8000-00000000000$1" --jwt-secret-file "$secret"
}

run_cases() {
    local name folder passed=0 failed=()
    local cases
    mapfile -t cases < <(declare -F | awk '$3 ~ /^case_/ { print $3 }')
    echo "[==========] Running ${#cases[@]} test(s)."
    for name in "${cases[@]}"; do
        folder=$(mktemp -d "${TMPDIR:-/tmp}/bqsync-test.XXXXXX")
        echo "[ RUN      ] ${name#case_}"
        # A condition would switch off errexit inside, so the shell is run apart and then asked.
        (
            set -eu -o pipefail
            trap 'kill $(jobs -p) 2>/dev/null || true; wait || true' EXIT
            cd "$folder"
            "$name"
        ) >"$folder.log" 2>&1
        if (($? == 0)); then
            echo "[       OK ] ${name#case_}"
            passed=$((passed + 1))
        else
            cat "$folder.log"
            echo "[  FAILED  ] ${name#case_}"
            failed+=("${name#case_}")
        fi
        rm -rf "$folder" "$folder.log"
    done
    echo "[==========] ${#cases[@]} test(s) run."
    echo "[  PASSED  ] $passed test(s)."
    if ((${#failed[@]} > 0)); then
        echo "[  FAILED  ] ${#failed[@]} test(s), listed below:"
        printf '[  FAILED  ] %s\n' "${failed[@]}"
        exit 1
    fi
    exit 0
}
