#!/usr/bin/env bash
# merge.sh - the suite merge (docs/reliability.md): bqsync merge and the functions of sql/postgres
# against tests/merge/reference.py, which was made from docs/merge.md alone; bugs planted in the
# reference and in the SQL; the vectors, which tests/vectors/generate.py must write as they are; and the
# branch coverage of src/merge.
#
#   tests/suites/merge.sh [OPTION...]    options of tests/merge/compare.py, such as --values
#
# BQSYNC is the program, BQ_BUILD its build folder. BQ_LONG=1 takes 100,000 random documents; without it
# the SQL, on a cluster of its own, answers all vectors and a part of the other cases. The
# coverage is that of ./test where it was measured after the last change, else it is measured here.
set -u -o pipefail
cd "$(dirname "$0")/../.." || exit 1
export BQSYNC=${BQSYNC:-${BQ_BUILD:?}/bqsync}
code=0

# check NAME COMMAND...: shows what it prints, which is then in $out.
check() {
    local name=$1
    shift
    if ! out=$("$@" 2>&1); then
        echo "merge: $name failed"
        code=1
    fi
    echo "$out"
}

# Whether the figures of ./test were measured on these sources and tests.
coverage_is_fresh() {
    local log=build-test/coverage.log
    [[ -s $log ]] && [[ -z $(find src/base src/json src/merge src/proto tests/unit tests/property \
        tests/vectors tests/lib scripts/coverage -newer "$log" -type f -print -quit) ]]
}

coverage() {
    if coverage_is_fresh; then
        cat build-test/coverage.log
    else
        scripts/coverage
    fi
}

check "coverage" coverage
percent=$(sed -n 's/^branch coverage of src\/merge: \([0-9.]*\) %.*/\1/p' <<<"$out")
[[ $percent == 100.00 ]] || code=1
check "vectors" python3 tests/vectors/generate.py --check
check "planted bugs" python3 tests/merge/compare.py --self-test
planted=${out##*$'\n'}
check "comparison" python3 tests/merge/compare.py "$@"
compared=${out##*$'\n'}
[[ $compared == "merge: "*"mismatches 0" && $planted == "planted bugs found "* ]] || code=1

. tests/lib/postgres.sh
folder=$(mktemp -d /tmp/bq-merge.XXXXXX)
trap 'postgres_stop "$folder" immediate; rm -rf "$folder"' EXIT
postgres_start "$folder" fsync=off && postgres_install merge && psql -X -q -f tests/sql/merge_line.sql ||
    exit 1
part=(--part 61 --documents 400)
[[ ${BQ_LONG:-0} == 0 ]] || part=()
check "SQL" python3 tests/merge/compare.py "${part[@]}" --values SQL=tests/merge/sql.sh
in_sql=${out##*$'\n'}
check "planted bugs in the SQL" python3 tests/sql/mutants.py merge
mutants=${out##*$'\n'}
[[ $in_sql == "merge: "*"mismatches 0" && $mutants == "mutants found "* ]] || code=1
echo "$compared; in SQL ${in_sql#merge: }; branch coverage of src/merge ${percent%.00} %;" \
    "$planted; $mutants"
exit "$code"
