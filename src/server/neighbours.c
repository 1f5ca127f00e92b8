/* neighbours.c - see neighbours.h. */
#include "server/neighbours.h"

#include "base/mem.h"
#include "base/status.h"
#include "server/clock.h"
#include "store/postgres_listen.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define NEWS 4096u /* users whose news may wait; of more the others are told to look themselves */
#define USERS_AT_ONCE 1000u /* whose feeds one look asks for */
#define LOOK "*" /* in place of users: who hears it looks at all of them */
#define RETRY_FIRST_MS 100
#define RETRY_LONGEST_MS 5000
#define READ_ROWS 200u
#define READ_BYTES (1u << 20)

struct news {
    struct uuid user;
    int64_t from; /* the feed's seq before */
    int64_t to;
};

/* Users whose feeds are to be looked at. */
struct ask {
    struct ask *next;
    size_t n;
    struct realtime_heard items[];
};

struct neighbours {
    struct neighbours_config config;
    struct realtime *realtime;
    bool has_thread;
    pthread_t thread;
    int wake; /* an eventfd */
    pthread_mutex_t lock;
    struct news waiting[NEWS];
    size_t n_waiting;
    bool too_many; /* some news found no room */
    struct ask *asks;
    bool stopping;
    /* The thread's own. */
    struct news saying[NEWS];
    size_t n_saying;
    bool says_look; /* some of it was lost: the others are to look themselves */
    struct postgres_listener *listener; /* NULL: not connected */
    bool was_connected;
    struct buf epoch; /* of the store, at the last look; empty: none was made */
};

static void wake(struct neighbours *neighbours)
{
    uint64_t one = 1;
    (void)!write(neighbours->wake, &one, sizeof one);
}

/* ---- Saying ---------------------------------------------------------------------------------- */

void neighbours_published(struct neighbours *neighbours, const struct op *op)
{
    if (op->status != BQ_OK || !op->wrote) {
        return;
    }
    struct news news = {op->user, op_seq_before(op), op->seq};
    pthread_mutex_lock(&neighbours->lock);
    bool first = neighbours->n_waiting == 0;
    if (neighbours->n_waiting < NEWS) {
        neighbours->waiting[neighbours->n_waiting++] = news;
    } else {
        neighbours->too_many = true;
    }
    pthread_mutex_unlock(&neighbours->lock);
    if (first) {
        wake(neighbours);
    }
}

static int by_user(const void *a, const void *b)
{
    return memcmp(((const struct news *)a)->user.text, ((const struct news *)b)->user.text,
                  UUID_TEXT);
}

/* Takes what waits, one piece of news a user. */
static void take_news(struct neighbours *neighbours)
{
    struct news *news = neighbours->saying;
    size_t n_kept = 0;
    pthread_mutex_lock(&neighbours->lock);
    size_t n = neighbours->n_waiting;
    memcpy(news, neighbours->waiting, n * sizeof *news);
    neighbours->n_waiting = 0;
    neighbours->says_look = neighbours->says_look || neighbours->too_many;
    neighbours->too_many = false;
    pthread_mutex_unlock(&neighbours->lock);
    if (n > 1) {
        qsort(news, n, sizeof *news, by_user);
    }
    for (size_t i = 0; i < n; i++) {
        if (n_kept > 0 && by_user(&news[n_kept - 1], &news[i]) == 0) {
            struct news *kept = &news[n_kept - 1];
            kept->from = news[i].from < kept->from ? news[i].from : kept->from;
            kept->to = news[i].to > kept->to ? news[i].to : kept->to;
        } else {
            news[n_kept++] = news[i];
        }
    }
    neighbours->n_saying = n_kept;
}

static int say(struct neighbours *neighbours)
{
    char word[POSTGRES_WORD_BYTES + 1];
    int status = BQ_OK;
    size_t i = 0;
    while (status == BQ_OK && i < neighbours->n_saying) {
        int n = snprintf(word, sizeof word, "%016" PRIx64, neighbours->config.node);
        while (i < neighbours->n_saying && (size_t)n + UUID_TEXT + 50 < sizeof word) {
            const struct news *news = &neighbours->saying[i++];
            n += snprintf(word + n, sizeof word - (size_t)n, " %s:%" PRId64 ":%" PRId64,
                          news->user.text, news->from, news->to);
        }
        status = postgres_listener_say(neighbours->listener, word);
    }
    if (status == BQ_OK && neighbours->says_look) {
        snprintf(word, sizeof word, "%016" PRIx64 " " LOOK, neighbours->config.node);
        status = postgres_listener_say(neighbours->listener, word);
        neighbours->says_look = false;
    }
    neighbours->says_look = neighbours->says_look || status != BQ_OK;
    return status;
}

/* ---- Reading --------------------------------------------------------------------------------- */

struct reading {
    struct realtime *realtime;
    struct arena *arena;
    const struct uuid *user;
    int64_t from; /* goes on to what was read */
    bool more;
};

static int read_some(void *cls, struct store *store)
{
    struct reading *reading = cls;
    struct op op = {.user = *reading->user, .arena = reading->arena, .wrote = true};
    struct store_user user;
    struct store_docs docs;
    int status = store->user_get(store, reading->user, &user);
    if (status == BQ_OK) {
        status = store->docs(store, reading->arena, reading->user, reading->from, READ_ROWS,
                             READ_BYTES, true, &docs);
    }
    if (status != BQ_OK) {
        return status;
    }
    struct op_change *changes = arena_zalloc(reading->arena, docs.n, sizeof *changes);
    if (changes == NULL) {
        return BQ_NOMEM;
    }
    for (uint32_t i = 0; i < docs.n; i++) {
        const struct store_doc *doc = &docs.items[i];
        changes[i] = (struct op_change){i + 1 < docs.n ? &changes[i + 1] : NULL, *doc,
                                        doc->modified_us == doc->created_us};
    }
    reading->more = docs.more && docs.n > 0;
    op.changes = docs.n > 0 ? changes : NULL;
    op.seq = reading->more ? docs.items[docs.n - 1].seq : user.seq;
    realtime_read(reading->realtime, &op, reading->from, reading->more);
    reading->from = op.seq;
    return BQ_OK;
}

/* To the end, in the feed's order. What cannot be read now the next look finds. */
static void read_user(struct neighbours *neighbours, const struct uuid *user, int64_t from)
{
    struct arena arena;
    struct reading reading = {neighbours->realtime, &arena, user, from, true};
    int status = BQ_OK;
    while (status == BQ_OK && reading.more && realtime_is_heard(neighbours->realtime, user)) {
        arena_init(&arena);
        status = storage_look(neighbours->config.storage, read_some, &reading);
        arena_release(&arena);
    }
}

/* ---- Looking --------------------------------------------------------------------------------- */

/* The feeds' ends of some users, by one query. */
struct looking {
    struct neighbours *neighbours;
    const struct realtime_heard *items;
    size_t n;
    int64_t *ends;
    bool is_new; /* the store's epoch: edits that were told may be gone */
};

static int look_at_some(void *cls, struct store *store)
{
    struct looking *looking = cls;
    struct arena arena;
    struct store_user user;
    arena_init(&arena);
    struct store_want *wants = arena_zalloc(&arena, looking->n, sizeof *wants);
    int status = wants == NULL ? BQ_NOMEM : BQ_OK;
    for (size_t i = 0; i < looking->n && status == BQ_OK; i++) {
        wants[i] = (struct store_want){.kind = STORE_WANT_USER, .user = &looking->items[i].user};
    }
    if (status == BQ_OK && store->prefetch != NULL) {
        status = store->prefetch(store, wants, looking->n);
    }
    for (size_t i = 0; i < looking->n && status == BQ_OK; i++) {
        status = store->user_get(store, &looking->items[i].user, &user);
        looking->ends[i] = user.seq;
    }
    arena_release(&arena);
    struct buf *epoch = &looking->neighbours->epoch;
    struct slice now = store->epoch(store);
    if (status == BQ_OK && !slice_equal(now, buf_slice(epoch))) {
        looking->is_new = epoch->len > 0;
        buf_clear(epoch);
        buf_add_slice(epoch, now);
    }
    return status;
}

/* A feed that ends before what was told: the store went back, by a failover. */
static void answer(struct neighbours *neighbours, const struct realtime_heard *heard, int64_t end)
{
    if (heard->seq < 0) {
        realtime_stands(neighbours->realtime, &heard->user, end);
    } else if (end < heard->seq) {
        realtime_lost(neighbours->realtime, &heard->user);
    } else if (end > heard->seq) {
        read_user(neighbours, &heard->user, heard->seq);
    }
}

static void look(struct neighbours *neighbours, const struct ask *ask)
{
    int64_t ends[USERS_AT_ONCE];
    struct looking looking = {.neighbours = neighbours, .ends = ends};
    int status = BQ_OK;
    for (size_t at = 0; at < ask->n && status == BQ_OK; at += looking.n) {
        looking.items = &ask->items[at];
        looking.n = ask->n - at < USERS_AT_ONCE ? ask->n - at : USERS_AT_ONCE;
        status = storage_look(neighbours->config.storage, look_at_some, &looking);
        if (looking.is_new) {
            realtime_drop_all(neighbours->realtime);
            looking.is_new = false;
        }
        for (size_t i = 0; i < looking.n && status == BQ_OK; i++) {
            answer(neighbours, &looking.items[i], ends[i]);
        }
    }
}

static void free_asks(struct ask *ask)
{
    while (ask != NULL) {
        struct ask *next = ask->next;
        mem_free(ask);
        ask = next;
    }
}

/* Where memory is exhausted the next look asks again. */
void neighbours_look(void *cls, const struct realtime_heard *items, size_t n, bool all)
{
    struct neighbours *neighbours = cls;
    struct ask *ask = mem_alloc(sizeof *ask + n * sizeof *items);
    struct ask *late = NULL;
    if (ask == NULL) {
        return;
    }
    *ask = (struct ask){NULL, n};
    memcpy(ask->items, items, n * sizeof *items);
    pthread_mutex_lock(&neighbours->lock);
    if (all) {
        late = neighbours->asks;
        neighbours->asks = NULL;
    }
    struct ask **last = &neighbours->asks;
    while (*last != NULL) {
        last = &(*last)->next;
    }
    *last = ask;
    pthread_mutex_unlock(&neighbours->lock);
    free_asks(late);
    wake(neighbours);
}

static bool look_at_asked(struct neighbours *neighbours)
{
    pthread_mutex_lock(&neighbours->lock);
    struct ask *asks = neighbours->asks;
    neighbours->asks = NULL;
    bool stop = neighbours->stopping;
    pthread_mutex_unlock(&neighbours->lock);
    for (const struct ask *ask = asks; ask != NULL && !stop; ask = ask->next) {
        look(neighbours, ask);
    }
    free_asks(asks);
    return stop;
}

/* ---- Hearing --------------------------------------------------------------------------------- */

/* " USER:FROM:TO" at `at`; false at the end, or where it is none of ours. */
static bool next_news(const char **at, const char *end, struct news *out)
{
    char *after;
    if (end - *at < (ptrdiff_t)UUID_TEXT + 2 || **at != ' ' ||
        !uuid_parse((struct slice){*at + 1, UUID_TEXT}, &out->user) ||
        (*at)[1 + UUID_TEXT] != ':') {
        return false;
    }
    out->from = strtoll(*at + 2 + UUID_TEXT, &after, 10);
    out->to = *after == ':' ? strtoll(after + 1, &after, 10) : out->from;
    *at = after;
    return out->from >= 0;
}

static void hear(void *cls, struct slice word)
{
    struct neighbours *neighbours = cls;
    char own[20];
    struct news news;
    const char *end = word.ptr + word.len;
    const char *at = memchr(word.ptr, ' ', word.len);
    snprintf(own, sizeof own, "%016" PRIx64 " ", neighbours->config.node);
    if (at == NULL || (word.len >= 17 && memcmp(word.ptr, own, 17) == 0)) {
        return;
    }
    if (slice_is((struct slice){at, (size_t)(end - at)}, " " LOOK)) {
        realtime_look(neighbours->realtime);
    }
    while (next_news(&at, end, &news)) {
        read_user(neighbours, &news.user, news.from);
    }
}

/* ---- The thread ------------------------------------------------------------------------------ */

static void log_link(const struct neighbours *neighbours, enum log_level level, const char *event)
{
    struct log_line line;
    log_begin(&line, neighbours->config.log, level, clock_wall_us(), event);
    log_add_text(&line, "message", SLICE("the connection on which servers tell each other"));
    log_end(&line);
}

/* Waits for news, for a word, or for the time; a listener that is lost is closed. */
static void wait_and_hear(struct neighbours *neighbours, int timeout_ms)
{
    struct pollfd fds[2] = {{.fd = neighbours->wake, .events = POLLIN}, {.fd = -1}};
    uint64_t n;
    if (neighbours->listener != NULL) {
        fds[1] = (struct pollfd){.fd = postgres_listener_socket(neighbours->listener),
                                 .events = POLLIN};
    }
    if (poll(fds, 2, timeout_ms) < 0 && errno != EINTR) {
        return;
    }
    if (fds[0].revents != 0) {
        (void)!read(neighbours->wake, &n, sizeof n);
    }
}

static void connect_again(struct neighbours *neighbours)
{
    if (postgres_listener_open(neighbours->config.url, &neighbours->listener) != BQ_OK) {
        neighbours->listener = NULL;
        return;
    }
    if (neighbours->was_connected) {
        log_link(neighbours, LOG_LEVEL_WARN, "neighbours_back");
    }
    neighbours->was_connected = true;
    if (neighbours->realtime != NULL) {
        realtime_look(neighbours->realtime); /* for what was not heard */
    }
}

static void disconnect(struct neighbours *neighbours)
{
    postgres_listener_close(neighbours->listener);
    neighbours->listener = NULL;
    log_link(neighbours, LOG_LEVEL_WARN, "neighbours_lost");
}

static void *run(void *cls)
{
    struct neighbours *neighbours = cls;
    int pause_ms = 0;
    bool stop = false;
    while (!stop) {
        if (neighbours->listener == NULL) {
            connect_again(neighbours);
            pause_ms = pause_ms * 2 < RETRY_FIRST_MS ? RETRY_FIRST_MS : pause_ms * 2;
            pause_ms = pause_ms > RETRY_LONGEST_MS ? RETRY_LONGEST_MS : pause_ms;
        }
        bool connected = neighbours->listener != NULL;
        pause_ms = connected ? 0 : pause_ms;
        wait_and_hear(neighbours, connected ? -1 : pause_ms);
        stop = look_at_asked(neighbours);
        int status = BQ_OK;
        if (connected) { /* until then news wait */
            take_news(neighbours);
            status = say(neighbours);
        }
        if (connected && status == BQ_OK) {
            status = postgres_listener_hear(neighbours->listener, hear, neighbours);
        }
        if (status != BQ_OK) {
            disconnect(neighbours);
        }
    }
    postgres_listener_close(neighbours->listener);
    return NULL;
}

int neighbours_new(const struct neighbours_config *config, struct neighbours **out)
{
    struct neighbours *neighbours = mem_zalloc(1, sizeof *neighbours);
    int wake_by = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (neighbours == NULL || wake_by < 0) {
        mem_free(neighbours);
        if (wake_by >= 0) {
            close(wake_by);
        }
        return BQ_NOMEM;
    }
    neighbours->config = *config;
    neighbours->wake = wake_by;
    pthread_mutex_init(&neighbours->lock, NULL);
    buf_init(&neighbours->epoch);
    *out = neighbours;
    return BQ_OK;
}

int neighbours_start(struct neighbours *neighbours, struct realtime *realtime)
{
    neighbours->realtime = realtime;
    neighbours->has_thread = pthread_create(&neighbours->thread, NULL, run, neighbours) == 0;
    return neighbours->has_thread ? BQ_OK : BQ_NOMEM;
}

void neighbours_stop(struct neighbours *neighbours)
{
    if (neighbours == NULL || !neighbours->has_thread) {
        return;
    }
    pthread_mutex_lock(&neighbours->lock);
    neighbours->stopping = true;
    pthread_mutex_unlock(&neighbours->lock);
    wake(neighbours);
    pthread_join(neighbours->thread, NULL);
    neighbours->has_thread = false;
}

void neighbours_free(struct neighbours *neighbours)
{
    if (neighbours == NULL) {
        return;
    }
    neighbours_stop(neighbours);
    free_asks(neighbours->asks);
    buf_release(&neighbours->epoch);
    close(neighbours->wake);
    pthread_mutex_destroy(&neighbours->lock);
    mem_free(neighbours);
}
