// test_relay.mjs - one app, one URL: the published clients hear changes of an upstream's tables and
// of ours over the same socket (docs/protocol.md, "The rest of the URL").
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe } from 'node:test';
import { Inbox } from './inbox.mjs';
import ws from 'ws';
import { clientOf, it, keyOf, newUser, PUBLISHABLE, raw, startServer, variants }
    from './lib.mjs';
import { Phoenix } from './phoenix.mjs';
import { certificate, startUpstream } from './upstream.mjs';

let cert;
let upstream;
let phoenix;
let server;

before(async () => {
    cert = certificate('localhost');
    upstream = await startUpstream((request, response) => {
        response.writeHead(200, { 'Content-Type': 'application/json' }).end('[{"id":7}]');
        return true;
    }, cert.tls);
    phoenix = new Phoenix(upstream.server);
    server = await startServer('--upstream', upstream.url, '--upstream-ca-file', cert.file,
                               '--upstream-sockets', '40', '--socket-token-timeout', '60s');
});
after(async () => { await server?.stop(); await upstream.stop(); cert.release(); });

/** The next message to the upstream that fits. */
async function said(fits) {
    for (;;) {
        const [message] = await once(phoenix, 'said');
        if (fits(message)) {
            return message;
        }
    }
}

/** A channel that is subscribed, with an inbox of its changes, broadcasts and statuses. */
async function subscribe(client, name, binding) {
    const boxes = { changes: new Inbox(), broadcasts: new Inbox(), statuses: new Inbox() };
    const channel = client.channel(name)
        .on('postgres_changes', binding, (change) => boxes.changes.push(change))
        .on('broadcast', { event: 'hello' }, (message) => boxes.broadcasts.push(message))
        .subscribe((status) => boxes.statuses.push(status));
    assert.equal(await boxes.statuses.next(), 'SUBSCRIBED');
    return { channel, ...boxes };
}

const QUESTIONS = { event: '*', schema: 'public', table: 'questions' };
const OURS = { event: '*', schema: 'public', table: 'user_sync_data_v2' };

const write = (client, user, key) => client.rpc('atomic_sync_upsert', {
    p_user_id: user.id, p_data_key: key, p_data: { n: 1 }, p_expected_version: null,
    p_device_id: 'd1' });

for (const variant of variants.filter(({ alg }) => alg === 'ES256')) {
    describe(`one app, one URL: ${variant.name}`, () => {
        const user = newUser(variant);
        const key = keyOf(variant);
        let client;
        let questions;
        let documents;
        before(async () => {
            client = clientOf(variant, server, user.token, key);
            await client.realtime.setAuth();
        });
        after(async () => {
            const gone = once(phoenix, 'gone');
            client.realtime.disconnect();
            await gone;
            assert.equal(phoenix.sockets.size, 0);
        });

        it('changes of both come over one socket', async () => {
            const joins = said(({ event }) => event === 'phx_join');
            const n = phoenix.opened.length;
            assert.deepEqual((await client.from('questions').select('id').limit(1)).data,
                             [{ id: 7 }]);
            documents = await subscribe(client, 'documents', OURS);
            assert.equal(phoenix.opened.length, n); // at the first topic that is not ours
            questions = await subscribe(client, 'questions', QUESTIONS);
            const { payload } = await joins;
            assert.equal(payload.access_token, user.token);
            const { url, headers } = phoenix.opened.at(-1);
            assert.equal(new URL(url, 'http://x').searchParams.get('apikey'), key);
            assert.equal(headers.authorization, undefined);
            phoenix.insert('questions', { id: 'ü', text: 'why?' });
            const change = await questions.changes.next();
            assert.deepEqual([change.eventType, change.table, change.new],
                             ['INSERT', 'questions', { id: 'ü', text: 'why?' }]);
            assert.equal((await write(client, user, 'a')).data.success, true);
            assert.equal((await documents.changes.next()).new.data_key, 'a');
            assert.equal(phoenix.opened.length, n + 1);
        });

        it('what the upstream says of our topic is not heard', async () => {
            phoenix.say({ topic: 'realtime:documents', event: 'phx_close', payload: {} });
            phoenix.say({ topic: 'realtime:documents', event: 'postgres_changes',
                          payload: { ids: [1], data: { schema: 'public', type: 'INSERT',
                                                       table: 'user_sync_data_v2', columns: [],
                                                       record: { data_key: 'lie' }, errors: null,
                                                       commit_timestamp: '' } } });
            phoenix.insert('questions', { id: 'behind' });
            assert.equal((await questions.changes.next()).new.id, 'behind');
            assert.equal((await write(client, user, 'b')).data.success, true);
            assert.equal((await documents.changes.next()).new.data_key, 'b');
        });

        it('broadcasts of such a topic are the upstream\'s', async () => {
            const hello = said(({ event }) => event === 'broadcast' || event === 'binary');
            await questions.channel.send({ type: 'broadcast', event: 'hello', payload: { a: 1 } });
            const { binary, payload } = await hello;
            assert.match(binary ? payload.toString('latin1') : JSON.stringify(payload), /"a":1/);
            phoenix.say({ topic: 'realtime:questions', event: 'broadcast',
                          payload: { type: 'broadcast', event: 'hello', payload: { b: 2 } } });
            assert.deepEqual((await questions.broadcasts.next()).payload, { b: 2 });
        });

        if (variant.key === 'publishable') { // they wait for the clients' pauses
            it('a lost upstream is joined again, and ours goes on meanwhile', async () => {
                phoenix.cut();
                assert.equal(await questions.statuses.next(), 'CHANNEL_ERROR');
                assert.equal((await write(client, user, 'c')).data.success, true);
                assert.equal((await documents.changes.next()).new.data_key, 'c');
                assert.equal(await questions.statuses.next(), 'SUBSCRIBED');
                phoenix.insert('questions', { id: 'again' });
                assert.equal((await questions.changes.next()).new.id, 'again');
                assert.equal(documents.statuses.length, 0);
            });

            it('an upstream that opens no socket is asked again', async () => {
                phoenix.refuses = true;
                phoenix.cut();
                await once(phoenix, 'refused');
                phoenix.refuses = false;
                await questions.statuses.next((status) => status === 'SUBSCRIBED');
                while (questions.statuses.length > 0) {
                    assert.equal(await questions.statuses.next(), 'CHANNEL_ERROR');
                }
                assert.equal(documents.statuses.length, 0);
            });
        }

        it('who leaves it closes its socket', async () => {
            const gone = once(phoenix, 'gone');
            assert.equal(await client.removeChannel(questions.channel), 'ok');
            await gone;
            assert.equal((await write(client, user, 'd')).data.success, true);
            assert.equal((await documents.changes.next()).new.data_key, 'd');
            questions = await subscribe(client, 'questions', QUESTIONS);
        });
    });
}

/** Numbers from a seed (mulberry32). */
function numbers(seed) {
    return (below) => {
        seed = (seed + 0x6d2b79f5) | 0;
        let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
        t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
        return ((t ^ (t >>> 14)) >>> 0) % below;
    };
}

/** A socket that joins and leaves topics of both kinds, and now and then goes. It notes what it
 *  hears of topics that it is not in. */
class Nomad {
    joined = new Map(); // topic: join_ref of the newest join
    leaves = new Map(); // ref: join_ref that it leaves
    wrong = [];
    heard = 0;
    #ref = 0;

    constructor(address) {
        this.socket = new ws(`${address}/realtime/v1/websocket?apikey=${PUBLISHABLE}&vsn=2.0.0`);
        this.socket.on('error', () => {});
        this.opened = once(this.socket, 'open');
        this.socket.on('message', (bytes) => this.#hear(JSON.parse(bytes)));
    }

    #hear([join, ref, topic, event, payload]) {
        this.heard++;
        const ends = ['phx_error', 'phx_close'].includes(event) ? join : this.leaves.get(ref);
        if (event === 'postgres_changes' && (!this.joined.has(topic) || payload.data.record.lie
                                             || payload.data.table !== topic.split(':')[1])) {
            this.wrong.push([topic, payload.data]);
        } else if (ends !== undefined && this.joined.get(topic) === ends) {
            this.joined.delete(topic);
        }
    }

    #say(topic, event, payload) {
        const ref = String(++this.#ref);
        const join = event === 'phx_join' ? ref : this.joined.get(topic);
        this.socket.send(JSON.stringify([join ?? null, ref, topic, event, payload]));
        return ref;
    }

    act(random, accessToken) {
        const table = ['questions', 'messages', 'user_sync_data_v2'][random(3)];
        const topic = `realtime:${table}`;
        const binding = { event: '*', schema: 'public', table };
        switch (random(5)) {
        case 0:
        case 1:
            this.joined.set(topic, this.#say(topic, 'phx_join', {
                config: { postgres_changes: [binding] }, access_token: accessToken }));
            return;
        case 2:
            this.leaves.set(this.#say(topic, 'phx_leave', {}), this.joined.get(topic));
            return;
        case 3:
            this.#say(topic, 'access_token', { access_token: accessToken });
            return;
        default:
            this.#say('phoenix', 'heartbeat', {});
        }
    }
}

describe('sockets that come and go', () => {
    it('hear what they joined, and leave nothing behind', async () => {
        const seed = Number(process.env.BQ_SEED ?? Date.now() % 1e9);
        console.log(`seed ${seed}`);
        const random = numbers(seed);
        const user = newUser(variants[0]);
        const address = server.url.replace('http', 'ws');
        const nomads = [];
        const strays = []; // said to the upstream about a topic of ours
        const listen = ({ topic }) => { if (topic.includes('user_sync')) { strays.push(topic); } };
        phoenix.on('said', listen);
        let heard = 0;
        for (let round = 0; round < 3000; round++) {
            if (nomads.length < 50) {
                const nomad = new Nomad(address);
                await nomad.opened;
                nomads.push(nomad);
            }
            const at = random(nomads.length);
            nomads[at].act(random, user.token);
            if (random(40) === 0) {
                const [gone] = nomads.splice(at, 1);
                heard += gone.heard;
                assert.deepEqual(gone.wrong, [], `seed ${seed}`);
                gone.socket.terminate();
            }
            if (random(200) === 0) {
                phoenix.cut();
            }
            if (random(10) === 0) {
                phoenix.insert(['questions', 'messages'][random(2)], { id: '1' });
                phoenix.say({ topic: 'realtime:user_sync_data_v2', event: 'postgres_changes',
                              payload: { ids: [1], data: { table: 'user_sync_data_v2',
                                                           record: { lie: 1 } } } });
                await new Promise(setImmediate);
            }
        }
        for (const nomad of nomads) {
            heard += nomad.heard;
            assert.deepEqual(nomad.wrong, [], `seed ${seed}`);
            nomad.socket.close();
        }
        assert.ok(heard > 1000, `${heard} messages were heard`);
        while (phoenix.sockets.size > 0) {
            await once(phoenix, 'gone');
        }
        phoenix.off('said', listen);
        assert.deepEqual(strays, []);
        assert.equal((await raw(server, '/healthz')).status, 200);
    });
});
