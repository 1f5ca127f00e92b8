#!/usr/bin/env bash
# sql.sh - `bqsync merge` in PL/pgSQL: lines in, as many lines out, by a database that has the files of
# sql/postgres and tests/sql/merge_line.sql. PGHOST, PGUSER and PGDATABASE name it.
set -u
exec psql -X -q -A -t -v ON_ERROR_STOP=1 \
    -c "CREATE TEMP TABLE lines (n int GENERATED ALWAYS AS IDENTITY, line text)" \
    -c "\\copy lines (line) FROM pstdin WITH (FORMAT csv, DELIMITER E'\\x01', QUOTE E'\\x02')" \
    -c "SELECT test.merge_line(line) FROM lines ORDER BY n"
