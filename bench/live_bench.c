/* live_bench.c - realtime: how soon an event is there, and what an idle socket costs
 * (docs/bench.md).
 *
 * Starts servers of its own ($BQSYNC, else the bqsync beside it) and plays the devices in its one
 * thread (tests/lib/swarm.h), so on two processors the server has what the devices leave. Writes
 * come at a fixed rate, whatever the answers do, and count from when they were due. An event is
 * what a device hears; a document is what it has after the pull that the event causes.
 *
 * Beside the events stands what the disk did: bare syncs of a small file on it at the same rate,
 * before and after; and, by a library that is preloaded into the server, each sync of a commit and
 * each checkpoint while the writes came. A write that is due while one of them runs waits for its
 * end, so long ones alone make a share of the events late, which stands beside the share that was.
 *
 *     live_bench [SECONDS [SOCKETS [WRITES_A_SECOND [IDLE_SOCKETS]]]]     10 2000 200 5000
 *
 * No IDLE_SOCKETS (0): their memory is not measured. */
#include "server_process.h"
#include "swarm.h"
#include "sync_times.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PATIENCE_US INT64_C(120000000)
#define LANES 16u
#define LATE_US 20000  /* the aim */
#define APPEND_BYTES 8192
#define OVER_BYTES (1u << 20)
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

/* ---- The disk -------------------------------------------------------------------------------- */

static void keep(struct swarm_times *times, int64_t us)
{
    must(times->n < times->size, "more syncs than writes");
    times->us[times->n++] = us;
}

static struct swarm_times times_new(size_t size)
{
    struct swarm_times times = {calloc(size, sizeof(int64_t)), 0, size};
    must(times.us != NULL, "no memory");
    return times;
}

/* Small writes into a file of its own, each synced: at its end, or over what is there. The file
 * stays for now: what removing it costs the disk would fall on the load. */
static void sync_bare(const char *folder, unsigned n, unsigned rate, bool over)
{
    static const char bytes[OVER_BYTES];
    char path[256];
    struct swarm_times times = times_new(n);
    must(snprintf(path, sizeof path, "%s/bare%d", folder, over) < (int)sizeof path, "a long path");
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    must(fd >= 0, "no file for bare syncs");
    if (over) {
        must(write(fd, bytes, sizeof bytes) == sizeof bytes && fsync(fd) == 0, "no bare sync");
    }
    int64_t start_us = swarm_now_us();
    for (unsigned i = 0; i < n; i++) {
        int64_t wait_us = start_us + (int64_t)i * 1000000 / rate - swarm_now_us();
        off_t at = (off_t)i * APPEND_BYTES % (over ? OVER_BYTES : INT64_MAX);
        if (wait_us > 0) {
            server_process_breathe(wait_us / 1000);
        }
        int64_t from_us = swarm_now_us();
        must(pwrite(fd, bytes, APPEND_BYTES, at) == APPEND_BYTES && fdatasync(fd) == 0,
             "no bare sync");
        keep(&times, swarm_now_us() - from_us);
    }
    print_times(over ? "bare_overwrite" : "bare_append", &times);
    close(fd);
    free(times.us);
}

/* The file that the server's library maps; it is said to the server by the environment. */
static struct sync_times *watch_syncs(const char *folder, char path[256], char library[4096])
{
    ssize_t n = readlink("/proc/self/exe", library, 4000);
    must(n > 0 && snprintf(path, 256, "%s/syncs", folder) < 256, "a long path");
    library[n] = '\0';
    snprintf(strrchr(library, '/') + 1, 32, "libsync_times.so");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    must(fd >= 0 && ftruncate(fd, sizeof(struct sync_times)) == 0 && access(library, R_OK) == 0,
         "no libsync_times.so");
    void *page =
        mmap(NULL, sizeof(struct sync_times), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    must(page != MAP_FAILED, "no memory");
    close(fd);
    return page;
}

/* Of the writes at that rate, those that were due more than LATE_US before the end of one. */
static double late_share(const struct swarm_times *times, unsigned rate, unsigned n)
{
    double late_us = 0;
    for (size_t i = 0; i < times->n; i++) {
        late_us += times->us[i] > LATE_US ? (double)(times->us[i] - LATE_US) : 0;
    }
    return late_us * rate / 1e6 / n;
}

static void print_syncs(const struct sync_times *syncs, uint32_t from, unsigned rate,
                        struct swarm_times *events)
{
    uint32_t n = atomic_load(&syncs->n);
    struct swarm_times commits = times_new(SYNC_TIMES);
    struct swarm_times checkpoints = times_new(SYNC_TIMES);
    double late = 0;
    must(n <= SYNC_TIMES && n > from, "the server's syncs were not noted");
    for (uint32_t i = from; i < n; i++) {
        const struct sync_time *item = &syncs->items[i];
        keep(item->is_wal != 0 ? &commits : &checkpoints, item->whole_us);
    }
    for (size_t i = 0; i < events->n; i++) {
        late += events->us[i] > LATE_US;
    }
    print_times("commit", &commits);
    print_times("checkpoint", &checkpoints);
    printf(",\"late\":%.4f,\"late_by_commits\":%.4f,\"late_by_checkpoints\":%.4f",
           late / (double)events->n, late_share(&commits, rate, (unsigned)events->n),
           late_share(&checkpoints, rate, (unsigned)events->n));
    free(commits.us);
    free(checkpoints.us);
}

/* ---- Events ---------------------------------------------------------------------------------- */

static void measure_events(unsigned seconds, unsigned sockets, unsigned rate)
{
    struct scratch scratch;
    char path[256], library[4096 + 32];
    struct server_process server;
    unsigned n = seconds * rate;
    scratch_init(&scratch);
    struct sync_times *syncs = watch_syncs(scratch.folder, path, library);
    printf("{\"what\":\"the disk before\"");
    sync_bare(scratch.folder, n / 2, rate, false);
    sync_bare(scratch.folder, n / 2, rate, true);
    printf("}\n");
    setenv("BQ_SYNC_TIMES", path, 1);
    setenv("LD_PRELOAD", library, 1);
    server_process_init(&server);
    unsetenv("LD_PRELOAD");
    struct swarm *swarm = connected(server.port, sockets);
    uint32_t n_before = atomic_load(&syncs->n);
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
    printf("}\n{\"what\":\"the server's disk meanwhile\"");
    print_syncs(syncs, n_before, rate, swarm_events(swarm));
    printf("}\n{\"what\":\"the disk after\"");
    sync_bare(scratch.folder, n / 2, rate, false);
    sync_bare(scratch.folder, n / 2, rate, true);
    printf("}\n");
    must(swarm_documents(swarm)->n == n, "not every write was heard of");
    swarm_free(swarm);
    server_process_release(&server);
    (void)munmap(syncs, sizeof *syncs);
    scratch_release(&scratch);
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
