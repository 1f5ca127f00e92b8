/* arena.c - a chain of chunks, each at least twice as large as the one before it. */
#include "base/arena.h"

#include "base/mem.h"

#include <stdint.h>

#define ARENA_FIRST_BYTES 4096u
#define ARENA_ALIGN 16u

struct arena_chunk {
    struct arena_chunk *older;
    size_t size;
    _Alignas(ARENA_ALIGN) char bytes[];
};

void arena_init(struct arena *arena)
{
    *arena = (struct arena){0};
}

static void free_chain(struct arena_chunk *chunk)
{
    while (chunk != NULL) {
        struct arena_chunk *older = chunk->older;
        mem_free(chunk);
        chunk = older;
    }
}

void arena_release(struct arena *arena)
{
    free_chain(arena->newest);
    arena_init(arena);
}

void arena_reset(struct arena *arena)
{
    if (arena->newest != NULL) {
        free_chain(arena->newest->older);
        arena->newest->older = NULL;
    }
    arena->used = 0;
    arena->failed = false;
}

/* A new newest chunk with room for size bytes. */
static bool grow(struct arena *arena, size_t size)
{
    size_t want = arena->newest == NULL ? ARENA_FIRST_BYTES : arena->newest->size;
    if (arena->newest != NULL && want <= SIZE_MAX / 4) {
        want *= 2;
    }
    if (want < size) {
        want = size;
    }
    if (want > SIZE_MAX - sizeof(struct arena_chunk)) {
        return false;
    }
    struct arena_chunk *chunk = mem_alloc(sizeof *chunk + want);
    if (chunk == NULL) {
        return false;
    }
    chunk->older = arena->newest;
    chunk->size = want;
    arena->newest = chunk;
    arena->used = 0;
    return true;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    if (arena->failed || size > SIZE_MAX - ARENA_ALIGN) {
        arena->failed = true;
        return NULL;
    }
    size = (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    if (arena->newest == NULL || arena->newest->size - arena->used < size) {
        if (!grow(arena, size)) {
            arena->failed = true;
            return NULL;
        }
    }
    void *block = arena->newest->bytes + arena->used;
    arena->used += size;
    return block;
}

void *arena_zalloc(struct arena *arena, size_t count, size_t size)
{
    if (size != 0 && count > SIZE_MAX / size) {
        arena->failed = true;
        return NULL;
    }
    void *block = arena_alloc(arena, count * size);
    if (block != NULL) {
        memset(block, 0, count * size);
    }
    return block;
}

struct slice arena_copy(struct arena *arena, struct slice text)
{
    char *copy = arena_alloc(arena, text.len + 1);
    if (copy == NULL) {
        return SLICE_NONE;
    }
    if (text.len > 0) {
        memcpy(copy, text.ptr, text.len);
    }
    copy[text.len] = '\0';
    return (struct slice){copy, text.len};
}
