/* test_migrate_power.c - the power goes at every call that a migration makes on its disk: no row of
 * a batch that was answered is lost, no value changes, and running it again ends where an
 * undisturbed run ends (docs/migration.md). */
#include "power_judge.h"

#include "base/status.h"
#include "core/op.h"
#include "scratch.h"
#include "store/sqlite_impl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define N_BATCHES 5
#define N_OPS 6
#define N_DOCS 3
#define NOW_US INT64_C(1770000000000000)

static struct scratch scratch;
static char path[200];
static const struct power_log *recorded;
static size_t answered_at[N_BATCHES]; /* calls of the log when a batch was answered */

/* The same bytes at each making of a store, so that two of them can be compared. */
static void identity_bytes(void *bytes, size_t n)
{
    memset(bytes, 0x5a, n);
}

static struct store *open_store(const char *synchronous)
{
    char error[300] = "";
    struct store *store;
    struct store_sqlite_config config = {.size = sizeof config,
                                         .path = path,
                                         .n_history = 4,
                                         .create = true,
                                         .vfs = POWER_VFS_NAME,
                                         .synchronous = synchronous,
                                         .random = identity_bytes};
    if (store_sqlite_open(&config, &store, error, sizeof error) != BQ_OK) {
        fail_msg("the store does not open: %s", error);
    }
    sqlite_of(store)->checkpoint_at = 20;
    return store;
}

static void make_op(struct arena *arena, unsigned user, struct op *op)
{
    static const char *const keys[N_DOCS] = {"game_stats", "settings", "notes"};
    struct seed_row *rows = arena_zalloc(arena, N_DOCS, sizeof *rows);
    char text[400];
    *op = (struct op){.kind = OP_SEED, .arena = arena};
    (void)snprintf(text, sizeof text, "%08x-0000-4000-8000-000000000001", user * 2654435761u);
    assert_true(uuid_parse(slice_of(text), &op->user));
    for (unsigned i = 0; i < N_DOCS; i++) {
        (void)snprintf(text, sizeof text, "{\"score\":%u,\"pad\":\"%0*u\"}", user,
                       1 + (int)user * 5, i);
        struct slice copy = arena_copy(arena, slice_of(text));
        assert_int_equal(json_parse(arena, copy, 10, &rows[i].value, NULL), BQ_OK);
        rows[i].key = slice_of(keys[i]);
        rows[i].modified_us = NOW_US - INT64_C(1000000) * (user * N_DOCS + i + 1);
    }
    op->in.seed = (struct seed_call){.device_id = SLICE("migrate:v1"),
                                     .rows = rows,
                                     .n_rows = N_DOCS,
                                     .clock_us = NOW_US - 1};
}

/* Migrates all batches. again[b] (may be NULL): how many of its documents were known already. */
static void migrate(struct store *store, unsigned *again)
{
    const struct merge_policies *policies;
    int64_t version;
    struct arena arena;
    arena_init(&arena);
    assert_int_equal(op_load_policies(store, &arena, &policies, &version), BQ_OK);
    for (unsigned b = 0; b < N_BATCHES; b++) {
        struct op_context context = {store, policies, version, LIMITS_DEFAULT, NOW_US};
        struct op ops[N_OPS];
        struct op *pointers[N_OPS];
        for (unsigned i = 0; i < N_OPS; i++) {
            make_op(&arena, b * N_OPS + i + 1, &ops[i]);
            pointers[i] = &ops[i];
        }
        assert_int_equal(apply_batch(&context, pointers, N_OPS), BQ_OK);
        if (recorded != NULL) {
            answered_at[b] = recorded->n;
        }
        for (unsigned i = 0; again != NULL && i < N_OPS; i++) {
            assert_int_equal(ops[i].status, BQ_OK);
            for (unsigned d = 0; d < N_DOCS; d++) {
                enum seed_outcome outcome = ops[i].out.seed.results[d].outcome;
                assert_true(outcome == SEED_AGAIN || outcome == SEED_INSERTED);
                again[b] += outcome == SEED_AGAIN;
            }
        }
    }
    arena_release(&arena);
}

struct tally {
    unsigned n_points;
    unsigned n_images;
    unsigned n_lost;    /* documents of answered batches */
    unsigned n_changed; /* images after which it did not end as undisturbed */
};

static void try_image(const struct power_disk *image, size_t k, uint64_t wanted,
                      struct tally *tally)
{
    unsigned again[N_BATCHES] = {0};
    unsigned all[N_BATCHES] = {0};
    power_vfs_mount(image, true);
    struct store *store = open_store(NULL);
    tally->n_images++;
    migrate(store, again);
    for (unsigned b = 0; b < N_BATCHES; b++) {
        tally->n_lost += answered_at[b] <= k ? N_OPS * N_DOCS - again[b] : 0;
    }
    uint64_t dump = power_dump(sqlite_of(store)->db);
    tally->n_changed += dump != wanted || !power_sound(sqlite_of(store)->db);
    migrate(store, all);
    for (unsigned b = 0; b < N_BATCHES; b++) {
        assert_int_equal(all[b], N_OPS * N_DOCS);
    }
    assert_true(power_dump(sqlite_of(store)->db) == dump);
    store->close(store);
}

/* Every `every`-th call of a migration, each with all five kinds of damage. */
static struct tally lose_power(const char *synchronous, bool lies, size_t every)
{
    struct power_log log;
    struct power_disk disk;
    struct power_cut cut;
    struct power_effect effect;
    struct tally tally = {0};
    power_log_init(&log);
    power_disk_init(&disk);
    power_vfs_mount(&disk, true);
    power_vfs_record(&log);
    recorded = &log;
    struct store *store = open_store(synchronous);
    migrate(store, NULL);
    uint64_t wanted = power_dump(sqlite_of(store)->db);
    store->close(store);
    power_vfs_record(NULL);
    recorded = NULL;
    power_cut_init(&cut, &log);
    cut.powersafe = true;
    cut.lies = lies;
    for (size_t k = 0; k < log.n; k += every) {
        power_cut_at(&cut, k);
        tally.n_points++;
        for (int damage = 0; damage < POWER_DAMAGES; damage++) {
            struct rng rng;
            rng_init(&rng, (uint64_t)k << 3 ^ (uint64_t)damage);
            power_cut_image(&cut, (enum power_damage)damage, &rng, &disk, &effect);
            try_image(&disk, k, wanted, &tally);
        }
    }
    power_cut_release(&cut);
    power_log_release(&log);
    power_disk_release(&disk);
    return tally;
}

static void power_lost_in_a_migration_loses_and_changes_nothing(void **state)
{
    (void)state;
    const char *is_long = getenv("BQ_LONG");
    struct tally tally = lose_power(NULL, false, is_long == NULL ? 3 : 1);
    printf("migration: %u points, %u images: rows lost %u, values changed %u\n", tally.n_points,
           tally.n_images, tally.n_lost, tally.n_changed);
    assert_true(tally.n_points > 20 && tally.n_images == tally.n_points * POWER_DAMAGES);
    assert_int_equal(tally.n_lost, 0);
    assert_int_equal(tally.n_changed, 0);
}

/* The checker bites: without a sync at each commit answered rows are found lost. */
static void without_syncs_the_same_finds_lost_rows(void **state)
{
    (void)state;
    struct tally tally = lose_power("NORMAL", false, 7);
    assert_true(tally.n_lost > 0);
}

static int setup(void **state)
{
    (void)state;
    power_vfs_register();
    scratch_init(&scratch);
    (void)scratch_path(&scratch, "store.db", path, sizeof path);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    scratch_release(&scratch);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(power_lost_in_a_migration_loses_and_changes_nothing),
        cmocka_unit_test(without_syncs_the_same_finds_lost_rows),
    };
    return cmocka_run_group_tests_name("migrate_power", tests, setup, teardown);
}
