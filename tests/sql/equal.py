#!/usr/bin/env python3
"""equal.py - random histories of calls, played to the core in C and to the functions of sql/postgres.

Usage: tests/sql/equal.py [--histories N] [--calls N] [--seed N] [--first N] [--show]

A history has two users with a few devices each, of all kinds at once: new clients (sync_exchange), old
ones (atomic_sync_upsert, in and out of order), first ones (atomic_sync_data, echoes among what they
send), and operators (policies, erasing). What a device sends next depends on what it was answered,
so C plays first ($BQ_BUILD/suite_sqlequal); then the same lines go to the database that PGDATABASE
names, which has sql/postgres and tests/sql/play.sql. Compared are all answers, and at the end of each
history all rows: documents, versions, cursors, clocks, counts, and the bytes of the receipts. The
first difference ends the run with 1; the seed and the history that found it are printed.
"""
import argparse
import decimal
import json
import os
import random
import subprocess
import sys
import uuid

KEYS = ['game_stats', 'settings', 'lesson_progress', 'notes', 'team', 'ep']
POLICIES = {
    'team': {'fields': {'n': 'sum', 'tags': 'union', 'on': 'any', 'low': 'min', 'first': 'keep',
                        'm': {'each': {'fields': {'c': 'sum', 'v': 'max'}}}}, 'rest': 'whole'},
    'ep': {'fields': {'n': 'sum', 's': 'max'}, 'epoch': 'round'},
    'no*': {'each': 'sum'},
}
FIELDS = {
    'game_stats': ['score', 'currentStreak', 'longestStreak', 'incorrectAnswers', 'extra'],
    'settings': ['mute', 'unlockedThemes', 'aiThemes', 'lang'],
    'lesson_progress': ['unlockedCount', 'bestStarsByLesson', 'x'],
    'notes': ['a', 'b'], 'team': ['n', 'tags', 'on', 'low', 'first', 'm', 'other'],
    'ep': ['n', 's', 'round'],
}


class Device:
    def __init__(self, name):
        self.name = name
        self.epoch = None
        self.cursor = 0
        self.ops = {}           # key -> op
        self.prev = {}          # key -> prev
        self.known = {}         # key -> (version, data)
        self.old_edits = []     # edits sent before, to send again


class History:
    def __init__(self, rng, number, n_calls):
        self.rng = rng
        self.users = [str(uuid.UUID(int=rng.getrandbits(128), version=4)) for _ in range(2)]
        self.devices = {user: [Device(f'bq-{number}-{i}') for i in range(3)] for user in self.users}
        self.shown = {user: {} for user in self.users}      # what a v1 app last read
        self.upserts = []
        self.now = 1700000000000000 + rng.randrange(10 ** 9)
        self.n_calls = n_calls

    # ---- values

    def value(self, depth=0):
        r = self.rng
        kind = r.randrange(8 if depth < 3 else 6)
        if kind == 0:
            return r.choice([True, False])
        if kind == 1:
            return r.choice(['', 'a', 'ä"\\', None])
        if kind in (2, 3):
            return r.randrange(-3, 12)
        if kind == 4:
            return r.choice([1.5, 0.25, 7.125, 1000000000000])
        if kind == 5:
            return [r.randrange(5) for _ in range(r.randrange(4))]
        return {r.choice('abcd/~'): self.value(depth + 1) for _ in range(r.randrange(4))}

    def field(self, key, name):
        r = self.rng
        if r.random() < 0.08:
            return self.value()
        if name in ('unlockedThemes', 'tags'):
            return [r.choice('uvwxyz') for _ in range(r.randrange(4))]
        if name == 'aiThemes':
            return {r.choice('pq'): {'id': r.randrange(3), 'name': r.choice('st')}
                    for _ in range(r.randrange(3))}
        if name in ('bestStarsByLesson', 'b'):
            return {f'l{r.randrange(3)}': r.randrange(4) for _ in range(r.randrange(3))}
        if name == 'm':
            return {r.choice('xy'): {'c': r.randrange(5), 'v': r.randrange(5)}
                    for _ in range(r.randrange(3))}
        if name in ('mute', 'on'):
            return r.choice([True, False])
        return r.randrange(6)

    def document(self, key, base=None):
        r = self.rng
        if r.random() < 0.03:
            return self.value()
        document = dict(base) if isinstance(base, dict) else {}
        for name in FIELDS.get(key, ['a']):
            if r.random() < 0.5:
                if name == 'incorrectAnswers' and isinstance(document.get(name), int) \
                        and not isinstance(document.get(name), bool):
                    document[name] += r.randrange(3)
                else:
                    document[name] = self.field(key, name)
            elif r.random() < 0.1:
                document.pop(name, None)
        return document

    # ---- calls

    def line(self, call, body, sub=None, role='authenticated'):
        self.now += self.rng.choice([0, 1, 400, 1500, 10 ** 6])
        return {'now': self.now, 'role': role, 'sub': sub, 'call': call, 'body': body}

    def edit(self, device, key):
        r = self.rng
        version, base = device.known.get(key, (0, None))
        op = device.ops.get(key, 0) + 1
        edit = {'op': op, 'prev': device.prev.get(key, 0), 'id': f'{r.getrandbits(64):016x}',
                'key': key, 'base': version}
        kind = r.random()
        if kind < 0.06:
            edit['delete'] = True
        elif kind < 0.14:
            edit['seed'] = True
            edit['now'] = self.document(key)
        else:
            mine = self.document(key, base)
            names = set(mine) | set(base or {}) if isinstance(mine, dict) and isinstance(
                base, (dict, type(None))) else None
            if names is None or r.random() < 0.1:
                if base is not None:
                    edit['was'] = base
                edit['now'] = mine
            else:
                changed = [n for n in sorted(names)
                           if (base or {}).get(n, edit) != mine.get(n, edit)]
                if base is not None:
                    edit['was'] = {n: base[n] for n in changed if n in base}
                edit['now'] = {n: mine[n] for n in changed if n in mine}
                whole = ['/aiThemes/' + t for n in changed if n == 'aiThemes'
                         for t in ('p', 'q')] + ['/other'] * (key == 'team')
                if whole and r.random() < 0.8:
                    edit['whole'] = whole
        if key == 'ep':
            edit['epoch'] = r.choice([0, 1, 1, 2, base.get('round', 0) if isinstance(
                base, dict) and isinstance(base.get('round', 0), int) and not isinstance(
                base.get('round', 0), bool) and base.get('round', 0) >= 0 else 0])
        return self.spoil(edit)

    def spoil(self, edit):
        """Now and then an edit that is not what it should be."""
        r = self.rng
        kind = r.randrange(40)
        if kind == 0:
            edit[r.choice(['op', 'prev', 'id', 'key', 'base', 'whole', 'epoch', 'delete', 'seed',
                           'future'])] = r.choice([None, -1, 'x', 1.5, [], True, 2 ** 60, '/a'])
        elif kind == 1:
            edit.pop(r.choice(['op', 'prev', 'id', 'key', 'base', 'now']), None)
        elif kind == 2:
            edit['base'] = r.choice([-1, 0, 1, 5, edit.get('base', 0) + 1])
        elif kind == 3:
            edit['op'] = r.choice([1, 2, 3, 100])
        elif kind == 4:
            return r.choice([None, 7, [], 'x'])
        elif kind == 5:
            edit['now'] = {'deep': json.loads('[' * 70 + ']' * 70)}
        elif kind == 6:
            edit['key'] = r.choice(['', '_x', 'a' * 129, 'ä' * 64, 'a\x01', 'a\u0080'])
        elif kind == 7:
            edit['now'] = {'incorrectAnswers': r.choice([10 ** 18, 10 ** 17, 0.1234567891])}
        elif kind == 8 and r.random() < 0.2:
            edit['now'] = {'long': 'x' * 270000}
        return edit

    def exchange(self, user):
        r = self.rng
        device = r.choice(self.devices[user])
        edits, keys = [], r.sample(KEYS, r.randrange(3))
        for key in keys:
            if device.old_edits and r.random() < 0.2:
                edits.append(r.choice(device.old_edits))
            else:
                edit = self.edit(device, key)
                edits.append(edit)
                if isinstance(edit, dict) and r.random() < 0.9:
                    device.old_edits = (device.old_edits + [edit])[-6:]
        body = {'p_device_id': device.name, 'p_epoch': device.epoch, 'p_edits': edits,
                'p_cursor': device.cursor, 'p_limit': r.choice([1, 2, 500, 500, 500]),
                'p_policies': 0}
        if r.random() < 0.03:
            body[r.choice(sorted(body))] = r.choice([None, 0, -1, 10 ** 6])
        if r.random() < 0.02:
            device.epoch = r.choice(['E.0', 'E.1', 'other', None])
        line = self.line('sync_exchange', body, user)
        return line, lambda answer: self.exchanged(device, edits, answer)

    def exchanged(self, device, edits, answer):
        body = answer['body']
        if answer['http'] != 200 or self.rng.random() < 0.1:
            return                                  # lost
        device.epoch = body['epoch']
        device.cursor = body['cursor']
        for row in body['changes']:
            device.known[row['data_key']] = (row['version'],
                                             None if row['deleted'] else row['data'])
            if row['op']:
                device.prev[row['data_key']] = row['op']
                device.ops[row['data_key']] = max(device.ops.get(row['data_key'], 0), row['op'])
        for result in body['results']:
            key = result['key']
            device.ops[key] = max(device.ops.get(key, 0), min(result['op'], 10 ** 6))
            if result['status'] in ('rewound', 'forgotten'):
                device.ops[key] = device.ops.get(key, 0) + 1
                continue
            if result['op'] < 10 ** 6:
                device.prev[key] = result['op']
            if 'data' in result:
                device.known[key] = (result['version'], None if result.get('deleted')
                                     else result['data'])

    def upsert(self, user):
        r = self.rng
        if self.upserts and r.random() < 0.25:
            body = dict(r.choice(self.upserts))     # again, or out of order
            if r.random() < 0.4:                    # a queue: the same version, other counts
                body['p_data'] = self.recount(body['p_data'])
        else:
            device = r.choice(self.devices[user])
            key = r.choice(KEYS + ['_bad'] * (r.random() < 0.1))
            version, base = device.known.get(key, (0, None))
            body = {'p_user_id': user, 'p_data_key': key, 'p_data': self.document(key, base),
                    'p_expected_version': r.choice([version, version, version, None, 0,
                                                    max(0, version - 1), version + 1, 40]),
                    'p_device_id': r.choice([device.name, 'old', None])}
            if r.random() < 0.02:
                body['p_data'] = r.choice([None, {'long': 'x' * 270000}, {'incorrectAnswers': 10 ** 30}])
            if r.random() < 0.02:
                body['p_device_id'] = r.choice(['', 'y' * 129])
            self.upserts = (self.upserts + [body])[-10:]
        line = self.line('atomic_sync_upsert', body, body['p_user_id'])
        return line, lambda answer: self.upserted(body, answer)

    def recount(self, value):
        if isinstance(value, dict):
            return {name: self.recount(member) for name, member in value.items()}
        if isinstance(value, int) and not isinstance(value, bool):
            return value + self.rng.randrange(-2, 3)
        return value

    def upserted(self, body, answer):
        if answer['http'] == 200 and answer['body'].get('success') and self.rng.random() < 0.9:
            for device in self.devices[body['p_user_id']]:
                if self.rng.random() < 0.5:
                    device.known[body['p_data_key']] = (answer['body']['version'],
                                                        answer['body']['data'])

    def v1(self, user):
        r = self.rng
        data = dict(self.shown[user])
        for key in r.sample(KEYS, r.randrange(3)):
            old = data.get(key, {}).get('value') if isinstance(data.get(key), dict) else None
            value = self.document(key, old)
            data[key] = {'value': value, 'timestamp': r.choice([
                '2026-11-23T10:00:00', '2023-11-14T22:13:20.000Z', 'soon', None])}
            if r.random() < 0.05:
                data[key] = value
        if r.random() < 0.03:
            data = r.choice([{'_k': 1}, [], 'x', {'notes': {'long': 'x' * 270000}}])
        if isinstance(data, dict):      # keys are written in their order, which jsonb's is
            data = dict(sorted(data.items(), key=lambda item: (len(item[0].encode()), item[0])))
        return self.line('atomic_sync_data', {'target_user_id': user, 'new_data': data},
                         user), None

    def read(self, user):
        line = self.line('get_user_sync_data', {'p_user_id': user}, user)
        return line, lambda answer: self.was_read(user, answer)

    def was_read(self, user, answer):
        if answer['http'] == 200:
            self.shown[user] = {row['data_key']: {
                'value': row['data'], 'timestamp': milliseconds(row['modified_at'])}
                for row in answer['body']}

    def other(self, user):
        r = self.rng
        other = r.choice(self.users)
        device = r.choice(self.devices[user]).name
        return r.choice([
            lambda: self.line('get_user_sync_status', {'p_user_id': other}, user),
            lambda: self.line('update_sync_metadata', {
                'p_user_id': user, 'p_device_id': r.choice([device, '', 'z\x02']),
                'p_version': r.choice([1, 7]),
                'p_device_info': r.choice([{}, {'os': 'x'}, {'y': 'z' * 5000}])}, user),
            lambda: self.line('delete_user_sync_data', {'p_user_id': user}, user),
            lambda: self.line('sync_report', {
                'p_device_id': device, 'p_device_info': {'a': 1},
                'p_replaces': r.choice([None, 'bq-older', '']),
                'p_failed': r.choice([[], None, [{'key': 'notes', 'op': 1, 'code': 'too_large',
                                                  'edit': {'base': 1}}], [{'op': 1}], 3])}, user),
            lambda: self.line('sync_policies', {}, user),
            lambda: self.line('sync_policy_set', {
                'p_pattern': r.choice(['notes', 'team', 'te*', '', 'a*b', '*']),
                'p_policy': r.choice(['max', 'sum', {'each': 'max'}, {'each': 'nope'}, None, 3,
                                      POLICIES['team']])}, None, 'service_role'),
            lambda: self.line('atomic_add_device', {
                'target_user_id': user, 'device_id_param': r.choice(['v1', '']),
                'device_name_param': 'n', 'device_type_param': None}, user),
            lambda: self.line('atomic_remove_device', {
                'target_user_id': user, 'device_id_param': r.choice(['v1', 'none'])}, user),
            lambda: self.line('get_user_sync_data', {'p_user_id': user}, None, 'anon'),
            lambda: self.line('atomic_sync_upsert', {
                'p_user_id': other, 'p_data_key': 'notes', 'p_data': {'a': 1},
                'p_expected_version': 0}, user),
        ])(), None

    def calls(self):
        """The lines, each with what its answer teaches."""
        r = self.rng
        for pattern, policy in POLICIES.items():
            yield self.line('sync_policy_set', {'p_pattern': pattern, 'p_policy': policy}, None,
                            'service_role'), None
        kinds = [self.exchange] * 8 + [self.upsert] * 6 + [self.v1] * 2 + [self.read] * 2 + [
            self.other] * 2
        for _ in range(self.n_calls):
            yield r.choice(kinds)(r.choice(self.users))
        if r.random() < 0.3:
            user = r.choice(self.users)
            yield self.line('sync_user_erase', {'p_user_id': user}, None, 'service_role'), None
            for _ in range(4):
                yield r.choice(kinds)(user)
        for pattern in sorted(set(POLICIES) | {'notes', 'team', 'te*', '*'}):
            yield self.line('sync_policy_set', {'p_pattern': pattern, 'p_policy': None}, None,
                            'service_role'), None
        yield {'dump': self.users}, None


def milliseconds(text):
    """As a v1 row shows a time."""
    date, _, zone = text.partition('+')
    seconds, _, fraction = date.partition('.')
    return f'{seconds}.{(fraction + "000")[:3]}+{zone}'


def dump(value):
    return json.dumps(value, ensure_ascii=False, separators=(',', ':'), default=str)


def exact(text):
    """Numbers by value."""
    return json.loads(text, parse_float=decimal.Decimal)


def play_in_c(histories):
    """All lines with their answers and the number of their history."""
    program = subprocess.Popen([os.path.join(os.environ['BQ_BUILD'], 'suite_sqlequal')],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    played = []
    for number, history in histories:
        for line, learn in history.calls():
            program.stdin.write(dump(line) + '\n')
            program.stdin.flush()
            text = program.stdout.readline()
            if not text:
                raise SystemExit(f'the core ended at {dump(line)[:2000]}')
            answer = json.loads(text)
            if learn:
                learn(answer)
            played.append((number, line, exact(text)))
    program.stdin.close()
    program.wait()
    return played


def play_in_sql(played):
    script = 'DO $$ BEGIN PERFORM test.reset(); END $$;\n' + ''.join(f"SELECT test.dump({quote(line['dump'])});\n" if 'dump' in line
                     else f'SELECT test.play({quote(line)});\n' for _, line, _ in played)
    done = subprocess.run(['psql', '-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1'], input=script,
                          stdout=subprocess.PIPE, text=True, check=False)
    answers = done.stdout.split('\n')[:-1]
    if done.returncode != 0 or len(answers) != len(played):
        print(f'the database ended at {dump(played[len(answers)][1])[:2000]}')
        raise SystemExit(1)
    return map(exact, answers)


def quote(value):
    text = dump(value).replace("'", "''").replace('\\', '\\\\')
    return f"E'{text}'::jsonb"


def plain(line, answer):
    """An answer without what may differ: the sentences of refusals (jsonb names another member first
    where several are wrong)."""
    def strip(value):
        if isinstance(value, dict):
            return {k: strip(v) for k, v in value.items()
                    if not (k == 'message' and 'code' in value)}
        return [strip(v) for v in value] if isinstance(value, list) else value
    return strip(answer)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--histories', type=int, default=20)
    parser.add_argument('--calls', type=int, default=150)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--first', type=int, default=0, help='the first history to play')
    parser.add_argument('--show', action='store_true', help='the lines before a difference')
    options = parser.parse_args()
    histories = [(n, History(random.Random(f'{options.seed}/{n}'), n, options.calls))
                 for n in range(options.first, options.first + options.histories)]
    played = play_in_c(histories)
    statuses = {}
    for at, ((number, line, answer), told) in enumerate(zip(played, play_in_sql(played))):
        for result in (answer.get('body') or {}).get('results', []) if isinstance(
                answer, dict) and isinstance(answer.get('body'), dict) else []:
            statuses[result['status']] = statuses.get(result['status'], 0) + 1
        if plain(line, answer) != plain(line, told):
            if options.show:
                for n, before, said in played[max(0, at - 12):at]:
                    print(dump(before)[:1500], '\n  ', dump(said)[:1500])
            print(f'seed {options.seed}, history {number}, line {at}\nasked {dump(line)[:4000]}\n'
                  f'C     {dump(answer)[:4000]}\nSQL   {dump(told)[:4000]}')
            return 1
    print(', '.join(f'{status} {n}' for status, n in sorted(statuses.items())))
    missing = {'applied', 'merged', 'kept', 'duplicate', 'rewound', 'refused'} - set(statuses)
    if missing and options.histories >= 10:
        print(f'never came up: {", ".join(sorted(missing))}')
        return 1
    print(f'sqlequal: {len(played)} calls in {options.histories} histories, seed {options.seed}: '
          'differences 0')
    return 0


if __name__ == '__main__':
    sys.exit(main())
