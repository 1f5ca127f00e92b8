/* api_open.c - bq_open, bq_close, bq_step and what else concerns the handle as a whole. */
#include "base/mem.h"
#include "base/status.h"
#include "client/client_log.h"
#include "client/runner.h"
#include "json/json.h"

#include <stdio.h>
#include <sys/random.h>
#include <time.h>

#define DEBOUNCE_MS 2000u
#define DEBOUNCE_MAX_MS 60000u
#define POLL_PULL_MS 30000u
#define LIVE_POLL_PULL_MS 300000u
#define TIMEOUT_MS 30000u
#define DEVICE_INFO_BYTES 4096u
#define DEVICE_INFO_DEPTH 16u

static int64_t real_now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- Device info ----------------------------------------------------------------------------- */

/* The compact form of a JSON object, on the heap. */
static int read_device_info(const char *json, char **out)
{
    struct arena arena;
    struct json_value value;
    struct buf text = BUF_INIT;
    arena_init(&arena);
    int status = json_parse(&arena, slice_of(json), DEVICE_INFO_DEPTH, &value, NULL);
    if (status == BQ_OK && value.type != JSON_OBJECT) {
        status = BQ_INVALID;
    }
    if (status == BQ_OK) {
        json_print(&text, &value);
        status = text.failed ? BQ_NOMEM : text.len > DEVICE_INFO_BYTES ? BQ_TOO_LARGE : BQ_OK;
    }
    arena_release(&arena);
    if (status != BQ_OK) {
        buf_release(&text);
        return status;
    }
    *out = buf_take(&text, &(size_t){0});
    return BQ_OK;
}

int bq_set_device_info(struct bq *bq, const char *json)
{
    char *info;
    if (bq == NULL || json == NULL) {
        return BQ_INVALID;
    }
    int status = read_device_info(json, &info);
    handle_enter(bq);
    if (status != BQ_OK) {
        (void)handle_fail(bq, status, "device info is a JSON object of at most %u bytes",
                          DEVICE_INFO_BYTES);
    } else {
        struct engine_event event = {.type = ENGINE_DEVICE_INFO, .text = slice_of(info)};
        status = handle_step(bq, &event);
        if (status == BQ_OK) {
            mem_free(bq->device_info);
            bq->device_info = info;
        } else {
            mem_free(info);
        }
    }
    handle_leave(bq);
    return status;
}

/* ---- Checking the configuration -------------------------------------------------------------- */

static bool is_header_text(const char *text)
{
    for (const char *c = text; *c != '\0'; c++) {
        if ((unsigned char)*c <= ' ' || *c == 0x7f) {
            return false;
        }
    }
    return text[0] != '\0';
}

/* A caller of another version of the header may know fewer or more members. */
static bool read_config(const struct bq_config *config, struct bq_config *out)
{
    *out = (struct bq_config)BQ_CONFIG_INIT;
    if (config == NULL || !handle_sized(config->size, offsetof(struct bq_config, url))) {
        return false;
    }
    memcpy(out, config, config->size < sizeof *out ? config->size : sizeof *out);
    return true;
}

static const char *find_fault(const struct bq_config *config)
{
    if (config->path == NULL || config->path[0] == '\0') {
        return "the configuration names no path";
    }
    if ((config->flags & ~(unsigned)(BQ_MANUAL | BQ_PAUSED | BQ_NO_LIVE)) != 0) {
        return "the configuration has an unknown flag";
    }
    if (config->debounce_ms > DEBOUNCE_MAX_MS) {
        return "debounce_ms is at most 60,000";
    }
    if (config->timeout_ms > INT32_MAX || config->poll_ms > INT32_MAX ||
        config->live_poll_ms > INT32_MAX) {
        return "timeout_ms, poll_ms or live_poll_ms is too large";
    }
    if (config->url != NULL && !transport_url_valid(config->url)) {
        return "the url is http://host or https://host, without a user name, a query or spaces";
    }
    enum log_level level;
    if (config->log_level != NULL && !log_level_parse(slice_of(config->log_level), &level)) {
        return "log_level is error, warn, info or debug";
    }
    if (config->api_key != NULL && !is_header_text(config->api_key)) {
        return "the api_key has a space or a control character, or is empty";
    }
    return NULL;
}

/* ---- Opening --------------------------------------------------------------------------------- */

static bool init_lock(struct bq *bq)
{
    pthread_condattr_t attributes;
    if (pthread_mutex_init(&bq->mutex, NULL) != 0) {
        return false;
    }
    bool good = pthread_condattr_init(&attributes) == 0;
    if (good) {
        good = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0 &&
               pthread_cond_init(&bq->changed, &attributes) == 0;
        (void)pthread_condattr_destroy(&attributes);
    }
    if (!good) {
        (void)pthread_mutex_destroy(&bq->mutex);
    }
    return good;
}

static void fill(struct bq *bq, const struct bq_config *config, const struct handle_hooks *hooks)
{
    bq->flags = config->flags;
    bq->has_url = config->url != NULL;
    bq->token_fn = config->token_fn;
    bq->token_context = config->token_context;
    bq->wakeup_fn = config->wakeup_fn;
    bq->wakeup_context = config->wakeup_context;
    bq->now_ms = hooks->now_ms != NULL ? hooks->now_ms : real_now_ms;
    bq->seed = hooks->seed;
    bq->log = (struct log){config->log_fn, config->log_context, LOG_LEVEL_INFO};
    if (config->log_level != NULL) {
        (void)log_level_parse(slice_of(config->log_level), &bq->log.level);
    }
    bq->online = -1;
    bq->paused = (config->flags & BQ_PAUSED) != 0;
    bq->asleep_until_ms = INT64_MIN;
    bq->engine_config = (struct engine_config){
        .size = sizeof(struct engine_config),
        .limits = LIMITS_DEFAULT,
        .debounce_ms = config->debounce_ms != 0 ? config->debounce_ms : DEBOUNCE_MS,
        .poll_ms = config->poll_ms != 0 ? config->poll_ms : POLL_PULL_MS,
        .live_poll_ms = config->live_poll_ms != 0 ? config->live_poll_ms : LIVE_POLL_PULL_MS,
        .timeout_ms = config->timeout_ms != 0 ? config->timeout_ms : TIMEOUT_MS,
    };
    bq->events = EVENTS_INIT;
    bq->transport = hooks->transport;
    engine_actions_init(&bq->actions);
}

static int make_transport(struct bq *bq, const struct bq_config *config)
{
    struct transport_config transport = {config->url, config->api_key, config->ca_file,
                                         config->proxy, bq->engine_config.timeout_ms};
    if (bq->transport != NULL) {
        return BQ_OK;
    }
    int status = transport_curl_new(&transport, &bq->transport);
    return status == BQ_OK ? BQ_OK : handle_fail(bq, status, "%s", status_text(status));
}

/* Jitter only, so that clients of one server do not come back together. */
static int start_link(struct bq *bq)
{
    uint64_t seed;
    live_out_init(&bq->link.out);
    if (bq->transport->live_open == NULL || (bq->flags & BQ_NO_LIVE) != 0) {
        return BQ_OK;
    }
    if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed) {
        return handle_fail(bq, BQ_IO, "the system gives no random bytes");
    }
    live_init(&bq->link.live, seed);
    bq->link.started = true;
    return BQ_OK;
}

/* The user's rows, and a first step, so that there is a device id. */
static int load_first(struct bq *bq)
{
    struct engine *engine;
    char user[DISK_USER_TEXT];
    struct engine_event tick = {.type = ENGINE_TICK};
    int status = disk_user(bq->disk, user);
    if (status != BQ_OK) {
        return handle_fail(bq, status, "%s", disk_error(bq->disk));
    }
    status = handle_load(bq, user, &engine);
    if (status == BQ_OK) {
        handle_adopt(bq, engine, user);
        status = handle_step(bq, &tick);
    }
    return status == BQ_OK ? handle_greet(bq) : status;
}

static int open_parts(struct bq *bq, const struct bq_config *config,
                      const struct handle_hooks *hooks)
{
    int status = make_transport(bq, config);
    if (status == BQ_OK) {
        status = start_link(bq);
    }
    if (status == BQ_OK && config->device_info != NULL) {
        status = read_device_info(config->device_info, &bq->device_info);
        if (status != BQ_OK) {
            return handle_fail(bq, status == BQ_NOMEM ? BQ_NOMEM : BQ_INVALID,
                               "device info is a JSON object of at most %u bytes",
                               DEVICE_INFO_BYTES);
        }
    }
    if (status == BQ_OK) {
        status = disk_open(config->path, hooks->vfs, &bq->disk, bq->error);
    }
    if (status == BQ_OK) {
        status = load_first(bq);
    }
    if (status == BQ_OK && bq->has_url && bq->user[0] != '\0') {
        handle_want_token(bq);
    }
    if (status == BQ_OK) {
        client_log_life(bq, "opened");
    }
    if (status == BQ_OK && (bq->flags & BQ_MANUAL) == 0) {
        status = runner_start(bq);
    }
    return status;
}

static void free_handle(struct bq *bq)
{
    if (bq->transport != NULL) {
        bq->transport->free(bq->transport);
    }
    engine_free(bq->engine);
    disk_close(bq->disk);
    engine_actions_release(&bq->actions);
    events_release(&bq->events);
    handle_drop_token(bq);
    buf_release(&bq->link.out.frame);
    mem_free(bq->outbox.body);
    mem_free(bq->device_info);
    (void)pthread_cond_destroy(&bq->changed);
    (void)pthread_mutex_destroy(&bq->mutex);
    mem_free(bq);
}

static int refuse(const struct bq_config *config, int status, const char *why)
{
    if (config->error_text != NULL) {
        (void)snprintf(config->error_text, BQ_ERROR_TEXT, "%s", why);
    }
    return status;
}

static int open_checked(const struct bq_config *config, const struct handle_hooks *hooks,
                        struct bq **out)
{
    struct bq *bq = mem_zalloc(1, sizeof *bq);
    if (bq == NULL || !init_lock(bq)) {
        mem_free(bq);
        if (hooks->transport != NULL) {
            hooks->transport->free(hooks->transport);
        }
        return refuse(config, BQ_NOMEM, status_text(BQ_NOMEM));
    }
    fill(bq, config, hooks);
    int status = open_parts(bq, config, hooks);
    if (status != BQ_OK) {
        (void)refuse(config, status, bq->error[0] != '\0' ? bq->error : status_text(status));
        free_handle(bq);
        return status;
    }
    *out = bq;
    return BQ_OK;
}

int handle_open(const struct bq_config *given, const struct handle_hooks *hooks, struct bq **out)
{
    struct bq_config config;
    *out = NULL;
    const char *fault = read_config(given, &config) ? find_fault(&config)
                                                    : "the configuration does not say its size";
    if (fault != NULL) {
        if (hooks->transport != NULL) {
            hooks->transport->free(hooks->transport);
        }
        return refuse(&config, BQ_INVALID, fault);
    }
    return open_checked(&config, hooks, out);
}

int bq_open(const struct bq_config *config, struct bq **out)
{
    struct handle_hooks hooks = {.transport = NULL};
    return out == NULL ? BQ_INVALID : handle_open(config, &hooks, out);
}

void bq_close(struct bq *bq)
{
    if (bq != NULL) {
        runner_stop(bq);
        client_log_life(bq, "closed");
        free_handle(bq);
    }
}

/* ---- Stepping -------------------------------------------------------------------------------- */

int bq_step(struct bq *bq, unsigned timeout_ms)
{
    if (bq == NULL || (bq->flags & BQ_MANUAL) == 0) {
        return BQ_INVALID;
    }
    handle_enter(bq);
    int status = runner_turn(bq, handle_monotonic_ms() + timeout_ms);
    handle_leave(bq);
    return status;
}

int64_t bq_next_step_ms(struct bq *bq)
{
    if (bq == NULL || (bq->flags & BQ_MANUAL) == 0) {
        return -1;
    }
    handle_enter(bq);
    int64_t wait_ms = runner_next_ms(bq);
    handle_leave(bq);
    return wait_ms;
}

void bq_last_error(struct bq *bq, char *text, size_t size)
{
    if (bq == NULL || text == NULL || size == 0) {
        return;
    }
    handle_enter(bq);
    (void)snprintf(text, size, "%s", bq->error);
    handle_leave(bq);
}

void bq_free(void *ptr)
{
    mem_free(ptr);
}
