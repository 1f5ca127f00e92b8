/* v1.c - see v1.h. */
#include "proto/v1.h"

#include "base/timestamp.h"

struct json_value proto_v1_unwrap(const struct json_value *entry, int64_t *out_us)
{
    const struct json_value *value = json_get(entry, "value");
    const struct json_value *timestamp = json_get(entry, "timestamp");
    int64_t time_us;
    *out_us = -1;
    if (entry->type != JSON_OBJECT || value == NULL || timestamp == NULL) {
        return *entry;
    }
    if (timestamp->type == JSON_STRING && timestamp_parse(json_text(timestamp), &time_us) &&
        time_us >= 0) {
        *out_us = time_us;
    }
    return *value;
}
