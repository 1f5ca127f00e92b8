/* cmd_bench.c - bqsync bench: load on a server for a while, and one line of JSON about it. */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/mem.h"
#include "bqsync.h"
#include "cli/bench_work.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/load.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "server/jwt_sign.h"

#define CONNECTIONS_MAX 10000
#define USERS_MAX 1000000
#define STATES_MAX 10000000

struct bench {
    const char *url;
    const char *secret_file;
    const char *mode;
    int64_t connections;
    int64_t users;
    int64_t duration_ms;
    bool json;
    char host[256];
    char port[16];
    struct bench_work work;
    struct progress progress;
};

/* "http://HOST[:PORT]" into host and port. */
static bool split_url(struct bench *bench)
{
    static const char scheme[] = "http://";
    const char *url = bench->url;
    if (url == NULL || strncmp(url, scheme, sizeof scheme - 1) != 0) {
        return false;
    }
    const char *host = url + sizeof scheme - 1;
    size_t len = strcspn(host, ":/");
    if (len == 0 || len >= sizeof bench->host) {
        return false;
    }
    memcpy(bench->host, host, len);
    bench->host[len] = '\0';
    const char *port = "80";
    size_t port_len = 2;
    if (host[len] == ':') {
        port = host + len + 1;
        port_len = strspn(port, "0123456789");
    }
    if (port_len == 0 || port_len >= sizeof bench->port) {
        return false;
    }
    memcpy(bench->port, port, port_len);
    bench->port[port_len] = '\0';
    return true;
}

static bool check(struct bench *bench)
{
    const char *wrong = NULL;
    if (!split_url(bench)) {
        wrong = "--url takes http://HOST:PORT (put no TLS into the measurement)";
    } else if (bench->secret_file == NULL) {
        wrong = "--token-secret-file names the server's JWT secret";
    } else if (!bench_mode_parse(bench->mode, &bench->work.mode)) {
        wrong = "--mode takes upsert, exchange, conflict or echo";
    } else if (bench->connections < 1 || bench->connections > CONNECTIONS_MAX) {
        wrong = "--connections takes 1 to 10000";
    } else if (bench->users < 1 || bench->users > USERS_MAX) {
        wrong = "--users takes 1 to 1000000";
    } else if (bench->work.mode != BENCH_CONFLICT && bench->users < bench->connections) {
        wrong = "--users must not be below --connections, or take --mode conflict";
    } else if (bench->work.mode == BENCH_CONFLICT &&
               bench->users * bench->connections > STATES_MAX) {
        wrong = "--users times --connections may be 10 million at most";
    }
    if (wrong != NULL) {
        fprintf(stderr, "bqsync: bench: %s\n", wrong);
    }
    return wrong == NULL;
}

static bool tick(void *cls, int64_t passed_ms)
{
    struct bench_work *work = cls;
    struct bench *bench = (struct bench *)((char *)work - offsetof(struct bench, work));
    progress_set(&bench->progress, (uint64_t)passed_ms);
    return interrupt_seen();
}

static int print_result(const struct bench *bench, const struct load_result *result)
{
    struct buf line = BUF_INIT;
    int64_t us = result->elapsed_us > 0 ? result->elapsed_us : 1;
    output_begin(&line);
    output_text(&line, "mode", slice_of(bench->mode));
    output_int(&line, "connections", bench->connections);
    output_int(&line, "users", bench->users);
    output_int(&line, "ms", us / 1000);
    output_int(&line, "operations", (int64_t)result->answered);
    output_int(&line, "per_second", (int64_t)((double)result->answered * 1e6 / (double)us));
    output_int(&line, "p50_us", (int64_t)load_percentile(result, 0.50));
    output_int(&line, "p95_us", (int64_t)load_percentile(result, 0.95));
    output_int(&line, "p99_us", (int64_t)load_percentile(result, 0.99));
    output_int(&line, "max_us", (int64_t)result->max_us);
    output_int(&line, "errors", (int64_t)result->errors);
    output_close(&line);
    int exit_code = output_line(true, &line);
    buf_release(&line);
    return exit_code == CLI_OK && result->errors > 0 ? CLI_PROBLEM : exit_code;
}

static int run(struct bench *bench, struct load_result *result)
{
    char error[BQ_ERROR_TEXT] = "";
    struct buf secret = BUF_INIT;
    uint64_t seed = 0;
    if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed) {
        return output_fail(bench->json, BQ_IO, "the system gives no random bytes");
    }
    int status = jwt_secret_load(bench->secret_file, &secret, error, sizeof error);
    if (status == BQ_OK) {
        status = bench_work_init(&bench->work, buf_slice(&secret), time(NULL), seed);
    }
    buf_release(&secret);
    if (status == BQ_OK) {
        struct load_config config = {sizeof config, bench->host, bench->port,
                                     bench->work.connections, bench->duration_ms,
                                     bench_work_next, bench_work_answer, tick, &bench->work};
        progress_begin(&bench->progress, "bench", (uint64_t)bench->duration_ms);
        status = load_run(&config, result, error, sizeof error);
        progress_end(&bench->progress);
    }
    int exit_code = status == BQ_OK
                        ? print_result(bench, result)
                        : output_fail(bench->json, status, "%s",
                                      error[0] == '\0' ? bq_strerror(status) : error);
    bench_work_release(&bench->work);
    return exit_code;
}

int cmd_bench(int argc, char **argv)
{
    struct bench bench = {
        .mode = "exchange", .connections = 32, .users = 1000, .duration_ms = 10000};
    int n;
    const struct option_spec options[] = {
        OPTION_TEXT("url", "URL", &bench.url, "http://HOST:PORT"),
        OPTION_TEXT("token-secret-file", "FILE", &bench.secret_file, "the server's JWT secret"),
        OPTION_TEXT("mode", "MODE", &bench.mode, "upsert, exchange (default), conflict, echo"),
        OPTION_NUMBER("connections", "C", &bench.connections,
                      "each with one request at a time (32)"),
        OPTION_DURATION("seconds", "S", &bench.duration_ms, "how long (10)"),
        OPTION_NUMBER("users", "N", &bench.users, "among how many users (1000)"),
        OPTION_FLAG("json", &bench.json, "accepted as everywhere; the result is JSON anyway"),
    };
    const struct command_line line = {
        "bench", "",
        "Writes to a server for a while and prints one line of JSON: operations a second,\n"
        "latencies, errors. It writes documents of users that it makes up: never measure a server\n"
        "whose data you want to keep. Few users meet the server's bound on requests of a user:\n"
        "start it with --user-rate 0.\n"
        "upsert    old clients' calls, each on the present version\n"
        "exchange  one edit of libbqsync each, on the present version\n"
        "conflict  all connections edit all users: most edits are merged\n"
        "echo      what upsert sends, any answer will do: for bench/null_server\n",
        options, OPTION_COUNT(options), 0, 0};
    int done = options_parse(&line, argc, argv, &n);
    if (done != OPTIONS_GO) {
        return done;
    }
    if (!check(&bench)) {
        return CLI_USAGE;
    }
    bench.work.connections = (unsigned)bench.connections;
    bench.work.users = (unsigned)bench.users;
    bench.work.host = bench.host;
    struct load_result *result = mem_zalloc(1, sizeof *result);
    if (result == NULL) {
        return output_fail(bench.json, BQ_NOMEM, "%s", bq_strerror(BQ_NOMEM));
    }
    interrupt_catch();
    int exit_code = run(&bench, result);
    mem_free(result);
    return exit_code;
}
