/* metrics.c - see metrics.h. */
#include "server/metrics.h"

#include "base/status.h"

#include <inttypes.h>
#include <stdio.h>

static const unsigned denied_codes[5] = {401, 403, 413, 429, 503};

/* Upper bounds; the last bucket has none. Batches in ops, times in microseconds. */
static const uint64_t batch_bounds[METRICS_BATCHES - 1] = {1, 2, 4, 8, 16, 64, 256, 1024, 4096};
static const uint64_t time_bounds[METRICS_TIMES - 1] = {
    500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 1000000, 10000000};

static void add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static uint64_t get(_Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static unsigned bucket_of(const uint64_t *bounds, unsigned n_bounds, uint64_t value)
{
    unsigned i = 0;
    while (i < n_bounds && value > bounds[i]) {
        i++;
    }
    return i;
}

/* ---- Counting -------------------------------------------------------------------------------- */

static void count_answer(struct metrics *metrics, const struct proto_answer *answer)
{
    for (uint32_t i = 0; i < answer->n_results; i++) {
        const struct proto_result *result = &answer->results[i];
        int code = -result->code;
        add(&metrics->edits[result->status], 1);
        if (result->status == PROTO_REFUSED && code > 0 && code < (int)METRICS_CODES) {
            add(&metrics->refused[code], 1);
        }
    }
}

void metrics_op(struct metrics *metrics, const struct op *op)
{
    if (op->status != BQ_OK) {
        return;
    }
    if (op->kind == OP_EXCHANGE) {
        count_answer(metrics, &op->out.answer);
    } else if (op->kind == OP_UPSERT) {
        const struct proto_upserted *upserted = &op->out.upserted;
        add(&metrics->upserts[upserted->success ? (unsigned)upserted->action : METRICS_ACTIONS - 1],
            1);
    }
}

void metrics_commit(struct metrics *metrics, size_t n_ops, int64_t time_us)
{
    uint64_t us = time_us > 0 ? (uint64_t)time_us : 0;
    add(&metrics->batches[bucket_of(batch_bounds, METRICS_BATCHES - 1, n_ops)], 1);
    add(&metrics->batch_ops, n_ops);
    add(&metrics->times[bucket_of(time_bounds, METRICS_TIMES - 1, us)], 1);
    add(&metrics->time_us, us);
}

void metrics_request(struct metrics *metrics, unsigned http)
{
    add(&metrics->requests[http / 100 < METRICS_HTTP ? http / 100 : 0], 1);
    for (unsigned i = 0; i < sizeof denied_codes / sizeof denied_codes[0]; i++) {
        if (denied_codes[i] == http) {
            add(&metrics->denied[i], 1);
        }
    }
}

/* ---- Printing -------------------------------------------------------------------------------- */

static void head(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_add_format(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void one(struct buf *out, const char *name, const char *type, const char *help,
                uint64_t value)
{
    head(out, name, type, help);
    buf_add_format(out, "%s %" PRIu64 "\n", name, value);
}

static void labelled(struct buf *out, const char *name, const char *label, const char *word,
                     uint64_t value)
{
    buf_add_format(out, "%s{%s=\"%s\"} %" PRIu64 "\n", name, label, word, value);
}

static void print_edits(struct buf *out, struct metrics *metrics)
{
    static const char *const outcomes[METRICS_OUTCOMES] = {
        "applied", "merged", "duplicate", "kept", "rewound", "forgotten", "refused"};
    static const char *const actions[METRICS_ACTIONS] = {"inserted", "updated", "merged", "failed"};
    head(out, "bqsync_edits_total", "counter", "Edits of sync_exchange by what became of them.");
    for (unsigned i = 0; i < METRICS_OUTCOMES; i++) {
        labelled(out, "bqsync_edits_total", "outcome", outcomes[i], get(&metrics->edits[i]));
    }
    head(out, "bqsync_edits_refused_total", "counter", "Refused edits by code.");
    for (int code = 1; code < (int)METRICS_CODES; code++) {
        uint64_t n = get(&metrics->refused[code]);
        if (n > 0) {
            labelled(out, "bqsync_edits_refused_total", "code", status_code(-code), n);
        }
    }
    head(out, "bqsync_upserts_total", "counter", "Calls of atomic_sync_upsert by action.");
    for (unsigned i = 0; i < METRICS_ACTIONS; i++) {
        labelled(out, "bqsync_upserts_total", "action", actions[i], get(&metrics->upserts[i]));
    }
}

static void print_requests(struct buf *out, struct metrics *metrics)
{
    static const char *const classes[METRICS_HTTP] = {"0xx", "1xx", "2xx", "3xx", "4xx", "5xx"};
    head(out, "bqsync_http_requests_total", "counter", "Answers by class of status.");
    for (unsigned i = 1; i < METRICS_HTTP; i++) {
        labelled(out, "bqsync_http_requests_total", "status", classes[i],
                 get(&metrics->requests[i]));
    }
    head(out, "bqsync_http_refused_total", "counter", "Requests that were refused, by status.");
    for (unsigned i = 0; i < sizeof denied_codes / sizeof denied_codes[0]; i++) {
        char word[8];
        snprintf(word, sizeof word, "%u", denied_codes[i]);
        labelled(out, "bqsync_http_refused_total", "status", word, get(&metrics->denied[i]));
    }
}

struct histogram {
    const char *name;
    const char *help;
    const uint64_t *bounds;
    _Atomic uint64_t *counts;
    unsigned n; /* buckets, the last one without a bound */
    _Atomic uint64_t *sum;
    bool seconds; /* bounds and sum are microseconds, printed in seconds */
};

static void print_amount(struct buf *out, uint64_t value, bool seconds)
{
    if (seconds) {
        buf_add_format(out, "%" PRIu64 ".%06" PRIu64, value / 1000000, value % 1000000);
    } else {
        buf_add_format(out, "%" PRIu64, value);
    }
}

static void print_histogram(struct buf *out, const struct histogram *histogram)
{
    uint64_t total = 0;
    head(out, histogram->name, "histogram", histogram->help);
    for (unsigned i = 0; i < histogram->n; i++) {
        total += get(&histogram->counts[i]);
        buf_add_format(out, "%s_bucket{le=\"", histogram->name);
        if (i + 1 < histogram->n) {
            print_amount(out, histogram->bounds[i], histogram->seconds);
        } else {
            buf_add_text(out, "+Inf");
        }
        buf_add_format(out, "\"} %" PRIu64 "\n", total);
    }
    buf_add_format(out, "%s_sum ", histogram->name);
    print_amount(out, get(histogram->sum), histogram->seconds);
    buf_add_format(out, "\n%s_count %" PRIu64 "\n", histogram->name, total);
}

static void print_commits(struct buf *out, struct metrics *metrics,
                          const struct committer_stats *stats)
{
    const struct histogram batches = {"bqsync_commit_batch", "Writes in one transaction.",
                                      batch_bounds, metrics->batches, METRICS_BATCHES,
                                      &metrics->batch_ops, false};
    const struct histogram times = {"bqsync_commit_seconds",
                                    "Time of one transaction with its sync.", time_bounds,
                                    metrics->times, METRICS_TIMES, &metrics->time_us, true};
    print_histogram(out, &batches);
    print_histogram(out, &times);
    one(out, "bqsync_queue_writes", "gauge", "Writes that wait for the committer.",
        stats->n_waiting);
    one(out, "bqsync_commit_singles_total", "counter", "Writes run alone after their batch failed.",
        stats->n_singles);
    one(out, "bqsync_store_reopened_total", "counter", "Times that the store was opened again.",
        stats->n_reopened);
}

static void print_realtime(struct buf *out, const struct realtime_stats *stats)
{
    one(out, "bqsync_sockets", "gauge", "Realtime sockets open.", stats->n_sockets);
    one(out, "bqsync_channels", "gauge", "Realtime channels joined.", stats->n_channels);
    one(out, "bqsync_sockets_opened_total", "counter", "Realtime sockets opened.",
        stats->n_opened);
    one(out, "bqsync_handshakes_refused_total", "counter", "Realtime handshakes refused.",
        stats->n_refused);
    one(out, "bqsync_joins_refused_total", "counter", "Realtime joins refused.",
        stats->n_joins_refused);
    one(out, "bqsync_events_total", "counter", "Realtime changes sent.", stats->n_events);
    one(out, "bqsync_sockets_slow_total", "counter", "Sockets dropped that did not read.",
        stats->n_slow);
    one(out, "bqsync_sockets_abused_total", "counter", "Sockets closed for a breach of a rule.",
        stats->n_abused);
    one(out, "bqsync_upstream_sockets", "gauge", "Realtime sockets to the upstream.",
        stats->n_relays);
    one(out, "bqsync_upstream_sockets_lost_total", "counter",
        "Realtime sockets to the upstream that failed or ended.", stats->n_relays_lost);
}

void metrics_print(struct buf *out, struct metrics *metrics, const struct metrics_now *now)
{
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", BQ_VERSION_MAJOR, BQ_VERSION_MINOR,
             BQ_VERSION_PATCH);
    head(out, "bqsync_build_info", "gauge", "The version, as a label.");
    labelled(out, "bqsync_build_info", "version", version, 1);
    one(out, "bqsync_start_time_seconds", "gauge", "When the server started, since 1970.",
        (uint64_t)(now->started_us / 1000000));
    one(out, "bqsync_store_usable", "gauge", "1 while the store takes writes.", now->usable);
    if (now->memory_bytes >= 0) {
        one(out, "bqsync_memory_bytes", "gauge", "Resident memory.", (uint64_t)now->memory_bytes);
    }
    print_edits(out, metrics);
    print_requests(out, metrics);
    print_commits(out, metrics, &now->committer);
    print_realtime(out, &now->realtime);
}
