// test_rpc.mjs - the functions through the published clients, and their refusals (docs/protocol.md,
// sections 9 and 10).
import assert from 'node:assert/strict';
import { after, before, describe } from 'node:test';
import { PUBLISHABLE, clientOf, it, keyOf, newUser, raw, serviceKey, startServer, token, variants }
    from './lib.mjs';

let server;
before(async () => { server = await startServer(); });
after(async () => { await server.stop(); });

const upsert = (user, key, data, expected = 0) => ({
    p_user_id: user.id, p_data_key: key, p_data: data, p_expected_version: expected,
    p_device_id: 'd1',
});

for (const variant of variants) {
    describe(`rpc: ${variant.name}`, () => {
        const user = newUser(variant);
        const other = newUser(variant);
        const call = (name, args, accessToken = user.token, options = undefined) =>
            clientOf(variant, server, accessToken).rpc(name, args, options);

        it('writes, reads, merges and deletes', async () => {
            const first = await call('atomic_sync_upsert', upsert(user, 'settings', { theme: 'ü' }));
            assert.deepEqual(first.data, { success: true, version: 1, conflict: false,
                                           data: { theme: 'ü' }, action: 'inserted' });
            assert.equal(first.status, 200);
            const merged = await call('atomic_sync_upsert', upsert(user, 'settings', { size: 2 }));
            assert.equal(merged.data.action, 'merged');
            assert.equal(merged.data.conflict, true);
            const rows = await call('get_user_sync_data', { p_user_id: user.id });
            assert.equal(rows.data.length, 1);
            assert.deepEqual(Object.keys(rows.data[0]).sort(),
                             ['data', 'data_key', 'device_id', 'modified_at', 'version']);
            assert.match(rows.data[0].modified_at, /^20.*\+00:00$/);
            const deleted = await call('delete_user_sync_data', { p_user_id: user.id });
            assert.deepEqual([deleted.status, deleted.data, deleted.error], [204, null, null]);
            assert.deepEqual((await call('get_user_sync_data', { p_user_id: user.id })).data, []);
        });

        it('void functions are 204, and a second report of a device works', async () => {
            const args = { p_user_id: user.id, p_device_id: 'd1', p_version: 1,
                           p_device_info: { os: 'test' } };
            for (let i = 0; i < 2; i++) {
                const answer = await call('update_sync_metadata', args);
                assert.deepEqual([answer.status, answer.data, answer.error], [204, null, null]);
            }
            const status = await call('get_user_sync_status', { p_user_id: user.id });
            assert.equal(status.data.length, 1);
            assert.equal(status.data[0].last_sync_version, 1);
            assert.deepEqual(status.data[0].device_info, { os: 'test' });
        });

        it('a read works by GET and HEAD, and one row can be asked for', async () => {
            await call('atomic_sync_upsert', upsert(user, 'notes', [1]));
            const by_get = await call('get_user_sync_data', { p_user_id: user.id }, user.token,
                                      { get: true });
            assert.equal(by_get.data.length, 1);
            const by_head = await call('get_user_sync_data', { p_user_id: user.id }, user.token,
                                       { head: true });
            assert.equal(by_head.status, 200);
            const one = await call('get_user_sync_data', { p_user_id: user.id }).single();
            assert.equal(one.data.data_key, 'notes');
        });

        it('what is not there is PGRST202', async () => {
            const missing = await call('no_such_function', { a: 1 });
            assert.deepEqual([missing.status, missing.error.code], [404, 'PGRST202']);
            assert.match(missing.error.message, /^Could not find the function public\.no_such_func/);
            const surplus = await call('get_user_sync_data', { p_user_id: user.id, x: 1 });
            assert.deepEqual([surplus.status, surplus.error.code], [404, 'PGRST202']);
            const less = await call('get_user_sync_data', {});
            assert.deepEqual([less.status, less.error.code], [404, 'PGRST202']);
        });

        it('values of the wrong type are refused as PostgreSQL does', async () => {
            const uuid = await call('get_user_sync_data', { p_user_id: 'abc' });
            assert.deepEqual([uuid.status, uuid.error.code, uuid.error.message],
                             [400, '22P02', 'invalid input syntax for type uuid: "abc"']);
            const int = await call('atomic_sync_upsert', upsert(user, 'k', {}, 1.5));
            assert.deepEqual([int.status, int.error.code], [400, '22P02']);
        });

        it('identity comes from the token alone', async () => {
            for (const [name, args] of [['get_user_sync_data', { p_user_id: other.id }],
                                        ['atomic_sync_upsert', upsert(other, 'k', {})],
                                        ['delete_user_sync_data', { p_user_id: other.id }]]) {
                const answer = await call(name, args);
                assert.deepEqual([answer.status, answer.error.code], [403, '42501'], name);
            }
            const nobody = await clientOf(variant, server).rpc('get_user_sync_data',
                                                               { p_user_id: user.id });
            assert.deepEqual([nobody.status, nobody.error.code], [401, '42501']);
        });

        it('expired and forged tokens are refused in words that apps look for', async () => {
            const expired = token({ alg: variant.alg, sub: user.id,
                                    exp: Math.floor(Date.now() / 1000) - 60 });
            const late = await call('get_user_sync_data', { p_user_id: user.id }, expired);
            assert.deepEqual([late.status, late.error.code, late.error.message],
                             [401, 'PGRST303', 'JWT expired']);
            const forged = token({ sub: user.id, key: 'another secret of at least thirty-two bytes' });
            const bad = await call('get_user_sync_data', { p_user_id: user.id }, forged);
            assert.deepEqual([bad.status, bad.error.code], [401, 'PGRST301']);
            const none = token({ sub: user.id });
            const parts = none.split('.');
            const unsigned = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${parts[1]}.`;
            const alg = await call('get_user_sync_data', { p_user_id: user.id }, unsigned);
            assert.equal(alg.status, 401);
        });
    });
}

describe('rpc by raw HTTP', () => {
    const variant = variants[0];
    const user = newUser(variant);
    const headers = () => ({ apikey: keyOf(variant), authorization: `Bearer ${user.token}`,
                             'content-type': 'application/json', 'content-profile': 'public' });

    // What Dart's client casts: code, message String; hint String or null; all four there.
    const isError = (answer, status, code) => {
        assert.equal(answer.status, status, answer.text);
        assert.equal(answer.headers.get('content-type'), 'application/json; charset=utf-8');
        assert.deepEqual(Object.keys(answer.json), ['code', 'details', 'hint', 'message']);
        assert.equal(answer.json.code, code);
        assert.equal(typeof answer.json.message, 'string');
        assert.ok(answer.json.hint === null || typeof answer.json.hint === 'string');
    };

    it('a malformed body is PGRST102', async () => {
        isError(await raw(server, '/rest/v1/rpc/get_user_sync_data',
                          { method: 'POST', headers: headers(), body: '{' }), 400, 'PGRST102');
    });

    it('a body over the limit is 413, with an answer that arrives', async () => {
        const body = JSON.stringify({ ...upsert(user, 'k', 'x'.repeat(5 << 20)) });
        isError(await raw(server, '/rest/v1/rpc/atomic_sync_upsert',
                          { method: 'POST', headers: headers(), body }), 413, 'too_large');
    });

    it('keys are demanded, in the words of the gateway', async () => {
        const none = await raw(server, '/rest/v1/rpc/sync_policies', { method: 'POST', body: '{}' });
        assert.equal(none.status, 401);
        assert.equal(none.json.message, 'No API key found in request');
        const wrong = await raw(server, '/rest/v1/rpc/sync_policies',
                                { method: 'POST', body: '{}', headers: { apikey: 'sb_publishable_x' } });
        assert.equal(wrong.status, 401);
        assert.equal(wrong.json.message, 'Invalid API key');
        const inQuery = await raw(server,
                                  `/rest/v1/rpc/get_user_sync_data?p_user_id=${user.id}&apikey=${PUBLISHABLE}`,
                                  { headers: { authorization: `Bearer ${user.token}` } });
        assert.equal(inQuery.status, 200, inQuery.text);
        assert.deepEqual(inQuery.json, []);
    });

    it('an answer says how many rows it has, as PostgREST does', async () => {
        const range = async (name, args) => (await raw(server, `/rest/v1/rpc/${name}`, {
            method: 'POST', headers: headers(), body: JSON.stringify(args) }))
            .headers.get('content-range');
        const me = { p_user_id: user.id };
        assert.equal(await range('get_user_sync_data', me), '*/*');
        assert.equal(await range('atomic_sync_upsert', upsert(user, 'a', 1)), '0-0/*');
        assert.equal(await range('atomic_sync_upsert', upsert(user, 'b', 1)), '0-0/*');
        assert.equal(await range('get_user_sync_data', me), '0-1/*');
        assert.equal(await range('delete_user_sync_data', me), '0-0/*');
    });

    it('a policy that is none is refused with the whole sentence', async () => {
        const set = async (pattern) => raw(server, '/rest/v1/rpc/sync_policy_set', {
            method: 'POST', body: JSON.stringify({ p_pattern: pattern, p_policy: 'nonsense' }),
            headers: { ...headers(), apikey: serviceKey(),
                       authorization: `Bearer ${serviceKey()}` } });
        const refused = await set('a');
        isError(refused, 400, 'bad_policy');
        assert.match(refused.json.message, /any or all, or an object with each or fields$/);
        isError(await set(null), 400, '22023');
    });

    it('a preflight needs no key, and errors have CORS', async () => {
        const preflight = await raw(server, '/rest/v1/rpc/sync_exchange', {
            method: 'OPTIONS',
            headers: { origin: 'https://app.example', 'access-control-request-method': 'POST',
                       'access-control-request-headers': 'apikey,authorization,x-retry-count,zzz' },
        });
        assert.ok([200, 204].includes(preflight.status));
        assert.match(preflight.headers.get('access-control-allow-headers'), /zzz/);
        const refused = await raw(server, '/rest/v1/rpc/sync_exchange',
                                  { method: 'POST', body: '{}',
                                    headers: { origin: 'https://app.example' } });
        assert.equal(refused.status, 401);
        assert.equal(refused.headers.get('access-control-allow-origin'), '*');
    });
});
