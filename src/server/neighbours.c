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

#define NEWS 4096u /* users whose news may wait; the others' clients look by themselves */
#define RETRY_FIRST_MS 100
#define RETRY_LONGEST_MS 5000
#define READ_ROWS 200u
#define READ_BYTES (1u << 20)

struct news {
    struct uuid user;
    int64_t from; /* the feed's seq before */
    int64_t to;
};

struct neighbours {
    struct neighbours_config config;
    pthread_t thread;
    int wake; /* an eventfd */
    pthread_mutex_t lock;
    struct news waiting[NEWS];
    size_t n_waiting;
    bool stopping;
    /* The thread's own. */
    struct news saying[NEWS];
    size_t n_saying;
    struct postgres_listener *listener; /* NULL: not connected */
    bool was_connected;
};

static void wake(struct neighbours *neighbours)
{
    uint64_t one = 1;
    (void)!write(neighbours->wake, &one, sizeof one);
}

/* ---- Saying ---------------------------------------------------------------------------------- */

void neighbours_published(struct neighbours *neighbours, const struct op *op)
{
    int64_t from = op->seq;
    if (op->status != BQ_OK || !op->wrote) {
        return;
    }
    for (const struct op_change *change = op->changes; change != NULL; change = change->next) {
        from = change->row.seq <= from ? change->row.seq - 1 : from;
    }
    pthread_mutex_lock(&neighbours->lock);
    bool first = neighbours->n_waiting == 0;
    if (neighbours->n_waiting < NEWS) {
        neighbours->waiting[neighbours->n_waiting++] = (struct news){op->user, from, op->seq};
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

/* Takes what waits, one piece of news a user; answers whether the thread is to end. */
static bool take(struct neighbours *neighbours)
{
    struct news *news = neighbours->saying;
    size_t n_kept = 0;
    pthread_mutex_lock(&neighbours->lock);
    size_t n = neighbours->n_waiting;
    memcpy(news, neighbours->waiting, n * sizeof *news);
    neighbours->n_waiting = 0;
    bool stop = neighbours->stopping;
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
    return stop;
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
    return status;
}

/* ---- Hearing --------------------------------------------------------------------------------- */

struct reading {
    struct realtime *realtime;
    struct arena *arena;
    const struct news *news;
};

static int read_changes(void *cls, struct store *store)
{
    struct reading *reading = cls;
    const struct news *news = reading->news;
    struct op op = {.user = news->user, .arena = reading->arena, .wrote = true};
    struct store_user user;
    struct store_docs docs;
    int status = store->user_get(store, &news->user, &user);
    if (status == BQ_OK) {
        status = store->docs(store, reading->arena, &news->user, news->from, READ_ROWS, READ_BYTES,
                             true, &docs);
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
    op.changes = docs.n > 0 ? changes : NULL;
    op.seq = user.seq;
    realtime_published(reading->realtime, &op);
    return BQ_OK;
}

static void hear_user(struct neighbours *neighbours, const struct news *news)
{
    struct arena arena;
    struct reading reading = {neighbours->config.realtime, &arena, news};
    if (!realtime_is_heard(neighbours->config.realtime, &news->user)) {
        return;
    }
    arena_init(&arena);
    (void)storage_look(neighbours->config.storage, read_changes, &reading);
    arena_release(&arena);
}

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
    while (next_news(&at, end, &news)) {
        hear_user(neighbours, &news);
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
        realtime_drop_all(neighbours->config.realtime);
    }
    neighbours->was_connected = true;
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
        stop = take(neighbours);
        int status = connected ? say(neighbours) : BQ_OK;
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

int neighbours_start(const struct neighbours_config *config, struct neighbours **out)
{
    struct neighbours *neighbours = mem_zalloc(1, sizeof *neighbours);
    if (neighbours == NULL) {
        return BQ_NOMEM;
    }
    neighbours->config = *config;
    pthread_mutex_init(&neighbours->lock, NULL);
    neighbours->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (neighbours->wake < 0 || pthread_create(&neighbours->thread, NULL, run, neighbours) != 0) {
        if (neighbours->wake >= 0) {
            close(neighbours->wake);
        }
        pthread_mutex_destroy(&neighbours->lock);
        mem_free(neighbours);
        return BQ_NOMEM;
    }
    *out = neighbours;
    return BQ_OK;
}

void neighbours_free(struct neighbours *neighbours)
{
    if (neighbours == NULL) {
        return;
    }
    pthread_mutex_lock(&neighbours->lock);
    neighbours->stopping = true;
    pthread_mutex_unlock(&neighbours->lock);
    wake(neighbours);
    pthread_join(neighbours->thread, NULL);
    close(neighbours->wake);
    pthread_mutex_destroy(&neighbours->lock);
    mem_free(neighbours);
}
