/* input.h - where a command's text comes from: an argument, a file, standard input; and small files
 * that are replaced as a whole. */
#ifndef CLI_INPUT_H
#define CLI_INPUT_H

#include <stdbool.h>

#include "base/buf.h"
#include "json/json.h"

/* Of one document, policy or configuration file. */
#define INPUT_MAX_BYTES (64u << 20)

/* Appends the file's bytes; "-" is standard input. BQ_OK, or a status after its sentence was
 * printed (BQ_NOT_FOUND, BQ_IO, BQ_TOO_LARGE, BQ_NOMEM). */
int input_file(bool json, const char *path, struct buf *out);

/* "@PATH" and "-" are read from there, anything else is the text itself. */
int input_argument(bool json, const char *argument, struct buf *out);

/* Parses text, which must outlive *out; what names it in the sentence ("the policy"). */
int input_json(bool json, struct arena *arena, const char *what, struct slice text,
               struct json_value *out);

/* input_argument() and input_json() at once; the text lives in the arena. */
int input_json_argument(bool json, struct arena *arena, const char *what, const char *argument,
                        struct json_value *out);

/* PEM certificates to trust instead of the system's: $SSL_CERT_FILE, as with curl; or NULL. */
const char *input_ca_file(void);

/* Puts text into the file, mode 0600, in one step: a crash leaves the old or the new file. */
int input_replace_file(bool json, const char *path, struct slice text);

/* Reads lines of any length. *line is without its line end and lives in `hold` until the next call.
 * False at the end of the stream. */
struct input_lines {
    void *stream; /* FILE */
    struct buf hold;
};

bool input_next_line(struct input_lines *lines, struct slice *line);

#endif
