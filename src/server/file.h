/* file.h - small files of an operator: read whole, written whole. */
#ifndef SERVER_FILE_H
#define SERVER_FILE_H

#include "base/buf.h"

/* Appends the file's bytes. BQ_OK, BQ_NOMEM, or BQ_INVALID with a sentence that names the file: it
 * is not there, may not be read, is no file, has more than max_bytes. */
int file_read(const char *path, size_t max_bytes, struct buf *out, char *error, size_t error_size);

/* Writes the text to path beside it and renames it there, so that a reader never sees half of it.
 * BQ_OK, or BQ_IO with a sentence. */
int file_write(const char *path, struct slice text, char *error, size_t error_size);

#endif
