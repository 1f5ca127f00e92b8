"""documents.py - random documents, policies and edits for tests/merge/compare.py.

Names and numbers are drawn from few, so that devices meet at the same paths, values come back to
what they were, and equal numbers stand in different texts.
"""
import itertools

import cases
import reference as ref
from reference import ABSENT, Document, Edit, Number

NAMES = ['a', 'b', 'c', 'e', 'x/y', 'm~n', 'ä"\\', '']
EPOCH_FIELD = 'e'
CHAIN, POLICY_CHAIN = 56, 10    # with what is at their ends within 64 and 16
NUMBERS = ['0', '-0', '1', '1.0', '10e-1', '2', '3', '-2.5', '0.1', '1e-10', '0.0000000005',
           '-0.0000000005', '0.1234567895', '9007199254740993', '9007199254740992',
           '999999999999999999', '999999999999999999.9999999994', '1E+18', '-5e17', '1e300',
           '1234567890123456789012345678901234567890']
TEXTS = ['', 'a', 'b', '1', 'é', '\u2028', '😀', '\t"\\/']


def random_scalar(rng):
    if rng.random() < 0.6:
        n_usual = 9 if rng.random() < 0.7 else len(NUMBERS)
        return Number(NUMBERS[rng.randrange(n_usual)])
    return rng.choice([None, True, False, True, False, rng.choice(TEXTS)])


def random_value(rng, depth):
    if depth == 0 or rng.random() < 0.35:
        return random_scalar(rng)
    if rng.random() < 0.3:
        return [random_value(rng, depth // 3) for _ in range(rng.randrange(5))]
    return {rng.choice(NAMES): random_value(rng, depth - 1) for _ in range(rng.randrange(5))}


def random_object(rng, depth):
    return {rng.choice(NAMES): random_value(rng, depth - 1) for _ in range(rng.randrange(7))}


def random_policy(rng, depth, top=False):
    if depth == 0 or rng.random() < (0.1 if top else 0.4):
        return rng.choice(ref.LEAF_POLICIES)
    if rng.random() < 0.4:
        policy = {'each': random_policy(rng, depth - 1)}
    else:
        policy = {'fields': {rng.choice(NAMES): random_policy(rng, depth - 1)
                             for _ in range(rng.randrange(6))}}
        if rng.random() < 0.6:
            policy['rest'] = random_policy(rng, depth - 1)
    if top and rng.random() < 0.3:
        policy['epoch'] = EPOCH_FIELD
    return policy


def changed(rng, value, rate):
    """The value with some of its members and elements changed, removed, added."""
    if type(value) is dict and rng.random() > rate / 6:
        result = {}
        for name, member in value.items():
            if rng.random() > rate / 5:
                result[name] = changed(rng, member, rate)
        if rng.random() < rate:
            result[rng.choice(NAMES)] = random_value(rng, 2)
        return result
    if type(value) is list and rng.random() > rate / 4:
        result = [element for element in value if rng.random() > rate / 3]
        if rng.random() < rate:
            result.insert(rng.randrange(len(result) + 1), random_scalar(rng))
        return result
    return random_value(rng, 2) if rng.random() < rate else value


def random_root(rng):
    return random_object(rng, 4) if rng.random() < 0.95 else random_value(rng, 3)


def maybe_raised(rng, value, policy):
    """Now and then another epoch, so that resets meet."""
    if type(value) is dict and ref.epoch_field(policy) is not None and rng.random() < 0.5:
        return {**value, EPOCH_FIELD: Number(rng.choice(['0', '1', '2', '2.0', '3', '4.5']))}
    return value


def pointers(value, pointer=''):
    """The pointers of all objects in it."""
    if type(value) is dict:
        yield pointer
        for name, member in value.items():
            yield from pointers(member, ref.Place(pointer, 'incoming', False).member(name).pointer)


def random_edit(rng, base, mine, policy):
    """Not what a client would make of it: trees, list and epoch that do not belong together."""
    seed = rng.choice((False, False, True, 'v1'))
    trees = [ABSENT, {}, base, random_value(rng, 3), changed(rng, mine, 0.4)]
    was = ABSENT if seed else rng.choice(trees)
    now = rng.choice([{}, mine, random_value(rng, 3), ABSENT if was is not ABSENT else mine])
    listed = sorted(set(pointers(was)) | set(pointers(now)))
    return Edit(base=rng.choice((-1, 0, 5, 6, 7, 9)), was=was, now=now,
                whole=[p for p in listed if rng.random() < 0.6],
                epoch=rng.choice((None, 0, 1, 2, 3)), seed=seed)


def random_document(rng, value):
    kind = rng.random()
    if kind < 0.15:
        return Document()
    if kind < 0.45:
        return Document(version=7, deleted=True, epoch=rng.randrange(4))
    return Document(value, 7)


def sunk(value, path):
    """The value at the end of a chain of objects."""
    for name in reversed(path):
        value = {name: value}
    return value


def sunk_policy(rng, policy, path):
    """The policy at the end of the first part of the chain: policies nest less deep than values."""
    if type(policy) is dict:
        policy = {name: part for name, part in policy.items() if name != 'epoch'}
    for name in reversed(path[:POLICY_CHAIN]):
        policy = rng.choice(({'fields': {name: policy}}, {'each': policy},
                             {'fields': {}, 'rest': policy}))
    return policy


def law_cases(policy, base, mine):
    """docs/merge.md 4.8: merged onto its own base an edit gives the client's document."""
    document = Document() if base is ABSENT else Document(base, 5)
    known = cases.from_diff(document.version, base, mine, policy)
    if known is None:
        return
    want = {'status': 'applied', 'changed': True, 'document': mine}
    yield cases.case_of(policy, document, known, want)
    unknown = cases.from_diff(-1, base, mine, policy)
    if ref.edit_epoch_is_lower(document, unknown, policy):
        want = {'status': 'kept', 'changed': False, 'document': base}
    else:
        want = {**want, 'status': 'merged'}
    yield cases.case_of(policy, document, unknown, want)


def cases_of_one(rng, made):
    """One document, its policy, and what two devices make of it."""
    policy = random_policy(rng, 4, top=True)
    base = maybe_raised(rng, random_root(rng), policy)
    mine = maybe_raised(rng, changed(rng, base, 0.4), policy)
    theirs = maybe_raised(rng, changed(rng, rng.choice([base, base, mine]), 0.3), policy)
    if rng.random() < 0.1:
        path = [rng.choice(NAMES) for _ in range(rng.randrange(1, CHAIN))]
        policy = sunk_policy(rng, policy, path)
        base, mine, theirs = [sunk(value, path) for value in (base, mine, theirs)]
    if rng.random() < 0.05:
        base = ABSENT
    made.append(diff_vector(policy, base, mine))
    yield from law_cases(policy, base, mine)
    edit = cases.from_diff(5, base, mine, policy)
    if edit is not None:
        yield cases.case_of(policy, Document(theirs, 7), edit)
    seed = cases.from_diff(0, ABSENT, mine, policy, rng.choice((True, 'v1')))
    yield cases.case_of(policy, random_document(rng, theirs), seed)
    yield cases.case_of(policy, random_document(rng, theirs), random_edit(rng, base, mine, policy))
    if rng.random() < 0.1:
        made.append(diff_vector(policy, theirs, ABSENT))
        delete = cases.from_diff(rng.choice((-1, 0, 5, 7)), theirs, ABSENT, policy)
        yield cases.case_of(policy, random_document(rng, theirs), delete)


def diff_vector(policy, base, mine):
    """In the form of tests/vectors/diff."""
    vector = {'policy': policy, 'base': base, 'mine': mine, 'edit': ref.diff(base, mine, policy)}
    return {name: value for name, value in vector.items() if value is not ABSENT}


def random_cases(rng, n_documents, made):
    """Also collects a vector of the diff of each document in `made`."""
    for _ in range(n_documents):
        yield from cases_of_one(rng, made)


# Policies that are or are not ones (docs/merge.md 2.2, 2.4): all small ones, and the two limits.

def policy_cases():
    edit = Edit(base=1, was={'a': Number('1')}, now={'a': Number('2')})
    for policy in itertools.chain(small_policies(), limit_policies()):
        yield cases.case_of(policy, Document({'a': Number('3')}, 2), edit)


def small_policies():
    parts = ['max', 'latest', '', None, True, Number('1'), [], ['max'], {}, {'each': 'max'},
             {'fields': {}}, {'fields': {'a': 'sum'}}, {'fields': {'a': 'sums'}}]
    yield from parts
    for n_members in (1, 2, 3):
        for names in itertools.combinations(('each', 'fields', 'rest', 'epoch', 'note'), n_members):
            for values in itertools.product(parts, repeat=n_members):
                yield dict(zip(names, values))


def limit_policies():
    for n_maps, leaf in itertools.product((14, 15, 16, 17), ('max', {'fields': {}})):
        policy = leaf
        for level in range(n_maps):
            policy = {'each': policy} if level % 2 else {'fields': {'a': policy}}
        yield policy
    for excess, name in itertools.product((-1, 0, 1), ('n', '"', 'é')):
        policy = {'fields': {name: 'max', '': 'max'}}
        n_bytes = len(ref.dump(policy).encode())
        yield {'fields': {name: 'max', 'n' * (ref.POLICY_BYTES - n_bytes + excess): 'max'}}
