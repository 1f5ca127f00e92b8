/* store.h - the verbs of a store: what apply_batch needs of a disk, and nothing else.
 *
 * memory.c, sqlite.c and postgres.c stand behind it and pass one conformance suite
 * (tests/unit/test_store.c, test_store_postgres.c). A store keeps; it decides nothing: versions,
 * sequence numbers, receipts and quotas are computed by src/core and handed over.
 *
 * Threads: a store handle belongs to one thread. The handle that store_..._open() gives is the
 * writer; reader() opens more handles for other threads, which only read.
 *
 * Transactions: every verb but begin and those of epoch and key runs between begin() and commit()
 * or rollback(). Once commit() answers BQ_OK the batch is on disk and synced. When it answers
 * anything else the batch is *unknown*: the store rolls back what it can and the caller
 * acknowledges nothing. A failed verb leaves the transaction to be rolled back by the caller.
 *
 * Slices handed out live in the arena of the call. Slices handed in are borrowed for the call. All
 * verbs: BQ_OK, BQ_NOMEM, BQ_IO, BQ_DISK_FULL, BQ_READ_ONLY, BQ_CORRUPT, BQ_BUSY. After a failed
 * sync or damage begin() refuses until the file is opened anew: the handle is poisoned. */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/arena.h"
#include "base/limits.h"
#include "base/slice.h"
#include "base/uuid.h"

/* The row that serialises a user's writes (table user_sync_feed). */
struct store_user {
    struct uuid id;
    bool exists;
    bool erased;
    int64_t seq;          /* last one given; the change feed's end */
    int64_t generation;   /* raised when acknowledged edits may be gone; part of the epoch */
    int64_t clock_us;     /* last modified_at given */
    int64_t n_keys;       /* live documents */
    int64_t n_bytes;      /* of live documents */
    int64_t n_tombstones;
    int64_t purged_seq;   /* tombstones up to here may be gone */
};

struct store_users {
    struct store_user *items;
    uint32_t n;
};

/* A row of user_sync_data_v2. */
struct store_doc {
    struct slice key;
    int64_t version;        /* 0: there is no row */
    int64_t seq;
    bool deleted;
    int64_t epoch;          /* of a tombstone */
    struct slice data;      /* compact JSON; {} of a tombstone */
    struct slice device_id; /* NULL ptr: SQL NULL */
    int64_t modified_us;
    int64_t created_us;
    struct slice receipts;  /* packed by core/receipts.c */
    int64_t history;        /* id of the newest history entry, 0 none */
    int64_t counted;        /* bytes of data when it was written: what quotas count. A store that
                               keeps a value and not its text may give another text. Not read by
                               doc_put */
};

struct store_docs {
    struct store_doc *items;
    uint32_t n;
    bool more;
};

/* An entry of the append-only history log: how to get from `version` back to the one before it. */
struct store_history {
    int64_t id;
    int64_t older;       /* id of the entry before, 0 none; a missing entry ends the chain */
    int64_t version;
    struct slice entry;  /* packed by core/history.c */
};

/* What is remembered of an old client's device on a key. */
struct store_upsert {
    struct slice key;
    struct slice device_id;
    struct slice packed;
    int64_t updated_us;
};

struct store_upserts {
    struct store_upsert *items;
    uint32_t n;
};

/* A row of user_sync_metadata. */
struct store_device {
    struct slice device_id;
    int64_t last_sync_us;
    int64_t last_sync_version;
    struct slice info; /* JSON */
    int64_t created_us;
};

struct store_devices {
    struct store_device *items;
    uint32_t n;
};

/* A row of v1's user_devices. */
struct store_v1_device {
    struct slice device_id;
    struct slice name;
    struct slice type;
    int64_t last_sync_us;
    int64_t created_us;
};

struct store_v1_devices {
    struct store_v1_device *items;
    uint32_t n;
};

/* A row of user_sync_queue: a dead letter as reported. */
struct store_dead {
    struct slice id; /* uuid text, made by the caller */
    struct slice device_id;
    struct slice key;
    struct slice data;  /* JSON of the edit */
    int64_t version;    /* the edit's base */
    struct slice error; /* code and sentence */
    int64_t at_us;
};

struct store_dead_letters {
    struct store_dead *items;
    uint32_t n;
};

struct store_policy {
    struct slice pattern;
    struct slice policy; /* JSON */
};

struct store_policies {
    struct store_policy *items;
    uint32_t n;
    int64_t version; /* raised by every set; 0: as shipped */
};

/* An account of our own sign-in (docs/protocol.md, "Accounts"); absent texts have a NULL ptr. */
struct store_account {
    struct uuid id;
    struct slice email;    /* lower case, unique; absent: an anonymous account */
    struct slice password; /* as server/password.h writes it */
    struct slice metadata; /* JSON object: user_metadata */
    bool disabled;
    int64_t created_us;
    int64_t updated_us;
    int64_t signed_in_us; /* the last sign-in, 0: never */
};

struct store_accounts {
    struct store_account *items;
    uint32_t n;
};

/* A sign-in that lives on: its refresh tokens are numbered by counter. */
struct store_session {
    struct uuid id;
    struct uuid user;
    int64_t counter;
    int64_t created_us;
    int64_t refreshed_us;
};

struct store_sessions {
    struct store_session *items;
    uint32_t n;
};

/* What a batch is going to ask for. */
enum store_want_kind {
    STORE_WANT_USER,
    STORE_WANT_DOC,    /* of key */
    STORE_WANT_UPSERTS, /* of key and device_id */
    STORE_WANT_FEED,   /* the documents behind the seq `number` */
    STORE_WANT_HISTORY /* of key: what leads back to the version `number` */
};

struct store_want {
    enum store_want_kind kind;
    const struct uuid *user;
    struct slice key;
    struct slice device_id;
    int64_t number;
};

/* The note of a store whose import did not come to its end. */
#define STORE_NOTE_IMPORT SLICE("import")

/* The implementer embeds this as its first member. */
struct store {
    void (*close)(struct store *store);

    /* A handle for another thread that reads alone. */
    int (*reader)(struct store *store, struct store **out);

    int (*begin)(struct store *store);
    int (*commit)(struct store *store);
    void (*rollback)(struct store *store);

    /* The store's epoch: random hex, made when the store was created, changed by restore; and the
     * 128-bit key of its fingerprints. No transaction needed. */
    struct slice (*epoch)(struct store *store);
    void (*hash_key)(struct store *store, uint64_t out[2]);

    /* A new epoch, 1 to 32 characters of [0-9a-f] that were never one before: acknowledged edits
     * may be gone, and clients are to bring back what they know (docs/protocol.md 8). Durable when
     * it answers BQ_OK; a transaction of its own, so none may be open. */
    int (*epoch_set)(struct store *store, struct slice epoch);

    /* Absent user: exists false and zeros. */
    int (*user_get)(struct store *store, const struct uuid *id, struct store_user *out);
    int (*user_put)(struct store *store, const struct store_user *user);

    /* Documents. doc_get of an absent one: version 0, key set. */
    int (*doc_get)(struct store *store, struct arena *arena, const struct uuid *user,
                   struct slice key, struct store_doc *out);
    int (*doc_put)(struct store *store, const struct uuid *user, const struct store_doc *doc);

    /* Those with seq > after, by seq; at most max_rows, and no more after max_bytes of data (but at
     * least one). with_deleted includes tombstones. */
    int (*docs)(struct store *store, struct arena *arena, const struct uuid *user, int64_t after,
                uint32_t max_rows, size_t max_bytes, bool with_deleted, struct store_docs *out);

    /* Removes the tombstone of lowest seq, its history, and what old clients' devices are
     * remembered by on its key; *out_seq is that seq, 0 where there was none. */
    int (*tombstone_drop)(struct store *store, const struct uuid *user, int64_t *out_seq);

    /* History: add gives the id of the new entry; get answers BQ_NOT_FOUND where it is gone. */
    int (*history_add)(struct store *store, const struct uuid *user, struct slice key,
                       const struct store_history *entry, int64_t *out_id);
    int (*history_get)(struct store *store, struct arena *arena, const struct uuid *user,
                       int64_t id, struct store_history *out);

    /* What is remembered of an old client's device on a key (packed by core/upserts.c); an
     * absent one is SLICE_NONE. forget makes the texts of all devices on a key empty: that they
     * wrote stays remembered, what they wrote does not. */
    int (*upserts_get)(struct store *store, struct arena *arena, const struct uuid *user,
                       struct slice key, struct slice device_id, struct slice *out);
    int (*upserts_put)(struct store *store, const struct uuid *user, struct slice key,
                       struct slice device_id, struct slice packed, int64_t now_us);
    int (*upserts_forget)(struct store *store, const struct uuid *user, struct slice key);
    /* After the first text of a device on a key: removes the oldest ones of the key beyond
     * LIMIT_UPSERT_DEVICES (*out_evicted: there were some), and empties the user's oldest texts
     * beyond LIMIT_UPSERT_MEMORIES. */
    int (*upserts_trim)(struct store *store, const struct uuid *user, struct slice key,
                        bool *out_evicted);

    /* Devices, by last_sync_us falling. put replaces but keeps the created_us that is there; of
     * each kind the LIMIT_DEVICES of a user stay that synced last. */
    int (*devices)(struct store *store, struct arena *arena, const struct uuid *user,
                   struct store_devices *out);
    int (*device_put)(struct store *store, const struct uuid *user,
                      const struct store_device *device);

    int (*v1_device_put)(struct store *store, const struct uuid *user,
                         const struct store_v1_device *device);
    /* *out_found tells whether there was one. */
    int (*v1_device_remove)(struct store *store, const struct uuid *user, struct slice device_id,
                            bool *out_found);

    /* Dead letters: replaces all that this device reported before. Of all devices of the user the
     * newest LIMIT_DEAD_LETTERS stay, of at most LIMIT_DEAD_BYTES of data. */
    int (*dead_replace)(struct store *store, const struct uuid *user, struct slice device_id,
                        const struct store_dead *items, uint32_t n);
    /* All of a user, the newest first. */
    int (*dead_letters)(struct store *store, struct arena *arena, const struct uuid *user,
                        struct store_dead_letters *out);

    int (*policies)(struct store *store, struct arena *arena, struct store_policies *out);
    /* An empty policy removes the pattern. Raises the version. */
    int (*policy_put)(struct store *store, struct slice pattern, struct slice policy);

    /* Removes everything of a user but the user row, which the caller writes (erased), and the
     * account, which account_remove() removes. */
    int (*user_clear)(struct store *store, const struct uuid *user);

    /* Accounts. get and find answer BQ_NOT_FOUND where there is none. put inserts or replaces; that
     * no other account has its email is the caller's to see to. remove takes the sessions along. */
    int (*account_get)(struct store *store, struct arena *arena, const struct uuid *id,
                       struct store_account *out);
    int (*account_find)(struct store *store, struct arena *arena, struct slice email,
                        struct store_account *out);
    int (*account_put)(struct store *store, const struct store_account *account);
    int (*account_remove)(struct store *store, const struct uuid *id);
    /* By id, those above `after` (NULL: from the first); at most max. */
    int (*accounts)(struct store *store, struct arena *arena, const struct uuid *after,
                    uint32_t max, struct store_accounts *out);
    /* Anonymous ones that neither signed in nor were refreshed since before_us; at most max. */
    int (*accounts_unused)(struct store *store, struct arena *arena, int64_t before_us,
                           uint32_t max, struct store_accounts *out);

    /* Sessions. put keeps the LIMIT_SESSIONS of a user that were refreshed last. */
    int (*session_get)(struct store *store, const struct uuid *id, struct store_session *out);
    int (*session_put)(struct store *store, const struct store_session *session);
    int (*session_remove)(struct store *store, const struct uuid *id);
    /* All sessions of a user but one (NULL: all). */
    int (*sessions_remove)(struct store *store, const struct uuid *user,
                           const struct uuid *but);

    /* For those who move a whole store (export, import, rollback, verify). All users (erased ones
     * too) by id, those above `after` (NULL: from the first); at most max. PostgreSQL compares
     * uuids as bytes, which is the order of their texts. */
    int (*users)(struct store *store, struct arena *arena, const struct uuid *after, uint32_t max,
                 struct store_users *out);
    /* All of a user: memories of old clients by key and device (as bytes: COLLATE "C"), v1's
     * devices by last_sync_us falling and then by id, sessions by id. */
    int (*upserts)(struct store *store, struct arena *arena, const struct uuid *user,
                   struct store_upserts *out);
    int (*v1_devices)(struct store *store, struct arena *arena, const struct uuid *user,
                      struct store_v1_devices *out);
    int (*sessions)(struct store *store, struct arena *arena, const struct uuid *user,
                    struct store_sessions *out);

    /* Texts that are kept with the store (rows of user_sync_store, the name behind "note:"): when
     * it was verified, whether an import is unfinished. get of an absent one: SLICE_NONE; put of
     * SLICE_NONE removes it. */
    int (*note_get)(struct store *store, struct arena *arena, struct slice name,
                    struct slice *out);
    int (*note_put)(struct store *store, struct slice name, struct slice value);

    /* What an import brings along: the key of the fingerprints and the version of the policies.
     * Durable when it answers BQ_OK; a transaction of its own, so none may be open. */
    int (*identity_set)(struct store *store, const uint64_t hash_key[2], int64_t policies_version);

    /* Reads what the transaction is going to ask for in as few trips as the store can: a hint, and
     * any verb may be called without it. A writer locks the users. NULL: nothing is to be
     * gained. */
    int (*prefetch)(struct store *store, const struct store_want *wants, size_t n);

    /* The version of the policies as prefetch() found it in this transaction; false: not known.
     * Where several servers share a store one of them may have raised it. NULL: nobody but this
     * process writes. */
    bool (*policies_now)(struct store *store, int64_t *out);

    /* One more writer beside this one, for another thread. Those of one user's batches wait for one
     * another. NULL: there is one alone. */
    int (*writer)(struct store *store, struct store **out);

    /* How often a batch that was answered BQ_BUSY is run again at once; 0: another time will not be
     * better. */
    unsigned n_again;
};

#endif
