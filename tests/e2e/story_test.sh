#!/usr/bin/env bash
# story_test.sh - the demo's story as a test: phone and tablet, offline, kill -9, back, equal.
. tests/lib/shell.sh

case_two_devices_end_equal_and_nothing_is_counted_twice() {
    "$root/scripts/demo" "$BQSYNC" >story 2>&1 || { cat story; return 1; }
    says story 'every check holds'
    says story '600 rows: 1632 documents new, 0 replaced by newer rows, 0 merged into what is there'
}

run_cases
