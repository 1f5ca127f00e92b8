/* disk.c - see disk.h. */
#include "sim/disk.h"

#include "base/mem.h"
#include "base/status.h"

static int set_text(struct slice *text, struct slice value)
{
    char *copy = NULL;
    if (value.ptr != NULL) {
        copy = mem_dup(value.ptr, value.len);
        if (copy == NULL) {
            return BQ_NOMEM;
        }
    }
    mem_free((void *)(uintptr_t)text->ptr);
    *text = (struct slice){copy, value.len};
    return BQ_OK;
}

static void drop_texts(struct slice *texts)
{
    for (int i = 0; i < 3; i++) {
        mem_free((void *)(uintptr_t)texts[i].ptr);
        texts[i] = SLICE_NONE;
    }
}

void sim_disk_init(struct sim_disk *disk)
{
    *disk = (struct sim_disk){0};
}

static void clear_all(struct sim_disk *disk)
{
    for (size_t i = 0; i < disk->n; i++) {
        drop_texts(disk->rows[i].texts);
    }
    disk->n = 0;
    drop_texts(disk->meta_texts);
    disk->has_meta = false;
}

void sim_disk_release(struct sim_disk *disk)
{
    clear_all(disk);
    mem_free(disk->rows);
    sim_disk_init(disk);
}

static struct sim_row *find(const struct sim_disk *disk, enum sim_table table, struct slice key,
                            int64_t number)
{
    for (size_t i = 0; i < disk->n; i++) {
        struct sim_row *row = &disk->rows[i];
        if (row->table == table && row->number == number && slice_is(key, row->key)) {
            return row;
        }
    }
    return NULL;
}

/* NULL when memory is exhausted. */
static struct sim_row *add(struct sim_disk *disk)
{
    if (disk->n == disk->size) {
        size_t size = disk->size == 0 ? 16 : disk->size * 2;
        struct sim_row *rows = mem_realloc(disk->rows, size * sizeof *rows);
        if (rows == NULL) {
            return NULL;
        }
        disk->rows = rows;
        disk->size = size;
    }
    struct sim_row *row = &disk->rows[disk->n++];
    *row = (struct sim_row){.table = SIM_LANE};
    return row;
}

static struct sim_row *make(struct sim_disk *disk, enum sim_table table, struct slice key,
                            int64_t number)
{
    struct sim_row *row = find(disk, table, key, number);
    if (row != NULL || key.len > LIMIT_KEY_BYTES) {
        return row;
    }
    row = add(disk);
    if (row != NULL) {
        row->table = table;
        row->number = number;
        memcpy(row->key, key.ptr, key.len);
    }
    return row;
}

static int drop(struct sim_disk *disk, enum sim_table table, struct slice key, int64_t number)
{
    struct sim_row *row = find(disk, table, key, number);
    if (row == NULL) {
        return BQ_CORRUPT;
    }
    drop_texts(row->texts);
    memmove(row, row + 1, (size_t)(disk->rows + disk->n - row - 1) * sizeof *row);
    disk->n--;
    return BQ_OK;
}

static int save_meta(struct sim_disk *disk, const struct engine_meta *meta)
{
    int status = set_text(&disk->meta_texts[0], meta->epoch);
    if (status == BQ_OK) {
        status = set_text(&disk->meta_texts[1], meta->policies);
    }
    if (status == BQ_OK) {
        status = set_text(&disk->meta_texts[2], meta->device_info);
    }
    disk->meta = *meta;
    disk->meta.epoch = disk->meta_texts[0];
    disk->meta.policies = disk->meta_texts[1];
    disk->meta.device_info = disk->meta_texts[2];
    disk->has_meta = true;
    return status;
}

static int save_lane(struct sim_disk *disk, const struct engine_action *action)
{
    const struct engine_lane_row *from = &action->lane;
    struct sim_row *row = make(disk, SIM_LANE, from->key, 0);
    int status = row == NULL ? BQ_NOMEM : BQ_OK;
    if (status == BQ_OK && (action->parts & ENGINE_LANE_SYNCED) != 0) {
        row->lane.version = from->version;
        row->lane.deleted = from->deleted;
        row->lane.epoch = from->epoch;
        status = set_text(&row->texts[0], from->synced);
    }
    if (status == BQ_OK && (action->parts & ENGINE_LANE_MINE) != 0) {
        row->lane.modified_ms = from->modified_ms;
        status = set_text(&row->texts[1], from->mine);
    }
    if (status == BQ_OK && (action->parts & ENGINE_LANE_REST) != 0) {
        row->lane.last_op = from->last_op;
        row->lane.acked_op = from->acked_op;
        row->lane.priority = from->priority;
        row->lane.refused = from->refused;
        row->lane.guest = from->guest;
        status = set_text(&row->texts[2], from->seed);
    }
    return status;
}

static int save_edit(struct sim_disk *disk, enum sim_table table,
                     const struct engine_edit_row *edit)
{
    struct sim_row *row = make(disk, table, edit->key, edit->op);
    if (row == NULL) {
        return BQ_NOMEM;
    }
    row->edit = *edit;
    int status = set_text(&row->texts[0], edit->id);
    return status == BQ_OK ? set_text(&row->texts[1], edit->edit) : status;
}

static int save_dead(struct sim_disk *disk, const struct engine_dead_row *dead)
{
    struct sim_row *row = make(disk, SIM_DEAD, SLICE(""), dead->dead_id);
    int status = row == NULL ? BQ_NOMEM : BQ_OK;
    if (status == BQ_OK) {
        row->dead = *dead;
        status = set_text(&row->texts[0], dead->key);
    }
    if (status == BQ_OK) {
        status = set_text(&row->texts[1], dead->message);
    }
    return status == BQ_OK ? set_text(&row->texts[2], dead->edit) : status;
}

static int save_one(struct sim_disk *disk, const struct engine_action *action)
{
    switch (action->type) {
    case ENGINE_SAVE_META:
        return save_meta(disk, action->meta);
    case ENGINE_SAVE_LANE:
        return save_lane(disk, action);
    case ENGINE_DROP_LANE:
        return drop(disk, SIM_LANE, action->lane.key, 0);
    case ENGINE_ADD_FROZEN:
        return save_edit(disk, SIM_FROZEN, &action->edit);
    case ENGINE_DROP_FROZEN:
        return drop(disk, SIM_FROZEN, action->edit.key, action->edit.op);
    case ENGINE_ADD_LOG:
        return save_edit(disk, SIM_LOG, &action->edit);
    case ENGINE_DROP_LOG:
        return drop(disk, SIM_LOG, action->edit.key, action->edit.op);
    case ENGINE_ADD_DEAD:
        return save_dead(disk, &action->dead);
    case ENGINE_DROP_DEAD:
        return drop(disk, SIM_DEAD, SLICE(""), action->dead.dead_id);
    case ENGINE_WIPE:
        clear_all(disk);
        break;
    case ENGINE_PUT_CARRIED: /* nobody imports here */
    case ENGINE_SEND:
    case ENGINE_CANCEL:
    case ENGINE_NOTIFY:
        break;
    }
    return BQ_OK;
}

int sim_disk_save(struct sim_disk *disk, const struct engine_actions *actions)
{
    int status = BQ_OK;
    for (uint32_t i = 0; i < actions->n && status == BQ_OK; i++) {
        status = save_one(disk, &actions->items[i]);
    }
    return status;
}

int sim_disk_copy(struct sim_disk *to, const struct sim_disk *from)
{
    int status = BQ_OK;
    clear_all(to);
    if (from->has_meta) {
        status = save_meta(to, &from->meta);
    }
    for (size_t i = 0; i < from->n && status == BQ_OK; i++) {
        struct sim_row *copy = add(to);
        if (copy == NULL) {
            return BQ_NOMEM;
        }
        *copy = from->rows[i];
        memset(copy->texts, 0, sizeof copy->texts);
        for (int t = 0; t < 3 && status == BQ_OK; t++) {
            status = set_text(&copy->texts[t], from->rows[i].texts[t]);
        }
    }
    return status;
}

struct slice sim_disk_mine(const struct sim_disk *disk, struct slice key)
{
    const struct sim_row *row = find(disk, SIM_LANE, key, 0);
    return row == NULL ? SLICE_NONE : row->texts[1];
}

/* ---- Loading --------------------------------------------------------------------------------- */

static int load_lane(struct engine *engine, const struct sim_row *row)
{
    struct engine_lane_row lane = row->lane;
    lane.key = slice_of(row->key);
    lane.synced = row->texts[0];
    lane.mine = row->texts[1];
    lane.seed = row->texts[2];
    return engine_load_lane(engine, &lane);
}

static int load_edit(struct engine *engine, const struct sim_row *row)
{
    struct engine_edit_row edit = row->edit;
    edit.key = slice_of(row->key);
    edit.id = row->texts[0];
    edit.edit = row->texts[1];
    return (row->table == SIM_FROZEN ? engine_load_frozen : engine_load_log)(engine, &edit);
}

static int load_dead(struct engine *engine, const struct sim_row *row)
{
    struct engine_dead_row dead = row->dead;
    dead.key = row->texts[0];
    dead.message = row->texts[1];
    dead.edit = row->texts[2];
    return engine_load_dead(engine, &dead);
}

static int load_table(struct engine *engine, const struct sim_disk *disk, enum sim_table table)
{
    int status = BQ_OK;
    for (size_t i = 0; i < disk->n && status == BQ_OK; i++) {
        const struct sim_row *row = &disk->rows[i];
        if (row->table == table) {
            status = table == SIM_LANE   ? load_lane(engine, row)
                     : table == SIM_DEAD ? load_dead(engine, row)
                                         : load_edit(engine, row);
        }
    }
    return status;
}

/* Frozen edits by op, as the client's file gives them; rows lie in the order of their making. */
static int load_frozen(struct engine *engine, const struct sim_disk *disk)
{
    int64_t after = 0;
    for (;;) {
        int64_t next = INT64_MAX;
        for (size_t i = 0; i < disk->n; i++) {
            const struct sim_row *row = &disk->rows[i];
            if (row->table == SIM_FROZEN && row->number > after && row->number < next) {
                next = row->number;
            }
        }
        if (next == INT64_MAX) {
            return BQ_OK;
        }
        for (size_t i = 0; i < disk->n; i++) {
            const struct sim_row *row = &disk->rows[i];
            int status =
                row->table == SIM_FROZEN && row->number == next ? load_edit(engine, row) : BQ_OK;
            if (status != BQ_OK) {
                return status;
            }
        }
        after = next;
    }
}

int sim_disk_load(const struct sim_disk *disk, const struct engine_config *config,
                  struct engine **out)
{
    struct engine *engine;
    int status = engine_new(config, &engine);
    if (status != BQ_OK) {
        return status;
    }
    if (disk->has_meta) {
        status = engine_load_meta(engine, &disk->meta);
    }
    if (status == BQ_OK) {
        status = load_table(engine, disk, SIM_LANE);
    }
    if (status == BQ_OK) {
        status = load_frozen(engine, disk);
    }
    if (status == BQ_OK) {
        status = load_table(engine, disk, SIM_LOG);
    }
    if (status == BQ_OK) {
        status = load_table(engine, disk, SIM_DEAD);
    }
    if (status != BQ_OK) {
        engine_free(engine);
        return status;
    }
    *out = engine;
    return BQ_OK;
}
