/* fault_vfs.c - see fault_vfs.h. */
#include "fault_vfs.h"

#include <sqlite3.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct fault {
    _Atomic uint64_t calls;
    _Atomic uint64_t hits;
    _Atomic uint64_t from;
    _Atomic uint64_t until;
};

struct fault_file {
    sqlite3_file base;
    sqlite3_file *real;
};

static struct fault faults[FAULT_VFS_N];
static sqlite3_vfs *below;
static sqlite3_vfs vfs;

void fault_vfs_set(enum fault_vfs_kind kind, uint64_t n, uint64_t repeat)
{
    struct fault *fault = &faults[kind];
    fault->from = 0;
    fault->calls = 0;
    fault->hits = 0;
    fault->until = repeat > UINT64_MAX - n ? UINT64_MAX : n + repeat;
    fault->from = n;
}

uint64_t fault_vfs_calls(enum fault_vfs_kind kind)
{
    return faults[kind].calls;
}

uint64_t fault_vfs_hits(enum fault_vfs_kind kind)
{
    return faults[kind].hits;
}

static bool fails(enum fault_vfs_kind kind)
{
    struct fault *fault = &faults[kind];
    uint64_t n = ++fault->calls;
    bool hit = fault->from != 0 && n >= fault->from && n < fault->until;
    fault->hits += hit ? 1 : 0;
    return hit;
}

static sqlite3_file *real_of(sqlite3_file *file)
{
    return ((struct fault_file *)(void *)file)->real;
}

static int close_file(sqlite3_file *file)
{
    sqlite3_file *real = real_of(file);
    int rc = real->pMethods == NULL ? SQLITE_OK : real->pMethods->xClose(real);
    free(real);
    return rc;
}

static int read_file(sqlite3_file *file, void *bytes, int n, sqlite3_int64 at)
{
    return fails(FAULT_VFS_READ) ? SQLITE_IOERR_READ
                                 : real_of(file)->pMethods->xRead(real_of(file), bytes, n, at);
}

static int write_file(sqlite3_file *file, const void *bytes, int n, sqlite3_int64 at)
{
    bool full = fails(FAULT_VFS_FULL);
    bool broken = fails(FAULT_VFS_WRITE);
    return full     ? SQLITE_FULL
           : broken ? SQLITE_IOERR_WRITE
                    : real_of(file)->pMethods->xWrite(real_of(file), bytes, n, at);
}

static int truncate_file(sqlite3_file *file, sqlite3_int64 size)
{
    return fails(FAULT_VFS_TRUNCATE) ? SQLITE_IOERR_TRUNCATE
                                     : real_of(file)->pMethods->xTruncate(real_of(file), size);
}

static int sync_file(sqlite3_file *file, int flags)
{
    return fails(FAULT_VFS_SYNC) ? SQLITE_IOERR_FSYNC
                                 : real_of(file)->pMethods->xSync(real_of(file), flags);
}

static int size_of_file(sqlite3_file *file, sqlite3_int64 *size)
{
    return fails(FAULT_VFS_SIZE) ? SQLITE_IOERR_FSTAT
                                 : real_of(file)->pMethods->xFileSize(real_of(file), size);
}

static int lock_file(sqlite3_file *file, int level)
{
    return fails(FAULT_VFS_LOCK) ? SQLITE_IOERR_LOCK
                                 : real_of(file)->pMethods->xLock(real_of(file), level);
}

static int unlock_file(sqlite3_file *file, int level)
{
    return real_of(file)->pMethods->xUnlock(real_of(file), level);
}

static int check_lock(sqlite3_file *file, int *out)
{
    return real_of(file)->pMethods->xCheckReservedLock(real_of(file), out);
}

static int control(sqlite3_file *file, int op, void *arg)
{
    return real_of(file)->pMethods->xFileControl(real_of(file), op, arg);
}

static int sector_size(sqlite3_file *file)
{
    return real_of(file)->pMethods->xSectorSize(real_of(file));
}

static int device_facts(sqlite3_file *file)
{
    return real_of(file)->pMethods->xDeviceCharacteristics(real_of(file));
}

static int shm_map(sqlite3_file *file, int page, int size, int extend, void volatile **out)
{
    return fails(FAULT_VFS_MAP)
               ? SQLITE_IOERR_SHMMAP
               : real_of(file)->pMethods->xShmMap(real_of(file), page, size, extend, out);
}

static int shm_lock(sqlite3_file *file, int offset, int n, int flags)
{
    /* To let one go cannot fail. */
    bool takes = (flags & SQLITE_SHM_LOCK) != 0;
    return takes && fails(FAULT_VFS_SHM_LOCK)
               ? SQLITE_IOERR_SHMLOCK
               : real_of(file)->pMethods->xShmLock(real_of(file), offset, n, flags);
}

static void shm_barrier(sqlite3_file *file)
{
    real_of(file)->pMethods->xShmBarrier(real_of(file));
}

static int shm_unmap(sqlite3_file *file, int remove)
{
    return real_of(file)->pMethods->xShmUnmap(real_of(file), remove);
}

static const sqlite3_io_methods methods = {
    2,         close_file,  read_file,  write_file, truncate_file, sync_file,    size_of_file,
    lock_file, unlock_file, check_lock, control,    sector_size,   device_facts, shm_map,
    shm_lock,  shm_barrier, shm_unmap,  NULL,       NULL};

static int open_file(sqlite3_vfs *self, const char *name, sqlite3_file *file, int flags,
                     int *out_flags)
{
    struct fault_file *ours = (struct fault_file *)(void *)file;
    (void)self;
    ours->base.pMethods = NULL;
    if (fails(FAULT_VFS_OPEN)) {
        return SQLITE_CANTOPEN;
    }
    ours->real = calloc(1, (size_t)below->szOsFile);
    if (ours->real == NULL) {
        return SQLITE_NOMEM;
    }
    if (fails(FAULT_VFS_READ_ONLY)) {
        flags = (flags & ~(SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE)) | SQLITE_OPEN_READONLY;
    }
    int rc = below->xOpen(below, name, ours->real, flags, out_flags);
    if (rc != SQLITE_OK) {
        free(ours->real);
        return rc;
    }
    ours->base.pMethods = &methods;
    return SQLITE_OK;
}

static int access_file(sqlite3_vfs *self, const char *name, int flags, int *out)
{
    (void)self;
    return fails(FAULT_VFS_ACCESS) ? SQLITE_IOERR_ACCESS : below->xAccess(below, name, flags, out);
}

static int delete_file(sqlite3_vfs *self, const char *name, int sync_folder)
{
    (void)self;
    return fails(FAULT_VFS_DELETE) ? SQLITE_IOERR_DELETE : below->xDelete(below, name, sync_folder);
}

const char *fault_vfs_word(enum fault_vfs_kind kind)
{
    static const char *const words[FAULT_VFS_N] = {
        "full", "write", "sync",     "read",   "open",   "truncate", "size",
        "lock", "map",   "shm-lock", "access", "delete", "read-only"};
    return words[kind];
}

void fault_vfs_register(void)
{
    below = sqlite3_vfs_find(NULL);
    vfs = *below;
    vfs.zName = FAULT_VFS_NAME;
    vfs.szOsFile = (int)sizeof(struct fault_file);
    vfs.xOpen = open_file;
    vfs.xAccess = access_file;
    vfs.xDelete = delete_file;
    vfs.pNext = NULL;
    if (sqlite3_vfs_register(&vfs, 0) != SQLITE_OK) {
        abort();
    }
}
