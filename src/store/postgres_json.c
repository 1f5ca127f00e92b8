/* postgres_json.c - from jsonb's text to the compact form.
 *
 * jsonb keeps the value of a number, not its text, and prints it without an exponent: 1e308 comes
 * back with 309 digits, which our reader refuses. A number of more digits than the reader takes is
 * written with an exponent, within the reader's limits wherever the number was when it came in.
 * The only other difference is a blank behind each comma and colon. */
#include "store/postgres_impl.h"

#include <stdio.h>

/* A number as m x 10^exponent; m is its digits without zeros on either side. */
struct digits {
    const char *from; /* of the text, a point may stand among them */
    const char *to;
    int n;
    int exponent;
};

static struct digits digits_of(struct slice number)
{
    struct digits d = {NULL, NULL, 0, 0};
    int n_seen = 0; /* from the first digit that is not zero */
    int n_fraction = 0;
    bool in_fraction = false;
    for (size_t i = 0; i < number.len; i++) {
        const char *c = number.ptr + i;
        if (*c == '.') {
            in_fraction = true;
            continue;
        }
        if (*c < '0' || *c > '9') {
            continue;
        }
        n_fraction += in_fraction ? 1 : 0;
        n_seen += *c != '0' || n_seen > 0 ? 1 : 0;
        if (*c != '0') {
            d.from = d.from == NULL ? c : d.from;
            d.to = c + 1;
            d.n = n_seen;
            d.exponent = -n_fraction;
        }
    }
    if (!in_fraction || n_fraction == 0 || d.exponent == 0) {
        /* Whole: the zeros behind the last digit of m are its exponent. */
        int n_zeros = n_seen - d.n - n_fraction;
        d.exponent = d.exponent == 0 ? n_zeros : d.exponent;
    }
    return d;
}

static void print_number(struct buf *out, struct slice number)
{
    struct digits d = digits_of(number);
    int n_digits = 0;
    for (size_t i = 0; i < number.len; i++) {
        n_digits += number.ptr[i] >= '0' && number.ptr[i] <= '9' ? 1 : 0;
    }
    if (n_digits <= (int)LIMIT_JSON_DIGITS || d.from == NULL) {
        buf_add_slice(out, number);
        return;
    }
    if (number.ptr[0] == '-') {
        buf_add_char(out, '-');
    }
    int exponent = d.exponent;
    int n_before = d.n; /* digits before the point */
    if (exponent < -LIMIT_JSON_EXPONENT) {
        n_before += exponent + LIMIT_JSON_EXPONENT;
        exponent = -LIMIT_JSON_EXPONENT;
    }
    if (n_before <= 0) {
        buf_add_text(out, "0.");
        for (int i = n_before; i < 0; i++) {
            buf_add_char(out, '0');
        }
    }
    for (const char *c = d.from; c < d.to; c++) {
        if (*c != '.') {
            buf_add_char(out, *c);
            n_before--;
            if (n_before == 0 && c + 1 < d.to) {
                buf_add_char(out, '.');
            }
        }
    }
    for (; exponent > LIMIT_JSON_EXPONENT; exponent--) {
        buf_add_char(out, '0');
    }
    if (exponent != 0) {
        buf_add_char(out, 'e');
        buf_add_int(out, exponent);
    }
}

static size_t string_end(struct slice text, size_t at)
{
    for (at++; at < text.len && text.ptr[at] != '"'; at++) {
        at += text.ptr[at] == '\\' ? 1 : 0;
    }
    return at < text.len ? at + 1 : text.len;
}

static size_t number_end(struct slice text, size_t at)
{
    at++;
    while (at < text.len && ((text.ptr[at] >= '0' && text.ptr[at] <= '9') || text.ptr[at] == '.')) {
        at++;
    }
    return at;
}

/* Most texts have no number that is too long: then this is a copy without blanks. */
struct slice pg_json_compact(struct arena *arena, struct slice text)
{
    struct buf out = BUF_INIT;
    size_t at = 0;
    while (at < text.len) {
        char c = text.ptr[at];
        size_t end = at + 1;
        if (c == '"') {
            end = string_end(text, at);
            buf_add(&out, text.ptr + at, end - at);
        } else if (c == '-' || (c >= '0' && c <= '9')) {
            end = number_end(text, at);
            print_number(&out, (struct slice){text.ptr + at, end - at});
        } else if (c != ' ') {
            buf_add_char(&out, c);
        }
        at = end;
    }
    struct slice copy = SLICE_NONE;
    if (out.failed) {
        arena->failed = true;
    } else {
        copy = arena_copy(arena, buf_slice(&out));
    }
    buf_release(&out);
    return copy;
}
