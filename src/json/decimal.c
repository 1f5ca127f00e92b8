/* decimal.c - numbers as digits and a power of ten; sums in units and billionths. */
#include "json/decimal.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/status.h"

#define WHOLE_DIGITS 18
#define PART_DIGITS 9
#define WHOLE_END INT64_C(1000000000000000000) /* 10^18: the first that is too large */
#define PART_END INT64_C(1000000000)

/* 0.d[0]d[1]... x 10^point, negative or not; no zero at either end; no digits at all for zero. */
struct digits {
    bool negative;
    int point;
    unsigned n;
    char d[LIMIT_JSON_DIGITS];
};

/* whole + part / 10^9; both carry the sign. */
struct billionths {
    int64_t whole;
    int64_t part;
};

/* The value of the exponent text behind e or E. */
static int exponent(const char *at, const char *end)
{
    bool negative = *at == '-';
    int value = 0;
    for (at += negative || *at == '+' ? 1 : 0; at < end; at++) {
        value = value * 10 + (*at - '0');
    }
    return negative ? -value : value;
}

static void read_digits(const struct json_value *number, struct digits *out)
{
    const char *at = number->ptr;
    const char *end = at + number->len;
    bool behind_point = false;
    out->negative = *at == '-';
    out->point = 0;
    out->n = 0;
    for (at += out->negative ? 1 : 0; at < end; at++) {
        if (*at == '.') {
            behind_point = true;
        } else if (*at == 'e' || *at == 'E') {
            out->point += exponent(at + 1, end);
            break;
        } else if (out->n == 0 && *at == '0') {
            out->point -= behind_point ? 1 : 0;
        } else {
            ASSERT(out->n < LIMIT_JSON_DIGITS);
            out->d[out->n++] = *at;
            out->point += behind_point ? 0 : 1;
        }
    }
    while (out->n > 0 && out->d[out->n - 1] == '0') {
        out->n--;
    }
}

static int sign(const struct digits *digits)
{
    if (digits->n == 0) {
        return 0;
    }
    return digits->negative ? -1 : 1;
}

/* The order of two magnitudes, neither of them zero. */
static int order_magnitudes(const struct digits *a, const struct digits *b)
{
    if (a->point != b->point) {
        return a->point < b->point ? -1 : 1;
    }
    unsigned n = a->n < b->n ? a->n : b->n;
    int order = memcmp(a->d, b->d, n);
    if (order != 0) {
        return order;
    }
    return (a->n > b->n) - (a->n < b->n);
}

int decimal_compare(const struct json_value *a, const struct json_value *b)
{
    if (slice_equal(json_text(a), json_text(b))) {
        return 0;
    }
    struct digits left;
    struct digits right;
    read_digits(a, &left);
    read_digits(b, &right);
    if (sign(&left) != sign(&right)) {
        return sign(&left) - sign(&right);
    }
    if (left.n == 0) {
        return 0;
    }
    int order = order_magnitudes(&left, &right);
    return left.negative ? -order : order;
}

/* The digit that counts 10^place: 0 outside of what is written. */
static int digit_at(const struct digits *digits, int place)
{
    int index = digits->point - 1 - place;
    return index >= 0 && index < (int)digits->n ? digits->d[index] - '0' : 0;
}

/* Reads an operand and rounds it; false when it has more than 18 digits before the point. */
static bool read_billionths(const struct json_value *number, struct billionths *out)
{
    *out = (struct billionths){0, 0};
    if (json_is_absent(number)) {
        return true;
    }
    struct digits digits;
    read_digits(number, &digits);
    if (digits.n > 0 && digits.point > WHOLE_DIGITS) {
        return false;
    }
    for (int place = WHOLE_DIGITS - 1; place >= 0; place--) {
        out->whole = out->whole * 10 + digit_at(&digits, place);
    }
    for (int place = -1; place >= -PART_DIGITS; place--) {
        out->part = out->part * 10 + digit_at(&digits, place);
    }
    if (digit_at(&digits, -PART_DIGITS - 1) >= 5) {
        out->part++;
        out->whole += out->part / PART_END;
        out->part %= PART_END;
    }
    if (digits.negative) {
        out->whole = -out->whole;
        out->part = -out->part;
    }
    return out->whole < WHOLE_END && out->whole > -WHOLE_END;
}

/* Brings the part below one and both to the same sign. */
static void normalise(struct billionths *sum)
{
    sum->whole += sum->part / PART_END;
    sum->part %= PART_END;
    if (sum->whole > 0 && sum->part < 0) {
        sum->whole--;
        sum->part += PART_END;
    } else if (sum->whole < 0 && sum->part > 0) {
        sum->whole++;
        sum->part -= PART_END;
    }
}

/* Prints n digits of value to out, zeros in front; answers the end. */
static char *put_digits(char *out, int64_t value, int n)
{
    for (int i = n - 1; i >= 0; i--) {
        out[i] = (char)('0' + value % 10);
        value /= 10;
    }
    return out + n;
}

static struct slice print_billionths(char *text, struct billionths sum)
{
    bool negative = sum.whole < 0 || sum.part < 0;
    int64_t whole = negative ? -sum.whole : sum.whole;
    int64_t part = negative ? -sum.part : sum.part;
    char *at = text;
    char *end = put_digits(at + 1, whole, WHOLE_DIGITS);
    for (at++; at < end - 1 && *at == '0';) {
        at++;
    }
    if (part > 0) {
        *end++ = '.';
        end = put_digits(end, part, PART_DIGITS);
        while (end[-1] == '0') {
            end--;
        }
    }
    if (negative) {
        *--at = '-';
    }
    return (struct slice){at, (size_t)(end - at)};
}

int decimal_sum(struct arena *arena, const struct json_value *theirs, const struct json_value *now,
                const struct json_value *was, struct json_value *out)
{
    struct billionths t;
    struct billionths n;
    struct billionths w;
    if (!read_billionths(theirs, &t) || !read_billionths(now, &n) || !read_billionths(was, &w)) {
        return BQ_OUT_OF_RANGE;
    }
    struct billionths sum = {t.whole + (n.whole - w.whole), t.part + (n.part - w.part)};
    normalise(&sum);
    if (sum.whole >= WHOLE_END || sum.whole <= -WHOLE_END) {
        return BQ_OUT_OF_RANGE;
    }
    char text[WHOLE_DIGITS + PART_DIGITS + 4];
    struct slice copy = arena_copy(arena, print_billionths(text, sum));
    if (copy.ptr == NULL) {
        return BQ_NOMEM;
    }
    *out = (struct json_value){.ptr = copy.ptr, .len = (uint32_t)copy.len, .type = JSON_NUMBER};
    return BQ_OK;
}

bool decimal_to_int(const struct json_value *number, int64_t *out)
{
    struct digits digits;
    read_digits(number, &digits);
    if (digits.n > 0 && (digits.point > WHOLE_DIGITS || digits.point < (int)digits.n)) {
        return false;
    }
    int64_t value = 0;
    for (int place = WHOLE_DIGITS - 1; place >= 0; place--) {
        value = value * 10 + digit_at(&digits, place);
    }
    *out = digits.negative ? -value : value;
    return true;
}

size_t decimal_canonical(const struct json_value *number, char out[DECIMAL_CANONICAL_BYTES])
{
    struct digits digits;
    read_digits(number, &digits);
    char *at = out;
    if (digits.n == 0) {
        *at++ = '0';
        return 1;
    }
    if (digits.negative) {
        *at++ = '-';
    }
    memcpy(at, digits.d, digits.n);
    at += digits.n;
    *at++ = 'e';
    int power = digits.point - (int)digits.n;
    if (power < 0) {
        *at++ = '-';
    }
    at = put_digits(at, power < 0 ? -power : power, 4);
    return (size_t)(at - out);
}
