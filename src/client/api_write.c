/* api_write.c - bq_put and its kin: one event each; the engine checks, the disk keeps. */
#include "client/handle.h"

#include "base/status.h"
#include "base/utf8.h"

#define ALL_FLAGS                                                                                  \
    (BQ_IMMEDIATE | BQ_PRIORITY_LOW | BQ_PRIORITY_NORMAL | BQ_PRIORITY_HIGH | BQ_PRIORITY_CRITICAL)
#define PRIORITIES (ALL_FLAGS & ~BQ_IMMEDIATE)

static bool flags_fine(unsigned flags)
{
    unsigned priority = flags & PRIORITIES;
    return (flags & ~(unsigned)ALL_FLAGS) == 0 && (priority & (priority - 1)) == 0;
}

static int write_one(struct bq *bq, const struct engine_event *event)
{
    handle_enter(bq);
    int status = flags_fine(event->flags)
                     ? handle_step(bq, event)
                     : handle_fail(bq, BQ_INVALID, "unknown flags, or two priorities at once");
    handle_leave(bq);
    return status;
}

static struct slice text_of(const char *text, size_t len)
{
    return (struct slice){text, len == SIZE_MAX ? strlen(text) : len};
}

int bq_put(struct bq *bq, const char *key, const char *json, size_t len, unsigned flags)
{
    if (bq == NULL || key == NULL || json == NULL) {
        return BQ_INVALID;
    }
    struct engine_event event = {
        .type = ENGINE_PUT, .key = slice_of(key), .text = text_of(json, len), .flags = flags};
    return write_one(bq, &event);
}

int bq_patch(struct bq *bq, const char *key, const char *patch, size_t len, unsigned flags)
{
    if (bq == NULL || key == NULL || patch == NULL) {
        return BQ_INVALID;
    }
    struct engine_event event = {
        .type = ENGINE_PATCH, .key = slice_of(key), .text = text_of(patch, len), .flags = flags};
    return write_one(bq, &event);
}

int bq_increment(struct bq *bq, const char *key, const char *path, const char *amount,
                 unsigned flags)
{
    /* Keys are checked by the engine; a path becomes a member's name. */
    if (bq == NULL || key == NULL || path == NULL || amount == NULL ||
        !utf8_is_plain(slice_of(path))) {
        return BQ_INVALID;
    }
    struct engine_event event = {.type = ENGINE_INCREMENT,
                                 .key = slice_of(key),
                                 .path = slice_of(path),
                                 .text = slice_of(amount),
                                 .flags = flags};
    return write_one(bq, &event);
}

int bq_remove(struct bq *bq, const char *key, unsigned flags)
{
    if (bq == NULL || key == NULL) {
        return BQ_INVALID;
    }
    struct engine_event event = {.type = ENGINE_REMOVE, .key = slice_of(key), .flags = flags};
    return write_one(bq, &event);
}

int bq_seed(struct bq *bq, const char *key, const char *json, size_t len)
{
    if (bq == NULL || key == NULL || json == NULL) {
        return BQ_INVALID;
    }
    struct engine_event event = {
        .type = ENGINE_SEED, .key = slice_of(key), .text = text_of(json, len)};
    return write_one(bq, &event);
}
