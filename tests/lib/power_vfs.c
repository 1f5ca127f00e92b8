/* power_vfs.c - see power_vfs.h. */
#include "power_vfs.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REGIONS 8

struct power_handle {
    sqlite3_file base;
    int inode;
    bool sync_folder; /* with the next sync */
    bool uses_shm;
};

static struct power_disk live;
static struct power_log *recorder;
static bool is_powersafe;
static void *regions[REGIONS];
static unsigned n_open;
static sqlite3_vfs *below;
static sqlite3_vfs vfs;

static void must(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "power_vfs: %s\n", what);
        abort();
    }
}

static void note(struct power_call call, const void *bytes)
{
    if (recorder != NULL) {
        power_log_add(recorder, &call, bytes);
    }
}

static struct power_handle *handle_of(sqlite3_file *file)
{
    return (struct power_handle *)(void *)file;
}

static struct power_bytes *bytes_of(sqlite3_file *file)
{
    return &live.inodes[handle_of(file)->inode];
}

/* The WAL index is no file of the disk: SQLite makes it anew when nobody had it open. */
static void forget_regions(void)
{
    for (int i = 0; i < REGIONS; i++) {
        free(regions[i]);
        regions[i] = NULL;
    }
}

void power_vfs_mount(const struct power_disk *image, bool powersafe)
{
    must(n_open == 0, "a file is open");
    power_disk_copy(&live, image);
    is_powersafe = powersafe;
    forget_regions();
}

void power_vfs_record(struct power_log *log)
{
    recorder = log;
    if (log != NULL) {
        power_log_begin(log, &live);
    }
}

const struct power_disk *power_vfs_disk(void)
{
    return &live;
}

/* ---- Files ----------------------------------------------------------------------------------- */

static int close_file(sqlite3_file *file)
{
    (void)file;
    n_open--;
    return SQLITE_OK;
}

static int read_file(sqlite3_file *file, void *bytes, int n, sqlite3_int64 at)
{
    const struct power_bytes *from = bytes_of(file);
    size_t wanted = (size_t)n;
    size_t there = (uint64_t)at >= from->len ? 0 : from->len - (size_t)at;
    there = there < wanted ? there : wanted;
    if (there > 0) {
        memcpy(bytes, from->ptr + at, there);
    }
    memset((char *)bytes + there, 0, wanted - there);
    return there == wanted ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
}

static int write_file(sqlite3_file *file, const void *bytes, int n, sqlite3_int64 at)
{
    int inode = handle_of(file)->inode;
    note(
        (struct power_call){
            .op = POWER_WRITE, .inode = inode, .at = (uint64_t)at, .len = (size_t)n},
        bytes);
    power_disk_write(&live, inode, (uint64_t)at, bytes, (size_t)n);
    return SQLITE_OK;
}

static int truncate_file(sqlite3_file *file, sqlite3_int64 size)
{
    int inode = handle_of(file)->inode;
    note((struct power_call){.op = POWER_TRUNCATE, .inode = inode, .at = (uint64_t)size}, NULL);
    power_disk_truncate(&live, inode, (uint64_t)size);
    return SQLITE_OK;
}

static int sync_file(sqlite3_file *file, int flags)
{
    struct power_handle *handle = handle_of(file);
    (void)flags;
    note((struct power_call){.op = POWER_SYNC, .inode = handle->inode}, NULL);
    if (handle->sync_folder) {
        note((struct power_call){.op = POWER_SYNC_FOLDER}, NULL);
        handle->sync_folder = false;
    }
    return SQLITE_OK;
}

static int size_of_file(sqlite3_file *file, sqlite3_int64 *size)
{
    *size = (sqlite3_int64)bytes_of(file)->len;
    return SQLITE_OK;
}

static int lock_file(sqlite3_file *file, int level)
{
    (void)file;
    (void)level;
    return SQLITE_OK;
}

static int check_lock(sqlite3_file *file, int *out)
{
    (void)file;
    *out = 0;
    return SQLITE_OK;
}

static int control(sqlite3_file *file, int op, void *arg)
{
    (void)file;
    (void)op;
    (void)arg;
    return SQLITE_NOTFOUND;
}

static int sector_size(sqlite3_file *file)
{
    (void)file;
    return is_powersafe ? 4096 : (int)POWER_SECTOR;
}

static int device_facts(sqlite3_file *file)
{
    (void)file;
    return is_powersafe ? SQLITE_IOCAP_POWERSAFE_OVERWRITE : 0;
}

static int shm_map(sqlite3_file *file, int region, int size, int extend, void volatile **out)
{
    (void)file;
    must(region < REGIONS, "the WAL index is too long");
    if (regions[region] == NULL && extend != 0) {
        regions[region] = calloc(1, (size_t)size);
        must(regions[region] != NULL, "no memory");
    }
    *out = regions[region];
    return SQLITE_OK;
}

static int shm_lock(sqlite3_file *file, int offset, int n, int flags)
{
    (void)file;
    (void)offset;
    (void)n;
    (void)flags;
    return SQLITE_OK;
}

static void shm_barrier(sqlite3_file *file)
{
    (void)file;
}

static int shm_unmap(sqlite3_file *file, int remove)
{
    (void)file;
    (void)remove;
    forget_regions();
    return SQLITE_OK;
}

static const sqlite3_io_methods methods = {
    2,         close_file,  read_file,  write_file, truncate_file, sync_file,    size_of_file,
    lock_file, lock_file,   check_lock, control,    sector_size,   device_facts, shm_map,
    shm_lock,  shm_barrier, shm_unmap,  NULL,       NULL};

/* ---- Names ----------------------------------------------------------------------------------- */

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text);
    size_t n_end = strlen(end);
    return n >= n_end && strcmp(text + n - n_end, end) == 0;
}

static enum power_name name_of(const char *path)
{
    return ends_with(path, "-journal") ? POWER_JOURNAL
           : ends_with(path, "-wal")   ? POWER_WAL
           : ends_with(path, "-shm")   ? POWER_NONE
                                       : POWER_DATABASE;
}

static int open_file(sqlite3_vfs *self, const char *path, sqlite3_file *file, int flags,
                     int *out_flags)
{
    struct power_handle *handle = handle_of(file);
    (void)self;
    handle->base.pMethods = NULL;
    if (path == NULL || name_of(path) == POWER_NONE) {
        return SQLITE_CANTOPEN; /* temporary files stay in memory */
    }
    enum power_name name = name_of(path);
    bool creates = (flags & SQLITE_OPEN_CREATE) != 0;
    int inode = live.names[name];
    if (inode < 0) {
        if (!creates && name != POWER_DATABASE) {
            return SQLITE_CANTOPEN;
        }
        inode = power_disk_make(&live, name);
        note((struct power_call){.op = POWER_MAKE, .name = name, .inode = inode}, NULL);
    }
    *handle = (struct power_handle){
        .base = {&methods}, .inode = inode, .sync_folder = creates && name != POWER_DATABASE};
    if (out_flags != NULL) {
        *out_flags = flags;
    }
    n_open++;
    return SQLITE_OK;
}

static int delete_file(sqlite3_vfs *self, const char *path, int sync_folder)
{
    enum power_name name = name_of(path);
    (void)self;
    if (name == POWER_NONE || live.names[name] < 0) {
        return SQLITE_IOERR_DELETE_NOENT;
    }
    note((struct power_call){.op = POWER_REMOVE, .name = name}, NULL);
    live.names[name] = -1;
    if (sync_folder != 0) {
        note((struct power_call){.op = POWER_SYNC_FOLDER}, NULL);
    }
    return SQLITE_OK;
}

static int access_file(sqlite3_vfs *self, const char *path, int flags, int *out)
{
    enum power_name name = name_of(path);
    (void)self;
    bool there = name != POWER_NONE && live.names[name] >= 0;
    *out = there && (flags != SQLITE_ACCESS_EXISTS || live.inodes[live.names[name]].len > 0);
    return SQLITE_OK;
}

void power_vfs_register(void)
{
    below = sqlite3_vfs_find(NULL);
    vfs = *below;
    vfs.zName = POWER_VFS_NAME;
    vfs.szOsFile = (int)sizeof(struct power_handle);
    vfs.xOpen = open_file;
    vfs.xDelete = delete_file;
    vfs.xAccess = access_file;
    vfs.pNext = NULL;
    power_disk_init(&live);
    must(sqlite3_vfs_register(&vfs, 0) == SQLITE_OK, "it cannot be registered");
}
