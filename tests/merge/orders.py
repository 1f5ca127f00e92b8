"""orders.py - three devices edit the same base, and their edits arrive in each of six orders.

Where docs/merge.md 13.5 says so the document is the same in any order, or the last or the first
wins; elsewhere some order must be seen for each policy, else the claim is too narrow.
"""
import collections
import itertools

import cases
import reference as ref
from reference import ABSENT, Document

PLACES = {
    'a field': lambda policy: {'fields': {'x': policy}},
    'a map': lambda policy: {'each': policy},
}
FAMILIES = [
    (('max', 'min', 'sum'), '-1 1 2.5 null "a"'),
    (('any', 'all'), 'true false null 1 "a"'),
    (('union',), '[1] [2,1] [2,3] [] "a"'),
    (('incoming', 'whole', 'keep'), 'null 1 "a" [] {"a":1}'),
]

Race = collections.namedtuple('Race', 'policy place document base edited')


def races():
    """Three edits of one base: 6 values, absent among them, at one path."""
    for policies, texts in FAMILIES:
        values = [ABSENT] + [ref.load(text) for text in texts.split()]
        for policy, place in itertools.product(policies, PLACES):
            for base in values:
                others = [value for value in values if value is not base]
                for edited in itertools.combinations_with_replacement(others, 3):
                    yield Race(policy, place, PLACES[place](policy), base, edited)


def object_of(value):
    return {} if value is ABSENT else {'x': value}


class Merges:
    """Merges one path through both implementations; each different case once."""

    def __init__(self, comparison):
        self.comparison = comparison
        self.known = {}

    def ask(self, wanted):
        new = {case.line: case for case in wanted if case.line not in self.known}
        batch = list(new.values())
        for case, outcome in zip(batch, self.comparison.check(batch) if batch else []):
            self.known[case.line] = outcome

    def result(self, case):
        """The object afterwards."""
        return self.known[case.line]['document']


def step(race, version, theirs, value):
    edit = cases.from_diff(1, object_of(race.base), object_of(value), race.document)
    return cases.case_of(race.document, Document(theirs, version), edit)


def run_orders(merges, all_races):
    """All orders of all races, step by step: [(number of the race, order, value at the end)]."""
    orders = list(itertools.permutations(range(3)))
    runs = [(n, order, object_of(race.base))
            for n, race in enumerate(all_races) for order in orders]
    for turn in range(3):
        asked = [step(all_races[n], 1 + turn, theirs, all_races[n].edited[order[turn]])
                 for n, order, theirs in runs]
        merges.ask(asked)
        runs = [(n, order, merges.result(case)) for (n, order, _), case in zip(runs, asked)]
    return runs


def numbers(values):
    return all(type(value) is ref.Number for value in values)


def without_removals(values):
    return [value for value in values if value is not ABSENT]


def any_order(race):
    """13.5: whether the page claims that the order is not seen."""
    written = without_removals(race.edited)
    if race.policy in ('max', 'min'):
        return numbers(written)
    if race.policy == 'sum':
        return len(written) == 3 and numbers(without_removals([race.base]) + written)
    if race.policy in ('any', 'all'):
        return all(type(value) is bool for value in written)
    return race.policy == 'union' and all(type(value) is list for value in written)


def winner(race, order):
    """13.5: the value that has to win because it came last or first, None without a claim. Objects
    are merged member by member, and in a map an update beats a removal."""
    if race.policy not in ('incoming', 'whole', 'keep'):
        return None
    if race.policy != 'whole' and any(type(v) is dict for v in (race.base,) + race.edited):
        return None
    if race.place == 'a map' and ABSENT in race.edited:
        return None
    return object_of(race.edited[order[0 if race.policy == 'keep' else 2]])


def as_set(value):
    """13.5: the same elements, in whatever order."""
    if type(value) is dict and type(value.get('x')) is list:
        return {'x': sorted(value['x'])}
    return value


def compare_orders(comparison):
    all_races = list(races())
    ends = {}
    dependent = set()
    for n, order, value in run_orders(Merges(comparison), all_races):
        race = all_races[n]
        comparison.n_cases += 1
        wanted = winner(race, order)
        if wanted is not None and not ref.equal(value, wanted):
            comparison.mismatch(race=text_of(race), order=order, result=value, wanted=wanted)
        first_order, first = ends.setdefault(n, (order, value))
        if not ref.equal(as_set(value), as_set(first)):
            dependent.add(race.policy)
            if any_order(race):
                comparison.mismatch(race=text_of(race), order=f'{first_order}: {first}',
                                    other=f'{order}: {value}')
    for policy in ref.LEAF_POLICIES:
        if policy not in dependent:
            comparison.mismatch(order=f'{policy}: never seen, though 13.5 does not say so')


def text_of(race):
    base, *edited = ['absent' if value is ABSENT else ref.dump(value)
                     for value in (race.base,) + race.edited]
    return f'{ref.dump(race.document)} base {base} edited {edited}'
