// test_browser.mjs - a page in headless Chromium that uses the published client (the bundle that a
// <script> loads) against a server of another origin: what CORS allows and exposes is the
// browser's to judge.
//
// The program is chromium of $PATH, with an empty profile. The page reports by itself; nothing
// drives the browser.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { anonKey, PUBLISHABLE, startServer } from './lib.mjs';

const LIMIT = { timeout: 90000 };
const FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
               '--disable-background-networking', '--disable-component-update', '--disable-sync',
               '--disable-dev-shm-usage'];

/** Serves the page with one of the clients; asked: a browser came for it; result: what it told. */
async function startSite(bundle, config) {
    let tell;
    let came;
    const asked = new Promise((resolve) => { came = resolve; });
    const result = new Promise((resolve) => { tell = resolve; });
    const files = {
        '/': ['text/html', '<!doctype html><script src="/client.js"></script>' +
                           '<script type="module" src="/page.mjs"></script>'],
        '/client.js': ['text/javascript', readFileSync(bundle)],
        '/page.mjs': ['text/javascript', readFileSync(new URL('page.mjs', import.meta.url))],
        '/config': ['application/json', JSON.stringify(config)],
    };
    const site = createServer(async (request, response) => {
        if (request.url === '/result') {
            let text = '';
            for await (const chunk of request) {
                text += chunk;
            }
            tell(JSON.parse(text));
        }
        came(true);
        const [type, body] = files[request.url] ?? ['text/plain', ''];
        response.writeHead(200, { 'content-type': `${type}; charset=utf-8` }).end(body);
    });
    site.listen(0, '127.0.0.1');
    await once(site, 'listening');
    return { url: `http://127.0.0.1:${site.address().port}/`, asked, result,
             stop: () => { site.closeAllConnections(); site.close(); } };
}

/** A browser that opens the page; end() ends it and all its processes. */
function startBrowser(url) {
    const profile = mkdtempSync(join(tmpdir(), 'bqsync-chromium.'));
    const child = spawn('chromium', [...FLAGS, `--user-data-dir=${profile}`, url],
                        { stdio: ['ignore', 'ignore', 'pipe'], detached: true });
    let said = '';
    child.stderr.on('data', (text) => { said += text; });
    const ended = new Promise((resolve) => {
        child.on('error', (error) => resolve(`chromium (Debian: chromium): ${error.message}`));
        child.on('close', (code) => resolve(`the browser ended with ${code}:\n${said}`));
    });
    const kill = () => {
        try {
            process.kill(-child.pid, 'SIGKILL');
        } catch {
            // it has ended
        }
    };
    process.on('exit', kill);
    return {
        ended,
        async end() {
            if (child.pid !== undefined) {
                kill();
            }
            await ended;
            process.off('exit', kill);
            rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
        },
    };
}

const expected = {
    'sign-up': [null, 'bearer'],
    'refused sign-in': [400, 'invalid_credentials'],
    'session is kept': true,
    realtime: 'SUBSCRIBED',
    rpc: [200, null, 'inserted'],
    change: ['INSERT', { theme: 'dünkel' }],
    table: [200, 1, [{ data: { theme: 'dünkel' } }]],
    head: 1,
    'upsert, patch, delete': [200, 2, 204],
    'refused write': [403, '42501'],
    'too large': [413, 'string'],
    'bad key': [401, 'Invalid API key'],
    'sign-out': [null, []],
};

/** A browser that came for the page. On a busy machine one may hang before it asks for anything: then
 * another is started. */
async function startBrowserOn(site) {
    for (let n = 1; ; n++) {
        const browser = startBrowser(site.url);
        let timer;
        const late = new Promise((resolve) => { timer = setTimeout(resolve, 25000, false); });
        const came = await Promise.race([site.asked, late, browser.ended.then(() => false)]);
        clearTimeout(timer);
        if (came || n === 3) {
            return browser;
        }
        console.error(`browser ${n} did not ask for the page`);
        await browser.end();
    }
}

describe('a page of another origin', () => {
    let server;
    before(async () => { server = await startServer('--accounts', 'on'); });
    after(async () => { await server.stop(); });

    for (const [name, folder, key] of [['new', '@supabase/supabase-js', PUBLISHABLE],
                                       ['old', 'sb-old', anonKey()]]) {
        it(`${name} client: all it does, and all it is refused`, LIMIT, async () => {
            const bundle = new URL(`node_modules/${folder}/dist/umd/supabase.js`, import.meta.url);
            const site = await startSite(bundle, { url: server.url, key });
            const browser = await startBrowserOn(site);
            const results = await Promise.race([
                site.result,
                browser.ended.then((why) => { throw new Error(why); }),
            ]).finally(async () => { await browser.end(); site.stop(); });
            assert.deepEqual(
                Object.fromEntries(results.map(({ name: step, value }) => [step, value])),
                expected);
        });
    }
});
