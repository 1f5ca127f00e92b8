/* utf8.h - well-formed UTF-8 (RFC 3629, section 4): no overlong forms, no surrogates, nothing
 * beyond U+10FFFF. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include "base/slice.h"

/* Bytes of the sequence at the beginning of text, 1 to 4; 0 where it is none or text is empty. */
static inline size_t utf8_length(struct slice text)
{
    const unsigned char *s = (const unsigned char *)text.ptr;
    if (text.len == 0) {
        return 0;
    }
    if (s[0] < 0x80) {
        return 1;
    }
    size_t need = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || text.len < need) {
        return 0;
    }
    for (size_t i = 1; i < need; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
    bool surrogate = s[0] == 0xed && s[1] > 0x9f;
    bool too_high = s[0] == 0xf4 && s[1] > 0x8f;
    return overlong || surrogate || too_high ? 0 : need;
}

/* Whether all of text is well-formed and free of controls (below U+0020, and U+007F). */
static inline bool utf8_is_plain(struct slice text)
{
    while (text.len > 0) {
        size_t n = utf8_length(text);
        if (n == 0 || (n == 1 && ((unsigned char)text.ptr[0] < 0x20 || text.ptr[0] == 0x7f))) {
            return false;
        }
        text.ptr += n;
        text.len -= n;
    }
    return true;
}

#endif
