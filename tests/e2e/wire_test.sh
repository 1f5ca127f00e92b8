#!/usr/bin/env bash
# wire_test.sh - the published clients from npm against the server, in node and in a page of
# Chromium: runs tests/wire/test_*.mjs with node's own test runner. The packages are pinned by
# tests/wire/package-lock.json and installed once into a folder of the user's cache, named after that
# file. Arguments: files to run alone. Without node and npm, or where npm cannot fetch the packages,
# it is skipped (exit code 77) and says so; with $CI set it fails.
set -eu -o pipefail

BQSYNC=$(realpath "${BQSYNC:-build/bqsync}")
export BQSYNC
wire=$PWD/tests/wire
sum=$(cat "$wire/package.json" "$wire/package-lock.json" | sha256sum | cut -c1-16)
cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/bqsync-wire-$sum

skip() {
    echo "wire_test: skipped: $1"
    [[ -n ${CI:-} ]] && exit 1
    exit 77
}

if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
    skip "node and npm are not here (Debian: nodejs, npm)"
fi

# Fetched beside it and moved there whole: two runs at once do no harm.
if [[ ! -e $cache/node_modules ]]; then
    mkdir -p "$(dirname "$cache")"
    fresh=$(mktemp -d "$cache.XXXXXX")
    cp "$wire/package.json" "$wire/package-lock.json" "$fresh"
    if ! (cd "$fresh" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) >&2; then
        rm -rf "$fresh"
        skip "npm cannot fetch the clients"
    fi
    mv -T "$fresh" "$cache" 2>/dev/null || rm -rf "$fresh"
fi

# Modules are looked for beside the files that import them: the tests run in a folder of their own.
folder=$(mktemp -d "${TMPDIR:-/tmp}/bqsync-test.XXXXXX")
trap 'rm -rf "$folder"' EXIT
cp "$wire"/*.mjs "$wire/package.json" "$folder"
ln -s "$cache/node_modules" "$folder/node_modules"
cd "$folder"
if (($# == 0)); then
    set -- test_*.mjs
fi
code=0
timeout -k 5 240 node --test --test-reporter=spec "$@" >log 2>&1 || code=$? # ctest waits for 300
if ((code == 124 || code == 137)); then
    echo "wire_test: stopped after 240 s; the test behind the last line hung"
fi
grep -v -e 'Node.js 20 and below' -e '^$' log || true
passed=$(sed -n 's/^. pass //p' log)
echo "[  PASSED  ] ${passed:-0} test(s)."
if ((code != 0 || ${passed:-0} == 0)); then
    echo "[  FAILED  ] $(sed -n 's/^. fail //p' log) test(s)."
    exit 1
fi
