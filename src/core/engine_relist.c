/* engine_relist.c - the rare events that concern a whole file: a new epoch of the store, a complete
 * listing, a restored copy of the file, an erased user.
 *
 * New epoch (docs/protocol.md, "Epoch"): acknowledged edits may be gone. When the last page is
 * here, each lane takes the server's document, and all edits of its log and of frozen that are
 * newer than the server's receipt are frozen again, in order, under their old numbers and ids,
 * with base -1.
 *
 * Rewound: the server saw a higher number, or this number under another id, from this device: the
 * file is a copy that was restored or cloned. Which of its sums were counted cannot be known, so
 * what the file has over its synced documents goes on without them, under a new device id. */
#include "core/engine_impl.h"

#include "base/mem.h"
#include "base/plant.h"

void relist_release(struct engine *engine)
{
    struct relist *relist = &engine->relist;
    text_drop(engine, &relist->epoch);
    arena_reset(&relist->arena);
    relist->active = false;
    relist->new_epoch = false;
    relist->cursor = 0;
    relist->rows = NULL;
    relist->n_rows = 0;
    relist->size = 0;
}

/* ---- Collecting pages ---- */

static int keep_row(struct relist *relist, const struct proto_change *row)
{
    struct arena *arena = &relist->arena;
    struct buf buf = BUF_INIT;
    if (relist->n_rows == relist->size) {
        uint32_t size = relist->size == 0 ? 64 : relist->size * 2;
        struct proto_change *rows = arena_alloc(arena, size * sizeof *rows);
        if (rows == NULL) {
            return BQ_NOMEM;
        }
        if (relist->n_rows > 0) {
            memcpy(rows, relist->rows, relist->n_rows * sizeof *rows);
        }
        relist->rows = rows;
        relist->size = size;
    }
    struct proto_change *copy = &relist->rows[relist->n_rows];
    *copy = *row;
    json_print(&buf, &row->data);
    struct slice text = buf.failed ? SLICE_NONE : arena_copy(arena, buf_slice(&buf));
    buf_release(&buf);
    copy->key = arena_copy(arena, row->key);
    copy->id = row->id.ptr == NULL ? SLICE_NONE : arena_copy(arena, row->id);
    copy->device_id = SLICE_NONE;
    if (text.ptr == NULL || arena_failed(arena)) {
        return BQ_NOMEM;
    }
    relist->n_rows++;
    return lane_read_text(arena, text, &copy->data);
}

static int begin(struct engine *engine, const struct proto_answer *answer)
{
    relist_release(engine);
    engine->relist.active = true;
    engine->relist.new_epoch = answer->epoch_changed;
    return text_set(engine, &engine->relist.epoch, answer->epoch);
}

/* ---- Adopting them ---- */

/* The edit with base -1, and prev as the server knows it; op and id stay. */
static int renew(struct engine *engine, const struct edit_item *item, int64_t server_op,
                 struct slice *out)
{
    struct json_value wire;
    struct proto_edit edit;
    struct proto_problem problem;
    int status = lane_read_text(&engine->out->arena, item->text, &wire);
    if (status == BQ_OK) {
        status = proto_edit_read(&engine->out->arena, &wire, &edit, &problem);
    }
    if (status != BQ_OK) {
        return status == BQ_NOMEM ? status : BQ_CORRUPT;
    }
    struct buf buf = BUF_INIT;
    edit.edit.base = -1;
    edit.prev = server_op;
    proto_edit_print(&buf, &edit);
    *out = buf.failed ? SLICE_NONE : text_new(buf_slice(&buf));
    buf_release(&buf);
    return out->ptr == NULL ? BQ_NOMEM : BQ_OK;
}

static int freeze_again(struct engine *engine, struct edit_list *list, const struct edit_item *item,
                        int64_t server_op)
{
    struct edit_item copy = *item;
    int status = renew(engine, item, server_op, &copy.text);
    if (status != BQ_OK) {
        return status;
    }
    copy.at_ms = engine->now_ms;
    if (edit_list_add(list, &copy) != BQ_OK) {
        text_drop(engine, &copy.text);
        return BQ_NOMEM;
    }
    struct engine_action *action = engine_act(engine, ENGINE_ADD_FROZEN);
    if (action != NULL) {
        struct slice id = arena_copy(&engine->out->arena, slice_of(copy.id));
        action->edit = (struct engine_edit_row){copy.lane->key, copy.op, id, copy.text, copy.at_ms};
    }
    return BQ_OK;
}

/* By op. They are nearly in order: acknowledged edits lie in the order of a clock that may jump. */
static void sort_edits(struct edit_list *list)
{
    for (uint32_t i = 1; i < list->n; i++) {
        struct edit_item item = list->items[i];
        uint32_t at = i;
        for (; at > 0 && list->items[at - 1].op > item.op; at--) {
            list->items[at] = list->items[at - 1];
        }
        list->items[at] = item;
    }
}

/* Takes the lane's edits that the server does not know out of the log, which is compacted once. */
static int unlog(struct engine *engine, struct lane *lane, int64_t server_op, struct edit_list *out)
{
    struct edit_list *log = &engine->log;
    uint32_t kept = 0;
    int status = BQ_OK;
    for (uint32_t i = 0; i < log->n; i++) {
        struct edit_item item = log->items[i];
        if (status == BQ_OK && item.lane == lane && item.op > server_op &&
            !PLANTED(LOG_FORGOTTEN)) {
            status = freeze_again(engine, out, &item, server_op);
            if (status == BQ_OK) {
                engine_log_forget(engine, &item);
                continue;
            }
        }
        log->items[kept++] = item;
    }
    log->n = kept;
    return status;
}

static int freeze_all_again(struct engine *engine, struct lane *lane, int64_t server_op)
{
    struct edit_list list = {0};
    int status = unlog(engine, lane, server_op, &list);
    for (uint32_t i = 0; i < lane->frozen.n && status == BQ_OK; i++) {
        status = freeze_again(engine, &list, &lane->frozen.items[i], server_op);
    }
    if (status != BQ_OK) {
        for (uint32_t i = 0; i < list.n; i++) {
            text_drop(engine, &list.items[i].text);
        }
        mem_free(list.items);
        return status;
    }
    for (uint32_t i = 0; i < lane->frozen.n; i++) {
        text_drop(engine, &lane->frozen.items[i].text);
    }
    mem_free(lane->frozen.items);
    sort_edits(&list);
    lane->frozen = list;
    lane->first_frozen = list.n == 0 ? 0 : engine->written;
    return BQ_OK;
}

static bool id_differs(const struct edit_list *list, const struct lane *lane,
                       const struct proto_change *row)
{
    for (uint32_t i = 0; i < list->n; i++) {
        if (list->items[i].lane == lane && list->items[i].op == row->op) {
            return !slice_is(row->id, list->items[i].id);
        }
    }
    return false;
}

/* The server lost the whole document: the edits of this device alone would not bring back what
 * other devices, who may never come again, had written. The old tip goes as a seed, without sums:
 * those come back with their edits, each from its own device. */
static int seed_lost_document(struct engine *engine, struct lane *lane,
                              const struct merge_document *old_tip)
{
    struct arena *arena = &engine->out->arena;
    struct json_value nothing = json_absent();
    struct merge_edit edit, rest;
    bool changed = false;
    bool empty = true;
    if (lane->version == 0 || old_tip->deleted || json_is_absent(&old_tip->value)) {
        return BQ_OK;
    }
    int status =
        merge_diff(arena, &nothing, &old_tip->value, lane_policy(engine, lane), &edit, &changed);
    if (status == BQ_OK) {
        status = merge_without_sums(arena, &edit, lane_policy(engine, lane), &rest, &empty);
    }
    if (status != BQ_OK || empty) {
        return status;
    }
    struct buf buf = BUF_INIT;
    json_print(&buf, &rest.now);
    status = buf.failed ? BQ_NOMEM : text_set(engine, &lane->seed, buf_slice(&buf));
    buf_release(&buf);
    return status;
}

/* The server's receipt does not fit what this file did. */
static bool shows_rewind(const struct engine *engine, const struct proto_change *row)
{
    const struct lane *lane = engine_lane(engine, row->key);
    return row->op > (lane == NULL ? 0 : lane->last_op) ||
           (lane != NULL &&
            (id_differs(&lane->frozen, lane, row) || id_differs(&engine->log, lane, row)));
}

/* row NULL: the server has neither such a document nor a receipt. */
static int new_epoch_lane(struct engine *engine, struct lane *lane, const struct proto_change *row)
{
    int64_t server_op = row == NULL ? 0 : row->op;
    bool lost = row == NULL || row->version == 0;
    struct json_value nothing = json_absent();
    struct lane_rebase rebase;
    int status = lane_rebase_begin(engine, lane, &rebase);
    while (status == BQ_OK && lane->frozen.n > 0 && lane->frozen.items[0].op <= server_op) {
        bool refused =
            row != NULL && lane->frozen.items[0].op == server_op && row->refused != BQ_OK;
        status = refused ? lane_refuse(engine, lane, 0, row->refused, SLICE("refused"))
                         : lane_acknowledge(engine, lane, 0);
    }
    if (status == BQ_OK) {
        status = freeze_all_again(engine, lane, server_op);
    }
    if (status == BQ_OK && lost) {
        status = seed_lost_document(engine, lane, &rebase.old_tip);
    }
    if (status == BQ_OK) {
        status = lost ? lane_set_synced(engine, lane, &nothing, 0, false)
                      : lane_set_synced(engine, lane, &row->data, row->version, row->deleted);
    }
    lane->acked_op = server_op;
    lane->parts |= ENGINE_LANE_REST;
    return status == BQ_OK ? lane_rebase_end(engine, lane, &rebase, NULL) : status;
}

/* A tombstone that was purged meanwhile: the document is gone. */
static int purged_lane(struct engine *engine, struct lane *lane)
{
    struct json_value nothing = json_absent();
    struct lane_rebase rebase;
    /* Its receipts are gone with it. */
    lane->acked_op = 0;
    lane->parts |= ENGINE_LANE_REST;
    if (lane->version == 0) {
        return BQ_OK;
    }
    int status = lane_rebase_begin(engine, lane, &rebase);
    if (status == BQ_OK) {
        status = lane_set_synced(engine, lane, &nothing, 0, true);
    }
    return status == BQ_OK ? lane_rebase_end(engine, lane, &rebase, NULL) : status;
}

static int adopt_listing(struct engine *engine)
{
    struct relist *relist = &engine->relist;
    int status = BQ_OK;
    for (uint32_t i = 0; i < relist->n_rows && relist->new_epoch; i++) {
        if (shows_rewind(engine, &relist->rows[i])) {
            engine->rewind_wanted = true;
            return BQ_OK;
        }
    }
    for (uint32_t i = 0; i < engine->n_lanes; i++) {
        engine->lanes[i]->named = false;
    }
    for (uint32_t i = 0; i < relist->n_rows && status == BQ_OK; i++) {
        struct lane *lane = engine_lane_make(engine, relist->rows[i].key);
        if (lane == NULL) {
            return BQ_NOMEM;
        }
        lane->named = true;
        status = relist->new_epoch ? new_epoch_lane(engine, lane, &relist->rows[i])
                                   : engine_adopt_row(engine, &relist->rows[i]);
    }
    for (uint32_t i = 0; i < engine->n_lanes && status == BQ_OK; i++) {
        if (!engine->lanes[i]->named) {
            status = relist->new_epoch ? new_epoch_lane(engine, engine->lanes[i], NULL)
                                       : purged_lane(engine, engine->lanes[i]);
        }
    }
    return status;
}

int relist_page(struct engine *engine, const struct proto_answer *answer)
{
    struct relist *relist = &engine->relist;
    int status = BQ_OK;
    if (!relist->active || answer->epoch_changed) {
        status = begin(engine, answer);
    }
    for (uint32_t i = 0; i < answer->n_changes && status == BQ_OK; i++) {
        status = keep_row(relist, &answer->changes[i]);
    }
    if (status != BQ_OK || answer->more) {
        relist->cursor = answer->cursor;
        return status;
    }
    status = adopt_listing(engine);
    if (status != BQ_OK || (relist->new_epoch && engine->rewind_wanted)) {
        /* First the rewind, under the old epoch; then the new one is heard of again. Versions of
         * two epochs in one file could not be compared. */
        return status;
    }
    status = text_set(engine, &engine->meta.epoch, relist->epoch);
    engine->meta.cursor = answer->cursor;
    engine->meta_changed = true;
    if (status == BQ_OK) {
        relist_release(engine);
    }
    return status;
}

/* ---- Rewound ---- */

/* A seed that was on its way waits again: as an ordinary edit it would overwrite what is there. */
static int drop_frozen(struct engine *engine, struct lane *lane)
{
    int status = BQ_OK;
    while (status == BQ_OK && lane->frozen.n > 0) {
        struct json_value wire;
        struct proto_edit edit;
        struct proto_problem problem;
        status = lane_read_text(&engine->out->arena, lane->frozen.items[0].text, &wire);
        if (status == BQ_OK) {
            status = proto_edit_read(&engine->out->arena, &wire, &edit, &problem);
        }
        if (status == BQ_OK && edit.edit.mode == MERGE_SEED) {
            status = lane_keep_seed(engine, lane, &edit.edit.now);
        }
        if (status == BQ_OK) {
            lane_drop_frozen(engine, lane, 0);
        }
    }
    return status;
}

static int rewind_lane(struct engine *engine, struct lane *lane)
{
    struct arena *arena = &engine->out->arena;
    const struct merge_policy *policy = lane_policy(engine, lane);
    struct merge_document below;
    struct json_value mine;
    struct merge_edit edit, rest;
    struct merge_result result;
    bool changed, empty = true;
    int status = drop_frozen(engine, lane);
    lane->last_op = 0;
    lane->acked_op = 0;
    lane->parts |= ENGINE_LANE_REST;
    if (status == BQ_OK) {
        status = lane_tip(engine, lane, &below);
    }
    if (status == BQ_OK) {
        status = lane_read_text(arena, lane->mine, &mine);
    }
    if (status == BQ_OK) {
        status = merge_diff(arena, &below.value, &mine, policy, &edit, &changed);
    }
    if (status == BQ_OK && changed) {
        status = merge_without_sums(arena, &edit, policy, &rest, &empty);
    }
    if (status != BQ_OK) {
        return status;
    }
    if (!empty) {
        rest.base = below.version;
        status = merge_apply(arena, &below, &rest, policy, NULL, &result);
        if (status != BQ_OK) {
            return status;
        }
        below = result.document;
    }
    if (below.deleted) {
        below.value = json_absent();
    }
    lane->dirty = !empty || lane->seed.ptr != NULL;
    if (!lane->dirty) {
        lane->first_waiting = 0;
    } else if (lane->first_waiting == 0) {
        lane->first_waiting = engine->written;
    }
    return lane_set_mine(engine, lane, &below.value);
}

int engine_rewind(struct engine *engine)
{
    int status = BQ_OK;
    engine->rewind_wanted = false;
    relist_release(engine);
    while (engine->log.n > 0) {
        engine_log_remove(engine, engine->log.n - 1);
    }
    for (uint32_t i = 0; i < engine->n_lanes && status == BQ_OK; i++) {
        status = rewind_lane(engine, engine->lanes[i]);
    }
    memcpy(engine->meta.replaces, engine->meta.device_id, sizeof engine->meta.replaces);
    engine_new_device(engine);
    engine->meta.cursor = 0;
    engine->pull_wanted = true;
    engine_notify(engine, BQ_EVENT_REWOUND, SLICE_NONE, BQ_OK, NULL);
    return status;
}

/* ---- Erased ---- */

static void wipe_lane(struct engine *engine, struct lane *lane)
{
    while (lane->frozen.n > 0) {
        text_drop(engine, &lane->frozen.items[0].text);
        edit_list_remove(&lane->frozen, 0);
    }
    mem_free(lane->frozen.items);
    text_drop(engine, &lane->synced);
    text_drop(engine, &lane->mine);
    text_drop(engine, &lane->seed);
    mem_free(lane);
}

int engine_wipe(struct engine *engine)
{
    for (uint32_t i = 0; i < engine->log.n; i++) {
        text_drop(engine, &engine->log.items[i].text);
    }
    engine->log.n = 0;
    engine->log_bytes = 0;
    for (uint32_t i = 0; i < engine->n_dead; i++) {
        text_drop(engine, &engine->dead[i].key);
        text_drop(engine, &engine->dead[i].message);
        text_drop(engine, &engine->dead[i].edit);
    }
    engine->n_dead = 0;
    engine_carried_release(engine);
    for (uint32_t i = 0; i < engine->n_lanes; i++) {
        wipe_lane(engine, engine->lanes[i]);
    }
    engine->n_lanes = 0;
    engine->mine_bytes = 0;
    relist_release(engine);
    text_drop(engine, &engine->meta.epoch);
    text_drop(engine, &engine->meta.policies);
    engine->meta = (struct engine_meta){.next_dead = 1, .device_info = engine->meta.device_info};
    engine_new_device(engine);
    engine->in_flight = REQUEST_NONE;
    engine->has_token = false;
    engine->last_status = BQ_USER_ERASED;
    engine->failed = engine->begun;
    struct engine_action *action = engine_act(engine, ENGINE_WIPE);
    (void)action;
    engine_notify(engine, BQ_EVENT_WIPED, SLICE_NONE, BQ_USER_ERASED, NULL);
    return engine_read_policies(engine);
}
