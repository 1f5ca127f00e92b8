/* store_file.c - see store_file.h. */
#include "store_file.h"

#include "base/mem.h"
#include "base/status.h"
#include "store/sqlite.h"
#include "store_suite.h"

#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <cmocka.h>

void store_file_init(struct store_file *file)
{
    scratch_init(&file->scratch);
    scratch_path(&file->scratch, "store.db", file->path, sizeof file->path);
    file->error[0] = '\0';
}

void store_file_release(struct store_file *file)
{
    scratch_release(&file->scratch);
}

int store_file_try(struct store_file *file, const char *vfs, struct store **out)
{
    struct store_sqlite_config config = {.size = sizeof config,
                                         .path = file->path,
                                         .n_history = STORE_SUITE_HISTORY,
                                         .create = true,
                                         .vfs = vfs};
    file->error[0] = '\0';
    return store_sqlite_open(&config, out, file->error, sizeof file->error);
}

int store_file_try_read_only(struct store_file *file, struct store **out)
{
    struct store_sqlite_config config = {
        .size = sizeof config, .path = file->path, .read_only = true};
    file->error[0] = '\0';
    return store_sqlite_open(&config, out, file->error, sizeof file->error);
}

struct store *store_file_open(struct store_file *file)
{
    struct store *store = NULL;
    int status = store_file_try(file, NULL, &store);
    assert_string_equal(file->error, "");
    assert_int_equal(status, BQ_OK);
    return store;
}

static int add_row(void *context, int n_columns, char **values, char **names)
{
    (void)names;
    for (int i = 0; i < n_columns; i++) {
        buf_add_text(context, values[i] == NULL ? "NULL" : values[i]);
        buf_add_char(context, i + 1 < n_columns ? '|' : '\n');
    }
    return 0;
}

const char *store_file_sql(struct store_file *file, const char *sql)
{
    static char answer[8192];
    struct buf rows = BUF_INIT;
    sqlite3 *db;
    char *error = NULL;
    assert_int_equal(sqlite3_open(file->path, &db), SQLITE_OK);
    /* A visitor: what the store keeps in its WAL stays there. */
    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    int rc = sqlite3_exec(db, sql, add_row, &rows, &error);
    if (rc != SQLITE_OK) {
        buf_add_format(&rows, "error: %s", error == NULL ? sqlite3_errstr(rc) : error);
    }
    sqlite3_free(error);
    sqlite3_close(db);
    snprintf(answer, sizeof answer, "%.*s", SLICE_FMT(buf_slice(&rows)));
    buf_release(&rows);
    return answer;
}

long store_file_size(const struct store_file *file, const char *end)
{
    char path[256];
    struct stat info;
    snprintf(path, sizeof path, "%s%s", file->path, end);
    return stat(path, &info) == 0 ? (long)info.st_size : -1;
}

uint64_t store_file_sum(const struct store_file *file)
{
    uint64_t sum = 1469598103934665603u;
    FILE *stream = fopen(file->path, "rb");
    assert_non_null(stream);
    for (int c = fgetc(stream); c != EOF; c = fgetc(stream)) {
        sum = (sum ^ (uint64_t)c) * 1099511628211u;
    }
    fclose(stream);
    return sum;
}

void store_file_scribble(const struct store_file *file, long at, const void *bytes, size_t n)
{
    FILE *stream = fopen(file->path, "r+b");
    assert_non_null(stream);
    assert_int_equal(fseek(stream, at, SEEK_SET), 0);
    assert_int_equal(fwrite(bytes, 1, n, stream), n);
    assert_int_equal(fclose(stream), 0);
}

static const char *const batch_keys[STORE_FILE_BATCH_KEYS] = {"a", "b", "c", "d", "e"};

static int write_doc(struct store *store, struct arena *arena, const struct uuid *user,
                     struct slice key, struct slice data)
{
    struct store_doc doc;
    int status = store->doc_get(store, arena, user, key, &doc);
    if (status != BQ_OK) {
        return status;
    }
    struct store_history entry = {0, doc.history, ++doc.version, SLICE("back")};
    status = store->history_add(store, user, key, &entry, &doc.history);
    if (status != BQ_OK) {
        return status;
    }
    doc.seq++;
    doc.data = data;
    return store->doc_put(store, user, &doc);
}

static int write_docs(struct store *store, struct arena *arena, int64_t number, size_t padding)
{
    struct uuid user = store_suite_user(0);
    struct store_user row = {.id = user, .exists = true, .seq = number};
    struct buf data = BUF_INIT;
    char fill = (char)('a' + number % 26); /* SQLite does not write a page that stays equal */
    int status = store->user_put(store, &row);
    buf_add_format(&data, "{\"b\":%d,\"p\":\"", (int)number);
    for (size_t i = 0; i < padding; i++) {
        buf_add_char(&data, fill);
    }
    buf_add_text(&data, "\"}");
    for (int i = 0; status == BQ_OK && i < STORE_FILE_BATCH_KEYS; i++) {
        status = write_doc(store, arena, &user, slice_of(batch_keys[i]), buf_slice(&data));
    }
    buf_release(&data);
    return status;
}

int store_file_write_batch(struct store *store, int64_t number, size_t padding)
{
    struct arena arena;
    int status = store->begin(store);
    if (status != BQ_OK) {
        return status;
    }
    arena_init(&arena);
    status = write_docs(store, &arena, number, padding);
    if (status == BQ_OK) {
        status = store->commit(store);
    } else {
        store->rollback(store);
    }
    arena_release(&arena);
    return status;
}

int64_t store_file_last_batch(struct store *store)
{
    struct arena arena;
    struct store_user row;
    struct uuid user = store_suite_user(0);
    arena_init(&arena);
    assert_int_equal(store->begin(store), BQ_OK);
    assert_int_equal(store->user_get(store, &user, &row), BQ_OK);
    for (int i = 0; i < STORE_FILE_BATCH_KEYS; i++) {
        char begin[40];
        struct store_doc doc;
        assert_int_equal(store->doc_get(store, &arena, &user, slice_of(batch_keys[i]), &doc),
                         BQ_OK);
        snprintf(begin, sizeof begin, "{\"b\":%d,", (int)row.seq);
        size_t len = strlen(begin);
        if (row.seq == 0) {
            assert_int_equal(doc.version, 0);
        } else {
            assert_true(doc.data.len > len && memcmp(doc.data.ptr, begin, len) == 0);
        }
    }
    store->rollback(store);
    arena_release(&arena);
    return row.seq;
}
