/* ws_stub.c - see ws_stub.h. Aborts where a test's own machinery fails. */
#include "ws_stub.h"

#include "base/sha1.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct ws_stub {
    int listener;
    int fd;
    char url[64];
    bool proxy;
    bool tunnel; /* the CONNECT was answered */
    bool open;
    const char *answer;
    struct buf behind;
    struct buf in;
    struct buf out;
    struct buf request;
    struct buf connect;
    unsigned n_connections;
};

static void must(bool good, const char *what)
{
    if (!good) {
        perror(what);
        abort();
    }
}

struct ws_stub *ws_stub_new(void)
{
    struct ws_stub *stub = calloc(1, sizeof *stub);
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    must(stub != NULL, "calloc");
    stub->fd = -1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    stub->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    must(stub->listener >= 0, "socket");
    must(bind(stub->listener, (struct sockaddr *)&address, sizeof address) == 0, "bind");
    must(listen(stub->listener, 8) == 0, "listen");
    must(getsockname(stub->listener, (struct sockaddr *)&address, &size) == 0, "getsockname");
    snprintf(stub->url, sizeof stub->url, "http://127.0.0.1:%u", ntohs(address.sin_port));
    return stub;
}

void ws_stub_drop(struct ws_stub *stub)
{
    if (stub->fd >= 0) {
        close(stub->fd);
    }
    stub->fd = -1;
    stub->open = false;
    stub->tunnel = false;
    buf_clear(&stub->in);
    buf_clear(&stub->out);
}

void ws_stub_free(struct ws_stub *stub)
{
    ws_stub_drop(stub);
    close(stub->listener);
    buf_release(&stub->behind);
    buf_release(&stub->in);
    buf_release(&stub->out);
    buf_release(&stub->request);
    buf_release(&stub->connect);
    free(stub);
}

const char *ws_stub_url(const struct ws_stub *stub)
{
    return stub->url;
}

void ws_stub_answer(struct ws_stub *stub, const char *raw)
{
    stub->answer = raw;
}

void ws_stub_behind_handshake(struct ws_stub *stub, struct slice bytes)
{
    buf_add_slice(&stub->behind, bytes);
}

void ws_stub_be_proxy(struct ws_stub *stub)
{
    stub->proxy = true;
}

const char *ws_stub_request(const struct ws_stub *stub)
{
    return stub->request.ptr == NULL ? "" : stub->request.ptr;
}

const char *ws_stub_connect(const struct ws_stub *stub)
{
    return stub->connect.ptr == NULL ? "" : stub->connect.ptr;
}

unsigned ws_stub_n_connections(const struct ws_stub *stub)
{
    return stub->n_connections;
}

bool ws_stub_is_open(const struct ws_stub *stub)
{
    return stub->open;
}

/* ---- The handshake --------------------------------------------------------------------------- */

static void consume(struct buf *buf, size_t n)
{
    memmove(buf->ptr, buf->ptr + n, buf->len - n);
    buf->len -= n;
    buf->ptr[buf->len] = '\0';
}

static void add_accept(struct buf *out, const char *request)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char text[128];
    uint8_t digest[SHA1_BYTES + 1] = {0};
    const char *key = strstr(request, "Sec-WebSocket-Key: ");
    must(key != NULL, "no key");
    snprintf(text, sizeof text, "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key + 19);
    sha1(slice_of(text), digest);
    for (unsigned i = 0; i < SHA1_BYTES; i += 3) {
        uint32_t group = (uint32_t)digest[i] << 16 | (uint32_t)digest[i + 1] << 8 | digest[i + 2];
        buf_add_char(out, digits[group >> 18]);
        buf_add_char(out, digits[(group >> 12) & 63]);
        buf_add_char(out, digits[(group >> 6) & 63]);
        buf_add_char(out, i + 2 < SHA1_BYTES ? digits[group & 63] : '=');
    }
}

static void answer_handshake(struct ws_stub *stub)
{
    if (stub->answer != NULL) {
        if (stub->answer[0] == '\0') {
            ws_stub_drop(stub);
            return;
        }
        buf_add_text(&stub->out, stub->answer);
        return;
    }
    buf_add_text(&stub->out, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                             "Connection: Upgrade\r\nSec-WebSocket-Accept: ");
    add_accept(&stub->out, stub->request.ptr);
    buf_add_text(&stub->out, "\r\n\r\n");
    buf_add_slice(&stub->out, buf_slice(&stub->behind));
    buf_clear(&stub->behind);
    stub->open = true;
}

static void read_heads(struct ws_stub *stub)
{
    char *end;
    while (stub->fd >= 0 && !stub->open && stub->in.len > 0 &&
           (end = strstr(stub->in.ptr, "\r\n\r\n")) != NULL) {
        size_t n = (size_t)(end - stub->in.ptr) + 4;
        bool connects = stub->proxy && !stub->tunnel;
        struct buf *to = connects ? &stub->connect : &stub->request;
        buf_clear(to);
        buf_add(to, stub->in.ptr, n);
        consume(&stub->in, n);
        if (connects) {
            stub->tunnel = true;
            buf_add_text(&stub->out, "HTTP/1.1 200 Connected\r\n\r\n");
        } else {
            answer_handshake(stub);
        }
    }
}

/* ---- Bytes ----------------------------------------------------------------------------------- */

static void take_connection(struct ws_stub *stub)
{
    int fd = accept4(stub->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        must(errno == EAGAIN || errno == ECONNABORTED || errno == EINTR, "accept");
        return;
    }
    ws_stub_drop(stub);
    stub->fd = fd;
    stub->n_connections++;
}

static void take_bytes(struct ws_stub *stub)
{
    while (stub->fd >= 0) {
        must(buf_reserve(&stub->in, 65536), "buf_reserve");
        ssize_t n = recv(stub->fd, stub->in.ptr + stub->in.len, 65535, 0);
        if (n > 0) {
            stub->in.len += (size_t)n;
            stub->in.ptr[stub->in.len] = '\0';
            continue;
        }
        if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            /* What came before the end stays to be looked at. */
            close(stub->fd);
            stub->fd = -1;
            stub->open = false;
        }
        return;
    }
}

static void give_bytes(struct ws_stub *stub)
{
    while (stub->fd >= 0 && stub->out.len > 0) {
        ssize_t n = send(stub->fd, stub->out.ptr, stub->out.len, MSG_NOSIGNAL);
        if (n <= 0) {
            return;
        }
        consume(&stub->out, (size_t)n);
    }
}

void ws_stub_pump(struct ws_stub *stub)
{
    take_connection(stub);
    take_bytes(stub);
    read_heads(stub);
    give_bytes(stub);
}

void ws_stub_wait(struct ws_stub *stub, int wait_ms)
{
    struct pollfd fds[2] = {{.fd = stub->listener, .events = POLLIN},
                            {.fd = stub->fd, .events = POLLIN}};
    (void)poll(fds, 2, wait_ms);
    ws_stub_pump(stub);
}

/* ---- Frames ---------------------------------------------------------------------------------- */

void ws_stub_frame(struct buf *out, uint8_t first, struct slice payload, bool masked)
{
    uint8_t bit = masked ? 0x80 : 0;
    buf_add_char(out, (char)first);
    if (payload.len < 126) {
        buf_add_char(out, (char)(bit | payload.len));
    } else if (payload.len < 65536) {
        buf_add_char(out, (char)(bit | 126));
        buf_add_char(out, (char)(payload.len >> 8));
        buf_add_char(out, (char)(payload.len & 255));
    } else {
        buf_add_char(out, (char)(bit | 127));
        for (int i = 7; i >= 0; i--) {
            buf_add_char(out, (char)((uint64_t)payload.len >> (8 * i) & 255));
        }
    }
    if (masked) {
        buf_add(out, "\0\0\0\0", 4); /* a mask that changes nothing */
    }
    buf_add_slice(out, payload);
}

void ws_stub_send(struct ws_stub *stub, struct slice bytes)
{
    buf_add_slice(&stub->out, bytes);
}

void ws_stub_send_text(struct ws_stub *stub, const char *text)
{
    ws_stub_frame(&stub->out, 0x81, slice_of(text), false);
}

bool ws_stub_take(struct ws_stub *stub, uint8_t *opcode, struct buf *out)
{
    const uint8_t *p = (const uint8_t *)stub->in.ptr;
    size_t head = 6;
    if (stub->in.len < head) {
        return false;
    }
    size_t len = p[1] & 127u;
    if (len == 126) {
        head = 8;
        len = stub->in.len < head ? 0 : (size_t)p[2] << 8 | p[3];
    }
    must((p[0] & 0x80) != 0 && (p[1] & 0x80) != 0 && (p[1] & 127) < 127, "frame");
    if (stub->in.len < head + len) {
        return false;
    }
    *opcode = p[0] & 15u;
    buf_clear(out);
    for (size_t i = 0; i < len; i++) {
        buf_add_char(out, (char)(p[head + i] ^ p[head - 4 + i % 4]));
    }
    consume(&stub->in, head + len);
    return true;
}
