#!/usr/bin/env bash
# faults.sh - the suite faults (docs/reliability.md): the n-th allocation, the n-th call of SQLite's
# VFS and the n-th call of libc fail, in the client, in the server, and while either recovers; and a
# server that acknowledges after a failed sync has to be found.
#
# BQ_BUILD (sanitizers) and BQ_PLANTED are the build folders; BQ_LONG=1 runs every site, else a sample
# of those of malloc and libc.
set -u -o pipefail
cd "$(dirname "$0")/../.." || exit 1
[[ -z ${TMPDIR:-} && -w /dev/shm ]] && export TMPDIR=/dev/shm
[[ -z ${BQ_LONG:-} ]] && export BQ_SAMPLE=1
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1} BQSYNC=$BQ_BUILD/bqsync

logs=$(mktemp -d "${TMPDIR:-/tmp}/bqsync-faults.XXXXXX")
trap 'rm -rf "$logs"' EXIT
programs=(test_client_alloc test_server_alloc test_client_faults test_store_faults suite_faults)

# preload BUILD: what a program of this build is started with.
preload() {
    local asan
    asan=$(ldd "$1/bqsync" | awk '$1 ~ /^libasan/ { print $3 }')
    echo "${asan:+$asan }$1/libfault_shim.so"
}

# run PROGRAM: its output and its exit code in files.
run() {
    BQ_PRELOAD=$(preload "$BQ_BUILD") "$BQ_BUILD/$1" >"$logs/$1.log" 2>&1
    echo $? >"$logs/$1.code"
    [[ -n ${BQ_PROGRESS:-} ]] &&
        echo "$(find "$logs" -name '*.code' | wc -l) ${#programs[@]}" >"$BQ_PROGRESS"
}

run suite_faults &
for program in "${programs[@]}"; do
    [[ $program == suite_faults ]] || run "$program"
done
wait

crashes=0 failed=0
leaks=$(cat "$logs"/*.log | grep -c 'ERROR: LeakSanitizer')
for program in "${programs[@]}"; do
    code=$(<"$logs/$program.code")
    ((code >= 128)) && crashes=$((crashes + 1))
    ((code != 0)) && failed=$((failed + 1)) && tail -n 40 "$logs/$program.log"
done
crashes=$((crashes + $(cat "$logs"/*.log | grep -c -e 'ERROR: AddressSanitizer' -e 'runtime error:')))

# Sites by place and kind, as the programs count what they really ran.
cat "$logs"/*.log | awk '/^sites / { sub(/: /, " "); n = $NF; $NF = ""; sum[$0] += n }
    END { for (key in sum) { print key sum[key] } }' | sort
sites=$(cat "$logs"/*.log | awk '/^sites / { n += $NF } END { print n + 0 }')
read -r libc possible unsound recovered_libc < <(awk '
    /of libc: acked/ { split($NF, r, "/"); u = $0; sub(/.*failed sync /, "", u); sub(/,.*/, "", u)
                       print $2, $4, u, r[1] }' "$logs/suite_faults.log")
grep 'of libc: acked' "$logs/suite_faults.log"
# The other programs end at the first site that is not got over.
recovered=$((failed == 0 ? sites - ${libc:-0} + ${recovered_libc:-0} : 0))

# The planted bug.
BQSYNC=$BQ_PLANTED/bqsync BQ_PRELOAD=$(preload "$BQ_PLANTED") BQ_PLANT=ACKED_AFTER_FAILED_SYNC \
    "$BQ_PLANTED/suite_faults" bite >"$logs/bite.log" 2>&1
bite=$?
echo "faults: planted ACKED_AFTER_FAILED_SYNC: found" \
    "$(grep -c 'acknowledged after a failed sync:' "$logs/bite.log") times"
if ((bite != 0)); then
    tail -n 20 "$logs/bite.log"
    failed=$((failed + 1))
fi

echo "faults: $sites sites (of libc $libc of $possible): crashes $crashes, leaks $leaks," \
    "acked after a failed sync ${unsound:-?}, recovered $recovered/$sites"
((failed == 0 && crashes == 0 && leaks == 0 && sites > 0 && recovered == sites))
