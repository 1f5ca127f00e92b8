/* swarm.c - see swarm.h. */
#include "swarm.h"

#include "token.h"

#include "base/status.h"
#include "json/json.h"
#include "proto/upgrade.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EVENTS 512
#define READ_BYTES 65536u
#define LOOK_MS 2 /* how often clocks are looked at */
#define AGAIN_MS 50
#define TEXT_FRAME 0x81
#define CLOSE_FRAME 8u

enum job_kind { JOB_PULL, JOB_WRITE };

struct job {
    enum job_kind kind;
    unsigned device;
    int64_t n;
};

/* An HTTP connection. */
struct lane {
    int fd;
    bool busy;
    struct job job;
    struct buf in;
    int64_t again_ms; /* not before */
};

struct swarm {
    struct swarm_config config;
    struct sockaddr_in server;
    int epoll;
    struct swarm_device *devices;
    struct lane *lanes;
    struct job *jobs; /* a ring */
    size_t first_job;
    size_t n_jobs;
    size_t size_jobs;
    unsigned n_busy;
    int64_t *begin_ms;
    int64_t looked_ms;
    int64_t *tries;
    size_t n_tries;
    size_t size_tries;
    struct swarm_times events;
    struct swarm_times documents;
    struct live_out out;
    char key[UPGRADE_KEY_TEXT];
    char *scratch;
};

static void must(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "swarm: %s (%s)\n", what, strerror(errno));
        abort();
    }
}

static void *array(void *old, size_t n, size_t *size, size_t item)
{
    if (n < *size) {
        return old;
    }
    *size = *size == 0 ? 256 : *size * 2;
    old = realloc(old, *size * item);
    must(old != NULL, "no memory");
    return old;
}

int64_t swarm_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int64_t now_ms(void)
{
    return swarm_now_us() / 1000;
}

/* ---- Figures --------------------------------------------------------------------------------- */

static void add_time(struct swarm_times *times, int64_t us)
{
    times->us = array(times->us, times->n, &times->size, sizeof *times->us);
    times->us[times->n++] = us;
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

int64_t swarm_percentile(struct swarm_times *times, double share)
{
    if (times->n == 0) {
        return 0;
    }
    qsort(times->us, times->n, sizeof *times->us, by_value);
    size_t at = (size_t)((double)times->n * share);
    return times->us[at < times->n ? at : times->n - 1];
}

unsigned swarm_peak(const int64_t *times_ms, size_t n)
{
    size_t most = 0;
    for (size_t i = 0, from = 0; i < n; i++) {
        while (times_ms[i] - times_ms[from] >= 100) {
            from++;
        }
        most = i - from + 1 > most ? i - from + 1 : most;
    }
    return (unsigned)most;
}

void swarm_raise_files(void)
{
    struct rlimit limit;
    must(getrlimit(RLIMIT_NOFILE, &limit) == 0, "getrlimit");
    limit.rlim_cur = limit.rlim_max;
    must(setrlimit(RLIMIT_NOFILE, &limit) == 0, "setrlimit");
}

struct swarm_device *swarm_devices(struct swarm *swarm)
{
    return swarm->devices;
}

struct swarm_times *swarm_events(struct swarm *swarm)
{
    return &swarm->events;
}

struct swarm_times *swarm_documents(struct swarm *swarm)
{
    return &swarm->documents;
}

const int64_t *swarm_tries(const struct swarm *swarm, size_t *out_n)
{
    qsort(swarm->tries, swarm->n_tries, sizeof *swarm->tries, by_value);
    *out_n = swarm->n_tries;
    return swarm->tries;
}

void swarm_forget(struct swarm *swarm)
{
    swarm->n_tries = 0;
    swarm->events.n = 0;
    swarm->documents.n = 0;
}

/* ---- Jobs ------------------------------------------------------------------------------------ */

static void add_job(struct swarm *swarm, struct job job)
{
    if (swarm->n_jobs == swarm->size_jobs) {
        size_t size = swarm->size_jobs == 0 ? 1024 : swarm->size_jobs * 2;
        struct job *jobs = calloc(size, sizeof *jobs);
        must(jobs != NULL, "no memory");
        for (size_t i = 0; i < swarm->n_jobs; i++) {
            jobs[i] = swarm->jobs[(swarm->first_job + i) % swarm->size_jobs];
        }
        free(swarm->jobs);
        swarm->jobs = jobs;
        swarm->size_jobs = size;
        swarm->first_job = 0;
    }
    swarm->jobs[(swarm->first_job + swarm->n_jobs++) % swarm->size_jobs] = job;
}

unsigned swarm_pending(const struct swarm *swarm)
{
    return (unsigned)swarm->n_jobs + swarm->n_busy;
}

/* One pull of a device at a time, and one more where something came meanwhile. */
static void want_pull(struct swarm *swarm, struct swarm_device *device)
{
    if (device->pulls) {
        device->pulls_again = true;
        return;
    }
    device->pulls = true;
    add_job(swarm, (struct job){JOB_PULL, (unsigned)(device - swarm->devices), 0});
}

void swarm_write(struct swarm *swarm, unsigned device, int64_t n, int64_t at_us)
{
    swarm->devices[device].wrote_us = at_us;
    swarm->devices[device].wrote_n = n;
    add_job(swarm, (struct job){JOB_WRITE, device, n});
}

static int new_socket(struct swarm *swarm, void *tag, bool *out_connecting)
{
    const int on = 1;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data = {.ptr = tag}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    must(fd >= 0, "no socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    int rc = connect(fd, (struct sockaddr *)&swarm->server, sizeof swarm->server);
    *out_connecting = rc != 0;
    if (rc != 0 && errno != EINPROGRESS) {
        close(fd);
        return -1;
    }
    must(epoll_ctl(swarm->epoll, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl");
    return fd;
}

/* The connection broke: its job waits for another go. */
static void lose_lane(struct swarm *swarm, struct lane *lane)
{
    if (lane->fd >= 0) {
        close(lane->fd);
    }
    lane->fd = -1;
    lane->again_ms = now_ms() + AGAIN_MS;
    buf_clear(&lane->in);
    if (lane->busy) {
        lane->busy = false;
        swarm->n_busy--;
        add_job(swarm, lane->job);
    }
}

static void print_job(struct swarm *swarm, const struct job *job, struct buf *out)
{
    struct swarm_device *device = &swarm->devices[job->device];
    struct buf body = BUF_INIT;
    if (job->kind == JOB_PULL) {
        buf_add_format(&body,
                       "{\"p_device_id\":\"bq-%032u\",\"p_epoch\":null,\"p_cursor\":%lld,"
                       "\"p_edits\":[]}",
                       job->device, (long long)device->cursor);
    } else {
        buf_add_format(&body,
                       "{\"p_user_id\":\"%s\",\"p_data_key\":\"k\",\"p_data\":{\"n\":%lld},"
                       "\"p_expected_version\":null,\"p_device_id\":\"writer\"}",
                       device->user, (long long)job->n);
    }
    buf_add_format(out,
                   "POST /rest/v1/rpc/%s HTTP/1.1\r\nHost: swarm\r\nContent-Type: "
                   "application/json\r\nContent-Length: %zu\r\nAuthorization: Bearer ",
                   job->kind == JOB_PULL ? "sync_exchange" : "atomic_sync_upsert", body.len);
    buf_add_text(out, device->token);
    buf_add_text(out, "\r\n\r\n");
    buf_add_slice(out, buf_slice(&body));
    buf_release(&body);
}

static void start_job(struct swarm *swarm, struct lane *lane)
{
    struct buf request = BUF_INIT;
    bool connecting = false;
    lane->job = swarm->jobs[swarm->first_job];
    swarm->first_job = (swarm->first_job + 1) % swarm->size_jobs;
    swarm->n_jobs--;
    lane->busy = true;
    swarm->n_busy++;
    if (lane->fd < 0) {
        lane->fd = new_socket(swarm, lane, &connecting);
    }
    if (lane->fd < 0 || connecting) {
        if (lane->fd < 0) {
            lose_lane(swarm, lane);
        }
        return; /* sent when it is connected */
    }
    print_job(swarm, &lane->job, &request);
    bool sent = send(lane->fd, request.ptr, request.len, MSG_NOSIGNAL) == (ssize_t)request.len;
    buf_release(&request);
    if (!sent) {
        lose_lane(swarm, lane);
    }
}

static void start_jobs(struct swarm *swarm)
{
    int64_t ms = now_ms();
    for (unsigned i = 0; i < swarm->config.n_lanes && swarm->n_jobs > 0; i++) {
        struct lane *lane = &swarm->lanes[i];
        if (!lane->busy && lane->again_ms <= ms) {
            start_job(swarm, lane);
        }
    }
}

/* What a device finds out by a pull. */
static void take_pull(struct swarm *swarm, struct swarm_device *device, struct slice body)
{
    struct arena arena;
    struct json_value answer;
    int64_t cursor = 0;
    int64_t now_us = swarm_now_us();
    arena_init(&arena);
    must(json_parse(&arena, body, 32, &answer, NULL) == BQ_OK, "a pull's answer is no JSON");
    const struct json_value *changes = json_get(&answer, "changes");
    must(json_to_int(json_get(&answer, "cursor"), &cursor), "a pull's answer has no cursor");
    for (uint32_t i = 0; json_is(changes, JSON_ARRAY) && i < changes->count; i++) {
        int64_t n;
        if (json_to_int(json_get(json_get(&changes->items[i], "data"), "n"), &n)) {
            device->n = n;
        }
    }
    device->cursor = cursor;
    const struct swarm_device *writer = device - (device - swarm->devices) %
                                                     swarm->config.n_shared;
    if (writer->wrote_us != 0 && writer->wrote_n == device->n && device->wants_pull) {
        add_time(&swarm->documents, now_us - writer->wrote_us);
    }
    device->wants_pull = false;
    if (device->live.phase == LIVE_UP && device->lost_us != 0 && device->back_us == 0) {
        device->back_us = now_us;
    }
    arena_release(&arena);
}

/* The length of the answer at the front with its header, or 0: not all there. */
static size_t whole_answer(const struct buf *in, size_t *out_header)
{
    const char *end = in->len == 0 ? NULL : memmem(in->ptr, in->len, "\r\n\r\n", 4);
    const char *length = end == NULL ? NULL : strcasestr(in->ptr, "\r\ncontent-length:");
    if (end == NULL) {
        return 0;
    }
    must(length != NULL && length < end, "an answer has no length");
    *out_header = (size_t)(end - in->ptr) + 4;
    size_t whole = *out_header + strtoul(length + 17, NULL, 10);
    return in->len >= whole ? whole : 0;
}

static void end_job(struct swarm *swarm, struct lane *lane, struct slice answer, size_t header)
{
    struct swarm_device *device = &swarm->devices[lane->job.device];
    struct slice body = {answer.ptr + header, answer.len - header};
    bool good = strncmp(answer.ptr, "HTTP/1.1 200", 12) == 0;
    lane->busy = false;
    swarm->n_busy--;
    if (!good) {
        lane->again_ms = now_ms() + AGAIN_MS;
        add_job(swarm, lane->job);
        return;
    }
    if (lane->job.kind == JOB_WRITE) {
        must(memmem(body.ptr, body.len, "\"success\":true", 14) != NULL, "a write is refused");
        return;
    }
    take_pull(swarm, device, body);
    device->pulls = false;
    if (device->pulls_again) {
        device->pulls_again = false;
        want_pull(swarm, device);
    }
}

static void lane_ready(struct swarm *swarm, struct lane *lane, unsigned events)
{
    size_t header;
    if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
        lose_lane(swarm, lane);
        return;
    }
    if ((events & EPOLLOUT) != 0) { /* connected */
        struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = lane}};
        must(epoll_ctl(swarm->epoll, EPOLL_CTL_MOD, lane->fd, &event) == 0, "epoll_ctl");
        if (lane->busy) {
            lane->busy = false;
            swarm->n_busy--;
            add_job(swarm, lane->job);
        }
    }
    if ((events & EPOLLIN) == 0) {
        return;
    }
    ssize_t n = recv(lane->fd, swarm->scratch, READ_BYTES, 0);
    if (n <= 0) {
        lose_lane(swarm, lane);
        return;
    }
    buf_add(&lane->in, swarm->scratch, (size_t)n);
    buf_add_char(&lane->in, '\0'); /* for the search in the header */
    lane->in.len--;
    size_t whole = whole_answer(&lane->in, &header);
    if (whole > 0 && lane->busy) {
        end_job(swarm, lane, (struct slice){lane->in.ptr, whole}, header);
        buf_clear(&lane->in);
    }
}

/* ---- Sockets --------------------------------------------------------------------------------- */

static void step(struct swarm *swarm, struct swarm_device *device, struct live_event event);

static void close_socket(struct swarm_device *device)
{
    if (device->fd >= 0) {
        close(device->fd);
    }
    device->fd = -1;
    device->handshaken = false;
    device->writing = false;
    buf_release(&device->in);
    buf_release(&device->out);
}

static void lose(struct swarm *swarm, struct swarm_device *device, enum live_loss loss)
{
    close_socket(device);
    step(swarm, device, (struct live_event){.type = LIVE_LOST, .loss = loss, .retry_after_ms = -1});
}

static void watch(struct swarm *swarm, struct swarm_device *device, bool writing)
{
    struct epoll_event event = {.events = EPOLLIN | (writing ? (unsigned)EPOLLOUT : 0u),
                                .data = {.ptr = device}};
    must(epoll_ctl(swarm->epoll, EPOLL_CTL_MOD, device->fd, &event) == 0, "epoll_ctl");
    device->writing = writing;
}

static void flush(struct swarm *swarm, struct swarm_device *device)
{
    ssize_t n = send(device->fd, device->out.ptr, device->out.len, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) {
        lose(swarm, device, LIVE_DROPPED);
        return;
    }
    n = n < 0 ? 0 : n;
    memmove(device->out.ptr, device->out.ptr + n, device->out.len - (size_t)n);
    device->out.len -= (size_t)n;
    if (device->writing != (device->out.len > 0)) {
        watch(swarm, device, device->out.len > 0);
    }
    if (device->out.len == 0) {
        buf_release(&device->out);
    }
}

static void send_text(struct swarm *swarm, struct swarm_device *device, struct slice text)
{
    static const char mask[4] = {1, 2, 3, 4};
    must(text.len < 65536, "a frame is too long");
    buf_add_char(&device->out, (char)TEXT_FRAME);
    if (text.len > 125) {
        buf_add_char(&device->out, (char)(0x80 | 126));
        buf_add_char(&device->out, (char)(text.len >> 8));
        buf_add_char(&device->out, (char)(text.len & 255));
    } else {
        buf_add_char(&device->out, (char)(0x80 | text.len));
    }
    buf_add(&device->out, mask, 4);
    for (size_t i = 0; i < text.len; i++) {
        buf_add_char(&device->out, (char)(text.ptr[i] ^ mask[i % 4]));
    }
    flush(swarm, device);
}

static void open_socket(struct swarm *swarm, struct swarm_device *device)
{
    bool connecting;
    swarm->tries = array(swarm->tries, swarm->n_tries, &swarm->size_tries, sizeof *swarm->tries);
    swarm->tries[swarm->n_tries++] = device->tried_ms;
    device->fd = new_socket(swarm, device, &connecting);
    if (device->fd < 0) {
        lose(swarm, device, LIVE_UNREACHABLE);
        return;
    }
    const struct upgrade_request request = {.url = SLICE("http://127.0.0.1"),
                                            .path = UPGRADE_REALTIME_PATH,
                                            .vsn = "2.0.0",
                                            .token = device->token,
                                            .key = swarm->key};
    device->writing = true;
    upgrade_print(&device->out, &request);
}

static void moved(struct swarm *swarm, struct swarm_device *device, int64_t seq)
{
    const struct swarm_device *writer = device - (device - swarm->devices) %
                                                     swarm->config.n_shared;
    if (seq != 0 && seq <= device->cursor) {
        return;
    }
    if (writer->wrote_us != 0) {
        add_time(&swarm->events, swarm_now_us() - writer->wrote_us);
    }
    device->wants_pull = true;
    want_pull(swarm, device);
}

static void step(struct swarm *swarm, struct swarm_device *device, struct live_event event)
{
    struct live_out *out = &swarm->out;
    event.wanted = true;
    event.user = device->user;
    event.token = device->token;
    event.token_number = 1;
    int64_t due_ms = live_next_at_ms(&device->live);
    must(live_step(&device->live, now_ms(), &event, out) == BQ_OK, "no memory");
    bool open = out->open;
    bool up = out->up || out->pull;
    bool has_moved = out->moved;
    int64_t seq = out->seq;
    if (out->down && device->lost_us == 0) {
        device->lost_us = swarm_now_us();
    }
    if (out->close) {
        close_socket(device);
    }
    if (out->frame.len > 0) {
        send_text(swarm, device, buf_slice(&out->frame));
    }
    if (up) {
        want_pull(swarm, device);
    }
    if (has_moved) {
        moved(swarm, device, seq);
    }
    if (open) {
        device->tried_ms = due_ms == INT64_MAX ? now_ms() : due_ms;
        open_socket(swarm, device);
    }
}

/* The answer of the handshake; false: not there yet, or lost. */
static bool take_handshake(struct swarm *swarm, struct swarm_device *device)
{
    struct upgrade_answer answer;
    const char *end = memmem(device->in.ptr, device->in.len, "\r\n\r\n", 4);
    if (end == NULL) {
        return false;
    }
    size_t n = (size_t)(end - device->in.ptr) + 4;
    upgrade_read((struct slice){device->in.ptr, n}, swarm->key, &answer);
    if (!answer.opened) {
        lose(swarm, device, LIVE_REFUSED);
        return false;
    }
    memmove(device->in.ptr, device->in.ptr + n, device->in.len - n);
    device->in.len -= n;
    device->handshaken = true;
    step(swarm, device, (struct live_event){.type = LIVE_OPENED});
    return device->fd >= 0;
}

/* The frame at the front: its header's length, or 0. */
static size_t frame_at(const struct buf *in, size_t *out_len)
{
    const unsigned char *bytes = (const unsigned char *)in->ptr;
    size_t n = in->len < 2 ? 0 : bytes[1] == 126 ? 4 : bytes[1] == 127 ? 10 : 2;
    if (n == 0 || in->len < n) {
        return 0;
    }
    *out_len = n == 2 ? bytes[1] : 0;
    for (size_t i = 2; i < n; i++) {
        *out_len = *out_len << 8 | bytes[i];
    }
    return in->len >= n + *out_len ? n : 0;
}

static void take_frames(struct swarm *swarm, struct swarm_device *device)
{
    size_t len;
    size_t header;
    while (device->fd >= 0 && (header = frame_at(&device->in, &len)) > 0) {
        struct buf frame = device->in; /* the device may lose its own while it hears */
        unsigned opcode = (unsigned char)frame.ptr[0] & 15u;
        device->in = BUF_INIT;
        buf_add(&device->in, frame.ptr + header + len, frame.len - header - len);
        if (opcode == CLOSE_FRAME) {
            lose(swarm, device, LIVE_DROPPED);
        } else {
            step(swarm, device,
                 (struct live_event){.type = LIVE_TEXT, .text = {frame.ptr + header, len}});
        }
        buf_release(&frame);
    }
    if (device->in.len == 0) {
        buf_release(&device->in);
    }
}

static void device_ready(struct swarm *swarm, struct swarm_device *device, unsigned events)
{
    if (device->fd < 0) {
        return; /* of this turn, and closed meanwhile */
    }
    if ((events & EPOLLERR) != 0) {
        lose(swarm, device, device->handshaken ? LIVE_DROPPED : LIVE_UNREACHABLE);
        return;
    }
    if ((events & EPOLLOUT) != 0) {
        flush(swarm, device);
    }
    if (device->fd < 0 || (events & (EPOLLIN | EPOLLHUP)) == 0) {
        return;
    }
    ssize_t n = recv(device->fd, swarm->scratch, READ_BYTES, 0);
    if (n < 0 && errno == EAGAIN) {
        return;
    }
    if (n <= 0) {
        lose(swarm, device, device->handshaken ? LIVE_DROPPED : LIVE_UNREACHABLE);
        return;
    }
    buf_add(&device->in, swarm->scratch, (size_t)n);
    if (device->handshaken || take_handshake(swarm, device)) {
        take_frames(swarm, device);
    }
}

/* ---- The loop -------------------------------------------------------------------------------- */

static bool is_lane(const struct swarm *swarm, const void *tag)
{
    const struct lane *lane = tag;
    return lane >= swarm->lanes && lane < swarm->lanes + swarm->config.n_lanes;
}

static void look(struct swarm *swarm)
{
    int64_t ms = now_ms();
    if (ms - swarm->looked_ms < LOOK_MS) {
        return;
    }
    swarm->looked_ms = ms;
    for (unsigned i = 0; i < swarm->config.n_devices; i++) {
        struct swarm_device *device = &swarm->devices[i];
        int64_t due_ms = device->live.phase == LIVE_OFF ? swarm->begin_ms[i]
                                                        : live_next_at_ms(&device->live);
        if (due_ms <= ms) {
            step(swarm, device, (struct live_event){.type = LIVE_TICK});
        }
    }
}

void swarm_turn(struct swarm *swarm, int timeout_ms)
{
    struct epoll_event events[EVENTS];
    start_jobs(swarm);
    int n = epoll_wait(swarm->epoll, events, EVENTS, timeout_ms < LOOK_MS ? timeout_ms : LOOK_MS);
    for (int i = 0; i < n; i++) {
        if (is_lane(swarm, events[i].data.ptr)) {
            lane_ready(swarm, events[i].data.ptr, events[i].events);
        } else {
            device_ready(swarm, events[i].data.ptr, events[i].events);
        }
    }
    look(swarm);
}

unsigned swarm_n_up(const struct swarm *swarm)
{
    unsigned n = 0;
    for (unsigned i = 0; i < swarm->config.n_devices; i++) {
        const struct swarm_device *device = &swarm->devices[i];
        n += device->live.phase == LIVE_UP && !device->pulls;
    }
    return n;
}

void swarm_begin(struct swarm *swarm, int64_t spread_ms)
{
    int64_t ms = now_ms();
    for (unsigned i = 0; i < swarm->config.n_devices; i++) {
        swarm->begin_ms[i] = ms + spread_ms * i / swarm->config.n_devices;
    }
}

struct swarm *swarm_new(const struct swarm_config *config)
{
    static const uint8_t nonce[UPGRADE_NONCE_BYTES] = "swarm";
    struct swarm *swarm = calloc(1, sizeof *swarm);
    must(swarm != NULL, "no memory");
    swarm->config = *config;
    swarm->server = (struct sockaddr_in){.sin_family = AF_INET,
                                         .sin_port = htons((uint16_t)config->port),
                                         .sin_addr = {htonl(INADDR_LOOPBACK)}};
    swarm->epoll = epoll_create1(EPOLL_CLOEXEC);
    swarm->devices = calloc(config->n_devices, sizeof *swarm->devices);
    swarm->lanes = calloc(config->n_lanes, sizeof *swarm->lanes);
    swarm->begin_ms = calloc(config->n_devices, sizeof *swarm->begin_ms);
    swarm->scratch = malloc(READ_BYTES);
    must(swarm->epoll >= 0 && swarm->devices != NULL && swarm->lanes != NULL &&
             swarm->begin_ms != NULL && swarm->scratch != NULL,
         "no memory");
    upgrade_key(nonce, swarm->key);
    live_out_init(&swarm->out);
    for (unsigned i = 0; i < config->n_lanes; i++) {
        swarm->lanes[i] = (struct lane){.fd = -1, .in = BUF_INIT};
    }
    for (unsigned i = 0; i < config->n_devices; i++) {
        struct swarm_device *device = &swarm->devices[i];
        live_init(&device->live, config->seed + i);
        snprintf(device->user, sizeof device->user, "eeeeeeee-0000-4000-8000-%012x",
                 i / config->n_shared);
        device->token = token_user(device->user);
        device->fd = -1;
        swarm->begin_ms[i] = INT64_MAX;
    }
    return swarm;
}

void swarm_free(struct swarm *swarm)
{
    for (unsigned i = 0; i < swarm->config.n_devices; i++) {
        close_socket(&swarm->devices[i]);
        free(swarm->devices[i].token);
    }
    for (unsigned i = 0; i < swarm->config.n_lanes; i++) {
        if (swarm->lanes[i].fd >= 0) {
            close(swarm->lanes[i].fd);
        }
        buf_release(&swarm->lanes[i].in);
    }
    close(swarm->epoll);
    buf_release(&swarm->out.frame);
    free(swarm->devices);
    free(swarm->lanes);
    free(swarm->jobs);
    free(swarm->begin_ms);
    free(swarm->tries);
    free(swarm->events.us);
    free(swarm->documents.us);
    free(swarm->scratch);
    free(swarm);
}
