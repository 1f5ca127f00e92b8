/* client_log.c - see client_log.h. */
#include "client/client_log.h"

#include "base/status.h"

static int64_t now_us(struct bq *bq)
{
    return bq->now_ms() * 1000;
}

static const char *word_of(enum bq_event_type type)
{
    switch (type) {
    case BQ_EVENT_CHANGED:
        return "changed";
    case BQ_EVENT_STATE:
        return "state";
    case BQ_EVENT_CONFLICT:
        return "conflict";
    case BQ_EVENT_DEAD_LETTER:
        return "dead_letter";
    case BQ_EVENT_TOKEN_NEEDED:
        return "token_needed";
    case BQ_EVENT_ONLINE:
        return "online";
    case BQ_EVENT_OFFLINE:
        return "offline";
    case BQ_EVENT_RETRYING:
        return "retrying";
    case BQ_EVENT_WIPED:
        return "wiped";
    case BQ_EVENT_REWOUND:
        return "rewound";
    case BQ_EVENT_LOST:
        return "events_lost";
    case BQ_EVENT_LIVE:
        return "live";
    case BQ_EVENT_NOT_LIVE:
        return "not_live";
    }
    return "event";
}

static enum log_level level_of(enum bq_event_type type)
{
    switch (type) {
    case BQ_EVENT_DEAD_LETTER:
    case BQ_EVENT_TOKEN_NEEDED:
    case BQ_EVENT_OFFLINE:
    case BQ_EVENT_RETRYING:
    case BQ_EVENT_WIPED:
    case BQ_EVENT_REWOUND:
    case BQ_EVENT_LOST:
    case BQ_EVENT_NOT_LIVE:
        return LOG_LEVEL_WARN;
    case BQ_EVENT_CHANGED:
    case BQ_EVENT_STATE:
        return LOG_LEVEL_DEBUG;
    case BQ_EVENT_CONFLICT:
    case BQ_EVENT_ONLINE:
    case BQ_EVENT_LIVE:
        break;
    }
    return LOG_LEVEL_INFO;
}

void client_log_notify(struct bq *bq, const struct engine_notify *notify)
{
    struct log_line line;
    log_begin(&line, &bq->log, level_of(notify->type), now_us(bq), word_of(notify->type));
    if (notify->type == BQ_EVENT_STATE) {
        log_add_text(&line, "state", slice_of(bq_state_word(notify->state)));
    }
    if (notify->status != BQ_OK) {
        log_add_text(&line, "code", slice_of(status_code(notify->status)));
        log_add_text(&line, "message", slice_of(status_text(notify->status)));
    }
    log_end(&line);
}

void client_log_request(struct bq *bq, const struct flight *flight, int status, int http)
{
    struct log_line line;
    bool good = status == BQ_OK && http >= 200 && http <= 299;
    log_begin(&line, &bq->log, good ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, now_us(bq), "request");
    log_add_text(&line, "function", slice_of(flight->function));
    if (status == BQ_OK) {
        log_add_int(&line, "status", http);
    } else {
        log_add_text(&line, "code", slice_of(status_code(status)));
    }
    log_add_ms(&line, "ms", (handle_monotonic_ms() - flight->started_ms) * 1000);
    log_end(&line);
}

void client_log_life(struct bq *bq, const char *event)
{
    struct bq_stats stats = {.size = sizeof stats};
    struct log_line line;
    log_begin(&line, &bq->log, LOG_LEVEL_INFO, now_us(bq), event);
    log_add_text(&line, "version", slice_of(bq_version()));
    if (bq->engine != NULL) {
        engine_stats(bq->engine, &stats);
        log_add_text(&line, "device", slice_of(engine_meta(bq->engine)->device_id));
        log_add_text(&line, "user", slice_of(bq->user));
        log_add_int(&line, "pending", stats.pending);
        log_add_int(&line, "dead_letters", stats.dead_letters);
    }
    log_end(&line);
}
