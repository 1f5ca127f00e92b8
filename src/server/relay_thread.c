/* relay_thread.c - the thread of relay.h: it alone touches libcurl. */
#include "server/relay_impl.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/status.h"
#include "server/clock.h"
#include "server/head.h"

#include <signal.h>
#include <stdio.h>

#define POLL_MS 10000
#define TURN_NEWS 64u /* of one link before the others have their turn */

/* ---- News ------------------------------------------------------------------------------------ */

/* Puts the link into the row of those that have something to tell. */
static void tell(struct relay_link *link)
{
    struct relay *relay = link->relay;
    pthread_mutex_lock(&relay->lock);
    bool first = relay->ready == NULL;
    relay_make_ready(link);
    first = first && relay->ready != NULL;
    pthread_mutex_unlock(&relay->lock);
    if (first) {
        relay->config.wake(relay->config.cls);
    }
}

static void lose(struct relay_link *link, const char *why)
{
    pthread_mutex_lock(&link->relay->lock);
    link->lost = true;
    (void)snprintf(link->why, sizeof link->why, "%s", why);
    relay_queue_release(&link->up);
    pthread_mutex_unlock(&link->relay->lock);
    web_socket_free(link->socket); /* `why` may be its own */
    link->socket = NULL;
    tell(link);
}

static bool is_paused(struct relay_link *link)
{
    pthread_mutex_lock(&link->relay->lock);
    link->paused = link->down.bytes > RELAY_WAITING_BYTES;
    bool paused = link->paused;
    pthread_mutex_unlock(&link->relay->lock);
    return paused;
}

static void take_frame(struct relay_link *link, const struct web_socket_news *news)
{
    struct relay_frame *frame = relay_frame_new(news->kind == WEB_SOCKET_BINARY, news->body);
    if (frame == NULL) {
        lose(link, "memory is exhausted");
        return;
    }
    link->heard_us = clock_us();
    pthread_mutex_lock(&link->relay->lock);
    relay_queue_put(&link->down, frame);
    pthread_mutex_unlock(&link->relay->lock);
    tell(link);
}

/* ---- Frames to the upstream ------------------------------------------------------------------ */

/* Hands what waits to the socket. */
static void send_up(struct relay_link *link)
{
    struct relay_frame *frame;
    bool good = true;
    while (good && link->open) {
        pthread_mutex_lock(&link->relay->lock);
        frame = relay_queue_take(&link->up);
        link->queued += frame == NULL ? 0 : frame->len;
        pthread_mutex_unlock(&link->relay->lock);
        if (frame == NULL) {
            return;
        }
        good = web_socket_send(link->socket, frame->binary,
                               (struct slice){frame->bytes, frame->len}) == BQ_OK;
        mem_free(frame);
    }
    if (!good) {
        lose(link, "memory is exhausted");
    }
}

static void note_queued(struct relay_link *link)
{
    size_t queued = link->socket == NULL ? 0 : web_socket_queued(link->socket);
    pthread_mutex_lock(&link->relay->lock);
    link->queued = queued;
    pthread_mutex_unlock(&link->relay->lock);
}

static void send_heartbeat(struct relay_link *link)
{
    const struct phx_head head = {link->vsn, SLICE_NONE, SLICE("heartbeat"), SLICE("phoenix"),
                                  "heartbeat"};
    struct buf text = BUF_INIT;
    phx_begin(&text, &head);
    buf_add_text(&text, "{}");
    phx_end(&text, &head);
    if (text.failed || web_socket_send(link->socket, false, buf_slice(&text)) != BQ_OK) {
        lose(link, "memory is exhausted");
    }
    buf_release(&text);
}

/* ---- One link -------------------------------------------------------------------------------- */

static int make_socket(struct relay_link *link)
{
    const struct relay_config *config = &link->relay->config;
    struct trust *trust = link->relay->trust;
    const struct web_socket_config socket = {.url = config->url,
                                             .ca_file = config->ca_file,
                                             .timeout_ms = (unsigned)config->open_ms,
                                             .frame_bytes = RELAY_FRAME_BYTES,
                                             .trust = trust == NULL ? NULL : trust_set,
                                             .trust_cls = trust};
    const struct upgrade_request request = {.path = UPGRADE_REALTIME_PATH,
                                            .vsn = link->vsn == PHX_V2 ? "2.0.0" : "1.0.0",
                                            .api_key = link->api_key,
                                            .via = HEAD_VIA,
                                            .address = link->address};
    int status = web_socket_new(&socket, &link->socket);
    return status == BQ_OK ? web_socket_open(link->socket, &request) : status;
}

static void begin(struct relay_link *link)
{
    struct relay *relay = link->relay;
    link->begun = true;
    link->opened_us = clock_us();
    link->next = relay->links;
    link->where = &relay->links;
    if (link->next != NULL) {
        link->next->where = &link->next;
    }
    relay->links = link;
    if (make_socket(link) != BQ_OK) {
        lose(link, "memory is exhausted");
    }
}

static void take_news(struct relay_link *link, const struct web_socket_news *news)
{
    switch (news->kind) {
    case WEB_SOCKET_OPEN:
        link->open = true;
        link->heard_us = link->beat_us = clock_us();
        pthread_mutex_lock(&link->relay->lock);
        link->has_opened = true;
        pthread_mutex_unlock(&link->relay->lock);
        tell(link);
        send_up(link);
        return;
    case WEB_SOCKET_TEXT:
    case WEB_SOCKET_BINARY:
        take_frame(link, news);
        return;
    case WEB_SOCKET_LOST:
        lose(link, news->error);
        return;
    }
}

static void work(struct relay_link *link)
{
    struct web_socket_news news;
    unsigned n = 0;
    send_up(link);
    while (link->socket != NULL && n < TURN_NEWS && !is_paused(link) &&
           web_socket_work(link->socket, &news)) {
        take_news(link, &news);
        n++;
    }
    link->due = n == TURN_NEWS;
    note_queued(link);
}

/* Time that is over, or until when there is some. */
static void look_at_clock(struct relay_link *link, int64_t now_us, int64_t *wait_ms)
{
    const struct relay_config *config = &link->relay->config;
    int64_t since_us = link->open ? link->beat_us : link->opened_us;
    int64_t left_us = since_us + (link->open ? config->beat_ms : config->open_ms) * 1000 - now_us;
    if (left_us > 0) {
        *wait_ms = left_us / 1000 < *wait_ms ? left_us / 1000 + 1 : *wait_ms;
    } else if (!link->open) {
        lose(link, "the upstream does not answer the handshake");
    } else if (link->heard_us < link->beat_us) {
        lose(link, "the upstream does not answer heartbeats");
    } else {
        link->beat_us = now_us;
        link->due = true;
        send_heartbeat(link);
    }
}

static void end(struct relay_link *link)
{
    struct relay *relay = link->relay;
    if (link->begun) {
        *link->where = link->next;
        if (link->next != NULL) {
            link->next->where = link->where;
        }
    }
    relay_link_free(link);
    pthread_mutex_lock(&relay->lock);
    relay->n_links--;
    pthread_mutex_unlock(&relay->lock);
}

/* ---- All links ------------------------------------------------------------------------------- */

/* False: it is to end. */
static bool read_mail(struct relay *relay)
{
    pthread_mutex_lock(&relay->lock);
    while (relay->mail != NULL) {
        struct relay_link *link = relay->mail;
        relay->mail = link->next_mail;
        link->mailed = false;
        bool closed = link->closed;
        pthread_mutex_unlock(&relay->lock);
        if (closed) {
            end(link);
        } else if (!link->begun) {
            begin(link);
        } else {
            link->due = true;
        }
        pthread_mutex_lock(&relay->lock);
    }
    bool go_on = !relay->stopping;
    pthread_mutex_unlock(&relay->lock);
    return go_on;
}

static bool has_room(struct relay *relay, unsigned n_fds)
{
    if (n_fds + WEB_SOCKET_FDS > relay->fds_room) {
        unsigned room = 2 * relay->fds_room + WEB_SOCKET_FDS;
        struct curl_waitfd *fds = mem_realloc(relay->fds, room * sizeof *fds);
        if (fds == NULL) {
            return false;
        }
        relay->fds = fds;
        relay->fds_room = room;
    }
    return true;
}

/* What the link waits for. While it connects, it is looked at in each turn. */
static void watch(struct relay_link *link, unsigned *n_fds, int64_t *wait_ms)
{
    int64_t link_ms = *wait_ms;
    if (!has_room(link->relay, *n_fds)) {
        lose(link, "memory is exhausted");
        return;
    }
    link->n_fds = web_socket_watch(link->socket, link->relay->fds + *n_fds, &link_ms);
    *n_fds += link->n_fds;
    link->due = link->due || !link->open || link_ms <= 0;
    link_ms = link->due && link->open ? 0 : link_ms;
    *wait_ms = link_ms < *wait_ms ? link_ms : *wait_ms;
}

static void turn(struct relay *relay)
{
    int64_t wait_ms = POLL_MS;
    unsigned n_fds = 0;
    for (struct relay_link *link = relay->links; link != NULL; link = link->next) {
        link->n_fds = 0;
        if (link->socket != NULL && link->due) {
            work(link);
        }
        if (link->socket != NULL) {
            look_at_clock(link, clock_us(), &wait_ms);
        }
        if (link->socket != NULL && !is_paused(link)) {
            watch(link, &n_fds, &wait_ms);
        }
    }
    curl_multi_poll(relay->multi, relay->fds, n_fds, (int)wait_ms, NULL);
    unsigned at = 0;
    for (struct relay_link *link = relay->links; link != NULL; link = link->next) {
        for (unsigned i = 0; i < link->n_fds; i++) {
            link->due = link->due || relay->fds[at].revents != 0;
            at++;
        }
    }
}

void *relay_run(void *cls)
{
    struct relay *relay = cls;
    sigset_t pipes;
    sigemptyset(&pipes);
    sigaddset(&pipes, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipes, NULL);
    while (read_mail(relay)) {
        turn(relay);
    }
    return NULL;
}
