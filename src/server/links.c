/* links.c - a list under a lock, deadlines in atomics: a request touches no lock to move its
 * own. */
#include "server/links.h"

#include "base/mem.h"
#include "base/status.h"
#include "server/clock.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#define DRAIN_LOOK_US 20000

struct link {
    struct link *next;
    struct link **at; /* the pointer that points here */
    int fd; /* -1: somebody else's by now */
    _Atomic int64_t deadline_us;
    _Atomic bool busy;
};

struct links {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t stop;
    pthread_cond_t removed;
    struct link *first;
    int64_t period_us;
    bool stopping;
};

/* To libmicrohttpd (0.9.75) a short read is the end of what there is, and epoll tells of each thing
 * once: so it misses that a client left, where that came with the last bytes, and waits for the
 * rest of a body that never comes. Shutting down the reading side once more changes nothing on a
 * socket whose peer has done so, and wakes who watches it. */
static void tell_of_end(const struct link *link)
{
    struct tcp_info info;
    socklen_t size = sizeof info;
    if (getsockopt(link->fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 &&
        info.tcpi_state == TCP_CLOSE_WAIT) {
        shutdown(link->fd, SHUT_RD);
    }
}

/* The lock is held: no listed socket is closed meanwhile. */
static void shut_late(struct links *links)
{
    int64_t now_us = clock_us();
    for (struct link *link = links->first; link != NULL; link = link->next) {
        if (atomic_load_explicit(&link->deadline_us, memory_order_relaxed) < now_us) {
            shutdown(link->fd, SHUT_RDWR);
        } else {
            tell_of_end(link);
        }
    }
}

/* The lock is held. */
static void wait_until(struct links *links, pthread_cond_t *condition, int64_t until_us)
{
    struct timespec until = {until_us / 1000000, until_us % 1000000 * 1000};
    pthread_cond_timedwait(condition, &links->lock, &until);
}

static void *run(void *cls)
{
    struct links *links = cls;
    pthread_mutex_lock(&links->lock);
    while (!links->stopping) {
        wait_until(links, &links->stop, clock_us() + links->period_us);
        shut_late(links);
    }
    pthread_mutex_unlock(&links->lock);
    return NULL;
}

static void release(struct links *links)
{
    pthread_mutex_destroy(&links->lock);
    pthread_cond_destroy(&links->stop);
    pthread_cond_destroy(&links->removed);
    mem_free(links);
}

int links_start(int64_t period_ms, struct links **out)
{
    struct links *links = mem_zalloc(1, sizeof *links);
    pthread_condattr_t attributes;
    if (links == NULL) {
        return BQ_NOMEM;
    }
    links->period_us = period_ms * 1000;
    pthread_mutex_init(&links->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&links->stop, &attributes);
    pthread_cond_init(&links->removed, &attributes);
    pthread_condattr_destroy(&attributes);
    if (pthread_create(&links->thread, NULL, run, links) != 0) {
        release(links);
        return BQ_NOMEM;
    }
    *out = links;
    return BQ_OK;
}

void links_stop(struct links *links)
{
    if (links == NULL) {
        return;
    }
    pthread_mutex_lock(&links->lock);
    links->stopping = true;
    pthread_cond_signal(&links->stop);
    pthread_mutex_unlock(&links->lock);
    pthread_join(links->thread, NULL);
    release(links);
}

struct link *links_add(struct links *links, int fd, int64_t deadline_us)
{
    struct link *link = mem_zalloc(1, sizeof *link);
    if (link == NULL) {
        return NULL;
    }
    link->fd = fd;
    atomic_init(&link->deadline_us, deadline_us);
    pthread_mutex_lock(&links->lock);
    link->next = links->first;
    link->at = &links->first;
    if (link->next != NULL) {
        link->next->at = &link->next;
    }
    links->first = link;
    pthread_mutex_unlock(&links->lock);
    return link;
}

void links_remove(struct links *links, struct link *link)
{
    if (link == NULL) {
        return;
    }
    pthread_mutex_lock(&links->lock);
    *link->at = link->next;
    if (link->next != NULL) {
        link->next->at = link->at;
    }
    pthread_cond_signal(&links->removed);
    pthread_mutex_unlock(&links->lock);
    mem_free(link);
}

void links_let_go(struct links *links, struct link *link)
{
    if (link == NULL) {
        return;
    }
    pthread_mutex_lock(&links->lock);
    link->fd = -1; /* shutdown() refuses it */
    pthread_mutex_unlock(&links->lock);
}

void link_set(struct link *link, int64_t deadline_us, bool busy)
{
    if (link != NULL) {
        atomic_store_explicit(&link->deadline_us, deadline_us, memory_order_relaxed);
        atomic_store_explicit(&link->busy, busy, memory_order_relaxed);
    }
}

bool links_drain(struct links *links, int64_t until_us)
{
    pthread_mutex_lock(&links->lock);
    for (int64_t now_us = clock_us(); links->first != NULL && now_us < until_us;
         now_us = clock_us()) {
        for (struct link *link = links->first; link != NULL; link = link->next) {
            if (!atomic_load(&link->busy)) {
                shutdown(link->fd, SHUT_RD);
            } else {
                tell_of_end(link);
            }
        }
        /* One that was busy may be idle when the next look is due. */
        int64_t look_us = now_us + DRAIN_LOOK_US;
        wait_until(links, &links->removed, look_us < until_us ? look_us : until_us);
    }
    bool empty = links->first == NULL;
    pthread_mutex_unlock(&links->lock);
    return empty;
}

void links_close_all(struct links *links)
{
    pthread_mutex_lock(&links->lock);
    for (struct link *link = links->first; link != NULL; link = link->next) {
        shutdown(link->fd, SHUT_RDWR);
    }
    pthread_mutex_unlock(&links->lock);
}
