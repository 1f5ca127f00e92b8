/* stepped_store.c - see stepped_store.h. */
#include "stepped_store.h"

#include "base/status.h"

static struct stepped_store *of(struct store *store)
{
    return (struct stepped_store *)store;
}

/* Before a verb that may be refused. What ends from now on is worth another try. */
static struct store *step(struct store *store)
{
    struct stepped_store *stepped = of(store);
    interleave_pause(stepped->interleave, NULL, NULL);
    stepped->tried_at = stepped->lock->n_ended;
    return stepped->inner;
}

/* Before a verb that writes. */
static struct store *write_step(struct store *store)
{
    return of(store)->is_lazy ? of(store)->inner : step(store);
}

/* Before the end of a transaction. */
static struct store *last_step(struct store *store)
{
    interleave_pause(of(store)->interleave, NULL, NULL);
    return of(store)->inner;
}

/* ---- Transactions ---- */

static bool may_begin(void *cls)
{
    const struct stepped_store *stepped = cls;
    return stepped->is_reader || stepped->is_own || !stepped->lock->is_writing;
}

static int begin(struct store *store)
{
    struct stepped_store *stepped = of(store);
    if (!stepped->is_lazy) {
        interleave_pause(stepped->interleave, may_begin, stepped);
    }
    stepped->tried_at = stepped->lock->n_ended;
    int status = stepped->inner->begin(stepped->inner);
    if (status == BQ_OK) {
        stepped->is_open = true;
        stepped->lock->is_writing |= !stepped->is_reader;
        stepped->lock->n_open++;
    }
    return status;
}

static void end(struct stepped_store *stepped)
{
    if (!stepped->is_open) {
        return;
    }
    stepped->is_open = false;
    stepped->lock->n_ended++;
    stepped->tried_at++; /* nobody waits for his own end */
    stepped->lock->n_open--;
    if (!stepped->is_reader) {
        stepped->lock->is_writing = false;
    }
}

static bool somebody_ended(void *cls)
{
    const struct stepped_store *stepped = cls;
    return stepped->lock->n_ended != stepped->tried_at || stepped->lock->n_open == 0;
}

void stepped_store_wait(struct stepped_store *stepped)
{
    interleave_pause(stepped->interleave, somebody_ended, stepped);
}

static int commit(struct store *store)
{
    struct store *inner = last_step(store);
    int status = inner->commit(inner);
    end(of(store));
    return status;
}

static void rollback(struct store *store)
{
    struct store *inner = last_step(store);
    inner->rollback(inner);
    end(of(store));
}

/* ---- What is no step: it reads nothing that changes ---- */

static struct slice epoch(struct store *store)
{
    struct store *inner = of(store)->inner;
    return inner->epoch(inner);
}

static void hash_key(struct store *store, uint64_t out[2])
{
    struct store *inner = of(store)->inner;
    inner->hash_key(inner, out);
}

/* ---- Verbs ---- */

static int user_get(struct store *store, const struct uuid *id, struct store_user *out)
{
    struct store *inner = step(store);
    return inner->user_get(inner, id, out);
}

static int user_put(struct store *store, const struct store_user *user)
{
    struct store *inner = write_step(store);
    return inner->user_put(inner, user);
}

static int doc_get(struct store *store, struct arena *arena, const struct uuid *user,
                   struct slice key, struct store_doc *out)
{
    struct store *inner = step(store);
    return inner->doc_get(inner, arena, user, key, out);
}

static int doc_put(struct store *store, const struct uuid *user, const struct store_doc *doc)
{
    struct store *inner = write_step(store);
    return inner->doc_put(inner, user, doc);
}

static int docs(struct store *store, struct arena *arena, const struct uuid *user, int64_t after,
                uint32_t max_rows, size_t max_bytes, bool with_deleted, struct store_docs *out)
{
    struct store *inner = step(store);
    return inner->docs(inner, arena, user, after, max_rows, max_bytes, with_deleted, out);
}

static int tombstone_drop(struct store *store, const struct uuid *user, int64_t *out_seq)
{
    struct store *inner = step(store);
    return inner->tombstone_drop(inner, user, out_seq);
}

static int history_add(struct store *store, const struct uuid *user, struct slice key,
                       const struct store_history *entry, int64_t *out_id)
{
    struct store *inner = write_step(store);
    return inner->history_add(inner, user, key, entry, out_id);
}

static int upserts_forget(struct store *store, const struct uuid *user, struct slice key)
{
    struct store *inner = step(store);
    return inner->upserts_forget(inner, user, key);
}

void stepped_store_init(struct stepped_store *stepped, struct store *inner, bool is_reader,
                        struct stepped_lock *lock, struct interleave *interleave)
{
    *stepped = (struct stepped_store){.store = {.begin = begin,
                                                .commit = commit,
                                                .rollback = rollback,
                                                .epoch = epoch,
                                                .hash_key = hash_key,
                                                .user_get = user_get,
                                                .user_put = user_put,
                                                .doc_get = doc_get,
                                                .doc_put = doc_put,
                                                .docs = docs,
                                                .tombstone_drop = tombstone_drop,
                                                .history_add = history_add,
                                                .upserts_forget = upserts_forget},
                                      .inner = inner,
                                      .interleave = interleave,
                                      .lock = lock,
                                      .is_reader = is_reader};
}
