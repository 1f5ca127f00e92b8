/* relay_impl.h - inside of relay.h: what the loop's calls (relay.c) and the thread (relay_thread.c)
 * share. */
#ifndef SERVER_RELAY_IMPL_H
#define SERVER_RELAY_IMPL_H

#include "net/web_socket.h"
#include "server/relay.h"
#include "server/trust.h"

#include <pthread.h>

struct relay_frame {
    struct relay_frame *next;
    bool binary;
    size_t len;
    char bytes[];
};

struct relay_queue {
    struct relay_frame *first;
    struct relay_frame **last;
    size_t bytes;
};

struct relay_link {
    struct relay *relay;
    void *owner;
    enum phx_vsn vsn;
    char *api_key;
    char *address;
    /* The thread's. */
    struct relay_link *next; /* of those that are being opened, or of the open ones */
    struct relay_link **where;
    struct web_socket *socket; /* NULL: not begun, or lost */
    bool begun;
    bool open;
    bool due; /* to be worked on before the next poll */
    struct relay_link *next_due;
    int fd;          /* what epoll looks at, */
    uint32_t events; /* and for what; 0: it does not */
    int64_t opened_us;
    int64_t heard_us;
    int64_t beat_us;
    /* Under the relay's lock. */
    struct relay_queue up;
    struct relay_queue down;
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
    struct trust *trust; /* NULL: libcurl sees to it */
    pthread_t thread;
    /* The thread's. */
    int epoll; /* of the open links */
    struct relay_link *opening;
    struct relay_link *open;
    struct relay_link *due;
    int64_t looked_us;       /* at the clocks of all */
    struct curl_waitfd *fds; /* epoll's, then those of the links that are being opened */
    unsigned fds_room;
    /* The loop's. */
    struct relay_frame *told;
    pthread_mutex_t lock; /* of all below */
    struct relay_link *mail;
    struct relay_link *ready;
    struct relay_link **ready_last;
    unsigned n_links;
    bool started;
    bool stopping;
};

/* NULL: memory is exhausted. */
struct relay_frame *relay_frame_new(bool binary, struct slice text);

void relay_queue_put(struct relay_queue *queue, struct relay_frame *frame);
/* NULL: it is empty. */
struct relay_frame *relay_queue_take(struct relay_queue *queue);
void relay_queue_release(struct relay_queue *queue);

/* The thread is to look at the link; the lock is held. */
void relay_post(struct relay_link *link);

/* Puts the link into the row of those that have something to tell, where it has; the lock is
 * held. */
void relay_make_ready(struct relay_link *link);

void relay_link_free(struct relay_link *link);

/* The thread; cls is the relay. */
void *relay_run(void *cls);

#endif
