/* buf.h - a growing run of bytes.
 *
 * Invariants: ptr[len] is NUL once anything was added; on exhausted memory `failed` is set, the
 * buffer keeps what it had, and every later add does nothing until buf_clear(). So a writer of many
 * pieces checks buf.failed once, at its end. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
    char *ptr;
    size_t len;
    size_t size;
    bool failed;
};

#define BUF_INIT ((struct buf){NULL, 0, 0, false})

void buf_init(struct buf *buf);

/* Gives back the memory; as after buf_init(). */
void buf_release(struct buf *buf);

/* Empties it, keeps the memory, heals `failed`. */
void buf_clear(struct buf *buf);

/* Room for n more bytes behind len; false when memory is exhausted. */
bool buf_reserve(struct buf *buf, size_t n);

void buf_add(struct buf *buf, const void *ptr, size_t len);
void buf_add_slice(struct buf *buf, struct slice text);
void buf_add_text(struct buf *buf, const char *text);
void buf_add_char(struct buf *buf, char c);
void buf_add_int(struct buf *buf, int64_t value);

/* printf-like, for log lines and sentences; the result is cut at 1 KiB. */
void buf_add_format(struct buf *buf, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The bytes, yours now (mem_free); NULL when failed. The buffer is empty afterwards. */
char *buf_take(struct buf *buf, size_t *len);

static inline struct slice buf_slice(const struct buf *buf)
{
    return (struct slice){buf->ptr == NULL ? "" : buf->ptr, buf->len};
}

#endif
