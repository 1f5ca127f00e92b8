/* note.h - under which name the stores with a table user_sync_store keep a note there. */
#ifndef STORE_NOTE_H
#define STORE_NOTE_H

#include "base/assert.h"
#include "store/store.h"

#define NOTE_NAME_BYTES 64u
#define NOTE_PREFIX SLICE("note:")
#define NOTE_FULL_BYTES (5 + NOTE_NAME_BYTES)

/* The name in out, which has room for NOTE_FULL_BYTES. */
static inline struct slice note_name(char *out, struct slice name)
{
    const struct slice prefix = NOTE_PREFIX;
    ASSERT(name.len <= NOTE_NAME_BYTES);
    memcpy(out, prefix.ptr, prefix.len);
    memcpy(out + prefix.len, name.ptr, name.len);
    return (struct slice){out, prefix.len + name.len};
}

#endif
