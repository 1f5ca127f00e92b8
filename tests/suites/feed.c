/* feed.c - two writers interleaved at each verb of the store, while a third reads the feed.
 *
 * Sequence numbers are taken before the commit, so a feed that is ordered by them can step over a
 * row that was not committed when its reader came by (docs/protocol.md 7). Here every order of the
 * verbs of small histories is run, over each store: afterwards each of the three pulls until there
 * is no more, and has to know the newest version of every document. No cursor and no version may
 * ever go back.
 *
 * On PostgreSQL each of the two has a connection of its own, and an order takes longer: some are
 * drawn. Another store is another entry of `kinds`, with the handle of a second writer where it has
 * one. A store that makes somebody wait has to answer BQ_BUSY: the exchange is made again when
 * another transaction has ended. BQ_FEED_STORE names one store to be tested alone. BQ_LONG=1 takes
 * the longer histories; BQ_PROGRESS is written as the suites say. The last line is that of the
 * suite `feed`. */
#include "interleave.h"
#include "pg_cluster.h"
#include "planted.h"
#include "stepped_store.h"
#include "store_file.h"

#include "base/status.h"
#include "core/op.h"
#include "store/memory.h"
#include "store/postgres.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define N_KEYS 3
#define N_CLIENTS 3 /* two writers, one reader */
#define READER 2
#define MOST_PULLS 20
/* All orders, for the bar alone. */
#define ABOUT_SHORT 44301
#define ABOUT_LONG 1742000
#define NOW_US INT64_C(1772719898000000)

/* ---- Stores ---- */

struct kind {
    const char *name;
    unsigned n_short; /* orders of a history that are drawn; 0: all are run */
    unsigned n_long;
    bool is_lazy; /* as stepped_store.h says; and there are two handles that write */
    void (*open)(struct kind *kind);
    /* The handle of the i-th writer. NULL: the store has no more, they share the first. */
    struct store *(*writer)(struct kind *kind, unsigned i);
    void (*close)(struct kind *kind);
    struct store *store;
    struct store_file file;
    struct pg_cluster cluster;
    struct store *second; /* writer, where the store has one */
};

static void open_memory(struct kind *kind)
{
    assert_int_equal(store_memory_open("e0", 1, 2, 4, &kind->store), BQ_OK);
}

static void close_memory(struct kind *kind)
{
    kind->store->close(kind->store);
}

static void open_sqlite(struct kind *kind)
{
    store_file_init(&kind->file);
    kind->store = store_file_open(&kind->file);
}

static void close_sqlite(struct kind *kind)
{
    kind->store->close(kind->store);
    store_file_release(&kind->file);
}

static struct store *only_one_writer(struct kind *kind, unsigned i)
{
    return i == 0 ? kind->store : NULL;
}

/* What waits for a lock is refused at once: it is only ever held by who stands still. */
static void open_postgres(struct kind *kind)
{
    char error[300] = "";
    pg_cluster_start(&kind->cluster, "fsync=off autovacuum=off");
    const struct store_postgres_config config = {.size = sizeof config,
                                                 .url = kind->cluster.url,
                                                 .n_history = 32,
                                                 .create = true,
                                                 .lock_ms = 1};
    int status = store_postgres_open(&config, &kind->store, error, sizeof error);
    assert_string_equal(error, "");
    assert_int_equal(status, BQ_OK);
    assert_int_equal(kind->store->writer(kind->store, &kind->second), BQ_OK);
}

static void close_postgres(struct kind *kind)
{
    kind->second->close(kind->second);
    kind->store->close(kind->store);
    pg_cluster_stop(&kind->cluster);
}

static struct store *two_writers(struct kind *kind, unsigned i)
{
    return i == 0 ? kind->store : kind->second;
}

static struct kind kinds[] = {
    {.name = "memory", .open = open_memory, .writer = only_one_writer, .close = close_memory},
    {.name = "sqlite", .open = open_sqlite, .writer = only_one_writer, .close = close_sqlite},
    {.name = "postgres",
     .n_short = 300,
     .n_long = 3000,
     .is_lazy = true,
     .open = open_postgres,
     .writer = two_writers,
     .close = close_postgres},
};

#define N_KINDS (sizeof kinds / sizeof kinds[0])

/* ---- Histories ---- */

struct history {
    const char *name;
    const char *prefix;  /* edits made before, by writer 0, in one exchange; "" none */
    const char *edit[2]; /* of the writers, interleaved; NULL: nothing */
    unsigned n_pulls;    /* of the reader, interleaved */
    int64_t limit;       /* rows in a pull of the reader */
    bool is_long;        /* with BQ_LONG alone */
};

#define EDIT(op, prev, id, key, rest)                                                              \
    "{\"op\":" #op ",\"prev\":" #prev ",\"id\":\"000000000000000" #id "\",\"key\":\"" #key         \
    "\"," rest "}"

#define BOTH                                                                                       \
    EDIT(1, 0, 1, a, "\"base\":0,\"now\":{\"n\":1}")                                               \
    "," EDIT(1, 0, 2, b, "\"base\":0,\"now\":{\"n\":1}")

static const struct history histories[] = {
    {"two new documents",
     "",
     {EDIT(1, 0, 3, a, "\"base\":0,\"now\":{\"n\":1}"),
      EDIT(1, 0, 4, b, "\"base\":0,\"now\":{\"n\":2}")},
     1,
     500,
     false},
    {"both change one",
     BOTH,
     {EDIT(2, 1, 3, a, "\"base\":1,\"was\":{\"n\":1},\"now\":{\"n\":2}"),
      EDIT(1, 0, 4, a, "\"base\":1,\"was\":{\"n\":1},\"now\":{\"n\":3}")},
     1,
     500,
     false},
    {"one deletes, one changes another",
     BOTH,
     {EDIT(2, 1, 3, a, "\"base\":1,\"delete\":true"),
      EDIT(1, 0, 4, b, "\"base\":1,\"was\":{\"n\":1},\"now\":{\"n\":3}")},
     1,
     500,
     false},
    {"one is refused, one makes a document",
     "",
     {EDIT(1, 0, 3, a, "\"base\":0"), EDIT(1, 0, 4, b, "\"base\":0,\"now\":{\"n\":2}")},
     1,
     500,
     false},
    {"one writes, two pulls row by row",
     BOTH,
     {EDIT(2, 1, 3, a, "\"base\":1,\"was\":{\"n\":1},\"now\":{\"n\":3}"), NULL},
     2,
     1,
     true},
    {"both write, two pulls row by row",
     BOTH,
     {EDIT(1, 0, 3, c, "\"base\":0,\"now\":{\"n\":1}"),
      EDIT(1, 0, 4, b, "\"base\":1,\"was\":{\"n\":1},\"now\":{\"n\":3}")},
     2,
     1,
     true},
};

#define N_HISTORIES (sizeof histories / sizeof histories[0])

/* ---- Clients ---- */

struct client {
    int64_t cursor;
    int64_t versions[N_KEYS]; /* -1: never heard of */
};

struct world {
    struct kind *kind;
    const struct history *history;
    struct interleave *interleave;
    struct stepped_lock lock;
    struct stepped_store writers[2];
    struct stepped_store reader;
    struct store *reader_handle;
    struct op_context context; /* without a store */
    struct arena policy_arena;
    struct uuid user;
    unsigned n_users;
    struct client clients[N_CLIENTS];
    uint64_t n_skipped;
    uint64_t n_back;
    uint64_t n_orders;
};

static const char *const devices[N_CLIENTS] = {"writer-1", "writer-2", "reader"};

static void hear(struct world *w, struct client *client, struct slice key, int64_t version)
{
    unsigned k = (unsigned)(key.ptr[0] - 'a');
    assert_true(key.len == 1 && k < N_KEYS);
    if (version < client->versions[k]) {
        w->n_back++;
    }
    client->versions[k] = version;
}

static void take_answer(struct world *w, struct client *client, const struct proto_answer *answer)
{
    assert_false(answer->epoch_changed);
    for (uint32_t i = 0; i < answer->n_results; i++) {
        hear(w, client, answer->results[i].key, answer->results[i].version);
    }
    for (uint32_t i = 0; i < answer->n_changes; i++) {
        if (answer->changes[i].seq <= client->cursor) {
            w->n_back++; /* it was told before */
        }
        hear(w, client, answer->changes[i].key, answer->changes[i].version);
    }
    if (answer->cursor < client->cursor) {
        w->n_back++;
    }
    client->cursor = answer->cursor;
}

static int run_op(struct op_context *context, struct op *op)
{
    return op_only_reads(op) ? apply_read(context, op) : apply_batch(context, &op, 1);
}

/* One exchange of a client over a store; edits as JSON texts, comma-separated. Answers whether
 * there is more. */
static bool exchange(struct world *w, unsigned who, struct stepped_store *store, const char *edits)
{
    struct arena arena;
    struct json_value items;
    struct client *client = &w->clients[who];
    struct op_context context = w->context;
    struct op op = {.kind = OP_EXCHANGE, .user = w->user, .arena = &arena};
    char text[700];
    arena_init(&arena);
    (void)snprintf(text, sizeof text, "[%s]", edits);
    assert_int_equal(json_parse(&arena, slice_of(text), 20, &items, NULL), BQ_OK);
    op.in.exchange = (struct proto_exchange){.device_id = slice_of(devices[who]),
                                             .cursor = client->cursor,
                                             .limit = who == READER ? w->history->limit : 500,
                                             .proto = 1,
                                             .edits = items.items,
                                             .n_edits = items.count};
    context.store = &store->store;
    int status = run_op(&context, &op);
    while (status == BQ_BUSY) {
        stepped_store_wait(store);
        status = run_op(&context, &op);
    }
    assert_int_equal(status, BQ_OK);
    assert_int_equal(op.status, BQ_OK);
    take_answer(w, client, &op.out.answer);
    bool more = op.out.answer.more;
    arena_release(&arena);
    return more;
}

/* ---- One order ---- */

static void before(void *cls)
{
    struct world *w = cls;
    char text[40];
    (void)snprintf(text, sizeof text, "%08x-0000-4000-8000-000000000000", ++w->n_users);
    assert_true(uuid_parse(slice_of(text), &w->user));
    for (unsigned i = 0; i < N_CLIENTS; i++) {
        w->clients[i] = (struct client){0, {-1, -1, -1}};
    }
    if (w->history->prefix[0] != '\0') {
        (void)exchange(w, 0, &w->writers[0], w->history->prefix);
    }
}

static void part(void *cls, unsigned who)
{
    struct world *w = cls;
    if (who != READER && w->history->edit[who] != NULL) {
        (void)exchange(w, who, &w->writers[who], w->history->edit[who]);
    }
    for (unsigned i = 0; who == READER && i < w->history->n_pulls; i++) {
        (void)exchange(w, READER, &w->reader, "");
    }
}

/* Orders done, and about how many there are. */
static void tell_progress(const struct world *w)
{
    const char *path = getenv("BQ_PROGRESS");
    FILE *file = path == NULL || path[0] == '\0' ? NULL : fopen(path, "w");
    uint64_t about = getenv("BQ_LONG") != NULL ? ABOUT_LONG : ABOUT_SHORT;
    if (file != NULL) {
        fprintf(file, "%" PRIu64 " %" PRIu64 "\n", w->n_orders,
                w->n_orders < about ? about : w->n_orders);
        fclose(file);
    }
}

/* Everybody asks until there is no more, and then knows all. */
static bool after(void *cls)
{
    struct world *w = cls;
    struct store *store = w->reader.inner;
    struct arena arena;
    struct store_docs docs;
    for (unsigned i = 0; i < N_CLIENTS; i++) {
        unsigned n = 0;
        while (exchange(w, i, &w->reader, "")) {
            assert_true(++n < MOST_PULLS);
        }
    }
    arena_init(&arena);
    assert_int_equal(store->begin(store), BQ_OK);
    assert_int_equal(store->docs(store, &arena, &w->user, 0, 500, SIZE_MAX, true, &docs), BQ_OK);
    store->rollback(store);
    for (uint32_t d = 0; d < docs.n; d++) {
        for (unsigned i = 0; i < N_CLIENTS; i++) {
            int64_t known = w->clients[i].versions[docs.items[d].key.ptr[0] - 'a'];
            w->n_skipped += known == docs.items[d].version ? 0 : 1;
        }
    }
    arena_release(&arena);
    w->n_orders++;
    if (w->n_orders % 5000 == 0) {
        tell_progress(w);
    }
    return w->n_skipped + w->n_back == 0;
}

/* ---- All orders ---- */

static void open_world(struct world *w, struct kind *kind)
{
    kind->open(kind);
    w->kind = kind;
    w->lock = (struct stepped_lock){0};
    for (unsigned i = 0; i < 2; i++) {
        struct store *handle = kind->writer(kind, i);
        stepped_store_init(&w->writers[i], handle == NULL ? kind->store : handle, false, &w->lock,
                           w->interleave);
        w->writers[i].is_own = kind->is_lazy;
        w->writers[i].is_lazy = kind->is_lazy;
    }
    assert_int_equal(kind->store->reader(kind->store, &w->reader_handle), BQ_OK);
    stepped_store_init(&w->reader, w->reader_handle, true, &w->lock, w->interleave);
    w->reader.is_lazy = kind->is_lazy;
    w->context = (struct op_context){.limits = LIMITS_DEFAULT, .now_us = NOW_US};
    arena_init(&w->policy_arena);
    assert_int_equal(op_load_policies(kind->store, &w->policy_arena, &w->context.policies,
                                      &w->context.policies_version),
                     BQ_OK);
}

static void close_world(struct world *w)
{
    w->reader_handle->close(w->reader_handle);
    w->kind->close(w->kind);
    arena_release(&w->policy_arena);
}

static void run_histories(struct world *w)
{
    bool is_long = getenv("BQ_LONG") != NULL;
    struct interleave_history history = {N_CLIENTS, before, part, after, w};
    for (unsigned h = 0; h < N_HISTORIES && w->n_skipped + w->n_back == 0; h++) {
        w->history = &histories[h];
        uint64_t n = is_long ? w->kind->n_long : w->kind->n_short;
        if (!w->history->is_long || is_long) {
            n = n == 0 ? interleave_all(w->interleave, &history, 0)
                       : interleave_some(w->interleave, &history, n, h + 1);
            printf("%s, %s: %" PRIu64 " interleavings\n", w->kind->name, w->history->name, n);
            (void)fflush(stdout);
        }
    }
}

static void no_order_of_statements_makes_the_feed_skip_or_go_back(void **state)
{
    struct world w = {.interleave = interleave_new()};
    const char *only = getenv("BQ_FEED_STORE");
    (void)state;
    for (unsigned k = 0; k < N_KINDS; k++) {
        if (only == NULL || strcmp(only, kinds[k].name) == 0) {
            open_world(&w, &kinds[k]);
            run_histories(&w);
            close_world(&w);
        }
    }
    interleave_free(w.interleave);
    printf("feed: %" PRIu64 " interleavings: skipped %" PRIu64 ", went back %" PRIu64 "\n",
           w.n_orders, w.n_skipped, w.n_back);
    assert_true(w.n_orders > 0);
    assert_int_equal(w.n_skipped, 0);
    assert_int_equal(w.n_back, 0);
}

/* ---- The machine itself ---- */

#define MOST_ORDERS 100

struct letters {
    struct interleave *interleave;
    char orders[MOST_ORDERS][8];
    unsigned n_orders;
    unsigned n;
};

static void clear_letters(void *cls)
{
    ((struct letters *)cls)->n = 0;
}

static void write_letters(void *cls, unsigned who)
{
    struct letters *letters = cls;
    for (unsigned i = 0; i < 2; i++) {
        interleave_pause(letters->interleave, NULL, NULL);
        letters->orders[letters->n_orders][letters->n++] = (char)('a' + who);
    }
}

static bool keep_letters(void *cls)
{
    struct letters *letters = cls;
    char *order = letters->orders[letters->n_orders];
    order[letters->n] = '\0';
    for (unsigned i = 0; i < letters->n_orders; i++) {
        assert_string_not_equal(letters->orders[i], order);
    }
    letters->n_orders++;
    return true;
}

/* aabbcc stands in 6! / (2! 2! 2!) orders. */
static void each_order_comes_once(void **state)
{
    struct letters letters = {.interleave = interleave_new()};
    struct interleave_history history = {3, clear_letters, write_letters, keep_letters, &letters};
    (void)state;
    assert_int_equal(interleave_all(letters.interleave, &history, 0), 90);
    assert_int_equal(letters.n_orders, 90);
    interleave_free(letters.interleave);
}

/* ---- A second writer ---- */

/* SQLite before 3.51.3 can lose commits when two connections write: there is never a second one. */
static void a_second_writer_of_the_file_is_refused(void **state)
{
    struct store_file file;
    struct store *second;
    int code;
    (void)state;
    store_file_init(&file);
    struct store *store = store_file_open(&file);
    assert_int_equal(store_file_try(&file, NULL, &second), BQ_LOCKED);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        _exit(store_file_try(&file, NULL, &second) == BQ_LOCKED ? 0 : 1);
    }
    assert_true(waitpid(child, &code, 0) == child);
    assert_true(WIFEXITED(code) && WEXITSTATUS(code) == 0);
    store->close(store);
    assert_int_equal(store_file_try(&file, NULL, &second), BQ_OK);
    second->close(second);
    store_file_release(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_order_comes_once),
        cmocka_unit_test(a_second_writer_of_the_file_is_refused),
        cmocka_unit_test(no_order_of_statements_makes_the_feed_skip_or_go_back),
    };
    planted_begin();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
