/* handle.c - the lock, the step with its save, loading and failing. */
#include "client/handle.h"

#include "base/mem.h"
#include "base/status.h"
#include "client/client_log.h"
#include "client/live.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>

/* ---- The lock, time, errors ------------------------------------------------------------------ */

void handle_enter(struct bq *bq)
{
    (void)pthread_mutex_lock(&bq->mutex);
}

void handle_leave(struct bq *bq)
{
    bool tell_app = bq->tell_app;
    if (bq->stirred) {
        (void)pthread_cond_broadcast(&bq->changed);
    }
    bq->stirred = false;
    bq->tell_app = false;
    (void)pthread_mutex_unlock(&bq->mutex);
    if (tell_app && bq->wakeup_fn != NULL) {
        bq->wakeup_fn(bq->wakeup_context);
    }
}

int64_t handle_monotonic_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

bool handle_wait(struct bq *bq, int64_t until_ms)
{
    struct timespec until = {until_ms / 1000, until_ms % 1000 * 1000000};
    /* Who waits must be woken for what it did itself too. */
    if (bq->stirred) {
        (void)pthread_cond_broadcast(&bq->changed);
        bq->stirred = false;
    }
    if (handle_monotonic_ms() >= until_ms) {
        return true;
    }
    bq->n_waiters++;
    (void)pthread_cond_timedwait(&bq->changed, &bq->mutex, &until);
    bq->n_waiters--;
    if (bq->closing) {
        (void)pthread_cond_broadcast(&bq->changed);
    }
    return false;
}

int handle_fail(struct bq *bq, int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(bq->error, sizeof bq->error, format, args);
    va_end(args);
    return status;
}

/* ---- Tokens ---------------------------------------------------------------------------------- */

void handle_drop_token(struct bq *bq)
{
    if (bq->token != NULL) {
        explicit_bzero(bq->token, strlen(bq->token));
        mem_free(bq->token);
        bq->token = NULL;
    }
}

int handle_keep_token(struct bq *bq, const char *token)
{
    char *copy = mem_dup(token, strlen(token));
    if (copy == NULL) {
        return handle_fail(bq, BQ_NOMEM, "%s", status_text(BQ_NOMEM));
    }
    handle_drop_token(bq);
    bq->token = copy;
    bq->token_status = BQ_OK;
    bq->token_wanted = false;
    bq->link.token_number++;
    bq->link.kicked = true;
    bq->link.doubt = false;
    return BQ_OK;
}

void handle_tell(struct bq *bq, const struct engine_notify *notify)
{
    client_log_notify(bq, notify);
    events_add(&bq->events, notify);
    bq->tell_app = true;
    bq->stirred = true;
}

void handle_want_token(struct bq *bq)
{
    struct engine_notify notify = {
        .type = BQ_EVENT_TOKEN_NEEDED, .status = BQ_AUTH, .text = slice_of(status_text(BQ_AUTH))};
    bq->token_wanted = bq->token_fn != NULL;
    handle_tell(bq, &notify);
}

/* ---- The effects of a step ------------------------------------------------------------------- */

static void drop_outbox(struct bq *bq)
{
    mem_free(bq->outbox.body);
    bq->outbox.body = NULL;
    bq->outbox.waiting = false;
}

static void post(struct bq *bq, const struct engine_action *action)
{
    struct slice body = action->send.body;
    drop_outbox(bq);
    bq->outbox.waiting = true;
    bq->outbox.request = action->send.request;
    bq->outbox.function = action->send.function;
    bq->outbox.body = mem_dup(body.ptr, body.len);
    bq->outbox.len = body.len;
}

static void notify_app(struct bq *bq, const struct engine_notify *notify)
{
    if (notify->type == BQ_EVENT_TOKEN_NEEDED) {
        bq->token_status = notify->status;
        bq->token_wanted = bq->token_fn != NULL;
        bq->link.doubt = false;
    } else if (notify->type == BQ_EVENT_WIPED) {
        bq->token_status = BQ_USER_ERASED;
    } else if (notify->type == BQ_EVENT_ONLINE) {
        bq->link.reached = true;
    }
    handle_tell(bq, notify);
}

static void act(struct bq *bq)
{
    for (uint32_t i = 0; i < bq->actions.n; i++) {
        const struct engine_action *action = &bq->actions.items[i];
        if (action->type == ENGINE_SEND) {
            post(bq, action);
        } else if (action->type == ENGINE_CANCEL) {
            drop_outbox(bq);
            bq->outbox.cancel = bq->flight.active;
        } else if (action->type == ENGINE_NOTIFY) {
            notify_app(bq, &action->notify);
        }
    }
    bq->stirred = true;
}

/* Wakes the runner where the step made it late. */
static void kick_runner(struct bq *bq)
{
    bool early = engine_next_at_ms(bq->engine) < bq->asleep_until_ms;
    if (bq->asleep_until_ms != INT64_MIN &&
        (early || bq->outbox.waiting || bq->outbox.cancel || bq->token_wanted)) {
        bq->transport->wake(bq->transport);
    }
}

static bool has_disk_action(const struct engine_actions *actions)
{
    /* Disk actions stand before the others. */
    return actions->n > 0 && actions->items[0].type <= ENGINE_WIPE;
}

static int save(struct bq *bq)
{
    if (!has_disk_action(&bq->actions)) {
        return BQ_OK;
    }
    int status = disk_begin(bq->disk);
    if (status == BQ_OK) {
        status = disk_apply(bq->disk, bq->user, &bq->actions);
    }
    if (status == BQ_OK) {
        status = disk_commit(bq->disk);
    }
    if (status == BQ_OK) {
        bq->hold_fails = 0;
        bq->hold_until_ms = 0;
    }
    return status;
}

int handle_step(struct bq *bq, const struct engine_event *event)
{
    int status = handle_ready(bq);
    if (status != BQ_OK) {
        return status;
    }
    status = engine_step(bq->engine, bq->now_ms(), event, &bq->actions);
    if (status == BQ_NOMEM || status == BQ_CORRUPT) {
        (void)handle_fail(bq, status, "%s", status_text(status));
        handle_reload(bq, status);
        return status;
    }
    if (status != BQ_OK) {
        const char *why = engine_error(bq->engine);
        return handle_fail(bq, status, "%s", why[0] != '\0' ? why : status_text(status));
    }
    status = save(bq);
    if (status != BQ_OK) {
        (void)handle_fail(bq, status, "%s", disk_error(bq->disk));
        handle_reload(bq, status);
        return status;
    }
    act(bq);
    kick_runner(bq);
    return BQ_OK;
}

int handle_step_inside(struct bq *bq, struct engine *engine, const char *user,
                       const struct engine_event *event, struct events *events)
{
    int status = engine_step(engine, bq->now_ms(), event, &bq->actions);
    if (status != BQ_OK) {
        const char *why = engine_error(engine);
        return handle_fail(bq, status, "%s", why[0] != '\0' ? why : status_text(status));
    }
    status = disk_apply(bq->disk, user, &bq->actions);
    if (status != BQ_OK) {
        return handle_fail(bq, status, "%s", disk_error(bq->disk));
    }
    for (uint32_t i = 0; i < bq->actions.n; i++) {
        if (bq->actions.items[i].type == ENGINE_NOTIFY) {
            events_add(events, &bq->actions.items[i].notify);
        }
    }
    return BQ_OK;
}

/* The present user's engine was not touched, unless the disk failed: then only the file knows
 * whether the change of users was kept. */
void handle_undo(struct bq *bq, int status)
{
    if (status == BQ_IO || status == BQ_CORRUPT) {
        handle_reload(bq, status);
    } else {
        disk_rollback(bq->disk);
    }
}

void handle_give_up(struct bq *bq)
{
    bool flies = bq->flight.active && bq->flight.run == bq->run;
    struct engine_event event = {.type = ENGINE_FAILED, .status = BQ_NETWORK};
    if (!flies && !bq->outbox.waiting) {
        return;
    }
    event.request = bq->outbox.waiting ? bq->outbox.request : bq->flight.request;
    drop_outbox(bq);
    bq->outbox.cancel = bq->flight.active;
    (void)handle_step(bq, &event);
}

/* ---- Loading --------------------------------------------------------------------------------- */

int handle_load(struct bq *bq, const char *user, struct engine **out)
{
    struct engine_config config = bq->engine_config;
    struct engine *engine;
    bool handed_over;
    int status = disk_handed_over(bq->disk, user, &handed_over);
    if (status != BQ_OK) {
        return handle_fail(bq, status, "%s", disk_error(bq->disk));
    }
    config.syncs = bq->has_url && user[0] != '\0' && !handed_over;
    memcpy(config.user, user, strlen(user) + 1);
    if (bq->seed != NULL) {
        config.seed = bq->seed();
    } else if (getrandom(&config.seed, sizeof config.seed, 0) != (ssize_t)sizeof config.seed) {
        return handle_fail(bq, BQ_IO, "the system gives no random bytes");
    }
    status = engine_new(&config, &engine);
    if (status != BQ_OK) {
        return handle_fail(bq, status, "%s", status_text(status));
    }
    status = disk_load(bq->disk, user, engine);
    if (status != BQ_OK) {
        engine_free(engine);
        return handle_fail(bq, status, "%s", disk_error(bq->disk));
    }
    *out = engine;
    return BQ_OK;
}

static void drop_engine(struct bq *bq)
{
    struct bq_stats stats = {.size = sizeof stats};
    if (bq->engine != NULL) {
        engine_stats(bq->engine, &stats);
        bq->sent_before += stats.sent;
        bq->exchanges_before += stats.exchanges;
        engine_free(bq->engine);
        bq->engine = NULL;
    }
    drop_outbox(bq);
    bq->outbox.cancel = bq->flight.active;
    bq->run++;
    bq->greeted = false;
    bq->stirred = true;
}

void handle_adopt(struct bq *bq, struct engine *engine, const char *user)
{
    size_t len = strlen(user);
    drop_engine(bq);
    bq->engine = engine;
    memcpy(bq->user, user, len + 1);
}

int handle_ready(struct bq *bq)
{
    struct engine *engine = NULL;
    char user[DISK_USER_TEXT];
    if (bq->engine != NULL) {
        return BQ_OK;
    }
    /* After a change of users of which the commit failed, only the file knows. */
    int status = disk_user(bq->disk, user);
    if (status != BQ_OK) {
        return handle_fail(bq, status, "%s", disk_error(bq->disk));
    }
    status = handle_load(bq, user, &engine);
    if (status == BQ_OK) {
        bq->engine = engine;
        memcpy(bq->user, user, sizeof user);
        if (user[0] == '\0') {
            handle_drop_token(bq);
        }
    }
    return status;
}

void handle_reload(struct bq *bq, int status)
{
    char error[BQ_ERROR_TEXT];
    disk_rollback(bq->disk);
    drop_engine(bq);
    /* The sentence of what went wrong first is the one to tell. */
    memcpy(error, bq->error, sizeof error);
    if (status == BQ_IO || status == BQ_CORRUPT) {
        (void)disk_recover(bq->disk);
    }
    (void)handle_ready(bq);
    memcpy(bq->error, error, sizeof error);
}

int handle_greet(struct bq *bq)
{
    struct engine_event events[5];
    uint32_t n = 0;
    int status = handle_ready(bq);
    if (status != BQ_OK || bq->greeted) {
        return status;
    }
    events[n++] = (struct engine_event){.type = ENGINE_ONLINE, .online = bq->online};
    if (bq->paused) {
        events[n++] = (struct engine_event){.type = ENGINE_PAUSE};
    }
    if (bq->device_info != NULL) {
        events[n++] =
            (struct engine_event){.type = ENGINE_DEVICE_INFO, .text = slice_of(bq->device_info)};
    }
    if (bq->token != NULL && bq->token_status == BQ_OK) {
        events[n++] = (struct engine_event){.type = ENGINE_TOKEN};
    }
    if (live_link_is_up(bq)) {
        events[n++] = (struct engine_event){.type = ENGINE_LIVE, .online = 1};
    }
    /* First, so that a failed step (which loads the engine anew) leaves it false. */
    bq->greeted = true;
    for (uint32_t i = 0; i < n && status == BQ_OK; i++) {
        status = handle_step(bq, &events[i]);
    }
    return status;
}
