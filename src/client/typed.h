/* typed.h - what the guide's providers share: a document opened for reading, and a change written.
 *
 * Each change reads the document, computes and writes under one hold of the lock, so two threads
 * cannot lose each other's. What is written is a merge patch with the fields that change, or the
 * whole document where a patch cannot say it (a theme is replaced, not merged). */
#ifndef CLIENT_TYPED_H
#define CLIENT_TYPED_H

#include "client/handle.h"

#include "json/json.h"

struct typed_view {
    struct arena arena;
    struct json_value document; /* absent where there is none */
};

/* Under the lock; to be closed whatever it answers. */
int typed_open(struct bq *bq, const char *key, struct typed_view *view);
void typed_close(struct typed_view *view);

/* A member of the document; absent where there is none. */
struct json_value typed_field(const struct typed_view *view, const char *name);

/* What stands before the point; 0 for what is no number or does not fit. value may be NULL. */
int64_t typed_number(struct typed_view *view, const struct json_value *value);

/* A member's name as a caller gives it: something, and not more than a key may have. */
bool typed_name_fine(const char *name);

/* One step: ENGINE_PATCH or ENGINE_PUT with the text. */
int typed_write(struct bq *bq, enum engine_event_type type, const char *key,
                const struct buf *text);

#endif
