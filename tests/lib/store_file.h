/* store_file.h - an SQLite store in a scratch folder, and a raw look into its file. */
#ifndef TESTS_STORE_FILE_H
#define TESTS_STORE_FILE_H

#include "scratch.h"

#include "store/store.h"

#define STORE_FILE_TEXT 300

struct store_file {
    struct scratch scratch;
    char path[200];
    char error[STORE_FILE_TEXT]; /* the sentence of the last open */
};

void store_file_init(struct store_file *file);
void store_file_release(struct store_file *file);

/* Opens (and makes) it; vfs NULL is SQLite's own. The status, and a sentence where it failed. */
int store_file_try(struct store_file *file, const char *vfs, struct store **out);

/* The same for operators' tools: nothing is made, locked or written. */
int store_file_try_read_only(struct store_file *file, struct store **out);

/* Opens it; the running case fails where that cannot be done. */
struct store *store_file_open(struct store_file *file);

/* Runs SQL by a connection of its own; the rows as text, "a|b\n" each, in a static buffer. */
const char *store_file_sql(struct store_file *file, const char *sql);

/* The size of path + end; -1 where there is none. */
long store_file_size(const struct store_file *file, const char *end);

/* A checksum of the database file's bytes. */
uint64_t store_file_sum(const struct store_file *file);

/* Overwrites bytes of the database file from an offset on. */
void store_file_scribble(const struct store_file *file, long at, const void *bytes, size_t n);

/* A batch: one transaction that writes data {"b":<number>} to BATCH_KEYS documents of user 0. The
 * first status that is not BQ_OK, after rollback. */
#define STORE_FILE_BATCH_KEYS 5
int store_file_write_batch(struct store *store, int64_t number, size_t padding);

/* The number of the last batch; 0 for none. Fails the case where the documents are of different
 * batches, or an earlier one than the last of the feed. */
int64_t store_file_last_batch(struct store *store);

#endif
