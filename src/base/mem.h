/* mem.h - the one door to the heap, so that a test can fail the n-th allocation.
 *
 * A countdown is set by mem_fail_at(); without one the calls are malloc and free. The countdown is
 * the only changing global of the pure floors: it exists for tests and is off by default. */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

/* size bytes, not cleared; NULL when memory is exhausted. */
void *mem_alloc(size_t size);

/* count x size bytes, cleared; NULL when exhausted or when the product overflows. */
void *mem_zalloc(size_t count, size_t size);

/* As realloc(): on NULL the old block stays. */
void *mem_realloc(void *ptr, size_t size);

void mem_free(void *ptr);

/* A heap copy of len bytes and a NUL behind them; NULL when exhausted. */
char *mem_dup(const char *ptr, size_t len);

/* Test only: the n-th allocation from now (1 = the next) and the `repeat` - 1 after it fail.
 * n = 0 switches it off. Any thread's allocations count. */
void mem_fail_at(uint64_t n, uint64_t repeat);

/* Test only: allocations since the last mem_fail_at(). */
uint64_t mem_count(void);

/* Test only: allocations that were made to fail since the program began. */
uint64_t mem_failed(void);

#endif
