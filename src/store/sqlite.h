/* sqlite.h - the embedded store: one SQLite file in WAL mode with synchronous=FULL.
 *
 * One connection writes and checkpoints (SQLite before 3.51.3 can lose commits when two do);
 * readers never checkpoint. A lock file beside the database refuses a second server on the same
 * file. */
#ifndef STORE_SQLITE_H
#define STORE_SQLITE_H

#include "store/store.h"

struct store_sqlite_config {
    size_t size;             /* sizeof(struct store_sqlite_config) */
    const char *path;
    unsigned n_history;      /* kept changes per document */
    bool create;             /* make the file where it is absent */
    bool read_only;          /* operator's tools: no lock, no writes */
    const char *vfs;         /* NULL: SQLite's own; tests give theirs */
    const char *synchronous; /* NULL: FULL. Another value only in tests that must fail */
    void (*random)(void *bytes, size_t n); /* NULL: sqlite3_randomness; seeds epoch and hash key */
};

/* BQ_OK, BQ_LOCKED, BQ_READ_ONLY, BQ_CORRUPT, BQ_NEWER, BQ_IO, BQ_DISK_FULL, BQ_NOT_FOUND,
 * BQ_NOMEM; error (may be NULL) takes a sentence of up to error_size bytes: what, which file, what
 * to do. */
int store_sqlite_open(const struct store_sqlite_config *config, struct store **out, char *error,
                      size_t error_size);

#endif
