/* realtime.c - the loop of realtime.h: epoll, the mailbox, the clock.
 *
 * What is late is found by looking at all sockets, RT_LOOK_MS apart: ten thousand of them cost less
 * than a timer for each. */
#include "server/realtime.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/plant.h"
#include "base/status.h"
#include "server/clock.h"
#include "server/rt.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define RT_LOOK_MS 100
#define RT_EVENTS 256
#define RT_LINGER_MS 500 /* at the end, for close frames to leave */

/* ---- The mailbox ----------------------------------------------------------------------------- */

static void wake(struct realtime *rt)
{
    const uint64_t one = 1;
    ssize_t n = write(rt->wake, &one, sizeof one);
    (void)n; /* where it is full, the loop wakes anyway */
}

/* The relay has something to tell. */
static void wake_for_relay(void *cls)
{
    wake(cls);
}

/* False where the loop has ended; the mail is the caller's then. */
static bool post(struct realtime *rt, struct rt_mail *mail)
{
    pthread_mutex_lock(&rt->lock);
    bool taken = !rt->stopping;
    bool first = rt->mail == NULL;
    if (taken) {
        mail->next = NULL;
        *rt->mail_last = mail;
        rt->mail_last = &mail->next;
        rt->mail_bytes += mail->bytes;
    }
    pthread_mutex_unlock(&rt->lock);
    if (taken && first) {
        wake(rt);
    }
    return taken;
}

static struct rt_mail *take_mail(struct realtime *rt, bool *out_overflowed, bool *out_look,
                                 bool *out_stop)
{
    pthread_mutex_lock(&rt->lock);
    struct rt_mail *mail = rt->mail;
    rt->mail = NULL;
    rt->mail_last = &rt->mail;
    rt->mail_bytes = 0;
    *out_overflowed = rt->overflowed;
    rt->overflowed = false;
    *out_look = rt->look_now;
    rt->look_now = false;
    *out_stop = rt->stopping;
    pthread_mutex_unlock(&rt->lock);
    return mail;
}

static void read_mail(struct realtime *rt, bool *out_stop)
{
    bool overflowed;
    bool look;
    struct rt_mail *mail = take_mail(rt, &overflowed, &look, out_stop);
    while (mail != NULL) {
        struct rt_mail *next = mail->next;
        if (mail->kind == RT_MAIL_SOCKET) {
            rt_socket_open(rt, mail->fd, &mail->guest, mail->extra);
        } else {
            rt_deliver(rt, mail);
        }
        mem_free(mail);
        mail = next;
    }
    for (size_t i = 0; i < rt->n_sockets && overflowed; i++) {
        rt_doom(rt, rt->sockets[i]);
    }
    if (look) {
        rt_heard_turn(rt, true);
    }
}

/* ---- Handed over ----------------------------------------------------------------------------- */

bool realtime_has_room(struct realtime *rt)
{
    return atomic_load(&rt->counters.sockets) < (uint64_t)rt->config.config->sockets;
}

uint64_t realtime_address(const struct realtime *rt, struct slice text)
{
    return hash_text(text, rt->config.hub_key[0], rt->config.hub_key[1]).low;
}

void realtime_adopt(struct realtime *rt, int fd, const struct realtime_guest *guest,
                    const char *extra, size_t extra_len)
{
    const size_t n_bytes = sizeof(struct rt_mail) + extra_len + guest->caller.len;
    struct rt_mail *mail = fd < 0 ? NULL : mem_alloc(n_bytes);
    if (mail == NULL) {
        if (fd >= 0) {
            close(fd);
        }
        return;
    }
    char *copy = (char *)(mail + 1);
    if (extra_len > 0) {
        memcpy(copy, extra, extra_len);
    }
    *mail = (struct rt_mail){.kind = RT_MAIL_SOCKET,
                             .bytes = n_bytes,
                             .fd = fd,
                             .guest = *guest,
                             .extra = {copy, extra_len}};
    if (guest->caller.len > 0) {
        mail->guest.caller.ptr = memcpy(copy + extra_len, guest->caller.ptr, guest->caller.len);
    }
    atomic_fetch_add(&rt->counters.sockets, 1);
    if (!post(rt, mail)) {
        atomic_fetch_sub(&rt->counters.sockets, 1);
        close(fd);
        mem_free(mail);
    }
}

/* Whether the mailbox is so full that a copy of the change does not go into it. */
static bool is_full(struct realtime *rt)
{
    pthread_mutex_lock(&rt->lock);
    bool full = rt->mail_bytes > RT_MAIL_BYTES;
    pthread_mutex_unlock(&rt->lock);
    return full;
}

static struct rt_mail *short_mail(enum rt_mail_kind kind, const struct uuid *user, int64_t seq)
{
    struct rt_mail *mail = mem_alloc(sizeof *mail);
    if (mail != NULL) {
        *mail = (struct rt_mail){.kind = kind, .bytes = sizeof *mail, .user = *user, .seq = seq};
    }
    return mail;
}

bool realtime_is_heard(struct realtime *rt, const struct uuid *user)
{
    return rt_is_heard(rt, user);
}

void realtime_drop_all(struct realtime *rt)
{
    pthread_mutex_lock(&rt->lock);
    rt->overflowed = true;
    pthread_mutex_unlock(&rt->lock);
    wake(rt);
}

void realtime_look(struct realtime *rt)
{
    pthread_mutex_lock(&rt->lock);
    rt->look_now = true;
    pthread_mutex_unlock(&rt->lock);
    wake(rt);
}

static void post_or_drop(struct realtime *rt, struct rt_mail *mail)
{
    if (mail == NULL) {
        realtime_drop_all(rt);
    } else if (!post(rt, mail)) {
        mem_free(mail);
    }
}

void realtime_stands(struct realtime *rt, const struct uuid *user, int64_t seq)
{
    post_or_drop(rt, short_mail(RT_MAIL_STANDS, user, seq));
}

void realtime_lost(struct realtime *rt, const struct uuid *user)
{
    post_or_drop(rt, short_mail(RT_MAIL_LOST, user, 0));
}

/* How the feed moved: for rt_heard.c. */
struct move {
    int64_t from;
    bool is_read;
    bool more;
};

static void tell(struct realtime *rt, const struct op *op, const struct move *move)
{
    bool tells = op->status == BQ_OK && (op->wrote || op->changes != NULL || op->device != NULL);
    if (!tells || PLANTED(CHANGES_UNTOLD) || !rt_is_heard(rt, &op->user)) {
        return;
    }
    atomic_fetch_add_explicit(&rt->counters.changes, 1, memory_order_relaxed);
    struct rt_mail *mail = is_full(rt) ? NULL : rt_mail_of(op, clock_wall_us());
    if (mail == NULL) {
        mail = short_mail(RT_MAIL_LOST, &op->user, 0);
    } else {
        mail->from = move->from;
        mail->is_read = move->is_read;
        mail->more = move->more;
    }
    post_or_drop(rt, mail);
}

void realtime_published(void *cls, const struct op *op)
{
    tell(cls, op, &(struct move){.from = op_seq_before(op)});
}

void realtime_read(struct realtime *rt, const struct op *op, int64_t from, bool more)
{
    tell(rt, op, &(struct move){from, true, more});
}

/* ---- Handshakes that are refused late -------------------------------------------------------- */

void realtime_delay(struct realtime *rt, void (*later)(void *cls), void *cls)
{
    int64_t pause_us = rt->config.config->socket_refusal_ms * 1000;
    struct rt_delay *delay = mem_alloc(sizeof *delay);
    bool kept = false;
    atomic_fetch_add_explicit(&rt->counters.refused, 1, memory_order_relaxed);
    if (delay != NULL) {
        *delay = (struct rt_delay){NULL, clock_us() + pause_us, later, cls};
        pthread_mutex_lock(&rt->lock);
        kept = !rt->hurried && rt->n_delays < RT_DELAYS;
        if (kept) {
            *rt->delays_last = delay;
            rt->delays_last = &delay->next;
            rt->n_delays++;
        }
        pthread_mutex_unlock(&rt->lock);
    }
    if (!kept) {
        mem_free(delay);
        later(cls);
    }
    wake(rt);
}

/* Those that are due; all of the same pause, so they stand in order. */
static void fire(struct realtime *rt, int64_t until_us)
{
    pthread_mutex_lock(&rt->lock);
    while (rt->delays != NULL && rt->delays->due_us <= until_us) {
        struct rt_delay *delay = rt->delays;
        rt->delays = delay->next;
        if (rt->delays == NULL) {
            rt->delays_last = &rt->delays;
        }
        rt->n_delays--;
        pthread_mutex_unlock(&rt->lock);
        delay->later(delay->cls);
        mem_free(delay);
        pthread_mutex_lock(&rt->lock);
    }
    pthread_mutex_unlock(&rt->lock);
}

void realtime_hurry(struct realtime *rt)
{
    if (rt != NULL) {
        pthread_mutex_lock(&rt->lock);
        rt->hurried = true;
        pthread_mutex_unlock(&rt->lock);
        fire(rt, INT64_MAX);
    }
}

/* ---- The clock ------------------------------------------------------------------------------- */

/* Without a token, and without an upstream that took its key, a socket has its time, and so much
 * more as a refused join may take to be told. */
static bool is_stranger(const struct realtime *rt, const struct rt_socket *socket, int64_t now_us)
{
    const struct server_config *config = rt->config.config;
    int64_t allowed_ms =
        config->socket_token_ms + (socket->n_refusals > 0 ? config->join_refusal_ms : 0);
    return !socket->trusted && !socket->link_open && now_us - socket->opened_us > allowed_ms * 1000;
}

static void look_at(struct realtime *rt, struct rt_socket *socket, int64_t now_us, int64_t now_s)
{
    if (socket->closing) {
        if (now_us > socket->close_by_us) {
            rt_doom(rt, socket);
        }
    } else if (is_stranger(rt, socket, now_us)) {
        rt_close(rt, socket, WS_CLOSE_POLICY);
    } else if (now_us - socket->heard_us > rt->config.config->socket_idle_ms * 1000) {
        rt_close(rt, socket, WS_CLOSE_AWAY);
    } else {
        rt_expire(rt, socket, now_s);
    }
}

static void look(struct realtime *rt, int64_t *next_us)
{
    int64_t now_us = clock_us();
    if (now_us < *next_us) {
        return;
    }
    int64_t now_s = clock_wall_us() / 1000000;
    *next_us = now_us + (int64_t)RT_LOOK_MS * 1000;
    rt_refuse_due(rt, now_us);
    for (size_t i = 0; i < rt->n_sockets; i++) {
        if (!rt->sockets[i]->doomed) {
            look_at(rt, rt->sockets[i], now_us, now_s);
        }
    }
}

/* ---- The loop -------------------------------------------------------------------------------- */

static bool is_quiet(struct realtime *rt)
{
    pthread_mutex_lock(&rt->lock);
    bool quiet = rt->n_delays == 0;
    pthread_mutex_unlock(&rt->lock);
    return quiet && rt->n_sockets == 0;
}

/* Changes go before messages: what was committed before a client asked is on its way before it is
 * answered. */
static void turn(struct realtime *rt, int timeout_ms, bool *out_stop)
{
    struct epoll_event events[RT_EVENTS];
    uint64_t count;
    int n = epoll_wait(rt->epoll, events, RT_EVENTS, timeout_ms);
    for (int i = 0; i < n; i++) {
        if (events[i].data.ptr == NULL && read(rt->wake, &count, sizeof count) < 0) {
            break; /* somebody else's wake was read with this one's */
        }
    }
    read_mail(rt, out_stop);
    if (rt->relay != NULL && rt_relay_turn(rt)) {
        wake(rt);
    }
    for (int i = 0; i < n; i++) {
        if (events[i].data.ptr != NULL) {
            rt_socket_ready(rt, events[i].data.ptr, events[i].events);
        }
    }
}

/* All sockets are told to come again, and have a moment to hear it. */
static void say_goodbye(struct realtime *rt)
{
    int64_t until_us = clock_us() + (int64_t)RT_LINGER_MS * 1000;
    bool stop;
    for (size_t i = 0; i < rt->n_sockets; i++) {
        rt_close(rt, rt->sockets[i], WS_CLOSE_RESTART);
    }
    rt_reap(rt);
    while (rt->n_sockets > 0 && clock_us() < until_us) {
        turn(rt, RT_LOOK_MS / 10, &stop);
        rt_reap(rt);
    }
    for (size_t i = 0; i < rt->n_sockets; i++) {
        rt_doom(rt, rt->sockets[i]);
    }
    rt_reap(rt);
}

static void *run(void *cls)
{
    struct realtime *rt = cls;
    int64_t next_us = 0;
    bool stop = false;
    while (!stop) {
        turn(rt, is_quiet(rt) ? -1 : RT_LOOK_MS, &stop);
        fire(rt, clock_us());
        look(rt, &next_us);
        rt_heard_turn(rt, false);
        rt_reap(rt);
    }
    say_goodbye(rt);
    return NULL;
}

/* ---- Start and end --------------------------------------------------------------------------- */

static int open_world(struct realtime *rt)
{
    struct epoll_event event = {.events = EPOLLIN};
    rt->epoll = epoll_create1(EPOLL_CLOEXEC);
    rt->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    rt->scratch = mem_alloc(RT_TURN_BYTES);
    if (rt->epoll < 0 || rt->wake < 0 ||
        epoll_ctl(rt->epoll, EPOLL_CTL_ADD, rt->wake, &event) != 0) {
        return BQ_IO;
    }
    return rt->scratch == NULL ? BQ_NOMEM : hub_new(rt->config.hub_key, &rt->hub);
}

static int start_relay(struct realtime *rt)
{
    const struct server_config *config = rt->config.config;
    const struct relay_config relay = {
        .size = sizeof relay,
        .url = config->upstream,
        .ca_file = config->upstream_ca_file,
        .links = (unsigned)config->upstream_sockets,
        .open_ms = RELAY_OPEN_MS,
        .beat_ms = RELAY_BEAT_MS,
        .wake = wake_for_relay,
        .cls = rt,
    };
    return config->upstream == NULL ? BQ_OK : relay_start(&relay, &rt->relay);
}

int realtime_start(const struct realtime_config *config, struct realtime **out)
{
    struct realtime *rt = mem_zalloc(1, sizeof *rt);
    if (rt == NULL) {
        return BQ_NOMEM;
    }
    rt->config = *config;
    rt->mail_last = &rt->mail;
    rt->delays_last = &rt->delays;
    rt->refusals_last = &rt->refusals;
    rt->epoll = -1;
    rt->wake = -1;
    rt->stopping = true; /* where there is no thread yet */
    pthread_mutex_init(&rt->lock, NULL);
    arena_init(&rt->arena);
    buf_init(&rt->frame);
    int status = open_world(rt);
    if (status == BQ_OK) {
        status = start_relay(rt);
    }
    rt->stopping = false;
    if (status == BQ_OK && pthread_create(&rt->thread, NULL, run, rt) != 0) {
        status = BQ_NOMEM;
    }
    if (status != BQ_OK) {
        rt->stopping = true;
        realtime_free(rt);
        return status;
    }
    *out = rt;
    return BQ_OK;
}

void realtime_stop(struct realtime *rt)
{
    if (rt == NULL) {
        return;
    }
    pthread_mutex_lock(&rt->lock);
    bool was_stopping = rt->stopping;
    rt->stopping = true;
    pthread_mutex_unlock(&rt->lock);
    if (!was_stopping) {
        wake(rt);
        pthread_join(rt->thread, NULL);
    }
}

void realtime_free(struct realtime *rt)
{
    if (rt == NULL) {
        return;
    }
    realtime_stop(rt);
    relay_free(rt->relay);
    rt_refusals_free(rt);
    rt_heard_free(rt);
    ws_reader_free(rt->spare);
    hub_free(rt->hub);
    mem_free(rt->sockets);
    mem_free(rt->scratch);
    arena_release(&rt->arena);
    buf_release(&rt->frame);
    if (rt->epoll >= 0) {
        close(rt->epoll);
    }
    if (rt->wake >= 0) {
        close(rt->wake);
    }
    pthread_mutex_destroy(&rt->lock);
    mem_free(rt);
}

struct realtime_stats realtime_stats(struct realtime *rt)
{
    struct rt_counters *counters = &rt->counters;
    return (struct realtime_stats){
        .n_sockets = atomic_load(&counters->sockets),
        .n_channels = atomic_load(&counters->channels),
        .n_opened = atomic_load(&counters->opened),
        .n_refused = atomic_load(&counters->refused),
        .n_joins = atomic_load(&counters->joins),
        .n_joins_refused = atomic_load(&counters->joins_refused),
        .n_messages = atomic_load(&counters->messages),
        .n_changes = atomic_load(&counters->changes),
        .n_events = atomic_load(&counters->events),
        .n_slow = atomic_load(&counters->slow),
        .n_abused = atomic_load(&counters->abused),
        .n_relays = rt->relay == NULL ? 0 : relay_links(rt->relay),
        .n_relays_lost = atomic_load(&counters->relays_lost),
    };
}
