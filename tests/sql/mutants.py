#!/usr/bin/env python3
"""mutants.py - mistakes planted in the files of sql/postgres, one at a time: each must be found.

Usage: tests/sql/mutants.py merge|equal [NAME...]

A mutant replaces one text of one file; the file is run into the database that PGDATABASE names
(which has sql/postgres, and tests/sql/merge_line.sql or tests/sql/play.sql), the vectors of the merge
or a few histories of equal.py are played, which must fail, and the file is run as it is again.
"""
import os
import subprocess
import sys

FOLDER = 'sql/postgres'

# name: (file, text, text instead)
MUTANTS = {
    'merge': {
        'rule 2 left out': ('0004_merge.sql', 'IF p_in_each AND p_was IS NOT NULL',
                            'IF false AND p_in_each AND p_was IS NOT NULL'),
        'rule 3 of an absent now left out': ('0004_merge.sql',
                                             'AND (v_now_object OR p_now IS NULL) THEN',
                                             'AND v_now_object THEN'),
        'rule 5 for sums': ('0004_merge.sql', "IS NOT DISTINCT FROM p_now AND p_policy <> '\"sum\"'",
                            'IS NOT DISTINCT FROM p_now'),
        'max is min': ('0004_merge.sql', "CASE v_word WHEN 'min' THEN", "CASE v_word WHEN 'max' THEN"),
        'sums of 8 decimals': ('0004_merge.sql', 'round(p_value::numeric, 9)',
                               'round(p_value::numeric, 8)'),
        'sums of 19 digits': ('0004_merge.sql', '>= 1000000000000000000', '>= 10000000000000000000'),
        'union keeps what was removed': ('0004_merge.sql',
                                         'OR e.value IN (SELECT n.value FROM now n)),', 'OR true),'),
        'any is all': ('0004_merge.sql', "v_word = 'any')", "v_word = 'all')"),
        'a v1 seed keeps theirs': ('0004_merge.sql', "v_word = 'incoming' AND p_mode = 'seed'",
                                   "v_word = 'incoming' AND p_mode <> 'edit'"),
        'a lower epoch merges': ('0004_merge.sql', 'OR v_epoch < v_their_epoch THEN',
                                 'OR v_epoch < v_their_epoch - 1 THEN'),
        'a raised epoch keeps its was': ('0004_merge.sql', "v_was := '{}'; ", 'v_was := v_was; '),
        'a tombstone is revived': ('0004_merge.sql', 'p_deleted AND v_base > 0 AND v_base < p_version',
                                   'p_deleted AND v_base > 5 AND v_base < p_version'),
        'whole is walked into': ('0004_merge.sql', "AND p_policy = '\"whole\"' AND p_path = ANY",
                                 "AND p_policy = '\"keep\"' AND p_path = ANY"),
        'an emptied object stays': ('0004_merge.sql', 'IF v_result IS NULL AND p_now IS NOT NULL THEN',
                                    'IF v_result IS NULL THEN'),
        'the epoch field has a policy': ('0003_policy.sql',
                                         "WHEN p_policy ->> 'epoch' = p_name THEN '\"incoming\"'",
                                         ''),
        'policies of 17 levels': ('0003_policy.sql', 'IF p_depth > 16 THEN', 'IF p_depth > 17 THEN'),
    },
    'equal': {
        'a repeat is merged again': ('0008_old_clients.sql', 'IF v_action IS NOT NULL THEN ',
                                     'IF false THEN '),
        'a falling sum is subtracted': ('0008_old_clients.sql',
                                        'AND p_document::numeric < p_base::numeric THEN p_base',
                                        'AND false THEN p_base'),
        'dropped members are removed': ('0008_old_clients.sql', 'THEN p_from || p_document',
                                        'THEN p_document'),
        'no receipt': ('0006_documents.sql', 'WHERE (p_doc).receipts IS NOT NULL', 'WHERE false'),
        'the clock stands still': ('0006_documents.sql', 'greatest(v_now, f.clock_us + 1)',
                                   'greatest(v_now, f.clock_us)'),
        'history is one off': ('0006_documents.sql', 'WHILE v_at > p_version LOOP',
                               'WHILE v_at > p_version + 1 LOOP'),
        'repeats outlive a deletion': ('0006_documents.sql', 'AND u.packed IS NOT NULL;',
                                       'AND false;'),
        'bytes are not counted': ('0006_documents.sql', 'n_bytes = f.n_bytes + v_doc.n_bytes',
                                  'n_bytes = f.n_bytes'),
        'rewound is new': ('0005_receipts.sql', "(v_base = -1 OR v_base >= r.version) THEN 'new'",
                           "true THEN 'new'"),
        'a receipt where there is none': ('0007_exchange.sql', "r.op, 0), 'id', r.id", "r.op, 1), 'id', r.id"),
        'told twice': ('0007_exchange.sql', 'v_complete OR NOT EXISTS (', 'true OR NOT EXISTS ('),
        'a refusal leaves no receipt': ('0007_exchange.sql', 'PERFORM bqsync.doc_write_receipts(v_doc);\n'
                                        '    END IF;\n    RETURN v_result;',
                                        'END IF;\n    RETURN v_result;'),
        'a late edit is not told of': ('0007_exchange.sql', "v_code := bqsync.code_number('deleted');",
                                       'v_code := 0;'),
        'an older v1 echo is a write': ('0010_v1.sql', 'EXIT WHEN NOT FOUND;', 'EXIT WHEN true;'),
        'anybody may be named': ('0006_documents.sql',
                                 'IF v_user IS NULL OR v_user IS DISTINCT FROM p_user_id THEN',
                                 'v_user := p_user_id; IF v_user IS NULL THEN'),
    },
}

PLAY = {
    'merge': ['python3', 'tests/merge/compare.py', '--part', '0', '--documents', '40',
              '--values', 'SQL=tests/merge/sql.sh'],
    'equal': ['python3', 'tests/sql/equal.py', '--histories', '5', '--calls', '90'],
}


def run_file(text):
    subprocess.run(['psql', '-X', '-q', '-1', '-v', 'ON_ERROR_STOP=1'], input=text, text=True,
                   check=True)


def is_found(kind, name):
    path, text, instead = MUTANTS[kind][name]
    with open(os.path.join(FOLDER, path), encoding='utf-8') as file:
        original = file.read()
    if text not in original:
        raise SystemExit(f'{name}: {path} has no longer "{text}"')
    run_file(original.replace(text, instead))
    try:
        done = subprocess.run(PLAY[kind], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              check=False)
    finally:
        run_file(original)
        if kind == 'equal':
            subprocess.run(['psql', '-X', '-q', '-f', 'tests/sql/play.sql'], check=True)
    return done.returncode != 0


def main():
    kind = sys.argv[1]
    names = sys.argv[2:] or list(MUTANTS[kind])
    # As it is, it must pass: else nothing below means anything.
    if subprocess.run(PLAY[kind], stdout=subprocess.DEVNULL, check=False).returncode != 0:
        raise SystemExit(f'mutants: {" ".join(PLAY[kind])} fails without any')
    missed = [name for name in names if not is_found(kind, name)]
    for name in missed:
        print(f'not found: {name}')
    print(f'mutants found {len(names) - len(missed)}/{len(names)}')
    return 1 if missed else 0


if __name__ == '__main__':
    sys.exit(main())
