// test_url.mjs - the rest of the app's URL: tables that are empty here, what an upstream answers, and
// what neither does (docs/protocol.md, "The rest of the URL"; docs/security.md, H8).
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { after, before, describe, it } from 'node:test';
import { clientOf, newUser, PUBLISHABLE, raw, startServer, variants } from './lib.mjs';
import { certificate, startUpstream } from './upstream.mjs';

const LIMIT = { timeout: 30000 };
const KEY = { apikey: PUBLISHABLE };

/** What the app asks to find out whether it is online. */
const probe = (client) => client.from('questions').select('id').limit(1);

const clients = (server) =>
    variants.map((variant) => clientOf(variant, server, newUser(variant).token));

/** A request with headers and paths that fetch() would not send. */
function send(server, path, { method = 'GET', headers = {}, body } = {}) {
    return new Promise((resolve, reject) => {
        const request = http.request({ port: server.port, path, method, headers: { ...KEY, ...headers },
                                       agent: false });
        request.on('error', reject);
        request.on('response', (response) => {
            const parts = [];
            response.on('data', (part) => parts.push(part));
            response.on('error', reject);
            response.on('end', () => {
                const text = Buffer.concat(parts).toString();
                let json;
                try { json = JSON.parse(text); } catch { json = undefined; }
                resolve({ status: response.statusCode, headers: response.headers, text, json });
            });
        });
        request.end(body);
    });
}

describe('neither stub nor upstream', () => {
    let server;
    before(async () => { server = await startServer(); });
    after(async () => { await server.stop(); });

    it('what is not ours is 404 in the form of PostgREST', LIMIT, async () => {
        for (const client of clients(server)) {
            const { error, status } = await probe(client);
            assert.deepEqual([status, error.code, error.message],
                             [404, 'PGRST205', "Could not find the table 'public.questions' in the "
                                               + 'schema cache']);
            assert.equal((await client.rpc('nope', {})).error.code, 'PGRST202');
        }
        const other = await raw(server, '/storage/v1/bucket', { headers: KEY });
        assert.deepEqual([other.status, other.json.code], [404, 'PGRST125']);
    });
});

describe('stub tables', () => {
    let server;
    before(async () => { server = await startServer('--stub-table', 'questions,coupons'); });
    after(async () => { await server.stop(); });

    it('the probe of the app finds itself online', LIMIT, async () => {
        for (const client of clients(server)) {
            const { data, error } = await probe(client);
            assert.deepEqual([data, error], [[], null]);
            assert.deepEqual((await client.from('coupons').select('*').maybeSingle()).data, null);
            assert.equal((await client.from('coupons').select('*').single()).error.code,
                         'PGRST116');
            const counted = await client.from('coupons').select('*', { count: 'exact',
                                                                       head: true });
            assert.deepEqual([counted.count, counted.error], [0, null]);
        }
    });

    it('GET and HEAD alone, those names alone, and a key', LIMIT, async () => {
        for (const method of ['POST', 'PATCH', 'PUT', 'DELETE']) {
            const answer = await raw(server, '/rest/v1/questions', { method, headers: KEY });
            assert.deepEqual([method, answer.status, answer.json.code], [method, 405, 'PGRST117']);
        }
        for (const path of ['/rest/v1/question', '/rest/v1/questions2', '/rest/v1/']) {
            assert.equal((await raw(server, path, { headers: KEY })).status, 404);
        }
        assert.equal((await raw(server, '/rest/v1/questions')).status, 401);
    });
});

describe('an upstream', () => {
    let upstream;
    let server;
    before(async () => {
        upstream = await startUpstream((request, response) => {
            if (request.url.startsWith('/rest/v1/questions')) {
                response.writeHead(200, { 'Content-Type': 'application/json',
                                          'Content-Range': '0-0/*', 'X-Theirs': '1',
                                          'Connection': 'X-Hop', 'X-Hop': '1',
                                          'Access-Control-Allow-Origin': 'https://theirs.example',
                                          'Set-Cookie': 'a=b' });
                response.end('[{"id":7}]');
                return true;
            }
            return false;
        });
        server = await startServer('--upstream', upstream.url, '--stub-table', 'coupons');
    });
    after(async () => { await server.stop(); await upstream.stop(); });

    it('the probe of the app finds itself online', LIMIT, async () => {
        for (const client of clients(server)) {
            const { data, error } = await probe(client);
            assert.deepEqual([data, error], [[{ id: 7 }], null]);
            assert.deepEqual((await client.from('coupons').select('*')).data, []);
        }
    });

    it('what is ours stays here', LIMIT, async () => {
        const client = clientOf(variants[0], server, newUser(variants[0]).token);
        const n = upstream.seen.length;
        assert.deepEqual((await client.from('user_sync_data_v2').select('*')).data, []);
        assert.equal((await client.rpc('sync_policies')).error, null);
        assert.equal((await client.rpc('atomic_sync_upsert', {})).error.code, 'PGRST202');
        assert.equal((await raw(server, '/healthz')).status, 200);
        assert.equal((await raw(server, '/realtime/v1/websocket')).status, 400);
        assert.equal(upstream.seen.length, n);
    });

    it('everything else goes there: method, query, body, headers', LIMIT, async () => {
        const client = clientOf(variants[0], server, newUser(variants[0]).token);
        const { data } = await client.from('messages').insert({ text: 'hé' }).select();
        assert.deepEqual([data.method, data.url, data.body],
                         ['POST', '/rest/v1/messages?select=*', '{"text":"hé"}']);
        assert.match(data.headers.authorization, /^Bearer /);
        for (const [method, path] of [['PATCH', '/rest/v1/a?x=eq.%2F1&y=%22'], ['PUT', '/storage/v1/o'],
                                      ['DELETE', '/functions/v1/f/g'], ['POST', '/auth/v1/token'],
                                      ['POST', '/rest/v1/rpc/theirs'], ['GET', '/storage/v1/%C3%A9%20x']]) {
            const { json } = await send(server, path, { method });
            assert.deepEqual([json.method, json.url], [method, path]);
        }
        const head = await send(server, '/rest/v1/questions?select=id', { method: 'HEAD' });
        assert.deepEqual([head.status, head.text, head.headers['content-range']],
                         [200, '', '0-0/*']);
    });

    it('headers of a connection end there, and nobody speaks for the client', LIMIT, async () => {
        const { json } = await send(server, '/functions/v1/f', { headers: {
            'Connection': 'keep-alive, X-Private, X-Forwarded-For, Via', 'X-Private': '1', 'Keep-Alive': '5', 'TE': 'trailers',
            'Proxy-Authorization': 'x', 'X-Forwarded-For': '6.6.6.6', 'X-Forwarded-Host': 'evil',
            'Forwarded': 'for=6.6.6.6', 'X-Original-URL': '/rest/v1/user_sync_data_v2',
            'X-HTTP-Method-Override': 'DELETE', 'X-Kept': 'yes' } });
        for (const name of ['x-private', 'keep-alive', 'te', 'proxy-authorization',
                            'x-forwarded-host', 'forwarded', 'x-original-url',
                            'x-http-method-override']) {
            assert.equal(json.headers[name], undefined, name);
        }
        assert.equal(json.headers['x-kept'], 'yes');
        assert.equal(json.headers['x-forwarded-for'], '127.0.0.1');
        assert.equal(json.headers.via, '1.1 bqsync');
        assert.equal(json.headers.host, `localhost:${upstream.port}`);
        const back = await send(server, '/rest/v1/questions', { headers: { Origin: 'https://a.b' } });
        assert.deepEqual([back.headers['x-theirs'], back.headers['x-hop'],
                          back.headers['access-control-allow-origin']], ['1', undefined, '*']);
    });

    it('a preflight is answered here', LIMIT, async () => {
        const n = upstream.seen.length;
        const answer = await send(server, '/storage/v1/o', { method: 'OPTIONS', headers: {
            'Origin': 'https://a.b', 'Access-Control-Request-Method': 'PUT',
            'Access-Control-Request-Headers': 'x-upsert' } });
        assert.equal(answer.status, 204);
        assert.match(answer.headers['access-control-allow-headers'], /x-upsert/);
        assert.equal(upstream.seen.length, n);
    });

    it('H8: there is no way around our tables', LIMIT, async () => {
        const n = upstream.seen.length;
        const ways = [
            '/rest/v1/user_sync_data_v2', '/rest/v1/user%5Fsync_data_v2', '/rest/v1/%75ser_sync_data',
            '/rest/v1/user_sync_data_v2/', '/rest/v1//user_sync_data_v2', '//rest/v1/user_sync_data_v2',
            '/rest//v1/user_sync_data_v2', '/rest/v1/./user_sync_data_v2',
            '/rest/v1/x/../user_sync_data_v2', '/rest/v1/x/%2e%2e/user_sync_data_v2',
            '/storage/..%2frest/v1/user_sync_data_v2', '/storage/v1/../../rest/v1/user_sync_data_v2',
            '/x%5c..%5crest', '/rest/v1/user_sync_policy', '/rest/v1/user_devices',
            '/rest/v1/USER_SYNC_DATA_V2', '/rest/v1/user_sync_data_v2%00', '/rest/v1/"user_sync_data_v2"',
            '/rest/v1/a/b', '/rest/v1/rpc/', '/rest/v1/rpc/a/b', '/rest/v1/rpc/graphql',
            '/graphql/v1', '/graphql', '/pg/query',
            '/rest/v1/questions?select=*,user_sync_data_v2(*)',
            '/rest/v1/questions?select=*,x:user_sync_data_v2!fk(*)',
            '/rest/v1/questions?select=*,...user_sync_data(*)',
            '/rest/v1/questions?select=*,%22user_sync_data_v2%22(*)',
            '/rest/v1/questions?select=*,%22user%5C_sync_data_v2%22(*)',
            '/rest/v1/questions?select=*,%75ser_sync_data_v2(*)',
            '/rest/v1/questions?%73elect=*,user_sync_data_v2(*)',
            '/rest/v1/questions?select=id&select=user_sync_data_v2(*)',
            '/rest/v1/questions?select=a(b(user_sync_queue(*)))',
            '/rest/v1/rpc/theirs?select=user_sync_data_v2(*)',
            '/rest/v1/questions?user_sync_data_v2.data_key=eq.a',
            '/rest/v1/questions?order=user_sync_data_v2(version)',
        ];
        for (const way of ways) {
            for (const method of ['GET', 'POST']) {
                const answer = await send(server, way, { method });
                assert.ok(answer.status >= 400 || answer.text === '[]', `${method} ${way}`);
            }
        }
        assert.equal(upstream.seen.length, n);
        // The check can fail: what only looks like it goes on.
        for (const way of ['/rest/v1/user_sync', '/rest/v1/questions?title=eq.user_sync_data_v2']) {
            assert.equal((await send(server, way)).status, 200);
        }
        assert.equal(upstream.seen.length, n + 2);
    });
});

describe('bodies through an upstream', () => {
    const big = randomBytes(20 << 20);
    const sum = (bytes) => createHash('sha256').update(bytes).digest('hex');
    let upstream;
    let server;
    let onRequest;
    before(async () => {
        upstream = await startUpstream((...both) => onRequest(...both));
        server = await startServer('--upstream', upstream.url, '--upstream-body-bytes', '64M',
                                   '--body-timeout', '3s');
    });
    after(async () => { await server.stop(); await upstream.stop(); });

    it('20 MiB up and down are the same bytes', LIMIT, async () => {
        onRequest = (request, response) => {
            const parts = [];
            request.on('data', (part) => parts.push(part));
            request.on('end', () => response.writeHead(200).end(Buffer.concat(parts)));
            return true;
        };
        const answer = await fetch(`${server.url}/storage/v1/object/a`, { method: 'POST', body: big });
        const bytes = Buffer.from(await answer.arrayBuffer());
        assert.equal(bytes.length, big.length);
        assert.equal(sum(bytes), sum(big));
    });

    it('each piece goes on before the next one comes', LIMIT, async () => {
        let arrived;
        const first = new Promise((resolve) => { arrived = resolve; });
        onRequest = (request, response) => {
            request.once('data', (piece) => arrived(piece.toString()));
            request.on('data', () => {});
            request.on('end', () => {
                response.write('one');
                response.more = () => response.end('two');
                onRequest.response = response;
            });
            return true;
        };
        const request = http.request({ port: server.port, path: '/functions/v1/f', method: 'POST',
                                       headers: { 'Content-Length': 6 }, agent: false });
        request.write('abc');
        assert.equal(await first, 'abc');
        request.end('def');
        const response = await new Promise((resolve) => request.on('response', resolve));
        const pieces = [];
        await new Promise((resolve) => {
            response.on('data', (piece) => {
                pieces.push(piece.toString());
                if (pieces.length === 1) {
                    onRequest.response.more();
                }
            });
            response.on('end', resolve);
        });
        assert.deepEqual(pieces, ['one', 'two']);
    });

    it('who does not read holds the writer up, not our memory', LIMIT, async () => {
        const memory = () => Number(readStatus(server.pid));
        const total = 60 << 20;
        let paused;
        onRequest = (request) => { request.pause(); paused = request; return true; };
        const before_ = memory();
        const request = http.request({ port: server.port, path: '/storage/v1/o', method: 'POST',
                                       headers: { 'Content-Length': total }, agent: false });
        request.on('error', () => {});
        const piece = Buffer.alloc(1 << 20);
        let written = 0;
        const stuck = () => new Promise((resolve) => {
            const timer = setTimeout(() => resolve(true), 500); // nothing moved for so long
            request.once('drain', () => { clearTimeout(timer); resolve(false); });
        });
        for (;;) {
            written += piece.length;
            if (!request.write(piece) && await stuck()) {
                break;
            }
            assert.ok(written < total, 'nobody held it up');
        }
        assert.ok(memory() - before_ < 8 << 10, `${memory() - before_} KiB more`);
        request.destroy();
        paused.destroy();
    });

    it('what is too long is refused, and a chunked body', LIMIT, async () => {
        onRequest = () => false;
        const n = upstream.seen.length;
        const long = await send(server, '/storage/v1/o', { method: 'POST', headers: {
            'Content-Length': String(65 << 20), 'Expect': '100-continue' } });
        assert.equal(long.status, 413);
        const chunked = await send(server, '/storage/v1/o', { method: 'POST', body: 'x', headers: {
            'Transfer-Encoding': 'chunked' } });
        assert.equal(chunked.status, 411);
        assert.equal(upstream.seen.length, n);
    });

    it('an answer that breaks off breaks off', LIMIT, async () => {
        onRequest = (request, response) => {
            response.writeHead(200, { 'Content-Length': 100 });
            response.write('half');
            setImmediate(() => response.destroy());
            return true;
        };
        await assert.rejects(send(server, '/functions/v1/f'));
        onRequest = () => false;
        assert.equal((await send(server, '/functions/v1/f')).status, 200);
    });
});

describe('an upstream that fails', () => {
    it('away: 502; silent: 504; itself: 508', LIMIT, async () => {
        const upstream = await startUpstream(() => true); // never answers
        const server = await startServer('--upstream', upstream.url, '--upstream-timeout', '1s');
        const silent = await send(server, '/rest/v1/questions');
        assert.deepEqual([silent.status, silent.json.code], [504, 'upstream']);
        await upstream.stop();
        const away = await send(server, '/auth/v1/token?grant_type=refresh_token',
                                { method: 'POST', body: '{}' });
        assert.deepEqual([away.status, away.json.code], [502, 'upstream']);
        const looped = await send(server, '/rest/v1/questions', { headers: { Via: '1.1 bqsync' } });
        assert.equal(looped.status, 508);
        await server.stop();
    });

    it('too many at a time: 503; ours go on; the end of the server ends them', LIMIT, async () => {
        const upstream = await startUpstream(() => true);
        const server = await startServer('--upstream', upstream.url, '--upstream-calls', '2',
                                         '--drain-timeout', '100ms');
        const waiting = [send(server, '/a'), send(server, '/b')].map((x) => x.catch(() => 'cut'));
        while (upstream.seen.length < 2) {
            await new Promise((resolve) => upstream.server.once('request', resolve));
        }
        const busy = await send(server, '/c');
        assert.deepEqual([busy.status, busy.headers['retry-after']], [503, '1']);
        assert.equal((await raw(server, '/healthz')).status, 200);
        await assert.rejects(server.stop()); // it says that requests were cut off
        assert.deepEqual(await Promise.all(waiting), ['cut', 'cut']);
        await upstream.stop();
    });

    it('TLS is verified', LIMIT, async () => {
        const good = certificate('localhost');
        const other = certificate('other.example');
        for (const [tls, ca, status] of [[good.tls, good.file, 200], [good.tls, undefined, 502],
                                         [other.tls, other.file, 502]]) {
            const upstream = await startUpstream(undefined, tls);
            const server = await startServer('--upstream', upstream.url, ...(
                ca === undefined ? [] : ['--upstream-ca-file', ca]));
            const answer = await send(server, '/rest/v1/questions');
            assert.equal(answer.status, status);
            assert.equal(upstream.seen.length, status === 200 ? 1 : 0);
            await server.stop();
            await upstream.stop();
        }
        good.release();
        other.release();
    });

    it('a URL with a path, a name or another scheme is refused at the start', LIMIT, async () => {
        for (const url of ['ftp://a.b', 'https://', 'https://u:p@a.b', 'https://a.b/c',
                           'https://a.b?c', 'a.b']) {
            await assert.rejects(startServer('--upstream', url));
        }
    });
});

describe('sign-in at the upstream or here', () => {
    it('accounts decide', LIMIT, async () => {
        const upstream = await startUpstream();
        const there = await startServer('--upstream', upstream.url);
        const here = await startServer('--upstream', upstream.url, '--accounts', 'on');
        const path = '/auth/v1/settings';
        assert.equal((await send(there, path)).json.url, path);
        assert.equal((await send(here, path)).json.external.email, true);
        assert.equal((await send(there, '/auth/v1/authorize?provider=x')).json.method, 'GET');
        assert.equal((await send(here, '/auth/v1/authorize?provider=x')).status, 404);
        assert.equal((await send(here, '/auth/v1/factors/a/verify')).status, 404);
        await there.stop();
        await here.stop();
        await upstream.stop();
    });
});

/** Resident memory of a process in KiB. */
function readStatus(pid) {
    return /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1];
}
