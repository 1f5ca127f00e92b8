#!/usr/bin/env bash
# model.sh - the suite model (docs/reliability.md): tests/model/sync.pml, searched exhaustively by
# Spin; then the same with planted mistakes, each of which must be found, and with rare paths
# forbidden, each of which must be come by.
#
# BQ_LONG=1 takes the large configurations (about 10 minutes and 3 GB), else small ones run.
# MODEL_KEEP names a folder that is to be kept, with the trail of each error (spin -t).
set -u -o pipefail
cd "$(dirname "$0")/../.." || exit 1
model=$PWD/tests/model/sync.pml
work=${MODEL_KEEP:-$(mktemp -d "${TMPDIR:-/tmp}/model.XXXXXX")}
[[ -n ${MODEL_KEEP:-} ]] || trap 'rm -rf "$work"' EXIT
mkdir -p "$work"
code=0

# NAME, and the -D of it: two devices that make two edits each; then one thing more at a time.
small=(
    "plain      PUTS0=2 PUTS1=1 CRASHES=0"
    "crashes    PUTS0=1 PUTS1=1"
    "refusal    PUTS0=1 PUTS1=1 REFUSALS=1 CRASHES=0"
    "restore    PUTS0=1 PUTS1=1 RESTORES=1 CRASHES=0 SERVER_CRASHES=0"
    "backup     PUTS0=2 PUTS1=0 BACKUPS=1 CRASHES=0 SERVER_CRASHES=0"
)
large=(
    "plain      PUTS0=2 PUTS1=2"
    "refusal    PUTS0=2 PUTS1=1 REFUSALS=1"
    "restore    PUTS0=2 PUTS1=1 RESTORES=1 CRASHES=0 SERVER_CRASHES=0"
    "restore2   PUTS0=2 PUTS1=0 RESTORES=2 CRASHES=0"
    "forget     PUTS0=1 PUTS1=1 REFUSALS=1 RESTORES=1 CRASHES=0"
    "backup     PUTS0=2 PUTS1=1 BACKUPS=1 CRASHES=0 SERVER_CRASHES=0"
    "evidence   PUTS0=2 PUTS1=0 RESTORES=1 SILENT"
)

# The mistakes; what is broken stands in the model beside each name.
mistakes=(
    "NO_RECEIPT             PUTS0=2 PUTS1=1"
    "RECEIPT_LATER          PUTS0=2 PUTS1=1"
    "ACK_BEFORE_COMMIT      PUTS0=2 PUTS1=1"
    "SUM_AS_ABSOLUTE        PUTS0=1 PUTS1=1"
    "BASE_NOT_MOVED         PUTS0=2 PUTS1=1"
    "QUEUE_DROPPED_EARLY    PUTS0=2 PUTS1=1"
    "EDIT_CHANGED_IN_FLIGHT PUTS0=2 PUTS1=1"
    "NOT_REBASED            PUTS0=2 PUTS1=1"
    "LATE_COPY_APPLIED      PUTS0=2 PUTS1=1"
    "SEND_BEFORE_SAVE       PUTS0=2 PUTS1=1"
    "REFUSAL_NO_RECEIPT     PUTS0=1 PUTS1=1 REFUSALS=1"
    "NO_PREV                PUTS0=2 PUTS1=0 REFUSALS=1 RESTORES=1 CRASHES=0"
    "EPOCH_IGNORED          PUTS0=1 PUTS1=1 RESTORES=1 CRASHES=0"
    "LOG_FORGOTTEN          PUTS0=1 PUTS1=1 RESTORES=1 CRASHES=0"
    "EVIDENCE_IGNORED       PUTS0=2 PUTS1=0 RESTORES=1 SILENT"
    "SETTLED_BY_NUMBER      PUTS0=2 PUTS1=0 BACKUPS=1 CRASHES=0"
    "REWOUND_KEEPS_SUMS     PUTS0=2 PUTS1=0 BACKUPS=1 CRASHES=0"
)

# A store that comes back without a new epoch, and two devices that write: it has to lose.
controls=("SILENT                PUTS0=1 PUTS1=1 RESTORES=1 CRASHES=0")

# The places REACHED(n) of the model.
probes=(
    "PROBE=2  PUTS0=1 PUTS1=1 CRASHES=0"
    "PROBE=3  PUTS0=1 PUTS1=1 REFUSALS=1 CRASHES=0"
    "PROBE=4  PUTS0=1 PUTS1=1 CRASHES=0"
    "PROBE=5  PUTS0=1 PUTS1=1 REFUSALS=1 CRASHES=0"
    "PROBE=6  PUTS0=1 PUTS1=1 RESTORES=1 CRASHES=0 SERVER_CRASHES=0"
    "PROBE=7  PUTS0=2 PUTS1=1 CRASHES=0"
    "PROBE=8  PUTS0=2 PUTS1=0 BACKUPS=1 CRASHES=0 SERVER_CRASHES=0"
    "PROBE=9  PUTS0=2 PUTS1=0 BACKUPS=1 CRASHES=0 SERVER_CRASHES=0"
    "PROBE=10 PUTS0=2 PUTS1=0 BACKUPS=1 CRASHES=0 SERVER_CRASHES=0"
    "PROBE=11 PUTS0=2 PUTS1=0 RESTORES=1 SILENT CRASHES=0"
    "PROBE=12 PUTS0=1 PUTS1=1 REFUSALS=1 CRASHES=0"
)

# search FOLDER OPTIMISE DEFINE...: what pan prints. 2^25 slots and 4 GB at most, lossless.
search() {
    local folder=$work/$1 optimise=$2
    shift 2
    mkdir -p "$folder" && cd "$folder" || return
    spin -a "${@/#/-D}" "$model" >spin.log 2>&1 &&
        gcc "$optimise" -DSAFETY -DNOREDUCE -DMEMLIM=4000 -o pan pan.c >>spin.log 2>&1 &&
        ./pan -m200000 -w"$slots" || cat spin.log
}

# sound NAME DEFINE...: no error, and nothing left out.
sound() {
    local name=$1 out
    shift
    out=$(search "sound-$name" -O2 "$@")
    n_states=$(awk '/ states, stored/ { print $1 }' <<<"$out")
    printf '%-12s %-60s %10s states\n' "$name" "$*" "${n_states:-no}"
    if [[ $out != *"errors: 0"* || -z $n_states || $out == *"out of memory"* ||
        $out == *"Search not completed"* || $out == *"depth too small"* ]]; then
        echo "$out" | tail -n 40
        return 1
    fi
    # Every step of every process was taken.
    ! grep -A 99 '^unreached in' <<<"$out" | grep ', state ' | grep -v -e '-end-'
}

# broken NAME DEFINE...: an assertion fails.
broken() {
    local name=$1 found
    shift
    found=$(search "broken-$name" -O1 "$@" | sed -n 's/^pan:1: //p')
    printf '%-24s %s\n' "$name" "${found:0:70}"
    [[ $found == "assertion violated"* ]]
}

# all_broken LINE...: how many are found, in n_found. Two at a time.
all_broken() {
    local lines=("$@") line pids=() pid
    n_found=0
    for line in "${lines[@]}"; do
        # shellcheck disable=SC2086 # a line is a name and definitions
        broken ${line%% *} $line &
        pids+=($!)
        if ((${#pids[@]} == 2)); then
            wait "${pids[0]}" && n_found=$((n_found + 1))
            pids=("${pids[1]}")
        fi
    done
    for pid in "${pids[@]}"; do
        wait "$pid" && n_found=$((n_found + 1))
    done
    ((n_found == ${#lines[@]})) || code=1
}

progress() {
    [[ -z ${BQ_PROGRESS:-} ]] || echo "$1 $2" >"$BQ_PROGRESS"
}

configurations=("${small[@]}")
slots=22
if [[ -n ${BQ_LONG:-} ]]; then
    configurations=("${large[@]}")
    slots=25
fi
n_all=0
n_wrong=0
done=0
total=$((${#configurations[@]} + 1))
for line in "${configurations[@]}"; do
    # shellcheck disable=SC2086 # a line is a name and definitions
    sound $line || n_wrong=$((n_wrong + 1))
    n_all=$((n_all + ${n_states:-0}))
    rm -rf "$work/sound-"*/pan
    progress $((done += 1)) $total
done
slots=20
all_broken "${mistakes[@]}"
n_mistakes=$n_found
all_broken "${controls[@]}"
n_controls=$n_found
all_broken "${probes[@]}"
((n_wrong == 0)) || code=1
echo "model: ${#configurations[@]} configurations, $n_all states, exhaustive: violations $n_wrong;" \
    "planted mistakes found $n_mistakes/${#mistakes[@]}; control silent restore:" \
    "lost $n_controls/${#controls[@]}; rare paths reached $n_found/${#probes[@]}"
exit $code
