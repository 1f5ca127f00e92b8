/* storage.c - the gate is a read-write lock: reads and writes hold it shared; reopening and new
 * policies hold it alone, so neither happens under anybody's feet. */
#include "server/storage.h"

#include "base/mem.h"
#include "base/status.h"
#include "server/clock.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

struct storage {
    struct storage_config config;
    pthread_rwlock_t gate;
    struct store **writers; /* n_writers of them; the first is NULL: closed after an I/O error */
    unsigned n_writers;
    unsigned n_again; /* how often a batch that was refused for another is run again */
    struct arena policies_arena;
    const struct merge_policies *policies;
    int64_t policies_version;
    _Atomic bool usable;
    pthread_mutex_t lock;   /* of the pool below */
    pthread_cond_t given_back;
    struct store **readers; /* the idle ones, n_idle of them */
    unsigned n_idle;
    unsigned n_open;
};

static void log_unreadable(const struct log *log, const struct op_policies *read)
{
    struct log_line line;
    log_begin(&line, log, LOG_LEVEL_ERROR, clock_wall_us(), "policy_unreadable");
    log_add_text(&line, "pattern", read->unreadable);
    log_add_int(&line, "patterns", read->n_unreadable);
    log_add_text(&line, "message",
                 SLICE("passed over as if it were not set; set it anew with bqsync policy set"));
    log_end(&line);
}

/* Reads the policies into a fresh arena; the old ones stay on an error. The gate is held alone, or
 * nobody else is there yet. */
static int load_policies(struct storage *storage)
{
    struct arena arena;
    struct op_policies read;
    arena_init(&arena);
    int status = op_read_policies(storage->writers[0], &arena, &read);
    if (status != BQ_OK) {
        arena_release(&arena);
        return status;
    }
    if (read.n_unreadable > 0 && storage->config.log != NULL) {
        log_unreadable(storage->config.log, &read);
    }
    arena_release(&storage->policies_arena);
    storage->policies_arena = arena;
    storage->policies = read.policies;
    storage->policies_version = read.version;
    return BQ_OK;
}

static void close_handles(struct storage *storage)
{
    for (unsigned i = 0; i < storage->n_open; i++) {
        storage->readers[i]->close(storage->readers[i]);
    }
    storage->n_open = 0;
    storage->n_idle = 0;
    while (storage->n_writers > 0) {
        struct store *writer = storage->writers[--storage->n_writers];
        writer->close(writer);
    }
}

/* The first one by what the configuration says, the others by its leave. */
static int open_writers(struct storage *storage, char *error, size_t error_size)
{
    struct storage_config *config = &storage->config;
    struct store **writers = storage->writers;
    int status = config->open(config->cls, &writers[0], error, error_size);
    if (status != BQ_OK) {
        return status;
    }
    storage->n_writers = 1;
    snprintf(error, error_size, "the store cannot be opened more than once");
    while (status == BQ_OK && writers[0]->writer != NULL &&
           storage->n_writers < config->n_writers) {
        status = writers[0]->writer(writers[0], &writers[storage->n_writers]);
        storage->n_writers += status == BQ_OK;
    }
    return status;
}

/* Half a store would be taken for a whole one, and what it lacks for deleted. */
static int check_import(struct store *store, char *error, size_t error_size)
{
    struct arena arena;
    struct slice note = SLICE_NONE;
    arena_init(&arena);
    int status = store->begin(store);
    if (status == BQ_OK) {
        status = store->note_get(store, &arena, STORE_NOTE_IMPORT, &note);
        store->rollback(store);
    }
    arena_release(&arena);
    if (status == BQ_OK && note.ptr != NULL) {
        snprintf(error, error_size,
                 "an import into the store did not come to its end; run bqsync import again");
        return BQ_INVALID;
    }
    if (status != BQ_OK) {
        snprintf(error, error_size, "the store cannot be read: %s", status_text(status));
    }
    return status;
}

static int open_handles(struct storage *storage, char *error, size_t error_size)
{
    struct storage_config *config = &storage->config;
    int status = open_writers(storage, error, error_size);
    if (status != BQ_OK) {
        close_handles(storage);
        return status;
    }
    struct store *writer = storage->writers[0];
    status = check_import(writer, error, error_size);
    if (status != BQ_OK) {
        close_handles(storage);
        return status;
    }
    while (status == BQ_OK && storage->n_open < config->n_readers) {
        status = writer->reader(writer, &storage->readers[storage->n_open]);
        storage->n_open += status == BQ_OK;
    }
    if (status == BQ_OK) {
        status = load_policies(storage);
    }
    if (status != BQ_OK) {
        snprintf(error, error_size, "the store cannot be read: %s", status_text(status));
        close_handles(storage);
        return status;
    }
    storage->n_idle = storage->n_open;
    storage->n_again = writer->n_again;
    atomic_store(&storage->usable, true);
    return BQ_OK;
}

/* A thread that wants the gate alone must not wait behind an endless row of readers. */
static void init_gate(pthread_rwlock_t *gate)
{
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(gate, &attributes);
    pthread_rwlockattr_destroy(&attributes);
}

int storage_open(const struct storage_config *config, struct storage **out, char *error,
                 size_t error_size)
{
    struct storage *storage = mem_zalloc(1, sizeof *storage);
    if (storage == NULL) {
        return BQ_NOMEM;
    }
    storage->config = *config;
    arena_init(&storage->policies_arena);
    init_gate(&storage->gate);
    pthread_mutex_init(&storage->lock, NULL);
    pthread_cond_init(&storage->given_back, NULL);
    storage->readers = mem_zalloc(config->n_readers, sizeof(struct store *));
    storage->writers = mem_zalloc(config->n_writers, sizeof(struct store *));
    int status = storage->readers == NULL || storage->writers == NULL
                     ? BQ_NOMEM
                     : open_handles(storage, error, error_size);
    if (status != BQ_OK) {
        storage_close(storage);
        return status;
    }
    *out = storage;
    return BQ_OK;
}

void storage_close(struct storage *storage)
{
    if (storage == NULL) {
        return;
    }
    if (storage->readers != NULL && storage->writers != NULL) {
        close_handles(storage);
    }
    arena_release(&storage->policies_arena);
    pthread_rwlock_destroy(&storage->gate);
    pthread_mutex_destroy(&storage->lock);
    pthread_cond_destroy(&storage->given_back);
    mem_free(storage->readers);
    mem_free(storage->writers);
    mem_free(storage);
}

bool storage_usable(struct storage *storage)
{
    return atomic_load(&storage->usable);
}

static struct store *borrow_reader(struct storage *storage)
{
    pthread_mutex_lock(&storage->lock);
    while (storage->n_idle == 0) {
        pthread_cond_wait(&storage->given_back, &storage->lock);
    }
    struct store *reader = storage->readers[--storage->n_idle];
    pthread_mutex_unlock(&storage->lock);
    return reader;
}

static void give_back(struct storage *storage, struct store *reader)
{
    pthread_mutex_lock(&storage->lock);
    storage->readers[storage->n_idle++] = reader;
    pthread_cond_signal(&storage->given_back);
    pthread_mutex_unlock(&storage->lock);
}

/* Whether a handle will do nothing more until the file is opened anew. */
static bool is_poisoned(struct store *store)
{
    if (store->begin(store) != BQ_OK) {
        return true;
    }
    store->rollback(store);
    return false;
}

/* A poisoned reader leaves the pool for a new one. Where none can be opened, the store is as good
 * as gone: it goes back to be closed by the reopening. */
static struct store *renew_reader(struct storage *storage, struct store *reader)
{
    struct store *fresh;
    if (storage->writers[0]->reader(storage->writers[0], &fresh) != BQ_OK) {
        atomic_store(&storage->usable, false);
        return reader;
    }
    reader->close(reader);
    return fresh;
}

static struct op_context context_of(const struct storage *storage, struct store *store,
                                    int64_t now_us)
{
    return (struct op_context){store, storage->policies, storage->policies_version,
                               storage->config.limits, now_us};
}

struct read_op {
    const struct storage *storage;
    struct op *op;
    int64_t now_us;
};

static int read_op(void *cls, struct store *store)
{
    struct read_op *read = cls;
    struct op_context context = context_of(read->storage, store, read->now_us);
    return apply_read(&context, read->op);
}

/* Lends a reader to use(). */
static int lend(struct storage *storage, int (*use)(void *cls, struct store *store), void *cls)
{
    int status = BQ_IO;
    pthread_rwlock_rdlock(&storage->gate);
    if (storage_usable(storage)) {
        struct store *reader = borrow_reader(storage);
        status = use(cls, reader);
        if ((status == BQ_CORRUPT || status == BQ_IO) && is_poisoned(reader)) {
            reader = renew_reader(storage, reader);
        }
        give_back(storage, reader);
    }
    pthread_rwlock_unlock(&storage->gate);
    return status;
}

/* Another server of the same store set policies. */
static int renew_policies(struct storage *storage)
{
    int status = BQ_IO;
    pthread_rwlock_wrlock(&storage->gate);
    if (storage_usable(storage)) {
        status = load_policies(storage);
    }
    pthread_rwlock_unlock(&storage->gate);
    return status;
}

int storage_read(struct storage *storage, struct op *op, int64_t now_us)
{
    struct read_op read = {storage, op, now_us};
    int status = lend(storage, read_op, &read);
    if (status == BQ_NEWER && renew_policies(storage) == BQ_OK) {
        status = lend(storage, read_op, &read);
    }
    return status == BQ_NEWER ? BQ_BUSY : status;
}

struct look {
    int (*look)(void *cls, struct store *store);
    void *cls;
};

static int look_at(void *cls, struct store *store)
{
    const struct look *look = cls;
    int status = store->begin(store);
    if (status == BQ_OK) {
        status = look->look(look->cls, store);
        store->rollback(store);
    }
    return status;
}

int storage_look(struct storage *storage, int (*look)(void *cls, struct store *store), void *cls)
{
    struct look how = {look, cls};
    return lend(storage, look_at, &how);
}

static bool sets_policy(struct op *const *ops, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (ops[i]->kind == OP_POLICY_SET && ops[i]->status == BQ_OK) {
            return true;
        }
    }
    return false;
}

unsigned storage_writers(const struct storage *storage)
{
    return storage->n_writers;
}

/* One transaction, under the gate: reopening waits for it. */
static int write_once(struct storage *storage, unsigned writer, struct op *const *ops, size_t n,
                      int64_t now_us)
{
    int status = BQ_IO;
    pthread_rwlock_rdlock(&storage->gate);
    if (storage_usable(storage)) {
        struct store *store = storage->writers[writer];
        struct op_context context = context_of(storage, store, now_us);
        status = apply_batch(&context, ops, n);
        if (status == BQ_IO || (status == BQ_CORRUPT && is_poisoned(store))) {
            atomic_store(&storage->usable, false);
        }
    }
    pthread_rwlock_unlock(&storage->gate);
    return status;
}

int storage_write(struct storage *storage, unsigned writer, struct op *const *ops, size_t n,
                  int64_t now_us)
{
    unsigned again = storage->n_again;
    int status = write_once(storage, writer, ops, n, now_us);
    while ((status == BQ_BUSY || status == BQ_NEWER) && again > 0) {
        again--;
        if (status == BQ_NEWER && renew_policies(storage) != BQ_OK) {
            break;
        }
        status = write_once(storage, writer, ops, n, now_us);
    }
    if (status == BQ_OK && sets_policy(ops, n) && renew_policies(storage) != BQ_OK) {
        /* Committed already: where the new policies cannot be read, the store is as good as
         * gone. */
        atomic_store(&storage->usable, false);
    }
    return status == BQ_NEWER ? BQ_BUSY : status;
}

int storage_reopen(struct storage *storage, char *error, size_t error_size)
{
    int status = BQ_OK;
    pthread_rwlock_wrlock(&storage->gate);
    if (!storage_usable(storage)) {
        close_handles(storage);
        status = open_handles(storage, error, error_size);
    }
    pthread_rwlock_unlock(&storage->gate);
    return status;
}
