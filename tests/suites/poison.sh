#!/usr/bin/env bash
# poison.sh - the suite poison (docs/reliability.md): tests/suites/poison.c, and the same with each
# bug that is planted for it, which has to be found.
#
# BQ_BUILD (sanitizers) and BQ_PLANTED are the build folders. There is one size.
set -u -o pipefail
cd "$(dirname "$0")/../.." || exit 1

log=$(BQSYNC=$BQ_BUILD/bqsync "$BQ_BUILD/suite_poison" 2>&1)
code=$?
echo "$log"
line=$(grep '^poison: delivered' <<<"$log" | tail -n 1)

for plant in $(sed -n 's/.*X(\([A-Z_]*\), "poison".*/\1/p' src/base/plant.h); do
    found=$(BQ_PLANT=$plant BQSYNC=$BQ_PLANTED/bqsync BQ_PROGRESS='' \
        "$BQ_PLANTED/suite_poison" 2>&1 | grep -m 1 'WRONG')
    echo "planted $plant: ${found:-nothing}"
    [[ -n $found ]] || code=1
done
echo "$line"
exit "$code"
