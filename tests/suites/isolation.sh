#!/usr/bin/env bash
# isolation.sh - the suite isolation (docs/reliability.md): tests/suites/isolation.c; the same with an
# entry in the list that nobody tests; and with each bug that is planted for it, which has to be found.
#
# BQ_BUILD (sanitizers) and BQ_PLANTED are the build folders; BQ_LONG=1 lets more sockets come and go.
set -u -o pipefail
cd "$(dirname "$0")/../.." || exit 1

[[ -z ${TMPDIR:-} && -w /dev/shm ]] && export TMPDIR=/dev/shm

log=$("$BQ_BUILD/suite_isolation" 2>&1)
code=$?
echo "$log"
line=$(tail -n 1 <<<"$log")

found=0
planted=0

# bites WHAT PATTERN: the program, as the environment has it, must say what is wrong.
bites() {
    local wrong
    planted=$((planted + 1))
    wrong=$(BQ_EARLY=1 BQ_LONG='' "$BQ_PLANTED/suite_isolation" 2>&1 | grep -m 1 "$2" | cut -c1-150)
    echo "planted $1: ${wrong:-nothing}"
    if [[ -n $wrong ]]; then
        found=$((found + 1))
    fi
}

BQ_ENTRY="POST /rest/v1/rpc/nobody_tests_me authenticated" \
    bites "an entry without a test" '^WRONG entry without a test: POST /rest/v1/rpc/nobody_tests_me'
while read -r plant; do
    BQ_PLANT=$plant bites "$plant" '^WRONG'
done < <(sed -n 's/.*X(\([A-Z_]*\), "isolation".*/\1/p' src/base/plant.h)

((found == planted)) || code=1
echo "$line; planted bugs found $found/$planted"
exit "$code"
