/* sqlite_backup.h - a copy of a store's file while a server uses it, and the way back.
 *
 * Both copy by SQLite's online backup from one read transaction, so a copy is the store at one
 * moment, and both check what they wrote: every page, every index, the number of rows of each
 * table, the epoch. A copy appears under its name when it is whole and synced, or not at all. */
#ifndef STORE_SQLITE_BACKUP_H
#define STORE_SQLITE_BACKUP_H

#include "base/slice.h"

#include <stddef.h>
#include <stdint.h>

#define STORE_BACKUP_PATH 1024

/* What was copied. */
struct store_backup {
    int64_t schema;      /* user_version */
    int64_t n_users;     /* rows of user_sync_feed */
    int64_t n_documents; /* that are not deleted */
    int64_t n_bytes;     /* of the file */
    char epoch[33];
    char aside[STORE_BACKUP_PATH]; /* restore: where the old file is; "" there was none */
};

/* Copies the store at path, which a server may be writing, to dest, which must not exist. Writers
 * go on; the -wal cannot be reset meanwhile and may grow. BQ_OK, BQ_INVALID (dest exists),
 * BQ_NOT_FOUND, BQ_CORRUPT, BQ_NEWER, BQ_DISK_FULL, BQ_READ_ONLY, BQ_IO, BQ_NOMEM; error takes a
 * sentence. */
int store_sqlite_backup(const char *path, const char *dest, struct store_backup *out, char *error,
                        size_t error_size);

/* Puts a copy of the backup in the place of the store at path, under the new epoch. No server may
 * use path: BQ_LOCKED. The old file (and what of it is in its -wal) is kept beside it under
 * out->aside, path.before-<word>: word names this restore, as no other did. At each moment there is
 * a whole file at path, so that nothing that starts meanwhile begins with an empty store. */
int store_sqlite_restore(const char *backup, const char *path, struct slice epoch, const char *word,
                         struct store_backup *out, char *error, size_t error_size);

#endif
