/* power_vfs.h - a VFS for SQLite over a power_disk: all in memory, each change written down.
 *
 * One database at a time, whatever its folder: its file, -journal and -wal are the names of the
 * disk. It behaves as SQLite's own on Linux does: the first sync of a journal or a WAL syncs the
 * folder too, a file of no bytes does not exist to xAccess, the database file is there at its first
 * open because our code makes it before SQLite opens it. One connection at a time. */
#ifndef TESTS_POWER_VFS_H
#define TESTS_POWER_VFS_H

#include "power_disk.h"

#define POWER_VFS_NAME "power"

/* Registers it as POWER_VFS_NAME; once. */
void power_vfs_register(void);

/* The disk becomes a copy of image; nothing may be open. powersafe: what the disk says of itself
 * (SQLITE_IOCAP_POWERSAFE_OVERWRITE). */
void power_vfs_mount(const struct power_disk *image, bool powersafe);

/* From now on calls go into log, which begins with the disk as it is; NULL: no more. */
void power_vfs_record(struct power_log *log);

/* The disk as programs see it. */
const struct power_disk *power_vfs_disk(void);

#endif
