#!/usr/bin/env bash
# sqlequal.sh - the suite sqlequal (docs/reliability.md): random histories of calls by new, old and first
# clients, played to the core in C and to the functions of sql/postgres: the same answers, rows,
# versions, receipts. Then mistakes planted in the SQL, each of which must be found.
#
# BQ_BUILD is the build folder. BQ_LONG=1 plays many more, with other seeds.
set -u -o pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/postgres.sh
code=0
histories=20
[[ ${BQ_LONG:-0} == 0 ]] || histories=400
folder=$(mktemp -d /tmp/bq-equal.XXXXXX)
trap 'postgres_stop "$folder" immediate; rm -rf "$folder"' EXIT
postgres_start "$folder" fsync=off && postgres_install equal && psql -X -q -f tests/sql/play.sql || exit 1

out=$(python3 tests/sql/equal.py --histories "$histories") || code=1
echo "$out"
played=${out##*$'\n'}
out=$(python3 tests/sql/mutants.py equal) || code=1
echo "$out"
mutants=${out##*$'\n'}
[[ $played == "sqlequal: "*"differences 0" && $mutants == "mutants found "* ]] || code=1
echo "$played; $mutants"
exit "$code"
