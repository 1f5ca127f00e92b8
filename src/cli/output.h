/* output.h - what a command says: results on standard output, one sentence of failure on standard
 * error, and the exit code.
 *
 * With --json each result is one JSON value on a line of its own, a failure included:
 *     {"error":{"code":"not_found","message":"..."}}
 */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <stdbool.h>

#include "base/buf.h"
#include "json/json.h"

/* Exit codes of all commands (bqsync(1), "EXIT STATUS"). */
enum cli_exit {
    CLI_OK = 0,
    CLI_PROBLEM = 1,   /* refused, invalid input, or something unexpected */
    CLI_USAGE = 2,     /* the command line itself is wrong */
    CLI_NOT_FOUND = 3, /* no such document, dead letter, folder or user */
    CLI_NETWORK = 4,   /* the server cannot be reached, fails, or is not done in time */
    CLI_AUTH = 5,      /* no token, or one that the server refuses */
    CLI_FILE = 6       /* disk, file, permission, lock */
};

/* The exit code for a BQ_ status. */
int output_exit(int status);

/* Prints "bqsync: <sentence>" and, with json, the error object; answers output_exit(status). The
 * sentence says what, where and what to do, without a full stop. */
int output_fail(bool json, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Prints the buffer and a line end on standard output, and empties it. A failed buffer is memory
 * exhausted. Answers CLI_OK or the exit code of the failure. */
int output_line(bool json, struct buf *line);

/* Flushes standard output: CLI_FILE with a sentence where the disk or pipe took not all of it. */
int output_end(void);

/* Building a JSON object in a buffer: begin, members, end. Commas come by themselves. */
void output_begin(struct buf *out);
void output_text(struct buf *out, const char *name, struct slice value);
void output_int(struct buf *out, const char *name, int64_t value);
void output_bool(struct buf *out, const char *name, bool value);
void output_raw(struct buf *out, const char *name, struct slice json);
void output_value(struct buf *out, const char *name, const struct json_value *value);
void output_close(struct buf *out);

/* "2026-03-05 14:11:38" (UTC) for ms since 1970; "never" for 0. */
void output_time(struct buf *out, int64_t time_ms);

#endif
