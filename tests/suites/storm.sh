#!/usr/bin/env bash
# storm.sh - the suite storm (docs/reliability.md): tests/suites/storm.c, and the same with each bug
# that is planted for it, which has to be found.
#
# The server and the sockets are those of the release build: what is looked at is time. BQ_RELEASE and
# BQ_PLANTED are the build folders; BQ_LONG=1 takes 5,000 sockets.
set -u -o pipefail
cd "$(dirname "$0")/../.." || exit 1

[[ -z ${TMPDIR:-} && -w /dev/shm ]] && export TMPDIR=/dev/shm

log=$(BQSYNC=$BQ_RELEASE/bqsync "$BQ_RELEASE/suite_storm" 2>&1)
code=$?
echo "$log"
line=$(tail -n 1 <<<"$log")

found=0
planted=0
while read -r plant; do
    planted=$((planted + 1))
    wrong=$(BQ_PLANT=$plant BQSYNC=$BQ_PLANTED/bqsync BQ_LONG='' BQ_STORM=50 BQ_PROGRESS='' \
        "$BQ_PLANTED/suite_storm" 2>&1 | grep -m 1 '^WRONG')
    echo "planted $plant: ${wrong:-nothing}"
    if [[ -n $wrong ]]; then
        found=$((found + 1))
    fi
done < <(sed -n 's/.*X(\([A-Z_]*\), "storm".*/\1/p' src/base/plant.h)

((found == planted)) || code=1
echo "$line; planted bugs found $found/$planted"
exit "$code"
