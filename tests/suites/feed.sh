#!/usr/bin/env bash
# feed.sh - the suite feed (docs/reliability.md): tests/suites/feed.c, and the same with each bug that
# is planted for it, where a row has to be skipped on each store.
#
# BQ_BUILD (sanitizers), BQ_RELEASE and BQ_PLANTED are the build folders; BQ_LONG=1 takes the longer
# histories too.
set -u -o pipefail
cd "$(dirname "$0")/../.." || exit 1

# Each order is a commit that is synced; what is tested is their order, not the disk.
[[ -z ${TMPDIR:-} && -w /dev/shm ]] && export TMPDIR=/dev/shm

build=$BQ_BUILD
[[ -n ${BQ_LONG:-} ]] && build=$BQ_RELEASE
log=$("$build/suite_feed" 2>&1)
code=$?
echo "$log"
line=$(grep '^feed: ' <<<"$log" | tail -n 1)

# bites PLANT STORE: the planted bug must be found on this store.
bites() {
    local found
    found=$(BQ_PLANT=$1 BQ_FEED_STORE=$2 BQ_PROGRESS='' "$BQ_PLANTED/suite_feed" 2>&1 |
        grep '^feed: ')
    echo "planted $1, $2: ${found:-nothing}"
    if ! grep -qE 'skipped [1-9]|back [1-9]' <<<"$found"; then
        code=1
    fi
}

for plant in $(sed -n 's/.*X(\([A-Z_]*\), "feed".*/\1/p' src/base/plant.h); do
    bites "$plant" memory
    bites "$plant" sqlite
    bites "$plant" postgres
done
echo "$line"
exit "$code"
