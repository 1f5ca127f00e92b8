/* decimal.h - exact decimal numbers: comparison of any two JSON numbers, sums of nine decimals.
 *
 * A JSON number here has at most 40 digits and an exponent within +-308 (json.h), so a comparison
 * works on the digits; a sum works on whole units and billionths, both in 64 bits. */
#ifndef JSON_DECIMAL_H
#define JSON_DECIMAL_H

#include "json/json.h"

/* Room for decimal_canonical(). */
#define DECIMAL_CANONICAL_BYTES 64u

/* Below, equal or above zero as a is smaller than, equal to or larger than b. Both JSON_NUMBER. */
int decimal_compare(const struct json_value *a, const struct json_value *b);

/* theirs + (now - was), each first rounded to nine decimals, half away from zero; a NULL or
 * absent operand counts 0. BQ_OUT_OF_RANGE when an operand or the result has more than 18 digits
 * before the point; BQ_NOMEM. The result is a number without exponent and without trailing
 * zeros. */
int decimal_sum(struct arena *arena, const struct json_value *theirs, const struct json_value *now,
                const struct json_value *was, struct json_value *out);

/* The integer that a JSON_NUMBER is by value, however it is written (2, 2.0 and 20e-1 are 2). False
 * (out untouched) where it has a fraction or more than 18 digits. */
bool decimal_to_int(const struct json_value *number, int64_t *out);

/* A text that two JSON_NUMBERs share exactly when they are equal by value; answers its length. */
size_t decimal_canonical(const struct json_value *number, char out[DECIMAL_CANONICAL_BYTES]);

#endif
