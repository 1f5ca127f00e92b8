/* bench_work.h - what a bench asks: requests of each mode, and what their answers teach.
 *
 * Each connection is a device. In the modes upsert and exchange a user belongs to one
 * connection, so every write is made on the present version; in conflict all connections write
 * all users, so most are made on a stale one and merged. `echo` sends what upsert sends and
 * takes any 2xx answer: the yardstick against bench/null_server. */
#ifndef CLI_BENCH_WORK_H
#define CLI_BENCH_WORK_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/rng.h"

enum bench_mode { BENCH_UPSERT, BENCH_EXCHANGE, BENCH_CONFLICT, BENCH_ECHO };

struct bench_state;

struct bench_work {
    enum bench_mode mode;
    unsigned connections;
    unsigned users;
    const char *host;    /* for the Host header */
    struct buf *tokens;  /* one per user */
    struct bench_state *states; /* what a device knows of a user's document */
    unsigned *turn;      /* per connection: the user it asks about next */
    struct arena arena;  /* of the answer that is being read */
    struct buf body;
    struct rng rng;
    char run[17];        /* makes the device ids of this run its own */
};

/* "upsert", "exchange", "conflict", "echo"; false for another word. */
bool bench_mode_parse(const char *word, enum bench_mode *out);

/* Makes the users and signs their tokens. BQ_OK, BQ_NOMEM. */
int bench_work_init(struct bench_work *work, struct slice secret, int64_t now_s, uint64_t seed);
void bench_work_release(struct bench_work *work);

/* For struct load_config; cls is the struct bench_work. */
void bench_work_next(void *cls, unsigned connection, struct buf *out);
bool bench_work_answer(void *cls, unsigned connection, int code, struct slice body);

#endif
