/* disk.h - a client's file in memory: keeps what the engine's SAVE actions say, one step at a time,
 * and loads a new engine from it. Only the parts that an action names are taken, so that a
 * forgotten part shows after the next start. */
#ifndef SIM_DISK_H
#define SIM_DISK_H

#include "core/engine.h"

enum sim_table { SIM_LANE, SIM_FROZEN, SIM_LOG, SIM_DEAD };

struct sim_row {
    enum sim_table table;
    char key[LIMIT_KEY_BYTES + 1];
    int64_t number; /* op or dead_id */
    struct engine_lane_row lane;
    struct engine_edit_row edit;
    struct engine_dead_row dead;
    struct slice texts[3]; /* owned: of the row above */
};

struct sim_disk {
    bool has_meta;
    struct engine_meta meta;
    struct slice meta_texts[3];
    struct sim_row *rows; /* in the order of their making */
    size_t n;
    size_t size;
};

void sim_disk_init(struct sim_disk *disk);
void sim_disk_release(struct sim_disk *disk);

/* A deep copy: a backup of the file. BQ_OK, BQ_NOMEM. */
int sim_disk_copy(struct sim_disk *to, const struct sim_disk *from);

/* Performs the SAVE actions of a step. BQ_CORRUPT: they do not fit what is there. */
int sim_disk_save(struct sim_disk *disk, const struct engine_actions *actions);

/* A new engine with what the disk holds. BQ_CORRUPT: the engine does not take its own rows. */
int sim_disk_load(const struct sim_disk *disk, const struct engine_config *config,
                  struct engine **out);

/* What the app sees of a key after a crash; SLICE_NONE: nothing. */
struct slice sim_disk_mine(const struct sim_disk *disk, struct slice key);

#endif
