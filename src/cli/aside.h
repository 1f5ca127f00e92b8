/* aside.h - the file of rows that were not taken, JSON objects one a line, readable by their owner
 * alone (the rows are users' documents):
 *
 *     {"row": 17, "table": "user_sync_data", "user_id": "..", "key": "..", "code": "malformed",
 *      "reason": "..", "text": ".."}
 *
 * key is there where one document of a row was not taken, text where the row came from a file. */
#ifndef CLI_ASIDE_H
#define CLI_ASIDE_H

#include <stdio.h>

#include "cli/source.h"

struct aside {
    const char *path;
    bool json;
    FILE *stream; /* opened by the first row */
    int64_t n_rows;
    int64_t n_documents;
};

/* Writes a row down; key SLICE_NONE: all of it. CLI_OK, or an exit code after its sentence. */
int aside_put(struct aside *aside, const struct source_row *row, struct slice key, int code,
              const char *reason);

/* Everything on disk. CLI_OK, or an exit code after its sentence. */
int aside_close(struct aside *aside);

#endif
