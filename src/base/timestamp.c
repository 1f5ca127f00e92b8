/* timestamp.c - civil dates by the days-from-civil arithmetic of the proleptic Gregorian
 * calendar. */
#include "base/timestamp.h"

#define US_PER_SECOND INT64_C(1000000)
#define SECONDS_PER_DAY INT64_C(86400)

struct civil {
    int64_t year;
    unsigned month;
    unsigned day;
};

/* Years are counted from March, so that a leap day ends its year; 400 years are one era. */
static int64_t days_of_civil(struct civil c)
{
    int64_t y = c.month <= 2 ? c.year - 1 : c.year;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    unsigned year_of_era = (unsigned)(y - era * 400);
    unsigned month = c.month > 2 ? c.month - 3 : c.month + 9;
    unsigned day_of_year = (153 * month + 2) / 5 + c.day - 1;
    unsigned day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + (int64_t)day_of_era - 719468;
}

static struct civil civil_of_days(int64_t days)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    unsigned day_of_era = (unsigned)(days - era * 146097);
    unsigned year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned month = (5 * day_of_year + 2) / 153;
    struct civil c;
    c.day = day_of_year - (153 * month + 2) / 5 + 1;
    c.month = month < 10 ? month + 3 : month - 9;
    c.year = (int64_t)year_of_era + era * 400 + (c.month <= 2 ? 1 : 0);
    return c;
}

static char *put(char *at, int64_t value, int digits)
{
    for (int i = digits - 1; i >= 0; i--) {
        at[i] = (char)('0' + value % 10);
        value /= 10;
    }
    return at + digits;
}

/* Up to the seconds; *out_fraction_us is what remains. */
static char *put_seconds(char *at, int64_t time_us, int64_t *out_fraction_us)
{
    int64_t fraction = time_us % US_PER_SECOND;
    int64_t seconds = time_us / US_PER_SECOND;
    if (fraction < 0) {
        fraction += US_PER_SECOND;
        seconds--;
    }
    int64_t of_day = seconds % SECONDS_PER_DAY;
    int64_t days = seconds / SECONDS_PER_DAY;
    if (of_day < 0) {
        of_day += SECONDS_PER_DAY;
        days--;
    }
    struct civil c = civil_of_days(days);
    at = put(at, c.year, 4);
    *at++ = '-';
    at = put(at, c.month, 2);
    *at++ = '-';
    at = put(at, c.day, 2);
    *at++ = 'T';
    at = put(at, of_day / 3600, 2);
    *at++ = ':';
    at = put(at, of_day / 60 % 60, 2);
    *at++ = ':';
    at = put(at, of_day % 60, 2);
    *out_fraction_us = fraction;
    return at;
}

static size_t finish(char *at, char *out)
{
    memcpy(at, "+00:00", 7);
    return (size_t)(at - out) + 6;
}

size_t timestamp_print(int64_t time_us, char out[TIMESTAMP_TEXT])
{
    int64_t fraction;
    char *at = put_seconds(out, time_us, &fraction);
    if (fraction != 0) {
        *at++ = '.';
        at = put(at, fraction, 6);
        while (at[-1] == '0') {
            at--;
        }
    }
    return finish(at, out);
}

size_t timestamp_print_ms(int64_t time_us, char out[TIMESTAMP_TEXT])
{
    int64_t fraction;
    char *at = put_seconds(out, time_us, &fraction);
    *at++ = '.';
    at = put(at, fraction / 1000, 3);
    return finish(at, out);
}

struct reader {
    const char *at;
    const char *end;
};

/* Exactly `digits` digits into *out. */
static bool take_number(struct reader *r, int digits, int64_t *out)
{
    int64_t value = 0;
    if (r->end - r->at < digits) {
        return false;
    }
    for (int i = 0; i < digits; i++) {
        char c = *r->at++;
        if (c < '0' || c > '9') {
            return false;
        }
        value = value * 10 + (c - '0');
    }
    *out = value;
    return true;
}

static bool take_char(struct reader *r, char c)
{
    if (r->at == r->end || *r->at != c) {
        return false;
    }
    r->at++;
    return true;
}

static bool take_date(struct reader *r, int64_t *out_days)
{
    static const unsigned char month_days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int64_t year, month, day;
    if (!take_number(r, 4, &year) || !take_char(r, '-') || !take_number(r, 2, &month) ||
        !take_char(r, '-') || !take_number(r, 2, &day)) {
        return false;
    }
    if (year < 1 || month < 1 || month > 12 || day < 1 || day > month_days[month - 1]) {
        return false;
    }
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (month == 2 && day == 29 && !leap) {
        return false;
    }
    *out_days = days_of_civil((struct civil){year, (unsigned)month, (unsigned)day});
    return true;
}

static bool take_fraction(struct reader *r, int64_t *out_us)
{
    int64_t value = 0;
    int digits = 0;
    while (r->at < r->end && *r->at >= '0' && *r->at <= '9') {
        if (++digits > 9) {
            return false;
        }
        if (digits <= 6) {
            value = value * 10 + (*r->at - '0');
        }
        r->at++;
    }
    if (digits == 0) {
        return false;
    }
    for (; digits < 6; digits++) {
        value *= 10;
    }
    *out_us = value;
    return true;
}

static bool take_offset(struct reader *r, int64_t *out_seconds)
{
    int64_t hours, minutes = 0;
    *out_seconds = 0;
    if (r->at == r->end || take_char(r, 'Z') || take_char(r, 'z')) {
        return true;
    }
    int64_t sign = *r->at == '-' ? -1 : 1;
    if (*r->at != '-' && *r->at != '+') {
        return false;
    }
    r->at++;
    if (!take_number(r, 2, &hours)) {
        return false;
    }
    if (r->at < r->end) {
        (void)take_char(r, ':');
        if (!take_number(r, 2, &minutes)) {
            return false;
        }
    }
    *out_seconds = sign * (hours * 3600 + minutes * 60);
    return hours <= 15 && minutes <= 59;
}

bool timestamp_parse(struct slice text, int64_t *out_us)
{
    struct reader r = {text.ptr, text.ptr + text.len};
    int64_t days, hours, minutes, seconds, fraction = 0, offset;
    if (!take_date(&r, &days) || !(take_char(&r, 'T') || take_char(&r, ' ')) ||
        !take_number(&r, 2, &hours) || !take_char(&r, ':') || !take_number(&r, 2, &minutes) ||
        !take_char(&r, ':') || !take_number(&r, 2, &seconds)) {
        return false;
    }
    if (hours > 23 || minutes > 59 || seconds > 60) {
        return false;
    }
    if (take_char(&r, '.') && !take_fraction(&r, &fraction)) {
        return false;
    }
    if (!take_offset(&r, &offset) || r.at != r.end) {
        return false;
    }
    int64_t total = days * SECONDS_PER_DAY + hours * 3600 + minutes * 60 + seconds - offset;
    *out_us = total * US_PER_SECOND + fraction;
    return true;
}
