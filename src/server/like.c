/* like.c - two places move on together; at a mismatch the last % takes one character more. */
#include "server/like.h"

static char fold(char c, bool any_case)
{
    return any_case && c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* Behind the character that begins at `at`. */
static size_t next_of(struct slice text, size_t at)
{
    at++;
    while (at < text.len && ((unsigned char)text.ptr[at] & 0xc0) == 0x80) {
        at++;
    }
    return at;
}

static bool is_run(const struct like *like, size_t at)
{
    char c = at < like->pattern.len ? like->pattern.ptr[at] : '\0';
    return c == '%' || (c == '*' && like->star);
}

bool like_matches(const struct like *like, struct slice text, uint64_t *inout_work)
{
    struct slice pattern = like->pattern;
    size_t t = 0;
    size_t p = 0;
    size_t run = SIZE_MAX; /* behind the last % */
    size_t run_text = 0;
    while (t<text.len && * inout_work> 0) {
        bool escaped = p + 1 < pattern.len && pattern.ptr[p] == '\\';
        (*inout_work)--;
        if (is_run(like, p)) {
            run = ++p;
            run_text = t;
        } else if (p < pattern.len && pattern.ptr[p] == '_') {
            p++;
            t = next_of(text, t);
        } else if (p < pattern.len && fold(pattern.ptr[p + escaped], like->any_case) ==
                                          fold(text.ptr[t], like->any_case)) {
            p += 1 + (size_t)escaped;
            t++;
        } else if (run != SIZE_MAX) {
            p = run;
            run_text = next_of(text, run_text);
            t = run_text;
        } else {
            return false;
        }
    }
    while (is_run(like, p)) {
        p++;
    }
    return t >= text.len && p == pattern.len;
}
