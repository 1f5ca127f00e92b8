/* log.c - a member is written whole or not at all: on overflow the line goes back to where the
 * member began, and LOG_TAIL_BYTES are always left for the end. */
#include "base/log.h"

#include "base/timestamp.h"
#include "base/utf8.h"

#include <inttypes.h>
#include <stdio.h>

#define LOG_TAIL_BYTES 16u

static const char *const level_words[] = {"error", "warn", "info", "debug"};

static bool add(struct log_line *line, const char *text, size_t len)
{
    if (len > LOG_LINE_BYTES - LOG_TAIL_BYTES - line->len) {
        line->cut = true;
        return false;
    }
    memcpy(line->text + line->len, text, len);
    line->len += len;
    return true;
}

static bool add_text(struct log_line *line, const char *text)
{
    return add(line, text, strlen(text));
}

static bool add_escape(struct log_line *line, unsigned char c)
{
    static const char digits[] = "0123456789abcdef";
    const char text[] = {'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15]};
    return add(line, text, sizeof text);
}

/* One character of value at its beginning; *out_n is the bytes that it took. */
static bool add_character(struct log_line *line, struct slice value, size_t *out_n)
{
    unsigned char c = (unsigned char)value.ptr[0];
    *out_n = 1;
    if (c == '"' || c == '\\') {
        const char text[] = {'\\', (char)c};
        return add(line, text, sizeof text);
    }
    if (c < 0x20 || c == 0x7f) {
        return add_escape(line, c);
    }
    size_t n = utf8_length(value);
    if (n == 0) {
        return add_text(line, "\\ufffd");
    }
    *out_n = n;
    return add(line, value.ptr, n);
}

static bool add_string(struct log_line *line, struct slice value)
{
    bool cut = value.len > LOG_VALUE_BYTES;
    size_t len = cut ? LOG_VALUE_BYTES : value.len;
    if (!add_text(line, "\"")) {
        return false;
    }
    for (size_t i = 0; i < len;) {
        size_t n;
        if (!add_character(line, (struct slice){value.ptr + i, value.len - i}, &n)) {
            return false;
        }
        i += n;
    }
    return add_text(line, cut ? "...\"" : "\"");
}

static bool add_name(struct log_line *line, const char *name)
{
    return add_text(line, ",\"") && add_text(line, name) && add_text(line, "\":");
}

void log_begin(struct log_line *line, const struct log *log, enum log_level level, int64_t time_us,
               const char *event)
{
    line->log = log != NULL && log->sink != NULL && level <= log->level ? log : NULL;
    line->cut = false;
    line->len = 0;
    if (line->log == NULL) {
        return;
    }
    char time[TIMESTAMP_TEXT];
    size_t time_len = timestamp_print_ms(time_us, time);
    add_text(line, "{\"time\":\"");
    add(line, time, time_len);
    add_text(line, "\",\"level\":\"");
    add_text(line, level_words[level]);
    add_text(line, "\"");
    log_add_text(line, "event", slice_of(event));
}

void log_add_text(struct log_line *line, const char *name, struct slice value)
{
    size_t before = line->len;
    if (line->log != NULL && !(add_name(line, name) && add_string(line, value))) {
        line->len = before;
    }
}

void log_add_int(struct log_line *line, const char *name, int64_t value)
{
    size_t before = line->len;
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%" PRId64, value);
    if (line->log != NULL && !(add_name(line, name) && add(line, digits, (size_t)n))) {
        line->len = before;
    }
}

void log_add_ms(struct log_line *line, const char *name, int64_t us)
{
    size_t before = line->len;
    char digits[32];
    int n = snprintf(digits, sizeof digits, "%" PRId64 ".%03d", us / 1000, (int)(us % 1000));
    if (line->log != NULL && !(add_name(line, name) && add(line, digits, (size_t)n))) {
        line->len = before;
    }
}

void log_end(struct log_line *line)
{
    if (line->log == NULL) {
        return;
    }
    const char *tail = line->cut ? ",\"cut\":true}\n" : "}\n";
    memcpy(line->text + line->len, tail, strlen(tail));
    line->len += strlen(tail);
    line->log->sink(line->log->cls, line->text, line->len);
    line->log = NULL;
}

bool log_level_parse(struct slice word, enum log_level *out)
{
    for (size_t i = 0; i < sizeof level_words / sizeof level_words[0]; i++) {
        if (slice_is(word, level_words[i])) {
            *out = (enum log_level)i;
            return true;
        }
    }
    return false;
}
