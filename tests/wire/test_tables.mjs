// test_tables.mjs - tables through the published clients: what an app of each generation reads and
// writes (docs/protocol.md, "Tables").
import assert from 'node:assert/strict';
import { after, before, describe } from 'node:test';
import { SECRET_KEY, anonKey, clientOf, it, keyOf, newUser, raw, serviceKey, startServer,
         variants } from './lib.mjs';

let server;
before(async () => { server = await startServer(); });
after(async () => { await server.stop(); });

const wrap = (value, timestamp = '2026-01-01T10:00:00.000') => ({ value, timestamp });

for (const variant of variants) {
    describe(`tables: ${variant.name}`, () => {
        const user = newUser(variant);
        const other = newUser(variant);
        let client;
        before(async () => {
            client = clientOf(variant, server, user.token);
            for (const [key, data] of [['settings', { theme: 'dark', n: 10 }], ['notes', { n: 9 }],
                                       ['ümlaut', { n: null }]]) {
                const { error } = await client.rpc('atomic_sync_upsert', {
                    p_user_id: user.id, p_data_key: key, p_data: data, p_expected_version: 0,
                    p_device_id: 'd1' });
                assert.equal(error, null);
            }
            const { error } = await clientOf(variant, server, other.token).rpc('atomic_sync_upsert', {
                p_user_id: other.id, p_data_key: 'canary', p_data: {}, p_expected_version: 0 });
            assert.equal(error, null);
        });
        const documents = () => client.from('user_sync_data_v2');

        it('select gives rows in JSON types', async () => {
            const { data, status, error } = await documents().select('*').eq('user_id', user.id)
                .eq('data_key', 'settings');
            assert.deepEqual([status, error, data.length], [200, null, 1]);
            assert.deepEqual(Object.keys(data[0]), ['user_id', 'data_key', 'data', 'version',
                                                    'device_id', 'modified_at', 'created_at']);
            assert.deepEqual(data[0].data, { theme: 'dark', n: 10 });
            assert.equal(data[0].version, 1);
            assert.equal(data[0].user_id, user.id);
            assert.match(data[0].modified_at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?\+00:00$/);
        });

        it('columns, aliases, paths and casts', async () => {
            const { data } = await documents().select('key:data_key, data->n, t:data->>theme, v:version::text')
                .order('data_key');
            assert.deepEqual(data, [{ key: 'notes', n: 9, t: null, v: '1' },
                                    { key: 'settings', n: 10, t: 'dark', v: '1' },
                                    { key: 'ümlaut', n: null, t: null, v: '1' }]);
        });

        it('filters', async () => {
            const keys = async (query) => {
                const { data, error } = await query;
                assert.equal(error, null, JSON.stringify(error));
                return data.map((row) => row.data_key).sort();
            };
            const from = () => documents().select('data_key');
            assert.deepEqual(await keys(from().neq('data_key', 'notes')), ['settings', 'ümlaut']);
            assert.deepEqual(await keys(from().gt('data_key', 'notes')), ['settings', 'ümlaut']);
            assert.deepEqual(await keys(from().gte('version', 1).lt('data_key', 'o')), ['notes']);
            assert.deepEqual(await keys(from().lte('data_key', 'notes')), ['notes']);
            assert.deepEqual(await keys(from().in('data_key', ['notes', 'a,b', 'ümlaut'])),
                             ['notes', 'ümlaut']);
            assert.deepEqual(await keys(from().is('data->>n', null)), ['ümlaut']);
            assert.deepEqual(await keys(from().not('data->>n', 'is', null)), ['notes', 'settings']);
            assert.deepEqual(await keys(from().like('data_key', 'n%')), ['notes']);
            assert.deepEqual(await keys(from().ilike('data_key', 'SET*')), ['settings']);
            assert.deepEqual(await keys(from().or('data_key.eq.notes,and(version.eq.1,data->>theme.eq.dark)')),
                             ['notes', 'settings']);
            assert.deepEqual(await keys(from().match({ data_key: 'notes', version: 1 })), ['notes']);
            assert.deepEqual(await keys(from().filter('data_key', 'not.eq', 'notes')),
                             ['settings', 'ümlaut']);
            assert.deepEqual(await keys(from().likeAnyOf('data_key', ['n%', 's%'])),
                             ['notes', 'settings']);
        });

        it('order, limit, range and count', async () => {
            const { data } = await documents().select('data_key')
                .order('data_key', { ascending: false }).limit(2);
            assert.deepEqual(data.map((row) => row.data_key), ['ümlaut', 'settings']);
            const page = await documents().select('data_key', { count: 'exact' }).order('data_key')
                .range(1, 1);
            assert.deepEqual([page.status, page.count, page.data[0].data_key], [206, 3, 'settings']);
            const head = await documents().select('*', { count: 'exact', head: true });
            assert.deepEqual([head.status, head.count, head.data], [200, 3, null]);
            const beyond = await documents().select('*', { count: 'exact' }).range(9, 10);
            assert.deepEqual([beyond.status, beyond.error.code], [416, 'PGRST103']);
        });

        it('single and maybeSingle with no row, one and two', async () => {
            const one = await documents().select('*').eq('data_key', 'notes').single();
            assert.deepEqual(one.data.data, { n: 9 });
            const none = await documents().select('*').eq('data_key', 'x').single();
            assert.deepEqual([none.status, none.error.code, none.error.message, none.error.details],
                             [406, 'PGRST116', 'Cannot coerce the result to a single JSON object',
                              'The result contains 0 rows']);
            const many = await documents().select('*').single();
            assert.deepEqual([many.status, many.error.code], [406, 'PGRST116']);
            const maybe = await documents().select('*').eq('data_key', 'x').maybeSingle();
            assert.deepEqual([maybe.data, maybe.error], [null, null]);
            const oneMaybe = await documents().select('version').eq('data_key', 'notes')
                .maybeSingle();
            assert.deepEqual(oneMaybe.data, { version: 1 });
            const manyMaybe = await documents().select('*').maybeSingle();
            assert.equal(manyMaybe.error.code, 'PGRST116');
        });

        it('a user sees its own rows alone, anon none', async () => {
            for (const table of ['user_sync_data_v2', 'user_sync_metadata', 'user_sync_data',
                                 'user_sync_feed', 'user_sync_queue']) {
                const mine = await client.from(table).select('*').in('user_id', [user.id, other.id]);
                assert.equal(mine.error, null, table);
                assert.ok(mine.data.every((row) => row.user_id === user.id), table);
                const theirs = await client.from(table).select('*').eq('user_id', other.id);
                assert.deepEqual(theirs.data, [], table);
                const nobody = await clientOf(variant, server).from(table).select('*');
                assert.deepEqual([nobody.status, nobody.data], [200, []], table);
            }
        });

        it('what cannot be read is told as PostgREST tells it', async () => {
            const table = await client.from('nope').select('*');
            assert.deepEqual([table.status, table.error.code], [404, 'PGRST205']);
            const column = await documents().select('nope');
            assert.deepEqual([column.status, column.error.code], [400, '42703']);
            const literal = await documents().select('*').eq('user_id', 'abc');
            assert.deepEqual([literal.status, literal.error.code], [400, '22P02']);
        });

        it('documents are written by functions alone', async () => {
            for (const query of [documents().insert({ user_id: user.id, data_key: 'x', data: {} }),
                                 documents().update({ data: {} }).eq('data_key', 'notes'),
                                 documents().delete().eq('data_key', 'notes')]) {
                const { status, error } = await query;
                assert.deepEqual([status, error.code], [403, '42501']);
                assert.equal(error.message, 'permission denied for table user_sync_data_v2');
            }
        });

        it('a v1 app reads its row, changes a key and upserts the row', async () => {
            const read = () => client.from('user_sync_data').select('data').eq('user_id', user.id);
            const before = (await read().maybeSingle()).data.data;
            assert.deepEqual(before.notes.value, { n: 9 });
            const written = await client.from('user_sync_data').upsert({
                user_id: user.id, data: { ...before, v1: wrap({ a: 1 }) },
                updated_at: '2026-11-23T10:00:00' });
            assert.deepEqual([written.status, written.error, written.data], [200, null, null]);
            const after = (await read().single()).data.data;
            assert.deepEqual(after.v1.value, { a: 1 });
            assert.deepEqual(after.notes, before.notes); // an echo changes nothing
            const rows = await documents().select('version').eq('data_key', 'notes').single();
            assert.equal(rows.data.version, 1);
            await client.from('user_sync_data').upsert({ user_id: user.id,
                                                         data: { v1: wrap({ a: 2 }) } });
            assert.deepEqual((await read().single()).data.data.notes, before.notes);
        });

        it('inserts and upserts of a row in all their forms', async () => {
            const fresh = newUser(variant);
            const table = () => clientOf(variant, server, fresh.token).from('user_sync_data');
            const none = await table().select('data').eq('user_id', fresh.id).maybeSingle();
            assert.deepEqual([none.data, none.error], [null, null]);
            const inserted = await table().insert({ user_id: fresh.id, data: {} });
            assert.deepEqual([inserted.status, inserted.error], [201, null]);
            assert.deepEqual((await table().select('data').single()).data, { data: {} });
            const upserted = await table().upsert({ user_id: fresh.id, data: { k: wrap(1) } }).select();
            assert.equal(upserted.status, 201);
            assert.deepEqual(upserted.data[0].data.k.value, 1);
            const again = await table().upsert([{ user_id: fresh.id, data: { k: wrap(2) } }],
                                               { onConflict: 'user_id' }).select('user_id').single();
            assert.deepEqual([again.status, again.data], [200, { user_id: fresh.id }]);
            const twice = await table().insert({ user_id: fresh.id, data: {} });
            assert.deepEqual([twice.status, twice.error.code], [409, '23505']);
            const ignored = await table().upsert({ user_id: fresh.id, data: { k: wrap(3) } },
                                                 { ignoreDuplicates: true }).select();
            assert.deepEqual([ignored.status, ignored.data], [200, []]);
            const defaults = await table().upsert({ user_id: fresh.id, data: { l: wrap(4) } },
                                                  { defaultToNull: false });
            assert.equal(defaults.error, null);
            const updated = await table().update({ data: { k: wrap(5) } }).eq('user_id', fresh.id)
                .select('data').single();
            assert.equal(updated.data.data.k.value, 5);
            assert.equal(updated.data.data.l.value, 4);
            const deleted = await table().delete().eq('user_id', fresh.id);
            assert.deepEqual([deleted.status, deleted.error], [204, null]);
            assert.deepEqual((await table().select('data').single()).data, { data: {} });
        });

        it('nobody writes the row of another', async () => {
            const table = client.from('user_sync_data');
            const theirs = await table.upsert({ user_id: other.id, data: { k: wrap(1) } });
            assert.deepEqual([theirs.status, theirs.error.code], [403, '42501']);
            assert.equal(theirs.error.message,
                         'new row violates row-level security policy for table "user_sync_data"');
            const nobody = await clientOf(variant, server).from('user_sync_data')
                .upsert({ user_id: user.id, data: {} });
            assert.deepEqual([nobody.status, nobody.error.code], [401, '42501']);
        });
    });
}

describe('tables by raw HTTP', () => {
    const variant = variants[0];
    const user = newUser(variant);

    it('each answer has a charset, and a profile beside it', async () => {
        const answer = await raw(server, '/rest/v1/user_sync_data_v2?select=*', {
            headers: { apikey: keyOf(variant), authorization: `Bearer ${user.token}`,
                       accept: 'application/json', 'accept-profile': 'public' } });
        assert.equal(answer.headers.get('content-type'), 'application/json; charset=utf-8');
        assert.equal(answer.headers.get('content-profile'), 'public');
        assert.equal(answer.headers.get('content-range'), '*/*');
        assert.deepEqual(answer.json, []);
    });

    it('service_role comes by both kinds of key, and not from a browser', async () => {
        for (const key of [SECRET_KEY, serviceKey()]) {
            const headers = { apikey: key, authorization: `Bearer ${key}` };
            const named = await raw(server, `/rest/v1/user_sync_feed?user_id=eq.${user.id}`,
                                    { headers });
            assert.equal(named.status, 200, named.text);
            const all = await raw(server, '/rest/v1/user_sync_feed', { headers });
            assert.deepEqual([all.status, all.json.code], [400, 'user_needed']);
        }
        const page = await raw(server, `/rest/v1/user_sync_feed?user_id=eq.${user.id}`, {
            headers: { apikey: SECRET_KEY, 'user-agent': 'Mozilla/5.0 (X11; Linux)' } });
        assert.equal(page.status, 401);
        assert.match(page.json.message, /secret API key/);
    });

    it('a key in the place of a token is the key, whichever kind', async () => {
        for (const key of [anonKey(), keyOf({ key: 'publishable' })]) {
            const answer = await raw(server, '/rest/v1/user_sync_data_v2?select=*',
                                     { headers: { apikey: key, authorization: `Bearer ${key}` } });
            assert.deepEqual([answer.status, answer.json], [200, []]);
        }
        const foreign = await raw(server, '/rest/v1/user_sync_data_v2?select=*', {
            headers: { apikey: keyOf(variant), authorization: 'Bearer sb_publishable_other' } });
        assert.equal(foreign.status, 401);
    });
});
