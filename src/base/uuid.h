/* uuid.h - user ids: canonical lower-case text of 36 characters (RFC 9562, section 4). */
#ifndef BASE_UUID_H
#define BASE_UUID_H

#include "base/slice.h"

#define UUID_TEXT 36u

/* A user id as it is compared, stored and printed; text is NUL-terminated. */
struct uuid {
    char text[UUID_TEXT + 1];
};

/* Reads 8-4-4-4-12 hex digits of either case; false (out untouched) for anything else. */
bool uuid_parse(struct slice text, struct uuid *out);

static inline struct slice uuid_slice(const struct uuid *uuid)
{
    return (struct slice){uuid->text, UUID_TEXT};
}

#endif
