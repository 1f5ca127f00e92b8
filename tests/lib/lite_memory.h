/* lite_memory.h - SQLite's memory from base/mem.h: mem_fail_at() meets its allocations too. */
#ifndef TESTS_LITE_MEMORY_H
#define TESTS_LITE_MEMORY_H

/* Before SQLite is first used; aborts where it does not take it. */
void lite_memory_install(void);

#endif
