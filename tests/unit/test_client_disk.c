/* test_client_disk.c - the client's file: who may open it, what it refuses, what it keeps. */
#include "client/disk_impl.h"

#include "base/mem.h"
#include "fault_vfs.h"
#include "scratch.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define USER "11111111-2222-4333-8444-555555555555"
#define NOW_MS INT64_C(1770000000000)

struct fixture {
    struct scratch scratch;
    char path[256];
    char error[BQ_ERROR_TEXT];
    struct disk *disk;
    struct engine *engine;
    struct engine_actions actions;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    scratch_init(&f->scratch);
    scratch_path(&f->scratch, "app.bqsync", f->path, sizeof f->path);
    engine_actions_init(&f->actions);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    engine_free(f->engine);
    engine_actions_release(&f->actions);
    disk_close(f->disk);
    scratch_release(&f->scratch);
    free(f);
    return 0;
}

static void open_good(struct fixture *f)
{
    assert_int_equal(disk_open(f->path, NULL, &f->disk, f->error), BQ_OK);
}

static void close_all(struct fixture *f)
{
    engine_free(f->engine);
    f->engine = NULL;
    disk_close(f->disk);
    f->disk = NULL;
}

/* The file as any tool sees it, while nobody has it open. */
static sqlite3 *open_tool(struct fixture *f)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    return db;
}

static void tool_exec(struct fixture *f, const char *sql)
{
    sqlite3 *db = open_tool(f);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static int64_t tool_int(struct fixture *f, const char *sql)
{
    sqlite3 *db = open_tool(f);
    sqlite3_stmt *statement;
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return value;
}

static void expect_refusal(struct fixture *f, int status, const char *word)
{
    struct disk *disk = NULL;
    f->error[0] = '\0';
    assert_int_equal(disk_open(f->path, NULL, &disk, f->error), status);
    assert_null(disk);
    if (strstr(f->error, word) == NULL) {
        fail_msg("the sentence \"%s\" lacks \"%s\"", f->error, word);
    }
}

static void load_engine(struct fixture *f)
{
    struct engine_config config = {.size = sizeof config,
                                   .limits = LIMITS_DEFAULT,
                                   .debounce_ms = 10,
                                   .poll_ms = 1000,
                                   .timeout_ms = 1000,
                                   .syncs = true,
                                   .seed = 1};
    engine_free(f->engine);
    assert_int_equal(engine_new(&config, &f->engine), BQ_OK);
    assert_int_equal(disk_load(f->disk, USER, f->engine), BQ_OK);
}

static int step(struct fixture *f, const struct engine_event *event)
{
    int status = engine_step(f->engine, NOW_MS, event, &f->actions);
    assert_int_equal(status, BQ_OK);
    status = disk_begin(f->disk);
    if (status == BQ_OK) {
        status = disk_apply(f->disk, USER, &f->actions);
    }
    return status == BQ_OK ? disk_commit(f->disk) : status;
}

static int put(struct fixture *f, const char *key, const char *json)
{
    struct engine_event event = {.type = ENGINE_PUT, .key = slice_of(key), .text = slice_of(json)};
    return step(f, &event);
}

static void expect_mine(struct fixture *f, const char *key, const char *json)
{
    struct engine_view view;
    if (!engine_lane_find(f->engine, slice_of(key), &view)) {
        assert_null(json);
        return;
    }
    if (json == NULL) {
        assert_null(view.mine.ptr);
        return;
    }
    assert_int_equal(view.mine.len, strlen(json));
    assert_memory_equal(view.mine.ptr, json, view.mine.len);
}

/* ---- Opening --------------------------------------------------------------------------------- */

static unsigned mode_of(const struct fixture *f, const char *suffix)
{
    char path[300];
    struct stat facts;
    (void)snprintf(path, sizeof path, "%s%s", f->path, suffix);
    assert_int_equal(stat(path, &facts), 0);
    return (unsigned)facts.st_mode & 0777u;
}

static void all_files_belong_to_their_owner_alone(void **state)
{
    struct fixture *f = *state;
    mode_t before = umask(0);
    open_good(f);
    umask(before);
    load_engine(f);
    assert_int_equal(put(f, "settings", "{\"mute\":true}"), BQ_OK);
    assert_int_equal(mode_of(f, ""), 0600);
    assert_int_equal(mode_of(f, "-wal"), 0600);
    assert_int_equal(mode_of(f, ".lock"), 0600);
}

static void a_file_that_others_may_read_is_made_private(void **state)
{
    struct fixture *f = *state;
    open_good(f);
    close_all(f);
    assert_int_equal(chmod(f->path, 0644), 0);
    open_good(f);
    assert_int_equal(mode_of(f, ""), 0600);
}

static void a_symbolic_link_is_not_followed(void **state)
{
    struct fixture *f = *state;
    char target[256];
    struct stat facts;
    scratch_path(&f->scratch, "elsewhere", target, sizeof target);
    assert_int_equal(symlink(target, f->path), 0);
    expect_refusal(f, BQ_INVALID, "symbolic link");
    assert_int_not_equal(stat(target, &facts), 0);
}

static void a_linked_folder_is_resolved(void **state)
{
    struct fixture *f = *state;
    char folder[256], link[256];
    scratch_path(&f->scratch, "real", folder, sizeof folder);
    scratch_path(&f->scratch, "link", link, sizeof link);
    assert_int_equal(mkdir(folder, 0700), 0);
    assert_int_equal(symlink(folder, link), 0);
    scratch_path(&f->scratch, "link/app.bqsync", f->path, sizeof f->path);
    open_good(f);
}

static void a_folder_that_is_absent_is_named(void **state)
{
    struct fixture *f = *state;
    scratch_path(&f->scratch, "nowhere/app.bqsync", f->path, sizeof f->path);
    expect_refusal(f, BQ_INVALID, "nowhere/app.bqsync");
    scratch_path(&f->scratch, "", f->path, sizeof f->path);
    expect_refusal(f, BQ_INVALID, "names no file");
}

static void a_folder_in_the_files_place_is_refused(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(mkdir(f->path, 0700), 0);
    expect_refusal(f, BQ_INVALID, "app.bqsync");
}

static void a_second_opening_is_locked_out(void **state)
{
    struct fixture *f = *state;
    open_good(f);
    expect_refusal(f, BQ_LOCKED, "another process");
    close_all(f);
    open_good(f);
}

static void a_file_of_another_program_is_left_alone(void **state)
{
    struct fixture *f = *state;
    tool_exec(f, "CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)");
    expect_refusal(f, BQ_CORRUPT, "another program");
    assert_int_equal(tool_int(f, "SELECT count(*) FROM sqlite_master"), 1);
}

static void noise_is_no_file_of_ours(void **state)
{
    struct fixture *f = *state;
    int fd = open(f->path, O_WRONLY | O_CREAT, 0600);
    char noise[8192];
    memset(noise, 'x', sizeof noise);
    assert_int_equal(write(fd, noise, sizeof noise), sizeof noise);
    assert_int_equal(close(fd), 0);
    expect_refusal(f, BQ_CORRUPT, "damaged");
}

static void a_damaged_page_is_corrupt_and_not_a_crash(void **state)
{
    struct fixture *f = *state;
    char json[9000];
    open_good(f);
    load_engine(f);
    (void)snprintf(json, sizeof json, "{\"text\":\"%08000d\"}", 1);
    assert_int_equal(put(f, "settings", json), BQ_OK);
    close_all(f);
    struct stat facts;
    assert_int_equal(stat(f->path, &facts), 0);
    int fd = open(f->path, O_WRONLY);
    char noise[4096];
    memset(noise, 0xa5, sizeof noise);
    for (off_t at = 4096; at < facts.st_size; at += 4096) {
        assert_int_equal(pwrite(fd, noise, sizeof noise, at), sizeof noise);
    }
    assert_int_equal(close(fd), 0);
    int status = disk_open(f->path, NULL, &f->disk, f->error);
    if (status == BQ_OK) {
        struct engine_config config = {.size = sizeof config, .limits = LIMITS_DEFAULT};
        assert_int_equal(engine_new(&config, &f->engine), BQ_OK);
        status = disk_load(f->disk, USER, f->engine);
    }
    assert_int_equal(status, BQ_CORRUPT);
}

static void a_newer_format_is_refused_only_where_it_says_so(void **state)
{
    struct fixture *f = *state;
    open_good(f);
    close_all(f);
    tool_exec(f, "PRAGMA user_version = 7; UPDATE app SET value = '3' WHERE name = 'min_reader';");
    expect_refusal(f, BQ_NEWER, "update the app");
    tool_exec(f, "UPDATE app SET value = '1' WHERE name = 'min_reader';");
    open_good(f);
    close_all(f);
    assert_int_equal(tool_int(f, "PRAGMA user_version"), 7);
}

static void a_newer_file_with_more_columns_is_written_too(void **state)
{
    struct fixture *f = *state;
    open_good(f);
    close_all(f);
    tool_exec(f, "PRAGMA user_version = 3; ALTER TABLE mine ADD COLUMN more TEXT;"
                 "CREATE TABLE other (x)");
    open_good(f);
    load_engine(f);
    assert_int_equal(put(f, "notes", "{\"a\":1}"), BQ_OK);
    load_engine(f);
    expect_mine(f, "notes", "{\"a\":1}");
}

/* Root may write everything, so the test gives that up in a child. */
static void a_read_only_file_is_read_only(void **state)
{
    struct fixture *f = *state;
    open_good(f);
    close_all(f);
    assert_int_equal(chmod(f->path, 0400), 0);
    if (geteuid() != 0) {
        expect_refusal(f, BQ_READ_ONLY, "app.bqsync");
        return;
    }
    char lock[300];
    (void)snprintf(lock, sizeof lock, "%s.lock", f->path);
    assert_int_equal(chown(f->path, 65534, 65534), 0);
    assert_int_equal(chown(lock, 65534, 65534), 0);
    assert_int_equal(chown(f->scratch.folder, 65534, 65534), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct disk *disk;
        int good = setgid(65534) == 0 && setuid(65534) == 0 &&
                   disk_open(f->path, NULL, &disk, f->error) == BQ_READ_ONLY;
        _exit(good ? 0 : 1);
    }
    int result;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_int_equal(result, 0);
}

/* ---- Keeping --------------------------------------------------------------------------------- */

static void what_a_step_saves_is_loaded_again(void **state)
{
    struct fixture *f = *state;
    open_good(f);
    load_engine(f);
    assert_int_equal(put(f, "settings", "{\"mute\":true}"), BQ_OK);
    assert_int_equal(put(f, "notes", "{\"a\":[1,2,3.50]}"), BQ_OK);
    assert_int_equal(put(f, "settings", "{\"mute\":false}"), BQ_OK);
    char device[ENGINE_DEVICE_TEXT];
    memcpy(device, engine_meta(f->engine)->device_id, sizeof device);
    close_all(f);
    open_good(f);
    load_engine(f);
    expect_mine(f, "settings", "{\"mute\":false}");
    expect_mine(f, "notes", "{\"a\":[1,2,3.50]}");
    assert_string_equal(engine_meta(f->engine)->device_id, device);
}

static char touched[256];

static void note_table(void *context, int op, const char *database, const char *table,
                       sqlite3_int64 row)
{
    (void)context;
    (void)op;
    (void)database;
    (void)row;
    size_t len = strlen(touched);
    (void)snprintf(touched + len, sizeof touched - len, "%s ", table);
}

static void a_put_writes_its_own_document_alone(void **state)
{
    struct fixture *f = *state;
    open_good(f);
    load_engine(f);
    assert_int_equal(put(f, "settings", "{\"mute\":true}"), BQ_OK);
    touched[0] = '\0';
    sqlite3_update_hook(f->disk->db, note_table, NULL);
    assert_int_equal(put(f, "settings", "{\"mute\":false}"), BQ_OK);
    assert_string_equal(touched, "mine ");
}

static void a_step_that_is_rolled_back_left_nothing(void **state)
{
    struct fixture *f = *state;
    open_good(f);
    load_engine(f);
    assert_int_equal(put(f, "settings", "{\"mute\":true}"), BQ_OK);
    struct engine_event event = {
        .type = ENGINE_PUT, .key = SLICE("settings"), .text = SLICE("{\"mute\":false}")};
    assert_int_equal(engine_step(f->engine, NOW_MS, &event, &f->actions), BQ_OK);
    assert_int_equal(disk_begin(f->disk), BQ_OK);
    assert_int_equal(disk_apply(f->disk, USER, &f->actions), BQ_OK);
    disk_rollback(f->disk);
    disk_rollback(f->disk);
    load_engine(f);
    expect_mine(f, "settings", "{\"mute\":true}");
}

static void users_do_not_see_each_other(void **state)
{
    struct fixture *f = *state;
    char user[DISK_USER_TEXT];
    open_good(f);
    load_engine(f);
    assert_int_equal(put(f, "settings", "{\"mute\":true}"), BQ_OK);
    struct engine_config config = {.size = sizeof config, .limits = LIMITS_DEFAULT};
    struct engine *guest;
    assert_int_equal(engine_new(&config, &guest), BQ_OK);
    assert_int_equal(disk_load(f->disk, "", guest), BQ_OK);
    assert_int_equal(engine_n_lanes(guest), 0);
    engine_free(guest);

    assert_int_equal(disk_begin(f->disk), BQ_OK);
    assert_int_equal(disk_set_user(f->disk, USER), BQ_OK);
    assert_int_equal(disk_forget(f->disk, ""), BQ_OK);
    assert_int_equal(disk_commit(f->disk), BQ_OK);
    assert_int_equal(disk_user(f->disk, user), BQ_OK);
    assert_string_equal(user, USER);
    load_engine(f);
    expect_mine(f, "settings", "{\"mute\":true}");

    assert_int_equal(disk_begin(f->disk), BQ_OK);
    assert_int_equal(disk_forget(f->disk, USER), BQ_OK);
    assert_int_equal(disk_commit(f->disk), BQ_OK);
    load_engine(f);
    assert_int_equal(engine_n_lanes(f->engine), 0);
}

static void a_user_that_is_no_uuid_is_corrupt(void **state)
{
    struct fixture *f = *state;
    char user[DISK_USER_TEXT];
    open_good(f);
    close_all(f);
    tool_exec(f, "UPDATE app SET value = 'somebody' WHERE name = 'user'");
    open_good(f);
    assert_int_equal(disk_user(f->disk, user), BQ_CORRUPT);
}

static void rows_that_the_engine_would_not_write_are_corrupt(void **state)
{
    static const char *const damages[] = {
        "UPDATE mine SET key = '_reserved'",
        "UPDATE lane SET priority = 9",
        "UPDATE meta SET device_id = hex(zeroblob(100))",
        "INSERT INTO frozen VALUES ('" USER "', 'nobody', 1, '0123456789abcdef', '{}', 0)",
        "INSERT INTO frozen VALUES ('" USER "', 'settings', 1, 'short', '{}', 0)",
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        open_good(f);
        load_engine(f);
        assert_int_equal(put(f, "settings", "{\"mute\":true}"), BQ_OK);
        close_all(f);
        tool_exec(f, damages[i]);
        open_good(f);
        struct engine_config config = {.size = sizeof config, .limits = LIMITS_DEFAULT};
        assert_int_equal(engine_new(&config, &f->engine), BQ_OK);
        int status = disk_load(f->disk, USER, f->engine);
        if (status == BQ_OK) {
            fail_msg("not found: %s", damages[i]);
        }
        close_all(f);
        assert_int_equal(unlink(f->path), 0);
    }
}

/* ---- Failing --------------------------------------------------------------------------------- */

static void open_faulty(struct fixture *f)
{
    assert_int_equal(disk_open(f->path, FAULT_VFS_NAME, &f->disk, f->error), BQ_OK);
    load_engine(f);
    assert_int_equal(put(f, "settings", "{\"n\":1}"), BQ_OK);
}

/* Each write call in turn hits the end of the disk: the old document stays, and with space again
 * the next write goes through. */
static void a_full_disk_leaves_all_as_it_was(void **state)
{
    struct fixture *f = *state;
    unsigned n_failed = 0;
    open_faulty(f);
    for (uint64_t n = 1; n < 100; n++) {
        fault_vfs_set(FAULT_VFS_FULL, n, FAULT_VFS_FOREVER);
        int status = put(f, "settings", "{\"n\":2}");
        uint64_t hits = fault_vfs_hits(FAULT_VFS_FULL);
        fault_vfs_set(FAULT_VFS_FULL, 0, 0);
        if (hits == 0) {
            assert_int_equal(status, BQ_OK);
            break;
        }
        n_failed++;
        assert_int_equal(status, BQ_DISK_FULL);
        assert_non_null(strstr(disk_error(f->disk), "full"));
        disk_rollback(f->disk);
        load_engine(f);
        expect_mine(f, "settings", "{\"n\":1}");
    }
    assert_true(n_failed >= 1);
    load_engine(f);
    expect_mine(f, "settings", "{\"n\":2}");
}

/* A failed sync is no proof of anything: the connection is given up and the file read anew. */
static void a_failed_sync_is_not_acknowledged(void **state)
{
    struct fixture *f = *state;
    unsigned n_failed = 0;
    open_faulty(f);
    for (uint64_t n = 1; n < 20; n++) {
        fault_vfs_set(FAULT_VFS_SYNC, n, 1);
        int status = put(f, "settings", "{\"n\":2}");
        if (fault_vfs_hits(FAULT_VFS_SYNC) == 0) {
            assert_int_equal(status, BQ_OK);
            break;
        }
        n_failed++;
        fault_vfs_set(FAULT_VFS_SYNC, 0, 0);
        assert_int_equal(status, BQ_IO);
        disk_rollback(f->disk);
        assert_int_equal(disk_recover(f->disk), BQ_OK);
        /* The first time there is a good step in the WAL, which has to be proven again. */
        assert_true(n > 1 || fault_vfs_calls(FAULT_VFS_SYNC) > 0);
        load_engine(f);
        expect_mine(f, "settings", "{\"n\":1}");
    }
    assert_true(n_failed >= 1);
    load_engine(f);
    expect_mine(f, "settings", "{\"n\":2}");
}

static void a_recovery_that_fails_is_tried_again(void **state)
{
    struct fixture *f = *state;
    char user[DISK_USER_TEXT];
    open_faulty(f);
    fault_vfs_set(FAULT_VFS_OPEN, 1, FAULT_VFS_FOREVER);
    assert_int_not_equal(disk_recover(f->disk), BQ_OK);
    assert_int_not_equal(disk_begin(f->disk), BQ_OK);
    assert_int_not_equal(disk_user(f->disk, user), BQ_OK);
    assert_int_not_equal(disk_load(f->disk, USER, f->engine), BQ_OK);
    fault_vfs_set(FAULT_VFS_OPEN, 0, 0);
    load_engine(f);
    expect_mine(f, "settings", "{\"n\":1}");
    assert_int_equal(put(f, "settings", "{\"n\":2}"), BQ_OK);
}

static void reads_that_fail_are_told(void **state)
{
    struct fixture *f = *state;
    unsigned n_failed = 0;
    open_faulty(f);
    close_all(f);
    for (uint64_t n = 1; n < 200; n++) {
        fault_vfs_set(FAULT_VFS_READ, n, FAULT_VFS_FOREVER);
        struct engine_config config = {.size = sizeof config, .limits = LIMITS_DEFAULT};
        int status = disk_open(f->path, FAULT_VFS_NAME, &f->disk, f->error);
        if (status == BQ_OK) {
            assert_int_equal(engine_new(&config, &f->engine), BQ_OK);
            status = disk_load(f->disk, USER, f->engine);
        }
        bool hit = fault_vfs_hits(FAULT_VFS_READ) > 0;
        fault_vfs_set(FAULT_VFS_READ, 0, 0);
        close_all(f);
        if (!hit) {
            assert_int_equal(status, BQ_OK);
            break;
        }
        n_failed++;
        assert_int_not_equal(status, BQ_OK);
    }
    assert_true(n_failed >= 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(all_files_belong_to_their_owner_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_that_others_may_read_is_made_private, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_symbolic_link_is_not_followed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_linked_folder_is_resolved, setup, teardown),
        cmocka_unit_test_setup_teardown(a_folder_that_is_absent_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(a_folder_in_the_files_place_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_second_opening_is_locked_out, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_of_another_program_is_left_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(noise_is_no_file_of_ours, setup, teardown),
        cmocka_unit_test_setup_teardown(a_damaged_page_is_corrupt_and_not_a_crash, setup, teardown),
        cmocka_unit_test_setup_teardown(a_newer_format_is_refused_only_where_it_says_so, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_newer_file_with_more_columns_is_written_too, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_read_only_file_is_read_only, setup, teardown),
        cmocka_unit_test_setup_teardown(what_a_step_saves_is_loaded_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_put_writes_its_own_document_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(a_step_that_is_rolled_back_left_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(users_do_not_see_each_other, setup, teardown),
        cmocka_unit_test_setup_teardown(a_user_that_is_no_uuid_is_corrupt, setup, teardown),
        cmocka_unit_test_setup_teardown(rows_that_the_engine_would_not_write_are_corrupt, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_full_disk_leaves_all_as_it_was, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failed_sync_is_not_acknowledged, setup, teardown),
        cmocka_unit_test_setup_teardown(a_recovery_that_fails_is_tried_again, setup, teardown),
        cmocka_unit_test_setup_teardown(reads_that_fail_are_told, setup, teardown),
    };
    fault_vfs_register();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
