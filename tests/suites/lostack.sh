#!/usr/bin/env bash
# lostack.sh - the suite lostack (docs/reliability.md): tests/suites/lostack.c on a real server over
# SQLite and over PostgreSQL, and the same on a server that leaves no receipts, where wrong counters
# have to be found.
#
# BQ_BUILD (sanitizers) and BQ_PLANTED are the build folders; BQ_LONG=1 cuts at every byte.
set -u -o pipefail
cd "$(dirname "$0")/../.." || exit 1

# Files that are made and synced by the thousand lie in memory where there is such a place: kill -9
# loses nothing that was written.
[[ -z ${TMPDIR:-} && -w /dev/shm ]] && export TMPDIR=/dev/shm

# preload BUILD: what the server of this build is started with.
preload() {
    local asan
    asan=$(ldd "$1/bqsync" | awk '$1 ~ /^libasan/ { print $3 }')
    echo "${asan:+$asan }$1/libfault_shim.so"
}

# play STORE: the suite on this store; its last line is kept.
code=0
lines=()
play() {
    local log=${TMPDIR:-/tmp}/lostack.$$
    BQSYNC=$BQ_BUILD/bqsync BQ_PRELOAD=$(preload "$BQ_BUILD") BQ_LOSTACK_STORE=$1 \
        "$BQ_BUILD/suite_lostack" >"$log" 2>&1 || code=1
    cat "$log"
    lines+=("$(tail -n 1 "$log")")
    rm -f "$log"
}

# plant NAME STORE: the planted bug must make a counter wrong.
plant() {
    local log found
    log=$(BQSYNC=$BQ_PLANTED/bqsync BQ_PRELOAD=$(preload "$BQ_PLANTED") BQ_PLANT=$1 BQ_PROGRESS='' \
        BQ_LOSTACK_STORE=$2 "$BQ_PLANTED/suite_lostack" bite 2>&1)
    found=$?
    echo "lostack: planted $1, $2: $(grep -c WRONG <<<"$log") wrong counters"
    if ((found != 0)); then
        tail -n 20 <<<"$log"
        code=1
    fi
}

for store in SQLite PostgreSQL; do
    play "$store"
    plant NO_RECEIPT "$store"
done
# One line: the cuts of both.
sed 's/^lostack: //; $!s/$/; /' <(printf '%s\n' "${lines[@]}") | tr -d '\n' | sed 's/^/lostack: /; s/$/\n/'
exit "$code"
