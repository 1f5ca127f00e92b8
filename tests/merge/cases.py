"""cases.py - what tests/merge/compare.py asks: the vectors, every triple of values, every epoch.

A Case is a line for `bqsync merge` beside what the reference needs of it; `want` is the outcome
that a vector or a law demands of both, None where there is nothing but the comparison.
"""
import collections
import glob
import itertools

import reference as ref
from reference import ABSENT, Document, Edit

Case = collections.namedtuple('Case', 'line policy document edit want')

LEAVES = ref.LEAF_POLICIES
VALUES = [ABSENT] + [ref.load(text) for text in (
    'null', 'true', '-1', '0', '1', '-9223372036854775808', '9223372036854775807',
    '9007199254740993', '0.1', '""', '"a"', '[]', '[1]', '{}', '{"a":1}')]


def member_text(name, value):
    return '' if value is ABSENT else f',"{name}":{ref.dump(value)}'


def document_text(document):
    deleted = f',"deleted":true,"epoch":{document.epoch}' if document.deleted else ''
    return f'{member_text("document", document.value)},"version":{document.version}{deleted}'


def edit_text(edit):
    """The edit, and what a line says of it beside it."""
    text = f'"base":{edit.base}{member_text("was", edit.was)}{member_text("now", edit.now)}'
    if edit.whole:
        text += f',"whole":{ref.dump(sorted(edit.whole))}'
    if edit.epoch is not None:
        text += f',"epoch":{edit.epoch}'
    if edit.delete:
        text += ',"delete":true'
    if edit.seed:
        text += ',"seed":true'
    return '{%s}%s' % (text, ',"v1":true' if edit.seed == 'v1' else '')


def case_of(policy, document, edit, want=None):
    line = f'{{"policy":{ref.dump(policy)}{document_text(document)},"edit":{edit_text(edit)}}}'
    return Case(line, policy, document, edit, want)


def from_diff(base_version, base, mine, policy, seed=False):
    """The edit that a client makes of its change, None for no change."""
    edit = ref.diff(base, mine, policy)
    if edit is None:
        return None
    return ref.read_edit({**edit, 'base': base_version, 'seed': seed is not False}, seed == 'v1')


# 1. The vectors (docs/merge.md, section 12).

def vector_documents(folder):
    for path in sorted(glob.glob(f'{folder}/*.json')):
        with open(path, encoding='utf-8') as file:
            yield from ref.load(file.read())


def vector_cases(folder):
    for vector in vector_documents(folder):
        document = Document(vector.get('document', ABSENT), int(vector.get('version', 0)),
                            vector.get('deleted', False), int(vector.get('epoch', 0)))
        want = vector.get('want') or {'error': vector['error']}
        yield Case(ref.dump(vector), vector.get('policy', 'incoming'), document,
                   ref.read_edit(vector['edit'], vector.get('v1', False)), want)


# 2. Every (was, now, theirs) under every policy, at every kind of place, of a stale base; and at
# the root and in a field of the present one (4.1).

def grid_policies():
    yield from LEAVES
    for leaf in LEAVES:
        yield {'each': leaf}
        yield {'fields': {'a': leaf}}


# A place is how a policy and a value stand in a document; all of them are written once, as texts.
PLACES = [
    (lambda policy: policy, lambda value: value),
    (lambda policy: {'fields': {'x': policy}}, lambda value: object_of(x=value)),
    (lambda policy: {'each': policy}, lambda value: object_of(x=value)),
    (lambda policy: {'fields': {'o': {'fields': {}, 'rest': policy}}},
     lambda value: {'o': object_of(x=value)}),
]


def object_of(**members):
    return {name: value for name, value in members.items() if value is not ABSENT}


def grid_cases():
    for policy, (policy_at, value_at) in itertools.product(grid_policies(), PLACES):
        policy = policy_at(policy)
        values = [value_at(value) for value in VALUES]
        for seed in (False, True, 'v1'):
            yield from triples(policy, values, seed, base=1)
    for leaf, (policy_at, value_at) in itertools.product(LEAVES, PLACES[:2]):
        yield from triples(policy_at(leaf), list(map(value_at, VALUES)), False, base=2)


def triples(policy, values, seed, base):
    """Seeds have no was. The lines are put together from parts, as there are so many of them."""
    begin = f'{{"policy":{ref.dump(policy)}'
    documents = [Document() if value is ABSENT else Document(value, 2) for value in values]
    document_texts = [document_text(document) for document in documents]
    for was, now in itertools.product([ABSENT] if seed else values, values):
        if was is ABSENT and now is ABSENT:
            continue    # malformed
        for whole in whole_lists(policy, was, now):
            edit = Edit(base=base, was=was, now=now, whole=whole, seed=seed)
            end = f',"edit":{edit_text(edit)}}}'
            for document, text in zip(documents, document_texts):
                yield Case(begin + text + end, policy, document, edit, None)


def whole_lists(policy, was, now):
    """The pointers of 3.4; where there are any, also the edit without them."""
    listed = []
    ref.diff_whole(ref.root(policy), was, now, False, listed)
    return [listed, []] if listed else [[]]


# Epochs, deletes and tombstones: every document against every edit.

EPOCH_POLICIES = [
    {'fields': {'n': 'sum'}, 'epoch': 'e'},
    {'each': 'sum', 'epoch': 'e'},
    {'fields': {'e': 'max', 'n': 'max'}},
]
EPOCH_VALUES = [ABSENT, {}] + [ref.load(text) for text in (
    '7', '{"n":5}', '{"e":0,"n":1}', '{"e":1}', '{"e":1,"n":9}', '{"e":20e-1,"n":0}', '{"e":2.0}',
    '{"e":"2","n":3}', '{"e":9007199254740991}', '{"e":9007199254740992}', '{"e":-1}', '{"e":1.5}',
    '{"e":{"n":1}}')]


def epoch_documents():
    yield Document()
    for value in EPOCH_VALUES[1:]:
        yield Document(value, 3)
    for epoch in (0, 1, 2, 9007199254740991):
        yield Document(version=3, deleted=True, epoch=epoch)


def epoch_edits():
    for base, epoch in itertools.product((-1, 0, 2, 3, 4), (None, 0, 1, 2, 9007199254740991)):
        yield Edit(base=base, epoch=epoch, delete=True)
        for was, now in itertools.product(EPOCH_VALUES[:8], EPOCH_VALUES[:9]):
            if base in (-1, 2, 3) and (was, now) != (ABSENT, ABSENT):
                yield Edit(base=base, epoch=epoch, was=was, now=now)
        for now in EPOCH_VALUES[1:]:
            yield Edit(base=base, epoch=epoch, now=now, seed=True)
            if base in (0, 4):
                yield Edit(base=base, epoch=epoch, now=now)


def epoch_cases():
    for policy, edit in itertools.product(EPOCH_POLICIES, list(epoch_edits())):
        for document in epoch_documents():
            yield case_of(policy, document, edit)
