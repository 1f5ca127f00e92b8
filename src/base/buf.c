/* buf.c - growth by doubling. */
#include "base/buf.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>

#define BUF_FIRST_BYTES 256u
#define BUF_FORMAT_BYTES 1024u

void buf_init(struct buf *buf)
{
    *buf = BUF_INIT;
}

void buf_release(struct buf *buf)
{
    mem_free(buf->ptr);
    buf_init(buf);
}

void buf_clear(struct buf *buf)
{
    buf->len = 0;
    buf->failed = false;
    if (buf->ptr != NULL) {
        buf->ptr[0] = '\0';
    }
}

bool buf_reserve(struct buf *buf, size_t n)
{
    if (buf->failed) {
        return false;
    }
    if (buf->size - buf->len > n) {
        return true;
    }
    if (n > SIZE_MAX / 4 || buf->len > SIZE_MAX / 4) {
        buf->failed = true;
        return false;
    }
    size_t size = buf->size < BUF_FIRST_BYTES ? BUF_FIRST_BYTES : buf->size * 2;
    while (size - buf->len <= n) {
        size *= 2;
    }
    char *ptr = mem_realloc(buf->ptr, size);
    if (ptr == NULL) {
        buf->failed = true;
        return false;
    }
    buf->ptr = ptr;
    buf->size = size;
    return true;
}

void buf_add(struct buf *buf, const void *ptr, size_t len)
{
    if (!buf_reserve(buf, len)) {
        return;
    }
    if (len > 0) {
        memcpy(buf->ptr + buf->len, ptr, len);
    }
    buf->len += len;
    buf->ptr[buf->len] = '\0';
}

void buf_add_slice(struct buf *buf, struct slice text)
{
    buf_add(buf, text.ptr, text.len);
}

void buf_add_text(struct buf *buf, const char *text)
{
    buf_add(buf, text, strlen(text));
}

void buf_add_char(struct buf *buf, char c)
{
    buf_add(buf, &c, 1);
}

void buf_add_int(struct buf *buf, int64_t value)
{
    char digits[24];
    size_t at = sizeof digits;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do {
        digits[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest != 0);
    if (value < 0) {
        digits[--at] = '-';
    }
    buf_add(buf, digits + at, sizeof digits - at);
}

void buf_add_format(struct buf *buf, const char *format, ...)
{
    char text[BUF_FORMAT_BYTES];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n > 0) {
        buf_add(buf, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
    }
}

char *buf_take(struct buf *buf, size_t *len)
{
    if (buf->failed || !buf_reserve(buf, 0)) {
        buf_release(buf);
        return NULL;
    }
    char *ptr = buf->ptr;
    ptr[buf->len] = '\0';
    *len = buf->len;
    buf_init(buf);
    return ptr;
}
