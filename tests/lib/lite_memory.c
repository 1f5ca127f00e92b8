/* lite_memory.c - see lite_memory.h. */
#include "lite_memory.h"

#include "base/mem.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

/* A block knows its size, which SQLite asks for; 16 bytes keep it aligned. */
static void *lite_alloc(int size)
{
    char *block = mem_alloc((size_t)size + 16);
    if (block == NULL) {
        return NULL;
    }
    *(int *)(void *)block = size;
    return block + 16;
}

static void lite_free(void *ptr)
{
    if (ptr != NULL) {
        mem_free((char *)ptr - 16);
    }
}

static void *lite_realloc(void *ptr, int size)
{
    if (ptr == NULL) {
        return lite_alloc(size);
    }
    char *block = mem_realloc((char *)ptr - 16, (size_t)size + 16);
    if (block == NULL) {
        return NULL;
    }
    *(int *)(void *)block = size;
    return block + 16;
}

static int lite_size(void *ptr)
{
    return ptr == NULL ? 0 : *(int *)(void *)((char *)ptr - 16);
}

static int lite_round(int size)
{
    return (size + 7) & ~7;
}

static int lite_init(void *data)
{
    (void)data;
    return SQLITE_OK;
}

static void lite_end(void *data)
{
    (void)data;
}

static const sqlite3_mem_methods lite_methods = {lite_alloc, lite_free, lite_realloc, lite_size,
                                                 lite_round, lite_init, lite_end,     NULL};

void lite_memory_install(void)
{
    if (sqlite3_config(SQLITE_CONFIG_MALLOC, &lite_methods) != SQLITE_OK ||
        sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0) != SQLITE_OK) {
        fprintf(stderr, "SQLite keeps its own allocator\n");
        abort();
    }
}
