/* log.h - one line of JSON per event, handed to a sink; nothing is read from the world here.
 *
 *     {"time":"2026-03-05T14:11:38.123+00:00","level":"info","event":"request","status":200}
 *
 * What stands in a line may come from a peer: values are escaped (controls, quotes, bytes that are
 * not UTF-8) and cut to LOG_VALUE_BYTES, a line ends at LOG_LINE_BYTES. Never hand over a token, a
 * key or a document. A line lives on the stack; the heap is not touched. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_LINE_BYTES 2048u
#define LOG_VALUE_BYTES 400u

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

struct log {
    void (*sink)(void *cls, const char *line, size_t len); /* line ends with \n; any thread */
    void *cls;
    enum log_level level; /* lines above it are not built */
};

struct log_line {
    const struct log *log; /* NULL: the level is off, everything below does nothing */
    bool cut;              /* a member did not fit any more */
    size_t len;
    char text[LOG_LINE_BYTES];
};

/* Starts a line with time, level and event. */
void log_begin(struct log_line *line, const struct log *log, enum log_level level, int64_t time_us,
               const char *event);

/* Adds a member; name is ours and printed as it is. */
void log_add_text(struct log_line *line, const char *name, struct slice value);
void log_add_int(struct log_line *line, const char *name, int64_t value);

/* Microseconds as milliseconds with three decimals; us >= 0. */
void log_add_ms(struct log_line *line, const char *name, int64_t us);

/* Ends the line and gives it to the sink. */
void log_end(struct log_line *line);

/* "error", "warn", "info", "debug" to a level; false for another word. */
bool log_level_parse(struct slice word, enum log_level *out);

#endif
