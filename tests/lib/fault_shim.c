/* fault_shim.c - the test's side of the preloaded library; see fault_shim.h. */
#include "fault_shim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void must(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "fault_shim: %s (%s)\n", what, strerror(errno));
        abort();
    }
}

static struct fault_shim *map(const char *path, int flags)
{
    int fd = open(path, O_RDWR | O_CLOEXEC | flags, 0600);
    must(fd >= 0 && ftruncate(fd, sizeof(struct fault_shim)) == 0, path);
    void *page = mmap(NULL, sizeof(struct fault_shim), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    must(page != MAP_FAILED, "mmap");
    (void)close(fd);
    return page;
}

struct fault_shim *fault_shim_new(const char *path)
{
    return map(path, O_CREAT | O_TRUNC);
}

struct fault_shim *fault_shim_open(const char *path)
{
    return map(path, 0);
}

void fault_shim_free(struct fault_shim *shim)
{
    (void)munmap(shim, sizeof *shim);
}

void fault_shim_set(struct fault_shim *shim, enum fault_shim_call call, int how, uint64_t n,
                    uint64_t repeat)
{
    struct fault_shim_site *site = &shim->sites[call];
    /* Off first: a call of another thread must not meet the new count with the old bounds. */
    atomic_store(&site->from, 0);
    atomic_store(&site->calls, 0);
    atomic_store(&site->hits, 0);
    atomic_store(&site->how, how);
    atomic_store(&site->until, repeat > UINT64_MAX - n ? UINT64_MAX : n + repeat);
    atomic_store(&site->from, n);
}

void fault_shim_off(struct fault_shim *shim)
{
    for (int i = 0; i < FAULT_SHIM_CALLS; i++) {
        atomic_store(&shim->sites[i].from, 0);
    }
}

uint64_t fault_shim_calls(const struct fault_shim *shim, enum fault_shim_call call)
{
    return atomic_load(&shim->sites[call].calls);
}

uint64_t fault_shim_hits(const struct fault_shim *shim, enum fault_shim_call call)
{
    return atomic_load(&shim->sites[call].hits);
}

const char *fault_shim_word(enum fault_shim_call call)
{
    static const char *const words[FAULT_SHIM_CALLS] = {
#define FAULT_SHIM_WORD(name, word) word,
        FAULT_SHIM_CALLS_MAP(FAULT_SHIM_WORD)
#undef FAULT_SHIM_WORD
    };
    return words[call];
}
