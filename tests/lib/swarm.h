/* swarm.h - thousands of devices in one thread: each one holds a realtime socket as libbqsync does,
 * by the same pure rules (core/live.h), and pulls where libbqsync pulls.
 *
 * A device is a user of its own unless n_shared says otherwise; it knows a cursor and one number,
 * the member "n" of the document "k". Pulls and writes go over some HTTP connections that all
 * share, because what is measured is the server; where the server is away they are tried again
 * until they come through. Time is the monotonic clock in milliseconds; latencies are in
 * microseconds.
 *
 * Aborts where a test's own machinery fails. */
#ifndef TESTS_SWARM_H
#define TESTS_SWARM_H

#include "core/live.h"

#include <stdbool.h>
#include <stdint.h>

struct swarm_device {
    struct live live;
    char user[40];
    char *token;
    int fd; /* of the socket; -1: none */
    bool handshaken;
    bool writing;    /* the socket waits for room */
    bool wants_pull; /* or is being pulled */
    bool pulls;
    bool pulls_again;
    struct buf in;
    struct buf out;
    int64_t cursor;
    int64_t n;       /* of its document, as pulled; 0: none */
    int64_t lost_us; /* the last loss, and when it was up and pulled after it; 0: not yet */
    int64_t back_us;
    int64_t tried_ms; /* when the last try was due */
    int64_t wrote_us; /* the last write for its user was due */
    int64_t wrote_n;
};

struct swarm;

/* Latencies, of which percentiles are taken. */
struct swarm_times {
    int64_t *us;
    size_t n;
    size_t size;
};

struct swarm_config {
    unsigned port;
    unsigned n_devices;
    unsigned n_shared; /* devices of one user; 1 */
    unsigned n_lanes;  /* HTTP connections */
    uint64_t seed;
};

struct swarm *swarm_new(const struct swarm_config *config);
void swarm_free(struct swarm *swarm);

struct swarm_device *swarm_devices(struct swarm *swarm);

/* Lets the devices begin, spread over this time. */
void swarm_begin(struct swarm *swarm, int64_t spread_ms);

/* One turn of at most this long. */
void swarm_turn(struct swarm *swarm, int timeout_ms);

/* Writes {"n": n} for the device's user, when a lane is free. Latencies count from at_us, when it
 * was due, so that a generator that is late flatters nobody. */
void swarm_write(struct swarm *swarm, unsigned device, int64_t n, int64_t at_us);

/* Writes and pulls that wait or are under way. */
unsigned swarm_pending(const struct swarm *swarm);

/* Devices that are up and have pulled since. */
unsigned swarm_n_up(const struct swarm *swarm);

/* From the time that a write was due until an event of it was there; until the document was. */
struct swarm_times *swarm_events(struct swarm *swarm);
struct swarm_times *swarm_documents(struct swarm *swarm);

/* When tries for a socket were due, in milliseconds of swarm_now_us() / 1000, since
 * swarm_forget(). */
const int64_t *swarm_tries(const struct swarm *swarm, size_t *out_n);
void swarm_forget(struct swarm *swarm);

int64_t swarm_now_us(void);

/* The share (0.99) that is not longer than the answer; sorts. 0 where there is none. */
int64_t swarm_percentile(struct swarm_times *times, double share);

/* As many open files as this process may have. */
void swarm_raise_files(void);

/* How many of the times (in milliseconds, sorted) fell into the fullest 100 ms. */
unsigned swarm_peak(const int64_t *times_ms, size_t n);

#endif
