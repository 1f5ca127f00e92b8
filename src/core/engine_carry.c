/* engine_carry.c - edits that an older app had queued, sent as that app would have sent them.
 *
 * What such an app queues is a whole document and the version that it expects. Only the server can
 * make an edit of that (docs/protocol.md 11): it remembers what this device sent with the same
 * version, and what was in the document then. So an item goes out by the older call, under the
 * older device id, in the order of the queue. Where the older app had sent it already and its
 * answer was lost, the server knows the pair and counts nothing twice; edits queued one upon the
 * other carry each other's counts there as well.
 *
 * As long as one waits nothing else of this user goes out: what the lanes hold was made later. A
 * row whose item is done stays, for its id: an import that is repeated takes nothing twice. */
#include "core/engine_impl.h"

#include "base/mem.h"
#include "base/status.h"
#include "core/backoff.h"

#define ITEM_DEPTH 1100u

bool engine_carried_known(const struct engine *engine, struct slice id)
{
    for (uint32_t i = 0; i < engine->n_carried; i++) {
        if (slice_equal(engine->carried[i].id, id)) {
            return true;
        }
    }
    return false;
}

static int add(struct engine *engine, struct lane *lane, const struct engine_carried_row *row)
{
    if (engine->n_carried == engine->carried_size) {
        uint32_t size = engine->carried_size == 0 ? 16 : engine->carried_size * 2;
        struct carried_item *items = mem_realloc(engine->carried, size * sizeof *items);
        if (items == NULL) {
            return BQ_NOMEM;
        }
        engine->carried = items;
        engine->carried_size = size;
    }
    struct carried_item item = {.number = row->number, .lane = lane, .version = row->version,
                                .first = engine->written};
    if (text_set(engine, &item.id, row->id) != BQ_OK ||
        text_set(engine, &item.device, row->device) != BQ_OK ||
        text_set(engine, &item.item, row->item) != BQ_OK) {
        text_drop(engine, &item.id);
        text_drop(engine, &item.device);
        return BQ_NOMEM;
    }
    lane->n_carried += item.item.ptr != NULL ? 1 : 0;
    engine->carried[engine->n_carried++] = item;
    return BQ_OK;
}

int engine_load_carried(struct engine *engine, const struct engine_carried_row *row)
{
    if (!proto_key_valid(row->key) || row->id.ptr == NULL) {
        return engine_fail(engine, BQ_CORRUPT, "a carried item belongs to no document");
    }
    struct lane *lane = engine_lane_make(engine, row->key);
    return lane == NULL ? BQ_NOMEM : add(engine, lane, row);
}

void engine_carried_release(struct engine *engine)
{
    for (uint32_t i = 0; i < engine->n_carried; i++) {
        text_drop(engine, &engine->carried[i].id);
        text_drop(engine, &engine->carried[i].device);
        text_drop(engine, &engine->carried[i].item);
    }
    engine->n_carried = 0;
    engine->carried_at = 0;
}

static int save(struct engine *engine, const struct carried_item *item)
{
    struct engine_action *action = engine_act(engine, ENGINE_PUT_CARRIED);
    if (action == NULL) {
        return BQ_NOMEM;
    }
    action->carried = (struct engine_carried_row){item->number, item->lane->key, item->id,
                                                  item->device, item->item, item->version};
    return BQ_OK;
}

bool engine_carried_any(const struct engine *engine, const struct lane *lane)
{
    for (uint32_t i = 0; i < engine->n_carried; i++) {
        if (engine->carried[i].lane == lane) {
            return true;
        }
    }
    return false;
}

int64_t engine_carried_version(const struct engine *engine, const struct lane *lane)
{
    int64_t version = 0;
    for (uint32_t i = 0; i < engine->n_carried; i++) {
        if (engine->carried[i].lane == lane) {
            version = engine->carried[i].version;
        }
    }
    return version;
}

/* ---- Coming in ---- */

static int take(struct engine *engine, struct lane *lane, struct engine_carried_row *row)
{
    row->number = engine->n_carried == 0 ? 1 : engine->carried[engine->n_carried - 1].number + 1;
    row->key = lane->key;
    int status = add(engine, lane, row);
    return status == BQ_OK ? save(engine, &engine->carried[engine->n_carried - 1]) : status;
}

int engine_carry(struct engine *engine, const struct engine_event *event)
{
    struct engine_carried_row row = {
        .id = event->path, .device = event->device, .item = event->text,
        .version = event->version};
    if (!proto_key_valid(event->key)) {
        return engine_fail(engine, BQ_BAD_KEY, "%s", status_text(BQ_BAD_KEY));
    }
    if (engine_carried_known(engine, event->path)) {
        return BQ_OK;
    }
    struct lane *lane = engine_lane_make(engine, event->key);
    if (lane == NULL) {
        return BQ_NOMEM;
    }
    engine->written++;
    return take(engine, lane, &row);
}

int engine_carry_mark(struct engine *engine, struct lane *lane, const struct engine_event *event)
{
    struct engine_carried_row row = {.id = event->path, .version = event->version};
    return take(engine, lane, &row);
}

/* ---- Going out ---- */

struct carried_item *engine_carried_first(struct engine *engine)
{
    while (engine->carried_at < engine->n_carried &&
           engine->carried[engine->carried_at].item.ptr == NULL) {
        engine->carried_at++;
    }
    return engine->carried_at < engine->n_carried ? &engine->carried[engine->carried_at] : NULL;
}

static void add_member(struct buf *out, const char *name, struct slice value)
{
    buf_add_text(out, name);
    json_print_string(out, value);
}

int engine_carried_body(struct engine *engine, const struct carried_item *item,
                        const char **out_function, struct buf *out)
{
    struct json_value value;
    int status = lane_read_text(&engine->out->arena, item->item, &value);
    if (status != BQ_OK) {
        return status;
    }
    if (item->device.ptr == NULL) {
        *out_function = "atomic_sync_data";
        add_member(out, "{\"target_user_id\":", slice_of(engine->config.user));
        add_member(out, ",\"new_data\":{", item->lane->key);
        buf_add_char(out, ':');
        json_print(out, &value);
        buf_add_text(out, "}}");
        return BQ_OK;
    }
    const struct json_value *data = json_get(&value, "data");
    if (data == NULL) {
        return BQ_CORRUPT;
    }
    *out_function = "atomic_sync_upsert";
    add_member(out, "{\"p_user_id\":", slice_of(engine->config.user));
    add_member(out, ",\"p_data_key\":", item->lane->key);
    buf_add_text(out, ",\"p_data\":");
    json_print(out, data);
    buf_add_text(out, ",\"p_expected_version\":");
    buf_add_int(out, item->version);
    add_member(out, ",\"p_device_id\":", item->device);
    buf_add_char(out, '}');
    return BQ_OK;
}

/* ---- Answers ---- */

static int done(struct engine *engine)
{
    struct carried_item *item = engine_carried_first(engine);
    engine_clear_flight(engine);
    engine->carried_fails = 0;
    engine->fails = 0;
    engine->gate_at_ms = 0;
    engine->last_status = BQ_OK;
    engine->pull_wanted = true; /* what came of it */
    engine->n_sent++;
    item->lane->n_carried--;
    text_drop(engine, &item->item);
    return save(engine, item);
}

/* A dead letter, as a seed: of what an older app sent nobody knows what it was made from. */
static int bury(struct engine *engine, struct carried_item *item, int status, struct slice why)
{
    struct buf buf = BUF_INIT;
    struct json_value value;
    int failed = lane_read_text(&engine->out->arena, item->item, &value);
    if (failed != BQ_OK) {
        return failed;
    }
    const struct json_value *data = json_get(&value, item->device.ptr == NULL ? "value" : "data");
    struct merge_edit edit = {.mode = MERGE_SEED, .base = -1, .was = json_absent(),
                              .now = data == NULL ? json_object(NULL, 0) : *data};
    struct proto_edit wire = {item->lane->key, item->lane->last_op + 1, item->lane->acked_op,
                              SLICE("0000000000000000"), edit};
    proto_edit_print(&buf, &wire);
    failed = buf.failed ? BQ_NOMEM
                        : engine_dead_add(engine, item->lane, status,
                                          arena_copy(&engine->out->arena, why), buf_slice(&buf));
    buf_release(&buf);
    return failed == BQ_OK ? done(engine) : failed;
}

/* A server may refuse for a while (it is being migrated): five times, then it is a dead letter. */
int engine_carried_refused(struct engine *engine, int status, const struct engine_event *event,
                           struct slice why)
{
    struct carried_item *item = engine_carried_first(engine);
    engine->carried_fails++;
    if (status == BQ_TOO_LARGE || status == BQ_INVALID ||
        engine->carried_fails >= BACKOFF_FAILURES) {
        return bury(engine, item, status, why);
    }
    engine_request_failed(engine, status, event->retry_after_ms, false);
    return BQ_OK;
}

static bool says_invalid(struct slice why)
{
    return why.len >= 7 && memmem(why.ptr, why.len, "invalid", 7) != NULL;
}

int engine_carried_answer(struct engine *engine, const struct engine_event *event)
{
    struct json_value value;
    struct slice why = SLICE("the server refuses the call of the older app");
    int status = json_parse(&engine->out->arena, event->text, ITEM_DEPTH, &value, NULL);
    if (status == BQ_NOMEM) {
        return status;
    }
    const struct json_value *success = status == BQ_OK && value.type == JSON_OBJECT
                                           ? json_get(&value, "success") : &value;
    if (status != BQ_OK || success == NULL ||
        (success->type != JSON_TRUE && success->type != JSON_FALSE)) {
        engine_request_failed(engine, BQ_PROTOCOL, event->retry_after_ms, false);
        return BQ_OK;
    }
    if (success->type == JSON_TRUE) {
        return done(engine);
    }
    const struct json_value *error =
        value.type == JSON_OBJECT ? json_get(&value, "error") : NULL;
    if (json_is(error, JSON_STRING)) {
        why = json_text(error);
    }
    return engine_carried_refused(engine, says_invalid(why) ? BQ_INVALID : BQ_SERVER, event, why);
}
