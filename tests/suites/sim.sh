#!/usr/bin/env bash
# sim.sh - the suite sim (docs/reliability.md): `bqsync simulate` over many seeds, the same seeds
# again under sanitizers with the same events, and each bug that is planted for it, which has to be
# found within as many seeds as pass without it.
#
# BQ_BUILD (sanitizers), BQ_RELEASE and BQ_PLANTED are the build folders; BQ_LONG=1 runs 200,000
# seeds, BQ_SEEDS any number.
set -u -o pipefail
cd "$(dirname "$0")/../.." || exit 1

seeds=${BQ_SEEDS:-${BQ_LONG:+200000}}
seeds=${seeds:-6000}
replayed=300
code=0

log=$("$BQ_RELEASE/bqsync" simulate --seeds "$seeds" --progress "${BQ_PROGRESS:-/dev/null}" 2>&1) ||
    code=1
echo "$log"
line=$(grep '^sim: ' <<<"$log" | tail -n 1)

# The same seed, the same events: the hash of all of them, in two builds.
hash_of() { sed -n 's/^hash \([0-9a-f]*\),.*/\1/p'; }
once=$("$BQ_RELEASE/bqsync" simulate --seeds "$replayed" 2>&1 | hash_of)
log=$("$BQ_BUILD/bqsync" simulate --seeds "$replayed" 2>&1) || code=1
twice=$(hash_of <<<"$log")
echo "replayed $replayed seeds: ${once:-none} and ${twice:-none}"
if [[ -z $once || $once != "$twice" ]]; then
    tail -n 20 <<<"$log"
    code=1
fi

# found PLANT: what it broke; nothing where no seed broke.
found() {
    local most=$((seeds < 6000 ? seeds : 6000))
    "$BQ_PLANTED/bqsync" simulate --seeds "$most" --plant "$1" 2>&1 | grep -m 1 '^seed '
}

n_planted=0
n_found=0
for plant in $(sed -n 's/.*X(\([A-Z_]*\), "sim".*/\1/p' src/base/plant.h); do
    said=$(found "$plant")
    echo "planted $plant: ${said:-not found}"
    n_planted=$((n_planted + 1))
    [[ -n $said ]] && n_found=$((n_found + 1))
done
((n_found == n_planted && n_planted > 0)) || code=1
echo "$line; planted bugs found $n_found/$n_planted"
exit "$code"
