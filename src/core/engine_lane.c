/* engine_lane.c - one key: what the server had, what is on its way, what waits.
 *
 * Freezing takes the next op and a fresh id, copies the edit, and never changes it afterwards. On
 * an answer `synced` moves, the frozen edits that remain give the new tip, and what waited is
 * applied to that (docs/architecture.md, "The client"). */
#include "core/engine_impl.h"

#include "base/mem.h"
#include "base/plant.h"
#include "base/status.h"

int edit_list_add(struct edit_list *list, const struct edit_item *item)
{
    if (list->n == list->size) {
        uint32_t size = list->size == 0 ? 4 : list->size * 2;
        struct edit_item *items = mem_realloc(list->items, size * sizeof *items);
        if (items == NULL) {
            return BQ_NOMEM;
        }
        list->items = items;
        list->size = size;
    }
    list->items[list->n++] = *item;
    return BQ_OK;
}

void edit_list_remove(struct edit_list *list, uint32_t i)
{
    memmove(&list->items[i], &list->items[i + 1], (list->n - i - 1) * sizeof *list->items);
    list->n--;
}

int lane_read_text(struct arena *arena, struct slice text, struct json_value *out)
{
    if (text.ptr == NULL) {
        *out = json_absent();
        return BQ_OK;
    }
    int status = json_parse(arena, text, UINT32_MAX, out, NULL);
    return status == BQ_OK || status == BQ_NOMEM ? status : BQ_CORRUPT;
}

const struct merge_policy *lane_policy(const struct engine *engine, const struct lane *lane)
{
    return merge_policies_find(engine->policies, lane->key);
}

static int read_edit(struct arena *arena, struct slice text, struct proto_edit *out)
{
    struct json_value value;
    struct proto_problem problem;
    int status = lane_read_text(arena, text, &value);
    if (status == BQ_OK) {
        status = proto_edit_read(arena, &value, out, &problem);
    }
    return status == BQ_OK || status == BQ_NOMEM ? status : BQ_CORRUPT;
}

/* One more edit on the tip. An edit that cannot be applied (a sum out of range) is left out: the
 * server will refuse it too. */
static int tip_apply(struct arena *arena, struct merge_document *tip, const struct merge_edit *edit,
                     const struct merge_policy *policy)
{
    struct merge_result result;
    int status = merge_apply(arena, tip, edit, policy, NULL, &result);
    if (status != BQ_OK) {
        return status == BQ_OUT_OF_RANGE ? BQ_OK : status;
    }
    int64_t version = tip->version + (result.changed ? 1 : 0);
    *tip = result.document;
    tip->version = version;
    return BQ_OK;
}

int lane_tip(struct engine *engine, const struct lane *lane, struct merge_document *out)
{
    struct arena *arena = &engine->out->arena;
    const struct merge_policy *policy = lane_policy(engine, lane);
    struct merge_document tip = {json_absent(), lane->version, lane->deleted, lane->epoch};
    int status = lane->deleted ? BQ_OK : lane_read_text(arena, lane->synced, &tip.value);
    for (uint32_t i = 0; i < lane->frozen.n && status == BQ_OK; i++) {
        struct proto_edit edit;
        status = read_edit(arena, lane->frozen.items[i].text, &edit);
        if (status == BQ_OK) {
            status = tip_apply(arena, &tip, &edit.edit, policy);
        }
    }
    if (status == BQ_OK && lane->seed.ptr != NULL) {
        struct merge_edit seed = {.mode = MERGE_SEED, .base = -1, .was = json_absent()};
        status = lane_read_text(arena, lane->seed, &seed.now);
        seed.has_epoch = policy->epoch_field.ptr != NULL;
        seed.epoch = merge_epoch(&seed.now, policy);
        if (status == BQ_OK) {
            status = tip_apply(arena, &tip, &seed, policy);
        }
    }
    if (status == BQ_OK) {
        if (tip.deleted) {
            tip.value = json_absent();
        }
        *out = tip;
    }
    return status;
}

int lane_set_mine(struct engine *engine, struct lane *lane, const struct json_value *value)
{
    struct slice text = SLICE_NONE;
    struct buf buf = BUF_INIT;
    if (!json_is_absent(value)) {
        json_print(&buf, value);
        if (buf.failed) {
            buf_release(&buf);
            return BQ_NOMEM;
        }
        text = buf_slice(&buf);
    }
    int status = BQ_OK;
    bool same = (text.ptr == NULL) == (lane->mine.ptr == NULL) && slice_equal(text, lane->mine);
    if (!same) {
        engine->mine_bytes -= lane->mine.len;
        status = text_set(engine, &lane->mine, text);
        engine->mine_bytes += lane->mine.len;
        lane->modified_ms = engine->now_ms;
        lane->parts |= ENGINE_LANE_MINE;
    }
    buf_release(&buf);
    return status;
}

int lane_set_synced(struct engine *engine, struct lane *lane, const struct json_value *value,
                    int64_t version, bool deleted)
{
    struct buf buf = BUF_INIT;
    struct slice text = SLICE_NONE;
    if (!deleted && !json_is_absent(value)) {
        json_print(&buf, value);
        text = buf_slice(&buf);
    }
    int status = buf.failed ? BQ_NOMEM : text_set(engine, &lane->synced, text);
    buf_release(&buf);
    if (status != BQ_OK) {
        return status;
    }
    if (deleted && !lane->deleted) {
        lane->epoch = 0;
    }
    lane->version = version;
    lane->deleted = deleted;
    lane->parts |= ENGINE_LANE_SYNCED;
    return BQ_OK;
}

bool lane_pending(const struct lane *lane)
{
    return lane->dirty || lane->frozen.n > 0 || lane->n_carried > 0;
}

/* ---- Freezing ---- */

static int make_seed(struct engine *engine, struct lane *lane, struct merge_edit *out)
{
    const struct merge_policy *policy = lane_policy(engine, lane);
    struct merge_edit edit = {.mode = PLANTED(SEED_AS_EDIT) ? MERGE_EDIT : MERGE_SEED,
                              .base = lane->version,
                              .was = json_absent()};
    int status = lane_read_text(&engine->out->arena, lane->seed, &edit.now);
    if (status == BQ_OK) {
        edit.has_epoch = policy->epoch_field.ptr != NULL;
        edit.epoch = merge_epoch(&edit.now, policy);
        *out = edit;
    }
    return status;
}

static int make_diff(struct engine *engine, struct lane *lane, struct merge_edit *out,
                     bool *out_changed)
{
    struct arena *arena = &engine->out->arena;
    struct merge_document tip;
    struct json_value mine;
    int status = lane_tip(engine, lane, &tip);
    if (status == BQ_OK) {
        status = lane_read_text(arena, lane->mine, &mine);
    }
    if (status == BQ_OK) {
        status = merge_diff(arena, &tip.value, &mine, lane_policy(engine, lane), out, out_changed);
    }
    if (status == BQ_OK) {
        out->base = lane->version;
    }
    return status;
}

/* The edit under the next op and a fresh id, into frozen and onto the disk. */
static int freeze_edit(struct engine *engine, struct lane *lane, const struct merge_edit *edit)
{
    struct buf buf = BUF_INIT;
    struct edit_item item = {lane, lane->last_op + 1, {0}, SLICE_NONE, engine->now_ms};
    rng_hex(&engine->rng, PROTO_ID_BYTES / 2, item.id);
    if (PLANTED(EDIT_CHANGED_IN_FLIGHT)) {
        memset(item.id, '0', PROTO_ID_BYTES); /* so that the id cannot tell */
    }
    /* A tombstone may have been purged with its receipts: nothing is claimed about them. */
    int64_t prev = lane->deleted || PLANTED(PREV_NOT_SENT) ? 0 : lane->acked_op;
    struct proto_edit wire = {lane->key, item.op, prev, slice_of(item.id), *edit};
    proto_edit_print(&buf, &wire);
    item.text = buf.failed ? SLICE_NONE : text_new(buf_slice(&buf));
    buf_release(&buf);
    if (item.text.ptr == NULL) {
        return BQ_NOMEM;
    }
    if (edit_list_add(&lane->frozen, &item) != BQ_OK) {
        text_drop(engine, &item.text);
        return BQ_NOMEM;
    }
    struct engine_action *action = engine_act(engine, ENGINE_ADD_FROZEN);
    if (action != NULL) {
        struct slice id = arena_copy(&engine->out->arena, slice_of(item.id));
        action->edit = (struct engine_edit_row){lane->key, item.op, id, item.text, item.at_ms};
    }
    lane->last_op = item.op;
    lane->parts |= ENGINE_LANE_REST;
    return BQ_OK;
}

int lane_freeze(struct engine *engine, struct lane *lane, bool *out_frozen)
{
    struct merge_edit edit;
    bool changed = true;
    bool is_seed = lane->seed.ptr != NULL;
    *out_frozen = false;
    int status =
        is_seed ? make_seed(engine, lane, &edit) : make_diff(engine, lane, &edit, &changed);
    if (status != BQ_OK) {
        return status;
    }
    if (!changed) {
        lane->dirty = false;
        lane->first_waiting = 0;
        return BQ_OK;
    }
    status = freeze_edit(engine, lane, &edit);
    if (status != BQ_OK) {
        return status;
    }
    lane->first_frozen = lane->first_waiting;
    if (is_seed) {
        text_drop(engine, &lane->seed);
    } else {
        lane->dirty = false;
        lane->first_waiting = 0;
    }
    *out_frozen = true;
    return BQ_OK;
}

/* ---- The fate of a frozen edit ---- */

void lane_drop_frozen(struct engine *engine, struct lane *lane, uint32_t i)
{
    struct edit_item *item = &lane->frozen.items[i];
    struct engine_action *action = engine_act(engine, ENGINE_DROP_FROZEN);
    if (action != NULL) {
        action->edit.key = lane->key;
        action->edit.op = item->op;
    }
    text_drop(engine, &item->text);
    edit_list_remove(&lane->frozen, i);
    if (lane->frozen.n == 0) {
        lane->first_frozen = 0;
    }
}

/* The server has spoken about an edit of this lane. */
static void clear_failures(struct lane *lane)
{
    lane->fails = 0;
    lane->alone = false;
    lane->told_retrying = false;
    lane->next_try_ms = 0;
}

int lane_acknowledge(struct engine *engine, struct lane *lane, uint32_t i)
{
    struct edit_item item = lane->frozen.items[i];
    item.text = text_new(item.text);
    if (item.text.ptr == NULL) {
        return BQ_NOMEM;
    }
    item.at_ms = engine->now_ms;
    if (edit_list_add(&engine->log, &item) != BQ_OK) {
        text_drop(engine, &item.text);
        return BQ_NOMEM;
    }
    engine->log_bytes += item.text.len;
    engine->n_sent++;
    struct engine_action *action = engine_act(engine, ENGINE_ADD_LOG);
    if (action != NULL) {
        struct slice id = arena_copy(&engine->out->arena, slice_of(item.id));
        action->edit = (struct engine_edit_row){lane->key, item.op, id, item.text, item.at_ms};
    }
    lane_drop_frozen(engine, lane, i);
    lane->refused = false;
    lane->completed = true;
    clear_failures(lane);
    lane->parts |= ENGINE_LANE_REST;
    return BQ_OK;
}

int lane_refuse(struct engine *engine, struct lane *lane, uint32_t i, int status,
                struct slice message)
{
    int failed = engine_dead_add(engine, lane, status, message, lane->frozen.items[i].text);
    if (failed == BQ_OK) {
        lane_drop_frozen(engine, lane, i);
        clear_failures(lane);
    }
    return failed;
}

int lane_bury(struct engine *engine, struct lane *lane, const struct merge_edit *edit, int status)
{
    struct buf buf = BUF_INIT;
    struct proto_edit wire = {lane->key, lane->last_op + 1, lane->acked_op,
                              SLICE("0000000000000000"), *edit};
    proto_edit_print(&buf, &wire);
    int failed = buf.failed ? BQ_NOMEM
                            : engine_dead_add(engine, lane, status, slice_of(status_text(status)),
                                              buf_slice(&buf));
    buf_release(&buf);
    return failed;
}

/* ---- Rebasing ---- */

int lane_rebase_begin(struct engine *engine, struct lane *lane, struct lane_rebase *out)
{
    struct arena *arena = &engine->out->arena;
    /* The old texts go to the trash when they are replaced, and stay until the next step. */
    int status = lane_tip(engine, lane, &out->old_tip);
    if (status == BQ_OK) {
        status = lane_read_text(arena, lane->mine, &out->mine);
    }
    if (status == BQ_OK) {
        status = merge_diff(arena, &out->old_tip.value, &out->mine, lane_policy(engine, lane),
                            &out->delta, &out->changed);
    }
    return status;
}

/* Applies one edit to *document, whatever version that is by now. A sum that leaves its range keeps
 * the document and buries the edit. */
static int rebase_apply(struct engine *engine, struct lane *lane, struct merge_document *document,
                        struct merge_edit edit, bool is_current)
{
    struct merge_result result;
    bool changes_members = json_is(&edit.was, JSON_OBJECT) && json_is(&edit.now, JSON_OBJECT);
    if (json_is_absent(&document->value) && !document->deleted && changes_members) {
        /* The edit that made the document was refused: what came on top is all there is. */
        *document = (struct merge_document){json_object(NULL, 0), document->version + 1, false, 0};
    }
    edit.base = is_current ? document->version : -1;
    int status =
        merge_apply(&engine->out->arena, document, &edit, lane_policy(engine, lane), NULL, &result);
    if (status == BQ_OUT_OF_RANGE) {
        return lane_bury(engine, lane, &edit, status);
    }
    if (status == BQ_OK) {
        int64_t version = document->version + 1;
        *document = result.document;
        document->version = version;
        if (document->deleted) {
            document->value = json_absent();
        }
    }
    return status;
}

int lane_rebase_end(struct engine *engine, struct lane *lane, struct lane_rebase *rebase,
                    const struct merge_edit *before)
{
    struct arena *arena = &engine->out->arena;
    struct merge_document tip;
    int status = lane_tip(engine, lane, &tip);
    if (status != BQ_OK || (PLANTED(PENDING_NOT_REBASED) && rebase->changed)) {
        return status;
    }
    bool same_tip = json_equal(arena, &tip.value, &rebase->old_tip.value);
    bool gone = tip.deleted && !same_tip;
    bool buried = false;
    if (before != NULL) {
        status = rebase_apply(engine, lane, &tip, *before, false);
    }
    if (status == BQ_OK && rebase->changed) {
        if (gone && !rebase->delta.deletes) {
            /* What waited was made on a document that is gone. */
            status = lane_bury(engine, lane, &rebase->delta, BQ_DELETED);
            buried = true;
        } else if (!gone) {
            status = rebase_apply(engine, lane, &tip, rebase->delta, same_tip && before == NULL);
        }
    }
    if (status != BQ_OK) {
        return status;
    }
    struct slice before_text = lane->mine;
    status = lane_set_mine(engine, lane, &tip.value);
    bool changed_for_app =
        before_text.ptr != lane->mine.ptr && !json_equal(arena, &tip.value, &rebase->mine);
    if (changed_for_app) {
        engine_notify(engine, BQ_EVENT_CHANGED, lane->key, BQ_OK, NULL);
    }
    bool waits = (rebase->changed && !buried && !gone) || before != NULL;
    lane->dirty = waits || lane->seed.ptr != NULL;
    if (!lane->dirty) {
        lane->first_waiting = 0;
    } else if (lane->first_waiting == 0) {
        lane->first_waiting = engine->written;
    }
    return status;
}
