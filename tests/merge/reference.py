"""reference.py - docs/merge.md once more: diff and apply, slow and plain, from that page alone.

Not a model of src/merge: nothing here was taken from it, so that where both agree the page says it.
Each function carries out the section that it cites, in the order of the section, without any
short cut. tests/merge/compare.py holds it against the program.

Values are what json.loads makes of them, with two additions: a number is a Number, its text as it
came (1.3, compared as an exact decimal); ABSENT is no value (1.1).
"""
import collections
import decimal
import json

EXACT = decimal.Context(prec=2000)
LEAF_POLICIES = ('incoming', 'whole', 'keep', 'max', 'min', 'sum', 'union', 'any', 'all')
WORDS = {None: 'null', True: 'true', False: 'false'}
POLICY_LEVELS = 16
POLICY_BYTES = 64 * 1024
SUM_BOUND = decimal.Decimal(10) ** 18
BILLIONTH = decimal.Decimal('1e-9')
EPOCH_BOUND = 2 ** 53


class Number(str):
    """A number as it is written; arithmetic and equality go through value()."""
    __slots__ = ()

    def value(self):
        return decimal.Decimal(self)


class Absent:
    def __repr__(self):
        return 'absent'


ABSENT = Absent()
UNDECIDED = object()    # a rule's answer where the next one has to decide


class OutOfRange(Exception):
    """4.6, 6.6"""


class BadPolicy(Exception):
    """2.2, 2.4"""


# Section 1: words and values.

READER = json.JSONDecoder(parse_int=Number, parse_float=Number)


def load(text):
    """JSON text to a value; numbers keep their text (1.3)."""
    return READER.decode(text)


def dump(value):
    """A value as compact JSON; docs/protocol.md 1.3, but that controls may be escaped otherwise."""
    kind = type(value)
    if kind is Number:
        return str(value)
    if kind is dict:
        return '{%s}' % ','.join(f'{dump(k)}:{dump(v)}' for k, v in value.items())
    if kind is list:
        return '[%s]' % ','.join(map(dump, value))
    if kind is str:
        return json.encoder.encode_basestring(value)
    return WORDS[value]


def equal(a, b):
    """1.2: by JSON value; absent equals absent and nothing else."""
    kind = type(a)
    if kind is not type(b):
        return False
    if kind is Number:
        return str(a) == str(b) or a.value() == b.value()
    if kind is dict:
        return len(a) == len(b) and all(k in b and equal(v, b[k]) for k, v in a.items())
    if kind is list:
        return len(a) == len(b) and all(map(equal, a, b))
    return a is b or a == b


def contains(array, element):
    return any(equal(element, other) for other in array)


class Document:
    """1.4: a value with a version; version 0 is no document; a tombstone keeps an epoch."""

    def __init__(self, value=ABSENT, version=0, deleted=False, epoch=0):
        self.value = value
        self.version = version
        self.deleted = deleted
        self.epoch = epoch      # a tombstone's; of a live document it is in the value


class Edit:
    """1.5; seed is False, True or 'v1' (7.4), epoch None where it is missing."""

    def __init__(self, base=0, was=ABSENT, now=ABSENT, whole=(), epoch=None, delete=False,
                 seed=False):
        self.base = base
        self.was = was
        self.now = now
        self.whole = frozenset(whole)
        self.epoch = epoch
        self.delete = delete
        self.seed = seed


def read_edit(value, v1=False):
    """An edit as in a vector (section 12)."""
    epoch = value.get('epoch')
    return Edit(int(value.get('base', 0)), value.get('was', ABSENT), value.get('now', ABSENT),
                value.get('whole', ()), None if epoch is None else int(epoch),
                value.get('delete', False), 'v1' if v1 else value.get('seed', False))


# Section 2: policies. A policy is its JSON: a word, or a dict with each or fields.

def check_policy(policy):
    """2.2: raises BadPolicy."""
    if len(dump(policy).encode()) > POLICY_BYTES:
        raise BadPolicy('too long')
    check_policy_level(policy, 1)


def check_policy_level(policy, level):
    """2.1, 2.2, 2.4. A word is a level as well."""
    if level > POLICY_LEVELS:
        raise BadPolicy('too deep')
    if type(policy) is str:
        if policy not in LEAF_POLICIES:
            raise BadPolicy('unknown word')
        return
    if type(policy) is not dict:
        raise BadPolicy('neither a word nor an object')
    if ('each' in policy) == ('fields' in policy):
        raise BadPolicy('exactly one of each and fields')
    known = {'each'} if 'each' in policy else {'fields', 'rest'}
    if level == 1:
        known.add('epoch')
    if set(policy) - known:
        raise BadPolicy('a member that does not belong there')
    if 'epoch' in policy and (type(policy['epoch']) is not str or policy['epoch'] == ''):
        raise BadPolicy('the epoch is no name')
    if 'fields' in policy and type(policy['fields']) is not dict:
        raise BadPolicy('fields is no object')
    for member in ('each', 'rest'):
        if member in policy:
            check_policy_level(policy[member], level + 1)
    for member in policy.get('fields', {}).values():
        check_policy_level(member, level + 1)


def epoch_field(policy):
    """2.4: the name of the epoch field, None without one."""
    return policy.get('epoch') if type(policy) is dict else None


def is_map(policy):
    """The policy is {"each": ...}."""
    return type(policy) is dict and 'each' in policy


def member_policy(policy, name):
    """2.3. Only the document's policy has an epoch, so this finds the field at the top alone."""
    if name == epoch_field(policy):
        return 'incoming'
    if is_map(policy):
        return policy['each']
    if type(policy) is dict:
        return policy['fields'].get(name, policy.get('rest', 'incoming'))
    return 'keep' if policy == 'keep' else 'incoming'


class Place:
    """A path of the walk: its pointer, its policy, whether it is a member of an each map."""
    __slots__ = ('pointer', 'policy', 'in_map')

    def __init__(self, pointer, policy, in_map):
        self.pointer = pointer
        self.policy = policy
        self.in_map = in_map

    def member(self, name):
        escaped = name.replace('~', '~0').replace('/', '~1')    # 14.1
        return Place(f'{self.pointer}/{escaped}', member_policy(self.policy, name),
                     is_map(self.policy))


def root(policy):
    return Place('', policy, False)


def members(value):
    """The members of an object; anything else has none."""
    return value if type(value) is dict else {}


def names(first, second):
    """The names of both, those of the first in its order, then those that only the second has."""
    return list(members(first)) + [name for name in members(second) if name not in members(first)]


# Section 3: making an edit.

def diff(base, mine, policy):
    """3: the edit as JSON ({"was", "now", "whole", "epoch", "delete"} as far as there), or None."""
    if equal(base, mine):
        return None
    if mine is ABSENT:
        return diff_delete(base, policy)
    raised = epoch_field(policy) is not None and epoch_of(mine, policy) > epoch_of(base, policy)
    whole = []
    was, now = diff_path(root(policy), base, mine, raised, whole)
    edit = {}
    if was is not ABSENT:
        edit['was'] = was
    if now is not ABSENT:
        edit['now'] = now
    if whole:
        edit['whole'] = whole
    if epoch_field(policy) is not None:
        edit['epoch'] = Number(epoch_of(mine, policy))      # 3.5
    return edit


def diff_delete(base, policy):
    """3.6"""
    edit = {'delete': True}
    if epoch_field(policy) is not None:
        edit['epoch'] = Number(epoch_of(base, policy))
    return edit


def diff_path(place, base, mine, raised, whole):
    """3.2, 3.3: was and now of a path that differs (or of the root of an edit that raises)."""
    if diff_is_leaf(place, base, mine, raised):
        diff_whole(place, base, mine, raised, whole)
        return base, mine
    was, now = {}, {}
    for name in names(mine, base):
        old, new = base.get(name, ABSENT), mine.get(name, ABSENT)
        if equal(old, new):
            continue
        old, new = diff_path(place.member(name), old, new, raised, whole)
        if old is not ABSENT:
            was[name] = old
        if new is not ABSENT:
            now[name] = new
    return was, now


def diff_is_leaf(place, base, mine, raised):
    """3.3"""
    if type(base) is not dict or type(mine) is not dict:
        return True
    return place.policy == 'whole' or place.in_map or (place.pointer == '' and raised)


def diff_whole(place, base, mine, raised, whole):
    """3.4, from a leaf of 3.3 down. Where the edit raises the epoch all paths count as changed."""
    if type(base) is not dict and type(mine) is not dict:
        return
    if place.policy == 'whole':
        whole.append(place.pointer)
        return
    for name in names(mine, base):
        old, new = members(base).get(name, ABSENT), members(mine).get(name, ABSENT)
        if raised or not equal(old, new):
            diff_whole(place.member(name), old, new, raised, whole)


# Section 4: applying an edit.

Result = collections.namedtuple('Result', 'status changed document')


def apply(document, edit, policy):
    """4: the new document, and applied, merged or kept. Raises OutOfRange (4.6)."""
    if not edit.delete and edit.base == document.version:           # 4.1
        value = applied_path(root(policy), edit.was, edit.now, document.value, edit)
        if value is not UNDECIDED:
            return finish('applied', document, value, edit, policy)
    if edit.delete:                                                 # 4.2
        return apply_delete(document, edit, policy)
    if document.deleted and 0 < edit.base < document.version:       # 4.3, 9.3
        return Result('kept', False, document)
    if edit_epoch_is_lower(document, edit, policy):                 # 4.4, 8.2
        return Result('kept', False, document)
    was = was_with_epoch(edit, policy)                              # 4.5
    theirs = theirs_with_epoch(document, edit, policy)
    value = merge_path(root(policy), was, edit.now, theirs, edit)
    return finish('merged', document, value, edit, policy)


def is_whole_leaf(place, edit):
    """5.3: the policy is whole and the pointer stands in the edit's whole."""
    return place.policy == 'whole' and place.pointer in edit.whole


def applied_path(place, was, now, theirs, edit):
    """4.1: what the client has; UNDECIDED where a was is not what is there."""
    if type(was) is dict and type(now) is dict and not is_whole_leaf(place, edit):
        if type(theirs) is not dict:
            return UNDECIDED
        result = dict(theirs)
        for name in names(now, was):
            value = applied_path(place.member(name), was.get(name, ABSENT), now.get(name, ABSENT),
                                 theirs.get(name, ABSENT), edit)
            if value is UNDECIDED:
                return UNDECIDED
            put(result, name, value)
        return result
    if not equal(was, theirs):
        return UNDECIDED
    return theirs if equal(was, now) else now


def put(members_of_result, name, value):
    if value is ABSENT:
        members_of_result.pop(name, None)
    else:
        members_of_result[name] = value


def finish(status, document, value, edit, policy):
    """4.7, 9.4: the document afterwards, and whether it changed."""
    if value is ABSENT:
        if document.value is ABSENT:
            return Result(status, False, document)
        return Result(status, True, tombstone(document, edit, policy))
    if equal(value, document.value):
        return Result(status, False, document)
    return Result(status, True, Document(value, document.version + 1))


# Section 5: the rules. Each answers UNDECIDED where it does not hold.

def merge_path(place, was, now, theirs, edit):
    """5: the first rule that holds decides."""
    for rule in (rule_1, rule_2, rule_3, rule_4, rule_5, rule_6):
        result = rule(place, was, now, theirs, edit)
        if result is not UNDECIDED:
            return result
    raise AssertionError('rule 6 always decides')


def rule_1(place, was, now, theirs, edit):
    """5.1: the edit changes nothing here."""
    return theirs if equal(was, now) else UNDECIDED


def rule_2(place, was, now, theirs, edit):
    """5.2: in a map, an update beats a removal."""
    if not place.in_map or was is ABSENT or (now is ABSENT) == (theirs is ABSENT):
        return UNDECIDED
    update = theirs if now is ABSENT else now
    return UNDECIDED if equal(update, was) else update


def rule_3(place, was, now, theirs, edit):
    """5.3: objects."""
    if is_whole_leaf(place, edit):
        return UNDECIDED
    kinds = (type(was), type(now))
    if type(theirs) is dict and kinds in ((dict, dict), (dict, Absent), (Absent, dict)):
        return merge_members(place, was, now, theirs, edit)             # (a)
    if kinds == (dict, dict) and type(theirs) is not dict:
        if type(place.policy) is dict:
            return merge_members(place, was, now, {}, edit)             # (b)
        return theirs                                                   # (c)
    return UNDECIDED


def merge_members(place, was, now, theirs, edit):
    """5.3, per member."""
    result = dict(theirs)
    for name in names(now, was):
        values = [members(tree).get(name, ABSENT) for tree in (was, now, theirs)]
        put(result, name, merge_path(place.member(name), *values, edit))
    if now is ABSENT and not result:
        return ABSENT
    return result


def rule_4(place, was, now, theirs, edit):
    """5.4: nobody else changed it."""
    return now if equal(theirs, was) else UNDECIDED


def rule_5(place, was, now, theirs, edit):
    """5.5: both did the same, which for a counter is twice."""
    return theirs if equal(theirs, now) and place.policy != 'sum' else UNDECIDED


def rule_6(place, was, now, theirs, edit):
    """5.6: the policy decides."""
    word = place.policy if type(place.policy) is str else 'incoming'     # 6.1: each and fields, too
    as_seed = edit.seed is True or (edit.seed == 'v1' and word != 'incoming')    # 7.4
    decide = SEED_LEAF[word] if as_seed and word in SEED_LEAF else LEAF[word]
    return decide(was, now, theirs)


# Section 6: what a policy does at a leaf.

def leaf_incoming(was, now, theirs):
    """6.1, 6.2"""
    return now


def leaf_keep(was, now, theirs):
    """6.3"""
    return theirs


def leaf_max(was, now, theirs):
    """6.4"""
    return leaf_further(now, theirs, lambda a, b: a > b)


def leaf_min(was, now, theirs):
    """6.5"""
    return leaf_further(now, theirs, lambda a, b: a < b)


def leaf_further(now, theirs, further):
    """6.4, 6.5: the one that is further, theirs where they are equal."""
    if one_absent(now, theirs):
        return the_other(now, theirs)
    if type(now) is Number and type(theirs) is Number:
        return now if further(now.value(), theirs.value()) else theirs
    if type(theirs) is Number:
        return theirs
    return now


def one_absent(now, theirs):
    return (now is ABSENT) != (theirs is ABSENT)


def the_other(now, theirs):
    return theirs if now is ABSENT else now


def leaf_sum(was, now, theirs):
    """6.6. Rule 5 does not hold for counters, so now and theirs may be equal here."""
    if now is ABSENT:
        return theirs
    if any(value is not ABSENT and type(value) is not Number for value in (was, now, theirs)):
        return theirs if equal(theirs, now) else now
    total = EXACT.add(sum_operand(theirs), EXACT.subtract(sum_operand(now), sum_operand(was)))
    if abs(total) >= SUM_BOUND:
        raise OutOfRange
    if type(theirs) is Number and theirs.value() == total:
        return theirs
    return sum_text(total)


def sum_operand(value):
    """6.6, 3: absent counts 0; rounded to 9 decimals, half away from zero, and then in range."""
    if value is ABSENT:
        return decimal.Decimal(0)
    rounded = value.value().quantize(BILLIONTH, decimal.ROUND_HALF_UP, EXACT)
    if abs(rounded) >= SUM_BOUND:
        raise OutOfRange
    return rounded


def sum_text(total):
    """6.6, 3: without exponent, without trailing zeros behind the point, zero as 0."""
    if total == 0:
        return Number('0')
    text = f'{total:f}'
    return Number(text.rstrip('0').rstrip('.') if '.' in text else text)


def leaf_any(was, now, theirs):
    """6.7"""
    if one_absent(now, theirs):
        return the_other(now, theirs)
    return theirs or now if type(now) is type(theirs) is bool else now


def leaf_all(was, now, theirs):
    """6.7"""
    if one_absent(now, theirs):
        return the_other(now, theirs)
    return theirs and now if type(now) is type(theirs) is bool else now


def leaf_union(was, now, theirs):
    """6.8"""
    if one_absent(now, theirs):
        return the_other(now, theirs)
    if type(now) is not list or type(theirs) is not list:
        return now
    was = was if type(was) is list else []
    stay = [e for e in theirs if not (contains(was, e) and not contains(now, e))]
    added = [e for e in now if not contains(was, e)]
    result = []
    for element in stay + added:
        if not contains(result, element):
            result.append(element)
    return result


LEAF = {'incoming': leaf_incoming, 'whole': leaf_incoming, 'keep': leaf_keep, 'max': leaf_max,
        'min': leaf_min, 'sum': leaf_sum, 'union': leaf_union, 'any': leaf_any, 'all': leaf_all}


# Section 7: seeds.

def seed_theirs(was, now, theirs):
    """7.1"""
    return now if theirs is ABSENT else theirs


SEED_LEAF = {'incoming': seed_theirs, 'whole': seed_theirs, 'keep': seed_theirs,
             'sum': leaf_max}       # 7.2


# Section 8: epochs.

def epoch_of(value, policy):
    """8.1: of a value under a policy that has an epoch field."""
    field = members(value).get(epoch_field(policy), ABSENT)
    if type(field) is not Number:
        return 0
    exact = field.value()
    if exact != exact.to_integral_value(context=EXACT) or not 0 <= exact < EPOCH_BOUND:
        return 0
    return int(exact)


def document_epoch(document, policy):
    """8.1: a tombstone has the epoch that it was deleted with."""
    return document.epoch if document.deleted else epoch_of(document.value, policy)


def edit_epoch_is_lower(document, edit, policy):
    """8.2"""
    return (epoch_field(policy) is not None and edit.epoch is not None
            and edit.epoch < document_epoch(document, policy))


def theirs_with_epoch(document, edit, policy):
    """8.2, higher, equal and not given: what theirs is read as."""
    field = epoch_field(policy)
    if field is None:
        return document.value
    present = document_epoch(document, policy)
    if edit.epoch is not None and edit.epoch > present:
        return {field: Number(edit.epoch)}
    if document.deleted and present > 0:
        return {field: Number(present)}
    return document.value


def was_with_epoch(edit, policy):
    """8.3: an edit that raised the epoch has nothing before it."""
    if (epoch_field(policy) is not None and edit.epoch is not None
            and epoch_of(edit.now, policy) > epoch_of(edit.was, policy)):
        return {}
    return edit.was


# Section 9: deletes and tombstones.

def apply_delete(document, edit, policy):
    """9.1"""
    if edit_epoch_is_lower(document, edit, policy) or edit.base != document.version:
        return Result('kept', False, document)
    if document.value is ABSENT:
        return Result('applied', False, document)
    return Result('applied', True, tombstone(document, edit, policy))


def tombstone(document, edit, policy):
    """9.2"""
    epoch = 0
    if epoch_field(policy) is not None:
        epoch = max(document_epoch(document, policy), edit.epoch or 0)
    return Document(ABSENT, document.version + 1, True, epoch)
