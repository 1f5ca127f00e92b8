"""Writes tests/vectors/merge/*.json and tests/vectors/diff/*.json.

    python3 tests/vectors/generate.py            write them
    python3 tests/vectors/generate.py --check    only tell whether they are what would be written
    python3 tests/vectors/generate.py --random N SEED FOLDER
                                                 N random vectors for a comparison of implementations

A case with a result written by hand is checked against reference.py; the others get theirs from it.
"""
import os
import random
import sys

sys.dont_write_bytecode = True
import reference
from reference import ABSENT, Decimal, dumps, equal, loads

HERE = os.path.dirname(os.path.abspath(__file__))
FILES = {}
DIFFS = {}
UNKNOWN = object()


def j(text):
    """A value from JSON; '-' is absent."""
    return ABSENT if text == '-' else loads(text)


def vector(file, name, policy, document, version, edit, want=UNKNOWN, error=None, **more):
    case = {'name': name}
    if policy is not ABSENT:
        case['policy'] = policy
    if document is not ABSENT:
        case['document'] = document
    case['version'] = Decimal(version)
    case.update(more)
    case['edit'] = edit
    answer = reference.answer(case)
    wanted = {'error': error} if error else {'want': want}
    if (error or want is not UNKNOWN) and not equal(answer, wanted):
        sys.exit('%s: %s\n  by hand   %s\n  reference %s' % (file, name, dumps(wanted), dumps(answer)))
    case.update(answer)
    cases = FILES.setdefault(file, [])
    if any(other['name'] == name for other in cases):
        sys.exit('%s: two vectors are called "%s"' % (file, name))
    cases.append(case)


def edit_of(was, now, base=1, **more):
    edit = {'base': Decimal(base)}
    if was is not ABSENT:
        edit['was'] = was
    if now is not ABSENT:
        edit['now'] = now
    edit.update(more)
    return edit


def field(value):
    return {} if value is ABSENT else {'x': value}


def leaf(file, policy, was, now, theirs, want, name=None, error=None, v1=False, **more):
    """A path x between two others; want is its value afterwards. All are JSON texts, - is absent."""
    name = name or '%s: %s to %s, theirs %s' % (policy, was, now, theirs)
    was, now, theirs = j(was), j(now), j(theirs)
    document = {'a': Decimal(1), **field(theirs), 'z': 'stays'}
    edit = edit_of(ABSENT if more.get('seed') else field(was), field(now), **more)
    rule = {'fields': {'x': policy}}
    if error:
        vector(file, name, rule, document, 2, edit, error=error)
        return
    after = {'a': Decimal(1), **field(j(want)), 'z': 'stays'}
    vector(file, name, rule, document, 2, edit,
           {'status': 'merged', 'changed': not equal(document, after), 'document': after}, **({'v1': True} if v1 else {}))


def full(file, name, policy, theirs, edit, want, version=2, changed=None, status='merged', **more):
    """A whole document; want is it afterwards."""
    vector(file, name, loads(policy), j(theirs), version, loads(edit),
           {'status': status, 'changed': not equal(j(theirs), loads(want)) if changed is None else changed,
            'document': loads(want)}, **more)


def leaves():
    for policy in ('incoming', 'whole', 'keep', 'max', 'min', 'union', 'any', 'all', 'sum'):
        name = 'any_all' if policy in ('any', 'all') else policy
        leaf(name, policy, '1', '1', '2', '2', policy + ': rule 1, nothing was changed')
        leaf(name, policy, '-', '-', '2', '2', policy + ': rule 1, neither side names it')
        leaf(name, policy, '1', '2', '1', '2', policy + ': rule 4, nobody else changed it')
        leaf(name, policy, '-', '2', '-', '2', policy + ': rule 4, added and nobody else did')
        leaf(name, policy, '1', '-', '1', '-', policy + ': rule 4, removed and nobody else touched it')
        leaf(name, policy, '1.0', '"q"', '10e-1', '"q"', policy + ': rule 4 compares numbers by value')
        leaf(name, policy, '{"a":1,"b":2}', '5', '{"b":2.0,"a":1}', '5', policy + ': rule 4 compares objects without order')
        leaf(name, policy, '3', '-', '-', '-', policy + ': both removed it')
        if policy != 'sum':
            leaf(name, policy, '1', '7', '7.0', '7.0', policy + ': rule 5, both wrote the same')
            leaf(name, policy, '-', '"s"', '"s"', '"s"', policy + ': rule 5, both added the same')
    for policy in ('incoming', 'whole'):
        leaf(policy, policy, '1', '2', '3', '2')
        leaf(policy, policy, '1', '-', '3', '-', policy + ': the last removal wins')
        leaf(policy, policy, '1', '2', '-', '2', policy + ': written after a removal')
        leaf(policy, policy, '-', '2', '3', '2', policy + ': both added, the last wins')
        leaf(policy, policy, 'null', 'true', 'false', 'true')
        leaf(policy, policy, '"a"', 'null', '"b"', 'null', policy + ': null is a value')
        leaf(policy, policy, '[1,2]', '[1,2,3]', '[0,1,2]', '[1,2,3]', policy + ': arrays are leaves')
        leaf(policy, policy, '[1]', '[1,{"a":[]}]', '{}', '[1,{"a":[]}]')
        leaf(policy, policy, '1', '{"a":1}', '2', '{"a":1}', policy + ': a number becomes an object')
    leaf('keep', 'keep', '1', '2', '3', '3')
    leaf('keep', 'keep', '1', '-', '3', '3', 'keep: a late removal loses')
    leaf('keep', 'keep', '1', '2', '-', '-', 'keep: the first removal wins')
    leaf('keep', 'keep', '-', '2', '3', '3', 'keep: both added, the first stays')
    leaf('keep', 'keep', '1', '{"a":1}', 'null', 'null')
    leaf('keep', 'keep', '{"a":1}', '{"a":2}', '{"a":3}', '{"a":3}', 'keep: reaches the members of an object')
    leaf('keep', 'keep', '{"a":1,"b":1}', '{"a":2,"b":2}', '{"a":1,"b":3}', '{"a":2,"b":3}',
         'keep: a member that nobody touched is written')
    leaf('keep', 'keep', '{"a":{"b":1}}', '{"a":{"b":2}}', '{"a":{"b":3}}', '{"a":{"b":3}}', 'keep: reaches members of members')
    leaf('keep', 'keep', '{"a":1}', '-', '{"a":2}', '{"a":2}', 'keep: an object that somebody changed is not removed')
    leaf('keep', 'keep', '{"a":1}', '{"a":2}', '-', '-', 'keep: an object that somebody removed stays removed')


def numbers():
    big, bigger = '1' + '0' * 39, '1' + '0' * 38 + '1'
    for policy, pick in (('max', 1), ('min', 0)):
        def both(a, b):
            """Text of the winner of two numbers given in ascending order."""
            leaf(policy, policy, '"was"', a, b, (a, b)[pick], '%s of %s and %s' % (policy, a, b))
            leaf(policy, policy, '"was"', b, a, (a, b)[pick], '%s of %s and %s' % (policy, b, a))
        both('2', '3')
        both('9', '10')
        both('-10', '-9')
        both('-1', '1')
        both('-0.5', '0')
        both('0.1', '0.11')
        both('0.099', '0.1')
        both('9007199254740992', '9007199254740993')
        both('9223372036854775807', '9223372036854775808')
        both('-9223372036854775809', '-9223372036854775808')
        both(big, bigger)
        both('1e308', '2e308')
        both('-1e308', '1e-308')
        both('1e-308', '2e-308')
        both('0', '1e-308')
        both('99e-1', '1E+1')
        both('123.4560e2', '12345.61')
        leaf(policy, policy, '5', '2.50', '25e-1', '25e-1', policy + ': equal by value, theirs keeps its text')
        leaf(policy, policy, '5', '-0', '0.00', '0.00', policy + ': minus zero is zero')
        leaf(policy, policy, '5', '-', '7', '7', policy + ': an update beats a removal')
        leaf(policy, policy, '5', '7', '-', '7', policy + ': an update beats an earlier removal')
        leaf(policy, policy, '5', '3', '-', '3', policy + ': also one that made it smaller')
        leaf(policy, policy, '-', '3', '7', ('3', '7')[pick], policy + ': both added')
        leaf(policy, policy, '5', '"a"', '7', '7', policy + ': a number beats a string, theirs')
        leaf(policy, policy, '5', '7', '"a"', '7', policy + ': a number beats a string, now')
        leaf(policy, policy, '5', 'null', '-3', '-3', policy + ': a number beats null')
        leaf(policy, policy, '5', '7', 'true', '7', policy + ': a number beats a boolean')
        leaf(policy, policy, '5', '7', '{"a":1}', '7', policy + ': a number beats an object')
        leaf(policy, policy, '5', '"a"', '"b"', '"a"', policy + ': two strings, now')
        leaf(policy, policy, '5', 'null', '[9]', 'null', policy + ': two non-numbers, now')
    leaf('max', 'max', '9', '4', '9.0', '4', 'max: lowered where nobody else changed it')
    leaf('max', 'max', '9', '4', '10', '10', 'max: lowered and raised elsewhere')
    leaf('max', 'max', '9', '4', '7', '7', 'max: lowered twice')
    leaf('max', 'max', '{"a":1}', '{"a":2}', '{"a":3}', '{"a":2}', 'max: members of an object are incoming')
    leaf('min', 'min', '{"a":1}', '{"a":2}', '{"a":0}', '{"a":2}', 'min: members of an object are incoming')


def sums():
    s = lambda was, now, theirs, want, name=None, **more: leaf('sum', 'sum', was, now, theirs, want, name, **more)
    s('5', '7', '6', '8')
    s('5', '3', '6', '4')
    s('5', '6', '6', '7', 'sum: both counted one, both count')
    s('-', '3', '4', '7', 'sum: both began to count')
    s('-', '4', '4', '8', 'sum: both began with the same')
    s('5', '7', '-', '2', 'sum: the counter was removed meanwhile')
    s('5', '-', '6', '6', 'sum: a removed counter that others raised stays')
    s('"a"', '-', '6', '6', 'sum: a removed non-number')
    s('5', '-', '"a"', '"a"', 'sum: a removed counter that became a string')
    s('"a"', '3', '6', '3', 'sum: was no number')
    s('5', '"a"', '6', '"a"', 'sum: now no number')
    s('5', '6', '"a"', '6', 'sum: theirs no number')
    s('null', '6', '7', '6', 'sum: null is no number')
    s('5', '6', 'true', '6')
    s('5', '6', 'null', '6')
    s('-', '{"a":1}', '3', '{"a":1}', 'sum: an object over a number')
    s('{"a":1}', '{"a":2}', '{"a":5}', '{"a":2}', 'sum: members of an object are incoming')
    s('0.1', '0.3', '0.2', '0.4', 'sum: decimals are exact')
    s('10', '11.5', '12', '13.5')
    s('0', '0.7', '0.1', '0.8')
    s('1.10', '2.20', '3.30', '4.4', 'sum: no trailing zeros')
    s('1.5', '2', '3.5', '4', 'sum: no point without decimals')
    s('1e2', '2e2', '3e2', '400', 'sum: no exponent')
    s('15e-1', '25e-1', '1', '2', 'sum: exponents are read')
    s('5', '2', '3.0', '0', 'sum: zero')
    s('5', '2', '2', '-1', 'sum: below zero')
    s('-5', '-7.25', '-1', '-3.25')
    s('1', '1.5', '-0.25', '0.25', 'sum: through zero, upwards')
    s('1.5', '1', '0.25', '-0.25', 'sum: through zero, downwards')
    s('0', '0.0000000005', '1', '1.000000001', 'sum: half a billionth is rounded up')
    s('0', '0.00000000049999', '1', '1', 'sum: less than half a billionth is nothing')
    s('0', '-0.0000000005', '1', '0.999999999', 'sum: half away from zero, below it too')
    s('0', '-0.00000000049999', '1', '1', 'sum: less than half below zero is nothing')
    s('0.0000000005', '1', '0.0000000015', '1.000000001', 'sum: each operand is rounded by itself')
    s('0.9999999995', '3', '2', '4', 'sum: rounding carries into the units')
    s('0', '1e-308', '5', '5', 'sum: the smallest number')
    s('0', '0.00000000001', '1.2500', '1.2500', 'sum: an equal result keeps their text')
    s('0', '5', '0.0000000001', '5', 'sum: theirs is rounded, too')
    s('0', '1', '999999999999999998', '999999999999999999', 'sum: 18 digits')
    s('0', '-1', '-999999999999999998', '-999999999999999999', 'sum: 18 digits below zero')
    s('0', '0.999999999', '999999999999999999', '999999999999999999.999999999', 'sum: 18 digits and 9 decimals')
    s('999999999999999999', '-999999999999999999', '999999999999999999', '-999999999999999999',
      'sum: the difference may have 19 digits')
    s('0', '9007199254740993', '9007199254740993', '18014398509481986', 'sum: beyond 2^53')
    s('1e300', '2e300', '1e300', '2e300', 'sum: rule 4 comes first, whatever the size')
    s('1.00000000000001', '1.00000000000002', '1.00000000000001', '1.00000000000002', 'sum: rule 4 does not round')
    for name, was, now, theirs in (
            ('the result has 19 digits', '0', '1', '999999999999999999'),
            ('the result has 19 digits below zero', '0', '-1', '-999999999999999999'),
            ('was has 19 digits', '1e18', '1', '5'),
            ('now has 19 digits', '1', '1000000000000000000', '5'),
            ('theirs has 19 digits', '1', '2', '-1e18'),
            ('a huge exponent', '1', '1e308', '5'),
            ('an operand rounds up to 19 digits', '0', '999999999999999999.9999999995', '5'),
            ('the result rounds into range is no excuse', '5', '6', '999999999999999999.9999999999')):
        leaf('limits', 'sum', was, now, theirs, None, 'sum: out of range, ' + name, error='out_of_range')
    vector('limits', 'sum: one field out of range refuses all of the edit', {'rest': 'sum', 'fields': {}},
           loads('{"a": 1, "b": 999999999999999999}'), 3, loads('{"base": 2, "was": {"a": 0, "b": 0}, "now": {"a": 1, "b": 9}}'),
           error='out_of_range')
    full('limits', 'sum: applied edits may write any number', '{"fields": {"x": "sum"}}', '{"x": 1}',
         '{"base": 2, "was": {"x": 1}, "now": {"x": 1e300}}', '{"x": 1e300}', status='applied')
    full('limits', '40 digits are kept', '"incoming"', '{"x": 1}',
         '{"base": 1, "was": {"x": 2}, "now": {"x": 1234567890123456789012345678901234567890}}',
         '{"x": 1234567890123456789012345678901234567890}')


def unions():
    u = lambda was, now, theirs, want, name=None, **more: leaf('union', 'union', was, now, theirs, want, name, **more)
    u('[1,2]', '[2,3]', '[4,1,2]', '[4,2,3]')
    u('["a"]', '["a","b"]', '["a","c"]', '["a","c","b"]', 'union: both added')
    u('["a","b"]', '["a"]', '["a","b","c"]', '["a","c"]', 'union: removed here, added there')
    u('["a","b"]', '["a","b","c"]', '["b"]', '["b","c"]', 'union: added here, removed there')
    u('[]', '["a"]', '["a","b"]', '["a","b"]', 'union: they have it already')
    u('-', '["a","b"]', '["b","c"]', '["b","c","a"]', 'union: both began a list')
    u('["a"]', '["b"]', '["a"]', '["b"]', 'union: rule 4')
    u('[1]', '[1,2]', '[1,1,3,3]', '[1,3,2]', 'union: doubles go')
    u('[]', '[2,2.0,20e-1]', '[1]', '[1,2]', 'union: doubles by value')
    u('[1]', '[1,1,2]', '[3]', '[3,2]', 'union: what was there is not added again')
    u('[{"a":1,"b":[2]}]', '[]', '[{"b":[2.0],"a":1},5]', '[5]', 'union: elements are compared by value')
    u('[null,true]', '[null,true,false]', '["null",null]', '["null",null,false]')
    u('["1"]', '["1",1]', '["1","2"]', '["1","2",1]', 'union: a string is no number')
    u('[[1],[2]]', '[[1]]', '[[2],[1],[2,1]]', '[[1],[2,1]]', 'union: arrays as elements')
    u('["a","b"]', '["b","a"]', '["a","b","c"]', '["a","b","c"]', 'union: another order is no change')
    u('["a"]', '-', '["a","b"]', '["a","b"]', 'union: an update beats a removal')
    u('["a"]', '["a","b"]', '-', '["a","b"]', 'union: an update beats an earlier removal')
    u('["a"]', '[]', '["a","b"]', '["b"]', 'union: emptied here')
    u('["a"]', '["a","b"]', '[]', '["b"]', 'union: emptied there')
    u('"odd"', '["a"]', '["b"]', '["b","a"]', 'union: was no array')
    u('null', '["a"]', '["b"]', '["b","a"]')
    u('["a"]', '"odd"', '["b"]', '"odd"', 'union: now no array')
    u('["a"]', '["c"]', '"odd"', '["c"]', 'union: theirs no array')
    u('["a"]', 'null', '7', 'null', 'union: neither is an array')
    u('[""]', '["","\\u0001"]', '["é"]', '["é","\\u0001"]', 'union: strings of all kinds')
    u('[1e2]', '[]', '[100,1000]', '[1000]', 'union: 1e2 is 100')
    u('[0]', '[]', '[-0,0.0,1]', '[1]', 'union: all zeros are one')
    many = list(range(60))
    text = lambda values: '[' + ','.join(map(str, values)) + ']'
    u(text(many), text(many[:20] + many[40:] + [100, 101]), text(reversed(many + [200])),
      text([200] + list(range(59, 39, -1)) + list(range(19, -1, -1)) + [100, 101]), 'union: many elements')


def booleans():
    b = lambda policy, was, now, theirs, want, name=None: leaf('any_all', policy, was, now, theirs, want, name)
    for policy, want in (('any', 'true'), ('all', 'false')):
        b(policy, 'null', 'true', 'false', want)
        b(policy, 'null', 'false', 'true', want)
        b(policy, '-', 'true', 'false', want, policy + ': both added')
        b(policy, 'true', '-', 'false', 'false', policy + ': an update beats a removal')
        b(policy, 'true', 'false', '-', 'false', policy + ': an update beats an earlier removal')
        b(policy, 'true', '1', 'false', '1', policy + ': now no boolean')
        b(policy, 'true', 'false', '1', 'false', policy + ': theirs no boolean')
        b(policy, 'true', '"yes"', 'null', '"yes"', policy + ': neither a boolean')
        b(policy, 'false', 'true', 'false', 'true', policy + ': rule 4, set')
        b(policy, 'true', 'false', 'true', 'false', policy + ': rule 4, cleared')


def objects():
    f = lambda name, policy, theirs, was, now, want, changed=None, **more: full(
        'fields' if '"fields"' in policy else 'incoming', name, policy, theirs,
        dumps({'base': Decimal(1), **({} if was == '-' else {'was': loads(was)}),
               **({} if now == '-' else {'now': loads(now)}), **more}), want, changed=changed)
    inc = '"incoming"'
    f('members that the edit does not name stay', inc, '{"a":1,"b":2}', '{"a":0}', '{"a":5}', '{"a":5,"b":2}')
    f('objects are walked into', inc, '{"o":{"a":1,"b":3}}', '{"o":{"a":0}}', '{"o":{"a":5}}', '{"o":{"a":5,"b":3}}')
    f('a member added inside an object', inc, '{"o":{"b":3}}', '{"o":{}}', '{"o":{"a":1}}', '{"o":{"b":3,"a":1}}')
    f('a member removed inside an object', inc, '{"o":{"a":1,"b":3}}', '{"o":{"a":1}}', '{"o":{}}', '{"o":{"b":3}}')
    f('the last member removed leaves an empty object', inc, '{"o":{"a":1}}', '{"o":{"a":1}}', '{"o":{}}', '{"o":{}}')
    f('two added objects come together', inc, '{"o":{"b":1}}', '{}', '{"o":{"a":1}}', '{"o":{"b":1,"a":1}}')
    f('two added objects: the same member, incoming', inc, '{"o":{"a":1}}', '{}', '{"o":{"a":2}}', '{"o":{"a":2}}')
    f('a removed object goes', inc, '{"o":{"a":1},"k":1}', '{"o":{"a":1}}', '{}', '{"k":1}')
    f('a removed object keeps what others added', inc, '{"o":{"a":1,"b":2}}', '{"o":{"a":1}}', '{}', '{"o":{"b":2}}')
    f('a removed object: changed members go as well', inc, '{"o":{"a":9}}', '{"o":{"a":1}}', '{}', '{}')
    f('a removed object inside another', inc, '{"p":{"o":{"a":1},"q":1}}', '{"p":{"o":{"a":1}}}', '{"p":{}}', '{"p":{"q":1}}')
    f('removed objects inside a removed object', inc, '{"p":{"o":{"a":1}}}', '{"p":{"o":{"a":1}}}', '{}', '{}')
    f('a removed empty object', inc, '{"o":{}}', '{"o":{}}', '{}', '{}')
    f('a removed empty object that others filled', inc, '{"o":{"b":1}}', '{"o":{}}', '{}', '{"o":{"b":1}}', False)
    f('rule 3c: the object was removed meanwhile', inc, '{"k":1}', '{"o":{"a":1}}', '{"o":{"a":2}}', '{"k":1}', False)
    f('rule 3c: the object was replaced meanwhile', inc, '{"o":7}', '{"o":{"a":1}}', '{"o":{"a":2}}', '{"o":7}', False)
    f('rule 3c: also by null', inc, '{"o":null}', '{"o":{"a":1}}', '{"o":{"a":2}}', '{"o":null}', False)
    f('an object replaced by a number', inc, '{"o":{"a":1,"b":2}}', '{"o":{"a":1}}', '{"o":5}', '{"o":5}')
    f('a number replaced by an object', inc, '{"o":{"z":1}}', '{"o":5}', '{"o":{"a":1}}', '{"o":{"a":1}}')
    f('an object added over a number', inc, '{"o":5}', '{}', '{"o":{"a":1}}', '{"o":{"a":1}}')
    f('an object removed that became a number', inc, '{"o":5}', '{"o":{"a":1}}', '{}', '{}')
    f('the document is replaced by an array', inc, '{"a":2}', '{"a":1}', '[1]', '[1]')
    f('the document was an array and is an object', inc, '[2]', '[1]', '{"a":1}', '{"a":1}')
    f('an edit of nothing', inc, '{"a":1}', '{}', '{}', '{"a":1}', False)
    f('names with / and ~', inc, '{"a/b":1,"~":{"~1":2}}', '{"a/b":0,"~":{"~1":0}}', '{"a/b":3,"~":{"~1":4}}',
      '{"a/b":3,"~":{"~1":4}}')
    f('names beyond ASCII and the empty name', inc, '{"é":1,"":{"😀":2}}', '{"é":0,"":{"😀":0}}', '{"é":3,"":{"😀":4}}',
      '{"é":3,"":{"😀":4}}')
    game = '{"fields":{"score":"max","currentStreak":"max","longestStreak":"max","incorrectAnswers":"sum"}}'
    f('game_stats: two devices play', game,
      '{"score":120,"currentStreak":4,"longestStreak":9,"incorrectAnswers":8,"lastPlayed":"mon"}',
      '{"score":100,"currentStreak":3,"incorrectAnswers":5,"lastPlayed":"sun"}',
      '{"score":110,"currentStreak":0,"incorrectAnswers":7,"lastPlayed":"tue"}',
      '{"score":120,"currentStreak":4,"longestStreak":9,"incorrectAnswers":10,"lastPlayed":"tue"}')
    f('game_stats: unknown fields stay', game, '{"score":120,"badges":["x"]}', '{"score":100}', '{"score":130}',
      '{"score":130,"badges":["x"]}')
    f('fields: rest by its own policy', '{"fields":{"a":"max"},"rest":"sum"}', '{"a":5,"b":5,"c":5}',
      '{"a":1,"b":1,"c":1}', '{"a":2,"b":2,"c":3}', '{"a":5,"b":6,"c":7}')
    f('fields: rest may be a map', '{"fields":{},"rest":{"each":"max"}}', '{"m":{"a":5}}', '{"m":{"a":1}}',
      '{"m":{"a":2,"b":3}}', '{"m":{"a":5,"b":3}}')
    f('fields: in fields', '{"fields":{"o":{"fields":{"n":"sum"}}}}', '{"o":{"n":10,"k":1}}', '{"o":{"n":1}}', '{"o":{"n":3}}',
      '{"o":{"n":12,"k":1}}')
    f('fields: rule 3b, the object was removed meanwhile', '{"fields":{"o":{"fields":{"n":"sum"}}}}', '{"k":1}',
      '{"o":{"n":1}}', '{"o":{"n":3}}', '{"k":1,"o":{"n":2}}')
    f('fields: rule 3b, the object became a number', '{"fields":{"o":{"fields":{"n":"max"}}}}', '{"o":4}',
      '{"o":{"n":1}}', '{"o":{"n":3}}', '{"o":{"n":3}}')
    f('fields: rule 3b makes an empty object', '{"fields":{"o":{"fields":{"n":"max"}}}}', '{"k":1}',
      '{"o":{"n":1}}', '{"o":{}}', '{"k":1,"o":{}}')
    f('fields: an object added over a number is incoming', '{"fields":{"o":{"fields":{"n":"max"}}}}', '{"o":4}',
      '{}', '{"o":{"n":3}}', '{"o":{"n":3}}')
    f('fields: an object replaced by a number is incoming', '{"fields":{"o":{"fields":{"n":"max"}}}}', '{"o":{"n":9}}',
      '{"o":{"n":1}}', '{"o":3}', '{"o":3}')
    f('fields: a removed object keeps a raised maximum', '{"fields":{"o":{"fields":{"n":"max"}}}}', '{"o":{"n":9}}',
      '{"o":{"n":1}}', '{}', '{"o":{"n":9}}', False)
    f('fields: a removed object keeps a counter that others raised', '{"fields":{"o":{"fields":{"n":"sum"}}}}', '{"o":{"n":9,"k":1}}',
      '{"o":{"n":1,"k":1}}', '{}', '{"o":{"n":9}}')
    f('fields: two devices add the same object of counters', '{"fields":{"o":{"fields":{"n":"sum"}}}}', '{"o":{"n":9}}',
      '{}', '{"o":{"n":2}}', '{"o":{"n":11}}')
    f('fields: the document became a number', '{"fields":{"n":"sum"}}', '7', '{"n":1}', '{"n":3}', '{"n":2}')
    f('fields: a field called fields', '{"fields":{"fields":"max","each":"min"}}', '{"fields":5,"each":5}',
      '{"fields":1,"each":9}', '{"fields":3,"each":8}', '{"fields":5,"each":5}')
    full('fields', 'a document policy that is one word', '"max"', '5', '{"base": 1, "was": 3, "now": 4}', '5', changed=False)
    full('fields', 'a document that is a counter', '"sum"', '5', '{"base": 1, "was": 3, "now": 4}', '6')
    full('fields', 'a document that is a list', '"union"', '[1,2]', '{"base": 1, "was": [1], "now": [1, 3]}', '[1,2,3]')


def maps():
    f = lambda name, policy, theirs, was, now, want, changed=None, whole=None: full(
        'whole' if whole is not None else 'each', name, policy, theirs,
        dumps({'base': Decimal(1), 'was': loads(was), 'now': loads(now), **({'whole': whole} if whole else {})}),
        want, changed=changed)
    stars = '{"fields":{"unlockedCount":"max","bestStarsByLesson":{"each":"max"}}}'
    f('lesson_progress: stars for lessons that the other does not know', stars,
      '{"unlockedCount":4,"bestStarsByLesson":{"l1":3,"l3":1}}', '{"unlockedCount":2,"bestStarsByLesson":{"l1":1}}',
      '{"unlockedCount":3,"bestStarsByLesson":{"l1":2,"l2":3}}', '{"unlockedCount":4,"bestStarsByLesson":{"l1":3,"l3":1,"l2":3}}')
    f('lesson_progress: the map is there on one side alone', stars, '{"unlockedCount":4}', '{"bestStarsByLesson":{"l1":1}}',
      '{"bestStarsByLesson":{"l1":2}}', '{"unlockedCount":4,"bestStarsByLesson":{"l1":2}}')
    for policy in ('incoming', 'keep', 'max', 'min', 'sum', 'union', 'any', 'all', 'whole'):
        rule = '{"each":"%s"}' % policy
        f('each %s: an update beats a later removal' % policy, rule, '{"t":2}', '{"t":1}', '{}', '{"t":2}', False)
        f('each %s: an update beats an earlier removal' % policy, rule, '{}', '{"t":1}', '{"t":2}', '{"t":2}')
        f('each %s: a removal that nobody contests' % policy, rule, '{"t":1,"u":1}', '{"t":1}', '{}', '{"u":1}')
        f('each %s: both removed it' % policy, rule, '{"u":1}', '{"t":1}', '{}', '{"u":1}', False)
        f('each %s: both added different members' % policy, rule, '{"u":1}', '{}', '{"t":2}', '{"u":1,"t":2}')
    f('each sum: counters by id', '{"each":"sum"}', '{"a":5,"b":1}', '{"a":1}', '{"a":3,"c":4}', '{"a":7,"b":1,"c":4}')
    f('each in each', '{"each":{"each":"max"}}', '{"a":{"x":5},"b":{"y":1}}', '{"a":{"x":1}}', '{"a":{"x":3,"z":2}}',
      '{"a":{"x":5,"z":2},"b":{"y":1}}')
    f('each in each: an updated map beats its removal', '{"each":{"each":"max"}}', '{"a":{"x":5}}', '{"a":{"x":1}}', '{}',
      '{"a":{"x":5}}', False)
    f('each in each: a removed map comes back with its update', '{"each":{"each":"max"}}', '{}', '{"a":{"x":1,"k":1}}',
      '{"a":{"x":2,"k":1}}', '{"a":{"x":2,"k":1}}')
    f('each fields: members in full, what is equal is not touched', '{"each":{"fields":{"n":"sum"}}}',
      '{"a":{"n":10,"t":"theirs"}}', '{"a":{"n":1,"t":"old"}}', '{"a":{"n":3,"t":"old"}}', '{"a":{"n":12,"t":"theirs"}}')
    f('each fields: removed here, counted there', '{"each":{"fields":{"n":"sum"}}}', '{"a":{"n":10}}', '{"a":{"n":1}}', '{}',
      '{"a":{"n":10}}', False)
    f('each: a member that is no object any more', '{"each":{"fields":{"n":"sum"}}}', '{"a":7}', '{"a":{"n":1}}', '{"a":{"n":3}}',
      '{"a":{"n":2}}')
    f('each: now is no object', '{"each":"max"}', '{"a":5}', '{"a":1}', '[3]', '[3]')
    f('each: theirs is no object', '{"each":"max"}', '[5]', '{"a":1}', '{"a":3}', '{"a":3}')
    f('each: theirs is no object, a removal', '{"each":"max"}', '[5]', '{"a":1}', '{}', '{}')
    f('each: null is there', '{"each":"incoming"}', '{"t":null}', '{"t":1}', '{}', '{"t":null}', False)
    f('each: a member replaced by null', '{"each":"incoming"}', '{}', '{"t":1}', '{"t":null}', '{"t":null}')
    f('fields are no map: a removal is as its policy says', '{"fields":{"t":"incoming"}}', '{"t":2}', '{"t":1}', '{}', '{}')
    themes = '{"fields":{"unlockedThemes":"union","aiThemes":{"each":"whole"}}}'
    f('settings: themes as one', themes, '{"mute":false,"aiThemes":{"t1":{"id":"t1","name":"Lake"}}}',
      '{"mute":false,"aiThemes":{"t1":{"id":"t1","name":"Sea"}}}',
      '{"mute":true,"aiThemes":{"t1":{"id":"t1","name":"Deep sea","dark":true}}}',
      '{"mute":true,"aiThemes":{"t1":{"id":"t1","name":"Deep sea","dark":true}}}', whole=['/aiThemes/t1'])
    one = '{"each":"whole"}'
    f('whole: replaced as one', one, '{"t":{"a":1,"b":9}}', '{"t":{"a":1,"b":2}}', '{"t":{"a":3,"b":2}}', '{"t":{"a":3,"b":2}}',
      whole=['/t'])
    f('whole: not listed, member by member', one, '{"t":{"a":1,"b":9}}', '{"t":{"a":1,"b":2}}', '{"t":{"a":3,"b":2}}',
      '{"t":{"a":3,"b":9}}', whole=[])
    f('whole: another path is listed', one, '{"t":{"a":1,"b":9}}', '{"t":{"a":1,"b":2}}', '{"t":{"a":3,"b":2}}',
      '{"t":{"a":3,"b":9}}', whole=['/tt', '/t/a', '', '/', '/T'])
    f('whole: listed among many', one, '{"t":{"a":1,"b":9},"u":{"a":9}}', '{"t":{"a":1,"b":2},"u":{"b":1}}',
      '{"t":{"a":3,"b":2},"u":{"b":2}}', '{"t":{"a":3,"b":2},"u":{"a":9,"b":2}}',
      whole=['/tt', '/t0', '/t/a', '/t', '/s', '/t!', '/v', '/t/', '/t~1'])
    f('whole: a name ends before it goes on', '{"each":{"each":"whole"}}', '{"t":{"a":{"x":1,"y":9}}}', '{"t":{"a":{"x":1,"y":1}}}',
      '{"t":{"a":{"x":2,"y":1}}}', '{"t":{"a":{"x":2,"y":1}}}', whole=['/t'] + ['/t!%d' % i for i in range(6)] + ['/t/a', '/t0'])
    f('whole: listed, but the policy is another', '{"each":"incoming"}', '{"t":{"a":1,"b":9}}', '{"t":{"a":1,"b":2}}',
      '{"t":{"a":3,"b":2}}', '{"t":{"a":3,"b":9}}', whole=['/t'])
    f('whole: a name with / and ~', '{"each":{"each":"whole"}}', '{"a/b":{"~c":{"x":1,"y":9}}}', '{"a/b":{"~c":{"x":1,"y":1}}}',
      '{"a/b":{"~c":{"x":2,"y":1}}}', '{"a/b":{"~c":{"x":2,"y":1}}}', whole=['/a~1b/~0c'])
    f('whole: ~1 and / are not the same', '{"fields":{"a":{"each":"whole"}},"rest":"whole"}', '{"a/b":{"x":1,"y":9}}',
      '{"a/b":{"x":1,"y":1}}', '{"a/b":{"x":2,"y":1}}', '{"a/b":{"x":2,"y":9}}', whole=['/a/b'])
    f('whole: both added', one, '{"t":{"b":9}}', '{}', '{"t":{"a":3}}', '{"t":{"a":3}}', whole=['/t'])
    f('whole: removed here, changed there', one, '{"t":{"b":9}}', '{"t":{"b":1}}', '{}', '{"t":{"b":9}}', False, whole=['/t'])
    f('whole: changed here, removed there', one, '{}', '{"t":{"b":1}}', '{"t":{"b":2}}', '{"t":{"b":2}}', whole=['/t'])
    f('whole: rule 4', one, '{"t":{"b":1}}', '{"t":{"b":1}}', '{"t":{"c":1}}', '{"t":{"c":1}}', whole=['/t'])
    f('whole: rule 5', one, '{"t":{"c":1.0}}', '{"t":{"b":1}}', '{"t":{"c":1}}', '{"t":{"c":1}}', False, whole=['/t'])
    f('whole: as a field, removed here and changed there', '{"fields":{"t":"whole"}}', '{"t":{"b":9}}', '{"t":{"b":1}}', '{}', '{}',
      whole=['/t'])
    f('whole: not listed and removed, member by member', '{"fields":{"t":"whole"}}', '{"t":{"a":1,"b":9}}', '{"t":{"b":1}}', '{}',
      '{"t":{"a":1}}', whole=[])
    f('whole: the document', '"whole"', '{"a":1,"b":9}', '{"a":1,"b":2}', '{"a":3}', '{"a":3}', whole=[''])
    f('whole: the document, not listed', '"whole"', '{"a":1,"b":9}', '{"a":1}', '{"a":3}', '{"a":3,"b":9}', whole=[])
    f('whole: inside an added object', '{"fields":{"o":{"each":"whole"}}}', '{"o":{"t":{"a":1}}}', '{}', '{"o":{"t":{"b":2}}}',
      '{"o":{"t":{"b":2}}}', whole=['/o/t'])


def versions():
    v = lambda name, theirs, version, edit, status, want, changed=True, policy='"incoming"', file='law': vector(
        file, name, loads(policy), j(theirs), version, loads(edit),
        {'status': status, 'changed': changed, **({} if want == '-' else {'document': loads(want)})})
    v('the first write of a document', '-', 0, '{"base": 0, "now": {"a": 1}}', 'applied', '{"a": 1}')
    v('two devices write a document first', '{"b": 2}', 1, '{"base": 0, "now": {"a": 1}}', 'merged', '{"a": 1, "b": 2}')
    v('two devices write the same first', '{"a": 1.0}', 1, '{"base": 0, "now": {"a": 1}}', 'merged', '{"a": 1}', False)
    v('the version is current', '{"a": 1, "b": 2}', 7, '{"base": 7, "was": {"a": 1}, "now": {"a": 5}}', 'applied', '{"a": 5, "b": 2}')
    v('the version is current, a member is added', '{"a": 1}', 7, '{"base": 7, "was": {}, "now": {"b": 5}}', 'applied', '{"a": 1, "b": 5}')
    v('the version is current, a member is removed', '{"a": 1, "b": 2}', 7, '{"base": 7, "was": {"a": 1}, "now": {}}', 'applied', '{"b": 2}')
    v('the version is current, but was is not there', '{"a": 2}', 7, '{"base": 7, "was": {"a": 1}, "now": {"a": 5}}', 'merged', '{"a": 5}')
    v('the version is current, but one was of two is not there', '{"a": 1, "b": 3}', 7,
      '{"base": 7, "was": {"a": 1, "b": 2}, "now": {"a": 5, "b": 6}}', 'merged', '{"a": 5, "b": 6}')
    v('the version is current, but the object is gone', '{"k": 1}', 7, '{"base": 7, "was": {"o": {"a": 1}}, "now": {"o": {"a": 2}}}',
      'merged', '{"k": 1}', False)
    v('an older base that fits is merged all the same', '{"a": 1}', 7, '{"base": 5, "was": {"a": 1}, "now": {"a": 5}}', 'merged', '{"a": 5}')
    v('base -1 merges', '{"a": 1}', 7, '{"base": -1, "was": {"a": 1}, "now": {"a": 5}}', 'merged', '{"a": 5}')
    v('base -1 on no document', '-', 0, '{"base": -1, "now": {"a": 5}}', 'merged', '{"a": 5}')
    v('base -1 on no document, an object that is not there', '-', 0, '{"base": -1, "was": {"a": 1}, "now": {"a": 5}}', 'merged', '-', False)
    v('base -1 on no document, but fields', '-', 0, '{"base": -1, "was": {"a": 1}, "now": {"a": 5}}', 'merged', '{"a": 4}', True,
      '{"fields": {"a": "sum"}}')
    v('a base of the future', '{"a": 1}', 7, '{"base": 9, "was": {"a": 2}, "now": {"a": 5}}', 'merged', '{"a": 5}')
    v('a base of the future on no document', '-', 0, '{"base": 9, "was": {"a": 2}, "now": {"a": 5}}', 'merged', '-', False)
    v('applied: the policy has no say', '{"a": 9, "b": [1], "c": 5}', 3,
      '{"base": 3, "was": {"a": 9, "b": [1], "c": 5}, "now": {"a": 1, "b": [2], "c": 2}}', 'applied', '{"a": 1, "b": [2], "c": 2}', True,
      '{"fields": {"a": "max", "b": "union", "c": "sum"}}')
    v('applied: keep as well', '{"a": 9}', 3, '{"base": 3, "was": {"a": 9}, "now": {"a": 1}}', 'applied', '{"a": 1}', True, '"keep"')
    v('applied: full trees', '{"t": {"a": 1, "b": 2}}', 3,
      '{"base": 3, "was": {"t": {"a": 1, "b": 2}}, "now": {"t": {"a": 1, "b": 3}}}', 'applied', '{"t": {"a": 1, "b": 3}}', True,
      '{"each": "incoming"}')
    v('applied: a whole leaf', '{"t": {"a": 1, "b": 2}}', 3,
      '{"base": 3, "was": {"t": {"a": 1, "b": 2}}, "now": {"t": {"b": 3}}, "whole": ["/t"]}', 'applied', '{"t": {"b": 3}}', True,
      '{"each": "whole"}')
    v('a whole leaf that is not what was', '{"t": {"a": 1, "b": 2, "c": 3}}', 3,
      '{"base": 3, "was": {"t": {"a": 1, "b": 2}}, "now": {"t": {"b": 3}}, "whole": ["/t"]}', 'merged', '{"t": {"b": 3}}', True,
      '{"each": "whole"}')
    v('applied: nothing changes', '{"a": 1}', 3, '{"base": 3, "was": {"a": 1}, "now": {"a": 1.0}}', 'applied', '{"a": 1}', False)
    v('applied: no paths at all', '{"a": 1}', 3, '{"base": 3, "was": {}, "now": {}}', 'applied', '{"a": 1}', False)
    v('applied: the root is replaced', '{"a": 1}', 3, '{"base": 3, "was": {"a": 1}, "now": 5}', 'applied', '5')
    v('applied: null is a document', 'null', 3, '{"base": 3, "was": null, "now": {"a": null}}', 'applied', '{"a": null}')
    v('applied: was by value', '{"a": {"x": 10, "y": [1.0]}}', 3,
      '{"base": 3, "was": {"a": {"y": [1], "x": 1e1}}, "now": {"a": 0}}', 'applied', '{"a": 0}')
    v('a score spent here comes back nowhere', '{"score": 100, "x": 2}', 8, '{"base": 7, "was": {"score": 100}, "now": {"score": 40}}',
      'merged', '{"score": 40, "x": 2}', True, '{"fields": {"score": "max"}}')
    v('a field that the device did not touch is not overwritten', '{"theme": "dark", "mute": false}', 8,
      '{"base": 1, "was": {"mute": false}, "now": {"mute": true}}', 'merged', '{"theme": "dark", "mute": true}')


def deletes():
    def d(name, theirs, version, edit, status, changed, want='-', deleted=None, policy='"incoming"', tomb=None):
        more = {} if tomb is None else {'deleted': True, **({'epoch': Decimal(tomb)} if tomb else {})}
        wanted = {'status': status, 'changed': changed}
        if deleted is not None:
            wanted.update(deleted=True, epoch=Decimal(deleted))
        elif want != '-':
            wanted['document'] = loads(want)
        vector('delete', name, loads(policy), j(theirs), version, loads(edit), wanted, **more)
    ep = '{"fields": {"n": "sum"}, "epoch": "e"}'
    d('a current delete', '{"a": 1}', 3, '{"base": 3, "delete": true}', 'applied', True, deleted=0)
    d('a late delete: the update wins', '{"a": 1}', 4, '{"base": 3, "delete": true}', 'kept', False, '{"a": 1}')
    d('a delete from the future', '{"a": 1}', 4, '{"base": 5, "delete": true}', 'kept', False, '{"a": 1}')
    d('a delete with base -1 is not current', '{"a": 1}', 4, '{"base": -1, "delete": true}', 'kept', False, '{"a": 1}')
    d('a delete with base 0 is not current', '{"a": 1}', 4, '{"base": 0, "delete": true}', 'kept', False, '{"a": 1}')
    d('a delete of no document', '-', 0, '{"base": 0, "delete": true}', 'applied', False)
    d('a late delete of no document', '-', 0, '{"base": 3, "delete": true}', 'kept', False)
    d('a delete of a tombstone', '-', 4, '{"base": 4, "delete": true}', 'applied', False, deleted=0, tomb=0)
    d('a late delete of a tombstone', '-', 4, '{"base": 3, "delete": true}', 'kept', False, deleted=0, tomb=0)
    d('the tombstone keeps the epoch', '{"e": 5, "n": 1}', 3, '{"base": 3, "delete": true, "epoch": 5}', 'applied', True, deleted=5, policy=ep)
    d('the tombstone takes a higher epoch', '{"e": 5, "n": 1}', 3, '{"base": 3, "delete": true, "epoch": 6}', 'applied', True, deleted=6, policy=ep)
    d('a delete of a lower epoch', '{"e": 5, "n": 1}', 3, '{"base": 3, "delete": true, "epoch": 4}', 'kept', False, '{"e": 5, "n": 1}', policy=ep)
    d('a delete without an epoch', '{"e": 5, "n": 1}', 3, '{"base": 3, "delete": true}', 'applied', True, deleted=5, policy=ep)
    d('a delete of a lower epoch, of a policy without', '{"e": 5}', 3, '{"base": 3, "delete": true, "epoch": 4}', 'applied', True, deleted=0)
    d('a delete of a higher epoch that is late', '{"e": 5}', 3, '{"base": 2, "delete": true, "epoch": 6}', 'kept', False, '{"e": 5}', policy=ep)
    d('a delete of a lower epoch than the tombstone', '-', 3, '{"base": 3, "delete": true, "epoch": 4}', 'kept', False, deleted=5, policy=ep, tomb=5)
    d('a delete of a higher epoch than the tombstone', '-', 3, '{"base": 3, "delete": true, "epoch": 9}', 'applied', False, deleted=5, policy=ep, tomb=5)
    d('a tombstone is re-created by who knows it', '-', 4, '{"base": 4, "now": {"a": 1}}', 'applied', True, '{"a": 1}', tomb=0)
    d('a tombstone is re-created by who knows nothing', '-', 4, '{"base": 0, "now": {"a": 1}}', 'merged', True, '{"a": 1}', tomb=0)
    d('a tombstone is re-created from the future', '-', 4, '{"base": 9, "now": {"a": 1}}', 'merged', True, '{"a": 1}', tomb=0)
    d('a tombstone is re-created by base -1', '-', 4, '{"base": -1, "now": {"a": 1}}', 'merged', True, '{"a": 1}', tomb=0)
    d('a late edit on a tombstone', '-', 4, '{"base": 3, "was": {"a": 1}, "now": {"a": 2}}', 'kept', False, deleted=0, tomb=0)
    d('a late edit on a tombstone with an epoch', '-', 4, '{"base": 3, "was": {"n": 1}, "now": {"n": 2}, "epoch": 9}', 'kept', False, deleted=2,
      policy=ep, tomb=2)
    d('a late edit of version 1', '-', 2, '{"base": 1, "was": {"a": 1}, "now": {"a": 2}}', 'kept', False, deleted=0, tomb=0)
    d('who knows the tombstone, with a was that it does not have', '-', 4, '{"base": 4, "was": {"a": 1}, "now": {"a": 2}}', 'merged', True,
      '{"a": 2}', policy='{"fields": {"a": "max"}}', tomb=0)
    d('an edit of a member on a tombstone does nothing', '-', 4, '{"base": -1, "was": {"a": 1}, "now": {"a": 2}}', 'merged', False, deleted=0, tomb=0)
    d('a member of a map on a tombstone', '-', 4, '{"base": -1, "was": {"a": 1}, "now": {"a": 3}}', 'merged', True, '{"a": 3}',
      policy='{"each": "sum"}', tomb=0)
    d('who knows the tombstone sets the epoch', '-', 4, '{"base": 4, "now": {"n": 1}, "epoch": 0}', 'applied', True, '{"n": 1}', policy=ep, tomb=3)
    d('a lower epoch does not re-create', '-', 4, '{"base": 0, "now": {"n": 1}, "epoch": 2}', 'kept', False, deleted=3, policy=ep, tomb=3)
    d('a tombstone without an epoch is re-created', '-', 4, '{"base": 0, "now": {"n": 1}, "epoch": 0}', 'merged', True, '{"n": 1}', policy=ep, tomb=0)
    d('an equal epoch re-creates', '-', 4, '{"base": 0, "now": {"e": 3, "n": 1}, "epoch": 3}', 'merged', True, '{"e": 3, "n": 1}', policy=ep, tomb=3)
    d('a higher epoch re-creates', '-', 4, '{"base": 0, "now": {"e": 4, "n": 1}, "epoch": 4}', 'merged', True, '{"e": 4, "n": 1}', policy=ep, tomb=3)
    d('re-created without an epoch it keeps the tombstone\'s', '-', 4, '{"base": 0, "now": {"n": 1}}', 'merged', True, '{"e": 3, "n": 1}', policy=ep, tomb=3)
    d('a tombstone with an epoch that the policy does not have any more', '-', 4, '{"base": 0, "now": {"n": 1}}', 'merged', True,
      '{"n": 1}', tomb=3)
    d('everything removed by members', '{"a": 1}', 3, '{"base": 3, "was": {"a": 1}}', 'applied', True, deleted=0)
    d('everything removed by members, but there is more', '{"a": 1, "b": 2}', 3, '{"base": 2, "was": {"a": 1}}', 'merged', True, '{"b": 2}')
    d('everything removed by members, of an older base', '{"a": 1}', 3, '{"base": 2, "was": {"a": 1}}', 'merged', True, deleted=0)
    d('everything removed by members, where nothing is', '-', 0, '{"base": 2, "was": {"a": 1}}', 'merged', False)
    d('everything removed, with an epoch', '{"e": 5}', 3, '{"base": 2, "was": {"e": 5}, "epoch": 5}', 'merged', True, deleted=5, policy=ep)
    d('a seed re-creates', '-', 4, '{"base": 0, "now": {"a": 1}, "seed": true}', 'merged', True, '{"a": 1}', tomb=0)


def epochs():
    ep = '{"fields": {"n": "sum", "m": "max"}, "epoch": "e"}'
    e = lambda name, theirs, edit, want, changed=None, status='merged', version=3, policy=ep: full(
        'epoch', name, policy, theirs, edit, want, version, changed, status)
    e('the reset wins over what was there', '{"e": 1, "n": 12, "x": 1}',
      '{"base": 1, "was": {"e": 1, "n": 9}, "now": {"e": 2, "n": 0}, "epoch": 2}', '{"e": 2, "n": 0}')
    e('two devices reset: the counts of the first stay', '{"e": 2, "n": 3}',
      '{"base": 1, "was": {"e": 1, "n": 9}, "now": {"e": 2, "n": 0}, "epoch": 2}', '{"e": 2, "n": 3}', False)
    e('two devices reset and both count', '{"e": 2, "n": 3, "m": 8}',
      '{"base": 1, "was": {"e": 1, "n": 9, "m": 50}, "now": {"e": 2, "n": 4, "m": 7}, "epoch": 2}', '{"e": 2, "n": 7, "m": 8}')
    e('an edit from before the reset', '{"e": 2, "n": 3}', '{"base": 1, "was": {"n": 9}, "now": {"n": 10}, "epoch": 1}', '{"e": 2, "n": 3}', False, 'kept')
    e('an edit from before any reset', '{"e": 2, "n": 3}', '{"base": 1, "was": {"n": 9}, "now": {"n": 10}, "epoch": 0}', '{"e": 2, "n": 3}', False, 'kept')
    e('an edit without an epoch counts as equal', '{"e": 2, "n": 3}', '{"base": 1, "was": {"n": 9}, "now": {"n": 10}}', '{"e": 2, "n": 4}')
    e('an edit of the same epoch', '{"e": 2, "n": 3}', '{"base": 1, "was": {"n": 9}, "now": {"n": 10}, "epoch": 2}', '{"e": 2, "n": 4}')
    e('a higher epoch that the edit did not raise', '{"e": 2, "n": 3, "x": 1}', '{"base": 1, "was": {"n": 9}, "now": {"n": 10}, "epoch": 3}',
      '{"e": 3, "n": 1}')
    e('the first epoch', '{"n": 3, "x": 1}', '{"base": 1, "was": {"n": 3}, "now": {"e": 1, "n": 0}, "epoch": 1}', '{"e": 1, "n": 0}')
    e('a seed of a higher epoch', '{"e": 1, "n": 3, "x": 1}', '{"base": 0, "now": {"e": 2, "n": 1}, "epoch": 2, "seed": true}', '{"e": 2, "n": 1}')
    e('a seed of the same epoch', '{"e": 2, "n": 3, "x": 1}', '{"base": 0, "now": {"e": 2, "n": 5, "x": 2, "y": 1}, "epoch": 2, "seed": true}',
      '{"e": 2, "n": 5, "x": 1, "y": 1}')
    e('a seed of a lower epoch', '{"e": 2, "n": 3}', '{"base": 0, "now": {"e": 1, "n": 5}, "epoch": 1, "seed": true}', '{"e": 2, "n": 3}', False, 'kept')
    e('applied: the epoch is raised', '{"e": 1, "n": 9, "x": 1}', '{"base": 3, "was": {"e": 1, "n": 9, "x": 1}, "now": {"e": 2}, "epoch": 2}', '{"e": 2}', True, 'applied')
    e('applied: the epoch is lowered', '{"e": 5, "n": 9}', '{"base": 3, "was": {"e": 5}, "now": {"e": 4}, "epoch": 4}', '{"e": 4, "n": 9}', True, 'applied')
    e('applied: the epoch is removed', '{"e": 5, "n": 9}', '{"base": 3, "was": {"e": 5}, "now": {}, "epoch": 0}', '{"n": 9}', True, 'applied')
    e('merged: the epoch is lowered', '{"e": 5, "n": 9}', '{"base": 2, "was": {"e": 5}, "now": {"e": 4}, "epoch": 4}', '{"e": 5, "n": 9}', False, 'kept')
    e('the higher of two resets: mine', '{"e": 3, "n": 9}', '{"base": 2, "was": {"e": 2, "n": 1}, "now": {"e": 4, "n": 2}, "epoch": 4}', '{"e": 4, "n": 2}')
    e('the higher of two resets: theirs', '{"e": 5, "n": 9}', '{"base": 2, "was": {"e": 2, "n": 1}, "now": {"e": 4, "n": 2}, "epoch": 4}', '{"e": 5, "n": 9}', False, 'kept')
    for odd in ('"2"', 'null', '-2', '2.5', '[2]', '9007199254740992', '1e300', 'true', '{"e": 2}'):
        e('an epoch of %s reads as 0' % odd, '{"e": %s, "n": 5}' % odd, '{"base": 2, "was": {"n": 1}, "now": {"n": 2}, "epoch": 0}',
          '{"e": %s, "n": 6}' % odd)
    for same in ('2', '2.0', '20e-1', '0.2e1'):
        e('an epoch of %s is 2' % same, '{"e": %s, "n": 5}' % same, '{"base": 2, "was": {"n": 1}, "now": {"n": 2}, "epoch": 1}',
          '{"e": %s, "n": 5}' % same, False, 'kept')
    e('the highest epoch', '{"e": 9007199254740991, "n": 5}', '{"base": 2, "was": {"n": 1}, "now": {"n": 2}, "epoch": 9007199254740990}',
      '{"e": 9007199254740991, "n": 5}', False, 'kept')
    e('minus zero is an epoch of 0', '{"e": -0, "n": 5}', '{"base": 2, "was": {"n": 1}, "now": {"n": 2}, "epoch": 0}', '{"e": 0, "n": 6}')
    e('an odd epoch becomes another odd one', '{"e": "b", "n": 5}', '{"base": 2, "was": {"e": "a"}, "now": {"e": "c"}, "epoch": 0}', '{"e": "c", "n": 5}')
    e('the document was no object', '7', '{"base": 2, "was": 5, "now": {"e": 1, "n": 2}, "epoch": 1}', '{"e": 1, "n": 2}')
    e('the document becomes no object', '{"e": 0, "n": 1}', '{"base": 2, "was": {"e": 0, "n": 2}, "now": 5, "epoch": 0}', '5')
    e('the epoch field is incoming, whatever rest says', '{"e": 1, "n": 5}',
      '{"base": 2, "was": {"e": 1, "n": 9}, "now": {"e": 2, "n": 1}, "epoch": 2}', '{"e": 2, "n": 1}', policy='{"fields": {}, "rest": "sum", "epoch": "e"}')
    e('the epoch field is incoming, whatever its policy says', '{"e": 2, "n": 5}',
      '{"base": 2, "was": {"e": 1, "n": 9}, "now": {"e": 2, "n": 1}, "epoch": 2}', '{"e": 2, "n": 6}', policy='{"fields": {"e": "sum", "n": "sum"}, "epoch": "e"}')
    e('the epoch of a map', '{"e": 1, "a": 5}', '{"base": 2, "was": {"e": 1, "a": 4}, "now": {"e": 2, "a": 1}, "epoch": 2}', '{"e": 2, "a": 1}',
      policy='{"each": "max", "epoch": "e"}')
    e('a policy without an epoch does not look at one', '{"e": 2, "n": 3}', '{"base": 1, "was": {"n": 9}, "now": {"n": 10}, "epoch": 1}', '{"e": 2, "n": 4}',
      policy='{"fields": {"n": "sum"}}')
    e('whole members of a reset replace as one', '{"e": 2, "t": {"a": 1}}',
      '{"base": 1, "was": {"e": 1, "t": {"b": 1}}, "now": {"e": 2, "t": {"b": 1}}, "epoch": 2, "whole": ["/t"]}', '{"e": 2, "t": {"b": 1}}',
      policy='{"fields": {"t": "whole"}, "epoch": "e"}')
    vector('epoch', 'a reset on no document', loads(ep), ABSENT, 0, loads('{"base": 4, "was": {"e": 1, "n": 9}, "now": {"e": 2, "n": 0}, "epoch": 2}'),
           {'status': 'merged', 'changed': True, 'document': loads('{"e": 2, "n": 0}')})
    vector('epoch', 'a higher epoch on no document', loads(ep), ABSENT, 0, loads('{"base": 4, "was": {"n": 9}, "now": {"n": 11}, "epoch": 2}'),
           {'status': 'merged', 'changed': True, 'document': loads('{"e": 2, "n": 2}')})


def seeds():
    for policy, now, theirs, want in (
            ('incoming', '1', '2', '2'), ('incoming', '1', 'null', 'null'), ('incoming', '1', '-', '1'),
            ('whole', '1', '2', '2'), ('whole', '1', '-', '1'),
            ('keep', '1', '2', '2'), ('keep', '1', '-', '1'),
            ('sum', '1', '2', '2'), ('sum', '3', '2', '3'), ('sum', '3', '-', '3'), ('sum', '3', '3', '3'),
            ('sum', '"a"', '2', '2'), ('sum', '3', '"a"', '3'), ('sum', '"b"', '"a"', '"b"'), ('sum', '1e300', '2e300', '2e300'),
            ('max', '1', '2', '2'), ('max', '3', '2', '3'), ('min', '1', '2', '1'), ('min', '3', '2', '2'),
            ('any', 'true', 'false', 'true'), ('any', 'false', 'true', 'true'), ('all', 'true', 'false', 'false'),
            ('union', '[1,2]', '[2,3]', '[2,3,1]'), ('union', '[1]', '"odd"', '[1]'),
            ('incoming', '{"a":1,"b":2}', '{"a":5}', '{"a":5,"b":2}'),
            ('incoming', '{"a":1}', '5', '5'), ('incoming', '5', '{"a":1}', '{"a":1}'),
            ('keep', '{"a":1,"b":2}', '{"a":5}', '{"a":5,"b":2}')):
        leaf('seed', policy, '-', now, theirs, want, 'a seed, %s: %s, theirs %s' % (policy, now, theirs), base=0, seed=True)
        if policy == 'incoming' and not now.startswith('{'):
            want = now
        if (policy, now, theirs) == ('incoming', '{"a":1,"b":2}', '{"a":5}'):
            want = '{"a":1,"b":2}'
        if (policy, now, theirs) == ('incoming', '{"a":1}', '5'):
            want = now
        leaf('seed_v1', policy, '-', now, theirs, want, 'a v1 seed, %s: %s, theirs %s' % (policy, now, theirs), v1=True, base=0, seed=True)
    s = lambda name, policy, theirs, edit, want, changed=None, status='merged', version=3: full(
        'seed', name, policy, theirs, edit, want, version, changed, status)
    game = '{"fields": {"score": "max", "incorrectAnswers": "sum"}}'
    s('an old app\'s local copy', game, '{"score": 120, "incorrectAnswers": 8, "name": "A"}',
      '{"base": 0, "now": {"score": 110, "incorrectAnswers": 9, "name": "B", "old": 1}, "seed": true}',
      '{"score": 120, "incorrectAnswers": 9, "name": "A", "old": 1}')
    s('a seed twice changes nothing', game, '{"score": 120, "incorrectAnswers": 9, "name": "A", "old": 1}',
      '{"base": 0, "now": {"score": 110, "incorrectAnswers": 9, "name": "B", "old": 1}, "seed": true}',
      '{"score": 120, "incorrectAnswers": 9, "name": "A", "old": 1}', False)
    s('a seed into maps', '{"fields": {"m": {"each": "max"}, "t": {"each": "whole"}}}', '{"m": {"a": 3}, "t": {"x": {"p": 1}}}',
      '{"base": 0, "now": {"m": {"a": 1, "b": 2}, "t": {"x": {"q": 2}, "y": {"r": 3}}}, "whole": ["/t/x", "/t/y"], "seed": true}',
      '{"m": {"a": 3, "b": 2}, "t": {"x": {"p": 1}, "y": {"r": 3}}}')
    full('seed_v1', 'a v1 write into maps', '{"fields": {"m": {"each": "max"}, "t": {"each": "whole"}}}', '{"m": {"a": 3}, "t": {"x": {"p": 1}}, "k": 1}',
      '{"base": 0, "now": {"m": {"a": 1, "b": 2}, "t": {"x": {"q": 2}, "y": {"r": 3}}, "k": 2}, "whole": ["/t/x", "/t/y"], "seed": true}',
         '{"m": {"a": 3, "b": 2}, "t": {"x": {"p": 1}, "y": {"r": 3}}, "k": 2}', 3, v1=True)
    s('a seed of a number into a document', '"incoming"', '{"a": 1}', '{"base": 0, "now": 5, "seed": true}', '{"a": 1}', False)
    vector('seed', 'a seed on no document', 'incoming', ABSENT, 0, loads('{"base": 0, "now": {"a": 1}, "seed": true}'),
           {'status': 'applied', 'changed': True, 'document': {'a': Decimal(1)}})


def policies():
    for name, policy in (
            ('an unknown word', '"latest"'), ('an empty word', '""'), ('a number', '1'), ('null', 'null'), ('an array', '["max"]'),
            ('an empty object', '{}'), ('each and fields', '{"each": "max", "fields": {}}'), ('rest alone', '{"rest": "max"}'),
            ('rest with each', '{"each": "max", "rest": "max"}'), ('an unknown member', '{"each": "max", "note": "x"}'),
            ('fields that are no object', '{"fields": ["a"]}'), ('a bad policy in each', '{"each": "sums"}'),
            ('a bad policy in fields', '{"fields": {"a": {"each": 1}}}'), ('a bad policy in rest', '{"fields": {}, "rest": true}'),
            ('the word each', '"each"'), ('the word fields', '"fields"'), ('epoch inside', '{"each": {"each": "max", "epoch": "e"}}'),
            ('epoch inside fields', '{"fields": {"a": {"fields": {}, "epoch": "e"}}}'), ('an empty epoch', '{"each": "max", "epoch": ""}'),
            ('an epoch that is no name', '{"each": "max", "epoch": 1}'), ('epoch alone', '{"epoch": "e"}'),
            ('17 levels', '{"each": ' * 16 + '"max"' + '}' * 16)):
        vector('policy', 'refused: ' + name, loads(policy), {}, 1, loads('{"base": 0, "now": {"a": 1}}'), error='bad_policy')
    deep = '{"each": ' * 15 + '"max"' + '}' * 15
    vector('policy', '16 levels', loads(deep), {}, 1, loads('{"base": 0, "now": {"a": 1}}'),
           {'status': 'merged', 'changed': True, 'document': {'a': Decimal(1)}})


GRID = [j(text) for text in ('-', 'null', 'true', 'false', '0', '1', '2.50', '-3', '"a"', '[]', '[1]', '[1,2]', '{}', '{"a":1}', '{"a":2,"b":1}')]


def grid():
    """A fixed sample of all combinations, results by reference.py alone."""
    draw = random.Random(2024)
    for policy in reference.LEAVES:
        for place in ('fields', 'each'):
            for i in range(14):
                was, now, theirs = (draw.choice(GRID) for _ in range(3))
                rule = {'fields': {'x': policy}} if place == 'fields' else {'each': policy}
                edit = edit_of(field(was), field(now))
                if draw.random() < 0.5:
                    edit['whole'] = ['/x']
                if draw.random() < 0.25:
                    edit.pop('was', None)
                    edit['seed'] = True
                vector('grid', '%s in %s, %d' % (policy, place, i), rule, {'k': True, **field(theirs)}, 2, edit)


def diffs():
    def d(name, policy, base, mine, edit):
        case = {'name': name, 'policy': loads(policy)}
        if j(base) is not ABSENT:
            case['base'] = j(base)
        if j(mine) is not ABSENT:
            case['mine'] = j(mine)
        case['edit'] = loads(edit)
        got = reference.diff(j(base), j(mine), case['policy'])
        if not (got is None and case['edit'] is None) and not equal(got, case['edit']):
            sys.exit('diff: %s\n  by hand   %s\n  reference %s' % (name, edit, 'null' if got is None else dumps(got)))
        DIFFS.setdefault('diff', []).append(case)
    inc, ep = '"incoming"', '{"fields": {"t": "whole"}, "epoch": "e"}'
    d('nothing changed', inc, '{"a": 1}', '{"a": 1.0}', 'null')
    d('nothing changed but the order', inc, '{"a": 1, "b": {"c": 1, "d": 2}}', '{"b": {"d": 2, "c": 1}, "a": 1}', 'null')
    d('nothing at all', inc, '-', '-', 'null')
    d('a member changed', inc, '{"a": 1, "b": 2}', '{"a": 3, "b": 2}', '{"was": {"a": 1}, "now": {"a": 3}}')
    d('a member added', inc, '{"a": 1}', '{"a": 1, "b": 2}', '{"was": {}, "now": {"b": 2}}')
    d('a member removed', inc, '{"a": 1, "b": 2}', '{"a": 1}', '{"was": {"b": 2}, "now": {}}')
    d('all three', inc, '{"a": 1, "b": 2, "c": 3}', '{"d": 4, "a": 9, "c": 3}', '{"was": {"a": 1, "b": 2}, "now": {"d": 4, "a": 9}}')
    d('a member inside an object', inc, '{"o": {"a": 1, "b": 2}}', '{"o": {"a": 3, "b": 2}}', '{"was": {"o": {"a": 1}}, "now": {"o": {"a": 3}}}')
    d('a member added inside an object', inc, '{"o": {"a": 1}}', '{"o": {"a": 1, "c": 3}}', '{"was": {"o": {}}, "now": {"o": {"c": 3}}}')
    d('an object added', inc, '{}', '{"o": {"a": 1}}', '{"was": {}, "now": {"o": {"a": 1}}}')
    d('an object removed', inc, '{"o": {"a": 1}}', '{}', '{"was": {"o": {"a": 1}}, "now": {}}')
    d('an object emptied', inc, '{"o": {"a": 1}}', '{"o": {}}', '{"was": {"o": {"a": 1}}, "now": {"o": {}}}')
    d('an object becomes a number', inc, '{"o": {"a": 1}}', '{"o": 5}', '{"was": {"o": {"a": 1}}, "now": {"o": 5}}')
    d('arrays are shipped in full', inc, '{"l": [1, 2]}', '{"l": [1, 2, 3]}', '{"was": {"l": [1, 2]}, "now": {"l": [1, 2, 3]}}')
    d('a new document', inc, '-', '{"a": 1}', '{"now": {"a": 1}}')
    d('a new empty document', inc, '-', '{}', '{"now": {}}')
    d('a document that is no object', inc, '{"a": 1}', '[1]', '{"was": {"a": 1}, "now": [1]}')
    d('a document deleted', inc, '{"a": 1}', '-', '{"delete": true}')
    d('a document deleted, with its epoch', ep, '{"e": 3}', '-', '{"delete": true, "epoch": 3}')
    d('members of a map in full', '{"each": "incoming"}', '{"t": {"a": 1, "b": 2}, "u": {"a": 1}}', '{"t": {"a": 9, "b": 2}, "u": {"a": 1}}',
      '{"was": {"t": {"a": 1, "b": 2}}, "now": {"t": {"a": 9, "b": 2}}}')
    d('members of a map of numbers', '{"each": "max"}', '{"a": 1, "b": 2}', '{"a": 3, "b": 2, "c": 4}', '{"was": {"a": 1}, "now": {"a": 3, "c": 4}}')
    d('a map in a field', '{"fields": {"m": {"each": "incoming"}}}', '{"m": {"t": {"a": 1, "b": 2}}, "o": {"a": 1, "b": 2}}',
      '{"m": {"t": {"a": 9, "b": 2}}, "o": {"a": 9, "b": 2}}',
      '{"was": {"m": {"t": {"a": 1, "b": 2}}, "o": {"a": 1}}, "now": {"m": {"t": {"a": 9, "b": 2}}, "o": {"a": 9}}}')
    one = '{"each": "whole"}'
    d('whole: members are listed', one, '{"t1": {"x": 1}}', '{"t1": {"x": 1, "y": 2}, "t2": {}, "t3": 7}',
      '{"was": {"t1": {"x": 1}}, "now": {"t1": {"x": 1, "y": 2}, "t2": {}, "t3": 7}, "whole": ["/t1", "/t2"]}')
    d('whole: removed members are listed', one, '{"t1": {"x": 1}, "t2": {"x": 1}, "t3": 7}', '{"t2": {"x": 1}}',
      '{"was": {"t1": {"x": 1}, "t3": 7}, "now": {}, "whole": ["/t1"]}')
    d('whole: a number becomes an object', one, '{"t": 1}', '{"t": {"x": 1}}', '{"was": {"t": 1}, "now": {"t": {"x": 1}}, "whole": ["/t"]}')
    d('whole: an object becomes a number', one, '{"t": {"x": 1}}', '{"t": 1}', '{"was": {"t": {"x": 1}}, "now": {"t": 1}, "whole": ["/t"]}')
    d('whole: numbers are not listed', one, '{"t": 1}', '{"t": 2}', '{"was": {"t": 1}, "now": {"t": 2}}')
    d('whole: names are escaped', one, '{}', '{"a/b": {}, "c~d": {}}', '{"was": {}, "now": {"a/b": {}, "c~d": {}}, "whole": ["/a~1b", "/c~0d"]}')
    d('whole: the document', '"whole"', '{"a": 1, "b": 2}', '{"a": 3, "b": 2}', '{"was": {"a": 1, "b": 2}, "now": {"a": 3, "b": 2}, "whole": [""]}')
    d('whole: a new document', '"whole"', '-', '{"a": 3}', '{"now": {"a": 3}, "whole": [""]}')
    d('whole: a number', '"whole"', '1', '2', '{"was": 1, "now": 2}')
    d('whole: inside an added object', '{"fields": {"o": {"each": "whole"}}}', '{}', '{"o": {"t": {"a": 1}, "n": 1}}',
      '{"was": {}, "now": {"o": {"t": {"a": 1}, "n": 1}}, "whole": ["/o/t"]}')
    d('whole: inside a removed object', '{"fields": {"o": {"each": "whole"}}}', '{"o": {"t": {"a": 1}}}', '{}',
      '{"was": {"o": {"t": {"a": 1}}}, "now": {}, "whole": ["/o/t"]}')
    d('whole: inside a new document', '{"fields": {"o": {"each": "whole"}}}', '-', '{"o": {"t": {"a": 1}}}',
      '{"now": {"o": {"t": {"a": 1}}}, "whole": ["/o/t"]}')
    d('whole: below a whole path nothing is listed', '{"each": "whole"}', '{}', '{"t": {"u": {"v": {}}}}',
      '{"was": {}, "now": {"t": {"u": {"v": {}}}}, "whole": ["/t"]}')
    d('whole: inside a member of a map, what changed', '{"each": {"each": "whole"}}', '{"m": {"t": {"a": 1}, "u": {"a": 1}}}', '{"m": {"t": {"a": 2}, "u": {"a": 1}}}',
      '{"was": {"m": {"t": {"a": 1}, "u": {"a": 1}}}, "now": {"m": {"t": {"a": 2}, "u": {"a": 1}}}, "whole": ["/m/t"]}')
    d('whole: below a field of another policy nothing is', '{"fields": {"a": "max"}, "rest": "whole"}', '{}', '{"a": {"b": {}}, "c": {"d": {}}}',
      '{"was": {}, "now": {"a": {"b": {}}, "c": {"d": {}}}, "whole": ["/c"]}')
    d('epoch: carried', ep, '{"e": 3, "a": 1}', '{"e": 3, "a": 2}', '{"was": {"a": 1}, "now": {"a": 2}, "epoch": 3}')
    d('epoch: none yet', ep, '{"a": 1}', '{"a": 2}', '{"was": {"a": 1}, "now": {"a": 2}, "epoch": 0}')
    d('epoch: raised, everything is shipped', ep, '{"e": 3, "a": 1, "t": {"x": 1}}', '{"e": 4, "a": 1, "t": {"x": 1}}',
      '{"was": {"e": 3, "a": 1, "t": {"x": 1}}, "now": {"e": 4, "a": 1, "t": {"x": 1}}, "whole": ["/t"], "epoch": 4}')
    d('epoch: lowered', ep, '{"e": 3, "a": 1}', '{"e": 2, "a": 1}', '{"was": {"e": 3}, "now": {"e": 2}, "epoch": 2}')
    d('epoch: removed', ep, '{"e": 3, "a": 1}', '{"a": 1}', '{"was": {"e": 3}, "now": {}, "epoch": 0}')
    d('epoch: of a new document', ep, '-', '{"e": 1, "a": 1}', '{"now": {"e": 1, "a": 1}, "epoch": 1}')
    d('epoch: odd ones are 0', ep, '{"e": "x"}', '{"e": 1.5}', '{"was": {"e": "x"}, "now": {"e": 1.5}, "epoch": 0}')


# ---- random vectors, to compare implementations

def random_value(draw, depth):
    kind = draw.randrange(14 if depth > 0 else 9)
    if kind < 5:
        return Decimal(draw.choice(['0', '1', '2', '3', '-1', '0.5', '1.0', '-0', '1e1', '10', '0.0000000005',
                                    '999999999999999999', '1e300', '9007199254740993']))
    if kind < 9:
        return draw.choice([None, True, False, '', 'a', 'b', 'é'])
    if kind < 11:
        return [random_value(draw, depth - 1) for _ in range(draw.randrange(4))]
    return random_object(draw, depth)


def random_object(draw, depth):
    return {draw.choice(['a', 'b', 'c', 'e', 'a/b', '~']): random_value(draw, depth - 1) for _ in range(draw.randrange(5))}


def random_policy(draw, depth, top=False):
    kind = draw.randrange(12)
    if kind < 6 or depth == 0:
        return draw.choice(reference.LEAVES)
    if kind < 8:
        policy = {'each': random_policy(draw, depth - 1)}
    else:
        policy = {'fields': {name: random_policy(draw, depth - 1) for name in draw.sample(['a', 'b', 'c', 'e'], draw.randrange(4))}}
        if draw.random() < 0.4:
            policy['rest'] = random_policy(draw, depth - 1)
    if top and draw.random() < 0.35:
        policy['epoch'] = draw.choice(['a', 'e'])
    return policy


def mutate(draw, value, depth=0):
    if isinstance(value, dict) and draw.random() < 0.85:
        result = dict(value)
        for name in list(result):
            roll = draw.random()
            if roll < 0.25:
                result[name] = mutate(draw, result[name], depth + 1)
            elif roll < 0.35:
                del result[name]
        if draw.random() < 0.3:
            result[draw.choice(['a', 'b', 'c', 'e', 'a/b'])] = random_value(draw, 2)
        return result
    if isinstance(value, list) and draw.random() < 0.8:
        return [e for e in value if draw.random() < 0.8] + ([random_value(draw, 1)] if draw.random() < 0.4 else [])
    return random_value(draw, 2)


def whole_paths(draw, value, pointer=''):
    paths = [pointer] if draw.random() < 0.3 else []
    if isinstance(value, dict):
        for name, inner in value.items():
            paths += whole_paths(draw, inner, reference.child(pointer, name))
    return paths


def random_vectors(draw, n):
    for i in range(n):
        policy = random_policy(draw, 3, True)
        base = random_object(draw, 4) if draw.random() < 0.9 else random_value(draw, 2)
        mine, theirs = mutate(draw, base), mutate(draw, base)
        if draw.random() < 0.3:
            mine = mutate(draw, mine)
        edit = reference.diff(ABSENT if draw.random() < 0.1 else base, ABSENT if draw.random() < 0.05 else mine, policy)
        if edit is None or draw.random() < 0.2:
            edit = {'was': random_value(draw, 3), 'now': random_value(draw, 3), 'whole': whole_paths(draw, mine)}
        if draw.random() < 0.1:
            edit['epoch'] = Decimal(draw.randrange(4))
        if draw.random() < 0.1 and 'now' in edit:
            edit.pop('was', None)
            edit['seed'] = True
        version = draw.randrange(1, 4)
        edit['base'] = Decimal(draw.choice([-1, 0, 1, 2, 3, version, version]))
        case = {'name': str(i), 'policy': policy, 'version': Decimal(version)}
        roll = draw.random()
        if roll < 0.1:
            case.update(deleted=True, epoch=Decimal(draw.randrange(3)))
        elif roll < 0.15:
            case['version'] = Decimal(0)
        else:
            case['document'] = base if roll < 0.25 else theirs
        case['edit'] = edit
        if 'seed' in edit and draw.random() < 0.5:
            case['v1'] = True
        case.update(reference.answer(case))
        yield case


def random_diffs(draw, n):
    for i in range(n):
        case = {'name': str(i), 'policy': random_policy(draw, 3, True)}
        base = random_object(draw, 4) if draw.random() < 0.9 else random_value(draw, 2)
        mine = mutate(draw, base)
        if draw.random() < 0.95:
            case['base'] = base
        if draw.random() < 0.95:
            case['mine'] = mine
        case['edit'] = reference.diff(case.get('base', ABSENT), case.get('mine', ABSENT), case['policy'])
        yield case


def array_text(cases):
    return '[\n' + ',\n'.join(map(dumps, cases)) + '\n]\n'


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'w', encoding='utf-8') as file:
        file.write(text)


def main(arguments):
    if arguments[:1] == ['--random']:
        n, seed, folder = int(arguments[1]), int(arguments[2]), arguments[3]
        write(folder + '/merge/random.json', array_text(random_vectors(random.Random(seed), n)))
        write(folder + '/diff/random.json', array_text(random_diffs(random.Random(seed + 1), n)))
        return 0
    for part in (leaves, numbers, sums, unions, booleans, objects, maps, versions, deletes, epochs, seeds, policies, grid, diffs):
        part()
    stale = 0
    for folder, files in (('merge', FILES), ('diff', DIFFS)):
        for name, cases in sorted(files.items()):
            path, text = os.path.join(HERE, folder, name + '.json'), array_text(cases)
            if '--check' not in arguments:
                write(path, text)
            elif not os.path.exists(path) or open(path, encoding='utf-8').read() != text:
                print(path + ' is not what generate.py writes')
                stale += 1
        print('%s: %d vectors in %d files' % (folder, sum(map(len, files.values())), len(files)))
    return 1 if stale else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
