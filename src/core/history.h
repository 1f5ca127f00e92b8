/* history.h - the last changes of a document as sparse reverse edits.
 *
 * Old clients' merges (docs/protocol.md, "Old clients") and `bqsync explain` live on it. An
 * entry is JSON: {"was": .., "now": ..} lead from the version back to the one before; "status",
 * "device", "op", "at" tell what made it; "edit" is there for a merged one, so that it can be
 * explained; "gone": true where the older one was no document or a tombstone. */
#ifndef CORE_HISTORY_H
#define CORE_HISTORY_H

#include "merge/merge.h"
#include "store/store.h"

struct history_note {
    const char *status; /* "applied", "merged", "inserted", "updated", "deleted" ... */
    struct slice device_id;
    int64_t op; /* 0: not by a numbered edit */
    int64_t at_us;
    const struct merge_edit *edit; /* NULL, or the edit that was merged */
};

/* Adds the step from newer back to older (each absent for none or a tombstone) to the chain of the
 * document; *inout_head is its newest entry. Store codes and BQ_NOMEM. */
int history_add(struct store *store, struct arena *arena, const struct uuid *user, struct slice key,
                int64_t version, const struct json_value *older, const struct json_value *newer,
                const struct history_note *note, int64_t *inout_head);

struct history_entry {
    int64_t version;
    int64_t older;            /* id of the next one back */
    struct json_value fields; /* the JSON above */
    int64_t at_us;
};

/* BQ_NOT_FOUND where it is gone. */
int history_get(struct store *store, struct arena *arena, const struct uuid *user, int64_t id,
                struct history_entry *out);

/* Takes *inout_document, which is version entry->version, back by that one step. */
int history_step_back(struct arena *arena, const struct history_entry *entry,
                      struct json_value *inout_document);

/* The document at a version (absent: none or a tombstone). BQ_NOT_FOUND where history does not
 * reach. */
int history_at(struct store *store, struct arena *arena, const struct uuid *user,
               const struct store_doc *doc, const struct json_value *present, int64_t version,
               struct json_value *out);

#endif
