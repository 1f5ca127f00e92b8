// phoenix.mjs - the realtime of somebody else's project behind ours, as far as a test needs it: both
// forms of messages, joins, heartbeats, changes, broadcasts.
import { EventEmitter } from 'node:events';
import { WebSocketServer } from 'ws';

const decode = (form, bytes) => {
    const value = JSON.parse(bytes);
    if (form === '1.0.0') {
        return value;
    }
    const [join_ref, ref, topic, event, payload] = value;
    return { join_ref, ref, topic, event, payload };
};

const encode = (form, { join_ref = null, ref = null, topic, event, payload }) =>
    JSON.stringify(form === '1.0.0' ? { topic, event, payload, ref }
                                    : [join_ref, ref, topic, event, payload]);

/** Takes the upgrades of an http server. `said` is emitted with each message {socket, topic, event,
 *  payload, binary}, `gone` with each socket that closed, `refused` with each that was not opened. */
export class Phoenix extends EventEmitter {
    sockets = new Set();
    opened = []; // {url, headers} of each handshake
    refuses = false;

    constructor(server) {
        super();
        this.upgrades = new WebSocketServer({ server, path: '/realtime/v1/websocket',
                                              verifyClient: () => this.#verify() });
        this.upgrades.on('connection', (socket, request) => this.#take(socket, request));
    }

    #verify() {
        if (this.refuses) {
            this.emit('refused');
        }
        return !this.refuses;
    }

    #take(socket, request) {
        const form = new URL(request.url, 'http://x').searchParams.get('vsn') ?? '1.0.0';
        this.opened.push({ url: request.url, headers: request.headers });
        this.sockets.add(socket);
        socket.form = form;
        socket.topics = new Map();
        socket.on('close', () => { this.sockets.delete(socket); this.emit('gone', socket); });
        socket.on('message', (bytes, binary) => {
            const message = binary ? { topic: '', event: 'binary', payload: bytes }
                                   : decode(form, bytes);
            this.#answer(socket, message);
            this.emit('said', { socket, binary, ...message });
        });
    }

    #answer(socket, { join_ref, ref, topic, event, payload }) {
        const reply = (response) => this.#send(socket, { join_ref, ref, topic, event: 'phx_reply',
                                                         payload: { status: 'ok', response } });
        if (event === 'phx_join') {
            const bindings = payload.config.postgres_changes.map((each, i) => ({ ...each, id: i + 7 }));
            socket.topics.set(topic, bindings);
            reply({ postgres_changes: bindings });
            this.#send(socket, { join_ref, topic, event: 'system',
                                 payload: { message: 'Subscribed to PostgreSQL', status: 'ok',
                                            extension: 'postgres_changes',
                                            channel: topic.slice('realtime:'.length) } });
        } else if (event === 'heartbeat') {
            reply({});
        }
    }

    #send(socket, message) {
        socket.send(encode(socket.form, message));
    }

    /** An inserted row for all who asked for this table. */
    insert(table, record) {
        for (const socket of this.sockets) {
            for (const [topic, bindings] of socket.topics) {
                const ids = bindings.filter((each) => each.table === table).map(({ id }) => id);
                const columns = Object.keys(record).map((name) => ({ name, type: 'text' }));
                if (ids.length > 0) {
                    this.#send(socket, { topic, event: 'postgres_changes', payload: { ids, data: {
                        schema: 'public', table, commit_timestamp: '2026-11-23T10:00:00.123Z',
                        type: 'INSERT', columns, record, errors: null } } });
                }
            }
        }
    }

    /** Anything, to all. */
    say(message) {
        for (const socket of this.sockets) {
            this.#send(socket, message);
        }
    }

    /** Cuts all sockets. */
    cut() {
        for (const socket of this.sockets) {
            socket.terminate();
        }
    }
}
