/* status.c - look-ups in the one table of status codes. */
#include "base/status.h"

#include <string.h>

struct row {
    int status;
    enum status_retry retry;
    const char *code;
    const char *text;
};

static const struct row rows[] = {
#define STATUS_ROW(name, number, class_, retry, code, text) {number, RETRY_##retry, code, text},
    BQ_STATUS_MAP(STATUS_ROW)
#undef STATUS_ROW
};

static const struct row unknown = {1, RETRY_BUG, "unknown", "unknown status code"};

static const struct row *row_of(int status)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].status == status) {
            return &rows[i];
        }
    }
    return &unknown;
}

const char *status_code(int status)
{
    return row_of(status)->code;
}

const char *status_text(int status)
{
    return row_of(status)->text;
}

enum status_retry status_retry(int status)
{
    return row_of(status)->retry;
}

const char *status_retry_word(enum status_retry retry)
{
    switch (retry) {
    case RETRY_NOW:
        return "now";
    case RETRY_LATER:
        return "later";
    case RETRY_NEVER:
        return "never";
    case RETRY_BUG:
        break;
    }
    return "bug";
}

int status_of_code(const char *code, size_t len)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strlen(rows[i].code) == len && memcmp(rows[i].code, code, len) == 0) {
            return rows[i].status;
        }
    }
    return BQ_SERVER;
}
