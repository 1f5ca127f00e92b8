/* test_store_sqlite.c - the file of the SQLite store: who may open it, what is refused and how,
 * what an operator finds in it. */
#include "store_file.h"
#include "store_suite.h"

#include "base/status.h"
#include "store/sqlite.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

/* Opening answers `want`, the sentence names the file and says `word`, and the file is as before.
 * */
static void assert_refused(struct store_file *file, int want, const char *word)
{
    struct store *store = NULL;
    bool there = store_file_size(file, "") >= 0;
    uint64_t before = there ? store_file_sum(file) : 0;
    assert_int_equal(store_file_try(file, NULL, &store), want);
    assert_null(store);
    assert_non_null(strstr(file->error, file->path));
    if (strstr(file->error, word) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", file->error, word);
    }
    if (there) {
        assert_true(store_file_sum(file) == before);
    }
}

static void write_text(const struct store_file *file, const char *text, size_t len)
{
    FILE *stream = fopen(file->path, "wb");
    assert_non_null(stream);
    assert_int_equal(fwrite(text, 1, len, stream), len);
    assert_int_equal(fclose(stream), 0);
}

static void make_store(struct store_file *file)
{
    struct store *store = store_file_open(file);
    assert_int_equal(store_file_write_batch(store, 1, 100), BQ_OK);
    store->close(store);
}

/* One writer. */

static void a_second_writer_is_refused_while_the_first_lives(void **state)
{
    (void)state;
    struct store_file file;
    store_file_init(&file);
    struct store *store = store_file_open(&file);
    struct store *second = NULL;
    assert_int_equal(store_file_try(&file, NULL, &second), BQ_LOCKED);
    assert_non_null(strstr(file.error, file.path));
    assert_non_null(strstr(file.error, "another server"));
    /* The refused one took nothing away from the first. */
    assert_int_equal(store_file_write_batch(store, 1, 0), BQ_OK);
    assert_int_equal(store_file_try(&file, NULL, &second), BQ_LOCKED);
    store->close(store);
    store = store_file_open(&file);
    assert_int_equal(store_file_last_batch(store), 1);
    store->close(store);
    store_file_release(&file);
}

static void a_second_process_is_refused(void **state)
{
    (void)state;
    struct store_file file;
    store_file_init(&file);
    struct store *store = store_file_open(&file);
    int ends[2];
    int answer = BQ_OK;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct store *second;
        int status = store_file_try(&file, NULL, &second);
        (void)!write(ends[1], &status, sizeof status);
        for (;;) {
            pause(); /* a copy of the parent has nothing to tidy up: it waits to be killed */
        }
    }
    assert_int_equal(read(ends[0], &answer, sizeof answer), sizeof answer);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(answer, BQ_LOCKED);
    close(ends[0]);
    close(ends[1]);
    store->close(store);
    store_file_release(&file);
}

/* The file. */

static unsigned mode_of(const struct store_file *file, const char *end)
{
    char path[256];
    struct stat info;
    snprintf(path, sizeof path, "%s%s", file->path, end);
    assert_int_equal(stat(path, &info), 0);
    return info.st_mode & 0777;
}

static void files_are_for_their_owner_only(void **state)
{
    (void)state;
    struct store_file file;
    store_file_init(&file);
    mode_t before = umask(0);
    struct store *store = store_file_open(&file);
    assert_int_equal(store_file_write_batch(store, 1, 0), BQ_OK);
    umask(before);
    assert_int_equal(mode_of(&file, ""), 0600);
    assert_int_equal(mode_of(&file, "-wal"), 0600);
    assert_int_equal(mode_of(&file, "-shm"), 0600);
    assert_int_equal(mode_of(&file, ".lock"), 0600);
    store->close(store);
    store_file_release(&file);
}

static void a_clean_close_leaves_one_file(void **state)
{
    (void)state;
    struct store_file file;
    store_file_init(&file);
    make_store(&file);
    assert_int_equal(store_file_size(&file, "-wal"), -1);
    assert_int_equal(store_file_size(&file, "-shm"), -1);
    store_file_release(&file);
}

static void a_symbolic_link_is_refused(void **state)
{
    (void)state;
    struct store_file file;
    char target[200];
    store_file_init(&file);
    scratch_path(&file.scratch, "target.db", target, sizeof target);
    assert_int_equal(symlink(target, file.path), 0);
    assert_refused(&file, BQ_IO, "symbolic link");
    assert_int_equal(access(target, F_OK), -1);
    store_file_release(&file);
}

static void a_folder_is_refused(void **state)
{
    (void)state;
    struct store_file file;
    struct store *store = NULL;
    store_file_init(&file);
    assert_int_equal(mkdir(file.path, 0700), 0);
    assert_int_equal(store_file_try(&file, NULL, &store), BQ_IO);
    assert_non_null(strstr(file.error, "not a file"));
    store_file_release(&file);
}

static void a_read_only_file_is_refused(void **state)
{
    (void)state;
    struct store_file file;
    store_file_init(&file);
    make_store(&file);
    assert_int_equal(chmod(file.path, 0400), 0);
    assert_refused(&file, BQ_READ_ONLY, "read-only");
    assert_int_equal(chmod(file.path, 0600), 0);
    struct store *store = store_file_open(&file);
    store->close(store);
    store_file_release(&file);
}

static void a_missing_folder_or_file_is_told(void **state)
{
    (void)state;
    struct store_file file;
    struct store *store = NULL;
    store_file_init(&file);
    struct store_sqlite_config config = {.size = sizeof config, .path = file.path};
    assert_int_equal(store_sqlite_open(&config, &store, file.error, sizeof file.error),
                     BQ_NOT_FOUND);
    assert_int_equal(store_file_size(&file, ".lock"), -1);
    assert_int_equal(store_file_size(&file, ""), -1);
    scratch_path(&file.scratch, "absent/store.db", file.path, sizeof file.path);
    assert_refused(&file, BQ_NOT_FOUND, "folder");
    store_file_release(&file);
}

static void what_is_no_database_is_refused(void **state)
{
    (void)state;
    struct store_file file;
    char text[5000];
    store_file_init(&file);
    memset(text, 'x', sizeof text);
    write_text(&file, text, sizeof text);
    assert_refused(&file, BQ_CORRUPT, "no database");
    write_text(&file, "short", 5);
    assert_refused(&file, BQ_CORRUPT, "no database");
    store_file_release(&file);
}

static void another_programs_database_is_refused_untouched(void **state)
{
    (void)state;
    struct store_file file;
    store_file_init(&file);
    store_file_sql(&file, "CREATE TABLE theirs (a)");
    assert_refused(&file, BQ_CORRUPT, "no store of bqsync");
    assert_string_equal(store_file_sql(&file, "PRAGMA journal_mode"), "delete\n");
    store_file_release(&file);
}

static void a_newer_schema_is_refused_untouched(void **state)
{
    (void)state;
    struct store_file file;
    store_file_init(&file);
    make_store(&file);
    int ours = (int)strtol(store_file_sql(&file, "PRAGMA user_version"), NULL, 10);
    store_file_sql(&file, "PRAGMA user_version = 1000");
    store_file_sql(&file, "PRAGMA wal_checkpoint(TRUNCATE)");
    assert_refused(&file, BQ_NEWER, "update bqsync");
    char back[80];
    snprintf(back, sizeof back, "PRAGMA user_version = %d; PRAGMA wal_checkpoint(TRUNCATE)", ours);
    store_file_sql(&file, back);
    struct store *store = store_file_open(&file);
    assert_int_equal(store_file_last_batch(store), 1);
    store->close(store);
    store_file_release(&file);
}

static void a_damaged_file_is_refused(void **state)
{
    (void)state;
    struct store_file file;
    char junk[4096];
    memset(junk, 0x5a, sizeof junk);
    store_file_init(&file);
    make_store(&file);
    long size = store_file_size(&file, "");
    /* Each page in turn; on the first one behind the file's header, which is another case. */
    for (long at = 0; at < size; at += 4096) {
        char before[4096];
        FILE *stream = fopen(file.path, "rb");
        assert_non_null(stream);
        assert_int_equal(fseek(stream, at, SEEK_SET), 0);
        assert_int_equal(fread(before, 1, sizeof before, stream), sizeof before);
        fclose(stream);
        size_t header = at == 0 ? 100 : 0;
        store_file_scribble(&file, at + (long)header, junk, sizeof junk - header);
        struct store *store = NULL;
        assert_int_equal(store_file_try(&file, NULL, &store), BQ_CORRUPT);
        assert_non_null(strstr(file.error, "restore it from a backup"));
        store_file_scribble(&file, at, before, sizeof before);
    }
    struct store *store = store_file_open(&file);
    assert_int_equal(store_file_last_batch(store), 1);
    store->close(store);
    assert_int_equal(truncate(file.path, size / 2), 0);
    assert_int_equal(store_file_try(&file, NULL, &store), BQ_CORRUPT);
    store_file_release(&file);
}

/* A handle that meets damage answers BQ_CORRUPT from then on; readers do not check at open. */
static void damage_met_later_stops_the_handle(void **state)
{
    (void)state;
    struct store_file file;
    struct store *store = NULL;
    struct arena arena;
    struct store_doc doc;
    struct uuid user = store_suite_user(0);
    char junk[3900];
    memset(junk, 0x5a, sizeof junk);
    arena_init(&arena);
    store_file_init(&file);
    make_store(&file);
    long page = strtol(store_file_sql(&file, "SELECT rootpage FROM sqlite_master"
                                             " WHERE name = 'user_sync_data_v2'"),
                       NULL, 10);
    store_file_scribble(&file, (page - 1) * 4096, junk, sizeof junk);
    assert_int_equal(store_file_try_read_only(&file, &store), BQ_OK);
    assert_int_equal(store->begin(store), BQ_OK);
    assert_int_equal(store->doc_get(store, &arena, &user, SLICE("a"), &doc), BQ_CORRUPT);
    store->rollback(store);
    assert_int_equal(store->begin(store), BQ_CORRUPT);
    store->close(store);
    arena_release(&arena);
    store_file_release(&file);
}

/* A table that somebody took away is the trouble of its own verbs alone. */
static void a_statement_that_does_not_fit_poisons_nothing(void **state)
{
    struct store_file file;
    struct uuid user = store_suite_user(0);
    struct store_v1_device device = {SLICE("d"), SLICE("n"), SLICE("t"), 1, 1};
    (void)state;
    store_file_init(&file);
    struct store *store = store_file_open(&file);
    (void)store_file_sql(&file, "DROP TABLE user_devices");
    assert_int_equal(store->begin(store), BQ_OK);
    assert_int_equal(store->v1_device_put(store, &user, &device), BQ_CORRUPT);
    store->rollback(store);
    assert_int_equal(store_file_write_batch(store, 1, 0), BQ_OK);
    assert_int_equal(store_file_last_batch(store), 1);
    store->close(store);
    store_file_release(&file);
}

static void a_sync_level_that_does_not_take_is_refused(void **state)
{
    (void)state;
    struct store_file file;
    struct store *store = NULL;
    store_file_init(&file);
    struct store_sqlite_config config = {
        .size = sizeof config, .path = file.path, .create = true, .synchronous = "SOMETIMES"};
    assert_int_equal(store_sqlite_open(&config, &store, file.error, sizeof file.error), BQ_IO);
    assert_non_null(strstr(file.error, "synchronous"));
    store_file_release(&file);
}

/* Identity. */

static void fixed_bits(void *bytes, size_t n)
{
    memset(bytes, 0xab, n);
}

static void epoch_and_hash_key_are_made_once(void **state)
{
    (void)state;
    struct store_file file;
    struct store *store = NULL;
    uint64_t key[2];
    store_file_init(&file);
    struct store_sqlite_config config = {
        .size = sizeof config, .path = file.path, .create = true, .random = fixed_bits};
    assert_int_equal(store_sqlite_open(&config, &store, NULL, 0), BQ_OK);
    assert_true(slice_is(store->epoch(store), "abababababababababababababababab"));
    store->hash_key(store, key);
    assert_true(key[0] == 0xababababababababu && key[1] == key[0]);
    store->close(store);
    store = store_file_open(&file);
    assert_true(slice_is(store->epoch(store), "abababababababababababababababab"));
    store->close(store);
    store_file_release(&file);
}

static void two_files_have_two_epochs(void **state)
{
    (void)state;
    struct store_file files[2];
    struct store *stores[2];
    for (int i = 0; i < 2; i++) {
        store_file_init(&files[i]);
        stores[i] = store_file_open(&files[i]);
    }
    assert_int_equal(stores[0]->epoch(stores[0]).len, 32);
    assert_false(slice_equal(stores[0]->epoch(stores[0]), stores[1]->epoch(stores[1])));
    for (int i = 0; i < 2; i++) {
        stores[i]->close(stores[i]);
        store_file_release(&files[i]);
    }
}

/* Readers and the WAL. */

static void readers_never_checkpoint(void **state)
{
    (void)state;
    struct store_file file;
    struct store *reader;
    store_file_init(&file);
    struct store *store = store_file_open(&file);
    assert_int_equal(store_file_write_batch(store, 1, 1000), BQ_OK);
    long wal = store_file_size(&file, "-wal");
    uint64_t sum = store_file_sum(&file);
    assert_true(wal > 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(store->reader(store, &reader), BQ_OK);
        assert_int_equal(store_file_last_batch(reader), 1);
        reader->close(reader);
    }
    assert_int_equal(store_file_size(&file, "-wal"), wal);
    assert_true(store_file_sum(&file) == sum);
    store->close(store);
    store_file_release(&file);
}

/* A thread whose two handles read in turns, one beginning before the other ends: no moment is
 * without a reader, and a checkpoint that waits for none never comes to its end. */
struct reading {
    struct store *readers[2];
    _Atomic bool over;
    unsigned n;
    bool failed;
};

/* Begins a read transaction and pins what it sees. */
static int64_t begin_reading(struct reading *reading, struct store *reader)
{
    struct uuid user = store_suite_user(0);
    struct store_user row = {.seq = 0};
    if (reader->begin(reader) != BQ_OK || reader->user_get(reader, &user, &row) != BQ_OK) {
        reading->failed = true;
    }
    return row.seq;
}

static void *read_in_turns(void *context)
{
    struct reading *reading = context;
    int64_t last = begin_reading(reading, reading->readers[0]);
    while (!atomic_load(&reading->over)) {
        reading->n++;
        int64_t seq = begin_reading(reading, reading->readers[reading->n % 2]);
        reading->failed = reading->failed || seq < last;
        last = seq;
        struct store *older = reading->readers[(reading->n + 1) % 2];
        older->rollback(older);
    }
    return NULL;
}

/* 62 MiB of changes pass through a WAL of at most two checkpoints and a transaction. */
static void the_wal_stays_bounded_beside_readers(void **state)
{
    (void)state;
    struct store_file file;
    struct reading reading = {.n = 0};
    pthread_t thread;
    long largest = 0;
    store_file_init(&file);
    struct store *store = store_file_open(&file);
    assert_int_equal(store->reader(store, &reading.readers[0]), BQ_OK);
    assert_int_equal(store->reader(store, &reading.readers[1]), BQ_OK);
    assert_int_equal(pthread_create(&thread, NULL, read_in_turns, &reading), 0);
    for (int i = 1; i <= 50; i++) {
        assert_int_equal(store_file_write_batch(store, i, 256u << 10), BQ_OK);
        long size = store_file_size(&file, "-wal");
        largest = size > largest ? size : largest;
    }
    atomic_store(&reading.over, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(reading.n > 0 && !reading.failed);
    assert_in_range(largest, 4000L * 4096, 2 * 4000L * 4096 + (4 << 20));
    reading.readers[0]->close(reading.readers[0]);
    reading.readers[1]->close(reading.readers[1]);
    store->close(store);
    store_file_release(&file);
}

/* The guide's SQL, verbatim, on the file of a running server. */
static void the_guides_sql_runs_on_the_file(void **state)
{
    (void)state;
    struct store_file file;
    struct uuid user = store_suite_user(0);
    struct store_dead dead = {SLICE("5e1f0000-0000-4000-8000-000000000001"),
                              SLICE_NONE,
                              SLICE("notes"),
                              SLICE("{\"op\":3}"),
                              4,
                              SLICE("too_large: the document is over the size limit"),
                              INT64_C(1772719898123456)};
    struct store_doc doc = {.key = SLICE("settings"),
                            .version = 11,
                            .seq = 1,
                            .data = SLICE("{\"mute\":true}"),
                            .device_id = SLICE("phone"),
                            .modified_us = INT64_C(1772719898120000),
                            .created_us = INT64_C(1772719898000000)};
    store_file_init(&file);
    struct store *store = store_file_open(&file);
    assert_int_equal(store_file_write_batch(store, 1, 0), BQ_OK);
    assert_int_equal(store->begin(store), BQ_OK);
    assert_int_equal(store->doc_put(store, &user, &doc), BQ_OK);
    assert_int_equal(store->dead_replace(store, &user, SLICE("phone"), &dead, 1), BQ_OK);
    assert_int_equal(store->commit(store), BQ_OK);
    assert_string_equal(
        store_file_sql(&file, "SELECT data_key, COUNT(*) AS count, AVG(version) AS avg_version"
                              " FROM user_sync_data_v2 GROUP BY data_key;"),
        "a|1|1.0\nb|1|1.0\nc|1|1.0\nd|1|1.0\ne|1|1.0\nsettings|1|11.0\n");
    assert_string_equal(
        store_file_sql(&file, "SELECT * FROM user_sync_data_v2 WHERE version > 10 ORDER BY"
                              " version DESC;"),
        "00000000-0000-4000-8000-00000000000a|settings|11|phone|2026-03-05T14:11:38.12+00:00|"
        "2026-03-05T14:11:38+00:00|1|0|0|0|NULL|{\"mute\":true}\n");
    assert_string_equal(
        store_file_sql(&file, "SELECT * FROM user_sync_queue WHERE status = 'failed';"),
        "5e1f0000-0000-4000-8000-000000000001|00000000-0000-4000-8000-00000000000a|phone|notes|"
        "{\"op\":3}|4|failed|0|5|too_large: the document is over the size limit|"
        "2026-03-05T14:11:38.123456+00:00|2026-03-05T14:11:38.123456+00:00|NULL\n");
    store->close(store);
    store_file_release(&file);
}

static void report_dead(struct store *store, const char *device, const char *id, int64_t at_us,
                        size_t n_bytes)
{
    struct uuid user = store_suite_user(0);
    struct buf data = BUF_INIT;
    for (size_t i = 0; i < n_bytes; i++) {
        buf_add_char(&data, ' ');
    }
    struct store_dead dead = {
        slice_of(id), slice_of(device), SLICE("k"), buf_slice(&data), 1, SLICE("too_large"), at_us};
    assert_int_equal(store->begin(store), BQ_OK);
    assert_int_equal(store->dead_replace(store, &user, slice_of(device), &dead, id[0] != '\0'),
                     BQ_OK);
    assert_int_equal(store->commit(store), BQ_OK);
    buf_release(&data);
}

static void a_report_replaces_the_devices_last_one(void **state)
{
    (void)state;
    struct store_file file;
    store_file_init(&file);
    struct store *store = store_file_open(&file);
    report_dead(store, "phone", "p1", 1, 2);
    report_dead(store, "tablet", "t1", 1, 2);
    report_dead(store, "phone", "p2", 1, 2);
    assert_string_equal(store_file_sql(&file, "SELECT id FROM user_sync_queue ORDER BY id"),
                        "p2\nt1\n");
    /* What an operator has marked as settled stays. */
    store_file_sql(&file, "UPDATE user_sync_queue SET status = 'completed' WHERE id = 'p2'");
    report_dead(store, "phone", "", 1, 0);
    report_dead(store, "tablet", "", 1, 0);
    assert_string_equal(store_file_sql(&file, "SELECT id FROM user_sync_queue"), "p2\n");
    store->close(store);
    store_file_release(&file);
}

static void a_users_dead_letters_are_bounded_over_all_devices(void **state)
{
    (void)state;
    struct store_file file;
    store_file_init(&file);
    struct store *store = store_file_open(&file);
    for (int i = 0; i < 110; i++) {
        char device[8];
        snprintf(device, sizeof device, "d%d", i);
        report_dead(store, device, "id", INT64_C(1772719898000000) + i, 10);
    }
    assert_string_equal(store_file_sql(&file, "SELECT count(*) FROM user_sync_queue;"
                                              "SELECT device_id FROM user_sync_queue"
                                              " ORDER BY created_at LIMIT 1"),
                        "100\nd10\n");
    report_dead(store, "big", "id", INT64_C(1772719899000000), LIMIT_DEAD_BYTES - 25);
    assert_string_equal(store_file_sql(&file, "SELECT device_id FROM user_sync_queue"
                                              " ORDER BY created_at"),
                        "d108\nd109\nbig\n");
    store->close(store);
    store_file_release(&file);
}

static void the_guides_columns_are_there(void **state)
{
    (void)state;
    struct store_file file;
    store_file_init(&file);
    make_store(&file);
    assert_string_equal(
        store_file_sql(&file, "SELECT user_id, data_key, data, version, device_id, modified_at,"
                              " created_at FROM user_sync_data_v2 WHERE 0;"
                              "SELECT user_id, device_id, last_sync_at, last_sync_version,"
                              " device_info, created_at FROM user_sync_metadata;"
                              "SELECT id, user_id, device_id, data_key, data, version, status,"
                              " retry_count, max_retries, error_message, created_at, updated_at,"
                              " processed_at FROM user_sync_queue;"
                              "SELECT device_id, user_id, device_name, device_type, last_sync,"
                              " created_at FROM user_devices;"
                              "SELECT user_id, seq FROM user_sync_feed WHERE 0;"
                              "SELECT pattern, policy FROM user_sync_policy;"),
        "");
    store_file_release(&file);
}

/* The log of history in the file: at most about twice what is kept, over restarts too. */
static void the_oldest_tombstone_is_found_by_an_index(void **state)
{
    (void)state;
    struct store_file file;
    store_file_init(&file);
    make_store(&file);
    const char *plan =
        store_file_sql(&file, "EXPLAIN QUERY PLAN SELECT data_key, history, seq FROM"
                              " user_sync_data_v2 WHERE user_id = 'u' AND deleted = 1"
                              " ORDER BY seq LIMIT 1");
    assert_non_null(strstr(plan, "user_sync_tombstones"));
    assert_null(strstr(plan, "TEMP B-TREE"));
    store_file_release(&file);
}

static void the_history_log_stays_bounded(void **state)
{
    (void)state;
    struct store_file file;
    store_file_init(&file);
    for (int run = 0; run < 5; run++) {
        struct store *store = store_file_open(&file);
        for (int i = 1; i <= 150; i++) {
            assert_int_equal(store_file_write_batch(store, run * 150 + i, 0), BQ_OK);
        }
        store->close(store);
        long n = strtol(store_file_sql(&file, "SELECT count(*) FROM user_sync_history"), NULL, 10);
        assert_in_range(n, STORE_SUITE_HISTORY * STORE_FILE_BATCH_KEYS,
                        3 * STORE_SUITE_HISTORY * STORE_FILE_BATCH_KEYS);
    }
    struct store *store = store_file_open(&file);
    struct uuid user = store_suite_user(0);
    assert_int_equal(store->begin(store), BQ_OK);
    assert_int_equal(store->user_clear(store, &user), BQ_OK);
    assert_int_equal(store->commit(store), BQ_OK);
    store->close(store);
    assert_string_equal(store_file_sql(&file, "SELECT count(*) FROM user_sync_history"), "0\n");
    store_file_release(&file);
}

int main(void)
{
    static const struct CMUnitTest cases[] = {
        cmocka_unit_test(a_second_writer_is_refused_while_the_first_lives),
        cmocka_unit_test(a_second_process_is_refused),
        cmocka_unit_test(files_are_for_their_owner_only),
        cmocka_unit_test(a_clean_close_leaves_one_file),
        cmocka_unit_test(a_symbolic_link_is_refused),
        cmocka_unit_test(a_folder_is_refused),
        cmocka_unit_test(a_read_only_file_is_refused),
        cmocka_unit_test(a_missing_folder_or_file_is_told),
        cmocka_unit_test(what_is_no_database_is_refused),
        cmocka_unit_test(another_programs_database_is_refused_untouched),
        cmocka_unit_test(a_newer_schema_is_refused_untouched),
        cmocka_unit_test(a_damaged_file_is_refused),
        cmocka_unit_test(damage_met_later_stops_the_handle),
        cmocka_unit_test(a_statement_that_does_not_fit_poisons_nothing),
        cmocka_unit_test(a_sync_level_that_does_not_take_is_refused),
        cmocka_unit_test(epoch_and_hash_key_are_made_once),
        cmocka_unit_test(two_files_have_two_epochs),
        cmocka_unit_test(readers_never_checkpoint),
        cmocka_unit_test(the_wal_stays_bounded_beside_readers),
        cmocka_unit_test(the_guides_sql_runs_on_the_file),
        cmocka_unit_test(the_guides_columns_are_there),
        cmocka_unit_test(a_report_replaces_the_devices_last_one),
        cmocka_unit_test(a_users_dead_letters_are_bounded_over_all_devices),
        cmocka_unit_test(the_history_log_stays_bounded),
        cmocka_unit_test(the_oldest_tombstone_is_found_by_an_index),
    };
    return cmocka_run_group_tests_name("store_sqlite", cases, NULL, NULL);
}
