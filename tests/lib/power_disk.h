/* power_disk.h - a disk in memory that knows what was synced, and what is left when the power goes.
 *
 * A *log* is what a program did to the disk, call by call: writes, truncations, files made and
 * removed, syncs of a file and of the folder. A *cut* walks through it and keeps two things apart:
 * what is durable, and what is pending because no sync came behind it. At any call it gives the
 * image that a power loss during that call may leave, in one of five kinds of damage.
 *
 * The model is as harsh as POSIX allows: the sync of a file makes its bytes durable and not its
 * name; names made or removed become durable by a sync of the folder alone; what is pending is kept
 * or lost without order. A write is torn at sectors of 512 bytes. Without `powersafe`, the torn
 * sector is garbage as a whole, also what was durable in it; with it (what SQLite assumes of disks
 * unless it is told otherwise) only the bytes of the write itself are. */
#ifndef TESTS_POWER_DISK_H
#define TESTS_POWER_DISK_H

#include "base/rng.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POWER_SECTOR 512u
#define POWER_INODES 64

/* The files of one database; POWER_NONE: a name that is none of them. */
enum power_name { POWER_DATABASE, POWER_JOURNAL, POWER_WAL, POWER_NAMES, POWER_NONE };

struct power_bytes {
    unsigned char *ptr;
    size_t len;
    size_t room;
};

/* Names lead to inodes; -1: no such file. An inode without a name goes on as long as it is open. */
struct power_disk {
    struct power_bytes inodes[POWER_INODES];
    int names[POWER_NAMES];
    int n_inodes;
};

void power_disk_init(struct power_disk *disk);
void power_disk_release(struct power_disk *disk);

/* to is initialised; it takes the files that have names, and forgets what it held. */
void power_disk_copy(struct power_disk *to, const struct power_disk *from);

/* A new, empty file under a name. */
int power_disk_make(struct power_disk *disk, enum power_name name);
void power_disk_write(struct power_disk *disk, int inode, uint64_t at, const void *bytes, size_t n);
void power_disk_truncate(struct power_disk *disk, int inode, uint64_t size);

enum power_op {
    POWER_WRITE,
    POWER_TRUNCATE,
    POWER_MAKE,
    POWER_REMOVE,
    POWER_SYNC,
    POWER_SYNC_FOLDER,
    POWER_OPS
};

struct power_call {
    enum power_op op;
    enum power_name name; /* POWER_MAKE, POWER_REMOVE */
    int inode;
    uint64_t at; /* POWER_TRUNCATE: the new size */
    size_t len;
    size_t blob; /* POWER_WRITE: where its bytes stand in the log */
};

struct power_log {
    struct power_disk base; /* the disk before the first call, all of it durable */
    struct power_call *calls;
    size_t n;
    size_t room;
    struct power_bytes blob;
};

void power_log_init(struct power_log *log);
void power_log_release(struct power_log *log);

/* Forgets all calls; base becomes a copy of disk. */
void power_log_begin(struct power_log *log, const struct power_disk *disk);
void power_log_add(struct power_log *log, const struct power_call *call, const void *bytes);

enum power_damage {
    POWER_DROP,   /* nothing of what is pending is kept */
    POWER_KEEP,   /* all of it */
    POWER_SUBSET, /* some of it, whatever the order it was written in */
    POWER_TEAR,   /* some of it, and one write is torn */
    POWER_PREFIX, /* the first ones, in order */
    POWER_DAMAGES
};

extern const char *const power_damage_names[POWER_DAMAGES];

/* What a damage did to an image. */
struct power_effect {
    unsigned n_pending;
    unsigned n_kept;
    unsigned n_torn;
    bool reordered; /* one was lost and a later one kept */
};

struct power_cut {
    const struct power_log *log;
    struct power_disk durable;
    size_t *pending; /* calls of the log, in order */
    size_t n_pending;
    size_t room;
    size_t next;    /* calls before this one were performed */
    bool lies;      /* the disk says that it synced, and did not */
    bool powersafe; /* see above */
};

void power_cut_init(struct power_cut *cut, const struct power_log *log);
void power_cut_release(struct power_cut *cut);

/* The power goes during call k; k never falls from one call to the next. */
void power_cut_at(struct power_cut *cut, size_t k);

/* The image of that moment; out is initialised. */
void power_cut_image(const struct power_cut *cut, enum power_damage damage, struct rng *rng,
                     struct power_disk *out, struct power_effect *effect);

#endif
