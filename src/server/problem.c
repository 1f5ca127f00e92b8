/* problem.c - BQ_ codes to HTTP: what is over a limit 413, what cannot be done now 503 with
 * Retry-After, what the request got wrong 400; the code is the SQLSTATE or PostgREST's where
 * there is one, else our own wire word. */
#include "server/problem.h"

#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>

#define TEXT_BYTES 1024u
#define RETRY_AFTER_S 1u

struct row {
    int status;
    unsigned http;
    const char *code; /* NULL: the wire word */
};

static const struct row rows[] = {
    {BQ_NOMEM, 503, "53200"},        {BQ_INVALID, 400, "22023"},
    {BQ_NOT_FOUND, 404, "P0002"},    {BQ_IO, 503, "PGRST001"},
    {BQ_DISK_FULL, 503, "53100"},    {BQ_READ_ONLY, 503, "PGRST001"},
    {BQ_CORRUPT, 500, "XX001"},      {BQ_LOCKED, 503, "PGRST001"},
    {BQ_BUSY, 503, "53300"},         {BQ_CLOSED, 503, "57P01"},
    {BQ_FORBIDDEN, 403, "42501"},    {BQ_USER_ERASED, 403, NULL},
    {BQ_TOO_LARGE, 413, NULL},       {BQ_TOO_MANY_KEYS, 413, NULL},
    {BQ_QUOTA, 413, NULL},           {BQ_TOO_MANY_EDITS, 400, NULL},
    {BQ_BAD_KEY, 400, NULL},         {BQ_OUT_OF_RANGE, 400, NULL},
    {BQ_VERSION_LIMIT, 400, NULL},   {BQ_MALFORMED, 400, NULL},
    {BQ_UNSUPPORTED, 400, NULL},     {BQ_BAD_POLICY, 400, NULL},
    {BQ_TOO_DEEP, 400, NULL},        {BQ_JSON_SYNTAX, 400, NULL},
    {BQ_JSON_UTF8, 400, NULL},       {BQ_JSON_STRING, 400, NULL},
    {BQ_JSON_NUMBER, 400, NULL},     {BQ_JSON_DUPLICATE, 400, NULL},
    {BQ_JSON_DEPTH, 400, NULL},
};

struct problem problem_of(unsigned http, const char *code, const char *message)
{
    return (struct problem){.http = http, .code = code, .message = message};
}

struct problem problem_detailed(unsigned http, const char *code, const char *message,
                                const char *details)
{
    return (struct problem){.http = http, .code = code, .message = message, .details = details};
}

const char *problem_format(struct arena *arena, const char *format, ...)
{
    char text[TEXT_BYTES];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    size_t len = n < 0 ? 0 : (size_t)n;
    if (len >= sizeof text) {
        len = sizeof text - 1;
        while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80) {
            len--; /* not in the middle of a character */
        }
    }
    struct slice copy = arena_copy(arena, (struct slice){text, len});
    return copy.ptr == NULL ? "" : copy.ptr;
}

struct problem problem_of_status(struct arena *arena, int status, const char *message)
{
    struct row row = {status, 500, "XX000"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].status == status) {
            row = rows[i];
        }
    }
    const char *text = message[0] == '\0' ? status_text(status)
                                          : problem_format(arena, "%s", message);
    struct problem problem = problem_of(row.http, row.code == NULL ? status_code(status) : row.code,
                                        text);
    problem.retry_after_s = row.http == 503 ? RETRY_AFTER_S : 0;
    return problem;
}
