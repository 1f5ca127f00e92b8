// upstream.mjs - somebody else's server behind ours: says what it was asked, and does what a test
// wants. With TLS where it is given a certificate.
import http from 'node:http';
import https from 'node:https';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Starts it; handle(request, response) answers, or the default: what came, as JSON. */
export async function startUpstream(handle, tls) {
    const seen = [];
    const sockets = new Set();
    const listener = (request, response) => {
        seen.push({ method: request.method, url: request.url, headers: request.headers });
        if (handle?.(request, response) === true) {
            return;
        }
        const parts = [];
        request.on('data', (part) => parts.push(part));
        request.on('end', () => {
            const text = JSON.stringify({ method: request.method, url: request.url,
                                          headers: request.headers,
                                          body: Buffer.concat(parts).toString() });
            response.writeHead(200, { 'Content-Type': 'application/json' });
            response.end(text);
        });
    };
    const server = tls === undefined ? http.createServer(listener)
                                     : https.createServer(tls, listener);
    server.on('connection', (socket) => {
        sockets.add(socket);
        socket.on('close', () => sockets.delete(socket));
    });
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address();
    return {
        seen, server, port,
        url: `${tls === undefined ? 'http' : 'https'}://localhost:${port}`,
        async stop() {
            sockets.forEach((socket) => socket.destroy());
            await new Promise((resolve) => server.close(resolve));
        },
    };
}

/** A certificate for a name, signed by itself: {folder, file, cert, key}; release() removes it. */
export function certificate(name) {
    const folder = mkdtempSync(join(tmpdir(), 'bqsync-tls.'));
    const file = join(folder, 'cert.pem');
    const keyFile = join(folder, 'key.pem');
    execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt',
                             'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-keyout', keyFile,
                             '-out', file, '-subj', `/CN=${name}`, '-addext',
                             `subjectAltName=DNS:${name}`], { stdio: 'ignore' });
    return { file, tls: { cert: readFileSync(file), key: readFileSync(keyFile) },
             release: () => rmSync(folder, { recursive: true, force: true }) };
}
