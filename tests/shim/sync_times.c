/* sync_times.c - libsync_times.so, for LD_PRELOAD: notes how long a program's syncs take, and how
 * long it is since the first write that each of them is for (tests/lib/sync_times.h). Without
 * BQ_SYNC_TIMES it passes everything on. */
#include "sync_times.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define FILES 1024

static struct sync_times *times;
static _Atomic int64_t written_us[FILES]; /* the first write since the last sync; 0: none */

static int64_t now_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

__attribute__((constructor)) static void start(void)
{
    const char *path = getenv("BQ_SYNC_TIMES");
    int fd = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return;
    }
    void *page = mmap(NULL, sizeof *times, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    (void)close(fd);
    times = page == MAP_FAILED ? NULL : page;
}

static int is_wal(int fd)
{
    char link[64], path[512];
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path);
    return n > 4 && memcmp(path + n - 4, "-wal", 4) == 0;
}

static void note(int fd, int64_t start_us)
{
    int64_t end_us = now_us();
    int64_t first_us = fd < FILES ? atomic_exchange(&written_us[fd], 0) : 0;
    uint32_t i = times == NULL ? SYNC_TIMES : atomic_fetch_add(&times->n, 1);
    if (i < SYNC_TIMES) {
        times->items[i] =
            (struct sync_time){(uint32_t)(end_us - start_us),
                               (uint32_t)(end_us - (first_us > 0 ? first_us : start_us)),
                               (uint32_t)is_wal(fd)};
    }
}

EXPORT ssize_t pwrite64(int fd, const void *bytes, size_t n, off64_t at)
{
    static __typeof__(pwrite64) *next;
    int64_t none = 0;
    if (next == NULL) {
        next = (__typeof__(pwrite64) *)dlsym(RTLD_NEXT, "pwrite64");
    }
    if (times != NULL && fd >= 0 && fd < FILES) {
        (void)atomic_compare_exchange_strong(&written_us[fd], &none, now_us());
    }
    return next(fd, bytes, n, at);
}

EXPORT int fdatasync(int fd)
{
    static __typeof__(fdatasync) *next;
    if (next == NULL) {
        next = (__typeof__(fdatasync) *)dlsym(RTLD_NEXT, "fdatasync");
    }
    int64_t start_us = now_us();
    int result = next(fd);
    note(fd, start_us);
    return result;
}

EXPORT int fsync(int fd)
{
    static __typeof__(fsync) *next;
    if (next == NULL) {
        next = (__typeof__(fsync) *)dlsym(RTLD_NEXT, "fsync");
    }
    int64_t start_us = now_us();
    int result = next(fd);
    note(fd, start_us);
    return result;
}
