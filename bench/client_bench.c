/* client_bench.c - what a durable local write of libbqsync costs over the bare SQLite write below
 * it.
 *
 *     client_bench [SECONDS [BYTES [FOLDER]]]
 *
 * In one run and one folder: a loop of one-row transactions in a file set up as the client's (WAL,
 * synchronous=FULL, exclusive), then bq_put(), bq_increment() and bq_get() of a document of BYTES.
 * Prints one line of JSON, operations a second each; `put_of_bare` is their ratio. No network. */
#include "bqsync.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct bench {
    double seconds;
    size_t bytes;
    char bare_path[300];
    char client_path[300];
    char *json;
};

static double now_s(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void must(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "client_bench: %s\n", what);
        exit(1);
    }
}

/* {"n":0000000001,"text":"xxx..."} of about b->bytes; never the same twice in a row. */
static void next_document(struct bench *b, uint64_t n)
{
    char head[32];
    (void)snprintf(head, sizeof head, "%010llu", 1000000000 + (unsigned long long)n);
    memcpy(b->json + 5, head, 10);
}

static void make_document(struct bench *b)
{
    b->json = malloc(b->bytes + 64);
    must(b->json != NULL, "no memory");
    memset(b->json, 'x', b->bytes + 64);
    memcpy(b->json, "{\"n\":0000000000,\"text\":\"", 24);
    size_t end = b->bytes < 32 ? 32 : b->bytes;
    memcpy(b->json + end - 2, "\"}", 3);
}

/* The loop's body per second, for about `seconds`. */
static double measure(struct bench *b, void (*body)(struct bench *b, void *state, uint64_t n),
                      void *state)
{
    double start = now_s();
    double end = start;
    uint64_t n = 0;
    while (end - start < b->seconds) {
        for (int i = 0; i < 16; i++) {
            body(b, state, n++);
        }
        end = now_s();
    }
    return (double)n / (end - start);
}

/* ---- Bare SQLite ----------------------------------------------------------------------------- */

struct bare {
    sqlite3 *db;
    sqlite3_stmt *begin, *write, *commit;
};

static void run(sqlite3_stmt *statement)
{
    must(sqlite3_step(statement) == SQLITE_DONE, "the bare write fails");
    (void)sqlite3_reset(statement);
}

static void write_bare(struct bench *b, void *state, uint64_t n)
{
    struct bare *bare = state;
    next_document(b, n);
    run(bare->begin);
    (void)sqlite3_bind_text(bare->write, 1, b->json, -1, SQLITE_STATIC);
    run(bare->write);
    run(bare->commit);
}

static double bench_bare(struct bench *b)
{
    struct bare bare;
    must(sqlite3_open(b->bare_path, &bare.db) == SQLITE_OK, "the bare file does not open");
    must(sqlite3_exec(bare.db,
                      "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;"
                      "PRAGMA synchronous = FULL;"
                      "CREATE TABLE mine (user TEXT, key TEXT, document TEXT, "
                      "PRIMARY KEY (user, key));",
                      NULL, NULL, NULL) == SQLITE_OK,
         "the bare file cannot be made");
    (void)sqlite3_prepare_v2(bare.db, "BEGIN IMMEDIATE", -1, &bare.begin, NULL);
    (void)sqlite3_prepare_v2(bare.db,
                             "INSERT INTO mine VALUES ('', 'k', ?1) ON CONFLICT (user, key) "
                             "DO UPDATE SET document = ?1",
                             -1, &bare.write, NULL);
    (void)sqlite3_prepare_v2(bare.db, "COMMIT", -1, &bare.commit, NULL);
    double rate = measure(b, write_bare, &bare);
    (void)sqlite3_finalize(bare.begin);
    (void)sqlite3_finalize(bare.write);
    (void)sqlite3_finalize(bare.commit);
    (void)sqlite3_close(bare.db);
    return rate;
}

/* ---- The library ----------------------------------------------------------------------------- */

static void put(struct bench *b, void *state, uint64_t n)
{
    next_document(b, n);
    must(bq_put(state, "k", b->json, SIZE_MAX, 0) == BQ_OK, "bq_put fails");
}

static void increment(struct bench *b, void *state, uint64_t n)
{
    (void)b;
    (void)n;
    must(bq_increment(state, "k", "n", "1", 0) == BQ_OK, "bq_increment fails");
}

static void get(struct bench *b, void *state, uint64_t n)
{
    struct bq_document document = {.size = sizeof document};
    (void)b;
    (void)n;
    must(bq_get(state, "k", &document) == BQ_OK, "bq_get fails");
    bq_document_release(&document);
}

int main(int argc, char **argv)
{
    struct bench b = {.seconds = argc > 1 ? strtod(argv[1], NULL) : 2,
                      .bytes = argc > 2 ? (size_t)strtoul(argv[2], NULL, 10) : 200};
    char folder[256];
    struct bq_config config = BQ_CONFIG_INIT;
    struct bq *bq;
    (void)snprintf(folder, sizeof folder, "%s/bqsync-bench-XXXXXX", argc > 3 ? argv[3] : "/tmp");
    must(mkdtemp(folder) != NULL, "the folder cannot be made");
    (void)snprintf(b.bare_path, sizeof b.bare_path, "%s/bare.db", folder);
    (void)snprintf(b.client_path, sizeof b.client_path, "%s/client.db", folder);
    make_document(&b);
    double bare = bench_bare(&b);
    config.path = b.client_path;
    must(bq_open(&config, &bq) == BQ_OK, "the client's file does not open");
    double puts = measure(&b, put, bq);
    double increments = measure(&b, increment, bq);
    double gets = measure(&b, get, bq);
    bq_close(bq);
    printf("{\"document_bytes\":%zu,\"bare_sqlite_per_s\":%.0f,\"put_per_s\":%.0f,"
           "\"increment_per_s\":%.0f,\"get_per_s\":%.0f,\"put_of_bare\":%.2f}\n",
           strlen(b.json), bare, puts, increments, gets, puts / bare);
    static const char *const names[] = {"bare.db", "bare.db-wal", "client.db", "client.db-wal",
                                        "client.db.lock"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[300];
        (void)snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(folder);
    free(b.json);
    return 0;
}
