/* timestamp.h - microseconds since 1970 (UTC) to and from ISO 8601 text; no clock is read here.
 *
 * Printed as PostgREST prints a timestamptz: 2026-03-05T14:11:38.123456+00:00, trailing zeros of
 * the fraction trimmed, no fraction where it is zero, never Z. */
#ifndef BASE_TIMESTAMP_H
#define BASE_TIMESTAMP_H

#include "base/slice.h"

#include <stdint.h>

#define TIMESTAMP_TEXT 40u

/* Writes the text and a NUL; answers its length. For years 0001 to 9999. */
size_t timestamp_print(int64_t time_us, char out[TIMESTAMP_TEXT]);

/* The same cut to milliseconds, always three digits: what v1 rows show. */
size_t timestamp_print_ms(int64_t time_us, char out[TIMESTAMP_TEXT]);

/* Reads a date and time with T or space between, an optional fraction of up to 9 digits, and Z, an
 * offset (+hh, +hhmm, +hh:mm) or nothing (taken as UTC). False (out untouched) for anything
 * else. */
bool timestamp_parse(struct slice text, int64_t *out_us);

#endif
