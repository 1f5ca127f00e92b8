/* live_bench.c - realtime: how soon an event is there, and what an idle socket costs
 * (docs/bench.md).
 *
 * Starts servers of its own ($BQSYNC, else the bqsync beside it) and plays the devices in its one
 * thread (tests/lib/swarm.h), so on two processors the server has what the devices leave. Writes
 * come at a fixed rate, whatever the answers do, and count from when they were due. An event is
 * what a device hears; a document is what it has after the pull that the event causes.
 *
 *     live_bench [SECONDS [SOCKETS [WRITES_A_SECOND [IDLE_SOCKETS]]]]     10 2000 200 5000
 *
 * No IDLE_SOCKETS (0): their memory is not measured. */
#include "server_process.h"
#include "swarm.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATIENCE_US INT64_C(120000000)
#define LANES 16u
#define QUIET_US 1500000 /* until nothing that was freed is in use any more */

static void must(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "live_bench: %s\n", what);
        exit(1);
    }
}

static void turn_for(struct swarm *swarm, int64_t us)
{
    int64_t until_us = swarm_now_us() + us;
    while (swarm_now_us() < until_us) {
        swarm_turn(swarm, 1);
    }
}

/* All sockets up, nothing on its way. */
static struct swarm *connected(unsigned port, unsigned n)
{
    const struct swarm_config config = {port, n, 1, LANES, 1};
    struct swarm *swarm = swarm_new(&config);
    int64_t until_us = swarm_now_us() + PATIENCE_US;
    swarm_begin(swarm, n / 2);
    while ((swarm_n_up(swarm) < n || swarm_pending(swarm) > 0) && swarm_now_us() < until_us) {
        swarm_turn(swarm, 2);
    }
    must(swarm_n_up(swarm) == n, "not all sockets come up");
    return swarm;
}

/* A figure of /proc/PID/status, in KiB. */
static long memory(const struct server_process *server, const char *name)
{
    char path[64];
    char line[256];
    long kib = -1;
    snprintf(path, sizeof path, "/proc/%d/status", (int)server->pid);
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ':') {
            kib = strtol(line + strlen(name) + 1, NULL, 10);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    must(kib >= 0, "the server's memory cannot be read");
    return kib;
}

static void print_times(const char *name, struct swarm_times *times)
{
    printf(",\"%s\":{\"n\":%zu,\"p50_ms\":%.2f,\"p99_ms\":%.2f,\"max_ms\":%.2f}", name, times->n,
           (double)swarm_percentile(times, 0.5) / 1000,
           (double)swarm_percentile(times, 0.99) / 1000,
           (double)swarm_percentile(times, 1) / 1000);
}

static void measure_events(unsigned seconds, unsigned sockets, unsigned rate)
{
    struct server_process server;
    server_process_init(&server);
    struct swarm *swarm = connected(server.port, sockets);
    unsigned n = seconds * rate;
    int64_t start_us = swarm_now_us();
    for (unsigned i = 0; i < n; i++) {
        int64_t due_us = start_us + (int64_t)i * 1000000 / rate;
        while (swarm_now_us() < due_us) {
            swarm_turn(swarm, 1);
        }
        swarm_write(swarm, (unsigned)((uint64_t)i * 7919 % sockets), (int64_t)i + 1, due_us);
    }
    int64_t until_us = swarm_now_us() + PATIENCE_US;
    while ((swarm_documents(swarm)->n < n || swarm_pending(swarm) > 0) &&
           swarm_now_us() < until_us) {
        swarm_turn(swarm, 1);
    }
    printf("{\"what\":\"write to event\",\"sockets\":%u,\"writes_per_s\":%u,\"writes\":%u", sockets,
           rate, n);
    print_times("event", swarm_events(swarm));
    print_times("document", swarm_documents(swarm));
    printf("}\n");
    must(swarm_documents(swarm)->n == n, "not every write was heard of");
    swarm_free(swarm);
    server_process_release(&server);
}

static void measure_memory(unsigned sockets)
{
    struct server_process server;
    server_process_init(&server);
    struct swarm *few = connected(server.port, 10);
    turn_for(few, QUIET_US);
    long before = memory(&server, "VmRSS");
    struct swarm *swarm = connected(server.port, sockets);
    turn_for(swarm, QUIET_US);
    long after = memory(&server, "VmRSS");
    printf("{\"what\":\"idle sockets\",\"sockets\":%u,\"rss_before_kib\":%ld,\"rss_kib\":%ld,"
           "\"bytes_per_socket\":%.0f}\n",
           sockets, before, after, (double)(after - before) * 1024 / sockets);
    swarm_free(swarm);
    swarm_free(few);
    server_process_release(&server);
}

static unsigned argument(int argc, char **argv, int i, unsigned otherwise)
{
    return i < argc ? (unsigned)strtoul(argv[i], NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
    swarm_raise_files();
    setenv("BQSYNC_SOCKETS", "7000", 1);
    setenv("BQSYNC_ADDRESS_SOCKETS", "7000", 1);
    setenv("BQSYNC_ADDRESS_CONNECTIONS", "4096", 1);
    measure_events(argument(argc, argv, 1, 10), argument(argc, argv, 2, 2000),
                   argument(argc, argv, 3, 200));
    unsigned idle = argument(argc, argv, 4, 5000);
    if (idle > 0) {
        measure_memory(idle);
    }
    return 0;
}
