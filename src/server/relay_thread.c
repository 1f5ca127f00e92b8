/* relay_thread.c - the thread of relay.h: it alone touches libcurl. */
#include "server/relay_impl.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/status.h"
#include "server/clock.h"
#include "server/head.h"

#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>

#define POLL_MS 10000
#define LOOK_MS INT64_C(100) /* between two looks at all clocks */
#define TURN_NEWS 64u /* of one link before the others have their turn */
#define EVENTS 256

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

/* Before its descriptor is closed. */
static void unwatch(struct relay_link *link)
{
    if (link->events != 0) {
        (void)epoll_ctl(link->relay->epoll, EPOLL_CTL_DEL, link->fd, NULL);
        link->events = 0;
    }
}

static void lose(struct relay_link *link, const char *why)
{
    unwatch(link);
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

/* ---- Lists ----------------------------------------------------------------------------------- */

static void enter(struct relay_link **head, struct relay_link *link)
{
    link->next = *head;
    link->where = head;
    if (link->next != NULL) {
        link->next->where = &link->next;
    }
    *head = link;
}

static void leave(struct relay_link *link)
{
    *link->where = link->next;
    if (link->next != NULL) {
        link->next->where = link->where;
    }
}

static void make_due(struct relay_link *link)
{
    if (!link->due) {
        link->due = true;
        link->next_due = link->relay->due;
        link->relay->due = link;
    }
}

static void forget_due(struct relay_link *link)
{
    struct relay_link **at = &link->relay->due;
    while (link->due && *at != link) {
        at = &(*at)->next_due;
    }
    if (link->due) {
        *at = link->next_due;
    }
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
    link->begun = true;
    link->opened_us = clock_us();
    enter(&link->relay->opening, link);
    if (make_socket(link) != BQ_OK) {
        lose(link, "memory is exhausted");
    }
}

static void take_news(struct relay_link *link, const struct web_socket_news *news)
{
    switch (news->kind) {
    case WEB_SOCKET_OPEN:
        link->open = true;
        leave(link);
        enter(&link->relay->open, link);
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

static void set_events(struct relay_link *link, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data = {.ptr = link}};
    int verb = link->events == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    if (events == link->events) {
        return;
    }
    if (epoll_ctl(link->relay->epoll, verb, fd, &event) != 0) {
        lose(link, "the system watches no more connections");
        return;
    }
    link->fd = fd;
    link->events = events;
}

/* What an open link waits for. While nothing is read nothing is looked for: an end of the
 * connection would be told for ever. */
static void await(struct relay_link *link, bool paused)
{
    struct curl_waitfd fds[WEB_SOCKET_FDS];
    int64_t wait_ms = POLL_MS;
    unsigned n = paused ? 0 : web_socket_watch(link->socket, fds, &wait_ms);
    if (wait_ms <= 0) {
        make_due(link);
    } else if (n == 0) {
        unwatch(link);
    } else {
        set_events(link, fds[0].fd,
                   ((fds[0].events & CURL_WAIT_POLLIN) != 0 ? (uint32_t)EPOLLIN : 0) |
                       ((fds[0].events & CURL_WAIT_POLLOUT) != 0 ? (uint32_t)EPOLLOUT : 0));
    }
}

static void work(struct relay_link *link)
{
    struct web_socket_news news;
    unsigned n = 0;
    bool paused = false;
    send_up(link);
    while (link->socket != NULL && n < TURN_NEWS && !(paused = is_paused(link)) &&
           web_socket_work(link->socket, &news)) {
        take_news(link, &news);
        n++;
    }
    note_queued(link);
    if (n == TURN_NEWS) {
        make_due(link);
    } else if (link->socket != NULL && link->open) {
        await(link, paused);
    }
}

/* Time that is over. */
static void look_at_clock(struct relay_link *link, int64_t now_us)
{
    const struct relay_config *config = &link->relay->config;
    int64_t since_us = link->open ? link->beat_us : link->opened_us;
    if (now_us - since_us < (link->open ? config->beat_ms : config->open_ms) * 1000) {
        return;
    }
    if (!link->open) {
        lose(link, "the upstream does not answer the handshake");
    } else if (link->heard_us < link->beat_us) {
        lose(link, "the upstream does not answer heartbeats");
    } else {
        link->beat_us = now_us;
        make_due(link);
        send_heartbeat(link);
    }
}

static void end(struct relay_link *link)
{
    struct relay *relay = link->relay;
    if (link->begun) {
        leave(link);
    }
    forget_due(link);
    unwatch(link);
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
            make_due(link);
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

static void work_due(struct relay *relay)
{
    struct relay_link *link = relay->due;
    relay->due = NULL;
    while (link != NULL) {
        struct relay_link *next = link->next_due;
        link->due = false;
        if (link->socket != NULL) {
            work(link);
        }
        link = next;
    }
}

/* Each is worked on in every turn: libcurl waits for one thing after another, and for its clock. */
static void work_opening(struct relay *relay, unsigned *n_fds, int64_t *wait_ms)
{
    struct relay_link *next;
    for (struct relay_link *link = relay->opening; link != NULL; link = next) {
        next = link->next;
        if (link->socket != NULL) {
            work(link);
        }
        if (link->socket == NULL || link->open) {
            continue;
        }
        if (has_room(relay, *n_fds)) {
            *n_fds += web_socket_watch(link->socket, relay->fds + *n_fds, wait_ms);
        } else {
            lose(link, "memory is exhausted");
        }
    }
}

static void look(struct relay *relay)
{
    int64_t now_us = clock_us();
    struct relay_link *const lists[] = {relay->opening, relay->open};
    if (now_us - relay->looked_us < LOOK_MS * 1000) {
        return;
    }
    relay->looked_us = now_us;
    for (unsigned i = 0; i < 2; i++) {
        for (struct relay_link *link = lists[i]; link != NULL; link = link->next) {
            if (link->socket != NULL) {
                look_at_clock(link, now_us);
            }
        }
    }
}

static void turn(struct relay *relay)
{
    struct epoll_event events[EVENTS];
    int64_t wait_ms = relay->opening == NULL && relay->open == NULL ? POLL_MS : LOOK_MS;
    unsigned n_fds = 1;
    work_due(relay);
    work_opening(relay, &n_fds, &wait_ms);
    look(relay);
    relay->fds[0] = (struct curl_waitfd){relay->epoll, CURL_WAIT_POLLIN, 0};
    curl_multi_poll(relay->multi, relay->fds, n_fds, relay->due == NULL ? (int)wait_ms : 0, NULL);
    int n = epoll_wait(relay->epoll, events, EVENTS, 0);
    for (int i = 0; i < n; i++) {
        make_due(events[i].data.ptr);
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
