/* fake_live.c - see fake_live.h. Aborts where a test's own machinery fails. */
#include "fake_live.h"

#include "bqsync.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SOCKETS_MAX 16
#define NEWS_MAX 256

struct news {
    enum transport_news news;
    enum live_loss loss;
    char text[512];
};

struct fake_socket {
    struct transport base;
    struct transport *real;
    struct fake_live *live;
    bool open;
    char topic[80]; /* "" not joined */
    char join_ref[16];
    struct news queue[NEWS_MAX];
    unsigned n_queue;
    unsigned n_told;
    char told[512]; /* the text of the news that was told last */
};

struct fake_live {
    pthread_mutex_t mutex;
    struct fake_server *server;
    struct fake_socket *sockets[SOCKETS_MAX];
    enum fake_live_mood mood;
    bool loses_events;
    struct fake_live_counts counts;
};

static void must(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "fake_live: %s\n", what);
        abort();
    }
}

static struct fake_socket *socket_of(struct transport *transport)
{
    return (struct fake_socket *)(void *)transport;
}

/* ---- Saying ---------------------------------------------------------------------------------- */

static void tell(struct fake_socket *socket, struct news news)
{
    if (socket->n_told == socket->n_queue) {
        socket->n_told = 0;
        socket->n_queue = 0;
    }
    must(socket->n_queue < NEWS_MAX, "too many news");
    socket->queue[socket->n_queue++] = news;
    socket->real->wake(socket->real);
}

static void say(struct fake_socket *socket, const char *join_ref, const char *ref,
                const char *topic, const char *rest)
{
    struct news news = {.news = TRANSPORT_LIVE_TEXT};
    char quoted[2][20] = {"null", "null"};
    if (join_ref != NULL) {
        snprintf(quoted[0], sizeof quoted[0], "\"%s\"", join_ref);
    }
    if (ref != NULL) {
        snprintf(quoted[1], sizeof quoted[1], "\"%s\"", ref);
    }
    int n = snprintf(news.text, sizeof news.text, "[%s,%s,\"%s\",%s]", quoted[0], quoted[1], topic,
                     rest);
    must(n > 0 && (size_t)n < sizeof news.text, "a long frame");
    tell(socket, news);
}

static void end_channel(struct fake_socket *socket)
{
    say(socket, socket->join_ref, NULL, socket->topic,
        "\"system\",{\"status\":\"error\",\"extension\":\"system\","
        "\"message\":\"Token has expired 1 seconds ago\"}");
    say(socket, socket->join_ref, socket->join_ref, socket->topic, "\"phx_close\",{}");
    socket->topic[0] = '\0';
}

static void lose(struct fake_socket *socket, enum live_loss loss)
{
    socket->open = false;
    socket->topic[0] = '\0';
    tell(socket, (struct news){.news = TRANSPORT_LIVE_LOST, .loss = loss});
}

/* ---- Hearing --------------------------------------------------------------------------------- */

/* A frame of the client, taken apart without the heap, which a test may be failing. */
struct heard {
    char join_ref[16]; /* "" null */
    char ref[16];
    char topic[80];
    char event[20];
    bool has_token;
};

static struct heard read_frame(struct slice text)
{
    struct heard heard = {.join_ref = ""};
    char copy[4096];
    must(text.len < sizeof copy, "a long frame");
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    bool joined = sscanf(copy, "[\"%15[^\"]\",\"%15[^\"]\",\"%79[^\"]\",\"%19[^\"]\",{",
                         heard.join_ref, heard.ref, heard.topic, heard.event) == 4;
    must(joined || sscanf(copy, "[null,\"%15[^\"]\",\"%79[^\"]\",\"%19[^\"]\",{", heard.ref,
                          heard.topic, heard.event) == 3,
         "a frame is none");
    heard.has_token = strstr(copy, "\"access_token\":\"ey") != NULL;
    return heard;
}

static void join(struct fake_socket *socket, const struct heard *heard)
{
    socket->live->counts.n_joins++;
    memcpy(socket->join_ref, heard->join_ref, sizeof socket->join_ref);
    memcpy(socket->topic, heard->topic, sizeof socket->topic);
    must(heard->has_token, "a join has no token");
    if (socket->live->mood == FAKE_LIVE_STRICT) {
        say(socket, socket->join_ref, socket->join_ref, socket->topic,
            "\"phx_reply\",{\"status\":\"error\",\"response\":{\"reason\":"
            "\"InvalidJWTToken: Token has expired 1 seconds ago\"}}");
        socket->topic[0] = '\0';
        return;
    }
    say(socket, socket->join_ref, socket->join_ref, socket->topic,
        "\"phx_reply\",{\"status\":\"ok\",\"response\":{\"postgres_changes\":[{\"id\":7}]}}");
    say(socket, socket->join_ref, NULL, socket->topic,
        "\"system\",{\"status\":\"ok\",\"extension\":\"postgres_changes\","
        "\"message\":\"Subscribed to PostgreSQL\"}");
}

static int live_send(struct transport *transport, struct slice text)
{
    struct fake_socket *socket = socket_of(transport);
    struct heard heard = read_frame(text);
    pthread_mutex_lock(&socket->live->mutex);
    if (!socket->open || socket->live->mood == FAKE_LIVE_SILENT) {
        /* nobody hears it */
    } else if (strcmp(heard.event, "phx_join") == 0) {
        join(socket, &heard);
    } else if (strcmp(heard.event, "heartbeat") == 0) {
        socket->live->counts.n_heartbeats++;
        say(socket, NULL, heard.ref, "phoenix",
            "\"phx_reply\",{\"status\":\"ok\",\"response\":{}}");
    } else {
        must(strcmp(heard.event, "access_token") == 0 && heard.has_token, "an unknown event");
        socket->live->counts.n_tokens++;
    }
    pthread_mutex_unlock(&socket->live->mutex);
    return BQ_OK;
}

static int live_open(struct transport *transport, const char *token)
{
    struct fake_socket *socket = socket_of(transport);
    struct fake_live *live = socket->live;
    must(token != NULL && token[0] != '\0', "no token");
    pthread_mutex_lock(&live->mutex);
    must(!socket->open, "two sockets at once");
    live->counts.n_opened++;
    if (live->mood == FAKE_LIVE_REFUSES || live->mood == FAKE_LIVE_AWAY) {
        lose(socket, live->mood == FAKE_LIVE_AWAY ? LIVE_UNREACHABLE : LIVE_REFUSED);
    } else {
        socket->open = true;
        tell(socket, (struct news){.news = TRANSPORT_LIVE_OPEN});
    }
    pthread_mutex_unlock(&live->mutex);
    return BQ_OK;
}

static void live_close(struct transport *transport)
{
    struct fake_socket *socket = socket_of(transport);
    pthread_mutex_lock(&socket->live->mutex);
    socket->open = false;
    socket->topic[0] = '\0';
    socket->n_told = socket->n_queue;
    pthread_mutex_unlock(&socket->live->mutex);
}

/* ---- The transport beside it ----------------------------------------------------------------- */

static int start(struct transport *transport, const struct transport_request *request)
{
    struct transport *real = socket_of(transport)->real;
    return real->start(real, request);
}

static void cancel(struct transport *transport)
{
    struct transport *real = socket_of(transport)->real;
    real->cancel(real);
}

static void wake(struct transport *transport)
{
    struct transport *real = socket_of(transport)->real;
    real->wake(real);
}

static bool take_news(struct fake_socket *socket, struct transport_answer *out)
{
    pthread_mutex_lock(&socket->live->mutex);
    bool found = socket->n_told < socket->n_queue;
    if (found) {
        const struct news *news = &socket->queue[socket->n_told++];
        *out = (struct transport_answer){.news = news->news,
                                         .loss = news->loss,
                                         .retry_after_ms = -1,
                                         .error = "the fake says so"};
        memcpy(socket->told, news->text, sizeof socket->told);
        out->body = slice_of(socket->told);
    }
    pthread_mutex_unlock(&socket->live->mutex);
    return found;
}

static bool wait_for(struct transport *transport, int64_t wait_ms, struct transport_answer *out)
{
    struct fake_socket *socket = socket_of(transport);
    if (take_news(socket, out)) {
        return true;
    }
    return socket->real->wait(socket->real, wait_ms, out) || take_news(socket, out);
}

static void free_socket(struct transport *transport)
{
    struct fake_socket *socket = socket_of(transport);
    pthread_mutex_lock(&socket->live->mutex);
    for (unsigned i = 0; i < SOCKETS_MAX; i++) {
        if (socket->live->sockets[i] == socket) {
            socket->live->sockets[i] = NULL;
        }
    }
    pthread_mutex_unlock(&socket->live->mutex);
    socket->real->free(socket->real);
    free(socket);
}

struct transport *fake_live_connect(struct fake_live *live, struct transport *real)
{
    struct fake_socket *socket = calloc(1, sizeof *socket);
    unsigned i = 0;
    must(socket != NULL, "no memory");
    socket->base = (struct transport){.free = free_socket,
                                      .start = start,
                                      .cancel = cancel,
                                      .wait = wait_for,
                                      .wake = wake,
                                      .live_open = live_open,
                                      .live_send = live_send,
                                      .live_close = live_close};
    socket->real = real;
    socket->live = live;
    pthread_mutex_lock(&live->mutex);
    while (i < SOCKETS_MAX && live->sockets[i] != NULL) {
        i++;
    }
    must(i < SOCKETS_MAX, "too many sockets");
    live->sockets[i] = socket;
    pthread_mutex_unlock(&live->mutex);
    return &socket->base;
}

/* ---- The server ------------------------------------------------------------------------------ */

static void publish(void *cls, const char *user, int64_t seq)
{
    struct fake_live *live = cls;
    char topic[80];
    char rest[300];
    snprintf(topic, sizeof topic, "realtime:bqsync_%s", user);
    snprintf(rest, sizeof rest,
             "\"postgres_changes\",{\"ids\":[7],\"data\":{\"table\":\"user_sync_feed\","
             "\"type\":\"UPDATE\",\"record\":{\"user_id\":\"%s\",\"seq\":%lld}}}",
             user, (long long)seq);
    pthread_mutex_lock(&live->mutex);
    for (unsigned i = 0; i < SOCKETS_MAX && !live->loses_events; i++) {
        struct fake_socket *socket = live->sockets[i];
        if (socket != NULL && socket->open && strcmp(socket->topic, topic) == 0) {
            say(socket, NULL, NULL, topic, rest);
        }
    }
    pthread_mutex_unlock(&live->mutex);
}

struct fake_live *fake_live_new(struct fake_server *server)
{
    struct fake_live *live = calloc(1, sizeof *live);
    must(live != NULL, "no memory");
    must(pthread_mutex_init(&live->mutex, NULL) == 0, "no mutex");
    live->server = server;
    fake_server_on_change(server, publish, live);
    return live;
}

void fake_live_free(struct fake_live *live)
{
    fake_server_on_change(live->server, NULL, NULL);
    (void)pthread_mutex_destroy(&live->mutex);
    free(live);
}

void fake_live_set_mood(struct fake_live *live, enum fake_live_mood mood)
{
    pthread_mutex_lock(&live->mutex);
    live->mood = mood;
    for (unsigned i = 0; i < SOCKETS_MAX && mood == FAKE_LIVE_STRICT; i++) {
        if (live->sockets[i] != NULL && live->sockets[i]->topic[0] != '\0') {
            end_channel(live->sockets[i]);
        }
    }
    pthread_mutex_unlock(&live->mutex);
}

void fake_live_drop(struct fake_live *live)
{
    pthread_mutex_lock(&live->mutex);
    for (unsigned i = 0; i < SOCKETS_MAX; i++) {
        if (live->sockets[i] != NULL && live->sockets[i]->open) {
            lose(live->sockets[i], LIVE_DROPPED);
        }
    }
    pthread_mutex_unlock(&live->mutex);
}

void fake_live_lose_events(struct fake_live *live, bool lose_them)
{
    pthread_mutex_lock(&live->mutex);
    live->loses_events = lose_them;
    pthread_mutex_unlock(&live->mutex);
}

struct fake_live_counts fake_live_counts(struct fake_live *live)
{
    pthread_mutex_lock(&live->mutex);
    struct fake_live_counts counts = live->counts;
    counts.n_open = 0;
    for (unsigned i = 0; i < SOCKETS_MAX; i++) {
        counts.n_open += live->sockets[i] != NULL && live->sockets[i]->open ? 1 : 0;
    }
    pthread_mutex_unlock(&live->mutex);
    return counts;
}
