#!/usr/bin/env python3
"""compare.py - implementations of the merge against tests/merge/reference.py, case by case.

Usage: tests/merge/compare.py [--documents N] [--seed N] [--part N] [--with NAME=COMMAND]...
       [--values NAME=COMMAND]... [--plant NAME | --self-test]

An implementation is a command that reads lines as `bqsync merge` does and answers each with a line.
Without --with and --values it is that program alone: $BQSYNC merge (build/bqsync). Compared are
status, error, changed, deleted, the epoch of a tombstone, and the document: by value, and each
number by its text (1.3); of those given with --values numbers by value, as a database may write
them anew. Where $BQ_BUILD holds test_merge_vectors, the program's diff is compared as well. Run in
the source folder. BQ_LONG=1 takes 100,000 random documents. Into the file $BQ_PROGRESS goes now and
then how many cases are done, and of about how many. For an implementation that is slow: --part N takes
all vectors, but each N-th alone of the exhaustive cases, and --part 0 none of them.

--plant NAME breaks one rule of the reference; the run must then find mismatches and end with 1.
--self-test does so with every plant on a part of the cases, and ends with 0 where all are found.
"""
import argparse
import collections
import itertools
import os
import random
import shlex
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True      # no __pycache__ in the source folder

import cases
import documents
import orders
import plants
import reference as ref

SHOWN = 5
DOCUMENTS = 100000 if 'BQ_LONG' in os.environ else 5000
OUTCOMES = ('applied', 'merged', 'kept', 'out_of_range', 'bad_policy')
BATCH = 20000
VECTORS = 'tests/vectors'
# About: only for the progress.
FIXED_CASES, CASES_A_DOCUMENT = 750000, 5.5


class Implementation:
    """A command that speaks lines of JSON."""

    def __init__(self, name, command, by_value=False):
        self.name = name
        self.command = command
        self.same = ref.equal if by_value else same

    def ask(self, batch):
        """Its answers, one for each case."""
        done = subprocess.run(self.command, check=True, stdout=subprocess.PIPE,
                              input=''.join(f'{case.line}\n' for case in batch).encode())
        answers = done.stdout.decode().split('\n')[:-1]
        if len(answers) != len(batch):
            raise SystemExit(f'{self.name}: {len(batch)} lines, but {len(answers)} answers')
        return answers


class Comparison:
    """Counts cases and mismatches, and prints the first ones."""

    def __init__(self, implementations, n_documents, part=1):
        self.implementations = implementations
        self.n_cases = 0
        self.n_about = FIXED_CASES // max(part, 1) + int(n_documents * CASES_A_DOCUMENT)
        self.n_mismatches = 0
        self.n_outcomes = collections.Counter()

    def mismatch(self, **said):
        self.n_mismatches += 1
        if self.n_mismatches <= SHOWN:
            print('mismatch', *(f'  {name:9} {text}' for name, text in said.items()), sep='\n')

    def check(self, batch):
        """Asks all of them; the reference's outcomes, one for each case."""
        answers = [implementation.ask(batch) for implementation in self.implementations]
        outcomes = [self.compare(*row) for row in zip(batch, *answers)]
        self.tell_progress()
        return outcomes

    def compare(self, case, *answers):
        """The reference's outcome of the case."""
        self.n_cases += 1
        expected = outcome_expected(case)
        self.n_outcomes[expected.get('error') or expected['status']] += 1
        for implementation, answer in zip(self.implementations, answers):
            told = outcome_told(case, answer)
            if not implementation.same(told, expected):
                self.mismatch(asked=case.line, reference=ref.dump(expected),
                              **{implementation.name: answer})
            elif case.want is not None and not ref.equal(told, case.want):
                self.mismatch(asked=case.line, both=answer, wanted=ref.dump(case.want))
        return expected

    def run(self, stream):
        """Compares all cases of an iterable, batch by batch."""
        stream = iter(stream)
        while batch := list(itertools.islice(stream, BATCH)):
            self.check(batch)

    def tell_progress(self):
        if os.environ.get('BQ_PROGRESS'):
            with open(os.environ['BQ_PROGRESS'], 'w', encoding='utf-8') as file:
                file.write(f'{self.n_cases} {max(self.n_about, self.n_cases)}\n')


def check_policy(policy, checked=[None]):
    """Cases of one policy come one after the other: it is looked at once."""
    if policy is not checked[0]:
        ref.check_policy(policy)
        checked[0] = policy


def outcome_expected(case):
    """What the reference makes of the case, in the form of a vector's want or error."""
    try:
        check_policy(case.policy)
        result = ref.apply(case.document, case.edit, case.policy)
    except ref.BadPolicy:
        return {'error': 'bad_policy'}
    except ref.OutOfRange:
        return {'error': 'out_of_range'}
    outcome = {'status': result.status, 'changed': result.changed}
    if result.document.deleted:
        outcome['deleted'] = True
        outcome['epoch'] = ref.Number(result.document.epoch)
    elif result.document.value is not ref.ABSENT:
        outcome['document'] = result.document.value
    return outcome


def outcome_told(case, answer):
    """An answer in the same form. `bqsync merge` prints null for no document as well."""
    told = ref.load(answer)
    told.pop('message', None)
    if told.get('document') is None and 'document' in told:
        none_before = case.document.version == 0 and not told['changed']
        if 'deleted' in told or none_before:
            del told['document']
    return told


def same(a, b):
    """Equal, and numbers equal as texts; the order of members carries no meaning."""
    if type(a) is not type(b):
        return False
    if type(a) is dict:
        return len(a) == len(b) and all(k in b and same(v, b[k]) for k, v in a.items())
    if type(a) is list:
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def diff_vectors():
    return list(cases.vector_documents(f'{VECTORS}/diff'))


def wrong_diffs(vectors):
    """The vectors whose edit the reference's diff does not make."""
    for vector in vectors:
        edit = ref.diff(vector.get('base', ref.ABSENT), vector.get('mine', ref.ABSENT),
                        vector['policy'])
        if not ref.equal(edit, vector['edit']):
            yield vector, edit


def compare_diff_vectors(comparison):
    vectors = diff_vectors()
    comparison.n_cases += len(vectors)
    for vector, edit in wrong_diffs(vectors):
        comparison.mismatch(vector=ref.dump(vector), reference=ref.dump(edit))


def compare_outcomes(comparison, least):
    """Each outcome must have come up, else the cases are not what they seem."""
    counted = comparison.n_outcomes
    print(', '.join(f'{outcome} {counted[outcome]}' for outcome in OUTCOMES))
    for outcome in OUTCOMES:
        if counted[outcome] < least:
            comparison.mismatch(outcome=f'{outcome}: only {counted[outcome]} cases')


def compare_program_diff(comparison, made):
    """The program's diff against the reference's: its own vector test reads what we write."""
    test = os.path.join(os.environ.get('BQ_BUILD', ''), 'test_merge_vectors')
    if not os.access(test, os.X_OK):
        print('no test_merge_vectors in $BQ_BUILD: the diff is compared with the vectors alone')
        return
    with tempfile.TemporaryDirectory() as folder:
        with open(f'{folder}/random.json', 'w', encoding='utf-8') as file:
            file.write('[%s]' % ',\n'.join(map(ref.dump, made)))
        done = subprocess.run([test, f'{VECTORS}/merge', folder], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    comparison.n_cases += len(made)
    if done.returncode != 0:
        comparison.mismatch(diff='\n' + done.stdout[:4000])


def compare_all(comparison, seed, n_documents, part):
    rng = random.Random(seed)
    made = []
    compare_diff_vectors(comparison)
    comparison.run(cases.vector_cases(f'{VECTORS}/merge'))
    if part > 0:
        for stream in (cases.grid_cases(), cases.epoch_cases(), documents.policy_cases()):
            comparison.run(itertools.islice(stream, 0, None, part))
    if part == 1:
        orders.compare_orders(comparison)
    comparison.run(documents.random_cases(rng, n_documents, made))
    compare_program_diff(comparison, made)
    compare_outcomes(comparison, 50 if part == 1 else 1)


def self_test(program, seed):
    """Each planted bug must be seen by a part of the cases; their answers are asked for once."""
    part = list(itertools.chain(
        cases.vector_cases(f'{VECTORS}/merge'),
        itertools.islice(cases.grid_cases(), 0, None, 61),
        itertools.islice(cases.epoch_cases(), 0, None, 7),
        documents.random_cases(random.Random(seed), 200, [])))
    answers = program.ask(part)
    found = [name for name in plants.PLANTS if plant_is_found(name, part, answers)]
    missed = [name for name in plants.PLANTS if name not in found]
    for name in missed:
        print(f'not found: {name}')
    print(f'planted bugs found {len(found)}/{len(plants.PLANTS)}')
    return 1 if missed else 0


def plant_is_found(name, part, answers):
    with plants.planted(name):
        for case, answer in zip(part, answers):
            if not same(outcome_told(case, answer), outcome_expected(case)):
                return True
        return any(wrong_diffs(diff_vectors()))


def implementations_of(options):
    chosen = [Implementation(name, shlex.split(command), by_value)
              for texts, by_value in ((options.texts, False), (options.values, True))
              for name, _, command in (text.partition('=') for text in texts)]
    return chosen or [Implementation('program', [os.environ.get('BQSYNC', 'build/bqsync'), 'merge'])]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--documents', type=int, default=DOCUMENTS, help='random documents')
    parser.add_argument('--seed', type=int, default=1, help='of the random documents (1)')
    parser.add_argument('--part', type=int, default=1, help='each N-th exhaustive case (1)')
    parser.add_argument('--with', action='append', default=[], dest='texts',
                        metavar='NAME=COMMAND', help='an implementation')
    parser.add_argument('--values', action='append', default=[], metavar='NAME=COMMAND',
                        help='one that may write numbers anew')
    parser.add_argument('--plant', choices=plants.PLANTS, help='break a rule of the reference')
    parser.add_argument('--self-test', action='store_true', help='are all plants found?')
    options = parser.parse_args()
    implementations = implementations_of(options)
    if options.self_test:
        return self_test(implementations[0], options.seed)
    print(f'seed {options.seed}, {options.documents} random documents')
    comparison = Comparison(implementations, options.documents, options.part)
    with plants.planted(options.plant):
        compare_all(comparison, options.seed, options.documents, options.part)
    print(f'merge: {comparison.n_cases} cases x {1 + len(implementations)} implementations: '
          f'mismatches {comparison.n_mismatches}')
    return 1 if comparison.n_mismatches else 0


if __name__ == '__main__':
    sys.exit(main())
