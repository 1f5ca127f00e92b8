#!/usr/bin/env bash
# isolation.sh - the suite isolation (docs/reliability.md): tests/suites/isolation.c on our server and on
# the functions of sql/postgres; the same with an entry in the list that nobody tests; with each bug
# that is planted for it, and with holes in the SQL: each has to be found.
#
# BQ_BUILD (sanitizers) and BQ_PLANTED are the build folders; BQ_LONG=1 lets more sockets come and go.
set -u -o pipefail
cd "$(dirname "$0")/../.." || exit 1

[[ -z ${TMPDIR:-} && -w /dev/shm ]] && export TMPDIR=/dev/shm

log=$("$BQ_BUILD/suite_isolation" 2>&1)
code=$?
echo "$log"
line=$(tail -n 1 <<<"$log")
log=$("$BQ_BUILD/suite_isolation" functions 2>&1) || code=1
echo "$log"
line+="; $(tail -n 1 <<<"$log")"

found=0
planted=0

# bites WHAT PATTERN [ARGUMENT]: the program, as the environment has it, must say what is wrong.
bites() {
    local wrong
    planted=$((planted + 1))
    wrong=$(BQ_EARLY=1 BQ_LONG='' "$BQ_PLANTED/suite_isolation" ${3:+"$3"} 2>&1 | grep -m 1 "$2" |
        cut -c1-150)
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

# trusting FUNCTION SIGNATURE: SQL that makes it take the user whom its caller names.
trusting() {
    cat <<SQL
DO \$\$
DECLARE
    v_text text := pg_get_functiondef('public.$1($2)'::regprocedure);
    v_check text := 'bqsync.caller(p_user_id, ''$1'')';
BEGIN
    ASSERT position(v_check IN v_text) > 0, 'the check of $1 is not here';
    EXECUTE replace(v_text, v_check, 'p_user_id');
END \$\$
SQL
}

BQ_HOLE=$(trusting get_user_sync_status uuid) \
    bites "a function that reads without a check" '^WRONG.*get_user_sync_status' functions
BQ_HOLE=$(trusting update_sync_metadata 'uuid,text,int,jsonb') \
    bites "a function that writes without a check" '^WRONG write' functions
BQ_HOLE="GRANT EXECUTE ON FUNCTION public.sync_user_erase(uuid) TO authenticated;
    CREATE OR REPLACE FUNCTION public.sync_user_erase(p_user_id uuid) RETURNS void LANGUAGE sql
    SECURITY DEFINER AS 'SELECT bqsync.erase(p_user_id)'" \
    bites "an operator's function for everybody" '^WRONG write' functions
BQ_HOLE="CREATE FUNCTION public.get_user_sync_data(p_user_id text) RETURNS text LANGUAGE sql AS 'SELECT 1::text'" \
    bites "a function without a test" '^WRONG entry without a test: POST .*data(text)' functions

((found == planted)) || code=1
echo "$line; planted bugs found $found/$planted"
exit "$code"
