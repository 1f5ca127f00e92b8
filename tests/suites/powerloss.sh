#!/usr/bin/env bash
# powerloss.sh - the suite powerloss (docs/reliability.md): tests/suites/powerloss.c in the release
# build, a small part of it under the sanitizers, and planted bugs that have to be found.
#
# BQ_BUILD (sanitizers), BQ_RELEASE and BQ_PLANTED are the build folders; BQ_LONG=1: at least 100,000
# points.
set -u -o pipefail
cd "$(dirname "$0")/../.." || exit 1

# The files of the histories are in memory; what is made beside them (a lock, an empty file) lies
# there too where there is such a place.
[[ -z ${TMPDIR:-} && -w /dev/shm ]] && export TMPDIR=/dev/shm

log=$(mktemp)
trap 'rm -f "$log"' EXIT
code=0
seeds=4
[[ -n ${BQ_LONG:-} ]] && seeds=180

# Every 41st call under the sanitizers.
BQ_PROGRESS='' "$BQ_BUILD/suite_powerloss" --seeds 2 --from 1 --steps 12 --every 41 --controls 0 ||
    code=1

# plant NAME: the planted bug must be found.
plant() {
    n_planted=$((n_planted + 1))
    if BQ_PROGRESS='' "$BQ_PLANTED/suite_powerloss" --seeds 1 --from 3 --steps 15 --every 9 \
        --plant "$1" >"$log"; then
        n_found=$((n_found + 1))
    else
        code=1
    fi
    tail -n 1 "$log"
}

n_planted=0
n_found=0
for name in RECEIPT_APART $(sed -n 's/.*X(\([A-Z_]*\), "powerloss".*/\1/p' src/base/plant.h); do
    plant "$name"
done

"$BQ_RELEASE/suite_powerloss" --seeds "$seeds" --from 1 --steps 20 >"$log" || code=1
cat "$log"
echo "$(tail -n 1 "$log"); planted bugs found $n_found/$n_planted"
exit "$code"
