// test_realtime.mjs - realtime through the published clients: the new one (vsn 2.0.0, binary
// broadcasts) and the old one (vsn 1.0.0) (docs/protocol.md, "Realtime").
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe } from 'node:test';
import { Inbox } from './inbox.mjs';
import { clientOf, it, newUser, startServer, token, variants } from './lib.mjs';

let server;
before(async () => { server = await startServer('--join-refusal-delay', '10ms'); });
after(async () => { await server.stop(); });

const write = (client, user, key, data) => client.rpc('atomic_sync_upsert', {
    p_user_id: user.id, p_data_key: key, p_data: data, p_expected_version: null,
    p_device_id: 'd1' });

const documentsOf = (user) => ({ event: '*', schema: 'public', table: 'user_sync_data_v2',
                                 filter: `user_id=eq.${user.id}` });

/** A channel that is subscribed, with an inbox of its changes, its statuses and system messages. */
async function subscribe(client, name, bindings, config = undefined) {
    const boxes = { changes: new Inbox(), statuses: new Inbox(), system: new Inbox() };
    const channel = client.channel(name, config === undefined ? undefined : { config });
    for (const binding of bindings) {
        channel.on('postgres_changes', binding, (change) => boxes.changes.push(change));
    }
    channel.on('system', {}, (message) => boxes.system.push(message));
    channel.subscribe((status, error) => boxes.statuses.push({ status, error }));
    assert.equal((await boxes.statuses.next()).status, 'SUBSCRIBED');
    return { channel, ...boxes };
}

for (const variant of variants) {
    describe(`realtime: ${variant.name}`, () => {
        const user = newUser(variant);
        const other = newUser(variant);
        const clients = [];
        // A join that is made before the client has asked for its token goes without one.
        const connect = async (accessToken = user.token) => {
            const client = clientOf(variant, server, accessToken);
            clients.push(client);
            await client.realtime.setAuth();
            return client;
        };
        after(() => {
            for (const client of clients) {
                client.realtime.disconnect();
            }
        });

        it('tells of inserts and updates with the whole row', async () => {
            const client = await connect();
            const box = await subscribe(client, `user_sync_v2_${user.id}`, [documentsOf(user)]);
            assert.deepEqual(await box.system.next(), {
                message: 'Subscribed to PostgreSQL', status: 'ok', extension: 'postgres_changes',
                channel: `user_sync_v2_${user.id}` });
            await write(client, user, 'settings', { theme: 'ü', n: 1.5 });
            const inserted = await box.changes.next();
            assert.deepEqual(
                { ...inserted, commit_timestamp: 0, new: { ...inserted.new, modified_at: 0,
                                                           created_at: 0 } },
                { schema: 'public', table: 'user_sync_data_v2', commit_timestamp: 0,
                  eventType: 'INSERT', errors: null, old: {},
                  new: { user_id: user.id, data_key: 'settings', data: { theme: 'ü', n: 1.5 },
                         version: 1, device_id: 'd1', modified_at: 0, created_at: 0 } });
            assert.match(inserted.commit_timestamp, /^20.*\.\d{3}Z$/);
            assert.match(inserted.new.modified_at, /^20.*\+00:00$/);
            await write(client, user, 'settings', { theme: 'x' });
            const updated = await box.changes.next();
            assert.equal(updated.eventType, 'UPDATE');
            assert.deepEqual(updated.old, { user_id: user.id, data_key: 'settings' });
            assert.deepEqual(updated.new.data, { theme: 'x' });
            assert.equal(updated.new.version, 2);
        });

        it('two channels on one socket, several bindings, and nobody else', async () => {
            const client = await connect();
            const stranger = await connect(other.token);
            const one = await subscribe(client, 'one', [
                documentsOf(user), { ...documentsOf(user), event: 'UPDATE' },
                { event: '*', schema: 'public', table: 'user_sync_feed' }]);
            const two = await subscribe(client, 'two', [{ event: '*', schema: 'public' }]);
            const silent = await subscribe(stranger, 'one', [documentsOf(user)]);
            const all = await subscribe(stranger, 'two', [{ event: '*', schema: 'public' }]);
            await write(client, user, 'notes', { a: 1 });
            assert.equal((await one.changes.next()).eventType, 'INSERT');
            assert.equal((await one.changes.next()).table, 'user_sync_feed');
            const tables = [];
            for (let i = 0; i < 3; i++) {
                tables.push((await two.changes.next()).table);
            }
            assert.deepEqual(tables, ['user_sync_data_v2', 'user_sync_data', 'user_sync_feed']);
            await write(stranger, other, 'notes', { a: 1 });
            assert.equal((await all.changes.next()).new.user_id, other.id);
            assert.equal(silent.changes.length, 0);
            assert.equal(one.changes.length, 0);
        });

        it('the other tables: the row of v1, devices, the feed', async () => {
            const client = await connect();
            const of = (table) => ({ event: '*', schema: 'public', table,
                                     filter: `user_id=eq.${user.id}` });
            const [v1, devices, feed] = await Promise.all(
                ['user_sync_data', 'user_sync_metadata', 'user_sync_feed'].map((table) =>
                    subscribe(client, table, [of(table)])));
            await write(client, user, 'other', { a: 1 });
            const row = await v1.changes.next();
            assert.deepEqual([row.eventType, row.old], ['UPDATE', { user_id: user.id }]);
            assert.deepEqual(row.new.data.other.value, { a: 1 });
            const end = await feed.changes.next();
            assert.equal(end.eventType, 'UPDATE');
            const { data } = await client.from('user_sync_feed').select('*').single();
            assert.deepEqual(end.new, data);
            for (const [version, eventType] of [[1, 'INSERT'], [2, 'UPDATE']]) {
                const { error } = await client.rpc('update_sync_metadata', {
                    p_user_id: user.id, p_device_id: 'd9', p_version: version,
                    p_device_info: { os: 'x' } });
                assert.equal(error, null);
                const device = await devices.changes.next((one) => one.new.device_id === 'd9');
                assert.deepEqual([device.eventType, device.new.last_sync_version,
                                  device.new.device_info], [eventType, version, { os: 'x' }]);
            }
            const removed = await client.rpc('delete_user_sync_data', { p_user_id: user.id });
            assert.equal(removed.error, null);
            const empty = await v1.changes.next((one) => Object.keys(one.new.data).length === 0);
            assert.equal(empty.eventType, 'UPDATE'); // clients read new.data: a DELETE has none
        });

        it('a wrong subscription is a system message', async () => {
            const box = await subscribe(await connect(), 'wrong', [
                { event: '*', schema: 'public', table: 'nope' }]);
            const message = await box.system.next();
            assert.equal(message.status, 'error');
            assert.match(message.message, /^Unable to subscribe to changes with given parameters/);
        });

        it('leaving and joining again, beside a channel that stays', async () => {
            const client = await connect();
            const stays = await subscribe(client, 'stays', [documentsOf(user)]);
            const first = await subscribe(client, 'again', [documentsOf(user)]);
            assert.equal(await client.removeChannel(first.channel), 'ok');
            const second = await subscribe(client, 'again', [documentsOf(user)]);
            await write(client, user, 'again', { a: variant.name });
            await second.changes.next();
            await stays.changes.next();
            assert.equal(first.changes.length, 0);
        });

        it('a token that comes after the join, and one that follows it', async () => {
            let held = null;
            const client = await connect(() => held);
            const box = await subscribe(client, 'later', [documentsOf(user)]);
            await box.system.next();
            await write(await connect(), user, 'early', { a: 1 });
            held = user.token;
            await client.realtime.setAuth();
            assert.equal((await box.system.next()).status, 'ok');
            await write(client, user, 'later', { a: 1 });
            const first = await box.changes.next();
            assert.equal(first.new.data_key, 'later'); // 'early' was nobody's here
            const exp = Math.floor(Date.now() / 1000) + 60;
            held = token({ alg: variant.alg, sub: user.id, exp });
            await client.realtime.setAuth();
            await write(client, user, 'later', { a: 2 });
            assert.equal((await box.changes.next()).new.version, 2);
        });

        it('a forged token is a channel error', async () => {
            const client = await connect(
                token({ sub: user.id, key: 'another secret of more than 32 bytes' }));
            const statuses = new Inbox();
            client.channel('forged').subscribe((status, error) => statuses.push({ status, error }));
            const { error } = await statuses.next(isError);
            assert.match(String(error?.message ?? error), /JwtSignatureError/);
        });

        it('broadcasts and presence between the devices of a user', async () => {
            const options = { broadcast: { ack: true }, presence: { key: 'phone' } };
            const phone = (await connect()).channel('room', { config: options });
            const tablet = (await connect()).channel('room', {
                config: { presence: { key: 'tablet' } } });
            const stranger = (await connect(other.token)).channel('room');
            const heard = new Inbox();
            const leaks = new Inbox();
            const seen = new Inbox();
            tablet.on('broadcast', { event: 'e' }, (message) => heard.push(message));
            tablet.on('presence', { event: 'join' }, (message) => seen.push(message));
            stranger.on('broadcast', { event: 'e' }, (message) => leaks.push(message));
            stranger.on('presence', { event: 'join' }, (message) => leaks.push(message));
            for (const channel of [phone, tablet, stranger]) {
                await new Promise((resolve) => channel.subscribe((status) => {
                    if (status === 'SUBSCRIBED') {
                        resolve();
                    }
                }));
            }
            assert.equal(await phone.send({ type: 'broadcast', event: 'e', payload: { n: 1 } }),
                         'ok');
            assert.deepEqual((await heard.next()).payload, { n: 1 });
            assert.equal(await phone.track({ at: 'home' }), 'ok');
            const join = await seen.next((one) => one.key === 'phone');
            assert.equal(join.newPresences[0].at, 'home');
            assert.equal(tablet.presenceState().phone[0].at, 'home');
            assert.equal(leaks.length, 0);
        });
    });
}

/** A client that is gone with its test. It has not asked for its token yet. */
function newClient(test, variant, where, accessToken) {
    const client = clientOf(variant, where, accessToken);
    test.after(() => client.realtime.disconnect());
    return client;
}

/** The same, and it knows its token. */
async function connectTo(test, ...args) {
    const client = newClient(test, ...args);
    await client.realtime.setAuth();
    return client;
}

/** A server that is gone with its test. */
async function serve(test, ...options) {
    const own = await startServer(...options);
    test.after(() => own.kill());
    return own;
}

const isError = ({ status }) => status === 'CHANNEL_ERROR';

/** Of the code with which a socket was closed the new client tells alone. */
function assertCode(variant, { error }, code) {
    if (variant.client === 'new') {
        assert.equal(error.message, `socket closed: ${code}`);
    }
}

describe('realtime: clients of both ages', () => {
    it('hear the broadcasts of each other, binary or not', async (test) => {
        const user = newUser({ alg: 'ES256' });
        const [young, old] = await Promise.all(['new', 'old'].map(async (one) => {
            const client = await connectTo(test, { client: one, key: 'anon' }, server, user.token);
            const heard = new Inbox();
            const channel = client.channel('room')
                .on('broadcast', { event: 'e' }, ({ payload }) => heard.push(payload));
            await new Promise((resolve) => { channel.subscribe(resolve); });
            return { channel, heard };
        }));
        for (const [from, to] of [[young, old], [old, young]]) {
            await from.channel.send({ type: 'broadcast', event: 'e', payload: { ü: [1, null] } });
            assert.deepEqual(await to.heard.next(), { ü: [1, null] });
        }
    });
});

// With accounts of our own, as apps do it: nobody hands the token to realtime by hand.
describe('realtime: sign-in, refresh and sign-out', () => {
    let own;
    before(async () => { own = await startServer('--accounts', 'on'); });
    after(async () => { await own.stop(); });

    for (const [one, key] of [['new', 'publishable'], ['new', 'anon'],
                              ['old', 'publishable'], ['old', 'anon']]) {
        it(`${one}, ${key}: hears while it is signed in, and not after`, async (test) => {
            const [device, writer] = [0, 1].map(() =>
                newClient(test, { client: one, key }, own, undefined));
            const account = { email: `${randomUUID()}@example.com`, password: 'correct horse' };
            const { data: { user } } = await device.auth.signUp(account);
            await writer.auth.signInWithPassword(account);
            const box = await subscribe(device, 'x', [documentsOf(user)]);
            const control = await subscribe(writer, 'x', [documentsOf(user)]);
            await write(writer, user, 'k', { n: 1 });
            assert.equal((await box.changes.next()).new.version, 1);

            const before = (await device.auth.getSession()).data.session.access_token;
            const { data: { session } } = await device.auth.refreshSession();
            assert.notEqual(session.access_token, before);
            await write(writer, user, 'k', { n: 2 });
            assert.equal((await box.changes.next()).new.version, 2);

            await device.auth.signOut({ scope: 'local' });
            await box.system.next(); // of the join
            await box.system.next(); // of the fresh token
            await box.system.next(); // of none
            await write(writer, user, 'k', { n: 3 });
            for (const version of [1, 2, 3]) {
                assert.equal((await control.changes.next()).new.version, version);
            }
            assert.equal(box.changes.length, 0);
        });
    }
});

// What a client waits for takes seconds: once per client, and all at once.
for (const variant of variants.filter((one) => one.key === 'publishable' && one.alg === 'ES256')) {
    describe(`realtime: ${variant.client} client, ends`, { concurrency: true }, () => {
        for (const end of ['stop', 'kill']) {
            it(`after a ${end} of the server it is back by itself and hears`, async (test) => {
                const first = await serve(test);
                const user = newUser(variant);
                const client = await connectTo(test, variant, first, user.token);
                const box = await subscribe(client, 'x', [documentsOf(user)]);
                await first[end]();
                await box.statuses.next(isError);
                const second = await serve(test, '--listen', `127.0.0.1:${first.port}`);
                await box.statuses.next((one) => one.status === 'SUBSCRIBED');
                await write(client, user, 'settings', { a: 1 });
                assert.equal((await box.changes.next()).new.version, 1);
            });
        }

        it('after 1001, for it was idle, it comes back', async (test) => {
            const brief = await serve(test, '--socket-idle-timeout', '1s');
            const client = await connectTo(test, variant, brief, newUser(variant).token);
            const box = await subscribe(client, 'x', []);
            assertCode(variant, await box.statuses.next(isError), 1001);
            await box.statuses.next((one) => one.status === 'SUBSCRIBED');
        });

        it('after 1009, for it said too much, it comes back', async (test) => {
            const client = await connectTo(test, variant, server, newUser(variant).token);
            const box = await subscribe(client, 'x', []);
            await box.channel.send({ type: 'broadcast', event: 'e',
                                     payload: { a: 'x'.repeat(300 << 10) } });
            assertCode(variant, await box.statuses.next(isError), 1009);
            await box.statuses.next((one) => one.status === 'SUBSCRIBED');
        });

        it('who joined before it knew its token is sent away, and comes back', async (test) => {
            const strict = await serve(test, '--socket-token-timeout', '1s');
            const user = newUser(variant);
            const client = newClient(test, variant, strict, user.token);
            const box = await subscribe(client, 'x', [documentsOf(user)]);
            await box.statuses.next(isError);
            await box.statuses.next((one) => one.status === 'SUBSCRIBED');
            await write(client, user, 'settings', { a: 1 });
            assert.equal((await box.changes.next()).new.version, 1);
        });

        it('heartbeats are answered', async (test) => {
            const client = await connectTo(test, variant, server, newUser(variant).token);
            const beats = new Inbox();
            client.realtime.onHeartbeat((status) => beats.push(status));
            await subscribe(client, 'x', []);
            await client.realtime.sendHeartbeat();
            await beats.next((status) => status === 'ok');
        });

        it('the end of a token ends its channel', async (test) => {
            const exp = Math.floor(Date.now() / 1000) + 3;
            const own = token({ alg: variant.alg, sub: randomUUID(), exp });
            const client = await connectTo(test, variant, server, own);
            const box = await subscribe(client, 'brief', []);
            const message = await box.system.next((one) => one.status === 'error');
            assert.match(message.message, /^Token has expired \d+ seconds ago$/);
            await box.statuses.next((one) => one.status === 'CLOSED');
        });
    });
}
