// lib.mjs - what the contract tests share: a server of their own, keys and tokens of each kind, and
// the published clients that apps use.
//
// The program is $BQSYNC. A server lives in a folder of its own, knows a secret (HS256) and a set
// of public keys (ES256), and demands an API key: the publishable one, or a legacy JWT (anon).
import { spawn } from 'node:child_process';
import { createHmac, generateKeyPairSync, randomUUID, sign } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as runner from 'node:test';
import { createClient as createNew } from '@supabase/supabase-js';
import { createClient as createOld } from 'sb-old';
import ws from 'ws';

export const SECRET = 'a secret of the tests with more than 32 bytes';
export const PUBLISHABLE = 'sb_publishable_of_the_tests';
export const SECRET_KEY = 'sb_secret_of_the_tests_0123456789abcdef';
const ISSUER = 'https://issuer.example/auth/v1';
const AUDIENCE = 'authenticated';

// A client that disconnects leaves a timer of 10 s behind: it keeps no process from ending.
const setTimer = globalThis.setTimeout;
globalThis.setTimeout = (run, ms, ...rest) => {
    const timer = setTimer(run, ms, ...rest);
    return ms === 10000 ? timer.unref() : timer;
};

/** A test that ends: what hangs is a failure with a name. */
export const it = (name, run) => runner.it(name, { timeout: 30000 }, run);

const now = () => Math.floor(Date.now() / 1000);
const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
const es256 = generateKeyPairSync('ec', { namedCurve: 'P-256' });

/** A token: {alg, key?, ...claims}; key is another secret or private key than the server's. */
export function token({ alg = 'HS256', key, ...claims }) {
    const head = encode(alg === 'ES256' ? { alg, typ: 'JWT', kid: 'k1' } : { alg, typ: 'JWT' });
    const body = encode({ role: 'authenticated', aud: AUDIENCE, iss: ISSUER, iat: now(),
                          exp: now() + 3600, ...claims });
    const text = `${head}.${body}`;
    const bytes = alg === 'ES256'
        ? sign('sha256', Buffer.from(text),
               { key: key ?? es256.privateKey, dsaEncoding: 'ieee-p1363' })
        : createHmac('sha256', key ?? SECRET).update(text).digest();
    return `${text}.${bytes.toString('base64url')}`;
}

/** The legacy keys: JWTs of the server's secret. */
export const anonKey = () => token({ role: 'anon', iss: 'supabase', ref: 'tests', aud: undefined });
export const serviceKey = () => token({ role: 'service_role', iss: 'supabase', aud: undefined });

/** Starts a server; more options behind. stop() ends it in order and tells how that went, kill() at
 *  once. Where $BQ_FUNCTIONS is the URL of a database, its functions answer the calls. */
export async function startServer(...options) {
    if (process.env.BQ_FUNCTIONS) {
        options.push('--functions-in-database', process.env.BQ_FUNCTIONS);
    }
    if (!options.includes('--listen')) {
        options.push('--listen', '127.0.0.1:0');
    }
    const folder = mkdtempSync(join(tmpdir(), 'bqsync-wire.'));
    const file = (name, text) => {
        writeFileSync(join(folder, name), text, { mode: 0o600 });
        return join(folder, name);
    };
    const jwk = { ...es256.publicKey.export({ format: 'jwk' }), kid: 'k1', alg: 'ES256',
                  use: 'sig' };
    const child = spawn(process.env.BQSYNC ?? 'build/bqsync', [
        'serve', '--port-file', join(folder, 'port'),
        '--store', `sqlite:${join(folder, 'store.db')}`,
        '--jwt-secret-file', file('secret', SECRET),
        '--jwks-file', file('jwks', JSON.stringify({ keys: [jwk] })),
        '--jwt-issuer', ISSUER, '--jwt-audience', AUDIENCE,
        '--publishable-key', PUBLISHABLE, '--secret-key-file', file('key', SECRET_KEY),
        '--user-rate', '0', '--log-level', 'warn', ...options,
    ], { stdio: ['ignore', 'pipe', 'inherit'] });
    const ended = new Promise((resolve) => child.on('exit', resolve));
    const orphan = () => child.kill('SIGKILL');
    process.on('exit', orphan);
    const gone = () => {
        process.off('exit', orphan);
        rmSync(folder, { recursive: true, force: true });
    };
    await Promise.race([
        new Promise((resolve) => child.stdout.once('data', resolve)),
        ended.then((code) => { throw new Error(`the server ended with ${code}`); }),
        new Promise((_, reject) => { child.on('error', reject); }),
    ]);
    const port = Number(readFileSync(join(folder, 'port'), 'utf8'));
    return {
        port,
        pid: child.pid,
        url: `http://127.0.0.1:${port}`,
        async stop() {
            child.kill('SIGTERM');
            const code = await ended;
            gone();
            if (code !== 0) {
                throw new Error(`the server ended with ${code}`);
            }
        },
        async kill() {
            child.kill('SIGKILL');
            await ended;
            gone();
        },
    };
}

/** All ways that an app comes: which client, which kind of key, which kind of token. */
export const variants = ['new', 'old'].flatMap((client) =>
    ['anon', 'publishable'].flatMap((key) =>
        ['HS256', 'ES256'].map((alg) => ({ client, key, alg,
                                           name: `${client}, ${key}, ${alg}` }))));

/** The API key of a variant. */
export const keyOf = (variant) => (variant.key === 'anon' ? anonKey() : PUBLISHABLE);

/** A client of the variant, signed in with this token, or with what this function answers; without
 *  one nobody is. */
export function clientOf(variant, server, accessToken, key = keyOf(variant)) {
    const create = variant.client === 'new' ? createNew : createOld;
    const options = { realtime: { transport: ws },
                      auth: { persistSession: false, autoRefreshToken: false } };
    if (accessToken !== undefined) {
        options.accessToken = async () =>
            (typeof accessToken === 'function' ? accessToken() : accessToken);
    }
    return create(server.url, key, options);
}

/** A user that nobody else has, with a token of the variant. */
export function newUser(variant) {
    const id = randomUUID();
    return { id, token: token({ alg: variant.alg, sub: id }) };
}

/** A request by hand; answers {status, headers, text, json}. */
export async function raw(server, path, { method = 'GET', headers = {}, body } = {}) {
    const answer = await fetch(`${server.url}${path}`, { method, headers, body });
    const text = await answer.text();
    let json;
    try {
        json = text === '' ? undefined : JSON.parse(text);
    } catch {
        json = undefined;
    }
    return { status: answer.status, headers: answer.headers, text, json };
}
