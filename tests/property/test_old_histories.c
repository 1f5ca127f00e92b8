/* test_old_histories.c - random histories of old apps as they were shipped.
 *
 * Each edit is queued as a whole document with the version that the app believed in, the queue may
 * send out of order, requests and answers get lost, and an answer overwrites what the app holds. No
 * count may come out too high. In order it is exact, but for an app that forgot a count over an
 * answer and then made the same document of the same version again: that looks like a retry
 * (docs/protocol.md, "Old clients"). BQ_SEED and BQ_CASES repeat or enlarge a run. */
#include "core_bench.h"

#include "base/rng.h"
#include "base/status.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <setjmp.h>
#include <cmocka.h>

#define N_DEVICES 3
#define QUEUE 64
#define N_CASES 400

struct item {
    int64_t expected;
    int64_t count;
};

struct app {
    int64_t version;
    int64_t count;
    struct item queue[QUEUE];
    unsigned n;
};

struct history {
    struct core_bench bench;
    struct rng rng;
    struct app apps[N_DEVICES];
    bool in_order;
    unsigned lost_percent;
    int64_t played;
};

static const char *const names[N_DEVICES] = {"phone", "tablet", "browser"};

static uint64_t number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

static bool chance(struct history *h, unsigned percent)
{
    return rng_below(&h->rng, 100) < percent;
}

static void play(struct history *h, struct app *app)
{
    if (app->n == QUEUE) {
        return;
    }
    app->count++;
    h->played++;
    app->queue[app->n++] = (struct item){app->version, app->count};
}

static int64_t int_at(struct history *h, const struct json_value *answer, const char *pointer)
{
    struct json_value value = merge_pointer_get(answer, slice_of(pointer));
    int64_t n = 0;
    (void)h;
    assert_true(json_to_int(&value, &n));
    return n;
}

static void send(struct history *h, unsigned d, bool reliable)
{
    struct app *app = &h->apps[d];
    if (app->n == 0) {
        return;
    }
    unsigned i = h->in_order ? 0 : (unsigned)rng_below(&h->rng, app->n);
    struct item item = app->queue[i];
    if (!reliable && chance(h, h->lost_percent)) {
        return;
    }
    const char *expected = bench_text(&h->bench, "%lld", (long long)item.expected);
    const char *data =
        bench_text(&h->bench, "{\"score\":1,\"incorrectAnswers\":%lld}", (long long)item.count);
    struct json_value answer = bench_upsert(&h->bench, names[d], "game_stats", expected, data);
    assert_true(json_is(json_get(&answer, "success"), JSON_TRUE));
    if (!reliable && chance(h, h->lost_percent)) {
        return;
    }
    memmove(&app->queue[i], &app->queue[i + 1], (app->n - i - 1) * sizeof item);
    app->n--;
    app->version = int_at(h, &answer, "/version");
    app->count = int_at(h, &answer, "/data/incorrectAnswers");
}

static int64_t final_count(struct history *h)
{
    struct json_value value;
    const char *text = bench_document(&h->bench, "game_stats", NULL);
    if (text[0] == '\0') {
        return 0;
    }
    assert_int_equal(json_parse(&h->bench.arena, slice_of(text), 10, &value, NULL), BQ_OK);
    return int_at(h, &value, "/incorrectAnswers");
}

/* Answers how much the count of the server is off: above 0 is counted twice. */
static int64_t run(uint64_t seed, bool in_order, unsigned lost_percent, int64_t *out_played)
{
    struct history h = {.in_order = in_order, .lost_percent = lost_percent};
    rng_init(&h.rng, seed);
    bench_open(&h.bench);
    unsigned n_devices = 1 + (unsigned)(seed % N_DEVICES);
    for (unsigned i = 0; i < 60; i++) {
        unsigned d = (unsigned)rng_below(&h.rng, n_devices);
        if (chance(&h, 50)) {
            play(&h, &h.apps[d]);
        } else {
            send(&h, d, false);
        }
    }
    for (unsigned d = 0; d < n_devices; d++) {
        while (h.apps[d].n > 0) {
            send(&h, d, true);
        }
    }
    int64_t off = final_count(&h) - h.played;
    *out_played = h.played;
    bench_close(&h.bench);
    return off;
}

static void sweep(bool in_order, unsigned lost_percent, unsigned *out_high, unsigned *out_low)
{
    uint64_t first = number("BQ_SEED", 1);
    uint64_t n = number("BQ_CASES", N_CASES);
    unsigned exact = 0;
    *out_high = 0;
    *out_low = 0;
    for (uint64_t seed = first; seed < first + n; seed++) {
        int64_t played;
        int64_t off = run(seed, in_order, lost_percent, &played);
        *out_high += off > 0 ? 1 : 0;
        *out_low += off < 0 ? 1 : 0;
        exact += off == 0 ? 1 : 0;
        if (off > 0) {
            printf("seed %llu: %lld too high of %lld\n", (unsigned long long)seed, (long long)off,
                   (long long)played);
        }
    }
    printf("%s, %u %% lost: seeds %llu to %llu: exact %u, too low %u, too high %u\n",
           in_order ? "in order" : "out of order", lost_percent, (unsigned long long)first,
           (unsigned long long)(first + n - 1), exact, *out_low, *out_high);
}

static void a_queue_in_order_counts_nothing_twice_and_loses_nothing(void **state)
{
    unsigned high, low;
    (void)state;
    sweep(true, 0, &high, &low);
    assert_int_equal(high, 0);
    assert_true(low * 200 <= number("BQ_CASES", N_CASES));
}

static void lost_requests_and_answers_change_no_count(void **state)
{
    unsigned high, low;
    (void)state;
    sweep(true, 25, &high, &low);
    assert_int_equal(high, 0);
    assert_true(low * 200 <= number("BQ_CASES", N_CASES));
}

static void a_queue_out_of_order_counts_nothing_twice(void **state)
{
    unsigned high, low;
    (void)state;
    sweep(false, 0, &high, &low);
    assert_int_equal(high, 0);
    sweep(false, 25, &high, &low);
    assert_int_equal(high, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_queue_in_order_counts_nothing_twice_and_loses_nothing),
        cmocka_unit_test(lost_requests_and_answers_change_no_count),
        cmocka_unit_test(a_queue_out_of_order_counts_nothing_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
