/* storm.c - a server goes away and comes back, and so do all who listened to it
 * (docs/reliability.md).
 *
 * First for real: a server process and thousands of sockets (tests/lib/swarm.h), each the device of
 * a user of its own, with the rules of libbqsync. The server ends by SIGTERM, and by kill -9. While
 * it starts again and the devices come back, every user's document is written; in the end every
 * device must be up and know it: those that were up before the write by an event, the others by the
 * pull that follows a join. Then without a server: 10,000 clients, 20 times, whose server is away
 * for a minute of virtual time.
 *
 * The peak is what falls into the fullest 100 ms; the mean is that of the time in which the first
 * 95 % come back. Twice the mean is the bound, and where few are counted three times the root of
 * that on top, which chance alone may bring. The last line is that of the suite. BQ_STORM says how
 * many sockets (500; with BQ_LONG=1 5,000; 0: none). */
#include "planted.h"
#include "server_process.h"
#include "suite_progress.h"
#include "swarm.h"

#include "base/status.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PATIENCE_US INT64_C(120000000)
#define LANES 24u
#define AWAY_MS 500 /* at least, between the end of the server and its new beginning */
#define MANY 5000u /* so many that chance does not count */
#define SIMULATED 10000u
#define REPEATED 20u
#define OUTAGE_MS 60000
#define LONGEST_MS INT64_C(3600000)

struct storm {
    struct server_process server;
    struct swarm *swarm;
    unsigned n;
    unsigned n_wrong;
    unsigned n_lost;
    unsigned n_back;
    unsigned n_expected;
    int64_t p95_ms; /* the worst of the restarts */
    double ratio;   /* the worst peak of MANY by its mean */
};

static void wrong(struct storm *storm, const char *what, double a, double b)
{
    storm->n_wrong++;
    printf("WRONG %s: %.1f, %.1f\n", what, a, b);
}

/* ---- The peak -------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Comebacks at these milliseconds after from_ms, of n_times repetitions laid over one another. */
static void judge(struct storm *storm, const char *what, int64_t *times_ms, size_t n,
                  int64_t from_ms)
{
    qsort(times_ms, n, sizeof *times_ms, by_value);
    int64_t p95_ms = times_ms[(size_t)((double)n * 0.95)] - from_ms;
    double mean = 0.95 * (double)n / ((double)(p95_ms < 100 ? 100 : p95_ms) / 100);
    unsigned peak = swarm_peak(times_ms, n);
    double above = peak - 2 * mean;
    bool chance = n < MANY && above * above <= 9 * 2 * mean;
    printf("%s: %zu came back, 95 %% within %" PRId64 " ms; peak in 100 ms %u, mean %.1f\n", what,
           n, p95_ms, peak, mean);
    if (n >= MANY && peak / mean > storm->ratio) {
        storm->ratio = peak / mean;
    }
    if (above > 0 && !chance) {
        wrong(storm, "peak and what it may be", peak, 2 * mean);
    }
}

/* ---- For real -------------------------------------------------------------------------------- */

static unsigned count_known(const struct storm *storm, int64_t n)
{
    unsigned known = 0;
    for (unsigned i = 0; i < storm->n; i++) {
        const struct swarm_device *device = &swarm_devices(storm->swarm)[i];
        known += device->n == n && device->live.phase == LIVE_UP;
    }
    return known;
}

/* Until all are up, everything that was to be written is, and all know it. */
static void settle(struct storm *storm, int64_t n, int64_t until_us)
{
    while (swarm_now_us() < until_us && (swarm_pending(storm->swarm) > 0 ||
                                         count_known(storm, n) < storm->n)) {
        swarm_turn(storm->swarm, 2);
    }
}

static void write_all(struct storm *storm, int64_t n)
{
    for (unsigned i = 0; i < storm->n; i++) {
        swarm_write(storm->swarm, i, n, swarm_now_us());
    }
}

static void turn_until(struct storm *storm, bool (*done)(struct server_process *server))
{
    int64_t until_us = swarm_now_us() + PATIENCE_US;
    while (!done(&storm->server) && swarm_now_us() < until_us) {
        swarm_turn(storm->swarm, 2);
    }
}

static void stay_away(struct storm *storm)
{
    int64_t until_us = swarm_now_us() + AWAY_MS * 1000;
    while (swarm_now_us() < until_us) {
        swarm_turn(storm->swarm, 2);
    }
}

/* The tries that opened a socket, when they were due, and how long it took until all was known. */
static void judge_return(struct storm *storm, const char *what, int64_t up_us, int64_t n)
{
    struct swarm_times back = {NULL, 0, 0};
    int64_t *tries = calloc(storm->n, sizeof *tries);
    back.us = calloc(storm->n, sizeof *back.us);
    size_t n_tries = 0;
    for (unsigned i = 0; i < storm->n; i++) {
        const struct swarm_device *device = &swarm_devices(storm->swarm)[i];
        if (device->back_us == 0 || device->n != n) {
            storm->n_lost += device->n != n;
            continue;
        }
        tries[n_tries++] = device->tried_ms;
        back.us[back.n++] = device->back_us > up_us ? device->back_us - up_us : 0;
    }
    int64_t p95_ms = swarm_percentile(&back, 0.95) / 1000;
    printf("%s: %zu of %u are back and know what was written, 95 %% in %" PRId64 " ms\n", what,
           back.n, storm->n, p95_ms);
    storm->n_back += (unsigned)back.n;
    storm->n_expected += storm->n;
    storm->p95_ms = p95_ms > storm->p95_ms ? p95_ms : storm->p95_ms;
    if (n_tries > 0) {
        judge(storm, what, tries, n_tries, up_us / 1000);
    }
    free(tries);
    free(back.us);
}

static void restart(struct storm *storm, const char *what, int signal_number, int64_t n)
{
    for (unsigned i = 0; i < storm->n; i++) {
        swarm_devices(storm->swarm)[i].lost_us = 0;
        swarm_devices(storm->swarm)[i].back_us = 0;
    }
    swarm_forget(storm->swarm);
    server_process_signal(&storm->server, signal_number);
    turn_until(storm, server_process_has_ended);
    stay_away(storm);
    server_process_launch(&storm->server);
    turn_until(storm, server_process_listens);
    int64_t up_us = swarm_now_us();
    /* Some are back and are told; the others will pull. */
    while (swarm_n_up(storm->swarm) < storm->n / 3 && swarm_now_us() < up_us + PATIENCE_US) {
        swarm_turn(storm->swarm, 2);
    }
    write_all(storm, n);
    settle(storm, n, up_us + PATIENCE_US);
    judge_return(storm, what, up_us, n);
}

static void run_real(struct storm *storm, uint64_t seed)
{
    swarm_raise_files();
    setenv("BQSYNC_SOCKETS", "7000", 1);
    setenv("BQSYNC_ADDRESS_SOCKETS", "7000", 1);
    setenv("BQSYNC_CONNECTIONS", "7000", 1);
    setenv("BQSYNC_ADDRESS_CONNECTIONS", "7000", 1);
    server_process_init(&storm->server);
    const struct swarm_config config = {storm->server.port, storm->n, 1, LANES, seed};
    storm->swarm = swarm_new(&config);
    write_all(storm, 1);
    while (swarm_pending(storm->swarm) > 0) {
        swarm_turn(storm->swarm, 2);
    }
    swarm_begin(storm->swarm, storm->n / 2);
    settle(storm, 1, swarm_now_us() + PATIENCE_US);
    if (count_known(storm, 1) < storm->n) {
        wrong(storm, "known before anything happened", count_known(storm, 1), storm->n);
    }
    suite_progress(1, 4);
    /* All are up: these are told by events alone. */
    write_all(storm, 2);
    settle(storm, 2, swarm_now_us() + PATIENCE_US / 10);
    storm->n_lost += storm->n - count_known(storm, 2);
    suite_progress(2, 4);
    if (storm->n_lost == 0) {
        restart(storm, "SIGTERM", SIGTERM, 3);
        suite_progress(3, 4);
        restart(storm, "kill -9", SIGKILL, 4);
    }
    swarm_free(storm->swarm);
    server_process_release(&storm->server);
}

/* ---- Simulated ------------------------------------------------------------------------------- */

static void say(struct live *live, int64_t now_ms, const char *text, struct live_out *out)
{
    struct live_event event = {.type = LIVE_TEXT, .text = {text, strlen(text)}};
    event.wanted = true;
    event.user = "eeeeeeee-0000-4000-8000-000000000000";
    event.token = "t";
    if (live_step(live, now_ms, &event, out) != BQ_OK) {
        abort();
    }
}

static void tell(struct live *live, int64_t now_ms, enum live_event_type type, enum live_loss loss,
                 struct live_out *out)
{
    const struct live_event event = {.type = type,
                                     .wanted = true,
                                     .user = "eeeeeeee-0000-4000-8000-000000000000",
                                     .token = "t",
                                     .loss = loss,
                                     .retry_after_ms = -1};
    if (live_step(live, now_ms, &event, out) != BQ_OK) {
        abort();
    }
}

#define TOPIC "\"realtime:bqsync_eeeeeeee-0000-4000-8000-000000000000\""

/* Up, then without a server for OUTAGE_MS: when the try is due that finds it again. */
static int64_t come_back(uint64_t seed, struct live_out *out)
{
    struct live live;
    int64_t now_ms = 1000;
    live_init(&live, seed);
    tell(&live, now_ms, LIVE_TICK, LIVE_DROPPED, out);
    tell(&live, now_ms, LIVE_OPENED, LIVE_DROPPED, out);
    say(&live, now_ms,
        "[\"1\",\"1\"," TOPIC ",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]", out);
    say(&live, now_ms,
        "[\"1\",null," TOPIC ",\"system\",{\"status\":\"ok\",\"extension\":\"postgres_changes\"}]",
        out);
    if (live.phase != LIVE_UP) {
        printf("WRONG a simulated client does not come up\n");
        abort();
    }
    now_ms += LIVE_STABLE_MS;
    int64_t lost_ms = now_ms;
    tell(&live, now_ms, LIVE_LOST, LIVE_DROPPED, out);
    for (;;) {
        now_ms = live_next_at_ms(&live);
        tell(&live, now_ms, LIVE_TICK, LIVE_DROPPED, out);
        if (now_ms - lost_ms >= OUTAGE_MS || now_ms - lost_ms > LONGEST_MS) {
            return now_ms - lost_ms - OUTAGE_MS;
        }
        tell(&live, now_ms, LIVE_LOST, LIVE_UNREACHABLE, out);
    }
}

static void run_simulated(struct storm *storm, uint64_t seed)
{
    size_t n = (size_t)SIMULATED * REPEATED;
    int64_t *times_ms = calloc(n, sizeof *times_ms);
    struct live_out out;
    live_out_init(&out);
    for (size_t i = 0; i < n; i++) {
        times_ms[i] = come_back(seed + i, &out);
    }
    judge(storm, "away for a minute, 20 times", times_ms, n, 0);
    buf_release(&out.frame);
    free(times_ms);
}

int main(void)
{
    struct storm storm = {.n_wrong = 0};
    const char *size = getenv("BQ_STORM");
    const char *is_long = getenv("BQ_LONG");
    uint64_t seed = (uint64_t)time(NULL) << 20;
    planted_begin();
    printf("seed %" PRIu64 "\n", seed);
    storm.n = size != NULL                              ? (unsigned)strtoul(size, NULL, 10)
              : is_long != NULL && is_long[0] != '\0' ? 5000
                                                      : 500;
    run_simulated(&storm, seed);
    if (storm.n > 0 && storm.n_wrong == 0) {
        run_real(&storm, seed);
    }
    if (storm.n_lost > 0) {
        wrong(&storm, "devices that do not know what was written", storm.n_lost, 0);
    }
    if (storm.n_back != storm.n_expected) {
        wrong(&storm, "back and expected", storm.n_back, storm.n_expected);
    }
    printf("storm: back %u/%u, p95 %.1f s, lost %u; simulated %u x %u back; peak in any 100 ms "
           "%.1fx mean (<= 2x)\n",
           storm.n_back, storm.n_expected, (double)storm.p95_ms / 1000, storm.n_lost, REPEATED,
           SIMULATED, storm.ratio);
    return storm.n_wrong > 0 ? 1 : 0;
}
