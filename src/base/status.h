/* status.h - what the rest of the code asks about a status code.
 *
 * The codes themselves are rows of BQ_STATUS_MAP in bqsync.h: name, number, error class, retry
 * class, wire word and sentence stand there once, and nowhere else. */
#ifndef BASE_STATUS_H
#define BASE_STATUS_H

#include "bqsync.h"

enum status_retry { RETRY_NOW, RETRY_LATER, RETRY_NEVER, RETRY_BUG };

/* The word for a code on the wire ("too_large"); "unknown" for a number that is none. */
const char *status_code(int status);

/* The sentence for a code. */
const char *status_text(int status);

/* When it makes sense to try again; RETRY_BUG for a number that is none. */
enum status_retry status_retry(int status);

/* "now", "later", "never", "bug". */
const char *status_retry_word(enum status_retry retry);

/* The code for a wire word of len bytes; BQ_SERVER for a word that this version does not know. */
int status_of_code(const char *code, size_t len);

#endif
