/* store_bench.c - what durable writes cost: the SQLite store against a bare row in the same run.
 *
 *     store_bench [DIR [USERS [SECONDS]]]
 *
 * Both loops run in transactions of 256 rows of random users, in WAL with synchronous=FULL, on
 * files in DIR (default: the current folder). The bare loop upserts one row (user, key, data,
 * version) and nothing else. The store's loops do what an edit needs: writes alone (history, doc,
 * user row), and with the reads before them. One line of JSON per loop; files are removed. */
#include "base/rng.h"
#include "base/status.h"
#include "store/sqlite.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define BATCH 256u
#define DATA_BYTES 200u
#define ENTRY_BYTES 60u

struct bench {
    char path[512];
    struct uuid *users;
    struct store_doc *docs; /* as last written */
    uint32_t n_users;
    double seconds;
    double start;
    double cpu_start;
    struct rng rng;
    char data[DATA_BYTES];
};

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static void must(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "store_bench: %s failed\n", what);
        exit(1);
    }
}

static void remove_files(const struct bench *bench)
{
    static const char *const ends[] = {"", "-wal", "-shm", ".lock"};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        char name[600];
        snprintf(name, sizeof name, "%s%s", bench->path, ends[i]);
        unlink(name);
    }
}

static double cpu(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* What a loop took since its start. */
static void report(const struct bench *bench, const char *name, uint64_t n)
{
    double seconds = now() - bench->start;
    printf("{\"loop\": \"%s\", \"users\": %u, \"rows_per_second\": %.0f,"
           " \"cpu_us_per_row\": %.1f}\n",
           name, bench->n_users, (double)n / seconds, (cpu() - bench->cpu_start) * 1e6 / (double)n);
    fflush(stdout);
}

static bool goes_on(const struct bench *bench)
{
    return now() - bench->start < bench->seconds;
}

static void start(struct bench *bench)
{
    bench->start = now();
    bench->cpu_start = cpu();
}

/* The bare row. */

static void exec(sqlite3 *db, const char *sql)
{
    must(sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK, sql);
}

static void bare_row(struct bench *bench, sqlite3_stmt *stmt, uint32_t i)
{
    sqlite3_bind_text(stmt, 1, bench->users[i].text, UUID_TEXT, SQLITE_STATIC);
    sqlite3_bind_text(stmt, 2, "game_stats", -1, SQLITE_STATIC);
    sqlite3_bind_text(stmt, 3, bench->data, DATA_BYTES, SQLITE_STATIC);
    must(sqlite3_step(stmt) == SQLITE_DONE, "upsert");
    sqlite3_reset(stmt);
}

static void run_bare(struct bench *bench)
{
    sqlite3 *db;
    sqlite3_stmt *stmt;
    must(sqlite3_open(bench->path, &db) == SQLITE_OK, "open");
    exec(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -32768;"
             "PRAGMA wal_autocheckpoint = 4000; CREATE TABLE bare (user_id TEXT NOT NULL,"
             " data_key TEXT NOT NULL, data TEXT NOT NULL, version INTEGER NOT NULL,"
             " PRIMARY KEY (user_id, data_key)) WITHOUT ROWID");
    must(sqlite3_prepare_v2(db,
                            "INSERT INTO bare VALUES (?1, ?2, ?3, 1) ON CONFLICT DO UPDATE SET"
                            " data = ?3, version = version + 1",
                            -1, &stmt, NULL) == SQLITE_OK,
         "prepare");
    exec(db, "BEGIN");
    for (uint32_t i = 0; i < bench->n_users; i++) {
        bare_row(bench, stmt, i);
    }
    exec(db, "COMMIT");
    uint64_t n = 0;
    start(bench);
    while (goes_on(bench)) {
        exec(db, "BEGIN");
        for (uint32_t i = 0; i < BATCH; i++, n++) {
            bare_row(bench, stmt, (uint32_t)rng_below(&bench->rng, bench->n_users));
        }
        exec(db, "COMMIT");
    }
    report(bench, "bare row", n);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    remove_files(bench);
}

/* The store. */

static void write_row(struct bench *bench, struct store *store, uint32_t i)
{
    static const char entry[ENTRY_BYTES] = {1};
    struct store_doc *doc = &bench->docs[i];
    struct store_user user = {.id = bench->users[i], .exists = true, .n_keys = 1, .generation = 1};
    struct store_history history = {
        .older = doc->history, .version = doc->version + 1, .entry = {entry, sizeof entry}};
    must(store->history_add(store, &bench->users[i], doc->key, &history, &doc->history) == BQ_OK,
         "history_add");
    doc->version++;
    doc->seq++;
    doc->modified_us += 1000003;
    user.seq = doc->seq;
    user.clock_us = doc->modified_us;
    user.n_bytes = DATA_BYTES;
    must(store->doc_put(store, &bench->users[i], doc) == BQ_OK, "doc_put");
    must(store->user_put(store, &user) == BQ_OK, "user_put");
}

static void read_row(struct bench *bench, struct store *store, struct arena *arena, uint32_t i)
{
    struct store_user user;
    struct store_doc doc;
    must(store->user_get(store, &bench->users[i], &user) == BQ_OK, "user_get");
    must(store->doc_get(store, arena, &bench->users[i], SLICE("game_stats"), &doc) == BQ_OK,
         "doc_get");
}

static void load(struct bench *bench, struct store *store)
{
    static const char receipts[ENTRY_BYTES] = {7};
    must(store->begin(store) == BQ_OK, "begin");
    for (uint32_t i = 0; i < bench->n_users; i++) {
        bench->docs[i] =
            (struct store_doc){.key = SLICE("game_stats"),
                               .data = {bench->data, DATA_BYTES},
                               .device_id = SLICE("bq-0123456789abcdef0123456789abcdef"),
                               .modified_us = INT64_C(1772719898123456),
                               .created_us = INT64_C(1772719898123456),
                               .receipts = {receipts, sizeof receipts}};
        write_row(bench, store, i);
    }
    must(store->commit(store) == BQ_OK, "commit");
}

static void run_store(struct bench *bench, bool with_reads, unsigned n_history, const char *name)
{
    struct store *store;
    struct arena arena;
    char error[256];
    struct store_sqlite_config config = {
        .size = sizeof config, .path = bench->path, .n_history = n_history, .create = true};
    must(store_sqlite_open(&config, &store, error, sizeof error) == BQ_OK, error);
    arena_init(&arena);
    load(bench, store);
    uint64_t n = 0;
    start(bench);
    while (goes_on(bench)) {
        must(store->begin(store) == BQ_OK, "begin");
        for (uint32_t k = 0; k < BATCH; k++, n++) {
            uint32_t i = (uint32_t)rng_below(&bench->rng, bench->n_users);
            if (with_reads) {
                read_row(bench, store, &arena, i);
            }
            write_row(bench, store, i);
        }
        must(store->commit(store) == BQ_OK, "commit");
        arena_reset(&arena);
    }
    report(bench, name, n);
    arena_release(&arena);
    store->close(store);
    remove_files(bench);
}

static void make_users(struct bench *bench)
{
    bench->users = calloc(bench->n_users, sizeof *bench->users);
    bench->docs = calloc(bench->n_users, sizeof *bench->docs);
    must(bench->users != NULL && bench->docs != NULL, "memory");
    for (uint32_t i = 0; i < bench->n_users; i++) {
        char hex[33];
        rng_hex(&bench->rng, 16, hex);
        snprintf(bench->users[i].text, sizeof bench->users[i].text, "%.8s-%.4s-%.4s-%.4s-%.12s",
                 hex, hex + 8, hex + 12, hex + 16, hex + 20);
    }
}

int main(int argc, char **argv)
{
    struct bench bench = {.n_users = 10000, .seconds = 5};
    snprintf(bench.path, sizeof bench.path, "%s/store_bench.db", argc > 1 ? argv[1] : ".");
    if (argc > 2) {
        bench.n_users = (uint32_t)strtoul(argv[2], NULL, 10);
    }
    if (argc > 3) {
        bench.seconds = strtod(argv[3], NULL);
    }
    must(bench.n_users > 0, "USERS > 0");
    rng_init(&bench.rng, 1);
    memset(bench.data, 'x', sizeof bench.data);
    make_users(&bench);
    remove_files(&bench);
    run_bare(&bench);
    run_store(&bench, false, 32, "store, writes");
    run_store(&bench, true, 32, "store, reads and writes");
    run_store(&bench, false, 2, "store, writes, history of 2");
    free(bench.users);
    free(bench.docs);
    return 0;
}
