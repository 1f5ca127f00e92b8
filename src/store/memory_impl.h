/* memory_impl.h - what the files of the store in memory share: the handle and the keys of its rows.
 *
 * Keys of rows: parts one behind the other. A user id has a fixed length, a last part needs none,
 * any other part begins with its length in 4 bytes. So all rows of a user, and all of a device,
 * stand together. A verb builds the key that it means and then looks, puts or removes; memory that
 * ends while a key is built shows there. */
#ifndef STORE_MEMORY_IMPL_H
#define STORE_MEMORY_IMPL_H

#include "base/assert.h"
#include "base/buf.h"
#include "base/status.h"
#include "store/memory.h"
#include "store/memory_rows.h"

#define MEMORY_EPOCH_TEXT 32u

/* What a handle and its readers share. */
struct memory_state {
    struct memory_tables tables;
    char epoch[MEMORY_EPOCH_TEXT + 1];
    uint64_t hash_key[2];
    unsigned n_history;
    unsigned n_readers;
    unsigned n_reading;
    bool writing;
    int64_t next_history;
    int64_t next_history_before; /* as it was at begin() */
    int64_t policies_version;
    int64_t policies_version_before;
    int fail_status; /* of the next commit, where it is not BQ_OK */
    bool fail_keeps;
};

struct memory {
    struct store store;
    struct memory_state *state;
    struct buf key; /* the key of the row that is looked for */
    bool is_reader;
    bool is_open; /* in a transaction */
};

static inline struct memory *memory_of(struct store *store)
{
    return (struct memory *)store;
}

/* memory_keys.c */

void memory_key_begin(struct memory *memory, const struct uuid *user);
void memory_key_add_part(struct memory *memory, struct slice part);
void memory_key_add_id(struct memory *memory, int64_t id);

/* By the key that was built; BQ_OK or BQ_NOMEM. An absent row is NULL. */
int memory_row_find(struct memory *memory, enum memory_table table, const struct memory_row **out);
int memory_row_range(struct memory *memory, enum memory_table table, size_t *first, size_t *end);
int memory_row_put(struct memory *memory, enum memory_table table, struct memory_row *draft);
int memory_row_remove(struct memory *memory, enum memory_table table);
int memory_row_remove_range(struct memory *memory, enum memory_table table);

/* Row number i of a table. */
const struct memory_row *memory_row_at(const struct memory *memory, enum memory_table table,
                                       size_t i);

/* A copy for the caller; an absent text stays absent. */
struct slice memory_text(struct arena *arena, struct slice text);
int memory_arena_status(const struct arena *arena);

/* Verbs: memory_docs.c, memory_history.c, memory_misc.c */

int memory_user_get(struct store *store, const struct uuid *id, struct store_user *out);
int memory_user_put(struct store *store, const struct store_user *user);
int memory_doc_get(struct store *store, struct arena *arena, const struct uuid *user,
                   struct slice key, struct store_doc *out);
int memory_doc_put(struct store *store, const struct uuid *user, const struct store_doc *doc);
int memory_docs(struct store *store, struct arena *arena, const struct uuid *user, int64_t after,
                uint32_t max_rows, size_t max_bytes, bool with_deleted, struct store_docs *out);
int memory_tombstone_drop(struct store *store, const struct uuid *user, int64_t *out_seq);
int memory_history_add(struct store *store, const struct uuid *user, struct slice key,
                       const struct store_history *entry, int64_t *out_id);
int memory_history_get(struct store *store, struct arena *arena, const struct uuid *user,
                       int64_t id, struct store_history *out);
int memory_upserts_get(struct store *store, struct arena *arena, const struct uuid *user,
                       struct slice key, struct slice device_id, struct slice *out);
int memory_upserts_put(struct store *store, const struct uuid *user, struct slice key,
                       struct slice device_id, struct slice packed, int64_t now_us);
int memory_upserts_forget(struct store *store, const struct uuid *user, struct slice key);
int memory_upserts_trim(struct store *store, const struct uuid *user, struct slice key,
                        bool *out_evicted);
int memory_devices(struct store *store, struct arena *arena, const struct uuid *user,
                   struct store_devices *out);
int memory_device_put(struct store *store, const struct uuid *user,
                      const struct store_device *device);
int memory_v1_device_put(struct store *store, const struct uuid *user,
                         const struct store_v1_device *device);
int memory_v1_device_remove(struct store *store, const struct uuid *user, struct slice device_id,
                            bool *out_found);
int memory_dead_replace(struct store *store, const struct uuid *user, struct slice device_id,
                        const struct store_dead *items, uint32_t n);
int memory_dead_letters(struct store *store, struct arena *arena, const struct uuid *user,
                        struct store_dead_letters *out);
int memory_policies(struct store *store, struct arena *arena, struct store_policies *out);
int memory_policy_put(struct store *store, struct slice pattern, struct slice policy);
int memory_user_clear(struct store *store, const struct uuid *user);
int memory_account_get(struct store *store, struct arena *arena, const struct uuid *id,
                       struct store_account *out);
int memory_account_find(struct store *store, struct arena *arena, struct slice email,
                        struct store_account *out);
int memory_account_put(struct store *store, const struct store_account *account);
int memory_account_remove(struct store *store, const struct uuid *id);
int memory_accounts(struct store *store, struct arena *arena, const struct uuid *after,
                    uint32_t max, struct store_accounts *out);
int memory_accounts_unused(struct store *store, struct arena *arena, int64_t before_us,
                           uint32_t max, struct store_accounts *out);
int memory_session_get(struct store *store, const struct uuid *id, struct store_session *out);
int memory_session_put(struct store *store, const struct store_session *session);
int memory_session_remove(struct store *store, const struct uuid *id);
int memory_sessions_remove(struct store *store, const struct uuid *user, const struct uuid *but);

int memory_users(struct store *store, struct arena *arena, const struct uuid *after, uint32_t max,
                 struct store_users *out);
int memory_upserts(struct store *store, struct arena *arena, const struct uuid *user,
                   struct store_upserts *out);
int memory_v1_devices(struct store *store, struct arena *arena, const struct uuid *user,
                      struct store_v1_devices *out);
int memory_sessions(struct store *store, struct arena *arena, const struct uuid *user,
                    struct store_sessions *out);
int memory_note_get(struct store *store, struct arena *arena, struct slice name,
                    struct slice *out);
int memory_note_put(struct store *store, struct slice name, struct slice value);
int memory_identity_set(struct store *store, const uint64_t hash_key[2], int64_t policies_version);

/* Removes an entry of a user's history and all older ones of its chain. */
int memory_history_remove_chain(struct memory *memory, const struct uuid *user, int64_t id);

#endif
