/* relay.c - see relay.h: the loop's calls. What the loop shares with the thread stands under one
 * lock: the mailbox of links that the thread is to look at, the queues, and the row of links that
 * have something to tell. */
#include "server/relay.h"

#include "base/mem.h"
#include "base/status.h"
#include "net/curl_setup.h"
#include "server/relay_impl.h"

#include <sys/epoll.h>
#include <unistd.h>

#define FRAME_COST 128u /* of a frame that waits, beside its bytes */

/* ---- Queues ---------------------------------------------------------------------------------- */

struct relay_frame *relay_frame_new(bool binary, struct slice text)
{
    struct relay_frame *frame = mem_alloc(sizeof *frame + text.len);
    if (frame != NULL) {
        *frame = (struct relay_frame){.binary = binary, .len = text.len};
        if (text.len > 0) {
            memcpy(frame->bytes, text.ptr, text.len);
        }
    }
    return frame;
}

static void queue_init(struct relay_queue *queue)
{
    *queue = (struct relay_queue){.last = &queue->first};
}

void relay_queue_put(struct relay_queue *queue, struct relay_frame *frame)
{
    *queue->last = frame;
    queue->last = &frame->next;
    queue->bytes += frame->len + FRAME_COST;
}

struct relay_frame *relay_queue_take(struct relay_queue *queue)
{
    struct relay_frame *frame = queue->first;
    if (frame != NULL) {
        queue->first = frame->next;
        queue->last = queue->first == NULL ? &queue->first : queue->last;
        queue->bytes -= frame->len + FRAME_COST;
    }
    return frame;
}

void relay_queue_release(struct relay_queue *queue)
{
    struct relay_frame *frame;
    while ((frame = relay_queue_take(queue)) != NULL) {
        mem_free(frame);
    }
}

/* ---- Mailbox and row; the lock is held ----------------------------------------------------- */

void relay_post(struct relay_link *link)
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

void relay_make_ready(struct relay_link *link)
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

void relay_link_free(struct relay_link *link)
{
    web_socket_free(link->socket);
    relay_queue_release(&link->up);
    relay_queue_release(&link->down);
    mem_free(link->api_key);
    mem_free(link->address);
    mem_free(link);
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
    relay->epoll = epoll_create1(EPOLL_CLOEXEC);
    relay->fds_room = 1 + WEB_SOCKET_FDS;
    relay->fds = mem_alloc(relay->fds_room * sizeof *relay->fds);
    if (strncmp(config->url, "https:", 6) == 0) {
        relay->trust = trust_new(config->ca_file);
    }
    relay->started = relay->multi != NULL && relay->epoll >= 0 && relay->fds != NULL &&
                     pthread_create(&relay->thread, NULL, relay_run, relay) == 0;
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
    if (relay->epoll >= 0) {
        close(relay->epoll);
    }
    trust_free(relay->trust);
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
        relay_link_free(link);
        return BQ_NOMEM;
    }
    pthread_mutex_lock(&relay->lock);
    bool fits = relay->n_links < relay->config.links;
    if (fits) {
        relay->n_links++;
        relay_post(link);
    }
    pthread_mutex_unlock(&relay->lock);
    if (!fits) {
        relay_link_free(link);
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
    relay_post(link);
    pthread_mutex_unlock(&relay->lock);
    curl_multi_wakeup(relay->multi); /* the link may be gone */
}

bool relay_send(struct relay_link *link, bool binary, struct slice text)
{
    struct relay *relay = link->relay;
    struct relay_frame *frame = relay_frame_new(binary, text);
    if (frame == NULL) {
        return false;
    }
    pthread_mutex_lock(&relay->lock);
    size_t waiting = link->up.bytes + link->queued;
    bool fits = waiting == 0 || waiting + text.len <= RELAY_WAITING_BYTES;
    if (fits && !link->lost) {
        relay_queue_put(&link->up, frame);
        frame = NULL;
        relay_post(link);
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
            relay->told = relay_queue_take(&link->down);
            out->kind = relay->told->binary ? RELAY_BINARY : RELAY_TEXT;
            out->frame = (struct slice){relay->told->bytes, relay->told->len};
            look = link->paused && link->down.bytes <= RELAY_WAITING_BYTES / 2;
        } else {
            out->kind = RELAY_LOST;
            out->why = link->why;
            link->lost = false;
        }
        relay_make_ready(link);
    }
    if (look) {
        link->paused = false;
        relay_post(link);
    }
    pthread_mutex_unlock(&relay->lock);
    if (look) {
        curl_multi_wakeup(relay->multi);
    }
    return link != NULL;
}
