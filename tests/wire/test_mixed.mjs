// test_mixed.mjs - one user with an app of v1 (the old client), one of V2 (the new client) and two
// devices of ours (bqsync): all change at once, and all see the same at the end, nothing counted
// twice. tests/e2e/test_v1_mixed.c does the same without the published clients, and longer.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe } from 'node:test';
import { promisify } from 'node:util';
import { Inbox } from './inbox.mjs';
import { PUBLISHABLE, clientOf, it, newUser, startServer } from './lib.mjs';

const ROUNDS = 10;
const PROGRAM = process.env.BQSYNC ?? 'build/bqsync';
const run = promisify(execFile);

let server;
let folder;
const user = newUser({ alg: 'ES256' });
before(async () => {
    server = await startServer();
    folder = mkdtempSync(join(tmpdir(), 'bqsync-wire.'));
});
after(async () => {
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
});

/** A device of ours: run(command, ...) answers its output. */
async function device(name) {
    const dir = join(folder, name);
    const command = async (...args) => (await run(PROGRAM, [...args, '--dir', dir])).stdout;
    await command('init', '--url', server.url, '--token', user.token, '--api-key', PUBLISHABLE);
    return { dir, command };
}

/** Everything that a device is told, from when it is live. */
async function watch(test, { dir }) {
    const events = new Inbox();
    const child = spawn(PROGRAM, ['watch', '--json', '--poll', '1h', '--dir', dir],
                        { stdio: ['ignore', 'pipe', 'inherit'] });
    createInterface(child.stdout).on('line', (line) => events.push(JSON.parse(line)));
    const ended = new Promise((resolve) => { child.on('exit', resolve); });
    test.after(() => child.kill('SIGKILL'));
    await events.next(({ event }) => event === 'live');
    return { events, stop: () => { child.kill('SIGTERM'); return ended; } };
}

/** An app that listens to a table: its changes. */
async function listen(client, table) {
    const changes = new Inbox();
    await client.realtime.setAuth();
    await new Promise((resolve) => {
        client.channel(table)
            .on('postgres_changes', { event: '*', schema: 'public', table,
                                      filter: `user_id=eq.${user.id}` },
                (change) => changes.push(change))
            .subscribe((status) => { if (status === 'SUBSCRIBED') { resolve(); } });
    });
    return changes;
}

const app = (client) => clientOf({ client, key: 'publishable' }, server, user.token);

/** V2: counts from what the last answer showed. */
async function countAsV2(client) {
    let [version, count] = [0, 0];
    for (let i = 0; i < ROUNDS; i++) {
        const { data } = await client.rpc('atomic_sync_upsert', {
            p_user_id: user.id, p_data_key: 'game_stats', p_device_id: 'v2',
            p_data: { incorrectAnswers: count + 1, score: i }, p_expected_version: version });
        assert.equal(data.success, true);
        ({ version, data: { incorrectAnswers: count } } = data);
    }
}

/** v1: reads its row, changes its own key, writes all back. */
async function writeAsV1(client) {
    for (let i = 0; i < ROUNDS; i++) {
        const { data: row } = await client.from('user_sync_data').select('data')
            .eq('user_id', user.id).maybeSingle();
        const mine = { value: { round: i }, timestamp: `2024-01-01T10:0${i}:00.000` };
        const { error } = await client.from('user_sync_data').upsert({
            user_id: user.id, data: { ...row?.data, v1_notes: mine },
            updated_at: mine.timestamp });
        assert.equal(error, null);
    }
}

describe('v1, V2 and devices of ours at once', () => {
    it('all hear, all end equal, nothing is counted twice', async (test) => {
        const [phone, tablet] = [await device('phone'), await device('tablet')];
        const [v1, v2] = [app('old'), app('new')];
        test.after(() => [v1, v2].forEach((client) => client.realtime.disconnect()));
        const watcher = await watch(test, phone);
        const v1Changes = await listen(v1, 'user_sync_data');
        const v2Changes = await listen(v2, 'user_sync_data_v2');
        await Promise.all([
            countAsV2(v2),
            writeAsV1(v1),
            (async () => {
                for (let i = 0; i < ROUNDS; i++) {
                    await tablet.command('inc', 'game_stats', 'incorrectAnswers', '1', '--sync');
                }
            })(),
        ]);

        const want = { incorrectAnswers: 2 * ROUNDS, score: ROUNDS - 1 };
        const notes = { round: ROUNDS - 1 };
        const isFinal = (data) => data?.incorrectAnswers === want.incorrectAnswers &&
                                  data?.score === want.score;
        await watcher.events.next(({ key, data }) => key === 'game_stats' && isFinal(data));
        await v2Changes.next((change) => isFinal(change.new.data));
        const row = await v1Changes.next(({ new: { data } }) => isFinal(data.game_stats?.value) &&
                                         data.v1_notes?.value.round === notes.round);
        assert.deepEqual(row.new.data.game_stats.value, want);
        const { data: documents } = await v2.rpc('get_user_sync_data', { p_user_id: user.id });
        assert.deepEqual(Object.fromEntries(documents.map((one) => [one.data_key, one.data])),
                         { game_stats: want, v1_notes: notes });
        await watcher.stop();
        for (const { command } of [phone, tablet]) {
            await command('sync');
            assert.deepEqual(JSON.parse(await command('get', 'game_stats')), want);
            assert.deepEqual(JSON.parse(await command('get', 'v1_notes')), notes);
        }
    });
});
