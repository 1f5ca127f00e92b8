/* base64url.c - see base64url.h. */
#include "base/base64url.h"

#include <stdint.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* 0 .. 63, or -1. */
static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

bool base64url_read(struct arena *arena, struct slice text, struct slice *out)
{
    if (text.len % 4 == 1) {
        return false;
    }
    char *bytes = arena_alloc(arena, text.len / 4 * 3 + 3);
    if (bytes == NULL) {
        return false;
    }
    size_t len = 0;
    uint32_t bits = 0;
    unsigned n_bits = 0;
    for (size_t i = 0; i < text.len; i++) {
        int value = value_of(text.ptr[i]);
        if (value < 0) {
            return false;
        }
        bits = (bits << 6 | (uint32_t)value) & 0xffffu;
        n_bits += 6;
        if (n_bits >= 8) {
            n_bits -= 8;
            bytes[len++] = (char)(unsigned char)(bits >> n_bits & 0xffu);
        }
    }
    /* What is left over must be zero, or several texts would mean the same bytes. */
    if ((bits & ((1u << n_bits) - 1)) != 0) {
        return false;
    }
    bytes[len] = '\0';
    *out = (struct slice){bytes, len};
    return true;
}

void base64url_print(struct buf *out, struct slice bytes)
{
    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t n = bytes.len - i < 3 ? bytes.len - i : 3;
        uint32_t bits = 0;
        for (size_t j = 0; j < 3; j++) {
            bits = bits << 8 | (j < n ? (unsigned char)bytes.ptr[i + j] : 0u);
        }
        for (size_t j = 0; j <= n; j++) {
            buf_add_char(out, alphabet[bits >> (18 - 6 * j) & 63u]);
        }
    }
}
