"""plants.py - bugs to plant in tests/merge/reference.py: each breaks one rule of docs/merge.md.

A comparison that cannot see them is worth nothing.
"""
import contextlib
import decimal
import unittest.mock

import reference as ref
from reference import ABSENT, UNDECIDED

ORIGINAL = {name: getattr(ref, name) for name in dir(ref)}


def undecided(place, was, now, theirs, edit):
    return UNDECIDED


def objects_come_back(place, was, now, theirs, edit):
    if type(was) is type(now) is dict and type(theirs) is not dict:
        return ORIGINAL['merge_members'](place, was, now, {}, edit)
    return ORIGINAL['rule_3'](place, was, now, theirs, edit)


def additions_go_too(place, was, now, theirs, edit):
    merged = ORIGINAL['merge_members'](place, was, now, theirs, edit)
    return ABSENT if now is ABSENT else merged


def both_did_the_same(place, was, now, theirs, edit):
    return theirs if ref.equal(theirs, now) else UNDECIDED


def keep_ends_at_members(policy, name):
    return 'incoming' if policy == 'keep' else ORIGINAL['member_policy'](policy, name)


def equal_as_doubles(a, b):
    if type(a) is type(b) is ref.Number:
        return float(a) == float(b)
    return ORIGINAL['equal'](a, b)


def rounded_half_even(value):
    if value is ABSENT:
        return decimal.Decimal(0)
    return value.value().quantize(ref.BILLIONTH, decimal.ROUND_HALF_EVEN, ref.EXACT)


def union_keeps_removed(was, now, theirs):
    return ORIGINAL['leaf_union']([], now, theirs) if type(now) is type(theirs) is list else now


def late_edits_recreate(document, edit, policy):
    if document.deleted and not edit.delete and edit.base != document.version:
        edit = ref.Edit(-1, edit.was, edit.now, edit.whole, edit.epoch, False, edit.seed)
    return ORIGINAL['apply'](document, edit, policy)


def tombstone_without_epoch(document, edit, policy):
    return ref.Document(ABSENT, document.version + 1, True, 0)


def maps_are_walked(place, base, mine, raised):
    place = ref.Place(place.pointer, place.policy, False)
    return ORIGINAL['diff_is_leaf'](place, base, mine, raised)


# name: (what it stands in for in the reference, the bug)
PLANTS = {
    'max-is-min': ('LEAF', {**ref.LEAF, 'max': ref.leaf_min}),
    'any-is-all': ('LEAF', {**ref.LEAF, 'any': ref.leaf_all}),
    'keep-is-incoming': ('LEAF', {**ref.LEAF, 'keep': ref.leaf_incoming}),
    'seeds-overwrite': ('SEED_LEAF', {}),
    'rule-2-missing': ('rule_2', undecided),
    'rule-3-always-b': ('rule_3', objects_come_back),
    'rule-3-additions-go-too': ('merge_members', additions_go_too),
    'rule-4-missing': ('rule_4', undecided),
    'rule-5-for-sums': ('rule_5', both_did_the_same),
    'whole-ignored': ('is_whole_leaf', lambda place, edit: False),
    'whole-without-list': ('is_whole_leaf', lambda place, edit: place.policy == 'whole'),
    'keep-ends-at-members': ('member_policy', keep_ends_at_members),
    'equal-as-doubles': ('equal', equal_as_doubles),
    'sum-half-even': ('sum_operand', rounded_half_even),
    'sum-unbounded': ('SUM_BOUND', decimal.Decimal(10) ** 40),
    'union-keeps-removed': ('LEAF', {**ref.LEAF, 'union': union_keeps_removed}),
    'lower-epoch-counts': ('edit_epoch_is_lower', lambda document, edit, policy: False),
    'resets-subtract': ('was_with_epoch', lambda edit, policy: edit.was),
    'resets-add': ('theirs_with_epoch', lambda document, edit, policy: document.value),
    'late-edits-recreate': ('apply', late_edits_recreate),
    'tombstone-without-epoch': ('tombstone', tombstone_without_epoch),
    'diff-walks-maps': ('diff_is_leaf', maps_are_walked),
    'deep-policies': ('POLICY_LEVELS', 17),
}


def planted(name):
    """A context in which the reference has the bug; without a name it has none."""
    if name is None:
        return contextlib.nullcontext()
    return unittest.mock.patch.object(ref, *PLANTS[name])
