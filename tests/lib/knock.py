"""knock.py - what a crowd, a dawdler and a silent socket meet at a proxy (tests/e2e/proxy_test.sh).

    knock.py PORT CA crowd N            N sockets of one address, one more, one of another address
    knock.py PORT CA slow SECONDS       a header that comes byte by byte
    knock.py PORT CA idle TOKEN PERIOD SECONDS   a socket that speaks every PERIOD (0: never)

Exit code 0: the proxy ended or refused what is over its limit; 3: it did not; 1: something else is
wrong.
"""
import json
import os
import socket
import ssl
import struct
import sys
import time

PATIENCE_S = 20
UPGRADE = ('GET /realtime/v1/websocket?vsn=1.0.0 HTTP/1.1\r\nHost: localhost\r\n'
           'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n'
           'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n')


class Door:
    def __init__(self, port, ca):
        self.port = port
        self.tls = ssl.create_default_context(cafile=ca)

    def connect(self, source='127.0.0.1'):
        raw = socket.create_connection(('127.0.0.1', self.port), PATIENCE_S, (source, 0))
        return self.tls.wrap_socket(raw, server_hostname='localhost')

    def upgrade(self, source='127.0.0.1'):
        """The socket and the status; None and 0 where the connection ended before."""
        try:
            connection = self.connect(source)
            connection.sendall(UPGRADE.encode())
            head = b''
            while b'\r\n\r\n' not in head:
                got = connection.recv(1)
                if not got:
                    return None, 0
                head += got
            return connection, int(head.split()[1])
        except (ConnectionError, ssl.SSLError):
            return None, 0


def is_over(connection, wait_s):
    """Reads what comes for so long; whether the connection ended."""
    until = time.monotonic() + wait_s
    while time.monotonic() < until:
        connection.settimeout(max(until - time.monotonic(), 0.001))
        try:
            if not connection.recv(4096):
                return True
        except TimeoutError:
            return False
        except (ConnectionError, ssl.SSLError):
            return True
    return False


def lets_in(door, source='127.0.0.1'):
    """The status of an upgrade; 0 where the connection ends, be it after it."""
    connection, status = door.upgrade(source)
    return 0 if connection is None or is_over(connection, 0.5) else status


def crowd(door, n):
    sockets = []
    for _ in range(n):
        connection, status = door.upgrade()
        assert status == 101, f'socket {len(sockets) + 1} of {n}: {status}'
        sockets.append(connection)
    status = lets_in(door)
    if status == 101:
        return 3
    assert status in (0, 429), status
    status = lets_in(door, '127.0.0.2')
    assert status == 101, f'another address: {status}'
    for connection in sockets:
        connection.close()
    until = time.monotonic() + PATIENCE_S
    while lets_in(door) != 101:
        assert time.monotonic() < until, 'nobody of that address is let in any more'
    return 0


def slow(door, seconds):
    connection = door.connect()
    connection.sendall(b'GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ')
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            connection.settimeout(PATIENCE_S)
            connection.sendall(b'a')
        except (ConnectionError, ssl.SSLError):
            return 0
        if is_over(connection, 0.2):
            return 0
    return 3


def say(connection, event, topic, payload):
    text = json.dumps({'topic': topic, 'event': event, 'payload': payload, 'ref': '1'}).encode()
    mask = os.urandom(4)
    masked = bytes(b ^ mask[i % 4] for i, b in enumerate(text))
    size = struct.pack('!B', 0x80 | len(text)) if len(text) < 126 else \
        struct.pack('!BH', 0x80 | 126, len(text))
    connection.sendall(b'\x81' + size + mask + masked)


def idle(door, token, period, seconds):
    connection, status = door.upgrade()
    assert status == 101, status
    say(connection, 'phx_join', 'realtime:idle', {'config': {}, 'access_token': token})
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if is_over(connection, period or seconds):
            return 0
        say(connection, 'heartbeat', 'phoenix', {})
    return 3


def main():
    port, ca, what, *rest = sys.argv[1:]
    door = Door(int(port), ca)
    if what == 'crowd':
        return crowd(door, int(rest[0]))
    if what == 'slow':
        return slow(door, float(rest[0]))
    return idle(door, rest[0], float(rest[1]), float(rest[2]))


sys.exit(main())
