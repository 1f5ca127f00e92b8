/* web_socket.c - see web_socket.h. */
#include "net/web_socket.h"

#include "base/mem.h"
#include "base/status.h"
#include "net/curl_setup.h"

#include <stdio.h>
#include <sys/random.h>
#include <sys/select.h>
#include <wslay/wslay.h>

/* Bytes taken in one go, so that a server that never stops does not keep the thread. */
#define WORK_BYTES (64u << 10)

/* Frames that wait to be sent (answers to pings, above all): with more, nothing is read. */
#define QUEUE_FRAMES 32u

enum phase {
    CLOSED,
    CONNECTING, /* TCP, TLS, proxy */
    ASKING,     /* the handshake */
    OPEN,
    GONE /* and nobody was told */
};

struct web_socket {
    struct web_socket_config config; /* owned texts */
    enum phase phase;
    CURLM *multi;
    CURL *easy;
    wslay_event_context_ptr wslay;
    char key[UPGRADE_KEY_TEXT];
    struct buf out; /* the request, from `sent` on still to go */
    size_t sent;
    struct buf in; /* the answer's head, and what came behind it up to `taken` */
    size_t taken;
    struct buf texts; /* messages that came, each behind its mark */
    size_t told;      /* of them */
    size_t budget;    /* bytes that may still be taken in this go */
    bool broken;      /* the connection ended or failed */
    bool no_memory;
    enum live_loss loss;
    int64_t retry_after_ms;
    char error[CURL_ERROR_SIZE];
    char sentence[CURL_ERROR_SIZE + 64];
};

/* Before each message in `texts`. */
struct mark {
    uint32_t len;
    bool binary;
};

/* ---- Making and freeing ---------------------------------------------------------------------- */

static bool copy_text(const char *text, const char **out)
{
    *out = text == NULL ? NULL : mem_dup(text, strlen(text));
    return text == NULL || *out != NULL;
}

static void free_text(const char *text)
{
    mem_free((void *)(uintptr_t)text);
}

int web_socket_new(const struct web_socket_config *config, struct web_socket **out)
{
    struct web_socket *socket = mem_zalloc(1, sizeof *socket);
    if (socket == NULL) {
        return BQ_NOMEM;
    }
    socket->config = (struct web_socket_config){.timeout_ms = config->timeout_ms,
                                                .frame_bytes = config->frame_bytes,
                                                .trust = config->trust,
                                                .trust_cls = config->trust_cls};
    if (!copy_text(config->url, &socket->config.url) ||
        !copy_text(config->ca_file, &socket->config.ca_file) ||
        !copy_text(config->proxy, &socket->config.proxy)) {
        web_socket_free(socket);
        return BQ_NOMEM;
    }
    *out = socket;
    return BQ_OK;
}

/* It held a token. */
static void wipe(struct buf *buf)
{
    if (buf->ptr != NULL) {
        explicit_bzero(buf->ptr, buf->size);
    }
    buf_release(buf);
}

/* The connection and all that belongs to it; what the news will say stays. */
static void drop_connection(struct web_socket *socket)
{
    struct curl_quiet quiet;
    curl_quiet_begin(&quiet);
    if (socket->wslay != NULL) {
        wslay_event_context_free(socket->wslay);
        socket->wslay = NULL;
    }
    if (socket->multi != NULL && socket->easy != NULL) {
        (void)curl_multi_remove_handle(socket->multi, socket->easy);
    }
    curl_easy_cleanup(socket->easy);
    (void)curl_multi_cleanup(socket->multi);
    socket->easy = NULL;
    socket->multi = NULL;
    wipe(&socket->out);
    buf_release(&socket->in);
    socket->sent = 0;
    socket->taken = 0;
    curl_quiet_end(&quiet);
}

void web_socket_free(struct web_socket *socket)
{
    if (socket == NULL) {
        return;
    }
    web_socket_close(socket);
    free_text(socket->config.url);
    free_text(socket->config.ca_file);
    free_text(socket->config.proxy);
    mem_free(socket);
}

/* ---- Losing ---------------------------------------------------------------------------------- */

static void lose(struct web_socket *socket, enum live_loss loss, const char *why)
{
    socket->loss = loss;
    (void)snprintf(socket->sentence, sizeof socket->sentence, "%s%s%s", why,
                   socket->error[0] != '\0' ? ": " : "", socket->error);
    drop_connection(socket);
    socket->phase = GONE;
}

/* ---- Bytes ----------------------------------------------------------------------------------- */

/* BQ_OK with *n bytes, BQ_EMPTY where none can be had now, BQ_NETWORK. */
static int receive(struct web_socket *socket, void *bytes, size_t len, size_t *n)
{
    CURLcode code = curl_easy_recv(socket->easy, bytes, len, n);
    if (code == CURLE_AGAIN) {
        return BQ_EMPTY;
    }
    socket->broken = code != CURLE_OK || *n == 0;
    return socket->broken ? BQ_NETWORK : BQ_OK;
}

static int transmit(struct web_socket *socket, const void *bytes, size_t len, size_t *n)
{
    CURLcode code = curl_easy_send(socket->easy, bytes, len, n);
    if (code == CURLE_AGAIN || (code == CURLE_OK && *n == 0)) {
        return BQ_EMPTY;
    }
    socket->broken = code != CURLE_OK;
    return socket->broken ? BQ_NETWORK : BQ_OK;
}

/* ---- Frames ---------------------------------------------------------------------------------- */

static ssize_t on_receive(wslay_event_context_ptr ctx, uint8_t *bytes, size_t len, int flags,
                          void *context)
{
    struct web_socket *socket = context;
    size_t n = 0;
    (void)flags;
    if (socket->taken < socket->in.len) {
        n = socket->in.len - socket->taken;
        n = n < len ? n : len;
        memcpy(bytes, socket->in.ptr + socket->taken, n);
        socket->taken += n;
        return (ssize_t)n;
    }
    int status = socket->budget == 0 ? BQ_EMPTY : receive(socket, bytes, len, &n);
    if (status != BQ_OK) {
        wslay_event_set_error(ctx, status == BQ_EMPTY ? WSLAY_ERR_WOULDBLOCK
                                                      : WSLAY_ERR_CALLBACK_FAILURE);
        return -1;
    }
    socket->budget -= n < socket->budget ? n : socket->budget;
    return (ssize_t)n;
}

static ssize_t on_send(wslay_event_context_ptr ctx, const uint8_t *bytes, size_t len, int flags,
                       void *context)
{
    struct web_socket *socket = context;
    size_t n = 0;
    (void)flags;
    int status = transmit(socket, bytes, len, &n);
    if (status != BQ_OK) {
        wslay_event_set_error(ctx, status == BQ_EMPTY ? WSLAY_ERR_WOULDBLOCK
                                                      : WSLAY_ERR_CALLBACK_FAILURE);
        return -1;
    }
    return (ssize_t)n;
}

/* RFC 6455 section 5.3: unpredictable. */
static int on_mask(wslay_event_context_ptr ctx, uint8_t *bytes, size_t len, void *context)
{
    (void)context;
    if (getrandom(bytes, len, 0) != (ssize_t)len) {
        wslay_event_set_error(ctx, WSLAY_ERR_CALLBACK_FAILURE);
        return -1;
    }
    return 0;
}

static void on_message(wslay_event_context_ptr ctx, const struct wslay_event_on_msg_recv_arg *arg,
                       void *context)
{
    struct web_socket *socket = context;
    const struct mark mark = {(uint32_t)arg->msg_length, arg->opcode == WSLAY_BINARY_FRAME};
    (void)ctx;
    if (arg->opcode != WSLAY_TEXT_FRAME && !mark.binary) {
        return;
    }
    if (!buf_reserve(&socket->texts, sizeof mark + mark.len)) {
        socket->no_memory = true;
        return;
    }
    buf_add(&socket->texts, &mark, sizeof mark);
    buf_add(&socket->texts, arg->msg, mark.len);
}

static bool begin_frames(struct web_socket *socket)
{
    static const struct wslay_event_callbacks callbacks = {
        .recv_callback = on_receive,
        .send_callback = on_send,
        .genmask_callback = on_mask,
        .on_msg_recv_callback = on_message,
    };
    if (wslay_event_context_client_init(&socket->wslay, &callbacks, socket) != 0) {
        socket->wslay = NULL;
        return false;
    }
    wslay_event_config_set_max_recv_msg_length(socket->wslay, socket->config.frame_bytes);
    return true;
}

int web_socket_send(struct web_socket *socket, bool binary, struct slice message)
{
    const struct wslay_event_msg frame = {binary ? WSLAY_BINARY_FRAME : WSLAY_TEXT_FRAME,
                                          (const uint8_t *)message.ptr, message.len};
    if (socket->phase != OPEN) {
        return BQ_OK; /* its end is told soon */
    }
    return wslay_event_queue_msg(socket->wslay, &frame) == 0 ? BQ_OK : BQ_NOMEM;
}

size_t web_socket_queued(const struct web_socket *socket)
{
    return socket->phase == OPEN ? wslay_event_get_queued_msg_length(socket->wslay) : 0;
}

/* ---- Opening --------------------------------------------------------------------------------- */

static bool print_request(struct web_socket *socket, const struct upgrade_request *request)
{
    struct upgrade_request whole = *request;
    uint8_t nonce[UPGRADE_NONCE_BYTES];
    if (getrandom(nonce, sizeof nonce, 0) != (ssize_t)sizeof nonce) {
        return false;
    }
    upgrade_key(nonce, socket->key);
    whole.url = slice_of(socket->config.url);
    whole.key = socket->key;
    upgrade_print(&socket->out, &whole);
    return !socket->out.failed;
}

/* A multi handle of its own: where others connect in the same one, libcurl takes a connection that
 * it handed over for an idle one, and closes it.
 *
 * A proxy has to make a tunnel, also for http: it would not pass an upgrade on. */
static bool begin_connection(struct web_socket *socket)
{
    const struct curl_setup setup = {socket->config.ca_file, socket->config.proxy,
                                     (long)socket->config.timeout_ms};
    int bad = 0;
    socket->multi = curl_multi_init();
    socket->easy = curl_easy_init();
    if (socket->multi == NULL || socket->easy == NULL ||
        !curl_setup_easy(socket->easy, &setup, socket->error)) {
        return false;
    }
    bad |= (int)curl_easy_setopt(socket->easy, CURLOPT_URL, socket->config.url);
    bad |= (int)curl_easy_setopt(socket->easy, CURLOPT_CONNECT_ONLY, 1L);
    bad |= (int)curl_easy_setopt(socket->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    bad |= (int)curl_easy_setopt(socket->easy, CURLOPT_HTTPPROXYTUNNEL, 1L);
    if (socket->config.trust != NULL) {
        bad |= (int)curl_easy_setopt(socket->easy, CURLOPT_CAINFO, (char *)NULL);
        bad |= (int)curl_easy_setopt(socket->easy, CURLOPT_CAPATH, (char *)NULL);
        bad |= (int)curl_easy_setopt(socket->easy, CURLOPT_SSL_CTX_FUNCTION, socket->config.trust);
        bad |= (int)curl_easy_setopt(socket->easy, CURLOPT_SSL_CTX_DATA, socket->config.trust_cls);
    }
    return bad == 0 && curl_multi_add_handle(socket->multi, socket->easy) == CURLM_OK;
}

int web_socket_open(struct web_socket *socket, const struct upgrade_request *request)
{
    web_socket_close(socket);
    socket->error[0] = '\0';
    socket->broken = false;
    socket->no_memory = false;
    socket->retry_after_ms = -1;
    if (!print_request(socket, request) || !begin_connection(socket)) {
        drop_connection(socket);
        return BQ_NOMEM;
    }
    socket->phase = CONNECTING;
    return BQ_OK;
}

void web_socket_close(struct web_socket *socket)
{
    struct curl_quiet quiet;
    curl_quiet_begin(&quiet);
    if (socket->phase == OPEN) {
        (void)wslay_event_queue_close(socket->wslay, WSLAY_CODE_NORMAL_CLOSURE, NULL, 0);
        (void)wslay_event_send(socket->wslay);
    }
    curl_quiet_end(&quiet);
    drop_connection(socket);
    buf_release(&socket->texts);
    socket->told = 0;
    socket->phase = CLOSED;
}

/* ---- Working --------------------------------------------------------------------------------- */

static void work_connecting(struct web_socket *socket)
{
    int running, n_left;
    CURLMsg *message;
    (void)curl_multi_perform(socket->multi, &running);
    while ((message = curl_multi_info_read(socket->multi, &n_left)) != NULL) {
        if (message->msg != CURLMSG_DONE) {
            continue;
        }
        if (message->data.result != CURLE_OK) {
            lose(socket, LIVE_UNREACHABLE, "the server cannot be reached");
            return;
        }
        socket->phase = ASKING;
    }
}

static void read_answer(struct web_socket *socket, size_t head_len)
{
    struct upgrade_answer answer;
    upgrade_read((struct slice){socket->in.ptr, head_len}, socket->key, &answer);
    socket->taken = head_len;
    socket->retry_after_ms = answer.retry_after_ms;
    if (!answer.opened) {
        bool busy = answer.http_status == 429 || answer.http_status >= 500;
        (void)snprintf(socket->error, sizeof socket->error, "status %d", answer.http_status);
        lose(socket, busy ? LIVE_BUSY : LIVE_REFUSED, "the server opens no socket");
    } else if (!begin_frames(socket)) {
        lose(socket, LIVE_BUSY, "memory is exhausted");
    } else {
        wipe(&socket->out);
        socket->phase = OPEN;
    }
}

/* The end of the head, or 0. */
static size_t head_end(const struct buf *in)
{
    const char *end = in->len < 4 ? NULL : memmem(in->ptr, in->len, "\r\n\r\n", 4);
    return end == NULL ? 0 : (size_t)(end - in->ptr) + 4;
}

static void work_asking(struct web_socket *socket)
{
    size_t n = 0;
    int status = BQ_OK;
    while (status == BQ_OK && socket->sent < socket->out.len) {
        status =
            transmit(socket, socket->out.ptr + socket->sent, socket->out.len - socket->sent, &n);
        socket->sent += status == BQ_OK ? n : 0;
    }
    while (status == BQ_OK && head_end(&socket->in) == 0) {
        if (socket->in.len >= UPGRADE_HEAD_BYTES) {
            lose(socket, LIVE_REFUSED, "the server's answer is no handshake");
            return;
        }
        if (!buf_reserve(&socket->in, UPGRADE_HEAD_BYTES)) {
            lose(socket, LIVE_BUSY, "memory is exhausted");
            return;
        }
        status = receive(socket, socket->in.ptr + socket->in.len,
                         UPGRADE_HEAD_BYTES - socket->in.len, &n);
        socket->in.len += status == BQ_OK ? n : 0;
    }
    if (status == BQ_NETWORK) {
        lose(socket, LIVE_REFUSED, "the server ended the handshake");
    } else if (head_end(&socket->in) > 0) {
        read_answer(socket, head_end(&socket->in));
    }
}

/* All are told. What one long message took is not kept. */
static void forget_texts(struct web_socket *socket)
{
    if (socket->texts.size > WORK_BYTES) {
        buf_release(&socket->texts);
    }
    buf_clear(&socket->texts);
    socket->told = 0;
}

/* Messages go before the end of the connection that follows them. */
static void work_open(struct web_socket *socket)
{
    socket->budget = WORK_BYTES;
    if (socket->told == socket->texts.len) {
        forget_texts(socket);
    }
    int failed = wslay_event_send(socket->wslay);
    if (failed == 0 && wslay_event_get_queued_msg_count(socket->wslay) < QUEUE_FRAMES) {
        failed = wslay_event_recv(socket->wslay);
    }
    if (failed == 0) {
        failed = wslay_event_send(socket->wslay); /* answers to pings, and to a goodbye */
    }
    /* A breach of the protocol makes wslay say goodbye. */
    bool ended = wslay_event_get_close_received(socket->wslay) != 0 ||
                 wslay_event_get_close_sent(socket->wslay) != 0 ||
                 wslay_event_get_read_enabled(socket->wslay) == 0;
    if (socket->no_memory) {
        lose(socket, LIVE_BUSY, "memory is exhausted");
    } else if (failed != 0 || socket->broken || ended) {
        lose(socket, LIVE_DROPPED, "the server ended the connection");
    }
}

/* The next message; the text stays until the next call. */
static bool next_text(struct web_socket *socket, struct web_socket_news *out)
{
    struct mark mark;
    if (socket->told == socket->texts.len) {
        return false;
    }
    memcpy(&mark, socket->texts.ptr + socket->told, sizeof mark);
    socket->told += sizeof mark;
    out->kind = mark.binary ? WEB_SOCKET_BINARY : WEB_SOCKET_TEXT;
    out->body = (struct slice){socket->texts.ptr + socket->told, mark.len};
    socket->told += mark.len;
    return true;
}

bool web_socket_work(struct web_socket *socket, struct web_socket_news *out)
{
    *out = (struct web_socket_news){.retry_after_ms = -1};
    if (socket->told < socket->texts.len) {
        return next_text(socket, out);
    }
    if (socket->phase == CONNECTING) {
        work_connecting(socket);
    }
    if (socket->phase == ASKING) {
        work_asking(socket);
        if (socket->phase == OPEN) {
            out->kind = WEB_SOCKET_OPEN;
            return true;
        }
    }
    if (socket->phase == OPEN) {
        work_open(socket);
    }
    if (next_text(socket, out)) {
        return true;
    }
    if (socket->phase != GONE) {
        return false;
    }
    socket->phase = CLOSED;
    out->kind = WEB_SOCKET_LOST;
    out->loss = socket->loss;
    out->retry_after_ms = socket->retry_after_ms;
    out->error = socket->sentence;
    return true;
}

/* ---- Polling --------------------------------------------------------------------------------- */

static void lower(int64_t *wait_ms, int64_t ms)
{
    *wait_ms = ms < *wait_ms ? ms : *wait_ms;
}

/* What libcurl waits for while it connects: a name server's answer, TCP, TLS. */
static unsigned watch_connecting(struct web_socket *socket, struct curl_waitfd *fds,
                                 int64_t *wait_ms)
{
    fd_set reads, writes, errors;
    int max = -1;
    long timeout_ms = -1;
    unsigned n = 0;
    FD_ZERO(&reads);
    FD_ZERO(&writes);
    FD_ZERO(&errors);
    (void)curl_multi_fdset(socket->multi, &reads, &writes, &errors, &max);
    (void)curl_multi_timeout(socket->multi, &timeout_ms);
    for (int fd = 0; fd <= max && n < WEB_SOCKET_FDS; fd++) {
        short events = (short)((FD_ISSET(fd, &reads) ? CURL_WAIT_POLLIN : 0) |
                               (FD_ISSET(fd, &writes) ? CURL_WAIT_POLLOUT : 0));
        if (events != 0) {
            fds[n++] = (struct curl_waitfd){fd, events, 0};
        }
    }
    lower(wait_ms, timeout_ms >= 0 ? timeout_ms : 1000);
    if (n == 0) {
        lower(wait_ms, 50); /* as curl_multi_fdset(3) advises where it has nothing to show */
    }
    return n;
}

unsigned web_socket_watch(struct web_socket *socket, struct curl_waitfd fds[WEB_SOCKET_FDS],
                          int64_t *wait_ms)
{
    curl_socket_t fd = CURL_SOCKET_BAD;
    if (socket->phase == CLOSED) {
        return 0;
    }
    if (socket->phase == CONNECTING) {
        return watch_connecting(socket, fds, wait_ms);
    }
    if (socket->phase == GONE || socket->told < socket->texts.len ||
        (socket->phase == OPEN && socket->budget == 0) ||
        curl_easy_getinfo(socket->easy, CURLINFO_ACTIVESOCKET, &fd) != CURLE_OK ||
        fd == CURL_SOCKET_BAD) {
        lower(wait_ms, 0);
        return 0;
    }
    bool open = socket->phase == OPEN;
    bool writes =
        open ? wslay_event_want_write(socket->wslay) != 0 : socket->sent < socket->out.len;
    bool reads = !open || wslay_event_get_queued_msg_count(socket->wslay) < QUEUE_FRAMES;
    short events = (short)((reads ? CURL_WAIT_POLLIN : 0) | (writes ? CURL_WAIT_POLLOUT : 0));
    fds[0] = (struct curl_waitfd){fd, events, 0};
    return 1;
}
