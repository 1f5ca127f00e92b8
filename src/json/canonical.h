/* canonical.h - one text per JSON value: equal values, equal bytes, however they were written.
 *
 * Members sorted, numbers as digits and power. For look-ups among many values and never for the
 * wire: it is close to JSON but not JSON. */
#ifndef JSON_CANONICAL_H
#define JSON_CANONICAL_H

#include "json/json.h"

/* Appends the text; where memory runs out either out->failed or the arena's is set. */
void json_canonical(struct buf *out, struct arena *arena, const struct json_value *value);

#endif
