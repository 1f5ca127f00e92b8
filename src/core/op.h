/* op.h - a call that reaches the store, and apply_batch, which runs many in one transaction.
 *
 * The path of an edit: the HTTP thread reads and checks the request into a struct op; the committer
 * collects ops and hands them to apply_batch(); when that answers BQ_OK the batch is durable, and
 * only then the answers leave. Results are built in the op's own arena and printed by the thread
 * that owns the request.
 *
 * Pure: the store is a table of verbs, the time is an argument. */
#ifndef CORE_OP_H
#define CORE_OP_H

#include "core/account.h"
#include "core/seed.h"
#include "proto/exchange.h"
#include "proto/rpc.h"
#include "store/store.h"

enum op_kind {
    OP_EXCHANGE,       /* sync_exchange */
    OP_REPORT,         /* sync_report */
    OP_POLICIES,       /* sync_policies: read */
    OP_UPSERT,         /* atomic_sync_upsert */
    OP_USER_DATA,      /* get_user_sync_data: read */
    OP_USER_STATUS,    /* get_user_sync_status: read */
    OP_METADATA,       /* update_sync_metadata */
    OP_DELETE_ALL,     /* delete_user_sync_data */
    OP_V1_SYNC,        /* atomic_sync_data */
    OP_V1_ADD_DEVICE,  /* atomic_add_device */
    OP_V1_REMOVE_DEVICE, /* atomic_remove_device */
    OP_MIGRATE,          /* migrate_sync_data_v1_to_v2: v1's rows are computed, nothing is due */
    OP_POLICY_SET,     /* an operator's: pattern and policy */
    OP_USER_ERASE,     /* an operator's */
    OP_ACCOUNT,        /* sign-up, sign-in, sessions (core/account.h) */
    OP_TABLE,          /* the rows of a table: read */
    OP_V1_WRITE,       /* the v1 row as a row of its table */
    OP_SEED            /* what an older system kept (core/seed.h) */
};

enum op_rows { OP_ROWS_DOCUMENTS, OP_ROWS_DEVICES, OP_ROWS_FEED, OP_ROWS_DEAD };

/* What one user has in a table. */
struct op_user_rows {
    struct store_user user;
    struct store_docs docs; /* OP_ROWS_DOCUMENTS: by seq */
    struct store_devices devices;
    struct store_dead_letters dead;
};

enum op_v1_verb {
    OP_V1_INSERT, /* only where there is none */
    OP_V1_IGNORE, /* the same, and no error where there is one */
    OP_V1_MERGE,  /* upsert */
    OP_V1_UPDATE, /* the row that is there, where `matches` says so */
    OP_V1_DELETE  /* the same: all documents are deleted */
};

/* A document that an op changed, as it stands now: for those who listen. Its texts live in the
 * request, or in the op's arena. */
struct op_change {
    struct op_change *next; /* the op's later ones */
    struct store_doc row;
    bool inserted;          /* nobody saw a document there before */
};

struct op {
    enum op_kind kind;
    struct uuid user;
    struct arena *arena;
    union {
        struct proto_exchange exchange;
        struct proto_report report;
        struct proto_upsert upsert;
        struct proto_metadata metadata;
        struct {
            struct json_value data; /* {"<key>": {"value": ..., "timestamp": ...}, ...} */
        } v1_sync;
        struct {
            enum op_rows rows;
            bool tombstones;          /* of documents: these too */
            struct slice key;         /* of documents: this one alone; absent: all */
            const struct uuid *users; /* op->user alone where there are none; erased ones of
                                         several have no rows */
            uint32_t n_users;
        } table;
        struct {
            enum op_v1_verb verb;
            struct json_value data; /* as v1_sync; absent: the keys stay as they are */
            bool wants_row;
            /* Whether the row that is there is meant. Runs with the op, in memory alone. NULL: it
             * is. */
            int (*matches)(const void *cls, const struct op *op, const struct op_user_rows *row,
                           bool *out);
            const void *cls;
        } v1_write;
        struct {
            struct slice device_id, name, type;
        } v1_device;
        struct {
            struct slice pattern;
            struct json_value policy; /* absent: remove */
        } policy_set;
        struct account_call account;
        struct seed_call seed;
    } in;
    union {
        struct proto_answer answer;     /* OP_EXCHANGE */
        struct proto_upserted upserted; /* OP_UPSERT */
        struct {
            struct proto_row *items;
            uint32_t n;
        } rows; /* OP_USER_DATA */
        struct {
            struct proto_device *items;
            uint32_t n;
        } devices;   /* OP_USER_STATUS */
        struct json_value policies; /* OP_POLICIES: {"version": n, "policies": {pattern: policy}} */
        bool done;   /* the boolean calls of v1 */
        struct {
            struct op_user_rows *users; /* as many as were asked for */
            uint32_t n_users;
        } table; /* OP_TABLE */
        struct {
            bool existed;            /* the user had documents before */
            bool applied;            /* the row was there to be written, or could be made */
            int refused;             /* why some key was refused, with a sentence in op->message:
                                        the other ones are kept */
            struct op_user_rows row; /* where it was wanted: as it is now (OP_V1_DELETE: was) */
        } v1_write; /* OP_V1_WRITE */
        struct account_result account; /* OP_ACCOUNT */
        struct {
            struct seed_result *results; /* as many as there are rows */
        } seed; /* OP_SEED */
    } out;
    size_t user_bytes;       /* of all documents of this user; 0: as the limits say */
    bool may_write;          /* set by apply_batch and apply_read, not by the caller */
    int status;              /* BQ_OK, or why this op alone was refused; nothing of it is kept */
    char message[160];       /* the sentence for a refusal, NUL-terminated; may be empty */
    bool wrote;              /* the user's feed moved: tell the hub */
    int64_t seq;             /* its end now */
    struct op_change *changes; /* in their order */
    struct op_change *last_change;
    struct store_device *device; /* the row of user_sync_metadata that it wrote, or NULL */
    bool device_inserted;
};

/* The end of the user's feed before an op that was committed; its end now, where no change
 * tells. */
static inline int64_t op_seq_before(const struct op *op)
{
    int64_t before = op->seq;
    for (const struct op_change *change = op->changes; change != NULL; change = change->next) {
        before = change->row.seq <= before ? change->row.seq - 1 : before;
    }
    return before;
}

/* What all ops of a server share; read-only while a batch runs. */
struct op_context {
    struct store *store;
    const struct merge_policies *policies;
    int64_t policies_version;
    struct limits limits;
    int64_t now_us; /* the server's clock at the start of the batch */
};

/* Whether a kind (with these parameters) only reads: then any reader handle may run it. */
bool op_only_reads(const struct op *op);

/* Runs the ops in order in one transaction of context->store and commits it. BQ_OK: committed and
 * durable; each op's own status tells whether it was refused. Anything else: nothing of any op is
 * kept, no answer may leave, every op may be run again. BQ_NEWER: the policies of the context are
 * not the store's any more; read them anew and run it again. */
int apply_batch(struct op_context *context, struct op *const *ops, size_t n);

/* Runs one op for which op_only_reads() holds, on any handle, in a read transaction. BQ_NEWER: as
 * above.
 * BQ_READ_ONLY: it has to write after all (a pull that shows a loss of the store); hand it to
 * apply_batch(). */
int apply_read(struct op_context *context, struct op *op);

/* The policies of a store. One that cannot be read is passed over: its pattern falls back to the
 * shipped one, or to the next shorter pattern. */
struct op_policies {
    const struct merge_policies *policies;
    int64_t version;
    uint32_t n_unreadable;
    struct slice unreadable; /* the first such pattern */
};

/* Reads the policies of a store into arena: the shipped ones where a pattern is not overridden. In
 * a transaction of its own. */
int op_read_policies(struct store *store, struct arena *arena, struct op_policies *out);
int op_load_policies(struct store *store, struct arena *arena,
                     const struct merge_policies **out, int64_t *out_version);

#endif
