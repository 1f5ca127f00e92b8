/* stepped_store.h - a store around another one that stops before each verb, so that others can come
 * in between (interleave.h).
 *
 * It knows the verbs that sync_exchange needs. Several may stand around one writing handle, as the
 * requests of a server share its writer: then begin() waits until the other's transaction has
 * ended. Where the store itself refuses with BQ_BUSY, stepped_store_wait() waits for that too.
 *
 * One with a handle of its own (`is_own`) begins when it likes. A handle that keeps what it writes
 * until the commit, and begins with its first question (`is_lazy`), does not stop before what
 * nobody can see. */
#ifndef TESTS_STEPPED_STORE_H
#define TESTS_STEPPED_STORE_H

#include "interleave.h"
#include "store/store.h"

/* One for all handles of a store. */
struct stepped_lock {
    bool is_writing;
    unsigned n_open; /* transactions now */
    unsigned n_ended;
};

struct stepped_store {
    struct store store; /* to be given to the core */
    struct store *inner;
    struct interleave *interleave;
    struct stepped_lock *lock;
    bool is_reader;
    bool is_own;
    bool is_lazy;
    bool is_open;
    unsigned tried_at; /* n_ended before the last verb */
};

void stepped_store_init(struct stepped_store *stepped, struct store *inner, bool is_reader,
                        struct stepped_lock *lock, struct interleave *interleave);

/* After BQ_BUSY: goes on when another one's transaction has ended since the verb that answered it,
 * or there is none. */
void stepped_store_wait(struct stepped_store *stepped);

#endif
