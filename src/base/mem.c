/* mem.c - malloc behind a countdown. */
#include "base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static _Atomic uint64_t n_allocations;
static _Atomic uint64_t fail_from;
static _Atomic uint64_t fail_until;
static _Atomic uint64_t n_failed;

static int must_fail(void)
{
    uint64_t n = atomic_fetch_add_explicit(&n_allocations, 1, memory_order_relaxed) + 1;
    uint64_t from = atomic_load_explicit(&fail_from, memory_order_relaxed);
    if (from == 0 || n < from || n >= atomic_load_explicit(&fail_until, memory_order_relaxed)) {
        return 0;
    }
    atomic_fetch_add_explicit(&n_failed, 1, memory_order_relaxed);
    return 1;
}

void *mem_alloc(size_t size)
{
    return must_fail() ? NULL : malloc(size);
}

void *mem_zalloc(size_t count, size_t size)
{
    return must_fail() ? NULL : calloc(count, size);
}

void *mem_realloc(void *ptr, size_t size)
{
    return must_fail() ? NULL : realloc(ptr, size);
}

void mem_free(void *ptr)
{
    free(ptr);
}

char *mem_dup(const char *ptr, size_t len)
{
    char *copy = mem_alloc(len + 1);
    if (copy != NULL) {
        if (len > 0) {
            memcpy(copy, ptr, len);
        }
        copy[len] = '\0';
    }
    return copy;
}

void mem_fail_at(uint64_t n, uint64_t repeat)
{
    /* Off first: another thread's allocation must not meet the new count with the old bounds. */
    atomic_store(&fail_from, 0);
    atomic_store(&n_allocations, 0);
    atomic_store(&fail_until, repeat > UINT64_MAX - n ? UINT64_MAX : n + repeat);
    atomic_store(&fail_from, n);
}

uint64_t mem_count(void)
{
    return atomic_load(&n_allocations);
}

uint64_t mem_failed(void)
{
    return atomic_load(&n_failed);
}
