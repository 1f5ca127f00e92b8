/* sorted.h - a value with the members of its objects in one order: that of slice_order(), which is
 * also the order in which PostgreSQL's jsonb has them. */
#ifndef JSON_SORTED_H
#define JSON_SORTED_H

#include "json/json.h"

/* *out shares strings with value; arrays are new, in the arena. BQ_OK or BQ_NOMEM. */
int json_sorted(struct arena *arena, const struct json_value *value, struct json_value *out);

#endif
