"""docs/merge.md in plain Python: slow, short, and written from that page alone.

Absent is ABSENT, objects are dicts, numbers are Decimals. Used by generate.py to write the vectors and by
whoever wants to compare another implementation with something that can be read in one sitting:

    python3 tests/vectors/reference.py < vectors.jsonl > outcomes.jsonl

reads one vector a line (section 12) and writes what `want` or `error` should be.
"""
import decimal
import json
import sys
from decimal import Decimal

EXACT = decimal.Context(prec=2000, Emax=10**6, Emin=-10**6)


class Absent:
    def __repr__(self):
        return 'ABSENT'


ABSENT = Absent()
LEAVES = ('incoming', 'whole', 'keep', 'max', 'min', 'sum', 'union', 'any', 'all')


class Refused(Exception):
    """The code of a refusal."""


def loads(text):
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


def number_text(number):
    return str(number) if number == number.to_integral_value() and abs(number) < 10**40 \
        and number.as_tuple().exponent == 0 else format(number, 'E' if abs(number.adjusted()) > 40 else 'f')


def dumps(value):
    if isinstance(value, Decimal):
        return number_text(value)
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return '[' + ', '.join(map(dumps, value)) + ']'
    return '{' + ', '.join(json.dumps(k, ensure_ascii=False) + ': ' + dumps(v) for k, v in value.items()) + '}'


# ---- 1. values

def is_number(value):
    return isinstance(value, Decimal)


def is_bool(value):
    return value is True or value is False


def equal(a, b):
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(equal, a, b))
    return a is b or a == b


# ---- 2. policies

def check_policy(policy, depth=1):
    if depth > 16:
        raise Refused('bad_policy')
    if isinstance(policy, str) and policy in LEAVES:
        return
    if not isinstance(policy, dict) or ('each' in policy) == ('fields' in policy):
        raise Refused('bad_policy')
    for name, part in policy.items():
        if name == 'each' or (name == 'rest' and 'fields' in policy):
            check_policy(part, depth + 1)
        elif name == 'fields' and isinstance(part, dict):
            for inner in part.values():
                check_policy(inner, depth + 1)
        elif not (name == 'epoch' and depth == 1 and isinstance(part, str) and part != ''):
            raise Refused('bad_policy')


def kind(policy):
    if isinstance(policy, str):
        return policy
    return 'each' if 'each' in policy else 'fields'


def member_policy(policy, name):
    if isinstance(policy, dict) and policy.get('epoch') == name:
        return 'incoming'
    if kind(policy) == 'each':
        return policy['each']
    if kind(policy) == 'fields':
        return policy['fields'].get(name, policy.get('rest', 'incoming'))
    return 'keep' if policy == 'keep' else 'incoming'


def epoch_field(policy):
    return policy.get('epoch') if isinstance(policy, dict) else None


def epoch_of(document, policy):
    field = epoch_field(policy)
    value = document.get(field, ABSENT) if isinstance(document, dict) else ABSENT
    if not is_number(value) or not 0 <= value < 2**53 or value != value.to_integral_value():
        return 0
    return int(value)


def child(pointer, name):
    return pointer + '/' + name.replace('~', '~0').replace('/', '~1')


def get(value, name):
    return value.get(name, ABSENT) if isinstance(value, dict) else ABSENT


def names(first, second):
    """The members of the first in their order, then those of the second alone."""
    first = first if isinstance(first, dict) else {}
    second = second if isinstance(second, dict) else {}
    return list(first) + [name for name in second if name not in first]


# ---- 3. diff

def can_hold_whole(policy):
    if isinstance(policy, str):
        return policy == 'whole'
    inner = [policy['each']] if 'each' in policy else list(policy['fields'].values()) + [policy.get('rest', 'incoming')]
    return any(map(can_hold_whole, inner))


def collect(base, mine, policy, pointer, raises, whole):
    if not (isinstance(base, dict) or isinstance(mine, dict)):
        return
    if policy == 'whole':
        whole.append(pointer)
    elif can_hold_whole(policy):
        for name in names(mine, base):
            b, m = get(base, name), get(mine, name)
            if raises or not equal(b, m):
                collect(b, m, member_policy(policy, name), child(pointer, name), raises, whole)


def diff_at(base, mine, policy, pointer, in_each, raises, whole):
    """was, now of a path that differs."""
    both = isinstance(base, dict) and isinstance(mine, dict)
    if not both or policy == 'whole' or in_each or raises:
        collect(base, mine, policy, pointer, raises, whole)
        return base, mine
    was, now = {}, {}
    for name in names(mine, base):
        b, m = get(base, name), get(mine, name)
        if not equal(b, m):
            w, n = diff_at(b, m, member_policy(policy, name), child(pointer, name),
                           kind(policy) == 'each', False, whole)
            if w is not ABSENT:
                was[name] = w
            if n is not ABSENT:
                now[name] = n
    return was, now


def diff(base, mine, policy):
    """The edit in wire form, None where there is none."""
    if equal(base, mine):
        return None
    if mine is ABSENT:
        edit = {'delete': True}
        if epoch_field(policy) is not None:
            edit['epoch'] = Decimal(epoch_of(base, policy))
        return edit
    whole, edit = [], {}
    raises = epoch_of(mine, policy) > epoch_of(base, policy)
    was, now = diff_at(base, mine, policy, '', False, raises, whole)
    if was is not ABSENT:
        edit['was'] = was
    edit['now'] = now
    if whole:
        edit['whole'] = whole
    if epoch_field(policy) is not None:
        edit['epoch'] = Decimal(epoch_of(mine, policy))
    return edit


# ---- 5 to 7. rules

class Differs(Exception):
    """An exact application found a was that is not there."""


def exact(was, now, theirs, policy, pointer, whole):
    both = isinstance(was, dict) and isinstance(now, dict)
    if both and not (policy == 'whole' and pointer in whole):
        if not isinstance(theirs, dict):
            raise Differs
        result = dict(theirs)
        for name in names(now, was):
            put(result, name, exact(get(was, name), get(now, name), get(theirs, name),
                                    member_policy(policy, name), child(pointer, name), whole))
        return result
    if not equal(was, theirs):
        raise Differs
    return theirs if equal(was, now) else now


def put(result, name, value):
    if value is ABSENT:
        result.pop(name, None)
    else:
        result[name] = value


def merge(was, now, theirs, policy, in_each, pointer, whole, seed):
    if equal(was, now):                                                                     # 5.1
        return theirs
    if in_each and was is not ABSENT and (now is ABSENT) != (theirs is ABSENT):             # 5.2
        present = theirs if now is ABSENT else now
        if not equal(present, was):
            return present
    objects = [isinstance(value, dict) for value in (was, now, theirs)]
    both = objects[0] and objects[1]
    one = (objects[0] and now is ABSENT) or (was is ABSENT and objects[1])
    if (both or one) and not (policy == 'whole' and pointer in whole):                      # 5.3
        if objects[2] or (both and kind(policy) in ('each', 'fields')):
            result = dict(theirs) if objects[2] else {}
            for name in names(now, was):
                put(result, name, merge(get(was, name), get(now, name), get(result, name),
                                        member_policy(policy, name), kind(policy) == 'each',
                                        child(pointer, name), whole, seed))
            return ABSENT if now is ABSENT and result == {} else result
        if both:
            return theirs
    if equal(theirs, was):                                                                  # 5.4
        return now
    if equal(theirs, now) and policy != 'sum':                                              # 5.5
        return theirs
    return leaf(was, now, theirs, kind(policy), seed)                                       # 5.6


def leaf(was, now, theirs, policy, seed):
    if seed and policy == 'sum':                                                            # 7.2
        policy = 'max'
    if policy in ('incoming', 'each', 'fields'):
        return theirs if seed is True and theirs is not ABSENT else now                     # 6.1, 7.1, 7.4
    if policy == 'whole':
        return theirs if seed and theirs is not ABSENT else now                             # 6.2, 7.1
    if policy == 'keep':
        return now if seed and theirs is ABSENT else theirs                                 # 6.3, 7.1
    if policy == 'sum':
        return add(was, now, theirs)
    if now is ABSENT:
        return theirs
    if theirs is ABSENT:
        return now
    if policy in ('max', 'min'):                                                            # 6.4, 6.5
        if is_number(now) and is_number(theirs):
            larger = now > theirs if policy == 'max' else now < theirs
            return now if larger else theirs
        return theirs if is_number(theirs) else now
    if policy in ('any', 'all'):                                                            # 6.7
        if is_bool(now) and is_bool(theirs):
            return (now or theirs) if policy == 'any' else (now and theirs)
        return now
    return union(was, now, theirs)


def rounded(value):
    if value is ABSENT:
        return Decimal(0)
    value = value.quantize(Decimal('1e-9'), rounding=decimal.ROUND_HALF_UP, context=EXACT)
    if abs(value) >= 10**18:
        raise Refused('out_of_range')
    return value


def add(was, now, theirs):                                                                  # 6.6
    if now is ABSENT:
        return theirs
    if any(value is not ABSENT and not is_number(value) for value in (was, now, theirs)):
        return now
    was, now, there = rounded(was), rounded(now), rounded(theirs)
    result = EXACT.add(there, EXACT.subtract(now, was))
    if abs(result) >= 10**18:
        raise Refused('out_of_range')
    return EXACT.plus(result)


def union(was, now, theirs):                                                                # 6.8
    if not isinstance(now, list) or not isinstance(theirs, list):
        return now
    was = was if isinstance(was, list) else []

    def has(array, element):
        return any(equal(element, other) for other in array)

    result = []
    for element in [e for e in theirs if not has(was, e) or has(now, e)] + [e for e in now if not has(was, e)]:
        if not has(result, element):
            result.append(element)
    return result


# ---- 4, 8, 9. apply

def outcome(status, old, value, deleted, epoch):
    """old is (value, deleted) before."""
    changed = deleted != old[1] or not equal(value, old[0])
    want = {'status': status, 'changed': changed}
    if deleted:
        want['deleted'] = True
        want['epoch'] = Decimal(epoch)
    elif value is not ABSENT:
        want['document'] = value
    return want


def apply(vector):
    """The outcome of a vector in the form of `want`."""
    policy = vector.get('policy', 'incoming')
    check_policy(policy)
    edit = vector['edit']
    version = int(vector.get('version', 0))
    base = int(edit.get('base', 0))
    deleted = vector.get('deleted', False)
    document = ABSENT if deleted else vector.get('document', ABSENT)
    epoch = int(vector.get('epoch', 0)) if deleted else epoch_of(document, policy)
    knows_epoch = epoch_field(policy) is not None and 'epoch' in edit
    edit_epoch = int(edit['epoch']) if knows_epoch else epoch
    was, now = edit.get('was', ABSENT), edit.get('now', ABSENT)
    whole = edit.get('whole', [])
    old = (document, deleted)

    def finish(status, value):
        if value is ABSENT and (deleted or document is not ABSENT):                         # 9.4
            kept_epoch = epoch if deleted else max(epoch, edit_epoch)                           # 9.2
            return outcome(status, old, ABSENT, True, kept_epoch)
        return outcome(status, old, value, False, 0)

    def kept():
        return outcome('kept', old, document, deleted, epoch)

    if edit.get('delete', False):                                                           # 9.1
        if edit_epoch < epoch or base != version:
            return kept()
        return finish('applied', ABSENT)
    if base == version:                                                                     # 4.1
        try:
            return finish('applied', exact(was, now, document, policy, '', whole))
        except Differs:
            pass
    if deleted and 0 < base < version:                                                      # 9.3
        return kept()
    if edit_epoch < epoch:                                                                  # 8.2
        return kept()
    theirs = document
    if epoch_field(policy) is not None and (edit_epoch > epoch or (deleted and epoch > 0)):
        theirs = {epoch_field(policy): Decimal(edit_epoch)}
    if knows_epoch and epoch_of(now, policy) > epoch_of(was, policy):                       # 8.3
        was = {}
    seed = 'v1' if vector.get('v1', False) else edit.get('seed', False)
    result = merge(was, now, theirs, policy, False, '', whole, seed)
    return finish('merged', result)


def answer(vector):
    try:
        return {'want': apply(vector)}
    except Refused as refused:
        return {'error': str(refused)}


if __name__ == '__main__':
    sys.setrecursionlimit(10000)
    for line in sys.stdin:
        print(dumps(answer(loads(line))))
