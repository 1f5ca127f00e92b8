/* fault_vfs.h - a VFS for SQLite that passes everything on and fails what the test says.
 *
 * A fault is a countdown and a repeat: the n-th call of a kind from now, and `repeat` - 1 after it,
 * fail. Every kind counts its calls, so that a test can walk through all of them. A fault may be
 * set while another thread works. */
#ifndef TESTS_FAULT_VFS_H
#define TESTS_FAULT_VFS_H

#include <stdint.h>

#define FAULT_VFS_NAME "fault"
#define FAULT_VFS_FOREVER UINT64_MAX

enum fault_vfs_kind {
    FAULT_VFS_FULL,      /* xWrite: SQLITE_FULL */
    FAULT_VFS_WRITE,     /* xWrite: SQLITE_IOERR_WRITE */
    FAULT_VFS_SYNC,      /* xSync: SQLITE_IOERR_FSYNC; what was written stays as it is */
    FAULT_VFS_READ,      /* xRead: SQLITE_IOERR_READ */
    FAULT_VFS_OPEN,      /* xOpen: SQLITE_CANTOPEN */
    FAULT_VFS_TRUNCATE,  /* xTruncate: SQLITE_IOERR_TRUNCATE */
    FAULT_VFS_SIZE,      /* xFileSize: SQLITE_IOERR_FSTAT */
    FAULT_VFS_LOCK,      /* xLock: SQLITE_IOERR_LOCK */
    FAULT_VFS_MAP,       /* xShmMap: SQLITE_IOERR_SHMMAP */
    FAULT_VFS_SHM_LOCK,  /* xShmLock, to take one: SQLITE_IOERR_SHMLOCK */
    FAULT_VFS_ACCESS,    /* xAccess: SQLITE_IOERR_ACCESS */
    FAULT_VFS_DELETE,    /* xDelete: SQLITE_IOERR_DELETE */
    FAULT_VFS_READ_ONLY, /* xOpen: opened to read alone, as SQLite's own VFS does where the
                            system has no descriptor for more at that moment */
    FAULT_VFS_N
};

/* "sync" */
const char *fault_vfs_word(enum fault_vfs_kind kind);

/* Registers it as FAULT_VFS_NAME; once. */
void fault_vfs_register(void);

/* n 0: off. Clears the counts of that kind. */
void fault_vfs_set(enum fault_vfs_kind kind, uint64_t n, uint64_t repeat);

/* Calls of the kind, and how many of them were made to fail, since fault_vfs_set(). */
uint64_t fault_vfs_calls(enum fault_vfs_kind kind);
uint64_t fault_vfs_hits(enum fault_vfs_kind kind);

#endif
