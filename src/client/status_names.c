/* status_names.c - the words and sentences of bqsync.h. */
#include "bqsync.h"

#include "base/status.h"

#define TEXT_OF(x) #x
#define VERSION_TEXT(major, minor, patch) TEXT_OF(major) "." TEXT_OF(minor) "." TEXT_OF(patch)

const char *bq_strerror(int status)
{
    return status_text(status);
}

const char *bq_status_code(int status)
{
    return status_code(status);
}

const char *bq_retry_class(int status)
{
    return status_retry_word(status_retry(status));
}

enum bq_error_class bq_error_class(int status)
{
    switch (status) {
#define CLASS_CASE(name, number, class_, retry, code, text)                                        \
    case number:                                                                                   \
        return BQ_CLASS_##class_;
        BQ_STATUS_MAP(CLASS_CASE)
#undef CLASS_CASE
    default:
        return BQ_CLASS_UNKNOWN;
    }
}

const char *bq_error_class_word(enum bq_error_class error_class)
{
    switch (error_class) {
    case BQ_CLASS_NETWORK:
        return "network";
    case BQ_CLASS_AUTH:
        return "auth";
    case BQ_CLASS_VALIDATION:
        return "validation";
    case BQ_CLASS_SERVER:
        return "server";
    case BQ_CLASS_CONFLICT:
        return "conflict";
    case BQ_CLASS_UNKNOWN:
        break;
    }
    return "unknown";
}

const char *bq_state_word(enum bq_state state)
{
    switch (state) {
    case BQ_IDLE:
        return "idle";
    case BQ_PREPARING:
        return "preparing";
    case BQ_SYNCING:
        return "syncing";
    case BQ_COMPLETED:
        return "completed";
    case BQ_FAILED_RETRYABLE:
        return "failedRetryable";
    case BQ_FAILED_PERMANENT:
        return "failedPermanent";
    case BQ_QUEUED:
        return "queued";
    }
    return "unknown";
}

const char *bq_version(void)
{
    return VERSION_TEXT(BQ_VERSION_MAJOR, BQ_VERSION_MINOR, BQ_VERSION_PATCH);
}
