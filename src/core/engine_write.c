/* engine_write.c - what the app writes, and what becomes of dead letters.
 *
 * Every check comes before the first change, so a refused write leaves all as it was. */
#include "core/engine_impl.h"

#include "base/mem.h"
#include "base/plant.h"
#include "base/status.h"
#include "json/decimal.h"

/* Edits pile up under an app that never rests: a debounce is renewed at most this often. */
#define DEBOUNCE_RENEWALS 5

#define DAY_MS (INT64_C(24) * 3600 * 1000)

/* ---- Checks ---- */

static int parse_text(struct engine *engine, struct slice text, unsigned depth,
                      struct json_value *out)
{
    struct json_error error;
    int status = json_parse(&engine->out->arena, text, depth, out, &error);
    if (status == BQ_OK || status == BQ_NOMEM) {
        return status;
    }
    return engine_fail(engine, status, "line %u, column %u: %s", error.line, error.column,
                       error.what);
}

/* A document within all limits, given what the lane holds now. Smaller or equal is always fine. */
static int check_limits(struct engine *engine, const struct lane *lane,
                        const struct json_value *mine, const struct json_value *value)
{
    const struct limits *limits = &engine->config.limits;
    size_t size = json_size(value);
    size_t old = lane == NULL ? 0 : lane->mine.len;
    if (size > limits->document_bytes && size > old) {
        return engine_fail(engine, BQ_TOO_LARGE,
                           "the document has %zu bytes, the limit is %zu: split it", size,
                           limits->document_bytes);
    }
    if (json_depth(value) > limits->depth && json_depth(value) > json_depth(mine)) {
        return engine_fail(engine, BQ_TOO_DEEP, "the document nests %u deep, the limit is %u",
                           json_depth(value), limits->depth);
    }
    if (engine->mine_bytes - old + size > limits->user_bytes && size > old) {
        return engine_fail(engine, BQ_QUOTA,
                           "all documents together would be over %zu bytes: remove some",
                           limits->user_bytes);
    }
    if (old > 0) {
        return BQ_OK;
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < engine->n_lanes; i++) {
        n += engine->lanes[i]->mine.ptr != NULL ? 1 : 0;
    }
    if (n >= limits->keys) {
        return engine_fail(engine, BQ_TOO_MANY_KEYS, "there are %u documents already: remove some",
                           n);
    }
    return BQ_OK;
}

/* ---- The new value of a document ---- */

static int increment_pointer(struct engine *engine, struct slice path, struct slice *out)
{
    struct buf buf = BUF_INIT;
    if (path.len == 0) {
        return engine_fail(engine, BQ_INVALID, "the path of an increment is empty: name a field");
    }
    if (path.ptr[0] == '/') {
        *out = path;
        return BQ_OK;
    }
    buf_add_char(&buf, '/');
    for (size_t i = 0; i < path.len; i++) {
        if (path.ptr[i] == '~') {
            buf_add_text(&buf, "~0");
        } else if (path.ptr[i] == '/') {
            buf_add_text(&buf, "~1");
        } else {
            buf_add_char(&buf, path.ptr[i]);
        }
    }
    *out = buf.failed ? SLICE_NONE : arena_copy(&engine->out->arena, buf_slice(&buf));
    buf_release(&buf);
    return out->ptr == NULL ? BQ_NOMEM : BQ_OK;
}

static int increment(struct engine *engine, const struct json_value *mine,
                     const struct engine_event *event, struct json_value *out)
{
    struct arena *arena = &engine->out->arena;
    struct json_value amount, sum;
    struct slice pointer = SLICE_NONE;
    if (json_parse(arena, event->text, 1, &amount, NULL) != BQ_OK || amount.type != JSON_NUMBER) {
        return engine_fail(engine, BQ_INVALID, "the amount \"%.*s\" is not a decimal number",
                           (int)(event->text.len > 40 ? 40 : event->text.len), event->text.ptr);
    }
    int status = decimal_sum(arena, NULL, &amount, NULL, &sum);
    if (status == BQ_OK && decimal_compare(&sum, &amount) != 0) {
        return engine_fail(engine, BQ_INVALID, "the amount %.*s has over 9 decimals",
                           (int)(amount.len > 50 ? 50 : amount.len), amount.ptr);
    }
    if (status != BQ_NOMEM) {
        status = increment_pointer(engine, event->path, &pointer);
    }
    if (status != BQ_OK) {
        return status;
    }
    struct json_value now = merge_pointer_get(mine, pointer);
    if (now.type != JSON_ABSENT && now.type != JSON_NUMBER) {
        return engine_fail(engine, BQ_INVALID, "the value at %.*s is not a number",
                           SLICE_FMT(pointer));
    }
    status = decimal_sum(arena, &now, &amount, NULL, &sum);
    if (status == BQ_OUT_OF_RANGE) {
        return engine_fail(engine, status, "%s", status_text(status));
    }
    struct json_value empty = json_object(NULL, 0);
    if (status == BQ_OK) {
        status = merge_pointer_set(arena, json_is_absent(mine) ? &empty : mine, pointer, &sum, out);
    }
    if (status == BQ_INVALID) {
        return engine_fail(engine, status, "there is no place for a number at %.*s",
                           SLICE_FMT(pointer));
    }
    return status;
}

static int patch(struct engine *engine, const struct json_value *mine,
                 const struct engine_event *event, struct json_value *out)
{
    struct json_value change;
    struct json_value empty = json_object(NULL, 0);
    int status = parse_text(engine, event->text, engine->config.limits.depth, &change);
    if (status == BQ_OK && change.type != JSON_OBJECT) {
        return engine_fail(engine, BQ_INVALID, "a patch is a JSON object");
    }
    if (status == BQ_OK) {
        status =
            merge_patch(&engine->out->arena, json_is_absent(mine) ? &empty : mine, &change, out);
    }
    return status;
}

/* ---- Seeds ---- */

static int apply_seed(struct engine *engine, const struct merge_policy *policy,
                      const struct json_value *below, const struct json_value *seed,
                      struct json_value *out)
{
    struct merge_document document = {*below, json_is_absent(below) ? 0 : 1, false, 0};
    struct merge_edit edit = {.mode = MERGE_SEED, .base = -1, .was = json_absent(), .now = *seed};
    struct merge_result result;
    edit.has_epoch = policy->epoch_field.ptr != NULL;
    edit.epoch = merge_epoch(seed, policy);
    int status = merge_apply(&engine->out->arena, &document, &edit, policy, NULL, &result);
    if (status == BQ_OK) {
        *out = result.document.value;
    }
    return status;
}

/* Below a document that the server is not known to hold, a seed waits to be sent as one; otherwise
 * what it adds is an ordinary edit of the known document. */
int lane_keep_seed(struct engine *engine, struct lane *lane, const struct json_value *seed)
{
    return lane->version > 0 ? BQ_OK : lane_add_seed(engine, lane, seed);
}

int lane_add_seed(struct engine *engine, struct lane *lane, const struct json_value *seed)
{
    struct json_value waiting, all;
    int status = lane_read_text(&engine->out->arena, lane->seed, &waiting);
    if (status == BQ_OK) {
        status = apply_seed(engine, lane_policy(engine, lane), &waiting, seed, &all);
    }
    struct buf buf = BUF_INIT;
    if (status == BQ_OK) {
        json_print(&buf, &all);
        status = buf.failed ? BQ_NOMEM : text_set(engine, &lane->seed, buf_slice(&buf));
        lane->parts |= ENGINE_LANE_REST;
    }
    buf_release(&buf);
    return status;
}

/* The guest's document without its sums is a seed; the sums are added. *out_mine is what the app
 * sees then, *out_seed the seed (absent: nothing but sums). */
static int guest(struct engine *engine, const struct merge_policy *policy,
                 const struct json_value *mine, const struct json_value *document,
                 struct json_value *out_mine, struct json_value *out_seed)
{
    struct arena *arena = &engine->out->arena;
    struct json_value nothing = json_absent();
    struct merge_edit edit, rest, sums;
    struct merge_result result;
    bool changed, no_rest, no_sums;
    int status = merge_diff(arena, &nothing, document, policy, &edit, &changed);
    if (status == BQ_OK) {
        status = merge_without_sums(arena, &edit, policy, &rest, &no_rest);
    }
    if (status == BQ_OK) {
        status = merge_only_sums(arena, &edit, policy, &sums, &no_sums);
    }
    if (status != BQ_OK) {
        return status;
    }
    *out_mine = *mine;
    *out_seed = json_absent();
    if (!no_rest) {
        *out_seed = rest.now;
        status = apply_seed(engine, policy, mine, &rest.now, out_mine);
    }
    if (status == BQ_OK && !no_sums) {
        struct merge_document below = {*out_mine, json_is_absent(out_mine) ? 0 : 1, false, 0};
        sums.base = -1;
        status = merge_apply(arena, &below, &sums, policy, NULL, &result);
        if (status == BQ_OK) {
            *out_mine = result.document.value;
        }
    }
    return status;
}

int engine_take_guests(struct engine *engine)
{
    struct arena *arena = &engine->out->arena;
    for (uint32_t i = 0; i < engine->n_lanes; i++) {
        struct lane *lane = engine->lanes[i];
        struct json_value nothing = json_absent();
        struct json_value document, all, seed;
        struct buf buf = BUF_INIT;
        if (!lane->guest) {
            continue;
        }
        int status = lane_read_text(arena, lane->seed, &document);
        if (status == BQ_OK) {
            status = guest(engine, lane_policy(engine, lane), &nothing, &document, &all, &seed);
        }
        if (status == BQ_OK && !json_is_absent(&seed)) {
            json_print(&buf, &seed);
        }
        if (status == BQ_OK) {
            struct slice text = json_is_absent(&seed) ? SLICE_NONE : buf_slice(&buf);
            status = buf.failed ? BQ_NOMEM : text_set(engine, &lane->seed, text);
        }
        buf_release(&buf);
        if (status != BQ_OK) {
            return status;
        }
        lane->guest = false;
        lane->parts |= ENGINE_LANE_REST;
    }
    return BQ_OK;
}

/* ---- Writing ---- */

static int new_value(struct engine *engine, const struct engine_event *event,
                     const struct json_value *mine, struct json_value *out,
                     struct json_value *out_seed)
{
    const struct merge_policy *policy = merge_policies_find(engine->policies, event->key);
    struct json_value document;
    int status = BQ_OK;
    *out_seed = json_absent();
    if (event->type == ENGINE_PATCH) {
        return patch(engine, mine, event, out);
    }
    if (event->type == ENGINE_INCREMENT) {
        return increment(engine, mine, event, out);
    }
    if (event->type == ENGINE_REMOVE) {
        *out = json_absent();
        return json_is_absent(mine)
                   ? engine_fail(engine, BQ_NOT_FOUND, "there is no such document to remove")
                   : BQ_OK;
    }
    status = parse_text(engine, event->text, engine->config.limits.depth, &document);
    if (status != BQ_OK || event->type == ENGINE_PUT) {
        *out = document;
        return status;
    }
    if (event->type == ENGINE_GUEST) {
        return guest(engine, policy, mine, &document, out, out_seed);
    }
    *out_seed = document;
    return apply_seed(engine, policy, mine, &document, out);
}

static void set_priority(struct lane *lane, unsigned flags)
{
    static const unsigned masks[] = {BQ_PRIORITY_LOW, BQ_PRIORITY_NORMAL, BQ_PRIORITY_HIGH,
                                     BQ_PRIORITY_CRITICAL};
    for (int i = 0; i < 4; i++) {
        if ((flags & masks[i]) != 0 && lane->priority != i) {
            lane->priority = i;
            lane->parts |= ENGINE_LANE_REST;
        }
    }
}

/* When the lane may leave. */
static void debounce(struct engine *engine, struct lane *lane, unsigned flags)
{
    int64_t pause = engine->config.debounce_ms;
    if (!lane->dirty) {
        lane->dirty_since_ms = engine->now_ms;
    }
    int64_t due = engine->now_ms + pause;
    int64_t latest = lane->dirty_since_ms + DEBOUNCE_RENEWALS * pause;
    if ((flags & BQ_IMMEDIATE) != 0 || lane->priority >= 2) {
        due = engine->now_ms;
    } else if (due > latest) {
        due = latest;
    }
    bool was_immediate = lane->dirty && lane->due_at_ms <= engine->now_ms;
    lane->due_at_ms = was_immediate ? lane->due_at_ms : due;
}

static void mark_written(struct engine *engine, struct lane *lane, unsigned flags)
{
    engine->written++;
    if (PLANTED(DEAD_LETTER_BLOCKS_LANE) && lane->refused) {
        return;
    }
    debounce(engine, lane, flags);
    lane->dirty = true;
    lane->completed = false;
    if (lane->first_waiting == 0) {
        lane->first_waiting = engine->written;
    }
    if (lane->refused) {
        lane->refused = false;
        lane->parts |= ENGINE_LANE_REST;
    }
}

int engine_write(struct engine *engine, const struct engine_event *event)
{
    struct arena *arena = &engine->out->arena;
    struct json_value mine, value, seed;
    if (!proto_key_valid(event->key)) {
        return engine_fail(engine, BQ_BAD_KEY, "%s", status_text(BQ_BAD_KEY));
    }
    struct lane *lane = engine_lane(engine, event->key);
    int status = lane_read_text(arena, lane == NULL ? SLICE_NONE : lane->mine, &mine);
    if (status == BQ_OK) {
        status = new_value(engine, event, &mine, &value, &seed);
    }
    if (status == BQ_OK && event->type != ENGINE_REMOVE) {
        status = check_limits(engine, lane, &mine, &value);
    }
    if (status != BQ_OK) {
        return status;
    }
    if (event->type == ENGINE_SEED && json_equal(arena, &mine, &value)) {
        return BQ_OK; /* an app's defaults at each of its starts */
    }
    if (event->type == ENGINE_LEGACY && engine_carried_known(engine, event->path)) {
        return BQ_OK;
    }
    if (lane == NULL) {
        lane = engine_lane_make(engine, event->key);
        if (lane == NULL) {
            return BQ_NOMEM;
        }
        lane->parts = ENGINE_LANE_SYNCED | ENGINE_LANE_MINE | ENGINE_LANE_REST;
    }
    set_priority(lane, event->flags);
    /* Before the first exchange nobody knows which fields are sums: the document waits as it is. */
    bool is_first = lane->version == 0 && lane->seed.ptr == NULL && lane->frozen.n == 0;
    if (event->type == ENGINE_GUEST && engine->meta.epoch.ptr == NULL && is_first &&
        json_is_absent(&mine)) {
        lane->guest = true;
        seed = value;
    }
    if (event->type == ENGINE_LEGACY) {
        /* Its counts are in what that app queued: as an ordinary edit they would come twice. */
        status = lane_add_seed(engine, lane, &seed);
        if (status == BQ_OK) {
            status = engine_carry_mark(engine, lane, event);
        }
    } else if (!json_is_absent(&seed)) {
        status = lane_keep_seed(engine, lane, &seed);
    }
    if (status == BQ_OK) {
        status = lane_set_mine(engine, lane, &value);
    }
    if (status == BQ_OK) {
        mark_written(engine, lane, event->flags);
    }
    return status == BQ_OK ? BQ_OK : BQ_NOMEM;
}

/* ---- The log of acknowledged edits ---- */

void engine_log_forget(struct engine *engine, struct edit_item *item)
{
    struct engine_action *action = engine_act(engine, ENGINE_DROP_LOG);
    if (action != NULL) {
        action->edit.key = item->lane->key;
        action->edit.op = item->op;
    }
    engine->log_bytes -= item->text.len;
    text_drop(engine, &item->text);
}

void engine_log_remove(struct engine *engine, uint32_t i)
{
    engine_log_forget(engine, &engine->log.items[i]);
    edit_list_remove(&engine->log, i);
}

void engine_trim_log(struct engine *engine)
{
    while (engine->log.n > 0 &&
           (engine->log_bytes > LIMIT_LOG_BYTES ||
            engine->log.items[0].at_ms < engine->now_ms - LIMIT_LOG_DAYS * DAY_MS)) {
        engine_log_remove(engine, 0);
    }
}

/* ---- Dead letters ---- */

int engine_dead_add(struct engine *engine, struct lane *lane, int status, struct slice message,
                    struct slice edit)
{
    struct engine_dead_row row = {engine->meta.next_dead, lane->key, status, message, edit,
                                  engine->now_ms};
    int failed = engine_load_dead(engine, &row);
    if (failed != BQ_OK) {
        return failed;
    }
    struct dead_item *item = &engine->dead[engine->n_dead - 1];
    struct engine_action *action = engine_act(engine, ENGINE_ADD_DEAD);
    if (action != NULL) {
        action->dead = (struct engine_dead_row){item->dead_id, lane->key,  item->status,
                                                item->message, item->edit, item->at_ms};
    }
    engine->meta.next_dead++;
    engine_want_report(engine);
    lane->refused = true;
    lane->parts |= ENGINE_LANE_REST;
    action = engine_act(engine, ENGINE_NOTIFY);
    if (action != NULL) {
        action->notify = (struct engine_notify){BQ_EVENT_DEAD_LETTER, lane->key,
                                                BQ_FAILED_PERMANENT, status, item->message};
    }
    return BQ_OK;
}

static void dead_remove(struct engine *engine, uint32_t i)
{
    struct dead_item *item = &engine->dead[i];
    struct engine_action *action = engine_act(engine, ENGINE_DROP_DEAD);
    if (action != NULL) {
        action->dead.dead_id = item->dead_id;
    }
    struct lane *lane = engine_lane(engine, item->key);
    bool others = false;
    for (uint32_t k = 0; k < engine->n_dead; k++) {
        others |= k != i && slice_equal(engine->dead[k].key, item->key);
    }
    text_drop(engine, &item->key);
    text_drop(engine, &item->message);
    text_drop(engine, &item->edit);
    memmove(item, item + 1, (engine->n_dead - i - 1) * sizeof *item);
    engine->n_dead--;
    engine_want_report(engine);
    if (lane != NULL && lane->refused && !others) {
        lane->refused = false;
        lane->parts |= ENGINE_LANE_REST;
    }
}

int engine_dead_discard(struct engine *engine, int64_t dead_id)
{
    uint32_t before = engine->n_dead;
    for (uint32_t i = engine->n_dead; i > 0; i--) {
        if (dead_id == 0 || engine->dead[i - 1].dead_id == dead_id) {
            dead_remove(engine, i - 1);
        }
    }
    if (before == engine->n_dead && dead_id != 0) {
        return engine_fail(engine, BQ_NOT_FOUND, "there is no dead letter %lld",
                           (long long)dead_id);
    }
    return BQ_OK;
}

/* The edit once more, on the document as it is now. */
static int retry_one(struct engine *engine, const struct dead_item *item)
{
    struct arena *arena = &engine->out->arena;
    struct proto_edit edit;
    struct proto_problem problem;
    struct merge_result result;
    struct json_value wire, mine;
    struct lane *lane = engine_lane_make(engine, item->key);
    if (lane == NULL) {
        return BQ_NOMEM;
    }
    int status = lane_read_text(arena, item->edit, &wire);
    if (status == BQ_OK) {
        status = proto_edit_read(arena, &wire, &edit, &problem);
    }
    if (status == BQ_OK) {
        status = lane_read_text(arena, lane->mine, &mine);
    }
    if (status != BQ_OK) {
        return status;
    }
    struct merge_document below = {mine, json_is_absent(&mine) ? 0 : 1, false, 0};
    edit.edit.base = edit.edit.deletes ? below.version : -1;
    status = merge_apply(arena, &below, &edit.edit, lane_policy(engine, lane), NULL, &result);
    if (status != BQ_OK) {
        return status == BQ_NOMEM ? status : engine_fail(engine, status, "%s", status_text(status));
    }
    struct json_value value = result.document.deleted ? json_absent() : result.document.value;
    status = json_is_absent(&value) ? BQ_OK : check_limits(engine, lane, &mine, &value);
    if (status != BQ_OK) {
        return status;
    }
    lane->parts |= ENGINE_LANE_REST;
    status = lane_set_mine(engine, lane, &value);
    if (status == BQ_OK) {
        mark_written(engine, lane, BQ_IMMEDIATE);
    }
    return status;
}

int engine_dead_retry(struct engine *engine, int64_t dead_id)
{
    bool found = false;
    for (uint32_t i = 0; i < engine->n_dead;) {
        if (dead_id != 0 && engine->dead[i].dead_id != dead_id) {
            i++;
            continue;
        }
        int status = retry_one(engine, &engine->dead[i]);
        if (status != BQ_OK) {
            return status;
        }
        dead_remove(engine, i);
        found = true;
    }
    if (!found && dead_id != 0) {
        return engine_fail(engine, BQ_NOT_FOUND, "there is no dead letter %lld",
                           (long long)dead_id);
    }
    return BQ_OK;
}
