/* test_exchange_histories.c - the server alone against random networks.
 *
 * Devices of the plainest kind: one edit of a key at a time, sent again under its number until it
 * is answered. The network keeps a copy of every request that ever left and delivers any of them,
 * at any time, any number of times. Each edit counts once, and what was told to one device is never
 * taken back (docs/protocol.md, "Receipts"). BQ_SEED and BQ_CASES repeat or enlarge a run. */
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

#define N_DEVICES 4
#define N_REQUESTS 400
#define N_CASES 200

struct device {
    char name[8];
    int64_t op;      /* last one used */
    int64_t acked;   /* last one answered */
    int64_t version; /* of synced */
    int64_t count;   /* of synced */
    int64_t waiting; /* increments that no edit holds yet */
    int request;     /* index of the request that waits for its answer; -1 none */
    int64_t cursor;
};

struct request {
    unsigned device;
    int64_t op;
    const char *params;
};

struct world {
    struct core_bench bench;
    struct rng rng;
    uint64_t seed;
    struct device devices[N_DEVICES];
    struct request requests[N_REQUESTS];
    int n_requests;
    int64_t increments;
    unsigned n_duplicates;
    unsigned n_rewound;
};

static uint64_t number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

static void must(const struct world *w, bool condition, const char *what)
{
    if (!condition) {
        fail_msg("seed %llu: %s", (unsigned long long)w->seed, what);
    }
}

static int64_t int_at(const struct world *w, const struct json_value *value, const char *pointer)
{
    struct json_value found = merge_pointer_get(value, slice_of(pointer));
    int64_t n = 0;
    must(w, json_to_int(&found, &n), "an answer lacks a number");
    return n;
}

static int64_t count_of(const struct json_value *document)
{
    struct json_value found = merge_pointer_get(document, SLICE("/incorrectAnswers"));
    int64_t n = 0;
    (void)json_to_int(&found, &n);
    return n;
}

/* Freezes what waits into an edit, as a new request. */
static void freeze(struct world *w, struct device *device)
{
    if (device->request >= 0 || device->waiting == 0 || w->n_requests == N_REQUESTS) {
        return;
    }
    device->op++;
    const char *was = device->version == 0
                          ? ""
                          : bench_text(&w->bench, "\"was\":{\"incorrectAnswers\":%lld},",
                                       (long long)device->count);
    const char *params =
        bench_text(&w->bench,
                   "\"p_cursor\":%lld,\"p_edits\":[{\"op\":%lld,\"prev\":%lld,\"id\":\"%08x%08x\","
                   "\"key\":\"game_stats\",\"base\":%lld,%s\"now\":{\"incorrectAnswers\":%lld}}]",
                   (long long)device->cursor, (long long)device->op, (long long)device->acked,
                   (unsigned)(device - w->devices), (unsigned)device->op,
                   (long long)device->version, was, (long long)(device->count + device->waiting));
    device->waiting = 0;
    device->request = w->n_requests;
    w->requests[w->n_requests++] =
        (struct request){(unsigned)(device - w->devices), device->op, params};
}

/* The answer to the request that waits for it; any other is of no use to anybody. */
static void adopt(struct world *w, struct device *device, const struct json_value *answer)
{
    const struct json_value *result = &json_get(answer, "results")->items[0];
    struct slice status = json_text(json_get(result, "status"));
    int64_t version = int_at(w, result, "/version");
    must(w, version >= device->version, "a version went back");
    must(w, !slice_is(status, "rewound") && !slice_is(status, "forgotten"),
         "an edit that was never answered is rewound");
    if (slice_is(status, "applied")) {
        struct json_value value;
        const char *text = bench_document(&w->bench, "game_stats", NULL);
        must(w, json_parse(&w->bench.arena, slice_of(text), 10, &value, NULL) == BQ_OK, "no JSON");
        device->count = count_of(&value);
    } else {
        device->count = count_of(json_get(result, "data"));
        w->n_duplicates += slice_is(status, "duplicate") ? 1 : 0;
    }
    int64_t cursor = int_at(w, answer, "/cursor");
    must(w, cursor >= device->cursor, "a cursor went back");
    device->cursor = cursor;
    device->version = version;
    device->acked = device->op;
    device->request = -1;
}

static void deliver(struct world *w, int i, bool lose_answer)
{
    const struct request *request = &w->requests[i];
    struct device *device = &w->devices[request->device];
    struct json_value answer = bench_exchange(&w->bench, device->name, request->params);
    struct json_value status = merge_pointer_get(&answer, SLICE("/status"));
    must(w, slice_is(json_text(&status), "ok"), "the store thinks that it lost something");
    struct json_value result = merge_pointer_get(&answer, SLICE("/results/0/status"));
    w->n_rewound += slice_is(json_text(&result), "rewound") ? 1 : 0;
    if (device->request == i && !lose_answer) {
        adopt(w, device, &answer);
    }
}

static void event(struct world *w, unsigned n_devices)
{
    struct device *device = &w->devices[rng_below(&w->rng, n_devices)];
    uint64_t what = rng_below(&w->rng, 10);
    if (what < 3) {
        device->waiting++;
        w->increments++;
    } else if (what < 5) {
        freeze(w, device);
    } else if (what < 8 && w->n_requests > 0) {
        deliver(w, (int)rng_below(&w->rng, (uint64_t)w->n_requests), rng_below(&w->rng, 3) == 0);
    } else if (device->request >= 0) {
        deliver(w, device->request, rng_below(&w->rng, 3) == 0);
    }
}

static void run(struct world *w, uint64_t seed)
{
    unsigned n_devices = 1 + (unsigned)(seed % N_DEVICES);
    w->seed = seed;
    rng_init(&w->rng, seed);
    bench_open(&w->bench);
    for (unsigned d = 0; d < n_devices; d++) {
        w->devices[d] = (struct device){.request = -1};
        (void)snprintf(w->devices[d].name, sizeof w->devices[d].name, "d%u", d);
    }
    w->n_requests = 0;
    w->increments = 0;
    for (unsigned i = 0; i < 120; i++) {
        event(w, n_devices);
    }
    for (unsigned d = 0; d < n_devices; d++) {
        struct device *device = &w->devices[d];
        while (device->request >= 0 || device->waiting > 0) {
            freeze(w, device);
            deliver(w, device->request, false);
        }
    }
    /* And once more all that ever left, last and first. */
    for (int i = w->n_requests - 1; i >= 0; i--) {
        deliver(w, i, true);
    }
    struct json_value value = json_object(NULL, 0);
    const char *text = bench_document(&w->bench, "game_stats", NULL);
    if (text[0] != '\0') {
        must(w, json_parse(&w->bench.arena, slice_of(text), 10, &value, NULL) == BQ_OK, "no JSON");
    }
    must(w, count_of(&value) == w->increments, "the counter is wrong");
    bench_close(&w->bench);
}

static void requests_that_come_late_twice_and_in_any_order_count_once(void **state)
{
    static struct world w;
    uint64_t first = number("BQ_SEED", 1);
    uint64_t n = number("BQ_CASES", N_CASES);
    (void)state;
    printf("seeds %llu to %llu\n", (unsigned long long)first, (unsigned long long)(first + n - 1));
    for (uint64_t seed = first; seed < first + n; seed++) {
        run(&w, seed);
    }
    printf("duplicates answered %u, late copies %u\n", w.n_duplicates, w.n_rewound);
    assert_true(w.n_duplicates > 0);
    assert_true(w.n_rewound > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_that_come_late_twice_and_in_any_order_count_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
