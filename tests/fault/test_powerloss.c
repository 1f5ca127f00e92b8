/* test_powerloss.c - what the suite `powerloss` found, by name; and the model of the disk that it
 * stands on: each kind of damage does what power_disk.h says. */
#include "power_vfs.h"

#include "base/status.h"
#include "client/disk_impl.h"
#include "scratch.h"
#include "store/sqlite_impl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define PAGE 4096u

/* ---- What was found -------------------------------------------------------------------------- */

static void put_int(unsigned char *to, uint32_t number)
{
    for (int i = 0; i < 4; i++) {
        to[i] = (unsigned char)(number >> (24 - 8 * i));
    }
}

/* The power went while the first page of the file was written: of its first sector the beginning
 * is there, then garbage; beside it the journal that says that the file was empty. */
static void mount_torn_making(unsigned char size_high, unsigned char vacuum)
{
    static const unsigned char magic[] = {0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7};
    unsigned char page[PAGE] = "SQLite format 3";
    unsigned char journal[512] = {0};
    struct power_disk disk;
    page[16] = size_high;
    page[18] = page[19] = 1;
    page[21] = 64;
    page[22] = page[23] = 32;
    put_int(page + 24, 1);
    put_int(page + 28, 1);
    memset(page + 64, vacuum, 100);
    memcpy(journal, magic, sizeof magic);
    put_int(journal + 20, 512);
    put_int(journal + 24, PAGE);
    power_disk_init(&disk);
    power_disk_write(&disk, power_disk_make(&disk, POWER_DATABASE), 0, page, sizeof page);
    power_disk_write(&disk, power_disk_make(&disk, POWER_JOURNAL), 0, journal, sizeof journal);
    power_vfs_mount(&disk, true);
    power_disk_release(&disk);
}

static int64_t number_of(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *row;
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &row, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(row), SQLITE_ROW);
    int64_t number = sqlite3_column_int64(row, 0);
    (void)sqlite3_finalize(row);
    return number;
}

static void check_made_anew(sqlite3 *db)
{
    assert_int_equal(number_of(db, "PRAGMA page_size"), PAGE);
    assert_int_equal(number_of(db, "PRAGMA auto_vacuum"), 0);
    assert_int_equal(number_of(db, "SELECT count(*) FROM pragma_integrity_check"
                                   " WHERE integrity_check = 'ok'"),
                     1);
}

/* Seeds 104 and 200 of the suite: SQLite kept the vacuum mode of a header that it rolled back. */
static void store_torn_in_its_making_is_made_anew(void **state)
{
    const char *path = *state;
    for (int i = 0; i < 2; i++) {
        struct store_sqlite_config config = {.size = sizeof config,
                                             .path = path,
                                             .n_history = 4,
                                             .create = true,
                                             .vfs = POWER_VFS_NAME};
        struct store *store;
        char error[300] = "";
        mount_torn_making(i == 0 ? 0x10 : 0x02, 0xe6);
        if (store_sqlite_open(&config, &store, error, sizeof error) != BQ_OK) {
            fail_msg("%s", error);
        }
        check_made_anew(sqlite_of(store)->db);
        store->close(store);
    }
}

static void client_file_torn_in_its_making_is_made_anew(void **state)
{
    const char *path = *state;
    for (int i = 0; i < 2; i++) {
        struct disk *disk;
        char error[BQ_ERROR_TEXT] = "";
        mount_torn_making(i == 0 ? 0x10 : 0x02, 0xe6);
        if (disk_open(path, POWER_VFS_NAME, &disk, error) != BQ_OK) {
            fail_msg("%s", error);
        }
        check_made_anew(disk->db);
        disk_close(disk);
    }
}

/* ---- The disk -------------------------------------------------------------------------------- */

/* A file of one durable sector 'a'; then 'b' over it and 'c' behind it, of which a sync settles the
 * first alone where synced says so; and the file gets a journal beside it. */
static void make_log(struct power_log *log, bool synced, bool folder_synced)
{
    char bytes[POWER_SECTOR];
    struct power_disk disk;
    power_disk_init(&disk);
    int inode = power_disk_make(&disk, POWER_DATABASE);
    memset(bytes, 'a', sizeof bytes);
    power_disk_write(&disk, inode, 0, bytes, sizeof bytes);
    power_log_init(log);
    power_log_begin(log, &disk);
    power_disk_release(&disk);
    memset(bytes, 'b', sizeof bytes);
    power_log_add(log, &(struct power_call){.op = POWER_WRITE, .len = sizeof bytes}, bytes);
    if (synced) {
        power_log_add(log, &(struct power_call){.op = POWER_SYNC}, NULL);
    }
    power_log_add(log, &(struct power_call){.op = POWER_MAKE, .name = POWER_JOURNAL, .inode = 1},
                  NULL);
    if (folder_synced) {
        power_log_add(log, &(struct power_call){.op = POWER_SYNC_FOLDER}, NULL);
    }
    memset(bytes, 'c', sizeof bytes);
    power_log_add(log,
                  &(struct power_call){.op = POWER_WRITE, .at = POWER_SECTOR, .len = sizeof bytes},
                  bytes);
}

/* The image when the power goes behind the last call. */
static struct power_effect image_of(const struct power_log *log, enum power_damage damage,
                                    uint64_t seed, bool lies, struct power_disk *out)
{
    struct power_cut cut;
    struct power_effect effect;
    struct rng rng;
    rng_init(&rng, seed);
    power_cut_init(&cut, log);
    cut.lies = lies;
    power_cut_at(&cut, log->n);
    power_disk_init(out);
    power_cut_image(&cut, damage, &rng, out, &effect);
    power_cut_release(&cut);
    return effect;
}

static void what_was_synced_stays_and_the_rest_may_go(void **state)
{
    struct power_log log;
    struct power_disk image;
    (void)state;
    make_log(&log, true, true);
    (void)image_of(&log, POWER_DROP, 1, false, &image);
    assert_int_equal(image.inodes[0].len, POWER_SECTOR);
    assert_int_equal(image.inodes[0].ptr[0], 'b');
    assert_int_equal(image.names[POWER_JOURNAL], 1);
    power_disk_release(&image);
    (void)image_of(&log, POWER_KEEP, 1, false, &image);
    assert_int_equal(image.inodes[0].len, 2 * POWER_SECTOR);
    assert_int_equal(image.inodes[0].ptr[POWER_SECTOR], 'c');
    power_disk_release(&image);
    power_log_release(&log);
}

static void sync_of_a_file_does_not_keep_its_name(void **state)
{
    struct power_log log;
    struct power_disk image;
    (void)state;
    make_log(&log, true, false);
    (void)image_of(&log, POWER_DROP, 1, false, &image);
    assert_int_equal(image.names[POWER_JOURNAL], -1);
    power_disk_release(&image);
    power_log_release(&log);
}

static void disk_that_lies_keeps_nothing(void **state)
{
    struct power_log log;
    struct power_disk image;
    (void)state;
    make_log(&log, true, true);
    (void)image_of(&log, POWER_DROP, 1, true, &image);
    assert_int_equal(image.inodes[0].ptr[0], 'a');
    assert_int_equal(image.names[POWER_JOURNAL], -1);
    power_disk_release(&image);
    power_log_release(&log);
}

static void subset_reorders_and_prefix_does_not(void **state)
{
    struct power_log log;
    unsigned n_reordered = 0;
    (void)state;
    make_log(&log, false, false);
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct power_disk image;
        n_reordered += image_of(&log, POWER_SUBSET, seed, false, &image).reordered ? 1 : 0;
        power_disk_release(&image);
        assert_false(image_of(&log, POWER_PREFIX, seed, false, &image).reordered);
        power_disk_release(&image);
    }
    assert_in_range(n_reordered, 10, 99);
    power_log_release(&log);
}

/* Garbage is in the torn write alone: the durable sector before it is whole. */
static void torn_write_leaves_its_neighbours_alone(void **state)
{
    struct power_log log;
    unsigned n_torn = 0;
    (void)state;
    make_log(&log, true, true);
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct power_disk image;
        n_torn += image_of(&log, POWER_TEAR, seed, false, &image).n_torn;
        for (unsigned i = 0; i < POWER_SECTOR; i++) {
            assert_int_equal(image.inodes[0].ptr[i], 'b');
        }
        power_disk_release(&image);
    }
    assert_int_equal(n_torn, 50);
    power_log_release(&log);
}

static int make_folder(void **state)
{
    static struct scratch scratch;
    static char path[200];
    scratch_init(&scratch);
    *state = (char *)(uintptr_t)scratch_path(&scratch, "file.db", path, sizeof path);
    return 0;
}

static int remove_folder(void **state)
{
    char *path = *state;
    struct scratch scratch = {.folder = ""};
    memcpy(scratch.folder, path, (size_t)(strrchr(path, '/') - path));
    scratch_release(&scratch);
    return 0;
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(store_torn_in_its_making_is_made_anew),
        IN_FOLDER(client_file_torn_in_its_making_is_made_anew),
        cmocka_unit_test(what_was_synced_stays_and_the_rest_may_go),
        cmocka_unit_test(sync_of_a_file_does_not_keep_its_name),
        cmocka_unit_test(disk_that_lies_keeps_nothing),
        cmocka_unit_test(subset_reorders_and_prefix_does_not),
        cmocka_unit_test(torn_write_leaves_its_neighbours_alone),
    };
    power_vfs_register();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
