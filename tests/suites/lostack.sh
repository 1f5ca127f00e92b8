#!/usr/bin/env bash
# lostack.sh - the suite lostack (docs/reliability.md): tests/suites/lostack.c on a real server, and
# the same on a server that leaves no receipts, where wrong counters have to be found.
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

BQSYNC=$BQ_BUILD/bqsync BQ_PRELOAD=$(preload "$BQ_BUILD") \
    "$BQ_BUILD/suite_lostack" >"${TMPDIR:-/tmp}/lostack.$$" 2>&1
code=$?
line=$(tail -n 1 "${TMPDIR:-/tmp}/lostack.$$")
cat "${TMPDIR:-/tmp}/lostack.$$"
rm -f "${TMPDIR:-/tmp}/lostack.$$"

# plant NAME: the planted bug must make a counter wrong.
plant() {
    local log found
    log=$(BQSYNC=$BQ_PLANTED/bqsync BQ_PRELOAD=$(preload "$BQ_PLANTED") BQ_PLANT=$1 BQ_PROGRESS='' \
        "$BQ_PLANTED/suite_lostack" bite 2>&1)
    found=$?
    echo "lostack: planted $1: $(grep -c WRONG <<<"$log") wrong counters"
    if ((found != 0)); then
        tail -n 20 <<<"$log"
        code=1
    fi
}

plant NO_RECEIPT
echo "$line"
exit "$code"
