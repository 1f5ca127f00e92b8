/* disk.h - the client's SQLite file: one per app, tables keyed by user ('' is the guest).
 *
 * It keeps what the engine says and decides nothing. WAL with synchronous=FULL, set and read back;
 * one connection, in exclusive mode, writes and checkpoints; PATH.lock keeps a second process out.
 * The file and what SQLite puts beside it are readable by their owner alone, and never followed
 * through a symbolic link.
 *
 * Format: disk_schema.c. A *step* of the engine is one transaction: begin, apply, commit.
 *
 * A commit that fails is unknown: the caller calls disk_recover() and loads its engine again.
 *
 * Threads: one at a time; the caller holds its lock.
 *
 * Codes of all: BQ_OK, BQ_NOMEM, BQ_IO, BQ_DISK_FULL, BQ_READ_ONLY, BQ_CORRUPT, BQ_LOCKED. */
#ifndef CLIENT_DISK_H
#define CLIENT_DISK_H

#include "core/engine.h"

#include "base/uuid.h"

#define DISK_USER_TEXT (UUID_TEXT + 1)

struct disk;

/* Opens the file, makes it where it is absent. vfs is for tests; NULL is SQLite's own. Also
 * BQ_NEWER and BQ_INVALID; error takes a sentence. */
int disk_open(const char *path, const char *vfs, struct disk **out, char error[BQ_ERROR_TEXT]);

/* NULL is allowed. */
void disk_close(struct disk *disk);

/* After a failure of the disk: nothing that the old connection says is proof, so it is given up,
 * the file opened anew and the WAL written into it and synced. May be tried again after an
 * error. */
int disk_recover(struct disk *disk);

/* A sentence about the last failure. */
const char *disk_error(const struct disk *disk);

int disk_begin(struct disk *disk);
int disk_commit(struct disk *disk);

/* Nothing happens where no transaction is open. */
void disk_rollback(struct disk *disk);

/* Who is signed in: uuid text, or "". */
int disk_user(struct disk *disk, char out[DISK_USER_TEXT]);

/* In a transaction. */
int disk_set_user(struct disk *disk, const char *user);

/* Whether what the user had unsent was given back to an older app; and, in a transaction, that it
 * was, or is not any more. */
int disk_handed_over(struct disk *disk, const char *user, bool *out);
int disk_hand_over(struct disk *disk, const char *user, bool given);

/* In a transaction: items of an older app come in, which a program of format 1 must not pass by. */
int disk_carries(struct disk *disk);

/* In a transaction: performs the disk actions of a step, in their order. */
int disk_apply(struct disk *disk, const char *user, const struct engine_actions *actions);

/* In a transaction: removes all that the file holds of a user. */
int disk_forget(struct disk *disk, const char *user);

/* Feeds all rows of a user to the engine, in the order that engine.h asks for. Also what
 * engine_load_...() answers. */
int disk_load(struct disk *disk, const char *user, struct engine *engine);

#endif
