/* relay.c - see relay.h. The thread alone touches libcurl; what it shares with the loop stands
 * under one lock: the mailbox of links that it is to look at, the queues, and the row of links that
 * have something to tell. */
#include "server/relay.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/status.h"
#include "net/curl_setup.h"
#include "net/web_socket.h"
#include "server/clock.h"
#include "server/head.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>

#define POLL_MS 10000
#define TURN_NEWS 64u    /* of one link before the others have their turn */
#define FRAME_COST 128u  /* of a frame that waits, beside its bytes */

struct frame {
    struct frame *next;
    bool binary;
    size_t len;
    char bytes[];
};

struct queue {
    struct frame *first;
    struct frame **last;
    size_t bytes;
};

struct relay_link {
    struct relay *relay;
    void *owner;
    enum phx_vsn vsn;
    char *api_key;
    char *address;
    /* The thread's. */
    struct relay_link *next; /* of its links */
    struct relay_link **where;
    struct web_socket *socket; /* NULL: not begun, or lost */
    bool begun;
    bool open;
    bool due; /* to be worked on before the next poll */
    int64_t opened_us;
    int64_t heard_us;
    int64_t beat_us;
    unsigned n_fds; /* of the last poll */
    /* Under the relay's lock. */
    struct queue up;
    struct queue down;
    size_t queued; /* bytes that the socket has yet to send */
    bool closed;
    bool paused; /* too much waits to be told */
    bool has_opened;
    bool lost;
    char why[128];
    bool mailed;
    struct relay_link *next_mail;
    bool ready;
    struct relay_link *next_ready;
};

struct relay {
    struct relay_config config;
    CURLM *multi; /* for its poll and wake-up alone */
    pthread_t thread;
    /* The thread's. */
    struct relay_link *links;
    struct curl_waitfd *fds;
    unsigned fds_room;
    /* The loop's. */
    struct frame *told;
    pthread_mutex_t lock; /* of all below */
    struct relay_link *mail;
    struct relay_link *ready;
    struct relay_link **ready_last;
    unsigned n_links;
    bool started;
    bool stopping;
};

/* ---- Queues ---------------------------------------------------------------------------------- */

static struct frame *frame_new(bool binary, struct slice text)
{
    struct frame *frame = mem_alloc(sizeof *frame + text.len);
    if (frame != NULL) {
        *frame = (struct frame){.binary = binary, .len = text.len};
        if (text.len > 0) {
            memcpy(frame->bytes, text.ptr, text.len);
        }
    }
    return frame;
}

static void queue_init(struct queue *queue)
{
    *queue = (struct queue){.last = &queue->first};
}

static void queue_put(struct queue *queue, struct frame *frame)
{
    *queue->last = frame;
    queue->last = &frame->next;
    queue->bytes += frame->len + FRAME_COST;
}

static struct frame *queue_take(struct queue *queue)
{
    struct frame *frame = queue->first;
    if (frame != NULL) {
        queue->first = frame->next;
        queue->last = queue->first == NULL ? &queue->first : queue->last;
        queue->bytes -= frame->len + FRAME_COST;
    }
    return frame;
}

static void queue_release(struct queue *queue)
{
    struct frame *frame;
    while ((frame = queue_take(queue)) != NULL) {
        mem_free(frame);
    }
}

/* ---- To and from the loop; the lock is held -------------------------------------------------- */

static void post(struct relay_link *link)
{
    if (!link->mailed) {
        link->mailed = true;
        link->next_mail = link->relay->mail;
        link->relay->mail = link;
    }
}

static bool has_news(const struct relay_link *link)
{
    return link->has_opened || link->down.first != NULL || link->lost;
}

static void make_ready(struct relay_link *link)
{
    struct relay *relay = link->relay;
    if (!link->ready && !link->closed && has_news(link)) {
        link->ready = true;
        link->next_ready = NULL;
        *relay->ready_last = link;
        relay->ready_last = &link->next_ready;
    }
}

static struct relay_link *take_ready(struct relay *relay)
{
    struct relay_link *link = relay->ready;
    if (link != NULL) {
        relay->ready = link->next_ready;
        relay->ready_last = relay->ready == NULL ? &relay->ready : relay->ready_last;
        link->ready = false;
    }
    return link;
}

/* ---- The thread: news ------------------------------------------------------------------------ */

/* Puts the link into the row of those that have something to tell. */
static void tell(struct relay_link *link)
{
    struct relay *relay = link->relay;
    pthread_mutex_lock(&relay->lock);
    bool first = relay->ready == NULL;
    make_ready(link);
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
    queue_release(&link->up);
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
    struct frame *frame = frame_new(news->kind == WEB_SOCKET_BINARY, news->body);
    if (frame == NULL) {
        lose(link, "memory is exhausted");
        return;
    }
    link->heard_us = clock_us();
    pthread_mutex_lock(&link->relay->lock);
    queue_put(&link->down, frame);
    pthread_mutex_unlock(&link->relay->lock);
    tell(link);
}

/* ---- The thread: frames to the upstream ------------------------------------------------------ */

/* Hands what waits to the socket. */
static void send_up(struct relay_link *link)
{
    struct frame *frame;
    bool good = true;
    while (good && link->open) {
        pthread_mutex_lock(&link->relay->lock);
        frame = queue_take(&link->up);
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

/* ---- The thread: one link -------------------------------------------------------------------- */

static int make_socket(struct relay_link *link)
{
    const struct relay_config *config = &link->relay->config;
    const struct web_socket_config socket = {.url = config->url,
                                             .ca_file = config->ca_file,
                                             .timeout_ms = (unsigned)config->open_ms,
                                             .frame_bytes = RELAY_FRAME_BYTES};
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

static void free_link(struct relay_link *link)
{
    web_socket_free(link->socket);
    queue_release(&link->up);
    queue_release(&link->down);
    mem_free(link->api_key);
    mem_free(link->address);
    mem_free(link);
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
    free_link(link);
    pthread_mutex_lock(&relay->lock);
    relay->n_links--;
    pthread_mutex_unlock(&relay->lock);
}

/* ---- The thread: all links ------------------------------------------------------------------- */

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

static void *run(void *cls)
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

/* ---- Start and end --------------------------------------------------------------------------- */

int relay_start(const struct relay_config *config, struct relay **out)
{
    curl_setup_once();
    struct relay *relay = mem_zalloc(1, sizeof *relay);
    if (relay == NULL) {
        return BQ_NOMEM;
    }
    relay->config = *config;
    relay->ready_last = &relay->ready;
    pthread_mutex_init(&relay->lock, NULL);
    relay->multi = curl_multi_init();
    relay->started =
        relay->multi != NULL && pthread_create(&relay->thread, NULL, run, relay) == 0;
    if (!relay->started) {
        relay_free(relay);
        return BQ_NOMEM;
    }
    *out = relay;
    return BQ_OK;
}

void relay_stop(struct relay *relay)
{
    if (relay == NULL || !relay->started) {
        return;
    }
    relay->started = false;
    pthread_mutex_lock(&relay->lock);
    relay->stopping = true;
    pthread_mutex_unlock(&relay->lock);
    curl_multi_wakeup(relay->multi);
    pthread_join(relay->thread, NULL);
}

void relay_free(struct relay *relay)
{
    if (relay == NULL) {
        return;
    }
    relay_stop(relay);
    if (relay->multi != NULL) {
        curl_multi_cleanup(relay->multi);
    }
    pthread_mutex_destroy(&relay->lock);
    mem_free(relay->fds);
    mem_free(relay->told);
    mem_free(relay);
}

/* ---- The loop's calls ------------------------------------------------------------------------ */

unsigned relay_links(struct relay *relay)
{
    pthread_mutex_lock(&relay->lock);
    unsigned n = relay->n_links;
    pthread_mutex_unlock(&relay->lock);
    return n;
}

int relay_open(struct relay *relay, const struct relay_request *request, struct relay_link **out)
{
    struct relay_link *link = mem_zalloc(1, sizeof *link);
    if (link == NULL) {
        return BQ_NOMEM;
    }
    link->relay = relay;
    link->owner = request->owner;
    link->vsn = request->vsn;
    queue_init(&link->up);
    queue_init(&link->down);
    link->address = mem_dup(request->address, strlen(request->address));
    if (request->api_key != NULL) {
        link->api_key = mem_dup(request->api_key, strlen(request->api_key));
    }
    if (link->address == NULL || (request->api_key != NULL && link->api_key == NULL)) {
        free_link(link);
        return BQ_NOMEM;
    }
    pthread_mutex_lock(&relay->lock);
    bool fits = relay->n_links < relay->config.links;
    if (fits) {
        relay->n_links++;
        post(link);
    }
    pthread_mutex_unlock(&relay->lock);
    if (!fits) {
        free_link(link);
        return BQ_BUSY;
    }
    curl_multi_wakeup(relay->multi);
    *out = link;
    return BQ_OK;
}

/* Takes the link out of the row; the lock is held. */
static void unready(struct relay_link *link)
{
    struct relay *relay = link->relay;
    struct relay_link **at = &relay->ready;
    while (link->ready && *at != link) {
        at = &(*at)->next_ready;
    }
    if (link->ready) {
        *at = link->next_ready;
        relay->ready_last = relay->ready_last == &link->next_ready ? at : relay->ready_last;
        link->ready = false;
    }
}

void relay_close(struct relay_link *link)
{
    struct relay *relay = link->relay;
    pthread_mutex_lock(&relay->lock);
    link->closed = true;
    unready(link);
    post(link);
    pthread_mutex_unlock(&relay->lock);
    curl_multi_wakeup(relay->multi); /* the link may be gone */
}

bool relay_send(struct relay_link *link, bool binary, struct slice text)
{
    struct relay *relay = link->relay;
    struct frame *frame = frame_new(binary, text);
    if (frame == NULL) {
        return false;
    }
    pthread_mutex_lock(&relay->lock);
    size_t waiting = link->up.bytes + link->queued;
    bool fits = waiting == 0 || waiting + text.len <= RELAY_WAITING_BYTES;
    if (fits && !link->lost) {
        queue_put(&link->up, frame);
        frame = NULL;
        post(link);
    }
    pthread_mutex_unlock(&relay->lock);
    mem_free(frame);
    curl_multi_wakeup(relay->multi);
    return fits;
}

bool relay_next(struct relay *relay, struct relay_news *out)
{
    mem_free(relay->told);
    relay->told = NULL;
    pthread_mutex_lock(&relay->lock);
    struct relay_link *link = take_ready(relay);
    bool look = false;
    if (link != NULL) {
        *out = (struct relay_news){.kind = RELAY_OPEN, .owner = link->owner};
        if (link->has_opened) {
            link->has_opened = false;
        } else if (link->down.first != NULL) {
            relay->told = queue_take(&link->down);
            out->kind = relay->told->binary ? RELAY_BINARY : RELAY_TEXT;
            out->frame = (struct slice){relay->told->bytes, relay->told->len};
            look = link->paused && link->down.bytes <= RELAY_WAITING_BYTES / 2;
        } else {
            out->kind = RELAY_LOST;
            out->why = link->why;
            link->lost = false;
        }
        make_ready(link);
    }
    if (look) {
        link->paused = false;
        post(link);
    }
    pthread_mutex_unlock(&relay->lock);
    if (look) {
        curl_multi_wakeup(relay->multi);
    }
    return link != NULL;
}
