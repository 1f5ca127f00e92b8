/* storage.h - the open store of a server: one writer or several, a pool of readers, the policies of
 * the moment.
 *
 * Each writer belongs to one thread of the committer. Readers are lent to HTTP threads for one read
 * each. After an I/O error nothing that the store says can be trusted (a failed fsync may have
 * dropped pages that later reads still show), and nothing that a handle says that met a damaged
 * page: the store is unusable until storage_reopen() has closed and opened it again, which checks
 * it, and every call answers BQ_IO meanwhile. A reader that met damage is replaced. */
#ifndef SERVER_STORAGE_H
#define SERVER_STORAGE_H

#include "base/log.h"
#include "core/op.h"

struct storage_config {
    size_t size; /* sizeof(struct storage_config) */
    /* Opens the store; as store_open(). Called again after an I/O error. */
    int (*open)(void *cls, struct store **out, char *error, size_t error_size);
    void *cls;
    unsigned n_readers; /* at least 1 */
    unsigned n_writers; /* at least 1; how many there are is the store's to say */
    struct limits limits;
    const struct log *log; /* hears of policies that cannot be read; NULL: nobody does */
};

struct storage;

/* What open() answers, BQ_NOMEM, or what reading the policies answers; error takes a sentence. */
int storage_open(const struct storage_config *config, struct storage **out, char *error,
                 size_t error_size);

/* Closes all handles, which checkpoints. No other thread may use it any more. */
void storage_close(struct storage *storage);

/* Any thread. False between an I/O error (or damage) and the reopening. */
bool storage_usable(struct storage *storage);

/* Any thread. Runs an op for which op_only_reads() holds. BQ_OK (the op has a status of its own) or
 * why the store did not answer. */
int storage_read(struct storage *storage, struct op *op, int64_t now_us);

/* Any thread. Calls look() inside a read transaction; BQ_OK, or what look() or the store
 * answers. */
int storage_look(struct storage *storage, int (*look)(void *cls, struct store *store), void *cls);

/* As many as were opened. */
unsigned storage_writers(const struct storage *storage);

/* The thread of this writer, from 0. One transaction; as apply_batch(). What the store refused for
 * the sake of another server's transaction is run again. */
int storage_write(struct storage *storage, unsigned writer, struct op *const *ops, size_t n,
                  int64_t now_us);

/* A committer's thread; does nothing where another one did it meanwhile. BQ_OK: usable again; else
 * a sentence, and it may be tried again. */
int storage_reopen(struct storage *storage, char *error, size_t error_size);

#endif
