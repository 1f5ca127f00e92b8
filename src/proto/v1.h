/* v1.h - a key of a v1 row, {"value": .., "timestamp": ".."} (docs/protocol.md, "v1"). */
#ifndef PROTO_V1_H
#define PROTO_V1_H

#include "json/json.h"

/* The value without its wrapper, or a bare value as it is. *out_us is the timestamp in
 * microseconds, -1 where there is none that can be read. */
struct json_value proto_v1_unwrap(const struct json_value *entry, int64_t *out_us);

#endif
