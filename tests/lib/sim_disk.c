/* sim_disk.c - see sim_disk.h. Plain malloc: the failing of allocations is not its subject. */
#include "sim_disk.h"

#include <stdio.h>
#include <stdlib.h>

static void must(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "sim_disk: %s\n", what);
        abort();
    }
}

static struct slice own(struct slice text)
{
    if (text.ptr == NULL) {
        return SLICE_NONE;
    }
    char *copy = malloc(text.len + 1);
    must(copy != NULL, "no memory");
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    return (struct slice){copy, text.len};
}

static void disown(struct slice *text)
{
    free((void *)(uintptr_t)text->ptr);
    *text = SLICE_NONE;
}

void sim_disk_init(struct sim_disk *disk)
{
    *disk = (struct sim_disk){0};
}

static void clear_row(struct sim_row *row)
{
    for (int i = 0; i < 3; i++) {
        disown(&row->texts[i]);
    }
}

static void clear_all(struct sim_disk *disk)
{
    for (size_t i = 0; i < disk->n; i++) {
        clear_row(&disk->rows[i]);
    }
    disk->n = 0;
    disown(&disk->meta_texts[0]);
    disown(&disk->meta_texts[1]);
    disown(&disk->meta_texts[2]);
    disk->has_meta = false;
}

void sim_disk_release(struct sim_disk *disk)
{
    clear_all(disk);
    free(disk->rows);
    sim_disk_init(disk);
}

static struct sim_row *find(struct sim_disk *disk, int table, struct slice key, int64_t number)
{
    for (size_t i = 0; i < disk->n; i++) {
        struct sim_row *row = &disk->rows[i];
        if (row->table == table && slice_is(key, row->key) && row->number == number) {
            return row;
        }
    }
    return NULL;
}

static struct sim_row *make(struct sim_disk *disk, int table, struct slice key, int64_t number)
{
    struct sim_row *row = find(disk, table, key, number);
    if (row != NULL) {
        return row;
    }
    if (disk->n == disk->size) {
        disk->size = disk->size == 0 ? 16 : disk->size * 2;
        disk->rows = realloc(disk->rows, disk->size * sizeof *disk->rows);
        must(disk->rows != NULL, "no memory");
    }
    row = &disk->rows[disk->n++];
    *row = (struct sim_row){.table = table, .number = number};
    must(key.len <= LIMIT_KEY_BYTES, "a key is too long");
    memcpy(row->key, key.ptr, key.len);
    return row;
}

static void drop(struct sim_disk *disk, int table, struct slice key, int64_t number)
{
    struct sim_row *row = find(disk, table, key, number);
    must(row != NULL, "the engine drops a row that is not there");
    clear_row(row);
    memmove(row, row + 1, (size_t)(disk->rows + disk->n - row - 1) * sizeof *row);
    disk->n--;
}

static void save_meta(struct sim_disk *disk, const struct engine_meta *meta)
{
    disown(&disk->meta_texts[0]);
    disown(&disk->meta_texts[1]);
    disown(&disk->meta_texts[2]);
    disk->meta = *meta;
    disk->meta_texts[0] = own(meta->epoch);
    disk->meta_texts[1] = own(meta->policies);
    disk->meta_texts[2] = own(meta->device_info);
    disk->meta.epoch = disk->meta_texts[0];
    disk->meta.policies = disk->meta_texts[1];
    disk->meta.device_info = disk->meta_texts[2];
    disk->has_meta = true;
}

/* Only the parts that the action names, so that a forgotten part shows. */
static void save_lane(struct sim_disk *disk, const struct engine_action *action)
{
    const struct engine_lane_row *from = &action->lane;
    bool is_new = find(disk, SIM_LANE, from->key, 0) == NULL;
    struct sim_row *row = make(disk, SIM_LANE, from->key, 0);
    struct engine_lane_row *to = &row->lane;
    must(!is_new || action->parts != 0, "a new lane without parts");
    if (action->parts & ENGINE_LANE_SYNCED) {
        to->version = from->version;
        to->deleted = from->deleted;
        to->epoch = from->epoch;
        disown(&row->texts[0]);
        row->texts[0] = own(from->synced);
    }
    if (action->parts & ENGINE_LANE_MINE) {
        to->modified_ms = from->modified_ms;
        disown(&row->texts[1]);
        row->texts[1] = own(from->mine);
    }
    if (action->parts & ENGINE_LANE_REST) {
        to->last_op = from->last_op;
        to->acked_op = from->acked_op;
        to->priority = from->priority;
        to->refused = from->refused;
        to->guest = from->guest;
        disown(&row->texts[2]);
        row->texts[2] = own(from->seed);
    }
}

static void save_edit(struct sim_disk *disk, int table, const struct engine_edit_row *edit)
{
    struct sim_row *row = make(disk, table, edit->key, edit->op);
    clear_row(row);
    row->edit = *edit;
    row->texts[0] = own(edit->id);
    row->texts[1] = own(edit->edit);
}

static void save_dead(struct sim_disk *disk, const struct engine_dead_row *dead)
{
    struct sim_row *row = make(disk, SIM_DEAD, SLICE(""), dead->dead_id);
    clear_row(row);
    row->dead = *dead;
    row->texts[0] = own(dead->key);
    row->texts[1] = own(dead->message);
    row->texts[2] = own(dead->edit);
}

static void save_one(struct sim_disk *disk, const struct engine_action *action)
{
    switch (action->type) {
    case ENGINE_SAVE_META:
        save_meta(disk, action->meta);
        break;
    case ENGINE_SAVE_LANE:
        save_lane(disk, action);
        break;
    case ENGINE_DROP_LANE:
        drop(disk, SIM_LANE, action->lane.key, 0);
        break;
    case ENGINE_ADD_FROZEN:
        save_edit(disk, SIM_FROZEN, &action->edit);
        break;
    case ENGINE_DROP_FROZEN:
        drop(disk, SIM_FROZEN, action->edit.key, action->edit.op);
        break;
    case ENGINE_ADD_LOG:
        save_edit(disk, SIM_LOG, &action->edit);
        break;
    case ENGINE_DROP_LOG:
        drop(disk, SIM_LOG, action->edit.key, action->edit.op);
        break;
    case ENGINE_ADD_DEAD:
        save_dead(disk, &action->dead);
        break;
    case ENGINE_DROP_DEAD:
        drop(disk, SIM_DEAD, SLICE(""), action->dead.dead_id);
        break;
    case ENGINE_WIPE:
        clear_all(disk);
        break;
    case ENGINE_SEND:
    case ENGINE_CANCEL:
    case ENGINE_NOTIFY:
        break;
    }
}

void sim_disk_save(struct sim_disk *disk, const struct engine_actions *actions)
{
    for (uint32_t i = 0; i < actions->n; i++) {
        save_one(disk, &actions->items[i]);
    }
}

void sim_disk_copy(struct sim_disk *to, const struct sim_disk *from)
{
    clear_all(to);
    if (from->has_meta) {
        save_meta(to, &from->meta);
    }
    for (size_t i = 0; i < from->n; i++) {
        const struct sim_row *row = &from->rows[i];
        struct sim_row *copy = make(to, row->table, slice_of(row->key), row->number);
        struct slice none[3] = {SLICE_NONE, SLICE_NONE, SLICE_NONE};
        *copy = *row;
        memcpy(copy->texts, none, sizeof none);
        for (int t = 0; t < 3; t++) {
            copy->texts[t] = own(row->texts[t]);
        }
    }
}

/* Ops rise within a key, but rows lie in the order in which they were made. */
static void load_edits(struct engine *engine, const struct sim_disk *disk, int table)
{
    bool *done = calloc(disk->n + 1, sizeof *done);
    must(done != NULL, "no memory");
    for (;;) {
        size_t best = SIZE_MAX;
        for (size_t i = 0; i < disk->n; i++) {
            const struct sim_row *row = &disk->rows[i];
            if (row->table == table && !done[i] &&
                (best == SIZE_MAX ||
                 (table == SIM_FROZEN && row->number < disk->rows[best].number))) {
                best = i;
            }
        }
        if (best == SIZE_MAX) {
            break;
        }
        const struct sim_row *row = &disk->rows[best];
        struct engine_edit_row edit = row->edit;
        edit.key = slice_of(row->key);
        edit.id = row->texts[0];
        edit.edit = row->texts[1];
        must((table == SIM_FROZEN ? engine_load_frozen : engine_load_log)(engine, &edit) == BQ_OK,
             "an edit does not load");
        done[best] = true;
    }
    free(done);
}

struct engine *sim_disk_load(const struct sim_disk *disk, const struct engine_config *config)
{
    struct engine *engine;
    must(engine_new(config, &engine) == BQ_OK, "no engine");
    if (disk->has_meta) {
        must(engine_load_meta(engine, &disk->meta) == BQ_OK, "meta does not load");
    }
    for (size_t i = 0; i < disk->n; i++) {
        const struct sim_row *row = &disk->rows[i];
        if (row->table == SIM_LANE) {
            struct engine_lane_row lane = row->lane;
            lane.key = slice_of(row->key);
            lane.synced = row->texts[0];
            lane.mine = row->texts[1];
            lane.seed = row->texts[2];
            must(engine_load_lane(engine, &lane) == BQ_OK, "a lane does not load");
        } else if (row->table == SIM_DEAD) {
            struct engine_dead_row dead = row->dead;
            dead.key = row->texts[0];
            dead.message = row->texts[1];
            dead.edit = row->texts[2];
            must(engine_load_dead(engine, &dead) == BQ_OK, "a dead letter does not load");
        }
    }
    load_edits(engine, disk, SIM_FROZEN);
    load_edits(engine, disk, SIM_LOG);
    return engine;
}
