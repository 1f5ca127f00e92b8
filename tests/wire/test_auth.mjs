// test_auth.mjs - accounts through the published clients: sign-up, sign-in, sessions, users
// (docs/protocol.md, "Accounts"), with tokens of both algorithms.
import assert from 'node:assert/strict';
import { createHmac, createPublicKey, randomUUID, verify } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { anonKey, clientOf, PUBLISHABLE, raw, SECRET, SECRET_KEY, startServer,
         token } from './lib.mjs';

const LIMIT = { timeout: 30000 };
const API = { 'X-Supabase-Api-Version': '2024-01-01' };
const PASSWORD = 'correct horse';
const email = () => `${randomUUID()}@example.com`;

const part = (jwt, i) => JSON.parse(Buffer.from(jwt.split('.')[i], 'base64url').toString());

/** A call by hand: POST with a JSON body, the publishable key, and headers. */
function post(server, path, body, headers = {}) {
    return raw(server, `/auth/v1/${path}`, {
        method: 'POST', body: JSON.stringify(body),
        headers: { apikey: PUBLISHABLE, 'Content-Type': 'application/json', ...API, ...headers },
    });
}

for (const algorithm of ['ES256', 'HS256']) {
    let server;
    describe(`accounts: ${algorithm}`, () => {
        before(async () => {
            server = await startServer('--accounts', 'on', '--accounts-anonymous',
                                       '--accounts-algorithm', algorithm,
                                       '--public-url', 'https://sync.example.org/');
        });
        after(async () => { await server.stop(); });

        for (const [client, key] of [['new', 'publishable'], ['old', 'anon']]) {
            const make = () => clientOf({ client }, server, undefined,
                                        key === 'anon' ? anonKey() : PUBLISHABLE);

            it(`${client}, ${key}: signs up, reads its user, syncs`, LIMIT, async () => {
                const supabase = make();
                const address = email().toUpperCase();
                const { data, error } = await supabase.auth.signUp({
                    email: address, password: PASSWORD, options: { data: { name: 'Ümit' } } });
                assert.equal(error, null);
                const { session, user } = data;
                assert.equal(session.token_type, 'bearer');
                assert.equal(typeof session.refresh_token, 'string');
                assert.equal(session.expires_in, 3600);
                assert.ok(Math.abs(session.expires_at - Date.now() / 1000 - 3600) < 60);
                assert.equal(user.email, address.toLowerCase());
                assert.equal(user.is_anonymous, false);
                assert.deepEqual(user.user_metadata, { name: 'Ümit' });
                assert.deepEqual(user.app_metadata, { provider: 'email', providers: ['email'] });
                assert.equal(user.identities[0].identity_data.sub, user.id);
                assert.match(user.created_at, /Z$/);
                const claims = part(session.access_token, 1);
                assert.equal(part(session.access_token, 0).alg, algorithm);
                assert.deepEqual([claims.sub, claims.aud, claims.role, claims.iss, claims.aal],
                                 [user.id, 'authenticated', 'authenticated',
                                  'https://sync.example.org/auth/v1', 'aal1']);
                assert.equal((await supabase.auth.getUser()).data.user.id, user.id);
                // The token that it got is good for everything else.
                const written = await supabase.rpc('atomic_sync_upsert', {
                    p_user_id: user.id, p_data_key: 'settings', p_data: { mute: true },
                    p_expected_version: 0, p_device_id: 'd' });
                assert.equal(written.error, null);
                assert.equal(written.data.version, 1);
                const other = await supabase.rpc('get_user_sync_data', { p_user_id: randomUUID() });
                assert.equal(other.error.code, '42501');
            });

            it(`${client}, ${key}: signs in with a password, out, and is told what is wrong`, LIMIT,
               async () => {
                const supabase = make();
                const address = email();
                await supabase.auth.signUp({ email: address, password: PASSWORD });
                const again = await make().auth.signUp({ email: address, password: PASSWORD });
                assert.deepEqual([again.error.status, again.error.code],
                                 [422, 'user_already_exists']);
                for (const wrong of [{ email: address, password: 'wrong horse' },
                                     { email: email(), password: PASSWORD }]) {
                    const { error } = await make().auth.signInWithPassword(wrong);
                    assert.deepEqual([error.status, error.code, error.message],
                                     [400, 'invalid_credentials', 'Invalid login credentials']);
                }
                const short = await make().auth.signUp({ email: email(), password: 'short' });
                assert.deepEqual([short.error.name, short.error.status, short.error.reasons],
                                 ['AuthWeakPasswordError', 422, ['length']]);
                const { data, error } = await supabase.auth.signInWithPassword({
                    email: address, password: PASSWORD });
                assert.equal(error, null);
                assert.equal((await supabase.auth.signOut()).error, null);
                assert.equal((await supabase.auth.getSession()).data.session, null);
                const late = await make().auth.refreshSession({
                    refresh_token: data.session.refresh_token });
                assert.equal(late.error.name, 'AuthSessionMissingError'); // of session_not_found
            });

            it(`${client}, ${key}: changes password and data`, LIMIT, async () => {
                const supabase = make();
                const other = make();
                const address = email();
                await supabase.auth.signUp({ email: address, password: PASSWORD });
                const { data: there } = await other.auth.signInWithPassword({
                    email: address, password: PASSWORD });
                const same = await supabase.auth.updateUser({ password: PASSWORD });
                assert.deepEqual([same.error.status, same.error.code], [422, 'same_password']);
                const changed = await supabase.auth.updateUser({
                    password: 'another horse', data: { theme: 'sea', n: 1 } });
                assert.equal(changed.error, null);
                assert.deepEqual(changed.data.user.user_metadata, { theme: 'sea', n: 1 });
                const less = await supabase.auth.updateUser({ data: { n: null } });
                assert.deepEqual(less.data.user.user_metadata, { theme: 'sea' });
                // The others are out, this one is not.
                const { error } = await other.auth.refreshSession({
                    refresh_token: there.session.refresh_token });
                assert.equal(error.name, 'AuthSessionMissingError');
                assert.equal((await supabase.auth.refreshSession()).error, null);
                const old = await make().auth.signInWithPassword({
                    email: address, password: PASSWORD });
                assert.equal(old.error.code, 'invalid_credentials');
                assert.equal((await make().auth.signInWithPassword({
                    email: address, password: 'another horse' })).error, null);
            });

            it(`${client}, ${key}: is anonymous`, LIMIT, async () => {
                const supabase = make();
                const { data, error } = await supabase.auth.signInAnonymously({
                    options: { data: { colour: 'red' } } });
                assert.equal(error, null);
                assert.equal(data.user.is_anonymous, true);
                assert.deepEqual([data.user.email, data.user.identities, data.user.app_metadata],
                                 ['', [], {}]);
                assert.equal(part(data.session.access_token, 1).is_anonymous, true);
                assert.equal((await supabase.auth.refreshSession()).error, null);
            });

            it(`${client}, ${key}: a refresh token rotates; a lost answer comes again`, LIMIT,
               async () => {
                const supabase = make();
                await supabase.auth.signUp({ email: email(), password: PASSWORD });
                const first = (await supabase.auth.getSession()).data.session.refresh_token;
                const { data: second } = await supabase.auth.refreshSession();
                assert.notEqual(second.session.refresh_token, first);
                // Its answer was lost: the one before gives the present one again.
                const again = await make().auth.refreshSession({ refresh_token: first });
                assert.equal(again.error, null);
                assert.equal(again.data.session.refresh_token, second.session.refresh_token);
                const bad = await make().auth.refreshSession({ refresh_token: 'abcdefghijkl' });
                assert.deepEqual([bad.error.status, bad.error.code, bad.error.message],
                                 [400, 'refresh_token_not_found',
                                  'Invalid Refresh Token: Refresh Token Not Found']);
            });
        }

        it('getClaims verifies what the JWKS shows', LIMIT, async () => {
            const supabase = clientOf({ client: 'new' }, server, undefined, PUBLISHABLE);
            const { data: signed } = await supabase.auth.signUp({ email: email(),
                                                                  password: PASSWORD });
            const { data, error } = await supabase.auth.getClaims();
            assert.equal(error, null);
            assert.equal(data.claims.sub, signed.user.id);
            const jwks = await raw(server, '/auth/v1/.well-known/jwks.json'); // no key is asked for
            assert.equal(jwks.status, 200);
            assert.equal(jwks.headers.get('cache-control'), 'public, max-age=600');
            const jwt = signed.session.access_token;
            const [head, claims, signature] = jwt.split('.');
            const text = Buffer.from(`${head}.${claims}`);
            if (algorithm === 'HS256') {
                assert.deepEqual(jwks.json, { keys: [] });
                assert.equal(createHmac('sha256', SECRET).update(text).digest('base64url'),
                             signature);
                return;
            }
            const [jwk] = jwks.json.keys;
            assert.deepEqual([jwk.kty, jwk.crv, jwk.alg, jwk.use, jwk.kid, jwk.d],
                             ['EC', 'P-256', 'ES256', 'sig', part(jwt, 0).kid, undefined]);
            const key = createPublicKey({ key: jwk, format: 'jwk' });
            assert.ok(verify('sha256', text, { key, dsaEncoding: 'ieee-p1363' },
                             Buffer.from(signature, 'base64url')));
        });

        it('settings and health tell what is on', LIMIT, async () => {
            const headers = { apikey: PUBLISHABLE };
            const settings = await raw(server, '/auth/v1/settings', { headers });
            assert.deepEqual([settings.json.external.email, settings.json.external.phone,
                              settings.json.external.anonymous_users, settings.json.disable_signup,
                              settings.json.mailer_autoconfirm], [true, false, true, false, true]);
            assert.ok(Object.values(settings.json.external).every((x) => typeof x === 'boolean'));
            const health = await raw(server, '/auth/v1/health', { headers });
            assert.equal(health.json.name, 'GoTrue');
            const none = await raw(server, '/auth/v1/settings');
            assert.deepEqual([none.status, none.json.message],
                             [401, 'No API key found in request']);
        });

        it('errors have the form that the client asked for', LIMIT, async () => {
            const path = '/auth/v1/token?grant_type=password';
            const body = JSON.stringify({ email: email(), password: PASSWORD });
            const headers = { apikey: PUBLISHABLE };
            const old = await raw(server, path, { method: 'POST', body, headers });
            assert.deepEqual(old.json, { code: 400, error_code: 'invalid_credentials',
                                         msg: 'Invalid login credentials' });
            assert.equal(old.headers.get('x-supabase-api-version'), null);
            const now = await post(server, 'token?grant_type=password', JSON.parse(body));
            assert.deepEqual(now.json, { code: 'invalid_credentials',
                                         message: 'Invalid login credentials' });
            assert.equal(now.headers.get('x-supabase-api-version'), '2024-01-01');
            assert.equal(now.headers.get('x-sb-error-code'), 'invalid_credentials');
        });

        it('what is wrong is refused with its code', LIMIT, async () => {
            const wanted = [
                ['signup', { email: 'none', password: PASSWORD }, 400, 'validation_failed'],
                ['signup', { email: email() }, 400, 'validation_failed'],
                ['signup', { email: email(), password: 'x'.repeat(73) }, 400, 'validation_failed'],
                ['token?grant_type=password', { password: PASSWORD }, 400, 'validation_failed'],
                ['token?grant_type=pkce', {}, 400, 'invalid_credentials'],
                ['token?grant_type=refresh_token', {}, 400, 'refresh_token_not_found'],
                ['logout', {}, 401, 'no_authorization'],
                ['otp', {}, 404, 'not_found'],
                ['admin/users', { email: email(), password: PASSWORD }, 403, 'not_admin'],
            ];
            for (const [path, body, status, code] of wanted) {
                const answer = await post(server, path, body);
                assert.deepEqual([path, answer.status, answer.json.code], [path, status, code]);
            }
            const broken = await raw(server, '/auth/v1/signup', {
                method: 'POST', body: '{"email":', headers: { apikey: PUBLISHABLE, ...API } });
            assert.deepEqual([broken.status, broken.json.code], [400, 'bad_json']);
        });

        it('a token that is over, forged or of nobody is 403', LIMIT, async () => {
            const bearer = async (jwt) => {
                const answer = await raw(server, '/auth/v1/user', {
                    headers: { apikey: PUBLISHABLE, Authorization: `Bearer ${jwt}`, ...API } });
                return [answer.status, answer.json.code];
            };
            const sub = randomUUID();
            const past = Math.floor(Date.now() / 1000) - 3600;
            assert.deepEqual(await bearer(token({ sub, exp: past })), [403, 'bad_jwt']);
            assert.deepEqual(await bearer(token({ sub, key: 'x'.repeat(40) })), [403, 'bad_jwt']);
            assert.deepEqual(await bearer(token({ sub })), [403, 'user_not_found']);
        });

        it('an operator adds, lists, disables and deletes', LIMIT, async () => {
            const admin = clientOf({ client: 'new' }, server, undefined, SECRET_KEY).auth.admin;
            const address = email();
            const { data: made, error } = await admin.createUser({ email: address,
                                                                   password: PASSWORD });
            assert.equal(error, null);
            const { data: list } = await admin.listUsers({ page: 1, perPage: 1000 });
            assert.ok(list.users.some((user) => user.id === made.user.id));
            const user = clientOf({ client: 'new' }, server, undefined, PUBLISHABLE);
            const sign = () => user.auth.signInWithPassword({ email: address, password: PASSWORD });
            assert.equal((await sign()).error, null);
            await admin.updateUserById(made.user.id, { ban_duration: '100h' });
            assert.equal((await sign()).error.code, 'user_banned');
            assert.equal((await user.auth.refreshSession()).error.status, 400);
            await admin.updateUserById(made.user.id, { ban_duration: 'none' });
            assert.equal((await sign()).error, null);
            assert.equal((await admin.deleteUser(made.user.id)).error, null);
            assert.equal((await sign()).error.code, 'invalid_credentials');
            const rpc = await user.rpc('get_user_sync_data', { p_user_id: made.user.id });
            assert.deepEqual([rpc.status, rpc.error?.code], [403, 'user_erased']);
        });
    });
}

describe('accounts that are off or closed', () => {
    it('off: 404 in a form that clients read', LIMIT, async () => {
        const server = await startServer(); // other tokens are configured: auto is off
        const supabase = clientOf({ client: 'new' }, server, undefined, PUBLISHABLE);
        const { error } = await supabase.auth.signUp({ email: email(), password: PASSWORD });
        assert.deepEqual([error.status, error.code], [404, 'not_found']);
        await server.stop();
    });

    it('sign-up closed, anonymous off', LIMIT, async () => {
        const server = await startServer('--accounts', 'on', '--accounts-sign-up=false');
        const open = await startServer('--accounts', 'on');
        const closed = await clientOf({ client: 'new' }, server, undefined, PUBLISHABLE)
            .auth.signUp({ email: email(), password: PASSWORD });
        assert.deepEqual([closed.error.status, closed.error.code], [422, 'signup_disabled']);
        const nobody = await clientOf({ client: 'new' }, open, undefined, PUBLISHABLE)
            .auth.signInAnonymously();
        assert.deepEqual([nobody.error.status, nobody.error.code],
                         [422, 'anonymous_provider_disabled']);
        await server.stop();
        await open.stop();
    });
});
