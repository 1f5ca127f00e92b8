/* print.h - how a document and its state are told, in one place for get, ls, queue and watch. */
#ifndef CLI_PRINT_H
#define CLI_PRINT_H

#include <stdbool.h>

#include "base/buf.h"
#include "bqsync.h"

/* {"key", "version", "state", "pending", "modified"} and, with_data, "data". */
void print_document(struct buf *out, const struct bq_document *document, bool with_data);

/* "key  version  state" in columns. */
void print_document_row(struct buf *out, const struct bq_document *document);

#endif
