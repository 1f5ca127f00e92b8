/* dump.h - a whole store, or one user, as JSON lines and back (docs/export-format.md).
 *
 * Both directions hold one user at a time. What is written depends on what the store holds and on
 * nothing else, so export, import, export give the same bytes, on either engine. */
#ifndef CLI_DUMP_H
#define CLI_DUMP_H

#include <stdio.h>

#include "cli/progress.h"
#include "store/store.h"

#define DUMP_FORMAT 1

struct dump_counts {
    int64_t n_users;
    int64_t n_documents;
    int64_t n_accounts;
    int64_t n_lines;
};

/* Writes the store, or one user of it (only; NULL: all), in one read transaction of the store.
 * Answers a BQ_ status; BQ_IO with errno set also where the stream fails. */
int dump_write(struct store *store, const struct uuid *only, FILE *stream,
               struct progress *progress, struct dump_counts *counts);

struct dump_reader {
    struct store *store;
    FILE *stream;
    struct progress *progress;
    struct dump_counts counts;
    int64_t line;    /* that is read, from 1 */
    char error[256]; /* a sentence */
};

/* Reads a whole store into an empty one, or goes on with an import that did not come to its end: a
 * user is replaced by what the file says. epoch is the new one. BQ_OK, BQ_INVALID (the store is not
 * empty, the file is none or cut off), BQ_NEWER, or a store's status; reader->error says what and
 * where. */
int dump_read(struct dump_reader *reader, const char *epoch);

#endif
