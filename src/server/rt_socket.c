/* rt_socket.c - one socket: bytes in, frames out, and its end.
 *
 * What can be sent at once is sent at once and takes no memory; the rest waits, up to
 * RT_WAITING_BYTES. Between messages a socket holds no reader. */
#include "server/rt.h"

#include "base/mem.h"
#include "base/status.h"
#include "server/clock.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* ---- Shared bytes ---------------------------------------------------------------------------- */

struct rt_bytes *rt_bytes_new(struct slice text)
{
    struct rt_bytes *bytes = text.ptr == NULL ? NULL : mem_alloc(sizeof *bytes + text.len);
    if (bytes != NULL) {
        bytes->refs = 1;
        bytes->len = text.len;
        memcpy(bytes->ptr, text.ptr, text.len);
    }
    return bytes;
}

void rt_bytes_drop(struct rt_bytes *bytes)
{
    if (bytes != NULL && --bytes->refs == 0) {
        mem_free(bytes);
    }
}

/* ---- Sending --------------------------------------------------------------------------------- */

static void watch(struct realtime *rt, struct rt_socket *socket, bool writing)
{
    if (socket->writing != writing) {
        struct epoll_event event = {.events = EPOLLIN | (writing ? (uint32_t)EPOLLOUT : 0),
                                    .data = {.ptr = socket}};
        epoll_ctl(rt->epoll, EPOLL_CTL_MOD, socket->fd, &event);
        socket->writing = writing;
    }
}

#define PARTS 4u /* frame header, head, shared bytes, tail */

static size_t length(const struct slice parts[PARTS])
{
    size_t n = 0;
    for (unsigned i = 0; i < PARTS; i++) {
        n += parts[i].len;
    }
    return n;
}

/* Bytes that went; 0 where there is no room; -1: the connection is gone. */
static ssize_t push(const struct rt_socket *socket, const struct slice parts[PARTS])
{
    struct iovec vector[PARTS];
    for (unsigned i = 0; i < PARTS; i++) {
        vector[i] = (struct iovec){(void *)(uintptr_t)parts[i].ptr, parts[i].len};
    }
    const struct msghdr message = {.msg_iov = vector, .msg_iovlen = PARTS};
    ssize_t n = sendmsg(socket->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
        return 0;
    }
    return n;
}

static struct slice shared_of(const struct rt_bytes *shared)
{
    return shared == NULL ? SLICE("") : (struct slice){shared->ptr, shared->len};
}

static struct slice behind(struct slice text, size_t *skip)
{
    size_t n = *skip < text.len ? *skip : text.len;
    *skip -= n;
    return (struct slice){text.ptr + n, text.len - n};
}

static void pop(struct rt_socket *socket)
{
    struct rt_out *out = socket->out;
    socket->out = out->next;
    if (socket->out == NULL) {
        socket->out_last = &socket->out;
    }
    socket->out_bytes -= out->head_len + out->tail_len + shared_of(out->shared).len;
    socket->out_sent = 0;
    rt_bytes_drop(out->shared);
    mem_free(out);
}

/* There is room again. */
static void flush(struct realtime *rt, struct rt_socket *socket)
{
    while (socket->out != NULL) {
        const struct rt_out *out = socket->out;
        size_t skip = socket->out_sent;
        struct slice parts[PARTS] = {{out->own, out->head_len},
                                     shared_of(out->shared),
                                     {out->own + out->head_len, out->tail_len},
                                     SLICE("")};
        for (unsigned i = 0; i < PARTS; i++) {
            parts[i] = behind(parts[i], &skip);
        }
        ssize_t n = push(socket, parts);
        if (n < 0) {
            rt_doom(rt, socket);
            return;
        }
        socket->out_sent += (size_t)n;
        if ((size_t)n < length(parts)) {
            break;
        }
        pop(socket);
    }
    watch(rt, socket, socket->out != NULL);
    if (socket->out == NULL && socket->closing) {
        shutdown(socket->fd, SHUT_WR);
    }
}

/* Keeps a frame of which a beginning may have gone already (then nothing was waiting). */
static bool keep(struct rt_socket *socket, const struct slice parts[PARTS], struct rt_bytes *shared)
{
    size_t head_len = parts[0].len + parts[1].len;
    struct rt_out *out = mem_alloc(sizeof *out + head_len + parts[3].len);
    if (out == NULL) {
        return false;
    }
    *out = (struct rt_out){
        .shared = shared, .head_len = (uint32_t)head_len, .tail_len = (uint32_t)parts[3].len};
    memcpy(out->own, parts[0].ptr, parts[0].len);
    memcpy(out->own + parts[0].len, parts[1].ptr, parts[1].len);
    memcpy(out->own + head_len, parts[3].ptr, parts[3].len);
    if (shared != NULL) {
        shared->refs++;
    }
    *socket->out_last = out;
    socket->out_last = &out->next;
    socket->out_bytes += length(parts);
    return true;
}

static void log_slow(struct realtime *rt, const struct rt_socket *socket)
{
    struct log_line line;
    log_begin(&line, rt->config.log, LOG_LEVEL_INFO, clock_wall_us(), "realtime_slow");
    log_add_int(&line, "waiting_bytes", (int64_t)socket->out_bytes);
    log_add_int(&line, "channels", socket->n_channels);
    log_end(&line);
}

void rt_send(struct realtime *rt, struct rt_socket *socket, enum ws_opcode opcode,
             struct slice head, struct rt_bytes *shared, struct slice tail)
{
    unsigned char header[WS_HEADER_BYTES];
    struct slice parts[PARTS] = {SLICE(""), head, shared_of(shared), tail};
    if (socket->doomed || socket->closing) {
        return;
    }
    parts[0] = (struct slice){(const char *)header, ws_header(opcode, length(parts), header)};
    bool waits = socket->out != NULL;
    if (waits && socket->out_bytes + length(parts) > RT_WAITING_BYTES) {
        atomic_fetch_add_explicit(&rt->counters.slow, 1, memory_order_relaxed);
        log_slow(rt, socket);
        rt_doom(rt, socket);
        return;
    }
    ssize_t n = waits ? 0 : push(socket, parts);
    if (n >= 0 && (size_t)n == length(parts)) {
        return;
    }
    if (n < 0 || !keep(socket, parts, shared)) {
        rt_doom(rt, socket);
        return;
    }
    socket->out_sent = waits ? socket->out_sent : (size_t)n;
    watch(rt, socket, true);
}

void rt_send_frame(struct realtime *rt, struct rt_socket *socket)
{
    if (rt->frame.failed) {
        rt_doom(rt, socket);
    } else {
        rt_send(rt, socket, WS_TEXT, buf_slice(&rt->frame), NULL, SLICE(""));
    }
}

/* ---- The end --------------------------------------------------------------------------------- */

void rt_close(struct realtime *rt, struct rt_socket *socket, unsigned code)
{
    const char payload[2] = {(char)(code >> 8), (char)(code & 0xff)};
    if (socket->closing || socket->doomed) {
        return;
    }
    rt_send(rt, socket, WS_CLOSE, (struct slice){payload, code == 0 ? 0 : 2}, NULL, SLICE(""));
    socket->closing = true;
    socket->close_by_us = clock_us() + (int64_t)RT_CLOSE_MS * 1000;
    rt_hold_forget(rt, socket, SLICE_NONE);
    while (socket->channels != NULL) {
        rt_channel_free(rt, socket->channels);
    }
    rt_relay_settle(socket);
    if (socket->out == NULL && !socket->doomed) {
        shutdown(socket->fd, SHUT_WR);
    }
}

void rt_doom(struct realtime *rt, struct rt_socket *socket)
{
    if (!socket->doomed) {
        socket->doomed = true;
        socket->next_doomed = rt->doomed;
        rt->doomed = socket;
    }
}

static void give_reader(struct realtime *rt, struct ws_reader *reader)
{
    if (rt->spare == NULL && ws_reader_idle(reader)) {
        rt->spare = reader;
    } else {
        ws_reader_free(reader);
    }
}

static void end(struct realtime *rt, struct rt_socket *socket)
{
    rt_hold_forget(rt, socket, SLICE_NONE);
    while (socket->channels != NULL) {
        rt_channel_free(rt, socket->channels);
    }
    rt_relay_settle(socket);
    while (socket->out != NULL) {
        pop(socket);
    }
    ws_reader_free(socket->reader);
    /* By hand: the HTTP library may still have its own descriptor of this socket open. */
    epoll_ctl(rt->epoll, EPOLL_CTL_DEL, socket->fd, NULL);
    close(socket->fd);
    rt->n_sockets--;
    rt->sockets[socket->index] = rt->sockets[rt->n_sockets];
    rt->sockets[socket->index]->index = socket->index;
    atomic_fetch_sub_explicit(&rt->counters.sockets, 1, memory_order_relaxed);
    mem_free(socket->caller);
    mem_free(socket);
}

void rt_reap(struct realtime *rt)
{
    while (rt->doomed != NULL) {
        struct rt_socket *socket = rt->doomed;
        rt->doomed = socket->next_doomed;
        end(rt, socket);
    }
}

/* ---- Reading --------------------------------------------------------------------------------- */

static void abuse(struct realtime *rt, struct rt_socket *socket, unsigned code)
{
    atomic_fetch_add_explicit(&rt->counters.abused, 1, memory_order_relaxed);
    rt_close(rt, socket, code);
}

/* A bucket of RT_FRAMES that fills with RT_FRAME_RATE a second. */
static bool take_frames(struct rt_socket *socket, unsigned n, int64_t now_us)
{
    const int64_t each_us = 1000000 / RT_FRAME_RATE;
    int64_t full_us = socket->frames_us > now_us ? socket->frames_us : now_us;
    socket->frames_us = full_us + n * each_us;
    return socket->frames_us - now_us <= RT_FRAMES * each_us;
}

static void handle(struct realtime *rt, struct rt_socket *socket, const struct ws_message *message)
{
    switch (message->opcode) {
    case WS_TEXT:
        rt_message(rt, socket, message->data);
        rt_relay_settle(socket);
        return;
    case WS_BINARY:
        rt_broadcast_binary(rt, socket, message->data);
        rt_relay_settle(socket);
        return;
    case WS_PING:
        rt_send(rt, socket, WS_PONG, message->data, NULL, SLICE(""));
        return;
    case WS_CLOSE:
        rt_close(rt, socket, message->code);
        return;
    case WS_PONG:
    case WS_CONTINUATION:
        return;
    }
}

/* Bytes that arrived, to the last one. */
static void feed(struct realtime *rt, struct rt_socket *socket, struct slice bytes)
{
    struct ws_message message;
    enum ws_verdict verdict = WS_MESSAGE;
    ws_reader_feed(socket->reader, bytes.ptr, bytes.len);
    while (verdict == WS_MESSAGE && !socket->closing && !socket->doomed) {
        size_t limit = socket->trusted ? RT_MESSAGE_BYTES : RT_FIRST_BYTES;
        verdict = ws_read(socket->reader, limit, &message);
        unsigned n = ws_reader_frames(socket->reader);
        if (n > 0 && !take_frames(socket, n, clock_us())) {
            abuse(rt, socket, WS_CLOSE_POLICY);
        } else if (verdict == WS_BROKEN) {
            abuse(rt, socket, message.code);
        } else if (verdict == WS_MESSAGE) {
            handle(rt, socket, &message);
        }
    }
}

static bool borrow_reader(struct realtime *rt, struct rt_socket *socket)
{
    if (socket->reader == NULL && rt->spare != NULL) {
        socket->reader = rt->spare;
        rt->spare = NULL;
    }
    return socket->reader != NULL || ws_reader_new(&socket->reader) == BQ_OK;
}

static void take_in(struct realtime *rt, struct rt_socket *socket, struct slice bytes)
{
    socket->heard_us = clock_us();
    if (socket->closing) {
        return; /* thrown away: only the other side's end is waited for */
    }
    if (!borrow_reader(rt, socket)) {
        rt_doom(rt, socket);
        return;
    }
    feed(rt, socket, bytes);
    if (!socket->closing && !socket->doomed && ws_reader_idle(socket->reader)) {
        give_reader(rt, socket->reader);
        socket->reader = NULL;
    }
}

void rt_socket_ready(struct realtime *rt, struct rt_socket *socket, unsigned events)
{
    if (socket->doomed) {
        return;
    }
    if ((events & EPOLLOUT) != 0) {
        flush(rt, socket);
    }
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0 || socket->doomed) {
        return;
    }
    ssize_t n = recv(socket->fd, rt->scratch, RT_TURN_BYTES, MSG_DONTWAIT);
    if (n > 0) {
        take_in(rt, socket, (struct slice){rt->scratch, (size_t)n});
    } else if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) {
        rt_doom(rt, socket);
    }
}

/* ---- The beginning --------------------------------------------------------------------------- */

static bool list(struct realtime *rt, struct rt_socket *socket)
{
    if (rt->n_sockets == rt->room) {
        size_t room = rt->room == 0 ? 64 : rt->room * 2;
        struct rt_socket **sockets = mem_realloc(rt->sockets, room * sizeof(struct rt_socket *));
        if (sockets == NULL) {
            return false;
        }
        rt->sockets = sockets;
        rt->room = room;
    }
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = socket}};
    if (epoll_ctl(rt->epoll, EPOLL_CTL_ADD, socket->fd, &event) != 0) {
        return false;
    }
    socket->index = rt->n_sockets;
    rt->sockets[rt->n_sockets++] = socket;
    return true;
}

/* Whether there are as many sockets as there may be, in all (handshakes at the same time each saw
 * room) or of its address. */
static bool is_crowded(const struct realtime *rt, const struct rt_socket *socket)
{
    int64_t n = 0;
    if (rt->n_sockets >= (size_t)rt->config.config->sockets) {
        return true;
    }
    for (size_t i = 0; i < rt->n_sockets; i++) {
        n += rt->sockets[i]->address == socket->address;
    }
    return n >= rt->config.config->address_sockets;
}

/* The client sees a lost connection, and comes again later. */
static void refuse(struct realtime *rt, int fd)
{
    close(fd);
    atomic_fetch_sub_explicit(&rt->counters.sockets, 1, memory_order_relaxed);
}

void rt_socket_open(struct realtime *rt, int fd, const struct realtime_guest *guest,
                    struct slice extra)
{
    const int on = 1;
    struct rt_socket *socket = mem_zalloc(1, sizeof *socket);
    if (socket == NULL) {
        refuse(rt, fd);
        return;
    }
    socket->fd = fd;
    socket->id = ++rt->last_id;
    socket->vsn = guest->vsn;
    socket->identity = guest->identity;
    socket->trusted = guest->identity.role != ROLE_ANON;
    socket->out_last = &socket->out;
    socket->opened_us = clock_us();
    socket->heard_us = socket->opened_us;
    socket->address = guest->address;
    if (rt->relay != NULL && guest->caller.len > 0) {
        /* Where memory is exhausted the socket has no upstream. */
        socket->caller = mem_dup(guest->caller.ptr, guest->caller.len);
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (is_crowded(rt, socket) || !list(rt, socket)) {
        refuse(rt, fd);
        mem_free(socket->caller);
        mem_free(socket);
        return;
    }
    atomic_fetch_add_explicit(&rt->counters.opened, 1, memory_order_relaxed);
    if (extra.len > 0) {
        take_in(rt, socket, extra);
    }
}
