/* dump_file.h - an export into a file that is whole or not there. */
#ifndef CLI_DUMP_FILE_H
#define CLI_DUMP_FILE_H

#include "cli/dump.h"

/* Writes the store, or one user (only; NULL: all), into a new file, readable by its owner alone, or
 * to standard output ("-"). CLI_OK, or an exit code after its sentence. */
int dump_file(bool json, struct store *store, const struct uuid *only, const char *path,
              struct dump_counts *counts);

#endif
