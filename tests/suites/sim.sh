#!/usr/bin/env bash
# sim.sh - the suite sim (docs/reliability.md): bqsync simulate on many seeds, optimised and under the
# sanitizers; the same seeds give the same events; each planted bug of this suite is found.
#
# BQ_BUILD (sanitizers), BQ_RELEASE and BQ_PLANTED are build folders; BQ_LONG=1 runs 100,000 seeds;
# BQ_SEEDS another number. BQ_FROM is the first seed.
set -u -o pipefail
cd "$(dirname "$0")/../.." || exit 1

long=${BQ_LONG:-}
seeds=${BQ_SEEDS:-${long:+100000}}
seeds=${seeds:-2000}
under_asan=$((seeds / 10 < 10000 ? seeds / 10 : 10000))
bound=5000 # seeds in which a planted bug has to show
from=${BQ_FROM:-1}
log=$(mktemp -d)
trap 'rm -rf "$log"' EXIT
code=0

# run NAME PROGRAM ARGUMENT...: a run that must hold; its log is told where it does not.
run() {
    local name=$1
    shift
    if ! "$@" >"$log/$name" 2>&1; then
        tail -n 220 "$log/$name"
        code=1
    fi
}

run release "$BQ_RELEASE/bqsync" simulate --seeds "$seeds" --from "$from" \
    ${BQ_PROGRESS:+--progress "$BQ_PROGRESS"}
run asan "$BQ_BUILD/bqsync" simulate --seeds "$under_asan" --from $((from + seeds))

# A seed is a bug report only if it repeats itself, in every build.
run again "$BQ_RELEASE/bqsync" simulate --seeds "$under_asan" --from $((from + seeds))
if [[ $(grep '^hash' "$log/asan") != "$(grep '^hash' "$log/again")" ]]; then
    echo "sim: the same seeds gave other events:"
    grep -h '^hash' "$log/asan" "$log/again"
    code=1
fi

found=0
planted=0
while read -r plant; do
    planted=$((planted + 1))
    "$BQ_PLANTED/bqsync" simulate --seeds "$bound" --plant "$plant" --no-shrink \
        >"$log/plant" 2>&1 </dev/null
    if grep -q '^seed [0-9]*, ' "$log/plant"; then
        found=$((found + 1))
        echo "planted $plant: $(grep '^seed [0-9]*, ' "$log/plant")"
    else
        echo "planted $plant: not found in $bound seeds"
        tail -n 3 "$log/plant"
        code=1
    fi
done < <(tr -d '\n\\' <src/base/plant.h | grep -o 'X([A-Z_]*, *"sim"' | sed 's/X(\([A-Z_]*\),.*/\1/')

grep -h -e '^hash' -e ' fired ' "$log/release"
echo "$(tail -n 1 "$log/release"); planted bugs found $found/$planted"
((code == 0 && planted > 0))
