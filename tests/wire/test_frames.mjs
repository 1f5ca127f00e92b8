// test_frames.mjs - what a client in Dart would choke on, looked for in raw frames and answers,
// since no Dart runs here: each frame is read by the casts that realtime_client and postgrest make.
import assert from 'node:assert/strict';
import { after, before, describe } from 'node:test';
import ws from 'ws';
import { Inbox } from './inbox.mjs';
import { it, keyOf, newUser, raw, startServer, token, variants } from './lib.mjs';

let server;
before(async () => { server = await startServer('--join-refusal-delay', '10ms'); });
after(async () => { await server.stop(); });

const isText = (value) => typeof value === 'string';
const isRef = (value) => value === null || isText(value);
const isMap = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

/** A frame as the client casts it: {joinRef, ref, topic, event, payload}. */
function readFrame(vsn, text) {
    const frame = JSON.parse(text);
    if (vsn === '1.0.0') {
        assert.deepEqual(Object.keys(frame).sort(), ['event', 'payload', 'ref', 'topic'], text);
    } else {
        assert.ok(Array.isArray(frame) && frame.length === 5, text);
    }
    const [joinRef, ref, topic, event, payload] = vsn === '1.0.0'
        ? [null, frame.ref, frame.topic, frame.event, frame.payload] : frame;
    assert.ok(isRef(joinRef) && isRef(ref) && isText(topic) && isText(event), text);
    assert.ok(isMap(payload), text);
    if (event === 'phx_reply') {
        assert.ok(isText(payload.status) && isMap(payload.response), text);
    } else if (event === 'system') {
        const { status, message, extension, channel } = payload;
        assert.ok([status, message, extension, channel].every(isText), text);
    } else if (event === 'postgres_changes') {
        const { ids, data } = payload;
        assert.ok(ids.length > 0 && ids.every((id) => Number.isInteger(id) && id > 0), text);
        assert.ok(data.columns.length > 0 &&
                  data.columns.every(({ name, type }) => isText(name) && isText(type)), text);
        assert.ok([data.schema, data.table, data.commit_timestamp].every(isText), text);
        assert.ok(['INSERT', 'UPDATE'].includes(data.type) && isMap(data.record), text);
        assert.equal(isMap(data.old_record), data.type === 'UPDATE', text);
        assert.ok(data.errors === null || data.errors.every(isText), text);
    }
    return { joinRef, ref, topic, event, payload };
}

describe('the reader of frames', () => {
    const change = { ids: [1], data: { schema: 'public', table: 't', commit_timestamp: '',
                                       type: 'UPDATE', columns: [{ name: 'a', type: 'text' }],
                                       record: {}, old_record: {}, errors: null } };
    const frame = (payload, event = 'postgres_changes') =>
        JSON.stringify([null, null, 'realtime:x', event, payload]);

    it('takes what is right', () => {
        readFrame('2.0.0', frame(change));
        readFrame('1.0.0', '{"topic":"x","event":"phx_close","payload":{},"ref":"1"}');
    });

    for (const [name, vsn, text] of [
        ['a ref that is a number', '2.0.0', '["1",1,"x","phx_close",{}]'],
        ['a payload that is null', '2.0.0', frame(null, 'phx_close')],
        ['a response that is null', '2.0.0', frame({ status: 'ok', response: null }, 'phx_reply')],
        ['a join_ref in 1.0.0', '1.0.0',
         '{"topic":"x","event":"phx_close","payload":{},"ref":"1","join_ref":"1"}'],
        ['an id that is 0', '2.0.0', frame({ ...change, ids: [0] })],
        ['an id that is a text', '2.0.0', frame({ ...change, ids: ['1'] })],
        ['columns that are null', '2.0.0', frame({ ...change, data: { ...change.data,
                                                                      columns: null } })],
        ['no old record', '2.0.0', frame({ ...change, data: { ...change.data,
                                                              old_record: undefined } })],
    ]) {
        it(`refuses ${name}`, () => assert.throws(() => readFrame(vsn, text)));
    }
});

/** A socket whose frames are all read so; say(event, payload) numbers what it sends. */
async function open(vsn, key) {
    const socket = new ws(
        `${server.url.replace('http', 'ws')}/realtime/v1/websocket?apikey=${key}&vsn=${vsn}`);
    const frames = new Inbox();
    let n = 0;
    socket.on('message', (data) => {
        try {
            frames.push(readFrame(vsn, data.toString()));
        } catch (error) {
            frames.push({ event: 'broken', error: error.message });
        }
    });
    socket.on('pong', () => frames.push({ event: 'pong' }));
    socket.on('close', (code) => frames.push({ event: 'closed', code }));
    await new Promise((resolve, reject) => socket.on('open', resolve).on('error', reject));
    return {
        socket,
        async next(event) {
            const frame = await frames.next();
            assert.equal(frame.event, event, JSON.stringify(frame));
            return frame;
        },
        say(topic, event, payload, joinRef = null) {
            const ref = String(++n);
            const head = { topic, event, payload, ref, join_ref: joinRef ?? ref };
            socket.send(JSON.stringify(vsn === '1.0.0'
                ? head : [head.join_ref, ref, topic, event, payload]));
            return ref;
        },
    };
}

const call = (user, key, name, args) => raw(server, `/rest/v1/rpc/${name}`, {
    method: 'POST', body: JSON.stringify({ p_user_id: user.id, ...args }),
    headers: { apikey: key, authorization: `Bearer ${user.token}`,
               'content-type': 'application/json' } });

const write = async (user, key, name, data) => {
    const answer = await call(user, key, 'atomic_sync_upsert', {
        p_data_key: name, p_data: data, p_expected_version: null, p_device_id: 'd1' });
    assert.equal(answer.json.success, true, answer.text);
};

const joinOf = (user, bindings) => ({
    config: { broadcast: { ack: true, self: true }, presence: { key: '', enabled: true },
              postgres_changes: bindings, private: false },
    access_token: user.token });

const CASES = variants.filter((one) => one.client === 'new').flatMap((variant) =>
    ['1.0.0', '2.0.0'].map((vsn) => ({ ...variant, vsn })));

for (const { vsn, ...variant } of CASES) {
    describe(`frames: ${vsn}, ${variant.key}, ${variant.alg}`, () => {
        const user = newUser(variant);
        const key = keyOf(variant);
        const topic = 'realtime:a "topic" of ümlauts';

        it('a session, from the join to the leave', async () => {
            const device = await open(vsn, key);
            const bindings = [
                { event: '*', schema: 'public', table: 'user_sync_data_v2',
                  filter: `user_id=eq.${user.id}` },
                { event: 'UPDATE', schema: 'public', table: 'user_sync_data', filter: null },
                { event: '*', schema: 'public', table: 'user_sync_feed' }];
            const join = device.say(topic, 'phx_join', joinOf(user, bindings));
            const { ref, joinRef, payload } = await device.next('phx_reply');
            assert.deepEqual([ref, joinRef, payload.status],
                             [join, vsn === '1.0.0' ? null : join, 'ok']);
            const { postgres_changes: echoed } = payload.response;
            assert.deepEqual(echoed.map(({ id, ...binding }) => binding), bindings);
            assert.equal(new Set(echoed.map(({ id }) => id)).size, 3);
            assert.ok(echoed.every(({ id }) => Number.isInteger(id) && id > 0));

            // What Dart does first: the same token again. It is not answered.
            device.say(topic, 'access_token', { access_token: user.token }, join);
            assert.deepEqual((await device.next('presence_state')).payload, {});
            assert.deepEqual((await device.next('system')).payload, {
                message: 'Subscribed to PostgreSQL', status: 'ok', extension: 'postgres_changes',
                channel: topic.slice('realtime:'.length) });

            device.say('phoenix', 'heartbeat', {});
            await device.next('phx_reply');
            device.socket.ping();
            await device.next('pong');

            const heard = async () => {
                const { payload: change } = await device.next('postgres_changes');
                return [change.ids, change.data.table, change.data.type];
            };
            const [first, second, third] = echoed.map(({ id }) => id);
            await write(user, key, 'settings', { a: null });
            assert.deepEqual(await heard(), [[first], 'user_sync_data_v2', 'INSERT']);
            assert.deepEqual(await heard(), [[third], 'user_sync_feed', 'INSERT']);
            await write(user, key, 'settings', { a: [1] });
            assert.deepEqual(await heard(), [[first], 'user_sync_data_v2', 'UPDATE']);
            assert.deepEqual(await heard(), [[second], 'user_sync_data', 'UPDATE']);
            assert.deepEqual(await heard(), [[third], 'user_sync_feed', 'UPDATE']);

            device.say(topic, 'broadcast', { type: 'broadcast', event: 'e', payload: {} }, join);
            await device.next('broadcast');
            await device.next('phx_reply');
            device.say(topic, 'presence', { type: 'presence', event: 'track', payload: {} }, join);
            await device.next('presence_diff');
            await device.next('phx_reply');
            device.say('realtime:elsewhere', 'broadcast', {}, join);
            assert.equal((await device.next('phx_reply')).payload.response.reason,
                         'unmatched topic');

            const leave = device.say(topic, 'phx_leave', {}, join);
            assert.equal((await device.next('phx_reply')).ref, leave);
            assert.equal((await device.next('phx_close')).ref, join);
            device.socket.close(1000);
        });

        it('a bad token, and a join that is refused', async () => {
            const device = await open(vsn, key);
            const join = device.say(topic, 'phx_join', joinOf(user, []));
            await device.next('phx_reply');
            await device.next('presence_state');
            device.say(topic, 'access_token', { access_token: `${user.token}x` }, join);
            assert.equal((await device.next('system')).payload.status, 'error');
            assert.equal((await device.next('phx_close')).ref, join);
            const another = 'another secret, of 32 bytes and more';
            const forged = { ...user, token: token({ sub: user.id, key: another }) };
            device.say(topic, 'phx_join', joinOf(forged, []));
            const { payload } = await device.next('phx_reply');
            assert.deepEqual([payload.status, payload.response.reason],
                             ['error', 'JwtSignatureError: Failed to validate JWT signature']);
            device.socket.close(1000);
        });

        it('a second join of a topic ends the first, which is told so', async () => {
            const device = await open(vsn, key);
            const first = device.say(topic, 'phx_join', joinOf(user, []));
            await device.next('phx_reply');
            await device.next('presence_state');
            const second = device.say(topic, 'phx_join', joinOf(user, []));
            assert.equal((await device.next('phx_close')).ref, first);
            assert.equal((await device.next('phx_reply')).ref, second);
            device.socket.close(1000);
        });

        it('what is committed right behind the answer of a join is heard', async () => {
            const device = await open(vsn, key);
            for (let i = 0; i < 10; i++) {
                const name = `behind ${i}`;
                device.say(`realtime:${name}`, 'phx_join', {
                    ...joinOf(user, [{ event: 'INSERT', schema: 'public',
                                       table: 'user_sync_data_v2',
                                       filter: `data_key=eq."${name}"` }]),
                });
                await device.next('phx_reply');
                await write(user, key, name, {});
                await device.next('presence_state');
                await device.next('system');
                const { payload } = await device.next('postgres_changes');
                assert.equal(payload.data.record.data_key, name);
            }
            device.socket.close(1000);
        });
    });
}

describe('errors of requests, as postgrest in Dart casts them', () => {
    const variant = variants[0];
    const user = newUser(variant);
    const headers = { apikey: keyOf(variant), authorization: `Bearer ${user.token}`,
                      'content-type': 'application/json' };
    const expired = token({ sub: user.id, exp: Math.floor(Date.now() / 1000) - 600 });

    for (const [name, path, options, status] of [
        ['no function', 'rpc/nope', { method: 'POST', body: '{}' }, 404],
        ['no table', 'nope', {}, 404],
        ['no column', 'user_sync_data?select=nope', {}, 400],
        ['no JSON', 'rpc/get_user_sync_data', { method: 'POST', body: '{' }, 400],
        ['two rows too few', 'user_sync_data_v2', {
            headers: { ...headers, accept: 'application/vnd.pgrst.object+json' } }, 406],
        ['a method', 'rpc/get_user_sync_data', { method: 'DELETE' }, 405],
        ['a bad uuid', 'user_sync_data?user_id=eq.x', {}, 400],
        ['another one', 'rpc/get_user_sync_data', {
            method: 'POST', body: '{"p_user_id":"00000000-0000-4000-8000-000000000001"}' }, 403],
        ['an expired token', 'user_sync_data', {
            headers: { ...headers, authorization: `Bearer ${expired}` } }, 401],
        ['a malformed token', 'user_sync_data', {
            headers: { ...headers, authorization: 'Bearer x' } }, 401],
        ['too large', 'rpc/atomic_sync_upsert', { method: 'POST', body: ' '.repeat(5 << 20) }, 413],
    ]) {
        it(name, async () => {
            const answer = await raw(server, `/rest/v1/${path}`, { headers, ...options });
            assert.equal(answer.status, status, answer.text);
            assert.match(answer.headers.get('content-type'), /^application\/json; charset=utf-8$/);
            const { code, message, hint } = answer.json;
            assert.ok(isText(code) && isText(message) && isRef(hint), answer.text);
        });
    }
});
